//! Rows of queries that come to the program.

use std::collections::BTreeMap;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_schema::{DataType, TimeUnit};
use proptest::prelude::*;
use tidemill::batch::RowKind;
use tidemill::error::JobError;
use tidemill::{Iterate, Options, Records, Session, Span};

use super::events::{SECONDS, Written, events, mistake, nothing, second, simulated};

/// A window of a key: its start, the key, its rows, the sum of its notes, its greatest name.
type Line = (i64, u32, i64, Option<i64>, Option<String>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn rows_are_what_a_loop_says(events in events()) {
        let written = Written::new(&events);
        let session = written.session();
        let text = format!("SELECT window_start, k, COUNT(*), SUM(note), MAX(name) {SECONDS}");
        let mut groups = BTreeMap::new();
        for event in &events {
            let group = groups.entry((second(event), event.key)).or_insert((0, None, None));
            group.0 += 1;
            group.1 = event.note.map(|note| group.1.unwrap_or(0) + note).or(group.1);
            group.2 = Some(event.name.clone()).max(group.2.clone());
        }
        let line = |((start, key), (count, sum, name))| (start, key, count, sum, name);
        let expected: Vec<Line> = groups.into_iter().map(line).collect();
        prop_assert_eq!(written.rows::<Line>(&session, &text), expected);
    }

    /// What is taken back and shown again leaves what a window without early results shows; as typed rows and as record batches.
    #[test]
    fn changes_come_to_the_results(events in events(), shards in 1..4usize) {
        let written = Written::new(&events);
        let session = written.session();
        let select = format!("SELECT window_start, k, COUNT(*) {SECONDS}");
        let expected = written.rows::<(i64, u32, i64)>(&session, &select);
        let early = "SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '100 ms'; \
                     SET 'tidemill.emit.early-fire.clock' = 'event-time';";
        let query = session.query(&format!("{early} {select}")).unwrap();
        prop_assert!(query.has_changes());
        let options = || simulated(shards);
        let mut held = BTreeMap::new();
        let mut apply = |sign: i64, row: (i64, u32, i64)| *held.entry(row).or_insert(0) += sign;
        for change in query.changes::<(i64, u32, i64)>(options()).unwrap() {
            let (kind, row) = change.unwrap();
            apply(if matches!(kind, RowKind::Insert | RowKind::UpdateAfter) { 1 } else { -1 }, row);
        }
        held.retain(|_, count| *count != 0);
        prop_assert_eq!(held.into_iter().collect::<Vec<_>>(), expected.iter().map(|row| (*row, 1)).collect::<Vec<_>>());
        let mut held = BTreeMap::new();
        for batch in query.batches(options()).unwrap() {
            let batch = batch.unwrap();
            let start = batch.column(1).as_primitive::<TimestampMillisecondType>();
            let [key, count] = [2, 3].map(|column| batch.column(column).as_primitive::<Int64Type>());
            for row in 0..batch.num_rows() {
                let sign = if batch.column(0).as_string_view().value(row).starts_with('+') { 1 } else { -1 };
                *held.entry((start.value(row), key.value(row) as u32, count.value(row))).or_insert(0) += sign;
            }
        }
        held.retain(|_, count| *count != 0);
        prop_assert_eq!(held.into_iter().collect::<Vec<_>>(), expected.into_iter().map(|row| (row, 1)).collect::<Vec<_>>());
    }
}

#[test]
fn record_batches_have_arrows_types() {
    let mut session = Session::new();
    session.table("t", Records::new([86_400_001_i64])).column("n", |n| *n).watermark(
        "ts",
        |n| *n,
        Span::millis(0),
    );
    let text = "SELECT n, ts, CAST(ts AS DATE) AS d, CAST(ts AS TIME) AS t, CAST(ts AS TIMESTAMP(6)) AS micros, \
                TO_TIMESTAMP_LTZ(n, 3) AS z, CAST(n AS DECIMAL(12, 2)) AS x, CAST(n AS STRING) AS s FROM t";
    let batches = session.query(text).unwrap().batches(Options::default()).unwrap();
    let schema = batches.schema();
    let types = schema.fields().iter().map(|field| field.data_type().clone());
    let timestamp = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
    assert_eq!(
        types.collect::<Vec<_>>(),
        [
            DataType::Int64,
            timestamp(TimeUnit::Millisecond, None),
            DataType::Date32,
            DataType::Time32(TimeUnit::Millisecond),
            timestamp(TimeUnit::Microsecond, None),
            timestamp(TimeUnit::Millisecond, Some("UTC")),
            DataType::Decimal128(12, 2),
            DataType::Utf8View,
        ]
    );
    assert!(!schema.field(1).is_nullable());
    let batches = batches.collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].schema(), schema);
    assert_eq!(batches[0].column(2).as_primitive::<arrow_array::types::Date32Type>().value(0), 1);
    assert_eq!(
        batches[0].column(1).as_primitive::<TimestampMillisecondType>().value(0),
        86_400_001
    );
    assert_eq!(batches[0].column(7).as_string_view().value(0), "86400001");
    assert_eq!(batches[0].column(6).len(), 1);
}

