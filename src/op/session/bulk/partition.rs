//! The sessions of a partition, in columns.
//!
//! Most have one row, and are no more than that: there are accumulators for a session from its second row on.
//!
//! # Invariants
//!
//! 1. All columns are as long as `ends`, `keys` by its words. Where the order of rows shows, sessions lie in that in which they began to be.
//! 2. A group belongs to one session that has it in `groups`, or to none any more.
//! 3. No open session of block *i* ends before `earliest_ms[i]`; where that is `None`, none is open.

use std::ops::Range;

use super::GONE;
use crate::agg::Partials;
use crate::batch::hash::mix;
use crate::op::accumulators::Accumulators;
use crate::op::found::Found;
use crate::op::pane::merge_at;
use crate::op::shape::Shape;
use crate::op::single::Picked;
use crate::state::Rows;
use crate::sys::vector;

/// In place of a session's group: it has one row.
const ALONE: u32 = u32::MAX;
/// So few groups may stay that are of no session any more.
const GROUPS_MIN: usize = if cfg!(test) { 4 } else { 256 };
/// Sessions that are passed over together.
const BLOCK: usize = 64;

/// The sessions of a partition.
#[derive(Debug)]
pub(super) struct Partition {
    /// A hash of each one's key, of those that know no partition.
    pub(super) tags: Vec<u32>,
    pub(super) starts: Vec<i64>,
    /// [`GONE`]: it is no more.
    pub(super) ends: Vec<i64>,
    /// Words of keys.
    pub(super) keys: Vec<u64>,
    /// By argument, those of each session's first row.
    pub(super) arguments: Vec<Vec<u64>>,
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
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            tags: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
            keys: Vec::new(),
            arguments: shape.shipped_types.iter().map(|_| Vec::new()).collect(),
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
        let words = 3 + self.arguments.len() + self.key_words();
        self.ends.len() * 8 * words + self.sums.bytes()
    }

    fn key_words(&self) -> usize {
        self.keys.len() / self.ends.len().max(1)
    }

    /// A session's key, of `KEY` words.
    #[inline(always)]
    pub(super) fn key<const KEY: usize>(&self, slot: u32) -> &[u64; KEY] {
        self.keys[slot as usize * KEY..].first_chunk().expect("a key")
    }

    /// Begins a session with each of these rows, which have keys of `KEY` words and `time_count` words of times.
    pub(super) fn begin_all<const KEY: usize>(
        &mut self,
        rows: &Rows<'_>,
        time_count: usize,
        gap_ms: i64,
    ) {
        let first = self.ends.len();
        let end = first + rows.words.len() / rows.stride;
        self.tags.resize(end, 0);
        self.starts.resize(end, 0);
        self.ends.resize(end, 0);
        self.groups.resize(end, ALONE);
        self.keys.resize(end * KEY, 0);
        let keys = self.keys[first * KEY..].as_chunks_mut::<KEY>().0.iter_mut();
        let spans = self.starts[first..].iter_mut().zip(&mut self.ends[first..]);
        let begun = keys.zip(&mut self.tags[first..]).zip(spans);
        for (row, ((key, tag), (start, end))) in rows.words.chunks_exact(rows.stride).zip(begun) {
            *key = *row.first_chunk::<KEY>().expect("a key");
            *tag = mix(key) as u32;
            *start = row[KEY].cast_signed();
            *end = start.saturating_add(gap_ms);
        }
        for (at, column) in (KEY + time_count..).zip(&mut self.arguments) {
            extend(column, rows, at);
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
        self.keys.extend_from_slice(key);
        self.starts.push(span.0);
        self.ends.push(span.1);
        self.arguments.iter_mut().for_each(|column| column.push(0));
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
        found.push(group, self.arguments.iter().map(|column| column[slot as usize]));
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
        let (into, from) = (into as usize, from as usize);
        self.starts[into] = self.starts[into].min(self.starts[from]);
        self.ends[into] = self.ends[into].max(self.ends[from]);
        self.remove(from as u32);
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
        let Ended { all, alone, folded } = ended;
        all.begin(self.ends.len());
        let (ends, earliest_ms) = (&self.ends, &mut self.earliest_ms);
        vector::widest(TakeOver { ends, earliest_ms, over_ms, over: all });
        alone.begin(all.get().len());
        alone.pick_of(all.get(), |slot| self.groups[slot as usize] == ALONE);
        folded.begin(all.get().len());
        if alone.get().len() < all.get().len() {
            folded.pick_of(all.get(), |slot| self.groups[slot as usize] != ALONE);
        }
    }

    /// Forgets sessions that have been read out.
    pub(super) fn forget(&mut self, ended: &Ended, shape: &Shape) {
        ended.all.get().iter().for_each(|&slot| self.remove(slot));
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
        let key_words = self.key_words();
        self.tags.drain(..first);
        self.starts.drain(..first);
        self.ends.drain(..first);
        self.groups.drain(..first);
        self.keys.drain(..first * key_words);
        self.arguments.iter_mut().for_each(|column| drop(column.drain(..first)));
        self.earliest_ms.drain(..first.div_ceil(BLOCK));
        self.gone_count -= first;
    }

    /// Sessions that are gone leave.
    fn keep_open(&mut self) {
        let is_open = |slot: &usize| self.ends[*slot] != GONE;
        let open: Vec<usize> = (0..self.ends.len()).filter(is_open).collect();
        let key_words = self.key_words();
        keep(&mut self.tags, &open, 1);
        keep(&mut self.starts, &open, 1);
        keep(&mut self.ends, &open, 1);
        keep(&mut self.groups, &open, 1);
        keep(&mut self.keys, &open, key_words);
        self.arguments.iter_mut().for_each(|column| keep(column, &open, 1));
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
    earliest_ms: &'a mut [Option<i64>],
    over_ms: i64,
    over: &'a mut Picked,
}

impl vector::Loop for TakeOver<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { ends, earliest_ms, over_ms, over } = self;
        for (block, (ends, earliest_ms)) in ends.chunks(BLOCK).zip(earliest_ms).enumerate() {
            if earliest_ms.is_some_and(|earliest_ms| earliest_ms <= over_ms) {
                over.pick(block * BLOCK, ends.iter().map(|&end| end <= over_ms && end != GONE));
                *earliest_ms = earliest(ends, over_ms);
            }
        }
    }
}

/// The first of these ends that comes after `over_ms`, if one does.
#[inline(always)]
fn earliest(ends: &[i64], over_ms: i64) -> Option<i64> {
    let later = ends.iter().map(|&end| if end > over_ms { end } else { i64::MAX });
    let first = later.min().unwrap_or(i64::MAX);
    (first != i64::MAX || over_ms != i64::MAX && ends.contains(&i64::MAX)).then_some(first)
}

/// Appends word `at` of each row.
fn extend(column: &mut Vec<u64>, rows: &Rows<'_>, at: usize) {
    // Of the commonest lengths the compiler knows where the words lie.
    match rows.stride {
        2 => extend_fixed::<2>(column, rows.words, at),
        3 => extend_fixed::<3>(column, rows.words, at),
        4 => extend_fixed::<4>(column, rows.words, at),
        stride => column.extend(rows.words.chunks_exact(stride).map(|row| row[at])),
    }
}

fn extend_fixed<const STRIDE: usize>(column: &mut Vec<u64>, words: &[u64], at: usize) {
    assert!(at < STRIDE);
    column.extend(words.as_chunks::<STRIDE>().0.iter().map(|row| row[at]));
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
    pub(super) all: Picked,
    /// Those of one row.
    pub(super) alone: Picked,
    /// The others.
    pub(super) folded: Picked,
}
