//! The payload of a block: an rkyv archive of its columns, and how it becomes Arrow columns and back.

use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type,
};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_schema::DataType as ArrowType;
use arrow_select::concat::concat;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::header::Header;
use crate::batch::text::pow10;
use crate::batch::{Batch, DataType, Schema};
use crate::sys::checksum::xxh64;
use crate::sys::views::{Utf8Buffer, ViewColumn};

/// What a block holds.
#[derive(Archive, Serialize, Deserialize)]
pub(super) struct Block {
    /// The table's columns as text, to say what differs.
    schema: String,
    /// In the schema's order.
    columns: Vec<Column>,
}

/// One column.
#[derive(Archive, Serialize, Deserialize)]
struct Column {
    /// A bit a row, least significant first, 1 where there is a value; absent if no value is NULL.
    valid: Option<Vec<u8>>,
    values: Values,
}

/// Values by their layout; what stands where a value is NULL means nothing.
#[derive(Archive, Serialize, Deserialize)]
enum Values {
    /// A bit a row.
    Bits(Vec<u8>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I128(Vec<i128>),
    /// Texts or byte strings one after another, and where each ends.
    Bytes(Vec<u8>, Vec<u32>),
}

/// What tells tables apart: names, types and their order.
pub(super) fn schema_hash(schema: &Schema) -> u64 {
    xxh64(schema_text(schema).as_bytes())
}

fn schema_text(schema: &Schema) -> String {
    let columns: Vec<String> =
        schema.fields.iter().map(|field| format!("{} {}", field.name, field.data_type)).collect();
    columns.join("\n")
}

/// The archive of the rows of `batches`.
pub(super) fn write(batches: &[Batch], schema: &Schema) -> AlignedVec {
    let column = |index: usize| {
        let pieces: Vec<&dyn Array> =
            batches.iter().map(|batch| batch.columns[index].as_ref()).collect();
        write_column(&concat(&pieces).expect("the pieces are of one type"))
    };
    let columns = (0..schema.column_count()).map(column).collect();
    let block = Block { schema: schema_text(schema), columns };
    rkyv::to_bytes::<Error>(&block).expect("memory is all that it needs")
}

fn write_column(column: &ArrayRef) -> Column {
    fn primitive<T: ArrowPrimitiveType>(column: &ArrayRef) -> Vec<T::Native> {
        column.as_primitive::<T>().values().to_vec()
    }
    let values = match column.data_type() {
        ArrowType::Boolean => Values::Bits(bits(column.as_boolean().values())),
        ArrowType::Int8 => Values::I8(primitive::<Int8Type>(column)),
        ArrowType::Int16 => Values::I16(primitive::<Int16Type>(column)),
        ArrowType::Int32 => Values::I32(primitive::<Int32Type>(column)),
        ArrowType::Int64 => Values::I64(primitive::<Int64Type>(column)),
        ArrowType::Float32 => Values::F32(primitive::<Float32Type>(column)),
        ArrowType::Float64 => Values::F64(primitive::<Float64Type>(column)),
        ArrowType::Decimal128(..) => Values::I128(primitive::<Decimal128Type>(column)),
        ArrowType::Utf8View => {
            joined(column.as_string_view().iter().map(|value| value.map(str::as_bytes)))
        }
        ArrowType::BinaryView => joined(column.as_binary_view().iter()),
        other => unreachable!("no column has the type {other}"),
    };
    let valid =
        column.nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| bits(nulls.inner()));
    Column { valid, values }
}

fn bits(values: &BooleanBuffer) -> Vec<u8> {
    values.sliced()[..values.len().div_ceil(8)].to_vec()
}

fn joined<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Values {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for value in values {
        bytes.extend_from_slice(value.unwrap_or_default());
        ends.push(u32::try_from(bytes.len()).expect("a block of less than 4 GiB"));
    }
    Values::Bytes(bytes, ends)
}

/// The columns `projection` of `schema` from the archive `payload`.
pub(super) fn read(
    payload: &Buffer,
    header: &Header,
    schema: &Schema,
    projection: &[usize],
) -> Result<Vec<ArrayRef>, String> {
    if payload.as_ptr().align_offset(16) != 0 {
        // rkyv reads values in place, so they must be aligned; chunks nearly always are.
        return read(&Buffer::from(payload.as_slice()), header, schema, projection);
    }
    let block = rkyv::access::<ArchivedBlock, Error>(payload)
        .map_err(|error| format!("a block is no valid archive: {error}"))?;
    if header.schema_hash != schema_hash(schema) || *block.schema != *schema_text(schema) {
        return Err(schema_difference(&block.schema, &schema_text(schema)));
    }
    if block.columns.len() != schema.column_count() {
        return Err(format!(
            "a block has {} columns, the table {}",
            block.columns.len(),
            schema.column_count()
        ));
    }
    let column = |&index: &usize| {
        let field = &schema.fields[index];
        read_column(payload, &block.columns[index], field.data_type, header.rows as usize)
            .map_err(|reason| format!("column `{}`: {reason}", field.name))
    };
    projection.iter().map(column).collect()
}

fn schema_difference(found: &str, expected: &str) -> String {
    let pairs = found.split('\n').zip(expected.split('\n'));
    match pairs.enumerate().find(|(_, (found, expected))| found != expected) {
        Some((index, (found, expected))) => {
            format!("the file's column {} is `{found}`, the table's `{expected}`", index + 1)
        }
        None => {
            let (found, expected) = (found.split('\n').count(), expected.split('\n').count());
            format!("the file has {found} columns, the table {expected}")
        }
    }
}

