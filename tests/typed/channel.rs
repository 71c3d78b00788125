//! Channels out of a job: everything comes, a full one holds shards up and nothing else, and whoever goes away is missed by name.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tidemill::error::JobError;
use tidemill::job::RuntimeKind;
use tidemill::{Iterate, Job, Options, Records, Span, Window, WindowResult, sink};

use super::events::{Event, LAG_MS, Written, events, settings};

const SIZE_MS: i64 = 1000;

type Count = WindowResult<u32, i64>;

/// How many events of a key are in a window; the watermark is late enough for all.
fn counts(file: &Written, sink: impl sink::ItemSink<Count>) -> Job {
    Job::new("counts")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::hours(1))
        .key_by(|e| e.key)
        .window(Window::tumbling(Span::millis(SIZE_MS)))
        .aggregate(|on| on.count())
        .sink_to(sink)
}

/// The same by a loop.
fn expected(events: &[Event]) -> Vec<Count> {
    let mut counts = std::collections::BTreeMap::<_, i64>::new();
    for event in events {
        *counts.entry((event.at_ms.div_euclid(SIZE_MS) * SIZE_MS, event.key)).or_default() += 1;
    }
    let count =
        |((start_ms, key), value)| Count { key, value, start_ms, end_ms: start_ms + SIZE_MS };
    let mut counts: Vec<Count> = counts.into_iter().map(count).collect();
    counts.sort();
    counts
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn all_items_come(events in events(), capacity in 0..9usize) {
        let (file, expected) = (Written::new(&events), expected(&events));
        settings(|options| {
            let (results, received) = sink::channel(capacity);
            let running = counts(&file, results).start(options.clone()).unwrap();
            prop_assert_eq!(sorted(received), expected.clone());
            running.wait().unwrap();

            let (copies, received) = sink::channel(capacity);
            let copy = Job::new("copy")
                .source("events", file.source())
                .watermark(|e| e.at_ms, Span::millis(LAG_MS))
                .filter(|e| e.amount > 0)
                .sink_to(copies);
            let running = copy.start(options).unwrap();
            let line = |e: Event| (e.at_ms, e.key, e.amount, e.name);
            let kept = events.iter().filter(|e| e.amount > 0).cloned();
            prop_assert_eq!(sorted(received.map(line)), sorted(kept.map(line)));
            running.wait().unwrap();
            Ok(())
        })?;
    }

    #[test]
    fn none_is_lost_by_deaths(events in events(), seed in any::<u64>()) {
        let (file, folder) = (Written::new(&events), tempfile::tempdir().unwrap());
        let mut all = BTreeSet::new();
        for life in 0.. {
            prop_assert!(life < 1000);
            let shards = 1 + (seed.wrapping_add(life) % 3) as usize;
            let runtime = RuntimeKind::Dying { seed: seed ^ life, steps: 30 + life * 60 };
            let options = Options::default().shards(shards).runtime(runtime).state(folder.path());
            let (results, received) = sink::channel(3);
            let options = options.snapshot_interval(Span::millis(1));
            let running = counts(&file, results).start(options).unwrap();
            // It ends whether the job dies or not. What comes again is what came before.
            all.extend(received);
            if running.wait().is_ok() {
                break;
            }
        }
        prop_assert_eq!(all.into_iter().collect::<Vec<_>>(), expected(&events));
    }
}

fn endless(sink: impl sink::ItemSink<i64>) -> Job {
    Job::new("endless")
        .source("numbers", Iterate::new(|| 0_i64..))
        .watermark(|n| *n, Span::millis(0))
        .sink_to(sink)
}

/// The same, with the items on all shards.
fn endless_windows(sink: impl sink::ItemSink<WindowResult<i64, i64>>) -> Job {
    Job::new("endless")
        .source("numbers", Iterate::new(|| 0_i64..))
        .watermark(|n| *n, Span::millis(0))
        .key_by(|n| n.to_native() % 64)
        .window(Window::tumbling(Span::millis(64)))
        .aggregate(|on| on.count())
        .sink_to(sink)
}

#[test]
fn a_full_channel_holds_the_job_up_and_cancelling_ends_it() {
    for runtime in [RuntimeKind::Poll, RuntimeKind::detect()] {
        for shards in 1..=3 {
            let (results, mut received) = sink::channel(2);
            let options = Options::default().shards(shards).runtime(runtime);
            let running = endless_windows(results).start(options).unwrap();
            assert_eq!(received.next().map(|result| result.value), Some(1));
            std::thread::sleep(Duration::from_millis(50));
            let rows = || running.metrics().totals.rows;
            let before = rows();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(rows(), before, "it reads on, and nobody receives");
            running.cancel();
            assert!(matches!(running.wait(), Err(JobError::Cancelled)));
            // What it held, and then the end.
            assert!(received.count() <= 2);
        }
    }
}

#[test]
fn a_receiver_that_goes_away_ends_the_job() {
    for shards in 1..=3 {
        let (numbers, mut received) = sink::channel(2);
        let running = endless(numbers).start(Options::default().shards(shards)).unwrap();
        assert_eq!(received.next(), Some(0));
        drop(received);
        assert!(matches!(running.wait(), Err(JobError::OutputClosed)));
        let (numbers, received) = sink::channel(2);
        drop(received);
        let error = endless(numbers).run(Options::default().shards(shards)).unwrap_err();
        assert!(matches!(error, JobError::OutputClosed), "{error:?}");
    }
}

#[test]
fn a_job_that_does_not_run_ends_the_receiver() {
    let (numbers, received) = sink::channel(2);
    drop(endless(numbers));
    assert_eq!(received.count(), 0);
    let (numbers, received) = sink::channel::<i64>(2);
    drop(numbers);
    assert_eq!(received.count(), 0);
    // One that has finished has nothing left to send.
    let folder = tempfile::tempdir().unwrap();
    for life in 0..2 {
        let (numbers, received) = sink::channel(2);
        let source = Records::new(0..9_i64);
        let job = Job::new("numbers").source("numbers", source).processing_time();
        let job = job.sink_to(numbers);
        let running = job.start(Options::default().state(folder.path())).unwrap();
        assert_eq!(sorted(received), if life == 0 { (0..9).collect() } else { vec![] });
        running.wait().unwrap();
    }
}

#[test]
fn a_job_that_runs_again_is_received_again() {
    let (numbers, mut received) = sink::channel(2);
    let source = Records::new(0..9_i64);
    let job = Job::new("numbers").source("numbers", source).processing_time().sink_to(numbers);
    for _ in 0..2 {
        let running = job.start(Options::default().shards(2)).unwrap();
        let numbers = sorted(received.by_ref());
        running.wait().unwrap();
        assert_eq!(numbers, (0..9).collect::<Vec<_>>());
    }
}

/// A number that cannot be deserialised.
#[derive(rkyv::Archive, rkyv::Serialize)]
struct Fussy(i64);

impl<D: rkyv::rancor::Fallible + ?Sized> rkyv::Deserialize<Fussy, D> for ArchivedFussy {
    fn deserialize(&self, _: &mut D) -> Result<Fussy, D::Error> {
        panic!("not {}", self.0)
    }
}

#[test]
fn a_panic_of_the_type_ends_the_job() {
    let (fussy, received) = sink::channel(2);
    let job = Job::new("fussy").source("numbers", Records::new(7..9_i64)).processing_time();
    let running = job.map(|n| Fussy(n.to_native())).sink_to(fussy).start(Options::default());
    assert_eq!(received.count(), 0);
    let error = running.unwrap().wait().unwrap_err();
    assert_eq!(error.to_string(), "channel: deserialisation panicked: not 7");
}
