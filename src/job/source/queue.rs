//! The queue between threads that make records and the shard that reads them.
//!
//! ```text
//! threads ─ push: archive ─► open ─► full ► full ► full ─► take ─ shard
//!            │ waits while it holds as much as it may       │ never waits: an eventfd says when there is more
//! ```
//!
//! Records are archived where they are pushed, into what will be a column. The shard takes columns that are full, and when there are none
//! and it would be idle, the one that is not.
//!
//! # Invariants
//!
//! 1. Records are taken in the order in which they were pushed; what was pushed together is taken together.
//! 2. The queue holds at most its capacity and what is pushed at once, and about [`BYTES_MAX`] bytes and what is pushed at once.
//! 3. `waiting` is set only by a `take` that found nothing, after the eventfd was emptied, under the lock; whoever adds something unsets
//!    it and writes to the eventfd, under the lock too. So no news is missed.
//! 4. After a panic under the lock (a record's own code) nothing is pushed any more, and what was being filled is dropped.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use super::not_archived;
use crate::error::JobError;
use crate::format::BLOCK_RECORD_BYTES;
use crate::sys::archive::{ArchiveBuilder, Record};

/// Bytes of records that are held at most, however few they are.
const BYTES_MAX: usize = 64 << 20;

/// The queue. Who pushes has a reference, who takes has the [`Receiver`].
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    /// Something was taken, settled, or has ended.
    moved: Condvar,
    news: OnceLock<OwnedFd>,
    capacity: usize,
    column_rows: usize,
}

/// Records that are taken together.
pub(super) struct Filled<T> {
    pub(super) records: ArchiveBuilder<T>,
    /// Where their source goes on behind them.
    pub(super) offset: u64,
}

impl<T: Record> Default for Filled<T> {
    fn default() -> Self {
        Self { records: ArchiveBuilder::default(), offset: 0 }
    }
}

struct State<T> {
    open: Filled<T>,
    full: VecDeque<Filled<T>>,
    /// Records and bytes in `full`.
    rows: usize,
    bytes: usize,
    ended: bool,
    /// Why it ended.
    failure: Option<JobError>,
    /// The shard is gone.
    closed: bool,
    waiting: Option<Wanted>,
    /// Records pushed so far, and of those how many the job has for good.
    pushed: u64,
    settled: u64,
    /// How many it had when the shard began to read.
    before: Option<u64>,
}

/// What a shard takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever there is.
    Any,
    /// Full columns, so that where they are cut does not depend on timing; a rest only at the end.
    Full,
}

/// What [`Queue::take`] found.
pub(super) enum Taken<T> {
    Some(Filled<T>),
    NotYet,
    End,
}

/// Whether one who pushes waits for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    Waits,
    GivesUp,
}

/// Why nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    Ended,
}

impl<T: Record> Queue<T> {
    /// A queue of `capacity` records, taken as columns of about `column_rows`.
    pub(super) fn new(capacity: usize, column_rows: usize) -> Arc<Self> {
        let state = State {
            open: Filled::default(),
            full: VecDeque::new(),
            rows: 0,
            bytes: 0,
            ended: false,
            failure: None,
            closed: false,
            waiting: None,
            pushed: 0,
            settled: 0,
            before: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            moved: Condvar::new(),
            news: OnceLock::new(),
            capacity: capacity.max(1),
            column_rows,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|poisoned| self.recovered(poisoned))
    }

