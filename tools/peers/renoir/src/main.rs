//! The workloads on renoir: its sources, its exchange by key, its fold over windows, with windows of our own ([`window`]).
//!
//! The late rule is applied where rows are read, row by row against the watermark of that reader. Watermarks are handed on no more often than windows
//! end, and of sessions as often as the loops look for those that are over: at each one renoir looks at every key, which once a second was most of
//! the work of W4 and W5. W2 is a set of devices a page. Results are folded where they come up, then together.
//!
//! Timed from starting the job, records in memory, to its end.

mod window;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use peer_clicks::{Answer, Click, LAG_MS, Task, VIEW};
use renoir::Stream;
use renoir::operator::Operator;
use renoir::operator::window::WindowDescription;
use renoir::prelude::*;
use window::{Aligned, Row, Sessions};

/// Rows that a reader takes in turn with the others.
const CHUNK: usize = 1 << 13;
/// Rows in a message.
const BATCH: usize = 1024;
/// How often sessions that are over are looked for.
const SWEEP_MS: i64 = 60_000;

/// Rows, counts, cents, hash: an answer as renoir can send it.
type Sum = (u64, u64, i64, u64);

/// A click with the watermark after it, if that is to be handed on.
#[derive(Clone, Copy)]
struct Read {
    click: Click,
    watermark_ms: Option<i64>,
}

fn main() {
    let task = Task::from_args(std::env::args().skip(1));
    let part = |index| Arc::new(task.clicks(CHUNK, index, task.shards));
    let parts: Vec<Arc<Vec<Click>>> = (0..task.shards).map(part).collect();
    let rows = parts.iter().map(|part| part.len()).sum();
    let config = RuntimeConfig::local(task.shards as u64).expect("a number of workers");
    let context = StreamContext::new(config);
    let day = Aligned { size_ms: 86_400_000, slide_ms: 86_400_000 };
    let (workload, source) = (task.workload.as_str(), Source { context: &context, parts });
    let sum = match workload {
        "w0" => add_up(
            source.read(|_| true, |at| at, SWEEP_MS).filter(|read| read.click.action == VIEW),
            |answer, read| {
                answer.add_click(read.click.page, read.click.amount);
            },
        ),
        "w1" => tumble(&source),
        "w2" => visitors(&source, day),
        "w3" => {
            let hop = Aligned { size_ms: 10_000, slide_ms: 2000 };
            let end = |at| at - at % 2000 + 10_000;
            sums(&source, hop, |row| u64::from(row.page), end, hop.slide_ms)
        }
        "w4" => {
            let sessions = Sessions { gap_ms: 5000 };
            sums(&source, sessions, |row| row.device, |at| at + 5000, SWEEP_MS)
        }
        "w5" => {
            let minute = Aligned { size_ms: 60_000, slide_ms: 60_000 };
            let end = |at| at - at % 60_000 + 60_000;
            sums(&source, minute, |row| row.device, end, minute.slide_ms)
        }
        _ => task.unknown(),
    };
    let start = Instant::now();
    context.execute_blocking();
    let seconds = start.elapsed().as_secs_f64();
    let sums = sum.get().expect("the job has ended");
    task.report(rows, seconds, &answer(sums[0]));
}

/// The records, and where their streams go.
struct Source<'a> {
    context: &'a StreamContext,
    parts: Vec<Arc<Vec<Click>>>,
}

