//! How speed changes as a load grows in one direction: keys, window sizes, disorder, lateness, skew, width, firing, snapshots, state, shards.
//!
//! ```text
//! cargo run --release -p tidemill-bench -- growth [--rows N] [--runs N] [--shards N] [--only keys,slide]
//! ```
//!
//! Each table varies one trait. Its lines are run in turn, as often as `--runs` says; medians count, and the ratio is to the table's first
//! line. Every run is count and sum by key through the typed builder, from records in memory (32 bytes unless the table is about their width),
//! timed from the job's start to its end. What all results add up to must be what a plain loop over the same rows comes to, late rows included. Bytes of state are as shards note them, every few chunks: too few in short runs.

mod line;
mod load;
mod tables;

use crate::{Settings, median};
use line::{Line, Outcome};
use tables::{TABLES, Table};

/// Runs the suite.
///
/// # Errors
///
/// Words that name nothing; jobs that failed, wrong answers.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    settings.check_only(&TABLES.map(|table| table.name))?;
    println!(
        "Medians of {} runs in turn, M rows/s; {} shards where the line says nothing else",
        settings.runs, settings.shards
    );
    for table in TABLES.iter().filter(|table| settings.wants(table.name)) {
        measure(settings, table)?;
    }
    Ok(())
}

fn measure(settings: &Settings, table: &Table) -> Result<(), String> {
    let lines = (table.lines)(settings);
    let expected: Vec<_> =
        lines.iter().map(|line| line.load.totals(line.size_ms, line.slide_ms)).collect();
    let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); lines.len()];
    for _ in 0..settings.runs {
        for ((line, expected), outcomes) in lines.iter().zip(&expected).zip(&mut outcomes) {
            outcomes.push(line.run(&settings.folder, expected)?);
        }
    }
    println!("\n{}: {}", table.name, table.what);
    println!(
        "| {} | M rows/s | min – max | ÷ the first | state, MiB | snapshots | results |",
        table.varied
    );
    println!("|---|---|---|---|---|---|---|");
    let mut first = None;
    for (line, outcomes) in lines.iter().zip(&outcomes) {
        print(line, outcomes, &mut first);
    }
    Ok(())
}

/// Prints a line; `first` is the rate of the table's first, once it is known.
fn print(line: &Line, outcomes: &[Outcome], first: &mut Option<f64>) {
    let rate = |seconds: f64| line.load.rows as f64 / seconds / 1e6;
    let mut seconds: Vec<f64> = outcomes.iter().map(|outcome| outcome.seconds).collect();
    let middle = rate(median(&mut seconds));
    let (most, least) = (rate(seconds[0]), rate(seconds[seconds.len() - 1]));
    let ratio = middle / *first.get_or_insert(middle);
    let state = outcomes.iter().map(|outcome| outcome.state_bytes).max().unwrap_or(0) >> 20;
    let Outcome { snapshots, results, .. } = outcomes[outcomes.len() - 1];
    println!(
        "| {} | {middle:.2} | {least:.2} – {most:.2} | {ratio:.2} | {state} | {snapshots} | {results} |",
        line.name
    );
}
