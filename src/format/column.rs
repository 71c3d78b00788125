//! Text to columns: the values that a field's text has in each SQL type.
//!
//! The rules are Flink's, which are those of the Java calls it makes: `Integer.parseInt` of the trimmed text
//! for integers, `BigDecimal` rounded half up for decimals (NULL where it has too many digits), and so on.
//! They depend on the format ([`Dialect`]) and, in JSON, on whether the text stood in quotes.
//!
//! # Invariants
//!
//! 1. The type is looked at once per column; the loops over rows are plain.
//! 2. Nothing here fails on a text but by naming its row.

use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
use arrow_array::{ArrayRef, BinaryViewArray, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, NullBufferBuilder, ScalarBuffer};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::java;
use super::rows::{Span, kind};
use crate::batch::DataType;
use crate::batch::text::{self, DecimalText};
use crate::sys::views::{Utf8Buffer, ViewColumn};

/// Which rules turn text into values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// CSV.
    Csv,
    /// JSON with `timestamp-format.standard = SQL`.
    JsonSql,
    /// JSON with `timestamp-format.standard = ISO-8601`.
    JsonIso,
}

/// Where the spans of a batch point, and by which rules they are read.
pub(super) struct Texts<'a> {
    /// The chunk.
    pub(super) source: &'a Utf8Buffer,
    /// Rewritten text.
    pub(super) side: &'a str,
    /// The format's rules.
    pub(super) dialect: Dialect,
    /// Whether a bad field is NULL.
    pub(super) lenient: bool,
}

/// A value, or NULL, or not a value of the type.
enum Read<T> {
    Value(T),
    Null,
    Bad,
}

impl<T> From<Option<T>> for Read<T> {
    #[inline]
    fn from(value: Option<T>) -> Self {
        value.map_or(Read::Bad, Read::Value)
    }
}

/// The column of `data_type` whose texts stand at `spans`; the row of the first bad text where it is not skipped.
pub(super) fn convert(
    texts: &Texts,
    data_type: DataType,
    spans: &[Span],
) -> Result<ArrayRef, usize> {
    let dialect = texts.dialect;
    Ok(match data_type {
        DataType::Null => Arc::new(BooleanArray::new_null(spans.len())),
        DataType::Boolean => booleans(texts, spans)?,
        DataType::TinyInt => {
            primitives::<Int8Type>(texts, spans, |kind, text| small_integer(kind, text).into())?
        }
        DataType::SmallInt => {
            primitives::<Int16Type>(texts, spans, |kind, text| small_integer(kind, text).into())?
        }
        DataType::Int | DataType::IntervalMonth => {
            primitives::<Int32Type>(texts, spans, |kind, text| integer32(kind, text).into())?
        }
        DataType::BigInt | DataType::IntervalDay => {
            primitives::<Int64Type>(texts, spans, |kind, text| integer(kind, text).into())?
        }
        DataType::Float => {
            primitives::<Float32Type>(texts, spans, |kind, text| float(kind, text).into())?
        }
        DataType::Double => {
            primitives::<Float64Type>(texts, spans, |kind, text| double(kind, text).into())?
        }
        DataType::Decimal(precision, scale) => {
            // 18 digits, the most that the short way reads, fit any larger precision.
            let bound = 10u64.pow(u32::from(precision.min(18)));
            let values = primitives_vec::<Decimal128Type>(texts, spans, |kind, text| {
                match short_decimal(text) {
                    Some((value, fraction))
                        if fraction == usize::from(scale) && value.unsigned_abs() < bound =>
                    {
                        Read::Value(i128::from(value))
                    }
                    _ => decimal(dialect, kind, text, precision, scale),
                }
            })?;
            let array = PrimitiveArray::<Decimal128Type>::new(values.0, values.1);
            Arc::new(
                array
                    .with_precision_and_scale(precision, scale as i8)
                    .expect("the planner checked the type"),
            )
        }
        DataType::Char(_) | DataType::VarChar(_) => strings(texts, spans),
        DataType::Binary(_) | DataType::VarBinary(_) => binaries(texts, spans)?,
        DataType::Date => primitives::<Int32Type>(texts, spans, |_, text| match dialect {
            Dialect::Csv => text::parse_date(text).or_else(|| java::sql_date(text)).into(),
            Dialect::JsonSql | Dialect::JsonIso => {
                text::parse_date(text).or_else(|| java::strict_date(text)).into()
            }
        })?,
        DataType::Time(precision) => {
            primitives::<Int32Type>(texts, spans, |_, text| time(dialect, text, precision).into())?
        }
        DataType::Timestamp(precision) | DataType::TimestampLtz(precision) => {
            timestamps(texts, spans, precision, matches!(data_type, DataType::TimestampLtz(_)))?
        }
    })
}

