//! Sessions that are over, of one partition after the other, until they make a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use super::partition::{Ended, Partition, key_of};
use super::single::finish_rows;
use crate::batch::{BATCH_ROWS_MAX, Batch, Packing};
use crate::op::accumulators::Accumulators;
use crate::op::packed_rows::column_of;
use crate::op::pane::finish_calls;
use crate::op::shape::Shape;

/// What is over and not in a batch yet.
#[derive(Debug)]
pub(super) struct Over {
    gap_ms: i64,
    /// Those of one row, which end a gap after it.
    alone: Spans,
    /// By argument, those of sessions that are alone.
    arguments: Vec<Vec<u64>>,
    folded: Spans,
    /// When those that are folded end.
    ends: Vec<i64>,
    sums: Accumulators,
    /// What is in batches.
    pub(super) batches: VecDeque<Batch>,
}

impl Over {
    pub(super) fn new(shape: &Shape, gap_ms: i64) -> Self {
        Self {
            gap_ms,
            alone: Spans::default(),
            arguments: shape.shipped_types.iter().map(|_| Vec::new()).collect(),
            folded: Spans::default(),
            ends: Vec::new(),
            sums: Accumulators::new(shape.layout.word_count),
            batches: VecDeque::new(),
        }
    }

    /// Adds sessions of a partition, whose keys have `KEY` words.
    pub(super) fn add<const KEY: usize>(
        &mut self,
        shape: &Shape,
        packing: Packing,
        from: &Partition,
        ended: &Ended,
    ) {
        let mut rest = ended.alone.get();
        while let Some(slots) = self.alone.next_part(&mut rest) {
            self.alone.add::<KEY>(from, slots);
            for (words, at) in self.arguments.iter_mut().zip(KEY + 1..) {
                words.reserve(BATCH_ROWS_MAX - words.len());
                words.extend(slots.iter().map(|&slot| from.row(slot)[at]));
            }
            if self.alone.is_full() {
                self.finish_alone(shape, packing);
            }
        }
        let mut rest = ended.folded.get();
        while let Some(slots) = self.folded.next_part(&mut rest) {
            self.folded.add::<KEY>(from, slots);
            self.ends.extend(slots.iter().map(|&slot| from.ends[slot as usize]));
            for &slot in slots {
                let group = from.groups[slot as usize];
                self.sums.append(&from.sums, group, &shape.layout.blob_words);
            }
            if self.folded.is_full() {
                self.finish_folded(shape, packing);
            }
        }
    }

    /// Makes batches of all that is here.
    pub(super) fn finish(&mut self, shape: &Shape, packing: Packing) {
        self.finish_alone(shape, packing);
        self.finish_folded(shape, packing);
    }

    fn finish_alone(&mut self, shape: &Shape, packing: Packing) {
        let arguments = self.arguments.iter_mut().map(std::mem::take);
        let types = shape.shipped_types.iter();
        let columns =
            types.zip(arguments).map(|(&data_type, words)| column_of(data_type, words.into()));
        let columns: Vec<ArrayRef> = columns.collect();
        let alone = std::mem::take(&mut self.alone);
        let end = |start: &i64| start.saturating_add(self.gap_ms);
        let ends = alone.starts.iter().map(end).collect();
        let batch = alone
            .batch(shape, packing, ends, |keys, rows| finish_rows(shape, keys, &columns, rows));
        self.batches.extend(batch);
    }

    fn finish_folded(&mut self, shape: &Shape, packing: Packing) {
        let (folded, ends) = (std::mem::take(&mut self.folded), std::mem::take(&mut self.ends));
        let batch = folded.batch(shape, packing, ends, |keys, rows| {
            let slots: Vec<u32> = (0..rows as u32).collect();
            finish_calls(shape, 0, keys, &self.sums, &slots)
        });
        self.batches.extend(batch);
        self.sums.clear();
    }
}

/// Keys of sessions, and when they start, fewer than make a batch.
#[derive(Debug, Default)]
struct Spans {
    keys: Vec<u64>,
    starts: Vec<i64>,
}

impl Spans {
    fn is_full(&self) -> bool {
        self.starts.len() == BATCH_ROWS_MAX
    }

    /// Takes as many of `slots` as there is room for.
    fn next_part<'a>(&self, slots: &mut &'a [u32]) -> Option<&'a [u32]> {
        let room = BATCH_ROWS_MAX - self.starts.len();
        let (part, rest) = slots.split_at(slots.len().min(room));
        *slots = rest;
        (!part.is_empty()).then_some(part)
    }

    fn add<const KEY: usize>(&mut self, from: &Partition, slots: &[u32]) {
        if self.starts.is_empty() {
            self.keys.reserve(BATCH_ROWS_MAX * KEY);
            self.starts.reserve(BATCH_ROWS_MAX);
        }
        let first = self.starts.len();
        self.starts.resize(first + slots.len(), 0);
        self.keys.resize((first + slots.len()) * KEY, 0);
        let keys = self.keys[first * KEY..].as_chunks_mut::<KEY>().0;
        for ((key, start), &slot) in keys.iter_mut().zip(&mut self.starts[first..]).zip(slots) {
            let row = from.row(slot);
            *key = *key_of(row);
            *start = row[KEY].cast_signed();
        }
    }

    /// The batch, with what `aggregates` puts behind keys; `None`: there is nothing.
    fn batch(
        self,
        shape: &Shape,
        packing: Packing,
        ends: Vec<i64>,
        aggregates: impl FnOnce(Vec<ArrayRef>, usize) -> Vec<ArrayRef>,
    ) -> Option<Batch> {
        let Self { keys, starts } = self;
        let rows = starts.len();
        if rows == 0 {
            return None;
        }
        let times: Vec<i64> = ends.iter().map(|&end| end - 1).collect();
        let mut columns = aggregates(packing.decode(&shape.key_types, keys), rows);
        let times = [starts, ends, times];
        columns.extend(times.map(|times| Arc::new(Int64Array::from(times)) as ArrayRef));
        Some(Batch::new(columns, rows))
    }
}
