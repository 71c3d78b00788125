//! Plans with functions in them, put together from what SQL gives and pieces in Rust.

use std::sync::Arc;

use tidemill::agg::{AggregateCall, AggregateFunction};
use tidemill::batch::{DataType, Field, Schema, TimeAttribute};
use tidemill::connector::{Output, Style};
use tidemill::job::bind;
use tidemill::plan::{Apply, Node, Op, Plan, Process, ProcessWindow};
use tidemill::window::{Emit, TimeDomain, WindowKind, WindowSpec};

/// The rows of the table.
pub(crate) const SOURCE: &str = "SELECT k, v, w, ts FROM t";
/// Results of windows.
pub(crate) const WINDOWED: &str = "SELECT k, COUNT(*), SUM(w), window_start, window_end, window_time FROM TABLE(TUMBLE(TABLE t, \
     DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY k, window_start, window_end, window_time";

/// The window's columns of both kinds of input.
pub(crate) fn window(lateness_ms: i64) -> Option<ProcessWindow> {
    Some(ProcessWindow { start: 3, end: 4, time: 5, lateness_ms })
}

/// An operator over the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    op: Op,
    schema: Schema,
}

impl Piece {
    pub(crate) fn process(
        keys: &[usize],
        window: Option<ProcessWindow>,
        function: Arc<dyn Process>,
    ) -> Self {
        let schema = function.schema().clone();
        Self { op: Op::Process { input: 0, keys: keys.to_vec(), window, function }, schema }
    }

    pub(crate) fn apply(function: Arc<dyn Apply>) -> Self {
        let schema = function.schema().clone();
        Self { op: Op::Apply { input: 0, function }, schema }
    }

    /// Every row twice, in two ways.
    pub(crate) fn twice() -> Self {
        Self { op: Op::Union { inputs: vec![0, 0] }, schema: Schema::new(Vec::new()) }
    }

    /// Rows and different numbers by key, in windows over columns key, number, time.
    pub(crate) fn windowed(size_ms: i64, slide_ms: i64) -> Self {
        let kind = match size_ms == slide_ms {
            true => WindowKind::Tumble { size_ms, offset_ms: 0 },
            false => WindowKind::Hop { size_ms, slide_ms, offset_ms: 0 },
        };
        Self::over(kind, Emit::AT_END, &[rows(), different()])
    }

    /// Rows and different numbers in windows of so many rows.
    pub(crate) fn of_rows(count: u64) -> Self {
        let kind = WindowKind::Count { size_rows: count, slide_rows: count };
        Self::over(kind, Emit::AT_END, &[rows(), different()])
    }

    pub(crate) fn over(kind: WindowKind, emit: Emit, aggregates: &[AggregateCall]) -> Self {
        let window = WindowSpec {
            kind,
            domain: TimeDomain::Event,
            time_column: 2,
            time_zone: None,
            group_window: false,
        };
        let mut fields = vec![Field::new("k", DataType::STRING)];
        fields.extend(aggregates.iter().map(|call| Field::new(&call.name, call.data_type)));
        let times = ["window_start", "window_end", "window_time"];
        fields.extend(times.map(|name| Field::new(name, DataType::Timestamp(3)).not_null()));
        let last = fields.len() - 1;
        fields[last].time_attribute = Some(TimeAttribute::Rowtime);
        let aggregates = aggregates.to_vec();
        let op = Op::WindowAggregate { input: 0, window, keys: vec![0], aggregates, emit };
        Self { op, schema: Schema::new(fields) }
    }
}

fn call(function: AggregateFunction, args: &[usize], distinct: bool, name: &str) -> AggregateCall {
    let call = AggregateCall::new(function, args.to_vec(), DataType::BigInt, DataType::BigInt);
    AggregateCall { distinct, name: name.into(), ..call }
}

fn rows() -> AggregateCall {
    call(AggregateFunction::CountRows, &[], false, "a")
}

fn different() -> AggregateCall {
    call(AggregateFunction::Count, &[1], true, "b")
}

/// The first number.
pub(crate) fn first_value() -> AggregateCall {
    call(AggregateFunction::FirstValue, &[1], false, "a")
}

/// `select` over the files at `input`, then the pieces, then a sink at `output`; `beside`: another query, to nowhere.
pub(crate) fn plan(
    settings: &str,
    input: &str,
    select: &str,
    pieces: &[Piece],
    beside: &str,
    output: &str,
    chunk_bytes: u64,
) -> Plan {
    let text = format!(
        "{settings}\
         CREATE TABLE t (ts TIMESTAMP(3), k STRING, v BIGINT, w BIGINT, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
         WITH ('connector' = 'filesystem', 'path' = '{input}', 'format' = 'json');\n\
         CREATE TABLE s (k STRING, a BIGINT, b BIGINT, c BIGINT) WITH ('connector' = 'filesystem', 'path' = '{output}', \
         'format' = 'json', 'sink.changelog' = 'true');\n\
         EXECUTE STATEMENT SET BEGIN\n\
         INSERT INTO s SELECT k, v, v, v FROM t;\nEND;\n"
    );
    let bound = |text: &str| {
        let nowhere = Output::new(Box::new(std::io::sink()), Style::JsonLines);
        let overrides = [("tidemill.chunk-bytes".to_owned(), chunk_bytes.to_string())];
        let bound = bind(text, &nowhere, &overrides);
        bound.unwrap_or_else(|errors| panic!("{}\n{text}", errors[0])).plan
    };
    let with_sink = bound(&text);
    let Some(Op::Sink { sink, .. }) = with_sink.nodes.last().map(|node| &node.op) else {
        panic!("the last node is a sink")
    };
    let declared = text.split("EXECUTE").next().unwrap();
    let mut plan = bound(&format!("{declared}{select};\n"));
    plan.nodes.pop();
    for piece in pieces {
        let mut op = piece.op.clone();
        let below = plan.nodes.len() - 1;
        match &mut op {
            Op::Process { input, .. }
            | Op::Apply { input, .. }
            | Op::WindowAggregate { input, .. } => *input = below,
            Op::Union { inputs } => inputs.fill(below),
            other => panic!("{other:?} is no piece"),
        }
        let schema = match &op {
            Op::Union { .. } => plan.nodes[below].schema.clone(),
            _ => piece.schema.clone(),
        };
        plan.nodes.push(Node { op, schema });
    }
    let input = plan.nodes.len() - 1;
    let op = Op::Sink { input, table: "s".into(), sink: Arc::clone(sink), limit: None };
    let schema = plan.nodes[input].schema.clone();
    plan.nodes.push(Node { op, schema });
    if !beside.is_empty() {
        append(&mut plan, bound(&format!("{declared}{beside};\n")));
    }
    tidemill::plan::optimise(plan)
}

/// Puts another plan over the same table behind `plan`.
fn append(plan: &mut Plan, other: Plan) {
    let moved_by = plan.nodes.len();
    for mut node in other.nodes {
        match &mut node.op {
            Op::Scan { table, .. } => table.push('2'),
            Op::Calc { input, .. }
            | Op::WindowTable { input, .. }
            | Op::WindowAggregate { input, .. } => *input += moved_by,
            Op::Sink { input, table, .. } => {
                *input += moved_by;
                table.push_str("beside");
            }
            other => panic!("{other:?} is not expected"),
        }
        plan.nodes.push(node);
    }
}
