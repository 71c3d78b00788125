//! Runs expressions a batch at a time.
//!
//! [`Evaluator::new`] folds constants and picks a kernel for every node by the types of its arguments;
//! `eval` then only calls kernels. A kernel sees whole columns, or a scalar where an argument is the same
//! in every row, and returns a column. Nothing is decided a row at a time.
//!
//! # Invariants
//!
//! 1. A node's value has the Arrow type of its expression; a scalar has one row.
//! 2. A kernel never fails on a row in which an argument is NULL, whatever lies under the NULL.
//! 3. Rows that a branch does not own are never evaluated by a kernel that can fail.

mod arithmetic;
mod casts;
mod compare;
mod datum;
#[cfg(feature = "sql")]
mod digests;
mod encodings;
mod fields;
mod fold;
mod formats;
mod logic;
mod math;
mod patterns;
mod strings;
mod times;

use std::fmt;

use arrow_array::{Array, ArrayRef, UInt32Array, new_empty_array, new_null_array};
use chrono_tz::Tz;

use crate::batch::Batch;
use crate::error::EvalError;

use super::expression::{Expr, ExprKind};
use super::native::NativeFunction;
use datum::Datum;

pub use fold::fold;
pub(super) use patterns::unsupported as unsupported_regex;

/// What an expression may know besides its row.
#[derive(Clone, Copy, Debug)]
pub struct EvalContext {
    /// The session's zone (`table.local-time-zone`).
    pub time_zone: Tz,
    /// The time of CURRENT_TIMESTAMP and PROCTIME(), in milliseconds since 1970-01-01 UTC.
    pub now_ms: i64,
}

/// A loop over columns: arguments, rows, context.
type Kernel =
    Box<dyn Fn(&[Datum], usize, &EvalContext) -> Result<ArrayRef, EvalError> + Send + Sync>;

/// A compiled expression.
pub struct Evaluator {
    root: Node,
    text: String,
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evaluator({})", self.text)
    }
}

/// A compiled node and the Arrow type of its value.
struct Node {
    work: Work,
    data_type: arrow_schema::DataType,
}

enum Work {
    Column(usize),
    Constant(ArrayRef),
    Apply { kernel: Kernel, args: Vec<Node>, fallible: bool },
    Logic { and: bool, args: Vec<Node> },
    Case { branches: Vec<(Node, Node)>, otherwise: Box<Node> },
    Coalesce(Vec<Node>),
}

/// The rows that a node looks at.
struct Frame<'a> {
    columns: &'a [ArrayRef],
    rows: usize,
    context: &'a EvalContext,
}

impl Evaluator {
    /// Compiles `expr`; `time_zone` is the session's.
    pub fn new(expr: &Expr, time_zone: Tz) -> Evaluator {
        let folded = fold(expr.clone(), time_zone);
        Evaluator { root: compile(&folded), text: folded.to_string() }
    }

    /// The expression's value in every row of `batch`.
    ///
    /// # Errors
    ///
    /// The first row that fails; a job stops there, after the rows before it.
    pub fn eval(&self, batch: &Batch, context: &EvalContext) -> Result<ArrayRef, EvalError> {
        let mut rows = batch.rows;
        let mut first = None;
        loop {
            let result = if rows == batch.rows {
                self.eval_frame(&Frame { columns: &batch.columns, rows, context })
            } else {
                let columns: Vec<ArrayRef> =
                    batch.columns.iter().map(|column| column.slice(0, rows)).collect();
                self.eval_frame(&Frame { columns: &columns, rows, context })
            };
            // Another part of the expression may fail on an earlier row.
            match (result, first) {
                (Err(error), _) if error.row_index > 0 => {
                    rows = error.row_index;
                    first = Some(error);
                }
                (Err(error), _) | (Ok(_), Some(error)) => return Err(error),
                (Ok(column), None) => return Ok(column),
            }
        }
    }

    fn eval_frame(&self, frame: &Frame<'_>) -> Result<ArrayRef, EvalError> {
        if frame.rows == 0 {
            return Ok(new_empty_array(&self.root.data_type));
        }
        Ok(self.root.eval(frame)?.into_column(frame.rows))
    }
}

/// The node of an expression whose constants are folded.
fn compile(expr: &Expr) -> Node {
    let work = match &expr.kind {
        ExprKind::Column(index) => Work::Column(*index),
        ExprKind::Literal(value) => Work::Constant(datum::constant(value, expr.data_type)),
        ExprKind::Call(name @ ("AND" | "OR"), args) => {
            Work::Logic { and: *name == "AND", args: args.iter().map(compile).collect() }
        }
        ExprKind::Call("COALESCE", args) => Work::Coalesce(args.iter().map(compile).collect()),
        ExprKind::Call(name, args) => {
            let (kernel, fallible) = kernel(name, args, expr);
            Work::Apply { kernel, args: args.iter().map(compile).collect(), fallible }
        }
        ExprKind::Native(function, args) => {
            let (function, args) = (function.clone(), args.iter().map(compile).collect());
            Work::Apply { kernel: native(function), args, fallible: true }
        }
        ExprKind::Cast(input) => {
            let (kernel, fallible) =
                casts::kernel(input.data_type, expr.data_type, casts::OnFailure::Fail);
            Work::Apply { kernel, args: vec![compile(input)], fallible }
        }
        ExprKind::TryCast(input) => {
            let (kernel, _) =
                casts::kernel(input.data_type, expr.data_type, casts::OnFailure::Null);
            Work::Apply { kernel, args: vec![compile(input)], fallible: false }
        }
        ExprKind::Case(branches, otherwise) => Work::Case {
            branches: branches
                .iter()
                .map(|(condition, result)| (compile(condition), compile(result)))
                .collect(),
            otherwise: Box::new(compile(otherwise)),
        },
    };
    Node { work, data_type: expr.data_type.arrow() }
}

