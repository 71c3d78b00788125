//! Keys as bytes: grouping columns encoded row by row into one run of bytes, hashed, and decoded back.
//!
//! Equal rows give equal bytes and different rows different ones, so grouping needs no types. A NULL is
//! a value of its own. `-0.0` and `0.0` are told apart, NaNs are one, as Flink's binary rows have them.
//!
//! # Layout of a key
//!
//! ```text
//! column 0 │ column 1 │ …         fixed width:   null u8 │ value, little endian (absent if null)
//!                                 string, bytes: null u8 │ length u32 │ bytes   (last column: no length)
//! ```

use std::sync::Arc;

use arrow_array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow_buffer::{NullBuffer, NullBufferBuilder};

use super::hash::hash_fixed;
use super::{DataType, Integers, Packing, Strings};

/// Keys of several rows, each a run of bytes with its hash.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// `[rows]`: the stable hash of each key.
    pub hashes: Vec<u64>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Keys {
    /// How many keys.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of key `index`.
    #[inline]
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.bytes[start..self.ends[index] as usize]
    }

    /// The length in bytes that all keys have, if they have one.
    pub fn common_length(&self) -> Option<usize> {
        let &first = self.ends.first()?;
        let is_common = |(&end, at): (&u32, u64)| u64::from(end) == at * u64::from(first);
        self.ends.iter().zip(1..).all(is_common).then_some(first as usize)
    }

    /// How the keys lie in words, if they have one length.
    pub fn packing(&self) -> Option<Packing> {
        let length = self.common_length()?;
        let behind_zero =
            length > 0 && self.bytes.chunks_exact(length).all(|key| key.first() == Some(&0));
        Some(Packing { length, behind_zero })
    }

    /// Makes room for so many keys more, if these are about as long as `key`.
    pub fn reserve(&mut self, count: usize, key: &[u8]) {
        self.hashes.reserve(count);
        self.ends.reserve(count);
        self.bytes.reserve(count * key.len());
    }

    /// Appends a key whose hash is known.
    #[inline]
    pub fn push(&mut self, hash: u64, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
        self.hashes.push(hash);
    }

    /// These keys alone.
    #[must_use]
    pub fn take(&self, indices: &[u32]) -> Self {
        let hashes = indices.iter().map(|&index| self.hashes[index as usize]).collect();
        if let Some(length) = self.common_length().filter(|&length| length <= 32) {
            let bytes = match length {
                0..=16 => take_windows::<16>(&self.bytes, length, indices),
                _ => take_windows::<32>(&self.bytes, length, indices),
            };
            let ends = (1..=indices.len() as u32).map(|count| count * length as u32).collect();
            return Self { hashes, bytes, ends };
        }
        let bytes = Vec::with_capacity(self.bytes.len() * indices.len() / self.count().max(1));
        let mut taken = Self { hashes, bytes, ends: Vec::with_capacity(indices.len()) };
        for &index in indices {
            taken.bytes.extend_from_slice(self.get(index as usize));
            taken.ends.push(taken.bytes.len() as u32);
        }
        taken
    }

    /// Forgets all keys, keeping the memory.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// Encodes and hashes `rows` rows of `columns`, replacing what was here.
    ///
    /// # Panics
    ///
    /// If the keys of one batch exceed 4 GiB, which record limits exclude.
    pub fn encode(&mut self, columns: &[ArrayRef], rows: usize) {
        self.clear();
        match columns {
            [] => self.ends.resize(rows, 0),
            [only] if only.null_count() == 0 => {
                if encode_integers(only, self) {
                    return;
                }
                match only.as_string_view_opt() {
                    Some(strings) => encode_strings(strings, self),
                    None => encode_rows(columns, rows, self),
                }
            }
            _ => encode_rows(columns, rows, self),
        }
        assert!(self.bytes.len() <= u32::MAX as usize);
        let mut start = 0;
        self.hashes.reserve(rows);
        for &end in &self.ends {
            self.hashes.push(super::hash::hash_bytes(&self.bytes[start..end as usize]));
            start = end as usize;
        }
    }

    /// The hashes of `rows` rows of `columns`, as [`Keys::encode`] has them.
    pub fn hashes_of(columns: &[ArrayRef], rows: usize) -> Vec<u64> {
        let mut keys = Self::default();
        if let Some(integers) = Integers::of(columns) {
            return integers.hashes();
        }
        if let Some(strings) = Strings::of(columns) {
            return strings.hashes();
        }
        keys.encode(columns, rows);
        keys.hashes
    }

    /// The columns that were encoded, from keys chosen by `get`.
    pub fn decode<'a>(
        types: &[DataType],
        keys: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Vec<ArrayRef> {
        let mut rest: Vec<&[u8]> = keys.collect();
        let last = types.len().saturating_sub(1);
        types
            .iter()
            .enumerate()
            .map(|(index, &data_type)| decode_column(data_type, index == last, &mut rest))
            .collect()
    }
}

