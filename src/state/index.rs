//! An index of hashes: in which slot a key lies, apart from the slots, so that a probe reads eight bytes and a miss touches no slot.
//!
//! Open addressing with linear probing. A tag tells its bucket at every size of the index, so growing it touches no slot,
//! however many lie on the disk.
//!
//! # Layout
//!
//! ```text
//! word:  tag u32 (the hash's low bits) │ slot + 1 u32        0: empty
//! ```
//!
//! # Invariants
//!
//! 1. Every slot that is held is reachable from its tag's bucket without passing an empty word.
//! 2. At most `full_eighths` of the words are in use.

use super::array::Array;
use super::pages::{PAGE_WORDS, Pages};
use super::prefetch::prefetch_words;
use super::saved::Saved;

/// Pages of an old index that are fetched ahead while a new one is made.
const FETCHED_PAGES: usize = 64;

/// So full an index may be, in eighths, before it grows.
const FULL_EIGHTHS: usize = 7;
/// The same where slots go as fast as they come: most searches find nothing, and what is removed has others move up.
const SPARSE_EIGHTHS: usize = 4;

/// Where slots lie, by hash.
#[derive(Debug)]
pub(super) struct Index {
    pages: Array,
    mask: usize,
    count: u32,
    full_eighths: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self { pages: Array::default(), mask: 0, count: 0, full_eighths: FULL_EIGHTHS }
    }
}

/// The bits of a hash that the index keeps.
#[inline]
pub(super) fn tag(hash: u64) -> u32 {
    hash as u32
}

#[inline]
fn entry(tag: u32, slot: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(slot + 1)
}

