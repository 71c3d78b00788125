//! The owner of global windows: one window a key for ever, shown when a trigger says so.
//!
//! A payload is worked on in runs in which no group is shown twice and event time passes no tick, so that a run is one pass of the
//! kernels; what a run yields is read out before the next one, so a firing of many groups is never held in memory as a whole.
//!
//! # A group
//!
//! ```text
//! rows │ least time │ greatest time │ age │ rows since it last fired by rows │ flags │ accumulators … │ span as last shown │ accumulators as last shown …
//! flags: 1 shown, 2 changed since, 4 listed; from bit 3 on: next listed group + 1
//! ```
//!
//! What was last shown is kept where a later firing takes it back or adds to it. Firings by time show the *listed*: those that have
//! changed since the last of them, and some that have been shown by rows since.
//!
//! # Invariants
//!
//! 1. For one group, changes come in the order of their rows, and a `-U` repeats the row it takes back.
//! 2. A changed group is listed, if anything fires by time. A listed group is not removed before the list is read.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};

use super::ages::Ages;
use super::distinct::SessionSets;
use super::moving::{Moved, MovedPart, Standing};
use super::pane::{TableSlots, merge_at, update_calls};
use super::row_span::{RowSpan, window_columns};
use super::shape::Shape;
use super::window_aggregate::ticked;
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_END, WATERMARK_START};
use crate::agg::{self, Partials};
use crate::batch::{BATCH_ROWS_MAX, Batch, Keys, RowKind, take_columns};
use crate::state::{Pages, Saved, Sealed, Table};
use crate::window::{Emit, EmitClock, EmitMode, WallTime, WindowKind, WindowSpec};

const AGE: usize = RowSpan::WORDS;
const SINCE: usize = AGE + 1;
const FLAGS: usize = SINCE + 1;
/// Where the accumulators begin.
const BASE: usize = FLAGS + 1;

const SHOWN: u64 = 1;
const CHANGED: u64 = 2;
const LISTED: u64 = 4;
/// Where the next listed group begins in the flags.
const NEXT_SHIFT: u32 = 3;

/// The receiving half of an aggregation over global windows.
pub struct GlobalWindow {
    shape: Arc<Shape>,
    when: When,
    wall: WallTime,
    instant_time: bool,
    pages: Pages,
    ages: Ages,
    groups: Table,
    sets: SessionSets,
    /// The first and the last listed group, each + 1; 0: none.
    listed: (u32, u32),
    /// The list is being read out.
    sweeping: bool,
    /// What is being worked on.
    work: Option<Work>,
    ready: VecDeque<Output>,
    watermark_ms: i64,
    now_ms: i64,
    fired_count: u64,
}

/// When a group is shown, and what.
#[derive(Clone, Copy, Debug)]
struct When {
    every_rows: Option<u64>,
    /// Multiples of it in event time.
    event_delay_ms: Option<i64>,
    /// Multiples of it on the clock.
    clock_delay_ms: Option<i64>,
    at_end: bool,
    purges: bool,
    mode: EmitMode,
}

/// A payload, and how far it has been worked on.
struct Work {
    keys: Keys,
    times_ms: Vec<i64>,
    arrival_ms: Vec<i64>,
    columns: Vec<ArrayRef>,
    next_row: usize,
}

/// Rows that are folded together.
#[derive(Default)]
struct Run {
    slots: Vec<u32>,
    /// Groups that their last row fires, with the watermark when it came.
    fired: Vec<(u32, i64)>,
}

impl When {
    fn new(kind: WindowKind, emit: Emit) -> Self {
        let WindowKind::Global { every_rows, at_end, purges } = kind else {
            panic!("not a global window")
        };
        let delay = |clock| emit.early_delay_ms.filter(|&ms| ms > 0 && emit.early_clock == clock);
        Self {
            every_rows: if emit.early_delay_ms == Some(0) { Some(1) } else { every_rows },
            event_delay_ms: delay(EmitClock::Event),
            clock_delay_ms: delay(EmitClock::Processing),
            at_end,
            purges,
            mode: emit.mode,
        }
    }

    /// Whether anything but a row fires.
    fn by_time(&self) -> bool {
        self.event_delay_ms.is_some() || self.clock_delay_ms.is_some() || self.at_end
    }

