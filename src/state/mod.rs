//! Keyed state: everything an operator remembers, as pages of words.
//!
//! ```text
//! sets ── distinct values: dictionary (value → dense id) and a bitmap of ids per group
//! table ─ groups: an index of hashes, slots of fixed width, keys and strings in a heap
//! heap ── runs of bytes in power-of-two blocks
//! pages ─ extents of 64-bit words, 16 KiB each unless one object needs more
//! ```
//!
//! Structures refer to each other by page number and word offset, never by pointer, and reach their words
//! through [`Pages`] alone. That is what makes them durable: a store that seals, copies and writes
//! pages can stand behind `Pages` without any structure above knowing (`get_mut` is the one place where a
//! page becomes dirty).
//!
//! # Invariants
//!
//! 1. A structure owns its pages: dropping a table frees whole pages and needs no tombstones.
//! 2. Words of a fresh page are zero.

mod heap;
mod pages;
pub mod sets;
pub mod table;

pub use heap::Heap;
pub use pages::{PAGE_WORDS, PageId, Pages};
pub use sets::DistinctSets;
pub use table::Table;
