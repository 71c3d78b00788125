//! A case in its surroundings: input files, a script whose sinks lie on a simulated disk, what an undisturbed run gives.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tidemill::job::{Fresh, RuntimeKind, StateOptions};
use tidemill::plan::Plan;
use tidemill::sys::random::Random;
use tidemill::sys::storage::SimDisk;

use crate::draw::{Case, cases, nested_cases};
use crate::engine::{Life, Setting, live, user};
use crate::graft::{late_table, read_late, select_all};
use crate::lines::{
    Groups, canonical, groups, late_of_engine, late_of_oracle, lines_of_engine, lines_of_oracle,
    turns,
};
use crate::model::{Call, Field, Format, Function, Query};
use crate::reference::{arrivals, expected};

/// Where the state lies on the disk.
pub(crate) const STATE: &str = "/job/deep/state";
/// A job of some tens of rows that takes more steps than this hangs.
pub(crate) const STEPS_MAX: u64 = 3_000_000;
/// A record that cannot be read.
const MALFORMED: &str = "{\"ts\":\n";

/// A case in its surroundings.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) case: Case,
    pub(crate) shards: usize,
    pub(crate) chunk_bytes: u64,
    /// The result goes to one file, not to a directory.
    pub(crate) plain: bool,
    /// Parts of the directory are finished at so many bytes.
    pub(crate) rolling: bool,
    /// A second sink takes the rows of the input.
    pub(crate) raw: bool,
    /// Users' functions take the place of ours.
    pub(crate) user: bool,
    /// A last sink takes the rows that are late.
    pub(crate) reads_late: bool,
    pub(crate) script: String,
    /// What an undisturbed run gives.
    pub(crate) truth: Truth,
    inputs: tempfile::TempDir,
}

/// What an undisturbed run gives.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) groups: Groups,
    pub(crate) raw: Vec<String>,
    pub(crate) late_rows: Vec<String>,
    pub(crate) rows: u64,
    pub(crate) malformed: u64,
    pub(crate) late: u64,
}

/// Draws from one of the oracle's strategies.
fn draw<S: Strategy>(strategy: S, random: &mut Random) -> S::Value {
    let seed: Vec<u8> = (0..4).flat_map(|_| random.next_u64().to_le_bytes()).collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).expect("cases can be drawn").current()
}

/// A folder in memory where there is one: a sink without state syncs what it writes.
fn folder() -> Result<tempfile::TempDir, String> {
    let made = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    made.map_err(|error| error.to_string())
}

/// One of these.
pub(crate) fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize]
}

impl World {
    /// The world of a seed.
    pub(crate) fn new(seed: u64, random: &mut Random) -> Result<Self, String> {
        let case = match random.below(9) {
            0..3 => draw(cases(false, 1..2, 8..80), random),
            3..5 => draw(cases(true, 1..2, 8..80), random),
            5 => draw(cases(false, 2..4, 0..25), random),
            6 => draw(cases(true, 2..4, 0..25), random),
            _ => draw(nested_cases(), random),
        };
        let malformed = case.format == Format::Json && random.below(4) == 0;
        let mut world = Self {
            seed,
            shards: 1 + random.below(4) as usize,
            chunk_bytes: pick(random, &[16, 50, 150]),
            plain: random.below(2) == 0,
            rolling: random.below(4) == 0,
            raw: random.below(3) == 0,
            user: seed.is_multiple_of(3),
            // Not drawn, so that seeds tell the stories that they told before there were any.
            reads_late: seed.is_multiple_of(2),
            script: String::new(),
            truth: Truth::default(),
            inputs: folder()?,
            case,
        };
        let paths = world.write_inputs(malformed)?;
        world.script = world.script_to("/out", &paths, malformed);
        world.find_truth(&paths, malformed)?;
        Ok(world)
    }

    fn write_inputs(&self, malformed: bool) -> Result<Vec<String>, String> {
        let mut paths = Vec::new();
        for (index, rows) in self.case.streams.iter().enumerate() {
            let mut records = self.case.format.records(rows, self.case.padding);
            if malformed {
                records.iter_mut().step_by(5).for_each(|record| record.push_str(MALFORMED));
            }
            let path = self.inputs.path().join(format!("part-{index}"));
            std::fs::write(&path, records.concat()).map_err(|error| error.to_string())?;
            paths.push(path.display().to_string());
        }
        let folder = self.inputs.path().display().to_string();
        Ok(if self.case.directory { vec![folder] } else { paths })
    }

