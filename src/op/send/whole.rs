//! Batches that are taken whole, and ahead of their turn: before it is known at what watermark their rows arrive.
//!
//! # Invariants
//!
//! 1. What is taken ahead leaves the sender as it would have in its turn, if every batch could have been taken whole then; whoever
//!    had it taken sees to that. Nothing of a chunk that is taken ahead stays behind its end.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::super::folding::extent;
use super::super::grid::Grid;
use super::{AggregateSender, Ship, highest_arrival};
use crate::batch::Batch;
use crate::sys::prefetch::Upcoming;
use crate::window::{Cut, EmitClock, TimeDomain};

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
            false => self.ship_rows(batch, self.ends_of_rows(&cut), Vec::new()),
        }
        Some(fires_ms)
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

    /// Whether batches may be taken ahead: nothing is sent but what rows come to, and no clock cuts them.
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

    /// Packs rows of sessions, if all come ahead of the watermark within their chunk: that of the exchange must be two behind the first of
    /// them for them to be ahead of it as well.
    fn pack_ahead(&mut self, batch: &Batch) -> Option<i64> {
        let time_ms = batch.columns[self.time_column()].as_primitive::<Int64Type>().values();
        let reaches_ms = extent(time_ms).0.saturating_sub(1);
        if highest_arrival(batch, i64::MAX, i64::MIN) >= reaches_ms {
            return None;
        }
        let columns = self.shape.ship(&batch.columns);
        let packed = self.pack(batch, &[time_ms], &columns)?;
        self.ship_packed(packed, &[]);
        Some(reaches_ms)
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
