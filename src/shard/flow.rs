//! The shard's own rows: a chunk runs through the stateless steps to senders and sinks.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono_tz::Tz;

use super::checkpoint::Barrier;
use super::exchange::{ChunkEnd, ExchangeEnds, Message};
use super::machine::Shard;
use super::place::Place;
use super::prepare::Shipped;
use super::topology::{Feeds, Owner, StepKind};
use crate::batch::Batch;
use crate::error::JobError;
use crate::op::apply::{Applied, apply};
use crate::op::calc::Calc;
use crate::op::expand::expand;
use crate::op::session_table::{pack, unpack};
use crate::op::window_table::WindowTable;
use crate::op::{WATERMARK_END, WATERMARK_START};
use crate::plan::Apply;

/// A chunk whose rows are being worked on.
pub(super) struct Running {
    pub(super) scan: usize,
    pub(super) batches: VecDeque<Batch>,
    /// What its rows came to ahead of its turn, instead of the rows.
    pub(super) shipped: Option<Shipped>,
    /// Per exchange that scans feed: the cap by other splits, the floor, and the watermark after the chunk.
    pub(super) times: Vec<(i64, i64, i64)>,
    pub(super) next_shard: usize,
    pub(super) is_last: bool,
    /// A snapshot begins behind it.
    pub(super) barrier: Option<Barrier>,
    pub(super) failure: Option<JobError>,
    /// Where its rows come from, if it has any.
    pub(super) place: Option<Place>,
}

/// A stateless step, compiled.
pub(super) enum Worker {
    Calc(Calc),
    WindowTable(WindowTable),
    Plain,
}

/// Where a batch comes from, and so what its rows' watermarks are.
pub(super) enum Source {
    /// A scan; per exchange the cap and the floor.
    Scan(Vec<(i64, i64, i64)>),
    /// An exchange, and its watermark before this firing.
    Exchange(usize, i64),
}

impl Source {
    /// As [`super::topology::Topology::origins`] counts them.
    fn origin(&self) -> usize {
        match self {
            Source::Scan(_) => 0,
            Source::Exchange(exchange, _) => exchange + 1,
        }
    }
}

impl Shard {
    /// Works on the running chunk, once what the one before it yielded has found room.
    pub(super) fn run_chunk(&mut self) -> Result<bool, JobError> {
        // Of an exchange behind another one no chunk waits: its outbox may wait for this very chunk.
        let fed = |ends: &&ExchangeEnds| ends.is_fed_by_scans();
        if self.running.is_none() || !self.exchanges.iter().filter(fed).all(ExchangeEnds::is_clear)
        {
            return Ok(false);
        }
        let mut running = self.running.take().expect("checked above");
        let topology = Arc::clone(&self.topology);
        let source = Source::Scan(running.times.clone());
        // All of it: an exchange with several feeds may hold one's rows up until another's have come to the chunk's end.
        let (targets, mut before) = (&topology.scans[running.scan].targets, 0);
        for batch in std::mem::take(&mut running.batches) {
            let ran = self.run_targets(targets, &batch, &source);
            ran.map_err(|error| self.placed(error, &running, &batch, before))?;
            before += batch.rows as u64;
        }
        if let Some(Shipped { exchange, shipments }) = &mut running.shipped {
            self.exchanges[*exchange].ship(shipments.drain(..));
        }
        self.end_chunk(running)?;
        Ok(true)
    }

    /// Ends the job with a failure, unless it has shown all that it was asked for: nobody asked for what is behind that.
    fn fail(&mut self, failure: JobError) -> Result<(), JobError> {
        if self.sinks.are_full() {
            return Ok(());
        }
        self.sinks.flush()?;
        Err(failure)
    }

    pub(super) fn end_chunk(&mut self, running: Running) -> Result<(), JobError> {
        running.failure.map_or(Ok(()), |failure| self.fail(failure))?;
        let topology = Arc::clone(&self.topology);
        for (index, exchange) in topology.exchanges.iter().enumerate() {
            if !matches!(exchange.feeds, Feeds::Scans(_)) {
                continue;
            }
            let watermark_ms = exchange.time_ms(running.times[index].2, self.now_ms);
            let end = ChunkEnd {
                next_shard: running.next_shard,
                watermark_ms,
                now_ms: self.now_ms,
                is_last: running.is_last,
                barrier: running.barrier,
            };
            let ends = &mut self.exchanges[index];
            // The sender has come to the end of what was taken ahead.
            if running.shipped.as_ref().is_none_or(|shipped| shipped.exchange != index) {
                ends.sender.end_chunk();
                ends.collect();
            }
            ends.broadcast(Message::ChunkEnd(end));
        }
        if running.is_last {
            self.input_over = true;
        }
        if let Some(barrier) = running.barrier {
            self.seal_scans(barrier.epoch)?;
        }
        Ok(())
    }

