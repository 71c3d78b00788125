//! One glommio executor a shard, pinned to its core, where the kernel allows io_uring.
//!
//! glommio panics where io_uring is denied (as in default containers), so [`is_uring_allowed`] asks the
//! kernel first.

use std::sync::Arc;

use glommio::{LocalExecutorBuilder, Placement};

use super::poll::{drive, join};
use super::{Runtime, Shard};
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::shard::control::Control;
use crate::sys::clock::Clock;

/// Whether the kernel lets this process make an io_uring, and glommio start on it.
pub fn is_uring_allowed() -> bool {
    crate::sys::uring::is_allowed()
}

/// glommio executors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uring {
    clock: Clock,
}

impl Runtime for Uring {
    fn start_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    #[allow(private_interfaces)]
    fn run(&self, shards: Vec<Shard>, control: &Arc<Control>) -> Vec<Vec<(String, LateRows)>> {
        let core_count = core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1));
        let mut handles = Vec::new();
        for shard in shards {
            let (control, clock) = (Arc::clone(control), self.clock);
            let placement = match shard.index < core_count {
                true => Placement::Fixed(shard.index),
                false => Placement::Unbound,
            };
            let builder =
                LocalExecutorBuilder::new(placement).name(&format!("shard-{}", shard.index));
            handles.push(builder.spawn(move || async move { drive(shard, &control, clock) }));
        }
        handles
            .into_iter()
            .map(|handle| match handle {
                Ok(handle) => match handle.join() {
                    Ok(late) => join(Ok(late), control),
                    Err(error) => fail(control, error.to_string()),
                },
                Err(error) => fail(control, error.to_string()),
            })
            .collect()
    }
}

fn fail(control: &Control, message: String) -> Vec<(String, LateRows)> {
    control.fail(JobError::Environment(format!(
        "an io_uring executor: {message}; `--runtime poll` does without"
    )));
    Vec::new()
}
