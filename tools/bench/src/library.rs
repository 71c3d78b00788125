//! The typed builder beside the SQL engine, from files of records, and the builder from records in memory.
//!
//! ```text
//! cargo run --release -p tidemill-bench -- library [--rows N] [--runs N] [--shards N] [--only w1,w2]
//! ```
//!
//! All read the same clicks with numbers for page and device: as records of 32 bytes, in one file for the builder and for a session of SQL that
//! has the file as its table; SQL also as columns of a script's table (`'format' = 'rkyv'`), of which it reads those that it needs.
//! The contestants run in turn in one process. An answer is how many rows came out and what their counts add up to; it must
//! agree before a time counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill::connector::{Output, Style};
use tidemill::job::{Launch, bind};
use tidemill::{Job, Options, RecordFile, RecordWriter, Records, Session, Span};

use crate::typed::{self, Click};
use crate::{Settings, median};

const SOURCE: &str = "CREATE TABLE clicks (ts TIMESTAMP(3), device BIGINT, amount DOUBLE, page BIGINT, action SMALLINT,
  WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH ('connector' = 'filesystem', 'format' = 'rkyv', 'path' = '$PATH');\n";

/// By workload: what is selected, and of which windows.
const QUERIES: [(&str, &str, &str); 5] = [
    (
        "w1",
        "page AS k, COUNT(*) AS c, SUM(amount) AS s, MAX(amount) AS m, AVG(amount) AS a",
        "TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '10' SECOND)) WHERE action = 0 GROUP BY window_start, window_end, page",
    ),
    (
        "w2",
        "page AS k, COUNT(DISTINCT device) AS c",
        "TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' DAY)) GROUP BY window_start, window_end, page",
    ),
    (
        "w3",
        "page AS k, COUNT(*) AS c, SUM(amount) AS s",
        "TABLE(HOP(TABLE clicks, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end, page",
    ),
    (
        "w4",
        "device AS k, COUNT(*) AS c, SUM(amount) AS s",
        "TABLE(SESSION(TABLE clicks PARTITION BY device, DESCRIPTOR(ts), INTERVAL '5' SECOND)) GROUP BY window_start, window_end, device",
    ),
    (
        "w5",
        "device AS k, COUNT(*) AS c, SUM(amount) AS s",
        "TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '60' SECOND)) GROUP BY window_start, window_end, device",
    ),
];

/// What a run came to: rows, and the total of their counts.
type Answer = (u64, u64);

