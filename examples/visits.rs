//! Visits: clicks of a device that are less than half a minute apart belong together. Of each visit the path through the pages, and
//! which visit of the device it is, which a function remembers by device.
//!
//! ```text
//! cargo run --release --example visits
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use rkyv::{Archive, Serialize};
use tidemill::{Items, Job, Options, Output, ProcessContext, ProcessWindow, Records, Span, Window};

#[derive(Archive, Serialize)]
struct Click {
    at_ms: i64,
    device: u64,
    page: String,
}

#[derive(Archive, Serialize)]
struct Visit {
    device: u64,
    number: u32,
    path: Vec<String>,
    seconds: f64,
}

struct Visits;

impl ProcessWindow<Click, u64> for Visits {
    type Output = Visit;

    fn uid(&self) -> &str {
        "visits"
    }

    fn process(
        &self,
        clicks: Items<'_, Click>,
        context: &mut ProcessContext<'_, '_, u64>,
        out: &mut Output<'_, Visit>,
    ) -> Result<(), String> {
        let number = context.key_state::<u32>("visits so far")?.unwrap_or(0) + 1;
        context.set_key_state("visits so far", &number)?;
        // In the order of the clicks, not of their arrival.
        let mut path: Vec<(i64, String)> =
            clicks.iter().map(|click| (click.at_ms.to_native(), click.page.to_string())).collect();
        path.sort();
        let seconds = (path[path.len() - 1].0 - path[0].0) as f64 / 1000.0;
        let path = path.into_iter().map(|(_, page)| page).collect();
        out.push(&Visit { device: *context.key(), number, path, seconds })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let click = |(at_seconds, device, page): (i64, u64, &str)| Click {
        at_ms: at_seconds * 1000,
        device,
        page: page.to_owned(),
    };
    let clicks = [
        (0, 1, "home"),
        (4, 2, "home"),
        (9, 1, "shop"),
        (7, 1, "search"),
        (61, 2, "help"),
        (65, 1, "home"),
        (90, 2, "home"),
        (92, 1, "basket"),
    ];
    let (visits, received) = std::sync::mpsc::channel();
    Job::new("visits")
        .source("clicks", Records::new(clicks.map(click)))
        .watermark(|click| click.at_ms, Span::seconds(5))
        .key_by(|click| click.device)
        .window(Window::session(Span::seconds(30)))
        .process(Visits)
        .sink(move |visit| {
            let path: Vec<&str> = visit.path.iter().map(|page| page.as_str()).collect();
            let line = format!(
                "device {} visit {}: {} in {} s",
                visit.device,
                visit.number,
                path.join(" > "),
                visit.seconds
            );
            let _ = visits.send(line);
        })
        .run(Options::default().shards(2))?;
    let mut lines: Vec<String> = received.into_iter().collect();
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
