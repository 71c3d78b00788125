//! From a plan to a run and its report: chooses the runtime, starts the shards and adds up what they report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::options::Options;
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::plan::Plan;
use crate::shard::runtime::{Poll, Runtime, Sim, Uring, is_uring_allowed};
use crate::shard::{self, Control, DeadLetters, Progress};
pub use crate::shard::{Beginning, Fresh, StateOptions, WentOnFrom};
use crate::sys::clock::Clock;
use crate::sys::memory::{keep_freed, limit_bytes};
use crate::sys::storage::Disk;

/// What drives the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// io_uring executors.
    Uring,
    /// Pinned threads.
    Poll,
    /// One thread, a schedule drawn from this seed, simulated time.
    Sim(u64),
    /// The same, killed after so many steps.
    Dying {
        /// Of the schedule.
        seed: u64,
        /// Of shards; a job that needs fewer ends as it would.
        steps: u64,
    },
}

impl RuntimeKind {
    /// `Uring` where the kernel allows it, else `Poll`.
    pub fn detect() -> Self {
        if is_uring_allowed() { RuntimeKind::Uring } else { RuntimeKind::Poll }
    }
}

/// Time between two snapshots unless the script says.
const SNAPSHOT_INTERVAL_MS: u64 = 1000;
/// The share of this process's memory that durable state may hold unless the script says.
const STATE_MEMORY_SHARE: u64 = 2;

/// Durable state in `folder`, as the plan's settings have it.
pub fn state_options(plan: &Plan, folder: impl Into<PathBuf>, fresh: Fresh) -> StateOptions {
    let settings = &plan.settings;
    let memory_bytes =
        settings.state_memory_bytes.unwrap_or_else(|| limit_bytes() / STATE_MEMORY_SHARE);
    StateOptions {
        folder: folder.into(),
        storage: Arc::new(Disk),
        fresh,
        interval_ms: settings.snapshot_interval_ms.unwrap_or(SNAPSHOT_INTERVAL_MS),
        retained_count: settings.snapshots_retained.unwrap_or(1),
        memory_bytes,
        pid: std::process::id(),
    }
}

/// A plan, ready to run.
pub struct Launch {
    shards: shard::Job,
    runtime: RuntimeKind,
}

impl Launch {
    /// Prepares a plan. `shards` and `runtime` win over the plan's settings; by default every core runs one shard.
    ///
    /// # Errors
    ///
    /// A runtime or a plan that cannot be had here.
    pub fn new(
        plan: &Plan,
        shards: Option<usize>,
        runtime: Option<RuntimeKind>,
    ) -> Result<Self, JobError> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let shard_count = shards.or(plan.settings.shards).unwrap_or(cores);
        if shard_count == 0 || shard_count > SHARDS_MAX {
            return Err(JobError::Refused(format!(
                "the number of shards is 1 to {SHARDS_MAX}, not {shard_count}"
            )));
        }
        if runtime == Some(RuntimeKind::Uring) && !is_uring_allowed() {
            let message = "the kernel does not allow io_uring here; `--runtime poll` does without";
            return Err(JobError::Environment(message.into()));
        }
        let shards = shard::Job::new(plan, shard_count)?;
        let runtime = runtime.unwrap_or_else(|| match shards.reads_ranges() {
            true => RuntimeKind::detect(),
            // Rings that nothing is read through would take as long, to be set up and left, as a hundred thousand rows do.
            false => RuntimeKind::Poll,
        });
        Ok(Self { shards, runtime })
    }

    /// Prepares a plan as `options` say.
    ///
    /// # Errors
    ///
    /// As [`Launch::new`].
    pub(super) fn of(plan: &Plan, options: &Options) -> Result<Self, JobError> {
        let launch = Self::new(plan, options.shards, options.runtime)?;
        Ok(match &options.state {
            Some(folder) => launch.state(state_options(plan, folder, options.fresh)),
            None => launch,
        })
    }

    /// The same job over rings of `slots` slots (a power of two); tests set it low.
    #[must_use]
    pub fn ring_slots(mut self, slots: usize) -> Self {
        self.shards = self.shards.ring_slots(slots);
        self
    }

    /// The same job with durable state.
    #[must_use]
    pub fn state(mut self, state: StateOptions) -> Self {
        self.shards = self.shards.state(state);
        self
    }

    /// The switches and counters, for signal handlers and progress lines.
    pub fn control(&self) -> Arc<Control> {
        self.shards.control()
    }

    /// The bytes of all input, if known.
    pub fn input_bytes(&self) -> Option<u64> {
        self.shards.input_bytes()
    }

    /// Which runtime it will use.
    pub fn runtime(&self) -> RuntimeKind {
        self.runtime
    }

    /// Opens the state folder, if there is one, and finds the inputs, before anything runs.
    ///
    /// # Errors
    ///
    /// State or inputs that cannot be had, or gone on with.
    pub fn open(&mut self) -> Result<Beginning, JobError> {
        self.shards.open(self.driver().start_ms())
    }

    fn driver(&self) -> Box<dyn Runtime> {
        match self.runtime {
            RuntimeKind::Uring => Box::new(Uring::default()),
            RuntimeKind::Poll => Box::new(Poll::default()),
            RuntimeKind::Sim(seed) => Box::new(Sim::new(seed)),
            RuntimeKind::Dying { seed, steps } => Box::new(Sim::dying(seed, steps)),
        }
    }

    /// Runs it to its end; opens it first if that has not been done.
    pub fn run(mut self) -> Report {
        keep_freed();
        let runtime = self.driver();
        let watch = Clock.start();
        let outcome = self.shards.run(runtime.as_ref());
        let control = self.shards.control();
        Report {
            elapsed: watch.elapsed(),
            totals: Totals::of(&control),
            late: outcome.late,
            dead_letters: self.shards.dead_letters(),
            failure: outcome.failure,
            went_on_from: outcome.went_on_from,
        }
    }
}

