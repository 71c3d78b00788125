//! The shard: a state machine that reads, folds, exchanges, owns keys, fires and writes, one step at a time.
//!
//! A step does a bounded piece of the most urgent work: first what frees others (outboxes, then owners,
//! deepest first), then its own chunk, then the token, and when there is nothing else it decodes and folds ahead. It
//! never blocks, so the same machine runs pinned to a core or in the simulator.
//!
//! # Invariants
//!
//! 1. An owner passes something on only while everything downstream of it has room; it takes messages whether there is room
//!    or not. Exchanges form no cycle, and nothing deadlocks: `exchange` says why.
//! 2. The token is passed on before the rows of its chunk are worked on.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono_tz::Tz;

use super::checkpoint::Checkpoints;
use super::control::Control;
use super::dead_letter::DeadLetters;
use super::exchange::{Boundary, ChunkEnd, ExchangeEnds, Message, OwnerOrigin, Taken};
use super::flow::{Running, Source, Worker};
use super::input::{Input, ReadRequest};
use super::prepare::Preparer;
use super::sinks::SinkEnds;
use super::token::Token;
use super::topology::{Feeds, Topology};
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::op::{HOLD_MS_MAX, Output};
use crate::ring::mesh::Ends;
use crate::state::caught;
use crate::window::TimeDomain;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done: call again.
    Busy,
    /// Nothing can be done until a doorbell rings, a descriptor is readable, or the time has come.
    Idle { descriptors: Vec<RawFd>, wake_at_ms: Option<i64> },
    /// The shard has nothing left to do.
    Done,
}

/// What goes round between shards besides batches.
pub(crate) enum Turn {
    Token(Box<Token>),
    /// A barrier has passed all chunks so far.
    Barrier(u64),
    /// No chunk comes any more.
    Over,
}

/// One shard.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(super) shard_count: usize,
    pub(super) topology: Arc<Topology>,
    pub(super) control: Arc<Control>,
    pub(super) time_zone: Tz,
    pub(super) input: Input,
    pub(super) workers: Vec<Worker>,
    /// By scan.
    pub(super) preparers: Vec<Preparer>,
    pub(super) exchanges: Vec<ExchangeEnds>,
    pub(crate) sinks: SinkEnds,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) turns: Ends<Turn>,
    pub(super) turn_out: VecDeque<(usize, Turn)>,
    pub(super) token: Option<Box<Token>>,
    pub(super) running: Option<Running>,
    pub(super) input_over: bool,
    pub(super) now_ms: i64,
    pub(super) idle_timeout_ms: i64,
    pub(crate) watcher: Option<super::watch::Watcher>,
    pub(super) finished: bool,
    pub(super) wrote: bool,
    /// Chunk ends noted so far, of all exchanges.
    noted_count: u64,
    /// Where snapshots are reported to, in a job that takes any.
    pub(super) checkpoints: Option<Arc<Checkpoints>>,
    /// The last barrier that has passed this shard's chunks.
    pub(super) sealed_epoch: u64,
    /// The last durable epoch that streams were told of.
    pub(super) released_epoch: u64,
    /// A stream could not keep what it received, because the disk is full.
    pub(super) full: bool,
    /// Since when an owner holds results back.
    held_at_ms: Option<i64>,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) shard_count: usize,
    pub(crate) topology: Arc<Topology>,
    pub(crate) control: Arc<Control>,
    pub(crate) time_zone: Tz,
    pub(crate) input: Input,
    pub(crate) exchanges: Vec<Ends<Message>>,
    pub(crate) sinks: SinkEnds,
    pub(crate) dead_letters: Arc<DeadLetters>,
    pub(crate) turns: Ends<Turn>,
    pub(crate) token: Option<Box<Token>>,
    pub(crate) idle_timeout_ms: i64,
    pub(crate) watcher: Option<super::watch::Watcher>,
    /// By exchange.
    pub(crate) owners: Vec<OwnerOrigin>,
    pub(crate) checkpoints: Option<Arc<Checkpoints>>,
}

/// Messages of an owner that one step takes at most.
const STEP_ITEMS: usize = 8;

/// So long at most a shard that has nothing else to do lets owners hold results back: other shards may be about to send more.
const HOLD_MS: i64 = 1;

/// How long a stream that met a full disk is left alone.
const FULL_DISK_WAIT_MS: i64 = 200;

/// Chunk ends between two measurements of the state's size.
const STATE_NOTED_EVERY: u64 = 64;

