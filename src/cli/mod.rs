//! The command line: `tidemill run | check | explain | generate | state`.
//!
//! | file | does |
//! |---|---|
//! | `script` | finds the script, binds it, shows what is wrong with it |
//! | `run` | runs it: output, progress, signals, summary |
//! | `check` | `check` and `explain`: what can be said without running |
//! | `generate` | makes files of click events |
//! | `state` | looks at the state that jobs keep |
//! | `going_on`, `progress`, `summary`, `amount` | what a person reads on stderr |
//! | `signal`, `terminal` | Ctrl-C; writing to streams that may be closed |
//!
//! # Invariants
//!
//! 1. stdout carries results only; all else goes to stderr.
//! 2. Exit codes: 0 done, 1 the job failed (data, disk, peer), 2 the script or the command line is wrong.
//! 3. A stream that its reader has closed is a quiet end, never a panic.

mod amount;
mod check;
mod generate;
mod going_on;
mod progress;
mod run;
mod script;
mod signal;
mod state;
mod summary;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::check::{CheckArgs, ExplainArgs};
use self::generate::GenerateArgs;
use self::run::RunArgs;
use self::state::StateArgs;
use crate::error::{Class, JobError, StateError};

/// Why a command ended early: the exit code, and what has not been said yet.
struct Exit {
    code: u8,
    error: Option<anyhow::Error>,
}

impl Exit {
    /// The script or the command line is wrong.
    fn wrong(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 2, error: Some(error.into()) }
    }

    /// The job failed.
    fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { code: 1, error: Some(error.into()) }
    }

    /// The job failed, or its state folder is that of another script or process, which makes the command line wrong. The
    /// error's text names its cause already.
    fn job(error: &JobError) -> Self {
        match error {
            JobError::State(state) => Self::state(state),
            _ => Self::failed(anyhow::anyhow!("{error}")),
        }
    }

    /// A state folder cannot be used.
    fn state(error: &StateError) -> Self {
        let code = if error.class() == Class::User { 2 } else { 1 };
        Self { code, error: Some(anyhow::anyhow!("{error}")) }
    }

    /// All is said.
    fn said(code: u8) -> Self {
        Self { code, error: None }
    }
}

#[derive(Parser)]
#[command(
    name = "tidemill",
    version,
    about = "Event-time windows over streams on one machine: runs Flink SQL scripts.",
    after_help = "\
First steps:
  tidemill run examples/uv.sql          unique visitors by page, from generated clicks
  tidemill explain examples/uv.sql      what that script does, step by step
  tidemill generate clicks --rows 1000000 --format csv --out clicks.csv

Exit codes: 0 done; 1 the job failed (data, disk, peer); 2 the script or the command line is wrong."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a script; rows of its print tables and SELECTs go to stdout
    Run(RunArgs),
    /// Bind and plan a script without running it; show all that is wrong with it
    Check(CheckArgs),
    /// Show a script's plan: operators, watermarks, the late rule, exchanges
    Explain(ExplainArgs),
    /// Make files to try things on
    Generate(GenerateArgs),
    /// Look at the state that a job keeps
    State(StateArgs),
}

/// Parses the command line, runs the command, says what went wrong.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => check::explain(&args),
        Command::Generate(args) => generate::generate(args),
        Command::State(args) => state::state(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Exit { code, error }) => {
            if let Some(error) = error {
                terminal::complain(&format!("error: {error:#}\n"));
            }
            ExitCode::from(code)
        }
    }
}
