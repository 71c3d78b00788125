//! What stands before an exchange: the sender of a windowed aggregation, or one that ships rows as they are.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int8Array, UInt64Array};

use super::partition::ship_by_key;
use super::send::{AggregateSender, Shipment};
use super::shape::Shape;
use super::{Data, Payload};
use crate::batch::{Batch, Keys};
use crate::metrics::LateRows;

/// One shard's sender of one exchange.
pub enum Sender {
    /// For windows.
    Aggregate(Box<AggregateSender>),
    /// For functions.
    Rows(Box<RowSender>),
}

/// Ships whole rows to the owners of their keys, in the order in which they come, each with its arrival.
///
/// Processing time travels where other payloads have the end of a slice. Behind the columns travel, where there is such, the kinds
/// of the rows, and which rows of their chunk they come from.
pub struct RowSender {
    shape: Arc<Shape>,
    shard_count: usize,
    /// Rows of a table that have come of the chunk.
    chunk_rows: u64,
    late: LateRows,
    out: VecDeque<Shipment>,
}

impl RowSender {
    /// A sender to `shard_count` shards.
    pub fn new(shape: Arc<Shape>, shard_count: usize) -> Self {
        let (late, out) = (LateRows::default(), VecDeque::new());
        Self { shape, shard_count, chunk_rows: 0, late, out }
    }

    /// As [`AggregateSender::push`].
    fn push(&mut self, batch: &Batch, others_ms: i64, floor_ms: i64, now_ms: i64) {
        if batch.rows == 0 {
            return;
        }
        let arrival_ms: Vec<i64> = match &batch.arrival_ms {
            Some(arrival) => arrival.capped(others_ms, floor_ms),
            None => vec![others_ms.max(floor_ms); batch.rows],
        };
        let key_columns: Vec<ArrayRef> =
            self.shape.keys.iter().map(|&key| batch.columns[key].clone()).collect();
        let mut keys = Keys::default();
        keys.encode(&key_columns, batch.rows);
        let mut columns = batch.columns.clone();
        if let Some(kinds) = &batch.kinds {
            let kinds = Int8Array::from_iter_values(kinds.iter().map(|&kind| kind as i8));
            columns.push(Arc::new(kinds));
        }
        columns.extend(self.sequence(batch));
        let rows = Payload {
            keys,
            ends_ms: vec![now_ms; batch.rows],
            arrival_ms,
            numbers: None,
            data: Data::Rows(columns),
        };
        ship_by_key(rows, self.shard_count, &mut self.out);
    }
}

impl RowSender {
    /// Which rows of their chunk these are. Only rows of a table and what functions yield have an arrival of their own.
    fn sequence(&mut self, batch: &Batch) -> Option<ArrayRef> {
        batch.arrival_ms.as_ref()?;
        let values = match &batch.sequence {
            Some(sequence) => sequence.clone(),
            None => {
                let first = self.chunk_rows;
                self.chunk_rows += batch.rows as u64;
                (first..self.chunk_rows).collect()
            }
        };
        Some(Arc::new(UInt64Array::new(values, None)))
    }
}

impl Sender {
    /// Takes a batch, as [`AggregateSender::push`] does.
    pub fn push(&mut self, batch: &Batch, others_ms: i64, floor_ms: i64, now_ms: i64) {
        match self {
            Sender::Aggregate(sender) => sender.push(batch, others_ms, floor_ms, now_ms),
            Sender::Rows(sender) => sender.push(batch, others_ms, floor_ms, now_ms),
        }
    }

    /// Takes accumulators from an earlier stage.
    ///
    /// # Panics
    ///
    /// If it ships rows: those have no earlier stage.
    pub fn push_partials(&mut self, payload: Payload) {
        self.aggregate().push_partials(payload);
    }

    /// Passes a mark on to the owners.
    ///
    /// # Panics
    ///
    /// As [`Sender::push_partials`].
    pub fn push_mark(&mut self, watermark_ms: i64) {
        self.aggregate().push_mark(watermark_ms);
    }

    fn aggregate(&mut self) -> &mut AggregateSender {
        match self {
            Sender::Aggregate(sender) => sender,
            Sender::Rows(_) => unreachable!("only an aggregation has a second stage"),
        }
    }

    /// The end of a chunk: nothing is kept back.
    pub fn end_chunk(&mut self) {
        match self {
            Sender::Aggregate(sender) => sender.end_chunk(),
            Sender::Rows(sender) => sender.chunk_rows = 0,
        }
    }

    /// What there is to send, in this order.
    pub fn drain(&mut self) -> impl Iterator<Item = Shipment> + '_ {
        match self {
            Sender::Aggregate(sender) => sender.drain(),
            Sender::Rows(sender) => sender.out.drain(..),
        }
    }

    /// The sender of a windowed aggregation, which may take rows ahead of their turn.
    pub fn as_aggregate(&mut self) -> Option<&mut AggregateSender> {
        match self {
            Sender::Aggregate(sender) => Some(sender),
            Sender::Rows(_) => None,
        }
    }

    /// The rows of the last batch that were late, where somebody reads them; before a function owners find them.
    pub fn take_late(&mut self) -> Option<Batch> {
        match self {
            Sender::Aggregate(sender) => sender.take_late(),
            Sender::Rows(_) => None,
        }
    }

    /// Counts rows that were found late before a restart.
    pub fn restore_late(&mut self, late: LateRows) {
        match self {
            Sender::Aggregate(sender) => sender.restore_late(late),
            Sender::Rows(sender) => sender.late = late,
        }
    }

    /// Rows found late here; before a function owners find them.
    pub fn late_rows(&self) -> &LateRows {
        match self {
            Sender::Aggregate(sender) => sender.late_rows(),
            Sender::Rows(sender) => &sender.late,
        }
    }
}
