//! Jobs that are killed again and again: every record counts once.

use std::time::Duration;

use tidemill::error::JobError;
use tidemill::job::{RecordSource, RuntimeKind};
use tidemill::{CsvFile, Iterate, JsonFile, Options, Span, channel};

use crate::numbers::{Numbers, write_splits};
use crate::{Event, Shown, event, folder, kill_midway, live, plain, write_csv, write_json};

const EVENTS: i64 = 20_000;

/// Lives until one comes to its end, each killed later than the one before; how many went on from a snapshot. A source of a few large
/// chunks may have been read before the first is due, so that of one shard count it may be none.
fn check<S>(what: &str, shards: usize, source: impl Fn() -> S) -> u64
where
    S: RecordSource<Record = Event>,
{
    let (state, shown) = (folder(), Shown::default());
    let options = Options::default().shards(shards).chunk_bytes(20_000);
    let options = options.state(state.path()).snapshot_interval(Span::millis(0));
    let (mut killed_count, mut went_on_count) = (0, 0);
    for life in 1.. {
        let runtime = RuntimeKind::Dying { seed: life, steps: 15 * life };
        let report = live(source(), &options.clone().runtime(runtime), &shown);
        went_on_count += u64::from(report.went_on_from.is_some());
        match report.failure {
            None => break,
            Some(JobError::Killed) => killed_count += 1,
            Some(other) => panic!("{what}, {shards} shards: {other}"),
        }
    }
    assert!(killed_count > 1, "{what}: {killed_count}");
    assert_eq!(shown.sums(), plain((0..EVENTS).map(event)), "{what}, {shards} shards");
    went_on_count
}

#[test]
fn iterators() {
    for shards in 1..=3 {
        assert!(check("iterator", shards, || Iterate::new(|| (0..EVENTS).map(event))) > 0);
    }
}

#[test]
fn json_files() {
    let folder = folder();
    write_json(&folder.path().join("a"), (0..EVENTS).map(event));
    for shards in 1..=2 {
        assert!(check("JSON", shards, || JsonFile::open(folder.path()).unwrap()) > 0);
    }
}

#[test]
fn csv_files() {
    let folder = folder();
    write_csv(&folder.path().join("a"), (0..EVENTS).map(event));
    for shards in 1..=2 {
        assert!(check("CSV", shards, || CsvFile::open(folder.path()).unwrap()) > 0);
    }
}

#[test]
fn connectors() {
    let folder = folder();
    write_splits(folder.path(), 3, EVENTS);
    for bounded in [true, false] {
        let (mut went_on_count, mut reopened) = (0, false);
        for shards in 1..=2 {
            let numbers = Numbers::new(folder.path(), bounded);
            went_on_count += check("connector", shards, || numbers.clone());
            let (opened, covered) =
                (numbers.opened.lock().unwrap(), numbers.covered.lock().unwrap());
            reopened |= opened.iter().any(|(_, offset)| *offset > 0);
            assert!(!covered.is_empty(), "snapshots were told");
        }
        assert!(went_on_count > 0 && reopened, "one was gone on with");
    }
}

/// The program sends from where the job has it, whoever was killed.
#[test]
fn durable_channels() {
    for shards in 1..=2 {
        let (state, shown) = (folder(), Shown::default());
        let options = Options::default().shards(shards);
        let options = options.state(state.path()).snapshot_interval(Span::millis(0));
        let mut killed_count = 0;
        let mut known = Vec::new();
        for life in 1.. {
            let (sender, source) = channel::<Event>(1000);
            let feeder = std::thread::spawn(move || {
                let had = sender.flush().ok()?;
                for index in had as i64..EVENTS {
                    sender.send(event(index)).ok()?;
                    if index % 1000 == 0 {
                        let has = sender.flush().ok()?;
                        assert_eq!(has, index as u64 + 1, "all of it, and nothing twice");
                    }
                }
                Some(had)
            });
            let runtime = RuntimeKind::Dying { seed: life, steps: 15 * life };
            let report = live(source.durable(), &options.clone().runtime(runtime), &shown);
            known.extend(feeder.join().unwrap());
            match report.failure {
                None => break,
                Some(JobError::Killed) => killed_count += 1,
                Some(other) => panic!("{other}"),
            }
        }
        assert!(killed_count > 1, "{killed_count}");
        assert!(known.last().is_some_and(|had| *had > 0), "{known:?}");
        assert_eq!(shown.sums(), plain((0..EVENTS).map(event)), "{shards} shards");
    }
}

/// What a durable channel has is read again, though nobody sends it again.
#[test]
fn what_was_flushed_is_there() {
    let (state, shown) = (folder(), Shown::default());
    let options = Options::default().shards(2).state(state.path());
    let options = options.snapshot_interval(Span::minutes(10));
    let (sender, source) = channel::<Event>(10_000);
    (0..3000).for_each(|index| sender.send(event(index)).unwrap());
    let feeder = std::thread::spawn(move || {
        let has = sender.flush().unwrap();
        // Until the job is killed.
        while sender.send(event(0)).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        has
    });
    let runtime = RuntimeKind::Dying { seed: 1, steps: 300 };
    let report = live(source.durable(), &options.clone().runtime(runtime), &shown);
    assert!(matches!(report.failure, Some(JobError::Killed)), "{:?}", report.failure);
    assert_eq!(feeder.join().unwrap(), 3000);
    assert!(shown.sums().is_empty());
    let (sender, source) = channel::<Event>(10_000);
    let feeder = std::thread::spawn(move || sender.flush().unwrap());
    let report = live(source.durable(), &options, &shown);
    assert!(report.failure.is_none(), "{:?}", report.failure);
    let had = feeder.join().unwrap();
    assert!(had >= 3000, "{had}");
    let mut expected = plain((0..3000).map(event));
    expected.get_mut(&(0, 0)).unwrap().0 += had as i64 - 3000;
    assert_eq!(shown.sums(), expected);
}

#[test]
fn a_durable_channel_needs_state() {
    let (_sender, source) = channel::<Event>(10);
    let report = live(source.durable(), &Options::default().shards(1), &Shown::default());
    let failure = report.failure.unwrap().to_string();
    assert!(failure.contains("run it with `Options::state`"), "{failure}");
}

#[test]
fn an_iterator_that_has_become_shorter_is_refused() {
    let (state, shown) = (folder(), Shown::default());
    let options = Options::default().shards(1).state(state.path());
    let options = options.snapshot_interval(Span::millis(0));
    kill_midway(|| Iterate::new(|| (0..EVENTS).map(event)), &options);
    let report = live(Iterate::new(|| (0..10).map(event)), &options, &shown);
    let failure = report.failure.unwrap().to_string();
    assert!(failure.contains("records had been read when the snapshot was taken"), "{failure}");
}
