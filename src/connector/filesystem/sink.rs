//! Files as a sink: a directory of parts as Flink writes them, or one plain file.
//!
//! # Options of a sink
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `path` | required | a directory to add parts to; one plain file if it ends in `.jsonl` or `.csv` |
//! | `format` | required | `json`, `csv` or `rkyv`, with the options of that format |
//! | `sink.rolling-policy.file-size` | 128MB | a part that has reached this size is finished and a new one begun |
//! | `sink.rolling-policy.rollover-interval` | 30 min | so is one that is so old, looked at when rows come |
//! | `sink.rolling-policy.check-interval` | | Flink's; checked, and of no effect |
//! | `sink.parallelism` | | Flink's; checked, and of no effect on the rows |
//! | `auto-compaction` | `false` | Flink's; only `false` can be had |
//! | `sink.changelog` | `false` | takes updates and deletes too, writing each row's kind as a first column `op` |
//! | `sink.overwrite` | `false` | one plain file only: replaces a file that has content, when rows are first shown |
//!
//! # When rows are shown
//!
//! A job without state shows a part when it is finished, and a plain file when the job is done; after a crash its rows come
//! again. A part is `part-<run>-<shard>-<number>`, under the hidden name `.part-….inprogress` until it is finished.
//! A plain file `NAME` takes the rows of all shards, record by record, as `.NAME.inprogress`; what an interrupted job
//! leaves is overwritten by the next.
//!
//! A job with state (`--state DIR`) shows rows when the snapshot that holds them is durable, so at most one snapshot interval
//! late, and each exactly once, whatever crashes in between:
//!
//! - In a directory a snapshot ends all open parts, and those that it holds get their names together. Parts that reach
//!   their size or age earlier wait for it (64 a shard; then the last one grows). Published parts are the consumer's: it may move or remove them.
//! - A plain file grows at each snapshot by the rows that it holds. Until then they are in hidden segments beside it,
//!   `.NAME.<run>-<shard>-<number>.inprogress`. A CSV header stands once, at the start. Nobody else may write to the
//!   file or shorten it while the job has a future: the next start, or the next snapshot, would refuse to go on.
//! - Snapshots without rows leave no files. A file that `sink.overwrite` replaces keeps its content until the first snapshot.
//! - After a crash the same job removes the hidden files of its own run. Those of a job that died before its first
//!   snapshot, is never started again, or is started afresh, stay, and may be removed by hand.
//!
//! # Invariants
//!
//! 1. A file under its own name is whole and never written to again, but for a plain file of a job with state: there it holds of
//!    all published bytes, and what a crash may have left behind them is written over at the next start.
//! 2. A file with content is never replaced unless the option says so.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::FlockOperation;

use super::part::{Contents, HiddenPart, NewEncoder, Place, PlainPart};
use super::transaction::{Goal, HIDDEN_SUFFIX, Numbers, Transaction};
use super::{SOURCE_OPTIONS, plain_path};
use crate::batch::Schema;
use crate::connector::option::{OptionReader, wrong, wrong_hint};
use crate::connector::{SealedFile, SealedPart, Sink, SinkPart, TransactionalSink};
use crate::error::{JobError, OptionError};
use crate::format::{Encode, Format, Framing, Options};
use crate::sys::storage::{Disk, Storage};

/// The options of a sink, all of which a table may have that is read too.
pub(super) const SINK_OPTIONS: [&str; 7] = [
    "sink.rolling-policy.file-size",
    "sink.rolling-policy.rollover-interval",
    "sink.rolling-policy.check-interval",
    "sink.parallelism",
    "auto-compaction",
    "sink.changelog",
    "sink.overwrite",
];
/// Flink's default.
const FILE_BYTES: u64 = 128 << 20;
/// Flink's default, 30 minutes.
const ROLLOVER_MS: u64 = 1_800_000;

/// Files as a sink.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    format: Arc<dyn Format>,
    changelog: bool,
    target: Target,
    /// That of its parts.
    schema: OnceLock<Schema>,
    /// In a job with snapshots.
    transaction: Mutex<Option<Arc<Transaction>>>,
}

#[derive(Debug)]
enum Target {
    Directory { rolling: Rolling, run: OnceLock<String> },
    Plain { file: Arc<PlainFile>, overwrite: bool },
}

/// When a part is finished and a new one begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rolling {
    pub(super) file_bytes: u64,
    pub(super) interval_ms: u64,
}

/// The one file that all shards write to.
#[derive(Debug, Default)]
pub(super) struct PlainFile {
    state: Mutex<PlainState>,
}

#[derive(Debug, Default)]
enum PlainState {
    #[default]
    Unopened,
    Open {
        file: File,
        /// The header is written.
        headed: bool,
    },
    Done,
}

