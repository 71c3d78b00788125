//! Rows that leave as they will wait: packed, in the order of their owners' partitions.

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::super::folding::extent;
use super::{AggregateSender, Shipment, highest_arrival};
use crate::batch::{Batch, KeyWords, Keys};
use crate::op::packed_rows::PackedRows;
use crate::op::{Data, Payload};

/// The lowest watermark that has come to one of these times: rows are ahead of any that is lower.
pub(super) fn reaches(time_ms: &[i64]) -> i64 {
    extent(time_ms).0.saturating_sub(1)
}

impl AggregateSender {
    /// Ships rows that lie in one slice.
    pub(super) fn ship_slice(&mut self, batch: &Batch, end_ms: i64) {
        let columns = self.shape.ship(&batch.columns);
        if !self.plan.emit.is_once() {
            self.encode_keys(batch);
        } else if let Some(packed) = self.pack(batch, &[], &columns) {
            self.ship_packed(packed, &[end_ms]);
            return;
        }
        self.ship_columns(columns, vec![end_ms; batch.rows], Vec::new());
    }

    /// Packs rows with `times` of each. `None`: they cannot be packed, and their keys have been encoded.
    fn pack(
        &mut self,
        batch: &Batch,
        times: &[&[i64]],
        columns: &[ArrayRef],
    ) -> Option<Vec<PackedRows>> {
        let keys = self.key_columns(batch);
        let direct = KeyWords::of_columns(&keys);
        let is_encoded = direct.is_none();
        if is_encoded {
            self.keys.encode(&keys, batch.rows);
        }
        let packed = direct.or_else(|| KeyWords::of_keys(&self.keys)).and_then(|keys| {
            PackedRows::by_shard(&self.shape, &keys, (times, columns), self.shard_count)
        });
        if packed.is_none() && !is_encoded {
            self.keys.encode(&keys, batch.rows);
        }
        packed
    }

    fn ship_packed(&mut self, packed: Vec<PackedRows>, ends_ms: &[i64]) {
        for (shard, packed) in packed.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let data = Data::Packed(packed);
            let (keys, ends_ms) = (Keys::default(), ends_ms.to_vec());
            let payload = Payload { keys, ends_ms, arrival_ms: Vec::new(), numbers: None, data };
            self.out.push_back(Shipment::Payload(shard, Box::new(payload)));
        }
    }

    /// Packs rows of sessions without the watermarks of their arrival, if none within their chunk has come to them. Says which one before the
    /// chunk would have; `None`: nothing was shipped.
    pub(super) fn pack_ahead(&mut self, batch: &Batch) -> Option<i64> {
        let time_ms = batch.columns[self.time_column()].as_primitive::<Int64Type>().values();
        let reaches_ms = reaches(time_ms);
        if highest_arrival(batch, i64::MAX, i64::MIN) >= reaches_ms {
            return None;
        }
        let columns = self.shape.ship(&batch.columns);
        let packed = self.pack(batch, &[time_ms], &columns)?;
        self.ship_packed(packed, &[]);
        Some(reaches_ms)
    }

    /// Ships rows that are in no slice, each with its time; `is_ahead`: all are ahead of the watermark.
    pub(super) fn ship_timed(
        &mut self,
        batch: &Batch,
        time_ms: &[i64],
        is_ahead: bool,
        arrival_ms: impl Fn() -> Vec<i64>,
    ) {
        if !self.packs_sessions {
            self.ship_rows(batch, time_ms.to_vec(), arrival_ms());
            return;
        }
        let columns = self.shape.ship(&batch.columns);
        // A session that a row ahead of the watermark touches ends behind that: it is not over, whatever the watermark was.
        let packed = match is_ahead {
            true => self.pack(batch, &[time_ms], &columns),
            false => self.pack(batch, &[time_ms, &arrival_ms()], &columns),
        };
        match packed {
            Some(packed) => self.ship_packed(packed, &[]),
            None => self.ship_columns(columns, time_ms.to_vec(), arrival_ms()),
        }
    }
}
