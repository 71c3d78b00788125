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
    #[doc(hidden)]
    pub fn record(&mut self, time_ms: i64, watermark_ms: i64) {
        self.count += 1;
        let behind_ms = watermark_ms.saturating_sub(time_ms).clamp(0, BEHIND_MS_MAX) as u64;
        self.behind_ms.record(behind_ms).expect("the histogram resizes itself");
    }

    /// As words, for a snapshot: the count, then value and count of each bar.
    #[doc(hidden)]
    pub fn to_words(&self) -> Vec<u64> {
        let bars = self.behind_ms.iter_recorded();
        let bars = bars.flat_map(|bar| [bar.value_iterated_to(), bar.count_at_value()]);
        std::iter::once(self.count).chain(bars).collect()
    }

    /// What [`LateRows::to_words`] said; of no words, none.
    #[doc(hidden)]
    pub fn from_words(words: &[u64]) -> Self {
        let mut late = Self::default();
        if let Some((&count, bars)) = words.split_first() {
            late.count = count;
            for &[value, count] in bars.as_chunks::<2>().0 {
                let value = value.min(BEHIND_MS_MAX as u64);
                late.behind_ms.record_n(value, count).expect("the histogram resizes itself");
            }
        }
        late
    }

    /// Adds another shard's.
    #[doc(hidden)]
    pub fn add(&mut self, other: &LateRows) {
        self.count += other.count;
        self.behind_ms.add(&other.behind_ms).expect("the histogram resizes itself");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_what_was_counted() {
        let mut late = LateRows::default();
        [5, 70, 70, 100_000].into_iter().for_each(|behind| late.record(0, behind));
        let back = LateRows::from_words(&late.to_words());
        assert_eq!((back.count, back.behind_ms), (late.count, late.behind_ms));
        assert_eq!(LateRows::from_words(&[]).count, 0);
    }

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
