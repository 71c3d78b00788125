//! Windows for renoir's keyed streams: its own begin with each key's first row, so that they are not those that anybody else computes.
//!
//! Rows come to a manager in the order of their arrival, with watermarks between them.

use std::collections::VecDeque;

use renoir::operator::window::{WindowAccumulator, WindowDescription, WindowManager, WindowResult};
use renoir::operator::{StreamElement, Timestamp};
use serde::{Deserialize, Serialize};

/// What windows add up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// When the row's window begins: the manager tells the accumulator so.
    pub(crate) start_ms: i64,
    pub(crate) device: u64,
    pub(crate) amount: f64,
    pub(crate) page: u32,
}

/// Windows that begin at multiples of `slide_ms`, in time order.
#[derive(Clone, Copy)]
pub(crate) struct Aligned {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
}

impl WindowDescription<Row> for Aligned {
    type Manager<A: WindowAccumulator<In = Row>> = AlignedManager<A>;

    fn build<A: WindowAccumulator<In = Row>>(&self, accumulator: A) -> Self::Manager<A> {
        AlignedManager { shape: *self, init: accumulator, open: VecDeque::new() }
    }
}

/// A key's open windows.
#[derive(Clone)]
pub(crate) struct AlignedManager<A> {
    shape: Aligned,
    init: A,
    /// Starts, ascending, and what was added up.
    open: VecDeque<(i64, A)>,
}

impl<A: WindowAccumulator<In = Row>> AlignedManager<A> {
    fn add(&mut self, row: Row, at_ms: i64) {
        let Aligned { size_ms, slide_ms } = self.shape;
        let last_ms = at_ms - at_ms.rem_euclid(slide_ms);
        let mut start_ms = last_ms - size_ms + slide_ms;
        let mut index = self.open.partition_point(|(open_ms, _)| *open_ms < start_ms);
        while start_ms <= last_ms {
            if self.open.get(index).is_none_or(|(open_ms, _)| *open_ms != start_ms) {
                self.open.insert(index, (start_ms, self.init.clone()));
            }
            self.open[index].1.process(&Row { start_ms, ..row });
            start_ms += slide_ms;
            index += 1;
        }
    }
}

impl<A: WindowAccumulator<In = Row>> WindowManager for AlignedManager<A> {
    type In = Row;
    type Out = A::Out;
    type Output = Vec<WindowResult<A::Out>>;

    #[inline]
    fn process(&mut self, element: StreamElement<Row>) -> Self::Output {
        let Some(watermark_ms) = watermark_ms(element, |row, at_ms| self.add(row, at_ms)) else {
            return Vec::new();
        };
        let size_ms = self.shape.size_ms;
        let over = self.open.partition_point(|(start, _)| start + size_ms - 1 <= watermark_ms);
        let show =
            |(start, sum): (i64, A)| WindowResult::Timestamped(sum.output(), start + size_ms);
        self.open.drain(..over).map(show).collect()
    }

    fn recycle(&self) -> bool {
        self.open.is_empty()
    }
}

/// The watermark that an element brings, if it brings one; a row goes to `add`.
#[inline]
fn watermark_ms(
    element: StreamElement<Row>,
    add: impl FnOnce(Row, Timestamp),
) -> Option<Timestamp> {
    match element {
        StreamElement::Timestamped(row, at_ms) => {
            add(row, at_ms);
            None
        }
        StreamElement::Watermark(watermark_ms) => Some(watermark_ms),
        StreamElement::FlushAndRestart | StreamElement::Terminate => Some(Timestamp::MAX),
        _ => None,
    }
}

/// Sessions by a gap of event time. (Renoir's own are by the gap between watermarks.)
#[derive(Clone, Copy)]
pub(crate) struct Sessions {
    pub(crate) gap_ms: i64,
}

impl WindowDescription<Row> for Sessions {
    type Manager<A: WindowAccumulator<In = Row>> = SessionManager<A>;

    fn build<A: WindowAccumulator<In = Row>>(&self, accumulator: A) -> Self::Manager<A> {
        SessionManager { gap_ms: self.gap_ms, init: accumulator, open: Vec::new() }
    }
}

/// A key's open sessions. A fold cannot be merged with another, so it is done when a session is over, and the rows are kept until then.
#[derive(Clone)]
pub(crate) struct SessionManager<A> {
    gap_ms: i64,
    init: A,
    open: Vec<Session>,
}

#[derive(Clone)]
struct Session {
    start_ms: i64,
    last_ms: Timestamp,
    first: Row,
    /// Of most sessions none: no memory of its own.
    others: Vec<Row>,
}

impl<A: WindowAccumulator<In = Row>> SessionManager<A> {
    fn add(&mut self, row: Row, at_ms: i64) {
        let gap_ms = self.gap_ms;
        let touches =
            |open: &Session| at_ms >= open.start_ms - gap_ms && at_ms <= open.last_ms + gap_ms;
        let Some(first) = self.open.iter().position(touches) else {
            let (first, others) = (row, Vec::new());
            return self.open.push(Session { start_ms: at_ms, last_ms: at_ms, first, others });
        };
        let mut merged = self.open.swap_remove(first);
        merged.start_ms = merged.start_ms.min(at_ms);
        merged.last_ms = merged.last_ms.max(at_ms);
        merged.others.push(row);
        // A row may join two sessions, no more.
        if let Some(second) = self.open.iter().position(touches) {
            let other = self.open.swap_remove(second);
            merged.start_ms = merged.start_ms.min(other.start_ms);
            merged.last_ms = merged.last_ms.max(other.last_ms);
            merged.others.push(other.first);
            merged.others.extend(other.others);
        }
        self.open.push(merged);
    }

    fn show(&self, session: &Session) -> WindowResult<A::Out> {
        let mut sum = self.init.clone();
        let start_ms = session.start_ms;
        let rows = std::iter::once(&session.first).chain(&session.others);
        rows.for_each(|row| sum.process(&Row { start_ms, ..*row }));
        WindowResult::Timestamped(sum.output(), session.last_ms + self.gap_ms)
    }
}

impl<A: WindowAccumulator<In = Row>> WindowManager for SessionManager<A> {
    type In = Row;
    type Out = A::Out;
    type Output = Vec<WindowResult<A::Out>>;

    #[inline]
    fn process(&mut self, element: StreamElement<Row>) -> Self::Output {
        let Some(watermark_ms) = watermark_ms(element, |row, at_ms| self.add(row, at_ms)) else {
            return Vec::new();
        };
        let gap_ms = self.gap_ms;
        let is_over = |open: &mut Session| open.last_ms + gap_ms - 1 <= watermark_ms;
        let over: Vec<Session> = self.open.extract_if(.., is_over).collect();
        over.iter().map(|session| self.show(session)).collect()
    }

    fn recycle(&self) -> bool {
        self.open.is_empty()
    }
}
