//! Rows that go to the owners of their distinct values, against plain sets: what all owners count of a group adds up to what it has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringViewArray};
use proptest::prelude::*;

use super::*;
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Field, Schema};
use crate::op::window_aggregate::{Stage, WindowAggregate};
use crate::op::{Output, Receiver};
use crate::state::Pages;

const SIZE_MS: i64 = 1_000;

/// Key, time, value.
type Row = (i64, i64, Option<u16>);

/// A chunk, and in how many rows it is cut; what its values are.
#[derive(Clone, Debug)]
struct Chunk {
    rows: Vec<Row>,
    batch_rows: usize,
    values: fn(u16) -> String,
    /// Before it, its rows are taken ahead of their turn, the last first, and forgotten.
    forgotten: bool,
    /// A mark in the middle.
    marked: bool,
}

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let values: [fn(u16) -> String; 4] = [
        |value| format!("{:016x}", u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        |value| format!("{value:x}"),
        |value| if value % 300 == 201 { "strange".into() } else { format!("{value}") },
        |value| format!("device-{value:020}"),
    ];
    let value = prop_oneof![
        3 => (0..900u16).prop_map(Some).boxed(),
        1 => prop::option::weighted(0.99, 0..900u16).boxed(),
    ];
    let row = (0..40i64, 0..3 * SIZE_MS, value);
    let chunk = (
        prop::collection::vec(row, 1..1500),
        prop_oneof![Just(7usize), Just(300), Just(1000)],
        prop::sample::select(values.to_vec()),
        any::<[bool; 2]>(),
    );
    let chunk = chunk.prop_map(|(rows, batch_rows, values, [forgotten, marked])| Chunk {
        rows,
        batch_rows,
        values,
        forgotten,
        marked,
    });
    prop::collection::vec(chunk, 1..6)
}

fn schema(texts: bool) -> Schema {
    let value = if texts { DataType::STRING } else { DataType::BigInt };
    let fields = [("t", DataType::BigInt), ("k", DataType::BigInt), ("v", value)];
    let fields = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type));
    Schema::new(fields.collect())
}

/// What is counted of which rows.
#[derive(Clone, Copy, Debug)]
struct Case {
    texts: bool,
    counts_rows: bool,
    ordered: bool,
    shard_count: usize,
}

/// COUNT(DISTINCT v), and COUNT(*) beside it.
fn shape(texts: bool, counts_rows: bool) -> Shape {
    let arg_type = if texts { DataType::STRING } else { DataType::BigInt };
    let call = |function, args: &[usize], distinct| {
        let call = AggregateCall::new(function, args.to_vec(), arg_type, DataType::BigInt);
        AggregateCall { distinct, ..call }
    };
    let mut calls = vec![call(AggregateFunction::Count, &[2], true)];
    calls.extend(counts_rows.then(|| call(AggregateFunction::CountRows, &[], false)));
    Shape::new(&schema(texts), &[1], &calls)
}

/// A chunk's batches; each row of those that are `ordered` moves the watermark.
fn batches(chunk: &Chunk, texts: bool, ordered: bool) -> Vec<Batch> {
    let batch = |rows: &[Row]| {
        let value: ArrayRef = match texts {
            true => {
                let values = rows.iter().map(|row| row.2.map(chunk.values));
                Arc::new(values.collect::<StringViewArray>())
            }
            false => Arc::new(rows.iter().map(|row| row.2.map(i64::from)).collect::<Int64Array>()),
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            value,
        ];
        let mut latest_ms = i64::MIN;
        let mut arrive = |row: &Row| match ordered {
            true => std::mem::replace(&mut latest_ms, row.1 - 1),
            false => i64::MIN,
        };
        let arrival_ms: Vec<i64> = rows.iter().map(&mut arrive).collect();
        Batch { arrival_ms: Some(arrival_ms.into()), ..Batch::new(columns, rows.len()) }
    };
    chunk.rows.chunks(chunk.batch_rows).map(batch).collect()
}

/// The chunks with rows in the order of their times, so that windows close within batches, which cannot be taken whole then.
fn in_order(mut chunks: Vec<Chunk>) -> Vec<Chunk> {
    for (index, chunk) in (0..).zip(&mut chunks) {
        chunk.rows.iter_mut().for_each(|row| row.1 += index * 3 * SIZE_MS);
        chunk.rows.sort_by_key(|row| row.1);
    }
    chunks
}

