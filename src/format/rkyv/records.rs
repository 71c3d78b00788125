//! Records of a Rust type, in the same blocks as rows of columns: the payload is that of [`read_payload`], and the schema hash is
//! the type's.
//!
//! # Invariants
//!
//! 1. What is decoded is valid: [`read_payload`] has looked at every record.

use std::fmt;
use std::marker::PhantomData;

use arrow_buffer::Buffer;

use super::header::{HEADER_BYTES, Header, write_block};
use super::{SLOT_BYTES, bad_block};
use crate::batch::{BATCH_ROWS_MAX, Batch, Schema};
use crate::format::{Decode, Decoded, Encode, Format, Framing};
use crate::sys::archive::{ArchiveBuilder, Archives, Record, read_payload};
use crate::sys::checksum::xxh64;

/// The bytes of records after which a block is closed, so that it fits one slot.
pub const BLOCK_RECORD_BYTES: usize = SLOT_BYTES - HEADER_BYTES - (1 << 12);

/// Blocks of records of `T`: one column, of records.
pub struct RecordFormat<T>(PhantomData<fn(T)>);

impl<T> Default for RecordFormat<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> fmt::Debug for RecordFormat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "records of {}", std::any::type_name::<T>())
    }
}

impl<T: Record> Format for RecordFormat<T> {
    fn framing(&self) -> Framing {
        Framing::Blocks
    }

    fn decoder(&self, _schema: &Schema, projection: &[usize]) -> Box<dyn Decode> {
        Box::new(RecordDecoder::<T> { wanted: !projection.is_empty(), _type: PhantomData })
    }

    fn encoder(&self, _schema: &Schema) -> Box<dyn Encode> {
        Box::new(RecordEncoder::<T> { blocks: BlockWriter::default() })
    }

    fn encoder_with_kinds(&self, _: &Schema) -> Box<dyn Encode> {
        unreachable!("files of records take no changes")
    }

    fn skip_hint(&self) -> &'static str {
        "write the file again with this program's record type"
    }

    fn skips_bad_records(&self) -> bool {
        false
    }
}

/// The type's short name, and what tells it from others: its name and how its archives lie in memory.
fn identity<T: Record>() -> (String, u64) {
    let (size, align) = (size_of::<T::Archived>(), align_of::<T::Archived>());
    let full = std::any::type_name::<T>();
    // Modules may move; generic arguments count whole.
    let short = match full.find('<') {
        None => full.rsplit("::").next().unwrap_or(full),
        Some(_) => full,
    };
    let text = format!("{short} ({size} bytes, aligned to {align})");
    let hash = xxh64(text.as_bytes());
    (text, hash)
}

/// Reads blocks.
struct RecordDecoder<T> {
    wanted: bool,
    _type: PhantomData<fn(T)>,
}

impl<T: Record> RecordDecoder<T> {
    /// Reads the block at `at`: how many bytes its slots take, and its rows.
    fn read(&self, chunk: &Buffer, at: usize) -> Result<(usize, Batch), String> {
        let header = Header::read(&chunk[at..])?;
        if header.part != 0 {
            return Err(format!("part {} of a block without those before", header.part));
        }
        let (text, hash) = identity::<T>();
        if header.schema_hash != hash {
            return Err(format!("a block holds records of another type than {text}"));
        }
        let payload = header.payload(chunk, at)?;
        let records = read_payload::<T::Archived>(&payload, header.rows as usize)?;
        let columns = if self.wanted { vec![records] } else { Vec::new() };
        let taken = (header.parts as usize).saturating_mul(SLOT_BYTES);
        Ok((taken, Batch::new(columns, header.rows as usize)))
    }
}

impl<T: Record> Decode for RecordDecoder<T> {
    fn decode(&mut self, chunk: &Buffer, _at_start: bool) -> Decoded {
        let mut decoded = Decoded::default();
        let mut at = 0;
        while at < chunk.len() {
            match self.read(chunk, at) {
                Ok((taken, block)) => {
                    let starts = (0..block.rows).step_by(BATCH_ROWS_MAX);
                    let batch = |start| block.slice(start, BATCH_ROWS_MAX.min(block.rows - start));
                    decoded.batches.extend(starts.map(batch));
                    decoded.line_count += block.rows as u64;
                    at = at.saturating_add(taken);
                }
                Err(reason) => {
                    decoded.failure = Some(bad_block(chunk, at, decoded.line_count, reason));
                    return decoded;
                }
            }
        }
        decoded
    }
}

