//! Runs every case under `tests/golden/flink/` (given) and `tests/golden/asked/` (asked of a Flink since) at several shard counts, runtimes and chunk sizes, and compares the rows
//! with those that Apache Flink 2.3 emitted: as a set where results are final, per key in order where they change.
//!
//! Cases that we refuse or answer differently on purpose are listed in `tests/golden/differences.md`, each with its reason.

mod cases;
mod engine;

use std::path::{Path, PathBuf};

use cases::{canonical, cases, differences, expected};
use engine::{Run, Setting, run_script};
use tidemill::job::RuntimeKind;

/// The usual chunk, on as many shards as asked for.
fn setting(shards: usize, runtime: RuntimeKind) -> Setting {
    Setting { shards, runtime, chunk_bytes: 1 << 20, ring_slots: None }
}

fn check(case: &Path, setting: Setting) -> Result<(), String> {
    let name = case.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(case.join("job.sql"))
        .unwrap()
        .replace("${DIR}", case.to_str().unwrap());
    let seconds = text.contains("-- RUN_SECONDS").then_some(if name.contains("proctime") {
        7.0
    } else {
        4.0
    });
    let Run { rows, failure, .. } = run_script(&text, setting, seconds);
    let refused = case.join("error.txt").exists();
    if refused != failure.is_some() {
        return Err(format!(
            "{name} at {setting:?}: Flink {}; we: {failure:?}",
            if refused { "failed" } else { "ran" }
        ));
    }
    let (ours, flinks) = (canonical(&rows), canonical(&expected(case)));
    if ours != flinks {
        return Err(format!(
            "{name} at {setting:?}:\n  ours:\n    {}\n  Flink's:\n    {}",
            ours.join("\n    "),
            flinks.join("\n    ")
        ));
    }
    Ok(())
}

fn check_all(setting: Setting, live: bool) {
    check_these(&cases(), setting, live);
}

fn check_these(cases: &[PathBuf], setting: Setting, live: bool) {
    let differences = differences();
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap().to_owned();
        let is_live =
            std::fs::read_to_string(case.join("job.sql")).unwrap().contains("-- RUN_SECONDS");
        if differences.contains_key(&name) || is_live != live {
            continue;
        }
        // A panic in one case must not hide the others.
        let checked = std::panic::catch_unwind(|| check(case, setting));
        wrong.extend(
            checked.unwrap_or_else(|_| Err(format!("{name} at {setting:?} panicked"))).err(),
        );
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn one_shard() {
    check_all(setting(1, RuntimeKind::Poll), false);
}

#[test]
fn two_and_three_shards() {
    for shards in [2, 3] {
        check_all(setting(shards, RuntimeKind::Poll), false);
    }
}

#[test]
fn io_uring() {
    if !tidemill::shard::runtime::is_uring_allowed() {
        return;
    }
    // Starting executors takes its time: the given cases at every shard count, the others once.
    for (turn, case) in cases().iter().enumerate() {
        let given = case.parent().is_some_and(|folder| folder.ends_with("flink"));
        let counts = if given { vec![1, 2, 3] } else { vec![1 + turn % 3] };
        for shards in counts {
            check_these(std::slice::from_ref(case), setting(shards, RuntimeKind::Uring), false);
        }
    }
}

/// Tiny inputs never interleave in one chunk; a byte a chunk makes every record a chunk of its own.
#[test]
fn chunks_of_one_record_under_shuffled_schedules() {
    for seed in 0..4 {
        let shards = 2 + seed as usize % 3;
        check_all(
            Setting { shards, runtime: RuntimeKind::Sim(seed), chunk_bytes: 1, ring_slots: None },
            false,
        );
    }
}

#[test]
fn live_sources() {
    check_all(setting(2, RuntimeKind::Poll), true);
}

#[test]
fn every_difference_names_a_case() {
    let names: Vec<String> =
        cases().iter().map(|case| case.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    for name in differences().keys() {
        assert!(names.contains(name), "{name} is no case");
    }
}
