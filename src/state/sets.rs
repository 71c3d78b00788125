//! Distinct values per group: a dictionary of values and, for each group, a set of their ids.
//!
//! Inserting ids one at a time into compressed sets costs hundreds of nanoseconds each; so pairs of
//! (set, id) are buffered, sorted and merged in bulk, a run of ids per set at a time. Whoever reads a
//! count flushes first. Words and short texts are looked up at the flush too, sorted by where the dictionary's index has them,
//! so that a look-up finds in the cache what it would wait for otherwise. And of sets that are never flushed before their counts are
//! read for good they are not looked up at all (`pairs`).
//!
//! Sets that are *in order* hand their values out as they came. There an entry of the dictionary is a value of one set, and knows
//! when it came: were entries shared, one set's order would show in another's, and so which groups share a shard.
//!
//! # Invariants
//!
//! 1. Ids are dense, from 0, in order of first arrival; an id never changes its value. In order, emptying a set ends its ids,
//!    and their numbers are used again.
//! 2. A pair counts as new exactly once, in the flush that adds it.
//! 3. A value always waits in the same way: words, and texts of at most 16 bytes, unnumbered, others as a set and an id in one word.
//! 4. Until the first flush no id has been given to what waits unnumbered; after it there is no backlog.

use std::cell::RefCell;
use std::iter::once;

use super::array::Array;
use super::blocks::Blocks;
use super::dictionary::{Dictionary, Value, Values};
use super::digits::{all_digits, digits_of, text_of};
use super::pages::{PAGE_WORDS, Pages};
use super::paired::ValuePair;
use super::pairs::{PairRoom, Pairs};
use super::radix::sort;
use super::saved::Saved;
use super::texts::{TextPair, pair_of, pair_of_row};
use crate::batch::{ShortKey, Strings};

/// How many pairs are buffered before they are merged.
const PENDING_MAX: usize = 1 << 20;

/// A smaller dictionary is not worth rebuilding.
const COMPACT_VALUES_MIN: u64 = 1 << 16;

/// The sets of one `DISTINCT` argument list on one shard.
#[derive(Debug)]
pub struct DistinctSets {
    dictionary: Dictionary,
    sets: Blocks,
    /// Pairs of words and sets that wait, or of texts of digits ([`super::digits`]) and sets.
    words: Pairs<2>,
    /// Pairs of other short texts and sets that wait.
    texts: Pairs<3>,
    /// Whether some of those have been numbered: then all have to be.
    is_numbered: bool,
    /// Pairs of a set and an id, as words.
    pending: Array,
    pending_count: usize,
}

