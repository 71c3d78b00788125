//! The owner of sessions against a naive twin: with chunks long enough for sessions to be read out before their end, and in bulk, with moves
//! from there to shelves and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, StringViewArray};
use proptest::prelude::*;

use super::super::packed_rows::PackedRows;
use super::super::shape::Shape;
use super::super::{Data, Output, Payload, Receiver, WATERMARK_END};
use super::Session;
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Field, KeyWords, Keys, Schema};
use crate::state::Pages;
use crate::sys::random::Random;
use crate::window::{WindowKind, WindowSpec};

/// Key, start, end, and the texts of the rows.
type Row = (i64, i64, i64, String);

/// A row's time, its key, and the watermark at its arrival.
type Arrived = (i64, i64, i64);

/// A call of the second column, whose type is that of the result.
fn call(function: AggregateFunction, data_type: DataType) -> AggregateCall {
    let call = AggregateCall::new(function, vec![1], data_type, data_type);
    AggregateCall { separator: " ".into(), ..call }
}

/// Sessions by event time.
fn window(gap_ms: i64) -> WindowSpec {
    WindowSpec::by_event_time(WindowKind::Session { gap_ms })
}

/// LISTAGG of a text by a number.
fn shape() -> Arc<Shape> {
    let input =
        Schema::new(vec![Field::new("k", DataType::BigInt), Field::new("s", DataType::STRING)]);
    let call = call(AggregateFunction::ListAgg, DataType::STRING);
    Arc::new(Shape::new(&input, &[0], &[call]))
}

fn payload(shape: &Shape, rows: &[Arrived]) -> Payload {
    let key_column: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    let mut keys = Keys::default();
    keys.encode(std::slice::from_ref(&key_column), rows.len());
    let texts = StringViewArray::from_iter_values(rows.iter().map(|row| row.0.to_string()));
    let data = Data::Rows(shape.ship(&[key_column, Arc::new(texts)]));
    let ends_ms = rows.iter().map(|row| row.0).collect();
    Payload {
        keys,
        ends_ms,
        arrival_ms: rows.iter().map(|row| row.2).collect(),
        numbers: None,
        data,
    }
}

/// What the owner shows now; ends rise.
fn read_out(owner: &mut Session) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    while let Some(output) = owner.next_output() {
        let Output::Rows(batch) = output else { panic!("sessions show rows") };
        let number =
            |column: usize, row| batch.columns[column].as_primitive::<Int64Type>().value(row);
        rows.extend((0..batch.rows).map(|row| {
            let text = batch.columns[1].as_string_view().value(row).to_owned();
            assert!(batch.columns[0].is_valid(row));
            (number(0, row), number(2, row), number(3, row), text)
        }));
    }
    assert!(rows.is_sorted_by_key(|row| row.2));
    rows.sort();
    rows
}

/// The open sessions of each key, the newest last.
#[derive(Default)]
struct Twin {
    open: BTreeMap<i64, Vec<Row>>,
    late: u64,
}

impl Twin {
    fn add(&mut self, (time, key, watermark): Arrived, gap: i64) {
        let (mut start, mut end) = (time, time + gap);
        let sessions = self.open.entry(key).or_default();
        let mut home: Option<usize> = None;
        for at in (0..sessions.len()).rev() {
            let (_, held_start, held_end, _) = sessions[at];
            if held_end - 1 <= watermark || held_start > end || held_end < start {
                continue;
            }
            (start, end) = (start.min(held_start), end.max(held_end));
            if let Some(younger) = home {
                let (_, _, _, text) = sessions.remove(younger);
                sessions[at].3 = format!("{} {text}", sessions[at].3);
            }
            home = Some(at);
        }
        match home {
            Some(at) => {
                let text = format!("{} {time}", sessions[at].3);
                sessions[at] = (key, start, end, text);
            }
            None if end - 1 <= watermark => self.late += 1,
            None => sessions.push((key, start, end, time.to_string())),
        }
    }

