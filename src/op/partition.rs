//! Rows on their way to the shards that own them.

use std::collections::VecDeque;

use arrow_array::UInt32Array;

use super::send::Shipment;
use super::{Data, Payload};
use crate::batch::hash::shard_of;
use crate::batch::take_columns;

/// The buckets of rows, in their order, and where each bucket's rows begin once they are put together, and the last's end.
pub(super) fn buckets(
    buckets: impl Iterator<Item = usize>,
    bucket_count: usize,
) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0; bucket_count + 1];
    let buckets: Vec<u32> = buckets.map(|bucket| bucket as u32).collect();
    buckets.iter().for_each(|&bucket| starts[bucket as usize + 1] += 1);
    for index in 0..bucket_count {
        starts[index + 1] += starts[index];
    }
    (buckets, starts)
}

/// Rows in the order of their buckets, and where each bucket begins, and the last ends.
pub(super) fn sorted(
    rows: impl Iterator<Item = u32> + Clone,
    bucket: impl Fn(u32) -> usize,
    bucket_count: usize,
) -> (Vec<u32>, Vec<u32>) {
    let (buckets, starts) = buckets(rows.clone().map(bucket), bucket_count);
    let (mut places, mut sorted) = (starts.clone(), vec![0; buckets.len()]);
    for (row, &bucket) in rows.zip(&buckets) {
        let place = &mut places[bucket as usize];
        sorted[*place as usize] = row;
        *place += 1;
    }
    (sorted, starts)
}

/// The rows that go to each shard, by their hashes.
pub(super) fn destinations(hashes: &[u64], shard_count: usize) -> Vec<Vec<u32>> {
    let shard = |row: u32| shard_of(hashes[row as usize], shard_count);
    let (rows, starts) = sorted(0..hashes.len() as u32, shard, shard_count);
    let of_shard = |ends: &[u32]| rows[ends[0] as usize..ends[1] as usize].to_vec();
    starts.windows(2).map(of_shard).collect()
}

/// Ships rows to the shards that own their keys.
pub(super) fn ship_by_key(rows: Payload, shard_count: usize, out: &mut VecDeque<Shipment>) {
    if shard_count == 1 {
        out.push_back(Shipment::Payload(0, Box::new(rows)));
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
        out.push_back(Shipment::Payload(shard, Box::new(payload)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a look at each row.
        #[test]
        fn rows_go_to_the_owners_of_their_hashes(
            hashes in prop::collection::vec(any::<u64>(), 0..300),
            shard_count in 1..9usize,
        ) {
            let mut expected = vec![Vec::new(); shard_count];
            for (row, &hash) in (0..).zip(&hashes) {
                expected[shard_of(hash, shard_count)].push(row);
            }
            prop_assert_eq!(destinations(&hashes, shard_count), expected);
        }
    }
}
