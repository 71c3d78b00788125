//! The shards of a job: each core runs one, and every shard does all of it.
//!
//! `machine` is the shard as a state machine, `sequence` its part in the order of chunks, `flow` its own rows;
//! `topology` what it runs, `strategy` how an aggregation does, `operators` how that is called, `row_windows` what is refused; `token` the order of chunks; `input` reading and decoding; `exchange` rings, senders and
//! owners; `checkpoint` snapshots, `barrier` a shard's part in them, `start` where a job begins or goes on; [`runtime`] what drives the machines: pinned threads (`poll`), io_uring executors (`uring`), or one thread
//! and a seeded scheduler (`sim`).

mod barrier;
pub mod checkpoint;
mod control;
mod dead_letter;
mod exchange;
mod flow;
mod input;
mod machine;
mod operators;
mod place;
mod prepare;
mod row_windows;
pub mod runtime;
mod scan;
mod sequence;
mod sinks;
mod start;
mod strategy;
mod token;
mod topology;
mod watch;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use checkpoint::{Fresh, StateOptions};
pub use control::{Control, Progress, Snapshots};
pub use dead_letter::DeadLetters;

use crate::connector::Split;
use crate::error::JobError;
use crate::metrics::LateRows;
use crate::plan::{Plan, Settings};
use crate::ring::mesh::mesh;
use crate::state::{Pages, caught};
use checkpoint::{Manifest, Opened};
use exchange::OwnerOrigin;
use input::Input;
use machine::{Parts, Shard};
use sinks::{Limit, SinkEnds};
use start::Start;
use topology::Topology;
use watch::Watcher;

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
    state: Option<StateOptions>,
    begun: Option<Begun>,
}

/// A job between its opening and its run.
struct Begun {
    opened: Option<Opened>,
    /// `None`: the job had finished.
    start: Option<Start>,
    chunk_bytes: u64,
    beginning: Beginning,
}

/// What a job begins with.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// The snapshot that it goes on from; `None`: it begins at the beginning.
    pub went_on_from: Option<WentOnFrom>,
    /// Aggregates that the script has added: windows that are open now show NULL for them.
    pub added: Vec<String>,
    /// Tables that cannot be read again: a crash loses their rows since the last snapshot. With the way around.
    pub lossy: Vec<(String, &'static str)>,
    /// Tables that show rows at once: after a crash those since the last snapshot are shown again.
    pub repeating: Vec<String>,
}

/// What a job came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Late rows, by the tables they came from.
    pub late: Vec<(String, LateRows)>,
    /// Why it ended early.
    pub failure: Option<JobError>,
    /// The snapshot that it went on from.
    pub went_on_from: Option<WentOnFrom>,
}

/// What a job with state found in its folder.
///
/// ```
/// use tidemill::job::WentOnFrom;
/// use tidemill::{Job, Options, Records, Span};
///
/// # let folder = tempfile::tempdir()?;
/// # let state = folder.path().join("state");
/// let run = || {
///     let numbers = Job::new("numbers").source("numbers", Records::new(0..9_i64));
///     numbers.watermark(|n| *n, Span::millis(0)).sink(|_| {}).run(Options::default().state(&state))
/// };
/// assert!(run()?.went_on_from.is_none());
/// let WentOnFrom { rows, finished, .. } = run()?.went_on_from.expect("there is a snapshot");
/// assert_eq!((rows, finished), (9, true)); // There was nothing left to do.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WentOnFrom {
    /// The snapshot's number.
    pub epoch: u64,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The job had finished: nothing was left to do.
    pub finished: bool,
    /// Rows that had been read by then.
    pub rows: u64,
    /// Inputs that are there now and do not belong to the job.
    pub left_out: Vec<String>,
}

/// However it ended, and whether it ran at all.
impl Drop for Job {
    fn drop(&mut self) {
        self.control.close_sinks();
    }
}

