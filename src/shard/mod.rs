//! The shards of a job: each core runs one, and every shard does all of it.
//!
//! `machine` is the shard as a state machine, `sequence` its part in the order of chunks, `flow` its own rows;
//! `topology` what it runs; `token` the order of chunks; `input` reading and decoding; `exchange` rings, senders and
//! owners; [`runtime`] what drives the machines: pinned threads (`poll`), io_uring executors (`uring`), or one thread
//! and a seeded scheduler (`sim`).

mod control;
mod dead_letter;
mod exchange;
mod flow;
mod input;
mod machine;
pub mod runtime;
mod sequence;
mod sinks;
mod token;
mod topology;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;

pub use control::{Control, Progress};
pub use dead_letter::DeadLetters;

use crate::connector::{CHUNK_BYTES, SequentialSplit, Split};
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::plan::{Plan, Settings};
use crate::ring::mesh::mesh;
use input::{GENERATED_CHUNK_ROWS, Input};
use machine::{Parts, Shard};
use sinks::{Limit, SinkEnds};
use token::{Reach, ScanState, SplitSpec, SplitState, Token};
use topology::Topology;
use watch::{Streams, Watcher};

/// Slots of the rings between shards.
const RING_SLOTS: usize = 64;

/// Whether `plan` can run at all.
///
/// # Errors
///
/// A shape of plan that cannot run yet.
pub fn check(plan: &Plan) -> Result<(), JobError> {
    Topology::new(plan).map(drop)
}

/// A job that is ready to run.
pub struct Job {
    topology: Arc<Topology>,
    settings: Settings,
    shard_count: usize,
    control: Arc<Control>,
    dead_letters: Arc<DeadLetters>,
    ring_slots: usize,
}

/// What a job came to.
#[derive(Debug)]
pub struct Outcome {
    /// Late rows dropped, by the tables they came from.
    pub late: Vec<(String, LateRows)>,
    /// Why it ended early.
    pub failure: Option<JobError>,
}

impl Job {
    /// Prepares `plan` for `shard_count` shards.
    ///
    /// # Errors
    ///
    /// A plan that cannot run, or surroundings that do not allow it.
    pub fn new(plan: &Plan, shard_count: usize) -> Result<Self, JobError> {
        Ok(Self {
            topology: Arc::new(Topology::new(plan)?),
            settings: plan.settings.clone(),
            shard_count,
            control: Arc::new(Control::new(shard_count)?),
            dead_letters: Arc::new(DeadLetters::new(plan.settings.dead_letter_path.as_deref())?),
            ring_slots: RING_SLOTS,
        })
    }

    /// The same job over rings of `slots` slots, a power of two.
    #[must_use]
    pub fn ring_slots(mut self, slots: usize) -> Self {
        self.ring_slots = slots;
        self
    }

    /// The switches and counters.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// The records that were dropped.
    pub fn dead_letters(&self) -> Arc<DeadLetters> {
        Arc::clone(&self.dead_letters)
    }

    /// The bytes of all plain files that it will read; `None` if any source's size is unknown.
    pub fn input_bytes(&self) -> Option<u64> {
        let mut total = 0;
        for scan in &self.topology.scans {
            if scan.source.monitor_interval_ms().is_some() {
                return None;
            }
            for split in scan.source.splits().ok()? {
                match split {
                    Split::Ranged(file) => total += file.length_bytes,
                    _ => return None,
                }
            }
        }
        Some(total)
    }

    /// Runs it to its end on a runtime.
    pub fn run(&self, runtime: &dyn runtime::Runtime) -> Outcome {
        let result =
            self.shards(runtime.start_ms()).map(|shards| runtime.run(shards, &self.control));
        let (late, failure) = match result {
            Ok(late) => (late, self.control.take_failure()),
            Err(error) => (Vec::new(), Some(error)),
        };
        let failure = failure.or_else(|| self.commit().err());
        Outcome { late: add_up(late), failure }
    }

    fn commit(&self) -> Result<(), JobError> {
        self.topology.sinks.iter().try_for_each(|spec| spec.sink.commit())
    }

