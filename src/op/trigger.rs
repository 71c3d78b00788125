//! The owner of groups in windows that fire more than once: early, at the end, for late rows.
//!
//! What a group last showed is kept beside its accumulators, so that a firing can take it back, and says
//! nothing when nothing changed (as Flink's `-U`/`+U` pairs do).
//!
//! # A slot
//!
//! ```text
//! accumulators │ accumulators as last shown │ flags: 1 shown, 2 changed since; from bit 2 on: next changed slot + 1
//! ```
//!
//! # Invariants
//!
//! 1. For one group, changes come in the order of their rows, and a `-U` repeats the row it takes back.
//! 2. The firing at a window's end comes before any change by a row that arrived after it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};

use super::ages::Ages;
use super::moving::{Moved, MovedPart, Standing};
use super::pane::{Pane, TableSlots, with_window};
use super::shape::Shape;
use super::window_aggregate::{clear_slot, runs_by_end, ticked};
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_START};
use crate::agg;
use crate::batch::{BATCH_ROWS_MAX, Batch, Keys, RowKind, take_columns};
use crate::state::{Pages, Saved, Sealed};
use crate::window::{Emit, EmitClock, EmitMode, Slices, WallTime, WindowSpec};

const SHOWN: u64 = 1;
pub(super) const CHANGED: u64 = 2;
/// Where the next changed slot begins in the flags.
const NEXT_SHIFT: u32 = 2;

/// The receiving half of a windowed aggregation with triggers. Entries name windows by their end.
pub struct Trigger {
    shape: Arc<Shape>,
    emit: Emit,
    starts: Slices,
    wall: WallTime,
    instant_time: bool,
    pages: Pages,
    ages: Ages,
    windows: BTreeMap<i64, Window>,
    watermark_ms: i64,
    now_ms: i64,
    ready: VecDeque<Output>,
    /// Windows that are being read out, by their ends.
    due: VecDeque<Due>,
    fired_count: u64,
}

/// A window that fires now.
struct Due {
    end_ms: i64,
    /// It fires because it ends.
    ends: bool,
    /// Its state is dropped after that.
    is_over: bool,
}

struct Window {
    pane: Pane,
    /// The first and the last slot with the `CHANGED` flag, each + 1, in order of their first change; 0: none.
    changed: (u32, u32),
    /// It has fired at its end.
    ended: bool,
}

