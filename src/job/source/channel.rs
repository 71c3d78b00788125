//! A channel: records from the program's own threads.
//!
//! # Invariants
//!
//! 1. The queue ends when the last sender is dropped, and only then.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::durable::DurableReader;
use super::queue::{Patience, Queue, Receiver, Refusal, Taken, Wanted};
use super::{RecordSource, rows};
use crate::connector::{Opening, Read, SequentialReader, SequentialSplit, Source, Split};
use crate::error::JobError;
use crate::format::{Format, RecordFormat};
use crate::sys::archive::Record;

/// Records in a column.
const COLUMN_RECORDS: usize = 16_384;
/// What messages and snapshots call it.
pub(super) const ORIGIN: &str = "channel";

/// A channel into a job, which holds at most `capacity` records: whoever sends more waits until the job has taken some.
///
/// ```
/// use tidemill::{Job, Options, Span, Window, channel};
///
/// let (sender, source) = channel::<(i64, u32)>(10_000);
/// let feeder = std::thread::spawn(move || {
///     for i in 0..100 {
///         sender.send((i * 100, 1))?;
///     }
///     Ok::<_, tidemill::source::Ended<_>>(()) // The sender is dropped, and with it the stream ends.
/// });
/// let (results, received) = std::sync::mpsc::channel();
/// Job::new("events by second")
///     .source("events", source)
///     .watermark(|event| event.0.to_native(), Span::seconds(1))
///     .key_by(|event| event.1.to_native())
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| on.count())
///     .sink(move |result| results.send(result.value).unwrap())
///     .run(Options::default().shards(1))?;
/// feeder.join().unwrap().unwrap();
/// assert_eq!(received.iter().collect::<Vec<_>>(), [10; 10]);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub fn channel<T: Record>(capacity: usize) -> (Sender<T>, ChannelSource<T>) {
    let queue = Queue::new(capacity, COLUMN_RECORDS);
    let receiver = Receiver::new(Arc::clone(&queue));
    let sender = Sender { queue, senders_count: Arc::new(AtomicUsize::new(1)) };
    (sender, ChannelSource { receiver, durable: false })
}

/// Sends records to a job. Its clones send to the same one; when all are dropped the stream ends.
///
/// Dropping it does not say that the job has taken everything; the job's end does, or [`Sender::flush`].
///
/// ```
/// use tidemill::source::{ChannelSource, TrySendError};
/// use tidemill::{Job, Options, Sender, Span, channel};
///
/// # let folder = tempfile::tempdir()?;
/// # let state = folder.path().join("state");
/// let (sender, source): (Sender<i64>, ChannelSource<i64>) = channel(2);
/// let job = Job::new("numbers").source("numbers", source.durable()).watermark(|n| *n, Span::millis(0)).sink(|_| {});
///
/// sender.send(7).unwrap();
/// sender.try_send(8).unwrap();
/// assert_eq!(sender.try_send(9), Err(TrySendError::Full(9))); // Nobody has taken one yet.
///
/// let running = job.start(Options::default().state(state))?;
/// assert_eq!(sender.flush().unwrap(), 2); // Both are on disk: this many would not be sent again after a kill.
/// drop(sender);
/// assert_eq!(running.wait()?.totals.rows, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sender<T: Record> {
    queue: Arc<Queue<T>>,
    senders_count: Arc<AtomicUsize>,
}

impl<T: Record> Sender<T> {
    /// Sends a record. Waits while the channel is full; so a thread that sends more than the capacity before it runs the job
    /// itself waits for ever.
    ///
    /// # Errors
    ///
    /// The record, if the job has ended.
    pub fn send(&self, record: T) -> Result<(), Ended<T>> {
        let one = std::slice::from_ref(&record);
        self.queue.push_each(one, 0, Patience::Waits).map_err(|_| Ended(record))
    }

    /// Sends a record if there is room for it.
    ///
    /// # Errors
    ///
    /// The record, and why it was not taken.
    pub fn try_send(&self, record: T) -> Result<(), TrySendError<T>> {
        let one = std::slice::from_ref(&record);
        self.queue.push_each(one, 0, Patience::GivesUp).map_err(|refusal| match refusal {
            Refusal::Full => TrySendError::Full(record),
            Refusal::Ended => TrySendError::Ended(record),
        })
    }

