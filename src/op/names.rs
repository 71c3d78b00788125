//! Short strings as numbers: keys of one column of strings that fit their views, each given a number when it first comes.
//!
//! With the numbers such keys are found as integers are ([`super::dense`]), without being encoded and hashed as bytes in every row.
//!
//! # Invariants
//!
//! 1. Numbers are dense, from 0; a string keeps its number until all are forgotten.
//! 2. A view of at most [`INLINE_BYTES_MAX`] bytes is its string: equal strings have equal views.
//! 3. At most half of the index is full. It holds numbers alone, and the strings are found by these: both stay in the first cache, where
//!    strings in the index itself, most of it empty, would not.

use arrow_array::StringViewArray;

use crate::sys::views::INLINE_BYTES_MAX;

/// Entries of the index; half as many strings have numbers, which fit 16 bits.
const ENTRIES: usize = 1 << 13;

/// Strings and their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// A string's number + 1, 0: empty; open addressing. Empty until the first string comes.
    index: Vec<u16>,
    /// By number.
    views: Vec<u128>,
}

impl Names {
    /// The numbers of a column's strings; false: one is too long, or there are too many. Those before it have numbers all the same, and those that had
    /// come keep theirs.
    ///
    /// # Shapes
    ///
    /// `numbers` is replaced: `[rows]`.
    pub(super) fn number(&mut self, column: &StringViewArray, numbers: &mut Vec<i64>) -> bool {
        let views = column.views();
        if self.index.is_empty() {
            self.index.resize(ENTRIES, 0);
        }
        numbers.resize(views.len(), 0);
        numbers.iter_mut().zip(views.iter()).all(|(number, &view)| {
            let known = self.number_of(view);
            *number = known.unwrap_or_default().into();
            known.is_some()
        })
    }

    /// Whether no more strings can be numbered.
    pub(super) fn is_full(&self) -> bool {
        self.views.len() * 2 >= ENTRIES
    }

    #[inline]
    fn number_of(&mut self, view: u128) -> Option<u32> {
        let index: &mut [u16; ENTRIES] = self.index.as_mut_array().expect("an index");
        let mut at = place(view);
        while let Some(number) = index[at].checked_sub(1) {
            if self.views[usize::from(number)] == view {
                return Some(number.into());
            }
            at = (at + 1) % ENTRIES;
        }
        // One that is too long is not known, and stays so: its view is not all of it.
        if self.is_full() || view as u32 as usize > INLINE_BYTES_MAX {
            return None;
        }
        self.views.push(view);
        self.index[at] = self.views.len() as u16;
        Some(self.views.len() as u32 - 1)
    }

    /// Appends the bytes of a numbered string.
    pub(super) fn push_text(&self, number: usize, bytes: &mut Vec<u8>) {
        let view = self.views[number].to_le_bytes();
        let [length, ..] = view;
        bytes.extend_from_slice(&view[4..][..usize::from(length)]);
    }

    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.index.fill(0);
        self.views.clear();
    }
}

#[inline]
fn place(view: u128) -> usize {
    let mixed = (view as u64 ^ (view >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize % ENTRIES
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_those_of_a_map(batches in prop::collection::vec(prop::collection::vec("[ab]{0,13}", 0..200), 0..5)) {
            let (mut names, mut twin) = (Names::default(), HashMap::new());
            for batch in batches {
                let mut numbers = Vec::new();
                let fits = batch.iter().all(|name| name.len() <= 12);
                prop_assert_eq!(names.number(&StringViewArray::from_iter_values(&batch), &mut numbers), fits);
                let expected = batch.into_iter().take_while(|name| name.len() <= 12).map(|name| {
                    let next = twin.len() as i64;
                    *twin.entry(name).or_insert(next)
                });
                let expected: Vec<i64> = expected.collect();
                prop_assert_eq!(&numbers[..expected.len()], expected);
            }
        }
    }

    #[test]
    fn too_many_are_refused_until_they_are_forgotten() {
        let column = |from: u32, to: u32| {
            StringViewArray::from_iter_values((from..to).map(|n| n.to_string()))
        };
        let (mut names, mut numbers, most) = (Names::default(), Vec::new(), ENTRIES as u32 / 2);
        assert!(names.number(&column(0, most), &mut numbers));
        assert!(names.is_full() && names.number(&column(5, 9), &mut numbers));
        assert!(!names.number(&column(most, most + 1), &mut numbers));
        names.forget();
        assert!(names.number(&column(most, most + 1), &mut numbers));
        assert_eq!(numbers, [0]);
    }
}
