//! Real sockets on the loopback: well-behaved peers and others.

use std::io::{Read as _, Write};
use std::net::TcpListener;

use super::*;
use crate::batch::Schema;
use crate::connector::Read;

pub(super) fn source(pairs: &[(&str, &str)]) -> Result<SocketSource, OptionError> {
    let options: Options =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let format = crate::format::resolve(&options, Some("json"), &Schema::new(Vec::new())).unwrap();
    SocketSource::resolve(&options, format)
}

/// Reads with `flush` until there is something, waiting a moment in between.
pub(super) fn next(reader: &mut dyn SequentialReader) -> Read {
    for _ in 0..200 {
        match reader.read(true).unwrap() {
            Read::Pending => wait(reader),
            other => return other,
        }
    }
    panic!("nothing came");
}

/// Gives the peer's bytes a moment to arrive.
pub(super) fn wait(reader: &dyn SequentialReader) {
    assert!(!reader.descriptors().is_empty());
    let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    let _ = rustix::event::poll(&mut [], Some(&moment));
}

pub(super) fn records(read: Read) -> String {
    match read {
        Read::Records(records) => String::from_utf8(records.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn listen(pairs: &[(&str, &str)]) -> ListenReader {
    let options = [&[("mode", "listen"), ("port", "0")], pairs].concat();
    let split = source(&options).unwrap().split;
    split.listen(split.mode.limits.unwrap(), &Opening::default()).unwrap()
}

fn client(reader: &ListenReader) -> TcpStream {
    TcpStream::connect(reader.address()).unwrap()
}

#[test]
fn a_server_is_read_to_its_end() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let source = source(&[("hostname", "127.0.0.1"), ("port", &port)]).unwrap();
    let Split::Sequential(split) = source.splits().unwrap().remove(0) else { panic!() };
    let mut reader = split.open(&Opening::default()).unwrap();
    let (mut peer, _) = server.accept().unwrap();
    assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    peer.write_all(b"{}\n{").unwrap();
    assert_eq!(records(next(&mut *reader)), "{}\n");
    peer.write_all(b"}\n{}").unwrap();
    assert_eq!(records(next(&mut *reader)), "{}\n");
    drop(peer);
    assert_eq!(records(next(&mut *reader)), "{}");
    assert!(matches!(next(&mut *reader), Read::End));
}

#[test]
fn nobody_there_is_an_error_that_names_the_server() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let source = source(&[("hostname", "127.0.0.1"), ("port", &port)]).unwrap();
    let Split::Sequential(split) = source.splits().unwrap().remove(0) else { panic!() };
    let error = split.open(&Opening::default()).err().unwrap().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[test]
fn other_delimiters_become_newlines() {
    let mut reader = listen(&[("byte-delimiter", "0")]);
    let mut peer = client(&reader);
    peer.write_all(b"{\n\"a\": 1}\0{}\0").unwrap();
    assert_eq!(records(next(&mut reader)), "{ \"a\": 1}\n{}\n");
}

#[test]
fn records_of_many_clients_stay_whole() {
    let mut reader = listen(&[]);
    let mut clients: Vec<TcpStream> = (0..10).map(|_| client(&reader)).collect();
    for client in &mut clients {
        client.write_all(b"{\"half\":").unwrap();
    }
    assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    for client in &mut clients {
        client.write_all(b"1}\n").unwrap();
    }
    let mut all = String::new();
    while all.lines().count() < 10 {
        all += &records(next(&mut reader));
    }
    assert!(all.lines().all(|line| line == "{\"half\":1}"), "{all}");
    // A last record without a delimiter counts, and gets one.
    clients[0].write_all(b"{}").unwrap();
    clients.remove(0);
    assert_eq!(records(next(&mut reader)), "{}\n");
    assert_eq!((reader.dropped_count(), reader.clients_count()), (0, 9));
}

#[test]
fn a_line_too_long_costs_its_client_only() {
    let mut reader = listen(&[("max-line-bytes", "100")]);
    let (mut good, mut bad) = (client(&reader), client(&reader));
    bad.write_all(b"{}\n").unwrap();
    assert_eq!(records(next(&mut reader)), "{}\n");
    bad.write_all(&[b'x'; 200]).unwrap();
    while reader.dropped_count() == 0 {
        assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    }
    let mut told = String::new();
    let _ = bad.read_to_string(&mut told);
    assert!(told.contains("longer than 100 bytes"), "{told}");
    good.write_all(b"{}\n").unwrap();
    assert_eq!(records(next(&mut reader)), "{}\n");
}

#[test]
fn what_a_client_leaves_inside_quotes_is_dropped() {
    let mut reader = listen(&[("format", "csv")]);
    let (mut bad, mut good) = (client(&reader), client(&reader));
    bad.write_all(b"a,1\nb,\"open\n").unwrap();
    assert_eq!(records(next(&mut reader)), "a,1\n");
    drop(bad);
    while reader.dropped_count() == 0 {
        assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    }
    good.write_all(b"c,\"x\ny\"\n").unwrap();
    assert_eq!(records(next(&mut reader)), "c,\"x\ny\"\n");
}

#[test]
fn too_many_clients_are_turned_away() {
    let mut reader = listen(&[("max-clients", "1")]);
    let mut first = client(&reader);
    first.write_all(b"{}\n").unwrap();
    assert_eq!(records(next(&mut reader)), "{}\n");
    let mut second = client(&reader);
    assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    let mut told = String::new();
    second.read_to_string(&mut told).unwrap();
    assert!(told.contains("too many clients"), "{told}");
    assert_eq!(reader.clients_count(), 1);
}

#[test]
fn idle_clients_are_dropped_even_if_they_send_a_byte_now_and_then() {
    let mut reader = listen(&[("idle-timeout", "40 ms")]);
    let mut peer = client(&reader);
    peer.set_nonblocking(true).unwrap();
    let mut told = String::new();
    for _ in 0..500 {
        assert!(matches!(reader.read(true).unwrap(), Read::Pending));
        if reader.dropped_count() > 0 {
            break;
        }
        let _ = peer.write(b"x");
        wait(&reader);
    }
    assert_eq!((reader.dropped_count(), reader.clients_count()), (1, 0));
    let _ = peer.read_to_string(&mut told);
}

/// A job that was held up for longer than its clients may be idle once dropped all of them, whatever they had sent meanwhile.
#[test]
fn a_reader_that_was_held_up_drops_nobody() {
    let mut reader = listen(&[("idle-timeout", "40 ms")]);
    let mut peer = client(&reader);
    for _ in 0..3 {
        peer.write_all(b"{}\n").unwrap();
        (0..20).for_each(|_| wait(&reader));
        assert_eq!(records(next(&mut reader)), "{}\n");
        assert_eq!(reader.clients_count(), 1);
    }
}

#[test]
fn a_full_chunk_needs_no_flush() {
    let mut reader = listen(&[]);
    let address = reader.address();
    let sender = std::thread::Builder::new().spawn(move || {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(&b"0123456789\n".repeat(150_000)).unwrap();
    });
    let first = loop {
        match reader.read(false).unwrap() {
            Read::Records(records) => break records,
            Read::Pending => wait(&reader),
            other => panic!("{other:?}"),
        }
    };
    assert!(first.len() >= 1 << 20 && first.ends_with(b"\n"));
    let mut rest = 0;
    while first.len() + rest < 1_650_000 {
        rest += records(next(&mut reader)).len();
    }
    sender.unwrap().join().unwrap();
}

#[test]
fn options() {
    let error = |pairs: &[(&str, &str)]| source(pairs).map(|_| ()).unwrap_err();
    let key = |pairs: &[(&str, &str)]| error(pairs).key;
    assert_eq!(key(&[("port", "1")]), "hostname");
    assert_eq!(key(&[("hostname", "x")]), "port");
    assert_eq!(key(&[("hostname", "x"), ("port", "70000")]), "port");
    assert_eq!(key(&[("hostname", "x"), ("port", "1"), ("max-clients", "2")]), "max-clients");
    assert_eq!(
        key(&[("hostname", "x"), ("port", "1"), ("byte-delimiter", "ab")]),
        "byte-delimiter"
    );
    assert_eq!(key(&[("mode", "serve")]), "mode");
    let durable = error(&[("hostname", "x"), ("port", "1"), ("durable", "true")]);
    assert_eq!(durable.key, "durable");
    assert!(durable.hint.unwrap().contains("'mode' = 'listen'"));
    let open = error(&[("mode", "listen"), ("hostname", "0.0.0.0"), ("port", "1")]);
    assert_eq!(open.key, "hostname");
    assert!(open.hint.unwrap().contains("'allow-remote' = 'true'"));
    let allowed =
        [("mode", "listen"), ("hostname", "0.0.0.0"), ("port", "1"), ("allow-remote", "true")];
    assert!(source(&allowed).is_ok());
}
