//! A folding table: a chunk's rows, folded by key and slice before they leave for their owners; or what slices have in common.
//!
//! It lives for a chunk at most, or while it is read out, and is never saved, so it is flat memory: no pages, no noted changes.
//!
//! # Invariants
//!
//! 1. Group *i* has key *i* of `keys` and accumulators *i*.

use super::accumulators::Accumulators;
use super::key_table::KeyTable;
use crate::batch::Keys;
use crate::sys::vector;

/// The groups of a chunk so far.
#[derive(Clone, Debug)]
pub(super) struct Folding {
    keys: KeyTable,
    pub(super) accumulators: Accumulators,
}

impl Folding {
    /// An empty table whose groups have `word_count` accumulator words.
    pub(super) fn new(word_count: usize) -> Self {
        Self { keys: KeyTable::new(), accumulators: Accumulators::new(word_count) }
    }

    /// How many groups it holds.
    pub(super) fn count(&self) -> usize {
        self.keys.count()
    }

    /// Bytes that keys and accumulators take, or little more.
    pub(super) fn bytes(&self) -> usize {
        self.keys.bytes() + self.accumulators.bytes()
    }

    /// A group's key with its hash, and the end of its slice.
    pub(super) fn group(&self, slot: u32) -> (u64, &[u8], i64) {
        self.keys.get(slot)
    }

    /// The slot of a key in a slice, made if need be.
    pub(super) fn slot(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        let slot = self.keys.slot(hash, end_ms, key);
        self.accumulators.grow_to(self.keys.count());
        slot
    }

    /// A new slot for a key of which the caller knows that it has none in this slice.
    #[inline]
    pub(super) fn append(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        let slot = self.keys.append(hash, end_ms, key);
        self.accumulators.grow_to(self.keys.count());
        slot
    }

    /// The slots of rows with these `keys`, each in the slice that ends at its `ends_ms`, made if need be.
    ///
    /// # Shapes
    ///
    /// All `[rows]`; `slots` is replaced.
    pub(super) fn find(&mut self, keys: &Keys, ends_ms: &[i64], slots: &mut Vec<u32>) {
        slots.clear();
        slots.reserve(ends_ms.len());
        for (row, (&end_ms, &hash)) in ends_ms.iter().zip(&keys.hashes).enumerate() {
            let slot = self.keys.slot(hash, end_ms, keys.get(row));
            slots.push(slot);
        }
        self.accumulators.grow_to(self.keys.count());
    }

    /// Forgets all groups, keeping memory for what comes next.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.accumulators.clear();
    }
}

/// The least and the greatest of some values; of none, an empty range.
pub(super) fn extent(values: &[i64]) -> (i64, i64) {
    vector::widest(Extent(values))
}

struct Extent<'a>(&'a [i64]);

