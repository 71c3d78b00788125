//! Sinks that a user writes: writers, one a part, and two phases, so that what they show is there exactly once.
//!
//! # Invariants
//!
//! 1. `commit` is called only with what a durable manifest names, or in a job without state after all writers have prepared.
//! 2. `recover` is called before the writers of a run are made, and after the newest manifest's output has been committed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ItemSink;
use crate::batch::{Batch, RowKind, Schema};
use crate::connector::{Prepared, SealedPart, Sink, SinkPart, TransactionalSink};
use crate::error::{JobError, OptionError};
use crate::job::item::Item;
use crate::job::source::{caught, failed};
use crate::sys::storage::Storage;

/// What a sink says when it cannot go on; it ends the job.
pub type SinkError = Box<dyn std::error::Error + Send + Sync>;

/// A sink of your own, whose output is there exactly once, whatever is killed: two-phase commit.
///
/// Every shard has a writer. When a snapshot is taken each writer *prepares*: what it was given since the last one becomes durable, but
/// nobody sees it yet, and a text says how to find it. The texts become part of the snapshot; when that is on disk, each
/// is *committed*: what it names is shown.
///
/// ```text
/// write, write, write ─ prepare ─► "0-17" ─► snapshot 17 on disk ─► commit "0-17"
///                                                                 └ killed here: at the next start, commit "0-17" again
///                                └ killed here: at the next start, recover removes what "0-17" names
/// ```
///
/// What must hold:
///
/// - What `prepare` made outlives a kill, or a power cut, when it returns: files and their folders are synced.
/// - `commit` may come again for what it has shown, and then changes nothing.
/// - `recover` leaves alone what was shown.
///
/// A job without [state](crate::Options::state) prepares and commits once, when it ends well; its epoch is 1. So is the first
/// epoch of a job that starts afresh: what the names of another run's output might be is for the sink to see to.
///
/// # A sink that survives a kill
///
/// Lines in a folder, a file for each part and epoch, hidden until they are committed.
///
/// ```
/// use std::fs::{self, File};
/// use std::io::{ErrorKind, Write};
/// use std::path::PathBuf;
///
/// use tidemill::sink::{SinkConnector, SinkError, SinkWriter};
/// use tidemill::{Job, Options, Records, Span, Window, WindowResult};
///
/// struct Folder(PathBuf);
///
/// impl SinkConnector for Folder {
///     type Item = WindowResult<i64, i64>;
///     type Writer = Lines;
///
///     fn name(&self) -> &str {
///         "sums"
///     }
///
///     fn writer(&self, part: usize) -> Result<Lines, SinkError> {
///         Ok(Lines { folder: self.0.clone(), part, text: String::new() })
///     }
///
///     fn commit(&self, pending: &str) -> Result<(), SinkError> {
///         match fs::rename(self.0.join(format!(".{pending}")), self.0.join(pending)) {
///             // A life before this one has done it.
///             Err(error) if error.kind() == ErrorKind::NotFound => {}
///             renamed => renamed?,
///         }
///         Ok(File::open(&self.0)?.sync_all()?)
///     }
///
///     fn recover(&self, _committed: &[String]) -> Result<(), SinkError> {
///         fs::create_dir_all(&self.0)?;
///         for entry in fs::read_dir(&self.0)? {
///             let path = entry?.path();
///             // What is still hidden no snapshot names.
///             if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
///                 fs::remove_file(path)?;
///             }
///         }
///         Ok(())
///     }
/// }
///
/// struct Lines {
///     folder: PathBuf,
///     part: usize,
///     text: String,
/// }
///
/// impl SinkWriter for Lines {
///     type Item = WindowResult<i64, i64>;
///
///     fn write(&mut self, sum: &WindowResult<i64, i64>) -> Result<(), SinkError> {
///         self.text += &format!("{} {} {}\n", sum.start_ms, sum.key, sum.value);
///         Ok(())
///     }
///
///     fn prepare(&mut self, epoch: u64) -> Result<Option<String>, SinkError> {
///         if self.text.is_empty() {
///             return Ok(None);
///         }
///         let name = format!("{}-{epoch}", self.part);
///         let mut file = File::create(self.folder.join(format!(".{name}")))?;
///         file.write_all(std::mem::take(&mut self.text).as_bytes())?;
///         file.sync_all()?;
///         File::open(&self.folder)?.sync_all()?;
///         Ok(Some(name))
///     }
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let (sums, state) = (folder.path().join("sums"), folder.path().join("state"));
/// Job::new("sums by parity")
///     .source("numbers", Records::new(0..6_i64))
///     .watermark(|n| *n, Span::seconds(1))
///     .key_by(|n| n.to_native() % 2)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| on.sum(|n| *n))
///     .sink_to(Folder(sums.clone()))
///     .run(Options::default().state(state))?; // Killed, it goes on here: run it again.
///
/// let mut lines = Vec::new();
/// for entry in fs::read_dir(&sums)? {
///     lines.extend(fs::read_to_string(entry?.path())?.lines().map(str::to_owned));
/// }
/// lines.sort();
/// assert_eq!(lines, ["0 0 6", "0 1 9"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SinkConnector: Send + Sync + 'static {
    /// What it takes: a record, or a [`WindowResult`](crate::WindowResult).
    type Item: Item;
    /// Writes a part.
    type Writer: SinkWriter<Item = Self::Item> + 'static;

    /// What messages call it. A snapshot is gone on from by a sink of the same name only.
    fn name(&self) -> &str;

    /// The writer with this number, which no other of this run has. There is one a shard, or several where items come from several
    /// operators, and as many in the next run if it has as many shards.
    ///
    /// # Errors
    ///
    /// Why the job cannot start.
    fn writer(&self, part: usize) -> Result<Self::Writer, SinkError>;

    /// Shows what [`SinkWriter::prepare`] has called `pending`; that it is shown is durable when it returns. After a crash it comes again,
    /// possibly for what it has shown.
    ///
    /// # Errors
    ///
    /// Why it cannot be shown. The job ends; when it is started again, this comes again.
    fn commit(&self, pending: &str) -> Result<(), SinkError>;

    /// The start of a run. `committed` is what the newest snapshot names, all of it committed by now; what else lives before this
    /// one have prepared will never be, and is to be removed. Nothing is named where a job starts afresh or has no state.
    ///
    /// # Errors
    ///
    /// Why the job cannot start.
    fn recover(&self, committed: &[String]) -> Result<(), SinkError>;

    /// Whether it takes results that are taken back again. If it does, writers get them by [`SinkWriter::change`].
    fn takes_changes(&self) -> bool {
        false
    }
}

