//! Runs the workloads of the design from generated files through the real binary, and prints medians.
//!
//! ```text
//! cargo build --release && cargo run --release -p tidemill-bench -- [--rows N] [--runs N] [--shards N] [--formats csv,json] [--only w1,w2]
//! cargo run --release -p tidemill-bench -- compare      beside other engines, see [`compare`]
//! cargo run --release -p tidemill-bench -- state        what durable state costs, see [`state`]
//! cargo run --release -p tidemill-bench -- library      the typed builder beside SQL, see [`library`]
//! cargo run --release -p tidemill-bench -- growth       as a load grows in one direction, see [`growth`]
//! cargo run --release -p tidemill-bench -- latency      from a row's due time to its result, see [`latency`]
//! ```
//!
//! A figure counts only with its answer: each workload is first run into a file, and what it adds up to is compared with a
//! plain loop over the same CSV. Data and results lie in `target/bench`. Peak memory is the process's `VmHWM`.

mod compare;
mod growth;
mod latency;
mod library;
mod memory;
mod naive;
mod script;
mod settings;
mod state;
mod typed;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use settings::Settings;

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

/// One run of the binary.
struct Run {
    elapsed: Duration,
    peak_mib: u64,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|word| word == compare::CONTESTANT) {
        compare::contestant(args.skip(1));
        return ExitCode::SUCCESS;
    }
    match settings::read(args).and_then(|settings| run_suite(&settings)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("tidemill-bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run_suite(settings: &Settings) -> Result<(), String> {
    if settings.wants_help {
        print!("{}", settings::USAGE);
        return Ok(());
    }
    let (suite, parts) = match settings.words.split_first() {
        Some((suite, parts)) => (suite.as_str(), parts),
        None => ("files", &[][..]),
    };
    let parts_known: &[&str] = if suite == "state" { &state::PARTS } else { &[] };
    if let Some(part) = parts.iter().find(|part| !parts_known.contains(&part.as_str())) {
        let parts = if parts_known.is_empty() { "none".into() } else { parts_known.join(", ") };
        return Err(format!("suite {suite} has no part '{part}'; its parts: {parts}"));
    }
    let folder = settings.folder.display();
    std::fs::create_dir_all(&settings.folder)
        .map_err(|error| format!("{folder} cannot be made: {error}"))?;
    if ["files", "state"].contains(&suite) && !settings.binary.exists() {
        let binary = settings.binary.display();
        return Err(format!("{binary} is not there; build it first: cargo build --release"));
    }
    match suite {
        "files" => files(settings)?,
        "compare" => compare::run(settings)?,
        "state" => state::run(settings, parts),
        "library" => library::run(settings)?,
        "growth" => growth::run(settings)?,
        "latency" => latency::run(settings)?,
        _ => {
            let suites = "files, compare, state, library, growth, latency";
            return Err(format!("there is no suite '{suite}'; there are {suites}; see --help"));
        }
    }
    Ok(())
}

/// The workloads from files through the real binary.
fn files(settings: &Settings) -> Result<(), String> {
    settings.check_only(&WORKLOADS.map(|(name, _)| name))?;
    let csv = generate(settings, "csv");
    let answers = naive::answers(&csv);
    println!(
        "{} rows, {} shards, medians of {} runs",
        settings.rows, settings.shards, settings.runs
    );
    println!("| workload | format | M rows/s | min – max | seconds | peak MiB | answer |");
    println!("|---|---|---|---|---|---|---|");
    for (name, query) in WORKLOADS.iter().filter(|(name, _)| settings.wants(name)) {
        for format in &settings.formats {
            let data = generate(settings, format);
            let script =
                TABLE.replace("$PATH", &data.display().to_string()).replace("$FORMAT", format)
                    + query;
            check(settings, name, &script, &answers);
            measure(settings, name, format, &script);
        }
    }
    Ok(())
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
