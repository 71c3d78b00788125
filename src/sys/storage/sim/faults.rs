//! Errors to order: which operations of a simulated disk fail, and with what.
//!
//! Operations that change something are counted from 0 over the disk's whole life, so that a test can run once without
//! faults and then once for every index below `SimDisk::operation_count`.
//!
//! # Invariants
//!
//! 1. Every operation draws exactly once, whether it fails or not; the same seed and calls give the same errors.

use std::collections::BTreeMap;
use std::io;

use rustix::io::Errno;

use crate::sys::random::Random;

/// An error to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// ENOSPC; only at what takes room (a write, an allocation, a new file or folder), elsewhere nothing happens.
    Full,
    /// EIO.
    Broken,
}

/// What a failed sync leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailedSync {
    /// What was unsynced stays so; the next sync writes it.
    Keeps,
    /// What was unsynced is marked clean but never gets to the disk, though it is still read until a crash ("fsyncgate").
    #[default]
    Drops,
    /// As `Drops`, but some of it has got there, drawn as in a crash.
    Partly,
}

/// The errors to inject. None by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The operations that fail, by index.
    pub at: BTreeMap<u64, Fault>,
    /// From this operation on all fail.
    pub from: Option<(u64, Fault)>,
    /// How many in a million operations fail with EIO, at random.
    pub broken_per_million: u64,
    /// How many in a million operations that take room fail with ENOSPC, at random.
    pub full_per_million: u64,
    /// What a failed sync of a file leaves behind.
    pub failed_sync: FailedSync,
}

impl Faults {
    /// One operation fails.
    pub fn at(index: u64, fault: Fault) -> Self {
        Self { at: BTreeMap::from([(index, fault)]), ..Self::default() }
    }

    /// All operations fail from one on, as if the disk had been pulled out.
    pub fn from(index: u64, fault: Fault) -> Self {
        Self { from: Some((index, fault)), ..Self::default() }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Errno::NOSPC.into(),
            Fault::Broken => Errno::IO.into(),
        }
    }
}

/// What an operation does to the room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Takes,
    Leaves,
}

/// Counts operations and says which fail.
#[derive(Debug)]
pub(super) struct Injector {
    pub(super) faults: Faults,
    pub(super) random: Random,
    pub(super) operation_count: u64,
}

impl Injector {
    pub(super) fn new(seed: u64) -> Self {
        Self { faults: Faults::default(), random: Random::new(seed), operation_count: 0 }
    }

    /// Counts an operation; the fault that it meets, if any.
    pub(super) fn next(&mut self, room: Room) -> Option<Fault> {
        let index = self.operation_count;
        self.operation_count += 1;
        let drawn = self.random.below(1_000_000);
        let faults = &self.faults;
        let from = faults.from.filter(|&(from, _)| index >= from).map(|(_, fault)| fault);
        let planned = faults.at.get(&index).copied().or(from);
        let planned = planned.filter(|&fault| room == Room::Takes || fault == Fault::Broken);
        let full = room == Room::Takes
            && drawn.wrapping_sub(faults.broken_per_million) < faults.full_per_million;
        let drawn = match drawn < faults.broken_per_million {
            true => Some(Fault::Broken),
            false => full.then_some(Fault::Full),
        };
        planned.or(drawn)
    }
}
