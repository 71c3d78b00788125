//! Functions that fail, plans that are refused, and state that is not gone on with.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use tidemill::batch::{Batch, RowKind, Schema};
use tidemill::error::{Class, EvalError, JobError, StateError};
use tidemill::job::{Fresh, Launch, RuntimeKind};
use tidemill::plan::explain;
use tidemill::plan::function::{Apply, Context, Process, Row, Rows, Scope};
use tidemill::sys::storage::SimDisk;
use tidemill::window::{Emit, WindowKind};

use crate::functions::{First, Fold, Repeat, folded};
use crate::plans::{Piece, SOURCE, WINDOWED, first_value, plan, window};
use crate::twins::early;
use crate::world::{Arrived, Case, Input, World};

/// How a function fails, at the row whose number is 7, or of the window whose rows' numbers add up to 21.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Error,
    Panic,
    Half,
    Null,
    WrongBuilder,
    NoWindow,
    KeyValues,
}

#[derive(Debug)]
struct Failing(Fault, Schema);

impl Process for Failing {
    fn name(&self) -> &str {
        "failing"
    }

    fn uid(&self) -> &str {
        "it fails"
    }

    fn version(&self) -> u32 {
        1
    }

    fn schema(&self) -> &Schema {
        &self.1
    }

    fn process(
        &self,
        row: Row<'_>,
        context: &mut Context<'_>,
        out: &mut Rows,
    ) -> Result<(), String> {
        let number = row.columns[2].as_primitive::<Int64Type>().value(row.index);
        if ![7, 21].contains(&number) {
            return Ok(());
        }
        match self.0 {
            Fault::Error => return Err("that is no number".into()),
            Fault::Panic => panic!("number {number}"),
            Fault::Half => out.column::<Int64Builder>(1).append_value(1),
            Fault::WrongBuilder => out.column::<Int64Builder>(0).append_value(1),
            Fault::NoWindow => context.set(Scope::Window, "x", b"x"),
            Fault::KeyValues => context.set(Scope::Key, "x", b"x"),
            Fault::Null => {
                out.column::<StringViewBuilder>(0).append_value("k");
                [1, 2, 3].into_iter().for_each(|at| out.column::<Int64Builder>(at).append_null());
                out.end_row(RowKind::Insert);
            }
        }
        Ok(())
    }
}

/// Twenty rows of two keys, one a second from 12:00:00 on; the window from 12:00:06 on has 6, 7 and 8.
fn world() -> World {
    let row = |w: i64| Arrived {
        k: if w < 6 { "a" } else { "it's" }.into(),
        v: w,
        w,
        ts_ms: 1_704_110_400_000 + w * 1000,
        watermark_ms: i64::MIN,
        fold: 0,
    };
    World::new(&Input::of(vec![(0..20).map(row).collect()]))
}

fn case(select: &str, piece: Piece) -> Case {
    Case { select: select.into(), pieces: vec![piece], ..Case::default() }
}

fn three_seconds() -> String {
    WINDOWED.replace("'2' SECOND", "'3' SECOND")
}

fn failing(fault: Fault, select: &str) -> Case {
    let window = if select == SOURCE { None } else { window(0) };
    case(select, Piece::process(&[0], window, Arc::new(Failing(fault, folded()))))
}

/// The failure is the user's to mend, at any number of shards, with state and without.
fn check_failure(world: &World, case: &Case, expected: &str) {
    for shards in 1..4 {
        for runtime in [RuntimeKind::Sim(3), RuntimeKind::Poll] {
            let (report, _) = world.run(case, shards, runtime, 100, 2);
            let failure = report.failure.expect("it fails");
            assert_eq!(failure.to_string(), expected, "{shards} shards, {runtime:?}");
            assert!(matches!(failure, JobError::Function { .. }), "{failure:?}");
            assert_eq!(failure.class(), Class::User);
        }
        let report = world.live(case, &SimDisk::new(1), shards, RuntimeKind::Sim(5));
        assert_eq!(report.failure.expect("it fails").to_string(), expected, "{shards} shards");
    }
}

