//! The manifest: what one durable snapshot consists of.
//!
//! ```text
//! manifest-00000000000000000017:
//!   tidemill manifest 1 <XXH64 of the rest, 16 hex digits>
//!   { "epoch": 17, … }                                        JSON
//! ```
//!
//! It is written under a hidden name, synced, renamed, and the folder is synced: then the snapshot is durable. Of several
//! manifests the one with the highest epoch counts; one that cannot be read is an error, for output may have been
//! published on its word.
//!
//! # Invariants
//!
//! 1. All that a manifest names is durable before its rename.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::blueprint::Blueprint;
use crate::crash_point;
use crate::error::StateError;
use crate::planted;
use crate::state::Root;
use crate::sys::checksum::xxh64;
use crate::sys::storage::Storage;

const HEAD: &str = "tidemill manifest 1 ";
const PREFIX: &str = "manifest-";

/// A durable snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its number.
    pub epoch: u64,
    /// Processing time when it was made, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// The inputs had ended and all windows fired.
    pub finished: bool,
    /// The job's operators, one description each: what a script must say to go on from here.
    pub operators: Vec<String>,
    /// The same for comparing it with another script.
    #[serde(default)]
    pub blueprint: Blueprint,
    /// Bytes in a chunk.
    pub chunk_bytes: u64,
    /// The file of each shard, by its name in the folder.
    pub files: Vec<String>,
    /// By shard and exchange, the root of the owner's page table.
    pub spaces: Vec<Vec<Root>>,
    /// Where the sources stand.
    pub sources: Sources,
    /// By sink, what it needs to publish; `None` where it is not transactional.
    pub sinks: Vec<Option<String>>,
    /// By exchange: the watermark that was passed on.
    pub watermarks_ms: Vec<i64>,
    /// By exchange: rows that senders found late, as words.
    pub late: Vec<Vec<u64>>,
    /// Rows written to sinks.
    pub rows_out: u64,
    /// Bytes written for this snapshot.
    pub written_bytes: u64,
}

/// Where the sources stand at a barrier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sources {
    /// The splits, in the order of the sequence.
    pub splits: Vec<SplitRecord>,
    /// The tables.
    pub scans: Vec<ScanRecord>,
    /// By exchange: the watermark after the last chunk.
    pub exchange_ms: Vec<i64>,
    /// The split whose turn it is.
    pub turn: Option<usize>,
    /// Processing time of the last chunk.
    pub now_ms: i64,
    /// When processing-time triggers were last told the time.
    pub ticked_ms: i64,
    /// Rows, bytes, malformed records and watermark jumps read so far.
    pub counters: [u64; 4],
}

/// A split's place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Which table.
    pub scan: usize,
    /// Its name: a path, `stdin`, `host:port`.
    pub origin: String,
    /// The length of a plain file when it was listed.
    pub length_bytes: Option<u64>,
    /// The next chunk to read.
    pub next_chunk: u64,
    /// The watermark that its rows have asked for.
    pub watermark_ms: i64,
    /// Lines read.
    pub lines: u64,
    /// Whether the next chunk begins inside quotes.
    pub in_quotes: bool,
    /// Nothing more comes of it.
    pub ended: bool,
    /// For a stream: where reading goes on.
    pub position: Option<u64>,
    /// For a generator: rows made.
    pub rows: u64,
    /// For a plain file that is being read: a hash of its beginning and of the bytes before the next chunk.
    pub content: Option<u64>,
}

/// A table's place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScanRecord {
    /// Its name.
    pub table: String,
    /// Nothing has come for too long.
    pub idle: bool,
    /// When something came last.
    pub active_at_ms: i64,
}

/// How far a split has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A plain file: so many bytes of so many.
    Bytes(u64, u64),
    /// A stream that can be read again: so many bytes.
    Position(u64),
    /// A generator: so many rows.
    Rows(u64),
    /// Anything else: so many lines.
    Lines(u64),
}

