//! Keys and their slots in flat memory, each with the slice that it belongs to: found by one probe of an index that stays in the first
//! cache levels.
//!
//! ```text
//! index:   tag u32 (the mixed hash's low bits) │ slot + 1 u32        0: empty
//! keys:    hash, slice end, where the key lies                       bytes, one key after another
//! ```
//!
//! # Invariants
//!
//! 1. Slots are numbered from 0 in order of arrival.
//! 2. The index holds every key up to `indexed` once, all of them when one is looked up, and at most half of it is full.

use crate::batch::hash::equal_bytes;

/// Entries of the smallest index.
const INDEX_MIN: usize = 1024;

#[derive(Clone, Debug)]
struct Held {
    hash: u64,
    end_ms: i64,
    key_start: usize,
    key_end: usize,
}

/// Keys in slices.
#[derive(Clone, Debug)]
pub(super) struct KeyTable {
    index: Vec<u64>,
    /// How many keys the index holds.
    indexed: usize,
    held: Vec<Held>,
    bytes: Vec<u8>,
}

impl KeyTable {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { index: vec![0; INDEX_MIN], indexed: 0, held: Vec::new(), bytes: Vec::new() }
    }

    /// How many keys.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Bytes of all keys.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// A key with its hash, and the end of its slice.
    pub(super) fn get(&self, slot: u32) -> (u64, &[u8], i64) {
        let held = &self.held[slot as usize];
        (held.hash, &self.bytes[held.key_start..held.key_end], held.end_ms)
    }

    /// The slot of a key in a slice, made if need be.
    #[inline]
    pub(super) fn slot(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        if self.indexed < self.held.len() {
            self.index_all();
        }
        let mixed = mix(hash, end_ms);
        let mask = self.index.len() - 1;
        let mut bucket = mixed as usize & mask;
        loop {
            let entry = self.index[bucket];
            if entry == 0 {
                return self.insert(hash, end_ms, key);
            }
            if entry >> 32 == mixed & 0xffff_ffff {
                let slot = entry as u32 - 1;
                let held = &self.held[slot as usize];
                if held.hash == hash
                    && held.end_ms == end_ms
                    && equal_bytes(&self.bytes[held.key_start..held.key_end], key)
                {
                    return slot;
                }
            }
            bucket = (bucket + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        let slot = self.append(hash, end_ms, key);
        self.index_all();
        slot
    }

    /// A new slot for a key of which the caller knows that it has none in this slice.
    #[inline]
    pub(super) fn append(&mut self, hash: u64, end_ms: i64, key: &[u8]) -> u32 {
        let slot = self.held.len() as u32;
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.held.push(Held { hash, end_ms, key_start, key_end: self.bytes.len() });
        slot
    }

    /// Has the index hold every key.
    fn index_all(&mut self) {
        if self.held.len() * 2 > self.index.len() {
            self.index = vec![0; (self.held.len() * 2 + 1).next_power_of_two()];
            self.indexed = 0;
        }
        (self.indexed as u32..self.held.len() as u32).for_each(|slot| self.enter(slot));
        self.indexed = self.held.len();
    }

    /// Puts a key into the index.
    fn enter(&mut self, slot: u32) {
        let mixed = self.mixed(slot);
        let bucket = self.bucket_where(mixed, |entry| entry == 0);
        self.index[bucket] = mixed << 32 | u64::from(slot + 1);
    }

    fn mixed(&self, slot: u32) -> u64 {
        let held = &self.held[slot as usize];
        mix(held.hash, held.end_ms)
    }

    fn bucket_where(&self, mixed: u64, is_it: impl Fn(u64) -> bool) -> usize {
        let mask = self.index.len() - 1;
        let mut bucket = mixed as usize & mask;
        while !is_it(self.index[bucket]) {
            bucket = (bucket + 1) & mask;
        }
        bucket
    }

    /// Forgets all keys, keeping memory for what comes next. A few keys cost no sweep over an index that many made large.
    pub(super) fn clear(&mut self) {
        if self.indexed * 8 < self.index.len() {
            for slot in 0..self.indexed as u32 {
                let bucket = self.bucket_where(self.mixed(slot), |entry| entry as u32 == slot + 1);
                self.index[bucket] = 0;
            }
        } else {
            self.index.fill(0);
        }
        self.indexed = 0;
        self.held.clear();
        self.bytes.clear();
    }
}

/// Injective in `end_ms` for a given hash.
#[inline]
fn mix(hash: u64, end_ms: i64) -> u64 {
    hash.wrapping_add((end_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
