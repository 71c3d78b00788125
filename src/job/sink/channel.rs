//! Items for the program's own threads, through a bounded channel.
//!
//! ```text
//! shards ─ write: items ─► queue ─► receiver, an iterator
//!           │ waits while it is full          │ waits while it is empty
//! ```
//!
//! # Invariants
//!
//! 1. It holds at most its capacity.
//! 2. Nobody waits once the run is over, fails or was cancelled: [`Sink::close`] wakes both sides. A part that is refused then ends its
//!    shard, whose failure is known already. Another run opens it again, before it is started.
//! 3. A thread waits only on what it looked at under the lock, and whoever changes that notifies.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::ItemSink;
use crate::batch::{Batch, RowKind, Schema};
use crate::connector::{Sink, SinkPart};
use crate::error::{JobError, OptionError};
use crate::job::item::OwnedItem;
use crate::job::source::caught;

/// What messages call it.
const NAME: &str = "channel";

/// A sink and what receives its items, which belong to the program: results of windows, or records that [`rkyv`] deserialises.
///
/// The channel holds `capacity` items, at least one. While it is full the shards that have more wait, so it is to be received from while the
/// job runs: on another thread, or after [`Job::start`](crate::Job::start). The receiver ends with the job, however that ends. If
/// it is dropped before, the job ends with [`JobError::OutputClosed`]. After a crash items since the last snapshot come again. A job that is
/// started again is received from again.
///
/// ```
/// use tidemill::sink::{self, ChannelOf};
/// use tidemill::{Job, Options, Records, Span, Window, WindowResult};
///
/// type Sum = WindowResult<i64, i64>;
///
/// let (results, received): ChannelOf<Sum, Sum> = sink::channel(100);
/// let running = Job::new("sums")
///     .source("numbers", Records::new(0..10_000_i64))
///     .watermark(|n| *n, Span::millis(0))
///     .key_by(|n| n.to_native() % 2)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| on.sum(|n| *n))
///     .sink_to(results)
///     .start(Options::default())?;
/// let sums: Vec<i64> = received.map(|result| result.value).collect();
/// assert_eq!((sums.len(), sums.iter().sum::<i64>()), (20, 49_995_000));
/// running.wait()?;
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub fn channel<I: OwnedItem>(capacity: usize) -> ChannelOf<I, I> {
    with(capacity, false, |_, item| item)
}

/// The same for results that are taken back again, each with what it does to those received before.
///
/// ```
/// use tidemill::sink::{self, ChannelSink, Receiver};
/// use tidemill::{Every, Job, Options, Records, RowKind, Span, Window, WindowResult};
///
/// type Count = WindowResult<i32, i64>;
/// type Change = (RowKind, Count);
///
/// let (results, received): (ChannelSink<Count, Change>, Receiver<Change>) = sink::channel_of_changes(100);
/// let early = Every::event_time(Span::millis(100));
/// let running = Job::new("counts")
///     .source("numbers", Records::new(0..1_000_i64))
///     .watermark(|n| *n, Span::millis(0))
///     .key_by(|_| 0)
///     .window(Window::tumbling(Span::seconds(1)).early_fire(early))
///     .aggregate(|on| on.count())
///     .sink_to(results)
///     .start(Options::default())?;
/// let mut shown = Vec::new();
/// for (kind, result) in received {
///     match kind {
///         RowKind::Insert | RowKind::UpdateAfter => shown.push(result.value),
///         RowKind::UpdateBefore | RowKind::Delete => assert_eq!(shown.pop(), Some(result.value)),
///     }
/// }
/// assert_eq!(shown, [1000]);
/// running.wait()?;
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub fn channel_of_changes<I: OwnedItem>(capacity: usize) -> ChannelOf<I, (RowKind, I)> {
    with(capacity, true, |kind, item| (kind, item))
}

fn with<I, M>(capacity: usize, changes: bool, message: fn(RowKind, I) -> M) -> ChannelOf<I, M> {
    let state = State { items: VecDeque::new(), phase: Phase::NotBegun, received: true };
    let channel = Arc::new(Channel {
        state: Mutex::new(state),
        room: Condvar::new(),
        news: Condvar::new(),
        capacity: capacity.max(1),
    });
    let sink = ChannelSink { channel: Arc::clone(&channel), changes, message };
    (sink, Receiver { channel })
}