#[test]
fn a_failure_names_function_key_and_time() {
    let (world, windowed) = (world(), three_seconds());
    let row = "function failing, on key (it's), at watermark 2024-01-01 12:00:05.000: ";
    let result = "function failing, on key (it's), window 2024-01-01 12:00:06.000 to 2024-01-01 12:00:09.000: ";
    for (fault, message) in [
        (Fault::Error, "that is no number"),
        (Fault::Half, "column a was given 1 values for 0 rows"),
        (Fault::WrongBuilder, "column k is STRING, which that does not build"),
    ] {
        check_failure(&world, &failing(fault, SOURCE), &format!("{row}{message}"));
        check_failure(&world, &failing(fault, &windowed), &format!("{result}{message}"));
    }
    check_failure(&world, &failing(Fault::Panic, SOURCE), &format!("{row}it panicked: number 7"));
    check_failure(
        &world,
        &failing(Fault::Panic, &windowed),
        &format!("{result}it panicked: number 21"),
    );
    let none = "there are no windows here, and so no values of one";
    check_failure(&world, &failing(Fault::NoWindow, SOURCE), &format!("{row}{none}"));
    let null = "function failing, yielding rows: column b is NOT NULL, and was given NULL";
    check_failure(&world, &failing(Fault::Null, SOURCE), null);
    let mut of_rows = failing(Fault::NoWindow, &windowed);
    of_rows.select = "SELECT k, w, ts FROM t".into();
    of_rows.pieces.insert(0, Piece::of_rows(7));
    let seven = "function failing, on key (it's), window 2024-01-01 12:00:06.000 to 2024-01-01 12:00:12.001: ";
    let reason =
        "windows of rows end with their rows, not with time: only values of the key can be kept";
    check_failure(&world, &of_rows, &format!("{seven}{reason}"));
    let several = Case { settings: early(), ..failing(Fault::KeyValues, &windowed) };
    let reason = "the windows fire more than once, and in which order windows do is not settled: only values of \
                  windows can be kept";
    let early =
        "function failing, on key (a), window 2024-01-01 12:00:03.000 to 2024-01-01 12:00:06.000: ";
    check_failure(&world, &several, &format!("{early}{reason}"));
}

/// Fails at the row whose number is 7, and passes all others on.
#[derive(Debug)]
struct Picky(bool, Repeat);

impl Apply for Picky {
    fn name(&self) -> &str {
        "picky"
    }

    fn schema(&self) -> &Schema {
        self.1.schema()
    }

    fn apply(&self, batch: &Batch) -> Result<(Batch, Vec<u32>), EvalError> {
        let numbers = batch.columns[2].as_primitive::<Int64Type>().values();
        match (numbers.iter().position(|&number| number == 7), self.0) {
            (Some(_), true) => panic!("seven"),
            (Some(row_index), false) => Err(EvalError { row_index, message: "seven".into() }),
            (None, _) => {
                let rows = (0..batch.rows as u32).collect();
                Ok((Batch::new(batch.columns[..3].to_vec(), batch.rows), rows))
            }
        }
    }
}

#[test]
fn a_function_without_state_fails_by_name() {
    let world = world();
    for (panics, message) in [(false, "seven"), (true, "it panicked: seven")] {
        let case = case(SOURCE, Piece::apply(Arc::new(Picky(panics, Repeat::new()))));
        let place = format!("line 8 of {}/part-0", world.input());
        check_failure(&world, &case, &format!("function picky, applied to {place}: {message}"));
    }
}

fn refusal(settings: &str, select: &str, pieces: &[Piece]) -> String {
    let plan = plan(settings, "/in", select, pieces, "", "/out", 100);
    let refused = tidemill::shard::check(&plan).expect_err("it is refused");
    assert_eq!(refused.to_string(), Launch::new(&plan, Some(1), None).err().unwrap().to_string());
    refused.to_string()
}

#[test]
fn what_has_no_order_is_refused() {
    let fold = |keys: &[usize]| Piece::process(keys, None, Arc::new(Fold::new("fold", Scope::Key)));
    let first = || Piece::process(&[0], None, Arc::new(First::new()));
    let check = |settings: &str, select: &str, pieces: &[Piece], expected: &str| {
        let refused = refusal(settings, select, pieces);
        assert!(refused.contains(expected), "{refused}");
    };
    check("", SOURCE, &[Piece::twice(), fold(&[0])], "from one table in several ways");
    let windows = format!("{WINDOWED} UNION ALL {}", three_seconds());
    check("", &windows, &[fold(&[0])], "what several windows or functions give");
    let no_time = "SELECT k, COUNT(*), SUM(w) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND)) \
                   GROUP BY k, window_start, window_end";
    check("", no_time, &[fold(&[0])], "need their window_time");
    check(&early(), WINDOWED, &[fold(&[1])], "its key must have theirs in it");
    check(
        &early(),
        WINDOWED,
        &[fold(&[0]), Piece::process(&[0], None, Arc::new(First::new()))],
        "fire more than once",
    );
    let of_rows = "SELECT k, w, ts FROM t";
    let fours = || Piece::of_rows(4);
    check("", of_rows, &[fours(), fold(&[1])], "reads windows of rows");
    check("", of_rows, &[fours(), fold(&[0]), first()], "over windows of rows, or windows");
    let session = Piece::over(WindowKind::Session { gap_ms: 500 }, Emit::AT_END, &[]);
    check("", SOURCE, &[first(), session], "sessions over what a function yields");
    let size = WindowKind::Tumble { size_ms: 1000, offset_ms: 0 };
    let ordered = Piece::over(size, Emit::AT_END, &[first_value()]);
    check("", SOURCE, &[first(), ordered], "FIRST_VALUE, LAST_VALUE or LISTAGG");
    let emit = Emit { early_delay_ms: Some(100), ..Emit::AT_END };
    check("", SOURCE, &[first(), Piece::over(size, emit, &[])], "that fire early or late");
}