impl Shard {
    pub(crate) fn new(parts: Parts) -> Self {
        let topology = parts.topology;
        let workers =
            topology.steps.iter().map(|step| Worker::new(&step.kind, parts.time_zone)).collect();
        let preparer = |scan| Preparer::new(scan, &topology, parts.time_zone);
        let preparers = topology.scans.iter().map(preparer).collect();
        let ends = parts.exchanges.into_iter().zip(parts.owners);
        let exchanges = topology
            .exchanges
            .iter()
            .zip(ends)
            .map(|(exchange, (ends, origin))| ExchangeEnds::new(exchange, ends, 0, origin));
        let epoch = parts.checkpoints.as_ref().map_or(0, |shared| shared.durable_epoch());
        Self {
            index: parts.index,
            shard_count: parts.shard_count,
            control: parts.control,
            time_zone: parts.time_zone,
            input: parts.input,
            workers,
            preparers,
            exchanges: exchanges.collect(),
            sinks: parts.sinks,
            dead_letters: parts.dead_letters,
            turns: parts.turns,
            turn_out: VecDeque::new(),
            token: parts.token,
            running: None,
            input_over: false,
            now_ms: i64::MIN,
            idle_timeout_ms: parts.idle_timeout_ms,
            watcher: parts.watcher,
            finished: false,
            wrote: false,
            noted_count: 0,
            checkpoints: parts.checkpoints,
            sealed_epoch: epoch,
            released_epoch: epoch,
            full: false,
            held_at_ms: None,
            topology,
        }
    }

    /// Does a bounded piece of work at processing time `now_ms`.
    pub(crate) fn step(&mut self, now_ms: i64) -> Step {
        self.now_ms = now_ms.max(self.now_ms);
        if self.finished {
            return Step::Done;
        }
        if self.control.is_failing() && self.running.is_none() {
            return self.abandon();
        }
        // Damaged state and users' functions unwind with their error, see `caught`.
        match caught(|| self.work()) {
            Ok(true) => Step::Busy,
            Ok(false) if self.control.is_failing() => self.abandon(),
            Ok(false) if self.is_complete() => self.finish(),
            Ok(false) => self.rest(),
            Err(error) => {
                self.control.fail(error);
                self.running = None;
                self.abandon()
            }
        }
    }

    /// Ends early: what was written before the failure is shown.
    fn abandon(&mut self) -> Step {
        self.finished = true;
        // The failure that ended the job is the one to report.
        let _ = self.sinks.flush();
        Step::Done
    }

    /// What a runtime that reads files by itself should read next.
    pub(crate) fn wanted_read(&mut self) -> Option<ReadRequest> {
        // A file that cannot be opened is met again, and told, when its chunk is due.
        self.input.wanted_read().ok().flatten()
    }

    /// Takes what the runtime has read.
    pub(crate) fn supply(&mut self, request: &ReadRequest, bytes: Option<Vec<u8>>) {
        self.input.supply(request, bytes);
    }

    fn work(&mut self) -> Result<bool, JobError> {
        let mut busy = self.push_turns();
        for exchange in &mut self.exchanges {
            busy |= exchange.push(&self.control);
        }
        for exchange in (0..self.exchanges.len()).rev() {
            busy |= self.serve_owner(exchange)?;
        }
        busy |= self.run_chunk()?;
        // A job that fails takes no more: a shard that always had a chunk would never see that it is over.
        if self.running.is_none() && !self.control.is_failing() {
            busy |= self.take_turn()?;
        }
        busy = busy || self.prepare_ahead()?;
        Ok(self.let_go(if busy { HOLD_MS_MAX } else { HOLD_MS }) || busy)
    }

    /// Has owners make the results that they have held back for `hold_ms`; false: none has.
    fn let_go(&mut self, hold_ms: i64) -> bool {
        if !self.exchanges.iter().any(ExchangeEnds::holds) {
            self.held_at_ms = None;
            return false;
        }
        let held_at_ms = *self.held_at_ms.get_or_insert(self.now_ms);
        let is_due = self.now_ms >= held_at_ms.saturating_add(hold_ms) || self.input_over;
        is_due && self.exchanges.iter_mut().fold(false, |let_go, ends| ends.let_go() | let_go)
    }

