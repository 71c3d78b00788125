//! Distinct values per group: a dictionary of values and, for each group, a set of their ids.
//!
//! Inserting ids one at a time into compressed sets costs hundreds of nanoseconds each; so pairs of
//! (set, id) are buffered, sorted and merged in bulk, a run of ids per set at a time. Whoever reads a
//! count flushes first. Where values are words, they are looked up at the flush too, sorted by where the dictionary's index has them,
//! so that a look-up finds in the cache what it would wait for otherwise.
//!
//! Sets that are *in order* hand their values out as they came. There an entry of the dictionary is a value of one set, and knows
//! when it came: were entries shared, one set's order would show in another's, and so which groups share a shard.
//!
//! # Invariants
//!
//! 1. Ids are dense, from 0, in order of first arrival; an id never changes its value. In order, emptying a set ends its ids,
//!    and their numbers are used again.
//! 2. A pair counts as new exactly once, in the flush that adds it.
//! 3. Of pairs that wait, those of a dictionary of words are a word and a set, others a set and an id in one word.

use std::cell::RefCell;

use super::array::Array;
use super::blocks::Blocks;
use super::dictionary::{Dictionary, Value, Values};
use super::pages::{PAGE_WORDS, Pages};
use super::saved::Saved;
use crate::batch::Strings;

/// How many pairs are buffered before they are merged.
const PENDING_MAX: usize = 1 << 20;

/// A smaller dictionary is not worth rebuilding.
const COMPACT_VALUES_MIN: u64 = 1 << 16;

/// The sets of one `DISTINCT` argument list on one shard.
#[derive(Debug)]
pub struct DistinctSets {
    dictionary: Dictionary,
    sets: Blocks,
    pending: Array,
    /// Pairs.
    pending_count: usize,
}

