//! Inputs drawn from seeds, and runs: undisturbed at several numbers of shards and sizes of chunks, and through deaths.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tidemill::error::JobError;
use tidemill::job::{Fresh, Launch, Report, RuntimeKind, StateOptions};
use tidemill::plan::Plan;
use tidemill::shard::checkpoint::inspect;
use tidemill::sys::random::Random;
use tidemill::sys::storage::SimDisk;

use crate::plans::{Piece, plan};

/// The first instant of every input: 2024-01-01.
const BASE_MS: i64 = 1_704_067_200_000;
/// The watermark's delay.
const DELAY_MS: i64 = 1_000;
/// Inputs that are drawn for a case unless `SEEDS` says.
const SEEDS: u64 = 4;
/// Where a durable job writes.
const SINK: &str = "/out/rows.jsonl";

/// Where its state lies.
const STATE: &str = "/job/state";

/// A row, and the watermark when it came.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) k: String,
    pub(crate) v: i64,
    pub(crate) w: i64,
    pub(crate) ts_ms: i64,
    pub(crate) watermark_ms: i64,
    /// What a function has made of it.
    pub(crate) fold: i64,
}

/// Rows in files.
pub(crate) struct Input {
    files: Vec<Vec<Arrived>>,
    pub(crate) lateness_ms: i64,
}

/// What is run over an input, and what must come of it.
#[derive(Default)]
pub(crate) struct Case {
    pub(crate) settings: String,
    pub(crate) select: String,
    pub(crate) pieces: Vec<Piece>,
    /// Another query, beside it; empty: none.
    pub(crate) beside: String,
    pub(crate) expected: Vec<Value>,
    pub(crate) late: u64,
    /// Nothing is kept when all windows are over.
    pub(crate) forgets: bool,
}

impl Input {
    /// Rows in these files.
    pub(crate) fn of(files: Vec<Vec<Arrived>>) -> Self {
        Self { files, lateness_ms: 0 }
    }

    fn draw(random: &mut Random) -> Self {
        let file_count = 1 + random.below(3) / 2;
        let file = |_| {
            let mut now_ms = 0;
            let count = random.below(200);
            let row = |w| {
                now_ms += random.below(200) as i64;
                // Often a window's last instant, to the millisecond.
                let on_the_dot = random.below(3) == 0;
                let back_ms = if random.below(12) == 0 { 4_000 } else { 1_200 };
                let mut ts_ms = BASE_MS + now_ms - random.below(back_ms) as i64;
                if on_the_dot {
                    ts_ms += 999 - ts_ms.rem_euclid(1000);
                }
                Arrived {
                    k: ["a", "b", "c", "d", "e"][random.below(5) as usize].into(),
                    v: random.below(6) as i64,
                    w: w as i64,
                    ts_ms,
                    watermark_ms: i64::MIN,
                    fold: 0,
                }
            };
            (0..count).map(row).collect()
        };
        let files = (0..file_count).map(file).collect();
        Self { files, lateness_ms: [0, 700, 1000][random.below(3) as usize] }
    }

    /// All rows in the order of the sequence: files are smaller than a turn, so they come one after the other, and the watermark
    /// stands while one waits.
    pub(crate) fn arrivals(&self) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        let read = self.files.iter().filter(|rows| !rows.is_empty());
        let count = read.clone().count();
        for (index, rows) in read.enumerate() {
            let mut watermark_ms = i64::MIN;
            for row in rows {
                let seen_ms = if index + 1 == count { watermark_ms } else { i64::MIN };
                arrived.push(Arrived { watermark_ms: seen_ms, ..row.clone() });
                watermark_ms = watermark_ms.max(row.ts_ms - DELAY_MS);
            }
        }
        arrived
    }

    /// How many rows are late for adjacent windows.
    pub(crate) fn late_ms(&self, size_ms: i64) -> u64 {
        let arrived = self.arrivals();
        let is_late = |row: &&Arrived| {
            row.ts_ms - row.ts_ms.rem_euclid(size_ms) + size_ms - 1 <= row.watermark_ms
        };
        arrived.iter().filter(is_late).count() as u64
    }

    /// Writes the files into a folder.
    pub(crate) fn write(&self, folder: &Path) {
        for (index, rows) in self.files.iter().enumerate() {
            let mut text = String::new();
            for Arrived { k, v, w, ts_ms, .. } in rows {
                let ts = time_text(*ts_ms);
                writeln!(text, "{}", json!({"ts": ts, "k": k, "v": v, "w": w})).unwrap();
            }
            std::fs::write(folder.join(format!("part-{index}")), text).unwrap();
        }
    }
}

