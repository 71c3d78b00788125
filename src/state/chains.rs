//! Records by key, several a key, that come up at a time: sessions.
//!
//! Records are slots of fixed width on [`Shelves`], by time. The index knows the newest of a key, which leads to the older ones. A short key
//! lies in the record itself, so that what comes and goes with its only record touches an entry of the index and the record.
//!
//! # A record
//!
//! ```text
//! tag u32 │ next older record of the key + 2 u32, 1 for none; 0: nothing is here
//! key, 24 bytes:   bytes, padded with zeros to 23 │ length u8
//!                  or, of a long key: heap reference │ 0 … │ 255 u8
//! words …
//! ```
//!
//! # Invariants
//!
//! 1. All records of a key have its tag, the low bits of its hash. They form one list, which begins in the index.
//! 2. A record has a slot until its shelf is given back, and its number changes when it moves to another shelf.

use super::WordSlots;
use super::heap::Heap;
use super::index::{Index, tag};
use super::pages::{PageId, Pages};
use super::prefetch::{prefetch_range, prefetch_words};
use super::saved::Saved;
use super::shelves::Shelves;
use crate::batch::hash::equal_bytes;

mod key_words;
mod taken;

use self::key_words::{KEY_WORDS, LONG, SHORT_BYTES_MAX, is_long};
pub use self::key_words::{KeyWords, key_words, words_of};
pub use self::taken::Taken;

/// Words of a record before its own.
const HEADER_WORDS: usize = 1 + KEY_WORDS;
/// With fewer keys all is in the cache as it is.
const LARGE: u32 = 1 << 12;
/// How many rows lie between the steps of looking ahead.
const AHEAD_ROWS: usize = 8;

/// Records by key.
#[derive(Debug)]
pub struct Chains {
    stride: usize,
    shelves: Shelves,
    index: Index,
    heap: Heap,
}

/// A key that has been looked for.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    tag: u32,
    bucket: usize,
    newest: Option<u32>,
    key: KeyWords,
}

impl Seat {
    /// The key's newest record.
    #[inline]
    pub fn newest(&self) -> Option<u32> {
        self.newest
    }
}

impl Chains {
    /// No records. Each will have `word_count` words, and those that come up within about `shelf_ms` lie together.
    ///
    /// # Panics
    ///
    /// If a record is larger than a page: the planner refuses so many aggregates.
    pub fn new(word_count: usize, shelf_ms: i64) -> Self {
        let stride = word_count + HEADER_WORDS;
        Self {
            stride,
            shelves: Shelves::new(stride, shelf_ms),
            index: Index::default().sparse(),
            heap: Heap::default(),
        }
    }

    /// The records that were saved, with the same `word_count` and `shelf_ms`.
    pub fn load(word_count: usize, shelf_ms: i64, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let stride = word_count + HEADER_WORDS;
        Self {
            stride,
            shelves: Shelves::load(stride, shelf_ms, saved, pages),
            index: Index::load(saved, pages).sparse(),
            heap: Heap::load(saved, pages),
        }
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.shelves.save(out);
        self.index.save(out);
        self.heap.save(out);
    }

    /// How many keys have records.
    pub fn key_count(&self) -> usize {
        self.index.count() as usize
    }

    /// The newest record of every key, in no order.
    pub fn newest_records(&self, pages: &Pages) -> Vec<u32> {
        self.index.slots(pages)
    }

    /// Sees to it that so many keys more can be looked for.
    #[inline]
    pub fn make_places(&mut self, pages: &mut Pages, count: usize) {
        self.index.make_places(pages, count);
    }

