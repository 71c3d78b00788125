//! Records by key, several a key: sessions.
//!
//! Records are slots of fixed width. The index knows the newest of a key, which leads to the older ones. A short key lies in
//! the record itself, so that what comes and goes with its only record touches an entry of the index and the record.
//!
//! # A record
//!
//! ```text
//! tag u32 │ next older record of the key + 1 u32, 0 for none
//! key, 24 bytes:   bytes, padded with zeros to 23 │ length u8
//!                  or, of a long key: heap reference │ 0 … │ 255 u8
//! words …
//! ```
//!
//! A free record holds whatever it held.
//!
//! # Invariants
//!
//! 1. A record never straddles pages: a page holds as many as fit it whole.
//! 2. All records of a key have its tag, the low bits of its hash. They form one list, which begins in the index.
//! 3. `free` has the numbers below `record_count` that are neither in a list nor unlinked and not yet released.

use super::WordSlots;
use super::array::Array;
use super::heap::Heap;
use super::index::{Index, tag};
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::prefetch::prefetch_word;
use super::saved::Saved;
use super::stack::Stack;
use crate::batch::hash::equal_bytes;

/// Words of a record's key.
const KEY_WORDS: usize = 3;
/// Words of a record before its own.
const HEADER_WORDS: usize = 1 + KEY_WORDS;
/// The longest key that lies in its record.
const SHORT_BYTES_MAX: usize = KEY_WORDS * 8 - 1;
/// In place of the length: the key lies in the heap.
const LONG: u8 = 255;

/// With fewer keys all is in the cache as it is.
const LARGE: u32 = 1 << 12;
/// How many rows lie between the steps of looking ahead.
const AHEAD_ROWS: usize = 8;

/// Records by key.
#[derive(Debug)]
pub struct Chains {
    stride: usize,
    /// How many records a page holds, and 2^64 divided by that, rounded up.
    page_records: u32,
    page_records_inverse: u64,
    slot_pages: Array,
    record_count: u32,
    free: Stack,
    index: Index,
    heap: Heap,
}

/// Records that have been taken out, one behind the other as they lay.
#[derive(Debug, Default)]
pub struct Taken {
    words: Vec<u64>,
    stride: usize,
}

impl Taken {
    /// Word `word` of each record.
    pub fn column(&self, word: usize) -> impl Iterator<Item = u64> {
        self.words.chunks_exact(self.stride).map(move |words| words[HEADER_WORDS + word])
    }

    /// A record's own words.
    #[inline]
    pub fn words(&self, at: usize) -> &[u64] {
        &self.words[at * self.stride + HEADER_WORDS..(at + 1) * self.stride]
    }

    /// A record's own words, to change.
    #[inline]
    pub fn words_mut(&mut self, at: usize) -> &mut [u64] {
        &mut self.words[at * self.stride + HEADER_WORDS..(at + 1) * self.stride]
    }
}

/// A key that has been looked for.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    tag: u32,
    bucket: usize,
    newest: Option<u32>,
    /// `None`: the key is long.
    key: Option<[u64; KEY_WORDS]>,
}

impl Seat {
    /// The key's newest record.
    #[inline]
    pub fn newest(&self) -> Option<u32> {
        self.newest
    }
}

impl Chains {
    /// No records. Each will have `word_count` words.
    ///
    /// # Panics
    ///
    /// If a record is larger than a page: the planner refuses so many aggregates.
    pub fn new(word_count: usize) -> Self {
        let stride = word_count + HEADER_WORDS;
        assert!(stride <= PAGE_WORDS, "{word_count} words do not fit a page");
        let page_records = (PAGE_WORDS / stride) as u32;
        Self {
            stride,
            page_records,
            page_records_inverse: (u64::MAX / u64::from(page_records)).wrapping_add(1),
            slot_pages: Array::default(),
            record_count: 0,
            free: Stack::default(),
            index: Index::default().sparse(),
            heap: Heap::default(),
        }
    }

    /// The records that were saved, with `word_count` words each.
    pub fn load(word_count: usize, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        Self {
            slot_pages: Array::load(saved, pages),
            record_count: saved.word() as u32,
            free: Stack::load(saved, pages),
            index: Index::load(saved, pages).sparse(),
            heap: Heap::load(saved, pages),
            ..Self::new(word_count)
        }
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.slot_pages.save(out);
        out.push(u64::from(self.record_count));
        self.free.save(out);
        self.index.save(out);
        self.heap.save(out);
    }

