//! Runs of bytes in pages: keys, strings, whatever has no fixed width.
//!
//! Blocks have power-of-two sizes; freed ones are threaded into a list per size through their first word.
//!
//! # A block
//!
//! ```text
//! word 0:  aligned u1 │ class u7 │ length in bytes u56        then the bytes, padded to words
//! ```
//!
//! The bytes of an *aligned* block begin at an even word, so at an address that is a multiple of 16: behind the head or, if that is
//! at an even word itself, one word further. Such a block stays aligned wherever it grows to. Only accumulators that are read in
//! place are: it costs a word.
//!
//! A block larger than a page has an extent of its own, whose last two words link all of a heap's extents: the page before
//! it and the page behind it, each + 1, 0 for none.
//!
//! # Invariants
//!
//! 1. A reference is `(page + 1) << 16 | word offset`, so 0 refers to nothing.
//! 2. A block of class *c* is 2^c words; one beyond a page's size has an extent of its own and offset 0.
//! 3. A freed block's first word is the reference of the next free block of its class.
//! 4. Pages begin at addresses that are multiples of 16, in memory and in the file's map.

use super::array::Array;
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::prefetch::prefetch_word;
use super::saved::Saved;

const CLASSES: usize = 12;
const LENGTH_MASK: u64 = (1 << 56) - 1;
const CLASS_MASK: u64 = 0x7f;
/// The head's bit of an aligned block.
const ALIGNED: u64 = 1 << 63;
/// Words at an extent's end that link it.
const LINK_WORDS: usize = 2;

/// A heap within some pages. Dropping it without [`Heap::clear`] or [`Heap::release`] leaks its pages until the arena goes.
#[derive(Debug, Default)]
pub struct Heap {
    pages: Array,
    bump_index: usize,
    bump_words: usize,
    free: [u64; CLASSES],
    /// The first extent + 1; 0: none.
    extents: u64,
}

fn place(blob: u64) -> (PageId, usize) {
    ((blob >> 16) as PageId - 1, (blob & 0xffff) as usize)
}

fn reference(page: PageId, offset: usize) -> u64 {
    (u64::from(page) + 1) << 16 | offset as u64
}

/// The class of a block for so many bytes; `alignment`: [`ALIGNED`] or 0.
#[inline]
fn class_of(length_bytes: usize, alignment: u64) -> usize {
    let words = 1 + usize::from(alignment != 0) + length_bytes.div_ceil(8);
    let words = if words > PAGE_WORDS { words + LINK_WORDS } else { words };
    words.next_power_of_two().trailing_zeros() as usize
}

