//! Groups of one row: told apart from others without an index, and read out without accumulators.
//!
//! Where keys are many most have a row or two. To enter a key into an index, to make accumulators of its one row and to finish them takes
//! far more than to copy the row's argument, which is what most functions make of it.

use arrow_array::ArrayRef;

use super::accumulators::Accumulators;
use super::pane::update_calls;
use super::shape::Shape;
use crate::agg::{finish, of_one_row};

/// Places for each tag, at least.
const TAG_PLACES: usize = 16;
/// What a place has to which one tag has come, and to which several have.
const ONCE: u8 = 1;
const AGAIN: u8 = 3;

/// Which of many tags come once: a filter (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970, with one hash) that
/// counts to two. It may take a tag that comes once for one that comes again, never the other way round.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// By the low bits of tags, a power of two.
    places: Vec<u8>,
}

impl Repeats {
    /// Forgets all, and makes room for so many.
    pub(super) fn begin(&mut self, count: usize) {
        self.places.clear();
        self.places.resize((count * TAG_PLACES).next_power_of_two(), 0);
    }

    #[inline(always)]
    fn place(&self, tag: u32) -> usize {
        tag as usize & (self.places.len() - 1)
    }

    #[inline(always)]
    pub(super) fn add(&mut self, tag: u32) {
        let place = self.place(tag);
        self.places[place] = (self.places[place] << 1 | ONCE) & AGAIN;
    }

    /// Whether a tag has come.
    #[inline(always)]
    pub(super) fn has(&self, tag: u32) -> bool {
        self.places[self.place(tag)] != 0
    }

    #[inline(always)]
    pub(super) fn is_once(&self, tag: u32) -> bool {
        self.places[self.place(tag)] == ONCE
    }
}

/// Numbers that are picked without a branch, for whether one is cannot be foreseen.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// Those that are picked, and room behind them.
    numbers: Vec<u32>,
    count: usize,
}

impl Picked {
    /// Forgets all, and makes room to choose from so many.
    pub(super) fn begin(&mut self, count: usize) {
        if self.numbers.len() < count {
            self.numbers.resize(count, 0);
        }
        self.count = 0;
    }

    /// Picks of the numbers from `first` on those of which `picks` says so.
    #[inline(always)]
    pub(super) fn pick(&mut self, first: usize, picks: impl Iterator<Item = bool>) {
        let (numbers, mut count) = (self.numbers.as_mut_slice(), self.count);
        let mut number = first as u32;
        picks.for_each(|is_picked| {
            numbers[count] = number;
            count += usize::from(is_picked);
            number += 1;
        });
        self.count = count;
    }

    /// Picks of some numbers those of which `is_picked` says so.
    #[inline(always)]
    pub(super) fn pick_of(&mut self, from: &[u32], is_picked: impl Fn(u32) -> bool) {
        let (numbers, mut count) = (self.numbers.as_mut_slice(), self.count);
        for &number in from {
            numbers[count] = number;
            count += usize::from(is_picked(number));
        }
        self.count = count;
    }

    pub(super) fn get(&self) -> &[u32] {
        &self.numbers[..self.count]
    }
}

/// The aggregates of groups of one row each behind `columns`, which are the keys.
///
/// # Shapes
///
/// `arguments`: the shipped columns, of `rows` rows.
pub(super) fn finish_rows(
    shape: &Shape,
    mut columns: Vec<ArrayRef>,
    arguments: &[ArrayRef],
    rows: usize,
) -> Vec<ArrayRef> {
    let mut folded = None;
    for (call, &(_, offset)) in shape.calls.iter().zip(&shape.layout.accumulators) {
        columns.push(of_one_row(call, arguments, rows).unwrap_or_else(|| {
            let (slots, sums) = folded.get_or_insert_with(|| fold_each(shape, arguments, rows));
            finish(call, offset, sums, slots)
        }));
    }
    columns
}

