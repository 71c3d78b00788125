//! Damage to what lies on the disk, and an error at every operation: a named error, or the right rows.
//!
//! # Invariants
//!
//! 1. Damage that is met is told as [`StateError`] (or as an error of the sink) with the file's path; never a panic, a hang or a
//!    wrong row. Damage that is not met changes nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tidemill::error::{JobError, StateError};
use tidemill::shard::checkpoint::Manifest;
use tidemill::sys::random::Random;
use tidemill::sys::storage::{Fault, Faults, SimDisk, Storage};

use crate::shown::{Shown, newest_manifest};
use crate::world::{Draft, STATE, World};

/// What a disk writes at once.
const SECTOR_BYTES: u64 = 512;
/// So many bytes of a file of frames are flipped, and of a manifest that is not the newest.
const FLIPS_MAX: u64 = 700;
/// A job with more state than this is not damaged in all ways: that would take too long.
const STATE_BYTES_MAX: u64 = 500_000;

/// A job that was killed, and its disk.
pub(crate) struct Killed {
    pub(crate) world: World,
    draft: Draft,
    pub(crate) disk: SimDisk,
}

/// How often damage was told, and how often it did not matter.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) told: AtomicU64,
    pub(crate) harmless: AtomicU64,
}

impl Killed {
    /// The job of `seed`, killed behind its snapshot `epoch_min` or a later one; `None` if it does not take so many, or is too large.
    pub(crate) fn draw(seed: u64, epoch_min: u64) -> Option<Self> {
        let mut random = Random::new(seed);
        let world = World::new(seed, &mut random).ok()?;
        let drawn = Draft::draw(&world, &mut random);
        let mut draft = Draft { interval_ms: 0, shards: world.shards, ..drawn };
        if world.shards > 2 {
            return None;
        }
        for steps in (5..).step_by(5) {
            let disk = SimDisk::new(seed);
            draft.steps = steps;
            let life = world.live(&disk, &draft);
            let manifest = newest_manifest(&disk).ok()?;
            match (life.failure, manifest) {
                (Some(JobError::Killed), Some(manifest)) if manifest.epoch >= epoch_min => {
                    disk.kill();
                    disk.settle();
                    let files = disk.files().into_iter();
                    let used: u64 = files.map(|(path, _)| used_bytes(&disk, &path)).sum();
                    return (used < STATE_BYTES_MAX).then_some(Self { world, draft, disk });
                }
                (Some(JobError::Killed), _) => {}
                _ => return None,
            }
        }
        None
    }

    /// Goes on after `damage`, which says what it did.
    fn check(
        &self,
        outcomes: &Outcomes,
        damage: impl Fn(&SimDisk) -> String,
    ) -> Result<(), String> {
        let disk = copy(&self.disk);
        let what = damage(&disk);
        let draft = Draft { steps: crate::world::STEPS_MAX, ..self.draft.clone() };
        let life = self.world.live(&disk, &draft);
        let done = match &life.failure {
            None => Shown::default().look_at_end(&self.world, &disk),
            Some(failure) => is_named(failure).and_then(|()| self.check_shown(&disk)),
        };
        let counter = if life.failure.is_some() { &outcomes.told } else { &outcomes.harmless };
        counter.fetch_add(1, Ordering::Relaxed);
        done.map_err(|failure| format!("{what}: {failure}\n{}", self.world.describe()))
    }

    /// That nothing wrong is shown, where the newest manifest can be read.
    fn check_shown(&self, disk: &SimDisk) -> Result<(), String> {
        disk.kill();
        match newest_manifest(disk) {
            Ok(_) => Shown::default().look(&self.world, disk),
            Err(_) => Ok(()),
        }
    }