/// Memory of flushes, whosever they are: a flush in fresh memory would wait for its pages.
#[derive(Default)]
struct Scratch {
    /// Words and sets.
    raw: Vec<[u64; 2]>,
    parted: Vec<[u64; 2]>,
    /// Sets and ids.
    pairs: Vec<u64>,
    sorted: Vec<u64>,
    ids: Vec<u32>,
    new: Vec<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl DistinctSets {
    /// No sets.
    pub fn new(values: Values) -> Self {
        Self::of(Dictionary::new(values))
    }

    fn of(dictionary: Dictionary) -> Self {
        Self { dictionary, sets: Blocks::default(), pending: Array::default(), pending_count: 0 }
    }

    /// The sets that were saved.
    pub fn load(values: Values, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut loaded = Self::of(Dictionary::load(values, saved, pages));
        loaded.sets = Blocks::load(saved, pages);
        loaded.pending = Array::load(saved, pages);
        loaded.pending_count = saved.word() as usize;
        loaded
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.dictionary.save(out);
        self.sets.save(out);
        self.pending.save(out);
        out.push(self.pending_count as u64);
    }

    /// A new empty set; sets are numbered from 0.
    pub fn create(&mut self, pages: &mut Pages) -> u32 {
        let set = self.sets.set_count();
        self.sets.ensure(pages, set + 1);
        set
    }

    /// Makes sure that set `set` exists.
    pub fn ensure(&mut self, pages: &mut Pages, set: u32) {
        self.sets.ensure(pages, set + 1);
    }

    /// Empties a set, which must have no pairs pending.
    pub fn clear_set(&mut self, pages: &mut Pages, set: u32) {
        if self.dictionary.is_in_order() {
            let ids = self.sets.ids(pages, set);
            ids.into_iter().for_each(|id| self.dictionary.remove(pages, id));
        }
        self.sets.clear(pages, set);
    }

    /// Adds all of `from` to `into` and calls `added` with every id that is new there. Neither may have pairs pending.
    pub fn union(&mut self, pages: &mut Pages, into: u32, from: u32, mut added: impl FnMut(u32)) {
        if !self.dictionary.is_in_order() {
            let ids = self.sets.ids(pages, from);
            self.sets.insert(pages, into, &ids, added);
            return;
        }
        let mut ids = Vec::new();
        for id in self.ids(pages, from) {
            let (hash, value) = (self.value_hash(pages, id), self.value(pages, id).to_vec());
            ids.push(self.dictionary.id(pages, into, hash, &value));
        }
        ids.sort_unstable();
        let mut new = Vec::new();
        self.sets.insert(pages, into, &ids, |id| new.push(id));
        self.sort_by_arrival(pages, &mut new);
        new.into_iter().for_each(&mut added);
    }

    /// Rebuilds the dictionary from the values that a set still holds, when most of it is dead. In order none is.
    pub fn compact(&mut self, pages: &mut Pages) {
        let known = self.dictionary.count() as u64;
        let worth = !self.dictionary.is_in_order()
            && known >= COMPACT_VALUES_MIN
            && known >= self.sets.id_count() * 4;
        if !worth || self.pending_count > 0 {
            return;
        }
        let mut fresh = Self::of(self.dictionary.fresh());
        fresh.sets.ensure(pages, self.sets.set_count());
        for set in 0..self.sets.set_count() {
            let ids = self.sets.ids(pages, set).into_iter();
            let mut ids: Vec<u32> = ids
                .map(|id| {
                    let (hash, value) =
                        (self.value_hash(pages, id), self.value(pages, id).to_vec());
                    fresh.dictionary.id(pages, set, hash, &value)
                })
                .collect();
            ids.sort_unstable();
            fresh.sets.insert(pages, set, &ids, |_| {});
        }
        std::mem::replace(self, fresh).release(pages);
    }

    /// The ids in a set, ascending, or in order. Pairs that are pending are not among them.
    pub fn ids(&self, pages: &Pages, set: u32) -> Vec<u32> {
        let mut ids = self.sets.ids(pages, set);
        if self.dictionary.is_in_order() {
            self.sort_by_arrival(pages, &mut ids);
        }
        ids
    }

    fn sort_by_arrival(&self, pages: &Pages, ids: &mut [u32]) {
        ids.sort_by_cached_key(|&id| self.dictionary.arrival(pages, id));
    }

    /// Frees everything.
    pub fn release(mut self, pages: &mut Pages) {
        self.dictionary.release(pages);
        self.sets.release(pages);
        self.pending.release(pages);
    }

    /// Buffers a value of `set`; `hash` is that of `value`. True when it is time to flush.
    #[inline]
    pub fn insert(&mut self, pages: &mut Pages, set: u32, hash: u64, value: &[u8]) -> bool {
        if let Dictionary::Words(words) = &self.dictionary {
            let word = words.word_of(value);
            room(&mut self.pending, pages, self.pending_count * 2, 2)
                .copy_from_slice(&[word, set.into()]);
        } else {
            let id = self.dictionary.id(pages, set, hash, value);
            room(&mut self.pending, pages, self.pending_count, 1)[0] =
                u64::from(set) << 32 | u64::from(id);
        }
        self.pending_count += 1;
        self.pending_count >= PENDING_MAX
    }

    /// Buffers integers, each for its set. `None`: values are not of that kind, and nothing was done; else whether it is time to flush.
    ///
    /// # Shapes
    ///
    /// `sets`, `integers`: `[rows]`. Integers are as wide as the column, or widened.
    pub fn insert_integers(
        &mut self,
        pages: &mut Pages,
        mut sets: &[u32],
        mut integers: &[i64],
    ) -> Option<bool> {
        let Dictionary::Words(words) = &self.dictionary else { return None };
        let bits = words.bits();
        while !sets.is_empty() {
            let room = room(&mut self.pending, pages, self.pending_count * 2, sets.len() * 2);
            let count = room.len() / 2;
            let (some_sets, some_integers);
            (some_sets, sets) = sets.split_at(count);
            (some_integers, integers) = integers.split_at(count);
            let pairs = room.as_chunks_mut::<2>().0.iter_mut().zip(some_sets).zip(some_integers);
            for ((pair, &set), &integer) in pairs {
                *pair = [integer.cast_unsigned() & bits, set.into()];
            }
            self.pending_count += count;
        }
        Some(self.pending_count >= PENDING_MAX)
    }

    /// [`DistinctSets::insert_integers`] for strings.
    pub fn insert_strings(
        &mut self,
        pages: &mut Pages,
        sets: &[u32],
        strings: &Strings<'_>,
    ) -> Option<bool> {
        let Dictionary::Bytes(texts) = &mut self.dictionary else { return None };
        let (pending, count) = (&mut self.pending, &mut self.pending_count);
        texts.ids(pages, strings, |pages, row, id| {
            room(pending, pages, *count, 1)[0] = u64::from(sets[row]) << 32 | u64::from(id);
            *count += 1;
        });
        Some(self.pending_count >= PENDING_MAX)
    }

    /// Merges what is buffered and calls `added` with every set that has new ids, ascending, and those, which are as
    /// [`DistinctSets::ids`] are.
    pub fn flush(&mut self, pages: &mut Pages, mut added: impl FnMut(u32, &[u32])) {
        SCRATCH.with_borrow_mut(|scratch| {
            self.take_pairs(pages, scratch);
            let Scratch { pairs, sorted, ids, new, .. } = scratch;
            sort_pairs(pairs, sorted);
            pairs.dedup();
            for run in pairs.chunk_by(|a, b| a >> 32 == b >> 32) {
                let set = (run[0] >> 32) as u32;
                ids.clear();
                ids.extend(run.iter().map(|&pair| pair as u32));
                new.clear();
                self.sets.insert(pages, set, ids, |id| new.push(id));
                if self.dictionary.is_in_order() {
                    self.sort_by_arrival(pages, new);
                }
                if !new.is_empty() {
                    added(set, new);
                }
            }
        });
    }

    /// Moves the pairs that are pending to `scratch`, with the ids of their values.
    fn take_pairs(&mut self, pages: &mut Pages, scratch: &mut Scratch) {
        let count = std::mem::take(&mut self.pending_count);
        scratch.pairs.clear();
        let Dictionary::Words(words) = &mut self.dictionary else {
            let mut rest = count;
            for page in self.pending.iter() {
                let some = rest.min(PAGE_WORDS);
                scratch.pairs.extend_from_slice(&pages.get(page)[..some]);
                rest -= some;
            }
            return;
        };
        let Scratch { raw, parted, pairs, .. } = scratch;
        raw.clear();
        for page in self.pending.iter() {
            let some = (count - raw.len()).min(PAGE_WORDS / 2);
            raw.extend_from_slice(&pages.get(page).as_chunks::<2>().0[..some]);
        }
        words.sort_by_place(raw, parted);
        words.ids(pages, raw, |set, id| pairs.push(set << 32 | u64::from(id)));
    }

    /// The bytes of a value.
    pub fn value<'a>(&self, pages: &'a Pages, id: u32) -> Value<'a> {
        self.dictionary.value(pages, id)
    }

    /// The hash of a value.
    pub fn value_hash(&self, pages: &Pages, id: u32) -> u64 {
        self.dictionary.hash(pages, id)
    }
}

