//! Where bytes come from and where rows go: `filesystem`, `stdin`, `socket`, `datagen`, `print`, `blackhole`.
//!
//! A source is a set of *splits*, each a sequence of numbered chunks. A file is cut into chunks that
//! any shard can read at any time ([`Split::Ranged`]); a stream (stdin, a socket, a compressed file)
//! has one reader ([`Split::Sequential`]); a generator computes chunk *j* from *j* alone
//! ([`Split::Generated`]). The shard loop decides the order; nothing here knows of threads or
//! watermarks. [`resolve_source`] and [`resolve_sink`] make either from the options of a table; each connector's
//! module lists its options.
//!
//! # Invariants
//!
//! 1. What a chunk holds depends on the split and the chunk's index alone (streams excepted), never on
//!    who reads it or when.
//! 2. A sequential reader never blocks: it says [`Read::Pending`], and [`SequentialReader::descriptors`]
//!    says what to wait for.

mod blackhole;
pub mod clicks;
mod datagen;
mod descriptor;
mod draw;
mod ends;
mod filesystem;
mod flink;
mod gather;
pub(crate) mod ingest;
mod option;
mod prepared;
mod print;
mod resolve;
mod socket;
mod stdin;
mod timer;

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_buffer::Buffer;

pub use self::blackhole::Blackhole;
pub use self::datagen::GeneratorSource;
pub use self::filesystem::{ChunkBytes, FileSink, FileSource, RangeReader, RawRange};
pub use self::flink::flink_refusals;
pub use self::prepared::Prepared;
pub use self::print::{Output, PrintSink, Style};
pub use self::resolve::{resolve_sink, resolve_source};
pub use self::socket::SocketSource;
pub use self::stdin::StdinSource;

use crate::batch::{Batch, Schema};
use crate::error::JobError;
use crate::format::{BadRecord, Format};
use crate::sys::storage::{Storage, StoredFile};

/// The default size of a chunk of bytes.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// The longest record that is read; a longer one is a bad record.
pub const RECORD_BYTES_MAX: usize = 256 << 20;

/// One independently positioned part of a source.
#[derive(Debug)]
pub enum Split {
    /// A plain file, read in ranges by every shard.
    Ranged(RangedSplit),
    /// A stream with one reader.
    Sequential(Box<dyn SequentialSplit>),
    /// Rows computed from their index.
    Generated(Arc<dyn Generator>),
}

/// A plain file.
#[derive(Clone, Debug)]
pub struct RangedSplit {
    /// Its path.
    pub path: PathBuf,
    /// Its length when it was listed; bytes beyond are not read.
    pub length_bytes: u64,
}

/// A stream that can be opened once.
pub trait SequentialSplit: Send + std::fmt::Debug {
    /// Its name in messages: a path, `stdin`, `host:port`.
    fn origin(&self) -> String;
    /// Whether it ends by itself, so that its chunks are worth waiting for (a compressed file).
    fn bounded(&self) -> bool;
    /// If it cannot be read again, so that a crash loses what was read since the last snapshot: the way around.
    fn remedy_of_loss(&self) -> Option<&'static str> {
        None
    }
    /// Opens it, where `opening` says. May block briefly (connecting, opening a file).
    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError>;
}

/// What a record of [`TransactionalSink::prepare`] says, for people.
pub fn describe_record(record: &str) -> String {
    let described = filesystem::describe_record(record);
    described.or_else(|| Prepared::describe(record)).unwrap_or_else(|| record.to_owned())
}

/// Where and how a stream is opened.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// Where to go on: what [`SequentialReader::position`] said at the snapshot; 0 at a fresh start.
    pub position: u64,
    /// Where a stream that cannot be read again may keep what it has read: the storage, and a path in the state folder
    /// that is this split's own (a file of that name, or files whose names begin with it). `None`: the job keeps no state.
    pub log: Option<(Arc<dyn Storage>, PathBuf)>,
}

/// What a sequential reader has to say.
#[derive(Debug)]
pub enum Read {
    /// Whole records, at most about [`CHUNK_BYTES`] unless one record is longer.
    Records(Buffer),
    /// Rows with all columns of the source's schema, which need no decoding.
    Rows(Vec<Batch>),
    /// A record longer than a record may be, passed over; a bad record like those of [`crate::format::Decoded`].
    Oversized(BadRecord),
    /// Nothing now; wait for the descriptors.
    Pending,
    /// The end.
    End,
}

/// An open stream.
pub trait SequentialReader: Send {
    /// The next whole records. With `flush`, what is there now; without, [`Read::Pending`] until about
    /// [`CHUNK_BYTES`] have gathered.
    fn read(&mut self, flush: bool) -> Result<Read, JobError>;
    /// What to wait for until more can be read.
    fn descriptors(&self) -> Vec<RawFd>;
    /// Where reading goes on behind the records handed out so far, for [`Opening::position`] after a crash; `None` if
    /// the stream cannot be read again.
    fn position(&self) -> Option<u64>;
    /// A snapshot with this position is durable: nothing before it will be asked for again.
    ///
    /// # Errors
    ///
    /// What the storage says to what is done about it.
    fn release(&mut self, position: u64) -> Result<(), JobError> {
        let _ = position;
        Ok(())
    }
    /// How many records the reader itself has dropped so far, because a client misbehaved (a line too long, gone in the middle of one).
    fn dropped_count(&self) -> u64 {
        0
    }
}

