//! Rows, which have begun sessions, are put to the sessions of a partition that they touch.

use super::GONE;
use super::index::{Entry, Index};
use super::partition::{Partition, key_of};
use super::seek::Seek;
use crate::agg::{Partials, export};
use crate::metrics::LateRows;
use crate::op::found::Found;
use crate::op::pane::merge_at;
use crate::op::shape::Shape;

/// Rows on their way to the sessions of a partition.
pub(super) struct Join<'a> {
    pub(super) shape: &'a Shape,
    pub(super) partition: &'a mut Partition,
    /// The slot of the first row.
    pub(super) first: usize,
    /// Up to which end sessions were over when each row came; those behind its end cannot be late.
    pub(super) over_ms: &'a [i64],
    pub(super) found: &'a mut Found,
    pub(super) late: &'a mut LateRows,
}

impl Join<'_> {
    /// Puts rows with keys of `KEY` words to the sessions that they touch.
    pub(super) fn run<const KEY: usize>(mut self, Seek { index, rows, .. }: &mut Seek) {
        let shows_order = self.shape.shows_order();
        for &row in rows.get() {
            match self.touched::<KEY>(index, row) {
                Some(touched) => {
                    let into = self.take_in(touched.slot, row, shows_order);
                    index.set(&touched, into);
                }
                // It is removed with the others.
                None if self.is_late(row) => {}
                None => index.insert(self.partition.tags[row as usize], row),
            }
            if self.found.are_many() {
                self.fold();
            }
        }
        self.fold();
        self.remove_late();
        self.partition.note_ends(self.first);
    }

    /// Up to which end sessions were over when a row came.
    #[inline]
    fn over_ms(&self, row: u32) -> i64 {
        self.over_ms.get(row as usize - self.first).copied().unwrap_or(GONE)
    }

    /// The session that a row touches, when all that it touches are one.
    #[inline]
    fn touched<const KEY: usize>(&mut self, index: &Index, row: u32) -> Option<Entry> {
        let (mut touched, mut several) = (None, false);
        let mut probe = index.probe(self.partition.tags[row as usize]);
        while let Some(entry) = index.next(&mut probe) {
            if self.touches::<KEY>(row, entry.slot) {
                several |= touched.replace(entry).is_some();
            }
        }
        if several { Some(self.merge_touched::<KEY>(index, row)) } else { touched }
    }

    /// Whether a row touches a session, which is one of its key and was not over when it came.
    #[inline(always)]
    fn touches<const KEY: usize>(&self, row: u32, slot: u32) -> bool {
        let partition = &*self.partition;
        let key = |slot: u32| key_of::<KEY>(partition.row(slot));
        let span = |slot: u32| (partition.start(slot), partition.ends[slot as usize]);
        let ((row_start, row_end), (start, end)) = (span(row), span(slot));
        key(row) == key(slot) && start <= row_end && end >= row_start && end > self.over_ms(row)
    }

    /// Makes one session of a row and one that it touches; its slot.
    #[inline]
    fn take_in(&mut self, slot: u32, row: u32, shows_order: bool) -> u32 {
        // Sessions lie in the order in which they began to be where that shows, else better in that of their ends, so that they leave together.
        let (into, from) = if shows_order { (slot, row) } else { (row, slot) };
        self.partition.share_group(slot, row, self.found);
        self.partition.end(into, from);
        into
    }

    /// Merges all sessions that a row touches into the oldest of them.
    #[cold]
    fn merge_touched<const KEY: usize>(&mut self, index: &Index, row: u32) -> Entry {
        let mut touched = Vec::new();
        let mut probe = index.probe(self.partition.tags[row as usize]);
        while let Some(entry) = index.next(&mut probe) {
            if self.touches::<KEY>(row, entry.slot) {
                self.partition.group(entry.slot, self.found);
                touched.push(entry);
            }
        }
        self.fold();
        touched.sort_unstable_by_key(|entry| entry.slot);
        // As in `Session::join`: from the youngest on, each into the next older one.
        for pair in touched.windows(2).rev() {
            self.merge(pair[0].slot, pair[1].slot);
        }
        touched.swap_remove(0)
    }

    /// Adds a session to an older one, as what came later. Both have groups.
    fn merge(&mut self, into: u32, from: u32) {
        let Partition { groups, sums, .. } = &mut *self.partition;
        let mut accumulators = Partials::default();
        export(&self.shape.layout, 0, sums, groups[from as usize], &mut accumulators);
        merge_at(self.shape, 0, sums, groups[into as usize], &accumulators);
        self.partition.end(into, from);
    }

    /// Folds rows whose sessions have been found.
    fn fold(&mut self) {
        self.found.fold(self.shape, &mut self.partition.sums);
    }

    /// Whether a row that touches no session is late.
    fn is_late(&self, row: u32) -> bool {
        self.partition.ends[row as usize] <= self.over_ms(row)
    }

    /// Rows that are still by themselves, and late, are noted and no sessions.
    fn remove_late(&mut self) {
        for row in (self.first as u32..).take(self.over_ms.len()) {
            if self.is_late(row) && self.partition.ends[row as usize] != GONE {
                self.late.record(self.partition.start(row), self.over_ms(row) - 1);
                self.partition.remove(row);
            }
        }
    }
}
