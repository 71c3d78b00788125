//! The durable socket with well-behaved clients and others, on a disk that tears, refuses and is damaged.

use std::io::{BufRead, BufReader, ErrorKind, Read as _, Write};
use std::path::{Path, PathBuf};

use super::flaky::{Fault, Flaky};
use super::tests::{next, records, source, wait};
use super::*;
use crate::connector::Read;
use crate::connector::ingest::group;
use crate::error::StateError;
use crate::sys::random::Random;

mod exactly_once;

const LOG: &str = "/state/ingest";

fn opening(disk: &Flaky, position: u64) -> Opening {
    Opening { position, log: Some((Arc::new(disk.clone()), LOG.into())) }
}

fn segment(start: u64) -> PathBuf {
    format!("{LOG}-{start:020}").into()
}

fn try_open(
    disk: &Flaky,
    position: u64,
    segment_bytes: u64,
    pairs: &[(&str, &str)],
) -> Result<ListenReader, JobError> {
    let options = [&[("mode", "listen"), ("port", "0"), ("durable", "true")], pairs].concat();
    let split = source(&options).unwrap().split;
    let ingest = Ingest::open("here", &opening(disk, position), segment_bytes)?;
    split.listen_with(split.mode.limits.unwrap(), Some(ingest))
}

fn open(disk: &Flaky, position: u64) -> ListenReader {
    try_open(disk, position, 1 << 20, &[]).unwrap()
}

/// A client that waits for what it is told.
struct Peer {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Peer {
    fn connect(reader: &ListenReader) -> Self {
        Self::new(TcpStream::connect(reader.address()).unwrap())
    }

    /// A client whose kernel holds little of what it does not read.
    fn narrow(reader: &ListenReader) -> Self {
        use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        connect(&socket, &reader.address()).unwrap();
        Self::new(socket.into())
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }

    /// Connects and greets, and what the answer is.
    fn greet(reader: &mut ListenReader, id: &str) -> (Self, String) {
        let mut peer = Self::connect(reader);
        peer.send(&format!("HELLO {id}\n"));
        let line = peer.answer(reader);
        (peer, line)
    }

