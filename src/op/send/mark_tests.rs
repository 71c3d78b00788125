//! Marks of chunks that pass many windows, at every cut into batches.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};
use proptest::prelude::*;

use super::*;
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Field, Schema};

/// The marks of rows at these times, each a second behind the latest, cut into batches of so many.
fn marks(kind: WindowKind, times_ms: &[i64], batch_rows: usize) -> Vec<i64> {
    let schema = Schema::new(["t", "k"].map(|name| Field::new(name, DataType::BigInt)).into());
    let rows = AggregateFunction::CountRows;
    let call = AggregateCall::new(rows, Vec::new(), DataType::BigInt, DataType::BigInt);
    let plan = SendPlan {
        may_mark: true,
        ..SendPlan::at_end(WindowSpec::by_event_time(kind), Ship::Folded)
    };
    let mut sender = AggregateSender::new(Arc::new(Shape::new(&schema, &[1], &[call])), plan, 2);
    let mut watermark_ms = i64::MIN;
    for times_ms in times_ms.chunks(batch_rows) {
        let mut arrive = |&time_ms: &i64| {
            let arrival_ms = watermark_ms;
            watermark_ms = watermark_ms.max(time_ms - 1_000);
            arrival_ms
        };
        let arrival_ms: Vec<i64> = times_ms.iter().map(&mut arrive).collect();
        let times: ArrayRef = Arc::new(Int64Array::from(times_ms.to_vec()));
        let batch = Batch::new(vec![Arc::clone(&times), times], times_ms.len());
        let batch = Batch { arrival_ms: Some(arrival_ms.into()), ..batch };
        sender.push(&batch, i64::MAX, i64::MIN, 0);
    }
    let mark = |shipment| match shipment {
        Shipment::Mark(mark) => Some(mark),
        Shipment::Payload(..) => None,
    };
    sender.drain().filter_map(mark).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// No more slices than a few pass from one mark to the next, few rows or many, and batches do not show.
    #[test]
    fn marks_follow_the_watermark(
        steps_ms in prop::collection::vec(0..9_000i64, 1..600), back_ms in 0..900i64, batch_rows in 1..200usize,
        kind in prop_oneof![
            Just(WindowKind::Tumble { size_ms: 1_000, offset_ms: 0 }),
            Just(WindowKind::Hop { size_ms: 3_000, slide_ms: 1_000, offset_ms: 0 }),
            Just(WindowKind::Cumulate { size_ms: 4_000, step_ms: 1_000, offset_ms: 0 }),
        ],
    ) {
        let mut now_ms = 0;
        let times_ms: Vec<i64> = (0..).zip(&steps_ms).map(|(row, step_ms)| {
            now_ms += step_ms;
            now_ms - if row % 3 == 2 { back_ms } else { 0 }
        }).collect();
        let found = marks(kind, &times_ms, batch_rows);
        prop_assert_eq!(&found, &marks(kind, &times_ms, times_ms.len()), "whatever the batches");
        let step_max_ms = 9_000;
        let unmarked_max_ms = (UNMARKED_SLICES_MAX + 1) * 1_000 + step_max_ms;
        let all = found.iter().copied().chain([now_ms - 1_000 - back_ms]);
        let mut before_ms = times_ms[0];
        for mark in all {
            prop_assert!(mark - before_ms <= unmarked_max_ms, "{mark} follows {before_ms}");
            before_ms = mark.max(before_ms);
        }
    }
}
