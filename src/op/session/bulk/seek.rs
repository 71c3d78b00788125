//! What is found of the rows and the sessions of a partition before they are put together: which may touch any other at all.
//!
//! Nine of ten rows begin a session, and nine of ten sessions get no row before they are looked through again. So rows' tags go into a
//! filter first. A session that it does not have is not entered into the index, and a row that comes to a place of its own, to which no session
//! comes, is a session by itself, and not looked up.

use super::GONE;
use super::index::Index;
use super::partition::Partition;
use super::picked::{BLOCK, Picked, bits};
use super::repeats::Repeats;
use crate::sys::vector;

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
        let tags = &partition.tags;
        repeats.begin(tags.len() - first);
        tags[first..].iter().for_each(|&tag| repeats.add(tag));
        sessions.begin(first);
        vector::widest(Touched { partition, first, repeats, sessions });
        sessions.get().iter().for_each(|&slot| repeats.add(tags[slot as usize]));
        rows.begin(tags.len() - first);
        for (block, tags) in tags[first..].chunks(BLOCK).enumerate() {
            rows.pick_bits(first + block * BLOCK, bits(tags, |tag| !repeats.is_once(tag)));
        }
        index.begin(sessions.get().len() + rows.get().len(), tags.len());
        sessions.get().iter().for_each(|&slot| index.insert(tags[slot as usize], slot));
    }
}

/// The sessions before `first` that rows may touch, whose tags are in `repeats`.
struct Touched<'a> {
    partition: &'a Partition,
    first: usize,
    repeats: &'a Repeats,
    sessions: &'a mut Picked,
}

impl vector::Loop for Touched<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { partition: Partition { tags, ends, .. }, first, repeats, sessions } = self;
        for block in self.partition.blocks(first) {
            let open = bits(&ends[block.clone()], |end| end != GONE);
            let touched = open & bits(&tags[block.clone()], |tag| repeats.has(tag));
            sessions.pick_bits(block.start, touched);
        }
    }
}
