//! The workloads through the typed builder.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use peer_clicks::{Answer, LAG_MS, VIEW};
use rkyv::{Archive, Serialize};
use tidemill::{Job, Options, RecordSource, Span, Window};

/// A click, 32 bytes.
#[derive(Archive, Serialize, Clone, Copy)]
pub(crate) struct Click {
    pub(crate) at_ms: i64,
    pub(crate) device: u64,
    pub(crate) amount: f64,
    pub(crate) page: u32,
    pub(crate) action: u8,
}

impl From<peer_clicks::Click> for Click {
    fn from(click: peer_clicks::Click) -> Self {
        let peer_clicks::Click { at_ms, device, amount, page, action } = click;
        Self { at_ms, device, amount, page, action }
    }
}

/// The clicks that the generator makes.
pub(crate) fn generated(rows: u64) -> impl Iterator<Item = peer_clicks::Click> {
    tidemill::connector::clicks::numbers(rows).map(|(at_ms, page, device, action, cents)| {
        let amount = f64::from(cents) / 100.0;
        peer_clicks::Click { at_ms, device, amount, page, action }
    })
}

/// Runs a workload; its seconds and what it came to.
///
/// # Panics
///
/// If the job fails.
pub(crate) fn run<S: RecordSource<Record = Click>>(
    workload: &str,
    source: S,
    shards: usize,
) -> (f64, Answer) {
    let (_, seconds, answer) = run_counted(workload, source, shards);
    (seconds, answer)
}

/// The same, with how many rows it read before.
pub(crate) fn run_counted<S: RecordSource<Record = Click>>(
    workload: &str,
    source: S,
    shards: usize,
) -> (u64, f64, Answer) {
    let tally = Arc::new(Tally::new());
    let job = job(workload, source, &tally);
    let report = job.run(Options::default().shards(shards)).expect("the job runs");
    (report.totals.rows, report.elapsed.as_secs_f64(), tally.answer())
}

fn job<S: RecordSource<Record = Click>>(workload: &str, source: S, tally: &Arc<Tally>) -> Job {
    let lag = Span::millis(LAG_MS);
    let clicks = Job::new(workload).source("clicks", source).watermark(|c| c.at_ms, lag);
    let tally = Arc::clone(tally);
    match workload {
        "w0" => clicks.filter(|c| c.action == VIEW).sink(move |click| {
            tally.add(|answer| answer.add_click(click.page.to_native(), click.amount.to_native()));
        }),
        "w1" => clicks
            .filter(|c| c.action == VIEW)
            .key_by(|c| c.page)
            .window(Window::tumbling(Span::seconds(10)))
            .aggregate(|on| {
                let amount = on.value(|c| c.amount);
                (on.count(), amount.sum(), amount.max(), amount.avg())
            })
            .sink(move |result| {
                let (count, sum, max, avg) = result.value;
                let (start_ms, key) = (result.start_ms, result.key as u64);
                tally.add(|answer| answer.add_tumble(start_ms, key, count as u64, sum, max, avg));
            }),
        "w2" => clicks
            .key_by(|c| c.page)
            .window(Window::tumbling(Span::days(1)))
            .aggregate(|on| on.count_distinct(|c| c.device))
            .sink(move |result| {
                let (start_ms, key) = (result.start_ms, result.key as u64);
                tally.add(|answer| answer.add_visitors(start_ms, key, result.value as u64));
            }),
        "w3" => clicks
            .key_by(|c| c.page)
            .window(Window::sliding(Span::seconds(10), Span::seconds(2)))
            .aggregate(|on| (on.count(), on.sum(|c| c.amount)))
            .sink(move |result| {
                tally.add_sum(result.start_ms, result.key as u64, result.value);
            }),
        "w4" | "w5" => clicks
            .key_by(|c| c.device)
            .window(match workload {
                "w4" => Window::session(Span::seconds(5)),
                _ => Window::tumbling(Span::seconds(60)),
            })
            .aggregate(|on| (on.count(), on.sum(|c| c.amount)))
            .sink(move |result| {
                tally.add_sum(result.start_ms, result.key, result.value);
            }),
        _ => panic!("there is no workload '{workload}'"),
    }
}

/// An answer that shards add to at once: each thread to a part of its own, which it alone stores to.
pub(crate) struct Tally {
    id: usize,
    parts: Vec<Part>,
    /// How many parts have a thread.
    taken: AtomicUsize,
}

/// Rows, counts, cents, hash; in lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Part([AtomicU64; 4]);

/// A job here has so many threads at most.
const PARTS: usize = 64;

thread_local! {
    /// Which tally this thread has added to, and to which part of it.
    static PART: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// How many tallies there have been.
static TALLIES: AtomicUsize = AtomicUsize::new(0);

impl Tally {
    pub(crate) fn new() -> Self {
        let id = TALLIES.fetch_add(1, Ordering::Relaxed) + 1;
        let parts = std::iter::repeat_with(Part::default).take(PARTS).collect();
        Self { id, parts, taken: AtomicUsize::new(0) }
    }

    /// Adds what `row` makes of an answer without rows.
    #[inline]
    pub(crate) fn add(&self, row: impl FnOnce(&mut Answer)) {
        let mut answer = Answer::default();
        row(&mut answer);
        let (id, mut index) = PART.get();
        if id != self.id {
            index = self.take_part();
        }
        let values = [answer.rows, answer.counts, answer.cents as u64, answer.hash];
        for (total, value) in self.parts[index].0.iter().zip(values) {
            total.store(total.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
        }
    }

    /// A part for this thread.
    #[cold]
    fn take_part(&self) -> usize {
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        assert!(index < PARTS, "a job of more than {PARTS} threads");
        PART.set((self.id, index));
        index
    }

    #[inline]
    fn add_sum(&self, start_ms: i64, key: u64, (count, sum): (i64, f64)) {
        self.add(|answer| answer.add_sum(start_ms, key, count as u64, sum));
    }

    /// What all parts come to, after the job has ended.
    pub(crate) fn answer(&self) -> Answer {
        let mut answer = Answer::default();
        for part in &self.parts {
            let [rows, counts, cents, hash] =
                [0, 1, 2, 3].map(|index| part.0[index].load(Ordering::Acquire));
            answer.merge(&Answer { rows, counts, cents: cents as i64, hash });
        }
        answer
    }
}
