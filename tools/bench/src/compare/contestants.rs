//! Who there is, and who is asked for.

use crate::Settings;

use super::process::Run;

pub(super) const WORKLOADS: [&str; 6] = ["w0", "w1", "w2", "w3", "w4", "w5"];

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Memory,
    Records,
    Csv,
    Json,
}

impl Input {
    const ALL: [Self; 4] = [Self::Memory, Self::Records, Self::Csv, Self::Json];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Records => "records",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// What has to be there before a contestant can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// This binary.
    Ours,
    /// A package of the workspace `tools/peers`.
    Rust(&'static str),
    /// The script `tools/peers/python/batch.py`.
    Python,
    /// The program in `tools/peers/flink`.
    Flink,
}

/// At how many shards it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shards {
    /// It has one thread.
    One,
    /// At each count that is asked for.
    Each,
    /// At the highest alone.
    Most,
}

/// A contestant from one input.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) engine: &'static str,
    /// What the program calls it.
    pub(super) variant: &'static str,
    pub(super) input: Input,
    pub(super) program: Program,
    shards: Shards,
    workloads: &'static [&'static str],
}

impl Contestant {
    const fn new(
        engine: &'static str,
        variant: &'static str,
        input: Input,
        program: Program,
        shards: Shards,
    ) -> Self {
        Self { engine, variant, input, program, shards, workloads: &WORKLOADS }
    }

    const fn only(mut self, workloads: &'static [&'static str]) -> Self {
        self.workloads = workloads;
        self
    }

    /// Its name: the engine, and which of the engine's if there are several from one input.
    pub(super) fn name(&self) -> String {
        match self.program {
            Program::Rust(_) if self.engine != self.variant => {
                format!("{}-{}", self.engine, self.variant)
            }
            _ => self.engine.to_owned(),
        }
    }

    /// Its name with its input.
    fn full_name(&self) -> String {
        format!("{}-{}", self.name(), self.input.name())
    }

    fn is_called(&self, word: &str) -> bool {
        word == self.engine || word == self.name() || word == self.full_name()
    }
}

const LOOPS: Program = Program::Rust("peer-loops");

/// The plain loop: it says what is right.
pub(super) const JUDGE: Contestant =
    Contestant::new("loop", "hash", Input::Memory, LOOPS, Shards::One);

/// All of them, in the order of their turns.
static CONTESTANTS: [Contestant; 20] = [
    Contestant::new("ours", "ours", Input::Memory, Program::Ours, Shards::Each),
    JUDGE,
    Contestant::new("loop", "dense", Input::Memory, LOOPS, Shards::One).only(&["w0", "w1", "w3"]),
    Contestant::new("loop", "radix", Input::Memory, LOOPS, Shards::One).only(&["w2", "w4", "w5"]),
    Contestant::new("timely", "timely", Input::Memory, Program::Rust("peer-timely"), Shards::Each),
    Contestant::new("renoir", "renoir", Input::Memory, Program::Rust("peer-renoir"), Shards::Each),
    Contestant::new("ours", "ours", Input::Records, Program::Ours, Shards::Each),
    Contestant::new("ours", "ours", Input::Csv, Program::Ours, Shards::Each),
    Contestant::new("ours", "ours", Input::Json, Program::Ours, Shards::Each),
    batch("duckdb", Input::Memory),
    batch("polars", Input::Memory),
    batch("datafusion", Input::Memory),
    batch("duckdb", Input::Csv),
    batch("polars", Input::Csv),
    batch("datafusion", Input::Csv),
    batch("duckdb", Input::Json),
    batch("polars", Input::Json),
    batch("datafusion", Input::Json),
    Contestant::new("flink", "flink", Input::Csv, Program::Flink, Shards::Most),
    Contestant::new("flink", "flink", Input::Json, Program::Flink, Shards::Most),
];

/// A batch engine: it uses as many threads as there are shards at most.
const fn batch(engine: &'static str, input: Input) -> Contestant {
    Contestant::new(engine, engine, input, Program::Python, Shards::Most)
}

/// A line of the table: a contestant on a workload.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) contestant: &'static Contestant,
    pub(super) workload: &'static str,
    pub(super) shards: usize,
    pub(super) runs: Vec<Run>,
    pub(super) failures: Vec<String>,
    /// A run took longer than it may.
    pub(super) is_ended: bool,
}

