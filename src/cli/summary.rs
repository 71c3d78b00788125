//! The summary: what a job has done, and what became of every row that is not in its result.
//!
//! # Invariants
//!
//! 1. Every dropped row is counted here, and the way to see it is named.

use super::amount::{grouped, rounded, span_ms, time};
use crate::job::{Report, RuntimeKind};
use crate::metrics::LateRows;

/// The bounds of the histogram's bars, in milliseconds: what a person would round to.
const BOUNDS_MS: [u64; 9] =
    [1000, 5000, 10_000, 30_000, 60_000, 600_000, 3_600_000, 86_400_000, u64::MAX];
/// Characters of the longest bar.
const BAR_WIDTH: u64 = 30;

/// How a job was run, for the summary's first line.
pub(super) struct Circumstances {
    /// How many shards.
    pub(super) shards: usize,
    /// What drove them.
    pub(super) runtime: RuntimeKind,
    /// Whether a signal stopped it.
    pub(super) stopped: bool,
    /// Whether the script keeps dropped records in a file.
    pub(super) dead_letter_path: Option<String>,
}

/// The summary, some lines.
pub(super) fn summary(report: &Report, circumstances: &Circumstances) -> String {
    let totals = &report.totals;
    let seconds = report.elapsed.as_secs_f64().max(1e-6);
    let mut text = headline(report, circumstances);
    let mut line = |name: &str, value: String| text += &format!("  {name:<14} {value}\n");
    line(
        "rows read",
        format!("{} ({} rows/s)", grouped(totals.rows), rounded(totals.rows as f64 / seconds)),
    );
    if totals.bytes > 0 {
        line(
            "bytes read",
            format!(
                "{}B ({}B/s)",
                rounded(totals.bytes as f64),
                rounded(totals.bytes as f64 / seconds)
            ),
        );
    }
    line("windows fired", grouped(totals.fired));
    line("rows written", grouped(totals.rows_out));
    match totals.watermark_ms {
        Some(watermark) if circumstances.stopped => {
            line(
                "watermark",
                format!("{} (windows open beyond it are not shown)", time(watermark)),
            );
        }
        Some(watermark) => line("watermark", time(watermark)),
        None => {}
    }
    line("late rows", grouped(totals.late));
    for (table, late) in report.late.iter().filter(|(_, late)| late.count > 0) {
        text += &late_rows(table, late);
    }
    text += &format!("  {:<14} {}\n", "malformed rows", grouped(totals.malformed));
    text += &malformed_rows(report, circumstances);
    text
}

fn headline(report: &Report, circumstances: &Circumstances) -> String {
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
fn malformed_rows(report: &Report, circumstances: &Circumstances) -> String {
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
