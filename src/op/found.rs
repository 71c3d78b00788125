//! Rows that have been found their groups and are yet to be folded: enough of them at a time for a column's loop to pay.
//!
//! # Invariants
//!
//! 1. There are as many slots as values of each argument.

use arrow_array::ArrayRef;

use super::accumulators::Accumulators;
use super::packed_rows::column_of;
use super::pane::update_calls;
use super::shape::Shape;
use crate::state::Rows;

/// So many rows that follow each other are folded at a time at most, or few more.
const ROWS_AT_ONCE: usize = 4096;

/// Rows and their slots.
#[derive(Debug)]
pub(super) struct Found {
    /// The slots of rows, whose arguments are added next.
    pub(super) slots: Vec<u32>,
    /// By argument.
    words: Vec<Vec<u64>>,
}

impl Found {
    pub(super) fn new(shape: &Shape) -> Self {
        let words = shape.shipped_types.iter().map(|_| Vec::new()).collect();
        Self { slots: Vec::new(), words }
    }

    /// Adds the arguments of rows whose slots have been added, which begin at word `first` of each.
    pub(super) fn add_arguments(&mut self, rows: &Rows<'_>, first: usize) {
        for (argument, column) in (first..).zip(&mut self.words) {
            column.extend(rows.words.chunks_exact(rows.stride).map(|row| row[argument]));
        }
    }

    /// Adds a row with its arguments.
    #[inline]
    pub(super) fn push(&mut self, slot: u32, arguments: &[u64]) {
        self.slots.push(slot);
        self.words.iter_mut().zip(arguments).for_each(|(column, &word)| column.push(word));
    }

    /// Whether it is time to fold them.
    pub(super) fn are_many(&self) -> bool {
        self.slots.len() >= ROWS_AT_ONCE
    }

    /// Folds them into their slots; there are none then.
    pub(super) fn fold(&mut self, shape: &Shape, accumulators: &mut Accumulators) {
        if self.slots.is_empty() {
            return;
        }
        let types = shape.shipped_types.iter();
        let columns: Vec<ArrayRef> = types
            .zip(&self.words)
            .map(|(&data_type, words)| column_of(data_type, words.into()))
            .collect();
        update_calls(shape, 0, accumulators, &self.slots, &columns);
        self.slots.clear();
        self.words.iter_mut().for_each(Vec::clear);
    }
}
