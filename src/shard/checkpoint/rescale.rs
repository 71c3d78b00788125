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
use crate::state::{Ledger, Root, Space};

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
    let schemas = topology.schemas();
    let made = remake(options, manifest, shard_count, (&schemas, &schemas), |old, new| {
        let exchanges = topology.exchanges.iter().zip(old).zip(new);
        let dealt = exchanges.map(|((spec, old), new)| {
            let roots = deal(spec, old, new);
            crash_point!("rescale-dealt-one");
            roots
        });
        dealt.collect()
    })?;
    made.commit(&*options.storage, &options.folder)?;
    crash_point!("rescale-durable");
    Ok(made)
}

/// Moves the state behind `manifest` into files of a new generation: `deal` gets the spaces as they were and as they are to be, by
/// exchange and shard, and writes the new ones. `schemas` are those of the exchanges, before and after. The manifest of that, which
/// is to be committed.
pub(super) fn remake(
    options: &StateOptions,
    manifest: &Manifest,
    shard_count: usize,
    schemas: (&[u64], &[u64]),
    deal: impl FnOnce(Vec<Vec<Space>>, Vec<Vec<Space>>) -> Result<Vec<Vec<Root>>, JobError>,
) -> Result<Manifest, JobError> {
    let names = file_names(generation(manifest) + 1, shard_count);
    crash_point!("rescale-before");
    let old_frames = open_frames(options, &manifest.files, true)?;
    let old = open_spaces(options, schemas.0, &old_frames, Some(manifest))?;
    let frames = open_frames(options, &names, false)?;
    let new = open_spaces(options, schemas.1, &frames, None)?;
    crash_point!("rescale-files-created");
    let mut spaces: Vec<Vec<Root>> = vec![Vec::new(); shard_count];
    for roots in deal(by_exchange(old, schemas.0.len()), by_exchange(new, schemas.1.len()))? {
        roots.into_iter().enumerate().for_each(|(shard, root)| spaces[shard].push(root));
    }
    frames.iter().try_for_each(|frames| frames.sync())?;
    let folder = &options.folder;
    let synced = options.storage.sync_folder(folder);
    synced.map_err(|error| StateError::io(folder, error))?;
    crash_point!("rescale-synced");
    Ok(Manifest {
        epoch: manifest.epoch + 1,
        files: names,
        spaces,
        written_bytes: frames.iter().map(|frames| frames.used_bytes()).sum(),
        ..manifest.clone()
    })
}

/// The generation of a manifest's files.
fn generation(manifest: &Manifest) -> u64 {
    let name = manifest.files.first();
    let middle = name.and_then(|name| name.strip_prefix("state-")?.split('-').next()?.parse().ok());
    middle.unwrap_or(0)
}

/// Spaces by shard and exchange as spaces by exchange and shard.
fn by_exchange(spaces: Vec<Vec<Space>>, exchange_count: usize) -> Vec<Vec<Space>> {
    let mut turned: Vec<Vec<Space>> = (0..exchange_count).map(|_| Vec::new()).collect();
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
    write(&mut ledgers, &mut owners)
}

/// Writes what the owners of an exchange have taken; the roots, by shard.
pub(super) fn write(
    ledgers: &mut [Ledger],
    owners: &mut [Box<dyn Receiver>],
) -> Result<Vec<Root>, JobError> {
    let written = ledgers
        .iter_mut()
        .zip(owners)
        .map(|(ledger, owner)| Ok(ledger.write(owner.seal(), &mut |_| false)?.root));
    written.collect()
}

/// Whether the state behind `manifest` is that of another number of shards.
pub(super) fn is_needed(manifest: &Manifest, shard_count: usize) -> bool {
    manifest.files.len() != shard_count
}
