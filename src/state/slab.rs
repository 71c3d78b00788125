//! Memory for pages' buffers: slabs as large as a huge page, cut into blocks.
//!
//! Most state is read and written all over, so that with pages of 4 KiB nearly every access first misses the address cache, and each new
//! buffer enters the kernel four times. Such a slab asks the kernel for one huge page; where it gives none, nothing else changes.
//! What is written and read from one end to the other gains nothing by that, and in a virtual machine a fresh huge page may be dear: its
//! host may have to find the memory first. A slab goes back when all its blocks are free.
//!
//! # Invariants
//!
//! 1. A slab is [`SLAB_BYTES`] long and begins at a multiple of that, so a block's address tells its slab.
//! 2. A block is given out once until it is given back; the map of slabs has those that exist, each with its free blocks.
//! 3. `with_room` has the slabs that have free blocks.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::sys::memory::{populate, prefer_huge_pages};

/// Bytes of a slab: a huge page.
const SLAB_BYTES: usize = 2 << 20;
/// So many blocks of small pages get their memory from the kernel at once: they fit the second cache.
const POPULATED_BLOCKS: usize = 8;
/// Slabs that are kept though nothing in them is in use: a window with a million groups leaves and takes as much again and again.
const SPARE_SLABS: usize = 16;

/// Blocks of one size. The memory behind it lives as long as a block of its slab is out.
#[derive(Debug)]
pub(super) struct Slabs {
    block_bytes: usize,
    prefers_huge_pages: bool,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// By a slab's address: the places of its free blocks.
    slabs: BTreeMap<usize, Vec<u16>>,
    with_room: BTreeSet<usize>,
    spare_count: usize,
}

impl Slabs {
    /// Blocks of `block_bytes`, a multiple of 64, none of which has memory yet.
    pub(super) const fn new(block_bytes: usize, prefers_huge_pages: bool) -> Self {
        assert!(block_bytes.is_multiple_of(64) && block_bytes <= SLAB_BYTES);
        let held = Held { slabs: BTreeMap::new(), with_room: BTreeSet::new(), spare_count: 0 };
        Self { block_bytes, prefers_huge_pages, held: Mutex::new(held) }
    }

    fn blocks_in_slab(&self) -> usize {
        SLAB_BYTES / self.block_bytes
    }

    /// A block, of whatever was in it, aligned to 64 bytes.
    pub(super) fn take(&self) -> *mut u8 {
        let block = self.take_free();
        if !self.prefers_huge_pages {
            self.populate(block);
        }
        block
    }

    fn take_free(&self) -> *mut u8 {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        // The lowest first, so that the highest become empty.
        let base = match held.with_room.first() {
            Some(&base) => base,
            None => {
                let base = new_slab(self.prefers_huge_pages).expose_provenance();
                held.slabs.insert(base, (0..self.blocks_in_slab() as u16).rev().collect());
                held.with_room.insert(base);
                held.spare_count += 1;
                base
            }
        };
        let free = held.slabs.get_mut(&base).expect("invariant 3");
        if free.len() == self.blocks_in_slab() {
            held.spare_count -= 1;
        }
        let place = free.pop().expect("invariant 3");
        if free.is_empty() {
            held.with_room.remove(&base);
        }
        std::ptr::with_exposed_provenance_mut(base + usize::from(place) * self.block_bytes)
    }

    /// Has the kernel give memory to a block and those behind it, if it is the first of so many. Where they have some it only looks.
    fn populate(&self, block: *mut u8) {
        let place = (block.addr() & (SLAB_BYTES - 1)) / self.block_bytes;
        let count = (self.blocks_in_slab() - place).min(POPULATED_BLOCKS);
        if place.is_multiple_of(POPULATED_BLOCKS) {
            // SAFETY: so many blocks lie in the slab from this one on.
            unsafe { populate(block, count * self.block_bytes) };
        }
    }

    /// Gives back a block.
    ///
    /// # Safety
    ///
    /// It was taken here, and nothing refers to it any more.
    pub(super) unsafe fn give_back(&self, block: *mut u8) {
        let base = block.addr() & !(SLAB_BYTES - 1);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = &mut *held;
        let free = held.slabs.get_mut(&base).expect("a block lies in a slab");
        free.push(((block.addr() - base) / self.block_bytes) as u16);
        held.with_room.insert(base);
        if free.len() < self.blocks_in_slab() {
            return;
        }
        held.spare_count += 1;
        if held.spare_count > SPARE_SLABS {
            held.spare_count -= 1;
            held.slabs.remove(&base);
            held.with_room.remove(&base);
            // SAFETY: invariants 1 and 2: it was allocated with this layout, and none of its blocks is out.
            unsafe { dealloc(std::ptr::with_exposed_provenance_mut(base), layout()) };
        }
    }
}

fn layout() -> Layout {
    Layout::from_size_align(SLAB_BYTES, SLAB_BYTES).expect("a power of two")
}

fn new_slab(prefers_huge_pages: bool) -> *mut u8 {
    // SAFETY: the layout's size is not zero.
    let slab = unsafe { alloc(layout()) };
    if slab.is_null() {
        handle_alloc_error(layout());
    }
    if prefers_huge_pages {
        // SAFETY: it was allocated above.
        unsafe { prefer_huge_pages(slab, SLAB_BYTES) };
    }
    slab
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several threads take, fill, check and give back; nobody else's bytes are ever seen, and memory goes back in the end.
    fn check_blocks(prefers_huge_pages: bool) {
        const BLOCK: usize = 16_896;
        let slabs = Slabs::new(BLOCK, prefers_huge_pages);
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let slabs = &slabs;
                scope.spawn(move || {
                    let mut random = crate::sys::random::Random::new(u64::from(thread));
                    let mut mine: Vec<(usize, u8)> = Vec::new();
                    for step in 0..20_000u32 {
                        let fill = (step as u8) << 2 | thread;
                        let grows = random.below(100) < if step < 12_000 { 55 } else { 30 };
                        if mine.is_empty() || grows {
                            let block = slabs.take();
                            assert!(block.addr().is_multiple_of(64));
                            // SAFETY: the block is ours alone and so long.
                            unsafe { block.write_bytes(fill, BLOCK) };
                            mine.push((block.expose_provenance(), fill));
                        } else {
                            let at = random.below(mine.len() as u64) as usize;
                            check_and_give_back(slabs, mine.swap_remove(at), BLOCK);
                        }
                    }
                    mine.into_iter().for_each(|block| check_and_give_back(slabs, block, BLOCK));
                });
            }
        });
        let held = slabs.held.lock().unwrap();
        assert!(held.slabs.len() <= SPARE_SLABS && held.spare_count == held.slabs.len());
        assert!(held.slabs.values().all(|free| free.len() == slabs.blocks_in_slab()));
        for &base in held.slabs.keys() {
            // SAFETY: nothing is out; the test ends.
            unsafe { dealloc(std::ptr::with_exposed_provenance_mut(base), layout()) };
        }
    }

    #[test]
    fn blocks_are_ones_own() {
        check_blocks(true);
        check_blocks(false);
    }

    fn check_and_give_back(slabs: &Slabs, (block, fill): (usize, u8), length: usize) {
        let block: *mut u8 = std::ptr::with_exposed_provenance_mut(block);
        // SAFETY: the block is ours and was filled when it was taken.
        let bytes = unsafe { std::slice::from_raw_parts(block, length) };
        assert!(bytes[0] == fill && bytes[length / 2] == fill && bytes[length - 1] == fill);
        // SAFETY: it was taken from here, and `bytes` is not used any more.
        unsafe { slabs.give_back(block) };
    }
}
