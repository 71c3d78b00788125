//! What scripts bind to: windows, settings, pruning, and what a Flink would refuse.

use super::{Catalog, bind};
use crate::batch::{DataType, Schema};
use crate::expr::{Expr, ExprKind, Value};
use crate::plan::{Node, Op, Plan, assert_valid, explain, lineages, optimise};
use crate::sql::{Script, bind_script};
use crate::window::{Emit, EmitClock, EmitMode, TimeDomain, WindowKind, WindowSpec};

const SRC: &str = "\
CREATE TABLE src (ts TIMESTAMP(3), k STRING, a STRING, v INT, unused STRING, up AS UPPER(k),
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'x', 'format' = 'json', 'topic' = 't', 'json.ignore-parse-errors' = 'true');
";

pub(super) fn script(sql: &str) -> Script {
    let text = format!("{SRC}{sql}");
    let bound = bind(&text).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(|error| error.render("test", &text)).collect::<String>())
    });
    assert_valid(&bound.plan);
    bound
}

fn aggregates(plan: &Plan) -> Vec<(&WindowSpec, &Emit)> {
    let found = plan.nodes.iter().filter_map(|node| match &node.op {
        Op::WindowAggregate { window, emit, .. } => Some((window, emit)),
        _ => None,
    });
    found.collect()
}

fn kind(call: &str) -> WindowKind {
    let sql =
        format!("SELECT window_start, COUNT(*) FROM {call} GROUP BY window_start, window_end;");
    aggregates(&script(&sql).plan)[0].0.kind
}

#[test]
fn window_functions_take_positions_and_names() {
    let tumble = WindowKind::Tumble { size_ms: 60_000, offset_ms: -3_000 };
    assert_eq!(
        kind("TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE, INTERVAL '-3' SECOND))"),
        tumble
    );
    assert_eq!(
        kind(
            "TABLE(tumble(OFFSET => INTERVAL -'3' SECOND, size => INTERVAL 1 MINUTE, TIMECOL => DESCRIPTOR(ts), DATA => TABLE src))"
        ),
        tumble
    );
    assert_eq!(
        kind(
            "TUMBLE(TABLE src, DESCRIPTOR(`ts`), INTERVAL '60' SECONDS, INTERVAL '-0:03' MINUTE TO SECOND)"
        ),
        tumble
    );
    let hop = WindowKind::Hop { size_ms: 10_000, slide_ms: 2_000, offset_ms: 0 };
    assert_eq!(
        kind("TABLE(HOP(TABLE src, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND))"),
        hop
    );
    let cumulate = WindowKind::Cumulate { size_ms: 86_400_000, step_ms: 3_600_000, offset_ms: 0 };
    assert_eq!(
        kind("TABLE(CUMULATE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY))"),
        cumulate
    );
    let session = WindowKind::Session { gap_ms: 500 };
    assert_eq!(
        kind(
            "TABLE(SESSION((SELECT ts FROM src WHERE v > 1), DESCRIPTOR(ts), INTERVAL '0.5' SECOND))"
        ),
        session
    );
}

#[test]
fn group_windows_and_their_functions() {
    let bound = script(
        "SELECT HOP_START(ts, INTERVAL '3' SECOND, INTERVAL '10' SECOND), k, HOP_ROWTIME(ts, INTERVAL '3' SECOND, INTERVAL '10' SECOND), SUM(v) * 2 + COUNT(*)
         FROM src GROUP BY k, HOP(ts, INTERVAL '3' SECOND, INTERVAL '10' SECOND) HAVING SUM(v) > 1;",
    );
    let (window, emit) = aggregates(&bound.plan)[0];
    assert_eq!(window.kind, WindowKind::Hop { size_ms: 10_000, slide_ms: 3_000, offset_ms: 0 });
    assert!(window.group_window && emit.is_once() && window.time_zone.is_none());
    let sink = bound.plan.nodes.last().expect("a sink");
    let names: Vec<&str> = sink.schema.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["EXPR$0", "k", "EXPR$2", "EXPR$3"]);
}

