//! A grid of cells: groups found by arithmetic alone, where keys have numbers close together, rows fall into few slices, and what is asked
//! fits a cell.
//!
//! ```text
//! cells: [lanes × width]     lane: a slice, one after another from `start_ms` on      place in it: the key's number
//! ```
//!
//! # Invariants
//!
//! 1. While there are no rows all cells are empty, whatever the width was.

use super::shape::Shape;
use crate::agg::{CELL_ROWS_MAX, CellPlan, GroupCell};
use crate::sys::prefetch::Upcoming;
use crate::sys::vector;
use crate::window::Cut;

/// Cells at most: they stay in the second cache.
const CELLS_MAX: usize = 1 << 15;

/// The cells of a chunk's groups so far.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) plan: CellPlan,
    cells: Vec<GroupCell>,
    start_ms: i64,
    width_ms: i64,
    /// Keys have numbers below this, a power of two.
    width: usize,
    lanes: usize,
    rows: usize,
}

/// Where the rows of a batch go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lanes {
    /// The lane of the first slice.
    first: u32,
    /// How many numbers a lane has, as a power of two.
    width_bits: u32,
}

impl Grid {
    /// An empty one; `None`: what is asked does not fit cells.
    pub(super) fn of(shape: &Shape) -> Option<Self> {
        let plan = CellPlan::of(&shape.layout, &shape.calls)?;
        let (start_ms, width_ms) = (0, 0);
        Some(Self { plan, cells: Vec::new(), start_ms, width_ms, width: 0, lanes: 0, rows: 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many cells have rows or might have.
    pub(super) fn cell_count(&self) -> usize {
        self.lanes * self.width
    }

    /// Makes room for so many rows in the slices of a cut, with keys whose numbers are below `width`, a power of two. `None`: there is none
    /// before it has been drained, or never.
    pub(super) fn make_room(&mut self, cut: &Cut, width: usize, rows: usize) -> Option<Lanes> {
        if self.is_empty() {
            // One lane is for rows that come out of order.
            (self.start_ms, self.width_ms) = (cut.start_ms() - cut.width_ms(), cut.width_ms());
            (self.width, self.lanes) = (width, 0);
        }
        let first = usize::try_from((cut.start_ms() - self.start_ms) / self.width_ms).ok()?;
        let lanes = first.checked_add(cut.ends().len())?.max(self.lanes);
        let is_large = lanes.checked_mul(width).is_none_or(|cells| cells > CELLS_MAX);
        if self.width != width || is_large || self.rows + rows > CELL_ROWS_MAX {
            return None;
        }
        self.lanes = lanes;
        if self.cells.len() < self.cell_count() {
            self.cells.resize(self.cell_count(), self.plan.empty());
        }
        Some(Lanes { first: first as u32, width_bits: width.trailing_zeros() })
    }

    /// Folds rows, and has what comes `next` fetched.
    ///
    /// # Shapes
    ///
    /// All `[rows]`: `integers` have numbers from `low` on, `slices` are those of the cut that there is room for; `slots` is replaced.
    pub(super) fn fold(
        &mut self,
        lanes: Lanes,
        (integers, low): (&[i64], i64),
        slices: &[u32],
        values: &[f64],
        slots: &mut Vec<u32>,
        next: Upcoming,
    ) {
        slots.resize(integers.len(), 0);
        vector::widest(Place { lanes, integers, low, slices, slots });
        self.plan.fold(&mut self.cells, slots, values, next);
        self.rows += values.len();
    }

    /// The cells that have rows, lane by lane.
    pub(super) fn groups(&self) -> impl Iterator<Item = u32> {
        let cells = self.cells[..self.cell_count()].iter();
        (0..).zip(cells).filter(|(_, cell)| !cell.is_empty()).map(|(index, _)| index)
    }

    /// What rows have come to.
    #[inline]
    pub(super) fn cell(&self, index: u32) -> &GroupCell {
        &self.cells[index as usize]
    }

    /// The number of a cell's key.
    #[inline]
    pub(super) fn number(&self, index: u32) -> usize {
        index as usize & (self.width - 1)
    }

    /// The end of a cell's slice.
    #[inline]
    pub(super) fn end_ms(&self, index: u32) -> i64 {
        let lane = index >> self.width.trailing_zeros();
        self.start_ms + (i64::from(lane) + 1) * self.width_ms
    }

    /// Forgets all groups.
    pub(super) fn clear(&mut self) {
        let count = self.cell_count();
        self.cells[..count].fill(self.plan.empty());
        (self.lanes, self.rows) = (0, 0);
    }
}

/// The cells of rows.
struct Place<'a> {
    lanes: Lanes,
    integers: &'a [i64],
    low: i64,
    slices: &'a [u32],
    slots: &'a mut [u32],
}

impl vector::Loop for Place<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { lanes: Lanes { first, width_bits }, integers, low, slices, slots } = self;
        for ((slot, &integer), &slice) in slots.iter_mut().zip(integers).zip(slices) {
            let number = integer.wrapping_sub(low) as u32;
            *slot = ((first + slice) << width_bits).wrapping_add(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array};
    use proptest::prelude::*;

    use super::super::accumulators::Accumulators;
    use super::super::pane::update_calls;
    use super::*;
    use crate::agg::{AggregateCall, AggregateFunction, Partials, export};
    use crate::batch::{DataType, Field, Schema};
    use crate::window::{Slices, WindowKind};

    /// SUM, AVG, COUNT(*), and MIN or MAX, of one column, in this order as far as they are wanted.
    fn shape(wanted: [bool; 4], greatest: bool) -> Shape {
        let extreme = if greatest { AggregateFunction::Max } else { AggregateFunction::Min };
        let functions =
            [AggregateFunction::CountRows, extreme, AggregateFunction::Avg, AggregateFunction::Sum];
        let call = |function: AggregateFunction| {
            let args = if function == AggregateFunction::CountRows { vec![] } else { vec![0] };
            AggregateCall::new(function, args, DataType::Double, DataType::Double)
        };
        let chosen = functions.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
        let calls: Vec<AggregateCall> = chosen.map(|(function, _)| call(function)).collect();
        Shape::new(&Schema::new(vec![Field::new("x", DataType::Double)]), &[], &calls)
    }

    /// What fits a cell: of any size and sign that does.
    fn fitting() -> impl Strategy<Value = f64> {
        let bits =
            (1001..1056u64, any::<u64>(), any::<bool>()).prop_map(|(exponent, bits, negative)| {
                f64::from_bits(u64::from(negative) << 63 | exponent << 52 | bits & ((1 << 52) - 1))
            });
        prop_oneof![
            bits,
            Just(0.0),
            Just(-0.0),
            (0..100_000i32).prop_map(|cents| f64::from(cents) / 100.0)
        ]
    }

    proptest! {
        /// Against accumulators, in maps by slice and number.
        #[test]
        fn cells_come_to_what_accumulators_do(
            (count, extreme, mean, greatest) in any::<(bool, bool, bool, bool)>(),
            batches in prop::collection::vec(
                (prop::collection::vec((-3..60i64, -40..90i64, fitting()), 1..300), any::<bool>()), 1..6),
        ) {
            let shape = shape([count, extreme, mean, true], greatest);
            let mut grid = Grid::of(&shape).expect("it fits");
            let slices = Slices::new(WindowKind::Tumble { size_ms: 10, offset_ms: 3 });
            let mut twin: BTreeMap<(i64, usize), Accumulators> = BTreeMap::new();
            for (rows, is_drained) in batches {
                let (integers, rest): (Vec<i64>, Vec<(i64, f64)>) =
                    rows.iter().map(|&(key, time, value)| (key, (time, value))).unzip();
                let (times, values): (Vec<i64>, Vec<f64>) = rest.into_iter().unzip();
                let (least, greatest) = (times.iter().min().unwrap(), times.iter().max().unwrap());
                let cut = slices.cut(*least, *greatest).unwrap();
                let (mut indices, mut slots) = (Vec::new(), vec![7; 3]);
                cut.indices(&times, &mut indices);
                let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
                prop_assert_eq!(grid.plan.values(std::slice::from_ref(&column)), Some(values.as_slice()));
                let lanes = grid.make_room(&cut, 64, rows.len()).or_else(|| {
                    check(&shape, &mut grid, &mut twin);
                    grid.make_room(&cut, 64, rows.len())
                });
                let lanes = lanes.expect("there is room when it is empty");
                grid.fold(lanes, (&integers, -4), &indices, &values, &mut slots, Upcoming::default());
                let mut ends_ms = times;
                slices.assign(&mut ends_ms);
                for (row, (&end_ms, &integer)) in ends_ms.iter().zip(&integers).enumerate() {
                    let groups = twin.entry((end_ms, (integer + 4) as usize)).or_insert_with(|| {
                        let mut groups = Accumulators::new(shape.layout.word_count);
                        groups.grow_to(1);
                        groups
                    });
                    update_calls(&shape, 0, groups, &[0], &[column.slice(row, 1)]);
                }
                prop_assert_eq!(grid.groups().count(), twin.len());
                if is_drained {
                    check(&shape, &mut grid, &mut twin);
                }
            }
            check(&shape, &mut grid, &mut twin);
        }
    }

    /// Drains both.
    fn check(shape: &Shape, grid: &mut Grid, twin: &mut BTreeMap<(i64, usize), Accumulators>) {
        let plan = grid.plan;
        let mut groups = BTreeMap::new();
        for index in grid.groups() {
            let (mut partials, group) =
                (Partials::default(), (grid.end_ms(index), grid.number(index)));
            plan.export(std::iter::once(grid.cell(index)), &mut partials);
            assert!(groups.insert(group, partials.words).is_none());
        }
        grid.clear();
        let expected = std::mem::take(twin).into_iter().map(|(group, accumulators)| {
            let mut partials = Partials::default();
            export(&shape.layout, 0, &accumulators, 0, &mut partials);
            (group, partials.words)
        });
        assert_eq!(groups, expected.collect());
        assert!(grid.is_empty() && grid.groups().next().is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut grid = Grid::of(&shape([true; 4], true)).unwrap();
        let column = |value: Option<f64>| -> [ArrayRef; 1] {
            [Arc::new(Float64Array::from(vec![Some(1.0), value, Some(0.5)]))]
        };
        let (least, most) = (0.5f64.powi(22), 2f64.powi(33));
        for (value, fits) in [
            (Some(-least), true),
            (Some(least / 2.0), false),
            (Some(-most / 2.0), true),
            (Some(most), false),
            (Some(f64::MIN_POSITIVE / 2.0), false),
            (Some(f64::NAN), false),
            (Some(f64::NEG_INFINITY), false),
            (None, false),
        ] {
            assert_eq!(grid.plan.values(&column(value)).is_some(), fits, "{value:?}");
        }
        assert!(Grid::of(&shape([true, true, false, false], true)).is_none());
        let mut far = shape([true; 4], true);
        far.calls[0].filter = Some(0);
        assert!(Grid::of(&far).is_none());

        let slices = Slices::new(WindowKind::Tumble { size_ms: 10, offset_ms: 0 });
        let cut = |from: i64, to: i64| slices.cut(from, to).unwrap();
        assert!(
            grid.make_room(&cut(0, 9), CELLS_MAX, 1).is_none(),
            "with a lane for what is out of order"
        );
        assert!(grid.make_room(&cut(0, 9), CELLS_MAX / 4, 1).is_some());
        let (lanes, next) = (Lanes { first: 1, width_bits: 13 }, Upcoming::default());
        grid.fold(lanes, (&[5], 0), &[0], &[1.0], &mut Vec::new(), next);
        assert!(grid.make_room(&cut(-10, 29), CELLS_MAX / 4, 1).is_some());
        assert!(grid.make_room(&cut(-11, 0), CELLS_MAX / 4, 1).is_none(), "before the first lane");
        assert!(grid.make_room(&cut(0, 39), CELLS_MAX / 4, 1).is_none(), "behind the last");
        assert!(grid.make_room(&cut(0, 9), CELLS_MAX / 8, 1).is_none(), "of another width");
        assert!(
            grid.make_room(&cut(0, 9), CELLS_MAX / 4, CELL_ROWS_MAX).is_none(),
            "too many rows"
        );
    }
}