/// Whether `column` is one of integers, which is then encoded and hashed: the commonest key takes the shortest way.
fn encode_integers(column: &ArrayRef, keys: &mut Keys) -> bool {
    use arrow_schema::DataType as Arrow;
    match column.data_type() {
        Arrow::Int8 => integers::<Int8Type, 1>(column, keys, |value| u64::from(value as u8)),
        Arrow::Int16 => integers::<Int16Type, 2>(column, keys, |value| u64::from(value as u16)),
        Arrow::Int32 => integers::<Int32Type, 4>(column, keys, |value| u64::from(value as u32)),
        Arrow::Int64 => integers::<Int64Type, 8>(column, keys, |value| value as u64),
        _ => return false,
    }
    true
}

fn integers<T: ArrowPrimitiveType, const WIDTH: usize>(
    column: &ArrayRef,
    keys: &mut Keys,
    to_word: impl Fn(T::Native) -> u64,
) {
    let values = column.as_primitive::<T>().values();
    keys.hashes.extend(values.iter().map(|&value| hash_fixed::<WIDTH>(to_word(value))));
    keys.ends.extend((1..=values.len() as u32).map(|count| count * (WIDTH as u32 + 1)));
    keys.bytes.resize(values.len() * (WIDTH + 1), 0);
    for (key, &value) in keys.bytes.chunks_exact_mut(WIDTH + 1).zip(values) {
        key[1..].copy_from_slice(&to_word(value).to_le_bytes()[..WIDTH]);
    }
}

fn encode_strings(column: &arrow_array::StringViewArray, keys: &mut Keys) {
    keys.ends.reserve(column.len());
    for row in 0..column.len() {
        keys.bytes.push(0);
        keys.bytes.extend_from_slice(column.value(row).as_bytes());
        keys.ends.push(keys.bytes.len() as u32);
    }
}

/// Column by column: first every key's length, then each column's bytes to where they belong.
fn encode_rows(columns: &[ArrayRef], rows: usize, keys: &mut Keys) {
    let last = columns.len() - 1;
    let mut lengths = vec![0u32; rows];
    for (index, column) in columns.iter().enumerate() {
        measure(column, index == last, &mut lengths);
    }
    let mut end = 0usize;
    let mut places: Vec<usize> = Vec::with_capacity(rows);
    for length in lengths {
        places.push(end);
        end += length as usize;
        keys.ends.push(end as u32);
    }
    assert!(end <= u32::MAX as usize, "the keys of a batch pass 4 GiB");
    keys.bytes.resize(end, 0);
    for (index, column) in columns.iter().enumerate() {
        put(column, index == last, &mut keys.bytes, &mut places);
    }
}

/// Adds what each row of `column` takes to `lengths`.
fn measure(column: &ArrayRef, last: bool, lengths: &mut [u32]) {
    use arrow_schema::DataType as Arrow;
    match column.data_type() {
        Arrow::Utf8View => {
            let views = column.as_string_view().views();
            measure_views(views, column.nulls(), last, lengths);
        }
        Arrow::BinaryView => {
            let views = column.as_binary_view().views();
            measure_views(views, column.nulls(), last, lengths);
        }
        other => {
            let width = if *other == Arrow::Boolean {
                1
            } else {
                other.primitive_width().expect("all other columns have a fixed width") as u32
            };
            match column.nulls() {
                None => lengths.iter_mut().for_each(|length| *length += 1 + width),
                Some(nulls) => lengths.iter_mut().zip(nulls).for_each(|(length, valid)| {
                    *length += 1 + if valid { width } else { 0 };
                }),
            }
        }
    }
}

