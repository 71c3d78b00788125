//! Rows are put to the sessions of a partition.

use super::GONE;
use super::index::Index;
use super::partition::Partition;
use crate::agg::{Partials, Slots, export};
use crate::metrics::LateRows;
use crate::op::found::Found;
use crate::op::pane::merge_at;
use crate::op::shape::Shape;
use crate::state::Rows;

/// Rows on their way to the sessions of a partition.
pub(super) struct Join<'a> {
    pub(super) shape: &'a Shape,
    pub(super) gap_ms: i64,
    pub(super) partition: &'a mut Partition,
    pub(super) index: &'a mut Index,
    pub(super) found: &'a mut Found,
    pub(super) late: &'a mut LateRows,
}

/// Why a row is not simply put to a session.
enum Odd {
    /// It touches several.
    Joins,
    /// It comes late.
    Late,
}

impl Join<'_> {
    /// Adds a run of rows with keys of `KEY` words, these tags, and `time_count` words of times.
    pub(super) fn add<const KEY: usize>(
        &mut self,
        rows: &Rows<'_>,
        tags: &[u32],
        time_count: usize,
    ) {
        let firsts = tags.iter().map(|&tag| self.index.first(tag));
        firsts.for_each(|slot| self.partition.records.prefetch(slot));
        let mut begin = 0;
        while begin < tags.len() {
            let (end, odd) = self.seek_all::<KEY>(rows, tags, begin, time_count > 1);
            let words = &rows.words[begin * rows.stride..end * rows.stride];
            self.found.add_arguments(&Rows { words, ..*rows }, KEY + time_count);
            begin = end;
            match odd {
                None => {}
                Some(Odd::Late) => begin += 1,
                // The row comes again, when all that it touches is one.
                Some(Odd::Joins) => {
                    self.merge_touched::<KEY>(rows, (end, tags[end]), time_count > 1);
                }
            }
        }
        if self.found.are_many() {
            self.fold(KEY + 1);
        }
    }

    /// Finds the sessions of rows from `begin` on up to one that is odd, if there is one; which that is.
    fn seek_all<const KEY: usize>(
        &mut self,
        rows: &Rows<'_>,
        tags: &[u32],
        begin: usize,
        has_arrival: bool,
    ) -> (usize, Option<Odd>) {
        let Self { partition, index, found, .. } = self;
        let each = rows.words[begin * rows.stride..].chunks_exact(rows.stride);
        let (mut at, mut odd) = (begin, None);
        for (words, &tag) in each.zip(&tags[begin..]) {
            let row = Row::<KEY>::of(words, self.gap_ms, has_arrival);
            let (mut touched, mut several) = (None, false);
            let mut probe = index.probe(tag);
            while let Some(slot) = index.next(&mut probe) {
                if row.touches(partition, slot) {
                    several |= touched.replace(slot).is_some();
                }
            }
            let slot = match touched {
                Some(_) if several => {
                    odd = Some(Odd::Joins);
                    break;
                }
                Some(slot) => {
                    partition.widen(slot, KEY, (row.start, row.end));
                    slot
                }
                None if row.end <= row.over => {
                    self.late.record(row.start, row.over - 1);
                    odd = Some(Odd::Late);
                    break;
                }
                None => {
                    let slot = partition.push(tag, row.end);
                    *partition.records.part_mut(slot, 0) = *row.key;
                    *partition.records.part_mut(slot, KEY) = [row.start.cast_unsigned()];
                    index.put(&probe, slot);
                    slot
                }
            };
            found.slots.push(slot);
            at += 1;
        }
        (at, odd)
    }

    /// Merges all sessions that row `at`, which has this tag, touches into the oldest of them.
    #[cold]
    fn merge_touched<const KEY: usize>(
        &mut self,
        rows: &Rows<'_>,
        (at, tag): (usize, u32),
        has_arrival: bool,
    ) {
        self.fold(KEY + 1);
        let words = &rows.words[at * rows.stride..][..rows.stride];
        let row = Row::<KEY>::of(words, self.gap_ms, has_arrival);
        let mut touched = Vec::new();
        let mut probe = self.index.probe(tag);
        while let Some(slot) = self.index.next(&mut probe) {
            if row.touches(self.partition, slot) {
                touched.push(slot);
            }
        }
        touched.sort_unstable();
        // As in `Session::join`: from the youngest on, each into the next older one.
        for pair in touched.windows(2).rev() {
            self.merge(pair[0], pair[1], KEY);
        }
    }

    /// Adds a session to an older one, as what came later.
    fn merge(&mut self, into: u32, from: u32, key_words: usize) {
        let Partition { ends, records, gone_count, .. } = &mut *self.partition;
        let mut accumulators = Partials::default();
        export(&self.shape.layout, key_words + 1, records, from, &mut accumulators);
        merge_at(self.shape, key_words + 1, records, into, &accumulators);
        let start = records.words(from)[key_words].cast_signed();
        let end = std::mem::replace(&mut ends[from as usize], GONE);
        *gone_count += 1;
        self.partition.widen(into, key_words, (start, end));
    }

    /// Folds rows whose sessions have been found.
    pub(super) fn fold(&mut self, base: usize) {
        self.found.fold(self.shape, base, &mut self.partition.records);
    }
}

/// A row: its key, the session that it would be by itself, and up to which end sessions were over when it came.
struct Row<'a, const KEY: usize> {
    key: &'a [u64; KEY],
    start: i64,
    end: i64,
    over: i64,
}

impl<'a, const KEY: usize> Row<'a, KEY> {
    /// The row that lies in `words`, with its arrival behind its time, if that counts.
    #[inline(always)]
    fn of(words: &'a [u64], gap_ms: i64, has_arrival: bool) -> Self {
        let start = words[KEY].cast_signed();
        let over = match has_arrival {
            true => words[KEY + 1].cast_signed().saturating_add(1),
            false => GONE,
        };
        let key = words.first_chunk().expect("a key");
        Self { key, start, end: start.saturating_add(gap_ms), over }
    }

    /// Whether it touches a session, which is one of its key and was not over when it came.
    #[inline(always)]
    fn touches(&self, partition: &Partition, slot: u32) -> bool {
        let (end, words) = (partition.ends[slot as usize], partition.records.words(slot));
        words.first_chunk() == Some(self.key)
            && words[KEY].cast_signed() <= self.end
            && end >= self.start
            && end > self.over
    }
}
