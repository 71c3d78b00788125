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
    hashes: fn(&[i64]) -> Vec<u64>,
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
                Self { values: Cow::Borrowed(values), encode: encoded::<8>, hashes: hashes::<8> }
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

    /// `[rows]`: the hashes of all keys, as [`Integers::encoded`] has them.
    pub fn hashes(&self) -> Vec<u64> {
        (self.hashes)(&self.values)
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
    Integers { values: values.collect(), encode: encoded::<WIDTH>, hashes: hashes::<WIDTH> }
}

/// A value's bits, as many as it has.
#[inline]
fn bits_of<const WIDTH: usize>(value: i64) -> u64 {
    value.cast_unsigned() & (u64::MAX >> (64 - 8 * WIDTH))
}

fn hashes<const WIDTH: usize>(values: &[i64]) -> Vec<u64> {
    values.iter().map(|&value| hash_fixed::<WIDTH>(bits_of::<WIDTH>(value))).collect()
}

fn encoded<const WIDTH: usize>(value: i64) -> (u64, [u8; 9], usize) {
    let bits = bits_of::<WIDTH>(value);
    let mut key = [0; 9];
    key[1..].copy_from_slice(&bits.to_le_bytes());
    (hash_fixed::<WIDTH>(bits), key, WIDTH + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int8Array, Int16Array, Int32Array, Int64Array};

    use super::*;
    use crate::batch::Keys;

    #[test]
    fn hashes_are_those_of_encoded_keys() {
        let columns: [ArrayRef; 4] = [
            Arc::new(Int8Array::from(vec![0, -1, i8::MAX, i8::MIN])),
            Arc::new(Int16Array::from(vec![0, -1, i16::MAX, i16::MIN])),
            Arc::new(Int32Array::from(vec![0, -1, i32::MAX, i32::MIN])),
            Arc::new(Int64Array::from(vec![0, -1, i64::MAX, i64::MIN])),
        ];
        for column in columns {
            let (rows, columns, mut keys) = (column.len(), [column], Keys::default());
            keys.encode(&columns, rows);
            let integers = Integers::of(&columns).expect("they are integers");
            assert_eq!(integers.hashes(), keys.hashes);
            assert!((0..rows).all(|row| integers.encoded(row).0 == keys.hashes[row]));
        }
    }
}
