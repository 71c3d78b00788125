//! Counters and histograms, one set a shard, added up for the summary. No I/O, no clock.

use hdrhistogram::Histogram;

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
        self.behind_ms.saturating_record(watermark_ms.saturating_sub(time_ms).max(0) as u64);
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &LateRows) {
        self.count += other.count;
        self.behind_ms.add(&other.behind_ms).expect("the histogram resizes itself");
    }
}
