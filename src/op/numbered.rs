//! Groups of a folding table found by number: keys of one column that are integers close together, or short strings.
//!
//! A key is encoded and hashed once, when its number first comes. Numbers travel with accumulators, so that an owner need not look a key
//! up anew that it has had from the same sender ([`Seen`]).
//!
//! # Invariants
//!
//! 1. While a [`Numbering`] lasts, a number stands for one key.
//! 2. Numbers and what is remembered by them show in no result: whoever does not know a number asks for the key.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

use super::dense::Dense;
use super::folding::Folding;
use super::names::Names;
use crate::batch::hash::hash_bytes;
use crate::batch::{EncodeInteger, Integers, Keys};
use crate::window::Cut;

/// The number of what has none.
const NONE: u32 = u32::MAX;
/// Slots that [`Seen`] remembers without regard to how many groups there are.
const SEEN_MIN: usize = 1 << 15;
/// How many it remembers for a group at most.
const SEEN_PER_GROUP: usize = 4;

/// Which keys a sender's numbers stand for, as long as it lasts; told from others by its address.
#[derive(Debug)]
pub struct Numbering {
    /// Numbers are less.
    end: usize,
}

/// The numbers of a payload's keys.
#[derive(Clone, Debug)]
pub struct Numbers {
    numbering: Arc<Numbering>,
    /// `[keys]`; [`NONE`] for a key without.
    of: Vec<u32>,
}

/// Finds groups by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbered {
    dense: Dense,
    names: Names,
    /// What encodes keys; `None`: they are strings.
    encode: Option<EncodeInteger>,
    spare: Vec<i64>,
    numbering: Option<Arc<Numbering>>,
    /// Keys that have been encoded, in no order.
    known: Keys,
    /// Where among them the key lies that has a number; [`NONE`]: it has not been encoded.
    places: Vec<u32>,
    /// The numbers of groups.
    of_groups: Vec<u32>,
    /// The table has groups that were not found by number.
    is_mixed: bool,
}

