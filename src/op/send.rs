//! The sending half of a windowed aggregation: slices, the late rule, folding, partitioning.
//!
//! A batch is taken whole when nothing in it is late and no firing falls inside it, which one comparison
//! of its earliest slice with its highest watermark shows. Otherwise it is cut into segments at the rows before
//! which a window fires, and late rows are left out and counted, and handed out where somebody reads them.
//!
//! Rows are folded into a small table per (key, slice) and leave as accumulators at the end of the chunk;
//! where keys hardly repeat, the rest of the chunk leaves as rows, and the next chunks do without a look, if that cannot
//! show (`judge`).
//!
//! # Invariants
//!
//! 1. What is late depends on rows and watermarks alone, where a mark is sent also on where chunks begin; neither on batch boundaries.
//! 2. Everything that came before a mark is shipped before the mark.

mod by_value;
#[cfg(test)]
mod by_value_tests;
mod cells;
mod judge;
#[cfg(test)]
mod mark_tests;
mod packed;
mod whole;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::collections::vec_deque::Drain;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, UInt32Array};

use super::folding::Folding;
use super::grid::{Grid, Lanes};
use super::numbered::Numbered;
use super::pane::update_calls;
use super::partition::ship_by_key;
use super::shape::Shape;
use super::{Data, Payload};
use crate::agg::{Partials, export};
use crate::batch::hash::shard_of;
use crate::batch::{Arrival, Batch, Keys};
use crate::metrics::LateRows;
use crate::sys::prefetch::Upcoming;
use crate::window::{Emit, EmitClock, Slices, TimeDomain, WallTime, WindowKind, WindowSpec};
use by_value::{HeldValues, ships_values};
use judge::Judge;
use packed::reaches;

/// What a sender hands to the exchange.
#[derive(Debug)]
pub enum Shipment {
    /// Groups for one shard.
    Payload(usize, Box<Payload>),
    /// To all shards: event time has reached this, and something fires.
    Mark(i64),
}

/// What a sender ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ship {
    /// Accumulators where keys repeat, else rows.
    Folded,
    /// Rows, each with the watermark at its arrival.
    Rows,
    /// Rows, partitioned by their distinct value instead of their key.
    RowsByValue,
}

/// How a sender assigns and cuts, derived from window and emit.
#[derive(Clone, Debug)]
pub struct SendPlan {
    /// The window.
    pub window: WindowSpec,
    /// The triggers.
    pub emit: Emit,
    /// Each row goes to all its windows, not to its slice.
    pub per_window: bool,
    /// What is shipped.
    pub ship: Ship,
    /// Rows come from a scan, all of a chunk to one sender, which may cut it by marks. Behind an exchange every shard has
    /// a part of the rows, and boundaries must be the same on all: time moves at the marks that are passed on.
    pub may_mark: bool,
    /// Rows found late here are handed out, not only counted.
    pub hands_out_late: bool,
}

impl SendPlan {
    /// Of windows that fire at their ends; no row goes to more than one place, and none marks the time.
    pub fn at_end(window: WindowSpec, ship: Ship) -> Self {
        let emit = Emit::AT_END;
        Self { window, emit, per_window: false, ship, may_mark: false, hands_out_late: false }
    }
}

/// Groups a folding table holds at most, so that it stays in cache.
const FOLDED_GROUPS_MAX: usize = 1 << 14;
/// Bytes that it takes at most, or little more: users' accumulators may be large.
const FOLDED_BYTES_MAX: usize = 32 << 20;

/// A watermark that has passed so many slices is a mark: what they hold is kept no longer, however few rows a chunk has for each.
const UNMARKED_SLICES_MAX: i64 = 64;

