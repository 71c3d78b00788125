//! What a contestant is asked, and how it reports.

use std::time::Instant;

use crate::{Answer, Click, read_clicks};

/// What a contestant is asked to run.
#[derive(Clone, Debug)]
pub struct Task {
    /// `w0` … `w5`.
    pub workload: String,
    /// `memory`, `records`, `csv` or `json`.
    pub input: String,
    /// Which of a program's contestants.
    pub variant: String,
    /// Shards, workers or threads.
    pub shards: usize,
    /// How many rows there are.
    pub rows: usize,
    /// The file to read.
    pub data: String,
}

impl Task {
    /// Reads the command line, and ends the process with a word if it is not one.
    pub fn from_args(args: impl Iterator<Item = String>) -> Self {
        let mut task = Self {
            workload: "w1".into(),
            input: "memory".into(),
            variant: String::new(),
            shards: 1,
            rows: 0,
            data: String::new(),
        };
        let mut args = args;
        while let Some(option) = args.next() {
            let Some(value) = args.next() else { fail(&format!("{option} needs a value")) };
            match option.as_str() {
                "--workload" => task.workload = value,
                "--input" => task.input = value,
                "--variant" => task.variant = value,
                "--shards" => task.shards = number(&option, &value),
                "--rows" => task.rows = number(&option, &value),
                "--data" => task.data = value,
                _ => fail(&format!(
                    "unknown option {option}; a contestant takes --workload w0…w5, --input, --variant, --shards, --rows, --data"
                )),
            }
        }
        task
    }

    /// The clicks, all or shard `index`'s part of them.
    pub fn clicks(&self, block: usize, index: usize, count: usize) -> Vec<Click> {
        read_clicks(&self.data, block, index, count)
            .unwrap_or_else(|error| fail(&format!("{}: {error}", self.data)))
    }

    /// Times a run over `rows` rows, and reports it.
    pub fn measure(&self, rows: usize, run: impl FnOnce() -> Answer) {
        let start = Instant::now();
        let answer = run();
        self.report(rows, start.elapsed().as_secs_f64(), &answer);
    }

    /// Prints the line that the harness reads.
    pub fn report(&self, rows: usize, seconds: f64, answer: &Answer) {
        let Answer { rows: results, counts, cents, hash } = answer;
        println!(
            "{{\"workload\":\"{}\",\"rows\":{rows},\"seconds\":{seconds:.6},\"results\":{results},\"counts\":{counts},\"cents\":{cents},\"hash\":\"{hash:016x}\"}}",
            self.workload
        );
    }

    /// Ends the process: this contestant has no such workload.
    pub fn unknown(&self) -> ! {
        let Self { workload, variant, input, .. } = self;
        fail(&format!("no workload '{workload}' in variant '{variant}' from '{input}' here"))
    }
}

fn number(option: &str, value: &str) -> usize {
    value.parse().unwrap_or_else(|error| fail(&format!("{option} {value}: {error}")))
}

/// Ends the process with a word.
pub fn fail(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(2)
}
