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
    ArrowPrimitiveType, Decimal128Type, Float32Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{ArrayRef, BinaryViewArray, BooleanArray, PrimitiveArray};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use super::java;
use super::rows::{Span, kind};
use super::short::{self, Short};
use crate::batch::text::{self, DecimalText};
use crate::batch::{BATCH_ROWS_MAX, DataType};
use crate::sys::views::Utf8Buffer;

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

impl Dialect {
    /// What stands between date and time.
    pub(super) fn time_separator(self) -> u8 {
        if self == Dialect::JsonIso { b'T' } else { b' ' }
    }
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
pub(super) enum Read<T> {
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
///
/// # Panics
///
/// If it is of a type that [`super::bulk`] builds.
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
            primitives::<Int8Type>(texts, spans, |field| small_integer(field).into())?
        }
        DataType::SmallInt => {
            primitives::<Int16Type>(texts, spans, |field| small_integer(field).into())?
        }
        DataType::Int | DataType::IntervalMonth => {
            primitives::<Int32Type>(texts, spans, |field| integer32(field).into())?
        }
        DataType::Float => primitives::<Float32Type>(texts, spans, |field| float(field).into())?,
        DataType::Decimal(precision, scale) => {
            // 18 digits, the most that the short way reads, fit any larger precision.
            let bound = 10u64.pow(u32::from(precision.min(18)));
            let values =
                primitives_vec::<Decimal128Type>(texts, spans, |field| match field.number() {
                    Some(short)
                        if short.scale == usize::from(scale)
                            && short.magnitude.unsigned_abs() < bound =>
                    {
                        Read::Value(i128::from(short.unscaled()))
                    }
                    _ => decimal(dialect, field, precision, scale),
                })?;
            let array = PrimitiveArray::<Decimal128Type>::new(values.0, values.1);
            Arc::new(
                array
                    .with_precision_and_scale(precision, scale as i8)
                    .expect("the planner checked the type"),
            )
        }
        DataType::Binary(_) | DataType::VarBinary(_) => binaries(texts, spans)?,
        DataType::Date => {
            primitives::<Int32Type>(texts, spans, |field| date(dialect, field.text()).into())?
        }
        DataType::Time(precision) => primitives::<Int32Type>(texts, spans, |field| {
            time(dialect, field.text(), precision).into()
        })?,
        DataType::Timestamp(precision) | DataType::TimestampLtz(precision) => {
            timestamps(texts, spans, precision, matches!(data_type, DataType::TimestampLtz(_)))?
        }
        DataType::BigInt
        | DataType::IntervalDay
        | DataType::Double
        | DataType::Char(_)
        | DataType::VarChar(_) => unreachable!("a column of {data_type} is built in bulk"),
    })
}

/// A field of a row, and what follows it.
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    /// One of [`kind`], whoever owns the text.
    pub(super) kind: u8,
    /// From the text's first byte to the end of what it stands in.
    pub(super) bytes: &'a [u8],
    /// How many of these bytes are the text.
    pub(super) length: usize,
}

impl<'a> Field<'a> {
    #[inline]
    pub(super) fn text(self) -> &'a [u8] {
        &self.bytes[..self.length]
    }

    #[inline]
    fn number(self) -> Option<Short> {
        short::number(self.bytes, self.length)
    }
}

impl<'a> Texts<'a> {
    #[inline]
    fn get(&self, span: Span) -> Field<'a> {
        let text = if span.kind & kind::OWNED == 0 { self.source.as_str() } else { self.side };
        let (start, end) = (span.start as usize, span.end as usize);
        Field {
            kind: span.kind & !kind::OWNED,
            bytes: &text.as_bytes()[start..],
            length: end - start,
        }
    }
}

/// The values and nulls of a primitive column.
pub(super) type Values<T> = (ScalarBuffer<<T as ArrowPrimitiveType>::Native>, Option<NullBuffer>);

