//! Files of records, read in place, and their writer.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::RecordSource;
use crate::connector::{FileSource, Source};
use crate::error::JobError;
use crate::format::{BLOCK_RECORD_BYTES, BlockWriter, RecordFormat};
use crate::sys::archive::Record;

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
/// ```
/// use tidemill::{Job, Options, RecordFile, RecordWriter, Span};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("pairs.rkyv");
/// let mut writer = RecordWriter::<(i64, u32)>::create(&path)?;
/// writer.write(&(1, 2))?;
/// writer.close_block()?; // What follows may be read by another shard.
/// writer.write(&(3, 4))?;
/// writer.finish()?;
///
/// let pairs = RecordFile::<(i64, u32)>::open(&path)?;
/// let job = Job::new("read").source("pairs", pairs).watermark(|pair| pair.0, Span::millis(0)).sink(|_| {});
/// assert_eq!(job.run(Options::default())?.totals.rows, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
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
