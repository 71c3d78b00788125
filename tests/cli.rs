//! Drives the real binary: exit codes, error texts, pipes, signals, sockets, and every example.

#[path = "cli/aggregates.rs"]
mod aggregates;
#[path = "cli/state.rs"]
mod state;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes: what is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run came to.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        self
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Waits for the end; kills what hangs.
fn finish(child: Child) -> Ended {
    let (done, ended) = channel::<()>();
    let pid = pid(&child);
    thread::scope(|scope| {
        scope.spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        let output = child.wait_with_output().unwrap();
        drop(done);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    })
}

fn tidemill(args: &[&str]) -> Ended {
    finish(command(args).spawn().unwrap())
}

fn tidemill_fed(args: &[&str], input: &str) -> Ended {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    finish(child)
}

fn sql(script: &str) -> Ended {
    tidemill(&["run", "--shards", "2", "-e", script])
}

/// A folder with the file `name`.
fn folder_with(name: &str, content: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), content).unwrap();
    folder
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

/// `CREATE TABLE t` over a file.
fn file_table(columns: &str, path: &str, options: &str) -> String {
    format!(
        "CREATE TABLE t ({columns}) WITH ('connector' = 'filesystem', 'path' = '{path}', {options});\n"
    )
}

const NUMBERS: &str =
    "CREATE TABLE t (id BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100000',
  'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '1000000');\n";

#[test]
fn exit_codes_tell_who_can_act() {
    sql(&format!("{NUMBERS} SELECT id FROM t LIMIT 1")).expect(0);
    let missing = file_table("a INT", "/nonexistent/file.csv", "'format' = 'csv'");
    sql(&format!("{missing} SELECT a FROM t"))
        .expect(1)
        .says("/nonexistent/file.csv: No such file");
    sql("SELECT FROM").expect(2);
    sql(NUMBERS).expect(2).says("starts nothing").says("hint: end it with INSERT INTO");
    tidemill(&["run", "nowhere.sql"])
        .expect(2)
        .says("error: cannot read the script 'nowhere.sql': No such file");
    tidemill(&["run"]).expect(2).says("--help");
    tidemill(&[]).expect(2).says("Usage: tidemill");
    tidemill(&["walk"]).expect(2);
    tidemill(&["run", "-e", "SELECT 1", "--shards", "0"]).expect(2);
    tidemill(&["run", "-e", "SELECT 1", "--runtime", "threads"]).expect(2).says("uring, poll");
    tidemill(&["run", "-e", "SELECT 1", "--table", "clicks=x"])
        .expect(2)
        .says("write NAME.OPTION=VALUE");
    tidemill(&["run", "-e", "SELECT 1", "--set", "tidemill.emit.mood=x"])
        .expect(2)
        .says("tidemill.emit.mood");
}

#[test]
fn help_teaches_with_an_example() {
    for command in ["run", "check", "explain"] {
        let help = tidemill(&[command, "--help"]).expect(0).out;
        assert!(
            help.contains("Example") && help.contains(&format!("  tidemill {command} ")),
            "{help}"
        );
    }
    for action in ["list", "inspect", "verify"] {
        let help = tidemill(&["state", action, "--help"]).expect(0).out;
        assert!(help.contains(&format!("Example:\n  tidemill state {action} ")), "{help}");
    }
    let help = tidemill(&["generate", "clicks", "--help"]).expect(0).out;
    assert!(help.contains("  tidemill generate clicks --rows 1000000"), "{help}");
}

#[test]
fn every_error_of_a_script_is_shown_with_its_place() {
    let folder =
        folder_with("job.sql", &format!("{NUMBERS}SELECT idd FROM t;\nSELECT id FROM tt;\n"));
    let job = path(&folder, "job.sql");
    for command in ["run", "check", "explain"] {
        let ended = tidemill(&[command, &job]).expect(2);
        assert_eq!(ended.out, "");
        assert_eq!(ended.err.matches("error: ").count(), 2, "{ended:#?}");
        ended
            .says(&format!(" --> {job}:3:8\n  |\n3 | SELECT idd FROM t;\n  |        ^^^\nhint: "))
            .says(&format!(" --> {job}:4:16\n  |\n4 | SELECT id FROM tt;\n  |                ^^\nhint: did you mean 't'?"));
    }
}