    /// Looks for a key whose words are `key`; `bytes` has it, if it is long. There has been a call of [`Chains::make_places`]. What is
    /// found holds until a record is added to another key, or the last of any key goes.
    // Apart from its caller it would hand over words through memory that are read back before they are written.
    #[inline(always)]
    pub fn seek<'k>(
        &self,
        pages: &Pages,
        hash: u64,
        key: KeyWords,
        bytes: impl Fn() -> &'k [u8],
    ) -> Seat {
        let tag = tag(hash);
        let (bucket, newest) = self.index.find(pages, tag, |record| {
            let (page, start) = self.place(record);
            let held = &pages.get(page)[start + 1..start + HEADER_WORDS];
            match is_long(&key) {
                // Word by word: as arrays they would be compared through memory.
                false => held[0] == key[0] && held[1] == key[1] && held[2] == key[2],
                true => is_long(held) && equal_bytes(self.heap.get(pages, held[0]), bytes()),
            }
        });
        Seat { tag, bucket, newest, key }
    }

    /// A record that comes up at `time_ms`, in front of those of the key at `seat`. Its first words are `first`, the others 0.
    #[inline(always)]
    pub fn add<'k, const WORDS: usize>(
        &mut self,
        pages: &mut Pages,
        seat: &Seat,
        bytes: impl Fn() -> &'k [u8],
        time_ms: i64,
        first: &[u64; WORDS],
    ) -> u32 {
        let record = self.shelves.put(pages, time_ms);
        let mut key = seat.key;
        if is_long(&key) {
            key[0] = self.heap.insert(pages, bytes());
        }
        let (page, start) = self.place(record);
        let words = pages.words_mut(page, start, self.stride);
        let (header, rest) = words.split_at_mut(HEADER_WORDS);
        header[0] = head(seat.tag, seat.newest);
        header[1..].copy_from_slice(&key);
        rest[..WORDS].copy_from_slice(first);
        match seat.newest {
            None => self.index.insert(pages, seat.bucket, seat.tag, record),
            Some(_) => self.index.replace(pages, seat.bucket, seat.tag, record),
        }
        record
    }

    /// Has a record, which is in the list of its key, come up at another time; its number then.
    pub fn move_record(&mut self, pages: &mut Pages, record: u32, time_ms: i64) -> u32 {
        let to = self.shelves.put(pages, time_ms);
        let [head, ..] = self.head(pages, record);
        self.link(pages, record, head, Some(to));
        let (page, start) = self.place(record);
        let words = pages.get(page)[start..start + self.stride].to_vec();
        let (page, start) = self.place(to);
        pages.words_mut(page, start, self.stride).copy_from_slice(&words);
        self.shelves.give_up(pages, record);
        to
    }

    /// The shelf of a time.
    #[inline]
    pub fn shelf_of(&self, time_ms: i64) -> i64 {
        self.shelves.shelf_of(time_ms)
    }

    /// The first shelf from `first` to that of `last_ms` that has records.
    pub fn next_shelf(&self, first: i64, last_ms: i64) -> Option<i64> {
        self.shelves.next_shelf(first, self.shelf_of(last_ms))
    }

    /// When the last shelf began that has begun by `time_ms`: all shelves before it have come up whole.
    #[inline]
    pub fn shelf_start(&self, time_ms: i64) -> i64 {
        self.shelves.start_ms(self.shelf_of(time_ms))
    }

    /// The runs of a shelf in the order in which their records came to it.
    pub fn runs(&self, pages: &Pages, shelf: i64, runs: &mut Vec<(u32, u32)>) {
        self.shelves.runs(pages, shelf, runs);
    }

    /// The records of a run, and the words of each.
    #[inline]
    pub fn run<'a>(
        &self,
        pages: &'a Pages,
        run: (u32, u32),
    ) -> impl Iterator<Item = (u32, &'a [u64])> {
        let slots = (run.0..).zip(self.shelves.run(pages, run));
        slots.filter(|(_, slot)| slot[0] != 0).map(|(record, slot)| (record, &slot[HEADER_WORDS..]))
    }

    /// Gives back a shelf whose records have all gone.
    pub fn clear_shelf(&mut self, pages: &mut Pages, shelf: i64) {
        self.shelves.clear(pages, shelf);
    }

    /// Leaves gaps where records were that have been taken, on a shelf that stays.
    pub fn give_up(&mut self, pages: &mut Pages, records: &[u32]) {
        records.iter().for_each(|&record| self.shelves.give_up(pages, record));
    }

    /// Takes a record out of the list of its key. It keeps its words until it is released.
    #[inline]
    pub fn unlink(&mut self, pages: &mut Pages, record: u32) {
        let [head, ..] = self.head(pages, record);
        self.link(pages, record, head, older(head));
    }

    /// What led to a record whose first word is `head` leads to `to`.
    #[inline]
    fn link(&mut self, pages: &mut Pages, record: u32, head: u64, to: Option<u32>) {
        let tag = (head >> 32) as u32;
        let is_newest = match to {
            None => self.index.remove_slot(pages, tag, record),
            Some(to) => self.index.replace_slot(pages, tag, record, to),
        };
        if !is_newest {
            self.link_older(pages, record, tag, to);
        }
    }

    /// The same for a record that is not the newest of its key.
    #[cold]
    fn link_older(&mut self, pages: &mut Pages, record: u32, tag: u32, to: Option<u32>) {
        let mut newer = None;
        let holds = |newest| {
            let mut records = std::iter::successors(Some(newest), |&at| self.next(pages, at));
            newer = records.find(|&at| self.next(pages, at) == Some(record));
            newer.is_some()
        };
        self.index.find(pages, tag, holds);
        let (page, start) = self.place(newer.expect("a record is in the list of its key"));
        *pages.word_mut(page, start) = head(tag, to);
    }

    /// Takes records out of the lists of their keys; `taken` has then what they held. Blobs of their words are the caller's, long keys are
    /// freed by [`Chains::forget`], and their slots with their shelves.
    pub fn take(&mut self, pages: &mut Pages, records: &[u32], taken: &mut Taken) {
        taken.stride = self.stride;
        taken.words.clear();
        taken.words.reserve(records.len() * self.stride);
        for (at, &record) in records.iter().enumerate() {
            if let Some(&later) = records.get(at + 2 * AHEAD_ROWS) {
                self.prefetch_entry(pages, later);
            }
            let (page, start) = self.place(record);
            let words = &pages.get(page)[start..start + self.stride];
            taken.words.extend_from_slice(words);
            let head = words[0];
            self.link(pages, record, head, older(head));
        }
    }

    /// The key of a record that was taken.
    #[inline]
    pub fn taken_key<'a>(&self, pages: &'a Pages, taken: &'a Taken, at: usize) -> &'a [u8] {
        self.key_in(pages, &taken.words[at * self.stride..])
    }

    /// Frees the long keys of records that were taken.
    pub fn forget(&mut self, pages: &mut Pages, taken: &Taken) {
        for words in taken.words.chunks_exact(self.stride) {
            if is_long(&words[1..HEADER_WORDS]) {
                self.heap.remove(pages, words[1]);
            }
        }
    }

    /// Frees a record that has been unlinked, and leaves a gap. The caller frees blobs of its words first.
    pub fn release_record(&mut self, pages: &mut Pages, record: u32) {
        let [_, key @ ..] = self.head(pages, record);
        if is_long(&key) {
            self.heap.remove(pages, key[0]);
        }
        self.shelves.give_up(pages, record);
    }

    /// The next older record of the same key.
    #[inline]
    pub fn next(&self, pages: &Pages, record: u32) -> Option<u32> {
        older(self.head(pages, record)[0])
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
        prefetch_words(pages, page, [start, start + self.stride - 1]);
    }

    /// Has the records of a run fetched into the cache.
    #[inline]
    pub fn prefetch_run(&self, pages: &Pages, (first, count): (u32, u32)) {
        let (page, start) = self.place(first);
        prefetch_range(pages, page, start..start + count as usize * self.stride);
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
        self.shelves.release(pages);
        self.index.release(pages);
    }

    #[inline]
    fn head(&self, pages: &Pages, record: u32) -> [u64; HEADER_WORDS] {
        let (page, start) = self.place(record);
        *pages.get(page)[start..].first_chunk().expect("a record does not straddle pages")
    }

    #[inline(always)]
    fn place(&self, record: u32) -> (PageId, usize) {
        self.shelves.place(record)
    }
}

