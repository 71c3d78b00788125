//! Reads a plain file in numbered ranges: the records that start in a range, whole.
//!
//! Chunk *i* of size *c* holds the records that start in bytes `[i × c, (i + 1) × c)`: the reader skips
//! to the first record start and reads past the end to finish the last record. Whether a CSV range
//! begins inside quotes depends on all bytes before it, so reading ([`RangeReader::read_range`]) and
//! cutting ([`RangeReader::cut`]) are two steps: the guess that it does not can be decoded at once
//! and be made again when [`RawRange::ends_in_quotes`] of the range before says otherwise.
//!
//! ```text
//!            start                         end
//!              │                            │
//!   …,7\na,1\nb│,2\nc,"x                    │y",3\nd,4\n
//!              │    ╰──── chunk i ──────────┼──────╯
//!              ╰ the tail of chunk i - 1    ╰ read beyond to finish
//! ```
//!
//! # Invariants
//!
//! 1. What a chunk holds depends on the file's first `length_bytes` bytes, the chunk size and the index alone.
//! 2. The concatenation of all chunks, in order, is the file.
//! 3. At most the range, one record and a few kilobytes are held.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_buffer::Buffer;
use memchr::{memchr, memchr_iter};

use crate::connector::ends::{Ends, LOOK_BACK_BYTES};
use crate::connector::{RECORD_BYTES_MAX, RangedSplit};
use crate::error::JobError;
use crate::format::{BLOCK_BYTES, BadRecord, Framing, Quoting, block_part};

/// How far beyond a range is read at once in the hope that its last record ends there.
const BEYOND_BYTES: u64 = 4096;

/// A line of the cache.
const LINE_BYTES: usize = 64;

/// Reads ranges of one file. Cheap; every shard may have its own.
#[derive(Debug)]
pub struct RangeReader {
    file: File,
    path: PathBuf,
    length_bytes: u64,
    chunk_bytes: u64,
    framing: Framing,
    record_bytes_max: usize,
}

/// The bytes of a range, read but not yet cut into records.
#[derive(Debug)]
pub struct RawRange {
    /// The range, with a few bytes before it and what was read beyond it.
    bytes: Buffer,
    /// Where in the file `bytes` starts.
    offset_bytes: u64,
    /// Where in `bytes` the range starts.
    start: usize,
    /// Where in `bytes` the range ends.
    end: usize,
    /// Where in `bytes` a scan enters the range, and the next range: there it is told whether that is in quotes.
    entry: (usize, usize),
    /// What ends a record, if the range holds a quote; else it ends as it begins.
    quoted: Option<Ends>,
    /// [`RawRange::ends_in_quotes`] of `false` and of `true`, once computed.
    answers: [Option<bool>; 2],
}

/// The whole records of a chunk.
#[derive(Clone, Debug)]
pub struct ChunkBytes {
    /// The records, delimiters included (the file's last may lack it); possibly none.
    pub records: Buffer,
    /// Where in the file they start.
    pub offset_bytes: u64,
    /// The record after them, if it is longer than a record may be.
    pub oversized: Option<BadRecord>,
}

impl RangeReader {
    /// Opens `split`, to be read in chunks of `chunk_bytes`.
    ///
    /// # Errors
    ///
    /// What the kernel says, with the path.
    ///
    /// # Panics
    ///
    /// If `chunk_bytes` is 0.
    pub fn open(split: &RangedSplit, framing: Framing, chunk_bytes: u64) -> Result<Self, JobError> {
        assert!(chunk_bytes > 0);
        let origin = || split.path.display().to_string();
        let file = File::open(&split.path).map_err(|error| JobError::io(origin(), error))?;
        let (path, length_bytes) = (split.path.clone(), split.length_bytes);
        Ok(Self {
            file,
            path,
            length_bytes,
            chunk_bytes,
            framing,
            record_bytes_max: RECORD_BYTES_MAX,
        })
    }

