//! Merge: accumulators into accumulators, and their form for travelling between shards.

use rkyv::util::AlignedVec;

use super::exact::{COUNT_MASK, Spill};
use super::merge_groups::{PartialGroups, Source};
use super::update::{
    DECIMAL_OVERFLOW, HOLDS_NUMBER, add_decimal, add_fixed, add_spill, extreme_decimal,
    extreme_float, fold_bytes, halves, joined,
};
use super::{Accumulator, AggregateCall, AggregateFunction, Layout, Part, Slots, user};

/// Accumulators of several groups outside of any table. A word that refers to bytes holds
/// `(start + 1) << 32 | length` into `blobs`, or 0.
#[derive(Clone, Debug, Default)]
pub struct Partials {
    /// `[groups × Layout::word_count]`
    pub words: Vec<u64>,
    /// The bytes that words refer to, each from a multiple of 16 on.
    pub blobs: AlignedVec,
}

impl Partials {
    /// The words of group `index`.
    pub fn group(&self, index: usize, word_count: usize) -> &[u64] {
        &self.words[index * word_count..(index + 1) * word_count]
    }

    /// Appends group `index` to `into`.
    pub fn copy_group(
        &self,
        index: usize,
        word_count: usize,
        layout: &Layout,
        into: &mut Partials,
    ) {
        let start = into.words.len();
        into.words.extend_from_slice(self.group(index, word_count));
        for &word in &layout.blob_words {
            let blob = into.words[start + word];
            if blob != 0 {
                into.words[start + word] = into.push_bytes(self.bytes(blob));
            }
        }
    }

    /// Forgets all groups, keeping the memory.
    pub fn clear(&mut self) {
        self.words.clear();
        self.blobs.clear();
    }

