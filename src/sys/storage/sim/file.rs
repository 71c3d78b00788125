//! The content of a simulated file: what reads see, what is on the medium, and what lies between the two.
//!
//! A crash leaves the durable bytes plus any subset of the unsynced changes, in their order. A write that is left may be
//! torn at sectors; where the length got to the medium but the data did not, there are zeros or garbage.
//!
//! # Invariants
//!
//! 1. Unless a sync has failed, `durable` with all of `unsynced` applied is `current`.
//! 2. A durable byte that no unsynced change covers outlives every crash.
//! 3. `frames`, if alive, shows `current`.

use std::io;
use std::sync::{Arc, Weak};

use super::frames::Region;
use super::survival::{Survival, coin};
use crate::sys::random::Random;

/// What the medium writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// A change of a file since its last sync.
#[derive(Debug)]
enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// At least so long.
    Grow(usize),
    /// Just so long.
    Cut(usize),
}

/// A file, whatever its names.
#[derive(Debug, Default)]
pub(super) struct SimInode {
    current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Bytes from the start that have room on the disk: a longer length is a hole.
    pub(super) allocated_bytes: u64,
    /// Handles that are open and not dead.
    pub(super) open_count: usize,
    frames: Weak<Region>,
}

impl SimInode {
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    /// The map that shows the file, made if there is none.
    pub(super) fn frames(&mut self) -> io::Result<Arc<Region>> {
        if let Some(region) = self.frames.upgrade() {
            return Ok(region);
        }
        let region = Arc::new(Region::new(&self.current)?);
        self.frames = Arc::downgrade(&region);
        Ok(region)
    }

    /// Refuses a length for which the map, if there is one, has no room.
    pub(super) fn check_length(&self, length_bytes: u64) -> io::Result<()> {
        match self.frames.upgrade() {
            Some(_) => Region::check_length(length_bytes),
            None => Ok(()),
        }
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        store(&mut self.current, offset, bytes);
        if let Some(region) = self.frames.upgrade() {
            region.store(offset, bytes);
        }
        self.allocated_bytes = self.allocated_bytes.max((offset + bytes.len()) as u64);
        self.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    /// Makes the file at least so long, with room for all of it.
    pub(super) fn allocate(&mut self, length: usize) {
        if length <= self.current.len() {
            return;
        }
        self.allocated_bytes = self.allocated_bytes.max(length as u64);
        self.resize(length);
        self.unsynced.push(Change::Grow(length));
    }

    pub(super) fn set_length(&mut self, length: usize) {
        self.allocated_bytes = self.allocated_bytes.min(length as u64);
        self.resize(length);
        self.unsynced.push(Change::Cut(length));
    }

    fn resize(&mut self, length: usize) {
        self.current.resize(length, 0);
        if let Some(region) = self.frames.upgrade() {
            region.set_length(length);
        }
    }

    /// Brings all changes to the medium.
    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { offset, bytes } => store(&mut self.durable, offset, &bytes),
                Change::Grow(length) => grow(&mut self.durable, length),
                Change::Cut(length) => self.durable.resize(length, 0),
            }
        }
    }

    /// Marks all changes as clean; to the medium get only those that are drawn.
    pub(super) fn lose_unsynced(&mut self, survival: Survival, random: &mut Random) {
        let kept = survival.kept(self.unsynced.len(), random);
        let durable = std::mem::take(&mut self.durable);
        let mut medium = Medium::new(durable, survival, random);
        for (change, kept) in self.unsynced.drain(..).zip(kept) {
            match change {
                Change::Write { offset, bytes } => medium.write(offset, &bytes, kept),
                Change::Grow(length) if kept => grow(&mut medium.bytes, length),
                Change::Cut(length) if kept => medium.set_length(length),
                Change::Grow(_) | Change::Cut(_) => {}
            }
        }
        self.durable = medium.bytes;
    }

    /// What a loss of power leaves, all of it durable.
    pub(super) fn crash(&mut self, survival: Survival, random: &mut Random) {
        self.lose_unsynced(survival, random);
        self.current = self.durable.clone();
        self.allocated_bytes = self.current.len() as u64;
        self.let_handles_die();
    }

    /// Handles that are open do not see what happens to the file from now on.
    pub(super) fn let_handles_die(&mut self) {
        self.open_count = 0;
        self.frames = Weak::new();
    }

    /// Flips one bit, on the medium and in what is read; a map that is open does not show it.
    pub(super) fn flip_bit(&mut self, offset: usize, bit: u32) {
        self.current[offset] ^= 1 << bit;
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= 1 << bit;
        }
    }

    /// Cuts the file, on the medium too.
    pub(super) fn truncate(&mut self, length: usize) {
        assert!(length <= self.current.len(), "a cut beyond the file's end");
        self.set_length(length);
        self.unsynced.clear();
        self.durable = self.current.clone();
    }
}

