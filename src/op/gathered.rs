//! The groups of a part of the keys, gathered from what waited of them in one or several slices.
//!
//! A part is a partition ([`crate::state::Backlog`]), or, where that has too many records, a piece of it by more bits of the hash. Its table fits
//! the cache, and results are read out of it before the next part is gathered.
//!
//! # Invariants
//!
//! 1. Slices are folded in the order given, what waited in a slice in the order in which it came, where that shows.
//! 2. Every record is in one part, all records of a key in the same.

use std::ops::Range;

use arrow_array::ArrayRef;

use super::accumulators::Accumulators;
use super::found::Found;
use super::pane::{finish_calls, merge_at};
use super::part_keys::PartKeys;
use super::shape::Shape;
use super::waiting::widths;
use crate::agg::Partials;
use crate::batch::Packing;
use crate::state::{Backlog, Entry, Group, Pages, Rows};

/// A part has about so many rows and groups at most.
const PART_RECORDS: usize = if cfg!(test) { 64 } else { 1 << 14 };

/// So many copied rows are put to their groups at a time.
const COPIED_AT_ONCE: usize = 1 << 11;

/// The groups of a part.
#[derive(Debug)]
pub(super) struct Gathered {
    groups: Groups,
    partition: usize,
    /// Whether the partition has several parts, whose records lie in `places` and `copied`.
    is_divided: bool,
    /// Where rows and groups lie, in the order of parts, apart from rows that have been copied.
    places: Vec<Place>,
    /// Rows in the order of parts.
    copied: Copied,
    /// Where the parts end that are still to come, the last first: in `places`, and of rows in `copied`.
    part_ends: Vec<[usize; 2]>,
    /// Up to here they have been gathered.
    done: [usize; 2],
}

/// Rows that are packed alike, copied to where the others of their part lie.
#[derive(Debug)]
struct Copied {
    packing: Packing,
    stride: usize,
    words: Vec<u64>,
}

#[derive(Debug)]
struct Groups {
    keys: PartKeys,
    accumulators: Accumulators,
    found: Found,
    /// A group that is merged.
    partials: Partials,
}

/// Where a row or a group lies.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    slice: u32,
    page: u32,
    /// The word at which its entry begins.
    entry: u32,
    /// Which of a run's rows.
    row: u32,
}

impl Gathered {
    pub(super) fn new(shape: &Shape) -> Self {
        let groups = Groups {
            keys: PartKeys::new(),
            accumulators: Accumulators::new(shape.layout.word_count),
            found: Found::new(shape),
            partials: Partials::default(),
        };
        let packing = Packing { length: 0, behind_zero: false };
        Self {
            groups,
            partition: 0,
            is_divided: false,
            places: Vec::new(),
            copied: Copied { packing, stride: 1, words: Vec::new() },
            part_ends: Vec::new(),
            done: [0; 2],
        }
    }

    /// How many keys wait in a partition; of keys that have the same half of a hash one counts.
    pub(super) fn distinct(
        shape: &Shape,
        pages: &Pages,
        backlog: &Backlog,
        partition: usize,
    ) -> usize {
        let mut hashes = Vec::with_capacity(backlog.records_in(partition));
        for_each(shape, pages, &[backlog], partition, |entry, _| {
            each_hash(&entry, |_, hash| hashes.push(hash));
        });
        hashes.sort_unstable();
        hashes.dedup();
        hashes.len()
    }

    /// Turns to a partition of `slices`; its parts come one after the other.
    pub(super) fn begin(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        slices: &[&Backlog],
        partition: usize,
    ) {
        pages.make_room();
        self.partition = partition;
        (self.done, self.part_ends) = ([0; 2], Vec::new());
        let records: usize = slices.iter().map(|slice| slice.records_in(partition)).sum();
        let parts = records.div_ceil(PART_RECORDS).next_power_of_two();
        self.is_divided = parts > 1;
        match self.is_divided {
            true => self.divide(shape, pages, slices, parts),
            false => self.part_ends.push([records, 0]),
        }
    }

