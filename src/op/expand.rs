//! Grouping sets: every row once for each set, with the columns outside of the set NULL.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, new_null_array};

use crate::batch::Batch;
use crate::plan::GroupingSet;

/// One batch for each grouping set.
pub fn expand<'a>(batch: &'a Batch, sets: &'a [GroupingSet]) -> impl Iterator<Item = Batch> + 'a {
    sets.iter().map(|set| {
        let mut columns: Vec<ArrayRef> = batch.columns.clone();
        for &nulled in &set.nulled {
            columns[nulled] = new_null_array(columns[nulled].data_type(), batch.rows);
        }
        columns.push(Arc::new(Int64Array::from_value(set.grouping_id, batch.rows)));
        batch.with_columns(columns)
    })
}
