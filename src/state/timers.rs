//! Numbers that come up at a time: records by the time at which they may be over.
//!
//! Time is cut into buckets, each a list of its numbers in the order in which they were put. So putting one is storing a word, and what
//! is due is read in order, a block at a time; nothing is kept sorted.
//!
//! # Layout
//!
//! ```text
//! table:  bucket i64 ─▶ last block
//! block:  block before it, 0 for none │ timers …           7, 15, 31 … 1023 words: each block of a bucket twice the last one
//! timer:  number + 1 u32 │ time within the bucket u32      0: none yet
//! ```
//!
//! # Invariants
//!
//! 1. A bucket is in the table exactly when it has a timer, and `by_number` has the same buckets.
//! 2. Only a bucket's last block has room.

use std::collections::BTreeMap;

use super::heap::Heap;
use super::pages::{PageId, Pages};
use super::saved::Saved;
use super::table::Table;
use crate::batch::hash::hash_bytes;

/// Words of the smallest and of the largest block.
const BLOCK_WORDS_MIN: usize = 7;
const BLOCK_WORDS_MAX: usize = 1023;
/// A bucket's times must fit half a word.
const SHIFT_MAX: u32 = 31;
/// How many buckets are found without a search.
const RECENT: usize = 1024;

/// Timers, in pages.
#[derive(Debug)]
pub struct Timers {
    /// A bucket is 2^`shift` milliseconds.
    shift: u32,
    table: Table,
    by_number: BTreeMap<i64, u32>,
    /// By place; some are free.
    buckets: Vec<Bucket>,
    free: Vec<u32>,
    /// By the low bits of a bucket's number: the place where it was last.
    recent: [u32; RECENT],
}

/// Where the next timer goes.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    number: i64,
    /// Its slot in the table.
    slot: u32,
    /// The page of its last block, and the words of it that have no timers yet.
    page: PageId,
    next: usize,
    end: usize,
}

impl Timers {
    /// No timers. Their buckets are about `bucket_ms` wide.
    pub fn new(bucket_ms: i64) -> Self {
        Self {
            shift: bucket_ms.max(1).ilog2().min(SHIFT_MAX),
            table: Table::new(1),
            by_number: BTreeMap::new(),
            buckets: Vec::new(),
            free: Vec::new(),
            recent: [0; RECENT],
        }
    }

    /// The timers that were saved, with the same `bucket_ms`.
    pub fn load(bucket_ms: i64, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut timers = Self::new(bucket_ms);
        timers.table = Table::load(1, saved, pages);
        for slot in timers.table.live_slots(pages) {
            let number = timers.table.key(pages, slot).try_into().expect("eight bytes");
            let last = timers.table.words(pages, slot)[0];
            let (page, first, count) = Heap::words_at(pages, last);
            let words = &pages.get(page)[first..first + count];
            let used = 1 + words[1..].partition_point(|&timer| timer != 0);
            let number = i64::from_le_bytes(number);
            timers.note(Bucket { number, slot, page, next: first + used, end: first + count });
        }
        timers
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.table.save(out);
    }

    /// Has `number`, less than 2^32 - 1, come up at `time_ms`.
    #[inline]
    pub fn put(&mut self, pages: &mut Pages, time_ms: i64, number: u32) {
        let bucket = time_ms >> self.shift;
        let within = (time_ms - (bucket << self.shift)) as u64;
        let mut place = self.recent[bucket as usize % RECENT] as usize;
        if self.buckets.get(place).is_none_or(|at| at.number != bucket || at.next == at.end) {
            place = self.place_of(pages, bucket);
        }
        let at = &mut self.buckets[place];
        *pages.word_mut(at.page, at.next) = within << 32 | u64::from(number + 1);
        at.next += 1;
    }

    /// When the last bucket began that has begun by `time_ms`: all buckets before it can be taken whole.
    #[inline]
    pub fn bucket_start(&self, time_ms: i64) -> i64 {
        time_ms >> self.shift << self.shift
    }

    /// Takes all timers up to `last_ms`, in the order of their buckets and within one in that in which they were put.
    pub fn take(&mut self, pages: &mut Pages, last_ms: i64, due: &mut Vec<(i64, u32)>) {
        let last = last_ms >> self.shift;
        while let Some((&number, &place)) = self.by_number.first_key_value()
            && number <= last
        {
            let before = due.len();
            self.take_bucket(pages, place, due);
            if number < last {
                continue;
            }
            let taken = due.split_off(before);
            for (time_ms, number) in taken {
                match time_ms <= last_ms {
                    true => due.push((time_ms, number)),
                    false => self.put(pages, time_ms, number),
                }
            }
            break;
        }
    }

