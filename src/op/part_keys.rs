//! The keys of a part of a window's groups and their slots: as packed words as long as all have one length of a few words, else as bytes.
//!
//! Packed keys lie side by side where their slots say, so a key is found with two loads, is compared without a call, and is read out
//! as it lies. Most keys are such: a number, an id of so many characters.
//!
//! # Invariants
//!
//! 1. Slots are numbered from 0 in order of arrival, and stay when keys become bytes.

use std::ops::Range;

use arrow_array::ArrayRef;

use super::key_table::KeyTable;
use crate::batch::hash::{hash_bytes, mix};
use crate::batch::{DataType, Keys, Packing};
use crate::state::Rows;

/// Words of the longest packed key.
const WORDS_MAX: usize = 4;
/// Entries of the smallest index.
const INDEX_MIN: usize = 1024;

/// The keys of a part.
#[derive(Debug)]
pub(super) struct PartKeys {
    /// `None`: they are bytes, or there are none yet.
    packing: Option<Packing>,
    packed: Packed,
    bytes: KeyTable,
}

/// Packed keys.
#[derive(Debug)]
struct Packed {
    /// Slot + 1, 0: empty; open addressing, at most half full.
    index: Vec<u32>,
    /// Keys, by slot, and room behind them.
    words: Vec<u64>,
    count: usize,
}

impl PartKeys {
    pub(super) fn new() -> Self {
        let index = vec![0; INDEX_MIN];
        let packed = Packed { index, words: Vec::new(), count: 0 };
        Self { packing: None, packed, bytes: KeyTable::new() }
    }

    /// Forgets all keys, and makes room for about `count`.
    pub(super) fn begin(&mut self, count: usize) {
        self.packing = None;
        self.packed.begin(count);
        self.bytes.clear();
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        match self.packing {
            Some(_) => self.packed.count,
            None => self.bytes.count(),
        }
    }

    /// Appends the slots of the keys of a run of rows.
    pub(super) fn find_rows(&mut self, rows: &Rows<'_>, slots: &mut Vec<u32>) {
        if self.pack(rows.packing) {
            match rows.packing.words() {
                1 => self.packed.find_rows::<1>(rows, slots),
                2 => self.packed.find_rows::<2>(rows, slots),
                3 => self.packed.find_rows::<3>(rows, slots),
                _ => self.packed.find_rows::<WORDS_MAX>(rows, slots),
            }
            return;
        }
        let mut key = Vec::new();
        slots.extend(rows.words.chunks_exact(rows.stride).map(|row| {
            key.clear();
            rows.packing.unpack(&row[..rows.packing.words()], &mut key);
            self.bytes.slot(hash_bytes(&key), 0, &key)
        }));
    }

    /// The slot of a key.
    pub(super) fn find(&mut self, key: &[u8]) -> u32 {
        let packing = self.packing.filter(|packing| packing.suits(key));
        let packing = packing.unwrap_or_else(|| Packing::of(key));
        if !self.pack(packing) {
            return self.bytes.slot(hash_bytes(key), 0, key);
        }
        let mut words = [0; WORDS_MAX];
        packing.pack(key, &mut words[..packing.words()]);
        match packing.words() {
            1 => self.packed.find::<1>(&words),
            2 => self.packed.find::<2>(&words),
            3 => self.packed.find::<3>(&words),
            _ => self.packed.find::<WORDS_MAX>(&words),
        }
    }

    /// Whether keys are packed like this, as they may if there are none yet. Else they are bytes from now on.
    #[inline]
    fn pack(&mut self, packing: Packing) -> bool {
        if self.packing.is_none() && self.bytes.count() == 0 && packing.words() <= WORDS_MAX {
            self.packing = Some(packing);
        }
        if self.packing == Some(packing) {
            return true;
        }
        let mut key = Vec::new();
        if let Some(packing) = self.packing.take() {
            for words in self.packed.words.chunks_exact(packing.words()).take(self.packed.count) {
                key.clear();
                packing.unpack(words, &mut key);
                self.bytes.slot(hash_bytes(&key), 0, &key);
            }
        }
        false
    }

    /// Puts a slot's key into `key`; its hash.
    pub(super) fn read(&self, slot: u32, key: &mut Vec<u8>) -> u64 {
        key.clear();
        let Some(packing) = self.packing else {
            let (hash, bytes, _) = self.bytes.get(slot);
            key.extend_from_slice(bytes);
            return hash;
        };
        let words = &self.packed.words[slot as usize * packing.words()..][..packing.words()];
        packing.unpack(words, key);
        packing.hash(words)
    }

    /// The columns that the keys of some slots were encoded from.
    pub(super) fn columns(&self, types: &[DataType], slots: Range<u32>) -> Vec<ArrayRef> {
        let Some(packing) = self.packing else {
            return Keys::decode(types, slots.map(|slot| self.bytes.get(slot).1));
        };
        let at = |slot: u32| slot as usize * packing.words();
        packing.decode(types, self.packed.words[at(slots.start)..at(slots.end)].to_vec())
    }
}

