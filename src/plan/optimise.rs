//! Plan to plan: the same rows for less work.
//!
//! 1. A projection over a projection is one, so filters meet the scan; an expression that would then be
//!    computed twice stays where it is.
//! 2. Columns that nobody reads are not computed, and stored columns that nobody reads are not decoded.
//! 3. What is the same in every row is computed here.
//! 4. A projection that changes nothing goes.
//!
//! # Invariants
//!
//! 1. Sinks keep their columns; everything between them and the scans is renumbered.
//! 2. Passes keep the order of nodes: inputs first.

use std::collections::BTreeSet;

use chrono_tz::Tz;

use crate::batch::{DataType, Field, Schema};
use crate::expr::{Expr, ExprKind, Value, fold};

use super::{Node, NodeIndex, Op, Plan, Watermark};
use crate::agg::AggregateCall;
use crate::window::{Emit, WindowKind, WindowSpec};

/// Rewrites a plan.
pub fn optimise(plan: Plan) -> Plan {
    let Plan { nodes, settings } = plan;
    let nodes = folded(without_unread(merge_calcs(nodes)), settings.time_zone);
    let nodes = without_unread(without_identities(prune(nodes)));
    Plan { nodes, settings }
}

/// The inputs of an operator.
pub(super) fn inputs(op: &Op) -> Vec<NodeIndex> {
    match op {
        Op::Scan { .. } => Vec::new(),
        Op::Union { inputs } => inputs.clone(),
        Op::Calc { input, .. }
        | Op::WindowTable { input, .. }
        | Op::Expand { input, .. }
        | Op::WindowAggregate { input, .. }
        | Op::Process { input, .. }
        | Op::Apply { input, .. }
        | Op::Sink { input, .. } => vec![*input],
        Op::Late { of } => vec![*of],
    }
}

/// The operator over other inputs.
fn with_inputs(mut op: Op, map: &[NodeIndex]) -> Op {
    match &mut op {
        Op::Scan { .. } => {}
        Op::Union { inputs } => inputs.iter_mut().for_each(|input| *input = map[*input]),
        Op::Calc { input, .. }
        | Op::WindowTable { input, .. }
        | Op::Expand { input, .. }
        | Op::WindowAggregate { input, .. }
        | Op::Late { of: input }
        | Op::Process { input, .. }
        | Op::Apply { input, .. }
        | Op::Sink { input, .. } => *input = map[*input],
    }
    op
}

/// How many operators read each.
fn reader_counts(nodes: &[Node]) -> Vec<usize> {
    let mut counts = vec![0; nodes.len()];
    for node in nodes {
        inputs(&node.op).into_iter().for_each(|input| counts[input] += 1);
    }
    counts
}

/// Drops what no sink reads.
fn without_unread(nodes: Vec<Node>) -> Vec<Node> {
    let mut read = vec![false; nodes.len()];
    for (index, node) in nodes.iter().enumerate().rev() {
        read[index] |= matches!(node.op, Op::Sink { .. });
        if read[index] {
            inputs(&node.op).into_iter().for_each(|input| read[input] = true);
        }
    }
    let mut map = vec![0; nodes.len()];
    let mut kept = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        map[index] = kept.len();
        if read[index] {
            kept.push(Node { op: with_inputs(node.op, &map), schema: node.schema });
        }
    }
    kept
}

/// Computes what is the same in every row, and drops a filter that all rows pass.
fn folded(mut nodes: Vec<Node>, time_zone: Tz) -> Vec<Node> {
    let always = ExprKind::Literal(Value::Boolean(true));
    for node in &mut nodes {
        match &mut node.op {
            Op::Scan { columns, watermark, .. } => {
                columns.iter_mut().for_each(|column| *column = fold(column.clone(), time_zone));
                if let Some(watermark) = watermark {
                    watermark.expr = fold(watermark.expr.clone(), time_zone);
                }
            }
            Op::Calc { filter, columns, .. } => {
                columns.iter_mut().for_each(|column| *column = fold(column.clone(), time_zone));
                let condition = filter.take().map(|filter| fold(filter, time_zone));
                *filter = condition.filter(|condition| condition.kind != always);
            }
            _ => {}
        }
    }
    nodes
}

