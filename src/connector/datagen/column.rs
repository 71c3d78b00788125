//! One column of made-up values: what is drawn is decided once, then filled in plain loops.
//!
//! # Invariants
//!
//! 1. The value of a row depends on the column's seed and the row's index alone.
//! 2. A value fits the column's type; times beyond the type wrap at 2^64 ticks, as nothing else can.

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use crate::batch::{DataType, Field};
use crate::connector::draw::{below, derive, draw, unit};
use crate::connector::option::{OptionReader, wrong, wrong_hint};
use crate::error::OptionError;

/// The options of a column.
pub(super) const OPTIONS: [&str; 9] =
    ["kind", "min", "max", "max-past", "length", "var-len", "null-rate", "start", "end"];
/// The length of STRING and BYTES values, as in Flink.
const LENGTH: u32 = 100;
/// The longest value that is made.
const LENGTH_MAX: u32 = 1 << 24;
const DAY_MS: i64 = 86_400_000;

/// What a column takes from its table.
pub(super) struct Place {
    pub(super) seed: u64,
    pub(super) index: u64,
    pub(super) origin_ms: i64,
    pub(super) rows_per_second: u64,
}

/// One column.
#[derive(Debug)]
pub(super) struct Column {
    data_type: DataType,
    values: Values,
    seed: u64,
    nulls: Option<Nulls>,
}

/// Which rows are NULL: those whose draw is below the threshold.
#[derive(Debug)]
struct Nulls {
    seed: u64,
    threshold: u64,
}

/// What is drawn.
#[derive(Debug)]
enum Values {
    Boolean,
    /// `min ..= min + span`, of any integer type.
    Integers {
        min: i64,
        span: u64,
    },
    /// From `min` up to `max`.
    Floats {
        min: f64,
        max: f64,
    },
    /// `min ..= min + span` units of the scale.
    Decimals {
        min: i128,
        span: u128,
    },
    /// `start`, `start + 1`, …, times `factor` (the units of a decimal's scale).
    Sequence {
        start: i64,
        factor: i128,
    },
    /// Hexadecimal digits, or bytes.
    Bytes {
        length: u32,
        var_len: bool,
    },
    /// The row's time, less a random part of `past_ms`.
    Times {
        origin_ms: i64,
        rows_per_second: u64,
        past_ms: u64,
    },
}

impl Column {
    /// The column that the options of `field` describe, and how many rows it has if it is a sequence.
    pub(super) fn resolve(
        reader: &mut OptionReader<'_>,
        field: &Field,
        place: &Place,
    ) -> Result<(Self, Option<u64>), OptionError> {
        let mut own = FieldOptions { reader, field };
        let seed = derive(place.seed, 2 * place.index);
        let nulls = own.nulls(derive(place.seed, 2 * place.index + 1))?;
        let (values, length) = match own.reader.text(&own.key("kind")).unwrap_or("random") {
            "random" => (own.random(place)?, None),
            "sequence" => {
                let (values, length) = own.sequence()?;
                (values, Some(length))
            }
            other => {
                let message = format!("there is no kind '{other}'");
                return Err(wrong_hint(&own.key("kind"), message, "it is 'random' or 'sequence'"));
            }
        };
        own.refuse_unused(&values)?;
        Ok((Self { data_type: field.data_type, values, seed, nulls }, length))
    }

