//! Update: rows into accumulators, one call and a block of rows at a time.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, NullBuffer};

use super::exact::{Spill, Term, term, within};
use super::{Accumulator, Slots};

/// An argument column in one of the few shapes that kernels know.
pub enum Argument<'a> {
    /// COUNT(*): no column.
    None,
    /// Integers, booleans and times, widened.
    Int(Cow<'a, [i64]>),
    /// FLOAT and DOUBLE, widened.
    Float(Cow<'a, [f64]>),
    /// DECIMAL, unscaled.
    Decimal(&'a [i128]),
    /// Strings and bytes.
    Bytes(&'a dyn Array),
}

impl<'a> Argument<'a> {
    /// The shape of `column`.
    pub fn new(column: &'a ArrayRef) -> Self {
        use arrow_schema::DataType as Arrow;
        match column.data_type() {
            Arrow::Boolean => Argument::Int(
                column.as_boolean().values().iter().map(i64::from).collect::<Vec<_>>().into(),
            ),
            Arrow::Int8 => Argument::Int(widen(column.as_primitive::<Int8Type>().values())),
            Arrow::Int16 => Argument::Int(widen(column.as_primitive::<Int16Type>().values())),
            Arrow::Int32 => Argument::Int(widen(column.as_primitive::<Int32Type>().values())),
            Arrow::Int64 => {
                Argument::Int(Cow::Borrowed(column.as_primitive::<Int64Type>().values()))
            }
            Arrow::Float32 => {
                let values = column.as_primitive::<Float32Type>().values();
                Argument::Float(
                    values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>().into(),
                )
            }
            Arrow::Float64 => {
                Argument::Float(Cow::Borrowed(column.as_primitive::<Float64Type>().values()))
            }
            Arrow::Decimal128(..) => {
                Argument::Decimal(column.as_primitive::<Decimal128Type>().values())
            }
            _ => Argument::Bytes(column.as_ref()),
        }
    }
}

fn widen<T: Copy + Into<i64>>(values: &[T]) -> Cow<'static, [i64]> {
    values.iter().map(|&value| value.into()).collect::<Vec<_>>().into()
}

/// Bytes of row `row` of a string or binary column.
fn bytes_at(column: &dyn Array, row: usize) -> &[u8] {
    match column.as_string_view_opt() {
        Some(strings) => strings.value(row).as_bytes(),
        None => column.as_binary_view().value(row),
    }
}

/// Runs `visit` for each row that counts with its slot and value.
#[inline]
fn each<V: Copy>(
    slots: &[u32],
    values: &[V],
    counted: Option<&BooleanBuffer>,
    mut visit: impl FnMut(u32, V),
) {
    match counted {
        None => slots.iter().zip(values).for_each(|(&slot, &value)| visit(slot, value)),
        Some(counted) => counted.set_indices().for_each(|row| visit(slots[row], values[row])),
    }
}

/// The same without values.
#[inline]
fn each_row(slots: &[u32], counted: Option<&BooleanBuffer>, mut visit: impl FnMut(usize, u32)) {
    match counted {
        None => slots.iter().enumerate().for_each(|(row, &slot)| visit(row, slot)),
        Some(counted) => counted.set_indices().for_each(|row| visit(row, slots[row])),
    }
}

/// One call over one batch, ready to be folded.
pub struct Update<'a> {
    pub(super) accumulator: Accumulator,
    pub(super) offset: usize,
    separator: &'a str,
    pub(super) argument: Argument<'a>,
    pub(super) counted: Option<BooleanBuffer>,
}

impl<'a> Update<'a> {
    /// What folds rows into one call's accumulators.
    ///
    /// # Shapes
    ///
    /// - `argument`: `[rows]`; `nulls`: its validity; `filter`: `[rows]`, the rows that FILTER keeps.
    /// - `offset`: the accumulator's first word within a slot.
    /// - `separator`: LISTAGG's.
    pub fn new(
        (accumulator, offset): (Accumulator, usize),
        separator: &'a str,
        argument: Argument<'a>,
        nulls: Option<&NullBuffer>,
        filter: Option<&BooleanBuffer>,
    ) -> Self {
        let counted = match (nulls.map(NullBuffer::inner), filter) {
            (Some(valid), Some(kept)) => Some(valid & kept),
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (None, None) => None,
        };
        Self { accumulator, offset, separator, argument, counted }
    }

    /// Folds the rows from `start` on whose slots are `slots`.
    ///
    /// # Panics
    ///
    /// If the argument's shape does not suit the accumulator: a planner bug.
    pub fn fold<S: Slots>(&self, table: &mut S, slots: &[u32], start: usize) {
        let (offset, rows) = (self.offset, start..start + slots.len());
        let counted = self.counted.as_ref().map(|counted| counted.slice(start, slots.len()));
        let counted = counted.as_ref();
        match (self.accumulator, &self.argument) {
            (Accumulator::Count, _) => {
                each_row(slots, counted, |_, slot| table.part_mut::<1>(slot, offset)[0] += 1);
            }
            (Accumulator::SumInt, Argument::Int(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    let words = table.part_mut::<2>(slot, offset);
                    words[0] = words[0].wrapping_add(value as u64);
                    words[1] += 1;
                });
            }
            (Accumulator::SumDecimal, Argument::Decimal(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    add_decimal(table.part_mut::<3>(slot, offset), value, 1);
                });
            }
            (Accumulator::SumFloat, Argument::Float(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    add_float(table, slot, offset, value);
                });
            }
            (Accumulator::Variance, Argument::Float(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    add_squared(table, slot, offset, value);
                });
            }
            (Accumulator::Variance, Argument::Int(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    add_squared(table, slot, offset, value as f64);
                });
            }
            (Accumulator::ExtremeInt { greatest }, Argument::Int(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    extreme_int(table.part_mut(slot, offset), value, greatest);
                });
            }
            (Accumulator::ExtremeFloat { greatest }, Argument::Float(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    extreme_float(table.part_mut(slot, offset), value, greatest);
                });
            }
            (Accumulator::ExtremeDecimal { greatest }, Argument::Decimal(values)) => {
                each(slots, &values[rows], counted, |slot, value| {
                    extreme_decimal(table.part_mut::<3>(slot, offset), value, greatest);
                });
            }
            (Accumulator::PickFixed { last }, argument) => {
                each_row(slots, counted, |row, slot| {
                    pick_fixed(table.part_mut(slot, offset), last, || {
                        fixed_at(argument, start + row)
                    });
                });
            }
            (accumulator, Argument::Bytes(column)) => each_row(slots, counted, |row, slot| {
                let value = bytes_at(*column, start + row);
                fold_bytes(accumulator, offset, self.separator, table, slot, value);
            }),
            (accumulator, _) => panic!("{accumulator:?} over a column of another shape"),
        }
    }
}