    /// The next line, if no records come before it.
    fn answer(&mut self, reader: &mut ListenReader) -> String {
        for _ in 0..10 {
            assert!(matches!(reader.read(true).unwrap(), Read::Pending));
            wait(reader);
        }
        self.line()
    }
}

/// Everything that is handed out without anybody sending anything.
fn rest(reader: &mut ListenReader) -> String {
    let mut all = String::new();
    while let Read::Records(records) = reader.read(true).unwrap() {
        all += std::str::from_utf8(&records).unwrap();
    }
    all
}

/// Sends so much and takes it, as one group.
fn pass_on(reader: &mut ListenReader, peer: &mut Peer, text: &str) {
    peer.send(text);
    let mut got = String::new();
    while got.len() < text.len() {
        got += &records(next(reader));
    }
    assert_eq!(got, text);
}

fn damage(result: Result<ListenReader, JobError>) -> (String, u64, String) {
    match result.err() {
        Some(JobError::State(StateError::Damaged { path, offset_bytes, reason, .. })) => {
            (path, offset_bytes, reason)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn clients_are_told_how_far_they_are() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let (mut peer, line) = Peer::greet(&mut reader, "a");
    assert_eq!(line, "OFFSET 0\n");
    pass_on(&mut reader, &mut peer, "{}\n{}\n");
    assert_eq!(peer.line(), "OFFSET 6\n");
    peer.send("{\"cut\"");
    assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    drop(peer);
    let (mut peer, line) = Peer::greet(&mut reader, "a");
    assert_eq!((line.as_str(), reader.clients_count()), ("OFFSET 6\n", 1));
    pass_on(&mut reader, &mut peer, "{\"cut\":1}\n");
    assert_eq!(peer.line(), "OFFSET 16\n");
    assert_eq!((reader.position(), reader.dropped_count()), (Some(16), 0));
    let (_, line) = Peer::greet(&mut reader, "b");
    assert_eq!(line, "OFFSET 0\n");
}

#[test]
fn all_that_came_is_synced_once() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let mut peers: Vec<Peer> =
        (0..10).map(|id| Peer::greet(&mut reader, &format!("c{id}")).0).collect();
    let before = disk.syncs_count();
    peers.iter_mut().for_each(|peer| peer.send("{}\n"));
    wait(&reader);
    assert_eq!(records(next(&mut reader)), "{}\n".repeat(10));
    assert!(rest(&mut reader).is_empty());
    assert_eq!(disk.syncs_count(), before + 1);
    peers.iter_mut().for_each(|peer| assert_eq!(peer.line(), "OFFSET 3\n"));
}

#[test]
fn a_client_that_only_sends_is_told_before_the_end() {
    let mut reader = open(&Flaky::default(), 0);
    let mut peer = Peer::connect(&reader);
    peer.send("HELLO a\r\n{}\n{\"no newline\":1}");
    peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(records(next(&mut reader)), "{}\n");
    let mut told = String::new();
    assert!(rest(&mut reader).is_empty());
    peer.lines.read_to_string(&mut told).unwrap();
    assert_eq!((told.as_str(), reader.clients_count()), ("OFFSET 3\n", 0));
}

#[test]
fn who_does_not_greet_is_told_how() {
    let mut reader = open(&Flaky::default(), 0);
    for text in ["{}\n", "HELLO \n", "HELLO a b\n", "x", &format!("HELLO {}", "x".repeat(200))] {
        let mut peer = Peer::connect(&reader);
        peer.send(text);
        let line = peer.answer(&mut reader);
        assert!(line.contains("the first line is HELLO"), "{line}");
    }
    assert_eq!((reader.clients_count(), reader.position()), (0, Some(0)));
}

#[test]
fn the_newer_of_two_connections_wins() {
    let mut reader = open(&Flaky::default(), 0);
    let (mut old, _) = Peer::greet(&mut reader, "a");
    pass_on(&mut reader, &mut old, "{}\n");
    assert_eq!(old.line(), "OFFSET 3\n");
    old.send("{\"half\":");
    let (mut new, line) = Peer::greet(&mut reader, "a");
    assert_eq!(line, "OFFSET 3\n");
    assert!(old.line().contains("a newer connection has this id"));
    pass_on(&mut reader, &mut new, "{\"half\":1}\n");
    assert_eq!((new.line().as_str(), reader.clients_count()), ("OFFSET 14\n", 1));
}

#[test]
fn a_client_that_never_reads_stops_nothing_and_gets_the_newest_offset() {
    let mut reader = open(&Flaky::default(), 0);
    let mut deaf = Peer::narrow(&reader);
    deaf.send("HELLO deaf\n");
    let (mut count, mut lines) = (0u64, 0);
    // Until its socket is full: then there is a timer to wait for beside the listener, the two clients and the idle timer.
    let (mut good, _) = Peer::greet(&mut reader, "good");
    while reader.descriptors().len() < 5 {
        pass_on(&mut reader, &mut deaf, "{}\n");
        count += 1;
        assert!(count < 200_000, "the socket is never full");
    }
    (0..100).for_each(|_| pass_on(&mut reader, &mut deaf, "{}\n"));
    count += 100;
    pass_on(&mut reader, &mut good, "{}\n");
    assert_eq!(good.line(), "OFFSET 3\n");
    let newest = format!("OFFSET {}\n", count * 3);
    deaf.stream.set_nonblocking(true).unwrap();
    let mut told = Vec::new();
    for _ in 0..1000 {
        let mut some = [0; 65536];
        while let Ok(bytes @ 1..) = deaf.lines.read(&mut some) {
            told.extend_from_slice(&some[..bytes]);
        }
        if told.ends_with(newest.as_bytes()) {
            break;
        }
        assert!(matches!(reader.read(true).unwrap(), Read::Pending));
        wait(&reader);
    }
    let told = String::from_utf8(told).unwrap();
    for line in told.lines() {
        let offset: u64 = line.strip_prefix("OFFSET ").unwrap().parse().unwrap();
        assert_eq!(offset % 3, 0, "a line was cut: {line}");
        lines += 1;
    }
    assert!(told.ends_with(&newest) && lines < count, "{lines} of {count}");
    assert_eq!(reader.descriptors().len(), 4);
}

#[test]
fn lines_too_long_and_idle_clients_are_dropped_here_too() {
    let options = [("max-line-bytes", "100"), ("idle-timeout", "60 ms")];
    let mut reader = try_open(&Flaky::default(), 0, 1 << 20, &options).unwrap();
    let mut peer = Peer::connect(&reader);
    peer.send(&format!("HELLO a\n{{}}\n{}", "x".repeat(200)));
    assert_eq!(records(next(&mut reader)), "{}\n");
    assert!(peer.line().contains("longer than 100 bytes"));
    // Before the other is greeted, which may take a while: who comes when nobody is left is not waited for below.
    let mut silent = Peer::connect(&reader);
    let (mut peer, line) = Peer::greet(&mut reader, "a");
    assert_eq!(line, "OFFSET 3\n");
    while reader.clients_count() > 0 {
        assert!(matches!(reader.read(true).unwrap(), Read::Pending));
        wait(&reader);
    }
    assert!(peer.line().contains("no whole record") && silent.line().contains("no whole record"));
    assert_eq!(reader.dropped_count(), 1);
}

#[test]
fn offsets_count_what_the_client_sent_whatever_its_delimiter() {
    let disk = Flaky::default();
    let mut reader = try_open(&disk, 0, 1 << 20, &[("byte-delimiter", "0")]).unwrap();
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    peer.send("{\n\"a\": 1}\0{}\0{");
    assert_eq!(records(next(&mut reader)), "{ \"a\": 1}\n{}\n");
    assert_eq!(peer.line(), "OFFSET 13\n");
    drop(reader);
    let mut reader = try_open(&disk, 0, 1 << 20, &[("byte-delimiter", "0")]).unwrap();
    assert_eq!(rest(&mut reader), "{ \"a\": 1}\n{}\n");
    assert_eq!(Peer::greet(&mut reader, "a").1, "OFFSET 13\n");
}

#[test]
fn after_a_crash_the_records_behind_the_position_come_again() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    let mut positions = vec![0];
    for index in 0..5 {
        pass_on(&mut reader, &mut peer, &format!("{index}\n"));
        positions.push(reader.position().unwrap());
    }
    drop(reader);
    for (index, position) in positions.into_iter().enumerate() {
        let mut reader = open(&disk, position);
        assert_eq!(reader.position(), Some(position));
        assert_eq!(rest(&mut reader), &"0\n1\n2\n3\n4\n"[2 * index..]);
        assert_eq!(reader.position(), Some(10));
        assert_eq!(Peer::greet(&mut reader, "a").1, "OFFSET 10\n");
    }
    assert!(damage(try_open(&disk, 11, 1 << 20, &[])).2.contains("goes on at 11"));
    let mut reader = open(&disk, 3);
    let error = reader.read(true).unwrap_err().to_string();
    assert!(error.contains("inside a group"), "{error}");
}

#[test]
fn replayed_chunks_are_bounded() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    let text = format!("{}\n", "x".repeat(99_999)).repeat(3);
    (0..10).for_each(|_| pass_on(&mut reader, &mut peer, &text));
    drop(reader);
    let mut reader = open(&disk, 0);
    let first = records(reader.read(true).unwrap());
    assert!(first.len() >= 1 << 20 && first.len() < 2 << 20, "{}", first.len());
    assert_eq!(reader.position(), Some(first.len() as u64));
    assert_eq!(first + &rest(&mut reader), text.repeat(10));
}

