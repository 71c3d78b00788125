//! CSV rows to records of a Rust type, by serde and the `csv` crate; fields are found by the names in a file's first row.
//!
//! # Invariants
//!
//! 1. Rows end where [`Framing::Quoted`] says that they do: both hold a field for quoted only if it begins with the quote.
//! 2. The names are known before any decoder is made.

use std::cell::Cell;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_buffer::Buffer;
use csv::{ByteRecord, Reader, ReaderBuilder};
use serde::de::DeserializeOwned;

use crate::batch::Schema;
use crate::format::typed::{Archiving, Fault, SKIP_HINT};
use crate::format::{Decode, Decoded, Encode, Format, Framing, Quoting};
use crate::sys::archive::Record;

/// The quote character.
const QUOTE: u8 = b'"';

/// The format: a value of `T` a row. Only read. Its clones know the same names.
pub struct CsvRecords<T> {
    /// Whether bad records are dropped.
    pub lenient: bool,
    /// Whether each file begins with the names of its columns.
    pub headed: bool,
    /// Between fields.
    pub delimiter: u8,
    names: Arc<Mutex<Option<Arc<ByteRecord>>>>,
    _type: PhantomData<fn(T)>,
}

impl<T> Default for CsvRecords<T> {
    fn default() -> Self {
        let names = Arc::default();
        Self { lenient: false, headed: true, delimiter: b',', names, _type: PhantomData }
    }
}

impl<T> Clone for CsvRecords<T> {
    fn clone(&self) -> Self {
        Self { names: Arc::clone(&self.names), ..*self }
    }
}

impl<T> fmt::Debug for CsvRecords<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CSV of {}", std::any::type_name::<T>())
    }
}

/// A reader of rows of any number of fields.
fn reader<R: Read>(delimiter: u8, bytes: R) -> Reader<R> {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter).quote(QUOTE).from_reader(bytes)
}

impl<T> CsvRecords<T> {
    /// Takes down the names in the first row of a file.
    ///
    /// # Errors
    ///
    /// What is wrong with it; also other names than those of the files before it.
    pub fn learn(&self, file: impl Read) -> Result<(), String> {
        let mut file = BufReader::new(file);
        match file.fill_buf().map_err(|error| error.to_string())?.first() {
            None => return Ok(()),
            Some(b'\n' | b'\r') => {
                return Err("the row with the names of the columns is empty".into());
            }
            Some(_) => {}
        }
        let mut row = ByteRecord::new();
        reader(self.delimiter, file)
            .read_byte_record(&mut row)
            .map_err(|error| error.to_string())?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        match &*names {
            Some(known) if **known != row => Err(format!(
                "its columns are {}, and those of the files before it {}",
                list(&row),
                list(known)
            )),
            Some(_) => Ok(()),
            none => {
                assert!(none.is_none());
                *names = Some(Arc::new(row));
                Ok(())
            }
        }
    }
}

/// Names, for people.
fn list(names: &ByteRecord) -> String {
    let names: Vec<_> =
        names.iter().map(|name| format!("`{}`", String::from_utf8_lossy(name))).collect();
    names.join(", ")
}

impl<T: Record + DeserializeOwned> Format for CsvRecords<T> {
    fn framing(&self) -> Framing {
        let delimiter = self.delimiter;
        Framing::Quoted(Quoting { quote: QUOTE, delimiter, escape: None, trim: false })
    }

    fn decoder(&self, _schema: &Schema, projection: &[usize]) -> Box<dyn Decode> {
        let names = match self.headed {
            true => self.names.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            false => None,
        };
        Box::new(CsvRecordDecoder::<T> {
            archiving: Archiving { lenient: self.lenient, wanted: !projection.is_empty() },
            delimiter: self.delimiter,
            headed: self.headed,
            names,
            _type: PhantomData,
        })
    }

    fn encoder(&self, _schema: &Schema) -> Box<dyn Encode> {
        unreachable!("the typed builder makes no sink of this format")
    }

