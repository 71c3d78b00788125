//! What a slice, or several, add up to, in flat memory: its groups are found by their keys' numbers ([`super::key_numbers`]).
//!
//! It is derived from the slices, and lives only as long as they do or until it has been read out, so it is never saved.
//!
//! # Invariants
//!
//! 1. Group *i* has number *i* of `groups` and accumulators *i*.

use std::ops::Range;

use arrow_array::{ArrayRef, UInt32Array};

use super::accumulators::Accumulators;
use super::key_numbers::{KeyNumbers, NumberedSlots};
use super::pane::{Pane, finish_calls, update_calls};
use super::shape::Shape;
use super::{Data, Payload};
use crate::agg::{PartialGroups, Source, merge_groups};
use crate::batch::{Keys, take_columns};
use crate::state::Pages;

/// A sum of slices.
#[derive(Clone, Debug)]
pub(super) struct Sum {
    groups: NumberedSlots,
    accumulators: Accumulators,
}

impl Sum {
    /// The sum of no slices.
    pub(super) fn new(shape: &Shape) -> Self {
        let accumulators = Accumulators::new(shape.layout.word_count);
        Self { groups: NumberedSlots::default(), accumulators }
    }

    /// How many groups it has.
    pub(super) fn count(&self) -> usize {
        self.groups.count()
    }

    /// Adds the groups that have these numbers and, in the same order, accumulators in `from`; their rows count as later.
    pub(super) fn add<F: Source>(&mut self, shape: &Shape, numbers: &[u32], from: &F) {
        self.add_some(shape, numbers, from, 0..numbers.len() as u32);
    }

    /// The same of those that have their accumulators at `indices` of `from`.
    pub(super) fn add_some<F: Source>(
        &mut self,
        shape: &Shape,
        numbers: &[u32],
        from: &F,
        indices: impl Iterator<Item = u32>,
    ) {
        let slots = self.slots(numbers);
        let groups = &mut self.accumulators;
        merge_groups(&shape.layout, &shape.calls, groups, &slots, from, indices);
    }

    /// Takes in what a payload, not one of distinct values, has in `rows`.
    pub(super) fn receive(
        &mut self,
        shape: &Shape,
        key_numbers: &mut KeyNumbers,
        payload: &Payload,
        rows: &[u32],
    ) {
        match &payload.data {
            Data::Rows(columns) => {
                let numbers = numbers_of(key_numbers, payload, rows);
                let slots = self.slots(&numbers);
                let columns = take_columns(columns, &UInt32Array::from(rows.to_vec()));
                update_calls(shape, 0, &mut self.accumulators, &slots, &columns);
            }
            Data::Packed(packed) => {
                let (keys, columns) = packed.unpack(shape);
                let rows: Vec<u32> = (0..keys.count() as u32).collect();
                let data = Data::Rows(columns);
                let (ends_ms, arrival_ms) = (Vec::new(), Vec::new());
                let payload = Payload { keys, ends_ms, arrival_ms, numbers: None, data };
                self.receive(shape, key_numbers, &payload, &rows);
            }
            Data::Partials(partials) => {
                let numbers = numbers_of(key_numbers, payload, rows);
                let from = PartialGroups { partials, word_count: shape.layout.word_count };
                self.add_some(shape, &numbers, &from, rows.iter().copied());
            }
            Data::Grouped(_) => unreachable!("distinct values have no sums"),
        }
    }

    /// The slots of groups that have these numbers, made if need be.
    fn slots(&mut self, numbers: &[u32]) -> Vec<u32> {
        let groups = &mut self.groups;
        let slots = numbers.iter().map(|&number| groups.slot_or_next(number)).collect();
        self.accumulators.grow_to(self.groups.count());
        slots
    }

    /// Adds another sum.
    pub(super) fn absorb(&mut self, shape: &Shape, other: &Self) {
        self.add(shape, other.groups.numbers(), &other.accumulators);
    }

    /// Bytes that its groups take, or little more.
    pub(super) fn bytes(&self) -> usize {
        self.groups.bytes() + self.accumulators.bytes()
    }

    /// The pane that has these groups.
    pub(super) fn into_pane(
        self,
        shape: &Shape,
        pages: &mut Pages,
        key_numbers: &mut KeyNumbers,
    ) -> Pane {
        let mut pane = Pane::new(shape, shape.layout.word_count);
        pane.add_sum(shape, pages, key_numbers, (self.groups.numbers(), &self.accumulators));
        pane
    }

    /// Becomes the sum of no slices again, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.accumulators.clear();
    }

    /// The number and the accumulators of each group.
    #[cfg(test)]
    pub(super) fn groups(&self) -> impl Iterator<Item = (u32, &[u64])> {
        (0..)
            .zip(self.groups.numbers())
            .map(|(slot, &number)| (number, self.accumulators.group(slot)))
    }

    /// The result rows of some groups: keys, then aggregates.
    pub(super) fn results(
        &self,
        shape: &Shape,
        key_numbers: &KeyNumbers,
        slots: Range<u32>,
    ) -> Vec<ArrayRef> {
        let numbers = &self.groups.numbers()[slots.start as usize..slots.end as usize];
        let keys = numbers.iter().map(|&number| key_numbers.key(number).1);
        let keys = Keys::decode(&shape.key_types, keys);
        let slots: Vec<u32> = slots.collect();
        finish_calls(shape, 0, keys, &self.accumulators, &slots)
    }
}

