//! Tidemill beside its peers, on the same rows, in one run.
//!
//! ```text
//! cargo run --release -p tidemill-bench -- compare [--rows N] [--runs N] [--shards 1,2] [--only W1,duckdb,csv] [--contestants ours,timely] [--time-limit SECONDS]
//! ```
//!
//! Each contestant runs in a process of its own, in turn with the others of its workload, as often as `--runs` says. It prints one line,
//! its seconds and its answer ([`peer_clicks`]); CPU seconds and peak memory are the kernel's (`wait4`). The plain loop judges: an answer
//! other than its own is a failure of the run, named with both values, and its time does not count. Who takes longer than `--time-limit`
//! is ended, with a word in the table, and not run again on that workload.
//!
//! # What is timed
//!
//! | input | contestants | from … to |
//! |---|---|---|
//! | memory | ours (`Records`, typed builder), loops, timely, renoir | 32-byte records in memory … the last result added up |
//! | memory | DuckDB, Polars, DataFusion | a table of numbers in memory … the result as a table |
//! | records | ours (`RecordFile`, typed builder) | the file … the last result added up |
//! | csv, json | ours (SQL) | parsing the script … the last result added up |
//! | csv, json | DuckDB, Polars, DataFusion (batch) | the query over the file … the result as a table |
//! | csv, json | Flink | submitting the job … its end, less the same for 1,000 rows in the same JVM |
//!
//! CPU seconds and memory are of whole processes: loading the records into memory, or starting Python or a JVM, is in them.
//!
//! # What is equal
//!
//! The rows, the machine, the number of threads where an engine has a choice; and what is written in Rust is built alike: release, thin LTO, four
//! codegen units (both workspaces say so), with the caller's `RUSTFLAGS` for all or for none.
//!
//! # What is not equal
//!
//! Batch engines have no watermark, no late rule, and read the file as a whole before they show a row. Contestants that add up their results as
//! they come pay for it in their seconds (a few nanoseconds a result), batch engines do it after. Flink reads two files at parallelism 2.
//! Renoir runs windows of our own (its own begin with each key's first row), and tests for lateness where rows are read; it looks at every key at each watermark.
//!
//! # Words
//!
//! `--only` narrows by workload, engine, contestant and input, any of a kind; `--contestants` by engine and contestant. What cannot be
//! installed is skipped with a word. The raw figures go to `target/bench/compare-DATE.json`.

mod anchors;
mod contestants;
mod install;
mod ours;
mod process;
mod report;

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use peer_clicks::{Answer, Task};
use tidemill::RecordWriter;
use tidemill::connector::clicks::{self, Clicks, FileFormat};

use crate::Settings;
use crate::typed::{Click, generated};
use contestants::{Input, Line, Program};
use install::Programs;
pub(crate) use install::flink_latency;
use process::Outcome;

/// The word that makes this binary a contestant.
pub(crate) const CONTESTANT: &str = "contestant";

/// Runs ours, as a contestant's process.
pub(crate) fn contestant(args: impl Iterator<Item = String>) {
    ours::run(&Task::from_args(args));
}

/// Runs the suite.
///
/// # Errors
///
/// Words that name nothing; wrong answers and runs that failed, after all the others.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let mut lines = contestants::lines(settings)?;
    let mut programs = Programs::new(settings);
    lines.retain(|line| programs.prepare(line.contestant.program));
    let report = report::Report::new(settings);
    for workload in contestants::WORKLOADS {
        let mut lines: Vec<&mut Line> =
            lines.iter_mut().filter(|line| line.workload == workload).collect();
        if lines.is_empty() {
            continue;
        }
        let judge = judge(settings, &mut programs, workload)?;
        for _ in 0..settings.runs {
            // Who has been ended once is not asked again.
            for line in lines.iter_mut().filter(|line| !line.is_ended) {
                let data = data(settings, line)?;
                match process::run(settings, &programs, line, &data, Some(&judge)) {
                    Ok(Outcome::Ran(run)) => line.runs.push(run),
                    Ok(Outcome::Ended) => line.is_ended = true,
                    Err(message) => line.failures.push(message),
                }
            }
        }
        report.print(workload, &judge, &lines);
    }
    report.finish(&lines, &programs.skipped)
}

