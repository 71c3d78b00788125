//! The owner of session windows: for each key a short list of open intervals, merged as rows arrive.
//!
//! A row joins every open session that its own `[time, time + gap)` overlaps or touches. Whether a
//! session is still open is judged by the watermark at the row's arrival, so rows of one chunk may be taken
//! together and sessions read out at the chunk's end.
//!
//! Most sessions are the only one of their key, and many have one row. So a session is one record, which has its key in it, and is
//! touched when a row comes and when it is over. It lies with those that are over at about the same time, where they are read in order:
//! on a shelf. Where nothing is saved, and many rows come at a time, sessions lie in `bulk` instead, where rows are
//! put to many sessions at once; which is better, `judge` says as they go.
//!
//! # A record's words
//!
//! ```text
//! start │ end │ age │ accumulators …
//! ```
//!
//! Its age is the lowest generation of [`Ages`] that any of its rows came in, or `MERGED`.
//!
//! # Invariants
//!
//! 1. Two open sessions of one key neither overlap nor touch.
//! 2. Every record comes up at its end or earlier; then it is over, or moves to where its end is now. One that was merged into another is in
//!    the list of no key, and waits, empty, until it comes up.
//! 3. A key's records are listed by when they began to be, the youngest first. Of two that are merged the older takes the other in, so
//!    that what goes by the order of rows gets those of sessions that were merged one session after the other.
//! 4. While sessions are in bulk none is on a shelf.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};

use self::bulk::{Bulk, Open};
use self::judge::Judge;
use self::results::by_end;
use super::ages::Ages;
use super::distinct::{SessionSets, blank_distinct};
use super::moving::{Moved, MovedPart, Standing};
use super::pane::{TableSlots, merge_at, update_calls};
use super::shape::Shape;
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_END, WATERMARK_START};
use crate::agg::{self, Partials, Travel, travel};
use crate::batch::{Batch, take_columns};
use crate::metrics::LateRows;
use crate::state::{Chains, KeyWords, Pages, Saved, Sealed, Seat, Taken, WordSlots, key_words};
use crate::window::{WallTime, WindowKind, WindowSpec};

mod bulk;
mod judge;
mod moves;
mod results;
#[cfg(test)]
mod tests;

const HEADER: usize = 3;
const START: usize = 0;
const END: usize = 1;
const AGE: usize = 2;

/// The age of a record that was merged into another.
const MERGED: u64 = u64::MAX;
/// So many rows are folded, and what is over by then read out, before the next are looked up: few enough for their records to be in the
/// cache still.
const BLOCK_ROWS: usize = 2048;

/// Rows that have been assigned to records but not folded yet, and their records.
type Pending = (Vec<u32>, Vec<u32>);

/// The receiving half of a session aggregation.
pub struct Session {
    shape: Arc<Shape>,
    gap_ms: i64,
    wall: WallTime,
    instant_time: bool,
    pages: Pages,
    ages: Ages,
    records: Chains,
    sets: SessionSets,
    /// Sessions are here if there are any; `None`: they are on shelves.
    bulk: Option<Box<Bulk>>,
    /// Where sessions may be in bulk.
    judge: Option<Judge>,
    /// Results are held back.
    holds: bool,
    /// Packed rows that have come to shelves since bulk would have put them to sessions.
    packed_count: usize,
    /// When that would have been, and the time now, as shards tell it.
    looked_at_ms: i64,
    now_ms: i64,
    /// Records that are over, in the order of their ends, and how many of them have been read out.
    due: Vec<u32>,
    read_out: usize,
    /// Shelves that are empty when those have been read out, and whether some of those leave gaps on another.
    emptied: Vec<i64>,
    leave_gaps: bool,
    taken: Taken,
    /// The keys of a block of rows.
    words: Vec<KeyWords>,
    /// Watermarks rise from row to row, so sessions can be read out before the chunk's end.
    in_order: bool,
    /// Results that wait for the chunk's end.
    early: VecDeque<Batch>,
    fires: bool,
    late: LateRows,
    /// Late rows to be handed out.
    late_out: Option<Batch>,
    watermark_ms: i64,
    fired_count: u64,
}

/// How wide shelves of records are: narrow, so that few records are read out at a time, and are in the cache when the next rows take
/// their places.
fn shelf_ms(gap_ms: i64) -> i64 {
    gap_ms / 128
}

/// Shelves without records.
fn shelves(shape: &Shape, gap_ms: i64) -> Chains {
    Chains::new(HEADER + shape.layout.word_count, shelf_ms(gap_ms))
}

