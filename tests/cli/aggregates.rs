//! `--allow-new-aggregates`: a job is stopped half way and goes on with more aggregates. What it shows is compared with an
//! undisturbed run of the new script: old columns are the same; new ones are NULL for windows that were open, else the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::*;

const ROWS: u64 = 12_000;
/// Slow enough for a busy machine to stop it half way.
const OLD_RATE: u64 = 3_000;

/// A column of the results: its definition, name and type.
type Column = (&'static str, &'static str, &'static str);

const COUNT: Column = ("COUNT(*)", "n", "BIGINT");
const DECIMALS: Column = ("SUM(CAST(id AS DECIMAL(12, 2)))", "x", "DECIMAL(38, 2)");
const SEVENTHS: Column = ("COUNT(DISTINCT MOD(id, 7))", "e", "BIGINT");
const THIRTEENTHS: Column = ("COUNT(DISTINCT MOD(id, 13))", "t", "BIGINT");
const MEAN_SEVENTH: Column = ("SUM(DISTINCT MOD(id, 7))", "a", "BIGINT");
const SUM: Column = ("SUM(v)", "s", "BIGINT");
const GREATEST: Column = ("MAX(CAST(v AS STRING))", "m", "STRING");
const LIST: Column =
    ("LISTAGG(CAST(id AS STRING), '+') FILTER (WHERE MOD(id, 100) < 30)", "l", "STRING");
const LAST: Column = ("MIN(CAST(MOD(id, 50) AS STRING))", "f", "STRING");
const VARIANCE: Column = ("STDDEV_POP(CAST(v AS DOUBLE))", "d", "DOUBLE");

/// Windows of each kind: sink, the window in FROM, and its bounds in SELECT and GROUP BY.
const ONCE: [(&str, &str, &str, &str); 4] = [
    (
        "tumble",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND))",
        "window_start, window_end",
        "window_start, window_end",
    ),
    (
        "hop",
        "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '0.5' SECOND, INTERVAL '2' SECOND))",
        "window_start, window_end",
        "window_start, window_end",
    ),
    (
        "cumulate",
        "TABLE(CUMULATE(TABLE t, DESCRIPTOR(ts), INTERVAL '0.5' SECOND, INTERVAL '2' SECOND))",
        "window_start, window_end",
        "window_start, window_end",
    ),
    (
        "session",
        "TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '0.2' SECOND))",
        "window_start, window_end",
        "window_start, window_end",
    ),
];
const TRIGGERS: [(&str, &str, &str, &str); 2] = [
    (
        "tumble",
        "t",
        "TUMBLE_START(ts, INTERVAL '1' SECOND), TUMBLE_END(ts, INTERVAL '1' SECOND)",
        "TUMBLE(ts, INTERVAL '1' SECOND)",
    ),
    (
        "hop",
        "t",
        "HOP_START(ts, INTERVAL '0.5' SECOND, INTERVAL '2' SECOND), HOP_END(ts, INTERVAL '0.5' SECOND, INTERVAL '2' SECOND)",
        "HOP(ts, INTERVAL '0.5' SECOND, INTERVAL '2' SECOND)",
    ),
];
const EARLY: &str = "SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '200 ms';
    SET 'tidemill.emit.early-fire.clock' = 'event-time';";

