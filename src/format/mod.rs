//! Bytes to batches and back: `json`, `csv`, `rkyv`.
//!
//! A source hands whole records to a [`Decode`] in chunks of about 1 MiB; it fills columns and
//! never stops at a bad record unless told so. Sinks hand batches to an [`Encode`].
//!
//! # Invariants
//!
//! 1. No input, whatever its bytes, panics or recurses without bound.
//! 2. A decoder keeps nothing between chunks that the result depends on: a chunk decodes alike on any shard.
//! 3. Only the columns asked for are built, in the order asked for.

use std::collections::BTreeMap;

use arrow_buffer::Buffer;

mod bulk;
mod column;
mod csv;
mod encode;
mod java;
mod json;
mod lanes;
mod options;
mod rkyv;
mod rows;
mod short;
mod typed;

pub use csv::CsvRecords;
pub use json::JsonRecords;
pub use options::resolve;
pub use rkyv::{BLOCK_RECORD_BYTES, BlockWriter, RecordFormat, block_of};

use crate::batch::{Batch, Schema};

/// The options of a `WITH (…)` clause, by key.
pub type Options = BTreeMap<String, String>;

/// How records are told apart in a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Every `delimiter` byte ends a record (JSON lines).
    Delimited(u8),
    /// Every newline outside of quoted fields ends a record (CSV).
    Quoted(Quoting),
    /// Self-describing blocks, each starting at a multiple of [`crate::format::BLOCK_BYTES`] (rkyv).
    Blocks,
}

/// Which newlines of a CSV file are text: those in a field that begins with the quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoting {
    /// The quote character.
    pub quote: u8,
    /// The field delimiter.
    pub delimiter: u8,
    /// Makes the next byte text.
    pub escape: Option<u8>,
    /// Whether blanks may stand before the quote that begins a field.
    pub trim: bool,
}

/// The alignment of self-describing blocks.
pub const BLOCK_BYTES: u64 = 1 << 20;

/// Which part of its block the slot that starts `slot` (64 bytes of it are enough) holds: only a slot of part 0 begins a
/// chunk. A slot that is damaged counts as a block of its own, to be complained about by the decoder.
pub fn block_part(slot: &[u8]) -> u32 {
    rkyv::block_part(slot)
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Lines of the chunk before the record's first line.
    pub line_index: u64,
    /// 1-based byte column in the record's line where reading stopped; 1 if unknown.
    pub column: u64,
    /// What was wrong, naming the field.
    pub reason: String,
    /// The record's bytes, at most [`BadRecord::BYTES_MAX`] of them.
    pub record: Vec<u8>,
}

impl BadRecord {
    /// How many bytes of a bad record are kept.
    pub const BYTES_MAX: usize = 4096;
}

/// What a chunk of records decodes to.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The good rows in order, at most [`crate::batch::BATCH_ROWS_MAX`] a batch; where `failure` is set, those before it.
    pub batches: Vec<Batch>,
    /// Lines in the chunk, for the line numbers of later chunks.
    pub line_count: u64,
    /// Records dropped because the format's `ignore-parse-errors` is set. At most 100 are kept a chunk.
    pub skipped: Vec<BadRecord>,
    /// How many records were dropped, also beyond those kept.
    pub skipped_count: u64,
    /// The record that stops the job.
    pub failure: Option<BadRecord>,
}

/// Reads records.
pub trait Decode: Send {
    /// Decodes `chunk`, which holds whole records (the last may lack its delimiter). `at_start` says that it
    /// begins its file or stream, which is where a CSV header stands.
    fn decode(&mut self, chunk: &Buffer, at_start: bool) -> Decoded;
}

/// Writes records.
pub trait Encode: Send {
    /// The bytes that open a file (a CSV header, say); most formats have none. Asked for when the first rows of the file have been
    /// encoded, by this encoder or another of the same format, or when it ends without any: the rows may be what tells.
    fn header(&mut self, out: &mut Vec<u8>);
    /// Appends the rows of `batch`.
    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>);
    /// Appends what is still buffered (the last block of an rkyv file); most formats buffer nothing.
    fn finish(&mut self, out: &mut Vec<u8>);
}

/// A format with its options checked: makes decoders and encoders. Cheap to share between shards.
pub trait Format: Send + Sync + std::fmt::Debug {
    /// How its records are told apart.
    fn framing(&self) -> Framing;
    /// A decoder of the columns `projection` (indices into `schema`, ascending) of records of `schema`.
    fn decoder(&self, schema: &Schema, projection: &[usize]) -> Box<dyn Decode>;
    /// An encoder of rows of `schema`; the rows' kinds are not written.
    fn encoder(&self, schema: &Schema) -> Box<dyn Encode>;
    /// An encoder that writes each row's kind (`+I`, `-U`, `+U`, `-D`) as a first column `op`.
    fn encoder_with_kinds(&self, schema: &Schema) -> Box<dyn Encode>;
    /// What to write to skip bad records instead of stopping.
    fn skip_hint(&self) -> &'static str;
    /// Whether bad records are skipped, as that option says.
    fn skips_bad_records(&self) -> bool;
}

#[cfg(test)]
mod tests;