/// Writes records as blocks.
pub struct BlockWriter<T> {
    pending: ArchiveBuilder<T>,
    /// How many bytes the last block left of its last slot: they are filled with zeros before the next.
    padding: usize,
}

impl<T: Record> Default for BlockWriter<T> {
    fn default() -> Self {
        Self { pending: ArchiveBuilder::default(), padding: 0 }
    }
}

impl<T: Record> BlockWriter<T> {
    /// Takes a record; blocks that are full are appended to `out`.
    ///
    /// # Errors
    ///
    /// As [`ArchiveBuilder::push`].
    pub fn push(&mut self, record: &T, out: &mut Vec<u8>) -> Result<(), String> {
        self.pending.push(record)?;
        self.close_full(out);
        Ok(())
    }

    fn close_full(&mut self, out: &mut Vec<u8>) {
        if self.pending.byte_count() >= BLOCK_RECORD_BYTES {
            self.close(out);
        }
    }

    /// Appends what is pending as a block.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.pending.is_empty() {
            return;
        }
        out.resize(out.len() + self.padding, 0);
        let (rows, start) = (self.pending.len() as u32, out.len());
        write_block(&self.pending.finish_payload(), rows, identity::<T>().1, out);
        let length = out.len() - start;
        self.padding = length.next_multiple_of(SLOT_BYTES) - length;
    }

    /// How many records are pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }
}

/// The records as one block, which fills no slot; the builder is empty after that.
pub fn block_of<T: Record>(records: &mut ArchiveBuilder<T>) -> Vec<u8> {
    let rows = records.len() as u32;
    let mut block = Vec::new();
    write_block(&records.finish_payload(), rows, identity::<T>().1, &mut block);
    block
}

/// Writes a column of records.
struct RecordEncoder<T> {
    blocks: BlockWriter<T>,
}

impl<T: Record> Encode for RecordEncoder<T> {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let archives = Archives::<T::Archived>::of(&batch.columns[0]);
        for row in 0..archives.len() {
            self.blocks.pending.push_archive(&archives, row);
            self.blocks.close_full(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.blocks.close(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{DataType, Field};

    #[test]
    fn records_come_back_from_blocks_of_every_size() {
        let texts: Vec<String> = (0..300).map(|index| "x".repeat(index * 97 % 20_000)).collect();
        let (mut writer, mut file) = (BlockWriter::<String>::default(), Vec::new());
        texts.iter().for_each(|text| writer.push(text, &mut file).unwrap());
        let huge = "y".repeat(3 << 20);
        writer.push(&huge, &mut file).unwrap();
        writer.push(&"the last".to_owned(), &mut file).unwrap();
        writer.close(&mut file);
        let schema = Schema::new(vec![Field::new("record", DataType::BYTES).not_null()]);
        let format = RecordFormat::<String>::default();
        let decoded = format.decoder(&schema, &[0]).decode(&Buffer::from_vec(file.clone()), true);
        assert_eq!(decoded.failure, None);
        let mut read: Vec<String> = Vec::new();
        for batch in &decoded.batches {
            let archives = Archives::<rkyv::string::ArchivedString>::of(&batch.columns[0]);
            read.extend((0..archives.len()).map(|row| archives.get(row).as_str().to_owned()));
        }
        assert_eq!(read[..300], texts);
        assert_eq!(read[300..], [huge, "the last".to_owned()]);
        let wrong = RecordFormat::<u64>::default()
            .decoder(&schema, &[0])
            .decode(&Buffer::from_vec(file), true);
        let failure = wrong.failure.unwrap().reason;
        assert_eq!(
            failure,
            "a block holds records of another type than u64 (8 bytes, aligned to 8)"
        );
    }
}
