//! Columns as texts, in the words of each output style.
//!
//! JSON lines are byte for byte those of the recorded Flink cases: three, six or nine digits of a second
//! as needed, `Z` behind instants, decimals in plain notation, numbers that are none as strings.
//!
//! # Invariants
//!
//! 1. A text holds no line break, whatever the data, except inside CSV quotes.
//! 2. The type of a column decides once how its rows are written.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
use arrow_array::{Array, ArrayRef};

use super::output::Style;
use crate::batch::DataType;
use crate::batch::text::{
    write_date, write_decimal, write_f32_java, write_f64_java, write_i64, write_time,
    write_timestamp,
};

/// The first second of the year 10000, which is written with a sign, as in Java.
const YEAR_10000_SECOND: i64 = 253_402_300_800;
const MONTH_COUNT: u32 = 12;

/// The texts of a column's rows.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// The text of one row.
    pub(super) fn text(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }

    /// How many rows.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The texts of `array`'s rows.
    fn of(array: &dyn Array, style: Style, mut write: impl FnMut(usize, &mut Vec<u8>)) -> Self {
        let null: &[u8] = match style {
            Style::JsonLines => b"null",
            Style::Csv => b"",
            Style::Table => b"NULL",
        };
        let mut texts = Texts {
            bytes: Vec::with_capacity(array.len() * 8),
            ends: Vec::with_capacity(array.len()),
        };
        for row in 0..array.len() {
            if array.is_null(row) {
                texts.bytes.extend_from_slice(null);
            } else {
                write(row, &mut texts.bytes);
            }
            texts.ends.push(texts.bytes.len());
        }
        texts
    }

    fn primitives<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        style: Style,
        mut write: impl FnMut(T::Native, &mut Vec<u8>),
    ) -> Self {
        let values = array.as_primitive::<T>().values();
        Self::of(array, style, |row, out| write(values[row], out))
    }

    /// As `primitives`, in quotes where the style wants text in quotes.
    fn quoted<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        style: Style,
        mut write: impl FnMut(T::Native, &mut Vec<u8>),
    ) -> Self {
        let quote: &[u8] = if style == Style::JsonLines { b"\"" } else { b"" };
        Self::primitives::<T>(array, style, |value, out| {
            out.extend_from_slice(quote);
            write(value, out);
            out.extend_from_slice(quote);
        })
    }
}

/// The texts of a column of type `data_type`.
pub(super) fn render(array: &ArrayRef, data_type: DataType, style: Style) -> Texts {
    match data_type {
        DataType::Null | DataType::Boolean => {
            let values = array.as_boolean();
            Texts::of(array, style, |row, out| {
                out.extend_from_slice(if values.value(row) { b"true" } else { b"false" })
            })
        }
        DataType::TinyInt => {
            Texts::primitives::<Int8Type>(array, style, |value, out| write_i64(out, value.into()))
        }
        DataType::SmallInt => {
            Texts::primitives::<Int16Type>(array, style, |value, out| write_i64(out, value.into()))
        }
        DataType::Int => {
            Texts::primitives::<Int32Type>(array, style, |value, out| write_i64(out, value.into()))
        }
        DataType::BigInt => {
            Texts::primitives::<Int64Type>(array, style, |value, out| write_i64(out, value))
        }
        DataType::Float => Texts::primitives::<Float32Type>(array, style, |value, out| {
            number(style, value.is_finite(), out, |out| write_f32_java(out, value));
        }),
        DataType::Double => Texts::primitives::<Float64Type>(array, style, |value, out| {
            number(style, value.is_finite(), out, |out| write_f64_java(out, value));
        }),
        DataType::Decimal(_, scale) => {
            Texts::primitives::<Decimal128Type>(array, style, |value, out| {
                write_decimal(out, value, scale)
            })
        }
        DataType::Char(_) | DataType::VarChar(_) => {
            let values = array.as_string_view();
            Texts::of(array, style, |row, out| write_text(values.value(row), style, out))
        }
        DataType::Binary(_) | DataType::VarBinary(_) => {
            let values = array.as_binary_view();
            Texts::of(array, style, |row, out| write_hex(values.value(row), style, out))
        }
        DataType::Date => Texts::quoted::<Int32Type>(array, style, |days, out| {
            write_sign(out, i64::from(days) * 86_400);
            write_date(out, days);
        }),
        DataType::Time(_) => {
            Texts::quoted::<Int32Type>(array, style, |ms, out| write_short_time(out, ms))
        }
        DataType::Timestamp(_) | DataType::TimestampLtz(_) => {
            let ticks_per_ms = data_type.ticks_per_ms();
            let zone: &[u8] =
                if matches!(data_type, DataType::TimestampLtz(_)) { b"Z" } else { b"" };
            Texts::quoted::<Int64Type>(array, style, |ticks, out| {
                write_instant(out, ticks, ticks_per_ms);
                out.extend_from_slice(zone);
            })
        }
        DataType::IntervalDay => {
            Texts::quoted::<Int64Type>(array, style, |ms, out| write_days(out, ms))
        }
        DataType::IntervalMonth => Texts::quoted::<Int32Type>(array, style, |months, out| {
            out.push(if months < 0 { b'-' } else { b'+' });
            write_i64(out, (months.unsigned_abs() / MONTH_COUNT).into());
            out.push(b'-');
            let rest = months.unsigned_abs() % MONTH_COUNT;
            out.extend_from_slice(&[b'0' + (rest / 10) as u8, b'0' + (rest % 10) as u8]);
        }),
    }
}

