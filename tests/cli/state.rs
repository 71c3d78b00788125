//! Durable state as a person meets it: going on after a kill, what is refused and why, looking at a folder.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// A folder with a job in it that takes about two seconds: numbers from 1 to [`ROWS`], as they are and counted.
struct Bench(TempDir);

const ROWS: u64 = 40_000;

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        path(&self.0, name)
    }

    /// The job; `more` is added to the columns of its result.
    fn script(&self, more: &str) -> String {
        format!(
            "CREATE TABLE t (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id, 3), WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen',
               'rows-per-second' = '{}', 'fields.id.kind' = 'sequence', 'fields.id.start' = '1', 'fields.id.end' = '{ROWS}');
             CREATE TABLE rows_out (id BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
             CREATE TABLE sums_out (s BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'json');
             SET 'execution.checkpointing.interval' = '50 ms';
             EXECUTE STATEMENT SET BEGIN
             INSERT INTO rows_out SELECT id FROM t;
             INSERT INTO sums_out SELECT SUM(id{more}) FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND))
               GROUP BY window_start, window_end, MOD(id, 10);
             END;",
            ROWS / 2,
            self.path("rows"),
            self.path("sums")
        )
    }

    fn args(&self, script: &str) -> Vec<String> {
        let state = self.path("state");
        ["run", "--shards", "2", "--state", &state, "-e", script].map(String::from).to_vec()
    }

    fn spawn(&self) -> Child {
        let args = self.args(&self.script(""));
        command(&args.iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap()
    }

    fn run(&self, script: &str, more: &[&str]) -> Ended {
        let args = self.args(script);
        let args: Vec<&str> = args.iter().map(String::as_str).chain(more.iter().copied()).collect();
        tidemill(&args)
    }

    fn state(&self, args: &[&str]) -> Ended {
        let state = self.path("state");
        tidemill(&[&["state", args[0], &state], &args[1..]].concat())
    }

    /// The names in the state folder that begin with `prefix`.
    fn names(&self, prefix: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("state")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// Runs until there is a snapshot.
    fn started(&self) -> Child {
        let mut child = self.spawn();
        for _ in 0..6000 {
            if !self.names("manifest-").is_empty() {
                return child;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before its first snapshot");
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no snapshot came");
    }

    /// Runs until there is a snapshot, then kills it.
    fn killed(&self) {
        let child = self.started();
        kill_process(pid(&child), Signal::KILL).unwrap();
        assert_eq!(finish(child).code, None);
    }

    /// All values of a sink, which are numbers.
    fn values(&self, sink: &str) -> Vec<u64> {
        let files = fs::read_dir(self.path(sink)).unwrap().map(|entry| entry.unwrap());
        let shown = files.filter(|file| !file.file_name().to_str().unwrap().starts_with('.'));
        let texts = shown.map(|file| fs::read_to_string(file.path()).unwrap());
        let number = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            row.as_object().unwrap().values().next().unwrap().as_u64().unwrap()
        };
        texts.flat_map(|text| text.lines().map(number).collect::<Vec<_>>()).collect()
    }
}

#[test]
fn a_killed_job_goes_on_with_the_same_command() {
    let bench = Bench::new();
    bench.killed();
    let script = bench.script("");
    let ended = bench.run(&script, &[]).expect(0).says("going on from snapshot ");
    let ended = ended.says(" rows were read by then)\n").says("  rows read      40,000 (");
    let ended = ended.says(" in this run, ").says("  snapshots      ");
    ended.says("barriers held up a shard ").says(" at most)\n");
    let rows = bench.values("rows");
    assert_eq!(rows.len() as u64, ROWS, "every row is there once");
    assert_eq!(rows.into_iter().collect::<BTreeSet<u64>>().len() as u64, ROWS);
    assert_eq!(bench.values("sums").iter().sum::<u64>(), ROWS * (ROWS + 1) / 2);

    // Once more: it has finished.
    let again = bench.run(&script, &[]).expect(0).says("the job had finished with snapshot ");
    let again = again.says("all 40,000 rows have been read").says("--fresh starts over");
    assert!(!again.err.contains("done after"), "{again:#?}");
    assert_eq!(bench.run(&script, &["-q"]).expect(0).err, "");
    bench.state(&["verify"]).expect(0);

    // And all over again; what was there is kept.
    let fresh = bench.run(&script, &["--fresh"]).expect(0).says("  rows read      40,000 (");
    assert!(!fresh.err.contains("going on"), "{fresh:#?}");
    assert!(!bench.names("old-1.manifest-").is_empty() && !bench.names("old-1.state-").is_empty());
    assert_eq!(bench.values("rows").len() as u64, 2 * ROWS);
}

#[test]
fn a_changed_script_is_refused_with_what_differs() {
    let bench = Bench::new();
    bench.killed();
    let refused = bench.run(&bench.script(" + 1"), &[]).expect(2);
    let refused = refused.says("the script is not the one whose state this is:\n  state:  ");
    let refused = refused.says("\n  script: ").says("(id + 1)").says("start over with `--fresh`");
    assert!(!refused.err.contains("Schema {") && !refused.err.contains('#'), "{refused:#?}");
    let missing = bench.script("").replace("INSERT INTO rows_out SELECT id FROM t;", "");
    let refused =
        bench.run(&missing, &[]).expect(2).says("  state:  Sink rows_out; takes: id BIGINT");
    assert!(!refused.err.contains("  script:"), "{refused:#?}");
    // Where rows go may change, and so may the number of snapshots.
    let moved = [
        "--table",
        "rows_out.sink.parallelism=1",
        "--set",
        "execution.checkpointing.num-retained=2",
    ];
    bench.run(&bench.script(""), &moved).expect(0).says("going on from");
}

#[test]
fn a_folder_has_one_job_at_a_time() {
    let bench = Bench::new();
    let child = bench.started();
    let link = bench.path("link");
    std::os::unix::fs::symlink(bench.path("state"), &link).unwrap();
    let owner = format!("process {} is running on it", child.id());
    bench.run(&bench.script(""), &[]).expect(2).says(&owner);
    let args = ["run", "--state", &link, "-e", &bench.script("")];
    tidemill(&args).expect(2).says(&owner);
    // A look does no harm, a check would find what is being written.
    let listed = bench.state(&["list"]).expect(0).says(&owner);
    assert!(listed.out.contains("newest"), "{listed:#?}");
    bench.state(&["inspect"]).expect(0).says(&owner);
    let checked = bench.state(&["verify"]).expect(2);
    checked.says(&format!("process {} is running on ", child.id()));
    kill_process(pid(&child), Signal::INT).unwrap();
    let stopped = finish(child).expect(0).says("stopped after");
    stopped.says("(windows open beyond it are kept in the state)");
    // At rest there is nothing to note.
    assert_eq!(tidemill(&["state", "verify", &link]).expect(0).err, "");
    // Another number of shards is no obstacle.
    let args = [&args[..], &["--shards", "3"]].concat();
    tidemill(&args).expect(0).says("going on from snapshot ").says(" on 3 shards");
}

#[test]
fn a_folder_of_something_else_is_not_touched() {
    let bench = Bench::new();
    fs::create_dir(bench.path("state")).unwrap();
    fs::write(bench.path("state/letter.txt"), "dear").unwrap();
    let ours = "the folder holds 'letter.txt', which is none of ours";
    bench.run(&bench.script(""), &[]).expect(2).says(ours);
    bench.run(&bench.script(""), &["--fresh"]).expect(2).says(ours);
    for action in ["list", "inspect", "verify"] {
        bench.state(&[action]).expect(2).says(ours);
    }
    assert_eq!(bench.names(""), ["letter.txt"]);
    tidemill(&["state", "list", &bench.path("nowhere")]).expect(2).says("No such file");
}

#[test]
fn a_folder_can_be_looked_at() {
    let bench = Bench::new();
    bench.killed();
    let listed = bench.state(&["list"]).expect(0).out;
    assert!(listed.starts_with("  snapshot  taken (UTC)") && listed.contains("newest"), "{listed}");
    let listed: Value =
        serde_json::from_str(&bench.state(&["list", "--json"]).expect(0).out).unwrap();
    let epoch = listed["snapshots"][0]["epoch"].as_u64().unwrap();
    assert!(listed["pid"].is_null() && epoch > 0, "{listed}");
    let text = bench.state(&["inspect"]).expect(0).out;
    for part in [
        &format!("snapshot {epoch} of "),
        "\noperators\n",
        "  WindowAggregate TUMBLE(size 1 s) on ts, cut in UTC; aggregates: SUM(id); ",
        "\ninputs\n  t: datagen: ",
        ", watermark 1970-01-01 00:00:",
        "\noutputs\n  rows_out: ",
        "\nfiles\n  state-0-0: ",
        "\n  exchange 0, shard 1 ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let number = epoch.to_string();
    let json = bench.state(&["inspect", "--json", "--epoch", &number]).expect(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["epoch"], &json["newest"]), (&Value::from(epoch), &Value::from(true)));
    let groups =
        json["state"].as_array().unwrap().iter().map(|space| space["groups"].as_u64().unwrap());
    let groups: u64 = groups.sum();
    assert!((1..=20).contains(&groups), "ten groups in a window: {json}");
    bench.state(&["inspect", "--epoch", "999999"]).expect(2).says("there is no snapshot 999999");
}

#[test]
fn damage_is_shown_with_its_place() {
    let bench = Bench::new();
    bench.killed();
    let whole = bench.state(&["verify"]).expect(0).out;
    // The kill may have come between a manifest and the removal of the one before.
    assert!(whole.contains(" is whole: "), "{whole}");
    let flip = |name: &str, at: usize| {
        let file = bench.path(&format!("state/{name}"));
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
    };
    let manifest = bench.names("manifest-").pop().unwrap();
    let text = fs::read_to_string(bench.path(&format!("state/{manifest}"))).unwrap();
    let root: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    let frame = root["spaces"][1][0]["frame"].as_u64().unwrap() * 16_384;
    flip("state-0-1", frame as usize + 20);
    let damaged = bench.state(&["verify"]).expect(1).out;
    let place = format!(
        "state/state-0-1: a page table's root at byte {frame} is damaged: its checksum is "
    );
    assert!(damaged.contains(&place) && damaged.contains(" is damaged in 1 places: "), "{damaged}");
    bench
        .state(&["inspect"])
        .expect(1)
        .says(&format!("a page table's root is damaged at byte {frame}"));
    bench.run(&bench.script(""), &[]).expect(1).says("`--fresh` starts over");
    flip("state-0-1", frame as usize + 20);
    flip(&manifest, 60);
    let damaged = bench.state(&["verify"]).expect(1).out;
    assert!(
        damaged.contains(&format!("state/{manifest}: the manifest at byte 0 is damaged: ")),
        "{damaged}"
    );
    bench.state(&["list"]).expect(1);
    flip(&manifest, 60);
    bench.state(&["verify"]).expect(0);
    let segment = bench.path("state/ingest-0-00000000000000000005");
    fs::write(&segment, "no group").unwrap();
    let damaged = bench.state(&["verify"]).expect(1).out;
    let place = format!("{segment}: the ingest log at byte 0 is damaged: its head is cut short");
    assert!(damaged.contains(&place) && damaged.contains(", 1 ingest log ("), "{damaged}");
}

#[test]
fn what_a_crash_would_lose_or_show_again_is_said() {
    let bench = Bench::new();
    let table = file_table("k STRING, v INT", "/nonexistent", "'format' = 'csv'");
    let script = format!("{table} SELECT k, v FROM t WHERE v > 1");
    let state = bench.path("state");
    let args = ["run", "-e", &script, "--table", "t.connector=stdin", "--state", &state];
    let ended = tidemill_fed(&args, "a,1\nb,2\n").expect(0);
    let ended = ended.says("warning: table 't' cannot be read again: a crash loses its rows since the last snapshot; read a file");
    let ended = ended.says("note: rows of SELECT are shown at once: after a crash, those since the last snapshot are shown again");
    assert_eq!(ended.out.lines().count(), 1);
    // A file that is redirected can be read again.
    fs::write(bench.path("t.csv"), "a,1\nb,2\n").unwrap();
    let file = fs::File::open(bench.path("t.csv")).unwrap();
    let args = ["run", "--fresh", "-e", &script, "--table", "t.connector=stdin", "--state", &state];
    let ended = finish(command(&args).stdin(file).spawn().unwrap()).expect(0);
    assert!(!ended.err.contains("warning"), "{ended:#?}");
}
