//! Chunks before their turn: from decoded rows to a scan's columns, and, where only rows decide, to what their sender makes of them.
//!
//! Most chunks come without a late row, and no window fires while one of its rows is still to come. What such a chunk comes to depends on
//! its rows alone; so filter, projection and pre-aggregation run ahead of the token, batch by batch, while a batch is in the second cache,
//! and nothing is left to do when the token comes but to see whether that was so. If it was not, the rows are worked on again in the
//! ordinary way.
//!
//! # Invariants
//!
//! 1. A chunk that was taken ahead sends what it would have sent in its turn: no batch holds a row whose first window has fired when the
//!    row arrives, or one of a session that the watermark has come to, by the watermarks within the chunk (looked at when it is taken) and
//!    before it (when its turn comes).
//! 2. A chunk is taken ahead as a whole or not at all, and the sender is empty between chunks.

use chrono_tz::Tz;

use super::flow::Worker;
use super::input::DecodedChunk;
use super::machine::Shard;
use super::scan::{ScanBatch, Scanner};
use super::sequence::is_jump;
use super::token::Token;
use super::topology::{Feeds, StepKind, Topology};
use crate::batch::Batch;
use crate::error::JobError;
use crate::expr::EvalContext;
use crate::op::send::Shipment;
use crate::sys::archive::record_bytes;
use crate::sys::prefetch::Upcoming;

/// So many chunks after one that could not be taken ahead are not tried.
const RESTING_CHUNKS: u32 = 15;

/// The rows of a chunk, and how far they have come.
pub(crate) enum ChunkRows {
    Decoded(Vec<Batch>),
    Scanned(Vec<ScanBatch>),
    Taken(TakenRows),
}

impl Default for ChunkRows {
    fn default() -> Self {
        Self::Scanned(Vec::new())
    }
}

impl ChunkRows {
    /// How many rows go on.
    pub(super) fn count(&self) -> u64 {
        let count = |batches: &[Batch]| batches.iter().map(|batch| batch.rows as u64).sum();
        match self {
            ChunkRows::Decoded(batches) => count(batches),
            ChunkRows::Scanned(batches) => {
                batches.iter().map(|scanned| scanned.batch.rows as u64).sum()
            }
            ChunkRows::Taken(taken) => count(&taken.decoded),
        }
    }
}

/// Rows that were taken ahead of their turn.
pub(crate) struct TakenRows {
    /// As they were decoded, in case that they must be worked on again.
    decoded: Vec<Batch>,
    /// The highest watermark that is asked for.
    pub(super) highest_ms: i64,
    /// This watermark must not have been reached before: at it the first of their windows fires, or sessions may be over.
    fires_ms: i64,
    pub(super) shipped: Shipped,
}

/// What a chunk's rows came to.
pub(super) struct Shipped {
    pub(super) exchange: usize,
    pub(super) shipments: Vec<Shipment>,
}

/// How chunks of one scan are prepared.
pub(crate) struct Preparer {
    scanner: Scanner,
    path: Option<Path>,
    resting_chunks: u32,
}

/// From a scan to the only exchange that it feeds.
struct Path {
    calcs: Vec<usize>,
    exchange: usize,
}

impl Path {
    /// The path on which only rows decide what becomes of them, if it is one.
    fn of<'a>(mut targets: &'a [usize], topology: &'a Topology) -> Option<Self> {
        let mut calcs = Vec::new();
        loop {
            let &[target] = targets else { return None };
            let step = &topology.steps[target];
            match &step.kind {
                StepKind::Calc { filter, columns }
                    if !filter.iter().chain(columns).any(|expr| expr.reads_clock()) =>
                {
                    calcs.push(target);
                }
                StepKind::Union => {}
                StepKind::Send(exchange)
                    if matches!(topology.exchanges[*exchange].feeds, Feeds::Scans(_)) =>
                {
                    return Some(Self { calcs, exchange: *exchange });
                }
                _ => return None,
            }
            targets = &step.targets;
        }
    }

    /// A batch at the end of the path; `None` if a row of it fails.
    fn run(&self, workers: &[Worker], batch: Batch, context: &EvalContext) -> Option<Batch> {
        self.calcs.iter().try_fold(batch, |batch, &step| match &workers[step] {
            Worker::Calc(calc) => match calc.apply(&batch, context) {
                (batch, None) => Some(batch),
                (_, Some(_)) => None,
            },
            _ => unreachable!("workers are made from their steps"),
        })
    }
}

/// The records of a batch: with columns that were made just now there is nothing to wait for.
fn records_of(batch: &Batch) -> Upcoming {
    Upcoming::of(batch.columns.first().map_or(&[], |column| record_bytes(column)))
}

impl Preparer {
    pub(super) fn new(scan: &super::topology::Scan, topology: &Topology, time_zone: Tz) -> Self {
        let path = Path::of(&scan.targets, topology);
        Self { scanner: Scanner::new(scan, time_zone), path, resting_chunks: 0 }
    }

