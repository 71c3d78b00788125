//! What is left to be done of opening a state folder once the job runs: the page tables of the retained snapshots are read, which
//! takes a thousandth of the time that reading their state would, and tells which frames are free.
//!
//! # Invariants
//!
//! 1. No snapshot is written before this is done; damage found here ends the job, which has shown nothing yet that it could not show.

use std::collections::HashSet;
use std::ffi::OsStr;

use super::coordinator::Coordinator;
use super::manifest::Manifest;
use crate::crash_point;
use crate::error::StateError;
use crate::state::{Ledger, Run};

impl Coordinator {
    /// Reads the page tables, if that has not been done.
    ///
    /// # Errors
    ///
    /// Damaged state; what the storage says.
    pub(super) fn settle(&mut self) -> Result<(), StateError> {
        let Some(older) = self.older.take() else { return Ok(()) };
        crash_point!("settle-before");
        self.ledgers.iter_mut().flatten().try_for_each(Ledger::read_table)?;
        if !older.is_empty() {
            self.settle_older(&older)?;
        }
        self.frames.iter().for_each(|frames| frames.settle());
        crash_point!("settle-after");
        Ok(())
    }

    /// The older manifests that are still to be retained, of the epochs `older`, the newest first: their frames stay in use. One that
    /// cannot be read any more is dropped; it would never have been gone on from.
    fn settle_older(&mut self, older: &[u64]) -> Result<(), StateError> {
        let frames_of = |own: &Vec<Ledger>| {
            own.iter().flat_map(Ledger::runs).flat_map(Run::frames).collect::<HashSet<u32>>()
        };
        // By shard, frame by frame: those that a newer snapshot needs too wait for that one. What is left of a snapshot that was
        // not retained any more may overlap with what took its place.
        let mut seen: Vec<HashSet<u32>> = self.ledgers.iter().map(frames_of).collect();
        let mut superseded = Vec::new();
        for &epoch in older {
            let runs = match self.retained.len() < self.retained_max {
                true => self.older_runs(epoch).ok(),
                false => None,
            };
            let Some(runs) = runs else {
                let path = Manifest::path(&self.folder, epoch);
                self.storage.remove(&path).map_err(|error| StateError::io(&path, error))?;
                crash_point!("restore-manifest-removed");
                continue;
            };
            let newer = *self.retained.front().expect("the newest is kept");
            for (shard, runs) in runs.into_iter().enumerate() {
                let own = runs.into_iter().flat_map(Run::frames);
                let own = own.filter(|&frame| seen[shard].insert(frame));
                let own: Vec<Run> = own.map(|frame| Run { frame, count: 1 }).collect();
                superseded.push((newer, shard, own));
            }
            self.retained.push_front(epoch);
        }
        // Ledgers take them in the order in which they become free.
        for (newer, shard, runs) in superseded.into_iter().rev() {
            if let Some(ledger) = self.ledgers[shard].first_mut() {
                ledger.supersede(newer as u32, runs);
            }
        }
        Ok(())
    }

    /// The frames of an older snapshot, by shard; they are marked as in use.
    fn older_runs(&self, epoch: u64) -> Result<Vec<Vec<Run>>, StateError> {
        let manifest = Manifest::read(&*self.storage, &self.folder, epoch)?;
        let names = self.frames.iter().map(|frames| frames.path().file_name());
        if !names.eq(manifest.files.iter().map(|name| Some(OsStr::new(name)))) {
            let path = Manifest::path(&self.folder, epoch).display().to_string();
            let reason = "it is of another number of shards".into();
            return Err(StateError::Changed { path, reason });
        }
        let mut runs = Vec::new();
        for (frames, roots) in self.frames.iter().zip(&manifest.spaces) {
            let mut own = Vec::new();
            for (spec, root) in self.topology.exchanges.iter().zip(roots) {
                own.extend(Ledger::runs_behind(frames, spec.schema_hash(), root)?);
            }
            runs.push(own);
        }
        Ok(runs)
    }
}
