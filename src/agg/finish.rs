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
    let accumulator = Accumulator::of(call);
    let end = offset + accumulator.word_count();
    let each = || table.each(slots).map(|words| &words[offset..end]);
    match accumulator {
        Accumulator::Count => {
            Arc::new(Int64Array::from(each().map(|words| words[0] as i64).collect::<Vec<i64>>()))
        }
        Accumulator::SumInt => {
            let average = call.function == AggregateFunction::Avg;
            integers(call.data_type, each().map(|words| sum_int(words, average)))
        }
        Accumulator::SumDecimal => decimals(call, each().map(|words| sum_decimal(call, words))),
        Accumulator::SumFloat => {
            let average = call.function == AggregateFunction::Avg;
            floats(call.data_type, each().map(|words| sum_float(table, sum_words(words), average)))
        }
        Accumulator::Variance => variance(call, table, each()),
        Accumulator::ExtremeInt { .. } => {
            integers(call.data_type, each().map(|words| (words[1] != 0).then(|| words[0] as i64)))
        }
        Accumulator::ExtremeFloat { .. } => floats(call.data_type, each().map(extreme_double)),
        Accumulator::ExtremeDecimal { .. } => {
            let value = |words: &[u64]| (words[2] != 0).then(|| joined(words[0], words[1]));
            decimals(call, each().map(value))
        }
        Accumulator::User => {
            let AggregateFunction::User(function) = &call.function else {
                unreachable!("the accumulator is a user's")
            };
            user::finish(function, offset, table, slots)
        }
        Accumulator::PickFixed { .. } => pick(call, each()),
        Accumulator::ExtremeBytes { .. } | Accumulator::PickBytes { .. } | Accumulator::Join => {
            let value = |words: &[u64]| {
                Some(words[0]).filter(|&blob| blob != 0).map(|blob| table.blob(blob))
            };
            bytes(call.data_type, each().map(value))
        }
    }
}

/// The least or greatest double, if there was any.
pub(super) fn extreme_double(words: &[u64]) -> Option<f64> {
    match words[1] {
        0 => None,
        began if began & BEGAN_NAN != 0 => Some(f64::NAN),
        _ => Some(f64::from_bits(words[0])),
    }
}

fn sum_int(words: &[u64], average: bool) -> Option<i64> {
    let (sum, count) = (words[0] as i64, words[1] as i64);
    (count != 0).then(|| if average { sum / count } else { sum })
}

/// The words of a sum of doubles, which these begin with.
#[inline]
fn sum_words(words: &[u64]) -> &[u64; 4] {
    words.first_chunk().expect("a sum has four words")
}

#[inline]
fn sum_float<S: Slots>(table: &S, words: &[u64; 4], average: bool) -> Option<f64> {
    let (fixed, count) = (joined(words[0], words[1]), words[2] & COUNT_MASK);
    let sum = match (words[2] == count, words[3]) {
        (true, 0) => round_fixed(fixed),
        (_, blob) => round_any(table, fixed, words[2], blob),
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

fn sum_decimal(call: &AggregateCall, words: &[u64]) -> Option<i128> {
    let (sum, count) = (joined(words[0], words[1]), words[2] & !DECIMAL_OVERFLOW);
    if count == 0 || words[2] & DECIMAL_OVERFLOW != 0 || sum.abs() >= DECIMAL_LIMIT {
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
    words: impl Iterator<Item = &'a [u64]>,
) -> ArrayRef {
    use AggregateFunction::*;
    let sample = matches!(call.function, StddevSamp | VarSamp);
    let root = matches!(call.function, StddevPop | StddevSamp);
    let value = |words: &[u64]| {
        let count = (words[2] & COUNT_MASK) as f64;
        let divisor = if sample { count - 1.0 } else { count };
        let (sum, squares) = (
            sum_float(table, sum_words(words), false)?,
            sum_float(table, sum_words(&words[4..]), false)?,
        );
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

fn pick<'a>(call: &AggregateCall, words: impl Iterator<Item = &'a [u64]>) -> ArrayRef {
    let fixed = words.map(|words| (words[2] != 0).then(|| joined(words[0], words[1])));
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

fn floats(data_type: DataType, values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
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
