//! Accumulators in flat memory, by slot: those of a chunk's groups before they leave, of a part of a window's keys, and of
//! sessions in bulk.
//!
//! # Invariants
//!
//! 1. `words` holds `word_count` words for each slot; a new slot's are zeros.

use rkyv::util::AlignedVec;

use crate::agg::Slots;

/// The accumulators of some groups.
#[derive(Clone, Debug)]
pub(super) struct Accumulators {
    word_count: usize,
    words: Vec<u64>,
    blobs: Vec<AlignedVec>,
    blob_bytes: usize,
}

impl Accumulators {
    /// None yet, of `word_count` words each.
    pub(super) fn new(word_count: usize) -> Self {
        Self { word_count, words: Vec::new(), blobs: Vec::new(), blob_bytes: 0 }
    }

    /// Sees to it that there are `count`.
    #[inline]
    pub(super) fn grow_to(&mut self, count: usize) {
        self.words.resize(count * self.word_count, 0);
    }

    /// Keeps those at `slots`, which rise: they become the first. Which of their words refer to bytes is in `blob_words`.
    pub(super) fn keep(&mut self, slots: &[u32], blob_words: impl Iterator<Item = usize> + Clone) {
        let width = self.word_count;
        for (at, from) in slots.iter().map(|&slot| slot as usize * width).enumerate() {
            self.words.copy_within(from..from + width, at * width);
        }
        self.words.truncate(slots.len() * width);
        if self.blobs.is_empty() {
            return;
        }
        let mut blobs = std::mem::take(&mut self.blobs);
        for words in self.words.chunks_exact_mut(width) {
            for word in blob_words.clone() {
                if words[word] == 0 {
                    continue;
                }
                self.blobs.push(std::mem::take(&mut blobs[words[word] as usize - 1]));
                words[word] = self.blobs.len() as u64;
            }
        }
        self.blob_bytes = self.blobs.iter().map(AlignedVec::len).sum();
    }

    /// Adds one that is that of `from` at `slot`. Which of their words refer to bytes is in `blob_words`.
    pub(super) fn append(&mut self, from: &Self, slot: u32, blob_words: &[usize]) {
        let at = self.words.len();
        self.words.extend_from_slice(from.words(slot));
        for &word in blob_words {
            let blob = self.words[at + word];
            if blob != 0 {
                self.words[at + word] = self.new_aligned(from.blob(blob));
            }
        }
    }

    /// Bytes that they take, or little more.
    pub(super) fn bytes(&self) -> usize {
        self.words.len() * 8 + self.blob_bytes
    }

    /// Forgets all, keeping memory for what comes next.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.blobs.clear();
        self.blob_bytes = 0;
    }

    fn blob_at(&mut self, blob: u64) -> &mut AlignedVec {
        &mut self.blobs[blob as usize - 1]
    }
}

impl Slots for Accumulators {
    #[inline]
    fn each<'a, const WORDS: usize>(
        &'a self,
        slots: &'a [u32],
        offset: usize,
    ) -> impl Iterator<Item = &'a [u64; WORDS]> {
        let at = move |slot: u32| slot as usize * self.word_count + offset;
        let part = move |&slot: &u32| self.words[at(slot)..].first_chunk();
        slots.iter().map(move |slot| part(slot).expect("a part of a slot"))
    }

    #[inline]
    fn words(&self, slot: u32) -> &[u64] {
        &self.words[slot as usize * self.word_count..][..self.word_count]
    }

    #[inline]
    fn words_mut(&mut self, slot: u32) -> &mut [u64] {
        &mut self.words[slot as usize * self.word_count..][..self.word_count]
    }

    #[inline]
    fn part_mut<const WORDS: usize>(&mut self, slot: u32, offset: usize) -> &mut [u64; WORDS] {
        let part = self.words[slot as usize * self.word_count + offset..].first_chunk_mut();
        part.expect("a part of a slot")
    }

    fn blob(&self, blob: u64) -> &[u8] {
        &self.blobs[blob as usize - 1]
    }

    fn blob_mut(&mut self, blob: u64) -> &mut [u8] {
        self.blob_at(blob)
    }

    fn new_aligned(&mut self, bytes: &[u8]) -> u64 {
        // One that holds nothing yet must have its place all the same: only memory is aligned.
        self.blobs.push(AlignedVec::with_capacity(bytes.len().max(AlignedVec::<16>::ALIGNMENT)));
        self.append_blob(self.blobs.len() as u64, bytes)
    }

    fn put_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        if blob == 0 {
            return self.new_aligned(bytes);
        }
        self.blob_bytes -= self.blob_at(blob).len();
        self.blob_at(blob).clear();
        self.append_blob(blob, bytes)
    }

    fn append_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        if blob == 0 {
            return self.new_aligned(bytes);
        }
        self.blob_at(blob).extend_from_slice(bytes);
        self.blob_bytes += bytes.len();
        blob
    }
}
