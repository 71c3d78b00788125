//! The owner of session windows: for each key a short list of open intervals, merged as rows arrive.
//!
//! A row joins every open session that its own `[time, time + gap)` overlaps or touches. Whether a
//! session is still open is judged by the watermark at the row's arrival, so rows of one chunk may be taken
//! together and sessions read out at the chunk's end.
//!
//! # A record
//!
//! ```text
//! start │ end │ next record + 1 │ key's slot + 1 (0: merged into another) │ next record of its timer + 1 │ age │ accumulators …
//! ```
//!
//! Its age is the lowest generation of [`Ages`] that any of its rows came in.
//!
//! A *timer* has the records that end, or may end, in one quarter of a gap: eight lists of them, a record's being that of its
//! number, so that memory has to be waited for once for so many records when they are walked.
//!
//! # Invariants
//!
//! 1. Two open sessions of one key neither overlap nor touch.
//! 2. Every live record is in one timer, that of its end or of an earlier one. One that was merged into another stays in its
//!    timer, empty, until that comes up.
//! 3. `timers` has the slot of every timer in `timer_table`.
//! 4. A key's records are listed by when they began to be, the youngest first. Of two that are merged the older takes the other in, so
//!    that what goes by the order of rows gets those of sessions that were merged one session after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, UInt32Array};

use super::ages::Ages;
use super::moving::{Moved, MovedPart, Standing};
use super::pane::{SessionSets, TableSlots, update_calls};
use super::shape::Shape;
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_START};
use crate::agg::{self, Partials};
use crate::batch::hash::hash_bytes;
use crate::batch::{BATCH_ROWS_MAX, Batch, Keys, take_columns};
use crate::metrics::LateRows;
use crate::state::{Pages, Saved, Sealed, Table};
use crate::window::{WallTime, WindowKind, WindowSpec};

const HEADER: usize = 6;
const START: usize = 0;
const END: usize = 1;
const NEXT: usize = 2;
const OWNER: usize = 3;
const TIMER: usize = 4;
const AGE: usize = 5;

/// Lists of a timer.
const LANES: usize = 8;
/// How many records before it is worked on memory is asked for one.
const AHEAD: usize = 8;

