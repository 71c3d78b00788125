//! A seed's two phases: with faults nothing wrong is shown, without them the job drains and has shown everything once.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tidemill::error::{JobError, StateError};
use tidemill::sys::random::Random;
use tidemill::sys::storage::{FailedSync, Fault, Faults, SimDisk};

use crate::engine::Life;
use crate::shown::{Shown, newest_manifest};
use crate::world::{Draft, World, pick};

/// What many seeds came to; each number must not be zero, or the suite does not look where it says.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) lives: AtomicU64,
    pub(crate) killed: AtomicU64,
    pub(crate) refused: AtomicU64,
    /// Lives that went on from a snapshot which was not the last.
    pub(crate) resumed: AtomicU64,
    /// The highest epoch that was gone on from.
    pub(crate) snapshots: AtomicU64,
    /// Lives that came to the end.
    pub(crate) finished: AtomicU64,
    /// Late rows that have been shown.
    pub(crate) late: AtomicU64,
}

impl Tally {
    /// Whether all of it has happened.
    pub(crate) fn is_full(&self) -> bool {
        let lives = [&self.lives, &self.killed, &self.refused, &self.resumed];
        let mut all = lives.into_iter().chain([&self.snapshots, &self.late]);
        all.all(|count| count.load(Ordering::Relaxed) > 0)
    }
}