    /// All timers of a bucket, which is gone then.
    fn take_bucket(&mut self, pages: &mut Pages, place: u32, due: &mut Vec<(i64, u32)>) {
        let Bucket { number, slot, next, .. } = self.buckets[place as usize];
        let mut blocks = vec![self.table.words(pages, slot)[0]];
        let mut word_count = 0;
        loop {
            let (page, first, count) = Heap::words_at(pages, blocks[blocks.len() - 1]);
            word_count += count;
            match pages.get(page)[first] {
                0 => break,
                before => blocks.push(before),
            }
        }
        due.reserve(word_count);
        for (above, &block) in blocks.iter().enumerate().rev() {
            let (page, first, count) = Heap::words_at(pages, block);
            let end = if above == 0 { next } else { first + count };
            let timers = &pages.get(page)[first + 1..end];
            let start_ms = number << self.shift;
            due.extend(
                timers.iter().map(|&timer| (start_ms + (timer >> 32) as i64, timer as u32 - 1)),
            );
            self.table.heap_mut().remove(pages, block);
        }
        self.table.remove(pages, slot);
        self.by_number.remove(&number);
        // No timer is put there any more, for there is no room.
        self.buckets[place as usize].end = next;
        self.free.push(place);
    }

    /// The place of a bucket that has room, made if need be.
    #[cold]
    #[inline(never)]
    fn place_of(&mut self, pages: &mut Pages, number: i64) -> usize {
        let place = match self.by_number.get(&number) {
            Some(&place) => place,
            None => {
                let key = number.to_le_bytes();
                let (slot, _) = self.table.upsert(pages, hash_bytes(&key), &key);
                self.note(Bucket { number, slot, page: 0, next: 0, end: 0 })
            }
        };
        self.recent[number as usize % RECENT] = place;
        let at = self.buckets[place as usize];
        if at.next == at.end {
            self.add_block(pages, place as usize);
        }
        place as usize
    }

    fn note(&mut self, bucket: Bucket) -> u32 {
        let place = self.free.pop().unwrap_or(self.buckets.len() as u32);
        match self.buckets.get_mut(place as usize) {
            Some(free) => *free = bucket,
            None => self.buckets.push(bucket),
        }
        self.by_number.insert(bucket.number, place);
        place
    }

    fn add_block(&mut self, pages: &mut Pages, place: usize) {
        let slot = self.buckets[place].slot;
        let before = self.table.words(pages, slot)[0];
        let count = match before {
            0 => BLOCK_WORDS_MIN,
            before => (Heap::words_at(pages, before).2 * 2 + 1).min(BLOCK_WORDS_MAX),
        };
        let block = self.table.heap_mut().insert(pages, &[0; BLOCK_WORDS_MAX * 8][..count * 8]);
        let (page, first, _) = Heap::words_at(pages, block);
        *pages.word_mut(page, first) = before;
        self.table.words_mut(pages, slot)[0] = block;
        let at = &mut self.buckets[place];
        (at.page, at.next, at.end) = (page, first + 1, first + count);
    }

    /// Frees all pages.
    pub fn release(self, pages: &mut Pages) {
        self.table.release(pages);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain vector, with timers near and far, and what was saved loaded again.
        #[test]
        fn timers_come_up_in_time(
            bucket_ms in 1..5000i64,
            steps in prop::collection::vec((prop::collection::vec(-20_000..40_000i64, 0..900), -20_000..40_000i64), 1..12),
        ) {
            let (mut pages, mut timers) = (Pages::default(), Timers::new(bucket_ms));
            let mut twin: Vec<(i64, u32)> = Vec::new();
            let mut next = 0;
            for (times, last_ms) in steps {
                for (index, time_ms) in times.into_iter().enumerate() {
                    let time_ms = if index % 50 == 7 { i64::MAX - time_ms.abs() } else { time_ms };
                    timers.put(&mut pages, time_ms, next);
                    twin.push((time_ms, next));
                    next += 1;
                }
                let mut saved = Vec::new();
                timers.save(&mut saved);
                timers = Timers::load(bucket_ms, &mut Saved::new(&saved), &pages);
                let mut due = Vec::new();
                timers.take(&mut pages, last_ms, &mut due);
                let bucket = |time_ms: i64| time_ms >> bucket_ms.ilog2();
                prop_assert!(due.is_sorted_by_key(|&(time_ms, _)| bucket(time_ms)));
                due.sort_unstable();
                let mut expected: Vec<(i64, u32)> =
                    twin.extract_if(.., |&mut (time_ms, _)| time_ms <= last_ms).collect();
                expected.sort_unstable();
                prop_assert_eq!(due, expected);
            }
            let mut due = Vec::new();
            timers.take(&mut pages, i64::MAX, &mut due);
            prop_assert_eq!(due.len(), twin.len());
            timers.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }

    #[test]
    fn timers_of_a_bucket_come_up_in_the_order_in_which_they_were_put() {
        let (mut pages, mut timers) = (Pages::default(), Timers::new(1 << 20));
        let numbers = 0..10_000u32;
        numbers.clone().for_each(|number| timers.put(&mut pages, 5, number));
        let mut due = Vec::new();
        timers.take(&mut pages, 4, &mut due);
        assert!(due.is_empty());
        timers.take(&mut pages, 5, &mut due);
        assert!(due.into_iter().eq(numbers.map(|number| (5, number))));
    }
}
