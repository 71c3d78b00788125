//! Many groups merged into as many slots: the commonest accumulators, a sum of doubles with a count and an extreme value, in one plain pass.
//!
//! # Invariants
//!
//! 1. It does what [`super::merge`] does group by group.

use super::fused::{GREATEST, LEAST, NO};
use super::merge::{merge_group, merge_parts, merge_words};
use super::{Accumulator, AggregateCall, Layout, Partials, Slots};

/// Where accumulators are merged from.
pub trait Source {
    /// The words of a group.
    fn group(&self, index: u32) -> &[u64];
    /// The bytes behind one of them that is not 0.
    fn bytes_of(&self, word: u64) -> &[u8];
}

impl<S: Slots> Source for S {
    #[inline]
    fn group(&self, index: u32) -> &[u64] {
        self.words(index)
    }

    fn bytes_of(&self, word: u64) -> &[u8] {
        self.blob(word)
    }
}

/// Partials, of whose groups each has `word_count` words.
#[derive(Clone, Copy, Debug)]
pub struct PartialGroups<'a> {
    /// The accumulators.
    pub partials: &'a Partials,
    /// Words of a group.
    pub word_count: usize,
}

impl Source for PartialGroups<'_> {
    #[inline]
    fn group(&self, index: u32) -> &[u64] {
        self.partials.group(index as usize, self.word_count)
    }

    fn bytes_of(&self, word: u64) -> &[u8] {
        self.partials.bytes(word)
    }
}

/// Merges the groups of `from` at `indices` into the accumulators of `slots`, one after another; their rows count as later.
pub fn merge_groups<S: Slots, F: Source>(
    layout: &Layout,
    calls: &[AggregateCall],
    table: &mut S,
    slots: &[u32],
    from: &F,
    indices: impl Iterator<Item = u32>,
) {
    let pairs = slots.iter().copied().zip(indices);
    let merge = Merge { layout, calls, table, from };
    match Together::of(layout) {
        Some(parts) => match (parts.count.is_some(), parts.extreme) {
            (true, None) => merge.pass::<true, NO>(&parts, pairs),
            (true, Some((_, false))) => merge.pass::<true, LEAST>(&parts, pairs),
            (true, Some((_, true))) => merge.pass::<true, GREATEST>(&parts, pairs),
            (false, None) => merge.pass::<false, NO>(&parts, pairs),
            (false, Some((_, false))) => merge.pass::<false, LEAST>(&parts, pairs),
            (false, Some((_, true))) => merge.pass::<false, GREATEST>(&parts, pairs),
        },
        None => {
            for (slot, index) in pairs {
                merge_group(layout, (0, calls), merge.table, slot, from, index);
            }
        }
    }
}

/// The first words of accumulators that are all of a slot.
pub(super) struct Together {
    /// Which part the sum is, and where.
    pub(super) sum: (usize, usize),
    pub(super) count: Option<usize>,
    pub(super) extreme: Option<(usize, bool)>,
}

impl Together {
    /// `None`: there are others.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        let (mut sum, mut count, mut extreme) = (None, None, None);
        for (index, part) in layout.parts.iter().enumerate() {
            match part.accumulator {
                Accumulator::SumFloat if sum.is_none() => sum = Some((index, part.offset)),
                Accumulator::Count if count.is_none() => count = Some(part.offset),
                Accumulator::ExtremeFloat { greatest } if extreme.is_none() => {
                    extreme = Some((part.offset, greatest));
                }
                _ => return None,
            }
        }
        Some(Self { sum: sum?, count, extreme })
    }
}

struct Merge<'a, S, F> {
    layout: &'a Layout,
    calls: &'a [AggregateCall],
    table: &'a mut S,
    from: &'a F,
}

impl<S: Slots, F: Source> Merge<'_, S, F> {
    fn pass<const COUNT: bool, const EXTREME: u8>(
        self,
        parts: &Together,
        pairs: impl Iterator<Item = (u32, u32)>,
    ) {
        let (count, (extreme, _)) = (parts.count.unwrap_or(0), parts.extreme.unwrap_or((0, false)));
        let (sum_part, sum) = parts.sum;
        let end = self.layout.word_count;
        for (slot, index) in pairs {
            let (words, others) =
                (&mut self.table.words_mut(slot)[..end], &self.from.group(index)[..end]);
            if COUNT {
                words[count] += others[count];
            }
            if EXTREME != NO {
                let accumulator = Accumulator::ExtremeFloat { greatest: EXTREME == GREATEST };
                let range = extreme..extreme + 2;
                merge_words(accumulator, &mut words[range.clone()], &others[range]);
            }
            let range = sum..sum + 4;
            if !merge_words(Accumulator::SumFloat, &mut words[range.clone()], &others[range]) {
                let part = &self.layout.parts[sum_part..=sum_part];
                merge_parts(part, (0, self.calls), self.table, slot, self.from, index);
            }
        }
    }
}
