//! Batches: a few thousand rows as Arrow columns, the unit that flows from decode to sink.
//!
//! # Invariants
//!
//! 1. Every column has `rows` rows and the Arrow type that [`DataType::arrow`] gives for its field.
//! 2. `kinds`, where present, has `rows` entries; absent means that every row is an insert.
//! 3. A batch is immutable: operators build new columns and share those that they keep.

mod arrival;
mod data_type;
pub mod hash;
mod integers;
mod kept;
mod key;
mod packing;
mod schema;
mod strings;
pub mod text;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::ScalarBuffer;

use crate::sys::archive;

pub use arrival::{Arrival, Asked};
pub use data_type::DataType;
pub use integers::{EncodeInteger, Integers};
pub use key::Keys;
pub use packing::{KeyWords, Packing, put_bytes};
pub use schema::{Field, Schema, TimeAttribute};
pub use strings::{ShortKey, Strings};

/// How many rows a batch holds at most, unless one record forces more.
pub const BATCH_ROWS_MAX: usize = 4096;

/// What a changelog row does, with Flink's short strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// `+I`
    Insert = 0,
    /// `-U`
    UpdateBefore = 1,
    /// `+U`
    UpdateAfter = 2,
    /// `-D`
    Delete = 3,
}

impl RowKind {
    /// Flink's short string.
    pub fn short(self) -> &'static str {
        match self {
            RowKind::Insert => "+I",
            RowKind::UpdateBefore => "-U",
            RowKind::UpdateAfter => "+U",
            RowKind::Delete => "-D",
        }
    }
}

/// The rows of `columns` at these indices, in this order.
///
/// # Panics
///
/// If an index is out of range.
pub fn take_columns(columns: &[ArrayRef], rows: &UInt32Array) -> Vec<ArrayRef> {
    columns.iter().map(|column| take_column(column, rows)).collect()
}

/// Records are not copied: they are picked where they lie, see [`archive`].
fn take_column(column: &ArrayRef, rows: &UInt32Array) -> ArrayRef {
    if let Some(picked) = archive::pick(column, rows) {
        return picked;
    }
    arrow_select::take::take(column, rows, None).expect("indices in range")
}

/// A few thousand rows as columns.
#[derive(Clone, Debug)]
pub struct Batch {
    /// One Arrow array a column.
    pub columns: Vec<ArrayRef>,
    /// How many rows; also the truth for a batch without columns (`COUNT(*)` needs none).
    pub rows: usize,
    /// The row kinds of a changelog; absent: all inserts.
    pub kinds: Option<Arc<[RowKind]>>,
    /// `[rows]`: the watermark, in milliseconds, when each row arrived, that is, before the row itself
    /// raised it. Present between a source and the operator that tests for late rows.
    pub arrival_ms: Option<Arrival>,
    /// `[rows]`: which row of its chunk each comes from, where a function before the next exchange yields rows in that order.
    pub sequence: Option<ScalarBuffer<u64>>,
}

impl Batch {
    /// A batch of inserts.
    ///
    /// # Panics
    ///
    /// If a column has not `rows` rows (invariant 1).
    pub fn new(columns: Vec<ArrayRef>, rows: usize) -> Self {
        assert!(
            columns.iter().all(|column| column.len() == rows),
            "a column's length is not the batch's"
        );
        Self { columns, rows, kinds: None, arrival_ms: None, sequence: None }
    }

    /// The same columns as a changelog.
    ///
    /// # Panics
    ///
    /// If `kinds` has not one entry a row (invariant 2).
    #[must_use]
    pub fn with_kinds(mut self, kinds: Arc<[RowKind]>) -> Self {
        assert_eq!(kinds.len(), self.rows);
        self.kinds = Some(kinds);
        self
    }

    /// The kind of one row.
    pub fn kind(&self, row_index: usize) -> RowKind {
        self.kinds.as_ref().map_or(RowKind::Insert, |kinds| kinds[row_index])
    }

    /// Rows `start .. start + count`, without copying columns.
    pub fn slice(&self, start: usize, count: usize) -> Batch {
        Batch {
            columns: self.columns.iter().map(|column| column.slice(start, count)).collect(),
            rows: count,
            kinds: self.kinds.as_ref().map(|kinds| kinds[start..start + count].into()),
            arrival_ms: self.arrival_ms.as_ref().map(|arrival| arrival.slice(start, count)),
            sequence: self.sequence.as_ref().map(|sequence| sequence.slice(start, count)),
        }
    }

    /// The rows at these indices, in this order.
    pub fn take(&self, rows: &UInt32Array) -> Batch {
        Batch {
            columns: take_columns(&self.columns, rows),
            rows: rows.len(),
            kinds: self
                .kinds
                .as_ref()
                .map(|kinds| rows.values().iter().map(|&row| kinds[row as usize]).collect()),
            arrival_ms: self.arrival_ms.as_ref().map(|arrival| arrival.take(rows)),
            sequence: self
                .sequence
                .as_ref()
                .map(|sequence| rows.values().iter().map(|&row| sequence[row as usize]).collect()),
        }
    }

    /// The same rows with other columns.
    #[must_use]
    pub fn with_columns(&self, columns: Vec<ArrayRef>) -> Batch {
        let rows = self.rows;
        assert!(
            columns.iter().all(|column| column.len() == rows),
            "a column's length is not the batch's"
        );
        let (kinds, arrival_ms) = (self.kinds.clone(), self.arrival_ms.clone());
        Batch { columns, rows, kinds, arrival_ms, sequence: self.sequence.clone() }
    }

    /// The rows where `keep` is true (NULL counts as false).
    ///
    /// # Panics
    ///
    /// If `keep` has not one entry a row.
    pub fn filter(&self, keep: &BooleanArray) -> Batch {
        assert_eq!(keep.len(), self.rows);
        let kept = match keep.nulls() {
            None => keep.values().clone(),
            Some(nulls) => keep.values() & nulls.inner(),
        };
        if kept.count_set_bits() == self.rows {
            return self.clone();
        }
        self.take(&UInt32Array::from(kept::rows(&kept)))
    }
}