#[test]
fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    pass_on(&mut reader, &mut peer, "{}\n");
    let mut whole = 0;
    disk.change(&segment(0), |bytes| whole = bytes.len());
    pass_on(&mut reader, &mut peer, "{\"last\":1}\n");
    drop(reader);
    let mut length = 0;
    disk.change(&segment(0), |bytes| length = bytes.len());
    for at in whole..length {
        let (cut, holed) = (disk.copy(), disk.copy());
        cut.change(&segment(0), |bytes| bytes.truncate(at));
        holed.change(&segment(0), |bytes| bytes[at] ^= 0x55);
        for disk in [cut, holed] {
            let mut reader = open(&disk, 0);
            assert_eq!(rest(&mut reader), "{}\n", "torn at {at}");
            // What is cut is gone for good: it neither comes again nor stands in the way.
            let (mut peer, line) = Peer::greet(&mut reader, "a");
            assert_eq!(line, "OFFSET 3\n");
            pass_on(&mut reader, &mut peer, "{}\n");
            drop(reader);
            assert_eq!(rest(&mut open(&disk, 0)), "{}\n{}\n");
        }
    }
}

#[test]
fn a_torn_group_that_holds_what_looks_like_a_group_is_cut() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    // One without a newline in its checksum.
    let baits =
        (100..).map(|at| group::head(group::Kind::Records, at, [("ab", 9)].into_iter(), b""));
    let mut bait = baits.into_iter().find(|bait| !bait.contains(&b'\n')).unwrap();
    assert!(group::check(&bait).is_ok());
    bait.extend_from_slice(b"tail\n");
    peer.stream.write_all(&bait).unwrap();
    assert!(matches!(next(&mut reader), Read::Records(_)));
    drop(reader);
    disk.change(&segment(0), |bytes| bytes.truncate(bytes.len() - 1));
    assert_eq!(rest(&mut open(&disk, 0)), "");
}

