//! A page that is changed in several places: looked up once, and its changes noted word by word.

use super::super::buffer::{LINE_WORDS, PAGE_LINES};
use super::{PAGE_WORDS, PageId, Pages};

/// An ordinary page, to change.
#[derive(Debug)]
pub(in crate::state) struct Lent<'a> {
    words: &'a mut [u64],
    /// A byte a line; none where nobody asks what has changed.
    changes: &'a mut [u8],
}

impl Lent<'_> {
    /// A word; `None` behind the page's end.
    #[inline]
    pub(in crate::state) fn get(&self, at: usize) -> Option<u64> {
        self.words.get(at).copied()
    }

    /// Changes a word.
    #[inline]
    pub(in crate::state) fn set(&mut self, at: usize, word: u64) {
        self.words[at] = word;
        if let Some(changed) = self.changes.get_mut(at / LINE_WORDS) {
            *changed = 1;
        }
    }
}

impl Pages {
    /// A page of [`PAGE_WORDS`] words, to change.
    #[inline]
    pub(in crate::state) fn lend(&mut self, page: PageId) -> Lent<'_> {
        if self.hot[page as usize].epoch != self.epoch {
            self.make_writable(page);
        }
        let hot = &self.hot[page as usize];
        assert!(hot.word_count.get() as usize == PAGE_WORDS);
        let words = hot.words.get();
        let lines = if self.durable.is_some() { PAGE_LINES } else { 0 };
        // SAFETY: the pages' invariant 3: the words are in a buffer that is ours alone, which has its change bytes behind them.
        let changes =
            unsafe { std::slice::from_raw_parts_mut(words.add(PAGE_WORDS).cast::<u8>(), lines) };
        // SAFETY: as above, and the two do not overlap.
        let words = unsafe { std::slice::from_raw_parts_mut(words, PAGE_WORDS) };
        Lent { words, changes }
    }
}
