//! JSON lines to records of a Rust type, by serde.
//!
//! # Invariants
//!
//! 1. serde_json goes 128 levels deep and no deeper, and what it passes over it passes over without recursion: no line
//!    overflows the stack.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use arrow_buffer::Buffer;
use memchr::memchr;
use serde::de::DeserializeOwned;

use crate::batch::Schema;
use crate::format::typed::{Archiving, Fault, SKIP_HINT};
use crate::format::{Decode, Decoded, Encode, Format, Framing};
use crate::sys::archive::Record;

/// The format: a value of `T` a line. Only read.
pub struct JsonRecords<T> {
    /// Whether bad records are dropped.
    pub lenient: bool,
    _type: PhantomData<fn(T)>,
}

impl<T> Default for JsonRecords<T> {
    fn default() -> Self {
        Self { lenient: false, _type: PhantomData }
    }
}

impl<T> Clone for JsonRecords<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T> fmt::Debug for JsonRecords<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JSON of {}", std::any::type_name::<T>())
    }
}

impl<T: Record + DeserializeOwned> Format for JsonRecords<T> {
    fn framing(&self) -> Framing {
        Framing::Delimited(b'\n')
    }

    fn decoder(&self, _schema: &Schema, projection: &[usize]) -> Box<dyn Decode> {
        let archiving = Archiving { lenient: self.lenient, wanted: !projection.is_empty() };
        Box::new(JsonRecordDecoder::<T> { archiving, _type: PhantomData })
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

/// Reads lines.
struct JsonRecordDecoder<T> {
    archiving: Archiving,
    _type: PhantomData<fn(T)>,
}

impl<T: Record + DeserializeOwned> Decode for JsonRecordDecoder<T> {
    fn decode(&mut self, chunk: &Buffer, _at_start: bool) -> Decoded {
        let place = Cell::new((0, 0));
        let mut next = 0;
        let lines = std::iter::from_fn(|| {
            while next < chunk.len() {
                let start = next;
                let end = memchr(b'\n', &chunk[start..]).map_or(chunk.len(), |at| start + at);
                next = end + 1;
                if !chunk[start..end].trim_ascii().is_empty() {
                    place.set((start, end));
                    return Some(parse::<T>(&chunk[start..end], start));
                }
            }
            None
        });
        self.archiving.decode(chunk, &place, lines)
    }
}

/// The record of a line that starts at byte `start` of its chunk.
fn parse<T: DeserializeOwned>(line: &[u8], start: usize) -> Result<T, Fault> {
    serde_json::from_slice(line).map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        (start + error.column().saturating_sub(1), reason)
    })
}