    /// How many chunks the file has.
    pub fn chunk_count(&self) -> u64 {
        self.length_bytes.div_ceil(self.chunk_bytes)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a chunk depends on the quotes before it, so that the answer of [`RawRange::ends_in_quotes`] must be handed on.
    pub fn needs_quotes(&self) -> bool {
        matches!(self.framing, Framing::Quoted(_))
    }

    /// Reads range `chunk_index` and cuts it: the records that start in it, `in_quotes` telling whether it begins inside quotes.
    ///
    /// # Errors
    ///
    /// As [`RangeReader::read_range`].
    pub fn read_chunk(&self, chunk_index: u64, in_quotes: bool) -> Result<ChunkBytes, JobError> {
        self.cut(&mut self.read_range(chunk_index)?, in_quotes)
    }

    /// Reads range `chunk_index`; one beyond the end is empty.
    ///
    /// # Errors
    ///
    /// What the kernel says, and a file that is shorter than when it was listed.
    pub fn read_range(&self, chunk_index: u64) -> Result<RawRange, JobError> {
        let (from, to) = self.extent(chunk_index);
        let mut bytes: Vec<u8> = Vec::with_capacity((to - from) as usize + LINE_BYTES);
        // Pages are copied fastest to where lines of the cache begin, so a little more is read before them.
        let more = (from as usize).wrapping_sub(bytes.as_ptr().addr()) % LINE_BYTES;
        self.read(&mut bytes, from.saturating_sub(more as u64), to)?;
        Ok(self.range_of(chunk_index, bytes))
    }

    /// The bytes of the file, from and to, that [`RangeReader::range_of`] makes range `chunk_index` of.
    pub fn extent(&self, chunk_index: u64) -> (u64, u64) {
        let (start, end) = self.bounds(chunk_index);
        let from = start.saturating_sub(LOOK_BACK_BYTES as u64);
        if start >= end {
            return (from, from);
        }
        (from, end.saturating_add(BEYOND_BYTES).min(self.length_bytes))
    }

    /// Where range `chunk_index` starts and ends.
    fn bounds(&self, chunk_index: u64) -> (u64, u64) {
        let start = chunk_index.saturating_mul(self.chunk_bytes).min(self.length_bytes);
        (start, start.saturating_add(self.chunk_bytes).min(self.length_bytes))
    }

    /// Range `chunk_index`, of the bytes of its [`RangeReader::extent`], which somebody else has read, and perhaps of some before these.
    ///
    /// # Panics
    ///
    /// If there are fewer of them, or more than the file has.
    pub fn range_of(&self, chunk_index: u64, bytes: Vec<u8>) -> RawRange {
        let (start, end) = self.bounds(chunk_index);
        let (asked_start, read_end) = self.extent(chunk_index);
        let offset_bytes = read_end.checked_sub(bytes.len() as u64);
        let offset_bytes = offset_bytes.filter(|&offset_bytes| offset_bytes <= asked_start);
        let offset_bytes = offset_bytes.expect("the bytes that were asked for");
        let (start, end) = ((start - offset_bytes) as usize, (end - offset_bytes) as usize);
        let (mut quoted, mut entry) = (None, (start, end));
        if let Some(ends) = Ends::of(self.framing).filter(|_| start < end) {
            entry = (ends.settle(&bytes, start), ends.settle(&bytes, end));
            let has_quote =
                |quoting: Quoting| memchr(quoting.quote, &bytes[entry.0..entry.1]).is_some();
            quoted = ends.quoting.is_some_and(has_quote).then_some(ends);
        }
        RawRange {
            bytes: Buffer::from_vec(bytes),
            offset_bytes,
            start,
            end,
            entry,
            quoted,
            answers: [None; 2],
        }
    }

    /// The records that start in `range`, which begins inside quotes if `in_quotes` says so (`false` where the
    /// framing knows no quotes). May be called again with the other answer.
    ///
    /// # Errors
    ///
    /// As [`RangeReader::read_range`]: the last record may end beyond what was read.
    pub fn cut(&self, range: &mut RawRange, in_quotes: bool) -> Result<ChunkBytes, JobError> {
        let empty =
            |offset_bytes| ChunkBytes { records: Buffer::default(), offset_bytes, oversized: None };
        let range_end = range.offset_bytes + range.end as u64;
        if range.start >= range.end {
            return Ok(empty(range_end));
        }
        let Some(ends) = Ends::of(self.framing) else { return self.cut_blocks(range) };
        let first = match range.offset_bytes {
            0 if range.start == 0 => Some(0),
            _ => ends.record_start(&range.bytes, range.entry.0, in_quotes),
        };
        let Some(first) = first.filter(|&first| first < range.end) else {
            return Ok(empty(range_end));
        };
        let offset_bytes = range.offset_bytes + first as u64;
        let after = range.ends_in_quotes(in_quotes);
        range.answers[usize::from(in_quotes)] = Some(after);
        let Some(last) = self.extend(range, ends, after)? else {
            let last = last_record_start(ends, &range.bytes[..range.end], first);
            let oversized =
                Some(self.oversized(&range.bytes[first..], last - first, ends.delimiter));
            return Ok(ChunkBytes {
                records: slice(&range.bytes, first, last),
                offset_bytes,
                oversized,
            });
        };
        Ok(ChunkBytes { records: slice(&range.bytes, first, last), offset_bytes, oversized: None })
    }

    /// Where in `range` its last record ends, reading on as far as needed; `None` if the record is too long.
    fn extend(
        &self,
        range: &mut RawRange,
        ends: Ends,
        in_quotes: bool,
    ) -> Result<Option<usize>, JobError> {
        // The next range looks for its first record in just this way.
        let entry = range.entry.1;
        if ends.record_start(&range.bytes[..entry], entry, in_quotes) == Some(entry) {
            return Ok(Some(entry));
        }
        let mut scan = ends.enter(&range.bytes, entry, in_quotes);
        loop {
            if let Some(end) = ends.next_end(&range.bytes, &mut scan) {
                return Ok(Some(end));
            }
            let held = range.bytes.len();
            let read_end = range.offset_bytes + held as u64;
            if read_end >= self.length_bytes {
                return Ok(Some(held));
            }
            let beyond_bytes = held - range.end;
            if beyond_bytes > self.record_bytes_max {
                return Ok(None);
            }
            let more_bytes = (beyond_bytes as u64)
                .min((self.record_bytes_max - beyond_bytes) as u64)
                .max(BEYOND_BYTES);
            self.read_on(range, read_end.saturating_add(more_bytes))?;
        }
    }

    /// The blocks that start in `range`: from its first slot that begins a block to the next such slot at or after its end.
    fn cut_blocks(&self, range: &mut RawRange) -> Result<ChunkBytes, JobError> {
        let range_start = range.offset_bytes + range.start as u64;
        let range_end = range.offset_bytes + range.end as u64;
        let first = self.block_start(range, range_start, range_end)?.min(range_end);
        let last = if first == range_end {
            first
        } else {
            self.block_start(range, range_end, self.length_bytes)?
        };
        self.read_on(range, last)?;
        let (from, to) =
            ((first - range.offset_bytes) as usize, (last - range.offset_bytes) as usize);
        Ok(ChunkBytes {
            records: slice(&range.bytes, from, to),
            offset_bytes: first,
            oversized: None,
        })
    }

    /// The first slot of the file from `position` on that begins a block; `limit` or beyond if there is none before.
    fn block_start(
        &self,
        range: &mut RawRange,
        position: u64,
        limit: u64,
    ) -> Result<u64, JobError> {
        let mut slot = position.next_multiple_of(BLOCK_BYTES);
        while slot < limit {
            self.read_on(range, slot.saturating_add(BEYOND_BYTES))?;
            if block_part(&range.bytes[(slot - range.offset_bytes) as usize..]) == 0 {
                break;
            }
            slot += BLOCK_BYTES;
        }
        Ok(slot.min(self.length_bytes))
    }

    /// Makes `range` hold the file's bytes up to `read_end`, or to the file's end.
    fn read_on(&self, range: &mut RawRange, read_end: u64) -> Result<(), JobError> {
        let read_end = read_end.min(self.length_bytes);
        if read_end <= range.offset_bytes + range.bytes.len() as u64 {
            return Ok(());
        }
        // Not shared unless an earlier cut of the same range is still held.
        let mut bytes = std::mem::take(&mut range.bytes)
            .into_vec::<u8>()
            .unwrap_or_else(|shared| shared.to_vec());
        let read_start = range.offset_bytes + bytes.len() as u64;
        self.read(&mut bytes, read_start, read_end)?;
        range.bytes = Buffer::from_vec(bytes);
        Ok(())
    }

    /// Appends bytes `start .. end` of the file.
    fn read(&self, bytes: &mut Vec<u8>, start: u64, end: u64) -> Result<(), JobError> {
        let filled = bytes.len();
        bytes.reserve_exact((end - start) as usize);
        let mut position = start;
        while position < end {
            let old_bytes = bytes.len();
            let read =
                rustix::io::pread(&self.file, rustix::buffer::spare_capacity(bytes), position);
            match read {
                Ok(0) => return Err(self.shrunk(position)),
                Ok(_) => position += (bytes.len() - old_bytes) as u64,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(JobError::io(self.path.display().to_string(), error.into()));
                }
            }
        }
        // The capacity may be larger than asked for, and so the last read may have gone beyond `end`.
        bytes.truncate(filled + (end - start) as usize);
        Ok(())
    }

