//! The root of a page table as words; see [`super::ledger`] for the layout.
//!
//! # Invariants
//!
//! 1. Words that parse are as long as they say: a header and a pair for each leaf.

use super::places::LEAF_PLACES;

/// `pagetabl` as little-endian bytes.
const MAGIC: u64 = u64::from_le_bytes(*b"pagetabl");
/// Of the layout of tables, headers and pages.
const VERSION: u32 = 2;
/// Words before the header.
const FIXED_WORDS: usize = 4;

/// Why words are no root that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoot {
    /// They have another layout.
    OtherVersion(u64),
    /// They are not as they should be.
    Damaged(&'static str),
}

/// What a root says.
pub(super) struct RootParts<'a> {
    pub(super) epoch: u32,
    pub(super) schema_hash: u64,
    pub(super) page_count: usize,
    pub(super) header: &'a [u64],
    /// Frame and checksum of each leaf.
    pub(super) leaves: &'a [[u64; 2]],
}

impl<'a> RootParts<'a> {
    /// What `words` say, whose checksum holds.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn parse(words: &'a [u64]) -> Result<Self, NoRoot> {
        if words.len() < FIXED_WORDS || words[0] != MAGIC {
            return Err(NoRoot::Damaged("it is no root"));
        }
        if words[1] as u32 != VERSION {
            return Err(NoRoot::OtherVersion(u64::from(words[1] as u32)));
        }
        let (page_count, header_count) = (words[3] as u32 as usize, (words[3] >> 32) as usize);
        if words.len() != FIXED_WORDS + header_count + page_count.div_ceil(LEAF_PLACES) * 2 {
            return Err(NoRoot::Damaged("its length is not what it says"));
        }
        let (header, leaves) = words[FIXED_WORDS..].split_at(header_count);
        let leaves = leaves.as_chunks::<2>().0;
        Ok(Self {
            epoch: (words[1] >> 32) as u32,
            schema_hash: words[2],
            page_count,
            header,
            leaves,
        })
    }

    /// The words that say this.
    pub(super) fn words(&self) -> Vec<u64> {
        let mut words = vec![
            MAGIC,
            u64::from(VERSION) | u64::from(self.epoch) << 32,
            self.schema_hash,
            self.page_count as u64 | (self.header.len() as u64) << 32,
        ];
        words.extend_from_slice(self.header);
        words.extend_from_slice(self.leaves.as_flattened());
        words
    }
}
