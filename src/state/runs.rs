//! Values that wait for sets, by set: a run of values says its set once, so that a value of one word takes little more than a word.
//!
//! Equal pairs of a set and a value lie in one partition. A partition has the sets whose numbers end with certain bits, and of their values
//! those whose hashes begin with certain bits: the fewer sets there are, the more bits of the hash, so that runs have some values wherever
//! that can be, and partitions are about alike.
//!
//! # Layout
//!
//! ```text
//! run:    set u32 │ owner's u8 │ values u24   value … │ value … │ …
//! page:   run │ run │ … │ zeros
//! ```
//!
//! # Invariants
//!
//! 1. A run never straddles pages, and has one value at least; so the word of a head is never 0.
//! 2. How many bits of the hash say the partition stays as it was when the first pair came.

use super::array::Array;
use super::buffer::Access;
use super::pages::{PAGE_WORDS, Pages};
use super::saved::Saved;

const PARTITION_BITS: u32 = 7;
/// How many partitions.
pub(super) const PARTITIONS: usize = 1 << PARTITION_BITS;
/// Pages of a partition that are fetched from the disk at a time.
const FETCHED_PAGES_MAX: usize = 1 << 10;
/// So many values a run has on average if sets have equally many.
const RUN_VALUES: usize = 16;

const COUNT_SHIFT: u32 = 40;

/// Pairs by set. Dropping it without [`Runs::release`] leaks its pages until the space goes.
#[derive(Debug)]
pub(super) struct Runs {
    partitions: Vec<Partition>,
    division: Division,
    /// How many words have been pushed since it was made or loaded; not saved.
    word_count: usize,
}

/// Which pairs go into one run, and those of one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    hash_bits: u32,
}

impl Division {
    /// Some `pair_count` pairs will come at a time, of some `set_count` sets.
    fn new(set_count: usize, pair_count: usize) -> Self {
        let run_count = (pair_count / RUN_VALUES / set_count.max(1)).max(1);
        Self { hash_bits: run_count.ilog2().min(PARTITION_BITS) }
    }

    /// The run of pairs whose last word is `last` and whose values have this hash; its low bits are its partition.
    #[inline]
    pub(super) fn run_of(self, last: u64, hash: u64) -> u64 {
        // Twice, for all at once are too many if no bit is taken.
        last << self.hash_bits | hash >> 1 >> (u64::BITS - 1 - self.hash_bits)
    }
}

#[derive(Debug, Default)]
struct Partition {
    pages: Array,
    /// Words used of the last page.
    last_words: usize,
}

impl Runs {
    /// None yet, of some `set_count` sets; `pair_count` of them will come at a time.
    pub(super) fn new(set_count: usize, pair_count: usize) -> Self {
        let partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
        Self { partitions, division: Division::new(set_count, pair_count), word_count: 0 }
    }