#[test]
fn what_is_declared_wrongly_is_refused() {
    let fold = |uid, window| Piece::process(&[0], window, Arc::new(Fold::new(uid, Scope::Key)));
    let check = |select: &str, pieces: &[Piece], expected: &str| {
        let refused = refusal("", select, pieces);
        assert!(refused.starts_with("function 'fold' cannot run: "), "{refused}");
        assert!(refused.contains(expected), "{refused}");
    };
    check(SOURCE, &[fold("", None)], "it has no uid");
    check(SOURCE, &[fold("x", None), fold("x", None)], "another function has the uid 'x' too");
    check(SOURCE, &[fold("x", window(0))], "ts TIMESTAMP(3) does not say which window");
    check("SELECT k, v, w FROM t", &[fold("x", window(0))], "no columns of a window");
    check(WINDOWED, &[fold("x", window(-1))], "negative");
    let shifted = window(0).map(|window| tidemill::plan::ProcessWindow { start: 1, ..window });
    check(WINDOWED, &[fold("x", shifted)], "does not say which window a row is in");
}

/// Lives once, and dies with a snapshot behind it.
fn killed(world: &World, case: &Case) -> SimDisk {
    for steps in 40.. {
        let disk = SimDisk::new(steps);
        let report = world.live(case, &disk, 2, RuntimeKind::Dying { seed: 1, steps });
        assert!(matches!(report.failure, Some(JobError::Killed)), "{:?}", report.failure);
        disk.kill();
        let (shards, other) = (2, RuntimeKind::Dying { seed: 1, steps: 1 });
        let report = world.live(case, &disk, shards, other);
        if report.went_on_from.is_some_and(|from| from.rows > 0) {
            disk.kill();
            return disk;
        }
    }
    unreachable!("it takes a snapshot some time")
}

#[test]
fn state_of_another_function_is_refused_by_name() {
    let world = world();
    let with = |uid, version| {
        let mut fold = Fold::new(uid, Scope::Key);
        fold.version = version;
        case(SOURCE, Piece::process(&[0], None, Arc::new(fold)))
    };
    let disk = killed(&world, &with("mine", 1));
    for (uid, version) in [("mine", 2), ("yours", 1)] {
        for fresh in [Fresh::GoOn, Fresh::AllowNewAggregates] {
            let report = world.live_on(&with(uid, version), &disk, 2, RuntimeKind::Sim(1), fresh);
            let Some(JobError::State(error @ StateError::Changed { .. })) = report.failure else {
                panic!("{:?}", report.failure)
            };
            let (text, what) = (error.to_string(), if version == 2 { "version" } else { "uid" });
            assert!(text.contains(what), "{text}");
            if fresh == Fresh::GoOn {
                assert!(text.contains("state: uid 'mine', version 1"), "{text}");
                assert!(text.contains(&format!("state: uid '{uid}', version {version}")), "{text}");
            }
            assert_eq!(error.class(), Class::User);
        }
    }
    let report = world.live(&with("mine", 1), &disk, 3, RuntimeKind::Sim(1));
    assert!(report.failure.is_none(), "{:?}", report.failure);
}

#[test]
fn the_plan_says_what_a_function_is() {
    let pieces = [
        Piece::apply(Arc::new(Repeat::new())),
        Piece::process(&[0, 1], None, Arc::new(Fold::new("mine", Scope::Key))),
    ];
    let text = explain(&plan("", "/in", SOURCE, &pieces, "", "/out", 100));
    for line in [
        "Process fold",
        "state: uid 'mine', version 1",
        "yields: k STRING, a BIGINT, b BIGINT NOT NULL, fold BIGINT",
        "exchange: by k, v",
        "Apply repeat",
        "yields: k STRING, v BIGINT, w BIGINT",
        "decodes: ts, k, v, w",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let pieces = [Piece::process(&[], window(500), Arc::new(First::over_windows()))];
    let text = explain(&plan("", "/in", WINDOWED, &pieces, "", "/out", 100));
    let line = "windows: from window_start to window_end; their state is dropped when the watermark reaches 500 ms after window_time";
    assert!(text.contains(line), "{text}");
}

/// A function beside an aggregation that gets one more aggregate: the function's values go over to the new files.
#[test]
fn values_outlive_new_aggregates() {
    let world = world();
    let with = |calls: &str| {
        let fold = Fold::new("beside", Scope::Key);
        let mut case = case(SOURCE, Piece::process(&[0], None, Arc::new(fold)));
        case.beside = format!(
            "SELECT k, {calls} FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '7' SECOND)) GROUP BY k, window_start, window_end"
        );
        case
    };
    let (_, undisturbed) = world.run(&with("COUNT(*)"), 1, RuntimeKind::Sim(1), 1 << 20, 64);
    let disk = killed(&world, &with("COUNT(*)"));
    let runtime = RuntimeKind::Sim(1);
    let report =
        world.live_on(&with("COUNT(*), SUM(w)"), &disk, 3, runtime, Fresh::AllowNewAggregates);
    assert!(report.failure.is_none(), "{:?}", report.failure);
    let lines = |rows: &[serde_json::Value]| {
        let mut lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&World::shown(&disk)), lines(&undisturbed));
}