/// A session over all natural numbers.
fn endless() -> Session {
    let mut session = Session::new();
    session.table("numbers", Iterate::new(|| 0_i64..)).column("n", |n| *n);
    session
}

#[test]
fn a_reader_that_goes_away_ends_the_job() {
    let query = endless().query("SELECT n FROM numbers").unwrap();
    let mut rows = query.rows::<i64>(Options::default().shards(2)).unwrap();
    let first = (0..10_000).map(|_| rows.next().unwrap().unwrap());
    assert!(first.eq(0..10_000));
    // Returns, though the source has no end.
    drop(rows);
}

/// From another thread, while this one waits for rows. A shard that had its next chunk as soon as it was done with one once never heard that
/// the job was cancelled.
#[test]
fn a_query_is_stopped_and_cancelled_while_it_is_read() {
    let query = endless().query("SELECT n FROM numbers").unwrap();
    for cancel in [false, true] {
        let mut rows = query.rows::<i64>(Options::default().shards(2)).unwrap();
        let remote = rows.remote();
        let (mut count, mut failure) = (0, None);
        let totals = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                while remote.metrics().totals.rows_out < 50_000 {
                    std::thread::yield_now();
                }
                if cancel { remote.cancel() } else { remote.stop() }
            });
            rows.by_ref().for_each(|row| match row {
                Ok(_) => count += 1,
                Err(error) => failure = Some(error),
            });
            waiting.join().unwrap();
            remote.metrics().totals
        });
        assert_eq!(failure.is_some(), cancel, "{failure:?}");
        assert!(failure.is_none_or(|error| matches!(error, JobError::Cancelled)));
        // A job that is cancelled may have written more than was taken over.
        assert!(count == totals.rows_out || cancel, "{count} of {}", totals.rows_out);
        assert!(count >= 1000, "{count}");
    }
}

#[test]
fn a_limit_ends_the_job() {
    let query = endless().query("SELECT n FROM numbers WHERE n > 4 LIMIT 3").unwrap();
    let rows = query.rows::<i64>(Options::default().shards(1)).unwrap();
    assert_eq!(rows.collect::<Result<Vec<_>, _>>().unwrap(), [5, 6, 7]);
}

#[test]
fn a_failure_comes_behind_the_rows() {
    let mut session = Session::new();
    session.table("t", Records::new(["1", "2", "x"].map(String::from))).text("s", |s| s);
    let query = session.query("SELECT CAST(s AS INT) FROM t").unwrap();
    let mut rows = query.rows::<Option<i32>>(Options::default().shards(1)).unwrap();
    let error = rows.find_map(Result::err).unwrap();
    assert!(error.to_string().contains('x'), "{error}");
    assert!(rows.next().is_none());
}

#[test]
fn a_closure_that_panics_ends_its_job() {
    let query = endless().query("SELECT n FROM numbers").unwrap();
    let job = query.for_each(|_, n: i64| assert!(n < 5000, "too many")).unwrap();
    let error = job.run(Options::default().shards(2)).unwrap_err();
    assert_eq!(error.to_string(), "for_each: the closure panicked: too many");
}

#[test]
fn columns_that_are_read_as_something_else_are_named() {
    let session = nothing().session();
    let query = session.query("SELECT k, name, note FROM events").unwrap();
    let options = Options::default;
    let error = query.rows::<(u32, String)>(options()).unwrap_err();
    assert_eq!(error.to_string(), "the query gives 3 columns (k, name, note), and 2 are read");
    let error = query.rows::<(u32, i64, Option<i64>)>(options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 2, 'name', is STRING NOT NULL, and is read as BIGINT NOT NULL"
    );
    let error = query.for_each(|_, _: (u32, String, i64)| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 3, 'note', may be NULL; read an Option, or give NULL a value with COALESCE"
    );
    let sums = session.query(&format!(
        "SET 'table.exec.emit.early-fire.enabled' = 'true'; SET 'table.exec.emit.early-fire.delay' = '1 s'; \
         SELECT COUNT(*) {SECONDS}"
    ));
    let error = sums.unwrap().rows::<i64>(options()).unwrap_err();
    assert!(error.to_string().starts_with("early or late firing takes back rows"), "{error}");
}

#[test]
fn a_number_that_does_not_fit_is_no_other_number() {
    let mut session = Session::new();
    session.table("t", Records::new([5_i64, -1])).column("n", |n| *n);
    let query = session.query("SELECT n FROM t").unwrap();
    let mut rows = query.rows::<u32>(Options::default().shards(1)).unwrap();
    let error = rows.find_map(Result::err).unwrap();
    assert!(error.to_string().contains("a value of the column 'n' is not in the range"), "{error}");
}

#[test]
fn a_query_is_one_select() {
    let session = nothing().session();
    assert_eq!(
        mistake(session.query("SELECT k FROM events; SELECT k FROM events;")),
        "a query is one SELECT, and there are several"
    );
    let insert = "CREATE TABLE o (k BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO o SELECT k FROM events;";
    assert_eq!(mistake(session.query(insert)), "a query is a SELECT, and there is none");
}
