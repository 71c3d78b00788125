//! The owner of count windows: at every `slide`-th row of a key, its last `size` rows.
//!
//! The rows of a key are cut into panes of gcd(size, slide) rows, so that every window is a run of whole panes and a row is folded
//! once. A window fires when its last pane is full, and no row changes a full pane; so the rows of a payload are folded together,
//! and what fired on the way is read out after that.
//!
//! # Two stacks
//!
//! Windows that overlap are not added up anew from all their panes: the older panes (the *front*) each know the sum of
//! themselves and all younger ones of the front, and the *back* is the sum of the rest. A window is the oldest pane's sum and
//! the back. When the front is used up, the back's panes become the front: each pane is merged twice, however many there are.
//! (Tangwongsan, Hirzel, Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case Constant Time", DEBS 2017, of which this is
//! the amortised forerunner.) Sets of distinct values and joined strings would be copied for every pane, and users' functions may not
//! merge exactly; there all panes are added up.
//!
//! # A record
//!
//! ```text
//! a key:   phase (rows since the last firing) │ first pane + 1 │ last pane + 1 │ panes │ panes in front │ back + 1 │ last pane added up + 1
//! a pane:  next pane + 1 │ bundle │ bundle of the front's younger panes and this
//! bundle:  rows │ least time │ greatest time │ age │ accumulators …
//! ```
//!
//! # Invariants
//!
//! 1. A key has the panes of rows that a window yet to fire may show, oldest first, and no others.
//! 2. Only the last pane of a key grows.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};

use super::ages::Ages;
use super::distinct::{SessionSets, blank_distinct};
use super::moving::{Moved, MovedPart, Standing};
use super::pane::{TableSlots, merge_at, update_calls};
use super::row_span::{RowSpan, window_columns};
use super::shape::Shape;
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_START};
use crate::agg::{self, AggregateCall, AggregateFunction, Partials};
use crate::batch::{BATCH_ROWS_MAX, Batch, Keys, take_columns};
use crate::state::{Pages, Saved, Sealed, Table};
use crate::window::{WallTime, WindowKind, WindowSpec};

const KEY_WORDS: usize = 7;
const PHASE: usize = 0;
const FIRST: usize = 1;
const LAST: usize = 2;
const PANES: usize = 3;
const FRONT: usize = 4;
const BACK: usize = 5;
const ADDED: usize = 6;

const NEXT: usize = 0;
/// Where a pane's own bundle begins.
const OWN: usize = 1;
/// Words of a bundle before its accumulators: the span and the age.
const BUNDLE_HEADER: usize = RowSpan::WORDS + 1;
const AGE: usize = RowSpan::WORDS;
/// Where the accumulators of a pane's own bundle begin.
const BASE: usize = OWN + BUNDLE_HEADER;

/// The receiving half of an aggregation over count windows.
pub struct CountWindow {
    shape: Arc<Shape>,
    plan: PanePlan,
    wall: WallTime,
    instant_time: bool,
    pages: Pages,
    ages: Ages,
    keys: Table,
    /// Panes, as slots outside of any index.
    panes: Table,
    sets: SessionSets,
    ready: VecDeque<Output>,
    watermark_ms: i64,
    fired_count: u64,
    partials: Partials,
}

/// How rows are cut into panes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PanePlan {
    slide_rows: u64,
    pane_rows: u64,
    /// Rows after a firing that no window shows.
    skipped_rows: u64,
    /// Panes that the next window shows again.
    kept_panes: u64,
    /// Windows are added up by two stacks.
    is_stacked: bool,
}

