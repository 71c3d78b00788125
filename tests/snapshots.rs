//! Durable state in a simulated world: seeds draw a query, its input, a schedule of the shards, deaths of the process, errors
//! of the disk and losses of power that keep any part of what was not synced; whatever happens, every row is shown once.
//!
//! `SEED=123 cargo test --test snapshots seeds` runs one seed again and tells its story; `SEEDS=100000` runs so many. Then what a
//! disk holds is damaged in all ways, and every one of its operations refused: `cargo test --test snapshots -- --ignored`.
//! With `CARGO_PROFILE_DEV_OPT_LEVEL=1` all of it takes a fourth of the time.

#[path = "snapshots/damage.rs"]
mod damage;
#[path = "oracle/draw.rs"]
#[allow(dead_code)]
mod draw;
#[allow(dead_code)]
mod engine;
#[path = "late/graft.rs"]
#[allow(dead_code)]
mod graft;
#[path = "oracle/lines.rs"]
mod lines;
#[path = "oracle/model.rs"]
mod model;
#[path = "oracle/reference.rs"]
mod reference;
#[path = "snapshots/seeds.rs"]
mod seeds;
#[path = "snapshots/shown.rs"]
mod shown;
#[path = "snapshots/world.rs"]
mod world;

use damage::{Killed, Outcomes, refuse};
use seeds::{Tally, run_seed, run_seeds};

/// How many seeds are run unless `SEEDS` says.
const SEEDS: u64 = 200;

fn number_of(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn seeds() {
    let tally = Tally::default();
    if let Some(seed) = number_of("SEED") {
        run_seed(seed, &tally).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        return;
    }
    let failures = run_seeds(0, number_of("SEEDS").unwrap_or(SEEDS), &tally);
    eprintln!("{tally:?}");
    for (seed, failure) in &failures {
        eprintln!("== seed {seed}: {failure}\n   SEED={seed} cargo test --test snapshots seeds");
    }
    let seeds: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    assert!(failures.is_empty(), "seeds {seeds:?} failed; see above");
    assert!(tally.is_full(), "{tally:?}");
}

/// How many jobs are damaged in all ways.
const DAMAGED_JOBS: usize = 3;

/// Jobs that were killed in their midst.
fn killed() -> impl Iterator<Item = Killed> {
    (0..).filter_map(|seed| Killed::draw(seed, 4)).take(DAMAGED_JOBS)
}

#[test]
#[ignore = "takes a minute or two; .ci/run runs it"]
fn every_file_of_the_state_may_be_cut() {
    let outcomes = Outcomes::default();
    for killed in killed() {
        let count = killed.truncate(&outcomes).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(count > 100, "{count} cuts");
    }
    eprintln!("{outcomes:?}");
}

#[test]
#[ignore = "takes a minute or two; .ci/run runs it"]
fn every_byte_of_the_state_may_be_flipped() {
    let outcomes = Outcomes::default();
    for killed in killed() {
        let count = killed.flip(&outcomes).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(count > 1000, "{count} flips");
    }
    eprintln!("{outcomes:?}");
}

#[test]
#[ignore = "takes a minute or two; .ci/run runs it"]
fn every_operation_may_be_refused() {
    let outcomes = Outcomes::default();
    for killed in killed() {
        let count = refuse(&killed.world, &outcomes).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(count > 100, "{count} errors");
    }
    eprintln!("{outcomes:?}");
}