impl Source<'_> {
    /// The clicks in time: those that are kept and not late. `end` is when the last window with a time ends. Watermarks are handed on as
    /// they pass multiples of `told_every_ms`.
    fn read(
        &self,
        keep: fn(&Click) -> bool,
        end: fn(i64) -> i64,
        told_every_ms: i64,
    ) -> Stream<impl Operator<Out = Read> + use<>> {
        let parts = self.parts.clone();
        self.context
            .stream_par_iter(move |index: u64, _: u64| {
                let clicks = Arc::clone(&parts[index as usize]);
                let (mut watermark_ms, mut told_ms) = (i64::MIN, i64::MIN);
                (0..clicks.len()).filter_map(move |row| {
                    let click = clicks[row];
                    let is_late = end(click.at_ms) - 1 <= watermark_ms;
                    watermark_ms = watermark_ms.max(click.at_ms - LAG_MS);
                    // A row that is left out hands nothing on: the next does.
                    (keep(&click) && !is_late).then(|| {
                        let is_due = watermark_ms >= told_ms;
                        if is_due {
                            // A window's last moment is the one before its end.
                            let since_ms = (watermark_ms + 1).rem_euclid(told_every_ms);
                            told_ms = watermark_ms - since_ms + told_every_ms;
                        }
                        Read { click, watermark_ms: is_due.then_some(watermark_ms) }
                    })
                })
            })
            .batch_mode(BatchMode::fixed(BATCH))
            .add_timestamps(|read| read.click.at_ms, |read, _| read.watermark_ms)
    }
}

/// W1.
fn tumble(source: &Source) -> StreamOutput<Vec<Sum>> {
    let tumble = Aligned { size_ms: 10_000, slide_ms: 10_000 };
    let results = source
        .read(|click| click.action == VIEW, |at| at - at % 10_000 + 10_000, tumble.slide_ms)
        .map(|read| row(&read.click))
        .group_by(|row| row.page)
        .window(tumble)
        .fold((0, 0, 0.0, 0.0), |sum: &mut (i64, u64, f64, f64), row: &Row| {
            *sum = (row.start_ms, sum.1 + 1, sum.2 + row.amount, sum.3.max(row.amount));
        })
        .unkey();
    add_up(results, |answer, (page, (start_ms, count, sum, max))| {
        answer.add_tumble(start_ms, u64::from(page), count, sum, max, sum / count as f64);
    })
}

/// W3, W4 and W5.
fn sums<W>(
    source: &Source,
    window: W,
    key: fn(&Row) -> u64,
    end: fn(i64) -> i64,
    told_every_ms: i64,
) -> StreamOutput<Vec<Sum>>
where
    W: WindowDescription<Row> + Clone + 'static,
{
    let results = source
        .read(|_| true, end, told_every_ms)
        .map(|read| row(&read.click))
        .group_by(key)
        .window(window)
        .fold((0, 0, 0.0), |sum: &mut (i64, u64, f64), row: &Row| {
            *sum = (row.start_ms, sum.1 + 1, sum.2 + row.amount);
        })
        .unkey();
    add_up(results, |answer, (key, (start_ms, count, sum))| {
        answer.add_sum(start_ms, key, count, sum);
    })
}

/// W2.
fn visitors(source: &Source, day: Aligned) -> StreamOutput<Vec<Sum>> {
    let results = source
        .read(|_| true, |at| at - at % 86_400_000 + 86_400_000, day.slide_ms)
        .map(|read| row(&read.click))
        .group_by(|row| row.page)
        .window(day)
        .fold((0, HashSet::new()), |set: &mut (i64, HashSet<u64>), row: &Row| {
            set.0 = row.start_ms;
            set.1.insert(row.device);
        })
        .unkey();
    add_up(results, |answer, (page, (start_ms, devices))| {
        answer.add_visitors(start_ms, u64::from(page), devices.len() as u64);
    })
}

fn row(click: &Click) -> Row {
    let &Click { device, amount, page, .. } = click;
    Row { start_ms: 0, device, amount, page }
}

/// Adds results up where they come up, and those sums to one.
fn add_up<T: Send + 'static>(
    results: Stream<impl Operator<Out = T> + 'static>,
    add: fn(&mut Answer, T),
) -> StreamOutput<Vec<Sum>> {
    let local = move |sum: &mut Sum, result: T| {
        let mut total = answer(*sum);
        add(&mut total, result);
        *sum = (total.rows, total.counts, total.cents, total.hash);
    };
    let both = |sum: &mut Sum, other: Sum| {
        let mut total = answer(*sum);
        total.merge(&answer(other));
        *sum = (total.rows, total.counts, total.cents, total.hash);
    };
    results.fold_assoc((0, 0, 0, 0), local, both).collect_vec()
}

fn answer((rows, counts, cents, hash): Sum) -> Answer {
    Answer { rows, counts, cents, hash }
}