impl WordSlots for Chains {
    #[inline]
    fn words<'a>(&self, pages: &'a Pages, record: u32) -> &'a [u64] {
        let (page, start) = self.place(record);
        &pages.get(page)[start + HEADER_WORDS..start + self.stride]
    }

    #[inline(always)]
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

/// The first word of a record.
#[inline]
fn head(tag: u32, older: Option<u32>) -> u64 {
    u64::from(tag) << 32 | older.map_or(1, |older| u64::from(older) + 2)
}

/// The next older record of the key of one whose first word is `head`.
#[inline]
fn older(head: u64) -> Option<u32> {
    (head as u32).checked_sub(2)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::hash::hash_bytes;

    /// A key of its own, of a length of its own.
    fn key_of(number: u32) -> Vec<u8> {
        (0..number % 41).map(|at| ((number / 41) * at + at * 7) as u8).collect()
    }

    /// All hashes alike, a few alike, or as they are.
    fn hash_of(key: &[u8], spread: u8) -> u64 {
        match spread {
            0 => 5,
            1 => hash_bytes(key) & 7,
            _ => hash_bytes(key),
        }
    }

    fn seek(chains: &mut Chains, pages: &mut Pages, hash: u64, key: &[u8]) -> Seat {
        chains.make_places(pages, 1);
        chains.seek(pages, hash, words_of(key), || key)
    }

    /// A key as it comes out of words; `None`: these keys cannot be packed.
    fn packed_key(taken: &Taken, at: usize) -> Option<Vec<u8>> {
        let (packing, words) = taken.packed_keys()?;
        let mut bytes = Vec::new();
        packing.unpack(words.chunks_exact(packing.words()).nth(at)?, &mut bytes);
        Some(bytes)
    }

    proptest! {
        /// Against a map of vectors: what is added, unlinked and released later, saved and loaded.
        #[test]
        fn chains_are_lists_by_key(
            spread in 0..3u8,
            steps in prop::collection::vec((0..9u8, 0..200u32, 0..4usize), 1..1500),
        ) {
            let (mut pages, mut chains) = (Pages::default(), Chains::new(3, 8));
            let mut twin: BTreeMap<Vec<u8>, Vec<(u32, u64)>> = BTreeMap::new();
            let mut unlinked = Vec::new();
            for (step, (operation, number, at)) in steps.into_iter().enumerate() {
                let key = key_of(number);
                let seat = seek(&mut chains, &mut pages, hash_of(&key, spread), &key);
                let held = twin.entry(key.clone()).or_default();
                prop_assert_eq!(seat.newest(), held.last().map(|&(record, _)| record));
                match operation {
                    0..=3 => {
                        let value = step as u64;
                        let record = chains.add(&mut pages, &seat, || &key, step as i64 / 50, &[value, !value]);
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
                            prop_assert!(packed_key(&taken, at).is_none_or(|packed| packed == key));
                        }
                        chains.forget(&mut pages, &taken);
                        chains.give_up(&mut pages, &numbers);
                    }
                    5..=6 if !held.is_empty() => {
                        let (record, _) = held.remove(at % held.len());
                        chains.unlink(&mut pages, record);
                        unlinked.push(record);
                    }
                    7 if !held.is_empty() => {
                        let at = at % held.len();
                        held[at].0 = chains.move_record(&mut pages, held[at].0, step as i64 / 10);
                    }
                    _ => {
                        unlinked.drain(..).for_each(|record| chains.release_record(&mut pages, record));
                        let mut saved = Vec::new();
                        chains.save(&mut saved);
                        chains = Chains::load(3, 8, &mut Saved::new(&saved), &pages);
                    }
                }
                twin.retain(|_, records| !records.is_empty());
                prop_assert_eq!(chains.key_count(), twin.len());
            }
            for (key, records) in &twin {
                let mut at = seek(&mut chains, &mut pages, hash_of(key, spread), key).newest();
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
        let (mut pages, mut chains) = (Pages::default(), Chains::new(1, 1));
        for length in 0..60usize {
            let key: Vec<u8> = (0..length).map(|at| (at * 37 + length) as u8).collect();
            let seat = seek(&mut chains, &mut pages, hash_bytes(&key), &key);
            assert_eq!(seat.newest(), None);
            let record = chains.add(&mut pages, &seat, || &key, 0, &[]);
            assert_eq!(chains.key(&pages, record), key);
            let again = seek(&mut chains, &mut pages, hash_bytes(&key), &key);
            assert_eq!(again.newest(), Some(record));
            let zero_behind = [&key[..], &[0]].concat();
            let other = seek(&mut chains, &mut pages, hash_bytes(&key), &zero_behind);
            assert_eq!(other.newest(), None, "{length}");
        }
    }

    #[test]
    fn records_are_used_again() {
        let (mut pages, mut chains) = (Pages::default(), Chains::new(2, 1));
        for round in 0..5u64 {
            let records: Vec<u32> = (0..20_000u64)
                .map(|number| {
                    let key = (number * 5 + round).to_le_bytes();
                    let seat = seek(&mut chains, &mut pages, hash_bytes(&key), &key);
                    chains.add(&mut pages, &seat, || &key[..], 7, &[number])
                })
                .collect();
            let mut runs = Vec::new();
            chains.runs(&pages, 7, &mut runs);
            let on_shelf = runs.iter().flat_map(|&run| chains.run(&pages, run));
            assert!(on_shelf.map(|(record, _)| record).eq(records.iter().copied()));
            chains.take(&mut pages, &records, &mut Taken::default());
            chains.clear_shelf(&mut pages, 7);
            assert_eq!(chains.next_shelf(i64::MIN, i64::MAX), None);
        }
        assert!(chains.shelves.slot_count() < 20_000 + 100);
        assert_eq!(chains.key_count(), 0);
    }
}
