//! Opening a state folder: lock it, find the newest manifest, open what it names, remove what nobody names.
//!
//! ```text
//! DIR/                          0700; locked by its inode
//!   owner                       the pid of the process that runs on it, for people
//!   manifest-<epoch>            see [`super::manifest`]
//!   state-<generation>-<shard>  frames, see [`crate::state::Frames`]; a generation per number of shards
//!   ingest-<split>…             what durable sockets have received
//!   old-<n>.…                   what `--fresh` set aside
//! ```
//!
//! # Invariants
//!
//! 1. Nothing is removed or written before the newest manifest has been read and fits the script.
//! 2. A folder that holds anything else is not touched.
//! 3. Nothing here takes longer for more state: page tables are read behind the job's back ([`super::settle`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::blueprint::Blueprint;
use super::coordinator::Coordinator;
use super::manifest::{Manifest, list};
use super::{Checkpoints, convert, rescale};
use crate::crash_point;
use crate::error::{JobError, StateError};
use crate::planted;
use crate::shard::control::Control;
use crate::shard::operators::differences;
use crate::shard::topology::Topology;
use crate::state::{Frames, Ledger, Pages, Space};
use crate::sys::storage::{FolderLock, Storage, make_folder};

/// The file that names the process.
const OWNER: &str = "owner";

/// Whether a job goes on from what the folder holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fresh {
    /// It goes on, if there is something.
    #[default]
    GoOn,
    /// It goes on, also for a script that has more aggregates; those show NULL for windows that are open.
    AllowNewAggregates,
    /// It starts over; what is there is set aside.
    StartOver,
}

/// How a job keeps state.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// Where.
    pub folder: PathBuf,
    /// On what.
    pub storage: Arc<dyn Storage>,
    /// Whether it goes on.
    pub fresh: Fresh,
    /// Time between two snapshots, in milliseconds.
    pub interval_ms: u64,
    /// How many snapshots are kept.
    pub retained_count: usize,
    /// Bytes of state held in memory, all shards together.
    pub memory_bytes: u64,
    /// This process, for others to name.
    pub pid: u32,
}

/// What an operator goes on from: its pages, and its header if there is one.
pub(crate) type Kept = (Pages, Option<Vec<u64>>);

/// A state folder, opened.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Checkpoints>,
    pub(crate) coordinator: Coordinator,
    /// By shard and exchange.
    pub(crate) spaces: Vec<Vec<Kept>>,
    /// What the job goes on from.
    pub(crate) manifest: Option<Manifest>,
    /// Aggregates that the script has added.
    pub(crate) added: Vec<String>,
}

/// Opens the folder for a job on `shard_count` shards; sinks publish what the newest manifest names.
///
/// # Errors
///
/// A folder that another process runs on, that belongs to another script, or that is damaged; what the storage says.
pub(crate) fn open(
    options: &StateOptions,
    topology: &Arc<Topology>,
    control: &Arc<Control>,
    shard_count: usize,
    chunk_bytes: u64,
) -> Result<Opened, JobError> {
    let (storage, folder) = (&options.storage, &options.folder);
    let lock = take_folder(options)?;
    crash_point!("restore-locked");
    let mut epochs = list(&**storage, folder)?;
    if options.fresh == Fresh::StartOver {
        set_aside(&**storage, folder)?;
        epochs.clear();
    }
    if planted!("restore-older") {
        epochs.truncate(1);
    }
    let mut manifest = newest_manifest(&**storage, folder, &epochs)?;
    let mut added = Vec::new();
    if let Some(held) = &mut manifest {
        added = fit(options, topology, held, &mut epochs, shard_count)?;
    }
    let names = match &manifest {
        Some(manifest) => manifest.files.clone(),
        None => rescale::file_names(0, shard_count),
    };
    crash_point!("restore-manifest-read");
    remove_strays(&**storage, folder, &names, epochs.last().copied())?;
    let frames = open_frames(options, &names, manifest.is_some())?;
    let spaces = open_spaces(options, &topology.schemas(), &frames, manifest.as_ref())?;
    crash_point!("restore-spaces-opened");
    open_sinks(options, topology, manifest.as_ref())?;
    let epoch = manifest.as_ref().map_or(0, |manifest| manifest.epoch);
    let exchange_count = topology.exchanges.len();
    let shared = Arc::new(Checkpoints::new(epoch, shard_count, exchange_count)?);
    let newest = manifest.clone().unwrap_or(Manifest {
        operators: topology.operators(),
        blueprint: Blueprint::of(topology),
        chunk_bytes,
        files: names,
        ..Manifest::default()
    });
    let (ledgers, spaces) = spaces.into_iter().map(halves).unzip();
    let file_bytes: u64 = frames.iter().map(|frames| frames.length_bytes()).sum();
    let warming = (manifest.is_some() && file_bytes <= options.memory_bytes).then_some((0, 0));
    let coordinator = Coordinator {
        shared: Arc::clone(&shared),
        control: Arc::clone(control),
        topology: Arc::clone(topology),
        storage: Arc::clone(storage),
        folder: folder.clone(),
        _lock: Some(lock),
        ledgers,
        frames,
        newest,
        retained: epochs.last().copied().into_iter().collect(),
        older: Some(epochs.iter().rev().skip(1).copied().collect()),
        warming,
        retained_max: options.retained_count.max(1),
        interval_ms: options.interval_ms as i64,
        next_at_ms: None,
        waits: true,
        collected: std::collections::BTreeMap::new(),
    };
    Ok(Opened { shared, coordinator, spaces, manifest, added })
}

