//! The groups of a slice: in a table as long as that fits the cache, beyond that waiting to be gathered ([`super::waiting`]). Where nothing is
//! saved a slice begins without a table: most are over before anybody asks for a group by its key.

use super::key_numbers::KeyNumbers;
use super::moving::{Moved, MovedPart};
use super::pane::Pane;
use super::shape::Shape;
use super::sum::Sum;
use super::waiting::Waiting;
use super::{Data, Payload};
use crate::agg::{Partials, export};
use crate::batch::take_columns;
use crate::planted;
use crate::state::{Pages, Saved};
use arrow_array::UInt32Array;

/// A table larger than this waits too where state is larger than memory: probes that go to the disk cost more than room.
const CROWDED_PAGES: usize = 16;

/// The groups of a slice.
#[derive(Debug)]
pub(super) enum Slice {
    /// In flat memory: found by their keys' numbers alone.
    Fresh(Box<Sum>),
    /// In a table.
    Folded(Box<Pane>),
    /// Waiting.
    Waiting(Waiting),
}

impl Slice {
    pub(super) fn new(shape: &Shape, word_count: usize) -> Self {
        Slice::Folded(Box::new(Pane::new(shape, word_count)))
    }

    /// One without a table, whose groups are those of `sum`: none.
    pub(super) fn fresh(sum: Sum) -> Self {
        Slice::Fresh(Box::new(sum))
    }

    /// Sees to it that it has a table, or waits.
    pub(super) fn settle(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
    ) {
        if let Slice::Fresh(sum) = self {
            let sum = std::mem::replace(&mut **sum, Sum::new(shape));
            *self = Slice::Folded(Box::new(sum.into_pane(shape, pages, key_numbers)));
        }
    }

    pub(super) fn waits(&self) -> bool {
        matches!(self, Slice::Waiting(_))
    }

    /// How many groups there are, or of those that wait: at most.
    pub(super) fn groups_max(&self) -> u64 {
        match self {
            Slice::Fresh(sum) => sum.count() as u64,
            Slice::Folded(pane) => pane.table.count() as u64,
            Slice::Waiting(waiting) => waiting.backlog.record_count(),
        }
    }

    /// Takes in what `payload` has in `rows`; the slots, if it went to a table.
    pub(super) fn receive(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        payload: &Payload,
        rows: &[u32],
    ) -> Vec<u32> {
        let mut slots = Vec::new();
        let keys = &payload.keys;
        if let Slice::Fresh(sum) = self {
            if matches!(payload.data, Data::Partials(_)) {
                sum.receive(shape, key_numbers, payload, rows);
                return slots;
            }
            self.settle(shape, pages, key_numbers);
        }
        let numbered = (keys, payload.numbers.as_ref());
        match (self, &payload.data) {
            (Slice::Fresh(_), _) => unreachable!("it was settled"),
            (Slice::Waiting(waiting), _) => waiting.receive(shape, pages, payload, rows),
            (Slice::Folded(pane), Data::Rows(columns)) if rows.len() == keys.count() => {
                pane.slots(pages, keys, &mut slots);
                pane.update(shape, pages, &slots, columns);
            }
            (Slice::Folded(pane), Data::Rows(columns)) => {
                slots = pane.slots_of(pages, key_numbers, numbered, rows);
                let columns = take_columns(columns, &UInt32Array::from(rows.to_vec()));
                pane.update(shape, pages, &slots, &columns);
            }
            (Slice::Folded(pane), Data::Packed(packed)) => {
                let (keys, columns) = packed.unpack(shape);
                pane.slots(pages, &keys, &mut slots);
                pane.update(shape, pages, &slots, &columns);
            }
            (Slice::Folded(pane), Data::Grouped(grouped)) => {
                slots = pane.slots_of(pages, key_numbers, numbered, rows);
                grouped.fold(shape, pages, pane, rows, &slots);
            }
            (Slice::Folded(pane), Data::Partials(partials)) => {
                slots = pane.slots_of(pages, key_numbers, numbered, rows);
                pane.merge_all(shape, pages, &slots, partials, rows.iter().copied());
            }
        }
        slots
    }