/// A script with `columns` for each of `kinds`, its sinks below `folder`; `more` stands first.
fn script(
    folder: &str,
    rate: u64,
    kinds: &[(&str, &str, &str, &str)],
    columns: &[Column],
    more: &str,
) -> String {
    let mut text = format!(
        "CREATE TABLE t (id BIGINT, v BIGINT, ts AS TO_TIMESTAMP_LTZ(id + id / 700 * 300, 3), k AS MOD(id, 5),
           WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen', 'rows-per-second' = '{rate}', 'fields.id.kind' = 'sequence',
           'fields.id.start' = '1', 'fields.id.end' = '{ROWS}', 'fields.v.kind' = 'sequence', 'fields.v.start' = '1',
           'fields.v.end' = '{ROWS}');
         SET 'execution.checkpointing.interval' = '50 ms'; {more}\n"
    );
    let list =
        |part: fn(&Column) -> String| columns.iter().map(part).collect::<Vec<_>>().join(", ");
    let declared = list(|(_, name, data_type)| format!("{name} {data_type}"));
    let selected = list(|(definition, ..)| definition.to_string());
    for (name, ..) in kinds {
        text += &format!(
            "CREATE TABLE {name}_out (ws TIMESTAMP(3), we TIMESTAMP(3), k BIGINT, {declared}) WITH
               ('connector' = 'filesystem', 'path' = '{folder}/{name}', 'format' = 'json', 'sink.changelog' = 'true');\n"
        );
    }
    text += "EXECUTE STATEMENT SET BEGIN\n";
    for (name, from, bounds, group) in kinds {
        text += &format!(
            "INSERT INTO {name}_out SELECT {bounds}, k, {selected} FROM {from} GROUP BY {group}, k;\n"
        );
    }
    text + "END;"
}

/// The rows of a sink by kind, window, key and count.
fn rows(folder: &str, sink: &str) -> BTreeMap<String, Map<String, Value>> {
    let mut rows = BTreeMap::new();
    let Ok(entries) = fs::read_dir(format!("{folder}/{sink}")) else { return rows };
    let files = entries.map(|entry| entry.unwrap());
    for file in files.filter(|file| !file.file_name().to_str().unwrap().starts_with('.')) {
        for line in fs::read_to_string(file.path()).unwrap().lines() {
            let row: Map<String, Value> = serde_json::from_str(line).unwrap();
            let key = ["we", "ws", "k", "n", "op"].map(|name| row[name].to_string()).join(" ");
            assert!(rows.insert(key, row).is_none(), "twice in {sink}: {line}");
        }
    }
    rows
}

/// Runs a job, and kills it when it has shown some of the windows, of five keys each.
fn kill_half_way(args: &[&str], folder: &str) {
    let child = command(args).spawn().unwrap();
    let is_there = (0..3000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        rows(folder, "tumble").len() >= 20
    });
    assert!(is_there, "no windows came");
    kill_process(pid(&child), Signal::KILL).unwrap();
    finish(child);
}

/// Whether the newest snapshot is that of a job's end.
fn has_finished(state: &str) -> bool {
    let listed = tidemill(&["state", "inspect", state]).expect(0);
    listed.out.contains(", the job has finished")
}

/// Runs `old` half way, goes on with `new` on other shards, and compares.
fn check(
    kinds: &[(&str, &str, &str, &str)],
    old: &[Column],
    new: &[Column],
    shards: [&str; 2],
    more: &str,
) {
    let bench = tempfile::tempdir().unwrap();
    let [state, mixed, whole] = ["state", "mixed", "whole"].map(|name| path(&bench, name));
    let first = script(&mixed, OLD_RATE, kinds, old, more);
    let second = script(&mixed, OLD_RATE * 10, kinds, new, more);
    let args = ["run", "--shards", shards[1], "--state", &state, "-e", &second];
    // On a busy machine it may be over before it is killed.
    let half_way = (0..5).any(|_| {
        let _ = (fs::remove_dir_all(&state), fs::remove_dir_all(&mixed));
        kill_half_way(&["run", "--shards", shards[0], "--state", &state, "-e", &first], &mixed);
        tidemill(&args).expect(2).says("`--allow-new-aggregates`");
        !has_finished(&state)
    });
    assert!(half_way, "it was never killed half way");
    let args_allowing = [&args[..], &["--allow-new-aggregates"]].concat();
    crash_on_the_way(&args_allowing);
    let ended = tidemill(&args_allowing).expect(0).says("going on from snapshot ");
    if cfg!(not(feature = "crash-points")) {
        ended.says("new aggregates: ").says("windows that are open show NULL for them");
    }
    // It has taken hold.
    tidemill(&args).expect(0).says("the job had finished");
    tidemill(&["state", "verify", &state]).expect(0);
    let undisturbed = script(&whole, OLD_RATE * 100, kinds, new, more);
    tidemill(&["run", "--shards", "1", "-q", "-e", &undisturbed]).expect(0);
    for (sink, ..) in kinds {
        compare(sink, &rows(&mixed, sink), &rows(&whole, sink), old, new);
    }
}

