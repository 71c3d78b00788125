//! The shard's part in a snapshot: barriers begin where the token is, and are met behind the shard's own chunks and by its owners.
//!
//! # Invariants
//!
//! 1. What scans feed is sealed on a shard behind its last chunk before the barrier, and before it works on a later one: a shard learns of
//!    a barrier by the token, by a turn of its own, or at the latest from an owner, which has then seen all those chunks end.
//! 2. A sender is sealed before the owner of the same exchange on the same shard.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint::{Barrier, Report};
use super::machine::{Shard, Turn};
use super::token::Token;
use super::topology::Feeds;
use crate::crash_point;
use crate::error::JobError;
use crate::sys::clock::Clock;

/// Why a barrier must begin whether it is asked for or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// The sequence goes on.
    No,
    /// The sources were stopped.
    Stopped,
    /// The inputs have ended.
    Finished,
}

impl Shard {
    /// The barrier behind the chunk that the token has just taken in, if there is to be one.
    pub(super) fn begin_barrier(&mut self, token: &mut Token, ends: Ends) -> Option<Barrier> {
        let shared = Arc::clone(self.checkpoints.as_ref()?);
        if ends == Ends::No && !shared.is_due(token.epoch) {
            return None;
        }
        token.epoch += 1;
        let barrier = Barrier { epoch: token.epoch, finished: ends == Ends::Finished };
        let tables: Vec<String> =
            self.topology.scans.iter().map(|scan| scan.table.clone()).collect();
        let sources = Box::new(token.sources(&tables, self.counters()));
        crash_point!("barrier-begun");
        shared.report(Report::Sources { barrier, sources });
        for shard in (0..self.shard_count).filter(|&shard| shard != self.index) {
            self.turn_out.push_back((shard, Turn::Barrier(token.epoch)));
        }
        Some(barrier)
    }

    /// What has been read so far, by all shards: exact, for only who has the token adds to it.
    fn counters(&self) -> [u64; 4] {
        let mut counters = [0; 4];
        for progress in &self.control.progress {
            let own = [&progress.rows, &progress.bytes, &progress.malformed, &progress.jumps];
            for (sum, counter) in counters.iter_mut().zip(own) {
                *sum += counter.load(Ordering::Relaxed);
            }
        }
        counters
    }

    /// The barrier of `epoch` has passed this shard's chunks.
    pub(super) fn seal_scans(&mut self, epoch: u64) -> Result<(), JobError> {
        if self.checkpoints.is_none() {
            return Ok(());
        }
        // The job's end may follow on a barrier at once, and be heard of first, for it may come from another shard. Then no
        // chunk of this shard lies between the two.
        while self.sealed_epoch < epoch {
            self.seal_next_scans()?;
        }
        Ok(())
    }

    fn seal_next_scans(&mut self) -> Result<(), JobError> {
        let Some(shared) = self.checkpoints.clone() else { return Ok(()) };
        self.sealed_epoch += 1;
        let epoch = self.sealed_epoch;
        let parts = self.sinks.seal(0, epoch)?;
        let topology = Arc::clone(&self.topology);
        for (ends, exchange) in self.exchanges.iter_mut().zip(&topology.exchanges) {
            if matches!(exchange.feeds, Feeds::Scans(_)) {
                ends.seal_sender();
            }
        }
        crash_point!("barrier-scans-sealed");
        shared.report(Report::Scans { epoch, shard: self.index, parts });
        Ok(())
    }

    /// The barrier has come to the owner of `exchange`, and what it yielded before has been written.
    pub(super) fn seal_owner(&mut self, exchange: usize, barrier: Barrier) -> Result<(), JobError> {
        let Some(shared) = self.checkpoints.clone() else { return Ok(()) };
        let watch = Clock.start();
        self.seal_scans(barrier.epoch)?;
        let ends = &mut self.exchanges[exchange];
        let (sealed, late) = ends.seal_owner();
        let watermark_ms = ends.watermark_ms;
        let parts = self.sinks.seal(exchange + 1, barrier.epoch)?;
        crash_point!("barrier-owner-sealed");
        let complete = shared.gather(Report::Owner {
            epoch: barrier.epoch,
            shard: self.index,
            exchange,
            sealed,
            watermark_ms,
            late,
            parts,
        });
        self.control.snapshots.note_pause(watch.elapsed());
        // From here on the snapshot's thread may take this core; that is sharing it, not the barrier.
        if complete {
            shared.doorbell.ring();
        }
        Ok(())
    }

    /// Lets streams go of what a durable snapshot covers.
    pub(super) fn release_streams(&mut self) -> Result<(), JobError> {
        let Some(shared) = &self.checkpoints else { return Ok(()) };
        let durable = shared.durable_epoch();
        if durable == self.released_epoch {
            return Ok(());
        }
        self.released_epoch = durable;
        let positions = shared.durable_positions();
        self.input.release(&positions)
    }
}
