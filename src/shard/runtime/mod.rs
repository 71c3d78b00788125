//! What drives the shards: three runtimes behind one trait.
//!
//! - [`Poll`]: one pinned thread a shard; a busy shard spins, an idle one sleeps in `poll(2)`.
//! - [`Uring`]: one glommio executor a shard, where io_uring is allowed: files are read while the shard works.
//! - [`Sim`]: all shards on one thread, in an order drawn from a seed, on simulated time.

mod poll;
mod sim;
mod uring;

use std::sync::Arc;

pub use poll::Poll;
pub use sim::Sim;
pub use uring::{Uring, is_uring_allowed};

pub(crate) use super::checkpoint::{Coordinator, CoordinatorStep};
use super::control::Control;
pub(crate) use super::input::ReadRequest;
pub(crate) use super::machine::{Shard, Step};
use crate::metrics::LateRows;

/// Drives the shards of a job to their end.
pub trait Runtime {
    /// Processing time at the start, in milliseconds since the epoch.
    fn start_ms(&self) -> i64;
    /// Runs the shards, and the coordinator of snapshots until it has nothing left to do, and returns what each says of late rows.
    #[allow(private_interfaces)]
    fn run(
        &self,
        shards: Vec<Shard>,
        control: &Arc<Control>,
        coordinator: Option<Coordinator>,
    ) -> Vec<Vec<(String, LateRows)>>;
}
