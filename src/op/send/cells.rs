//! Batches that are folded in cells ([`super::super::grid`]): the commonest aggregates of keys that have numbers.
//!
//! # Invariants
//!
//! 1. At any time either the grid has groups or the table, and the grid's keys have the numbers that the sender's numbering gives them.
//! 2. It does not show whether a batch went to cells: the same groups leave, with the same accumulators, before what comes later.

use super::*;
use crate::window::Cut;

impl AggregateSender {
    /// Folds a batch in cells; false if it cannot be, in which case nothing is left in them.
    pub(super) fn fold_in_cells(&mut self, batch: &Batch, keys: &[ArrayRef], cut: &Cut) -> bool {
        let done = self.folding && self.groups.count() == 0 && self.try_cells(batch, keys, cut);
        match done {
            true => self.judge_cells(batch.rows),
            false => self.flush_cells(),
        }
        done
    }

    fn try_cells(&mut self, batch: &Batch, keys: &[ArrayRef], cut: &Cut) -> bool {
        let Some(plan) = self.grid.as_ref().map(|grid| grid.plan) else { return false };
        let columns = self.shape.ship(&batch.columns);
        let Some(values) = plan.values(&columns) else { return false };
        let Some(integers) = self.numbered.integers(keys) else { return false };
        if !self.numbered.covers(&integers) {
            self.flush_cells();
        }
        let lanes = match self.numbered.cover(&integers) {
            true => self.lanes(cut, batch.rows),
            false => None,
        };
        if let (Some(grid), Some(lanes)) = (&mut self.grid, lanes) {
            let (low, _) = self.numbered.range();
            let (slices, next) = (&self.slice_indices, std::mem::take(&mut self.upcoming));
            grid.fold(lanes, (&integers, low), slices, values, &mut self.slots, next);
        }
        self.numbered.keep(integers);
        lanes.is_some()
    }

    /// Where a batch's rows go; what is in the grid leaves if there is no room beside it.
    fn lanes(&mut self, cut: &Cut, rows: usize) -> Option<Lanes> {
        let (_, width) = self.numbered.range();
        let room = |grid: &mut Grid| grid.make_room(cut, width, rows);
        self.grid.as_mut().and_then(room).or_else(|| {
            self.flush_cells();
            self.grid.as_mut().and_then(room)
        })
    }

    /// Looks whether folding pays, as [`AggregateSender::fold`] does.
    fn judge_cells(&mut self, rows: usize) {
        let Some(grid) = &self.grid else { return };
        if !self.judge.pays(rows, grid.cell_count(), || grid.groups().count()) {
            self.stop_folding();
        }
    }

    /// What is in cells leaves for its owners.
    pub(super) fn flush_cells(&mut self) {
        let Some(grid) = self.grid.as_mut().filter(|grid| !grid.is_empty()) else { return };
        let numbered = &mut self.numbered;
        let (low, _) = numbered.range();
        // Of each shard: cells, and where their keys lie.
        let room = || Vec::with_capacity(grid.cell_count());
        let mut parts: Vec<(Vec<u32>, Vec<u32>)> =
            (0..self.shard_count).map(|_| (room(), room())).collect();
        for index in grid.groups() {
            let place = numbered.place(grid.number(index), low);
            let hash = numbered.known().hashes[place as usize];
            let (indices, places) = &mut parts[shard_of(hash, self.shard_count)];
            indices.push(index);
            places.push(place);
        }
        let parts = parts.iter().enumerate().filter(|(_, (indices, _))| !indices.is_empty());
        for (shard, (indices, places)) in parts {
            let indices = || indices.iter().copied();
            let mut partials = Partials::default();
            grid.plan.export(indices().map(|index| grid.cell(index)), &mut partials);
            let numbers = indices().map(|index| grid.number(index) as u32).collect();
            let payload = Payload {
                keys: numbered.known().take(places),
                ends_ms: indices().map(|index| grid.end_ms(index)).collect(),
                arrival_ms: Vec::new(),
                numbers: numbered.sent(numbers),
                data: Data::Partials(partials),
            };
            self.out.push_back(Shipment::Payload(shard, Box::new(payload)));
        }
        grid.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow_array::{Float64Array, Int64Array, StringViewArray};
    use proptest::prelude::*;

    use super::super::super::accumulators::Accumulators;
    use super::super::super::pane::finish_calls;
    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction, merge};
    use crate::batch::{DataType, Field, Schema};

    /// What has come for each slice and key of each shard.
    struct Received {
        slots: BTreeMap<(usize, i64, Vec<u8>), u32>,
        groups: Accumulators,
    }

    impl Received {
        fn slot(&mut self, shard: usize, end_ms: i64, key: &[u8]) -> u32 {
            let next = self.slots.len() as u32;
            let slot = *self.slots.entry((shard, end_ms, key.to_vec())).or_insert(next);
            self.groups.grow_to(self.slots.len());
            slot
        }

