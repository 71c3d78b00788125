//! A round: one job from its start to its end, killed again and again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::jobs::Job;
use crate::points::Tally;
use crate::process::{Death, Ended, Run};
use crate::published::{Rows, counts, is_finished, newest_epoch, state_bytes, strays, take_parts};
use crate::random::Random;

/// After so many starts a round is left to end.
const STARTS_MAX: u64 = 60;
/// How often a point is passed at most before the kill.
const PASSES_MAX: u64 = 6;

/// A job with its inputs and the result that it must have.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) job: Job,
    inputs: PathBuf,
    rows: Rows,
    /// What the undisturbed run has counted.
    counts: String,
    /// How long the undisturbed run takes at most.
    time: Duration,
}

/// What all rounds share.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) shards: &'a [usize],
    pub(crate) rescale: bool,
    pub(crate) plant: Option<&'a str>,
    pub(crate) tally: Mutex<Tally>,
}

/// A round that is under way.
struct Round<'a> {
    setting: &'a Setting<'a>,
    subject: &'a Subject,
    random: Random,
    folder: PathBuf,
    shards: usize,
    /// Whether each start has another number of shards.
    rescale: bool,
    /// What could be seen at the last death.
    seen: Rows,
    /// Hidden files of runs that died before their first snapshot: nobody knows them.
    forgotten: BTreeSet<PathBuf>,
    counted: u64,
}

pub(crate) fn io(error: std::io::Error) -> String {
    error.to_string()
}

impl Setting<'_> {
    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subject {
    /// Makes the inputs and runs the job undisturbed: without state on one shard, which gives the result, and with state.
    pub(crate) fn new(setting: &Setting<'_>, job: Job, seed: u64) -> Result<Self, String> {
        let inputs = setting.folder.join(format!("{}-inputs", job.name));
        job.input.write(&inputs, seed).map_err(io)?;
        let mut subject = Self {
            job,
            inputs,
            rows: Rows::default(),
            counts: String::new(),
            time: Duration::ZERO,
        };
        for (with_state, &shards) in
            std::iter::once((false, &1)).chain(setting.shards.iter().map(|shards| (true, shards)))
        {
            let folder = setting.folder.join(format!("{}-undisturbed", job.name));
            subject.script(&folder)?;
            let run = Run {
                binary: setting.binary,
                folder: &folder,
                with_state,
                shards,
                runtime: Some("poll"),
                fresh: false,
                death: Death::Never,
                plant: None,
            };
            #[expect(clippy::disallowed_methods, reason = "nothing is simulated here")]
            let start = std::time::Instant::now();
            if let Ended::Failed(said) = run.run()? {
                return Err(said);
            }
            let rows = Rows::read(&[&folder.join("out")])?;
            if with_state {
                subject.is_whole(&rows)?;
                if reached(&folder).next().is_none() {
                    return Err("the binary was built without the feature `crash-points`".into());
                }
                let counts = counts(&folder.join("state"))?;
                if !subject.counts.is_empty() && counts != subject.counts {
                    return Err(format!(
                        "counts depend on shards: {counts} and {}",
                        subject.counts
                    ));
                }
                subject.counts = counts;
                subject.time = subject.time.max(start.elapsed());
                let epochs = newest_epoch(&folder.join("state"))?;
                let (name, ms) = (job.name, start.elapsed().as_millis());
                eprintln!(
                    "{name}: {} rows, {shards} shards, {ms} ms, {epochs} snapshots, {} KiB of state",
                    rows.count(),
                    state_bytes(&folder.join("state"))? >> 10
                );
                setting.tally().note_reached(job.name, reached(&folder));
            } else {
                subject.rows = rows;
            }
            fs::remove_dir_all(&folder).map_err(io)?;
        }
        Ok(subject)
    }

    fn script(&self, folder: &Path) -> Result<(), String> {
        let outputs = folder.join("out");
        fs::create_dir_all(&outputs).map_err(io)?;
        let script =
            self.job.script(&self.inputs.display().to_string(), &outputs.display().to_string());
        fs::write(folder.join("job.sql"), script).map_err(io)
    }

    /// That these rows are the result.
    fn is_whole(&self, rows: &Rows) -> Result<(), String> {
        if let Some(name) = &rows.torn {
            return Err(format!("{name} ends within a row"));
        }
        if let Some(row) = rows.beyond(&self.rows) {
            return Err(row);
        }
        self.rows
            .beyond(rows)
            .map_or(Ok(()), |row| Err(format!("not all rows are there; undisturbed, {row}")))
    }
}

/// The points that a run has come to.
pub(crate) fn reached(folder: &Path) -> impl Iterator<Item = String> {
    let text = fs::read_to_string(folder.join("reached")).unwrap_or_default();
    text.lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Runs round `number`; how many kills counted.
pub(crate) fn round(
    setting: &Setting<'_>,
    subject: &Subject,
    seed: u64,
    number: u64,
) -> Result<u64, String> {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9));
    let folder = setting.folder.join(format!("round-{number}"));
    subject.script(&folder)?;
    let mut round = Round {
        setting,
        subject,
        shards: *random.one_of(setting.shards),
        rescale: setting.rescale && random.once_in(2),
        random,
        folder,
        seen: Rows::default(),
        forgotten: BTreeSet::new(),
        counted: 0,
    };
    round.play()?;
    fs::remove_dir_all(&round.folder).map_err(io)?;
    Ok(round.counted)
}

