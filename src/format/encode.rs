//! Columns to text: the writers of `csv` and `json`.
//!
//! A batch is written column by column into texts, so that types are looked at once per column, and then
//! row by row from these texts.
//!
//! # Invariants
//!
//! 1. What is written reads back as the same values, except that CSV may not tell NULL from an empty text.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
use arrow_array::{Array, ArrayRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Encode;
use super::csv::CsvOptions;
use super::json::JsonOptions;
use crate::batch::{Batch, DataType, Schema, text};

/// Writes one column's values as fields of a row.
trait Notation: Send {
    /// NULL.
    fn null(&self, out: &mut Vec<u8>);
    /// A value whose text is plain ASCII without anything special: a number, `true`.
    fn plain(&self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(text);
    }
    /// `NaN` and the infinities.
    fn special_number(&self, text: &[u8], out: &mut Vec<u8>);
    /// Text.
    fn text(&self, text: &[u8], out: &mut Vec<u8>);
    /// A decimal.
    fn decimal(&self, unscaled: i128, scale: u8, out: &mut Vec<u8>);
    /// Between date and time.
    fn separator(&self) -> u8;
}

/// A column's values as text.
#[derive(Default)]
struct Fields {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

/// Writes `column` into `fields` with `value` for each row that is not NULL.
fn each(
    column: &dyn Array,
    notation: &impl Notation,
    fields: &mut Fields,
    mut value: impl FnMut(usize, &mut Vec<u8>),
) {
    fields.bytes.clear();
    fields.ends.clear();
    for row in 0..column.len() {
        if column.is_null(row) {
            notation.null(&mut fields.bytes)
        } else {
            value(row, &mut fields.bytes)
        }
        fields.ends.push(fields.bytes.len());
    }
}

/// Writes the values of `column`.
fn write_column(
    column: &ArrayRef,
    data_type: DataType,
    notation: &impl Notation,
    fields: &mut Fields,
) {
    match data_type {
        DataType::Null => each(column, notation, fields, |_, _| {}),
        DataType::Boolean => {
            let values = column.as_boolean();
            each(values, notation, fields, |row, out| {
                notation.plain(if values.value(row) { b"true" } else { b"false" }, out);
            });
        }
        DataType::TinyInt => integers::<Int8Type>(column, notation, fields),
        DataType::SmallInt => integers::<Int16Type>(column, notation, fields),
        DataType::Int | DataType::IntervalMonth => integers::<Int32Type>(column, notation, fields),
        DataType::BigInt | DataType::IntervalDay => integers::<Int64Type>(column, notation, fields),
        DataType::Float => floats::<Float32Type>(column, notation, fields, text::write_f32_java),
        DataType::Double => floats::<Float64Type>(column, notation, fields, text::write_f64_java),
        DataType::Decimal(_, scale) => {
            let values = column.as_primitive::<Decimal128Type>();
            let write = |row, out: &mut Vec<u8>| notation.decimal(values.value(row), scale, out);
            each(values, notation, fields, write);
        }
        DataType::Char(_) | DataType::VarChar(_) => {
            let values = column.as_string_view();
            let write = |row, out: &mut Vec<u8>| notation.text(values.value(row).as_bytes(), out);
            each(values, notation, fields, write);
        }
        DataType::Binary(_) | DataType::VarBinary(_) => {
            let values = column.as_binary_view();
            each(values, notation, fields, |row, out| {
                notation.text(STANDARD.encode(values.value(row)).as_bytes(), out);
            });
        }
        DataType::Date => texts::<Int32Type>(column, notation, fields, text::write_date),
        DataType::Time(_) => texts::<Int32Type>(column, notation, fields, write_time),
        DataType::Timestamp(precision) => {
            texts::<Int64Type>(column, notation, fields, |out, ticks| {
                text::write_timestamp_trimmed(out, ticks, precision, notation.separator());
            });
        }
        DataType::TimestampLtz(precision) => {
            texts::<Int64Type>(column, notation, fields, |out, ticks| {
                text::write_timestamp_trimmed(out, ticks, precision, notation.separator());
                out.push(b'Z');
            });
        }
    }
}

fn integers<T: ArrowPrimitiveType<Native: Into<i64>>>(
    column: &ArrayRef,
    notation: &impl Notation,
    fields: &mut Fields,
) {
    let values = column.as_primitive::<T>();
    each(values, notation, fields, |row, out| text::write_i64(out, values.value(row).into()));
}

fn floats<T: ArrowPrimitiveType<Native: Into<f64>>>(
    column: &ArrayRef,
    notation: &impl Notation,
    fields: &mut Fields,
    write: impl Fn(&mut Vec<u8>, T::Native),
) {
    let values = column.as_primitive::<T>();
    let mut scratch = Vec::new();
    each(values, notation, fields, |row, out| {
        let value = values.value(row);
        scratch.clear();
        write(&mut scratch, value);
        if value.into().is_finite() {
            notation.plain(&scratch, out);
        } else {
            notation.special_number(&scratch, out);
        }
    });
}

/// Writes values that are text: dates and times.
fn texts<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    notation: &impl Notation,
    fields: &mut Fields,
    write: impl Fn(&mut Vec<u8>, T::Native),
) {
    let values = column.as_primitive::<T>();
    let mut scratch = Vec::new();
    each(values, notation, fields, |row, out| {
        scratch.clear();
        write(&mut scratch, values.value(row));
        notation.text(&scratch, out);
    });
}

/// `hh:mm:ss`, and milliseconds without trailing zeros where there are any.
fn write_time(out: &mut Vec<u8>, ms: i32) {
    let precision = match ms.rem_euclid(1000) {
        0 => 0,
        rest if rest % 100 == 0 => 1,
        rest if rest % 10 == 0 => 2,
        _ => 3,
    };
    text::write_time(out, ms, precision);
}

/// A decimal without its trailing zeros, as `BigDecimal.toString` writes it: `1E+2`, `10.5`, `1E-7`.
fn write_decimal_scientific(out: &mut Vec<u8>, mut unscaled: i128, scale: u8) {
    let mut scale = i64::from(scale);
    if unscaled == 0 {
        return out.push(b'0');
    }
    while unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    let digits = unscaled.unsigned_abs().to_string();
    let exponent = digits.len() as i64 - 1 - scale;
    if scale >= 0 && exponent >= -6 {
        return text::write_decimal(out, unscaled, scale as u8);
    }
    if unscaled < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits.as_bytes()[..1]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits.as_bytes()[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"E" } else { b"E+" });
    text::write_i64(out, exponent);
}