/// Accumulators of one row each, and their slots.
fn fold_each(shape: &Shape, arguments: &[ArrayRef], rows: usize) -> (Vec<u32>, Accumulators) {
    let slots: Vec<u32> = (0..rows as u32).collect();
    let mut sums = Accumulators::new(shape.layout.word_count);
    sums.grow_to(rows);
    update_calls(shape, 0, &mut sums, &slots, arguments);
    (slots, sums)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float32Type, Float64Type};
    use arrow_array::{Array, BooleanArray, Int32Array, Int64Array, PrimitiveArray};
    use proptest::prelude::*;

    use super::*;
    use crate::agg::{AggregateCall, bind};
    use crate::batch::{DataType, Field, Schema};
    use crate::op::pane::finish_calls;

    const NAMES: [&str; 8] =
        ["COUNT", "SUM", "AVG", "MIN", "MAX", "FIRST_VALUE", "LAST_VALUE", "VAR_POP"];

    /// Bits of numbers, odd ones among them.
    fn bits() -> impl Strategy<Value = u64> {
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::MIN, 5e-324, 0.1, 1e300];
        let odd = odd.map(f64::to_bits).to_vec();
        prop_oneof![any::<u64>(), prop::sample::select(odd), Just(u64::MAX), 0..100u64]
    }

    fn column(data_type: DataType, bits: &[u64]) -> ArrayRef {
        let values = bits.iter();
        match data_type {
            DataType::Double => Arc::new(
                values
                    .map(|&bits| Some(f64::from_bits(bits)))
                    .collect::<PrimitiveArray<Float64Type>>(),
            ),
            DataType::Float => {
                let float = |&bits: &u64| Some(f64::from_bits(bits) as f32);
                Arc::new(values.map(float).collect::<PrimitiveArray<Float32Type>>())
            }
            DataType::Int => {
                Arc::new(values.map(|&bits| Some(bits as i32)).collect::<Int32Array>())
            }
            DataType::Boolean => {
                Arc::new(values.map(|&bits| Some(bits % 2 == 1)).collect::<BooleanArray>())
            }
            _ => Arc::new(values.map(|&bits| Some(bits as i64)).collect::<Int64Array>()),
        }
    }

    /// All calls of the functions that take a column of this type, the last of them filtered.
    fn calls(data_type: DataType) -> Vec<AggregateCall> {
        let call = |name: &&str| {
            let (function, result) = bind(name, &[data_type]).ok()?;
            Some(AggregateCall {
                function,
                args: vec![0],
                distinct: false,
                filter: None,
                separator: String::new(),
                arg_type: data_type,
                data_type: result,
                name: (*name).into(),
            })
        };
        let mut calls: Vec<AggregateCall> = NAMES.iter().filter_map(call).collect();
        let filtered = AggregateCall { filter: Some(1), ..calls[0].clone() };
        calls.push(filtered);
        calls
    }

    /// What can be told apart of a column: of numbers their bits.
    fn shown(column: &ArrayRef) -> String {
        match column.as_boolean_opt() {
            Some(values) => format!("{values:?}"),
            None => {
                let data = column.to_data();
                let bytes = data.buffers()[0].as_slice();
                format!("{} {bytes:x?} {:?}", column.data_type(), column.nulls())
            }
        }
    }

    proptest! {
        /// Groups of one row come to what their accumulators would, whatever the function.
        #[test]
        fn results_are_those_of_accumulators(
            bits in prop::collection::vec(bits(), 1..40),
            data_type in prop::sample::select(vec![
                DataType::Double, DataType::Float, DataType::Int, DataType::BigInt,
                DataType::Boolean, DataType::Timestamp(3),
            ]),
        ) {
            let fields = vec![Field::new("v", data_type), Field::new("f", DataType::Boolean)];
            let shape = Shape::new(&Schema::new(fields), &[], &calls(data_type));
            let columns = [column(data_type, &bits), column(DataType::Boolean, &bits)];
            let (slots, sums) = fold_each(&shape, &columns, bits.len());
            let expected = finish_calls(&shape, 0, Vec::new(), &sums, &slots);
            let results = finish_rows(&shape, Vec::new(), &columns, bits.len());
            let shown = |columns: &[ArrayRef]| columns.iter().map(shown).collect::<Vec<_>>();
            prop_assert_eq!(shown(&results), shown(&expected));
        }

        /// A tag that comes again, among those added or those that repeat them, is never taken for one that comes once.
        #[test]
        fn tags_that_repeat_are_told(
            tags in prop::collection::vec(0..200u32, 0..100),
            others in prop::collection::vec((0..200u32, any::<bool>()), 0..100),
        ) {
            let mut repeats = Repeats::default();
            repeats.begin(tags.len());
            let mut counts: HashMap<u32, usize> = HashMap::new();
            for &tag in &tags {
                repeats.add(tag);
                *counts.entry(tag).or_default() += 1;
            }
            for &(tag, comes) in &others {
                prop_assert!(repeats.has(tag) || !counts.contains_key(&tag));
                if comes && repeats.has(tag) {
                    repeats.add(tag);
                    counts.entry(tag).and_modify(|count| *count += 1);
                }
            }
            let mut once = Picked::default();
            once.begin(tags.len());
            once.pick(7, tags.iter().map(|&tag| repeats.is_once(tag)));
            for &number in once.get() {
                prop_assert_eq!(counts[&tags[number as usize - 7]], 1);
            }
            let few: usize = tags.iter().filter(|tag| counts[tag] == 1).count();
            prop_assert!(once.get().len() <= few);
        }
    }

    /// The filter has room: of many tags that come once, most are known to.
    #[test]
    fn most_single_tags_are_known() {
        let mut repeats = Repeats::default();
        repeats.begin(1_000);
        let tags = || (0..1_000u32).map(|number| number.wrapping_mul(0x9e37_79b9));
        tags().for_each(|tag| repeats.add(tag));
        assert!(tags().filter(|&tag| repeats.is_once(tag)).count() > 900);
        assert!((0..1_000u32).filter(|&tag| !repeats.has(tag * 64 + 1)).count() > 900);
    }
}
