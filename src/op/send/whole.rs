//! Batches that are taken whole, and ahead of their turn: before it is known at what watermark their rows arrive.
//!
//! # Invariants
//!
//! 1. What is taken ahead leaves the sender as it would have in its turn, if every batch could have been taken whole then; whoever
//!    had it taken sees to that. Nothing of a chunk that is taken ahead stays behind its end.

use arrow_array::UInt32Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::super::folding::extent;
use super::super::grid::Grid;
use super::super::partition::sorted;
use super::{AggregateSender, Ship, highest_arrival};
use crate::batch::Batch;
use crate::sys::prefetch::Upcoming;
use crate::window::{Cut, EmitClock, TimeDomain};

/// With fewer rows for each slice a batch is not cut by slices.
const SLICE_ROWS_MIN: usize = if cfg!(test) { 16 } else { 256 };

impl AggregateSender {
    /// Takes a batch if it can be taken whole and falls into few slices: then they are counted through, and nothing is computed row by
    /// row that does not end up in an accumulator. Says at which watermark the first window fires that its rows belong to; `None`:
    /// nothing was done.
    pub(super) fn take_whole(
        &mut self,
        batch: &Batch,
        others_ms: i64,
        floor_ms: i64,
    ) -> Option<i64> {
        let suits = self.plan.ship != Ship::Rows && self.wall.is_utc();
        let slices = self.slices.filter(|_| suits)?;
        let time_ms = batch.columns[self.time_column()].as_primitive::<Int64Type>().values();
        let (least, greatest) = extent(time_ms);
        let highest = highest_arrival(batch, others_ms, floor_ms);
        let cut = slices.cut(least, greatest)?;
        let earliest = cut.ends().next().expect("there is at least one");
        let fires_ms = self.clear_until(slices, earliest, highest)?;
        if cut.ends().len() == 1 && !self.groups_rows() {
            self.ship_slice(batch, earliest);
            return Some(fires_ms);
        }
        cut.indices(time_ms, &mut self.slice_indices);
        match self.groups_rows() {
            true => self.take_cut(batch, &cut),
            false => self.ship_cut(batch, &cut),
        }
        Some(fires_ms)
    }

    /// Ships rows, of which it is known into which slices of a cut they fall: by slice if they can be packed then, and are not few.
    fn ship_cut(&mut self, batch: &Batch, cut: &Cut) {
        let slice_count = cut.ends().len();
        if !self.plan.emit.is_once() || batch.rows < slice_count * SLICE_ROWS_MIN {
            self.ship_rows(batch, self.ends_of_rows(cut), Vec::new());
            return;
        }
        let slice = |row: u32| self.slice_indices[row as usize] as usize;
        let (rows, starts) = sorted(0..batch.rows as u32, slice, slice_count);
        for (end_ms, ends) in cut.ends().zip(starts.windows(2)) {
            let rows = &rows[ends[0] as usize..ends[1] as usize];
            if !rows.is_empty() {
                self.ship_slice(&batch.take(&UInt32Array::from(rows.to_vec())), end_ms);
            }
        }
    }

    /// Takes rows, of which it is known into which slices of a cut they fall.
    pub(super) fn take_cut(&mut self, batch: &Batch, cut: &Cut) {
        let keys = self.key_columns(batch);
        if self.fold_in_cells(batch, &keys, cut) {
            self.keys_have_numbers = true;
            return;
        }
        let (groups, slices) = (&mut self.groups, &self.slice_indices);
        self.keys_have_numbers = self.numbered.find(groups, &keys, cut, slices, &mut self.slots);
        match self.keys_have_numbers {
            true => self.take_grouped(batch),
            false => self.take_by_keys(batch, &self.ends_of_rows(cut)),
        }
    }

    /// How slices are cut that end at these times, each row's, and which of them rows fall into. `None`: there is nothing to be found by that.
    pub(super) fn cut_of_ends(&mut self, ends_ms: &[i64]) -> Option<Cut> {
        let slices = self.slices.filter(|_| self.keys_have_numbers)?;
        let (least, greatest) = extent(ends_ms);
        let cut = slices.cut(least.saturating_sub(1), greatest.saturating_sub(1))?;
        let within_ms: Vec<i64> = ends_ms.iter().map(|end_ms| end_ms - 1).collect();
        cut.indices(&within_ms, &mut self.slice_indices);
        Some(cut)
    }

    /// The end of each row's slice.
    fn ends_of_rows(&self, cut: &Cut) -> Vec<i64> {
        let ends_ms: Vec<i64> = cut.ends().collect();
        self.slice_indices.iter().map(|&slice| ends_ms[slice as usize]).collect()
    }

