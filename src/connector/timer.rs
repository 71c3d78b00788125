//! Time as a descriptor: a timer that becomes readable, so that nobody asks a clock.
//!
//! # Invariants
//!
//! 1. Reading it never waits.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// A timer that ticks for ever.
#[derive(Debug)]
pub(super) struct Timer {
    descriptor: OwnedFd,
    interval_ms: u64,
}

impl Timer {
    /// A timer that ticks every `interval_ms`, at least 1.
    pub(super) fn every(interval_ms: u64) -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let descriptor = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let timer = Self { descriptor, interval_ms };
        timer.restart()?;
        Ok(timer)
    }

    /// Forgets its ticks; the next comes after a whole interval.
    pub(super) fn restart(&self) -> Result<(), Errno> {
        let ms = self.interval_ms.max(1);
        let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
        let interval = Timespec { tv_sec: seconds, tv_nsec: (ms % 1000 * 1_000_000) as _ };
        let spec = Itimerspec { it_interval: interval, it_value: interval };
        rustix::time::timerfd_settime(&self.descriptor, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// How often it has ticked since it was last asked.
    pub(super) fn ticks(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.descriptor, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            _ => 0,
        }
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
