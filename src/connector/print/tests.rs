//! Every type in every style, several tables, and a reader that goes away.

use std::io;
use std::sync::Mutex;

use arrow_array::{
    BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int32Array, Int64Array, StringViewArray,
};

use super::*;
use crate::batch::{DataType, Field};

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn print(schema: &Schema, batches: &[Batch], style: Style) -> String {
    let kept = Kept::default();
    let sink = PrintSink::new("out1", &Output::new(Box::new(kept.clone()), style));
    let mut part = sink.part(schema, 0, 1).unwrap();
    for batch in batches {
        part.write(batch).unwrap();
    }
    assert_eq!(kept.text(), "", "nothing is shown before a flush");
    part.flush().unwrap();
    part.finish().unwrap();
    kept.text()
}

fn small() -> (Schema, Batch) {
    let schema = Schema::new(vec![
        Field::new("ts", DataType::Timestamp(3)),
        Field::new("k", DataType::STRING),
        Field::new("cnt", DataType::BigInt),
    ]);
    let batch = Batch::new(
        vec![
            Arc::new(Int64Array::from(vec![Some(1_704_067_210_000), None])),
            Arc::new(StringViewArray::from(vec![Some("日本, \"x\""), Some("a\nb\u{1}\\")])),
            Arc::new(Int64Array::from(vec![Some(2), Some(-7)])),
        ],
        2,
    );
    (schema, batch.with_kinds([RowKind::UpdateAfter, RowKind::Delete].into()))
}

#[test]
fn json_lines() {
    let (schema, batch) = small();
    let expected = r#"{"op":"+U","ts":"2024-01-01 00:00:10.000","k":"日本, \"x\"","cnt":2}
{"op":"-D","ts":null,"k":"a\nb\u0001\\","cnt":-7}
"#;
    assert_eq!(print(&schema, &[batch], Style::JsonLines), expected);
}

#[test]
fn csv() {
    let (schema, batch) = small();
    let expected =
        "op,ts,k,cnt\n+U,2024-01-01 00:00:10.000,\"日本, \"\"x\"\"\",2\n-D,,\"a\nb\u{1}\\\",-7\n";
    assert_eq!(print(&schema, &[batch], Style::Csv), expected);
}

#[test]
fn table() {
    let (schema, batch) = small();
    let later = Batch::new(
        vec![
            Arc::new(Int64Array::from(vec![0])),
            Arc::new(StringViewArray::from(vec!["longer than the first"])),
            Arc::new(Int64Array::from(vec![1])),
        ],
        1,
    );
    let expected = "\
op | ts                      | k           |      cnt
---+-------------------------+-------------+---------
+U | 2024-01-01 00:00:10.000 | 日本, \"x\"   |        2
-D | NULL                    | a\\nb\\u0001\\ |       -7
+I | 1970-01-01 00:00:00.000 | longer than the first |        1
";
    assert_eq!(print(&schema, &[batch, later], Style::Table), expected);
}

fn one(data_type: DataType, column: arrow_array::ArrayRef) -> Vec<String> {
    let schema = Schema::new(vec![Field::new("f", data_type)]);
    let rows = column.len();
    let text = print(&schema, &[Batch::new(vec![column], rows)], Style::JsonLines);
    let value = |line: &str| {
        line.strip_prefix("{\"op\":\"+I\",\"f\":").unwrap().strip_suffix('}').unwrap().to_owned()
    };
    text.lines().map(value).collect()
}