    /// Has groups wait from now on if there are more than `groups_max`.
    pub(super) fn have_wait(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        groups_max: usize,
    ) {
        if self.groups_max() > groups_max as u64 {
            self.settle(shape, pages, key_numbers);
        }
        let Slice::Folded(pane) = self else { return };
        let is_large = pane.table.count() > groups_max
            || pages.is_crowded() && pane.table.page_count() > CROWDED_PAGES;
        if is_large && Waiting::suits(shape) {
            let pane = std::mem::replace(&mut **pane, Pane::new(shape, shape.layout.word_count));
            *self = Slice::Waiting(Waiting::of_pane(shape, pages, pane));
        }
    }

    /// What waits, or waits from now on.
    pub(super) fn into_waiting(self, shape: &Shape, pages: &mut Pages) -> Waiting {
        match self {
            Slice::Waiting(waiting) => waiting,
            Slice::Folded(pane) => Waiting::of_pane(shape, pages, *pane),
            Slice::Fresh(_) => unreachable!("it was settled"),
        }
    }

    /// The groups of a slice without a table.
    pub(super) fn as_fresh(&self) -> Option<&Sum> {
        let Slice::Fresh(sum) = self else { return None };
        Some(sum)
    }

    /// The pane of a slice that has been settled and does not wait.
    pub(super) fn into_pane(self) -> Pane {
        let Slice::Folded(pane) = self else { unreachable!("asked for where nothing waits") };
        *pane
    }

    /// As [`Slice::into_pane`], to change.
    pub(super) fn pane_mut(&mut self) -> &mut Pane {
        let Slice::Folded(pane) = self else { unreachable!("asked for where nothing waits") };
        pane
    }

    /// Puts a group together again; `divided`: see [`Pane::adopt_divided`].
    pub(super) fn adopt(&mut self, shape: &Shape, pages: &mut Pages, moved: &Moved, divided: bool) {
        match self {
            Slice::Fresh(_) => unreachable!("it was settled"),
            Slice::Waiting(waiting) => {
                if let Some(accumulators) = &moved.accumulators {
                    let key = (moved.hash, moved.key.as_slice());
                    waiting.push_group(shape, pages, key, accumulators, 0);
                }
            }
            Slice::Folded(pane) => {
                let slot = match divided {
                    true => pane.adopt_divided(shape, pages, moved),
                    false => pane.adopt(shape, pages, moved, None),
                };
                if moved.flags != 0 && moved.accumulators.is_some() {
                    let flags_at = shape.layout.word_count;
                    pane.table.words_mut(pages, slot)[flags_at] |= moved.flags;
                }
            }
        }
    }

    /// Takes all groups apart.
    pub(super) fn give(
        self,
        shape: &Shape,
        pages: &mut Pages,
        part: MovedPart,
        flags_at: Option<usize>,
        to: &mut dyn FnMut(Moved),
    ) {
        match self {
            Slice::Fresh(_) => unreachable!("only durable slices move"),
            Slice::Folded(mut pane) => {
                pane.flush(shape, pages);
                for slot in 0..pane.table.slot_end() {
                    to(pane.give(shape, pages, slot, part, None, flags_at));
                }
            }
            Slice::Waiting(mut waiting) => waiting.drain(shape, pages, &mut |_, gathered| {
                for slot in 0..gathered.count() as u32 {
                    let (mut key, mut partials) = (Vec::new(), Partials::default());
                    let hash = gathered.read_key(slot, &mut key);
                    export(&shape.layout, 0, gathered.accumulators(), slot, &mut partials);
                    to(Moved {
                        part,
                        hash,
                        key,
                        accumulators: Some(partials),
                        shown: Partials::default(),
                        flags: 0,
                        age: 0,
                        values: Vec::new(),
                        named: None,
                    });
                }
            }),
        }
    }

    pub(super) fn save(&self, out: &mut Vec<u64>) {
        out.push(u64::from(self.waits()));
        match self {
            Slice::Fresh(_) => unreachable!("only durable slices are saved"),
            Slice::Folded(pane) => pane.save(out),
            Slice::Waiting(waiting) => waiting.save(out),
        }
    }

    pub(super) fn load(
        shape: &Shape,
        word_count: usize,
        saved: &mut Saved<'_>,
        pages: &Pages,
    ) -> Self {
        if saved.word() == 0 {
            return Slice::Folded(Box::new(Pane::load(shape, word_count, saved, pages)));
        }
        let waiting = Waiting::load(saved, pages);
        if planted!("restore-forget-backlog") {
            return Slice::Waiting(Waiting::new());
        }
        Slice::Waiting(waiting)
    }
}