/// Writes a part of a sink. It lives on a shard, which waits for it.
pub trait SinkWriter: Send {
    /// What it takes.
    type Item: Item;

    /// Takes an item. It may become durable at once, but must not be seen.
    ///
    /// # Errors
    ///
    /// Why it cannot go on; the job ends.
    fn write(&mut self, item: &<Self::Item as Item>::View) -> Result<(), SinkError>;

    /// Takes an item and what it does to those before; in place of `write` if the sink [takes changes](SinkConnector::takes_changes).
    ///
    /// # Errors
    ///
    /// As [`SinkWriter::write`].
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::sync::{Arc, Mutex};
    ///
    /// use tidemill::sink::{SinkConnector, SinkError, SinkWriter};
    /// use tidemill::{Every, Job, Options, Records, RowKind, Span, Window, WindowResult};
    ///
    /// type Count = WindowResult<i64, i64>;
    ///
    /// /// The newest count of each key, for as long as the program runs.
    /// #[derive(Clone, Default)]
    /// struct Newest(Arc<Mutex<BTreeMap<i64, i64>>>);
    ///
    /// impl SinkConnector for Newest {
    ///     type Item = Count;
    ///     type Writer = Self;
    ///
    ///     fn name(&self) -> &str {
    ///         "newest"
    ///     }
    ///
    ///     fn writer(&self, _part: usize) -> Result<Self, SinkError> {
    ///         Ok(self.clone())
    ///     }
    ///
    ///     fn commit(&self, _pending: &str) -> Result<(), SinkError> {
    ///         Ok(())
    ///     }
    ///
    ///     fn recover(&self, _committed: &[String]) -> Result<(), SinkError> {
    ///         Ok(())
    ///     }
    ///
    ///     fn takes_changes(&self) -> bool {
    ///         true
    ///     }
    /// }
    ///
    /// impl SinkWriter for Newest {
    ///     type Item = Count;
    ///
    ///     fn write(&mut self, count: &Count) -> Result<(), SinkError> {
    ///         self.change(RowKind::Insert, count)
    ///     }
    ///
    ///     fn change(&mut self, kind: RowKind, count: &Count) -> Result<(), SinkError> {
    ///         let mut newest = self.0.lock().map_err(|_| "a writer has panicked")?;
    ///         match kind {
    ///             RowKind::Insert | RowKind::UpdateAfter => newest.insert(count.key, count.value),
    ///             RowKind::UpdateBefore | RowKind::Delete => newest.remove(&count.key),
    ///         };
    ///         Ok(())
    ///     }
    ///
    ///     fn prepare(&mut self, _epoch: u64) -> Result<Option<String>, SinkError> {
    ///         Ok(None)
    ///     }
    /// }
    ///
    /// let newest = Newest::default();
    /// Job::new("counts")
    ///     .source("numbers", Records::new(0..1_000_i64))
    ///     .watermark(|n| *n, Span::millis(0))
    ///     .key_by(|n| *n % 2)
    ///     .window(Window::tumbling(Span::seconds(1)).early_fire(Every::event_time(Span::millis(100))))
    ///     .aggregate(|on| on.count())
    ///     .sink_to(newest.clone())
    ///     .run(Options::default())?;
    /// assert_eq!(*newest.0.lock().unwrap(), BTreeMap::from([(0, 500), (1, 500)]));
    /// # Ok::<(), tidemill::error::JobError>(())
    /// ```
    fn change(
        &mut self,
        kind: RowKind,
        item: &<Self::Item as Item>::View,
    ) -> Result<(), SinkError> {
        let _ = kind;
        self.write(item)
    }

