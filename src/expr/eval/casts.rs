//! CAST and TRY_CAST between all types, as Flink does them.
//!
//! Numbers narrow as in Java (integers wrap, floating point saturates); a number too large for a DECIMAL is
//! NULL; a text that is no value of the type fails its row, or is NULL under TRY_CAST.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, BooleanArray, Decimal128Array};

use crate::batch::DataType;
use crate::batch::text::{self, DecimalText, pow10};
use crate::expr::calendar;
use crate::expr::text as print;

use super::arithmetic::rescale;
use super::datum::{
    Datum, map, nulls, pack, some_bytes, some_numbers, some_texts, try_booleans, try_numbers,
};
use super::{EvalContext, Kernel};

/// What a value that does not fit turns into.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum OnFailure {
    /// A failed row.
    Fail,
    /// NULL.
    Null,
}

impl OnFailure {
    /// The value, NULL, or the failure of `CAST(text AS data_type)`.
    fn settle<T>(
        self,
        value: Option<T>,
        text: &str,
        data_type: DataType,
    ) -> Result<Option<T>, String> {
        match (value, self) {
            (Some(value), _) => Ok(Some(value)),
            (None, OnFailure::Null) => Ok(None),
            (None, OnFailure::Fail) => {
                Err(format!("CAST: '{text}' is no {data_type}; TRY_CAST makes it NULL"))
            }
        }
    }
}

/// The loop that casts, and whether it can fail.
///
/// # Panics
///
/// If there is no such cast: the binder let it through.
pub(super) fn kernel(from: DataType, to: DataType, on_failure: OnFailure) -> (Kernel, bool) {
    use DataType::*;
    let fails =
        from.is_string() && !to.is_string() && !to.is_binary() && on_failure == OnFailure::Fail;
    let kernel: Kernel = match (from, to) {
        (from, to) if from == to => same(),
        (Null, to) => {
            Box::new(move |_, rows, _| Ok(arrow_array::new_null_array(&to.arrow(), rows)))
        }
        (from, Char(_) | VarChar(_)) => to_text(from, to),
        (from, to) if from.is_string() => from_text(to, on_failure),
        (Binary(_) | VarBinary(_), Binary(_) | VarBinary(_)) => bytes_to_bytes(to),
        (Boolean, to) => from_boolean(to),
        (from, Boolean) => to_boolean(from),
        (from, to) if from.is_numeric() && to.is_numeric() => number_to_number(from, to),
        (Timestamp(_) | TimestampLtz(_) | Date | Time(_), _) => time_to_time(from, to),
        (from, to) => panic!("{from} is not cast to {to}"),
    };
    (kernel, fails)
}

fn same() -> Kernel {
    Box::new(|args, _, _| Ok(args[0].array().clone()))
}

/// Calls `$body` with `$T` bound to the Arrow type of a fixed-width number type.
macro_rules! with_number {
    ($data_type:expr, $T:ident => $body:expr) => {
        match $data_type {
            DataType::TinyInt => {
                type $T = Int8Type;
                $body
            }
            DataType::SmallInt => {
                type $T = Int16Type;
                $body
            }
            DataType::Int => {
                type $T = Int32Type;
                $body
            }
            DataType::BigInt => {
                type $T = Int64Type;
                $body
            }
            DataType::Float => {
                type $T = Float32Type;
                $body
            }
            DataType::Double => {
                type $T = Float64Type;
                $body
            }
            other => panic!("{other} is no plain number"),
        }
    };
}

/// Java's narrowing and widening of numbers.
trait JavaNumber: Copy {
    fn to_i64(self) -> i64;
    fn to_i32(self) -> i32;
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
}

macro_rules! java_number {
    ($($native:ty),*) => {$(
        impl JavaNumber for $native {
            fn to_i64(self) -> i64 { self as i64 }
            fn to_i32(self) -> i32 { self as i32 }
            fn to_f64(self) -> f64 { self as f64 }
            fn to_f32(self) -> f32 { self as f32 }
        }
    )*};
}

java_number!(i8, i16, i32, i64, f32, f64);