#[test]
fn windows_that_rows_carry() {
    let inner = "SELECT window_start AS ws, window_end AS we, window_time AS wt, k, COUNT(*) AS c
        FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, window_time, k";
    let bound = script(&format!("SELECT ws, we, MAX(c) FROM ({inner}) GROUP BY ws, we;"));
    assert!(matches!(aggregates(&bound.plan)[1].0.kind, WindowKind::Attached { .. }));
    let bound = script(&format!(
        "WITH w AS ({inner}) SELECT window_start, SUM(c) FROM TABLE(TUMBLE(TABLE w, DESCRIPTOR(wt), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end;"
    ));
    assert_eq!(
        aggregates(&bound.plan)[1].0.kind,
        WindowKind::Tumble { size_ms: 60_000, offset_ms: 0 }
    );
    // What reads the window's columns as values needs them in the rows.
    let bound = script(
        "SELECT k, MAX(window_end) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k;",
    );
    assert!(bound.plan.nodes.iter().any(|node| matches!(node.op, Op::WindowTable { .. })));
    assert!(matches!(aggregates(&bound.plan)[0].0.kind, WindowKind::Attached { .. }));
}

#[test]
fn time_domains_and_zones() {
    let bound = script(
        "SET 'table.local-time-zone' = 'Asia/Shanghai';
         CREATE TABLE l (ms BIGINT, t AS TO_TIMESTAMP_LTZ(ms, 3), p AS PROCTIME(), WATERMARK FOR t AS t) WITH ('connector' = 'x');
         SELECT window_time, COUNT(*) FROM TABLE(TUMBLE(TABLE l, DESCRIPTOR(t), INTERVAL '1' DAY)) GROUP BY window_start, window_end, window_time;
         SELECT TUMBLE_PROCTIME(p, INTERVAL '1' DAY) FROM l GROUP BY TUMBLE(p, INTERVAL '1' DAY);",
    );
    let windows = aggregates(&bound.plan);
    assert_eq!(windows[0].0.time_zone, Some(chrono_tz::Tz::Asia__Shanghai));
    assert_eq!(
        (windows[0].0.domain, windows[1].0.domain),
        (TimeDomain::Event, TimeDomain::Processing)
    );
    let scans = bound.plan.nodes.iter().filter(|node| matches!(node.op, Op::Scan { .. })).count();
    assert_eq!(scans, 1, "one table is one scan:\n{}", explain(&bound.plan));
    let types = bound.plan.nodes.iter().filter(|node| matches!(node.op, Op::Sink { .. }));
    assert!(
        types.into_iter().all(|sink| sink.schema.fields[0].data_type == DataType::TimestampLtz(3))
    );
}

#[test]
fn settings_reach_the_plan() {
    let text = format!(
        "{SRC} SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '1 min';
         SET 'table.exec.emit.late-fire.enabled' = 'true'; SET 'table.exec.emit.late-fire.delay' = '0';
         SET 'table.exec.emit.allow-lateness' = '10s'; SET 'tidemill.emit.early-fire.clock' = 'event-time';
         SET 'parallelism.default' = '4'; SET 'table.exec.source.idle-timeout' = '2 s'; SET 'some.flink-key' = '1';
         SELECT window_start, COUNT(*) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' HOUR)) GROUP BY window_start, window_end;"
    );
    let overrides = [
        ("parallelism.default".to_string(), "2".to_string()),
        ("tidemill.emit.mode".into(), "accumulating".into()),
    ];
    let bound = bind_script(&text, &Catalog, &overrides).expect("it binds");
    let expected = Emit {
        early_delay_ms: Some(60_000),
        early_clock: EmitClock::Event,
        late_delay_ms: Some(0),
        allow_lateness_ms: 10_000,
        mode: EmitMode::Accumulating,
    };
    assert_eq!(*aggregates(&bound.plan)[0].1, expected);
    assert_eq!((bound.plan.settings.shards, bound.plan.settings.idle_timeout_ms), (Some(2), 2_000));
    assert_eq!(bound.warnings.len(), 1, "{:?}", bound.warnings);
    assert!(bound.flink_refusals[0].message.contains("early and late firing"));
    assert_eq!(bound.print_sink_count, 1);
}

