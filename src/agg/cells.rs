//! Cells: a count, a sum of doubles and an extreme value packed into half a cache line, for rows that are folded before they travel.
//!
//! Accumulators lie as state needs them: each with words of its own, a sum with a count and a reference, whatever its values. Most columns have
//! values of one order of magnitude, and no NULL; then a group's four words are enough, nothing can overflow or spill, and a row costs
//! one look at its cell without a branch.
//!
//! # Invariants
//!
//! 1. A value in a cell is zero, or its magnitude lies within 2^-22 … 2^33, so that it is less than 2^107 units of the sum's 2^-74: a cell of at
//!    most [`CELL_ROWS_MAX`] rows does not overflow.
//! 2. An exported cell is what [`super::Update`]s make of the same rows.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};

use super::fused::{GREATEST, LEAST, NO};
use super::merge_groups::Together;
use super::update::{HOLDS_NUMBER, halves, joined};
use super::{AggregateCall, Layout, Partials};
use crate::sys::prefetch::{Upcoming, UpcomingSteps};
use crate::sys::vector;

/// Rows that may be folded before cells are exported.
pub const CELL_ROWS_MAX: usize = 1 << 20;

/// The biased exponent of the least value that fits, and how many do.
const EXPONENT_LEAST: u64 = 1001;
const EXPONENTS: u64 = 55;

/// Values that are split before they are added.
const SPLIT_ROWS: usize = 256;

/// What rows of a group come to. Not by the name of the standard library's cell, which compilers would then spell out in their messages.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct GroupCell {
    /// In units of 2^-74, as [`super::exact`] has it.
    sum: i128,
    count: u64,
    extreme: f64,
}

impl GroupCell {
    /// Whether no row has come.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// How calls are folded in cells.
#[derive(Clone, Copy, Debug)]
pub struct CellPlan {
    /// The column of values, and where the sum lies in a group's words.
    argument: usize,
    sum: usize,
    count: Option<usize>,
    extreme: Option<(usize, bool)>,
    word_count: usize,
}

impl CellPlan {
    /// `None`: they have more than cells hold.
    pub fn of(layout: &Layout, calls: &[AggregateCall]) -> Option<Self> {
        let parts = Together::of(layout)?;
        let counts = |call: &&AggregateCall| !call.args.is_empty();
        let mut arguments = calls.iter().filter(counts).map(|call| call.args.as_slice());
        let &[argument] = arguments.next()? else { return None };
        let alike = arguments.all(|args| args == [argument])
            && !calls.iter().any(|call| call.distinct || call.filter.is_some());
        alike.then_some(Self {
            argument,
            sum: parts.sum.1,
            count: parts.count,
            extreme: parts.extreme,
            word_count: layout.word_count,
        })
    }

    /// The values of shipped `columns`, if all of them fit cells (invariant 1).
    pub fn values<'a>(&self, columns: &'a [ArrayRef]) -> Option<&'a [f64]> {
        let column = columns[self.argument].as_primitive_opt::<Float64Type>()?;
        let values = column.values();
        (column.null_count() == 0 && vector::widest(Fit(values))).then_some(values)
    }

    /// A cell without rows.
    pub fn empty(&self) -> GroupCell {
        let extreme = match self.extreme {
            Some((_, true)) => f64::NEG_INFINITY,
            Some((_, false)) => f64::INFINITY,
            None => 0.0,
        };
        GroupCell { sum: 0, count: 0, extreme }
    }

    /// Folds rows into the cells at `slots`, and has what comes next fetched. Since the cells were empty it is called for [`CELL_ROWS_MAX`] rows at
    /// most.
    ///
    /// # Shapes
    ///
    /// `slots`, `values`: `[rows]`; the values fit, see [`CellPlan::values`].
    pub fn fold(&self, cells: &mut [GroupCell], slots: &[u32], values: &[f64], next: Upcoming) {
        let next = next.in_steps(values.len());
        match self.extreme {
            None => vector::widest(Pass::<NO> { cells, slots, values, next }),
            Some((_, false)) => vector::widest(Pass::<LEAST> { cells, slots, values, next }),
            Some((_, true)) => vector::widest(Pass::<GREATEST> { cells, slots, values, next }),
        }
    }

    /// Appends the accumulators that cells stand for.
    pub fn export<'a>(
        &self,
        cells: impl ExactSizeIterator<Item = &'a GroupCell>,
        out: &mut Partials,
    ) {
        let start = out.words.len();
        out.words.resize(start + cells.len() * self.word_count, 0);
        let groups = out.words[start..].chunks_exact_mut(self.word_count);
        for (words, cell) in groups.zip(cells) {
            if let Some(count) = self.count {
                words[count] = cell.count;
            }
            if let Some((extreme, _)) = self.extreme {
                let extreme = &mut words[extreme..extreme + 2];
                extreme.copy_from_slice(&[cell.extreme.to_bits(), HOLDS_NUMBER]);
            }
            let (low, high) = halves(cell.sum);
            words[self.sum..self.sum + 3].copy_from_slice(&[low, high, cell.count]);
        }
    }
}

/// Whether all values fit cells.
struct Fit<'a>(&'a [f64]);

impl vector::Loop for Fit<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let outside = |value: &f64| {
            let bits = value.to_bits();
            let from_least = (bits >> 52 & 0x7ff).wrapping_sub(EXPONENT_LEAST);
            u64::from(from_least >= EXPONENTS) & u64::from(bits << 1 != 0)
        };
        self.0.iter().fold(0, |any, value| any | outside(value)) == 0
    }
}

/// The words of values that fit.
#[inline(always)]
fn split(values: &[f64], low: &mut [u64], high: &mut [u64]) {
    for ((value, low), high) in values.iter().zip(low).zip(high) {
        let bits = value.to_bits();
        let is_zero = bits << 1 == 0;
        // Of a zero it is any: it has no bits to be shifted.
        let shift = (bits >> 52 & 0x7ff).wrapping_sub(EXPONENT_LEAST) & 63;
        let mantissa = if is_zero { 0 } else { bits & ((1 << 52) - 1) | 1 << 52 };
        let (least, most) = (mantissa << shift, mantissa >> 1 >> (63 - shift));
        // Negated without a branch: the complement, and one more, which is carried if the low word is 0.
        let sign = (bits.cast_signed() >> 63).cast_unsigned();
        *low = (least ^ sign).wrapping_sub(sign);
        *high = (most ^ sign).wrapping_add(sign & u64::from(least == 0));
    }
}

/// One pass: which extreme value it seeks.
struct Pass<'a, const EXTREME: u8> {
    cells: &'a mut [GroupCell],
    slots: &'a [u32],
    values: &'a [f64],
    next: UpcomingSteps,
}

impl<const EXTREME: u8> vector::Loop for Pass<'_, EXTREME> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { cells, slots, values, mut next } = self;
        let (mut low, mut high) = ([0; SPLIT_ROWS], [0; SPLIT_ROWS]);
        for (slots, values) in slots.chunks(SPLIT_ROWS).zip(values.chunks(SPLIT_ROWS)) {
            split(values, &mut low, &mut high);
            for (((&slot, &value), &low), &high) in slots.iter().zip(values).zip(&low).zip(&high) {
                next.fetch();
                let cell = &mut cells[slot as usize];
                cell.sum = cell.sum.wrapping_add(joined(low, high));
                cell.count += 1;
                if EXTREME == GREATEST {
                    cell.extreme = if value > cell.extreme { value } else { cell.extreme };
                }
                if EXTREME == LEAST {
                    cell.extreme = if value < cell.extreme { value } else { cell.extreme };
                }
            }
        }
    }
}
