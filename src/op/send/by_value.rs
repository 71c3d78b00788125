//! Rows on their way to the owners of their distinct values.
//!
//! # Invariants
//!
//! 1. A value's owner is its hash's, in whatever form it travels.

use arrow_array::ArrayRef;

use super::{AggregateSender, Shipment};
use crate::batch::{Batch, Keys};
use crate::op::grouped::{Grouped, GroupedRows};
use crate::op::{Data, Payload};
use crate::state::value_pairs;

impl AggregateSender {
    /// Ships rows whose groups have been found, each group's key once.
    pub(super) fn ship_by_value(&mut self, batch: &Batch) {
        let columns = self.shape.ship(&batch.columns);
        let list = &self.shape.distinct[0];
        let args: Vec<ArrayRef> = list.args.iter().map(|&arg| columns[arg].clone()).collect();
        let only_values =
            list.filter.is_none() && self.shape.calls.iter().all(|call| call.distinct);
        let pairs = only_values
            .then(|| value_pairs(list.values(), &args, self.slots.iter().copied()))
            .flatten();
        let rows = match pairs {
            Some(pairs) => GroupedRows::Values(pairs),
            None => GroupedRows::Columns(std::mem::take(&mut self.slots), columns),
        };
        if self.shard_count == 1 {
            // Nobody had groups before these rows, so all of them go.
            let groups = (0..self.groups.count() as u32).collect();
            self.ship_grouped(0, groups, rows);
        } else {
            let hashes = Keys::hashes_of(&args, batch.rows);
            let parts = rows.into_parts(&hashes, self.shard_count);
            for (shard, part) in parts.into_iter().enumerate() {
                let groups = part.groups(self.groups.count());
                if !groups.is_empty() {
                    self.ship_grouped(shard, groups, part);
                }
            }
        }
        self.clear_groups();
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
