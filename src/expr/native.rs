//! Functions written in Rust, as expressions: what the typed builder's closures and SQL's registered functions become.
//!
//! A function sees whole columns, so that its loop over rows is compiled for its own types.
//!
//! # Invariants
//!
//! 1. A function's result depends on its arguments alone; it may be called again for rows that it has seen (when a later row
//!    failed), and on any shard.
//! 2. A function that panics fails the row that it panicked on, and nothing else.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::error::{EvalError, panic_text};

/// A function over columns.
pub trait Native: Send + Sync {
    /// What explains it, and tells it from others where state is restored: the same in every build of the same program.
    fn name(&self) -> &str;
    /// What changes when the function does, if it says so: its name goes with it.
    fn version(&self) -> Option<u64> {
        None
    }
    /// The value in each of `rows` rows, a column of the Arrow type of the expression's type. `progress` is to be set to each
    /// row's index before the row is worked on, or, if that is cheaper, to hold the row that panicked when a panic passes.
    ///
    /// # Errors
    ///
    /// The first row that fails.
    fn eval(
        &self,
        args: &[ArrayRef],
        rows: usize,
        progress: &Cell<usize>,
    ) -> Result<ArrayRef, EvalError>;
}

/// A function, shared; equal only to itself.
#[derive(Clone)]
pub struct NativeFunction(pub Arc<dyn Native>);

impl NativeFunction {
    /// [`Native::eval`], a panic being an error of the row (invariant 2).
    pub(super) fn eval(&self, args: &[ArrayRef], rows: usize) -> Result<ArrayRef, EvalError> {
        let progress = Cell::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.0.eval(args, rows, &progress)));
        outcome.unwrap_or_else(|panic| {
            let row_index = progress.get().min(rows.saturating_sub(1));
            let message = format!("{} panicked: {}", self.0.name(), panic_text(panic.as_ref()));
            Err(EvalError { row_index, message })
        })
    }
}

impl PartialEq for NativeFunction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for NativeFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rust:{}", self.0.name())?;
        self.0.version().map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use chrono_tz::Tz;

    use super::*;
    use crate::batch::{Batch, DataType};
    use crate::expr::{EvalContext, Evaluator, Expr, ExprKind};

    struct Halves;

    impl Native for Halves {
        fn name(&self) -> &str {
            "halves"
        }

        fn eval(
            &self,
            args: &[ArrayRef],
            rows: usize,
            progress: &Cell<usize>,
        ) -> Result<ArrayRef, EvalError> {
            let values = args[0].as_primitive::<Int64Type>().values();
            let half = |row: usize| {
                progress.set(row);
                assert!(values[row] != 13, "unlucky");
                match values[row] % 2 {
                    0 => Ok(values[row] / 2),
                    _ => Err(EvalError { row_index: row, message: "odd".into() }),
                }
            };
            Ok(Arc::new(Int64Array::from((0..rows).map(half).collect::<Result<Vec<_>, _>>()?)))
        }
    }

    fn halves(values: Vec<i64>) -> Result<Vec<i64>, EvalError> {
        let column = Expr::column(0, DataType::BigInt, false);
        let call = ExprKind::Native(NativeFunction(Arc::new(Halves)), vec![column]);
        let expr = Expr { kind: call, data_type: DataType::BigInt, nullable: false };
        assert_eq!(expr.to_string(), "rust:halves($0)");
        let rows = values.len();
        let batch = Batch::new(vec![Arc::new(Int64Array::from(values))], rows);
        let context = EvalContext { time_zone: Tz::UTC, now_ms: 0 };
        let column = Evaluator::new(&expr, Tz::UTC).eval(&batch, &context)?;
        Ok(column.as_primitive::<Int64Type>().values().to_vec())
    }

    #[test]
    fn a_row_that_fails_or_panics_is_named() {
        assert_eq!(halves(vec![2, 4]).unwrap(), [1, 2]);
        let error = halves(vec![2, 4, 5, 13]).unwrap_err();
        assert_eq!((error.row_index, error.message.as_str()), (2, "odd"));
        let error = halves(vec![2, 13, 5]).unwrap_err();
        assert_eq!((error.row_index, error.message.as_str()), (1, "halves panicked: unlucky"));
    }
}
