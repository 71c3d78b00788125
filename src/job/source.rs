//! Where records come from.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::batch::{BATCH_ROWS_MAX, Batch};
use crate::connector::{FileSource, Generator, Source, Split};
use crate::error::JobError;
use crate::format::{BLOCK_RECORD_BYTES, BlockWriter, Format, RecordFormat};
use crate::sys::archive::{ArchiveBuilder, Record};

/// A source of records.
pub trait RecordSource {
    /// What it yields.
    type Record: Record;
    /// The engine's source: one column, of records.
    fn into_source(self) -> Arc<dyn Source>;
}

/// Files of records, written by [`RecordWriter`] or a job, and read in place: records are validated once and never copied.
#[derive(Debug)]
pub struct RecordFile<T> {
    source: FileSource,
    _type: std::marker::PhantomData<fn(T)>,
}

impl<T: Record> RecordFile<T> {
    /// The files of `path`: a file, a directory with all below it, or a pattern (`clicks/*.rkyv`).
    ///
    /// # Errors
    ///
    /// If there is nothing to read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JobError> {
        let path = path.as_ref().display().to_string();
        let source = FileSource::new(path, Arc::new(RecordFormat::<T>::default()));
        source.splits()?;
        Ok(Self { source, _type: std::marker::PhantomData })
    }
}

impl<T: Record> RecordSource for RecordFile<T> {
    type Record = T;

    fn into_source(self) -> Arc<dyn Source> {
        Arc::new(self.source)
    }
}

/// Writes a file of records.
///
/// ```no_run
/// # use tidemill::RecordWriter;
/// let mut writer = RecordWriter::<(i64, u32)>::create("pairs.rkyv")?;
/// writer.write(&(1, 2))?;
/// writer.finish()?;
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub struct RecordWriter<T> {
    file: File,
    path: String,
    blocks: BlockWriter<T>,
    pending: Vec<u8>,
}

impl<T: Record> RecordWriter<T> {
    /// A new file.
    ///
    /// # Errors
    ///
    /// What the file system says; also if there is a file.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, JobError> {
        let path = path.as_ref();
        let file = File::create_new(path)
            .map_err(|error| JobError::io(path.display().to_string(), error))?;
        let path = path.display().to_string();
        Ok(Self { file, path, blocks: BlockWriter::default(), pending: Vec::new() })
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// What the record's own serialisation or the file system says.
    pub fn write(&mut self, record: &T) -> Result<(), JobError> {
        self.blocks
            .push(record, &mut self.pending)
            .map_err(|message| JobError::Expression { origin: self.path.clone(), message })?;
        if self.pending.len() > BLOCK_RECORD_BYTES { self.hand_over() } else { Ok(()) }
    }

    /// Ends the current block, so that what follows may be read by another shard; otherwise a block takes a mebibyte.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn close_block(&mut self) -> Result<(), JobError> {
        self.blocks.close(&mut self.pending);
        self.hand_over()
    }

    /// Writes what is left. A writer that is dropped instead leaves the file incomplete.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn finish(mut self) -> Result<(), JobError> {
        self.close_block()
    }

    fn hand_over(&mut self) -> Result<(), JobError> {
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        written.map_err(|error| JobError::io(self.path.clone(), error))
    }
}

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
        let mut builder = ArchiveBuilder::<T>::default();
        for record in records {
            builder.push(&record).expect("a record can be archived");
            count += 1;
            if builder.len() == BATCH_ROWS_MAX {
                batches.push(builder.finish());
            }
        }
        if !builder.is_empty() {
            batches.push(builder.finish());
        }
        Self { batches, count, _type: std::marker::PhantomData }
    }
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

    fn generate(&self, start: u64, count: usize, projection: &[usize]) -> Batch {
        let start = start as usize;
        assert!(start.is_multiple_of(BATCH_ROWS_MAX) && count <= BATCH_ROWS_MAX, "batch by batch");
        let batch = self.batches[start / BATCH_ROWS_MAX].slice(0, count);
        Batch::new(projection.iter().map(|_| batch.clone()).collect(), count)
    }
}
