//! What a page space knows of its pages, by number: what every access needs, and the rest.
//!
//! A space that is opened knows nothing yet: numbers whose leaf of the page table has not been read have zeroed memory, which
//! costs nothing until it is touched, and no entries. So opening does not take longer for more state.
//!
//! # Invariants
//!
//! 1. Entries come a leaf of the page table at a time, and stay.
//! 2. A `Hot` of zeros is that of a page of which nothing is known, or that is free.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::cell::{Cell, OnceCell, RefCell};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::buffer::Buffer;
use super::places::{LEAF_PLACES, Place};

/// What every access to a page needs.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) words: Cell<*mut u64>,
    /// 0: the page is free, or its leaf has not been read.
    pub(super) word_count: Cell<u32>,
    /// The space's epoch if the page has a buffer that may be written to; else it may be anything else.
    pub(super) epoch: u32,
}

/// What the life of a page needs.
#[derive(Debug)]
pub(super) struct Entry {
    /// The epoch in which the page was made, and 0 before that.
    pub(super) born: u32,
    /// The last epoch that changed it.
    pub(super) dirty: u32,
    /// Its index among the dirty of that epoch.
    pub(super) dirty_at: u32,
    /// Its changes of that epoch have been written to make room: `place` says where, and a buffer there may be is clean.
    pub(super) spilled: bool,
    /// The last epoch that wrote it whole to make room: `place` has that base, of which earlier epochs know nothing.
    pub(super) based: u32,
    /// The last epoch that handed over its buffer, so that only the acknowledgement tells its base.
    pub(super) handed: u32,
    pub(super) place: Place,
    pub(super) buffer: RefCell<Option<Arc<Buffer>>>,
}

impl Hot {
    pub(super) fn at_rest(word_count: u32) -> Self {
        let words = Cell::new(std::ptr::null_mut());
        Self { words, word_count: Cell::new(word_count), epoch: 0 }
    }

    /// `count` of which nothing is known.
    pub(super) fn unknown(count: usize) -> Vec<Self> {
        if count == 0 {
            return Vec::new();
        }
        let layout = Layout::array::<Self>(count).expect("page numbers have 32 bits");
        // SAFETY: the layout's size is not zero.
        let first = unsafe { alloc_zeroed(layout) }.cast::<Self>();
        if first.is_null() {
            handle_alloc_error(layout);
        }
        // SAFETY: allocated by the global allocator with this layout; zeros are a null pointer and two numbers.
        unsafe { Vec::from_raw_parts(first, count, count) }
    }
}

impl Entry {
    pub(super) fn at_rest(place: Place) -> Self {
        Self {
            born: 0,
            dirty: 0,
            dirty_at: 0,
            spilled: false,
            based: 0,
            handed: 0,
            place,
            buffer: RefCell::new(None),
        }
    }
}

/// Entries by page number.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// A leaf's worth each; none: the leaf has not been read.
    leaves: Vec<OnceCell<Box<[Entry]>>>,
    count: usize,
}

impl Entries {
    /// `count` of which nothing is known.
    pub(super) fn unknown(count: usize) -> Self {
        let leaves = (0..count.div_ceil(LEAF_PLACES)).map(|_| OnceCell::new());
        Self { leaves: leaves.collect(), count }
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether the entries of a leaf are known.
    #[inline]
    pub(super) fn is_known(&self, leaf: usize) -> bool {
        self.leaves[leaf].get().is_some()
    }

    /// Whether the next number belongs to a leaf that is there, but not known.
    pub(super) fn is_end_unknown(&self) -> bool {
        self.leaves.get(self.count / LEAF_PLACES).is_some_and(|leaf| leaf.get().is_none())
    }

    /// Notes the entries of a leaf.
    pub(super) fn learn(&self, leaf: usize, places: impl Iterator<Item = Place>) {
        let places = places.chain(std::iter::repeat(Place::NONE)).take(LEAF_PLACES);
        let learned = self.leaves[leaf].set(places.map(Entry::at_rest).collect());
        assert!(learned.is_ok(), "a leaf is read once");
    }

    /// One more number, of no page yet.
    pub(super) fn push(&mut self) {
        if self.count == self.leaves.len() * LEAF_PLACES {
            self.leaves.push(OnceCell::new());
            self.learn(self.leaves.len() - 1, std::iter::empty());
        }
        self.count += 1;
    }
}

impl Index<usize> for Entries {
    type Output = Entry;

    fn index(&self, page: usize) -> &Entry {
        &self.leaves[page / LEAF_PLACES].get().expect("its leaf has been read")[page % LEAF_PLACES]
    }
}

impl IndexMut<usize> for Entries {
    fn index_mut(&mut self, page: usize) -> &mut Entry {
        let leaf = self.leaves[page / LEAF_PLACES].get_mut().expect("its leaf has been read");
        &mut leaf[page % LEAF_PLACES]
    }
}