/// The numbers of some of a payload's keys.
fn numbers_of(key_numbers: &mut KeyNumbers, payload: &Payload, indices: &[u32]) -> Vec<u32> {
    let keys = &payload.keys;
    match &payload.numbers {
        Some(numbers) => key_numbers.of_payload(keys, numbers, indices),
        None => {
            let indices = indices.iter().map(|&index| index as usize);
            indices.map(|index| key_numbers.number(keys.hashes[index], keys.get(index))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::{Float64Array, StringViewArray};
    use proptest::prelude::*;

    use super::*;
    use crate::agg::{AggregateCall, Partials, bind, export, merge};
    use crate::batch::{DataType, Field, Schema};

    /// By position in what a case chooses: which function of which column.
    const CALLS: [(&str, usize); 6] =
        [("COUNT", 0), ("SUM", 0), ("MIN", 0), ("MAX", 0), ("MAX", 1), ("VAR_POP", 0)];

    fn shape(chosen: &[usize]) -> Shape {
        let types = [DataType::Double, DataType::STRING];
        let call = |&at: &usize| {
            let (name, arg) = CALLS[at];
            let (function, data_type) = bind(name, &[types[arg]]).expect("of this type");
            AggregateCall::new(function, vec![arg], types[arg], data_type)
        };
        let calls: Vec<AggregateCall> = chosen.iter().map(call).collect();
        let fields = vec![Field::new("x", types[0]), Field::new("s", types[1])];
        Shape::new(&Schema::new(fields), &[], &calls)
    }

    /// A slice: the groups' numbers, each once, and their accumulators after these rows.
    fn slice(shape: &Shape, rows: &[(u32, f64, bool)]) -> (Vec<u32>, Accumulators) {
        let (mut numbers, mut groups) =
            (NumberedSlots::default(), Accumulators::new(shape.layout.word_count));
        let slots: Vec<u32> = rows.iter().map(|row| numbers.slot_or_next(row.0)).collect();
        groups.grow_to(numbers.count());
        let doubles = rows.iter().map(|row| row.2.then_some(row.1));
        let texts = rows.iter().map(|row| row.2.then(|| format!("{}", row.1)));
        let columns: [ArrayRef; 2] = [
            Arc::new(doubles.collect::<Float64Array>()),
            Arc::new(texts.collect::<StringViewArray>()),
        ];
        update_calls(shape, 0, &mut groups, &slots, &shape.ship(&columns));
        (numbers.numbers().to_vec(), groups)
    }

    proptest! {
        /// Against groups merged one by one: sums that spill, NaN, NULL, strings, whatever the calls.
        #[test]
        fn a_sum_has_what_its_slices_have(
            mut chosen in prop::collection::vec(0..CALLS.len(), 1..5),
            slices in prop::collection::vec(
                prop::collection::vec(
                    (0..9u32, prop_oneof![any::<f64>(), -9.0..9.0f64, Just(f64::NAN)], prop::bool::weighted(0.9)), 0..40),
                1..5),
        ) {
            chosen.sort_unstable();
            chosen.dedup();
            let shape = shape(&chosen);
            let (layout, calls) = (&shape.layout, &shape.calls);
            let (mut halves, mut twin) = ([Sum::new(&shape), Sum::new(&shape)], Accumulators::new(layout.word_count));
            let (mut slots, mut order) = (HashMap::new(), Vec::new());
            for (index, rows) in slices.iter().enumerate() {
                let (numbers, groups) = slice(&shape, rows);
                halves[index * 2 / slices.len()].add(&shape, &numbers, &groups);
                for (from, number) in (0..).zip(numbers) {
                    let slot = *slots.entry(number).or_insert_with(|| {
                        order.push(number);
                        twin.grow_to(order.len());
                        order.len() as u32 - 1
                    });
                    let mut partials = Partials::default();
                    export(layout, 0, &groups, from, &mut partials);
                    merge(layout, 0, calls, &mut twin, slot, &partials, 0);
                }
            }
            let [mut sum, later] = halves;
            sum.absorb(&shape, &later);
            prop_assert_eq!(sum.groups.numbers(), &order);
            let all: Vec<u32> = (0..order.len() as u32).collect();
            let results = |groups: &Accumulators| finish_calls(&shape, 0, Vec::new(), groups, &all);
            prop_assert_eq!(format!("{:?}", results(&sum.accumulators)), format!("{:?}", results(&twin)));
            sum.clear();
            prop_assert_eq!(sum.count(), 0);
            prop_assert!(order.iter().all(|&number| sum.groups.slot(number).is_none()));
        }
    }
}
