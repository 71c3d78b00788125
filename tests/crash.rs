//! Kills the real binary at every crash point and at random times, and compares what it has published; plants bugs, and
//! expects them to be found. `tools/crash` holds the harness, and runs the long form:
//!
//! ```text
//! cargo test --features crash-points --test crash
//! cargo run --release -p tidemill-crash -- --kills 10000
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;

use tidemill_crash::campaign::{Campaign, fast_folder};

fn campaign(only: &[&str], kills: u64) -> Campaign {
    Campaign {
        kills,
        seed: 1,
        binary: PathBuf::from(env!("CARGO_BIN_EXE_tidemill")),
        folder: fast_folder(),
        only: only.iter().map(|name| name.to_string()).collect(),
        shards: vec![1, 2, 3],
        rescale: only.is_empty(),
        workers: 2,
        scale: 1,
        all_points: only.is_empty(),
        plant: None,
    }
}

#[test]
fn kills_anywhere_change_no_row() {
    let outcome = campaign(&[], 300).run().unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("{}{} kills in {} rounds", outcome.points, outcome.kills, outcome.rounds);
    assert!(outcome.kills >= 300);
}

/// A frame that two older snapshots needed and the newest did not was noted for both when the job was started again, and so
/// given back twice: the first time too early. It took three retained snapshots to see it.
#[test]
fn three_retained_snapshots_share_frames() {
    campaign(&["spill"], 12).run().unwrap_or_else(|failure| panic!("{failure}"));
}

/// Bugs that SIGKILL alone brings to light, and the jobs that show them.
const CAUGHT: [(&str, &[&str]); 21] = [
    ("ingest-ack-early", &["socket"]),
    ("publish-before-manifest", &["hop", "tumble"]),
    ("retire-before-manifest", &["tumble"]),
    ("sink-publish-early", &["hop", "filter"]),
    ("sink-forget-truncate", &["tumble"]),
    ("sink-keep-strays", &["hop", "tumble"]),
    ("sink-forget-numbers", &["hop", "tumble"]),
    ("sink-skip-recovery", &["hop", "tumble"]),
    ("state-reuse-early", &["distinct", "session"]),
    ("state-forget-free", &["spill"]),
    ("state-lose-write", &["session", "spill"]),
    ("state-delta-unbased", &["backlog"]),
    ("state-forget-changes", &["session", "distinct"]),
    ("barrier-forget-late", &["tumble"]),
    ("restore-older", &["spill"]),
    ("restore-skip-chunk", &["tumble"]),
    ("restore-repeat-chunk", &["tumble"]),
    ("restore-forget-backlog", &["backlog"]),
    ("restore-forget-watermark", &["files", "tumble"]),
    ("restore-forget-quotes", &["quoted"]),
    ("restore-forget-position", &["files"]),
];

/// Bugs that only a loss of power shows: the simulated disk catches them.
const POWER: [&str; 10] = [
    "ingest-skip-sync",
    "manifest-before-sync",
    "manifest-skip-folder-sync",
    "manifest-skip-sync",
    "open-skip-folder-sync",
    "sink-skip-folder-sync",
    "sink-skip-publish-sync",
    "sink-skip-sync",
    "state-skip-checksum",
    "state-skip-sync",
];

#[test]
fn planted_bugs_are_caught() {
    for (plant, jobs) in CAUGHT {
        let campaign = Campaign { plant: Some(plant.into()), ..campaign(jobs, 300) };
        match campaign.run() {
            Ok(outcome) => panic!("{plant}: not found by {} kills", outcome.kills),
            Err(failure) => {
                eprintln!("{plant}: {failure}\n");
                assert!(!failure.contains("it hangs"), "{plant}: found by impatience: {failure}");
                campaign.clear();
            }
        }
    }
}

#[test]
fn every_planted_bug_is_looked_for() {
    let caught = CAUGHT.iter().map(|(plant, _)| plant.to_string());
    let listed: BTreeSet<String> = caught.chain(POWER.map(str::to_owned)).collect();
    assert_eq!(tidemill_crash::points::planted(), listed);
}
