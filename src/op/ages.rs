//! Which aggregates are younger than a window: those that a changed script has added while it was open. What they would
//! say of it is half counted, so they show NULL for it.
//!
//! Generations number the scripts that a job has had. A call is *born* in the generation that added it; a window, or a session,
//! is as old as the generation that opened it. A call shows for windows that are not older than itself.
//!
//! # Invariants
//!
//! 1. `windows` names only windows that are older than `generation`; all others are of this generation.
//! 2. All owners of an exchange have the same ages, whichever groups they hold: keys of one window are shown alike.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::{ArrayRef, BooleanArray, new_null_array};
use arrow_select::nullif::nullif;

use crate::state::Saved;

/// The ages of calls and open windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    generation: u64,
    /// By call: the generation that it was added in.
    born: Vec<u64>,
    /// Windows of earlier generations, by their ends.
    windows: BTreeMap<i64, u64>,
}

impl Ages {
    /// The ages of a new job with so many calls.
    pub fn new(call_count: usize) -> Self {
        Self { generation: 0, born: vec![0; call_count], windows: BTreeMap::new() }
    }

    /// This generation: that of windows and sessions that are opened now.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation of the window that ends at `end_ms`.
    pub fn of_window(&self, end_ms: i64) -> u64 {
        self.windows.get(&end_ms).copied().unwrap_or(self.generation)
    }

    /// The ages of the next generation: call `i` is the former call `former[i]`, or new; `open` windows are as old as they were.
    #[must_use]
    pub fn grown(&self, former: &[Option<usize>], open: &BTreeSet<i64>) -> Self {
        let generation = self.generation + 1;
        let born = former.iter().map(|former| former.map_or(generation, |call| self.born[call]));
        let windows = open.iter().map(|&end_ms| (end_ms, self.of_window(end_ms))).collect();
        Self { generation, born: born.collect(), windows }
    }

    /// Takes over what another owner of the same exchange knows.
    pub fn join(&mut self, other: &Ages) {
        if other.generation >= self.generation {
            self.generation = other.generation;
            self.born.clone_from(&other.born);
        }
        self.windows.extend(&other.windows);
    }

    /// Forgets windows that are over.
    pub fn forget(&mut self, is_over: impl Fn(i64) -> bool) {
        if !self.windows.is_empty() {
            self.windows.retain(|&end_ms, _| !is_over(end_ms));
        }
    }

    /// Blanks calls that are younger than the window that `columns`, one a call, are of.
    pub fn blank(&self, columns: &mut [ArrayRef], window: u64) {
        assert_eq!(columns.len(), self.born.len());
        for (column, &born) in columns.iter_mut().zip(&self.born) {
            if born > window {
                *column = new_null_array(column.data_type(), column.len());
            }
        }
    }

    /// Blanks in `columns`, one a call, the rows whose session is older than the call.
    pub fn blank_rows(&self, columns: &mut [ArrayRef], sessions: &[u64]) {
        assert_eq!(columns.len(), self.born.len());
        for (column, &born) in columns.iter_mut().zip(&self.born) {
            if sessions.iter().any(|&session| born > session) {
                let young: BooleanArray =
                    sessions.iter().map(|&session| Some(born > session)).collect();
                *column = nullif(column.as_ref(), &young).expect("one a row");
            }
        }
    }

    /// Saves them into an owner's header.
    pub fn save(&self, out: &mut Vec<u64>) {
        out.extend([self.generation, self.born.len() as u64]);
        out.extend(&self.born);
        out.push(self.windows.len() as u64);
        out.extend(
            self.windows.iter().flat_map(|(&end_ms, &window)| [end_ms.cast_unsigned(), window]),
        );
    }

    /// What was saved.
    pub fn load(saved: &mut Saved<'_>) -> Self {
        let generation = saved.word();
        let call_count = saved.word() as usize;
        let born = saved.words(call_count).to_vec();
        let windows = (0..saved.word()).map(|_| (saved.signed(), saved.word())).collect();
        Self { generation, born, windows }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Array, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn calls_show_for_windows_that_are_not_older() {
        let first = Ages::new(1);
        let second = first.grown(&[None, Some(0)], &BTreeSet::from([10, 20]));
        let third = second.grown(&[Some(0), None, Some(1)], &BTreeSet::from([20, 30]));
        let shown = |ages: &Ages, end_ms: i64, calls: usize| {
            let mut columns: Vec<ArrayRef> =
                (0..calls).map(|_| Arc::new(Int64Array::from(vec![7])) as ArrayRef).collect();
            ages.blank(&mut columns, ages.of_window(end_ms));
            columns.iter().map(|column| column.is_valid(0)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&second, 10, 2), [false, true]);
        assert_eq!(shown(&second, 30, 2), [true, true]);
        assert_eq!(shown(&third, 20, 3), [false, false, true]);
        assert_eq!(shown(&third, 30, 3), [true, false, true]);
        assert_eq!(shown(&third, 40, 3), [true, true, true]);
        let mut saved = Vec::new();
        third.save(&mut saved);
        assert_eq!(Ages::load(&mut Saved::new(&saved)), third);
        let mut joined = Ages::new(3);
        joined.join(&third);
        assert_eq!(joined, third);
        joined.forget(|end_ms| end_ms <= 20);
        assert_eq!(joined.of_window(20), 2);
        assert_eq!(joined.of_window(30), 1);
    }

    #[test]
    fn sessions_are_blanked_one_by_one() {
        let ages = Ages::new(1).grown(&[None, Some(0)], &BTreeSet::new());
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, Some("c")]));
        let mut columns = vec![texts, Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef];
        ages.blank_rows(&mut columns, &[0, 1, 1]);
        let nulls = |column: &ArrayRef| (0..3).map(|row| column.is_null(row)).collect::<Vec<_>>();
        assert_eq!(nulls(&columns[0]), [true, true, false]);
        assert_eq!(columns[1].null_count(), 0);
    }
}
