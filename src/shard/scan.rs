//! How one scan's rows become its columns, each row with the watermark that it asks for.
//!
//! # Invariants
//!
//! 1. What is computed here depends on a chunk's bytes alone. What fails here fails the job only when the chunk's turn has come.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_buffer::ScalarBuffer;
use chrono_tz::Tz;

use super::topology::Scan;
use crate::batch::{Arrival, Batch, highest};
use crate::error::JobError;
use crate::expr::{EvalContext, Evaluator};
use crate::op::calc::Calc;

/// A scan's columns, each row with the highest watermark that a row before it in the chunk asks for.
pub(crate) struct ScanBatch {
    pub(crate) batch: Batch,
    /// The highest that is asked for up to its end; `i64::MIN` where none is.
    pub(crate) highest_ms: i64,
}

/// Computes a scan's columns.
pub(crate) struct Scanner {
    columns: Calc,
    watermark: Option<Evaluator>,
    rowtime: Option<usize>,
    table: String,
}

impl Scanner {
    pub(crate) fn new(scan: &Scan, time_zone: Tz) -> Self {
        Self {
            columns: Calc::new(None, &scan.columns, time_zone),
            watermark: scan
                .watermark
                .as_ref()
                .map(|watermark| Evaluator::new(&watermark.expr, time_zone)),
            rowtime: scan.watermark.as_ref().map(|watermark| watermark.column),
            table: scan.table.clone(),
        }
    }

    /// A batch of the scan, and what ended it early; `before_ms` is the highest watermark that the chunk has asked for before it.
    pub(crate) fn finish(
        &self,
        batch: &Batch,
        before_ms: i64,
        context: &EvalContext,
    ) -> (ScanBatch, Option<JobError>) {
        let (mut batch, asked_ms, failure) = self.scan(batch, context);
        let highest_ms = highest(&asked_ms).max(before_ms);
        batch.arrival_ms = Some(Arrival::of_asked(asked_ms, batch.rows, before_ms));
        (ScanBatch { batch, highest_ms }, failure)
    }

    /// A scan's columns, the watermark that each row asks for, and what ended them early.
    fn scan(
        &self,
        batch: &Batch,
        context: &EvalContext,
    ) -> (Batch, ScalarBuffer<i64>, Option<JobError>) {
        let failed = |message: String| JobError::Expression {
            origin: format!("table {}", self.table),
            message,
        };
        let (mut batch, failure) = self.columns.apply(batch, context);
        let mut failure = failure.map(|error| failed(error.message));
        if let Some(row) =
            self.rowtime.and_then(|column| first_null(batch.columns[column].as_ref()))
        {
            batch = batch.slice(0, row);
            failure = Some(failed(
                "the rowtime of a row is NULL; rows without a time cannot be placed in windows (filter them out before \
                 they reach the table, or declare the rowtime as COALESCE(…) in a computed column)"
                    .into(),
            ));
        }
        match self.watermarks(&batch, context) {
            Ok(watermark_ms) => (batch, watermark_ms, failure),
            Err((row, message)) => {
                let batch = batch.slice(0, row);
                let watermark_ms = self.watermarks(&batch, context).unwrap_or_default();
                (batch, watermark_ms, Some(failed(message)))
            }
        }
    }

    /// `[rows]`; `i64::MIN` where a row asks for none. Empty if the table declares no watermark.
    fn watermarks(
        &self,
        batch: &Batch,
        context: &EvalContext,
    ) -> Result<ScalarBuffer<i64>, (usize, String)> {
        let Some(watermark) = &self.watermark else { return Ok(ScalarBuffer::default()) };
        let column =
            watermark.eval(batch, context).map_err(|error| (error.row_index, error.message))?;
        let column = column.as_primitive::<Int64Type>();
        if column.null_count() == 0 {
            return Ok(column.values().clone());
        }
        Ok(column.iter().map(|value| value.unwrap_or(i64::MIN)).collect())
    }
}

fn first_null(column: &dyn Array) -> Option<usize> {
    (column.null_count() > 0).then(|| (0..column.len()).find(|&row| column.is_null(row))).flatten()
}
