//! The groups of a part of the keys, gathered from what waited of them in one or several slices.
//!
//! A part is a partition ([`crate::state::Backlog`]), or, where that has too many records, a piece of it by more bits of the hash. Its table fits
//! the cache, and results are read out of it before the next part is gathered.
//!
//! # Invariants
//!
//! 1. Slices are folded in the order given, what waited in a slice in the order in which it came.
//! 2. Every record is in one part, all records of a key in the same.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{Float32Type, Int8Type, Int16Type, Int32Type};
use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, Float64Array, Int64Array, PrimitiveArray,
};

use super::folding::Folding;
use super::pane::{finish_calls, update_calls};
use super::shape::Shape;
use super::waiting::widths;
use crate::agg::{Partials, merge};
use crate::batch::hash::hash_bytes;
use crate::batch::{DataType, Keys};
use crate::state::{Backlog, Content, Pages, Record};

/// A part has about so many records at most.
const PART_RECORDS: usize = if cfg!(test) { 64 } else { 1 << 14 };
/// So many rows that follow each other are folded at a time at most.
const ROWS_AT_ONCE: usize = 4096;

/// The groups of a part.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) groups: Folding,
    rows: Rows,
    partition: usize,
    /// Where records lie, in the order of parts, if there are several.
    places: Vec<Place>,
    /// Where the parts end that are still to come, the last first.
    part_ends: Vec<usize>,
    /// Up to here `places` have been gathered.
    done: usize,
}

/// Rows that have been found their groups, and are yet to be folded.
#[derive(Debug)]
struct Rows {
    slots: Vec<u32>,
    /// By argument.
    words: Vec<Vec<u64>>,
    partials: Partials,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    slice: u32,
    page: u32,
    word: u32,
}

impl Gathered {
    pub(super) fn new(shape: &Shape) -> Self {
        let words = shape.shipped_types.iter().map(|_| Vec::new()).collect();
        Self {
            groups: Folding::new(shape.layout.word_count),
            rows: Rows { slots: Vec::new(), words, partials: Partials::default() },
            partition: 0,
            places: Vec::new(),
            part_ends: Vec::new(),
            done: 0,
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
        for_each(shape, pages, &[backlog], partition, |record, _| hashes.push(record.hash));
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
        (self.done, self.part_ends) = (0, Vec::new());
        let records: usize = slices.iter().map(|slice| slice.records_in(partition)).sum();
        let parts = records.div_ceil(PART_RECORDS).next_power_of_two();
        self.part_ends.push(records);
        if parts > 1 {
            self.divide(shape, pages, slices, parts);
        }
    }

    /// Finds out where the records of each part lie.
    fn divide(&mut self, shape: &Shape, pages: &Pages, slices: &[&Backlog], parts: usize) {
        let part = |record: &Record<'_>| record.hash as usize >> 1 >> (31 - parts.ilog2());
        let mut ends = vec![0; parts + 1];
        for_each(shape, pages, slices, self.partition, |record, _| ends[part(record) + 1] += 1);
        for part in 0..parts {
            ends[part + 1] += ends[part];
        }
        self.places = vec![Place::default(); ends[parts]];
        for_each(shape, pages, slices, self.partition, |record, place| {
            let end = &mut ends[part(record)];
            self.places[*end] = place;
            *end += 1;
        });
        // Each now is where its part ends.
        ends.truncate(parts);
        ends.reverse();
        self.part_ends = ends;
    }

    /// Gathers the next part; false: there is none.
    pub(super) fn next_part(&mut self, shape: &Shape, pages: &Pages, slices: &[&Backlog]) -> bool {
        self.groups.clear();
        let Some(end) = self.part_ends.pop() else { return false };
        let (groups, rows) = (&mut self.groups, &mut self.rows);
        if self.places.is_empty() {
            for_each(shape, pages, slices, self.partition, |record, _| {
                rows.add(shape, groups, record);
            });
        } else {
            let widths = widths(shape);
            for &Place { slice, page, word } in &self.places[self.done..end] {
                let page = slices[slice as usize].page(pages, self.partition, page as usize);
                let (record, _) =
                    Record::at(page, word as usize, widths).expect("found there before");
                rows.add(shape, groups, &record);
            }
        }
        rows.fold(shape, groups);
        self.done = end;
        if self.part_ends.is_empty() {
            self.places = Vec::new();
        }
        true
    }

    /// A group's hash and key.
    pub(super) fn key(&self, slot: u32) -> (u64, &[u8]) {
        let (_, key, _) = self.groups.group(slot);
        (hash_bytes(key), key)
    }
}

impl Folding {
    /// The result rows of some groups: keys, then aggregates.
    pub(super) fn results(&self, shape: &Shape, slots: Range<u32>) -> Vec<ArrayRef> {
        let slots: Vec<u32> = slots.collect();
        let keys = slots.iter().map(|&slot| self.group(slot).1);
        finish_calls(shape, 0, Keys::decode(&shape.key_types, keys), self, &slots)
    }
}

impl Rows {
    /// Puts a record to its group.
    #[inline]
    fn add(&mut self, shape: &Shape, groups: &mut Folding, record: &Record<'_>) {
        let slot = groups.slot(record.hash.into(), 0, record.key);
        match record.content {
            Content::Row(arguments) => {
                self.slots.push(slot);
                for (column, &word) in self.words.iter_mut().zip(arguments) {
                    column.push(word);
                }
                if self.slots.len() == ROWS_AT_ONCE {
                    self.fold(shape, groups);
                }
            }
            Content::Group(words, tail) => {
                self.fold(shape, groups);
                self.partials.set_group(words, tail);
                merge(&shape.layout, 0, &shape.calls, groups, slot, &self.partials, 0);
            }
        }
    }

