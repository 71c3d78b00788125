//! Pairs of a value and a set that wait, each once for each time that it came: to be numbered, or to be counted without ever being numbered.
//!
//! To number a value is to look it up in a dictionary of all values, and to add its number to a set costs as much again. Who wants
//! nothing but how many different values each set has, once, needs neither: pairs wait so that equal ones lie together
//! ([`super::partitioned`]), and are found a part at a time, in an index that has nothing else.
//!
//! # Layout
//!
//! ```text
//! pair:     words of the value … │ set u32, the owner's u8, 0
//! pending:  pairs as they came, [`SPILLED_PAIRS`] at most once there is a backlog
//! backlog:  partitions by the pairs' hashes
//! ```
//!
//! # Invariants
//!
//! 1. Equal pairs lie in one partition of the backlog, or are pending.
//! 2. While they wait unnumbered, pairs take at most about [`REPEATS`] times what numbers of their values, and sets of those, would
//!    ([`Pairs::is_costly`]). How much that is, is judged by a sample of the values, whenever a certain share has come.

use std::iter::once;

use super::array::Array;
use super::pages::{PAGE_WORDS, Pages};
use super::partitioned::{PARTITIONS, Partitioned};
use super::radix::part;
use super::saved::Saved;
use crate::batch::hash::hash_with;

/// With so many pairs pending, a backlog begins: each of its partitions has a page at least.
const PENDING_MAX: usize = if cfg!(test) { 300 } else { 1 << 17 };
/// So many pairs are moved to a backlog at a time: they and their copies fit the second cache, and a partition gets some blocks of them.
const SPILLED_PAIRS: usize = if cfg!(test) { 100 } else { 1 << 14 };
/// At least so many pairs are numbered at a time, if there are as many.
const NUMBERED_PAIRS: usize = 1 << 20;
/// Equal pairs are looked for among about so many, or up to twice: to divide what an index finds beyond the second cache would cost more.
const PART_PAIRS: usize = if cfg!(test) { 1 << 12 } else { 1 << 16 };
const PARTS_MAX: usize = 1 << 11;

/// See invariant 2.
const REPEATS: usize = 3;
/// About what a number in a set takes.
const NUMBER_BYTES: usize = 3;
/// About what entries of a dictionary take besides their words, of which they have twice as many as values, for they are half empty.
const ENTRY_BYTES: usize = 16;
/// One of so many values is in the sample.
const SAMPLED: usize = if cfg!(test) { 8 } else { 512 };

/// Pairs of `STRIDE` words.
#[derive(Debug, Default)]
pub(super) struct Pairs<const STRIDE: usize> {
    pending: Array,
    pending_count: usize,
    backlog: Option<Partitioned<STRIDE>>,
    sample: Sample<STRIDE>,
}

/// All pairs of some values, each once when it has been judged, of those that have gone to the backlog since it was made or loaded.
#[derive(Debug, Default)]
struct Sample<const STRIDE: usize> {
    pairs: Vec<[u64; STRIDE]>,
    /// When so many words have gone there it is judged next.
    judged_at: usize,
}

/// Memory for pairs that are looked at, kept from one time to the next.
#[derive(Debug, Default)]
pub(super) struct PairRoom<const STRIDE: usize> {
    pub(super) pairs: Vec<[u64; STRIDE]>,
    pub(super) parted: Vec<[u64; STRIDE]>,
    /// Of pairs: low bits, where the pair lies + 1; high bits, some of its hash. 0: empty.
    index: Vec<u32>,
}

impl<const STRIDE: usize> Pairs<STRIDE> {
    const PAGE_PAIRS: usize = PAGE_WORDS / STRIDE;