impl Session {
    /// An owner of sessions of `shape`.
    ///
    /// # Panics
    ///
    /// If the window is no session window.
    pub fn new(shape: Arc<Shape>, window: &WindowSpec, instant_time: bool, pages: Pages) -> Self {
        let WindowKind::Session { gap_ms } = window.kind else { panic!("not a session window") };
        Self {
            gap_ms,
            wall: WallTime::new(window.time_zone),
            instant_time,
            pages,
            records: shelves(&shape, gap_ms),
            sets: SessionSets::new(&shape),
            bulk: None,
            judge: None,
            holds: false,
            packed_count: 0,
            looked_at_ms: 0,
            now_ms: 0,
            ages: Ages::new(shape.calls.len()),
            shape,
            due: Vec::new(),
            read_out: 0,
            emptied: Vec::new(),
            leave_gaps: false,
            taken: Taken::default(),
            words: Vec::new(),
            in_order: false,
            early: VecDeque::new(),
            fires: false,
            late: LateRows::default(),
            late_out: None,
            watermark_ms: WATERMARK_START,
            fired_count: 0,
        }
    }

    /// An owner of rows that come in the order of the sequence of chunks, so that no watermark at a row's arrival is below one before it.
    #[must_use]
    pub fn in_order(self) -> Self {
        // Distinct values are merged in bulk, the fewer times the better; and local time takes all records of a day to be looked at.
        Self { in_order: self.shape.distinct.is_empty() && self.wall.is_utc(), ..self }
    }

    /// An owner whose sessions may be in bulk: rows come packed where they can be. Results may come a little later than they could, and not in
    /// the order of their ends, so nobody may count on time or order.
    #[must_use]
    pub fn in_bulk(self) -> Self {
        let bulk = Bulk::new(Arc::clone(&self.shape), self.gap_ms);
        Self { bulk: Some(Box::new(bulk)), judge: Some(Judge::default()), ..self }
    }

    /// Whether sessions of `shape` may be in bulk: their accumulators are all that there is of them, and local time goes like time.
    pub fn suits_bulk(shape: &Shape, window: &WindowSpec) -> bool {
        let is_whole = travel(&shape.calls) == Travel::Accumulators && shape.late.is_empty();
        is_whole && WallTime::new(window.time_zone).is_utc()
    }

    /// Goes on from what [`Receiver::seal`] saved.
    #[must_use]
    pub fn restored(mut self, saved: &mut Saved<'_>) -> Self {
        saved.words(Census::WORDS);
        self.watermark_ms = saved.signed();
        self.fired_count = saved.word();
        self.ages = Ages::load(saved);
        let (word_count, shelf_ms) = (HEADER + self.shape.layout.word_count, shelf_ms(self.gap_ms));
        self.records = Chains::load(word_count, shelf_ms, saved, &self.pages);
        self.sets = SessionSets::load(&self.shape, saved, &self.pages);
        let late_words = saved.word() as usize;
        self.late = LateRows::from_words(saved.words(late_words));
        self
    }

    #[inline]
    fn word(&self, record: u32, word: usize) -> u64 {
        self.records.words(&self.pages, record)[word]
    }

    fn set_word(&mut self, record: u32, word: usize, value: u64) {
        self.records.words_mut(&mut self.pages, record)[word] = value;
    }

    /// Whether the session that ends at `end_ms` takes rows no longer.
    #[inline]
    fn is_over(&self, end_ms: i64, watermark_ms: i64) -> bool {
        self.wall.instant_of(end_ms - 1) <= watermark_ms
    }

