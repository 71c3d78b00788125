//! State six times as large as the memory: a job in a control group of 512 MiB, with keys in no order, against the same job with
//! all the memory there is. Every row it writes is compared.
//!
//! It needs control groups of version 1 and the right to make one; without them it says so and does nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidemill::batch::hash::hash_bytes;

use crate::Settings;
use crate::state::{files, keyed_script};

const LIMIT_BYTES: u64 = 512 << 20;
/// Of these some 31 M occur, which is 3.4 GB of state; every fifth row is of a key that has come before.
const DEVICES: u64 = 80_000_000;
const ROWS: u64 = 40_000_000;

/// A group of processes with a limit; removed when it is dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let path = format!("/sys/fs/cgroup/memory/tidemill-bench-{}", std::process::id());
        let group = Self(path.into());
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("memory.limit_in_bytes"), LIMIT_BYTES.to_string()).ok()?;
        Some(group)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Bytes of anonymous memory and of files that count for it.
    fn held_bytes(&self) -> [u64; 2] {
        let text = self.file("memory.stat");
        ["total_rss ", "total_cache "].map(|name| {
            let bytes = text.lines().find_map(|line| line.strip_prefix(name));
            bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// What a job has written, whatever the order of its rows.
#[derive(Debug, PartialEq)]
struct Written {
    keys: u64,
    rows: u64,
    hashes: u64,
}

/// What a job has taken.
#[derive(Debug, Default)]
struct Cost {
    seconds: f64,
    cpu_seconds: f64,
    read_bytes: u64,
    written_bytes: u64,
    /// The most that the group held in anonymous memory, and in files; 0 without one.
    held_bytes: [u64; 2],
}

impl Cost {
    /// Looks at a process while it is there.
    fn look(&mut self, pid: u32, group: Option<&Group>) {
        let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        // Behind the name in brackets: the state, ten numbers, then ticks of 10 ms as user and in the kernel.
        let stat = read("stat");
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        self.cpu_seconds = self.cpu_seconds.max(ticks as f64 / 100.0);
        let io = read("io");
        let of = |name: &str| {
            let value = io.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
        };
        self.read_bytes = self.read_bytes.max(of("read_bytes:"));
        self.written_bytes = self.written_bytes.max(of("write_bytes:"));
        for (most, held) in self.held_bytes.iter_mut().zip(group.map_or([0; 2], Group::held_bytes))
        {
            *most = held.max(*most);
        }
    }

    fn print(&self, name: &str) {
        println!(
            "  {name}: {:.0} s ({:.0} s of CPU), {:.0} k rows/s, {:.1} GB read, {:.1} GB written",
            self.seconds,
            self.cpu_seconds,
            ROWS as f64 / self.seconds / 1e3,
            self.read_bytes as f64 / 1e9,
            self.written_bytes as f64 / 1e9,
        );
    }
}

/// Runs both jobs, and prints what they took.
pub(crate) fn memory(settings: &Settings) {
    let Some(group) = Group::new() else {
        println!("memory: no control group can be made here");
        return;
    };
    let (free, free_cost) = run(settings, None);
    assert_eq!(free.rows, ROWS, "every row is counted");
    let (limited, limited_cost) = run(settings, Some(&group));
    assert_eq!(limited, free, "the limit shows in the rows");
    println!("memory: {} keys, {ROWS} rows, the same results", limited.keys);
    free_cost.print("without a limit");
    limited_cost.print("with 512 MiB");
    let [anonymous, files] = limited_cost.held_bytes;
    println!(
        "  at most {} bytes in the group; {anonymous} anonymous, {files} of files, each at its time",
        group.file("memory.max_usage_in_bytes").trim(),
    );
}

fn run(settings: &Settings, group: Option<&Group>) -> (Written, Cost) {
    let folder = settings.folder.join("memory");
    let _ = fs::remove_dir_all(&folder);
    let results = folder.join("results");
    let sink = format!("'filesystem', 'format' = 'csv', 'path' = '{}'", results.display());
    let script = keyed_script(DEVICES, ROWS).replace("'blackhole'", &sink);
    let shards = settings.shards.to_string();
    let mut command = match group {
        Some(group) => {
            let mut command = Command::new("sh");
            let enter = "echo $$ > \"$0\" && exec \"$@\"";
            command.args(["-c", enter]).arg(group.0.join("cgroup.procs")).arg(&settings.binary);
            command
        }
        None => Command::new(&settings.binary),
    };
    command.args(["run", "--quiet", "--shards", &shards, "-e", &script]);
    command.arg("--state").arg(folder.join("state"));
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the binary starts");
    let mut cost = Cost::default();
    let status = loop {
        cost.look(child.id(), group);
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    cost.seconds = began.elapsed().as_secs_f64();
    let written = written(&results);
    let _ = fs::remove_dir_all(&folder);
    (written, cost)
}

/// Adds up the files of results: start, device, count, sum.
fn written(folder: &Path) -> Written {
    let mut written = Written { keys: 0, rows: 0, hashes: 0 };
    for path in files(folder, "") {
        for line in BufReader::new(fs::File::open(path).expect("listed")).lines() {
            let line = line.expect("in UTF-8");
            let count = line.rsplit(',').nth(1).and_then(|count| count.parse::<u64>().ok());
            written.keys += 1;
            written.rows += count.expect("a count before the sum");
            written.hashes = written.hashes.wrapping_add(hash_bytes(line.as_bytes()));
        }
    }
    written
}
