//! `tidemill run`: binds a script, runs it, prints its rows, sums up.
//!
//! # Invariants
//!
//! 1. The progress line is gone before the summary or an error is written.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::progress::{self, Watch, Watched};
use super::script::ScriptArgs;
use super::summary::{Circumstances, summary};
use super::terminal::{complain, rows_out, say};
use super::{Exit, going_on, signal};
use crate::connector::{Output, Style};
use crate::error::JobError;
use crate::job::{Fresh, Launch, RuntimeKind, Totals, state_options};
use crate::sql::Script;

/// The most shards; more help nobody.
const SHARDS_MAX: u64 = 256;

#[derive(Args)]
#[command(after_help = "\
Examples:
  tidemill run examples/uv.sql
  tidemill run -e \"CREATE TABLE t (id BIGINT) WITH ('connector' = 'datagen', 'fields.id.kind' = 'sequence',
                   'fields.id.start' = '1', 'fields.id.end' = '100'); SELECT * FROM t LIMIT 5\"
  tidemill run job.sql --table clicks.connector=filesystem --table clicks.path=today.csv > rows.jsonl
  zcat clicks.csv.gz | tidemill run job.sql --table clicks.connector=stdin
  tidemill run job.sql --state job.state         killed and run again, it goes on; see tidemill state --help

In a pipe a row is a JSON object: {\"op\":\"+I\",\"page\":\"page-0001\",\"uv\":17}. `op` is its kind: +I a new row,
-U and +U the old and the new version of a row that changes, -D a row that goes.
Ctrl-C stops the sources and finishes what was read; windows that are still open are not shown, because they
are not complete (with --state they go on next time). A second Ctrl-C ends at once.
Exit codes: 0 done; 1 the job failed (data, disk, peer); 2 the script or the command line is wrong.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    script: ScriptArgs,

    /// How many shards; default: parallelism.default of the script, or the cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SHARDS_MAX))]
    shards: Option<u64>,

    /// What drives the shards; default: uring where the job reads files and the kernel allows io_uring, else poll
    #[arg(long)]
    runtime: Option<RuntimeName>,

    /// How rows are printed; default: table on a terminal, jsonl in a pipe
    #[arg(long)]
    format: Option<FormatName>,

    /// Keep state in this folder: the job can be killed at any instant and run again with the same command, and goes on
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Start over; what the state folder holds is kept aside
    #[arg(long, requires = "state")]
    fresh: bool,

    /// Go on though the script has more aggregates than the state; they begin with the next window, open ones show NULL
    #[arg(long, requires = "state", conflicts_with = "fresh")]
    allow_new_aggregates: bool,

    /// No progress, no warnings, no summary; errors only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuntimeName {
    /// io_uring executors, one a core
    Uring,
    /// Threads with poll(2), one a core
    Poll,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatName {
    /// Aligned columns, for people
    Table,
    /// One JSON object a row
    Jsonl,
    /// Comma-separated, with a header
    Csv,
}

impl RunArgs {
    fn style(&self) -> Style {
        match self.format {
            Some(FormatName::Table) => Style::Table,
            Some(FormatName::Jsonl) => Style::JsonLines,
            Some(FormatName::Csv) => Style::Csv,
            None if std::io::stdout().is_terminal() => Style::Table,
            None => Style::JsonLines,
        }
    }

    fn runtime(&self) -> Option<RuntimeKind> {
        self.runtime.map(|name| match name {
            RuntimeName::Uring => RuntimeKind::Uring,
            RuntimeName::Poll => RuntimeKind::Poll,
        })
    }
}

/// Runs a script.
pub(super) fn run(args: &RunArgs) -> Result<(), Exit> {
    let text = args.script.read()?;
    let bar = progress::line(args.quiet);
    let out = rows_out(&bar).context("standard output").map_err(Exit::failed)?;
    let script = text.bind(&Output::new(out, args.style()), args.quiet)?;
    show_explains(&script)?;
    if script.plan.nodes.is_empty() {
        return Ok(());
    }
    let mut job = prepared(args, &script)?;
    let input_bytes = job.input_bytes();
    let beginning = job.open().map_err(|error| Exit::job(&error))?;
    if args.state.is_some() && !args.quiet {
        complain(&going_on::text(&beginning));
    }
    if beginning.went_on_from.is_some_and(|snapshot| snapshot.finished) {
        return Ok(());
    }
    let control = job.control();
    let before = Totals::of(&control);
    let stop = control.clone();
    let stopped = signal::on_first(move || stop.stop()).context("signals").map_err(Exit::failed)?;
    let runtime = job.runtime();
    let alarms = args.state.is_some() && !args.quiet;
    let watched = Watched { control: control.clone(), before, input_bytes, alarms };
    let watch = Watch::start(bar, watched).context("progress").map_err(Exit::failed)?;
    let mut report = job.run();
    drop(watch);
    if matches!(report.failure, Some(JobError::OutputClosed)) {
        return Ok(());
    }
    if !args.quiet {
        let path = script.plan.settings.dead_letter_path.as_deref();
        let circumstances = Circumstances {
            shards: control.progress.len(),
            runtime,
            stopped: stopped.load(Ordering::Relaxed),
            dead_letter_path: path.map(|path| path.display().to_string()),
            before,
            first_row_after: control.first_row_after(),
            snapshots: args.state.is_some().then_some(&control.snapshots),
        };
        complain(&summary(&report, &circumstances));
    }
    report.failure.take().map_or(Ok(()), |failure| Err(Exit::job(&failure)))
}

/// The job, with its state folder if it has one.
fn prepared(args: &RunArgs, script: &Script) -> Result<Launch, Exit> {
    let shards = args.shards.map(|shards| shards as usize);
    let job =
        Launch::new(&script.plan, shards, args.runtime()).map_err(|error| Exit::job(&error))?;
    let Some(folder) = &args.state else { return Ok(job) };
    let fresh = match (args.fresh, args.allow_new_aggregates) {
        (true, _) => Fresh::StartOver,
        (false, true) => Fresh::AllowNewAggregates,
        (false, false) => Fresh::GoOn,
    };
    Ok(job.state(state_options(&script.plan, folder, fresh)))
}

/// The texts of EXPLAIN statements: results where nothing else is, remarks beside rows.
fn show_explains(script: &Script) -> Result<(), Exit> {
    for text in &script.explains {
        if script.plan.nodes.is_empty() {
            say(text)?;
        } else {
            complain(text);
        }
    }
    Ok(())
}
