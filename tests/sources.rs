//! The typed library's sources: each gives what a plain loop computes, on any number of shards, in small chunks, and with the process
//! killed in its midst.

// The threads here are those of a program that feeds a job.
#![allow(clippy::disallowed_methods)]

#[path = "sources/channel.rs"]
mod channel;
#[path = "sources/killed.rs"]
mod killed;
#[path = "sources/numbers.rs"]
mod numbers;
#[path = "sources/refused.rs"]
mod refused;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rkyv::{Archive, Serialize};
use tidemill::error::JobError;
use tidemill::job::{Report, RuntimeKind};
use tidemill::{CsvFile, Iterate, Job, JsonFile, Options, RecordSource, Records, Span, Window};

use numbers::{Numbers, write_splits};

/// What the sources of this suite carry; one field is a text, so that archives differ in length.
#[derive(Archive, Serialize, serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub at_ms: i64,
    pub key: u32,
    pub value: i64,
    pub note: String,
}

/// The `index`th event.
pub(crate) fn event(index: i64) -> Event {
    Event {
        at_ms: index * 10,
        key: (index * 7 % 5) as u32,
        value: index,
        note: "x\n\"y\",".repeat(index as usize % 4),
    }
}

/// Count and sum by window and key.
pub(crate) type Sums = BTreeMap<(i64, u32), (i64, i64)>;

const WINDOW_MS: i64 = 1000;

/// What a plain loop computes.
pub(crate) fn plain(events: impl Iterator<Item = Event>) -> Sums {
    let mut sums = Sums::new();
    for event in events {
        let sum = sums.entry((event.at_ms / WINDOW_MS * WINDOW_MS, event.key)).or_default();
        *sum = (sum.0 + 1, sum.1 + event.value);
    }
    sums
}

/// What a job has shown, in all its lives: a result that is shown again must be what it was.
#[derive(Clone, Default)]
pub(crate) struct Shown(Arc<Mutex<Sums>>);

impl Shown {
    pub(crate) fn sums(&self) -> Sums {
        self.0.lock().unwrap().clone()
    }
}

/// One life of the job of this suite: the only place that touches the builder.
pub(crate) fn live<S>(source: S, options: &Options, shown: &Shown) -> Report
where
    S: RecordSource<Record = Event>,
{
    job(source, shown).launch(options).unwrap().run()
}

/// Lives that are killed, each a step later than the one before, until there is a snapshot to go on from. How soon rows come is
/// up to the threads that read them, so a snapshot is looked for after each, by a life that dies at once.
pub(crate) fn kill_midway<S>(source: impl Fn() -> S, options: &Options)
where
    S: RecordSource<Record = Event>,
{
    let options = options.clone().chunk_bytes(2_000);
    let die = |seed, steps| {
        let runtime = RuntimeKind::Dying { seed, steps };
        let report = live(source(), &options.clone().runtime(runtime), &Shown::default());
        assert!(matches!(report.failure, Some(JobError::Killed)), "{:?}", report.failure);
        report.went_on_from.is_some()
    };
    (1..).find(|&life| {
        die(life, life);
        die(life, 0)
    });
}

pub(crate) fn job<S: RecordSource<Record = Event>>(source: S, shown: &Shown) -> Job {
    let shown = shown.clone();
    Job::new("sums")
        .source("events", source)
        // Splits of threads and of the program's own arrive in any order.
        .watermark(|event| event.at_ms.to_native(), Span::minutes(10))
        .key_by(|event| event.key.to_native())
        .window(Window::tumbling(Span::millis(WINDOW_MS)))
        .aggregate(|on| (on.count(), on.sum(|event| event.value.to_native())))
        .sink(move |result| {
            let known = shown.0.lock().unwrap().insert((result.start_ms, result.key), result.value);
            assert!(known.is_none_or(|known| known == result.value), "{known:?}, then {result:?}");
        })
}

pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

const EVENTS: i64 = 5000;

