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

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use arrow_array::types::Int64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::DataType;
    use crate::expr::{Value, call};

    proptest! {
        /// Against a row at a time: columns that only the filter reads, that both read, and rows at which one or the other fails.
        #[test]
        fn rows_are_those_of_a_loop(
            rows in prop::collection::vec((-1..40i64, -1..40i64), 0..60),
            reads_filtered in any::<bool>(),
        ) {
            let column = |index| Expr::column(index, DataType::BigInt, false);
            let number = |value| Expr::literal(Value::Int(value), DataType::BigInt);
            let share = |index| call("/", vec![number(120), column(index)]).unwrap();
            let filter = call(">", vec![share(0), number(9)]).unwrap();
            let columns = [share(1), column(usize::from(!reads_filtered))];
            let calc = Calc::new(Some(&filter), &columns, Tz::UTC);

            let (mut expected, mut fails) = (Vec::new(), false);
            for &(a, b) in &rows {
                fails = a == 0 || 120 / a > 9 && b == 0;
                if fails {
                    break;
                }
                if 120 / a > 9 {
                    expected.push((120 / b, if reads_filtered { a } else { b }));
                }
            }
            let of = |part: fn(&(i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(part))) as ArrayRef;
            let batch = Batch::new(vec![of(|row| row.0), of(|row| row.1)], rows.len());
            let (found, failure) = calc.apply(&batch, &EvalContext { time_zone: Tz::UTC, now_ms: 0 });
            let values = |index: usize| found.columns[index].as_primitive::<Int64Type>().values().to_vec();
            prop_assert_eq!(found.rows, expected.len());
            prop_assert_eq!(values(0).into_iter().zip(values(1)).collect::<Vec<_>>(), expected);
            prop_assert_eq!(failure.is_some(), fails);
        }
    }
}
