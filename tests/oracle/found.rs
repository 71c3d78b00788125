//! Bugs that random cases found, each kept as the case it was.

use super::check;
use super::draw::Case;
use super::engine::{Setting, run_script};
use super::model::{Call, Emit, Field, Filter, Form, Format, Function, Mode, Query, Row, Window};
use tidemill::job::RuntimeKind;

const ONCE: Emit = Emit { early: None, lateness: None, mode: Mode::Retracting };

fn row(ts: i64, v: Option<i32>, s: &str) -> Row {
    Row { ts, k: Some(format!("key{}", ts % 7)), v, w: None, d: None, s: Some(s.into()), m: None }
}

fn call(function: Function, field: Field, distinct: bool) -> Call {
    Call { function, field, distinct, filter: Filter::None }
}

fn case(window: Window, calls: Vec<Call>, emit: Emit, rows: Vec<Row>) -> Case {
    let query = Query {
        window,
        form: Form::TableFunction,
        keys: Vec::new(),
        calls,
        emit,
        delay: 1,
        condition: Filter::None,
        inner: None,
    };
    Case { query, streams: vec![rows], directory: false, format: Format::Json, padding: 0 }
}

fn setting(shards: usize, runtime: RuntimeKind, chunk_bytes: u64, slots: usize) -> Setting {
    Setting { shards, runtime, chunk_bytes, ring_slots: Some(slots) }
}

/// A shard whose outbox waited for room in a full ring went to sleep, and the shard that emptied the ring did not
/// ring its doorbell: all threads of a job slept for good.
#[test]
fn a_sender_that_sleeps_before_a_full_ring_is_woken() {
    let rows = (0..120).map(|ts| row(ts, Some(ts as i32), "x")).collect();
    let calls =
        vec![call(Function::CountRows, Field::V, false), call(Function::Count, Field::S, true)];
    let mut case = case(Window::Hop { slide: 1, size: 4, offset: 0 }, calls, ONCE, rows);
    case.query.keys = vec![Field::K];
    for _ in 0..10 {
        check(&case, setting(6, RuntimeKind::Poll, 16, 1)).unwrap();
    }
}

/// The first stage of a split distinct count judged what was new by accumulators that were not zero: a group of NULLs
/// did not show at an early firing, and one that had shown all it had showed an empty increment at its end.
#[test]
fn a_group_of_nulls_shows_early_and_nothing_new_shows_nothing() {
    let rows = vec![row(0, None, "x"), row(2, None, "x"), row(9, Some(3), "x"), row(25, None, "x")];
    let calls =
        vec![call(Function::Count, Field::V, true), call(Function::CountRows, Field::V, false)];
    for mode in [Mode::Retracting, Mode::Accumulating, Mode::Discarding] {
        let emit = Emit { early: Some(1), lateness: None, mode };
        let case = case(Window::Tumble { size: 20, offset: 0 }, calls.clone(), emit, rows.clone());
        for shards in 1..4 {
            check(&case, setting(shards, RuntimeKind::Sim(shards as u64), 64, 2)).unwrap();
        }
    }
}

/// An owner behind another exchange drained its rings one after the other. The shard behind the ring whose turn it was
/// waited for a chunk's end, its reader for room at a third shard, and that one for room in another of the owner's rings.
#[test]
fn windows_over_windows_do_not_deadlock() {
    let rows = (0..80).map(|ts| row(ts, Some(ts as i32 % 5), "x")).collect();
    let calls = vec![call(Function::Sum, Field::W, false), call(Function::Count, Field::K, true)];
    let mut case = case(Window::Tumble { size: 20, offset: 0 }, calls, ONCE, rows);
    case.query.inner = Some(Window::Hop { slide: 1, size: 3, offset: 0 });
    for seed in 0..30 {
        check(&case, setting(2 + seed as usize % 6, RuntimeKind::Sim(seed), 1 << 20, 1)).unwrap();
    }
}

/// The rows are those of a Flink 2.3: the table function HOP adds the newest slice first, the others the oldest.
#[test]
fn listagg_follows_the_order_in_which_flink_merges_slices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.jsonl");
    let records =
        [(5, "r1"), (3, "r2"), (14, "r3"), (1, "r4"), (12, "r5"), (8, "r6"), (17, "r7"), (4, "r8")];
    let records = records
        .map(|(second, v)| format!("{{\"ts\":\"2024-01-01 00:00:{second:02}\",\"v\":\"{v}\"}}\n"));
    std::fs::write(&path, records.concat()).unwrap();
    let table_function = |name: &str| {
        format!(
            "SELECT window_start AS ws, LISTAGG(v, '|') AS la FROM TABLE({name}(TABLE src, DESCRIPTOR(ts), \
             INTERVAL '5' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end"
        )
    };
    let hop = "HOP(ts, INTERVAL '5' SECOND, INTERVAL '10' SECOND)";
    let group_window = format!("SELECT LISTAGG(v, '|') AS la FROM src GROUP BY {hop}");
    let cases = [
        (
            table_function("HOP"),
            ["r1|r6|r2|r4|r8", "r2|r4|r8", "r3|r5|r1|r6", "r7", "r7|r3|r5"].as_slice(),
        ),
        (group_window, ["r1|r6|r3|r5", "r2|r4|r8", "r2|r4|r8|r1|r6", "r3|r5|r7", "r7"].as_slice()),
        (
            table_function("CUMULATE"),
            ["r2|r4|r8", "r2|r4|r8|r1|r6", "r3|r5", "r3|r5|r7"].as_slice(),
        ),
    ];
    for (query, expected) in cases {
        let script = format!(
            "CREATE TABLE src (ts TIMESTAMP(3), v STRING, WATERMARK FOR ts AS ts - INTERVAL '30' SECOND) WITH \
             ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');\n{query};\n",
            path.display()
        );
        let run = run_script(&script, setting(2, RuntimeKind::Sim(1), 32, 2), None);
        let mut lists: Vec<&str> = run.rows.iter().map(|row| row["la"].as_str().unwrap()).collect();
        lists.sort_unstable();
        assert_eq!(lists, expected, "{query}: {:?}", run.failure);
    }
}
