//! Sessions on their way: from shelves into bulk and back, and to other shards.

use std::sync::Arc;

use super::bulk::{Bulk, Open, Work, is_worth_a_look};
use super::{END, HEADER, START, Session, shelves};
use crate::agg::{self, Partials};
use crate::batch::hash::hash_bytes;
use crate::batch::{Batch, Packing};
use crate::op::packed_rows::PackedRows;
use crate::op::pane::{TableSlots, merge_at};
use crate::op::{Data, HOLD_MS_MAX, Payload};
use crate::state::words_of;

impl Session {
    /// Takes packed rows to shelves. They come by partition, so in no order.
    pub(super) fn receive_packed(&mut self, packed: &PackedRows) {
        self.packed_count += packed.count();
        let (keys, columns) = packed.unpack(&self.shape);
        let arrival_ms = match packed.time_count() {
            1 => vec![i64::MIN; packed.count()],
            _ => packed.times(1),
        };
        let (ends_ms, data) = (packed.times(0), Data::Rows(columns));
        let payload = Payload { keys, ends_ms, arrival_ms, numbers: None, data };
        self.receive_rows(payload, false);
    }

    /// Calls `to` with all sessions that are on shelves and their records, the oldest of a key first.
    pub(super) fn each_session(&mut self, to: &mut dyn FnMut(&mut Self, &Open<'_>, u32)) {
        let shape = Arc::clone(&self.shape);
        let mut accumulators = Partials::default();
        for newest in self.records.newest_records(&self.pages) {
            let key = self.records.key(&self.pages, newest).to_vec();
            let hash = hash_bytes(&key);
            let older = |&record: &u32| self.records.next(&self.pages, record);
            let records: Vec<u32> = std::iter::successors(Some(newest), older).collect();
            for record in records.into_iter().rev() {
                let span = [START, END].map(|word| self.word(record, word).cast_signed());
                accumulators.clear();
                let table = TableSlots { pages: &mut self.pages, table: &mut self.records };
                agg::export(&shape.layout, HEADER, &table, record, &mut accumulators);
                let (key, span, accumulators) = (key.as_slice(), span.into(), &accumulators);
                to(self, &Open { hash, key, span, accumulators }, record);
            }
        }
    }

    /// Puts a session on its shelf, in front of those of its key; its record.
    pub(super) fn take_in(&mut self, open: &Open<'_>, age: u64) -> u32 {
        let shape = Arc::clone(&self.shape);
        let key = || open.key;
        self.records.make_places(&mut self.pages, 1);
        let seat = self.records.seek(&self.pages, open.hash, words_of(key()), key);
        let record = self.new_record(&seat, key, open.span, age);
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.records };
        merge_at(&shape, HEADER, &mut slots, record, open.accumulators);
        record
    }

    /// The next results of sessions in bulk.
    pub(super) fn next_of_bulk(&mut self) -> Option<Batch> {
        let bulk = self.bulk.as_mut()?;
        let batch = bulk.next_results(&mut self.late)?;
        self.fired_count += batch.rows as u64;
        Some(batch)
    }

    /// Has sessions move where they are better off, when what is over has been read out.
    pub(super) fn settle_down(&mut self) {
        let Some(judge) = &mut self.judge else { return };
        let (work, records) = match &self.bulk {
            Some(bulk) => (bulk.work(), bulk.record_count()),
            None => {
                let records = self.records.key_count();
                // Bulk would not have held results back for longer.
                let is_early = self.now_ms < self.looked_at_ms + HOLD_MS_MAX;
                if is_early && !is_worth_a_look(self.packed_count, records) {
                    return;
                }
                self.looked_at_ms = self.now_ms;
                (Work { rows: std::mem::take(&mut self.packed_count), records }, records)
            }
        };
        judge.note(work, records);
        match judge.verdict(records) {
            Some(true) if self.bulk.is_none() => self.enter_bulk(),
            Some(false) => self.leave_bulk(false),
            _ => {}
        }
    }

    /// Moves all sessions into bulk, if their keys are packed alike.
    fn enter_bulk(&mut self) {
        let mut bulk = Bulk::new(Arc::clone(&self.shape), self.gap_ms);
        let mut is_fit = true;
        self.each_session(&mut |_, open, _| {
            is_fit &= bulk.suits(Packing::of(open.key));
            if is_fit {
                bulk.adopt(open);
            }
        });
        if is_fit {
            let empty = shelves(&self.shape, self.gap_ms);
            let records = std::mem::replace(&mut self.records, empty);
            records.release(&mut self.pages);
            self.bulk = Some(Box::new(bulk));
        }
    }

    /// Moves all sessions to shelves; `is_unfit`: because rows have come that bulk cannot take.
    pub(super) fn leave_bulk(&mut self, is_unfit: bool) {
        let Some(mut bulk) = self.bulk.take() else { return };
        if let Some(judge) = self.judge.as_mut().filter(|_| is_unfit) {
            judge.note_unfit(bulk.record_count());
        }
        // What it has held back shows with the next mark: no row joins it any more.
        (self.packed_count, self.holds) = (0, false);
        let mut late = std::mem::take(&mut self.late);
        bulk.drain(&mut late, |open| {
            self.take_in(open, 0);
        });
        self.late = late;
    }
}
