//! The open-loop generator: row *n* is due at *n* ÷ rate, whatever became of those before it.

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::Duration;

use tidemill::sys::clock::{Clock, Stopwatch};

/// Row *n* has key *n* mod this.
pub(super) const KEYS: u64 = 1000;
/// The most bytes that are written at once: a row is on its way before many after it are due.
const WRITE_BYTES: usize = 1 << 16;
const LINE_BYTES_MAX: usize = 48;

/// Sends rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generator {
    rate: u64,
    span: Duration,
    /// Whether rows are sent when they are due; or as soon as they are taken.
    is_paced: bool,
}

impl Generator {
    /// Rows when they are due, for so long.
    pub(super) fn paced(rate: u64, span: Duration) -> Self {
        Self { rate, span, is_paced: true }
    }

    /// Rows as soon as they are taken, for so long; event time runs as if they came at `rate`.
    pub(super) fn flood(rate: u64, span: Duration) -> Self {
        Self { rate, span, is_paced: false }
    }

    /// Rows a second of event time.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Whether this row will come before the end; of a flood nobody knows, and nobody asks.
    pub(super) fn sends(&self, row: u64) -> bool {
        !self.is_paced || row < rows_due(self.rate, self.span)
    }

    /// Waits for the job, begins the time that all dues are counted from, and sends; how many rows it sent.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub(super) fn send(
        self,
        listener: &TcpListener,
        begin: &OnceLock<Stopwatch>,
    ) -> io::Result<u64> {
        if let Some(core) = core_affinity::get_core_ids().and_then(|cores| cores.last().copied()) {
            core_affinity::set_for_current(core);
        }
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let watch = *begin.get_or_init(|| Clock.start());
        let mut lines = Lines::new();
        let mut sent = 0;
        loop {
            let elapsed = watch.elapsed();
            let due = rows_due(self.rate, elapsed.min(self.span));
            if self.is_paced && sent < due {
                let until = due.min(sent + (WRITE_BYTES / LINE_BYTES_MAX) as u64);
                stream.write_all(lines.of(sent..until, self.rate))?;
                sent = until;
            } else if !self.is_paced && elapsed < self.span {
                let until = sent + (WRITE_BYTES / LINE_BYTES_MAX) as u64;
                stream.write_all(lines.of(sent..until, self.rate))?;
                sent = until;
            } else if elapsed >= self.span {
                return Ok(sent);
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// How many rows are due so long after the begin: the first at once.
fn rows_due(rate: u64, elapsed: Duration) -> u64 {
    (elapsed.as_nanos() * u128::from(rate) / 1_000_000_000) as u64
}

/// When a row is due, in nanoseconds since the begin.
pub(super) fn due_ns(row: u64, rate: u64) -> u64 {
    (u128::from(row) * 1_000_000_000 / u128::from(rate)) as u64
}

/// The first row whose event time is not before `ms`, counted from the begin.
pub(super) fn first_row(ms: u64, rate: u64) -> u64 {
    (u128::from(ms) * u128::from(rate)).div_ceil(1000) as u64
}

/// Renders rows.
struct Lines {
    /// What comes behind the time.
    tails: Vec<String>,
    /// The time that was written last, and how.
    time: (u64, String),
    bytes: Vec<u8>,
}

impl Lines {
    fn new() -> Self {
        let tail = |key: u64| format!(",page-{key:04},{}.25\n", key % 100);
        Self {
            tails: (0..KEYS).map(tail).collect(),
            time: (u64::MAX, String::new()),
            bytes: Vec::with_capacity(WRITE_BYTES),
        }
    }

    fn of(&mut self, rows: std::ops::Range<u64>, rate: u64) -> &[u8] {
        self.bytes.clear();
        for row in rows {
            let ms = due_ns(row, rate) / 1_000_000;
            if ms != self.time.0 {
                self.time = (ms, time(ms));
            }
            self.bytes.extend_from_slice(self.time.1.as_bytes());
            self.bytes.extend_from_slice(self.tails[(row % KEYS) as usize].as_bytes());
        }
        &self.bytes
    }
}

/// So many milliseconds after the begin of 1970, which is when event time begins here.
fn time(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let (day, hours) = (hours / 24 + 1, hours % 24);
    assert!(day <= 31, "nobody measures for a month");
    format!("1970-01-{day:02} {hours:02}:{minutes:02}:{seconds:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dues_and_times_agree() {
        for rate in [1, 7, 999, 1000, 123_457, 5_000_000] {
            for ms in [0, 1, 999, 1000, 61_001] {
                let row = first_row(ms, rate);
                assert!(due_ns(row, rate) >= ms * 1_000_000, "{rate} {ms}");
                assert!(row == 0 || due_ns(row - 1, rate) < ms * 1_000_000, "{rate} {ms}");
            }
        }
        assert_eq!(rows_due(1000, Duration::from_millis(2500)), 2500);
        assert_eq!(time(86_400_000 + 3_723_004), "1970-01-02 01:02:03.004");
    }

    #[test]
    fn lines_are_short_enough() {
        let mut lines = Lines::new();
        let text = String::from_utf8(lines.of(999..1001, 1000).to_vec()).unwrap();
        assert_eq!(
            text,
            "1970-01-01 00:00:00.999,page-0999,99.25\n1970-01-01 00:00:01.000,page-0000,0.25\n"
        );
        assert!(text.lines().all(|line| line.len() < LINE_BYTES_MAX));
    }
}
