//! Records are read in place: under callgrind no function that makes a value of an archive is called for every row, and none
//! that allocates.
//!
//! A debug build inlines nothing, so each call is seen by its name. The suite runs itself under valgrind over two inputs, one twice
//! as long: what the difference shows is called by row. A job that does make its values shows that this would be found.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use rkyv::{Archive, Deserialize, Serialize};
use tidemill::job::RuntimeKind;
use tidemill::{Job, Options, RecordFile, RecordWriter, Span, Window};

#[derive(Archive, Serialize, Deserialize)]
struct Click {
    at_ms: i64,
    device: u64,
    cents: i64,
    page: String,
}

/// Rows of the shorter input.
const ROWS: u64 = 3_000;
/// Fewer calls a row than this are calls by batch.
const BY_BATCH: f64 = 0.05;
/// In the environment of a child: the file that it reads, and whether it makes values.
const FILE: &str = "TIDEMILL_IN_PLACE_FILE";
const MAKES: &str = "TIDEMILL_IN_PLACE_MAKES";

fn write(path: &Path, rows: u64) {
    let mut clicks = RecordWriter::create(path).unwrap();
    for n in 0..rows {
        let page = format!("/a/page/with/a/longer/name/{}", n % 10);
        let click = Click { at_ms: n as i64 / 20, device: n % 100, cents: 7, page };
        clicks.write(&click).unwrap();
    }
    clicks.finish().unwrap();
}

/// What runs under callgrind: a job over the file that the environment names.
#[test]
#[ignore = "is started by the suite itself, under valgrind"]
fn child() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let makes = std::env::var_os(MAKES).is_some();
    let job = Job::new("sums");
    job.source("clicks", RecordFile::<Click>::open(file).unwrap())
        .watermark(|c| c.at_ms, Span::seconds(5))
        .filter(move |c| {
            let made = || rkyv::deserialize::<Click, rkyv::rancor::Error>(c).unwrap().device;
            if makes { made() < 90 } else { c.device < 90 }
        })
        .key_by_text(|c| c.page.as_str())
        .window(Window::tumbling(Span::seconds(10)))
        .aggregate(|on| (on.count(), on.sum(|c| c.cents), on.max(|c| c.device)))
        .sink(|result| assert!(result.value.0 > 0));
    job.run(Options::default().shards(1).runtime(RuntimeKind::Sim(1))).unwrap();
}

/// How often each function is called, by name, in a job over so many rows.
fn calls(folder: &Path, rows: u64, makes: bool) -> BTreeMap<String, u64> {
    let (file, profile) = (folder.join(format!("{rows} {makes}")), folder.join("profile"));
    write(&file, rows);
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", profile.display())])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--test-threads=1"])
        .env(FILE, &file);
    if makes {
        command.env(MAKES, "1");
    }
    let run = command.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    called(&std::fs::read_to_string(&profile).unwrap())
}

/// The calls in a profile: `cfn=(7) name` says who is called, by number alone from the second time on, and `calls=3 …` how often.
fn called(profile: &str) -> BTreeMap<String, u64> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    let mut callee = "";
    for line in profile.lines() {
        if let Some(function) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if line.starts_with("cfn=") {
                callee = number;
            }
        } else if let Some(count) = line.strip_prefix("calls=") {
            let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
            *calls.entry(names[callee].to_owned()).or_default() += count;
        }
    }
    calls
}

/// Whether a function makes a value of what was archived or written.
fn makes_values(name: &str) -> bool {
    name.to_lowercase().contains("deserialize")
}

fn allocates(name: &str) -> bool {
    ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"].contains(&name)
}

/// How many more calls a row the longer of two runs has, of those functions.
fn by_row([short, long]: [&BTreeMap<String, u64>; 2], is_meant: fn(&str) -> bool) -> f64 {
    let sum = |calls: &BTreeMap<String, u64>| {
        let meant = calls.iter().filter(|(name, _)| is_meant(name));
        meant.map(|(_, count)| count).sum::<u64>()
    };
    sum(long).saturating_sub(sum(short)) as f64 / ROWS as f64
}

#[test]
fn no_row_is_made_into_a_value() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not installed: calls are not counted");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let count = |rows, makes| calls(folder.path(), rows, makes);
    let (short, long) = (count(ROWS, false), count(2 * ROWS, false));
    let [making, allocating, all] =
        [makes_values, allocates, |_: &str| true].map(|meant| by_row([&short, &long], meant));
    let closures =
        by_row([&short, &long], |name| name.contains("in_place") && name.contains("child"));
    eprintln!(
        "of {all:.1} calls a row {closures:.1} are the job's closures, {making} make values, {allocating:.3} allocate"
    );
    assert!(
        closures >= 3.0,
        "the job's closures are called for every row, and are seen: {closures}"
    );
    assert!(making < BY_BATCH, "{making} calls a row make values");
    assert!(allocating < BY_BATCH, "{allocating} calls a row allocate");

    let making = by_row([&short, &count(ROWS, true)], makes_values);
    assert!(making >= 1.0, "a job that makes values is found: {making}");
}
