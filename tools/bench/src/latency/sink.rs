//! The sink that knows when the rows behind a result were due.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use tidemill::batch::{Batch, RowKind, Schema};
use tidemill::connector::{Sink, SinkPart};
use tidemill::error::JobError;
use tidemill::sys::clock::Stopwatch;

use super::generator::{Generator, KEYS, due_ns, first_row};
use super::{Nanoseconds, Part, histogram};

/// What is due before does not count.
const WARM_UP_NS: u64 = 2_000_000_000;
const WINDOW_MS: u64 = 1000;

/// Measures a run.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    part: Part,
    generator: Generator,
    begin: Arc<OnceLock<Stopwatch>>,
    seen: Arc<Mutex<Seen>>,
}

/// What results have shown.
#[derive(Debug)]
struct Seen {
    latency_ns: Nanoseconds,
    /// Rows that results count.
    rows: u64,
    /// By key: the window of its newest result, and how many rows that counts.
    counted: Vec<(u64, u64)>,
}

impl Meter {
    pub(super) fn new(part: Part, generator: Generator) -> Self {
        let counted = vec![(0, 0); KEYS as usize];
        let seen = Arc::new(Mutex::new(Seen { latency_ns: histogram(), rows: 0, counted }));
        Self { part, generator, begin: Arc::default(), seen }
    }

    /// Where the generator says that time has begun.
    pub(super) fn begin(&self) -> Arc<OnceLock<Stopwatch>> {
        Arc::clone(&self.begin)
    }

    /// Since the first row was due.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.get().map(|watch| watch.elapsed()).unwrap_or_default()
    }

    /// The latencies.
    ///
    /// # Errors
    ///
    /// If results do not count the rows that were sent, each once.
    pub(super) fn finish(&self, rows_sent: u64) -> Result<Nanoseconds, String> {
        let seen = self.seen.lock().expect("nobody panics here");
        match seen.rows == rows_sent {
            true => Ok(seen.latency_ns.clone()),
            false => Err(format!("results count {} rows of {rows_sent}", seen.rows)),
        }
    }

    /// A result that has just been shown.
    pub(super) fn show(&self, window_ms: u64, key: u64, count: u64) {
        let now_ns = self.elapsed().as_nanos() as u64;
        let mut seen = self.seen.lock().expect("nobody panics here");
        self.add(&mut seen, now_ns, window_ms, key, count);
    }

    /// A result: the rows of a key in a window so far.
    fn add(&self, seen: &mut Seen, now_ns: u64, window_ms: u64, key: u64, count: u64) {
        let rate = self.generator.rate();
        let (window, before) = seen.counted[key as usize];
        let before = if window == window_ms { before } else { 0 };
        assert!(count >= before, "key {key} had {before} rows in window {window_ms}, now {count}");
        seen.counted[key as usize] = (window_ms, count);
        seen.rows += count - before;
        if self.part == Part::Tumble {
            let closing = first_row(window_ms + WINDOW_MS, rate);
            // Windows that are open at the end are closed by it and not by a row.
            if self.generator.sends(closing) {
                seen.record(due_ns(closing, rate), now_ns);
            }
            return;
        }
        let first = first_row(window_ms, rate);
        let first = first + (key + KEYS - first % KEYS) % KEYS;
        (before..count).for_each(|nth| seen.record(due_ns(first + nth * KEYS, rate), now_ns));
    }
}

impl Seen {
    fn record(&mut self, due_ns: u64, now_ns: u64) {
        if due_ns >= WARM_UP_NS {
            let latency_ns = now_ns.saturating_sub(due_ns);
            self.latency_ns.record(latency_ns).expect("the histogram resizes itself");
        }
    }
}

impl Sink for Meter {
    fn accepts_changes(&self) -> bool {
        true
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Ok(Box::new(MeterPart(self.clone())))
    }
}

struct MeterPart(Meter);

impl SinkPart for MeterPart {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        let now_ns = self.0.elapsed().as_nanos() as u64;
        let windows = batch.columns[0].as_primitive::<Int64Type>();
        let pages = batch.columns[1].as_string_view();
        let counts = batch.columns[2].as_primitive::<Int64Type>();
        let mut seen = self.0.seen.lock().expect("nobody panics here");
        for row in 0..batch.rows {
            if matches!(batch.kind(row), RowKind::Insert | RowKind::UpdateAfter) {
                let page = pages.value(row).trim_start_matches("page-").parse();
                let (window_ms, count) = (windows.value(row) as u64, counts.value(row) as u64);
                self.0.add(&mut seen, now_ns, window_ms, page.expect("a number"), count);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}
