//! What a job with state says before it runs: where it goes on from, and what its state does not cover.

use super::amount::{grouped, second};
use crate::job::{Beginning, WentOnFrom};

/// Inputs that are named; the others are counted.
const NAMED_MAX: usize = 3;

/// Some lines, or none.
pub(super) fn text(beginning: &Beginning) -> String {
    let mut text = beginning.went_on_from.as_ref().map(went_on_from).unwrap_or_default();
    if !beginning.added.is_empty() {
        text += &format!(
            "new aggregates: {}; windows that are open show NULL for them\n",
            beginning.added.join(", ")
        );
    }
    for (table, remedy) in &beginning.lossy {
        text += &format!(
            "warning: table '{table}' cannot be read again: a crash loses its rows since the last snapshot; {remedy}\n"
        );
    }
    for table in &beginning.repeating {
        let whose =
            if table.is_empty() { "rows of SELECT".into() } else { format!("rows of '{table}'") };
        text += &format!(
            "note: {whose} are shown at once: after a crash, those since the last snapshot are shown again\n"
        );
    }
    text
}

fn went_on_from(snapshot: &WentOnFrom) -> String {
    let WentOnFrom { epoch, at_ms, rows, .. } = snapshot;
    let (taken, rows) = (second(*at_ms), grouped(*rows));
    if snapshot.finished {
        return format!(
            "the job had finished with snapshot {epoch}, taken {taken} UTC: all {rows} rows have been read and every window has \
             been shown, so there is nothing to do; --fresh starts over and keeps the old state aside\n"
        );
    }
    let mut text = format!(
        "going on from snapshot {epoch}, taken {taken} UTC ({rows} rows were read by then)\n"
    );
    let left_out = &snapshot.left_out;
    if !left_out.is_empty() {
        let named = &left_out[..left_out.len().min(NAMED_MAX)];
        let rest = match left_out.len() - named.len() {
            0 => String::new(),
            count => format!(" and {} more", grouped(count as u64)),
        };
        text += &format!(
            "left out: {}{rest}: not there when the job began; 'source.monitor-interval' takes such files in\n",
            named.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_the_job_goes_on() {
        let mut snapshot = WentOnFrom {
            epoch: 17,
            at_ms: 1_795_641_603_000,
            rows: 12_345_678,
            ..WentOnFrom::default()
        };
        let line = "going on from snapshot 17, taken 2026-11-25 21:20:03 UTC (12,345,678 rows were read by then)\n";
        assert_eq!(went_on_from(&snapshot), line);
        snapshot.left_out = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
        assert!(went_on_from(&snapshot).contains("\nleft out: a, b, c and 2 more: "));
        assert_eq!(text(&Beginning::default()), "");
    }
}