/// The two ends of a channel of messages `M`, made of items `I`.
pub type ChannelOf<I, M> = (ChannelSink<I, M>, Receiver<M>);

/// The sink of a [`channel()`].
pub struct ChannelSink<I, M> {
    channel: Arc<Channel<M>>,
    changes: bool,
    message: fn(RowKind, I) -> M,
}

impl<I, M> fmt::Debug for ChannelSink<I, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

/// Nothing will run with it any more.
impl<I, M> Drop for ChannelSink<I, M> {
    fn drop(&mut self) {
        self.channel.close();
    }
}

/// Receives what a job yields, in no order among shards; see [`channel()`].
#[derive(Debug)]
pub struct Receiver<M> {
    channel: Arc<Channel<M>>,
}

impl<M> Iterator for Receiver<M> {
    type Item = M;

    /// The next item; waits for it. `None`: the job has ended, or there is none any more.
    fn next(&mut self) -> Option<M> {
        let mut state = self.channel.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.channel.room.notify_one();
                return Some(item);
            }
            if state.phase == Phase::Closed {
                return None;
            }
            state = wait(&self.channel.news, state);
        }
    }
}

impl<M> Drop for Receiver<M> {
    fn drop(&mut self) {
        let mut state = self.channel.lock();
        state.received = false;
        state.items.clear();
        self.channel.room.notify_all();
    }
}

struct Channel<M> {
    state: Mutex<State<M>>,
    /// There is room, or will never be.
    room: Condvar,
    /// There is something, or will never be.
    news: Condvar,
    capacity: usize,
}

struct State<M> {
    items: VecDeque<M>,
    phase: Phase,
    /// The receiver is there.
    received: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    NotBegun,
    Open,
    Closed,
}

impl<M> fmt::Debug for Channel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<M> Channel<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().phase = Phase::Closed;
        self.room.notify_all();
        self.news.notify_all();
    }

    /// Hands items over, waiting for room.
    fn send(&self, items: impl Iterator<Item = M>) -> Result<(), JobError> {
        let mut state = self.lock();
        for item in items {
            loop {
                if !state.received {
                    return Err(JobError::OutputClosed);
                }
                if state.phase == Phase::Closed {
                    return Err(JobError::Cancelled);
                }
                if state.items.len() < self.capacity {
                    break;
                }
                state = wait(&self.room, state);
            }
            state.items.push_back(item);
            self.news.notify_one();
        }
        Ok(())
    }
}

fn wait<'a, M>(condition: &Condvar, state: MutexGuard<'a, State<M>>) -> MutexGuard<'a, State<M>> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

impl<I: OwnedItem, M: Send + 'static> ItemSink<I> for ChannelSink<I, M> {
    const FOR_CHANGES: &'static str = "use `sink::channel_of_changes`";

    fn into_sink(self) -> Result<(Arc<dyn Sink>, Schema), OptionError> {
        Ok((Arc::new(self), Schema::new(I::fields())))
    }
}

impl<I: OwnedItem, M: Send + 'static> Sink for ChannelSink<I, M> {
    fn accepts_changes(&self) -> bool {
        self.changes
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        let (channel, message) = (Arc::clone(&self.channel), self.message);
        Ok(Box::new(Part { channel, message, _item: PhantomData::<fn(I)> }))
    }

    fn begin(&self) {
        self.channel.lock().phase = Phase::Open;
    }

    fn close(&self) {
        self.channel.close();
    }
}

/// A shard's end of a channel.
struct Part<I, M> {
    channel: Arc<Channel<M>>,
    message: fn(RowKind, I) -> M,
    _item: PhantomData<fn(I)>,
}

impl<I: OwnedItem, M: Send> SinkPart for Part<I, M> {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        // Made before the lock is taken: this is the type's own code.
        let owned = || I::map(&batch.columns, batch.rows, I::owned).collect::<Result<Vec<I>, _>>();
        let items = caught(NAME, "deserialisation", owned)?;
        let failed = |message| JobError::Expression { origin: NAME.into(), message };
        let items = items.map_err(failed)?.into_iter().enumerate();
        self.channel.send(items.map(|(row, item)| (self.message)(batch.kind(row), item)))
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}