/// The receiving half of a session aggregation.
pub struct Session {
    shape: Arc<Shape>,
    gap_ms: i64,
    bucket_ms: i64,
    wall: WallTime,
    instant_time: bool,
    pages: Pages,
    ages: Ages,
    /// Key → first record + 1.
    keys: Table,
    /// The records, as slots outside of any index.
    records: Table,
    sets: SessionSets,
    /// Timer → first record + 1 of each list.
    timer_table: Table,
    timers: BTreeMap<i64, u32>,
    due: VecDeque<u32>,
    late: LateRows,
    /// Late rows to be handed out.
    late_out: Option<Batch>,
    watermark_ms: i64,
    fired_count: u64,
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
            bucket_ms: (gap_ms / 4).max(1),
            wall: WallTime::new(window.time_zone),
            instant_time,
            pages,
            keys: Table::new(1),
            records: Table::new(HEADER + shape.layout.word_count),
            sets: SessionSets::new(&shape),
            ages: Ages::new(shape.calls.len()),
            shape,
            timer_table: Table::new(LANES),
            timers: BTreeMap::new(),
            due: VecDeque::new(),
            late: LateRows::default(),
            late_out: None,
            watermark_ms: WATERMARK_START,
            fired_count: 0,
        }
    }

    /// Goes on from what [`Receiver::seal`] saved.
    #[must_use]
    pub fn restored(mut self, saved: &mut Saved<'_>) -> Self {
        saved.words(Census::WORDS);
        self.watermark_ms = saved.signed();
        self.fired_count = saved.word();
        self.ages = Ages::load(saved);
        self.keys = Table::load(1, saved, &self.pages);
        self.records = Table::load(HEADER + self.shape.layout.word_count, saved, &self.pages);
        self.timer_table = Table::load(LANES, saved, &self.pages);
        self.sets = SessionSets::load(&self.shape, saved, &self.pages);
        let late_words = saved.word() as usize;
        self.late = LateRows::from_words(saved.words(late_words));
        let slots = self.timer_table.live_slots(&self.pages).into_iter();
        self.timers = slots
            .map(|slot| {
                let bucket = self.timer_table.key(&self.pages, slot);
                (i64::from_le_bytes(bucket.try_into().expect("eight bytes")), slot)
            })
            .collect();
        self
    }

    /// Puts a record into the timer of `end_ms`.
    fn arm(&mut self, record: u32, end_ms: i64) {
        let bucket = end_ms.div_euclid(self.bucket_ms);
        let slot = *self.timers.entry(bucket).or_insert_with(|| {
            let key = bucket.to_le_bytes();
            self.timer_table.upsert(&mut self.pages, hash_bytes(&key), &key).0
        });
        let lane = record as usize % LANES;
        let head = &mut self.timer_table.words_mut(&mut self.pages, slot)[lane];
        let next = std::mem::replace(head, u64::from(record) + 1);
        self.set_word(record, TIMER, next as i64);
    }

    /// The records of a timer, which is gone then.
    fn disarm(&mut self, bucket: i64) -> Vec<u32> {
        let slot = self.timers.remove(&bucket).expect("looked up before");
        let mut heads = self.timer_table.words(&self.pages, slot).to_vec();
        self.timer_table.remove(&mut self.pages, slot);
        let mut records = Vec::new();
        while heads.iter().any(|&head| head != 0) {
            for head in heads.iter_mut().filter(|head| **head != 0) {
                let record = *head as u32 - 1;
                *head = self.word(record, TIMER).cast_unsigned();
                records.push(record);
            }
        }
        records
    }

    fn word(&self, record: u32, word: usize) -> i64 {
        self.records.words(&self.pages, record)[word] as i64
    }

    fn set_word(&mut self, record: u32, word: usize, value: i64) {
        self.records.words_mut(&mut self.pages, record)[word] = value as u64;
    }

    /// The record that a row joins, made or merged if need be; `None` if it is late. Before two records are merged,
    /// `settle` folds the rows that were assigned to records but not folded yet.
    fn place(
        &mut self,
        key_slot: u32,
        time_ms: i64,
        watermark_ms: i64,
        settle: &mut dyn FnMut(&mut Self),
    ) -> Option<u32> {
        let (mut start, mut end) = (time_ms, time_ms.saturating_add(self.gap_ms));
        // With what stands before it in the list.
        let mut home: Option<(u32, Option<u32>)> = None;
        let mut previous: Option<u32> = None;
        let mut next = self.keys.words(&self.pages, key_slot)[0];
        while next != 0 {
            let record = next as u32 - 1;
            next = self.word(record, NEXT) as u64;
            let (held_start, held_end) = (self.word(record, START), self.word(record, END));
            let open = self.wall.instant_of(held_end - 1) > watermark_ms;
            if !open || held_start > end || held_end < start {
                previous = Some(record);
                continue;
            }
            (start, end) = (start.min(held_start), end.max(held_end));
            if let Some((younger, before)) = home {
                settle(self);
                self.merge_records(record, younger);
                self.unlink(key_slot, before, younger);
                self.empty_record(younger);
                self.set_word(younger, OWNER, 0);
                previous = if previous == Some(younger) { before } else { previous };
            }
            home = Some((record, previous));
            previous = Some(record);
        }
        let home = home.map(|(record, _)| record);
        if home.is_none() && self.wall.instant_of(end - 1) <= watermark_ms {
            self.late.record(time_ms, watermark_ms);
            return None;
        }
        let record = home.unwrap_or_else(|| self.new_record(key_slot, end));
        let words = self.records.words_mut(&mut self.pages, record);
        (words[START], words[END]) = (start.cast_unsigned(), end.cast_unsigned());
        Some(record)
    }

    fn new_record(&mut self, key_slot: u32, end_ms: i64) -> u32 {
        let record = self.records.new_slot(&mut self.pages);
        let head = self.keys.words(&self.pages, key_slot)[0];
        let words = self.records.words_mut(&mut self.pages, record);
        (words[NEXT], words[OWNER]) = (head, u64::from(key_slot) + 1);
        words[AGE] = self.ages.generation();
        self.keys.words_mut(&mut self.pages, key_slot)[0] = u64::from(record) + 1;
        self.sets.ensure(&mut self.pages, record);
        self.arm(record, end_ms);
        record
    }

    /// Adds a record to another, as what came later.
    fn merge_records(&mut self, into: u32, from: u32) {
        let age = self.word(into, AGE).min(self.word(from, AGE));
        self.set_word(into, AGE, age);
        let shape = Arc::clone(&self.shape);
        let mut partials = Partials::default();
        self.sets.flush(&shape, HEADER, &mut self.pages, &mut self.records);
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.records };
        agg::export(&shape.layout, HEADER, &slots, from, &mut partials);
        super::pane::blank_distinct(&shape, &mut partials);
        super::pane::merge_at(&shape, HEADER, &mut slots, into, &partials);
        self.sets.union(&shape, HEADER, &mut self.pages, &mut self.records, into, from);
    }

    fn unlink(&mut self, key_slot: u32, previous: Option<u32>, record: u32) {
        let next = self.word(record, NEXT);
        match previous {
            Some(previous) => self.set_word(previous, NEXT, next),
            None => self.keys.words_mut(&mut self.pages, key_slot)[0] = next as u64,
        }
    }

    /// Frees what a record refers to.
    fn empty_record(&mut self, record: u32) {
        for &word in &self.shape.layout.blob_words {
            let blob = self.records.words(&self.pages, record)[HEADER + word];
            if blob != 0 {
                self.records.heap_mut().remove(&mut self.pages, blob);
            }
        }
        self.sets.clear_set(&mut self.pages, record);
    }

    fn fold(&mut self, pending: &mut (Vec<u32>, Vec<u32>), columns: &[ArrayRef], row_count: usize) {
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
    fn hand_out(&mut self, late: Vec<u32>, columns: &[ArrayRef]) {
        if self.shape.late.is_empty() || late.is_empty() {
            return;
        }
        assert!(self.late_out.is_none(), "the last late rows were not taken");
        let whole: Vec<ArrayRef> =
            self.shape.late.iter().map(|&place| columns[place].clone()).collect();
        let count = late.len();
        self.late_out = Some(Batch::new(take_columns(&whole, &UInt32Array::from(late)), count));
    }

    /// Moves records whose time has come from the timers to `due`.
    fn expire(&mut self, watermark_ms: i64) {
        let wall_ms = match watermark_ms {
            i64::MAX => i64::MAX,
            watermark => self
                .wall
                .wall_of(watermark)
                .saturating_add(24 * 3_600_000 * i64::from(!self.wall.is_utc())),
        };
        let last = wall_ms.div_euclid(self.bucket_ms).saturating_add(1);
        let buckets: Vec<i64> = self.timers.range(..=last).map(|(&bucket, _)| bucket).collect();
        let mut fired: Vec<(i64, u32)> = Vec::new();
        let records = buckets.into_iter().flat_map(|bucket| self.disarm(bucket));
        let records: Vec<u32> = records.collect();
        for (at, &record) in records.iter().enumerate() {
            self.ask_for(&records, at);
            if self.word(record, OWNER) == 0 {
                self.records.release_slot(&mut self.pages, record);
                continue;
            }
            let end = self.word(record, END);
            if self.wall.instant_of(end - 1) <= watermark_ms {
                fired.push((end, record));
            } else {
                self.arm(record, end);
            }
        }
        fired.sort_unstable();
        self.due.extend(fired.into_iter().map(|(_, record)| record));
    }

    /// Has memory fetched the record that comes up `AHEAD` records behind that at `at`.
    #[inline]
    fn ask_for(&self, records: &[u32], at: usize) {
        if let Some(&record) = records.get(at + AHEAD) {
            self.records.prefetch_slot(&self.pages, record);
        }
    }

    /// The slots of the keys of `records`; memory has been asked for all that reading and removing them takes.
    fn owners(&self, records: &[u32]) -> Vec<u32> {
        let owner = |(at, &record): (usize, &u32)| {
            self.ask_for(records, at);
            self.word(record, OWNER) as u32 - 1
        };
        let owners: Vec<u32> = records.iter().enumerate().map(owner).collect();
        for at in 0..owners.len() + AHEAD {
            if let Some(&owner) = owners.get(at) {
                self.keys.prefetch_slot(&self.pages, owner);
            }
            if let Some(&owner) = at.checked_sub(AHEAD).and_then(|at| owners.get(at)) {
                self.keys.prefetch_group(&self.pages, owner);
            }
        }
        owners
    }

    fn results(&mut self, records: &[u32]) -> Batch {
        let shape = Arc::clone(&self.shape);
        let owners = self.owners(records);
        let keys = owners.iter().map(|&owner| self.keys.key(&self.pages, owner));
        let mut columns = Keys::decode(&shape.key_types, keys);
        let starts: Vec<i64> = records.iter().map(|&record| self.word(record, START)).collect();
        let ends: Vec<i64> = records.iter().map(|&record| self.word(record, END)).collect();
        let times = ends
            .iter()
            .map(|&end| if self.instant_time { self.wall.instant_of(end - 1) } else { end - 1 });
        let times: Vec<i64> = times.collect();
        let table = TableSlots { pages: &mut self.pages, table: &mut self.records };
        for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
            columns.push(agg::finish(call, HEADER + offset, &table, records));
        }
        let ages: Vec<u64> =
            records.iter().map(|&record| self.word(record, AGE).cast_unsigned()).collect();
        self.ages.blank_rows(&mut columns[shape.keys.len()..], &ages);
        columns.extend(
            [starts, ends, times].map(|values| Arc::new(Int64Array::from(values)) as ArrayRef),
        );
        Batch::new(columns, records.len())
    }

    /// Has memory fetched that the next rows will read: their keys, and those keys' first records.
    #[inline]
    fn look_ahead(&self, hashes: &[u64], row: usize) {
        if let Some(key_slot) = self.keys.look_ahead(&self.pages, hashes, row) {
            let first = self.keys.words(&self.pages, key_slot)[0] as u32;
            if first != 0 {
                self.records.prefetch_slot(&self.pages, first - 1);
            }
        }
    }

    /// Frees a record that was read out, and its key if that was its last.
    fn retire(&mut self, record: u32) {
        let owner = self.word(record, OWNER) as u32 - 1;
        let mut previous = None;
        let mut at = self.keys.words(&self.pages, owner)[0] as u32 - 1;
        while at != record {
            previous = Some(at);
            at = self.word(at, NEXT) as u32 - 1;
        }
        self.unlink(owner, previous, record);
        self.empty_record(record);
        self.records.release_slot(&mut self.pages, record);
        if self.keys.words(&self.pages, owner)[0] == 0 {
            self.keys.remove(&mut self.pages, owner);
        }
    }
}