    fn rest(&mut self) -> Step {
        if std::mem::take(&mut self.wrote) {
            if let Err(error) = self.sinks.flush() {
                self.control.fail(error);
            }
            return Step::Busy;
        }
        let waits = self.token.as_ref().is_some_and(|token| token.live);
        // Also for a stream that is not live and yet has nothing: it may be read by a thread of its own.
        let descriptors = if self.token.is_some() { self.input.descriptors() } else { Vec::new() };
        let wake_at_ms = if waits { self.wake_at_ms() } else { None };
        let let_go_at_ms = self.held_at_ms.map(|held_at_ms| held_at_ms + HOLD_MS);
        let wake_at_ms = [wake_at_ms, let_go_at_ms].into_iter().flatten().min();
        Step::Idle { descriptors, wake_at_ms }
    }

    /// When a shard that holds the token of a live job must look again.
    fn wake_at_ms(&self) -> Option<i64> {
        let token = self.token.as_ref()?;
        let paced = token.splits.iter().any(|split| {
            !split.ended && matches!(split.spec.reach, super::token::Reach::Paced(..))
        });
        let watch = self.watcher.as_ref().and_then(|watcher| watcher.due_at_ms(self.now_ms));
        let idle = (self.idle_timeout_ms > 0).then(|| {
            let awake = token.scans.iter().filter(|scan| !scan.idle);
            awake.map(|scan| scan.active_at_ms + self.idle_timeout_ms).min()
        });
        let tick = self.needs_clock().then(|| self.now_ms + self.tick_ms());
        let full = self.full.then(|| self.now_ms + FULL_DISK_WAIT_MS);
        let paced = paced.then(|| self.now_ms + 10);
        [paced, watch, idle.flatten(), tick, full].into_iter().flatten().min()
    }

    pub(super) fn needs_clock(&self) -> bool {
        self.topology.exchanges.iter().any(|exchange| {
            let emit = exchange.send.emit;
            exchange.send.window.domain == TimeDomain::Processing
                || emit.late_delay_ms.is_some_and(|delay| delay > 0)
                || (emit.early_clock == crate::window::EmitClock::Processing
                    && emit.early_delay_ms.is_some_and(|delay| delay > 0))
        })
    }

    /// How often the clock is looked at where something fires by it.
    pub(super) fn tick_ms(&self) -> i64 {
        let delays = self.topology.exchanges.iter().flat_map(|exchange| {
            [exchange.send.emit.early_delay_ms, exchange.send.emit.late_delay_ms]
                .into_iter()
                .flatten()
        });
        delays.filter(|&delay| delay > 0).min().map_or(20, |delay| (delay / 4).clamp(1, 20))
    }

    fn is_complete(&self) -> bool {
        self.input_over
            && self.running.is_none()
            && self.turn_out.is_empty()
            && self.exchanges.iter().all(|exchange| exchange.is_over && exchange.is_clear())
            && !self.exchanges.iter().any(ExchangeEnds::holds)
    }

    fn finish(&mut self) -> Step {
        self.finished = true;
        // With snapshots the last barrier has sealed what is to be published.
        if let Err(error) = self.sinks.finish(self.checkpoints.is_some()) {
            self.control.fail(error);
        }
        Step::Done
    }

    pub(super) fn push_turns(&mut self) -> bool {
        let mut moved = false;
        while let Some((shard, turn)) = self.turn_out.pop_front() {
            match self.turns.to[shard].try_push(turn) {
                Ok(()) => {
                    moved = true;
                    self.control.doorbells[shard].ring();
                }
                Err(turn) => {
                    self.turn_out.push_front((shard, turn));
                    break;
                }
            }
        }
        moved
    }

    /// Serves the owner of one exchange, as far as everything downstream has room.
    fn serve_owner(&mut self, exchange: usize) -> Result<bool, JobError> {
        let mut busy = false;
        for _ in 0..STEP_ITEMS {
            if !self.has_room_below(exchange) && self.exchanges[exchange].yields() {
                break;
            }
            match self.exchanges[exchange].take(&self.control) {
                Taken::Nothing => break,
                Taken::Message => self.pass_on_late(exchange)?,
                Taken::Output(Output::Rows(batch)) => {
                    let before = self.exchanges[exchange].watermark_ms;
                    let topology = Arc::clone(&self.topology);
                    self.run_targets(
                        &topology.exchanges[exchange].targets,
                        &batch,
                        &Source::Exchange(exchange, before),
                    )?;
                }
                Taken::Output(Output::Partials(payload)) => {
                    let second =
                        self.topology.exchanges[exchange].second_stage.expect("made for one");
                    self.exchanges[second].sender.push_partials(payload);
                    self.exchanges[second].collect();
                }
                Taken::Boundary(boundary) => self.pass_on(exchange, boundary)?,
            }
            busy = true;
        }
        Ok(busy)
    }

