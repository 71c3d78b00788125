//! Headers of structures as words: what a structure keeps outside of its pages, some ten words each, saved at a barrier.
//!
//! # Invariants
//!
//! 1. Words are read in the order in which they were saved, by the same build's code: a schema hash and a checksum stand before them.

/// Reads saved words one after the other.
#[derive(Debug)]
pub struct Saved<'a> {
    words: &'a [u64],
}

impl<'a> Saved<'a> {
    /// From the first word on.
    pub fn new(words: &'a [u64]) -> Self {
        Self { words }
    }

    /// The next word.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn word(&mut self) -> u64 {
        let (word, rest) = self.words.split_first().expect("a header is as long as it was saved");
        self.words = rest;
        *word
    }

    /// The next word as a signed number.
    pub fn signed(&mut self) -> i64 {
        self.word().cast_signed()
    }

    /// The next word as two halves, the low one first.
    pub fn pair(&mut self) -> (u32, u32) {
        let word = self.word();
        (word as u32, (word >> 32) as u32)
    }

    /// The next `count` words.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn words(&mut self, count: usize) -> &'a [u64] {
        let (words, rest) = self.words.split_at(count);
        self.words = rest;
        words
    }

    /// Whether all has been read.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}