fn number_to_number(from: DataType, to: DataType) -> Kernel {
    match (from, to) {
        (DataType::Decimal(_, from), DataType::Decimal(precision, scale)) => {
            Box::new(move |args, rows, _| {
                let values = args[0].numbers::<Decimal128Type>();
                Ok(decimals(args, rows, precision, scale, |row| {
                    rescale(values.get(row), from, precision, scale)
                }))
            })
        }
        (DataType::Decimal(precision, scale), to) => from_decimal(precision, scale, to),
        (from, DataType::Decimal(precision, scale)) if from.is_float() => {
            float_to_decimal(from, precision, scale)
        }
        (from, DataType::Decimal(precision, scale)) => {
            with_number!(from, T => Box::new(move |args, rows, _| {
                let values = args[0].numbers::<T>();
                Ok(decimals(args, rows, precision, scale, |row| {
                    rescale(i128::from(values.get(row).to_i64()), 0, precision, scale)
                }))
            }))
        }
        (from, to) => with_number!(from, T => plain::<T>(to)),
    }
}

fn plain<T: ArrowPrimitiveType>(to: DataType) -> Kernel
where
    T::Native: JavaNumber,
{
    match to {
        // Java narrows a double to a byte by way of an int.
        DataType::TinyInt if narrows_by_int::<T>() => Box::new(|args, rows, _| {
            Ok(map::<T, Int8Type>(&args[0], rows, |value| value.to_i32() as i8))
        }),
        DataType::SmallInt if narrows_by_int::<T>() => Box::new(|args, rows, _| {
            Ok(map::<T, Int16Type>(&args[0], rows, |value| value.to_i32() as i16))
        }),
        DataType::Int if narrows_by_int::<T>() => Box::new(|args, rows, _| {
            Ok(map::<T, Int32Type>(&args[0], rows, |value| value.to_i32()))
        }),
        DataType::TinyInt => {
            Box::new(|args, rows, _| Ok(map::<T, Int8Type>(&args[0], rows, |v| v.to_i64() as i8)))
        }
        DataType::SmallInt => {
            Box::new(|args, rows, _| Ok(map::<T, Int16Type>(&args[0], rows, |v| v.to_i64() as i16)))
        }
        DataType::Int => {
            Box::new(|args, rows, _| Ok(map::<T, Int32Type>(&args[0], rows, |v| v.to_i64() as i32)))
        }
        DataType::BigInt => Box::new(|args, rows, _| {
            Ok(map::<T, Int64Type>(&args[0], rows, |value| value.to_i64()))
        }),
        DataType::Float => Box::new(|args, rows, _| {
            Ok(map::<T, Float32Type>(&args[0], rows, |value| value.to_f32()))
        }),
        _ => Box::new(|args, rows, _| {
            Ok(map::<T, Float64Type>(&args[0], rows, |value| value.to_f64()))
        }),
    }
}

fn narrows_by_int<T: ArrowPrimitiveType>() -> bool {
    matches!(T::DATA_TYPE, arrow_schema::DataType::Float32 | arrow_schema::DataType::Float64)
}

fn decimals(
    args: &[Datum],
    rows: usize,
    precision: u8,
    scale: u8,
    each: impl Fn(usize) -> Option<i128>,
) -> ArrayRef {
    let column: Decimal128Array = some_numbers::<Decimal128Type>(args, rows, each);
    Arc::new(column.with_data_type(DataType::Decimal(precision, scale).arrow()))
}

fn float_to_decimal(from: DataType, precision: u8, scale: u8) -> Kernel {
    Box::new(move |args, rows, _| {
        let wide = match from {
            DataType::Float => map::<Float32Type, Float64Type>(&args[0], rows, f64::from),
            _ => args[0].array().clone(),
        };
        let values = wide.as_primitive::<Float64Type>();
        Ok(decimals(args, rows, precision, scale, |row| {
            let mut digits = Vec::with_capacity(32);
            text::write_f64_java(
                &mut digits,
                values.value(if values.len() == 1 { 0 } else { row }),
            );
            text::parse_decimal(&digits, precision, scale)
        }))
    })
}

/// The nearest double of a decimal.
pub(super) fn decimal_to_f64(value: i128, precision: u8, scale: u8) -> f64 {
    if precision <= 18 {
        return value as f64 / pow10(scale.into()) as f64;
    }
    let mut digits = Vec::with_capacity(48);
    text::write_decimal(&mut digits, value, scale);
    text::parse_f64(&digits).expect("a decimal is a number")
}

