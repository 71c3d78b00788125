//! Distinct values per group: a dictionary of values and, for each group, a bitmap of their ids.
//!
//! Inserting ids one at a time into compressed bitmaps costs hundreds of nanoseconds each; so pairs of
//! (set, id) are buffered, sorted and merged in bulk, a run of ids per set at a time. Whoever reads a
//! count flushes first.
//!
//! # Invariants
//!
//! 1. Ids are dense, from 0, in order of first arrival; an id never changes its value.
//! 2. A pair counts as new exactly once, in the flush that adds it.

use roaring::RoaringBitmap;

use super::pages::Pages;
use super::table::Table;

/// How many pairs are buffered before they are merged.
const PENDING_MAX: usize = 1 << 18;

/// A smaller dictionary is not worth rebuilding.
const COMPACT_VALUES_MIN: u64 = 1 << 16;

/// The sets of one `DISTINCT` argument list on one shard.
#[derive(Debug)]
pub struct DistinctSets {
    dictionary: Table,
    bitmaps: Vec<RoaringBitmap>,
    pending: Vec<u64>,
    sorted: Vec<u64>,
}

impl Default for DistinctSets {
    fn default() -> Self {
        Self {
            dictionary: Table::new(0),
            bitmaps: Vec::new(),
            pending: Vec::new(),
            sorted: Vec::new(),
        }
    }
}

impl DistinctSets {
    /// A new empty set; sets are numbered from 0.
    pub fn create(&mut self) -> u32 {
        self.bitmaps.push(RoaringBitmap::new());
        (self.bitmaps.len() - 1) as u32
    }

    /// Makes sure that set `set` exists.
    pub fn ensure(&mut self, set: u32) {
        if self.bitmaps.len() <= set as usize {
            self.bitmaps.resize_with(set as usize + 1, RoaringBitmap::new);
        }
    }

    /// Empties a set, which must have no pairs pending.
    pub fn clear_set(&mut self, set: u32) {
        self.bitmaps[set as usize] = RoaringBitmap::new();
    }

    /// Adds all of `from` to `into` and calls `added` with every id that is new there. Neither may have pairs pending.
    pub fn union(&mut self, into: u32, from: u32, added: impl FnMut(u32)) {
        let source = std::mem::take(&mut self.bitmaps[from as usize]);
        let held = &mut self.bitmaps[into as usize];
        (&source - &*held).iter().for_each(added);
        *held |= &source;
        self.bitmaps[from as usize] = source;
    }

    /// Rebuilds the dictionary from the values that a set still holds, when most of it is dead.
    pub fn compact(&mut self, pages: &mut Pages) {
        let live: u64 = self.bitmaps.iter().map(RoaringBitmap::len).sum();
        let known = self.dictionary.count() as u64;
        if known < COMPACT_VALUES_MIN || known < live * 4 || !self.pending.is_empty() {
            return;
        }
        let old = std::mem::replace(&mut self.dictionary, Table::new(0));
        for bitmap in &mut self.bitmaps {
            let ids = std::mem::take(bitmap);
            bitmap.extend(ids.iter().map(|id| {
                let value = old.key(pages, id).to_vec();
                self.dictionary.upsert(pages, old.hash(pages, id), &value).0
            }));
        }
        old.release(pages);
    }