    /// How many keys have records.
    pub fn key_count(&self) -> usize {
        self.index.count() as usize
    }

    /// One past the largest record that has ever been.
    pub fn record_end(&self) -> u32 {
        self.record_count
    }

    /// The newest record of every key, in no order.
    pub fn newest_records(&self, pages: &Pages) -> Vec<u32> {
        self.index.slots(pages)
    }

    /// Looks for a key. What is found holds until a record is added to another key, or the last of any key goes.
    // Apart from its caller it would hand over words through memory that are read back before they are written.
    #[inline(always)]
    pub fn seek(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> Seat {
        self.index.make_place(pages);
        let (tag, short) = (tag(hash), short_key(key));
        let is_it = |record| match short {
            // Word by word: as arrays they would be compared through memory.
            Some([first, second, third]) => {
                let (page, start) = self.place(record);
                let words = &pages.get(page)[start..start + HEADER_WORDS];
                words[1] == first && words[2] == second && words[3] == third
            }
            None => self.is_long(pages, record) && equal_bytes(self.key(pages, record), key),
        };
        let (bucket, newest) = self.index.find(pages, tag, is_it);
        Seat { tag, bucket, newest, key: short }
    }

    /// A record in front of those of the key at `seat`, which is `key`. Its first words are `first`, the others 0.
    #[inline(always)]
    pub fn add(&mut self, pages: &mut Pages, seat: &Seat, key: &[u8], first: &[u64]) -> u32 {
        let record = self.new_record(pages);
        let key =
            seat.key.unwrap_or_else(|| [self.heap.insert(pages, key), 0, u64::from(LONG) << 56]);
        let (page, start) = self.place(record);
        let words = pages.words_mut(page, start, self.stride);
        words[0] = u64::from(seat.tag) << 32 | seat.newest.map_or(0, |next| u64::from(next) + 1);
        words[1..HEADER_WORDS].copy_from_slice(&key);
        let (given, rest) = words[HEADER_WORDS..].split_at_mut(first.len());
        given.copy_from_slice(first);
        rest.fill(0);
        match seat.newest {
            None => self.index.insert(pages, seat.bucket, seat.tag, record),
            Some(_) => self.index.replace(pages, seat.bucket, seat.tag, record),
        }
        record
    }

    #[inline]
    fn new_record(&mut self, pages: &mut Pages) -> u32 {
        if let Some(record) = self.free.pop(pages) {
            if let Some(later) = self.free.peek(pages, AHEAD_ROWS) {
                self.prefetch(pages, later);
            }
            return record;
        }
        let record = self.record_count;
        self.record_count += 1;
        if self.page_of(record) == self.slot_pages.len() {
            self.slot_pages.push(pages);
        }
        record
    }

    /// Takes a record out of the list of its key. It keeps its words until it is released.
    #[inline]
    pub fn unlink(&mut self, pages: &mut Pages, record: u32) {
        let [head, ..] = self.head(pages, record);
        self.unlink_at(pages, record, head);
    }

    /// The same for a record whose first word is `head`.
    #[inline]
    fn unlink_at(&mut self, pages: &mut Pages, record: u32, head: u64) {
        let (tag, next) = ((head >> 32) as u32, head as u32);
        let (bucket, newest) = self.index.find(pages, tag, |newest| newest == record);
        match (newest, next) {
            (None, _) => self.unlink_older(pages, record, head),
            (Some(_), 0) => self.index.remove(pages, bucket),
            (Some(_), next) => self.index.replace(pages, bucket, tag, next - 1),
        }
    }

    /// The same for a record that is not the newest of its key.
    #[cold]
    fn unlink_older(&mut self, pages: &mut Pages, record: u32, head: u64) {
        let mut newer = None;
        let holds = |newest| {
            let mut records = std::iter::successors(Some(newest), |&at| self.next(pages, at));
            newer = records.find(|&at| self.next(pages, at) == Some(record));
            newer.is_some()
        };
        self.index.find(pages, (head >> 32) as u32, holds);
        let (page, start) = self.place(newer.expect("a record is in the list of its key"));
        *pages.word_mut(page, start) = head;
    }

    /// Takes records out of the lists of their keys and frees them; `taken` has then what they held. Blobs of their words are the
    /// caller's, long keys are freed by [`Chains::forget`].
    pub fn take(&mut self, pages: &mut Pages, records: &[u32], taken: &mut Taken) {
        taken.stride = self.stride;
        taken.words.clear();
        taken.words.reserve(records.len() * self.stride);
        records.iter().take(2 * AHEAD_ROWS).for_each(|&record| self.prefetch(pages, record));
        for (at, &record) in records.iter().enumerate() {
            if let Some(&later) = records.get(at + 2 * AHEAD_ROWS) {
                self.prefetch(pages, later);
            }
            if let Some(&later) = records.get(at + AHEAD_ROWS) {
                self.prefetch_entry(pages, later);
            }
            let (page, start) = self.place(record);
            let words = &pages.get(page)[start..start + self.stride];
            taken.words.extend_from_slice(words);
            let head = words[0];
            self.unlink_at(pages, record, head);
        }
        self.free.extend(pages, records);
    }

    /// The key of a record that was taken.
    #[inline]
    pub fn taken_key<'a>(&self, pages: &'a Pages, taken: &'a Taken, at: usize) -> &'a [u8] {
        self.key_in(pages, &taken.words[at * self.stride..])
    }

    /// Frees the long keys of records that were taken.
    pub fn forget(&mut self, pages: &mut Pages, taken: &Taken) {
        for words in taken.words.chunks_exact(self.stride) {
            if words[KEY_WORDS] >> 56 == u64::from(LONG) {
                self.heap.remove(pages, words[1]);
            }
        }
    }

    /// Frees a record that has been unlinked. The caller frees blobs of its words first.
    pub fn release_record(&mut self, pages: &mut Pages, record: u32) {
        if self.is_long(pages, record) {
            let [_, blob, ..] = self.head(pages, record);
            self.heap.remove(pages, blob);
        }
        self.free.push(pages, record);
    }

    /// The next older record of the same key.
    #[inline]
    pub fn next(&self, pages: &Pages, record: u32) -> Option<u32> {
        (self.head(pages, record)[0] as u32).checked_sub(1)
    }

    /// The key of a record.
    #[inline]
    pub fn key<'a>(&self, pages: &'a Pages, record: u32) -> &'a [u8] {
        let (page, start) = self.place(record);
        self.key_in(pages, &pages.get(page)[start..])
    }

    #[inline]
    fn key_in<'a>(&self, pages: &'a Pages, words: &'a [u64]) -> &'a [u8] {
        let bytes: &[u8] = bytemuck::cast_slice(&words[1..HEADER_WORDS]);
        match bytes[SHORT_BYTES_MAX] {
            LONG => self.heap.get(pages, words[1]),
            length => &bytes[..usize::from(length)],
        }
    }

    /// Has memory fetched that looking for the keys of the next rows will read; to be called with every `row` in turn.
    #[inline]
    pub fn look_ahead(&self, pages: &Pages, hashes: &[u64], row: usize) {
        if self.index.count() < LARGE {
            return;
        }
        if let Some(&hash) = hashes.get(row + 2 * AHEAD_ROWS) {
            self.index.prefetch(pages, tag(hash));
        }
        if let Some(&hash) = hashes.get(row + AHEAD_ROWS)
            && let Some(record) = self.index.likely(pages, tag(hash))
        {
            self.prefetch(pages, record);
        }
    }

    /// Has a record fetched into the cache.
    #[inline]
    pub fn prefetch(&self, pages: &Pages, record: u32) {
        let (page, start) = self.place(record);
        prefetch_word(pages, page, start);
        prefetch_word(pages, page, start + self.stride - 1);
    }

    /// Has memory fetched that unlinking a record reads, which itself has been fetched.
    #[inline]
    pub fn prefetch_entry(&self, pages: &Pages, record: u32) {
        let (page, start) = self.place(record);
        if let Some(words) = pages.peek(page) {
            self.index.prefetch(pages, (words[start] >> 32) as u32);
        }
    }

    /// Frees all pages.
    pub fn release(mut self, pages: &mut Pages) {
        self.heap.release(pages);
        self.slot_pages.release(pages);
        self.free.release(pages);
        self.index.release(pages);
    }

    #[inline]
    fn is_long(&self, pages: &Pages, record: u32) -> bool {
        self.head(pages, record)[KEY_WORDS] >> 56 == u64::from(LONG)
    }

    #[inline]
    fn head(&self, pages: &Pages, record: u32) -> [u64; HEADER_WORDS] {
        let (page, start) = self.place(record);
        *pages.get(page)[start..].first_chunk().expect("a record does not straddle pages")
    }

    /// `record / page_records`, by a multiplication.
    #[inline]
    fn page_of(&self, record: u32) -> usize {
        match self.page_records_inverse {
            // One record a page.
            0 => record as usize,
            inverse => ((u128::from(record) * u128::from(inverse)) >> 64) as usize,
        }
    }

    #[inline]
    fn place(&self, record: u32) -> (PageId, usize) {
        let index = self.page_of(record);
        let within = record as usize - index * self.page_records as usize;
        (self.slot_pages.page(index), within * self.stride)
    }
}

