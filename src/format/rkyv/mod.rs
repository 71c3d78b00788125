//! `rkyv`: batches as they are in memory, in blocks that a reader may start at without reading what is before.
//!
//! A file is a row of slots of [`BLOCK_BYTES`](super::BLOCK_BYTES) (1 MiB); the last may be short. A block begins at a slot and
//! holds rows as columns. It fits one slot unless a single row does not; then it takes several, each of
//! which says which part it is. Between the end of a block and the next slot are zeros.
//!
//! ```text
//! byte  0        8        12     16      20     24            32              40          48        56         64
//!       ┌────────┬────────┬──────┬───────┬──────┬─────────────┬───────────────┬───────────┬─────────┬──────────┬─────────
//!       │tidemill│version │ part │ parts │ rows │ schema hash │ payload bytes │ checksum  │ 0       │ checksum │ payload
//!       │        │ u32 =1 │ u32  │ u32   │ u32  │ u64         │ u64           │ of payload│         │ of 0..56 │ …
//!       └────────┴────────┴──────┴───────┴──────┴─────────────┴───────────────┴───────────┴─────────┴──────────┴─────────
//! ```
//!
//! Integers are little-endian; checksums and the schema hash are XXH64 with seed 0. The header of every part
//! is the same but for `part` (from 0) and its checksum. The payload, that is, what follows the headers of
//! all parts, is an rkyv archive of [`block::Block`]: the schema as text, then each column.
//!
//! # Invariants
//!
//! 1. A block is believed only after both checksums and rkyv's validation of the archive; then its lengths,
//!    types and text edges are checked against the table, so that nothing in a file can panic.
//! 2. A chunk begins at a slot whose part is 0.

mod block;
mod header;
mod records;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, StringViewArray};
use arrow_buffer::Buffer;
use arrow_schema::DataType as ArrowType;

use super::{BLOCK_BYTES, BadRecord, Decode, Decoded, Encode, Format, Framing};
use crate::batch::{BATCH_ROWS_MAX, Batch, DataType, Field, Schema};
use header::{HEADER_BYTES, Header};

pub use records::{BLOCK_RECORD_BYTES, BlockWriter, RecordFormat, block_of};

const SLOT_BYTES: usize = BLOCK_BYTES as usize;

/// See [`super::block_part`].
pub(super) fn block_part(slot: &[u8]) -> u32 {
    Header::read(slot).map_or(0, |header| header.part)
}

/// The format.
#[derive(Debug)]
pub(super) struct Rkyv {
    /// Whether damaged blocks are dropped.
    pub(super) lenient: bool,
}

impl Format for Rkyv {
    fn framing(&self) -> Framing {
        Framing::Blocks
    }

    fn decoder(&self, schema: &Schema, projection: &[usize]) -> Box<dyn Decode> {
        Box::new(RkyvDecoder {
            schema: schema.clone(),
            projection: projection.to_vec(),
            lenient: self.lenient,
        })
    }

    fn encoder(&self, schema: &Schema) -> Box<dyn Encode> {
        Box::new(RkyvEncoder::new(schema.clone(), false))
    }

    fn encoder_with_kinds(&self, schema: &Schema) -> Box<dyn Encode> {
        let op = Field::new("op", DataType::STRING).not_null();
        let fields = std::iter::once(op).chain(schema.fields.iter().cloned()).collect();
        Box::new(RkyvEncoder::new(Schema::new(fields), true))
    }

    fn skip_hint(&self) -> &'static str {
        "set 'rkyv.ignore-parse-errors' = 'true' to skip such blocks"
    }

    fn skips_bad_records(&self) -> bool {
        self.lenient
    }
}

/// Reads blocks.
struct RkyvDecoder {
    schema: Schema,
    projection: Vec<usize>,
    lenient: bool,
}

impl RkyvDecoder {
    /// Reads the block at `at`: how many bytes its slots take, and its columns; or the bytes to the next slot.
    fn read(&self, chunk: &Buffer, at: usize) -> (usize, Result<Batch, String>) {
        let slot = &chunk[at..];
        let header = match Header::read(slot) {
            Ok(header) if header.part == 0 => header,
            Ok(header) => {
                return (
                    SLOT_BYTES,
                    Err(format!("part {} of a block without those before", header.part)),
                );
            }
            Err(reason) => return (SLOT_BYTES, Err(reason)),
        };
        let taken = (header.parts as usize).saturating_mul(SLOT_BYTES);
        match header
            .payload(chunk, at)
            .and_then(|payload| block::read(&payload, &header, &self.schema, &self.projection))
        {
            Ok(columns) => (taken, Ok(Batch::new(columns, header.rows as usize))),
            Err(reason) => (SLOT_BYTES, Err(reason)),
        }
    }
}

