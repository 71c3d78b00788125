//! A table of groups: key → slot of words.
//!
//! Keys are found through an index, apart from the slots. Slots are filled in order of arrival, which is the order in which a
//! window is read out.
//!
//! # Layout
//!
//! ```text
//! slot:        hash │ key (heap reference) │ accumulator words …
//! free slot:   next free slot + 1, 0 for none │ zeros …
//! ```
//!
//! # Invariants
//!
//! 1. A slot never straddles pages: a page holds a power of two of them.
//! 2. The index holds every slot that has a key, once.

use super::WordSlots;
use super::array::Array;
use super::heap::Heap;
use super::index::{Index, tag};
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::prefetch::prefetch_word;
use super::saved::Saved;
use crate::batch::hash::equal_bytes;

/// Words of a slot before its accumulators.
const HEADER_WORDS: usize = 2;

/// With fewer groups a table is in the cache as it is.
const LARGE: u32 = 1 << 13;
/// How many rows lie between the steps of looking ahead: long enough for memory to answer, short enough to stay in the cache.
const AHEAD_ROWS: usize = 8;

/// A table of groups.
#[derive(Debug)]
pub struct Table {
    stride: usize,
    slot_shift: u32,
    slot_pages: Array,
    slot_count: u32,
    /// The first free slot + 1; 0: none.
    free_slot: u32,
    index: Index,
    heap: Heap,
}

impl Table {
    /// An empty table whose slots have `word_count` accumulator words.
    ///
    /// # Panics
    ///
    /// If a slot is larger than a page: the planner refuses so many aggregates.
    pub fn new(word_count: usize) -> Self {
        let stride = word_count + HEADER_WORDS;
        assert!(stride <= PAGE_WORDS, "{word_count} accumulator words do not fit a page");
        Self {
            stride,
            slot_shift: (PAGE_WORDS / stride).ilog2(),
            slot_pages: Array::default(),
            slot_count: 0,
            free_slot: 0,
            index: Index::default(),
            heap: Heap::default(),
        }
    }

    /// The table that was saved, whose slots have `word_count` accumulator words.
    pub fn load(word_count: usize, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut table = Self::new(word_count);
        table.slot_pages = Array::load(saved, pages);
        table.index = Index::load(saved, pages);
        (table.slot_count, table.free_slot) = saved.pair();
        table.heap = Heap::load(saved, pages);
        table
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.slot_pages.save(out);
        self.index.save(out);
        out.push(u64::from(self.slot_count) | u64::from(self.free_slot) << 32);
        self.heap.save(out);
    }

    /// How many groups it holds.
    pub fn count(&self) -> usize {
        self.index.count() as usize
    }

    /// How many pages it has, without those of blocks larger than one.
    pub fn page_count(&self) -> usize {
        self.slot_pages.len() + self.index.page_count() + self.heap.page_count()
    }

    /// One past the largest slot number in use.
    pub fn slot_end(&self) -> u32 {
        self.slot_count
    }

