//! How one scan's rows become its columns, each row with the watermark that it asks for.
//!
//! # Invariants
//!
//! 1. What is computed here depends on a chunk's bytes alone. What fails here fails the job only when the chunk's turn has come.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use chrono_tz::Tz;

use super::topology::Scan;
use crate::batch::{Arrival, Asked, Batch, DataType};
use crate::error::JobError;
use crate::expr::{EvalContext, Evaluator, Expr, ExprKind, Value};
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
    watermark: Option<Watermark>,
    rowtime: Option<usize>,
    table: String,
}

/// How watermarks are known.
enum Watermark {
    /// A column of times of rows, less so much: what most are, and nothing is computed for it.
    Behind {
        column: usize,
        lag_ms: i64,
    },
    Computed(Evaluator),
}

impl Watermark {
    fn new(expr: &Expr, time_zone: Tz) -> Self {
        Self::behind(expr).unwrap_or_else(|| Self::Computed(Evaluator::new(expr, time_zone)))
    }

    fn behind(expr: &Expr) -> Option<Self> {
        let (time, lag_ms) = match &expr.kind {
            ExprKind::Call("-", args) => match args.as_slice() {
                [time, Expr { kind: ExprKind::Literal(Value::Int(lag_ms)), data_type, .. }]
                    if *data_type == DataType::IntervalDay && *lag_ms >= 0 =>
                {
                    (time, *lag_ms)
                }
                _ => return None,
            },
            _ => (expr, 0),
        };
        let is_in_ms = time.data_type.is_timestamp() && time.data_type.ticks_per_ms() == 1;
        match time.kind {
            ExprKind::Column(column) if is_in_ms => Some(Self::Behind { column, lag_ms }),
            _ => None,
        }
    }
}

impl Scanner {
    pub(crate) fn new(scan: &Scan, time_zone: Tz) -> Self {
        Self {
            columns: Calc::new(None, &scan.columns, time_zone),
            watermark: scan
                .watermark
                .as_ref()
                .map(|watermark| Watermark::new(&watermark.expr, time_zone)),
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
        let (mut batch, asked, failure) = self.scan(batch, context);
        let highest_ms = asked.highest().max(before_ms);
        batch.arrival_ms = Some(Arrival::of_asked(asked, batch.rows, before_ms));
        (ScanBatch { batch, highest_ms }, failure)
    }

    /// A scan's columns, the watermark that each row asks for, and what ended them early.
    fn scan(&self, batch: &Batch, context: &EvalContext) -> (Batch, Asked, Option<JobError>) {
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
            Ok(asked) => (batch, asked, failure),
            Err((row, message)) => {
                let batch = batch.slice(0, row);
                let asked = self.watermarks(&batch, context).unwrap_or_default();
                (batch, asked, Some(failed(message)))
            }
        }
    }

    /// Empty if the table declares no watermark.
    fn watermarks(&self, batch: &Batch, context: &EvalContext) -> Result<Asked, (usize, String)> {
        let (column, lag_ms) = match &self.watermark {
            None => return Ok(Asked::default()),
            Some(Watermark::Behind { column, lag_ms }) => {
                (Arc::clone(&batch.columns[*column]), *lag_ms)
            }
            Some(Watermark::Computed(watermark)) => {
                let column = watermark.eval(batch, context);
                (column.map_err(|error| (error.row_index, error.message))?, 0)
            }
        };
        let column = column.as_primitive::<Int64Type>();
        let times_ms = match column.null_count() {
            0 => column.values().clone(),
            _ => column.iter().map(|value| value.unwrap_or(i64::MIN)).collect(),
        };
        Ok(Asked { times_ms, lag_ms })
    }
}

fn first_null(column: &dyn Array) -> Option<usize> {
    (column.null_count() > 0).then(|| (0..column.len()).find(|&row| column.is_null(row))).flatten()
}
