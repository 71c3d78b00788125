//! One client of a listening socket.
//!
//! # Invariants
//!
//! 1. Nothing is read from a client before it is known who it is, if that matters, and nothing once it has ended or is gone.
//! 2. What is sent to a client are whole lines, whatever pieces its socket takes them in; at most one is held back.
//! 3. A client that is known hands over records with their delimiters only: what it had not finished it sends again.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::connector::descriptor::{Attempt, read_ready};
use crate::connector::gather::Gather;

/// Timer ticks in an idle time-out.
pub(super) const IDLE_TICKS: u64 = 4;
/// Bytes asked of a client at once.
pub(super) const CLIENT_READ_BYTES: usize = 16 << 10;
/// What the kernel holds of lines that a client has not read.
const SEND_BUFFER_BYTES: usize = 16 << 10;
/// The longest id.
const ID_BYTES_MAX: usize = 128;
const HELLO: &[u8] = b"HELLO ";

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: TcpStream,
    gather: Gather,
    identity: Identity,
    /// Ticks since its last whole record.
    idle_ticks: u64,
    gone: bool,
}

/// Who a client is.
#[derive(Debug)]
enum Identity {
    /// Nobody asks.
    Anonymous,
    /// It has to say so first; what it has sent so far.
    Asked(Vec<u8>),
    Known(Known),
}

/// What there is to know of a client that has said who it is.
#[derive(Debug)]
struct Known {
    id: Arc<str>,
    /// What the log has been told.
    staged_bytes: u64,
    /// What the client has been told.
    told_bytes: Option<u64>,
    /// The rest of a line that its socket did not take.
    unsent: Vec<u8>,
    /// It will send no more, and may still listen.
    ended: bool,
}

impl Client {
    /// A client that may send records at once.
    pub(super) fn anonymous(stream: TcpStream, gather: Gather) -> Self {
        Self { stream, gather, identity: Identity::Anonymous, idle_ticks: 0, gone: false }
    }

    /// A client that has to say who it is.
    pub(super) fn asked(stream: TcpStream, gather: Gather) -> Self {
        // Offsets are short, should not wait for one another, and many that nobody reads are not worth the kernel's
        // memory; not being able to ask for that is no failure.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
        let identity = Identity::Asked(Vec::new());
        Self { stream, gather, identity, idle_ticks: 0, gone: false }
    }

    /// Whether it is to be forgotten.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether there may be something to read.
    pub(super) fn is_open(&self) -> bool {
        !self.gone && !matches!(&self.identity, Identity::Known(known) if known.ended)
    }

    pub(super) fn is_known_as(&self, id: &str) -> bool {
        !self.gone && matches!(&self.identity, Identity::Known(known) if *known.id == *id)
    }

    /// Moves whole records that have come into `records`; whether bytes came.
    pub(super) fn read(&mut self, records: &mut Vec<u8>, dropped_count: &mut u64) -> bool {
        let space = match &mut self.identity {
            Identity::Asked(said) => {
                said.reserve(CLIENT_READ_BYTES);
                said
            }
            _ => self.gather.space(),
        };
        match read_ready(self.stream.as_fd(), space) {
            Ok(Attempt::Some) => {}
            Ok(Attempt::NotYet) => return false,
            Ok(Attempt::End) => {
                match &mut self.identity {
                    Identity::Anonymous => {
                        self.gone = true;
                        *dropped_count += u64::from(!self.gather.take_rest_into(records));
                    }
                    Identity::Asked(_) => self.gone = true,
                    Identity::Known(known) => known.ended = true,
                }
                return true;
            }
            Err(_) => {
                // The connection broke, perhaps in the middle of a record.
                self.gone = true;
                *dropped_count += self.lost_count();
                return true;
            }
        }
        if !matches!(self.identity, Identity::Asked(_)) {
            self.take_records(records, dropped_count);
        }
        true
    }

    fn take_records(&mut self, records: &mut Vec<u8>, dropped_count: &mut u64) {
        loop {
            if let Some(bad) = self.gather.scan() {
                self.dismiss(&bad.reason);
                *dropped_count += 1;
                return;
            }
            if !self.gather.take_into(records) {
                return;
            }
            self.idle_ticks = 0;
        }
    }

    /// Records that are lost if the client goes now: one that it has begun, unless it will send it again.
    fn lost_count(&self) -> u64 {
        u64::from(matches!(self.identity, Identity::Anonymous) && self.gather.is_started())
    }