/// One shard's sender of one exchange.
pub struct AggregateSender {
    shape: Arc<Shape>,
    plan: SendPlan,
    slices: Option<Slices>,
    wall: WallTime,
    shard_count: usize,
    lateness_ms: i64,
    groups: Folding,
    numbered: Numbered,
    /// Whether the last rows' keys had numbers: else a segment's rows are not counted into slices to ask for theirs.
    keys_have_numbers: bool,
    /// Whether rows that go by value can go as values alone.
    ships_values: bool,
    values: HeldValues,
    /// Where ever it suits, and then there is none in `groups`.
    grid: Option<Grid>,
    folding: bool,
    /// Rows of sessions leave packed if they can be.
    packs_sessions: bool,
    judge: Judge,
    marked_ms: i64,
    /// The time of this chunk's first row.
    begun_ms: i64,
    /// In a zone: for a slice and a mark what [`Self::next_firing`] said.
    next_firing: Option<((i64, i64), Option<i64>)>,
    keys: Keys,
    slots: Vec<u32>,
    /// The slice of each row of a batch, as its [`Cut`] counts them.
    slice_indices: Vec<u32>,
    /// What will be read after this batch.
    upcoming: Upcoming,
    late: LateRows,
    late_out: Option<Batch>,
    out: VecDeque<Shipment>,
}

/// Rows between two marks.
struct Segment {
    mark: Option<i64>,
    rows: Vec<u32>,
    ends_ms: Vec<i64>,
}

/// The highest watermark at which a row of a batch arrives, or what it is at least.
fn highest_arrival(batch: &Batch, others_ms: i64, floor_ms: i64) -> i64 {
    let arrived = batch.arrival_ms.as_ref().and_then(Arrival::last);
    arrived.unwrap_or(i64::MAX).min(others_ms).max(floor_ms)
}

impl AggregateSender {
    /// A sender to `shard_count` shards.
    pub fn new(shape: Arc<Shape>, plan: SendPlan, shard_count: usize) -> Self {
        Self {
            slices: plan.window.kind.has_slices().then(|| Slices::new(plan.window.kind)),
            wall: WallTime::new(plan.window.time_zone),
            lateness_ms: plan.emit.late_delay_ms.map_or(0, |_| plan.emit.allow_lateness_ms),
            groups: Folding::new(shape.layout.word_count),
            numbered: Numbered::default(),
            keys_have_numbers: true,
            grid: (plan.ship == Ship::Folded && plan.emit.is_once())
                .then(|| Grid::of(&shape))
                .flatten(),
            ships_values: ships_values(&shape),
            values: HeldValues::new(shard_count),
            folding: plan.ship == Ship::Folded,
            packs_sessions: false,
            // Nobody can tell then which chunks were folded.
            judge: Judge::new(plan.emit.is_once() && shape.layout.hides_grouping()),
            shape,
            plan,
            shard_count,
            marked_ms: i64::MIN,
            begun_ms: i64::MIN,
            next_firing: None,
            keys: Keys::default(),
            slots: Vec::new(),
            slice_indices: Vec::new(),
            upcoming: Upcoming::default(),
            late: LateRows::default(),
            late_out: None,
            out: VecDeque::new(),
        }
    }

    /// A sender whose rows leave packed, for sessions in bulk.
    #[must_use]
    pub(crate) fn packing_sessions(self) -> Self {
        Self { packs_sessions: true, ..self }
    }

