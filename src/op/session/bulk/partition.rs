//! The sessions of a partition, in columns.
//!
//! Most have one row, and are no more than that: it lies here as it came, and there are accumulators for a session from its second row on.
//!
//! ```text
//! row:   key … │ start │ arguments …
//! ```
//!
//! # Invariants
//!
//! 1. All columns are as long as `ends`, `rows` by its words. Where the order of rows shows, sessions lie in that in which they began to be.
//! 2. A group belongs to one session that has it in `groups`, or to none any more.
//! 3. No open session of block *i* ends before `earliest_ms[i]`; where that is `None`, none is open.

use std::ops::Range;

use super::GONE;
use super::picked::{BLOCK, Picked, bits};
use crate::agg::Partials;
use crate::batch::hash::mix;
use crate::op::accumulators::Accumulators;
use crate::op::found::Found;
use crate::op::pane::merge_at;
use crate::op::shape::Shape;
use crate::state::Rows;
use crate::sys::vector;

/// In place of a session's group: it has one row.
const ALONE: u32 = u32::MAX;
/// So few groups may stay that are of no session any more.
const GROUPS_MIN: usize = if cfg!(test) { 4 } else { 256 };

/// The sessions of a partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// A hash of each one's key, of those that know no partition.
    pub(super) tags: Vec<u32>,
    /// [`GONE`]: it is no more.
    pub(super) ends: Vec<i64>,
    /// Each one's first row, but for its time: that is when the session starts.
    rows: Vec<u64>,
    key_words: usize,
    /// Words of a row.
    stride: usize,
    /// Where in `sums` each one is, or [`ALONE`].
    pub(super) groups: Vec<u32>,
    pub(super) sums: Accumulators,
    group_count: usize,
    /// With more groups those that are of no session any more leave.
    groups_max: usize,
    gone_count: usize,
    earliest_ms: Vec<Option<i64>>,
}

impl Partition {
    /// None yet, with keys of so many words.
    pub(super) fn new(shape: &Shape, key_words: usize) -> Self {
        Self {
            tags: Vec::new(),
            ends: Vec::new(),
            rows: Vec::new(),
            key_words,
            stride: key_words + 1 + shape.shipped_types.len(),
            groups: Vec::new(),
            sums: Accumulators::new(shape.layout.word_count),
            group_count: 0,
            groups_max: GROUPS_MIN,
            gone_count: 0,
            earliest_ms: Vec::new(),
        }
    }

    pub(super) fn open_count(&self) -> usize {
        self.ends.len() - self.gone_count
    }

    /// No open session ends before.
    pub(super) fn earliest_end_ms(&self) -> i64 {
        self.earliest_ms.iter().flatten().copied().min().unwrap_or(i64::MAX)
    }

    /// Bytes that sessions take.
    pub(super) fn bytes(&self) -> usize {
        // A tag and a group are a word.
        self.ends.len() * 8 * (2 + self.stride) + self.sums.bytes()
    }

    /// The row that a session began with; its time is when the session starts.
    #[inline(always)]
    pub(super) fn row(&self, slot: u32) -> &[u64] {
        &self.rows[slot as usize * self.stride..][..self.stride]
    }

    /// A session's key.
    pub(super) fn key(&self, slot: u32) -> &[u64] {
        &self.row(slot)[..self.key_words]
    }

    /// When a session starts.
    #[inline(always)]
    pub(super) fn start(&self, slot: u32) -> i64 {
        self.row(slot)[self.key_words].cast_signed()
    }

    /// The arguments of the row that a session began with.
    #[inline(always)]
    fn arguments(&self, slot: u32) -> &[u64] {
        &self.row(slot)[self.key_words + 1..]
    }

    /// Adds rows, which have `time_count` words of times; [`Partition::begin_all`] makes sessions of them.
    pub(super) fn add_rows(&mut self, rows: &Rows<'_>, time_count: usize) {
        if time_count == 1 {
            self.rows.extend_from_slice(rows.words);
            return;
        }
        for row in rows.words.chunks_exact(rows.stride) {
            self.rows.extend_from_slice(&row[..=self.key_words]);
            self.rows.extend_from_slice(&row[self.key_words + time_count..]);
        }
    }

    /// Begins a session with each row that has been added, which have keys of `KEY` words.
    pub(super) fn begin_all<const KEY: usize>(&mut self, gap_ms: i64) {
        let (first, end) = (self.ends.len(), self.rows.len() / self.stride);
        self.tags.resize(end, 0);
        self.ends.resize(end, 0);
        self.groups.resize(end, ALONE);
        let rows = self.rows[first * self.stride..].chunks_exact(self.stride);
        let begun = self.tags[first..].iter_mut().zip(&mut self.ends[first..]);
        for (row, (tag, end)) in rows.zip(begun) {
            *tag = mix(key_of::<KEY>(row)) as u32;
            *end = row[KEY].cast_signed().saturating_add(gap_ms);
        }
    }

