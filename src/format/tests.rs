//! The formats through their traits: the inputs and answers below are what Flink 2.3 made of the same bytes,
//! but for TIMESTAMP(3), which keeps three digits here.

mod answers;
mod random;
mod speed;
mod written;

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_buffer::Buffer;
use arrow_select::concat::concat;

use super::*;
use crate::batch::{DataType, Field};

/// A table `ts TIMESTAMP(3), k STRING, v INT`.
fn schema() -> Schema {
    Schema::new(vec![
        Field::new("ts", DataType::Timestamp(3)),
        Field::new("k", DataType::STRING),
        Field::new("v", DataType::Int),
    ])
}

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn format(pairs: &[(&str, &str)], schema: &Schema) -> Arc<dyn Format> {
    resolve(&options(pairs), None, schema).unwrap()
}

/// Decodes all columns of `text` and writes the rows as JSON lines, with what went wrong after them.
fn decode(pairs: &[(&str, &str)], schema: &Schema, bytes: &[u8]) -> String {
    let all: Vec<usize> = (0..schema.column_count()).collect();
    let decoded = format(pairs, schema).decoder(schema, &all).decode(&Buffer::from(bytes), true);
    let mut out = Vec::new();
    let mut encoder = format(&[("format", "json")], schema).encoder(schema);
    for batch in &decoded.batches {
        encoder.encode(batch, &mut out);
    }
    let mut text = String::from_utf8(out).unwrap();
    for skipped in &decoded.skipped {
        text +=
            &format!("skipped {}:{} {}\n", skipped.line_index + 1, skipped.column, skipped.reason);
    }
    if let Some(failure) = &decoded.failure {
        text +=
            &format!("failed {}:{} {}\n", failure.line_index + 1, failure.column, failure.reason);
    }
    text
}

