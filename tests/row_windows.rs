//! Count and global windows against a naive twin: random rows, windows, triggers and settings, deaths and other numbers of shards;
//! whatever happens, each key shows the same changes in the same order (promises P2 and P3).
//!
//! SQL cannot say such windows: a script with tumbling ones is bound, and its plan changed.

#[path = "row_windows/chained.rs"]
mod chained;
#[allow(dead_code)]
mod engine;
#[path = "row_windows/grown.rs"]
mod grown;
#[path = "row_windows/naive.rs"]
mod naive;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tidemill::job::{Fresh, RuntimeKind, StateOptions};
use tidemill::plan::{Op, Plan};
use tidemill::sys::random::Random;
use tidemill::sys::storage::SimDisk;
use tidemill::window::{Emit, EmitClock, EmitMode, TimeDomain, WindowKind};

use engine::{Life, Setting, live};
use naive::{CALLS, Global, Mode, Row, STACKED_CALLS, Shown};

/// Where the state lies on a simulated disk.
const STATE: &str = "/job/state";

/// How many cases a property draws unless `PROPTEST_CASES` says.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A window of rows.
#[derive(Clone, Copy, Debug)]
enum Window {
    Count(usize, usize),
    Global(Global),
}

impl Window {
    fn is_global(self) -> bool {
        matches!(self, Window::Global(_))
    }
}

/// What is run.
#[derive(Clone, Debug)]
struct Case {
    window: Window,
    calls: Vec<usize>,
    delay_ms: i64,
    /// By file, in the order in which they are read.
    files: Vec<Vec<Row>>,
}

impl Case {
    fn rows(&self) -> Vec<Row> {
        self.files.concat()
    }

    fn expected(&self) -> Shown {
        match self.window {
            Window::Count(size, slide) => naive::count(&self.rows(), &self.calls, size, slide),
            Window::Global(when) => naive::global(&self.rows(), &self.calls, when, self.delay_ms),
        }
    }

    /// The window as a plan has it.
    fn kind(&self) -> (WindowKind, Emit) {
        match self.window {
            Window::Count(size, slide) => {
                let (size_rows, slide_rows) = (size as u64, slide as u64);
                (WindowKind::Count { size_rows, slide_rows }, Emit::AT_END)
            }
            Window::Global(when) => {
                let Global { every_rows, event_delay_ms, at_end, mode } = when;
                let purges = mode == Mode::Purging;
                let mode = match mode {
                    Mode::Accumulating => EmitMode::Accumulating,
                    Mode::Discarding => EmitMode::Discarding,
                    Mode::Retracting | Mode::Purging => EmitMode::Retracting,
                };
                let emit = Emit {
                    early_delay_ms: event_delay_ms,
                    early_clock: EmitClock::Event,
                    mode,
                    ..Emit::AT_END
                };
                (WindowKind::Global { every_rows, at_end, purges }, emit)
            }
        }
    }

    fn write_input(&self, folder: &Path) {
        for (index, rows) in self.files.iter().enumerate() {
            let text: String = rows.iter().map(Row::record).collect();
            std::fs::write(folder.join(format!("part-{index}")), text).unwrap();
        }
    }

    fn script(&self, input: &Path, sink: &str) -> String {
        let calls = self.calls.iter().enumerate();
        let selected: String =
            calls.map(|(at, &call)| format!("{} AS a{at}, ", CALLS[call])).collect();
        let select = format!(
            "SELECT k, {selected}window_start AS ws, window_end AS we, window_time AS wt\n\
             FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end, window_time"
        );
        let columns: Vec<String> =
            self.calls.iter().enumerate().map(|(at, &call)| column(at, call)).collect();
        source(input, self.delay_ms)
            + &sink_table(sink, "k STRING", &columns)
            + "INSERT INTO sink "
            + &select
            + ";\n"
    }
}

/// The input table.
fn source(input: &Path, delay_ms: i64) -> String {
    format!(
        "SET 'pipeline.auto-watermark-interval' = '0';\n\
         CREATE TABLE t (k STRING, v INT, s STRING, d DOUBLE, ts TIMESTAMP(3), \
         WATERMARK FOR ts AS ts - INTERVAL '{}.{:03}' SECOND) \
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');\n",
        delay_ms / 1000,
        delay_ms % 1000,
        input.display()
    )
}

/// The output table.
fn sink_table(path: &str, key: &str, columns: &[String]) -> String {
    format!(
        "CREATE TABLE sink ({key}, {}, ws TIMESTAMP(3), we TIMESTAMP(3), wt TIMESTAMP(3)) WITH ('connector' = 'filesystem', \
         'path' = '{path}', 'format' = 'json', 'sink.changelog' = 'true');\n",
        columns.join(", ")
    )
}

fn column(at: usize, call: usize) -> String {
    let data_type = match call {
        2 | 3 | 5 | 7 | 10 => "STRING",
        4 => "DOUBLE",
        1 | 9 => "INT",
        _ => "BIGINT",
    };
    format!("a{at} {data_type}")
}