impl Packed {
    fn begin(&mut self, count: usize) {
        // Sparse: a collision costs a branch that nobody foretells, an empty entry next to nothing.
        let entries = (count * 3).next_power_of_two().max(INDEX_MIN);
        self.index.clear();
        self.index.resize(entries, 0);
        self.count = 0;
    }

    fn find_rows<const WORDS: usize>(&mut self, rows: &Rows<'_>, slots: &mut Vec<u32>) {
        let each = rows.words.chunks_exact(rows.stride);
        self.make_room::<WORDS>(each.len());
        slots.extend(each.map(|row| self.slot(row.first_chunk::<WORDS>().expect("a key"))));
    }

    /// The slot of the key that `words` begins with.
    fn find<const WORDS: usize>(&mut self, words: &[u64]) -> u32 {
        self.make_room::<WORDS>(1);
        self.slot(words.first_chunk::<WORDS>().expect("a key"))
    }

    /// Sees to it that there is room for so many more keys.
    fn make_room<const WORDS: usize>(&mut self, more: usize) {
        let words = (self.count + more) * WORDS;
        if self.words.len() < words {
            self.words.resize(words.next_power_of_two(), 0);
        }
    }

    /// The slot of a key, for which there is room.
    #[inline(always)]
    fn slot<const WORDS: usize>(&mut self, key: &[u64; WORDS]) -> u32 {
        let (keys, index) = (self.words.as_chunks_mut::<WORDS>().0, self.index.as_mut_slice());
        let mask = index.len() - 1;
        // Written as if it were new: whether it is, or is the first that is met, is hard to foretell, that it is one of both is not.
        keys[self.count] = *key;
        let mut at = mix(key) as usize & mask;
        loop {
            let entry = index[at] as usize;
            let slot = if entry == 0 { self.count } else { entry - 1 };
            if keys[slot] == *key {
                index[at] = slot as u32 + 1;
                self.count += usize::from(entry == 0);
                if self.count * 2 > index.len() {
                    self.grow::<WORDS>();
                }
                return slot as u32;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow<const WORDS: usize>(&mut self) {
        let mask = self.index.len() * 2 - 1;
        self.index.clear();
        self.index.resize(mask + 1, 0);
        for (slot, key) in (1..).zip(self.words.as_chunks::<WORDS>().0).take(self.count) {
            let mut at = mix(key) as usize & mask;
            while self.index[at] != 0 {
                at = (at + 1) & mask;
            }
            self.index[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map: runs of rows and single keys, of one length or of several, few and many.
        #[test]
        fn slots_are_those_of_a_map(
            parts in prop::collection::vec(
                (0..3000usize, prop::collection::vec((0..40usize, any::<bool>(), any::<bool>(), 1..900u32), 0..4)), 1..5),
            several in any::<bool>(),
        ) {
            let mut keys = PartKeys::new();
            for (expected, runs) in parts {
                keys.begin(expected);
                let (mut twin, mut order) = (HashMap::new(), Vec::new());
                let common = runs.first().map(|run| (run.0, run.1));
                for (length, zero_first, in_run, count) in runs {
                    let (length, zero_first) =
                        common.filter(|_| !several).unwrap_or((length, zero_first));
                    let packing = Packing { length, behind_zero: zero_first && length > 0 };
                    let stride = packing.words() + 1;
                    let (mut all, mut words) = (Vec::new(), Vec::new());
                    for number in 0..count {
                        let mut key = vec![7; length];
                        let digits = (number % 700).to_le_bytes();
                        key.iter_mut().skip(1).zip(digits).for_each(|(byte, digit)| *byte = digit);
                        if packing.behind_zero {
                            key[0] = 0;
                        }
                        words.resize(words.len() + stride, 0);
                        let start = words.len() - stride;
                        packing.pack(&key, &mut words[start..][..packing.words()]);
                        all.push(key);
                    }
                    let mut slots = Vec::new();
                    match in_run {
                        true => keys.find_rows(&Rows { packing, words: &words, stride }, &mut slots),
                        false => slots.extend(all.iter().map(|key| keys.find(key))),
                    }
                    for (key, slot) in all.into_iter().zip(slots) {
                        let next = order.len() as u32;
                        prop_assert_eq!(*twin.entry(key.clone()).or_insert(next), slot);
                        if slot == next {
                            order.push(key);
                        }
                    }
                }
                prop_assert_eq!(keys.count(), order.len());
                let mut key = Vec::new();
                for (slot, expected) in (0..).zip(&order) {
                    prop_assert_eq!(keys.read(slot, &mut key), hash_bytes(expected));
                    prop_assert_eq!(&key, expected);
                }
            }
        }
    }
}
