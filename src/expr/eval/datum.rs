//! Columns and scalars as kernels see them, and the loops that all kernels share.

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::ArrowPrimitiveType;
use arrow_array::{
    Array, ArrayRef, ArrowNativeTypeOp, BinaryViewArray, BooleanArray, Decimal128Array,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, PrimitiveArray,
    StringViewArray, UInt32Array, new_null_array,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer};

use crate::batch::DataType;
use crate::error::EvalError;
use crate::expr::expression::Value;

/// A value for every row, or one for all.
#[derive(Clone, Debug)]
pub(super) enum Datum {
    Column(ArrayRef),
    /// One row.
    Scalar(ArrayRef),
}

impl Datum {
    pub(super) fn array(&self) -> &ArrayRef {
        match self {
            Datum::Column(array) | Datum::Scalar(array) => array,
        }
    }

    /// A column of `rows` rows.
    pub(super) fn into_column(self, rows: usize) -> ArrayRef {
        match self {
            Datum::Column(column) => column,
            Datum::Scalar(value) if rows == 1 => value,
            Datum::Scalar(value) => {
                let indices = UInt32Array::from(vec![0; rows]);
                arrow_select::take::take(&value, &indices, None).expect("a scalar has one row")
            }
        }
    }

    /// What `row & mask` turns a row into its index: everything, or 0 for a scalar.
    fn mask(&self) -> usize {
        match self {
            Datum::Column(_) => usize::MAX,
            Datum::Scalar(_) => 0,
        }
    }

    pub(super) fn numbers<T: ArrowPrimitiveType>(&self) -> Numbers<'_, T::Native> {
        Numbers { values: self.array().as_primitive::<T>().values(), mask: self.mask() }
    }

    pub(super) fn texts(&self) -> Texts<'_> {
        Texts { array: self.array().as_string_view(), mask: self.mask() }
    }

    /// The bytes of strings or of bytes.
    pub(super) fn bytes(&self) -> Bytes<'_> {
        match self.array().data_type() {
            arrow_schema::DataType::Utf8View => Bytes::Texts(self.texts()),
            _ => Bytes::Binary(self.array().as_binary_view(), self.mask()),
        }
    }

    pub(super) fn booleans(&self) -> Booleans<'_> {
        Booleans { array: self.array().as_boolean(), mask: self.mask() }
    }

    /// The string of a scalar that is not NULL.
    pub(super) fn scalar_text(&self) -> Option<&str> {
        match self {
            Datum::Scalar(value) if value.is_valid(0) => Some(value.as_string_view().value(0)),
            _ => None,
        }
    }
}

/// Fixed-width values, a scalar's repeated.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a, T> {
    pub(super) values: &'a [T],
    mask: usize,
}

impl<T: Copy> Numbers<'_, T> {
    pub(super) fn get(&self, row: usize) -> T {
        self.values[row & self.mask]
    }

    pub(super) fn scalar(&self) -> Option<T> {
        (self.mask == 0).then(|| self.values[0])
    }
}

/// Strings, a scalar's repeated.
#[derive(Clone, Copy)]
pub(super) struct Texts<'a> {
    pub(super) array: &'a StringViewArray,
    mask: usize,
}

impl<'a> Texts<'a> {
    pub(super) fn get(&self, row: usize) -> &'a str {
        self.array.value(row & self.mask)
    }
}

/// Booleans, a scalar's repeated.
#[derive(Clone, Copy)]
pub(super) struct Booleans<'a> {
    array: &'a BooleanArray,
    mask: usize,
}

impl Booleans<'_> {
    pub(super) fn get(&self, row: usize) -> bool {
        self.array.value(row & self.mask)
    }
}

/// Byte strings, a scalar's repeated.
#[derive(Clone, Copy)]
pub(super) enum Bytes<'a> {
    Texts(Texts<'a>),
    Binary(&'a BinaryViewArray, usize),
}

impl<'a> Bytes<'a> {
    pub(super) fn get(&self, row: usize) -> &'a [u8] {
        match self {
            Bytes::Texts(texts) => texts.get(row).as_bytes(),
            Bytes::Binary(array, mask) => array.value(row & mask),
        }
    }
}