    /// Passes on what an owner has just found late. No exchange takes that, so it needs no room.
    fn pass_on_late(&mut self, exchange: usize) -> Result<(), JobError> {
        let ends = &mut self.exchanges[exchange];
        let (late, before) = (ends.owner.take_late(), ends.watermark_ms);
        let Some(late) = late else { return Ok(()) };
        let topology = Arc::clone(&self.topology);
        let source = Source::Exchange(exchange, before);
        self.run_targets(&topology.exchanges[exchange].late_targets, &late, &source)
    }

    fn has_room_below(&self, exchange: usize) -> bool {
        let mut below = self.topology.exchanges.iter().zip(&self.exchanges).skip(exchange + 1);
        below.all(|(spec, ends)| match &spec.feeds {
            Feeds::Exchanges(feeds) if feeds.contains(&exchange) => {
                ends.is_clear() && ends.is_turn_of(exchange, feeds)
            }
            _ => true,
        })
    }

    /// Passes a boundary on to the exchanges that this one feeds.
    fn pass_on(&mut self, exchange: usize, boundary: Boundary) -> Result<(), JobError> {
        let topology = Arc::clone(&self.topology);
        match boundary {
            Boundary::Mark(watermark_ms) => {
                if let Some(second) = topology.exchanges[exchange].second_stage {
                    self.exchanges[second].sender.push_mark(watermark_ms);
                    self.exchanges[second].collect();
                    return Ok(());
                }
                for (below, spec) in topology.exchanges.iter().enumerate().skip(exchange + 1) {
                    if matches!(&spec.feeds, Feeds::Exchanges(feeds) if feeds.contains(&exchange)) {
                        self.exchanges[below].pass_point();
                    }
                }
            }
            Boundary::Chunk(end) => {
                self.note_progress(exchange, end);
                for (below, spec) in topology.exchanges.iter().enumerate().skip(exchange + 1) {
                    let Feeds::Exchanges(feeds) = &spec.feeds else { continue };
                    if !feeds.contains(&exchange) {
                        continue;
                    }
                    let ends = &mut self.exchanges[below];
                    let ended = ends.feed_ended(exchange, end, feeds.len());
                    if ended.is_none() {
                        ends.pass_point();
                    }
                    if let Some(mut end) = ended {
                        end.watermark_ms = spec.time_ms(end.watermark_ms, end.now_ms);
                        ends.sender.end_chunk();
                        if end.barrier.is_some() && self.checkpoints.is_some() {
                            ends.seal_sender();
                        }
                        ends.collect();
                        ends.broadcast(Message::ChunkEnd(end));
                    }
                }
                if let Some(barrier) = end.barrier {
                    self.seal_owner(exchange, barrier)?;
                }
                self.exchanges[exchange].owner.acknowledge();
            }
        }
        Ok(())
    }

    fn note_progress(&mut self, exchange: usize, end: ChunkEnd) {
        self.exchanges[exchange].watermark_ms = end.watermark_ms;
        let progress = &self.control.progress[self.index];
        progress.fired.store(
            self.exchanges.iter().map(|ends| ends.owner.fired_count()).sum(),
            Ordering::Relaxed,
        );
        // Measuring state takes time that grows with it.
        if self.noted_count.is_multiple_of(STATE_NOTED_EVERY) {
            let bytes = self.exchanges.iter().map(|ends| ends.owner.state_bytes() as u64).sum();
            progress.state_bytes.store(bytes, Ordering::Relaxed);
        }
        self.noted_count += 1;
        let late = self.exchanges.iter().map(|ends| {
            ends.sender.late_rows().count + ends.owner.late_rows().map_or(0, |late| late.count)
        });
        progress.late.store(late.sum(), Ordering::Relaxed);
        let watermark = self.exchanges.iter().map(|ends| ends.watermark_ms).min();
        progress.watermark_ms.store(watermark.unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    /// Late rows, by the tables that feed the exchange.
    pub(crate) fn late_rows(&self) -> Vec<(String, LateRows)> {
        let topology = &self.topology;
        let exchanges = topology.exchanges.iter().zip(&self.exchanges);
        exchanges
            .map(|(exchange, ends)| {
                let mut late = ends.sender.late_rows().clone();
                if let Some(more) = ends.owner.late_rows() {
                    late.add(more);
                }
                let name = match &exchange.feeds {
                    Feeds::Scans(scans) => scans
                        .iter()
                        .map(|&scan| topology.scans[scan].table.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                    Feeds::Exchanges(_) => "a window's results".to_owned(),
                };
                (name, late)
            })
            .collect()
    }
}
