//! The command line.
//!
//! What is wrong with it is said in a sentence, with what would be right; nothing panics on a word.

use std::path::PathBuf;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Runs Tidemill's workloads, checks every answer, prints medians.

    cargo build --release && cargo run --release -p tidemill-bench -- [SUITE] [OPTION VALUE]…

Suites:
  files      (if none is named) the workloads from CSV and JSON through the real binary
  compare    Tidemill beside its peers: loops written by hand, timely, renoir, DuckDB, Polars, DataFusion, Flink
  state      what durable state costs; parts: throughput, pause, bytes, memory, recovery (all if none is named)
  library    the typed builder beside SQL
  growth     as a load grows: keys, slide, disorder, late, skew, width, early, snapshots, state, shards,
             shards-many (words of --only)
  latency    from a row's due time to its result: tumble, early, timer, flink (words of --only)

Options:
  --rows N           rows generated                        10000000
  --runs N           times each is run; medians count      3
  --shards N[,N]     shards; `compare` takes several       2; compare: 1,2
  --only LIST        w0 … w5; for `compare` also engines, contestants, and memory, records, csv, json
  --seconds N        for `latency`: how long each load lasts       30
  --time-limit N     for `compare`: after so many seconds a contestant is ended       300
  --formats LIST     for `files`                           csv,json
  --contestants LIST for `compare`: engines or contestants; ours, loop, timely, renoir, duckdb, polars, datafusion, flink
  --binary PATH      the tidemill that is run              target/release/tidemill

Data, results and the peers' own builds and environments lie in target/bench.
";

/// What the command line asks for.
pub(crate) struct Settings {
    /// The suite and its parts.
    pub(crate) words: Vec<String>,
    pub(crate) rows: u64,
    pub(crate) runs: usize,
    /// The most of `shard_counts`.
    pub(crate) shards: usize,
    /// Empty: what the suite likes.
    pub(crate) shard_counts: Vec<usize>,
    pub(crate) seconds: u64,
    pub(crate) time_limit_seconds: u64,
    pub(crate) formats: Vec<String>,
    pub(crate) only: Vec<String>,
    pub(crate) contestants: Vec<String>,
    pub(crate) binary: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) wants_help: bool,
}

/// Reads the command line.
///
/// # Errors
///
/// What is wrong with it, and what would be right.
pub(crate) fn read(args: impl Iterator<Item = String>) -> Result<Settings, String> {
    let mut settings = Settings {
        words: Vec::new(),
        rows: 10_000_000,
        runs: 3,
        shards: 2,
        shard_counts: Vec::new(),
        seconds: 30,
        time_limit_seconds: 300,
        formats: vec!["csv".into(), "json".into()],
        only: Vec::new(),
        contestants: Vec::new(),
        binary: PathBuf::from("target/release/tidemill"),
        folder: PathBuf::from("target/bench"),
        wants_help: false,
    };
    let mut args = args;
    while let Some(argument) = args.next() {
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        match option.as_str() {
            "--help" | "-h" | "help" => settings.wants_help = true,
            option if !option.starts_with('-') => settings.words.push(option.to_owned()),
            option => settings.set(option, value.or_else(|| args.next()))?,
        }
    }
    Ok(settings)
}

impl Settings {
    fn set(&mut self, option: &str, value: Option<String>) -> Result<(), String> {
        const OPTIONS: &str = "--rows, --runs, --shards, --only, --seconds, --time-limit, --formats, --contestants, --binary, --help";
        let value = || value.ok_or_else(|| format!("{option} needs a value, as in `{option} 2`"));
        match option {
            "--rows" => self.rows = number(option, &value()?)?,
            "--runs" => self.runs = number(option, &value()?)? as usize,
            "--shards" => {
                let counts = words(&value()?).into_iter();
                let counts = counts.map(|count| Ok(number(option, &count)? as usize));
                self.shard_counts = counts.collect::<Result<_, String>>()?;
                self.shards = *self.shard_counts.iter().max().ok_or("--shards needs a number")?;
            }
            "--seconds" => self.seconds = number(option, &value()?)?,
            "--time-limit" => self.time_limit_seconds = number(option, &value()?)?,
            "--only" => self.only = words(&value()?),
            "--contestants" => self.contestants = words(&value()?),
            "--formats" => {
                self.formats = words(&value()?);
                if let Some(format) =
                    self.formats.iter().find(|format| !["csv", "json"].contains(&format.as_str()))
                {
                    return Err(format!("--formats takes csv and json, not '{format}'"));
                }
            }
            "--binary" => self.binary = value()?.into(),
            _ => return Err(format!("there is no option {option}; there are {OPTIONS}")),
        }
        Ok(())
    }

    /// Checks that `--only` names workloads of a suite's alone.
    ///
    /// # Errors
    ///
    /// The first word that is none of `names`.
    pub(crate) fn check_only(&self, names: &[&str]) -> Result<(), String> {
        match self.only.iter().find(|only| !names.contains(&only.as_str())) {
            Some(word) => {
                Err(format!("--only: there is no '{word}'; there are {}", names.join(", ")))
            }
            None => Ok(()),
        }
    }

    /// Whether `--only` leaves it in.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// A list in lower case.
fn words(list: &str) -> Vec<String> {
    list.split(',').map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect()
}

fn number(option: &str, value: &str) -> Result<u64, String> {
    match value.replace('_', "").parse() {
        Ok(0) | Err(_) => {
            Err(format!("{option} takes a number from 1 on, not '{value}', as in `{option} 2`"))
        }
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        read(line.split(' ').map(str::to_owned)).err().unwrap_or_default()
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_right() {
        assert_eq!(error("compare --rows"), "--rows needs a value, as in `--rows 2`");
        let zero = error("--runs 0");
        assert_eq!(zero, "--runs takes a number from 1 on, not '0', as in `--runs 2`");
        assert!(error("--row 5").starts_with("there is no option --row; there are --rows, "));
        assert_eq!(error("--formats csv,xml"), "--formats takes csv and json, not 'xml'");
    }

    #[test]
    fn words_and_options_mix() {
        let line = "state --rows=1_000 pause --shards 1,4 --only W1,csv";
        let settings = read(line.split(' ').map(str::to_owned)).ok().unwrap();
        assert_eq!(settings.words, ["state", "pause"]);
        assert_eq!((settings.rows, settings.shards), (1000, 4));
        assert_eq!(settings.only, ["w1", "csv"]);
        let unknown = settings.check_only(&["w1", "w2"]).unwrap_err();
        assert_eq!(unknown, "--only: there is no 'csv'; there are w1, w2");
    }
}
