//! Groups: what an ingest log is made of. A group is what one sync made durable, whole or not at all.
//!
//! | bytes | what, little endian |
//! |---|---|
//! | 8 | the kind: [`Kind::Records`] or [`Kind::Offsets`] |
//! | 8 | the position in the log of the first byte of its records |
//! | 4 | the length of the table of clients |
//! | 4 | the length of the records |
//! | 8 | XXH64 of the records |
//! | … | the table: for each client its offset behind this group (8), the length of its id (1), its id |
//! | 8 | XXH64 of everything up to here: with the above it is the head |
//! | … | the records: lines |
//!
//! # Invariants
//!
//! 1. A client's records and the offset behind them are under checksums of one group: either both are there or neither.
//! 2. A group is looked at only after its checksums were found right; a length that is not under a checksum that was
//!    found right allocates nothing beyond the file's length.

use std::sync::Arc;

use crate::sys::checksum::xxh64;
use crate::sys::storage::StoredFile;

/// What every kind begins with. No text in UTF-8 holds it.
pub(in crate::connector) const MAGIC: &[u8; 7] = b"\x89tidlog";
/// Bytes of a head before the table.
const FRONT_BYTES: usize = 32;
/// Bytes asked of the file at once.
const READ_BYTES: usize = 256 << 10;

/// What a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::connector) enum Kind {
    /// Records, and the offsets of the clients that they are from.
    Records,
    /// The beginning of a segment: the offsets of all clients, the one heard of longest ago first; no records.
    Offsets,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Kind::Records => b'R',
            Kind::Offsets => b'O',
        }
    }
}

/// A whole group.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connector) struct Group<'a> {
    pub(in crate::connector) kind: Kind,
    pub(in crate::connector) position: u64,
    /// Clients and their offsets, in the order written.
    pub(in crate::connector) clients: Vec<(&'a str, u64)>,
    pub(in crate::connector) records: &'a [u8],
}

/// Why bytes are no group.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connector) struct Flaw {
    pub(in crate::connector) reason: &'static str,
    /// How long the group was to be, if its head is right.
    pub(in crate::connector) group_bytes: Option<usize>,
}