    /// Rows `start .. start + count`.
    pub(super) fn fill(&self, start: u64, count: usize) -> ArrayRef {
        let rows = Rows {
            start,
            count,
            nulls: self.nulls.as_ref().map(|nulls| nulls.buffer(start, count)),
        };
        let seed = self.seed;
        match self.values {
            Values::Boolean => {
                let bits = BooleanBuffer::collect_bool(count, |row| {
                    draw(seed, start + row as u64) >> 63 == 1
                });
                Arc::new(BooleanArray::new(bits, rows.nulls))
            }
            Values::Integers { min, span } => self.integers(rows, |index| {
                min.wrapping_add(below_inclusive(draw(seed, index), span) as i64)
            }),
            Values::Sequence { start, factor } => {
                match self.data_type {
                    DataType::Decimal(..) => self
                        .decimals(rows, |index| (i128::from(start) + i128::from(index)) * factor),
                    DataType::Float => rows
                        .primitives::<Float32Type>(|index| start.wrapping_add(index as i64) as f32),
                    DataType::Double => rows
                        .primitives::<Float64Type>(|index| start.wrapping_add(index as i64) as f64),
                    DataType::Char(_) | DataType::VarChar(_) => rows.sequence_texts(start),
                    _ => self.integers(rows, |index| start.wrapping_add(index as i64)),
                }
            }
            Values::Floats { min, max } => {
                let value = |index: u64| {
                    let part = unit(draw(seed, index));
                    min * (1.0 - part) + max * part
                };
                match self.data_type {
                    DataType::Float => rows.primitives::<Float32Type>(|index| value(index) as f32),
                    _ => rows.primitives::<Float64Type>(value),
                }
            }
            Values::Decimals { min, span } => self.decimals(rows, |index| {
                let wide = (u128::from(draw(seed, index)) << 64) | u128::from(draw(!seed, index));
                min.wrapping_add((if span == u128::MAX { wide } else { wide % (span + 1) }) as i128)
            }),
            Values::Bytes { length, var_len } => self.bytes(rows, length, var_len),
            Values::Times { origin_ms, rows_per_second, past_ms } => self.times(rows, |index| {
                let elapsed_ms = (index / rows_per_second).wrapping_mul(1000)
                    + (u128::from(index % rows_per_second) * 1000 / u128::from(rows_per_second))
                        as u64;
                let past_ms = below_inclusive(draw(seed, index), past_ms);
                origin_ms.wrapping_add(elapsed_ms as i64).wrapping_sub(past_ms as i64)
            }),
        }
    }

    fn integers(&self, rows: Rows, value: impl Fn(u64) -> i64) -> ArrayRef {
        match self.data_type {
            DataType::TinyInt => rows.primitives::<Int8Type>(|index| value(index) as i8),
            DataType::SmallInt => rows.primitives::<Int16Type>(|index| value(index) as i16),
            DataType::Int => rows.primitives::<Int32Type>(|index| value(index) as i32),
            _ => rows.primitives::<Int64Type>(value),
        }
    }

    fn decimals(&self, rows: Rows, value: impl Fn(u64) -> i128) -> ArrayRef {
        let values =
            (0..rows.count as u64).map(|row| value(rows.start + row)).collect::<Vec<i128>>();
        let array = PrimitiveArray::<Decimal128Type>::new(values.into(), rows.nulls);
        Arc::new(array.with_data_type(self.data_type.arrow()))
    }

    fn times(&self, rows: Rows, time_ms: impl Fn(u64) -> i64) -> ArrayRef {
        match self.data_type {
            DataType::Date => {
                rows.primitives::<Int32Type>(|index| time_ms(index).div_euclid(DAY_MS) as i32)
            }
            DataType::Time(_) => {
                rows.primitives::<Int32Type>(|index| time_ms(index).rem_euclid(DAY_MS) as i32)
            }
            other => {
                let ticks = other.ticks_per_ms();
                rows.primitives::<Int64Type>(|index| time_ms(index).wrapping_mul(ticks))
            }
        }
    }

