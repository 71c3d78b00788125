//! The owner of groups in windows that fire once: slices, merged as windows close.
//!
//! It yields result rows, or, as the first stage of a distinct count that is split over shards, accumulators for
//! the second stage. As a first stage it also yields what is new at every early firing.
//!
//! # Invariants
//!
//! 1. A window fires in the call of `advance` whose watermark first reaches its end - 1 ms, with what was received before.
//! 2. A slice is freed when its last window has fired.

mod firing;
#[cfg(test)]
mod fresh_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use arrow_array::ArrayRef;

use super::ages::Ages;
use super::key_numbers::KeyNumbers;
use super::moving::{Moved, MovedPart, Standing};
use super::pane::{Pane, TableSlots};
use super::shape::Shape;
use super::slice::Slice;
use super::sum::Sum;
use super::two_stacks::TwoStacks;
use super::waiting::Waiting;
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_START};
use crate::agg::{Partials, export};
use crate::batch::{BATCH_ROWS_MAX, Keys};
use crate::metrics::LateRows;
use crate::state::{PAGE_WORDS, Pages, Saved, Sealed};
use crate::window::{Emit, EmitClock, Slices, WallTime, WindowKind, WindowSpec};
use firing::Firing;

/// A slice with more groups than this has them wait: its table no longer fits the cache.
const FOLDED_GROUPS_MAX: usize = 1 << 14;

/// So many slices may have no table yet whatever they take; older ones only if they take no more than this: three pages, as a table does.
const FRESH_SLICES_MAX: usize = if cfg!(test) { 4 } else { 32 };
const FRESH_BYTES_MAX: usize = if cfg!(test) { 1 << 10 } else { 3 * 8 * PAGE_WORDS };

/// The receiving half of a windowed aggregation without triggers.
pub struct WindowAggregate {
    shape: Arc<Shape>,
    slices: Slices,
    /// Where windows start; `slices` knows it only where entries name slices.
    starts: Slices,
    wall: WallTime,
    /// `window_time` is an instant: the time column is TIMESTAMP_LTZ.
    instant_time: bool,
    stage: Stage,
    newest_first: bool,
    pages: Pages,
    ages: Ages,
    panes: BTreeMap<i64, Slice>,
    /// Slices that may have no table yet, as they began; of the first `small_count` it is known that they take little.
    fresh: VecDeque<i64>,
    small_count: usize,
    /// Of the groups' keys; derived from `panes`.
    key_numbers: KeyNumbers,
    /// HOP: what overlapping windows have in common, added up; derived from `panes`.
    sums: TwoStacks,
    /// CUMULATE: the sum of all slices of a window's start that have fired.
    running: BTreeMap<i64, Slice>,
    /// Whether some slice may wait: if not, firings need not look at all of theirs.
    may_wait: bool,
    /// [`FOLDED_GROUPS_MAX`], or what a test says.
    folded_groups_max: usize,
    watermark_ms: i64,
    now_ms: i64,
    /// Ends of windows that have rows and have not fired.
    pending: BTreeSet<i64>,
    due: VecDeque<i64>,
    firing: Option<Firing>,
    /// As a first stage: groups whose increments are being read out.
    increments: VecDeque<(i64, Vec<u32>)>,
    fired_count: u64,
}

/// What a firing yields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Result rows.
    Final,
    /// Accumulators, also at the early firings of this emit; windows are their own slices.
    First(Emit),
}

impl WindowAggregate {
    /// An owner of groups of `shape` in `window`; `per_window`: entries name windows, not slices.
    pub fn new(
        shape: Arc<Shape>,
        window: &WindowSpec,
        per_window: bool,
        instant_time: bool,
        stage: Stage,
        pages: Pages,
    ) -> Self {
        let kind = match per_window {
            true => WindowKind::Attached { start_column: 0, end_column: 0 },
            false => window.kind,
        };
        Self {
            newest_first: shape.is_order_sensitive() && !window.group_window,
            ages: Ages::new(shape.calls.len()),
            sums: TwoStacks::new(&shape),
            shape,
            slices: Slices::new(kind),
            starts: Slices::new(window.kind),
            wall: WallTime::new(window.time_zone),
            instant_time,
            stage,
            pages,
            panes: BTreeMap::new(),
            fresh: VecDeque::new(),
            small_count: 0,
            key_numbers: KeyNumbers::new(),
            running: BTreeMap::new(),
            may_wait: false,
            folded_groups_max: FOLDED_GROUPS_MAX,
            watermark_ms: WATERMARK_START,
            now_ms: i64::MIN,
            pending: BTreeSet::new(),
            due: VecDeque::new(),
            firing: None,
            increments: VecDeque::new(),
            fired_count: 0,
        }
    }