    fn encoder_with_kinds(&self, schema: &Schema) -> Box<dyn Encode> {
        self.encoder(schema)
    }

    fn skip_hint(&self) -> &'static str {
        SKIP_HINT
    }

    fn skips_bad_records(&self) -> bool {
        self.lenient
    }
}

/// Reads rows.
struct CsvRecordDecoder<T> {
    archiving: Archiving,
    delimiter: u8,
    headed: bool,
    /// `None` if fields are found by their order.
    names: Option<Arc<ByteRecord>>,
    _type: PhantomData<fn(T)>,
}

impl<T: Record + DeserializeOwned> Decode for CsvRecordDecoder<T> {
    fn decode(&mut self, chunk: &Buffer, at_start: bool) -> Decoded {
        let place = Cell::new((0, 0));
        // The crate takes a byte order mark from the start of what it reads; it is none in the middle of a file.
        let lead: &[u8] = if at_start { b"" } else { b"\n" };
        let mut rows = reader(self.delimiter, lead.chain(chunk.as_slice()));
        let mut row = ByteRecord::new();
        let mut is_names = at_start && self.headed;
        let records = std::iter::from_fn(|| {
            loop {
                let more = rows.read_byte_record(&mut row);
                if !more.expect("there are bytes, and rows of any length are taken") {
                    return None;
                }
                if !std::mem::take(&mut is_names) {
                    break;
                }
            }
            let at = |position: &csv::Position| position.byte() as usize - lead.len();
            let from = row.position().map_or(0, |position| position.byte() as usize);
            let end = at(rows.position());
            // The line ends of blank lines before the row, and its own.
            let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            let from = from.saturating_sub(lead.len());
            let start = from + chunk[from..end].iter().take_while(|byte| is_end(byte)).count();
            let tail = chunk[start..end].iter().rev().take_while(|byte| is_end(byte)).count();
            place.set((start, end - tail));
            Some(self.parse(&row, &chunk[start..end - tail], start))
        });
        self.archiving.decode(chunk, &place, records)
    }
}

impl<T: Record + DeserializeOwned> CsvRecordDecoder<T> {
    /// The record of a row whose `text` starts at byte `start` of its chunk.
    fn parse(&self, row: &ByteRecord, text: &[u8], start: usize) -> Result<T, Fault> {
        if let Some(names) = &self.names
            && names.len() != row.len()
        {
            let reason = format!(
                "there are {} fields, and the file's first row has {}",
                row.len(),
                names.len()
            );
            return Err((start, reason));
        }
        row.deserialize(self.names.as_deref()).map_err(|error| match error.kind() {
            csv::ErrorKind::Deserialize { err, .. } => {
                let Some(field) = err.field() else { return (start, err.kind().to_string()) };
                let field = field as usize;
                let name = self.names.as_ref().and_then(|names| names.get(field));
                let name = name.map_or_else(
                    || format!("field {}", field + 1),
                    |name| format!("field `{}`", String::from_utf8_lossy(name)),
                );
                let position = start + field_start(text, field, self.delimiter);
                (position, format!("{name}: {}", err.kind()))
            }
            _ => (start, error.to_string()),
        })
    }
}

/// Where a row's field starts in its text.
fn field_start(text: &[u8], field: usize, delimiter: u8) -> usize {
    let (mut at, mut left) = (0, field);
    let mut in_quotes = text.first() == Some(&QUOTE);
    while left > 0 && at < text.len() {
        if text[at] == QUOTE && in_quotes && at > 0 {
            // A doubled quote closes and opens again.
            in_quotes = text.get(at + 1) == Some(&QUOTE);
            at += usize::from(in_quotes);
        } else if text[at] == delimiter && !in_quotes {
            left -= 1;
            in_quotes = text.get(at + 1) == Some(&QUOTE);
            at += usize::from(in_quotes);
        }
        at += 1;
    }
    at
}
