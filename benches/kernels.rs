//! The kernels, each alone on one core: keys, slices, accumulators, tables, distinct sets, the ring, the decoders. Elements a second.
//!
//! Each answer is checked against a plain loop before it is timed; `cargo test` runs each once.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, StringViewArray};
use arrow_buffer::Buffer;
use criterion::{Criterion, Throughput};
use tidemill::agg::{Accumulator, Argument, Update};
use tidemill::batch::hash::hash_bytes;
use tidemill::batch::{DataType, Field, Keys, Schema};
use tidemill::connector::clicks::numbers;
use tidemill::format::resolve;
use tidemill::op::pane::TableSlots;
use tidemill::ring::spsc::ring;
use tidemill::state::{DistinctSets, Pages, Table, Values};
use tidemill::window::{Slices, WindowKind};

const ROWS: usize = 4096;

/// Numbers in no order, the same in every run.
fn scattered(below: u64) -> impl Iterator<Item = u64> {
    (1..=ROWS as u64).map(move |row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15) % below)
}

/// Times `kernel`, which works on so many elements.
fn time<R>(criterion: &mut Criterion, name: &str, count: usize, mut kernel: impl FnMut() -> R) {
    let mut group = criterion.benchmark_group("kernels");
    group.throughput(Throughput::Elements(count as u64)).sample_size(20);
    group.bench_function(name, |bencher| bencher.iter(|| black_box(kernel())));
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let numbers: Vec<i64> = scattered(1000).map(u64::cast_signed).collect();
    let names: Vec<String> = numbers.iter().map(|number| format!("page-{number:04}")).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
    let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(&names));
    let cases = [
        ("keys, integers", vec![Arc::clone(&numbers)]),
        ("keys, strings", vec![Arc::clone(&names)]),
        ("keys, both", vec![names, numbers]),
    ];
    for (name, columns) in cases {
        let mut keys = Keys::default();
        keys.encode(&columns, ROWS);
        assert!((0..ROWS).all(|row| keys.hashes[row] == hash_bytes(keys.get(row))), "{name}");
        let distinct: HashSet<&[u8]> = (0..ROWS).map(|row| keys.get(row)).collect();
        assert_eq!(distinct.len(), scattered(1000).collect::<HashSet<_>>().len(), "{name}");
        time(criterion, name, ROWS, || keys.encode(&columns, ROWS));
    }
}

fn slices(criterion: &mut Criterion) {
    let slices = Slices::new(WindowKind::Hop { size_ms: 10_000, slide_ms: 2_000, offset_ms: 0 });
    let times: Vec<i64> = scattered(9_000).map(|ms| 1_704_067_200_000 + ms.cast_signed()).collect();
    let (least, greatest) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    let mut assigned = times.clone();
    slices.assign(&mut assigned);
    assert!(times.iter().zip(&assigned).all(|(time, end)| time / 2_000 * 2_000 + 2_000 == *end));
    let cut = slices.cut(least, greatest).expect("a few slices");
    let ends: Vec<i64> = cut.ends().collect();
    let mut indices = Vec::new();
    cut.indices(&times, &mut indices);
    let named = indices.iter().map(|&index| ends[index as usize]);
    assert!(named.eq(assigned.iter().copied()));
    time(criterion, "slices, assigned", ROWS, || {
        assigned.clone_from(&times);
        slices.assign(&mut assigned);
    });
    time(criterion, "slices, counted through", ROWS, || cut.indices(&times, &mut indices));
}

/// Rows into the accumulators of a thousand groups.
fn accumulators(criterion: &mut Criterion) {
    let rows: Vec<u32> = scattered(1000).map(|slot| slot as u32).collect();
    let doubles: Vec<f64> = scattered(100_000).map(|cents| cents as f64 / 100.0).collect();
    let total: f64 = doubles.iter().sum();
    let doubles: ArrayRef = Arc::new(Float64Array::from(doubles));
    let integers: ArrayRef =
        Arc::new(Int64Array::from_iter_values(scattered(9_999).map(u64::cast_signed)));
    let decimals: ArrayRef =
        Arc::new(Decimal128Array::from_iter_values(scattered(9_999).map(i128::from)));
    let integer_total: u64 = scattered(9_999).sum();
    let cases = [
        ("accumulate, COUNT", Accumulator::Count, None, ROWS as f64),
        ("accumulate, SUM of BIGINT", Accumulator::SumInt, Some(&integers), integer_total as f64),
        (
            "accumulate, SUM of DECIMAL",
            Accumulator::SumDecimal,
            Some(&decimals),
            integer_total as f64,
        ),
        ("accumulate, SUM of DOUBLE", Accumulator::SumFloat, Some(&doubles), total * 2f64.powi(74)),
        (
            "accumulate, MAX of DOUBLE",
            Accumulator::ExtremeFloat { greatest: true },
            Some(&doubles),
            0.0,
        ),
    ];
    for (name, accumulator, column, total) in cases {
        let (mut pages, mut table) = (Pages::default(), Table::new(accumulator.word_count()));
        (0..1000u64).for_each(|key| {
            table.upsert(&mut pages, hash_bytes(&key.to_le_bytes()), &key.to_le_bytes());
        });
        let argument = column.map_or(Argument::None, Argument::new);
        let update = Update::new((accumulator, 0), "", argument, None, None);
        let mut slots = TableSlots { pages: &mut pages, table: &mut table };
        update.fold(&mut slots, &rows, 0);
        let words = |slot: u32| slots.table.words(slots.pages, slot);
        if let Accumulator::ExtremeFloat { .. } = accumulator {
            let values = column.expect("of a column").as_primitive::<Float64Type>().values();
            let greatest = rows.iter().zip(values).filter(|(slot, _)| **slot == rows[0]);
            let greatest = greatest.map(|(_, &value)| value).fold(0.0, f64::max);
            assert_eq!(f64::from_bits(words(rows[0])[0]), greatest, "{name}");
        } else {
            let wide = accumulator.word_count() > 2;
            let value = |slot| {
                let high = if wide { words(slot)[1] as f64 * 2f64.powi(64) } else { 0.0 };
                words(slot)[0] as f64 + high
            };
            let sum: f64 = (0..1000).map(value).sum();
            assert!((sum / total - 1.0).abs() < 1e-9, "{name}: {sum} for {total}");
        }
        time(criterion, name, ROWS, || update.fold(&mut slots, &rows, 0));
    }
}

