//! `json`: one object (or array of objects) a line, by Flink's rules, which are those of Jackson's streaming parser.
//!
//! What follows an object on its line is ignored, a field that is missing is NULL, control characters may
//! stand in strings, and objects and arrays in a STRING column are their text.
//!
//! # Where Flink differs
//!
//! - A field that comes twice: here the first one counts; in Flink it depends on how many columns are read.
//! - An object or array in a column that is no STRING: here a bad field; Flink takes its fields for the record's.
//! - A TIME or TIMESTAMP column keeps the digits that it declares; Flink passes more through.
//! - Numbers in texts that only Java reads (hexadecimal doubles, digits other than 0 to 9) are bad here.
//! - A field that comes twice inside of a nested object stays twice in its text.

mod alike;
mod decode;
mod records;
mod scan;

use std::sync::Arc;

pub use records::JsonRecords;

use super::{Decode, Encode, Format, Framing};
use crate::batch::Schema;

/// The options, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JsonOptions {
    /// Whether a missing field stops the job.
    pub(super) fail_on_missing: bool,
    /// Whether bad fields are NULL and bad records dropped.
    pub(super) lenient: bool,
    /// Whether `T` stands between date and time.
    pub(super) iso_timestamps: bool,
    /// Whether decimals are written without exponent.
    pub(super) plain_decimals: bool,
    /// Whether fields that are NULL are left out.
    pub(super) omit_nulls: bool,
}

/// The format with its options.
#[derive(Debug)]
pub(super) struct Json {
    options: Arc<JsonOptions>,
}

impl Json {
    /// The format with these options.
    pub(super) fn new(options: JsonOptions) -> Self {
        Self { options: Arc::new(options) }
    }
}

impl Format for Json {
    fn framing(&self) -> Framing {
        Framing::Delimited(b'\n')
    }

    fn decoder(&self, schema: &Schema, projection: &[usize]) -> Box<dyn Decode> {
        Box::new(decode::JsonDecoder::new(&self.options, schema, projection))
    }

    fn encoder(&self, schema: &Schema) -> Box<dyn Encode> {
        Box::new(super::encode::json(&self.options, schema, false))
    }

    fn encoder_with_kinds(&self, schema: &Schema) -> Box<dyn Encode> {
        Box::new(super::encode::json(&self.options, schema, true))
    }

    fn skip_hint(&self) -> &'static str {
        "set 'json.ignore-parse-errors' = 'true' to skip such records and read such fields as NULL"
    }

    fn skips_bad_records(&self) -> bool {
        self.options.lenient
    }
}
