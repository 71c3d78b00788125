//! Rows on their way to the owners of their distinct values.
//!
//! # Invariants
//!
//! 1. A value's owner is its hash's, in whatever form it travels.
//! 2. While values wait, no group is forgotten: they know theirs by its slot.

use arrow_array::{ArrayRef, UInt32Array};

use super::{AggregateSender, Shipment};
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::hash::shard_of;
use crate::batch::{BATCH_ROWS_MAX, Batch, Keys, take_columns};
use crate::op::grouped::{Grouped, GroupedRows};
use crate::op::partition::destinations;
use crate::op::shape::Shape;
use crate::op::{Data, Payload};
use crate::state::{ValuePair, Values, each_value_pair};

/// So many full batches wait at most: what they take stays in the second cache.
const HELD_BATCHES: usize = 4;
const HELD_ROWS_MAX: usize = HELD_BATCHES * BATCH_ROWS_MAX;

/// Values that wait to be shipped with those of the next batches, for their groups are sent once then.
#[derive(Debug)]
pub(super) struct HeldValues {
    /// By the shard that they go to.
    parts: Vec<Vec<ValuePair>>,
    row_count: usize,
}

impl HeldValues {
    pub(super) fn new(shard_count: usize) -> Self {
        Self { parts: vec![Vec::new(); shard_count], row_count: 0 }
    }

    /// Takes the values in `args`, each with its group. False: they are not such as travel so, and nothing was done.
    fn take(&mut self, values: Values, args: &[ArrayRef], groups: &[u32]) -> bool {
        // For what is likely to wait with these. Seldom does a shard get many more than its share.
        let rows = groups.len() * if self.row_count == 0 { HELD_BATCHES } else { 1 };
        let room = rows / self.parts.len() + rows / 16;
        self.parts.iter_mut().for_each(|part| part.reserve(room));
        let lengths: Vec<usize> = self.parts.iter().map(Vec::len).collect();
        let done = match &mut self.parts[..] {
            [all] => each_value_pair(values, args, groups, |pair, _| all.push(pair)),
            parts => each_value_pair(values, args, groups, |pair, hash| {
                parts[shard_of(hash, parts.len())].push(pair);
            }),
        };
        match done {
            true => self.row_count += groups.len(),
            false => {
                self.parts.iter_mut().zip(lengths).for_each(|(it, length)| it.truncate(length))
            }
        }
        done
    }

    pub(super) fn clear(&mut self) {
        self.parts.iter_mut().for_each(Vec::clear);
        self.row_count = 0;
    }
}

impl AggregateSender {
    /// Ships rows whose groups have been found, or has their values wait.
    pub(super) fn take_by_value(&mut self, batch: &Batch) {
        let columns = self.shape.ship(&batch.columns);
        let list = &self.shape.distinct[0];
        let args: Vec<ArrayRef> = list.args.iter().map(|&arg| columns[arg].clone()).collect();
        if self.ships_values && self.values.take(list.values(), &args, &self.slots) {
            if self.values.row_count >= HELD_ROWS_MAX {
                self.ship_values();
            }
            return;
        }
        let parts = self.column_parts(&args, columns);
        self.ship_parts(parts);
        self.ship_values();
        self.clear_groups();
    }

    /// Ships the values that wait.
    pub(super) fn ship_values(&mut self) {
        if self.values.row_count == 0 {
            return;
        }
        let parts = std::mem::replace(&mut self.values, HeldValues::new(self.shard_count)).parts;
        self.ship_parts(parts.into_iter().map(GroupedRows::Values));
        self.clear_groups();
    }

    /// Ships to each shard its rows, each group's key once.
    fn ship_parts(&mut self, parts: impl IntoIterator<Item = GroupedRows>) {
        for (shard, rows) in parts.into_iter().enumerate() {
            let groups = rows.groups(self.groups.count());
            if !groups.is_empty() {
                self.ship_grouped(shard, groups, rows);
            }
        }
    }

    /// The rows of each shard.
    fn column_parts(&mut self, args: &[ArrayRef], columns: Vec<ArrayRef>) -> Vec<GroupedRows> {
        if self.shard_count == 1 {
            return vec![GroupedRows::Columns(std::mem::take(&mut self.slots), columns)];
        }
        let part = |rows: Vec<u32>| {
            let groups = rows.iter().map(|&row| self.slots[row as usize]).collect();
            GroupedRows::Columns(groups, take_columns(&columns, &UInt32Array::from(rows)))
        };
        let hashes = Keys::hashes_of(args, self.slots.len());
        destinations(&hashes, self.shard_count).into_iter().map(part).collect()
    }

    /// Ships rows of these groups, whose keys lie in the slots of those numbers.
    fn ship_grouped(&mut self, shard: usize, groups: Vec<u32>, rows: GroupedRows) {
        let (mut keys, mut ends_ms) = (Keys::default(), Vec::with_capacity(groups.len()));
        for &slot in &groups {
            let (hash, key, end_ms) = self.groups.group(slot);
            keys.push(hash, key);
            ends_ms.push(end_ms);
        }
        let numbers = self.numbered.numbers(&groups);
        let data = Data::Grouped(Grouped::new(groups, self.groups.count(), rows));
        let payload = Payload { keys, ends_ms, arrival_ms: Vec::new(), numbers, data };
        self.out.push_back(Shipment::Payload(shard, Box::new(payload)));
    }
}

/// Whether rows can travel as values: nothing else is made of them, but that they are counted.
pub(super) fn ships_values(shape: &Shape) -> bool {
    let [list] = &shape.distinct[..] else { return false };
    let counts_rows = |call: &AggregateCall| {
        call.function == AggregateFunction::CountRows && call.filter.is_none()
    };
    list.filter.is_none() && shape.calls.iter().all(|call| call.distinct || counts_rows(call))
}
