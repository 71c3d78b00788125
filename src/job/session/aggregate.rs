//! Aggregate functions in Rust, for SQL.
//!
//! The arguments of a call are made one record, which is what an [`AggregateFunction`] takes; from there on it is the engine's own
//! way with users' functions.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::ArrayRef;

use super::function::out_of_range;
use crate::agg::UserFunction;
use crate::error::EvalError;
use crate::expr::{Native, NativeFunction};
use crate::job::custom::{AggregateFunction, Custom};
use crate::job::field::Row;
use crate::sql::ProgramAggregate;
use crate::sys::archive::{ArchiveBuilder, Record, as_views};

/// `function` as scripts call it.
pub(super) fn aggregate<I: Record + Row, F: AggregateFunction<I>>(function: F) -> ProgramAggregate {
    ProgramAggregate {
        function: UserFunction(Arc::new(Custom::<I, F>::new(function))),
        arguments: I::types(),
        record: NativeFunction(Arc::new(Packed::<I>(PhantomData))),
    }
}

/// Makes records of rows.
struct Packed<I>(PhantomData<fn(I)>);

impl<I: Record + Row> Native for Packed<I> {
    fn name(&self) -> &str {
        "row"
    }

    fn eval(
        &self,
        args: &[ArrayRef],
        rows: usize,
        progress: &Cell<usize>,
    ) -> Result<ArrayRef, EvalError> {
        if let Some(column) = I::misfit(args) {
            let is_it = |row: &usize| {
                let rows: Vec<ArrayRef> = args.iter().map(|arg| arg.slice(*row, 1)).collect();
                I::misfit(&rows).is_some()
            };
            return Err(out_of_range(column, rows, is_it));
        }
        let mut records = ArchiveBuilder::<I>::default();
        for row_index in 0..rows {
            progress.set(row_index);
            let record = I::read(args, row_index);
            records.push(&record).map_err(|message| EvalError { row_index, message })?;
        }
        Ok(as_views::<I::Archived>(&records.finish()))
    }
}
