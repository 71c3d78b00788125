//! Streams in different times make no union.

use tidemill::*;

fn main() {
    let job = Job::new("union");
    let by_watermark = job.source("a", Records::new(0..9_i64)).watermark(|n| *n, Span::millis(0));
    let by_clock = job.source("b", Records::new(0..9_i64)).processing_time();
    by_watermark.union(by_clock);
}
