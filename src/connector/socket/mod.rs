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
//!
//! The first five are those of the socket connector in Flink's documentation.
//!
//! # Invariants
//!
//! 1. Nothing here waits: not for a slow sender, not for a client that does not read.
//! 2. A client's records are whole: those of several clients mix record by record.
//! 3. Memory is bounded by clients × longest record.

mod listen;

use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use self::listen::{Limits, ListenReader};
use super::descriptor::DescriptorReader;
use super::gather::Gather;
use super::option::{OptionReader, wrong, wrong_hint};
use super::{Opening, RECORD_BYTES_MAX, SequentialReader, SequentialSplit, Source, Split};
use crate::error::{JobError, OptionError};
use crate::format::{Format, Framing, Options};

/// How long a server may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The options of listening sockets only.
const LISTEN_OPTIONS: [&str; 3] = ["max-clients", "idle-timeout", "allow-remote"];

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
    Ok(Mode { hostname, limits: None, allow_remote: true })
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
    Ok(Mode { hostname, limits: Some(Limits { clients_max, idle_timeout_ms }), allow_remote })
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

    fn listen(&self, limits: Limits) -> Result<ListenReader, JobError> {
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
        ListenReader::new(listener, self.origin(), limits, self.gather())
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
        Some(match self.mode.limits {
            Some(_) => "set 'durable' = 'true'",
            None => {
                "let the server connect to a socket with 'mode' = 'listen' and 'durable' = 'true'"
            }
        })
    }

    fn open(self: Box<Self>, _: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        match self.mode.limits {
            Some(limits) => Ok(Box::new(self.listen(limits)?)),
            None => {
                Ok(Box::new(DescriptorReader::new(self.connect()?, self.origin(), self.gather())))
            }
        }
    }
}

#[cfg(test)]
mod tests;
