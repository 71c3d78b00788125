//! The watermark at each row's arrival, of rows that were picked from others without picking their watermarks yet, and of rows that were
//! decoded before anybody knew what came before them.

use std::ops::Range;

use arrow_array::UInt32Array;
use arrow_buffer::ScalarBuffer;

use crate::sys::vector;

/// `[rows]`: milliseconds of event time; most of the time nobody asks for more than the last.
#[derive(Clone, Debug)]
pub struct Arrival {
    watermarks: Watermarks,
    rows: Rows,
    /// None of the rows came before this.
    floor_ms: i64,
}

/// Where watermarks come from.
#[derive(Clone, Debug)]
enum Watermarks {
    /// `[rows]`: each row's.
    Each(ScalarBuffer<i64>),
    /// `[rows]`: what each row asks for; those behind it have the highest until then. Empty: none asks for any.
    Asked(ScalarBuffer<i64>),
}

/// Which of the rows that watermarks are known of.
#[derive(Clone, Debug)]
enum Rows {
    Range(Range<usize>),
    Picked(ScalarBuffer<u32>),
}

impl From<Vec<i64>> for Arrival {
    fn from(values: Vec<i64>) -> Self {
        let rows = Rows::Range(0..values.len());
        Self { watermarks: Watermarks::Each(values.into()), rows, floor_ms: i64::MIN }
    }
}

impl Arrival {
    /// Of rows that ask for these watermarks, or for none if there are none: each arrives at the highest that was asked for before it,
    /// which was `start_ms` before the first.
    pub fn of_asked(asked_ms: ScalarBuffer<i64>, rows: usize, start_ms: i64) -> Self {
        let watermarks = Watermarks::Asked(asked_ms);
        Self { watermarks, rows: Rows::Range(0..rows), floor_ms: start_ms }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Range(rows) => rows.len(),
            Rows::Picked(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last row's.
    pub fn last(&self) -> Option<i64> {
        let row = match &self.rows {
            Rows::Range(rows) => rows.clone().next_back()?,
            Rows::Picked(rows) => *rows.last()? as usize,
        };
        let value = match &self.watermarks {
            Watermarks::Each(values) => values[row],
            Watermarks::Asked(asked) => highest(&asked[..row.min(asked.len())]),
        };
        Some(value.max(self.floor_ms))
    }

    /// Every row's.
    pub fn to_vec(&self) -> Vec<i64> {
        let running: Vec<i64>;
        let values = match &self.watermarks {
            Watermarks::Each(values) => values,
            Watermarks::Asked(asked) if asked.is_empty() => return vec![self.floor_ms; self.len()],
            Watermarks::Asked(asked) => {
                running = before_each(asked);
                &running[..]
            }
        };
        let at_least = |&value: &i64| value.max(self.floor_ms);
        match &self.rows {
            Rows::Range(rows) => values[rows.clone()].iter().map(at_least).collect(),
            Rows::Picked(rows) => rows.iter().map(|&row| at_least(&values[row as usize])).collect(),
        }
    }

    /// Every row's, none above `others_ms` nor below `floor_ms`.
    pub fn capped(&self, others_ms: i64, floor_ms: i64) -> Vec<i64> {
        let mut values = self.to_vec();
        values.iter_mut().for_each(|value| *value = (*value).min(others_ms).max(floor_ms));
        values
    }

    /// The same rows, before which the watermark was `floor_ms` already.
    #[must_use]
    pub fn after(self, floor_ms: i64) -> Self {
        Self { floor_ms: self.floor_ms.max(floor_ms), ..self }
    }

    /// Rows `start .. start + count`.
    #[must_use]
    pub fn slice(&self, start: usize, count: usize) -> Self {
        let rows = match &self.rows {
            Rows::Range(rows) => {
                assert!(start + count <= rows.len(), "rows that are there");
                Rows::Range(rows.start + start..rows.start + start + count)
            }
            Rows::Picked(rows) => Rows::Picked(rows.slice(start, count)),
        };
        Self { rows, ..self.clone() }
    }

    /// The rows at these indices.
    #[must_use]
    pub fn take(&self, indices: &UInt32Array) -> Self {
        let indices = indices.values();
        let rows = match &self.rows {
            Rows::Range(rows) if rows.start == 0 => indices.clone(),
            Rows::Range(rows) => indices.iter().map(|&index| rows.start as u32 + index).collect(),
            Rows::Picked(rows) => indices.iter().map(|&index| rows[index as usize]).collect(),
        };
        Self { rows: Rows::Picked(rows), ..self.clone() }
    }
}

/// The highest watermark that is asked for; `i64::MIN` if none is.
pub fn highest(asked_ms: &[i64]) -> i64 {
    vector::widest(Highest(asked_ms))
}

struct Highest<'a>(&'a [i64]);

impl vector::Loop for Highest<'_> {
    type Output = i64;

    #[inline(always)]
    fn run(self) -> i64 {
        self.0.iter().fold(i64::MIN, |highest, &asked| highest.max(asked))
    }
}

/// The highest that is asked for before each row.
fn before_each(asked_ms: &[i64]) -> Vec<i64> {
    let mut running = i64::MIN;
    let before = asked_ms.iter().map(|&asked| {
        let before = running;
        running = running.max(asked);
        before
    });
    before.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is picked of rows that arrived at 0, 10, 20, 30, 40, however that is known.
    fn check(arrival: &Arrival) {
        let picked = arrival.take(&UInt32Array::from(vec![1, 2, 4]));
        assert_eq!(picked.to_vec(), [10, 20, 40]);
        let again = picked.take(&UInt32Array::from(vec![0, 2])).slice(1, 1);
        assert_eq!((again.len(), again.last(), again.to_vec()), (1, Some(40), vec![40]));
        let none = arrival.slice(2, 0);
        assert!(none.is_empty() && none.last().is_none() && none.to_vec().is_empty());
        let behind = arrival.slice(3, 2);
        assert_eq!((behind.to_vec(), behind.last()), (vec![30, 40], Some(40)));
        assert_eq!(behind.take(&UInt32Array::from(vec![1])).to_vec(), [40]);
        let later = picked.after(15).after(7);
        assert_eq!(later.to_vec(), [15, 20, 40]);
        assert_eq!(later.slice(0, 1).last(), Some(15));
    }

    #[test]
    fn picked_and_sliced_rows_keep_their_watermarks() {
        check(&vec![0, 10, 20, 30, 40].into());
        let picked = UInt32Array::from(vec![0, 1, 2, 4, 5]);
        check(&Arrival::of_asked(vec![10, 20, 5, 30, 40, 90].into(), 6, 0).take(&picked));
        check(&Arrival::of_asked(vec![10, 20, 30, 40, i64::MIN].into(), 5, 0));
        let none = Arrival::of_asked(Vec::new().into(), 3, 7);
        assert_eq!((none.to_vec(), none.last()), (vec![7; 3], Some(7)));
        assert_eq!((highest(&[]), highest(&[3, 9, 4])), (i64::MIN, 9));
    }
}
