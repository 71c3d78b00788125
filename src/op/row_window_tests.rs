//! Owners of windows of rows give back what they no longer need, and count what they fire. What they show is tested against a
//! naive twin in `tests/row_windows.rs`.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringViewArray};

use super::count_window::CountWindow;
use super::global_window::GlobalWindow;
use super::shape::Shape;
use super::{Data, Output, Payload, Receiver};
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Field, Keys, Schema};
use crate::state::Pages;
use crate::window::{Emit, WindowKind, WindowSpec};

fn call(function: AggregateFunction, arg: usize, data_type: DataType) -> AggregateCall {
    AggregateCall {
        distinct: function == AggregateFunction::Count,
        separator: ",".into(),
        ..AggregateCall::new(function, vec![arg], data_type, data_type)
    }
}

/// COUNT(DISTINCT v), MAX(s) and, unless windows are to be added up by two stacks, LISTAGG(s), by k.
fn shape(is_stacked: bool) -> Arc<Shape> {
    let input = Schema::new(vec![
        Field::new("k", DataType::BigInt),
        Field::new("v", DataType::BigInt),
        Field::new("s", DataType::STRING),
    ]);
    let mut calls = vec![call(AggregateFunction::Max, 2, DataType::STRING)];
    if !is_stacked {
        calls.push(call(AggregateFunction::ListAgg, 2, DataType::STRING));
        calls.push(call(AggregateFunction::Count, 1, DataType::BigInt));
    }
    Arc::new(Shape::new(&input, &[0], &calls))
}

/// One row of each of these keys.
fn payload(shape: &Shape, keys: std::ops::Range<i64>, round: i64) -> Payload {
    let count = (keys.end - keys.start) as usize;
    let key_column: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
    let mut encoded = Keys::default();
    encoded.encode(std::slice::from_ref(&key_column), count);
    let values: ArrayRef = Arc::new(Int64Array::from(vec![round % 7; count]));
    let text = "x".repeat(20 + round as usize % 30);
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(vec![&text; count]));
    let columns = shape.ship(&[key_column, values, texts]);
    let (ends_ms, arrival_ms) = (vec![round; count], vec![round; count]);
    Payload { keys: encoded, ends_ms, arrival_ms, numbers: None, data: Data::Rows(columns) }
}

fn read_out(owner: &mut dyn Receiver) -> usize {
    let mut row_count = 0;
    while let Some(output) = owner.next_output() {
        let Output::Rows(batch) = output else { panic!("owners of rows show rows") };
        row_count += batch.rows;
    }
    row_count
}

/// Rounds in which each of some keys gets `rows` rows; `fresh`: other keys in each round. The state after an early round and the last.
fn grows(owner: &mut dyn Receiver, shape: &Shape, rows: i64, fresh: bool) -> (usize, usize) {
    let mut early_bytes = 0;
    for round in 0..60 {
        let first = if fresh { round * 100 } else { 0 };
        for _ in 0..rows {
            owner.receive(payload(shape, first..first + 100, round));
            read_out(owner);
        }
        owner.advance(round * 10, 0);
        read_out(owner);
        if round == 30 {
            early_bytes = owner.state_bytes();
        }
    }
    (early_bytes, owner.state_bytes())
}

fn count_window(shape: &Arc<Shape>, size_rows: u64, slide_rows: u64) -> CountWindow {
    let window = WindowSpec::by_event_time(WindowKind::Count { size_rows, slide_rows });
    CountWindow::new(Arc::clone(shape), &window, false, Pages::default())
}

#[test]
fn count_windows_give_back_what_they_have_shown() {
    for (size_rows, slide_rows, fresh) in [(3, 3, true), (2, 3, true), (6, 3, false), (7, 3, false)]
    {
        for shape in [shape(true), shape(false)] {
            let mut owner = count_window(&shape, size_rows, slide_rows);
            let (early_bytes, bytes) = grows(&mut owner, &shape, 3, fresh);
            assert_eq!(early_bytes, bytes, "{size_rows}, {slide_rows}");
            assert_eq!(owner.fired_count(), 60 * 100);
        }
    }
}

#[test]
fn global_windows_give_back_what_they_have_purged() {
    let by_rows = WindowKind::Global { every_rows: Some(3), at_end: false, purges: true };
    let by_time = WindowKind::Global { every_rows: Some(2), at_end: true, purges: true };
    let ticks = Emit {
        early_delay_ms: Some(10),
        early_clock: crate::window::EmitClock::Event,
        ..Emit::AT_END
    };
    for (kind, emit, fired) in [(by_rows, Emit::AT_END, 1), (by_time, ticks, 2)] {
        let shape = shape(false);
        let pages = Pages::default();
        let mut owner = GlobalWindow::new(
            Arc::clone(&shape),
            &WindowSpec::by_event_time(kind),
            false,
            emit,
            pages,
        );
        let (early_bytes, bytes) = grows(&mut owner, &shape, 3, true);
        assert_eq!(early_bytes, bytes, "{kind:?}");
        assert_eq!(owner.fired_count(), 60 * 100 * fired);
    }
}

/// Many groups fire at once, and are read out in pieces.
#[test]
fn an_end_is_read_out_in_batches() {
    let shape = shape(false);
    let kind = WindowKind::Global { every_rows: None, at_end: true, purges: false };
    let pages = Pages::default();
    let mut owner = GlobalWindow::new(
        Arc::clone(&shape),
        &WindowSpec::by_event_time(kind),
        false,
        Emit::AT_END,
        pages,
    );
    let group_count = crate::batch::BATCH_ROWS_MAX * 2;
    owner.receive(payload(&shape, 0..group_count as i64, 0));
    assert!(owner.next_output().is_none());
    owner.advance(super::WATERMARK_END, 0);
    let Some(Output::Rows(batch)) = owner.next_output() else { panic!("all groups fire") };
    assert!(batch.rows < group_count, "a piece of them");
    assert_eq!(batch.rows + read_out(&mut owner), group_count);
}
