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

impl TwoStacks {
    pub(super) fn new(shape: &Shape) -> Self {
        let back_sum = Sum::new(shape);
        Self { front: Vec::new(), blocks: Vec::new(), back: Vec::new(), back_sum, spare: None }
    }

    /// Whether rows that come for a slice now would be missing in the sums.
    pub(super) fn covers(&self, slice: i64) -> bool {
        let flipped = || self.blocks.first().and_then(|(slices, _)| slices.last());
        let in_front = || self.front.first().map(|(slice, _)| slice);
        self.back.last().or_else(flipped).or_else(in_front).is_some_and(|&last| slice <= last)
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

    /// The sum of a window's `slices`, ascending, of which there is at least one. The window is not older than the last one.
    pub(super) fn sum(&mut self, shape: &Shape, slices: &[i64], add: &mut Add<'_>) -> Sum {
        let oldest = slices[0];
        if slices.len() < SLICES_MIN {
            self.forget();
            let mut sum = self.spare.take().unwrap_or_else(|| Sum::new(shape));
            slices.iter().for_each(|&slice| add(slice, &mut sum));
            return sum;
        }
        while self.front.last().is_some_and(|&(slice, _)| slice < oldest) {
            self.front.pop();
        }
        self.blocks.retain(|(block, _)| block.last().is_some_and(|&last| last >= oldest));
        if self.front.is_empty() && self.blocks.is_empty() && self.back.first() < Some(&oldest) {
            self.flip(shape, oldest, add);
        }
        if self.front.is_empty() {
            self.open_block(oldest, add);
        }
        for &slice in slices {
            if !self.covers(slice) {
                add(slice, &mut self.back_sum);
                self.back.push(slice);
            }
        }
        let mut sum = match self.front.last() {
            Some((_, sum)) => sum.clone(),
            None => Sum::new(shape),
        };
        sum.absorb(shape, &self.back_sum);
        sum
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::accumulators::Accumulators;
    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction, Slots};
    use crate::batch::{DataType, Field, Schema};

    fn shape() -> Shape {
        let call = |function, data_type| AggregateCall {
            function,
            args: vec![0],
            distinct: false,
            filter: None,
            separator: String::new(),
            arg_type: DataType::BigInt,
            data_type,
            name: "a".into(),
        };
        let calls = [
            call(AggregateFunction::Sum, DataType::BigInt),
            call(AggregateFunction::Max, DataType::BigInt),
        ];
        Shape::new(&Schema::new(vec![Field::new("n", DataType::BigInt)]), &[], &calls)
    }

    /// By slice and key: what comes of it, as words of SUM and MAX.
    type Slices = BTreeMap<i64, BTreeMap<u32, [u64; 4]>>;

    fn put(slices: &mut Slices, slice: i64, key: u32, value: u64) {
        let words = slices.entry(slice).or_default().entry(key).or_default();
        *words = [words[0] + value, words[1] + 1, words[2].max(value), 1];
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
            size in 1..40i64,
            rows in prop::collection::vec((0..60i64, 0..6u32, 0..100u64), 0..200),
            late in prop::collection::vec((0..100i64, 0..40i64, 0..6u32), 0..6),
        ) {
            let (shape, mut slices) = (shape(), Slices::new());
            rows.iter().for_each(|&(slice, key, value)| put(&mut slices, slice, key, value));
            let mut stacks = TwoStacks::new(&shape);
            for newest in 0..100i64 {
                for &(_, back, key) in late.iter().filter(|(when, ..)| *when == newest) {
                    let slice = (newest - back).max(0);
                    put(&mut slices, slice, key, 7);
                    if stacks.covers(slice) {
                        stacks.forget();
                    }
                }
                let window: Vec<i64> = slices.range(newest - size + 1..=newest).map(|(&slice, _)| slice).collect();
                if window.is_empty() {
                    continue;
                }
                let sum = stacks.sum(&shape, &window, &mut |slice, sum| {
                    let keys: Vec<u32> = slices[&slice].keys().copied().collect();
                    let mut groups = Accumulators::new(4);
                    groups.grow_to(keys.len());
                    for (slot, words) in (0..).zip(slices[&slice].values()) {
                        groups.words_mut(slot).copy_from_slice(words);
                    }
                    sum.add(&shape, &keys, &groups);
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
                let window: Vec<i64> = ((newest - size + 1).max(0)..=newest).collect();
                stacks.sum(&shape, &window, &mut |_, _| added += 1);
            }
            // While the first window fills up, all of it is added up until there are enough slices.
            let most = 3 * 3 * size + (SLICES_MIN * SLICES_MIN) as i64;
            assert!(added <= most, "{added} times for {} slices", 3 * size);
        }
    }
}