/// What a sink holds, by key.
fn shown(bytes: &[u8], call_count: usize) -> Shown {
    let mut shown = Shown::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let cells = (0..call_count).map(|at| match &row[format!("a{at}")] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.as_f64().unwrap().to_string(),
            other => other.to_string(),
        });
        let times = ["ws", "we", "wt"].map(|name| {
            let text = row[name].as_str().unwrap();
            match text.split_once('.') {
                Some((seconds, fraction)) => format!("{seconds}.{fraction:0<3}"),
                None => format!("{text}.000"),
            }
        });
        let cells: Vec<String> = cells.chain(times).collect();
        let kind = row["op"].as_str().unwrap_or("+I");
        let line = format!("{kind} {}", cells.join(" "));
        shown.entry(row["k"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    shown
}

/// One life of a script with its plan changed.
fn live_as(
    script: &str,
    setting: Setting,
    state: Option<StateOptions>,
    change: &dyn Fn(&mut Plan),
) -> Life {
    let edit = |mut plan: Plan| {
        change(&mut plan);
        plan
    };
    live(script, &edit, setting, state)
}

/// Makes the plan's one window that of the case.
fn changed(plan: &mut Plan, to: (WindowKind, Emit)) {
    for node in &mut plan.nodes {
        if let Op::WindowAggregate { window, emit, .. } = &mut node.op {
            (window.kind, *emit) = to;
        }
    }
}

fn rows(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    let row = (0..3u8, 0..8i64, 0..5u8, 0..9i64, -3_000..3_000i64);
    vec(row, count).prop_map(|drafts| {
        let row = |(index, (key, v, s, d, jitter)): (usize, (u8, i64, u8, i64, i64))| Row {
            // One key has half of the rows.
            key: if index % 2 == 0 { 0 } else { key },
            v: (v > 0).then_some(v),
            s: (s > 0).then_some(s),
            d: (d > 0).then_some(d),
            time_ms: 1_700_000_000_000 + index as i64 * 500 + jitter,
        };
        drafts.into_iter().enumerate().map(row).collect()
    })
}

fn calls() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(0..STACKED_CALLS, 1..5), vec(0..CALLS.len(), 1..5)]
}

fn count_cases(row_count: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![
        (1..9usize).prop_map(|size| (size, size)),
        (1..14usize, 1..14usize),
        (1..5usize, 1..5usize, 1..4usize).prop_map(|(a, b, g)| (a * b * g, a * g)),
    ];
    let files = vec(rows(row_count), 1..3);
    (sizes, calls(), 0..5_000i64, files).prop_map(|((size, slide), calls, delay_ms, files)| Case {
        window: Window::Count(size, slide),
        calls,
        delay_ms,
        files,
    })
}

fn global_cases(row_count: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    let every = prop_oneof![Just(None), (1..7u64).prop_map(Some)];
    let delays = prop_oneof![Just(None), (1..9i64).prop_map(|delay| Some(delay * 700))];
    let modes = prop_oneof![
        Just(Mode::Retracting),
        Just(Mode::Accumulating),
        Just(Mode::Discarding),
        Just(Mode::Purging)
    ];
    let when = (every, delays, any::<bool>(), modes).prop_map(
        |(every_rows, event_delay_ms, at_end, mode)| Global {
            every_rows,
            event_delay_ms,
            at_end: at_end || (every_rows.is_none() && event_delay_ms.is_none()),
            mode,
        },
    );
    (when, calls(), 0..5_000i64, rows(row_count)).prop_map(|(when, calls, delay_ms, rows)| Case {
        window: Window::Global(when),
        calls,
        delay_ms,
        files: vec![rows],
    })
}

