//! A dictionary of values: each gets an id, dense from 0 in order of first arrival.
//!
//! Values are bytes, as keys are encoded. Most are of one fixed-width column, numbers of devices or of orders; then a value is a word.
//! Others are short texts ([`Texts`]). The entry of either in the index holds it itself, so that a look-up waits for memory once.
//!
//! A dictionary *in order* knows when each value came. There an entry is a value of one set: were entries shared, one set's order would show
//! in another's, and so which groups share a shard.
//!
//! # Layout
//!
//! ```text
//! of words:  index entry:  value │ id + 1, 0: empty      values: a word an id
//! of bytes:  see there
//! in order:  a table whose slots are the ids; keys begin with the set, slots have a word: how many entries came before
//! ```
//!
//! # Invariants
//!
//! 1. An id never changes its value. In order, ids are ended with their set, and their numbers used again.

use std::ops::Deref;

use super::array::Array;
use super::pages::{PAGE_WORDS, Pages};
use super::pairs::{PairRoom, set_of};
use super::probed::Probed;
use super::saved::Saved;
use super::table::Table;
use super::texts::Texts;
use crate::batch::ShortKey;
use crate::batch::hash::{hash_bytes, hash_with};

/// How many rows lie between the hint for an entry and its look-up.
pub(super) const AHEAD_ROWS: usize = 16;

/// What values a dictionary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Of one column that is not NULL and has a fixed width, up to 8 bytes.
    Words(usize),
    /// Of anything else.
    Bytes,
    /// Of anything, in the order in which they come.
    InOrder,
}

/// Values and their ids. Dropping it without [`Dictionary::release`] leaks its pages until the space goes.
#[derive(Debug)]
pub(super) enum Dictionary {
    /// Of one fixed-width column.
    Words(Words),
    /// Of anything else.
    Bytes(Texts),
    /// In order.
    InOrder(Entries),
}

/// The bytes of a value.
#[derive(Debug)]
pub enum Value<'a> {
    /// Where they lie.
    Lying(&'a [u8]),
    /// Made of a word; so many count.
    Made([u8; ShortKey::BYTES_MAX], usize),
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Value::Lying(bytes) => bytes,
            Value::Made(bytes, length) => &bytes[..*length],
        }
    }
}

impl Dictionary {
    /// An empty one.
    pub(super) fn new(values: Values) -> Self {
        match values {
            Values::Words(width) => Dictionary::Words(Words::new(width)),
            Values::Bytes => Dictionary::Bytes(Texts::default()),
            Values::InOrder => Dictionary::InOrder(Entries::of(Table::new(1), 0)),
        }
    }

    /// The one that was saved.
    pub(super) fn load(values: Values, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        match values {
            Values::Words(width) => Dictionary::Words(Words::load(width, saved, pages)),
            Values::Bytes => Dictionary::Bytes(Texts::load(saved, pages)),
            Values::InOrder => {
                let table = Table::load(1, saved, pages);
                Dictionary::InOrder(Entries::of(table, saved.word()))
            }
        }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        match self {
            Dictionary::Words(words) => words.save(out),
            Dictionary::Bytes(texts) => texts.save(out),
            Dictionary::InOrder(entries) => {
                entries.table.save(out);
                out.push(entries.arrivals);
            }
        }
    }

    /// An empty one for the same values.
    pub(super) fn fresh(&self) -> Self {
        Self::new(match self {
            Dictionary::Words(words) => Values::Words(words.width),
            Dictionary::Bytes(_) => Values::Bytes,
            Dictionary::InOrder(_) => Values::InOrder,
        })
    }

    /// How many values it knows.
    pub(super) fn count(&self) -> usize {
        match self {
            Dictionary::Words(words) => words.entries.count() as usize,
            Dictionary::Bytes(texts) => texts.count(),
            Dictionary::InOrder(entries) => entries.table.count(),
        }
    }

    /// Whether it knows when values came.
    #[inline]
    pub(super) fn is_in_order(&self) -> bool {
        matches!(self, Dictionary::InOrder(_))
    }

    /// The id of a value, given if need be; in order, of a value of this set.
    #[inline]
    pub(super) fn id(&mut self, pages: &mut Pages, set: u32, hash: u64, value: &[u8]) -> u32 {
        match self {
            Dictionary::Words(words) => words.id(pages, words.word_of(value)),
            Dictionary::Bytes(texts) => texts.id(pages, hash, value),
            Dictionary::InOrder(entries) => entries.id(pages, set, hash, value),
        }
    }

