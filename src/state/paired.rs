//! Values on their way to sets that are another shard's: as pairs of two words, which wait there as they came
//! ([`super::sets`], invariant 3). Whoever has just read a text has it in the cache; its owner would wait for it.

use arrow_array::ArrayRef;

use super::dictionary::{Values, word_bits};
use super::digits::{DigitPair, all_digits};
use super::texts::{TextPair, pair_of_row};
use crate::batch::hash::{hash_behind_zero, hash_fixed};
use crate::batch::{Integers, Strings};

/// A word or the digits of a text │ its set u32, the text's length, with the mark of NULL, u32.
pub type ValuePair = DigitPair;

/// So many texts are read at a time, in the first cache.
const BLOCK_ROWS: usize = if cfg!(test) { 16 } else { 256 };

/// Calls `to` with each value in `columns` and its set, and the value's hash as `Keys::encode` has it. False: not all are such that sets
/// of `values` have them wait as two words; what `to` was called with is to be forgotten.
///
/// # Shapes
///
/// `columns`: as many as a value has, `[rows]` each; `sets`: `[rows]`.
pub fn each_value_pair(
    values: Values,
    columns: &[ArrayRef],
    sets: &[u32],
    to: impl FnMut(ValuePair, u64),
) -> bool {
    match values {
        Values::Words(width) => Integers::of(columns).is_some_and(|integers| match width {
            1 => each_word::<1>(&integers, sets, to),
            2 => each_word::<2>(&integers, sets, to),
            4 => each_word::<4>(&integers, sets, to),
            8 => each_word::<8>(&integers, sets, to),
            _ => false,
        }),
        Values::Bytes => Strings::of(columns).is_some_and(|strings| each_text(&strings, sets, to)),
        Values::InOrder => false,
    }
}

fn each_word<const WIDTH: usize>(
    integers: &Integers<'_>,
    sets: &[u32],
    mut to: impl FnMut(ValuePair, u64),
) -> bool {
    for (&value, &set) in integers.values().iter().zip(sets) {
        let word = value.cast_unsigned() & word_bits(WIDTH);
        to([word, set.into()], hash_fixed::<WIDTH>(word));
    }
    true
}

fn each_text(strings: &Strings<'_>, sets: &[u32], mut to: impl FnMut(ValuePair, u64)) -> bool {
    let (mut texts, mut digits) = (Vec::with_capacity(BLOCK_ROWS), Vec::new());
    for (block, sets) in sets.chunks(BLOCK_ROWS).enumerate() {
        texts.clear();
        for (row, &set) in (block * BLOCK_ROWS..).zip(sets) {
            let Some(pair) = pair_of_row(strings, row, set) else { return false };
            texts.push(pair);
        }
        if !all_digits(&texts, &mut digits) {
            return false;
        }
        digits.iter().zip(&texts).for_each(|(&pair, text)| to(pair, hash_of_text(text)));
    }
    true
}

/// The hash of a short text's key.
#[inline(always)]
fn hash_of_text(&[first, second, last]: &TextPair) -> u64 {
    match (last >> 32) as usize {
        // Of 64 bits in hexadecimal digits, the commonest, the compiler knows how many words it hashes.
        17 => hash_behind_zero(&[first, second], 17),
        length if length <= 9 => hash_behind_zero(&[first], length),
        length => hash_behind_zero(&[first, second], length),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;
    use crate::batch::Keys;
    use crate::state::{DistinctSets, Pages};

    /// How many different values each set gets, if they come as pairs of groups whose sets are `sets`.
    fn counts(values: Values, column: ArrayRef, groups: &[u32], sets: &[u32]) -> Option<Vec<u64>> {
        let (mut pages, mut distinct) = (Pages::default(), DistinctSets::new(values));
        distinct.ensure(&mut pages, sets.iter().copied().max().unwrap_or(0));
        let (columns, mut pairs, mut hashes) = ([column], Vec::new(), Vec::new());
        let done = each_value_pair(values, &columns, groups, |pair, hash| {
            pairs.push(pair);
            hashes.push(hash);
        });
        if !done {
            return None;
        }
        assert_eq!(hashes, Keys::hashes_of(&columns, groups.len()));
        distinct.insert_pairs(&mut pages, &pairs, sets);
        let mut counts = vec![0; sets.len()];
        distinct.finish(&mut pages, |set, count| {
            let group = sets.iter().position(|&it| it == set).expect("only these have values");
            counts[group] += count;
        });
        distinct.release(&mut pages);
        Some(counts)
    }

    /// The same, of one set a group.
    fn plain_counts<T: Ord>(values: impl Iterator<Item = T>, groups: &[u32]) -> Vec<u64> {
        let mut sets: BTreeMap<u32, BTreeSet<T>> = (0..3).map(|it| (it, BTreeSet::new())).collect();
        groups.iter().zip(values).for_each(|(group, value)| {
            sets.get_mut(group).expect("of three").insert(value);
        });
        sets.values().map(|set| set.len() as u64).collect()
    }

    proptest! {
        /// Against plain sets: integers, and texts of digits at every length; texts that are none are refused, wherever they are.
        #[test]
        fn pairs_are_counted_as_their_values_are(
            rows in prop::collection::vec((0..3u32, 0..400i32, "[0-9a-f]{0,16}"), 1..700),
            strange in ("[g-z:A-F\u{e9}]|[0-9]{17}", any::<prop::sample::Index>()),
        ) {
            let groups: Vec<u32> = rows.iter().map(|row| row.0).collect();
            // Group 1 has the highest set.
            let sets = [4, 9, 0];
            let integers = rows.iter().map(|row| row.1 - 200);
            let column = Arc::new(Int32Array::from_iter_values(integers.clone()));
            prop_assert_eq!(counts(Values::Words(4), column, &groups, &sets), Some(plain_counts(integers, &groups)));
            let mut texts: Vec<&str> = rows.iter().map(|row| &*row.2).collect();
            let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(&texts));
            prop_assert_eq!(counts(Values::Bytes, Arc::clone(&column), &groups, &sets), Some(plain_counts(texts.iter(), &groups)));
            prop_assert_eq!(counts(Values::InOrder, column, &groups, &sets), None);
            texts[strange.1.index(rows.len())] = &strange.0;
            prop_assert_eq!(counts(Values::Bytes, Arc::new(StringViewArray::from_iter_values(texts)), &groups, &sets), None);
        }
    }
}