/// Room for so many words of pairs from word `at` on, or for as many as their page still holds.
#[inline]
fn room<'a>(
    pending: &mut Array,
    pages: &'a mut Pages,
    at: usize,
    word_count: usize,
) -> &'a mut [u64] {
    if at / PAGE_WORDS == pending.len() {
        pending.push(pages);
    }
    let (page, at) = (pending.page(at / PAGE_WORDS), at % PAGE_WORDS);
    pages.words_mut(page, at, (PAGE_WORDS - at).min(word_count))
}

/// Bits of a digit: as many buckets as have their ends in the second cache.
const DIGIT_BITS: u32 = 11;

/// Sorts pairs by a radix over the bits that vary; small inputs by comparison.
fn sort_pairs(pairs: &mut Vec<u64>, scratch: &mut Vec<u64>) {
    if pairs.len() < 1 << 12 {
        pairs.sort_unstable();
        return;
    }
    let varying = pairs.iter().fold(0, |bits, &pair| bits | (pair ^ pairs[0]));
    let mut shift = varying.trailing_zeros();
    while shift < u64::BITS {
        part(pairs, scratch, 1 << DIGIT_BITS, |&pair| {
            (pair >> shift) as usize & ((1 << DIGIT_BITS) - 1)
        });
        let done = shift + DIGIT_BITS;
        let rest = varying.checked_shr(done).unwrap_or(0);
        shift = done.saturating_add(rest.trailing_zeros());
    }
}

