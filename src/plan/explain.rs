//! The plan as text: a tree for each sink, inputs below, and where time and keys are decided.
//!
//! ```text
//! Sink out1: print
//! └─ WindowAggregate TUMBLE(…) …
//!    │  late: …
//!    └─ exchange by …
//! ```
//!
//! A node that several others read is drawn once and referred to by its number after that.

use std::fmt::Write;

use super::optimise::inputs;
use super::{Node, NodeIndex, Op, Plan, ProcessWindow, is_late_read};
use crate::agg::{AggregateCall, AggregateFunction, Travel, travel};
use crate::batch::{DataType, Schema};
use crate::expr::{Expr, ExprKind, Value};
use crate::window::{Emit, EmitClock, EmitMode, TimeDomain, WindowKind, WindowSpec};

/// The plan as a tree for each sink, with the watermark, the late rule and the exchange in their places.
pub fn explain(plan: &Plan) -> String {
    let mut readers = vec![0; plan.nodes.len()];
    for node in &plan.nodes {
        inputs(&node.op).into_iter().for_each(|input| readers[input] += 1);
    }
    let mut drawing =
        Drawing { plan, readers, drawn: vec![false; plan.nodes.len()], text: String::new() };
    for (index, node) in plan.nodes.iter().enumerate() {
        if matches!(node.op, Op::Sink { .. }) {
            if !drawing.text.is_empty() {
                drawing.text.push('\n');
            }
            drawing.tree(index);
        }
    }
    drawing.text
}

/// A node in one line.
pub fn describe(plan: &Plan, node: NodeIndex) -> String {
    lines(&plan.nodes, node).join("; ")
}

/// What is drawn so far.
struct Drawing<'p> {
    plan: &'p Plan,
    readers: Vec<usize>,
    drawn: Vec<bool>,
    text: String,
}

impl Drawing<'_> {
    /// Draws a node and what it reads, without recursion: plans may be deep.
    fn tree(&mut self, root: NodeIndex) {
        let mut stack = vec![(root, String::new(), String::new())];
        while let Some((index, first, rest)) = stack.pop() {
            let node = &self.plan.nodes[index];
            let shared = self.readers[index] > 1;
            let mark = if shared { format!("#{index} ") } else { String::new() };
            if std::mem::replace(&mut self.drawn[index], true) && shared {
                let _ = writeln!(self.text, "{first}{mark}(as above)");
                continue;
            }
            let below = inputs(&node.op);
            let lines = lines(&self.plan.nodes, index);
            for (number, line) in lines.iter().enumerate() {
                let (prefix, mark) =
                    if number == 0 { (&first, mark.as_str()) } else { (&rest, "") };
                let bar = match (number, below.is_empty()) {
                    (0, _) => "",
                    (_, true) => "     ",
                    (_, false) => "│    ",
                };
                let _ = writeln!(self.text, "{prefix}{bar}{mark}{line}");
            }
            for (position, input) in below.iter().enumerate().rev() {
                let last = position + 1 == below.len();
                let (branch, trunk) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                stack.push((*input, format!("{rest}{branch}"), format!("{rest}{trunk}")));
            }
        }
    }
}