#[test]
fn every_type_as_the_recorded_cases_have_it() {
    assert_eq!(
        one(DataType::Boolean, Arc::new(BooleanArray::from(vec![true, false]))),
        ["true", "false"]
    );
    assert_eq!(one(DataType::Null, Arc::new(BooleanArray::from(vec![None]))), ["null"]);
    assert_eq!(one(DataType::TinyInt, Arc::new(Int8Array::from(vec![-128]))), ["-128"]);
    let doubles = vec![1e16, 0.1, -0.0, f64::NAN, f64::NEG_INFINITY, 1e-5];
    let expected = ["1.0E16", "0.1", "-0.0", "\"NaN\"", "\"-Infinity\"", "1.0E-5"];
    assert_eq!(one(DataType::Double, Arc::new(Float64Array::from(doubles))), expected);
    assert_eq!(one(DataType::Float, Arc::new(Float32Array::from(vec![3.3000002]))), ["3.3000002"]);
    let decimals = Decimal128Array::from(vec![-1235, 5]).with_precision_and_scale(10, 3).unwrap();
    assert_eq!(one(DataType::Decimal(10, 3), Arc::new(decimals)), ["-1.235", "0.005"]);
    let bytes = BinaryViewArray::from(vec![&[0u8, 255, 16][..], b""]);
    assert_eq!(one(DataType::BYTES, Arc::new(bytes)), ["\"00ff10\"", "\"\""]);
    assert_eq!(
        one(DataType::Date, Arc::new(Int32Array::from(vec![-1, 2_932_897]))),
        ["\"1969-12-31\"", "\"+10000-01-01\""]
    );
    let times = Int32Array::from(vec![36_900_000, 36_930_000, 36_930_120]);
    assert_eq!(
        one(DataType::Time(3), Arc::new(times)),
        ["\"10:15\"", "\"10:15:30\"", "\"10:15:30.120\""]
    );
    let ms = Int64Array::from(vec![-1, 1500, 253_402_300_800_000]);
    let expected = [
        "\"1969-12-31 23:59:59.999\"",
        "\"1970-01-01 00:00:01.500\"",
        "\"+10000-01-01 00:00:00.000\"",
    ];
    assert_eq!(one(DataType::Timestamp(0), Arc::new(ms)), expected);
    let ns = Int64Array::from(vec![1_000_000, 1_001_000, -1]);
    let expected = [
        "\"1970-01-01 00:00:00.001Z\"",
        "\"1970-01-01 00:00:00.001001Z\"",
        "\"1969-12-31 23:59:59.999999999Z\"",
    ];
    assert_eq!(one(DataType::TimestampLtz(9), Arc::new(ns)), expected);
    let us = Int64Array::from(vec![2_000, 2_001]);
    let expected = ["\"1970-01-01 00:00:00.002\"", "\"1970-01-01 00:00:00.002001\""];
    assert_eq!(one(DataType::Timestamp(6), Arc::new(us)), expected);
    assert_eq!(
        one(DataType::IntervalDay, Arc::new(Int64Array::from(vec![-90_061_001]))),
        ["\"-1 01:01:01.001\""]
    );
    assert_eq!(one(DataType::IntervalMonth, Arc::new(Int32Array::from(vec![14]))), ["\"+1-02\""]);
}

#[test]
fn where_several_tables_print_each_row_says_which() {
    let (schema, batch) = small();
    let kept = Kept::default();
    let output = Output::new(Box::new(kept.clone()), Style::JsonLines);
    let sinks = [PrintSink::new("a", &output), PrintSink::new("b\"", &output)];
    for sink in &sinks {
        let mut part = sink.part(&schema, 0, 1).unwrap();
        part.write(&batch.slice(0, 1)).unwrap();
        part.finish().unwrap();
    }
    let lines = kept.text();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].starts_with(r#"{"op":"+U","sink":"a","ts":"#), "{}", lines[0]);
    assert!(lines[1].starts_with(r#"{"op":"+U","sink":"b\"","ts":"#), "{}", lines[1]);
}

#[test]
fn a_part_that_is_dropped_shows_what_it_took() {
    let (schema, batch) = small();
    let kept = Kept::default();
    let sink = PrintSink::new("t", &Output::new(Box::new(kept.clone()), Style::JsonLines));
    let mut part = sink.part(&schema, 0, 1).unwrap();
    part.write(&batch).unwrap();
    drop(part);
    assert_eq!(kept.text().lines().count(), 2);
}

#[test]
fn options() {
    let kept = Kept::default();
    let output = Output::new(Box::new(kept.clone()), Style::JsonLines);
    let resolve = |pairs: &[(&str, &str)]| {
        let options =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        PrintSink::resolve("t", &options, &output)
    };
    let (schema, batch) = small();
    let mut part = resolve(&[("print-identifier", "hello")]).unwrap().part(&schema, 0, 1).unwrap();
    part.write(&batch.slice(0, 1)).unwrap();
    part.finish().unwrap();
    assert!(kept.text().starts_with(r#"{"op":"+U","sink":"hello","#));
    assert_eq!(resolve(&[("standard-error", "true")]).unwrap_err().key, "standard-error");
    assert_eq!(resolve(&[("sink.parallelism", "0")]).unwrap_err().key, "sink.parallelism");
    assert_eq!(
        resolve(&[("print-identifer", "x")]).unwrap_err().hint.unwrap(),
        "did you mean 'print-identifier'?"
    );
}

#[test]
fn a_closed_pipe_is_told_apart() {
    struct Closed(ErrorKind);
    use io::ErrorKind;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (schema, batch) = small();
    let fail = |kind| {
        let sink = PrintSink::new("t", &Output::new(Box::new(Closed(kind)), Style::JsonLines));
        let mut part = sink.part(&schema, 0, 1).unwrap();
        part.write(&batch).unwrap();
        part.flush().unwrap_err()
    };
    assert!(matches!(fail(ErrorKind::BrokenPipe), JobError::OutputClosed));
    assert!(matches!(fail(ErrorKind::StorageFull), JobError::Io { .. }));
}