    /// Goes on from what [`Receiver::seal`] saved.
    #[must_use]
    pub fn restored(mut self, saved: &mut Saved<'_>) -> Self {
        saved.words(Census::WORDS);
        (self.watermark_ms, self.now_ms) = (saved.signed(), saved.signed());
        self.fired_count = saved.word();
        self.ages = Ages::load(saved);
        self.panes = self.load_panes(self.slot_words(), saved);
        self.running = self.load_panes(self.shape.layout.word_count, saved);
        self.pending = (0..saved.word()).map(|_| saved.signed()).collect();
        self.may_wait = true;
        self
    }

    fn load_panes(&self, words: usize, saved: &mut Saved<'_>) -> BTreeMap<i64, Slice> {
        let count = saved.word();
        let load = |_| (saved.signed(), Slice::load(&self.shape, words, saved, &self.pages));
        (0..count).map(load).collect()
    }

    /// Words of a slot of a slice.
    fn slot_words(&self) -> usize {
        self.shape.layout.word_count + usize::from(self.yields_increments())
    }

    /// Sees to it that there is a slice which ends at `end_ms`.
    fn open(&mut self, end_ms: i64) {
        if self.panes.contains_key(&end_ms) {
            return;
        }
        self.pend(end_ms);
        let many = self.panes.last_key_value().is_some_and(|(_, slice)| {
            slice.waits() && slice.groups_max() > self.folded_groups_max as u64
        });
        let slice = match many {
            // What comes will be as much, and need not go through a table first.
            true => Slice::Waiting(Waiting::new()),
            false if self.opens_fresh() => Slice::fresh(self.sums.empty_sum(&self.shape)),
            false => Slice::new(&self.shape, self.slot_words()),
        };
        let is_fresh = slice.as_fresh().is_some();
        self.panes.insert(end_ms, slice);
        if is_fresh {
            self.fresh.push_back(end_ms);
            self.settle_old();
        }
        let folded =
            self.panes.values().chain(self.running.values()).filter(|slice| !slice.waits());
        if self.key_numbers.are_too_many(|| folded.map(Slice::groups_max).sum::<u64>() as usize) {
            self.settle_fresh();
            self.key_numbers.forget();
            self.sums.forget();
        }
    }

    /// Has the windows of a new slice fire which have not fired. Those that it shares with the slices beside it are pending, or have
    /// fired, and so are all of its CUMULATE window if one of these has fired.
    fn pend(&mut self, end_ms: i64) {
        let start = self.slices.is_cumulative().then(|| self.slices.window_start(end_ms)).flatten();
        if start.is_some_and(|start| self.running.contains_key(&start)) {
            return;
        }
        let before = self.panes.range(..end_ms).next_back();
        let before = before.and_then(|(&slice, _)| self.slices.last_window_end(slice));
        let after = self.panes.range(end_ms..).next();
        let after = after.and_then(|(&slice, _)| self.slices.first_window_end(slice));
        let alone =
            before.map_or(i64::MIN, |last| last + 1)..=after.map_or(i64::MAX, |first| first - 1);
        let open = self.slices.window_ends_in(end_ms, alone);
        let (wall, watermark_ms) = (&self.wall, self.watermark_ms);
        self.pending.extend(open.filter(|&end| wall.instant_of(end - 1) > watermark_ms));
    }

    /// Whether new slices need no table as long as nobody asks for a group by its key.
    fn opens_fresh(&self) -> bool {
        let read_as_sums = self.slices.is_single() || self.shares_sums();
        self.stage == Stage::Final
            && read_as_sums
            && Waiting::suits(&self.shape)
            && !self.pages.is_durable()
    }

    /// Gives all slices tables.
    fn settle_fresh(&mut self) {
        let Self { shape, pages, key_numbers, panes, .. } = self;
        for end_ms in self.fresh.drain(..) {
            if let Some(slice) = panes.get_mut(&end_ms) {
                slice.settle(shape, pages, key_numbers);
            }
        }
        self.small_count = 0;
    }

