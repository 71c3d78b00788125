//! What durable state costs, and how soon a job goes on.
//!
//! ```text
//! cargo run --release -p tidemill-bench -- state [throughput] [pause] [bytes] [recovery] [memory]
//! ```
//!
//! - `throughput`: W1 and W5 from CSV with a snapshot a second, beside the same without, in turn; the ratio of the medians.
//! - `pause`: how long barriers hold up a shard with about 1 GB of state under updates all over it.
//! - `bytes`: what a snapshot writes when 1 % of the keys change, next to each other or scattered.
//! - `memory`: what state is worth that is six times as large as the memory, see [`crate::memory`].
//! - `recovery`: from the restart after a SIGKILL to the first rows read, and to 80 % of the rate before it, with about 100 MB and
//!   4 GB of state. `TIDEMILL_DEVICES=N` measures that many keys alone.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::batch::hash::hash_bytes;
use tidemill::state::{Frames, Pages, Space, Table};
use tidemill::sys::random::Random;
use tidemill::sys::storage::{Disk, Storage};

use crate::memory::memory;
use crate::{Settings, TABLE, generate, median, run_with};

/// What there is to run.
pub(crate) const PARTS: [&str; 5] = ["throughput", "pause", "bytes", "memory", "recovery"];

/// Runs the parts that are asked for, or all.
pub(crate) fn run(settings: &Settings, parts: &[String]) {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    if wanted("bytes") {
        bytes(settings);
    }
    if wanted("throughput") {
        throughput(settings);
    }
    if wanted("pause") {
        pause(settings);
    }
    if wanted("memory") {
        memory(settings);
    }
    if wanted("recovery") {
        match std::env::var("TIDEMILL_DEVICES").ok().and_then(|text| text.parse().ok()) {
            Some(devices) => recovery(settings, &format!("{devices} keys"), devices),
            None => {
                recovery(settings, "100 MB", 1_000_000);
                recovery(settings, "4 GB", 36_000_000);
            }
        }
    }
}

fn throughput(settings: &Settings) {
    println!(
        "| workload | without, s | with a snapshot a second, s | throughput ratio |\n|---|---|---|---|"
    );
    let data = generate(settings, "csv");
    let table = TABLE.replace("$PATH", &data.display().to_string()).replace("$FORMAT", "csv");
    for (name, query) in
        [("w1", include_str!("../workloads/w1.sql")), ("w5", include_str!("../workloads/w5.sql"))]
    {
        let script = format!("{table}{query}");
        let state = settings.folder.join("state");
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..settings.runs {
            without.push(run_with(settings, &script, &[]).elapsed.as_secs_f64());
            let _ = std::fs::remove_dir_all(&state);
            let folder = state.display().to_string();
            with.push(run_with(settings, &script, &["--state", &folder]).elapsed.as_secs_f64());
        }
        let (without, with) = (median(&mut without), median(&mut with));
        println!("| {name} | {without:.2} | {with:.2} | {:.3} |", without / with);
    }
}

/// Counts and sums by device in one window, from rows made on the fly.
pub(crate) fn keyed_script(devices: u64, rows: u64) -> String {
    format!(
        "CREATE TABLE clicks (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'datagen', 'profile' = 'clicks', 'devices' = '{devices}',
  'number-of-rows' = '{rows}', 'rate' = '100000');
CREATE TABLE results (window_start TIMESTAMP(3), device STRING, c BIGINT, s DOUBLE) WITH ('connector' = 'blackhole');
INSERT INTO results SELECT window_start, device, COUNT(*), SUM(amount)
FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY)) GROUP BY window_start, window_end, device;"
    )
}

fn pause(settings: &Settings) {
    let script = keyed_script(10_000_000, 200_000_000);
    let mut child = start(settings, &script, "pause", true);
    let mut said = String::new();
    child.stderr.take().expect("asked for").read_to_string(&mut said).expect("it speaks UTF-8");
    assert!(child.wait().expect("it was started").success(), "{said}");
    println!("10 M keys, 200 M rows, a snapshot a second:\n{said}");
}

