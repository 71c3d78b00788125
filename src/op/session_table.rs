//! A SESSION table function without GROUP BY: rows wait, packed into bytes, until their session closes.
//!
//! To the owner a session's rows are one aggregate, the concatenation of packed rows; so late rows, merging
//! and firing are those of any session. What comes out is unpacked again, each row with its window.
//!
//! # A packed row
//!
//! ```text
//! length u32 │ the columns, as a key of all of them
//! ```

use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, UInt32Array};

use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{Batch, DataType, Keys, take_columns};

/// The rows with one more column, each row packed.
///
/// # Panics
///
/// If a row passes 4 GiB, which record limits exclude.
pub fn pack(batch: &Batch) -> Batch {
    let mut rows = Keys::default();
    rows.encode(&batch.columns, batch.rows);
    let mut packed = BinaryViewBuilder::with_capacity(batch.rows);
    let mut bytes = Vec::new();
    for row in 0..batch.rows {
        bytes.clear();
        bytes.extend_from_slice(&(rows.get(row).len() as u32).to_le_bytes());
        bytes.extend_from_slice(rows.get(row));
        packed.append_value(&bytes);
    }
    let mut columns = batch.columns.clone();
    columns.push(Arc::new(packed.finish()));
    batch.with_columns(columns)
}

/// The call that concatenates packed rows; they are column `column`.
pub fn call(column: usize) -> AggregateCall {
    let bytes = DataType::BYTES;
    let call = AggregateCall::new(AggregateFunction::ListAgg, vec![column], bytes, bytes);
    AggregateCall { name: "$rows".into(), ..call }
}

/// The rows of sessions, of these `types`, each with its window. `batch`: `key_count` keys, the packed rows, the window's
/// three columns.
pub fn unpack(batch: &Batch, types: &[DataType], key_count: usize) -> Batch {
    let packed = batch.columns[key_count].as_binary_view();
    let (mut rows, mut sessions): (Vec<&[u8]>, Vec<u32>) = (Vec::new(), Vec::new());
    for session in 0..batch.rows {
        let mut rest = packed.value(session);
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (row, after) = tail.split_at(u32::from_le_bytes(*length) as usize);
            rows.push(row);
            sessions.push(session as u32);
            rest = after;
        }
    }
    let mut columns: Vec<ArrayRef> = Keys::decode(types, rows.iter().copied());
    let count = rows.len();
    let sessions = UInt32Array::from(sessions);
    columns.extend(take_columns(&batch.columns[key_count + 1..], &sessions));
    Batch::new(columns, count)
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryViewArray, Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn rows_come_back_with_their_windows() {
        let names: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None, Some("")]));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let batch = Batch::new(vec![names.clone(), values.clone()], 3);
        let packed = pack(&batch);
        let column = packed.columns[2].as_binary_view();
        let joined: Vec<u8> = column.iter().flatten().flatten().copied().collect();
        let window = |value: i64| Arc::new(Int64Array::from_value(value, 1)) as ArrayRef;
        let session: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([joined]));
        let result = Batch::new(vec![session, window(0), window(9), window(8)], 1);
        let rows = unpack(&result, &[DataType::STRING, DataType::BigInt], 0);
        assert_eq!(rows.rows, 3);
        assert_eq!(&rows.columns[0], &names);
        assert_eq!(&rows.columns[1], &values);
        assert_eq!(rows.columns[3].as_ref(), &Int64Array::from_value(9, 3));
    }
}
