//! Random and mutated input: nothing panics, nothing is lost, and the fast ways agree with the exact ones.

use proptest::prelude::*;

use super::*;
use crate::batch::Batch;

fn wide() -> Schema {
    let types = [
        DataType::STRING,
        DataType::BigInt,
        DataType::Decimal(10, 2),
        DataType::Double,
        DataType::Timestamp(3),
        DataType::Boolean,
        DataType::Date,
        DataType::Float,
        DataType::BYTES,
    ];
    Schema::new(
        types
            .into_iter()
            .enumerate()
            .map(|(index, kind)| Field::new(format!("c{index}"), kind))
            .collect(),
    )
}

fn decode_all(pairs: &[(&str, &str)], schema: &Schema, bytes: &[u8]) -> Decoded {
    let all: Vec<usize> = (0..schema.column_count()).collect();
    format(pairs, schema).decoder(schema, &all).decode(&Buffer::from(bytes), true)
}

fn printed(batches: &[Batch], schema: &Schema) -> Vec<String> {
    let mut out = Vec::new();
    let mut encoder = format(&[("format", "json")], schema).encoder(schema);
    batches.iter().for_each(|batch| encoder.encode(batch, &mut out));
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

/// Pieces that text formats give a meaning to.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let tokens = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\\",
        "\n",
        "\r",
        " ",
        "#",
        "\t",
        "'",
        "null",
        "true",
        "1",
        "-",
        ".5",
        "1e9",
        "c0",
        "\"c1\":",
        "{\"c0\":",
        "2024-01-01 00:00:00",
        "x",
        "ä",
        "\u{feff}",
        "\\u",
        "d83d",
        "\"\"",
        "9999999999999999999999",
    ];
    let token = prop_oneof![
        9 => prop::sample::select(tokens.to_vec()).prop_map(|token| token.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

const FORMATS: [&[(&str, &str)]; 6] = [
    &[("format", "json")],
    &[("format", "json"), ("json.ignore-parse-errors", "true")],
    &[("format", "csv")],
    &[("format", "csv"), ("csv.ignore-parse-errors", "true")],
    &[
        ("format", "csv"),
        ("csv.ignore-parse-errors", "true"),
        ("csv.escape-character", "\\"),
        ("csv.trim-spaces", "true"),
    ],
    &[
        ("format", "csv"),
        ("csv.ignore-parse-errors", "true"),
        ("csv.allow-comments", "true"),
        ("csv.null-literal", "x"),
    ],
];

/// A JSON value in one of its spellings.
fn json_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|value| value.to_string()),
        any::<i16>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        "[a-zäöü ,:{}'/-]{0,30}".prop_map(|text| format!("\"{text}\"")),
        "(\\\\[nrt\"/bf]|\\\\u00[0-9a-f]{2}|[a-z]){0,8}".prop_map(|text| format!("\"{text}\"")),
        Just("\"2024-02-03 04:05:06.789\"".to_owned()),
        prop::sample::select(vec![
            "null",
            "true",
            "false",
            "[1,{\"a\":[]}]",
            "{\"k\" : 1}",
            "\"12\"",
            "\"2024-01-01\"",
            "\"NaN\"",
            "\"aGVsbG8=\""
        ])
        .prop_map(str::to_owned),
    ]
}

fn json_text() -> impl Strategy<Value = String> {
    "[a-zäöü ,:{}'/-]{0,20}".prop_map(|text| format!("\"{text}\""))
}

fn json_number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?"
}

