//! The three pages that were seen most in the last ten seconds, every two seconds: a sliding window by page, and behind it a
//! window over all pages with an aggregate function of the program's own.
//!
//! ```text
//! cargo run --release --example top_pages
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use rkyv::{Archive, Serialize};
use tidemill::{AggregateFunction, Archived, Iterate, Job, Options, Span, Window, WindowResult};

#[derive(Archive, Serialize)]
struct View {
    at_ms: i64,
    page: u32,
}

/// Views of pages, the most first.
type Ranking = Vec<(i64, u32)>;

/// The pages with the most views.
struct Top(usize);

impl AggregateFunction<WindowResult<u32, i64>> for Top {
    type Accumulator = Ranking;
    type Output = Archived<Ranking>;

    fn uid(&self) -> &str {
        "top"
    }

    fn create(&self) -> Ranking {
        Vec::new()
    }

    fn add(&self, top: &mut Ranking, page: &WindowResult<u32, i64>) {
        self.merge(top, vec![(page.value, page.key)]);
    }

    fn merge(&self, top: &mut Ranking, later: Ranking) {
        top.extend(later);
        // Of pages with as many views the one with the lower number comes first, so that every run shows the same.
        top.sort_by_key(|&(views, page)| (-views, page));
        top.truncate(self.0);
    }

    fn result(&self, top: &Ranking) -> Archived<Ranking> {
        Archived(top.clone())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Page 0 is seen every other millisecond, page 1 every third of the others, and so on; page 9 in those that are left.
    let views = || {
        (0..30_000_i64)
            .map(|i| View { at_ms: i, page: (0..9).find(|n| i % (n + 2) == 0).unwrap_or(9) as u32 })
    };
    let (tops, received) = std::sync::mpsc::channel();
    Job::new("top pages")
        .source("views", Iterate::new(views))
        .watermark(|view| view.at_ms, Span::seconds(1))
        .key_by(|view| view.page)
        .window(Window::sliding(Span::seconds(10), Span::seconds(2)))
        .aggregate(|on| on.count())
        // The results of a window have its last instant as their time; those of one sliding window fall into one slide.
        .key_by(|_| 0)
        .window(Window::tumbling(Span::seconds(2)))
        .aggregate(|on| on.custom(Top(3)))
        .sink(move |result| {
            let _ = tops.send((result.end_ms, result.value.0.clone()));
        })
        .run(Options::default().shards(2))?;
    let mut tops: Vec<(i64, Ranking)> = received.into_iter().collect();
    tops.sort();
    for (end_ms, top) in tops {
        println!("until second {:>2}: {top:?}", end_ms / 1000);
    }
    Ok(())
}
