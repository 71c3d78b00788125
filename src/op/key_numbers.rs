//! Numbers for the keys of an owner: panes and sums of panes find each other's groups through arrays, without hashes and without bytes.
//!
//! A slice's groups are found when accumulators come for them, and again whenever the slice is added to something. The key of each has
//! a number here, the same in all slices, so that only the first slice to have it looks it up.
//!
//! # Invariants
//!
//! 1. Until [`KeyNumbers::forget`] is called a number stands for one key.
//! 2. Numbers are derived from keys, never saved, and show in no result.

use super::key_table::KeyTable;
use super::numbered::{Numbers, Seen};
use crate::batch::Keys;

/// So many keys are kept without regard to how many groups there are.
const KEYS_MIN: usize = if cfg!(test) { 16 } else { 1 << 14 };
/// How many keys are kept for a group at most.
const KEYS_PER_GROUP: usize = 2;

/// The keys that have numbers.
#[derive(Debug)]
pub(super) struct KeyNumbers {
    /// How often all have been forgotten.
    generation: u64,
    /// A key's slot is its number.
    keys: KeyTable,
    /// The numbers of keys that senders have numbered.
    seen: Seen,
    /// With more keys it is looked whether there are too many.
    keys_max: usize,
}

impl KeyNumbers {
    pub(super) fn new() -> Self {
        Self { generation: 0, keys: KeyTable::new(), seen: Seen::default(), keys_max: KEYS_MIN }
    }

    /// The number of a key.
    #[inline]
    pub(super) fn number(&mut self, hash: u64, key: &[u8]) -> u32 {
        self.keys.slot(hash, 0, key)
    }

    /// The hash and the bytes of a key.
    #[inline]
    pub(super) fn key(&self, number: u32) -> (u64, &[u8]) {
        let (hash, key, _) = self.keys.get(number);
        (hash, key)
    }

    /// The numbers of some of a payload's keys, which their sender has numbered in its own way.
    pub(super) fn of_payload(
        &mut self,
        keys: &Keys,
        numbers: &Numbers,
        indices: &[u32],
    ) -> Vec<u32> {
        let Self { keys: known, seen, .. } = self;
        let mut seen = seen.of(numbers, known.count());
        let number = |&index: &u32| {
            let index = index as usize;
            let mut find = || known.slot(keys.hashes[index], 0, keys.get(index));
            match &mut seen {
                Some(seen) => seen.slot(index, &mut find),
                None => find(),
            }
        };
        indices.iter().map(number).collect()
    }

    /// Whether there are many more keys than groups, of which there are `groups`.
    pub(super) fn are_too_many(&mut self, groups: impl FnOnce() -> usize) -> bool {
        if self.keys.count() <= self.keys_max {
            return false;
        }
        self.keys_max = KEYS_MIN.max(groups() * KEYS_PER_GROUP);
        self.keys.count() > self.keys_max
    }

    /// Forgets all keys: others have the numbers from now on.
    pub(super) fn forget(&mut self) {
        *self = Self { generation: self.generation + 1, ..Self::new() };
    }
}

/// Which group of a pane or of a sum has which number.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberedSlots {
    /// Of the numbers.
    generation: u64,
    /// By slot.
    numbers: Vec<u32>,
    /// By number: slot + 1, 0 for none.
    slots: Vec<u32>,
}

impl NumberedSlots {
    /// Sees to it that the slots before `count` have numbers and are found by them; `key` says a slot's hash and key.
    pub(super) fn complete<'a>(
        &mut self,
        key_numbers: &mut KeyNumbers,
        count: u32,
        key: impl Fn(u32) -> (u64, &'a [u8]),
    ) {
        if self.generation != key_numbers.generation {
            *self = Self { generation: key_numbers.generation, ..Self::default() };
        }
        for slot in self.count() as u32..count {
            let (hash, key) = key(slot);
            self.push(key_numbers.number(hash, key));
        }
    }

    /// How many slots have numbers.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes that they take.
    pub(super) fn bytes(&self) -> usize {
        (self.numbers.len() + self.slots.len()) * size_of::<u32>()
    }

    /// The numbers of all slots.
    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// The slot with this number.
    #[inline]
    pub(super) fn slot(&self, number: u32) -> Option<u32> {
        self.slots.get(number as usize)?.checked_sub(1)
    }

    /// The slot with this number: the next, if there is none.
    #[inline]
    pub(super) fn slot_or_next(&mut self, number: u32) -> u32 {
        self.slot(number).unwrap_or_else(|| {
            self.push(number);
            self.count() as u32 - 1
        })
    }

    /// The next slot has this number.
    #[inline]
    pub(super) fn push(&mut self, number: u32) {
        let at = number as usize;
        if at >= self.slots.len() {
            self.slots.resize((at + 1).next_power_of_two(), 0);
        }
        self.numbers.push(number);
        self.slots[at] = self.numbers.len() as u32;
    }

    /// Forgets all slots, keeping the memory.
    pub(super) fn clear(&mut self) {
        for number in self.numbers.drain(..) {
            self.slots[number as usize] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::hash::hash_bytes;

    proptest! {
        /// Panes that share numbers, against maps from key to slot; numbers are forgotten at any time, and some slots come without.
        #[test]
        fn slots_are_found_by_number_as_by_key(
            steps in prop::collection::vec((0..3usize, 0..60u8, prop::bool::weighted(0.1), prop::bool::weighted(0.02)), 1..400),
        ) {
            let mut numbers = KeyNumbers::new();
            let mut panes: [NumberedSlots; 3] = Default::default();
            let mut twins: [(HashMap<u8, u32>, Vec<u8>); 3] = Default::default();
            for (at, key, unnumbered, forget) in steps {
                if forget {
                    numbers.forget();
                }
                let (pane, (slots, keys)) = (&mut panes[at], &mut twins[at]);
                let next = keys.len() as u32;
                let expected = *slots.entry(key).or_insert(next);
                if expected == next {
                    keys.push(key);
                }
                if unnumbered {
                    continue;
                }
                let bytes: Vec<[u8; 1]> = keys.iter().map(|&key| [key]).collect();
                pane.complete(&mut numbers, next, |slot| {
                    let key = &bytes[slot as usize];
                    (hash_bytes(key), key)
                });
                let (hash, bytes) = (hash_bytes(&[key]), [key]);
                let number = numbers.number(hash, &bytes);
                prop_assert_eq!(numbers.key(number), (hash, bytes.as_slice()));
                prop_assert_eq!(pane.slot_or_next(number), expected);
                prop_assert_eq!(pane.slot(number), Some(expected));
                prop_assert_eq!(pane.count(), keys.len());
            }
        }
    }

    #[test]
    fn keys_are_too_many_when_groups_are_few() {
        let mut numbers = KeyNumbers::new();
        let give = |numbers: &mut KeyNumbers, count: usize| {
            (0..count as u64).for_each(|key| {
                numbers.number(hash_bytes(&key.to_le_bytes()), &key.to_le_bytes());
            });
        };
        give(&mut numbers, KEYS_MIN);
        assert!(!numbers.are_too_many(|| unreachable!("there are few keys")));
        give(&mut numbers, 4 * KEYS_MIN);
        assert!(!numbers.are_too_many(|| 3 * KEYS_MIN));
        assert!(!numbers.are_too_many(|| unreachable!("not more than when it was last looked")));
        give(&mut numbers, 7 * KEYS_MIN);
        assert!(numbers.are_too_many(|| 3 * KEYS_MIN));
        numbers.forget();
        assert!(!numbers.are_too_many(|| unreachable!("there are none")));
    }
}
