//! One run of one contestant, in a process of its own.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use peer_clicks::Answer;
use serde_json::Value;
use tidemill::sys::clock::Clock;
use wait4::Wait4;

use crate::Settings;

use super::contestants::Line;
use super::install::Programs;

/// What a run came to.
#[derive(Debug)]
pub(super) struct Run {
    /// What the contestant timed.
    pub(super) seconds: f64,
    /// The whole process.
    pub(super) wall_seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) peak_bytes: u64,
    /// The machine's load, of one minute, when it began.
    pub(super) load: f64,
    pub(super) answer: Answer,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// By itself, with a right answer.
    Ran(Run),
    /// By us, after `--time-limit`.
    Ended,
}

/// Runs it and compares its answer with the judge's.
///
/// # Errors
///
/// What went wrong, for people.
pub(super) fn run(
    settings: &Settings,
    programs: &Programs,
    line: &Line,
    data: &Path,
    judge: Option<&Answer>,
) -> Result<Outcome, String> {
    let contestant = line.contestant;
    let said_path = settings.folder.join("contestant.stderr");
    let said = fs::File::create(&said_path).map_err(|error| error.to_string())?;
    let mut command = programs.command(contestant.program);
    command.args(["--workload", line.workload, "--input", contestant.input.name()]);
    command.args(["--variant", contestant.variant, "--shards", &line.shards.to_string(), "--data"]);
    command
        .arg(data)
        .args(["--rows", &settings.rows.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(said);
    let load = load();
    let watch = Clock.start();
    let mut child = command.spawn().map_err(|error| format!("cannot be started: {error}"))?;
    let limit = Duration::from_secs(settings.time_limit_seconds);
    let (text, is_over) = read_within(&mut child, limit).map_err(|error| error.to_string())?;
    let used = child.wait4().map_err(|error| error.to_string())?;
    let wall_seconds = watch.elapsed().as_secs_f64();
    if is_over {
        return Ok(Outcome::Ended);
    }
    if !used.status.success() {
        let said = fs::read_to_string(&said_path).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        return Err(format!("{}: {}", used.status, last.join(" / ")));
    }
    let (rows, seconds, answer) = parse(&text)?;
    if rows != settings.rows {
        return Err(format!("it read {rows} rows of {}", settings.rows));
    }
    if let Some(judge) = judge.filter(|judge| **judge != answer) {
        return Err(format!("wrong answer: {answer}; the plain loop says: {judge}"));
    }
    let cpu_seconds = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    let peak_bytes = used.rusage.maxrss;
    Ok(Outcome::Ran(Run { seconds, wall_seconds, cpu_seconds, peak_bytes, load, answer }))
}

/// All that a process says until it ends; and whether it was killed because that took longer than `limit`.
fn read_within(child: &mut Child, limit: Duration) -> io::Result<(String, bool)> {
    let mut stdout = child.stdout.take().expect("it was asked for");
    let pid = child.id().to_string();
    std::thread::scope(|scope| {
        let (ended, wait) = mpsc::channel::<()>();
        // It is there to be killed until it has been waited for, which is after this thread.
        let guard = scope.spawn(move || {
            let is_over = wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            is_over && Command::new("kill").args(["-KILL", &pid]).status().is_ok()
        });
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        drop(ended);
        let is_over = guard.join().expect("nobody panics here");
        read.map(|_| (text, is_over))
    })
}

/// A contestant's line: rows, seconds, answer. Engines that talk on standard output may do so before it.
fn parse(text: &str) -> Result<(u64, f64, Answer), String> {
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("it said '{line}': {error}"))?;
    let missing = |name: &str| format!("it said '{line}', without {name}");
    let number = |name: &str| value[name].as_u64().ok_or_else(|| missing(name));
    let hash = value["hash"].as_str().and_then(|hash| u64::from_str_radix(hash, 16).ok());
    let answer = Answer {
        rows: number("results")?,
        counts: number("counts")?,
        cents: value["cents"].as_i64().ok_or_else(|| missing("cents"))?,
        hash: hash.ok_or_else(|| missing("hash"))?,
    };
    let seconds = value["seconds"].as_f64().ok_or_else(|| missing("seconds"))?;
    Ok((number("rows")?, seconds, answer))
}

/// The machine's load of the last minute.
pub(super) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_what_lacks_is_named() {
        let line = "INFO talk\n{\"workload\":\"w1\",\"rows\":9,\"seconds\":0.5,\"results\":3,\"counts\":4,\"cents\":55,\"hash\":\"ff00000000000000\"}\n";
        let answer = Answer { rows: 3, counts: 4, cents: 55, hash: 0xff << 56 };
        assert_eq!(parse(line).unwrap(), (9, 0.5, answer));
        assert!(parse(&line.replace("cents", "sense")).unwrap_err().ends_with("without cents"));
        assert!(parse("").is_err());
    }

    #[test]
    fn who_takes_too_long_is_ended() {
        let run = |script: &str, ms| {
            let mut command = Command::new("sh");
            let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
            let read = read_within(&mut child, Duration::from_millis(ms)).unwrap();
            (read, child.wait4().unwrap().status.success())
        };
        assert_eq!(run("echo it", 60_000), (("it\n".to_owned(), false), true));
        assert_eq!(run("echo it; exec sleep 600", 100), (("it\n".to_owned(), true), false));
    }
}
