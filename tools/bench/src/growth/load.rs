//! Rows with traits that can be varied one at a time, and what windows over them must come to.

use rkyv::{Archive, Serialize};
use tidemill::sys::random::Random;

/// When rows begin: a multiple of all windows' sizes.
const BEGIN_MS: i64 = 1_704_067_200_000;
/// How far late rows are moved back.
const LATE_BACK_MS: i64 = 60_000;

/// A row, `24 + PAYLOAD_BYTES` bytes of which only the first 24 are read.
#[derive(Archive, Serialize, Clone, Copy)]
pub(super) struct Row<const PAYLOAD_BYTES: usize> {
    pub(super) at_ms: i64,
    pub(super) key: u64,
    pub(super) amount: f64,
    payload: [u8; PAYLOAD_BYTES],
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    Uniform,
    /// The *n*-th key in proportion to *n* to the power of minus this.
    Zipf(f64),
    /// One key has all rows.
    One,
}

/// What rows are like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rows: u64,
    pub(super) keys: u64,
    pub(super) draw: Draw,
    /// How much event time the rows cover.
    pub(super) span_ms: i64,
    /// By how much a row may be before one that came earlier; the watermark's lag.
    pub(super) disorder_ms: i64,
    /// How many rows of a million are late.
    pub(super) late_ppm: u64,
}

impl Load {
    /// Time, key and cents of each row.
    pub(super) fn rows(self) -> impl Iterator<Item = (i64, u64, i64)> {
        let mut random = Random::new(7);
        let shares = self.shares();
        (0..self.rows).map(move |index| {
            let (position, rows) = (i128::from(index), i128::from(self.rows));
            let due_ms = (position * i128::from(self.span_ms) / rows) as i64;
            let jitter_ms = random.below(self.disorder_ms as u64 + 1) as i64;
            let is_late = random.below(1_000_000) < self.late_ppm;
            let back_ms = jitter_ms + if is_late { LATE_BACK_MS } else { 0 };
            let key = match self.draw {
                Draw::Uniform => random.below(self.keys),
                Draw::One => 0,
                Draw::Zipf(_) => {
                    let draw = random.next_u64() as f64 / u64::MAX as f64;
                    shares.partition_point(|share| *share < draw) as u64
                }
            };
            let cents = random.below(100_000) as i64;
            (BEGIN_MS + LATE_BACK_MS + self.disorder_ms + due_ms - back_ms, key, cents)
        })
    }

    /// The same as records.
    pub(super) fn records<const P: usize>(self) -> impl Iterator<Item = Row<P>> {
        self.rows().map(|(at_ms, key, cents)| {
            // Keys that follow each other are no gift to the table.
            let key = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Row { at_ms, key, amount: cents as f64 / 100.0, payload: [b'x'; P] }
        })
    }

    /// Of a skewed draw: the share that a key and those before it have of all rows.
    fn shares(self) -> Vec<f64> {
        let Draw::Zipf(exponent) = self.draw else { return Vec::new() };
        let weights = (1..=self.keys).map(|rank| (rank as f64).powf(-exponent));
        let sums: Vec<f64> = weights
            .scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            })
            .collect();
        let whole = sums[sums.len() - 1];
        // The last is more than any draw, whatever rounding did.
        let mut shares: Vec<f64> = sums.into_iter().map(|sum| sum / whole).collect();
        shares[self.keys as usize - 1] = 1.0;
        shares
    }

    /// What windows of `size_ms` every `slide_ms` come to: each row counts in every window that holds it and has not fired when it comes.
    pub(super) fn totals(self, size_ms: i64, slide_ms: i64) -> Totals {
        let mut totals = Totals::default();
        let mut watermark_ms = i64::MIN / 2;
        for (at_ms, _, cents) in self.rows() {
            let last = at_ms.div_euclid(slide_ms);
            let first = (at_ms - size_ms).div_euclid(slide_ms) + 1;
            // The first whose last moment, a millisecond before its end, is after the watermark.
            let first_open = (watermark_ms + 1 - size_ms).div_euclid(slide_ms) + 1;
            let windows = (last - first.max(first_open) + 1).max(0);
            totals.late += u64::from(windows == 0);
            totals.counts += windows;
            totals.cents += windows * cents;
            watermark_ms = watermark_ms.max(at_ms - self.disorder_ms);
        }
        totals
    }
}

/// What all results add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) counts: i64,
    pub(super) cents: i64,
    /// Rows that no window took.
    pub(super) late: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        rows: 20_000,
        keys: 100,
        draw: Draw::Uniform,
        span_ms: 100_000,
        disorder_ms: 0,
        late_ppm: 0,
    };

    /// Every window by itself, as slow as that is.
    fn window_by_window(load: Load, size_ms: i64, slide_ms: i64) -> Totals {
        let (mut totals, mut watermark_ms) = (Totals::default(), i64::MIN / 2);
        for (at_ms, _, cents) in load.rows() {
            let mut start_ms = at_ms - at_ms.rem_euclid(slide_ms);
            let mut windows = 0;
            while start_ms > at_ms - size_ms {
                windows += i64::from(start_ms + size_ms - 1 > watermark_ms);
                start_ms -= slide_ms;
            }
            totals.counts += windows;
            totals.cents += windows * cents;
            totals.late += u64::from(windows == 0);
            watermark_ms = watermark_ms.max(at_ms - load.disorder_ms);
        }
        totals
    }

    #[test]
    fn totals_are_those_of_window_by_window() {
        for (disorder_ms, late_ppm) in [(0, 0), (7_000, 0), (0, 100_000), (300, 50_000)] {
            let load = Load { disorder_ms, late_ppm, ..LOAD };
            for (size_ms, slide_ms) in [(10_000, 10_000), (10_000, 1000), (3000, 1000)] {
                let totals = load.totals(size_ms, slide_ms);
                assert_eq!(totals, window_by_window(load, size_ms, slide_ms), "{load:?} {size_ms}");
            }
        }
        let late = Load { late_ppm: 100_000, ..LOAD }.totals(10_000, 10_000).late;
        assert!((1800..2200).contains(&late), "{late}");
        assert_eq!(LOAD.totals(10_000, 1000).counts, 200_000);
    }

    #[test]
    fn skew_is_what_it_says() {
        let share = |draw| {
            let rows = Load { draw, ..LOAD }.rows();
            rows.filter(|(_, key, _)| *key == 0).count()
        };
        assert!((150..250).contains(&share(Draw::Uniform)));
        // 1 over the sum of 1/n, n to 100: 19.3 %.
        assert!((3700..4000).contains(&share(Draw::Zipf(1.0))));
        assert!((150..250).contains(&share(Draw::Zipf(0.0))));
        assert_eq!(share(Draw::One), 20_000);
    }
}
