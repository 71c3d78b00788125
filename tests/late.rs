//! Late rows as an output, against the naive engine: each row of the input is in the windows' results or among the late rows, once,
//! whatever the shard count, the chunk size, the runtime and its schedule. That this survives crashes is for `snapshots`.

#[path = "oracle/draw.rs"]
mod draw;
#[allow(dead_code)]
mod engine;
#[path = "late/fixed.rs"]
mod fixed;
#[path = "late/graft.rs"]
mod graft;
#[path = "oracle/lines.rs"]
mod lines;
#[path = "oracle/model.rs"]
mod model;
#[path = "oracle/reference.rs"]
mod reference;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tidemill::plan::Plan;

use draw::{Case, cases, coarse_settings, nested_cases, padded_cases, settings};
use engine::{Run, Setting, run_edited};
use graft::{late_table, read_late, read_late_twice, select_all};
use lines::{canonical, late_of_engine, late_of_oracle, lines_of_engine, lines_of_oracle, turns};
use model::Window;
use reference::{Arrival, Expected, arrivals, expected};

fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    }
}

/// Runs a case whose plan is `edit`ed; also the order in which its rows arrive.
fn run(case: &Case, edit: &dyn Fn(Plan) -> Plan, setting: Setting) -> (Run, Vec<Arrival>) {
    let folder = tempfile::tempdir().unwrap();
    let (mut files, mut splits) = (Vec::new(), Vec::new());
    for (index, rows) in case.streams.iter().enumerate() {
        let records = case.format.records(rows, case.padding);
        let path = folder.path().join(format!("part-{index}"));
        std::fs::write(&path, records.concat()).unwrap();
        files.push(path.display().to_string());
        splits.push(turns(rows, &records));
    }
    let paths = if case.directory { vec![folder.path().display().to_string()] } else { files };
    let (table, insert) = late_table("'connector' = 'print'");
    let query = &case.query;
    let text = query.views(&paths, case.format) + &table + &select_all(query) + ";\n" + &insert;
    (run_edited(&text, edit, setting, None), arrivals(splits, query.delay))
}

/// Compares results and late rows.
fn compare(
    case: &Case,
    setting: Setting,
    run: Run,
    oracle: &Expected,
    late_count: usize,
) -> Result<(), TestCaseError> {
    let (late, rows): (Vec<_>, Vec<_>) =
        run.rows.into_iter().partition(|row| row.get("ts").is_some());
    let query = &case.query;
    let ours = (canonical(query, lines_of_engine(query, &rows)), late_of_engine(&late));
    let theirs = (canonical(query, lines_of_oracle(oracle)), late_of_oracle(query, oracle));
    if run.failure.is_none() && ours == theirs && run.late_count == late_count as u64 {
        return Ok(());
    }
    Err(TestCaseError::fail(format!(
        "{setting:?}, failure {:?}, late rows counted {} of {late_count}\n{query:?}\n{}engine: {ours:#?}\noracle: {theirs:#?}",
        run.failure,
        run.late_count,
        case.streams
            .iter()
            .map(|rows| case.format.records(rows, 0).concat() + "--\n")
            .collect::<String>(),
    )))
}

fn check(case: &Case, setting: Setting) -> Result<(), TestCaseError> {
    let (run, arrivals) = run(case, &read_late, setting);
    let oracle = expected(&case.query, &arrivals);
    compare(case, setting, run, &oracle, oracle.late.len())
}

/// The case's window gets what is late for another.
fn check_twice(case: &Case, size_ms: i64, setting: Setting) -> Result<(), TestCaseError> {
    let (run, arrivals) = run(case, &|plan| read_late_twice(plan, size_ms), setting);
    let mut first = case.query.clone();
    first.window = Window::Tumble { size: size_ms, offset: 0 };
    first.emit.early = None;
    first.emit.lateness = None;
    let late = expected(&first, &arrivals).late;
    let oracle = expected(&case.query, &late);
    compare(case, setting, run, &oracle, late.len() + oracle.late.len())
}

proptest! {
    #![proptest_config(config(48))]

    /// Windows that fire once, over one file.
    #[test]
    fn of_windows_that_fire_once(case in cases(false, 1..2, 0..60), setting in settings()) {
        check(&case, setting)?;
    }

    /// With allowed lateness, early firing, all modes.
    #[test]
    fn of_windows_that_fire_again(case in cases(true, 1..2, 0..60), setting in settings()) {
        check(&case, setting)?;
    }

    /// UNION ALL of tables, and directories of files.
    #[test]
    fn of_several_splits(case in cases(false, 2..4, 0..25), setting in settings()) {
        check(&case, setting)?;
    }

    /// What the inner one of two windows finds late.
    #[test]
    fn of_windows_below_windows(case in nested_cases(), setting in settings()) {
        check(&case, setting)?;
    }

    /// A window over late rows, and what is late for that.
    #[test]
    fn go_to_another_window(case in cases(false, 1..3, 0..60), size in 1..9i64, setting in settings()) {
        check_twice(&case, size, setting)?;
    }

    /// The same with triggers.
    #[test]
    fn go_to_another_window_with_triggers(case in cases(true, 1..3, 0..60), size in 1..9i64, setting in settings()) {
        check_twice(&case, size, setting)?;
    }
}

proptest! {
    #![proptest_config(config(8))]

    /// Files of several turns each.
    #[test]
    fn of_splits_that_take_turns(case in padded_cases(true), setting in coarse_settings()) {
        check(&case, setting)?;
    }

    /// More rows than a batch holds.
    #[test]
    fn of_many_rows(case in cases(false, 1..2, 5000..9000), setting in coarse_settings()) {
        check(&case, setting)?;
    }
}
