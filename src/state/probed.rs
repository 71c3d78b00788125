//! An index whose entries hold what is looked up, beside its id: a look-up waits for memory once.
//!
//! Open addressing with linear probing. An entry never ends, so nothing is ever taken out of its place but by growing.
//!
//! # Layout
//!
//! ```text
//! entry:  words of the owner's … │ low half of the last word: id + 1, 0: empty; high half: the owner's
//! ```
//!
//! # Invariants
//!
//! 1. At most 5/8 of the entries are full, and every entry is reachable from its hash's bucket without passing an empty one.
//! 2. An entry never straddles pages: their size is a multiple of its own.

use std::iter::once;

use super::array::Array;
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::prefetch::prefetch_word;
use super::radix::part;
use super::saved::Saved;

/// Words of a part of the index that stays in the second cache while its values are looked up.
const PART_WORDS: usize = 1 << 14;
/// How many such parts are told apart at most.
const PARTS_MAX: usize = 1 << 10;
/// One of so many entries' worth of values at most are sorted at a time.
const SORTED_SHARE: usize = 8;

/// An index of entries of so many words.
#[derive(Debug, Default)]
pub(super) struct Probed<const WORDS: usize> {
    pages: Array,
    /// One less than how many entries there is room for; 0 before the first.
    mask: usize,
    count: u32,
}

impl<const WORDS: usize> Probed<WORDS> {
    /// Entries in a page.
    const PAGE_ENTRIES: usize = {
        assert!(PAGE_WORDS.is_multiple_of(WORDS));
        PAGE_WORDS / WORDS
    };