/// What a node does, and below that the details.
fn lines(nodes: &[Node], index: NodeIndex) -> Vec<String> {
    let node = &nodes[index];
    let input_schema = inputs(&node.op).first().map(|&input| &nodes[input].schema);
    let schema = input_schema.unwrap_or(&node.schema);
    match &node.op {
        Op::Scan { .. } => scan_lines(node),
        Op::Calc { filter, columns, .. } => {
            let mut lines = vec!["Calc".to_string()];
            if let Some(filter) = filter {
                lines.push(format!("where: {}", shown(filter, schema)));
            }
            let selected = columns.iter().zip(node.schema.fields.iter()).map(|(column, field)| {
                let text = shown(column, schema);
                if text == field.name { text } else { format!("{text} AS {}", field.name) }
            });
            lines.push(format!("select: {}", selected.collect::<Vec<_>>().join(", ")));
            lines
        }
        Op::Union { inputs } => {
            vec![format!("Union of {}", inputs.len()), "watermark: the lowest of the inputs".into()]
        }
        Op::WindowTable { window, partition_by, .. } => {
            let mut lines = vec![format!("WindowTable {}", window_text(window, schema))];
            if matches!(window.kind, WindowKind::Session { .. }) {
                lines.push(exchange(partition_by, schema));
                lines.extend(late_rule(window, &Emit::AT_END, is_late_read(nodes, index)));
            } else {
                lines.push("adds window_start, window_end, window_time; drops no row".into());
            }
            lines
        }
        Op::Expand { sets, .. } => {
            vec![format!("Expand: each row once for each of {} grouping sets", sets.len())]
        }
        Op::WindowAggregate { .. } => aggregate_lines(node, schema, is_late_read(nodes, index)),
        Op::Late { of } => {
            let input = nodes[*of].op.late_input().map(|input| &nodes[input].schema);
            let names = input.iter().flat_map(|schema| schema.fields.iter());
            let names: Vec<&str> = names.map(|field| field.name.as_str()).collect();
            vec!["Late rows, not the results".into(), format!("columns: {}", names.join(", "))]
        }
        Op::Process { .. } => process_lines(node, schema),
        Op::Apply { function, .. } => {
            vec![format!("Apply {}", function.name()), format!("yields: {}", node.schema)]
        }
        Op::Sink { table, limit, .. } => {
            let mut lines =
                vec![if table.is_empty() { "Output".into() } else { format!("Sink {table}") }];
            lines.push(format!("takes: {}", node.schema));
            lines.extend(limit.map(|limit| format!("stops after {limit} rows")));
            lines
        }
    }
}

/// A scan: what is decoded and computed, and how event time advances.
fn scan_lines(node: &Node) -> Vec<String> {
    let Op::Scan { table, physical, columns, watermark, .. } = &node.op else { return Vec::new() };
    let mut lines = vec![format!("Scan {table}")];
    let stored: Vec<&str> = stored_columns(columns)
        .into_iter()
        .map(|index| physical.fields[index].name.as_str())
        .collect();
    lines.push(format!(
        "decodes: {}",
        if stored.is_empty() { "nothing but rows".into() } else { stored.join(", ") }
    ));
    for (column, field) in columns.iter().zip(node.schema.fields.iter()) {
        if column.as_column().is_none() {
            lines.push(format!("computes: {} = {}", field.name, shown(column, physical)));
        }
    }
    if let Some(watermark) = watermark {
        let column = &node.schema.fields[watermark.column].name;
        lines.push(format!(
            "watermark: {} after each row, for rowtime {column}",
            shown(&watermark.expr, &node.schema)
        ));
    }
    lines
}

/// An aggregation: its calls, where its rows go, when they are late and when it fires.
fn aggregate_lines(node: &Node, schema: &Schema, late_read: bool) -> Vec<String> {
    let Op::WindowAggregate { window, keys, aggregates, emit, .. } = &node.op else {
        return Vec::new();
    };
    let mut lines = vec![format!("WindowAggregate {}", window_text(window, schema))];
    let shown: Vec<String> = aggregates
        .iter()
        .map(|call| {
            let args: Vec<&str> = call.args.iter().map(|&arg| name(schema, arg)).collect();
            let args = if call.function == AggregateFunction::CountRows {
                "*".into()
            } else {
                args.join(", ")
            };
            let distinct = if call.distinct { "DISTINCT " } else { "" };
            let filter =
                call.filter.map(|filter| format!(" FILTER (WHERE {})", name(schema, filter)));
            let (function, filter) = (&call.function, filter.unwrap_or_default());
            format!("{function}({distinct}{args}){}{filter}", function.provenance())
        })
        .collect();
    if !shown.is_empty() {
        lines.push(format!("aggregates: {}", shown.join(", ")));
    }
    lines.push(match window.kind {
        WindowKind::Attached { start_column, .. } if keys.is_empty() => {
            exchange(&[start_column], schema)
        }
        _ if keys.is_empty() => exchange_to_one(window, aggregates, emit),
        _ => exchange(keys, schema),
    });
    lines.extend(late_rule(window, emit, late_read));
    lines.extend(firing(window, emit));
    lines
}