    /// The slot of `key`, made if need be, and whether it was made.
    #[inline]
    pub fn upsert(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> (u32, bool) {
        self.index.make_place(pages);
        let is_it = |slot| self.is_key(pages, slot, hash, key);
        let (bucket, found) = self.index.find(pages, tag(hash), is_it);
        match found {
            Some(slot) => (slot, false),
            None => (self.insert_at(pages, bucket, hash, key), true),
        }
    }

    /// The slot, made now, of a key that has none yet.
    pub fn append(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> u32 {
        self.index.make_place(pages);
        let (bucket, _) = self.index.find(pages, tag(hash), |_| false);
        self.insert_at(pages, bucket, hash, key)
    }

    /// Makes a group at an empty bucket.
    #[inline]
    fn insert_at(&mut self, pages: &mut Pages, bucket: usize, hash: u64, key: &[u8]) -> u32 {
        let slot = self.new_slot(pages);
        let blob = self.heap.insert(pages, key);
        let (page, start) = self.slot_place(slot);
        pages.words_mut(page, start, HEADER_WORDS).copy_from_slice(&[hash, blob]);
        self.index.insert(pages, bucket, tag(hash), slot);
        slot
    }

    /// Has the disk fetch the pages of these slots.
    pub fn prefetch(&self, pages: &Pages, slots: std::ops::Range<u32>) {
        let of = |slot: u32| (slot >> self.slot_shift) as usize;
        let end = of(slots.end).min(self.slot_pages.len());
        pages.prefetch((of(slots.start)..end).map(|index| self.slot_pages.page(index)));
    }

    /// The slot of `key`, if there is one.
    pub fn find(&self, pages: &Pages, hash: u64, key: &[u8]) -> Option<u32> {
        if self.index.count() == 0 {
            return None;
        }
        self.index.find(pages, tag(hash), |slot| self.is_key(pages, slot, hash, key)).1
    }

    /// Has memory fetched that lookups of the next keys will read, while this row is worked on: a lookup in a large table waits
    /// for memory two or three times, each time for what the last one has found. To be called with every `row` in turn.
    #[inline]
    pub fn look_ahead(&self, pages: &Pages, hashes: &[u64], row: usize) {
        if self.index.count() < LARGE {
            return;
        }
        let likely = |row: usize| self.index.likely(pages, tag(*hashes.get(row)?));
        if let Some(&hash) = hashes.get(row + 3 * AHEAD_ROWS) {
            self.index.prefetch(pages, tag(hash));
        }
        if let Some(slot) = likely(row + 2 * AHEAD_ROWS) {
            self.prefetch_slot(pages, slot);
        }
        if let Some([_, blob]) = likely(row + AHEAD_ROWS).and_then(|slot| self.head(pages, slot)) {
            self.heap.prefetch(pages, blob);
        }
    }

    /// Has a slot fetched into the cache.
    #[inline]
    fn prefetch_slot(&self, pages: &Pages, slot: u32) {
        let (page, start) = self.slot_place(slot);
        prefetch_word(pages, page, start);
        prefetch_word(pages, page, start + self.stride - 1);
    }

    /// A slot's hash and key, if its page need not be read first.
    #[inline]
    fn head(&self, pages: &Pages, slot: u32) -> Option<[u64; HEADER_WORDS]> {
        let (page, start) = self.slot_place(slot);
        pages.peek(page)?[start..].first_chunk().copied()
    }

    /// Removes the group of `slot`; its number is used again. The caller frees blobs of its accumulators first.
    pub fn remove(&mut self, pages: &mut Pages, slot: u32) {
        let words = self.slot_words(pages, slot);
        let (hash, blob) = (words[0], words[1]);
        let (bucket, _) = self.index.find(pages, tag(hash), |other| other == slot);
        self.index.remove(pages, bucket);
        self.heap.remove(pages, blob);
        self.release_slot(pages, slot);
    }

    /// The slots in the index, in no order.
    pub fn live_slots(&self, pages: &Pages) -> Vec<u32> {
        self.index.slots(pages)
    }

    /// A slot outside of the index, for more than one record of a group; zeroed.
    pub fn new_slot(&mut self, pages: &mut Pages) -> u32 {
        if self.free_slot != 0 {
            let slot = self.free_slot - 1;
            let (page, start) = self.slot_place(slot);
            let link = pages.word_mut(page, start);
            self.free_slot = std::mem::take(link) as u32;
            if self.free_slot != 0 {
                // The next one is probably wanted soon, and lies anywhere.
                self.prefetch_slot(pages, self.free_slot - 1);
            }
            return slot;
        }
        let slot = self.slot_count;
        self.slot_count += 1;
        if (slot >> self.slot_shift) as usize == self.slot_pages.len() {
            self.slot_pages.push(pages);
        }
        slot
    }

    /// Gives back a slot that is not in the index.
    pub fn release_slot(&mut self, pages: &mut Pages, slot: u32) {
        let words = self.slot_words_mut(pages, slot);
        words.fill(0);
        words[0] = u64::from(self.free_slot);
        self.free_slot = slot + 1;
    }

    /// The key of a slot.
    pub fn key<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u8] {
        self.heap.get(pages, self.slot_words(pages, slot)[1])
    }

    /// The hash of a slot's key.
    pub fn hash(&self, pages: &Pages, slot: u32) -> u64 {
        self.slot_words(pages, slot)[0]
    }

    /// The accumulator words of a slot.
    #[inline(always)]
    pub fn words<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u64] {
        &self.slot_words(pages, slot)[HEADER_WORDS..]
    }

