//! The coordinator: asks for barriers, gathers what shards seal, and makes it durable, one epoch at a time.
//!
//! It is a state machine like a shard, so that a thread or the simulator may drive it; a step that commits takes as long as the disk does.
//!
//! # Invariants
//!
//! 1. An error ends the job; what was written for the epoch is never acknowledged by a second attempt. The one exception is a full disk
//!    before anything was synced: that is waited for, with an alarm, while no chunk is taken.
//! 2. Frames are given back, and old manifests removed, only behind the rename and the publishing.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::manifest::{Manifest, Sources};
use super::{Barrier, Checkpoints, Report, SealedParts};
use crate::connector::SealedPart;
use crate::crash_point;
use crate::error::{JobError, StateError};
use crate::metrics::LateRows;
use crate::planted;
use crate::shard::control::Control;
use crate::shard::start::content_hash;
use crate::shard::topology::Topology;
use crate::state::{Frames, Ledger, Sealed, Written};
use crate::sys::clock::Clock;
use crate::sys::storage::{FolderLock, Storage};

/// How long a full disk is left alone before it is tried again.
const FULL_DISK_WAIT: Duration = Duration::from_millis(200);

/// How soon to look again whether the first rows have been read.
const FIRST_ROW_WAIT_MS: i64 = 5;

/// Makes snapshots durable.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(super) shared: Arc<Checkpoints>,
    pub(super) control: Arc<Control>,
    pub(super) topology: Arc<Topology>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) folder: PathBuf,
    pub(super) _lock: Option<FolderLock>,
    /// By shard and exchange.
    pub(super) ledgers: Vec<Vec<Ledger>>,
    pub(super) frames: Vec<Arc<Frames>>,
    /// The newest durable manifest; before the first, what all manifests have in common.
    pub(super) newest: Manifest,
    /// Epochs whose manifests are kept, the oldest first.
    pub(super) retained: VecDeque<u64>,
    /// Epochs whose manifests were found besides, the newest first, until the page tables have been read.
    pub(super) older: Option<Vec<u64>>,
    pub(super) retained_max: usize,
    /// The shard's file and the frame up to which files have been read ahead; `None`: it is done, or they are too large for memory.
    pub(super) warming: Option<(usize, u32)>,
    pub(super) interval_ms: i64,
    pub(super) next_at_ms: Option<i64>,
    /// Whether a full disk is waited for; the simulator cannot wait.
    pub(super) waits: bool,
    pub(super) collected: BTreeMap<u64, Collected>,
}

/// What a step of the coordinator came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CoordinatorStep {
    Busy,
    /// Until the doorbell rings or the time comes.
    Idle(Option<i64>),
    Done,
}

/// The reports of an epoch so far.
#[derive(Debug, Default)]
pub(super) struct Collected {
    sources: Option<(Barrier, Box<Sources>)>,
    owners: BTreeMap<(usize, usize), Sealed>,
    scans_count: usize,
    /// By sink and shard, in the order of the parts.
    parts: BTreeMap<(usize, usize), Vec<SealedPart>>,
    watermarks_ms: BTreeMap<usize, i64>,
    late: BTreeMap<usize, LateRows>,
    row_count: u64,
}

impl Coordinator {
    /// What it shares with the shards.
    pub(crate) fn shared(&self) -> Arc<Checkpoints> {
        Arc::clone(&self.shared)
    }

    /// The same without waiting for a full disk: it is an error then.
    pub(crate) fn without_waiting(self) -> Self {
        Self { waits: false, ..self }
    }

    /// Does what there is to do.
    pub(crate) fn step(&mut self, now_ms: i64) -> CoordinatorStep {
        if self.older.is_some() && self.control.first_row_after().is_some() {
            if let Err(error) = self.settle() {
                self.control.fail(error.into());
            }
            return CoordinatorStep::Busy;
        }
        // Looked at first: what was reported before it is then among the reports.
        let over = self.shared.over.load(Ordering::SeqCst);
        for report in self.shared.take_reports() {
            self.collected.entry(report.epoch()).or_default().add(report);
        }
        let complete = self.collected.first_entry().filter(|entry| {
            entry.get().is_complete(self.ledgers.len(), self.topology.exchanges.len())
        });
        if let Some(complete) = complete {
            let (epoch, collected) = complete.remove_entry();
            if !self.control.is_failing()
                && let Err(error) = self.commit(epoch, collected, now_ms)
            {
                self.control.fail(error);
            }
            return CoordinatorStep::Busy;
        }
        if over {
            return CoordinatorStep::Done;
        }
        if self.control.is_failing() {
            return CoordinatorStep::Idle(None);
        }
        if self.shared.is_due(self.newest.epoch) {
            // The barrier takes long to pass owners that wait for their pages.
            return self.warm(now_ms, None);
        }
        match self.request(now_ms) {
            CoordinatorStep::Idle(until_ms @ Some(_)) => self.warm(now_ms, until_ms),
            other => other,
        }
    }