/// The rows in which no argument is NULL.
pub(super) fn nulls(args: &[Datum], rows: usize) -> Option<NullBuffer> {
    let mut all: Option<NullBuffer> = None;
    for arg in args {
        match arg {
            Datum::Column(column) => all = NullBuffer::union(all.as_ref(), column.nulls()),
            Datum::Scalar(value) if value.is_null(0) => return Some(NullBuffer::new_null(rows)),
            Datum::Scalar(_) => {}
        }
    }
    all
}

/// A column of one function of every row, NULL rows included: for loops that cannot fail.
pub(super) fn map<T: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    arg: &Datum,
    rows: usize,
    each: impl Fn(T::Native) -> R::Native,
) -> ArrayRef {
    let values: Vec<R::Native> =
        arg.numbers::<T>().values.iter().map(|&value| each(value)).collect();
    Arc::new(PrimitiveArray::<R>::new(values.into(), nulls(std::slice::from_ref(arg), rows)))
}

/// A column of one function of every pair, NULL rows included: for loops that cannot fail.
pub(super) fn zip<T: ArrowPrimitiveType, R: ArrowPrimitiveType>(
    args: &[Datum],
    rows: usize,
    each: impl Fn(T::Native, T::Native) -> R::Native,
) -> ArrayRef {
    let (a, b) = (args[0].numbers::<T>(), args[1].numbers::<T>());
    let values: Vec<R::Native> = match (a.scalar(), b.scalar()) {
        (Some(a), Some(b)) => vec![each(a, b)],
        (None, Some(b)) => a.values.iter().map(|&a| each(a, b)).collect(),
        (Some(a), None) => b.values.iter().map(|&b| each(a, b)).collect(),
        (None, None) => a.values.iter().zip(b.values).map(|(&a, &b)| each(a, b)).collect(),
    };
    Arc::new(PrimitiveArray::<R>::new(values.into(), nulls(args, rows)))
}

/// A column of one function of every row without NULLs; it may answer NULL or fail.
pub(super) fn try_numbers<R: ArrowPrimitiveType>(
    args: &[Datum],
    rows: usize,
    each: impl Fn(usize) -> Result<Option<R::Native>, String>,
) -> Result<PrimitiveArray<R>, EvalError> {
    let valid = nulls(args, rows);
    let mut values = vec![R::Native::ZERO; rows];
    let mut validity = BooleanBufferBuilder::new(rows);
    validity.append_n(rows, false);
    for_valid_rows(valid.as_ref(), rows, |row| {
        if let Some(value) = each(row)? {
            values[row] = value;
            validity.set_bit(row, true);
        }
        Ok(())
    })?;
    Ok(PrimitiveArray::new(
        values.into(),
        Some(NullBuffer::new(validity.finish())).filter(|n| n.null_count() > 0),
    ))
}

/// Like [`try_numbers`], for functions that do not fail.
pub(super) fn some_numbers<R: ArrowPrimitiveType>(
    args: &[Datum],
    rows: usize,
    each: impl Fn(usize) -> Option<R::Native>,
) -> PrimitiveArray<R> {
    try_numbers(args, rows, |row| Ok(each(row))).expect("each never fails")
}

/// Booleans of every row without NULLs; `None` is NULL.
pub(super) fn try_booleans(
    args: &[Datum],
    rows: usize,
    each: impl Fn(usize) -> Result<Option<bool>, String>,
) -> Result<ArrayRef, EvalError> {
    let valid = nulls(args, rows);
    let (mut values, mut validity) =
        (BooleanBufferBuilder::new(rows), BooleanBufferBuilder::new(rows));
    values.append_n(rows, false);
    validity.append_n(rows, false);
    for_valid_rows(valid.as_ref(), rows, |row| {
        if let Some(value) = each(row)? {
            values.set_bit(row, value);
            validity.set_bit(row, true);
        }
        Ok(())
    })?;
    let nulls = Some(NullBuffer::new(validity.finish())).filter(|nulls| nulls.null_count() > 0);
    Ok(Arc::new(BooleanArray::new(values.finish(), nulls)))
}

