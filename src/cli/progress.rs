//! The progress line: one line on a terminal's stderr, redrawn while a job runs.
//!
//! ```text
//! ⠙ 12.3 M rows  3.21 M rows/s  41% of 512 MB, 3 s left  watermark 2024-01-01 00:10:17  12 late  130 windows
//! ```
//!
//! A job with state adds its snapshots: `snapshot 17 (4.20 MB in 31 ms)`. When it waits for a full disk, that is said on a line of its
//! own, and once more when it goes on.
//!
//! # Invariants
//!
//! 1. Nothing is drawn where stderr is no terminal; that a job waits is said there too.
//! 2. Rates are those of this run, whatever the totals count.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::amount::{grouped, rounded, second, span_ms, span_ns};
use super::terminal::complain;
use crate::job::Totals;
use crate::shard::{Control, Snapshots};
use crate::sys::clock::Clock;

/// How often the line is redrawn.
const REDRAW: Duration = Duration::from_millis(200);
/// How slowly the rate follows: the weight of the last interval.
const RATE_WEIGHT: f64 = 0.2;

/// An empty progress line; hidden if `quiet` or nobody would see it.
pub(super) fn line(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is valid");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
}

/// Redraws the line until it is dropped.
pub(super) struct Watch {
    bar: ProgressBar,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is watched.
pub(super) struct Watched {
    /// The job's counters.
    pub(super) control: Arc<Control>,
    /// What they said before it ran.
    pub(super) before: Totals,
    /// All bytes there will be, if known.
    pub(super) input_bytes: Option<u64>,
    /// Whether to say that the job waits.
    pub(super) alarms: bool,
}

impl Watch {
    /// Shows what is counted.
    pub(super) fn start(bar: ProgressBar, watched: Watched) -> std::io::Result<Self> {
        if bar.is_hidden() && !watched.alarms {
            return Ok(Self { bar, end: None, thread: None });
        }
        let (end, ended) = channel();
        let drawn = bar.clone();
        let thread = thread::Builder::new().name("progress".into()).spawn(move || {
            let watch = Clock.start();
            let mut pace = Pace::from(&watched.before);
            let mut alarm = None;
            while ended.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
                let snapshots = &watched.control.snapshots;
                if watched.alarms {
                    sound(&drawn, &mut alarm, snapshots.waiting_for());
                }
                if !drawn.is_hidden() {
                    let totals = Totals::of(&watched.control);
                    pace.update(watch.elapsed().as_secs_f64(), &totals);
                    let line = text(&totals, &pace, watched.input_bytes);
                    drawn.set_message(with_snapshots(line, snapshots));
                    drawn.tick();
                }
            }
        })?;
        Ok(Self { bar, end: Some(end), thread: Some(thread) })
    }
}

/// Says that the job begins to wait, or waits no more.
fn sound(bar: &ProgressBar, alarm: &mut Option<String>, now: Option<String>) {
    let said = match (&alarm, &now) {
        (None, Some(reason)) => format!("waiting: {reason}; the job goes on when there is room\n"),
        (Some(_), None) => "the job goes on: there is room again\n".to_owned(),
        _ => return,
    };
    bar.suspend(|| complain(&said));
    *alarm = now;
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        // A thread that has panicked has only failed to draw.
        let _ = self.thread.take().map(JoinHandle::join);
        self.bar.finish_and_clear();
    }
}

/// Rows and bytes a second, smoothed.
#[derive(Default)]
struct Pace {
    at_s: f64,
    rows: u64,
    bytes: u64,
    rows_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
}

impl Pace {
    /// From the beginning of a run, whose counters begin with `before`.
    fn from(before: &Totals) -> Self {
        Self { rows: before.rows, bytes: before.bytes, ..Self::default() }
    }

    fn update(&mut self, now_s: f64, totals: &Totals) {
        let seconds = (now_s - self.at_s).max(1e-3);
        let smooth = |old: Option<f64>, more: u64| {
            let rate = more as f64 / seconds;
            Some(old.map_or(rate, |old| old + (rate - old) * RATE_WEIGHT))
        };
        self.rows_per_second = smooth(self.rows_per_second, totals.rows.saturating_sub(self.rows));
        self.bytes_per_second =
            smooth(self.bytes_per_second, totals.bytes.saturating_sub(self.bytes));
        (self.at_s, self.rows, self.bytes) = (now_s, totals.rows, totals.bytes);
    }
}

fn text(totals: &Totals, pace: &Pace, input_bytes: Option<u64>) -> String {
    let rate = pace.rows_per_second.unwrap_or(0.0);
    let rows = rounded(totals.rows as f64);
    let mut parts = vec![format!("{rows} rows"), format!("{} rows/s", rounded(rate))];
    if let Some(all) = input_bytes.filter(|&all| all > 0) {
        let done = totals.bytes.min(all);
        let mut part = format!("{}% of {}B", done * 100 / all, rounded(all as f64));
        if let Some(rate) = pace.bytes_per_second.filter(|&rate| rate >= 1.0) {
            part +=
                &format!(", {} left", span_ms(((all - done) as f64 / rate) as u64 * 1000 + 1000));
        }
        parts.push(part);
    }
    parts.extend(totals.watermark_ms.map(|watermark| format!("watermark {}", second(watermark))));
    parts.push(format!("{} late", grouped(totals.late)));
    parts.push(format!("{} windows", grouped(totals.fired)));
    if totals.malformed > 0 {
        parts.push(format!("{} malformed", grouped(totals.malformed)));
    }
    parts.join("  ")
}

/// The line with the newest snapshot behind it; before it, where no terminal is too narrow, that the job waits.
fn with_snapshots(mut line: String, snapshots: &Snapshots) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    if load(&snapshots.count) > 0 {
        line += &format!(
            "  snapshot {} ({}B in {})",
            grouped(load(&snapshots.epoch)),
            rounded(load(&snapshots.last_bytes) as f64),
            span_ns(load(&snapshots.last_us) * 1000)
        );
    }
    match snapshots.waiting_for() {
        Some(_) => format!("WAITING, the disk is full  {line}"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_long() {
        let totals = Totals {
            rows: 1_500_000,
            bytes: 250_000_000,
            late: 12,
            fired: 130,
            watermark_ms: Some(1_704_067_817_250),
            ..Totals::default()
        };
        let mut pace = Pace::default();
        pace.update(0.5, &totals);
        let shown = text(&totals, &pace, Some(1_000_000_000));
        assert_eq!(
            shown,
            "1.50 M rows  3.00 M rows/s  25% of 1.00 GB, 2 s left  watermark 2024-01-01 00:10:17  12 late  130 windows"
        );
        let mut pace = Pace::from(&Totals { rows: 1_000_000, ..totals });
        pace.update(0.5, &totals);
        assert!(text(&totals, &pace, None).starts_with("1.50 M rows  1.00 M rows/s  "));
        let snapshots = Snapshots::default();
        assert_eq!(with_snapshots("rows".into(), &snapshots), "rows");
        snapshots.note_commit(17, 4_200_000, Duration::from_micros(31_400));
        let line = "rows  snapshot 17 (4.20 MB in 31 ms)";
        assert_eq!(with_snapshots("rows".into(), &snapshots), line);
        snapshots.alarm(Some("there is no room".into()));
        let waiting = with_snapshots("rows".into(), &snapshots);
        assert_eq!(waiting, format!("WAITING, the disk is full  {line}"));
        assert_eq!(
            text(&Totals::default(), &Pace::default(), None),
            "0 rows  0 rows/s  0 late  0 windows"
        );
    }
}