#[test]
fn warnings_go_to_stderr_and_change_nothing() {
    let script = format!("SET 'rest.port' = '1'; {NUMBERS} SELECT id FROM t LIMIT 2");
    let ended = sql(&script).expect(0).says("warning: ").says("rest.port");
    assert_eq!(ended.out, "{\"op\":\"+I\",\"id\":1}\n{\"op\":\"+I\",\"id\":2}\n");
    let quiet = tidemill(&["run", "-q", "-e", &script]).expect(0);
    assert_eq!((quiet.out, quiet.err.as_str()), (ended.out, ""));
}

#[test]
fn rows_come_in_three_formats() {
    let folder = folder_with("t.jsonl", "{\"k\":\"a\",\"v\":1}\n{\"k\":\"b, \\\"c\\\"\"}\n");
    let table = file_table("k STRING, v INT", &path(&folder, "t.jsonl"), "'format' = 'json'");
    let script = format!("{table} SELECT k, v FROM t");
    let rows = |format: &str| tidemill(&["run", "--format", format, "-e", &script]).expect(0).out;
    let jsonl =
        "{\"op\":\"+I\",\"k\":\"a\",\"v\":1}\n{\"op\":\"+I\",\"k\":\"b, \\\"c\\\"\",\"v\":null}\n";
    assert_eq!(rows("jsonl"), jsonl);
    assert_eq!(sql(&script).out, jsonl, "the default in a pipe");
    assert_eq!(rows("csv"), "op,k,v\n+I,a,1\n+I,\"b, \"\"c\"\"\",\n");
    assert!(rows("table").starts_with("op | k"), "{}", rows("table"));
    let two = format!(
        "{table} CREATE TABLE p (k STRING) WITH ('connector' = 'print'); INSERT INTO p SELECT k FROM t WHERE v = 1;"
    );
    assert_eq!(sql(&two).expect(0).out, "{\"op\":\"+I\",\"k\":\"a\"}\n");
    let both = sql(&format!("{two} SELECT v FROM t WHERE v = 1")).expect(0).out;
    assert!(both.contains("{\"op\":\"+I\",\"sink\":\"p\",\"k\":\"a\"}"), "{both}");
}

/// The error once said its cause twice.
#[test]
fn full_disks_and_missing_folders_fail_the_job() {
    let script = format!("{NUMBERS} SELECT id FROM t");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let ended =
        finish(command(&["run", "-q", "-e", &script]).stdout(full).spawn().unwrap()).expect(1);
    assert_eq!(ended.err, "error: output: No space left on device (os error 28)\n");
    let setting = "tidemill.dead-letter.path=/nonexistent/x";
    let ended = tidemill(&["run", "-e", &script, "--set", setting]).expect(1);
    assert_eq!(ended.err, "error: /nonexistent/x: No such file or directory (os error 2)\n");
}

#[test]
fn limit_ends_an_endless_table() {
    let script = "CREATE TABLE t (a INT) WITH ('connector' = 'datagen'); SELECT a FROM t LIMIT 3";
    let ended = sql(script).expect(0).says("done after").says("rows written   3\n");
    assert_eq!(ended.out.lines().count(), 3);
}

/// A bad record behind the last row that was asked for failed the job, and a limit began anew when its job went on.
#[test]
fn nobody_asks_for_what_is_behind_a_limit() {
    let folder = folder_with("t.csv", "1\n2\nthree\n4\n");
    let numbers = file_table("a INT", &path(&folder, "t.csv"), "'format' = 'csv'");
    let texts = file_table("s STRING", &path(&folder, "t.csv"), "'format' = 'csv'");
    for query in [format!("{numbers} SELECT a"), format!("{texts} SELECT CAST(s AS INT) AS a")] {
        let ended = sql(&format!("{query} FROM t LIMIT 2")).expect(0);
        assert_eq!(ended.out, "{\"op\":\"+I\",\"a\":1}\n{\"op\":\"+I\",\"a\":2}\n");
        sql(&format!("{query} FROM t LIMIT 3")).expect(1).says("three");
    }
    let (script, state) = (format!("{numbers} SELECT a FROM t LIMIT 2"), path(&folder, "state"));
    tidemill(&["run", "-e", &script, "--state", &state])
        .expect(1)
        .says("LIMIT counts the rows of one run");
}

#[test]
fn the_script_and_the_rows_can_come_from_stdin() {
    let script = format!("{NUMBERS} SELECT id FROM t LIMIT 1");
    assert_eq!(tidemill_fed(&["run", "-"], &script).expect(0).out, "{\"op\":\"+I\",\"id\":1}\n");
    tidemill_fed(&["check", "-"], "SELECT").expect(2).says("<stdin>:1:");
    let table = file_table("k STRING, v INT", "/nonexistent", "'format' = 'csv'");
    let script = format!("{table} SELECT k, v FROM t WHERE v > 1");
    let args = ["run", "-e", &script, "--table", "t.connector=stdin"];
    assert_eq!(tidemill_fed(&args, "a,1\nb,2\nc,3\n").expect(0).out.lines().count(), 2);
}

