//! `+ - * / %` and unary minus: Java's for integers and floating point, exact for decimals.
//!
//! Integers wrap and truncate, and fail on division by zero; floating point follows IEEE; a decimal that
//! does not fit its result type is NULL.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{ArrayRef, ArrowNativeTypeOp, Decimal128Array};
use arrow_buffer::i256;

use crate::batch::DataType;
use crate::batch::text::pow10;
use crate::error::EvalError;
use crate::expr::expression::Expr;

use super::Kernel;
use super::datum::{Datum, map, nulls, try_numbers, zip};

/// The loop for `name`, and whether it can fail.
pub(super) fn kernel(
    name: &'static str,
    args: &[Expr],
    result: DataType,
) -> Option<(Kernel, bool)> {
    if !matches!(name, "+" | "-" | "*" | "/" | "%" | "NEGATE") {
        return None;
    }
    let left = args[0].data_type;
    let kernel = match left {
        DataType::TinyInt => integers::<Int8Type>(name),
        DataType::SmallInt => integers::<Int16Type>(name),
        DataType::Int => integers::<Int32Type>(name),
        DataType::BigInt => integers::<Int64Type>(name),
        DataType::Float => floats::<Float32Type>(name),
        DataType::Double => floats::<Float64Type>(name),
        DataType::Decimal(_, left) => match (result, args.get(1).map(|arg| arg.data_type)) {
            (_, None) => Box::new(move |args: &[Datum], rows: usize, _: &_| {
                let negated = map::<Decimal128Type, Decimal128Type>(&args[0], rows, |value| -value);
                Ok(typed(negated, result))
            }),
            (DataType::Decimal(precision, scale), Some(DataType::Decimal(_, right))) => {
                decimals(name, Scales { left, right, precision, scale })
            }
            (result, right) => panic!("{left} {name} {right:?} is not bound as {result}"),
        },
        _ => return None,
    };
    let integer = left.is_integer() || matches!(left, DataType::Decimal(..));
    Some((kernel, integer && matches!(name, "/" | "%")))
}

fn typed(column: ArrayRef, data_type: DataType) -> ArrayRef {
    use arrow_array::cast::AsArray;
    Arc::new(column.as_primitive::<Decimal128Type>().clone().with_data_type(data_type.arrow()))
}

fn integers<T: ArrowPrimitiveType>(name: &'static str) -> Kernel {
    match name {
        "/" => Box::new(|args, rows, _| divide::<T>(args, rows, |a, b| a.div_wrapping(b))),
        "%" => Box::new(|args, rows, _| divide::<T>(args, rows, |a, b| a.mod_wrapping(b))),
        _ => floats::<T>(name),
    }
}

fn floats<T: ArrowPrimitiveType>(name: &'static str) -> Kernel {
    match name {
        "+" => Box::new(|args, rows, _| Ok(zip::<T, T>(args, rows, |a, b| a.add_wrapping(b)))),
        "-" => Box::new(|args, rows, _| Ok(zip::<T, T>(args, rows, |a, b| a.sub_wrapping(b)))),
        "*" => Box::new(|args, rows, _| Ok(zip::<T, T>(args, rows, |a, b| a.mul_wrapping(b)))),
        "/" => Box::new(|args, rows, _| Ok(zip::<T, T>(args, rows, |a, b| a.div_wrapping(b)))),
        "%" => Box::new(|args, rows, _| Ok(zip::<T, T>(args, rows, |a, b| a.mod_wrapping(b)))),
        _ => {
            Box::new(|args, rows, _| Ok(map::<T, T>(&args[0], rows, |value| value.neg_wrapping())))
        }
    }
}

/// Division of integers: a zero below fails its row, unless a side is NULL.
fn divide<T: ArrowPrimitiveType>(
    args: &[Datum],
    rows: usize,
    each: impl Fn(T::Native, T::Native) -> T::Native,
) -> Result<ArrayRef, EvalError> {
    let divisors = args[1].numbers::<T>();
    let zero = T::Native::ZERO;
    if divisors.values.contains(&zero) {
        let valid = nulls(args, rows);
        let bad = (0..rows).find(|&row| {
            divisors.get(row) == zero && valid.as_ref().is_none_or(|valid| valid.is_valid(row))
        });
        if let Some(row_index) = bad {
            return Err(EvalError { row_index, message: BY_ZERO.into() });
        }
        return Ok(zip::<T, T>(args, rows, |a, b| if b == zero { zero } else { each(a, b) }));
    }
    Ok(zip::<T, T>(args, rows, each))
}

const BY_ZERO: &str = "division by zero";

/// The scales of both sides, and the type of the result.
#[derive(Clone, Copy)]
struct Scales {
    left: u8,
    right: u8,
    precision: u8,
    scale: u8,
}

fn decimals(name: &'static str, scales: Scales) -> Kernel {
    let nonzero = |b: i128| if b == 0 { Err(BY_ZERO.to_string()) } else { Ok(b) };
    match name {
        "+" => decimal_loop(scales, |a, b, scales| Ok(add(a, b, scales))),
        "-" => decimal_loop(scales, |a, b, scales| Ok(add(a, -b, scales))),
        "*" => decimal_loop(scales, |a, b, scales| Ok(multiply(a, b, scales))),
        "/" => decimal_loop(scales, move |a, b, scales| Ok(quotient(a, nonzero(b)?, scales))),
        _ => decimal_loop(scales, move |a, b, scales| Ok(remainder(a, nonzero(b)?, scales))),
    }
}