impl<'a> Texts<'a> {
    #[inline]
    fn get(&self, span: Span) -> &'a [u8] {
        let text = if span.kind & kind::OWNED == 0 { self.source.as_str() } else { self.side };
        &text.as_bytes()[span.start as usize..span.end as usize]
    }
}

/// The values and nulls of a primitive column.
type Values<T> = (ScalarBuffer<<T as ArrowPrimitiveType>::Native>, Option<NullBuffer>);

#[inline]
fn primitives_vec<T: ArrowPrimitiveType>(
    texts: &Texts,
    spans: &[Span],
    mut read: impl FnMut(u8, &[u8]) -> Read<T::Native>,
) -> Result<Values<T>, usize> {
    let mut values = Vec::with_capacity(spans.len());
    let mut nulls = NullBufferBuilder::new(spans.len());
    for (row, &span) in spans.iter().enumerate() {
        let value = if span.kind == kind::NULL {
            Read::Null
        } else {
            read(span.kind & !kind::OWNED, texts.get(span))
        };
        match value {
            Read::Value(value) => {
                values.push(value);
                nulls.append_non_null();
                continue;
            }
            Read::Bad if !texts.lenient => return Err(row),
            Read::Bad | Read::Null => {}
        }
        values.push(T::Native::default());
        nulls.append_null();
    }
    Ok((ScalarBuffer::from(values), nulls.finish()))
}

#[inline]
fn primitives<T: ArrowPrimitiveType>(
    texts: &Texts,
    spans: &[Span],
    read: impl FnMut(u8, &[u8]) -> Read<T::Native>,
) -> Result<ArrayRef, usize> {
    let (values, nulls) = primitives_vec::<T>(texts, spans, read)?;
    Ok(Arc::new(PrimitiveArray::<T>::new(values, nulls)))
}

fn booleans(texts: &Texts, spans: &[Span]) -> Result<ArrayRef, usize> {
    let (values, nulls) = primitives_vec::<Int8Type>(texts, spans, |kind, text| match kind {
        kind::NESTED => Read::Bad,
        _ => Read::Value(i8::from(trim(text).eq_ignore_ascii_case(b"true"))),
    })?;
    let values = BooleanBuffer::from_iter(values.iter().map(|&value| value != 0));
    Ok(Arc::new(BooleanArray::new(values, nulls)))
}

fn strings(texts: &Texts, spans: &[Span]) -> ArrayRef {
    let mut column = ViewColumn::new(texts.source.clone(), spans.len());
    for &span in spans {
        let (start, end) = (span.start as usize, span.end as usize);
        match span.kind {
            kind::NULL => column.push_null(),
            owned if owned & kind::OWNED != 0 => column.push_owned(&texts.side[start..end]),
            _ => column.push(start, end),
        }
    }
    Arc::new(column.finish())
}

fn binaries(texts: &Texts, spans: &[Span]) -> Result<ArrayRef, usize> {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let mut values: Vec<Option<Vec<u8>>> = Vec::with_capacity(spans.len());
    for (row, &span) in spans.iter().enumerate() {
        let value = match span.kind & !kind::OWNED {
            kind::NULL => None,
            kind::TEXT => {
                let text: Vec<u8> =
                    texts.get(span).iter().copied().filter(|&byte| byte > b' ').collect();
                let value = engine.decode(text).ok();
                if value.is_none() && !texts.lenient {
                    return Err(row);
                }
                value
            }
            _ if texts.lenient => None,
            _ => return Err(row),
        };
        values.push(value);
    }
    Ok(Arc::new(BinaryViewArray::from_iter(values)))
}