/// What is alike in the encoders of text.
struct Table<N> {
    notation: N,
    types: Vec<DataType>,
    with_kinds: bool,
    fields: Vec<Fields>,
}

impl<N: Notation> Table<N> {
    fn new(notation: N, schema: &Schema, with_kinds: bool) -> Self {
        let types: Vec<DataType> = schema.fields.iter().map(|field| field.data_type).collect();
        let fields = types.iter().map(|_| Fields::default()).collect();
        Self { notation, types, with_kinds, fields }
    }

    fn fill(&mut self, batch: &Batch) {
        assert_eq!(batch.columns.len(), self.types.len(), "the batch is not of the sink's schema");
        for ((column, &data_type), fields) in
            batch.columns.iter().zip(&self.types).zip(&mut self.fields)
        {
            write_column(column, data_type, &self.notation, fields);
        }
    }
}

/// Fields as CSV.
struct CsvNotation {
    options: CsvOptions,
}

impl Notation for CsvNotation {
    fn null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.options.null_literal.as_deref().unwrap_or_default().as_bytes());
    }

    fn special_number(&self, text: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(text);
    }

    fn text(&self, text: &[u8], out: &mut Vec<u8>) {
        let options = &self.options;
        let Some(quote) = options
            .quote
            .filter(|&quote| must_quote(text, options.delimiter, quote, options.escape))
        else {
            out.extend_from_slice(text);
            return;
        };
        out.push(quote);
        for &byte in text {
            if byte == quote || Some(byte) == options.escape {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(quote);
    }

    fn decimal(&self, mut unscaled: i128, mut scale: u8, out: &mut Vec<u8>) {
        if self.options.scientific {
            return write_decimal_scientific(out, unscaled, scale);
        }
        while scale > 0 && unscaled % 10 == 0 {
            (unscaled, scale) = (unscaled / 10, scale - 1);
        }
        text::write_decimal(out, unscaled, scale);
    }

    fn separator(&self) -> u8 {
        b' '
    }
}

/// Whether Jackson would quote `text`: if it is long, or holds a backslash or any character up to the greatest special one.
fn must_quote(text: &[u8], delimiter: u8, quote: u8, escape: Option<u8>) -> bool {
    const CHECKED_UNITS_MAX: usize = 24;
    let least_safe = delimiter.max(quote).max(b'\r') + 1;
    let special = |&byte: &u8| byte < least_safe || byte == b'\\' || Some(byte) == escape;
    // Java counts UTF-16 units: one a character, two where UTF-8 takes four bytes.
    let units = || {
        text.iter()
            .map(|&byte| usize::from(byte & 0xc0 != 0x80) + usize::from(byte >= 0xf0))
            .sum::<usize>()
    };
    text.iter().any(special) || text.len() > CHECKED_UNITS_MAX && units() > CHECKED_UNITS_MAX
}

/// Writes CSV.
struct CsvEncoder {
    table: Table<CsvNotation>,
    header: Vec<u8>,
}

/// An encoder of `schema` as CSV.
pub(super) fn csv(options: &CsvOptions, schema: &Schema, with_kinds: bool) -> impl Encode + use<> {
    let notation = CsvNotation { options: options.clone() };
    let mut header = Vec::new();
    if options.header {
        let names = with_kinds
            .then_some("op")
            .into_iter()
            .chain(schema.fields.iter().map(|field| field.name.as_str()));
        for (index, name) in names.enumerate() {
            if index > 0 {
                header.push(options.delimiter);
            }
            notation.text(name.as_bytes(), &mut header);
        }
        header.push(b'\n');
    }
    CsvEncoder { table: Table::new(notation, schema, with_kinds), header }
}

impl Encode for CsvEncoder {
    fn header(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
    }

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        self.table.fill(batch);
        let delimiter = self.table.notation.options.delimiter;
        for row in 0..batch.rows {
            if self.table.with_kinds {
                out.extend_from_slice(batch.kind(row).short().as_bytes());
            }
            for (index, fields) in self.table.fields.iter().enumerate() {
                if index > 0 || self.table.with_kinds {
                    out.push(delimiter);
                }
                out.extend_from_slice(fields.get(row));
            }
            out.push(b'\n');
        }
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}
}

