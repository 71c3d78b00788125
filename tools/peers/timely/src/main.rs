//! The workloads on timely dataflow, with operators written by hand.
//!
//! Timestamps are watermarks in milliseconds. Each worker reads its part of the records, filters and projects them, and sends them in chunks to the
//! worker that owns their key; there the state is that of the hand-written loop (`peer-loops`), and windows are shown when the frontier has
//! passed their end. A row whose window has been shown is late and dropped. Workers stay abreast: nobody reads on while the slowest is more
//! than [`AHEAD_MAX`] of its own chunks behind, which keeps state in the cache.
//!
//! W2 is spread by device, so that the busiest page keeps nobody waiting; a second exchange adds up the workers' counts by page.
//! Results are added up where windows are shown, not sent on: that is in timely's favour.
//!
//! Timed from the workers' start, records in memory, to their end.

mod window;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use peer_clicks::{Answer, Click, LAG_MS, Task, VIEW};
use peer_loops::slices::{HOP, MINUTE, TUMBLE};
use timely::Config;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

/// Rows that a worker reads at a time.
const CHUNK: usize = 1 << 13;
/// How many chunks a worker may be ahead of what all have done.
const AHEAD_MAX: usize = 4;
/// Steps without progress before a worker parks, and for how long it does at most.
const STEPS_MAX: usize = 1000;
const PARK: Duration = Duration::from_micros(100);

fn main() {
    let task = Task::from_args(std::env::args().skip(1));
    let part = |index| Mutex::new(task.clicks(CHUNK, index, task.shards));
    let parts: Vec<_> = (0..task.shards).map(part).collect();
    let rows = parts.iter().map(|part| part.lock().expect("nobody panics").len()).sum();
    let run: fn(&mut Worker, &[Click]) -> Answer = match task.workload.as_str() {
        "w0" => window::parse,
        "w1" => |worker, clicks| {
            window::slices(worker, clicks, TUMBLE, |c| c.action == VIEW, |c| u64::from(c.page))
        },
        "w2" => window::visitors,
        "w3" => {
            |worker, clicks| window::slices(worker, clicks, HOP, |_| true, |c| u64::from(c.page))
        }
        "w4" => window::sessions,
        "w5" => |worker, clicks| window::slices(worker, clicks, MINUTE, |_| true, |c| c.device),
        _ => task.unknown(),
    };
    let start = Instant::now();
    let workers = timely::execute(Config::process(task.shards), move |worker| {
        let clicks = std::mem::take(&mut *parts[worker.index()].lock().expect("nobody panics"));
        run(worker, &clicks)
    });
    let mut answer = Answer::default();
    for part in workers.expect("threads can be started").join() {
        answer.merge(&part.expect("workers do not panic"));
    }
    task.report(rows, start.elapsed().as_secs_f64(), &answer);
}

/// Sends a worker's records through its dataflow, to the end.
fn feed<D: Clone + 'static>(
    worker: &mut Worker,
    mut input: InputHandle<u64, CapacityContainerBuilder<Vec<D>>>,
    probe: &ProbeHandle<u64>,
    clicks: &[Click],
    project: impl Fn(&Click, &mut Vec<D>),
) {
    let mut chunk = Vec::with_capacity(CHUNK);
    let (mut highest_ms, mut sent) = (i64::MIN, VecDeque::new());
    for rows in clicks.chunks(CHUNK) {
        for click in rows {
            highest_ms = highest_ms.max(click.at_ms);
            project(click, &mut chunk);
        }
        input.send_batch(&mut chunk);
        chunk.clear();
        input.advance_to((highest_ms - LAG_MS) as u64);
        sent.push_back(*input.time());
        worker.step();
        if sent.len() > AHEAD_MAX {
            let behind = sent.pop_front().expect("it is not empty");
            let mut steps = 0;
            while probe.less_than(&behind) {
                // Who has spun for a while leaves its core to whom it waits for.
                match steps < STEPS_MAX {
                    true => worker.step(),
                    false => worker.step_or_park(Some(PARK)),
                };
                steps += 1;
            }
        }
    }
    input.close();
    while !probe.done() {
        worker.step_or_park(None);
    }
}
