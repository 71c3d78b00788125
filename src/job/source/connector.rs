//! Sources that a user writes: splits, each read by a thread of its own, with offsets that snapshots keep.
//!
//! # Invariants
//!
//! 1. What was read by one call of [`SplitReader::read`] is in one chunk, so that a snapshot's offset never lies inside of it.
//! 2. Where the chunks of a bounded split are cut depends on what its reader returns alone, so that results do not depend on timing.

use std::collections::HashSet;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::queue::{Patience, Queue, Receiver, Taken, Wanted};
use super::{CHUNK_RECORDS, RecordSource, caught, rows};
use crate::connector::{Opening, Read, SequentialReader, SequentialSplit, Source, Split};
use crate::error::JobError;
use crate::format::Format;
use crate::sys::archive::Record;

/// What a connector says when it cannot go on; it ends the job.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Records that a thread may be ahead of the job.
const AHEAD_RECORDS: usize = 4 * CHUNK_RECORDS;

/// A source of your own: a set of splits, each a sequence of records that can be read from an offset on.
///
/// An *offset* is a number that you choose: bytes of a file, a record's number in a partition. [`SplitReader::read`] says with
/// its records at which offset reading goes on behind them, snapshots keep that, and a job that goes on from a snapshot opens each split at
/// the offset that the snapshot has. So every record counts once, if a split read again from an offset gives
/// the records that it gave. What must hold:
///
/// - A split's name stays the same from run to run: it is what offsets are kept by.
/// - A split that was not read to its end when the snapshot was taken is still there. One that has come since is read by a job that
///   starts afresh only.
///
/// The watermark of [`Sourced::watermark`](crate::job::Sourced::watermark) is kept split by split, and the lowest counts.
///
/// # A connector that survives a kill
///
/// Two files of numbers, one a line, as two splits. The offset is the number of bytes read.
///
/// ```
/// use std::fs::File;
/// use std::io::{BufRead, BufReader, Seek, SeekFrom};
/// use std::path::PathBuf;
///
/// use tidemill::source::{SourceConnector, SourceError, SplitReader};
/// use tidemill::{Job, Options, Span, Window};
///
/// struct Numbers {
///     folder: PathBuf,
/// }
///
/// impl SourceConnector for Numbers {
///     type Record = i64;
///     type Reader = Lines;
///
///     fn bounded(&self) -> bool {
///         true
///     }
///
///     fn splits(&self) -> Result<Vec<String>, SourceError> {
///         let mut names = Vec::new();
///         for entry in std::fs::read_dir(&self.folder)? {
///             names.push(entry?.file_name().into_string().map_err(|_| "a name is no text")?);
///         }
///         names.sort(); // In a fixed order.
///         Ok(names)
///     }
///
///     fn open(&self, split: &str, offset: u64) -> Result<Lines, SourceError> {
///         let mut file = File::open(self.folder.join(split))?;
///         file.seek(SeekFrom::Start(offset))?;
///         Ok(Lines { file: BufReader::new(file), offset })
///     }
///
///     fn covered(&self, _split: &str, _offset: u64) {
///         // No snapshot goes on before it any more: a queue would drop what it has kept so far.
///     }
/// }
///
/// struct Lines {
///     file: BufReader<File>,
///     offset: u64,
/// }
///
/// impl SplitReader for Lines {
///     type Record = i64;
///
///     fn read(&mut self, records: &mut Vec<i64>) -> Result<Option<u64>, SourceError> {
///         let mut line = String::new();
///         let length_bytes = self.file.read_line(&mut line)?;
///         if length_bytes == 0 {
///             return Ok(None);
///         }
///         records.push(line.trim().parse()?);
///         self.offset += length_bytes as u64;
///         Ok(Some(self.offset)) // A snapshot that has this record goes on behind it.
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let (numbers, state) = (folder.path().join("numbers"), folder.path().join("state"));
/// std::fs::create_dir(&numbers)?;
/// std::fs::write(numbers.join("a"), "1\n2\n3\n")?;
/// std::fs::write(numbers.join("b"), "4\n5\n")?;
/// let (results, received) = std::sync::mpsc::channel();
/// Job::new("sums by parity")
///     .source("numbers", Numbers { folder: numbers })
///     .watermark(|n| n.to_native(), Span::seconds(1))
///     .key_by(|n| n.to_native() % 2)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| on.sum(|n| n.to_native()))
///     .sink(move |result| results.send((result.key, result.value)).unwrap())
///     .run(Options::default().state(state))?; // Killed, it goes on here: run it again.
/// let mut sums: Vec<_> = received.iter().collect();
/// sums.sort();
/// assert_eq!(sums, [(0, 6), (1, 9)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SourceConnector: Send + Sync + 'static {
    /// What it yields.
    type Record: Record;
    /// A split being read.
    type Reader: SplitReader<Record = Self::Record>;

    /// Whether its splits end. If they do, they are read in an order that depends on their records alone, and the job waits
    /// for one that is slow. Else whatever comes is read at once.
    fn bounded(&self) -> bool;

    /// The names of its splits, in a fixed order. Called before the job starts, possibly more than once.
    ///
    /// # Errors
    ///
    /// Why the job cannot start.
    fn splits(&self) -> Result<Vec<String>, SourceError>;

    /// Opens a split, to be read from `offset` on: 0, or what [`SplitReader::read`] returned with the last records that the
    /// snapshot covers. Called on the split's own thread, so it may wait.
    ///
    /// # Errors
    ///
    /// Why the split cannot be read.
    fn open(&self, split: &str, offset: u64) -> Result<Self::Reader, SourceError>;

    /// A snapshot with this offset is on disk: nothing before it will be asked for again, so that what holds it may let it
    /// go. Called by a shard, so it should only take note.
    fn covered(&self, split: &str, offset: u64) {
        let _ = (split, offset);
    }
}

