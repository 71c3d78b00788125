//! What the times of some rows span: all that windows of rows know of time.
//!
//! # Layout
//!
//! ```text
//! rows │ least │ greatest        zeros: no rows
//! ```

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use crate::window::WallTime;

/// So many rows, and between which wall times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowSpan {
    /// How many.
    pub row_count: u64,
    /// The least of their times.
    pub least_ms: i64,
    /// The greatest of their times.
    pub greatest_ms: i64,
}

impl RowSpan {
    /// How many words it takes.
    pub(super) const WORDS: usize = 3;

    /// From the beginning of these words.
    pub(super) fn load(words: &[u64]) -> Self {
        let (least_ms, greatest_ms) = (words[1].cast_signed(), words[2].cast_signed());
        Self { row_count: words[0], least_ms, greatest_ms }
    }

    /// To the beginning of these words.
    pub(super) fn store(self, words: &mut [u64]) {
        let (least, greatest) = (self.least_ms.cast_unsigned(), self.greatest_ms.cast_unsigned());
        words[..Self::WORDS].copy_from_slice(&[self.row_count, least, greatest]);
    }

    /// With one row more.
    pub(super) fn with(self, time_ms: i64) -> Self {
        self.joined(Self { row_count: 1, least_ms: time_ms, greatest_ms: time_ms })
    }

    /// Of both.
    pub(super) fn joined(self, other: Self) -> Self {
        match (self.row_count, other.row_count) {
            (0, _) => other,
            (_, 0) => self,
            (own, others) => Self {
                row_count: own + others,
                least_ms: self.least_ms.min(other.least_ms),
                greatest_ms: self.greatest_ms.max(other.greatest_ms),
            },
        }
    }
}

/// The columns `window_start`, `window_end` and `window_time` of windows that span this, see [`crate::window::WindowKind`].
pub(super) fn window_columns(
    spans: &[RowSpan],
    wall: &WallTime,
    instant_time: bool,
) -> [ArrayRef; 3] {
    let column = |of: &dyn Fn(&RowSpan) -> i64| {
        Arc::new(Int64Array::from_iter_values(spans.iter().map(of))) as ArrayRef
    };
    let time = |span: &RowSpan| wall.rowtime_of(span.greatest_ms, instant_time);
    [
        column(&|span| span.least_ms),
        column(&|span| span.greatest_ms.saturating_add(1)),
        column(&time),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_grow() {
        let none = RowSpan::default();
        assert_eq!(none.joined(none), none);
        let one = none.with(-7);
        assert_eq!(one, RowSpan { row_count: 1, least_ms: -7, greatest_ms: -7 });
        let more = one.with(3).with(-9);
        assert_eq!(more, RowSpan { row_count: 3, least_ms: -9, greatest_ms: 3 });
        assert_eq!((more.joined(none), none.joined(more)), (more, more));
        let mut words = [0; 4];
        more.store(&mut words);
        assert_eq!(RowSpan::load(&words), more);
        let columns = window_columns(&[more], &WallTime::new(None), false);
        let expected: [ArrayRef; 3] =
            [-9, 4, 3].map(|ms| Arc::new(Int64Array::from(vec![ms])) as ArrayRef);
        assert_eq!(columns, expected);
    }
}
