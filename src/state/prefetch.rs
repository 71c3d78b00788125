//! Hints to the processor: which words of pages will be read soon.

use std::ops::Range;

use super::pages::{PageId, Pages};
use crate::sys::prefetch;

/// Words of a line of the cache.
const LINE_WORDS: usize = 8;

/// Has a word of a page fetched into the cache, if the page is in memory.
#[inline]
pub(super) fn prefetch_word(pages: &Pages, page: PageId, at: usize) {
    if let Some(word) = pages.peek(page).and_then(|words| words.get(at)) {
        prefetch(word);
    }
}

/// The same for a range of words.
#[inline]
pub(super) fn prefetch_range(pages: &Pages, page: PageId, range: Range<usize>) {
    if let Some(words) = pages.peek(page) {
        prefetch_lines(&words[range]);
    }
}

/// The same for two words of a page.
#[inline]
pub(super) fn prefetch_words(pages: &Pages, page: PageId, at: [usize; 2]) {
    if let Some(words) = pages.peek(page) {
        at.iter().filter_map(|&at| words.get(at)).for_each(prefetch);
    }
}

/// Has words fetched into the cache that are in memory.
#[inline]
pub fn prefetch_lines(words: &[u64]) {
    words.chunks(LINE_WORDS).for_each(|line| prefetch(&line[0]));
}

#[inline]
fn prefetch(word: &u64) {
    prefetch::prefetch(std::ptr::from_ref(word).addr());
}