    /// Whether batches may be taken ahead: nothing is sent but what rows come to, be it rows of sessions without the watermarks of their
    /// arrival, and no clock cuts them.
    pub fn may_take_ahead(&self) -> bool {
        let emit = &self.plan.emit;
        let ticks = emit.early_clock == EmitClock::Event && emit.early_delay_ms.is_some();
        let by_event_time = self.plan.window.domain == TimeDomain::Event;
        by_event_time && (self.plan.ship != Ship::Rows || self.packs_sessions) && !ticks
    }

    /// Takes a batch of the next chunk, whose arrivals are known but for what came before the chunk: the watermark that must not have
    /// been reached before the chunk. `None`: it cannot be taken ahead, whatever came before. Where there is time, what will be read next
    /// is fetched.
    ///
    /// # Panics
    ///
    /// If a row's time is NULL: sources refuse such rows.
    pub fn take_ahead(&mut self, batch: &Batch, next: Upcoming) -> Option<i64> {
        if batch.rows == 0 {
            return Some(i64::MAX);
        }
        self.arrive(batch);
        self.upcoming = next;
        match self.slices {
            Some(_) => self.take_whole(batch, i64::MAX, i64::MIN),
            None => self.pack_ahead(batch),
        }
    }

    /// Forgets what was taken of a chunk whose end has not come.
    pub fn forget_ahead(&mut self) {
        self.grid.iter_mut().for_each(Grid::clear);
        self.values.clear();
        self.clear_groups();
        self.out.clear();
        self.folding = self.judge.begin_anew() && self.plan.ship == Ship::Folded;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array};
    use proptest::prelude::*;

