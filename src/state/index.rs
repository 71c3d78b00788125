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
        let most = (self.mask + 1) * self.full_eighths;
        if (self.count as usize + 1) * 8 > most || self.pages.len() == 0 {
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
        while word != 0 && !((word >> 32) as u32 == tag && is_it(word as u32 - 1)) {
            bucket = (bucket + 1) & self.mask;
            word = self.word(pages, bucket);
        }
        (bucket, word)
    }

    /// Puts a slot into the empty bucket that [`Index::find`] has found.
    #[inline]
    pub(super) fn insert(&mut self, pages: &mut Pages, bucket: usize, tag: u32, slot: u32) {
        self.set_word(pages, bucket, entry(tag, slot));
        self.count += 1;
    }

    /// Puts a slot in the place of another one with the same tag.
    #[inline]
    pub(super) fn replace(&mut self, pages: &mut Pages, bucket: usize, tag: u32, slot: u32) {
        self.set_word(pages, bucket, entry(tag, slot));
    }

    /// Backward-shift deletion: no tombstones, so probes stay short however many slots come and go.
    #[inline]
    pub(super) fn remove(&mut self, pages: &mut Pages, bucket: usize) {
        self.count -= 1;
        let next = (bucket + 1) & self.mask;
        let gap = match self.word(pages, next) {
            0 => bucket,
            _ => self.move_up(pages, bucket, next),
        };
        self.set_word(pages, gap, 0);
    }

    /// Has others move up into `gap`, and those behind them; where the gap is then.
    fn move_up(&mut self, pages: &mut Pages, mut gap: usize, mut next: usize) -> usize {
        loop {
            let word = self.word(pages, next);
            if word == 0 {
                return gap;
            }
            let home = (word >> 32) as usize & self.mask;
            let distance_home = next.wrapping_sub(home) & self.mask;
            let distance_gap = next.wrapping_sub(gap) & self.mask;
            if distance_home >= distance_gap {
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

    /// The slot of the first entry with this tag, if it is where it belongs or just behind.
    #[inline]
    pub(super) fn likely(&self, pages: &Pages, tag: u32) -> Option<u32> {
        let mut bucket = tag as usize & self.mask;
        for _ in 0..4 {
            let words = pages.peek(self.pages.page(bucket / PAGE_WORDS))?;
            let word = words[bucket % PAGE_WORDS];
            if word == 0 {
                return None;
            }
            if (word >> 32) as u32 == tag {
                return Some(word as u32 - 1);
            }
            bucket = (bucket + 1) & self.mask;
        }
        None
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
