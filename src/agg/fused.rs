//! The sum of a column of doubles in one pass with a count and with the column's least or greatest value: a group's slot is looked at once
//! a row instead of three times.
//!
//! # Invariants
//!
//! 1. It does what its parts do one after another: their accumulators do not overlap.

use super::update::{Argument, Update, add_rare, add_within, extreme_float};
use super::{Accumulator, Slots};

/// No extreme value; the least; the greatest.
const NO: u8 = 0;
const LEAST: u8 = 1;
const GREATEST: u8 = 2;

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
        match (self.count.is_some(), self.extreme) {
            (true, None) => self.pass::<true, NO, S>(table, slots, start),
            (true, Some((_, false))) => self.pass::<true, LEAST, S>(table, slots, start),
            (true, Some((_, true))) => self.pass::<true, GREATEST, S>(table, slots, start),
            (false, None) => unreachable!("there are two at least"),
            (false, Some((_, false))) => self.pass::<false, LEAST, S>(table, slots, start),
            (false, Some((_, true))) => self.pass::<false, GREATEST, S>(table, slots, start),
        }
    }

    fn pass<const COUNT: bool, const EXTREME: u8, S: Slots>(
        &self,
        table: &mut S,
        slots: &[u32],
        start: usize,
    ) {
        let count = self.count.unwrap_or(0);
        let extreme = self.extreme.map_or(0, |(offset, _)| offset);
        for (&slot, &value) in slots.iter().zip(&self.values[start..start + slots.len()]) {
            let words = table.words_mut(slot);
            if COUNT {
                words[count] += 1;
            }
            if EXTREME != NO {
                let words = words[extreme..].first_chunk_mut().expect("a part of a slot");
                extreme_float(words, value, EXTREME == GREATEST);
            }
            let words = words[self.sum..].first_chunk_mut().expect("a part of a slot");
            if !add_within(words, value) {
                add_rare(table, slot, self.sum, value);
            }
        }
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