impl Round<'_> {
    fn outputs(&self) -> PathBuf {
        self.folder.join("out")
    }

    fn taken(&self) -> PathBuf {
        self.folder.join("taken")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Starts the job until it is done.
    fn play(&mut self) -> Result<(), String> {
        let fresh_at = self.random.once_in(6).then(|| 1 + self.random.below(4));
        let mut fresh = false;
        for start in 0.. {
            if Some(start) == fresh_at {
                fresh = true;
                self.clear()?;
            }
            if self.rescale {
                self.shards = 1 + self.random.below(3) as usize;
            }
            let before = if fresh { 0 } else { newest_epoch(&self.state())? };
            let (ended, stopped) = self.start(start, fresh)?;
            let is_aside = reached(&self.folder).any(|point| point == "set-aside-done");
            fresh &= !is_aside;
            self.note_forgotten()?;
            match &ended {
                Ended::Failed(said) => return Err(said.clone()),
                Ended::Done if stopped && !is_finished(&self.state())? => {}
                Ended::Done => return self.finish(),
                Ended::Killed { .. } => {}
            }
            self.look()?;
            let is_kill = matches!(ended, Ended::Killed { .. });
            if is_kill && !fresh && newest_epoch(&self.state())? > before {
                self.counted += 1;
            }
            if self.random.once_in(4) {
                take_parts(&self.outputs(), &self.taken())?;
            }
        }
        Ok(())
    }

    /// One start, up to the end or the death; and whether it was asked to stop.
    fn start(&mut self, start: u64, fresh: bool) -> Result<(Ended, bool), String> {
        let point = if fresh && self.random.once_in(2) {
            let asides = ["set-aside-renamed", "set-aside-synced", "set-aside-done"];
            Some((*self.random.one_of(&asides)).to_owned())
        } else if self.random.below(5) < 3 {
            self.setting.tally().choose(self.subject.job.name, &mut self.random)
        } else {
            None
        };
        let first_only = self.random.once_in(3) || fresh;
        let passes = if first_only { 1 } else { 1 + self.random.below(PASSES_MAX) };
        let whole_us = self.subject.time.as_micros() as u64;
        let death = match &point {
            _ if start >= STARTS_MAX => Death::Never,
            Some(point) => Death::At(point, passes),
            None if self.random.once_in(6) => {
                Death::Stop(Duration::from_micros(self.random.below(whole_us / 2)))
            }
            None => Death::After(Duration::from_micros(self.random.below(whole_us / 4 * 3))),
        };
        let _ = fs::remove_file(self.folder.join("reached"));
        let run = Run {
            binary: self.setting.binary,
            folder: &self.folder,
            with_state: true,
            shards: self.shards,
            runtime: if self.random.once_in(4) { None } else { Some("poll") },
            fresh,
            death,
            plant: self.setting.plant,
        };
        let ended = run.run()?;
        let mut tally = self.setting.tally();
        tally.note_reached(self.subject.job.name, reached(&self.folder));
        if let (Some(point), Ended::Killed { at_point: true }) = (&point, &ended) {
            tally.note_kill(point);
        }
        Ok((ended, matches!(death, Death::Stop(_))))
    }

    /// Takes the outputs away before a fresh start, as one does who starts over.
    fn clear(&mut self) -> Result<(), String> {
        for folder in [self.outputs(), self.taken()] {
            let _ = fs::remove_dir_all(folder);
        }
        fs::create_dir_all(self.outputs()).map_err(io)?;
        self.seen = Rows::default();
        Ok(())
    }

    fn note_forgotten(&mut self) -> Result<(), String> {
        if newest_epoch(&self.state())? == 0 {
            self.forgotten.extend(strays(&self.outputs(), &self.state())?);
        }
        Ok(())
    }

    /// Looks at what can be seen while nobody runs.
    fn look(&mut self) -> Result<(), String> {
        let rows = Rows::read(&[&self.outputs(), &self.taken()])?;
        if let Some(row) = rows.beyond(&self.subject.rows) {
            return Err(row);
        }
        if let Some(row) = self.seen.beyond(&rows) {
            return Err(format!("what was published has gone: {row}"));
        }
        self.seen = rows;
        // With another number of shards the files of two generations are there at the same time.
        let generations = if self.rescale { 3 } else { 1 };
        let most = self.subject.job.state_bytes_max * generations;
        let held = state_bytes(&self.state())?;
        if held > most {
            return Err(format!("the state's files are {held} bytes long, more than {most}"));
        }
        Ok(())
    }

    /// The job says that it is done.
    fn finish(&mut self) -> Result<(), String> {
        self.look()?;
        self.subject.is_whole(&self.seen)?;
        let counts = counts(&self.state())?;
        if counts != self.subject.counts {
            return Err(format!(
                "what was counted: {counts}\nundisturbed: {}",
                self.subject.counts
            ));
        }
        let strays = strays(&self.outputs(), &self.state())?;
        if let Some(stray) = strays.difference(&self.forgotten).next() {
            return Err(format!("{} is left behind", stray.display()));
        }
        if self.random.once_in(2) {
            return Ok(());
        }
        // A job that is done has nothing to do.
        match self.start(STARTS_MAX, false)?.0 {
            Ended::Done => self.subject.is_whole(&Rows::read(&[&self.outputs(), &self.taken()])?),
            other => Err(format!("started again when it was done: {other:?}")),
        }
    }
}