    /// Runs a batch through a list of steps and what follows them.
    pub(super) fn run_targets(
        &mut self,
        targets: &[usize],
        batch: &Batch,
        source: &Source,
    ) -> Result<(), JobError> {
        let topology = Arc::clone(&self.topology);
        let context = self.context();
        for &target in targets {
            let step = &topology.steps[target];
            match (&step.kind, &mut self.workers[target]) {
                (StepKind::Send(exchange), _) => self.send(*exchange, batch, source)?,
                (StepKind::Sink(sink), _) => {
                    self.wrote = true;
                    self.sinks.write(*sink, source.origin(), batch)?;
                }
                (StepKind::Union, _) => self.run_targets(&step.targets, batch, source)?,
                (StepKind::Expand(sets), _) => {
                    for batch in expand(batch, sets) {
                        self.run_targets(&step.targets, &batch, source)?;
                    }
                }
                (StepKind::Pack, _) => self.run_targets(&step.targets, &pack(batch), source)?,
                (StepKind::Unpack { types, key_count }, _) => {
                    self.run_targets(&step.targets, &unpack(batch, types, *key_count), source)?;
                }
                (StepKind::WindowTable { .. }, Worker::WindowTable(worker)) => {
                    let batch = worker.apply(batch, self.now_ms);
                    self.run_targets(&step.targets, &batch, source)?;
                }
                (StepKind::Apply(Applied(function)), _) => {
                    let (batch, failure) = apply(&**function, batch);
                    if batch.rows > 0 {
                        self.run_targets(&step.targets, &batch, source)?;
                    }
                    if let Some(failure) = failure {
                        self.fail(function_failed(&**function, failure.message))?;
                    }
                }
                (StepKind::Calc { .. }, Worker::Calc(calc)) => {
                    let (batch, failure) = calc.apply(batch, &context);
                    if batch.rows > 0 {
                        self.run_targets(&step.targets, &batch, source)?;
                    }
                    if let Some(failure) = failure {
                        self.fail(JobError::Expression {
                            origin: "the query".into(),
                            message: failure.message,
                        })?;
                    }
                }
                _ => unreachable!("workers are made from their steps"),
            }
        }
        Ok(())
    }

    /// Hands a batch to an exchange; what is late goes on its own way at once.
    fn send(&mut self, exchange: usize, batch: &Batch, source: &Source) -> Result<(), JobError> {
        let (others_ms, floor_ms) = match source {
            Source::Scan(times) => (times[exchange].0, times[exchange].1),
            // What a function yields knows when it arrived.
            Source::Exchange(from, _)
                if batch.arrival_ms.is_some()
                    && matches!(self.topology.exchanges[*from].owner, Owner::Process(_)) =>
            {
                (WATERMARK_END, WATERMARK_START)
            }
            // Results that came of a row say themselves when it came.
            Source::Exchange(_, watermark_ms) if batch.arrival_ms.is_some() => {
                (WATERMARK_END, *watermark_ms)
            }
            Source::Exchange(_, watermark_ms) => (*watermark_ms, *watermark_ms),
        };
        let ends = &mut self.exchanges[exchange];
        ends.sender.push(batch, others_ms, floor_ms, self.now_ms);
        ends.collect();
        let Some(late) = ends.sender.take_late() else { return Ok(()) };
        let topology = Arc::clone(&self.topology);
        self.run_targets(&topology.exchanges[exchange].late_targets, &late, source)
    }
}

fn function_failed(function: &dyn Apply, message: String) -> JobError {
    let (function, doing) = (function.name().to_owned(), "applied to a row".to_owned());
    JobError::Function { function, doing, message }
}

impl Worker {
    pub(super) fn new(kind: &StepKind, time_zone: Tz) -> Self {
        match kind {
            StepKind::Calc { filter, columns } => {
                Worker::Calc(Calc::new(filter.as_ref(), columns, time_zone))
            }
            StepKind::WindowTable { window, instant_time } => {
                Worker::WindowTable(WindowTable::new(window, *instant_time))
            }
            _ => Worker::Plain,
        }
    }
}
