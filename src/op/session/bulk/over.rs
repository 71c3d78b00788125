//! Sessions that are over, of one partition after the other, until they make a batch.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use super::partition::{Ended, Partition};
use crate::batch::{BATCH_ROWS_MAX, Batch, Packing};
use crate::op::accumulators::Accumulators;
use crate::op::packed_rows::column_of;
use crate::op::pane::finish_calls;
use crate::op::shape::Shape;
use crate::op::single::finish_rows;

/// What is over and not in a batch yet.
#[derive(Debug)]
pub(super) struct Over {
    alone: Spans,
    /// By argument, those of sessions that are alone.
    arguments: Vec<Vec<u64>>,
    folded: Spans,
    sums: Accumulators,
    /// What is in batches.
    pub(super) batches: VecDeque<Batch>,
}

impl Over {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            alone: Spans::default(),
            arguments: shape.shipped_types.iter().map(|_| Vec::new()).collect(),
            folded: Spans::default(),
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
            for (words, column) in self.arguments.iter_mut().zip(&from.arguments) {
                words.reserve(BATCH_ROWS_MAX - words.len());
                words.extend(slots.iter().map(|&slot| column[slot as usize]));
            }
            if self.alone.is_full() {
                self.finish_alone(shape, packing);
            }
        }
        let mut rest = ended.folded.get();
        while let Some(slots) = self.folded.next_part(&mut rest) {
            self.folded.add::<KEY>(from, slots);
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
        let batch = std::mem::take(&mut self.alone)
            .batch(shape, packing, |keys, rows| finish_rows(shape, keys, &columns, rows));
        self.batches.extend(batch);
    }

    fn finish_folded(&mut self, shape: &Shape, packing: Packing) {
        let batch = std::mem::take(&mut self.folded).batch(shape, packing, |keys, rows| {
            let slots: Vec<u32> = (0..rows as u32).collect();
            finish_calls(shape, 0, keys, &self.sums, &slots)
        });
        self.batches.extend(batch);
        self.sums.clear();
    }
}

/// Keys and times of sessions, fewer than make a batch.
#[derive(Debug, Default)]
struct Spans {
    keys: Vec<u64>,
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl Spans {
    fn is_full(&self) -> bool {
        self.ends.len() == BATCH_ROWS_MAX
    }

    /// Takes as many of `slots` as there is room for.
    fn next_part<'a>(&self, slots: &mut &'a [u32]) -> Option<&'a [u32]> {
        let room = BATCH_ROWS_MAX - self.ends.len();
        let (part, rest) = slots.split_at(slots.len().min(room));
        *slots = rest;
        (!part.is_empty()).then_some(part)
    }

    fn add<const KEY: usize>(&mut self, from: &Partition, slots: &[u32]) {
        if self.ends.is_empty() {
            self.keys.reserve(BATCH_ROWS_MAX * KEY);
            self.starts.reserve(BATCH_ROWS_MAX);
            self.ends.reserve(BATCH_ROWS_MAX);
        }
        let first = self.keys.len();
        self.keys.resize(first + slots.len() * KEY, 0);
        let keys = self.keys[first..].as_chunks_mut::<KEY>().0;
        keys.iter_mut().zip(slots).for_each(|(key, &slot)| *key = *from.key::<KEY>(slot));
        self.starts.extend(slots.iter().map(|&slot| from.starts[slot as usize]));
        self.ends.extend(slots.iter().map(|&slot| from.ends[slot as usize]));
    }

    /// The batch, with what `aggregates` puts behind keys; `None`: there is nothing.
    fn batch(
        self,
        shape: &Shape,
        packing: Packing,
        aggregates: impl FnOnce(Vec<ArrayRef>, usize) -> Vec<ArrayRef>,
    ) -> Option<Batch> {
        let Self { keys, starts, ends } = self;
        let rows = ends.len();
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
