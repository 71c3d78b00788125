//! Records in memory.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};

use super::RecordSource;
use crate::batch::{BATCH_ROWS_MAX, Batch};
use crate::connector::{Generator, Source, Split};
use crate::error::JobError;
use crate::format::Format;
use crate::sys::archive::{ArchiveBuilder, Record};

/// Into how many chunks records are divided, unless these become too large or too small.
const SHARES: usize = 32;

/// Bytes that are allocated at a time: few where there are few records, many huge pages where there are many.
const BLOCK_BYTES_MIN: usize = 128 << 10;
const BLOCK_BYTES_MAX: usize = 32 << 20;

/// Records in memory.
#[derive(Debug)]
pub struct Records<T> {
    /// Batches of [`BATCH_ROWS_MAX`] rows but for the last.
    batches: Vec<ArrayRef>,
    count: usize,
    _type: std::marker::PhantomData<fn(T)>,
}

impl<T: Record> Records<T> {
    /// These records.
    ///
    /// # Panics
    ///
    /// If a record's own serialisation fails; a derived one does not.
    pub fn new(records: impl IntoIterator<Item = T>) -> Self {
        let (mut batches, mut count) = (Vec::new(), 0);
        let mut room_bytes = BLOCK_BYTES_MIN;
        let mut block = ArchiveBuilder::<T>::with_room(room_bytes);
        for record in records {
            block.push(&record).expect("a record can be archived");
            count += 1;
            if block.len().is_multiple_of(BATCH_ROWS_MAX) {
                let batch_bytes = block.byte_count() / (block.len() / BATCH_ROWS_MAX);
                if block.byte_count() + batch_bytes > room_bytes {
                    batches.extend(batches_of(&block.finish()));
                    room_bytes = (room_bytes * 2).min(BLOCK_BYTES_MAX);
                    block = ArchiveBuilder::with_room(room_bytes);
                }
            }
        }
        batches.extend(batches_of(&block.finish()));
        Self { batches, count, _type: std::marker::PhantomData }
    }
}

/// A block's records in batches.
fn batches_of(block: &ArrayRef) -> impl Iterator<Item = ArrayRef> {
    let starts = (0..block.len()).step_by(BATCH_ROWS_MAX);
    starts.map(|start| block.slice(start, BATCH_ROWS_MAX.min(block.len() - start)))
}

impl<T: Record> RecordSource for Records<T> {
    type Record = T;

    fn into_source(self) -> Arc<dyn Source> {
        Arc::new(MemorySource(Arc::new(Memory { batches: self.batches, count: self.count })))
    }
}

#[derive(Debug)]
struct MemorySource(Arc<Memory>);

impl Source for MemorySource {
    fn format(&self) -> Option<Arc<dyn Format>> {
        None
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(vec![Split::Generated(self.0.clone())])
    }
}

struct Memory {
    batches: Vec<ArrayRef>,
    count: usize,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records in memory", self.count)
    }
}

impl Generator for Memory {
    fn row_count(&self) -> Option<u64> {
        Some(self.count as u64)
    }

    fn rows_per_second(&self) -> Option<u64> {
        None
    }

    /// A batch is there already and costs no memory; the fewer chunks, the fewer accumulators travel. Yet there should be some for every shard.
    fn chunk_rows(&self) -> u64 {
        let share = (self.count / SHARES).next_multiple_of(BATCH_ROWS_MAX) as u64;
        share.clamp(1 << 17, 1 << 18)
    }

    fn generate(&self, start: u64, count: usize, projection: &[usize]) -> Batch {
        let start = start as usize;
        assert!(start.is_multiple_of(BATCH_ROWS_MAX) && count <= BATCH_ROWS_MAX, "batch by batch");
        let batch = self.batches[start / BATCH_ROWS_MAX].slice(0, count);
        Batch::new(projection.iter().map(|_| batch.clone()).collect(), count)
    }
}
