//! How fast clicks are read, one thread:
//! `cargo test --release --lib format::tests::speed -- --ignored --nocapture --test-threads 1`.

use std::hint::black_box;

use super::*;

/// The table of clicks that all measurements use.
fn clicks() -> Schema {
    Schema::new(vec![
        Field::new("ts", DataType::Timestamp(3)),
        Field::new("page", DataType::STRING),
        Field::new("device", DataType::STRING),
        Field::new("action", DataType::STRING),
        Field::new("amount", DataType::Decimal(10, 2)),
    ])
}

/// Row `index` of the clicks: time, page, device, action, amount.
fn click(index: u64) -> [String; 5] {
    let hash = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let seconds = index / 20_000;
    let action = ["view", "view", "view", "view", "view", "view", "click", "click", "click", "buy"]
        [(hash >> 20) as usize % 10];
    [
        format!(
            "2024-01-01 00:{:02}:{:02}.{:03}",
            seconds / 60 % 60,
            seconds % 60,
            hash >> 40 & 511
        ),
        format!("page-{:04}", (hash >> 32) % 1000),
        format!("{hash:016x}"),
        action.to_owned(),
        format!("{}.{:02}", (hash >> 12) % 1000, (hash >> 50) % 100),
    ]
}

const ROWS: u64 = 20_000;

fn as_json() -> Vec<u8> {
    let line = |index| {
        let [ts, page, device, action, amount] = click(index);
        format!(
            "{{\"ts\":\"{ts}\",\"page\":\"{page}\",\"device\":\"{device}\",\"action\":\"{action}\",\"amount\":{amount}}}\n"
        )
    };
    (0..ROWS).map(line).collect::<String>().into_bytes()
}

/// With an escape in a string, and a nested field that nobody reads.
fn as_escaped_json() -> Vec<u8> {
    let text = String::from_utf8(as_json()).unwrap();
    text.replace("page-0", "page\\/0")
        .replace("\"amount\"", "\"x\":{\"y\":[1,2]},\"amount\"")
        .into_bytes()
}

fn as_csv() -> Vec<u8> {
    (0..ROWS).map(|index| click(index).join(",") + "\n").collect::<String>().into_bytes()
}

/// As Flink writes it: with quotes around what holds a blank.
fn as_quoted_csv() -> Vec<u8> {
    let line = |index| {
        let [ts, page, device, action, amount] = click(index);
        format!("\"{ts}\",{page},{device},{action},{amount}\n")
    };
    (0..ROWS).map(line).collect::<String>().into_bytes()
}

fn as_rkyv(schema: &Schema, csv: &[u8]) -> Vec<u8> {
    let all: Vec<usize> = (0..schema.column_count()).collect();
    let decoded =
        format(&[("format", "csv")], schema).decoder(schema, &all).decode(&Buffer::from(csv), true);
    let mut encoder = format(&[("format", "rkyv")], schema).encoder(schema);
    let mut out = Vec::new();
    decoded.batches.iter().for_each(|batch| encoder.encode(batch, &mut out));
    encoder.finish(&mut out);
    out
}

fn measure(name: &str, columns: &str, schema: &Schema, projection: &[usize], bytes: &[u8]) {
    let chunk = Buffer::from(bytes);
    let mut decoder = format(&[("format", name)], schema).decoder(schema, projection);
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let now = std::time::Instant::now;
    let mut best = f64::INFINITY;
    for _ in 0..100 {
        let start = now();
        let decoded = black_box(decoder.decode(black_box(&chunk), false));
        best = best.min(start.elapsed().as_secs_f64());
        assert_eq!(decoded.batches.iter().map(|batch| batch.rows as u64).sum::<u64>(), ROWS);
    }
    let (rate, bandwidth) = (ROWS as f64 / best / 1e6, bytes.len() as f64 / best / 1e9);
    #[expect(clippy::print_stdout, reason = "a measurement")]
    {
        println!("{name:5} {columns:12} {rate:6.1} M rows/s {bandwidth:5.2} GB/s");
    }
}

fn measure_encoder(name: &str, schema: &Schema, csv: &[u8]) {
    let all: Vec<usize> = (0..schema.column_count()).collect();
    let mut decoder = format(&[("format", "csv")], schema).decoder(schema, &all);
    let decoded = decoder.decode(&Buffer::from(csv), true);
    let mut encoder = format(&[("format", name)], schema).encoder(schema);
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let now = std::time::Instant::now;
    let (mut best, mut out) = (f64::INFINITY, Vec::new());
    for _ in 0..50 {
        out.clear();
        let start = now();
        decoded.batches.iter().for_each(|batch| encoder.encode(batch, &mut out));
        encoder.finish(&mut out);
        best = best.min(start.elapsed().as_secs_f64());
    }
    #[expect(clippy::print_stdout, reason = "a measurement")]
    {
        println!("{name:5} written      {:6.1} M rows/s", ROWS as f64 / best / 1e6);
    }
}

#[test]
#[ignore = "a measurement"]
fn clicks_a_second() {
    let schema = clicks();
    let double = Schema::new(
        schema
            .fields
            .iter()
            .cloned()
            .map(|field| {
                if field.name == "amount" { Field::new("amount", DataType::Double) } else { field }
            })
            .collect(),
    );
    let csv = as_csv();
    for (name, bytes) in
        [("json", as_json()), ("csv", csv.clone()), ("rkyv", as_rkyv(&schema, &csv))]
    {
        measure(name, "all", &schema, &[0, 1, 2, 3, 4], &bytes);
        if name != "rkyv" {
            measure(name, "all, double", &double, &[0, 1, 2, 3, 4], &bytes);
        }
        measure(name, "ts", &schema, &[0], &bytes);
        measure(name, "strings", &schema, &[1, 2, 3], &bytes);
        measure(name, "amount", &schema, &[4], &bytes);
        measure(name, "none", &schema, &[], &bytes);
    }
    measure("json", "escaped", &schema, &[0, 1, 2, 3, 4], &as_escaped_json());
    measure("csv", "quoted ts", &schema, &[0, 1, 2, 3, 4], &as_quoted_csv());
    for name in ["json", "csv", "rkyv"] {
        measure_encoder(name, &schema, &csv);
    }
}
