//! `tidemill generate clicks`: the workload's rows as a file.
//!
//! # Invariants
//!
//! 1. A file appears under its name whole or not at all, and none is replaced unasked.

use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::amount::{grouped, rounded, span_ms};
use super::terminal::{complain, raw_stdout};
use super::{Exit, signal};
use crate::connector::clicks::{Clicks, FileFormat, generate as write_clicks};
use crate::format::{self, Format, Options};
use crate::sys::clock::Clock;

#[derive(Args)]
pub(super) struct GenerateArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Click events: ts, page, device, action, amount
    Clicks(ClicksArgs),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  tidemill generate clicks --rows 1000000 --format csv --out clicks.csv
  tidemill generate clicks --rows 10 --format jsonl --out -

The rows are the table
  CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE,
                       WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
  WITH ('connector' = 'filesystem', 'path' = 'clicks.csv', 'format' = 'csv');
and the same as those of 'connector' = 'datagen', 'profile' = 'clicks': row i depends on the seed and i alone.
CSV files have no header. Times are up to 4 s out of order.")]
struct ClicksArgs {
    /// How many rows
    #[arg(long, value_parser = parse_count)]
    rows: u64,
    /// Which rows
    #[arg(long, default_value_t = Clicks::default().seed)]
    seed: u64,
    /// Rows a second of event time
    #[arg(long, default_value_t = Clicks::default().rate, value_parser = parse_count)]
    rate: u64,
    /// How many devices
    #[arg(long, default_value_t = Clicks::default().devices, value_parser = parse_count)]
    devices: u64,
    /// How many pages; low numbers are drawn more often
    #[arg(long, default_value_t = Clicks::default().pages)]
    pages: u32,
    /// Millionths of the rows that come 60 s late
    #[arg(long, default_value_t = Clicks::default().late_ppm)]
    late_ppm: u32,
    /// What kind of file
    #[arg(long)]
    format: FormatName,
    /// The file; - is stdout
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// No progress
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// JSON lines
    Jsonl,
    /// Comma-separated, without a header
    Csv,
    /// Blocks of columns, the fastest to read
    Rkyv,
}

/// A number that may be written `10_000_000`.
fn parse_count(text: &str) -> Result<u64, String> {
    text.replace('_', "")
        .parse()
        .map_err(|_| format!("'{text}' is not a number from 0 to {}", u64::MAX))
}

/// Makes a file.
pub(super) fn generate(args: GenerateArgs) -> Result<(), Exit> {
    let Kind::Clicks(args) = args.kind;
    let settings = Clicks {
        seed: args.seed,
        rate: args.rate,
        devices: args.devices,
        pages: args.pages,
        late_ppm: args.late_ppm,
    };
    settings.check().map_err(|message| Exit::wrong(anyhow!(message)))?;
    let stopped = signal::raise_flag().context("signals").map_err(Exit::failed)?;
    let watch = Clock.start();
    let bytes = if args.out.as_os_str() == "-" {
        let out = raw_stdout().context("standard output").map_err(Exit::failed)?;
        match write_rows(&args, settings, out, &stopped) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("standard output").map_err(Exit::failed)?,
        }
    } else {
        write_file(&args, settings, &stopped)?
    };
    if !args.quiet {
        let (rows, size, span) = (
            grouped(args.rows),
            rounded(bytes as f64),
            span_ms(watch.elapsed().as_millis() as u64),
        );
        complain(&format!("{rows} rows, {size}B in {span}\n"));
    }
    Ok(())
}

fn write_file(args: &ClicksArgs, settings: Clicks, stopped: &Arc<AtomicBool>) -> Result<u64, Exit> {
    let path = &args.out;
    let exists =
        || Exit::wrong(anyhow!("'{}' exists already; --force replaces it", path.display()));
    if path.is_dir() {
        return Err(Exit::wrong(anyhow!("'{}' is a directory; name a file in it", path.display())));
    }
    if !args.force && fs::symlink_metadata(path).is_ok() {
        return Err(exists());
    }
    let unfinished = Unfinished::beside(path)?;
    let named = || format!("'{}'", unfinished.path.display());
    let file = File::create(&unfinished.path).with_context(named).map_err(Exit::failed)?;
    let bytes =
        write_rows(args, settings, file, stopped).with_context(named).map_err(Exit::failed)?;
    match rename(&unfinished.path, path, args.force) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists()),
        Err(error) => {
            let context =
                format!("cannot rename '{}' to '{}'", unfinished.path.display(), path.display());
            Err(Exit::failed(anyhow::Error::new(error).context(context)))
        }
    }
}

/// Gives a file its name; unless `force`, not that of another.
fn rename(from: &Path, to: &Path, force: bool) -> io::Result<()> {
    if force {
        return fs::rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot; nobody had the name when we began.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

/// The file while it is written; goes away unless it has been renamed.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn beside(path: &Path) -> Result<Self, Exit> {
        let Some(name) = path.file_name() else {
            return Err(Exit::wrong(anyhow!("'{}' names no file", path.display())));
        };
        let hidden = format!(".{}.{}.inprogress", name.to_string_lossy(), std::process::id());
        Ok(Self { path: path.with_file_name(hidden) })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Once renamed, it is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes the rows and returns how many bytes they take.
fn write_rows(
    args: &ClicksArgs,
    settings: Clicks,
    out: File,
    stopped: &Arc<AtomicBool>,
) -> io::Result<u64> {
    let rkyv: Arc<dyn Format>;
    let file_format = match args.format {
        FormatName::Jsonl => FileFormat::JsonLines,
        FormatName::Csv => FileFormat::Csv,
        FormatName::Rkyv => {
            let options = Options::from([("format".to_owned(), "rkyv".to_owned())]);
            rkyv =
                format::resolve(&options, None, &FileFormat::schema()).map_err(io::Error::other)?;
            FileFormat::Encoded(rkyv.as_ref())
        }
    };
    let bar = progress_bar(args);
    let mut out = Counted { out, bytes: 0, stopped };
    let written = write_clicks(settings, args.rows, file_format, &mut out, &mut |rows| {
        bar.set_position(rows)
    });
    bar.finish_and_clear();
    written.map(|()| out.bytes)
}

fn progress_bar(args: &ClicksArgs) -> ProgressBar {
    if args.quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {human_pos} of {human_len} rows, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    ProgressBar::with_draw_target(Some(args.rows), ProgressDrawTarget::stderr()).with_style(style)
}

/// Counts bytes, and refuses more once a signal has come.
struct Counted<'a> {
    out: File,
    bytes: u64,
    stopped: &'a AtomicBool,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            // `Interrupted` would be tried again.
            return Err(io::Error::other("stopped by a signal; nothing is kept"));
        }
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
