//! Looks through an ingest log without writing to it, for `tidemill state verify`.
//!
//! A last group that is torn is no damage: it was being written when the process died, was neither acknowledged nor counted, and is cut
//! off when the log is opened. Nothing tells it from a last group that has been damaged since, unless a snapshot goes on behind it.
//!
//! # Invariants
//!
//! 1. What is damage here, opening the log and reading all of it finds as well.

use std::path::{Path, PathBuf};

use super::log::{Segment, WHAT, outside, read_segment, segment_path, starts, unfinished};
use crate::error::StateError;
use crate::state::Damage;
use crate::sys::storage::Storage;

/// Checks every group of a log, and that it has the positions at which snapshots go on. How many bytes there were.
///
/// # Errors
///
/// What the storage says. What is wrong with the log is no error, `found` gets it.
pub(crate) fn verify(
    storage: &dyn Storage,
    log: &Path,
    positions: impl IntoIterator<Item = u64>,
    found: &mut Vec<(PathBuf, Damage)>,
) -> Result<u64, StateError> {
    let starts = starts(storage, log)?;
    let (Some(&first), mut byte_count, mut log_end) = (starts.first(), 0, 0) else { return Ok(0) };
    for (index, &start) in starts.iter().enumerate() {
        let path = segment_path(log, start);
        let io = |error| StateError::io(&path, error);
        let file = storage.open(&path).map_err(io)?;
        let segment = read_segment(&file, start).map_err(io)?;
        byte_count += segment.file_bytes;
        let next = starts.get(index + 1).copied();
        let flaw = flaw(&segment, next, index == 0);
        found.extend(flaw.map(|(at, reason)| (path, damage(at, reason))));
        log_end = segment.end;
    }
    let beyond = positions.into_iter().filter_map(|position| outside(first, log_end, position));
    found.extend(beyond.map(|reason| (log.to_owned(), damage(0, reason))));
    Ok(byte_count)
}

fn damage(offset_bytes: u64, reason: String) -> Damage {
    Damage { what: WHAT.to_owned(), offset_bytes, reason, other_version: false }
}

/// What is wrong with a segment, and where, if another follows from `next` on.
fn flaw(segment: &Segment, next: Option<u64>, is_first: bool) -> Option<(u64, String)> {
    let Segment { file_bytes, end, torn, .. } = *segment;
    let behind = |reason| (file_bytes, reason);
    segment.damage.clone().or_else(|| match next {
        Some(next) => unfinished(torn, end, next).map(behind),
        // Its beginning was not finished: everything is in the segment before.
        None if file_bytes > 0 || !is_first || end == 0 => None,
        None => Some(behind(torn.unwrap_or("it is empty").to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::group::{GroupReader, Next};
    use super::*;
    use crate::connector::ingest::{Log, Place};
    use crate::sys::storage::Disk;

    /// A log of several segments in a folder, and where it ends.
    fn written() -> (tempfile::TempDir, PathBuf, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ingest-0");
        let place = Place::new(Arc::new(Disk), path.clone());
        let (mut log, _) = Log::open(place, 0, 300).unwrap();
        for number in 0..12u64 {
            let records = format!("a line of client {number}\n");
            log.append([("a", number), ("b", 7)].into_iter(), records.as_bytes()).unwrap();
        }
        (folder, path, log.end())
    }

    fn damage_of(path: &Path, positions: &[u64]) -> Vec<String> {
        let mut found = Vec::new();
        verify(&Disk, path, positions.iter().copied(), &mut found).unwrap();
        found.iter().map(|(_, damage)| damage.to_string()).collect()
    }

    /// How many bytes the last group of a segment has, of which nothing but it tells.
    fn last_group_bytes(path: &Path, start: u64) -> u64 {
        let file = Disk.open(&segment_path(path, start)).unwrap();
        let mut groups = GroupReader::new(file).unwrap();
        let mut begun = [0, 0];
        while let Next::Group(_) = groups.next().unwrap() {
            begun = [begun[1], groups.offset_bytes()];
        }
        begun[1] - begun[0]
    }

    #[test]
    fn every_byte_counts_but_those_of_the_last_group() {
        let (_folder, path, end) = written();
        assert_eq!(damage_of(&path, &[0, end]), [""; 0]);
        let starts = starts(&Disk, &path).unwrap();
        assert!(starts.len() > 2, "{starts:?}");
        for &start in &starts {
            let file = segment_path(&path, start);
            let bytes = std::fs::read(&file).unwrap();
            let torn_bytes =
                if Some(&start) == starts.last() { last_group_bytes(&path, start) } else { 0 };
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 4;
                std::fs::write(&file, flipped).unwrap();
                let is_last = at as u64 >= bytes.len() as u64 - torn_bytes;
                assert_eq!(
                    damage_of(&path, &[]).is_empty(),
                    is_last,
                    "byte {at} of {}",
                    file.display()
                );
                // The snapshot knows of it.
                assert!(!damage_of(&path, &[end]).is_empty());
            }
            std::fs::write(&file, bytes).unwrap();
        }
        assert_eq!(damage_of(&path, &[end]), [""; 0]);
    }

    #[test]
    fn segments_follow_each_other() {
        let (_folder, path, end) = written();
        let starts = starts(&Disk, &path).unwrap();
        let behind = damage_of(&path, &[end + 1]);
        assert!(behind[0].contains("the snapshot goes on at"), "{behind:?}");
        // The beginning of the next was not finished.
        let next = segment_path(&path, end);
        std::fs::write(&next, b"").unwrap();
        assert_eq!(damage_of(&path, &[end]), [""; 0]);
        std::fs::remove_file(&next).unwrap();
        std::fs::remove_file(segment_path(&path, starts[1])).unwrap();
        let gap = damage_of(&path, &[end]);
        assert!(gap.len() == 1 && gap[0].contains("and the next begins at"), "{gap:?}");
        std::fs::remove_file(segment_path(&path, starts[0])).unwrap();
        let lost = damage_of(&path, &[0, end]);
        assert!(lost.len() == 1 && lost[0].contains("goes on at 0"), "{lost:?}");
    }
}