fn decimal_loop(
    scales: Scales,
    each: impl Fn(i128, i128, Scales) -> Result<Option<i128>, String> + Send + Sync + 'static,
) -> Kernel {
    Box::new(move |args, rows, _| {
        let (a, b) = (args[0].numbers::<Decimal128Type>(), args[1].numbers::<Decimal128Type>());
        let column: Decimal128Array =
            try_numbers::<Decimal128Type>(args, rows, |row| each(a.get(row), b.get(row), scales))?;
        Ok(Arc::new(
            column.with_data_type(DataType::Decimal(scales.precision, scales.scale).arrow()),
        ))
    })
}

fn add(a: i128, b: i128, scales: Scales) -> Option<i128> {
    let common = scales.left.max(scales.right);
    let shift = |value: i128, scale: u8| value.checked_mul(pow10(u32::from(common - scale)));
    let sum = shift(a, scales.left).zip(shift(b, scales.right)).and_then(|(a, b)| a.checked_add(b));
    match sum {
        Some(sum) => rescale(sum, common, scales.precision, scales.scale),
        None => {
            let wide = |value: i128, scale: u8| {
                wide(value).wrapping_mul(wide_pow10(u32::from(common - scale)))
            };
            rescale_wide(
                wide(a, scales.left).wrapping_add(wide(b, scales.right)),
                common.into(),
                scales,
            )
        }
    }
}

fn multiply(a: i128, b: i128, scales: Scales) -> Option<i128> {
    let scale = u32::from(scales.left) + u32::from(scales.right);
    match a.checked_mul(b) {
        Some(product) if scale <= 38 => {
            rescale(product, scale as u8, scales.precision, scales.scale)
        }
        _ => rescale_wide(wide(a).wrapping_mul(wide(b)), scale, scales),
    }
}

fn quotient(a: i128, b: i128, scales: Scales) -> Option<i128> {
    // a·10^-left / (b·10^-right), in units of 10^-scale.
    let exponent = i32::from(scales.scale) + i32::from(scales.right) - i32::from(scales.left);
    let (mut above, mut below) = (wide(a), wide(b));
    if exponent >= 0 {
        above = above.checked_mul(wide_pow10_checked(exponent as u32)?)?;
    } else {
        below = below.checked_mul(wide_pow10_checked(exponent.unsigned_abs())?)?;
    }
    fit(round_quotient(above, below), scales.precision)
}

fn remainder(a: i128, b: i128, scales: Scales) -> Option<i128> {
    let common = scales.left.max(scales.right);
    let wide =
        |value: i128, scale: u8| wide(value).wrapping_mul(wide_pow10(u32::from(common - scale)));
    let rest = wide(a, scales.left).checked_rem(wide(b, scales.right))?;
    rescale_wide(rest, common.into(), scales)
}

/// Changes a decimal's scale, rounding half up; `None` where it has more than `precision` digits.
pub(super) fn rescale(value: i128, from: u8, precision: u8, to: u8) -> Option<i128> {
    let scaled = if to >= from {
        value.checked_mul(pow10(u32::from(to - from)))?
    } else {
        divide_half_up(value, pow10(u32::from(from - to)))
    };
    (scaled.unsigned_abs() < pow10(u32::from(precision)) as u128).then_some(scaled)
}

/// Divides by a positive number, rounding half away from zero.
pub(super) fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value / divisor, value % divisor);
    if rest.unsigned_abs() >= (divisor as u128).div_ceil(2) {
        quotient + value.signum()
    } else {
        quotient
    }
}

fn wide(value: i128) -> i256 {
    i256::from_i128(value)
}

fn wide_pow10(exponent: u32) -> i256 {
    i256::from_i128(10).wrapping_pow(exponent)
}

/// 10^exponent if it fits.
fn wide_pow10_checked(exponent: u32) -> Option<i256> {
    (exponent <= 76).then(|| wide_pow10(exponent))
}

fn rescale_wide(value: i256, from: u32, scales: Scales) -> Option<i128> {
    let to = u32::from(scales.scale);
    let scaled = if to >= from {
        value.checked_mul(wide_pow10_checked(to - from)?)?
    } else {
        round_quotient(value, wide_pow10(from - to))
    };
    fit(scaled, scales.precision)
}

fn round_quotient(above: i256, below: i256) -> i256 {
    let quotient = above.checked_div(below).unwrap_or(i256::ZERO);
    let rest = above.checked_rem(below).unwrap_or(i256::ZERO);
    let negative = (above < i256::ZERO) != (below < i256::ZERO);
    let (rest, below) = (rest.wrapping_abs(), below.wrapping_abs());
    if rest >= below.wrapping_sub(rest) {
        let step = if negative { i256::MINUS_ONE } else { i256::ONE };
        return quotient.wrapping_add(step);
    }
    quotient
}

fn fit(value: i256, precision: u8) -> Option<i128> {
    let value = value.to_i128()?;
    (value.unsigned_abs() < pow10(u32::from(precision)) as u128).then_some(value)
}
