//! Distinct values of groups: lists of sets beside a pane's slots or a session's records, and the calls that count them.
//!
//! # Invariants
//!
//! 1. Set *i* of each list belongs to slot or record *i*.
//! 2. Accumulators of DISTINCT calls fold a value when its pair is flushed.

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;

use super::moving::MovedValue;
use super::pane::{TableSlots, argument_of, true_rows};
use super::shape::{Distinct, Shape};
use crate::agg::{self, Argument, Partials, Slots, Update};
use crate::batch::{Integers, Keys, Strings};
use crate::state::{DistinctSets, Pages, Saved, Table, WordSlots};

pub(super) fn values_of(lists: &[DistinctSets], pages: &Pages, set: u32) -> Vec<MovedValue> {
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

pub(super) fn adopt_values(
    lists: &mut [DistinctSets],
    pages: &mut Pages,
    set: u32,
    values: &[MovedValue],
) {
    for value in values {
        if lists[value.list].insert(pages, set, value.hash, &value.value) {
            lists[value.list].flush(pages, |_, _| {});
        }
    }
    lists.iter_mut().for_each(|sets| sets.flush(pages, |_, _| {}));
}

/// Empty sets for every distinct list.
pub(super) fn new_sets(shape: &Shape) -> Vec<DistinctSets> {
    shape.distinct.iter().map(|list| DistinctSets::new(list.values())).collect()
}

/// The sets of every distinct list, as they were saved.
pub(super) fn load_sets(shape: &Shape, saved: &mut Saved<'_>, pages: &Pages) -> Vec<DistinctSets> {
    shape.distinct.iter().map(|list| DistinctSets::load(list.values(), saved, pages)).collect()
}

/// Merges what is buffered of one distinct list, and folds values that are new to their groups into its calls.
pub(super) fn flush_list<T: WordSlots>(
    shape: &Shape,
    index: usize,
    base: usize,
    sets: &mut DistinctSets,
    pages: &mut Pages,
    table: &mut T,
) {
    if counts_only(shape, index) {
        let mut counts = Vec::new();
        sets.flush(pages, |slot, new| counts.push((slot, new.len() as u64)));
        add_counts(shape, index, base, &mut TableSlots { pages, table }, &counts);
        return;
    }
    let (mut slots, mut ids) = (Vec::new(), Vec::new());
    sets.flush(pages, |slot, new| {
        slots.extend(new.iter().map(|_| slot));
        ids.extend_from_slice(new);
    });
    count_new(shape, index, base, sets, pages, table, &slots, &ids);
}

/// The same for the last time: nobody asks for the list's values any more.
pub(super) fn finish_list(
    shape: &Shape,
    index: usize,
    sets: &mut DistinctSets,
    pages: &mut Pages,
    table: &mut Table,
) {
    if !counts_only(shape, index) {
        flush_list(shape, index, 0, sets, pages, table);
        return;
    }
    let mut counts = Vec::new();
    sets.finish(pages, |slot, count| counts.push((slot, count)));
    add_counts(shape, index, 0, &mut TableSlots { pages, table }, &counts);
}

/// Whether all calls of a distinct list only count.
fn counts_only(shape: &Shape, index: usize) -> bool {
    let calls = &mut shape.distinct[index].calls.iter();
    calls.all(|&call| shape.layout.accumulators[call].0 == agg::Accumulator::Count)
}

/// Adds to the counts of slots, where a distinct list has no other calls.
fn add_counts<S: Slots>(
    shape: &Shape,
    index: usize,
    base: usize,
    table: &mut S,
    counts: &[(u32, u64)],
) {
    let calls = shape.distinct[index].calls.iter().filter(|&&call| shape.layout.folds[call]);
    for &call in calls {
        let (_, offset) = shape.layout.accumulators[call];
        for &(slot, count) in counts {
            table.part_mut::<1>(slot, base + offset)[0] += count;
        }
    }
}

/// Folds values that are new to their groups into a distinct list's calls.
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
    let values: Vec<_> = ids.iter().map(|&id| sets.value(pages, id)).collect();
    let values = Keys::decode(&list.arg_types, values.iter().map(|value| &**value));
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

    /// The values of a record are those of another one, whose accumulators have counted them. The caller has flushed.
    pub(super) fn move_set(&mut self, pages: &mut Pages, from: u32, to: u32) {
        for sets in &mut self.lists {
            sets.ensure(pages, to);
            sets.hand_over(pages, from, to);
        }
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
            if counts_only(shape, index) {
                let mut slots = TableSlots { pages, table: records };
                add_counts(shape, index, base, &mut slots, &[(into, ids.len() as u64)]);
                continue;
            }
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
            for group in partials.words.chunks_exact_mut(shape.layout.word_count) {
                group[offset..offset + accumulator.word_count()].fill(0);
            }
        }
    }
}

/// Buffers the distinct values of rows; true when it is time to flush.
pub(super) fn insert_distinct(
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
        && let Some(full) = insert_directly(sets, pages, rows, &args)
    {
        return full;
    }
    let mut values = Keys::default();
    values.encode(&args, rows.len());
    let mut full = false;
    for (row, &slot) in rows.iter().enumerate() {
        let counts = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
            && filter.as_ref().is_none_or(|filter| filter.value(row));
        if counts {
            full |= sets.insert(pages, slot, values.hashes[row], values.get(row));
        }
    }
    full
}

/// The same for values that need no encoding, if `args` are such values.
fn insert_directly(
    sets: &mut DistinctSets,
    pages: &mut Pages,
    rows: &[u32],
    args: &[ArrayRef],
) -> Option<bool> {
    if let Some(integers) = Integers::of(args) {
        return sets.insert_integers(pages, rows, integers.values());
    }
    sets.insert_strings(pages, rows, &Strings::of(args)?)
}