    fn bytes(&self, rows: Rows, length: u32, var_len: bool) -> ArrayRef {
        let value = |index: u64, hexadecimal: bool, bytes: &mut Vec<u8>| {
            let seed = derive(self.seed, index);
            let chosen = if var_len {
                1 + below(draw(seed, 0), u64::from(length.max(1)))
            } else {
                u64::from(length)
            };
            random_bytes(seed, chosen as usize, hexadecimal, bytes);
        };
        let mut bytes = Vec::new();
        if self.data_type.is_binary() {
            let mut builder = BinaryViewBuilder::with_capacity(rows.count);
            for row in 0..rows.count {
                if rows.is_null(row) {
                    builder.append_null();
                    continue;
                }
                value(rows.start + row as u64, false, &mut bytes);
                builder.append_value(&bytes);
            }
            return Arc::new(builder.finish());
        }
        let mut builder = StringViewBuilder::with_capacity(rows.count);
        for row in 0..rows.count {
            if rows.is_null(row) {
                builder.append_null();
                continue;
            }
            value(rows.start + row as u64, true, &mut bytes);
            builder.append_value(std::str::from_utf8(&bytes).expect("digits"));
        }
        Arc::new(builder.finish())
    }
}

/// A range of rows, and which are NULL.
struct Rows {
    start: u64,
    count: usize,
    nulls: Option<NullBuffer>,
}

impl Rows {
    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    fn primitives<T: ArrowPrimitiveType>(self, value: impl Fn(u64) -> T::Native) -> ArrayRef {
        let values = (0..self.count as u64).map(|row| value(self.start + row)).collect::<Vec<_>>();
        Arc::new(PrimitiveArray::<T>::new(values.into(), self.nulls))
    }

    fn sequence_texts(self, first: i64) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(self.count);
        for row in 0..self.count {
            if self.is_null(row) {
                builder.append_null();
            } else {
                builder
                    .append_value(first.wrapping_add((self.start + row as u64) as i64).to_string());
            }
        }
        Arc::new(builder.finish())
    }
}

impl Nulls {
    fn buffer(&self, start: u64, count: usize) -> NullBuffer {
        let bits = BooleanBuffer::collect_bool(count, |row| {
            draw(self.seed, start + row as u64) >= self.threshold
        });
        NullBuffer::new(bits)
    }
}

/// Scales a draw to `0 ..= span`.
fn below_inclusive(draw: u64, span: u64) -> u64 {
    if span == u64::MAX { draw } else { below(draw, span + 1) }
}

