//! What shards and their surroundings tell each other outside of the rings: stop, failure, progress, wake-ups.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::connector::Sink;
use crate::error::JobError;
use crate::sys::clock::{Clock, Stopwatch};

/// One job's switches.
#[derive(Debug)]
pub struct Control {
    stop: AtomicBool,
    failing: AtomicBool,
    failure: Mutex<Option<JobError>>,
    /// Progress, one entry a shard.
    pub progress: Vec<Progress>,
    pub(crate) doorbells: Vec<Doorbell>,
    /// Snapshots taken so far.
    pub snapshots: Snapshots,
    /// What may hold up a shard.
    sinks: Vec<Arc<dyn Sink>>,
    started: OnceLock<Stopwatch>,
    first_row_us: AtomicU64,
}

/// What has become of snapshots; for whoever watches.
#[derive(Debug)]
pub struct Snapshots {
    /// How many have become durable in this run.
    pub count: AtomicU64,
    /// The newest.
    pub epoch: AtomicU64,
    /// Bytes written for the newest.
    pub last_bytes: AtomicU64,
    /// Bytes written for all of this run.
    pub total_bytes: AtomicU64,
    /// How long making the newest durable took, in microseconds.
    pub last_us: AtomicU64,
    /// How long barriers held up a shard's owner, in nanoseconds.
    pauses_ns: Mutex<Histogram<u64>>,
    /// Why the job waits, if it does.
    alarm: Mutex<Option<String>>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            last_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            last_us: AtomicU64::new(0),
            pauses_ns: Mutex::new(Histogram::new(2).expect("two digits are a valid precision")),
            alarm: Mutex::new(None),
        }
    }
}

impl Snapshots {
    pub(crate) fn note_commit(&self, epoch: u64, byte_count: u64, elapsed: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Relaxed);
        self.last_bytes.store(byte_count, Ordering::Relaxed);
        self.total_bytes.fetch_add(byte_count, Ordering::Relaxed);
        self.last_us.store(elapsed.as_micros() as u64, Ordering::Relaxed);
    }

    pub(crate) fn note_pause(&self, elapsed: Duration) {
        let mut pauses = self.pauses_ns.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.record(elapsed.as_nanos() as u64).expect("the histogram resizes itself");
    }

    pub(crate) fn alarm(&self, text: Option<String>) {
        *self.alarm.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// How long barriers held up a shard's owner, in nanoseconds.
    pub fn pauses_ns(&self) -> Histogram<u64> {
        self.pauses_ns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the job waits, if it does: the disk is full.
    pub fn waiting_for(&self) -> Option<String> {
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a shard has done so far; relaxed counters for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Rows read.
    pub rows: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Records dropped because they could not be read.
    pub malformed: AtomicU64,
    /// Rows that moved their split's watermark ahead by more than a day at once.
    pub jumps: AtomicU64,
    /// Late rows: dropped, or handed on to who reads them.
    pub late: AtomicU64,
    /// Windows fired.
    pub fired: AtomicU64,
    /// Rows written to sinks.
    pub rows_out: AtomicU64,
    /// Bytes of state.
    pub state_bytes: AtomicU64,
    /// The lowest watermark of the exchanges, in milliseconds; `i64::MIN` before the first.
    pub watermark_ms: AtomicI64,
}

/// Wakes a shard that sleeps.
#[derive(Debug)]
pub(crate) struct Doorbell {
    pub(crate) sleeping: AtomicBool,
    pub(crate) descriptor: OwnedFd,
}

impl Doorbell {
    /// # Errors
    ///
    /// If the kernel has no more descriptors.
    pub(crate) fn new() -> Result<Self, JobError> {
        eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map(|descriptor| Doorbell { sleeping: AtomicBool::new(false), descriptor })
            .map_err(|error| JobError::io("eventfd", error.into()))
    }

    /// Wakes the shard if it sleeps, or is about to.
    pub(crate) fn ring(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            // A full counter has woken it already.
            let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
        }
    }
}

impl Control {
    /// The switches of a job with `shard_count` shards that writes to `sinks`.
    ///
    /// # Errors
    ///
    /// If the kernel has no more descriptors.
    pub fn new(shard_count: usize, sinks: Vec<Arc<dyn Sink>>) -> Result<Self, JobError> {
        Ok(Self {
            stop: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            failure: Mutex::new(None),
            progress: (0..shard_count)
                .map(|_| Progress { watermark_ms: AtomicI64::new(i64::MIN), ..Progress::default() })
                .collect(),
            doorbells: (0..shard_count).map(|_| Doorbell::new()).collect::<Result<_, _>>()?,
            snapshots: Snapshots::default(),
            sinks,
            started: OnceLock::new(),
            first_row_us: AtomicU64::new(0),
        })
    }

    /// The shards start now.
    pub(crate) fn note_start(&self) {
        self.started.get_or_init(|| Clock.start());
    }

    /// Rows have been read.
    pub(crate) fn note_rows(&self) {
        if self.first_row_us.load(Ordering::Relaxed) == 0
            && let Some(started) = self.started.get()
        {
            let us = started.elapsed().as_micros().max(1) as u64;
            let _ = self.first_row_us.compare_exchange(0, us, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// How long after the start the first rows of this run had been read; `None` before that.
    pub fn first_row_after(&self) -> Option<Duration> {
        let us = self.first_row_us.load(Ordering::Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }

    /// Stops the sources; what was read is worked off.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.doorbells.iter().for_each(Doorbell::ring);
    }

    /// Whether [`Control::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the job with an error; the first counts.
    pub fn fail(&self, error: JobError) {
        let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.get_or_insert(error);
        drop(failure);
        self.failing.store(true, Ordering::SeqCst);
        self.close_sinks();
        self.doorbells.iter().for_each(Doorbell::ring);
    }

    /// Lets go of shards that wait for a sink.
    pub(crate) fn close_sinks(&self) {
        self.sinks.iter().for_each(|sink| sink.close());
    }

    /// Whether the job is ending with an error.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Takes the error that ended the job.
    pub fn take_failure(&self) -> Option<JobError> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take()
    }
}
