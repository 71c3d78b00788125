//! Windows of rows before and behind other windows: which results are late does not depend on chunks, the order of rows not on
//! shards; and what cannot be sound is refused.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tidemill::connector::{Output, Style};
use tidemill::job::{Launch, bind};
use tidemill::plan::{Node, Op, Plan, explain};
use tidemill::window::{Emit, EmitClock, EmitMode, WindowKind};

use crate::engine::Setting;
use crate::naive::{
    CALLS, Global, Mode, Row, Shown, count, count_windows, global, result, time_text,
};
use crate::{
    Case, Window, column, config, folder, live_as, rows, settings, shown, sink_table, source,
};

/// Of the window below.
const INNER_MS: i64 = 1_000;
/// Of a window on top.
const OUTER_MS: i64 = 4_000;
/// Calls that do not depend on order.
const UNORDERED: [usize; 6] = [0, 1, 4, 5, 6, 8];

/// One more window between the two.
const BETWEEN: &str = "CREATE VIEW middle AS SELECT window_time AS ts, k, SUM(v) AS v, MAX(s) AS s, SUM(d) AS d
FROM TABLE(TUMBLE(TABLE below, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY k, window_start, window_end, window_time;
INSERT";

/// A window over another one's results, by key.
fn script(case: &Case, input: &std::path::Path, sink: &str) -> String {
    let calls = case.calls.iter().enumerate();
    let selected: String = calls.map(|(at, &call)| format!("{} AS a{at}, ", CALLS[call])).collect();
    let columns: Vec<String> =
        case.calls.iter().enumerate().map(|(at, &call)| column(at, call)).collect();
    source(input, case.delay_ms)
        + &sink_table(sink, "k STRING", &columns)
        + &format!(
            "CREATE VIEW below AS SELECT window_time AS ts, k, SUM(v) AS v, MAX(s) AS s, SUM(d) AS d\n\
             FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '{}' SECOND))\n\
             GROUP BY k, window_start, window_end, window_time;\n\
             INSERT INTO sink SELECT k, {selected}window_start AS ws, window_end AS we, window_time AS wt\n\
             FROM TABLE(TUMBLE(TABLE below, DESCRIPTOR(ts), INTERVAL '{}' SECOND))\n\
             GROUP BY k, window_start, window_end, window_time;\n",
            INNER_MS / 1000,
            OUTER_MS / 1000
        )
}

/// Makes the plan's windows, inner first, those of the cases that are given.
fn changed<const N: usize>(plan: &mut Plan, to: [Option<(WindowKind, Emit)>; N]) {
    let windows = plan.nodes.iter_mut().filter_map(|node| match &mut node.op {
        Op::WindowAggregate { window, emit, .. } => Some((window, emit)),
        _ => None,
    });
    for ((window, emit), to) in windows.zip(to) {
        if let Some(to) = to {
            (window.kind, *emit) = to;
        }
    }
}

/// What the window below gives of some rows.
fn folded(key: u8, rows: &[Row], time_ms: i64) -> Row {
    let sum = |values: Vec<i64>| (!values.is_empty()).then(|| values.iter().sum());
    Row {
        key,
        v: sum(rows.iter().filter_map(|row| row.v).collect()),
        s: rows.iter().filter_map(|row| row.s).max(),
        d: sum(rows.iter().filter_map(|row| row.d).collect()),
        time_ms,
    }
}

/// The end of the tumbling window that a time is in.
fn end_ms(time_ms: i64, size_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(size_ms) + size_ms
}

/// The results of the tumbling window below, in the order in which they fire.
fn tumbled(rows: &[Row]) -> Vec<Row> {
    let mut windows: BTreeMap<(i64, u8), Vec<Row>> = BTreeMap::new();
    for row in rows {
        windows.entry((end_ms(row.time_ms, INNER_MS), row.key)).or_default().push(row.clone());
    }
    windows.into_iter().map(|((end, key), rows)| folded(key, &rows, end - 1)).collect()
}

/// The results of a count window below, each with the watermark when it came.
fn counted(rows: &[Row], size: usize, slide: usize, delay_ms: i64) -> Vec<(Row, i64)> {
    let result = |(key, window, place): (u8, Vec<Row>, usize)| {
        let watermark_ms = rows[..place].iter().map(|row| row.time_ms - delay_ms).max();
        let time_ms = window.iter().map(|row| row.time_ms).max().unwrap();
        (folded(key, &window, time_ms), watermark_ms.unwrap_or(i64::MIN))
    };
    count_windows(rows, size, slide).into_iter().map(result).collect()
}

/// A tumbling window on top: what it shows, sorted, and how many results come too late for it.
fn on_top(results: Vec<(Row, i64)>, calls: &[usize]) -> (Shown, u64) {
    let (mut windows, mut late) = (BTreeMap::<(u8, i64), Vec<Row>>::new(), 0);
    for (row, watermark_ms) in results {
        let end_ms = end_ms(row.time_ms, OUTER_MS);
        match end_ms - 1 <= watermark_ms {
            true => late += 1,
            false => windows.entry((row.key, end_ms)).or_default().push(row),
        }
    }
    let mut shown = Shown::new();
    for ((key, end_ms), rows) in windows {
        let line = result(calls, &rows, &Default::default());
        let cells: Vec<&str> = line.split(' ').collect();
        // Three times, each of a date and a clock.
        let cells = cells[..cells.len() - 6].join(" ");
        let times = [end_ms - OUTER_MS, end_ms, end_ms - 1].map(time_text).join(" ");
        shown.entry(format!("k{key}")).or_default().push(format!("+I {cells} {times}"));
    }
    (shown, late)
}

/// What the engine shows, and how many rows are late.
fn run<const N: usize>(
    case: &Case,
    setting: Setting,
    to: [Option<(WindowKind, Emit)>; N],
) -> Result<(Shown, u64), TestCaseError> {
    let (input, output) = (folder(), folder());
    case.write_input(input.path());
    let sink = output.path().join("rows.jsonl");
    let mut script = script(case, input.path(), &sink.display().to_string());
    if N == 3 {
        script = script.replace("TABLE below,", "TABLE middle,").replace("INSERT", BETWEEN);
    }
    let life = live_as(&script, setting, None, &|plan| changed(plan, to));
    prop_assert!(life.failure.is_none(), "{:?}", life.failure);
    let bytes = std::fs::read(&sink).unwrap_or_default();
    Ok((shown(&bytes, case.calls.len()), life.late_count))
}

fn case(window: Window, calls: Vec<usize>, delay_ms: i64, rows: Vec<Row>) -> Case {
    Case { window, calls, delay_ms, files: vec![rows] }
}

fn windows() -> impl Strategy<Value = Window> {
    let global = |(every_rows, at_end, mode)| {
        let at_end = at_end || every_rows == 0;
        let every_rows = (every_rows > 0).then_some(every_rows);
        Window::Global(Global { every_rows, event_delay_ms: None, at_end, mode })
    };
    prop_oneof![
        (1..6usize, 1..6usize).prop_map(|(size, slide)| Window::Count(size, slide)),
        (0..4u64, any::<bool>(), prop_oneof![Just(Mode::Retracting), Just(Mode::Purging)])
            .prop_map(global),
    ]
}

proptest! {
    #![proptest_config(config(32))]

    /// No row is late: they are 6 s apart at most.
    #[test]
    fn behind_a_tumbling_window(
        (window, rows, setting) in (windows(), rows(0..60), settings()),
        calls in prop::collection::vec(0..CALLS.len(), 1..4),
    ) {
        let case = case(window, calls, 7_000, rows);
        let below = tumbled(&case.rows());
        let expected = match window {
            Window::Count(size, slide) => count(&below, &case.calls, size, slide),
            Window::Global(when) => global(&below, &case.calls, when, 0),
        };
        prop_assert_eq!(run(&case, setting, [None, Some(case.kind())])?, (expected, 0));
    }

    #[test]
    fn behind_a_count_window(
        (size, slide) in (1..6usize, 1..6usize),
        (window, rows, setting) in (windows(), rows(0..60), settings()),
        calls in prop::collection::vec(0..CALLS.len(), 1..4),
    ) {
        let case = case(window, calls, 0, rows);
        let results = counted(&case.rows(), size, slide, 0);
        let below: Vec<Row> = results.into_iter().map(|(row, _)| row).collect();
        let expected = match window {
            Window::Count(size, slide) => count(&below, &case.calls, size, slide),
            Window::Global(when) => global(&below, &case.calls, when, 0),
        };
        let inner = Case { window: Window::Count(size, slide), ..case.clone() };
        prop_assert_eq!(run(&case, setting, [Some(inner.kind()), Some(case.kind())])?, (expected, 0));
    }

    /// A window that shows rows as they come, behind another one: what it feeds drains its rings as they fill.
    #[test]
    fn behind_a_count_window_behind_a_tumbling_one(
        (size, slide) in (1..4usize, 1..4usize),
        (window, rows, setting) in (windows(), rows(0..60), settings()),
        calls in prop::collection::vec(0..CALLS.len(), 1..4),
    ) {
        let case = case(window, calls, 7_000, rows);
        let between = counted(&tumbled(&case.rows()), size, slide, 0);
        let between: Vec<Row> = between.into_iter().map(|(row, _)| row).collect();
        let expected = match window {
            Window::Count(size, slide) => count(&between, &case.calls, size, slide),
            Window::Global(when) => global(&between, &case.calls, when, 0),
        };
        let inner = Case { window: Window::Count(size, slide), ..case.clone() };
        let windows = [None, Some(inner.kind()), Some(case.kind())];
        prop_assert_eq!(run(&case, setting, windows)?, (expected, 0));
    }

    /// Results that come too late for a window on top are the same ones at all settings.
    #[test]
    fn a_tumbling_window_on_top(
        (size, slide) in (1..6usize, 1..6usize),
        (rows, setting, delay_ms) in (rows(0..80), settings(), 0..3_000i64),
        calls in prop::sample::subsequence(UNORDERED.to_vec(), 1..4),
    ) {
        let case = case(Window::Count(size, slide), calls, delay_ms, rows);
        let expected = on_top(counted(&case.rows(), size, slide, delay_ms), &case.calls);
        let (mut shown, late) = run(&case, setting, [Some(case.kind()), None])?;
        shown.values_mut().for_each(|lines| lines.sort());
        let mut sorted = expected.0;
        sorted.values_mut().for_each(|lines| lines.sort());
        prop_assert_eq!((shown, late), (sorted, expected.1));
    }
}

/// A query over nothing, its plan changed.
fn plan(query: &str, change: &dyn Fn(&mut Plan)) -> Plan {
    let output = Output::new(Box::new(std::io::sink()), Style::JsonLines);
    let script = source(std::path::Path::new("/nowhere"), 0) + query;
    let mut plan = bind(&script, &output, &[]).unwrap_or_else(|errors| panic!("{errors:?}")).plan;
    change(&mut plan);
    plan
}

const COUNT_2: WindowKind = WindowKind::Count { size_rows: 2, slide_rows: 2 };

fn every(rows: u64) -> WindowKind {
    WindowKind::Global { every_rows: Some(rows), at_end: false, purges: false }
}

fn early(delay_ms: i64, clock: EmitClock) -> Emit {
    Emit { early_delay_ms: Some(delay_ms), early_clock: clock, ..Emit::AT_END }
}

fn group(from: &str, select: &str, by: &str) -> String {
    format!(
        "SELECT {select} FROM TABLE(TUMBLE(TABLE {from}, DESCRIPTOR(ts), INTERVAL '1' SECOND)) \
         GROUP BY {by} window_start, window_end, window_time"
    )
}

/// Refused with a message that has `part` in it.
fn refused(query: &str, to: [Option<(WindowKind, Emit)>; 2], part: &str) {
    let plan = plan(query, &|plan| changed(plan, to));
    let Err(error) = Launch::new(&plan, Some(1), None) else {
        panic!("not refused: {query}, {part}")
    };
    assert!(error.to_string().contains(part), "{error} does not say {part:?}");
}

#[test]
fn what_is_not_sound_is_refused() {
    let once = Emit::AT_END;
    let simple = group("t", "k, COUNT(*)", "k,") + ";";
    let one = |kind, emit| [Some((kind, emit)), None];
    let empty = WindowKind::Count { size_rows: 0, slide_rows: 1 };
    refused(&simple, one(empty, once), "size is a number of rows");
    let still = WindowKind::Count { size_rows: 1, slide_rows: 0 };
    refused(&simple, one(still, once), "slide is a number of rows");
    refused(&simple, one(every(0), once), "distance of a global window's firings");
    refused(&simple, one(COUNT_2, early(5, EmitClock::Event)), "fires when it is full");
    let late = Emit { late_delay_ms: Some(0), ..once };
    refused(&simple, one(every(1), late), "no late rows");
    let never = WindowKind::Global { every_rows: None, at_end: false, purges: true };
    refused(&simple, one(never, once), "never fires");

    let below = group("t", "window_time AS ts, k, s, SUM(v) AS v", "k, s,");
    let nested = |by: &str| {
        let outer = group("below", "COUNT(*)", by);
        format!("CREATE VIEW below AS {below};\n{outer};")
    };
    let top = |kind, emit| [None, Some((kind, emit))];
    refused(&nested("k,"), top(COUNT_2, once), "keys of that window among its own");
    refused(&nested(""), top(every(2), once), "keys of that window among its own");
    let timed = WindowKind::Global { every_rows: None, at_end: true, purges: false };
    let ticking = early(1000, EmitClock::Event);
    refused(&nested("k, s,"), top(timed, ticking), "cannot fire by event time");
    let both = |inner, outer| [Some((inner, once)), Some((outer, once))];
    refused(&nested("k, s,"), both(every(2), COUNT_2), "updates");
    let hop = WindowKind::Hop { size_ms: 2000, slide_ms: 1000, offset_ms: 0 };
    refused(&nested("k,"), both(COUNT_2, hop), "tumbling and fire once");
    let session = WindowKind::Session { gap_ms: 1000 };
    refused(&nested("k,"), both(COUNT_2, session), "tumbling and fire once");
    let tumble = WindowKind::Tumble { size_ms: 1000, offset_ms: 0 };
    let shows_early = [Some((COUNT_2, once)), Some((tumble, ticking))];
    refused(&nested("k,"), shows_early, "tumbling and fire once");
    let end = WindowKind::Global { every_rows: None, at_end: true, purges: true };
    refused(&nested("k,"), both(end, tumble), "fires by time");

    let twice = "CREATE VIEW twice AS SELECT * FROM t UNION ALL SELECT * FROM t;\n";
    let twice = twice.to_owned() + &group("twice", "k, COUNT(*)", "k,") + ";";
    refused(&twice, one(COUNT_2, once), "UNION ALL of a table with itself");
    let sets = group("t", "k, s, COUNT(*)", "GROUPING SETS ((k), (s)),") + ";";
    refused(&sets, one(COUNT_2, once), "grouping sets");
    let table = "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND));";
    let table = plan(table, &|plan| {
        for node in &mut plan.nodes {
            if let Op::WindowTable { window, .. } = &mut node.op {
                window.kind = COUNT_2;
            }
        }
    });
    let refusal = Launch::new(&table, Some(1), None).err().map(|error| error.to_string());
    assert!(refusal.is_some_and(|text| text.contains("not table functions")));
    let late = plan(&simple, &|plan| {
        changed(plan, one(COUNT_2, once));
        let is_window = |node: &Node| matches!(node.op, Op::WindowAggregate { .. });
        let of = plan.nodes.iter().position(is_window).unwrap();
        let schema = plan.nodes[0].schema.clone();
        plan.nodes.push(Node { op: Op::Late { of }, schema });
    });
    let refusal = Launch::new(&late, Some(1), None).err().map(|error| error.to_string());
    assert!(refusal.is_some_and(|text| text.contains("no row is late")));
}

#[test]
fn what_is_sound_is_not_refused() {
    let (once, below) = (Emit::AT_END, group("t", "window_time AS ts, k, SUM(v) AS v", "k,"));
    let nested = format!("CREATE VIEW below AS {below};\n{};", group("below", "SUM(v)", ""));
    let discarding = Emit { mode: EmitMode::Discarding, ..once };
    let end = WindowKind::Global { every_rows: None, at_end: true, purges: false };
    let tumble = WindowKind::Tumble { size_ms: 1000, offset_ms: 0 };
    let sound = [
        [None, Some((end, once))],
        [Some((COUNT_2, once)), Some((end, once))],
        [Some((COUNT_2, once)), Some((tumble, once))],
        [Some((every(2), discarding)), Some((tumble, once))],
        [None, Some((end, early(1000, EmitClock::Processing)))],
    ];
    for to in sound {
        let plan = plan(&nested, &|plan| changed(plan, to));
        if let Err(error) = Launch::new(&plan, Some(1), None) {
            panic!("{to:?}: {error}");
        }
    }
}

#[test]
fn plans_are_explained() {
    let query = group("t", "k, COUNT(*) AS c", "k,") + ";";
    let text =
        |kind, emit| explain(&plan(&query, &|plan| changed(plan, [Some((kind, emit)), None])));
    let sliding = WindowKind::Count { size_rows: 10, slide_rows: 1 };
    let count = text(sliding, Emit::AT_END);
    for line in [
        "WindowAggregate COUNT(slide 1 rows, size 10 rows) on ts",
        "late: no row is",
        "fires: at every row of a key",
    ] {
        assert!(count.contains(line), "{count}");
    }
    assert!(text(COUNT_2, Emit::AT_END).contains("COUNT(size 2 rows) on ts"));
    let kind = WindowKind::Global { every_rows: Some(5), at_end: true, purges: false };
    let global = text(kind, early(60_000, EmitClock::Event));
    for line in [
        "WindowAggregate GLOBAL on ts",
        "fires: at every 5 rows of a key",
        "fires: when the input has ended",
        "fires early: every 1 min of event time",
        "shows: -U of the old result and +U of the new",
    ] {
        assert!(global.contains(line), "{global}");
    }
    let purging = WindowKind::Global { every_rows: Some(5), at_end: false, purges: true };
    assert!(text(purging, Emit::AT_END).contains("shows: +I, and forgets the rows"));
}
