//! A round of a job that listens at a durable socket: clients send, are cut off at each kill, and go on where they are told to.
//!
//! The job has no end of its own: it is stopped (SIGINT) when all rows can be seen.
//!
//! # Invariants
//!
//! 1. An offset that was acknowledged once is never taken back, whatever dies.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::process::{Death, Ended, Run};
use crate::published::{Rows, newest_epoch};
use crate::random::Random;
use crate::round::{Setting, io, reached};

/// The job's name.
pub(crate) const NAME: &str = "socket";
const CLIENT_COUNT: usize = 3;
const LINE_COUNT: usize = 300;
const PIECE_BYTES: usize = 300;
/// Between two pieces, and before a refused connection is tried again.
const PAUSE: Duration = Duration::from_millis(1);
/// A client that has nothing to do looks so often whether the round is over.
const READ_PATIENCE: Duration = Duration::from_millis(20);
/// A run is killed within this time.
const RUN_US: u64 = 250_000;
/// After so many starts the job may come to its end.
const STARTS: u64 = 6;

/// Runs it; how many kills counted.
pub(crate) fn round(setting: &Setting<'_>, seed: u64, number: u64) -> Result<u64, String> {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9));
    let folder = setting.folder.join(format!("round-{number}"));
    let outputs = folder.join("out");
    fs::create_dir_all(&outputs).map_err(io)?;
    let port = free_port(&mut random)?;
    fs::write(folder.join("job.sql"), script(port, &outputs)).map_err(io)?;
    let streams: Vec<String> = (0..CLIENT_COUNT).map(stream).collect();
    let whole = expected(&folder, &streams)?;
    let (over, failure) = (AtomicBool::new(false), Mutex::new(None));
    let counted = std::thread::scope(|scope| {
        for (client, stream) in streams.iter().enumerate() {
            let (over, failure) = (&over, &failure);
            scope.spawn(move || {
                if let Err(error) = feed(client, stream.as_bytes(), port, over) {
                    *failure.lock().expect("nobody panics with it") = Some(error);
                }
            });
        }
        let counted = play(setting, &folder, &whole, &mut random);
        over.store(true, Ordering::Relaxed);
        counted
    });
    if let Some(error) = failure.into_inner().expect("nobody panics with it") {
        return Err(error);
    }
    let counted = counted?;
    fs::remove_dir_all(&folder).map_err(io)?;
    Ok(counted)
}

/// A port that nobody listens at, below those that the kernel gives to connections: one of those might connect to itself.
fn free_port(random: &mut Random) -> Result<u16, String> {
    let mut ports = (0..100).map(|_| 12_000 + random.below(18_000) as u16);
    let free = ports.find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    free.ok_or_else(|| "no port is free".into())
}

fn script(port: u16, outputs: &Path) -> String {
    format!(
        "SET 'execution.checkpointing.interval' = '2 ms';
CREATE TABLE readings (client INT, number INT, note STRING)
  WITH ('connector' = 'socket', 'mode' = 'listen', 'port' = '{port}', 'format' = 'csv', 'durable' = 'true');
CREATE TABLE seen (client INT, number INT, note STRING)
  WITH ('connector' = 'filesystem', 'path' = '{}/seen.jsonl', 'format' = 'json');
INSERT INTO seen SELECT client, number, note FROM readings;
",
        outputs.display()
    )
}

/// All that a client sends.
fn stream(client: usize) -> String {
    let line = |number| {
        format!("{client},{number},note {number} of {client} {}\n", "x".repeat(number % 90))
    };
    (0..LINE_COUNT).map(line).collect()
}

/// What must be seen in the end.
fn expected(folder: &Path, streams: &[String]) -> Result<Rows, String> {
    let whole = folder.join("expected");
    fs::create_dir_all(&whole).map_err(io)?;
    let row = |line: &str| {
        let mut fields = line.splitn(3, ',');
        let mut field = || fields.next().unwrap_or_default();
        format!("{{\"client\":{},\"number\":{},\"note\":\"{}\"}}\n", field(), field(), field())
    };
    let rows: String = streams.iter().flat_map(|stream| stream.lines()).map(row).collect();
    fs::write(whole.join("seen.jsonl"), rows).map_err(io)?;
    Rows::read(&[&whole])
}