impl Receiver for Session {
    fn receive(&mut self, payload: Payload) {
        let Data::Rows(columns) = &payload.data else { unreachable!("sessions receive rows") };
        let row_count = payload.keys.count();
        let mut times = payload.ends_ms.clone();
        self.wall.localise(&mut times);
        let mut pending: (Vec<u32>, Vec<u32>) =
            (Vec::with_capacity(row_count), Vec::with_capacity(row_count));
        let mut late = Vec::new();
        for (row, &time) in times.iter().enumerate() {
            self.look_ahead(&payload.keys.hashes, row);
            let (key_slot, _) =
                self.keys.upsert(&mut self.pages, payload.keys.hashes[row], payload.keys.get(row));
            let mut settle = |session: &mut Self| session.fold(&mut pending, columns, row_count);
            let placed = self.place(key_slot, time, payload.arrival_ms[row], &mut settle);
            let Some(record) = placed else {
                late.push(row as u32);
                if self.keys.words(&self.pages, key_slot)[0] == 0 {
                    self.keys.remove(&mut self.pages, key_slot);
                }
                continue;
            };
            pending.0.push(row as u32);
            pending.1.push(record);
        }
        self.fold(&mut pending, columns, row_count);
        self.hand_out(late, columns);
    }

    fn advance(&mut self, watermark_ms: i64, _now_ms: i64) {
        assert!(self.due.is_empty(), "the last firing was not read out");
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        self.expire(self.watermark_ms);
        if !self.due.is_empty() {
            let shape = Arc::clone(&self.shape);
            self.sets.flush(&shape, HEADER, &mut self.pages, &mut self.records);
        }
    }

