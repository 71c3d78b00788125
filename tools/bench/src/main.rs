//! Runs the workloads of the design from generated files through the real binary, and prints medians.
//!
//! ```text
//! cargo build --release && cargo run --release -p tidemill-bench -- [--rows N] [--runs N] [--shards N] [--formats csv,json] [--only w1,w2]
//! cargo run --release -p tidemill-bench -- state        what durable state costs, see [`state`]
//! cargo run --release -p tidemill-bench -- library      the typed builder beside SQL, see [`library`]
//! ```
//!
//! A figure counts only with its answer: each workload is first run into a file, and what it adds up to is compared with a
//! plain loop over the same CSV. Data and results lie in `target/bench`. Peak memory is the process's `VmHWM`.

mod library;
mod naive;
mod state;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WORKLOADS: [(&str, &str); 7] = [
    ("w0", include_str!("../workloads/w0.sql")),
    ("w1", include_str!("../workloads/w1.sql")),
    ("w2", include_str!("../workloads/w2.sql")),
    ("w2-early", include_str!("../workloads/w2-early.sql")),
    ("w3", include_str!("../workloads/w3.sql")),
    ("w4", include_str!("../workloads/w4.sql")),
    ("w5", include_str!("../workloads/w5.sql")),
];

const TABLE: &str = "CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'path' = '$PATH', 'format' = '$FORMAT');\n";

/// What the command line asks for.
struct Settings {
    rows: u64,
    runs: usize,
    shards: usize,
    formats: Vec<String>,
    only: Vec<String>,
    binary: PathBuf,
    folder: PathBuf,
}

/// One run of the binary.
struct Run {
    elapsed: Duration,
    peak_mib: u64,
}

fn main() {
    let (settings, parts) = settings();
    if let Some((suite, parts)) = parts.split_first() {
        std::fs::create_dir_all(&settings.folder).expect("target/bench can be made");
        return match suite.as_str() {
            "state" => state::run(&settings, parts),
            "library" => library::run(&settings),
            _ => panic!("there is no suite '{suite}'; see the head of tools/bench/src/main.rs"),
        };
    }
    std::fs::create_dir_all(&settings.folder).expect("target/bench can be made");
    let csv = generate(&settings, "csv");
    let answers = naive::answers(&csv);
    println!(
        "{} rows, {} shards, medians of {} runs",
        settings.rows, settings.shards, settings.runs
    );
    println!("| workload | format | M rows/s | min – max | seconds | peak MiB | answer |");
    println!("|---|---|---|---|---|---|---|");
    for (name, query) in WORKLOADS {
        if !settings.only.is_empty() && !settings.only.iter().any(|only| only == name) {
            continue;
        }
        for format in &settings.formats {
            let data = generate(&settings, format);
            let script =
                TABLE.replace("$PATH", &data.display().to_string()).replace("$FORMAT", format)
                    + query;
            check(&settings, name, &script, &answers);
            measure(&settings, name, format, &script);
        }
    }
}

/// The options, and the words that are none.
fn settings() -> (Settings, Vec<String>) {
    let mut words = Vec::new();
    let mut settings = Settings {
        rows: 10_000_000,
        runs: 3,
        shards: 2,
        formats: vec!["csv".into(), "json".into()],
        only: Vec::new(),
        binary: PathBuf::from("target/release/tidemill"),
        folder: PathBuf::from("target/bench"),
    };
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        if !option.starts_with("--") {
            words.push(option);
            continue;
        }
        let value = args.next().unwrap_or_else(|| panic!("{option} needs a value"));
        let list = || value.split(',').map(str::to_owned).collect();
        match option.as_str() {
            "--rows" => settings.rows = value.parse().expect("--rows takes a number"),
            "--runs" => settings.runs = value.parse().expect("--runs takes a number"),
            "--shards" => settings.shards = value.parse().expect("--shards takes a number"),
            "--formats" => settings.formats = list(),
            "--only" => settings.only = list(),
            "--binary" => settings.binary = value.into(),
            _ => panic!("unknown option {option}; see the head of tools/bench/src/main.rs"),
        }
    }
    assert!(settings.binary.exists(), "build it first: cargo build --release");
    (settings, words)
}

/// The file of clicks in this format, made if it is not there.
fn generate(settings: &Settings, format: &str) -> PathBuf {
    let suffix = if format == "json" { "jsonl" } else { format };
    let path = settings.folder.join(format!("clicks-{}.{suffix}", settings.rows));
    if !path.exists() {
        let rows = settings.rows.to_string();
        let status = Command::new(&settings.binary)
            .args(["generate", "clicks", "--rows", &rows, "--format", suffix, "--out"])
            .arg(&path)
            .status()
            .expect("the binary starts");
        assert!(status.success());
    }
    path
}

/// Runs the workload once into a CSV file and adds it up.
fn check(settings: &Settings, name: &str, script: &str, answers: &naive::Answers) {
    let path = settings.folder.join(format!("{name}.csv"));
    let _ = std::fs::remove_file(&path);
    let sink =
        format!("'connector' = 'filesystem', 'path' = '{}', 'format' = 'csv'", path.display());
    run(settings, &script.replace("'connector' = 'blackhole'", &sink));
    let (rows, sum) = add_up(&path, name);
    let expected = answers.of(name);
    assert_eq!((rows, sum), expected, "{name}: rows written and the total of their counts");
}

/// Rows in a result file, and the total of their third column (for W0 the count of rows again).
fn add_up(path: &Path, name: &str) -> (u64, u64) {
    let text = std::fs::read_to_string(path).expect("the job wrote its results");
    let mut total = 0;
    let mut rows = 0;
    for line in text.lines() {
        rows += 1;
        total += match name {
            "w0" => 1,
            _ => line
                .split(',')
                .nth(2)
                .and_then(|count| count.parse::<u64>().ok())
                .expect("a count in column 3"),
        };
    }
    // Early firings add rows; what they add up to is what counts.
    if name == "w2-early" { (0, total) } else { (rows, total) }
}

fn measure(settings: &Settings, name: &str, format: &str, script: &str) {
    let runs: Vec<Run> = (0..settings.runs).map(|_| run(settings, script)).collect();
    let mut seconds: Vec<f64> = runs.iter().map(|run| run.elapsed.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| settings.rows as f64 / seconds / 1e6;
    let median = seconds[seconds.len() / 2];
    let peak = runs.iter().map(|run| run.peak_mib).max().unwrap_or(0);
    println!(
        "| {name} | {format} | {:.2} | {:.2} – {:.2} | {median:.2} | {peak} | checked |",
        rate(median),
        rate(seconds[seconds.len() - 1]),
        rate(seconds[0]),
    );
}

/// One run of a script, the whole process timed.
fn run(settings: &Settings, script: &str) -> Run {
    run_with(settings, script, &[])
}

/// The middle of some figures.
fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The same with more options.
fn run_with(settings: &Settings, script: &str, options: &[&str]) -> Run {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = Instant::now();
    let mut child = Command::new(&settings.binary)
        .args(["run", "--quiet", "--shards", &settings.shards.to_string(), "-e", script])
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut peak_mib = 0;
    let status = loop {
        peak_mib = peak_mib.max(peak(child.id()));
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let elapsed = start.elapsed();
    assert!(status.success(), "the job failed");
    Run { elapsed, peak_mib }
}

/// A process's peak resident memory so far.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
