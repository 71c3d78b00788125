//! A pane: the groups of one slice or window, with their accumulators and distinct sets.
//!
//! # Invariants
//!
//! 1. Slots are numbered from 0 in order of arrival and never removed; set *i* of each list belongs to slot *i*.
//! 2. Accumulators of DISTINCT calls count a value when its pair is flushed; whoever reads results flushes first.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::distinct::{
    adopt_values, blank_distinct, finish_list, flush_list, insert_distinct, load_sets, new_sets,
    values_of,
};
use super::grouped::group_of;
use super::key_numbers::{KeyNumbers, NumberedSlots};
use super::moving::MovedValue;
use super::numbered::Numbers;
use super::shape::Shape;
use super::sum::Sum;
use crate::agg::{
    self, AggregateFunction, Argument, Fused, PartialGroups, Partials, Slots, Source, Update,
};
use crate::batch::{Batch, Keys};
use crate::state::{DistinctSets, Pages, Saved, Table, ValuePair, WordSlots};

/// A table's accumulators, as kernels see them: from word `base` of each slot on.
pub struct TableSlots<'a, T = Table> {
    /// The shard's pages.
    pub pages: &'a mut Pages,
    /// The table.
    pub table: &'a mut T,
}

impl<T: WordSlots> Slots for TableSlots<'_, T> {
    #[inline]
    fn words(&self, slot: u32) -> &[u64] {
        self.table.words(self.pages, slot)
    }

    // Called in every row of loops that are compiled for wide vectors.
    #[inline(always)]
    fn words_mut(&mut self, slot: u32) -> &mut [u64] {
        self.table.words_mut(self.pages, slot)
    }

    #[inline]
    fn part_mut<const WORDS: usize>(&mut self, slot: u32, offset: usize) -> &mut [u64; WORDS] {
        self.table.part_mut(self.pages, slot, offset)
    }

    fn blob(&self, blob: u64) -> &[u8] {
        self.table.heap().get_any(self.pages, blob)
    }

    fn blob_mut(&mut self, blob: u64) -> &mut [u8] {
        self.table.heap_mut().get_mut(self.pages, blob)
    }

    fn new_aligned(&mut self, bytes: &[u8]) -> u64 {
        self.table.heap_mut().insert_aligned(self.pages, bytes)
    }

    fn put_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        self.table.heap_mut().replace(self.pages, blob, bytes)
    }

    fn append_blob(&mut self, blob: u64, bytes: &[u8]) -> u64 {
        self.table.heap_mut().append(self.pages, blob, bytes)
    }
}

/// Rows that all calls fold before any folds more: few enough for their groups to stay in the first cache from call to call.
const BLOCK_ROWS: usize = 256;

/// Folds the rows of shipped `columns` into every call that is not DISTINCT.
///
/// `base`: the first accumulator word of a slot.
pub fn update_calls<S: Slots>(
    shape: &Shape,
    base: usize,
    slots: &mut S,
    rows: &[u32],
    columns: &[ArrayRef],
) {
    let mut updates = Vec::with_capacity(shape.calls.len());
    for (index, call) in shape.calls.iter().enumerate() {
        if call.distinct || !shape.layout.folds[index] {
            continue;
        }
        let (accumulator, offset) = shape.layout.accumulators[index];
        let filter = call.filter.map(|filter| true_rows(&columns[filter]));
        if let AggregateFunction::User(function) = &call.function {
            let args: Vec<ArrayRef> = call.args.iter().map(|&arg| columns[arg].clone()).collect();
            agg::add(function, base + offset, slots, rows, &args, filter.as_ref());
            continue;
        }
        let (argument, nulls) = match call.args.as_slice() {
            [] => (Argument::None, None),
            [arg] => (argument_of(accumulator, &columns[*arg]), columns[*arg].nulls().cloned()),
            args => (
                Argument::None,
                args.iter().fold(None, |nulls, &arg| {
                    NullBuffer::union(nulls.as_ref(), columns[arg].nulls())
                }),
            ),
        };
        let (place, nulls) = ((accumulator, base + offset), nulls.as_ref());
        updates.push(Update::new(place, &call.separator, argument, nulls, filter.as_ref()));
    }
    let fused = Fused::of(&mut updates);
    for (index, block) in rows.chunks(BLOCK_ROWS).enumerate() {
        fused.iter().for_each(|fused| fused.fold(slots, block, index * BLOCK_ROWS));
        updates.iter().for_each(|update| update.fold(slots, block, index * BLOCK_ROWS));
    }
}