    /// The pairs that were saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let pending = Array::load(saved, pages);
        let (pending_count, has_backlog) = saved.pair();
        let backlog = (has_backlog != 0).then(|| Partitioned::load(saved, pages));
        let sample = Sample::default();
        Self { pending, pending_count: pending_count as usize, backlog, sample }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.pending.save(out);
        out.push(self.pending_count as u64 | u64::from(self.backlog.is_some()) << 32);
        self.backlog.iter().for_each(|backlog| backlog.save(out));
    }

    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pending_count == 0 && self.backlog.is_none()
    }

    /// How many are pending.
    pub(super) fn pending_count(&self) -> usize {
        self.pending_count
    }

    /// Appends `count` pairs; `pair` says which.
    #[inline]
    pub(super) fn extend(
        &mut self,
        pages: &mut Pages,
        count: usize,
        pair: impl Fn(usize) -> [u64; STRIDE],
    ) {
        let mut done = 0;
        while done < count {
            let (page, at) =
                (self.pending_count / Self::PAGE_PAIRS, self.pending_count % Self::PAGE_PAIRS);
            if page == self.pending.len() {
                self.pending.push(pages);
            }
            let some = (count - done).min(Self::PAGE_PAIRS - at);
            let room = pages.words_mut(self.pending.page(page), at * STRIDE, some * STRIDE);
            for (index, place) in (done..).zip(room.as_chunks_mut::<STRIDE>().0) {
                *place = pair(index);
            }
            self.pending_count += some;
            done += some;
        }
    }

    /// Whether as many are pending as ought to be before they go to the backlog.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        let least = if self.backlog.is_some() { SPILLED_PAIRS } else { PENDING_MAX };
        self.pending_count >= least
    }

    /// Moves what is pending to the backlog.
    pub(super) fn spill(&mut self, pages: &mut Pages, room: &mut PairRoom<STRIDE>) {
        let pending = pairs_in(&self.pending, self.pending_count, pages);
        pending.clone().for_each(|run| self.sample.pairs.extend(run.filter(is_sampled)));
        let begins = self.backlog.is_none();
        let backlog = self.backlog.get_or_insert_with(Partitioned::new);
        let partition =
            |pair: &[u64; STRIDE]| Partitioned::<STRIDE>::partition_of(pair_spread(pair));
        let parts = part(pending, &mut room.parted, PARTITIONS, partition);
        parts.enumerate().for_each(|(partition, pairs)| backlog.push(pages, partition, pairs));
        if begins {
            // There will never be as many again.
            self.pending.release(pages);
        }
        self.pending_count = 0;
    }

    /// Whether it is time to number what waits: see the module's invariant 2.
    pub(super) fn is_costly(&mut self, room: &mut PairRoom<STRIDE>) -> bool {
        let (Some(backlog), sample) = (&self.backlog, &mut self.sample) else { return false };
        let word_count = backlog.word_count();
        if word_count < sample.judged_at {
            return false;
        }
        sample.judged_at = word_count + word_count / 4;
        let mut value_count = 0;
        let mut distinct = Vec::new();
        room.each_distinct(&sample.pairs, |pair| distinct.push(*pair));
        let value = |mut pair: [u64; STRIDE]| {
            pair[STRIDE - 1] &= !u64::from(u32::MAX);
            pair
        };
        let values: Vec<_> = distinct.iter().copied().map(value).collect();
        room.each_distinct(&values, |_| value_count += 1);
        sample.pairs = distinct;
        let entry_bytes = ENTRY_BYTES + 8 * 2 * (STRIDE - 1);
        let numbered_bytes = sample.pairs.len() * NUMBER_BYTES + value_count * entry_bytes;
        word_count * 8 > numbered_bytes * SAMPLED * REPEATS
    }

    /// Moves some pairs to `room`; false: none waited.
    pub(super) fn take_some(&mut self, pages: &mut Pages, room: &mut PairRoom<STRIDE>) -> bool {
        let Some(backlog) = &mut self.backlog else {
            self.take_pending(pages, &mut room.pairs);
            return !room.pairs.is_empty();
        };
        room.pairs.clear();
        for partition in 0..PARTITIONS {
            if room.pairs.len() >= NUMBERED_PAIRS {
                return true;
            }
            backlog.prefetch(pages, partition + 1);
            backlog.read(pages, partition, &mut room.pairs);
            backlog.release_partition(pages, partition);
        }
        self.backlog = None;
        !room.pairs.is_empty() || self.take_some(pages, room)
    }

    /// Adds to `counts`, by set, how many different values wait for it. Nothing waits then.
    pub(super) fn count(
        &mut self,
        pages: &mut Pages,
        room: &mut PairRoom<STRIDE>,
        counts: &mut [u64],
    ) {
        let mut count = |pair: &[u64; STRIDE]| counts[set_of(pair) as usize] += 1;
        if self.backlog.is_none() {
            self.take_pending(pages, &mut room.pairs);
            return room.each_distinct_pair(&mut count);
        }
        self.spill(pages, room);
        let mut backlog = self.backlog.take().expect("there is one");
        for partition in 0..PARTITIONS {
            backlog.prefetch(pages, partition + 1);
            room.pairs.clear();
            backlog.read(pages, partition, &mut room.pairs);
            room.each_distinct_pair(&mut count);
            backlog.release_partition(pages, partition);
        }
    }

    /// Moves the pairs that are pending to `to`.
    fn take_pending(&mut self, pages: &Pages, to: &mut Vec<[u64; STRIDE]>) {
        to.clear();
        pairs_in(&self.pending, self.pending_count, pages).for_each(|run| to.extend(run));
        self.pending_count = 0;
    }

    /// Frees all pages.
    pub(super) fn release(mut self, pages: &mut Pages) {
        self.pending.release(pages);
        if let Some(backlog) = self.backlog {
            backlog.release(pages);
        }
    }
}