impl Trigger {
    /// An owner of groups of `shape` in `window`.
    pub fn new(
        shape: Arc<Shape>,
        window: &WindowSpec,
        instant_time: bool,
        emit: Emit,
        pages: Pages,
    ) -> Self {
        Self {
            ages: Ages::new(shape.calls.len()),
            shape,
            emit,
            starts: Slices::new(window.kind),
            wall: WallTime::new(window.time_zone),
            instant_time,
            pages,
            windows: BTreeMap::new(),
            watermark_ms: WATERMARK_START,
            now_ms: i64::MIN,
            ready: VecDeque::new(),
            due: VecDeque::new(),
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
        for _ in 0..saved.word() {
            let (end_ms, ended, changed) = (saved.signed(), saved.word() != 0, saved.pair());
            let pane = Pane::load(&self.shape, self.flags_at() + 1, saved, &self.pages);
            self.windows.insert(end_ms, Window { pane, changed, ended });
        }
        self
    }

    fn flags_at(&self) -> usize {
        2 * self.shape.layout.word_count
    }

    fn take_window(&mut self, end_ms: i64) -> Window {
        let words = self.flags_at() + 1;
        self.windows.remove(&end_ms).unwrap_or_else(|| Window {
            pane: Pane::new(&self.shape, words),
            changed: (0, 0),
            ended: false,
        })
    }

    fn mark_changed(&mut self, window: &mut Window, slot: u32) {
        let flags_at = self.flags_at();
        if window.pane.table.words(&self.pages, slot)[flags_at] & CHANGED != 0 {
            return;
        }
        window.pane.table.words_mut(&mut self.pages, slot)[flags_at] |= CHANGED;
        match window.changed.1 {
            0 => window.changed.0 = slot + 1,
            last => {
                let last = window.pane.table.words_mut(&mut self.pages, last - 1);
                last[flags_at] |= u64::from(slot + 1) << NEXT_SHIFT;
            }
        }
        window.changed.1 = slot + 1;
    }

    /// Takes at most `count_max` slots off the front of the changed.
    fn take_changed(&mut self, window: &mut Window, count_max: usize) -> Vec<u32> {
        let mut slots = Vec::new();
        let flags_at = self.flags_at();
        while window.changed.0 != 0 && slots.len() < count_max {
            let slot = window.changed.0 - 1;
            let flags = &mut window.pane.table.words_mut(&mut self.pages, slot)[flags_at];
            window.changed.0 = (*flags >> NEXT_SHIFT) as u32;
            *flags &= SHOWN | CHANGED;
            slots.push(slot);
        }
        if window.changed.0 == 0 {
            window.changed.1 = 0;
        }
        slots
    }

    fn receive_partials(&mut self, payload: &Payload, partials: &crate::agg::Partials) {
        let shape = Arc::clone(&self.shape);
        for (end, rows) in runs_by_end(&payload.ends_ms) {
            let mut window = self.take_window(end);
            for row in rows {
                let index = row as usize;
                let slot = window.pane.slot(
                    &mut self.pages,
                    payload.keys.hashes[index],
                    payload.keys.get(index),
                );
                window.pane.merge(&shape, &mut self.pages, slot, partials, index);
                self.mark_changed(&mut window, slot);
            }
            self.windows.insert(end, window);
        }
    }

    /// Rows are taken in runs in which no group occurs twice, so that each row's change can be shown by itself
    /// and yet a run is one pass of the kernels.
    fn receive_rows(&mut self, payload: &Payload, columns: &[ArrayRef]) {
        for (end, rows) in runs_by_end(&payload.ends_ms) {
            let mut window = self.take_window(end);
            let slots: Vec<u32> = rows
                .iter()
                .map(|&row| {
                    let index = row as usize;
                    window.pane.slot(
                        &mut self.pages,
                        payload.keys.hashes[index],
                        payload.keys.get(index),
                    )
                })
                .collect();
            let mut start = 0;
            while start < rows.len() {
                let late = self.is_after_end(end, payload.arrival_ms[rows[start] as usize]);
                let at_once = self.fires_at_once(late);
                let stop = self.run_end(end, payload, &rows, &slots, start, late, at_once);
                self.take_run(
                    &mut window,
                    end,
                    late,
                    at_once,
                    &rows[start..stop],
                    &slots[start..stop],
                    columns,
                );
                start = stop;
            }
            self.windows.insert(end, window);
        }
    }

    fn is_after_end(&self, end_ms: i64, watermark_ms: i64) -> bool {
        self.wall.instant_of(end_ms - 1) <= watermark_ms
    }

    fn fires_at_once(&self, late: bool) -> bool {
        (if late { self.emit.late_delay_ms } else { self.emit.early_delay_ms }) == Some(0)
    }

    #[allow(clippy::too_many_arguments)]
    fn run_end(
        &self,
        end_ms: i64,
        payload: &Payload,
        rows: &[u32],
        slots: &[u32],
        start: usize,
        late: bool,
        at_once: bool,
    ) -> usize {
        let mut seen = std::collections::HashSet::new();
        let same = |index: &usize| {
            self.is_after_end(end_ms, payload.arrival_ms[rows[*index] as usize]) == late
                && (!at_once || seen.insert(slots[*index]))
        };
        start + (start..rows.len()).take_while(same).count()
    }

    #[allow(clippy::too_many_arguments)]
    fn take_run(
        &mut self,
        window: &mut Window,
        end_ms: i64,
        late: bool,
        at_once: bool,
        rows: &[u32],
        slots: &[u32],
        columns: &[ArrayRef],
    ) {
        if late && !window.ended {
            self.show_changed(window, end_ms);
            window.ended = true;
            self.fired_count += 1;
        }
        let rows = UInt32Array::from(rows.to_vec());
        let columns = take_columns(columns, &rows);
        let shape = Arc::clone(&self.shape);
        window.pane.update(&shape, &mut self.pages, slots, &columns);
        for &slot in slots {
            self.mark_changed(window, slot);
        }
        if at_once {
            self.show_changed(window, end_ms);
        }
    }

    /// Fires all groups that changed since they were last shown.
    fn show_changed(&mut self, window: &mut Window, end_ms: i64) {
        while window.changed.0 != 0 {
            self.show_some(window, end_ms);
        }
    }

    /// Fires a batch of the groups that changed since they were last shown.
    fn show_some(&mut self, window: &mut Window, end_ms: i64) {
        let shape = Arc::clone(&self.shape);
        window.pane.flush(&shape, &mut self.pages);
        let slots = self.take_changed(window, BATCH_ROWS_MAX / 2);
        let batch = self.changes(window, end_ms, &slots);
        if batch.rows > 0 {
            self.ready.push_back(Output::Rows(batch));
        }
        for slot in slots {
            self.note_shown(window, slot);
        }
    }

    /// Reads out one more batch of the windows that are due.
    fn fire_some(&mut self) {
        let Some(due) = self.due.front() else { return };
        let (end_ms, ends, is_over) = (due.end_ms, due.ends, due.is_over);
        let mut window = self.take_window(end_ms);
        self.show_some(&mut window, end_ms);
        if window.changed.0 != 0 {
            self.windows.insert(end_ms, window);
            return;
        }
        self.due.pop_front();
        if ends {
            window.ended = true;
            self.fired_count += 1;
        }
        match is_over {
            true => window.pane.release(&mut self.pages),
            false => drop(self.windows.insert(end_ms, window)),
        }
    }

    fn changes(&mut self, window: &mut Window, end_ms: i64, slots: &[u32]) -> Batch {
        let shape = Arc::clone(&self.shape);
        let key_count = shape.keys.len();
        let mut new = window.pane.results(&shape, 0, &mut self.pages, slots);
        let mut old = window.pane.results(&shape, shape.layout.word_count, &mut self.pages, slots);
        for columns in [&mut new, &mut old] {
            self.ages.blank(&mut columns[key_count..], self.ages.of_window(end_ms));
        }
        let (mut new_bytes, mut old_bytes) = (Keys::default(), Keys::default());
        new_bytes.encode(&new[key_count..], slots.len());
        old_bytes.encode(&old[key_count..], slots.len());
        let (mut kinds, mut picks) = (Vec::new(), Vec::new());
        for (row, &slot) in slots.iter().enumerate() {
            let shown = window.pane.table.words(&self.pages, slot)[self.flags_at()] & SHOWN != 0;
            let same = new_bytes.get(row) == old_bytes.get(row);
            match (self.emit.mode, shown) {
                (EmitMode::Discarding, _) | (_, false) => {
                    kinds.push(RowKind::Insert);
                    picks.push((1, row));
                }
                _ if same => {}
                (EmitMode::Retracting, true) => {
                    kinds.extend([RowKind::UpdateBefore, RowKind::UpdateAfter]);
                    picks.extend([(0, row), (1, row)]);
                }
                (EmitMode::Accumulating, true) => {
                    kinds.push(RowKind::UpdateAfter);
                    picks.push((1, row));
                }
            }
        }
        let pair = |(old, new): (&ArrayRef, &ArrayRef)| {
            arrow_select::interleave::interleave(&[old.as_ref(), new.as_ref()], &picks)
                .expect("of one type")
        };
        let columns: Vec<ArrayRef> = old.iter().zip(&new).map(pair).collect();
        let time_ms = self.wall.rowtime_of(end_ms - 1, self.instant_time);
        let batch = with_window(
            &shape,
            columns,
            picks.len(),
            self.starts.window_start(end_ms),
            end_ms,
            time_ms,
        );
        batch.with_kinds(kinds.into())
    }

    /// Remembers what the group shows now.
    fn note_shown(&mut self, window: &mut Window, slot: u32) {
        let (count, flags_at) = (self.shape.layout.word_count, self.flags_at());
        if self.emit.mode == EmitMode::Discarding {
            let shape = Arc::clone(&self.shape);
            clear_slot(&shape, &mut window.pane, &mut self.pages, slot);
        } else {
            let mut table = TableSlots { pages: &mut self.pages, table: &mut window.pane.table };
            agg::copy(&self.shape.layout, 0, count, &mut table, slot);
        }
        let flags = &mut window.pane.table.words_mut(&mut self.pages, slot)[flags_at];
        *flags = (*flags | SHOWN) & !CHANGED;
    }

    fn is_due(
        &self,
        delay_ms: Option<i64>,
        clock: EmitClock,
        watermark_ms: i64,
        now_ms: i64,
    ) -> bool {
        delay_ms.is_some_and(|delay| match clock {
            EmitClock::Event => ticked(self.watermark_ms, watermark_ms, delay),
            EmitClock::Processing => ticked(self.now_ms, now_ms, delay),
        })
    }
}

impl Receiver for Trigger {
    fn receive(&mut self, payload: Payload) {
        match &payload.data {
            Data::Partials(partials) => self.receive_partials(&payload, partials),
            Data::Rows(columns) => self.receive_rows(&payload, columns),
            Data::Grouped(_) => unreachable!("distinct values have an owner of their own"),
            Data::Packed(..) => unreachable!("only what fires once has rows wait"),
        }
    }

