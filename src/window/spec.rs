//! What a script asks of a window: its kind, its time, and when it shows results.

use std::fmt;

use chrono_tz::Tz;

/// How rows are assigned to windows. All spans are half-open, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Adjacent windows of one size.
    Tumble {
        /// Window length.
        size_ms: i64,
        /// Shift of the first window's start from the epoch.
        offset_ms: i64,
    },
    /// Windows of one size that start every `slide_ms`; a row is in several, or (slide > size) in none.
    Hop {
        /// Window length.
        size_ms: i64,
        /// Distance between two starts.
        slide_ms: i64,
        /// Shift of the first window's start from the epoch.
        offset_ms: i64,
    },
    /// Windows of one start that grow by a step up to a size.
    Cumulate {
        /// Longest window.
        size_ms: i64,
        /// Growth.
        step_ms: i64,
        /// Shift of the first window's start from the epoch.
        offset_ms: i64,
    },
    /// Windows that end after a gap without rows of the key.
    Session {
        /// The gap.
        gap_ms: i64,
    },
    /// The window that an earlier window function attached to the row: TIMESTAMP(3) columns of the input.
    Attached {
        /// The column of `window_start`.
        start_column: usize,
        /// The column of `window_end`.
        end_column: usize,
    },
    /// At every `slide_rows`-th row of a key its last `size_rows` rows, as Flink's `countWindow`; equal: each row once. What is not
    /// full when the input ends does not fire. No row is late. Its times: see [`WindowKind::Global`].
    Count {
        /// Rows that a firing shows at most.
        size_rows: u64,
        /// Rows between two firings.
        slide_rows: u64,
    },
    /// One window a key for ever, as Flink's `GlobalWindows`: it fires as these and [`Emit`] say, never by itself. No row is late.
    ///
    /// Windows of rows hold what the rows' times span: `window_start` is the least, `window_end` the greatest + 1 ms, `window_time`
    /// the greatest: half-open like those of all others.
    Global {
        /// Fire at every so many rows of a key, counted from its last purge.
        every_rows: Option<u64>,
        /// Fire what has not been shown when the input has ended.
        at_end: bool,
        /// After a firing forget the key; every result is `+I`. [`EmitMode::Discarding`] forgets rows too, but not which distinct
        /// values it has counted.
        purges: bool,
    },
}

impl WindowKind {
    /// Whether it consists of rows of a key, whatever their times.
    pub fn is_of_rows(&self) -> bool {
        matches!(self, WindowKind::Count { .. } | WindowKind::Global { .. })
    }

    /// Whether it consists of slices of time.
    pub fn has_slices(&self) -> bool {
        !self.is_of_rows() && !matches!(self, WindowKind::Session { .. })
    }
}

/// Whose clock closes a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDomain {
    /// Watermarks.
    Event,
    /// The machine's clock.
    Processing,
}

/// A window as a plan describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// How rows are assigned.
    pub kind: WindowKind,
    /// Whose clock closes it.
    pub domain: TimeDomain,
    /// The time column of the input (for an attached window, the `window_time`, if it has one; else `window_end`).
    pub time_column: usize,
    /// For TIMESTAMP_LTZ and processing time: windows are cut in this zone's wall time.
    pub time_zone: Option<Tz>,
    /// Written as a group window (`GROUP BY TUMBLE(…)`), not as a table function.
    pub group_window: bool,
}

impl WindowSpec {
    /// A table function's window over event time in UTC, which is the first column.
    pub fn by_event_time(kind: WindowKind) -> Self {
        let (domain, time_zone) = (TimeDomain::Event, None);
        Self { kind, domain, time_column: 0, time_zone, group_window: false }
    }
}

/// Whose clock an early firing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitClock {
    /// The machine's clock, as in Flink: the delay runs from a window's first row.
    Processing,
    /// Multiples of the delay in event time, as the watermark passes them: deterministic.
    Event,
}

/// What a firing shows of a window that fired before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitMode {
    /// `-U` of the old result and `+U` of the new one.
    Retracting,
    /// `+U` of the new result alone, an upsert.
    Accumulating,
    /// `+I` of what came since the last firing.
    Discarding,
}

/// When a window shows results besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emit {
    /// Fire early with this delay; 0: after every row.
    pub early_delay_ms: Option<i64>,
    /// Whose clock early firing follows.
    pub early_clock: EmitClock,
    /// Fire for late rows with this delay; 0: after every row.
    pub late_delay_ms: Option<i64>,
    /// How long a fired window takes late rows. Without `late_delay_ms` it has no effect, as in Flink.
    pub allow_lateness_ms: i64,
    /// What a later firing shows.
    pub mode: EmitMode,
}

impl Emit {
    /// One result, at the window's end.
    pub const AT_END: Emit = Emit {
        early_delay_ms: None,
        early_clock: EmitClock::Processing,
        late_delay_ms: None,
        allow_lateness_ms: 0,
        mode: EmitMode::Retracting,
    };

    /// Whether a window fires once.
    pub fn is_once(&self) -> bool {
        self.early_delay_ms.is_none() && self.late_delay_ms.is_none()
    }

    /// Whether a row may be shown by itself, as soon as it comes.
    pub fn shows_rows(&self) -> bool {
        self.early_delay_ms == Some(0) || self.late_delay_ms.is_some()
    }
}

impl WindowKind {
    /// Why windows of this kind cannot show results when `emit` says, if they cannot.
    pub fn refusal(&self, emit: &Emit) -> Option<&'static str> {
        let is_session = matches!(self, WindowKind::Session { .. });
        (is_session && !emit.is_once())
            .then_some("session windows do not fire early or late, in Flink neither")
    }
}

impl fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            WindowKind::Tumble { size_ms, offset_ms } => {
                write!(f, "TUMBLE(size {size_ms} ms, offset {offset_ms} ms)")
            }
            WindowKind::Hop { size_ms, slide_ms, offset_ms } => {
                write!(f, "HOP(slide {slide_ms} ms, size {size_ms} ms, offset {offset_ms} ms)")
            }
            WindowKind::Cumulate { size_ms, step_ms, offset_ms } => {
                write!(f, "CUMULATE(step {step_ms} ms, size {size_ms} ms, offset {offset_ms} ms)")
            }
            WindowKind::Session { gap_ms } => write!(f, "SESSION(gap {gap_ms} ms)"),
            WindowKind::Attached { .. } => f.write_str("ATTACHED"),
            WindowKind::Count { size_rows, slide_rows } => {
                write!(f, "COUNT(slide {slide_rows} rows, size {size_rows} rows)")
            }
            WindowKind::Global { every_rows, at_end, purges } => {
                write!(f, "GLOBAL(every {every_rows:?} rows, at end {at_end}, purges {purges})")
            }
        }?;
        write!(f, " on ${}", self.time_column)?;
        if self.domain == TimeDomain::Processing {
            f.write_str(" (processing time)")?;
        }
        if let Some(zone) = self.time_zone {
            write!(f, " in {zone}")?;
        }
        Ok(())
    }
}
