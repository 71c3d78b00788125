//! Reading sessions out: records that are over leave the state and become rows.
//!
//! A batch of records is copied out while it is unlinked, each record touched once; what it comes to is worked out on the copy, which
//! lies in order.
//!
//! # Invariants
//!
//! 1. Results that are made before a chunk's end wait for it in `early`, in the order of their sessions' ends.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use super::{AGE, END, HEADER, START, Session};
use crate::agg::{self, Slots};
use crate::batch::{BATCH_ROWS_MAX, Batch, Keys};
use crate::state::{Heap, Pages, Taken, WordSlots};

impl Session {
    /// Takes so many records out that are over, and says what they came to.
    fn results(&mut self, records: &[u32]) -> Batch {
        let shape = Arc::clone(&self.shape);
        let mut taken = std::mem::take(&mut self.taken);
        self.records.take(&mut self.pages, records, &mut taken);
        let mut columns = match taken.packed_keys() {
            Some((packing, words)) => packing.decode(&shape.key_types, words),
            None => {
                let key = |at| self.records.taken_key(&self.pages, &taken, at);
                Keys::decode(&shape.key_types, (0..records.len()).map(key))
            }
        };
        let starts: Vec<i64> = taken.column(START).map(u64::cast_signed).collect();
        let ends: Vec<i64> = taken.column(END).map(u64::cast_signed).collect();
        let time = |&end: &i64| self.wall.rowtime_of(end - 1, self.instant_time);
        let times: Vec<i64> = ends.iter().map(time).collect();
        let heap = self.records.heap_mut();
        let slots = TakenSlots { pages: &mut self.pages, heap, taken: &mut taken };
        let places: Vec<u32> = (0..records.len() as u32).collect();
        for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
            columns.push(agg::finish(call, HEADER + offset, &slots, &places));
        }
        if self.ages.generation() > 0 {
            let ages: Vec<u64> = taken.column(AGE).collect();
            self.ages.blank_rows(&mut columns[shape.keys.len()..], &ages);
        }
        columns.extend(
            [starts, ends, times].map(|values| Arc::new(Int64Array::from(values)) as ArrayRef),
        );
        self.free_taken(records, &taken);
        self.taken = taken;
        Batch::new(columns, records.len())
    }

    /// Frees what records referred to that were taken out.
    fn free_taken(&mut self, records: &[u32], taken: &Taken) {
        for &word in &self.shape.layout.blob_words {
            for blob in taken.column(HEADER + word).filter(|&blob| blob != 0) {
                self.records.heap_mut().remove(&mut self.pages, blob);
            }
        }
        if !self.shape.distinct.is_empty() {
            records.iter().for_each(|&record| self.sets.clear_set(&mut self.pages, record));
        }
        self.records.forget(&mut self.pages, taken);
        if self.leave_gaps {
            self.records.give_up(&mut self.pages, records);
        }
    }

    /// The next results of records that are due.
    pub(super) fn next_results(&mut self) -> Option<Batch> {
        let due = std::mem::take(&mut self.due);
        let end = due.len().min(self.read_out + BATCH_ROWS_MAX);
        let records = &due[self.read_out..end];
        let batch = (!records.is_empty()).then(|| self.results(records));
        self.fired_count += records.len() as u64;
        (self.due, self.read_out) = (due, end);
        if batch.is_none() {
            self.emptied
                .drain(..)
                .for_each(|shelf| self.records.clear_shelf(&mut self.pages, shelf));
        }
        batch
    }

    /// Reads out what is over by now, as far as whole shelves go: its memory, which is in the cache, is used again for what comes.
    /// To the others it shows at the chunk's end.
    pub(super) fn fire_early(&mut self, watermark_ms: i64) {
        // What ends at or before the watermark + 1 is over, and the shelf of what ends behind that stays.
        self.expire(self.records.shelf_start(watermark_ms.saturating_add(2)).saturating_sub(2));
        while let Some(batch) = self.next_results() {
            self.early.push_back(batch);
        }
    }
}

/// The accumulators of records that were taken out.
struct TakenSlots<'a> {
    pages: &'a mut Pages,
    heap: &'a mut Heap,
    taken: &'a mut Taken,
}

impl Slots for TakenSlots<'_> {
    /// Of all records, for results are made of no fewer.
    #[inline]
    fn each<'a, const WORDS: usize>(
        &'a self,
        slots: &'a [u32],
        offset: usize,
    ) -> impl Iterator<Item = &'a [u64; WORDS]> {
        assert!(slots.len() == self.taken.count());
        let part = move |words: &'a [u64]| words[offset..].first_chunk();
        self.taken.each().map(move |words| part(words).expect("a part of a slot"))
    }

    #[inline]
    fn words(&self, slot: u32) -> &[u64] {
        self.taken.words(slot as usize)
    }

    #[inline]
    fn words_mut(&mut self, slot: u32) -> &mut [u64] {
        self.taken.words_mut(slot as usize)
    }

    fn blob(&self, blob: u64) -> &[u8] {
        self.heap.get_any(self.pages, blob)
    }

    fn blob_mut(&mut self, blob: u64) -> &mut [u8] {
        self.heap.get_mut(self.pages, blob)
    }

    fn new_aligned(&mut self, bytes: &[u8]) -> u64 {
        self.heap.insert_aligned(self.pages, bytes)
    }

    fn put_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        self.heap.replace(self.pages, blob, bytes)
    }

    fn append_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        self.heap.append(self.pages, blob, bytes)
    }
}

/// Records with their ends, in the order of their ends; of the same end as they came.
pub(super) fn by_end(mut over: Vec<(i64, u32)>) -> Vec<u32> {
    let ends = || over.iter().map(|&(end, _)| end);
    let (first, last) = (ends().min().unwrap_or(0), ends().max().unwrap_or(0));
    let span = last.abs_diff(first) as usize;
    if span > 4 * over.len() {
        over.sort_by_key(|&(end, _)| end);
        return over.into_iter().map(|(_, record)| record).collect();
    }
    let mut places = vec![0u32; span + 2];
    ends().for_each(|end| places[end.abs_diff(first) as usize + 1] += 1);
    (0..=span).for_each(|at| places[at + 1] += places[at]);
    let mut records = vec![0; over.len()];
    for &(end, record) in &over {
        let place = &mut places[end.abs_diff(first) as usize];
        records[*place as usize] = record;
        *place += 1;
    }
    records
}
