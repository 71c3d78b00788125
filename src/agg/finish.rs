//! Finish: accumulators to result columns, with Flink's types and NULL rules.

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::types::*;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, PrimitiveArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};

use super::exact::{COUNT_MASK, Spill, round, round_fixed};
use super::update::{BEGAN_NAN, DECIMAL_OVERFLOW, joined};
use super::{Accumulator, AggregateCall, AggregateFunction, Slots, user};
use crate::batch::DataType;

/// The results of one call for `slots`: a column of `call.data_type`.
///
/// `offset` is the accumulator's first word within a slot.
pub fn finish<S: Slots>(call: &AggregateCall, offset: usize, table: &S, slots: &[u32]) -> ArrayRef {
    let average = call.function == AggregateFunction::Avg;
    match Accumulator::of(call) {
        Accumulator::Count => {
            let counts = table.each(slots, offset).map(|&[count]| count as i64);
            Arc::new(Int64Array::from(counts.collect::<Vec<i64>>()))
        }
        Accumulator::SumInt => {
            let sums = table.each(slots, offset).map(|words| sum_int(words, average));
            integers(call.data_type, sums)
        }
        Accumulator::SumDecimal => {
            decimals(call, table.each(slots, offset).map(|words| sum_decimal(call, words)))
        }
        Accumulator::SumFloat => {
            let sums = table.each(slots, offset).map(|words| sum_float(table, words, average));
            floats(call.data_type, sums)
        }
        Accumulator::Variance => variance(call, table, table.each(slots, offset)),
        Accumulator::ExtremeInt { .. } => {
            let value = |&[value, began]: &[u64; 2]| (began != 0).then_some(value as i64);
            integers(call.data_type, table.each(slots, offset).map(value))
        }
        Accumulator::ExtremeFloat { .. } => {
            floats(call.data_type, table.each(slots, offset).map(extreme_double))
        }
        Accumulator::ExtremeDecimal { .. } => {
            let value = |&[low, high, began]: &[u64; 3]| (began != 0).then(|| joined(low, high));
            decimals(call, table.each(slots, offset).map(value))
        }
        Accumulator::User => {
            let AggregateFunction::User(function) = &call.function else {
                unreachable!("the accumulator is a user's")
            };
            user::finish(function, offset, table, slots)
        }
        Accumulator::PickFixed { .. } => pick(call, table.each(slots, offset)),
        Accumulator::ExtremeBytes { .. } | Accumulator::PickBytes { .. } | Accumulator::Join => {
            let value = |&[blob]: &[u64; 1]| (blob != 0).then(|| table.blob(blob));
            bytes(call.data_type, table.each(slots, offset).map(value))
        }
    }
}

/// The least or greatest double, if there was any.
pub(super) fn extreme_double(&[value, began]: &[u64; 2]) -> Option<f64> {
    match began {
        0 => None,
        began if began & BEGAN_NAN != 0 => Some(f64::NAN),
        _ => Some(f64::from_bits(value)),
    }
}

fn sum_int(&[sum, count]: &[u64; 2], average: bool) -> Option<i64> {
    let (sum, count) = (sum as i64, count as i64);
    (count != 0).then(|| if average { sum / count } else { sum })
}

#[inline]
fn sum_float<S: Slots>(
    table: &S,
    &[low, high, count_word, blob]: &[u64; 4],
    average: bool,
) -> Option<f64> {
    let (fixed, count) = (joined(low, high), count_word & COUNT_MASK);
    let sum = match (count_word == count, blob) {
        (true, 0) => round_fixed(fixed),
        (_, blob) => round_any(table, fixed, count_word, blob),
    };
    (count != 0).then(|| if average { sum / count as f64 } else { sum })
}

/// A sum some of whose terms are in the spill at `blob`, if that is not 0, or are no finite numbers.
#[cold]
fn round_any<S: Slots>(table: &S, fixed: i128, count_word: u64, blob: u64) -> f64 {
    let spill = (blob != 0).then(|| Spill::from_bytes(table.blob(blob)));
    round(fixed, count_word, spill.as_ref())
}

const DECIMAL_LIMIT: i128 = 10i128.pow(38);

fn sum_decimal(call: &AggregateCall, &[low, high, count_word]: &[u64; 3]) -> Option<i128> {
    let (sum, count) = (joined(low, high), count_word & !DECIMAL_OVERFLOW);
    if count == 0 || count_word & DECIMAL_OVERFLOW != 0 || sum.abs() >= DECIMAL_LIMIT {
        return None;
    }
    if call.function != AggregateFunction::Avg {
        return Some(sum);
    }
    let (DataType::Decimal(_, from), DataType::Decimal(_, to)) = (call.arg_type, call.data_type)
    else {
        unreachable!("AVG of DECIMAL is DECIMAL")
    };
    divide_half_up(sum, 10i128.pow(u32::from(to - from)), i128::from(count))
}

/// `value * scale / count`, rounded half away from zero; `None` beyond 38 digits.
fn divide_half_up(value: i128, scale: i128, count: i128) -> Option<i128> {
    let scaled = |part: i128| part.checked_mul(scale);
    let (whole, rest) = (value / count, value % count);
    let fraction = scaled(rest)?;
    let (mut result, left) = (scaled(whole)?.checked_add(fraction / count)?, fraction % count);
    if left.abs() * 2 >= count {
        result += value.signum();
    }
    (result.abs() < DECIMAL_LIMIT).then_some(result)
}