    /// Makes durable what was written since the last call, hidden, and says how [`SinkConnector::commit`] finds it; `None`: there is nothing.
    /// After a crash the same epoch may come again, with other items.
    ///
    /// # Errors
    ///
    /// Why it cannot go on; the job ends, and nothing of this epoch is committed.
    fn prepare(&mut self, epoch: u64) -> Result<Option<String>, SinkError>;
}

impl<C: SinkConnector> ItemSink<C::Item> for C {
    const FOR_CHANGES: &'static str = "have the connector's `takes_changes` say so";

    fn into_sink(self) -> Result<(Arc<dyn Sink>, Schema), OptionError> {
        let sink = Connected { connector: Arc::new(self), run: Mutex::default() };
        Ok((Arc::new(sink), Schema::new(C::Item::fields())))
    }
}

/// A connector as the engine's sink, in one run.
struct Connected<C> {
    connector: Arc<C>,
    run: Mutex<Run>,
}

/// What the parts of a run share.
#[derive(Debug, Default)]
struct Run {
    /// It was opened for snapshots.
    opened: bool,
    /// In a job without snapshots: what parts have prepared.
    pending: Arc<Mutex<Vec<String>>>,
}

/// The epoch of a job without snapshots.
const ONLY_EPOCH: u64 = 1;

impl<C> fmt::Debug for Connected<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<C>())
    }
}

impl<C: SinkConnector> Connected<C> {
    /// What a call of the connector's returns.
    fn called<R>(
        &self,
        what: &str,
        f: impl FnOnce() -> Result<R, SinkError>,
    ) -> Result<R, JobError> {
        called(self.connector.name(), what, f)
    }

    fn commit_each(&self, pending: &[String]) -> Result<(), JobError> {
        pending
            .iter()
            .try_for_each(|pending| self.called("`commit`", || self.connector.commit(pending)))
    }

    fn recover(&self, committed: &[String]) -> Result<(), JobError> {
        self.called("`recover`", || self.connector.recover(committed))
    }