/// The loop of a function written in Rust, which sees columns.
fn native(function: NativeFunction) -> Kernel {
    Box::new(move |args, rows, _| {
        let columns: Vec<ArrayRef> = args.iter().map(|arg| arg.clone().into_column(rows)).collect();
        function.eval(&columns, rows)
    })
}

/// The loop for a call, and whether it can fail.
///
/// # Panics
///
/// If no module has it: the binder let a name through that nobody computes, a bug of ours.
fn kernel(name: &'static str, args: &[Expr], expr: &Expr) -> (Kernel, bool) {
    None.or_else(|| compare::kernel(name, args))
        .or_else(|| arithmetic::kernel(name, args, expr.data_type))
        .or_else(|| times::kernel(name, args))
        .or_else(|| math::kernel(name, args, expr.data_type))
        .or_else(|| patterns::kernel(name, args, expr.data_type))
        .or_else(|| strings::kernel(name, args))
        .or_else(|| encodings::kernel(name, args))
        .or_else(|| fields::kernel(name, args))
        .or_else(|| formats::kernel(name, args))
        .unwrap_or_else(|| panic!("no kernel computes {expr}"))
}

impl Node {
    /// The value in every row of `frame`, which has at least one.
    fn eval(&self, frame: &Frame<'_>) -> Result<Datum, EvalError> {
        match &self.work {
            Work::Column(index) => Ok(Datum::Column(frame.columns[*index].clone())),
            Work::Constant(value) => Ok(Datum::Scalar(value.clone())),
            Work::Apply { kernel, args, .. } => {
                let args = args.iter().map(|arg| arg.eval(frame)).collect::<Result<Vec<_>, _>>()?;
                let scalar = args.iter().all(|arg| matches!(arg, Datum::Scalar(_)));
                let rows = if scalar { 1 } else { frame.rows };
                let column = kernel(&args, rows, frame.context)?;
                debug_assert_eq!(column.len(), rows);
                Ok(if scalar { Datum::Scalar(column) } else { Datum::Column(column) })
            }
            Work::Logic { and, args } => logic::junction(*and, args, frame),
            Work::Case { branches, otherwise } => logic::case(branches, otherwise, frame),
            Work::Coalesce(args) => logic::coalesce(args, frame),
        }
    }

    /// Whether some row may fail.
    fn fallible(&self) -> bool {
        match &self.work {
            Work::Column(_) | Work::Constant(_) => false,
            Work::Apply { args, fallible, .. } => *fallible || args.iter().any(Node::fallible),
            Work::Logic { args, .. } | Work::Coalesce(args) => args.iter().any(Node::fallible),
            Work::Case { branches, otherwise } => {
                otherwise.fallible()
                    || branches
                        .iter()
                        .any(|(condition, result)| condition.fallible() || result.fallible())
            }
        }
    }

    fn visit_columns(&self, visit: &mut impl FnMut(usize)) {
        match &self.work {
            Work::Column(index) => visit(*index),
            Work::Constant(_) => {}
            Work::Apply { args, .. } | Work::Logic { args, .. } | Work::Coalesce(args) => {
                args.iter().for_each(|arg| arg.visit_columns(visit));
            }
            Work::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    condition.visit_columns(visit);
                    result.visit_columns(visit);
                }
                otherwise.visit_columns(visit);
            }
        }
    }

    /// The value in the rows that `owned` holds; NULL elsewhere if evaluating those might fail (invariant 3).
    fn eval_owned(
        &self,
        frame: &Frame<'_>,
        owned: &arrow_buffer::BooleanBuffer,
    ) -> Result<Datum, EvalError> {
        let count = owned.count_set_bits();
        if count == 0 {
            return Ok(Datum::Scalar(new_null_array(&self.data_type, 1)));
        }
        if count == frame.rows || !self.fallible() {
            return self.eval(frame);
        }
        let positions: Vec<u32> = owned.set_indices().map(|row| row as u32).collect();
        let indices = UInt32Array::from(positions);
        let mut columns = frame.columns.to_vec();
        let mut wanted = Vec::new();
        self.visit_columns(&mut |index| wanted.push(index));
        wanted.sort_unstable();
        wanted.dedup();
        for index in wanted {
            columns[index] = arrow_select::take::take(&columns[index], &indices, None)
                .expect("indices are rows");
        }
        let inner = Frame { columns: &columns, rows: indices.len(), context: frame.context };
        let value = self.eval(&inner).map_err(|error| EvalError {
            row_index: indices.values()[error.row_index] as usize,
            ..error
        })?;
        let mut next = 0u32;
        let back: UInt32Array = owned
            .iter()
            .map(|kept| {
                next += u32::from(kept);
                kept.then(|| next - 1)
            })
            .collect();
        let column = value.into_column(indices.len());
        Ok(Datum::Column(arrow_select::take::take(&column, &back, None).expect("indices are rows")))
    }
}

#[cfg(test)]
mod tests;