impl FileSink {
    /// The sink of these options, which the head of this module lists, in this format.
    ///
    /// # Errors
    ///
    /// What is wrong with the options.
    pub fn new(options: &Options, format: Arc<dyn Format>) -> Result<Self, OptionError> {
        let mut reader = OptionReader::new("filesystem", options);
        reader.known(&["format"]);
        reader.known(&SOURCE_OPTIONS);
        let path =
            PathBuf::from(plain_path(reader.required("path", "the directory or file to write")?));
        reader.parallelism("sink.parallelism")?;
        reader.duration_ms("sink.rolling-policy.check-interval")?;
        if reader.boolean("auto-compaction", false)? {
            return Err(wrong_hint("auto-compaction", "parts are not merged", "remove it"));
        }
        let changelog = reader.boolean("sink.changelog", false)?;
        let target =
            if is_plain(&path) { plain(&mut reader, &*format)? } else { directory(&mut reader)? };
        reader.finish()?;
        let (schema, transaction) = Default::default();
        Ok(Self { path, format, changelog, target, schema, transaction })
    }

    fn new_encoder(&self, schema: &Schema) -> NewEncoder {
        let (format, schema, changelog) = (self.format.clone(), schema.clone(), self.changelog);
        Box::new(move || {
            if changelog { format.encoder_with_kinds(&schema) } else { format.encoder(&schema) }
        })
    }

    /// What a file begins with, for all that its parts have encoded.
    fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        if let Some(schema) = self.schema.get() {
            self.new_encoder(schema)().header(&mut header);
        }
        header
    }

    fn opened(&self) -> Option<Arc<Transaction>> {
        self.transaction.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn expect_opened(&self) -> Arc<Transaction> {
        self.opened().expect("a sink is opened before its epochs are prepared and published")
    }

    /// A part that a transaction publishes.
    fn sealed_part(
        &self,
        transaction: &Transaction,
        new_encoder: NewEncoder,
        part_index: usize,
    ) -> Result<Box<dyn SinkPart>, JobError> {
        let (rolling, contents) = match &self.target {
            Target::Directory { rolling, .. } => (Some(*rolling), Contents::Files),
            Target::Plain { .. } => (None, Contents::Segments),
        };
        let place = Place {
            storage: transaction.storage.clone(),
            folder: transaction.folder.clone(),
            stem: format!("{}{part_index}", transaction.prefix()),
            numbers: transaction.numbers.clone(),
            contents,
        };
        Ok(Box::new(HiddenPart::new(place, rolling, new_encoder)?))
    }

    /// Opens the plain file for all parts, once.
    fn open_plain(&self, file: &PlainFile, overwrite: bool) -> Result<(), JobError> {
        let mut state = file.lock();
        if !matches!(*state, PlainState::Unopened) {
            return Ok(());
        }
        if !overwrite && std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(exists(&self.path));
        }
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        let hidden = hidden(&self.path);
        let opened = File::options().create(true).write(true).truncate(false).open(&hidden);
        let opened = opened.map_err(|error| failed(&hidden, error))?;
        // Between opening and locking, the job that had it may have finished and given it its name.
        let is_hidden = || same_file(&opened, &hidden).unwrap_or(false);
        if rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_hidden()
        {
            let message = format!("{}: another job is writing this file", self.path.display());
            return Err(JobError::Environment(message));
        }
        opened.set_len(0).map_err(|error| failed(&hidden, error))?;
        *state = PlainState::Open { file: opened, headed: false };
        Ok(())
    }
}

impl Sink for FileSink {
    fn accepts_changes(&self) -> bool {
        self.changelog
    }

    fn part(
        &self,
        schema: &Schema,
        part_index: usize,
        _: usize,
    ) -> Result<Box<dyn SinkPart>, JobError> {
        let new_encoder = self.new_encoder(self.schema.get_or_init(|| schema.clone()));
        if let Some(transaction) = self.opened() {
            return self.sealed_part(&transaction, new_encoder, part_index);
        }
        match &self.target {
            Target::Directory { rolling, run } => {
                std::fs::create_dir_all(&self.path).map_err(|error| failed(&self.path, error))?;
                let place = Place {
                    storage: Arc::new(Disk),
                    folder: self.path.clone(),
                    stem: format!(".part-{}-{part_index}", run.get_or_init(run_name)),
                    numbers: Numbers::default(),
                    contents: Contents::FilesAtOnce,
                };
                Ok(Box::new(HiddenPart::new(place, Some(*rolling), new_encoder)?))
            }
            Target::Plain { file, overwrite } => {
                self.open_plain(file, *overwrite)?;
                Ok(Box::new(PlainPart::new(file.clone(), hidden(&self.path), new_encoder())))
            }
        }
    }