    /// Takes a batch. `others_ms` is the lowest watermark of the other inputs of this exchange, `floor_ms` what the
    /// exchange has reached already, `now_ms` the chunk's processing time.
    ///
    /// # Panics
    ///
    /// If a row's time is NULL: sources refuse such rows.
    pub fn push(&mut self, batch: &Batch, others_ms: i64, floor_ms: i64, now_ms: i64) {
        if batch.rows == 0 {
            return;
        }
        self.arrive(batch);
        let processing = self.plan.window.domain == TimeDomain::Processing;
        if !processing && self.take_whole(batch, others_ms, floor_ms).is_some() {
            return;
        }
        let time_ms: Cow<'_, [i64]> = match processing {
            true => vec![now_ms; batch.rows].into(),
            false => {
                batch.columns[self.time_column()].as_primitive::<Int64Type>().values()[..].into()
            }
        };
        let arrival_ms = || match (&batch.arrival_ms, processing) {
            (Some(arrival), false) => arrival.capped(others_ms, floor_ms),
            _ => vec![if processing { now_ms } else { others_ms.max(floor_ms) }; batch.rows],
        };
        let Some(slices) = self.slices else {
            let highest = highest_arrival(batch, others_ms, floor_ms);
            let is_ahead = !processing && highest < reaches(&time_ms);
            self.ship_timed(batch, &time_ms, is_ahead, arrival_ms);
            return;
        };
        let (mut time_ms, arrival_ms) = (time_ms.into_owned(), arrival_ms());
        if !matches!(self.plan.window.kind, WindowKind::Attached { .. }) {
            self.wall.localise(&mut time_ms);
        }
        slices.assign(&mut time_ms);
        if self.is_whole(slices, &time_ms, &arrival_ms) {
            self.take(batch, &time_ms, &arrival_ms);
        } else {
            self.take_segments(slices, batch, &time_ms, &arrival_ms);
        }
    }

    /// Rows come. From a chunk's first on it is counted how many slices the watermark passes.
    fn arrive(&mut self, batch: &Batch) {
        if self.judge.is_at_start() && self.plan.window.domain == TimeDomain::Event {
            let time_ms = batch.columns[self.time_column()].as_primitive::<Int64Type>();
            self.begun_ms = time_ms.value(0);
        }
        self.judge.take(batch.rows);
    }

    /// The column that says where a row falls: the time, or an attached window's end.
    fn time_column(&self) -> usize {
        match self.plan.window.kind {
            WindowKind::Attached { end_column, .. } => end_column,
            _ => self.plan.window.time_column,
        }
    }

    /// Whether no row is late, no firing falls inside, and each row goes to one place.
    fn is_whole(&self, slices: Slices, ends_ms: &[i64], arrival_ms: &[i64]) -> bool {
        let highest = arrival_ms.last().copied().unwrap_or(i64::MIN);
        let earliest = ends_ms.iter().copied().min().unwrap_or(i64::MAX);
        self.clear_until(slices, earliest, highest).is_some()
    }

    /// The same, of rows whose earliest slice ends at `earliest`, and whose highest watermark is `highest`: if so, the watermark at which
    /// the first of their windows fires.
    fn clear_until(&self, slices: Slices, earliest: i64, highest: i64) -> Option<i64> {
        if self.plan.per_window && !slices.is_single() {
            return None;
        }
        let fires_ms = self.fire_ms(slices.first_window_end(earliest)?);
        (fires_ms > highest && !self.is_mark(slices, highest)).then_some(fires_ms)
    }

    /// The watermark at which the window that ends at `end_ms` fires.
    fn fire_ms(&self, end_ms: i64) -> i64 {
        self.wall.instant_of(end_ms - 1)
    }

    /// Whether the watermark is a mark wherever the rows fall that come with it.
    fn is_mark(&self, slices: Slices, watermark_ms: i64) -> bool {
        self.crosses_tick(watermark_ms) || self.passes_many(slices, watermark_ms)
    }

    /// Whether the watermark has passed many slices since the last mark, or in this chunk if that came before it.
    fn passes_many(&self, slices: Slices, watermark_ms: i64) -> bool {
        let may_mark = self.plan.may_mark && self.plan.window.domain == TimeDomain::Event;
        let since_ms = self.marked_ms.max(self.begun_ms);
        let passed_ms = watermark_ms.saturating_sub(since_ms) / UNMARKED_SLICES_MAX;
        may_mark && slices.width_ms().is_some_and(|width_ms| passed_ms > width_ms)
    }

    /// Whether the watermark passes a multiple of the early delay since the last mark.
    fn crosses_tick(&self, watermark_ms: i64) -> bool {
        if !self.plan.may_mark {
            return false;
        }
        match (self.plan.emit.early_delay_ms, self.plan.emit.early_clock) {
            (Some(delay), EmitClock::Event) if delay > 0 => {
                watermark_ms.div_euclid(delay) > self.marked_ms.div_euclid(delay)
            }
            _ => false,
        }
    }

    /// Whether rows are found their groups before they leave.
    fn groups_rows(&self) -> bool {
        self.folding || self.plan.ship == Ship::RowsByValue
    }

    fn take_segments(
        &mut self,
        slices: Slices,
        batch: &Batch,
        ends_ms: &[i64],
        arrival_ms: &[i64],
    ) {
        for segment in self.segments(slices, batch, ends_ms, arrival_ms) {
            if let Some(mark) = segment.mark {
                self.flush();
                self.out.push_back(Shipment::Mark(mark));
            }
            if !segment.rows.is_empty() {
                let arrival: Vec<i64> =
                    segment.rows.iter().map(|&row| arrival_ms[row as usize]).collect();
                let part = batch.take(&UInt32Array::from(segment.rows));
                self.take(&part, &segment.ends_ms, &arrival);
            }
        }
    }

    fn segments(
        &mut self,
        slices: Slices,
        batch: &Batch,
        ends_ms: &[i64],
        arrival_ms: &[i64],
    ) -> Vec<Segment> {
        let mut segments = vec![Segment { mark: None, rows: Vec::new(), ends_ms: Vec::new() }];
        let mut late = Vec::new();
        for (row, (&slice, &watermark)) in ends_ms.iter().zip(arrival_ms).enumerate() {
            let Some(last) = slices.last_window_end(slice) else { continue };
            if self.fire_ms(last).saturating_add(self.lateness_ms) <= watermark {
                self.count_late(batch, row, slice, watermark);
                late.push(row as u32);
                continue;
            }
            if self.needs_mark(slices, slice, watermark) {
                self.marked_ms = watermark;
                segments.push(Segment {
                    mark: Some(watermark),
                    rows: Vec::new(),
                    ends_ms: Vec::new(),
                });
            }
            let segment = segments.last_mut().expect("starts with one");
            if !self.plan.per_window {
                segment.rows.push(row as u32);
                segment.ends_ms.push(self.home(slices, slice, watermark));
                continue;
            }
            for end in slices.window_ends(slice) {
                if self.fire_ms(end).saturating_add(self.lateness_ms) > watermark {
                    segment.rows.push(row as u32);
                    segment.ends_ms.push(end);
                }
            }
        }
        if self.plan.hands_out_late && !late.is_empty() {
            self.late_out = Some(batch.take(&UInt32Array::from(late)));
        }
        segments
    }

    /// The slice that a row is added to: its own, or, where a CUMULATE step has fired with that, the window's first, so that
    /// such rows follow what has fired in the order of their arrival, as in Flink.
    fn home(&self, slices: Slices, slice: i64, watermark_ms: i64) -> i64 {
        match self.plan.window.kind {
            WindowKind::Cumulate { step_ms, .. } if self.fire_ms(slice) <= watermark_ms => {
                slices.window_start(slice).expect("cumulative windows have starts") + step_ms
            }
            _ => slice,
        }
    }

    /// Whether a window that this row's slice belongs to has fired, though not its last: it must fire without the row. Or the watermark is a
    /// mark in any case.
    fn needs_mark(&mut self, slices: Slices, slice: i64, watermark_ms: i64) -> bool {
        let shares = self.plan.may_mark && !self.plan.per_window && !slices.is_single();
        let fired =
            shares && self.next_firing(slices, slice).is_some_and(|fires| fires <= watermark_ms);
        fired || self.is_mark(slices, watermark_ms)
    }

    /// The lowest watermark above the last mark at which a window of a slice fires.
    fn next_firing(&mut self, slices: Slices, slice: i64) -> Option<i64> {
        let marked_ms = self.marked_ms;
        if self.wall.is_utc() {
            // Windows fire a millisecond before they end, in the order of their ends.
            let unmarked_ms = marked_ms.saturating_add(2)..=i64::MAX;
            return slices.window_ends_in(slice, unmarked_ms).next().map(|end| end - 1);
        }
        let known = self.next_firing.filter(|known| known.0 == (slice, marked_ms));
        let (_, fires_ms) = known.unwrap_or_else(|| {
            let fires = slices.window_ends(slice).map(|end| self.fire_ms(end));
            ((slice, marked_ms), fires.filter(|&fires| fires > marked_ms).min())
        });
        self.next_firing = Some(((slice, marked_ms), fires_ms));
        fires_ms
    }

    fn count_late(&mut self, batch: &Batch, row: usize, slice: i64, watermark_ms: i64) {
        let time = match self.plan.window.domain {
            TimeDomain::Event => {
                batch.columns[self.time_column()].as_primitive::<Int64Type>().value(row)
            }
            TimeDomain::Processing => slice,
        };
        self.late.record(time, watermark_ms);
    }

    fn take(&mut self, batch: &Batch, ends_ms: &[i64], arrival_ms: &[i64]) {
        if !self.groups_rows() {
            self.ship_rows(batch, ends_ms.to_vec(), arrival_ms.to_vec());
            return;
        }
        match self.cut_of_ends(ends_ms) {
            Some(cut) => self.take_cut(batch, &cut),
            None => self.take_by_keys(batch, ends_ms),
        }
    }

    /// Takes rows, whose groups are found by the keys' bytes.
    fn take_by_keys(&mut self, batch: &Batch, ends_ms: &[i64]) {
        self.encode_keys(batch);
        self.groups.find(&self.keys, ends_ms, &mut self.slots);
        self.take_grouped(batch);
    }

    /// Takes rows whose groups have been found.
    fn take_grouped(&mut self, batch: &Batch) {
        match self.plan.ship {
            Ship::RowsByValue => self.take_by_value(batch),
            _ => self.fold(batch),
        }
    }

    /// Folds rows, and looks whether folding pays.
    fn fold(&mut self, batch: &Batch) {
        self.flush_cells();
        let shape = Arc::clone(&self.shape);
        update_calls(
            &shape,
            0,
            &mut self.groups.accumulators,
            &self.slots,
            &shape.ship(&batch.columns),
        );
        let groups = self.groups.count();
        if !self.judge.pays(batch.rows, groups, || groups) {
            self.stop_folding();
        } else if groups > FOLDED_GROUPS_MAX || self.groups.bytes() > FOLDED_BYTES_MAX {
            self.flush();
        }
    }

    /// The rest of the chunk leaves as rows.
    fn stop_folding(&mut self) {
        self.flush();
        self.folding = false;
    }

    fn key_columns(&self, batch: &Batch) -> Vec<ArrayRef> {
        self.shape.keys.iter().map(|&key| batch.columns[key].clone()).collect()
    }

    fn encode_keys(&mut self, batch: &Batch) {
        self.keys.encode(&self.key_columns(batch), batch.rows);
    }

    fn ship_rows(&mut self, batch: &Batch, ends_ms: Vec<i64>, arrival_ms: Vec<i64>) {
        self.encode_keys(batch);
        self.ship_columns(self.shape.ship(&batch.columns), ends_ms, arrival_ms);
    }

    /// Ships rows whose keys have been encoded.
    fn ship_columns(&mut self, columns: Vec<ArrayRef>, ends_ms: Vec<i64>, arrival_ms: Vec<i64>) {
        let arrival_ms = if self.plan.ship == Ship::Rows { arrival_ms } else { Vec::new() };
        let rows = Payload {
            keys: std::mem::take(&mut self.keys),
            ends_ms,
            arrival_ms,
            numbers: None,
            data: Data::Rows(columns),
        };
        ship_by_key(rows, self.shard_count, &mut self.out);
    }

    /// Takes accumulators from an earlier stage, for the owners of their keys.
    pub fn push_partials(&mut self, payload: Payload) {
        let Data::Partials(partials) = payload.data else {
            unreachable!("only accumulators are passed on")
        };
        let words = self.shape.layout.word_count;
        let mut parts: Vec<Option<Payload>> = vec![None; self.shard_count];
        for index in 0..payload.keys.count() {
            let hash = payload.keys.hashes[index];
            let part = parts[shard_of(hash, self.shard_count)].get_or_insert_with(empty_partials);
            part.keys.push(hash, payload.keys.get(index));
            part.ends_ms.push(payload.ends_ms[index]);
            let Data::Partials(into) = &mut part.data else { unreachable!("made above") };
            partials.copy_group(index, words, &self.shape.layout, into);
        }
        for (shard, part) in parts.into_iter().enumerate() {
            self.out.extend(part.map(|part| Shipment::Payload(shard, Box::new(part))));
        }
    }

    /// Passes a mark on to the owners.
    pub fn push_mark(&mut self, watermark_ms: i64) {
        self.flush();
        self.out.push_back(Shipment::Mark(watermark_ms));
    }

    /// The end of a chunk: everything folded leaves.
    pub fn end_chunk(&mut self) {
        self.flush();
        self.folding = self.judge.end_chunk() && self.plan.ship == Ship::Folded;
    }

    fn flush(&mut self) {
        self.flush_cells();
        self.ship_values();
        if self.groups.count() == 0 {
            return;
        }
        let mut parts: Vec<Vec<u32>> = vec![Vec::new(); self.shard_count];
        for slot in 0..self.groups.count() as u32 {
            parts[shard_of(self.groups.group(slot).0, self.shard_count)].push(slot);
        }
        for (shard, slots) in parts.iter().enumerate().filter(|(_, slots)| !slots.is_empty()) {
            self.out.push_back(Shipment::Payload(shard, Box::new(self.partials_of(slots))));
        }
        self.clear_groups();
    }

    /// The accumulators of these groups.
    fn partials_of(&self, slots: &[u32]) -> Payload {
        let (mut payload, mut partials) = (empty_partials(), Partials::default());
        if let Some(&first) = slots.first() {
            payload.keys.reserve(slots.len(), self.groups.group(first).1);
        }
        payload.ends_ms.reserve(slots.len());
        partials.words.reserve(slots.len() * self.shape.layout.word_count);
        for &slot in slots {
            let (hash, key, end_ms) = self.groups.group(slot);
            payload.keys.push(hash, key);
            payload.ends_ms.push(end_ms);
            export(&self.shape.layout, 0, &self.groups.accumulators, slot, &mut partials);
        }
        Payload { numbers: self.numbered.numbers(slots), data: Data::Partials(partials), ..payload }
    }

    fn clear_groups(&mut self) {
        self.groups.clear();
        self.numbered.clear();
    }

    /// What there is to send, in this order.
    pub fn drain(&mut self) -> Drain<'_, Shipment> {
        self.out.drain(..)
    }

    /// The rows of the last batch that were late, as they came, where somebody reads them.
    pub fn take_late(&mut self) -> Option<Batch> {
        self.late_out.take()
    }

    /// Counts rows that were found late before a restart.
    pub fn restore_late(&mut self, late: LateRows) {
        self.late = late;
    }

    /// Rows found late here.
    pub fn late_rows(&self) -> &LateRows {
        &self.late
    }
}

fn empty_partials() -> Payload {
    Payload {
        keys: Keys::default(),
        ends_ms: Vec::new(),
        arrival_ms: Vec::new(),
        numbers: None,
        data: Data::Partials(Partials::default()),
    }
}
