//! Mathematical functions. ROUND and TRUNCATE of floating point work on the decimal digits, as Java's `BigDecimal` does.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{ArrayRef, ArrowNativeTypeOp, Decimal128Array, Float64Array};

use crate::batch::DataType;
use crate::batch::text::pow10;
use crate::expr::expression::Expr;

use super::arithmetic::{divide_half_up, rescale};
use super::datum::{Datum, map, some_numbers, some_texts, zip};
use super::{EvalContext, Kernel};

/// The loop for `name`, which never fails.
pub(super) fn kernel(
    name: &'static str,
    args: &[Expr],
    result: DataType,
) -> Option<(Kernel, bool)> {
    let first = args.first().map_or(DataType::Null, |arg| arg.data_type);
    let kernel: Kernel = match name {
        "PI" => constant(std::f64::consts::PI),
        "E" => constant(std::f64::consts::E),
        "LOG" if args.len() == 2 => binary(|base, x| x.ln() / base.ln()),
        "POWER" => binary(java_pow),
        "ATAN2" => binary(f64::atan2),
        "ABS" | "SIGN" | "FLOOR" | "CEIL" => number(name, first, result),
        "ROUND" => rounded(first, result, Rounding::HalfUp),
        "TRUNCATE" => rounded(first, result, Rounding::Down),
        "BIN" => digits(|value| format!("{value:b}")),
        "HEX" if first.is_integer() => digits(|value| format!("{value:X}")),
        _ => function_of(name)?,
    };
    Some((kernel, false))
}

fn function_of(name: &str) -> Option<Kernel> {
    Some(match name {
        "SQRT" => unary(f64::sqrt),
        "EXP" => unary(f64::exp),
        "LN" | "LOG" => unary(f64::ln),
        "LOG10" => unary(f64::log10),
        "LOG2" => unary(|x| x.ln() / 2f64.ln()),
        "SIN" => unary(f64::sin),
        "COS" => unary(f64::cos),
        "TAN" => unary(f64::tan),
        "COT" => unary(|x| 1.0 / x.tan()),
        "ASIN" => unary(f64::asin),
        "ACOS" => unary(f64::acos),
        "ATAN" => unary(f64::atan),
        "SINH" => unary(f64::sinh),
        "COSH" => unary(f64::cosh),
        "TANH" => unary(f64::tanh),
        "DEGREES" => unary(|x| x * (180.0 / std::f64::consts::PI)),
        "RADIANS" => unary(|x| x * (std::f64::consts::PI / 180.0)),
        _ => return None,
    })
}

/// `Math.pow`: unlike IEEE's, 1 to the power of NaN is NaN.
fn java_pow(base: f64, exponent: f64) -> f64 {
    if exponent.is_nan() || base.abs() == 1.0 && exponent.is_infinite() {
        f64::NAN
    } else {
        base.powf(exponent)
    }
}

fn constant(value: f64) -> Kernel {
    Box::new(move |_, rows, _| Ok(Arc::new(Float64Array::from(vec![value; rows]))))
}

fn unary(each: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| Ok(map::<Float64Type, Float64Type>(&args[0], rows, &each)))
}

fn binary(each: impl Fn(f64, f64) -> f64 + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| Ok(zip::<Float64Type, Float64Type>(args, rows, &each)))
}

fn digits(each: impl Fn(i64) -> String + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let values = args[0].numbers::<Int64Type>();
        Ok(some_texts(args, rows, |row, out| {
            out.push_str(&each(values.get(row)));
            true
        }))
    })
}

fn number(name: &'static str, data_type: DataType, result: DataType) -> Kernel {
    match data_type {
        DataType::TinyInt => whole::<Int8Type>(name),
        DataType::SmallInt => whole::<Int16Type>(name),
        DataType::Int => whole::<Int32Type>(name),
        DataType::BigInt => whole::<Int64Type>(name),
        DataType::Float => match name {
            "ABS" => single(f32::abs),
            "FLOOR" => single(f32::floor),
            "CEIL" => single(f32::ceil),
            _ => {
                single(|value| if value == 0.0 || value.is_nan() { value } else { value.signum() })
            }
        },
        DataType::Double => match name {
            "ABS" => unary(f64::abs),
            "FLOOR" => unary(f64::floor),
            "CEIL" => unary(f64::ceil),
            _ => unary(|value| if value == 0.0 || value.is_nan() { value } else { value.signum() }),
        },
        DataType::Decimal(_, scale) => decimal(name, scale, result),
        other => panic!("{name} is not bound for {other}"),
    }
}

fn whole<T: ArrowPrimitiveType>(name: &'static str) -> Kernel {
    let (zero, one) = (T::Native::ZERO, T::Native::ONE);
    match name {
        "ABS" => Box::new(move |args, rows, _| {
            Ok(map::<T, T>(&args[0], rows, |value| {
                if value.is_lt(zero) { value.neg_wrapping() } else { value }
            }))
        }),
        _ => Box::new(move |args, rows, _| {
            Ok(map::<T, T>(&args[0], rows, |value| {
                if value.is_lt(zero) {
                    one.neg_wrapping()
                } else if value.is_zero() {
                    zero
                } else {
                    one
                }
            }))
        }),
    }
}

fn single(each: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| Ok(map::<Float32Type, Float32Type>(&args[0], rows, &each)))
}

