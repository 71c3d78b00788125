//! Keys of one column of strings, without encoding them first: short ones as words.
//!
//! Of most identifiers a few loads make the words that they are encoded to (a byte 0, then the text), and the hash of those words is the
//! hash of the key ([`Keys::encode`](super::Keys::encode) has the same).

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringViewArray};

use super::hash::{hash_text, hash_words};
use crate::sys::views::INLINE_BYTES_MAX;

/// A key of at most [`ShortKey::BYTES_MAX`] bytes, as words padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortKey {
    words: [u64; ShortKey::WORDS],
    length: usize,
}

impl ShortKey {
    /// Words of a key.
    pub const WORDS: usize = 3;
    /// Bytes of the longest key.
    pub const BYTES_MAX: usize = 8 * Self::WORDS;

    /// The key, if it is short.
    #[inline]
    pub fn of(key: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        let (words, _) = bytes.as_chunks();
        Self::of_words([words[0], words[1], words[2]].map(u64::from_le_bytes), key.len())
    }

    /// The key that these words are, if so many bytes are short.
    #[inline]
    pub fn of_words(words: [u64; Self::WORDS], length: usize) -> Option<Self> {
        (length <= Self::BYTES_MAX).then_some(Self { words, length })
    }

    /// The key of a text of 8 to 23 bytes.
    #[inline]
    fn of_text(text: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(*text[at..].first_chunk().expect("8 bytes"));
        let length = text.len();
        let last = word(length - 8);
        let (second, third) = match length {
            8 => (0, 0),
            9..=16 => (last >> (8 * (16 - length)), 0),
            _ => (word(8), last >> (8 * (24 - length))),
        };
        let first = word(0);
        let words = [first << 8, second << 8 | first >> 56, third << 8 | second >> 56];
        Self { words, length: length + 1 }
    }

    /// The key's hash.
    #[inline]
    pub fn hash(&self) -> u64 {
        hash_words(&self.words, self.length)
    }

    /// Its words.
    #[inline]
    pub fn words(&self) -> [u64; Self::WORDS] {
        self.words
    }

    /// How many bytes it has.
    #[inline]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Its bytes, padded with zeros.
    pub fn bytes(&self) -> [u8; Self::BYTES_MAX] {
        let mut bytes = [0; Self::BYTES_MAX];
        let (chunks, _) = bytes.as_chunks_mut();
        chunks.iter_mut().zip(self.words).for_each(|(chunk, word)| *chunk = word.to_le_bytes());
        bytes
    }
}

/// Keys of one column of strings without NULLs.
#[derive(Debug)]
pub struct Strings<'a> {
    column: &'a StringViewArray,
}

impl<'a> Strings<'a> {
    /// The keys of `columns`, if they are such keys.
    pub fn of(columns: &'a [ArrayRef]) -> Option<Self> {
        let [column] = columns else { return None };
        let column = column.as_string_view_opt().filter(|column| column.null_count() == 0)?;
        Some(Self { column })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.column.len()
    }

    /// A row's key, if it is short.
    #[inline]
    pub fn short(&self, row: usize) -> Option<ShortKey> {
        let view = self.column.views()[row];
        let length = view as u32 as usize;
        if length <= INLINE_BYTES_MAX {
            // What a view holds is padded with zeros.
            let text = view >> 32;
            return ShortKey::of_words([(text << 8) as u64, (text >> 56) as u64, 0], length + 1);
        }
        let is_short = length < ShortKey::BYTES_MAX;
        is_short.then(|| ShortKey::of_text(self.column.value(row).as_bytes()))
    }

    /// The words of a row's text, padded with zeros, and how many bytes it has, if that is 16 at most.
    #[inline]
    pub fn two_words(&self, row: usize) -> Option<([u64; 2], usize)> {
        let view = self.column.views()[row];
        let length = view as u32 as usize;
        if length <= INLINE_BYTES_MAX {
            let text = view >> 32;
            return Some(([text as u64, (text >> 64) as u64], length));
        }
        if length > 16 {
            return None;
        }
        let text = self.column.value(row).as_bytes();
        let first = *text.first_chunk().expect("more than a view holds");
        let last = *text.last_chunk().expect("more than a view holds");
        let last = u64::from_le_bytes(last) >> (8 * (16 - length));
        Some(([u64::from_le_bytes(first), last], length))
    }

