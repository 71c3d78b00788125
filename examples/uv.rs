//! Unique visitors: how many different devices have seen each page today, exactly, shown every minute of the day.
//!
//! ```text
//! cargo run --release --example uv
//! ```
//!
//! A file of clicks is written and read in place. The count is shown every ten minutes of event time, so that two runs show the same curve.

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use rkyv::{Archive, Serialize};
use tidemill::{Every, Job, Mode, Options, RecordFile, RecordWriter, Span, Window};

#[derive(Archive, Serialize)]
struct Click {
    at_ms: i64,
    page: u32,
    device: u64,
}

/// 2024-01-01 00:00:00.
const DAY_MS: i64 = 1_704_067_200_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("clicks.rkyv");
    let mut clicks = RecordWriter::create(&path)?;
    for i in 0..600_000_u64 {
        // Half an hour, a third of a millisecond apart; of every page ten thousand devices, again and again.
        let device = i.wrapping_mul(0x9e37_79b9) % 10_000;
        clicks.write(&Click { at_ms: DAY_MS + (i as i64) * 3, page: (i % 3) as u32, device })?;
    }
    clicks.finish()?;

    let day = Window::tumbling(Span::days(1))
        .early_fire(Every::event_time(Span::minutes(10)))
        .mode(Mode::Accumulating);
    let (results, shown) = std::sync::mpsc::channel();
    let report = Job::new("uv")
        .source("clicks", RecordFile::<Click>::open(&path)?)
        .watermark(|click| click.at_ms, Span::seconds(5))
        .key_by(|click| click.page)
        .window(day)
        .aggregate(|on| (on.count(), on.count_distinct(|click| click.device)))
        .sink_changes(move |kind, result| {
            let _ = results.send((kind, result.clone()));
        })
        .run(Options::default().shards(2))?;

    for (kind, result) in shown {
        let (views, visitors) = result.value;
        println!("{} page {}: {views} views by {visitors} visitors", kind.short(), result.key);
    }
    println!("{} clicks in {:?}", report.totals.rows, report.elapsed);
    Ok(())
}
