//! State folders looked at from outside, for `tidemill state`: what snapshots there are, what they hold, whether they are whole.
//!
//! A job may run meanwhile. Then snapshots come and go: one whose manifest is gone when it has been read is read no further, and
//! the newest is taken instead. Only [`verify`] needs the folder to itself, because a frame that is given back is
//! written to again.
//!
//! # Invariants
//!
//! 1. Nothing here writes, and only [`verify`] takes the lock.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::manifest::{Manifest, list};
use super::restore::{check_names, log_path, owned, split_of_log, written_pid};
use crate::connector::ingest;
use crate::error::StateError;
use crate::op::Census;
use crate::state::{Damage, FRAME_BYTES, Root, Survey, check_head, survey};
use crate::sys::storage::Storage;

/// How often a snapshot that went away under our eyes is replaced by the newest.
const ATTEMPTS_MAX: usize = 8;

/// The snapshots of a folder.
#[derive(Debug)]
pub struct Listing {
    /// The process that runs on it now.
    pub pid: Option<u32>,
    /// By epoch, ascending; one that cannot be read with the reason.
    pub snapshots: Vec<(u64, Result<Manifest, StateError>)>,
}

/// A snapshot with what its page tables say.
#[derive(Debug)]
pub struct Inspection {
    /// The process that runs on the folder now.
    pub pid: Option<u32>,
    /// Whether it is the newest.
    pub is_newest: bool,
    /// The snapshot.
    pub manifest: Manifest,
    /// By shard.
    pub files: Vec<FileExtent>,
    /// By shard and exchange.
    pub spaces: Vec<Vec<SpaceExtent>>,
}

/// How large a file is.
#[derive(Debug)]
pub struct FileExtent {
    /// Its length.
    pub length_bytes: u64,
    /// The part of it that snapshots need.
    pub used_bytes: u64,
}

/// How much an operator's share of a shard holds.
#[derive(Debug)]
pub struct SpaceExtent {
    /// Its pages.
    pub page_count: u64,
    /// Bytes of its pages.
    pub state_bytes: u64,
    /// Its windows and groups.
    pub census: Option<Census>,
}

/// Whether a folder is whole.
#[derive(Debug, Default)]
pub struct Verification {
    /// Snapshots that were checked.
    pub snapshot_count: usize,
    /// Pages that were checked, each once.
    pub page_count: u64,
    /// Ingest logs that were checked.
    pub log_count: usize,
    /// Bytes that were checked.
    pub byte_count: u64,
    /// What is wrong: the epoch of the newest snapshot that it concerns, the file, and the place in it.
    pub damage: Vec<(u64, String, Damage)>,
}

/// The snapshots in `folder`.
///
/// # Errors
///
/// A folder of something else, or what the storage says.
pub fn snapshots(storage: &dyn Storage, folder: &Path) -> Result<Listing, StateError> {
    let names = storage.list(folder).map_err(|error| StateError::io(folder, error))?;
    check_names(folder, &names)?;
    let pid = storage.lock_holder(folder, written_pid(storage, folder));
    let mut snapshots = Vec::new();
    for epoch in list(storage, folder)? {
        let read = Manifest::read(storage, folder, epoch);
        if read.is_ok() || is_there(storage, folder, epoch)? {
            snapshots.push((epoch, read));
        }
    }
    Ok(Listing { pid, snapshots })
}

/// Whether the snapshot has not been retired meanwhile.
fn is_there(storage: &dyn Storage, folder: &Path, epoch: u64) -> Result<bool, StateError> {
    let path = Manifest::path(folder, epoch);
    let length = storage.length_bytes(&path).map_err(|error| StateError::io(&path, error))?;
    Ok(length.is_some())
}

/// Looks at a snapshot; the newest unless `epoch` says. `None`: there is no such snapshot.
///
/// # Errors
///
/// Damage, a folder of something else, or what the storage says.
pub fn inspect(
    storage: &dyn Storage,
    folder: &Path,
    epoch: Option<u64>,
) -> Result<Option<Inspection>, StateError> {
    for _ in 0..ATTEMPTS_MAX {
        let listing = snapshots(storage, folder)?;
        let newest = listing.snapshots.last().map(|(epoch, _)| *epoch);
        let Some(wanted) = epoch.or(newest) else { return Ok(None) };
        match look(storage, folder, listing, wanted) {
            Err(error) if is_there(storage, folder, wanted)? => return Err(error),
            Err(_) => {}
            Ok(found) => return Ok(found),
        }
    }
    let reason = "the job that runs on it takes snapshots faster than they can be read";
    Err(StateError::Io {
        path: folder.display().to_string(),
        source: std::io::Error::other(reason),
    })
}

fn look(
    storage: &dyn Storage,
    folder: &Path,
    listing: Listing,
    epoch: u64,
) -> Result<Option<Inspection>, StateError> {
    let pid = listing.pid;
    let is_newest = listing.snapshots.last().is_some_and(|(newest, _)| *newest == epoch);
    let (wanted, others): (Vec<_>, Vec<_>) =
        listing.snapshots.into_iter().partition(|(other, _)| *other == epoch);
    let Some((_, manifest)) = wanted.into_iter().next() else { return Ok(None) };
    let manifest = manifest?;
    let others: Vec<Manifest> = others.into_iter().filter_map(|(_, other)| other.ok()).collect();
    let (mut files, mut spaces) = (Vec::new(), Vec::new());
    for (shard, name) in manifest.files.iter().enumerate() {
        let path = folder.join(name);
        let others = others.iter().filter(|other| other.files.get(shard) == Some(name));
        let others = others.flat_map(|other| &other.spaces[shard]);
        let (file, own) = extents(storage, &path, &manifest.spaces[shard], others)?;
        files.push(file);
        spaces.push(own);
    }
    Ok(Some(Inspection { pid, is_newest, manifest, files, spaces }))
}