    /// The result's sink in `folder`.
    pub(crate) fn sink(&self, folder: &str) -> String {
        format!("{folder}/{}", if self.plain { "rows.jsonl" } else { "rows" })
    }

    /// The script, with sinks in `folder`.
    fn script_to(&self, folder: &str, paths: &[String], malformed: bool) -> String {
        let (query, sink) = (&self.case.query, self.sink(folder));
        let mut text = query.views(paths, self.case.format);
        if malformed {
            let skip = "'format' = 'json', 'json.ignore-parse-errors' = 'true'";
            text = text.replace("'format' = 'json'", skip);
        }
        let rolling = match !self.plain && self.rolling {
            true => ", 'sink.rolling-policy.file-size' = '200b'",
            false => "",
        };
        writeln!(
            text,
            "CREATE TABLE sink ({}) WITH ('connector' = 'filesystem', 'path' = '{sink}', 'format' = 'json', \
             'json.encode.decimal-as-plain-number' = 'true', 'sink.changelog' = 'true'{rolling});",
            columns(query, self.reads_late)
        )
        .unwrap();
        let mut inserts = format!("INSERT INTO sink {};\n", query.select());
        if self.raw {
            writeln!(
                text,
                "CREATE TABLE raw_rows (k STRING, w BIGINT) WITH ('connector' = 'filesystem', 'path' = '{folder}/raw.jsonl', \
                 'format' = 'json');"
            )
            .unwrap();
            inserts.insert_str(0, "INSERT INTO raw_rows SELECT k, w FROM t0;\n");
        }
        if self.reads_late {
            let (table, insert) = late_table(&format!(
                "'connector' = 'filesystem', 'path' = '{folder}/late.jsonl', 'format' = 'json', \
                 'json.encode.decimal-as-plain-number' = 'true'"
            ));
            text += &table;
            inserts = inserts.replace(&query.select(), &select_all(query)) + &insert;
        }
        text + "EXECUTE STATEMENT SET BEGIN\n" + &inserts + "END;\n"
    }

    /// What becomes of the script's plan.
    fn edit(&self, mut plan: Plan) -> Plan {
        if self.user {
            user::take_over(&mut plan);
        }
        if self.reads_late { read_late(plan) } else { plan }
    }

    /// Runs undisturbed, without state, and naively.
    fn find_truth(&mut self, paths: &[String], malformed: bool) -> Result<(), String> {
        let folder = folder()?;
        let script = self.script_to(&folder.path().display().to_string(), paths, malformed);
        let runtime = RuntimeKind::Sim(self.seed);
        let edit = |plan| self.edit(plan);
        let life = live(&script, &edit, self.setting(runtime, self.shards, 64), None);
        if let Some(failure) = life.failure {
            return Err(format!("undisturbed: {failure}\n{script}"));
        }
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let sink = self.sink(&folder.path().display().to_string());
        let mut names = vec![sink.clone()];
        if let Ok(entries) = std::fs::read_dir(&sink) {
            names = entries.map(|entry| entry.unwrap().path().display().to_string()).collect();
        }
        names.sort_by_key(|name| number(name));
        let rows = names.iter().map(|name| read(Path::new(name))).collect::<Vec<_>>().concat();
        let lines = lines_of_engine(&self.case.query, &parse(&rows)?);
        let ours = canonical(&self.case.query, lines.clone());
        let splits = self.case.streams.iter().map(|rows| {
            let records = self.case.format.records(rows, self.case.padding);
            turns(rows, &records)
        });
        let oracle = expected(&self.case.query, &arrivals(splits.collect(), self.case.query.delay));
        let theirs = canonical(&self.case.query, lines_of_oracle(&oracle));
        if ours != theirs {
            let message =
                "the undisturbed run differs from the oracle, which is a matter for that suite";
            return Err(format!("{message}:\n{script}\n{ours:#?}\n{theirs:#?}"));
        }
        let late = late_of_engine(&parse(&read(&folder.path().join("late.jsonl")))?);
        let expected_late = late_of_oracle(&self.case.query, &oracle);
        if self.reads_late && late != expected_late {
            return Err(format!("undisturbed, these were late:\n{late:#?}\n{expected_late:#?}"));
        }
        let mut raw = text_lines(&read(&folder.path().join("raw.jsonl")));
        raw.sort();
        self.truth = Truth {
            groups: groups(&self.case.query, lines),
            raw,
            late_rows: late,
            rows: life.totals.rows,
            malformed: life.totals.malformed,
            late: life.late_count,
        };
        Ok(())
    }

