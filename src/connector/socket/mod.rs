//! `socket`: records that come over TCP, from a server that we connect to or from clients that connect to us.
//!
//! # Options
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `mode` | `connect` | `connect` reads from a server until it closes; `listen` takes many clients at once and never ends |
//! | `hostname` | required; `localhost` to listen | the server, or the address to listen at |
//! | `port` | required | the TCP port |
//! | `byte-delimiter` | 10 | the byte that ends a record, as a number (10 is the newline) |
//! | `format` | required | `json` or `csv`, with the options of that format |
//! | `max-line-bytes` | 1 MiB to listen, else 256 MiB | the longest record. A client that sends a longer one is told, dropped and counted; from a server it is a bad record |
//! | `max-clients` | 64 | `listen`: how many clients at once; more are told so and turned away |
//! | `idle-timeout` | 10 min | `listen`: a client that sends no whole record for so long is told and dropped; 0 for never |
//! | `allow-remote` | `false` | `listen`: must be `true` to listen at an address that other machines can reach |
//! | `durable` | `false` | `listen`: what clients send is kept in the job's state until a snapshot covers it, see below; needs `--state DIR` |
//!
//! The first five are those of the socket connector in Flink's documentation.
//!
//! # A durable socket
//!
//! With `'durable' = 'true'` a client loses nothing and doubles nothing, whoever crashes: it says who it is, is told
//! how much of its stream the job has for good, and goes on from there. A session (`>` is the client, `<` the job):
//!
//! ```text
//! $ nc localhost 9999
//! > HELLO sensor-7
//! < OFFSET 0
//! > {"id": 1, "v": 20.5}
//! > {"id": 2, "v": 20.7}
//! < OFFSET 42
//!   … the job, the machine or the connection goes down while the third record is on its way …
//! $ nc localhost 9999
//! > HELLO sensor-7
//! < OFFSET 42
//! > {"id": 3, "v": 20.6}
//! < OFFSET 63
//! ```
//!
//! - The first line is `HELLO`, a blank, and the client's id: 1 to 128 letters (A to Z), digits, `.`, `_`, `:` or `-`. It
//!   ends with a newline, whatever ends records. A client that begins otherwise is told and dropped.
//! - An offset counts the bytes of all that this id has ever sent behind its greetings, delimiters included: a client
//!   that sends a file seeks to the offset and goes on. It always lies behind a whole record.
//! - The answer to a greeting is `OFFSET n`: send from byte `n` on. **Wait for it**: whatever follows the greeting is taken to
//!   begin at `n`. (A client that has just made its id up knows that `n` is 0 and need not wait.)
//! - More lines `OFFSET n` follow as records become durable, one for many records. Offsets only grow, so the newest says
//!   all; what is before it can be forgotten. A client need not read them: nothing waits for it, and when it reads
//!   again it gets the newest. A line that is cut short by the end of the connection says nothing.
//! - A record counts with its delimiter. One that the connection's end has cut short is not taken, not even if it looks
//!   whole, as the client will send it again; so a file's last line needs its newline.
//! - A client that has no more to send may shut its sending side down (`nc -N`) and read until the job closes: the last
//!   line says whether all has come.
//! - `tidemill: …; goodbye` says why the job closes the connection.
//! - One id is one client. If a second connection has the same id, the first is dropped: it most likely is what a client
//!   that crashed has left behind.
//! - A record longer than `max-line-bytes` is refused each time it is sent: the client has to leave it out, and its offsets
//!   count its stream without it.
//! - The 100 000 ids that sent something last are remembered. One that was forgotten begins at 0 again.
//!
//! Records are synced in groups, one sync for all that all clients have sent meanwhile, before they are
//! acknowledged and before they count for any result. The log is in the state folder, in segments of 64 MiB, which go
//! when a snapshot covers them. If the disk is full nothing is taken from clients until there is room.
//! After a crash the job reads the log from its newest snapshot on, then listens to clients.
//!
//! # Invariants
//!
//! 1. Nothing here waits: not for a slow sender, not for a client that does not read.
//! 2. A client's records are whole: those of several clients mix record by record.
//! 3. Memory is bounded by clients × longest record, and by the ids remembered.
//! 4. A durable socket hands out and acknowledges only what is durable.