fn from_decimal(precision: u8, scale: u8, to: DataType) -> Kernel {
    let unit = pow10(scale.into());
    match to {
        DataType::TinyInt => Box::new(move |args, rows, _| {
            Ok(map::<Decimal128Type, Int8Type>(&args[0], rows, |v| (v / unit) as i8))
        }),
        DataType::SmallInt => Box::new(move |args, rows, _| {
            Ok(map::<Decimal128Type, Int16Type>(&args[0], rows, |v| (v / unit) as i16))
        }),
        DataType::Int => Box::new(move |args, rows, _| {
            Ok(map::<Decimal128Type, Int32Type>(&args[0], rows, |v| (v / unit) as i32))
        }),
        DataType::BigInt => Box::new(move |args, rows, _| {
            Ok(map::<Decimal128Type, Int64Type>(&args[0], rows, |v| (v / unit) as i64))
        }),
        DataType::Float => Box::new(move |args, rows, _| {
            Ok(map::<Decimal128Type, Float32Type>(&args[0], rows, |v| {
                decimal_to_f64(v, precision, scale) as f32
            }))
        }),
        _ => Box::new(move |args, rows, _| {
            Ok(map::<Decimal128Type, Float64Type>(&args[0], rows, |v| {
                decimal_to_f64(v, precision, scale)
            }))
        }),
    }
}

fn from_boolean(to: DataType) -> Kernel {
    if let DataType::Decimal(precision, scale) = to {
        return Box::new(move |args, rows, _| {
            let values = args[0].booleans();
            Ok(decimals(args, rows, precision, scale, |row| {
                rescale(values.get(row).into(), 0, precision, scale)
            }))
        });
    }
    with_number!(to, T => Box::new(move |args, rows, _| {
        let values = args[0].booleans();
        let one = <T as ArrowPrimitiveType>::Native::ONE;
        let zero = <T as ArrowPrimitiveType>::Native::ZERO;
        Ok(Arc::new(some_numbers::<T>(args, rows, |row| Some(if values.get(row) { one } else { zero }))))
    }))
}

fn to_boolean(from: DataType) -> Kernel {
    fn nonzero<T: ArrowPrimitiveType>(args: &[Datum], rows: usize) -> ArrayRef {
        let bits = pack(args[0].numbers::<T>().values, |value| value != T::Native::ZERO);
        Arc::new(BooleanArray::new(bits, nulls(args, rows)))
    }
    match from {
        DataType::Decimal(..) => {
            Box::new(|args, rows, _| Ok(nonzero::<Decimal128Type>(args, rows)))
        }
        from => with_number!(from, T => Box::new(|args, rows, _| Ok(nonzero::<T>(args, rows)))),
    }
}

fn bytes_to_bytes(to: DataType) -> Kernel {
    Box::new(move |args, rows, _| {
        let bytes = args[0].bytes();
        Ok(some_bytes(args, rows, |row, out| {
            out.extend_from_slice(bytes.get(row));
            match to {
                DataType::Binary(length) => out.resize(length as usize, 0),
                DataType::VarBinary(length) => out.truncate(length as usize),
                _ => {}
            }
            true
        }))
    })
}

fn to_text(from: DataType, to: DataType) -> Kernel {
    if let (DataType::Char(have) | DataType::VarChar(have), DataType::VarChar(room)) = (from, to)
        && have <= room
    {
        return same();
    }
    match from {
        DataType::Float => printed(to, |args, row, _, out| {
            text::write_f32_java(out, args[0].numbers::<Float32Type>().get(row));
        }),
        DataType::Double => printed(to, |args, row, _, out| {
            text::write_f64_java(out, args[0].numbers::<Float64Type>().get(row));
        }),
        from if from.is_integer() => with_number!(from, T => printed(to, |args, row, _, out| {
            text::write_i64(out, args[0].numbers::<T>().get(row).to_i64());
        })),
        DataType::Decimal(_, scale) => printed(to, move |args, row, _, out| {
            text::write_decimal(out, args[0].numbers::<Decimal128Type>().get(row), scale);
        }),
        DataType::Timestamp(precision) => printed(to, move |args, row, _, out| {
            text::write_timestamp(out, args[0].numbers::<Int64Type>().get(row), precision, b' ');
        }),
        from if from.is_string() || from.is_binary() => {
            printed(to, |args, row, _, out| out.extend_from_slice(args[0].bytes().get(row)))
        }
        from => printed(to, move |args, row, context, out| {
            let row = if args[0].array().len() == 1 { 0 } else { row };
            print::append_value(args[0].array().as_ref(), from, row, context.time_zone, out);
        }),
    }
}

