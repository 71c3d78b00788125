//! Records that cannot be read, and sources that fail.

use std::path::Path;

use rkyv::{Archive, Serialize};
use tidemill::error::{Class, JobError};
use tidemill::job::{RecordSource, RuntimeKind};
use tidemill::{CsvFile, Iterate, Job, JsonFile, Options};

use crate::numbers::Numbers;
use crate::{Event, Shown, event, folder, kill_midway, live, plain, write_csv, write_json};

/// The failure of a job over `text` as a file, and what it skips if it may.
fn failure<S: RecordSource<Record = Event>>(source: S, chunk_bytes: u64) -> JobError {
    let options =
        Options::default().shards(2).runtime(RuntimeKind::Sim(1)).chunk_bytes(chunk_bytes);
    live(source, &options, &Shown::default()).failure.unwrap()
}

fn place(error: &JobError, path: &Path) -> (u64, u64, String) {
    assert_eq!(error.class(), Class::User);
    match error {
        JobError::BadRecord { origin, line, column, message, hint } => {
            assert_eq!(Path::new(origin), path);
            assert!(hint.as_ref().unwrap().contains("skip_bad_records"), "{hint:?}");
            (*line, *column, message.clone())
        }
        other => panic!("{other}"),
    }
}

#[test]
fn bad_lines_of_json_are_named_or_skipped() {
    let folder = folder();
    let path = folder.path().join("lines");
    let good: Vec<String> =
        (0..100).map(|index| serde_json::to_string(&event(index)).unwrap()).collect();
    let deep = "[".repeat(1_000_000);
    for (bad, column, reason) in [
        ("nonsense", 2, "expected ident"),
        ("{\"at_ms\":1,\"key\":-1}", 18, "invalid value: integer `-1`, expected u32"),
        ("{\"at_ms\":1}", 11, "missing field `key`"),
        ("{\"at_ms\":1.5}", 12, "invalid type: floating point `1.5`, expected i64"),
        (&deep, 1, "invalid type: sequence, expected"),
        (&format!("{{\"other\":{deep}"), 1_000_009, "EOF while parsing a list"),
    ] {
        let text = format!("{}\n\n{bad}\n{}\n", good[..50].join("\n"), good[50..].join("\n"));
        std::fs::write(&path, text).unwrap();
        // A chunk in the midst of a line is looked through to the line's end.
        let small_bytes = if bad.len() > 1000 { 200_000 } else { 100 };
        for chunk_bytes in [small_bytes, 1 << 20] {
            let error = failure(JsonFile::open(&path).unwrap(), chunk_bytes);
            let (line, at, message) = place(&error, &path);
            assert!(message.contains(reason), "{message}");
            assert!(
                (line, at.abs_diff(column) <= 1) == (52, true),
                "line {line}, column {at}: {message}"
            );
        }
        let shown = Shown::default();
        let options =
            Options::default().shards(3).runtime(RuntimeKind::Sim(2)).chunk_bytes(small_bytes);
        let report = live(JsonFile::open(&path).unwrap().skip_bad_records(), &options, &shown);
        assert!(report.failure.is_none(), "{:?}", report.failure);
        assert_eq!((report.totals.malformed, shown.sums()), (1, plain((0..100).map(event))));
    }
}

/// A type as deep as the line: what recurses is serde's, and serde_json stops it.
#[derive(Archive, Serialize, serde::Deserialize)]
#[rkyv(serialize_bounds(__S: rkyv::ser::Writer + rkyv::ser::Allocator, __S::Error: rkyv::rancor::Source))]
#[rkyv(bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)))]
struct Nested {
    #[rkyv(omit_bounds)]
    inner: Vec<Nested>,
}

#[test]
fn a_line_a_million_deep_is_an_error() {
    let folder = folder();
    let path = folder.path().join("deep");
    std::fs::write(&path, "{\"inner\":[".repeat(1_000_000) + "\n").unwrap();
    let source = JsonFile::<Nested>::open(&path).unwrap();
    let job = Job::new("deep").source("deep", source).processing_time().sink(|_| {});
    let error = job.run(Options::default().shards(1)).unwrap_err();
    assert!(error.to_string().contains("recursion limit exceeded"), "{error}");
}