    use super::super::{SendPlan, Shipment};
    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction};
    use crate::batch::{DataType, Field, Schema};
    use crate::op::shape::Shape;
    use crate::op::{Data, Payload};
    use crate::window::{WindowKind, WindowSpec};

    fn sender(shard_count: usize) -> AggregateSender {
        let fields = [("t", DataType::BigInt), ("k", DataType::BigInt)];
        let fields = fields.into_iter().map(|(name, data_type)| Field::new(name, data_type));
        let shape = Shape::new(&Schema::new(fields.collect()), &[1], &[]);
        let window = WindowSpec::by_event_time(WindowKind::Session { gap_ms: 10 });
        let plan = SendPlan::at_end(window, Ship::Rows);
        AggregateSender::new(Arc::new(shape), plan, shard_count).packing_sessions()
    }

    /// Rows of a shard.
    #[derive(Debug, PartialEq)]
    struct Sent {
        shard: usize,
        keys: Vec<Vec<u8>>,
        times_ms: Vec<i64>,
        /// How many times each has.
        time_count: usize,
    }

    /// What there is to send.
    fn sent(sender: &mut AggregateSender) -> Vec<Sent> {
        let shape = Arc::clone(&sender.shape);
        let rows = |shipment: Shipment| {
            let Shipment::Payload(shard, payload) = shipment else { panic!("nothing fires") };
            let Data::Packed(packed) = payload.data else { panic!("keys are integers") };
            let (keys, _) = packed.unpack(&shape);
            let keys = (0..keys.count()).map(|index| keys.get(index).to_vec()).collect();
            let (times_ms, time_count) = (packed.times(0), packed.time_count());
            Sent { shard, keys, times_ms, time_count }
        };
        sender.drain().map(rows).collect()
    }

    proptest! {
        /// Rows of sessions leave ahead of their turn as they would have in it, and then only if no watermark had reached them.
        #[test]
        fn sessions_taken_ahead_leave_as_in_their_turn(
            batches in prop::collection::vec(prop::collection::vec((0..9i64, 0..60i64), 1..40), 1..4),
            lag_ms in 0..90i64,
            (others_ms, floor_ms) in (-90..90i64, -90..90i64),
            shard_count in 1..3usize,
        ) {
            let (mut highest_ms, mut is_ahead) = (i64::MIN, true);
            let batches: Vec<Batch> = batches.iter().map(|rows| {
                let (keys, times): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
                let arrival_ms: Vec<i64> = times.iter().map(|time_ms| {
                    let next_ms = highest_ms.max(time_ms - lag_ms);
                    std::mem::replace(&mut highest_ms, next_ms)
                }).collect();
                let reached_ms = arrival_ms.last().copied().unwrap_or(i64::MIN).max(floor_ms);
                is_ahead &= times.iter().all(|&time_ms| time_ms > reached_ms + 1);
                let columns: Vec<ArrayRef> =
                    vec![Arc::new(Int64Array::from(times)), Arc::new(Int64Array::from(keys))];
                Batch { arrival_ms: Some(arrival_ms.into()), ..Batch::new(columns, rows.len()) }
            }).collect();
            let (mut ahead, mut in_turn) = (sender(shard_count), sender(shard_count));
            prop_assert!(ahead.may_take_ahead());
            let mut fires_ms = batches.iter().map(|batch| ahead.take_ahead(batch, Upcoming::default()));
            let fires_ms = fires_ms.try_fold(i64::MAX, |least, fires_ms| Some(least.min(fires_ms?)));
            let taken = fires_ms.is_some_and(|fires_ms| fires_ms > floor_ms);
            prop_assert_eq!(taken, is_ahead);
            batches.iter().for_each(|batch| in_turn.push(batch, others_ms, floor_ms, 0));
            if taken {
                prop_assert_eq!(sent(&mut ahead), sent(&mut in_turn));
            }
        }
    }

    /// By slice and key, the values of rows in their order.
    type Values = BTreeMap<(i64, Vec<u8>), Vec<i64>>;

    proptest! {
        /// Rows that fall into several slices and are not folded come to their slices, in their order: packed, unless they are few.
        #[test]
        fn rows_are_shipped_by_slice(
            rows in prop::collection::vec((0..20i64, 0..60i64, any::<i64>()), 1..300),
            shard_count in 1..3usize,
        ) {
            let names = ["t", "k", "v"].map(|name| Field::new(name, DataType::BigInt));
            let sum = AggregateFunction::Sum;
            let call = AggregateCall::new(sum, vec![2], DataType::BigInt, DataType::BigInt);
            let shape = Arc::new(Shape::new(&Schema::new(names.into()), &[1], &[call]));
            let kind = WindowKind::Tumble { size_ms: 10, offset_ms: 0 };
            let plan = SendPlan::at_end(WindowSpec::by_event_time(kind), Ship::Folded);
            let mut sender = AggregateSender::new(Arc::clone(&shape), plan, shard_count);
            sender.folding = false;
            let mut twin = Values::new();
            for &(key, time_ms, value) in &rows {
                let end_ms = (time_ms / 10 + 1) * 10;
                twin.entry((end_ms, key.to_le_bytes().to_vec())).or_default().push(value);
            }
            let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
            let columns = vec![
                column(rows.iter().map(|row| row.1).collect()),
                column(rows.iter().map(|row| row.0).collect()),
                column(rows.iter().map(|row| row.2).collect()),
            ];
            let never = vec![i64::MIN; rows.len()];
            let batch = Batch { arrival_ms: Some(never.into()), ..Batch::new(columns, rows.len()) };
            sender.push(&batch, i64::MIN, i64::MIN, 0);
            let mut shipped = Values::new();
            for shipment in sender.drain() {
                let Shipment::Payload(_, payload) = shipment else { panic!("nothing fires") };
                let Payload { keys, mut ends_ms, data, .. } = *payload;
                let (keys, columns) = match data {
                    Data::Packed(packed) => packed.unpack(&shape),
                    Data::Rows(columns) => (keys, columns),
                    _ => panic!("nothing is folded"),
                };
                let is_packed = ends_ms.len() == 1 && keys.count() > 1;
                let few = rows.len() < SLICE_ROWS_MIN * (60 / 10);
                prop_assert!(is_packed || few || keys.count() == 1);
                ends_ms.resize(keys.count(), ends_ms[0]);
                let values = columns[0].as_primitive::<Int64Type>().values();
                for (index, (&end_ms, &value)) in ends_ms.iter().zip(values).enumerate() {
                    // Behind the byte that says that it is not NULL.
                    let key = keys.get(index)[1..].to_vec();
                    shipped.entry((end_ms, key)).or_default().push(value);
                }
            }
            prop_assert_eq!(shipped, twin);
        }
    }

    /// What cannot be packed is not taken ahead, and forgotten: the sender goes on as if it had not come.
    #[test]
    fn what_cannot_be_packed_waits_for_its_turn() {
        let fields = vec![Field::new("t", DataType::BigInt), Field::new("k", DataType::Double)];
        let shape = Shape::new(&Schema::new(fields), &[1], &[]);
        let window = WindowSpec::by_event_time(WindowKind::Session { gap_ms: 10 });
        let plan = SendPlan::at_end(window, Ship::Rows);
        let mut sender = AggregateSender::new(Arc::new(shape), plan, 1).packing_sessions();
        let batch = |keys: Vec<Option<f64>>| {
            let times = Int64Array::from_iter_values(0..keys.len() as i64);
            let columns: Vec<ArrayRef> =
                vec![Arc::new(times), Arc::new(Float64Array::from(keys.clone()))];
            let arrival_ms = vec![i64::MIN; keys.len()];
            Batch { arrival_ms: Some(arrival_ms.into()), ..Batch::new(columns, keys.len()) }
        };
        let of_one_length = batch(vec![Some(0.5), Some(0.25)]);
        assert_eq!(sender.take_ahead(&of_one_length, Upcoming::default()), Some(-1));
        let of_two = batch(vec![Some(0.5), None]);
        assert_eq!(sender.take_ahead(&of_two, Upcoming::default()), None);
        sender.forget_ahead();
        assert_eq!(sender.drain().count(), 0);
    }
}
