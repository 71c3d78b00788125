//! Tidemill: event-time window aggregation over streams on one machine.

pub mod agg;
pub mod batch;
pub mod cli;
pub mod connector;
pub mod error;
pub mod expr;
pub mod format;
pub mod job;
pub mod metrics;
pub mod op;
pub mod plan;
pub mod ring;
pub mod shard;
pub mod sql;
pub mod state;
mod sync;
pub mod sys;
pub mod window;