fn tables(criterion: &mut Criterion) {
    for (name, key_count) in
        [("look up, 1,000 keys", 1_000u64), ("look up, 1,000,000 keys", 1_000_000)]
    {
        let (mut pages, mut table) = (Pages::default(), Table::new(2));
        for key in 0..key_count {
            let key = key.to_le_bytes();
            assert!(table.upsert(&mut pages, hash_bytes(&key), &key).1, "{name}");
        }
        let mut keys = Keys::default();
        for key in scattered(key_count).map(u64::to_le_bytes) {
            keys.push(hash_bytes(&key), &key);
        }
        time(criterion, name, ROWS, || {
            for row in 0..ROWS {
                table.look_ahead(&pages, &keys.hashes, row);
                let (_, made) = table.upsert(&mut pages, keys.hashes[row], keys.get(row));
                assert!(!made, "{name}");
            }
        });
    }
}

fn distinct(criterion: &mut Criterion) {
    let (mut pages, mut sets) = (Pages::default(), DistinctSets::new(Values::Words(8)));
    sets.ensure(&mut pages, 999);
    let rows: Vec<u32> = scattered(1000).map(|set| set as u32).collect();
    let values: Vec<i64> = scattered(100_000).map(u64::cast_signed).collect();
    sets.insert_integers(&mut pages, &rows, &values).expect("values are integers");
    let mut new_count = 0;
    sets.flush(&mut pages, |_, new| new_count += new.len());
    assert_eq!(new_count, rows.iter().zip(&values).collect::<HashSet<_>>().len());
    time(criterion, "distinct values, known ones", ROWS, || {
        sets.insert_integers(&mut pages, &rows, &values).expect("values are integers");
        sets.flush(&mut pages, |_, _| panic!("all were known"));
    });
}

fn rings(criterion: &mut Criterion) {
    let (mut producer, mut consumer) = ring::<u64>(64);
    time(criterion, "ring, one thread", ROWS, || {
        let mut sum = 0;
        for item in 0..ROWS as u64 {
            producer.try_push(item).expect("it is empty");
            sum += consumer.try_pop().expect("it was pushed");
        }
        assert_eq!(sum, (ROWS * (ROWS - 1) / 2) as u64);
    });
}

fn decoders(criterion: &mut Criterion) {
    let schema = Schema::new(vec![
        Field::new("ts", DataType::Timestamp(3)),
        Field::new("page", DataType::STRING),
        Field::new("amount", DataType::Double),
    ]);
    let (mut csv, mut json, mut total) = (String::new(), String::new(), 0.0);
    for (at_ms, page, _, _, cents) in numbers(ROWS as u64) {
        let (ms, amount) = (at_ms % 60_000, f64::from(cents) / 100.0);
        let time = format!("2024-01-01 00:00:{:02}.{:03}", ms / 1000, ms % 1000);
        csv += &format!("{time},page-{page:04},{amount:.2}\n");
        json +=
            &format!("{{\"ts\":\"{time}\",\"page\":\"page-{page:04}\",\"amount\":{amount:.2}}}\n");
        total += amount;
    }
    for (name, format, text) in [("decode CSV", "csv", csv), ("decode JSON", "json", json)] {
        let options = [("format".to_owned(), format.to_owned())].into_iter().collect();
        let format = resolve(&options, None, &schema).expect("there is such a format");
        let mut decoder = format.decoder(&schema, &[0, 1, 2]);
        let bytes = Buffer::from(text.as_bytes());
        let mut decode = || {
            let decoded = decoder.decode(&bytes, true);
            assert!(decoded.failure.is_none(), "{name}");
            let amounts =
                decoded.batches.iter().map(|batch| batch.columns[2].as_primitive::<Float64Type>());
            amounts
                .map(|column| (column.len(), column.values().iter().sum::<f64>()))
                .fold((0, 0.0), |(rows, sum), (more, amount)| (rows + more, sum + amount))
        };
        let (rows, sum) = decode();
        assert!(
            rows == ROWS && (sum - total).abs() < 1e-3,
            "{name}: {rows} rows, {sum} for {total}"
        );
        time(criterion, name, ROWS, decode);
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    keys(&mut criterion);
    slices(&mut criterion);
    accumulators(&mut criterion);
    tables(&mut criterion);
    distinct(&mut criterion);
    rings(&mut criterion);
    decoders(&mut criterion);
    criterion.final_summary();
}