impl Index {
    /// The index that was saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let array = Array::load(saved, pages);
        let mask = (array.len() * PAGE_WORDS).saturating_sub(1);
        Self { pages: array, mask, count: saved.word() as u32, ..Self::default() }
    }

    /// The same, with more room: for slots that come and go.
    pub(super) fn sparse(self) -> Self {
        Self { full_eighths: SPARSE_EIGHTHS, ..self }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.pages.save(out);
        out.push(u64::from(self.count));
    }

    /// How many slots it holds.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// How many pages it has.
    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// All slots, in no order.
    pub(super) fn slots(&self, pages: &Pages) -> Vec<u32> {
        let entries = self.pages.iter().flat_map(|page| pages.get(page));
        entries.filter(|&&entry| entry != 0).map(|&entry| entry as u32 - 1).collect()
    }

    /// Sees to it that there is room for one more.
    #[inline]
    pub(super) fn make_place(&mut self, pages: &mut Pages) {
        self.make_places(pages, 1);
    }

    /// Sees to it that there is room for so many more.
    #[inline]
    pub(super) fn make_places(&mut self, pages: &mut Pages, count: usize) {
        while (self.count as usize + count) * 8 > (self.mask + 1) * self.full_eighths
            || self.pages.len() == 0
        {
            self.grow(pages);
        }
    }

    /// The first slot with this tag of which `is_it` says so, and its bucket; or the empty bucket where the search ended.
    /// There has been a call of [`Index::make_place`].
    // Most searches end at the first word; and what is found should not go through memory.
    #[inline(always)]
    pub(super) fn find(
        &self,
        pages: &Pages,
        tag: u32,
        is_it: impl FnMut(u32) -> bool,
    ) -> (usize, Option<u32>) {
        let bucket = tag as usize & self.mask;
        let word = self.word(pages, bucket);
        if word == 0 {
            return (bucket, None);
        }
        let (bucket, word) = self.find_from(pages, (bucket, word), tag, is_it);
        (bucket, (word as u32).checked_sub(1))
    }

    /// The same from `bucket` on, which has `word`; the word there, which is 0 if nothing was found.
    fn find_from(
        &self,
        pages: &Pages,
        (mut bucket, mut word): (usize, u64),
        tag: u32,
        mut is_it: impl FnMut(u32) -> bool,
    ) -> (usize, u64) {
        let mut words = pages.get(self.pages.page(bucket / PAGE_WORDS));
        while word != 0 && !((word >> 32) as u32 == tag && is_it(word as u32 - 1)) {
            bucket = (bucket + 1) & self.mask;
            if bucket.is_multiple_of(PAGE_WORDS) {
                words = pages.get(self.pages.page(bucket / PAGE_WORDS));
            }
            word = words[bucket % PAGE_WORDS];
        }
        (bucket, word)
    }

    /// Puts a slot into the empty bucket that [`Index::find`] has found.
    #[inline]
    pub(super) fn insert(&mut self, pages: &mut Pages, bucket: usize, tag: u32, slot: u32) {
        self.set_word(pages, bucket, entry(tag, slot));
        self.count += 1;
    }

    /// Puts slot `to` in the place of `slot`, which has the same tag; whether that was there.
    pub(super) fn replace_slot(&mut self, pages: &mut Pages, tag: u32, slot: u32, to: u32) -> bool {
        let (bucket, held) = self.find(pages, tag, |other| other == slot);
        if held.is_some() {
            self.replace(pages, bucket, tag, to);
        }
        held.is_some()
    }

    /// Puts a slot in the place of another one with the same tag.
    #[inline]
    pub(super) fn replace(&mut self, pages: &mut Pages, bucket: usize, tag: u32, slot: u32) {
        self.set_word(pages, bucket, entry(tag, slot));
    }

    /// Removes a slot; whether it was there.
    #[inline]
    pub(super) fn remove_slot(&mut self, pages: &mut Pages, tag: u32, slot: u32) -> bool {
        let (entry, first) = (entry(tag, slot), tag as usize & self.mask);
        let words = pages.get(self.pages.page(first / PAGE_WORDS));
        let mut at = first % PAGE_WORDS;
        while let Some(&word) = words.get(at)
            && word != entry
            && word != 0
        {
            at += 1;
        }
        let bucket = match words.get(at) {
            Some(&word) if word == entry => first - first % PAGE_WORDS + at,
            Some(_) => return false,
            // Its run goes on in the next page.
            None => match self.find(pages, tag, |other| other == slot) {
                (bucket, Some(_)) => bucket,
                (_, None) => return false,
            },
        };
        self.remove(pages, bucket);
        true
    }

    /// Backward-shift deletion: no tombstones, so probes stay short however many slots come and go.
    #[inline]
    pub(super) fn remove(&mut self, pages: &mut Pages, bucket: usize) {
        self.count -= 1;
        let start = bucket - bucket % PAGE_WORDS;
        let mut words = pages.lend(self.pages.page(bucket / PAGE_WORDS));
        let (mut gap, mut next) = (bucket % PAGE_WORDS, bucket % PAGE_WORDS + 1);
        while let Some(word) = words.get(next) {
            if word == 0 {
                return words.set(gap, 0);
            }
            if self.may_move(word, start + next, start + gap) {
                words.set(gap, word);
                gap = next;
            }
            next += 1;
        }
        let gap = self.move_up(pages, start + gap, (start + next) & self.mask);
        self.set_word(pages, gap, 0);
    }

    /// Whether `word` at `bucket` is found as well at `gap` before it.
    #[inline]
    fn may_move(&self, word: u64, bucket: usize, gap: usize) -> bool {
        let home = (word >> 32) as usize;
        bucket.wrapping_sub(home) & self.mask >= bucket.wrapping_sub(gap) & self.mask
    }

    /// Has others move up into `gap`, from `next` on and from page to page; where the gap is then.
    #[cold]
    fn move_up(&mut self, pages: &mut Pages, mut gap: usize, mut next: usize) -> usize {
        loop {
            let word = self.word(pages, next);
            if word == 0 {
                return gap;
            }
            if self.may_move(word, next, gap) {
                self.set_word(pages, gap, word);
                gap = next;
            }
            next = (next + 1) & self.mask;
        }
    }

    /// Has memory fetched that the search for this tag reads first.
    #[inline]
    pub(super) fn prefetch(&self, pages: &Pages, tag: u32) {
        let bucket = tag as usize & self.mask;
        let (page, at) = (self.pages.page(bucket / PAGE_WORDS), bucket % PAGE_WORDS);
        // A search often ends some words further, and a cache line has eight.
        prefetch_words(pages, page, [at, at + 4]);
    }

    /// The slot of the first entry with this tag, if it is where it belongs.
    #[inline]
    pub(super) fn likely(&self, pages: &Pages, tag: u32) -> Option<u32> {
        let bucket = tag as usize & self.mask;
        let words = pages.peek(self.pages.page(bucket / PAGE_WORDS))?;
        let word = words[bucket % PAGE_WORDS];
        if (word >> 32) as u32 != tag {
            return None;
        }
        (word as u32).checked_sub(1)
    }

    /// Forgets all slots, keeping the pages for what comes next.
    pub(super) fn clear(&mut self, pages: &mut Pages) {
        self.pages.iter().for_each(|page| pages.get_mut(page).fill(0));
        self.count = 0;
    }

    /// Frees all pages.
    pub(super) fn release(mut self, pages: &mut Pages) {
        self.pages.release(pages);
    }

    #[inline]
    fn word(&self, pages: &Pages, bucket: usize) -> u64 {
        pages.get(self.pages.page(bucket / PAGE_WORDS))[bucket % PAGE_WORDS]
    }

    #[inline]
    fn set_word(&self, pages: &mut Pages, bucket: usize, word: u64) {
        *pages.word_mut(self.pages.page(bucket / PAGE_WORDS), bucket % PAGE_WORDS) = word;
    }

    #[cold]
    fn grow(&mut self, pages: &mut Pages) {
        let mut old = std::mem::take(&mut self.pages);
        let page_count = (old.len() * 2).max(1);
        for _ in 0..page_count {
            self.pages.push(pages);
        }
        self.mask = page_count * PAGE_WORDS - 1;
        for (index, page) in old.iter().enumerate() {
            if index % FETCHED_PAGES == 0 {
                let ahead = |array: &Array, from: usize| {
                    pages.prefetch(array.iter().skip(from).take(2 * FETCHED_PAGES));
                };
                ahead(&old, index);
                ahead(&self.pages, index);
                ahead(&self.pages, index + old.len());
            }
            for at in 0..PAGE_WORDS {
                let word = pages.get(page)[at];
                if word != 0 {
                    let (bucket, _) = self.find(pages, (word >> 32) as u32, |_| false);
                    self.set_word(pages, bucket, word);
                }
            }
        }
        old.release(pages);
    }
}
