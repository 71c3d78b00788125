//! Where pages lie: the places in the leaves of a page table; see [`super::ledger`] for the layout.
//!
//! # Invariants
//!
//! 1. A leaf's words are believed only after their checksum.

use super::frames::{Frames, NOWHERE, Run, frames_of};
use super::pages::PAGE_WORDS;
use crate::error::StateError;

/// Words of a place.
pub(super) const PLACE_WORDS: usize = 3;
/// Places in a leaf.
pub(super) const LEAF_PLACES: usize = PAGE_WORDS / PLACE_WORDS;

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) frame: u32,
    pub(super) word_count: u32,
    pub(super) checksum: u64,
    pub(super) delta_frame: u32,
    pub(super) delta_at: u32,
}

impl Place {
    /// No page.
    pub(super) const NONE: Place =
        Place { frame: NOWHERE, word_count: 0, checksum: 0, delta_frame: NOWHERE, delta_at: 0 };

    pub(super) fn words(&self) -> [u64; PLACE_WORDS] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        [pair(self.frame, self.word_count), self.checksum, pair(self.delta_frame, self.delta_at)]
    }

    pub(super) fn from_words(words: &[u64]) -> Self {
        Self {
            frame: words[0] as u32,
            word_count: (words[0] >> 32) as u32,
            checksum: words[1],
            delta_frame: words[2] as u32,
            delta_at: (words[2] >> 32) as u32,
        }
    }

    pub(super) fn run(&self) -> Run {
        Run { frame: self.frame, count: frames_of(self.word_count as usize) }
    }
}

/// A page table as it was when its space was opened: where its leaves are.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    page_count: usize,
    /// Frame and checksum of each leaf.
    leaves: Vec<[u64; 2]>,
}

impl PageTable {
    /// A table of `page_count` pages.
    pub(super) fn new(page_count: usize, leaves: &[[u64; 2]]) -> Self {
        assert_eq!(leaves.len(), page_count.div_ceil(LEAF_PLACES));
        Self { page_count, leaves: leaves.to_vec() }
    }

    /// How many numbers of pages have been given out.
    pub(super) fn page_count(&self) -> usize {
        self.page_count
    }

    /// How many leaves there are.
    pub(super) fn leaf_count(&self) -> usize {
        self.leaves.len()
    }

    /// A leaf will be read next.
    pub(super) fn prefetch(&self, frames: &Frames, leaf: usize) {
        frames.prefetch(Run { frame: self.leaves[leaf][0] as u32, count: 1 });
    }

    /// Reads the places in a leaf; free numbers are among them.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`].
    pub(super) fn places<'a>(
        &self,
        frames: &'a Frames,
        leaf: usize,
    ) -> Result<impl Iterator<Item = Place> + use<'a>, StateError> {
        let [frame, checksum] = self.leaves[leaf];
        let words = frames.checked("a page table's leaf", frame as u32, PAGE_WORDS, checksum)?;
        let count = (self.page_count - leaf * LEAF_PLACES).min(LEAF_PLACES);
        let places = words.as_chunks::<PLACE_WORDS>().0[..count].iter();
        Ok(places.map(|words| Place::from_words(words)))
    }
}