fn read_column(
    payload: &Buffer,
    column: &ArchivedColumn,
    data_type: DataType,
    rows: usize,
) -> Result<ArrayRef, String> {
    let nulls = match column.valid.as_ref() {
        Some(valid) => Some(NullBuffer::new(read_bits(valid, rows)?)),
        None => None,
    };
    Ok(match (&column.values, data_type.arrow()) {
        (ArchivedValues::Bits(values), ArrowType::Boolean) => {
            Arc::new(BooleanArray::new(read_bits(values, rows)?, nulls))
        }
        (ArchivedValues::I8(values), ArrowType::Int8) => {
            primitive::<Int8Type, _>(values, rows, nulls, |value| *value)?
        }
        (ArchivedValues::I16(values), ArrowType::Int16) => {
            primitive::<Int16Type, _>(values, rows, nulls, |value| value.to_native())?
        }
        (ArchivedValues::I32(values), ArrowType::Int32) => {
            primitive::<Int32Type, _>(values, rows, nulls, |value| value.to_native())?
        }
        (ArchivedValues::I64(values), ArrowType::Int64) => {
            primitive::<Int64Type, _>(values, rows, nulls, |value| value.to_native())?
        }
        (ArchivedValues::F32(values), ArrowType::Float32) => {
            primitive::<Float32Type, _>(values, rows, nulls, |value| value.to_native())?
        }
        (ArchivedValues::F64(values), ArrowType::Float64) => {
            primitive::<Float64Type, _>(values, rows, nulls, |value| value.to_native())?
        }
        (ArchivedValues::I128(values), ArrowType::Decimal128(precision, scale)) => {
            let values = values_of::<Decimal128Type, _>(values, rows, |value| value.to_native())?;
            let bound = pow10(u32::from(precision)).unsigned_abs();
            if values.iter().any(|value| value.unsigned_abs() >= bound) {
                return Err(format!("a value does not fit {data_type}"));
            }
            let array = PrimitiveArray::<Decimal128Type>::new(values, nulls);
            Arc::new(
                array
                    .with_precision_and_scale(precision, scale)
                    .expect("the planner checked the type"),
            )
        }
        (ArchivedValues::Bytes(bytes, ends), ArrowType::Utf8View) => {
            read_texts(payload, bytes, ends, rows, nulls.as_ref())?
        }
        (ArchivedValues::Bytes(bytes, ends), ArrowType::BinaryView) => {
            read_binaries(bytes, ends, rows, nulls.as_ref())?
        }
        _ => return Err(format!("its values are not laid out as {data_type}")),
    })
}

fn read_bits(bytes: &[u8], rows: usize) -> Result<BooleanBuffer, String> {
    if bytes.len() != rows.div_ceil(8) {
        return Err(format!("{} bytes hold no {rows} bits", bytes.len()));
    }
    Ok(BooleanBuffer::new(Buffer::from(bytes), 0, rows))
}

fn values_of<T: ArrowPrimitiveType, A>(
    values: &[A],
    rows: usize,
    native: impl Fn(&A) -> T::Native,
) -> Result<ScalarBuffer<T::Native>, String> {
    if values.len() != rows {
        return Err(format!("it has {} values, the block {rows} rows", values.len()));
    }
    Ok(values.iter().map(native).collect::<Vec<_>>().into())
}

fn primitive<T: ArrowPrimitiveType, A>(
    values: &[A],
    rows: usize,
    nulls: Option<NullBuffer>,
    native: impl Fn(&A) -> T::Native,
) -> Result<ArrayRef, String> {
    Ok(Arc::new(PrimitiveArray::<T>::new(values_of::<T, A>(values, rows, native)?, nulls)))
}

/// The places of `rows` texts, checked to lie in order within `length` bytes.
fn edges(ends: &[rkyv::rend::u32_le], rows: usize, length: usize) -> Result<Vec<usize>, String> {
    let ends: Vec<usize> =
        std::iter::once(0).chain(ends.iter().map(|end| end.to_native() as usize)).collect();
    if ends.len() != rows + 1 || !ends.is_sorted() || ends[rows] != length {
        return Err("its texts lie out of order".into());
    }
    Ok(ends)
}

fn read_texts(
    payload: &Buffer,
    bytes: &[u8],
    ends: &[rkyv::rend::u32_le],
    rows: usize,
    nulls: Option<&NullBuffer>,
) -> Result<ArrayRef, String> {
    let edges = edges(ends, rows, bytes.len())?;
    // The archive lies in the payload, so its texts do: their place tells where, and views need no copy.
    let start = bytes.as_ptr().addr() - payload.as_ptr().addr();
    let source = Utf8Buffer::new(payload.slice_with_length(start, bytes.len()))
        .map_err(|_| "its texts are not UTF-8")?;
    let text = source.as_str();
    if !edges.iter().all(|&edge| text.is_char_boundary(edge)) {
        return Err("a text ends within a character".into());
    }
    let mut column = ViewColumn::new(source, rows);
    let ranges = edges.windows(2).map(|edge| (edge[0] as u32, edge[1] as u32));
    match nulls {
        None => column.extend(ranges),
        Some(nulls) => {
            for (is_valid, range) in nulls.iter().zip(ranges) {
                if is_valid {
                    column.extend(std::iter::once(range));
                } else {
                    column.push_null();
                }
            }
        }
    }
    Ok(Arc::new(column.finish()))
}

fn read_binaries(
    bytes: &[u8],
    ends: &[rkyv::rend::u32_le],
    rows: usize,
    nulls: Option<&NullBuffer>,
) -> Result<ArrayRef, String> {
    let edges = edges(ends, rows, bytes.len())?;
    let mut column = BinaryViewBuilder::with_capacity(rows);
    for (row, edge) in edges.windows(2).enumerate() {
        let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
        column.append_option((!is_null).then(|| &bytes[edge[0]..edge[1]]));
    }
    Ok(Arc::new(column.finish()))
}