/// Makes one of two projections in a row.
fn merge_calcs(mut nodes: Vec<Node>) -> Vec<Node> {
    let counts = reader_counts(&nodes);
    for index in 0..nodes.len() {
        let Op::Calc { input, filter, columns } = &nodes[index].op else { continue };
        let Op::Calc { input: below, filter: inner_filter, columns: inner } = &nodes[*input].op
        else {
            continue;
        };
        if counts[*input] > 1 || !inlines(inner, filter.iter().chain(columns)) {
            continue;
        }
        let inline = |expr: &Expr| expr.map_columns(&|column| inner[column].clone());
        let filter = both(inner_filter.clone(), filter.as_ref().map(inline));
        let columns = columns.iter().map(inline).collect();
        nodes[index].op = Op::Calc { input: *below, filter, columns };
    }
    nodes
}

/// How tall an inlined expression may be: evaluating one recurses.
const HEIGHT_MAX: usize = 256;

/// Whether no expression of `inner` would be computed more often within `outer`, nor grow too tall.
fn inlines<'e>(inner: &[Expr], outer: impl Iterator<Item = &'e Expr>) -> bool {
    let mut uses = vec![0; inner.len()];
    let mut outer_height = 0;
    for expr in outer {
        expr.visit_columns(&mut |column| uses[column] += 1);
        outer_height = outer_height.max(height(expr));
    }
    let inner_height = inner.iter().map(height).max().unwrap_or(0);
    if outer_height + inner_height > HEIGHT_MAX {
        return false;
    }
    inner.iter().zip(uses).all(|(expr, uses)| {
        uses <= 1 || matches!(expr.kind, ExprKind::Column(_) | ExprKind::Literal(_))
    })
}

fn height(expr: &Expr) -> usize {
    1 + match &expr.kind {
        ExprKind::Column(_) | ExprKind::Literal(_) => 0,
        ExprKind::Call(_, args) | ExprKind::Native(_, args) => {
            args.iter().map(height).max().unwrap_or(0)
        }
        ExprKind::Cast(input) | ExprKind::TryCast(input) => height(input),
        ExprKind::Case(branches, otherwise) => branches
            .iter()
            .flat_map(|(when, then)| [when, then])
            .chain([&**otherwise])
            .map(height)
            .max()
            .unwrap_or(0),
    }
}

/// Both conditions, the first decided first.
fn both(first: Option<Expr>, second: Option<Expr>) -> Option<Expr> {
    match (first, second) {
        (Some(first), Some(second)) => {
            let nullable = first.nullable || second.nullable;
            Some(Expr {
                kind: ExprKind::Call("AND", vec![first, second]),
                data_type: DataType::Boolean,
                nullable,
            })
        }
        (first, second) => first.or(second),
    }
}

/// Passes readers of a projection that changes nothing on to its input.
fn without_identities(nodes: Vec<Node>) -> Vec<Node> {
    let mut map: Vec<NodeIndex> = Vec::with_capacity(nodes.len());
    let mut rewritten: Vec<Node> = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.into_iter().enumerate() {
        let op = with_inputs(node.op, &map);
        let target = match &op {
            Op::Calc { input, filter: None, columns }
                if is_identity(columns, &node.schema, &rewritten[*input].schema) =>
            {
                *input
            }
            _ => index,
        };
        map.push(target);
        rewritten.push(Node { op, schema: node.schema });
    }
    rewritten
}

/// Whether a projection yields its input's columns under their names.
fn is_identity(columns: &[Expr], schema: &Schema, input: &Schema) -> bool {
    let same =
        |(own, other): (&Field, &Field)| own.name == other.name && own.data_type == other.data_type;
    columns.len() == input.column_count()
        && columns.iter().enumerate().all(|(index, column)| column.as_column() == Some(index))
        && schema.fields.iter().zip(input.fields.iter()).all(same)
}

/// Leaves out the columns that nobody reads.
fn prune(nodes: Vec<Node>) -> Vec<Node> {
    let required = required_columns(&nodes);
    let mut pruned =
        Pruned { nodes: Vec::with_capacity(nodes.len()), kept: Vec::new(), map: Vec::new() };
    for (node, required) in nodes.into_iter().zip(required) {
        pruned.add(node, required);
    }
    pruned.nodes
}