        fn receive(&mut self, shape: &Shape, shard: usize, payload: Payload) {
            let Payload { keys, mut ends_ms, data, .. } = payload;
            let (keys, columns) = match data {
                Data::Partials(partials) => {
                    for (index, &end_ms) in ends_ms.iter().enumerate() {
                        let slot = self.slot(shard, end_ms, keys.get(index));
                        merge(
                            &shape.layout,
                            0,
                            &shape.calls,
                            &mut self.groups,
                            slot,
                            &partials,
                            index,
                        );
                    }
                    return;
                }
                Data::Rows(columns) => (keys, columns),
                Data::Packed(packed) => packed.unpack(shape),
                Data::Grouped(_) => unreachable!("nothing is distinct"),
            };
            ends_ms.resize(keys.count(), ends_ms[0]);
            let slot = |(index, &end_ms): (usize, &i64)| self.slot(shard, end_ms, keys.get(index));
            let slots: Vec<u32> = ends_ms.iter().enumerate().map(slot).collect();
            update_calls(shape, 0, &mut self.groups, &slots, &columns);
        }
    }

    /// Keys as integers or texts, close together or some far apart, short or some long.
    fn column(texts: bool, far: bool, keys: &[i64]) -> ArrayRef {
        let is_far = |key: i64| far && key % 7 == 0;
        match texts {
            true => {
                Arc::new(StringViewArray::from_iter_values(keys.iter().map(|&key| {
                    match is_far(key) {
                        true => format!("{key:020}"),
                        false => format!("{key}"),
                    }
                })))
            }
            false => Arc::new(Int64Array::from_iter_values(
                keys.iter().map(|&key| if is_far(key) { key * 1_000_000 } else { key }),
            )),
        }
    }

    fn calls() -> Vec<AggregateCall> {
        let call = |function, args: &[usize]| {
            let data_type = if args.is_empty() { DataType::BigInt } else { DataType::Double };
            AggregateCall::new(function, args.to_vec(), DataType::Double, data_type)
        };
        vec![
            call(AggregateFunction::CountRows, &[]),
            call(AggregateFunction::Sum, &[2]),
            call(AggregateFunction::Max, &[2]),
        ]
    }

    /// Of each row: time, key, value.
    type Rows = Vec<(i64, i64, f64)>;

    /// Rows, a value that may not fit, whether keys lie far apart, whether the chunk ends, the watermark.
    type Pushed = (Rows, Option<f64>, bool, bool, i64);

    fn batches() -> impl Strategy<Value = Vec<Pushed>> {
        let row = (-9_000..40_000i64, -5..25i64, -1e6..1e6f64);
        let misfit = prop_oneof![Just(f64::NAN), Just(1e300), Just(1e-300), Just(f64::INFINITY)];
        let rows = prop_oneof![
            prop::collection::vec(row.clone(), 1..40),
            prop::collection::vec(row, 100..400)
        ];
        let watermark = prop_oneof![Just(i64::MIN), -9_000..20_000i64];
        let misfit = prop::option::weighted(0.2, misfit);
        let batch = (rows, misfit, prop::bool::weighted(0.1), any::<bool>(), watermark);
        prop::collection::vec(batch, 1..8)
    }

    proptest! {
        /// Against the same sender without a grid.
        #[test]
        fn what_leaves_is_the_same_without_cells(
            batches in batches(),
            texts in any::<bool>(),
            shards in 1..3usize,
            size_ms in prop_oneof![Just(2_000i64), Just(10_000)],
        ) {
            let fields = [("ts", DataType::BigInt), ("k", DataType::BigInt), ("x", DataType::Double)];
            let fields = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type));
            let shape = Arc::new(Shape::new(&Schema::new(fields.collect()), &[1], &calls()));
            let window = WindowSpec::by_event_time(WindowKind::Tumble { size_ms, offset_ms: 0 });
            let plan = SendPlan::at_end(window, Ship::Folded);
            let mut sender = AggregateSender::new(Arc::clone(&shape), plan.clone(), shards);
            let mut twin = AggregateSender::new(Arc::clone(&shape), plan, shards);
            prop_assert!(sender.grid.is_some());
            twin.grid = None;
            let results = [&mut sender, &mut twin].map(|sender| {
                let groups = Accumulators::new(shape.layout.word_count);
                let mut received = Received { slots: BTreeMap::new(), groups };
                for (rows, misfit, far, ends, watermark_ms) in &batches {
                    let times = Int64Array::from_iter_values(rows.iter().map(|row| row.0));
                    let keys: Vec<i64> = rows.iter().map(|row| row.1).collect();
                    let mut values: Vec<f64> = rows.iter().map(|row| row.2).collect();
                    values[rows.len() / 2] = misfit.unwrap_or(0.5);
                    let columns: Vec<ArrayRef> = vec![
                        Arc::new(times),
                        column(texts, *far, &keys),
                        Arc::new(Float64Array::from(values)),
                    ];
                    // Rows are late where it is high: what is left is taken as a segment.
                    sender.push(&Batch::new(columns, rows.len()), *watermark_ms, *watermark_ms, 0);
                    if *ends {
                        sender.end_chunk();
                    }
                }
                sender.end_chunk();
                let shipments: Vec<Shipment> = sender.drain().collect();
                for shipment in shipments {
                    let Shipment::Payload(shard, payload) = shipment else { panic!("nothing fires early") };
                    received.receive(&shape, shard, *payload);
                }
                let slots: Vec<u32> = received.slots.values().copied().collect();
                let columns = finish_calls(&shape, 0, Vec::new(), &received.groups, &slots);
                (received.slots.into_keys().collect::<Vec<_>>(), format!("{columns:?}"))
            });
            prop_assert_eq!(&results[0], &results[1]);
        }
    }
}
