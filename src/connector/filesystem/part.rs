//! One shard's end of a file sink.
//!
//! # Invariants
//!
//! 1. Bytes reach a file in whole records.
//! 2. A part is made when its first row comes, so an empty result has no parts.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::sink::{PlainFile, Rolling, failed, hidden, publish};
use crate::batch::Batch;
use crate::connector::SinkPart;
use crate::connector::timer::Timer;
use crate::error::JobError;
use crate::format::Encode;

/// Bytes gathered before they are written.
const PENDING_BYTES: usize = 256 << 10;

/// Makes encoders, one for each file.
pub(super) type NewEncoder = Box<dyn Fn() -> Box<dyn Encode> + Send>;

/// Writes parts into a directory.
pub(super) struct DirectoryPart {
    directory: PathBuf,
    /// `part-<run>-<shard>`
    name: String,
    rolling: Rolling,
    timer: Timer,
    new_encoder: NewEncoder,
    part_count: u64,
    open: Option<OpenPart>,
}

struct OpenPart {
    path: PathBuf,
    file: File,
    encoder: Box<dyn Encode>,
    pending: Vec<u8>,
    written_bytes: u64,
}

impl DirectoryPart {
    pub(super) fn new(
        directory: PathBuf,
        name: String,
        rolling: Rolling,
        new_encoder: NewEncoder,
    ) -> Result<Self, JobError> {
        let timer =
            Timer::every(rolling.interval_ms).map_err(|error| failed(&directory, error.into()))?;
        Ok(Self { directory, name, rolling, timer, new_encoder, part_count: 0, open: None })
    }

    /// The open part, made if there is none.
    fn open(&mut self) -> Result<&mut OpenPart, JobError> {
        if self.open.is_none() {
            let path = self.directory.join(format!("{}-{}", self.name, self.part_count));
            self.part_count += 1;
            let hidden = hidden(&path);
            let file = File::options().create_new(true).write(true).open(&hidden);
            let file = file.map_err(|error| failed(&hidden, error))?;
            let mut encoder = (self.new_encoder)();
            let mut pending = Vec::with_capacity(PENDING_BYTES * 2);
            encoder.header(&mut pending);
            self.open = Some(OpenPart { path, file, encoder, pending, written_bytes: 0 });
            // The part's time begins now.
            self.timer.restart().map_err(|error| failed(&self.directory, error.into()))?;
        }
        Ok(self.open.as_mut().expect("made above"))
    }

    /// Finishes the open part and gives it its name.
    fn close(&mut self) -> Result<(), JobError> {
        let Some(mut part) = self.open.take() else { return Ok(()) };
        part.encoder.finish(&mut part.pending);
        part.write_out()?;
        let hidden = hidden(&part.path);
        part.file.sync_all().map_err(|error| failed(&hidden, error))?;
        publish(&hidden, &part.path, false)
    }

    fn close_if_old(&mut self) -> Result<(), JobError> {
        if self.open.is_some() && self.timer.ticks() > 0 { self.close() } else { Ok(()) }
    }
}

impl OpenPart {
    fn write_out(&mut self) -> Result<(), JobError> {
        self.file.write_all(&self.pending).map_err(|error| failed(&hidden(&self.path), error))?;
        self.written_bytes += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl SinkPart for DirectoryPart {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        if batch.rows == 0 {
            return Ok(());
        }
        self.close_if_old()?;
        let file_bytes = self.rolling.file_bytes;
        let part = self.open()?;
        part.encoder.encode(batch, &mut part.pending);
        let size_bytes = part.written_bytes + part.pending.len() as u64;
        if part.pending.len() >= PENDING_BYTES {
            part.write_out()?;
        }
        if size_bytes >= file_bytes { self.close() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JobError> {
        self.close_if_old()?;
        self.open.as_mut().map_or(Ok(()), OpenPart::write_out)
    }

    fn finish(&mut self) -> Result<(), JobError> {
        self.close()
    }
}

/// Writes records into the file that all shards share.
pub(super) struct PlainPart {
    file: Arc<PlainFile>,
    /// The file's name while it is written.
    path: PathBuf,
    encoder: Box<dyn Encode>,
    pending: Vec<u8>,
}

impl PlainPart {
    pub(super) fn new(file: Arc<PlainFile>, path: PathBuf, encoder: Box<dyn Encode>) -> Self {
        Self { file, path, encoder, pending: Vec::new() }
    }
}

impl SinkPart for PlainPart {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        self.encoder.encode(batch, &mut self.pending);
        if self.pending.len() >= PENDING_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JobError> {
        let written = self.file.write(&self.pending).map_err(|error| failed(&self.path, error));
        self.pending.clear();
        written
    }

    fn finish(&mut self) -> Result<(), JobError> {
        self.encoder.finish(&mut self.pending);
        self.flush()
    }
}
