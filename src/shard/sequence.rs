//! The shard's part in the sequence of chunks: it takes the token, chooses, and passes it on.
//!
//! # Invariants
//!
//! 1. Whoever takes chunk *k* knows the watermark after chunk *k* - 1, and says the one after *k* before it works on its rows.
//! 2. In a live job shard 0 chooses, and tells the owners whose turn it is by chunks without rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::barrier::Ends;
use super::flow::Running;
use super::input::{DecodedChunk, Input};
use super::machine::{Shard, Turn};
use super::place::Place;
use super::prepare::{ChunkRows, Shipped};
use super::scan::ScanBatch;
use super::token::{Chunk, Reach, SplitState, Token};
use super::topology::{Exchange, Feeds};
use crate::batch::{Arrival, Batch};
use crate::error::{JobError, StateError};

impl Shard {
    /// Takes the token, or the news that the sequence is over.
    pub(super) fn take_turn(&mut self) -> Result<bool, JobError> {
        if self.take_news()? {
            return Ok(true);
        }
        if self.checkpoints.as_ref().is_some_and(|shared| shared.is_paused()) {
            return Ok(false);
        }
        let Some(mut token) = self.token.take() else { return Ok(false) };
        self.seal_scans(token.epoch)?;
        self.release_streams()?;
        token.now_ms = token.now_ms.max(self.now_ms);
        self.now_ms = token.now_ms;
        let done = match token.chosen {
            Some(chunk) => self.take_chunk(token, chunk)?,
            None => self.choose(token)?,
        };
        Ok(done)
    }

    /// Takes what other shards have sent; whether the sequence is over.
    fn take_news(&mut self) -> Result<bool, JobError> {
        let mut over = false;
        for from in 0..self.shard_count {
            while let Some(turn) = self.turns.from[from].try_pop() {
                match turn {
                    Turn::Token(token) => self.token = Some(token),
                    Turn::Barrier(epoch) => self.seal_scans(epoch)?,
                    Turn::Over => over = true,
                }
            }
        }
        self.input_over |= over;
        Ok(over)
    }

