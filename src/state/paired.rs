//! Values on their way to sets that are another shard's: as pairs of two words, which wait there as they came
//! ([`super::sets`], invariant 3). Whoever has just read a text has it in the cache; its owner would wait for it.

use arrow_array::ArrayRef;

use super::dictionary::{Values, word_bits};
use super::digits::{DigitPair, all_digits};
use super::texts::pair_of_row;
use crate::batch::{Integers, Strings};

/// A word or the digits of a text │ its set u32, the text's length, with the mark of NULL, u32.
pub type ValuePair = DigitPair;

/// So many texts are read at a time, in the first cache.
const BLOCK_ROWS: usize = 256;

/// The values in `columns`, each with its set. `None`: not all are such that sets of `values` have them wait as two words.
///
/// # Shapes
///
/// `columns`: as many as a value has, `[rows]` each; `sets`: `[rows]`.
pub fn value_pairs(
    values: Values,
    columns: &[ArrayRef],
    sets: impl Iterator<Item = u32>,
) -> Option<Vec<ValuePair>> {
    match values {
        Values::Words(width) => {
            let (integers, bits) = (Integers::of(columns)?, word_bits(width));
            let words = integers.values().iter().map(|&value| value.cast_unsigned() & bits);
            Some(words.zip(sets).map(|(word, set)| [word, set.into()]).collect())
        }
        Values::Bytes => digit_pairs(&Strings::of(columns)?, sets),
        Values::InOrder => None,
    }
}

fn digit_pairs(strings: &Strings<'_>, sets: impl Iterator<Item = u32>) -> Option<Vec<ValuePair>> {
    let mut pairs = Vec::with_capacity(strings.count());
    let (mut texts, mut digits) = (Vec::with_capacity(BLOCK_ROWS), Vec::new());
    let mut rows = (0..strings.count()).zip(sets);
    loop {
        texts.clear();
        for (row, set) in rows.by_ref().take(BLOCK_ROWS) {
            texts.push(pair_of_row(strings, row, set)?);
        }
        if texts.is_empty() {
            return Some(pairs);
        }
        if !all_digits(&texts, &mut digits) {
            return None;
        }
        pairs.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;
    use crate::state::{DistinctSets, Pages};

    /// How many different values each set gets, if they come as pairs of groups whose sets are `sets`.
    fn counts(values: Values, column: ArrayRef, groups: &[u32], sets: &[u32]) -> Option<Vec<u64>> {
        let (mut pages, mut distinct) = (Pages::default(), DistinctSets::new(values));
        distinct.ensure(&mut pages, sets.iter().copied().max().unwrap_or(0));
        let pairs = value_pairs(values, &[column], groups.iter().copied())?;
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