impl Numbered {
    /// The integers that keys of one column are, or that stand for its short strings. `None`: they are neither. What is owned is to be given
    /// back to [`Numbered::keep`], for its memory.
    pub(super) fn integers<'a>(&mut self, keys: &'a [ArrayRef]) -> Option<Cow<'a, [i64]>> {
        let [column] = keys else { return None };
        if let Some(integers) = Integers::of(keys) {
            self.encode = Some(integers.encoder());
            return Some(integers.into_values());
        }
        let strings = column.as_string_view_opt().filter(|strings| strings.null_count() == 0)?;
        let mut numbers = std::mem::take(&mut self.spare);
        self.encode = None;
        if !self.names.is_full() && self.names.number(strings, &mut numbers) {
            return Some(numbers.into());
        }
        self.spare = numbers;
        None
    }

    /// Takes back what [`Numbered::integers`] gave.
    pub(super) fn keep(&mut self, integers: Cow<'_, [i64]>) {
        if let Cow::Owned(numbers) = integers {
            self.spare = numbers;
        }
    }

    /// Whether all of these integers have numbers.
    pub(super) fn covers(&self, integers: &[i64]) -> bool {
        self.dense.covers(integers)
    }

    /// Gives all of these integers numbers, which no group has for now; false: they lie too far apart.
    pub(super) fn cover(&mut self, integers: &[i64]) -> bool {
        let before = (self.dense.low(), self.dense.width());
        let covered = self.dense.cover(integers).is_some();
        if before != (self.dense.low(), self.dense.width()) {
            self.renumber(self.dense.width());
        }
        covered
    }

    /// The integer whose number is 0, and how many numbers there are: a power of two.
    pub(super) fn range(&self) -> (i64, usize) {
        (self.dense.low(), self.dense.width())
    }

    /// The hash and the bytes of the key that has a number; the integer whose number is 0 is `low`.
    #[inline]
    pub(super) fn key(&mut self, number: usize, low: i64) -> (u64, &[u8]) {
        let place = self.place(number, low) as usize;
        (self.known.hashes[place], self.known.get(place))
    }

    /// Where among [`Numbered::known`] the key lies that has a number.
    #[inline]
    pub(super) fn place(&mut self, number: usize, low: i64) -> u32 {
        match self.places[number] {
            NONE => self.learn(number, low.wrapping_add(number as i64)),
            place => place,
        }
    }

    /// The keys that have been encoded.
    pub(super) fn known(&self) -> &Keys {
        &self.known
    }

    #[cold]
    fn learn(&mut self, number: usize, integer: i64) -> u32 {
        let place = self.known.count() as u32;
        match self.encode {
            Some(encode) => {
                let (hash, key, length) = encode(integer);
                self.known.push(hash, &key[..length]);
            }
            None => {
                let mut key = vec![0];
                self.names.push_text(integer as usize, &mut key);
                self.known.push(hash_bytes(&key), &key);
            }
        }
        self.places[number] = place;
        place
    }

    /// As [`Folding::find`], for keys of one column in the slices of a cut, without encoding and hashing them row by row; false, and
    /// nothing done, where keys are neither integers close together nor short strings.
    pub(super) fn find(
        &mut self,
        groups: &mut Folding,
        keys: &[ArrayRef],
        cut: &Cut,
        slices: &[u32],
        slots: &mut Vec<u32>,
    ) -> bool {
        let Some(integers) = self.integers(keys) else { return false };
        let found = self.find_integers(groups, &integers, cut, slices, slots);
        self.keep(integers);
        found
    }

    /// The slots of rows by the integers that stand for their keys.
    fn find_integers(
        &mut self,
        groups: &mut Folding,
        integers: &[i64],
        cut: &Cut,
        slices: &[u32],
        slots: &mut Vec<u32>,
    ) -> bool {
        if !self.cover(integers) {
            return false;
        }
        let mut dense = std::mem::take(&mut self.dense);
        let lanes = dense.prepare(integers, cut);
        if let Some(lanes) = &lanes {
            self.is_mixed |= groups.count() != self.of_groups.len();
            let all_known = !self.is_mixed && !dense.has_lost();
            let ends_ms: Vec<i64> = cut.ends().collect();
            let low = dense.low();
            dense.find(integers, slices, lanes, slots, |row| {
                let number = integers[row].wrapping_sub(low) as usize;
                let (hash, key) = self.key(number, low);
                let end_ms = ends_ms[slices[row] as usize];
                let slot = match all_known {
                    true => groups.append(hash, end_ms, key),
                    false => groups.slot(hash, end_ms, key),
                };
                if self.of_groups.len() <= slot as usize {
                    self.of_groups.resize(slot as usize + 1, NONE);
                }
                self.of_groups[slot as usize] = number as u32;
                slot
            });
        }
        self.dense = dense;
        lanes.is_some()
    }

    /// Other keys have the numbers from now on, which are less than `end`.
    fn renumber(&mut self, end: usize) {
        self.numbering = Some(Arc::new(Numbering { end }));
        self.known.clear();
        self.places.clear();
        self.places.resize(end, NONE);
        self.of_groups.clear();
    }

    /// The table has been cleared.
    pub(super) fn clear(&mut self) {
        self.dense.clear();
        self.is_mixed = false;
        self.of_groups.clear();
        if self.names.is_full() {
            self.names.forget();
            self.renumber(self.dense.width());
        }
    }

    /// The numbers of these groups' keys, for their owner.
    pub(super) fn numbers(&self, slots: &[u32]) -> Option<Numbers> {
        let number = |&slot: &u32| self.of_groups.get(slot as usize).copied().unwrap_or(NONE);
        self.sent(slots.iter().map(number).collect())
    }

    /// The same where the numbers are known.
    pub(super) fn sent(&self, of: Vec<u32>) -> Option<Numbers> {
        Some(Numbers { numbering: Arc::clone(self.numbering.as_ref()?), of })
    }
}

/// The slots of keys that came with numbers, by sender. Nothing depends on it, and it is never saved.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Slot + 1 by number, 0: not seen.
    lists: Vec<(Arc<Numbering>, Vec<u32>)>,
}

impl Seen {
    /// The slots of these keys by their numbers: to be asked for each, and to be told. `None`: too many for a table of `groups`.
    pub(super) fn of<'a>(
        &'a mut self,
        numbers: &'a Numbers,
        groups: usize,
    ) -> Option<SeenKeys<'a>> {
        let is_it = |list: &(Arc<Numbering>, _)| Arc::ptr_eq(&list.0, &numbers.numbering);
        let at = match self.lists.iter().position(is_it) {
            Some(at) => at,
            None => {
                // Nobody else has a numbering that is over.
                self.lists.retain(|(numbering, _)| Arc::strong_count(numbering) > 1);
                let held: usize = self.lists.iter().map(|(_, slots)| slots.len()).sum();
                let end = numbers.numbering.end;
                if held + end > SEEN_MIN.max(groups * SEEN_PER_GROUP) {
                    return None;
                }
                self.lists.push((Arc::clone(&numbers.numbering), vec![0; end]));
                self.lists.len() - 1
            }
        };
        Some(SeenKeys { slots: &mut self.lists[at].1, of: &numbers.of })
    }
}

/// The slots of a payload's keys.
pub(super) struct SeenKeys<'a> {
    slots: &'a mut [u32],
    of: &'a [u32],
}