    fn take(&mut self, watermark: i64) -> Vec<Row> {
        let sessions = self.open.values_mut();
        let mut over: Vec<Row> = sessions
            .flat_map(|sessions| sessions.extract_if(.., |row| row.2 - 1 <= watermark))
            .collect();
        over.sort();
        over
    }
}

/// Rows of so many keys whose times rise, `disorder` of them back and forth.
fn rows(random: &mut Random, count: usize, key_count: u64, disorder: u64) -> Vec<Arrived> {
    let mut watermark = i64::MIN;
    let row = |at: usize| {
        let late = if random.below(50) == 0 { 3 * disorder } else { 0 };
        let time = at as i64 - (random.below(disorder) + late) as i64;
        let row = (time, random.below(key_count) as i64, watermark);
        watermark = watermark.max(time - disorder as i64 / 2);
        row
    };
    (0..count).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sessions_are_those_of_the_twin(
        seed in any::<u64>(),
        key_count in prop::sample::select(vec![3u64, 200, 5_000]),
        gap in prop::sample::select(vec![1i64, 40, 3_000]),
        chunk_rows in 500..15_000usize,
        payload_rows in 1..6_000usize,
        in_order in any::<bool>(),
    ) {
        let shape = shape();
        let window = window(gap);
        let mut owner = Session::new(Arc::clone(&shape), &window, false, Pages::default());
        if in_order {
            owner = owner.in_order();
        }
        let mut twin = Twin::default();
        let mut random = Random::new(seed);
        for chunk in rows(&mut random, 30_000, key_count, 2_000).chunks(chunk_rows) {
            for part in chunk.chunks(payload_rows) {
                owner.receive(payload(&shape, part));
                prop_assert!(owner.next_output().is_none(), "nothing shows before the chunk's end");
                part.iter().for_each(|&row| twin.add(row, gap));
            }
            let watermark = chunk[chunk.len() - 1].2;
            owner.advance(watermark, 0);
            prop_assert_eq!(read_out(&mut owner), twin.take(watermark));
        }
        owner.advance(WATERMARK_END, 0);
        prop_assert_eq!(read_out(&mut owner), twin.take(i64::MAX));
        prop_assert_eq!(owner.late_rows().unwrap().count, twin.late);
        prop_assert_eq!(owner.records.key_count(), 0);
    }
}

/// COUNT, SUM, FIRST_VALUE and LAST_VALUE of a number by a number.
fn numbers_shape() -> Arc<Shape> {
    use AggregateFunction::*;
    let input =
        Schema::new(vec![Field::new("k", DataType::BigInt), Field::new("n", DataType::BigInt)]);
    let calls =
        [Count, Sum, FirstValue, LastValue].map(|function| call(function, DataType::BigInt));
    Arc::new(Shape::new(&input, &[0], &calls))
}

/// Rows whose number is their time, packed if `is_packed`; a NULL cannot be.
fn numbers(shape: &Shape, rows: &[Arrived], is_packed: bool) -> Payload {
    let payload = payload(shape, rows);
    let times = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
    let columns = vec![Arc::new(times) as ArrayRef];
    match is_packed {
        true => packed(shape, payload, columns),
        false => Payload { data: Data::Rows(columns), ..payload },
    }
}

/// The same payload with these columns, packed.
fn packed(shape: &Shape, payload: Payload, columns: Vec<ArrayRef>) -> Payload {
    let (time_ms, arrival_ms) = (payload.ends_ms.clone(), payload.arrival_ms.clone());
    let all = [time_ms.as_slice(), arrival_ms.as_slice()];
    let counts = time_ms.iter().zip(&arrival_ms).any(|(&time, &arrival)| time <= arrival + 1);
    let (keys, times) =
        (KeyWords::of_keys(&payload.keys).unwrap(), &all[..1 + usize::from(counts)]);
    let packed = PackedRows::by_shard(shape, &keys, (times, &columns), 1);
    let data = Data::Packed(packed.unwrap().remove(0));
    Payload { data, ..payload }
}

/// What the twin's texts come to, in the order of the shape's calls.
fn numbers_of(row: Row) -> [i64; 7] {
    let (key, start, end, text) = row;
    let numbers: Vec<i64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    let sum = numbers.iter().sum();
    [key, numbers.len() as i64, sum, numbers[0], *numbers.last().unwrap(), start, end]
}