pub(super) fn argument_of(accumulator: agg::Accumulator, column: &ArrayRef) -> Argument<'_> {
    match accumulator {
        agg::Accumulator::Count => Argument::None,
        agg::Accumulator::Variance
            if column.as_primitive_opt::<arrow_array::types::Decimal128Type>().is_some() =>
        {
            let decimals = column.as_primitive::<arrow_array::types::Decimal128Type>();
            let unit = 10f64.powi(-i32::from(decimals.scale()));
            Argument::Float(
                decimals
                    .values()
                    .iter()
                    .map(|&value| value as f64 * unit)
                    .collect::<Vec<_>>()
                    .into(),
            )
        }
        _ => Argument::new(column),
    }
}

/// The rows in which a BOOLEAN column is true.
pub fn true_rows(column: &ArrayRef) -> BooleanBuffer {
    let column = column.as_boolean();
    match column.nulls() {
        None => column.values().clone(),
        Some(nulls) => column.values() & nulls.inner(),
    }
}

/// The groups of one slice or window.
#[derive(Debug)]
pub struct Pane {
    /// The groups.
    pub table: Table,
    sets: Vec<DistinctSets>,
    /// The numbers of its first groups, if any; derived, never saved.
    numbered: NumberedSlots,
}

/// Groups of panes that have more are found by their keys: their numbers would be state that does not go to the disk.
const NUMBERED_GROUPS_MAX: u32 = 1 << 16;

impl Pane {
    /// An empty pane whose slots have `word_count` words.
    pub fn new(shape: &Shape, word_count: usize) -> Self {
        Self {
            table: Table::new(word_count),
            sets: new_sets(shape),
            numbered: NumberedSlots::default(),
        }
    }