    /// Takes in a session with its accumulators.
    pub(super) fn adopt(
        &mut self,
        shape: &Shape,
        key: &[u64],
        span: (i64, i64),
        accumulators: &Partials,
    ) {
        let slot = self.ends.len();
        self.tags.push(mix(key) as u32);
        self.rows.extend_from_slice(key);
        self.rows.push(span.0.cast_unsigned());
        self.ends.push(span.1);
        self.rows.resize(self.ends.len() * self.stride, 0);
        let group = self.new_group();
        self.groups.push(group);
        merge_at(shape, 0, &mut self.sums, group, accumulators);
        self.note_ends(slot);
    }

    fn new_group(&mut self) -> u32 {
        self.group_count += 1;
        self.sums.grow_to(self.group_count);
        self.group_count as u32 - 1
    }

    /// Notes when those end that have begun, from this one on.
    pub(super) fn note_ends(&mut self, first: usize) {
        let first = first / BLOCK;
        self.earliest_ms.truncate(first);
        let (ends, earliest_ms) = (&self.ends[first * BLOCK..], &mut self.earliest_ms);
        vector::widest(NoteEnds { ends, earliest_ms });
    }

    /// The blocks of sessions before `end` that are not all gone.
    pub(super) fn blocks(&self, end: usize) -> impl Iterator<Item = Range<usize>> {
        let starts = (0..end).step_by(BLOCK).zip(&self.earliest_ms);
        let open = starts.filter(|(_, earliest_ms)| earliest_ms.is_some());
        open.map(move |(start, _)| start..end.min(start + BLOCK))
    }

    /// Puts the row that a session began with to a group; it is alone no longer.
    #[inline]
    pub(super) fn group(&mut self, slot: u32, found: &mut Found) -> u32 {
        if self.groups[slot as usize] == ALONE {
            self.groups[slot as usize] = self.new_group();
            self.put(slot, self.groups[slot as usize], found);
        }
        self.groups[slot as usize]
    }

    #[inline]
    fn put(&self, slot: u32, group: u32, found: &mut Found) {
        found.push(group, self.arguments(slot));
    }

    /// Puts the row that a session began with, which is alone, to the group of another.
    #[inline]
    pub(super) fn share_group(&mut self, slot: u32, row: u32, found: &mut Found) {
        let group = self.group(slot, found);
        self.put(row, group, found);
        self.groups[row as usize] = group;
    }

    /// A session ends in another, which has its time then.
    pub(super) fn end(&mut self, into: u32, from: u32) {
        let start = self.start(into).min(self.start(from));
        self.rows[into as usize * self.stride + self.key_words] = start.cast_unsigned();
        self.ends[into as usize] = self.ends[into as usize].max(self.ends[from as usize]);
        self.remove(from);
    }