/// Memory of flushes, whosever they are: a flush in fresh memory would wait for its pages.
#[derive(Default)]
struct Scratch {
    words: PairRoom<2>,
    texts: PairRoom<3>,
    /// Sets and ids.
    pairs: Vec<u64>,
    sorted: Vec<u64>,
    spare: Vec<u64>,
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
        Self {
            dictionary,
            sets: Blocks::default(),
            words: Pairs::default(),
            texts: Pairs::default(),
            is_numbered: false,
            pending: Array::default(),
            pending_count: 0,
        }
    }

    /// The sets that were saved.
    pub fn load(values: Values, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut loaded = Self::of(Dictionary::load(values, saved, pages));
        loaded.sets = Blocks::load(saved, pages);
        loaded.words = Pairs::load(saved, pages);
        loaded.texts = Pairs::load(saved, pages);
        loaded.pending = Array::load(saved, pages);
        let (pending_count, is_numbered) = saved.pair();
        (loaded.pending_count, loaded.is_numbered) = (pending_count as usize, is_numbered != 0);
        loaded
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.dictionary.save(out);
        self.sets.save(out);
        self.words.save(out);
        self.texts.save(out);
        self.pending.save(out);
        out.push(self.pending_count as u64 | u64::from(self.is_numbered) << 32);
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

    /// Hands all of `from` over to `to`, which is empty. Neither may have pairs pending.
    pub fn hand_over(&mut self, pages: &mut Pages, from: u32, to: u32) {
        if self.dictionary.is_in_order() {
            // A value is its set's there.
            self.union(pages, to, from, |_| {});
            return self.clear_set(pages, from);
        }
        self.sets.hand_over(pages, from, to);
    }

    /// Rebuilds the dictionary from the values that a set still holds, when most of it is dead. In order none is.
    pub fn compact(&mut self, pages: &mut Pages) {
        let known = self.dictionary.count() as u64;
        let worth = !self.dictionary.is_in_order()
            && known >= COMPACT_VALUES_MIN
            && known >= self.sets.id_count() * 4;
        let waits = self.pending_count > 0 || !self.words.is_empty() || !self.texts.is_empty();
        if !worth || waits {
            return;
        }
        let mut fresh = Self { is_numbered: self.is_numbered, ..Self::of(self.dictionary.fresh()) };
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
        self.words.release(pages);
        self.texts.release(pages);
        self.pending.release(pages);
    }

    /// Buffers a value of `set`; `hash` is that of `value`. True when it is time to flush.
    #[inline]
    pub fn insert(&mut self, pages: &mut Pages, set: u32, hash: u64, value: &[u8]) -> bool {
        match &mut self.dictionary {
            Dictionary::Words(words) => {
                let word = words.word_of(value);
                self.words.extend(pages, 1, |_| [word, set.into()]);
            }
            dictionary => {
                let short = ShortKey::of(value).filter(|_| !dictionary.is_in_order());
                if let Some(pair) = short.and_then(|key| pair_of(&key, set)) {
                    match digits_of(&pair) {
                        Some(digits) => self.words.extend(pages, 1, |_| digits),
                        None => self.texts.extend(pages, 1, |_| pair),
                    }
                } else {
                    let id = dictionary.id(pages, set, hash, value);
                    push_id(&mut self.pending, &mut self.pending_count, pages, set, id);
                }
            }
        }
        self.is_full(pages)
    }

    /// Buffers integers, each for its set. `None`: values are not of that kind, and nothing was done; else whether it is time to flush.
    ///
    /// # Shapes
    ///
    /// `sets`, `integers`: `[rows]`. Integers are as wide as the column, or widened.
    pub fn insert_integers(
        &mut self,
        pages: &mut Pages,
        sets: &[u32],
        integers: &[i64],
    ) -> Option<bool> {
        let Dictionary::Words(words) = &self.dictionary else { return None };
        let (bits, integers) = (words.bits(), &integers[..sets.len()]);
        self.words.extend(pages, sets.len(), |row| {
            [integers[row].cast_unsigned() & bits, sets[row].into()]
        });
        Some(self.is_full(pages))
    }

    /// [`DistinctSets::insert_integers`] for strings.
    pub fn insert_strings(
        &mut self,
        pages: &mut Pages,
        sets: &[u32],
        strings: &Strings<'_>,
    ) -> Option<bool> {
        let Dictionary::Bytes(texts) = &mut self.dictionary else { return None };
        let (mut short, mut long) = (Vec::with_capacity(sets.len()), Vec::new());
        for (row, &set) in sets.iter().enumerate() {
            match pair_of_row(strings, row, set) {
                Some(pair) => short.push(pair),
                None => long.push(row as u32),
            }
        }
        let (pending, count) = (&mut self.pending, &mut self.pending_count);
        texts.ids(pages, strings, &long, |pages, row, id| {
            push_id(pending, count, pages, sets[row], id);
        });
        self.insert_texts(pages, &short);
        Some(self.is_full(pages))
    }

    /// Buffers values as [`each_value_pair`](super::each_value_pair) has them, each for the set that `sets` says its own is here. True when it is time
    /// to flush.
    pub fn insert_pairs(&mut self, pages: &mut Pages, pairs: &[ValuePair], sets: &[u32]) -> bool {
        self.words.extend(pages, pairs.len(), |index| {
            let [word, last] = pairs[index];
            [word, last >> 32 << 32 | u64::from(sets[last as u32 as usize])]
        });
        self.is_full(pages)
    }

    /// Has pairs of short texts and sets wait.
    fn insert_texts(&mut self, pages: &mut Pages, pairs: &[TextPair]) {
        let (mut digits, mut others) = (Vec::new(), Vec::new());
        if !all_digits(pairs, &mut digits) {
            digits.clear();
            for pair in pairs {
                match digits_of(pair) {
                    Some(pair) => digits.push(pair),
                    None => others.push(*pair),
                }
            }
        }
        self.words.extend(pages, digits.len(), |index| digits[index]);
        self.texts.extend(pages, others.len(), |index| others[index]);
    }

    /// Whether it is time to flush. What can wait longer is put where it does not take more than it must.
    #[inline]
    fn is_full(&mut self, pages: &mut Pages) -> bool {
        if !self.is_numbered && (self.words.is_full() || self.texts.is_full()) {
            return self.put_off(pages);
        }
        let counts = [self.pending_count, self.words.pending_count(), self.texts.pending_count()];
        counts.into_iter().any(|count| count >= PENDING_MAX)
    }

    /// Has what is pending unnumbered wait in a backlog; true: flushing takes less memory.
    #[cold]
    fn put_off(&mut self, pages: &mut Pages) -> bool {
        SCRATCH.with_borrow_mut(|Scratch { words, texts, .. }| {
            if self.words.is_full() {
                self.words.spill(pages, words);
            }
            if self.texts.is_full() {
                self.texts.spill(pages, texts);
            }
            self.words.is_costly(words) || self.texts.is_costly(texts)
        })
    }

    /// Merges what is buffered and calls `added` with sets that have new ids, and those, which are as [`DistinctSets::ids`] are; perhaps
    /// more than once with a set, each time with others.
    pub fn flush(&mut self, pages: &mut Pages, mut added: impl FnMut(u32, &[u32])) {
        self.is_numbered |= !self.words.is_empty() || !self.texts.is_empty();
        SCRATCH.with_borrow_mut(|scratch| {
            while self.number_some(pages, scratch) {
                self.merge(pages, scratch, &mut added);
            }
            self.take_pending(pages, scratch);
            self.merge(pages, scratch, &mut added);
        });
    }

    /// Numbers some of what waits, and has the ids in `scratch`; false: nothing waited.
    fn number_some(&mut self, pages: &mut Pages, scratch: &mut Scratch) -> bool {
        let Scratch { words, texts, pairs, .. } = scratch;
        pairs.clear();
        let to = |set, id| pairs.push(pair(set, id));
        match &mut self.dictionary {
            Dictionary::Words(dictionary) if self.words.take_some(pages, words) => {
                dictionary.number(pages, words, to);
            }
            Dictionary::Bytes(dictionary) if self.words.take_some(pages, words) => {
                dictionary.number(pages, words, text_of, to);
            }
            Dictionary::Bytes(dictionary) if self.texts.take_some(pages, texts) => {
                dictionary.number(pages, texts, |&pair| pair, to);
            }
            _ => return false,
        }
        true
    }

    /// Moves the pairs of sets and ids that are pending to `scratch`.
    fn take_pending(&mut self, pages: &Pages, scratch: &mut Scratch) {
        let mut rest = std::mem::take(&mut self.pending_count);
        scratch.pairs.clear();
        for page in self.pending.iter() {
            let some = rest.min(PAGE_WORDS);
            scratch.pairs.extend_from_slice(&pages.get(page)[..some]);
            rest -= some;
        }
    }

    /// Adds pairs of sets and ids to the sets.
    fn merge(
        &mut self,
        pages: &mut Pages,
        scratch: &mut Scratch,
        added: &mut impl FnMut(u32, &[u32]),
    ) {
        let Scratch { pairs, sorted, spare, ids, new, .. } = scratch;
        sort(once(pairs.iter().copied()), sorted, spare, |&pair| pair);
        sorted.dedup();
        for run in sorted.chunk_by(|a, b| a >> 32 == b >> 32) {
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
    }

    /// Calls `added` with sets and how many values they have got since the last flush, for the last time: only
    /// [`DistinctSets::release`] may follow. What no flush has seen need not be numbered for that.
    pub fn finish(&mut self, pages: &mut Pages, mut added: impl FnMut(u32, u64)) {
        let mut counts = vec![0; self.sets.set_count() as usize];
        if !self.is_numbered {
            SCRATCH.with_borrow_mut(|Scratch { words, texts, .. }| {
                self.words.count(pages, words, &mut counts);
                self.texts.count(pages, texts, &mut counts);
            });
        }
        self.flush(pages, |set, new| counts[set as usize] += new.len() as u64);
        (0..)
            .zip(counts)
            .filter(|&(_, count)| count > 0)
            .for_each(|(set, count)| added(set, count));
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

/// A set and an id as one word.
#[inline]
fn pair(set: u32, id: u32) -> u64 {
    u64::from(set) << 32 | u64::from(id)
}

/// Appends the pair of a set and an id to those that are pending.
#[inline]
fn push_id(pending: &mut Array, count: &mut usize, pages: &mut Pages, set: u32, id: u32) {
    if *count / PAGE_WORDS == pending.len() {
        pending.push(pages);
    }
    *pages.word_mut(pending.page(*count / PAGE_WORDS), *count % PAGE_WORDS) = pair(set, id);
    *count += 1;
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
                    1 if set != other => {
                        blocks.clear(&mut pages, set);
                        blocks.hand_over(&mut pages, other, set);
                        twin[set as usize] = std::mem::take(&mut twin[other as usize]);
                    }
                    2 => {
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