#[test]
fn updates_go_only_where_they_are_taken() {
    let early = "SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '0 s';";
    let query = "SELECT k, COUNT(*) AS c, TUMBLE_ROWTIME(ts, INTERVAL '1' HOUR) AS rt FROM src GROUP BY TUMBLE(ts, INTERVAL '1' HOUR), k";
    let sink =
        "CREATE TABLE f (k STRING, c BIGINT, rt TIMESTAMP(3)) WITH ('connector' = 'filesystem');";
    let refused = bind(&format!("{SRC}{early}{sink} INSERT INTO f {query};"))
        .expect_err("files take inserts");
    assert!(refused[0].message.contains("takes only inserts"), "{refused:?}");
    let again =
        format!("{SRC}{early} SELECT SUM(c) FROM ({query}) GROUP BY TUMBLE(rt, INTERVAL '1' DAY);");
    let refused = bind(&again).expect_err("windows take inserts");
    assert!(refused[0].message.contains("windows take only inserts"), "{refused:?}");
    let discarding = "SET 'tidemill.emit.mode' = 'discarding';";
    script(&format!("{early}{sink}{discarding} INSERT INTO f {query};"));
}

#[test]
fn grouping_sets_expand() {
    let bound = script(
        "SELECT k, a, COUNT(a), GROUPING_ID(k, a) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' HOUR))
         GROUP BY window_start, window_end, ROLLUP (k, a);",
    );
    let sets = bound.plan.nodes.iter().find_map(|node| match &node.op {
        Op::Expand { sets, .. } => Some(sets),
        _ => None,
    });
    let ids: Vec<(usize, i64)> =
        sets.expect("an Expand").iter().map(|set| (set.nulled.len(), set.grouping_id)).collect();
    assert_eq!(ids, [(0, 0), (1, 1), (2, 3)]);
    // The argument `a` is not the key `a`, which a set may null.
    let call = bound.plan.nodes.iter().find_map(|node| match &node.op {
        Op::WindowAggregate { keys, aggregates, .. } => {
            Some((keys.clone(), aggregates[0].args.clone()))
        }
        _ => None,
    });
    let (keys, args) = call.expect("an aggregation");
    assert!(!keys.contains(&args[0]), "{keys:?} {args:?}");
}

#[test]
fn scans_read_only_what_is_used() {
    let bound = script(
        "CREATE TABLE o (k STRING) WITH ('connector' = 'print'); INSERT INTO o SELECT up FROM src WHERE v > 1;",
    );
    let Op::Scan { columns, .. } = &bound.plan.nodes[0].op else {
        panic!("{}", explain(&bound.plan))
    };
    let text: Vec<String> = columns.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["$0", "$3", "UPPER($1)"], "ts for the watermark, v and up");
    let calcs = bound.plan.nodes.iter().filter(|node| matches!(node.op, Op::Calc { .. })).count();
    assert_eq!(calcs, 1, "{}", explain(&bound.plan));
}