/// For each node, the output columns that its readers need.
fn required_columns(nodes: &[Node]) -> Vec<BTreeSet<usize>> {
    let mut required = vec![BTreeSet::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate().rev() {
        let own = std::mem::take(&mut required[index]);
        match &node.op {
            Op::Scan { .. } => {}
            Op::Calc { input, filter, columns } => {
                let read = own.iter().map(|&column| &columns[column]).chain(filter);
                read.for_each(|expr| {
                    expr.visit_columns(&mut |column| {
                        required[*input].insert(column);
                    })
                });
            }
            Op::Union { inputs } => inputs.iter().for_each(|&input| required[input].extend(&own)),
            Op::WindowTable { input, window, partition_by } => {
                let width = nodes[*input].schema.column_count();
                let needed = own.iter().copied().filter(|&column| column < width);
                required[*input]
                    .extend(needed.chain([window.time_column]).chain(partition_by.iter().copied()));
            }
            Op::Expand { input, sets } => {
                let width = nodes[*input].schema.column_count();
                let nulled = sets.iter().flat_map(|set| set.nulled.iter().copied());
                required[*input]
                    .extend(own.iter().copied().filter(|&column| column < width).chain(nulled));
            }
            Op::WindowAggregate { input, window, keys, aggregates, .. } => {
                let needed = &mut required[*input];
                needed.extend(keys.iter().copied().chain([window.time_column]));
                if let WindowKind::Attached { start_column, end_column } = window.kind {
                    needed.extend([start_column, end_column]);
                }
                for (position, call) in aggregates.iter().enumerate() {
                    if own.contains(&(keys.len() + position)) {
                        needed.extend(call.args.iter().chain(&call.filter));
                    }
                }
            }
            // It takes rows where they come in.
            Op::Late { of } => required[late_input(nodes, *of)].extend(&own),
            // A function may read whatever it is given.
            Op::Process { input, .. } | Op::Apply { input, .. } | Op::Sink { input, .. } => {
                required[*input].extend(0..nodes[*input].schema.column_count())
            }
        }
        required[index] = own;
    }
    for (index, node) in nodes.iter().enumerate() {
        if let Op::Scan { watermark: Some(watermark), .. } = &node.op {
            required[index].insert(watermark.column);
            watermark.expr.visit_columns(&mut |column| {
                required[index].insert(column);
            });
        }
    }
    required
}

/// What the operator `of` reads, some of which comes late.
fn late_input(nodes: &[Node], of: NodeIndex) -> NodeIndex {
    nodes[of].op.late_input().expect("only operators with windows have late rows")
}

/// The nodes rewritten so far.
struct Pruned {
    nodes: Vec<Node>,
    /// For each rewritten node, which columns of the original it yields.
    kept: Vec<Vec<usize>>,
    /// Original index to rewritten index.
    map: Vec<NodeIndex>,
}

impl Pruned {
    fn push(&mut self, op: Op, schema: Schema, kept: Vec<usize>) -> NodeIndex {
        self.nodes.push(Node { op, schema });
        self.kept.push(kept);
        self.nodes.len() - 1
    }

    /// The new number of column `column` of the rewritten node `input`.
    fn column(&self, input: NodeIndex, column: usize) -> usize {
        self.kept[input]
            .iter()
            .position(|&kept| kept == column)
            .expect("a column that is read is kept")
    }

    fn columns(&self, input: NodeIndex, columns: &[usize]) -> Vec<usize> {
        columns.iter().map(|&column| self.column(input, column)).collect()
    }

    fn expr(&self, input: NodeIndex, expr: &Expr) -> Expr {
        renumbered(expr, &self.kept[input])
    }

    fn add(&mut self, node: Node, required: BTreeSet<usize>) {
        let Node { op, schema } = node;
        let kept: Vec<usize> = match &op {
            Op::Scan { .. } | Op::Calc { .. } | Op::Union { .. } => {
                required.iter().copied().collect()
            }
            Op::WindowTable { input, .. } => self.with_added(*input, &schema, 3),
            Op::Expand { input, .. } => self.with_added(*input, &schema, 1),
            Op::Late { of } => self.kept[late_input(&self.nodes, self.map[*of])].clone(),
            Op::WindowAggregate { keys, aggregates, .. } => {
                let first_window = keys.len() + aggregates.len();
                let is_kept = |column: &usize| {
                    *column < keys.len() || *column >= first_window || required.contains(column)
                };
                (0..schema.column_count()).filter(is_kept).collect()
            }
            Op::Process { .. } | Op::Apply { .. } | Op::Sink { .. } => {
                (0..schema.column_count()).collect()
            }
        };
        let op = self.rewritten(op, &kept);
        let fields: Vec<Field> = kept.iter().map(|&column| schema.fields[column].clone()).collect();
        let index = self.push(op, Schema::new(fields), kept);
        self.map.push(index);
    }

    /// The kept columns of an operator that adds `added` to all of its input's.
    fn with_added(&self, input: NodeIndex, schema: &Schema, added: usize) -> Vec<usize> {
        let count = schema.column_count();
        self.kept[self.map[input]].iter().copied().chain(count - added..count).collect()
    }

    /// The operator over rewritten inputs, with only the `kept` columns.
    fn rewritten(&mut self, op: Op, kept: &[usize]) -> Op {
        match op {
            Op::Scan { table, source, physical, columns, watermark } => Op::Scan {
                table,
                source,
                physical,
                columns: kept.iter().map(|&column| columns[column].clone()).collect(),
                watermark: watermark.map(|watermark| Watermark {
                    column: kept
                        .iter()
                        .position(|&column| column == watermark.column)
                        .expect("the rowtime is kept"),
                    expr: renumbered(&watermark.expr, kept),
                }),
            },
            Op::Calc { input, filter, columns } => {
                let input = self.map[input];
                Op::Calc {
                    input,
                    filter: filter.map(|filter| self.expr(input, &filter)),
                    columns: kept
                        .iter()
                        .map(|&column| self.expr(input, &columns[column]))
                        .collect(),
                }
            }
            Op::Union { inputs } => Op::Union {
                inputs: inputs
                    .into_iter()
                    .map(|input| self.exactly(self.map[input], kept))
                    .collect(),
            },
            Op::WindowTable { input, mut window, partition_by } => {
                let input = self.map[input];
                window.time_column = self.column(input, window.time_column);
                Op::WindowTable { input, window, partition_by: self.columns(input, &partition_by) }
            }
            Op::Expand { input, mut sets } => {
                let input = self.map[input];
                sets.iter_mut().for_each(|set| set.nulled = self.columns(input, &set.nulled));
                Op::Expand { input, sets }
            }
            Op::WindowAggregate { input, window, keys, aggregates, emit } => {
                let used = |position: &usize| kept.contains(&(keys.len() + position));
                let aggregates = aggregates.into_iter().enumerate();
                let aggregates = aggregates
                    .filter(|(position, _)| used(position))
                    .map(|(_, call)| call)
                    .collect();
                self.rewritten_aggregate(self.map[input], window, &keys, aggregates, emit)
            }
            Op::Late { of } => Op::Late { of: self.map[of] },
            // All columns of these are read, so they keep their numbers.
            Op::Process { input, keys, window, function } => {
                Op::Process { input: self.map[input], keys, window, function }
            }
            Op::Apply { input, function } => Op::Apply { input: self.map[input], function },
            Op::Sink { input, table, sink, limit } => {
                Op::Sink { input: self.map[input], table, sink, limit }
            }
        }
    }

    fn rewritten_aggregate(
        &self,
        input: NodeIndex,
        mut window: WindowSpec,
        keys: &[usize],
        mut aggregates: Vec<AggregateCall>,
        emit: Emit,
    ) -> Op {
        window.time_column = self.column(input, window.time_column);
        if let WindowKind::Attached { start_column, end_column } = &mut window.kind {
            *start_column = self.column(input, *start_column);
            *end_column = self.column(input, *end_column);
        }
        for call in &mut aggregates {
            call.args = self.columns(input, &call.args);
            call.filter = call.filter.map(|filter| self.column(input, filter));
        }
        Op::WindowAggregate { input, window, keys: self.columns(input, keys), aggregates, emit }
    }

    /// The rewritten node `input` with exactly the `wanted` columns: a projection if it has others.
    fn exactly(&mut self, input: NodeIndex, wanted: &[usize]) -> NodeIndex {
        if self.kept[input] == wanted {
            return input;
        }
        let schema = self.nodes[input].schema.clone();
        let positions = self.columns(input, wanted);
        let fields: Vec<Field> =
            positions.iter().map(|&position| schema.fields[position].clone()).collect();
        let columns = positions
            .iter()
            .zip(&fields)
            .map(|(&position, field)| Expr::column(position, field.data_type, field.nullable))
            .collect();
        self.push(Op::Calc { input, filter: None, columns }, Schema::new(fields), wanted.to_vec())
    }
}

/// `expr` with each column's number replaced by its position in `kept`.
fn renumbered(expr: &Expr, kept: &[usize]) -> Expr {
    let mut renumbered = expr.clone();
    renumber(&mut renumbered, kept);
    renumbered
}

fn renumber(expr: &mut Expr, kept: &[usize]) {
    match &mut expr.kind {
        ExprKind::Column(column) => {
            *column =
                kept.iter().position(|kept| kept == column).expect("a column that is read is kept");
        }
        ExprKind::Literal(_) => {}
        ExprKind::Call(_, args) | ExprKind::Native(_, args) => {
            args.iter_mut().for_each(|arg| renumber(arg, kept));
        }
        ExprKind::Cast(input) | ExprKind::TryCast(input) => renumber(input, kept),
        ExprKind::Case(branches, otherwise) => {
            for (condition, result) in branches {
                renumber(condition, kept);
                renumber(result, kept);
            }
            renumber(otherwise, kept);
        }
    }
}