fn timestamps(
    texts: &Texts,
    spans: &[Span],
    precision: u8,
    local: bool,
) -> Result<ArrayRef, usize> {
    let ticks = move |(ms, nanos)| text::ticks_from_parts(ms, nanos, precision);
    let separator = if texts.dialect == Dialect::JsonIso { b'T' } else { b' ' };
    let rest = match (texts.dialect, local) {
        (Dialect::JsonIso, false) => java::iso_timestamp,
        _ => java::smart_timestamp,
    };
    let trimmed = texts.dialect == Dialect::Csv;
    if precision == 3 && !local {
        let mut last = LastDate::new(separator);
        return primitives::<Int64Type>(texts, spans, |_, text| {
            if let Some(ms) = last.read(text, separator) {
                return Read::Value(ms);
            }
            let text = if trimmed { trim(text) } else { text };
            let parts = text::parse_timestamp(text, separator).or_else(|| rest(text, separator));
            parts.map(|(ms, _)| ms).into()
        });
    }
    primitives::<Int64Type>(texts, spans, |_, text| {
        let text = if trimmed { trim(text) } else { text };
        let text = if local { text.strip_suffix(b"Z") } else { Some(text) };
        let parts = text.and_then(|text| {
            text::parse_timestamp(text, separator).or_else(|| rest(text, separator))
        });
        parts.and_then(ticks).into()
    })
}

/// The date that the last timestamp had: rows in a row mostly share it, so that it is read once.
struct LastDate {
    /// The text up to the separator.
    text: [u8; 11],
    /// Its midnight.
    ms: i64,
}

impl LastDate {
    fn new(separator: u8) -> Self {
        let mut text = *b"1970-01-01 ";
        text[10] = separator;
        Self { text, ms: 0 }
    }

    /// Reads the usual shape, `YYYY-MM-DD hh:mm:ss.fff`; `None` for anything else, which need not be wrong.
    #[inline]
    fn read(&mut self, text: &[u8], separator: u8) -> Option<i64> {
        let text: &[u8; 23] = text.try_into().ok()?;
        let (date, clock) = text.split_first_chunk::<11>()?;
        if *date != self.text {
            let (ms, _) = text::parse_timestamp(&[&date[..], b"00:00:00.000"].concat(), separator)?;
            (self.text, self.ms) = (*date, ms);
        }
        let mut bad = clock[2] ^ b':' | clock[5] ^ b':' | clock[8] ^ b'.';
        let mut digit = |at: usize| {
            let digit = clock[at].wrapping_sub(b'0');
            bad |= u8::from(digit > 9);
            u32::from(digit)
        };
        let (hour, minute) = (digit(0) * 10 + digit(1), digit(3) * 10 + digit(4));
        let (second, ms) = (digit(6) * 10 + digit(7), digit(9) * 100 + digit(10) * 10 + digit(11));
        if bad != 0 || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(self.ms + i64::from((hour * 3600 + minute * 60 + second) * 1000 + ms))
    }
}

/// Without the characters up to U+0020 at both ends, as `String.trim`.
#[inline]
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., 0..=b' '] = text {
        text = rest;
    }
    text
}

/// INT: see [`integer`].
#[inline]
fn integer32(kind: u8, text: &[u8]) -> Option<i32> {
    if kind == kind::FRACTION {
        let value = text::parse_f64(text)?;
        return (f64::from(i32::MIN)..=f64::from(i32::MAX))
            .contains(&value)
            .then_some(value as i32);
    }
    integer(kind, text).and_then(|value| i32::try_from(value).ok())
}

/// BIGINT: a fraction is cut where it is a JSON number, and refused where it is text.
#[inline]
fn integer(kind: u8, text: &[u8]) -> Option<i64> {
    match kind {
        kind::INTEGER | kind::TEXT => short_integer(text).or_else(|| text::parse_i64(trim(text))),
        kind::FRACTION => {
            let value = text::parse_f64(text)?;
            // The upper end is 2^63, which is cut to the greatest integer, as in Java.
            (i64::MIN as f64..=i64::MAX as f64).contains(&value).then_some(value as i64)
        }
        _ => None,
    }
}

/// TINYINT and SMALLINT: never from a fraction.
fn small_integer<T: TryFrom<i64>>(kind: u8, text: &[u8]) -> Option<T> {
    if kind == kind::FRACTION {
        None
    } else {
        integer(kind, text).and_then(|value| T::try_from(value).ok())
    }
}

