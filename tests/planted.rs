//! Bugs that are planted, one after the other, and must each be caught by the suite of snapshots: it looks where it says.

#[path = "snapshots/damage.rs"]
#[allow(dead_code)]
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
#[allow(dead_code)]
mod seeds;
#[path = "snapshots/shown.rs"]
#[allow(dead_code)]
mod shown;
#[path = "snapshots/world.rs"]
mod world;

use damage::{Killed, Outcomes};
use seeds::{Tally, run_seeds};
use tidemill::sys::crash::plant;

/// What seeds must find, of those that CI runs.
const BY_SEEDS: [&str; 13] = [
    "state-skip-sync",
    "state-lose-write",
    "manifest-skip-sync",
    "manifest-skip-folder-sync",
    "manifest-before-sync",
    "publish-before-manifest",
    "state-reuse-early",
    "open-skip-folder-sync",
    "sink-skip-sync",
    "sink-skip-folder-sync",
    "sink-skip-publish-sync",
    "sink-publish-early",
    "sink-forget-truncate",
];
/// So many seeds at most are given to each.
const SEEDS_MAX: u64 = 6000;
/// So many are run before it is looked whether one has failed.
const SEEDS_AT_ONCE: u64 = 100;

/// The first seed that fails.
fn first_failure(name: &str) -> Option<u64> {
    let tally = Tally::default();
    (0..SEEDS_MAX).step_by(SEEDS_AT_ONCE as usize).find_map(|from| {
        let failures = run_seeds(from, from + SEEDS_AT_ONCE, &tally);
        for (seed, failure) in failures.iter().take(1) {
            eprintln!("{name}: seed {seed}: {:.200}", failure.lines().next().unwrap_or_default());
        }
        failures.first().map(|(seed, _)| *seed)
    })
}

/// One test, for a bug is planted in the whole process.
#[test]
fn every_bug_is_caught() {
    let named = std::env::var("BUG").ok();
    let chosen = |name: &&str| named.as_deref().is_none_or(|named| named == *name);
    let mut missed = Vec::new();
    for name in BY_SEEDS.iter().filter(|name| chosen(name)) {
        plant(Some(name));
        missed.extend(first_failure(name).is_none().then_some(*name));
    }
    let name = "state-skip-checksum";
    if chosen(&name) {
        let killed =
            (0..).find_map(|seed| Killed::draw(seed, 4)).expect("a job that takes snapshots");
        plant(Some(name));
        match killed.flip(&Outcomes::default()) {
            Ok(_) => missed.push(name),
            Err(failure) => {
                eprintln!("{name}: {:.200}", failure.lines().next().unwrap_or_default())
            }
        }
    }
    plant(None);
    assert!(missed.is_empty(), "nobody has noticed {missed:?}");
}