    /// Becomes a single group, as [`Partials::copy_group`] made one in empty partials.
    pub fn set_group(&mut self, words: &[u64], blobs: &[u8]) {
        self.clear();
        self.words.extend_from_slice(words);
        self.blobs.reserve(blobs.len() + AlignedVec::<16>::ALIGNMENT);
        self.blobs.extend_from_slice(blobs);
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> u64 {
        // Of no bytes the place counts too.
        self.blobs.reserve(bytes.len() + AlignedVec::<16>::ALIGNMENT);
        self.blobs.resize(self.blobs.len().next_multiple_of(AlignedVec::<16>::ALIGNMENT), 0);
        let word = ((self.blobs.len() as u64 + 1) << 32) | bytes.len() as u64;
        self.blobs.extend_from_slice(bytes);
        assert!(self.blobs.len() < u32::MAX as usize, "a batch's aggregate strings pass 4 GiB");
        word
    }

    pub(super) fn bytes(&self, word: u64) -> &[u8] {
        let start = (word >> 32) as usize - 1;
        &self.blobs[start..start + (word & 0xffff_ffff) as usize]
    }
}

/// Appends the accumulators of `slot` (from word `base` on) to `out`.
///
/// # Panics
///
/// If one batch's bytes pass 4 GiB.
pub fn export<S: Slots>(layout: &Layout, base: usize, table: &S, slot: u32, out: &mut Partials) {
    let start = out.words.len();
    out.words.extend_from_slice(&table.words(slot)[base..base + layout.word_count]);
    for &word in &layout.blob_words {
        let blob = out.words[start + word];
        if blob != 0 {
            out.words[start + word] = out.push_bytes(table.blob(blob));
        }
    }
}

/// Merges group `index` of `partials` into the accumulators of `slot` (from word `base` on); the partial's rows count as later.
pub fn merge<S: Slots>(
    layout: &Layout,
    base: usize,
    calls: &[AggregateCall],
    table: &mut S,
    slot: u32,
    partials: &Partials,
    index: usize,
) {
    let from = PartialGroups { partials, word_count: layout.word_count };
    merge_group(layout, (base, calls), table, slot, &from, index as u32);
}

/// Merges group `index` of `from` into the accumulators of `slot`.
#[inline]
pub(super) fn merge_group<S: Slots, F: Source>(
    layout: &Layout,
    (base, calls): (usize, &[AggregateCall]),
    table: &mut S,
    slot: u32,
    from: &F,
    index: u32,
) {
    // Most accumulators are words alone: then the slot is sought, and its change noted, once.
    let (words, others) = (&mut table.words_mut(slot)[base..], from.group(index));
    let mut is_merged = |part: &Part| {
        merge_words(part.accumulator, &mut words[part.words()], &others[part.words()])
    };
    if let Some(rest) = layout.parts.iter().position(|part| !is_merged(part)) {
        merge_parts(&layout.parts[rest..], (base, calls), table, slot, from, index);
    }
}

/// Merges some parts, of which the first has bytes to merge.
#[cold]
pub(super) fn merge_parts<S: Slots, F: Source>(
    parts: &[Part],
    (base, calls): (usize, &[AggregateCall]),
    table: &mut S,
    slot: u32,
    from: &F,
    index: u32,
) {
    for part in parts {
        let (offset, words) = (base + part.offset, &from.group(index)[part.words()]);
        let bytes = |word: u64| from.bytes_of(word);
        match &calls[part.call].function {
            AggregateFunction::User(_) if words[0] == 0 => {}
            AggregateFunction::User(function) => {
                user::merge(function, offset, table, slot, bytes(words[0]));
            }
            _ => {
                let separator = calls[part.call].separator.as_str();
                merge_one(part.accumulator, offset, separator, table, slot, (words, &bytes));
            }
        }
    }
}

/// Copies the accumulators of `slot` from word `from` on over those from word `to` on.
pub fn copy<S: Slots>(layout: &Layout, from: usize, to: usize, table: &mut S, slot: u32) {
    for part in &layout.parts {
        let accumulator = part.accumulator;
        for at in part.words() {
            let (value, held) = (table.words(slot)[from + at], table.words(slot)[to + at]);
            let copied = match layout.blob_words.contains(&at) && value != 0 {
                false => value,
                true => {
                    let bytes = table.blob(value).to_vec();
                    match (accumulator, held) {
                        (Accumulator::User, 0) => table.new_aligned(&bytes),
                        _ => table.put_blob(held, &bytes),
                    }
                }
            };
            table.words_mut(slot)[to + at] = copied;
        }
    }
}

/// Merges what is in words; false, and nothing done, where there are bytes to merge as well.
#[inline]
pub(super) fn merge_words(accumulator: Accumulator, words: &mut [u64], from: &[u64]) -> bool {
    match accumulator {
        Accumulator::Count => words[0] += from[0],
        Accumulator::SumInt => {
            words[0] = words[0].wrapping_add(from[0]);
            words[1] += from[1];
        }
        Accumulator::SumDecimal => {
            add_decimal(words, joined(from[0], from[1]), from[2] & !DECIMAL_OVERFLOW);
            words[2] |= from[2] & DECIMAL_OVERFLOW;
        }
        Accumulator::ExtremeInt { greatest } => {
            let (value, held) = (from[0] as i64, words[0] as i64);
            if from[1] != 0
                && (words[1] == 0 || (if greatest { value > held } else { value < held }))
            {
                words.copy_from_slice(from);
            }
        }
        Accumulator::ExtremeFloat { greatest } => {
            if words[1] == 0 {
                words.copy_from_slice(from);
            } else if from[1] & HOLDS_NUMBER != 0 {
                let words = words.first_chunk_mut().expect("two words");
                extreme_float(words, f64::from_bits(from[0]), greatest);
            }
        }
        Accumulator::ExtremeDecimal { greatest } => {
            if from[2] != 0 {
                extreme_decimal(words, joined(from[0], from[1]), greatest);
            }
        }
        Accumulator::PickFixed { last } => {
            if from[2] != 0 && (last || words[2] == 0) {
                words.copy_from_slice(from);
            }
        }
        Accumulator::SumFloat => return merge_fixed(words, from),
        Accumulator::ExtremeBytes { .. } | Accumulator::PickBytes { .. } | Accumulator::Join => {
            return from[0] == 0;
        }
        Accumulator::Variance | Accumulator::User => return false,
    }
    true
}

/// The bytes that a word refers to.
type Bytes<'a> = dyn Fn(u64) -> &'a [u8] + 'a;

fn merge_one<'a, S: Slots>(
    accumulator: Accumulator,
    offset: usize,
    separator: &str,
    table: &mut S,
    slot: u32,
    (from, bytes): (&[u64], &Bytes<'a>),
) {
    let words = &mut table.words_mut(slot)[offset..offset + from.len()];
    if merge_words(accumulator, words, from) {
        return;
    }
    match accumulator {
        Accumulator::SumFloat => merge_float(table, slot, offset, from, bytes),
        Accumulator::Variance => {
            merge_float(table, slot, offset, &from[..4], bytes);
            merge_float(table, slot, offset + 4, &from[4..], bytes);
        }
        _ => fold_bytes(accumulator, offset, separator, table, slot, bytes(from[0])),
    }
}

/// Merges sums without spills; false, and nothing done, where there is one or will be.
#[inline]
fn merge_fixed(words: &mut [u64], from: &[u64]) -> bool {
    let sum = joined(words[0], words[1]).checked_add(joined(from[0], from[1]));
    let Some(sum) = sum.filter(|_| from[3] == 0) else { return false };
    (words[0], words[1]) = halves(sum);
    words[2] = merged_count(words[2], from[2]);
    true
}

/// Counts add up; flags, in the top bits, are kept from both.
#[inline]
fn merged_count(held: u64, from: u64) -> u64 {
    ((held & COUNT_MASK) + (from & COUNT_MASK)) | ((held | from) & !COUNT_MASK)
}

fn merge_float<'a, S: Slots>(
    table: &mut S,
    slot: u32,
    offset: usize,
    from: &[u64],
    bytes: &Bytes<'a>,
) {
    let words = &mut table.words_mut(slot)[offset..offset + 4];
    words[2] = merged_count(words[2], from[2]);
    add_fixed(table, slot, offset, joined(from[0], from[1]));
    if from[3] != 0 {
        add_spill(table, slot, offset, Spill::from_bytes(bytes(from[3])));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However values are grouped, MIN and MAX are what comparing one after another gives, NaN too.
        #[test]
        fn extreme_doubles_do_not_depend_on_grouping(
            groups in prop::collection::vec(prop::collection::vec(prop_oneof![Just(f64::NAN), -2.0..2.0f64], 0..4), 1..5),
            greatest in any::<bool>(),
        ) {
            let accumulator = Accumulator::ExtremeFloat { greatest };
            let mut words = [0; 2];
            for group in &groups {
                let mut partial = [0; 2];
                group.iter().for_each(|&value| extreme_float(&mut partial, value, greatest));
                prop_assert!(merge_words(accumulator, &mut words, &partial));
            }
            let one_by_one = groups.concat().into_iter().reduce(|held, value| {
                if if greatest { value > held } else { value < held } { value } else { held }
            });
            let result = super::super::finish::extreme_double(&words);
            prop_assert_eq!(result.map(f64::to_bits), one_by_one.map(f64::to_bits));
        }
    }
}