fn json_record() -> impl Strategy<Value = String> {
    let field = (
        prop::sample::select(vec!["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "other"]),
        json_value(),
        0..8usize,
    );
    prop::collection::vec(field, 0..8).prop_map(|fields| {
        let pairs = fields.iter().map(|(name, value, blank)| match blank {
            0 => format!("\"{name}\": {value}"),
            1 => format!(" \"{name}\":{value} "),
            _ => format!("\"{name}\":{value}"),
        });
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
    })
}

proptest! {
    #[test]
    fn any_bytes_are_accounted_for(bytes in pieces(), cut in any::<prop::sample::Index>()) {
        let schema = wide();
        for pairs in FORMATS {
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)]] {
                let decoded = decode_all(pairs, &schema, bytes);
                let rows = printed(&decoded.batches, &schema).len();
                prop_assert_eq!(rows, decoded.batches.iter().map(|batch| batch.rows).sum::<usize>());
                let lenient = pairs.len() > 1;
                prop_assert!(!lenient || decoded.failure.is_none());
                prop_assert!(lenient || decoded.skipped_count == 0);
                prop_assert!(decoded.failure.iter().chain(&decoded.skipped).all(|bad| bad.line_index < decoded.line_count && bad.column > 0));
            }
        }
    }

    #[test]
    fn remembered_spellings_do_not_change_json(records in prop::collection::vec(json_record(), 1..12)) {
        let schema = wide();
        let pairs = FORMATS[1];
        // Alone, a record is read the exact way; after others, the fast way. Twice, so that all spellings are known.
        let alone: Vec<String> = records.iter().flat_map(|record| printed(&decode_all(pairs, &schema, record.as_bytes()).batches, &schema)).collect();
        let joined = [&records[..], &records[..]].concat().join("\n");
        let together = printed(&decode_all(pairs, &schema, joined.as_bytes()).batches, &schema);
        prop_assert_eq!(together, [&alone[..], &alone[..]].concat());
    }

    #[test]
    fn stretches_of_like_records_do_not_change_json(
        values in prop::collection::vec((json_text(), json_number(), json_number(), json_text()), 1..40),
        other in prop::option::of((any::<prop::sample::Index>(), json_record())),
        changed in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(b"\"\":,".to_vec())]), 0..4),
        blanks in 0..4usize,
        end in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let schema = wide();
        let blank = &" ".repeat(blanks);
        let mut records: Vec<Vec<u8>> = values.iter().map(|(a, b, c, d)| {
            format!("{{\"c0\":{a},{blank}\"c1\":{b}, \"x\":{c}{blank},\"c3\":{b},\"c4\":\"2024-02-03 04:05:06.789\",\"y\":{d},\"c8\":\"\"}}{blank}").into_bytes()
        }).collect();
        if let Some((at, record)) = other {
            records.insert(at.index(records.len()), record.into_bytes());
        }
        for (at, byte) in changed {
            let index = at.index(records.len());
            let at = at.index(records[index].len());
            records[index][at] = if byte == b'\n' { b'"' } else { byte };
        }
        let columns = [0, 1, 3, 4, 8];
        let new = || format(FORMATS[1], &schema).decoder(&schema, &columns);
        let schema_read = Schema::new(columns.iter().map(|&index| schema.fields[index].clone()).collect());
        let alone: Vec<Decoded> = records.iter().map(|record| new().decode(&Buffer::from(&record[..]), true)).collect();
        let together = records.iter().flat_map(|record| [record, end.as_bytes()].concat()).collect::<Vec<u8>>();
        // The second time, what the first taught is known.
        let mut decoder = new();
        for _ in 0..2 {
            let decoded = decoder.decode(&Buffer::from(&together[..]), true);
            let expected: Vec<String> = alone.iter().flat_map(|one| printed(&one.batches, &schema_read)).collect();
            prop_assert_eq!(printed(&decoded.batches, &schema_read), expected);
            prop_assert_eq!(decoded.skipped_count, alone.iter().map(|one| one.skipped_count).sum::<u64>());
            prop_assert_eq!(decoded.line_count, records.len() as u64);
        }
    }

    #[test]
    fn json_agrees_with_another_reader(record in json_record()) {
        let schema = Schema::new(vec![Field::new("c0", DataType::STRING)]);
        let decoded = decode_all(FORMATS[1], &schema, record.as_bytes());
        let parsed: serde_json::Result<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&record);
        prop_assert_eq!(decoded.skipped_count == 0, parsed.is_ok(), "{}", record);
        let first = record.find("\"c0\"").map(|_| ());
        if let (Ok(parsed), Some(())) = (parsed, first)
            && record.matches("\"c0\"").count() == 1
            && let Some(text) = parsed.get("c0").and_then(|value| value.as_str())
        {
            prop_assert_eq!(decoded.batches[0].columns[0].as_string_view().value(0), text);
        }
    }

    #[test]
    fn csv_ways_agree(rows in prop::collection::vec(prop::collection::vec("[a-z0-9 .-]{0,6}", 1..4), 0..30)) {
        let schema = Schema::new((0..3).map(|index| Field::new(format!("c{index}"), DataType::STRING)).collect());
        let plain: String = rows.iter().map(|row| row.join(",") + "\n").collect();
        // A quoted record at the end sends the chunk down the second way, and a quote in each record down the third.
        let second = plain.clone() + "\"q\",q,q\n";
        let third: String = rows.iter().map(|row| {
            let fields: Vec<String> = row.iter().map(|field| format!("\"{field}\"")).collect();
            fields.join(",") + "\n"
        }).collect();
        let read = |text: &str| {
            let decoded = decode_all(FORMATS[3], &schema, text.as_bytes());
            (printed(&decoded.batches, &schema), decoded.skipped_count)
        };
        let (first, skipped) = read(&plain);
        let mut expected = first.clone();
        expected.push("{\"c0\":\"q\",\"c1\":\"q\",\"c2\":\"q\"}".into());
        prop_assert_eq!(read(&second), (expected, skipped));
        prop_assert_eq!(read(&third), (first, skipped));
    }

    #[test]
    fn stretches_of_like_rows_do_not_change_csv(
        rows in prop::collection::vec(["[a-zä]{0,9}", "-?[0-9]{1,3}", "[a-z]{0,20}"], 1..60),
        // Rows of the first are noted before they are read, those of the others are read as they are found.
        number in prop::sample::select(vec![DataType::Int, DataType::BigInt, DataType::Double]),
        changed in prop::option::of((any::<prop::sample::Index>(), prop::sample::select(b",\n\"\rx\xff".to_vec()))),
        suffix in prop::sample::select(vec!["", ",", ",x"]),
        newline in prop::sample::select(vec!["\n", "\r\n"]),
        is_finished: bool,
    ) {
        let names = ["a", "b", "c"];
        let types = [DataType::STRING, number, DataType::STRING];
        let schema = Schema::new(names.iter().zip(types).map(|(name, kind)| Field::new(*name, kind)).collect());
        let mut bytes = rows.iter().map(|row| row.join(",") + suffix).collect::<Vec<_>>().join(newline).into_bytes();
        if let Some((at, byte)) = changed {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_finished {
            bytes.extend_from_slice(newline.as_bytes());
        }
        let ignoring = [FORMATS[2], &[("csv.ignore-trailing-unmappable", "true")]].concat();
        for pairs in [FORMATS[2], FORMATS[3], &ignoring] {
            // There are no blanks, but trimming them takes the exact way.
            let exact = [pairs, &[("csv.trim-spaces", "true")]].concat();
            for columns in [&[0, 1, 2][..], &[1], &[]] {
                let read = |pairs: &[(&str, &str)]| format(pairs, &schema).decoder(&schema, columns).decode(&Buffer::from(&bytes[..]), true);
                let (fast, exact) = (read(pairs), read(&exact));
                let chosen = Schema::new(columns.iter().map(|&index| schema.fields[index].clone()).collect());
                prop_assert_eq!(printed(&fast.batches, &chosen), printed(&exact.batches, &chosen));
                prop_assert_eq!((fast.line_count, fast.failure, fast.skipped), (exact.line_count, exact.failure, exact.skipped));
            }
        }
    }

    #[test]
    fn what_is_written_reads_back(records in prop::collection::vec(json_record(), 1..12)) {
        let schema = wide();
        let rows = decode_all(FORMATS[1], &schema, records.join("\n").as_bytes()).batches;
        let expected = printed(&rows, &schema);
        let again = decode_all(FORMATS[0], &schema, (expected.join("\n") + "\n").as_bytes());
        prop_assert_eq!(again.failure, None);
        prop_assert_eq!(printed(&again.batches, &schema), expected.clone());
        let mut csv = Vec::new();
        let pairs = [("format", "csv"), ("csv.null-literal", "\\N")];
        let mut encoder = format(&pairs, &schema).encoder(&schema);
        rows.iter().for_each(|batch| encoder.encode(batch, &mut csv));
        let again = decode_all(&pairs, &schema, &csv);
        prop_assert_eq!(again.failure, None);
        prop_assert_eq!(printed(&again.batches, &schema), expected);
    }

    #[test]
    fn damaged_json_reads_alike_alone_and_after_others(
        record in json_record(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let schema = wide();
        let mut damaged = record.clone().into_bytes();
        for (at, byte) in flips {
            let at = at.index(damaged.len());
            damaged[at] = if byte == b'\n' { b'"' } else { byte };
        }
        let alone = decode_all(FORMATS[1], &schema, &damaged);
        let warm = [record.as_bytes(), b"\n", &damaged, b"\n", record.as_bytes()].concat();
        let warm = decode_all(FORMATS[1], &schema, &warm);
        let around = printed(&decode_all(FORMATS[1], &schema, record.as_bytes()).batches, &schema);
        let expected = [&around[..], &printed(&alone.batches, &schema), &around].concat();
        prop_assert_eq!(printed(&warm.batches, &schema), expected);
        prop_assert_eq!(warm.skipped_count, alone.skipped_count);
    }
}

/// What stood between two values was taken for the beginning of a record, and the other way round: `,"c1":1}` and `{"c0":1{"c1":2}` were
/// records once `,"c1":` and `{"c1":` had been met.
#[test]
fn spellings_stand_where_they_were_learned() {
    let schema = wide();
    let known = "{\"c0\":\"a\",\"c1\":1}\n{\"c1\":1,\"c0\":\"a\"}\n";
    for record in [",\"c1\":1}", ",\"c1\":1,\"c0\":\"a\"}", "{\"c0\":\"a\"{\"c1\":1}"] {
        let decoded = decode_all(FORMATS[1], &schema, [known, record, "\n"].concat().as_bytes());
        assert_eq!(decoded.skipped_count, 1, "{record}");
        assert_eq!(printed(&decoded.batches, &schema).len(), 2, "{record}");
    }
}

/// A record of many bytes that makes a reader start over at each byte would take minutes.
#[test]
fn long_records_take_no_longer_than_their_length() {
    let schema = wide();
    let patterns: [&[u8]; 14] = [
        b"\"",
        b"{\"c0\":",
        b",",
        b"\\",
        b"\xff",
        b"\"a\"x",
        b"[",
        b"{\"c0\":1,",
        b"\"a\"x\"\n",
        b"\"\n",
        b"\r",
        b"#\n",
        b"1",
        b"\xff\n",
    ];
    for pattern in patterns {
        let text = pattern.repeat((1 << 17) / pattern.len());
        for pairs in FORMATS {
            for prefix in ["", "{\"c0\":\"", "{\"c0\":[", "\""] {
                decode_all(pairs, &schema, &[prefix.as_bytes(), &text].concat());
            }
        }
    }
}