/// The first `count` pairs that lie in `numbers`, page by page.
fn pairs_in<'a, const STRIDE: usize>(
    numbers: &'a Array,
    count: usize,
    pages: &'a Pages,
) -> impl Iterator<Item = impl Iterator<Item = [u64; STRIDE]>> + Clone {
    let page_pairs = Pairs::<STRIDE>::PAGE_PAIRS;
    numbers.iter().zip((0..count).step_by(page_pairs)).map(move |(page, start)| {
        let words = (count - start).min(page_pairs) * STRIDE;
        pages.get(page)[..words].as_chunks().0.iter().copied()
    })
}

impl<const STRIDE: usize> PairRoom<STRIDE> {
    /// Calls `to` with each of its pairs once.
    fn each_distinct_pair(&mut self, to: impl FnMut(&[u64; STRIDE])) {
        let pairs = std::mem::take(&mut self.pairs);
        self.each_distinct(&pairs, to);
        self.pairs = pairs;
    }

    /// Calls `to` with each of `pairs` once.
    fn each_distinct(&mut self, pairs: &[[u64; STRIDE]], mut to: impl FnMut(&[u64; STRIDE])) {
        let part_count = (pairs.len() / PART_PAIRS).next_power_of_two().min(PARTS_MAX);
        if part_count == 1 {
            return each_distinct(pairs, &mut self.index, to);
        }
        // Not the bits that say the partition.
        let part_of = |pair: &[u64; STRIDE]| (pair_spread(pair) >> 32) as usize & (part_count - 1);
        part(once(pairs.iter().copied()), &mut self.parted, part_count, part_of)
            .for_each(|pairs| each_distinct(pairs, &mut self.index, &mut to));
    }
}

/// Calls `to` with each pair once.
fn each_distinct<const STRIDE: usize>(
    pairs: &[[u64; STRIDE]],
    index: &mut Vec<u32>,
    mut to: impl FnMut(&[u64; STRIDE]),
) {
    assert!(u32::try_from(pairs.len()).is_ok_and(|count| count < u32::MAX / 8));
    let entries = (pairs.len() * 4).next_power_of_two();
    index.clear();
    index.resize(entries, 0);
    // An entry has room for the number of a pair, and above it for what is left of 32 bits.
    let (mask, tag_mask) = (entries - 1, !(entries as u32 - 1));
    for (number, pair) in (1..).zip(pairs) {
        let hash = pair_hash(pair);
        let tag = (hash >> 32) as u32 & tag_mask;
        let mut at = hash as usize & mask;
        loop {
            let entry = index[at];
            if entry == 0 {
                index[at] = tag | number;
                to(pair);
                break;
            }
            if entry & tag_mask == tag && pairs[(entry & !tag_mask) as usize - 1] == *pair {
                break;
            }
            at = (at + 1) & mask;
        }
    }
}

/// The set of a pair.
#[inline]
pub(super) fn set_of<const STRIDE: usize>(pair: &[u64; STRIDE]) -> u32 {
    pair[STRIDE - 1] as u32
}

/// The hash of a pair.
#[inline]
fn pair_hash<const STRIDE: usize>(pair: &[u64; STRIDE]) -> u64 {
    pair[..STRIDE - 1].iter().fold(pair[STRIDE - 1], |hash, &word| hash_with(hash, word))
}

/// A number in whose upper half pairs differ, so that each of its bits divides them about evenly.
#[inline]
fn pair_spread<const STRIDE: usize>(pair: &[u64; STRIDE]) -> u64 {
    spread(pair).wrapping_add(pair[STRIDE - 1].wrapping_mul(SET_SPREAD))
}

