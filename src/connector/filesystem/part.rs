//! One shard's end of a file sink.
//!
//! [`HiddenPart`] writes files under hidden names and either publishes each as it is finished, or (in a job with snapshots)
//! keeps what it finished until a barrier seals it; the [`super::transaction`] does the rest. [`PlainPart`] hands records to
//! the one file that all shards of a job without snapshots share.
//!
//! # Invariants
//!
//! 1. Bytes reach a file in whole records, and no batch is split over files.
//! 2. A file is made when its first row comes, so an empty result, or an empty epoch, has none.
//! 3. With snapshots nothing that this file does can be seen under a name that is not hidden.

use std::path::PathBuf;
use std::sync::Arc;

use super::sink::{PlainFile, Rolling, failed};
use super::transaction::{HIDDEN_SUFFIX, Numbers, publish_new, shown};
use crate::batch::Batch;
use crate::connector::timer::Timer;
use crate::connector::{SealedFile, SealedPart, SinkPart};
use crate::error::JobError;
use crate::format::Encode;
use crate::sys::storage::{Storage, StoredFile};
use crate::{crash_point, planted};

/// Bytes gathered before they are written.
const PENDING_BYTES: usize = 256 << 10;
/// How many finished files a part keeps open for the next barrier; after that the last one grows instead of rolling.
const FINISHED_COUNT_MAX: usize = 64;

/// Makes encoders, one for each file.
pub(super) type NewEncoder = Box<dyn Fn() -> Box<dyn Encode> + Send>;

/// Where a part writes, and under which names.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) folder: PathBuf,
    /// What the hidden names begin with: `.part-<run>-<part>`, or `.NAME.<run>-<part>` for segments of a plain file.
    pub(super) stem: String,
    pub(super) numbers: Numbers,
    pub(super) contents: Contents,
}

/// What the hidden files will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// Files of their own, published as soon as they are finished.
    FilesAtOnce,
    /// Files of their own, published by the transaction.
    Files,
    /// Stretches of a plain file, appended to it by the transaction.
    Segments,
}

/// Writes files under hidden names.
pub(super) struct HiddenPart {
    place: Place,
    /// When a file is finished before the barrier; segments never are.
    rolling: Option<(Rolling, Timer)>,
    new_encoder: NewEncoder,
    open: Option<OpenFile>,
    /// Whole files that wait for the barrier.
    finished: Vec<SealedFile>,
}

struct OpenFile {
    path: PathBuf,
    file: Arc<dyn StoredFile>,
    encoder: Box<dyn Encode>,
    /// Its header is written, or is not its own.
    headed: bool,
    pending: Vec<u8>,
    written_bytes: u64,
}

impl HiddenPart {
    pub(super) fn new(
        place: Place,
        rolling: Option<Rolling>,
        new_encoder: NewEncoder,
    ) -> Result<Self, JobError> {
        let timed = |rolling: Rolling| Ok((rolling, Timer::every(rolling.interval_ms)?));
        let rolling = rolling
            .map(timed)
            .transpose()
            .map_err(|error: rustix::io::Errno| failed(&place.folder, error.into()))?;
        Ok(Self { place, rolling, new_encoder, open: None, finished: Vec::new() })
    }

    /// The open file, made if there is none.
    fn open(&mut self) -> Result<&mut OpenFile, JobError> {
        if self.open.is_none() {
            let Place { storage, folder, stem, numbers, contents } = &self.place;
            let path = folder.join(format!("{stem}-{}{HIDDEN_SUFFIX}", numbers.take()));
            let file = storage.create(&path).map_err(|error| failed(&path, error))?;
            crash_point!("sink-part-created");
            let encoder = (self.new_encoder)();
            let pending = Vec::with_capacity(PENDING_BYTES * 2);
            // Of segments the transaction writes it, once, at the start of the whole.
            let headed = *contents == Contents::Segments;
            self.open = Some(OpenFile { path, file, encoder, headed, pending, written_bytes: 0 });
            if let Some((_, timer)) = &self.rolling {
                // The file's time begins now.
                timer.restart().map_err(|error| failed(folder, error.into()))?;
            }
        }
        Ok(self.open.as_mut().expect("made above"))
    }