#[test]
fn json_skipping_errors() {
    let input = r#"{"ts": "2024-01-01 00:00:00.000", "k": "a", "v": 1}
{"ts":"2024-01-01 00:00:01.000","k":"a","v":
{"ts":"2024-01-01 00:00:02.000","k":"a","v":"not a number"}
{"ts":"2024-01-01 00:00:03.000","k":5,"v":"7"}
{"ts":"2024-01-01 00:00:04.000","v":3.9}
{"ts":"2024-01-01 00:00:05.000","k":null,"v":null,"extra":[1,2]}
not json at all
{"ts":"2024-01-01 00:00:07","k":"sec","v":1}
{"ts":"2024-01-01 00:00:07.5","k":"d1","v":1}
{"ts":"2024-01-01 00:00:07.123456","k":"d6","v":1}
{"ts":"2024-01-01 00:00:08.000","k":{"o":1},"v":true}
{"ts":"2024-01-01 00:00:09.000","k":"dup","v":1,"v":2}
{"ts":"2024-01-01 00:00:10.000","k":"big","v":3000000000}
{"ts":"2024-01-01 00:00:11.000","k":"sp","v":" 12 "}

{"ts":"2024-01-01 00:00:13.000","K":"case","v":1}
"#;
    let expected = r#"{"ts":"2024-01-01 00:00:00","k":"a","v":1}
{"ts":"2024-01-01 00:00:02","k":"a","v":null}
{"ts":"2024-01-01 00:00:03","k":"5","v":7}
{"ts":"2024-01-01 00:00:04","k":null,"v":3}
{"ts":"2024-01-01 00:00:05","k":null,"v":null}
{"ts":"2024-01-01 00:00:07","k":"sec","v":1}
{"ts":"2024-01-01 00:00:07.5","k":"d1","v":1}
{"ts":"2024-01-01 00:00:07.123","k":"d6","v":1}
{"ts":"2024-01-01 00:00:08","k":"{\"o\":1}","v":null}
{"ts":"2024-01-01 00:00:09","k":"dup","v":1}
{"ts":"2024-01-01 00:00:10","k":"big","v":null}
{"ts":"2024-01-01 00:00:11","k":"sp","v":12}
{"ts":"2024-01-01 00:00:13","k":null,"v":1}
skipped 2:45 malformed JSON: the record ends where a value was expected
skipped 7:1 malformed JSON: a JSON object was expected here
"#;
    let pairs = [("format", "json"), ("json.ignore-parse-errors", "true")];
    assert_eq!(decode(&pairs, &schema(), input.as_bytes()), expected);
}

#[test]
fn json_stops_at_the_first_bad_field() {
    let input = "{\"ts\":\"2024-01-01 00:00:00\",\"k\":\"a\",\"v\":1}\n\n{\"ts\":\"2024-01-01 00:00:00\",\"k\":\"a\",\"v\":\"12x\"}\n{";
    let expected = "{\"ts\":\"2024-01-01 00:00:00\",\"k\":\"a\",\"v\":1}\nfailed 3:42 field `v`: '12x' is not an INT\n";
    assert_eq!(decode(&[("format", "json")], &schema(), input.as_bytes()), expected);
}

#[test]
fn csv_skipping_errors() {
    let input = "2024-01-01 00:00:00.123,a,1
2024-01-01 00:00:01,b,xx
2024-01-01 00:00:02,c
2024-01-01 00:00:03,NULL,4
2024-01-01 00:00:05,d,6,extra
2024-01-01 00:00:06,e,NULL
";
    let expected = r#"{"ts":"2024-01-01 00:00:00.123","k":"a","v":1}
{"ts":"2024-01-01 00:00:01","k":"b","v":null}
{"ts":"2024-01-01 00:00:02","k":"c","v":null}
{"ts":"2024-01-01 00:00:03","k":null,"v":4}
{"ts":"2024-01-01 00:00:06","k":"e","v":null}
skipped 5:1 the row has 4 fields, the table 3 columns
"#;
    let pairs =
        [("format", "csv"), ("csv.ignore-parse-errors", "true"), ("csv.null-literal", "NULL")];
    assert_eq!(decode(&pairs, &schema(), input.as_bytes()), expected);
}

#[test]
fn csv_quotes_and_line_ends() {
    let input = "2024-01-01 00:00:00,\"a,b\",1\r\n2024-01-01 00:00:01,\"c\"\"d\",2\n2024-01-01 00:00:02,\"e\nf\",3\n2024-01-01 00:00:03,g\"h,4";
    let expected = r#"{"ts":"2024-01-01 00:00:00","k":"a,b","v":1}
{"ts":"2024-01-01 00:00:01","k":"c\"d","v":2}
{"ts":"2024-01-01 00:00:02","k":"e\nf","v":3}
{"ts":"2024-01-01 00:00:03","k":"g\"h","v":4}
"#;
    assert_eq!(decode(&[("format", "csv")], &schema(), input.as_bytes()), expected);
}

#[test]
fn only_the_columns_asked_for_are_built() {
    let schema = schema();
    for (name, input) in [
        ("csv", "2024-01-01 00:00:00,\"x\",7\nbad,y,8\n"),
        ("json", "{\"ts\":5,\"k\":\"x\",\"v\":7}\n{\"v\":8}\n"),
    ] {
        let mut decoder = format(&[("format", name)], &schema).decoder(&schema, &[2]);
        let decoded = decoder.decode(&Buffer::from(input.as_bytes()), true);
        assert_eq!(decoded.failure, None);
        assert_eq!(decoded.batches[0].columns[0].as_primitive::<Int32Type>().values(), &[7, 8]);
        let none = format(&[("format", name)], &schema)
            .decoder(&schema, &[])
            .decode(&Buffer::from(input.as_bytes()), true);
        assert_eq!((none.batches[0].rows, none.batches[0].columns.len()), (2, 0));
    }
}

#[test]
fn a_chunk_of_many_rows_is_cut_into_batches() {
    let schema = Schema::new(vec![Field::new("v", DataType::BigInt)]);
    let csv: String = (0..10_000).map(|row| format!("{row}\n")).collect();
    let json: String = (0..10_000).map(|row| format!("{{\"v\":{row}}}\n")).collect();
    for (name, input) in [("csv", csv), ("json", json)] {
        let decoded = format(&[("format", name)], &schema)
            .decoder(&schema, &[0])
            .decode(&Buffer::from(input.as_bytes()), true);
        assert_eq!(decoded.line_count, 10_000);
        assert_eq!(
            decoded.batches.iter().map(|batch| batch.rows).collect::<Vec<_>>(),
            [4096, 4096, 1808]
        );
        let columns: Vec<&dyn Array> =
            decoded.batches.iter().map(|batch| batch.columns[0].as_ref()).collect();
        let values: Vec<i64> =
            concat(&columns).unwrap().as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(values, (0..10_000).collect::<Vec<_>>());
    }
}

#[test]
fn csv_headers_are_checked() {
    let pairs = [("format", "csv"), ("csv-header", "true")];
    let row = "2024-01-01 00:00:00,a,1\n";
    let good = decode(&pairs, &schema(), format!("ts,\"k\",v\r\n{row}").as_bytes());
    assert_eq!(good, "{\"ts\":\"2024-01-01 00:00:00\",\"k\":\"a\",\"v\":1}\n");
    let permuted = decode(&pairs, &schema(), format!("k,ts,v\n{row}").as_bytes());
    assert_eq!(
        permuted,
        "failed 1:1 the header has the table's columns in another order: declare them as k, ts, v\n"
    );
    let other = decode(&pairs, &schema(), format!("a,b\n{row}").as_bytes());
    assert_eq!(other, "failed 1:1 the header names 'a,b', the table has ts, k, v\n");
}

#[test]
fn options_are_checked() {
    let refused = |pairs: &[(&str, &str)]| {
        let error = resolve(&options(pairs), None, &schema()).map(|_| ()).unwrap_err();
        format!("{error}; {}", error.hint.clone().unwrap_or_default())
    };
    assert_eq!(
        refused(&[("format", "csv"), ("csv.ignore-parse-error", "true")]),
        "option 'csv.ignore-parse-error': the format csv has no such option; did you mean 'csv.ignore-parse-errors'?"
    );
    assert!(refused(&[("format", "jsn")]).contains("did you mean 'json'?"));
    assert!(refused(&[]).contains("missing"));
    assert!(
        refused(&[("format", "csv"), ("csv.field-delimiter", ";;")])
            .contains("one ASCII character")
    );
    assert!(
        refused(&[("format", "json"), ("json.ignore-parse-errors", "yes")]).contains("neither")
    );
    assert!(
        refused(&[("format", "json"), ("ignore-parse-errors", "true")])
            .contains("write 'json.ignore-parse-errors'")
    );
}

#[test]
fn tables_may_have_more_columns_than_the_fast_way_can_tell_apart() {
    let fields = (0..130).map(|index| Field::new(format!("c{index}"), DataType::Int));
    let schema = Schema::new(fields.collect());
    let row = "{\"c129\":7,\"c0\":8}\n".repeat(3);
    let all: Vec<usize> = (0..130).collect();
    let mut decoder = format(&[("format", "json")], &schema).decoder(&schema, &all);
    let decoded = decoder.decode(&Buffer::from(row.as_bytes()), true);
    assert_eq!(decoded.failure, None);
    assert_eq!(decoded.batches[0].columns[129].as_primitive::<Int32Type>().values(), &[7, 7, 7]);
    assert_eq!(decoded.batches[0].columns[1].null_count(), 3);
}