    fn next_output(&mut self) -> Option<Output> {
        if self.due.is_empty() {
            return None;
        }
        let count = self.due.len().min(BATCH_ROWS_MAX);
        let records: Vec<u32> = self.due.drain(..count).collect();
        let batch = self.results(&records);
        records.iter().for_each(|&record| self.retire(record));
        self.fired_count += count as u64;
        if self.due.is_empty() {
            self.sets.compact(&mut self.pages);
        }
        Some(Output::Rows(batch))
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
        self.pages.state_bytes()
    }

    fn seal(&mut self) -> Sealed {
        assert!(self.due.is_empty() && self.late_out.is_none());
        let mut header = Census { windows: None, groups: self.keys.count() as u64 }.header();
        header.extend([self.watermark_ms.cast_unsigned(), self.fired_count]);
        self.ages.save(&mut header);
        for table in [&self.keys, &self.records, &self.timer_table] {
            table.save(&mut header);
        }
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
        for key_slot in self.keys.live_slots(&self.pages) {
            let hash = self.keys.hash(&self.pages, key_slot);
            let key = self.keys.key(&self.pages, key_slot).to_vec();
            let mut next = self.keys.words(&self.pages, key_slot)[0];
            let mut records = Vec::new();
            while next != 0 {
                records.push(next as u32 - 1);
                next = self.word(next as u32 - 1, NEXT).cast_unsigned();
            }
            // Who adopts them puts each in front.
            for record in records.into_iter().rev() {
                let part = MovedPart::Session(self.word(record, START), self.word(record, END));
                let values = self.sets.values(&self.pages, record);
                let mut accumulators = Partials::default();
                let table = TableSlots { pages: &mut self.pages, table: &mut self.records };
                agg::export(&shape.layout, HEADER, &table, record, &mut accumulators);
                let (accumulators, key) = (Some(accumulators), key.clone());
                let (shown, age) = (Partials::default(), self.word(record, AGE).cast_unsigned());
                let (flags, named) = (0, None);
                to(Moved { part, hash, key, accumulators, shown, flags, age, values, named });
            }
        }
    }

    fn adopt(&mut self, moved: Moved) {
        let MovedPart::Session(start, end) = moved.part else {
            unreachable!("a session window has sessions")
        };
        let shape = Arc::clone(&self.shape);
        let (key_slot, _) = self.keys.upsert(&mut self.pages, moved.hash, &moved.key);
        let record = self.new_record(key_slot, end);
        let words = self.records.words_mut(&mut self.pages, record);
        (words[START], words[END]) = (start.cast_unsigned(), end.cast_unsigned());
        words[AGE] = moved.age;
        let accumulators = moved.accumulators.expect("sessions are not partitioned by value");
        let mut slots = TableSlots { pages: &mut self.pages, table: &mut self.records };
        super::pane::merge_at(&shape, HEADER, &mut slots, record, &accumulators);
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
