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
//! | `sink.overwrite` | `false` | one plain file only: replaces a file that has content, when the job is done |
//!
//! A part is `part-<run>-<shard>-<number>`, under the hidden name `.part-….inprogress` until it is finished.
//! A plain file `NAME` takes the rows of all shards, record by record, as `.NAME.inprogress`, and appears
//! under its name when the job is done; what an interrupted job leaves is overwritten by the next.
//!
//! # Invariants
//!
//! 1. A file under its own name is whole and never written to again.
//! 2. A file with content is never replaced unless the option says so.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use super::part::{DirectoryPart, PlainPart};
use super::{SOURCE_OPTIONS, plain_path};
use crate::batch::Schema;
use crate::connector::option::{OptionReader, wrong, wrong_hint};
use crate::connector::{Sink, SinkPart};
use crate::error::{JobError, OptionError};
use crate::format::{Encode, Format, Framing, Options};

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
    Open(File),
    Done,
}

impl FileSink {
    pub(in crate::connector) fn resolve(
        options: &Options,
        format: Arc<dyn Format>,
    ) -> Result<Self, OptionError> {
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
        Ok(Self { path, format, changelog, target })
    }

    fn encoder(&self, schema: &Schema) -> Box<dyn Encode> {
        if self.changelog {
            self.format.encoder_with_kinds(schema)
        } else {
            self.format.encoder(schema)
        }
    }

    /// Opens the plain file for all parts, once.
    fn open_plain(
        &self,
        file: &PlainFile,
        overwrite: bool,
        encoder: &mut dyn Encode,
    ) -> Result<(), JobError> {
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
        let mut opened = opened.map_err(|error| failed(&hidden, error))?;
        // Between opening and locking, the job that had it may have finished and given it its name.
        let is_hidden = || same_file(&opened, &hidden).unwrap_or(false);
        if rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err()
            || !is_hidden()
        {
            let message = format!("{}: another job is writing this file", self.path.display());
            return Err(JobError::Environment(message));
        }
        let mut header = Vec::new();
        encoder.header(&mut header);
        opened
            .set_len(0)
            .and_then(|()| opened.write_all(&header))
            .map_err(|error| failed(&hidden, error))?;
        *state = PlainState::Open(opened);
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
        shard_index: usize,
        _: usize,
    ) -> Result<Box<dyn SinkPart>, JobError> {
        let mut encoder = self.encoder(schema);
        match &self.target {
            Target::Directory { rolling, run } => {
                std::fs::create_dir_all(&self.path).map_err(|error| failed(&self.path, error))?;
                let name = format!("part-{}-{shard_index}", run.get_or_init(run_name));
                let new_encoder = {
                    let (format, schema, changelog) =
                        (self.format.clone(), schema.clone(), self.changelog);
                    move || {
                        if changelog {
                            format.encoder_with_kinds(&schema)
                        } else {
                            format.encoder(&schema)
                        }
                    }
                };
                Ok(Box::new(DirectoryPart::new(
                    self.path.clone(),
                    name,
                    *rolling,
                    Box::new(new_encoder),
                )?))
            }
            Target::Plain { file, overwrite } => {
                self.open_plain(file, *overwrite, &mut *encoder)?;
                Ok(Box::new(PlainPart::new(file.clone(), hidden(&self.path), encoder)))
            }
        }
    }

    fn commit(&self) -> Result<(), JobError> {
        let Target::Plain { file, overwrite } = &self.target else { return Ok(()) };
        let mut state = file.lock();
        let PlainState::Open(open) = std::mem::replace(&mut *state, PlainState::Done) else {
            return Ok(());
        };
        open.sync_all().map_err(|error| failed(&self.path, error))?;
        let empty = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == 0);
        publish(&hidden(&self.path), &self.path, *overwrite || empty)
    }
}

impl PlainFile {
    /// Appends whole records.
    pub(super) fn write(&self, records: &[u8]) -> std::io::Result<()> {
        match &mut *self.lock() {
            PlainState::Open(file) => file.write_all(records),
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
pub(super) fn hidden(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.inprogress"))
}

/// Gives a finished file its name.
pub(super) fn publish(hidden: &Path, path: &Path, replace: bool) -> Result<(), JobError> {
    let renamed = if replace {
        rustix::fs::rename(hidden, path)
    } else {
        rustix::fs::renameat_with(CWD, hidden, CWD, path, RenameFlags::NOREPLACE).or_else(|error| {
            match error {
                // A file system that cannot; the name holds the run's own random part, or was looked for at the start.
                rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS if !path.exists() => {
                    rustix::fs::rename(hidden, path)
                }
                error => Err(error),
            }
        })
    };
    renamed.map_err(|error| match error {
        rustix::io::Errno::EXIST => exists(path),
        error => failed(path, error.into()),
    })
}

/// Whether `path` is the name of the open `file`.
fn same_file(file: &File, path: &Path) -> std::io::Result<bool> {
    let (file, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok(file.dev() == named.dev() && file.ino() == named.ino())
}

fn exists(path: &Path) -> JobError {
    JobError::Environment(format!(
        "{}: the file exists and has content; remove it, or let it be replaced with 'sink.overwrite' = 'true'",
        path.display()
    ))
}

pub(super) fn failed(path: &Path, error: std::io::Error) -> JobError {
    JobError::io(path.display().to_string(), error)
}

/// A name that no other run has, in the shape of a UUID.
fn run_name() -> String {
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
mod tests;
