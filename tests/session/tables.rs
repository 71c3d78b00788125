//! Tables of records in scripts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::{Options, Records, Session, Span};

use super::events::{SECONDS, Written, events, mistake, nothing, second, simulated};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_script_over_records_is_a_loop_over_them(events in events()) {
        let written = Written::new(&events);
        let session = written.session();
        let mut groups = BTreeMap::new();
        for event in &events {
            let group = groups.entry((second(event), event.key)).or_insert((0, 0, String::new()));
            group.0 += 1;
            group.1 += event.amount;
            group.2 = event.name.clone().max(group.2.clone());
        }
        let line = |((_, key), (count, sum, name))| format!("{key},{count},{sum},{name}");
        let mut expected: Vec<String> = groups.into_iter().map(line).collect();
        expected.sort();
        for shards in 1..=3 {
            let path = written.path(&format!("out-{shards}.csv"));
            let script = format!(
                "CREATE TABLE o (k BIGINT, c BIGINT, s BIGINT, n STRING) \
                 WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv'); \
                 INSERT INTO o SELECT k, COUNT(*), SUM(amount), MAX(name) {SECONDS};"
            );
            let report = session.sql(&script).unwrap().run(simulated(shards)).unwrap();
            prop_assert_eq!(report.totals.rows, events.len() as u64);
            prop_assert_eq!(report.totals.late, 0);
            let written = std::fs::read_to_string(&path).unwrap_or_default();
            let mut lines: Vec<String> = written.lines().map(|line| line.replace("\"\"", "")).collect();
            lines.sort();
            prop_assert_eq!(&lines, &expected);
        }
    }
}

#[test]
fn what_no_query_reads_is_not_computed() {
    let mut session = Session::new();
    session
        .table("numbers", Records::new(0..10_i64))
        .column("n", |n| *n)
        .column("trap", |_| -> i64 { panic!("computed") });
    let sum = |text: &str| {
        let rows = session.query(text).unwrap().rows::<i64>(Options::default()).unwrap();
        rows.sum::<Result<i64, _>>()
    };
    assert_eq!(sum("SELECT n FROM numbers").unwrap(), 45);
    let error = sum("SELECT trap FROM numbers").unwrap_err().to_string();
    assert!(error.contains("trap panicked: computed"), "{error}");
}

#[test]
fn tables_of_both_kinds_go_together() {
    let mut session = Session::new();
    session.table("a", Records::new([1_i64, 2])).column("n", |n| *n).processing_time("now");
    session.table("b", Records::new([3_u32])).column("n", |n| *n);
    let text = "CREATE TABLE c (n INT) WITH ('connector' = 'datagen', 'number-of-rows' = '1', 'fields.n.kind' = 'sequence', \
                'fields.n.start' = '4', 'fields.n.end' = '4'); \
                CREATE VIEW v AS SELECT n FROM a WHERE now IS NOT NULL; \
                SELECT n FROM v UNION ALL SELECT n FROM b UNION ALL SELECT n FROM c;";
    let rows = session.query(text).unwrap().rows::<Option<i64>>(Options::default()).unwrap();
    let mut rows: Vec<i64> = rows.map(|row| row.unwrap().unwrap()).collect();
    rows.sort_unstable();
    assert_eq!(rows, [1, 2, 3, 4]);
}

#[test]
fn what_options_say_wins_over_the_script() {
    let session = nothing().session();
    let text = "SET 'tidemill.chunk-bytes' = '77'; SET 'execution.checkpointing.interval' = '3 s'; SELECT k FROM events;";
    let job = session.sql(text).unwrap();
    let settings = job.plan(&Options::default()).settings;
    assert_eq!((settings.chunk_bytes, settings.snapshot_interval_ms), (77, Some(3000)));
    let options = Options::default().chunk_bytes(5).snapshot_interval(Span::seconds(1));
    let settings = job.plan(&options).settings;
    assert_eq!((settings.chunk_bytes, settings.snapshot_interval_ms), (5, Some(1000)));
}

#[test]
fn mistakes_have_their_places() {
    let written = nothing();
    let session = written.session();
    let refused = |text: &str| mistake(session.sql(text));
    assert_eq!(refused("SELECT k,\n  amuont FROM events"), "2:3: there is no column 'amuont' here");
    assert_eq!(
        refused("INSERT INTO events SELECT * FROM events"),
        "1:13: the table 'events' is the program's, which only gives rows"
    );
    assert_eq!(
        refused(
            "CREATE TABLE events (a INT) WITH ('connector' = 'blackhole'); SELECT k FROM events;"
        ),
        "1:14: 'events' exists already"
    );
    assert_eq!(
        refused("SET 'tidemill.table.events.path' = 'x'; SELECT k FROM events;"),
        "1:36: 'tidemill.table.events.…' is set, and the program's table 'events' has no options"
    );
    assert_eq!(
        refused("EXPLAIN SELECT k FROM events"),
        "the script starts nothing, it only explains"
    );
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let refused = |build: fn(&mut Session)| {
        let mut session = Session::new();
        build(&mut session);
        mistake(session.sql("SELECT 1 FROM t"))
    };
    let none = refused(|session| {
        session.table("t", Records::new(0..3_i64));
    });
    assert_eq!(none, "the table 't' has no columns");
    let twice = refused(|session| {
        session.table("t", Records::new(0..3_i64)).column("n", |n| *n).column("n", |n| *n);
    });
    assert_eq!(twice, "the table 't' has two columns 'n'");
    let tables = refused(|session| {
        session.table("t", Records::new(0..3_i64)).column("n", |n| *n);
        session.table("t", Records::new(0..3_i64)).column("n", |n| *n);
    });
    assert_eq!(tables, "there are two tables 't'");
    let watermarks = refused(|session| {
        let table = session.table("t", Records::new(0..3_i64));
        table.watermark("a", |n| *n, Span::millis(0)).watermark("b", |n| *n, Span::millis(0));
    });
    assert_eq!(watermarks, "the table 't' has two watermarks");
}
