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
    /// What each row asks for; those behind it have the highest until then.
    Asked(Asked),
}

/// The watermarks that rows ask for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `[rows]`: each row's time, or, without a lag, any watermark, `i64::MIN` for none. Empty: none asks for any.
    pub times_ms: ScalarBuffer<i64>,
    /// How far behind its time a row's watermark is, 0 or more.
    pub lag_ms: i64,
}

impl Asked {
    /// The highest that is asked for; `i64::MIN` if none is.
    pub fn highest(&self) -> i64 {
        self.highest_of_first(self.times_ms.len())
    }

    /// The same of the first `rows` rows.
    fn highest_of_first(&self, rows: usize) -> i64 {
        let times_ms = &self.times_ms[..rows.min(self.times_ms.len())];
        vector::widest(Highest(times_ms)).saturating_sub(self.lag_ms)
    }

    /// The highest that is asked for before each row.
    fn before_each(&self) -> Vec<i64> {
        let mut running = i64::MIN;
        let before = self.times_ms.iter().map(|&time| {
            let before = running;
            running = running.max(time.saturating_sub(self.lag_ms));
            before
        });
        before.collect()
    }
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
    pub fn of_asked(asked: Asked, rows: usize, start_ms: i64) -> Self {
        let watermarks = Watermarks::Asked(asked);
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
            Watermarks::Asked(asked) => asked.highest_of_first(row),
        };
        Some(value.max(self.floor_ms))
    }

    /// Every row's.
    pub fn to_vec(&self) -> Vec<i64> {
        let running: Vec<i64>;
        let values = match &self.watermarks {
            Watermarks::Each(values) => values,
            Watermarks::Asked(asked) if asked.times_ms.is_empty() => {
                return vec![self.floor_ms; self.len()];
            }
            Watermarks::Asked(asked) => {
                running = asked.before_each();
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

struct Highest<'a>(&'a [i64]);

impl vector::Loop for Highest<'_> {
    type Output = i64;

    #[inline(always)]
    fn run(self) -> i64 {
        self.0.iter().fold(i64::MIN, |highest, &asked| highest.max(asked))
    }
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
        let asked = |times_ms: Vec<i64>, lag_ms| Asked { times_ms: times_ms.into(), lag_ms };
        check(&Arrival::of_asked(asked(vec![10, 20, 5, 30, 40, 90], 0), 6, 0).take(&picked));
        check(&Arrival::of_asked(asked(vec![10, 20, 30, 40, i64::MIN], 0), 5, 0));
        check(&Arrival::of_asked(asked(vec![17, 27, 37, 47, i64::MIN], 7), 5, 0));
        let none = Arrival::of_asked(Asked::default(), 3, 7);
        assert_eq!((none.to_vec(), none.last()), (vec![7; 3], Some(7)));
        assert_eq!(asked(Vec::new(), 7).highest(), i64::MIN);
        assert_eq!((asked(vec![3, 9, 4], 0).highest(), asked(vec![3, 9, 4], 2).highest()), (9, 7));
    }
}
