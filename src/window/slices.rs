//! Slices: the pieces that windows of one kind have in common.
//!
//! A slice is named by its end. Its width is the greatest common divisor of a window's size and step, so
//! every window is a run of whole slices, and a row is folded once however many windows it is in.
//!
//! Sliding windows over slices: Li et al., "No Pane, No Gain" (SIGMOD Record 2005).
//!
//! # Invariants
//!
//! 1. Window *e* (by its end) contains slice *s* iff `start(e) < s <= e`.
//! 2. `window_ends(s)` ascends, and `last_window_end(s)` is its last.

use std::ops::RangeInclusive;

use super::{WindowKind, wall::TIME_LIMIT_MS};
use crate::sys::vector;

/// How windows of one kind are cut into slices. All times are wall times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    kind: WindowKind,
    width_ms: i64,
    offset_ms: i64,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Slices {
    /// The slices of TUMBLE, HOP and CUMULATE windows; for attached windows a slice is the window itself.
    ///
    /// # Panics
    ///
    /// On windows that have no slices, and on sizes that are not positive: the planner refuses those.
    pub fn new(kind: WindowKind) -> Self {
        let (width_ms, offset_ms) = match kind {
            WindowKind::Tumble { size_ms, offset_ms } => (size_ms, offset_ms),
            WindowKind::Hop { size_ms, slide_ms, offset_ms } => (gcd(size_ms, slide_ms), offset_ms),
            WindowKind::Cumulate { step_ms, offset_ms, .. } => (step_ms, offset_ms),
            WindowKind::Attached { .. } => (1, 0),
            WindowKind::Session { .. } | WindowKind::Count { .. } | WindowKind::Global { .. } => {
                panic!("{kind:?} has no slices")
            }
        };
        assert!(width_ms > 0, "{kind:?}");
        Self { kind, width_ms, offset_ms }
    }

    /// Replaces each row's time by the end of its slice.
    ///
    /// `time_ms`: `[rows]`, any order, may be negative. For attached windows it is the window's end already.
    pub fn assign(&self, time_ms: &mut [i64]) {
        if matches!(self.kind, WindowKind::Attached { .. }) {
            return;
        }
        let (width, offset) = (self.width_ms, self.offset_ms);
        for time in time_ms {
            let clamped = (*time).clamp(-TIME_LIMIT_MS, TIME_LIMIT_MS);
            *time = clamped - (clamped - offset).rem_euclid(width) + width;
        }
    }

    /// How times from `least_ms` to `greatest_ms` are cut. `None`: into more slices than are worth counting through, or for attached
    /// windows.
    pub fn cut(&self, least_ms: i64, greatest_ms: i64) -> Option<Cut> {
        let bounded =
            -TIME_LIMIT_MS < least_ms && least_ms <= greatest_ms && greatest_ms < TIME_LIMIT_MS;
        if matches!(self.kind, WindowKind::Attached { .. }) || !bounded {
            return None;
        }
        let width_ms = self.width_ms;
        let start_ms = align(least_ms, width_ms, self.offset_ms);
        let count = (greatest_ms - start_ms) / width_ms + 1;
        let countable = count == 1 || (width_ms > 1 && count * width_ms <= i64::from(u32::MAX));
        let few = count <= CUT_SLICES_MAX && countable;
        few.then_some(Cut { start_ms, width_ms, count: count as usize })
    }

    /// The ends of the windows that contain slice `slice_end`, ascending; none where slides leave gaps.
    pub fn window_ends(&self, slice_end: i64) -> impl Iterator<Item = i64> + use<> {
        self.window_ends_in(slice_end, i64::MIN..=i64::MAX)
    }

    /// Those of them that lie in a range, without counting up to it.
    pub fn window_ends_in(
        &self,
        slice_end: i64,
        range_ms: RangeInclusive<i64>,
    ) -> impl Iterator<Item = i64> + use<> {
        let (first, last, step) = self.ends(slice_end);
        let wanted = (*range_ms.start()).min(last.saturating_add(1)).max(first);
        let from = wanted + (first - wanted).rem_euclid(step);
        let last = last.min(*range_ms.end());
        (0..).map(move |index| from + index * step).take_while(move |&end| end <= last)
    }

    /// The first and the last of these, which comes before it where there are none, and how far apart they are.
    fn ends(&self, slice_end: i64) -> (i64, i64, i64) {
        match self.kind {
            WindowKind::Tumble { .. } | WindowKind::Attached { .. } => (slice_end, slice_end, 1),
            WindowKind::Hop { size_ms, slide_ms, offset_ms } => {
                let last_start = align(slice_end - self.width_ms, slide_ms, offset_ms);
                let last = last_start + size_ms;
                // The first end at or after the slice's own that is congruent to the last.
                (slice_end + (last - slice_end).rem_euclid(slide_ms), last, slide_ms)
            }
            WindowKind::Cumulate { size_ms, step_ms, offset_ms } => {
                (slice_end, align(slice_end - step_ms, size_ms, offset_ms) + size_ms, step_ms)
            }
            _ => unreachable!("{:?} has no slices", self.kind),
        }
    }

    /// The end of the first window that contains the slice, if any does.
    pub fn first_window_end(&self, slice_end: i64) -> Option<i64> {
        self.window_ends(slice_end).next()
    }

    /// The end of the last window that contains the slice, if any does.
    pub fn last_window_end(&self, slice_end: i64) -> Option<i64> {
        let (first, last, _) = self.ends(slice_end);
        (first <= last).then_some(last)
    }

    /// The start of the window that ends at `window_end`; `None` for attached windows, whose rows carry it.
    pub fn window_start(&self, window_end: i64) -> Option<i64> {
        match self.kind {
            WindowKind::Tumble { size_ms, .. } | WindowKind::Hop { size_ms, .. } => {
                Some(window_end - size_ms)
            }
            WindowKind::Cumulate { size_ms, step_ms, offset_ms } => {
                Some(align(window_end - step_ms, size_ms, offset_ms))
            }
            WindowKind::Attached { .. } => None,
            _ => unreachable!("{:?} has no slices", self.kind),
        }
    }

    /// How long a slice is; `None`: as long as the window that was attached.
    pub fn width_ms(&self) -> Option<i64> {
        (!matches!(self.kind, WindowKind::Attached { .. })).then_some(self.width_ms)
    }

    /// Whether a window is one slice, so that nothing is ever merged.
    pub fn is_single(&self) -> bool {
        matches!(self.kind, WindowKind::Tumble { .. } | WindowKind::Attached { .. })
    }

    /// Whether windows of one start grow by slices, so that each contains the one before it.
    pub fn is_cumulative(&self) -> bool {
        matches!(self.kind, WindowKind::Cumulate { .. })
    }
}