#[test]
fn literals_are_typed_as_in_flink() {
    let bound = script(
        "SELECT 1, 1.5, 0.001, 00.50, .5, 5., 1e3, 3000000000, -2147483648, -9223372036854775808, 'abc', DATE '2024-1-1',
         TIMESTAMP '2024-01-01 00:00:00.1', TIME '10:00:00', X'00ff', INTERVAL '1' DAY, TRUE, 1.50 FROM src;",
    );
    let types: Vec<String> = bound
        .plan
        .nodes
        .last()
        .expect("a sink")
        .schema
        .fields
        .iter()
        .map(|f| f.data_type.to_string())
        .collect();
    let expected = [
        "INT",
        "DECIMAL(2, 1)",
        "DECIMAL(4, 3)",
        "DECIMAL(4, 2)",
        "DECIMAL(1, 1)",
        "INT",
        "DOUBLE",
        "BIGINT",
        "INT",
        "BIGINT",
        "CHAR(3)",
        "DATE",
        "TIMESTAMP(1)",
        "TIME(0)",
        "BINARY(2)",
        "INTERVAL DAY TO SECOND",
        "BOOLEAN",
        "DECIMAL(3, 2)",
    ];
    assert_eq!(types, expected);
    let Some(Op::Calc { columns, .. }) =
        bound.plan.nodes.iter().map(|node| &node.op).find(|op| matches!(op, Op::Calc { .. }))
    else {
        panic!("{}", explain(&bound.plan));
    };
    assert_eq!(columns[12].kind, ExprKind::Literal(Value::Int(1_704_067_200_100)));
    assert_eq!(columns[9].kind, ExprKind::Literal(Value::Int(i64::MIN)));
}

#[test]
fn overrides_swap_the_connector() {
    #[derive(Debug)]
    struct Seen(std::cell::RefCell<Vec<crate::format::Options>>);
    impl crate::sql::Connectors for Seen {
        fn source(
            &self,
            options: &crate::format::Options,
            schema: &crate::batch::Schema,
        ) -> Result<std::sync::Arc<dyn crate::connector::Source>, crate::error::OptionError>
        {
            self.0.borrow_mut().push(options.clone());
            Catalog.source(options, schema)
        }
        fn sink(
            &self,
            table: &str,
            options: &crate::format::Options,
            schema: &crate::batch::Schema,
        ) -> Result<std::sync::Arc<dyn crate::connector::Sink>, crate::error::OptionError> {
            Catalog.sink(table, options, schema)
        }
        fn select_sink(
            &self,
            schema: &crate::batch::Schema,
        ) -> std::sync::Arc<dyn crate::connector::Sink> {
            Catalog.select_sink(schema)
        }
    }
    let seen = Seen(Vec::new().into());
    let overrides = [
        ("tidemill.table.src.connector".to_string(), "filesystem".to_string()),
        ("tidemill.table.src.path".into(), "f".into()),
    ];
    bind_script(&format!("{SRC} SELECT k FROM src;"), &seen, &overrides).expect("it binds");
    let options = &seen.0.borrow()[0];
    let shown: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        shown,
        ["connector=filesystem", "format=json", "json.ignore-parse-errors=true", "path=f"]
    );
}

#[test]
fn statements_of_a_whole_script() {
    let bound = script(
        "-- a comment; with a semicolon
         ;; CREATE TEMPORARY TABLE IF NOT EXISTS o (k STRING NOT NULL, c BIGINT, PRIMARY KEY (k) NOT ENFORCED) COMMENT 'x' PARTITIONED BY (k) WITH ('connector' = 'print');
         CREATE TEMPORARY VIEW IF NOT EXISTS w (x, y) AS /* inner */ SELECT k, v FROM src;
         DROP VIEW IF EXISTS nothing; RESET 'a.b'; RESET;
         EXECUTE STATEMENT SET BEGIN
           INSERT INTO o SELECT x, y FROM w;
           INSERT INTO default_catalog.default_database.o (c, k) SELECT y, x FROM w AS t (x, y);
         END;
         EXPLAIN INSERT INTO o SELECT x, y FROM w;
         EXPLAIN PLAN FOR SELECT t.* FROM w AS t;
         SELECT k FROM src LIMIT 3;",
    );
    let sinks: Vec<(&str, Option<u64>)> = bound
        .plan
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            Op::Sink { table, limit, .. } => Some((table.as_str(), *limit)),
            _ => None,
        })
        .collect();
    assert_eq!(sinks, [("o", None), ("o", None), ("", Some(3))]);
    assert_eq!((bound.explains.len(), bound.print_sink_count), (2, 2));
}