#[test]
fn damage_in_the_middle_is_an_error_that_says_where() {
    let disk = Flaky::default();
    let mut reader = open(&disk, 0);
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    pass_on(&mut reader, &mut peer, "{}\n");
    let mut first = 0;
    disk.change(&segment(0), |bytes| first = bytes.len());
    (0..2).for_each(|_| pass_on(&mut reader, &mut peer, "{\"more\":1}\n"));
    let mut all = 0;
    disk.change(&segment(0), |bytes| all = bytes.len());
    drop(reader);
    for at in 0..(first + all) / 2 {
        let disk = disk.copy();
        disk.change(&segment(0), |bytes| bytes[at] ^= 1);
        let (path, offset, reason) = damage(try_open(&disk, 0, 1 << 20, &[]));
        assert_eq!(Path::new(&path), segment(0));
        assert!(offset <= at as u64 && reason.contains("a whole group follows"), "{reason}");
        disk.change(&segment(0), |bytes| assert_eq!(bytes.len(), all, "nothing was cut"));
    }
}

#[test]
fn segments_go_when_they_are_covered_and_offsets_stay() {
    let disk = Flaky::default();
    let mut reader = try_open(&disk, 0, 200, &[]).unwrap();
    let (mut early, _) = Peer::greet(&mut reader, "early");
    pass_on(&mut reader, &mut early, "{}\n");
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    (0..40).for_each(|_| pass_on(&mut reader, &mut peer, "{\"x\":1}\n"));
    let names = || crate::sys::storage::Storage::list(&disk, Path::new("/state")).unwrap();
    let count = names().len();
    assert!(count > 5, "{count}");
    let position = 3 + 8 * 20;
    reader.release(position).unwrap();
    assert!((2..count).contains(&names().len()));
    drop(reader);
    let mut reader = try_open(&disk, position, 200, &[]).unwrap();
    assert_eq!(rest(&mut reader), "{\"x\":1}\n".repeat(20));
    assert_eq!(Peer::greet(&mut reader, "early").1, "OFFSET 3\n");
    assert_eq!(Peer::greet(&mut reader, "a").1, "OFFSET 320\n");
    reader.release(323).unwrap();
    assert_eq!(names().len(), 1);
    drop(reader);
    assert!(damage(try_open(&disk, 0, 200, &[])).2.contains("the snapshot goes on at 0"));
    let mut reader = try_open(&disk, 323, 200, &[]).unwrap();
    assert_eq!(rest(&mut reader), "");
    assert_eq!(Peer::greet(&mut reader, "early").1, "OFFSET 3\n");
}