/// A function with state: what it is known by, where its rows go, and how long it keeps what.
fn process_lines(node: &Node, schema: &Schema) -> Vec<String> {
    let Op::Process { keys, window, function, .. } = &node.op else { return Vec::new() };
    let mut lines = vec![
        format!("Process {}", function.name()),
        format!("state: uid '{}', version {}", function.uid(), function.version()),
        format!("yields: {}", node.schema),
    ];
    lines.push(exchange(keys, schema));
    lines.extend(window.map(|ProcessWindow { start, end, time, lateness_ms }| {
        let later = match lateness_ms {
            0 => String::new(),
            lateness_ms => format!("{} after ", span(lateness_ms)),
        };
        format!(
            "windows: from {} to {}; their state is dropped when the watermark reaches {later}{}, and rows later still are \
             dropped and counted",
            name(schema, start),
            name(schema, end),
            name(schema, time)
        )
    }));
    lines
}

fn name(schema: &Schema, column: usize) -> &str {
    schema.fields.get(column).map_or("?", |field| field.name.as_str())
}

/// The stored columns that the expressions read, in order.
fn stored_columns(columns: &[Expr]) -> Vec<usize> {
    let mut stored = std::collections::BTreeSet::new();
    for column in columns {
        column.visit_columns(&mut |index| {
            stored.insert(index);
        });
    }
    stored.into_iter().collect()
}

fn window_text(window: &WindowSpec, schema: &Schema) -> String {
    let kind = match window.kind {
        WindowKind::Tumble { size_ms, offset_ms } => {
            format!("TUMBLE(size {}{})", span(size_ms), offset(offset_ms))
        }
        WindowKind::Hop { size_ms, slide_ms, offset_ms } => {
            format!("HOP(slide {}, size {}{})", span(slide_ms), span(size_ms), offset(offset_ms))
        }
        WindowKind::Cumulate { size_ms, step_ms, offset_ms } => {
            format!("CUMULATE(step {}, size {}{})", span(step_ms), span(size_ms), offset(offset_ms))
        }
        WindowKind::Session { gap_ms } => format!("SESSION(gap {})", span(gap_ms)),
        WindowKind::Attached { start_column, end_column } => {
            format!(
                "over the windows in {} and {}",
                name(schema, start_column),
                name(schema, end_column)
            )
        }
        WindowKind::Count { size_rows, slide_rows } if size_rows == slide_rows => {
            format!("COUNT(size {size_rows} rows)")
        }
        WindowKind::Count { size_rows, slide_rows } => {
            format!("COUNT(slide {slide_rows} rows, size {size_rows} rows)")
        }
        WindowKind::Global { .. } => "GLOBAL".into(),
    };
    let clock = match window.domain {
        TimeDomain::Event => format!(" on {}", name(schema, window.time_column)),
        TimeDomain::Processing => " on processing time".into(),
    };
    let zone = window.time_zone.map(|zone| format!(", cut in {zone}")).unwrap_or_default();
    format!("{kind}{clock}{zone}")
}

fn offset(offset_ms: i64) -> String {
    if offset_ms == 0 { String::new() } else { format!(", offset {}", span(offset_ms)) }
}

/// A span in the largest unit that divides it.
fn span(ms: i64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    match units.into_iter().find(|(unit, _)| ms != 0 && ms % unit == 0) {
        Some((unit, name)) => format!("{} {name}", ms / unit),
        None => format!("{ms} ms"),
    }
}

fn exchange(keys: &[usize], schema: &Schema) -> String {
    if keys.is_empty() {
        return "exchange: all rows to one shard".into();
    }
    let keys: Vec<&str> = keys.iter().map(|&key| name(schema, key)).collect();
    format!("exchange: by {}", keys.join(", "))
}

/// The exchange of an aggregation without keys.
fn exchange_to_one(window: &WindowSpec, calls: &[AggregateCall], emit: &Emit) -> String {
    let is_session = matches!(window.kind, WindowKind::Session { .. });
    let by_rows = emit.shows_rows() || window.kind.is_of_rows() || is_session;
    let text = match if by_rows { Travel::Rows } else { travel(calls) } {
        Travel::Accumulators => "all rows to one shard, pre-aggregated on each",
        Travel::Values => "rows by their distinct value, the counts of all shards to one",
        Travel::Rows => "all rows to one shard",
    };
    format!("exchange: {text}")
}