    /// The index that was saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let array = Array::load(saved, pages);
        let mask = (array.len() * Self::PAGE_ENTRIES).saturating_sub(1);
        Self { pages: array, mask, count: saved.word() as u32 }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.pages.save(out);
        out.push(u64::from(self.count));
    }

    /// How many entries there are.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The first of `items`, which tell their hashes, in the order in which their entries lie, more or less: those that lie near each other come
    /// one after another. They are few beside the entries: as many as there are would fill the first buckets before the last have one, and
    /// every search there would pass them all.
    pub(super) fn first_by_place<T: Copy>(
        &self,
        items: &[T],
        sorted: &mut Vec<T>,
        hash_of: impl Fn(&T) -> u64,
    ) {
        let (entries, part_entries) = (self.mask + 1, PART_WORDS / WORDS);
        let count = (entries / SORTED_SHARE).max(part_entries).min(items.len());
        let first = &items[..count];
        if count <= part_entries {
            sorted.clear();
            return sorted.extend_from_slice(first);
        }
        let part_count = (entries / part_entries).min(PARTS_MAX);
        let shift = (entries / part_count).ilog2();
        let bucket = |item: &T| self.bucket(hash_of(item)) >> shift;
        part(once(first.iter().copied()), sorted, part_count, bucket);
    }

    /// The bucket where the search for a hash begins.
    #[inline]
    fn bucket(&self, hash: u64) -> usize {
        hash as usize & self.mask
    }

    /// The entry in a bucket.
    #[inline]
    pub(super) fn entry<'a>(&self, pages: &'a Pages, bucket: usize) -> &'a [u64; WORDS] {
        let (page, at) = self.place(bucket);
        pages.get(page)[at..].first_chunk().expect("an entry lies in its page")
    }

    /// Has memory fetched that the search for this hash reads first.
    #[inline]
    pub(super) fn prefetch(&self, pages: &Pages, hash: u64) {
        if self.count > 0 {
            let (page, at) = self.place(self.bucket(hash));
            prefetch_word(pages, page, at);
        }
    }

    /// The id of the entry of which `is_it` says so, or the empty bucket where the search ended. There has been a call of
    /// [`Probed::make_place`].
    #[inline]
    pub(super) fn find(
        &self,
        pages: &Pages,
        hash: u64,
        is_it: impl Fn(&[u64; WORDS]) -> bool,
    ) -> Result<u32, usize> {
        let mut bucket = self.bucket(hash);
        loop {
            let entry = self.entry(pages, bucket);
            let id = entry[WORDS - 1] as u32;
            if id == 0 {
                return Err(bucket);
            }
            if is_it(entry) {
                return Ok(id - 1);
            }
            bucket = (bucket + 1) & self.mask;
        }
    }

    /// Fills the empty bucket that [`Probed::find`] has found.
    pub(super) fn insert(&mut self, pages: &mut Pages, bucket: usize, entry: [u64; WORDS]) {
        self.put(pages, bucket, entry);
        self.count += 1;
    }

    /// Sees to it that there is room for one more. Entries tell their hashes, and are told of when they have moved: id and bucket.
    #[inline]
    pub(super) fn make_place(
        &mut self,
        pages: &mut Pages,
        hash_of: impl Fn(&[u64; WORDS]) -> u64,
        moved: impl FnMut(&mut Pages, u32, usize),
    ) {
        if (self.count as usize + 1) * 8 > self.pages.len() * Self::PAGE_ENTRIES * 5 {
            self.grow(pages, hash_of, moved);
        }
    }

    #[cold]
    fn grow(
        &mut self,
        pages: &mut Pages,
        hash_of: impl Fn(&[u64; WORDS]) -> u64,
        mut moved: impl FnMut(&mut Pages, u32, usize),
    ) {
        let mut old = std::mem::take(&mut self.pages);
        let page_count = (old.len() * 2).max(1);
        for _ in 0..page_count {
            self.pages.push(pages);
        }
        self.mask = page_count * Self::PAGE_ENTRIES - 1;
        for page in old.iter() {
            for at in (0..PAGE_WORDS).step_by(WORDS) {
                let entry = *pages.get(page)[at..].first_chunk().expect("an entry in its page");
                let id = entry[WORDS - 1] as u32;
                if id != 0 {
                    let bucket = self
                        .find(pages, hash_of(&entry), |_| false)
                        .expect_err("the search is for an empty bucket");
                    self.put(pages, bucket, entry);
                    moved(pages, id - 1, bucket);
                }
            }
        }
        old.release(pages);
    }

    /// Frees all pages.
    pub(super) fn release(&mut self, pages: &mut Pages) {
        self.pages.release(pages);
    }

    fn put(&self, pages: &mut Pages, bucket: usize, entry: [u64; WORDS]) {
        let (page, at) = self.place(bucket);
        pages.words_mut(page, at, WORDS).copy_from_slice(&entry);
    }

    #[inline]
    fn place(&self, bucket: usize) -> (PageId, usize) {
        (self.pages.page(bucket / Self::PAGE_ENTRIES), bucket % Self::PAGE_ENTRIES * WORDS)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::batch::hash::hash_with;

    /// Many more values than an index has entries, each new: sorted all at once, they passed hundreds of entries each.
    #[test]
    fn searches_stay_short_while_an_index_grows_by_sorted_values() {
        let (mut pages, mut index) = (Pages::default(), Probed::<2>::default());
        let hash_of = |value: &u64| hash_with(0, *value);
        let values: Vec<u64> = (1..400_000).collect();
        let passed_count = Cell::new(0);
        let (mut rest, mut sorted) = (&values[..], Vec::new());
        while !rest.is_empty() {
            index.first_by_place(rest, &mut sorted, hash_of);
            for &value in &sorted {
                index.make_place(&mut pages, |entry| hash_of(&entry[0]), |_, _, _| {});
                let found = index.find(&pages, hash_of(&value), |entry| {
                    passed_count.set(passed_count.get() + 1);
                    entry[0] == value
                });
                let id = u64::from(index.count());
                index.insert(&mut pages, found.expect_err("it is new"), [value, id + 1]);
            }
            rest = &rest[sorted.len()..];
        }
        let passed_count = passed_count.get();
        assert!(passed_count < values.len() * 4, "{passed_count} entries were passed");
        for value in &values {
            let found = index.find(&pages, hash_of(value), |entry| entry[0] == *value);
            assert!(found.is_ok());
        }
        index.release(&mut pages);
    }
}
