//! Bugs that random cases found, each kept as the case it was.

use std::io::Write as _;

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

/// A window that fires between two rows of a chunk, for a row that comes late to its hop, had no boundary behind it for the
/// exchange that it feeds. Owners that drain their rings in turn waited for a chunk's end in one ring, the chunk's reader
/// for room at a shard that was firing, and that shard for room in another ring of the first.
#[test]
fn windows_that_fire_within_a_chunk_do_not_deadlock() {
    let rows = (0..80).map(|at| row(at * 5 - at * 37 % 90, Some(at as i32 % 5), "x")).collect();
    let calls = vec![call(Function::Count, Field::K, true)];
    let mut case = case(Window::Hop { slide: 7, size: 35, offset: 0 }, calls, ONCE, rows);
    case.query.delay = 30;
    case.query.inner = Some(Window::Hop { slide: 12, size: 48, offset: 6 });
    for seed in 0..60 {
        check(&case, setting(2 + seed as usize % 6, RuntimeKind::Sim(seed), 1 << 20, 1)).unwrap();
    }
}

/// Rows out of order, so that windows fire within chunks too.
fn disordered_table(path: &std::path::Path) -> String {
    let record = |at: i64| {
        let (ms, key) = (100 + at * 3 - at * 37 % 60, at * at % 11);
        format!("{{\"ts\":\"2024-01-01 00:00:00.{ms:03}\",\"k\":{key},\"v\":{at}}}\n")
    };
    std::fs::write(path, (0..200).map(record).collect::<String>()).unwrap();
    format!(
        "CREATE TABLE src (ts TIMESTAMP(3), k INT, v INT, WATERMARK FOR ts AS ts - INTERVAL '0.020' SECOND) WITH \
         ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');\n",
        path.display()
    )
}

const HOP: [&str; 2] = ["HOP", "INTERVAL '0.004' SECOND, INTERVAL '0.016' SECOND"];
const CUMULATE: [&str; 2] = ["CUMULATE", HOP[1]];
const TUMBLE: [&str; 2] = ["TUMBLE", "INTERVAL '0.008' SECOND"];

/// A view of windows over `source`, one result for each window and key.
fn view(name: &str, source: &str, [window, sizes]: [&str; 2], call: &str) -> String {
    format!(
        "CREATE VIEW {name} AS SELECT window_time AS ts, k, CAST({call} AS INT) AS v FROM TABLE({window}(TABLE {source}, \
         DESCRIPTOR(ts), {sizes})) GROUP BY window_start, window_end, window_time, k;\n"
    )
}

/// Runs windows over `source` at many settings; all must end with the same rows.
fn check_settings(script: &str, calls: &str, source: &str) {
    let script = format!(
        "{script}SELECT window_start AS ws, {calls} FROM TABLE(TUMBLE(TABLE {source}, DESCRIPTOR(ts), INTERVAL '0.020' SECOND)) GROUP BY window_start, window_end;\n"
    );
    let run = |shards, seed, chunk_bytes, slots| {
        let run =
            run_script(&script, setting(shards, RuntimeKind::Sim(seed), chunk_bytes, slots), None);
        assert_eq!(run.failure, None, "{shards} shards, seed {seed}\n{script}");
        let mut rows: Vec<String> = run.rows.iter().map(ToString::to_string).collect();
        rows.sort_unstable();
        rows
    };
    let expected = run(1, 0, 1 << 20, 64);
    assert!(expected.len() > 20);
    for seed in 0..8 {
        let (shards, slots) = (2 + seed as usize % 4, 1 << (seed / 6));
        assert_eq!(run(shards, seed, 1 << 20, slots), expected);
    }
    assert_eq!(run(3, 8, 1 << 10, 1), expected);
}

