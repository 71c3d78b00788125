//! The log: what has been received, in segment files of groups, until a snapshot covers it.
//!
//! A *position* counts the bytes of records from the log's beginning on. A segment is called `<log>-<position of its
//! first record, 20 digits>` and begins with a group of all clients' offsets, so that the segments before it can go.
//! The next is begun when the last has come to [`SEGMENT_BYTES`].
//!
//! # Opening
//!
//! A group is written only when the one before is durable, so a crash can tear the last group alone: if nothing that is
//! right follows, it is cut off; it was neither acknowledged nor counted. Bytes that are wrong with a right group behind
//! them are damage, and so are wrong bytes in any segment but the last. What is there may have been written and not
//! synced by a process that died, so it is synced before anything is said about it.
//!
//! # Invariants
//!
//! 1. `file` is the segment of the last of `starts`; its first `file_bytes` are groups, all durable, up to `end`.
//! 2. A segment is begun only when all before it is durable, and is never removed while it is the last.
//! 3. After a write or a sync that failed nobody knows what is on the disk, so nothing is appended any more. A full
//!    disk is an exception: the same group is written again to the same place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memmem;

use super::group::{self, Flaw, Group, GroupReader, Kind, MAGIC, Next};
use super::offsets::{IDS_COUNT_MAX, Offsets};
use super::replay::Replay;
use crate::crash_point;
use crate::error::StateError;
use crate::planted;
use crate::sys::storage::{Storage, StoredFile};

/// When a segment is full; sooner where jobs are killed, so that segments come and go.
pub(crate) const SEGMENT_BYTES: u64 =
    if cfg!(feature = "crash-points") { 16 << 10 } else { 64 << 20 };
/// Digits in a segment's name.
const DIGITS: usize = 20;
/// What is damaged, in messages.
pub(super) const WHAT: &str = "the ingest log";

/// Where a log's files are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl Place {
    pub(crate) fn new(storage: Arc<dyn Storage>, path: PathBuf) -> Self {
        Self { storage, path }
    }

    pub(super) fn segment_path(&self, start: u64) -> PathBuf {
        segment_path(&self.path, start)
    }

    pub(super) fn open_segment(&self, start: u64) -> Result<Arc<dyn StoredFile>, StateError> {
        let path = self.segment_path(start);
        self.storage.open(&path).map_err(|error| StateError::io(&path, error))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    fn sync_folder(&self) -> Result<(), StateError> {
        self.storage
            .sync_folder(self.folder())
            .map_err(|error| StateError::io(self.folder(), error))
    }

    fn remove(&self, start: u64) -> Result<(), StateError> {
        let path = self.segment_path(start);
        self.storage.remove(&path).map_err(|error| StateError::io(&path, error))
    }

    /// Damage in the segment that begins at `start`.
    pub(super) fn damaged(
        &self,
        start: u64,
        offset_bytes: u64,
        reason: impl Into<String>,
    ) -> StateError {
        damaged(&self.segment_path(start), offset_bytes, reason.into())
    }

    /// Begins a segment with these offsets; it is durable then. Also its length.
    fn create_segment(
        &self,
        start: u64,
        offsets: &Offsets,
    ) -> Result<(Arc<dyn StoredFile>, u64), StateError> {
        let path = self.segment_path(start);
        let head = group::head(Kind::Offsets, start, offsets.iter(), b"");
        let create = || {
            let file = match self.storage.create(&path) {
                // Left by an attempt that found the disk full.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    self.storage.remove(&path)?;
                    self.storage.create(&path)?
                }
                other => other?,
            };
            file.write_at(0, &head)?;
            file.sync()?;
            Ok(file)
        };
        let file = create().map_err(|error| self.refusal(&path, error, head.len() as u64))?;
        self.sync_folder()?;
        crash_point!("ingest-segment-created");
        Ok((file, head.len() as u64))
    }

    /// What the disk said to a write of so many bytes.
    fn refusal(&self, path: &Path, error: std::io::Error, requested_bytes: u64) -> StateError {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if !matches!(error.kind(), StorageFull | QuotaExceeded) {
            return StateError::io(path, error);
        }
        let available_bytes = self.storage.free_bytes(path).unwrap_or(0);
        StateError::Full { path: path.display().to_string(), requested_bytes, available_bytes }
    }
}

/// An ingest log, to be appended to.
#[derive(Debug)]
pub(crate) struct Log {
    place: Place,
    segment_bytes: u64,
    starts: Vec<u64>,
    file: Arc<dyn StoredFile>,
    file_bytes: u64,
    end: u64,
    offsets: Offsets,
    broken: bool,
}