#[test]
fn bad_rows_of_csv_are_named_or_skipped() {
    let folder = folder();
    let path = folder.path().join("rows");
    write_csv(&path, (0..100).map(event));
    let good = std::fs::read_to_string(&path).unwrap();
    let lines = good.matches('\n').count() as u64;
    for (bad, column, reason) in [
        ("1,a", 1, "there are 2 fields, and the file's first row has 5"),
        ("-1,a,b,2,3", 1, "field `key`: invalid digit found in string"),
        ("1,\"a,\"\"b\",\"\",two,3", 14, "field `value`: invalid digit found in string"),
    ] {
        std::fs::write(&path, format!("{good}{bad}\n")).unwrap();
        for chunk_bytes in [100, 1 << 20] {
            let error = failure(CsvFile::open(&path).unwrap(), chunk_bytes);
            let (line, at, message) = place(&error, &path);
            assert_eq!((line, at, message.as_str()), (lines + 1, column, reason));
        }
        let shown = Shown::default();
        let options = Options::default().shards(3).runtime(RuntimeKind::Sim(2)).chunk_bytes(100);
        let report = live(CsvFile::open(&path).unwrap().skip_bad_records(), &options, &shown);
        assert!(report.failure.is_none(), "{:?}", report.failure);
        assert_eq!((report.totals.malformed, shown.sums()), (1, plain((0..100).map(event))));
    }
}

#[test]
fn files_of_csv_have_the_same_names() {
    let folder = folder();
    write_csv(&folder.path().join("a"), (0..3).map(event));
    std::fs::write(folder.path().join("b"), "key,value\n1,2\n").unwrap();
    let job = crate::job(CsvFile::open(folder.path()).unwrap(), &Shown::default());
    let error = job.run(Options::default()).unwrap_err().to_string();
    assert!(error.contains("b: its columns are `key`, `value`, and those"), "{error}");
    std::fs::write(folder.path().join("b"), "\nkey,value\n1,2\n").unwrap();
    let error = job.run(Options::default()).unwrap_err().to_string();
    assert!(error.contains("the row with the names of the columns is empty"), "{error}");
}

#[test]
fn what_panics_is_named() {
    let panics = Iterate::new(|| {
        (0..).map(|index| if index < 10 { event(index) } else { panic!("no more") })
    });
    let error = failure(panics, 100);
    assert_eq!(error.class(), Class::User);
    assert_eq!(error.to_string(), "iterator: it panicked: no more");
    let folder = folder();
    std::fs::write(folder.path().join("split-0"), "1\npanic\n").unwrap();
    for bounded in [true, false] {
        let error = failure(Numbers::new(folder.path(), bounded), 100);
        assert_eq!(error.class(), Class::User);
        assert!(error.to_string().starts_with("split-0: the source panicked:"), "{error}");
    }
}

#[test]
fn what_a_connector_says_ends_the_job() {
    let folder = folder();
    std::fs::write(folder.path().join("split-0"), "1\n2\nthree\n").unwrap();
    for bounded in [true, false] {
        let error = failure(Numbers::new(folder.path(), bounded), 100);
        assert_eq!(error.class(), Class::External);
        assert_eq!(error.to_string(), "split-0: invalid digit found in string");
    }
    let missing = Numbers::new(&folder.path().join("nothing"), true);
    let job = crate::job(missing, &Shown::default());
    assert_eq!(job.run(Options::default()).unwrap_err().class(), Class::External);
}

#[test]
fn a_split_that_is_gone_is_missed() {
    use tidemill::Span;
    let (numbers, state) = (folder(), folder());
    crate::numbers::write_splits(numbers.path(), 2, 20_000);
    let options = Options::default().shards(1).state(state.path());
    let options = options.snapshot_interval(Span::millis(0));
    let source = Numbers::new(numbers.path(), true);
    kill_midway(|| source.clone(), &options);
    std::fs::remove_file(numbers.path().join("split-1")).unwrap();
    let report = live(source, &options, &Shown::default());
    let error = report.failure.unwrap().to_string();
    assert!(error.contains("split-1: it was being read when the snapshot was taken"), "{error}");
}

#[test]
fn files_of_nothing_are_no_harm() {
    let folder = folder();
    write_json(&folder.path().join("empty"), std::iter::empty());
    let shown = Shown::default();
    let report = live(JsonFile::open(folder.path()).unwrap(), &Options::default(), &shown);
    assert!(report.failure.is_none(), "{:?}", report.failure);
    assert!(shown.sums().is_empty());
}
