//! Sums of sliding windows that cost the same however many slices a window has.
//!
//! A window that slides by one slice loses its oldest slice and gains one. Accumulators can be merged but not taken apart, so the sum is kept
//! in two: what the slices since the last flip add up to grows at the back; of the slices before it there is a sum from each slice up to
//! the flip, and the front one of those falls away as the window moves on. When the front is used up, the slices at the back become it: the
//! flip. So every slice is added two or three times, whatever the window's size.
//!
//! (Tangwongsan, Hirzel, Schneider, "Low-latency sliding-window aggregation in worst-case constant time" (DEBS 2017), describe the two
//! stacks.) A sum for every slice would take as much memory as a window has slices; so the front is cut into as many blocks as each has
//! slices: there is one sum for each block, and one for each slice of the block that the window is leaving.
//!
//! # Invariants
//!
//! 1. Slices are added in no order of time: not for aggregates in which that shows.
//! 2. `front`, `blocks` and `back` together have the slices of the last window, each once, in the order of time; nothing else
//!    knows what is in them: it is derived from the slices, never saved, and may be forgotten.

use super::shape::Shape;
use super::sum::Sum;

/// With fewer slices than this in a window adding them all up costs no more.
const SLICES_MIN: usize = 5;

/// Adds the groups of a slice to a sum.
pub(super) type Add<'a> = dyn FnMut(i64, &mut Sum) + 'a;

/// What the slices of the current window add up to, in parts.
#[derive(Debug)]
pub(super) struct TwoStacks {
    /// Slices of the block that the window is leaving, the oldest last; each with the sum from it up to the flip.
    front: Vec<(i64, Sum)>,
    /// The later blocks, the oldest last: the slices of each, ascending, and the sum of all blocks behind it.
    blocks: Vec<(Vec<i64>, Sum)>,
    /// The slices since the flip.
    back: Vec<i64>,
    back_sum: Sum,
    /// One that has been read out, for its memory.
    spare: Option<Sum>,
}

/// What changes with a window.
#[derive(Debug)]
pub(super) struct Entry {
    /// Slices before this one are no longer in it.
    oldest: i64,
    /// The slices that the sums do not have, ascending.
    new: Vec<i64>,
}

impl TwoStacks {
    pub(super) fn new(shape: &Shape) -> Self {
        let back_sum = Sum::new(shape);
        Self { front: Vec::new(), blocks: Vec::new(), back: Vec::new(), back_sum, spare: None }
    }

    /// The newest slice that is in the sums.
    pub(super) fn newest(&self) -> Option<i64> {
        let flipped = || self.blocks.first().and_then(|(slices, _)| slices.last());
        let in_front = || self.front.first().map(|(slice, _)| slice);
        self.back.last().or_else(flipped).or_else(in_front).copied()
    }

    /// A sum of no slices.
    pub(super) fn empty_sum(&mut self, shape: &Shape) -> Sum {
        self.spare.take().unwrap_or_else(|| Sum::new(shape))
    }

    /// Takes back a sum that has been read out.
    pub(super) fn take_back(&mut self, mut sum: Sum) {
        sum.clear();
        self.spare = Some(sum);
    }

    /// Forgets all sums.
    pub(super) fn forget(&mut self) {
        self.front.clear();
        self.blocks.clear();
        self.back.clear();
        self.back_sum.clear();
    }

    /// What the next window has, of which `slices_after` says the slices after a time, ascending; `None`: it has no slices.
    pub(super) fn enter<I: Iterator<Item = i64>>(
        &mut self,
        start_ms: i64,
        slices_after: impl Fn(i64) -> I,
    ) -> Option<Entry> {
        let oldest = slices_after(start_ms).next()?;
        if slices_after(start_ms).take(SLICES_MIN).count() < SLICES_MIN {
            self.forget();
        }
        let after = self.newest().map_or(start_ms, |newest| newest.max(start_ms));
        Some(Entry { oldest, new: slices_after(after).collect() })
    }

