//! Files as sinks: every record once, whatever lives a job has had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rkyv::{Archive, Deserialize, Serialize};
use tidemill::error::Class;
use tidemill::job::RuntimeKind;
use tidemill::{
    CsvFile, Every, Files, Job, JsonFile, Options, RecordFile, RecordSource, Records, Span, Window,
};

use super::events::{Event, LAG_MS, Seen, Written, events};

fn copy(file: &Written, to: &Path) -> Job {
    Job::new("copy")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .filter(|e| e.key != 2)
        .map(|e| (e.at_ms.to_native(), e.name.to_string()))
        .sink_to(Files::records(to))
}

fn read(from: &Path) -> Vec<(i64, String)> {
    let (seen, note) = Seen::new();
    Job::new("read")
        .source("copies", RecordFile::<(i64, String)>::open(from).unwrap())
        .processing_time()
        .sink(move |copy| note((copy.0.to_native(), copy.1.to_string())))
        .run(Options::default().shards(1))
        .unwrap();
    seen.sorted()
}

/// A record with text that has to be quoted, and a field that may be empty.
#[derive(
    Archive,
    Serialize,
    Deserialize,
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
struct Line {
    at_ms: i64,
    name: String,
    amount: Option<i64>,
}

fn line(at_ms: i64, name: &str, amount: i64) -> Line {
    let name = format!("{name}, \"{amount}\"\n{name}");
    Line { at_ms, name, amount: (amount > 0).then_some(amount) }
}

/// A file or a folder of lines.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Json,
    Csv,
}

fn write_lines(file: &Written, kind: Kind, to: &Path) -> Job {
    let lines = Job::new("lines")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .filter(|e| e.key != 2)
        .map(|e| line(e.at_ms.to_native(), &e.name, e.amount.to_native()));
    lines.sink_to(if kind == Kind::Json { Files::json(to) } else { Files::csv(to) })
}

fn read_lines(kind: Kind, from: &Path) -> Vec<Line> {
    match kind {
        Kind::Json => lines_of(JsonFile::<Line>::open(from).unwrap()),
        Kind::Csv => lines_of(CsvFile::<Line>::open(from).unwrap()),
    }
}

fn lines_of(source: impl RecordSource<Record = Line>) -> Vec<Line> {
    let (seen, note) = Seen::new();
    let job = Job::new("read").source("lines", source).processing_time();
    let read =
        job.sink(move |line| note(rkyv::deserialize::<Line, rkyv::rancor::Error>(line).unwrap()));
    read.run(Options::default().shards(1)).unwrap();
    seen.sorted()
}

/// Where lines go: a folder, or a plain file.
fn target(folder: &Path, kind: Kind, plain: bool) -> PathBuf {
    folder.join(match (plain, kind) {
        (false, _) => "out",
        (true, Kind::Json) => "out.jsonl",
        (true, Kind::Csv) => "out.csv",
    })
}

#[test]
fn changes_of_records_have_their_kind() {
    for (kind, plain) in [(Kind::Json, true), (Kind::Csv, true), (Kind::Csv, false)] {
        let folder = tempfile::tempdir().unwrap();
        let out = target(folder.path(), kind, plain);
        let files = if kind == Kind::Json { Files::json(&out) } else { Files::csv(&out) };
        Job::new("counts")
            .source("numbers", Records::new(0..40_i64))
            .watermark(|n| *n, Span::millis(0))
            .key_by(|_| 0)
            .window(
                Window::tumbling(Span::seconds(1)).early_fire(Every::event_time(Span::millis(10))),
            )
            .aggregate(|on| on.count())
            .map(|result| Line { at_ms: result.value, name: String::new(), amount: None })
            .sink_to(files.changelog())
            .run(Options::default().shards(1))
            .unwrap();
        let path = if plain {
            out
        } else {
            std::fs::read_dir(out).unwrap().next().unwrap().unwrap().path()
        };
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        if kind == Kind::Csv {
            assert_eq!(lines.next(), Some("op,at_ms,name,amount"));
        }
        let mut held = BTreeMap::<&str, i64>::new();
        for text in lines {
            let (op, rest) = match kind {
                Kind::Json => text.strip_prefix("{\"op\":\"").unwrap().split_once("\",").unwrap(),
                Kind::Csv => text.split_once(',').unwrap(),
            };
            *held.entry(rest).or_default() += if op.starts_with('+') { 1 } else { -1 };
        }
        assert!(held.len() > 1, "{text}");
        held.retain(|_, count| *count != 0);
        let last = match kind {
            Kind::Json => "\"at_ms\":40,\"name\":\"\",\"amount\":null}",
            Kind::Csv => "40,,",
        };
        assert_eq!(held, BTreeMap::from([(last, 1)]));
    }
}