/// Starts and kills the job, and stops it when all is there.
fn play(
    setting: &Setting<'_>,
    folder: &Path,
    whole: &Rows,
    random: &mut Random,
) -> Result<u64, String> {
    let (outputs, state): (PathBuf, PathBuf) = (folder.join("out"), folder.join("state"));
    let is_there = || Rows::read(&[&outputs]).is_ok_and(|rows| rows.count() >= whole.count());
    let (mut counted, mut seen) = (0, Rows::default());
    for start in 0.. {
        let point = match random.below(3) {
            _ if start >= STARTS => None,
            0 => None,
            _ => setting.tally().choose(NAME, random),
        };
        let passes = 1 + random.below(20);
        let death = match &point {
            _ if start >= STARTS => Death::StopWhen(&is_there),
            Some(point) if random.once_in(2) => Death::At(point, 1),
            Some(point) => Death::At(point, passes),
            None => Death::After(Duration::from_micros(random.below(RUN_US))),
        };
        let death = match death {
            // It must end, though the point be never reached.
            Death::At(name, count) => Death::AtOrAfter(name, count, Duration::from_micros(RUN_US)),
            other => other,
        };
        let _ = fs::remove_file(folder.join("reached"));
        let before = newest_epoch(&state)?;
        let run = Run {
            binary: setting.binary,
            folder,
            with_state: true,
            shards: *random.one_of(setting.shards),
            runtime: if random.once_in(4) { None } else { Some("poll") },
            fresh: false,
            death,
            plant: setting.plant,
        };
        let ended = run.run()?;
        setting.tally().note_reached(NAME, reached(folder));
        let rows = Rows::read(&[&outputs])?;
        if let Some(row) = rows.beyond(whole).or_else(|| seen.beyond(&rows)) {
            return Err(row);
        }
        seen = rows;
        match ended {
            Ended::Failed(said) => return Err(said),
            Ended::Done if start >= STARTS && seen.count() == whole.count() => break,
            Ended::Done => return Err("it ended without being asked to".into()),
            Ended::Killed { at_point } => {
                if let (Some(point), true) = (&point, at_point) {
                    setting.tally().note_kill(point);
                }
                counted += u64::from(newest_epoch(&state)? > before);
            }
        }
    }
    Ok(counted)
}

/// A client: sends its stream from where it is told to, as often as it is cut off, until the round is over.
fn feed(client: usize, stream: &[u8], port: u16, over: &AtomicBool) -> Result<(), String> {
    let mut acknowledged = 0;
    while !over.load(Ordering::Relaxed) {
        // Whatever breaks: the job may have died.
        if let Ok(connection) = TcpStream::connect(("127.0.0.1", port)) {
            let _ = talk(client, stream, &connection, over, &mut acknowledged)?;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// One connection. The outer error is one of the job, the inner one of the connection.
fn talk(
    client: usize,
    stream: &[u8],
    connection: &TcpStream,
    over: &AtomicBool,
    acknowledged: &mut usize,
) -> Result<std::io::Result<()>, String> {
    let mut sender = connection;
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    let mut sent = None;
    if let Err(error) = connection
        .set_read_timeout(Some(READ_PATIENCE))
        .and_then(|()| writeln!(sender, "HELLO client-{client}"))
    {
        return Ok(Err(error));
    }
    while !over.load(Ordering::Relaxed) {
        // Answers are read while there are pieces to send too, a moment for each.
        let timeout =
            if sent.is_some_and(|sent| sent < stream.len()) { PAUSE } else { READ_PATIENCE };
        let _ = connection.set_read_timeout(Some(timeout));
        match reader.read_line(&mut line) {
            Ok(0) => return Ok(Ok(())),
            Ok(_) if line.ends_with('\n') => {
                let offset = line.strip_prefix("OFFSET ").and_then(|rest| rest.trim().parse().ok());
                if let Some(offset) = offset {
                    if offset < *acknowledged || offset > stream.len() {
                        return Err(format!(
                            "client {client} was told {offset} after {acknowledged}"
                        ));
                    }
                    *acknowledged = offset;
                    sent = sent.or(Some(offset));
                }
                line.clear();
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Ok(Err(error)),
        }
        if let Some(from) = sent.filter(|&sent| sent < stream.len()) {
            let to = stream.len().min(from + PIECE_BYTES);
            if let Err(error) = sender.write_all(&stream[from..to]) {
                return Ok(Err(error));
            }
            sent = Some(to);
        }
    }
    Ok(Ok(()))
}