    /// Puts the records of each part together: rows by copying them if all are packed alike and it does not show that they come behind
    /// groups, others by noting where they lie.
    fn divide(&mut self, shape: &Shape, pages: &Pages, slices: &[&Backlog], parts: usize) {
        let part = |hash: u32| hash as usize >> 1 >> (31 - parts.ilog2());
        let copies = self.finds_alike(shape, pages, slices);
        let kind = |entry: &Entry<'_>| usize::from(copies && matches!(entry, Entry::Rows(_)));
        let mut ends = [vec![0; parts + 1], vec![0; parts + 1]];
        for_each(shape, pages, slices, self.partition, |entry, _| {
            let ends = &mut ends[kind(&entry)];
            each_hash(&entry, |_, hash| ends[part(hash) + 1] += 1);
        });
        for ends in &mut ends {
            (0..parts).for_each(|part| ends[part + 1] += ends[part]);
        }
        let Self { places, copied, .. } = self;
        places.clear();
        places.resize(ends[0][parts], Place::default());
        copied.words.resize(ends[1][parts] * copied.stride, 0);
        for_each(shape, pages, slices, self.partition, |entry, place| match entry {
            Entry::Rows(rows) if copies => copied.put(&rows, part, &mut ends[1]),
            entry => each_hash(&entry, |row, hash| {
                let end = &mut ends[0][part(hash)];
                places[*end] = Place { row, ..place };
                *end += 1;
            }),
        });
        // Each now is where its part ends.
        self.part_ends = (0..parts).rev().map(|part| [ends[0][part], ends[1][part]]).collect();
    }

    /// Whether rows may be copied, and how they are packed.
    fn finds_alike(&mut self, shape: &Shape, pages: &Pages, slices: &[&Backlog]) -> bool {
        let goes_by_order = shape.shows_order() || !shape.layout.hides_grouping();
        let (mut alike, mut is_first, copied) = (true, true, &mut self.copied);
        for_each(shape, pages, slices, self.partition, |entry, _| {
            let Entry::Rows(Rows { packing, stride, .. }) = entry else {
                alike &= !goes_by_order;
                return;
            };
            if std::mem::take(&mut is_first) {
                (copied.packing, copied.stride) = (packing, stride);
            }
            alike &= (copied.packing, copied.stride) == (packing, stride);
        });
        alike
    }

    /// Gathers the next part; false: there is none.
    pub(super) fn next_part(&mut self, shape: &Shape, pages: &Pages, slices: &[&Backlog]) -> bool {
        let next = self.part_ends.pop();
        let [place_end, row_end] = next.unwrap_or(self.done);
        let [place_start, row_start] = self.done;
        // Of much that repeats the table grows as it is met.
        let records = place_end - place_start + row_end - row_start;
        self.groups.keys.begin(records.min(PART_RECORDS));
        self.groups.accumulators.clear();
        if next.is_none() {
            return false;
        }
        let Self { groups, places, copied, partition, .. } = self;
        if self.is_divided {
            let widths = widths(shape);
            for &Place { slice, page, entry, row } in &places[place_start..place_end] {
                let page = slices[slice as usize].page(pages, *partition, page as usize);
                match Entry::at(page, entry as usize, widths).expect("found there before").0 {
                    Entry::Rows(rows) => {
                        let words = &rows.words[row as usize * rows.stride..][..rows.stride];
                        groups.add_rows(shape, &Rows { words, ..rows });
                    }
                    Entry::Group(group) => groups.merge(shape, &group),
                }
            }
            let rows = &copied.words[row_start * copied.stride..row_end * copied.stride];
            for words in rows.chunks(COPIED_AT_ONCE * copied.stride) {
                let Copied { packing, stride, .. } = *copied;
                groups.add_rows(shape, &Rows { packing, words, stride });
            }
        } else {
            for_each(shape, pages, slices, *partition, |entry, _| match entry {
                Entry::Rows(rows) => groups.add_rows(shape, &rows),
                Entry::Group(group) => groups.merge(shape, &group),
            });
        }
        groups.fold(shape);
        self.done = [place_end, row_end];
        true
    }

    /// How many groups the part has.
    pub(super) fn count(&self) -> usize {
        self.groups.keys.count()
    }

    /// The accumulators of the groups, by slot.
    pub(super) fn accumulators(&self) -> &Accumulators {
        &self.groups.accumulators
    }

