//! Another number of shards: what the owners of a snapshot hold is dealt out anew, by key group, into files of a new
//! generation, and a manifest of the next epoch makes the change as durable as any snapshot.
//!
//! # Invariants
//!
//! 1. The old files are only read; they are strays when the new manifest is durable.
//! 2. Sources, sinks and counters stay as they are: a snapshot of the same place in the sequence.

use super::manifest::Manifest;
use super::restore::{StateOptions, open_frames, open_spaces};
use crate::crash_point;
use crate::error::{JobError, StateError};
use crate::op::send::Ship;
use crate::op::{Receiver, Standing};
use crate::shard::topology::{Exchange, Topology};
use crate::state::{Root, Space};

/// The names of the files of a generation.
pub(super) fn file_names(generation: u64, shard_count: usize) -> Vec<String> {
    (0..shard_count).map(|shard| format!("state-{generation}-{shard}")).collect()
}

/// Deals the state behind `manifest` out to `shard_count` shards and returns the manifest of that, which is durable.
///
/// # Errors
///
/// Damaged state; what the storage says.
pub(super) fn rescale(
    options: &StateOptions,
    topology: &Topology,
    manifest: &Manifest,
    shard_count: usize,
) -> Result<Manifest, JobError> {
    let names = file_names(generation(manifest) + 1, shard_count);
    crash_point!("rescale-before");
    let old_frames = open_frames(options, &manifest.files, true)?;
    let old = by_exchange(open_spaces(options, topology, &old_frames, Some(manifest))?, topology);
    let frames = open_frames(options, &names, false)?;
    let new = by_exchange(open_spaces(options, topology, &frames, None)?, topology);
    crash_point!("rescale-files-created");
    let mut roots: Vec<Vec<Root>> = vec![Vec::new(); shard_count];
    for ((spec, old), new) in topology.exchanges.iter().zip(old).zip(new) {
        for (shard, root) in deal(spec, old, new)?.into_iter().enumerate() {
            roots[shard].push(root);
        }
        crash_point!("rescale-dealt-one");
    }
    frames.iter().try_for_each(|frames| frames.sync())?;
    let folder = &options.folder;
    let synced = options.storage.sync_folder(folder);
    synced.map_err(|error| StateError::io(folder, error))?;
    crash_point!("rescale-synced");
    let manifest = Manifest {
        epoch: manifest.epoch + 1,
        files: names,
        spaces: roots,
        written_bytes: frames.iter().map(|frames| frames.used_bytes()).sum(),
        ..manifest.clone()
    };
    manifest.commit(&*options.storage, folder)?;
    crash_point!("rescale-durable");
    Ok(manifest)
}

/// The generation of a manifest's files.
fn generation(manifest: &Manifest) -> u64 {
    let name = manifest.files.first();
    let middle = name.and_then(|name| name.strip_prefix("state-")?.split('-').next()?.parse().ok());
    middle.unwrap_or(0)
}

/// Spaces by shard and exchange as spaces by exchange and shard.
fn by_exchange(spaces: Vec<Vec<Space>>, topology: &Topology) -> Vec<Vec<Space>> {
    let mut turned: Vec<Vec<Space>> = topology.exchanges.iter().map(|_| Vec::new()).collect();
    for own in spaces {
        for (exchange, space) in own.into_iter().enumerate() {
            turned[exchange].push(space);
        }
    }
    turned
}

/// Deals one exchange's groups out and writes them; the roots, by shard.
fn deal(spec: &Exchange, old: Vec<Space>, new: Vec<Space>) -> Result<Vec<Root>, JobError> {
    let (mut ledgers, mut owners): (Vec<_>, Vec<Box<dyn Receiver>>) =
        new.into_iter().map(|space| (space.ledger, spec.receiver(space.pages, None))).unzip();
    let by_value = spec.send.ship == Ship::RowsByValue;
    let shard_count = owners.len();
    for space in old {
        let mut giver = spec.receiver(space.pages, space.header.as_deref());
        let standing = giver.standing();
        // What is added up goes to the first; where time stands all know.
        let rest = Standing { fired_count: 0, late: Default::default(), ..standing.clone() };
        owners[0].stand(&standing);
        owners[1..].iter_mut().for_each(|owner| owner.stand(&rest));
        giver.give(&mut |moved| {
            for (shard, piece) in moved.pieces(shard_count, by_value) {
                owners[shard].adopt(piece);
            }
        });
    }
    let written = ledgers
        .iter_mut()
        .zip(&mut owners)
        .map(|(ledger, owner)| Ok(ledger.write(owner.seal(), &mut |_| false)?.root));
    written.collect()
}

/// Whether the state behind `manifest` is that of another number of shards.
pub(super) fn is_needed(manifest: &Manifest, shard_count: usize) -> bool {
    manifest.files.len() != shard_count
}
