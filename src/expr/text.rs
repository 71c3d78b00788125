//! Values as CAST … AS STRING writes them, and the other way round.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use chrono_tz::Tz;

use crate::batch::DataType;
use crate::batch::text::{
    parse_timestamp as parse_timestamp_text, ticks_from_parts, write_date, write_decimal,
    write_f32_java, write_f64_java, write_i64, write_time, write_timestamp,
};

use super::calendar;

pub use crate::batch::text::{parse_date, parse_decimal, parse_f64, parse_i64, parse_time};

/// How date and time are written in one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampText {
    /// `2024-01-01 00:00:10.000`
    Sql,
    /// `2024-01-01T00:00:10.000`
    Iso8601,
}

/// Reads a timestamp: milliseconds since 1970-01-01, and the nanoseconds within the last of them.
pub fn parse_timestamp(text: &str, standard: TimestampText) -> Option<(i64, u32)> {
    let separator = match standard {
        TimestampText::Sql => b' ',
        TimestampText::Iso8601 => b'T',
    };
    parse_timestamp_text(text.as_bytes(), separator)
}

/// Appends the value of `row` as CAST AS STRING writes it; nothing for NULL.
///
/// `time_zone` is the session's, in which a TIMESTAMP_LTZ is shown.
///
/// # Panics
///
/// If `column` has not the Arrow type of `data_type`, or `row` is beyond its end.
pub fn append_value(
    column: &dyn Array,
    data_type: DataType,
    row: usize,
    time_zone: Tz,
    out: &mut Vec<u8>,
) {
    if column.is_null(row) {
        return;
    }
    match data_type {
        DataType::Null => {}
        DataType::Boolean => {
            out.extend_from_slice(if column.as_boolean().value(row) { b"TRUE" } else { b"FALSE" });
        }
        DataType::TinyInt => write_i64(out, column.as_primitive::<Int8Type>().value(row).into()),
        DataType::SmallInt => write_i64(out, column.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int => write_i64(out, column.as_primitive::<Int32Type>().value(row).into()),
        DataType::BigInt => write_i64(out, column.as_primitive::<Int64Type>().value(row)),
        DataType::Float => write_f32_java(out, column.as_primitive::<Float32Type>().value(row)),
        DataType::Double => write_f64_java(out, column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal(_, scale) => {
            write_decimal(out, column.as_primitive::<Decimal128Type>().value(row), scale)
        }
        DataType::Char(_) | DataType::VarChar(_) => {
            out.extend_from_slice(column.as_string_view().value(row).as_bytes());
        }
        DataType::Binary(_) | DataType::VarBinary(_) => {
            out.extend_from_slice(column.as_binary_view().value(row))
        }
        DataType::Date => write_date(out, column.as_primitive::<Int32Type>().value(row)),
        DataType::Time(precision) => {
            append_time(column.as_primitive::<Int32Type>().value(row), precision, out)
        }
        DataType::Timestamp(precision) => {
            write_timestamp(out, column.as_primitive::<Int64Type>().value(row), precision, b' ');
        }
        DataType::TimestampLtz(precision) => {
            let ticks = column.as_primitive::<Int64Type>().value(row);
            let (ms, nanos) = calendar::parts(ticks, data_type.ticks_per_ms());
            let wall = ticks_from_parts(calendar::to_wall_ms(ms, time_zone), nanos, precision);
            write_timestamp(out, wall.unwrap_or(ticks), precision, b' ');
        }
        DataType::IntervalDay => {
            append_interval_day(column.as_primitive::<Int64Type>().value(row), out)
        }
        DataType::IntervalMonth => {
            append_interval_month(column.as_primitive::<Int32Type>().value(row), out)
        }
    }
}

/// A time of day: at least one digit of a second where the type has some, without trailing zeros.
fn append_time(ms: i32, precision: u8, out: &mut Vec<u8>) {
    write_time(out, ms, precision.min(3));
    if precision > 1 {
        let least = out.len() + 1 - usize::from(precision.min(3));
        while out.len() > least && out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// `+1 02:03:04.567`
fn append_interval_day(ms: i64, out: &mut Vec<u8>) {
    out.push(if ms < 0 { b'-' } else { b'+' });
    let ms = ms.unsigned_abs();
    write_i64(out, (ms / calendar::DAY_MS as u64) as i64);
    out.push(b' ');
    write_time(out, (ms % calendar::DAY_MS as u64) as i32, 3);
}

/// `+1-02`
fn append_interval_month(months: i32, out: &mut Vec<u8>) {
    out.push(if months < 0 { b'-' } else { b'+' });
    let months = months.unsigned_abs();
    write_i64(out, i64::from(months / 12));
    out.push(b'-');
    if months % 12 < 10 {
        out.push(b'0');
    }
    write_i64(out, i64::from(months % 12));
}