    /// Those that were saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let division = Division { hash_bits: saved.word() as u32 };
        let partition = |_| {
            let pages = Array::load(saved, pages);
            Partition { pages, last_words: saved.word() as usize }
        };
        Self { partitions: (0..PARTITIONS).map(partition).collect(), division, word_count: 0 }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        out.push(self.division.hash_bits.into());
        for partition in &self.partitions {
            partition.pages.save(out);
            out.push(partition.last_words as u64);
        }
    }

    /// How many words have been pushed since it was made or loaded.
    pub(super) fn word_count(&self) -> usize {
        self.word_count
    }

    /// Which pairs go into one run.
    pub(super) fn division(&self) -> Division {
        self.division
    }

    /// Appends pairs that go into one run.
    ///
    /// # Panics
    ///
    /// If the owner's part of their last word is more than a byte.
    pub(super) fn push<const STRIDE: usize>(
        &mut self,
        pages: &mut Pages,
        run: u64,
        pairs: &[[u64; STRIDE]],
    ) {
        let value_words = STRIDE - 1;
        let partition = &mut self.partitions[run as usize & (PARTITIONS - 1)];
        let mut rest = pairs;
        while let Some(first) = rest.first() {
            let last = first[value_words];
            assert!(last >> COUNT_SHIFT == 0, "no more than a byte beside the set");
            if partition.pages.len() == 0 || partition.last_words + STRIDE > PAGE_WORDS {
                partition.pages.push_extent(pages, Access::Sequential, PAGE_WORDS);
                partition.last_words = 0;
            }
            let count = rest.len().min((PAGE_WORDS - partition.last_words - 1) / value_words);
            let page = partition.pages.page(partition.pages.len() - 1);
            let room = pages.words_mut(page, partition.last_words, 1 + count * value_words);
            let (head, values) = room.split_first_mut().expect("there is room for a value");
            *head = last | (count as u64) << COUNT_SHIFT;
            for (value, pair) in values.chunks_exact_mut(value_words).zip(rest) {
                value.copy_from_slice(&pair[..value_words]);
            }
            partition.last_words += room.len();
            self.word_count += room.len();
            rest = &rest[count..];
        }
    }

    /// The pairs of a partition, run by run.
    pub(super) fn each<const STRIDE: usize>(
        &self,
        pages: &Pages,
        partition: usize,
    ) -> impl Iterator<Item = impl ExactSizeIterator<Item = [u64; STRIDE]>> + Clone {
        let Partition { pages: numbers, last_words } = &self.partitions[partition];
        let (page_count, last_words) = (numbers.len(), *last_words);
        let words_of = move |(index, page)| match index + 1 == page_count {
            true => &pages.get(page)[..last_words],
            false => pages.get(page),
        };
        numbers.iter().enumerate().map(words_of).flat_map(runs_of::<STRIDE>)
    }

    /// Has the disk fetch the pages of a partition, if there is such a one.
    pub(super) fn prefetch(&self, pages: &Pages, partition: usize) {
        if let Some(partition) = self.partitions.get(partition) {
            pages.prefetch(partition.pages.iter().take(FETCHED_PAGES_MAX));
        }
    }

    /// Frees a partition: it is empty then.
    pub(super) fn release_partition(&mut self, pages: &mut Pages, partition: usize) {
        std::mem::take(&mut self.partitions[partition]).pages.release(pages);
    }

    /// Frees everything.
    pub(super) fn release(mut self, pages: &mut Pages) {
        (0..PARTITIONS).for_each(|partition| self.release_partition(pages, partition));
    }
}

/// The runs of a page, each as its pairs.
fn runs_of<const STRIDE: usize>(
    page: &[u64],
) -> impl Iterator<Item = impl ExactSizeIterator<Item = [u64; STRIDE]>> + Clone {
    let mut rest = page;
    std::iter::from_fn(move || {
        let (&head, behind) = rest.split_first().filter(|&(&head, _)| head != 0)?;
        let count = (head >> COUNT_SHIFT) as usize;
        let values;
        (values, rest) = behind.split_at(count * (STRIDE - 1));
        let last = head & ((1 << COUNT_SHIFT) - 1);
        Some(values.chunks_exact(STRIDE - 1).map(move |value| {
            let mut pair = [last; STRIDE];
            pair[..STRIDE - 1].copy_from_slice(value);
            pair
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against lists by partition: pairs come back in the order in which they were pushed, whatever came between; saved and loaded on
        /// the way.
        #[test]
        fn pairs_come_back(
            runs in prop::collection::vec((0..300u64, 0..256u64, any::<u64>(), 1..3000usize), 0..20),
            set_count in prop::sample::select(vec![0, 1, 10, 1000, 1_000_000]),
        ) {
            let (mut pages, mut held) = (Pages::default(), Runs::new(set_count, 1 << 16));
            let mut twin: BTreeMap<u64, Vec<[u64; 3]>> = BTreeMap::new();
            for (set, owners, hash, count) in runs {
                let last = set | owners << 32;
                let pairs: Vec<[u64; 3]> = (0..count as u64).map(|n| [n, hash, last]).collect();
                let run = held.division().run_of(last, hash);
                prop_assert_eq!(run, held.division().run_of(last, hash));
                held.push(&mut pages, run, &pairs);
                twin.entry(run % PARTITIONS as u64).or_default().extend(pairs);
                let mut saved = Vec::new();
                held.save(&mut saved);
                held = Runs::load(&mut Saved::new(&saved), &pages);
            }
            for partition in 0..PARTITIONS {
                let found: Vec<[u64; 3]> = held.each(&pages, partition).flatten().collect();
                prop_assert_eq!(found, twin.remove(&(partition as u64)).unwrap_or_default());
            }
            held.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }

    #[test]
    fn few_sets_are_divided_by_their_values() {
        let bits = |set_count| Division::new(set_count, 1 << 16).hash_bits;
        assert_eq!([0, 1, 32, 33, 1000, 4096, 1 << 30].map(bits), [7, 7, 7, 6, 2, 0, 0]);
    }
}