    /// In order, what sorts values as they came.
    ///
    /// # Panics
    ///
    /// If it is not in order.
    pub(super) fn arrival(&self, pages: &Pages, id: u32) -> u64 {
        let Dictionary::InOrder(entries) = self else {
            unreachable!("nobody noted when they came")
        };
        entries.table.words(pages, id)[0]
    }

    /// In order, ends an id.
    ///
    /// # Panics
    ///
    /// If it is not in order: others share their ids.
    pub(super) fn remove(&mut self, pages: &mut Pages, id: u32) {
        let Dictionary::InOrder(entries) = self else { unreachable!("ids are shared") };
        entries.table.remove(pages, id);
    }

    /// The bytes of a value.
    pub(super) fn value<'a>(&self, pages: &'a Pages, id: u32) -> Value<'a> {
        match self {
            Dictionary::Words(words) => words.value(pages, id),
            Dictionary::Bytes(texts) => texts.value(pages, id),
            Dictionary::InOrder(entries) => {
                Value::Lying(&entries.table.key(pages, id)[SET_BYTES..])
            }
        }
    }

    /// The hash of a value.
    pub(super) fn hash(&self, pages: &Pages, id: u32) -> u64 {
        match self {
            Dictionary::Words(words) => hash_bytes(&words.value(pages, id)),
            Dictionary::Bytes(texts) => texts.hash(pages, id),
            Dictionary::InOrder(Entries { table, .. }) => {
                let set =
                    table.key(pages, id).first_chunk().expect("a set stands before the value");
                table.hash(pages, id) ^ salt(u32::from_le_bytes(*set))
            }
        }
    }

    /// Frees all pages.
    pub(super) fn release(self, pages: &mut Pages) {
        match self {
            Dictionary::Words(words) => words.release(pages),
            Dictionary::Bytes(texts) => texts.release(pages),
            Dictionary::InOrder(entries) => entries.table.release(pages),
        }
    }
}

