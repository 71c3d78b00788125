//! `csv`: comma-separated values by Flink's rules, which are those of Jackson's CSV parser.
//!
//! A field that begins with the quote is quoted: delimiters and newlines in it are text, a doubled quote is
//! one quote. A quote anywhere else is text. Blanks belong to the field. Columns are matched by position. A
//! blank line is a record of one empty field.
//!
//! # Where Flink differs
//!
//! - Bytes that are not UTF-8 make a bad record here; in Flink they end the job whatever the options.
//! - A TIME or TIMESTAMP column keeps the digits that it declares; Flink passes more of a timestamp through.
//! - `csv-header` (or `csv.header`) is ours: the first line of each file names the columns, and is checked.

mod decode;
mod records;

use std::sync::Arc;

pub use records::CsvRecords;

use super::{Decode, Encode, Format, Framing, Quoting};
use crate::batch::Schema;

/// The options, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CsvOptions {
    /// Between fields; ASCII.
    pub(super) delimiter: u8,
    /// Around fields that hold special characters; ASCII. None: quotes are text.
    pub(super) quote: Option<u8>,
    /// Takes away the special meaning of the next character; ASCII.
    pub(super) escape: Option<u8>,
    /// Whether lines that begin with `#` are skipped.
    pub(super) comments: bool,
    /// Whether bad fields are NULL and bad rows dropped.
    pub(super) lenient: bool,
    /// Whether a row with fewer fields than the table has columns is dropped rather than filled with NULL, where `lenient`.
    pub(super) fail_on_missing: bool,
    /// Whether fields beyond the table's columns are ignored.
    pub(super) ignore_extra: bool,
    /// Whether a delimiter may follow the last field.
    pub(super) trailing_delimiter: bool,
    /// Text that means NULL.
    pub(super) null_literal: Option<String>,
    /// Whether an empty field means NULL.
    pub(super) empty_is_null: bool,
    /// Whether blanks around a field are dropped.
    pub(super) trim: bool,
    /// Whether the first line of each file names the columns.
    pub(super) header: bool,
    /// Whether decimals are written as `1E-8` rather than `0.00000001`.
    pub(super) scientific: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            comments: false,
            lenient: false,
            fail_on_missing: false,
            ignore_extra: false,
            trailing_delimiter: true,
            null_literal: None,
            empty_is_null: false,
            trim: false,
            header: false,
            scientific: true,
        }
    }
}

/// The format with its options.
#[derive(Debug)]
pub(super) struct Csv {
    options: Arc<CsvOptions>,
}

impl Csv {
    /// The format with these options.
    pub(super) fn new(options: CsvOptions) -> Self {
        Self { options: Arc::new(options) }
    }
}

impl Format for Csv {
    fn framing(&self) -> Framing {
        match self.options.quote {
            Some(quote) => {
                let CsvOptions { delimiter, escape, trim, .. } = *self.options;
                Framing::Quoted(Quoting { quote, delimiter, escape, trim })
            }
            None => Framing::Delimited(b'\n'),
        }
    }

    fn decoder(&self, schema: &Schema, projection: &[usize]) -> Box<dyn Decode> {
        Box::new(decode::CsvDecoder::new(self.options.clone(), schema, projection))
    }

    fn encoder(&self, schema: &Schema) -> Box<dyn Encode> {
        Box::new(super::encode::csv(&self.options, schema, false))
    }

    fn encoder_with_kinds(&self, schema: &Schema) -> Box<dyn Encode> {
        Box::new(super::encode::csv(&self.options, schema, true))
    }

    fn skip_hint(&self) -> &'static str {
        "set 'csv.ignore-parse-errors' = 'true' to skip such rows and read such fields as NULL"
    }

    fn skips_bad_records(&self) -> bool {
        self.options.lenient
    }
}