/// With the feature `crash-points`: dies at every point up to the one where the change is durable.
fn crash_on_the_way(args: &[&str]) {
    let points = [
        "convert-before",
        "rescale-files-created",
        "convert-dealt-one",
        "rescale-synced",
        "manifest-synced",
        "convert-durable",
    ];
    for point in points.iter().filter(|_| cfg!(feature = "crash-points")) {
        let child = command(args).env("TIDEMILL_CRASH_AT", format!("{point}:1")).spawn().unwrap();
        assert_eq!(finish(child).code, None, "it comes to {point}");
    }
}

fn compare(
    sink: &str,
    mixed: &BTreeMap<String, Map<String, Value>>,
    whole: &BTreeMap<String, Map<String, Value>>,
    old: &[Column],
    new: &[Column],
) {
    assert!(mixed.keys().eq(whole.keys()), "{sink}: {mixed:#?}\n{whole:#?}");
    let name = |column: &Column| column.1;
    let old: BTreeSet<&str> = old.iter().map(name).collect();
    let added: Vec<&str> = new.iter().map(name).filter(|name| !old.contains(name)).collect();
    // By window (of a session, and key): how new columns are shown.
    let mut shown: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (row, undisturbed) in mixed.values().zip(whole.values()) {
        old.iter()
            .for_each(|name| assert_eq!(row[*name], undisturbed[*name], "{sink} {name}: {row:?}"));
        let how: BTreeSet<&str> = added
            .iter()
            .map(|name| match row.get(*name) {
                None => "not yet",
                Some(Value::Null) if !undisturbed[*name].is_null() => "NULL",
                Some(value) => {
                    assert_eq!(*value, undisturbed[*name], "{sink} {name}: {row:?}");
                    "right"
                }
            })
            .collect();
        assert_eq!(how.len(), 1, "{sink}: {row:?}");
        let key = if sink == "session" { row["k"].to_string() } else { String::new() };
        shown.entry(format!("{key} {} {}", row["we"], row["ws"])).or_default().extend(how);
    }
    let is = |shown: &BTreeSet<&str>, how: &str| shown.contains(how);
    let count = |how: &str| shown.values().filter(|shown| is(shown, how)).count();
    assert!(
        shown.values().all(|shown| !(is(shown, "NULL") && is(shown, "right"))),
        "{sink}: {shown:#?}"
    );
    assert!(count("not yet") > 0 && count("right") > 1, "{sink}: {shown:#?}");
    let open = match sink {
        "tumble" => 0..=1,
        "session" => 0..=5,
        _ => 1..=5,
    };
    assert!(open.contains(&count("NULL")), "{sink}: {shown:#?}");
    if sink != "session" {
        let order = |shown: &BTreeSet<&str>| {
            ["not yet", "NULL", "right"].iter().rposition(|how| is(shown, how))
        };
        assert!(shown.values().map(order).is_sorted(), "{sink}: {shown:#?}");
    }
}

#[test]
fn aggregates_of_all_kinds_are_added_among_the_old() {
    let new = [SUM, COUNT, GREATEST, SEVENTHS, DECIMALS, LIST, VARIANCE];
    check(&ONCE, &[DECIMALS, COUNT], &new, ["1", "2"], "");
    check(&TRIGGERS, &[DECIMALS, COUNT], &new, ["2", "2"], EARLY);
}