/// CSV has no place for what is within what.
#[derive(Archive, Serialize, Deserialize, serde::Serialize)]
struct Nested {
    lines: Vec<(i64, i64)>,
}

#[test]
fn what_cannot_be_written_ends_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new("nested").source("numbers", Records::new(0..9_i64)).processing_time();
    let nested = job.map(|n| Nested { lines: vec![(n.to_native(), 0)] });
    let written = nested.sink_to(Files::csv(folder.path().join("out")));
    let error = written.run(Options::default().shards(2)).unwrap_err();
    assert_eq!(error.class(), Class::User);
    let text = error.to_string();
    assert!(text.contains("Nested: a record cannot be written: "), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn lines_are_written_once(
        events in events(), seed in any::<u64>(), csv in any::<bool>(), plain in any::<bool>()
    ) {
        let kind = if csv { Kind::Csv } else { Kind::Json };
        let pick = |e: &Event| (e.key != 2).then(|| line(e.at_ms, &e.name, e.amount));
        let mut expected: Vec<Line> = events.iter().filter_map(pick).collect();
        expected.sort();
        prop_assume!(!expected.is_empty());
        let (file, folder) = (Written::new(&events), tempfile::tempdir().unwrap());
        let state = folder.path().join("state");
        let out = target(folder.path(), kind, plain);
        let options = || Options::default().state(&state).snapshot_interval(Span::millis(1));
        let deaths = (0..).take_while(|life| {
            let runtime = RuntimeKind::Dying { seed: seed ^ life, steps: 30 + life * 60 };
            let shards = 1 + (seed.wrapping_add(*life) % 3) as usize;
            write_lines(&file, kind, &out).run(options().shards(shards).runtime(runtime)).is_err()
        });
        prop_assert!(deaths.count() < 1000);
        prop_assert_eq!(read_lines(kind, &out), expected.clone());
        for shards in 1..=3 {
            let folder = tempfile::tempdir().unwrap();
            let out = target(folder.path(), kind, plain);
            write_lines(&file, kind, &out).run(Options::default().shards(shards)).unwrap();
            prop_assert_eq!(read_lines(kind, &out), expected.clone());
        }
    }

    #[test]
    fn records_are_written_once(events in events(), seed in any::<u64>()) {
        let pick = |e: &Event| (e.key != 2).then(|| (e.at_ms, e.name.clone()));
        let mut expected: Vec<(i64, String)> = events.iter().filter_map(pick).collect();
        expected.sort();
        prop_assume!(!expected.is_empty());
        let (file, folder) = (Written::new(&events), tempfile::tempdir().unwrap());
        let (state, out) = (folder.path().join("state"), folder.path().join("out"));
        let options = || Options::default().state(&state).snapshot_interval(Span::millis(1));
        let deaths = (0..).take_while(|life| {
            let runtime = RuntimeKind::Dying { seed: seed ^ life, steps: 30 + life * 30 };
            let shards = 1 + (seed.wrapping_add(*life) % 3) as usize;
            copy(&file, &out).run(options().shards(shards).runtime(runtime)).is_err()
        });
        prop_assert!(deaths.count() < 1000);
        prop_assert_eq!(read(&out), expected.clone());
        let whole = folder.path().join("whole");
        copy(&file, &whole).run(Options::default().shards(2)).unwrap();
        prop_assert_eq!(read(&whole), expected);
    }
}
