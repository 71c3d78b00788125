//! Late rows as an output, grafted onto a script's plan: SQL cannot ask for them.
//!
//! The script writes a table `late_rows`, whatever it writes there, in its last statement, and counts every column of the input as
//! `x…`, so that no column has been pruned. Afterwards these counts are zero: only the late rows need their columns any more.

use std::fmt::Write;

use tidemill::batch::{Field, Schema};
use tidemill::expr::{Expr, Value};
use tidemill::plan::{Node, NodeIndex, Op, Plan, optimise};
use tidemill::window::{Emit, TimeDomain, WindowKind, WindowSpec};

use crate::model::Query;

/// The table that late rows go to, and its columns.
const TABLE: &str = "late_rows";
const COLUMNS: [&str; 7] = ["ts", "k", "v", "w", "d", "s", "m"];

/// The statement that writes [`TABLE`] at all, and the table, which `options` say where it is.
pub(crate) fn late_table(options: &str) -> (String, String) {
    let table = format!(
        "CREATE TABLE {TABLE} (ts TIMESTAMP(3), k STRING, v INT, w BIGINT, d DOUBLE, s STRING, m DECIMAL(10, 2)) WITH ({options});\n"
    );
    (table, format!("INSERT INTO {TABLE} SELECT ts, k, v, w, d, s, m FROM src;\n"))
}

/// The query with a count of each column.
pub(crate) fn select_all(query: &Query) -> String {
    let mut counts = String::new();
    for name in &COLUMNS[1..] {
        write!(counts, ", COUNT({name}) AS x{name}").unwrap();
    }
    query.select().replacen("\nFROM", &(counts + "\nFROM"), 1)
}

/// Lets [`TABLE`] have the rows that are late for the first window.
pub(crate) fn read_late(plan: Plan) -> Plan {
    let of = windows(&plan)[0];
    let mut plan = read_late_of(plan, &[of]);
    forget_counts(&mut plan);
    optimise(plan)
}

/// Lets [`TABLE`] have the rows that are late for any of the windows, a row as often as it is.
pub(crate) fn read_late_of_all(plan: Plan) -> Plan {
    let of = windows(&plan);
    optimise(read_late_of(plan, &of))
}

/// Lets the script's window have only what is late for one of so many milliseconds, and [`TABLE`] what is late again.
pub(crate) fn read_late_twice(plan: Plan, size_ms: i64) -> Plan {
    let of = windows(&plan)[0];
    let Op::WindowAggregate { input, window, keys, .. } = plan.nodes[of].op.clone() else {
        unreachable!("looked up")
    };
    let kind = WindowKind::Tumble { size_ms, offset_ms: 0 };
    assert_eq!(window.domain, TimeDomain::Event);
    let window = WindowSpec { kind, ..window };
    let outer = &plan.nodes[of].schema.fields;
    let times = &outer[outer.len() - 3..];
    let fields = outer[..keys.len()].iter().chain(times).cloned().collect::<Vec<_>>();
    let op =
        Op::WindowAggregate { input, window, keys, aggregates: Vec::new(), emit: Emit::AT_END };
    let added = [
        Node { op, schema: Schema::new(fields) },
        Node { op: Op::Late { of }, schema: plan.nodes[input].schema.clone() },
    ];
    let mut plan = plan;
    plan.nodes.iter_mut().for_each(|node| shift(&mut node.op, of, added.len()));
    plan.nodes.splice(of..of, added);
    match &mut plan.nodes[of + 2].op {
        Op::WindowAggregate { input, .. } => *input = of + 1,
        _ => unreachable!("moved up by two"),
    }
    let mut plan = read_late_of(plan, &[of + 2]);
    forget_counts(&mut plan);
    optimise(plan)
}

/// Refers to nodes from `from` on as they are after `by` more have come before them.
fn shift(op: &mut Op, from: NodeIndex, by: usize) {
    let inputs: Vec<&mut NodeIndex> = match op {
        Op::Scan { .. } => Vec::new(),
        Op::Union { inputs } => inputs.iter_mut().collect(),
        Op::Calc { input, .. }
        | Op::WindowTable { input, .. }
        | Op::Expand { input, .. }
        | Op::WindowAggregate { input, .. }
        | Op::Process { input, .. }
        | Op::Apply { input, .. }
        | Op::Late { of: input }
        | Op::Sink { input, .. } => vec![input],
    };
    inputs.into_iter().filter(|input| **input >= from).for_each(|input| *input += by);
}

/// The operators that find rows late.
fn windows(plan: &Plan) -> Vec<NodeIndex> {
    (0..plan.nodes.len()).filter(|&node| plan.nodes[node].op.late_input().is_some()).collect()
}

fn read_late_of(mut plan: Plan, windows: &[NodeIndex]) -> Plan {
    let mut sink = plan.nodes.pop().expect("a script writes tables");
    let Op::Sink { input, table, .. } = &mut sink.op else { panic!("the last node is no sink") };
    assert_eq!(table, TABLE);
    let all: Vec<NodeIndex> =
        windows.iter().map(|&of| add_late_rows(&mut plan, of, &sink.schema)).collect();
    if all.len() > 1 {
        plan.nodes.push(Node { op: Op::Union { inputs: all }, schema: sink.schema.clone() });
    }
    *input = plan.nodes.len() - 1;
    plan.nodes.push(sink);
    plan
}

/// Adds the rows that are late for `of`, with the columns of `wanted`; one that nobody reads below another window is NULL.
fn add_late_rows(plan: &mut Plan, of: NodeIndex, wanted: &Schema) -> NodeIndex {
    let from = plan.nodes[of].op.late_input().expect("it has windows");
    let schema = plan.nodes[from].schema.clone();
    let columns: Vec<Expr> = wanted.fields.iter().map(|wanted| column(&schema, wanted)).collect();
    let known = columns.iter().filter(|column| column.as_column().is_some()).count();
    assert!(known + 1 >= COLUMNS.len(), "the script reads its columns");
    plan.nodes.push(Node { op: Op::Late { of }, schema });
    let op = Op::Calc { input: plan.nodes.len() - 1, filter: None, columns };
    plan.nodes.push(Node { op, schema: wanted.clone() });
    plan.nodes.len() - 1
}

fn column(schema: &Schema, wanted: &Field) -> Expr {
    match schema.fields.iter().position(|field| field.name == wanted.name) {
        Some(at) => Expr::column(at, schema.fields[at].data_type, schema.fields[at].nullable),
        None => Expr::literal(Value::Null, wanted.data_type),
    }
}

/// Puts zeros in the place of the counts `x…`.
fn forget_counts(plan: &mut Plan) {
    let mut forgotten = 0;
    for node in &mut plan.nodes {
        let Op::Calc { columns, .. } = &mut node.op else { continue };
        let named = columns.iter_mut().zip(node.schema.fields.iter());
        for (column, _) in named.filter(|(_, field)| field.name.starts_with('x')) {
            *column = Expr::literal(Value::Int(0), column.data_type);
            forgotten += 1;
        }
    }
    assert!(forgotten >= COLUMNS.len() - 1, "the script counts its columns");
}
