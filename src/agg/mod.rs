//! Aggregate functions: what each is called with and returns; update, merge and finish over slices.
//!
//! # Invariants
//!
//! 1. No I/O, no store, no window is known here.
//! 2. Every function is associative over the sequence of its rows: `merge(a, b)` equals having updated `a` with `b`'s rows, in order.

mod call;

pub use call::{AggregateCall, AggregateFunction, bind};