impl Job {
    /// Prepares `plan` for `shard_count` shards.
    ///
    /// # Errors
    ///
    /// A plan that cannot run, or surroundings that do not allow it.
    pub fn new(plan: &Plan, shard_count: usize) -> Result<Self, JobError> {
        let topology = Arc::new(Topology::new(plan)?);
        let sinks = topology.sinks.iter().map(|spec| Arc::clone(&spec.sink)).collect();
        let job = Self {
            topology,
            settings: plan.settings.clone(),
            shard_count,
            control: Arc::new(Control::new(shard_count, sinks)?),
            dead_letters: Arc::new(DeadLetters::new(plan.settings.dead_letter_path.as_deref())?),
            ring_slots: RING_SLOTS,
            state: None,
            begun: None,
        };
        job.topology.sinks.iter().for_each(|spec| spec.sink.begin());
        Ok(job)
    }

    /// The same job over rings of `slots` slots, a power of two.
    #[must_use]
    pub fn ring_slots(mut self, slots: usize) -> Self {
        self.ring_slots = slots;
        self
    }

    /// The same job with durable state.
    #[must_use]
    pub fn state(mut self, state: StateOptions) -> Self {
        self.state = Some(state);
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

    /// Whether it may read ranges of files, which is what a runtime with io_uring reads by itself.
    pub fn reads_ranges(&self) -> bool {
        self.topology.scans.iter().any(|scan| scan.source.has_ranges())
    }

    /// Opens the state folder, if there is one, and finds the inputs, before anything runs. `now_ms` is processing time.
    ///
    /// # Errors
    ///
    /// State or inputs that cannot be had, or gone on with.
    pub fn open(&mut self, now_ms: i64) -> Result<Beginning, JobError> {
        let begun = caught(|| self.begin(now_ms))?;
        let beginning = begun.beginning.clone();
        self.begun = Some(begun);
        Ok(beginning)
    }

    /// Runs it to its end on a runtime, once; opens it first if that has not been done.
    pub fn run(&mut self, runtime: &dyn runtime::Runtime) -> Outcome {
        let ran = caught(|| self.run_shards(runtime));
        let mut outcome =
            ran.unwrap_or_else(|error| Outcome { failure: Some(error), ..Outcome::default() });
        outcome.failure = outcome.failure.or_else(|| self.commit().err());
        outcome
    }

    fn run_shards(&mut self, runtime: &dyn runtime::Runtime) -> Result<Outcome, JobError> {
        self.control.note_start();
        let begun = match self.begun.take() {
            Some(begun) => begun,
            None => self.begin(runtime.start_ms())?,
        };
        let Begun { mut opened, start, chunk_bytes, beginning } = begun;
        let went_on_from = beginning.went_on_from;
        let Some(start) = start else {
            return Ok(Outcome { went_on_from, ..Outcome::default() });
        };
        let shards = self.shards(start, opened.as_mut(), chunk_bytes)?;
        let coordinator = opened.map(|opened| opened.coordinator);
        let late = runtime.run(shards, &self.control, coordinator);
        let failure = self.control.take_failure();
        Ok(Outcome { late: add_up(late), failure, went_on_from })
    }

    fn begin(&self, now_ms: i64) -> Result<Begun, JobError> {
        let opened = self.open_state()?;
        let manifest = opened.as_ref().and_then(|opened| opened.manifest.as_ref());
        self.restore_counters(manifest);
        let mut beginning =
            Beginning { went_on_from: manifest.map(went_on_from), ..Beginning::default() };
        beginning.added = opened.as_ref().map_or(Vec::new(), |opened| opened.added.clone());
        let chunk_bytes = manifest.map_or(self.settings.chunk_bytes, |found| found.chunk_bytes);
        if manifest.is_some_and(|manifest| manifest.finished) {
            return Ok(Begun { opened, start: None, chunk_bytes, beginning });
        }
        let mut start =
            start::start(&self.topology, manifest, self.shard_count, chunk_bytes, now_ms)?;
        if let Some(state) = &self.state {
            for (split, (_, opening)) in start.streams.iter_mut().flatten() {
                let log = checkpoint::log_path(&state.folder, *split);
                opening.log = Some((Arc::clone(&state.storage), log));
            }
        }
        if let Some(went_on_from) = &mut beginning.went_on_from {
            went_on_from.left_out = std::mem::take(&mut start.left_out);
        }
        beginning.lossy = std::mem::take(&mut start.lossy);
        let repeating = self.topology.sinks.iter().filter(|spec| spec.sink.repeats_rows());
        beginning.repeating = repeating.map(|spec| spec.table.clone()).collect();
        Ok(Begun { opened, start: Some(start), chunk_bytes, beginning })
    }

    /// Opens the state folder, if the job has one.
    fn open_state(&self) -> Result<Option<Opened>, JobError> {
        let Some(state) = &self.state else { return Ok(None) };
        if self.topology.sinks.iter().any(|spec| spec.limit.is_some()) {
            return Err(JobError::Refused(
                "LIMIT counts the rows of one run, not of all runs on a state folder; leave LIMIT out, or run without \
                 state"
                    .into(),
            ));
        }
        let chunk_bytes = self.settings.chunk_bytes;
        let opened =
            checkpoint::open(state, &self.topology, &self.control, self.shard_count, chunk_bytes)?;
        Ok(Some(opened))
    }

    /// Counts on from a snapshot.
    fn restore_counters(&self, manifest: Option<&Manifest>) {
        let Some(manifest) = manifest else { return };
        let first = &self.control.progress[0];
        let [rows, bytes, malformed, jumps] = manifest.sources.counters;
        first.rows.store(rows, Ordering::Relaxed);
        first.bytes.store(bytes, Ordering::Relaxed);
        first.malformed.store(malformed, Ordering::Relaxed);
        first.jumps.store(jumps, Ordering::Relaxed);
        first.rows_out.store(manifest.rows_out, Ordering::Relaxed);
        self.control.snapshots.epoch.store(manifest.epoch, Ordering::Relaxed);
    }

    /// Publishes what spans parts. With snapshots, transactional sinks have published at the last one.
    fn commit(&self) -> Result<(), JobError> {
        let shown = self.topology.sinks.iter().map(|spec| &spec.sink);
        let with_snapshots = self.state.is_some();
        let mut shown = shown.filter(|sink| !with_snapshots || sink.transactional().is_none());
        shown.try_for_each(|sink| sink.commit())
    }

    /// The machines, connected.
    fn shards(
        &self,
        mut start: Start,
        mut opened: Option<&mut Opened>,
        chunk_bytes: u64,
    ) -> Result<Vec<Shard>, JobError> {
        let view = start.token.splits.clone();
        let mut token = Some(start.token);
        let mut watcher = Watcher::new(&self.topology, chunk_bytes);
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
                    &self.topology,
                    Arc::clone(&limits),
                    Arc::clone(&self.control),
                    index,
                    self.shard_count,
                )?;
                let input = Input::new(
                    Arc::clone(&self.topology),
                    index,
                    self.shard_count,
                    chunk_bytes,
                    view.clone(),
                    std::mem::take(&mut start.streams[index]),
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
                    owners: self.owners(index, opened.as_deref_mut()),
                    checkpoints: opened.as_ref().map(|opened| Arc::clone(&opened.shared)),
                }))
            })
            .collect()
    }

    /// What the owners of a shard begin with.
    fn owners(&self, shard: usize, opened: Option<&mut Opened>) -> Vec<OwnerOrigin> {
        let Some(opened) = opened else {
            return self.topology.exchanges.iter().map(|_| OwnerOrigin::default()).collect();
        };
        let manifest = &opened.manifest;
        let spaces = std::mem::take(&mut opened.spaces[shard]).into_iter().enumerate();
        let origin = |(exchange, (pages, header)): (usize, (Pages, Option<Vec<u64>>))| {
            let mut origin = OwnerOrigin { pages, header, ..OwnerOrigin::default() };
            if let Some(manifest) = manifest {
                origin.watermark_ms = manifest.watermarks_ms[exchange];
                // The first shard counts on for all.
                if shard == 0 {
                    let late: &[u64] = &manifest.late[exchange];
                    origin.late = LateRows::from_words(late);
                }
            }
            origin
        };
        spaces.map(origin).collect()
    }
}

fn went_on_from(manifest: &Manifest) -> WentOnFrom {
    WentOnFrom {
        epoch: manifest.epoch,
        at_ms: manifest.at_ms,
        finished: manifest.finished,
        rows: manifest.sources.counters[0],
        left_out: Vec::new(),
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
