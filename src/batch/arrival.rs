//! The watermark at each row's arrival, of rows that were picked from others without picking their watermarks yet, and of rows that were
//! decoded before anybody knew what came before them.

use arrow_array::UInt32Array;
use arrow_buffer::ScalarBuffer;

/// `[rows]`: milliseconds of event time; most of the time nobody asks for more than the last.
#[derive(Clone, Debug)]
pub struct Arrival {
    values: ScalarBuffer<i64>,
    /// Which of the values each row has; absent: its own.
    rows: Option<ScalarBuffer<u32>>,
    /// None of the rows came before this.
    floor_ms: i64,
}

impl From<Vec<i64>> for Arrival {
    fn from(values: Vec<i64>) -> Self {
        Self { values: values.into(), rows: None, floor_ms: i64::MIN }
    }
}

impl Arrival {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.values.len(), |rows| rows.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row's.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    pub fn get(&self, row: usize) -> i64 {
        let value = self.values[self.rows.as_ref().map_or(row, |rows| rows[row] as usize)];
        value.max(self.floor_ms)
    }

    /// The last row's.
    pub fn last(&self) -> Option<i64> {
        self.len().checked_sub(1).map(|row| self.get(row))
    }

    /// Every row's.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map(|row| self.get(row))
    }

    /// The same rows, before which the watermark was `floor_ms` already.
    #[must_use]
    pub fn after(self, floor_ms: i64) -> Self {
        Self { floor_ms: self.floor_ms.max(floor_ms), ..self }
    }

    /// Rows `start .. start + count`.
    #[must_use]
    pub fn slice(&self, start: usize, count: usize) -> Self {
        match &self.rows {
            None => Self { values: self.values.slice(start, count), ..self.clone() },
            Some(rows) => Self { rows: Some(rows.slice(start, count)), ..self.clone() },
        }
    }

    /// The rows at these indices.
    #[must_use]
    pub fn take(&self, indices: &UInt32Array) -> Self {
        let rows = match &self.rows {
            None => indices.values().clone(),
            Some(rows) => indices.values().iter().map(|&index| rows[index as usize]).collect(),
        };
        Self { rows: Some(rows), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picked_and_sliced_rows_keep_their_watermarks() {
        let arrival = Arrival::from(vec![0, 10, 20, 30, 40]);
        let picked = arrival.take(&UInt32Array::from(vec![1, 2, 4]));
        assert_eq!(picked.iter().collect::<Vec<_>>(), [10, 20, 40]);
        let again = picked.take(&UInt32Array::from(vec![0, 2])).slice(1, 1);
        assert_eq!((again.len(), again.last(), again.get(0)), (1, Some(40), 40));
        let none = arrival.slice(2, 0);
        assert!(none.is_empty() && none.last().is_none());
        assert_eq!(arrival.slice(3, 2).iter().collect::<Vec<_>>(), [30, 40]);
        let later = picked.after(15).after(7);
        assert_eq!(later.iter().collect::<Vec<_>>(), [15, 20, 40]);
        assert_eq!(later.slice(0, 1).last(), Some(15));
    }
}