impl SeenKeys<'_> {
    /// The slot of key `index`; `find` finds one that has not been seen.
    #[inline]
    pub(super) fn slot(&mut self, index: usize, find: impl FnOnce() -> u32) -> u32 {
        let Some(seen) = self.slots.get_mut(self.of[index] as usize) else { return find() };
        if *seen == 0 {
            *seen = find() + 1;
        }
        *seen - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow_array::{Int32Array, Int64Array, StringViewArray};
    use proptest::prelude::*;

    use super::super::folding::extent;
    use super::*;
    use crate::window::{Slices, WindowKind};

    /// Keys of one column of integers or strings: close together and short, or some far apart and long.
    fn column(kind: u8, far: bool, numbers: &[i64]) -> ArrayRef {
        let is_far = |number: i64| far && number < 0;
        let spread = numbers.iter().map(|&n| if is_far(n) { n * 100_000 } else { n });
        let text = |&n: &i64| if is_far(n) { format!("{n:014}") } else { format!("{n:04}") };
        match kind {
            0 => Arc::new(Int64Array::from_iter_values(spread)),
            1 => Arc::new(Int32Array::from_iter_values(spread.map(|n| n as i32))),
            _ => Arc::new(StringViewArray::from_iter_values(numbers.iter().map(text))),
        }
    }

    proptest! {
        /// Against the same table, asked with encoded keys.
        #[test]
        fn keys_are_found_directly_as_they_are_by_their_bytes(
            kind in 0..3u8,
            batches in prop::collection::vec(
                (prop::collection::vec((-3000..3000i64, 0..90i64), 1..300), any::<bool>(), any::<bool>()), 1..6),
        ) {
            let slices = Slices::new(WindowKind::Tumble { size_ms: 10, offset_ms: 0 });
            let (mut folding, mut twin, mut numbered) = (Folding::new(1), Folding::new(1), Numbered::default());
            let mut any_far = false;
            let mut named = HashMap::new();
            for (rows, clear, far) in batches {
                let (numbers, times): (Vec<i64>, Vec<i64>) = rows.into_iter().unzip();
                let (least, greatest) = extent(&times);
                let cut = slices.cut(least, greatest).unwrap();
                let (mut indices, mut slots, mut expected) = (Vec::new(), Vec::new(), Vec::new());
                cut.indices(&times, &mut indices);
                let keys = [column(kind, far, &numbers)];
                let (mut encoded, mut ends_ms) = (Keys::default(), times);
                encoded.encode(&keys, numbers.len());
                slices.assign(&mut ends_ms);
                any_far |= far;
                if !numbered.find(&mut folding, &keys, &cut, &indices, &mut slots) {
                    prop_assert!(any_far);
                    folding.find(&encoded, &ends_ms, &mut slots);
                }
                twin.find(&encoded, &ends_ms, &mut expected);
                prop_assert_eq!(slots, expected);
                let groups = (0..folding.count() as u32).map(|slot| (folding.group(slot), twin.group(slot)));
                groups.for_each(|(one, two)| assert_eq!(one, two));
                let all: Vec<u32> = (0..folding.count() as u32).collect();
                let Some(numbers) = numbered.numbers(&all) else { continue };
                prop_assert_eq!(numbers.of.len(), all.len());
                for (&number, slot) in numbers.of.iter().zip(all).filter(|(number, _)| **number != NONE) {
                    prop_assert!((number as usize) < numbers.numbering.end);
                    // Kept, so that no later one has its address.
                    let (_, keys) = named.entry(Arc::as_ptr(&numbers.numbering)).or_insert_with(|| {
                        (Arc::clone(&numbers.numbering), HashMap::new())
                    });
                    let key = folding.group(slot).1;
                    prop_assert_eq!(keys.entry(number).or_insert_with(|| key.to_vec()).as_slice(), key);
                }
                if clear {
                    folding.clear();
                    numbered.clear();
                    twin.clear();
                }
            }
        }
    }

    #[test]
    fn slots_are_remembered_by_sender() {
        let numbers = |end: usize, of: &[u32]| Numbers {
            numbering: Arc::new(Numbering { end }),
            of: of.to_vec(),
        };
        let (one, other) = (numbers(8, &[3, NONE, 0]), numbers(8, &[3]));
        let mut seen = Seen::default();
        let mut keys = seen.of(&one, 0).unwrap();
        let asked = [keys.slot(0, || 70), keys.slot(1, || 71), keys.slot(2, || 72)];
        assert_eq!(asked, [70, 71, 72]);
        let mut keys = seen.of(&one, 0).unwrap();
        let again = [keys.slot(0, || 80), keys.slot(1, || 81), keys.slot(2, || 82)];
        assert_eq!(again, [70, 81, 72]);
        assert_eq!(seen.of(&other, 0).unwrap().slot(0, || 90), 90);
        // A numbering that is over makes room; there is none for one that is too large for so few groups.
        drop(other);
        let large = numbers(SEEN_MIN, &[]);
        assert!(seen.of(&large, 0).is_none());
        assert_eq!(seen.lists.len(), 1);
        assert!(seen.of(&large, SEEN_MIN).is_some());
    }
}