    /// The sum of a window that was entered. It is not older than the last one.
    pub(super) fn sum(&mut self, shape: &Shape, entry: &Entry, add: &mut Add<'_>) -> Sum {
        let &Entry { oldest, ref new } = entry;
        if new.len() < SLICES_MIN && self.newest().is_none() {
            let mut sum = self.empty_sum(shape);
            new.iter().for_each(|&slice| add(slice, &mut sum));
            return sum;
        }
        while self.front.last().is_some_and(|&(slice, _)| slice < oldest) {
            self.front.pop();
        }
        while self.blocks.last().is_some_and(|(block, _)| block.last() < Some(&oldest)) {
            self.blocks.pop();
        }
        if self.front.is_empty() && self.blocks.is_empty() && self.back.first() < Some(&oldest) {
            self.flip(shape, oldest, add);
        }
        if self.front.is_empty() {
            self.open_block(oldest, add);
        }
        new.iter().for_each(|&slice| add(slice, &mut self.back_sum));
        self.back.extend(new);
        let mut sum = match self.front.last() {
            Some((_, sum)) => sum.clone(),
            None => Sum::new(shape),
        };
        sum.absorb(shape, &self.back_sum);
        sum
    }

    /// Adds what a slice that the sums have, or that is older than the newest which they have, has got since: to the sums from it or an
    /// older one on.
    pub(super) fn amend(&mut self, shape: &Shape, slice: i64, late: &Sum) {
        let last_of = |block: &(Vec<i64>, Sum)| block.0.last().copied();
        let newest_in_front = self.front.first().map(|&(slice, _)| slice);
        let flipped = self.blocks.first().and_then(last_of).or(newest_in_front);
        if flipped < Some(slice) {
            insert(&mut self.back, slice);
            self.back_sum.absorb(shape, late);
            return;
        }
        let younger = self.front.partition_point(|&(held, _)| held > slice);
        if newest_in_front < Some(slice) {
            let block = self.blocks.partition_point(|block| last_of(block) >= Some(slice));
            insert(&mut self.blocks[block - 1].0, slice);
            let older = &mut self.blocks[block..];
            older.iter_mut().for_each(|(_, sum)| sum.absorb(shape, late));
        } else if self.front.get(younger).is_none_or(|&(held, _)| held != slice) {
            let sum = self.front[younger - 1].1.clone();
            self.front.insert(younger, (slice, sum));
        }
        self.front[younger..].iter_mut().for_each(|(_, sum)| sum.absorb(shape, late));
    }

    /// Makes blocks of the slices at the back.
    fn flip(&mut self, shape: &Shape, oldest: i64, add: &mut Add<'_>) {
        let mut slices = std::mem::take(&mut self.back);
        self.back_sum.clear();
        slices.retain(|&slice| slice >= oldest);
        let block = slices.len().isqrt().max(1);
        let mut sum = Sum::new(shape);
        let mut blocks = slices.rchunks(block).peekable();
        while let Some(slices) = blocks.next() {
            self.blocks.push((slices.to_vec(), sum.clone()));
            // The oldest is opened at once, slice by slice.
            if blocks.peek().is_some() {
                slices.iter().for_each(|&slice| add(slice, &mut sum));
            }
        }
    }

    /// Makes the oldest block the front.
    fn open_block(&mut self, oldest: i64, add: &mut Add<'_>) {
        let Some((slices, mut sum)) = self.blocks.pop() else { return };
        for &slice in slices.iter().rev().take_while(|&&slice| slice >= oldest) {
            add(slice, &mut sum);
            self.front.push((slice, sum.clone()));
        }
    }
}

