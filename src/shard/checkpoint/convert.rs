//! New aggregates: what the owners of a snapshot hold is laid out for a script that has more calls, into files of a new
//! generation, as [`super::rescale`] does for another number of shards; both may come at once.
//!
//! New calls change how an aggregation is carried out: one exchange may become the two of a split, or the other way round.
//!
//! ```text
//! aggregate          → first stage, second stage     slices go to the first
//! triggers           → first stage, triggers         windows go to the second
//! first, aggregate   → aggregate                     slices of all first stages add up
//! first, triggers    → triggers                      a window, and what its first stages have not passed on yet
//! ```
//!
//! # Invariants
//!
//! 1. A window that any owner had something of is older than the new calls, for all owners.

use std::collections::BTreeSet;

use super::blueprint::{Blueprint, Change};
use super::manifest::Manifest;
use super::rescale::{remake, write};
use super::restore::StateOptions;
use crate::crash_point;
use crate::error::{JobError, StateError};
use crate::metrics::LateRows;
use crate::op::ages::Ages;
use crate::op::relay::Relay;
use crate::op::send::Ship;
use crate::op::{Receiver, Standing};
use crate::shard::topology::{Exchange, Owner, Topology};
use crate::state::{Root, Space};

/// How the script has changed since `manifest`.
///
/// # Errors
///
/// A script that differs by more than new aggregates.
pub(super) fn changes(
    options: &StateOptions,
    topology: &Topology,
    manifest: &Manifest,
) -> Result<Vec<Change>, StateError> {
    let changes = match manifest.finished {
        true => Err("the job had finished".to_owned()),
        false => manifest.blueprint.changes(topology),
    };
    changes.map_err(|reason| StateError::Changed {
        path: options.folder.display().to_string(),
        reason: format!(
            "`--allow-new-aggregates` allows for nothing else: {reason}\nrun the old script, or start over with `--fresh` (the \
             old state is kept aside)"
        ),
    })
}

/// Lays the state behind `manifest` out for `topology`, which differs by `changes`; the manifest of that, which is durable.
///
/// # Errors
///
/// Damaged state; what the storage says.
pub(super) fn convert(
    options: &StateOptions,
    topology: &Topology,
    manifest: &Manifest,
    changes: &[Change],
    shard_count: usize,
) -> Result<Manifest, JobError> {
    let stages = Stages::all(topology, changes);
    crash_point!("convert-before");
    let old: Vec<u64> =
        stages.iter().flat_map(|stages| &stages.old).map(Exchange::schema_hash).collect();
    let new = topology.schemas();
    let mut made = remake(options, manifest, shard_count, (&old, &new), |old, new| {
        let (mut old, mut new) = (old.into_iter(), new.into_iter());
        let mut roots = Vec::new();
        for stages in &stages {
            let old = old.by_ref().take(stages.old.len()).collect();
            let new = new.by_ref().take(stages.new.len()).collect();
            roots.extend(stages.deal(old, new)?);
            crash_point!("convert-dealt-one");
        }
        Ok(roots)
    })?;
    let exchange_ms = &manifest.sources.exchange_ms;
    made.sources.exchange_ms = by_new(&stages, |old, _| exchange_ms[old]);
    made.watermarks_ms = by_new(&stages, |old, _| manifest.watermarks_ms[old]);
    made.late = by_new(&stages, |old, is_former| match is_former {
        true => manifest.late[old].clone(),
        false => LateRows::default().to_words(),
    });
    made.operators = topology.operators();
    made.blueprint = Blueprint::of(topology);
    made.commit(&*options.storage, &options.folder)?;
    crash_point!("convert-durable");
    Ok(made)
}

/// By new exchange, what `of` makes of the old one in its place; `false`: it had none of its own.
fn by_new<T>(stages: &[Stages<'_>], of: impl Fn(usize, bool) -> T) -> Vec<T> {
    let mut all = Vec::new();
    for stages in stages {
        let last = stages.old.len() - 1;
        let places = 0..stages.new.len();
        all.extend(places.map(|place| of(stages.old_first + place.min(last), place <= last)));
    }
    all
}

/// The exchanges of one aggregation, as they were and as they are to be.
struct Stages<'a> {
    old_first: usize,
    old: Vec<Exchange>,
    new: &'a [Exchange],
    change: &'a Change,
}

/// The owners of an exchange, one a shard.
type Owners = Vec<Box<dyn Receiver>>;