/// Of each key and window: distinct values, rows.
type Counts = BTreeMap<(i64, i64), (u64, u64)>;

fn expected(chunks: &[Chunk], texts: bool) -> Counts {
    let mut sets: BTreeMap<(i64, i64), (BTreeSet<String>, u64)> = BTreeMap::new();
    for chunk in chunks {
        for &(key, time_ms, value) in &chunk.rows {
            let (set, rows) = sets.entry((key, time_ms / SIZE_MS)).or_default();
            let spelt = |value| if texts { (chunk.values)(value) } else { value.to_string() };
            set.extend(value.map(spelt));
            *rows += 1;
        }
    }
    sets.into_iter().map(|(group, (set, rows))| (group, (set.len() as u64, rows))).collect()
}

fn deliver(sender: &mut AggregateSender, owners: &mut [WindowAggregate]) {
    for shipment in sender.drain() {
        if let Shipment::Payload(shard, payload) = shipment {
            owners[shard].receive(*payload);
        }
    }
}

fn counted(chunks: &[Chunk], case: Case) -> Counts {
    let Case { texts, counts_rows, ordered, shard_count } = case;
    let window = WindowSpec::by_event_time(WindowKind::Tumble { size_ms: SIZE_MS, offset_ms: 0 });
    let plan = SendPlan::at_end(window.clone(), Ship::RowsByValue);
    let shape = Arc::new(shape(texts, counts_rows));
    let mut sender = AggregateSender::new(Arc::clone(&shape), plan, shard_count);
    let owner = |_| {
        let (shape, pages) = (Arc::clone(&shape), Pages::default());
        WindowAggregate::new(shape, &window, false, false, Stage::Final, pages)
    };
    let mut owners: Vec<WindowAggregate> = (0..shard_count).map(owner).collect();
    for chunk in chunks {
        let batches = batches(chunk, texts, ordered);
        if chunk.forgotten {
            for batch in batches.iter().rev() {
                let fires_ms = sender.take_ahead(batch, Upcoming::default());
                assert!(ordered || fires_ms.is_some(), "nothing fires");
            }
            sender.forget_ahead();
        }
        for (index, batch) in batches.iter().enumerate() {
            sender.push(batch, i64::MIN, i64::MIN, 0);
            if chunk.marked && index == batches.len() / 2 {
                sender.push_mark(-1);
                deliver(&mut sender, &mut owners);
            }
        }
        sender.end_chunk();
        deliver(&mut sender, &mut owners);
    }
    let mut counts = Counts::new();
    for mut owner in owners {
        owner.advance(i64::MAX, 0);
        while let Some(Output::Rows(batch)) = owner.next_output() {
            let column = |at: usize| batch.columns[at].as_primitive::<Int64Type>().values();
            let start_at = batch.columns.len() - 3;
            for row in 0..batch.rows {
                let group = (column(0)[row], column(start_at)[row] / SIZE_MS);
                let (values, rows) = counts.entry(group).or_default();
                *values += column(1)[row].cast_unsigned();
                *rows += if counts_rows { column(2)[row].cast_unsigned() } else { 0 };
            }
        }
        assert_eq!(owner.state_bytes(), 0, "a window that has fired is gone");
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Numbers, texts of digits, of other characters among them, and long ones; NULLs; some chunks taken ahead and forgotten.
    #[test]
    fn each_value_is_counted_once_by_its_one_owner(
        chunks in chunks(), [texts, counts_rows, ordered] in any::<[bool; 3]>(), shard_count in 1..4usize,
    ) {
        let chunks = if ordered { in_order(chunks) } else { chunks };
        let case = Case { texts, counts_rows, ordered, shard_count };
        let mut expected = expected(&chunks, texts);
        if !counts_rows {
            expected.values_mut().for_each(|counts| counts.1 = 0);
        }
        prop_assert_eq!(counted(&chunks, case), expected);
    }
}

/// Values that wait are shipped before they are too many.
#[test]
fn a_long_chunk_is_shipped_in_pieces() {
    let rows = (0..40_000u32).map(|row| (1, 5, Some((row % 900) as u16))).collect();
    let chunk = Chunk {
        rows,
        batch_rows: 4096,
        values: |value| value.to_string(),
        forgotten: false,
        marked: false,
    };
    let expected = expected(std::slice::from_ref(&chunk), true);
    let case = Case { texts: true, counts_rows: true, ordered: false, shard_count: 2 };
    assert_eq!(counted(&[chunk], case), expected);
}