    /// Who it says it is, once it has. One that says something else is dismissed.
    pub(super) fn greeting(&mut self) -> Option<Arc<str>> {
        let Identity::Asked(said) = &self.identity else { return None };
        if self.gone {
            return None;
        }
        // With a carriage return before the newline.
        let limit = said.len().min(HELLO.len() + ID_BYTES_MAX + 2);
        match memchr::memchr(b'\n', &said[..limit]) {
            Some(end) => {
                let id = id_of(&said[..end]).map(Arc::from);
                if id.is_none() {
                    self.dismiss(HELLO_WANTED);
                }
                id
            }
            None => {
                if limit < said.len() || !said.starts_with(&HELLO[..HELLO.len().min(said.len())]) {
                    self.dismiss(HELLO_WANTED);
                }
                None
            }
        }
    }

    /// It is who it says it is, and what follows its greeting is its stream from this offset on.
    pub(super) fn admit(
        &mut self,
        id: Arc<str>,
        offset_bytes: u64,
        records: &mut Vec<u8>,
        dropped_count: &mut u64,
    ) {
        let known = Known {
            id,
            staged_bytes: offset_bytes,
            told_bytes: None,
            unsent: Vec::new(),
            ended: false,
        };
        let said = match std::mem::replace(&mut self.identity, Identity::Known(known)) {
            Identity::Asked(said) => said,
            other => unreachable!("a client greets once: {other:?}"),
        };
        let end = memchr::memchr(b'\n', &said).expect("the greeting is a line");
        self.gather = self.gather.clone().behind(offset_bytes);
        self.gather.space().extend_from_slice(&said[end + 1..]);
        self.take_records(records, dropped_count);
    }

    /// How far its records reach now, if that is news to the log.
    pub(super) fn stage(&mut self) -> Option<(Arc<str>, u64)> {
        let Identity::Known(known) = &mut self.identity else { return None };
        let reached = self.gather.position();
        let is_news = reached > known.staged_bytes;
        known.staged_bytes = reached;
        is_news.then(|| (Arc::clone(&known.id), reached))
    }

    /// Tells it how far its stream is durable, which is as far as its records reach, unless it knows. Whether it is to
    /// be tried again, because its socket is full; one that has ended and knows all is gone.
    pub(super) fn acknowledge(&mut self) -> bool {
        let Identity::Known(known) = &mut self.identity else { return false };
        let owed = known.tell(&self.stream, self.gather.position());
        self.gone |= known.ended && !owed;
        owed
    }

    /// Time has passed: drops a client that has been idle for too long.
    pub(super) fn tick(&mut self, dropped_count: &mut u64) {
        // The first tick may come at once after the last record.
        self.idle_ticks += 1;
        if self.idle_ticks > IDLE_TICKS {
            self.dismiss("no whole record came for too long");
            *dropped_count += self.lost_count();
        }
    }

    /// Says why, if the client listens, and lets it go.
    pub(super) fn dismiss(&mut self, reason: &str) {
        let line = format!("tidemill: {reason}; goodbye\n");
        let can = match &mut self.identity {
            Identity::Known(known) => !known.send(&self.stream),
            _ => true,
        };
        if can {
            let _ = (&self.stream).write(line.as_bytes());
        }
        self.gone = true;
    }
}

impl Known {
    /// Tells the newest offset; whether the socket is too full for that.
    fn tell(&mut self, stream: &TcpStream, durable_bytes: u64) -> bool {
        loop {
            if self.send(stream) {
                return true;
            }
            if self.told_bytes == Some(durable_bytes) {
                return false;
            }
            self.unsent = format!("OFFSET {durable_bytes}\n").into_bytes();
            self.told_bytes = Some(durable_bytes);
        }
    }

    /// Sends what is unsent; whether some of it still is. That a connection is broken shows where it is read.
    fn send(&mut self, mut stream: &TcpStream) -> bool {
        while !self.unsent.is_empty() {
            match stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.unsent.clear(),
            }
        }
        false
    }
}

const HELLO_WANTED: &str = "this socket is durable: the first line is HELLO and an id, 1 to 128 letters (A to Z), \
                            digits, '.', '_', ':' or '-'";

/// The id in a greeting, if it is one.
fn id_of(line: &[u8]) -> Option<&str> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let id = line.strip_prefix(HELLO)?;
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
    let is_good = (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_good);
    is_good.then(|| std::str::from_utf8(id).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings() {
        assert_eq!(id_of(b"HELLO a.B_c:9-"), Some("a.B_c:9-"));
        assert_eq!(id_of(b"HELLO a\r"), Some("a"));
        let longest = [HELLO, &[b'x'; 128]].concat();
        assert_eq!(id_of(&longest).map(str::len), Some(128));
        assert_eq!(id_of(&[&longest[..], b"x"].concat()), None);
        for line in
            ["", "HELLO", "HELLO ", "HELLO a b", "HELLO  a", "hello a", "HELLO \u{e4}", "{}"]
        {
            assert_eq!(id_of(line.as_bytes()), None, "{line}");
        }
    }
}