impl<'a> Stages<'a> {
    fn all(topology: &'a Topology, changes: &'a [Change]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (aggregate, change) in topology.aggregates.iter().zip(changes) {
            let old_first = all.last().map_or(0, |last| last.old_first + last.old.len());
            let old = topology.formerly(aggregate, &change.places);
            let new = &topology.exchanges[aggregate.exchanges.clone()];
            all.push(Self { old_first, old, new, change });
        }
        all
    }

    /// Which new stage takes what old stage `stage` holds.
    fn target(&self, stage: usize) -> usize {
        match (self.old.len(), self.new.len()) {
            (1, 2) => usize::from(matches!(self.old[0].owner, Owner::Trigger)),
            (2, 1) => 0,
            _ => stage,
        }
    }

    /// Moves all groups; the roots, by new stage and shard.
    fn deal(&self, old: Vec<Vec<Space>>, new: Vec<Vec<Space>>) -> Result<Vec<Vec<Root>>, JobError> {
        let mut givers: Vec<Owners> = Vec::new();
        for (spec, spaces) in self.old.iter().zip(old) {
            let giver = |space: Space| spec.receiver(space.pages, space.header.as_deref());
            givers.push(spaces.into_iter().map(giver).collect());
        }
        let (mut ledgers, mut takers) = (Vec::new(), Vec::new());
        for (spec, spaces) in self.new.iter().zip(new) {
            let taker = |space: Space| (space.ledger, spec.receiver(space.pages, None));
            let (own, owners): (Vec<_>, Owners) = spaces.into_iter().map(taker).unzip();
            ledgers.push(own);
            takers.push(owners);
        }
        self.stand(&givers, &mut takers);
        for (stage, givers) in givers.iter_mut().enumerate() {
            self.give(stage, givers, &mut takers[self.target(stage)])?;
        }
        let owners = ledgers.iter_mut().zip(&mut takers);
        owners.map(|(ledgers, owners)| write(ledgers, owners)).collect()
    }

    /// Takers begin where givers stood.
    fn stand(&self, givers: &[Owners], takers: &mut [Owners]) {
        let ages = self.ages(givers);
        for (place, takers) in takers.iter_mut().enumerate() {
            let stages = (0..givers.len()).filter(|&stage| self.target(stage) == place);
            let givers_of = stages.flat_map(|stage| &givers[stage]);
            let mut standings: Vec<Standing> = givers_of.map(|giver| giver.standing()).collect();
            if standings.is_empty() {
                let other = givers[0][0].standing();
                let (watermark_ms, now_ms) = (other.watermark_ms, other.now_ms);
                standings.push(Standing { watermark_ms, now_ms, ..Standing::default() });
            }
            for standing in standings {
                let standing = Standing { ages: ages.clone(), ..standing };
                // What is added up goes to the first.
                let rest =
                    Standing { fired_count: 0, late: LateRows::default(), ..standing.clone() };
                takers[0].stand(&standing);
                takers[1..].iter_mut().for_each(|taker| taker.stand(&rest));
            }
        }
    }

    /// The ages from now on: every window that somebody has something of is older than the new calls.
    fn ages(&self, givers: &[Owners]) -> Ages {
        let mut ages = Ages::new(self.change.places.len());
        let showing = givers.last().expect("an aggregation has an exchange");
        showing.iter().for_each(|giver| ages.join(&giver.standing().ages));
        let open: BTreeSet<i64> =
            givers.iter().flatten().flat_map(|giver| giver.standing().pending).collect();
        ages.grown(&self.change.former(self.new[0].shape.calls.len()), &open)
    }

    fn give(&self, stage: usize, givers: &mut Owners, takers: &mut Owners) -> Result<(), JobError> {
        let spec = &self.new[self.target(stage)];
        let relay = Relay::new(&spec.shape, &self.change.places);
        let by_value = spec.send.ship == Ship::RowsByValue;
        let joined = self.old.len() > self.new.len();
        let shard_count = takers.len();
        let mut misplaced = false;
        for giver in givers {
            giver.give(&mut |moved| {
                let moved = match (joined, &spec.owner) {
                    (true, Owner::Trigger) => relay.relaid(moved).into_window(),
                    (true, _) if stage > 0 => return misplaced = true,
                    _ => relay.relaid(moved),
                };
                for (shard, piece) in moved.pieces(shard_count, by_value) {
                    takers[shard].adopt(piece);
                }
            });
        }
        match misplaced {
            false => Ok(()),
            true => Err(JobError::Internal(
                "the second stage of a split has windows that its first stages have not ended"
                    .into(),
            )),
        }
    }
}