    fn shrunk(&self, position: u64) -> JobError {
        let message = format!(
            "the file was {} bytes long when it was listed and ends at byte {position} now; it must not be changed while it is read",
            self.length_bytes
        );
        let source = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message);
        JobError::io(self.path.display().to_string(), source)
    }

    /// The record at `records[start..]`, which is too long.
    fn oversized(&self, records: &[u8], start: usize, delimiter: u8) -> BadRecord {
        too_long(
            &records[start..],
            memchr_iter(delimiter, &records[..start]).count() as u64,
            self.record_bytes_max,
        )
    }
}

/// A record of which `record` is the beginning, after `line_index` lines of its chunk.
pub(crate) fn too_long(record: &[u8], line_index: u64, bytes_max: usize) -> BadRecord {
    let reason = format!("the record is longer than {bytes_max} bytes");
    BadRecord {
        line_index,
        column: 1,
        reason,
        record: record[..record.len().min(BadRecord::BYTES_MAX)].to_vec(),
    }
}

impl RawRange {
    /// Whether the next range begins inside quotes, if this one does as `in_quotes` says.
    pub fn ends_in_quotes(&self, in_quotes: bool) -> bool {
        let Some(ends) = self.quoted else { return in_quotes };
        if let Some(answer) = self.answers[usize::from(in_quotes)] {
            return answer;
        }
        ends.in_quotes_at_end(&self.bytes[..self.entry.1], self.entry.0, in_quotes)
    }
}

fn slice(bytes: &Buffer, start: usize, end: usize) -> Buffer {
    bytes.slice_with_length(start, end - start)
}

/// Where the last record of `bytes` begins, the first beginning at `first`.
fn last_record_start(ends: Ends, bytes: &[u8], first: usize) -> usize {
    let mut scan = ends.enter(bytes, first, false);
    let mut last = first;
    while let Some(end) = ends.next_end(bytes, &mut scan).filter(|&end| end < bytes.len()) {
        last = end;
    }
    last
}

#[cfg(test)]
#[path = "range_tests.rs"]
pub(super) mod tests;
