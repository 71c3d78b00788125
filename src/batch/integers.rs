//! Keys of one column of integers, which need not be encoded to be told apart.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};

use super::hash::hash_fixed;

/// Keys of one column of integers without NULLs, not encoded yet.
#[derive(Debug)]
pub struct Integers<'a> {
    values: Cow<'a, [i64]>,
    encode: EncodeInteger,
}

/// The hash of an integer's key as [`super::Keys::encode`] has it, and its bytes, of which so many count.
pub type EncodeInteger = fn(i64) -> (u64, [u8; 9], usize);

impl<'a> Integers<'a> {
    /// The keys of `columns`, if they are such keys.
    pub fn of(columns: &'a [ArrayRef]) -> Option<Self> {
        use arrow_schema::DataType as Arrow;
        let [column] = columns else { return None };
        if column.null_count() > 0 {
            return None;
        }
        Some(match column.data_type() {
            Arrow::Int8 => widened::<Int8Type, 1>(column),
            Arrow::Int16 => widened::<Int16Type, 2>(column),
            Arrow::Int32 => widened::<Int32Type, 4>(column),
            Arrow::Int64 => {
                let values = column.as_primitive::<Int64Type>().values();
                Self { values: Cow::Borrowed(values), encode: encoded::<8> }
            }
            _ => return None,
        })
    }

    /// `[rows]`: the integers.
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// The hash of a row's key as [`super::Keys::encode`] has it, and its bytes, of which so many count.
    pub fn encoded(&self, row: usize) -> (u64, [u8; 9], usize) {
        (self.encode)(self.values[row])
    }

    /// `[rows]`: the integers.
    pub fn into_values(self) -> Cow<'a, [i64]> {
        self.values
    }

    /// What encodes them.
    pub fn encoder(&self) -> EncodeInteger {
        self.encode
    }
}

fn widened<T, const WIDTH: usize>(column: &ArrayRef) -> Integers<'static>
where
    T: ArrowPrimitiveType<Native: Into<i64>>,
{
    let values = column.as_primitive::<T>().values().iter().map(|&value| value.into());
    Integers { values: values.collect(), encode: encoded::<WIDTH> }
}

fn encoded<const WIDTH: usize>(value: i64) -> (u64, [u8; 9], usize) {
    let bits = value.cast_unsigned() & (u64::MAX >> (64 - 8 * WIDTH));
    let mut key = [0; 9];
    key[1..].copy_from_slice(&bits.to_le_bytes());
    (hash_fixed::<WIDTH>(bits), key, WIDTH + 1)
}