#[test]
fn a_tables_options_are_overridden_from_outside() {
    let folder = folder_with("t.csv", "k;v\na;1\n");
    let script = "CREATE TABLE t (k STRING, v INT) WITH ('connector' = 'kafka', 'topic' = 'x', 'format' = 'csv');
        SELECT k, v FROM t";
    let from = format!("t.path={}", path(&folder, "t.csv"));
    let mut args = vec!["run", "-e", script, "--table", "t.connector=filesystem", "--table", &from];
    args.extend(["--table", "t.csv.field-delimiter=;", "--table", "t.csv-header=true"]);
    assert_eq!(tidemill(&args).expect(0).out, "{\"op\":\"+I\",\"k\":\"a\",\"v\":1}\n");
    args.extend(["--table", "u.path=x"]);
    tidemill(&args).expect(2).says("error: ").says("'u'");
}

#[test]
fn a_malformed_row_stops_the_job_and_says_how_to_go_on() {
    let folder = folder_with(
        "t.jsonl",
        "{\"k\":\"a\",\"v\":1}\n{\"k\":\"b\",\"v\":\"x\"}\n{\"k\":\n{\"k\":\"d\",\"v\":4}\n",
    );
    let file = path(&folder, "t.jsonl");
    let script =
        format!("{} SELECT k, v FROM t", file_table("k STRING, v INT", &file, "'format' = 'json'"));
    let failed = sql(&script).expect(1).says("failed after");
    let failed = failed
        .says(&format!("error: {file}: line 2, column "))
        .says("\nhint: set 'json.ignore-parse-errors' = 'true'");
    assert!(failed.out.lines().count() <= 1, "{failed:#?}");

    let skipping = ["run", "-e", &script, "--table", "t.json.ignore-parse-errors=true"];
    let skipped = tidemill(&skipping).expect(0);
    let skipped = skipped
        .says("malformed rows 1\n")
        .says(&format!("\n    {file}: line 3, column "))
        .says("tidemill.dead-letter.path");
    assert!(
        skipped.out.contains("\"k\":\"a\"") && skipped.out.contains("\"k\":\"d\""),
        "{skipped:#?}"
    );

    let letters = path(&folder, "dropped.jsonl");
    let setting = format!("tidemill.dead-letter.path={letters}");
    tidemill(&[&skipping[..], &["--set", &setting]].concat())
        .expect(0)
        .says(&format!("all of them are in {letters}"));
    let letters = fs::read_to_string(letters).unwrap();
    assert!(letters.contains("\"line\":3") && letters.contains("\"table\":\"t\""), "{letters}");
}

/// What reads files is driven by io_uring where that is allowed, unless it is told otherwise; what reads none needs none.
#[test]
fn the_runtime_goes_by_what_is_read() {
    let folder = folder_with("t.csv", "1\n");
    let table = file_table("v INT", &path(&folder, "t.csv"), "'format' = 'csv'");
    let files = format!("{table} SELECT * FROM t");
    let none = "CREATE TABLE t (v INT) WITH ('connector' = 'datagen', 'number-of-rows' = '1'); SELECT * FROM t";
    let allowed = tidemill::shard::runtime::is_uring_allowed();
    let ended = |script: &str, more: &[&str]| {
        tidemill(&[&["run", "--shards", "1", "-e", script], more].concat()).expect(0)
    };
    ended(&files, &[]).says(if allowed { "(uring)" } else { "(poll)" });
    ended(&files, &["--runtime", "poll"]).says("(poll)");
    ended(none, &[]).says("(poll)");
    if allowed {
        ended(none, &["--runtime", "uring"]).says("(uring)");
    }
}