/// How a batch's times are cut into slices, where they fall into few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    start_ms: i64,
    width_ms: i64,
    count: usize,
}

/// Slices that a [`Cut`] has at most.
const CUT_SLICES_MAX: i64 = 64;

impl Cut {
    /// The ends of the slices, ascending; there is at least one.
    pub fn ends(&self) -> impl ExactSizeIterator<Item = i64> + use<> {
        let Self { start_ms, width_ms, count } = *self;
        (1..count as u32 + 1).map(move |index| start_ms + i64::from(index) * width_ms)
    }

    /// Which of the slices each row falls into, counted from 0.
    ///
    /// # Shapes
    ///
    /// `time_ms`: `[rows]`, within what the cut was made for; `indices` is replaced.
    pub fn indices(&self, time_ms: &[i64], indices: &mut Vec<u32>) {
        if self.count == 1 {
            indices.clear();
            indices.resize(time_ms.len(), 0);
            return;
        }
        // Distances fit 32 bits, so that a product with 2^64 / width, rounded up, has the quotient in its upper half
        // (Lemire et al., "Faster remainder by direct computation", 2019): a division takes ten times as long.
        let inverse = u64::MAX / self.width_ms as u64 + 1;
        // What is there is overwritten, and not cleared before.
        indices.resize(time_ms.len(), 0);
        vector::widest(Divide { time_ms, start_ms: self.start_ms, inverse, quotients: indices });
    }

    /// Where the first slice starts.
    pub fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// How wide a slice is.
    pub fn width_ms(&self) -> i64 {
        self.width_ms
    }
}

/// Distances from `start_ms`, which fit 32 bits, times `inverse` / 2^64.
struct Divide<'a> {
    time_ms: &'a [i64],
    start_ms: i64,
    inverse: u64,
    quotients: &'a mut [u32],
}

impl vector::Loop for Divide<'_> {
    type Output = ();

    /// The product in two halves: vectors have no wider ones.
    #[inline(always)]
    fn run(self) {
        let (upper, lower) = (self.inverse >> 32, self.inverse & 0xffff_ffff);
        for (quotient, &time) in self.quotients.iter_mut().zip(self.time_ms) {
            let distance = time.wrapping_sub(self.start_ms).cast_unsigned() & 0xffff_ffff;
            let product = distance * upper + ((distance * lower) >> 32);
            *quotient = (product >> 32) as u32;
        }
    }
}