    /// The files of the state.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.disk.files().into_iter();
        files.filter(|(path, length_bytes)| path.starts_with(STATE) && *length_bytes > 0).collect()
    }

    /// Every file of the state cut at each sector, and a byte before and behind.
    pub(crate) fn truncate(&self, outcomes: &Outcomes) -> Result<u64, String> {
        let mut cuts = Vec::new();
        for (path, length_bytes) in self.files() {
            let used = used_bytes(&self.disk, &path);
            let ends = (0..).map(|sector| sector * SECTOR_BYTES);
            let ends = ends.take_while(|&end| end <= length_bytes);
            // Of the preallocated rest a few.
            let ends = ends.filter(|&end| end <= used || end.is_multiple_of(SECTOR_BYTES << 9));
            let around = ends.flat_map(|end| [end.wrapping_sub(1), end, end + 1]);
            let around = around.filter(|&end| end < length_bytes);
            cuts.extend(around.map(|end| (path.clone(), end)));
        }
        in_parallel(&cuts, |(path, end)| {
            self.check(outcomes, |disk| {
                disk.truncate(path, *end);
                format!("{} cut to {end} bytes", path.display())
            })
        })
    }

    /// One bit of every byte of the manifests, and of many bytes of the frames that are in use.
    pub(crate) fn flip(&self, outcomes: &Outcomes) -> Result<u64, String> {
        let mut flips = Vec::new();
        let newest = newest_manifest(&self.disk)?;
        let newest = newest.map(|manifest| Manifest::path(Path::new(STATE), manifest.epoch));
        for (path, length_bytes) in self.files() {
            let content = self.disk.content(&path).unwrap_or_default();
            // Where there is nothing but zeros few tell something new.
            let worth = |&offset: &u64| content[offset as usize] != 0 || offset.is_multiple_of(509);
            let offsets: Vec<u64> = (0..length_bytes).filter(worth).collect();
            let stride = match newest.as_ref() == Some(&path) {
                true => 1,
                false => offsets.len().div_ceil(FLIPS_MAX as usize).max(1),
            };
            flips.extend(offsets.into_iter().step_by(stride).map(|offset| (path.clone(), offset)));
        }
        in_parallel(&flips, |(path, offset)| {
            self.check(outcomes, |disk| {
                disk.flip_bit(path, *offset, (*offset % 8) as u32);
                format!("{} bit {} of byte {offset} flipped", path.display(), offset % 8)
            })
        })
    }
}

/// An error at every operation of a whole run, once and from then on; then the run goes on without errors.
pub(crate) fn refuse(world: &World, outcomes: &Outcomes) -> Result<u64, String> {
    let mut random = Random::new(world.seed);
    let drawn = Draft::draw(world, &mut random);
    let draft = Draft { interval_ms: 0, memory_bytes: 40_000, shards: world.shards, ..drawn };
    let disk = SimDisk::new(world.seed);
    world.live(&disk, &draft);
    let mut orders = Vec::new();
    for index in 0..disk.operation_count() {
        for fault in [Fault::Full, Fault::Broken] {
            orders.extend([(index, fault, false), (index, fault, true)]);
        }
    }
    in_parallel(&orders, |&(index, fault, lasting)| {
        let disk = SimDisk::new(world.seed);
        let of = if lasting { Faults::from } else { Faults::at };
        disk.set_faults(of(index, fault));
        let life = world.live(&disk, &draft);
        let counter = if life.failure.is_some() { &outcomes.told } else { &outcomes.harmless };
        counter.fetch_add(1, Ordering::Relaxed);
        let named = life.failure.as_ref().map_or(Ok(()), is_named);
        disk.set_faults(Faults::default());
        // Power is lost, the process killed, or the job just started again.
        match index % 3 {
            0 => disk.crash(index),
            1 => disk.kill(),
            _ => {}
        }
        let mut shown = Shown::default();
        let done = named.and_then(|()| shown.look(world, &disk)).and_then(|()| {
            match world.live(&disk, &draft).failure {
                Some(failure) => Err(format!("without errors it ended with: {failure}")),
                None => shown.look_at_end(world, &disk),
            }
        });
        done.map_err(|failure| {
            format!(
                "{fault:?} at operation {index}, lasting {lasting}: {failure}\n{}",
                world.describe()
            )
        })
    })
}

/// An error that says where, and that is not a bug of ours.
fn is_named(failure: &JobError) -> Result<(), String> {
    let named = match failure {
        JobError::State(StateError::Damaged { path, .. } | StateError::Io { path, .. }) => {
            path.starts_with('/')
        }
        JobError::State(StateError::Full { .. } | StateError::Foreign { .. }) => true,
        JobError::Io { origin, .. } => origin.starts_with('/'),
        _ => false,
    };
    named.then_some(()).ok_or_else(|| format!("it ended with: {failure}"))
}

/// Up to where a file of frames holds something.
fn used_bytes(disk: &SimDisk, path: &Path) -> u64 {
    let content = disk.content(path).unwrap_or_default();
    content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Another disk with the same files, all durable.
fn copy(disk: &SimDisk) -> SimDisk {
    let new = SimDisk::new(1);
    for (path, _) in disk.files() {
        let content = disk.content(&path).expect("a file that was listed");
        new.create_folder(path.parent().expect("files lie in folders"), true).expect("no faults");
        let file = new.create(&path).expect("no faults");
        file.allocate(content.len() as u64).expect("no faults");
        // The rest of a preallocated file is zeros already.
        let end = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        file.write_at(0, &content[..end]).expect("no faults");
    }
    new.settle();
    new
}

/// Checks all of them on all cores; how many, or the first failure.
fn in_parallel<T: Sync>(
    items: &[T],
    check: impl Fn(&T) -> Result<(), String> + Sync,
) -> Result<u64, String> {
    let next = AtomicU64::new(0);
    let failure = Mutex::new(None);
    let locked = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if locked().is_some() {
                break;
            }
            if let Err(error) = check(item) {
                *locked() = Some(error);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(items.len() as u64), Err)
}
