//! Aggregate functions: what each is called with and returns; update, merge and finish over slices.
//!
//! An accumulator is a run of 64-bit words in a *slot*; a group's slot holds those of all its calls side
//! by side. Kernels take a batch's slot numbers and one column and run a plain loop, chosen once per
//! batch by the column's type. Words are reached through [`Slots`], so that a kernel works alike on a
//! cache-resident table before the exchange and on paged state behind it.
//!
//! # Invariants
//!
//! 1. No I/O, no store, no window is known here.
//! 2. Every function is associative over the sequence of its rows: `merge(a, b)` equals having updated `a`
//!    with `b`'s rows, in order. Sums of DOUBLE are exact (see [`exact`]), so this holds for them too.
//! 3. An accumulator of zeros is the empty one.

mod call;
mod cells;
pub mod collect;
pub mod exact;
mod finish;
mod fused;
mod layout;
mod merge;
mod merge_groups;
mod one_row;
mod update;
mod user;

pub use call::{AggregateCall, AggregateFunction, Travel, bind, travel};
pub use cells::{CELL_ROWS_MAX, CellPlan, GroupCell};
pub use collect::{Collect, elements};
pub use finish::finish;
pub use fused::Fused;
pub use layout::{Accumulator, Layout, Part};
pub use merge::{Partials, copy, export, merge};
pub use merge_groups::{PartialGroups, Source, merge_groups};
pub use one_row::of_one_row;
pub use update::{Argument, Update};
pub use user::{ACCUMULATOR_BYTES_MAX, Groups, Stored, UserAggregate, UserFunction, add};

/// The accumulators of many groups, by slot number.
pub trait Slots {
    /// The words of one slot.
    fn words(&self, slot: u32) -> &[u64];
    /// Some words of each of `slots` from word `offset` on.
    #[inline]
    fn each<'a, const WORDS: usize>(
        &'a self,
        slots: &'a [u32],
        offset: usize,
    ) -> impl Iterator<Item = &'a [u64; WORDS]>
    where
        Self: Sized,
    {
        let part = move |&slot: &u32| self.words(slot)[offset..].first_chunk();
        slots.iter().map(move |slot| part(slot).expect("a part of a slot"))
    }
    /// The words of one slot, to change.
    fn words_mut(&mut self, slot: u32) -> &mut [u64];
    /// Some words of one slot from word `offset` on, to change.
    #[inline]
    fn part_mut<const WORDS: usize>(&mut self, slot: u32, offset: usize) -> &mut [u64; WORDS]
    where
        Self: Sized,
    {
        let part = self.words_mut(slot)[offset..].first_chunk_mut();
        part.expect("a part of a slot")
    }
    /// The bytes behind a reference that is not 0.
    fn blob(&self, blob: u64) -> &[u8];
    /// The same, to change.
    fn blob_mut(&mut self, blob: u64) -> &mut [u8];
    /// New bytes, which begin at a multiple of 16 from now on; the reference.
    fn new_aligned(&mut self, bytes: &[u8]) -> u64;
    /// Replaces the bytes behind `blob` (0: none yet) and returns the new reference.
    fn put_blob(&mut self, blob: u64, bytes: &[u8]) -> u64;
    /// Appends to the bytes behind `blob` (0: none yet) and returns the new reference.
    fn append_blob(&mut self, blob: u64, bytes: &[u8]) -> u64;
}
