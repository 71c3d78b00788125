//! What the encoders write, beside what a Flink 2.3 on Java 17 wrote for the same rows (`written/`).

use super::*;

/// The table of `written/input.jsonl`.
fn everything() -> Schema {
    let field = |(name, data_type): (&str, DataType)| Field::new(name, data_type);
    let fields = [
        ("n", DataType::Int),
        ("s", DataType::STRING),
        ("d", DataType::Double),
        ("f", DataType::Float),
        ("dec1", DataType::Decimal(20, 10)),
        ("dec2", DataType::Decimal(10, 2)),
        ("b", DataType::Boolean),
        ("dt", DataType::Date),
        ("t", DataType::Time(3)),
        ("ts", DataType::Timestamp(3)),
        ("ts6", DataType::Timestamp(6)),
        ("ltz", DataType::TimestampLtz(3)),
        ("by1", DataType::BYTES),
        ("l", DataType::BigInt),
    ];
    Schema::new(fields.map(field).to_vec())
}

/// The columns `names` of all rows, written in the format of `pairs`.
fn written(pairs: &[(&str, &str)], names: &str) -> String {
    let schema = everything();
    let projection: Vec<usize> =
        names.split(' ').map(|name| schema.column_index(name).unwrap()).collect();
    let narrow =
        Schema::new(projection.iter().map(|&index| schema.fields[index].clone()).collect());
    let input = Buffer::from(&include_bytes!("written/input.jsonl")[..]);
    let mut decoder = format(&[("format", "json")], &schema).decoder(&schema, &projection);
    let decoded = decoder.decode(&input, true);
    assert_eq!(decoded.failure, None);
    let mut encoder = format(pairs, &narrow).encoder(&narrow);
    let mut out = Vec::new();
    encoder.header(&mut out);
    decoded.batches.iter().for_each(|batch| encoder.encode(batch, &mut out));
    encoder.finish(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_as_flink_writes_it() {
    let all = "n s d f dec1 dec2 b dt t ts ts6 ltz by1 l";
    let json = ("format", "json");
    assert_eq!(written(&[json], all), include_str!("written/json.jsonl"));
    let pairs = [
        json,
        ("json.encode.decimal-as-plain-number", "true"),
        ("json.encode.ignore-null-fields", "true"),
        ("json.timestamp-format.standard", "ISO-8601"),
    ];
    let expected = include_str!("written/json-iso-plain.jsonl");
    assert_eq!(written(&pairs, "n s dec1 ts ltz"), expected);
}

#[test]
fn csv_as_flink_writes_it() {
    let csv = ("format", "csv");
    let all = "n s d f dec1 dec2 b dt t ts ts6 by1 l";
    assert_eq!(written(&[csv], all), include_str!("written/csv.csv"));
    let pairs = [csv, ("csv.null-literal", "NULL"), ("csv.field-delimiter", ";")];
    let expected = include_str!("written/csv-semicolon-null.csv");
    assert_eq!(written(&pairs, "n s dec1 ts"), expected);
    let pairs = [csv, ("csv.escape-character", "\\")];
    assert_eq!(written(&pairs, "n s dec1 ts"), include_str!("written/csv-escape.csv"));
    let pairs = [csv, ("csv.disable-quote-character", "true")];
    assert_eq!(written(&pairs, "n s"), include_str!("written/csv-unquoted.csv"));
}

#[test]
fn kinds_and_headers() {
    use crate::batch::{Batch, RowKind};
    let schema = Schema::new(vec![Field::new("k", DataType::STRING)]);
    let column = arrow_array::StringViewArray::from_iter_values(["a", "b"]);
    let batch = Batch::new(vec![Arc::new(column)], 2)
        .with_kinds([RowKind::UpdateBefore, RowKind::UpdateAfter].into());
    let write = |pairs: &[(&str, &str)]| {
        let mut encoder = format(pairs, &schema).encoder_with_kinds(&schema);
        let mut out = Vec::new();
        encoder.header(&mut out);
        encoder.encode(&batch, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(write(&[("format", "csv"), ("csv-header", "true")]), "op,k\n-U,a\n+U,b\n");
    let json = "{\"op\":\"-U\",\"k\":\"a\"}\n{\"op\":\"+U\",\"k\":\"b\"}\n";
    assert_eq!(write(&[("format", "json")]), json);
}
