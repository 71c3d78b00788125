//! A program over the engine alone: clicks and cents by page and minute, through the typed builder.

use rkyv::{Archive, Serialize};
use tidemill::{Job, Options, Records, Span, Window};

#[derive(Archive, Serialize)]
struct Click {
    at_ms: i64,
    page: u32,
    cents: i64,
}

fn main() {
    let click = |index: u32| Click { at_ms: i64::from(index) * 100, page: index % 2, cents: 5 };
    let clicks: Vec<Click> = (0..60_000).map(click).collect();
    let report = Job::new("clicks by page")
        .source("clicks", Records::new(clicks))
        .watermark(|click| click.at_ms, Span::seconds(1))
        .key_by(|click| click.page)
        .window(Window::tumbling(Span::minutes(1)))
        .aggregate(|on| (on.count(), on.sum(|click| click.cents)))
        .sink(|result| assert_eq!(result.value, (300, 1500)))
        .run(Options::default())
        .unwrap();
    assert_eq!(report.totals.rows_out, 200);
}