/// More shards than this help nobody.
const SHARDS_MAX: usize = 256;

/// What all shards have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows read.
    pub rows: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Records dropped because they could not be read.
    pub malformed: u64,
    /// Rows that moved a watermark ahead by more than a day at once: a wrong timestamp makes all rows after it late.
    pub jumps: u64,
    /// Late rows: dropped, or handed on to who reads them.
    pub late: u64,
    /// Windows fired.
    pub fired: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Bytes of state.
    pub state_bytes: u64,
    /// The lowest watermark of all shards; `None` before the first and after the last.
    pub watermark_ms: Option<i64>,
}

impl Totals {
    /// What the counters say now.
    #[doc(hidden)]
    pub fn of(control: &Control) -> Self {
        let sum = |counter: fn(&Progress) -> u64| control.progress.iter().map(counter).sum();
        let watermarks =
            control.progress.iter().map(|progress| progress.watermark_ms.load(Ordering::Relaxed));
        Self {
            rows: sum(|progress| progress.rows.load(Ordering::Relaxed)),
            bytes: sum(|progress| progress.bytes.load(Ordering::Relaxed)),
            malformed: sum(|progress| progress.malformed.load(Ordering::Relaxed)),
            jumps: sum(|progress| progress.jumps.load(Ordering::Relaxed)),
            late: sum(|progress| progress.late.load(Ordering::Relaxed)),
            fired: sum(|progress| progress.fired.load(Ordering::Relaxed)),
            rows_out: sum(|progress| progress.rows_out.load(Ordering::Relaxed)),
            state_bytes: sum(|progress| progress.state_bytes.load(Ordering::Relaxed)),
            watermark_ms: watermarks
                .min()
                .filter(|&watermark| watermark != i64::MIN && watermark != i64::MAX),
        }
    }
}

/// What a job came to.
///
/// ```
/// use tidemill::job::{DeadLetters, LateRows, Report, Totals};
/// use tidemill::{Job, JsonFile, Options, Span, Window};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("times.jsonl");
/// std::fs::write(&path, "1000\n9000\nnonsense\n2000\n")?;
/// let report: Report = Job::new("counts")
///     .source("times", JsonFile::<i64>::open(&path)?.skip_bad_records())
///     .watermark(|at_ms| *at_ms, Span::millis(0))
///     .key_by(|_| 0)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| on.count())
///     .sink(|_| {})
///     .run(Options::default())?;
/// let Totals { rows, malformed, late, fired, .. } = report.totals;
/// assert_eq!((rows, malformed, late, fired), (3, 1, 1, 2));
/// let late: &LateRows = &report.late[0].1;
/// assert!((6_900..7_100).contains(&late.behind_ms.max())); // About so many milliseconds.
/// let unread: &DeadLetters = &report.dead_letters;
/// assert!(unread.shown()[0].contains("times.jsonl: line 3, "), "{:?}", unread.shown());
/// assert_eq!(unread.lost_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Report {
    /// How long it ran.
    pub elapsed: Duration,
    /// What it did.
    pub totals: Totals,
    /// Late rows by the tables they came from, with how late they were.
    pub late: Vec<(String, LateRows)>,
    /// Records that could not be read.
    pub dead_letters: Arc<DeadLetters>,
    /// Why it ended early.
    pub failure: Option<JobError>,
    /// The snapshot that it went on from, in a job with state.
    pub went_on_from: Option<WentOnFrom>,
}

impl Report {
    /// The report of a job that ended as it should.
    ///
    /// # Errors
    ///
    /// Why it ended early.
    #[doc(hidden)]
    pub fn outcome(mut self) -> Result<Self, JobError> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(self),
        }
    }
}
