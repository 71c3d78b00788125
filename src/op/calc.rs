//! Filter and project: expressions over one batch.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, NullArray};
use chrono_tz::Tz;

use crate::batch::Batch;
use crate::error::EvalError;
use crate::expr::{EvalContext, Evaluator, Expr};

/// A compiled filter and projection.
pub struct Calc {
    filter: Option<Evaluator>,
    columns: Vec<Evaluator>,
    /// What the filter reads and nobody behind it.
    filter_only: Vec<usize>,
}

impl Calc {
    /// Compiles the expressions.
    pub fn new(filter: Option<&Expr>, columns: &[Expr], time_zone: Tz) -> Self {
        let compile = |expr: &Expr| Evaluator::new(expr, time_zone);
        let (filter_columns, used) = (columns_of(filter), columns_of(columns));
        Self {
            filter: filter.map(compile),
            columns: columns.iter().map(compile).collect(),
            filter_only: filter_columns.difference(&used).copied().collect(),
        }
    }

    /// The rows that pass, projected; and the error of the first row that failed, in which case the rows are
    /// those before it.
    pub fn apply(&self, batch: &Batch, context: &EvalContext) -> (Batch, Option<EvalError>) {
        let (kept, failure) = self.keep(batch, context);
        match self.project(&kept, context) {
            Ok(batch) => (batch, failure),
            Err(error) => {
                let before = kept.slice(0, error.row_index);
                let batch = self
                    .project(&before, context)
                    .expect("the rows before the first failure are good");
                (batch, Some(error))
            }
        }
    }

    fn keep(&self, batch: &Batch, context: &EvalContext) -> (Batch, Option<EvalError>) {
        let Some(filter) = &self.filter else { return (batch.clone(), None) };
        match filter.eval(batch, context) {
            Ok(keep) => (self.used(batch).filter(keep.as_boolean()), None),
            Err(error) => {
                let before = batch.slice(0, error.row_index);
                let keep = filter
                    .eval(&before, context)
                    .expect("the rows before the first failure are good");
                (self.used(&before).filter(keep.as_boolean()), Some(error))
            }
        }
    }

    /// The batch without what is not read any more, for its rows are about to be copied.
    fn used(&self, batch: &Batch) -> Batch {
        let mut batch = batch.clone();
        for &column in &self.filter_only {
            batch.columns[column] = Arc::new(NullArray::new(batch.rows));
        }
        batch
    }

    fn project(&self, batch: &Batch, context: &EvalContext) -> Result<Batch, EvalError> {
        let columns: Result<Vec<ArrayRef>, EvalError> =
            self.columns.iter().map(|column| column.eval(batch, context)).collect();
        // Of several failing columns the earliest row counts.
        match columns {
            Ok(columns) => Ok(batch.with_columns(columns)),
            Err(first) => {
                let rows =
                    self.columns.iter().filter_map(|column| column.eval(batch, context).err());
                Err(rows.min_by_key(|error| error.row_index).unwrap_or(first))
            }
        }
    }
}

/// The columns that expressions read.
fn columns_of<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> BTreeSet<usize> {
    let mut columns = BTreeSet::new();
    let mut note = |column| {
        columns.insert(column);
    };
    exprs.into_iter().for_each(|expr| expr.visit_columns(&mut note));
    columns
}
