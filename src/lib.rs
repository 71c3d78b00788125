//! Tidemill: event-time window aggregation over streams on one machine.

pub mod agg;
pub mod batch;
pub mod connector;
pub mod error;
pub mod expr;
pub mod format;
pub mod plan;
pub mod sql;
pub mod window;
