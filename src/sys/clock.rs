//! The machine's clock, the only place that reads it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads the machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Milliseconds since the Unix epoch.
    #[allow(clippy::disallowed_methods)]
    pub fn now_ms(self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    /// A point on the monotonic clock.
    #[allow(clippy::disallowed_methods)]
    pub fn start(self) -> Stopwatch {
        Stopwatch(Instant::now())
    }
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Time since it was started.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
