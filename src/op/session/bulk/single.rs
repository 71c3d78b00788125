//! Sessions of one row, read out without accumulators.
//!
//! To make accumulators of one row and to finish them takes far more than to copy the row's argument, which is what most functions make
//! of it.

use arrow_array::ArrayRef;

use crate::agg::{finish, of_one_row};
use crate::op::accumulators::Accumulators;
use crate::op::pane::update_calls;
use crate::op::shape::Shape;

/// The aggregates of sessions of one row each behind `columns`, which are the keys.
///
/// # Shapes
///
/// `arguments`: the shipped columns, of `rows` rows.
pub(super) fn finish_rows(
    shape: &Shape,
    mut columns: Vec<ArrayRef>,
    arguments: &[ArrayRef],
    rows: usize,
) -> Vec<ArrayRef> {
    let mut folded = None;
    for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
        columns.push(of_one_row(call, arguments, rows).unwrap_or_else(|| {
            let (slots, sums) = folded.get_or_insert_with(|| fold_each(shape, arguments, rows));
            finish(call, offset, sums, slots)
        }));
    }
    columns
}

/// Accumulators of one row each, and their slots.
fn fold_each(shape: &Shape, arguments: &[ArrayRef], rows: usize) -> (Vec<u32>, Accumulators) {
    let slots: Vec<u32> = (0..rows as u32).collect();
    let mut sums = Accumulators::new(shape.layout.word_count);
    sums.grow_to(rows);
    update_calls(shape, 0, &mut sums, &slots, arguments);
    (slots, sums)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float32Type, Float64Type};
    use arrow_array::{Array, BooleanArray, Int32Array, Int64Array, PrimitiveArray};
    use proptest::prelude::*;

    use super::*;
    use crate::agg::{AggregateCall, bind};
    use crate::batch::{DataType, Field, Schema};
    use crate::op::pane::finish_calls;

    const NAMES: [&str; 8] =
        ["COUNT", "SUM", "AVG", "MIN", "MAX", "FIRST_VALUE", "LAST_VALUE", "VAR_POP"];

    /// Bits of numbers, odd ones among them.
    fn bits() -> impl Strategy<Value = u64> {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN, 5e-324, 0.1, 1e300];
        let odd = odd.map(f64::to_bits).to_vec();
        prop_oneof![any::<u64>(), prop::sample::select(odd), Just(u64::MAX), 0..100u64]
    }

    fn column(data_type: DataType, bits: &[u64]) -> ArrayRef {
        let values = bits.iter();
        match data_type {
            DataType::Double => Arc::new(
                values
                    .map(|&bits| Some(f64::from_bits(bits)))
                    .collect::<PrimitiveArray<Float64Type>>(),
            ),
            DataType::Float => {
                let float = |&bits: &u64| Some(f64::from_bits(bits) as f32);
                Arc::new(values.map(float).collect::<PrimitiveArray<Float32Type>>())
            }
            DataType::Int => {
                Arc::new(values.map(|&bits| Some(bits as i32)).collect::<Int32Array>())
            }
            DataType::Boolean => {
                Arc::new(values.map(|&bits| Some(bits % 2 == 1)).collect::<BooleanArray>())
            }
            _ => Arc::new(values.map(|&bits| Some(bits as i64)).collect::<Int64Array>()),
        }
    }

    /// All calls of the functions that take a column of this type, the last of them filtered.
    fn calls(data_type: DataType) -> Vec<AggregateCall> {
        let call = |name: &&str| {
            let (function, result) = bind(name, &[data_type]).ok()?;
            Some(AggregateCall::new(function, vec![0], data_type, result))
        };
        let mut calls: Vec<AggregateCall> = NAMES.iter().filter_map(call).collect();
        let filtered = AggregateCall { filter: Some(1), ..calls[0].clone() };
        calls.push(filtered);
        calls
    }

    /// What can be told apart of a column: of numbers their bits.
    fn shown(column: &ArrayRef) -> String {
        match column.as_boolean_opt() {
            Some(values) => format!("{values:?}"),
            None => {
                let data = column.to_data();
                let bytes = data.buffers()[0].as_slice();
                format!("{} {bytes:x?} {:?}", column.data_type(), column.nulls())
            }
        }
    }

    proptest! {
        /// Sessions of one row come to what their accumulators would, whatever the function.
        #[test]
        fn results_are_those_of_accumulators(
            bits in prop::collection::vec(bits(), 1..40),
            data_type in prop::sample::select(vec![
                DataType::Double, DataType::Float, DataType::Int, DataType::BigInt,
                DataType::Boolean, DataType::Timestamp(3),
            ]),
        ) {
            let fields = vec![Field::new("v", data_type), Field::new("f", DataType::Boolean)];
            let shape = Shape::new(&Schema::new(fields), &[], &calls(data_type));
            let columns = [column(data_type, &bits), column(DataType::Boolean, &bits)];
            let (slots, sums) = fold_each(&shape, &columns, bits.len());
            let expected = finish_calls(&shape, 0, Vec::new(), &sums, &slots);
            let results = finish_rows(&shape, Vec::new(), &columns, bits.len());
            let shown = |columns: &[ArrayRef]| columns.iter().map(shown).collect::<Vec<_>>();
            prop_assert_eq!(shown(&results), shown(&expected));
        }
    }
}