    /// The machines, connected.
    fn shards(&self, now_ms: i64) -> Result<Vec<Shard>, JobError> {
        let (token, mut streams) = self.token(now_ms)?;
        let view = token.splits.clone();
        let mut token = Some(token);
        let mut watcher = Watcher::new(&self.topology, self.settings.chunk_bytes);
        let limits: Arc<Vec<Limit>> =
            Arc::new(self.topology.sinks.iter().map(|sink| Limit::new(sink.limit)).collect());
        let mut meshes: Vec<_> = self
            .topology
            .exchanges
            .iter()
            .map(|_| mesh(self.shard_count, self.ring_slots).into_iter())
            .collect();
        let turns = mesh(self.shard_count, 2);
        turns
            .into_iter()
            .enumerate()
            .map(|(index, turns)| {
                let exchanges =
                    meshes.iter_mut().map(|mesh| mesh.next().expect("one a shard")).collect();
                let sinks = SinkEnds::new(
                    &self.topology.sinks,
                    Arc::clone(&limits),
                    Arc::clone(&self.control),
                    index,
                    self.shard_count,
                )?;
                let input = Input::new(
                    Arc::clone(&self.topology),
                    index,
                    self.shard_count,
                    self.settings.chunk_bytes,
                    self.settings.time_zone,
                    view.clone(),
                    std::mem::take(&mut streams[index]),
                );
                Ok(Shard::new(Parts {
                    index,
                    shard_count: self.shard_count,
                    topology: Arc::clone(&self.topology),
                    control: Arc::clone(&self.control),
                    time_zone: self.settings.time_zone,
                    input,
                    exchanges,
                    sinks,
                    dead_letters: Arc::clone(&self.dead_letters),
                    turns,
                    token: if index == 0 { token.take() } else { None },
                    idle_timeout_ms: self.settings.idle_timeout_ms as i64,
                    watcher: if index == 0 { watcher.take() } else { None },
                }))
            })
            .collect()
    }

    /// The token at the start, and the streams of each shard.
    fn token(&self, now_ms: i64) -> Result<(Box<Token>, Vec<Streams>), JobError> {
        let mut streams: Vec<Streams> = (0..self.shard_count).map(|_| HashMap::new()).collect();
        let mut splits = Vec::new();
        let mut scans = Vec::new();
        for (scan, spec) in self.topology.scans.iter().enumerate() {
            let watched = spec.source.monitor_interval_ms().is_some();
            scans.push(ScanState { watched, idle: false, active_at_ms: now_ms });
            for split in spec.source.splits()? {
                let (spec, stream) = split_spec(
                    scan,
                    split,
                    splits.len() % self.shard_count,
                    self.settings.chunk_bytes,
                );
                if let (Some(stream), Reach::Sequential { shard, .. }) = (stream, &spec.reach) {
                    streams[*shard].insert(splits.len(), stream);
                }
                let mut state = SplitState::new(spec);
                state.ended =
                    matches!(state.spec.reach, Reach::Ranged(_, 0) | Reach::Generated(_, Some(0)));
                splits.push(state);
            }
        }
        let live = scans.iter().any(|scan| scan.watched)
            || splits.iter().any(|split| {
                matches!(split.spec.reach, Reach::Sequential { live: true, .. } | Reach::Paced(..))
            });
        let exchange_ms = vec![crate::op::WATERMARK_START; self.topology.exchanges.len()];
        let shard_count = self.shard_count;
        let token = Token {
            splits,
            exchange_ms,
            chosen: None,
            live,
            scans,
            turn: None,
            turn_chunks: CHUNK_BYTES.div_ceil(self.settings.chunk_bytes),
            now_ms,
            ticked_ms: now_ms,
            shard_count,
        };
        Ok((Box::new(token), streams))
    }
}

/// A split as every shard knows it, and the stream behind it for the one that reads it: shard 0 if it is live.
fn split_spec(
    scan: usize,
    split: Split,
    shard: usize,
    chunk_bytes: u64,
) -> (SplitSpec, Option<Box<dyn SequentialSplit>>) {
    let spec = |origin: String, reach| SplitSpec { scan, origin, reach };
    match split {
        Split::Ranged(file) => {
            let chunks = file.length_bytes.div_ceil(chunk_bytes);
            (spec(file.path.display().to_string(), Reach::Ranged(file, chunks)), None)
        }
        Split::Generated(generator) => match generator.rows_per_second() {
            Some(rate) => (spec("datagen".into(), Reach::Paced(generator, rate)), None),
            None => {
                let chunks = generator.row_count().map(|rows| rows.div_ceil(GENERATED_CHUNK_ROWS));
                (spec("datagen".into(), Reach::Generated(generator, chunks)), None)
            }
        },
        Split::Sequential(stream) => {
            let live = !stream.bounded();
            let shard = if live { 0 } else { shard };
            (spec(stream.origin(), Reach::Sequential { shard, live }), Some(stream))
        }
    }
}

/// Adds up what the shards say of each exchange.
fn add_up(shards: Vec<Vec<(String, LateRows)>>) -> Vec<(String, LateRows)> {
    let mut total: Vec<(String, LateRows)> = Vec::new();
    for shard in shards {
        for (index, (name, late)) in shard.into_iter().enumerate() {
            match total.get_mut(index) {
                Some(entry) => entry.1.add(&late),
                None => total.push((name, late)),
            }
        }
    }
    total
}
