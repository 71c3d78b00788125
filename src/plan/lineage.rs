//! What columns are, down to the tables that they come from: how an aggregate is known again in another script.
//!
//! An expression is spelled with the names of stored columns, whatever projections lie between, so that the spelling does not
//! change when a script reads one column more. A long one is cut, and ends in a hash of the whole.
//!
//! # Invariants
//!
//! 1. What is spelled alike is the same value in every row, given the same tables.

use super::{Node, NodeIndex, Op, Plan, ProcessWindow};
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Schema};
use crate::expr::{Expr, ExprKind, Value};
use crate::sys::checksum::xxh64;
use crate::window::{Emit, TimeDomain, WindowKind, WindowSpec};

/// The longest spelling.
const TEXT_BYTES_MAX: usize = 400;

/// What a node's rows are.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// Which rows there are.
    rows: String,
    /// Each column.
    columns: Vec<String>,
}

impl Lineage {
    /// Which rows there are.
    pub fn rows(&self) -> &str {
        &self.rows
    }
}

/// What an operator with windows is, in parts that each have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// All but its calls: name and spelling.
    pub parts: Vec<(String, String)>,
    /// Its calls: spelling and types.
    pub calls: Vec<(String, String)>,
}

/// The lineage of every node.
pub fn lineages(plan: &Plan) -> Vec<Lineage> {
    let mut all: Vec<Lineage> = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        let lineage = of_node(plan, node, index, &all);
        all.push(lineage);
    }
    all
}

fn of_node(plan: &Plan, node: &Node, index: NodeIndex, all: &[Lineage]) -> Lineage {
    match &node.op {
        Op::Scan { table, physical, columns, watermark, .. } => {
            let stored: Vec<String> =
                physical.fields.iter().map(|field| format!("{table}.{}", field.name)).collect();
            let columns: Vec<String> =
                columns.iter().map(|column| spelled(column, &stored)).collect();
            let watermark = watermark
                .as_ref()
                .map(|watermark| format!(" watermark {}", spelled(&watermark.expr, &columns)));
            Lineage { rows: format!("{table}{}", watermark.unwrap_or_default()), columns }
        }
        Op::Calc { input, filter, columns } => {
            let below = &all[*input];
            let mut rows = below.rows.clone();
            if let Some(filter) = filter {
                conditions(filter, &mut |condition| {
                    rows += &format!(" where {}", spelled(condition, &below.columns));
                });
            }
            let columns = columns.iter().map(|column| spelled(column, &below.columns)).collect();
            Lineage { rows: short(rows), columns }
        }
        Op::Union { inputs } => {
            let rows: Vec<&str> = inputs.iter().map(|&input| all[input].rows.as_str()).collect();
            let column = |column: usize| {
                let parts: Vec<&str> =
                    inputs.iter().map(|&input| all[input].columns[column].as_str()).collect();
                short(format!("({})", parts.join(" | ")))
            };
            let columns = (0..node.schema.column_count()).map(column).collect();
            Lineage { rows: short(format!("({})", rows.join(" | "))), columns }
        }
        Op::Expand { input, sets } => {
            let below = &all[*input];
            let sets: Vec<String> = sets
                .iter()
                .map(|set| format!("{} {}", set.grouping_id, names(&set.nulled, &below.columns)))
                .collect();
            let rows = short(format!("{} for each of {}", below.rows, sets.join(", ")));
            let grouped = below.columns.iter().map(|column| format!("grouped {column}"));
            let columns = grouped.chain(["grouping".into()]).collect();
            Lineage { rows, columns }
        }
        Op::WindowTable { input, window, .. } => {
            let below = &all[*input];
            let window = window_text(window, &below.columns);
            let mut columns = below.columns.clone();
            columns.extend(window_columns(&window));
            Lineage { rows: short(format!("{} in {window}", below.rows)), columns }
        }
        Op::WindowAggregate { .. } => of_results(plan, all, index),
        Op::Process { .. } => {
            let identity = identity(plan, all, index).expect("a function with state has one");
            yielded(&format!("what {} yields", parts_text(&identity.parts)), &node.schema)
        }
        Op::Apply { input, function } => {
            let rows = format!("what {} yields of {}", function.name(), all[*input].rows);
            yielded(&rows, &node.schema)
        }
        Op::Late { of } => late(plan, *of, all),
        Op::Sink { .. } => Lineage { rows: String::new(), columns: Vec::new() },
    }
}