/// `read`: somebody reads the rows that are late.
fn late_rule(window: &WindowSpec, emit: &Emit, read: bool) -> Option<String> {
    if window.domain == TimeDomain::Processing || window.kind.is_of_rows() {
        return Some("late: no row is".into());
    }
    let taken = if emit.late_delay_ms.is_some() { emit.allow_lateness_ms } else { 0 };
    let dropped = if read { "handed on" } else { "dropped" };
    Some(match (window.kind, taken) {
        (WindowKind::Session { .. }, _) => {
            format!(
                "late: a row is {dropped}, and counted, if the session it is in or starts has fired when it comes"
            )
        }
        (_, 0) => {
            format!("late: a row is {dropped}, and counted, if its window has fired when it comes")
        }
        (_, taken) => {
            format!(
                "late: a row is taken until {} after its window's end, then {dropped} and counted",
                span(taken)
            )
        }
    })
}

fn firing(window: &WindowSpec, emit: &Emit) -> Vec<String> {
    let mut lines = match (window.kind, window.domain) {
        (WindowKind::Count { slide_rows, .. }, _) => {
            return vec![format!("fires: {} of a key", at_rows(slide_rows))];
        }
        (WindowKind::Global { every_rows, at_end, .. }, _) => {
            let by_rows = every_rows.map(|rows| format!("fires: {} of a key", at_rows(rows)));
            let end = at_end.then(|| "fires: when the input has ended".to_string());
            by_rows.into_iter().chain(end).collect()
        }
        (_, TimeDomain::Event) => {
            vec!["fires: when the watermark reaches window_end - 1 ms".into()]
        }
        (_, TimeDomain::Processing) => vec!["fires: when the clock reaches window_end".into()],
    };
    let each = |delay_ms: i64| {
        if delay_ms == 0 {
            "after every row".into()
        } else {
            format!("{} after a change", span(delay_ms))
        }
    };
    if let Some(delay_ms) = emit.early_delay_ms {
        lines.push(match emit.early_clock {
            EmitClock::Event if delay_ms > 0 => {
                format!("fires early: every {} of event time", span(delay_ms))
            }
            _ => format!("fires early: {}", each(delay_ms)),
        });
    }
    if let Some(delay_ms) = emit.late_delay_ms {
        lines.push(format!("fires late: {}", each(delay_ms)));
    }
    if matches!(window.kind, WindowKind::Global { purges: true, .. }) {
        lines.push("shows: +I, and forgets the rows".into());
    } else if window.kind.is_of_rows() || !emit.is_once() {
        lines.push(match emit.mode {
            EmitMode::Retracting => "shows: -U of the old result and +U of the new".into(),
            EmitMode::Accumulating => "shows: +U of the whole result".into(),
            EmitMode::Discarding => "shows: +I of what came since".into(),
        });
    }
    lines
}

fn at_rows(rows: u64) -> String {
    if rows == 1 { "at every row".into() } else { format!("at every {rows} rows") }
}

/// An expression with the columns' names.
fn shown(expr: &Expr, schema: &Schema) -> String {
    match &expr.kind {
        ExprKind::Column(column) => name(schema, *column).to_string(),
        ExprKind::Literal(Value::String(text)) => format!("'{}'", text.replace('\'', "''")),
        ExprKind::Literal(Value::Int(ms)) if expr.data_type == DataType::IntervalDay => span(*ms),
        ExprKind::Literal(_) => expr.to_string(),
        ExprKind::Call(operator, args) => {
            let args: Vec<String> = args.iter().map(|arg| shown(arg, schema)).collect();
            let symbolic =
                ["=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "AND", "OR"]
                    .contains(operator);
            match args.as_slice() {
                [left, right] if symbolic => format!("({left} {operator} {right})"),
                _ => format!("{operator}({})", args.join(", ")),
            }
        }
        ExprKind::Native(function, args) => {
            let args: Vec<String> = args.iter().map(|arg| shown(arg, schema)).collect();
            format!("{function:?}({})", args.join(", "))
        }
        ExprKind::Cast(input) => format!("CAST({} AS {})", shown(input, schema), expr.data_type),
        ExprKind::TryCast(input) => {
            format!("TRY_CAST({} AS {})", shown(input, schema), expr.data_type)
        }
        ExprKind::Case(branches, otherwise) => {
            let branches: Vec<String> = branches
                .iter()
                .map(|(when, then)| {
                    format!("WHEN {} THEN {}", shown(when, schema), shown(then, schema))
                })
                .collect();
            format!("CASE {} ELSE {} END", branches.join(" "), shown(otherwise, schema))
        }
    }
}