/// A primitive column in the making.
pub(super) struct Column<N> {
    pub(super) values: Vec<N>,
    /// One bit a row, once there is a NULL.
    valid: Vec<u8>,
}

impl<N: ArrowNativeType> Column<N> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), valid: Vec::new() }
    }

    /// Appends what the text at `span` reads as; not if the text is bad and that is not skipped.
    #[inline]
    pub(super) fn push(
        &mut self,
        texts: &Texts,
        span: Span,
        read: impl FnOnce(Field) -> Read<N>,
    ) -> Result<(), BadText> {
        let found = if span.kind == kind::NULL { Read::Null } else { read(texts.get(span)) };
        match found {
            Read::Value(found) => {
                self.values.push(found);
                return Ok(());
            }
            Read::Bad if !texts.lenient => return Err(BadText),
            Read::Bad | Read::Null => {}
        }
        if self.valid.is_empty() {
            self.valid = vec![u8::MAX; BATCH_ROWS_MAX.div_ceil(8)];
        }
        let row = self.values.len();
        self.valid[row / 8] &= !(1 << (row % 8));
        self.values.push(N::default());
        Ok(())
    }

    /// The values and nulls. Leaves no rows.
    pub(super) fn take<T: ArrowPrimitiveType<Native = N>>(&mut self) -> Values<T> {
        let (values, valid) = (std::mem::take(&mut self.values), std::mem::take(&mut self.valid));
        let rows = values.len();
        let nulls = (!valid.is_empty())
            .then(|| NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(valid), 0, rows)));
        (ScalarBuffer::from(values), nulls)
    }
}

/// A text is no value of its column's type.
#[derive(Debug)]
pub(super) struct BadText;

#[inline]
fn primitives_vec<T: ArrowPrimitiveType>(
    texts: &Texts,
    spans: &[Span],
    mut read: impl FnMut(Field) -> Read<T::Native>,
) -> Result<Values<T>, usize> {
    let mut column = Column::new();
    column.values.reserve(spans.len());
    for (row, &span) in spans.iter().enumerate() {
        column.push(texts, span, &mut read).map_err(|BadText| row)?;
    }
    Ok(column.take::<T>())
}

#[inline]
fn primitives<T: ArrowPrimitiveType>(
    texts: &Texts,
    spans: &[Span],
    read: impl FnMut(Field) -> Read<T::Native>,
) -> Result<ArrayRef, usize> {
    let (values, nulls) = primitives_vec::<T>(texts, spans, read)?;
    Ok(Arc::new(PrimitiveArray::<T>::new(values, nulls)))
}

fn booleans(texts: &Texts, spans: &[Span]) -> Result<ArrayRef, usize> {
    let (values, nulls) = primitives_vec::<Int8Type>(texts, spans, |field| match field.kind {
        kind::NESTED => Read::Bad,
        _ => Read::Value(i8::from(trim(field.text()).eq_ignore_ascii_case(b"true"))),
    })?;
    let values = BooleanBuffer::from_iter(values.iter().map(|&value| value != 0));
    Ok(Arc::new(BooleanArray::new(values, nulls)))
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
                    texts.get(span).text().iter().copied().filter(|&byte| byte > b' ').collect();
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
    let dialect = texts.dialect;
    let separator = dialect.time_separator();
    primitives::<Int64Type>(texts, spans, |field| {
        if !local {
            return parse_timestamp(dialect, separator, field.text()).and_then(ticks).into();
        }
        let text = if dialect == Dialect::Csv { trim(field.text()) } else { field.text() };
        let parts = text.strip_suffix(b"Z").and_then(|text| {
            text::parse_timestamp(text, separator)
                .or_else(|| java::smart_timestamp(text, separator))
        });
        parts.and_then(ticks).into()
    })
}

