//! Instructions per W1 row, counted by callgrind, against a ceiling: what noise on a shared machine cannot hide.
//!
//! The binary is run over two inputs, one twice as long; the difference leaves out start-up. Without valgrind it says so
//! and passes. `cargo bench --bench instructions` prints the count.

use std::path::Path;
use std::process::Command;

/// Rows of the shorter input.
const ROWS: u64 = 40_000;
/// More instructions a row than this is a regression; what was measured stands in PERF.md.
const CEILING: u64 = 600;

const SCRIPT: &str = "
CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'path' = '$PATH', 'format' = 'csv');
CREATE TABLE out1 (ws TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE, m DOUBLE, a DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO out1 SELECT window_start, page, COUNT(*), SUM(amount), MAX(amount), AVG(amount)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE action = 'view'
GROUP BY window_start, window_end, page;";

fn tidemill() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidemill"))
}

/// Instructions of a whole run over `rows` rows.
fn count(folder: &Path, rows: u64) -> u64 {
    let csv = folder.join(format!("{rows}.csv"));
    let made = tidemill()
        .args(["generate", "clicks", "--rows", &rows.to_string(), "--format", "csv", "--out"])
        .arg(&csv)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let script = SCRIPT.replace("$PATH", csv.to_str().unwrap());
    let profile = folder.join(format!("{rows}.out"));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display())])
        .arg(env!("CARGO_BIN_EXE_tidemill"))
        .args(["run", "--shards", "1", "--runtime", "poll", "--quiet", "-e", &script])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = std::fs::read_to_string(&profile).unwrap();
    let totals = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
    totals.and_then(|totals| totals.split_whitespace().next()).unwrap().parse().unwrap()
}

fn main() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not installed: instructions are not counted");
        return;
    }
    if cfg!(debug_assertions) {
        eprintln!("instructions are counted in release builds: cargo bench --bench instructions");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let per_row = (count(folder.path(), 2 * ROWS) - count(folder.path(), ROWS)) / ROWS;
    eprintln!("W1 from CSV: {per_row} instructions a row (ceiling {CEILING})");
    assert!(per_row <= CEILING, "W1 takes {per_row} instructions a row, more than {CEILING}");
}