    /// The record that a row joins, made or merged if need be; `None` if it is late. Before two records are merged,
    /// `settle` folds the rows that were assigned to records but not folded yet.
    #[inline(always)]
    fn place<'k>(
        &mut self,
        (hash, words): (u64, KeyWords),
        key: impl Fn() -> &'k [u8],
        time_ms: i64,
        watermark_ms: i64,
        settle: &mut dyn FnMut(&mut Self),
    ) -> Option<u32> {
        let end = time_ms.saturating_add(self.gap_ms);
        let seat = self.records.seek(&self.pages, hash, words, &key);
        if let Some(newest) = seat.newest()
            && let Some(home) = self.join(newest, (time_ms, end), watermark_ms, settle)
        {
            return Some(home);
        }
        if self.is_over(end, watermark_ms) {
            self.late.record(time_ms, watermark_ms);
            return None;
        }
        Some(self.new_record(&seat, key, (time_ms, end), self.ages.generation()))
    }

    /// Joins a row from `start` to `end` and every open session that it touches, of a key whose newest record is `newest`; where that is.
    fn join(
        &mut self,
        newest: u32,
        (mut start, mut end): (i64, i64),
        watermark_ms: i64,
        settle: &mut dyn FnMut(&mut Self),
    ) -> Option<u32> {
        let mut home: Option<u32> = None;
        let mut next = Some(newest);
        while let Some(record) = next {
            next = self.records.next(&self.pages, record);
            let words = self.records.words(&self.pages, record);
            let (held_start, held_end) = (words[START].cast_signed(), words[END].cast_signed());
            if self.is_over(held_end, watermark_ms) || held_start > end || held_end < start {
                continue;
            }
            (start, end) = (start.min(held_start), end.max(held_end));
            if let Some(younger) = home {
                settle(self);
                self.merge_records(record, younger);
            }
            home = Some(record);
        }
        let home = home?;
        let words = self.records.words_mut(&mut self.pages, home);
        (words[START], words[END]) = (start.cast_unsigned(), end.cast_unsigned());
        Some(home)
    }

    #[inline(always)]
    fn new_record<'k>(
        &mut self,
        seat: &Seat,
        key: impl Fn() -> &'k [u8],
        (start, end): (i64, i64),
        age: u64,
    ) -> u32 {
        let words = [start.cast_unsigned(), end.cast_unsigned(), age];
        let record = self.records.add(&mut self.pages, seat, key, end, &words);
        self.sets.ensure(&mut self.pages, record);
        record
    }

    /// Adds a record to another, as what came later, and takes it out of its key's list.
    fn merge_records(&mut self, into: u32, from: u32) {
        let age = self.word(into, AGE).min(self.word(from, AGE));
        self.set_word(into, AGE, age);
        let shape = Arc::clone(&self.shape);
        let mut partials = Partials::default();
        self.sets.flush(&shape, HEADER, &mut self.pages, &mut self.records);
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.records };
        agg::export(&shape.layout, HEADER, &slots, from, &mut partials);
        blank_distinct(&shape, &mut partials);
        merge_at(&shape, HEADER, &mut slots, into, &partials);
        self.sets.union(&shape, HEADER, &mut self.pages, &mut self.records, into, from);
        self.records.unlink(&mut self.pages, from);
        self.empty_record(from);
        self.set_word(from, AGE, MERGED);
    }

    /// Frees what a record refers to.
    #[inline]
    fn empty_record(&mut self, record: u32) {
        for &word in &self.shape.layout.blob_words {
            let blob = self.records.words(&self.pages, record)[HEADER + word];
            if blob != 0 {
                self.records.heap_mut().remove(&mut self.pages, blob);
            }
        }
        self.sets.clear_set(&mut self.pages, record);
    }

    /// Takes rows `block` of a payload, whose times are `time_ms` and whose keys have `key_length` bytes, if they have one length; those
    /// that are late are added to `late`.
    fn take(
        &mut self,
        Payload { keys, arrival_ms, data, .. }: &Payload,
        time_ms: &[i64],
        key_length: Option<usize>,
        block: Range<usize>,
        late: &mut Vec<u32>,
    ) {
        let Data::Rows(columns) = data else { unreachable!("sessions receive rows") };
        let (start, count) = (block.start, block.len());
        let columns: Vec<ArrayRef> =
            columns.iter().map(|column| column.slice(start, count)).collect();
        let mut pending: Pending = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut words = std::mem::take(&mut self.words);
        key_words(keys, key_length, block.clone(), &mut words);
        self.records.make_places(&mut self.pages, count);
        for (row, &words) in block.zip(&words) {
            self.records.look_ahead(&self.pages, &keys.hashes, row);
            let (key, bytes) = ((keys.hashes[row], words), || keys.get(row));
            let mut settle = |session: &mut Self| session.fold(&mut pending, &columns, count);
            match self.place(key, bytes, time_ms[row], arrival_ms[row], &mut settle) {
                Some(record) => {
                    pending.0.push((row - start) as u32);
                    pending.1.push(record);
                }
                None => late.push(row as u32),
            }
        }
        self.words = words;
        self.fold(&mut pending, &columns, count);
    }

    fn fold(&mut self, pending: &mut Pending, columns: &[ArrayRef], row_count: usize) {
        let (rows, records) = std::mem::take(pending);
        if rows.is_empty() {
            return;
        }
        let shape = Arc::clone(&self.shape);
        let taken: Vec<ArrayRef> = match rows.len() == row_count {
            true => columns.to_vec(),
            false => take_columns(columns, &UInt32Array::from(rows)),
        };
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.records };
        update_calls(&shape, HEADER, &mut slots, &records, &taken);
        self.sets.insert(&shape, HEADER, &mut self.pages, &mut self.records, &records, &taken);
    }

    /// Keeps these rows, which are late, for whoever reads such.
    fn hand_out(&mut self, late: Vec<u32>, data: &Data) {
        let Data::Rows(columns) = data else { unreachable!("sessions receive rows") };
        if self.shape.late.is_empty() || late.is_empty() {
            return;
        }
        assert!(self.late_out.is_none(), "the last late rows were not taken");
        let whole: Vec<ArrayRef> =
            self.shape.late.iter().map(|&place| columns[place].clone()).collect();
        let count = late.len();
        self.late_out = Some(Batch::new(take_columns(&whole, &UInt32Array::from(late)), count));
    }

    /// Moves records that are over to `due`.
    fn expire(&mut self, watermark_ms: i64) {
        let wall_ms = match watermark_ms {
            i64::MAX => i64::MAX,
            watermark => self
                .wall
                .wall_of(watermark)
                .saturating_add(24 * 3_600_000 * i64::from(!self.wall.is_utc())),
        };
        let (mut over, mut runs) = (Vec::new(), Vec::new());
        let mut first = Some(i64::MIN);
        self.leave_gaps = false;
        while let Some(shelf) =
            first.and_then(|first| self.records.next_shelf(first, wall_ms.saturating_add(1)))
        {
            self.records.runs(&self.pages, shelf, &mut runs);
            match self.look_through(shelf, &runs, watermark_ms, &mut over) {
                0 => self.emptied.push(shelf),
                _ => self.leave_gaps = true,
            }
            first = shelf.checked_add(1);
        }
        (self.due, self.read_out) = (by_end(over), 0);
    }

    /// Looks through the records of a shelf: those that are over are added to `over`, with their ends; of the others those leave that are no
    /// longer of this shelf. How many stay.
    fn look_through(
        &mut self,
        shelf: i64,
        runs: &[(u32, u32)],
        watermark_ms: i64,
        over: &mut Vec<(i64, u32)>,
    ) -> usize {
        let (mut stay_count, mut others) = (0, Vec::new());
        for (at, &run) in runs.iter().enumerate() {
            if let Some(&later) = runs.get(at + 1) {
                self.records.prefetch_run(&self.pages, later);
            }
            for (record, words) in self.records.run(&self.pages, run) {
                let end = words[END].cast_signed();
                match words[AGE] != MERGED && self.is_over(end, watermark_ms) {
                    true => over.push((end, record)),
                    false => others.push((record, end, words[AGE])),
                }
            }
        }
        for (record, end, age) in others {
            if age == MERGED {
                self.records.release_record(&mut self.pages, record);
            } else if self.records.shelf_of(end) == shelf {
                stay_count += 1;
            } else {
                self.postpone(record, end);
            }
        }
        stay_count
    }

    /// Moves a record to where its end is now.
    fn postpone(&mut self, record: u32, end_ms: i64) {
        let shape = Arc::clone(&self.shape);
        self.sets.flush(&shape, HEADER, &mut self.pages, &mut self.records);
        let moved = self.records.move_record(&mut self.pages, record, end_ms);
        self.sets.move_set(&mut self.pages, record, moved);
    }

    /// Takes rows that came as rows; `in_order`: no row's arrival is below one before it.
    fn receive_rows(&mut self, mut payload: Payload, in_order: bool) {
        let row_count = payload.keys.count();
        let mut time_ms = std::mem::take(&mut payload.ends_ms);
        self.wall.localise(&mut time_ms);
        let key_length = payload.keys.common_length();
        let mut late = Vec::new();
        for start in (0..row_count).step_by(BLOCK_ROWS) {
            let block = start..row_count.min(start + BLOCK_ROWS);
            let arrival_ms = payload.arrival_ms[block.end - 1];
            self.take(&payload, &time_ms, key_length, block, &mut late);
            if in_order {
                self.fire_early(arrival_ms);
            }
        }
        self.hand_out(late, &payload.data);
    }

    /// Begins to read out what is over by now.
    fn fire(&mut self) {
        self.fires = true;
        if let Some(bulk) = &mut self.bulk {
            bulk.advance(self.watermark_ms);
            return;
        }
        self.expire(self.watermark_ms);
        if !self.due.is_empty() {
            let shape = Arc::clone(&self.shape);
            self.sets.flush(&shape, HEADER, &mut self.pages, &mut self.records);
        }
    }
}

