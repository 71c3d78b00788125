//! The shard: a state machine that reads, folds, exchanges, owns keys, fires and writes, one step at a time.
//!
//! A step does a bounded piece of the most urgent work: first what frees others (outboxes, then owners,
//! deepest first), then its own chunk, then the token, and when there is nothing else it decodes ahead. It
//! never blocks, so the same machine runs pinned to a core or in the simulator.
//!
//! # Invariants
//!
//! 1. An owner is served only while everything downstream of it has room, and exchanges form no cycle, so the
//!    deepest one can always move: nothing deadlocks.
//! 2. The token is passed on before the rows of its chunk are worked on.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_buffer::ScalarBuffer;
use chrono_tz::Tz;

use super::control::Control;
use super::dead_letter::DeadLetters;
use super::exchange::{Boundary, ChunkEnd, ExchangeEnds, Message, Taken};
use super::input::{DecodedChunk, Input, ScanBatch};
use super::sinks::SinkEnds;
use super::token::{Chunk, Token};
use super::topology::{Feeds, StepKind, Topology};
use crate::batch::Batch;
use crate::error::JobError;
use crate::expr::EvalContext;
use crate::metrics::LateRows;
use crate::op::Output;
use crate::op::calc::Calc;
use crate::op::expand::expand;
use crate::op::window_table::WindowTable;
use crate::ring::mesh::Ends;
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
    /// No chunk comes any more.
    Over,
}

/// A chunk whose rows are being worked on.
struct Running {
    scan: usize,
    batches: VecDeque<Batch>,
    /// Per exchange that scans feed: the cap by other splits, the floor, and the watermark after the chunk.
    times: Vec<(i64, i64, i64)>,
    next_shard: usize,
    is_last: bool,
    failure: Option<JobError>,
}

/// A stateless step, compiled.
enum Worker {
    Calc(Calc),
    WindowTable(WindowTable),
    Plain,
}

/// One shard.
pub(crate) struct Shard {
    pub(crate) index: usize,
    shard_count: usize,
    topology: Arc<Topology>,
    control: Arc<Control>,
    time_zone: Tz,
    input: Input,
    workers: Vec<Worker>,
    exchanges: Vec<ExchangeEnds>,
    pub(crate) sinks: SinkEnds,
    dead_letters: Arc<DeadLetters>,
    turns: Ends<Turn>,
    turn_out: VecDeque<(usize, Turn)>,
    token: Option<Box<Token>>,
    running: Option<Running>,
    input_over: bool,
    now_ms: i64,
    idle_timeout_ms: i64,
    pub(crate) watcher: Option<super::watch::Watcher>,
    finished: bool,
    wrote: bool,
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
}

/// Batches of a chunk, or messages of an owner, that one step takes at most.
const STEP_ITEMS: usize = 8;

impl Shard {
    pub(crate) fn new(parts: Parts) -> Self {
        let topology = parts.topology;
        let workers =
            topology.steps.iter().map(|step| Worker::new(&step.kind, parts.time_zone)).collect();
        let ends = parts.exchanges.into_iter();
        let exchanges = topology
            .exchanges
            .iter()
            .zip(ends)
            .map(|(exchange, ends)| ExchangeEnds::new(exchange, ends, 0));
        Self {
            index: parts.index,
            shard_count: parts.shard_count,
            control: parts.control,
            time_zone: parts.time_zone,
            input: parts.input,
            workers,
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
            topology,
        }
    }

    /// Does a bounded piece of work at processing time `now_ms`.
    pub(crate) fn step(&mut self, now_ms: i64) -> Step {
        self.now_ms = now_ms.max(self.now_ms);
        if self.finished || (self.control.is_failing() && self.running.is_none()) {
            return Step::Done;
        }
        match self.work() {
            Ok(true) => Step::Busy,
            Ok(false) if self.control.is_failing() => Step::Done,
            Ok(false) if self.is_complete() => self.finish(),
            Ok(false) => self.rest(),
            Err(error) => {
                self.control.fail(error);
                self.running = None;
                Step::Done
            }
        }
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
        if self.running.is_none() {
            busy |= self.take_turn()?;
        }
        Ok(busy || self.input.decode_ahead(self.now_ms)?)
    }