#[inline]
fn extreme_int(words: &mut [u64; 2], value: i64, greatest: bool) {
    let held = words[0] as i64;
    let better = words[1] == 0 || if greatest { value > held } else { value < held };
    words[0] = if better { value } else { held } as u64;
    words[1] = 1;
}

/// In an extreme double's second word: its first word holds a number.
pub(super) const HOLDS_NUMBER: u64 = 1;
/// The same: NaN came first, and that is the result, for nothing compares with it, as in Flink. Later ones are passed over.
pub(super) const BEGAN_NAN: u64 = 2;

#[inline]
pub(super) fn extreme_float(words: &mut [u64; 2], value: f64, greatest: bool) {
    if value.is_nan() {
        note_nan(words);
        return;
    }
    let held = f64::from_bits(words[0]);
    let better = words[1] & HOLDS_NUMBER == 0 || if greatest { value > held } else { value < held };
    words[0] = if better { value } else { held }.to_bits();
    words[1] |= HOLDS_NUMBER;
}

#[cold]
fn note_nan(words: &mut [u64; 2]) {
    if words[1] == 0 {
        words[1] = BEGAN_NAN;
    }
}

#[inline]
fn pick_fixed(words: &mut [u64; 3], last: bool, value: impl FnOnce() -> i128) {
    if last || words[2] == 0 {
        (words[0], words[1]) = halves(value());
        words[2] = 1;
    }
}

#[inline]
fn add_squared<S: Slots>(table: &mut S, slot: u32, offset: usize, value: f64) {
    add_float(table, slot, offset, value);
    add_float(table, slot, offset + 4, value * value);
}

fn fixed_at(argument: &Argument<'_>, row: usize) -> i128 {
    match argument {
        Argument::Int(values) => values[row].into(),
        Argument::Float(values) => values[row].to_bits().into(),
        Argument::Decimal(values) => values[row],
        Argument::None | Argument::Bytes(_) => panic!("not of fixed width"),
    }
}