/// What the plain loop says.
fn judge(
    settings: &Settings,
    programs: &mut Programs,
    workload: &'static str,
) -> Result<Answer, String> {
    let contestant = &contestants::JUDGE;
    if !programs.prepare(contestant.program) {
        return Err("the plain loop, which judges, cannot be built".into());
    }
    let line = Line::new(contestant, workload, 1);
    let data = data(settings, &line)?;
    match process::run(settings, programs, &line, &data, None)? {
        Outcome::Ran(run) => Ok(run.answer),
        Outcome::Ended => Err("the plain loop, which judges, does not end in --time-limit".into()),
    }
}

/// The file that a contestant reads, or Flink's folder, made if it is not there.
fn data(settings: &Settings, line: &Line) -> Result<PathBuf, String> {
    let input = line.contestant.input;
    let suffix = match input {
        Input::Memory => "rows",
        Input::Records => "records",
        Input::Csv => "csv",
        Input::Json => "jsonl",
    };
    let whole = settings.folder.join(format!("clicks-{}.{suffix}", settings.rows));
    made(&whole, |path| make(settings.rows, input, path))?;
    if line.contestant.program != Program::Flink {
        return Ok(whole);
    }
    let folder = settings.folder.join(format!("clicks-{}.{suffix}-{}", settings.rows, line.shards));
    made(&folder, |path| split(&whole, line.shards, path).map_err(|error| error.to_string()))?;
    // Flink takes a path for what it is relative to, which is another folder.
    folder.canonicalize().map_err(|error| error.to_string())
}

/// Makes a path if it is not there; half of one is never taken for it.
fn made(path: &Path, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    eprintln!("making {}", path.display());
    let partial = path.with_extension("partial");
    make(&partial)
        .and_then(|()| std::fs::rename(&partial, path).map_err(|error| error.to_string()))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Lines that go to one file before the next has its turn.
const TURN_LINES: usize = 10_000;

/// Deals a file's lines to so many files in a folder, in turns, so that the files are abreast in time: Flink cannot divide one.
fn split(whole: &Path, count: usize, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = |index| File::create(folder.join(format!("part-{index}"))).map(BufWriter::new);
    let mut files = (0..count).map(file).collect::<Result<Vec<_>, _>>()?;
    let mut reader = BufReader::new(File::open(whole)?);
    let (mut line, mut lines) = (Vec::new(), 0);
    while reader.read_until(b'\n', &mut line)? > 0 {
        files[lines / TURN_LINES % count].write_all(&line)?;
        line.clear();
        lines += 1;
    }
    files.iter_mut().try_for_each(|file| file.flush())
}

fn make(rows: u64, input: Input, path: &Path) -> Result<(), String> {
    let text = |format| {
        let mut out = BufWriter::new(File::create(path)?);
        clicks::generate(Clicks::default(), rows, format, &mut out, &mut |_| {})?;
        out.flush()
    };
    let binary = || {
        let mut out = BufWriter::new(File::create(path)?);
        generated(rows).try_for_each(|click| click.write(&mut out))?;
        out.flush()
    };
    let records = || {
        let mut writer = RecordWriter::create(path)?;
        generated(rows).try_for_each(|click| writer.write(&Click::from(click)))?;
        writer.finish()
    };
    match input {
        Input::Memory => binary().map_err(|error| error.to_string()),
        Input::Records => records().map_err(|error| error.to_string()),
        Input::Csv => text(FileFormat::Csv).map_err(|error| error.to_string()),
        Input::Json => text(FileFormat::JsonLines).map_err(|error| error.to_string()),
    }
}
