//! Rows on their way to the shards that own them.

use std::collections::VecDeque;

use arrow_array::UInt32Array;

use super::send::Shipment;
use super::{Data, Payload};
use crate::batch::hash::shard_of;
use crate::batch::take_columns;

/// The rows that go to each shard, by their hashes.
pub(super) fn destinations(hashes: &[u64], shard_count: usize) -> Vec<Vec<u32>> {
    let mut counts = vec![0; shard_count];
    hashes.iter().for_each(|&hash| counts[shard_of(hash, shard_count)] += 1);
    let mut rows: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (row, &hash) in hashes.iter().enumerate() {
        rows[shard_of(hash, shard_count)].push(row as u32);
    }
    rows
}

/// Ships rows to the shards that own their keys.
pub(super) fn ship_by_key(rows: Payload, shard_count: usize, out: &mut VecDeque<Shipment>) {
    if shard_count == 1 {
        out.push_back(Shipment::Payload(0, rows));
        return;
    }
    let parts = destinations(&rows.keys.hashes, shard_count);
    let Payload { keys, ends_ms, arrival_ms, data: Data::Rows(columns), .. } = rows else {
        unreachable!("rows are shipped")
    };
    let pick = |values: &[i64], part: &[u32]| match values.is_empty() {
        true => Vec::new(),
        false => part.iter().map(|&row| values[row as usize]).collect(),
    };
    for (shard, part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        let payload = Payload {
            keys: keys.take(&part),
            ends_ms: pick(&ends_ms, &part),
            arrival_ms: pick(&arrival_ms, &part),
            numbers: None,
            data: Data::Rows(take_columns(&columns, &UInt32Array::from(part))),
        };
        out.push_back(Shipment::Payload(shard, payload));
    }
}
