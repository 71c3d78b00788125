//! The W1 path in memory: click batches through a sender and an owner (10 s tumbling windows by page; count, sum, max,
//! average), rows a second on one core. The result is checked against a plain loop.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use criterion::{Criterion, Throughput};
use tidemill::agg::{AggregateCall, AggregateFunction};
use tidemill::batch::{BATCH_ROWS_MAX, Batch, DataType, Field, Schema};
use tidemill::connector::Generator;
use tidemill::connector::clicks::{Clicks, ClicksGenerator};
use tidemill::op::send::{AggregateSender, SendPlan, Ship, Shipment};
use tidemill::op::shape::Shape;
use tidemill::op::window_aggregate::{Stage, WindowAggregate};
use tidemill::op::{Output, Receiver, WATERMARK_END};
use tidemill::state::Pages;
use tidemill::window::{WindowKind, WindowSpec};

const ROWS: u64 = 64 * BATCH_ROWS_MAX as u64;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("ts", DataType::Timestamp(3)),
        Field::new("page", DataType::STRING),
        Field::new("amount", DataType::Double),
    ])
}

fn batches() -> Vec<Batch> {
    let generator = ClicksGenerator::new(Clicks::default(), Some(ROWS), None, &schema()).unwrap();
    let starts = (0..ROWS).step_by(BATCH_ROWS_MAX);
    starts.map(|start| generator.generate(start, BATCH_ROWS_MAX, &[0, 1, 2])).collect()
}

fn call(function: AggregateFunction) -> AggregateCall {
    let count = function == AggregateFunction::CountRows;
    let args = if count { vec![] } else { vec![2] };
    let data_type = if count { DataType::BigInt } else { DataType::Double };
    AggregateCall::new(function, args, DataType::Double, data_type)
}

/// Rows counted and the total of the sums, over all windows and pages.
fn aggregate(batches: &[Batch], shape: &Arc<Shape>) -> (i64, f64) {
    let window = WindowSpec::by_event_time(WindowKind::Tumble { size_ms: 10_000, offset_ms: 0 });
    let plan = SendPlan { may_mark: true, ..SendPlan::at_end(window.clone(), Ship::Folded) };
    let mut sender = AggregateSender::new(Arc::clone(shape), plan, 1);
    let mut owner = WindowAggregate::new(
        Arc::clone(shape),
        &window,
        false,
        false,
        Stage::Final,
        Pages::default(),
    );
    for chunk in batches.chunks(4) {
        chunk.iter().for_each(|batch| sender.push(batch, i64::MIN, i64::MIN, 0));
        sender.end_chunk();
        for shipment in sender.drain() {
            let Shipment::Payload(_, payload) = shipment else { panic!("nothing fires early") };
            owner.receive(*payload);
        }
    }
    owner.advance(WATERMARK_END, 0);
    let (mut rows, mut total) = (0, 0.0);
    while let Some(Output::Rows(batch)) = owner.next_output() {
        rows += batch.columns[1].as_primitive::<Int64Type>().values().iter().sum::<i64>();
        total += batch.columns[2].as_primitive::<Float64Type>().values().iter().sum::<f64>();
    }
    (rows, total)
}

fn tumble(criterion: &mut Criterion) {
    use AggregateFunction::*;
    let batches = batches();
    let shape =
        Arc::new(Shape::new(&schema(), &[1], &[call(CountRows), call(Sum), call(Max), call(Avg)]));
    let (rows, total) = aggregate(&batches, &shape);
    let amounts = batches
        .iter()
        .flat_map(|batch| batch.columns[2].as_primitive::<Float64Type>().values().iter());
    assert_eq!(rows, ROWS as i64);
    assert!((total - amounts.sum::<f64>()).abs() < 1.0, "the sums do not add up");

    let mut group = criterion.benchmark_group("window");
    group.throughput(Throughput::Elements(ROWS)).sample_size(20);
    group.bench_function("w1", |bencher| bencher.iter(|| black_box(aggregate(&batches, &shape))));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    tumble(&mut criterion);
    criterion.final_summary();
}