fn read_numbers(owner: &mut Session) -> Vec<[i64; 7]> {
    let mut rows = Vec::new();
    while let Some(output) = owner.next_output() {
        let Output::Rows(batch) = output else { panic!("sessions show rows") };
        let columns: Vec<&[i64]> = (0..8)
            .map(|column| &**batch.columns[column].as_primitive::<Int64Type>().values())
            .collect();
        let shown = |row| columns.iter().map(move |column| column[row]).collect::<Vec<i64>>();
        for row in (0..batch.rows).map(shown) {
            assert_eq!(row[7], row[6] - 1, "the time of a session");
            rows.push(*row.first_chunk().expect("eight columns"));
        }
    }
    rows.sort_unstable();
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// In bulk, on shelves when rows come that are not packed or when few come at a time, and back; with results held back or not.
    #[test]
    fn sessions_in_bulk_are_those_of_the_twin(
        seed in any::<u64>(),
        key_count in prop::sample::select(vec![3u64, 200, 5_000]),
        gap in prop::sample::select(vec![1i64, 40, 3_000]),
        disorder in prop::sample::select(vec![1u64, 2_000]),
        chunk_rows in prop::sample::select(vec![20usize, 700, 9_000]),
        payload_rows in 1..3_000usize,
        unpacked in prop::sample::select(vec![0u64, 1, 200]),
        may_hold in any::<bool>(),
    ) {
        let shape = numbers_shape();
        let window = window(gap);
        prop_assert!(Session::suits_bulk(&shape, &window));
        let mut owner = Session::new(Arc::clone(&shape), &window, false, Pages::default());
        owner = owner.in_order().in_bulk();
        let (mut twin, mut expected) = (Twin::default(), Vec::new());
        let mut random = Random::new(seed);
        let all = rows(&mut random, 12_000, key_count, disorder);
        let (mut in_bulk, mut on_shelves) = (0, 0);
        for chunk in all.chunks(chunk_rows) {
            for part in chunk.chunks(payload_rows) {
                let is_packed = random.below(1_000) >= unpacked;
                owner.receive(numbers(&shape, part, is_packed));
                prop_assert!(owner.next_output().is_none(), "nothing shows before the chunk's end");
                part.iter().for_each(|&row| twin.add(row, gap));
            }
            *(if owner.bulk.is_some() { &mut in_bulk } else { &mut on_shelves }) += 1;
            let watermark = chunk[chunk.len() - 1].2;
            owner.advance(watermark, 0);
            expected.extend(twin.take(watermark).into_iter().map(numbers_of));
            if owner.holds() && (!may_hold || random.below(3) == 0) {
                owner.let_go();
            }
            if owner.holds() {
                prop_assert!(owner.next_output().is_none());
                continue;
            }
            expected.sort_unstable();
            prop_assert_eq!(read_numbers(&mut owner), std::mem::take(&mut expected));
        }
        owner.advance(WATERMARK_END, 0);
        expected.extend(twin.take(i64::MAX).into_iter().map(numbers_of));
        expected.sort_unstable();
        prop_assert_eq!(read_numbers(&mut owner), expected);
        prop_assert_eq!(owner.late_rows().unwrap().count, twin.late);
        prop_assert!(unpacked == 0 || in_bulk + on_shelves > 0);
    }
}

/// SUM, MAX, VAR_POP and COUNT(*) of doubles by a number.
fn doubles_shape() -> Arc<Shape> {
    use AggregateFunction::*;
    let input =
        Schema::new(vec![Field::new("k", DataType::BigInt), Field::new("n", DataType::Double)]);
    let calls = [Sum, Max, VarPop, CountRows].map(|function| match function {
        CountRows => AggregateCall { args: Vec::new(), ..call(CountRows, DataType::BigInt) },
        function => call(function, DataType::Double),
    });
    Arc::new(Shape::new(&input, &[0], &calls))
}