/// Strings of the bytes that `each` appends, cut to the length of `to`.
fn printed(
    to: DataType,
    each: impl Fn(&[Datum], usize, &EvalContext, &mut Vec<u8>) + Send + Sync + 'static,
) -> Kernel {
    let unlimited = to == DataType::STRING;
    Box::new(move |args, rows, context| {
        let mut bytes = Vec::new();
        Ok(some_texts(args, rows, |row, out| {
            bytes.clear();
            each(args, row, context, &mut bytes);
            match std::str::from_utf8(&bytes) {
                Ok(text) => out.push_str(text),
                Err(_) => out.push_str(&String::from_utf8_lossy(&bytes)),
            }
            if !unlimited {
                fit_length(out, to);
            }
            true
        }))
    })
}

/// Cuts to the declared length; CHAR is padded with blanks.
fn fit_length(text: &mut String, to: DataType) {
    let (DataType::Char(length) | DataType::VarChar(length)) = to else { return };
    if text.len() > length as usize
        && let Some((cut, _)) = text.char_indices().nth(length as usize)
    {
        text.truncate(cut);
    }
    if let DataType::Char(length) = to {
        for _ in text.chars().count()..length as usize {
            text.push(' ');
        }
    }
}

fn from_text(to: DataType, on_failure: OnFailure) -> Kernel {
    match to {
        DataType::TinyInt => integer::<Int8Type>(to, on_failure, |value| i8::try_from(value).ok()),
        DataType::SmallInt => {
            integer::<Int16Type>(to, on_failure, |value| i16::try_from(value).ok())
        }
        DataType::Int => integer::<Int32Type>(to, on_failure, |value| i32::try_from(value).ok()),
        DataType::BigInt => integer::<Int64Type>(to, on_failure, Some),
        DataType::Float => {
            parsed::<Float32Type>(to, on_failure, |text, _| calendar::parse_f32(text.as_bytes()))
        }
        DataType::Double => {
            parsed::<Float64Type>(to, on_failure, |text, _| text::parse_f64(text.as_bytes()))
        }
        DataType::Decimal(precision, scale) => text_to_decimal(precision, scale, on_failure),
        DataType::Boolean => Box::new(move |args, rows, _| {
            let texts = args[0].texts();
            try_booleans(args, rows, |row| {
                on_failure.settle(parse_boolean(texts.get(row)), texts.get(row), to)
            })
        }),
        DataType::Date => {
            parsed::<Int32Type>(to, on_failure, |text, _| calendar::parse_date_lenient(text))
        }
        DataType::Time(_) => {
            parsed::<Int32Type>(to, on_failure, |text, _| calendar::parse_time_lenient(text))
        }
        DataType::Timestamp(precision) => parsed::<Int64Type>(to, on_failure, move |text, _| {
            let (ms, nanos) = calendar::parse_timestamp_lenient(text)?;
            text::ticks_from_parts(ms, nanos, precision)
        }),
        DataType::TimestampLtz(precision) => {
            parsed::<Int64Type>(to, on_failure, move |text, context| {
                let (ms, nanos) = calendar::parse_timestamp_lenient(text)?;
                text::ticks_from_parts(
                    calendar::to_instant_ms(ms, context.time_zone),
                    nanos,
                    precision,
                )
            })
        }
        _ => Box::new(move |args, rows, _| {
            let texts = args[0].texts();
            Ok(some_bytes(args, rows, |row, out| {
                out.extend_from_slice(texts.get(row).as_bytes());
                match to {
                    DataType::Binary(length) => out.resize(length as usize, 0),
                    DataType::VarBinary(length) => out.truncate(length as usize),
                    _ => {}
                }
                true
            }))
        }),
    }
}

fn parsed<T: ArrowPrimitiveType>(
    to: DataType,
    on_failure: OnFailure,
    parse: impl Fn(&str, &EvalContext) -> Option<T::Native> + Send + Sync + 'static,
) -> Kernel {
    Box::new(move |args, rows, context| {
        let texts = args[0].texts();
        let column = try_numbers::<T>(args, rows, |row| {
            let text = texts.get(row);
            on_failure.settle(parse(text, context), text, to)
        })?;
        Ok(Arc::new(column))
    })
}

