//! The sessions of a partition.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use super::GONE;
use crate::agg::Slots;
use crate::batch::{Batch, Packing};
use crate::op::accumulators::Accumulators;
use crate::op::pane::finish_calls;
use crate::op::shape::Shape;

/// The sessions of a partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) tags: Vec<u32>,
    pub(super) ends: Vec<i64>,
    pub(super) records: Accumulators,
    pub(super) gone_count: usize,
    /// No session of it ends before.
    pub(super) earliest_end_ms: i64,
}

impl Partition {
    pub(super) fn open_count(&self) -> usize {
        self.ends.len() - self.gone_count
    }

    /// A new session, for which there is room in `records`; its slot.
    #[inline(always)]
    pub(super) fn push(&mut self, tag: u32, end_ms: i64) -> u32 {
        self.tags.push(tag);
        self.ends.push(end_ms);
        self.tags.len() as u32 - 1
    }

    /// Adds a span to that of a session, whose key has so many words.
    #[inline(always)]
    pub(super) fn widen(&mut self, slot: u32, key_words: usize, (start, end): (i64, i64)) {
        let held_end = &mut self.ends[slot as usize];
        *held_end = end.max(*held_end);
        let held: &mut [u64; 1] = self.records.part_mut(slot, key_words);
        *held = [start.min(held[0].cast_signed()).cast_unsigned()];
    }

    /// Puts the slots of sessions that end by `over_ms` into `over`, and notes when the first of the others ends.
    pub(super) fn take_over(&mut self, over_ms: i64, over: &mut Vec<u32>) {
        over.clear();
        let mut earliest_ms = i64::MAX;
        for (slot, &end) in (0..).zip(&self.ends) {
            if end > over_ms {
                earliest_ms = earliest_ms.min(end);
            } else if end != GONE {
                over.push(slot);
            }
        }
        self.earliest_end_ms = earliest_ms;
    }

    /// What sessions came to.
    pub(super) fn results(&self, shape: &Shape, packing: Packing, slots: &[u32]) -> Batch {
        let at = packing.words();
        let mut keys = Vec::with_capacity(slots.len() * at);
        let mut starts = Vec::with_capacity(slots.len());
        for words in slots.iter().map(|&slot| self.records.words(slot)) {
            keys.extend_from_slice(&words[..at]);
            starts.push(words[at].cast_signed());
        }
        let ends: Vec<i64> = slots.iter().map(|&slot| self.ends[slot as usize]).collect();
        let times: Vec<i64> = ends.iter().map(|&end| end - 1).collect();
        let keys = packing.decode(&shape.key_types, keys);
        let mut columns = finish_calls(shape, at + 1, keys, &self.records, slots);
        let times = [starts, ends, times];
        columns.extend(times.map(|times| Arc::new(Int64Array::from(times)) as ArrayRef));
        Batch::new(columns, slots.len())
    }

    /// Forgets sessions that have been read out.
    pub(super) fn forget(&mut self, slots: &[u32], shape: &Shape, packing: Packing) {
        slots.iter().for_each(|&slot| self.ends[slot as usize] = GONE);
        self.gone_count += slots.len();
        if self.gone_count * 2 < self.ends.len() {
            return;
        }
        let is_open = |slot: &u32| self.ends[*slot as usize] != GONE;
        let open: Vec<u32> = (0..self.ends.len() as u32).filter(is_open).collect();
        for (at, &slot) in open.iter().enumerate() {
            self.tags[at] = self.tags[slot as usize];
            self.ends[at] = self.ends[slot as usize];
        }
        self.tags.truncate(open.len());
        self.ends.truncate(open.len());
        let base = packing.words() + 1;
        self.records.keep(&open, shape.layout.blob_words.iter().map(|word| base + word));
        self.gone_count = 0;
    }
}