/// The same rows with doubles that take sums out of their words.
fn doubles(shape: &Shape, rows: &[Arrived], is_packed: bool) -> Payload {
    const DOUBLES: [f64; 6] = [0.1, -0.0, 1e300, 1e-300, f64::NAN, f64::INFINITY];
    let double = |row: &Arrived| match row.0 % 40 {
        odd @ 0..6 => DOUBLES[odd as usize],
        other => other as f64 / 100.0,
    };
    let columns =
        vec![Arc::new(Float64Array::from_iter_values(rows.iter().map(double))) as ArrayRef];
    let payload = payload(shape, rows);
    match is_packed {
        true => packed(shape, payload, columns),
        false => Payload { data: Data::Rows(columns), ..payload },
    }
}

/// All that an owner shows, by the bits of doubles.
fn read_bits(owner: &mut Session, rows: &mut Vec<Vec<u64>>) {
    while let Some(output) = owner.next_output() {
        let Output::Rows(batch) = output else { panic!("sessions show rows") };
        let word = |column: &ArrayRef, row| match column.as_primitive_opt::<Float64Type>() {
            Some(doubles) => doubles.value(row).to_bits(),
            None => column.as_primitive::<Int64Type>().value(row).cast_unsigned(),
        };
        let shown = |row| batch.columns.iter().map(|column| word(column, row)).collect();
        rows.extend((0..batch.rows).map(shown));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Sums that spill, and what has no results without accumulators: in bulk as on shelves.
    #[test]
    fn doubles_in_bulk_are_those_on_shelves(
        seed in any::<u64>(),
        key_count in prop::sample::select(vec![3u64, 200, 5_000]),
        gap in prop::sample::select(vec![1i64, 40, 3_000]),
        chunk_rows in prop::sample::select(vec![700usize, 9_000]),
    ) {
        let (shape, window) = (doubles_shape(), window(gap));
        let owner = || Session::new(Arc::clone(&shape), &window, false, Pages::default());
        let mut owners = [owner().in_bulk(), owner()];
        let mut shown = [Vec::new(), Vec::new()];
        let mut random = Random::new(seed);
        for chunk in rows(&mut random, 12_000, key_count, 500).chunks(chunk_rows) {
            for ((owner, shown), is_packed) in owners.iter_mut().zip(&mut shown).zip([true, false]) {
                owner.receive(doubles(&shape, chunk, is_packed));
                owner.advance(chunk[chunk.len() - 1].2, 0);
                read_bits(owner, shown);
            }
        }
        for (owner, shown) in owners.iter_mut().zip(&mut shown) {
            owner.advance(WATERMARK_END, 0);
            read_bits(owner, shown);
            shown.sort_unstable();
        }
        prop_assert_eq!(&shown[0], &shown[1]);
    }
}

/// Many rows at a time have sessions in bulk, few on shelves.
#[test]
fn sessions_move_as_rows_come() {
    let (shape, window) = (numbers_shape(), window(60_000));
    let mut owner = Session::new(Arc::clone(&shape), &window, false, Pages::default());
    owner = owner.in_bulk();
    let mut random = Random::new(7);
    let all = rows(&mut random, 300_000, 20_000, 1);
    let (many, rest) = all.split_at(80_000);
    let (few, more) = rest.split_at(20_000);
    let mut shown = 0;
    for (rows, chunk_rows, in_bulk) in [(many, 8_000, true), (few, 10, false), (more, 8_000, true)]
    {
        for chunk in rows.chunks(chunk_rows) {
            owner.receive(numbers(&shape, chunk, true));
            owner.advance(chunk[chunk.len() - 1].2, 0);
            if owner.holds() {
                owner.let_go();
            }
            shown += read_numbers(&mut owner).iter().map(|row| row[1]).sum::<i64>();
        }
        assert_eq!(owner.bulk.is_some(), in_bulk);
        assert_eq!(owner.records.key_count() == 0, in_bulk);
    }
    owner.advance(WATERMARK_END, 0);
    shown += read_numbers(&mut owner).iter().map(|row| row[1]).sum::<i64>();
    assert_eq!(shown as u64 + owner.late_rows().unwrap().count, 300_000);
}