/// A window that is full.
#[derive(Clone, Copy, Debug)]
struct Firing {
    key_slot: u32,
    first_pane: u32,
    pane_count: u64,
    /// The oldest of them, which no later window shows.
    spent_count: u64,
    /// The watermark when its last row came.
    arrival_ms: i64,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl PanePlan {
    fn new(size_rows: u64, slide_rows: u64, shape: &Shape) -> Self {
        assert!(size_rows > 0 && slide_rows > 0, "the planner refuses empty windows");
        let overlaps = size_rows > slide_rows;
        let pane_rows = if overlaps { gcd(size_rows, slide_rows) } else { size_rows };
        // Two stacks merge in other ways after a change of owners.
        let merges = |call: &AggregateCall| {
            call.folds_early() && call.function != AggregateFunction::ListAgg
        };
        Self {
            slide_rows,
            pane_rows,
            skipped_rows: slide_rows.saturating_sub(size_rows),
            kept_panes: size_rows.saturating_sub(slide_rows) / pane_rows,
            is_stacked: overlaps && shape.distinct.is_empty() && shape.calls.iter().all(merges),
        }
    }

    fn record_words(&self, shape: &Shape) -> usize {
        let bundles = if self.is_stacked { 2 } else { 1 };
        OWN + bundles * (BUNDLE_HEADER + shape.layout.word_count)
    }
}

impl CountWindow {
    /// An owner of count windows over groups of `shape`.
    ///
    /// # Panics
    ///
    /// If the window is no count window.
    pub fn new(shape: Arc<Shape>, window: &WindowSpec, instant_time: bool, pages: Pages) -> Self {
        let WindowKind::Count { size_rows, slide_rows } = window.kind else {
            panic!("not a count window")
        };
        let plan = PanePlan::new(size_rows, slide_rows, &shape);
        Self {
            wall: WallTime::new(window.time_zone),
            instant_time,
            pages,
            ages: Ages::new(shape.calls.len()),
            keys: Table::new(KEY_WORDS),
            panes: Table::new(plan.record_words(&shape)),
            sets: SessionSets::new(&shape),
            plan,
            shape,
            ready: VecDeque::new(),
            watermark_ms: WATERMARK_START,
            fired_count: 0,
            partials: Partials::default(),
        }
    }

    /// Goes on from what [`Receiver::seal`] saved.
    #[must_use]
    pub fn restored(mut self, saved: &mut Saved<'_>) -> Self {
        saved.words(Census::WORDS);
        self.watermark_ms = saved.signed();
        self.fired_count = saved.word();
        self.ages = Ages::load(saved);
        self.keys = Table::load(KEY_WORDS, saved, &self.pages);
        self.panes = Table::load(self.plan.record_words(&self.shape), saved, &self.pages);
        self.sets = SessionSets::load(&self.shape, saved, &self.pages);
        self
    }

    fn key_word(&self, key_slot: u32, word: usize) -> u64 {
        self.keys.words(&self.pages, key_slot)[word]
    }

    fn set_key_word(&mut self, key_slot: u32, word: usize, value: u64) {
        self.keys.words_mut(&mut self.pages, key_slot)[word] = value;
    }

    /// The pane behind `pane`; there is one.
    fn next(&self, pane: u32) -> u32 {
        self.panes.words(&self.pages, pane)[NEXT] as u32 - 1
    }

    /// The pane that the next row of a key belongs to, if a window shows it.
    fn place(&mut self, key_slot: u32, time_ms: i64) -> Option<u32> {
        let phase = self.key_word(key_slot, PHASE);
        self.set_key_word(key_slot, PHASE, phase + 1);
        let shown = phase.checked_sub(self.plan.skipped_rows)?;
        let pane = match shown.is_multiple_of(self.plan.pane_rows) {
            true => self.new_pane(key_slot),
            false => self.key_word(key_slot, LAST) as u32 - 1,
        };
        let words = &mut self.panes.words_mut(&mut self.pages, pane)[OWN..];
        RowSpan::load(words).with(time_ms).store(words);
        Some(pane)
    }

    fn new_pane(&mut self, key_slot: u32) -> u32 {
        let pane = self.new_record();
        let link = u64::from(pane) + 1;
        match std::mem::replace(&mut self.keys.words_mut(&mut self.pages, key_slot)[LAST], link) {
            0 => self.set_key_word(key_slot, FIRST, link),
            last => self.panes.words_mut(&mut self.pages, last as u32 - 1)[NEXT] = link,
        }
        self.keys.words_mut(&mut self.pages, key_slot)[PANES] += 1;
        self.panes.words_mut(&mut self.pages, pane)[OWN + AGE] = self.ages.generation();
        pane
    }

    fn new_record(&mut self) -> u32 {
        let record = self.panes.new_slot(&mut self.pages);
        self.sets.ensure(&mut self.pages, record);
        record
    }

