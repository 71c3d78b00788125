//! Late data: readings that come after their window has been shown go to a side output instead of being lost.
//!
//! ```text
//! cargo run --release --example late
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use rkyv::{Archive, Serialize};
use tidemill::{Job, Options, Records, ResultsAndLate, Span, Window};

#[derive(Archive, Serialize)]
struct Reading {
    at_ms: i64,
    sensor: u32,
    celsius: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reading = |(at_ms, sensor, celsius)| Reading { at_ms, sensor, celsius };
    let readings = [
        (1_000, 1, 20.5),
        (9_000, 2, 18.0),
        (4_000, 1, 21.5),
        (16_000, 2, 18.5),
        // The watermark is at 14 s: the window up to 10 s is over, the one up to 20 s is not.
        (8_000, 1, 99.0),
        (12_000, 1, 22.0),
    ];
    let (lines, received) = std::sync::mpsc::channel();
    let late_lines = lines.clone();
    let job = Job::new("temperatures");
    let ResultsAndLate { results, late } = job
        .source("readings", Records::new(readings.map(reading)))
        .watermark(|reading| reading.at_ms, Span::seconds(2))
        .key_by(|reading| reading.sensor)
        .window(Window::tumbling(Span::seconds(10)))
        .aggregate_and_late(|on| (on.count(), on.avg(|reading| reading.celsius)));
    results.sink(move |result| {
        let (count, mean) = result.value;
        let line = format!(
            "sensor {} from {} s: {count} readings, {mean} C",
            result.key,
            result.start_ms / 1000
        );
        let _ = lines.send(line);
    });
    late.sink(move |reading| {
        let line = format!(
            "too late: sensor {} at {} s, {} C",
            reading.sensor,
            reading.at_ms / 1000,
            reading.celsius
        );
        let _ = late_lines.send(line);
    });
    let report = job.run(Options::default().shards(2))?;
    // The closures hold the ends that lines are sent from.
    drop(job);
    let mut lines: Vec<String> = received.into_iter().collect();
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    println!("{} of {} were late", report.totals.late, report.totals.rows);
    Ok(())
}
