//! A table of groups: key → slot of words.
//!
//! Open addressing with linear probing over an index of `tag | slot + 1`, apart from the slots, so that a
//! probe reads eight bytes and a miss touches no slot. A tag tells its bucket at every size of the index, so growing it
//! touches no slot either, however many lie on the disk. Slots are filled in order of arrival, which is the
//! order in which a window is read out.
//!
//! # Layout
//!
//! ```text
//! index word:  tag u32 (the hash's low bits) │ slot + 1 u32        0: empty
//! slot:        hash │ key (heap reference) │ accumulator words …
//! free slot:   next free slot + 1, 0 for none │ zeros …
//! ```
//!
//! # Invariants
//!
//! 1. A slot never straddles pages: a page holds a power of two of them.
//! 2. The index holds every live slot once, reachable from its hash's bucket without passing an empty word.
//! 3. At most 7/8 of the index is full.

use super::WordSlots;
use super::array::Array;
use super::heap::Heap;
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
/// Pages of an old index that are fetched ahead while a new one is made.
const FETCHED_PAGES: usize = 64;

/// A table of groups.
#[derive(Debug)]
pub struct Table {
    stride: usize,
    slot_shift: u32,
    slot_pages: Array,
    slot_count: u32,
    /// The first free slot + 1; 0: none.
    free_slot: u32,
    live_count: u32,
    index_pages: Array,
    index_mask: usize,
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
            live_count: 0,
            index_pages: Array::default(),
            index_mask: 0,
            heap: Heap::default(),
        }
    }

    /// The table that was saved, whose slots have `word_count` accumulator words.
    pub fn load(word_count: usize, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut table = Self::new(word_count);
        table.slot_pages = Array::load(saved, pages);
        table.index_pages = Array::load(saved, pages);
        table.index_mask = (table.index_pages.len() * PAGE_WORDS).saturating_sub(1);
        (table.slot_count, table.free_slot) = saved.pair();
        (table.live_count, _) = saved.pair();
        table.heap = Heap::load(saved, pages);
        table
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.slot_pages.save(out);
        self.index_pages.save(out);
        out.push(u64::from(self.slot_count) | u64::from(self.free_slot) << 32);
        out.push(u64::from(self.live_count));
        self.heap.save(out);
    }

    /// How many groups it holds.
    pub fn count(&self) -> usize {
        self.live_count as usize
    }

    /// How many pages it has, without those of blocks larger than one.
    pub fn page_count(&self) -> usize {
        self.slot_pages.len() + self.index_pages.len() + self.heap.page_count()
    }

    /// One past the largest slot number in use.
    pub fn slot_end(&self) -> u32 {
        self.slot_count
    }

    /// The slot of `key`, made if need be, and whether it was made.
    #[inline]
    pub fn upsert(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> (u32, bool) {
        self.make_places(pages, 1);
        let mut bucket = hash as usize & self.index_mask;
        let tag = tag(hash);
        loop {
            let entry = self.index(pages, bucket);
            if entry == 0 {
                break;
            }
            if entry >> 32 == tag {
                let slot = entry as u32 - 1;
                if self.is_key(pages, slot, hash, key) {
                    return (slot, false);
                }
            }
            bucket = (bucket + 1) & self.index_mask;
        }
        (self.insert_at(pages, bucket, hash, key), true)
    }

    /// Makes a group at an empty bucket.
    #[inline]
    fn insert_at(&mut self, pages: &mut Pages, bucket: usize, hash: u64, key: &[u8]) -> u32 {
        let slot = self.new_slot(pages);
        let blob = self.heap.insert(pages, key);
        let (page, start) = self.slot_place(slot);
        pages.words_mut(page, start, HEADER_WORDS).copy_from_slice(&[hash, blob]);
        self.set_index(pages, bucket, tag(hash) << 32 | u64::from(slot + 1));
        self.live_count += 1;
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
        if self.live_count == 0 {
            return None;
        }
        let mut bucket = hash as usize & self.index_mask;
        loop {
            match self.index(pages, bucket) {
                0 => return None,
                entry
                    if entry >> 32 == tag(hash)
                        && self.is_key(pages, entry as u32 - 1, hash, key) =>
                {
                    return Some(entry as u32 - 1);
                }
                _ => bucket = (bucket + 1) & self.index_mask,
            }
        }
    }

    /// Has memory fetched that lookups of the next keys will read, while this row is worked on: a lookup in a large table waits
    /// for memory two or three times, each time for what the last one has found. To be called with every `row` in turn. Returns the
    /// slot that the lookup of `AHEAD_ROWS` rows from now will probably find.
    #[inline]
    pub fn look_ahead(&self, pages: &Pages, hashes: &[u64], row: usize) -> Option<u32> {
        if self.live_count < LARGE {
            return None;
        }
        if let Some(&hash) = hashes.get(row + 3 * AHEAD_ROWS) {
            self.prefetch_bucket(pages, hash);
        }
        if let Some(slot) = self.likely(pages, hashes.get(row + 2 * AHEAD_ROWS)) {
            self.prefetch_slot(pages, slot);
        }
        let next = self.likely(pages, hashes.get(row + AHEAD_ROWS))?;
        if let Some([_, blob]) = self.head(pages, next) {
            self.heap.prefetch(pages, blob);
        }
        Some(next)
    }

    /// Has a slot fetched into the cache.
    #[inline]
    pub fn prefetch_slot(&self, pages: &Pages, slot: u32) {
        let (page, start) = self.slot_place(slot);
        prefetch_word(pages, page, start);
        prefetch_word(pages, page, start + self.stride - 1);
    }

    /// Has memory fetched what belongs to a slot that has been fetched: its key, and its entry of the index.
    #[inline]
    pub fn prefetch_group(&self, pages: &Pages, slot: u32) {
        if let Some([hash, blob]) = self.head(pages, slot) {
            self.heap.prefetch(pages, blob);
            self.prefetch_bucket(pages, hash);
        }
    }

    #[inline]
    fn prefetch_bucket(&self, pages: &Pages, hash: u64) {
        let bucket = hash as usize & self.index_mask;
        prefetch_word(pages, self.index_pages.page(bucket / PAGE_WORDS), bucket % PAGE_WORDS);
    }

    /// A slot's hash and key, if its page need not be read first.
    #[inline]
    fn head(&self, pages: &Pages, slot: u32) -> Option<[u64; HEADER_WORDS]> {
        let (page, start) = self.slot_place(slot);
        pages.peek(page)?[start..].first_chunk().copied()
    }

    /// The slot of the first entry with the hash's tag, if it is where it belongs or just behind.
    #[inline]
    fn likely(&self, pages: &Pages, hash: Option<&u64>) -> Option<u32> {
        let hash = *hash?;
        let mut bucket = hash as usize & self.index_mask;
        for _ in 0..4 {
            let words = pages.peek(self.index_pages.page(bucket / PAGE_WORDS))?;
            let entry = words[bucket % PAGE_WORDS];
            if entry == 0 {
                return None;
            }
            if entry >> 32 == tag(hash) {
                return Some(entry as u32 - 1);
            }
            bucket = (bucket + 1) & self.index_mask;
        }
        None
    }

    /// Removes the group of `slot`; its number is used again. The caller frees blobs of its accumulators first.
    pub fn remove(&mut self, pages: &mut Pages, slot: u32) {
        let (hash, blob) = {
            let words = self.slot_words(pages, slot);
            (words[0], words[1])
        };
        let mut bucket = hash as usize & self.index_mask;
        while self.index(pages, bucket) as u32 != slot + 1 {
            bucket = (bucket + 1) & self.index_mask;
        }
        self.close_gap(pages, bucket);
        self.heap.remove(pages, blob);
        self.release_slot(pages, slot);
        self.live_count -= 1;
    }

    /// Backward-shift deletion: no tombstones, so probes stay short however many groups come and go.
    fn close_gap(&mut self, pages: &mut Pages, mut gap: usize) {
        let mut next = (gap + 1) & self.index_mask;
        loop {
            let entry = self.index(pages, next);
            if entry == 0 {
                break;
            }
            let home = (entry >> 32) as usize & self.index_mask;
            let distance_home = next.wrapping_sub(home) & self.index_mask;
            let distance_gap = next.wrapping_sub(gap) & self.index_mask;
            if distance_home >= distance_gap {
                self.set_index(pages, gap, entry);
                gap = next;
            }
            next = (next + 1) & self.index_mask;
        }
        self.set_index(pages, gap, 0);
    }

    /// The slots in the index, in no order.
    pub fn live_slots(&self, pages: &Pages) -> Vec<u32> {
        let entries = self.index_pages.iter().flat_map(|page| pages.get(page));
        entries.filter(|&&entry| entry != 0).map(|&entry| entry as u32 - 1).collect()
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
    #[inline]
    pub fn words<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u64] {
        &self.slot_words(pages, slot)[HEADER_WORDS..]
    }

    /// The accumulator words of a slot, to change.
    #[inline]
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
        for page in self.slot_pages.iter().chain(self.index_pages.iter()) {
            pages.get_mut(page).fill(0);
        }
        self.heap.clear(pages);
        (self.slot_count, self.live_count, self.free_slot) = (0, 0, 0);
    }

    /// Frees all pages.
    pub fn release(mut self, pages: &mut Pages) {
        self.heap.release(pages);
        self.slot_pages.release(pages);
        self.index_pages.release(pages);
    }

    #[inline]
    fn is_key(&self, pages: &Pages, slot: u32, hash: u64, key: &[u8]) -> bool {
        let words = self.slot_words(pages, slot);
        words[0] == hash && equal_bytes(self.heap.get(pages, words[1]), key)
    }

    #[inline]
    fn slot_words<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u64] {
        let (page, start) = self.slot_place(slot);
        &pages.get(page)[start..start + self.stride]
    }

    #[inline]
    fn slot_words_mut<'a>(&self, pages: &'a mut Pages, slot: u32) -> &'a mut [u64] {
        let (page, start) = self.slot_place(slot);
        pages.words_mut(page, start, self.stride)
    }

    #[inline]
    fn slot_place(&self, slot: u32) -> (PageId, usize) {
        let within = (slot & ((1 << self.slot_shift) - 1)) as usize;
        (self.slot_pages.page((slot >> self.slot_shift) as usize), within * self.stride)
    }

    #[inline]
    fn index(&self, pages: &Pages, bucket: usize) -> u64 {
        pages.get(self.index_pages.page(bucket / PAGE_WORDS))[bucket % PAGE_WORDS]
    }

    #[inline]
    fn set_index(&self, pages: &mut Pages, bucket: usize, entry: u64) {
        *pages.word_mut(self.index_pages.page(bucket / PAGE_WORDS), bucket % PAGE_WORDS) = entry;
    }

    /// Grows the index until so many more groups fit.
    #[inline]
    pub(super) fn make_places(&mut self, pages: &mut Pages, count: usize) {
        while (self.live_count as usize + count) * 8 > (self.index_mask + 1) * 7
            || self.index_pages.len() == 0
        {
            self.grow(pages);
        }
    }

    fn grow(&mut self, pages: &mut Pages) {
        let mut old = std::mem::take(&mut self.index_pages);
        let page_count = (old.len() * 2).max(1);
        for _ in 0..page_count {
            self.index_pages.push(pages);
        }
        self.index_mask = page_count * PAGE_WORDS - 1;
        for (index, page) in old.iter().enumerate() {
            if index % FETCHED_PAGES == 0 {
                let ahead = |array: &Array, from: usize| {
                    pages.prefetch(array.iter().skip(from).take(2 * FETCHED_PAGES));
                };
                ahead(&old, index);
                ahead(&self.index_pages, index);
                ahead(&self.index_pages, index + old.len());
            }
            for at in 0..PAGE_WORDS {
                let entry = pages.get(page)[at];
                if entry != 0 {
                    self.reinsert(pages, entry);
                }
            }
        }
        old.release(pages);
    }

    fn reinsert(&mut self, pages: &mut Pages, entry: u64) {
        let mut bucket = (entry >> 32) as usize & self.index_mask;
        while self.index(pages, bucket) != 0 {
            bucket = (bucket + 1) & self.index_mask;
        }
        self.set_index(pages, bucket, entry);
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

#[inline]
fn tag(hash: u64) -> u64 {
    hash & 0xffff_ffff
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