    /// Chooses the next chunk: on shard 0 in a live job, and at the very start.
    fn choose(&mut self, mut token: Box<Token>) -> Result<bool, JobError> {
        if self.control.is_stopped() {
            self.end_sequence(&mut token, Ends::Stopped);
            return Ok(true);
        }
        self.watch(&mut token)?;
        let news = self.has_news(&mut token);
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
            self.end_sequence(&mut token, Ends::Finished);
            return Ok(true);
        }
        if news || self.checkpoints.as_ref().is_some_and(|shared| shared.is_due(token.epoch)) {
            self.run_nothing(&mut token, self.index);
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
                Reach::Sequential { live: true, .. } => {
                    let index = state.next_chunk;
                    let read = self.input.read_stream(split, &spec, index, true);
                    self.wait_for_room(read)?
                }
                Reach::Paced(..) => self.input.read_paced(split, &spec, state.rows, self.now_ms),
                _ => None,
            };
            if let Some(chunk) = chunk {
                return Ok(Some((split, chunk)));
            }
        }
        Ok(None)
    }

    /// A stream that cannot keep what it has received because the disk is full is asked again later.
    fn wait_for_room(
        &mut self,
        read: Result<Option<DecodedChunk>, JobError>,
    ) -> Result<Option<DecodedChunk>, JobError> {
        let full = matches!(read, Err(JobError::State(StateError::Full { .. })));
        if full != self.full {
            self.full = full;
            let alarm = read.as_ref().err().map(ToString::to_string);
            self.control.snapshots.alarm(alarm);
        }
        if full { Ok(None) } else { read }
    }

    /// Whether idle tables or the clock have something to say; notes which tables are idle.
    fn has_news(&mut self, token: &mut Token) -> bool {
        let mut news = false;
        if self.idle_timeout_ms > 0 {
            for scan in token.scans.iter_mut().filter(|scan| !scan.idle) {
                if self.now_ms - scan.active_at_ms >= self.idle_timeout_ms {
                    scan.idle = true;
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
    fn run_nothing(&mut self, token: &mut Token, next_shard: usize) {
        let caps = self.caps(token, None);
        let times = self.times_after(token, caps);
        let barrier = self.begin_barrier(token, Ends::No);
        self.running = Some(Running {
            scan: 0,
            batches: VecDeque::new(),
            shipped: None,
            times,
            next_shard,
            is_last: false,
            barrier,
            failure: None,
            place: None,
        });
    }

    /// Passes the token on to the shard that reads `chunk`; the owners are told by a chunk without rows.
    fn hand_over(&mut self, mut token: Box<Token>, chunk: Chunk) {
        self.run_nothing(&mut token, chunk.shard);
        token.chosen = Some(chunk);
        self.turn_out.push_back((chunk.shard, Turn::Token(token)));
    }

    fn end_sequence(&mut self, token: &mut Token, ends: Ends) {
        let times = token.exchange_ms.iter().map(|&reached| (reached, reached, reached)).collect();
        let barrier = self.begin_barrier(token, ends);
        self.running = Some(Running {
            scan: 0,
            batches: VecDeque::new(),
            shipped: None,
            times,
            next_shard: self.index,
            is_last: true,
            barrier,
            failure: None,
            place: None,
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
        match self.input.take(chunk.split, chunk.index, &token.splits[chunk.split])? {
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
        let others: Vec<i64> = self.caps(&token, Some(split));
        let scan = token.splits[split].spec.scan;
        self.prepare_for(&token, split, &mut decoded);
        let row_count = decoded.rows.count();
        let place = Place::of(&self.topology, &token.splits[split], &decoded);
        let failure = self.note_bad_records(&token, split, &mut decoded, &place);
        let mut state = token.splits[split].clone();
        let (batches, shipped) = self.stamped(std::mem::take(&mut decoded.rows), &mut state);
        state.in_quotes = Input::ends_in_quotes(&decoded, state.in_quotes);
        state.lines += decoded.line_count;
        state.next_chunk += 1;
        state.ended = decoded.is_last || is_last_chunk(&state);
        match state.spec.reach {
            Reach::Sequential { .. } => state.position = self.input.position(split),
            Reach::Paced(..) | Reach::Generated(..) => state.rows += row_count,
            _ => {}
        }
        if row_count > 0 {
            self.control.note_rows();
        }
        if let Some(shared) = &self.checkpoints {
            shared.note_chunk();
        }
        token.splits[split] = state;
        token.turn = Some(split);
        token.scans[scan].active_at_ms = self.now_ms;
        token.scans[scan].idle = false;
        let times = self.times_after(&mut token, others);
        let is_last = !token.live && token.choose().is_none();
        let next = if token.live { None } else { token.choose() };
        let next_shard = next.map_or(0, |chunk| chunk.shard);
        let stopped = self.control.is_stopped() && !token.live;
        let ends = match (is_last, stopped) {
            (true, _) => Ends::Finished,
            (false, true) => Ends::Stopped,
            (false, false) => Ends::No,
        };
        let barrier = if failure.is_none() { self.begin_barrier(&mut token, ends) } else { None };
        self.running = Some(Running {
            scan,
            batches,
            shipped,
            times,
            next_shard,
            is_last: is_last || stopped,
            barrier,
            failure,
            place: Some(place),
        });
        token.chosen = next;
        if is_last || stopped {
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

    /// A chunk's rows with the watermarks that they arrive at, or what they came to without.
    fn stamped(
        &mut self,
        rows: ChunkRows,
        state: &mut SplitState,
    ) -> (VecDeque<Batch>, Option<Shipped>) {
        let (mut jumps, start_ms) = (0, state.watermark_ms);
        let stamped = match rows {
            ChunkRows::Taken(taken) => {
                state.watermark_ms = state.watermark_ms.max(taken.highest_ms);
                (VecDeque::new(), Some(taken.shipped))
            }
            ChunkRows::Scanned(batches) => {
                let stamp = |batch| stamp(batch, start_ms, &mut state.watermark_ms, &mut jumps);
                (batches.into_iter().map(stamp).collect(), None)
            }
            ChunkRows::Decoded(_) => unreachable!("its turn has come, so it is prepared"),
        };
        self.control.progress[self.index].jumps.fetch_add(jumps, Ordering::Relaxed);
        stamped
    }

    /// Per exchange, what caps the watermark of rows of `split`.
    fn caps(&self, token: &Token, split: Option<usize>) -> Vec<i64> {
        let cap = |exchange: &Exchange| token.feeding_ms(&exchange.feeds, split);
        self.topology.exchanges.iter().map(cap).collect()
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
        place: &Place,
    ) -> Option<JobError> {
        let state = &token.splits[split];
        let scan = &self.topology.scans[state.spec.scan];
        let rows = decoded.rows.count();
        let progress = &self.control.progress[self.index];
        progress.rows.fetch_add(rows, Ordering::Relaxed);
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
            // The rows before the one that failed are there.
            return Some(place.put(failure, rows));
        }
        decoded.bad_record.take().map(|record| JobError::BadRecord {
            origin: state.spec.origin.clone(),
            line: state.lines + record.line_index + 1,
            column: record.column,
            message: record.reason,
            hint: scan.source.format().map(|format| format.skip_hint().to_owned()),
        })
    }
}

fn is_last_chunk(state: &SplitState) -> bool {
    match &state.spec.reach {
        Reach::Ranged(_, count) => state.next_chunk >= *count,
        Reach::Generated(_, count) => count.is_some_and(|count| state.next_chunk >= count),
        _ => false,
    }
}

/// A watermark that moves further than this at once is worth telling.
const JUMP_MS: i64 = 24 * 3_600_000;

/// Whether a watermark moves so far, from where it has been.
pub(super) fn is_jump(from_ms: i64, to_ms: i64) -> bool {
    from_ms != i64::MIN && to_ms.saturating_sub(from_ms) > JUMP_MS
}

/// Gives each row the split's watermark at its arrival, which was `start_ms` before the chunk. Whoever holds the token looks at no row.
fn stamp(scanned: ScanBatch, start_ms: i64, watermark_ms: &mut i64, jumps: &mut u64) -> Batch {
    let ScanBatch { mut batch, highest_ms } = scanned;
    let arrival = batch.arrival_ms.take().map(|arrival| arrival.after(start_ms));
    let after_ms = highest_ms.max(*watermark_ms);
    if is_jump(*watermark_ms, after_ms) {
        let mut steps = arrival.as_ref().map_or(Vec::new(), Arrival::to_vec);
        steps.push(after_ms);
        let jumped = |step: &&[i64]| step[1].saturating_sub(step[0]) > JUMP_MS;
        *jumps += steps.windows(2).filter(jumped).count() as u64;
    }
    *watermark_ms = after_ms;
    batch.arrival_ms = arrival;
    batch
}