impl Log {
    /// Opens the log, or begins it, with segments of this size. Also what is in it from `position` on.
    pub(crate) fn open(
        place: Place,
        position: u64,
        segment_bytes: u64,
    ) -> Result<(Self, Replay), StateError> {
        let mut starts = starts(&*place.storage, &place.path)?;
        let tail = match newest(&place, &mut starts)? {
            Some(tail) => tail,
            None => {
                let offsets = Offsets::new(IDS_COUNT_MAX);
                let (file, file_bytes) = place.create_segment(0, &offsets)?;
                starts.push(0);
                Tail { file, file_bytes, end: 0, offsets }
            }
        };
        place.sync_folder()?;
        if let Some(reason) = outside(starts[0], tail.end, position) {
            return Err(damaged(&place.path, 0, reason));
        }
        let replay = Replay::new(place.clone(), &starts, position, tail.end);
        let Tail { file, file_bytes, end, offsets } = tail;
        let log =
            Self { place, segment_bytes, starts, file, file_bytes, end, offsets, broken: false };
        Ok((log, replay))
    }

    /// Behind the last record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// How much of this client's stream is durable.
    pub(crate) fn offset(&self, id: &str) -> u64 {
        self.offsets.get(id)
    }

    /// Makes records durable, and the offsets of those they are from. A full disk changes nothing: try again.
    pub(crate) fn append<'a>(
        &mut self,
        clients: impl Iterator<Item = (&'a str, u64)> + Clone,
        records: &[u8],
    ) -> Result<(), StateError> {
        let path = self.place.segment_path(*self.starts.last().expect("there is a segment"));
        if self.broken {
            let error = std::io::Error::other("an earlier write to the ingest log has failed");
            return Err(StateError::io(&path, error));
        }
        let appended = self.try_append(&path, clients, records);
        self.broken = !matches!(appended, Ok(()) | Err(StateError::Full { .. }));
        appended
    }

    fn try_append<'a>(
        &mut self,
        path: &Path,
        clients: impl Iterator<Item = (&'a str, u64)> + Clone,
        records: &[u8],
    ) -> Result<(), StateError> {
        let is_begun = self.starts.last() != Some(&self.end);
        if self.file_bytes >= self.segment_bytes && is_begun {
            (self.file, self.file_bytes) = self.place.create_segment(self.end, &self.offsets)?;
            self.starts.push(self.end);
            return self.try_append(&self.place.segment_path(self.end), clients, records);
        }
        let head = group::head(Kind::Records, self.end, clients.clone(), records);
        let (head_bytes, group_bytes) = (head.len() as u64, (head.len() + records.len()) as u64);
        crash_point!("ingest-append-before");
        let written = self.file.write_at(self.file_bytes, &head);
        written
            .and_then(|()| self.file.write_at(self.file_bytes + head_bytes, records))
            .map_err(|error| self.place.refusal(path, error, group_bytes))?;
        crash_point!("ingest-appended");
        if !planted!("ingest-skip-sync") {
            self.file.sync().map_err(|error| StateError::io(path, error))?;
        }
        crash_point!("ingest-synced");
        self.file_bytes += group_bytes;
        self.end += records.len() as u64;
        for (id, offset) in clients {
            self.offsets.set(id, offset);
        }
        Ok(())
    }

    /// Removes the segments that lie before `position`.
    pub(crate) fn release(&mut self, position: u64) -> Result<(), StateError> {
        let mut removed = false;
        while self.starts.len() > 1 && self.starts[1] <= position {
            self.place.remove(self.starts[0])?;
            self.starts.remove(0);
            removed = true;
            crash_point!("ingest-segment-removed");
        }
        if removed { self.place.sync_folder() } else { Ok(()) }
    }
}

/// The last segment, up to the end of its last group.
struct Tail {
    file: Arc<dyn StoredFile>,
    file_bytes: u64,
    end: u64,
    offsets: Offsets,
}

/// The last segment, whole and durable; `None` if there is none.
fn newest(place: &Place, starts: &mut Vec<u64>) -> Result<Option<Tail>, StateError> {
    let Some(&last) = starts.last() else { return Ok(None) };
    let (mut tail, mut torn) = scan(place, last)?;
    let mut start = last;
    if tail.file_bytes == 0 {
        // Its beginning was not finished: everything is in the segments before.
        starts.pop();
        match starts.last() {
            Some(&before) => {
                (tail, torn) = scan(place, before)?;
                start = before;
                if let Some(reason) = unfinished(torn, tail.end, last) {
                    return Err(place.damaged(before, tail.file_bytes, reason));
                }
                place.remove(last)?;
            }
            None if last == 0 => return place.remove(last).map(|()| None),
            None => return Err(place.damaged(last, 0, torn.unwrap_or("it is empty"))),
        }
    }
    let settle = || {
        if torn.is_some() {
            tail.file.set_length(tail.file_bytes)?;
        }
        tail.file.sync()
    };
    settle().map_err(|error| StateError::io(&place.segment_path(start), error))?;
    Ok(Some(tail))
}

