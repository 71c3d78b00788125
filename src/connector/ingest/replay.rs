//! Reads an ingest log again, from where a snapshot has left off to where it ended when it was opened.
//!
//! # Invariants
//!
//! 1. Records come in the order they were written; none before `position`, none twice.
//! 2. At most one chunk and one group are held.

use std::collections::VecDeque;

use arrow_buffer::Buffer;

use super::group::{GroupReader, Next};
use super::log::{Place, expect};
use crate::connector::CHUNK_BYTES;
use crate::error::StateError;

/// What is in a log from some position on.
#[derive(Debug)]
pub(crate) struct Replay {
    place: Place,
    /// Where segments begin: the one being read, then those to come.
    starts: VecDeque<u64>,
    groups: Option<GroupReader>,
    /// Behind the last group read.
    read: u64,
    /// Behind the records handed out.
    position: u64,
    end: u64,
}

impl Replay {
    pub(super) fn new(place: Place, starts: &[u64], position: u64, end: u64) -> Self {
        let begun_count = starts.iter().filter(|&&start| start <= position).count();
        assert!(begun_count > 0 && position <= end, "the position is in the log");
        let starts: VecDeque<u64> = starts[begun_count - 1..].iter().copied().collect();
        let read = starts[0];
        Self { place, starts, groups: None, read, position, end }
    }

    /// Where reading goes on behind the records handed out.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next records, of as many groups as make a chunk; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Buffer>, StateError> {
        self.next_bytes(CHUNK_BYTES as usize)
    }

    /// The records of the next group; `None` at the end.
    pub(crate) fn next_group(&mut self) -> Result<Option<Buffer>, StateError> {
        self.next_bytes(1)
    }

    /// Groups until there are so many bytes.
    fn next_bytes(&mut self, least_bytes: usize) -> Result<Option<Buffer>, StateError> {
        let mut records = Vec::new();
        while self.position < self.end && records.len() < least_bytes {
            self.read_group(&mut records)?;
        }
        Ok((!records.is_empty()).then(|| Buffer::from_vec(records)))
    }

    /// Appends the records of the next group, unless they lie before the position.
    fn read_group(&mut self, records: &mut Vec<u8>) -> Result<(), StateError> {
        let start = self.starts[0];
        let io = |error| StateError::io(&self.place.segment_path(start), error);
        let groups = match &mut self.groups {
            Some(groups) => groups,
            none => none.insert(GroupReader::new(self.place.open_segment(start)?).map_err(io)?),
        };
        let at = groups.offset_bytes();
        let damaged = |reason: String| Err(self.place.damaged(start, at, reason));
        match groups.next().map_err(io)? {
            Next::Group(group) => {
                if let Err(reason) = expect(&group, at == 0, self.read) {
                    return damaged(reason);
                }
                let read = self.read + group.records.len() as u64;
                if self.read < self.position && self.position < read {
                    let position = self.position;
                    return damaged(format!(
                        "the snapshot's position {position} is inside a group"
                    ));
                }
                if self.read >= self.position {
                    records.extend_from_slice(group.records);
                    self.position = read;
                }
                self.read = read;
            }
            Next::Flaw(flaw) => return damaged(flaw.reason.to_owned()),
            Next::End if self.starts.get(1) == Some(&self.read) => {
                self.starts.pop_front();
                self.groups = None;
            }
            Next::End => {
                let read = self.read;
                return damaged(format!("it ends at position {read}, before the next segment"));
            }
        }
        Ok(())
    }
}
