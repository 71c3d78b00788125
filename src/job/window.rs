//! Windows as a job describes them.

use std::time::Duration;

use crate::window::{Emit, EmitClock, EmitMode, WindowKind};

/// A length of time, in milliseconds.
///
/// ```
/// use std::time::Duration;
/// use tidemill::Span;
///
/// assert_eq!(Span::minutes(2), Span::from(Duration::from_secs(120)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub(super) ms: i64,
}

impl Span {
    /// So many milliseconds.
    pub const fn millis(count: i64) -> Self {
        Self { ms: count }
    }

    /// So many seconds.
    pub const fn seconds(count: i64) -> Self {
        Self::millis(count.saturating_mul(1000))
    }

    /// So many minutes.
    pub const fn minutes(count: i64) -> Self {
        Self::seconds(count.saturating_mul(60))
    }

    /// So many hours.
    pub const fn hours(count: i64) -> Self {
        Self::minutes(count.saturating_mul(60))
    }

    /// So many days of 24 hours.
    pub const fn days(count: i64) -> Self {
        Self::hours(count.saturating_mul(24))
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self::millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

/// How often, and by whose clock, a window shows results besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every {
    delay_ms: i64,
    clock: EmitClock,
}

impl Every {
    /// At multiples of `delay` in event time, as the watermark passes them: the same on every run.
    pub fn event_time(delay: impl Into<Span>) -> Self {
        Self { delay_ms: delay.into().ms, clock: EmitClock::Event }
    }

    /// By the machine's clock, `delay` after a window's first row and again and again, as Flink does it.
    pub fn processing_time(delay: impl Into<Span>) -> Self {
        Self { delay_ms: delay.into().ms, clock: EmitClock::Processing }
    }

    /// With every row.
    pub fn row() -> Self {
        Self { delay_ms: 0, clock: EmitClock::Processing }
    }
}

/// What a later firing shows of a window that has fired before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The old result taken back, and the new one.
    #[default]
    Retracting,
    /// The new result.
    Accumulating,
    /// What came since the last firing.
    Discarding,
}

/// A window, and when it shows results.
///
/// ```
/// use tidemill::{Every, Job, Mode, Options, Records, Span, Window};
///
/// /// What each window adds up, of the numbers 0 to 9, one a second.
/// fn sums(window: Window) -> Result<Vec<i64>, tidemill::error::JobError> {
///     let (sums, received) = std::sync::mpsc::channel();
///     Job::new("sums")
///         .source("numbers", Records::new(0..10_i64))
///         .watermark(|n| *n * 1000, Span::millis(0))
///         .key_by(|_| 0)
///         .window(window)
///         .aggregate(|on| on.sum(|n| *n))
///         .sink(move |sum| sums.send(sum.value).unwrap())
///         .run(Options::default())?;
///     Ok(received.iter().collect())
/// }
///
/// let [two, four] = [2, 4].map(Span::seconds);
/// assert_eq!(sums(Window::tumbling(four))?, [6, 22, 17]);
/// assert_eq!(sums(Window::tumbling(four).offset(two))?, [1, 14, 30]);
/// assert_eq!(sums(Window::sliding(four, two))?, [1, 6, 14, 22, 30, 17]);
/// assert_eq!(sums(Window::cumulating(four, two))?, [1, 6, 9, 22, 17, 17]);
/// assert_eq!(sums(Window::session(two))?, [45]);
/// assert_eq!(sums(Window::count(4))?, [6, 22]);
/// assert_eq!(sums(Window::sliding_count(4, 2))?, [1, 6, 14, 22, 30]);
/// assert_eq!(sums(Window::global())?, [45]);
/// assert_eq!(sums(Window::global().every_rows(5, true))?, [10, 35]);
///
/// let early = Window::tumbling(Span::hours(1)).early_fire(Every::event_time(four));
/// // As 0 s, 4 s and 8 s have come, what is new; and the rest at the end.
/// assert_eq!(sums(early.mode(Mode::Discarding))?, [0, 10, 26, 9]);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub(super) kind: WindowKind,
    pub(super) emit: Emit,
}

impl Window {
    const fn new(kind: WindowKind) -> Self {
        Self { kind, emit: Emit::AT_END }
    }

    /// Adjacent windows of one size.
    pub fn tumbling(size: impl Into<Span>) -> Self {
        Self::new(WindowKind::Tumble { size_ms: size.into().ms, offset_ms: 0 })
    }

    /// Windows of one size, one every `slide`; the size is a multiple of it.
    pub fn sliding(size: impl Into<Span>, slide: impl Into<Span>) -> Self {
        let (size_ms, slide_ms) = (size.into().ms, slide.into().ms);
        Self::new(WindowKind::Hop { size_ms, slide_ms, offset_ms: 0 })
    }

