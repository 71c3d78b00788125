//! Users' functions in whole jobs: what `Collect` gathers, what becomes of a function that fails, what is refused.
//!
//! That such functions give what ours give, in all windows and through crashes, is for the suites `oracle` and `snapshots`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{ArrayRef, Int64Array, StringViewArray, new_null_array};
use proptest::prelude::*;
use tidemill::agg::collect::elements;
use tidemill::agg::{
    AggregateCall, AggregateFunction, Collect, Groups, Stored, UserAggregate, UserFunction,
};
use tidemill::batch::{Batch, DataType, Field, Schema};
use tidemill::connector::{Output, Sink, SinkPart, Style};
use tidemill::error::{Class, JobError, StateError};
use tidemill::job::{Fresh, Launch, Report, RuntimeKind, StateOptions, bind};
use tidemill::plan::{Node, Op, Plan};
use tidemill::sys::storage::SimDisk;

/// A row of the input: time, key, text.
type Row = (i64, u8, String);

/// The plan of a query over a file.
fn plan(path: &str, aggregate: &str, from: &str, chunk_bytes: u64) -> Plan {
    let text = format!(
        "CREATE TABLE t (at_ms BIGINT, k INT, b STRING, ts AS TO_TIMESTAMP_LTZ(at_ms, 3), \
         WATERMARK FOR ts AS ts - INTERVAL '1' HOUR) \
         WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'json');
         CREATE TABLE o (k INT, c STRING, ws TIMESTAMP(3), we TIMESTAMP(3)) WITH ('connector' = 'blackhole');
         INSERT INTO o SELECT k, CAST({aggregate} AS STRING), window_start, window_end FROM TABLE({from}) \
         GROUP BY window_start, window_end, k;"
    );
    let output = Output::new(Box::new(std::io::sink()), Style::JsonLines);
    let overrides = [("tidemill.chunk-bytes".to_owned(), chunk_bytes.to_string())];
    bind(&text, &output, &overrides).unwrap_or_else(|errors| panic!("{:?}", errors[0])).plan
}

/// A file of rows.
fn write(folder: &tempfile::TempDir, rows: &[Row]) -> String {
    let line = |(at_ms, k, b): &Row| format!("{{\"at_ms\":{at_ms},\"k\":{k},\"b\":\"{b}\"}}\n");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, rows.iter().map(line).collect::<String>()).unwrap();
    path.display().to_string()
}

/// The place of the aggregation in a plan, and its only call.
fn aggregation(plan: &mut Plan) -> (usize, &mut AggregateCall) {
    let mut nodes = plan.nodes.iter_mut().enumerate();
    let found = nodes.find_map(|(index, node)| match &mut node.op {
        Op::WindowAggregate { aggregates, .. } => Some((index, &mut aggregates[0])),
        _ => None,
    });
    found.expect("the query has one")
}

/// Keeps what it is given.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Batch>>>);