/// By the rewriting that Flink applies: `(Σx² − (Σx)² / n) / n`, or `/ (n − 1)` for samples.
fn variance<'a, S: Slots>(
    call: &AggregateCall,
    table: &S,
    words: impl Iterator<Item = &'a [u64; 8]>,
) -> ArrayRef {
    use AggregateFunction::*;
    let sample = matches!(call.function, StddevSamp | VarSamp);
    let root = matches!(call.function, StddevPop | StddevSamp);
    let value = |&[a, b, count, c, squares @ ..]: &[u64; 8]| {
        let sum = [a, b, count, c];
        let count = (count & COUNT_MASK) as f64;
        let divisor = if sample { count - 1.0 } else { count };
        let sum = sum_float(table, &sum, false)?;
        let squares = sum_float(table, &squares, false)?;
        if divisor <= 0.0 {
            return None;
        }
        let variance = ((squares - sum * sum / count) / divisor).max(0.0);
        Some(if root { variance.sqrt() } else { variance })
    };
    let values = words.map(value);
    match call.data_type {
        data_type if data_type.is_float() => floats(data_type, values),
        DataType::Decimal(_, scale) => {
            let unit = 10f64.powi(i32::from(scale));
            decimals(call, values.map(|value| value.map(|value| (value * unit).round() as i128)))
        }
        data_type => integers(data_type, values.map(|value| value.map(|value| value as i64))),
    }
}

fn pick<'a>(call: &AggregateCall, words: impl Iterator<Item = &'a [u64; 3]>) -> ArrayRef {
    let fixed = words.map(|&[low, high, began]| (began != 0).then(|| joined(low, high)));
    match call.data_type {
        DataType::Decimal(..) => decimals(call, fixed),
        data_type if data_type.is_float() => {
            floats(data_type, fixed.map(|value| value.map(|bits| f64::from_bits(bits as u64))))
        }
        data_type => integers(data_type, fixed.map(|value| value.map(|value| value as i64))),
    }
}

/// A column of an integer, boolean or time type; values wrap to its width, as Java's do.
pub(crate) fn integers(data_type: DataType, values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    use arrow_schema::DataType as Arrow;
    match data_type.arrow() {
        Arrow::Boolean => {
            Arc::new(values.map(|value| value.map(|value| value != 0)).collect::<BooleanArray>())
        }
        Arrow::Int8 => narrow::<Int8Type>(values, |value| value as i8),
        Arrow::Int16 => narrow::<Int16Type>(values, |value| value as i16),
        Arrow::Int32 => narrow::<Int32Type>(values, |value| value as i32),
        Arrow::Int64 => narrow::<Int64Type>(values, |value| value),
        other => unreachable!("{other} is no integer column"),
    }
}

fn narrow<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = Option<i64>>,
    to: fn(i64) -> T::Native,
) -> ArrayRef {
    Arc::new(numbers::<T>(values.map(|value| value.map(to))))
}

/// As collecting does, without a look at bits where no value is NULL.
fn numbers<T: ArrowPrimitiveType>(
    values: impl Iterator<Item = Option<T::Native>>,
) -> PrimitiveArray<T> {
    let (mut numbers, mut nulls) = (Vec::with_capacity(values.size_hint().0), Vec::new());
    numbers.extend(values.enumerate().map(|(row, value)| {
        if value.is_none() {
            nulls.push(row);
        }
        value.unwrap_or_default()
    }));
    let valid = (!nulls.is_empty()).then(|| {
        let mut valid = BooleanBufferBuilder::new(numbers.len());
        valid.append_n(numbers.len(), true);
        nulls.iter().for_each(|&row| valid.set_bit(row, false));
        NullBuffer::new(valid.finish())
    });
    PrimitiveArray::new(numbers.into(), valid)
}

/// A column of a floating-point type.
pub(super) fn floats(data_type: DataType, values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    match data_type {
        DataType::Float => {
            Arc::new(numbers::<Float32Type>(values.map(|value| value.map(|value| value as f32))))
        }
        _ => Arc::new(numbers::<Float64Type>(values)),
    }
}

fn decimals(call: &AggregateCall, values: impl Iterator<Item = Option<i128>>) -> ArrayRef {
    let DataType::Decimal(precision, scale) = call.data_type else {
        unreachable!("a decimal result")
    };
    let array = numbers::<Decimal128Type>(values);
    Arc::new(
        array
            .with_precision_and_scale(precision, scale as i8)
            .expect("the planner checked precision"),
    )
}

fn bytes<'a>(data_type: DataType, values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    if data_type.is_binary() {
        let mut builder = BinaryViewBuilder::new();
        values.for_each(|value| builder.append_option(value));
        return Arc::new(builder.finish());
    }
    let mut builder = StringViewBuilder::new();
    values.for_each(|value| {
        builder
            .append_option(value.map(|bytes| std::str::from_utf8(bytes).expect("made of strings")))
    });
    Arc::new(builder.finish())
}
