//! Records are read in place: in steady state a job over records allocates by the batch, never by the row.

use std::alloc::System;

use rkyv::{Archive, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidemill::job::RuntimeKind;
use tidemill::{Job, Options, RecordFile, RecordWriter, Span, Window};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Archive, Serialize)]
struct Click {
    at_ms: i64,
    device: u64,
    cents: i64,
    page: u32,
    action: u8,
}

/// How many times a job over so many rows allocates.
fn allocations(rows: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clicks");
    let mut clicks = RecordWriter::create(&path).unwrap();
    for n in 0..rows {
        let (page, action) = ((n % 100) as u32, (n % 3) as u8);
        clicks
            .write(&Click { at_ms: n as i64 / 20, device: n % 1000, cents: 7, page, action })
            .unwrap();
    }
    clicks.finish().unwrap();
    let region = Region::new(ALLOCATOR);
    let report = Job::new("sums")
        .source("clicks", RecordFile::<Click>::open(&path).unwrap())
        .watermark(|c| c.at_ms, Span::seconds(5))
        .filter(|c| c.action == 0)
        .key_by(|c| c.page)
        .window(Window::tumbling(Span::seconds(10)))
        .aggregate(|on| (on.count(), on.sum(|c| c.cents), on.max(|c| c.device)))
        .sink(|result| assert!(result.value.0 > 0))
        .run(Options::default().shards(1).runtime(RuntimeKind::Poll))
        .unwrap();
    assert_eq!(report.totals.rows, rows);
    region.change().allocations
}

#[test]
fn records_cost_no_allocation_each() {
    let (some, twice) = (allocations(400_000), allocations(800_000));
    let by_row = twice.saturating_sub(some) as f64 / 400_000.0;
    assert!(by_row < 0.03, "{some} allocations, then {twice}: {by_row} a row");
}
