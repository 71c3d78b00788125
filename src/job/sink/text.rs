//! Records as lines of JSON and of CSV, by serde.
//!
//! # Invariants
//!
//! 1. Each line is made from its record alone, so that what is written does not depend on batches. The first row of a CSV file, the
//!    names of the record's fields, is alike for all records of a type.
//! 2. A record that cannot be written unwinds the shard with its error, as [`crate::state::caught`] expects.

use std::fmt;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};

use csv::WriterBuilder;
use serde::Serialize;

use crate::batch::{Batch, RowKind, Schema};
use crate::error::{JobError, OptionError};
use crate::format::{self, Decode, Encode, Format, Framing, Options, Quoting};
use crate::job::field::Row;
use crate::job::item::{Item, OwnedItem};
use crate::job::result::WindowResult;
use crate::job::source::caught;
use crate::sys::archive::Owned;

/// How an item is written as a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Notation {
    /// A line of JSON.
    Json,
    /// A line of CSV.
    Csv,
}

/// An item that can be written as text: a result of windows, by its columns, or a record, by serde.
pub trait TextItem: Item {
    #[doc(hidden)]
    fn format(notation: Notation, schema: &Schema) -> Result<Arc<dyn Format>, OptionError>;
}

impl<K: Row, V: Row> TextItem for WindowResult<K, V> {
    fn format(notation: Notation, schema: &Schema) -> Result<Arc<dyn Format>, OptionError> {
        let name = match notation {
            Notation::Json => "json",
            Notation::Csv => "csv",
        };
        format::resolve(&Options::new(), Some(name), schema)
    }
}

impl<T: Owned + Serialize> TextItem for T {
    fn format(notation: Notation, _: &Schema) -> Result<Arc<dyn Format>, OptionError> {
        Ok(Arc::new(Lines::<T> { notation, names: Arc::default(), _type: PhantomData }))
    }
}

/// The format. Only written.
struct Lines<T> {
    notation: Notation,
    /// The first row of a CSV file, once a record was seen.
    names: Arc<OnceLock<Vec<u8>>>,
    _type: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Lines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.notation, std::any::type_name::<T>())
    }
}

impl<T: Owned + Serialize> Lines<T> {
    fn encoder_of(&self, with_kinds: bool) -> Box<dyn Encode> {
        let (notation, names) = (self.notation, Arc::clone(&self.names));
        Box::new(LineEncoder::<T> { notation, with_kinds, names, _type: PhantomData })
    }
}

impl<T: Owned + Serialize> Format for Lines<T> {
    fn framing(&self) -> Framing {
        match self.notation {
            Notation::Json => Framing::Delimited(b'\n'),
            Notation::Csv => {
                Framing::Quoted(Quoting { quote: b'"', delimiter: b',', escape: None, trim: false })
            }
        }
    }

    fn decoder(&self, _: &Schema, _: &[usize]) -> Box<dyn Decode> {
        unreachable!("the typed builder makes no source of this format")
    }

    fn encoder(&self, _: &Schema) -> Box<dyn Encode> {
        self.encoder_of(false)
    }

    fn encoder_with_kinds(&self, _: &Schema) -> Box<dyn Encode> {
        self.encoder_of(true)
    }

    fn skip_hint(&self) -> &'static str {
        "it is not read"
    }

    fn skips_bad_records(&self) -> bool {
        false
    }
}

struct LineEncoder<T> {
    notation: Notation,
    with_kinds: bool,
    names: Arc<OnceLock<Vec<u8>>>,
    _type: PhantomData<fn(T)>,
}

impl<T: Owned + Serialize> LineEncoder<T> {
    fn append(&self, kind: RowKind, record: &T, out: &mut Vec<u8>) -> Result<(), String> {
        let kind = self.with_kinds.then(|| kind.short());
        match self.notation {
            Notation::Json => append_json(kind, record, out).map_err(|error| error.to_string()),
            Notation::Csv => {
                if self.names.get().is_none() {
                    let names =
                        names(self.with_kinds, record).map_err(|error| error.to_string())?;
                    // Another shard may have been first, with the same.
                    self.names.get_or_init(|| names);
                }
                append_csv(kind, record, out).map_err(|error| error.to_string())
            }
        }
    }

    fn append_all(&self, batch: &Batch, out: &mut Vec<u8>) -> Result<(), String> {
        let mut row = 0;
        let each = |view: &T::Archived| {
            let kind = batch.kind(row);
            row += 1;
            self.append(kind, &T::owned(view)?, out)
        };
        T::map(&batch.columns, batch.rows, each).collect()
    }
}

impl<T: Owned + Serialize> Encode for LineEncoder<T> {
    fn header(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.names.get().map_or(&[], Vec::as_slice));
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let origin = std::any::type_name::<T>();
        let message = |message| JobError::Expression {
            origin: origin.to_owned(),
            message: format!("a record cannot be written: {message}"),
        };
        let written = caught(origin, "serialisation", || self.append_all(batch, out));
        if let Err(error) = written.and_then(|written| written.map_err(message)) {
            resume_unwind(Box::new(error));
        }
    }

    fn finish(&mut self, _: &mut Vec<u8>) {}
}

/// A line of JSON. The kind is the first field of an object; what is no object is in one, as `value`.
fn append_json<T: Serialize>(
    kind: Option<&str>,
    record: &T,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let start = out.len();
    serde_json::to_writer(&mut *out, record)?;
    if let Some(kind) = kind {
        let record = out.split_off(start);
        let kind = format!("{{\"op\":\"{kind}\"");
        out.extend_from_slice(kind.as_bytes());
        match record.strip_prefix(b"{") {
            Some(b"}") => out.push(b'}'),
            Some(fields) => {
                out.push(b',');
                out.extend_from_slice(fields);
            }
            None => {
                out.extend_from_slice(b",\"value\":");
                out.extend_from_slice(&record);
                out.push(b'}');
            }
        }
    }
    out.push(b'\n');
    Ok(())
}

fn append_csv<T: Serialize>(
    kind: Option<&str>,
    record: &T,
    out: &mut Vec<u8>,
) -> Result<(), csv::Error> {
    let mut builder = WriterBuilder::new();
    let mut row = builder.has_headers(false).flexible(true).from_writer(out);
    if let Some(kind) = kind {
        row.write_field(kind)?;
    }
    row.serialize(record)?;
    Ok(row.flush()?)
}

/// The row with the names of a record's fields; empty if they have none.
fn names<T: Serialize>(with_kinds: bool, record: &T) -> Result<Vec<u8>, csv::Error> {
    let mut both = WriterBuilder::new().has_headers(true).from_writer(Vec::new());
    both.serialize(record)?;
    let mut names = both.into_inner().map_err(|error| error.into_error())?;
    let mut alone = Vec::new();
    append_csv(None, record, &mut alone)?;
    names.truncate(names.len() - alone.len());
    if with_kinds && !names.is_empty() {
        names.splice(0..0, *b"op,");
    }
    Ok(names)
}