/// Puts `items` in the order of their buckets, and those of one bucket in the order that they have.
pub(super) fn part<T: Copy + Default>(
    items: &mut Vec<T>,
    scratch: &mut Vec<T>,
    bucket_count: usize,
    bucket: impl Fn(&T) -> usize,
) {
    let mut starts = vec![0; bucket_count + 1];
    items.iter().for_each(|item| starts[bucket(item) + 1] += 1);
    for index in 0..bucket_count {
        starts[index + 1] += starts[index];
    }
    scratch.resize(items.len(), T::default());
    for item in items.iter() {
        let start = &mut starts[bucket(item)];
        scratch[*start] = *item;
        *start += 1;
    }
    std::mem::swap(items, scratch);
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
        fn sets_are_sets(
            pairs in prop::collection::vec((0..5u32, 0..200u32, 0..20u8), 0..2000), integers in any::<bool>(),
        ) {
            let values = if integers { Values::Words(4) } else { Values::Bytes };
            let (mut pages, mut sets) = (Pages::default(), DistinctSets::new(values));
            (0..5).for_each(|expected| assert_eq!(sets.create(&mut pages), expected));
            let mut twin: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            let mut seen: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            for (set, value, flush) in pairs {
                if integers && value % 2 == 0 {
                    sets.insert_integers(&mut pages, &[set], &[i64::from(value)]).unwrap();
                } else {
                    let bytes = [&[0][..], &value.to_le_bytes()].concat();
                    sets.insert(&mut pages, set, hash_bytes(&bytes), &bytes);
                }
                twin.entry(set).or_default().insert(value);
                if flush == 0 {
                    note(&mut sets, &mut pages, &mut seen);
                }
            }
            note(&mut sets, &mut pages, &mut seen);
            prop_assert_eq!(&seen, &twin);
            for (set, values) in &twin {
                prop_assert_eq!(sets.ids(&pages, *set).len(), values.len());
            }
            sets.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }

        /// Against roaring bitmaps: arrays that become bitsets, sets that are emptied and used again, unions; saved and loaded on the way.
        #[test]
        fn blocks_are_roaring_bitmaps(steps in prop::collection::vec((0..3u32, 0..8u8, 0..3u32, 0..9000u32, 1..40u32), 1..12)) {
            let (mut pages, mut blocks) = (Pages::default(), Blocks::default());
            blocks.ensure(&mut pages, 3);
            let mut twin = vec![roaring::RoaringBitmap::new(); 3];
            for (set, operation, other, count, step) in steps {
                match operation {
                    0 => {
                        blocks.clear(&mut pages, set);
                        twin[set as usize].clear();
                    }
                    1 => {
                        let ids = blocks.ids(&pages, other);
                        blocks.insert(&mut pages, set, &ids, |_| {});
                        let from = twin[other as usize].clone();
                        twin[set as usize] |= from;
                    }
                    _ => {
                        let ids: Vec<u32> = (0..count).map(|index| other * 60_000 + index * step).collect();
                        let mut new_count = 0;
                        blocks.insert(&mut pages, set, &ids, |_| new_count += 1);
                        let before = twin[set as usize].len();
                        twin[set as usize].extend(ids);
                        prop_assert_eq!(twin[set as usize].len() - before, new_count);
                    }
                }
                let mut saved = Vec::new();
                blocks.save(&mut saved);
                blocks = Blocks::load(&mut Saved::new(&saved), &pages);
                for (set, bitmap) in twin.iter().enumerate() {
                    prop_assert!(blocks.ids(&pages, set as u32).into_iter().eq(bitmap.iter()));
                }
                prop_assert_eq!(blocks.id_count(), twin.iter().map(roaring::RoaringBitmap::len).sum::<u64>());
            }
            blocks.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }

        /// In order, against plain lists: each set's values come as they first came to it, whatever other sets hold, and wherever
        /// it is flushed; sets are emptied and used again, joined, saved and loaded.
        #[test]
        fn sets_in_order_hand_out_what_came_first(steps in prop::collection::vec((0..3u32, 0..3u32, 0..12u8, 0..40u8), 0..300)) {
            let (mut pages, mut sets) = (Pages::default(), DistinctSets::new(Values::InOrder));
            (0..3).for_each(|set| sets.ensure(&mut pages, set));
            let (mut twin, mut told) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
            for (set, other, operation, value) in steps {
                let at = set as usize;
                if operation > 2 {
                    let bytes = value.to_le_bytes();
                    sets.insert(&mut pages, set, hash_bytes(&bytes), &bytes);
                    if !twin[at].contains(&value) {
                        twin[at].push(value);
                    }
                    continue;
                }
                tell(&mut sets, &mut pages, &mut told);
                prop_assert_eq!(&told, &twin);
                match operation {
                    0 => {
                        sets.clear_set(&mut pages, set);
                        (twin[at], told[at]) = (Vec::new(), Vec::new());
                    }
                    1 if set != other => {
                        let mut ids = Vec::new();
                        sets.union(&mut pages, set, other, |id| ids.push(id));
                        told[at].extend(ids.iter().map(|&id| sets.value(&pages, id)[0]));
                        let new: Vec<u8> = twin[other as usize].iter().copied().filter(|value| !twin[at].contains(value)).collect();
                        twin[at].extend(new);
                    }
                    _ => {
                        let mut saved = Vec::new();
                        sets.save(&mut saved);
                        sets = DistinctSets::load(Values::InOrder, &mut Saved::new(&saved), &pages);
                    }
                }
                for (set, twin) in twin.iter().enumerate() {
                    let ids = sets.ids(&pages, set as u32);
                    let values: Vec<u8> = ids.iter().map(|&id| sets.value(&pages, id)[0]).collect();
                    prop_assert_eq!(&values, twin);
                    prop_assert!(ids.iter().zip(twin).all(|(&id, &value)| sets.value_hash(&pages, id) == hash_bytes(&[value])));
                }
            }
            sets.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }

        #[test]
        fn radix_sorts(mut pairs in prop::collection::vec(any::<u64>(), 5000..6000)) {
            let mut expected = pairs.clone();
            expected.sort_unstable();
            sort_pairs(&mut pairs, &mut Vec::new());
            prop_assert_eq!(pairs, expected);
        }
    }

    fn tell(sets: &mut DistinctSets, pages: &mut Pages, told: &mut [Vec<u8>]) {
        let mut new = Vec::new();
        sets.flush(pages, |set, ids| new.extend(ids.iter().map(|&id| (set, id))));
        for (set, id) in new {
            told[set as usize].push(sets.value(pages, id)[0]);
        }
    }

    fn note(sets: &mut DistinctSets, pages: &mut Pages, seen: &mut BTreeMap<u32, BTreeSet<u32>>) {
        let mut fresh = Vec::new();
        sets.flush(pages, |set, ids| fresh.extend(ids.iter().map(|&id| (set, id))));
        for (set, id) in fresh {
            let value = u32::from_le_bytes(sets.value(pages, id)[1..].try_into().unwrap());
            assert!(seen.entry(set).or_default().insert(value), "a pair is new once");
        }
    }
}
