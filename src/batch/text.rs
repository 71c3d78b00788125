//! Values as text and back, byte for byte as Flink (that is, Java) writes and reads them.
//!
//! Formats, casts and sinks share these free functions, so that a number printed by one is the number
//! read by another. Writers append to a `Vec<u8>` and allocate nothing else; parsers take bytes and
//! answer `None` for anything that is not such a value, whatever the bytes.
//!
//! # Invariants
//!
//! 1. Writers append valid UTF-8 (ASCII, in fact) and nothing else.
//! 2. Parsers never panic, and read the whole input or refuse it.
//! 3. The calendar is the proleptic Gregorian one; a date that does not exist is refused.

mod number;
mod time;

pub use number::{
    DecimalText, parse_decimal, parse_decimal_text, parse_f64, parse_i64, pow10, write_decimal,
    write_f32_java, write_f64_java, write_i64,
};
pub use time::{
    civil_from_days, days_from_civil, days_in_month, parse_date, parse_time, parse_timestamp,
    ticks_from_parts, write_date, write_time, write_timestamp, write_timestamp_trimmed,
};
