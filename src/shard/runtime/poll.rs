//! One pinned thread a shard. A shard with nothing to do spins briefly, then sleeps until its doorbell rings, one
//! of its streams is readable, or a timer is due; an idle job uses no CPU.
//!
//! # Invariants
//!
//! 1. A shard says that it sleeps before it looks a last time, and whoever makes work for it looks whether it sleeps
//!    after that (both with full fences), so no wake-up is lost.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Coordinator, CoordinatorStep, Runtime, Shard, Step};
use crate::metrics::LateRows;
use crate::shard::checkpoint::Checkpoints;
use crate::shard::control::Control;
use crate::sys::clock::Clock;
use crate::sys::schedule::yield_to_others;

/// How often a shard with nothing to do looks again before it sleeps.
pub(super) const SPINS: u32 = 200;

/// Pinned threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Poll {
    clock: Clock,
}

impl Runtime for Poll {
    fn start_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    #[allow(private_interfaces)]
    fn run(
        &self,
        shards: Vec<Shard>,
        control: &Arc<Control>,
        coordinator: Option<Coordinator>,
    ) -> Vec<Vec<(String, LateRows)>> {
        let snapshots = SnapshotThread::start(coordinator, control, self.clock);
        let late = std::thread::scope(|scope| {
            let threads: Vec<_> = shards
                .into_iter()
                .map(|shard| {
                    let (control, clock) = (Arc::clone(control), self.clock);
                    let name = format!("shard-{}", shard.index);
                    let body = move || {
                        pin(&shard);
                        drive(shard, &control, clock)
                    };
                    std::thread::Builder::new()
                        .name(name)
                        .spawn_scoped(scope, body)
                        .expect("threads can be started")
                })
                .collect();
            threads.into_iter().map(|thread| join(thread.join(), control)).collect()
        });
        snapshots.finish(control);
        late
    }
}

/// Pins this thread to the core of its shard, of those that the process may use; a shard that has none goes where there is time.
pub(super) fn pin(shard: &Shard) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.get(shard.index).copied().map(core_affinity::set_for_current);
}

/// How far the thread of snapshots stands behind the shards where cores are short.
const NICENESS: i32 = 5;

/// The thread that makes snapshots durable, in a job that takes any.
pub(super) struct SnapshotThread(Option<(JoinHandle<()>, Arc<Checkpoints>)>);

impl SnapshotThread {
    pub(super) fn start(
        coordinator: Option<Coordinator>,
        control: &Arc<Control>,
        clock: Clock,
    ) -> Self {
        let Some(mut coordinator) = coordinator else { return Self(None) };
        let (shared, control) = (coordinator.shared(), Arc::clone(control));
        let body = move || {
            let _guard = FailOnPanic(&control);
            // Woken by a shard, it should not take the core from that very shard.
            yield_to_others(NICENESS);
            loop {
                match coordinator.step(clock.now_ms()) {
                    CoordinatorStep::Busy => {}
                    CoordinatorStep::Done => break,
                    CoordinatorStep::Idle(_) => rest(&mut coordinator, clock),
                }
            }
        };
        let thread = std::thread::Builder::new().name("snapshots".into()).spawn(body);
        Self(Some((thread.expect("threads can be started"), shared)))
    }

    /// Waits until what the shards have reported is durable.
    pub(super) fn finish(self, control: &Control) {
        let Some((thread, shared)) = self.0 else { return };
        shared.over.store(true, Ordering::SeqCst);
        shared.doorbell.ring();
        join(thread.join(), control);
    }
}

/// Lets the coordinator sleep until there may be something to do.
fn rest(coordinator: &mut Coordinator, clock: Clock) {
    let shared = coordinator.shared();
    shared.doorbell.sleeping.store(true, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    if let CoordinatorStep::Idle(wake_at_ms) = coordinator.step(clock.now_ms()) {
        let timeout_ms = wake_at_ms.map(|at| at - clock.now_ms());
        wait(shared.doorbell.descriptor.as_fd(), &[], timeout_ms);
    }
    shared.doorbell.sleeping.store(false, Ordering::Relaxed);
    // It may not have rung.
    let _ = rustix::io::read(&shared.doorbell.descriptor, &mut [0; 8]);
}

/// A shard that panicked has a bug; the job ends, its surroundings go on.
pub(super) fn join<T: Default>(result: std::thread::Result<T>, control: &Control) -> T {
    result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        control
            .fail(crate::error::JobError::Internal(text.unwrap_or("a shard panicked").to_owned()));
        T::default()
    })
}

/// Fails the job if the shard unwinds, so that the others do not wait for it.
pub(super) struct FailOnPanic<'a>(pub(super) &'a Control);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(crate::error::JobError::Internal("a shard panicked".into()));
        }
    }
}

/// Runs one shard on this thread.
fn drive(mut shard: Shard, control: &Control, clock: Clock) -> Vec<(String, LateRows)> {
    let _guard = FailOnPanic(control);
    let mut spins = 0;
    loop {
        match shard.step(clock.now_ms()) {
            Step::Busy => spins = 0,
            Step::Done => return shard.late_rows(),
            Step::Idle { .. } if spins < SPINS => {
                spins += 1;
                std::thread::yield_now();
            }
            Step::Idle { .. } => sleep(&mut shard, control, clock),
        }
    }
}

/// Sleeps until there may be work.
pub(super) fn sleep(shard: &mut Shard, control: &Control, clock: Clock) {
    let doorbell = &control.doorbells[shard.index];
    doorbell.sleeping.store(true, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    if let Step::Idle { descriptors, wake_at_ms } = shard.step(clock.now_ms()) {
        wait(doorbell.descriptor.as_fd(), &descriptors, wake_at_ms.map(|at| at - clock.now_ms()));
    }
    doorbell.sleeping.store(false, Ordering::Relaxed);
    let mut counter = [0; 8];
    // It may not have rung.
    let _ = rustix::io::read(&doorbell.descriptor, &mut counter);
}

/// Waits for the doorbell, a descriptor, or the time; whether it was one of the former.
pub(super) fn wait(
    doorbell: BorrowedFd<'_>,
    descriptors: &[RawFd],
    timeout_ms: Option<i64>,
) -> bool {
    let mut polled = vec![PollFd::from_borrowed_fd(doorbell, PollFlags::IN)];
    polled.extend(descriptors.iter().map(|&descriptor| {
        PollFd::from_borrowed_fd(crate::sys::descriptor::borrow(descriptor), PollFlags::IN)
    }));
    let timeout = timeout_ms.map(|ms| {
        let ms = ms.max(0);
        Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
    });
    // An interrupted wait is a short one.
    poll(&mut polled, timeout.as_ref()).is_ok_and(|ready_count| ready_count > 0)
}