/// The newest manifest, whose name is durable.
fn newest_manifest(
    storage: &dyn Storage,
    folder: &Path,
    epochs: &[u64],
) -> Result<Option<Manifest>, StateError> {
    let Some(&epoch) = epochs.last() else { return Ok(None) };
    let manifest = Manifest::read(storage, folder, epoch)?;
    // Whoever wrote it may have been killed before its name was durable, and sinks are about to publish on its word.
    if !planted!("open-skip-folder-sync") {
        storage.sync_folder(folder).map_err(|error| StateError::io(folder, error))?;
    }
    Ok(Some(manifest))
}

/// Opens the sinks: they publish what the manifest names.
fn open_sinks(
    options: &StateOptions,
    topology: &Topology,
    manifest: Option<&Manifest>,
) -> Result<(), JobError> {
    for (index, spec) in topology.sinks.iter().enumerate() {
        if let Some(sink) = spec.sink.transactional() {
            let record = manifest.and_then(|manifest| manifest.sinks[index].as_deref());
            sink.open(Arc::clone(&options.storage), record)?;
            crash_point!("restore-sink-opened");
        }
    }
    Ok(())
}

/// The spaces of a shard as its writer has them, and as its operators do.
fn halves(spaces: Vec<Space>) -> (Vec<Ledger>, Vec<Kept>) {
    spaces.into_iter().map(|space| (space.ledger, (space.pages, space.header))).unzip()
}

/// Makes the folder, if need be, and locks it.
fn take_folder(options: &StateOptions) -> Result<FolderLock, StateError> {
    let (storage, folder) = (&options.storage, &options.folder);
    let failed = |error| StateError::io(folder, error);
    make_folder(&**storage, folder, true).map_err(|(path, error)| StateError::io(&path, error))?;
    let owner = folder.join(OWNER);
    let Some(lock) = storage.lock_folder(folder).map_err(failed)? else {
        return Err(owned(&**storage, folder));
    };
    check_names(folder, &storage.list(folder).map_err(failed)?)?;
    if storage.length_bytes(&owner).map_err(failed)?.is_some() {
        storage.remove(&owner).map_err(failed)?;
    }
    let file = storage.create(&owner).map_err(failed)?;
    file.write_at(0, format!("{}\n", options.pid).as_bytes()).map_err(failed)?;
    Ok(lock)
}

/// The folder's lock is taken: by whom.
pub(super) fn owned(storage: &dyn Storage, folder: &Path) -> StateError {
    let written = written_pid(storage, folder);
    let pid = storage.lock_holder(folder, written).or(written);
    StateError::Owned { path: folder.display().to_string(), pid }
}

