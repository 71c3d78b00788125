//! All shards on one thread, in an order drawn from a seed, on simulated time: any schedule can be had again.
//!
//! The process that they simulate may be killed after a number of steps: shards and coordinator are dropped as they stand, with
//! nothing flushed, sealed or finished.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::poll::wait;
use super::{Coordinator, CoordinatorStep, Runtime, Shard, Step};
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::shard::control::Control;
use crate::sys::random::Random;

/// Simulated time at the start: 2024-01-01.
const START_MS: i64 = 1_704_067_200_000;

/// A seeded scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Sim {
    seed: u64,
    /// After so many steps the process is killed.
    steps_max: u64,
}

impl Sim {
    /// A scheduler that repeats itself for the same `seed`.
    pub fn new(seed: u64) -> Self {
        Self::dying(seed, u64::MAX)
    }

    /// The same, killed after `steps` steps if the job has not ended by then: it fails with [`JobError::Killed`].
    pub fn dying(seed: u64, steps: u64) -> Self {
        Self { seed, steps_max: steps }
    }
}

impl Runtime for Sim {
    fn start_ms(&self) -> i64 {
        START_MS
    }

    /// # Panics
    ///
    /// If no shard can move although the job has not ended: a deadlock, which is a bug.
    #[allow(private_interfaces)]
    fn run(
        &self,
        mut shards: Vec<Shard>,
        control: &Arc<Control>,
        coordinator: Option<Coordinator>,
    ) -> Vec<Vec<(String, LateRows)>> {
        let mut steps_left = self.steps_max;
        let mut snapshots = coordinator.map(Coordinator::without_waiting);
        let mut random = Random::new(self.seed);
        let mut now_ms = START_MS;
        let mut late: Vec<Option<Vec<(String, LateRows)>>> = shards.iter().map(|_| None).collect();
        let mut idle = vec![false; shards.len()];
        while late.iter().any(Option::is_none) {
            if steps_left == 0 {
                control.fail(JobError::Killed);
                return Vec::new();
            }
            steps_left -= 1;
            let open: Vec<usize> =
                (0..shards.len()).filter(|&shard| late[shard].is_none()).collect();
            let chosen = open[random.below(open.len() as u64) as usize];
            // The coordinator takes its turn about as often as a shard does.
            if let Some(coordinator) = &mut snapshots
                && random.below(open.len() as u64 + 1) == 0
                && coordinator.step(now_ms) == CoordinatorStep::Busy
            {
                idle.fill(false);
            }
            match shards[chosen].step(now_ms) {
                Step::Busy => idle.fill(false),
                Step::Done => {
                    late[chosen] = Some(shards[chosen].late_rows());
                    idle.fill(false);
                }
                Step::Idle { wake_at_ms, .. } => {
                    idle[chosen] = true;
                    if open.iter().all(|&shard| idle[shard]) {
                        if let Some(coordinator) = &mut snapshots
                            && coordinator.step(now_ms) == CoordinatorStep::Busy
                        {
                            idle.fill(false);
                            continue;
                        }
                        let wake = wake_at_ms.or_else(|| wakes(&mut shards, &open, now_ms));
                        if waits_outside(&mut shards, &open, now_ms, control, wake.is_some()) {
                            idle.fill(false);
                            continue;
                        }
                        now_ms = wake.expect("a shard can always move: deadlock").max(now_ms + 1);
                        idle.fill(false);
                    }
                }
            }
        }
        if let Some(mut coordinator) = snapshots {
            coordinator.shared().over.store(true, Ordering::SeqCst);
            while coordinator.step(now_ms) != CoordinatorStep::Done {
                if steps_left == 0 {
                    control.fail(JobError::Killed);
                    break;
                }
                steps_left -= 1;
            }
        }
        late.into_iter().map(|late| late.expect("all are done")).collect()
    }
}

/// The earliest time at which a sleeping shard would wake.
fn wakes(shards: &mut [Shard], open: &[usize], now_ms: i64) -> Option<i64> {
    let waits = open.iter().map(|&shard| match shards[shard].step(now_ms) {
        Step::Idle { wake_at_ms, .. } => wake_at_ms,
        _ => Some(now_ms),
    });
    waits.flatten().min()
}

/// How long the outside is waited for at once, so that a job that is told to stop notices; and where simulated time could go on instead.
const OUTSIDE_MS: i64 = 50;
const OUTSIDE_BRIEF_MS: i64 = 1;

/// Waits for streams from outside of the simulation, whose schedule no seed draws; whether the shards should look again before
/// simulated time goes on.
fn waits_outside(
    shards: &mut [Shard],
    open: &[usize],
    now_ms: i64,
    control: &Control,
    may_go_on: bool,
) -> bool {
    let mut descriptors = Vec::new();
    for &shard in open {
        match shards[shard].step(now_ms) {
            Step::Idle { descriptors: more, .. } => descriptors.extend(more),
            // Something came just now.
            _ => return true,
        }
    }
    if descriptors.is_empty() {
        return false;
    }
    let timeout_ms = if may_go_on { OUTSIDE_BRIEF_MS } else { OUTSIDE_MS };
    let doorbell = control.doorbells[0].descriptor.as_fd();
    wait(doorbell, &descriptors, Some(timeout_ms)) || !may_go_on
}