fn settings() -> impl Strategy<Value = Setting> {
    let runtimes =
        prop_oneof![1 => Just(RuntimeKind::Poll), 9 => any::<u64>().prop_map(RuntimeKind::Sim)];
    let chunks = prop_oneof![Just(1u64), Just(100), Just(500), Just(1 << 20)];
    let slots = prop_oneof![Just(Some(1usize)), Just(Some(2)), Just(Some(64))];
    (1..4usize, runtimes, chunks, slots).prop_map(|(shards, runtime, chunk_bytes, ring_slots)| {
        Setting { shards, runtime, chunk_bytes, ring_slots }
    })
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn check(case: &Case, setting: Setting) -> Result<(), TestCaseError> {
    let (input, output) = (folder(), folder());
    case.write_input(input.path());
    let sink = output.path().join("rows.jsonl");
    let script = case.script(input.path(), &sink.display().to_string());
    let life = live_as(&script, setting, None, &|plan| changed(plan, case.kind()));
    prop_assert!(life.failure.is_none(), "{:?}", life.failure);
    let bytes = std::fs::read(&sink).unwrap_or_default();
    prop_assert_eq!(shown(&bytes, case.calls.len()), case.expected());
    prop_assert_eq!(life.late_count, 0);
    Ok(())
}

/// Lives that went on from a snapshot.
static RESUMED: AtomicU64 = AtomicU64::new(0);

/// Some lives that end before their time, each on another number of shards, then one that comes to the end.
fn survive(case: &Case, seed: u64) -> Result<(), TestCaseError> {
    let input = folder();
    case.write_input(input.path());
    let script = case.script(input.path(), "/out/rows.jsonl");
    let mut random = Random::new(seed);
    let disk = SimDisk::new(random.next_u64());
    let chunk_bytes = [80, 300][random.below(2) as usize];
    let mut resumed = Vec::new();
    for life in 0..8 {
        let steps = if life == 7 { 3_000_000 } else { 20 + random.below(100) };
        let setting = Setting {
            shards: 1 + random.below(3) as usize,
            runtime: RuntimeKind::Dying { seed: random.next_u64(), steps },
            chunk_bytes,
            ring_slots: Some([1, 2, 64][random.below(3) as usize]),
        };
        let life =
            live_as(&script, setting, Some(durable(&disk)), &|plan| changed(plan, case.kind()));
        resumed.extend(life.went_on_from.as_ref().map(|before| before.epoch));
        if died(&life)? {
            disk.crash(random.next_u64());
            continue;
        }
        break;
    }
    let bytes = disk.content(Path::new("/out/rows.jsonl")).unwrap_or_default();
    RESUMED.fetch_add(resumed.len() as u64, Ordering::Relaxed);
    prop_assert_eq!(shown(&bytes, case.calls.len()), case.expected(), "went on from {:?}", resumed);
    Ok(())
}

/// By the clock nothing is said of times; all rows are counted, and the input's end is heard of.
fn check_on_the_clock(case: &Case, setting: Setting) -> Result<(), TestCaseError> {
    let (input, output) = (folder(), folder());
    case.write_input(input.path());
    let sink = output.path().join("rows.jsonl");
    let script = case.script(input.path(), &sink.display().to_string());
    let life = live_as(&script, setting, None, &|plan| {
        let (kind, emit) = case.kind();
        let emit = Emit { early_delay_ms: Some(3), early_clock: EmitClock::Processing, ..emit };
        changed(plan, (kind, if case.window.is_global() { emit } else { Emit::AT_END }));
        for node in &mut plan.nodes {
            if let Op::WindowAggregate { window, .. } = &mut node.op {
                window.domain = TimeDomain::Processing;
            }
        }
    });
    prop_assert!(life.failure.is_none(), "{:?}", life.failure);
    let bytes = std::fs::read(&sink).unwrap_or_default();
    let cells = |line: &String| line.split(' ').skip(1).take(case.calls.len()).collect::<String>();
    let mut seen = shown(&bytes, case.calls.len());
    let mut expected = case.expected();
    for lines in seen.values_mut().chain(expected.values_mut()) {
        // Early firings come when they come; the last one says all.
        lines.drain(..if case.window.is_global() { lines.len() - 1 } else { 0 });
        lines.iter_mut().for_each(|line| *line = cells(line));
    }
    prop_assert_eq!(seen, expected);
    Ok(())
}

/// Whether the process was killed; nothing else may happen to it.
fn died(life: &Life) -> Result<bool, TestCaseError> {
    match &life.failure {
        None => Ok(false),
        Some(tidemill::error::JobError::Killed) => Ok(true),
        Some(other) => Err(TestCaseError::fail(other.to_string())),
    }
}

fn durable(disk: &SimDisk) -> StateOptions {
    StateOptions {
        folder: STATE.into(),
        storage: Arc::new(disk.clone()),
        fresh: Fresh::GoOn,
        interval_ms: 0,
        retained_count: 1,
        memory_bytes: 1 << 20,
        pid: 1,
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn count_windows_are_naive_ones(case in count_cases(0..60), setting in settings()) {
        check(&case, setting)?;
    }

    #[test]
    fn global_windows_are_naive_ones(case in global_cases(0..60), setting in settings()) {
        check(&case, setting)?;
    }

    #[test]
    fn count_windows_on_the_clock(case in count_cases(0..60), setting in settings()) {
        check_on_the_clock(&case, setting)?;
    }

    #[test]
    fn global_windows_on_the_clock(
        (rows, calls, setting) in (rows(0..60), calls(), settings()),
        every_rows in prop_oneof![Just(None), (1..7u64).prop_map(Some)],
    ) {
        let mode = Mode::Accumulating;
        let when = Global { every_rows, event_delay_ms: None, at_end: true, mode };
        let case = Case { window: Window::Global(when), calls, delay_ms: 0, files: vec![rows] };
        check_on_the_clock(&case, setting)?;
    }

    fn count_windows_outlive_the_process(case in count_cases(20..60), seed in any::<u64>()) {
        survive(&case, seed)?;
    }

    fn global_windows_outlive_the_process(case in global_cases(20..60), seed in any::<u64>()) {
        survive(&case, seed)?;
    }
}

#[test]
fn windows_outlive_the_process() {
    count_windows_outlive_the_process();
    global_windows_outlive_the_process();
    assert!(RESUMED.load(Ordering::Relaxed) > 10, "{RESUMED:?}: lives must go on from snapshots");
}
