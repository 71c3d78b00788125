//! The dataflows: an exchange by key, and an operator with its state.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use peer_clicks::{Answer, Click, PAGES_MAX, VIEW};
use peer_loops::groups::Hashed;
use peer_loops::sessions::{SWEEP_MS, Sessions};
use peer_loops::slices::{Shape, Slices};
use peer_loops::visitors::{DAY_MS, Pairs};
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::{Input, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::worker::Worker;

use crate::feed;

/// An output that is there for its frontier alone.
type Nothing = CapacityContainerBuilder<Vec<()>>;

/// What an operator keeps. Watermarks are those that all workers have passed.
trait State<D>: 'static {
    /// Takes a row.
    fn add(&mut self, row: D, watermark_ms: i64);
    /// Shows what is over.
    fn close(&mut self, watermark_ms: i64);
    /// Shows the rest.
    fn finish(self) -> Answer;
}

/// The watermark that a frontier says.
fn watermark_ms(frontier: &MutableAntichain<u64>) -> i64 {
    frontier.frontier().first().map_or(i64::MAX - 1, |&time| time as i64)
}

/// Where a key lives.
fn route(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Runs a dataflow of one operator.
fn run<D, P, S>(
    worker: &mut Worker,
    clicks: &[Click],
    project: impl Fn(&Click, &mut Vec<D>),
    pact: P,
    state: S,
) -> Answer
where
    D: Clone + 'static,
    P: ParallelizationContract<u64, Vec<D>>,
    S: State<D>,
{
    let mut input = InputHandle::new();
    let probe = ProbeHandle::new();
    let state = Rc::new(RefCell::new(state));
    let own = Rc::clone(&state);
    worker.dataflow(|scope| {
        let rows: Stream<u64, Vec<D>> = scope.input_from(&mut input);
        let shown = rows.unary_frontier::<Nothing, _, _, _>(pact, "window", move |_, _| {
            let mut passed_ms = i64::MIN;
            move |(input, frontier), _| {
                let mut state = own.borrow_mut();
                input.for_each(|_, rows| {
                    rows.drain(..).for_each(|row| state.add(row, passed_ms));
                });
                passed_ms = watermark_ms(frontier);
                state.close(passed_ms);
            }
        });
        shown.probe_with(&probe);
    });
    feed(worker, input, &probe, clicks, project);
    // The dataflow is complete, but lives until the worker steps again.
    while worker.has_dataflows() {
        worker.step();
    }
    let state = Rc::into_inner(state).expect("the dataflow is gone");
    state.into_inner().finish()
}

/// W0.
pub(crate) fn parse(worker: &mut Worker, clicks: &[Click]) -> Answer {
    struct Sum(Answer);

    impl State<(u32, f64)> for Sum {
        #[inline]
        fn add(&mut self, (page, amount): (u32, f64), _: i64) {
            self.0.add_click(page, amount);
        }

        fn close(&mut self, _: i64) {}

        fn finish(self) -> Answer {
            self.0
        }
    }

    let project = |click: &Click, rows: &mut Vec<(u32, f64)>| {
        if click.action == VIEW {
            rows.push((click.page, click.amount));
        }
    };
    run(worker, clicks, project, Pipeline, Sum(Answer::default()))
}

/// A row of a windowed sum, its slice found by who reads it.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Row<K> {
    key: K,
    slice: u32,
    amount: f64,
}

impl<K: Copy + Into<u64>> State<Row<K>> for Slices<Hashed> {
    #[inline]
    fn add(&mut self, row: Row<K>, watermark_ms: i64) {
        Slices::add(self, i64::from(row.slice), row.key.into(), row.amount, watermark_ms);
    }

    fn close(&mut self, watermark_ms: i64) {
        Slices::close(self, watermark_ms);
    }

    fn finish(self) -> Answer {
        Slices::finish(self)
    }
}

/// W1, W3 and W5: `K` is as narrow as the key allows, for the exchange's sake.
pub(crate) fn slices<K>(
    worker: &mut Worker,
    clicks: &[Click],
    shape: Shape,
    keep: fn(&Click) -> bool,
    key: fn(&Click) -> K,
) -> Answer
where
    K: Copy + Into<u64> + Serialize + for<'a> Deserialize<'a> + Send + 'static,
{
    let project = move |click: &Click, rows: &mut Vec<Row<K>>| {
        if keep(click) {
            let slice = click.at_ms.div_euclid(shape.width_ms) as u32;
            rows.push(Row { key: key(click), slice, amount: click.amount });
        }
    };
    let pact = Exchange::new(|row: &Row<K>| route(row.key.into()));
    run(worker, clicks, project, pact, Slices::<Hashed>::new(shape))
}