#[test]
fn the_summary_explains_late_rows() {
    let folder = folder_with(
        "t.csv",
        "2024-01-01 00:01:00,1\n2024-01-01 00:00:30,2\n2024-01-01 00:00:58,3\n2024-01-01 00:01:01,4\n",
    );
    let columns = "ts TIMESTAMP(3), v INT, WATERMARK FOR ts AS ts";
    let table = file_table(columns, &path(&folder, "t.csv"), "'format' = 'csv'");
    let script = format!(
        "{table} SELECT window_start, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
         GROUP BY window_start, window_end"
    );
    let ended = sql(&script)
        .expect(0)
        .says("late rows      2\n")
        .says("2 rows of t came after their window had closed");
    ended
        .says("< 5 s")
        .says("WATERMARK FOR")
        .says("rows read      4 ")
        .says("windows fired  1\n")
        .says("malformed rows 0\n");
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let script = "CREATE TABLE t (a INT) WITH ('connector' = 'datagen', 'rows-per-second' = '1000000'); SELECT a FROM t";
    let mut child = command(&["run", "-e", script]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"op\":\"+I\",\"a\":"), "{line}");
    let ended = finish(child).expect(0);
    assert_eq!(ended.err, "");
    let mut child =
        command(&["generate", "clicks", "--rows", "100000000", "--format", "csv", "--out", "-"])
            .spawn()
            .unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    assert_eq!(finish(child).expect(0).err, "");
}

#[test]
fn signals_stop_the_sources() {
    for signal in [Signal::INT, Signal::TERM] {
        let script = "CREATE TABLE t (ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE,
              WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen', 'profile' = 'clicks', 'rows-per-second' = '1000', 'rate' = '1000');
            SELECT page FROM t WHERE page = 'page-0000';
            SELECT window_start, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' DAY))
            GROUP BY window_start, window_end";
        let mut child = command(&["run", "--format", "csv", "-e", script]).spawn().unwrap();
        // Rows are there, so that the job runs; it would run for ever.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        kill_process(pid(&child), signal).unwrap();
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        finish(child)
            .expect(0)
            .says("stopped after")
            .says("(windows open beyond it are not shown)");
        assert!(rest.is_empty() || rest.ends_with('\n'), "whole lines: {rest}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let script = "CREATE TABLE t (a INT) WITH ('connector' = 'datagen', 'rows-per-second' = '10000000'); SELECT a FROM t";
    let mut child = command(&["run", "-e", script]).spawn().unwrap();
    // Nobody reads on, so the job cannot come to its end by itself.
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    for _ in 0..100 {
        let _ = kill_process(pid(&child), Signal::INT);
        thread::sleep(Duration::from_millis(20));
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    assert_eq!(finish(child).code, Some(130));
}

#[test]
fn two_clients_send_to_one_socket() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let table = format!("readings.port={port}");
    let mut child = command(&["run", "examples/socket.sql", "--table", &table]).spawn().unwrap();
    let mut connect = || {
        for _ in 0..500 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
                return stream;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before it listened");
            thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody listens at {port}");
    };
    let (mut first, mut second) = (connect(), connect());
    first.write_all(b"2024-01-01 00:00:01,kitchen,21.5\nnonsense\n").unwrap();
    second.write_all(b"2024-01-01 00:00:02,kitchen,22.5\n").unwrap();
    // Both rows have arrived before the watermark moves on.
    thread::sleep(Duration::from_millis(300));
    second.write_all(b"2024-01-01 00:00:12,attic,10\n").unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let row = "{\"op\":\"+I\",\"window_start\":\"2024-01-01 00:00:00.000\",\"room\":\"kitchen\",\"readings\":2,\"celsius\":22.0}\n";
    assert_eq!(line, row);
    kill_process(pid(&child), Signal::INT).unwrap();
    out.read_to_string(&mut line).unwrap();
    assert_eq!(line, row, "what is open is not shown");
    finish(child).expect(0).says("stopped after").says("rows read      4 ");
}

#[test]
fn check_and_explain_run_nothing() {
    let script = format!("{NUMBERS} SELECT id FROM t");
    let checked = tidemill(&["check", "-e", &script]).expect(0);
    assert_eq!(checked.out, "<command line>: no errors (1 source, 1 sink)\n");
    let explained = tidemill(&["explain", "-e", &script]).expect(0).out;
    assert!(explained.contains("Scan t"), "{explained}");
    let explained = sql(&format!("{NUMBERS} EXPLAIN SELECT id FROM t")).expect(0).out;
    assert!(explained.contains("Scan t"), "{explained}");
    let plan = tidemill(&["explain", "examples/uv.sql"]).expect(0).out;
    for part in ["watermark", "late", "exchange"] {
        assert!(plan.contains(part), "no {part} in {plan}");
    }
}

#[test]
fn check_flink_lists_what_flink_refuses() {
    let script = "CREATE TABLE t (ts TIMESTAMP(3), k STRING, WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen');
        SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '1 s';
        SELECT window_start, COUNT(*) AS c FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND))
        GROUP BY window_start, window_end";
    tidemill(&["check", "-e", script]).expect(0);
    let listed = tidemill(&["check", "--flink", "-e", script]).expect(2).out;
    assert!(
        listed.starts_with("flink refuses: ") && listed.contains(" --> <command line>:"),
        "{listed}"
    );
    let listed = tidemill(&["check", "--flink", "examples/uv.sql"]).expect(2).out;
    assert!(listed.contains("option 'profile': Flink's datagen has no such option"), "{listed}");
    let ended =
        tidemill(&["check", "--flink", "-e", &format!("{NUMBERS} SELECT id FROM t")]).expect(0);
    assert!(ended.out.contains("nothing that a Flink would refuse"), "{ended:#?}");
}