    fn parse(&self, record: &str) -> Result<Vec<String>, JobError> {
        let name = self.connector.name();
        let unfit = |reason: String| {
            JobError::Environment(format!("{name}: the snapshot does not fit this sink: {reason}"))
        };
        let prepared: Prepared =
            serde_json::from_str(record).map_err(|error| unfit(error.to_string()))?;
        if prepared.sink == name {
            Ok(prepared.pending)
        } else {
            Err(unfit(format!("it is of '{}'", prepared.sink)))
        }
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        lock(&self.run)
    }
}

/// What a call of a user's code returns, with its error or panic as the job's.
fn called<R>(
    name: &str,
    what: &str,
    f: impl FnOnce() -> Result<R, SinkError>,
) -> Result<R, JobError> {
    caught(name, what, f)?.map_err(|error| failed(name, error))
}

/// What a lock holds; whoever held it before did not stop half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: SinkConnector> Sink for Connected<C> {
    fn accepts_changes(&self) -> bool {
        self.connector.takes_changes()
    }

    fn part(&self, _: &Schema, part_index: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        let run = self.run();
        if part_index == 0 && !run.opened {
            self.recover(&[])?;
        }
        let writer = self.called("`writer`", || self.connector.writer(part_index))?;
        let (connector, pending) = (Arc::clone(&self.connector), Arc::clone(&run.pending));
        Ok(Box::new(Part { connector, writer, pending }))
    }

    fn commit(&self) -> Result<(), JobError> {
        let pending = std::mem::take(&mut *lock(&self.run().pending));
        self.commit_each(&pending)
    }

    fn transactional(&self) -> Option<&dyn TransactionalSink> {
        Some(self)
    }

    fn for_run(&self) -> Option<Arc<dyn Sink>> {
        let connector = Arc::clone(&self.connector);
        Some(Arc::new(Self { connector, run: Mutex::default() }))
    }
}

impl<C: SinkConnector> TransactionalSink for Connected<C> {
    fn open(&self, _: Arc<dyn Storage>, record: Option<&str>) -> Result<(), JobError> {
        let committed = record.map_or(Ok(Vec::new()), |record| self.parse(record))?;
        self.commit_each(&committed)?;
        self.recover(&committed)?;
        self.run().opened = true;
        Ok(())
    }

    fn prepare(&self, epoch: u64, sealed: &[SealedPart]) -> Result<String, JobError> {
        let text = |part: &SealedPart| match part {
            SealedPart::Pending(text) => text.clone(),
            SealedPart::File(file) => panic!("a part sealed {}", file.path.display()),
        };
        let pending = sealed.iter().map(text).collect();
        let prepared = Prepared { sink: self.connector.name().to_owned(), epoch, pending };
        let record = serde_json::to_string(&prepared);
        record.map_err(|error| JobError::Internal(format!("a sink's record: {error}")))
    }

    fn publish(&self, record: &str) -> Result<(), JobError> {
        self.commit_each(&self.parse(record)?)
    }
}

/// A writer as the engine's part.
struct Part<C: SinkConnector> {
    connector: Arc<C>,
    writer: C::Writer,
    pending: Arc<Mutex<Vec<String>>>,
}

impl<C: SinkConnector> Part<C> {
    fn prepare(&mut self, epoch: u64) -> Result<Option<String>, JobError> {
        called(self.connector.name(), "`prepare`", || self.writer.prepare(epoch))
    }
}

impl<C: SinkConnector> SinkPart for Part<C> {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        let (changes, writer) = (self.connector.takes_changes(), &mut self.writer);
        let mut row = 0;
        let each = |item: &<C::Item as Item>::View| {
            let kind = batch.kind(row);
            row += 1;
            if changes { writer.change(kind, item) } else { writer.write(item) }
        };
        let write = || C::Item::map(&batch.columns, batch.rows, each).collect();
        called(self.connector.name(), "`write`", write)
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        let prepared = self.prepare(ONLY_EPOCH)?;
        lock(&self.pending).extend(prepared);
        Ok(())
    }

    fn seal(&mut self, epoch: u64) -> Result<Vec<SealedPart>, JobError> {
        let prepared = self.prepare(epoch)?;
        Ok(prepared.into_iter().map(SealedPart::Pending).collect())
    }
}
