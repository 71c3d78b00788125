//! Keys of one length in words: compared and copied without calls, and without an end for each.
//!
//! ```text
//! key:   null u8 │ value …        words:   value … │ zeros up to a whole word        little endian
//! ```
//!
//! The first byte is left out where all keys begin with 0, as those of one column do that are not NULL: then a BIGINT is one word, and
//! 16 characters are two.
//!
//! # Invariants
//!
//! 1. Of keys that a packing suits, equal ones have equal words and different ones different words.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringViewArray};
use arrow_buffer::Buffer;

use super::hash::{hash_behind_zero, hash_bytes, hash_fixed};
use super::strings::Strings;
use super::{DataType, Keys};
use crate::sys::views::{Utf8Buffer, ViewColumn};

/// How keys of one length lie in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Bytes of a key.
    pub length: usize,
    /// Keys begin with a byte 0, which is left out.
    pub behind_zero: bool,
}

impl Packing {
    /// One that suits `key`.
    pub fn of(key: &[u8]) -> Self {
        Self { length: key.len(), behind_zero: key.first() == Some(&0) }
    }

    /// Whether `key` may be packed so.
    #[inline]
    pub fn suits(&self, key: &[u8]) -> bool {
        key.len() == self.length && (!self.behind_zero || key[0] == 0)
    }

    /// Bytes that are kept of a key.
    #[inline]
    fn kept(&self) -> usize {
        self.length - usize::from(self.behind_zero)
    }

    /// Words of a key, one at least.
    #[inline]
    pub fn words(&self) -> usize {
        self.kept().div_ceil(8).max(1)
    }

    /// Writes a key that this suits.
    ///
    /// # Shapes
    ///
    /// `words`: as many as [`Packing::words`], zeros.
    #[inline]
    pub fn pack(&self, key: &[u8], words: &mut [u64]) {
        let kept = &key[self.length - self.kept()..];
        put_bytes(kept, words);
    }

    /// A key's hash.
    #[inline(always)]
    pub fn hash(&self, words: &[u64]) -> u64 {
        match self.behind_zero {
            true => hash_behind_zero(words, self.length),
            false => hash_bytes(&bytemuck::cast_slice(words)[..self.length]),
        }
    }

    /// Appends a key's bytes.
    pub fn unpack(&self, words: &[u64], bytes: &mut Vec<u8>) {
        if self.behind_zero {
            bytes.push(0);
        }
        bytes.extend_from_slice(&bytemuck::cast_slice(words)[..self.kept()]);
    }

    /// Keys that are texts, as they lie.
    fn texts(&self, words: Vec<u64>) -> StringViewArray {
        let (stride, length) = (self.words() as u32 * 8, self.kept() as u32);
        let row_count = words.len() / self.words();
        let text = Utf8Buffer::new(Buffer::from_vec(words));
        let mut column = ViewColumn::new(text.expect("keys of strings are UTF-8"), row_count);
        column.extend((0..row_count as u32).map(|row| (row * stride, row * stride + length)));
        column.finish()
    }

    /// Hashes of keys.
    fn hashes(&self, words: &[u64]) -> Vec<u64> {
        // Of short keys the compiler knows how many words are folded.
        match self.words() {
            1 => self.hashes_of::<1>(words),
            2 => self.hashes_of::<2>(words),
            3 => self.hashes_of::<3>(words),
            4 => self.hashes_of::<4>(words),
            5 => self.hashes_of::<5>(words),
            count => words.chunks_exact(count).map(|key| self.hash(key)).collect(),
        }
    }

    fn hashes_of<const WORDS: usize>(&self, words: &[u64]) -> Vec<u64> {
        words.as_chunks::<WORDS>().0.iter().map(|key| self.hash(key)).collect()
    }

    /// The columns that were encoded as keys, of types `types`.
    ///
    /// # Shapes
    ///
    /// `words`: keys, one after the other.
    pub fn decode(&self, types: &[DataType], words: Vec<u64>) -> Vec<ArrayRef> {
        use arrow_schema::DataType as Arrow;
        let keys = words.chunks_exact(self.words());
        if let ([only], true) = (types, self.behind_zero) {
            match only.arrow() {
                Arrow::Int64 => {
                    let values = Buffer::from_vec(words).into();
                    return vec![Arc::new(Int64Array::new(values, None))];
                }
                Arrow::Utf8View => {
                    return vec![Arc::new(self.texts(words))];
                }
                _ => {}
            }
        }
        let count = keys.len();
        let mut bytes = Vec::with_capacity(count * self.length);
        keys.for_each(|key| self.unpack(key, &mut bytes));
        let key = |index: usize| &bytes[index * self.length..][..self.length];
        Keys::decode(types, (0..count).map(key))
    }
}

/// The keys of a batch, packed, with their hashes.
#[derive(Debug)]
pub struct KeyWords<'a> {
    /// How they are packed.
    pub packing: Packing,
    /// `[rows × words of a key]`
    pub words: Cow<'a, [u64]>,
    /// `[rows]`
    pub hashes: Cow<'a, [u64]>,
}

