//! The 64 bytes at the start of each slot of a block, as drawn in the format's module.

use arrow_buffer::Buffer;

use super::SLOT_BYTES;
use crate::sys::checksum::xxh64;

/// The size of a header.
pub(super) const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"tidemill";
const VERSION: u32 = 1;

/// How much of a payload one slot takes.
const PART_BYTES: usize = SLOT_BYTES - HEADER_BYTES;

/// A header that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) part: u32,
    pub(super) parts: u32,
    pub(super) rows: u32,
    pub(super) schema_hash: u64,
    pub(super) payload_bytes: u64,
    checksum: u64,
}

impl Header {
    /// Reads the header at the start of `slot`.
    pub(super) fn read(slot: &[u8]) -> Result<Self, String> {
        let Some(bytes) = slot.first_chunk::<HEADER_BYTES>() else {
            return Err(format!(
                "a block's header has {HEADER_BYTES} bytes, here are {}",
                slot.len()
            ));
        };
        if &bytes[..8] != MAGIC {
            return Err(
                "no block begins here: it is no rkyv file of Tidemill, or it is damaged".into()
            );
        }
        let u32_at =
            |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        if xxh64(&bytes[..56]) != u64_at(56) {
            return Err("a block's header is damaged: its checksum differs".into());
        }
        if u32_at(8) != VERSION {
            return Err(format!(
                "the block's version is {}, this program reads {VERSION}",
                u32_at(8)
            ));
        }
        let header = Self {
            part: u32_at(12),
            parts: u32_at(16),
            rows: u32_at(20),
            schema_hash: u64_at(24),
            payload_bytes: u64_at(32),
            checksum: u64_at(40),
        };
        if u64::from(header.parts) != header.payload_bytes.div_ceil(PART_BYTES as u64).max(1)
            || header.part >= header.parts
        {
            return Err("a block's header contradicts itself".into());
        }
        Ok(header)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        for value in [VERSION, self.part, self.parts, self.rows] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for value in [self.schema_hash, self.payload_bytes, self.checksum, 0] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let checksum = xxh64(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// The payload of the block whose first slot is at byte `at` of `chunk`, without copying where it has one part.
    pub(super) fn payload(&self, chunk: &Buffer, at: usize) -> Result<Buffer, String> {
        let available = chunk.len() - at;
        let needed = self.payload_bytes.saturating_add(u64::from(self.parts) * HEADER_BYTES as u64);
        if needed > available as u64 {
            return Err(format!("a block of {needed} bytes is cut off after {available}"));
        }
        let total = self.payload_bytes as usize;
        let payload = if self.parts == 1 {
            chunk.slice_with_length(at + HEADER_BYTES, total)
        } else {
            let mut payload = Vec::with_capacity(total);
            for part in 0..self.parts {
                let slot = &chunk[at + part as usize * SLOT_BYTES..];
                if Header::read(slot)? != (Header { part, ..*self }) {
                    return Err(format!("part {part} of a block belongs to another block"));
                }
                let length = PART_BYTES.min(total - payload.len());
                payload.extend_from_slice(&slot[HEADER_BYTES..HEADER_BYTES + length]);
            }
            Buffer::from_vec(payload)
        };
        if xxh64(&payload) != self.checksum {
            return Err("a block is damaged: its checksum differs".into());
        }
        Ok(payload)
    }
}

/// Appends a block; `out` ends at a slot's start.
pub(super) fn write_block(payload: &[u8], rows: u32, schema_hash: u64, out: &mut Vec<u8>) {
    let parts = payload.len().div_ceil(PART_BYTES).max(1) as u32;
    let checksum = xxh64(payload);
    for part in 0..parts {
        let header = Header {
            part,
            parts,
            rows,
            schema_hash,
            payload_bytes: payload.len() as u64,
            checksum,
        };
        header.write(out);
        let start = part as usize * PART_BYTES;
        out.extend_from_slice(&payload[start..payload.len().min(start + PART_BYTES)]);
    }
}
