//! Records that have been taken out of the lists of their keys: copies, in the order in which they are read out.

use super::{HEADER_WORDS, KEY_WORDS, SHORT_BYTES_MAX};
use crate::batch::Packing;

/// Records that have been taken out, one behind the other as they lay.
#[derive(Debug, Default)]
pub struct Taken {
    pub(super) words: Vec<u64>,
    pub(super) stride: usize,
}

impl Taken {
    /// How many records.
    pub fn count(&self) -> usize {
        self.words.len() / self.stride
    }

    /// The own words of each record.
    pub fn each(&self) -> impl Iterator<Item = &[u64]> {
        self.words.chunks_exact(self.stride).map(|words| &words[HEADER_WORDS..])
    }

    /// Word `word` of each record.
    pub fn column(&self, word: usize) -> impl Iterator<Item = u64> {
        self.each().map(move |words| words[word])
    }

    /// The keys of the records, packed, if they are short, of one length, and all begin with 0: those of one column without NULLs.
    pub fn packed_keys(&self) -> Option<(Packing, Vec<u64>)> {
        let keys =
            || self.words.chunks_exact(self.stride).map(|words| [words[1], words[2], words[3]]);
        let length = (keys().next()?[KEY_WORDS - 1] >> 56) as usize;
        let suits = |[first, _, last]: [u64; KEY_WORDS]| {
            (last >> 56) as usize == length && first & 0xff == 0
        };
        if !(2..=SHORT_BYTES_MAX).contains(&length) || !keys().all(suits) {
            return None;
        }
        let packing = Packing { length, behind_zero: true };
        let mut packed = Vec::with_capacity(keys().len() * packing.words());
        for [first, second, third] in keys() {
            let words = [first >> 8 | second << 56, second >> 8 | third << 56, third << 8 >> 16];
            packed.extend_from_slice(&words[..packing.words()]);
        }
        Some((packing, packed))
    }

    /// A record's own words.
    #[inline]
    pub fn words(&self, at: usize) -> &[u64] {
        &self.words[at * self.stride + HEADER_WORDS..(at + 1) * self.stride]
    }

    /// A record's own words, to change.
    #[inline]
    pub fn words_mut(&mut self, at: usize) -> &mut [u64] {
        &mut self.words[at * self.stride + HEADER_WORDS..(at + 1) * self.stride]
    }
}
