//! Sets of ids in blocks: for each set and each run of 65,536 ids a block, as roaring bitmaps have them, in pages.
//!
//! A block of few ids is a sorted array, one of many a bitset; both are changed in place, a few words at a time, so that
//! a snapshot writes what changed and opening reads nothing. (Chambi et al., "Better bitmap performance with Roaring bitmaps", 2016.)
//!
//! # Layout
//!
//! ```text
//! heads:   first block's slot + 1, a word a set
//! block:   key: set u32, high half of the ids u32 │ count u32, high u16, kind u16 │ array (heap) or bitset (half page) │ next block's slot + 1
//! bitset:  1024 words, half a page; a free one: next free one + 1
//! ```
//!
//! # Invariants
//!
//! 1. A block of at most [`ARRAY_MAX`] ids is an array, ascending, without duplicates; a larger one is a bitset.
//! 2. Every block is in the table and in its set's list.

use super::array::Array;
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::saved::Saved;
use super::table::Table;
use crate::batch::hash::hash_bytes;

/// Ids that an array holds at most: they fill a heap block of 1024 words.
const ARRAY_MAX: usize = 4092;
/// Words of a bitset.
const BITSET_WORDS: usize = 1024;
/// The words of a block in the table.
const BLOCK_WORDS: usize = 3;
const META: usize = 0;
const BODY: usize = 1;
const NEXT: usize = 2;
/// The kind of a bitset.
const IS_BITSET: u64 = 1 << 48;

/// Many sets of ids.
#[derive(Debug)]
pub(super) struct Blocks {
    table: Table,
    heads: Array,
    set_count: u32,
    bitsets: Array,
    bitset_count: u32,
    /// The first free bitset + 1; 0: none.
    free_bitset: u32,
    /// Ids in all sets.
    id_count: u64,
    merged: Vec<u16>,
}

impl Default for Blocks {
    fn default() -> Self {
        Self {
            table: Table::new(BLOCK_WORDS),
            heads: Array::default(),
            set_count: 0,
            bitsets: Array::default(),
            bitset_count: 0,
            free_bitset: 0,
            id_count: 0,
            merged: Vec::new(),
        }
    }
}

fn key(set: u32, high: u16) -> [u8; 8] {
    (u64::from(set) | u64::from(high) << 32).to_le_bytes()
}

