//! The engine against a naive one: random streams, random queries, random settings; rows and late rows must be the
//! same (promise P2), whatever the shard count, the chunk size, the runtime, its schedule and the rings.
//!
//! `PROPTEST_CASES=1000 cargo test --test oracle` looks harder. A failure prints the script, the input and how it was run.

#[path = "oracle/draw.rs"]
mod draw;
mod engine;
#[path = "oracle/found.rs"]
mod found;
#[path = "oracle/model.rs"]
mod model;
#[path = "oracle/reference.rs"]
mod reference;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use draw::{Case, cases, coarse_settings, nested_cases, padded_cases, settings};
use engine::{Run, Setting, run_script};
use model::{Cell, Query, Row};
use reference::{Turns, arrivals, expected};

/// How many cases a property draws unless `PROPTEST_CASES` says.
fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    }
}

/// A result row as text: kind, columns.
type Line = (String, Vec<String>);

fn lines_of_engine(query: &Query, run: &Run) -> Vec<Line> {
    let names = ["ws", "we", "wt"].map(String::from).into_iter();
    let names = names.chain((0..query.keys.len()).map(|index| format!("g{index}")));
    let names: Vec<String> =
        names.chain((0..query.calls.len()).map(|index| format!("a{index}"))).collect();
    let first_call = query.key_columns();
    let line = |row: &serde_json::Value| {
        let cell = |(index, name): (usize, &String)| {
            let double = index >= first_call && query.calls[index - first_call].is_double();
            Cell::parse(&row[name], double)
        };
        (row["op"].as_str().unwrap().to_owned(), names.iter().enumerate().map(cell).collect())
    };
    run.rows.iter().map(line).collect()
}

/// What must not depend on anything: the multiset of rows, or each group's sequence of changes.
fn canonical(query: &Query, lines: Vec<Line>) -> Vec<String> {
    let mut groups: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for (kind, cells) in lines {
        let key = cells[..query.key_columns()].to_vec();
        groups
            .entry(key)
            .or_default()
            .push(format!("{kind} {}", cells[query.key_columns()..].join(" ")));
    }
    let text = |(key, mut changes): (Vec<String>, Vec<String>)| {
        if query.emit.is_once() {
            changes.sort();
        }
        format!("{}: {}", key.join(" "), changes.join(" | "))
    };
    groups.into_iter().map(text).collect()
}

/// A split keeps its turn for so many bytes, whatever the size of a chunk.
const TURN_BYTES: u64 = 1 << 20;

/// A file's records as the turns that they start in.
fn turns(rows: &[Row], records: &[String]) -> Turns {
    let length: u64 = records.iter().map(|record| record.len() as u64).sum();
    let mut turns: Turns = vec![Vec::new(); length.div_ceil(TURN_BYTES) as usize];
    let mut start = 0;
    for (row, record) in rows.iter().zip(records) {
        turns[(start / TURN_BYTES) as usize].push(row.clone());
        start += record.len() as u64;
    }
    turns
}

/// Runs a case on both engines: one at one setting.
fn check(case: &Case, setting: Setting) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let query = &case.query;
    let mut files = Vec::new();
    let mut splits = Vec::new();
    for (index, rows) in case.streams.iter().enumerate() {
        let records = case.format.records(rows, case.padding);
        let path = folder.path().join(format!("part-{index}"));
        std::fs::write(&path, records.concat()).unwrap();
        files.push(path.display().to_string());
        splits.push(turns(rows, &records));
    }
    let paths = if case.directory { vec![folder.path().display().to_string()] } else { files };
    let script = query.script(&paths, case.format);
    let run = run_script(&script, setting, None);
    let oracle = expected(query, &arrivals(splits, query.delay));
    let oracle_lines = oracle
        .rows
        .iter()
        .map(|(kind, cells)| (kind.to_string(), cells.iter().map(Cell::text).collect()));
    let (ours, theirs) =
        (canonical(query, lines_of_engine(query, &run)), canonical(query, oracle_lines.collect()));
    if run.failure.is_none() && ours == theirs && run.late_count == oracle.late_count {
        return Ok(());
    }
    let only = |these: &[String], those: &[String]| {
        let lines =
            these.iter().filter(|line| !those.contains(line)).map(|line| format!("    {line}\n"));
        lines.collect::<String>()
    };
    let inputs: Vec<String> =
        case.streams.iter().map(|rows| case.format.records(rows, 0).concat()).collect();
    Err(TestCaseError::fail(format!(
        "\n{setting:?}, padding {} bytes, failure {:?}\n{script}\n{}\nlate rows: engine {}, oracle {}\nonly the engine:\n{}only the oracle:\n{}",
        case.padding,
        run.failure,
        inputs.join("--\n"),
        run.late_count,
        oracle.late_count,
        only(&ours, &theirs),
        only(&theirs, &ours)
    )))
}

proptest! {
    #![proptest_config(config(48))]

    /// Windows that fire once, over one file.
    #[test]
    fn windows_fire_once(case in cases(false, 1..2, 0..60), setting in settings()) {
        check(&case, setting)?;
    }

    /// Early firing by event time and after every row, late firing, all modes.
    #[test]
    fn windows_fire_again(case in cases(true, 1..2, 0..60), setting in settings()) {
        check(&case, setting)?;
    }

    /// UNION ALL of tables, and directories of files, each small enough to be one turn.
    #[test]
    fn several_splits(case in cases(false, 2..4, 0..25), setting in settings()) {
        check(&case, setting)?;
    }

    /// The same with triggers.
    #[test]
    fn several_splits_fire_again(case in cases(true, 2..4, 0..25), setting in settings()) {
        check(&case, setting)?;
    }

    /// A window over the results of another window.
    #[test]
    fn windows_of_windows(case in nested_cases(), setting in settings()) {
        check(&case, setting)?;
    }
}

proptest! {
    #![proptest_config(config(8))]

    /// Files of several turns, so that splits alternate: the one with the lowest watermark is read next.
    #[test]
    fn splits_take_turns(case in padded_cases(false), setting in coarse_settings()) {
        check(&case, setting)?;
    }

    /// The same with triggers.
    #[test]
    fn splits_take_turns_and_fire_again(case in padded_cases(true), setting in coarse_settings()) {
        check(&case, setting)?;
    }

    /// More rows than a batch or a folding table holds before it is judged.
    #[test]
    fn many_rows(case in cases(false, 1..2, 5000..9000), setting in coarse_settings()) {
        check(&case, setting)?;
    }
}