/// The low half of a view's first word is its length.
fn measure_views(views: &[u128], nulls: Option<&NullBuffer>, last: bool, lengths: &mut [u32]) {
    let prefix = if last { 0 } else { 4 };
    for (row, (length, &view)) in lengths.iter_mut().zip(views).enumerate() {
        let valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
        *length += 1 + if valid { prefix + view as u32 } else { 0 };
    }
}

/// Writes each row of `column` to its place, and moves the place on.
fn put(column: &ArrayRef, last: bool, bytes: &mut [u8], places: &mut [usize]) {
    use arrow_schema::DataType as Arrow;
    match column.data_type() {
        Arrow::Boolean => {
            let array = column.as_boolean();
            put_each(column, bytes, places, |row, room| {
                room[0] = u8::from(array.value(row));
                1
            });
        }
        Arrow::Int8 => put_fixed::<Int8Type, 1>(column, bytes, places, i8::to_le_bytes),
        Arrow::Int16 => put_fixed::<Int16Type, 2>(column, bytes, places, i16::to_le_bytes),
        Arrow::Int32 => put_fixed::<Int32Type, 4>(column, bytes, places, i32::to_le_bytes),
        Arrow::Int64 => put_fixed::<Int64Type, 8>(column, bytes, places, i64::to_le_bytes),
        Arrow::Float32 => put_fixed::<Float32Type, 4>(column, bytes, places, canonical_f32),
        Arrow::Float64 => put_fixed::<Float64Type, 8>(column, bytes, places, canonical_f64),
        Arrow::Decimal128(..) => {
            put_fixed::<Decimal128Type, 16>(column, bytes, places, i128::to_le_bytes);
        }
        Arrow::Utf8View => {
            let array = column.as_string_view();
            put_each(column, bytes, places, |row, room| {
                put_bytes(array.value(row).as_bytes(), last, room)
            });
        }
        Arrow::BinaryView => {
            let array = column.as_binary_view();
            put_each(column, bytes, places, |row, room| put_bytes(array.value(row), last, room));
        }
        other => unreachable!("no column has type {other}"),
    }
}

/// Writes the null byte of every row and, with `write`, the value of those that are not null.
#[inline]
fn put_each(
    column: &ArrayRef,
    bytes: &mut [u8],
    places: &mut [usize],
    write: impl Fn(usize, &mut [u8]) -> usize,
) {
    let nulls = column.nulls();
    for (row, place) in places.iter_mut().enumerate() {
        let valid = nulls.is_none_or(|nulls| nulls.is_valid(row));
        bytes[*place] = u8::from(!valid);
        *place += 1;
        if valid {
            *place += write(row, &mut bytes[*place..]);
        }
    }
}

fn put_fixed<T: ArrowPrimitiveType, const N: usize>(
    column: &ArrayRef,
    bytes: &mut [u8],
    places: &mut [usize],
    to_bytes: impl Fn(T::Native) -> [u8; N],
) {
    let values = column.as_primitive::<T>().values();
    put_each(column, bytes, places, |row, room| {
        room[..N].copy_from_slice(&to_bytes(values[row]));
        N
    });
}

fn put_bytes(value: &[u8], last: bool, room: &mut [u8]) -> usize {
    let prefix = if last { 0 } else { 4 };
    if !last {
        room[..4].copy_from_slice(&(value.len() as u32).to_le_bytes());
    }
    room[prefix..prefix + value.len()].copy_from_slice(value);
    prefix + value.len()
}

/// NaNs become one.
fn canonical_f64(value: f64) -> [u8; 8] {
    if value.is_nan() { f64::NAN.to_le_bytes() } else { value.to_le_bytes() }
}

fn canonical_f32(value: f32) -> [u8; 4] {
    if value.is_nan() { f32::NAN.to_le_bytes() } else { value.to_le_bytes() }
}

