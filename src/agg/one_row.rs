//! What groups of one row each come to: mostly the row's argument itself, for which no accumulator need be filled and finished.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Int64Array};

use super::finish::floats;
use super::{AggregateCall, AggregateFunction};

/// The results of one call for groups of one row each: a column of `call.data_type`. `None`: only accumulators tell.
///
/// # Shapes
///
/// `columns`: the shipped columns, of as many rows as there are groups.
pub fn of_one_row(call: &AggregateCall, columns: &[ArrayRef], rows: usize) -> Option<ArrayRef> {
    use AggregateFunction::*;
    if call.filter.is_some() || call.args.iter().any(|&arg| columns[arg].null_count() > 0) {
        return None;
    }
    let argument = || &columns[call.args[0]];
    match call.function {
        CountRows | Count => Some(Arc::new(Int64Array::from_value(1, rows))),
        _ if call.arg_type != call.data_type || call.data_type.is_binary() => None,
        // As a sum has it: no negative zero, one NaN.
        Sum | Avg => Some(of_floats(call, argument(), |value| value + 0.0)),
        // As an extreme value has it: one NaN.
        Min | Max => Some(of_floats(call, argument(), |value| value)),
        FirstValue | LastValue => Some(Arc::clone(argument())),
        ListAgg | StddevPop | StddevSamp | VarPop | VarSamp | User(_) => None,
    }
}

/// The same column, or, if it is one of floating-point numbers, what `f` makes of those that are some.
fn of_floats(call: &AggregateCall, column: &ArrayRef, f: impl Fn(f64) -> f64) -> ArrayRef {
    use arrow_schema::DataType as Arrow;
    let of = |value: f64| Some(if value.is_nan() { f64::NAN } else { f(value) });
    match column.data_type() {
        Arrow::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            floats(call.data_type, values.iter().map(|&value| of(value)))
        }
        Arrow::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            floats(call.data_type, values.iter().map(|&value| of(value.into())))
        }
        _ => Arc::clone(column),
    }
}
