//! Rows as Arrow's record batches, as other programs that speak Arrow expect them.
//!
//! In the engine a time is a plain integer whose unit the plan knows. Outside nobody has the plan, so the integers get Arrow's types
//! for times; their buffers are shared, not copied.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringViewArray, make_array};
use arrow_schema::{
    DataType as ArrowType, Field, IntervalUnit, Schema as ArrowSchema, SchemaRef, TimeUnit,
};

use super::rows::Taken;
use crate::batch::{Batch, DataType, Schema};
use crate::error::JobError;
use crate::job::handle::Remote;

/// The rows of a query as record batches.
#[derive(Debug)]
pub struct Batches {
    batches: Taken,
    schema: SchemaRef,
    changes: bool,
}

impl Batches {
    pub(super) fn of(batches: Taken, schema: &Schema, changes: bool) -> Self {
        let op = changes.then(|| Field::new("op", ArrowType::Utf8View, false));
        let columns = schema.fields.iter();
        let columns = columns.map(|f| Field::new(&f.name, arrow_type(f.data_type), f.nullable));
        let schema = ArrowSchema::new(op.into_iter().chain(columns).collect::<Vec<_>>());
        Self { batches, schema: Arc::new(schema), changes }
    }

    /// The schema of every batch.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The job's metrics, and how it is stopped or cancelled, while batches are read.
    pub fn remote(&self) -> Remote {
        self.batches.remote()
    }

    fn record_batch(&self, batch: Batch) -> Result<RecordBatch, JobError> {
        let kinds = || (0..batch.rows).map(|row| batch.kind(row).short());
        let op = || Arc::new(StringViewArray::from_iter_values(kinds())) as ArrayRef;
        let op = self.changes.then(op);
        let columns = op.into_iter().chain(batch.columns.iter().cloned());
        let typed = columns
            .zip(self.schema.fields())
            .map(|(column, field)| as_type(&column, field.data_type()));
        let batch = RecordBatch::try_new(self.schema(), typed.collect());
        batch.map_err(|error| JobError::Internal(error.to_string()))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.and_then(|batch| self.record_batch(batch)))
    }
}

/// Arrow's type for a column of a SQL type.
fn arrow_type(data_type: DataType) -> ArrowType {
    let unit = |precision: u8| match precision {
        0..=3 => TimeUnit::Millisecond,
        4..=6 => TimeUnit::Microsecond,
        _ => TimeUnit::Nanosecond,
    };
    match data_type {
        DataType::Date => ArrowType::Date32,
        DataType::Time(_) => ArrowType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(precision) => ArrowType::Timestamp(unit(precision), None),
        DataType::TimestampLtz(precision) => {
            ArrowType::Timestamp(unit(precision), Some("UTC".into()))
        }
        DataType::IntervalDay => ArrowType::Duration(TimeUnit::Millisecond),
        DataType::IntervalMonth => ArrowType::Interval(IntervalUnit::YearMonth),
        other => other.arrow(),
    }
}

/// The same buffers, seen as another type of the same layout.
fn as_type(column: &ArrayRef, data_type: &ArrowType) -> ArrayRef {
    if column.data_type() == data_type {
        return Arc::clone(column);
    }
    let data = column.to_data().into_builder().data_type(data_type.clone());
    make_array(data.build().expect("integers of the same width"))
}
