//! Gathers the bytes of a stream until they are whole records.
//!
//! Where chunks are cut must not depend on how the bytes arrive: a full chunk is every record that ends within
//! the target size, or the one record that is longer.
//!
//! # Invariants
//!
//! 1. `bytes[..best]` are whole records; the bytes before `scan` have been looked at.
//! 2. At most the target, one record of `record_bytes_max` and one read are held.

use arrow_buffer::Buffer;

use super::ends::{Ends, LOOK_BACK_BYTES, Scan};
use super::filesystem::too_long;
use super::{CHUNK_BYTES, RECORD_BYTES_MAX};
use crate::format::{BLOCK_BYTES, BadRecord, Framing, block_part};

/// Bytes asked for at once, unless told otherwise.
pub(super) const READ_BYTES: usize = 256 << 10;

/// How much of a slot tells whether a block begins there.
const SLOT_HEAD_BYTES: usize = 64;

/// Bytes of a stream that are not yet handed out.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    bytes: Vec<u8>,
    /// What ends a record; `None` for blocks.
    ends: Option<Ends>,
    /// How far ends have been looked for.
    scan: Scan,
    best: usize,
    target_bytes: usize,
    record_bytes_max: usize,
    read_bytes: usize,
    /// Inside a record that was given up.
    skipping: bool,
    /// Bytes of whole records that are gone: handed out, or given up.
    passed_bytes: u64,
    /// Bytes of the record that is being given up.
    dropped_bytes: u64,
    /// Records come with another delimiter than the format's.
    foreign: Option<Foreign>,
}

/// How records with another delimiter are made lines.
#[derive(Clone, Copy, Debug)]
struct Foreign {
    delimiter: u8,
    /// Whether newlines inside a record are only blanks (JSON).
    newlines_are_blanks: bool,
}

