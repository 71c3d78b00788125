//! The ingest log: what comes from where it cannot be read again is kept in the job's state until a snapshot covers it. Durable sockets
//! and durable channels write one.
//!
//! [`group`] is what one sync makes durable, [`log`] the files of groups, [`offsets`] how far each sender is, [`replay`] reads
//! the log again after a crash, [`mod@verify`] looks whether it is whole.

#[cfg(test)]
pub(in crate::connector) mod group;
#[cfg(not(test))]
mod group;
mod log;
mod offsets;
mod replay;
mod verify;

pub(crate) use log::{Log, Place, SEGMENT_BYTES};
pub(crate) use replay::Replay;
pub(crate) use verify::verify;