    fn commit(&self) -> Result<(), JobError> {
        let Target::Plain { file, overwrite } = &self.target else { return Ok(()) };
        let mut state = file.lock();
        let PlainState::Open { file: mut open, headed } =
            std::mem::replace(&mut *state, PlainState::Done)
        else {
            return Ok(());
        };
        let header = if headed { Vec::new() } else { self.header() };
        let written = open.write_all(&header).and_then(|()| open.sync_all());
        written.map_err(|error| failed(&self.path, error))?;
        let empty = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == 0);
        let hidden = hidden(&self.path);
        if *overwrite || empty {
            return std::fs::rename(&hidden, &self.path).map_err(|error| failed(&self.path, error));
        }
        Disk.rename_new(&hidden, &self.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(&self.path),
            _ => failed(&self.path, error),
        })
    }

    fn transactional(&self) -> Option<&dyn TransactionalSink> {
        Some(self)
    }

    fn for_run(&self) -> Option<Arc<dyn Sink>> {
        let target = match &self.target {
            Target::Directory { rolling, .. } => {
                Target::Directory { rolling: *rolling, run: OnceLock::new() }
            }
            Target::Plain { overwrite, .. } => {
                Target::Plain { file: Arc::default(), overwrite: *overwrite }
            }
        };
        let (path, format) = (self.path.clone(), Arc::clone(&self.format));
        let (schema, transaction) = Default::default();
        let changelog = self.changelog;
        Some(Arc::new(Self { path, format, changelog, target, schema, transaction }))
    }
}

impl TransactionalSink for FileSink {
    fn open(&self, storage: Arc<dyn Storage>, record: Option<&str>) -> Result<(), JobError> {
        let goal = match &self.target {
            Target::Directory { .. } => Goal::Directory,
            Target::Plain { overwrite, .. } => Goal::Plain { overwrite: *overwrite },
        };
        let transaction = Transaction::open(storage, &self.path, goal, record)?;
        *self.transaction.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(transaction));
        Ok(())
    }

    fn prepare(&self, epoch: u64, sealed: &[SealedPart]) -> Result<String, JobError> {
        let file = |part: &SealedPart| match part {
            SealedPart::File(file) => file.clone(),
            SealedPart::Pending(text) => panic!("a part of a file sink sealed '{text}'"),
        };
        let files: Vec<SealedFile> = sealed.iter().map(file).collect();
        let transaction = self.expect_opened();
        if let Target::Plain { .. } = self.target {
            transaction.set_header(self.header())?;
        }
        transaction.prepare(epoch, &files)
    }

    fn publish(&self, record: &str) -> Result<(), JobError> {
        self.expect_opened().publish(record)
    }
}

impl PlainFile {
    /// Appends whole records, which `encoder` has encoded.
    pub(super) fn write(&self, encoder: &mut dyn Encode, records: &[u8]) -> std::io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        match &mut *self.lock() {
            PlainState::Open { file, headed } => {
                let mut header = Vec::new();
                if !std::mem::replace(headed, true) {
                    encoder.header(&mut header);
                }
                file.write_all(&header).and_then(|()| file.write_all(records))
            }
            PlainState::Unopened | PlainState::Done => {
                Err(std::io::Error::other("the file is not open"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PlainState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn directory(reader: &mut OptionReader<'_>) -> Result<Target, OptionError> {
    let key = "sink.rolling-policy.file-size";
    let file_bytes = reader.size_bytes(key)?.unwrap_or(FILE_BYTES);
    if file_bytes == 0 {
        return Err(wrong(key, "a part has at least one byte"));
    }
    let key = "sink.rolling-policy.rollover-interval";
    let interval_ms = reader.duration_ms(key)?.unwrap_or(ROLLOVER_MS);
    if interval_ms == 0 {
        return Err(wrong(key, "a part lasts at least a millisecond"));
    }
    Ok(Target::Directory { rolling: Rolling { file_bytes, interval_ms }, run: OnceLock::new() })
}

fn plain(reader: &mut OptionReader<'_>, format: &dyn Format) -> Result<Target, OptionError> {
    for key in ["sink.rolling-policy.file-size", "sink.rolling-policy.rollover-interval"] {
        if reader.text(key).is_some() {
            let hint = "remove it, or give a directory as the 'path'";
            return Err(wrong_hint(key, "one plain file has no parts", hint));
        }
    }
    if format.framing() == Framing::Blocks {
        return Err(wrong_hint(
            "path",
            "this format needs a directory",
            "remove the ending from the 'path'",
        ));
    }
    Ok(Target::Plain { file: Arc::default(), overwrite: reader.boolean("sink.overwrite", false)? })
}

/// Whether `path` means one file.
fn is_plain(path: &Path) -> bool {
    let suffix = path.extension().unwrap_or_default();
    (suffix == "jsonl" || suffix == "csv") && !path.is_dir()
}

/// `dir/.name.inprogress`
fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{HIDDEN_SUFFIX}"))
}

/// Whether `path` is the name of the open `file`.
fn same_file(file: &File, path: &Path) -> std::io::Result<bool> {
    let (file, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok(file.dev() == named.dev() && file.ino() == named.ino())
}

pub(super) fn exists(path: &Path) -> JobError {
    JobError::Environment(format!(
        "{}: the file exists and has content; remove it, or let it be replaced: 'sink.overwrite' = 'true', or `.overwrite()` in Rust",
        path.display()
    ))
}

pub(super) fn failed(path: &Path, error: std::io::Error) -> JobError {
    JobError::io(path.display().to_string(), error)
}

/// A name that no other run has, in the shape of a UUID.
pub(super) fn run_name() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // The standard library seeds each state from the kernel's randomness.
    let random = || RandomState::new().build_hasher().finish();
    let (high, low) = (random(), random());
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
#[path = "sink_tests.rs"]
pub(super) mod tests;
