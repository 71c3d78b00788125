//! The engine against a naive one: random streams, random queries, random settings; rows and late rows must be the
//! same (promise P2), whatever the shard count, the chunk size, the runtime, its schedule and the rings.
//!
//! `PROPTEST_CASES=1000 cargo test --test oracle` looks harder. A failure prints the script, the input and how it was run.

#[path = "oracle/draw.rs"]
mod draw;
mod engine;
#[path = "oracle/found.rs"]
mod found;
#[path = "oracle/lines.rs"]
mod lines;
#[path = "oracle/many_slices.rs"]
mod many_slices;
#[path = "oracle/model.rs"]
mod model;
#[path = "oracle/reference.rs"]
mod reference;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use draw::{Case, cases, coarse_settings, nested_cases, padded_cases, settings};
use engine::{Setting, run_rewritten, user};
use lines::{canonical, lines_of_engine, lines_of_oracle, turns};
use many_slices::cases_of_many_slices;
use reference::{arrivals, expected};
use tidemill::plan::Plan;

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

/// Runs a case on both engines: one at one setting.
fn check(case: &Case, setting: Setting) -> Result<(), TestCaseError> {
    check_rewritten(case, setting, |_| {})
}

/// The same with another plan than that of the case's script.
fn check_rewritten(
    case: &Case,
    setting: Setting,
    rewrite: fn(&mut Plan),
) -> Result<(), TestCaseError> {
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
    let run = run_rewritten(&script, setting, None, rewrite);
    let oracle = expected(query, &arrivals(splits, query.delay));
    let ours = canonical(query, lines_of_engine(query, &run.rows));
    let theirs = canonical(query, lines_of_oracle(&oracle));
    if run.failure.is_none() && ours == theirs && run.late_count == oracle.late.len() as u64 {
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
        oracle.late.len(),
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

    /// Functions that users write, in the place of ours.
    #[test]
    fn users_functions(case in cases(false, 1..3, 0..60), setting in settings()) {
        check_rewritten(&case, setting, user::take_over)?;
    }

    /// The same with triggers.
    #[test]
    fn users_functions_fire_again(case in cases(true, 1..3, 0..60), setting in settings()) {
        check_rewritten(&case, setting, user::take_over)?;
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

    /// Windows of hundreds of slices, with rows that are late for some of them, and slices without rows.
    #[test]
    fn windows_of_many_slices(case in cases_of_many_slices(), setting in settings()) {
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

    /// More rows than a batch or a folding table holds before it is judged, for users' functions.
    #[test]
    fn many_rows_for_users(case in cases(false, 1..2, 5000..9000), setting in coarse_settings()) {
        check_rewritten(&case, setting, user::take_over)?;
    }

    /// More rows than a batch or a folding table holds before it is judged.
    #[test]
    fn many_rows(case in cases(false, 1..2, 5000..9000), setting in coarse_settings()) {
        check(&case, setting)?;
    }
}
