//! Counters and histograms, one set a shard, added up for the summary. No I/O, no clock.

use hdrhistogram::Histogram;

/// Rows that are later still, by a century, are counted here: the histogram stays small.
const BEHIND_MS_MAX: i64 = 100 * 366 * 86_400_000;

/// Rows that came after their window had closed.
#[derive(Clone, Debug)]
pub struct LateRows {
    /// How many.
    pub count: u64,
    /// By how many milliseconds they were behind the watermark.
    pub behind_ms: Histogram<u64>,
}

impl Default for LateRows {
    fn default() -> Self {
        Self { count: 0, behind_ms: Histogram::new(2).expect("two digits are a valid precision") }
    }
}

impl LateRows {
    /// Counts a row whose time is `time_ms`, met at watermark `watermark_ms`.
    pub fn record(&mut self, time_ms: i64, watermark_ms: i64) {
        self.count += 1;
        let behind_ms = watermark_ms.saturating_sub(time_ms).clamp(0, BEHIND_MS_MAX) as u64;
        self.behind_ms.record(behind_ms).expect("the histogram resizes itself");
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &LateRows) {
        self.count += other.count;
        self.behind_ms.add(&other.behind_ms).expect("the histogram resizes itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The histogram once kept the size it began with, so that every row was 2 ms late.
    #[test]
    fn rows_are_as_late_as_they_are() {
        let mut late = LateRows::default();
        late.record(1000, 61_000);
        late.record(i64::MIN, i64::MAX);
        let mut total = LateRows::default();
        total.add(&late);
        assert_eq!(total.count, 2);
        assert!(
            total.behind_ms.count_between(59_000, 61_000) == 1 && total.behind_ms.max() > 1 << 40
        );
    }
}