impl Heap {
    /// The heap that was saved.
    pub fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let array = Array::load(saved, pages);
        let (bump_index, bump_words) = saved.pair();
        let mut free = [0; CLASSES];
        free.copy_from_slice(saved.words(CLASSES));
        Self {
            pages: array,
            bump_index: bump_index as usize,
            bump_words: bump_words as usize,
            free,
            extents: saved.word(),
        }
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.pages.save(out);
        out.push(self.bump_index as u64 | (self.bump_words as u64) << 32);
        out.extend_from_slice(&self.free);
        out.push(self.extents);
    }

    /// The bytes behind a reference to a block that is not aligned.
    #[inline]
    pub fn get<'a>(&self, pages: &'a Pages, blob: u64) -> &'a [u8] {
        let (page, offset) = place(blob);
        let words = pages.get(page);
        debug_assert_eq!(words[offset] & ALIGNED, 0);
        let length = (words[offset] & LENGTH_MASK) as usize;
        &bytemuck::cast_slice(&words[offset + 1..])[..length]
    }

    /// Has the bytes behind a reference fetched into the cache.
    #[inline]
    pub(super) fn prefetch(&self, pages: &Pages, blob: u64) {
        let (page, offset) = place(blob);
        prefetch_word(pages, page, offset);
    }

    /// The bytes behind a reference to any block.
    pub fn get_any<'a>(&self, pages: &'a Pages, blob: u64) -> &'a [u8] {
        let (page, offset) = place(blob);
        let words = pages.get(page);
        let (head, first) = (words[offset], first_word(offset, words[offset]));
        &bytemuck::cast_slice(&words[first..])[..(head & LENGTH_MASK) as usize]
    }

    /// The same, to change.
    pub fn get_mut<'a>(&mut self, pages: &'a mut Pages, blob: u64) -> &'a mut [u8] {
        let (page, offset) = place(blob);
        let head = pages.get(page)[offset];
        let length = (head & LENGTH_MASK) as usize;
        let words = pages.words_mut(page, first_word(offset, head), length.div_ceil(8));
        &mut bytemuck::cast_slice_mut(words)[..length]
    }

    /// How many ordinary pages it has.
    pub(super) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Stores `bytes` in a new block.
    pub fn insert(&mut self, pages: &mut Pages, bytes: &[u8]) -> u64 {
        self.insert_at(pages, bytes, 0)
    }

    /// Stores `bytes` in a new block that is aligned.
    pub fn insert_aligned(&mut self, pages: &mut Pages, bytes: &[u8]) -> u64 {
        self.insert_at(pages, bytes, ALIGNED)
    }

    fn insert_at(&mut self, pages: &mut Pages, bytes: &[u8], alignment: u64) -> u64 {
        let class = class_of(bytes.len(), alignment);
        let blob = self.block(pages, class);
        write(pages, blob, alignment | (class as u64) << 56, bytes, 0);
        blob
    }

    /// Replaces the bytes behind `blob` (0: none) and returns the new reference.
    pub fn replace(&mut self, pages: &mut Pages, blob: u64, bytes: &[u8]) -> u64 {
        let mut alignment = 0;
        if blob != 0 {
            let kind = kind_at(pages, blob);
            alignment = kind & ALIGNED;
            if class_of(bytes.len(), alignment) == class_of_kind(kind) {
                write(pages, blob, kind, bytes, 0);
                return blob;
            }
            self.remove(pages, blob);
        }
        self.insert_at(pages, bytes, alignment)
    }

    /// Appends to the bytes behind `blob` (0: none) and returns the new reference. Amortised linear.
    pub fn append(&mut self, pages: &mut Pages, blob: u64, bytes: &[u8]) -> u64 {
        if blob == 0 {
            return self.insert(pages, bytes);
        }
        let kind = kind_at(pages, blob);
        let (held, alignment) = (self.get_any(pages, blob), kind & ALIGNED);
        if class_of(held.len() + bytes.len(), alignment) == class_of_kind(kind) {
            let length = held.len();
            write(pages, blob, kind, bytes, length);
            return blob;
        }
        let whole = [held, bytes].concat();
        self.remove(pages, blob);
        self.insert_at(pages, &whole, alignment)
    }

    /// Frees a block.
    pub fn remove(&mut self, pages: &mut Pages, blob: u64) {
        let class = class_of_kind(kind_at(pages, blob));
        let (page, offset) = place(blob);
        if class >= CLASSES {
            self.unlink(pages, page);
            pages.free(page);
            return;
        }
        *pages.word_mut(page, offset) = self.free[class];
        self.free[class] = blob;
    }

    fn block(&mut self, pages: &mut Pages, class: usize) -> u64 {
        let words = 1usize << class;
        if class >= CLASSES {
            let page = pages.alloc_extent(words);
            *pages.word_mut(page, words - 1) = self.extents;
            if self.extents != 0 {
                let next = self.extents as PageId - 1;
                let before = pages.get(next).len() - LINK_WORDS;
                *pages.word_mut(next, before) = u64::from(page) + 1;
            }
            self.extents = u64::from(page) + 1;
            return reference(page, 0);
        }
        if self.free[class] != 0 {
            let blob = self.free[class];
            let (page, offset) = place(blob);
            self.free[class] = pages.get(page)[offset];
            return blob;
        }
        if self.bump_index == self.pages.len() || self.bump_words + words > PAGE_WORDS {
            if self.bump_index < self.pages.len() {
                self.bump_index += 1;
            }
            if self.bump_index == self.pages.len() {
                self.pages.push(pages);
            }
            self.bump_words = 0;
        }
        let blob = reference(self.pages.page(self.bump_index), self.bump_words);
        self.bump_words += words;
        blob
    }

    /// Takes an extent out of the list.
    fn unlink(&mut self, pages: &mut Pages, page: PageId) {
        let (before, behind) = links(pages, page);
        match before {
            0 => self.extents = behind,
            before => {
                let at = pages.get(before as PageId - 1).len() - 1;
                *pages.word_mut(before as PageId - 1, at) = behind;
            }
        }
        if behind != 0 {
            let at = pages.get(behind as PageId - 1).len() - LINK_WORDS;
            *pages.word_mut(behind as PageId - 1, at) = before;
        }
    }

    /// Forgets everything, keeping ordinary pages for what comes next.
    pub fn clear(&mut self, pages: &mut Pages) {
        while self.extents != 0 {
            let page = self.extents as PageId - 1;
            self.extents = links(pages, page).1;
            pages.free(page);
        }
        (self.bump_index, self.bump_words, self.free) = (0, 0, [0; CLASSES]);
    }

    /// Frees everything.
    pub fn release(&mut self, pages: &mut Pages) {
        self.clear(pages);
        self.pages.release(pages);
    }
}