fn late(plan: &Plan, of: NodeIndex, all: &[Lineage]) -> Lineage {
    let input = plan.nodes[of].op.late_input();
    let columns = input.map_or(Vec::new(), |input| all[input].columns.clone());
    let parts = identity(plan, all, of).map_or(Vec::new(), |identity| identity.parts);
    Lineage { rows: short(format!("late for {}", parts_text(&parts))), columns }
}

/// The results of an aggregation.
fn of_results(plan: &Plan, all: &[Lineage], index: NodeIndex) -> Lineage {
    let (Op::WindowAggregate { input, keys, .. }, Some(Identity { parts, calls })) =
        (&plan.nodes[index].op, identity(plan, all, index))
    else {
        unreachable!("called for an aggregation, which has one")
    };
    let below = &all[*input];
    let rows = short(format!("results of {}", parts_text(&parts)));
    let mut columns: Vec<String> = keys.iter().map(|&key| below.columns[key].clone()).collect();
    columns.extend(calls.iter().map(|(call, _)| short(format!("{call} among {rows}"))));
    columns.extend(window_columns(&rows));
    Lineage { rows, columns }
}

/// What a function yields: nobody sees how.
fn yielded(rows: &str, schema: &Schema) -> Lineage {
    let rows = short(rows.to_owned());
    let column = |name: &str| short(format!("{name} of {rows}"));
    let columns = schema.fields.iter().map(|field| column(&field.name)).collect();
    Lineage { rows, columns }
}

fn parts_text(parts: &[(String, String)]) -> String {
    let parts: Vec<String> = parts.iter().map(|(name, text)| format!("{name} {text}")).collect();
    parts.join("; ")
}

/// What an operator with windows and state is; `None` for others.
pub fn identity(plan: &Plan, all: &[Lineage], node: NodeIndex) -> Option<Identity> {
    match &plan.nodes[node].op {
        Op::WindowAggregate { input, window, keys, aggregates, emit } => {
            let (below, schema) = (&all[*input], &plan.nodes[*input].schema);
            let parts = parts(below, schema, window, keys, emit);
            let calls = aggregates.iter().map(|call| call_text(call, &below.columns)).collect();
            Some(Identity { parts, calls })
        }
        Op::WindowTable { input, window, partition_by }
            if matches!(window.kind, WindowKind::Session { .. }) =>
        {
            let (below, schema) = (&all[*input], &plan.nodes[*input].schema);
            let mut parts = parts(below, schema, window, partition_by, &Emit::AT_END);
            let columns: Vec<usize> = (0..below.columns.len()).collect();
            let row = format!("{} {schema}", names(&columns, &below.columns));
            parts.push(("columns".into(), short(row)));
            Some(Identity { parts, calls: vec![("rows".into(), String::new())] })
        }
        Op::Process { .. } => {
            Some(Identity { parts: process_parts(plan, all, node), calls: Vec::new() })
        }
        _ => None,
    }
}

/// What a function with state is. Nobody has checked its columns yet.
fn process_parts(plan: &Plan, all: &[Lineage], node: NodeIndex) -> Vec<(String, String)> {
    let Op::Process { input, keys, window, function } = &plan.nodes[node].op else {
        unreachable!("called for one")
    };
    let (below, schema) = (&all[*input], &plan.nodes[*input].schema);
    let column = |&column: &usize| match (below.columns.get(column), schema.fields.get(column)) {
        (Some(name), Some(field)) => format!("{name} {}", field.data_type),
        _ => format!("column {column}"),
    };
    let listed = |columns: &[usize]| columns.iter().map(column).collect::<Vec<_>>().join(", ");
    let window = window.map(|ProcessWindow { start, end, time, lateness_ms }| {
        format!("{} and {lateness_ms} ms", listed(&[start, end, time]))
    });
    let columns: Vec<usize> = (0..below.columns.len()).collect();
    let parts = [
        ("function", function.name().to_owned()),
        ("uid", function.uid().to_owned()),
        ("version", function.version().to_string()),
        ("key", listed(keys)),
        ("window", window.unwrap_or_else(|| "none".into())),
        ("input", below.rows.clone()),
        ("columns", listed(&columns)),
        ("output", function.schema().to_string()),
    ];
    parts.map(|(name, text)| (name.to_owned(), short(text))).to_vec()
}

