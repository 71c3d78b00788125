//! Groups that wait: where state is larger than memory, what an owner receives is folded into its panes many rows at a time.
//!
//! Payloads become records of accumulators, in pages that snapshots save like any others, so that neither a barrier nor a crash
//! has to fold them first. They are folded when they take a third of the memory, and before anything looks at the panes.
//!
//! # Invariants
//!
//! 1. While records wait, all that comes waits: a group's rows are folded in the order of their arrival.

use std::collections::BTreeMap;

use arrow_array::ArrayRef;

use super::folding::Folding;
use super::pane::{Pane, TableSlots, update_calls};
use super::shape::Shape;
use super::{Data, Payload};
use crate::agg::{Partials, Travel, export, travel};
use crate::batch::Keys;
use crate::crash_point;
use crate::planted;
use crate::state::{Backlog, PAGE_WORDS, Pages, Record, Saved, Table};

/// Records take at most one part in so many of the memory,
const MEMORY_SHARE: usize = 3;
/// or this, however small the memory: for fewer it is not worth going through the panes.
const BACKLOG_BYTES_MIN: usize = 2 * PAGE_WORDS * 8;
/// More records than this are not sorted at once, in bytes of their pages: the order of a record takes memory as well.
const BACKLOG_BYTES_MAX: usize = 1 << 30;

/// What waits, by slice.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    backlogs: BTreeMap<i64, Backlog>,
}

impl Deferred {
    /// Whether what comes is to wait: it pays where state is larger than memory. Distinct values do not travel as accumulators.
    pub(super) fn applies(shape: &Shape, pages: &Pages) -> bool {
        pages.is_crowded() && travel(&shape.calls) == Travel::Accumulators
    }

    pub(super) fn is_empty(&self) -> bool {
        self.backlogs.is_empty()
    }

    /// Whether it is time to fold.
    pub(super) fn is_full(&self, pages: &Pages) -> bool {
        let bytes: usize = self.backlogs.values().map(Backlog::bytes).sum();
        let share = pages.budget_bytes() / MEMORY_SHARE;
        bytes > share.clamp(BACKLOG_BYTES_MIN, BACKLOG_BYTES_MAX)
    }

    /// Takes a payload in; false where a group of it is too large to wait, and nothing was taken.
    pub(super) fn take(&mut self, shape: &Shape, pages: &mut Pages, payload: &Payload) -> bool {
        let (keys, ends_ms) = (&payload.keys, &payload.ends_ms);
        match &payload.data {
            Data::Partials(partials) => self.push(shape, pages, keys, ends_ms, partials),
            Data::Grouped(..) => unreachable!("distinct values do not wait"),
            Data::Rows(columns) => {
                let (keys, ends_ms, partials) = folded(shape, keys, ends_ms, columns);
                self.push(shape, pages, &keys, &ends_ms, &partials)
            }
        }
    }

    fn push(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        keys: &Keys,
        ends_ms: &[i64],
        partials: &Partials,
    ) -> bool {
        let words = shape.layout.word_count;
        let mut group = Partials::default();
        let copy = |index, group: &mut Partials| {
            group.words.clear();
            group.blobs.clear();
            partials.copy_group(index, words, &shape.layout, group);
        };
        let empty = Backlog::new(words);
        for index in 0..keys.count() {
            copy(index, &mut group);
            if !empty.fits(keys.get(index).len(), group.blobs.len()) {
                return false;
            }
        }
        for (index, &end_ms) in ends_ms.iter().enumerate() {
            copy(index, &mut group);
            let backlog = self.backlogs.entry(end_ms);
            let backlog = backlog.or_insert_with(|| Backlog::new(words));
            let (hash, key) = (keys.hashes[index], keys.get(index));
            backlog.push(pages, hash, key, &group.words, &group.blobs);
        }
        true
    }

    /// Folds what waits for slices that end in `panes`' keys; all of it.
    ///
    /// # Panics
    ///
    /// If a slice has no pane.
    pub(super) fn fold(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        panes: &mut BTreeMap<i64, Pane>,
    ) {
        for (end, backlog) in std::mem::take(&mut self.backlogs) {
            crash_point!("fold-begun");
            let pane = panes.get_mut(&end).expect("whoever defers makes the pane");
            pane.fold_in(shape, pages, backlog);
        }
    }

    /// The slices that something waits for.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        out.push(self.backlogs.len() as u64);
        for (&end_ms, backlog) in &self.backlogs {
            out.push(end_ms.cast_unsigned());
            backlog.save(out);
        }
    }

    pub(super) fn load(shape: &Shape, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let words = shape.layout.word_count;
        let count = saved.word();
        let load = |_| (saved.signed(), Backlog::load(words, saved, pages));
        let backlogs = (0..count).map(load).collect();
        if planted!("restore-forget-backlog") {
            return Self::default();
        }
        Self { backlogs }
    }
}

impl Pane {
    fn fold_in(&mut self, shape: &Shape, pages: &mut Pages, backlog: Backlog) {
        let mut partials = Partials::default();
        let mut fold = |table: &mut Table, pages: &mut Pages, slot: u32, record: Record<'_>| {
            partials.set_group(record.words, record.tail);
            let slots = &mut TableSlots { pages, table };
            crate::agg::merge(&shape.layout, 0, &shape.calls, slots, slot, &partials, 0);
        };
        self.table.fold_in(pages, backlog, &mut fold);
    }
}

/// Rows as accumulators, of each key and slice once.
fn folded(
    shape: &Shape,
    keys: &Keys,
    ends_ms: &[i64],
    columns: &[ArrayRef],
) -> (Keys, Vec<i64>, Partials) {
    let mut held = Folding::new(shape.layout.word_count);
    let mut slots = Vec::new();
    held.find(keys, ends_ms, &mut slots);
    update_calls(shape, 0, &mut held, &slots, columns);
    let (mut groups, mut ends, mut partials) = (Keys::default(), Vec::new(), Partials::default());
    for slot in 0..held.count() as u32 {
        let (hash, key, end_ms) = held.group(slot);
        groups.push(hash, key);
        ends.push(end_ms);
        export(&shape.layout, 0, &held, slot, &mut partials);
    }
    (groups, ends, partials)
}