/// Strings of every row without NULLs: `each` appends to the buffer and says whether that is a value.
pub(super) fn try_texts(
    args: &[Datum],
    rows: usize,
    mut each: impl FnMut(usize, &mut String) -> Result<bool, String>,
) -> Result<ArrayRef, EvalError> {
    let valid = nulls(args, rows);
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut buffer = String::new();
    for row in 0..rows {
        if valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
            builder.append_null();
            continue;
        }
        buffer.clear();
        match each(row, &mut buffer) {
            Ok(true) => builder.append_value(&buffer),
            Ok(false) => builder.append_null(),
            Err(message) => return Err(EvalError { row_index: row, message }),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Like [`try_texts`], for functions that do not fail.
pub(super) fn some_texts(
    args: &[Datum],
    rows: usize,
    mut each: impl FnMut(usize, &mut String) -> bool,
) -> ArrayRef {
    try_texts(args, rows, |row, out| Ok(each(row, out))).expect("each never fails")
}

/// Byte strings of every row without NULLs; `false` is NULL.
pub(super) fn try_bytes(
    args: &[Datum],
    rows: usize,
    mut each: impl FnMut(usize, &mut Vec<u8>) -> Result<bool, String>,
) -> Result<ArrayRef, EvalError> {
    let valid = nulls(args, rows);
    let mut builder = BinaryViewBuilder::with_capacity(rows);
    let mut buffer = Vec::new();
    for row in 0..rows {
        buffer.clear();
        let present = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        let present = present
            && each(row, &mut buffer).map_err(|message| EvalError { row_index: row, message })?;
        if present {
            builder.append_value(&buffer);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Like [`try_bytes`], for functions that do not fail.
pub(super) fn some_bytes(
    args: &[Datum],
    rows: usize,
    mut each: impl FnMut(usize, &mut Vec<u8>) -> bool,
) -> ArrayRef {
    try_bytes(args, rows, |row, out| Ok(each(row, out))).expect("each never fails")
}

/// Calls `each` with every row that is not NULL, until one fails.
fn for_valid_rows(
    valid: Option<&NullBuffer>,
    rows: usize,
    mut each: impl FnMut(usize) -> Result<(), String>,
) -> Result<(), EvalError> {
    let mut at = |row: usize| each(row).map_err(|message| EvalError { row_index: row, message });
    match valid {
        Some(valid) => valid.valid_indices().try_for_each(at),
        None => (0..rows).try_for_each(&mut at),
    }
}

/// One bit for every value.
pub(super) fn pack<T: Copy>(values: &[T], each: impl Fn(T) -> bool) -> BooleanBuffer {
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let (chunks, rest) = values.as_chunks::<64>();
    let mut flags = [0u8; 64];
    for chunk in chunks {
        flags.iter_mut().zip(chunk).for_each(|(flag, &value)| *flag = u8::from(each(value)));
        words.push(pack_flags(&flags));
    }
    if !rest.is_empty() {
        flags.fill(0);
        flags.iter_mut().zip(rest).for_each(|(flag, &value)| *flag = u8::from(each(value)));
        words.push(pack_flags(&flags));
    }
    BooleanBuffer::new(Buffer::from_vec(words), 0, values.len())
}

/// One bit for every pair.
///
/// # Panics
///
/// If the columns differ in length.
pub(super) fn pack_pairs<T: Copy>(a: &[T], b: &[T], each: impl Fn(T, T) -> bool) -> BooleanBuffer {
    assert_eq!(a.len(), b.len());
    let mut words = Vec::with_capacity(a.len().div_ceil(64));
    for (a, b) in a.chunks(64).zip(b.chunks(64)) {
        let mut flags = [0u8; 64];
        flags
            .iter_mut()
            .zip(a.iter().zip(b))
            .for_each(|(flag, (&a, &b))| *flag = u8::from(each(a, b)));
        words.push(pack_flags(&flags));
    }
    BooleanBuffer::new(Buffer::from_vec(words), 0, a.len())
}

/// Bit `i` of the word is `flags[i]`, each 0 or 1.
fn pack_flags(flags: &[u8; 64]) -> u64 {
    // The product moves the lowest bit of byte `i` to bit `56 + i`; no two terms of it meet.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let (eights, _) = flags.as_chunks::<8>();
    eights
        .iter()
        .rev()
        .fold(0, |word, eight| word << 8 | u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56)
}

/// A literal as a column of one row.
///
/// # Panics
///
/// If the value is not of the type: a bug of whoever built the literal.
pub(super) fn constant(value: &Value, data_type: DataType) -> ArrayRef {
    let wrong = || -> ! { panic!("{value:?} is no {data_type}") };
    match (value, data_type.arrow()) {
        (Value::Null, arrow) => new_null_array(&arrow, 1),
        (Value::Boolean(value), _) => Arc::new(BooleanArray::from(vec![*value])),
        (Value::Int(value), arrow_schema::DataType::Int8) => {
            Arc::new(Int8Array::from(vec![*value as i8]))
        }
        (Value::Int(value), arrow_schema::DataType::Int16) => {
            Arc::new(Int16Array::from(vec![*value as i16]))
        }
        (Value::Int(value), arrow_schema::DataType::Int32) => {
            Arc::new(Int32Array::from(vec![*value as i32]))
        }
        (Value::Int(value), arrow_schema::DataType::Int64) => {
            Arc::new(Int64Array::from(vec![*value]))
        }
        (Value::Float(value), arrow_schema::DataType::Float32) => {
            Arc::new(Float32Array::from(vec![*value as f32]))
        }
        (Value::Float(value), arrow_schema::DataType::Float64) => {
            Arc::new(Float64Array::from(vec![*value]))
        }
        (Value::Decimal(value), arrow_schema::DataType::Decimal128(..)) => {
            Arc::new(Decimal128Array::from(vec![*value]).with_data_type(data_type.arrow()))
        }
        (Value::String(value), arrow_schema::DataType::Utf8View) => {
            Arc::new(StringViewArray::from(vec![value.as_str()]))
        }
        (Value::Bytes(value), arrow_schema::DataType::BinaryView) => {
            Arc::new(BinaryViewArray::from(vec![value.as_slice()]))
        }
        _ => wrong(),
    }
}

/// The value of a column of one row.
pub(super) fn value_of(array: &ArrayRef, data_type: DataType) -> Value {
    use arrow_array::types::*;
    if array.is_null(0) {
        return Value::Null;
    }
    match array.data_type() {
        arrow_schema::DataType::Boolean => Value::Boolean(array.as_boolean().value(0)),
        arrow_schema::DataType::Int8 => {
            Value::Int(array.as_primitive::<Int8Type>().value(0).into())
        }
        arrow_schema::DataType::Int16 => {
            Value::Int(array.as_primitive::<Int16Type>().value(0).into())
        }
        arrow_schema::DataType::Int32 => {
            Value::Int(array.as_primitive::<Int32Type>().value(0).into())
        }
        arrow_schema::DataType::Int64 => Value::Int(array.as_primitive::<Int64Type>().value(0)),
        arrow_schema::DataType::Float32 => {
            Value::Float(array.as_primitive::<Float32Type>().value(0).into())
        }
        arrow_schema::DataType::Float64 => {
            Value::Float(array.as_primitive::<Float64Type>().value(0))
        }
        arrow_schema::DataType::Decimal128(..) => {
            Value::Decimal(array.as_primitive::<Decimal128Type>().value(0))
        }
        arrow_schema::DataType::Utf8View => Value::String(array.as_string_view().value(0).into()),
        arrow_schema::DataType::BinaryView => Value::Bytes(array.as_binary_view().value(0).into()),
        other => panic!("{other} is no column of {data_type}"),
    }
}