fn decimal(name: &'static str, scale: u8, result: DataType) -> Kernel {
    let unit = pow10(scale.into());
    let DataType::Decimal(precision, _) = result else {
        panic!("{name} of a decimal is a decimal")
    };
    let limit = pow10(precision.into());
    let fits = move |value: i128| (-limit < value && value < limit).then_some(value);
    let get = |args: &[Datum], row: usize| args[0].numbers::<Decimal128Type>().get(row);
    match name {
        "ABS" => decimal_column(result, move |args, row| Some(get(args, row).abs())),
        "FLOOR" => decimal_column(result, move |args, row| fits(get(args, row).div_euclid(unit))),
        "CEIL" => {
            decimal_column(result, move |args, row| fits(-(-get(args, row)).div_euclid(unit)))
        }
        _ => decimal_column(result, move |args, row| Some(get(args, row).signum() * unit)),
    }
}

fn decimal_column(
    result: DataType,
    each: impl Fn(&[Datum], usize) -> Option<i128> + Send + Sync + 'static,
) -> Kernel {
    Box::new(move |args: &[Datum], rows, _: &EvalContext| {
        let column: Decimal128Array =
            some_numbers::<Decimal128Type>(args, rows, |row| each(args, row));
        Ok(Arc::new(column.with_data_type(result.arrow())))
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rounding {
    HalfUp,
    Down,
}

impl Rounding {
    /// `value` in multiples of `unit`.
    fn divide(self, value: i128, unit: i128) -> i128 {
        match self {
            Rounding::HalfUp => divide_half_up(value, unit),
            Rounding::Down => value / unit,
        }
    }
}

fn rounded(data_type: DataType, result: DataType, rounding: Rounding) -> Kernel {
    match data_type {
        DataType::TinyInt => rounded_integers::<Int8Type>(rounding, |value| value as i8),
        DataType::SmallInt => rounded_integers::<Int16Type>(rounding, |value| value as i16),
        DataType::Int => rounded_integers::<Int32Type>(rounding, |value| value as i32),
        DataType::BigInt => rounded_integers::<Int64Type>(rounding, |value| value as i64),
        DataType::Float => Box::new(move |args, rows, _| {
            let (values, places) =
                (args[0].numbers::<Float32Type>(), args[1].numbers::<Int32Type>());
            Ok(Arc::new(some_numbers::<Float32Type>(args, rows, |row| {
                Some(round_float(values.get(row).into(), places.get(row), rounding) as f32)
            })))
        }),
        DataType::Double => Box::new(move |args, rows, _| {
            let (values, places) =
                (args[0].numbers::<Float64Type>(), args[1].numbers::<Int32Type>());
            Ok(Arc::new(some_numbers::<Float64Type>(args, rows, |row| {
                Some(round_float(values.get(row), places.get(row), rounding))
            })))
        }),
        DataType::Decimal(_, scale) => {
            let DataType::Decimal(precision, to) = result else {
                panic!("ROUND of a decimal is a decimal")
            };
            decimal_column(result, move |args, row| {
                let (value, places) =
                    (args[0].numbers::<Decimal128Type>(), args[1].numbers::<Int32Type>());
                let (value, places) = (value.get(row), places.get(row));
                if places >= i32::from(scale) {
                    return rescale(value, scale, precision, to);
                }
                let cut = i32::from(scale).saturating_sub(places);
                if cut > 38 {
                    return Some(0);
                }
                let unit = pow10(cut as u32);
                rescale(rounding.divide(value, unit).checked_mul(unit)?, scale, precision, to)
            })
        }
        other => panic!("ROUND is not bound for {other}"),
    }
}

fn rounded_integers<T: ArrowPrimitiveType>(
    rounding: Rounding,
    narrow: fn(i128) -> T::Native,
) -> Kernel
where
    T::Native: Into<i64>,
{
    Box::new(move |args, rows, _| {
        let (values, places) = (args[0].numbers::<T>(), args[1].numbers::<Int32Type>());
        let column = some_numbers::<T>(args, rows, |row| {
            let (value, places) = (values.get(row), places.get(row));
            if places >= 0 {
                return Some(value);
            }
            if places < -19 {
                return Some(T::Native::ZERO);
            }
            let unit = pow10(places.unsigned_abs());
            Some(narrow(rounding.divide(i128::from(value.into()), unit) * unit))
        });
        Ok(Arc::new(column) as ArrayRef)
    })
}

/// Rounds the shortest decimal digits of a double to `places` after the point.
fn round_float(value: f64, places: i32, rounding: Rounding) -> f64 {
    use std::io::Write;
    if !value.is_finite() || value == 0.0 {
        return value;
    }
    let mut buffer = [0u8; 40];
    let mut rest = &mut buffer[..];
    write!(rest, "{:e}", value.abs()).expect("a shortest double has at most 24 characters");
    let length = 40 - rest.len();
    let text = std::str::from_utf8(&buffer[..length]).expect("digits are ASCII");
    let (mantissa, exponent) = text.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a small integer");
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    // How many of the digits stand before the place that is kept.
    let keep = i64::from(exponent) + 1 + i64::from(places);
    if keep >= digits.len() as i64 {
        return value;
    }
    let up = rounding == Rounding::HalfUp && keep >= 0 && digits[keep as usize] >= b'5';
    let kept = &digits[..keep.max(0) as usize];
    let whole =
        kept.iter().fold(0i64, |whole, digit| whole * 10 + i64::from(digit - b'0')) + i64::from(up);
    let rounded: f64 = format!("{whole}e{}", -i64::from(places))
        .parse()
        .expect("digits and an exponent are a number");
    if value < 0.0 { -rounded } else { rounded }
}