/// Runs the seeds `from..to` on all cores; the failures of the first few that fail.
pub(crate) fn run_seeds(from: u64, to: u64, tally: &Tally) -> Vec<(u64, String)> {
    const FAILURES_MAX: usize = 3;
    let next = AtomicU64::new(from);
    let failures = Mutex::new(Vec::new());
    let locked = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while locked().len() < FAILURES_MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= to {
                break;
            }
            if let Err(failure) = run_seed(seed, tally) {
                locked().push((seed, failure));
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one seed; a failure tells its story.
pub(crate) fn run_seed(seed: u64, tally: &Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let world = World::new(seed, &mut random)?;
    let mut story = String::new();
    let done = phases(&world, &mut random, tally, &mut story);
    done.map_err(|failure| format!("{failure}\n{story}{}", world.describe()))
}

fn phases(
    world: &World,
    random: &mut Random,
    tally: &Tally,
    story: &mut String,
) -> Result<(), String> {
    let disk = SimDisk::new(random.next_u64());
    let mut shown = Shown::default();
    for _ in 0..1 + random.below(8) {
        let mut draft = Draft::draw(world, random);
        trouble(&mut draft, &disk, random, story);
        let life = world.live(&disk, &draft);
        note(&life, tally);
        writeln!(story, "  {}", tell(&life)).unwrap();
        check_life(world, &life, true)?;
        disk.set_faults(Faults::default());
        disk.set_capacity(u64::MAX);
        end(&disk, random, story);
        shown.look(world, &disk)?;
        let epoch = newest_manifest(&disk)?.map(|manifest| manifest.epoch);
        writeln!(story, "  there is snapshot {epoch:?}").unwrap();
        if life.failure.is_none() {
            break;
        }
    }
    writeln!(story, "without faults").unwrap();
    for _ in 0..2 {
        let draft = Draft::draw(world, random);
        let life = world.live(&disk, &draft);
        note(&life, tally);
        writeln!(story, "{draft:?}\n  {}", tell(&life)).unwrap();
        check_life(world, &life, false)?;
        shown.look_for_strays(&disk)?;
        end(&disk, random, story);
        shown.look_at_end(world, &disk)?;
    }
    tally.late.fetch_add(world.truth.late_rows.len() as u64, Ordering::Relaxed);
    Ok(())
}

/// What goes wrong in a life.
fn trouble(draft: &mut Draft, disk: &SimDisk, random: &mut Random, story: &mut String) {
    let mut faults = Faults {
        failed_sync: pick(random, &[FailedSync::Keeps, FailedSync::Drops, FailedSync::Partly]),
        ..Faults::default()
    };
    let fault = pick(random, &[Fault::Broken, Fault::Broken, Fault::Full]);
    let operation = disk.operation_count() + below_one_of(random, &[60, 150, 400]);
    let kind = random.below(8);
    match kind {
        0 => faults.from = Some((operation, fault)),
        1 | 2 => drop(faults.at.insert(operation, fault)),
        3 => faults.broken_per_million = 500 + random.below(10_000),
        4 => faults.full_per_million = 500 + random.below(20_000),
        5 => {
            let held: u64 = disk.files().iter().map(|(_, length_bytes)| length_bytes).sum();
            disk.set_capacity(held + (random.below(5) << 22) + spread(random, 17));
        }
        _ => {}
    }
    if kind > 5 || random.below(2) == 0 {
        draft.steps = below_one_of(random, &[30, 150, 600]);
    }
    writeln!(story, "{draft:?} {faults:?}").unwrap();
    disk.set_faults(faults);
}

/// A number below one of these.
fn below_one_of(random: &mut Random, limits: &[u64]) -> u64 {
    let limit = pick(random, limits);
    random.below(limit)
}

/// A number below 2^`bits_max`, each length as likely.
fn spread(random: &mut Random, bits_max: u64) -> u64 {
    let bits = random.below(bits_max + 1);
    random.below(1 << bits)
}

/// What becomes of the machine.
fn end(disk: &SimDisk, random: &mut Random, story: &mut String) {
    match random.below(8) {
        0..5 => {
            let seed = random.next_u64();
            disk.crash(seed);
            writeln!(story, "  crash({seed})").unwrap();
        }
        5 | 6 => {
            disk.kill();
            writeln!(story, "  kill()").unwrap();
        }
        _ => {}
    }
}

/// How a life may end: whole, killed, or (`with_faults`) with the error that was injected, and nothing else.
fn check_life(world: &World, life: &Life, with_faults: bool) -> Result<(), String> {
    let allowed = match &life.failure {
        None => return check_counters(world, life),
        Some(JobError::Killed) => with_faults,
        Some(JobError::State(StateError::Io { source, .. }) | JobError::Io { source, .. }) => {
            with_faults && source.raw_os_error().is_some()
        }
        Some(JobError::State(StateError::Full { .. })) => with_faults,
        Some(_) => false,
    };
    match (&life.failure, allowed) {
        (Some(failure), false) => Err(format!("it ended with: {failure}")),
        _ => Ok(()),
    }
}

/// A life that came to the end has counted every row once.
fn check_counters(world: &World, life: &Life) -> Result<(), String> {
    let truth = &world.truth;
    if let Some(before) = life.went_on_from.as_ref().filter(|before| before.finished) {
        return match before.rows == truth.rows {
            true => Ok(()),
            false => Err(format!("finished after {} rows of {}", before.rows, truth.rows)),
        };
    }
    let counted = (life.totals.rows, life.totals.malformed, life.late_count);
    let expected = (truth.rows, truth.malformed, truth.late);
    match counted == expected {
        true => Ok(()),
        false => Err(format!("(rows, malformed, late) is {counted:?}, not {expected:?}")),
    }
}

fn note(life: &Life, tally: &Tally) {
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    count(&tally.lives);
    match &life.failure {
        Some(JobError::Killed) => drop(count(&tally.killed)),
        Some(_) => drop(count(&tally.refused)),
        None => drop(count(&tally.finished)),
    }
    if life.went_on_from.as_ref().is_some_and(|before| !before.finished) {
        count(&tally.resumed);
    }
    if let Some(before) = &life.went_on_from {
        tally.snapshots.fetch_max(before.epoch, Ordering::Relaxed);
    }
}

fn tell(life: &Life) -> String {
    let from = life.went_on_from.as_ref().map(|before| before.epoch);
    let failure = life.failure.as_ref().map(ToString::to_string);
    format!("went on from {from:?}, ended with {failure:?}, rows {}", life.totals.rows)
}