/// A timestamp without time zone, by the format's rules.
pub(super) fn parse_timestamp(dialect: Dialect, separator: u8, text: &[u8]) -> Option<(i64, u32)> {
    let text = if dialect == Dialect::Csv { trim(text) } else { text };
    text::parse_timestamp(text, separator).or_else(|| match dialect {
        Dialect::JsonIso => java::iso_timestamp(text, separator),
        Dialect::Csv | Dialect::JsonSql => java::smart_timestamp(text, separator),
    })
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
fn integer32(field: Field) -> Option<i32> {
    if field.kind == kind::FRACTION {
        let value = text::parse_f64(field.text())?;
        return (f64::from(i32::MIN)..=f64::from(i32::MAX))
            .contains(&value)
            .then_some(value as i32);
    }
    integer(field).and_then(|value| i32::try_from(value).ok())
}

/// BIGINT: a fraction is cut where it is a JSON number, and refused where it is text.
#[inline]
pub(super) fn integer(field: Field) -> Option<i64> {
    match field.kind {
        kind::INTEGER | kind::TEXT => match field.number() {
            Some(short) if short.scale == 0 => Some(short.unscaled()),
            _ => text::parse_i64(trim(field.text())),
        },
        kind::FRACTION => {
            let value = text::parse_f64(field.text())?;
            // The upper end is 2^63, which is cut to the greatest integer, as in Java.
            (i64::MIN as f64..=i64::MAX as f64).contains(&value).then_some(value as i64)
        }
        _ => None,
    }
}

/// TINYINT and SMALLINT: never from a fraction.
fn small_integer<T: TryFrom<i64>>(field: Field) -> Option<T> {
    if field.kind == kind::FRACTION {
        None
    } else {
        integer(field).and_then(|value| T::try_from(value).ok())
    }
}

/// 10^n, exact in a double up to n = 22.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

#[inline]
pub(super) fn double(field: Field) -> Option<f64> {
    if field.kind & (kind::BOOLEAN | kind::NESTED) != 0 {
        return None;
    }
    // An integer below 2^53 and a power of ten up to 22 are both exact, so that one division rounds right.
    match field.number() {
        Some(short) if short.magnitude < 1 << 53 => {
            let value = short.magnitude as f64 / POWERS[short.scale];
            Some(if short.negative { -value } else { value })
        }
        _ => text::parse_f64(field.text()),
    }
}

/// FLOAT, rounded once, from the text.
fn float(field: Field) -> Option<f32> {
    let wide = double(field)?;
    let body = trim(field.text());
    let body = if let [body @ .., b'd' | b'D' | b'f' | b'F'] = body { body } else { body };
    Some(std::str::from_utf8(body).ok().and_then(|body| body.parse().ok()).unwrap_or(wide as f32))
}

/// DECIMAL: NULL where the value has too many digits before the point, as in Flink.
fn decimal(dialect: Dialect, field: Field, precision: u8, scale: u8) -> Read<i128> {
    if field.kind & (kind::BOOLEAN | kind::NESTED) != 0 {
        return Read::Bad;
    }
    let text = if dialect == Dialect::Csv { field.text() } else { trim(field.text()) };
    match text::parse_decimal_text(text, precision, scale) {
        DecimalText::Value(value) => Read::Value(value),
        DecimalText::Overflow => Read::Null,
        DecimalText::Invalid => Read::Bad,
    }
}

/// DATE in days.
fn date(dialect: Dialect, text: &[u8]) -> Option<i32> {
    text::parse_date(text).or_else(|| match dialect {
        Dialect::Csv => java::sql_date(text),
        Dialect::JsonSql | Dialect::JsonIso => java::strict_date(text),
    })
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
        fn short_doubles_are_what_the_long_way_reads(number in "[+-]?[0-9]{0,20}(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?") {
            let bytes = number.as_bytes();
            let field = Field { kind: kind::TEXT, bytes, length: bytes.len() };
            prop_assert_eq!(
                double(field).map(f64::to_bits),
                text::parse_f64(bytes).map(f64::to_bits),
                "{}", number
            );
        }
    }
}