    /// Invariant 4.
    fn recovered<'a>(
        &self,
        poisoned: PoisonError<MutexGuard<'a, State<T>>>,
    ) -> MutexGuard<'a, State<T>> {
        let mut state = poisoned.into_inner();
        self.state.clear_poison();
        state.open = Filled::default();
        let message = "a panic while a record was archived".to_owned();
        state.failure.get_or_insert(not_archived("a sender", message));
        self.end_with(&mut state);
        state
    }

    /// Adds `records`, behind which the source goes on at `offset`, and leaves none.
    pub(super) fn push(
        &self,
        records: &mut Vec<T>,
        offset: u64,
        patience: Patience,
    ) -> Result<(), Refusal> {
        self.push_each(records, offset, patience)?;
        records.clear();
        Ok(())
    }

    /// Adds these records; where it refuses, none of them.
    pub(super) fn push_each(
        &self,
        records: &[T],
        offset: u64,
        patience: Patience,
    ) -> Result<(), Refusal> {
        let mut state = self.lock();
        while state.is_full(self.capacity) && !state.is_over() {
            if patience == Patience::GivesUp {
                return Err(Refusal::Full);
            }
            let woken = self.moved.wait(state);
            state = woken.unwrap_or_else(|poisoned| self.recovered(poisoned));
        }
        if state.is_over() {
            return Err(Refusal::Ended);
        }
        for record in records {
            if let Err(message) = state.open.records.push(record) {
                // The builder's bytes are gone with it.
                state.open = Filled::default();
                state.failure = Some(not_archived(std::any::type_name::<T>(), message));
                self.end_with(&mut state);
                return Err(Refusal::Ended);
            }
        }
        state.open.offset = offset;
        state.pushed += records.len() as u64;
        let open = &state.open.records;
        if open.len() >= self.column_rows || open.byte_count() >= BLOCK_RECORD_BYTES {
            let filled = std::mem::take(&mut state.open);
            state.rows += filled.records.len();
            state.bytes += filled.records.byte_count();
            state.full.push_back(filled);
        }
        self.tell(&mut state);
        Ok(())
    }

    /// No more is pushed.
    pub(super) fn end(&self) {
        self.end_with(&mut self.lock());
    }

    /// No more is pushed, because of this.
    pub(super) fn fail(&self, error: JobError) {
        let mut state = self.lock();
        state.failure.get_or_insert(error);
        self.end_with(&mut state);
    }

    fn end_with(&self, state: &mut State<T>) {
        state.ended = true;
        self.tell(state);
        self.moved.notify_all();
    }

    /// Wakes the shard if there is what it waits for.
    fn tell(&self, state: &mut State<T>) {
        let Some(wanted) = state.waiting else { return };
        if wanted == Wanted::Any || !state.full.is_empty() || state.ended {
            state.waiting = None;
            if let Some(news) = self.news.get() {
                // A full counter has woken it already.
                let _ = rustix::io::write(news, &1u64.to_ne_bytes());
            }
        }
    }

    /// Waits until the job has for good what was pushed before; how much that is, since the job first began.
    pub(super) fn settle(&self) -> Result<u64, Refusal> {
        let mut state = self.lock();
        let target = state.pushed;
        loop {
            if let Some(before) = state.before.filter(|_| state.settled >= target) {
                return Ok(before + state.settled);
            }
            if state.is_over() {
                return Err(Refusal::Ended);
            }
            let woken = self.moved.wait(state);
            state = woken.unwrap_or_else(|poisoned| self.recovered(poisoned));
        }
    }
}

impl<T> State<T> {
    fn is_over(&self) -> bool {
        self.ended || self.closed
    }
}

impl<T: Record> State<T> {
    fn is_full(&self, capacity: usize) -> bool {
        let open = &self.open.records;
        self.rows + open.len() >= capacity || self.bytes + open.byte_count() >= BYTES_MAX
    }
}

/// The shard's end of a queue; when it is dropped nothing can be pushed any more.
pub(super) struct Receiver<T>(Arc<Queue<T>>);

impl<T: Record> Receiver<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        Self(queue)
    }

    /// Begins to read; of what comes the job had so much for good before.
    pub(super) fn begin(&self, origin: &str, before: u64) -> Result<(), JobError> {
        let news = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let news = news.map_err(|error| JobError::io(origin, error.into()))?;
        self.0.news.set(news).expect("a queue is read once");
        self.0.lock().before = Some(before);
        self.0.moved.notify_all();
        Ok(())
    }

    /// What is there, after which nothing waits; a failure comes behind all that was pushed before.
    pub(super) fn take(&self, wanted: Wanted) -> Result<Taken<T>, JobError> {
        let mut state = self.0.lock();
        if let Some(filled) = state.full.pop_front() {
            state.rows -= filled.records.len();
            state.bytes -= filled.records.byte_count();
            self.0.moved.notify_all();
            return Ok(Taken::Some(filled));
        }
        if !state.open.records.is_empty() && (wanted == Wanted::Any || state.ended) {
            self.0.moved.notify_all();
            return Ok(Taken::Some(std::mem::take(&mut state.open)));
        }
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if state.ended {
            return Ok(Taken::End);
        }
        if let Some(news) = self.0.news.get() {
            // It may be empty.
            let _ = rustix::io::read(news, &mut [0; 8]);
        }
        state.waiting = Some(wanted);
        Ok(Taken::NotYet)
    }

    /// The job has so many more records for good.
    pub(super) fn settled(&self, count: usize) {
        self.0.lock().settled += count as u64;
        self.0.moved.notify_all();
    }

    /// What becomes readable when there is more.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        self.0.news.get().map(AsRawFd::as_raw_fd).into_iter().collect()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.moved.notify_all();
    }
}