/// The head of a block without its length.
fn kind_at(pages: &Pages, blob: u64) -> u64 {
    let (page, offset) = place(blob);
    pages.get(page)[offset] & !LENGTH_MASK
}

fn class_of_kind(kind: u64) -> usize {
    (kind >> 56 & CLASS_MASK) as usize
}

/// The word at which the bytes of the block at `offset` begin.
#[inline]
fn first_word(offset: usize, head: u64) -> usize {
    match head & ALIGNED {
        0 => offset + 1,
        _ => (offset + 2) & !1,
    }
}

/// The pages before and behind an extent, each + 1.
fn links(pages: &Pages, page: PageId) -> (u64, u64) {
    let words = pages.get(page);
    (words[words.len() - LINK_WORDS], words[words.len() - 1])
}

/// Writes `bytes` behind the first `start` bytes of a block, and its head; `kind`: that without the length.
fn write(pages: &mut Pages, blob: u64, kind: u64, bytes: &[u8], start: usize) {
    let (page, offset) = place(blob);
    *pages.word_mut(page, offset) = kind | (start + bytes.len()) as u64;
    let first = first_word(offset, kind) + start / 8;
    let words = pages.words_mut(page, first, (start % 8 + bytes.len()).div_ceil(8));
    let room: &mut [u8] = bytemuck::cast_slice_mut(words);
    room[start % 8..start % 8 + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A block as it should be: its reference, its bytes, whether it is aligned.
    type Twin = (u64, Vec<u8>, bool);

    proptest! {
        /// Against a plain vector of byte strings.
        #[test]
        fn blocks_hold_what_was_put(operations in prop::collection::vec((0..6u8, 0..12usize, 0..70usize), 1..200)) {
            let (mut pages, mut heap) = (Pages::default(), Heap::default());
            let mut twin: Vec<Twin> = Vec::new();
            for (step, (operation, at, length)) in operations.into_iter().enumerate() {
                let bytes = vec![step as u8; if length == 69 { 40_000 } else { length }];
                let at = at % twin.len().max(1);
                match (operation, twin.is_empty()) {
                    (0, _) => twin.push((heap.insert(&mut pages, &bytes), bytes, false)),
                    (1, _) | (_, true) => twin.push((heap.insert_aligned(&mut pages, &bytes), bytes, true)),
                    (2, _) => heap.remove(&mut pages, twin.swap_remove(at).0),
                    (3, _) => {
                        twin[at].0 = heap.replace(&mut pages, twin[at].0, &bytes);
                        twin[at].1 = bytes;
                    }
                    (4, _) => {
                        heap.get_mut(&mut pages, twin[at].0).fill(step as u8);
                        twin[at].1.fill(step as u8);
                    }
                    _ => {
                        twin[at].0 = heap.append(&mut pages, twin[at].0, &bytes);
                        twin[at].1.extend_from_slice(&bytes);
                    }
                }
                for (blob, held, aligned) in &twin {
                    let found = heap.get_any(&pages, *blob);
                    prop_assert_eq!(found, &held[..]);
                    match aligned {
                        true => prop_assert!(found.as_ptr().addr().is_multiple_of(16)),
                        false => prop_assert_eq!(heap.get(&pages, *blob), &held[..]),
                    }
                }
            }
            heap.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }
}