impl Receiver for Session {
    fn receive(&mut self, payload: Payload) {
        let Data::Packed(packed) = payload.data else {
            self.leave_bulk(true);
            self.receive_rows(payload, self.in_order);
            return;
        };
        if self.bulk.as_ref().is_some_and(|bulk| !bulk.suits(packed.packing())) {
            self.leave_bulk(true);
        }
        match &mut self.bulk {
            Some(bulk) => bulk.push(packed),
            None => self.receive_packed(&packed),
        }
    }

    fn advance(&mut self, watermark_ms: i64, now_ms: i64) {
        assert!(!self.fires, "the last firing was not read out");
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        self.now_ms = now_ms;
        let is_end = self.watermark_ms == WATERMARK_END;
        self.holds = !is_end && self.bulk.as_ref().is_some_and(|bulk| !bulk.is_worth_a_look());
        if !self.holds {
            self.fire();
        }
    }

    fn holds(&self) -> bool {
        self.holds
    }

    fn let_go(&mut self) {
        self.holds = false;
        self.fire();
    }

    fn next_output(&mut self) -> Option<Output> {
        if !self.fires {
            return None;
        }
        let batch = self.early.pop_front().or_else(|| match &mut self.bulk {
            Some(_) => self.next_of_bulk(),
            None => self.next_results(),
        });
        if batch.is_none() {
            self.fires = false;
            self.sets.compact(&mut self.pages);
            self.settle_down();
        }
        batch.map(Output::Rows)
    }