/// Values as JSON.
struct JsonNotation {
    options: JsonOptions,
}

impl Notation for JsonNotation {
    fn null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }

    fn special_number(&self, text: &[u8], out: &mut Vec<u8>) {
        self.text(text, out);
    }

    fn text(&self, text: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        let mut from = 0;
        for (index, &byte) in text.iter().enumerate() {
            if byte >= b' ' && byte != b'"' && byte != b'\\' && byte < 0xf0 {
                continue;
            }
            out.extend_from_slice(&text[from..index]);
            from = index + 1;
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0x08 => out.extend_from_slice(b"\\b"),
                0x0c => out.extend_from_slice(b"\\f"),
                0xf0.. => {
                    from = index + 4;
                    write_pair(&text[index..from], out);
                }
                _ => out.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            }
        }
        out.extend_from_slice(&text[from..]);
        out.push(b'"');
    }

    fn decimal(&self, unscaled: i128, scale: u8, out: &mut Vec<u8>) {
        if self.options.plain_decimals {
            text::write_decimal(out, unscaled, scale)
        } else {
            write_decimal_scientific(out, unscaled, scale)
        }
    }

    fn separator(&self) -> u8 {
        if self.options.iso_timestamps { b'T' } else { b' ' }
    }
}

/// Appends a character of four bytes as two escapes, as Jackson does.
fn write_pair(bytes: &[u8], out: &mut Vec<u8>) {
    let character = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.chars().next())
        .expect("the text is UTF-8");
    let mut units = [0; 2];
    for unit in character.encode_utf16(&mut units) {
        out.extend_from_slice(format!("\\u{unit:04X}").as_bytes());
    }
}

/// Writes JSON lines.
struct JsonEncoder {
    table: Table<JsonNotation>,
    /// `"name":` of each column.
    keys: Vec<Vec<u8>>,
}

/// An encoder of `schema` as JSON lines.
pub(super) fn json(
    options: &JsonOptions,
    schema: &Schema,
    with_kinds: bool,
) -> impl Encode + use<> {
    let notation = JsonNotation { options: options.clone() };
    let key = |name: &str| {
        let mut key = Vec::new();
        notation.text(name.as_bytes(), &mut key);
        key.push(b':');
        key
    };
    let keys = schema.fields.iter().map(|field| key(&field.name)).collect();
    JsonEncoder { table: Table::new(notation, schema, with_kinds), keys }
}

impl Encode for JsonEncoder {
    fn header(&mut self, _out: &mut Vec<u8>) {}

    fn encode(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        self.table.fill(batch);
        for row in 0..batch.rows {
            out.push(b'{');
            let mut first = true;
            if self.table.with_kinds {
                out.extend_from_slice(b"\"op\":\"");
                out.extend_from_slice(batch.kind(row).short().as_bytes());
                out.push(b'"');
                first = false;
            }
            for (index, fields) in self.table.fields.iter().enumerate() {
                if self.table.notation.options.omit_nulls && batch.columns[index].is_null(row) {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend_from_slice(&self.keys[index]);
                out.extend_from_slice(fields.get(row));
            }
            out.extend_from_slice(b"}\n");
        }
    }

    fn finish(&mut self, _out: &mut Vec<u8>) {}
}