/// What tells the hashes of one set's entries from another's.
fn salt(set: u32) -> u64 {
    (u64::from(set) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Bytes of the set before the value in an entry's key.
const SET_BYTES: usize = size_of::<u32>();

/// Values of sets, and when they came.
#[derive(Debug)]
pub(super) struct Entries {
    table: Table,
    /// How many there have been.
    arrivals: u64,
    /// Room for an entry's key.
    key: Vec<u8>,
}

impl Entries {
    fn of(table: Table, arrivals: u64) -> Self {
        Self { table, arrivals, key: Vec::new() }
    }

    fn id(&mut self, pages: &mut Pages, set: u32, hash: u64, value: &[u8]) -> u32 {
        self.key.clear();
        self.key.extend_from_slice(&set.to_le_bytes());
        self.key.extend_from_slice(value);
        let (id, made) = self.table.upsert(pages, hash ^ salt(set), &self.key);
        if made {
            self.table.words_mut(pages, id)[0] = self.arrivals;
            self.arrivals += 1;
        }
        id
    }
}

/// The bits of a word that a value of so many bytes has.
pub(super) fn word_bits(width: usize) -> u64 {
    u64::MAX >> (64 - 8 * width)
}

/// A dictionary of words.
#[derive(Debug)]
pub(super) struct Words {
    /// Bytes of a value.
    width: usize,
    entries: Probed<2>,
    values: Array,
}

impl Words {
    fn new(width: usize) -> Self {
        assert!((1..=8).contains(&width));
        Self { width, entries: Probed::default(), values: Array::default() }
    }

    fn load(width: usize, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let entries = Probed::load(saved, pages);
        Self { entries, values: Array::load(saved, pages), ..Self::new(width) }
    }

    fn save(&self, out: &mut Vec<u64>) {
        self.entries.save(out);
        self.values.save(out);
    }

    /// The word of a value's bytes: behind the mark of NULL, which no value is.
    #[inline]
    pub(super) fn word_of(&self, value: &[u8]) -> u64 {
        debug_assert_eq!((value[0], value.len()), (0, self.width + 1));
        let mut bytes = [0; 8];
        bytes[..self.width].copy_from_slice(&value[1..]);
        u64::from_le_bytes(bytes)
    }

    fn value(&self, pages: &Pages, id: u32) -> Value<'static> {
        let at = id as usize;
        let word = pages.get(self.values.page(at / PAGE_WORDS))[at % PAGE_WORDS];
        let mut bytes = [0; ShortKey::BYTES_MAX];
        bytes[1..9].copy_from_slice(&word.to_le_bytes());
        Value::Made(bytes, self.width + 1)
    }

    /// The bits of a word that a value has.
    pub(super) fn bits(&self) -> u64 {
        word_bits(self.width)
    }

    /// Calls `to` with the set of each pair in `room`, and the id of its value, given if need be. They are sorted by where the index has
    /// them, so that a look-up finds in the cache what it would wait for otherwise.
    pub(super) fn number(
        &mut self,
        pages: &mut Pages,
        room: &mut PairRoom<2>,
        mut to: impl FnMut(u32, u32),
    ) {
        let PairRoom { pairs, parted, .. } = room;
        let mut rest = &pairs[..];
        while !rest.is_empty() {
            self.entries.first_by_place(rest, parted, |pair| hash_with(0, pair[0]));
            for (index, pair) in parted.iter().enumerate() {
                if let Some(&[ahead, _]) = parted.get(index + AHEAD_ROWS) {
                    self.entries.prefetch(pages, hash_with(0, ahead));
                }
                to(set_of(pair), self.id(pages, pair[0]));
            }
            rest = &rest[parted.len()..];
        }
    }

    #[inline]
    fn id(&mut self, pages: &mut Pages, word: u64) -> u32 {
        self.entries.make_place(pages, |entry| hash_with(0, entry[0]), |_, _, _| {});
        let found = self.entries.find(pages, hash_with(0, word), |entry| entry[0] == word);
        found.unwrap_or_else(|bucket| self.insert(pages, bucket, word))
    }

    fn insert(&mut self, pages: &mut Pages, bucket: usize, word: u64) -> u32 {
        let id = self.entries.count();
        let index = id as usize;
        if index / PAGE_WORDS == self.values.len() {
            self.values.push(pages);
        }
        *pages.word_mut(self.values.page(index / PAGE_WORDS), index % PAGE_WORDS) = word;
        self.entries.insert(pages, bucket, [word, u64::from(id) + 1]);
        id
    }

    fn release(mut self, pages: &mut Pages) {
        self.entries.release(pages);
        self.values.release(pages);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map, one value or many at a time, saved and loaded on the way; a value is its column's bytes.
        #[test]
        fn ids_are_those_of_a_map(
            width in 1..=8usize,
            steps in prop::collection::vec(prop::collection::vec(any::<i32>(), 0..1500), 1..6),
            spread in 0..3u32,
        ) {
            let (mut pages, mut dictionary) = (Pages::default(), Dictionary::new(Values::Words(width)));
            let mut twin: HashMap<u64, u32> = HashMap::new();
            let bits = u64::MAX >> (64 - 8 * width);
            for (step, numbers) in steps.into_iter().enumerate() {
                let numbers: Vec<i64> = numbers.iter().map(|&number| i64::from(number >> (spread * 10))).collect();
                let mut ids = Vec::new();
                if step % 2 == 0 {
                    let Dictionary::Words(words) = &mut dictionary else { unreachable!() };
                    let mut room = PairRoom::default();
                    room.pairs.extend((0..).zip(&numbers).map(|(row, &number)| [number.cast_unsigned() & bits, row]));
                    let mut by_row = vec![0; numbers.len()];
                    words.number(&mut pages, &mut room, |row, id| by_row[row as usize] = id);
                    ids.extend(by_row);
                } else {
                    for number in &numbers {
                        let mut value = vec![0];
                        value.extend_from_slice(&number.to_le_bytes()[..width]);
                        ids.push(dictionary.id(&mut pages, 0, hash_bytes(&value), &value));
                    }
                }
                for (number, id) in numbers.iter().zip(ids) {
                    let next = twin.len() as u32;
                    prop_assert_eq!(*twin.entry(number.cast_unsigned() & bits).or_insert(next), id);
                }
                let mut saved = Vec::new();
                dictionary.save(&mut saved);
                dictionary = Dictionary::load(Values::Words(width), &mut Saved::new(&saved), &pages);
            }
            prop_assert_eq!(dictionary.count(), twin.len());
            for (word, id) in twin {
                let value = dictionary.value(&pages, id);
                let mut expected = vec![0];
                expected.extend_from_slice(&word.to_le_bytes()[..width]);
                prop_assert_eq!(&*value, &expected);
                prop_assert_eq!(dictionary.hash(&pages, id), hash_bytes(&expected));
            }
            dictionary.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }
}