impl WordSlots for Chains {
    #[inline]
    fn words<'a>(&self, pages: &'a Pages, record: u32) -> &'a [u64] {
        let (page, start) = self.place(record);
        &pages.get(page)[start + HEADER_WORDS..start + self.stride]
    }

    #[inline]
    fn words_mut<'a>(&self, pages: &'a mut Pages, record: u32) -> &'a mut [u64] {
        let (page, start) = self.place(record);
        pages.words_mut(page, start + HEADER_WORDS, self.stride - HEADER_WORDS)
    }

    #[inline]
    fn part_mut<'a, const WORDS: usize>(
        &self,
        pages: &'a mut Pages,
        record: u32,
        offset: usize,
    ) -> &'a mut [u64; WORDS] {
        assert!(HEADER_WORDS + offset + WORDS <= self.stride);
        let (page, start) = self.place(record);
        let words = pages.words_mut(page, start + HEADER_WORDS + offset, WORDS);
        words.first_chunk_mut().expect("as many as were asked for")
    }

    fn heap(&self) -> &Heap {
        &self.heap
    }

    fn heap_mut(&mut self) -> &mut Heap {
        &mut self.heap
    }
}

/// A key as it lies in its record, if it is short enough.
#[inline]
fn short_key(key: &[u8]) -> Option<[u64; KEY_WORDS]> {
    let length = key.len();
    let word = |at: usize| {
        let rest = key.get(at..).unwrap_or_default();
        match (rest.first_chunk::<8>(), key.last_chunk::<8>()) {
            (Some(bytes), _) => u64::from_le_bytes(*bytes),
            // Its last bytes, with one load where more lie before them.
            (None, Some(last)) if !rest.is_empty() => {
                u64::from_le_bytes(*last) >> (64 - 8 * rest.len())
            }
            _ => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        }
    };
    (length <= SHORT_BYTES_MAX).then(|| [word(0), word(8), word(16) | (length as u64) << 56])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::hash::hash_bytes;

    /// A key of its own, of a length of its own.
    fn key_of(number: u32) -> Vec<u8> {
        (0..number % 41).map(|at| (number / 41 + at * 7) as u8).collect()
    }

    /// All hashes alike, a few alike, or as they are.
    fn hash_of(key: &[u8], spread: u8) -> u64 {
        match spread {
            0 => 5,
            1 => hash_bytes(key) & 7,
            _ => hash_bytes(key),
        }
    }

    proptest! {
        /// Against a map of vectors: what is added, unlinked and released later, saved and loaded.
        #[test]
        fn chains_are_lists_by_key(
            spread in 0..3u8,
            steps in prop::collection::vec((0..8u8, 0..200u32, 0..4usize), 1..1500),
        ) {
            let (mut pages, mut chains) = (Pages::default(), Chains::new(3));
            let mut twin: BTreeMap<Vec<u8>, Vec<(u32, u64)>> = BTreeMap::new();
            let mut unlinked = Vec::new();
            for (step, (operation, number, at)) in steps.into_iter().enumerate() {
                let key = key_of(number);
                let seat = chains.seek(&mut pages, hash_of(&key, spread), &key);
                let held = twin.entry(key.clone()).or_default();
                prop_assert_eq!(seat.newest(), held.last().map(|&(record, _)| record));
                match operation {
                    0..=3 => {
                        let value = step as u64;
                        let record = chains.add(&mut pages, &seat, &key, &[value, !value]);
                        held.push((record, value));
                    }
                    4 if !held.is_empty() => {
                        let records: Vec<(u32, u64)> = held.drain(at % held.len()..).collect();
                        let numbers: Vec<u32> = records.iter().map(|&(record, _)| record).collect();
                        let mut taken = Taken::default();
                        chains.take(&mut pages, &numbers, &mut taken);
                        for (at, (_, value)) in records.into_iter().enumerate() {
                            prop_assert_eq!(chains.taken_key(&pages, &taken, at), &key[..]);
                            prop_assert_eq!(taken.words(at), &[value, !value, 0]);
                        }
                        chains.forget(&mut pages, &taken);
                    }
                    5..=6 if !held.is_empty() => {
                        let (record, _) = held.remove(at % held.len());
                        chains.unlink(&mut pages, record);
                        unlinked.push(record);
                    }
                    _ => {
                        unlinked.drain(..).for_each(|record| chains.release_record(&mut pages, record));
                        let mut saved = Vec::new();
                        chains.save(&mut saved);
                        chains = Chains::load(3, &mut Saved::new(&saved), &pages);
                    }
                }
                twin.retain(|_, records| !records.is_empty());
                prop_assert_eq!(chains.key_count(), twin.len());
            }
            for (key, records) in &twin {
                let mut at = chains.seek(&mut pages, hash_of(key, spread), key).newest();
                for &(record, value) in records.iter().rev() {
                    prop_assert_eq!(at, Some(record));
                    prop_assert_eq!(chains.key(&pages, record), &key[..]);
                    prop_assert_eq!(chains.words(&pages, record), &[value, !value, 0]);
                    at = chains.next(&pages, record);
                }
                prop_assert_eq!(at, None);
            }
            prop_assert_eq!(chains.newest_records(&pages).len(), twin.len());
            chains.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }

    #[test]
    fn a_key_is_what_was_put_at_every_length() {
        let (mut pages, mut chains) = (Pages::default(), Chains::new(1));
        for length in 0..60usize {
            let key: Vec<u8> = (0..length).map(|at| (at * 37 + length) as u8).collect();
            let seat = chains.seek(&mut pages, hash_bytes(&key), &key);
            assert_eq!(seat.newest(), None);
            let record = chains.add(&mut pages, &seat, &key, &[]);
            assert_eq!(chains.key(&pages, record), key);
            assert_eq!(chains.seek(&mut pages, hash_bytes(&key), &key).newest(), Some(record));
            let zero_behind = [&key[..], &[0]].concat();
            let other = chains.seek(&mut pages, hash_bytes(&key), &zero_behind);
            assert_eq!(other.newest(), None, "{length}");
        }
    }

    #[test]
    fn a_multiplication_divides() {
        for words in 0..=PAGE_WORDS - HEADER_WORDS {
            let chains = Chains::new(words);
            let count = chains.page_records;
            for page in [0, 1, 2, 1000, u32::MAX / count - 1] {
                let first = page * count;
                for record in [first, first + 1, first + count - 1, first + count] {
                    assert_eq!(chains.page_of(record), (record / count) as usize, "{words}");
                }
            }
        }
    }

    #[test]
    fn records_are_used_again() {
        let (mut pages, mut chains) = (Pages::default(), Chains::new(2));
        for round in 0..5u64 {
            let records: Vec<u32> = (0..20_000u64)
                .map(|number| {
                    let key = (number * 5 + round).to_le_bytes();
                    let seat = chains.seek(&mut pages, hash_bytes(&key), &key);
                    chains.add(&mut pages, &seat, &key, &[number])
                })
                .collect();
            for record in records {
                chains.unlink(&mut pages, record);
                chains.release_record(&mut pages, record);
            }
        }
        assert_eq!((chains.record_end(), chains.key_count()), (20_000, 0));
    }
}
