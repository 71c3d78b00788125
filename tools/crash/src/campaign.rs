//! Rounds, several at a time, until there have been enough kills.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::jobs::{JOBS, Job};
use crate::points::{Tally, known};
use crate::round::{Setting, Subject, round};
use crate::socket;

/// When points are missing, so many times as many kills are tried as were asked for.
const PATIENCE: u64 = 3;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// How many kills must count.
    pub kills: u64,
    /// What all choices follow from.
    pub seed: u64,
    /// A binary with the feature `crash-points`.
    pub binary: PathBuf,
    /// Where all files go; a folder of its own is made in it.
    pub folder: PathBuf,
    /// The names of the jobs; all, if there is none.
    pub only: Vec<String>,
    /// Numbers of shards; a round keeps to one of them.
    pub shards: Vec<usize>,
    /// Whether in half of the rounds each start may have another number of shards.
    pub rescale: bool,
    /// Rounds at the same time.
    pub workers: usize,
    /// How many times as many rows as a job has: more for a faster binary, so that a run takes many snapshots.
    pub scale: u64,
    /// Whether every crash point must have had its kill.
    pub all_points: bool,
    /// A bug that is planted in the binary; the undisturbed runs go without.
    pub plant: Option<String>,
}

/// A folder in memory where there is one: SIGKILL loses nothing that was written, synced or not.
pub fn fast_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Kills that counted.
    pub kills: u64,
    /// Jobs that were run to their end.
    pub rounds: u64,
    /// Kills by crash point, counted or not, as lines.
    pub points: String,
}

impl Campaign {
    /// Runs it.
    ///
    /// # Errors
    ///
    /// The first thing that was not as it should be; the folder is left as it was then.
    pub fn run(&self) -> Result<Outcome, String> {
        let folder = self.place();
        std::fs::create_dir_all(&folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let setting = Setting {
            binary: &self.binary,
            folder: &folder,
            shards: &self.shards,
            rescale: self.rescale,
            plant: self.plant.as_deref(),
            tally: Mutex::new(Tally::default()),
        };
        let jobs: Vec<Job> = JOBS
            .into_iter()
            .filter(|job| self.takes(job.name))
            .map(|job| job.scaled(self.scale))
            .collect();
        let with_socket = self.takes(socket::NAME);
        if jobs.is_empty() && !with_socket {
            return Err("no job has such a name".into());
        }
        let of = |job: Job| {
            Subject::new(&setting, job, self.seed).map_err(|error| format!("{}: {error}", job.name))
        };
        let subjects = jobs.into_iter().map(of).collect::<Result<Vec<_>, _>>()?;
        let outcome = self.rounds(&setting, &subjects)?;
        self.clear();
        Ok(outcome)
    }

    /// The folder of all files.
    fn place(&self) -> PathBuf {
        let name = format!("tidemill-crash-{}-{:x}", std::process::id(), self.seed);
        let jobs = if self.only.is_empty() { "all".into() } else { self.only.join("+") };
        self.folder.join(name).join(format!("{jobs}-{}", self.plant.as_deref().unwrap_or("plain")))
    }

    /// Removes what is left of it.
    pub fn clear(&self) {
        let folder = self.place();
        let _ = std::fs::remove_dir_all(&folder);
        // The folder around it goes with the last campaign in it.
        let _ = folder.parent().map(std::fs::remove_dir);
    }

    fn takes(&self, job: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == job)
    }

    fn rounds(&self, setting: &Setting<'_>, subjects: &[Subject]) -> Result<Outcome, String> {
        let (kills, next, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let failure: Mutex<Option<String>> = Mutex::new(None);
        let work = || {
            while !failed.load(Ordering::Relaxed)
                && !self.is_enough(setting, kills.load(Ordering::Relaxed))
            {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let (name, counted) = self.round(setting, subjects, number);
                match counted {
                    Ok(counted) => drop(kills.fetch_add(counted, Ordering::Relaxed)),
                    Err(error) => {
                        let text = format!(
                            "{name}, round {number} of seed {}, after {} kills: {error}\nsee {}",
                            self.seed,
                            kills.load(Ordering::Relaxed),
                            setting.folder.join(format!("round-{number}")).display()
                        );
                        failure.lock().expect("nobody panics with it").get_or_insert(text);
                        failed.store(true, Ordering::Relaxed);
                    }
                }
                if number % 20 == 19 {
                    eprintln!("{} rounds, {} kills", number + 1, kills.load(Ordering::Relaxed));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(work);
            }
        });
        if let Some(text) = failure.into_inner().expect("nobody panics with it") {
            return Err(text);
        }
        let tally = setting.tally();
        let missing = tally.missing(self.rescale);
        if self.all_points && !missing.is_empty() {
            return Err(format!("nothing was killed at {missing:?}"));
        }
        let mut points = String::new();
        for point in known() {
            let _ = writeln!(points, "{:6} {point}", tally.kills(&point));
        }
        Ok(Outcome { kills: kills.into_inner(), rounds: next.into_inner(), points })
    }

    /// Runs round `number`; its job, and how many kills counted. Jobs take turns; every other round is of one that comes to points
    /// where nothing was killed yet.
    fn round(
        &self,
        setting: &Setting<'_>,
        subjects: &[Subject],
        number: u64,
    ) -> (&'static str, Result<u64, String>) {
        let of_socket = self.takes(socket::NAME).then_some(None);
        let mut list: Vec<Option<&Subject>> = subjects.iter().map(Some).chain(of_socket).collect();
        let wanting = setting.tally().wanting();
        let name =
            |subject: &Option<&Subject>| subject.map_or(socket::NAME, |subject| subject.job.name);
        if self.all_points && number % 2 == 1 && list.iter().any(|job| wanting.contains(&name(job)))
        {
            list.retain(|job| wanting.contains(&name(job)));
        }
        let chosen = list[(number / 2) as usize % list.len()];
        let counted = match chosen {
            Some(subject) => round(setting, subject, self.seed, number),
            None => socket::round(setting, self.seed, number),
        };
        (name(&chosen), counted)
    }

    fn is_enough(&self, setting: &Setting<'_>, kills: u64) -> bool {
        let is_covered = || !self.all_points || setting.tally().missing(self.rescale).is_empty();
        kills >= self.kills && (kills >= self.kills * PATIENCE || is_covered())
    }
}
