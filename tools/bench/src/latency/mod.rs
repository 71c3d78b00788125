//! How long a row takes from when it is due to its effect in a result that is shown.
//!
//! ```text
//! cargo run --release -p tidemill-bench -- latency [--seconds N] [--only tumble,early]
//! ```
//!
//! An open-loop generator on the last core sends CSV lines over a loopback socket to a job of one shard on the first, with a snapshot a second.
//! The job counts and adds up by 1,000 keys in tumbling windows of 1 s. First the generator sends as fast as the job reads: the most it can do.
//! Then it sends at 10, 50 and 80 % of that. Row *n* is due at *n* ÷ rate, whether or not the socket took those before it: latency is counted
//! from then, so that a job that stalls is charged for every row that should have come meanwhile (no coordinated omission).
//!
//! | part | a sample is | from … to |
//! |---|---|---|
//! | `tumble` | a result | the due time of the first row behind the window's end … the result |
//! | `early` | a row | its due time … the first result that counts it, with a firing at every row |
//! | `timer` | a row | the same, with a firing every 10 ms by the machine's clock, which is waited for |
//! | `flink` | a result | as in `tumble`, of Apache Flink and of ours in turn, at rates that Flink holds |
//!
//! The watermark is a millisecond behind the highest time, which is Flink's way to say that times do not go down: windows close with the first row
//! behind their end. What has been shown is added up: the job fails if a row is missing or counted twice. The first two seconds do not count.
//!
//! The machine's own part stands beside it: a thread that does nothing but read the clock, on each core at once, asked every microsecond.

mod flink;
mod generator;
mod jitter;
mod sink;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tidemill::connector::Sink;
use tidemill::job::{Fresh, Launch, state_options};

use crate::{Settings, script};
use generator::Generator;
use sink::Meter;

/// What latency is measured of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Tumble,
    Early,
    Timer,
}

impl Part {
    const ALL: [Self; 3] = [Self::Tumble, Self::Early, Self::Timer];

    fn name(self) -> &'static str {
        match self {
            Self::Tumble => "tumble",
            Self::Early => "early",
            Self::Timer => "timer",
        }
    }

    /// What has it fire early.
    fn settings(self) -> String {
        let delay = match self {
            Self::Tumble => return String::new(),
            Self::Early => "0 ms",
            Self::Timer => "10 ms",
        };
        format!(
            "SET 'table.exec.emit.early-fire.enabled' = 'true';\nSET 'table.exec.emit.early-fire.delay' = '{delay}';\n"
        )
    }

    fn script(self, port: u16) -> String {
        format!(
            "{}CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, amount DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '0.001' SECOND) WITH ('connector' = 'socket', 'hostname' = '127.0.0.1', 'port' = '{port}', 'format' = 'csv');
CREATE TABLE results (window_start TIMESTAMP(3), page STRING, c BIGINT, s DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results SELECT window_start, page, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end, page;",
            self.settings()
        )
    }
}

/// A histogram of nanoseconds.
type Nanoseconds = Histogram<u64>;

/// Three digits, as large as it has to be.
fn histogram() -> Nanoseconds {
    Histogram::new(3).expect("three digits are a valid precision")
}

/// The shares of the most that the job can do.
const SHARES: [u64; 3] = [10, 50, 80];
/// The rate at which event time runs while the most is looked for the first time.
const FIRST_RATE: u64 = 1_000_000;
/// How long the most is looked for, each of two times.
const FLOOD: Duration = Duration::from_secs(4);

/// Runs the suite.
///
/// # Errors
///
/// Words that name nothing, a job that fails, rows that are missing.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    let names: Vec<&str> = Part::ALL.map(Part::name).into_iter().chain([FLINK]).collect();
    settings.check_only(&names)?;
    let span = Duration::from_secs(settings.seconds);
    println!("Latency in milliseconds, {} s each", settings.seconds);
    println!("| what | load | rows/s | samples | p50 | p99 | p99.9 | p99.99 | max | snapshots |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    print_jitter(span)?;
    for part in Part::ALL.into_iter().filter(|part| settings.wants(part.name())) {
        let most = most(settings, part)?;
        for share in SHARES {
            let rate = (most * share / 100).max(1);
            let run = once(settings, part, Generator::paced(rate, span))?;
            print(part.name(), &format!("{share} %"), rate, &run.latency_ns, run.snapshots);
        }
    }
    if settings.wants(FLINK) {
        beside_flink(settings, span)?;
    }
    print_jitter(span)
}

/// The word for [`beside_flink`].
const FLINK: &str = "flink";