    /// Folds the rows that have come.
    fn fold(&mut self, shape: &Shape, groups: &mut Folding) {
        if self.slots.is_empty() {
            return;
        }
        let types = shape.shipped_types.iter();
        let columns: Vec<ArrayRef> =
            types.zip(&self.words).map(|(&data_type, words)| column_of(data_type, words)).collect();
        update_calls(shape, 0, groups, &self.slots, &columns);
        self.slots.clear();
        self.words.iter_mut().for_each(Vec::clear);
    }
}

/// Calls `to` with every record of a partition, and where it lies.
#[inline]
fn for_each(
    shape: &Shape,
    pages: &Pages,
    slices: &[&Backlog],
    partition: usize,
    mut to: impl FnMut(&Record<'_>, Place),
) {
    let widths = widths(shape);
    for (slice, backlog) in (0..).zip(slices) {
        for page in 0..backlog.pages_in(partition) {
            let words = backlog.page(pages, partition, page);
            let mut at = 0;
            while let Some((record, next)) = Record::at(words, at, widths) {
                to(&record, Place { slice, page: page as u32, word: at as u32 });
                at = next;
            }
        }
    }
}

/// The column that was words.
fn column_of(data_type: DataType, words: &[u64]) -> ArrayRef {
    use arrow_schema::DataType as Arrow;
    match data_type.arrow() {
        Arrow::Boolean => {
            Arc::new(words.iter().map(|&word| Some(word != 0)).collect::<BooleanArray>())
        }
        Arrow::Int8 => narrowed::<Int8Type>(words, |word| word as i8),
        Arrow::Int16 => narrowed::<Int16Type>(words, |word| word as i16),
        Arrow::Int32 => narrowed::<Int32Type>(words, |word| word as i32),
        Arrow::Float32 => narrowed::<Float32Type>(words, |word| f32::from_bits(word as u32)),
        Arrow::Float64 => {
            Arc::new(Float64Array::from(bytemuck::cast_slice::<u64, f64>(words).to_vec()))
        }
        _ => Arc::new(Int64Array::from(bytemuck::cast_slice::<u64, i64>(words).to_vec())),
    }
}

fn narrowed<T: ArrowPrimitiveType>(words: &[u64], to: impl Fn(u64) -> T::Native) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::from_iter_values(words.iter().map(|&word| to(word))))
}
