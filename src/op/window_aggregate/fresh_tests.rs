//! Slices without a table, against the same owner whose slices get one at once.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, Int64Array};
use proptest::prelude::*;

use super::super::send::{AggregateSender, SendPlan, Ship, Shipment};
use super::*;
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{Batch, DataType, Field, Schema};

const CHUNK_MS: i64 = 3_000;

/// Rows: key, time within the chunk, value; and whether slices get tables after them.
type Chunk = (Vec<(i64, i64, f64)>, bool);

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let value = prop_oneof![-9.0..9.0f64, Just(1e-300), Just(f64::NAN)];
    // Keys far apart have no numbers.
    let key = prop_oneof![9 => 0..12i64, 2 => 0..60i64, 1 => Just(1_000_000)];
    let rows = prop::collection::vec((key, 0..2 * CHUNK_MS, value), 0..120);
    prop::collection::vec((rows, prop::bool::weighted(0.2)), 1..8)
}

fn shape() -> Shape {
    let call = |function, args: &[usize], data_type| {
        AggregateCall::new(function, args.to_vec(), DataType::Double, data_type)
    };
    let calls = [
        call(AggregateFunction::CountRows, &[], DataType::BigInt),
        call(AggregateFunction::Sum, &[2], DataType::Double),
        call(AggregateFunction::Min, &[2], DataType::Double),
    ];
    let fields = [("t", DataType::BigInt), ("k", DataType::BigInt), ("x", DataType::Double)];
    let fields = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type));
    Shape::new(&Schema::new(fields.collect()), &[1], &calls)
}

fn batch(rows: &[(i64, i64, f64)], from_ms: i64) -> Batch {
    let times = rows.iter().map(|row| from_ms + row.1);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(times)),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.2))),
    ];
    Batch::new(columns, rows.len())
}

/// All result rows, sorted; of the twin none is without a table.
fn results(kind: WindowKind, chunks: &[Chunk], groups_max: usize, twin: bool) -> Vec<String> {
    let window = WindowSpec::by_event_time(kind);
    let shape = Arc::new(shape());
    let plan = SendPlan::at_end(window.clone(), Ship::Folded);
    let mut sender = AggregateSender::new(Arc::clone(&shape), plan, 1);
    let pages = Pages::default();
    let mut owner = WindowAggregate::new(shape, &window, false, false, Stage::Final, pages);
    owner.folded_groups_max = groups_max;
    let mut results = Vec::new();
    let mut read_out = |owner: &mut WindowAggregate| {
        while let Some(output) = owner.next_output() {
            let Output::Rows(batch) = output else { panic!("no first stage") };
            let value = |row: usize| move |column: &ArrayRef| format!("{:?}", column.slice(row, 1));
            let row = |row: usize| batch.columns.iter().map(value(row)).collect::<String>();
            results.extend((0..batch.rows).map(row));
        }
    };
    for (index, (rows, settle)) in (0..).zip(chunks) {
        sender.push(&batch(rows, index * CHUNK_MS), i64::MIN, i64::MIN, 0);
        sender.end_chunk();
        for shipment in sender.drain() {
            let Shipment::Payload(_, payload) = shipment else { panic!("nothing fires early") };
            owner.receive(*payload);
            if twin || *settle {
                owner.settle_fresh();
            }
        }
        owner.advance(index * CHUNK_MS, 0);
        read_out(&mut owner);
    }
    owner.advance(i64::MAX, 0);
    read_out(&mut owner);
    assert_eq!(owner.state_bytes(), 0, "a window that has fired is gone");
    results.sort();
    results
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_the_same_without_tables(
        chunks in chunks(),
        kind in prop_oneof![
            Just(WindowKind::Tumble { size_ms: 2_000, offset_ms: 0 }),
            Just(WindowKind::Tumble { size_ms: 50, offset_ms: 0 }),
            Just(WindowKind::Hop { size_ms: 6_000, slide_ms: 4_000, offset_ms: 0 }),
            Just(WindowKind::Hop { size_ms: 6_000, slide_ms: 100, offset_ms: 0 }),
        ],
        groups_max in prop_oneof![Just(5usize), Just(usize::MAX)],
    ) {
        let expected = results(kind, &chunks, groups_max, true);
        prop_assert_eq!(results(kind, &chunks, groups_max, false), expected);
    }
}
