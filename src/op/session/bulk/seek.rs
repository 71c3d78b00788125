//! What is found of the rows and the sessions of a partition before they are put together: which may touch any other at all.
//!
//! Nine of ten rows begin a session, and nine of ten sessions get no row before they are looked through again. So rows' tags go into a
//! filter first. A session that it does not have is not entered into the index, and a row that comes to a place of its own, to which no session
//! comes, is a session by itself, and not looked up.

use super::GONE;
use super::index::Index;
use super::partition::Partition;
use crate::op::single::{Picked, Repeats};

/// An index of the sessions that rows may touch; made anew for each partition.
#[derive(Debug, Default)]
pub(super) struct Seek {
    pub(super) index: Index,
    /// Rows that may touch a session or another row.
    pub(super) rows: Picked,
    repeats: Repeats,
    /// Sessions that rows may touch.
    sessions: Picked,
}

impl Seek {
    /// Turns to a partition whose sessions from `first` on are rows.
    pub(super) fn begin(&mut self, partition: &Partition, first: usize) {
        let Self { index, rows, repeats, sessions } = self;
        let (tags, ends) = (&partition.tags, &partition.ends);
        repeats.begin(tags.len() - first);
        tags[first..].iter().for_each(|&tag| repeats.add(tag));
        sessions.begin(first);
        for block in partition.blocks(first) {
            let each = tags[block.clone()].iter().zip(&ends[block.clone()]);
            let touched = each.map(|(&tag, &end)| repeats.has(tag) & (end != GONE));
            sessions.pick(block.start, touched);
        }
        sessions.get().iter().for_each(|&slot| repeats.add(tags[slot as usize]));
        rows.begin(tags.len() - first);
        rows.pick(first, tags[first..].iter().map(|&tag| !repeats.is_once(tag)));
        index.begin(sessions.get().len() + rows.get().len(), tags.len());
        sessions.get().iter().for_each(|&slot| index.insert(tags[slot as usize], slot));
    }
}