    /// A session is no more.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        self.ends[slot as usize] = GONE;
        self.gone_count += 1;
    }

    /// Has a group for every open session.
    pub(super) fn fold_all(&mut self, shape: &Shape, found: &mut Found) {
        for slot in 0..self.ends.len() as u32 {
            if self.ends[slot as usize] != GONE {
                self.group(slot, found);
            }
        }
        found.fold(shape, &mut self.sums);
    }

    /// Puts the slots of sessions that end by `over_ms` into `ended`.
    pub(super) fn take_over(&mut self, over_ms: i64, ended: &mut Ended) {
        ended.alone.begin(self.ends.len());
        ended.folded.begin(self.ends.len());
        let Self { ends, groups, earliest_ms, .. } = self;
        vector::widest(TakeOver { ends, groups, earliest_ms, over_ms, ended });
    }

    /// Forgets the sessions that end by `over_ms`, so many, which have been read out.
    pub(super) fn forget(&mut self, over_ms: i64, count: usize, shape: &Shape) {
        vector::widest(Forget { ends: &mut self.ends, over_ms });
        self.gone_count += count;
        let over = self.earliest_ms.iter().take_while(|end| end.is_none()).count() * BLOCK;
        if over * 4 >= self.ends.len() {
            self.keep_from(over.min(self.ends.len()));
        } else if self.gone_count * 2 >= self.ends.len() {
            self.keep_open();
        }
        if self.group_count > self.groups_max {
            self.keep_groups(shape);
        }
    }

    /// Sessions before this one leave, who are all gone.
    fn keep_from(&mut self, first: usize) {
        self.tags.drain(..first);
        self.ends.drain(..first);
        self.groups.drain(..first);
        self.rows.drain(..first * self.stride);
        self.earliest_ms.drain(..first.div_ceil(BLOCK));
        self.gone_count -= first;
    }

    /// Sessions that are gone leave.
    fn keep_open(&mut self) {
        let is_open = |slot: &usize| self.ends[*slot] != GONE;
        let open: Vec<usize> = (0..self.ends.len()).filter(is_open).collect();
        keep(&mut self.tags, &open, 1);
        keep(&mut self.ends, &open, 1);
        keep(&mut self.groups, &open, 1);
        keep(&mut self.rows, &open, self.stride);
        self.gone_count = 0;
        self.note_ends(0);
    }

    /// Groups of sessions that have left leave.
    fn keep_groups(&mut self, shape: &Shape) {
        let groups = self.groups.iter().zip(&self.ends).enumerate();
        let held = groups.filter(|&(_, (&group, &end))| group != ALONE && end != GONE);
        let mut held: Vec<(u32, usize)> = held.map(|(slot, (&group, _))| (group, slot)).collect();
        held.sort_unstable();
        let groups: Vec<u32> = held.iter().map(|&(group, _)| group).collect();
        self.sums.keep(&groups, shape.layout.blob_words.iter().copied());
        self.group_count = groups.len();
        self.groups_max = GROUPS_MIN.max(self.group_count * 2);
        held.iter().zip(0..).for_each(|(&(_, slot), group)| self.groups[slot] = group);
    }
}

/// The key of a row.
#[inline(always)]
pub(super) fn key_of<const KEY: usize>(row: &[u64]) -> &[u64; KEY] {
    row.first_chunk().expect("a row begins with its key")
}

/// Blocks' earliest ends.
struct NoteEnds<'a> {
    ends: &'a [i64],
    earliest_ms: &'a mut Vec<Option<i64>>,
}

impl vector::Loop for NoteEnds<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ends in self.ends.chunks(BLOCK) {
            self.earliest_ms.push(earliest(ends, GONE));
        }
    }
}

/// What ends by `over_ms`, and blocks' earliest ends after it.
struct TakeOver<'a> {
    ends: &'a [i64],
    groups: &'a [u32],
    earliest_ms: &'a mut [Option<i64>],
    over_ms: i64,
    ended: &'a mut Ended,
}

impl vector::Loop for TakeOver<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { ends, groups, earliest_ms, over_ms, ended } = self;
        let blocks = ends.chunks(BLOCK).zip(groups.chunks(BLOCK)).zip(earliest_ms);
        for (block, ((ends, groups), earliest_ms)) in blocks.enumerate() {
            if earliest_ms.is_some_and(|earliest_ms| earliest_ms <= over_ms) {
                let over = bits(ends, |end| end <= over_ms && end != GONE);
                let alone = bits(groups, |group| group == ALONE);
                ended.alone.pick_bits(block * BLOCK, over & alone);
                ended.folded.pick_bits(block * BLOCK, over & !alone);
                *earliest_ms = earliest(ends, over_ms);
            }
        }
    }
}

/// Has those that end by `over_ms` be gone.
struct Forget<'a> {
    ends: &'a mut [i64],
    over_ms: i64,
}

impl vector::Loop for Forget<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { ends, over_ms } = self;
        ends.iter_mut().for_each(|end| *end = if *end <= over_ms { GONE } else { *end });
    }
}

/// The first of these ends that comes after `over_ms`, if one does.
#[inline(always)]
fn earliest(ends: &[i64], over_ms: i64) -> Option<i64> {
    let later = ends.iter().map(|&end| if end > over_ms { end } else { i64::MAX });
    let first = later.min().unwrap_or(i64::MAX);
    (first != i64::MAX || over_ms != i64::MAX && ends.contains(&i64::MAX)).then_some(first)
}

/// Keeps the items at `slots`, which rise, each of so many values: they become the first.
fn keep<T: Copy>(values: &mut Vec<T>, slots: &[usize], width: usize) {
    for (at, &slot) in slots.iter().enumerate() {
        for part in 0..width {
            values[at * width + part] = values[slot * width + part];
        }
    }
    values.truncate(slots.len() * width);
}

/// The slots of sessions that are over.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// Those of one row.
    pub(super) alone: Picked,
    /// The others.
    pub(super) folded: Picked,
}

impl Ended {
    pub(super) fn count(&self) -> usize {
        self.alone.get().len() + self.folded.get().len()
    }
}