/// Computes rows from their index, so that any shard can make any chunk.
pub trait Generator: Send + Sync + std::fmt::Debug {
    /// How many rows in all; `None` for no end.
    fn row_count(&self) -> Option<u64>;
    /// Rows a second of processing time; `None` for as fast as it goes.
    fn rows_per_second(&self) -> Option<u64>;
    /// Rows in a chunk of it; the same as long as a job is to go on from its state.
    fn chunk_rows(&self) -> u64 {
        16_384
    }
    /// Rows `start .. start + count`, the columns `projection` of the table's physical schema.
    fn generate(&self, start: u64, count: usize, projection: &[usize]) -> Batch;
}

/// A source with its options checked.
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Its format; `None` for a generator.
    fn format(&self) -> Option<Arc<dyn Format>>;
    /// Its splits now, in a fixed order. Called once at the start.
    fn splits(&self) -> Result<Vec<Split>, JobError>;
    /// How often to look for new splits (`source.monitor-interval`), in milliseconds.
    fn monitor_interval_ms(&self) -> Option<u64> {
        None
    }
    /// Splits that appeared since the last call (monitored directories).
    fn new_splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(Vec::new())
    }
    /// Whether there may be [`Split::Ranged`] among its splits.
    fn has_ranges(&self) -> bool {
        false
    }
}

/// A sink with its options checked; makes one part for each place that rows come from.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Whether it takes updates and deletes.
    fn accepts_changes(&self) -> bool;
    /// The part with this number, of `part_count`: one a shard, or several where rows come from several operators.
    fn part(
        &self,
        schema: &Schema,
        part_index: usize,
        part_count: usize,
    ) -> Result<Box<dyn SinkPart>, JobError>;
    /// After every part has finished, in a job without snapshots: publishes what spans parts.
    fn commit(&self) -> Result<(), JobError> {
        Ok(())
    }
    /// Its transactional face, for jobs with snapshots; `None` if it shows rows at once, and so after a crash again.
    fn transactional(&self) -> Option<&dyn TransactionalSink> {
        None
    }
    /// The sink of one run, for which this one is the pattern; `None`: all runs write to this one.
    fn for_run(&self) -> Option<Arc<dyn Sink>> {
        None
    }
    /// A run is about to begin; [`Sink::close`] will end it.
    fn begin(&self) {}
    /// No row is taken any more: the job has failed, was cancelled or is over. A part that waits in [`SinkPart::write`] returns, with an
    /// error. May come from any thread, more than once, and before the parts are made.
    fn close(&self) {}
    /// Whether someone sees rows again after a crash, those since the last snapshot.
    fn repeats_rows(&self) -> bool {
        self.transactional().is_none()
    }
}

/// A sink that shows rows when the snapshot that holds them is durable: two-phase commit.
///
/// A job with snapshots calls `open` before it makes parts. For each epoch every part is sealed by its shard, then
/// `prepare` makes what was sealed durable, the record it returns becomes part of the job's manifest, and when that is
/// durable `publish` shows the rows. After a crash `open` is given the record of the newest manifest.
pub trait TransactionalSink {
    /// Prepares for parts that are sealed. With a `record` (the newest manifest's), what it names is published if that
    /// had not been done, and what nobody names is removed; without one the job starts afresh. In either case this
    /// comes before the first call of [`Sink::part`], and [`SinkPart::seal`] will be called instead of `finish`.
    ///
    /// # Errors
    ///
    /// What the storage says; a target that another job has written to.
    fn open(&self, storage: Arc<dyn Storage>, record: Option<&str>) -> Result<(), JobError>;
    /// Makes what all parts have sealed for `epoch` durable, in the order given (by part). Returns the record for the
    /// manifest: all that `open` and `publish` need. Called once an epoch, also if nothing was sealed.
    ///
    /// # Errors
    ///
    /// What the storage says; the epoch then has failed.
    fn prepare(&self, epoch: u64, sealed: &[SealedPart]) -> Result<String, JobError>;
    /// The manifest that holds `record` is durable: shows the rows. May be called again for the same record after a
    /// crash, and then changes nothing that is done already.
    ///
    /// # Errors
    ///
    /// What the storage says.
    fn publish(&self, record: &str) -> Result<(), JobError>;
}

/// What one part wrote between two barriers, and will not touch again.
#[derive(Clone, Debug)]
pub enum SealedPart {
    /// A file that nobody sees yet.
    File(SealedFile),
    /// It is durable: what [`TransactionalSink::publish`] has to know to show it.
    Pending(String),
}

/// A hidden file, still to be synced.
#[derive(Clone, Debug)]
pub struct SealedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub length_bytes: u64,
    /// The open file.
    pub file: Arc<dyn StoredFile>,
}

/// One shard's end of a sink.
pub trait SinkPart: Send {
    /// Takes rows.
    fn write(&mut self, batch: &Batch) -> Result<(), JobError>;
    /// Makes what was taken visible where the sink shows rows as they come; called when the shard turns idle and after firings.
    fn flush(&mut self) -> Result<(), JobError>;
    /// The end of the job, if it takes no snapshots.
    fn finish(&mut self) -> Result<(), JobError>;
    /// The barrier of `epoch`: hands over what was written since the last one, whole. Of a sink that is not transactional nothing;
    /// it is shown. Quick, where it can be: syncing files is left to [`TransactionalSink::prepare`].
    ///
    /// # Errors
    ///
    /// As [`SinkPart::write`].
    fn seal(&mut self, epoch: u64) -> Result<Vec<SealedPart>, JobError> {
        let _ = epoch;
        self.flush().map(|()| Vec::new())
    }
}
