//! Results by their own key, and functions that might be taken for one another.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::error::Class;
use tidemill::{
    AggregateFunction, Every, Job, Options, Records, Span, Stream, Window, WindowResult,
};

use super::events::{Event, LAG_MS, Seen, Written, events, late, settings};

const SIZE_MS: i64 = 300;
/// Results of windows in a window of theirs.
const RESULTS: usize = 3;

/// The amounts of each key by window.
fn sums(job: &Job, file: &Written) -> Stream<WindowResult<(u32, bool), i64>> {
    job.source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .key_by(|e| (e.key, e.amount > 0))
        .window(Window::tumbling(Span::millis(SIZE_MS)))
        .aggregate(|on| on.sum(|e| e.amount))
}

/// For each key the least sum of every few windows one after another.
fn expected(events: &[Event]) -> Vec<((u32, bool), i64)> {
    let mut sums: BTreeMap<((u32, bool), i64), i64> = BTreeMap::new();
    for (event, _) in events.iter().zip(late(events, SIZE_MS)).filter(|(_, late)| !late) {
        let key = (event.key, event.amount > 0);
        *sums.entry((key, event.at_ms.div_euclid(SIZE_MS))).or_default() += event.amount;
    }
    let mut by_key: BTreeMap<(u32, bool), Vec<i64>> = BTreeMap::new();
    for ((key, _), sum) in sums {
        by_key.entry(key).or_default().push(sum);
    }
    let least = |(key, sums): ((u32, bool), Vec<i64>)| {
        let full = sums.chunks_exact(RESULTS).map(|few| *few.iter().min().unwrap());
        full.map(move |least| (key, least)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = by_key.into_iter().flat_map(least).collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn windows_of_results_follow_one_another_by_key(events in events()) {
        let (file, expected) = (Written::new(&events), expected(&events));
        settings(|options| {
            let (seen, note) = Seen::new();
            let job = Job::new("least");
            sums(&job, &file)
                .by_key()
                .window(Window::count(RESULTS as u64))
                .aggregate(|on| on.min(|sum| sum.value))
                .sink(move |r| note((r.key, r.value)));
            job.run(options).unwrap();
            drop(job);
            prop_assert_eq!(seen.sorted(), expected.clone());
            Ok(())
        })?;
    }
}

#[test]
fn the_engine_cannot_look_into_closures() {
    let file = Written::new(&[]);
    let job = Job::new("by a closure");
    sums(&job, &file)
        .key_by(|sum| sum.key)
        .window(Window::count(RESULTS as u64))
        .aggregate(|on| on.count())
        .sink(|_| {});
    let refused = job.run(Options::default()).unwrap_err().to_string();
    assert!(refused.contains("the keys of that window among its own"), "{refused}");
}

/// Two functions that both say who they are in the same words.
struct Least;
struct Greatest;

macro_rules! extreme {
    ($function:ty, $of:ident) => {
        impl AggregateFunction<Event> for $function {
            type Accumulator = Option<i64>;
            type Output = Option<i64>;

            fn uid(&self) -> &str {
                "extreme"
            }

            fn create(&self) -> Option<i64> {
                None
            }

            fn add(&self, extreme: &mut Option<i64>, event: &<Event as rkyv::Archive>::Archived) {
                self.merge(extreme, Some(event.amount.to_native()));
            }

            fn merge(&self, extreme: &mut Option<i64>, later: Option<i64>) {
                *extreme = [*extreme, later].into_iter().flatten().$of();
            }

            fn result(&self, extreme: &Option<i64>) -> Option<i64> {
                *extreme
            }
        }
    };
}

extreme!(Least, min);
extreme!(Greatest, max);

/// A uid tells a function in a job's state: two that share one were one function, and one of them would not be called.
/// They once came to their ends as if nothing had been said.
#[test]
fn sessions_that_fire_early_or_late_are_refused() {
    let every = Every::event_time(Span::seconds(1));
    let session = Window::session(Span::seconds(1));
    for window in [session.early_fire(every), session.late_fire(Every::row(), Span::days(1))] {
        let job = sums_by(window);
        let refused = job.run(Options::default()).unwrap_err();
        assert_eq!(refused.class(), Class::User);
        let why = "job sums: session windows do not fire early or late, in Flink neither";
        assert_eq!(refused.to_string(), why);
    }
    sums_by(session).run(Options::default()).unwrap();
}

fn sums_by(window: Window) -> Job {
    Job::new("sums")
        .source("numbers", Records::new(0..9_i64))
        .watermark(|n| *n, Span::millis(0))
        .key_by(|_| 0)
        .window(window)
        .aggregate(|on| on.sum(|n| *n))
        .sink_changes(|_, _| {})
}

#[test]
fn functions_of_one_uid_are_refused() {
    fn event(n: i64) -> Event {
        Event { at_ms: n, key: 0, amount: n, name: String::new() }
    }
    let file = Written::new(&(0..9).map(event).collect::<Vec<_>>());
    let keyed = |job: &Job| {
        let events = job.source("events", file.source());
        events.watermark(|e| e.at_ms, Span::millis(LAG_MS)).key_by(|e| e.key)
    };
    let window = Window::tumbling(Span::millis(SIZE_MS));

    let job = Job::new("one call");
    keyed(&job).window(window).aggregate(|on| (on.custom(Least), on.custom(Greatest))).sink(|_| {});
    let refused = job.run(Options::default()).unwrap_err();
    assert_eq!(refused.class(), Class::User);
    assert!(
        refused.to_string().contains("another function has the uid 'extreme' too"),
        "{refused}"
    );

    let job = Job::new("reduced twice");
    let twice = |e: &<Event as rkyv::Archive>::Archived, _: &_| event(e.amount.to_native());
    let thrice = |_: &_, e: &<Event as rkyv::Archive>::Archived| event(e.amount.to_native());
    keyed(&job).window(window).aggregate(|on| on.reduce("one", twice)).sink(|_| {});
    keyed(&job).window(window).aggregate(|on| on.reduce("one", thrice)).sink(|_| {});
    let refused = job.run(Options::default()).unwrap_err().to_string();
    assert!(refused.contains("another function has the uid 'one' too"), "{refused}");

    let job = Job::new("the same function twice");
    let (seen, note) = Seen::new();
    keyed(&job)
        .window(window)
        .aggregate(|on| (on.custom(Least), on.custom(Least).filter(|e| e.amount > 4)))
        .sink(move |r| note(r.value));
    job.run(Options::default()).unwrap();
    drop(job);
    assert_eq!(seen.sorted(), [(Some(0), Some(Some(5)))]);
}
