//! Many clients at once, one thread, no waiting.
//!
//! Time comes as a descriptor: a timer that is readable four times in each idle time-out, so that idle
//! clients are noticed without asking a clock and an idle job sleeps in between.
//!
//! A durable socket gathers what all clients have sent in a call, appends it to the log, syncs it once, tells the
//! clients, and hands it out. The sync is waited for: what came meanwhile is in the next group, so groups grow with the load.
//!
//! # Invariants
//!
//! 1. Each call reads what is there, a bounded piece from each client in turn.
//! 2. What a client left unfinished never reaches another client's records.
//! 3. If the socket is durable, `records` and the offsets staged go together: both are committed, then both are empty.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use arrow_buffer::Buffer;
use rustix::event::{PollFd, PollFlags};

use super::client::{CLIENT_READ_BYTES, Client, IDLE_TICKS};
use super::durable::Ingest;
use crate::connector::descriptor::ready;
use crate::connector::gather::Gather;
use crate::connector::timer::Timer;
use crate::connector::{CHUNK_BYTES, Read, SequentialReader};
use crate::crash_point;
use crate::error::JobError;
use crate::planted;

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
#[derive(Debug)]
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
    /// Of a durable socket.
    ingest: Option<Ingest>,
}

impl ListenReader {
    pub(super) fn new(
        listener: TcpListener,
        origin: String,
        limits: Limits,
        empty: Gather,
        ingest: Option<Ingest>,
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
            ingest,
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
        let open: Vec<usize> =
            (0..self.clients.len()).filter(|&index| self.clients[index].is_open()).collect();
        let mut polled = vec![PollFd::new(&self.listener, PollFlags::IN)];
        let streams = open.iter().map(|&index| &self.clients[index].stream);
        polled.extend(streams.map(|stream| PollFd::new(stream, PollFlags::IN)));
        polled.extend(self.timer.iter().map(|timer| PollFd::new(timer, PollFlags::IN)));
        let count =
            ready(&mut polled).map_err(|error| JobError::io(self.origin.clone(), error.into()))?;
        if count == 0 {
            return Ok(false);
        }
        let called: Vec<bool> =
            polled.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        let mut some = false;
        for (index, _) in open.into_iter().zip(&called[1..]).filter(|(_, called)| **called) {
            // It may have been dismissed for the sake of another.
            if self.clients[index].is_open() {
                some |= self.clients[index].read(&mut self.records, &mut self.dropped_count);
                self.note(index);
            }
        }
        if self.timer.is_some() && called.last() == Some(&true) {
            self.tick();
        }
        self.clients.retain(|client| !client.is_gone());
        if called[0] {
            self.accept();
        }
        Ok(some)
    }

    /// Takes down what a client has made known: who it is, how far its records reach.
    fn note(&mut self, index: usize) {
        let Some(ingest) = &mut self.ingest else { return };
        if let Some(id) = self.clients[index].greeting() {
            for older in self.clients.iter_mut().filter(|client| client.is_known_as(&id)) {
                older.dismiss("a newer connection has this id");
            }
            let offset_bytes = ingest.offset(&id);
            let (records, dropped_count) = (&mut self.records, &mut self.dropped_count);
            self.clients[index].admit(id, offset_bytes, records, dropped_count);
        }
        if let Some((id, offset_bytes)) = self.clients[index].stage() {
            ingest.stage(id, offset_bytes);
        }
    }

    /// Drops clients that have been idle for too long. However many ticks have come since the last look, one counts: who was held
    /// up itself cannot tell when its clients sent what it has just read.
    fn tick(&mut self) {
        if self.timer.as_ref().is_none_or(|timer| timer.ticks() == 0) {
            return;
        }
        for client in self.clients.iter_mut().filter(|client| !client.is_gone()) {
            client.tick(&mut self.dropped_count);
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPT_COUNT {
            // An error concerns one client (gone again) or passes (no descriptors left): the next call tries again.
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut client = match self.ingest {
                Some(_) => Client::asked(stream, self.empty.clone()),
                None => Client::anonymous(stream, self.empty.clone()),
            };
            if self.clients.len() >= self.limits.clients_max {
                client.dismiss("there are too many clients");
            } else {
                self.clients.push(client);
            }
        }
    }

    /// Makes the records gathered durable, if the socket is, and tells the clients.
    fn commit(&mut self) -> Result<(), JobError> {
        if planted!("ingest-ack-early") {
            self.acknowledge()?;
        }
        let Some(ingest) = &mut self.ingest else { return Ok(()) };
        ingest.commit(&self.records)?;
        self.acknowledge()?;
        crash_point!("ingest-acknowledged");
        Ok(())
    }

    /// Tells clients how much of their streams is durable: all that was gathered.
    fn acknowledge(&mut self) -> Result<(), JobError> {
        let Some(ingest) = &mut self.ingest else { return Ok(()) };
        let mut owed = false;
        for client in &mut self.clients {
            owed |= client.acknowledge();
        }
        self.clients.retain(|client| !client.is_gone());
        ingest.retry(owed).map_err(|error| JobError::io(self.origin.clone(), error.into()))
    }
}

impl SequentialReader for ListenReader {
    fn read(&mut self, flush: bool) -> Result<Read, JobError> {
        if let Some(ingest) = &mut self.ingest
            && let Some(records) = ingest.replay()?
        {
            return Ok(Read::Records(records));
        }
        while self.records.len() < CHUNK_BYTES as usize && self.pass()? {}
        let enough = if flush { 1 } else { CHUNK_BYTES as usize };
        if self.records.len() >= enough {
            self.commit()?;
            return Ok(Read::Records(Buffer::from_vec(std::mem::take(&mut self.records))));
        }
        if self.records.is_empty() {
            // Those who have just come, and those whose sockets were full.
            self.acknowledge()?;
        }
        Ok(Read::Pending)
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let open = self.clients.iter().filter(|client| client.is_open());
        let clients = open.map(|client| client.stream.as_raw_fd());
        let timer = self.timer.iter().map(|timer| timer.as_fd().as_raw_fd());
        let retry = self.ingest.as_ref().and_then(Ingest::descriptor);
        [self.listener.as_raw_fd()].into_iter().chain(clients).chain(timer).chain(retry).collect()
    }

    fn position(&self) -> Option<u64> {
        self.ingest.as_ref().map(Ingest::position)
    }

    fn release(&mut self, position: u64) -> Result<(), JobError> {
        match &mut self.ingest {
            Some(ingest) => Ok(ingest.release(position)?),
            None => Ok(()),
        }
    }

    fn dropped_count(&self) -> u64 {
        self.dropped_count
    }
}