    /// The slot of a key, made if need be.
    #[inline]
    pub fn slot(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> u32 {
        let (slot, made) = self.table.upsert(pages, hash, key);
        if made {
            for sets in &mut self.sets {
                sets.create(pages);
            }
        }
        slot
    }

    /// The slots of all keys.
    pub fn slots(&mut self, pages: &mut Pages, keys: &Keys, rows: &mut Vec<u32>) {
        rows.clear();
        rows.extend((0..keys.count()).map(|index| {
            self.table.look_ahead(pages, &keys.hashes, index);
            self.slot(pages, keys.hashes[index], keys.get(index))
        }));
    }

    /// The slots of some of a payload's keys, which may have numbers.
    pub(super) fn slots_of(
        &mut self,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        (keys, numbers): (&Keys, Option<&Numbers>),
        indices: &[u32],
    ) -> Vec<u32> {
        let numbers = numbers.filter(|_| self.number(pages, key_numbers));
        let Some(numbers) = numbers else {
            let slot = |&index: &u32| {
                self.slot(pages, keys.hashes[index as usize], keys.get(index as usize))
            };
            return indices.iter().map(slot).collect();
        };
        let mut slots = key_numbers.of_payload(keys, numbers, indices);
        slots.iter_mut().for_each(|slot| *slot = self.numbered_slot(pages, key_numbers, *slot));
        slots
    }

    /// Sees to it that all groups have numbers; false, and perhaps they have none, of too many.
    fn number(&mut self, pages: &Pages, key_numbers: &mut KeyNumbers) -> bool {
        let (table, count) = (&self.table, self.table.slot_end());
        if count > NUMBERED_GROUPS_MAX {
            self.numbered = NumberedSlots::default();
            return false;
        }
        let key = |slot| (table.hash(pages, slot), table.key(pages, slot));
        self.numbered.complete(key_numbers, count, key);
        true
    }

    /// The slot of the key with this number, made if need be. All groups have numbers.
    #[inline]
    fn numbered_slot(&mut self, pages: &mut Pages, key_numbers: &KeyNumbers, number: u32) -> u32 {
        self.numbered.slot(number).unwrap_or_else(|| {
            let (hash, key) = key_numbers.key(number);
            self.numbered.push(number);
            self.append(pages, hash, key)
        })
    }

    /// The slot of a key that has none yet.
    fn append(&mut self, pages: &mut Pages, hash: u64, key: &[u8]) -> u32 {
        for sets in &mut self.sets {
            sets.create(pages);
        }
        self.table.append(pages, hash, key)
    }

    /// Adds all groups to a sum, as if their rows had come after its own.
    pub(super) fn add_to(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        sum: &mut Sum,
    ) {
        let table = &self.table;
        let key = |slot| (table.hash(pages, slot), table.key(pages, slot));
        self.numbered.complete(key_numbers, table.slot_end(), key);
        let from = TableSlots { pages, table: &mut self.table };
        sum.add(shape, self.numbered.numbers(), &from);
    }

    /// Adds groups that have these numbers, as if their rows had come after its own.
    pub(super) fn add_sum<S: Source>(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        (numbers, from): (&[u32], &S),
    ) {
        let slots: Vec<u32> = match self.number(pages, key_numbers) {
            true => numbers.iter().map(|&it| self.numbered_slot(pages, key_numbers, it)).collect(),
            false => {
                let keys = numbers.iter().map(|&number| key_numbers.key(number));
                keys.map(|(hash, key)| self.slot(pages, hash, key)).collect()
            }
        };
        let mut table = TableSlots { pages, table: &mut self.table };
        let indices = 0..numbers.len() as u32;
        agg::merge_groups(&shape.layout, &shape.calls, &mut table, &slots, from, indices);
    }

    /// Folds rows, whose slots are `rows`.
    pub fn update(&mut self, shape: &Shape, pages: &mut Pages, rows: &[u32], columns: &[ArrayRef]) {
        update_calls(shape, 0, &mut TableSlots { pages, table: &mut self.table }, rows, columns);
        for (index, list) in shape.distinct.iter().enumerate() {
            if insert_distinct(&mut self.sets[index], list, pages, rows, columns) {
                self.flush_list(shape, index, pages);
            }
        }
    }

    /// Folds rows of which there is nothing but their values of the one distinct list, each for the slot that `slots` says its group has here.
    pub(super) fn update_values(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        pairs: &[ValuePair],
        slots: &[u32],
    ) {
        if shape.calls.iter().any(|call| !call.distinct) {
            let rows: Vec<u32> = pairs.iter().map(|pair| slots[group_of(pair)]).collect();
            update_calls(shape, 0, &mut TableSlots { pages, table: &mut self.table }, &rows, &[]);
        }
        if self.sets[0].insert_pairs(pages, pairs, slots) {
            self.flush_list(shape, 0, pages);
        }
    }

    /// Merges group `index` of `partials` into `slot`.
    pub fn merge(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        slot: u32,
        partials: &Partials,
        index: usize,
    ) {
        let mut slots = TableSlots { pages, table: &mut self.table };
        agg::merge(&shape.layout, 0, &shape.calls, &mut slots, slot, partials, index);
    }

    /// Merges the groups of `partials` at `indices` into `slots`.
    pub(super) fn merge_all(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        slots: &[u32],
        partials: &Partials,
        indices: impl Iterator<Item = u32>,
    ) {
        let mut table = TableSlots { pages, table: &mut self.table };
        let from = PartialGroups { partials, word_count: shape.layout.word_count };
        agg::merge_groups(&shape.layout, &shape.calls, &mut table, slots, &from, indices);
    }

    /// Brings DISTINCT accumulators up to date.
    pub fn flush(&mut self, shape: &Shape, pages: &mut Pages) {
        for index in 0..self.sets.len() {
            self.flush_list(shape, index, pages);
        }
    }

    /// The same for the last time: only results are read of the pane from now on.
    pub(super) fn finish(&mut self, shape: &Shape, pages: &mut Pages) {
        for (index, sets) in self.sets.iter_mut().enumerate() {
            finish_list(shape, index, sets, pages, &mut self.table);
        }
    }

    fn flush_list(&mut self, shape: &Shape, index: usize, pages: &mut Pages) {
        flush_list(shape, index, 0, &mut self.sets[index], pages, &mut self.table);
    }

    /// Calls `to` with the hash, the key and the accumulators of every group, in order of arrival.
    pub(super) fn each_group(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        mut to: impl FnMut(&mut Pages, u64, &[u8], &Partials),
    ) {
        let (mut key, mut partials) = (Vec::new(), Partials::default());
        for slot in 0..self.table.slot_end() {
            key.clear();
            key.extend_from_slice(self.table.key(pages, slot));
            partials.clear();
            let slots = TableSlots { pages, table: &mut self.table };
            agg::export(&shape.layout, 0, &slots, slot, &mut partials);
            let hash = self.table.hash(pages, slot);
            to(pages, hash, &key, &partials);
        }
    }

    /// Adds all groups of `other`, as if its rows had come after this pane's.
    pub(super) fn absorb(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        other: &mut Pane,
    ) {
        other.flush(shape, pages);
        let slots = self.slots_in(pages, key_numbers, other);
        let mut partials = Partials::default();
        for (index, block) in slots.chunks(BLOCK_ROWS).enumerate() {
            partials.clear();
            let first = (index * BLOCK_ROWS) as u32;
            let from = TableSlots { pages, table: &mut other.table };
            for slot in first..first + block.len() as u32 {
                agg::export(&shape.layout, 0, &from, slot, &mut partials);
            }
            blank_distinct(shape, &mut partials);
            self.merge_all(shape, pages, block, &partials, 0..block.len() as u32);
        }
        for index in 0..self.sets.len() {
            for (from, &into) in (0..).zip(&slots) {
                self.absorb_set(shape, index, pages, into, other, from);
            }
        }
    }

    /// The slots of the keys of all groups of `other`, made if need be.
    fn slots_in(
        &mut self,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
        other: &mut Pane,
    ) -> Vec<u32> {
        let are_numbered = other.number(pages, key_numbers) && self.number(pages, key_numbers);
        if are_numbered {
            let numbers = other.numbered.numbers().iter();
            return numbers.map(|&number| self.numbered_slot(pages, key_numbers, number)).collect();
        }
        let slot = |from: u32| {
            let key = other.table.key(pages, from).to_vec();
            self.slot(pages, other.table.hash(pages, from), &key)
        };
        (0..other.table.slot_end()).map(slot).collect()
    }

    fn absorb_set(
        &mut self,
        shape: &Shape,
        index: usize,
        pages: &mut Pages,
        into: u32,
        other: &Pane,
        from: u32,
    ) {
        for id in other.sets[index].ids(pages, from) {
            let value = other.sets[index].value(pages, id).to_vec();
            let hash = other.sets[index].value_hash(pages, id);
            if self.sets[index].insert(pages, into, hash, &value) {
                self.flush_list(shape, index, pages);
            }
        }
    }

    /// The result rows of `slots`: keys, then aggregates. The caller has flushed.
    pub fn results(
        &mut self,
        shape: &Shape,
        base: usize,
        pages: &mut Pages,
        slots: &[u32],
    ) -> Vec<ArrayRef> {
        pages.make_room();
        let keys = slots.iter().map(|&slot| self.table.key(pages, slot));
        let columns = Keys::decode(&shape.key_types, keys);
        finish_calls(shape, base, columns, &TableSlots { pages, table: &mut self.table }, slots)
    }

    /// Frees everything.
    pub fn release(self, pages: &mut Pages) {
        self.sets.into_iter().for_each(|sets| sets.release(pages));
        self.table.release(pages);
    }

    /// The distinct values of a slot. What is pending has been flushed.
    pub(super) fn values(&self, pages: &Pages, slot: u32) -> Vec<MovedValue> {
        values_of(&self.sets, pages, slot)
    }

    /// Adds distinct values that have been counted already.
    pub(super) fn adopt_values(&mut self, pages: &mut Pages, slot: u32, values: &[MovedValue]) {
        adopt_values(&mut self.sets, pages, slot, values);
    }

    /// Adds distinct values, and folds those that are new.
    pub(super) fn count_values(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        slot: u32,
        values: &[MovedValue],
    ) {
        for value in values {
            if self.sets[value.list].insert(pages, slot, value.hash, &value.value) {
                self.flush_list(shape, value.list, pages);
            }
        }
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        self.table.save(out);
        self.sets.iter().for_each(|sets| sets.save(out));
    }

    /// The pane that was saved, whose slots have `word_count` words.
    pub fn load(shape: &Shape, word_count: usize, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let table = Table::load(word_count, saved, pages);
        Self { table, sets: load_sets(shape, saved, pages), numbered: NumberedSlots::default() }
    }
}

/// The aggregates of `slots` behind `columns`, which are the keys.
pub(super) fn finish_calls<S: Slots>(
    shape: &Shape,
    base: usize,
    mut columns: Vec<ArrayRef>,
    table: &S,
    slots: &[u32],
) -> Vec<ArrayRef> {
    for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
        columns.push(agg::finish(call, base + offset, table, slots));
    }
    columns
}

/// Merges the one group in `partials` into the accumulators of `slot` from word `base` on.
pub(super) fn merge_at<S: Slots>(
    shape: &Shape,
    base: usize,
    slots: &mut S,
    slot: u32,
    partials: &Partials,
) {
    agg::merge(&shape.layout, base, &shape.calls, slots, slot, partials, 0);
}

/// The window columns behind a pane's results: `window_start`, `window_end`, `window_time`, all milliseconds.
/// Without `start_ms` the window was attached to the rows, and its start is the last key.
pub fn with_window(
    shape: &Shape,
    mut columns: Vec<ArrayRef>,
    rows: usize,
    start_ms: Option<i64>,
    end_ms: i64,
    time_ms: i64,
) -> Batch {
    let constant = |value| Arc::new(Int64Array::from_value(value, rows)) as ArrayRef;
    let start = match start_ms {
        Some(start_ms) => constant(start_ms),
        None => columns.remove(shape.keys.len() - 1),
    };
    columns.extend([start, constant(end_ms), constant(time_ms)]);
    Batch::new(columns, rows)
}