/// The greatest aligned start at or before `time_ms`.
fn align(time_ms: i64, step_ms: i64, offset_ms: i64) -> i64 {
    time_ms - (time_ms - offset_ms).rem_euclid(step_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All windows of a kind that contain `time`, by trying every start.
    fn naive(kind: WindowKind, time: i64) -> Vec<(i64, i64)> {
        let mut windows = Vec::new();
        for start in time - 300..=time {
            match kind {
                WindowKind::Tumble { size_ms, offset_ms } => {
                    if (start - offset_ms).rem_euclid(size_ms) == 0 && time < start + size_ms {
                        windows.push((start, start + size_ms));
                    }
                }
                WindowKind::Hop { size_ms, slide_ms, offset_ms } => {
                    if (start - offset_ms).rem_euclid(slide_ms) == 0 && time < start + size_ms {
                        windows.push((start, start + size_ms));
                    }
                }
                WindowKind::Cumulate { size_ms, step_ms, offset_ms } => {
                    if (start - offset_ms).rem_euclid(size_ms) == 0 && time < start + size_ms {
                        let ends = (1..=size_ms / step_ms).map(|k| start + k * step_ms);
                        windows.extend(ends.filter(|&end| time < end).map(|end| (start, end)));
                    }
                }
                _ => unreachable!(),
            }
        }
        windows.sort_by_key(|&(_, end)| end);
        windows
    }

    fn kinds() -> impl Strategy<Value = WindowKind> {
        prop_oneof![
            (1..60i64, -50..50i64)
                .prop_map(|(size_ms, offset_ms)| WindowKind::Tumble { size_ms, offset_ms }),
            (1..60i64, 1..60i64, -50..50i64).prop_map(|(size_ms, slide_ms, offset_ms)| {
                WindowKind::Hop { size_ms, slide_ms, offset_ms }
            }),
            (1..20i64, 1..10i64, -50..50i64).prop_map(|(step_ms, steps, offset_ms)| {
                WindowKind::Cumulate { size_ms: step_ms * steps, step_ms, offset_ms }
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_cut_is_what_assigning_gives(
            kind in kinds(), scale in 0..25u32, times in prop::collection::vec(-1000..1000i64, 1..50),
        ) {
            let scaled = |ms: i64| ms << scale;
            let kind = match kind {
                WindowKind::Tumble { size_ms, offset_ms } => {
                    WindowKind::Tumble { size_ms: scaled(size_ms), offset_ms: scaled(offset_ms) + 1 }
                }
                other => other,
            };
            let factor = if matches!(kind, WindowKind::Tumble { .. }) { 1 << scale } else { 1 };
            let times: Vec<i64> = times.iter().map(|time| time * factor + time % 7).collect();
            let slices = Slices::new(kind);
            let mut ends = times.clone();
            slices.assign(&mut ends);
            let (least, greatest) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
            let Some(cut) = slices.cut(least, greatest) else {
                ends.sort_unstable();
                ends.dedup();
                let width_ms = slices.width_ms;
                prop_assert!(greatest - least > 62 * width_ms || width_ms == 1 || greatest - least + 2 * width_ms > 1 << 32);
                return Ok(());
            };
            let mut indices = Vec::new();
            cut.indices(&times, &mut indices);
            let names: Vec<i64> = cut.ends().collect();
            prop_assert_eq!(indices.iter().map(|&index| names[index as usize]).collect::<Vec<_>>(), ends);
        }

        #[test]
        fn a_slice_knows_its_windows(
            kind in kinds(), time in -1000..1000i64,
            (from, length) in prop_oneof![(-1100..1100i64, -9..200i64), Just((i64::MIN, 0)), Just((i64::MAX, 0))],
        ) {
            let slices = Slices::new(kind);
            let mut end = [time];
            slices.assign(&mut end);
            let ends: Vec<i64> = slices.window_ends(end[0]).collect();
            let expected = naive(kind, time);
            prop_assert_eq!(&ends, &expected.iter().map(|&(_, end)| end).collect::<Vec<_>>());
            let range = from..=from + length;
            let within: Vec<i64> = ends.iter().copied().filter(|end| range.contains(end)).collect();
            prop_assert_eq!(slices.window_ends_in(end[0], range).collect::<Vec<_>>(), within);
            prop_assert_eq!(slices.first_window_end(end[0]), ends.first().copied());
            prop_assert_eq!(slices.last_window_end(end[0]), ends.last().copied());
            for (start, end) in expected {
                prop_assert_eq!(slices.window_start(end), Some(start));
            }
        }
    }
}