    /// With nothing else to do before `until_ms`: reads ahead a piece of a file, if there is one left. The first rows go before that,
    /// and before page tables are read, which takes a core from a shard if there are no more.
    fn warm(&mut self, now_ms: i64, until_ms: Option<i64>) -> CoordinatorStep {
        let begins = self.older.is_some() || self.warming.is_some();
        if begins && self.control.first_row_after().is_none() {
            let soon_ms = now_ms + FIRST_ROW_WAIT_MS;
            return CoordinatorStep::Idle(Some(until_ms.unwrap_or(soon_ms).min(soon_ms)));
        }
        let Some((shard, frame)) = self.warming else { return CoordinatorStep::Idle(until_ms) };
        self.warming = match self.frames[shard].warm(frame) {
            Some(next) => Some((shard, next)),
            None => Some((shard + 1, 0)).filter(|&(next, _)| next < self.frames.len()),
        };
        CoordinatorStep::Busy
    }

    /// Asks for the next barrier if it is time and there is something to save.
    fn request(&mut self, now_ms: i64) -> CoordinatorStep {
        let at_ms = *self.next_at_ms.get_or_insert(now_ms + self.interval_ms);
        if !self.shared.is_active() {
            return CoordinatorStep::Idle(None);
        }
        if now_ms < at_ms {
            return CoordinatorStep::Idle(Some(at_ms));
        }
        self.next_at_ms = Some(now_ms + self.interval_ms);
        self.shared.request(self.newest.epoch + 1);
        // Whoever holds the token may be waiting for rows.
        self.control.doorbells.iter().for_each(|doorbell| doorbell.ring());
        CoordinatorStep::Busy
    }

    /// Makes an epoch durable and shows its output.
    fn commit(&mut self, epoch: u64, collected: Collected, now_ms: i64) -> Result<(), JobError> {
        assert_eq!(epoch, self.newest.epoch + 1, "epochs come without gaps");
        crash_point!("barrier-complete");
        self.settle()?;
        let watch = Clock.start();
        let Collected { sources, owners, parts, watermarks_ms, late, row_count, .. } = collected;
        let (barrier, mut sources) = sources.expect("a complete epoch has its sources");
        note_contents(&mut sources, self.newest.chunk_bytes);
        let early = planted!("manifest-before-sync");
        let written = self.write(owners)?;
        crash_point!("commit-before-sync");
        if !early {
            self.sync()?;
        }
        crash_point!("commit-after-sync");
        let sinks = self.prepare(epoch, parts)?;
        crash_point!("commit-after-prepare");
        let manifest = Manifest {
            epoch,
            at_ms: now_ms,
            finished: barrier.finished,
            spaces: self.roots(&written),
            sources: *sources,
            sinks,
            watermarks_ms: watermarks_ms.into_values().collect(),
            late: late.values().map(LateRows::to_words).collect(),
            rows_out: self.newest.rows_out + row_count,
            written_bytes: written.values().map(|written| written.byte_count).sum(),
            ..self.newest.clone()
        };
        if planted!("publish-before-manifest") {
            self.publish(&manifest)?;
        }
        if planted!("retire-before-manifest") {
            self.retire(epoch)?;
            self.retained.pop_back();
        }
        let mut byte_count = manifest.commit(&*self.storage, &self.folder)?;
        if early {
            self.sync()?;
        }
        crash_point!("commit-before-publish");
        self.publish(&manifest)?;
        crash_point!("commit-after-publish");
        byte_count += manifest.written_bytes;
        self.retire(epoch)?;
        self.acknowledge(written);
        let positions = manifest.sources.splits.iter().enumerate();
        let positions = positions.filter_map(|(split, record)| Some((split, record.position?)));
        self.shared.note_durable(epoch, positions.collect());
        self.newest = manifest;
        for frames in &self.frames {
            frames.shrink()?;
        }
        self.control.snapshots.note_commit(epoch, byte_count, watch.elapsed());
        Ok(())
    }

