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

use super::folding::Folding;
use super::shape::Shape;
use crate::agg::{Partials, export, merge};

/// With fewer slices than this in a window adding them all up costs no more.
const SLICES_MIN: usize = 6;

/// Calls the function with the hash, the key and the accumulators of each group of a slice.
pub(super) type Groups<'a> = dyn FnMut(i64, &mut dyn FnMut(u64, &[u8], &Partials)) + 'a;

/// What the slices of the current window add up to, in parts.
#[derive(Debug)]
pub(super) struct TwoStacks {
    /// Slices of the block that the window is leaving, the oldest last; each with the sum from it up to the flip.
    front: Vec<(i64, Folding)>,
    /// The later blocks, the oldest last: the slices of each, ascending, and the sum of all blocks behind it.
    blocks: Vec<(Vec<i64>, Folding)>,
    /// The slices since the flip.
    back: Vec<i64>,
    back_sum: Folding,
}

impl TwoStacks {
    pub(super) fn new(shape: &Shape) -> Self {
        let back_sum = Folding::new(shape.layout.word_count);
        Self { front: Vec::new(), blocks: Vec::new(), back: Vec::new(), back_sum }
    }

    /// Whether rows that come for a slice now would be missing in the sums.
    pub(super) fn covers(&self, slice: i64) -> bool {
        let flipped = || self.blocks.first().and_then(|(slices, _)| slices.last());
        let in_front = || self.front.first().map(|(slice, _)| slice);
        self.back.last().or_else(flipped).or_else(in_front).is_some_and(|&last| slice <= last)
    }

    /// Forgets all sums.
    pub(super) fn forget(&mut self) {
        self.front.clear();
        self.blocks.clear();
        self.back.clear();
        self.back_sum.clear();
    }

    /// The sum of a window's `slices`, ascending, of which there is at least one. The window is not older than the last one.
    pub(super) fn sum(
        &mut self,
        shape: &Shape,
        slices: &[i64],
        groups: &mut Groups<'_>,
    ) -> Folding {
        let oldest = slices[0];
        if slices.len() < SLICES_MIN {
            self.forget();
            let mut sum = Folding::new(shape.layout.word_count);
            slices.iter().for_each(|&slice| add(shape, slice, &mut sum, groups));
            return sum;
        }
        while self.front.last().is_some_and(|&(slice, _)| slice < oldest) {
            self.front.pop();
        }
        self.blocks.retain(|(block, _)| block.last().is_some_and(|&last| last >= oldest));
        if self.front.is_empty() && self.blocks.is_empty() && self.back.first() < Some(&oldest) {
            self.flip(shape, oldest, groups);
        }
        if self.front.is_empty() {
            self.open_block(shape, oldest, groups);
        }
        for &slice in slices {
            if !self.covers(slice) {
                add(shape, slice, &mut self.back_sum, groups);
                self.back.push(slice);
            }
        }
        let mut sum = match self.front.last() {
            Some((_, sum)) => sum.clone(),
            None => Folding::new(shape.layout.word_count),
        };
        sum.absorb(shape, &self.back_sum);
        sum
    }

    /// Makes blocks of the slices at the back.
    fn flip(&mut self, shape: &Shape, oldest: i64, groups: &mut Groups<'_>) {
        let mut slices = std::mem::take(&mut self.back);
        self.back_sum.clear();
        slices.retain(|&slice| slice >= oldest);
        let block = slices.len().isqrt().max(1);
        let mut sum = Folding::new(shape.layout.word_count);
        let mut blocks = slices.rchunks(block).peekable();
        while let Some(slices) = blocks.next() {
            self.blocks.push((slices.to_vec(), sum.clone()));
            // The oldest is opened at once, slice by slice.
            if blocks.peek().is_some() {
                slices.iter().for_each(|&slice| add(shape, slice, &mut sum, groups));
            }
        }
    }

    /// Makes the oldest block the front.
    fn open_block(&mut self, shape: &Shape, oldest: i64, groups: &mut Groups<'_>) {
        let Some((slices, mut sum)) = self.blocks.pop() else { return };
        for &slice in slices.iter().rev().take_while(|&&slice| slice >= oldest) {
            add(shape, slice, &mut sum, groups);
            self.front.push((slice, sum.clone()));
        }
    }
}

/// Adds a slice's groups to a sum.
fn add(shape: &Shape, slice: i64, sum: &mut Folding, groups: &mut Groups<'_>) {
    groups(slice, &mut |hash, key, partials| {
        let slot = sum.slot(hash, 0, key);
        merge(&shape.layout, 0, &shape.calls, &mut sum.accumulators, slot, partials, 0);
    });
}

impl Folding {
    /// Adds all groups of another, as if their rows had come after this one's.
    fn absorb(&mut self, shape: &Shape, other: &Folding) {
        let mut partials = Partials::default();
        for from in 0..other.count() as u32 {
            let (hash, key, _) = other.group(from);
            partials.clear();
            export(&shape.layout, 0, &other.accumulators, from, &mut partials);
            let into = self.slot(hash, 0, key);
            merge(&shape.layout, 0, &shape.calls, &mut self.accumulators, into, &partials, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction, Slots};
    use crate::batch::hash::hash_bytes;
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
    type Slices = BTreeMap<i64, BTreeMap<u8, [u64; 4]>>;

    fn put(slices: &mut Slices, slice: i64, key: u8, value: u64) {
        let words = slices.entry(slice).or_default().entry(key).or_default();
        *words = [words[0] + value, words[1] + 1, words[2].max(value), 1];
    }

    fn naive(slices: &Slices, oldest: i64, newest: i64) -> BTreeMap<u8, [u64; 4]> {
        let mut sum: BTreeMap<u8, [u64; 4]> = BTreeMap::new();
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
            rows in prop::collection::vec((0..60i64, 0..6u8, 0..100u64), 0..200),
            late in prop::collection::vec((0..100i64, 0..40i64, 0..6u8), 0..6),
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
                let sum = stacks.sum(&shape, &window, &mut |slice, to| {
                    for (&key, words) in &slices[&slice] {
                        let partials = Partials { words: words.to_vec(), ..Partials::default() };
                        to(hash_bytes(&[key]), &[key], &partials);
                    }
                });
                let groups = (0..sum.count() as u32).map(|slot| {
                    (sum.group(slot).1[0], <[u64; 4]>::try_from(sum.accumulators.words(slot)).unwrap())
                });
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