impl vector::Loop for Extent<'_> {
    type Output = (i64, i64);

    #[inline(always)]
    fn run(self) -> (i64, i64) {
        self.0.iter().fold((i64::MAX, i64::MIN), |(least, greatest), &value| {
            (least.min(value), greatest.max(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array};
    use arrow_buffer::BooleanBuffer;
    use proptest::prelude::*;

    use super::*;
    use crate::agg::{Accumulator, Argument, Fused, Slots, Update};
    use crate::batch::hash::hash_bytes;

    proptest! {
        /// Against a `HashMap`: many and few groups in turn, with bytes of their own.
        #[test]
        fn groups_are_a_map(chunks in prop::collection::vec((1..3000u32, 0..3000usize), 1..5)) {
            let mut folding = Folding::new(2);
            for (key_count, rows) in chunks {
                let mut twin: HashMap<(u32, i64), u64> = HashMap::new();
                let (mut keys, mut ends_ms, mut slots) = (Keys::default(), Vec::new(), Vec::new());
                for row in 0..rows as u32 {
                    let (key, end_ms) = (row.wrapping_mul(7) % key_count, i64::from(row % 3) * 10);
                    let bytes = vec![key as u8; key as usize % 40 + 1];
                    // Equal hashes of different keys, now and then.
                    keys.push(hash_bytes(&bytes) >> (key % 2 * 60), &bytes);
                    ends_ms.push(end_ms);
                    *twin.entry(((key % 256) | ((key % 40) << 8), end_ms)).or_default() += 1;
                }
                folding.find(&keys, &ends_ms, &mut slots);
                for (row, &slot) in slots.iter().enumerate() {
                    folding.accumulators.words_mut(slot)[1] += 1;
                    let blob = folding.accumulators.words(slot)[0];
                    folding.accumulators.words_mut(slot)[0] = folding.accumulators.append_blob(blob, &keys.get(row)[..1]);
                }
                prop_assert_eq!(folding.count(), twin.len());
                for slot in 0..folding.count() as u32 {
                    let (_, key, end_ms) = folding.group(slot);
                    let name = u32::from(key[0]) | (((key.len() - 1) as u32) << 8);
                    let count = twin[&(name, end_ms)];
                    prop_assert_eq!(folding.accumulators.words(slot)[1], count);
                    let blob = folding.accumulators.blob(folding.accumulators.words(slot)[0]);
                    prop_assert_eq!(blob, vec![key[0]; count as usize]);
                }
                folding.clear();
                prop_assert_eq!((folding.count(), folding.bytes()), (0, 0));
            }
        }
    }

    /// COUNT, SUM, MIN and MAX of doubles, each perhaps only of some rows, with words between them.
    fn updates<'a>(
        chosen: &[(usize, bool)],
        values: &'a ArrayRef,
        filter: &BooleanBuffer,
    ) -> Vec<Update<'a>> {
        let [count, sum] = [Accumulator::Count, Accumulator::SumFloat];
        let [min, max] = [false, true].map(|greatest| Accumulator::ExtremeFloat { greatest });
        let places = [(count, 1), (sum, 3), (min, 8), (max, 10), (count, 13), (sum, 14)];
        let update = |&(index, filtered): &(usize, bool)| {
            let argument = match places[index].0 {
                Accumulator::Count => Argument::None,
                _ => Argument::new(values),
            };
            Update::new(places[index], "", argument, None, filtered.then_some(filter))
        };
        chosen.iter().map(update).collect()
    }

    proptest! {
        #[test]
        fn calls_folded_together_are_as_folded_apart(
            rows in prop::collection::vec((0..5u32, any::<f64>(), -9.0..9.0f64, 0..9u8, any::<bool>()), 1..200),
            mut chosen in prop::collection::vec((0..6usize, prop::bool::weighted(0.2)), 1..6),
            plain in any::<bool>(),
        ) {
            chosen.sort_unstable();
            chosen.dedup_by_key(|(index, _)| *index);
            let value = |row: &(u32, f64, f64, u8, bool)| if row.3 == 0 && !plain { row.1 } else { row.2 };
            let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(value)));
            let filter = rows.iter().map(|row| row.4).collect();
            let slots: Vec<u32> = rows.iter().map(|row| row.0).collect();
            let [mut together, mut apart] = [Folding::new(18), Folding::new(18)];
            for folding in [&mut together, &mut apart] {
                (0..5).for_each(|key: u8| { folding.append(key.into(), 0, &[key]); });
            }
            updates(&chosen, &values, &filter).iter().for_each(|update| update.fold(&mut apart.accumulators, &slots, 0));
            let mut rest = updates(&chosen, &values, &filter);
            let fused = Fused::of(&mut rest);
            let fusible = |index: usize| chosen.contains(&(index, false));
            let sums = fusible(1) || fusible(5);
            prop_assert_eq!(fused.is_some(), sums && [0, 2, 3, 4].into_iter().any(fusible));
            fused.iter().for_each(|fused| fused.fold(&mut together.accumulators, &slots, 0));
            rest.iter().for_each(|update| update.fold(&mut together.accumulators, &slots, 0));
            for slot in 0..5 {
                let [one, other] = [&together, &apart].map(|folding| folding.accumulators.words(slot));
                for (at, (&word, &expected)) in one.iter().zip(other).enumerate() {
                    match (at, word) {
                        // Spills are numbered in order of arrival.
                        (6 | 17, 1..) => prop_assert_eq!(together.accumulators.blob(word), apart.accumulators.blob(expected)),
                        _ => prop_assert_eq!(word, expected, "word {}", at),
                    }
                }
            }
        }
    }
}
