//! Hints to the processor: what will be read soon.

use super::pages::{PageId, Pages};

/// Has a word of a page fetched into the cache, if the page is in memory.
#[inline]
pub(super) fn prefetch_word(pages: &Pages, page: PageId, at: usize) {
    if let Some(word) = pages.peek(page).and_then(|words| words.get(at)) {
        prefetch(word);
    }
}

/// The same for two words of a page.
#[inline]
pub(super) fn prefetch_words(pages: &Pages, page: PageId, at: [usize; 2]) {
    if let Some(words) = pages.peek(page) {
        at.iter().filter_map(|&at| words.get(at)).for_each(prefetch);
    }
}

#[inline]
fn prefetch(word: &u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint about an address that may be read; every x86-64 has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = word;
}
