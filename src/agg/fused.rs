//! The sum of a column of doubles in one pass with a count and with the column's least or greatest value: a group's slot is looked at once
//! a row instead of three times.
//!
//! # Invariants
//!
//! 1. It does what its parts do one after another: their accumulators do not overlap.

use super::exact::all_within;
use super::update::{Argument, Update, add_rare, add_within, add_words, extreme_float};
use super::{Accumulator, Slots};
use crate::sys::vector;

/// No extreme value; the least; the greatest.
pub(super) const NO: u8 = 0;
pub(super) const LEAST: u8 = 1;
pub(super) const GREATEST: u8 = 2;

/// Calls that are folded in one pass: the first words of their accumulators within a slot.
pub struct Fused<'a> {
    values: &'a [f64],
    sum: usize,
    count: Option<usize>,
    extreme: Option<(usize, bool)>,
}

impl<'a> Fused<'a> {
    /// Takes out of `updates` those that go over all rows and can go together; `None` if fewer than two can.
    pub fn of(updates: &mut Vec<Update<'a>>) -> Option<Self> {
        let sum = updates.iter().find_map(|update| match update.accumulator {
            Accumulator::SumFloat => Some((update.column()?, update.offset)),
            _ => None,
        });
        let (values, sum) = sum?;
        let mut fused = Self { values, sum, count: None, extreme: None };
        let mut parts = 1;
        for update in updates.iter().filter(|update| update.counted.is_none()) {
            let same = || update.column().is_some_and(|column| std::ptr::eq(column, values));
            match update.accumulator {
                Accumulator::Count if fused.count.is_none() => fused.count = Some(update.offset),
                Accumulator::ExtremeFloat { greatest } if fused.extreme.is_none() && same() => {
                    fused.extreme = Some((update.offset, greatest));
                }
                _ => continue,
            }
            parts += 1;
        }
        if parts == 1 {
            return None;
        }
        let taken = [Some(sum), fused.count, fused.extreme.map(|(offset, _)| offset)];
        updates.retain(|update| !taken.contains(&Some(update.offset)));
        Some(fused)
    }

    /// Folds the rows from `start` on whose slots are `slots`.
    pub fn fold<S: Slots>(&self, table: &mut S, slots: &[u32], start: usize) {
        let values = &self.values[start..start + slots.len()];
        match (self.count.is_some(), self.extreme) {
            (true, None) => self.pass::<true, NO, S>(table, slots, values),
            (true, Some((_, false))) => self.pass::<true, LEAST, S>(table, slots, values),
            (true, Some((_, true))) => self.pass::<true, GREATEST, S>(table, slots, values),
            (false, None) => unreachable!("there are two at least"),
            (false, Some((_, false))) => self.pass::<false, LEAST, S>(table, slots, values),
            (false, Some((_, true))) => self.pass::<false, GREATEST, S>(table, slots, values),
        }
    }

    fn pass<const COUNT: bool, const EXTREME: u8, S: Slots>(
        &self,
        table: &mut S,
        slots: &[u32],
        values: &[f64],
    ) {
        let count = self.count.unwrap_or(0);
        let extreme = self.extreme.map_or(0, |(offset, _)| offset);
        let places = [count, extreme, self.sum];
        vector::widest(Pass::<COUNT, EXTREME, S> { table, slots, values, places });
    }
}

/// Values that are split before they are added.
const SPLIT_ROWS: usize = 256;

/// One pass: what it counts, which extreme value it seeks.
struct Pass<'a, const COUNT: bool, const EXTREME: u8, S> {
    table: &'a mut S,
    slots: &'a [u32],
    values: &'a [f64],
    /// Of the count, the extreme value and the sum.
    places: [usize; 3],
}

impl<const COUNT: bool, const EXTREME: u8, S: Slots> vector::Loop for Pass<'_, COUNT, EXTREME, S> {
    type Output = ();

    /// Splitting becomes vectors; what is added to slots does not.
    #[inline(always)]
    fn run(mut self) {
        let (mut low, mut high) = ([0; SPLIT_ROWS], [0; SPLIT_ROWS]);
        let (slots, values) = (self.slots, self.values);
        for (slots, values) in slots.chunks(SPLIT_ROWS).zip(values.chunks(SPLIT_ROWS)) {
            match all_within(values, &mut low, &mut high) {
                true => self.add_split(slots, values, &low, &high),
                false => self.add(slots, values),
            }
        }
    }
}

impl<const COUNT: bool, const EXTREME: u8, S: Slots> Pass<'_, COUNT, EXTREME, S> {
    #[inline(always)]
    fn add(&mut self, slots: &[u32], values: &[f64]) {
        let sum = self.places[2];
        for (&slot, &value) in slots.iter().zip(values) {
            if !add_within(self.sum_of(slot, value), value) {
                add_rare(self.table, slot, sum, value);
            }
        }
    }

    /// The same with values that have been split into words.
    #[inline(always)]
    fn add_split(&mut self, slots: &[u32], values: &[f64], low: &[u64], high: &[u64]) {
        let sum = self.places[2];
        for (((&slot, &value), &low), &high) in slots.iter().zip(values).zip(low).zip(high) {
            if !add_words(self.sum_of(slot, value), low, high) {
                add_rare(self.table, slot, sum, value);
            }
        }
    }

    /// The words of a slot's sum, after the rest of it has taken the value.
    #[inline(always)]
    fn sum_of(&mut self, slot: u32, value: f64) -> &mut [u64; 4] {
        let [count, extreme, sum] = self.places;
        let words = self.table.words_mut(slot);
        if COUNT {
            words[count] += 1;
        }
        if EXTREME != NO {
            let words = words[extreme..].first_chunk_mut().expect("a part of a slot");
            extreme_float(words, value, EXTREME == GREATEST);
        }
        words[sum..].first_chunk_mut().expect("a part of a slot")
    }
}

impl<'a> Update<'a> {
    /// The doubles of a column that is there as it is, if every row of it counts.
    fn column(&self) -> Option<&'a [f64]> {
        match &self.argument {
            Argument::Float(std::borrow::Cow::Borrowed(values)) if self.counted.is_none() => {
                Some(values)
            }
            _ => None,
        }
    }
}
