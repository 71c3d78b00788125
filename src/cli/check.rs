//! `tidemill check` and `tidemill explain`: what can be said of a script without running it.

use clap::Args;

use super::Exit;
use super::script::ScriptArgs;
use super::terminal::say;
use crate::connector::{Output, Style};
use crate::plan::{self, Op, Plan};

#[derive(Args)]
#[command(after_help = "\
Example:
  tidemill check -e \"SELECT pagee FROM clicks\"

Every error is shown with its line, its column and what to write instead; the exit code is then 2.
With --flink, also 2 if a Flink would refuse something: the script runs here, but not there.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    script: ScriptArgs,

    /// List what a Flink would refuse
    #[arg(long)]
    flink: bool,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tidemill explain examples/uv.sql

The plan is read from the sources down to the sinks. It shows where each watermark is made, where late rows
are dropped, and where rows change shards (exchange).")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    script: ScriptArgs,
}

/// Binds to sinks that print to nobody.
fn nowhere() -> Output {
    Output::new(Box::new(std::io::sink()), Style::JsonLines)
}

/// Checks a script.
pub(super) fn check(args: &CheckArgs) -> Result<(), Exit> {
    let text = args.script.read()?;
    let script = text.bind(&nowhere(), false)?;
    if args.flink && !script.flink_refusals.is_empty() {
        for refusal in &script.flink_refusals {
            say(&text.render("flink refuses", refusal))?;
        }
        return Err(Exit::said(2));
    }
    let verdict =
        if args.flink { "no errors, and nothing that a Flink would refuse" } else { "no errors" };
    say(&format!("{}: {verdict} ({})\n", text.name, extent(&script.plan)))
}

/// How much a plan does.
fn extent(plan: &Plan) -> String {
    let count = |is: fn(&Op) -> bool| plan.nodes.iter().filter(|node| is(&node.op)).count();
    let of =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let sources = count(|op| matches!(op, Op::Scan { .. }));
    let sinks = count(|op| matches!(op, Op::Sink { .. }));
    format!("{}, {}", of(sources, "source"), of(sinks, "sink"))
}

/// Explains a script: its EXPLAIN statements, then what it would run.
pub(super) fn explain(args: &ExplainArgs) -> Result<(), Exit> {
    let text = args.script.read()?;
    let script = text.bind(&nowhere(), false)?;
    for explained in &script.explains {
        say(explained)?;
    }
    if script.plan.nodes.is_empty() { Ok(()) } else { say(&plan::explain(&script.plan)) }
}
