//! Clients that follow the protocol, while connections break, the job is killed, the machine goes down and the disk is
//! full: in the end every record has counted once, in its client's order.

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 3;
const RECORDS: u64 = 30;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A client sends so many bytes, or connects.
    Send(usize, usize),
    /// The client's connection breaks.
    Break(usize),
    /// A second connection of the client, the first staying open.
    Again(usize),
    Read,
    Snapshot,
    /// The process dies, and with it (true) the machine.
    Kill(bool),
    /// The disk is full for a call.
    Full,
    /// The machine goes down when it is to sync.
    KillInSync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..CLIENTS, 1usize..60).prop_map(|(client, bytes)| Step::Send(client, bytes)),
        1 => (0..CLIENTS).prop_map(Step::Break),
        1 => (0..CLIENTS).prop_map(Step::Again),
        6 => Just(Step::Read),
        2 => Just(Step::Snapshot),
        1 => any::<bool>().prop_map(Step::Kill),
        1 => Just(Step::Full),
        1 => Just(Step::KillInSync),
    ]
}

/// A client with a file to send.
struct Sender {
    id: String,
    file: Vec<u8>,
    connection: Option<Connection>,
    /// The most that it was ever told: this much it has forgotten.
    acknowledged: usize,
    /// Connections that it has forgotten.
    lost: Vec<TcpStream>,
}

struct Connection {
    stream: TcpStream,
    told: Vec<u8>,
    /// Where in the file it goes on; `None` until it is told.
    sent: Option<usize>,
}

impl Sender {
    fn new(index: usize) -> Self {
        let id = format!("client-{index}");
        let line = |record| format!("{id} {record} {}\n", "x".repeat((record * 7 % 23) as usize));
        let file = (0..RECORDS).map(line).collect::<String>().into_bytes();
        Self { id, file, connection: None, acknowledged: 0, lost: Vec::new() }
    }

    fn connect(&mut self, reader: &ListenReader) {
        let mut stream = TcpStream::connect(reader.address()).unwrap();
        stream.write_all(format!("HELLO {}\n", self.id).as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let connection = Connection { stream, told: Vec::new(), sent: None };
        let old = self.connection.replace(connection);
        self.lost.extend(old.map(|old| old.stream));
    }

    /// Listens, and sends at most so many bytes.
    fn go_on(&mut self, reader: &ListenReader, bytes: usize) {
        if self.connection.is_none() {
            return self.connect(reader);
        }
        let connection = self.connection.as_mut().unwrap();
        if !connection.listen(&mut self.acknowledged) {
            self.connection = None;
            return;
        }
        if let Some(sent) = connection.sent {
            let end = (sent + bytes).min(self.file.len());
            match connection.stream.write(&self.file[sent..end]) {
                Ok(count) => connection.sent = Some(sent + count),
                Err(_) => self.connection = None,
            }
        }
    }

    fn is_done(&self) -> bool {
        self.acknowledged == self.file.len()
    }
}

impl Connection {
    /// Reads what it is told; false if the connection is closed.
    fn listen(&mut self, acknowledged: &mut usize) -> bool {
        let mut some = [0; 4096];
        let open = loop {
            match self.stream.read(&mut some) {
                Ok(0) => break false,
                Ok(count) => self.told.extend_from_slice(&some[..count]),
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        while let Some(end) = self.told.iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8(self.told.drain(..=end).collect()).unwrap();
            if let Some(offset) = line.trim_end().strip_prefix("OFFSET ") {
                let offset = offset.parse().unwrap();
                assert!(offset >= *acknowledged, "offsets only grow");
                *acknowledged = offset;
                self.sent.get_or_insert(offset);
            } else {
                assert!(line.starts_with("tidemill: "), "{line}");
            }
        }
        open
    }
}

/// The job: what it has taken, and its newest snapshot.
struct Job {
    disk: Flaky,
    random: Random,
    reader: Option<ListenReader>,
    taken: Vec<u8>,
    /// The position, and how much had been taken.
    snapshot: (u64, usize),
}

impl Job {
    const SEGMENT_BYTES: u64 = 300;

    fn reader(&self) -> &ListenReader {
        self.reader.as_ref().unwrap()
    }

    fn read(&mut self) -> bool {
        let reader = self.reader.as_mut().unwrap();
        match reader.read(true) {
            Ok(Read::Records(records)) => self.taken.extend_from_slice(&records),
            Ok(Read::Pending) => return false,
            Err(JobError::State(StateError::Full { .. })) => {}
            other => panic!("{other:?}"),
        }
        true
    }

    fn kill_in_sync(&mut self) {
        self.disk.refuse(Some(Fault::Sync(ErrorKind::Other)));
        match self.reader.as_mut().unwrap().read(true) {
            // Read again, or nothing new.
            Ok(_) | Err(JobError::State(StateError::Io { .. })) => {}
            other => panic!("{other:?}"),
        }
        self.disk.refuse(None);
        self.kill(true);
    }

    fn kill(&mut self, with_machine: bool) {
        self.reader = None;
        if with_machine {
            self.disk.crash(&mut self.random);
        }
        self.taken.truncate(self.snapshot.1);
        let reader = try_open(&self.disk, self.snapshot.0, Self::SEGMENT_BYTES, &[]).unwrap();
        assert_eq!(reader.position(), Some(self.snapshot.0));
        self.reader = Some(reader);
    }

    fn take_snapshot(&mut self) {
        let reader = self.reader.as_mut().unwrap();
        self.snapshot = (reader.position().unwrap(), self.taken.len());
        reader.release(self.snapshot.0).unwrap();
    }
}

fn run(steps: &[Step], seed: u64) {
    let disk = Flaky::default();
    let reader = try_open(&disk, 0, Job::SEGMENT_BYTES, &[]).unwrap();
    let random = Random::new(seed);
    let mut job = Job { disk, random, reader: Some(reader), taken: Vec::new(), snapshot: (0, 0) };
    let mut senders: Vec<Sender> = (0..CLIENTS).map(Sender::new).collect();
    for &step in steps {
        match step {
            Step::Send(client, bytes) => senders[client].go_on(job.reader(), bytes),
            Step::Break(client) => senders[client].connection = None,
            Step::Again(client) => senders[client].connect(job.reader()),
            Step::Read => drop(job.read()),
            Step::Snapshot => job.take_snapshot(),
            Step::Kill(with_machine) => job.kill(with_machine),
            Step::Full => {
                job.disk.refuse(Some(Fault::Write(ErrorKind::StorageFull)));
                job.read();
                job.disk.refuse(None);
            }
            Step::KillInSync => job.kill_in_sync(),
        }
    }
    for _ in 0..100_000 {
        for sender in &mut senders {
            sender.go_on(job.reader(), usize::MAX / 2);
        }
        if !job.read() && senders.iter().all(Sender::is_done) {
            break;
        }
    }
    let taken = String::from_utf8(job.taken).unwrap();
    for sender in &senders {
        let own = taken.lines().filter(|line| line.split(' ').next() == Some(&sender.id));
        let own: String = own.map(|line| format!("{line}\n")).collect();
        assert_eq!(own.as_bytes(), sender.file, "{}", sender.id);
    }
    let sent: usize = senders.iter().map(|sender| sender.file.len()).sum();
    assert_eq!(taken.len(), sent);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_record_counts_once(steps in prop::collection::vec(step(), 1..150), seed in any::<u64>()) {
        run(&steps, seed);
    }
}
