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
//! 2. The index holds every group once, and at most half of it is full.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use rkyv::util::AlignedVec;

use super::dense::Dense;
use super::names::Names;
use crate::agg::Slots;
use crate::batch::hash::{equal_bytes, hash_bytes};
use crate::batch::{Integers, Keys};
use crate::window::Cut;

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
    groups: Vec<Group>,
    words: Vec<u64>,
    keys: Vec<u8>,
    blobs: Vec<AlignedVec>,
    blob_bytes: usize,
    dense: Dense,
    names: Names,
    numbers: Vec<i64>,
}

impl Folding {
    /// An empty table whose groups have `word_count` accumulator words.
    pub(super) fn new(word_count: usize) -> Self {
        Self {
            word_count,
            index: vec![0; INDEX_MIN],
            groups: Vec::new(),
            words: Vec::new(),
            keys: Vec::new(),
            blobs: Vec::new(),
            blob_bytes: 0,
            dense: Dense::default(),
            names: Names::default(),
            numbers: Vec::new(),
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

    /// As [`Folding::find`], for keys of one column in the slices of a cut, without encoding and hashing them row by row; false, and
    /// nothing done, where keys are neither integers close together nor short strings.
    pub(super) fn find_directly(
        &mut self,
        keys: &[ArrayRef],
        cut: &Cut,
        slices: &[u32],
        slots: &mut Vec<u32>,
    ) -> bool {
        let [column] = keys else { return false };
        if let Some(integers) = Integers::of(keys) {
            return self.find_numbers(integers.values(), cut, slices, slots, |row, slot_of| {
                let (hash, key, length) = integers.encoded(row);
                slot_of(hash, &key[..length])
            });
        }
        let Some(strings) = column.as_string_view_opt().filter(|strings| strings.null_count() == 0)
        else {
            return false;
        };
        let mut names = std::mem::take(&mut self.names);
        let mut numbers = std::mem::take(&mut self.numbers);
        let named = !names.is_full() && names.number(strings, &mut numbers);
        let found = named
            && self.find_numbers(&numbers, cut, slices, slots, |row, slot_of| {
                let key = [&[0][..], strings.value(row).as_bytes()].concat();
                slot_of(hash_bytes(&key), &key)
            });
        (self.names, self.numbers) = (names, numbers);
        found
    }

    /// The slots of rows by numbers that stand for their keys; `encode` hands on the hash and the bytes of a row's key.
    fn find_numbers(
        &mut self,
        numbers: &[i64],
        cut: &Cut,
        slices: &[u32],
        slots: &mut Vec<u32>,
        encode: impl Fn(usize, &mut dyn FnMut(u64, &[u8]) -> u32) -> u32,
    ) -> bool {
        let mut dense = std::mem::take(&mut self.dense);
        let (least, greatest) = extent(numbers);
        let lanes = dense.prepare(least, greatest, cut);
        if let Some(lanes) = &lanes {
            let ends_ms: Vec<i64> = cut.ends().collect();
            dense.find(numbers, slices, lanes, slots, |row| {
                let end_ms = ends_ms[slices[row] as usize];
                encode(row, &mut |hash, key| self.slot(hash, end_ms, key))
            });
        }
        self.dense = dense;
        lanes.is_some()
    }

    /// The slot of a key in a slice, made if need be.
    #[inline]
    pub(super) fn slot(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
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
        let slot = self.groups.len() as u32;
        let key_start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.groups.push(Group { hash, end_ms, key_start, key_end: self.keys.len() });
        self.words.resize(self.words.len() + self.word_count, 0);
        if self.groups.len() * 2 > self.index.len() {
            self.index = vec![0; self.index.len() * 2];
            (0..=slot).for_each(|slot| self.enter(slot));
        } else {
            self.enter(slot);
        }
        slot
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
        if self.groups.len() * 8 < self.index.len() {
            for slot in 0..self.groups.len() as u32 {
                let bucket = self.bucket_where(self.mixed(slot), |entry| entry as u32 == slot + 1);
                self.index[bucket] = 0;
            }
        } else {
            self.index.fill(0);
        }
        self.groups.clear();
        self.words.clear();
        self.keys.clear();
        self.blobs.clear();
        self.blob_bytes = 0;
        self.dense.forget();
        if self.names.is_full() {
            self.names.forget();
        }
    }

    fn blob_at(&mut self, blob: u64) -> &mut AlignedVec {
        &mut self.blobs[blob as usize - 1]
    }
}

/// The least and the greatest of some values; of none, an empty range.
pub(super) fn extent(values: &[i64]) -> (i64, i64) {
    values.iter().fold((i64::MAX, i64::MIN), |(least, greatest), &value| {
        (least.min(value), greatest.max(value))
    })
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

    use arrow_array::{Int32Array, Int64Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;
    use crate::window::{Slices, WindowKind};

    /// Keys of one column: integers close together or far apart, strings short or long.
    fn column(kind: u8, numbers: &[i64]) -> ArrayRef {
        let strings = |length: usize| {
            StringViewArray::from_iter_values(
                numbers.iter().map(|number| format!("{number:0length$}")),
            )
        };
        match kind {
            0 => Arc::new(Int64Array::from(numbers.to_vec())),
            1 => Arc::new(Int64Array::from_iter_values(numbers.iter().map(|n| n << 40))),
            2 => Arc::new(Int32Array::from_iter_values(numbers.iter().map(|&n| n as i32))),
            3 => Arc::new(strings(4)),
            _ => Arc::new(strings(14)),
        }
    }

    proptest! {
        /// Against the same table, asked with encoded keys.
        #[test]
        fn keys_are_found_directly_as_they_are_by_their_bytes(
            kind in 0..5u8,
            batches in prop::collection::vec((prop::collection::vec((-3000..3000i64, 0..90i64), 1..300), any::<bool>()), 1..5),
        ) {
            let slices = Slices::new(WindowKind::Tumble { size_ms: 10, offset_ms: 0 });
            let (mut folding, mut twin) = (Folding::new(1), Folding::new(1));
            for (rows, clear) in batches {
                let (numbers, times): (Vec<i64>, Vec<i64>) = rows.into_iter().unzip();
                let (least, greatest) = extent(&times);
                let cut = slices.cut(least, greatest).unwrap();
                let (mut indices, mut slots, mut expected) = (Vec::new(), Vec::new(), Vec::new());
                cut.indices(&times, &mut indices);
                let keys = [column(kind, &numbers)];
                let direct = folding.find_directly(&keys, &cut, &indices, &mut slots);
                prop_assert_eq!(direct, match kind {
                    1 => extent(&numbers).0 == extent(&numbers).1,
                    4 => false,
                    _ => true,
                });
                if !direct {
                    continue;
                }
                let (mut encoded, mut ends_ms) = (Keys::default(), times);
                encoded.encode(&keys, numbers.len());
                slices.assign(&mut ends_ms);
                twin.find(&encoded, &ends_ms, &mut expected);
                prop_assert_eq!(slots, expected);
                let groups = (0..folding.count() as u32).map(|slot| (folding.group(slot), twin.group(slot)));
                groups.for_each(|(one, two)| assert_eq!(one, two));
                if clear {
                    folding.clear();
                    twin.clear();
                }
            }
        }

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
}