    /// The window that is full now, if one is. Its spent panes are the key's no more.
    fn fire(&mut self, key_slot: u32, arrival_ms: i64) -> Option<Firing> {
        let words = self.keys.words(&self.pages, key_slot);
        if words[PHASE] < self.plan.slide_rows {
            return None;
        }
        let (first, pane_count) = (words[FIRST], words[PANES]);
        let spent_count = pane_count.saturating_sub(self.plan.kept_panes);
        let first_pane = first as u32 - 1;
        let mut link = first;
        for _ in 0..spent_count {
            link = self.panes.words(&self.pages, link as u32 - 1)[NEXT];
        }
        let words = self.keys.words_mut(&mut self.pages, key_slot);
        (words[PHASE], words[FIRST], words[PANES]) = (0, link, pane_count - spent_count);
        if link == 0 {
            words[LAST] = 0;
        }
        Some(Firing { key_slot, first_pane, pane_count, spent_count, arrival_ms })
    }

    /// Folds rows, whose panes are `panes`.
    fn fold(&mut self, rows: Vec<u32>, panes: &[u32], columns: &[ArrayRef], row_count: usize) {
        let taken: Vec<ArrayRef> = match rows.len() == row_count {
            true => columns.to_vec(),
            false => take_columns(columns, &UInt32Array::from(rows)),
        };
        let shape = Arc::clone(&self.shape);
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.panes };
        update_calls(&shape, BASE, &mut slots, panes, &taken);
        self.sets.insert(&shape, BASE, &mut self.pages, &mut self.panes, panes, &taken);
    }

    /// Reads out windows.
    fn show(&mut self, firings: &[Firing]) {
        let shape = Arc::clone(&self.shape);
        self.sets.flush(&shape, BASE, &mut self.pages, &mut self.panes);
        for firings in firings.chunks(BATCH_ROWS_MAX) {
            let mut spent = Vec::new();
            let sums: Vec<u32> =
                firings.iter().map(|firing| self.sum(firing, &mut spent)).collect();
            let batch = self.results(firings, &sums);
            self.ready.push_back(Output::Rows(batch));
            spent.into_iter().for_each(|record| self.release(record));
        }
        self.fired_count += firings.len() as u64;
        let mut fired: Vec<u32> = firings.iter().map(|firing| firing.key_slot).collect();
        fired.sort_unstable();
        fired.dedup();
        for key_slot in fired {
            let words = self.keys.words(&self.pages, key_slot);
            if words[PHASE] == 0 && words[FIRST] == 0 {
                self.keys.remove(&mut self.pages, key_slot);
            }
        }
    }

    /// The record that holds a window's sum; what is to be released when it has been read goes to `spent`.
    fn sum(&mut self, firing: &Firing, spent: &mut Vec<u32>) -> u32 {
        if self.plan.is_stacked {
            let sum = self.stacked_sum(firing);
            spent.push(sum);
            self.spend(firing, spent);
            return sum;
        }
        let mut pane = firing.first_pane;
        let mut sum = pane;
        if firing.pane_count > 1 {
            sum = self.new_record();
            spent.push(sum);
            for at in 0..firing.pane_count {
                pane = if at == 0 { pane } else { self.next(pane) };
                self.add(sum, OWN, pane, OWN);
            }
        }
        self.spend(firing, spent);
        sum
    }

    /// Puts the panes that no later window shows to `spent`.
    fn spend(&self, firing: &Firing, spent: &mut Vec<u32>) {
        let mut pane = firing.first_pane;
        for at in 0..firing.spent_count {
            pane = if at == 0 { pane } else { self.next(pane) };
            spent.push(pane);
        }
    }

    /// The sum of a window by two stacks, which then stand as the next window needs them.
    fn stacked_sum(&mut self, firing: &Firing) -> u32 {
        let suffix = BASE + self.shape.layout.word_count;
        let (back, front) = (self.add_to_back(firing), self.key_word(firing.key_slot, FRONT));
        let sum = self.new_record();
        if front > 0 {
            self.add(sum, OWN, firing.first_pane, suffix);
        }
        self.add(sum, OWN, back, OWN);
        if front >= firing.spent_count {
            self.set_key_word(firing.key_slot, FRONT, front - firing.spent_count);
        } else {
            self.turn_over(firing, back, suffix);
        }
        sum
    }

    /// Adds the panes that have come since the last firing to the back, which is returned.
    fn add_to_back(&mut self, firing: &Firing) -> u32 {
        let words = self.keys.words(&self.pages, firing.key_slot);
        let (back, added) = (words[BACK], words[ADDED]);
        let back = match back {
            0 => self.new_record(),
            back => back as u32 - 1,
        };
        let (mut pane, rest) = match added {
            0 => (firing.first_pane, firing.pane_count),
            added => (self.next(added as u32 - 1), self.plan.slide_rows / self.plan.pane_rows),
        };
        for at in 0..rest {
            pane = if at == 0 { pane } else { self.next(pane) };
            self.add(back, OWN, pane, OWN);
        }
        let words = self.keys.words_mut(&mut self.pages, firing.key_slot);
        (words[BACK], words[ADDED]) = (u64::from(back) + 1, u64::from(pane) + 1);
        back
    }

