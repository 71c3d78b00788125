//! The summary: what a job has done, and what became of every row that is not in its result.
//!
//! # Invariants
//!
//! 1. Every dropped row is counted here, and the way to see it is named.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::amount::{grouped, rounded, span_ms, span_ns, time};
use crate::job::{Report, RuntimeKind, Totals};
use crate::metrics::LateRows;
use crate::shard::Snapshots;

/// The bounds of the histogram's bars, in milliseconds: what a person would round to.
const BOUNDS_MS: [u64; 9] =
    [1000, 5000, 10_000, 30_000, 60_000, 600_000, 3_600_000, 86_400_000, u64::MAX];
/// Characters of the longest bar.
const BAR_WIDTH: u64 = 30;

/// How a job was run, for the summary's first line.
pub(super) struct Circumstances<'a> {
    /// How many shards.
    pub(super) shards: usize,
    /// What drove them.
    pub(super) runtime: RuntimeKind,
    /// Whether a signal stopped it.
    pub(super) stopped: bool,
    /// Whether the script keeps dropped records in a file.
    pub(super) dead_letter_path: Option<String>,
    /// What had been counted before it ran: by the runs that it went on from.
    pub(super) before: Totals,
    /// How long after its start it had read rows.
    pub(super) first_row_after: Option<Duration>,
    /// Its snapshots, if it takes any.
    pub(super) snapshots: Option<&'a Snapshots>,
}

/// The summary, some lines.
pub(super) fn summary(report: &Report, circumstances: &Circumstances<'_>) -> String {
    let totals = &report.totals;
    let seconds = report.elapsed.as_secs_f64().max(1e-6);
    let rate = |all: u64, before: u64| rounded((all - before.min(all)) as f64 / seconds);
    let before = &circumstances.before;
    let mut text = headline(report, circumstances);
    let mut line = |name: &str, value: String| text += &format!("  {name:<14} {value}\n");
    let this_run = match before.rows {
        0 => String::new(),
        before => format!("{} in this run, ", grouped(totals.rows.saturating_sub(before))),
    };
    line(
        "rows read",
        format!("{} ({this_run}{} rows/s)", grouped(totals.rows), rate(totals.rows, before.rows)),
    );
    if totals.bytes > 0 {
        let speed = rate(totals.bytes, before.bytes);
        line("bytes read", format!("{}B ({speed}B/s)", rounded(totals.bytes as f64)));
    }
    line("windows fired", grouped(totals.fired));
    line("rows written", grouped(totals.rows_out));
    match totals.watermark_ms {
        Some(watermark) if circumstances.stopped => {
            let fate =
                if circumstances.snapshots.is_some() { "kept in the state" } else { "not shown" };
            line("watermark", format!("{} (windows open beyond it are {fate})", time(watermark)));
        }
        Some(watermark) => line("watermark", time(watermark)),
        None => {}
    }
    if let Some(snapshots) = circumstances.snapshots {
        if let Some(after) = circumstances.first_row_after {
            line("first row", format!("after {}", span_ns(after.as_nanos() as u64)));
        }
        line("snapshots", snapshots_text(snapshots));
    }
    line("late rows", grouped(totals.late));
    for (table, late) in report.late.iter().filter(|(_, late)| late.count > 0) {
        text += &late_rows(table, late);
    }
    text += &format!("  {:<14} {}\n", "malformed rows", grouped(totals.malformed));
    text += &malformed_rows(report, circumstances);
    text
}

fn headline(report: &Report, circumstances: &Circumstances<'_>) -> String {
    let Circumstances { shards, runtime, stopped, .. } = circumstances;
    let ended = match (&report.failure, stopped) {
        (Some(_), _) => "failed",
        (None, true) => "stopped",
        (None, false) => "done",
    };
    let runtime = match runtime {
        RuntimeKind::Uring => "uring",
        RuntimeKind::Poll => "poll",
        RuntimeKind::Sim(_) | RuntimeKind::Dying { .. } => "sim",
    };
    let plural = if *shards == 1 { "" } else { "s" };
    let elapsed = span_ms(report.elapsed.as_millis() as u64);
    format!("{ended} after {elapsed} on {shards} shard{plural} ({runtime})\n")
}

/// How many, how large, how long, and how much they were in the way.
fn snapshots_text(snapshots: &Snapshots) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = grouped(load(&snapshots.count));
    if load(&snapshots.count) == 0 {
        return text;
    }
    text += &format!(
        " (last {}B in {}, {}B in all",
        rounded(load(&snapshots.last_bytes) as f64),
        span_ns(load(&snapshots.last_us) * 1000),
        rounded(load(&snapshots.total_bytes) as f64)
    );
    let pauses_ns = snapshots.pauses_ns();
    if !pauses_ns.is_empty() {
        let quantile = |quantile| span_ns(pauses_ns.value_at_quantile(quantile));
        text += &format!(
            "; barriers held up a shard {} p50, {} p99, {} at most",
            quantile(0.5),
            quantile(0.99),
            span_ns(pauses_ns.max())
        );
    }
    text + ")"
}

/// How late the rows of a table came.
fn late_rows(table: &str, late: &LateRows) -> String {
    let behind = &late.behind_ms;
    let plural = if late.count == 1 { "row of" } else { "rows of" };
    let mut text = format!(
        "    {} {plural} {table} came after their window had closed, by {} (median) to {} behind the watermark:\n",
        grouped(late.count),
        span_ms(behind.value_at_quantile(0.5)),
        span_ms(behind.max()),
    );
    let mut from_ms = 0;
    let mut bars = Vec::new();
    for bound_ms in BOUNDS_MS {
        let count = behind.count_between(from_ms, bound_ms.saturating_sub(1));
        let label = if bound_ms == u64::MAX {
            format!("≥ {}", span_ms(from_ms))
        } else {
            format!("< {}", span_ms(bound_ms))
        };
        bars.push((label, count));
        from_ms = bound_ms;
    }
    let longest = bars.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let first = bars.iter().position(|(_, count)| *count > 0).unwrap_or(0);
    let last = bars.iter().rposition(|(_, count)| *count > 0).unwrap_or(0);
    for (label, count) in &bars[first..=last] {
        let width = (count * BAR_WIDTH).div_ceil(longest) as usize;
        text += &format!("      {label:>8} {:>12} {}\n", grouped(*count), "#".repeat(width));
    }
    text + "    to count them, let the watermark wait longer: WATERMARK FOR … AS … - INTERVAL … in the table\n"
}

/// The first dropped records, and where the others are.
fn malformed_rows(report: &Report, circumstances: &Circumstances<'_>) -> String {
    let malformed = report.totals.malformed;
    if malformed == 0 {
        return String::new();
    }
    let shown = report.dead_letters.shown();
    let mut text: String = shown.iter().map(|record| format!("    {record}\n")).collect();
    let hidden = malformed.saturating_sub(shown.len() as u64);
    if hidden > 0 {
        text += &format!("    and {} more\n", grouped(hidden));
    }
    match &circumstances.dead_letter_path {
        Some(path) => text += &format!("    all of them are in {path}\n"),
        None => {
            text += "    to keep all of them: SET 'tidemill.dead-letter.path' = 'dropped.jsonl'\n"
        }
    }
    let lost = report.dead_letters.lost_count();
    if lost > 0 {
        text += &format!(
            "    {} of them were counted but not kept: too many in one chunk\n",
            grouped(lost)
        );
    }
    text
}