    fn rest(&mut self) -> Step {
        if std::mem::take(&mut self.wrote) {
            if let Err(error) = self.sinks.flush() {
                self.control.fail(error);
            }
            return Step::Busy;
        }
        let waits = self.token.as_ref().is_some_and(|token| token.live);
        let descriptors = if waits { self.input.descriptors() } else { Vec::new() };
        let wake_at_ms = if waits { self.wake_at_ms() } else { None };
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
            let open = token.splits.iter().filter(|split| !split.ended && !split.idle);
            open.map(|split| split.active_at_ms + self.idle_timeout_ms).min()
        });
        let tick = self.needs_clock().then(|| self.now_ms + self.tick_ms());
        [paced.then(|| self.now_ms + 10), watch, idle.flatten(), tick].into_iter().flatten().min()
    }

    fn needs_clock(&self) -> bool {
        self.topology.exchanges.iter().any(|exchange| {
            let emit = exchange.send.emit;
            exchange.send.window.domain == TimeDomain::Processing
                || emit.late_delay_ms.is_some_and(|delay| delay > 0)
                || (emit.early_clock == crate::window::EmitClock::Processing
                    && emit.early_delay_ms.is_some_and(|delay| delay > 0))
        })
    }

    /// How often the clock is looked at where something fires by it.
    fn tick_ms(&self) -> i64 {
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
    }

    fn finish(&mut self) -> Step {
        self.finished = true;
        if let Err(error) = self.sinks.finish() {
            self.control.fail(error);
        }
        Step::Done
    }

    fn push_turns(&mut self) -> bool {
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

    /// Serves the owner of one exchange, if everything downstream has room.
    fn serve_owner(&mut self, exchange: usize) -> Result<bool, JobError> {
        let mut busy = false;
        for _ in 0..STEP_ITEMS {
            if !self.has_room_below(exchange) {
                break;
            }
            match self.exchanges[exchange].take() {
                Taken::Nothing => break,
                Taken::Message => {}
                Taken::Output(Output::Rows(batch)) => {
                    let before = self.exchanges[exchange].watermark_ms;
                    let topology = Arc::clone(&self.topology);
                    self.run_targets(
                        &topology.exchanges[exchange].targets,
                        &batch,
                        &Source::Exchange(before),
                    )?;
                }
                Taken::Output(Output::Partials(payload)) => {
                    let second =
                        self.topology.exchanges[exchange].second_stage.expect("made for one");
                    self.exchanges[second].sender.push_partials(payload);
                    self.exchanges[second].collect();
                }
                Taken::Boundary(boundary) => self.pass_on(exchange, boundary),
            }
            busy = true;
        }
        Ok(busy)
    }

    fn has_room_below(&self, exchange: usize) -> bool {
        let topology = &self.topology;
        (exchange + 1..self.exchanges.len()).all(|below| {
            let fed = matches!(&topology.exchanges[below].feeds, Feeds::Exchanges(feeds) if feeds.contains(&exchange));
            !fed || self.exchanges[below].is_clear()
        })
    }

    /// Passes a boundary on to the exchanges that this one feeds.
    fn pass_on(&mut self, exchange: usize, boundary: Boundary) {
        let topology = Arc::clone(&self.topology);
        match boundary {
            Boundary::Mark(watermark_ms) => {
                if let Some(second) = topology.exchanges[exchange].second_stage {
                    self.exchanges[second].sender.push_mark(watermark_ms);
                    self.exchanges[second].collect();
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
                    if let Some(mut end) = ends.feed_ended(end, feeds.len()) {
                        if spec.send.window.domain == TimeDomain::Processing {
                            end.watermark_ms = end.now_ms;
                        }
                        ends.sender.end_chunk();
                        ends.collect();
                        ends.broadcast(Message::ChunkEnd(end));
                    }
                }
            }
        }
    }

    fn note_progress(&mut self, exchange: usize, end: ChunkEnd) {
        self.exchanges[exchange].watermark_ms = end.watermark_ms;
        let progress = &self.control.progress[self.index];
        progress.fired.store(
            self.exchanges.iter().map(|ends| ends.owner.fired_count()).sum(),
            Ordering::Relaxed,
        );
        progress.state_bytes.store(
            self.exchanges.iter().map(|ends| ends.owner.state_bytes() as u64).sum(),
            Ordering::Relaxed,
        );
        let late = self.exchanges.iter().map(|ends| {
            ends.sender.late_rows().count + ends.owner.late_rows().map_or(0, |late| late.count)
        });
        progress.late.store(late.sum(), Ordering::Relaxed);
        let watermark = self.exchanges.iter().map(|ends| ends.watermark_ms).min();
        progress.watermark_ms.store(watermark.unwrap_or(i64::MIN), Ordering::Relaxed);
    }

    /// Works on the running chunk, as long as what it yields finds room.
    fn run_chunk(&mut self) -> Result<bool, JobError> {
        let mut busy = false;
        for _ in 0..STEP_ITEMS {
            if self.running.is_none() || !self.exchanges.iter().all(ExchangeEnds::is_clear) {
                break;
            }
            busy = true;
            let mut running = self.running.take().expect("checked above");
            match running.batches.pop_front() {
                Some(batch) => {
                    let topology = Arc::clone(&self.topology);
                    let source = Source::Scan(running.times.clone());
                    let done =
                        self.run_targets(&topology.scans[running.scan].targets, &batch, &source);
                    self.running = Some(running);
                    done?;
                }
                None => self.end_chunk(running)?,
            }
        }
        Ok(busy)
    }

    fn end_chunk(&mut self, running: Running) -> Result<(), JobError> {
        if let Some(failure) = running.failure {
            self.sinks.flush()?;
            return Err(failure);
        }
        let topology = Arc::clone(&self.topology);
        for (index, exchange) in topology.exchanges.iter().enumerate() {
            if !matches!(exchange.feeds, Feeds::Scans(_)) {
                continue;
            }
            let watermark_ms = match exchange.send.window.domain {
                TimeDomain::Event => running.times[index].2,
                TimeDomain::Processing => self.now_ms,
            };
            let end = ChunkEnd {
                next_shard: running.next_shard,
                watermark_ms,
                now_ms: self.now_ms,
                is_last: running.is_last,
            };
            let ends = &mut self.exchanges[index];
            ends.sender.end_chunk();
            ends.collect();
            ends.broadcast(Message::ChunkEnd(end));
        }
        if running.is_last {
            self.input_over = true;
        }
        Ok(())
    }

    /// Runs a batch through a list of steps and what follows them.
    fn run_targets(
        &mut self,
        targets: &[usize],
        batch: &Batch,
        source: &Source,
    ) -> Result<(), JobError> {
        let topology = Arc::clone(&self.topology);
        for &target in targets {
            let step = &topology.steps[target];
            match (&step.kind, &mut self.workers[target]) {
                (StepKind::Send(exchange), _) => self.send(*exchange, batch, source),
                (StepKind::Sink(sink), _) => {
                    self.wrote = true;
                    self.sinks.write(*sink, batch)?;
                }
                (StepKind::Union, _) => self.run_targets(&step.targets, batch, source)?,
                (StepKind::Expand(sets), _) => {
                    for batch in expand(batch, sets) {
                        self.run_targets(&step.targets, &batch, source)?;
                    }
                }
                (StepKind::WindowTable { .. }, Worker::WindowTable(worker)) => {
                    let batch = worker.apply(batch, self.now_ms);
                    self.run_targets(&step.targets, &batch, source)?;
                }
                (StepKind::Calc { .. }, Worker::Calc(calc)) => {
                    let context = EvalContext { time_zone: self.time_zone, now_ms: self.now_ms };
                    let (batch, failure) = calc.apply(batch, &context);
                    if batch.rows > 0 {
                        self.run_targets(&step.targets, &batch, source)?;
                    }
                    if let Some(failure) = failure {
                        self.sinks.flush()?;
                        return Err(JobError::Expression {
                            origin: "the query".into(),
                            message: failure.message,
                        });
                    }
                }
                _ => unreachable!("workers are made from their steps"),
            }
        }
        Ok(())
    }

    fn send(&mut self, exchange: usize, batch: &Batch, source: &Source) {
        let (others_ms, floor_ms) = match source {
            Source::Scan(times) => (times[exchange].0, times[exchange].1),
            Source::Exchange(watermark_ms) => (*watermark_ms, *watermark_ms),
        };
        let ends = &mut self.exchanges[exchange];
        ends.sender.push(batch, others_ms, floor_ms, self.now_ms);
        ends.collect();
    }

    /// Takes the token, or the news that the sequence is over.
    fn take_turn(&mut self) -> Result<bool, JobError> {
        if self.token.is_none() {
            for from in 0..self.shard_count {
                match self.turns.from[from].try_pop() {
                    Some(Turn::Token(token)) => {
                        self.token = Some(token);
                        break;
                    }
                    Some(Turn::Over) => {
                        self.input_over = true;
                        return Ok(true);
                    }
                    None => {}
                }
            }
        }
        let Some(mut token) = self.token.take() else { return Ok(false) };
        token.now_ms = token.now_ms.max(self.now_ms);
        self.now_ms = token.now_ms;
        let done = match token.chosen {
            Some(chunk) => self.take_chunk(token, chunk)?,
            None => self.choose(token)?,
        };
        Ok(done)
    }

    /// Chooses the next chunk: on shard 0 in a live job, and at the very start.
    fn choose(&mut self, mut token: Box<Token>) -> Result<bool, JobError> {
        if self.control.is_stopped() {
            self.end_sequence(&token);
            return Ok(true);
        }
        self.watch(&mut token)?;
        if let Some(done) = self.read_live(&mut token)? {
            let (split, chunk) = done;
            self.take_decoded(token, split, chunk);
            return Ok(true);
        }
        if let Some(chunk) = token.choose() {
            if chunk.shard == self.index {
                token.chosen = Some(chunk);
                return self.take_chunk(token, chunk);
            }
            self.hand_over(token, chunk);
            return Ok(true);
        }
        if token.is_over() {
            self.end_sequence(&token);
            return Ok(true);
        }
        if self.has_news(&mut token) {
            self.run_nothing(&mut token, self.index, false);
            self.token = Some(token);
            return Ok(true);
        }
        self.token = Some(token);
        Ok(false)
    }

    /// Lets a watched directory's new files into the sequence.
    fn watch(&mut self, token: &mut Token) -> Result<(), JobError> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        for (state, stream) in watcher.look(self.now_ms)? {
            let split = token.splits.len();
            token.splits.push(state);
            if let Some(stream) = stream {
                self.input.add_stream(split, stream);
            }
        }
        self.input.observe(token);
        Ok(())
    }

    /// A chunk from a live split, if one has something.
    fn read_live(&mut self, token: &mut Token) -> Result<Option<(usize, DecodedChunk)>, JobError> {
        let count = token.splits.len();
        // Round robin, so that a busy stream does not starve the others.
        let start = token.splits.iter().map(|split| split.next_chunk).sum::<u64>() as usize;
        for split in (0..count).map(|offset| (start + offset) % count.max(1)) {
            let state = &token.splits[split];
            if state.ended {
                continue;
            }
            let spec = Arc::clone(&state.spec);
            let chunk = match spec.reach {
                super::token::Reach::Sequential { live: true, .. } => {
                    self.input.read_stream(split, &spec, state.next_chunk, true, self.now_ms)?
                }
                super::token::Reach::Paced(..) => self.input.read_paced(split, &spec, self.now_ms),
                _ => None,
            };
            if let Some(chunk) = chunk {
                return Ok(Some((split, chunk)));
            }
        }
        Ok(None)
    }

    /// Whether idle splits or the clock have something to say; notes which splits are idle.
    fn has_news(&mut self, token: &mut Token) -> bool {
        let mut news = false;
        if self.idle_timeout_ms > 0 {
            for split in token.splits.iter_mut().filter(|split| !split.ended && !split.idle) {
                if self.now_ms - split.active_at_ms >= self.idle_timeout_ms {
                    split.idle = true;
                    news = true;
                }
            }
        }
        if self.needs_clock() && token.now_ms >= token.ticked_ms + self.tick_ms() {
            token.ticked_ms = token.now_ms;
            news = true;
        }
        news
    }

    /// A chunk without rows: it says whose turn is next, or what time it is.
    fn run_nothing(&mut self, token: &mut Token, next_shard: usize, is_last: bool) {
        let times = self.times(token, usize::MAX);
        self.running = Some(Running {
            scan: 0,
            batches: VecDeque::new(),
            times,
            next_shard,
            is_last,
            failure: None,
        });
    }

    /// Passes the token on to the shard that reads `chunk`; the owners are told by a chunk without rows.
    fn hand_over(&mut self, mut token: Box<Token>, chunk: Chunk) {
        self.run_nothing(&mut token, chunk.shard, false);
        token.chosen = Some(chunk);
        self.turn_out.push_back((chunk.shard, Turn::Token(token)));
    }

    fn end_sequence(&mut self, token: &Token) {
        let times = token.exchange_ms.iter().map(|&reached| (reached, reached, reached)).collect();
        self.running = Some(Running {
            scan: 0,
            batches: VecDeque::new(),
            times,
            next_shard: self.index,
            is_last: true,
            failure: None,
        });
        self.announce_over();
    }

    fn announce_over(&mut self) {
        for shard in (0..self.shard_count).filter(|&shard| shard != self.index) {
            self.turn_out.push_back((shard, Turn::Over));
        }
    }

    /// Takes the chunk that was chosen for this shard.
    fn take_chunk(&mut self, token: Box<Token>, chunk: Chunk) -> Result<bool, JobError> {
        self.input.observe(&token);
        match self.input.take(chunk.split, chunk.index, &token.splits[chunk.split], self.now_ms)? {
            Some(decoded) => {
                self.take_decoded(token, chunk.split, decoded);
                Ok(true)
            }
            None => {
                // A bounded stream that has nothing yet: keep the token and look again.
                self.token = Some(token);
                Ok(false)
            }
        }
    }

    /// Puts a decoded chunk into the sequence and passes the token on.
    fn take_decoded(&mut self, mut token: Box<Token>, split: usize, mut decoded: DecodedChunk) {
        let others: Vec<i64> = self.caps(&token, split);
        let scan = token.splits[split].spec.scan;
        let failure = self.note_bad_records(&token, split, &mut decoded);
        let mut state = token.splits[split].clone();
        let batches =
            decoded.batches.drain(..).map(|batch| stamp(batch, &mut state.watermark_ms)).collect();
        state.in_quotes = Input::ends_in_quotes(&decoded, state.in_quotes);
        state.lines += decoded.line_count;
        state.next_chunk += 1;
        state.active_at_ms = self.now_ms;
        state.idle = false;
        state.ended = decoded.is_last || is_last_chunk(&state);
        token.splits[split] = state;
        let times = self.times_after(&mut token, others);
        let is_last = !token.live && token.choose().is_none();
        let next = if token.live { None } else { token.choose() };
        let next_shard = next.map_or(0, |chunk| chunk.shard);
        self.running = Some(Running {
            scan,
            batches,
            times,
            next_shard,
            is_last: is_last && failure.is_none(),
            failure,
        });
        token.chosen = next;
        let stopped = self.control.is_stopped() && !token.live;
        if is_last || stopped {
            let running = self.running.as_mut().expect("set above");
            running.is_last = running.failure.is_none();
            self.announce_over();
        } else if next_shard == self.index {
            self.input.observe(&token);
            self.token = Some(token);
        } else {
            self.input.observe(&token);
            self.turn_out.push_back((next_shard, Turn::Token(token)));
        }
        self.push_turns();
    }

    /// Per exchange, what caps the watermark of rows of `split`.
    fn caps(&self, token: &Token, split: usize) -> Vec<i64> {
        let cap =
            |exchange: &super::topology::Exchange| token.feeding_ms(&exchange.feeds, Some(split));
        self.topology.exchanges.iter().map(cap).collect()
    }

    fn times(&mut self, token: &mut Token, split: usize) -> Vec<(i64, i64, i64)> {
        let caps = self.caps(token, split);
        self.times_after(token, caps)
    }

    fn times_after(&mut self, token: &mut Token, caps: Vec<i64>) -> Vec<(i64, i64, i64)> {
        let topology = Arc::clone(&self.topology);
        let exchanges = topology.exchanges.iter().zip(caps).enumerate();
        exchanges
            .map(|(index, (exchange, cap))| {
                let floor = token.exchange_ms[index];
                let after = match exchange.feeds {
                    Feeds::Scans(_) => token.advance(index, &exchange.feeds),
                    Feeds::Exchanges(_) => floor,
                };
                (cap, floor, after)
            })
            .collect()
    }

    /// Counts and keeps records that were dropped; the error of one that stops the job.
    fn note_bad_records(
        &mut self,
        token: &Token,
        split: usize,
        decoded: &mut DecodedChunk,
    ) -> Option<JobError> {
        let state = &token.splits[split];
        let scan = &self.topology.scans[state.spec.scan];
        let rows: usize = decoded.batches.iter().map(|batch| batch.batch.rows).sum();
        let progress = &self.control.progress[self.index];
        progress.rows.fetch_add(rows as u64, Ordering::Relaxed);
        progress.bytes.fetch_add(decoded.byte_count, Ordering::Relaxed);
        progress.malformed.fetch_add(decoded.skipped_count, Ordering::Relaxed);
        self.dead_letters.note(
            &scan.table,
            &state.spec.origin,
            state.lines,
            &decoded.skipped,
            decoded.skipped_count,
        );
        if let Some(failure) = decoded.failure.take() {
            return Some(failure);
        }
        decoded.bad_record.take().map(|record| JobError::BadRecord {
            origin: state.spec.origin.clone(),
            line: state.lines + record.line_index + 1,
            column: record.column,
            message: record.reason,
            hint: scan.source.format().map(|format| format.skip_hint().to_owned()),
        })
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

impl Worker {
    fn new(kind: &StepKind, time_zone: Tz) -> Self {
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

/// Where a batch comes from, and so what its rows' watermarks are.
enum Source {
    /// A scan; per exchange the cap and the floor.
    Scan(Vec<(i64, i64, i64)>),
    /// An exchange, whose watermark before this firing was so.
    Exchange(i64),
}

fn is_last_chunk(state: &super::token::SplitState) -> bool {
    match &state.spec.reach {
        super::token::Reach::Ranged(_, count) => state.next_chunk >= *count,
        super::token::Reach::Generated(_, count) => {
            count.is_some_and(|count| state.next_chunk >= count)
        }
        _ => false,
    }
}

/// Gives each row the split's watermark at its arrival: a running maximum of what the rows before it asked for.
fn stamp(batch: ScanBatch, watermark_ms: &mut i64) -> Batch {
    let mut running = *watermark_ms;
    let arrival: Vec<i64> = match batch.watermark_ms.is_empty() {
        true => vec![running; batch.batch.rows],
        false => batch
            .watermark_ms
            .iter()
            .map(|&asked| {
                let before = running;
                running = running.max(asked);
                before
            })
            .collect(),
    };
    *watermark_ms = running;
    let mut stamped = batch.batch;
    stamped.arrival_ms = Some(ScalarBuffer::from(arrival));
    stamped
}