    fn setting(&self, runtime: RuntimeKind, shards: usize, slots: usize) -> Setting {
        let chunk_bytes = self.chunk_bytes;
        Setting { shards, runtime, chunk_bytes, ring_slots: Some(slots) }
    }

    /// One life on `disk`.
    pub(crate) fn live(&self, disk: &SimDisk, life: &Draft) -> Life {
        let state = StateOptions {
            folder: STATE.into(),
            storage: Arc::new(disk.clone()),
            fresh: Fresh::GoOn,
            interval_ms: life.interval_ms,
            retained_count: life.retained_count,
            memory_bytes: life.memory_bytes,
            pid: 1,
        };
        let runtime = RuntimeKind::Dying { seed: life.seed, steps: life.steps };
        let setting = self.setting(runtime, life.shards, life.ring_slots);
        live(&self.script, &|plan| self.edit(plan), setting, Some(state))
    }

    /// What a person needs to see of a failure.
    pub(crate) fn describe(&self) -> String {
        let functions = if self.user { ", users' functions" } else { "" };
        let mut text =
            format!("{} shards, chunks of {} bytes{functions}\n", self.shards, self.chunk_bytes);
        text += &self.script;
        for rows in &self.case.streams {
            text += "-- input\n";
            text += &self.case.format.records(rows, 0).concat();
        }
        text
    }
}

/// How a life is lived.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) seed: u64,
    /// Killed after so many steps.
    pub(crate) steps: u64,
    /// Mostly the world's.
    pub(crate) shards: usize,
    pub(crate) ring_slots: usize,
    pub(crate) interval_ms: u64,
    pub(crate) retained_count: usize,
    pub(crate) memory_bytes: u64,
}

impl Draft {
    pub(crate) fn draw(world: &World, random: &mut Random) -> Self {
        let another = 1 + random.below(4) as usize;
        Self {
            seed: random.next_u64(),
            steps: STEPS_MAX,
            shards: if random.below(6) == 0 { another } else { world.shards },
            ring_slots: pick(random, &[1, 2, 64]),
            interval_ms: pick(random, &[0, 0, 0, 0, 0, 3]),
            retained_count: 1 + random.below(3) as usize,
            memory_bytes: pick(random, &[0, 50_000, 300_000, 1 << 20, 1 << 30]),
        }
    }
}

/// `counted`: every column of the input is counted.
fn columns(query: &Query, counted: bool) -> String {
    let times = ["ws", "we", "wt"].iter().map(|name| format!("{name} TIMESTAMP(3)"));
    let keys = query.keys.iter().enumerate().map(|(at, key)| format!("g{at} {}", field_type(*key)));
    let calls = query.calls.iter().enumerate();
    let calls = calls.map(|(at, call)| format!("a{at} {}", call_type(*call)));
    let counts = (0..if counted { 6 } else { 0 }).map(|at| format!("x{at} BIGINT"));
    times.chain(keys).chain(calls).chain(counts).collect::<Vec<_>>().join(", ")
}

fn field_type(field: Field) -> &'static str {
    match field {
        Field::K | Field::S => "STRING",
        Field::V => "INT",
        Field::W => "BIGINT",
        Field::D => "DOUBLE",
        Field::M => "DECIMAL(10, 2)",
    }
}

fn call_type(call: Call) -> &'static str {
    match (call.function, call.field) {
        (Function::CountRows | Function::Count | Function::CountPairs, _) => "BIGINT",
        (Function::Sum, Field::M) => "DECIMAL(38, 2)",
        (Function::Avg, Field::M) => "DECIMAL(38, 6)",
        (_, field) => field_type(field),
    }
}

/// The number at the end of a part's name.
pub(crate) fn number(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whole lines of JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<serde_json::Value>, String> {
    let line = |line: String| {
        serde_json::from_str(&line).map_err(|error| format!("{line:?} is no row: {error}"))
    };
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        return Err("the last row has no end".into());
    }
    text_lines(bytes).into_iter().map(line).collect()
}

pub(crate) fn text_lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}
