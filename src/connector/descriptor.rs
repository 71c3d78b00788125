//! Reads a stream from a descriptor that others may share: a pipe, a terminal, a connection.
//!
//! The descriptor's flags are left alone (a non-blocking standard input would break the shell's other
//! programs); instead poll(2) says whether a read would block.
//!
//! # Invariants
//!
//! 1. Nothing is read unless poll(2) says that there is something, so nothing blocks.
//! 2. No bytes yet and no bytes ever are told apart by poll, not by an empty read.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::gather::{Gather, READ_BYTES};
use super::{Opening, Read, SequentialReader};
use crate::error::JobError;
use crate::format::Framing;

/// Reads records from a descriptor.
pub(super) struct DescriptorReader<D> {
    descriptor: D,
    origin: String,
    gather: Gather,
    ended: bool,
}

impl<D: AsFd> DescriptorReader<D> {
    pub(super) fn new(descriptor: D, origin: String, gather: Gather) -> Self {
        Self { descriptor, origin, gather, ended: false }
    }
}

/// What one attempt to read gave.
pub(super) enum Attempt {
    /// Bytes were appended.
    Some,
    /// None now.
    NotYet,
    /// None any more.
    End,
}

/// Appends what can be read from `descriptor` at once.
pub(super) fn attempt(descriptor: BorrowedFd<'_>, bytes: &mut Vec<u8>) -> Result<Attempt, Errno> {
    if ready(&mut [PollFd::new(&descriptor, PollFlags::IN)])? == 0 {
        return Ok(Attempt::NotYet);
    }
    read_ready(descriptor, bytes)
}

/// Appends what can be read from a `descriptor` that poll(2) called ready.
pub(super) fn read_ready(
    descriptor: BorrowedFd<'_>,
    bytes: &mut Vec<u8>,
) -> Result<Attempt, Errno> {
    if bytes.capacity() == bytes.len() {
        bytes.reserve(READ_BYTES);
    }
    match rustix::io::read(descriptor, rustix::buffer::spare_capacity(bytes)) {
        Ok(0) => Ok(Attempt::End),
        Ok(_) => Ok(Attempt::Some),
        Err(Errno::INTR | Errno::AGAIN) => Ok(Attempt::NotYet),
        // A terminal that is gone.
        Err(Errno::IO) if rustix::termios::isatty(descriptor) => Ok(Attempt::End),
        Err(error) => Err(error),
    }
}

/// How many of `descriptors` are ready now.
pub(super) fn ready(descriptors: &mut [PollFd<'_>]) -> Result<usize, Errno> {
    let now = Timespec::try_from(Duration::ZERO).expect("zero fits");
    match poll(descriptors, Some(&now)) {
        Err(Errno::INTR) => Ok(0),
        other => other,
    }
}

impl<D: AsFd + Send> SequentialReader for DescriptorReader<D> {
    fn read(&mut self, flush: bool) -> Result<Read, JobError> {
        while !self.ended {
            if let Some(bad) = self.gather.scan() {
                return Ok(Read::Oversized(bad));
            }
            if self.gather.is_full() {
                break;
            }
            let attempt = attempt(self.descriptor.as_fd(), self.gather.space());
            match attempt.map_err(|error| JobError::io(self.origin.clone(), error.into()))? {
                Attempt::Some => {}
                Attempt::NotYet if flush => break,
                Attempt::NotYet => return Ok(Read::Pending),
                Attempt::End => self.ended = true,
            }
        }
        if self.ended {
            if let Some(bad) = self.gather.scan() {
                return Ok(Read::Oversized(bad));
            }
            return Ok(self.gather.take_rest().map_or(Read::End, Read::Records));
        }
        Ok(self.gather.take().map_or(Read::Pending, Read::Records))
    }

    fn descriptors(&self) -> Vec<RawFd> {
        vec![self.descriptor.as_fd().as_raw_fd()]
    }

    fn position(&self) -> Option<u64> {
        is_file(self.descriptor.as_fd()).then(|| self.gather.position())
    }
}

/// Whether a descriptor is a plain file, which can be read again.
pub(super) fn is_file(descriptor: BorrowedFd<'_>) -> bool {
    let status = rustix::fs::fstat(descriptor);
    status.is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode).is_file())
}

/// A reader of `framing`'s records from `descriptor`, where `opening` says if it is a plain file.
pub(super) fn boxed<D: AsFd + Send + 'static>(
    descriptor: D,
    origin: String,
    framing: Framing,
    opening: &Opening,
) -> Result<Box<dyn SequentialReader>, JobError> {
    let mut gather = Gather::new(framing);
    if opening.position > 0 && is_file(descriptor.as_fd()) {
        let behind = rustix::fs::SeekFrom::Current(opening.position as i64);
        rustix::fs::seek(descriptor.as_fd(), behind)
            .map_err(|error| JobError::io(origin.clone(), error.into()))?;
        gather = gather.behind(opening.position);
    }
    Ok(Box::new(DescriptorReader::new(descriptor, origin, gather)))
}