    /// The accumulator words of a slot, to change.
    #[inline(always)]
    pub fn words_mut<'a>(&self, pages: &'a mut Pages, slot: u32) -> &'a mut [u64] {
        let (page, start) = self.slot_place(slot);
        pages.words_mut(page, start + HEADER_WORDS, self.stride - HEADER_WORDS)
    }

    /// The heap of its keys and of its accumulators' strings.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The same, to change.
    pub fn heap_mut(&mut self) -> &mut Heap {
        &mut self.heap
    }

    /// Forgets all groups, keeping the pages for what comes next.
    pub fn clear(&mut self, pages: &mut Pages) {
        self.slot_pages.iter().for_each(|page| pages.get_mut(page).fill(0));
        self.index.clear(pages);
        self.heap.clear(pages);
        (self.slot_count, self.free_slot) = (0, 0);
    }

    /// Frees all pages.
    pub fn release(mut self, pages: &mut Pages) {
        self.heap.release(pages);
        self.slot_pages.release(pages);
        self.index.release(pages);
    }

    #[inline]
    fn is_key(&self, pages: &Pages, slot: u32, hash: u64, key: &[u8]) -> bool {
        let words = self.slot_words(pages, slot);
        words[0] == hash && equal_bytes(self.heap.get(pages, words[1]), key)
    }

    #[inline(always)]
    fn slot_words<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u64] {
        let (page, start) = self.slot_place(slot);
        &pages.get(page)[start..start + self.stride]
    }

    #[inline]
    fn slot_words_mut<'a>(&self, pages: &'a mut Pages, slot: u32) -> &'a mut [u64] {
        let (page, start) = self.slot_place(slot);
        pages.words_mut(page, start, self.stride)
    }

    #[inline(always)]
    fn slot_place(&self, slot: u32) -> (PageId, usize) {
        let within = (slot & ((1 << self.slot_shift) - 1)) as usize;
        (self.slot_pages.page((slot >> self.slot_shift) as usize), within * self.stride)
    }
}

impl WordSlots for Table {
    #[inline]
    fn words<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u64] {
        self.words(pages, slot)
    }

    #[inline]
    fn words_mut<'a>(&self, pages: &'a mut Pages, slot: u32) -> &'a mut [u64] {
        self.words_mut(pages, slot)
    }

    fn heap(&self) -> &Heap {
        &self.heap
    }

    fn heap_mut(&mut self) -> &mut Heap {
        &mut self.heap
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::hash::hash_bytes;

    proptest! {
        /// Against a `HashMap`: upserts, removals, growth, clearing.
        #[test]
        fn a_table_is_a_map(operations in prop::collection::vec((0..20u8, 0..400u32), 1..3000)) {
            let mut pages = Pages::default();
            let mut table = Table::new(3);
            let mut twin: HashMap<String, u64> = HashMap::new();
            for (operation, key) in operations {
                let key = format!("key-{key}");
                let hash = hash_bytes(key.as_bytes());
                match operation {
                    0..=4 => {
                        let slot = table.find(&pages, hash, key.as_bytes());
                        prop_assert_eq!(slot.is_some(), twin.remove(&key).is_some());
                        slot.inspect(|&slot| table.remove(&mut pages, slot));
                    }
                    5 if twin.len() > 200 => {
                        table.clear(&mut pages);
                        twin.clear();
                    }
                    _ => {
                        let (slot, made) = table.upsert(&mut pages, hash, key.as_bytes());
                        prop_assert_eq!(made, !twin.contains_key(&key));
                        table.words_mut(&mut pages, slot)[2] += 1;
                        *twin.entry(key).or_default() += 1;
                    }
                }
                prop_assert_eq!(table.count(), twin.len());
            }
            for (key, count) in &twin {
                let slot = table.find(&pages, hash_bytes(key.as_bytes()), key.as_bytes()).unwrap();
                prop_assert_eq!(table.words(&pages, slot)[2], *count);
                prop_assert_eq!(table.key(&pages, slot), key.as_bytes());
            }
            table.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }

    #[test]
    fn it_grows_past_one_index_page() {
        let mut pages = Pages::default();
        let mut table = Table::new(1);
        for key in 0..20_000u64 {
            let bytes = key.to_le_bytes();
            let (slot, made) = table.upsert(&mut pages, hash_bytes(&bytes), &bytes);
            assert!(made);
            assert_eq!(slot, key as u32, "slots are numbered in order of arrival");
            table.words_mut(&mut pages, slot)[0] = key;
        }
        for key in 0..20_000u64 {
            let bytes = key.to_le_bytes();
            let slot = table.find(&pages, hash_bytes(&bytes), &bytes).unwrap();
            assert_eq!(table.words(&pages, slot)[0], key);
        }
    }
}
