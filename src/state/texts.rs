//! A dictionary of bytes, most of which are short: the entry of such a value holds the value itself.
//!
//! # Layout
//!
//! ```text
//! entry:   value, padded with zeros, 3 words            │ id + 1 u32 │ length u32
//!          longer: hash │ where it lies in the heap │ 0 │ id + 1     │ length
//! buckets: of each id, where its entry is
//! ```

use super::array::Array;
use super::dictionary::{AHEAD_ROWS, Value};
use super::heap::Heap;
use super::pages::{PAGE_WORDS, Pages};
use super::pairs::{PairRoom, set_of};
use super::probed::Probed;
use super::saved::Saved;
use crate::batch::{ShortKey, Strings};

/// So many rows are hashed, and their entries fetched ahead, before they are looked up.
const BLOCK_ROWS: usize = 64;

/// Words of an entry.
const WORDS: usize = ShortKey::WORDS + 1;

/// A text of at most 16 bytes │ its set u32, its length, with the mark of NULL, u32.
pub(super) type TextPair = [u64; 3];

/// The dictionary.
#[derive(Debug, Default)]
pub(super) struct Texts {
    entries: Probed<WORDS>,
    buckets: Array,
    heap: Heap,
}

impl Texts {
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let entries = Probed::load(saved, pages);
        let buckets = Array::load(saved, pages);
        Self { entries, buckets, heap: Heap::load(saved, pages) }
    }

    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.entries.save(out);
        self.buckets.save(out);
        self.heap.save(out);
    }

    pub(super) fn count(&self) -> usize {
        self.entries.count() as usize
    }

    /// The id of a value, given if need be.
    #[inline]
    pub(super) fn id(&mut self, pages: &mut Pages, hash: u64, value: &[u8]) -> u32 {
        match ShortKey::of(value) {
            Some(key) => self.id_of_short(pages, hash, &key),
            None => self.id_of_long(pages, hash, value),
        }
    }

    /// Calls `to` with each of these rows and the id of its string, as it is encoded, given if need be.
    #[inline]
    pub(super) fn ids(
        &mut self,
        pages: &mut Pages,
        strings: &Strings<'_>,
        rows: &[u32],
        mut to: impl FnMut(&mut Pages, usize, u32),
    ) {
        let mut block = [(0, None); BLOCK_ROWS];
        let mut long = Vec::new();
        for rows in rows.chunks(BLOCK_ROWS) {
            let rows = || rows.iter().map(|&row| row as usize);
            for (row, place) in rows().zip(&mut block) {
                let key = strings.short(row);
                let hash = key.as_ref().map_or_else(|| strings.hash(row), ShortKey::hash);
                self.entries.prefetch(pages, hash);
                *place = (hash, key);
            }
            for (row, (hash, key)) in rows().zip(&block) {
                let id = match key {
                    Some(key) => self.id_of_short(pages, *hash, key),
                    None => {
                        strings.encode(row, &mut long);
                        self.id_of_long(pages, *hash, &long)
                    }
                };
                to(pages, row, id);
            }
        }
    }

    /// Calls `to` with the set of each pair in `room`, and the id of its value, given if need be; sorted as a dictionary of words does it.
    /// What `text_of` makes of a pair has its value.
    pub(super) fn number<const STRIDE: usize>(
        &mut self,
        pages: &mut Pages,
        room: &mut PairRoom<STRIDE>,
        text_of: impl Fn(&[u64; STRIDE]) -> TextPair,
        mut to: impl FnMut(u32, u32),
    ) {
        let key_of = |pair: &[u64; STRIDE]| key_of(&text_of(pair));
        let PairRoom { pairs, parted, .. } = room;
        let mut rest = &pairs[..];
        while !rest.is_empty() {
            self.entries.first_by_place(rest, parted, |pair| key_of(pair).hash());
            for (index, pair) in parted.iter().enumerate() {
                if let Some(ahead) = parted.get(index + AHEAD_ROWS) {
                    self.entries.prefetch(pages, key_of(ahead).hash());
                }
                let key = key_of(pair);
                to(set_of(pair), self.id_of_short(pages, key.hash(), &key));
            }
            rest = &rest[parted.len()..];
        }
    }

    #[inline]
    fn id_of_short(&mut self, pages: &mut Pages, hash: u64, key: &ShortKey) -> u32 {
        self.make_place(pages);
        let [a, b, c] = key.words();
        let length = key.length() as u64;
        let found = self.entries.find(pages, hash, |entry| {
            (entry[0] ^ a) | (entry[1] ^ b) | (entry[2] ^ c) | (entry[3] >> 32 ^ length) == 0
        });
        found.unwrap_or_else(|bucket| {
            self.insert(pages, bucket, |id| [a, b, c, length << 32 | u64::from(id + 1)])
        })
    }

    #[inline(never)]
    fn id_of_long(&mut self, pages: &mut Pages, hash: u64, value: &[u8]) -> u32 {
        self.make_place(pages);
        let length = value.len() as u64;
        let found = self.entries.find(pages, hash, |entry| {
            entry[3] >> 32 == length && entry[0] == hash && self.heap.get(pages, entry[1]) == value
        });
        found.unwrap_or_else(|bucket| {
            let blob = self.heap.insert(pages, value);
            self.insert(pages, bucket, |id| [hash, blob, 0, length << 32 | u64::from(id + 1)])
        })
    }

    #[inline]
    fn make_place(&mut self, pages: &mut Pages) {
        let buckets = &self.buckets;
        self.entries.make_place(pages, hash_of, |pages, id, bucket| {
            set_bucket(buckets, pages, id, bucket);
        });
    }

    fn insert(
        &mut self,
        pages: &mut Pages,
        bucket: usize,
        entry: impl Fn(u32) -> [u64; WORDS],
    ) -> u32 {
        let id = self.entries.count();
        if id as usize / PAGE_WORDS == self.buckets.len() {
            self.buckets.push(pages);
        }
        set_bucket(&self.buckets, pages, id, bucket);
        self.entries.insert(pages, bucket, entry(id));
        id
    }

    /// The bytes of a value.
    pub(super) fn value<'a>(&self, pages: &'a Pages, id: u32) -> Value<'a> {
        let entry = self.entry(pages, id);
        match short_of(entry) {
            Some(key) => Value::Made(key.bytes(), key.length()),
            None => Value::Lying(self.heap.get(pages, entry[1])),
        }
    }

    /// The hash of a value.
    pub(super) fn hash(&self, pages: &Pages, id: u32) -> u64 {
        hash_of(self.entry(pages, id))
    }

    fn entry<'a>(&self, pages: &'a Pages, id: u32) -> &'a [u64; WORDS] {
        let at = id as usize;
        let bucket = pages.get(self.buckets.page(at / PAGE_WORDS))[at % PAGE_WORDS];
        self.entries.entry(pages, bucket as usize)
    }

    /// Frees all pages.
    pub(super) fn release(mut self, pages: &mut Pages) {
        self.entries.release(pages);
        self.buckets.release(pages);
        self.heap.release(pages);
    }
}