    fn advance(&mut self, watermark_ms: i64, now_ms: i64) {
        let watermark_ms = watermark_ms.max(self.watermark_ms);
        let early =
            self.is_due(self.emit.early_delay_ms, self.emit.early_clock, watermark_ms, now_ms);
        let late =
            self.is_due(self.emit.late_delay_ms, EmitClock::Processing, watermark_ms, now_ms);
        let lateness_ms = self.emit.late_delay_ms.map_or(0, |_| self.emit.allow_lateness_ms);
        let (wall, fired_ms) = (&self.wall, self.watermark_ms);
        let over_ms = |end_ms: i64| wall.instant_of(end_ms - 1).saturating_add(lateness_ms);
        self.ages.forget(|end_ms| over_ms(end_ms) <= fired_ms);
        for (&end_ms, window) in &self.windows {
            let fires = self.wall.instant_of(end_ms - 1);
            let ends = !window.ended && fires <= watermark_ms;
            let is_over = fires.saturating_add(lateness_ms) <= watermark_ms;
            if ends || is_over || (if window.ended { late } else { early }) {
                self.due.push_back(Due { end_ms, ends, is_over });
            }
        }
        (self.watermark_ms, self.now_ms) = (watermark_ms, now_ms);
    }

    fn next_output(&mut self) -> Option<Output> {
        while self.ready.is_empty() && !self.due.is_empty() {
            self.fire_some();
        }
        self.ready.pop_front()
    }