/// The story of [`windows_that_fire_within_a_chunk_do_not_deadlock`], told of longer chains, and of exchanges with several
/// feeds: what one feed had sent filled the rings, and the one whose end was waited for was not served.
#[test]
fn chains_and_unions_of_windows_do_not_deadlock() {
    let folder = tempfile::tempdir().unwrap();
    let table = disordered_table(&folder.path().join("input"));
    let hop = view("a", "src", HOP, "SUM(v)");
    let distinct = view("b", "src", HOP, "COUNT(DISTINCT v)");
    let longer = view("c", "a", HOP, "COUNT(DISTINCT v)") + &view("d", "c", CUMULATE, "MAX(v)");
    let over_distinct = view("e", "b", HOP, "MIN(v)");
    let union = |name: &str, of: [&str; 2]| {
        format!(
            "CREATE VIEW {name} AS SELECT * FROM {} UNION ALL SELECT * FROM {};\n",
            of[0], of[1]
        )
    };
    let all = table + &hop + &distinct + &longer + &over_distinct;
    for (script, source) in [
        (all.clone(), "a"),
        (all.clone(), "b"),
        (all.clone(), "d"),
        (all.clone(), "e"),
        (all.clone() + &union("u", ["a", "b"]), "u"),
        (all.clone() + &union("u", ["d", "a"]), "u"),
        (all.clone() + &union("u", ["e", "b"]), "u"),
        (all.clone() + &union("u", ["e", "d"]) + &view("f", "u", HOP, "SUM(v)"), "f"),
    ] {
        check_settings(&script, "COUNT(*) AS n, COUNT(DISTINCT k) AS ks, SUM(v) AS s", source);
    }
}

/// The same of windows that show every row's change at once, and so yield before any boundary.
#[test]
fn windows_that_show_every_row_feed_others_without_deadlock() {
    let folder = tempfile::tempdir().unwrap();
    let table = disordered_table(&folder.path().join("input"));
    let at_once = "SET 'tidemill.emit.mode' = 'discarding';\nSET 'table.exec.emit.early-fire.enabled' = 'true';\n\
                   SET 'table.exec.emit.early-fire.delay' = '0 ms';\n";
    let chain = view("a", "src", HOP, "SUM(v)")
        + &view("b", "a", TUMBLE, "SUM(v)")
        + &view("c", "b", TUMBLE, "SUM(v)");
    for source in ["a", "b", "c"] {
        check_settings(&format!("{table}{at_once}{chain}"), "COUNT(*) AS n, SUM(v) AS s", source);
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

/// A packed file's chunks are of 1 MiB whatever the job's are, and its turn was counted as if they were the job's: with smaller ones it
/// was read to its end at once.
#[test]
fn packed_files_take_turns_whatever_the_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let blanks = " ".repeat(400_000);
    for file in 0..3 {
        let record = |at: i64| {
            let (ms, k) = (at * 97 + file * 31, at % 2);
            format!(
                "{blanks}{{\"ts\":\"2024-01-01 00:00:00.{ms:03}\",\"k\":{k},\"v\":\"{file}-{at}\"}}\n"
            )
        };
        let out = std::fs::File::create(folder.path().join(format!("{file}.gz"))).unwrap();
        let mut packer = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
        packer.write_all((0..10).map(record).collect::<String>().as_bytes()).unwrap();
        packer.finish().unwrap();
    }
    let script = format!(
        "CREATE TABLE src (ts TIMESTAMP(3), k INT, v STRING, WATERMARK FOR ts AS ts) WITH ('connector' = 'filesystem', \
         'path' = '{}', 'format' = 'json');\nSELECT window_start AS ws, k, LISTAGG(v) AS l FROM TABLE(TUMBLE(TABLE src, \
         DESCRIPTOR(ts), INTERVAL '0.400' SECOND)) GROUP BY window_start, window_end, k;\n",
        folder.path().display()
    );
    let run = |chunk_bytes, shards| {
        let run = run_script(&script, setting(shards, RuntimeKind::Sim(1), chunk_bytes, 2), None);
        assert_eq!(run.failure, None);
        let mut rows: Vec<String> = run.rows.iter().map(ToString::to_string).collect();
        rows.sort_unstable();
        (rows, run.late_count)
    };
    let expected = run(1 << 20, 1);
    // They alternate: the second file's first chunk comes before the first one's second.
    let alternate = |row: &String| row.find("1-0").zip(row.find("0-2")).is_some_and(|(a, b)| a < b);
    assert!(expected.0.iter().any(alternate), "{expected:?}");
    for (chunk_bytes, shards) in [(1 << 16, 1), (4096, 2), (300, 3)] {
        assert_eq!(run(chunk_bytes, shards), expected);
    }
}