    /// Whether later firings need to know what a group has shown.
    fn keeps_shown(&self) -> bool {
        !self.purges && self.mode != EmitMode::Discarding
    }

    /// Whether event time passes a tick.
    fn ticks(&self, before_ms: i64, after_ms: i64) -> bool {
        self.event_delay_ms.is_some_and(|delay| ticked(before_ms, after_ms, delay))
    }
}

impl GlobalWindow {
    /// An owner of global windows over groups of `shape`.
    ///
    /// # Panics
    ///
    /// If the window is no global window.
    pub fn new(
        shape: Arc<Shape>,
        window: &WindowSpec,
        instant_time: bool,
        emit: Emit,
        pages: Pages,
    ) -> Self {
        let when = When::new(window.kind, emit);
        Self {
            wall: WallTime::new(window.time_zone),
            instant_time,
            pages,
            ages: Ages::new(shape.calls.len()),
            groups: Table::new(group_words(&shape, &when)),
            sets: SessionSets::new(&shape),
            listed: (0, 0),
            sweeping: false,
            work: None,
            ready: VecDeque::new(),
            watermark_ms: WATERMARK_START,
            now_ms: i64::MIN,
            fired_count: 0,
            shape,
            when,
        }
    }

    /// Goes on from what [`Receiver::seal`] saved.
    #[must_use]
    pub fn restored(mut self, saved: &mut Saved<'_>) -> Self {
        saved.words(Census::WORDS);
        (self.watermark_ms, self.now_ms) = (saved.signed(), saved.signed());
        self.fired_count = saved.word();
        self.listed = saved.pair();
        self.ages = Ages::load(saved);
        self.groups = Table::load(group_words(&self.shape, &self.when), saved, &self.pages);
        self.sets = SessionSets::load(&self.shape, saved, &self.pages);
        self
    }

    /// Where the span as last shown begins, and behind it the accumulators.
    fn shown_at(&self) -> usize {
        BASE + self.shape.layout.word_count
    }

    fn words(&self, slot: u32) -> &[u64] {
        self.groups.words(&self.pages, slot)
    }

    fn words_mut(&mut self, slot: u32) -> &mut [u64] {
        self.groups.words_mut(&mut self.pages, slot)
    }

    /// The group of a key, made if need be.
    fn group(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (slot, made) = self.groups.upsert(&mut self.pages, hash, key);
        if made {
            self.sets.ensure(&mut self.pages, slot);
            self.words_mut(slot)[AGE] = self.ages.generation();
        }
        slot
    }

    fn mark_changed(&mut self, slot: u32) {
        let flags = self.words(slot)[FLAGS];
        let listed = if self.when.by_time() { LISTED } else { 0 };
        if flags & (CHANGED | LISTED) == CHANGED | listed {
            return;
        }
        self.words_mut(slot)[FLAGS] |= CHANGED | listed;
        if flags & LISTED == listed {
            return;
        }
        match self.listed.1 {
            0 => self.listed.0 = slot + 1,
            last => self.words_mut(last - 1)[FLAGS] |= u64::from(slot + 1) << NEXT_SHIFT,
        }
        self.listed.1 = slot + 1;
    }

    /// Takes at most `count_max` groups off the front of the list; those that have changed.
    fn take_listed(&mut self, count_max: usize) -> Vec<u32> {
        let mut slots = Vec::new();
        while self.listed.0 != 0 && slots.len() < count_max {
            let slot = self.listed.0 - 1;
            let flags = &mut self.words_mut(slot)[FLAGS];
            let next = (*flags >> NEXT_SHIFT) as u32;
            *flags &= SHOWN | CHANGED;
            let is_changed = *flags & CHANGED != 0;
            self.listed.0 = next;
            match is_changed {
                true => slots.push(slot),
                false if self.when.purges => self.remove(slot),
                false => {}
            }
        }
        if self.listed.0 == 0 {
            self.listed.1 = 0;
        }
        slots
    }