/// The process that ran on the folder last, or runs on it.
pub(super) fn written_pid(storage: &dyn Storage, folder: &Path) -> Option<u32> {
    let text = storage.read(&folder.join(OWNER)).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

/// Refuses a folder that holds anything but state.
///
/// # Errors
///
/// [`StateError::Foreign`].
pub(super) fn check_names(folder: &Path, names: &[String]) -> Result<(), StateError> {
    let Some(name) = names.iter().find(|name| !is_ours(name)) else { return Ok(()) };
    let reason = format!(
        "the folder holds '{name}', which is none of ours; give the state a folder of its own"
    );
    Err(StateError::Foreign { path: folder.display().to_string(), reason })
}

/// Whether a name is one that we give.
fn is_ours(name: &str) -> bool {
    let name = name.trim_start_matches('.');
    [OWNER, "manifest-", "state-", LOG, "old-"].iter().any(|ours| name.starts_with(ours))
}

/// What the names of ingest logs begin with; a split's number follows.
const LOG: &str = "ingest-";

/// Where the ingest log of a split lies: files whose names begin with this.
pub(crate) fn log_path(folder: &Path, split: usize) -> PathBuf {
    folder.join(format!("{LOG}{split}"))
}

/// The split whose ingest log a file belongs to.
pub(super) fn split_of_log(name: &str) -> Option<usize> {
    name.strip_prefix(LOG)?.split_once('-')?.0.parse().ok()
}

/// Gives everything in the folder a name under which it is not looked for.
fn set_aside(storage: &dyn Storage, folder: &Path) -> Result<(), StateError> {
    let failed = |error| StateError::io(folder, error);
    let names = storage.list(folder).map_err(failed)?;
    let used = names
        .iter()
        .filter_map(|name| name.strip_prefix("old-")?.split_once('.')?.0.parse::<u64>().ok());
    let next = used.max().map_or(1, |last| last + 1);
    let live = names.iter().filter(|name| !name.starts_with("old-") && *name != OWNER);
    // Manifests go first: without one the rest means nothing.
    let (manifests, others): (Vec<&String>, Vec<&String>) =
        live.partition(|name| name.starts_with("manifest-"));
    for group in [manifests, others] {
        for name in group {
            let target = folder.join(format!("old-{next}.{name}"));
            storage.rename(&folder.join(name), &target).map_err(failed)?;
            crash_point!("set-aside-renamed");
        }
        storage.sync_folder(folder).map_err(failed)?;
        crash_point!("set-aside-synced");
    }
    crash_point!("set-aside-done");
    Ok(())
}

/// Refuses to go on for a script whose operators differ, and says which do.
fn check_operators(
    folder: &Path,
    manifest: &Manifest,
    operators: &[String],
) -> Result<(), StateError> {
    if manifest.operators == operators {
        return Ok(());
    }
    let reason = format!(
        "the script is not the one whose state this is:\n{}run the old script, or start over with `--fresh` (the old state \
         is kept aside); `--allow-new-aggregates` goes on if it only has more aggregates",
        differences(&manifest.operators, operators)
    );
    Err(StateError::Changed { path: folder.display().to_string(), reason })
}

/// Makes what `held` names fit the script and the number of shards; the aggregates that the script has added.
fn fit(
    options: &StateOptions,
    topology: &Topology,
    held: &mut Manifest,
    epochs: &mut Vec<u64>,
    shard_count: usize,
) -> Result<Vec<String>, JobError> {
    let (storage, folder) = (&options.storage, &options.folder);
    let operators = topology.operators();
    let grows = options.fresh == Fresh::AllowNewAggregates && held.operators != operators;
    if !grows {
        check_operators(folder, held, &operators)?;
        if held.finished || !rescale::is_needed(held, shard_count) {
            return Ok(Vec::new());
        }
    }
    let mut added = Vec::new();
    let held_epoch = held.epoch;
    let stray = || remove_strays(&**storage, folder, &held.files, Some(held_epoch));
    *held = match grows {
        true => {
            let changes = convert::changes(options, topology, held)?;
            // Files of an attempt that did not come to its end.
            stray()?;
            added = changes.iter().flat_map(|change| change.added.clone()).collect();
            convert::convert(options, topology, held, &changes, shard_count)?
        }
        false => {
            stray()?;
            rescale::rescale(options, topology, held, shard_count)?
        }
    };
    // Older snapshots are of other files, and not to be gone back to.
    for epoch in std::mem::replace(epochs, vec![held.epoch]) {
        let path = Manifest::path(folder, epoch);
        storage.remove(&path).map_err(|error| StateError::io(&path, error))?;
    }
    crash_point!("rescale-old-retired");
    Ok(added)
}

/// Removes files that the newest manifest does not name.
fn remove_strays(
    storage: &dyn Storage,
    folder: &Path,
    names: &[String],
    newest: Option<u64>,
) -> Result<(), StateError> {
    let failed = |error| StateError::io(folder, error);
    for name in storage.list(folder).map_err(failed)? {
        let is_stray = name.ends_with(".inprogress")
            || (name.starts_with("state-") && (newest.is_none() || !names.contains(&name)));
        if is_stray {
            storage.remove(&folder.join(name)).map_err(failed)?;
            crash_point!("restore-stray-removed");
        }
    }
    Ok(())
}

pub(super) fn open_frames(
    options: &StateOptions,
    names: &[String],
    exist: bool,
) -> Result<Vec<Arc<Frames>>, StateError> {
    let (storage, folder) = (&options.storage, &options.folder);
    let open = |name: &String| match exist {
        true => Frames::open(storage, &folder.join(name)),
        false => Frames::create(storage, &folder.join(name)),
    };
    let frames = names.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    if !exist {
        frames.iter().try_for_each(|frames| frames.sync())?;
        crash_point!("restore-frames-created");
        storage.sync_folder(folder).map_err(|error| StateError::io(folder, error))?;
    }
    Ok(frames)
}

/// Opens the spaces of exchanges whose owners' words mean `schemas`.
pub(super) fn open_spaces(
    options: &StateOptions,
    schemas: &[u64],
    frames: &[Arc<Frames>],
    manifest: Option<&Manifest>,
) -> Result<Vec<Vec<Space>>, StateError> {
    let epoch = manifest.map_or(0, |manifest| manifest.epoch as u32);
    let space_count = (frames.len() * schemas.len()).max(1);
    let budget_bytes = options.memory_bytes as usize / space_count;
    let mut spaces = Vec::new();
    for (shard, frames) in frames.iter().enumerate() {
        let mut own = Vec::new();
        for (exchange, &schema) in schemas.iter().enumerate() {
            let root = manifest.map(|manifest| &manifest.spaces[shard][exchange]);
            own.push(Space::open(frames, schema, root, epoch, budget_bytes)?);
        }
        spaces.push(own);
    }
    Ok(spaces)
}