    /// Gives slices tables that are not young any more and take much without.
    fn settle_old(&mut self) {
        while self.fresh.front().is_some_and(|end_ms| !self.panes.contains_key(end_ms)) {
            self.fresh.pop_front();
            self.small_count = self.small_count.saturating_sub(1);
        }
        while self.fresh.len() > self.small_count + FRESH_SLICES_MAX {
            let end_ms = self.fresh[self.small_count];
            self.settle_large(end_ms);
            self.small_count += 1;
        }
    }

    /// Gives a slice a table if it takes much without.
    fn settle_large(&mut self, end_ms: i64) {
        let is_large =
            |slice: &Slice| slice.as_fresh().is_some_and(|sum| sum.bytes() > FRESH_BYTES_MAX);
        let Self { shape, pages, key_numbers, panes, .. } = self;
        if let Some(slice) = panes.get_mut(&end_ms).filter(|slice| is_large(slice)) {
            slice.settle(shape, pages, key_numbers);
        }
    }

    /// Whether it is a first stage that yields before a window's end; windows are their own slices then.
    fn yields_increments(&self) -> bool {
        matches!(self.stage, Stage::First(emit) if emit.early_delay_ms.is_some())
    }

    /// The word behind the accumulators that says that a group has something new to yield, be it only that it exists.
    fn touched_at(&self) -> usize {
        self.shape.layout.word_count
    }

    fn touch(&mut self, end_ms: i64, slots: &[u32]) {
        let at = self.touched_at();
        let slice = self.panes.get_mut(&end_ms).expect("it was just updated");
        let Slice::Folded(pane) = slice else { unreachable!("first stages have no groups wait") };
        for &slot in slots {
            pane.table.words_mut(&mut self.pages, slot)[at] = 1;
        }
    }

    fn is_touched(&self, pane: &Pane, slot: u32) -> bool {
        pane.table.words(&self.pages, slot)[self.touched_at()] != 0
    }

    /// Takes what a payload has in `rows`, which lie in the slice that ends at `end_ms`.
    fn receive_slice(&mut self, end_ms: i64, payload: &Payload, rows: &[u32]) {
        self.open(end_ms);
        let yields_increments = self.yields_increments();
        let Self { shape, pages, key_numbers, panes, .. } = self;
        let slice = panes.get_mut(&end_ms).expect("opened above");
        let slots = slice.receive(shape, pages, key_numbers, payload, rows);
        match yields_increments {
            true => self.touch(end_ms, &slots),
            false => slice.have_wait(shape, pages, key_numbers, self.folded_groups_max),
        }
        self.may_wait |= self.panes[&end_ms].waits();
        if self.fresh.get(self.small_count).is_some_and(|&young_ms| end_ms < young_ms) {
            self.settle_large(end_ms);
        }
        if self.sums.newest() >= Some(end_ms) {
            self.amend_sums(end_ms, payload, rows);
        }
    }

    /// Adds to the sums what has come for a slice that they have.
    fn amend_sums(&mut self, end_ms: i64, payload: &Payload, rows: &[u32]) {
        if self.may_wait {
            self.sums.forget();
            return;
        }
        let mut late = Sum::new(&self.shape);
        late.receive(&self.shape, &mut self.key_numbers, payload, rows);
        self.sums.amend(&self.shape, end_ms, &late);
    }

    /// Moves windows that `watermark_ms` closes from `pending` to `due`.
    fn close(&mut self, watermark_ms: i64) {
        while let Some(&end) = self.pending.first() {
            if self.wall.instant_of(end - 1) > watermark_ms {
                break;
            }
            self.pending.pop_first();
            self.due.push_back(end);
        }
    }

    fn partial_results(&mut self, pane: &mut Pane, end_ms: i64, slots: &[u32]) -> Output {
        self.pages.make_room();
        let (mut keys, mut partials) = (Keys::default(), Partials::default());
        for &slot in slots {
            keys.push(pane.table.hash(&self.pages, slot), pane.table.key(&self.pages, slot));
            let table = TableSlots { pages: &mut self.pages, table: &mut pane.table };
            export(&self.shape.layout, 0, &table, slot, &mut partials);
        }
        let ends_ms = vec![end_ms; slots.len()];
        Output::Partials(Payload {
            keys,
            ends_ms,
            arrival_ms: Vec::new(),
            numbers: None,
            data: Data::Partials(partials),
        })
    }

