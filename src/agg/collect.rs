//! Collect: the bytes of every row of a group, in the order of their arrival; what functions over whole windows are given.
//!
//! # Layout
//!
//! ```text
//! zeros │ length u32 │ bytes │ zeros │ length u32 │ bytes …
//! ```
//!
//! # Invariants
//!
//! 1. An element begins at a multiple of 16, right behind its length; there are as few zeros as that takes.

use std::sync::Arc;

use arrow_array::builder::make_view;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray};
use arrow_buffer::{Buffer, MutableBuffer, ScalarBuffer};

use super::{AggregateCall, Groups, Stored, UserAggregate, UserFunction};
use crate::batch::DataType;

const ALIGNMENT: usize = 16;
const LENGTH_BYTES: usize = 4;
/// The zeros before the first length.
const FIRST: usize = ALIGNMENT - LENGTH_BYTES;
/// A buffer of a result column is closed when the next value would take it beyond this.
const BUFFER_BYTES: usize = 64 << 20;

/// Gathers a column of BYTES; NULLs are left out.
#[derive(Debug)]
pub struct Collect;

impl Collect {
    /// The call that gathers column `column` as `name`.
    pub fn call(column: usize, name: &str) -> AggregateCall {
        AggregateCall::user(UserFunction(Arc::new(Collect)), vec![column], name)
    }
}

/// Where the next length stands, behind so many bytes.
fn next_length(end: usize) -> usize {
    (end + LENGTH_BYTES).next_multiple_of(ALIGNMENT) - LENGTH_BYTES
}

/// The elements of what [`Collect`] gathered, each at a multiple of 16 if the whole is.
pub fn elements(collected: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut end = 0;
    std::iter::from_fn(move || {
        let start = next_length(end) + LENGTH_BYTES;
        let length = collected.get(start - LENGTH_BYTES..start)?;
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        end = start + length;
        Some(&collected[start..end])
    })
}

impl UserAggregate for Collect {
    fn name(&self) -> &str {
        "COLLECT"
    }

    fn uid(&self) -> &str {
        "tidemill.collect"
    }

    fn version(&self) -> u64 {
        1
    }

    fn arg_types(&self) -> &[DataType] {
        &[DataType::BYTES]
    }

    fn data_type(&self) -> DataType {
        DataType::BYTES
    }

    fn nullable(&self) -> bool {
        false
    }

    fn is_order_sensitive(&self) -> bool {
        true
    }

    fn folds_early(&self) -> bool {
        false
    }

    fn create(&self) -> Vec<u8> {
        Vec::new()
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        let values = args[0].as_binary_view();
        let mut piece = Vec::new();
        groups.each(|stored, rows| {
            let start = stored.bytes().len();
            piece.clear();
            for row in rows.iter().map(|&row| row as usize).filter(|&row| values.is_valid(row)) {
                let value = values.value(row);
                let length = u32::try_from(value.len()).map_err(|error| error.to_string())?;
                piece.resize(next_length(start + piece.len()) - start, 0);
                piece.extend_from_slice(&length.to_le_bytes());
                piece.extend_from_slice(value);
            }
            stored.append(&piece)
        })
    }

    fn merge(&self, into: &mut Stored<'_>, from: &[u8]) -> Result<(), String> {
        if from.is_empty() {
            return Ok(());
        }
        let end = into.bytes().len();
        let zeros = next_length(end) - end;
        into.append(&[0; ALIGNMENT][..zeros])?;
        into.append(&from[FIRST..])
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        Ok(Arc::new(aligned_values(accumulators)))
    }
}

/// A column of BYTES whose values each begin at a multiple of 16, but those of at most twelve bytes.
fn aligned_values(values: &[&[u8]]) -> BinaryViewArray {
    let (mut buffers, mut buffer) = (Vec::new(), MutableBuffer::new(0));
    let mut views = Vec::with_capacity(values.len());
    for value in values {
        if !buffer.is_empty() && buffer.len() + value.len() > BUFFER_BYTES {
            buffers.push(Buffer::from(std::mem::replace(&mut buffer, MutableBuffer::new(0))));
        }
        views.push(make_view(value, buffers.len() as u32, buffer.len() as u32));
        buffer.extend_from_slice(value);
        buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
    }
    buffers.push(buffer.into());
    BinaryViewArray::new(ScalarBuffer::from(views), buffers, None)
}
