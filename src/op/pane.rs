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

use super::moving::MovedValue;
use super::shape::{Distinct, Shape};
use crate::agg::{self, AggregateFunction, Argument, Partials, Slots, Update};
use crate::batch::{Batch, Integers, Keys};
use crate::state::{DistinctSets, Pages, Saved, Table, WordSlots};

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

    #[inline]
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
    for (index, block) in rows.chunks(BLOCK_ROWS).enumerate() {
        updates.iter().for_each(|update| update.fold(slots, block, index * BLOCK_ROWS));
    }
}

fn argument_of(accumulator: agg::Accumulator, column: &ArrayRef) -> Argument<'_> {
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
}

impl Pane {
    /// An empty pane whose slots have `word_count` words.
    pub fn new(shape: &Shape, word_count: usize) -> Self {
        Self { table: Table::new(word_count), sets: new_sets(shape) }
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

    /// Folds rows, whose slots are `rows`.
    pub fn update(&mut self, shape: &Shape, pages: &mut Pages, rows: &[u32], columns: &[ArrayRef]) {
        update_calls(shape, 0, &mut TableSlots { pages, table: &mut self.table }, rows, columns);
        for (index, list) in shape.distinct.iter().enumerate() {
            if insert_distinct(&mut self.sets[index], list, pages, rows, columns) {
                self.flush_list(shape, index, pages);
            }
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

    /// Brings DISTINCT accumulators up to date.
    pub fn flush(&mut self, shape: &Shape, pages: &mut Pages) {
        for index in 0..self.sets.len() {
            self.flush_list(shape, index, pages);
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
    pub fn absorb(&mut self, shape: &Shape, pages: &mut Pages, other: &mut Pane) {
        other.flush(shape, pages);
        let mut partials = Partials::default();
        for from in 0..other.table.slot_end() {
            let key = other.table.key(pages, from).to_vec();
            let into = self.slot(pages, other.table.hash(pages, from), &key);
            partials.clear();
            agg::export(
                &shape.layout,
                0,
                &TableSlots { pages, table: &mut other.table },
                from,
                &mut partials,
            );
            blank_distinct(shape, &mut partials);
            self.merge(shape, pages, into, &partials, 0);
            for index in 0..self.sets.len() {
                self.absorb_set(shape, index, pages, into, other, from);
            }
        }
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
        Self { table, sets: load_sets(shape, saved, pages) }
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

fn values_of(lists: &[DistinctSets], pages: &Pages, set: u32) -> Vec<MovedValue> {
    let mut values = Vec::new();
    for (list, sets) in lists.iter().enumerate() {
        values.extend(sets.ids(pages, set).into_iter().map(|id| MovedValue {
            list,
            hash: sets.value_hash(pages, id),
            value: sets.value(pages, id).to_vec(),
        }));
    }
    values
}

fn adopt_values(lists: &mut [DistinctSets], pages: &mut Pages, set: u32, values: &[MovedValue]) {
    for value in values {
        if lists[value.list].insert(pages, set, value.hash, &value.value) {
            lists[value.list].flush(pages, |_, _| {});
        }
    }
    lists.iter_mut().for_each(|sets| sets.flush(pages, |_, _| {}));
}

/// Empty sets for every distinct list.
fn new_sets(shape: &Shape) -> Vec<DistinctSets> {
    shape.distinct.iter().map(|list| DistinctSets::new(list.values())).collect()
}

/// The sets of every distinct list, as they were saved.
fn load_sets(shape: &Shape, saved: &mut Saved<'_>, pages: &Pages) -> Vec<DistinctSets> {
    shape.distinct.iter().map(|list| DistinctSets::load(list.values(), saved, pages)).collect()
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

/// Merges what is buffered of one distinct list, and folds values that are new to their groups into its calls.
fn flush_list<T: WordSlots>(
    shape: &Shape,
    index: usize,
    base: usize,
    sets: &mut DistinctSets,
    pages: &mut Pages,
    table: &mut T,
) {
    let (mut slots, mut ids) = (Vec::new(), Vec::new());
    sets.flush(pages, |slot, id| {
        slots.push(slot);
        ids.push(id);
    });
    count_new(shape, index, base, sets, pages, table, &slots, &ids);
}

#[allow(clippy::too_many_arguments)]
fn count_new<T: WordSlots>(
    shape: &Shape,
    index: usize,
    base: usize,
    sets: &DistinctSets,
    pages: &mut Pages,
    table: &mut T,
    slots: &[u32],
    ids: &[u32],
) {
    let list = &shape.distinct[index];
    let counts_only =
        list.calls.iter().all(|&call| shape.layout.accumulators[call].0 == agg::Accumulator::Count);
    let values = match counts_only {
        true => Vec::new(),
        false => {
            let values: Vec<_> = ids.iter().map(|&id| sets.value(pages, id)).collect();
            Keys::decode(&list.arg_types, values.iter().map(|value| &**value))
        }
    };
    let mut table = TableSlots { pages, table };
    for &call in list.calls.iter().filter(|&&call| shape.layout.folds[call]) {
        let (accumulator, offset) = shape.layout.accumulators[call];
        let argument =
            values.first().map_or(Argument::None, |column| argument_of(accumulator, column));
        let separator = &shape.calls[call].separator;
        let update = Update::new((accumulator, base + offset), separator, argument, None, None);
        update.fold(&mut table, slots, 0);
    }
}

/// The distinct sets of session records: set *i* of each list belongs to record *i*, which may be used again.
#[derive(Debug)]
pub(super) struct SessionSets {
    lists: Vec<DistinctSets>,
}

impl SessionSets {
    pub(super) fn new(shape: &Shape) -> Self {
        Self { lists: new_sets(shape) }
    }

    pub(super) fn ensure(&mut self, pages: &mut Pages, record: u32) {
        self.lists.iter_mut().for_each(|sets| sets.ensure(pages, record));
    }

    pub(super) fn clear_set(&mut self, pages: &mut Pages, record: u32) {
        self.lists.iter_mut().for_each(|sets| sets.clear_set(pages, record));
    }

    /// The distinct values of a record. The caller has flushed.
    pub(super) fn values(&self, pages: &Pages, record: u32) -> Vec<MovedValue> {
        values_of(&self.lists, pages, record)
    }

    /// Adds distinct values that have been counted already.
    pub(super) fn adopt_values(&mut self, pages: &mut Pages, record: u32, values: &[MovedValue]) {
        adopt_values(&mut self.lists, pages, record, values);
    }

    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.lists.iter().for_each(|sets| sets.save(out));
    }

    pub(super) fn load(shape: &Shape, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        Self { lists: load_sets(shape, saved, pages) }
    }

    /// Buffers the distinct values of rows.
    pub(super) fn insert<T: WordSlots>(
        &mut self,
        shape: &Shape,
        base: usize,
        pages: &mut Pages,
        records: &mut T,
        rows: &[u32],
        columns: &[ArrayRef],
    ) {
        for (index, list) in shape.distinct.iter().enumerate() {
            if insert_distinct(&mut self.lists[index], list, pages, rows, columns) {
                flush_list(shape, index, base, &mut self.lists[index], pages, records);
            }
        }
    }

    /// Brings DISTINCT accumulators up to date.
    pub(super) fn flush<T: WordSlots>(
        &mut self,
        shape: &Shape,
        base: usize,
        pages: &mut Pages,
        records: &mut T,
    ) {
        for (index, sets) in self.lists.iter_mut().enumerate() {
            flush_list(shape, index, base, sets, pages, records);
        }
    }

    /// Adds the values of `from` to `into`. The caller has flushed.
    pub(super) fn union<T: WordSlots>(
        &mut self,
        shape: &Shape,
        base: usize,
        pages: &mut Pages,
        records: &mut T,
        into: u32,
        from: u32,
    ) {
        for (index, sets) in self.lists.iter_mut().enumerate() {
            let mut ids = Vec::new();
            sets.union(pages, into, from, |id| ids.push(id));
            count_new(shape, index, base, sets, pages, records, &vec![into; ids.len()], &ids);
        }
    }

    pub(super) fn compact(&mut self, pages: &mut Pages) {
        self.lists.iter_mut().for_each(|sets| sets.compact(pages));
    }
}

/// DISTINCT accumulators are rebuilt from the sets, so what was exported of them does not count.
pub(super) fn blank_distinct(shape: &Shape, partials: &mut Partials) {
    for (call, &(accumulator, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
        if call.distinct {
            partials.words[offset..offset + accumulator.word_count()].fill(0);
        }
    }
}

/// Buffers the distinct values of rows; true when it is time to flush.
fn insert_distinct(
    sets: &mut DistinctSets,
    list: &Distinct,
    pages: &mut Pages,
    rows: &[u32],
    columns: &[ArrayRef],
) -> bool {
    let args: Vec<ArrayRef> = list.args.iter().map(|&arg| columns[arg].clone()).collect();
    let nulls = args.iter().fold(None, |nulls, arg| NullBuffer::union(nulls.as_ref(), arg.nulls()));
    let filter = list.filter.map(|filter| true_rows(&columns[filter]));
    if filter.is_none()
        && let Some(integers) = Integers::of(&args)
        && let Some(full) = sets.insert_integers(pages, rows, integers.values())
    {
        return full;
    }
    let mut values = Keys::default();
    values.encode(&args, rows.len());
    let mut full = false;
    for (row, &slot) in rows.iter().enumerate() {
        sets.look_ahead(pages, &values.hashes, row);
        let counts = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
            && filter.as_ref().is_none_or(|filter| filter.value(row));
        if counts {
            full |= sets.insert(pages, slot, values.hashes[row], values.get(row));
        }
    }
    full
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