/// An integer, blanks around it and a fraction behind it allowed.
fn integer<T: ArrowPrimitiveType>(
    to: DataType,
    on_failure: OnFailure,
    narrow: fn(i64) -> Option<T::Native>,
) -> Kernel {
    parsed::<T>(to, on_failure, move |text, _| {
        let text = text.trim_matches(' ');
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let whole = match whole {
            "" | "+" | "-" if text.len() > whole.len() => "0",
            whole => whole,
        };
        narrow(text::parse_i64(whole.as_bytes())?)
    })
}

fn text_to_decimal(precision: u8, scale: u8, on_failure: OnFailure) -> Kernel {
    let to = DataType::Decimal(precision, scale);
    Box::new(move |args, rows, _| {
        let texts = args[0].texts();
        let column = try_numbers::<Decimal128Type>(args, rows, |row| {
            let text = texts.get(row);
            let bytes = text.trim_matches([' ', '\n', '\t']).as_bytes();
            let value = match text::parse_decimal_text(bytes, precision, scale) {
                DecimalText::Value(value) => Some(value),
                DecimalText::Invalid | DecimalText::Overflow => None,
            };
            on_failure.settle(value, text, to)
        })?;
        Ok(Arc::new(column.with_data_type(to.arrow())))
    })
}

fn parse_boolean(text: &str) -> Option<bool> {
    const YES: [&str; 5] = ["t", "true", "y", "yes", "1"];
    const NO: [&str; 5] = ["f", "false", "n", "no", "0"];
    let is = |word: &&str| text.trim_matches(' ').eq_ignore_ascii_case(word);
    if YES.iter().any(is) {
        Some(true)
    } else if NO.iter().any(is) {
        Some(false)
    } else {
        None
    }
}

/// Casts among DATE, TIME, TIMESTAMP and TIMESTAMP_LTZ.
fn time_to_time(from: DataType, to: DataType) -> Kernel {
    use DataType::*;
    match from {
        Date => from_parts(to, |args, row, _| {
            (i64::from(args[0].numbers::<Int32Type>().get(row)) * calendar::DAY_MS, 0)
        }),
        Time(_) => {
            from_parts(to, |args, row, _| (args[0].numbers::<Int32Type>().get(row).into(), 0))
        }
        _ => {
            let per_ms = from.ticks_per_ms();
            let from_instant = matches!(from, TimestampLtz(_));
            match (from_instant, to) {
                // Between instants no wall clock is asked.
                (true, TimestampLtz(precision)) => Box::new(move |args, rows, _| {
                    let ticks = args[0].numbers::<Int64Type>();
                    Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                        let (ms, nanos) = calendar::parts(ticks.get(row), per_ms);
                        text::ticks_from_parts(ms, nanos, precision)
                    })))
                }),
                (true, to) => from_parts(to, move |args, row, context| {
                    let (ms, nanos) =
                        calendar::parts(args[0].numbers::<Int64Type>().get(row), per_ms);
                    (calendar::to_wall_ms(ms, context.time_zone), nanos)
                }),
                (false, to) => from_parts(to, move |args, row, _| {
                    calendar::parts(args[0].numbers::<Int64Type>().get(row), per_ms)
                }),
            }
        }
    }
}

/// From the wall clock (milliseconds, and nanoseconds within the last of them) to `to`.
fn from_parts(
    to: DataType,
    parts: impl Fn(&[Datum], usize, &EvalContext) -> (i64, u32) + Send + Sync + 'static,
) -> Kernel {
    match to {
        DataType::Date => Box::new(move |args, rows, context| {
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                i32::try_from(parts(args, row, context).0.div_euclid(calendar::DAY_MS)).ok()
            })))
        }),
        DataType::Time(precision) => Box::new(move |args, rows, context| {
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                let of_day = parts(args, row, context).0.rem_euclid(calendar::DAY_MS);
                Some(calendar::cut_time(of_day as i32, precision))
            })))
        }),
        DataType::Timestamp(precision) => Box::new(move |args, rows, context| {
            Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                let (ms, nanos) = parts(args, row, context);
                text::ticks_from_parts(ms, nanos, precision)
            })))
        }),
        DataType::TimestampLtz(precision) => Box::new(move |args, rows, context| {
            Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                let (ms, nanos) = parts(args, row, context);
                text::ticks_from_parts(
                    calendar::to_instant_ms(ms, context.time_zone),
                    nanos,
                    precision,
                )
            })))
        }),
        other => panic!("no time is cast to {other}"),
    }
}