mod client;
mod durable;
mod listen;

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use self::durable::Ingest;
use self::listen::{Limits, ListenReader};
use super::descriptor::DescriptorReader;
use super::gather::Gather;
use super::ingest::SEGMENT_BYTES;
use super::option::{OptionReader, wrong, wrong_hint};
use super::{Opening, RECORD_BYTES_MAX, SequentialReader, SequentialSplit, Source, Split};
use crate::error::{JobError, OptionError};
use crate::format::{Format, Framing, Options};

/// How long a server may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The options of listening sockets only.
const LISTEN_OPTIONS: [&str; 4] = ["max-clients", "idle-timeout", "allow-remote", "durable"];

/// A socket as a source.
#[derive(Debug)]
pub struct SocketSource {
    format: Arc<dyn Format>,
    split: SocketSplit,
}

impl SocketSource {
    pub(super) fn resolve(options: &Options, format: Arc<dyn Format>) -> Result<Self, OptionError> {
        let framing = format.framing();
        if framing == Framing::Blocks {
            return Err(wrong_hint(
                "format",
                "a socket carries lines, not blocks",
                "write 'format' = 'json' or 'csv'",
            ));
        }
        let mut reader = OptionReader::new("socket", options);
        reader.known(&["format"]);
        let delimiter = reader
            .parsed::<u8>("byte-delimiter", "the number of a byte, 0 to 255")?
            .unwrap_or(b'\n');
        let mode = match reader.text("mode").unwrap_or("connect") {
            "connect" => connect_mode(&mut reader)?,
            "listen" => listen_mode(&mut reader)?,
            other => {
                let message = format!("there is no mode '{other}'");
                return Err(wrong_hint("mode", message, "it is 'connect' or 'listen'"));
            }
        };
        let port = reader.required("port", "the TCP port")?;
        let port = port
            .trim()
            .parse()
            .map_err(|_| wrong("port", format!("'{port}' is not a port, 0 to 65535")))?;
        let line_bytes_max = reader.size_bytes("max-line-bytes")?;
        let line_bytes_max = match (line_bytes_max, &mode.limits) {
            (Some(bytes), _) if bytes == 0 || bytes > RECORD_BYTES_MAX as u64 => {
                return Err(wrong(
                    "max-line-bytes",
                    format!("it is 1 to {RECORD_BYTES_MAX} bytes"),
                ));
            }
            (Some(bytes), _) => bytes as usize,
            (None, Some(_)) => 1 << 20,
            (None, None) => RECORD_BYTES_MAX,
        };
        reader.finish()?;
        Ok(Self { format, split: SocketSplit { mode, port, framing, delimiter, line_bytes_max } })
    }
}

impl Source for SocketSource {
    fn format(&self) -> Option<Arc<dyn Format>> {
        Some(self.format.clone())
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(vec![Split::Sequential(Box::new(self.split.clone()))])
    }
}

/// Whom to connect to, or where to listen.
#[derive(Clone, Debug)]
struct Mode {
    hostname: String,
    /// Of clients; `None` to connect.
    limits: Option<Limits>,
    allow_remote: bool,
    durable: bool,
}

fn connect_mode(reader: &mut OptionReader<'_>) -> Result<Mode, OptionError> {
    for key in LISTEN_OPTIONS {
        if reader.text(key).is_some() {
            return Err(wrong_hint(
                key,
                "only a listening socket has it",
                "remove it, or add 'mode' = 'listen'",
            ));
        }
    }
    let hostname = reader.required("hostname", "the server to connect to")?.to_owned();
    Ok(Mode { hostname, limits: None, allow_remote: true, durable: false })
}

