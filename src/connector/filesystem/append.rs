//! The publication of a plain file: the segments of an epoch are appended to what was published before.
//!
//! The segments are copied behind what was published before, over what a torn attempt may have left, whose bytes are the same; the
//! file is synced, and only then are the segments removed. So a segment that is missing proves that the file was whole and
//! durable, and as long as all are there everything can be done over.
//!
//! # Invariants
//!
//! 1. No byte of the published length changes, and none is lost: a file that is shorter is damaged.
//! 2. A file that is longer than our own writing can have made it is somebody else's too: it is left as it is.

use std::path::Path;
use std::sync::Arc;

use super::sink::failed;
use super::transaction::{Append, HiddenFile, Record, Transaction, gone};
use crate::error::JobError;
use crate::sys::storage::StoredFile;
use crate::{crash_point, planted};

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

impl Transaction {
    /// Appends the segments of `record`; `again`: some of this may have been done before.
    pub(super) fn append(
        &self,
        record: &Record,
        append: &Append,
        again: bool,
    ) -> Result<(), JobError> {
        let is_idle = record.parts.is_empty() && !append.replace;
        if is_idle && !again {
            return Ok(());
        }
        let mut left = Vec::with_capacity(record.parts.len());
        for part in &record.parts {
            if self.is_there(part)? {
                left.push(part);
            } else if !again {
                return Err(gone(&self.folder.join(&part.name)));
            }
        }
        let length = self.storage.length_bytes(&self.path);
        let length = length.map_err(|error| failed(&self.path, error))?;
        if is_idle || left.len() < record.parts.len() {
            // Synced before the first segment was removed.
            self.check_length(length.unwrap_or(0), append.to_bytes, append.to_bytes)?;
        } else {
            if !append.replace {
                // What a torn attempt has left is written over.
                let most_bytes = if again { append.to_bytes } else { append.from_bytes };
                self.check_length(length.unwrap_or(0), append.from_bytes, most_bytes)?;
            }
            self.write(record, append, length)?;
        }
        self.remove(&left)
    }

    /// That the file is at least and at most so long.
    fn check_length(&self, length: u64, least: u64, most: u64) -> Result<(), JobError> {
        let path = self.path.display();
        let message = if length < least {
            format!(
                "{path}: is damaged: {length} bytes are there of the {least} that this job has published; restore them, or start over with `--fresh`"
            )
        } else if length > most {
            format!(
                "{path}: somebody else has written to it: {length} bytes are there, at most {most} of this job; take the others out, or start over with `--fresh`"
            )
        } else {
            return Ok(());
        };
        Err(JobError::Environment(message))
    }

    fn write(&self, record: &Record, append: &Append, length: Option<u64>) -> Result<(), JobError> {
        crash_point!("sink-publish-before");
        let said = |error| failed(&self.path, error);
        let file = match length {
            Some(_) => self.storage.open(&self.path),
            None if record.parts.is_empty() => return Ok(()),
            None => self.storage.create(&self.path),
        };
        let file = file.map_err(said)?;
        if append.replace && length > Some(0) {
            file.set_length(0).map_err(said)?;
        }
        crash_point!("sink-publish-truncated");
        // Not cut off first: rows that have been seen would be gone until they are written again.
        let mut end = append.from_bytes;
        if planted!("sink-forget-truncate") {
            end = file.length_bytes().map_err(said)?;
        }
        file.write_at(end, append.header.as_bytes()).map_err(said)?;
        end += append.header.len() as u64;
        let mut buffer = vec![0; COPY_BYTES];
        for part in &record.parts {
            self.copy(part, &file, end, &mut buffer)?;
            end += part.length_bytes;
            crash_point!("sink-publish-appended");
        }
        if !planted!("sink-skip-publish-sync") {
            file.sync().map_err(said)?;
        }
        crash_point!("sink-publish-synced");
        if append.from_bytes == 0 {
            // The file may be new.
            crash_point!("sink-publish-before-folder");
            self.sync_folder()?;
        }
        Ok(())
    }

    /// Copies a segment to `offset_bytes` of the file.
    fn copy(
        &self,
        segment: &HiddenFile,
        file: &Arc<dyn StoredFile>,
        offset_bytes: u64,
        buffer: &mut [u8],
    ) -> Result<(), JobError> {
        let path = self.folder.join(&segment.name);
        let from = self.storage.open(&path).map_err(|error| failed(&path, error))?;
        let mut copied = 0;
        while copied < segment.length_bytes {
            let wanted = (segment.length_bytes - copied).min(buffer.len() as u64) as usize;
            let read = from.read_at(copied, &mut buffer[..wanted]);
            let count = read.map_err(|error| failed(&path, error))?;
            if count == 0 {
                return Err(failed(&path, std::io::ErrorKind::UnexpectedEof.into()));
            }
            let written = file.write_at(offset_bytes + copied, &buffer[..count]);
            written.map_err(|error| failed(&self.path, error))?;
            copied += count as u64;
        }
        Ok(())
    }

    fn remove(&self, segments: &[&HiddenFile]) -> Result<(), JobError> {
        for segment in segments {
            let path = self.folder.join(Path::new(&segment.name));
            self.storage.remove(&path).map_err(|error| failed(&path, error))?;
            crash_point!("sink-publish-removed");
        }
        Ok(())
    }
}
