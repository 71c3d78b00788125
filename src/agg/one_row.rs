//! What groups of one row each come to: mostly the row's argument itself, for which no accumulator need be filled and finished.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, Int64Array, PrimitiveArray};

use super::{AggregateCall, AggregateFunction};

/// The results of one call for groups of one row each: a column of `call.data_type`. `None`: only accumulators tell.
///
/// # Shapes
///
/// `columns`: the shipped columns, of as many rows as there are groups.
pub fn of_one_row(call: &AggregateCall, columns: &[ArrayRef], rows: usize) -> Option<ArrayRef> {
    use AggregateFunction::*;
    let arguments = || call.args.iter().map(|&arg| &columns[arg]);
    if call.filter.is_some() || arguments().any(|column| column.null_count() > 0) {
        return None;
    }
    match call.function {
        CountRows | Count => Some(Arc::new(Int64Array::from_value(1, rows))),
        _ if call.arg_type != call.data_type || call.data_type.is_binary() => None,
        Sum | Avg => summed(arguments().next()?),
        Min | Max => extreme(arguments().next()?),
        FirstValue | LastValue => arguments().next().cloned(),
        ListAgg | StddevPop | StddevSamp | VarPop | VarSamp | User(_) => None,
    }
}

/// As a sum has it: no negative zero, one NaN.
fn summed(column: &ArrayRef) -> Option<ArrayRef> {
    floats(column, |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 })
}

/// As an extreme value has it: one NaN.
fn extreme(column: &ArrayRef) -> Option<ArrayRef> {
    floats(column, |value: f64| if value.is_nan() { f64::NAN } else { value })
}

/// The same column, or what `f` makes of it if it is one of floating-point numbers.
fn floats(column: &ArrayRef, f: impl Fn(f64) -> f64) -> Option<ArrayRef> {
    use arrow_schema::DataType as Arrow;
    Some(match column.data_type() {
        Arrow::Float64 => mapped::<Float64Type>(column, f),
        Arrow::Float32 => mapped::<Float32Type>(column, |value| f(f64::from(value)) as f32),
        _ => Arc::clone(column),
    })
}

fn mapped<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    f: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let values = column.as_primitive::<T>().values().iter().map(|&value| f(value));
    Arc::new(PrimitiveArray::<T>::from_iter_values(values))
}
