//! Rows on their way from a job to the program.
//!
//! ```text
//!  shard: sink part ─╮
//!                    ├─ channel of BATCHES_MAX ─ iterator: batch, row by row
//!  shard: sink part ─╯
//! ```
//!
//! # Invariants
//!
//! 1. A full channel blocks the shard, so that a job never runs ahead of its reader by more than it.
//! 2. The job has ended when its iterator is gone.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::row::{FromRow, check_values, read};
use crate::batch::{Batch, RowKind, Schema};
use crate::connector::{Sink, SinkPart};
use crate::error::{JobError, panic_text};
use crate::job::handle::{Handle, Remote};

/// Batches that wait for the reader.
const BATCHES_MAX: usize = 8;

/// A sink that hands batches to the program. It keeps a sender for parts to come, until it is closed: whoever holds the job's handle
/// holds the sink, and would wait for it without end.
#[derive(Debug)]
pub(super) struct Feed(Mutex<Option<SyncSender<Batch>>>);

impl Feed {
    pub(super) fn new() -> (Self, Waiting) {
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        (Self(Mutex::new(Some(sender))), Waiting(receiver))
    }

    fn sender(&self) -> MutexGuard<'_, Option<SyncSender<Batch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Feed {
    fn accepts_changes(&self) -> bool {
        true
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        let sender = self.sender().clone().ok_or(JobError::OutputClosed)?;
        Ok(Box::new(FeedPart(sender)))
    }

    fn close(&self) {
        self.sender().take();
    }
}

/// A shard's end of a [`Feed`].
struct FeedPart(SyncSender<Batch>);

impl SinkPart for FeedPart {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        self.0.send(batch.clone()).map_err(|_| JobError::OutputClosed)
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}

/// The end of a [`Feed`] before its job has started.
pub(super) struct Waiting(Receiver<Batch>);

impl Waiting {
    pub(super) fn of(self, job: Handle) -> Taken {
        Taken { receiver: Some(self.0), remote: job.remote(), job: Some(job) }
    }
}

/// The batches of a running job.
#[derive(Debug)]
pub(super) struct Taken {
    receiver: Option<Receiver<Batch>>,
    job: Option<Handle>,
    remote: Remote,
}

impl Taken {
    pub(super) fn remote(&self) -> Remote {
        self.remote.clone()
    }
}

impl Iterator for Taken {
    type Item = Result<Batch, JobError>;

    /// The next batch; behind the last, once, why the job ended early.
    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.as_ref()?.recv() {
            Ok(batch) => Some(Ok(batch)),
            Err(_) => {
                self.receiver = None;
                self.job.take()?.wait().err().map(Err)
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A shard that waits for room fails now.
        self.receiver = None;
        if let Some(job) = self.job.take() {
            job.cancel();
            // Nobody is left to hear how it ended.
            let _ = job.wait();
        }
    }
}

/// The rows of a query, with what each does to those before.
pub struct Changes<R> {
    batches: Taken,
    schema: Schema,
    batch: Option<Batch>,
    row: usize,
    _type: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Changes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("columns", &self.schema).finish_non_exhaustive()
    }
}

impl<R: FromRow> Changes<R> {
    pub(super) fn of(batches: Taken, schema: Schema) -> Self {
        Self { batches, schema, batch: None, row: 0, _type: PhantomData }
    }

    /// The job's metrics, and how it is stopped or cancelled, while rows are read.
    pub fn remote(&self) -> Remote {
        self.batches.remote()
    }
}

impl<R: FromRow> Iterator for Changes<R> {
    type Item = Result<(RowKind, R), JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.row < batch.rows) {
                let row = self.row;
                self.row += 1;
                return Some(Ok((batch.kind(row), read(batch, row))));
            }
            let batch = match self.batches.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            if let Err(error) = check_values::<R>(&batch, &self.schema.fields) {
                self.batch = None;
                return Some(Err(error));
            }
            (self.batch, self.row) = (Some(batch), 0);
        }
    }
}

/// The rows of a query.
#[derive(Debug)]
pub struct Rows<R>(pub(super) Changes<R>);

impl<R: FromRow> Rows<R> {
    /// The job's metrics, and how it is stopped or cancelled, while rows are read: see [`Remote`].
    pub fn remote(&self) -> Remote {
        self.0.remote()
    }
}

impl<R: FromRow> Iterator for Rows<R> {
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|(_, row)| row))
    }
}

/// A sink that calls a closure with each row.
pub(super) struct Each<R, F> {
    f: Arc<F>,
    schema: Schema,
    _type: PhantomData<fn(R)>,
}

impl<R, F> Each<R, F> {
    pub(super) fn new(f: F, schema: Schema) -> Self {
        Self { f: Arc::new(f), schema, _type: PhantomData }
    }
}

impl<R, F> fmt::Debug for Each<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closure")
    }
}

impl<R: FromRow, F: Fn(RowKind, R) + Send + Sync + 'static> Sink for Each<R, F> {
    fn accepts_changes(&self) -> bool {
        true
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Ok(Box::new(Self { f: Arc::clone(&self.f), schema: self.schema.clone(), ..*self }))
    }
}

impl<R: FromRow, F: Fn(RowKind, R) + Send + Sync> SinkPart for Each<R, F> {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        check_values::<R>(batch, &self.schema.fields)?;
        let call = || (0..batch.rows).for_each(|row| (self.f)(batch.kind(row), read(batch, row)));
        catch_unwind(AssertUnwindSafe(call)).map_err(|panic| JobError::Expression {
            origin: "for_each".into(),
            message: format!("the closure panicked: {}", panic_text(panic.as_ref())),
        })
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}