/// A time as JSON has it.
pub(crate) fn time_text(ms: i64) -> String {
    let mut text = Vec::new();
    tidemill::batch::text::write_timestamp_trimmed(&mut text, ms, 3, b' ');
    String::from_utf8(text).unwrap()
}

/// A row of the sink.
pub(crate) fn line(k: &str, a: i64, b: i64, fold: i64) -> Value {
    json!({"op": "+I", "k": k, "a": a, "b": b, "fold": fold})
}

/// Rows of a sink in an order of their own.
fn sorted(mut rows: Vec<Value>) -> Vec<String> {
    let mut lines: Vec<String> = rows.drain(..).map(|row| row.to_string()).collect();
    lines.sort();
    lines
}

/// Fails with the rows that are there and should not be, and the other way round.
fn assert_rows(name: &str, rows: Vec<Value>, expected: &[String]) {
    let mut rest = expected.to_vec();
    let mut extra = sorted(rows);
    extra.retain(|row| match rest.iter().position(|other| other == row) {
        Some(index) => {
            rest.remove(index);
            false
        }
        None => true,
    });
    assert!(extra.is_empty() && rest.is_empty(), "{name}: not {rest:#?} but {extra:#?}");
}

fn parsed(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An input on disk.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(input: &Input) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        input.write(&folder.path().join("in"));
        Self { folder }
    }

    /// The folder with the input.
    pub(crate) fn input(&self) -> String {
        self.folder.path().join("in").display().to_string()
    }

    pub(crate) fn plan(&self, case: &Case, output: &str, chunk_bytes: u64) -> Plan {
        let input = self.input();
        let Case { settings, select, pieces, beside, .. } = case;
        plan(settings, &input, select, pieces, beside, output, chunk_bytes)
    }

    /// A run without state; what it wrote.
    pub(crate) fn run(
        &self,
        case: &Case,
        shards: usize,
        runtime: RuntimeKind,
        chunk_bytes: u64,
        ring_slots: usize,
    ) -> (Report, Vec<Value>) {
        let output = self.folder.path().join("rows.jsonl");
        let plan = self.plan(case, &output.display().to_string(), chunk_bytes);
        let job = Launch::new(&plan, Some(shards), Some(runtime)).unwrap().ring_slots(ring_slots);
        let report = job.run();
        let rows = parsed(&std::fs::read(&output).unwrap_or_default());
        let _ = std::fs::remove_file(&output);
        (report, rows)
    }

    /// A life of a durable job.
    pub(crate) fn live(
        &self,
        case: &Case,
        disk: &SimDisk,
        shards: usize,
        runtime: RuntimeKind,
    ) -> Report {
        self.live_on(case, disk, shards, runtime, Fresh::GoOn)
    }

    /// What a durable job has shown.
    pub(crate) fn shown(disk: &SimDisk) -> Vec<Value> {
        parsed(&disk.content(Path::new(SINK)).unwrap_or_default())
    }

    /// The same, for a plan that may have changed.
    pub(crate) fn live_on(
        &self,
        case: &Case,
        disk: &SimDisk,
        shards: usize,
        runtime: RuntimeKind,
        fresh: Fresh,
    ) -> Report {
        let plan = self.plan(case, SINK, 60);
        let state = StateOptions {
            folder: STATE.into(),
            storage: Arc::new(disk.clone()),
            fresh,
            interval_ms: 0,
            retained_count: 1,
            memory_bytes: 1 << 20,
            pid: 1,
        };
        Launch::new(&plan, Some(shards), Some(runtime)).unwrap().ring_slots(2).state(state).run()
    }
}

fn seeds() -> u64 {
    std::env::var("SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"))
}

/// Runs a case over many inputs.
pub(crate) fn check(name: &str, case: impl Fn(&Input) -> Case) {
    for seed in 0..seeds() {
        let mut random = Random::new(seed);
        let input = Input::draw(&mut random);
        let (case, world) = (case(&input), World::new(&input));
        check_seed(&format!("{name}, seed {seed}"), &world, &case, &mut random);
    }
    check_resumed();
}

