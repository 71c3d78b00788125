//! `tidemill state`: what a state folder holds, and whether it is whole.
//!
//! # Invariants
//!
//! 1. Nothing is written to the folder.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Exit;
use super::amount::{grouped, rounded, second, span_ms, time};
use super::terminal::{complain, say};
use crate::connector::describe_record;
use crate::error::StateError;
use crate::shard::checkpoint::{self, Inspection, Listing, Manifest, Place, SplitRecord, readable};
use crate::sys::storage::ReadOnly;

#[derive(Args)]
#[command(after_help = "\
Examples:
  tidemill run job.sql --state job.state     keeps snapshots in the folder job.state
  tidemill state list job.state              shows them

A job with state takes a snapshot every second (SET 'execution.checkpointing.interval') and keeps the newest
(SET 'execution.checkpointing.num-retained'). Killed at any instant, the same command goes on from the newest.")]
pub(super) struct StateArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The snapshots in a folder
    List(ListArgs),
    /// What a snapshot holds: inputs, outputs, operators, state
    Inspect(InspectArgs),
    /// Check every byte that snapshots consist of
    Verify(VerifyArgs),
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tidemill state list job.state

Also while the job runs. With --json, one object: {\"pid\":null,\"snapshots\":[{\"epoch\":17,…}]}.")]
struct ListArgs {
    /// The state folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tidemill state inspect job.state

Shows where each input stands, what each output was told to show, and how much each operator remembers: pages
of 16 KiB, windows that are open, groups (a key in each window or slice). Also while the job runs.")]
struct InspectArgs {
    /// The state folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// Which snapshot; default: the newest
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  tidemill state verify job.state

Reads all that the snapshots in the folder consist of and compares checksums: manifests, page tables, pages,
ingest logs.
What is wrong is shown with its file and byte. Exit code 0 if all is whole, 1 if not, 2 if a job runs on the
folder (what it gives back is written to again, so only a folder at rest can be checked).")]
struct VerifyArgs {
    /// The state folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Runs the subcommand.
pub(super) fn state(args: &StateArgs) -> Result<(), Exit> {
    match &args.action {
        Action::List(args) => list(args),
        Action::Inspect(args) => inspect(args),
        Action::Verify(args) => verify(args),
    }
}

/// A folder that is not there is a wrong command line.
fn failed(folder: &Path, error: &StateError) -> Exit {
    match error {
        StateError::Io { source, path } if Path::new(path) == folder => {
            let wrong = [std::io::ErrorKind::NotFound, std::io::ErrorKind::NotADirectory];
            let code = if wrong.contains(&source.kind()) { 2 } else { 1 };
            Exit { code, error: Some(anyhow!("{error}")) }
        }
        _ => Exit::state(error),
    }
}

/// What is shown may be old before it is read.
fn note_owner(pid: Option<u32>) {
    if let Some(pid) = pid {
        complain(&format!("note: process {pid} is running on it; this is how it stood just now\n"));
    }
}

fn list(args: &ListArgs) -> Result<(), Exit> {
    let listing = checkpoint::snapshots(&ReadOnly, &args.folder)
        .map_err(|error| failed(&args.folder, &error))?;
    if args.json {
        let snapshots: Vec<Value> = listing.snapshots.iter().map(listed_json).collect();
        say(&format!("{}\n", json!({ "pid": listing.pid, "snapshots": snapshots })))?;
    } else {
        note_owner(listing.pid);
        say(&table(&args.folder, &listing))?;
    }
    match listing.snapshots.iter().any(|(_, manifest)| manifest.is_err()) {
        true => Err(Exit::said(1)),
        false => Ok(()),
    }
}

fn table(folder: &Path, listing: &Listing) -> String {
    if listing.snapshots.is_empty() {
        return format!("no snapshot in {}\n", folder.display());
    }
    let mut text = format!(
        "{:>10}  {:<19}  {:>15}  {:>10}\n",
        "snapshot", "taken (UTC)", "rows read", "written"
    );
    let newest = listing.snapshots.last().map(|(epoch, _)| *epoch);
    for (epoch, manifest) in &listing.snapshots {
        let mut remarks = Vec::new();
        if Some(*epoch) == newest {
            remarks.push("newest");
        }
        match manifest {
            Ok(manifest) => {
                if manifest.finished {
                    remarks.push("the job has finished");
                }
                let line = format!(
                    "{epoch:>10}  {:<19}  {:>15}  {:>10}  {}",
                    second(manifest.at_ms),
                    grouped(manifest.sources.counters[0]),
                    format!("{}B", rounded(manifest.written_bytes as f64)),
                    remarks.join(", ")
                );
                text += &format!("{}\n", line.trim_end());
            }
            Err(error) => text += &format!("{epoch:>10}  {error}\n"),
        }
    }
    text
}

fn listed_json((epoch, manifest): &(u64, Result<Manifest, StateError>)) -> Value {
    match manifest {
        Ok(manifest) => snapshot_json(manifest),
        Err(error) => json!({ "epoch": epoch, "error": error.to_string() }),
    }
}

fn snapshot_json(manifest: &Manifest) -> Value {
    let [rows, bytes, malformed, _] = manifest.sources.counters;
    json!({
        "epoch": manifest.epoch,
        "taken_at_ms": manifest.at_ms,
        "finished": manifest.finished,
        "rows_read": rows,
        "bytes_read": bytes,
        "malformed_rows": malformed,
        "rows_written": manifest.rows_out,
        "written_bytes": manifest.written_bytes,
    })
}

fn inspect(args: &InspectArgs) -> Result<(), Exit> {
    let inspection = checkpoint::inspect(&ReadOnly, &args.folder, args.epoch)
        .map_err(|error| failed(&args.folder, &error))?;
    let Some(inspection) = inspection else {
        let which =
            args.epoch.map_or("no snapshot".to_owned(), |epoch| format!("no snapshot {epoch}"));
        let folder = args.folder.display();
        let message = format!(
            "there is {which} in {folder}; `tidemill state list {folder}` shows those there are"
        );
        return Err(Exit::wrong(anyhow!(message)));
    };
    if args.json {
        return say(&format!("{}\n", inspection_json(&inspection)));
    }
    note_owner(inspection.pid);
    say(&inspection_text(&args.folder, &inspection))
}

fn inspection_text(folder: &Path, inspection: &Inspection) -> String {
    let manifest = &inspection.manifest;
    let newest = if inspection.is_newest { "" } else { ", not the newest" };
    let finished = if manifest.finished { ", the job has finished" } else { "" };
    let [rows, bytes, malformed, _] = manifest.sources.counters;
    let mut text = format!(
        "snapshot {} of {}, taken {} UTC{newest}{finished}\n",
        manifest.epoch,
        folder.display(),
        second(manifest.at_ms)
    );
    text += &format!(
        "  {} rows read{}, {} malformed, {} rows written; {}B written for the snapshot\n",
        grouped(rows),
        if bytes > 0 { format!(" ({}B)", rounded(bytes as f64)) } else { String::new() },
        grouped(malformed),
        grouped(manifest.rows_out),
        rounded(manifest.written_bytes as f64)
    );
    text += "operators\n";
    manifest.operators.iter().for_each(|operator| text += &format!("  {}\n", readable(operator)));
    text += "inputs\n";
    for split in &manifest.sources.splits {
        text += &format!("  {}\n", split_text(manifest, split));
    }
    text += "outputs\n";
    for (table, record) in outputs(manifest) {
        let record = record.map_or("shown at once, not by snapshots".into(), describe_record);
        text += &format!("  {table}: {record}\n");
    }
    text += "files\n";
    for (name, file) in manifest.files.iter().zip(&inspection.files) {
        let (length, used) = (rounded(file.length_bytes as f64), rounded(file.used_bytes as f64));
        text += &format!("  {name}: {length}B, {used}B of it in use\n");
    }
    text + &state_table(inspection)
}

fn state_table(inspection: &Inspection) -> String {
    let mut text = format!(
        "{:<24} {:>10} {:>10} {:>10} {:>14}\n",
        "state", "pages", "bytes", "windows", "groups"
    );
    let exchange_count = inspection.spaces.first().map_or(0, Vec::len);
    for exchange in 0..exchange_count {
        for (shard, spaces) in inspection.spaces.iter().enumerate() {
            let space = &spaces[exchange];
            let windows = space.census.and_then(|census| census.windows);
            text += &format!(
                "  {:<22} {:>10} {:>10} {:>10} {:>14}\n",
                format!("exchange {exchange}, shard {shard}"),
                grouped(space.page_count),
                format!("{}B", rounded(space.state_bytes as f64)),
                windows.map_or("-".into(), grouped),
                space.census.map_or("-".into(), |census| grouped(census.groups)),
            );
        }
    }
    text
}

fn split_text(manifest: &Manifest, split: &SplitRecord) -> String {
    let table = manifest.sources.scans.get(split.scan).map_or("?", |scan| scan.table.as_str());
    let place = match split.place(manifest.chunk_bytes) {
        Place::Bytes(read, all) => format!(
            "{} of {} bytes ({}%)",
            grouped(read),
            grouped(all),
            (u128::from(read) * 100).checked_div(all.into()).unwrap_or(100)
        ),
        Place::Position(position) => format!("{} bytes", grouped(position)),
        Place::Rows(rows) => format!("{} rows", grouped(rows)),
        Place::Lines(lines) => format!("{} lines", grouped(lines)),
    };
    let ended = if split.ended { ", ended" } else { "" };
    let watermark = match split.watermark_ms {
        i64::MIN => ", no watermark yet".to_owned(),
        i64::MAX => String::new(),
        watermark => format!(", watermark {}", time(watermark)),
    };
    format!("{table}: {}: {place}{ended}{watermark}", split.origin)
}

/// The tables that are written, with what their connectors noted. Operators name sinks in their order.
fn outputs(manifest: &Manifest) -> impl Iterator<Item = (String, Option<&str>)> {
    let name = |operator: &String| {
        let head = readable(operator).split(';').next().unwrap_or_default().to_owned();
        match head.strip_prefix("Sink ") {
            Some(table) => Some(table.to_owned()),
            None => (head == "Output").then(|| "SELECT".to_owned()),
        }
    };
    let names = manifest.operators.iter().filter_map(name);
    names.zip(manifest.sinks.iter().map(Option::as_deref))
}

fn inspection_json(inspection: &Inspection) -> Value {
    let manifest = &inspection.manifest;
    let mut value = snapshot_json(manifest);
    let splits = manifest.sources.splits.iter().map(|split| {
        let (read_bytes, length_bytes) = match split.place(manifest.chunk_bytes) {
            Place::Bytes(read, all) => (Some(read), Some(all)),
            Place::Position(position) => (Some(position), None),
            Place::Rows(_) | Place::Lines(_) => (None, None),
        };
        json!({
            "table": manifest.sources.scans.get(split.scan).map(|scan| &scan.table),
            "origin": split.origin,
            "read_bytes": read_bytes,
            "length_bytes": length_bytes,
            "lines": split.lines,
            "ended": split.ended,
            "watermark_ms": Some(split.watermark_ms).filter(|ms| ![i64::MIN, i64::MAX].contains(ms)),
        })
    });
    let sinks = outputs(manifest).map(|(table, record)| {
        let record = record.map(|text| serde_json::from_str(text).unwrap_or(json!(text)));
        json!({ "table": table, "record": record })
    });
    let files = manifest.files.iter().zip(&inspection.files).map(|(name, file)| {
        json!({ "name": name, "length_bytes": file.length_bytes, "used_bytes": file.used_bytes })
    });
    let spaces = inspection.spaces.iter().enumerate().flat_map(|(shard, spaces)| {
        spaces.iter().enumerate().map(move |(exchange, space)| {
            json!({
                "exchange": exchange,
                "shard": shard,
                "pages": space.page_count,
                "state_bytes": space.state_bytes,
                "windows": space.census.and_then(|census| census.windows),
                "groups": space.census.map(|census| census.groups),
            })
        })
    });
    let operators = manifest.operators.iter().map(|operator| readable(operator));
    value["pid"] = json!(inspection.pid);
    value["newest"] = json!(inspection.is_newest);
    value["operators"] = operators.collect();
    value["inputs"] = splits.collect();
    value["outputs"] = sinks.collect();
    value["files"] = files.collect();
    value["state"] = spaces.collect();
    value
}

fn verify(args: &VerifyArgs) -> Result<(), Exit> {
    let watch = crate::sys::clock::Clock.start();
    let folder = args.folder.display();
    let found = checkpoint::verify(&ReadOnly, &args.folder).map_err(|error| match error {
        StateError::Owned { pid: Some(pid), .. } => Exit::wrong(anyhow!(
            "process {pid} is running on {folder} and writes to what it checks; stop that job first"
        )),
        error => failed(&args.folder, &error),
    })?;
    for (epoch, path, damage) in &found.damage {
        say(&format!("{path}: {damage} (snapshot {epoch})\n"))?;
    }
    let checked = format!(
        "{} snapshot{}, {} pages{} ({}B) in {}",
        grouped(found.snapshot_count as u64),
        if found.snapshot_count == 1 { "" } else { "s" },
        grouped(found.page_count),
        match found.log_count {
            0 => String::new(),
            1 => ", 1 ingest log".to_owned(),
            logs => format!(", {} ingest logs", grouped(logs as u64)),
        },
        rounded(found.byte_count as f64),
        span_ms(watch.elapsed().as_millis() as u64)
    );
    if found.damage.is_empty() {
        return say(&format!("{folder} is whole: {checked}\n"));
    }
    let unread = found.damage.iter().filter(|(_, _, damage)| damage.other_version).count();
    let count = |places: usize| grouped(places as u64);
    let text = match unread {
        0 => format!("{folder} is damaged in {} places: {checked}\n", count(found.damage.len())),
        unread => format!(
            "{folder} is of another version in {} places, damaged in {}: {checked}\n",
            count(unread),
            count(found.damage.len() - unread)
        ),
    };
    say(&text)?;
    Err(Exit::said(1))
}