const CLICKS: &str = "ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE";

#[test]
fn generated_files_hold_the_rows_of_the_generator_table() {
    let folder = tempfile::tempdir().unwrap();
    let generator = format!(
        "CREATE TABLE t ({CLICKS}) WITH ('connector' = 'datagen', 'profile' = 'clicks', 'number-of-rows' = '500', 'seed' = '7');"
    );
    let rows = |table: &str| {
        tidemill(&["run", "-q", "--shards", "1", "-e", &format!("{table} SELECT * FROM t")])
            .expect(0)
            .out
    };
    let expected = rows(&generator);
    assert_eq!(expected.lines().count(), 500);
    for (format, name) in [("csv", "csv"), ("jsonl", "json"), ("rkyv", "rkyv")] {
        let file = path(&folder, name);
        let args = [
            "generate", "clicks", "--rows", "5_00", "--seed", "7", "--format", format, "--out",
            &file,
        ];
        tidemill(&args).expect(0).says("500 rows, ");
        assert_eq!(
            rows(&file_table(CLICKS, &file, &format!("'format' = '{name}'"))),
            expected,
            "{format}"
        );
        tidemill(&args).expect(2).says("exists already; --force replaces it");
        tidemill(&[&args[..], &["--force", "-q"]].concat()).expect(0);
    }
    let names = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 3, "nothing unfinished is left");
    let printed = tidemill(&[
        "generate", "clicks", "--rows", "500", "--seed", "7", "--format", "csv", "--out", "-",
    ])
    .expect(0);
    assert_eq!(printed.out, fs::read_to_string(folder.path().join("csv")).unwrap());
    tidemill(&["generate", "clicks", "--rows", "1", "--format", "csv", "--out", "/nonexistent/x"])
        .expect(1)
        .says("/nonexistent");
    tidemill(&[
        "generate", "clicks", "--rows", "1", "--rate", "0", "--format", "csv", "--out", "-",
    ])
    .expect(2)
    .says("rate");
}

#[test]
fn the_examples_run() {
    let uv =
        tidemill(&["run", "examples/uv.sql", "--table", "clicks.number-of-rows=300000"]).expect(0);
    let row = "{\"op\":\"+I\",\"window_start\":\"2024-01-01 00:00:00.000\",\"page\":\"page-0000\",";
    assert!(
        uv.out.contains(row)
            && uv.out.contains("\"op\":\"-U\"")
            && uv.out.contains("\"op\":\"+U\""),
        "{uv:#?}"
    );
    let uv = uv.says("windows fired").says("late rows      0\n");
    drop(uv);
    let folder = tempfile::tempdir().unwrap();
    let clicks = path(&folder, "clicks.csv");
    tidemill(&["generate", "clicks", "--rows", "300000", "--format", "csv", "--out", &clicks])
        .expect(0);
    let tumble =
        tidemill(&["run", "examples/tumble.sql", "--table", &format!("clicks.path={clicks}")])
            .expect(0);
    assert!(tumble.out.contains("\"page\":\"page-0000\",\"sales\":"), "{tumble:#?}");
    let fewer = ["--table", "clicks.devices=10000", "--table", "clicks.number-of-rows=100000"];
    let session = tidemill(&[&["run", "examples/session.sql"], &fewer[..]].concat()).expect(0);
    assert!(session.out.contains("\"device\":\""), "{session:#?}");
    // Each says how it is run.
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap() {
        let example = entry.unwrap().path();
        let name = format!("examples/{}", example.file_name().unwrap().to_str().unwrap());
        let text = fs::read_to_string(&example).unwrap();
        if name.ends_with(".sql") {
            assert!(text.contains(&format!("run {name}\n")), "{name} says how to run it");
            tidemill(&["check", &name]).expect(0);
        }
    }
}