/// Takes one value off the front of each key. `None` is NULL.
fn take<'a>(rest: &mut &'a [u8], width: impl Fn(&mut &'a [u8]) -> usize) -> Option<&'a [u8]> {
    let null = rest[0] == 1;
    *rest = &rest[1..];
    if null {
        return None;
    }
    let length = width(rest);
    let (value, tail) = rest.split_at(length);
    *rest = tail;
    Some(value)
}

fn decode_fixed<T: ArrowPrimitiveType, const N: usize>(
    rest: &mut [&[u8]],
    from_bytes: impl Fn([u8; N]) -> T::Native,
) -> PrimitiveArray<T> {
    let mut nulls = NullBufferBuilder::new(rest.len());
    let value = |key: &mut &[u8]| match take(key, |_| N) {
        Some(bytes) => {
            nulls.append_non_null();
            from_bytes(bytes.try_into().expect("N bytes"))
        }
        None => {
            nulls.append_null();
            T::Native::default()
        }
    };
    let values: Vec<T::Native> = rest.iter_mut().map(value).collect();
    PrimitiveArray::new(values.into(), nulls.finish())
}

fn decode_column(data_type: DataType, last: bool, rest: &mut [&[u8]]) -> ArrayRef {
    use arrow_schema::DataType as Arrow;
    let width = |rest: &mut &[u8]| {
        if last {
            return rest.len();
        }
        let (length, tail) = rest.split_at(4);
        *rest = tail;
        u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize
    };
    match data_type.arrow() {
        Arrow::Boolean => Arc::new(
            rest.iter_mut()
                .map(|key| take(key, |_| 1).map(|bytes| bytes[0] == 1))
                .collect::<BooleanArray>(),
        ),
        Arrow::Int8 => Arc::new(decode_fixed::<Int8Type, 1>(rest, i8::from_le_bytes)),
        Arrow::Int16 => Arc::new(decode_fixed::<Int16Type, 2>(rest, i16::from_le_bytes)),
        Arrow::Int32 => Arc::new(decode_fixed::<Int32Type, 4>(rest, i32::from_le_bytes)),
        Arrow::Int64 => Arc::new(decode_fixed::<Int64Type, 8>(rest, i64::from_le_bytes)),
        Arrow::Float32 => Arc::new(decode_fixed::<Float32Type, 4>(rest, f32::from_le_bytes)),
        Arrow::Float64 => Arc::new(decode_fixed::<Float64Type, 8>(rest, f64::from_le_bytes)),
        Arrow::Decimal128(precision, scale) => {
            let array: Decimal128Array =
                decode_fixed::<Decimal128Type, 16>(rest, i128::from_le_bytes);
            Arc::new(
                array
                    .with_precision_and_scale(precision, scale)
                    .expect("the planner checked precision"),
            )
        }
        Arrow::Utf8View => {
            let mut builder = StringViewBuilder::with_capacity(rest.len());
            for key in rest {
                builder.append_option(
                    take(key, width).map(|bytes| {
                        std::str::from_utf8(bytes).expect("keys of strings are UTF-8")
                    }),
                );
            }
            Arc::new(builder.finish())
        }
        Arrow::BinaryView => {
            let mut builder = BinaryViewBuilder::with_capacity(rest.len());
            for key in rest {
                builder.append_option(take(key, width));
            }
            Arc::new(builder.finish())
        }
        other => unreachable!("no column has type {other}"),
    }
}

/// The keys at these indices, all of `length` bytes, which are `WINDOW` at most: so many are copied, in place, where a call to copy some takes longer
/// than to copy them, and what is too much is written over.
fn take_windows<const WINDOW: usize>(bytes: &[u8], length: usize, indices: &[u32]) -> Vec<u8> {
    let mut taken = vec![0; indices.len() * length + WINDOW];
    let mut at = 0;
    for &index in indices {
        let start = index as usize * length;
        match bytes.get(start..start + WINDOW) {
            Some(window) => taken[at..at + WINDOW].copy_from_slice(window),
            None => taken[at..at + length].copy_from_slice(&bytes[start..start + length]),
        }
        at += length;
    }
    taken.truncate(at);
    taken
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int32Array, StringViewArray};

    use super::*;

    #[test]
    fn keys_come_back_as_the_columns_they_were() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec![
                Some("a"),
                None,
                Some(""),
                Some("longer than twelve bytes"),
            ])),
            Arc::new(Int32Array::from(vec![Some(1), Some(-2), None, Some(i32::MIN)])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])),
            Arc::new(StringViewArray::from(vec![None, Some("x"), Some("é"), Some("")])),
        ];
        let types = [DataType::STRING, DataType::Int, DataType::Boolean, DataType::STRING];
        let mut keys = Keys::default();
        keys.encode(&columns, 4);
        let decoded = Keys::decode(&types, (0..4).map(|index| keys.get(index)));
        assert_eq!(decoded, columns);
    }

    #[test]
    fn a_string_key_is_the_same_alone_in_a_batch_without_nulls_and_with_them() {
        let plain: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
        let with_null: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        let (mut one, mut two) = (Keys::default(), Keys::default());
        one.encode(&[plain], 2);
        two.encode(&[with_null], 2);
        assert_eq!((one.get(0), one.hashes[0]), (two.get(0), two.hashes[0]));
        assert_ne!(one.get(1), two.get(1));
    }

    #[test]
    fn an_integer_key_is_the_same_alone_in_a_batch_without_nulls_and_with_them() {
        use arrow_array::{Int8Array, Int16Array, Int64Array};
        let pairs: [(ArrayRef, ArrayRef); 4] = [
            (
                Arc::new(Int8Array::from(vec![-1, 7])),
                Arc::new(Int8Array::from(vec![Some(-1), Some(7), None])),
            ),
            (
                Arc::new(Int16Array::from(vec![-1, 700])),
                Arc::new(Int16Array::from(vec![Some(-1), Some(700), None])),
            ),
            (
                Arc::new(Int32Array::from(vec![-1, 70_000])),
                Arc::new(Int32Array::from(vec![Some(-1), Some(70_000), None])),
            ),
            (
                Arc::new(Int64Array::from(vec![-1, 1 << 50])),
                Arc::new(Int64Array::from(vec![Some(-1), Some(1 << 50), None])),
            ),
        ];
        for (plain, with_null) in pairs {
            let (mut one, mut two) = (Keys::default(), Keys::default());
            one.encode(std::slice::from_ref(&plain), 2);
            assert!(Integers::of(std::slice::from_ref(&with_null)).is_none());
            two.encode(&[with_null], 3);
            let columns = [plain];
            let integers = Integers::of(&columns).unwrap();
            for row in 0..2 {
                assert_eq!((one.get(row), one.hashes[row]), (two.get(row), two.hashes[row]));
                let (hash, key, length) = integers.encoded(row);
                assert_eq!((&key[..length], hash), (one.get(row), one.hashes[row]));
            }
            assert_eq!(two.get(2), [1]);
        }
    }

    #[test]
    fn adjacent_strings_do_not_run_together() {
        let left: ArrayRef = Arc::new(StringViewArray::from(vec!["ab", "a"]));
        let right: ArrayRef = Arc::new(StringViewArray::from(vec!["c", "bc"]));
        let mut keys = Keys::default();
        keys.encode(&[left, right], 2);
        assert_ne!(keys.get(0), keys.get(1));
    }

    #[test]
    fn keys_that_are_taken_are_those() {
        for lengths in [&[5][..], &[9], &[16], &[17], &[20], &[32], &[33], &[0], &[3, 9, 0, 40]] {
            let mut keys = Keys::default();
            for index in 0..50u8 {
                let length = lengths[usize::from(index) % lengths.len()];
                keys.push(u64::from(index) << 40, &vec![index; length]);
            }
            let indices: Vec<u32> = (0..50).rev().chain([7, 7]).collect();
            let taken = keys.take(&indices);
            assert_eq!(taken.count(), indices.len());
            for (at, &index) in indices.iter().enumerate() {
                let index = index as usize;
                assert_eq!(
                    (taken.hashes[at], taken.get(at)),
                    (keys.hashes[index], keys.get(index))
                );
            }
        }
    }

    #[test]
    fn nans_are_one_key_and_zeros_are_two() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, -f64::NAN, 0.0, -0.0]));
        let mut keys = Keys::default();
        keys.encode(&[column], 4);
        assert_eq!(keys.get(0), keys.get(1));
        assert_ne!(keys.get(2), keys.get(3));
    }
}