    /// As a first stage: notes the groups of open windows that have something new.
    fn note_increments(&mut self) {
        let shape = Arc::clone(&self.shape);
        let touched_at = self.touched_at();
        for (&end, slice) in &mut self.panes {
            let pane = slice.pane_mut();
            pane.flush(&shape, &mut self.pages);
            let is_new = |slot: &u32| pane.table.words(&self.pages, *slot)[touched_at] != 0;
            let changed: Vec<u32> = (0..pane.table.slot_end()).filter(is_new).collect();
            if !changed.is_empty() {
                self.increments.push_back((end, changed));
            }
        }
    }

    /// Yields a batch of increments, then forgotten here.
    fn yield_some(&mut self) -> Option<Output> {
        let shape = Arc::clone(&self.shape);
        let (end_ms, mut slots) = self.increments.pop_front()?;
        let rest = slots.split_off(slots.len().min(BATCH_ROWS_MAX));
        let mut pane = self.panes.remove(&end_ms).expect("noted while open").into_pane();
        let output = self.partial_results(&mut pane, end_ms, &slots);
        let touched_at = self.touched_at();
        for slot in slots {
            clear_slot(&shape, &mut pane, &mut self.pages, slot);
            pane.table.words_mut(&mut self.pages, slot)[touched_at] = 0;
        }
        self.panes.insert(end_ms, Slice::Folded(Box::new(pane)));
        if !rest.is_empty() {
            self.increments.push_front((end_ms, rest));
        }
        Some(output)
    }

    /// Whether an early firing falls between the last call of `advance` and this one.
    fn is_early_due(&self, watermark_ms: i64, now_ms: i64) -> bool {
        let Stage::First(emit) = self.stage else { return false };
        emit.early_delay_ms.is_some_and(|delay| match emit.early_clock {
            EmitClock::Event => ticked(self.watermark_ms, watermark_ms, delay),
            EmitClock::Processing => ticked(self.now_ms, now_ms, delay),
        })
    }
}

/// Whether a multiple of `delay_ms` lies in `(before, after]`; a delay of 0 ticks always.
pub(super) fn ticked(before_ms: i64, after_ms: i64, delay_ms: i64) -> bool {
    delay_ms == 0 || after_ms.div_euclid(delay_ms) > before_ms.div_euclid(delay_ms)
}

/// Empties the accumulators of a slot.
pub(super) fn clear_slot(shape: &Shape, pane: &mut Pane, pages: &mut Pages, slot: u32) {
    for &word in &shape.layout.blob_words {
        let blob = pane.table.words(pages, slot)[word];
        if blob != 0 {
            pane.table.heap_mut().remove(pages, blob);
        }
    }
    pane.table.words_mut(pages, slot)[..shape.layout.word_count].fill(0);
}

/// The distinct ends with the rows of each, in order of first appearance.
pub(super) fn runs_by_end(ends_ms: &[i64]) -> Vec<(i64, Vec<u32>)> {
    let Some(&first) = ends_ms.first() else { return Vec::new() };
    if ends_ms.iter().all(|&end| end == first) {
        return vec![(first, (0..ends_ms.len() as u32).collect())];
    }
    let mut runs: Vec<(i64, Vec<u32>)> = Vec::new();
    let (mut places, mut at) = (BTreeMap::new(), 0);
    for (row, &end) in ends_ms.iter().enumerate() {
        if runs.get(at).is_none_or(|run| run.0 != end) {
            at = *places.entry(end).or_insert_with(|| {
                runs.push((end, Vec::new()));
                runs.len() - 1
            });
        }
        runs[at].1.push(row as u32);
    }
    runs
}

impl Receiver for WindowAggregate {
    fn receive(&mut self, payload: Payload) {
        for (end_ms, rows) in runs_by_end(&payload.ends_ms) {
            self.receive_slice(end_ms, &payload, &rows);
        }
    }

