//! Keyed state: everything an operator remembers, as pages of words, which a snapshot makes durable.
//!
//! ```text
//! sets ─── distinct values: dictionary (value → dense id) and for each group a set of ids, in blocks
//! table ── groups: an index of hashes, slots of fixed width, keys and strings in a heap
//! chains ─ records by key, several a key, with short keys in them (index: where a key's are; shelves: slots by the time at which they
//!          come up; stack: which are free)
//! pairs ── values and sets that wait, to be counted without being numbered (partitioned: by hash; digits: texts of digits as words)
//! backlog ─ records that wait to be folded, by partition of their hashes
//! probed ─ an index whose entries hold what is looked up (texts: of short bytes)
//! heap ─── runs of bytes in power-of-two blocks
//! array ── lists of pages
//! pages ── a page space: pages by number, buffers of those that are written, epochs, eviction (entries: what is known of each page)
//! ledger ─ the page table on disk: how a sealed epoch is written, and how it is opened (root: its root; places: its leaves;
//!          survey: a look from outside)
//! writer ─ pages and deltas on their way to frames
//! frames ─ the file: fixed-size frames, which are free, growth
//! ```
//!
//! Structures refer to each other by page number and word offset, never by pointer, and reach their words
//! through [`Pages`] alone. What a structure keeps besides, some ten words, is its *header*: the operator
//! saves the headers of its open windows at a barrier ([`Saved`]), and nothing else is copied then.
//!
//! # Invariants
//!
//! 1. A structure owns its pages: dropping a table frees whole pages and needs no tombstones.
//! 2. Words of a fresh page are zero.
//! 3. A structure and its pages change together, between two barriers; loading what was saved gives the same structure.

mod array;
mod backlog;
mod blocks;
mod buffer;
mod chains;
mod dictionary;
mod digits;
mod entries;
mod frames;
mod heap;
mod index;
mod ledger;
mod pages;
mod paired;
mod pairs;
mod partitioned;
mod places;
mod prefetch;
mod probed;
mod radix;
mod root;
mod saved;
pub mod sets;
mod shelves;
mod slab;
mod space;
mod stack;
mod survey;
pub mod table;
mod texts;
mod unwind;
mod writer;

pub use backlog::{Backlog, Entry, Group, PARTITIONS, Rows, Widths};
pub use chains::{Chains, KeyWords, Seat, Taken, key_words, words_of};
pub use dictionary::Values;
pub use frames::{FRAME_BYTES, Frames, Run};
pub use heap::Heap;
pub use ledger::{Ledger, Room, Root, Written};
pub use pages::{Acks, PAGE_WORDS, PageId, Pages, Sealed};
pub use paired::{ValuePair, each_value_pair};
pub use prefetch::prefetch_lines;
pub use saved::Saved;
pub use sets::DistinctSets;
pub use space::Space;
pub use survey::{Damage, Survey, check_head, survey};
pub use table::Table;
pub use unwind::caught;

/// Numbered slots of words, and the heap of what these refer to.
pub trait WordSlots {
    /// The words of a slot.
    fn words<'a>(&self, pages: &'a Pages, slot: u32) -> &'a [u64];
    /// The words of a slot, to change.
    fn words_mut<'a>(&self, pages: &'a mut Pages, slot: u32) -> &'a mut [u64];
    /// Some words of a slot from word `offset` on, to change.
    #[inline]
    fn part_mut<'a, const WORDS: usize>(
        &self,
        pages: &'a mut Pages,
        slot: u32,
        offset: usize,
    ) -> &'a mut [u64; WORDS] {
        let part = self.words_mut(pages, slot)[offset..].first_chunk_mut();
        part.expect("a part of a slot")
    }
    /// The heap.
    fn heap(&self) -> &Heap;
    /// The heap, to change.
    fn heap_mut(&mut self) -> &mut Heap;
}

#[cfg(test)]
mod tests;