/// Has ascending `slices` contain a slice.
fn insert(slices: &mut Vec<i64>, slice: i64) {
    if let Err(at) = slices.binary_search(&slice) {
        slices.insert(at, slice);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::accumulators::Accumulators;
    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction, Slots};
    use crate::batch::{DataType, Field, Schema};

    fn shape() -> Shape {
        let call =
            |function| AggregateCall::new(function, vec![0], DataType::BigInt, DataType::BigInt);
        let calls = [AggregateFunction::Sum, AggregateFunction::Max].map(call);
        Shape::new(&Schema::new(vec![Field::new("n", DataType::BigInt)]), &[], &calls)
    }

    /// By slice and key: what comes of it, as words of SUM and MAX.
    type Slices = BTreeMap<i64, BTreeMap<u32, [u64; 4]>>;

    fn put(slices: &mut Slices, slice: i64, key: u32, value: u64) {
        let words = slices.entry(slice).or_default().entry(key).or_default();
        *words = [words[0] + value, words[1] + 1, words[2].max(value), 1];
    }

    fn add_groups(shape: &Shape, slice: &BTreeMap<u32, [u64; 4]>, sum: &mut Sum) {
        let keys: Vec<u32> = slice.keys().copied().collect();
        let mut groups = Accumulators::new(4);
        groups.grow_to(keys.len());
        for (slot, words) in (0..).zip(slice.values()) {
            groups.words_mut(slot).copy_from_slice(words);
        }
        sum.add(shape, &keys, &groups);
    }

    fn naive(slices: &Slices, oldest: i64, newest: i64) -> BTreeMap<u32, [u64; 4]> {
        let mut sum: BTreeMap<u32, [u64; 4]> = BTreeMap::new();
        for (&key, words) in slices.range(oldest..=newest).flat_map(|(_, groups)| groups) {
            let held = sum.entry(key).or_default();
            *held = [held[0] + words[0], held[1] + words[1], held[2].max(words[2]), 1];
        }
        sum
    }

    proptest! {
        /// Windows of any size over slices with gaps, some of which get rows after they have been added up.
        #[test]
        fn sums_are_those_of_the_slices(
            size in prop_oneof![1..40i64, 40..99i64],
            rows in prop::collection::vec((0..60i64, 0..6u32, 0..100u64), 0..200),
            late in prop::collection::vec((0..100i64, 0..90i64, 0..6u32), 0..40),
        ) {
            let (shape, mut slices) = (shape(), Slices::new());
            rows.iter().for_each(|&(slice, key, value)| put(&mut slices, slice, key, value));
            let mut stacks = TwoStacks::new(&shape);
            for newest in 0..100i64 {
                for &(_, back, key) in late.iter().filter(|(when, ..)| *when == newest) {
                    let slice = (newest - back).max(0);
                    put(&mut slices, slice, key, 7);
                    if stacks.newest() >= Some(slice) {
                        let mut late = Sum::new(&shape);
                        add_groups(&shape, &BTreeMap::from([(key, [7, 1, 7, 1])]), &mut late);
                        stacks.amend(&shape, slice, &late);
                    }
                }
                let after = |start: i64| slices.range(start + 1..=newest).map(|(&slice, _)| slice);
                let Some(entry) = stacks.enter(newest - size, after) else { continue };
                let sum = stacks.sum(&shape, &entry, &mut |slice, sum| {
                    add_groups(&shape, &slices[&slice], sum);
                });
                let groups = sum.groups().map(|(key, words)| (key, <[u64; 4]>::try_from(words).unwrap()));
                prop_assert_eq!(groups.collect::<BTreeMap<_, _>>(), naive(&slices, newest - size + 1, newest));
            }
        }
    }

    #[test]
    fn a_slice_is_added_three_times_at_most_however_large_the_window() {
        let shape = shape();
        for size in [SLICES_MIN as i64, 50, 500] {
            let (mut stacks, mut added) = (TwoStacks::new(&shape), 0);
            for newest in 0..3 * size {
                let entry =
                    stacks.enter(newest - size, |start| (start + 1).max(0)..newest + 1).unwrap();
                // However large the window, nobody looks at more than what is new.
                assert!(entry.new.len() <= SLICES_MIN);
                stacks.sum(&shape, &entry, &mut |_, _| added += 1);
            }
            // While the first window fills up, all of it is added up until there are enough slices.
            let most = 3 * 3 * size + (SLICES_MIN * SLICES_MIN) as i64;
            assert!(added <= most, "{added} times for {} slices", 3 * size);
        }
    }
}