/// W4.
pub(crate) fn sessions(worker: &mut Worker, clicks: &[Click]) -> Answer {
    struct Open {
        sessions: Sessions,
        answer: Answer,
        sweep_ms: i64,
    }

    impl State<(u64, i64, f64)> for Open {
        #[inline]
        fn add(&mut self, (device, at_ms, amount): (u64, i64, f64), watermark_ms: i64) {
            self.sessions.add(device, at_ms, amount, watermark_ms, &mut self.answer);
        }

        fn close(&mut self, watermark_ms: i64) {
            if watermark_ms >= self.sweep_ms {
                self.sessions.sweep(watermark_ms, &mut self.answer);
                self.sweep_ms = watermark_ms.saturating_add(SWEEP_MS);
            }
        }

        fn finish(mut self) -> Answer {
            self.sessions.sweep(i64::MAX, &mut self.answer);
            self.answer
        }
    }

    let project = |click: &Click, rows: &mut Vec<(u64, i64, f64)>| {
        rows.push((click.device, click.at_ms, click.amount));
    };
    let pact = Exchange::new(|row: &(u64, i64, f64)| route(row.0));
    let (sessions, answer) = (Sessions::new(), Answer::default());
    run(worker, clicks, project, pact, Open { sessions, answer, sweep_ms: i64::MIN })
}

/// A day's distinct pairs of page and device, and how many each page has.
struct Day {
    pairs: Pairs,
    counts: Vec<u64>,
}

/// W2: device by device, then page by page.
pub(crate) fn visitors(worker: &mut Worker, clicks: &[Click]) -> Answer {
    let mut input = InputHandle::new();
    let probe = ProbeHandle::new();
    let answer = Rc::new(RefCell::new(Answer::default()));
    let total = Rc::clone(&answer);
    worker.dataflow(|scope| {
        let rows: Stream<u64, Vec<(u64, u32, u32)>> = scope.input_from(&mut input);
        let counts = count(rows);
        let by_page = Exchange::new(|count: &(u32, u32, u64)| u64::from(count.1));
        let shown = counts.unary_frontier::<Nothing, _, _, _>(by_page, "add up", move |_, _| {
            let mut sums: BTreeMap<(u32, u32), u64> = BTreeMap::new();
            move |(input, frontier), _| {
                input.for_each(|_, counts| {
                    for (day, page, count) in counts.drain(..) {
                        *sums.entry((day, page)).or_default() += count;
                    }
                });
                let over = (watermark_ms(frontier) + 1).div_euclid(DAY_MS) as u32;
                let open = sums.split_off(&(over, 0));
                for ((day, page), count) in std::mem::replace(&mut sums, open) {
                    let start_ms = i64::from(day) * DAY_MS;
                    total.borrow_mut().add_visitors(start_ms, u64::from(page), count);
                }
            }
        });
        shown.probe_with(&probe);
    });
    feed(worker, input, &probe, clicks, |click, rows| {
        rows.push((click.device, click.page, click.at_ms.div_euclid(DAY_MS) as u32));
    });
    *answer.borrow()
}

/// Counts the pages' distinct devices that live here, by day.
fn count<'scope>(
    rows: Stream<'scope, u64, Vec<(u64, u32, u32)>>,
) -> Stream<'scope, u64, Vec<(u32, u32, u64)>> {
    let by_device = Exchange::new(|row: &(u64, u32, u32)| route(row.0));
    rows.unary_frontier::<CapacityContainerBuilder<_>, _, _, _>(
        by_device,
        "count",
        |capability, _| {
            let mut days: BTreeMap<u32, Day> = BTreeMap::new();
            let (mut capability, mut over) = (Some(capability), 0);
            move |(input, frontier), output| {
                input.for_each(|_, rows| {
                    for (device, page, day) in rows.drain(..).filter(|row| row.2 >= over) {
                        let new = || Day { pairs: Pairs::new(), counts: vec![0; PAGES_MAX] };
                        let day = days.entry(day).or_insert_with(new);
                        day.counts[page as usize] += u64::from(day.pairs.insert(page, device));
                    }
                });
                over = (watermark_ms(frontier) + 1).div_euclid(DAY_MS) as u32;
                let open = days.split_off(&over);
                let done = std::mem::replace(&mut days, open);
                let Some(held) = &mut capability else { return };
                if !done.is_empty() {
                    let mut session = output.session(held);
                    for (day, state) in done {
                        let counts =
                            state.counts.into_iter().enumerate().filter(|count| count.1 > 0);
                        counts.for_each(|(page, count)| session.give((day, page as u32, count)));
                    }
                }
                match frontier.frontier().first() {
                    Some(time) => held.downgrade(time),
                    None => capability = None,
                }
            }
        },
    )
}
