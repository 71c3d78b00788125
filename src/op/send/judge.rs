//! Whether it pays to fold a chunk's rows before they leave: where keys repeat, or will before the chunk ends.
//!
//! A chunk's first rows say little of how often a key comes in all of it: of 10,000 keys hardly any repeats among 4,096 rows, and each comes
//! 26 times in a chunk of 262,144. But from how few of them repeat follows about how many keys there are; and how long chunks
//! are is known from the one before.
//!
//! # Invariants
//!
//! 1. Nothing is known of former chunks where it shows which were folded: which of them a sender has had depends on the number of shards.

use super::FOLDED_GROUPS_MAX;

/// After this many rows a chunk's table is judged.
const JUDGED_ROWS: usize = if cfg!(test) { 64 } else { 4096 };
/// So many chunks after one whose keys hardly repeat are not judged.
const RESTING_CHUNKS: u32 = 15;
/// A chunk with so many rows for each key is folded, though its first rows hardly repeat any.
const ROWS_PER_KEY: usize = 4;

/// What is known of chunks.
#[derive(Debug)]
pub(super) struct Judge {
    /// Nobody can tell which chunks were folded.
    may_rest: bool,
    /// How many of the next chunks leave as rows.
    resting_chunks: u32,
    /// Rows of this chunk so far, and those of them that were folded.
    rows: usize,
    folded_rows: usize,
    /// Rows of the chunk before.
    former_rows: usize,
    /// About how many keys this chunk has, once its rows have hardly repeated any.
    keys_about: Option<usize>,
}

impl Judge {
    pub(super) fn new(may_rest: bool) -> Self {
        let (rows, folded_rows, former_rows) = (0, 0, 0);
        Self { may_rest, resting_chunks: 0, rows, folded_rows, former_rows, keys_about: None }
    }

    /// Whether no row of the chunk has come.
    pub(super) fn is_at_start(&self) -> bool {
        self.rows == 0
    }

    /// Rows come, folded or not.
    pub(super) fn take(&mut self, rows: usize) {
        self.rows += rows;
    }

    /// Whether it pays to go on folding, now that so many rows more have been. All of them are `groups_max` groups at most, and
    /// `groups` counts them.
    pub(super) fn pays(
        &mut self,
        rows: usize,
        groups_max: usize,
        groups: impl FnOnce() -> usize,
    ) -> bool {
        self.folded_rows += rows;
        let folded = self.folded_rows;
        if groups_max * 2 <= folded || folded < JUDGED_ROWS {
            return true;
        }
        let groups = groups();
        if groups * 2 <= folded {
            return true;
        }
        // Of keys that come in no order, that many are behind so many repetitions.
        self.keys_about = Some(folded * folded / (2 * folded.saturating_sub(groups).max(1)));
        if self.will_repeat(self.former_rows) {
            return true;
        }
        self.resting_chunks = if self.may_rest { RESTING_CHUNKS } else { 0 };
        false
    }

    /// Whether the keys of this chunk would repeat much if it had so many rows.
    fn will_repeat(&self, rows: usize) -> bool {
        self.may_rest
            && self
                .keys_about
                .is_some_and(|keys| keys <= FOLDED_GROUPS_MAX && keys * ROWS_PER_KEY <= rows)
    }

    /// The end of a chunk. Whether the next is folded.
    pub(super) fn end_chunk(&mut self) -> bool {
        if self.will_repeat(self.rows) {
            self.resting_chunks = 0;
        }
        let folds = self.resting_chunks == 0;
        self.resting_chunks = self.resting_chunks.saturating_sub(1);
        self.former_rows = self.rows;
        self.begin_chunk();
        folds
    }

    /// The chunk begins anew. Whether it is folded.
    pub(super) fn begin_anew(&mut self) -> bool {
        self.begin_chunk();
        self.resting_chunks == 0
    }

    fn begin_chunk(&mut self) {
        (self.rows, self.folded_rows, self.keys_about) = (0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rows of each chunk are folded; `keys` come in no order, in batches of 64.
    fn folded(judge: &mut Judge, chunks: &[usize], keys: u64) -> Vec<usize> {
        let (mut folds, mut random) = (true, crate::sys::random::Random::new(1));
        let chunk = |&rows: &usize| {
            let (mut groups, mut folded) = (std::collections::HashSet::new(), 0);
            for _ in 0..rows / 64 {
                judge.take(64);
                if folds {
                    groups.extend((0..64).map(|_| random.below(keys)));
                    folded += 64;
                    folds = judge.pays(64, groups.len(), || groups.len());
                }
            }
            folds = judge.end_chunk();
            folded
        };
        chunks.iter().map(chunk).collect()
    }

    #[test]
    fn long_chunks_are_folded_whose_first_rows_repeat_no_key() {
        let long = 64 * 200;
        // The first tells that chunks are long.
        assert_eq!(folded(&mut Judge::new(true), &[long; 4], 300), [64, long, long, long]);
        // Too short a chunk for so many keys: it is not tried again so soon.
        assert_eq!(folded(&mut Judge::new(true), &[640; 18], 4000)[..3], [64, 0, 0]);
        assert_eq!(folded(&mut Judge::new(true), &[640; 18], 4000)[16..], [64, 0]);
        // Where it shows, every chunk is judged by itself.
        assert_eq!(folded(&mut Judge::new(false), &[long; 3], 300), [64; 3]);
        assert_eq!(folded(&mut Judge::new(false), &[long; 2], 10), [long; 2]);
    }
}