    /// One step of what is to be done; `false` if nothing is.
    fn work_some(&mut self) -> bool {
        if self.sweeping {
            let slots = self.take_listed(BATCH_ROWS_MAX / 2);
            self.sweeping = self.listed.0 != 0;
            self.show(&slots, None);
            return true;
        }
        let Some(mut work) = self.work.take() else { return false };
        let first = work.next_row;
        if first == work.times_ms.len() {
            self.sets.compact(&mut self.pages);
            return false;
        }
        let arrival_ms = work.arrival_ms[first];
        if self.when.ticks(self.watermark_ms, arrival_ms) {
            self.watermark_ms = arrival_ms;
            self.sweeping = true;
        } else {
            let run = self.run(&mut work);
            self.fold(&work, first, &run);
            let (fired, arrival_ms): (Vec<u32>, Vec<i64>) = run.fired.into_iter().unzip();
            self.show(&fired, Some(arrival_ms));
        }
        self.work = Some(work);
        true
    }

    /// The rows from the next one on that can be folded together.
    fn run(&mut self, work: &mut Work) -> Run {
        let mut run = Run::default();
        let mut fired = HashSet::new();
        for row in work.next_row..work.times_ms.len() {
            let arrival_ms = work.arrival_ms[row];
            if self.when.ticks(self.watermark_ms, arrival_ms) {
                break;
            }
            let slot = self.group(work.keys.hashes[row], work.keys.get(row));
            if fired.contains(&slot) {
                break;
            }
            self.watermark_ms = self.watermark_ms.max(arrival_ms);
            let words = self.groups.words_mut(&mut self.pages, slot);
            RowSpan::load(words).with(work.times_ms[row]).store(words);
            words[SINCE] += 1;
            if Some(words[SINCE]) == self.when.every_rows {
                words[SINCE] = 0;
                fired.insert(slot);
                run.fired.push((slot, arrival_ms));
            }
            run.slots.push(slot);
            self.mark_changed(slot);
        }
        work.next_row += run.slots.len();
        run
    }