/// Reads a segment up to its end or to a torn group, and what is wrong with that.
fn scan(place: &Place, start: u64) -> Result<(Tail, Option<&'static str>), StateError> {
    let file = place.open_segment(start)?;
    let segment = read_segment(&file, start);
    let segment = segment.map_err(|error| StateError::io(&place.segment_path(start), error))?;
    if let Some((at, reason)) = segment.damage {
        return Err(place.damaged(start, at, reason));
    }
    let Segment { file_bytes, end, offsets, torn, .. } = segment;
    Ok((Tail { file, file_bytes, end, offsets }, torn))
}

/// What a segment's file has.
pub(super) struct Segment {
    /// Up to the end of its last right group.
    pub(super) file_bytes: u64,
    pub(super) end: u64,
    offsets: Offsets,
    /// What is wrong with the bytes behind, if there are any.
    pub(super) torn: Option<&'static str>,
    /// What no crash leaves, and where.
    pub(super) damage: Option<(u64, String)>,
}

/// Reads the segment that begins at `start`.
pub(super) fn read_segment(file: &Arc<dyn StoredFile>, start: u64) -> std::io::Result<Segment> {
    let mut groups = GroupReader::new(Arc::clone(file))?;
    let (mut offsets, mut end) = (Offsets::new(IDS_COUNT_MAX), start);
    let (flaw, mut damage) = loop {
        let at = groups.offset_bytes();
        match groups.next()? {
            Next::Group(group) => {
                if let Err(reason) = expect(&group, at == 0, end) {
                    break (None, Some((at, reason)));
                }
                end += group.records.len() as u64;
                group.clients.iter().for_each(|&(id, offset)| offsets.set(id, offset));
            }
            Next::End => break (None, None),
            Next::Flaw(flaw) => break (Some(flaw), None),
        }
    };
    let file_bytes = groups.offset_bytes();
    if let Some(flaw) = &flaw
        && let Some(at) = following(groups.rest()?, flaw)
    {
        let next = file_bytes + at as u64;
        let reason = format!("{}, and a whole group follows at byte {next}", flaw.reason);
        damage = Some((file_bytes, reason));
    }
    Ok(Segment { file_bytes, end, offsets, torn: flaw.map(|flaw| flaw.reason), damage })
}

/// Why a segment is none that another follows from `next` on.
pub(super) fn unfinished(torn: Option<&'static str>, end: u64, next: u64) -> Option<String> {
    let gap = || (end != next).then(|| format!("it ends at {end}, and the next begins at {next}"));
    torn.map(str::to_owned).or_else(gap)
}

/// Why a log from `first` to `end` cannot be read on from a snapshot's position.
pub(super) fn outside(first: u64, end: u64, position: u64) -> Option<String> {
    (!(first..=end).contains(&position)).then(|| {
        format!("it has positions {first} to {end}, and the snapshot goes on at {position}")
    })
}

fn damaged(path: &Path, offset_bytes: u64, reason: String) -> StateError {
    let path = path.display().to_string();
    StateError::Damaged { path, what: WHAT.to_owned(), offset_bytes, reason }
}

/// The file of a log's segment that begins at `start`.
pub(super) fn segment_path(log: &Path, start: u64) -> PathBuf {
    let mut name = log.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{start:0DIGITS$}"));
    log.with_file_name(name)
}

/// The positions at which a log's segments begin, the first first.
pub(super) fn starts(storage: &dyn Storage, log: &Path) -> Result<Vec<u64>, StateError> {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let folder = log.parent().unwrap_or(Path::new(""));
    let names = storage.list(folder).map_err(|error| StateError::io(folder, error))?;
    let start = |found: &String| {
        let digits = found.strip_prefix(&*name)?.strip_prefix('-')?;
        let is_number = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    };
    let mut starts: Vec<u64> = names.iter().filter_map(start).collect();
    starts.sort_unstable();
    Ok(starts)
}

/// Whether a right group is the one that belongs here, and what is wrong if it is not.
pub(super) fn expect(group: &Group<'_>, at_start: bool, position: u64) -> Result<(), String> {
    let kind = if at_start { Kind::Offsets } else { Kind::Records };
    if group.kind != kind || group.position != position {
        let (found, at) = (group.kind, group.position);
        return Err(format!("{found:?} at {at} are where {kind:?} at {position} should be"));
    }
    Ok(())
}

/// Where behind the flawed group that `bytes` begin with a right one begins. What a client has sent is not taken for a
/// group if the flawed one's length is known.
fn following(bytes: &[u8], flaw: &Flaw) -> Option<usize> {
    let from = flaw.group_bytes.unwrap_or(1).min(bytes.len());
    let mut starts = memmem::find_iter(&bytes[from..], MAGIC).map(|at| from + at);
    starts.find(|&at| group::check(&bytes[at..]).is_ok())
}
