//! Records that wait to be folded into a table, in pages: where a table is larger than memory, each of its pages is so fetched once
//! for many of them ([`super::fold`]).
//!
//! # Layout
//!
//! ```text
//! page:    record │ record │ … │ zeros
//! record:  key bytes + 1 u32, tail bytes u32 │ hash │ key … │ words … (as many as the owner says) │ tail …
//! ```
//!
//! # Invariants
//!
//! 1. A record never straddles pages. Records lie in the order in which they came.

use super::array::Array;
use super::buffer::{Buffer, PAGE_LINES};
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::saved::Saved;

/// Words of a record before its key.
const HEAD_WORDS: usize = 2;

/// Records that wait.
#[derive(Debug)]
pub struct Backlog {
    width: usize,
    pages: Array,
    /// Words used of the last page.
    last_words: usize,
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key's hash.
    pub hash: u64,
    /// The key.
    pub key: &'a [u8],
    /// What is to be folded, as wide as the owner said.
    pub words: &'a [u64],
    /// Bytes that it comes with.
    pub tail: &'a [u8],
}

/// Records in memory, to be read in any order.
#[derive(Debug)]
pub(super) struct Records {
    width: usize,
    count: usize,
    /// In buffers as pages have them, and so in the room of those that were evicted for it; with the words that records take.
    pages: Vec<(Buffer, usize)>,
}

/// Where a record lies among those in memory: page index × words in a page + word.
pub(super) type RecordAt = u32;

impl Backlog {
    /// An empty one whose records have `width` words besides key and tail.
    pub fn new(width: usize) -> Self {
        Self { width, pages: Array::default(), last_words: PAGE_WORDS }
    }

    /// The one that was saved.
    pub fn load(width: usize, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let array = Array::load(saved, pages);
        Self { width, pages: array, last_words: saved.word() as usize }
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.pages.save(out);
        out.push(self.last_words as u64);
    }

    /// Bytes of pages that it takes.
    pub fn bytes(&self) -> usize {
        self.pages.len() * PAGE_WORDS * 8
    }

    /// Whether a record with so much besides its `width` words fits in a page.
    pub fn fits(&self, key_bytes: usize, tail_bytes: usize) -> bool {
        length_words(self.width, (key_bytes, tail_bytes)) <= PAGE_WORDS
    }

    /// Appends a record, which [`Backlog::fits`].
    ///
    /// # Panics
    ///
    /// If it does not, or has another number of words.
    pub fn push(&mut self, pages: &mut Pages, hash: u64, key: &[u8], words: &[u64], tail: &[u8]) {
        assert_eq!(words.len(), self.width);
        let length_words = length_words(self.width, (key.len(), tail.len()));
        if self.last_words + length_words > PAGE_WORDS {
            self.pages.push(pages);
            self.last_words = 0;
        }
        let page = self.pages.page(self.pages.len() - 1);
        let room = pages.words_mut(page, self.last_words, length_words);
        room[0] = (key.len() as u64 + 1) | (tail.len() as u64) << 32;
        room[1] = hash;
        let (key_room, rest) = room[HEAD_WORDS..].split_at_mut(key.len().div_ceil(8));
        let (words_room, tail_room) = rest.split_at_mut(self.width);
        bytemuck::cast_slice_mut(key_room)[..key.len()].copy_from_slice(key);
        words_room.copy_from_slice(words);
        bytemuck::cast_slice_mut(tail_room)[..tail.len()].copy_from_slice(tail);
        self.last_words += length_words;
    }

    /// Reads all records into memory, and frees the pages, each when it has been read.
    pub(super) fn read(mut self, pages: &mut Pages) -> Records {
        let (width, last_words) = (self.width, self.last_words);
        let numbers: Vec<PageId> = self.pages.iter().collect();
        let mut records = Records { width, count: 0, pages: Vec::with_capacity(numbers.len()) };
        self.pages.release_with(pages, |pages, index| {
            if index % FETCHED_PAGES == 0 {
                pages.prefetch(numbers[index..].iter().copied().take(2 * FETCHED_PAGES));
            }
            let held = pages.get(numbers[index]);
            let end = if index + 1 == numbers.len() { last_words } else { PAGE_WORDS };
            let mut at = 0;
            while at < end && held[at] != 0 {
                at += length_words(width, lengths(held[at]));
                records.count += 1;
            }
            records.pages.push((Buffer::copy(held, &[0; PAGE_LINES]), at));
        });
        records
    }
}

impl Records {
    /// How many.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Calls `to` with the hash and the place of every record, in their order.
    pub(super) fn for_each(&self, mut to: impl FnMut(u64, RecordAt)) {
        for (index, (buffer, end)) in self.pages.iter().enumerate() {
            let mut at = 0;
            let words = buffer.words();
            while at < *end {
                to(words[at + 1], (index * PAGE_WORDS + at) as RecordAt);
                at += length_words(self.width, lengths(words[at]));
            }
        }
    }

    /// A record.
    pub(super) fn get(&self, at: RecordAt) -> Record<'_> {
        let at = at as usize;
        let words = &self.pages[at / PAGE_WORDS].0.words()[at % PAGE_WORDS..];
        let (key_bytes, tail_bytes) = lengths(words[0]);
        let (key, rest) = words[HEAD_WORDS..].split_at(key_bytes.div_ceil(8));
        let (held, tail) = rest.split_at(self.width);
        Record {
            hash: words[1],
            key: &bytemuck::cast_slice(key)[..key_bytes],
            words: held,
            tail: &bytemuck::cast_slice(tail)[..tail_bytes],
        }
    }
}

/// Pages that are fetched together.
const FETCHED_PAGES: usize = 256;

fn lengths(head: u64) -> (usize, usize) {
    (head as u32 as usize - 1, (head >> 32) as usize)
}

/// Words of a record with so many bytes of key and tail.
fn length_words(width: usize, (key_bytes, tail_bytes): (usize, usize)) -> usize {
    HEAD_WORDS + key_bytes.div_ceil(8) + width + tail_bytes.div_ceil(8)
}