impl Blocks {
    /// The sets that were saved.
    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let table = Table::load(BLOCK_WORDS, saved, pages);
        let (heads, bitsets) = (Array::load(saved, pages), Array::load(saved, pages));
        let (set_count, _) = saved.pair();
        let (bitset_count, free_bitset) = saved.pair();
        let id_count = saved.word();
        Self {
            table,
            heads,
            set_count,
            bitsets,
            bitset_count,
            free_bitset,
            id_count,
            merged: Vec::new(),
        }
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.table.save(out);
        self.heads.save(out);
        self.bitsets.save(out);
        out.push(u64::from(self.set_count));
        out.push(u64::from(self.bitset_count) | u64::from(self.free_bitset) << 32);
        out.push(self.id_count);
    }

    /// How many sets there are; they are numbered from 0.
    pub(super) fn set_count(&self) -> u32 {
        self.set_count
    }

    /// Ids in all sets.
    pub(super) fn id_count(&self) -> u64 {
        self.id_count
    }

    /// Makes sure that there are `count` sets.
    pub(super) fn ensure(&mut self, pages: &mut Pages, count: u32) {
        self.set_count = self.set_count.max(count);
        while self.heads.len() * PAGE_WORDS < self.set_count as usize {
            self.heads.push(pages);
        }
    }

    fn head(&self, set: u32) -> (PageId, usize) {
        (self.heads.page(set as usize / PAGE_WORDS), set as usize % PAGE_WORDS)
    }

    /// Adds ids to a set, ascending and without duplicates, and calls `added` with those that are new there.
    pub(super) fn insert(
        &mut self,
        pages: &mut Pages,
        set: u32,
        mut ids: &[u32],
        mut added: impl FnMut(u32),
    ) {
        let mut lows = Vec::new();
        while let Some(&first) = ids.first() {
            let high = (first >> 16) as u16;
            let (run, rest) = ids.split_at(ids.partition_point(|&id| (id >> 16) as u16 == high));
            ids = rest;
            lows.clear();
            lows.extend(run.iter().map(|&id| id as u16));
            let base = u32::from(high) << 16;
            self.insert_lows(pages, set, high, &lows, &mut |low| added(base | u32::from(low)));
        }
    }

    fn insert_lows(
        &mut self,
        pages: &mut Pages,
        set: u32,
        high: u16,
        lows: &[u16],
        added: &mut dyn FnMut(u16),
    ) {
        let block = self.block(pages, set, high);
        let words = self.table.words(pages, block);
        let (meta, body) = (words[META], words[BODY]);
        let before = meta as u32;
        let (count, body, kind) = match meta & IS_BITSET {
            0 => self.insert_in_array(pages, body, lows, added),
            _ => (before + self.insert_in_bitset(pages, body as u32, lows, added), body, IS_BITSET),
        };
        if count != before {
            self.id_count += u64::from(count - before);
            let words = self.table.words_mut(pages, block);
            words[META] = u64::from(count) | u64::from(high) << 32 | kind;
            words[BODY] = body;
        }
    }

    /// The slot of a block, made if need be.
    fn block(&mut self, pages: &mut Pages, set: u32, high: u16) -> u32 {
        let key = key(set, high);
        let (block, made) = self.table.upsert(pages, hash_bytes(&key), &key);
        if made {
            let (page, at) = self.head(set);
            let next = std::mem::replace(pages.word_mut(page, at), u64::from(block) + 1);
            let words = self.table.words_mut(pages, block);
            (words[META], words[NEXT]) = (u64::from(high) << 32, next);
        }
        block
    }

    /// The count, the body and the kind of an array's block after `lows` have come.
    fn insert_in_array(
        &mut self,
        pages: &mut Pages,
        blob: u64,
        lows: &[u16],
        added: &mut dyn FnMut(u16),
    ) -> (u32, u64, u64) {
        let held: &[u16] = match blob {
            0 => &[],
            blob => bytemuck::cast_slice(self.table.heap().get(pages, blob)),
        };
        let (count, is_behind) = (held.len(), held.last() < lows.first());
        if is_behind && count + lows.len() <= ARRAY_MAX {
            lows.iter().for_each(|&low| added(low));
            let body = self.table.heap_mut().append(pages, blob, bytemuck::cast_slice(lows));
            return ((count + lows.len()) as u32, body, 0);
        }
        let mut merged = std::mem::take(&mut self.merged);
        merge(held, lows, &mut merged, added);
        let result = if merged.len() == count {
            (count as u32, blob, 0)
        } else if merged.len() <= ARRAY_MAX {
            let bytes = bytemuck::cast_slice(&merged);
            (merged.len() as u32, self.table.heap_mut().replace(pages, blob, bytes), 0)
        } else {
            if blob != 0 {
                self.table.heap_mut().remove(pages, blob);
            }
            let bitset = self.new_bitset(pages);
            self.insert_in_bitset(pages, bitset, &merged, &mut |_| {});
            (merged.len() as u32, u64::from(bitset), IS_BITSET)
        };
        self.merged = merged;
        result
    }

    /// Sets bits; how many were not set before.
    fn insert_in_bitset(
        &mut self,
        pages: &mut Pages,
        bitset: u32,
        lows: &[u16],
        added: &mut dyn FnMut(u16),
    ) -> u32 {
        let (page, start) = self.bitset(bitset);
        let mut new_count = 0;
        for &low in lows {
            let at = start + usize::from(low) / 64;
            let bit = 1 << (low % 64);
            if pages.get(page)[at] & bit == 0 {
                *pages.word_mut(page, at) |= bit;
                new_count += 1;
                added(low);
            }
        }
        new_count
    }

    fn bitset(&self, bitset: u32) -> (PageId, usize) {
        (self.bitsets.page(bitset as usize / 2), bitset as usize % 2 * BITSET_WORDS)
    }

    fn new_bitset(&mut self, pages: &mut Pages) -> u32 {
        if self.free_bitset != 0 {
            let bitset = self.free_bitset - 1;
            let (page, start) = self.bitset(bitset);
            self.free_bitset = std::mem::take(pages.word_mut(page, start)) as u32;
            return bitset;
        }
        let bitset = self.bitset_count;
        self.bitset_count += 1;
        if bitset as usize / 2 == self.bitsets.len() {
            self.bitsets.push(pages);
        }
        bitset
    }

    /// The blocks of a set, by the ids in them, ascending.
    fn blocks(&self, pages: &Pages, set: u32) -> Vec<u32> {
        let (page, at) = self.head(set);
        let mut next = pages.get(page)[at];
        let mut blocks = Vec::new();
        while next != 0 {
            let block = next as u32 - 1;
            blocks.push(block);
            next = self.table.words(pages, block)[NEXT];
        }
        blocks.sort_unstable_by_key(|&block| self.table.words(pages, block)[META] >> 32 & 0xffff);
        blocks
    }

    /// The ids in a set, ascending.
    pub(super) fn ids(&self, pages: &Pages, set: u32) -> Vec<u32> {
        let mut ids = Vec::new();
        for block in self.blocks(pages, set) {
            let words = self.table.words(pages, block);
            let base = ((words[META] >> 32) as u32 & 0xffff) << 16;
            if words[META] & IS_BITSET == 0 {
                let lows: &[u16] = bytemuck::cast_slice(self.table.heap().get(pages, words[BODY]));
                ids.extend(lows.iter().map(|&low| base | u32::from(low)));
                continue;
            }
            let (page, start) = self.bitset(words[BODY] as u32);
            for (index, &word) in pages.get(page)[start..start + BITSET_WORDS].iter().enumerate() {
                let mut rest = word;
                while rest != 0 {
                    ids.push(base | (index as u32 * 64 + rest.trailing_zeros()));
                    rest &= rest - 1;
                }
            }
        }
        ids
    }

    /// Empties a set.
    pub(super) fn clear(&mut self, pages: &mut Pages, set: u32) {
        for block in self.blocks(pages, set) {
            let words = self.table.words(pages, block);
            let (meta, body) = (words[META], words[BODY]);
            self.id_count -= u64::from(meta as u32);
            if meta & IS_BITSET == 0 {
                self.table.heap_mut().remove(pages, body);
            } else {
                let (page, start) = self.bitset(body as u32);
                let words = pages.words_mut(page, start, BITSET_WORDS);
                words.fill(0);
                words[0] = u64::from(self.free_bitset);
                self.free_bitset = body as u32 + 1;
            }
            self.table.remove(pages, block);
        }
        self.forget(pages, set);
    }

    /// Hands all ids of a set to one that has none, a block at a time, whatever is in it.
    pub(super) fn hand_over(&mut self, pages: &mut Pages, from: u32, to: u32) {
        for old in self.blocks(pages, from) {
            let words = self.table.words(pages, old);
            let (meta, body) = (words[META], words[BODY]);
            self.table.remove(pages, old);
            let block = self.block(pages, to, (meta >> 32) as u16);
            let words = self.table.words_mut(pages, block);
            (words[META], words[BODY]) = (meta, body);
        }
        self.forget(pages, from);
    }

    /// Nothing leads from a set to blocks any more.
    fn forget(&mut self, pages: &mut Pages, set: u32) {
        let (page, at) = self.head(set);
        if pages.get(page)[at] != 0 {
            *pages.word_mut(page, at) = 0;
        }
    }

    /// Frees everything.
    pub(super) fn release(mut self, pages: &mut Pages) {
        self.table.release(pages);
        self.heads.release(pages);
        self.bitsets.release(pages);
    }
}

/// Merges two ascending runs into `merged`, which is overwritten, and calls `added` with what only `lows` has.
fn merge(held: &[u16], lows: &[u16], merged: &mut Vec<u16>, added: &mut dyn FnMut(u16)) {
    merged.clear();
    let mut rest = held;
    for &low in lows {
        let before = rest.partition_point(|&held| held < low);
        merged.extend_from_slice(&rest[..before]);
        rest = &rest[before..];
        if rest.first() == Some(&low) {
            rest = &rest[1..];
        } else {
            added(low);
        }
        merged.push(low);
    }
    merged.extend_from_slice(rest);
}
