//! The page arena: extents of zeroed words, by number.
//!
//! # Invariants
//!
//! 1. A page number names one extent until it is freed; freed numbers are used again.
//! 2. `get_mut` is the only way to change a page's words.

/// Words in an ordinary page: 16 KiB.
pub const PAGE_WORDS: usize = 2048;

/// The number of a page.
pub type PageId = u32;

/// One shard's pages.
#[derive(Debug, Default)]
pub struct Pages {
    extents: Vec<Box<[u64]>>,
    free: Vec<PageId>,
    /// Ordinary pages that were freed, kept to be zeroed and used again.
    spare: Vec<Box<[u64]>>,
    word_count: usize,
}

/// How many freed pages are kept for the next table, 16 MiB of them.
const SPARE_PAGES_MAX: usize = 1024;

impl Pages {
    /// A zeroed page of [`PAGE_WORDS`] words.
    pub fn alloc(&mut self) -> PageId {
        let words = match self.spare.pop() {
            Some(mut words) => {
                words.fill(0);
                words
            }
            None => vec![0; PAGE_WORDS].into_boxed_slice(),
        };
        self.place(words)
    }

    /// A zeroed page of `word_count` words, for one object larger than an ordinary page.
    pub fn alloc_extent(&mut self, word_count: usize) -> PageId {
        self.place(vec![0; word_count].into_boxed_slice())
    }

    fn place(&mut self, words: Box<[u64]>) -> PageId {
        self.word_count += words.len();
        match self.free.pop() {
            Some(page) => {
                self.extents[page as usize] = words;
                page
            }
            None => {
                self.extents.push(words);
                (self.extents.len() - 1) as PageId
            }
        }
    }

    /// Frees a page.
    pub fn free(&mut self, page: PageId) {
        let words = std::mem::take(&mut self.extents[page as usize]);
        self.word_count -= words.len();
        if words.len() == PAGE_WORDS && self.spare.len() < SPARE_PAGES_MAX {
            self.spare.push(words);
        }
        self.free.push(page);
    }

    /// A page's words.
    #[inline]
    pub fn get(&self, page: PageId) -> &[u64] {
        &self.extents[page as usize]
    }

    /// A page's words, to change.
    #[inline]
    pub fn get_mut(&mut self, page: PageId) -> &mut [u64] {
        &mut self.extents[page as usize]
    }

    /// Bytes in pages that are in use.
    pub fn state_bytes(&self) -> usize {
        self.word_count * 8
    }
}
