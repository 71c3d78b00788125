//! A page's words in anonymous memory, and which of them have changed.
//!
//! A shard writes into a buffer through a plain pointer, thousands of times between two looks at its owner; a snapshot
//! holds on to the same buffer while a writer thread reads it. What keeps them apart is the epoch, see [`super::pages`].
//!
//! # Layout
//!
//! ```text
//! words … │ changed lines, a byte each, 512 in all        one allocation, aligned to a cache line
//! ```
//!
//! A line is [`LINE_WORDS`] words. Its byte is 1 when it has changed since the page was last written whole (a byte, for that is one
//! store); an extent larger than a page is always written whole, and its bytes mean nothing.
//!
//! # Invariants
//!
//! 1. The allocation lives as long as the buffer; `words` points at `word_count` initialised words, and [`CHANGE_WORDS`] more.
//! 2. Whoever writes through the pointer is the only one who has access: no other thread has been given the buffer since
//!    the epoch began, or all others have dropped it.

use super::pages::PAGE_WORDS;
use super::slab::Slabs;
use crate::planted;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Words in a line, the unit in which changes are noted: 32 bytes.
pub(super) const LINE_WORDS: usize = 4;
/// Lines in a page.
pub(super) const PAGE_LINES: usize = PAGE_WORDS / LINE_WORDS;
/// Words of change bytes behind a page's words.
const CHANGE_WORDS: usize = PAGE_LINES / 8;
/// With more changed lines than this a page is written whole.
pub(super) const CHANGED_LINES_MAX: u32 = 64;

/// How a page is written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// All over.
    Random,
    /// From its beginning to its end.
    Sequential,
}

/// A page's words.
#[derive(Debug)]
pub(super) struct Buffer {
    words: *mut u64,
    word_count: usize,
    /// Where its memory is from; `None`: it is its own.
    slabs: Option<&'static Slabs>,
}

// SAFETY: invariant 2: at any time either one thread writes, or any number read.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of zeros whose lines all count as changed.
    pub(super) fn zeroed(word_count: usize, access: Access) -> Self {
        let (words, slabs) = allocate(word_count, access);
        // SAFETY: the allocation is new, and has room for so many words.
        unsafe { words.write_bytes(0, word_count) };
        // SAFETY: as above, and the change bytes lie behind them.
        unsafe { words.add(word_count).cast::<u8>().write_bytes(1, PAGE_LINES) };
        Self { words, word_count, slabs }
    }

    /// A copy of `words` with these changes.
    pub(super) fn copy(words: &[u64], changes: &Changes) -> Self {
        let (copy, slabs) = allocate(words.len(), Access::Random);
        // SAFETY: the allocation is new, and has room for the words and, behind them, for the changes.
        unsafe {
            copy.copy_from_nonoverlapping(words.as_ptr(), words.len());
            let behind = copy.add(words.len()).cast::<u8>();
            behind.copy_from_nonoverlapping(changes.as_ptr(), changes.len());
        }
        Self { words: copy, word_count: words.len(), slabs }
    }

    /// Zeros again, all lines changed.
    pub(super) fn clear(&mut self) {
        self.words_mut().fill(0);
        self.changes_mut().fill(1);
    }

    /// Where its words are; writing is for whoever invariant 2 allows it.
    pub(super) fn pointer(&self) -> *mut u64 {
        self.words
    }

    /// Its words. By invariant 2 nobody writes while the slice is held.
    pub(super) fn words(&self) -> &[u64] {
        // SAFETY: invariants 1 and 2.
        unsafe { std::slice::from_raw_parts(self.words, self.word_count) }
    }

    /// Its words, to change.
    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: invariant 1; `&mut self` is the access of invariant 2.
        unsafe { std::slice::from_raw_parts_mut(self.words, self.word_count) }
    }

    /// Its words and its change bytes, to change.
    pub(super) fn parts_mut(&mut self) -> (&mut [u64], &mut Changes) {
        // SAFETY: as in `words_mut` and `changes_mut`; the two do not overlap.
        unsafe {
            let words = std::slice::from_raw_parts_mut(self.words, self.word_count);
            (words, &mut *self.words.add(self.word_count).cast::<Changes>())
        }
    }

    /// The change bytes. By invariant 2 nobody writes while they are held.
    pub(super) fn changes(&self) -> &Changes {
        // SAFETY: invariant 1: `CHANGE_WORDS` words lie behind the page's, all initialised.
        unsafe { &*self.words.add(self.word_count).cast::<Changes>() }
    }

    /// Whether its changed lines are to be written rather than all of it.
    pub(super) fn has_few_changes(&self) -> bool {
        self.word_count == PAGE_WORDS && changed_lines(self.changes()) <= CHANGED_LINES_MAX
    }

    /// The change bytes, to change.
    pub(super) fn changes_mut(&mut self) -> &mut Changes {
        // SAFETY: as in `changes`; `&mut self` is the access of invariant 2.
        unsafe { &mut *self.words.add(self.word_count).cast::<Changes>() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.slabs {
            // SAFETY: invariant 1: it was taken there, and is given back once.
            Some(slabs) => unsafe { slabs.give_back(self.words.cast()) },
            // SAFETY: invariant 1: allocated with this layout, and freed once.
            None => unsafe { dealloc(self.words.cast(), layout(self.word_count)) },
        }
    }
}

