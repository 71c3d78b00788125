//! A folding table: a chunk's rows, folded by key and slice before they leave for their owners; and what waited of a part of a window's keys.
//!
//! It lives for a chunk at most, or while it is read out, and is never saved, so it is flat memory: no pages, no noted changes, and a group is
//! found by one probe of an index that stays in the first cache levels.
//!
//! ```text
//! index:   tag u32 (the mixed hash's low bits) │ group + 1 u32        0: empty
//! groups:  hash, slice end, where the key lies        words: [groups × words of a slot]        keys: bytes, one after another
//! ```
//!
//! # Invariants
//!
//! 1. Groups are numbered from 0 in order of arrival; `words` holds a slot for each.
//! 2. The index holds every group up to `indexed` once, all of them when one is looked up, and at most half of it is full.

use rkyv::util::AlignedVec;

use crate::agg::Slots;
use crate::batch::Keys;
use crate::batch::hash::equal_bytes;
use crate::sys::vector;

/// Entries of the smallest index.
const INDEX_MIN: usize = 1024;

#[derive(Clone, Debug)]
struct Group {
    hash: u64,
    end_ms: i64,
    key_start: usize,
    key_end: usize,
}

/// The groups of a chunk so far.
#[derive(Clone, Debug)]
pub(super) struct Folding {
    word_count: usize,
    index: Vec<u64>,
    /// How many groups the index holds.
    indexed: usize,
    groups: Vec<Group>,
    words: Vec<u64>,
    keys: Vec<u8>,
    blobs: Vec<AlignedVec>,
    blob_bytes: usize,
}

impl Folding {
    /// An empty table whose groups have `word_count` accumulator words.
    pub(super) fn new(word_count: usize) -> Self {
        Self {
            word_count,
            index: vec![0; INDEX_MIN],
            indexed: 0,
            groups: Vec::new(),
            words: Vec::new(),
            keys: Vec::new(),
            blobs: Vec::new(),
            blob_bytes: 0,
        }
    }

    /// How many groups it holds.
    pub(super) fn count(&self) -> usize {
        self.groups.len()
    }

