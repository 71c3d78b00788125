//! Checks a plan's invariants, for tests: every column that an operator names exists and has the type that it says.

use super::optimise::inputs;
use super::{Node, Op, Plan};
use crate::batch::{DataType, Schema};
use crate::expr::{Expr, ExprKind};
use crate::window::WindowKind;

/// Panics, naming the node, if a plan breaks its invariants.
pub(crate) fn assert_valid(plan: &Plan) {
    let mut read = vec![false; plan.nodes.len()];
    for (index, node) in plan.nodes.iter().enumerate() {
        for input in inputs(&node.op) {
            assert!(input < index, "node {index} reads node {input}");
            read[input] = true;
        }
        check(node, &plan.nodes, index);
    }
    for (index, node) in plan.nodes.iter().enumerate() {
        assert!(read[index] || matches!(node.op, Op::Sink { .. }), "node {index} is not read");
    }
}

fn check(node: &Node, nodes: &[Node], index: usize) {
    let schema = |input: usize| &nodes[input].schema;
    let width = node.schema.column_count();
    match &node.op {
        Op::Scan { .. } => check_scan(node, index),
        Op::Calc { input, filter, columns } => {
            check_outputs(columns, schema(*input), &node.schema, index);
            if let Some(filter) = filter {
                check_expr(filter, schema(*input), index);
                assert!(
                    matches!(filter.data_type, DataType::Boolean | DataType::Null),
                    "node {index}: the filter is {}",
                    filter.data_type
                );
            }
        }
        Op::Union { inputs } => {
            for &input in inputs {
                let same = schema(input).fields.iter().map(|field| field.data_type.arrow());
                assert!(
                    same.eq(node.schema.fields.iter().map(|field| field.data_type.arrow())),
                    "node {index}"
                );
            }
        }
        Op::WindowTable { input, window, partition_by } => {
            let input = schema(*input);
            assert_eq!(input.column_count() + 3, width, "node {index}");
            check_time(input, window.time_column, index);
            assert!(
                partition_by.iter().all(|&column| column < input.column_count()),
                "node {index}"
            );
        }
        Op::Expand { input, sets } => {
            let count = schema(*input).column_count();
            assert_eq!(count + 1, width, "node {index}");
            for set in sets {
                assert!(set.nulled.iter().all(|&column| column < count), "node {index}");
                assert!(
                    set.nulled.iter().all(|&column| node.schema.fields[column].nullable),
                    "node {index}"
                );
            }
        }
        Op::WindowAggregate { input, .. } => check_aggregate(node, schema(*input), index),
        Op::Late { of } => {
            let input = nodes[*of].op.late_input();
            let input = input.unwrap_or_else(|| panic!("node {index}: node {of} has no late rows"));
            let types = schema(input).fields.iter().map(|field| field.data_type);
            assert!(
                types.eq(node.schema.fields.iter().map(|field| field.data_type)),
                "node {index}"
            );
        }
        Op::Process { input, keys, function, .. } => {
            let count = schema(*input).column_count();
            assert!(keys.iter().all(|&key| key < count), "node {index}: the keys");
            assert_eq!(function.schema(), &node.schema, "node {index}");
        }
        Op::Apply { function, .. } => assert_eq!(function.schema(), &node.schema, "node {index}"),
        Op::Sink { input, .. } => {
            let input = schema(*input).fields.iter().map(|field| field.data_type.arrow());
            assert!(
                input.eq(node.schema.fields.iter().map(|field| field.data_type.arrow())),
                "node {index}"
            );
        }
    }
}

fn check_scan(node: &Node, index: usize) {
    let Op::Scan { physical, columns, watermark, .. } = &node.op else { return };
    let width = node.schema.column_count();
    check_outputs(columns, physical, &node.schema, index);
    if let Some(watermark) = watermark {
        assert!(watermark.column < width, "node {index}: the watermark's column");
        check_expr(&watermark.expr, &node.schema, index);
        assert!(watermark.expr.data_type.is_timestamp(), "node {index}: the watermark's type");
    }
}

fn check_aggregate(node: &Node, input: &Schema, index: usize) {
    let Op::WindowAggregate { window, keys, aggregates, .. } = &node.op else { return };
    let width = node.schema.column_count();
    assert_eq!(keys.len() + aggregates.len() + 3, width, "node {index}");
    if let WindowKind::Attached { start_column, end_column } = window.kind {
        for column in [start_column, end_column] {
            assert_eq!(input.fields[column].data_type, DataType::Timestamp(3), "node {index}");
        }
    }
    check_time(input, window.time_column, index);
    for (position, call) in aggregates.iter().enumerate() {
        assert!(call.args.iter().all(|&arg| arg < input.column_count()), "node {index}: {call}");
        if let Some(filter) = call.filter {
            assert_eq!(
                input.fields[filter].data_type.arrow(),
                DataType::Boolean.arrow(),
                "node {index}: {call}"
            );
        }
        assert_eq!(
            node.schema.fields[keys.len() + position].data_type,
            call.data_type,
            "node {index}: {call}"
        );
    }
    for (position, &key) in keys.iter().enumerate() {
        assert_eq!(
            node.schema.fields[position].data_type, input.fields[key].data_type,
            "node {index}"
        );
    }
}

fn check_time(schema: &Schema, column: usize, index: usize) {
    assert!(schema.fields[column].data_type.is_timestamp(), "node {index}: the time column");
}

fn check_outputs(columns: &[Expr], input: &Schema, output: &Schema, index: usize) {
    assert_eq!(columns.len(), output.column_count(), "node {index}: the number of columns");
    for (column, field) in columns.iter().zip(output.fields.iter()) {
        check_expr(column, input, index);
        assert_eq!(
            column.data_type.arrow(),
            field.data_type.arrow(),
            "node {index}: {}",
            field.name
        );
        assert!(field.nullable || !column.nullable, "node {index}: {} may be NULL", field.name);
    }
}

fn check_expr(expr: &Expr, input: &Schema, index: usize) {
    match &expr.kind {
        ExprKind::Column(column) => {
            let field = input
                .fields
                .get(*column)
                .unwrap_or_else(|| panic!("node {index}: no column {column}"));
            assert_eq!(
                field.data_type.arrow(),
                expr.data_type.arrow(),
                "node {index}: {}",
                field.name
            );
        }
        ExprKind::Literal(_) => {}
        ExprKind::Call(_, args) | ExprKind::Native(_, args) => {
            args.iter().for_each(|arg| check_expr(arg, input, index));
        }
        ExprKind::Cast(inner) | ExprKind::TryCast(inner) => check_expr(inner, input, index),
        ExprKind::Case(branches, otherwise) => {
            for (when, then) in branches {
                check_expr(when, input, index);
                check_expr(then, input, index);
            }
            check_expr(otherwise, input, index);
        }
    }
}