    fn advance(&mut self, watermark_ms: i64, now_ms: i64) {
        assert!(self.firing.is_none() && self.due.is_empty(), "the last firing was not read out");
        let (wall, fired_ms) = (&self.wall, self.watermark_ms);
        self.ages.forget(|end_ms| wall.instant_of(end_ms - 1) <= fired_ms);
        let watermark_ms = watermark_ms.max(self.watermark_ms);
        self.close(watermark_ms);
        if self.is_early_due(watermark_ms, now_ms) {
            self.note_increments();
        }
        (self.watermark_ms, self.now_ms) = (watermark_ms, now_ms);
    }

    fn next_output(&mut self) -> Option<Output> {
        if let Some(output) = self.yield_some() {
            return Some(output);
        }
        loop {
            if self.firing.is_none() {
                let end = self.due.pop_front()?;
                self.start_firing(end);
            }
            if let Some(output) = self.fire_some() {
                return Some(output);
            }
        }
    }

    fn fired_count(&self) -> u64 {
        self.fired_count
    }

    fn state_bytes(&self) -> usize {
        let fresh = self.fresh.iter().filter_map(|end_ms| self.panes.get(end_ms)?.as_fresh());
        self.pages.state_bytes() + fresh.map(Sum::bytes).sum::<usize>()
    }

    fn seal(&mut self) -> Sealed {
        assert!(self.firing.is_none() && self.due.is_empty() && self.increments.is_empty());
        let panes = self.panes.values().chain(self.running.values());
        let groups = panes.map(Slice::groups_max).sum();
        let mut header = Census { windows: Some(self.pending.len() as u64), groups }.header();
        header.extend([self.watermark_ms.cast_unsigned(), self.now_ms.cast_unsigned()]);
        header.push(self.fired_count);
        self.ages.save(&mut header);
        for panes in [&self.panes, &self.running] {
            header.push(panes.len() as u64);
            for (&end_ms, pane) in panes {
                header.push(end_ms.cast_unsigned());
                pane.save(&mut header);
            }
        }
        header.push(self.pending.len() as u64);
        header.extend(self.pending.iter().map(|end_ms| end_ms.cast_unsigned()));
        self.pages.seal(header)
    }

    fn acknowledge(&mut self) {
        self.pages.acknowledge();
    }

    fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        let shape = Arc::clone(&self.shape);
        let flags_at = self.yields_increments().then(|| self.touched_at());
        let slices = std::mem::take(&mut self.panes).into_iter();
        let slices = slices.map(|(end, pane)| (MovedPart::Slice(end), pane, flags_at));
        let running = std::mem::take(&mut self.running).into_iter();
        let running = running.map(|(start, pane)| (MovedPart::Running(start), pane, None));
        for (part, slice, flags_at) in slices.chain(running) {
            slice.give(&shape, &mut self.pages, part, flags_at, to);
        }
    }

    fn adopt(&mut self, moved: Moved) {
        let divided = matches!(self.stage, Stage::First(_)) && !self.yields_increments();
        let may_wait = !self.yields_increments();
        let (shape, groups_max) = (Arc::clone(&self.shape), self.folded_groups_max);
        let slice = match moved.part {
            MovedPart::Slice(end) => {
                self.open(end);
                self.panes.get_mut(&end).expect("opened above")
            }
            MovedPart::Running(start) => self
                .running
                .entry(start)
                .or_insert_with(|| Slice::new(&shape, shape.layout.word_count)),
            _ => unreachable!("windows that fire once have slices"),
        };
        slice.settle(&shape, &mut self.pages, &mut self.key_numbers);
        slice.adopt(&shape, &mut self.pages, &moved, divided);
        if may_wait {
            slice.have_wait(&shape, &mut self.pages, &mut self.key_numbers, groups_max);
        }
        self.may_wait |= slice.waits();
    }

    fn standing(&self) -> Standing {
        Standing {
            watermark_ms: self.watermark_ms,
            now_ms: self.now_ms,
            pending: self.pending.iter().copied().collect(),
            fired_count: self.fired_count,
            late: LateRows::default(),
            ages: self.ages.clone(),
        }
    }

    fn stand(&mut self, standing: &Standing) {
        (self.watermark_ms, self.now_ms) = (standing.watermark_ms, standing.now_ms);
        self.pending.extend(&standing.pending);
        self.fired_count += standing.fired_count;
        self.ages.join(&standing.ages);
    }
}