    fn fired_count(&self) -> u64 {
        self.fired_count
    }

    fn state_bytes(&self) -> usize {
        self.pages.state_bytes()
    }

    fn seal(&mut self) -> Sealed {
        assert!(self.ready.is_empty() && self.due.is_empty());
        let panes = self.windows.values().map(|window| &window.pane);
        let groups = panes.map(|pane| pane.table.count() as u64).sum();
        let window_count = self.windows.len() as u64;
        let mut header = Census { windows: Some(window_count), groups }.header();
        header.extend([self.watermark_ms.cast_unsigned(), self.now_ms.cast_unsigned()]);
        header.push(self.fired_count);
        self.ages.save(&mut header);
        header.push(window_count);
        for (&end_ms, window) in &self.windows {
            let (first, last) = window.changed;
            header.extend([
                end_ms.cast_unsigned(),
                u64::from(window.ended),
                u64::from(first) | u64::from(last) << 32,
            ]);
            window.pane.save(&mut header);
        }
        self.pages.seal(header)
    }

    fn acknowledge(&mut self) {
        self.pages.acknowledge();
    }

    fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        let shape = Arc::clone(&self.shape);
        let (shown_at, flags_at) = (Some(shape.layout.word_count), Some(self.flags_at()));
        for (end_ms, mut window) in std::mem::take(&mut self.windows) {
            window.pane.flush(&shape, &mut self.pages);
            let part = MovedPart::Window(end_ms, window.ended);
            for slot in 0..window.pane.table.slot_end() {
                let pages = &mut self.pages;
                to(window.pane.give(&shape, pages, slot, part, shown_at, flags_at));
            }
        }
    }

    fn adopt(&mut self, moved: Moved) {
        let MovedPart::Window(end_ms, ended) = moved.part else {
            unreachable!("windows with triggers have no slices")
        };
        let shape = Arc::clone(&self.shape);
        let mut window = self.take_window(end_ms);
        window.ended |= ended;
        let shown_at = Some(shape.layout.word_count);
        let slot = window.pane.adopt(&shape, &mut self.pages, &moved, shown_at);
        let flags_at = self.flags_at();
        window.pane.table.words_mut(&mut self.pages, slot)[flags_at] |= moved.flags & SHOWN;
        if moved.flags & CHANGED != 0 {
            self.mark_changed(&mut window, slot);
        }
        self.windows.insert(end_ms, window);
    }

    fn standing(&self) -> Standing {
        Standing {
            watermark_ms: self.watermark_ms,
            now_ms: self.now_ms,
            pending: self.windows.keys().copied().collect(),
            fired_count: self.fired_count,
            ages: self.ages.clone(),
            ..Standing::default()
        }
    }

    fn stand(&mut self, standing: &Standing) {
        (self.watermark_ms, self.now_ms) = (standing.watermark_ms, standing.now_ms);
        self.fired_count += standing.fired_count;
        self.ages.join(&standing.ages);
    }
}