impl Line {
    pub(super) fn new(
        contestant: &'static Contestant,
        workload: &'static str,
        shards: usize,
    ) -> Self {
        let (runs, failures) = (Vec::new(), Vec::new());
        Self { contestant, workload, shards, runs, failures, is_ended: false }
    }
}

/// The lines that are asked for.
///
/// # Errors
///
/// A word that names nothing; words that leave nothing.
pub(super) fn lines(settings: &Settings) -> Result<Vec<Line>, String> {
    let wanted = Wanted::new(settings)?;
    let counts =
        if settings.shard_counts.is_empty() { &[1, 2] } else { &settings.shard_counts[..] };
    let mut lines = Vec::new();
    for workload in WORKLOADS.into_iter().filter(|workload| wanted.has_workload(workload)) {
        let able = CONTESTANTS.iter().filter(|contestant| contestant.workloads.contains(&workload));
        for contestant in able.filter(|contestant| wanted.has(contestant)) {
            let counts = match contestant.shards {
                Shards::One => &[1],
                Shards::Each => counts,
                Shards::Most => &counts[counts.len() - 1..],
            };
            lines.extend(counts.iter().map(|&count| Line::new(contestant, workload, count)));
        }
    }
    if lines.is_empty() {
        return Err("what --only and --contestants leave over does not meet in anybody".into());
    }
    Ok(lines)
}

/// The words of `--only` and `--contestants` by what they name.
struct Wanted {
    workloads: Vec<String>,
    inputs: Vec<String>,
    only: Vec<String>,
    contestants: Vec<String>,
}

impl Wanted {
    fn new(settings: &Settings) -> Result<Self, String> {
        let (mut workloads, mut inputs, mut only) = (Vec::new(), Vec::new(), Vec::new());
        for word in &settings.only {
            if WORKLOADS.contains(&word.as_str()) {
                workloads.push(word.clone());
            } else if Input::ALL.iter().any(|input| input.name() == word) {
                inputs.push(word.clone());
            } else {
                only.push(word.clone());
            }
        }
        let contestants = settings.contestants.clone();
        for word in only.iter().chain(&contestants) {
            if !CONTESTANTS.iter().any(|contestant| contestant.is_called(word)) {
                return Err(format!("there is no '{word}'; there are {}", known()));
            }
        }
        Ok(Self { workloads, inputs, only, contestants })
    }

    fn has_workload(&self, workload: &str) -> bool {
        self.workloads.is_empty() || self.workloads.iter().any(|word| word == workload)
    }

    fn has(&self, contestant: &Contestant) -> bool {
        let called = |words: &[String]| {
            words.is_empty() || words.iter().any(|word| contestant.is_called(word))
        };
        let input = contestant.input.name();
        let has_input = self.inputs.is_empty() || self.inputs.iter().any(|word| word == input);
        has_input && called(&self.only) && called(&self.contestants)
    }
}

/// What `--only` takes.
fn known() -> String {
    let mut words: Vec<String> = WORKLOADS.map(str::to_owned).into();
    words.extend(Input::ALL.map(|input| input.name().to_owned()));
    for contestant in &CONTESTANTS {
        words.extend([contestant.engine.to_owned(), contestant.name()]);
    }
    let mut seen = std::collections::HashSet::new();
    words.retain(|word| seen.insert(word.clone()));
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        let settings = crate::settings::read(line.split(' ').map(str::to_owned)).ok().unwrap();
        let lines = lines(&settings).unwrap_or_default();
        let name = |line: &Line| {
            format!("{} {} {}", line.workload, line.contestant.full_name(), line.shards)
        };
        lines.iter().map(name).collect()
    }

    #[test]
    fn words_narrow_by_kind() {
        assert_eq!(
            names("compare --only W1,W2,loop,ours-csv --shards 2"),
            [
                "w1 loop-hash-memory 1",
                "w1 loop-dense-memory 1",
                "w1 ours-csv 2",
                "w2 loop-hash-memory 1",
                "w2 loop-radix-memory 1",
                "w2 ours-csv 2",
            ]
        );
        assert_eq!(
            names("compare --only w4,memory --contestants ours"),
            ["w4 ours-memory 1", "w4 ours-memory 2"]
        );
    }

    #[test]
    fn unknown_words_are_told() {
        let line = "compare --contestants spark".split(' ').map(str::to_owned);
        let settings = crate::settings::read(line).ok().unwrap();
        let error = lines(&settings).unwrap_err();
        assert!(error.starts_with("there is no 'spark'; there are w0, w1, "), "{error}");
        assert!(names("compare --only csv,loop").is_empty());
    }
}
