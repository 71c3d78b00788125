//! Exactly once, from a source and to a sink of the program's own: payments are read from a journal, and what each account got in ten
//! seconds goes to files in a folder. Kill it with `kill -9` whenever you like and start it again: every payment is in the totals once.
//!
//! ```text
//! cargo run --release --example exactly_once -- /tmp/payments
//! ```

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rkyv::{Archive, Serialize};
use tidemill::sink::{SinkConnector, SinkError, SinkWriter};
use tidemill::source::{SourceConnector, SourceError, SplitReader};
use tidemill::{Job, Options, Span, Window, WindowResult};

#[derive(Archive, Serialize)]
struct Payment {
    at_ms: i64,
    account: u32,
    cents: i64,
}

/// A file of payments, one a line, as one split. Its offset is the number of bytes read.
struct Journal(PathBuf);

impl SourceConnector for Journal {
    type Record = Payment;
    type Reader = JournalReader;

    fn bounded(&self) -> bool {
        true
    }

    fn splits(&self) -> Result<Vec<String>, SourceError> {
        Ok(vec!["journal".into()])
    }

    fn open(&self, _split: &str, offset: u64) -> Result<JournalReader, SourceError> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(JournalReader { file: BufReader::new(file), offset })
    }
}

struct JournalReader {
    file: BufReader<File>,
    offset: u64,
}

impl SplitReader for JournalReader {
    type Record = Payment;

    fn read(&mut self, payments: &mut Vec<Payment>) -> Result<Option<u64>, SourceError> {
        // As if it came from far away: two seconds in all, so that there is time to kill it.
        std::thread::sleep(Duration::from_millis(10));
        let mut line = String::new();
        for _ in 0..100 {
            line.clear();
            self.offset += self.file.read_line(&mut line)? as u64;
            let mut numbers = line.split_whitespace().map(str::parse::<i64>);
            let mut next = || numbers.next().transpose();
            let Some(at_ms) = next()? else { break };
            let account = next()?.ok_or("a line without an account")? as u32;
            let cents = next()?.ok_or("a line without an amount")?;
            payments.push(Payment { at_ms, account, cents });
        }
        Ok(if payments.is_empty() { None } else { Some(self.offset) })
    }
}

type Total = WindowResult<u32, (i64, i64)>;

/// A folder of files of totals, one for each part and snapshot. Until the snapshot is on disk its name begins with a dot.
struct Totals(PathBuf);

impl SinkConnector for Totals {
    type Item = Total;
    type Writer = TotalsWriter;

    fn name(&self) -> &str {
        "totals"
    }

    fn writer(&self, part: usize) -> Result<TotalsWriter, SinkError> {
        Ok(TotalsWriter { folder: self.0.clone(), part, text: String::new() })
    }

    fn commit(&self, pending: &str) -> Result<(), SinkError> {
        match fs::rename(self.0.join(format!(".{pending}")), self.0.join(pending)) {
            // It was renamed, and then the process was killed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        Ok(File::open(&self.0)?.sync_all()?)
    }

    fn recover(&self, _committed: &[String]) -> Result<(), SinkError> {
        // No snapshot names what is still hidden: the rows will come again.
        fs::create_dir_all(&self.0)?;
        for name in names(&self.0)?.iter().filter(|name| name.starts_with('.')) {
            fs::remove_file(self.0.join(name))?;
        }
        Ok(())
    }
}

struct TotalsWriter {
    folder: PathBuf,
    part: usize,
    text: String,
}

impl SinkWriter for TotalsWriter {
    type Item = Total;

    fn write(&mut self, total: &Total) -> Result<(), SinkError> {
        let (from_seconds, (count, cents)) = (total.start_ms / 1000, total.value);
        self.text += &format!(
            "from {from_seconds:3} s account {}: {count} payments, {cents} cents\n",
            total.key
        );
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<String>, SinkError> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let name = format!("{}-{epoch}", self.part);
        let mut file = File::create(self.folder.join(format!(".{name}")))?;
        file.write_all(std::mem::take(&mut self.text).as_bytes())?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Some(name))
    }
}

/// The names in a folder.
fn names(folder: &Path) -> Result<Vec<String>, std::io::Error> {
    let name = |entry: Result<fs::DirEntry, std::io::Error>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    fs::read_dir(folder)?.map(name).collect()
}

/// Makes the journal, if this is the first life.
fn make_journal(path: &Path) -> Result<(), std::io::Error> {
    if path.exists() {
        return Ok(());
    }
    let line = |n: i64| format!("{} {} {}\n", n * 30, n % 3, n * n % 100);
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, (0..20_000).map(line).collect::<String>())?;
    fs::rename(unfinished, path)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("say in which folder to work")?;
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder)?;
    let [journal, totals, state] = ["journal", "totals", "state"].map(|name| folder.join(name));
    make_journal(&journal)?;

    Job::new("totals")
        .source("payments", Journal(journal))
        .watermark(|payment| payment.at_ms, Span::seconds(1))
        .key_by(|payment| payment.account)
        .window(Window::tumbling(Span::seconds(10)))
        .aggregate(|on| (on.count(), on.sum(|payment| payment.cents)))
        .sink_to(Totals(totals.clone()))
        .run(Options::default().shards(2).state(state).snapshot_interval(Span::millis(50)))?;

    let mut lines: Vec<String> = Vec::new();
    for name in names(&totals)? {
        lines.extend(fs::read_to_string(totals.join(name))?.lines().map(str::to_owned));
    }
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}