    /// Whether the next chunk is worth a try.
    fn is_rested(&mut self) -> bool {
        let rested = self.resting_chunks == 0;
        self.resting_chunks = self.resting_chunks.saturating_sub(1);
        rested
    }
}

impl Shard {
    /// Decodes and prepares a chunk ahead, if there is one worth it; false if not.
    pub(super) fn prepare_ahead(&mut self) -> Result<bool, JobError> {
        let Some((split, index, mut chunk)) = self.input.decode_ahead()? else { return Ok(false) };
        self.prepare(self.input.scan_of(split), &mut chunk);
        self.input.keep(split, index, chunk);
        Ok(true)
    }

    /// Prepares a chunk whose turn has come.
    pub(super) fn prepare_for(&mut self, token: &Token, split: usize, chunk: &mut DecodedChunk) {
        let state = &token.splits[split];
        let scan = state.spec.scan;
        self.prepare(scan, chunk);
        let ChunkRows::Taken(taken) = &mut chunk.rows else { return };
        let reached_ms = state.watermark_ms.max(token.exchange_ms[taken.shipped.exchange]);
        if taken.fires_ms > reached_ms && !is_jump(state.watermark_ms, taken.highest_ms) {
            return;
        }
        let decoded = std::mem::take(&mut taken.decoded);
        self.preparers[scan].resting_chunks = RESTING_CHUNKS;
        self.scan_chunk(scan, &decoded, chunk);
    }

    fn prepare(&mut self, scan: usize, chunk: &mut DecodedChunk) {
        let ChunkRows::Decoded(batches) = &mut chunk.rows else { return };
        let batches = std::mem::take(batches);
        match self.take_chunk_ahead(scan, &batches) {
            Some((highest_ms, fires_ms, shipped)) => {
                let taken = TakenRows { decoded: batches, highest_ms, fires_ms, shipped };
                chunk.rows = ChunkRows::Taken(taken);
            }
            None => self.scan_chunk(scan, &batches, chunk),
        }
    }

    /// Computes a scan's columns of a chunk.
    fn scan_chunk(&self, scan: usize, batches: &[Batch], chunk: &mut DecodedChunk) {
        let context = self.context();
        let mut scanned: Vec<ScanBatch> = Vec::with_capacity(batches.len());
        for batch in batches {
            let before_ms = scanned.last().map_or(i64::MIN, |last| last.highest_ms);
            let (batch, failure) = self.preparers[scan].scanner.finish(batch, before_ms, &context);
            scanned.push(batch);
            if let Some(failure) = failure {
                chunk.failure = Some(failure);
                chunk.bad_record = None;
                break;
            }
        }
        chunk.rows = ChunkRows::Scanned(scanned);
    }

    /// Takes a chunk ahead: the highest watermark that it asks for, the one that must not be reached before it, and what it came to.
    fn take_chunk_ahead(&mut self, scan: usize, batches: &[Batch]) -> Option<(i64, i64, Shipped)> {
        let exchange = self.preparers[scan].path.as_ref()?.exchange;
        let sender = self.exchanges[exchange].sender.as_aggregate()?;
        if batches.is_empty() || !sender.may_take_ahead() || !self.preparers[scan].is_rested() {
            return None;
        }
        let taken = self.take_batches_ahead(scan, batches);
        let sender = self.exchanges[exchange].sender.as_aggregate()?;
        let Some((highest_ms, fires_ms)) = taken else {
            sender.forget_ahead();
            self.preparers[scan].resting_chunks = RESTING_CHUNKS;
            return None;
        };
        sender.end_chunk();
        let shipments = sender.drain().collect();
        Some((highest_ms, fires_ms, Shipped { exchange, shipments }))
    }

    fn take_batches_ahead(&mut self, scan: usize, batches: &[Batch]) -> Option<(i64, i64)> {
        let context = self.context();
        let Preparer { scanner, path, .. } = &self.preparers[scan];
        let path = path.as_ref()?;
        let sender = self.exchanges[path.exchange].sender.as_aggregate()?;
        let (mut highest_ms, mut fires_ms) = (i64::MIN, i64::MAX);
        for (index, batch) in batches.iter().enumerate() {
            let (scanned, failure) = scanner.finish(batch, highest_ms, &context);
            if failure.is_some() || is_jump(highest_ms, scanned.highest_ms) {
                return None;
            }
            highest_ms = scanned.highest_ms;
            let batch = path.run(&self.workers, scanned.batch, &context)?;
            let next = batches.get(index + 1).map_or(Upcoming::default(), records_of);
            fires_ms = fires_ms.min(sender.take_ahead(&batch, next)?);
        }
        Some((highest_ms, fires_ms))
    }

    /// What expressions may know besides their rows.
    pub(super) fn context(&self) -> EvalContext {
        EvalContext { time_zone: self.time_zone, now_ms: self.now_ms }
    }
}
