//! Late rows of inputs that a person can follow, on every runtime, and what is refused.

use std::path::Path;

use tidemill::connector::{Output, Style};
use tidemill::job::{RuntimeKind, bind};
use tidemill::plan::{Node, Op, Plan, explain};
use tidemill::shard;

use crate::engine::{Setting, run_edited};
use crate::graft::{late_table, read_late_of_all};

/// Ten seconds of lag. After the row at 50 s, those at 12 s, 36 s and 3 s are late for windows of ten seconds. A session with a gap of
/// 15 s takes the one at 36 s, for it ends after the watermark of 40 s.
const ROWS: [(&str, &str); 9] = [
    ("00:00:01", "a"),
    ("00:00:09", "b"),
    ("00:00:50", "a"),
    ("00:00:12", "b"),
    ("00:00:41", "c"),
    ("00:00:36", "c"),
    ("00:00:03", "a"),
    ("00:00:52", "c"),
    ("00:01:40", "b"),
];

fn input(folder: &Path) -> String {
    let rows = ROWS.iter().enumerate().map(|(index, (time, k))| {
        format!(
            r#"{{"ts":"2024-01-01 {time}","k":"{k}","v":{index},"w":7,"d":0.5,"s":"row {index}","m":1.25}}"#
        ) + "\n"
    });
    let path = folder.join("input");
    std::fs::write(&path, rows.collect::<String>()).unwrap();
    format!(
        "CREATE TABLE src (ts TIMESTAMP(3), k STRING, v INT, w BIGINT, d DOUBLE, s STRING, m DECIMAL(10, 2), \
         WATERMARK FOR ts AS ts - INTERVAL '10' SECOND) \
         WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');\n",
        path.display()
    )
}

fn settings() -> Vec<Setting> {
    let runtimes = [RuntimeKind::Sim(7), RuntimeKind::Poll, RuntimeKind::detect()];
    let shards = 1..4usize;
    let all = shards.flat_map(|shards| runtimes.map(|runtime| (shards, runtime)));
    all.flat_map(|(shards, runtime)| {
        [1, 100, 1 << 20].map(|chunk_bytes| {
            let ring_slots = Some(2);
            Setting { shards, runtime, chunk_bytes, ring_slots }
        })
    })
    .collect()
}

/// The texts of the late rows of a script, sorted, and how many rows came out besides.
fn late_rows(queries: &str, setting: Setting) -> (Vec<String>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (table, insert) = late_table("'connector' = 'print'");
    let text = input(folder.path()) + &table + queries + &insert;
    let run = run_edited(&text, &read_late_of_all, setting, None);
    assert_eq!(run.failure, None);
    let late = run.rows.iter().filter(|row| row.get("d").is_some() && row.get("ws").is_none());
    let mut texts: Vec<String> = late.map(|row| row["s"].as_str().unwrap().to_owned()).collect();
    texts.sort();
    assert_eq!(run.late_count, texts.len() as u64);
    (texts.clone(), run.rows.len() - texts.len())
}

const TUMBLE: &str = "SELECT window_start AS ws, COUNT(*) AS c, COUNT(k), COUNT(v), COUNT(w), COUNT(d), COUNT(s), COUNT(m)
    FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;\n";
const SESSIONS: &str = "SELECT window_start AS ws, k, COUNT(v), COUNT(w), COUNT(d), COUNT(s), COUNT(m)
    FROM TABLE(SESSION(TABLE src PARTITION BY k, DESCRIPTOR(ts), INTERVAL '15' SECOND)) GROUP BY window_start, window_end, k;\n";
const SESSION_TABLE: &str = "SELECT window_start AS ws, ts, k, v, w, d, s, m
    FROM TABLE(SESSION(TABLE src PARTITION BY k, DESCRIPTOR(ts), INTERVAL '15' SECOND));\n";

/// A window's, a session's, and the two united: of one table from scans and from owners.
#[test]
fn on_every_runtime() {
    for setting in settings() {
        let (late, shown) = late_rows(TUMBLE, setting);
        assert_eq!((late, shown), (texts(&[3, 5, 6]), 4), "{setting:?}");
        let (late, shown) = late_rows(SESSIONS, setting);
        assert_eq!((late, shown), (texts(&[3, 6]), 5), "{setting:?}");
        let (late, shown) = late_rows(SESSION_TABLE, setting);
        assert_eq!((late, shown), (texts(&[3, 6]), ROWS.len() - 2), "{setting:?}");
        let (late, _) = late_rows(&(TUMBLE.to_owned() + SESSIONS), setting);
        assert_eq!(late, texts(&[3, 3, 5, 6, 6]), "{setting:?}");
    }
}

fn texts(rows: &[usize]) -> Vec<String> {
    rows.iter().map(|row| format!("row {row}")).collect()
}

fn plan(queries: &str) -> Plan {
    let folder = tempfile::tempdir().unwrap();
    let (table, insert) = late_table("'connector' = 'blackhole'");
    let text = input(folder.path()) + &table + queries + &insert;
    let output = Output::new(Box::new(std::io::sink()), Style::JsonLines);
    read_late_of_all(bind(&text, &output, &[]).expect("it binds").plan)
}

/// Lets a window of the kind of the plan's first one read what is late for that.
fn over_its_late_rows(mut plan: Plan) -> Plan {
    let is_window = |node: &&Node| matches!(node.op, Op::WindowAggregate { .. });
    let mut window = plan.nodes.iter().find(is_window).expect("it has one").clone();
    let is_late = |node: &Node| matches!(node.op, Op::Late { .. });
    let late = plan.nodes.iter().position(is_late).expect("it has late rows");
    if let Op::WindowAggregate { input, .. } = &mut window.op {
        *input = late;
    }
    let is_sink = |node: &&Node| matches!(node.op, Op::Sink { .. });
    let mut sink = plan.nodes.iter().find(is_sink).expect("it has one").clone();
    sink.schema = window.schema.clone();
    plan.nodes.push(window);
    if let Op::Sink { input, .. } = &mut sink.op {
        *input = plan.nodes.len() - 1;
    }
    plan.nodes.push(sink);
    plan
}

#[test]
fn no_window_reads_what_is_late_for_sessions() {
    shard::check(&over_its_late_rows(plan(TUMBLE))).unwrap();
    let refused = shard::check(&over_its_late_rows(plan(SESSIONS))).unwrap_err().to_string();
    assert!(refused.contains("late for a SESSION window cannot run"), "{refused}");
}

/// A plan says who has the late rows.
#[test]
fn a_plan_shows_them() {
    let text = explain(&plan(TUMBLE));
    let dropped = text.replace("handed on", "dropped");
    assert!(dropped != text && text.contains("Late rows, not the results"), "{text}");
    assert!(text.contains("columns: k, v, w, d, s, m, ts"), "{text}");
}