#[test]
fn old_aggregates_of_all_kinds_go_on() {
    let old = [LIST, GREATEST, COUNT, VARIANCE, MEAN_SEVENTH, DECIMALS, LAST, SEVENTHS];
    let new =
        [GREATEST, THIRTEENTHS, LAST, SEVENTHS, VARIANCE, LIST, SUM, DECIMALS, COUNT, MEAN_SEVENTH];
    check(&ONCE, &old, &new, ["2", "3"], "");
    check(&TRIGGERS, &old, &new, ["1", "2"], EARLY);
}

#[test]
fn one_exchange_becomes_two() {
    let new = [SEVENTHS, COUNT, DECIMALS];
    check(&ONCE, &[COUNT, DECIMALS], &new, ["2", "2"], "");
    check(&TRIGGERS, &[COUNT, DECIMALS], &new, ["2", "3"], EARLY);
}

#[test]
fn two_exchanges_become_one() {
    let new = [THIRTEENTHS, COUNT, GREATEST, SEVENTHS];
    check(&ONCE, &[SEVENTHS, COUNT], &new, ["2", "3"], "");
    check(&TRIGGERS, &[COUNT, SEVENTHS], &new, ["2", "1"], EARLY);
}

#[test]
fn two_exchanges_stay_two() {
    let new = [MEAN_SEVENTH, GREATEST, COUNT, SEVENTHS, SUM];
    check(&ONCE, &[SEVENTHS, COUNT], &new, ["2", "1"], "");
    check(&TRIGGERS, &[COUNT, SEVENTHS], &new, ["2", "2"], EARLY);
}

#[test]
fn anything_else_is_refused() {
    let bench = tempfile::tempdir().unwrap();
    let [state, out] = ["state", "out"].map(|name| path(&bench, name));
    let kinds = &ONCE[..2];
    let first = script(&out, OLD_RATE, kinds, &[COUNT, SUM], "");
    let run = |script: &str| {
        tidemill(&[
            "run",
            "--shards",
            "2",
            "--state",
            &state,
            "--allow-new-aggregates",
            "-e",
            script,
        ])
    };
    let child =
        command(&["run", "--shards", "2", "--state", &state, "-e", &first]).spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    kill_process(pid(&child), Signal::INT).unwrap();
    finish(child).expect(0);
    let only = "`--allow-new-aggregates` allows for nothing else: ";
    let removed = script(&out, OLD_RATE, kinds, &[COUNT, GREATEST], "");
    run(&removed).expect(2).says(only).says("the script has no SUM(t.v) any more");
    let more = script(&out, OLD_RATE, kinds, &[COUNT, SUM, GREATEST], "");
    let key = more.replace("k AS MOD(id, 5)", "k AS MOD(id, 4)");
    run(&key).expect(2).says(only).says("GROUP BY of an aggregation differs:\n  state:  ");
    let window = more.replace("'1' SECOND", "'2' SECOND");
    run(&window).expect(2).says(only).says("window of an aggregation differs:\n  state:  ");
    let filtered = more.replace(" GROUP BY", " WHERE id > 5 GROUP BY");
    run(&filtered).expect(2).says(only).says("input of an aggregation differs:\n  state:  ");
    let having = more.replace("k;\n", "k HAVING COUNT(*) > 5;\n");
    run(&having).expect(2).says(only).says("which rows 'tumble_out' gets differs:\n  state:  ");
    let first_value = ("FIRST_VALUE(v)", "f", "BIGINT");
    let by_window = script(&out, OLD_RATE, kinds, &[COUNT, SUM, first_value], "");
    let kept = "with FIRST_VALUE(t.v) the state is kept by window, no longer by slice";
    run(&by_window).expect(2).says(only).says(kept);
    let elsewhere = more.replace("tumble_out", "others_out");
    run(&elsewhere).expect(2).says(only).says("what is written differs:\n  state:  tumble_out");
    // What has been refused has changed nothing.
    tidemill(&["run", "--shards", "2", "--state", &state, "-e", &first]).expect(0).says("going on");
    run(&more).expect(2).says(only).says("the job had finished");
    let args = ["run", "--allow-new-aggregates", "-e", "SELECT 1"];
    tidemill(&args).expect(2).says("--state");
}