pub(super) fn halves(value: i128) -> (u64, u64) {
    (value as u64, (value >> 64) as u64)
}

pub(super) fn joined(low: u64, high: u64) -> i128 {
    (i128::from(high as i64) << 64) | i128::from(low)
}

/// Marks a decimal sum that left 128 bits.
pub(super) const DECIMAL_OVERFLOW: u64 = 1 << 63;

pub(super) fn add_decimal(words: &mut [u64], value: i128, count: u64) {
    let (sum, overflow) = joined(words[0], words[1]).overflowing_add(value);
    (words[0], words[1]) = halves(sum);
    words[2] += count;
    if overflow {
        words[2] |= DECIMAL_OVERFLOW;
    }
}

pub(super) fn extreme_decimal(words: &mut [u64], value: i128, greatest: bool) {
    let held = joined(words[0], words[1]);
    if words[2] == 0 || (if greatest { value > held } else { value < held }) {
        (words[0], words[1]) = halves(value);
    }
    words[2] = 1;
}

#[inline]
fn add_float<S: Slots>(table: &mut S, slot: u32, offset: usize, value: f64) {
    if !add_within(table.part_mut(slot, offset), value) {
        add_rare(table, slot, offset, value);
    }
}

/// Counts a value, and adds it if it is one of the window and does not overflow that; false: [`add_rare`] adds it.
#[inline]
pub(super) fn add_within(words: &mut [u64; 4], value: f64) -> bool {
    match within(value).map(halves) {
        Some((low, high)) => add_words(words, low, high),
        None => {
            words[2] += 1;
            false
        }
    }
}

/// The same of a value of the window, split into words.
#[inline]
pub(super) fn add_words(words: &mut [u64; 4], low: u64, high: u64) -> bool {
    words[2] += 1;
    let held = joined(words[0], words[1]);
    let Some(sum) = held.checked_add(joined(low, high)) else { return false };
    (words[0], words[1]) = halves(sum);
    true
}

/// Adds a value that has been counted, and that is none of the window or would overflow it.
#[inline(never)]
pub(super) fn add_rare<S: Slots>(table: &mut S, slot: u32, offset: usize, value: f64) {
    match term(value) {
        Term::Fixed(fixed) => add_fixed(table, slot, offset, fixed),
        Term::Special(flag) => table.part_mut::<4>(slot, offset)[2] |= flag,
        Term::Spill => {
            let mut addend = Spill::zero();
            addend.add_value(value);
            add_spill(table, slot, offset, addend);
        }
    }
}

/// Adds to the fixed part; what it held goes to the spill when it would overflow.
#[inline]
pub(super) fn add_fixed<S: Slots>(table: &mut S, slot: u32, offset: usize, fixed: i128) {
    let words = &mut table.words_mut(slot)[offset..offset + 4];
    let held = joined(words[0], words[1]);
    if let Some(sum) = held.checked_add(fixed) {
        (words[0], words[1]) = halves(sum);
        return;
    }
    (words[0], words[1]) = halves(fixed);
    let mut addend = Spill::zero();
    addend.add_fixed(held);
    add_spill(table, slot, offset, addend);
}

#[cold]
pub(super) fn add_spill<S: Slots>(table: &mut S, slot: u32, offset: usize, mut addend: Spill) {
    let blob = table.words(slot)[offset + 3];
    if blob != 0 {
        addend.add(&Spill::from_bytes(table.blob(blob)));
    }
    table.words_mut(slot)[offset + 3] = table.put_blob(blob, &addend.bytes());
}

/// Folds one string into an accumulator of bytes.
pub(super) fn fold_bytes<S: Slots>(
    accumulator: Accumulator,
    offset: usize,
    separator: &str,
    table: &mut S,
    slot: u32,
    value: &[u8],
) {
    let blob = table.words(slot)[offset];
    let changed = match accumulator {
        _ if blob == 0 => table.put_blob(0, value),
        Accumulator::ExtremeBytes { greatest } => {
            let held = table.blob(blob);
            if if greatest { value > held } else { value < held } {
                table.put_blob(blob, value)
            } else {
                blob
            }
        }
        Accumulator::PickBytes { last: false } => blob,
        Accumulator::PickBytes { last: true } => table.put_blob(blob, value),
        Accumulator::Join => {
            let blob = table.append_blob(blob, separator.as_bytes());
            table.append_blob(blob, value)
        }
        other => panic!("{other:?} over a column of bytes"),
    };
    table.words_mut(slot)[offset] = changed;
}