/// Memory for ordinary pages, by how they are accessed.
static RANDOM: Slabs = Slabs::new((PAGE_WORDS + CHANGE_WORDS) * 8, true);
static SEQUENTIAL: Slabs = Slabs::new((PAGE_WORDS + CHANGE_WORDS) * 8, false);

/// Room for so many words and the change bytes behind them, not initialised, and where it is from.
fn allocate(word_count: usize, access: Access) -> (*mut u64, Option<&'static Slabs>) {
    if word_count == PAGE_WORDS {
        let slabs = match access {
            Access::Random => &RANDOM,
            Access::Sequential => &SEQUENTIAL,
        };
        return (slabs.take().cast(), Some(slabs));
    }
    let layout = layout(word_count);
    // SAFETY: the layout's size is not zero.
    let words = unsafe { alloc(layout) };
    if words.is_null() {
        handle_alloc_error(layout);
    }
    (words.cast(), None)
}

fn layout(word_count: usize) -> Layout {
    Layout::from_size_align((word_count + CHANGE_WORDS) * 8, 64).expect("a page's size is small")
}

/// For each line whether it has changed, 0 or 1.
pub(super) type Changes = [u8; PAGE_LINES];

/// How many lines have changed.
fn changed_lines(changes: &Changes) -> u32 {
    changes.as_chunks::<64>().0.iter().map(|some| u32::from(some.iter().sum::<u8>())).sum()
}

/// Keeps the changes noted after a snapshot took the buffer, unless it wrote the page whole.
pub(super) fn keep_changes(changes: &mut Changes) {
    if changed_lines(changes) > CHANGED_LINES_MAX || planted!("state-forget-changes") {
        changes.fill(0);
    }
}

/// The numbers of the changed lines.
pub(super) fn lines_of(changes: &Changes) -> impl Iterator<Item = u16> + '_ {
    changes.iter().enumerate().filter(|(_, changed)| **changed != 0).map(|(line, _)| line as u16)
}

/// Notes that words have changed.
///
/// # Safety
///
/// `changes` points at the change bytes of a buffer that is the caller's alone (invariant 2).
#[inline]
pub(super) unsafe fn mark(changes: *mut u8, start: usize, count: usize) {
    // Of no words the line before counts as changed, or that behind: harmless, and without a branch.
    let (first, last) = (start / LINE_WORDS, (start + count).wrapping_sub(1) / LINE_WORDS);
    // Of extents larger than a page the bytes mean nothing, so it does not matter that they wrap round.
    // SAFETY: the indices are below `PAGE_LINES`.
    unsafe {
        *changes.add(first % PAGE_LINES) = 1;
        *changes.add(last % PAGE_LINES) = 1;
    }
    if last > first + 1 {
        // SAFETY: as above.
        unsafe { *changes.add((first + 1) % PAGE_LINES) = 1 };
        if last > first + 2 {
            // SAFETY: as above.
            unsafe { mark_between(changes, first + 1, last) };
        }
    }
}

/// Notes that all lines between two have changed.
///
/// # Safety
///
/// As for [`mark`].
#[cold]
#[inline(never)]
unsafe fn mark_between(changes: *mut u8, first: usize, last: usize) {
    for line in (first..last).take(PAGE_LINES) {
        // SAFETY: the index is below `PAGE_LINES`.
        unsafe { *changes.add(line % PAGE_LINES) = 1 };
    }
}
