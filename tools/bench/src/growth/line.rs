//! A line of a table: a job over rows of one kind, run and checked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidemill::batch::RowKind;
use tidemill::{Every, Job, Mode, Options, Records, Span, Window};

use super::load::{Load, Row, Totals};
use crate::typed::Tally;

/// Results before a window's end, every second of event time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Early {
    No,
    /// The old result taken back, and the new one.
    Retracting,
    /// What came since the last.
    Discarding,
}

/// What is run.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) load: Load,
    pub(super) size_ms: i64,
    pub(super) slide_ms: i64,
    pub(super) early: Early,
    pub(super) shards: usize,
    pub(super) snapshot_interval_ms: Option<i64>,
    /// 32, 64, 128, 256 or 1024.
    pub(super) row_bytes: usize,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    /// The most that shards have noted.
    pub(super) state_bytes: u64,
    pub(super) snapshots: u64,
    pub(super) results: u64,
}

/// How often a running job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(3);

impl Line {
    /// Runs it; its state, if it is to be durable, in a folder below `folder`.
    ///
    /// # Errors
    ///
    /// The job's; results that do not add up to `expected`.
    pub(super) fn run(&self, folder: &Path, expected: &Totals) -> Result<Outcome, String> {
        match self.row_bytes {
            32 => self.run_wide::<8>(folder, expected),
            64 => self.run_wide::<40>(folder, expected),
            128 => self.run_wide::<104>(folder, expected),
            256 => self.run_wide::<232>(folder, expected),
            1024 => self.run_wide::<1000>(folder, expected),
            other => panic!("no rows of {other} bytes"),
        }
    }

    fn run_wide<const P: usize>(
        &self,
        folder: &Path,
        expected: &Totals,
    ) -> Result<Outcome, String> {
        let tally = Arc::new(Tally::new());
        let job = self.job(Records::new(self.load.records::<P>()), Arc::clone(&tally));
        let mut options = Options::default().shards(self.shards);
        let state = folder.join("state-growth");
        let _ = std::fs::remove_dir_all(&state);
        if let Some(interval_ms) = self.snapshot_interval_ms {
            options = options.state(&state).snapshot_interval(Span::millis(interval_ms));
        }
        let failed = |error| format!("{}: {error}", self.name);
        let running = job.start(options).map_err(|error| failed(error.to_string()))?;
        let mut state_bytes = 0;
        while !running.is_finished() {
            state_bytes = state_bytes.max(running.metrics().totals.state_bytes);
            std::thread::sleep(LOOK_EVERY);
        }
        let snapshots = running.metrics().snapshot_count;
        let report = running.wait().map_err(|error| failed(error.to_string()))?;
        let _ = std::fs::remove_dir_all(&state);
        let answer = tally.answer();
        let got =
            Totals { counts: answer.counts as i64, cents: answer.cents, late: report.totals.late };
        if got != *expected {
            return Err(failed(format!("wrong answer: {got:?}; a plain loop says {expected:?}")));
        }
        let (seconds, results) = (report.elapsed.as_secs_f64(), report.totals.rows_out);
        Ok(Outcome { seconds, state_bytes, snapshots, results })
    }

    /// Count and sum by key and window, added up.
    fn job<const P: usize>(&self, rows: Records<Row<P>>, tally: Arc<Tally>) -> Job {
        let every = Every::event_time(Span::seconds(1));
        let size = Span::millis(self.size_ms);
        let window = match self.size_ms == self.slide_ms {
            true => Window::tumbling(size),
            false => Window::sliding(size, Span::millis(self.slide_ms)),
        };
        let window = match self.early {
            Early::No => window,
            Early::Retracting => window.early_fire(every).mode(Mode::Retracting),
            Early::Discarding => window.early_fire(every).mode(Mode::Discarding),
        };
        Job::new(&self.name)
            .source("rows", rows)
            .watermark(|row| row.at_ms, Span::millis(self.load.disorder_ms))
            .key_by(|row| row.key)
            .window(window)
            .aggregate(|on| (on.count(), on.sum(|row| row.amount)))
            .sink_changes(move |kind, result| {
                let (count, sum) = result.value;
                let takes_back = matches!(kind, RowKind::UpdateBefore | RowKind::Delete);
                let sign = if takes_back { -1 } else { 1 };
                tally.add(|answer| {
                    answer.counts = (sign * count) as u64;
                    answer.cents = sign * peer_clicks::cents(sum);
                });
            })
    }
}
