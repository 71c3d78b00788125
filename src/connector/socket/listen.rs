//! Many clients at once, one thread, no waiting.
//!
//! Time comes as a descriptor: a timer that is readable four times in each idle time-out, so that idle
//! clients are noticed without asking a clock and an idle job sleeps in between.
//!
//! # Invariants
//!
//! 1. Each call reads what is there, a bounded piece from each client in turn.
//! 2. What a client left unfinished never reaches another client's records.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use arrow_buffer::Buffer;
use rustix::event::{PollFd, PollFlags};

use crate::connector::descriptor::{Attempt, read_ready, ready};
use crate::connector::gather::Gather;
use crate::connector::timer::Timer;
use crate::connector::{CHUNK_BYTES, Read, SequentialReader};
use crate::error::JobError;

/// Timer ticks in an idle time-out.
const IDLE_TICKS: u64 = 4;
/// Bytes asked of a client at once.
const CLIENT_READ_BYTES: usize = 16 << 10;
/// Clients taken in a call.
const ACCEPT_COUNT: usize = 64;

/// What clients may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) clients_max: usize,
    /// 0: for ever.
    pub(super) idle_timeout_ms: u64,
}

/// A listening socket and its clients.
pub(super) struct ListenReader {
    listener: TcpListener,
    origin: String,
    limits: Limits,
    timer: Option<Timer>,
    /// What a new client starts with.
    empty: Gather,
    clients: Vec<Client>,
    /// Records not handed out yet.
    records: Vec<u8>,
    dropped_count: u64,
}

struct Client {
    stream: TcpStream,
    gather: Gather,
    /// Ticks since its last whole record.
    idle_ticks: u64,
    gone: bool,
}

impl ListenReader {
    pub(super) fn new(
        listener: TcpListener,
        origin: String,
        limits: Limits,
        empty: Gather,
    ) -> Result<Self, JobError> {
        let failed = |error| JobError::io(origin.clone(), error);
        listener.set_nonblocking(true).map_err(failed)?;
        let timer = match limits.idle_timeout_ms {
            0 => None,
            ms => Some(Timer::every(ms / IDLE_TICKS).map_err(|error| failed(error.into()))?),
        };
        let empty = empty.read_bytes(CLIENT_READ_BYTES);
        Ok(Self {
            listener,
            origin,
            limits,
            timer,
            empty,
            clients: Vec::new(),
            records: Vec::new(),
            dropped_count: 0,
        })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(super) fn address(&self) -> std::net::SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// How many clients are connected.
    #[cfg(test)]
    pub(super) fn clients_count(&self) -> usize {
        self.clients.len()
    }

    /// Reads from whoever has sent something; whether there were bytes.
    fn pass(&mut self) -> Result<bool, JobError> {
        let mut polled = vec![PollFd::new(&self.listener, PollFlags::IN)];
        polled.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
        polled.extend(self.timer.iter().map(|timer| PollFd::new(timer, PollFlags::IN)));
        let count =
            ready(&mut polled).map_err(|error| JobError::io(self.origin.clone(), error.into()))?;
        if count == 0 {
            return Ok(false);
        }
        let called: Vec<bool> =
            polled.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        let mut some = false;
        for (client, _) in self.clients.iter_mut().zip(&called[1..]).filter(|(_, called)| **called)
        {
            some |= client.read(&mut self.records, &mut self.dropped_count);
        }
        if self.timer.is_some() && called.last() == Some(&true) {
            self.tick();
        }
        self.clients.retain(|client| !client.gone);
        if called[0] {
            self.accept();
        }
        Ok(some)
    }

    /// Drops clients that have been idle for too long.
    fn tick(&mut self) {
        let ticks = self.timer.as_ref().map_or(0, Timer::ticks);
        for client in &mut self.clients {
            // The first tick may come at once after the last record.
            client.idle_ticks = client.idle_ticks.saturating_add(ticks);
            if client.idle_ticks > IDLE_TICKS {
                client.dismiss("no whole record came for too long");
                self.dropped_count += u64::from(client.gather.is_started());
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPT_COUNT {
            // An error concerns one client (gone again) or passes (no descriptors left): the next call tries again.
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut client =
                Client { stream, gather: self.empty.clone(), idle_ticks: 0, gone: false };
            if self.clients.len() >= self.limits.clients_max {
                client.dismiss("there are too many clients");
            } else {
                self.clients.push(client);
            }
        }
    }
}

impl Client {
    /// Moves whole records that have come into `records`; whether bytes came.
    fn read(&mut self, records: &mut Vec<u8>, dropped_count: &mut u64) -> bool {
        match read_ready(self.stream.as_fd(), self.gather.space()) {
            Ok(Attempt::Some) => {}
            Ok(Attempt::NotYet) => return false,
            Ok(Attempt::End) => {
                self.gone = true;
                *dropped_count += u64::from(!self.gather.take_rest_into(records));
                return true;
            }
            Err(_) => {
                // The connection broke, perhaps in the middle of a record.
                self.gone = true;
                *dropped_count += u64::from(self.gather.is_started());
                return true;
            }
        }
        loop {
            if let Some(bad) = self.gather.scan() {
                self.dismiss(&bad.reason);
                *dropped_count += 1;
                return true;
            }
            if !self.gather.take_into(records) {
                return true;
            }
            self.idle_ticks = 0;
        }
    }

    /// Says why, if the client listens, and lets it go.
    fn dismiss(&mut self, reason: &str) {
        let _ = self.stream.write(format!("tidemill: {reason}; goodbye\n").as_bytes());
        self.gone = true;
    }
}

impl SequentialReader for ListenReader {
    fn read(&mut self, flush: bool) -> Result<Read, JobError> {
        while self.records.len() < CHUNK_BYTES as usize && self.pass()? {}
        let enough = if flush { 1 } else { CHUNK_BYTES as usize };
        if self.records.len() < enough {
            return Ok(Read::Pending);
        }
        Ok(Read::Records(Buffer::from_vec(std::mem::take(&mut self.records))))
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let clients = self.clients.iter().map(|client| client.stream.as_raw_fd());
        let timer = self.timer.iter().map(|timer| timer.as_fd().as_raw_fd());
        [self.listener.as_raw_fd()].into_iter().chain(clients).chain(timer).collect()
    }

    fn position(&self) -> Option<u64> {
        None
    }

    fn dropped_count(&self) -> u64 {
        self.dropped_count
    }
}
