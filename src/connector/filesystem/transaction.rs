//! Two-phase commit of a file sink: what jobs with snapshots do instead of showing files as they are finished.
//!
//! Parts write hidden files and hand them over at each barrier. [`Transaction::prepare`] makes them durable and names them in
//! a record; the job's manifest holds the record, and when the manifest is durable [`Transaction::publish`] shows them: a
//! directory gets each file under its own name by a rename that replaces nothing, a plain file gets their bytes appended
//! ([`super::append`]). After a crash the newest record is published again, whatever of it was done before, and every hidden
//! file of the run that it does not name is removed.
//!
//! # Names
//!
//! | what | hidden | shown |
//! |---|---|---|
//! | part of a directory | `.part-<run>-<part>-<number>.inprogress` | `part-<run>-<part>-<number>` |
//! | segment of a plain file | `.NAME.<run>-<part>-<number>.inprogress` | appended to `NAME`, then removed |
//!
//! The run is drawn at a fresh start and kept in the record. Numbers are drawn from one counter of the run, and the record
//! says where it stands, so a number that was ever published is never drawn again, wherever the published file is now.
//!
//! # Invariants
//!
//! 1. What a record names is durable, under its hidden name, before `prepare` returns.
//! 2. What was published is durable before the next `prepare`, which refuses if a publication was begun and not ended.
//! 3. An epoch that was prepared and not published (its manifest could not be written) is named by the next record too.
//! 4. After a failed `prepare` there is no other: a kernel that failed to sync a file says so once.
//! 5. Files of other runs are not touched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::sink::{exists, failed, run_name};
use crate::connector::SealedFile;
use crate::error::JobError;
use crate::sys::storage::{Storage, make_folder};
use crate::{crash_point, planted};

/// What hidden names end with.
pub(super) const HIDDEN_SUFFIX: &str = ".inprogress";

/// The numbers of a run's files, each drawn once.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    fn from(next: u64) -> Self {
        Self(Arc::new(AtomicU64::new(next)))
    }

    pub(super) fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn next(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the manifest keeps of an epoch of a sink.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) run: String,
    pub(super) epoch: u64,
    /// Above all numbers that this record or an earlier one names.
    pub(super) next_number: u64,
    /// What is to be shown, in this order.
    pub(super) parts: Vec<HiddenFile>,
    /// Of a plain file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) append: Option<Append>,
}

/// A hidden file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HiddenFile {
    /// Its name in the folder.
    pub(super) name: String,
    pub(super) length_bytes: u64,
}

/// Where a record's segments go in the plain file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Append {
    /// Whether the file holds something else that is to be replaced: the first publication of a run.
    pub(super) replace: bool,
    /// What is written before the segments: the file's header, if it begins with them.
    pub(super) header: String,
    /// The length that was published before.
    pub(super) from_bytes: u64,
    /// The length with the header and all segments.
    pub(super) to_bytes: u64,
}

/// What a record says, for people; `None` if it is none of ours.
pub(in crate::connector) fn describe(text: &str) -> Option<String> {
    let record: Record = serde_json::from_str(text).ok()?;
    let byte_count: u64 = record.parts.iter().map(|part| part.length_bytes).sum();
    let parts = match record.parts.len() {
        0 => "nothing new".to_owned(),
        1 => format!("{byte_count} bytes"),
        count => format!("{byte_count} bytes in {count} parts"),
    };
    Some(match record.append {
        Some(append) => {
            format!("{parts} for the file, which has {} bytes with them", append.to_bytes)
        }
        None => format!("{parts} for files part-{}-…", record.run),
    })
}

/// What a sink writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Files in a directory.
    Directory,
    /// One file; `overwrite`: one with content is replaced.
    Plain { overwrite: bool },
}

/// A file sink in a job with snapshots.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) storage: Arc<dyn Storage>,
    /// The directory, or the plain file.
    pub(super) path: PathBuf,
    /// Where hidden files lie.
    pub(super) folder: PathBuf,
    pub(super) numbers: Numbers,
    goal: Goal,
    run: String,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Prepared and not yet published.
    prepared: Vec<HiddenFile>,
    /// The header of the plain file, and how much of the file is published.
    header: String,
    published_bytes: u64,
    /// The plain file has content of others, to be replaced at the first publication.
    replace: bool,
    /// The newest epoch whose publication was begun.
    begun_epoch: Option<u64>,
    publish_unfinished: bool,
    prepare_failed: bool,
}

impl Transaction {
    /// Starts a run, or goes on with the one of `record`: publishes what it names and removes what nobody names.
    pub(super) fn open(
        storage: Arc<dyn Storage>,
        path: &Path,
        goal: Goal,
        record: Option<&str>,
    ) -> Result<Self, JobError> {
        let mut transaction = Self {
            storage,
            path: path.to_owned(),
            folder: folder_of(path, goal),
            numbers: Numbers::default(),
            goal,
            run: String::new(),
            progress: Mutex::default(),
        };
        make_folder(&*transaction.storage, &transaction.folder, false)
            .map_err(|(folder, error)| failed(&folder, error))?;
        match record {
            None => transaction.start()?,
            Some(text) => transaction.recover(text)?,
        }
        Ok(transaction)
    }