    fn fold(&mut self, work: &Work, first: usize, run: &Run) {
        let count = run.slots.len();
        let taken: Vec<ArrayRef> = match count == work.times_ms.len() {
            true => work.columns.clone(),
            false => {
                let rows = UInt32Array::from_iter_values(first as u32..(first + count) as u32);
                take_columns(&work.columns, &rows)
            }
        };
        let shape = Arc::clone(&self.shape);
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.groups };
        update_calls(&shape, BASE, &mut slots, &run.slots, &taken);
        self.sets.insert(&shape, BASE, &mut self.pages, &mut self.groups, &run.slots, &taken);
    }

    /// Shows groups that have changed; `arrival_ms`: by a row of each, at these watermarks.
    fn show(&mut self, slots: &[u32], arrival_ms: Option<Vec<i64>>) {
        if slots.is_empty() {
            return;
        }
        let shape = Arc::clone(&self.shape);
        self.sets.flush(&shape, BASE, &mut self.pages, &mut self.groups);
        let (columns, kinds) = match self.when.keeps_shown() {
            true => self.changes(slots),
            false => (self.results(slots, 0, BASE), vec![RowKind::Insert; slots.len()]),
        };
        if !kinds.is_empty() {
            let mut batch = Batch::new(columns, kinds.len());
            if self.when.keeps_shown() {
                batch = batch.with_kinds(kinds.into());
            } else {
                batch.arrival_ms = arrival_ms.map(Into::into);
            }
            self.ready.push_back(Output::Rows(batch));
        }
        self.fired_count += slots.len() as u64;
        for &slot in slots {
            match (self.when.purges, self.when.mode) {
                (true, _) => self.purge(slot),
                (false, EmitMode::Discarding) => {
                    self.clear(slot);
                    self.words_mut(slot)[FLAGS] &= !CHANGED;
                }
                (false, _) => self.note_shown(slot),
            }
        }
    }

    /// Result rows of groups, of what lies in their spans and accumulators or in what these last showed.
    fn results(&mut self, slots: &[u32], span_at: usize, base: usize) -> Vec<ArrayRef> {
        let shape = Arc::clone(&self.shape);
        let keys = slots.iter().map(|&slot| self.groups.key(&self.pages, slot));
        let mut columns = Keys::decode(&shape.key_types, keys);
        let table = TableSlots { pages: &mut self.pages, table: &mut self.groups };
        for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
            columns.push(agg::finish(call, base + offset, &table, slots));
        }
        let ages: Vec<u64> = slots.iter().map(|&slot| self.words(slot)[AGE]).collect();
        self.ages.blank_rows(&mut columns[shape.keys.len()..], &ages);
        let spans: Vec<RowSpan> =
            slots.iter().map(|&slot| RowSpan::load(&self.words(slot)[span_at..])).collect();
        columns.extend(window_columns(&spans, &self.wall, self.instant_time));
        columns
    }

    /// The changes that bring whoever has seen what groups last showed up to date.
    fn changes(&mut self, slots: &[u32]) -> (Vec<ArrayRef>, Vec<RowKind>) {
        let shown_at = self.shown_at();
        let new = self.results(slots, 0, BASE);
        let old = self.results(slots, shown_at, shown_at + RowSpan::WORDS);
        let (mut new_bytes, mut old_bytes) = (Keys::default(), Keys::default());
        new_bytes.encode(&new, slots.len());
        old_bytes.encode(&old, slots.len());
        let (mut kinds, mut picks) = (Vec::new(), Vec::new());
        for (row, &slot) in slots.iter().enumerate() {
            if self.words(slot)[FLAGS] & SHOWN == 0 {
                kinds.push(RowKind::Insert);
            } else if new_bytes.get(row) == old_bytes.get(row) {
                continue;
            } else {
                if self.when.mode == EmitMode::Retracting {
                    kinds.push(RowKind::UpdateBefore);
                    picks.push((0, row));
                }
                kinds.push(RowKind::UpdateAfter);
            }
            picks.push((1, row));
        }
        let pair = |(old, new): (&ArrayRef, &ArrayRef)| {
            arrow_select::interleave::interleave(&[old.as_ref(), new.as_ref()], &picks)
                .expect("of one type")
        };
        (old.iter().zip(&new).map(pair).collect(), kinds)
    }

    /// Remembers what the group shows now.
    fn note_shown(&mut self, slot: u32) {
        let shown_at = self.shown_at();
        let mut table = TableSlots { pages: &mut self.pages, table: &mut self.groups };
        agg::copy(&self.shape.layout, BASE, shown_at + RowSpan::WORDS, &mut table, slot);
        let words = self.words_mut(slot);
        words.copy_within(..RowSpan::WORDS, shown_at);
        words[FLAGS] = (words[FLAGS] | SHOWN) & !CHANGED;
    }

    /// Forgets a group. A listed one goes when the list is read.
    fn purge(&mut self, slot: u32) {
        self.clear(slot);
        self.sets.clear_set(&mut self.pages, slot);
        let words = self.words_mut(slot);
        words[SINCE] = 0;
        words[FLAGS] &= !CHANGED;
        if words[FLAGS] & LISTED == 0 {
            self.remove(slot);
        }
    }

    /// Removes a group that has been purged.
    fn remove(&mut self, slot: u32) {
        self.groups.remove(&mut self.pages, slot);
    }

    /// Empties a group's accumulators and its span; what comes is of this generation.
    fn clear(&mut self, slot: u32) {
        for &word in &self.shape.layout.blob_words {
            let blob = self.groups.words(&self.pages, slot)[BASE + word];
            if blob != 0 {
                self.groups.heap_mut().remove(&mut self.pages, blob);
            }
        }
        let (count, generation) = (self.shape.layout.word_count, self.ages.generation());
        let words = self.words_mut(slot);
        words[AGE] = generation;
        words[..RowSpan::WORDS].fill(0);
        words[BASE..BASE + count].fill(0);
    }
}

/// Words of a group.
fn group_words(shape: &Shape, when: &When) -> usize {
    let count = shape.layout.word_count;
    BASE + count + if when.keeps_shown() { RowSpan::WORDS + count } else { 0 }
}

impl Receiver for GlobalWindow {
    fn receive(&mut self, payload: Payload) {
        assert!(self.work.is_none() && !self.sweeping, "the last payload was not read out");
        let Data::Rows(columns) = payload.data else { unreachable!("global windows receive rows") };
        let mut times_ms = payload.ends_ms;
        self.wall.localise(&mut times_ms);
        let (keys, arrival_ms) = (payload.keys, payload.arrival_ms);
        self.work = Some(Work { keys, times_ms, arrival_ms, columns, next_row: 0 });
    }

