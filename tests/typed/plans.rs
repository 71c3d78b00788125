//! The builder and SQL make the same plan: the same operators over the same windows.

use tidemill::connector::{Output, Style};
use tidemill::job::bind;
use tidemill::plan::{Op, Plan, optimise};
use tidemill::{Job, Options, RecordFile, Span, Stream, Window};

use super::events::{Event, Written};

const TABLE: &str = "CREATE TABLE events (ts TIMESTAMP(3), key BIGINT, amount BIGINT, name STRING,
    WATERMARK FOR ts AS ts - INTERVAL '0.5' SECOND) WITH ('connector' = 'filesystem', 'path' = '$PATH', 'format' = 'json');
    CREATE TABLE results (k BIGINT, c BIGINT, s BIGINT) WITH ('connector' = 'blackhole');\n";

/// A plan's operators, with what their windows and calls are.
fn shape(plan: &Plan) -> Vec<String> {
    let of_node = |op: &Op| match op {
        Op::Scan { .. } => "scan".to_owned(),
        Op::Calc { filter, .. } => format!("calc, filters: {}", filter.is_some()),
        Op::WindowAggregate { window, aggregates, emit, keys, .. } => {
            let functions =
                aggregates.iter().map(|call| format!("{} {}", call.function, call.distinct));
            format!(
                "{:?} {:?} {keys:?} {emit:?} {:?}",
                window.kind,
                window.domain,
                functions.collect::<Vec<_>>()
            )
        }
        Op::Sink { .. } => "sink".to_owned(),
        other => format!("{other:?}"),
    };
    plan.nodes.iter().map(|node| of_node(&node.op)).collect()
}

fn sql(path: &str, query: &str) -> Vec<String> {
    let text = TABLE.replace("$PATH", path) + query;
    let output = Output::new(Box::new(std::io::sink()), Style::Csv);
    let script = bind(&text, &output, &[]).unwrap_or_else(|errors| panic!("{errors:?}"));
    shape(&optimise(script.plan))
}

fn typed(file: &Written, build: impl FnOnce(Stream<Event>) -> Job) -> Vec<String> {
    let source: RecordFile<Event> = file.source();
    let events =
        Job::new("twin").source("events", source).watermark(|e| e.at_ms, Span::millis(500));
    shape(&build(events).plan(&Options::default()).unwrap())
}

#[test]
fn twins_have_one_plan() {
    let file = Written::new(&[Event { at_ms: 0, key: 0, amount: 0, name: String::new() }]);
    let path = file.path();
    assert_eq!(
        typed(&file, |events| {
            events
                .filter(|e| e.amount > 0)
                .key_by(|e| e.key)
                .window(Window::tumbling(Span::seconds(10)))
                .aggregate(|on| (on.count(), on.sum(|e| e.amount)))
                .sink(|_| {})
        }),
        sql(
            &path,
            "INSERT INTO results SELECT key, COUNT(*), SUM(amount) FROM events WHERE amount > 0
             GROUP BY key, TUMBLE(ts, INTERVAL '10' SECOND);"
        )
    );
    assert_eq!(
        typed(&file, |events| {
            events
                .key_by(|e| e.key)
                .window(Window::sliding(Span::seconds(10), Span::seconds(2)))
                .aggregate(|on| (on.count_distinct(|e| e.amount), on.max(|e| e.amount)))
                .sink(|_| {})
        }),
        sql(
            &path,
            "INSERT INTO results SELECT key, COUNT(DISTINCT amount), MAX(amount) FROM events
             GROUP BY key, HOP(ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND);"
        )
    );
    assert_eq!(
        typed(&file, |events| {
            events
                .key_by(|e| e.key)
                .window(Window::session(Span::seconds(5)))
                .aggregate(|on| (on.count(), on.sum(|e| e.amount)))
                .sink(|_| {})
        }),
        sql(
            &path,
            "INSERT INTO results SELECT key, COUNT(*), SUM(amount) FROM events
             GROUP BY key, SESSION(ts, INTERVAL '5' SECOND);"
        )
    );
}
