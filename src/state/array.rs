//! A growable list of pages, itself kept in pages: the slots of a table, its index, the blocks of a heap.
//!
//! The numbers of its pages are needed at every access, so they are held in memory too; on disk they fill directory pages, which
//! change only when the array grows. Opening an array reads its directories, a four-thousandth of it. A space that is never saved has none.
//!
//! # Layout
//!
//! ```text
//! pages = 1:      top ─▶ the page
//! pages ≤ 4096:   top ─▶ directory: page u32 …
//! more:           top ─▶ directory of directories: directory u32 … ─▶ directory: page u32 …
//! ```
//!
//! # Invariants
//!
//! 1. In a space that may be saved `pages` in memory and the directories say the same.

use super::buffer::Access;
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::saved::Saved;

/// Page numbers in a directory: two a word.
const DIRECTORY_PAGES: usize = PAGE_WORDS * 2;
/// So many pages are fetched from the disk at a time.
const FETCHED_PAGES_MAX: usize = 1024;

/// A list of pages. Dropping it without [`Array::release`] leaks its pages until the space goes.
#[derive(Debug, Default)]
pub(super) struct Array {
    pages: Vec<PageId>,
    directories: Vec<PageId>,
    top: PageId,
}

impl Array {
    /// The array that was saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let (count, top) = saved.pair();
        let count = count as usize;
        let (mut array, directory_count) =
            (Self { top, ..Self::default() }, count.div_ceil(DIRECTORY_PAGES));
        match (count, directory_count) {
            (0, _) => {}
            (1, _) => array.pages.push(top),
            (_, 1) => array.directories.push(top),
            _ => {
                let numbers = (0..directory_count).map(|at| number(pages.get(top), at));
                array.directories.extend(numbers);
            }
        }
        pages.prefetch(array.directories.iter().copied());
        for (index, &directory) in array.directories.iter().enumerate() {
            let held = (count - index * DIRECTORY_PAGES).min(DIRECTORY_PAGES);
            let words = pages.get(directory);
            array.pages.extend((0..held).map(|at| number(words, at)));
        }
        array
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        out.push(self.pages.len() as u64 | u64::from(self.top) << 32);
    }

    /// How many pages.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// The page at `index`.
    #[inline]
    pub(super) fn page(&self, index: usize) -> PageId {
        self.pages[index]
    }

    /// All pages, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = PageId> + Clone + '_ {
        self.pages.iter().copied()
    }

    /// Has the disk fetch its pages, the first of them if there are very many.
    pub(super) fn prefetch(&self, pages: &Pages) {
        pages.prefetch(self.iter().take(FETCHED_PAGES_MAX));
    }

    /// Appends a new page.
    ///
    /// # Panics
    ///
    /// Beyond 4096² pages, 256 GiB.
    pub(super) fn push(&mut self, pages: &mut Pages) -> PageId {
        self.push_extent(pages, Access::Random, PAGE_WORDS)
    }

    /// Appends a new page of so many words, which is accessed like this.
    ///
    /// # Panics
    ///
    /// As [`Array::push`].
    pub(super) fn push_extent(
        &mut self,
        pages: &mut Pages,
        access: Access,
        word_count: usize,
    ) -> PageId {
        let page = pages.alloc_for(access, word_count);
        let index = self.pages.len();
        self.pages.push(page);
        if !pages.is_saved() {
            return page;
        }
        match index {
            0 => self.top = page,
            1 => {
                let directory = self.add_directory(pages);
                set_number(pages, directory, 0, self.pages[0]);
                set_number(pages, directory, 1, page);
            }
            _ => {
                if index.is_multiple_of(DIRECTORY_PAGES) {
                    self.add_directory(pages);
                }
                let directory = *self.directories.last().expect("added with the second page");
                set_number(pages, directory, index % DIRECTORY_PAGES, page);
            }
        }
        page
    }

    fn add_directory(&mut self, pages: &mut Pages) -> PageId {
        let directory = pages.alloc();
        let index = self.directories.len();
        self.directories.push(directory);
        match index {
            0 => self.top = directory,
            1 => {
                self.top = pages.alloc();
                set_number(pages, self.top, 0, self.directories[0]);
                set_number(pages, self.top, 1, directory);
            }
            _ => {
                assert!(index < DIRECTORY_PAGES, "an array has grown beyond its directories");
                set_number(pages, self.top, index, directory);
            }
        }
        directory
    }

    /// Frees all pages.
    pub(super) fn release(&mut self, pages: &mut Pages) {
        self.release_with(pages, |_, _| {});
    }

    /// Frees all pages, each after a call of `before` with its index.
    pub(super) fn release_with(
        &mut self,
        pages: &mut Pages,
        mut before: impl FnMut(&mut Pages, usize),
    ) {
        for (index, page) in self.pages.drain(..).enumerate() {
            before(pages, index);
            pages.free(page);
        }
        if self.directories.len() > 1 {
            pages.free(self.top);
        }
        self.directories.drain(..).for_each(|page| pages.free(page));
        self.top = 0;
    }
}

fn number(words: &[u64], at: usize) -> PageId {
    (words[at / 2] >> (32 * (at % 2))) as PageId
}

fn set_number(pages: &mut Pages, directory: PageId, at: usize, page: PageId) {
    let word = pages.word_mut(directory, at / 2);
    let shift = 32 * (at % 2);
    *word = *word & !(0xffff_ffff << shift) | u64::from(page) << shift;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_what_was_saved_at_every_size() {
        let (mut pages, mut array) = (Pages::default(), Array::default());
        for count in 0..3 * DIRECTORY_PAGES {
            if count < 5 || count % 1000 < 2 || count % DIRECTORY_PAGES < 3 {
                let mut saved = Vec::new();
                array.save(&mut saved);
                let loaded = Array::load(&mut Saved::new(&saved), &pages);
                assert!(loaded.iter().eq(array.iter()), "{count} pages");
                assert_eq!(loaded.directories, array.directories, "{count} pages");
            }
            array.push(&mut pages);
        }
        array.release(&mut pages);
        assert_eq!(pages.state_bytes(), 0);
    }

    #[test]
    fn an_array_that_is_never_saved_has_pages_alone() {
        let (mut pages, mut array) = (Pages::transient(), Array::default());
        let all: Vec<PageId> = (0..DIRECTORY_PAGES + 2).map(|_| array.push(&mut pages)).collect();
        assert!(array.iter().eq(all.iter().copied()) && array.directories.is_empty());
        assert_eq!(pages.state_bytes(), all.len() * PAGE_WORDS * 8);
        array.release(&mut pages);
        assert_eq!(pages.state_bytes(), 0);
    }
}