pub(crate) fn write_json(path: &Path, events: impl Iterator<Item = Event>) {
    let line = |event| serde_json::to_string(&event).unwrap() + "\n";
    std::fs::write(path, events.map(line).collect::<String>()).unwrap();
}

/// Columns in another order than the type's fields, one that it does not have, and quoted newlines.
pub(crate) fn write_csv(path: &Path, events: impl Iterator<Item = Event>) {
    let row = |event: Event| {
        let note = event.note.replace('"', "\"\"");
        format!("{},\"{note}\",of no use,{},{}\r\n", event.key, event.value, event.at_ms)
    };
    let rows: String = events.map(row).collect();
    std::fs::write(path, format!("key,note,other,value,at_ms\r\n{rows}")).unwrap();
}

fn check<S: RecordSource<Record = Event>>(what: &str, source: impl Fn() -> S) {
    let expected = plain((0..EVENTS).map(event));
    for shards in 1..=3 {
        for (runtime, chunk_bytes) in [(RuntimeKind::Poll, 1 << 20), (RuntimeKind::Sim(7), 700)] {
            let shown = Shown::default();
            let options =
                Options::default().shards(shards).runtime(runtime).chunk_bytes(chunk_bytes);
            let report = live(source(), &options, &shown);
            let context = format!("{what}, {shards} shards, {runtime:?}");
            assert!(report.failure.is_none(), "{context}: {:?}", report.failure);
            assert_eq!(report.totals.rows, EVENTS as u64, "{context}");
            assert_eq!(shown.sums(), expected, "{context}");
        }
    }
}

#[test]
fn records_in_memory() {
    check("memory", || Records::new((0..EVENTS).map(event)));
}

#[test]
fn iterators() {
    check("iterator", || Iterate::new(|| (0..EVENTS).map(event)));
}

#[test]
fn json_files() {
    let folder = folder();
    write_json(&folder.path().join("a"), (0..EVENTS / 2).map(event));
    write_json(&folder.path().join("b"), (EVENTS / 2..EVENTS).map(event));
    check("JSON", || JsonFile::open(folder.path()).unwrap());
}

#[test]
fn csv_files() {
    let folder = folder();
    write_csv(&folder.path().join("a.csv"), (0..EVENTS / 2).map(event));
    // A compressed one has its names too, and a file without rows no harm.
    let plain = folder.path().join("plain");
    write_csv(&plain, (EVENTS / 2..EVENTS).map(event));
    let packed = std::fs::File::create(folder.path().join("b.csv.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    std::io::copy(&mut std::fs::File::open(&plain).unwrap(), &mut packed).unwrap();
    packed.finish().unwrap();
    std::fs::remove_file(plain).unwrap();
    std::fs::write(folder.path().join("c.csv"), "").unwrap();
    check("CSV", || CsvFile::open(folder.path()).unwrap());
}

#[test]
fn csv_files_without_names() {
    let folder = folder();
    let path = folder.path().join("rows");
    let row = |event: Event| {
        format!(
            "{};{};{};\"{}\"\n",
            event.at_ms,
            event.key,
            event.value,
            event.note.replace('"', "\"\"")
        )
    };
    std::fs::write(&path, (0..EVENTS).map(event).map(row).collect::<String>()).unwrap();
    check("CSV without names", || CsvFile::open(&path).unwrap().headless().delimiter(b';'));
}

#[test]
fn connectors() {
    let folder = folder();
    write_splits(folder.path(), 3, EVENTS);
    for bounded in [true, false] {
        check("connector", || Numbers::new(folder.path(), bounded));
    }
}

#[test]
fn errors_are_sorted() {
    use tidemill::error::Class;
    let class = |error: &JobError| error.class();
    let folder = folder();
    let missing = JsonFile::<Event>::open(folder.path().join("nothing")).unwrap_err();
    assert_eq!(class(&missing), Class::External, "{missing}");
}