impl Sink for Kept {
    fn accepts_changes(&self) -> bool {
        true
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkPart for Kept {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        self.0.lock().unwrap().push(batch.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}

impl Kept {
    /// All rows: their batches, and their places there.
    fn rows(&self) -> Vec<(Batch, usize)> {
        let batches = self.0.lock().unwrap();
        let rows = batches.iter().flat_map(|batch| (0..batch.rows).map(|row| (batch.clone(), row)));
        rows.collect()
    }
}

/// Keeps what node `index` yields, and nothing else.
fn keep(plan: &mut Plan, index: usize) -> Kept {
    plan.nodes.truncate(index + 1);
    let kept = Kept::default();
    let sink: Arc<dyn Sink> = Arc::new(kept.clone());
    let (schema, table) = (plan.nodes[index].schema.clone(), "kept".into());
    plan.nodes.push(Node { op: Op::Sink { input: index, table, sink, limit: None }, schema });
    kept
}

/// By key and window: what was gathered.
type Gathered = BTreeMap<(i32, i64, i64), Vec<Vec<u8>>>;

/// Gathers the texts of all rows in windows of `from`.
fn gather(path: &str, from: &str, shards: usize, runtime: RuntimeKind, chunk: u64) -> Gathered {
    let mut plan = plan(path, "COUNT(CAST(b AS BYTES))", from, chunk);
    let (index, call) = aggregation(&mut plan);
    *call = Collect::call(call.args[0], "c");
    let mut fields = plan.nodes[index].schema.fields.to_vec();
    fields[1] = Field::new("c", DataType::BYTES).not_null();
    plan.nodes[index].schema = Schema::new(fields);
    let kept = keep(&mut plan, index);
    let report = Launch::new(&plan, Some(shards), Some(runtime)).unwrap().run();
    assert!(report.failure.is_none(), "{:?}", report.failure);
    let mut gathered = Gathered::new();
    for (batch, row) in kept.rows() {
        let time = |column: usize| batch.columns[column].as_primitive::<Int64Type>().value(row);
        let key = batch.columns[0].as_primitive::<Int32Type>().value(row);
        let found = elements(batch.columns[1].as_binary_view().value(row));
        let found = found.map(|element| {
            assert!(element.as_ptr().addr().is_multiple_of(16));
            element.to_vec()
        });
        let known = gathered.insert((key, time(2), time(3)), found.collect());
        assert_eq!(known, None, "a window fires once");
    }
    gathered
}

fn rows(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec((0..60_000i64, 0..4u8, "[a-z]{0,40}"), count)
}

fn settings() -> impl Strategy<Value = (usize, RuntimeKind, u64)> {
    let chunks = prop_oneof![Just(1u64), Just(200), Just(1 << 20)];
    (1..4usize, any::<u64>().prop_map(RuntimeKind::Sim), chunks)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    /// Windows get their rows in the order of arrival, also those that overlap.
    #[test]
    fn what_is_gathered_is_in_order(rows in rows(0..120), (shards, runtime, chunk) in settings(), hops in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, &rows);
        let (slide, from) = match hops {
            true => (5_000, "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' SECOND, INTERVAL '10' SECOND)"),
            false => (10_000, "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)"),
        };
        let mut expected = Gathered::new();
        for (at_ms, key, text) in &rows {
            let mut start = at_ms - at_ms % slide;
            while start + 10_000 > *at_ms {
                let window = expected.entry((i32::from(*key), start, start + 10_000)).or_default();
                window.push(text.as_bytes().to_vec());
                start -= slide;
            }
        }
        prop_assert_eq!(gather(&path, from, shards, runtime, chunk), expected);
    }

    /// Sessions get all of their rows: as they came, and those of sessions that were merged one session after the other, as they began.
    #[test]
    fn sessions_are_gathered_whole(rows in rows(1..120), (shards, runtime, chunk) in settings()) {
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, &rows);
        let from = "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '2' SECOND)";
        // As they began: key, start, end, texts.
        let mut open: Vec<(i32, i64, i64, Vec<Vec<u8>>)> = Vec::new();
        for (at_ms, key, text) in &rows {
            let (key, start, end) = (i32::from(*key), *at_ms, *at_ms + 2_000);
            let touches = |session: &mut (i32, i64, i64, Vec<Vec<u8>>)| {
                session.0 == key && session.1 <= end && session.2 >= start
            };
            let home = open.iter_mut().position(touches).unwrap_or(open.len());
            if home == open.len() {
                open.push((key, start, end, Vec::new()));
            }
            let merged: Vec<_> = open.extract_if(home + 1.., touches).collect();
            let session = &mut open[home];
            for (_, start, end, texts) in merged.into_iter().chain([(key, start, end, vec![text.as_bytes().to_vec()])]) {
                (session.1, session.2) = (session.1.min(start), session.2.max(end));
                session.3.extend(texts);
            }
        }
        let expected: Gathered = open.into_iter().map(|(key, start, end, texts)| ((key, start, end), texts)).collect();
        prop_assert_eq!(gather(&path, from, shards, runtime, chunk), expected);
    }
}

/// To copy a window at each of its rows would take hours.
#[test]
fn a_window_of_a_hundred_thousand_rows_is_gathered() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Row> = (0..100_000).map(|row| (row % 1000, 7, format!("{row:030}"))).collect();
    let path = write(&folder, &rows);
    let from = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)";
    let gathered = gather(&path, from, 2, RuntimeKind::Sim(1), 1 << 20);
    let texts: Vec<Vec<u8>> = rows.into_iter().map(|(_, _, text)| text.into_bytes()).collect();
    assert_eq!(gathered, Gathered::from([((7, 0, 10_000), texts)]));
}

/// Counts rows in the last word of an accumulator that is longer than any page.
#[derive(Debug)]
struct Large;

const LARGE_BYTES: usize = 1 << 20;

impl UserAggregate for Large {
    fn name(&self) -> &str {
        "LARGE"
    }

    fn uid(&self) -> &str {
        "large"
    }

    fn version(&self) -> u64 {
        1
    }

