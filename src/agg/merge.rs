//! Merge: accumulators into accumulators, and their form for travelling between shards.

use rkyv::util::AlignedVec;

use super::exact::Spill;
use super::update::{
    DECIMAL_OVERFLOW, add_decimal, add_fixed, add_spill, extreme_decimal, fold_bytes, joined,
};
use super::{Accumulator, AggregateCall, AggregateFunction, Layout, Slots, user};

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

    /// Becomes a single group, as [`Partials::copy_group`] made one in empty partials.
    pub fn set_group(&mut self, words: &[u64], blobs: &[u8]) {
        self.words.clear();
        self.words.extend_from_slice(words);
        self.blobs.clear();
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

    fn bytes(&self, word: u64) -> &[u8] {
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
    let from = partials.group(index, layout.word_count);
    let folding = layout.accumulators.iter().zip(calls).zip(&layout.folds);
    for ((&(accumulator, offset), call), _) in folding.filter(|(_, folds)| **folds) {
        let from = &from[offset..offset + accumulator.word_count()];
        match &call.function {
            AggregateFunction::User(_) if from[0] == 0 => {}
            AggregateFunction::User(function) => {
                user::merge(function, base + offset, table, slot, partials.bytes(from[0]));
            }
            _ => {
                let separator = call.separator.as_str();
                merge_one(accumulator, base + offset, separator, table, slot, partials, from);
            }
        }
    }
}

/// Copies the accumulators of `slot` from word `from` on over those from word `to` on.
pub fn copy<S: Slots>(layout: &Layout, from: usize, to: usize, table: &mut S, slot: u32) {
    let folding = layout.accumulators.iter().zip(&layout.folds).filter(|(_, folds)| **folds);
    for (&(accumulator, offset), _) in folding {
        for at in offset..offset + accumulator.word_count() {
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

fn merge_one<S: Slots>(
    accumulator: Accumulator,
    offset: usize,
    separator: &str,
    table: &mut S,
    slot: u32,
    partials: &Partials,
    from: &[u64],
) {
    let words = &mut table.words_mut(slot)[offset..offset + from.len()];
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
        Accumulator::SumFloat => merge_float(table, slot, offset, partials, from),
        Accumulator::Variance => {
            merge_float(table, slot, offset, partials, &from[..4]);
            merge_float(table, slot, offset + 4, partials, &from[4..]);
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
            let (value, held) = (f64::from_bits(from[0]), f64::from_bits(words[0]));
            if from[1] != 0
                && (words[1] == 0 || (if greatest { value > held } else { value < held }))
            {
                words.copy_from_slice(from);
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
        Accumulator::User => unreachable!("merged by its own function"),
        Accumulator::ExtremeBytes { .. } | Accumulator::PickBytes { .. } | Accumulator::Join => {
            if from[0] != 0 {
                fold_bytes(accumulator, offset, separator, table, slot, partials.bytes(from[0]));
            }
        }
    }
}

fn merge_float<S: Slots>(
    table: &mut S,
    slot: u32,
    offset: usize,
    partials: &Partials,
    from: &[u64],
) {
    // Counts add up; flags, in the top bits, are kept from both.
    let words = &mut table.words_mut(slot)[offset..offset + 4];
    let mask = super::exact::COUNT_MASK;
    words[2] = ((words[2] & mask) + (from[2] & mask)) | ((words[2] | from[2]) & !mask);
    add_fixed(table, slot, offset, joined(from[0], from[1]));
    if from[3] != 0 {
        add_spill(table, slot, offset, Spill::from_bytes(partials.bytes(from[3])));
    }
}