/// Reads a split.
///
/// It has a thread of its own and may wait. When the job ends, however it ends, the reader is dropped as soon as it returns.
pub trait SplitReader {
    /// What it yields.
    type Record;

    /// Appends the next records, one or some, and returns the offset behind them; `None` at the split's end. What it appends in
    /// a call is in no snapshot or all of it, so it should be some thousand records at most.
    ///
    /// # Errors
    ///
    /// Why it cannot go on; the job ends when it has come to this place.
    fn read(&mut self, records: &mut Vec<Self::Record>) -> Result<Option<u64>, SourceError>;
}

impl<C: SourceConnector> RecordSource for C {
    type Record = C::Record;

    fn into_source(self) -> Arc<dyn Source> {
        Arc::new(Connected(Arc::new(self)))
    }
}

/// What a connector said, as the job's failure.
pub(in crate::job) fn failed(origin: &str, error: SourceError) -> JobError {
    match error.downcast::<std::io::Error>() {
        Ok(error) => JobError::io(origin, *error),
        Err(error) => JobError::io(origin, std::io::Error::other(error)),
    }
}

/// A connector as the engine's source.
struct Connected<C>(Arc<C>);

impl<C> fmt::Debug for Connected<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<C>())
    }
}

impl<C: SourceConnector> Source for Connected<C> {
    fn format(&self) -> Option<Arc<dyn Format>> {
        None
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        let source = std::any::type_name::<C>();
        let names = caught(source, "`splits`", || self.0.splits())?;
        let names = names.map_err(|error| failed(source, error))?;
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            let message = format!("{source}: two splits are called '{name}'");
            return Err(JobError::Environment(message));
        }
        let split = |name| {
            let connector = Arc::clone(&self.0);
            Split::Sequential(Box::new(NamedSplit { connector, name }))
        };
        Ok(names.into_iter().map(split).collect())
    }
}

/// A split that has not been opened.
struct NamedSplit<C> {
    connector: Arc<C>,
    name: String,
}

impl<C> fmt::Debug for NamedSplit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<C: SourceConnector> SequentialSplit for NamedSplit<C> {
    fn origin(&self) -> String {
        self.name.clone()
    }

    fn bounded(&self) -> bool {
        self.connector.bounded()
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        let queue = Queue::new(AHEAD_RECORDS, CHUNK_RECORDS);
        let receiver = Receiver::new(Arc::clone(&queue));
        receiver.begin(&self.name, 0)?;
        let Self { connector, name } = *self;
        let wanted = if connector.bounded() { Wanted::Full } else { Wanted::Any };
        let (reading, split, offset) = (Arc::clone(&connector), name.clone(), opening.position);
        // A waiting reader cannot be interrupted, so nobody waits for the thread: it ends when it finds that the job has.
        let body = move || {
            let outcome = caught(&split, "the source", || pump(&*reading, &split, offset, &queue));
            match outcome.and_then(|read| read.map_err(|error| failed(&split, error))) {
                Ok(()) => queue.end(),
                Err(error) => queue.fail(error),
            }
        };
        let thread = std::thread::Builder::new().name(format!("source {name}")).spawn(body);
        thread.map_err(|error| JobError::io(name.clone(), error))?;
        Ok(Box::new(ThreadReader { receiver, connector, name, wanted, position: offset }))
    }
}

/// Reads a split to its end, or to the job's.
fn pump<C: SourceConnector>(
    connector: &C,
    split: &str,
    offset: u64,
    queue: &Queue<C::Record>,
) -> Result<(), SourceError> {
    let mut reader = connector.open(split, offset)?;
    let mut records = Vec::new();
    while let Some(offset) = reader.read(&mut records)? {
        if queue.push(&mut records, offset, Patience::Waits).is_err() {
            break;
        }
    }
    Ok(())
}

/// A split that a thread reads.
struct ThreadReader<C: SourceConnector> {
    receiver: Receiver<C::Record>,
    connector: Arc<C>,
    name: String,
    wanted: Wanted,
    /// Behind what was handed out.
    position: u64,
}

impl<C: SourceConnector> SequentialReader for ThreadReader<C> {
    fn read(&mut self, _flush: bool) -> Result<Read, JobError> {
        Ok(match self.receiver.take(self.wanted)? {
            Taken::Some(mut filled) => {
                self.position = filled.offset;
                rows(&filled.records.finish())
            }
            Taken::NotYet => Read::Pending,
            Taken::End => Read::End,
        })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.receiver.descriptors()
    }

    fn position(&self) -> Option<u64> {
        Some(self.position)
    }

    fn release(&mut self, position: u64) -> Result<(), JobError> {
        caught(&self.name, "`covered`", || self.connector.covered(&self.name, position))
    }
}
