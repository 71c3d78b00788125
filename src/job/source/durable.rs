//! Reads a channel whose records are in the job's ingest log before they count.
//!
//! A group of the log is one block of records, with the number of records that the channel has brought since the job first
//! began as the offset of its one client.
//!
//! # Invariants
//!
//! 1. What is handed out, and what [`Receiver::settled`] is told, is durable.
//! 2. A block that the full disk refused is kept, and tried again before anything else is taken.

use std::os::fd::RawFd;

use arrow_buffer::Buffer;

use super::channel::ORIGIN;
use super::queue::{Receiver, Taken, Wanted};
use crate::connector::ingest::{Log, Place, Replay, SEGMENT_BYTES};
use crate::connector::{Opening, Read, SequentialReader};
use crate::error::{JobError, StateError};
use crate::format::block_of;
use crate::sys::archive::Record;

/// The log's one client.
const CLIENT: &str = "channel";

/// An open durable channel.
pub(super) struct DurableReader<T: Record> {
    receiver: Receiver<T>,
    log: Log,
    /// What is still to be read again.
    replay: Option<Replay>,
    /// A block that is not durable yet, and its records.
    pending: Option<(Vec<u8>, usize)>,
}

impl<T: Record> DurableReader<T> {
    pub(super) fn open(receiver: Receiver<T>, opening: &Opening) -> Result<Self, JobError> {
        let Some((storage, path)) = &opening.log else {
            let message = "a durable channel keeps what was sent in the job's state, and this job keeps none; run it with \
                           `Options::state`";
            return Err(JobError::Environment(message.into()));
        };
        let place = Place::new(std::sync::Arc::clone(storage), path.clone());
        let (log, replay) = Log::open(place, opening.position, SEGMENT_BYTES)?;
        receiver.begin(ORIGIN, log.offset(CLIENT))?;
        Ok(Self { receiver, log, replay: Some(replay), pending: None })
    }

    /// The next records that were durable when the log was opened; `None` when all have been handed out.
    fn replayed(&mut self) -> Result<Option<Buffer>, StateError> {
        let Some(replay) = &mut self.replay else { return Ok(None) };
        let block = replay.next_group()?;
        if block.is_none() {
            self.replay = None;
        }
        Ok(block)
    }

    /// Makes the pending block durable; the block.
    fn commit(&mut self) -> Result<Option<Vec<u8>>, StateError> {
        let Some((block, count)) = &self.pending else { return Ok(None) };
        let offset = self.log.offset(CLIENT) + *count as u64;
        self.log.append([(CLIENT, offset)].into_iter(), block)?;
        self.receiver.settled(*count);
        Ok(self.pending.take().map(|(block, _)| block))
    }
}

impl<T: Record> SequentialReader for DurableReader<T> {
    fn read(&mut self, _flush: bool) -> Result<Read, JobError> {
        if let Some(block) = self.replayed()? {
            return Ok(Read::Records(block));
        }
        if self.pending.is_none() {
            match self.receiver.take(Wanted::Any)? {
                Taken::Some(mut filled) => {
                    let count = filled.records.len();
                    self.pending = Some((block_of(&mut filled.records), count));
                }
                Taken::NotYet => return Ok(Read::Pending),
                Taken::End => return Ok(Read::End),
            }
        }
        let block = self.commit()?.expect("it is pending");
        Ok(Read::Records(Buffer::from_vec(block)))
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.receiver.descriptors()
    }

    fn position(&self) -> Option<u64> {
        Some(self.replay.as_ref().map_or(self.log.end(), Replay::position))
    }

    fn release(&mut self, position: u64) -> Result<(), JobError> {
        Ok(self.log.release(position)?)
    }
}