    /// Bytes that keys and accumulators take, or little more.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * 8 + self.keys.len() + self.blob_bytes
    }

    /// A group's key with its hash, and the end of its slice.
    pub(super) fn group(&self, slot: u32) -> (u64, &[u8], i64) {
        let group = &self.groups[slot as usize];
        (group.hash, &self.keys[group.key_start..group.key_end], group.end_ms)
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
            let slot = self.slot(hash, end_ms, keys.get(row));
            slots.push(slot);
        }
    }

    /// The slot of a key in a slice, made if need be.
    #[inline]
    pub(super) fn slot(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        if self.indexed < self.groups.len() {
            self.index_all();
        }
        let mixed = mix(hash, end_ms);
        let mask = self.index.len() - 1;
        let mut bucket = mixed as usize & mask;
        loop {
            let entry = self.index[bucket];
            if entry == 0 {
                return self.insert(hash, end_ms, key);
            }
            if entry >> 32 == mixed & 0xffff_ffff {
                let slot = entry as u32 - 1;
                let group = &self.groups[slot as usize];
                if group.hash == hash
                    && group.end_ms == end_ms
                    && equal_bytes(&self.keys[group.key_start..group.key_end], key)
                {
                    return slot;
                }
            }
            bucket = (bucket + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        let slot = self.append(hash, end_ms, key);
        self.index_all();
        slot
    }

    /// A new slot for a key of which the caller knows that it has none in this slice.
    #[inline]
    pub(super) fn append(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        let slot = self.groups.len() as u32;
        let key_start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.groups.push(Group { hash, end_ms, key_start, key_end: self.keys.len() });
        self.words.resize(self.words.len() + self.word_count, 0);
        slot
    }

    /// Has the index hold every group.
    fn index_all(&mut self) {
        if self.groups.len() * 2 > self.index.len() {
            self.index = vec![0; (self.groups.len() * 2 + 1).next_power_of_two()];
            self.indexed = 0;
        }
        (self.indexed as u32..self.groups.len() as u32).for_each(|slot| self.enter(slot));
        self.indexed = self.groups.len();
    }

    /// Puts a group into the index.
    fn enter(&mut self, slot: u32) {
        let mixed = self.mixed(slot);
        let bucket = self.bucket_where(mixed, |entry| entry == 0);
        self.index[bucket] = mixed << 32 | u64::from(slot + 1);
    }

    fn mixed(&self, slot: u32) -> u64 {
        let group = &self.groups[slot as usize];
        mix(group.hash, group.end_ms)
    }

    fn bucket_where(&self, mixed: u64, is_it: impl Fn(u64) -> bool) -> usize {
        let mask = self.index.len() - 1;
        let mut bucket = mixed as usize & mask;
        while !is_it(self.index[bucket]) {
            bucket = (bucket + 1) & mask;
        }
        bucket
    }

    /// Forgets all groups, keeping memory for what comes next. A few groups cost no sweep over an index that many made large.
    pub(super) fn clear(&mut self) {
        if self.indexed * 8 < self.index.len() {
            for slot in 0..self.indexed as u32 {
                let bucket = self.bucket_where(self.mixed(slot), |entry| entry as u32 == slot + 1);
                self.index[bucket] = 0;
            }
        } else {
            self.index.fill(0);
        }
        self.indexed = 0;
        self.groups.clear();
        self.words.clear();
        self.keys.clear();
        self.blobs.clear();
        self.blob_bytes = 0;
    }

    fn blob_at(&mut self, blob: u64) -> &mut AlignedVec {
        &mut self.blobs[blob as usize - 1]
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

/// Injective in `end_ms` for a given hash.
#[inline]
fn mix(hash: u64, end_ms: i64) -> u64 {
    hash.wrapping_add((end_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Slots for Folding {
    #[inline]
    fn words(&self, slot: u32) -> &[u64] {
        &self.words[slot as usize * self.word_count..][..self.word_count]
    }

    #[inline]
    fn words_mut(&mut self, slot: u32) -> &mut [u64] {
        &mut self.words[slot as usize * self.word_count..][..self.word_count]
    }

    #[inline]
    fn part_mut<const WORDS: usize>(&mut self, slot: u32, offset: usize) -> &mut [u64; WORDS] {
        let part = self.words[slot as usize * self.word_count + offset..].first_chunk_mut();
        part.expect("a part of a slot")
    }

    fn blob(&self, blob: u64) -> &[u8] {
        &self.blobs[blob as usize - 1]
    }

    fn blob_mut(&mut self, blob: u64) -> &mut [u8] {
        self.blob_at(blob)
    }

    fn new_aligned(&mut self, bytes: &[u8]) -> u64 {
        // One that holds nothing yet must have its place all the same: only memory is aligned.
        self.blobs.push(AlignedVec::with_capacity(bytes.len().max(AlignedVec::<16>::ALIGNMENT)));
        self.append_blob(self.blobs.len() as u64, bytes)
    }

    fn put_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        if blob == 0 {
            return self.new_aligned(bytes);
        }
        self.blob_bytes -= self.blob_at(blob).len();
        self.blob_at(blob).clear();
        self.append_blob(blob, bytes)
    }

    fn append_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        if blob == 0 {
            return self.new_aligned(bytes);
        }
        self.blob_at(blob).extend_from_slice(bytes);
        self.blob_bytes += bytes.len();
        blob
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
    use crate::agg::{Accumulator, Argument, Fused, Update};
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
                    folding.words_mut(slot)[1] += 1;
                    let blob = folding.words(slot)[0];
                    folding.words_mut(slot)[0] = folding.append_blob(blob, &keys.get(row)[..1]);
                }
                prop_assert_eq!(folding.count(), twin.len());
                for slot in 0..folding.count() as u32 {
                    let (_, key, end_ms) = folding.group(slot);
                    let name = u32::from(key[0]) | (((key.len() - 1) as u32) << 8);
                    let count = twin[&(name, end_ms)];
                    prop_assert_eq!(folding.words(slot)[1], count);
                    let blob = folding.blob(folding.words(slot)[0]);
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
        ) {
            chosen.sort_unstable();
            chosen.dedup_by_key(|(index, _)| *index);
            let value = |row: &(u32, f64, f64, u8, bool)| if row.3 == 0 { row.1 } else { row.2 };
            let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(value)));
            let filter = rows.iter().map(|row| row.4).collect();
            let slots: Vec<u32> = rows.iter().map(|row| row.0).collect();
            let [mut together, mut apart] = [Folding::new(18), Folding::new(18)];
            for folding in [&mut together, &mut apart] {
                (0..5).for_each(|key: u8| { folding.append(key.into(), 0, &[key]); });
            }
            updates(&chosen, &values, &filter).iter().for_each(|update| update.fold(&mut apart, &slots, 0));
            let mut rest = updates(&chosen, &values, &filter);
            let fused = Fused::of(&mut rest);
            let fusible = |index: usize| chosen.contains(&(index, false));
            let sums = fusible(1) || fusible(5);
            prop_assert_eq!(fused.is_some(), sums && [0, 2, 3, 4].into_iter().any(fusible));
            fused.iter().for_each(|fused| fused.fold(&mut together, &slots, 0));
            rest.iter().for_each(|update| update.fold(&mut together, &slots, 0));
            for slot in 0..5 {
                let [one, other] = [&together, &apart].map(|folding| folding.words(slot));
                for (at, (&word, &expected)) in one.iter().zip(other).enumerate() {
                    match (at, word) {
                        // Spills are numbered in order of arrival.
                        (6 | 17, 1..) => prop_assert_eq!(together.blob(word), apart.blob(expected)),
                        _ => prop_assert_eq!(word, expected, "word {}", at),
                    }
                }
            }
        }
    }
}