    fn arg_types(&self) -> &[DataType] {
        &[]
    }

    fn data_type(&self) -> DataType {
        DataType::BigInt
    }

    fn nullable(&self) -> bool {
        false
    }

    fn is_order_sensitive(&self) -> bool {
        false
    }

    fn folds_early(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<u8> {
        vec![0; LARGE_BYTES]
    }

    fn add(&self, groups: &mut Groups<'_>, _: &[ArrayRef]) -> Result<(), String> {
        groups.each(|stored, rows| {
            *stored.bytes_mut().last_chunk_mut().unwrap() =
                (count_of(stored.bytes()) + rows.len() as i64).to_le_bytes();
            Ok(())
        })
    }

    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String> {
        *into.bytes_mut().last_chunk_mut().unwrap() =
            (count_of(into.bytes()) + count_of(from)).to_le_bytes();
        Ok(())
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let counts = accumulators.iter().map(|bytes| count_of(bytes));
        Ok(Arc::new(Int64Array::from_iter_values(counts)))
    }
}

fn count_of(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(*bytes.last_chunk().unwrap())
}

/// Folded before they travel, such accumulators leave before the end of the chunk.
#[test]
fn large_accumulators_leave_early() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<Row> = (0..9_000).map(|row| (row, (row % 50) as u8, String::new())).collect();
    let path = write(&folder, &rows);
    let from = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)";
    let mut plan = plan(&path, "COUNT(*)", from, 1 << 20);
    let (index, call) = aggregation(&mut plan);
    *call = AggregateCall::user(UserFunction(Arc::new(Large)), Vec::new(), "c");
    let kept = keep(&mut plan, index);
    let report = run(&plan, RuntimeKind::Sim(1), None);
    assert!(report.failure.is_none(), "{:?}", report.failure);
    let counts = kept.rows().into_iter().map(|(batch, row)| {
        assert_eq!(batch.columns[1].as_primitive::<Int64Type>().value(row), 180);
    });
    assert_eq!(counts.count(), 50);
}

/// How a function goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    AddPanics,
    AddRefuses,
    MergePanics,
    FinishPanics,
    TooFew,
    WrongType,
    Null,
}

/// Counts bytes of texts, in decimal.
#[derive(Debug)]
struct Lengths {
    version: u64,
    fault: Fault,
}

impl Lengths {
    fn add_to(stored: &mut Stored<'_>, bytes: usize) -> Result<(), String> {
        let held: usize = std::str::from_utf8(stored.bytes()).unwrap().parse().unwrap();
        stored.replace((held + bytes).to_string().as_bytes())
    }
}

impl UserAggregate for Lengths {
    fn name(&self) -> &str {
        "LENGTHS"
    }