    /// The ids in a set, ascending. Pairs that are pending are not among them.
    pub fn ids(&self, set: u32) -> impl Iterator<Item = u32> + '_ {
        self.bitmaps[set as usize].iter()
    }

    /// Frees the dictionary's pages and all sets.
    pub fn release(&mut self, pages: &mut Pages) {
        std::mem::replace(&mut self.dictionary, Table::new(0)).release(pages);
        *self = Self::default();
    }

    /// Bytes of the bitmaps and buffers; the dictionary's are counted by the pages.
    pub fn state_bytes(&self) -> usize {
        let bitmaps: usize = self.bitmaps.iter().map(RoaringBitmap::serialized_size).sum();
        bitmaps + (self.pending.capacity() + self.sorted.capacity()) * 8
    }

    /// Buffers a value of `set`; `hash` is that of `value`. True when it is time to flush.
    #[inline]
    pub fn insert(&mut self, pages: &mut Pages, set: u32, hash: u64, value: &[u8]) -> bool {
        let (id, _) = self.dictionary.upsert(pages, hash, value);
        self.pending.push(u64::from(set) << 32 | u64::from(id));
        self.pending.len() >= PENDING_MAX
    }

    /// Merges what is buffered and calls `added` with every new pair `(set, id)`, sorted.
    pub fn flush(&mut self, mut added: impl FnMut(u32, u32)) {
        sort_pairs(&mut self.pending, &mut self.sorted);
        self.pending.dedup();
        let mut rest = &self.pending[..];
        while let Some(&first) = rest.first() {
            let set = (first >> 32) as u32;
            let end = rest.partition_point(|&pair| (pair >> 32) as u32 == set);
            let (run, tail) = rest.split_at(end);
            rest = tail;
            let incoming = RoaringBitmap::from_sorted_iter(run.iter().map(|&pair| pair as u32))
                .expect("sorted");
            let held = &mut self.bitmaps[set as usize];
            let fresh = &incoming - &*held;
            *held |= incoming;
            fresh.iter().for_each(|id| added(set, id));
        }
        self.pending.clear();
    }

    /// The bytes of a value.
    pub fn value<'a>(&self, pages: &'a Pages, id: u32) -> &'a [u8] {
        self.dictionary.key(pages, id)
    }
}

/// Sorts pairs by a byte-wise radix over the bits that vary; small inputs by comparison.
fn sort_pairs(pairs: &mut Vec<u64>, scratch: &mut Vec<u64>) {
    if pairs.len() < 1 << 12 {
        pairs.sort_unstable();
        return;
    }
    let varying = pairs.iter().fold(0, |bits, &pair| bits | (pair ^ pairs[0]));
    scratch.resize(pairs.len(), 0);
    for shift in (0..64).step_by(8).filter(|shift| varying >> shift & 0xff != 0) {
        let mut starts = [0usize; 257];
        pairs.iter().for_each(|&pair| starts[(pair >> shift & 0xff) as usize + 1] += 1);
        for digit in 0..256 {
            starts[digit + 1] += starts[digit];
        }
        for &pair in pairs.iter() {
            let start = &mut starts[(pair >> shift & 0xff) as usize];
            scratch[*start] = pair;
            *start += 1;
        }
        std::mem::swap(pairs, scratch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::batch::hash::hash_bytes;

    proptest! {
        /// Against plain sets, with flushes at random places.
        #[test]
        fn sets_are_sets(pairs in prop::collection::vec((0..5u32, 0..200u32, 0..20u8), 0..2000)) {
            let (mut pages, mut sets) = (Pages::default(), DistinctSets::default());
            (0..5).for_each(|expected| assert_eq!(sets.create(), expected));
            let mut twin: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            let mut seen: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for (set, value, flush) in pairs {
                let bytes = value.to_le_bytes();
                sets.insert(&mut pages, set, hash_bytes(&bytes), &bytes);
                twin.entry(set).or_default().insert(value);
                if flush == 0 {
                    note(&mut sets, &pages, &mut seen);
                }
            }
            note(&mut sets, &pages, &mut seen);
            prop_assert_eq!(&seen, &twin);
            for (set, values) in &twin {
                prop_assert_eq!(sets.ids(*set).count(), values.len());
            }
        }

        #[test]
        fn radix_sorts(mut pairs in prop::collection::vec(any::<u64>(), 5000..6000)) {
            let mut expected = pairs.clone();
            expected.sort_unstable();
            sort_pairs(&mut pairs, &mut Vec::new());
            prop_assert_eq!(pairs, expected);
        }
    }

    fn note(sets: &mut DistinctSets, pages: &Pages, seen: &mut BTreeMap<u32, BTreeSet<u32>>) {
        let mut fresh = Vec::new();
        sets.flush(|set, id| fresh.push((set, id)));
        for (set, id) in fresh {
            let value = u32::from_le_bytes(sets.value(pages, id).try_into().unwrap());
            assert!(seen.entry(set).or_default().insert(value), "a pair is new once");
        }
    }
}