/// Starts a job with state in a folder of its own.
fn start(settings: &Settings, script: &str, name: &str, fresh: bool) -> std::process::Child {
    let state = settings.folder.join(format!("state-{name}"));
    if fresh {
        let _ = std::fs::remove_dir_all(&state);
    }
    let shards = settings.shards.to_string();
    let mut command = Command::new(&settings.binary);
    command.args(["run", "--shards", &shards, "--state"]).arg(state).args(["-e", script]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

/// How long the former rate is waited for.
const REGAIN_MAX: Duration = Duration::from_secs(120);

fn recovery(settings: &Settings, name: &str, devices: u64) {
    let script = keyed_script(devices, 2_000_000_000);
    let mut child = start(settings, &script, "recovery", true);
    let folder = settings.folder.join("state-recovery");
    // Until about two thirds of the keys have come and nothing is much added any more.
    let rows = devices * 11 / 10;
    while manifest_rows(&folder) < rows {
        std::thread::sleep(Duration::from_millis(100));
    }
    let first = next_snapshot(&folder, manifest_rows(&folder));
    std::thread::sleep(Duration::from_secs(5));
    let former = rate(first, next_snapshot(&folder, manifest_rows(&folder)));
    child.kill().expect("it runs");
    child.wait().expect("it was started");
    let frames: u64 =
        files(&folder, "state-").iter().map(|path| path.metadata().map_or(0, |m| m.len())).sum();
    println!("{name}: {frames} bytes of files, {former:.0} rows/s before the kill");
    for cache in ["warm", "cold"] {
        reopen(settings, &script, cache);
        if cache == "cold" {
            drop_caches(&folder);
        }
        regain(settings, &script, cache, former);
    }
}

/// How soon a job reads rows again, from the start of its process, each time after a SIGKILL: medians.
fn reopen(settings: &Settings, script: &str, cache: &str) {
    let folder = settings.folder.join("state-recovery");
    let (mut opened, mut first) = (Vec::new(), Vec::new());
    for _ in 0..settings.runs {
        if cache == "cold" {
            drop_caches(&folder);
        }
        let restarted = Restarted::new(settings, script);
        next_snapshot(&folder, manifest_rows(&folder));
        let (opened_s, first_s) = (restarted.opened.as_secs_f64(), restarted.first_row_s());
        opened.push(opened_s * 1e3);
        first.push((opened_s + first_s) * 1e3);
        let mut child = Restarted::new(settings, script).child;
        next_snapshot(&folder, manifest_rows(&folder));
        child.kill().expect("it runs");
        child.wait().expect("it was started");
    }
    let spread = |times: &[f64]| {
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        format!("{least:.1} to {:.1} ms", times.iter().copied().fold(0.0, f64::max))
    };
    let (opened_spread, first_spread) = (spread(&opened), spread(&first));
    println!(
        "  {cache} cache, {} restarts: state open after {:.1} ms ({opened_spread}), first rows read after {:.1} ms ({first_spread})",
        settings.runs,
        median(&mut opened),
        median(&mut first),
    );
}

/// A job that goes on.
struct Restarted {
    child: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
    /// How long after the start of the process the state was open, and shards began.
    opened: Duration,
}

impl Restarted {
    fn new(settings: &Settings, script: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let began = Instant::now();
        let mut child = start(settings, script, "recovery", false);
        let mut lines = BufReader::new(child.stderr.take().expect("asked for")).lines();
        lines.next().expect("it says that it goes on").expect("in UTF-8");
        Self { child, lines, opened: began.elapsed() }
    }

    /// Stops it; how many seconds after shards began the first rows had been read.
    fn first_row_s(mut self) -> f64 {
        let id = self.child.id().to_string();
        let interrupted = Command::new("kill").args(["-INT", &id]).status();
        assert!(interrupted.expect("kill is there").success());
        let rest: Vec<String> = self.lines.map_while(Result::ok).collect();
        assert!(self.child.wait().expect("it was started").success(), "{rest:?}");
        let first = rest.iter().find(|line| line.contains("first row")).expect("it has read some");
        let mut words = first.split_whitespace().skip(3);
        let amount: f64 = words.next().and_then(|word| word.parse().ok()).expect("a number");
        match words.next() {
            Some("µs") => amount / 1e6,
            Some("ms") => amount / 1e3,
            _ => amount,
        }
    }
}

/// Starts the job again, and says how soon it is as quick as it was.
fn regain(settings: &Settings, script: &str, cache: &str, former: f64) {
    let folder = settings.folder.join("state-recovery");
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    let mut last = (manifest_rows(&folder), began);
    let restarted = Restarted::new(settings, script);
    let (mut rates, mut regained) = (Vec::new(), None);
    while regained.is_none() && began.elapsed() < REGAIN_MAX {
        let next = next_snapshot(&folder, last.0);
        let now = rate(last, next);
        last = next;
        rates.push(format!("{:.1}: {:.0}", began.elapsed().as_secs_f64(), now / 1e3));
        regained = (now >= former * 0.8).then(|| began.elapsed());
    }
    restarted.first_row_s();
    println!(
        "  {cache} cache: 80 % of the former rate: {regained:?}; second: thousands of rows/s {rates:?}"
    );
}

/// The next snapshot that has more rows than `after`: how many, and when.
fn next_snapshot(folder: &Path, after: u64) -> (u64, Instant) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let (began, now) = (Instant::now(), Instant::now);
    loop {
        let rows = manifest_rows(folder);
        if rows > after {
            return (rows, now());
        }
        assert!(began.elapsed() < REGAIN_MAX, "the job takes no snapshots");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Rows a second from one snapshot to another.
fn rate(first: (u64, Instant), last: (u64, Instant)) -> f64 {
    (last.0 - first.0) as f64 / (last.1 - first.1).as_secs_f64()
}

/// The files of a folder whose names begin so.
pub(crate) fn files(folder: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    names.map(|entry| entry.path()).collect()
}

/// The rows that the newest snapshot says were read.
fn manifest_rows(folder: &Path) -> u64 {
    let newest = files(folder, "manifest-").into_iter().max();
    let text = newest.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let counters = text.split("\"counters\":[").nth(1).unwrap_or("0,");
    counters.split(',').next().and_then(|rows| rows.parse().ok()).unwrap_or(0)
}

/// Has the kernel forget the state files.
fn drop_caches(folder: &Path) {
    let _ = Command::new("sync").status();
    for path in files(folder, "") {
        let argument = format!("if={}", path.display());
        let forgot = Command::new("dd")
            .args([&argument, "iflag=nocache", "count=0", "status=none"])
            .status();
        assert!(forgot.expect("dd is there").success());
    }
}

/// Slots of a count and a sum, as W5 has them.
fn bytes(settings: &Settings) {
    const KEYS: u64 = 2_000_000;
    println!(
        "| 1 % of 2 M keys change | bytes a snapshot (mean of 30) | share of the state |\n|---|---|---|"
    );
    for scattered in [false, true] {
        let folder = settings.folder.join("state-bytes");
        let _ = std::fs::remove_dir_all(&folder);
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        storage.create_folder(&folder, true).expect("a folder can be made");
        let frames = Frames::create(&storage, &folder.join("frames")).expect("a file can be made");
        let mut space = Space::open(&frames, 1, None, 0, 4 << 30).expect("it is new");
        let mut table = Table::new(5);
        for key in 0..KEYS {
            let name = format!("{:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            table.upsert(&mut space.pages, hash_bytes(name.as_bytes()), name.as_bytes());
        }
        snapshot(&mut space, &frames, 1);
        let state_bytes = space.pages.state_bytes() as u64;
        println!("  (the state: {} bytes a key)", state_bytes / KEYS);
        let mut random = Random::new(7);
        let mut written = 0;
        for epoch in 2..32 {
            let start = random.below(KEYS - KEYS / 100);
            for change in 0..KEYS / 100 {
                let key = if scattered { random.below(KEYS) } else { start + change };
                touch(&table, &mut space.pages, key as u32);
            }
            written += snapshot(&mut space, &frames, epoch);
        }
        let (mean, kind) =
            (written / 30, if scattered { "scattered" } else { "next to each other" });
        println!("| {kind} | {mean} | {:.1} % |", mean as f64 * 100.0 / state_bytes as f64);
    }
}

fn touch(table: &Table, pages: &mut Pages, slot: u32) {
    let words = table.words_mut(pages, slot);
    words[0] += 1;
    words[1] += 77;
}

fn snapshot(space: &mut Space, frames: &Frames, epoch: u32) -> u64 {
    let sealed = space.pages.seal(Vec::new());
    let written = space.ledger.write(sealed, &mut |_| false).expect("the disk takes it");
    frames.sync().expect("the disk takes it");
    let byte_count = written.byte_count;
    space.ledger.commit(written, epoch);
    for _ in 0..1000 {
        space.pages.acknowledge();
    }
    byte_count
}