    fn uid(&self) -> &str {
        "my-lengths"
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn arg_types(&self) -> &[DataType] {
        &[DataType::STRING]
    }

    fn data_type(&self) -> DataType {
        DataType::STRING
    }

    fn nullable(&self) -> bool {
        false
    }

    fn is_order_sensitive(&self) -> bool {
        false
    }

    fn folds_early(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<u8> {
        b"0".to_vec()
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        groups.each(|stored, rows| match self.fault {
            Fault::AddPanics => panic!("no {}", "good"),
            Fault::AddRefuses => Err("I would rather not".into()),
            _ => rows.iter().try_for_each(|&row| {
                Self::add_to(stored, args[0].as_string_view().value(row as usize).len())
            }),
        })
    }

    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String> {
        assert_ne!(self.fault, Fault::MergePanics);
        Self::add_to(into, std::str::from_utf8(from).unwrap().parse().unwrap())
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let texts = accumulators.iter().map(|bytes| std::str::from_utf8(bytes).unwrap());
        let texts = texts.filter(|_| self.fault != Fault::TooFew);
        Ok(match self.fault {
            Fault::FinishPanics => std::panic::panic_any(7),
            Fault::WrongType => {
                Arc::new(texts.map(|text| text.len() as i64).collect::<Int64Array>())
            }
            Fault::Null => new_null_array(&DataType::STRING.arrow(), accumulators.len()),
            _ => Arc::new(StringViewArray::from_iter_values(texts)),
        })
    }
}

/// The plan of a query that calls it.
fn lengths(path: &str, version: u64, fault: Fault) -> Plan {
    let from = "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND)";
    let mut plan = plan(path, "LISTAGG(b)", from, 64);
    let (_, call) = aggregation(&mut plan);
    let function = UserFunction(Arc::new(Lengths { version, fault }));
    *call = AggregateCall::user(function, call.args.clone(), "c");
    plan
}

fn some_rows(count: i64) -> Vec<Row> {
    (0..count).map(|row| (row * 1000, (row % 3) as u8, "abc".into())).collect()
}

fn run(plan: &Plan, runtime: RuntimeKind, state: Option<(&SimDisk, Fresh)>) -> Report {
    let job = Launch::new(plan, Some(2), Some(runtime)).unwrap();
    let options = |(disk, fresh): (&SimDisk, Fresh)| StateOptions {
        folder: "/state".into(),
        storage: Arc::new(disk.clone()),
        fresh,
        interval_ms: 0,
        retained_count: 1,
        memory_bytes: 1 << 20,
        pid: 1,
    };
    state.map(options).into_iter().fold(job, Launch::state).run()
}

/// A function that fails ends its job with its name and its words, on every runtime, with state and without.
#[test]
fn a_function_that_fails_ends_its_job() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &some_rows(40));
    let wrong = [
        (Fault::AddPanics, "adding rows: it panicked: no good"),
        (Fault::AddRefuses, "adding rows: I would rather not"),
        (Fault::MergePanics, "merging: it panicked: assertion"),
        (Fault::FinishPanics, "finishing: it panicked: without a message"),
        (Fault::TooFew, "finishing: it gave 0 results of"),
        (Fault::WrongType, "finishing: it gave a result of type Int64, not Utf8View"),
        (Fault::Null, "finishing: it gave NULL, which it excludes"),
    ];
    for (fault, says) in wrong {
        let disk = SimDisk::new(1);
        let plan = lengths(&path, 3, fault);
        for (runtime, state) in [
            (RuntimeKind::Sim(1), None),
            (RuntimeKind::Poll, None),
            (RuntimeKind::detect(), None),
            (RuntimeKind::Sim(1), Some((&disk, Fresh::GoOn))),
        ] {
            let failure = run(&plan, runtime, state).failure.expect("it fails");
            assert_eq!(failure.class(), Class::User, "{failure}");
            let text = failure.to_string();
            let wanted = format!("function LENGTHS of uid 'my-lengths', version 3, {says}");
            assert!(text.starts_with(&wanted), "{fault:?} on {runtime:?}: {text}");
        }
    }
}

/// State of another version of a function is not gone on from, and the refusal says which function and which versions.
#[test]
fn another_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &some_rows(400));
    let disk = SimDisk::new(1);
    let killed = RuntimeKind::Dying { seed: 1, steps: 300 };
    let first = run(&lengths(&path, 1, Fault::None), killed, Some((&disk, Fresh::GoOn)));
    assert!(matches!(first.failure, Some(JobError::Killed)), "{:?}", first.failure);
    disk.kill();
    let sim = RuntimeKind::Sim(2);
    for fresh in [Fresh::GoOn, Fresh::AllowNewAggregates] {
        let second = run(&lengths(&path, 2, Fault::None), sim, Some((&disk, fresh)));
        let Some(JobError::State(StateError::Changed { reason, .. })) = second.failure else {
            panic!("{fresh:?}: {:?}", second.failure)
        };
        let names = |text: &str| reason.contains(text);
        assert!(names("LENGTHS(") && names(" of uid 'my-lengths', version 1"), "{reason}");
        disk.kill();
    }
    let third = run(&lengths(&path, 1, Fault::None), sim, Some((&disk, Fresh::GoOn)));
    assert!(third.failure.is_none(), "{:?}", third.failure);
    assert!(third.went_on_from.is_some_and(|from| !from.finished), "there was state to go on from");
}

/// What a function cannot be called with is refused before anything runs.
#[test]
fn calls_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &some_rows(40));
    let says = |change: fn(&mut AggregateCall)| {
        let mut plan = lengths(&path, 1, Fault::None);
        change(aggregation(&mut plan).1);
        let refusal =
            Launch::new(&plan, Some(1), Some(RuntimeKind::Sim(1))).err().expect("refused");
        assert_eq!(refusal.class(), Class::User);
        refusal.to_string()
    };
    assert!(says(|call| call.distinct = true).ends_with("cannot be DISTINCT"));
    assert!(says(|call| call.args.clear()).ends_with("it takes (STRING), not ()"));
    let collect = |call: &mut AggregateCall| {
        call.function = AggregateFunction::User(UserFunction(Arc::new(Collect)));
    };
    assert!(says(collect).ends_with("it takes (BYTES), not (STRING)"));
}