/// Runs the suite.
pub(crate) fn run(settings: &Settings) -> Result<(), String> {
    settings.check_only(&QUERIES.map(|(name, _, _)| name))?;
    let (columns, records) = files(settings);
    let memory: Arc<Vec<Click>> = Arc::new(clicks(settings.rows).collect());
    println!(
        "{} rows, {} shards, medians of {} runs, M rows/s",
        settings.rows, settings.shards, settings.runs
    );
    println!(
        "| workload | SQL, columns | SQL, records | builder, records | builder ÷ SQL: columns | records | builder, memory |\n|---|---|---|---|---|---|---|"
    );
    for (name, select, from) in QUERIES.into_iter().filter(|(name, _, _)| settings.wants(name)) {
        let mut seconds: [Vec<f64>; 4] = Default::default();
        let mut answers: Vec<Answer> = Vec::new();
        for _ in 0..settings.runs {
            let file = || RecordFile::<Click>::open(&records).expect("it was written");
            let source = Records::new(memory.iter().copied());
            let runs = [
                sql(settings, &columns, select, from),
                session(settings, file(), select, from),
                builder(settings, name, file()),
                builder(settings, name, source),
            ];
            for (list, (elapsed, answer)) in seconds.iter_mut().zip(runs) {
                list.push(elapsed);
                answers.push(answer);
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{name}: {answers:?}");
        let [columns, records, file, memory] =
            seconds.map(|mut list| settings.rows as f64 / median(&mut list) / 1e6);
        println!(
            "| {name} | {columns:.1} | {records:.1} | {file:.1} | {:.2} | {:.2} | {memory:.1} |",
            file / columns,
            file / records
        );
    }
    Ok(())
}

/// A run of the builder.
fn builder<S: tidemill::RecordSource<Record = Click>>(
    settings: &Settings,
    name: &str,
    source: S,
) -> (f64, Answer) {
    let (seconds, answer) = typed::run(name, source, settings.shards);
    (seconds, (answer.rows, answer.counts))
}

/// The clicks, as numbers.
fn clicks(rows: u64) -> impl Iterator<Item = Click> {
    typed::generated(rows).map(Click::from)
}

/// The files of both kinds, made if they are not there.
fn files(settings: &Settings) -> (PathBuf, PathBuf) {
    let path = |kind: &str| settings.folder.join(format!("clicks-{}.{kind}", settings.rows));
    let (columns, records) = (path("columns"), path("records"));
    if !records.exists() {
        let _ = fs::remove_dir_all(&columns);
        let mut writer = RecordWriter::create(&records).expect("a file can be made");
        clicks(settings.rows).for_each(|click| writer.write(&click).expect("the disk has room"));
        writer.finish().expect("the disk has room");
        to_columns(&records, &columns);
    }
    (columns, records)
}

/// Writes the records as SQL's columns: through CSV, which both know.
fn to_columns(records: &Path, columns: &Path) {
    let csv = records.with_extension("numbers.csv");
    let lines = std::sync::Mutex::new(std::io::BufWriter::new(
        fs::File::create(&csv).expect("a file can be made"),
    ));
    Job::new("to csv")
        .source("clicks", RecordFile::<Click>::open(records).expect("it was written"))
        .processing_time()
        .sink(move |click| {
            use std::io::Write;
            let mut lines = lines.lock().expect("nobody panics");
            let (at, device, amount) = (click.at_ms, click.device.to_native() as i64, click.amount);
            writeln!(lines, "{at},{device},{amount},{},{}", click.page, click.action)
                .expect("the disk has room");
        })
        .run(Options::default().shards(1))
        .expect("the job runs");
    let script = format!(
        "CREATE TABLE lines (ts BIGINT, device BIGINT, amount DOUBLE, page BIGINT, action SMALLINT) WITH ('connector' = 'filesystem', 'format' = 'csv', 'path' = '{}');
CREATE TABLE clicks (ts TIMESTAMP(3), device BIGINT, amount DOUBLE, page BIGINT, action SMALLINT) WITH ('connector' = 'filesystem', 'format' = 'rkyv', 'path' = '{}');
INSERT INTO clicks SELECT CAST(TO_TIMESTAMP_LTZ(ts, 3) AS TIMESTAMP(3)), device, amount, page, action FROM lines;",
        csv.display(),
        columns.display()
    );
    execute(&script, 1);
    fs::remove_file(csv).expect("it was written");
}

/// Runs a script; the rows that it wrote, and its seconds.
fn execute(script: &str, shards: usize) -> (f64, u64) {
    let output = Output::new(Box::new(std::io::sink()), Style::Csv);
    let script = bind(script, &output, &[]).unwrap_or_else(|errors| panic!("{errors:?}\n{script}"));
    let report = Launch::new(&script.plan, Some(shards), None).expect("it can run").run();
    assert!(report.failure.is_none(), "{:?}", report.failure);
    (report.elapsed.as_secs_f64(), report.totals.rows_out)
}

/// Where results go that nobody reads, and the query.
fn insert(select: &str, from: &str) -> String {
    let names: Vec<&str> = select.split(" AS ").skip(1).map(|rest| &rest[..1]).collect();
    let table = names
        .iter()
        .map(|name| format!("{name} {}", if "kc".contains(name) { "BIGINT" } else { "DOUBLE" }));
    let table = table.collect::<Vec<_>>().join(", ");
    format!(
        "CREATE TABLE results ({table}) WITH ('connector' = 'blackhole');\nINSERT INTO results SELECT {select} FROM {from};"
    )
}

/// SQL over the builder's file.
fn session(
    settings: &Settings,
    file: RecordFile<Click>,
    select: &str,
    from: &str,
) -> (f64, Answer) {
    let mut session = Session::new();
    session
        .table("clicks", file)
        .watermark("ts", |click| click.at_ms, Span::seconds(5))
        .column("device", |click| click.device)
        .column("amount", |click| click.amount)
        .column("page", |click| click.page)
        .column("action", |click| click.action);
    let options = || Options::default().shards(settings.shards);
    let job = session.sql(&insert(select, from)).expect("it is well-formed");
    let report = job.run(options()).expect("the job runs");
    // As in `sql`: a run of its own, which nobody times.
    let counts = session.query(&format!("SELECT c FROM (SELECT {select} FROM {from})"));
    let rows = counts.expect("it is well-formed").rows::<i64>(options()).expect("it can run");
    let sum = rows.map(|count| count.expect("the job runs") as u64).sum();
    (report.elapsed.as_secs_f64(), (report.totals.rows_out, sum))
}

/// SQL over a script's table of columns.
fn sql(settings: &Settings, columns: &Path, select: &str, from: &str) -> (f64, Answer) {
    let source = SOURCE.replace("$PATH", &columns.display().to_string());
    let script = format!("{source}{}", insert(select, from));
    let (elapsed, rows) = execute(&script, settings.shards);
    // What the counts add up to takes a run of its own, which nobody times.
    let sum = sum_of_counts(settings, &source, select, from);
    (elapsed, (rows, sum))
}

fn sum_of_counts(settings: &Settings, source: &str, select: &str, from: &str) -> u64 {
    let path = settings.folder.join("library.csv");
    let _ = fs::remove_file(&path);
    let insert = format!(
        "CREATE TABLE results (c BIGINT) WITH ('connector' = 'filesystem', 'format' = 'csv', 'path' = '{}');\nINSERT INTO results SELECT c FROM (SELECT {select} FROM {from});",
        path.display()
    );
    execute(&format!("{source}{insert}"), settings.shards);
    let text = fs::read_to_string(&path).expect("the job wrote its results");
    text.lines().map(|line| line.parse::<u64>().expect("a count")).sum()
}