    /// Makes all panes that later windows show the front.
    fn turn_over(&mut self, firing: &Firing, back: u32, suffix: usize) {
        let mut panes = vec![firing.first_pane];
        for _ in 1..firing.pane_count {
            panes.push(self.next(panes[panes.len() - 1]));
        }
        let kept = &panes[firing.spent_count as usize..];
        let mut younger: Option<u32> = None;
        for &pane in kept.iter().rev() {
            self.clear_bundle(pane, suffix);
            self.add(pane, suffix, pane, OWN);
            if let Some(younger) = younger {
                self.add(pane, suffix, younger, suffix);
            }
            younger = Some(pane);
        }
        self.set_key_word(firing.key_slot, FRONT, kept.len() as u64);
        self.clear_bundle(back, OWN);
    }

    /// Adds one bundle to another, as what came later.
    fn add(&mut self, into: u32, into_at: usize, from: u32, from_at: usize) {
        let shape = Arc::clone(&self.shape);
        let words = &self.panes.words(&self.pages, from)[from_at..];
        let (span, age) = (RowSpan::load(words), words[AGE]);
        if span.row_count == 0 {
            return;
        }
        let words = &mut self.panes.words_mut(&mut self.pages, into)[into_at..];
        let held = RowSpan::load(words);
        words[AGE] = if held.row_count == 0 { age } else { age.min(words[AGE]) };
        held.joined(span).store(words);
        self.partials.clear();
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.panes };
        agg::export(&shape.layout, from_at + BUNDLE_HEADER, &slots, from, &mut self.partials);
        blank_distinct(&shape, &mut self.partials);
        merge_at(&shape, into_at + BUNDLE_HEADER, &mut slots, into, &self.partials);
        self.sets.union(&shape, BASE, &mut self.pages, &mut self.panes, into, from);
    }

    /// Empties a bundle.
    fn clear_bundle(&mut self, record: u32, at: usize) {
        for &word in &self.shape.layout.blob_words {
            let blob = self.panes.words(&self.pages, record)[at + BUNDLE_HEADER + word];
            if blob != 0 {
                self.panes.heap_mut().remove(&mut self.pages, blob);
            }
        }
        let count = BUNDLE_HEADER + self.shape.layout.word_count;
        self.panes.words_mut(&mut self.pages, record)[at..at + count].fill(0);
    }

    fn release(&mut self, record: u32) {
        self.clear_bundle(record, OWN);
        if self.plan.is_stacked {
            self.clear_bundle(record, BASE + self.shape.layout.word_count);
        }
        self.sets.clear_set(&mut self.pages, record);
        self.panes.release_slot(&mut self.pages, record);
    }

    fn results(&mut self, firings: &[Firing], sums: &[u32]) -> Batch {
        let shape = Arc::clone(&self.shape);
        let keys = firings.iter().map(|firing| self.keys.key(&self.pages, firing.key_slot));
        let mut columns = Keys::decode(&shape.key_types, keys);
        let table = TableSlots { pages: &mut self.pages, table: &mut self.panes };
        for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
            columns.push(agg::finish(call, BASE + offset, &table, sums));
        }
        let bundle = |&sum: &u32| &self.panes.words(&self.pages, sum)[OWN..];
        let ages: Vec<u64> = sums.iter().map(|sum| bundle(sum)[AGE]).collect();
        self.ages.blank_rows(&mut columns[shape.keys.len()..], &ages);
        let spans: Vec<RowSpan> = sums.iter().map(|sum| RowSpan::load(bundle(sum))).collect();
        columns.extend(window_columns(&spans, &self.wall, self.instant_time));
        let mut batch = Batch::new(columns, sums.len());
        let arrival_ms: Vec<i64> = firings.iter().map(|firing| firing.arrival_ms).collect();
        batch.arrival_ms = Some(arrival_ms.into());
        batch
    }
}