impl Gather {
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Ends::of(framing),
            scan: Scan::new(),
            best: 0,
            target_bytes: CHUNK_BYTES as usize,
            record_bytes_max: RECORD_BYTES_MAX,
            read_bytes: READ_BYTES,
            skipping: false,
            passed_bytes: 0,
            dropped_bytes: 0,
            foreign: None,
        }
    }

    /// The same with records that end in `delimiter`, whatever is in them; handed out, each is a line.
    pub(super) fn message_delimiter(mut self, delimiter: u8) -> Self {
        if delimiter != b'\n' {
            let newlines_are_blanks = self.ends.is_some_and(|ends| ends.quoting.is_none());
            self.foreign = Some(Foreign { delimiter, newlines_are_blanks });
            self.ends = Some(Ends { delimiter, quoting: None });
        }
        self
    }

    /// The same with another limit to a record.
    pub(super) fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// The same asking for other pieces: many gathers should be small while nothing comes.
    pub(super) fn read_bytes(mut self, bytes: usize) -> Self {
        self.read_bytes = bytes;
        self
    }

    /// The same with chunks of another size.
    #[cfg(test)]
    pub(super) fn target_bytes(mut self, bytes: usize) -> Self {
        self.target_bytes = bytes;
        self
    }

    /// The same in the middle of a stream, behind so many bytes.
    pub(super) fn behind(mut self, bytes: u64) -> Self {
        self.passed_bytes = bytes;
        self
    }

    /// Where in the stream the first record begins that was not handed out.
    pub(super) fn position(&self) -> u64 {
        self.passed_bytes
    }

    /// Where to append what was read; call [`Gather::scan`] afterwards.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        if self.bytes.capacity() - self.bytes.len() < self.read_bytes / 4 {
            self.bytes.reserve(self.read_bytes);
        }
        &mut self.bytes
    }

    /// Looks at what was appended. A record that turns out too long is given up and returned.
    pub(super) fn scan(&mut self) -> Option<BadRecord> {
        let Some(ends) = self.ends else {
            self.scan_blocks();
            return None;
        };
        if self.skipping && !self.skip(ends) {
            return None;
        }
        while self.best < self.target_bytes {
            let before = self.scan;
            let Some(end) = ends.next_end(&self.bytes, &mut self.scan) else { break };
            if end > self.target_bytes && self.best > 0 {
                // It belongs to the next chunk and is looked at again then.
                self.scan = before;
                break;
            }
            self.best = end;
        }
        if self.best > 0 || self.bytes.len() <= self.record_bytes_max {
            return None;
        }
        let bad = too_long(&self.bytes, 0, self.record_bytes_max);
        self.skipping = true;
        self.drop_skipped();
        Some(bad)
    }

    /// Looks for the end of the first block, which is where the next begins.
    fn scan_blocks(&mut self) {
        let slot_bytes = BLOCK_BYTES as usize;
        let mut slot = slot_bytes;
        while self.best == 0 && slot + SLOT_HEAD_BYTES <= self.bytes.len() {
            if block_part(&self.bytes[slot..]) == 0 {
                self.best = slot;
            }
            slot += slot_bytes;
        }
    }

    /// Drops bytes of the record that was given up; whether it has ended.
    fn skip(&mut self, ends: Ends) -> bool {
        let end = ends.next_end(&self.bytes, &mut self.scan);
        if let Some(end) = end {
            self.bytes.drain(..end);
            self.passed_bytes += end as u64 + std::mem::take(&mut self.dropped_bytes);
            self.scan = Scan::new();
            self.skipping = false;
        } else {
            self.drop_skipped();
        }
        end.is_some()
    }

    /// Drops what has been looked at, but for the bytes that a scan looks back at.
    fn drop_skipped(&mut self) {
        let dropped = self.bytes.len().saturating_sub(LOOK_BACK_BYTES);
        self.bytes.drain(..dropped);
        self.dropped_bytes += dropped as u64;
        self.bytes.shrink_to(self.read_bytes);
        self.scan.shift(dropped);
    }

    /// Whether a full chunk has gathered.
    pub(super) fn is_full(&self) -> bool {
        self.best > 0 && self.bytes.len() >= self.target_bytes
    }

    /// Whether a record has begun that is not whole yet.
    pub(super) fn is_started(&self) -> bool {
        self.best < self.bytes.len() || self.skipping
    }

    /// The whole records gathered; `None` if there are none.
    pub(super) fn take(&mut self) -> Option<Buffer> {
        if self.best == 0 {
            return None;
        }
        self.make_lines(self.best);
        let taken = if self.best < self.bytes.capacity() / 4 {
            // A few rows of a slow stream should not hold a large allocation.
            let taken = Buffer::from_slice_ref(&self.bytes[..self.best]);
            self.bytes.drain(..self.best);
            taken
        } else {
            let mut rest = Vec::with_capacity(self.target_bytes + READ_BYTES);
            rest.extend_from_slice(&self.bytes[self.best..]);
            self.bytes.truncate(self.best);
            Buffer::from_vec(std::mem::replace(&mut self.bytes, rest))
        };
        self.shift();
        Some(taken)
    }

    /// As [`Gather::take`], appended to `out`; whether there were any.
    pub(super) fn take_into(&mut self, out: &mut Vec<u8>) -> bool {
        self.make_lines(self.best);
        out.extend(self.bytes.drain(..self.best));
        self.shift()
    }

    /// Forgets the whole records, which are handed out; whether there were any.
    fn shift(&mut self) -> bool {
        if self.ends.is_some() {
            self.scan.shift(self.best);
        }
        self.passed_bytes += self.best as u64;
        std::mem::take(&mut self.best) > 0
    }

    /// What is left at the end of the stream: whole records first, then a record without its delimiter.
    pub(super) fn take_rest(&mut self) -> Option<Buffer> {
        if self.skipping {
            return None;
        }
        if let Some(records) = self.take() {
            return Some(records);
        }
        self.make_lines(self.bytes.len());
        self.scan = Scan::new();
        let rest = std::mem::take(&mut self.bytes);
        self.passed_bytes += rest.len() as u64;
        (!rest.is_empty()).then(|| Buffer::from_vec(rest))
    }

    /// Appends a last record without its delimiter to `out`, with a newline, unless it is not whole: then false.
    /// To be called when [`Gather::take_into`] has found nothing more.
    pub(super) fn take_rest_into(&mut self, out: &mut Vec<u8>) -> bool {
        if self.skipping || self.scan.in_quotes {
            return false;
        }
        if let Some(rest) = self.take_rest() {
            out.extend_from_slice(&rest);
            out.push(b'\n');
        }
        true
    }

    /// Makes the first `length` bytes, whole records, lines.
    fn make_lines(&mut self, length: usize) {
        let Some(Foreign { delimiter, newlines_are_blanks }) = self.foreign else { return };
        for byte in &mut self.bytes[..length] {
            if *byte == delimiter {
                *byte = b'\n';
            } else if *byte == b'\n' && newlines_are_blanks {
                *byte = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(escape: Option<u8>, trim: bool) -> Framing {
        Framing::Quoted(crate::format::Quoting { quote: b'"', delimiter: b',', escape, trim })
    }

    /// The chunks that gather when the bytes come in these pieces.
    fn chunks(pieces: &[&[u8]], framing: Framing, target_bytes: usize) -> Vec<Vec<u8>> {
        let mut gather = Gather::new(framing).target_bytes(target_bytes);
        let mut chunks = Vec::new();
        for piece in pieces {
            gather.space().extend_from_slice(piece);
            assert_eq!(gather.scan(), None);
            while gather.is_full() {
                chunks.push(gather.take().unwrap().to_vec());
                assert_eq!(gather.scan(), None);
            }
        }
        while let Some(rest) = gather.take_rest() {
            chunks.push(rest.to_vec());
            assert_eq!(gather.scan(), None);
        }
        chunks
    }

    proptest! {
        #[test]
        fn chunks_do_not_depend_on_how_bytes_arrive(
            bytes in prop::collection::vec(prop::sample::select(&b"\n\n\"\",a b"[..]), 0..120),
            cuts in prop::collection::vec(0usize..120, 0..20),
            target_bytes in 1usize..40,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            for framing in [Framing::Delimited(b'\n'), quoted(None, false), quoted(Some(b'a'), true)] {
                let whole = chunks(&[&bytes], framing, target_bytes);
                assert_eq!(chunks(&pieces, framing, target_bytes), whole);
                assert_eq!(whole.concat(), bytes);
                for chunk in &whole[..whole.len().saturating_sub(1)] {
                    let lines = chunk.iter().filter(|&&byte| byte == b'\n').count();
                    let one = matches!(framing, Framing::Quoted(_)) || lines == 1;
                    assert!(chunk.ends_with(b"\n") && (chunk.len() <= target_bytes || one));
                }
            }
        }
    }

    #[test]
    fn a_record_too_long_is_passed_over() {
        let mut gather = Gather::new(Framing::Delimited(b'\n')).record_bytes_max(10);
        gather.space().extend_from_slice(b"one\n");
        assert_eq!(gather.scan(), None);
        gather.space().extend_from_slice(b"01234567");
        assert_eq!(gather.scan(), None);
        assert_eq!(gather.take().unwrap().as_slice(), b"one\n");
        assert_eq!(gather.scan(), None);
        gather.space().extend_from_slice(b"89abc");
        assert_eq!(gather.scan().unwrap().record, b"0123456789abc");
        for piece in [&b"def"[..], b"", b"ghi\ntw", b"o\n"] {
            gather.space().extend_from_slice(piece);
            assert_eq!(gather.scan(), None);
        }
        assert_eq!(gather.take().unwrap().as_slice(), b"two\n");
        assert_eq!(gather.take_rest(), None);
    }

    #[test]
    fn a_quoted_record_too_long_ends_where_its_quotes_do() {
        let mut gather = Gather::new(quoted(Some(b'\\'), false)).record_bytes_max(10);
        let mut bad_count = 0;
        for piece in [&b"a,\"0123456789\n"[..], b"\n,\\", b"\"\n\"", b"\"\n\"\nb,\"\n\"\n"] {
            gather.space().extend_from_slice(piece);
            bad_count += usize::from(gather.scan().is_some());
        }
        assert_eq!(bad_count, 1);
        assert_eq!(gather.take().unwrap().as_slice(), b"b,\"\n\"\n");
    }

    #[test]
    fn blocks_are_whole() {
        let bytes =
            crate::connector::filesystem::blocks(&[10, 700_000, 2_500_000, 600_000, 3_000_000]);
        let mut gather = Gather::new(Framing::Blocks);
        let mut all = Vec::new();
        let mut counts = Vec::new();
        for piece in bytes.chunks(77_777) {
            gather.space().extend_from_slice(piece);
            assert_eq!(gather.scan(), None);
            while gather.is_full() {
                let block = gather.take().unwrap();
                assert_eq!(block_part(&block), 0);
                counts.push(block.len() / BLOCK_BYTES as usize);
                all.extend_from_slice(&block);
                gather.scan();
            }
        }
        all.extend_from_slice(&gather.take_rest().unwrap());
        assert!(all == bytes && counts.iter().max() == Some(&3), "{counts:?}");
    }
}