    /// Writes what owners have sealed.
    fn write(
        &mut self,
        owners: BTreeMap<(usize, usize), Sealed>,
    ) -> Result<BTreeMap<(usize, usize), Written>, JobError> {
        let (shared, control, waits) = (&self.shared, &self.control, self.waits);
        let mut room = |error: &StateError| {
            if !waits || control.is_failing() || control.is_stopped() {
                return false;
            }
            shared.pause(true);
            control.snapshots.alarm(Some(error.to_string()));
            std::thread::sleep(FULL_DISK_WAIT);
            true
        };
        let mut written = BTreeMap::new();
        for ((shard, exchange), sealed) in owners {
            let ledger = &mut self.ledgers[shard][exchange];
            written.insert((shard, exchange), ledger.write(sealed, &mut room)?);
        }
        if self.shared.is_paused() {
            self.shared.pause(false);
            self.control.snapshots.alarm(None);
            self.control.doorbells.iter().for_each(|doorbell| doorbell.ring());
        }
        Ok(written)
    }

    fn sync(&self) -> Result<(), JobError> {
        for frames in &self.frames {
            frames.sync()?;
            crash_point!("commit-synced-one");
        }
        Ok(())
    }

    fn roots(&self, written: &BTreeMap<(usize, usize), Written>) -> Vec<Vec<crate::state::Root>> {
        let exchanges = self.topology.exchanges.len();
        let of = |shard| (0..exchanges).map(move |exchange| written[&(shard, exchange)].root);
        (0..self.ledgers.len()).map(|shard| of(shard).collect()).collect()
    }

    fn prepare(
        &self,
        epoch: u64,
        mut parts: BTreeMap<(usize, usize), Vec<SealedPart>>,
    ) -> Result<Vec<Option<String>>, JobError> {
        let sinks = self.topology.sinks.iter().enumerate();
        sinks
            .map(|(index, spec)| {
                let Some(sink) = spec.sink.transactional() else { return Ok(None) };
                let sealed: Vec<SealedPart> = (0..self.ledgers.len())
                    .flat_map(|shard| parts.remove(&(index, shard)).unwrap_or_default())
                    .collect();
                sink.prepare(epoch, &sealed).map(Some)
            })
            .collect()
    }

    fn publish(&self, manifest: &Manifest) -> Result<(), JobError> {
        for (spec, record) in self.topology.sinks.iter().zip(&manifest.sinks) {
            if let (Some(sink), Some(record)) = (spec.sink.transactional(), record) {
                sink.publish(record)?;
            }
        }
        Ok(())
    }

    /// Removes the manifests that are not retained any more.
    fn retire(&mut self, epoch: u64) -> Result<(), StateError> {
        self.retained.push_back(epoch);
        while self.retained.len() > self.retained_max {
            let oldest = self.retained.pop_front().expect("there are more than one");
            let path = Manifest::path(&self.folder, oldest);
            self.storage.remove(&path).map_err(|error| StateError::io(&path, error))?;
            crash_point!("manifest-retired");
        }
        Ok(())
    }

    fn acknowledge(&mut self, written: BTreeMap<(usize, usize), Written>) {
        let oldest = self.retained.front().map_or(0, |&epoch| epoch as u32);
        for ((shard, exchange), written) in written {
            self.ledgers[shard][exchange].commit(written, oldest);
        }
        crash_point!("commit-acknowledged");
    }
}

/// Notes what the plain files look like that are being read. A file that cannot be looked at will be missed by whoever reads it.
fn note_contents(sources: &mut Sources, chunk_bytes: u64) {
    for split in sources.splits.iter_mut().filter(|split| !split.ended) {
        let Some(length_bytes) = split.length_bytes else { continue };
        let position = (split.next_chunk * chunk_bytes).min(length_bytes);
        split.content = content_hash(Path::new(&split.origin), position).ok();
    }
}

impl Collected {
    fn add(&mut self, report: Report) {
        let (shard, SealedParts { parts, row_count }) = match report {
            Report::Sources { barrier, sources } => {
                self.sources = Some((barrier, sources));
                return;
            }
            Report::Scans { shard, parts, .. } => {
                self.scans_count += 1;
                (shard, parts)
            }
            Report::Owner { shard, exchange, sealed, watermark_ms, late, parts, .. } => {
                self.owners.insert((shard, exchange), sealed);
                self.watermarks_ms.insert(exchange, watermark_ms);
                self.late.entry(exchange).or_default().add(&late);
                (shard, parts)
            }
        };
        self.row_count += row_count;
        for (sink, sealed) in parts {
            self.parts.entry((sink, shard)).or_default().extend(sealed);
        }
    }

    fn is_complete(&self, shard_count: usize, exchange_count: usize) -> bool {
        self.sources.is_some()
            && self.scans_count == shard_count
            && self.owners.len() == shard_count * exchange_count
    }
}