/// The same for their values alone.
#[inline]
fn spread<const STRIDE: usize>(pair: &[u64; STRIDE]) -> u64 {
    let value = pair[..STRIDE - 1].iter();
    let fold =
        |spread: u64, word: u64| (spread.rotate_left(32) ^ word ^ word >> 32).wrapping_mul(SPREAD);
    value.fold(0, |spread, &word| fold(spread, word))
}

/// An odd number of many bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Another: 2^64 divided by the root of two.
const SET_SPREAD: u64 = 0xb504_f333_f9de_6485;

/// Whether a pair's value is in the sample.
#[inline]
fn is_sampled<const STRIDE: usize>(pair: &[u64; STRIDE]) -> bool {
    ((spread(pair) >> 44) as usize).is_multiple_of(SAMPLED)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringViewArray};
    use proptest::prelude::*;

    use super::super::{DistinctSets, Values};
    use super::*;
    use crate::batch::Strings;

    /// What is inserted at a time: sets and values.
    type Some = Vec<(u32, u32)>;

    fn insert(sets: &mut DistinctSets, pages: &mut Pages, some: &Some, texts: bool) -> bool {
        let (numbers, values): (Vec<u32>, Vec<u32>) = some.iter().copied().unzip();
        if !texts {
            let values: Vec<i64> = values.into_iter().map(i64::from).collect();
            return sets.insert_integers(pages, &numbers, &values).unwrap();
        }
        // Lengths around those where another way begins, and texts of digits alone and others.
        let text = |value: &u32| {
            let before = if (value / 20).is_multiple_of(2) { "" } else { "x" };
            format!("{before}{value:0length$}", length = 10 + *value as usize % 20)
        };
        let columns: [ArrayRef; 1] =
            [Arc::new(StringViewArray::from_iter_values(values.iter().map(text)))];
        sets.insert_strings(pages, &numbers, &Strings::of(&columns).unwrap()).unwrap()
    }

    proptest! {
        /// Against plain sets: what flushes and the last count tell together is each pair once. With and without flushes, which have
        /// all that follows numbered; saved and loaded on the way.
        #[test]
        fn counts_are_those_of_sets(
            steps in prop::collection::vec((prop::collection::vec((0..7u32, any::<u32>()), 0..400), 0..40u8), 0..12),
            values in prop::sample::select(vec![3, 300, u32::MAX]),
            texts in any::<bool>(),
        ) {
            let kind = if texts { Values::Bytes } else { Values::Words(8) };
            let (mut pages, mut sets) = (Pages::default(), DistinctSets::new(kind));
            sets.ensure(&mut pages, 6);
            let mut twin: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
            let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
            for (mut some, then) in steps {
                some.iter_mut().for_each(|(_, value)| *value %= values);
                for &(set, value) in &some {
                    twin.entry(set).or_default().insert(value);
                }
                if insert(&mut sets, &mut pages, &some, texts) || then == 0 {
                    sets.flush(&mut pages, |set, new| *counts.entry(set).or_default() += new.len() as u64);
                }
                let mut saved = Vec::new();
                sets.save(&mut saved);
                sets = DistinctSets::load(kind, &mut Saved::new(&saved), &pages);
            }
            sets.finish(&mut pages, |set, count| *counts.entry(set).or_default() += count);
            prop_assert_eq!(counts, twin.iter().map(|(&set, values)| (set, values.len() as u64)).collect());
            sets.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }

    #[test]
    fn what_repeats_much_is_numbered_and_what_does_not_waits() {
        for texts in [false, true] {
            let kind = if texts { Values::Bytes } else { Values::Words(8) };
            let full = |values: u32| {
                let (mut pages, mut sets) = (Pages::default(), DistinctSets::new(kind));
                sets.ensure(&mut pages, 0);
                let mut full = false;
                for chunk in 0..100 {
                    let some = (0..100).map(|row| (0, (chunk * 100 + row) % values * 20)).collect();
                    full |= insert(&mut sets, &mut pages, &some, texts);
                }
                full
            };
            assert!(full(40) && !full(10_000), "texts: {texts}");
        }
    }

    #[test]
    fn one_value_fills_a_partition_alone() {
        let mut room = PairRoom::default();
        let pairs = (0..5 * PART_PAIRS as u64).map(|row| [7, row % 3]);
        let (pairs, mut found): (Vec<_>, _) = (pairs.collect(), Vec::new());
        room.each_distinct(&pairs, |pair| found.push(*pair));
        found.sort_unstable();
        assert_eq!(found, [[7, 0], [7, 1], [7, 2]]);
    }
}