/// The pair of a row's text and a set, if it is short enough.
#[inline]
pub(super) fn pair_of_row(strings: &Strings<'_>, row: usize, set: u32) -> Option<TextPair> {
    let ([first, second], length) = strings.two_words(row)?;
    Some([first, second, u64::from(set) | (length as u64 + 1) << 32])
}

/// The pair of a value and a set; `None`: it is longer than 16 bytes behind the mark of NULL.
#[inline]
pub(super) fn pair_of(key: &ShortKey, set: u32) -> Option<TextPair> {
    let [a, b, c] = key.words();
    let suits = a as u8 == 0 && key.length() <= 17;
    suits
        .then(|| [a >> 8 | b << 56, b >> 8 | c << 56, u64::from(set) | (key.length() as u64) << 32])
}

/// The value of a pair.
#[inline]
fn key_of(&[a, b, last]: &TextPair) -> ShortKey {
    let words = [a << 8, b << 8 | a >> 56, b >> 56];
    ShortKey::of_words(words, (last >> 32) as usize).expect("17 bytes are short")
}

/// The value of an entry that holds it itself.
fn short_of(entry: &[u64; WORDS]) -> Option<ShortKey> {
    ShortKey::of_words([entry[0], entry[1], entry[2]], (entry[3] >> 32) as usize)
}

/// The hash of an entry's value.
fn hash_of(entry: &[u64; WORDS]) -> u64 {
    short_of(entry).map_or(entry[0], |key| key.hash())
}

fn set_bucket(buckets: &Array, pages: &mut Pages, id: u32, bucket: usize) {
    let at = id as usize;
    *pages.word_mut(buckets.page(at / PAGE_WORDS), at % PAGE_WORDS) = bucket as u64;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringViewArray};
    use proptest::prelude::*;

    use super::*;
    use crate::batch::hash::hash_bytes;

    proptest! {
        /// Against a map, one value or many at a time, saved and loaded on the way; lengths around those where another way begins.
        #[test]
        fn ids_are_those_of_a_map(
            steps in prop::collection::vec(prop::collection::vec((0..3000u32, prop::sample::select(vec![4, 11, 12, 16, 22, 23, 24, 40])), 0..1500), 1..6),
        ) {
            let (mut pages, mut texts) = (Pages::default(), Texts::default());
            let mut twin: HashMap<String, u32> = HashMap::new();
            for (step, numbers) in steps.into_iter().enumerate() {
                let column: Vec<String> = numbers.iter().map(|(number, length)| format!("{number:0length$}")).collect();
                let columns: [ArrayRef; 1] = [Arc::new(StringViewArray::from_iter_values(&column))];
                let (strings, mut ids, mut key) = (Strings::of(&columns).unwrap(), Vec::new(), Vec::new());
                if step % 2 == 0 {
                    let rows: Vec<u32> = (0..column.len() as u32).collect();
                    texts.ids(&mut pages, &strings, &rows, |_, row, id| ids.push((row, id)));
                } else {
                    for row in 0..column.len() {
                        strings.encode(row, &mut key);
                        ids.push((row, texts.id(&mut pages, hash_bytes(&key), &key)));
                    }
                }
                prop_assert_eq!(ids.len(), column.len());
                for (row, id) in ids {
                    let next = twin.len() as u32;
                    prop_assert_eq!(*twin.entry(column[row].clone()).or_insert(next), id);
                }
                let mut saved = Vec::new();
                texts.save(&mut saved);
                texts = Texts::load(&mut Saved::new(&saved), &pages);
            }
            prop_assert_eq!(texts.count(), twin.len());
            for (text, id) in twin {
                let key = [&[0], text.as_bytes()].concat();
                prop_assert_eq!(&*texts.value(&pages, id), &key);
                prop_assert_eq!(texts.hash(&pages, id), hash_bytes(&key));
            }
            texts.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }

    #[test]
    fn values_that_differ_in_trailing_zeros_are_two() {
        let (mut pages, mut texts) = (Pages::default(), Texts::default());
        let values: [&[u8]; 3] = [&[0, 1], &[0, 1, 0], &[0, 1, 0, 0]];
        // The same hash for all: the values alone tell them apart.
        let ids = values.map(|value| texts.id(&mut pages, 7, value));
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(values.map(|value| texts.id(&mut pages, 7, value)), ids);
    }
}