impl Decode for RkyvDecoder {
    fn decode(&mut self, chunk: &Buffer, _at_start: bool) -> Decoded {
        let mut decoded = Decoded::default();
        let mut at = 0;
        while at < chunk.len() {
            let (taken, result) = self.read(chunk, at);
            match result {
                Ok(block) => {
                    let starts = (0..block.rows).step_by(BATCH_ROWS_MAX);
                    let batch = |start| block.slice(start, BATCH_ROWS_MAX.min(block.rows - start));
                    decoded.batches.extend(starts.map(batch));
                }
                Err(reason) => {
                    let bad = bad_block(chunk, at, decoded.line_count, reason);
                    if !self.lenient {
                        decoded.failure = Some(bad);
                        return decoded;
                    }
                    super::rows::skip(&mut decoded, || bad);
                }
            }
            decoded.line_count += 1;
            at = at.saturating_add(taken);
        }
        decoded
    }
}

/// The block at byte `at` of `chunk`, the `index`th, that cannot be read.
fn bad_block(chunk: &[u8], at: usize, index: u64, reason: String) -> BadRecord {
    let record = chunk[at..chunk.len().min(at + HEADER_BYTES)].to_vec();
    BadRecord { line_index: index, column: 1, reason, record }
}

/// Writes blocks; rows wait until they fill one.
struct RkyvEncoder {
    schema: Schema,
    with_kinds: bool,
    pending: Vec<Batch>,
    pending_rows: usize,
    pending_bytes: usize,
    /// How many bytes the last block left of its last slot: they are filled with zeros before the next.
    padding: usize,
}

impl RkyvEncoder {
    fn new(schema: Schema, with_kinds: bool) -> Self {
        Self {
            schema,
            with_kinds,
            pending: Vec::new(),
            pending_rows: 0,
            pending_bytes: 0,
            padding: 0,
        }
    }

    /// What the rows of a block may take, so that it fits a slot with all that surrounds them.
    fn room_bytes(&self) -> usize {
        let schema_bytes: usize =
            self.schema.fields.iter().map(|field| field.name.len() + 40).sum();
        SLOT_BYTES
            .saturating_sub(HEADER_BYTES + 256 + schema_bytes + 160 * self.schema.column_count())
    }

    fn write_pending(&mut self, out: &mut Vec<u8>) {
        if self.pending_rows == 0 {
            return;
        }
        out.resize(out.len() + self.padding, 0);
        let payload = block::write(&std::mem::take(&mut self.pending), &self.schema);
        let start = out.len();
        header::write_block(
            &payload,
            self.pending_rows as u32,
            block::schema_hash(&self.schema),
            out,
        );
        self.padding = (out.len() - start).next_multiple_of(SLOT_BYTES) - (out.len() - start);
        (self.pending_rows, self.pending_bytes) = (0, 0);
    }

    fn keep(&mut self, batch: Batch, bytes: usize) {
        self.pending_rows += batch.rows;
        self.pending_bytes += bytes;
        self.pending.push(batch);
    }
}

/// How many bytes each row of `batch` takes at most.
fn row_bytes(batch: &Batch) -> Vec<usize> {
    let mut bytes = vec![0; batch.rows];
    for column in &batch.columns {
        // A bit for NULL, rounded up, and the values; of texts also where they end.
        let width = 1 + column.data_type().primitive_width().unwrap_or(4);
        match column.data_type() {
            ArrowType::Utf8View => {
                add_lengths(&mut bytes, width, column.as_string_view().lengths())
            }
            ArrowType::BinaryView => {
                add_lengths(&mut bytes, width, column.as_binary_view().lengths())
            }
            _ => bytes.iter_mut().for_each(|bytes| *bytes += width),
        }
    }
    bytes
}

fn add_lengths(bytes: &mut [usize], width: usize, lengths: impl Iterator<Item = u32>) {
    for (bytes, length) in bytes.iter_mut().zip(lengths) {
        *bytes += width + length as usize;
    }
}

impl Encode for RkyvEncoder {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let mut batch = batch.clone();
        if self.with_kinds {
            let kinds = (0..batch.rows).map(|row| Some(batch.kind(row).short()));
            batch.columns.insert(0, Arc::new(StringViewArray::from_iter(kinds)));
        }
        batch.kinds = None;
        let room = self.room_bytes();
        let (mut start, mut taken) = (0, 0);
        for (row, bytes) in row_bytes(&batch).into_iter().enumerate() {
            if self.pending_bytes + taken + bytes > room && self.pending_rows + (row - start) > 0 {
                self.keep(batch.slice(start, row - start), taken);
                self.write_pending(out);
                (start, taken) = (row, 0);
            }
            taken += bytes;
        }
        self.keep(batch.slice(start, batch.rows - start), taken);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.write_pending(out);
    }
}

#[cfg(test)]
mod tests;