/// A number, in quotes where JSON has no such number.
fn number(style: Style, finite: bool, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let quote: &[u8] = if style == Style::JsonLines && !finite { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    write(out);
    out.extend_from_slice(quote);
}

/// The sign that Java writes before years beyond 9999.
fn write_sign(out: &mut Vec<u8>, second: i64) {
    if second >= YEAR_10000_SECOND {
        out.push(b'+');
    }
}

/// `2024-01-01 00:00:10.000`, with six or nine digits if three do not hold it.
fn write_instant(out: &mut Vec<u8>, ticks: i64, ticks_per_ms: i64) {
    write_sign(out, ticks.div_euclid(ticks_per_ms * 1000));
    if ticks % ticks_per_ms == 0 {
        write_timestamp(out, ticks / ticks_per_ms, 3, b' ');
    } else if ticks_per_ms == 1000 {
        write_timestamp(out, ticks, 6, b' ');
    } else if ticks % 1000 == 0 {
        write_timestamp(out, ticks / 1000, 6, b' ');
    } else {
        write_timestamp(out, ticks, 9, b' ');
    }
}

/// `10:15`, `10:15:30` or `10:15:30.123`, the shortest that holds it, as Java does.
fn write_short_time(out: &mut Vec<u8>, ms: i32) {
    let start = out.len();
    write_time(out, ms, if ms % 1000 == 0 { 0 } else { 3 });
    if ms % 60_000 == 0 {
        out.truncate(start + "10:15".len());
    }
}

/// `+1 02:03:04.005`
fn write_days(out: &mut Vec<u8>, ms: i64) {
    const DAY_MS: u64 = 86_400_000;
    out.push(if ms < 0 { b'-' } else { b'+' });
    write_i64(out, (ms.unsigned_abs() / DAY_MS) as i64);
    out.push(b' ');
    write_time(out, (ms.unsigned_abs() % DAY_MS) as i32, 3);
}

/// A string as the style writes it.
pub(super) fn write_text(text: &str, style: Style, out: &mut Vec<u8>) {
    match style {
        Style::JsonLines => {
            out.push(b'"');
            write_escaped(text, true, out);
            out.push(b'"');
        }
        Style::Table => write_escaped(text, false, out),
        Style::Csv if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
            out.push(b'"');
            out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
            out.push(b'"');
        }
        Style::Csv => out.extend_from_slice(text.as_bytes()),
    }
}

/// Control characters as JSON escapes them; quotes and backslashes too if `in_quotes`.
fn write_escaped(text: &str, in_quotes: bool, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let special = |byte: u8| {
        byte < 32 || (in_quotes && matches!(byte, b'"' | b'\\')) || (!in_quotes && byte == 127)
    };
    let mut done = 0;
    while let Some(index) = bytes[done..].iter().position(|&byte| special(byte)) {
        out.extend_from_slice(&bytes[done..done + index]);
        match bytes[done + index] {
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        done += index + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

fn write_hex(bytes: &[u8], style: Style, out: &mut Vec<u8>) {
    let quote: &[u8] = if style == Style::JsonLines { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    for byte in bytes {
        let digits = [byte >> 4, byte & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
        out.extend_from_slice(&digits);
    }
    out.extend_from_slice(quote);
}