    /// Windows that begin together and grow by `step` up to `size`, a multiple of it.
    pub fn cumulating(size: impl Into<Span>, step: impl Into<Span>) -> Self {
        let (size_ms, step_ms) = (size.into().ms, step.into().ms);
        Self::new(WindowKind::Cumulate { size_ms, step_ms, offset_ms: 0 })
    }

    /// A window of its own for every run of a key's rows that are less than `gap` apart.
    pub fn session(gap: impl Into<Span>) -> Self {
        Self::new(WindowKind::Session { gap_ms: gap.into().ms })
    }

    /// A window for every `rows` items of a key; what is not full at the end does not fire. Its start and end are what its items'
    /// times span.
    pub fn count(rows: u64) -> Self {
        Self::sliding_count(rows, rows)
    }

    /// At every `slide`-th item of a key, its last `rows` items.
    pub fn sliding_count(rows: u64, slide: u64) -> Self {
        Self::new(WindowKind::Count { size_rows: rows, slide_rows: slide })
    }

    /// One window a key for ever, which fires when the input ends; and as [`Window::every_rows`] and [`Window::early_fire`]
    /// say.
    pub fn global() -> Self {
        Self::new(WindowKind::Global { every_rows: None, at_end: true, purges: false })
    }

    /// Of a global window: fires at every so many items of a key, and if `purge` begins anew after that.
    #[must_use]
    pub fn every_rows(mut self, rows: u64, purge: bool) -> Self {
        if let WindowKind::Global { every_rows, purges, .. } = &mut self.kind {
            (*every_rows, *purges) = (Some(rows), purge);
        }
        self
    }

    /// Windows that start so much later than multiples of their size since 1970; sessions know none.
    #[must_use]
    pub fn offset(mut self, offset: impl Into<Span>) -> Self {
        let ms = offset.into().ms;
        match &mut self.kind {
            WindowKind::Tumble { offset_ms, .. }
            | WindowKind::Hop { offset_ms, .. }
            | WindowKind::Cumulate { offset_ms, .. } => *offset_ms = ms,
            _ => {}
        }
        self
    }

    /// Results also before a window's end.
    #[must_use]
    pub fn early_fire(mut self, every: Every) -> Self {
        self.emit.early_delay_ms = Some(every.delay_ms);
        self.emit.early_clock = every.clock;
        self
    }

    /// Takes rows up to `lateness` after a window's end, and shows new results for them `every` so often.
    #[must_use]
    pub fn late_fire(mut self, every: Every, lateness: impl Into<Span>) -> Self {
        self.emit.late_delay_ms = Some(every.delay_ms);
        self.emit.allow_lateness_ms = lateness.into().ms;
        self
    }

    /// What a later firing shows.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.emit.mode = match mode {
            Mode::Retracting => EmitMode::Retracting,
            Mode::Accumulating => EmitMode::Accumulating,
            Mode::Discarding => EmitMode::Discarding,
        };
        self
    }

    /// Whether results change what was shown before.
    pub(super) fn changes(&self) -> bool {
        let again = match self.kind {
            WindowKind::Global { every_rows, purges, .. } => {
                !purges && (every_rows.is_some() || !self.emit.is_once())
            }
            _ => !self.emit.is_once(),
        };
        again && self.emit.mode != EmitMode::Discarding
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let positive = |what: &str, ms: i64| match ms {
            1.. => Ok(()),
            _ => Err(format!("a window's {what} is more than zero, not {ms} ms")),
        };
        let multiple = |of: &str, size_ms: i64, part_ms: i64| match size_ms % part_ms {
            0 => Ok(()),
            _ => Err(format!(
                "a window's size, {size_ms} ms, is no multiple of its {of}, {part_ms} ms"
            )),
        };
        let shift = |offset_ms: i64, part_ms: i64| match offset_ms.unsigned_abs() < part_ms as u64 {
            true => Ok(()),
            false => Err(format!("a window's offset, {offset_ms} ms, is less than {part_ms} ms")),
        };
        match self.kind {
            WindowKind::Tumble { size_ms, offset_ms } => {
                positive("size", size_ms).and_then(|()| shift(offset_ms, size_ms))
            }
            WindowKind::Hop { size_ms, slide_ms, offset_ms } => positive("size", size_ms)
                .and_then(|()| positive("slide", slide_ms))
                .and_then(|()| multiple("slide", size_ms, slide_ms))
                .and_then(|()| shift(offset_ms, size_ms)),
            WindowKind::Cumulate { size_ms, step_ms, offset_ms } => positive("size", size_ms)
                .and_then(|()| positive("step", step_ms))
                .and_then(|()| multiple("step", size_ms, step_ms))
                .and_then(|()| shift(offset_ms, size_ms)),
            WindowKind::Session { gap_ms } => positive("gap", gap_ms)
                .and_then(|()| self.kind.refusal(&self.emit).map_or(Ok(()), |why| Err(why.into()))),
            // Those of rows are checked with the plan they are in.
            WindowKind::Attached { .. } | WindowKind::Count { .. } | WindowKind::Global { .. } => {
                Ok(())
            }
        }
    }
}