    fn start(&mut self) -> Result<(), JobError> {
        self.run = run_name();
        let Goal::Plain { overwrite } = self.goal else { return Ok(()) };
        let length = self.storage.length_bytes(&self.path);
        let has_content = length.map_err(|error| failed(&self.path, error))?.unwrap_or(0) > 0;
        if has_content && !overwrite {
            return Err(exists(&self.path));
        }
        self.lock().replace = has_content;
        Ok(())
    }

    fn recover(&mut self, text: &str) -> Result<(), JobError> {
        let record = self.parse(text)?;
        self.run.clone_from(&record.run);
        self.check(&record)?;
        self.numbers = Numbers::from(record.next_number);
        if planted!("sink-forget-numbers") {
            self.numbers = Numbers::default();
        }
        match &record.append {
            _ if planted!("sink-skip-recovery") => {}
            None => self.show_files(&record, true)?,
            Some(append) => {
                self.append(&record, append, true)?;
                self.lock().published_bytes = append.to_bytes;
            }
        }
        self.lock().begun_epoch = Some(record.epoch);
        crash_point!("sink-open-published");
        if !planted!("sink-keep-strays") {
            self.remove_strays()?;
        }
        Ok(())
    }

    /// What all hidden names of this run begin with.
    pub(super) fn prefix(&self) -> String {
        match self.goal {
            Goal::Directory => format!(".part-{}-", self.run),
            Goal::Plain { .. } => {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy();
                format!(".{name}.{}-", self.run)
            }
        }
    }

    /// The plain file begins with `header`.
    pub(super) fn set_header(&self, header: Vec<u8>) -> Result<(), JobError> {
        let text = String::from_utf8(header);
        self.lock().header = text.map_err(|error| {
            JobError::Environment(format!(
                "{}: the header is not UTF-8: {error}",
                self.path.display()
            ))
        })?;
        Ok(())
    }

    /// Makes what was sealed durable; the record for the manifest.
    pub(super) fn prepare(&self, epoch: u64, sealed: &[SealedFile]) -> Result<String, JobError> {
        let mut progress = self.lock();
        if progress.prepare_failed || progress.publish_unfinished {
            return Err(JobError::Environment(format!(
                "{}: an earlier epoch could not be written; start the job again, it goes on from its last snapshot",
                self.path.display()
            )));
        }
        progress.prepare_failed = true;
        if !sealed.is_empty() {
            self.sync(sealed)?;
        }
        progress.prepared.extend(sealed.iter().map(hidden_file));
        let record = self.record(epoch, &progress);
        self.check(&record)?;
        let text = serde_json::to_string(&record);
        let text = text.map_err(|error| JobError::Internal(format!("a sink's record: {error}")))?;
        progress.prepare_failed = false;
        Ok(text)
    }

    fn sync(&self, sealed: &[SealedFile]) -> Result<(), JobError> {
        for SealedFile { path, file, .. } in sealed {
            if !planted!("sink-skip-sync") {
                file.sync().map_err(|error| failed(path, error))?;
            }
            crash_point!("sink-prepare-synced-file");
        }
        crash_point!("sink-prepare-before-folder");
        if !planted!("sink-skip-folder-sync") {
            self.sync_folder()?;
        }
        crash_point!("sink-prepare-after");
        Ok(())
    }

    fn record(&self, epoch: u64, progress: &Progress) -> Record {
        let parts = progress.prepared.clone();
        let append = (self.goal != Goal::Directory).then(|| {
            let from_bytes = progress.published_bytes;
            let begins = from_bytes == 0 && !parts.is_empty();
            let header = if begins { progress.header.clone() } else { String::new() };
            let segments_bytes: u64 = parts.iter().map(|part| part.length_bytes).sum();
            let to_bytes = from_bytes + header.len() as u64 + segments_bytes;
            Append { replace: progress.replace, header, from_bytes, to_bytes }
        });
        Record { run: self.run.clone(), epoch, next_number: self.numbers.next(), parts, append }
    }

    /// The manifest with this record is durable: shows what it names.
    pub(super) fn publish(&self, text: &str) -> Result<(), JobError> {
        let record = self.parse(text)?;
        self.check(&record)?;
        let mut progress = self.lock();
        let again = progress.begun_epoch == Some(record.epoch);
        progress.begun_epoch = Some(record.epoch);
        progress.publish_unfinished = true;
        match &record.append {
            None => self.show_files(&record, again)?,
            Some(append) => {
                self.append(&record, append, again)?;
                progress.published_bytes = append.to_bytes;
                progress.replace = false;
            }
        }
        progress.prepared.retain(|file| !record.parts.contains(file));
        progress.publish_unfinished = false;
        Ok(())
    }