/// Overwrites `bytes` with `length` random bytes, or as many hexadecimal digits.
fn random_bytes(seed: u64, length: usize, hexadecimal: bool, bytes: &mut Vec<u8>) {
    bytes.clear();
    let mut index = 1;
    while bytes.len() < length {
        let word = draw(seed, index);
        if hexadecimal {
            bytes.extend_from_slice(&crate::connector::clicks::hex(word));
        } else {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        index += 1;
    }
    bytes.truncate(length);
}

/// Reads the options of one column.
struct FieldOptions<'a, 'b> {
    reader: &'a mut OptionReader<'b>,
    field: &'a Field,
}

impl FieldOptions<'_, '_> {
    fn key(&self, option: &str) -> String {
        format!("fields.{}.{option}", self.field.name)
    }

    fn given(&mut self, option: &str) -> bool {
        let key = self.key(option);
        self.reader.text(&key).is_some()
    }

    fn nulls(&mut self, seed: u64) -> Result<Option<Nulls>, OptionError> {
        let key = self.key("null-rate");
        let rate: f64 = self.reader.parsed(&key, "a share from 0 to 1")?.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&rate) {
            return Err(wrong(&key, format!("{rate} is not a share from 0 to 1")));
        }
        if rate == 0.0 {
            return Ok(None);
        }
        if !self.field.nullable {
            return Err(wrong(&key, format!("the column '{}' is NOT NULL", self.field.name)));
        }
        Ok(Some(Nulls { seed, threshold: (rate * 2f64.powi(64)) as u64 }))
    }

    fn random(&mut self, place: &Place) -> Result<Values, OptionError> {
        let data_type = self.field.data_type;
        Ok(match data_type {
            DataType::Boolean => Values::Boolean,
            DataType::TinyInt | DataType::SmallInt | DataType::Int | DataType::BigInt => {
                self.integers()?
            }
            DataType::Float => self.floats(f64::from(f32::MAX))?,
            DataType::Double => self.floats(f64::MAX)?,
            DataType::Decimal(precision, scale) => self.decimals(precision, scale)?,
            _ if data_type.is_string() || data_type.is_binary() => self.bytes()?,
            DataType::Date
            | DataType::Time(_)
            | DataType::Timestamp(_)
            | DataType::TimestampLtz(_) => {
                let key = self.key("max-past");
                let past_ms = self.reader.duration_ms(&key)?.unwrap_or(0);
                Values::Times {
                    origin_ms: place.origin_ms,
                    rows_per_second: place.rows_per_second,
                    past_ms,
                }
            }
            other => {
                let message = format!("datagen cannot make a column of type {other}");
                return Err(wrong(&self.key("kind"), message));
            }
        })
    }

    fn integers(&mut self) -> Result<Values, OptionError> {
        let (lowest, highest) = integer_bounds(self.field.data_type);
        let (min, max) =
            (self.integer("min")?.unwrap_or(lowest), self.integer("max")?.unwrap_or(highest));
        if min > max {
            return Err(wrong(&self.key("min"), format!("{min} is more than the maximum, {max}")));
        }
        Ok(Values::Integers { min, span: max.wrapping_sub(min) as u64 })
    }

    /// An integer that the column can hold.
    fn integer(&mut self, option: &str) -> Result<Option<i64>, OptionError> {
        let (lowest, highest) = integer_bounds(self.field.data_type);
        let key = self.key(option);
        match self.reader.parsed::<i64>(&key, "a whole number")? {
            Some(value) if value < lowest || value > highest => {
                Err(wrong(&key, format!("{value} does not fit {}", self.field.data_type)))
            }
            value => Ok(value),
        }
    }

    fn floats(&mut self, highest: f64) -> Result<Values, OptionError> {
        let (min_key, max_key) = (self.key("min"), self.key("max"));
        let min: f64 = self.reader.parsed(&min_key, "a number")?.unwrap_or(0.0);
        let max: f64 = self.reader.parsed(&max_key, "a number")?.unwrap_or(highest);
        for (key, value) in [(&min_key, min), (&max_key, max)] {
            if value.is_nan() || value.abs() > highest {
                return Err(wrong(key, format!("{value} does not fit {}", self.field.data_type)));
            }
        }
        if min > max {
            return Err(wrong(&min_key, format!("{min} is more than the maximum, {max}")));
        }
        Ok(Values::Floats { min, max })
    }

    fn decimals(&mut self, precision: u8, scale: u8) -> Result<Values, OptionError> {
        let limit = 10i128.pow(u32::from(precision));
        let mut bound = |option: &str, default: i128| -> Result<i128, OptionError> {
            let key = self.key(option);
            let Some(text) = self.reader.text(&key) else { return Ok(default) };
            let value = decimal_units(text, scale).filter(|value| value.abs() < limit);
            value.ok_or_else(|| {
                wrong(&key, format!("'{text}' does not fit {}", self.field.data_type))
            })
        };
        let (min, max) = (bound("min", 1 - limit)?, bound("max", limit - 1)?);
        if min > max {
            return Err(wrong(&self.key("min"), "it is more than the maximum"));
        }
        Ok(Values::Decimals { min, span: max.wrapping_sub(min) as u128 })
    }

    fn bytes(&mut self) -> Result<Values, OptionError> {
        let (declared, fixed) = match self.field.data_type {
            DataType::Char(length) | DataType::Binary(length) => (length, true),
            DataType::VarChar(length) | DataType::VarBinary(length) => (length, false),
            _ => unreachable!("only strings and binaries come here"),
        };
        let default = if declared == DataType::MAX_LENGTH { LENGTH } else { declared };
        let key = self.key("length");
        let length = self.reader.parsed::<u32>(&key, "a number of characters")?.unwrap_or(default);
        if length > declared || (fixed && length != declared) {
            return Err(wrong(&key, format!("{length} does not fit {}", self.field.data_type)));
        }
        if length > LENGTH_MAX {
            return Err(wrong(
                &key,
                format!("the longest value that is made has {LENGTH_MAX} bytes"),
            ));
        }
        let key = self.key("var-len");
        let var_len = self.reader.boolean(&key, false)?;
        if var_len && fixed {
            return Err(wrong(&key, format!("{} has one length only", self.field.data_type)));
        }
        Ok(Values::Bytes { length, var_len })
    }

    /// The sequence, and how many rows it has.
    fn sequence(&mut self) -> Result<(Values, u64), OptionError> {
        let data_type = self.field.data_type;
        if !(data_type.is_numeric() || data_type.is_string()) {
            return Err(wrong(&self.key("kind"), format!("there are no sequences of {data_type}")));
        }
        let mut bound = |option: &str| {
            let key = self.key(option);
            self.integer(option)?.ok_or_else(|| {
                let message =
                    format!("the sequence '{}' needs a start and an end", self.field.name);
                wrong_hint(&key, message, format!("add '{key}' = '…' to the WITH clause"))
            })
        };
        let (start, end) = (bound("start")?, bound("end")?);
        if start > end {
            return Err(wrong(&self.key("start"), format!("{start} is more than the end, {end}")));
        }
        let factor = match data_type {
            DataType::Decimal(precision, scale) => {
                let limit = 10i128.pow(u32::from(precision - scale));
                let largest = i128::from(start).abs().max(i128::from(end).abs());
                if largest >= limit {
                    return Err(wrong(
                        &self.key("end"),
                        format!("{largest} does not fit {data_type}"),
                    ));
                }
                10i128.pow(u32::from(scale))
            }
            DataType::Char(length) | DataType::VarChar(length) => {
                let longest = start.to_string().len().max(end.to_string().len());
                if longest > length as usize {
                    return Err(wrong(
                        &self.key("end"),
                        format!("{longest} characters do not fit {data_type}"),
                    ));
                }
                1
            }
            _ => 1,
        };
        Ok((Values::Sequence { start, factor }, (end.wrapping_sub(start) as u64).saturating_add(1)))
    }

    /// Refuses options that these values do not read.
    fn refuse_unused(&mut self, values: &Values) -> Result<(), OptionError> {
        let read: &[&str] = match values {
            Values::Boolean => &[],
            Values::Integers { .. } | Values::Floats { .. } | Values::Decimals { .. } => {
                &["min", "max"]
            }
            Values::Sequence { .. } => &["start", "end"],
            Values::Bytes { .. } => &["length", "var-len"],
            Values::Times { .. } => &["max-past"],
        };
        for option in OPTIONS {
            if !["kind", "null-rate"].contains(&option)
                && !read.contains(&option)
                && self.given(option)
            {
                let kind =
                    if matches!(values, Values::Sequence { .. }) { "sequence" } else { "random" };
                let message =
                    format!("a {kind} column of type {} does not take it", self.field.data_type);
                return Err(wrong_hint(&self.key(option), message, "remove it"));
            }
        }
        Ok(())
    }
}

/// The least and the greatest value; of BIGINT for other types than integers.
fn integer_bounds(data_type: DataType) -> (i64, i64) {
    match data_type {
        DataType::TinyInt => (i8::MIN.into(), i8::MAX.into()),
        DataType::SmallInt => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int => (i32::MIN.into(), i32::MAX.into()),
        _ => (i64::MIN, i64::MAX),
    }
}

/// `-12.5` in units of 10^-scale, if it is a plain decimal with no more digits than that.
fn decimal_units(text: &str, scale: u8) -> Option<i128> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(part) || part.len() > usize::from(scale) {
        return None;
    }
    let units: i128 = format!("{whole}{part:0<width$}", width = usize::from(scale)).parse().ok()?;
    Some(if negative { -units } else { units })
}
