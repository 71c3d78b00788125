//! Tables, ratios, and the raw file.

use std::path::PathBuf;
use std::process::Command;

use peer_clicks::Answer;
use serde_json::{Value, json};

use crate::{Settings, median};

use super::anchors::{SHARE_MIN, ratio_to_loop};
use super::contestants::{Input, Line};

/// Where the figures go.
pub(super) struct Report {
    rows: u64,
    time_limit_seconds: u64,
    path: PathBuf,
    head: Value,
}

impl Report {
    pub(super) fn new(settings: &Settings) -> Self {
        let date = said_by("date", &["-u", "+%Y-%m-%dT%H-%M-%SZ"]);
        let commit = said_by("git", &["describe", "--always", "--dirty"]);
        let cores = std::thread::available_parallelism().map_or(0, |count| count.get());
        println!(
            "{date}, commit {commit}, {cores} cores, {} rows, medians of {} runs in turn. M rows/s; peak and CPU of whole processes.",
            settings.rows, settings.runs
        );
        Self {
            rows: settings.rows,
            time_limit_seconds: settings.time_limit_seconds,
            path: settings.folder.join(format!("compare-{date}.json")),
            head: json!({
                "date": date,
                "commit": commit,
                "cpu": cpu(),
                "cores": cores,
                "kernel": said_by("uname", &["-r"]),
                "rows": settings.rows,
                "runs": settings.runs,
                "arguments": std::env::args().skip(1).collect::<Vec<_>>(),
            }),
        }
    }

    /// Prints a workload's table.
    pub(super) fn print(&self, workload: &str, judge: &Answer, lines: &[&mut Line]) {
        let loads = || lines.iter().flat_map(|line| line.runs.iter().map(|run| run.load));
        let (low, high) = (loads().fold(f64::MAX, f64::min), loads().fold(0.0, f64::max));
        let load =
            if low > high { "no run".into() } else { format!("load {low:.1} – {high:.1}") };
        println!("\n{} ({load}; {judge})", workload.to_uppercase());
        println!(
            "| contestant | input | shards | M rows/s | min – max | seconds | CPU s | peak MiB | ours ÷ it | it ÷ plain loop (then) |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        for line in lines {
            self.print_line(line, lines);
        }
    }

    fn print_line(&self, line: &Line, lines: &[&mut Line]) {
        let (name, input) = (line.contestant.name(), line.contestant.input.name());
        let Some(seconds) = seconds(line) else {
            let ended = format!("ended after {} s", self.time_limit_seconds);
            let why = line.failures.first().map_or(ended, |why| format!("failed: {why}"));
            println!("| {name} | {input} | {} | {why} | | | | | | |", line.shards);
            return;
        };
        let rate = |seconds: f64| self.rows as f64 / seconds / 1e6;
        let all = || line.runs.iter().map(|run| run.seconds);
        let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
        let mut cpu: Vec<f64> = line.runs.iter().map(|run| run.cpu_seconds).collect();
        let peak = line.runs.iter().map(|run| run.peak_bytes).max().unwrap_or(0) >> 20;
        let ours = ours(line, lines).map_or("–".into(), |ours| format!("{:.2}×", seconds / ours));
        println!(
            "| {name} | {input} | {} | {:.2} | {:.2} – {:.2} | {seconds:.3} | {:.2} | {peak} | {ours} | {} |",
            line.shards,
            rate(seconds),
            rate(most),
            rate(least),
            median(&mut cpu),
            to_loop(line, seconds, lines),
        );
    }

    /// Writes the raw file.
    ///
    /// # Errors
    ///
    /// If any run failed, or the file cannot be written.
    pub(super) fn finish(mut self, lines: &[Line], skipped: &[String]) -> Result<(), String> {
        self.head["lines"] = lines.iter().map(raw).collect();
        self.head["skipped"] = skipped.into();
        let text = format!("{:#}\n", self.head);
        let path = self.path.display();
        std::fs::write(&self.path, text).map_err(|error| format!("{path}: {error}"))?;
        println!("\nRaw figures: {path}");
        skipped.iter().for_each(|why| println!("Skipped: {why}"));
        let failures: Vec<String> = lines.iter().flat_map(failures).collect();
        if failures.is_empty() {
            return Ok(());
        }
        Err(format!("failed runs: {}\n{}", failures.len(), failures.join("\n")))
    }
}

fn failures(line: &Line) -> Vec<String> {
    let (workload, name, input) =
        (line.workload, line.contestant.name(), line.contestant.input.name());
    let tell = |why: &String| format!("{workload} {name} {input} {}: {why}", line.shards);
    line.failures.iter().map(tell).collect()
}

/// The median of a line's seconds, if all its runs ended and were right.
fn seconds(line: &Line) -> Option<f64> {
    let mut seconds: Vec<f64> = line.runs.iter().map(|run| run.seconds).collect();
    let counts = !line.is_ended && !seconds.is_empty() && line.failures.is_empty();
    counts.then(|| median(&mut seconds))
}

/// Our seconds from the same input, at as many shards or, if it has no such choice, at the most.
fn ours(line: &Line, lines: &[&mut Line]) -> Option<f64> {
    if line.contestant.engine == "ours" {
        return None;
    }
    let own = lines.iter().filter(|other| {
        other.contestant.engine == "ours" && other.contestant.input == line.contestant.input
    });
    let same = own.clone().find(|other| other.shards == line.shards);
    seconds(same.or_else(|| own.max_by_key(|other| other.shards))?)
}

/// The rate as a multiple of the plain loop's; with what it was when peers were measured with care.
fn to_loop(line: &Line, own_seconds: f64, lines: &[&mut Line]) -> String {
    let is_loop = |other: &&&mut Line| {
        (other.contestant.engine, other.contestant.variant) == ("loop", "hash")
    };
    let plain = lines.iter().find(is_loop).and_then(|other| seconds(other));
    let Some(ratio) = plain.map(|plain| plain / own_seconds) else { return "–".into() };
    if line.contestant.input != Input::Memory {
        return "–".into();
    }
    match ratio_to_loop(line.contestant.engine, line.shards, line.workload) {
        Some(then) if ratio < then * SHARE_MIN => {
            format!("{ratio:.2} ({then:.2}: too slow, a fault of the harness or of the load)")
        }
        Some(then) => format!("{ratio:.2} ({then:.2})"),
        None => format!("{ratio:.2}"),
    }
}

fn raw(line: &Line) -> Value {
    let run = |run: &super::process::Run| {
        json!({
            "seconds": run.seconds,
            "wall_seconds": run.wall_seconds,
            "cpu_seconds": run.cpu_seconds,
            "peak_bytes": run.peak_bytes,
            "load": run.load,
            "answer": run.answer.to_string(),
        })
    };
    json!({
        "workload": line.workload,
        "contestant": line.contestant.name(),
        "input": line.contestant.input.name(),
        "shards": line.shards,
        "runs": line.runs.iter().map(run).collect::<Vec<_>>(),
        "failures": line.failures,
        "ended": line.is_ended,
    })
}

/// The first line that a command prints.
fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned()
}