/// Up to 18 digits with an optional minus: what nearly every integer is.
#[inline]
fn short_integer(text: &[u8]) -> Option<i64> {
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// A plain decimal of at most 18 digits: its digits as an integer, and how many follow the point.
#[inline]
fn short_decimal(text: &[u8]) -> Option<(i64, usize)> {
    let (body, negative) = match text {
        [b'-', body @ ..] => (body, true),
        body => (body, false),
    };
    if body.len() > 18 {
        return None;
    }
    let (mut value, mut point) = (0i64, body.len());
    for (index, &byte) in body.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
        } else if byte == b'.' && point == body.len() {
            point = index;
        } else {
            return None;
        }
    }
    // Digits on both sides of a point; anything else is for the exact reader to judge.
    let fraction = body.len().checked_sub(point + 1);
    if point == 0 || fraction == Some(0) {
        return None;
    }
    Some((if negative { -value } else { value }, fraction.unwrap_or(0)))
}

/// 10^n, exact in a double up to n = 22.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

#[inline]
fn double(kind: u8, text: &[u8]) -> Option<f64> {
    if kind & (kind::BOOLEAN | kind::NESTED) != 0 {
        return None;
    }
    // A mantissa below 2^53 and a power of ten up to 22 are both exact, so that one division rounds right.
    match short_decimal(text) {
        Some((0, _)) if text[0] == b'-' => Some(-0.0),
        Some((mantissa, scale)) if mantissa.unsigned_abs() < 1 << 53 => {
            Some(mantissa as f64 / POWERS[scale])
        }
        _ => text::parse_f64(text),
    }
}

/// FLOAT, rounded once, from the text.
fn float(kind: u8, text: &[u8]) -> Option<f32> {
    let wide = double(kind, text)?;
    let body = trim(text);
    let body = if let [body @ .., b'd' | b'D' | b'f' | b'F'] = body { body } else { body };
    Some(std::str::from_utf8(body).ok().and_then(|body| body.parse().ok()).unwrap_or(wide as f32))
}

/// DECIMAL: NULL where the value has too many digits before the point, as in Flink.
fn decimal(dialect: Dialect, kind: u8, text: &[u8], precision: u8, scale: u8) -> Read<i128> {
    if kind & (kind::BOOLEAN | kind::NESTED) != 0 {
        return Read::Bad;
    }
    let text = if dialect == Dialect::Csv { text } else { trim(text) };
    match text::parse_decimal_text(text, precision, scale) {
        DecimalText::Value(value) => Read::Value(value),
        DecimalText::Overflow => Read::Null,
        DecimalText::Invalid => Read::Bad,
    }
}

/// TIME(precision) in milliseconds, cut to its precision. CSV may leave the seconds out, JSON may say 24:00:00.
fn time(dialect: Dialect, text: &[u8], precision: u8) -> Option<i32> {
    let ms = match (dialect, text) {
        (Dialect::Csv, [h1, h2, b':', m1, m2]) => {
            text::parse_time(&[*h1, *h2, b':', *m1, *m2, b':', b'0', b'0'])?
        }
        (Dialect::JsonSql | Dialect::JsonIso, [b'2', b'4', ..]) => {
            java::smart_timestamp(&[b"1970-01-01 ", text].concat(), b' ').map(|_| 0)?
        }
        _ => text::parse_time(text)?,
    };
    let unit = [1000, 100, 10, 1][usize::from(precision.min(3))];
    Some(ms - ms % unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn short_numbers_are_what_the_long_way_reads(number in "[+-]?[0-9]{0,20}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?") {
            let bytes = number.as_bytes();
            prop_assert_eq!(
                double(kind::TEXT, bytes).map(f64::to_bits),
                text::parse_f64(bytes).map(f64::to_bits),
                "{}", number
            );
            if let Some(value) = short_integer(bytes) {
                prop_assert_eq!(text::parse_i64(bytes), Some(value));
            }
            if let Some((value, fraction)) = short_decimal(bytes) {
                let long = text::parse_decimal_text(bytes, 38, fraction as u8);
                prop_assert_eq!(long, DecimalText::Value(i128::from(value)));
            }
        }

        #[test]
        fn shared_dates_change_no_timestamp(
            texts in prop::collection::vec("(2024-0[12]-(0[1-9]|30) |1970-01-01 |\u{0}{11})[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}x?", 1..20),
        ) {
            let mut last = LastDate::new(b' ');
            for text in &texts {
                if let Some(ms) = last.read(text.as_bytes(), b' ') {
                    prop_assert_eq!(text::parse_timestamp(text.as_bytes(), b' '), Some((ms, 0)));
                } else {
                    prop_assert_eq!(text::parse_timestamp(text.as_bytes(), b' '), None);
                }
            }
        }
    }
}