fn listen_mode(reader: &mut OptionReader<'_>) -> Result<Mode, OptionError> {
    let hostname = reader.text("hostname").unwrap_or("localhost").to_owned();
    let allow_remote = reader.boolean("allow-remote", false)?;
    if let Ok(address) = hostname.parse::<IpAddr>()
        && !address.is_loopback()
        && !allow_remote
    {
        return Err(wrong_hint("hostname", remote(&hostname), ALLOW_HINT));
    }
    let clients_max = reader.parsed("max-clients", "a whole number of at least 1")?.unwrap_or(64);
    if !(1..=10_000).contains(&clients_max) {
        return Err(wrong("max-clients", "it is 1 to 10000"));
    }
    let idle_timeout_ms = reader.duration_ms("idle-timeout")?.unwrap_or(600_000);
    let durable = reader.boolean("durable", false)?;
    let limits = Some(Limits { clients_max, idle_timeout_ms });
    Ok(Mode { hostname, limits, allow_remote, durable })
}

const ALLOW_HINT: &str = "listen at 'localhost', or add 'allow-remote' = 'true'";

fn remote(hostname: &str) -> String {
    format!(
        "other machines can reach '{hostname}', and anyone who can send rows can change the results"
    )
}

/// A socket that has not been opened.
#[derive(Clone, Debug)]
struct SocketSplit {
    mode: Mode,
    port: u16,
    framing: Framing,
    delimiter: u8,
    line_bytes_max: usize,
}

impl SocketSplit {
    fn gather(&self) -> Gather {
        Gather::new(self.framing)
            .record_bytes_max(self.line_bytes_max)
            .message_delimiter(self.delimiter)
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>, JobError> {
        let addresses = (self.mode.hostname.as_str(), self.port).to_socket_addrs();
        Ok(addresses.map_err(|error| JobError::io(self.origin(), error))?.collect())
    }

    fn connect(&self) -> Result<TcpStream, JobError> {
        let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in self.addresses()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    // A server that vanishes should not be waited for; not being able to ask for it is no failure.
                    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(JobError::io(self.origin(), last))
    }

    fn listen(&self, limits: Limits, opening: &Opening) -> Result<ListenReader, JobError> {
        let ingest = match self.mode.durable {
            true => Some(Ingest::open(&self.origin(), opening, SEGMENT_BYTES)?),
            false => None,
        };
        self.listen_with(limits, ingest)
    }

    fn listen_with(
        &self,
        limits: Limits,
        ingest: Option<Ingest>,
    ) -> Result<ListenReader, JobError> {
        let addresses = self.addresses()?;
        if !self.mode.allow_remote
            && let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback())
        {
            let message = format!(
                "{}: {} ({address}); {ALLOW_HINT}",
                self.origin(),
                remote(&self.mode.hostname)
            );
            return Err(JobError::Environment(message));
        }
        let listener = std::net::TcpListener::bind(&addresses[..]);
        let listener = listener.map_err(|error| JobError::io(self.origin(), error))?;
        ListenReader::new(listener, self.origin(), limits, self.gather(), ingest)
    }
}

impl SequentialSplit for SocketSplit {
    fn origin(&self) -> String {
        format!("{}:{}", self.mode.hostname, self.port)
    }

    fn bounded(&self) -> bool {
        false
    }

    fn remedy_of_loss(&self) -> Option<&'static str> {
        match (self.mode.limits, self.mode.durable) {
            (_, true) => None,
            (Some(_), false) => Some("'durable' = 'true' keeps them"),
            (None, false) => {
                Some("let it send to a table with 'mode' = 'listen' and 'durable' = 'true'")
            }
        }
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        match self.mode.limits {
            Some(limits) => Ok(Box::new(self.listen(limits, opening)?)),
            None => {
                Ok(Box::new(DescriptorReader::new(self.connect()?, self.origin(), self.gather())))
            }
        }
    }
}

#[cfg(test)]
mod durable_tests;
#[cfg(test)]
mod flaky;
#[cfg(test)]
mod tests;
