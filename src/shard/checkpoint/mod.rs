//! Snapshots of a running job: barriers, what shards seal at them, and the coordinator that makes them durable.
//!
//! ```text
//! coordinator ── request ──▶ whoever holds the token: the end of its chunk k becomes a barrier
//!                            │ sources: where every split stands after k
//!                            ├▶ each shard, behind its own chunks ≤ k: parts of sinks that scans feed
//!                            ╰▶ each owner, at the end of chunk k: its pages; parts of sinks that it feeds
//! coordinator ◀─ reports ────╯
//!     write pages, sync files, prepare sinks, manifest (the commit), publish, acknowledge
//! ```
//!
//! A barrier travels in the chunk's end, so every operator is sealed at the same place of the sequence without anybody
//! waiting for anybody; what is in the rings belongs to no snapshot.
//!
//! # Invariants
//!
//! 1. Epochs are numbered without gaps; each is reported once by everybody, in order.
//! 2. A new barrier is requested only when the last epoch is durable; only the job's end may follow on a barrier at once.
//! 3. The rename of the manifest is the only commit point.

mod blueprint;
mod convert;
mod coordinator;
mod inspect;
mod manifest;
mod rescale;
mod restore;
mod settle;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use super::operators::readable;
pub use blueprint::Blueprint;
pub(crate) use coordinator::{Coordinator, CoordinatorStep};
pub use inspect::{
    FileExtent, Inspection, Listing, SpaceExtent, Verification, inspect, snapshots, verify,
};
pub use manifest::{Manifest, Place, SplitRecord, list as list_manifests};
pub(crate) use manifest::{ScanRecord, Sources};
pub use restore::{Fresh, StateOptions};
pub(crate) use restore::{Opened, log_path, open};

use super::control::Doorbell;
use crate::connector::SealedPart;
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::state::Sealed;

/// A barrier in the sequence of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) epoch: u64,
    /// Nothing comes behind it: the inputs have ended.
    pub(crate) finished: bool,
}

/// What a shard seals for an epoch.
#[derive(Debug)]
pub(crate) enum Report {
    /// Where the sources stand.
    Sources { barrier: Barrier, sources: Box<Sources> },
    /// Sinks that scans feed.
    Scans { epoch: u64, shard: usize, parts: SealedParts },
    /// An owner, the sinks that it feeds, and what its shard's sender has found late.
    Owner {
        epoch: u64,
        shard: usize,
        exchange: usize,
        sealed: Sealed,
        watermark_ms: i64,
        late: LateRows,
        parts: SealedParts,
    },
}

impl Report {
    fn epoch(&self) -> u64 {
        match self {
            Report::Sources { barrier, .. } => barrier.epoch,
            Report::Scans { epoch, .. } | Report::Owner { epoch, .. } => *epoch,
        }
    }
}

/// What sinks have sealed.
#[derive(Debug, Default)]
pub(crate) struct SealedParts {
    /// By sink, in the order of their parts.
    pub(crate) parts: Vec<(usize, Vec<SealedPart>)>,
    /// Rows written since the last barrier.
    pub(crate) row_count: u64,
}

/// Where a stream may let go of what it kept.
pub(crate) type Positions = Vec<(usize, u64)>;

/// Reports on their way to the coordinator.
#[derive(Debug, Default)]
struct Reports {
    waiting: Vec<Report>,
    /// How many there have been.
    count: usize,
}

/// What shards and coordinator share.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    /// The epoch that the next barrier should begin.
    requested: AtomicU64,
    /// Chunks taken since the last barrier was requested: without any there is nothing to save.
    active: AtomicBool,
    /// The coordinator sleeps until there is a chunk to save.
    idle: AtomicBool,
    /// The disk is full: no chunk is taken until there is room.
    paused: AtomicBool,
    reports: Mutex<Reports>,
    /// How many reports an epoch has.
    epoch_reports: usize,
    durable_epoch: AtomicU64,
    positions: Mutex<Positions>,
    pub(crate) doorbell: Doorbell,
    /// All shards have ended.
    pub(crate) over: AtomicBool,
}

impl Checkpoints {
    /// For a job that goes on from `epoch`.
    pub(crate) fn new(
        epoch: u64,
        shard_count: usize,
        exchange_count: usize,
    ) -> Result<Self, JobError> {
        Ok(Self {
            requested: AtomicU64::new(epoch),
            active: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            reports: Mutex::default(),
            epoch_reports: 1 + shard_count * (1 + exchange_count),
            durable_epoch: AtomicU64::new(epoch),
            positions: Mutex::default(),
            doorbell: Doorbell::new()?,
            over: AtomicBool::new(false),
        })
    }

    /// Whether a barrier is asked for after epoch `epoch`.
    pub(crate) fn is_due(&self, epoch: u64) -> bool {
        self.requested.load(Ordering::Relaxed) > epoch
    }

    pub(crate) fn request(&self, epoch: u64) {
        self.active.store(false, Ordering::Relaxed);
        self.requested.store(epoch, Ordering::Release);
    }

    /// A chunk was taken; wakes a coordinator that sleeps because there was nothing to save.
    pub(crate) fn note_chunk(&self) {
        if !self.active.load(Ordering::Relaxed) {
            self.active.store(true, Ordering::SeqCst);
            if self.idle.load(Ordering::SeqCst) {
                self.doorbell.ring();
            }
        }
    }

    /// Whether there is anything to save; if not, the first chunk will wake the coordinator.
    pub(crate) fn is_active(&self) -> bool {
        // Said before it looks, so that a chunk it does not see yet sees that it sleeps.
        self.idle.store(true, Ordering::SeqCst);
        let active = self.active.load(Ordering::SeqCst);
        if active {
            self.idle.store(false, Ordering::SeqCst);
        }
        active
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// Hands a report to the coordinator, and wakes it when it has all of an epoch.
    pub(crate) fn report(&self, report: Report) {
        if self.gather(report) {
            self.doorbell.ring();
        }
    }

    /// Whether the epoch's reports are complete with this one, and the coordinator has to be woken. Before that it need not know,
    /// and would take a core from a shard that the barrier is just about to pass. Where the job's end follows on a barrier at
    /// once, the end completes both.
    pub(crate) fn gather(&self, report: Report) -> bool {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.waiting.push(report);
        reports.count += 1;
        reports.count.is_multiple_of(self.epoch_reports)
    }

    fn take_reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }

    fn note_durable(&self, epoch: u64, positions: Positions) {
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        self.durable_epoch.store(epoch, Ordering::Release);
    }

    /// The newest durable epoch.
    pub(crate) fn durable_epoch(&self) -> u64 {
        self.durable_epoch.load(Ordering::Acquire)
    }

    /// Where streams stood at that epoch.
    pub(crate) fn durable_positions(&self) -> Positions {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