impl<'a> KeyWords<'a> {
    /// The keys of one column of 64-bit integers, or of strings of one length, without NULLs: they are not encoded as bytes first.
    pub fn of_columns(columns: &'a [ArrayRef]) -> Option<Self> {
        let [column] = columns else { return None };
        if column.null_count() > 0 {
            return None;
        }
        if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
            let words: &[u64] = bytemuck::cast_slice(numbers.values());
            let hashes = words.iter().map(|&number| hash_fixed::<8>(number)).collect();
            let packing = Packing { length: 9, behind_zero: true };
            return Some(Self { packing, words: words.into(), hashes });
        }
        let length = Strings::of(columns)?.common_length()?;
        let texts = column.as_string_view();
        let packing = Packing { length: length + 1, behind_zero: true };
        let key_words = packing.words();
        let mut words = vec![0; texts.len() * key_words];
        for (row, key) in words.chunks_exact_mut(key_words).enumerate() {
            put_bytes(texts.value(row).as_bytes(), key);
        }
        let hashes = packing.hashes(&words).into();
        Some(Self { packing, words: words.into(), hashes })
    }

    /// Encoded keys, if they have one length.
    pub fn of_keys(keys: &'a Keys) -> Option<Self> {
        let packing = keys.packing()?;
        let key_words = packing.words();
        let mut words = vec![0; keys.count() * key_words];
        for (index, key) in words.chunks_exact_mut(key_words).enumerate() {
            packing.pack(keys.get(index), key);
        }
        Some(Self { packing, words: words.into(), hashes: keys.hashes.as_slice().into() })
    }
}

/// Writes bytes into zeros. Most keys are short, and a call to copy them takes longer than two stores.
#[inline]
pub fn put_bytes(bytes: &[u8], words: &mut [u64]) {
    match (&mut *words, bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        ([only], Some(all), _) => *only = u64::from_le_bytes(*all),
        ([first, last], Some(head), Some(tail)) => {
            *first = u64::from_le_bytes(*head);
            *last = u64::from_le_bytes(*tail) >> (8 * (16 - bytes.len()));
        }
        _ => bytemuck::cast_slice_mut(words)[..bytes.len()].copy_from_slice(bytes),
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Int32Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_come_back(keys in (0..40usize).prop_flat_map(|length| {
            prop::collection::vec(prop::collection::vec(0..3u8, length), 1..20)
        })) {
            let mut all = Keys::default();
            keys.iter().for_each(|key| all.push(hash_bytes(key), key));
            let packing = all.packing().unwrap();
            prop_assert_eq!(packing.behind_zero, keys.iter().all(|key| key.first() == Some(&0)));
            for key in &keys {
                prop_assert!(packing.suits(key) && Packing::of(key).suits(key));
                let (mut words, mut bytes) = (vec![0; packing.words()], Vec::new());
                packing.pack(key, &mut words);
                packing.unpack(&words, &mut bytes);
                prop_assert_eq!(&bytes, key);
                prop_assert_eq!(packing.hash(&words), hash_bytes(key));
            }
        }
    }

    #[test]
    fn columns_come_back() {
        let columns: [(ArrayRef, DataType); 4] = [
            (Arc::new(Int64Array::from(vec![i64::MIN, -1, 7])), DataType::BigInt),
            (Arc::new(Int32Array::from(vec![i32::MIN, -1, 7])), DataType::Int),
            (Arc::new(StringViewArray::from(vec!["é", "ab", "cd"])), DataType::STRING),
            (
                Arc::new(StringViewArray::from(vec![
                    "0123456789abcdef",
                    "0123456789abcde\u{7f}",
                    "ééééabcdefgh",
                ])),
                DataType::STRING,
            ),
        ];
        for (column, data_type) in columns {
            let mut keys = Keys::default();
            keys.encode(std::slice::from_ref(&column), 3);
            let packing = keys.packing().unwrap();
            assert!(packing.behind_zero);
            let mut words = vec![0; 3 * packing.words()];
            for (row, words) in words.chunks_exact_mut(packing.words()).enumerate() {
                packing.pack(keys.get(row), words);
            }
            assert_eq!(packing.decode(&[data_type], words.clone()), std::slice::from_ref(&column));
            let (encoded, columns) = (KeyWords::of_keys(&keys).unwrap(), [column]);
            assert_eq!((&*encoded.words, &*encoded.hashes), (&*words, &*keys.hashes));
            let Some(direct) = KeyWords::of_columns(&columns) else {
                assert_eq!(data_type, DataType::Int);
                continue;
            };
            assert_eq!((direct.packing, direct.words), (packing, encoded.words));
            assert_eq!(direct.hashes, encoded.hashes);
        }
    }

    #[test]
    fn texts_of_several_lengths_and_nulls_are_not_taken_from_their_column() {
        let texts = |values: &[Option<&str>]| -> [ArrayRef; 1] {
            [Arc::new(StringViewArray::from(values.to_vec()))]
        };
        assert!(KeyWords::of_columns(&texts(&[Some("ab"), Some("cd")])).is_some());
        assert!(KeyWords::of_columns(&texts(&[Some("ab"), Some("c")])).is_none());
        assert!(KeyWords::of_columns(&texts(&[Some("ab"), None])).is_none());
        assert!(KeyWords::of_columns(&[]).is_none());
    }

    #[test]
    fn keys_of_several_lengths_are_not_packed() {
        let mut keys = Keys::default();
        keys.push(1, &[0, 1]);
        keys.push(2, &[0]);
        assert_eq!(keys.packing(), None);
    }
}
