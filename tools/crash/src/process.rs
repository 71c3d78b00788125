//! One run of the binary, up to its end or its death.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// By then a run listens to signals.
const STARTED: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_micros(500);
/// Of what a failed run said, as much is told.
const SAID_BYTES_MAX: usize = 2000;

/// A run: `tidemill run job.sql --state state` in a folder.
pub(crate) struct Run<'a> {
    pub(crate) binary: &'a Path,
    /// Where `job.sql` is, and where all that is written goes.
    pub(crate) folder: &'a Path,
    pub(crate) with_state: bool,
    pub(crate) shards: usize,
    pub(crate) runtime: Option<&'static str>,
    pub(crate) fresh: bool,
    pub(crate) death: Death<'a>,
    pub(crate) plant: Option<&'a str>,
}

/// When a run is killed.
#[derive(Clone, Copy)]
pub(crate) enum Death<'a> {
    /// Not at all.
    Never,
    /// After so much time.
    After(Duration),
    /// Not killed, but asked to stop (SIGINT) after so much time: it ends with a snapshot.
    Stop(Duration),
    /// When it comes to this crash point for the n-th time.
    At(&'a str, u64),
    /// There, or at the latest after so much time.
    AtOrAfter(&'a str, u64, Duration),
    /// Not killed, but asked to stop when this is so.
    StopWhen(&'a dyn Fn() -> bool),
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// `at_point`: by itself, at a crash point.
    Killed {
        at_point: bool,
    },
    /// It failed, or hung; what it said.
    Failed(String),
}

impl Run<'_> {
    /// Starts it and waits for the end.
    pub(crate) fn run(&self) -> Result<Ended, String> {
        let mut child = self
            .command()?
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", self.binary.display()))?;
        #[expect(clippy::disallowed_methods, reason = "nothing is simulated here")]
        let start = std::time::Instant::now();
        let mut asked_at = Duration::ZERO;
        let status = loop {
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            if let Some(status) = ended {
                break status;
            }
            let is_due = match self.death {
                Death::After(time) | Death::AtOrAfter(_, _, time) => start.elapsed() >= time,
                _ => false,
            };
            let hangs = start.elapsed() >= PATIENCE;
            if is_due || hangs {
                child.kill().map_err(|error| error.to_string())?;
                child.wait().map_err(|error| error.to_string())?;
                return Ok(if hangs {
                    Ended::Failed(self.said("it hangs"))
                } else {
                    Ended::Killed { at_point: false }
                });
            }
            let must_stop = || match self.death {
                Death::Stop(time) => start.elapsed() >= time,
                Death::StopWhen(is_due) => start.elapsed() >= STARTED && is_due(),
                _ => false,
            };
            // Who has not begun to listen may have missed it: again after a while.
            let may_ask = asked_at.is_zero() || start.elapsed() - asked_at > ASK_AGAIN;
            if may_ask && must_stop() {
                asked_at = start.elapsed();
                // It may have ended by itself.
                let _ = kill_process(Pid::from_child(&child), Signal::INT);
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let deadly = [Signal::KILL, Signal::INT].map(Signal::as_raw);
        Ok(match (status.code(), status.signal()) {
            (Some(0), _) => Ended::Done,
            // SIGINT kills only what has not begun to run.
            (_, Some(signal)) if deadly.contains(&signal) => {
                Ended::Killed { at_point: signal == Signal::KILL.as_raw() }
            }
            _ => Ended::Failed(self.said(&status.to_string())),
        })
    }

    fn command(&self) -> Result<Command, String> {
        let said = File::create(self.folder.join("said")).map_err(|error| error.to_string())?;
        let mut command = Command::new(self.binary);
        command.current_dir(self.folder).args(["run", "job.sql"]);
        command.args(["--shards", &self.shards.to_string()]);
        if self.with_state {
            command.args(["--state", "state"]);
        }
        if let Some(runtime) = self.runtime {
            command.args(["--runtime", runtime]);
        }
        if self.fresh {
            command.arg("--fresh");
        }
        command.env("TIDEMILL_CRASH_LOG", "reached");
        for name in ["TIDEMILL_CRASH_AT", "TIDEMILL_PLANT"] {
            command.env_remove(name);
        }
        if let Death::At(name, count) | Death::AtOrAfter(name, count, _) = self.death {
            command.env("TIDEMILL_CRASH_AT", format!("{name}:{count}"));
        }
        if let Some(plant) = self.plant {
            command.env("TIDEMILL_PLANT", plant);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        Ok(command)
    }

    fn said(&self, how: &str) -> String {
        let said = std::fs::read(self.folder.join("said")).unwrap_or_default();
        let tail = &said[said.len().saturating_sub(SAID_BYTES_MAX)..];
        format!("the run failed ({how}): {}", String::from_utf8_lossy(tail))
    }
}
