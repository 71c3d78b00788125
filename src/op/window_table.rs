//! A window table function without GROUP BY: each row once for each window it is in, with the window's columns.
//! Nothing is kept and nothing is late, as in Flink.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, UInt32Array};

use crate::batch::Batch;
use crate::window::{Slices, TimeDomain, WallTime, WindowSpec};

/// Assigns windows to rows.
pub struct WindowTable {
    window: WindowSpec,
    slices: Slices,
    wall: WallTime,
    instant_time: bool,
}

impl WindowTable {
    /// Assigns windows of `window`, which is no session; `instant_time`: `window_time` is TIMESTAMP_LTZ.
    pub fn new(window: &WindowSpec, instant_time: bool) -> Self {
        let wall = WallTime::new(window.time_zone);
        Self { window: window.clone(), slices: Slices::new(window.kind), wall, instant_time }
    }

    /// The rows with `window_start`, `window_end` and `window_time`.
    pub fn apply(&mut self, batch: &Batch, now_ms: i64) -> Batch {
        let mut ends = match self.window.domain {
            TimeDomain::Processing => vec![now_ms; batch.rows],
            TimeDomain::Event => {
                batch.columns[self.window.time_column].as_primitive::<Int64Type>().values().to_vec()
            }
        };
        self.wall.localise(&mut ends);
        self.slices.assign(&mut ends);
        let (mut rows, mut window_ends) = (Vec::new(), Vec::new());
        for (row, &slice) in ends.iter().enumerate() {
            for end in self.slices.window_ends(slice) {
                rows.push(row as u32);
                window_ends.push(end);
            }
        }
        let starts =
            window_ends.iter().map(|&end| self.slices.window_start(end).expect("not attached"));
        let starts: Vec<i64> = starts.collect();
        let time = |&end: &i64| self.wall.rowtime_of(end - 1, self.instant_time);
        let times: Vec<i64> = window_ends.iter().map(time).collect();
        let taken = batch.take(&UInt32Array::from(rows));
        let mut columns = taken.columns.clone();
        columns.extend(
            [starts, window_ends, times]
                .map(|values| Arc::new(Int64Array::from(values)) as ArrayRef),
        );
        taken.with_columns(columns)
    }
}