/// All but the calls.
fn parts(
    below: &Lineage,
    schema: &Schema,
    window: &WindowSpec,
    keys: &[usize],
    emit: &Emit,
) -> Vec<(String, String)> {
    let key = |&key: &usize| format!("{} {}", below.columns[key], schema.fields[key].data_type);
    let keys: Vec<String> = keys.iter().map(key).collect();
    let time = schema.fields[window.time_column].data_type;
    let is_once = emit.is_once() && !matches!(window.kind, WindowKind::Global { .. });
    let parts = [
        ("window", format!("{} {time}", window_text(window, &below.columns))),
        ("GROUP BY", keys.join(", ")),
        ("emit", if is_once { "at the end".into() } else { format!("{emit:?}") }),
        ("input", below.rows.clone()),
    ];
    parts.map(|(name, text)| (name.to_owned(), short(text))).to_vec()
}

fn call_text(call: &AggregateCall, columns: &[String]) -> (String, String) {
    let args = match call.function {
        AggregateFunction::CountRows => "*".into(),
        _ => names(&call.args, columns),
    };
    let distinct = if call.distinct { "DISTINCT " } else { "" };
    let separator = match call.function {
        AggregateFunction::ListAgg => format!(", '{}'", call.separator),
        _ => String::new(),
    };
    let filter = call.filter.map(|filter| format!(" FILTER (WHERE {})", columns[filter]));
    let (function, filter) = (&call.function, filter.unwrap_or_default());
    let text = format!("{function}({distinct}{args}{separator}){}{filter}", function.provenance());
    (short(text), format!("{} to {}", call.arg_type, call.data_type))
}

fn names(columns: &[usize], names: &[String]) -> String {
    let columns: Vec<&str> = columns.iter().map(|&column| names[column].as_str()).collect();
    columns.join(", ")
}

fn window_columns(window: &str) -> [String; 3] {
    ["window_start", "window_end", "window_time"].map(|name| short(format!("{name} of {window}")))
}

fn window_text(window: &WindowSpec, columns: &[String]) -> String {
    let kind = match window.kind {
        WindowKind::Attached { start_column, end_column } => {
            format!("from {} to {}", columns[start_column], columns[end_column])
        }
        // `WindowSpec` prints columns by number.
        _ => format!("{:?}", window.kind),
    };
    let time = match window.domain {
        TimeDomain::Event => columns[window.time_column].as_str(),
        TimeDomain::Processing => "processing time",
    };
    let zone = window.time_zone.map(|zone| format!(" in {zone}")).unwrap_or_default();
    let group = if window.group_window { " as a group" } else { "" };
    short(format!("{kind} on {time}{zone}{group}"))
}

/// The conditions that AND joins.
fn conditions(filter: &Expr, visit: &mut dyn FnMut(&Expr)) {
    match &filter.kind {
        ExprKind::Call("AND", args) => args.iter().for_each(|arg| conditions(arg, visit)),
        _ => visit(filter),
    }
}

/// An expression over columns that are spelled so.
fn spelled(expr: &Expr, columns: &[String]) -> String {
    let list = |exprs: &[Expr]| {
        let texts: Vec<String> = exprs.iter().map(|expr| spelled(expr, columns)).collect();
        texts.join(", ")
    };
    short(match &expr.kind {
        ExprKind::Column(column) => columns[*column].clone(),
        ExprKind::Literal(value) => match (value, expr.data_type) {
            (Value::Int(_), DataType::Int | DataType::BigInt) => expr.to_string(),
            (Value::String(_) | Value::Boolean(_), _) => expr.to_string(),
            (value, data_type) => format!("{value:?} {data_type}"),
        },
        ExprKind::Call(name, args) => format!("{name}({})", list(args)),
        ExprKind::Native(function, args) => format!("{function:?}({})", list(args)),
        ExprKind::Cast(input) => format!("CAST({} AS {})", spelled(input, columns), expr.data_type),
        ExprKind::TryCast(input) => {
            format!("TRY_CAST({} AS {})", spelled(input, columns), expr.data_type)
        }
        ExprKind::Case(branches, otherwise) => {
            let branches: Vec<String> = branches
                .iter()
                .map(|(when, then)| {
                    format!("WHEN {} THEN {}", spelled(when, columns), spelled(then, columns))
                })
                .collect();
            format!("CASE {} ELSE {}", branches.join(" "), spelled(otherwise, columns))
        }
    })
}

/// A long text cut, with a hash of the whole.
fn short(text: String) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX / 2).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}… #{:016x}", &text[..end], xxh64(text.as_bytes()))
}
