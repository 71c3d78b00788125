//! A job that runs while the program goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::launch::{Launch, Report, Totals};
use crate::error::JobError;
use crate::expr::panic_text;
use crate::shard::Control;

/// A running job. Dropping the handle leaves the job running on its own.
///
/// ```
/// use tidemill::error::JobError;
/// use tidemill::{Handle, Iterate, Job, Metrics, Options, Span};
///
/// let job = Job::new("numbers without end")
///     .source("numbers", Iterate::new(|| 0_i64..))
///     .watermark(|n| *n, Span::millis(0))
///     .filter(|n| *n % 2 == 0)
///     .sink(|_| {});
///
/// let running: Handle = job.start(Options::default().shards(1))?;
/// while running.metrics().totals.rows < 1000 {
///     std::thread::yield_now();
/// }
/// assert!(!running.is_finished());
/// running.stop(); // What was read is worked off.
/// let report = running.wait()?;
/// assert_eq!(report.totals.rows_out, report.totals.rows / 2);
///
/// let running = job.start(Options::default())?;
/// let remote = running.remote(); // For another thread, say.
/// remote.cancel(); // At once.
/// assert!(matches!(running.wait(), Err(JobError::Cancelled)));
/// let Metrics { snapshot_count, waiting_for, .. } = remote.metrics();
/// assert_eq!((snapshot_count, waiting_for), (0, None));
/// # Ok::<(), JobError>(())
/// ```
#[derive(Debug)]
pub struct Handle {
    remote: Remote,
    thread: JoinHandle<Report>,
}

/// What a running job can be asked and told, from any thread. It outlives the job.
///
/// A [`Handle`] has one, and so have the rows of a query while they are read:
///
#[cfg_attr(feature = "sql", doc = "```")]
#[cfg_attr(not(feature = "sql"), doc = "```ignore")]
/// use tidemill::{Iterate, Options, Remote, Session};
///
/// let mut session = Session::new();
/// session.table("numbers", Iterate::new(|| 0_i64..)).column("n", |n| *n);
/// let rows = session.query("SELECT n FROM numbers WHERE n > 7")?.rows::<i64>(Options::default())?;
/// let remote: Remote = rows.remote();
/// let mut count = 0;
/// for row in rows {
///     assert!(row? > 7);
///     count += 1;
///     if count == 10 {
///         remote.stop();
///     }
/// }
/// assert_eq!(remote.metrics().totals.rows_out, count);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Remote {
    control: Arc<Control>,
}

/// What a running job has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Rows, windows, watermark and state.
    pub totals: Totals,
    /// Snapshots that have become durable in this run.
    pub snapshot_count: u64,
    /// The newest durable snapshot; 0: none.
    pub epoch: u64,
    /// Bytes that the newest one wrote.
    pub snapshot_bytes: u64,
    /// How long after its start the first rows had been read.
    pub first_row_after: Option<Duration>,
    /// Why the job waits, if it does: the disk is full.
    pub waiting_for: Option<String>,
}

impl Handle {
    pub(super) fn start(name: &str, launch: Launch) -> Result<Self, JobError> {
        let control = launch.control();
        let thread = std::thread::Builder::new().name(format!("job {name}"));
        let thread = thread
            .spawn(move || launch.run())
            .map_err(|error| JobError::io("a thread of the job", error))?;
        Ok(Self { remote: Remote { control }, thread })
    }

    /// What it can be asked and told, for another thread.
    pub fn remote(&self) -> Remote {
        self.remote.clone()
    }

    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        self.remote.metrics()
    }

    /// As [`Remote::stop`]; [`Handle::wait`] says when that is done.
    pub fn stop(&self) {
        self.remote.stop();
    }

    /// As [`Remote::cancel`].
    pub fn cancel(&self) {
        self.remote.cancel();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Why it ended early; [`JobError::Cancelled`] after [`Handle::cancel`].
    pub fn wait(self) -> Result<Report, JobError> {
        match self.thread.join() {
            Ok(report) => report.outcome(),
            Err(panic) => Err(JobError::Internal(panic_text(panic.as_ref()).to_owned())),
        }
    }
}

impl Remote {
    /// What it has done so far.
    pub fn metrics(&self) -> Metrics {
        let snapshots = &self.control.snapshots;
        Metrics {
            totals: Totals::of(&self.control),
            snapshot_count: snapshots.count.load(Ordering::Relaxed),
            epoch: snapshots.epoch.load(Ordering::Relaxed),
            snapshot_bytes: snapshots.last_bytes.load(Ordering::Relaxed),
            first_row_after: self.control.first_row_after(),
            waiting_for: snapshots.waiting_for(),
        }
    }

    /// Stops the sources: what has been read is worked off, windows that are open stay open, and a job with state takes a last
    /// snapshot, from which the same job goes on.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Ends it at once, as a crash would: a job with state goes on from its last snapshot.
    pub fn cancel(&self) {
        self.control.fail(JobError::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Iterate, Job, Options, Span, Window};

    fn endless() -> Job {
        Job::new("numbers")
            .source("numbers", Iterate::new(|| (0i64..).map(|n| n * 10)))
            .watermark(|n| *n, Span::millis(0))
            .key_by(|n| n.to_native() / 10 % 7)
            .window(Window::tumbling(Span::seconds(10)))
            .aggregate(|on| on.count())
            .sink(|_| {})
    }

    fn rows_after(running: &Handle, rows: u64) {
        while running.metrics().totals.rows <= rows {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_job_is_stopped_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let options = || Options::default().shards(2).state(folder.path().join("state"));
        let running = endless().start(options()).unwrap();
        rows_after(&running, 0);
        running.stop();
        let first = running.wait().unwrap();
        let running = endless().start(options()).unwrap();
        rows_after(&running, first.totals.rows);
        running.stop();
        let second = running.wait().unwrap();
        let from = second.went_on_from.unwrap();
        assert_eq!((from.rows, from.finished), (first.totals.rows, false));
    }

    #[test]
    fn a_job_is_cancelled() {
        let running = endless().start(Options::default()).unwrap();
        rows_after(&running, 0);
        running.cancel();
        assert!(matches!(running.wait(), Err(JobError::Cancelled)));
    }
}