    /// Finishes the open file: publishes it, or keeps it for the barrier.
    fn close(&mut self) -> Result<(), JobError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        open.encoder.finish(&mut open.pending);
        open.write_out()?;
        let OpenFile { path, file, written_bytes, .. } = open;
        if self.place.contents == Contents::FilesAtOnce {
            file.sync().map_err(|error| failed(&path, error))?;
            return publish_new(&*self.place.storage, &path, &shown(&path));
        }
        self.finished.push(SealedFile { path, length_bytes: written_bytes, file });
        Ok(())
    }

    fn is_publishing(&self) -> bool {
        self.place.contents == Contents::FilesAtOnce
    }

    /// Whether one more file may be finished before the barrier.
    fn may_roll(&self) -> bool {
        self.is_publishing() || self.finished.len() < FINISHED_COUNT_MAX
    }

    fn close_if_old(&mut self) -> Result<(), JobError> {
        let is_old = self.open.is_some()
            && self.may_roll()
            && self.rolling.as_ref().is_some_and(|(_, timer)| timer.ticks() > 0);
        if is_old { self.close() } else { Ok(()) }
    }
}

impl OpenFile {
    fn encode(&mut self, batch: &Batch) {
        if std::mem::replace(&mut self.headed, true) {
            return self.encoder.encode(batch, &mut self.pending);
        }
        let mut rows = Vec::new();
        self.encoder.encode(batch, &mut rows);
        self.encoder.header(&mut self.pending);
        self.pending.append(&mut rows);
    }

    fn write_out(&mut self) -> Result<(), JobError> {
        let written = self.file.write_at(self.written_bytes, &self.pending);
        written.map_err(|error| failed(&self.path, error))?;
        self.written_bytes += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl SinkPart for HiddenPart {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        if batch.rows == 0 {
            return Ok(());
        }
        self.close_if_old()?;
        let open = self.open()?;
        open.encode(batch);
        let size_bytes = open.written_bytes + open.pending.len() as u64;
        if open.pending.len() >= PENDING_BYTES {
            open.write_out()?;
        }
        let is_full =
            self.rolling.as_ref().is_some_and(|(rolling, _)| size_bytes >= rolling.file_bytes);
        if is_full && self.may_roll() { self.close() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JobError> {
        self.close_if_old()?;
        // What the transaction will show is not awaited by anybody before.
        let awaited = if self.is_publishing() { self.open.as_mut() } else { None };
        awaited.map_or(Ok(()), OpenFile::write_out)
    }

    fn finish(&mut self) -> Result<(), JobError> {
        if !self.is_publishing() && (self.open.is_some() || !self.finished.is_empty()) {
            return Err(JobError::Internal(format!(
                "rows of {} were neither sealed nor dropped at the end",
                self.place.folder.join(&self.place.stem).display()
            )));
        }
        self.close()
    }

    fn seal(&mut self, _epoch: u64) -> Result<Vec<SealedPart>, JobError> {
        assert!(!self.is_publishing(), "sealed, but the sink was not opened for snapshots");
        crash_point!("sink-seal-before");
        self.close()?;
        if planted!("sink-publish-early") && self.place.contents == Contents::Files {
            for SealedFile { path, .. } in &self.finished {
                publish_new(&*self.place.storage, path, &shown(path))?;
            }
        }
        crash_point!("sink-seal-after");
        Ok(self.finished.drain(..).map(SealedPart::File).collect())
    }
}

/// Appends records to a plain file that all parts share.
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
        let written = self.file.write(&mut *self.encoder, &self.pending);
        let written = written.map_err(|error| failed(&self.path, error));
        self.pending.clear();
        written
    }

    fn finish(&mut self) -> Result<(), JobError> {
        self.encoder.finish(&mut self.pending);
        self.flush()
    }
}
