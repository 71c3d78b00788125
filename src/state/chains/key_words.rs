//! A key in the words of its record: whole if it is short, so that most keys are compared where they lie.

use std::ops::Range;

use crate::batch::Keys;

/// Words of a record's key.
pub(super) const KEY_WORDS: usize = 3;
/// The longest key that lies in its record.
pub(super) const SHORT_BYTES_MAX: usize = KEY_WORDS * 8 - 1;
/// In place of the length: the key lies in the heap.
pub(super) const LONG: u8 = 255;

/// A key as it lies in its record; of a long one only that it is long.
pub type KeyWords = [u64; KEY_WORDS];

/// Whether a key, whose words these are, lies in the heap.
#[inline]
pub(super) fn is_long(key: &[u64]) -> bool {
    key[KEY_WORDS - 1] >> 56 == u64::from(LONG)
}

/// The words of keys `rows`, which have `common_length` bytes, if they have one length.
pub fn key_words(
    keys: &Keys,
    common_length: Option<usize>,
    rows: Range<usize>,
    words: &mut Vec<KeyWords>,
) {
    words.clear();
    match common_length {
        // Of one length it is known how they are cut up.
        Some(9) => words.extend(rows.map(|row| words_of(&keys.get(row)[..9]))),
        Some(17) => words.extend(rows.map(|row| words_of(&keys.get(row)[..17]))),
        _ => words.extend(rows.map(|row| words_of(keys.get(row)))),
    }
}

/// The words of a key.
#[inline]
pub fn words_of(key: &[u8]) -> KeyWords {
    let length = key.len();
    let word = |at: usize| {
        u64::from_le_bytes(*key[at..].first_chunk().expect("eight bytes, by the key's length"))
    };
    // The bytes behind those of whole words, with one load: less than eight, in its low bytes.
    let rest = |whole: usize| match length - whole {
        0 => 0,
        more => word(length - 8) >> (64 - 8 * more),
    };
    let last = (length as u64) << 56;
    match length {
        0..8 => [key.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0, last],
        8..16 => [word(0), rest(8), last],
        16..=SHORT_BYTES_MAX => [word(0), word(8), rest(16) | last],
        _ => [0, 0, u64::from(LONG) << 56],
    }
}