    fn advance(&mut self, watermark_ms: i64, now_ms: i64) {
        assert!(self.work.is_none() && !self.sweeping, "the last payload was not read out");
        let watermark_ms = watermark_ms.max(self.watermark_ms);
        let clock = self.when.clock_delay_ms;
        self.sweeping = self.when.ticks(self.watermark_ms, watermark_ms)
            || clock.is_some_and(|delay| ticked(self.now_ms, now_ms, delay))
            || (self.when.at_end && watermark_ms == WATERMARK_END);
        (self.watermark_ms, self.now_ms) = (watermark_ms, now_ms);
    }

    fn next_output(&mut self) -> Option<Output> {
        while self.ready.is_empty() && self.work_some() {}
        self.ready.pop_front()
    }

    fn fired_count(&self) -> u64 {
        self.fired_count
    }

    fn state_bytes(&self) -> usize {
        self.pages.state_bytes()
    }

    fn seal(&mut self) -> Sealed {
        assert!(self.work.is_none() && !self.sweeping && self.ready.is_empty());
        let groups = self.groups.count() as u64;
        let mut header = Census { windows: Some(groups), groups }.header();
        header.extend([self.watermark_ms.cast_unsigned(), self.now_ms.cast_unsigned()]);
        header.push(self.fired_count);
        header.push(u64::from(self.listed.0) | u64::from(self.listed.1) << 32);
        self.ages.save(&mut header);
        self.groups.save(&mut header);
        self.sets.save(&mut header);
        self.pages.seal(header)
    }

    fn acknowledge(&mut self) {
        self.pages.acknowledge();
    }

    fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        let shape = Arc::clone(&self.shape);
        self.sets.flush(&shape, BASE, &mut self.pages, &mut self.groups);
        let shown_at = self.when.keeps_shown().then(|| self.shown_at());
        for slot in self.groups.live_slots(&self.pages) {
            let words = self.groups.words(&self.pages, slot);
            let shown_span = shown_at.map_or(RowSpan::default(), |at| RowSpan::load(&words[at..]));
            let part = MovedPart::Forever(words[SINCE], RowSpan::load(words), shown_span);
            let (flags, age) = (words[FLAGS] & (SHOWN | CHANGED), words[AGE]);
            let hash = self.groups.hash(&self.pages, slot);
            let key = self.groups.key(&self.pages, slot).to_vec();
            let values = self.sets.values(&self.pages, slot);
            let table = TableSlots { pages: &mut self.pages, table: &mut self.groups };
            let export = |base| {
                let mut partials = Partials::default();
                agg::export(&shape.layout, base, &table, slot, &mut partials);
                partials
            };
            let accumulators = Some(export(BASE));
            let shown = shown_at.map_or(Partials::default(), |at| export(at + RowSpan::WORDS));
            to(Moved { part, hash, key, accumulators, shown, flags, age, values, named: None });
        }
    }

    fn adopt(&mut self, moved: Moved) {
        let MovedPart::Forever(since_rows, span, shown_span) = moved.part else {
            unreachable!("a global window has no end")
        };
        let (shape, shown_at) = (Arc::clone(&self.shape), self.shown_at());
        let slot = self.group(moved.hash, &moved.key);
        let keeps_shown = self.when.keeps_shown();
        let words = self.words_mut(slot);
        span.store(words);
        (words[SINCE], words[FLAGS], words[AGE]) = (since_rows, moved.flags & SHOWN, moved.age);
        let accumulators = moved.accumulators.expect("global windows are not partitioned by value");
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.groups };
        merge_at(&shape, BASE, &mut slots, slot, &accumulators);
        if keeps_shown {
            merge_at(&shape, shown_at + RowSpan::WORDS, &mut slots, slot, &moved.shown);
            shown_span.store(&mut self.words_mut(slot)[shown_at..]);
        }
        self.sets.adopt_values(&mut self.pages, slot, &moved.values);
        if moved.flags & CHANGED != 0 {
            self.mark_changed(slot);
        }
    }

    fn standing(&self) -> Standing {
        Standing {
            watermark_ms: self.watermark_ms,
            now_ms: self.now_ms,
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
