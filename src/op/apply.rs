//! A function that keeps nothing, over one batch: map and flat map.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{Array, UInt32Array};

use crate::batch::Batch;
use crate::error::EvalError;
use crate::plan::function::{Apply, unwound};

/// A function, shown by what must be the same for a job to be the same.
#[derive(Clone)]
pub struct Applied(pub Arc<dyn Apply>);

impl fmt::Debug for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apply({}, {})", self.0.name(), self.0.schema())
    }
}

/// The rows that `batch` gives; and the error of the first row that failed, in which case they are those of the rows before it.
pub fn apply(function: &dyn Apply, batch: &Batch) -> (Batch, Option<EvalError>) {
    match attempt(function, batch) {
        Ok(yielded) => (yielded, None),
        Err(error) => {
            let before = batch.slice(0, error.row_index.min(batch.rows));
            // One that fails on rows which it has passed before gives nothing.
            let yielded = attempt(function, &before).unwrap_or_else(|_| none(function));
            (yielded, Some(error))
        }
    }
}

fn attempt(function: &dyn Apply, batch: &Batch) -> Result<Batch, EvalError> {
    match call(function, batch) {
        Ok(yielded) => yielded,
        Err(message) => {
            // A panic does not say which row it was: row by row it shows.
            let rows = (0..batch.rows).map(|row| (row, call(function, &batch.slice(row, 1))));
            let failed = |(row, called): (usize, Result<_, String>)| Some((row, called.err()?));
            let (row_index, message) = rows.filter_map(failed).next().unwrap_or((0, message));
            Err(EvalError { row_index, message })
        }
    }
}

/// Calls it; the outer error is a panic, or an answer that cannot be used.
fn call(function: &dyn Apply, batch: &Batch) -> Result<Result<Batch, EvalError>, String> {
    let called = catch_unwind(AssertUnwindSafe(|| function.apply(batch)));
    match called.map_err(|payload| unwound(&*payload))? {
        Ok((yielded, rows)) => dressed(function, batch, yielded, rows).map(Ok),
        Err(error) => Ok(Err(error)),
    }
}

/// What was yielded with the kinds and arrivals of the rows it comes from.
fn dressed(
    function: &dyn Apply,
    batch: &Batch,
    yielded: Batch,
    rows: Vec<u32>,
) -> Result<Batch, String> {
    let fields = &function.schema().fields;
    let types = fields.iter().map(|field| field.data_type.arrow());
    if !types.eq(yielded.columns.iter().map(|column| column.data_type().clone())) {
        return Err("it yields other columns than it said".into());
    }
    let mut columns = fields.iter().zip(&yielded.columns);
    if let Some((field, _)) =
        columns.find(|(field, column)| !field.nullable && column.null_count() > 0)
    {
        return Err(format!("column {} is NOT NULL, and was given NULL", field.name));
    }
    let in_order = rows.is_sorted() && rows.last().is_none_or(|&row| (row as usize) < batch.rows);
    if rows.len() != yielded.rows || !in_order {
        return Err("which rows it says its own come from cannot be".into());
    }
    let bare = Batch { columns: Vec::new(), ..batch.clone() };
    Ok(bare.take(&UInt32Array::from(rows)).with_columns(yielded.columns))
}

/// No rows.
fn none(function: &dyn Apply) -> Batch {
    let fields = function.schema().fields.iter();
    let empty = fields.map(|field| arrow_array::new_empty_array(&field.data_type.arrow()));
    Batch::new(empty.collect(), 0)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;
    use crate::batch::{DataType, Field, RowKind, Schema};

    type Answer = fn(usize) -> Result<(Batch, Vec<u32>), EvalError>;

    /// Each number as often as it says; what it does about 7 differs.
    #[derive(Debug)]
    struct Repeat {
        schema: Schema,
        at_seven: Answer,
    }

    impl Apply for Repeat {
        fn name(&self) -> &str {
            "repeat"
        }

        fn schema(&self) -> &Schema {
            &self.schema
        }

        fn apply(&self, batch: &Batch) -> Result<(Batch, Vec<u32>), EvalError> {
            let numbers = batch.columns[0].as_primitive::<Int64Type>().values();
            if let Some(row) = numbers.iter().position(|&number| number == 7) {
                return (self.at_seven)(row);
            }
            let times = |(row, &number): (usize, &i64)| vec![row as u32; number as usize];
            let rows: Vec<u32> = numbers.iter().enumerate().flat_map(times).collect();
            let column = rows.iter().map(|&row| numbers[row as usize]);
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(column));
            Ok((Batch::new(vec![column], rows.len()), rows))
        }
    }

    fn check(numbers: &[i64], at_seven: Answer, expected: &[i64], failure: Option<(usize, &str)>) {
        let schema = Schema::new(vec![Field::new("n", DataType::BigInt).not_null()]);
        let column: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let mut batch = Batch::new(vec![column], numbers.len());
        let arrival_ms: Vec<i64> = (0..numbers.len() as i64).map(|row| row * 10).collect();
        batch.arrival_ms = Some(arrival_ms.into());
        let kinds = (0..numbers.len()).map(|row| match row % 2 {
            0 => RowKind::Insert,
            _ => RowKind::Delete,
        });
        let batch = batch.with_kinds(kinds.collect());
        let (yielded, error) = apply(&Repeat { schema, at_seven }, &batch);
        let got = yielded.columns[0].as_primitive::<Int64Type>().values();
        assert_eq!(&got[..], expected);
        let error = error.map(|error| (error.row_index, error.message));
        assert_eq!(error, failure.map(|(row, message)| (row, message.to_owned())));
        for (row, number) in got.iter().enumerate() {
            let from = numbers.iter().position(|other| other == number).unwrap();
            assert_eq!(yielded.arrival_ms.as_ref().unwrap().to_vec()[row], from as i64 * 10);
            assert_eq!(yielded.kind(row), batch.kind(from));
        }
    }

    #[test]
    fn rows_keep_their_kind_and_arrival() {
        check(&[2, 0, 3, 1], |_| unreachable!(), &[2, 2, 3, 3, 3, 1], None);
        check(&[], |_| unreachable!(), &[], None);
    }

    #[test]
    fn a_failure_names_its_row_and_passes_on_what_came_before() {
        let fails: Answer = |row_index| Err(EvalError { row_index, message: "seven".into() });
        check(&[2, 1, 7, 3], fails, &[2, 2, 1], Some((2, "seven")));
        let panics = Some((2, "it panicked: seven"));
        check(&[2, 1, 7, 3], |_| panic!("seven"), &[2, 2, 1], panics);
        check(&[7], |_| panic!("seven"), &[], Some((0, "it panicked: seven")));
    }

    #[test]
    fn an_answer_that_cannot_be_is_refused() {
        let from = Some((1, "which rows it says its own come from cannot be"));
        check(&[1, 7], |_| Ok((one_row(Some(1)), vec![9])), &[1], from);
        check(&[1, 7], |_| Ok((one_row(Some(1)), vec![])), &[1], from);
        let null = Some((1, "column n is NOT NULL, and was given NULL"));
        check(&[1, 7], |_| Ok((one_row(None), vec![0])), &[1], null);
        let other = Some((1, "it yields other columns than it said"));
        check(&[1, 7], |_| Ok((Batch::new(Vec::new(), 1), vec![0])), &[1], other);
    }

    fn one_row(value: Option<i64>) -> Batch {
        Batch::new(vec![Arc::new(Int64Array::from(vec![value])) as ArrayRef], 1)
    }
}