/// Runs a case whose outcome one shard tells.
pub(crate) fn check_alike(
    name: &str,
    settings: String,
    select: &str,
    pieces: impl Fn(&Input) -> Vec<Piece>,
) {
    let mut row_count = 0;
    for seed in 0..seeds() {
        let mut random = Random::new(seed);
        let input = Input::draw(&mut random);
        let world = World::new(&input);
        let mut case = Case {
            pieces: pieces(&input),
            select: select.into(),
            settings: settings.clone(),
            ..Case::default()
        };
        let (report, rows) = world.run(&case, 1, RuntimeKind::Sim(0), 1 << 20, 64);
        assert!(report.failure.is_none(), "{name}, seed {seed}: {:?}", report.failure);
        case.expected = rows;
        case.late = report.late.iter().map(|(_, late)| late.count).sum();
        row_count += case.expected.len();
        check_seed(&format!("{name}, seed {seed}"), &world, &case, &mut random);
    }
    assert!(row_count > 0, "{name}: nothing came of it");
    check_resumed();
}

fn check_seed(name: &str, world: &World, case: &Case, random: &mut Random) {
    let expected = sorted(case.expected.clone());
    for shards in 1..4 {
        for chunk_bytes in [40, 300, 1 << 20] {
            let runtime = RuntimeKind::Sim(random.next_u64());
            let ring_slots = [1, 2, 64][random.below(3) as usize];
            let (report, rows) = world.run(case, shards, runtime, chunk_bytes, ring_slots);
            let name = format!("{name}, {shards} shards, chunks of {chunk_bytes} bytes");
            assert!(report.failure.is_none(), "{name}: {:?}", report.failure);
            assert_rows(&name, rows, &expected);
            let late: u64 = report.late.iter().map(|(_, late)| late.count).sum();
            assert_eq!(late, case.late, "{name}: late rows");
        }
    }
    let threads = [RuntimeKind::Poll, RuntimeKind::detect()][random.below(2) as usize];
    let (report, rows) = world.run(case, 2, threads, 100, 64);
    assert!(report.failure.is_none(), "{name}, on threads: {:?}", report.failure);
    assert_rows(&format!("{name}, on threads"), rows, &expected);
    die(name, world, case, random, &expected);
}

/// How many values the newest snapshot holds.
fn value_count(disk: &SimDisk) -> u64 {
    let found = inspect(disk, Path::new(STATE), None).unwrap().expect("there is a snapshot");
    let censuses = found.spaces.iter().flatten().filter_map(|space| space.census);
    censuses.map(|census| census.groups).sum()
}

/// Lives that went on from a snapshot, and those that did so on another number of shards.
static RESUMED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Deaths must find the jobs in their midst.
fn check_resumed() {
    assert!(RESUMED.iter().all(|count| count.load(Ordering::Relaxed) > 5), "{RESUMED:?}");
}

/// Lives and dies until the job is done, each time on another number of shards.
fn die(name: &str, world: &World, case: &Case, random: &mut Random, expected: &[String]) {
    let disk = SimDisk::new(random.next_u64());
    let mut before = 0;
    for life in 0..40 {
        let steps = if life < 30 { 20 + random.below(100) } else { 1_000_000 };
        let runtime = RuntimeKind::Dying { seed: random.next_u64(), steps };
        let shards = 1 + random.below(3) as usize;
        let report = world.live(case, &disk, shards, runtime);
        if report.went_on_from.as_ref().is_some_and(|from| from.rows > 0 && !from.finished) {
            RESUMED[0].fetch_add(1, Ordering::Relaxed);
            RESUMED[1].fetch_add(u64::from(shards != before), Ordering::Relaxed);
        }
        before = shards;
        match report.failure {
            None => {
                let rows = World::shown(&disk);
                assert_rows(&format!("{name}, after {life} deaths"), rows, expected);
                assert!(!case.forgets || value_count(&disk) == 0, "{name}: values are left");
                return;
            }
            Some(JobError::Killed) if random.below(2) == 0 => disk.crash(random.next_u64()),
            Some(JobError::Killed) => disk.kill(),
            Some(failure) => panic!("{name}: life {life} ended with {failure}"),
        }
    }
    panic!("{name}: it never came to its end");
}