    /// Gives the files of a directory their names; `again`: some may have theirs, and may have been moved away since.
    fn show_files(&self, record: &Record, again: bool) -> Result<(), JobError> {
        if record.parts.is_empty() {
            return Ok(());
        }
        crash_point!("sink-publish-before");
        for part in &record.parts {
            let hidden = self.folder.join(&part.name);
            if self.is_there(part)? {
                publish_new(&*self.storage, &hidden, &shown(&hidden))?;
            } else if !again && !planted!("sink-publish-early") {
                return Err(gone(&hidden));
            }
            crash_point!("sink-publish-renamed-one");
        }
        crash_point!("sink-publish-before-folder");
        self.sync_folder()?;
        crash_point!("sink-publish-after");
        Ok(())
    }

    /// Whether the hidden file is there, in its whole length.
    pub(super) fn is_there(&self, file: &HiddenFile) -> Result<bool, JobError> {
        let path = self.folder.join(&file.name);
        let length = self.storage.length_bytes(&path).map_err(|error| failed(&path, error))?;
        match length {
            Some(length) if length != file.length_bytes => Err(JobError::Environment(format!(
                "{}: is damaged: {length} bytes are there of the {} that were made durable",
                path.display(),
                file.length_bytes
            ))),
            length => Ok(length.is_some()),
        }
    }

    /// Removes the hidden files of this run. Those that the record names are published by now.
    fn remove_strays(&self) -> Result<(), JobError> {
        let prefix = self.prefix();
        let names = self.storage.list(&self.folder).map_err(|error| failed(&self.folder, error))?;
        for name in names.iter().filter(|name| is_hidden_name(name, &prefix)) {
            let path = self.folder.join(name);
            self.storage.remove(&path).map_err(|error| failed(&path, error))?;
            crash_point!("sink-open-removed");
        }
        self.sync_folder()
    }

    pub(super) fn sync_folder(&self) -> Result<(), JobError> {
        self.storage.sync_folder(&self.folder).map_err(|error| failed(&self.folder, error))
    }

    fn parse(&self, text: &str) -> Result<Record, JobError> {
        serde_json::from_str(text).map_err(|error| self.unfit(&error.to_string()))
    }

    /// That the record is one of this sink, so that no file is touched that is not its own.
    fn check(&self, record: &Record) -> Result<(), JobError> {
        let prefix = self.prefix();
        if record.run != self.run || record.run.is_empty() || record.run.contains('/') {
            return Err(self.unfit("it is of another run"));
        }
        if record.append.is_some() != (self.goal != Goal::Directory) {
            return Err(self.unfit("a directory and a plain file are not the same"));
        }
        match record.parts.iter().find(|part| !is_hidden_name(&part.name, &prefix)) {
            Some(part) => Err(self.unfit(&format!("it names '{}'", part.name))),
            None => Ok(()),
        }
    }

    fn unfit(&self, reason: &str) -> JobError {
        let path = self.path.display();
        JobError::Environment(format!("{path}: the snapshot does not fit this sink: {reason}"))
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a hidden file the name by which it is seen, unless something has it.
pub(super) fn publish_new(
    storage: &dyn Storage,
    hidden: &Path,
    shown: &Path,
) -> Result<(), JobError> {
    storage.rename_new(hidden, shown).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => JobError::Environment(format!(
            "{}: something else has this name, so {} cannot be published; move it away",
            shown.display(),
            hidden.display()
        )),
        _ => failed(shown, error),
    })
}

/// `dir/name` of `dir/.name.inprogress`
pub(super) fn shown(hidden: &Path) -> PathBuf {
    let name = hidden.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_prefix('.').and_then(|name| name.strip_suffix(HIDDEN_SUFFIX));
    hidden.with_file_name(name.expect("a hidden name"))
}

/// A hidden file was taken away before it was published.
pub(super) fn gone(hidden: &Path) -> JobError {
    JobError::Environment(format!("{}: was removed before it was published", hidden.display()))
}

fn is_hidden_name(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix) && name.ends_with(HIDDEN_SUFFIX) && !name.contains('/')
}

fn hidden_file(sealed: &SealedFile) -> HiddenFile {
    let name = sealed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    HiddenFile { name, length_bytes: sealed.length_bytes }
}

fn folder_of(path: &Path, goal: Goal) -> PathBuf {
    match (goal, path.parent()) {
        (Goal::Directory, _) => path.to_owned(),
        (Goal::Plain { .. }, Some(parent)) if !parent.as_os_str().is_empty() => parent.to_owned(),
        (Goal::Plain { .. }, _) => PathBuf::from("."),
    }
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