    /// Waits until the job has taken all that was sent before, by whichever sender; if the channel is durable, until that is on disk.
    ///
    /// Returns how many records the job has of this channel: of a durable channel all since the job first began, also those of
    /// runs that were killed. A program that reads what it sends from somewhere asks before it sends anything, and passes over
    /// so many.
    ///
    /// # Errors
    ///
    /// If the job has ended before.
    pub fn flush(&self) -> Result<u64, Ended<()>> {
        self.queue.settle().map_err(|_| Ended(()))
    }
}

impl<T: Record> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.senders_count.fetch_add(1, Ordering::Relaxed);
        Self { queue: Arc::clone(&self.queue), senders_count: Arc::clone(&self.senders_count) }
    }
}

impl<T: Record> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.senders_count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.queue.end();
        }
    }
}

impl<T: Record> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// The job has ended; what was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<T>(pub T);

/// Why [`Sender::try_send`] has not sent a record, and the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full.
    Full(T),
    /// The job has ended.
    Ended(T),
}

const ENDED: &str = "the job that the channel leads to has ended";

impl<T> fmt::Display for Ended<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ENDED)
    }
}

impl<T: fmt::Debug> std::error::Error for Ended<T> {}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "the channel is full",
            TrySendError::Ended(_) => ENDED,
        })
    }
}

impl<T: fmt::Debug> std::error::Error for TrySendError<T> {}

/// The job's end of a [`channel`].
pub struct ChannelSource<T: Record> {
    receiver: Receiver<T>,
    durable: bool,
}

impl<T: Record> ChannelSource<T> {
    /// The same, with every record written to a log in the job's state, and synced, before it counts: a job that was killed
    /// reads from there what its last snapshot does not cover. Only for jobs that keep state.
    #[must_use]
    pub fn durable(self) -> Self {
        Self { durable: true, ..self }
    }
}

impl<T: Record> fmt::Debug for ChannelSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSource").field("durable", &self.durable).finish_non_exhaustive()
    }
}

impl<T: Record> RecordSource for ChannelSource<T> {
    type Record = T;

    fn into_source(self) -> Arc<dyn Source> {
        let receiver = Arc::new(Mutex::new(Some(self.receiver)));
        Arc::new(ChannelSplit { receiver, durable: self.durable })
    }
}

/// The channel as the engine's source, and its only split.
struct ChannelSplit<T: Record> {
    /// Until it is opened.
    receiver: Arc<Mutex<Option<Receiver<T>>>>,
    durable: bool,
}

impl<T: Record> fmt::Debug for ChannelSplit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.durable { "durable channel" } else { "channel" })
    }
}

impl<T: Record> Source for ChannelSplit<T> {
    fn format(&self) -> Option<Arc<dyn Format>> {
        Some(Arc::new(RecordFormat::<T>::default()))
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        let split = Self { receiver: Arc::clone(&self.receiver), durable: self.durable };
        Ok(vec![Split::Sequential(Box::new(split))])
    }
}

impl<T: Record> SequentialSplit for ChannelSplit<T> {
    fn origin(&self) -> String {
        ORIGIN.into()
    }

    fn bounded(&self) -> bool {
        false
    }

    fn remedy_of_loss(&self) -> Option<&'static str> {
        (!self.durable).then_some("`durable()` on the channel's source keeps them")
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(receiver) = receiver else {
            let message = "a channel leads to one run of a job, and this is the second";
            return Err(JobError::Environment(message.into()));
        };
        if self.durable {
            return Ok(Box::new(DurableReader::open(receiver, opening)?));
        }
        receiver.begin(ORIGIN, 0)?;
        Ok(Box::new(ChannelReader { receiver }))
    }
}

/// Reads a channel that is not durable.
struct ChannelReader<T: Record> {
    receiver: Receiver<T>,
}

impl<T: Record> SequentialReader for ChannelReader<T> {
    fn read(&mut self, _flush: bool) -> Result<Read, JobError> {
        Ok(match self.receiver.take(Wanted::Any)? {
            Taken::Some(mut filled) => {
                self.receiver.settled(filled.records.len());
                rows(&filled.records.finish())
            }
            Taken::NotYet => Read::Pending,
            Taken::End => Read::End,
        })
    }

    fn descriptors(&self) -> Vec<std::os::fd::RawFd> {
        self.receiver.descriptors()
    }

    fn position(&self) -> Option<u64> {
        None
    }
}