#[test]
fn a_segment_that_was_not_finished_or_is_missing_shows() {
    let disk = Flaky::default();
    let mut reader = try_open(&disk, 0, 1, &[]).unwrap();
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    (0..3).for_each(|_| pass_on(&mut reader, &mut peer, "{}\n"));
    drop(reader);
    let begun = disk.copy();
    let file = crate::sys::storage::Storage::create(&begun, &segment(9)).unwrap();
    for length in 0..40 {
        file.set_length(length).unwrap();
        let begun = begun.copy();
        let mut reader = try_open(&begun, 3, 1, &[]).unwrap();
        assert_eq!(rest(&mut reader), "{}\n{}\n");
        let (mut peer, line) = Peer::greet(&mut reader, "a");
        assert_eq!(line, "OFFSET 9\n");
        pass_on(&mut reader, &mut peer, "{}\n");
        assert_eq!(rest(&mut try_open(&begun, 3, 1, &[]).unwrap()), "{}\n{}\n{}\n");
    }
    crate::sys::storage::Storage::remove(&disk, &segment(3)).unwrap();
    let mut reader = try_open(&disk, 0, 1, &[]).unwrap();
    let error = reader.read(true).unwrap_err().to_string();
    assert!(error.contains("ends at position 3"), "{error}");
    // What is not last is never cut.
    disk.change(&segment(0), |bytes| bytes.truncate(bytes.len() - 1));
    let mut reader = try_open(&disk, 0, 1, &[]).unwrap();
    let error = reader.read(true).unwrap_err().to_string();
    assert!(error.contains("its records are cut short"), "{error}");
}

#[test]
fn what_the_disk_refuses_is_not_acknowledged() {
    let broken = [
        Fault::Write(ErrorKind::Other),
        Fault::Sync(ErrorKind::Other),
        Fault::Sync(ErrorKind::StorageFull),
    ];
    for fault in broken {
        let disk = Flaky::default();
        let mut reader = open(&disk, 0);
        let (mut peer, _) = Peer::greet(&mut reader, "a");
        disk.refuse(Some(fault));
        peer.send("{}\n");
        wait(&reader);
        assert!(matches!(reader.read(true), Err(JobError::State(StateError::Io { .. }))));
        disk.refuse(None);
        let again = reader.read(true).unwrap_err().to_string();
        assert!(again.contains("an earlier write"), "nobody knows what is on the disk: {again}");
        assert_eq!(reader.position(), Some(0));
        drop(reader);
        let mut told = String::new();
        let _ = peer.lines.read_to_string(&mut told);
        assert_eq!(told, "", "{fault:?}");
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    for fault in [Fault::Write(ErrorKind::StorageFull), Fault::Create(ErrorKind::StorageFull)] {
        let disk = Flaky::default();
        let mut reader = try_open(&disk, 0, 1, &[]).unwrap();
        let (mut peer, _) = Peer::greet(&mut reader, "a");
        pass_on(&mut reader, &mut peer, "{}\n");
        assert_eq!(peer.line(), "OFFSET 3\n");
        disk.refuse(Some(fault));
        peer.send("{\"a\":1}\n");
        wait(&reader);
        for _ in 0..3 {
            match reader.read(true) {
                Err(JobError::State(StateError::Full { available_bytes: 5, .. })) => {}
                other => panic!("{other:?}"),
            }
        }
        disk.refuse(None);
        assert_eq!(records(next(&mut reader)), "{\"a\":1}\n");
        assert_eq!((peer.line().as_str(), reader.position()), ("OFFSET 11\n", Some(11)));
        drop(reader);
        assert_eq!(rest(&mut try_open(&disk, 3, 1, &[]).unwrap()), "{\"a\":1}\n");
    }
}

#[test]
fn a_job_without_state_is_refused() {
    let source = source(&[("mode", "listen"), ("port", "0"), ("durable", "true")]).unwrap();
    let Split::Sequential(split) = source.splits().unwrap().remove(0) else { panic!() };
    let error = split.open(&Opening::default()).err().unwrap();
    assert!(
        matches!(&error, JobError::Environment(text) if text.contains("--state DIR")),
        "{error}"
    );
}

#[test]
fn it_works_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let opening = |position| {
        let log = Some((Arc::new(crate::sys::storage::Disk) as _, folder.path().join("log-3")));
        Opening { position, log }
    };
    let open = |position| {
        let source = source(&[("mode", "listen"), ("port", "0"), ("durable", "true")]).unwrap();
        source.split.listen(source.split.mode.limits.unwrap(), &opening(position)).unwrap()
    };
    let mut reader = open(0);
    let (mut peer, _) = Peer::greet(&mut reader, "a");
    pass_on(&mut reader, &mut peer, "{}\n");
    pass_on(&mut reader, &mut peer, "{\"a\":1}\n");
    drop(reader);
    let mut reader = open(3);
    assert_eq!(rest(&mut reader), "{\"a\":1}\n");
    assert_eq!(Peer::greet(&mut reader, "a").1, "OFFSET 11\n");
}