    fn late_rows(&self) -> Option<&LateRows> {
        Some(&self.late)
    }

    fn take_late(&mut self) -> Option<Batch> {
        self.late_out.take()
    }

    fn fired_count(&self) -> u64 {
        self.fired_count
    }

    fn state_bytes(&self) -> usize {
        self.pages.state_bytes() + self.bulk.as_ref().map_or(0, |bulk| bulk.bytes())
    }

    fn seal(&mut self) -> Sealed {
        assert!(!self.fires && self.early.is_empty() && self.late_out.is_none());
        assert!(self.emptied.is_empty(), "what was over has been read out");
        let mut header = Census { windows: None, groups: self.records.key_count() as u64 }.header();
        header.extend([self.watermark_ms.cast_unsigned(), self.fired_count]);
        self.ages.save(&mut header);
        self.records.save(&mut header);
        self.sets.save(&mut header);
        let late = self.late.to_words();
        header.push(late.len() as u64);
        header.extend(late);
        self.pages.seal(header)
    }

    fn acknowledge(&mut self) {
        self.pages.acknowledge();
    }

    fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        let shape = Arc::clone(&self.shape);
        self.sets.flush(&shape, HEADER, &mut self.pages, &mut self.records);
        self.each_session(&mut |session, open, record| {
            let part = MovedPart::Session(open.span.0, open.span.1);
            let values = session.sets.values(&session.pages, record);
            let age = session.word(record, AGE);
            let (accumulators, key) = (Some(open.accumulators.clone()), open.key.to_vec());
            let (hash, shown, flags, named) = (open.hash, Partials::default(), 0, None);
            to(Moved { part, hash, key, accumulators, shown, flags, age, values, named });
        });
    }

    fn adopt(&mut self, moved: Moved) {
        let MovedPart::Session(start, end) = moved.part else {
            unreachable!("a session window has sessions")
        };
        let accumulators = moved.accumulators.expect("sessions are not partitioned by value");
        let (hash, key, span) = (moved.hash, moved.key.as_slice(), (start, end));
        let open = Open { hash, key, span, accumulators: &accumulators };
        let record = self.take_in(&open, moved.age);
        self.sets.adopt_values(&mut self.pages, record, &moved.values);
    }

    fn standing(&self) -> Standing {
        Standing {
            watermark_ms: self.watermark_ms,
            fired_count: self.fired_count,
            late: self.late.clone(),
            ages: self.ages.clone(),
            ..Standing::default()
        }
    }

    fn stand(&mut self, standing: &Standing) {
        self.watermark_ms = standing.watermark_ms;
        self.fired_count += standing.fired_count;
        self.late.add(&standing.late);
        self.ages.join(&standing.ages);
    }
}
