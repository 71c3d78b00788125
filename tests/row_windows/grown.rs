//! A script with one aggregate more goes on from the state of windows of rows: what was there goes on as it was, and the new one
//! shows NULL, or what it would have shown had it been there.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tidemill::job::{Fresh, RuntimeKind, StateOptions};
use tidemill::shard::checkpoint::{Manifest, list_manifests};
use tidemill::sys::random::Random;
use tidemill::sys::storage::SimDisk;

use crate::engine::{Life, Setting};
use crate::{
    Case, STATE, Window, changed, config, count_cases, died, durable, folder, global_cases,
    live_as, naive, shown,
};

/// Jobs that went on with one aggregate more.
static GROWN: AtomicU64 = AtomicU64::new(0);

/// COUNT(DISTINCT v), which is never NULL by itself.
const NEW_CALL: usize = 8;

fn life(case: &Case, input: &Path, disk: &SimDisk, random: &mut Random, steps: u64) -> Life {
    let script = case.script(input, "/out/rows.jsonl");
    let setting = Setting {
        shards: 1 + random.below(3) as usize,
        runtime: RuntimeKind::Dying { seed: random.next_u64(), steps },
        chunk_bytes: 60,
        ring_slots: Some(2),
    };
    let state = StateOptions { fresh: Fresh::AllowNewAggregates, ..durable(disk) };
    live_as(&script, setting, Some(state), &|plan| changed(plan, case.kind()))
}

/// The snapshot that the next life goes on from.
fn newest_manifest(disk: &SimDisk) -> Option<Manifest> {
    let folder = Path::new(STATE);
    let epoch = list_manifests(disk, folder).ok()?.pop()?;
    Some(Manifest::read(disk, folder, epoch).unwrap())
}

/// Lives of the old script until one dies that has left a snapshot, then one of the new.
fn grow(old: &Case, seed: u64) -> Result<(), TestCaseError> {
    let mut new = old.clone();
    new.calls.push(NEW_CALL);
    let input = folder();
    old.write_input(input.path());
    let mut random = Random::new(seed);
    let disk = SimDisk::new(random.next_u64());
    loop {
        let steps = 20 + random.below(100);
        if !died(&life(old, input.path(), &disk, &mut random, steps))? {
            return Ok(());
        }
        disk.crash(random.next_u64());
        let newest = newest_manifest(&disk);
        if newest.as_ref().is_some_and(|manifest| manifest.finished) {
            return Ok(());
        }
        if newest.is_some() {
            break;
        }
    }
    let last = life(&new, input.path(), &disk, &mut random, 3_000_000);
    prop_assert!(!died(&last)?);
    GROWN.fetch_add(u64::from(last.went_on_from.is_some()), Ordering::Relaxed);
    let bytes = disk.content(Path::new("/out/rows.jsonl")).unwrap_or_default();
    // Without the new call, the kind and the cells of the old ones and the times are all that there is.
    let seen = shown(&bytes, old.calls.len());
    prop_assert_eq!(&seen, &old.expected());
    check_new(&new, &shown(&bytes, new.calls.len()))
}

/// What the new call shows: NULL until a window has it whole, and from then on what is right.
fn check_new(new: &Case, seen: &naive::Shown) -> Result<(), TestCaseError> {
    for (key, right) in new.expected() {
        let cell = |line: &String| line.split(' ').nth(new.calls.len()).unwrap().to_owned();
        let right: Vec<String> = right.iter().map(cell).collect();
        let seen: Vec<String> = seen[&key].iter().map(cell).collect();
        let nulls = seen.iter().take_while(|cell| *cell == "null").count();
        prop_assert_eq!(&seen[nulls..], &right[nulls..], "of {}", key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(48))]

    fn count_windows_take_new_aggregates(case in count_cases(40..90), seed in any::<u64>()) {
        grow(&case, seed)?;
    }

    /// Those that keep distinct values or rows for ever show NULL for ever, or what came since.
    fn global_windows_take_new_aggregates(
        case in global_cases(40..90).prop_filter("purges", |case| {
            matches!(case.window, Window::Global(when) if when.mode == naive::Mode::Purging)
        }),
        seed in any::<u64>(),
    ) {
        grow(&case, seed)?;
    }
}

#[test]
fn windows_take_new_aggregates() {
    count_windows_take_new_aggregates();
    global_windows_take_new_aggregates();
    assert!(GROWN.load(Ordering::Relaxed) > 10, "{GROWN:?}: jobs must go on from snapshots");
}