/// Ours and Flink in turn on the same load.
fn beside_flink(settings: &Settings, span: Duration) -> Result<(), String> {
    for rate in flink::RATES {
        let ours = once(settings, Part::Tumble, Generator::paced(rate, span))?;
        print("tumble", "", rate, &ours.latency_ns, ours.snapshots);
        match flink::once(settings, Generator::paced(rate, span)) {
            Ok(latency_ns) => print("Flink, the same", "", rate, &latency_ns, 0),
            Err(message) => eprintln!("skipped: Flink: {message}"),
        }
    }
    Ok(())
}

/// Rows a second that the job takes when they are always there.
fn most(settings: &Settings, part: Part) -> Result<u64, String> {
    let mut rate = FIRST_RATE;
    // The second time event time runs as fast as the rows do, so that as many windows close as will.
    for _ in 0..2 {
        let run = once(settings, part, Generator::flood(rate, FLOOD))?;
        rate = (run.rows as f64 / run.seconds) as u64;
    }
    println!("| {} | the most | {rate} | | | | | | | |", part.name());
    Ok(rate)
}

/// What a run came to.
struct Run {
    rows: u64,
    /// From the first row due to the job's end.
    seconds: f64,
    latency_ns: Nanoseconds,
    snapshots: u64,
}

fn once(settings: &Settings, part: Part, generator: Generator) -> Result<Run, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let meter = Meter::new(part, generator);
    let sink: Arc<dyn Sink> = Arc::new(meter.clone());
    let plan = script::plan(&part.script(port), &sink)?;
    let state = settings.folder.join("state-latency");
    let _ = std::fs::remove_dir_all(&state);
    let launch = Launch::new(&plan, Some(1), None).map_err(|error| error.to_string())?;
    let launch = launch.state(state_options(&plan, &state, Fresh::default()));
    let control = launch.control();
    let begin = meter.begin();
    let sender = std::thread::Builder::new()
        .name("generator".into())
        .spawn(move || generator.send(&listener, &begin))
        .map_err(|error| error.to_string())?;
    let outcome = launch.run().outcome().map_err(|error| error.to_string());
    let seconds = meter.elapsed().as_secs_f64();
    let _ = std::fs::remove_dir_all(&state);
    outcome?;
    let rows = sender.join().map_err(|_| "the generator panicked")?.map_err(|e| e.to_string())?;
    let snapshots = control.snapshots.count.load(std::sync::atomic::Ordering::Relaxed);
    Ok(Run { rows, seconds, latency_ns: meter.finish(rows)?, snapshots })
}

fn print_jitter(span: Duration) -> Result<(), String> {
    for (core, latency_ns) in jitter::measure(span)?.into_iter().enumerate() {
        print(&format!("a bare thread on core {core}"), "", 1_000_000, &latency_ns, 0);
    }
    Ok(())
}

fn print(what: &str, load: &str, rate: u64, latency_ns: &Nanoseconds, snapshots: u64) {
    let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
    let [p50, p99, p999, p9999] =
        [0.5, 0.99, 0.999, 0.9999].map(|share| ms(latency_ns.value_at_quantile(share)));
    let (samples, max) = (latency_ns.len(), ms(latency_ns.max()));
    println!(
        "| {what} | {load} | {rate} | {samples} | {p50} | {p99} | {p999} | {p9999} | {max} | {snapshots} |"
    );
}

#[cfg(test)]
mod tests {
    use super::generator::KEYS;
    use super::*;

    /// Each part at a rate that any machine can hold: what is shown adds up, and the samples are as many as they must be.
    #[test]
    fn rows_are_followed_to_their_results() {
        let arguments = ["latency".to_owned()].into_iter();
        let mut settings = crate::settings::read(arguments).ok().unwrap();
        settings.folder =
            std::env::temp_dir().join(format!("tidemill-latency-{}", std::process::id()));
        std::fs::create_dir_all(&settings.folder).unwrap();
        for part in Part::ALL {
            let span = Duration::from_millis(2500);
            let run = once(&settings, part, Generator::paced(4000, span)).unwrap();
            assert_eq!(run.rows, 10_000);
            // The first two seconds do not count; nobody comes behind the end of the last, which is half full.
            let samples = match part {
                Part::Tumble => KEYS,
                _ => 2000,
            };
            assert_eq!(run.latency_ns.len(), samples, "{part:?}");
            assert!(run.snapshots > 0);
        }
        std::fs::remove_dir_all(&settings.folder).unwrap();
    }
}