fn grow(content: &mut Vec<u8>, length: usize) {
    if content.len() < length {
        content.resize(length, 0);
    }
}

fn store(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    grow(content, offset + bytes.len());
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// How much of a write gets to the medium.
#[derive(Clone, Copy)]
enum Tear {
    Whole,
    Lost,
    /// So many sectors from its start.
    Prefix(usize),
    /// Each sector by a coin.
    Sectors,
}

/// The medium while power fails.
struct Medium<'a> {
    bytes: Vec<u8>,
    /// From here on no byte has ever been durable: lost data may be anything.
    fresh_from: usize,
    random: &'a mut Random,
    is_torn: bool,
    /// Data beyond the length extends it, or else is cut off.
    extends: bool,
    /// The length gets there though the data does not.
    keeps_lengths: bool,
    fills_garbage: bool,
}

impl<'a> Medium<'a> {
    fn new(bytes: Vec<u8>, survival: Survival, random: &'a mut Random) -> Self {
        Self {
            fresh_from: bytes.len(),
            bytes,
            is_torn: survival == Survival::Mixed && random.below(4) != 0,
            extends: survival != Survival::Mixed || random.below(4) != 0,
            keeps_lengths: survival == Survival::Mixed && coin(random),
            fills_garbage: survival == Survival::Mixed && coin(random),
            random,
        }
    }

    fn set_length(&mut self, length: usize) {
        self.bytes.resize(length, 0);
        self.fresh_from = self.fresh_from.min(length);
    }

    /// A write whose sectors get there or not.
    fn write(&mut self, offset: usize, bytes: &[u8], is_kept: bool) {
        let sector_count = (offset % SECTOR_BYTES + bytes.len()).div_ceil(SECTOR_BYTES);
        let tear = match is_kept {
            false => Tear::Lost,
            true if !self.is_torn => Tear::Whole,
            true => match self.random.below(3) {
                0 => Tear::Whole,
                1 => Tear::Prefix(self.random.below(sector_count as u64 + 1) as usize),
                _ => Tear::Sectors,
            },
        };
        let (mut start, end) = (offset, offset + bytes.len());
        for index in 0..sector_count {
            let next = end.min((start / SECTOR_BYTES + 1) * SECTOR_BYTES);
            let lives = match tear {
                Tear::Whole => true,
                Tear::Lost => false,
                Tear::Prefix(count) => index < count,
                Tear::Sectors => coin(self.random),
            };
            match lives {
                true => self.keep(start, &bytes[start - offset..next - offset]),
                false => self.lose(start, next),
            }
            start = next;
        }
    }

    fn keep(&mut self, start: usize, bytes: &[u8]) {
        let count = match self.extends {
            true => bytes.len(),
            false => self.bytes.len().saturating_sub(start).min(bytes.len()),
        };
        if count > 0 {
            store(&mut self.bytes, start, &bytes[..count]);
        }
    }

    fn lose(&mut self, start: usize, end: usize) {
        if self.keeps_lengths {
            grow(&mut self.bytes, end);
        }
        let end = end.min(self.bytes.len());
        if self.fills_garbage {
            for offset in start.max(self.fresh_from)..end {
                self.bytes[offset] = self.random.next_u64() as u8;
            }
        }
    }
}