#[test]
fn distinct_within_windows() {
    let window = "TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND))";
    let bound =
        script(&format!("SELECT DISTINCT window_start, window_end, UPPER(k) FROM {window};"));
    assert_eq!(
        aggregates(&bound.plan)[0].0.kind,
        WindowKind::Tumble { size_ms: 10_000, offset_ms: 0 }
    );
    script(&format!(
        "SELECT DISTINCT window_start, window_end, c FROM (SELECT window_start, window_end, k, COUNT(*) AS c FROM {window} GROUP BY window_start, window_end, k);"
    ));
}

#[test]
fn explain_shows_watermark_late_rule_and_exchange() {
    let bound = script(
        "CREATE TABLE o (s TIMESTAMP(3), k STRING, c BIGINT) WITH ('connector' = 'print');
         CREATE VIEW w AS SELECT window_start AS s, UPPER(k) AS u, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
           WHERE v > 1 + 1 GROUP BY window_start, window_end, UPPER(k);
         INSERT INTO o SELECT s, u, c FROM w UNION ALL SELECT ts, k, CAST(NULL AS BIGINT) FROM src;",
    );
    let expected = "\
Sink o
│    takes: s TIMESTAMP(3), k STRING, c BIGINT
└─ Calc
   │    select: s, u AS k, c
   └─ Union of 2
      │    watermark: the lowest of the inputs
      ├─ Calc
      │  │    select: window_start AS s, $f0 AS u, c
      │  └─ WindowAggregate TUMBLE(size 1 min) on ts
      │     │    aggregates: COUNT(*)
      │     │    exchange: by $f0
      │     │    late: a row is dropped, and counted, if its window has fired when it comes
      │     │    fires: when the watermark reaches window_end - 1 ms
      │     └─ Calc
      │        │    where: (v > 2)
      │        │    select: UPPER(k) AS $f0, ts
      │        └─ #0 Scan src
      │                decodes: ts, k, v
      │                watermark: (ts - 5 s) after each row, for rowtime ts
      └─ Calc
         │    select: ts, k, NULL AS EXPR$2
         └─ #0 (as above)
";
    assert_eq!(explain(&bound.plan), expected);
}

/// It once said of all windows without keys that they are pre-aggregated.
#[test]
fn explain_says_what_goes_to_the_one_shard() {
    let tumble = "TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE))";
    let session = "TABLE(SESSION(TABLE src, DESCRIPTOR(ts), INTERVAL '1' MINUTE))";
    let each_row = "SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '0 s';";
    let folded = "exchange: all rows to one shard, pre-aggregated on each\n";
    let by_value = "exchange: rows by their distinct value, the counts of all shards to one\n";
    let rows = "exchange: all rows to one shard\n";
    for (before, calls, from, said) in [
        ("", "COUNT(*), MAX(DISTINCT v), LISTAGG(k)", tumble, folded),
        ("", "COUNT(*), COUNT(DISTINCT v)", tumble, by_value),
        ("", "COUNT(DISTINCT k), COUNT(DISTINCT v)", tumble, rows),
        ("", "LISTAGG(DISTINCT k)", tumble, rows),
        ("", "COUNT(*)", session, rows),
        (each_row, "COUNT(*)", tumble, rows),
    ] {
        let text =
            format!("{before} SELECT {calls} FROM {from} GROUP BY window_start, window_end;");
        let plan = explain(&script(&text).plan);
        assert!(plan.contains(said), "{text}\n{plan}");
    }
}

