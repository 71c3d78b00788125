//! What a durable listening socket has that another has not: a log, the offsets of clients, a reason to look again.
//!
//! # Invariants
//!
//! 1. What is staged are the offsets behind the records gathered and not yet committed: of every client that has sent
//!    some of them, gone or not.
//! 2. Nothing is handed out or acknowledged before [`Ingest::commit`] has returned.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use arrow_buffer::Buffer;

use crate::connector::Opening;
use crate::connector::ingest::{Log, Place, Replay};
use crate::connector::timer::Timer;
use crate::error::{JobError, StateError};

/// How often a client whose socket was full is tried again.
const RETRY_MS: u64 = 100;

/// The durable part of a listening socket.
#[derive(Debug)]
pub(super) struct Ingest {
    log: Log,
    /// What is still to be read again.
    replay: Option<Replay>,
    staged: BTreeMap<Arc<str>, u64>,
    /// There while some client has not been told what it should know.
    retry: Option<Timer>,
}

impl Ingest {
    /// Opens the log where `opening` says; `origin` is who needs it.
    pub(super) fn open(
        origin: &str,
        opening: &Opening,
        segment_bytes: u64,
    ) -> Result<Self, JobError> {
        let Some((storage, path)) = &opening.log else {
            let message = format!(
                "{origin}: a socket with 'durable' = 'true' keeps what clients send in the job's state, and this job \
                 keeps none; run it with `--state DIR`"
            );
            return Err(JobError::Environment(message));
        };
        let place = Place::new(Arc::clone(storage), path.clone());
        let (log, replay) = Log::open(place, opening.position, segment_bytes)?;
        Ok(Self { log, replay: Some(replay), staged: BTreeMap::new(), retry: None })
    }

    /// The next records that were durable when the log was opened; `None` when all have been handed out.
    pub(super) fn replay(&mut self) -> Result<Option<Buffer>, StateError> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        let records = replay.next()?;
        if records.is_none() {
            self.replay = None;
        }
        Ok(records)
    }

    /// Where reading goes on behind the records handed out.
    pub(super) fn position(&self) -> u64 {
        self.replay.as_ref().map_or(self.log.end(), Replay::position)
    }

    /// How far this client's stream has come, staged or durable.
    pub(super) fn offset(&self, id: &str) -> u64 {
        self.staged.get(id).copied().unwrap_or_else(|| self.log.offset(id))
    }

    /// The records gathered reach up to this offset of the client's stream.
    pub(super) fn stage(&mut self, id: Arc<str>, offset_bytes: u64) {
        self.staged.insert(id, offset_bytes);
    }

    /// Makes the records gathered durable, with the offsets staged.
    pub(super) fn commit(&mut self, records: &[u8]) -> Result<(), StateError> {
        let clients = self.staged.iter().map(|(id, offset_bytes)| (&**id, *offset_bytes));
        self.log.append(clients, records)?;
        self.staged.clear();
        Ok(())
    }

    pub(super) fn release(&mut self, position: u64) -> Result<(), StateError> {
        self.log.release(position)
    }

    /// Whether some client is to be tried again.
    pub(super) fn retry(&mut self, owed: bool) -> Result<(), rustix::io::Errno> {
        match &self.retry {
            Some(timer) if owed => drop(timer.ticks()),
            Some(_) => self.retry = None,
            None if owed => self.retry = Some(Timer::every(RETRY_MS)?),
            None => {}
        }
        Ok(())
    }

    /// What becomes readable when clients are to be tried again.
    pub(super) fn descriptor(&self) -> Option<RawFd> {
        self.retry.as_ref().map(|timer| timer.as_fd().as_raw_fd())
    }
}
