//! `filesystem`: files as a table. What follows is about reading; [`FileSink`]'s module is about writing.
//!
//! # Options of a source
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `path` | required | a file, a directory (with all below it), or a pattern (`logs/*.csv`); `file:///…` works too |
//! | `format` | required | `json`, `csv` or `rkyv`, with the options of that format |
//! | `source.monitor-interval` | never | how often to look for new files; makes the table unbounded |
//! | `source.path.regex-pattern` | all | reads only files whose absolute path it matches, whole |
//! | `source.report-statistics`, `scan.parallelism` | | Flink's; checked, and of no effect on the rows |
//!
//! Files come in the order of their names; names that start with `.` or `_` are passed over in directories.
//! `.gz`, `.zst` and `.deflate` files are decompressed. A watched directory should get whole files, by renaming.
//!
//! # Invariants
//!
//! 1. A file is read up to the length it had when it was listed, once.

mod append;
mod listing;
mod part;
mod range;
mod sink;
mod stream;
mod transaction;

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(super) use range::too_long;
pub use range::{ChunkBytes, RangeReader, RawRange};
pub use sink::FileSink;
pub(super) use transaction::describe as describe_record;

use self::listing::Listing;
use self::sink::SINK_OPTIONS;
use self::stream::{PackedSplit, Packing, PipeSplit};
use super::option::{OptionReader, wrong, wrong_hint};
use super::{RangedSplit, Source, Split};
use crate::error::{JobError, OptionError};
use crate::format::{Format, Framing, Options};

/// The options of a source, all of which a table may have that is written too.
const SOURCE_OPTIONS: [&str; 4] = [
    "source.monitor-interval",
    "source.path.regex-pattern",
    "source.report-statistics",
    "scan.parallelism",
];

/// Files as a source.
#[derive(Debug)]
pub struct FileSource {
    format: Arc<dyn Format>,
    listing: Listing,
    monitor_interval_ms: Option<u64>,
    /// What has been listed, to tell new files.
    seen: Mutex<HashSet<PathBuf>>,
}

impl FileSource {
    /// The files of `path` (a file, a directory or a pattern), as they are when the job starts.
    pub fn new(path: impl Into<String>, format: Arc<dyn Format>) -> Self {
        let listing = Listing { path: path.into(), pattern: None, watched: false };
        Self { format, listing, monitor_interval_ms: None, seen: Mutex::default() }
    }

    /// Calls `look` with each file's path and its bytes, unpacked.
    ///
    /// # Errors
    ///
    /// What the file system says; what `look` does; a pipe, which cannot be looked at before it is read.
    pub fn look_into(
        &self,
        mut look: impl FnMut(&Path, Box<dyn Read + Send>) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        for path in self.listing.files()? {
            let failed = |error| JobError::io(path.display().to_string(), error);
            if !std::fs::metadata(&path).map_err(failed)?.is_file() {
                let message =
                    format!("{}: a pipe cannot be looked into before it is read", path.display());
                return Err(JobError::Environment(message));
            }
            look(&path, Packing::of(&path).unpack(&path).map_err(failed)?)?;
        }
        Ok(())
    }

    pub(super) fn resolve(options: &Options, format: Arc<dyn Format>) -> Result<Self, OptionError> {
        let mut reader = OptionReader::new("filesystem", options);
        reader.known(&["format"]);
        reader.known(&SINK_OPTIONS);
        reader.parallelism("scan.parallelism")?;
        if let Some(text) =
            reader.text("source.report-statistics").filter(|text| !is_statistics(text))
        {
            return Err(wrong(
                "source.report-statistics",
                format!("'{text}' is neither 'NONE' nor 'ALL'"),
            ));
        }
        let path = plain_path(reader.required("path", "the file, directory or pattern to read")?);
        let monitor_interval_ms = reader.duration_ms("source.monitor-interval")?;
        let key = "source.path.regex-pattern";
        let pattern = reader.text(key).map(|text| {
            regex::Regex::new(&format!("^(?:{text})$")).map_err(|error| {
                let message =
                    format!("'{text}' is not a regular expression that can be used: {error}");
                wrong_hint(key, message, "look-around and back-references are not supported")
            })
        });
        let listing =
            Listing { path, pattern: pattern.transpose()?, watched: monitor_interval_ms.is_some() };
        reader.finish()?;
        Ok(Self { format, listing, monitor_interval_ms, seen: Mutex::default() })
    }

    /// Files that were not listed before.
    fn list_new(&self) -> Result<Vec<Split>, JobError> {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut splits = Vec::new();
        for path in self.listing.files()? {
            if !seen.contains(&path) {
                splits.push(split(&path, self.format.framing())?);
                seen.insert(path);
            }
        }
        Ok(splits)
    }
}

impl Source for FileSource {
    fn format(&self) -> Option<Arc<dyn Format>> {
        Some(self.format.clone())
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        self.list_new()
    }

    fn monitor_interval_ms(&self) -> Option<u64> {
        self.monitor_interval_ms
    }

    fn has_ranges(&self) -> bool {
        true
    }

    fn new_splits(&self) -> Result<Vec<Split>, JobError> {
        self.list_new()
    }
}

/// The split that reads `path`.
fn split(path: &Path, framing: Framing) -> Result<Split, JobError> {
    let metadata =
        std::fs::metadata(path).map_err(|error| JobError::io(path.display().to_string(), error))?;
    let path = path.to_owned();
    Ok(match Packing::of(&path) {
        _ if !metadata.is_file() => Split::Sequential(Box::new(PipeSplit { path, framing })),
        Packing::Unknown(name) => {
            let message = format!(
                "{}: {name} files cannot be read; unpack it, or pack it with gzip or zstd",
                path.display()
            );
            return Err(JobError::Environment(message));
        }
        Packing::Plain => Split::Ranged(RangedSplit { path, length_bytes: metadata.len() }),
        packing => Split::Sequential(Box::new(PackedSplit { path, packing, framing })),
    })
}

fn is_statistics(text: &str) -> bool {
    ["NONE", "ALL"].iter().any(|known| text.eq_ignore_ascii_case(known))
}

/// A `path` option without the scheme of a URI.
pub(crate) fn plain_path(text: &str) -> String {
    let path = match text.strip_prefix("file:") {
        Some(rest) if rest.starts_with("///") => &rest[2..],
        Some(rest) => rest,
        None => text,
    };
    path.to_owned()
}

#[cfg(test)]
pub(super) use range::tests::blocks;

#[cfg(test)]
#[path = "power_tests.rs"]
mod power;

#[cfg(test)]
mod tests;