    /// Puts a group's key into `key`; its hash.
    pub(super) fn read_key(&self, slot: u32, key: &mut Vec<u8>) -> u64 {
        self.groups.keys.read(slot, key)
    }

    /// The result rows of some groups: keys, then aggregates.
    pub(super) fn results(&self, shape: &Shape, slots: Range<u32>) -> Vec<ArrayRef> {
        let keys = self.groups.keys.columns(&shape.key_types, slots.clone());
        let slots: Vec<u32> = slots.collect();
        finish_calls(shape, 0, keys, &self.groups.accumulators, &slots)
    }
}

impl Copied {
    /// Copies a run to where its rows' parts end, as `ends` says, and moves those on.
    fn put(&mut self, rows: &Rows<'_>, part: impl Fn(u32) -> usize, ends: &mut [usize]) {
        // Of the commonest lengths the compiler knows how many words it copies.
        match self.stride {
            2 => self.put_fixed::<2>(rows, part, ends),
            3 => self.put_fixed::<3>(rows, part, ends),
            4 => self.put_fixed::<4>(rows, part, ends),
            stride => {
                for row in rows.words.chunks_exact(stride) {
                    let end = &mut ends[part(hash_of(rows, row))];
                    self.words[*end * stride..][..stride].copy_from_slice(row);
                    *end += 1;
                }
            }
        }
    }

    fn put_fixed<const STRIDE: usize>(
        &mut self,
        rows: &Rows<'_>,
        part: impl Fn(u32) -> usize,
        ends: &mut [usize],
    ) {
        let room = self.words.as_chunks_mut::<STRIDE>().0;
        for row in rows.words.as_chunks::<STRIDE>().0 {
            let end = &mut ends[part(hash_of(rows, row))];
            room[*end] = *row;
            *end += 1;
        }
    }
}

/// The low half of the hash of a run's row.
#[inline]
fn hash_of(rows: &Rows<'_>, row: &[u64]) -> u32 {
    rows.packing.hash(&row[..rows.packing.words()]) as u32
}

impl Groups {
    /// Puts rows to their groups.
    fn add_rows(&mut self, shape: &Shape, rows: &Rows<'_>) {
        self.keys.find_rows(rows, &mut self.found.slots);
        self.found.add_arguments(rows, rows.packing.words());
        if self.found.are_many() {
            self.fold(shape);
        }
    }

    /// Adds what has been folded before to its group.
    fn merge(&mut self, shape: &Shape, group: &Group<'_>) {
        self.fold(shape);
        let slot = self.keys.find(group.key);
        self.accumulators.grow_to(self.keys.count());
        self.partials.set_group(group.words, group.tail);
        merge_at(shape, 0, &mut self.accumulators, slot, &self.partials);
    }

    /// Folds the rows that have come.
    fn fold(&mut self, shape: &Shape) {
        self.accumulators.grow_to(self.keys.count());
        self.found.fold(shape, &mut self.accumulators);
    }
}

/// Calls `to` with the hashes of a run's rows, or a group's, and which rows they are: the low halves.
#[inline]
fn each_hash(entry: &Entry<'_>, mut to: impl FnMut(u32, u32)) {
    match entry {
        Entry::Group(group) => to(0, group.hash),
        Entry::Rows(rows) => {
            let each = (0..).zip(rows.words.chunks_exact(rows.stride));
            each.for_each(|(index, row)| to(index, hash_of(rows, row)));
        }
    }
}

/// Calls `to` with every entry of a partition, and where it lies.
#[inline]
fn for_each(
    shape: &Shape,
    pages: &Pages,
    slices: &[&Backlog],
    partition: usize,
    mut to: impl FnMut(Entry<'_>, Place),
) {
    let widths = widths(shape);
    for (slice, backlog) in (0..).zip(slices) {
        for page in 0..backlog.pages_in(partition) {
            let words = backlog.page(pages, partition, page);
            let mut at = 0;
            while let Some((entry, next)) = Entry::at(words, at, widths) {
                to(entry, Place { slice, page: page as u32, entry: at as u32, row: 0 });
                at = next;
            }
        }
    }
}
