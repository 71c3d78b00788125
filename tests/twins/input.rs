//! The rows of a case as records, and the rows of a twin as the case has them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDateTime};
use rkyv::{Archive, Deserialize, Serialize};
use serde_json::Value;
use tidemill::batch::RowKind;
use tidemill::job::Item;
use tidemill::{Job, RecordFile, RecordWriter, Span, Stream};

/// A row of any case: a time, two texts, a number, and what else a few have.
#[derive(Archive, Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Row {
    pub(crate) at_ms: i64,
    pub(crate) k: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) v: Option<i64>,
    pub(crate) nn: Option<i64>,
    pub(crate) double: Option<f64>,
    pub(crate) flag: Option<bool>,
}

impl ArchivedRow {
    pub(crate) fn k(&self) -> Option<String> {
        self.k.as_ref().map(|k| k.to_string())
    }

    pub(crate) fn text(&self) -> Option<String> {
        self.text.as_ref().map(|text| text.to_string())
    }

    pub(crate) fn v(&self) -> Option<i64> {
        self.v.as_ref().map(|v| v.to_native())
    }

    pub(crate) fn nn(&self) -> Option<i64> {
        self.nn.as_ref().map(|nn| nn.to_native())
    }

    pub(crate) fn double(&self) -> Option<f64> {
        self.double.as_ref().map(|double| double.to_native())
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        self.flag.as_ref().copied()
    }
}

impl Row {
    /// Of the columns that may hold a text, a number and so on the first that does.
    fn of(line: &Value) -> Self {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let time = text("ts").or_else(|| text("rawts"));
        let at_ms = match time {
            Some(time) => NaiveDateTime::parse_from_str(&time, "%Y-%m-%d %H:%M:%S%.f")
                .unwrap_or_else(|error| panic!("{time}: {error}"))
                .and_utc()
                .timestamp_millis(),
            None => line["ms"].as_i64().expect("a row has a time"),
        };
        Self {
            at_ms,
            k: text("k"),
            text: ["a", "s", "d"].into_iter().find_map(text),
            v: ["v", "a", "b"].into_iter().find_map(|name| line[name].as_i64()),
            nn: line["nn"].as_i64(),
            double: line["b"].as_f64(),
            flag: line["b"].as_bool(),
        }
    }
}

/// A job to be made, and the rows that it reads.
pub(crate) struct Input {
    pub(crate) job: Job,
    case: PathBuf,
    folder: tempfile::TempDir,
    block_rows: usize,
}

impl Input {
    /// The rows of a case, in blocks of so many. A block is a turn: of two files each is read in one, as those of the case are.
    pub(crate) fn new(case: &Path, block_rows: usize) -> Self {
        let block_rows = if case.join("right.jsonl").exists() { usize::MAX } else { block_rows };
        let folder = tempfile::tempdir().unwrap();
        Self { job: Job::new("twin"), case: case.to_owned(), folder, block_rows }
    }

    /// The rows, in event time; the watermark is so many milliseconds behind.
    pub(crate) fn rows_after(&self, lag_ms: i64) -> Stream<Row> {
        self.timed("input.jsonl", |row| row.at_ms.to_native(), lag_ms)
    }

    /// The same, five seconds behind, as most cases have it.
    pub(crate) fn rows(&self) -> Stream<Row> {
        self.rows_after(5_000)
    }

    /// The rows of a file of the case, with any time.
    pub(crate) fn timed(
        &self,
        file: &str,
        at_ms: impl Fn(&ArchivedRow) -> i64 + Send + Sync + 'static,
        lag_ms: i64,
    ) -> Stream<Row> {
        let path = self.folder.path().join(file);
        self.write(file, &path);
        let source = RecordFile::<Row>::open(path).unwrap();
        self.job.source(file, source).watermark(at_ms, Span::millis(lag_ms))
    }

    fn write(&self, file: &str, path: &Path) {
        let own = self.case.join(file);
        let given = if own.exists() { own } else { self.case.join("..").join(file) };
        let mut writer = RecordWriter::create(path).unwrap();
        for (index, line) in std::fs::read_to_string(given).unwrap().lines().enumerate() {
            writer.write(&Row::of(&serde_json::from_str(line).unwrap())).unwrap();
            if (index + 1) % self.block_rows == 0 {
                writer.close_block().unwrap();
            }
        }
        writer.finish().unwrap();
    }
}

/// Where a twin's rows go.
#[derive(Clone)]
pub(crate) struct Shown {
    /// The names of the columns of the case's sink.
    columns: Vec<String>,
    rows: Arc<Mutex<Vec<Value>>>,
}

impl Shown {
    /// For the columns that the case's script gives its sink.
    pub(crate) fn new(case: &Path) -> Self {
        let text = std::fs::read_to_string(case.join("job.sql")).unwrap();
        let sink = text.lines().find(|line| line.contains("'connector' = 'print'")).unwrap_or("");
        let (_, list) = sink.split_once('(').unwrap_or_default();
        let columns = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Self { columns, rows: Arc::default() }
    }

    /// What a sink does with each item, given its cells.
    fn cells<V>(
        &self,
        cells: impl Fn(&V) -> Vec<Value> + Send + Sync + 'static,
    ) -> impl Fn(RowKind, &V) + Send + Sync + 'static {
        let Self { columns, rows } = self.clone();
        move |kind, item| {
            let cells = cells(item);
            assert_eq!(cells.len(), columns.len(), "{columns:?}");
            let mut row: serde_json::Map<_, _> = columns.iter().cloned().zip(cells).collect();
            row.insert("op".into(), kind.short().into());
            rows.lock().unwrap_or_else(PoisonError::into_inner).push(row.into());
        }
    }

    /// All rows so far.
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Streams that end in a case's sink.
pub(crate) trait Show {
    type View;
    /// Shows each item as these cells.
    fn show(
        self,
        to: &Shown,
        cells: impl Fn(&Self::View) -> Vec<Value> + Send + Sync + 'static,
    ) -> Job;
}

impl<I: Item> Show for Stream<I> {
    type View = I::View;

    fn show(
        self,
        to: &Shown,
        cells: impl Fn(&I::View) -> Vec<Value> + Send + Sync + 'static,
    ) -> Job {
        self.sink_changes(to.cells(cells))
    }
}

/// A time as a TIMESTAMP(3) is printed.
pub(crate) fn at(ms: i64) -> String {
    formatted(ms, "%Y-%m-%d %H:%M:%S%.3f")
}

/// A time in a format of chrono's.
pub(crate) fn formatted(ms: i64, format: &str) -> String {
    DateTime::from_timestamp_millis(ms).unwrap().format(format).to_string()
}