    /// The hash of a row's key.
    #[inline]
    pub fn hash(&self, row: usize) -> u64 {
        match self.short(row) {
            Some(key) => key.hash(),
            None => hash_text(self.column.value(row).as_bytes()),
        }
    }

    /// The hashes of all keys.
    pub fn hashes(&self) -> Vec<u64> {
        // Of the commonest identifiers, 64 and 128 bits in hexadecimal digits, the compiler knows how many words it hashes.
        match self.common_length() {
            Some(16) => self.hashes_fixed::<16>(),
            Some(32) => self.hashes_fixed::<32>(),
            Some(36) => self.hashes_fixed::<36>(),
            _ => (0..self.count()).map(|row| self.hash(row)).collect(),
        }
    }

    /// How many bytes all texts have, if that is the same.
    pub(super) fn common_length(&self) -> Option<usize> {
        // The low half of a view's first word.
        let mut lengths = self.column.views().iter().map(|&view| view as u32);
        let length = lengths.next()?;
        lengths.all(|other| other == length).then_some(length as usize)
    }

    /// [`Strings::hashes`], of texts of `LENGTH` bytes, more than a view holds.
    fn hashes_fixed<const LENGTH: usize>(&self) -> Vec<u64> {
        const { assert!(LENGTH > INLINE_BYTES_MAX) }
        let buffers = self.column.data_buffers();
        let hash = |&view: &u128| {
            let (buffer, start) = ((view >> 64) as u32, (view >> 96) as u32);
            let text = buffers[buffer as usize][start as usize..].first_chunk::<LENGTH>();
            hash_text(text.expect("a view lies in its buffer"))
        };
        self.column.views().iter().map(hash).collect()
    }

    /// Replaces `key` by a row's key.
    pub fn encode(&self, row: usize, key: &mut Vec<u8>) {
        key.clear();
        key.push(0);
        key.extend_from_slice(self.column.value(row).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::Keys;

    proptest! {
        #[test]
        fn texts_of_one_length_are_hashed_alike(length in 0..40usize, bytes in prop::collection::vec("[a-f0-9]{40}", 1..20)) {
            for length in [length, 16, 32, 36] {
                let texts = bytes.iter().map(|text| &text[..length]);
                let columns: [ArrayRef; 1] = [Arc::new(StringViewArray::from_iter_values(texts))];
                let strings = Strings::of(&columns).unwrap();
                let each: Vec<u64> = (0..bytes.len()).map(|row| strings.hash(row)).collect();
                prop_assert_eq!(strings.hashes(), each);
            }
        }

        #[test]
        fn strings_are_the_keys_that_they_are_encoded_to(texts in prop::collection::vec("[a\u{0}é]{0,40}", 1..50)) {
            let columns: [ArrayRef; 1] = [Arc::new(StringViewArray::from_iter_values(&texts))];
            let strings = Strings::of(&columns).unwrap();
            let (mut keys, mut key) = (Keys::default(), Vec::new());
            keys.encode(&columns, texts.len());
            for (row, text) in texts.iter().enumerate() {
                strings.encode(row, &mut key);
                prop_assert_eq!(&key, keys.get(row));
                prop_assert_eq!(strings.hash(row), keys.hashes[row]);
                prop_assert_eq!(strings.hashes()[row], keys.hashes[row]);
                prop_assert_eq!(strings.short(row), ShortKey::of(&key));
                let words = strings.two_words(row);
                prop_assert_eq!(words.is_some(), text.len() <= 16);
                if let Some((words, length)) = words {
                    let padded: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
                    prop_assert_eq!(text.as_bytes(), &padded[..length]);
                    prop_assert!(padded[length..].iter().all(|&byte| byte == 0));
                }
                if let Some(short) = strings.short(row) {
                    prop_assert_eq!(&short.bytes()[..short.length()], &key);
                }
            }
        }
    }
}