/// A shard's file and what lies behind `roots`; `others` are those of other snapshots.
fn extents<'a>(
    storage: &dyn Storage,
    path: &Path,
    roots: &[Root],
    others: impl Iterator<Item = &'a Root>,
) -> Result<(FileExtent, Vec<SpaceExtent>), StateError> {
    let failed = |error| StateError::io(path, error);
    let file = storage.open(path).map_err(failed)?;
    let mut used: HashSet<u32> = HashSet::from([0]);
    let mut note = |survey: &Survey| {
        survey.runs.iter().for_each(|run| used.extend(run.frame..run.frame + run.count));
    };
    let (mut own, mut found) = (Vec::new(), Vec::new());
    for root in roots {
        let survey = survey(&*file, root, &mut found);
        note(&survey);
        own.push(SpaceExtent {
            page_count: survey.page_count,
            state_bytes: survey.state_bytes,
            census: Census::of(&survey.header),
        });
    }
    if let Some(damage) = found.into_iter().next() {
        let Damage { what, offset_bytes, reason, other_version } = damage;
        let path = path.display().to_string();
        return Err(match other_version {
            true => StateError::Foreign { path, reason },
            false => StateError::Damaged { path, what, offset_bytes, reason },
        });
    }
    // Other snapshots may be damaged, or gone by now: they take what can be seen of them.
    others.for_each(|root| note(&survey(&*file, root, &mut Vec::new())));
    let length_bytes = file.length_bytes().map_err(failed)?;
    Ok((FileExtent { length_bytes, used_bytes: used.len() as u64 * FRAME_BYTES }, own))
}

/// Checks all that the retained snapshots consist of, while no job runs.
///
/// # Errors
///
/// [`StateError::Owned`] if one does; a folder of something else, or what the storage says. Damage is no error here.
pub fn verify(storage: &dyn Storage, folder: &Path) -> Result<Verification, StateError> {
    let failed = |error| StateError::io(folder, error);
    check_names(folder, &storage.list(folder).map_err(failed)?)?;
    let lock = storage.lock_folder(folder).map_err(failed)?;
    let Some(_lock) = lock else { return Err(owned(storage, folder)) };
    let mut verification = Verification::default();
    let mut seen = HashMap::new();
    let snapshots = snapshots(storage, folder)?.snapshots;
    verification.check_logs(storage, folder, snapshots.last())?;
    // The newest first: what it shares with older ones is reported as its own.
    for (epoch, manifest) in snapshots.into_iter().rev() {
        verification.snapshot_count += 1;
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                verification.add(epoch, &Manifest::path(folder, epoch), said(error));
                continue;
            }
        };
        for (name, roots) in manifest.files.iter().zip(&manifest.spaces) {
            let seen = seen.entry(name.clone()).or_default();
            verification.check_file(storage, &folder.join(name), epoch, roots, seen);
        }
    }
    Ok(verification)
}

impl Verification {
    /// Checks the ingest logs, which only the newest snapshot needs.
    fn check_logs(
        &mut self,
        storage: &dyn Storage,
        folder: &Path,
        newest: Option<&(u64, Result<Manifest, StateError>)>,
    ) -> Result<(), StateError> {
        let names = storage.list(folder).map_err(|error| StateError::io(folder, error))?;
        let splits: BTreeSet<usize> = names.iter().filter_map(|name| split_of_log(name)).collect();
        let epoch = newest.map_or(0, |(epoch, _)| *epoch);
        let manifest = newest.and_then(|(_, manifest)| manifest.as_ref().ok());
        self.log_count = splits.len();
        for split in splits {
            let record = manifest.and_then(|manifest| manifest.sources.splits.get(split));
            let position = record.and_then(|record| record.position);
            let (log, mut found) = (log_path(folder, split), Vec::new());
            self.byte_count += ingest::verify(storage, &log, position, &mut found)?;
            found.into_iter().for_each(|(path, damage)| self.add(epoch, &path, damage));
        }
        Ok(())
    }

    fn check_file(
        &mut self,
        storage: &dyn Storage,
        path: &Path,
        epoch: u64,
        roots: &[Root],
        seen: &mut HashSet<[u32; 3]>,
    ) {
        let mut found = Vec::new();
        match storage.open(path) {
            Ok(file) => {
                found.extend(check_head(&*file).err());
                for root in roots {
                    let survey = survey(&*file, root, &mut found);
                    let before = seen.len();
                    self.byte_count += survey.check_pages(&*file, seen, &mut found);
                    self.page_count += (seen.len() - before) as u64;
                }
            }
            Err(error) => {
                let (what, reason) = ("the file".to_owned(), error.to_string());
                found.push(Damage { what, offset_bytes: 0, reason, other_version: false });
            }
        }
        found.into_iter().for_each(|damage| self.add(epoch, path, damage));
    }

    /// Notes damage, unless a newer snapshot has it too.
    fn add(&mut self, epoch: u64, path: &Path, damage: Damage) {
        let path = path.display().to_string();
        if !self.damage.iter().any(|(_, other, known)| (other, known) == (&path, &damage)) {
            self.damage.push((epoch, path, damage));
        }
    }
}

/// What is wrong with a manifest, as damage.
fn said(error: StateError) -> Damage {
    match error {
        StateError::Damaged { what, offset_bytes, reason, .. } => {
            Damage { what, offset_bytes, reason, other_version: false }
        }
        other => Damage {
            what: "the manifest".into(),
            offset_bytes: 0,
            other_version: matches!(other, StateError::Foreign { .. }),
            reason: other.to_string(),
        },
    }
}