impl SplitRecord {
    /// How far it has been read, in chunks of `chunk_bytes`.
    pub fn place(&self, chunk_bytes: u64) -> Place {
        match (self.length_bytes, self.position) {
            (Some(length_bytes), _) if self.ended => Place::Bytes(length_bytes, length_bytes),
            (Some(length_bytes), _) => {
                Place::Bytes((self.next_chunk * chunk_bytes).min(length_bytes), length_bytes)
            }
            (None, Some(position)) => Place::Position(position),
            // A generator has neither, and no lines.
            (None, None) if self.lines == 0 => Place::Rows(self.rows),
            (None, None) => Place::Lines(self.lines),
        }
    }
}

/// The name of the manifest of an epoch.
fn name(epoch: u64) -> String {
    format!("{PREFIX}{epoch:020}")
}

/// The epochs of the manifests in a folder, ascending.
///
/// # Errors
///
/// What the storage says.
pub fn list(storage: &dyn Storage, folder: &Path) -> Result<Vec<u64>, StateError> {
    let names = storage.list(folder).map_err(|error| StateError::io(folder, error))?;
    let epoch = |name: String| name.strip_prefix(PREFIX)?.parse().ok();
    Ok(names.into_iter().filter_map(epoch).collect())
}

impl Manifest {
    /// The path of the manifest of `epoch`.
    pub fn path(folder: &Path, epoch: u64) -> PathBuf {
        folder.join(name(epoch))
    }

    /// Reads the manifest of `epoch`.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`] if it is not what was written.
    pub fn read(storage: &dyn Storage, folder: &Path, epoch: u64) -> Result<Self, StateError> {
        let path = Self::path(folder, epoch);
        let bytes = storage.read(&path).map_err(|error| StateError::io(&path, error))?;
        let damaged = |reason: String| StateError::Damaged {
            path: path.display().to_string(),
            what: "the manifest".into(),
            offset_bytes: 0,
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| damaged(error.to_string()))?;
        let (head, body) =
            text.split_once('\n').ok_or_else(|| damaged("it has no first line".into()))?;
        let checksum = head.strip_prefix(HEAD).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let checksum = checksum.ok_or_else(|| {
            damaged(format!("its first line is not '{HEAD}…': another version wrote it, or none"))
        })?;
        if head.len() != HEAD.len() + 16 || checksum != xxh64(body.as_bytes()) {
            return Err(damaged("its checksum differs".into()));
        }
        let manifest: Self =
            serde_json::from_str(body).map_err(|error| damaged(error.to_string()))?;
        if manifest.epoch != epoch {
            return Err(damaged(format!("it is that of snapshot {}", manifest.epoch)));
        }
        Ok(manifest)
    }

    /// Makes the manifest durable: the commit. Returns its length.
    ///
    /// # Errors
    ///
    /// What the storage says. After an error nobody knows whether the snapshot is durable, and the job must end.
    pub fn commit(&self, storage: &dyn Storage, folder: &Path) -> Result<u64, StateError> {
        let body = serde_json::to_string(self).expect("a manifest is plain data");
        let text = format!("{HEAD}{:016x}\n{body}", xxh64(body.as_bytes()));
        let path = Self::path(folder, self.epoch);
        let hidden = folder.join(format!(".{}.inprogress", name(self.epoch)));
        let failed = |error| StateError::io(&path, error);
        if storage.length_bytes(&hidden).map_err(failed)?.is_some() {
            storage.remove(&hidden).map_err(failed)?;
        }
        let file = storage.create(&hidden).map_err(failed)?;
        crash_point!("manifest-created");
        file.write_at(0, text.as_bytes()).map_err(failed)?;
        crash_point!("manifest-written");
        if !planted!("manifest-skip-sync") {
            file.sync().map_err(failed)?;
        }
        crash_point!("manifest-synced");
        storage.rename(&hidden, &path).map_err(failed)?;
        crash_point!("manifest-renamed");
        if !planted!("manifest-skip-folder-sync") {
            storage.sync_folder(folder).map_err(failed)?;
        }
        crash_point!("manifest-durable");
        Ok(text.len() as u64)
    }
}