impl Receiver for CountWindow {
    fn receive(&mut self, payload: Payload) {
        let Data::Rows(columns) = &payload.data else { unreachable!("count windows receive rows") };
        let row_count = payload.keys.count();
        let mut times = payload.ends_ms.clone();
        self.wall.localise(&mut times);
        let (mut rows, mut panes) = (Vec::with_capacity(row_count), Vec::with_capacity(row_count));
        let mut firings = Vec::new();
        for (row, &time_ms) in times.iter().enumerate() {
            let (hash, key) = (payload.keys.hashes[row], payload.keys.get(row));
            let (key_slot, _) = self.keys.upsert(&mut self.pages, hash, key);
            if let Some(pane) = self.place(key_slot, time_ms) {
                rows.push(row as u32);
                panes.push(pane);
            }
            firings.extend(self.fire(key_slot, payload.arrival_ms[row]));
        }
        self.fold(rows, &panes, columns, row_count);
        if !firings.is_empty() {
            self.show(&firings);
        }
    }

    fn advance(&mut self, watermark_ms: i64, _now_ms: i64) {
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
    }

    fn next_output(&mut self) -> Option<Output> {
        let output = self.ready.pop_front();
        if output.is_some() && self.ready.is_empty() {
            self.sets.compact(&mut self.pages);
        }
        output
    }

    fn fired_count(&self) -> u64 {
        self.fired_count
    }

    fn state_bytes(&self) -> usize {
        self.pages.state_bytes()
    }

    fn seal(&mut self) -> Sealed {
        assert!(self.ready.is_empty());
        let mut header = Census { windows: None, groups: self.keys.count() as u64 }.header();
        header.extend([self.watermark_ms.cast_unsigned(), self.fired_count]);
        self.ages.save(&mut header);
        self.keys.save(&mut header);
        self.panes.save(&mut header);
        self.sets.save(&mut header);
        self.pages.seal(header)
    }

    fn acknowledge(&mut self) {
        self.pages.acknowledge();
    }

    fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        let shape = Arc::clone(&self.shape);
        self.sets.flush(&shape, BASE, &mut self.pages, &mut self.panes);
        for key_slot in self.keys.live_slots(&self.pages) {
            let hash = self.keys.hash(&self.pages, key_slot);
            let key = self.keys.key(&self.pages, key_slot).to_vec();
            let phase_rows = self.key_word(key_slot, PHASE);
            let mut moved = Moved {
                part: MovedPart::Pane(phase_rows, RowSpan::default()),
                hash,
                key,
                accumulators: None,
                shown: Partials::default(),
                flags: 0,
                age: 0,
                values: Vec::new(),
                named: None,
            };
            let mut link = self.key_word(key_slot, FIRST);
            if link == 0 {
                // Only rows that no window shows: where the key stands is all there is.
                to(moved.clone());
            }
            while link != 0 {
                let pane = link as u32 - 1;
                let words = self.panes.words(&self.pages, pane);
                link = words[NEXT];
                moved.part = MovedPart::Pane(phase_rows, RowSpan::load(&words[OWN..]));
                moved.age = words[OWN + AGE];
                moved.values = self.sets.values(&self.pages, pane);
                let mut accumulators = Partials::default();
                let table = TableSlots { pages: &mut self.pages, table: &mut self.panes };
                agg::export(&shape.layout, BASE, &table, pane, &mut accumulators);
                moved.accumulators = Some(accumulators);
                to(moved.clone());
            }
        }
    }

    fn adopt(&mut self, moved: Moved) {
        let MovedPart::Pane(phase_rows, span) = moved.part else {
            unreachable!("a count window has panes of rows")
        };
        let shape = Arc::clone(&self.shape);
        let (key_slot, _) = self.keys.upsert(&mut self.pages, moved.hash, &moved.key);
        self.set_key_word(key_slot, PHASE, phase_rows);
        let Some(accumulators) = &moved.accumulators else { return };
        let pane = self.new_pane(key_slot);
        let words = &mut self.panes.words_mut(&mut self.pages, pane)[OWN..];
        span.store(words);
        words[AGE] = moved.age;
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.panes };
        merge_at(&shape, BASE, &mut slots, pane, accumulators);
        self.sets.adopt_values(&mut self.pages, pane, &moved.values);
    }

    fn standing(&self) -> Standing {
        Standing {
            watermark_ms: self.watermark_ms,
            fired_count: self.fired_count,
            ages: self.ages.clone(),
            ..Standing::default()
        }
    }

    fn stand(&mut self, standing: &Standing) {
        self.watermark_ms = standing.watermark_ms;
        self.fired_count += standing.fired_count;
        self.ages.join(&standing.ages);
    }
}