#[test]
fn functions_with_a_syntax_of_their_own() {
    let bound = script(
        "SELECT EXTRACT(DAY FROM ts), FLOOR(ts TO HOUR), CEIL(1.5), POSITION('a' IN k), SUBSTRING(k FROM 2 FOR 3), TRIM(BOTH 'x' FROM k),
         TRIM(k), OVERLAY(k PLACING 'a' FROM 1 FOR 2), TIMESTAMPDIFF(SECOND, ts, ts), TIMESTAMPADD(DAY, 1, ts), CURRENT_DATE, TRY_CAST(k AS INT),
         JSON_VALUE(k, '$.a'), JSON_VALUE(k, '$.a' RETURNING INTEGER NULL ON EMPTY NULL ON ERROR), k LIKE 'a!%' ESCAPE '!', LEFT(k, 1), IF(v > 1, 1, 2)
         FROM src;",
    );
    let fields = &bound.plan.nodes.last().expect("a sink").schema.fields;
    let named: Vec<&str> = fields
        .iter()
        .map(|field| field.name.as_str())
        .filter(|name| !name.starts_with("EXPR$"))
        .collect();
    assert_eq!(named, ["CURRENT_DATE"]);
    assert_eq!((fields[12].data_type, fields[13].data_type), (DataType::STRING, DataType::Int));
}

#[test]
fn what_only_we_have_is_listed() {
    let bound = script(
        "CREATE TABLE t (k STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1000' SECOND) WITH ('connector' = 'x', 'ours' = '1');
         SELECT window_start, COUNT(DISTINCT k, ts) FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end;",
    );
    let listed: Vec<&str> =
        bound.flink_refusals.iter().map(|refusal| refusal.message.as_str()).collect();
    for part in ["more digits", "is not Flink's", "counts one column"] {
        assert_eq!(
            listed.iter().filter(|message| message.contains(part)).count(),
            1,
            "{part}: {listed:?}"
        );
    }
    assert!(
        bound.flink_refusals.iter().all(|refusal| refusal.span.is_some() && refusal.hint.is_some())
    );
}

/// Reads nothing but `a` of the rows that are late for the script's window, and of its results nothing.
fn only_late(plan: Plan) -> Plan {
    let Plan { mut nodes, settings } = plan;
    let is_window = |node: &Node| matches!(node.op, Op::WindowAggregate { .. });
    let of = nodes.iter().position(is_window).expect("it has one");
    let schema = nodes[nodes[of].op.late_input().expect("a window has one")].schema.clone();
    let at = schema.fields.iter().position(|field| field.name == "a").expect("it is read");
    let (field, last) = (schema.fields[at].clone(), nodes.len());
    let mut sink = nodes.last().expect("a sink").clone();
    nodes.truncate(last - 1);
    nodes.push(Node { op: Op::Late { of }, schema });
    let columns = vec![Expr::column(at, field.data_type, field.nullable)];
    let schema = Schema::new(vec![field]);
    let op = Op::Calc { input: last - 1, filter: None, columns };
    nodes.push(Node { op, schema: schema.clone() });
    let Op::Sink { input, .. } = &mut sink.op else { panic!("the last node is a sink") };
    *input = last;
    nodes.push(Node { op: sink.op, schema });
    optimise(Plan { nodes, settings })
}

#[test]
fn late_rows_keep_the_columns_that_are_read() {
    let windows = "FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k;";
    let sql = format!("SELECT k, COUNT(a), MAX(v), SUM(v) {windows}");
    let plan = only_late(script(&sql).plan);
    assert_valid(&plan);
    let names =
        |node: &Node| node.schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
    let late = plan.nodes.iter().position(|node| matches!(node.op, Op::Late { .. }));
    let late = late.expect("it is read");
    let mut columns = names(&plan.nodes[late]);
    columns.sort();
    assert_eq!(columns, ["a", "k", "ts"], "v is read by calls alone, whose results nobody reads");
    let calls = plan.nodes.iter().find_map(|node| match &node.op {
        Op::WindowAggregate { aggregates, .. } => Some(aggregates.len()),
        _ => None,
    });
    assert_eq!(calls, Some(0));
    let lineages = lineages(&plan);
    assert!(lineages[late].rows().starts_with("late for window Tumble"), "{:?}", lineages[late]);
    assert!(explain(&plan).contains("late: a row is handed on, and counted"), "{}", explain(&plan));
}