/// The head of a group; its records follow.
pub(in crate::connector) fn head<'a>(
    kind: Kind,
    position: u64,
    clients: impl Iterator<Item = (&'a str, u64)>,
    records: &[u8],
) -> Vec<u8> {
    let mut head = Vec::with_capacity(128);
    head.extend_from_slice(MAGIC);
    head.push(kind.byte());
    head.extend_from_slice(&position.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(&length(records.len()));
    head.extend_from_slice(&xxh64(records).to_le_bytes());
    assert_eq!(head.len(), FRONT_BYTES);
    for (id, offset) in clients {
        head.extend_from_slice(&offset.to_le_bytes());
        head.push(u8::try_from(id.len()).expect("ids are short"));
        head.extend_from_slice(id.as_bytes());
    }
    let table_bytes = length(head.len() - FRONT_BYTES);
    head[16..20].copy_from_slice(&table_bytes);
    head.extend_from_slice(&xxh64(&head).to_le_bytes());
    head
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("clients and their records are bounded").to_le_bytes()
}

/// The lengths of a head and of the whole group, as `front` has them, which nobody has checked yet.
fn lengths(front: &[u8; FRONT_BYTES]) -> (usize, usize) {
    let word =
        |at: usize| u32::from_le_bytes(front[at..at + 4].try_into().expect("four bytes")) as usize;
    let head_bytes = FRONT_BYTES + word(16) + 8;
    (head_bytes, head_bytes + word(20))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// The group that `bytes` begin with.
pub(in crate::connector) fn check(bytes: &[u8]) -> Result<Group<'_>, Flaw> {
    let flaw = |reason| Flaw { reason, group_bytes: None };
    let Some((front, _)) = bytes.split_first_chunk::<FRONT_BYTES>() else {
        return Err(flaw("its head is cut short"));
    };
    let kind = match front[..8].strip_prefix(MAGIC) {
        Some(b"R") => Kind::Records,
        Some(b"O") => Kind::Offsets,
        _ => return Err(flaw("no group begins here")),
    };
    let (head_bytes, group_bytes) = lengths(front);
    let Some(head) = bytes.get(..head_bytes) else { return Err(flaw("its head is cut short")) };
    let (head, checksum) = head.split_at(head_bytes - 8);
    if xxh64(head) != number(checksum) {
        return Err(flaw("the checksum of its head differs"));
    }
    let flaw = |reason| Flaw { reason, group_bytes: Some(group_bytes) };
    let Some(records) = bytes.get(head_bytes..group_bytes) else {
        return Err(flaw("its records are cut short"));
    };
    if xxh64(records) != number(&front[24..32]) {
        return Err(flaw("the checksum of its records differs"));
    }
    let clients = clients(&head[FRONT_BYTES..]).ok_or(flaw("its table of clients is malformed"))?;
    Ok(Group { kind, position: number(&front[8..16]), clients, records })
}

fn clients(mut table: &[u8]) -> Option<Vec<(&str, u64)>> {
    let mut clients = Vec::new();
    while !table.is_empty() {
        let (offset, rest) = table.split_first_chunk::<8>()?;
        let (&length, rest) = rest.split_first()?;
        let (id, rest) = rest.split_at_checked(length.into())?;
        clients.push((std::str::from_utf8(id).ok()?, u64::from_le_bytes(*offset)));
        table = rest;
    }
    Some(clients)
}

/// Reads the groups of a segment in turn.
#[derive(Debug)]
pub(in crate::connector) struct GroupReader {
    file: Arc<dyn StoredFile>,
    file_bytes: u64,
    /// Where in the file `buffer[start..]` begins, and the next group.
    offset_bytes: u64,
    buffer: Vec<u8>,
    start: usize,
}

/// What comes next in a segment.
#[derive(Debug)]
pub(in crate::connector) enum Next<'a> {
    Group(Group<'a>),
    End,
    Flaw(Flaw),
}

impl GroupReader {
    pub(in crate::connector) fn new(file: Arc<dyn StoredFile>) -> std::io::Result<Self> {
        let file_bytes = file.length_bytes()?;
        Ok(Self { file, file_bytes, offset_bytes: 0, buffer: Vec::new(), start: 0 })
    }

    /// Where the next group begins; after a flaw, where that is.
    pub(in crate::connector) fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    pub(in crate::connector) fn next(&mut self) -> std::io::Result<Next<'_>> {
        if self.offset_bytes == self.file_bytes {
            return Ok(Next::End);
        }
        self.fill(FRONT_BYTES)?;
        if let Some((front, _)) = self.buffer[self.start..].split_first_chunk::<FRONT_BYTES>() {
            self.fill(lengths(front).1)?;
        }
        match check(&self.buffer[self.start..]) {
            Ok(group) => {
                let front = self.buffer[self.start..].first_chunk().expect("it was checked");
                let group_bytes = lengths(front).1;
                self.start += group_bytes;
                self.offset_bytes += group_bytes as u64;
                Ok(Next::Group(group))
            }
            Err(flaw) => Ok(Next::Flaw(flaw)),
        }
    }

    /// Everything from `offset_bytes` on.
    pub(in crate::connector) fn rest(&mut self) -> std::io::Result<&[u8]> {
        self.fill(usize::MAX)?;
        Ok(&self.buffer[self.start..])
    }

    /// Has `count` bytes from the next group's start on in the buffer, or all that the file has.
    fn fill(&mut self, count: usize) -> std::io::Result<()> {
        let left_bytes = usize::try_from(self.file_bytes - self.offset_bytes).unwrap_or(usize::MAX);
        let count = count.min(left_bytes);
        if self.buffer.len() - self.start >= count {
            return Ok(());
        }
        self.buffer.drain(..std::mem::take(&mut self.start));
        let mut filled = self.buffer.len();
        self.buffer.resize(count.max(READ_BYTES).min(left_bytes), 0);
        while filled < self.buffer.len() {
            let offset = self.offset_bytes + filled as u64;
            match self.file.read_at(offset, &mut self.buffer[filled..])? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                bytes => filled += bytes,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Vec<u8> {
        let clients = [("a", 7), ("sensor-1", u64::MAX)];
        let mut bytes = head(Kind::Records, 12, clients.into_iter(), b"one\ntwo\n");
        bytes.extend_from_slice(b"one\ntwo\n");
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = group();
        bytes.extend_from_slice(b"more");
        let group = check(&bytes).unwrap();
        assert_eq!(
            (group.kind, group.position, group.records),
            (Kind::Records, 12, &b"one\ntwo\n"[..])
        );
        assert_eq!(group.clients, [("a", 7), ("sensor-1", u64::MAX)]);
    }

    #[test]
    fn no_bit_may_differ_and_no_byte_be_missing() {
        let bytes = group();
        for length in 0..bytes.len() {
            assert!(check(&bytes[..length]).is_err(), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bytes).is_err(), "{bit}");
        }
        let mut torn = bytes.clone();
        *torn.last_mut().unwrap() = b'x';
        assert_eq!(check(&torn).unwrap_err().group_bytes, Some(bytes.len()));
    }
}
