//! Typed scalar expressions over the columns of a batch, with Flink's types, NULLs and errors.
//!
//! The binder builds an [`Expr`] through [`call`], [`cast`] and [`case`], which resolve names,
//! insert coercions and settle types; the engine compiles it once into an [`Evaluator`] and runs it
//! a batch at a time. Evaluation is columnar: an operator is a loop over slices, chosen by type when
//! the expression is compiled.
//!
//! # Invariants
//!
//! 1. An `Expr` is fully typed: every implicit cast is a node of its own.
//! 2. Branches of CASE, IF, COALESCE and the right side of AND/OR never fail on rows they do not own.
//! 3. No clock is read here: CURRENT_TIMESTAMP and its kin take the time from [`EvalContext`].

mod bind;
mod calendar;
mod eval;
mod expression;
#[cfg(all(test, feature = "sql"))]
mod flink;
mod java_time;
mod native;
pub mod text;
mod types;

pub use crate::error::panic_text;
pub use bind::{call, case, cast, implicit_sink_cast, is_function, try_cast};
pub use eval::{EvalContext, Evaluator, fold};
pub use expression::{Expr, ExprKind, Value};
pub use native::{Native, NativeFunction};
pub use types::common_type;
