//! Records that were dropped because they could not be read: the first few kept for the summary, all kept in a file if
//! the script names one (`tidemill.dead-letter.path`).
//!
//! A line of the file: `{"table":…,"origin":…,"line":…,"column":…,"reason":…,"record":…}`; `record` is lossy UTF-8.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use crate::error::JobError;
use crate::format::BadRecord;

/// How many dropped records the summary shows.
const SHOWN_RECORDS_MAX: usize = 5;

/// A job's dropped records.
#[derive(Debug)]
pub struct DeadLetters {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Option<File>,
    shown: Vec<String>,
    lost_count: u64,
}

impl DeadLetters {
    /// Keeps records in the file `path`, if given; it is created, or appended to.
    ///
    /// # Errors
    ///
    /// What the kernel says to opening it.
    #[doc(hidden)]
    pub fn new(path: Option<&Path>) -> Result<Self, JobError> {
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| JobError::io(path.display().to_string(), error))
        };
        let file = path.map(open).transpose()?;
        Ok(Self { inner: Mutex::new(Inner { file, shown: Vec::new(), lost_count: 0 }) })
    }

    /// Notes the records that a chunk, which begins after `lines` lines of `origin`, has dropped.
    pub(crate) fn note(
        &self,
        table: &str,
        origin: &str,
        lines: u64,
        records: &[BadRecord],
        count: u64,
    ) {
        if count == 0 {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        inner.lost_count += count - (records.len() as u64).min(count);
        for record in records {
            let line = lines + record.line_index + 1;
            if inner.shown.len() < SHOWN_RECORDS_MAX {
                inner.shown.push(format!(
                    "{origin}: line {line}, column {}: {}",
                    record.column, record.reason
                ));
            }
            let letter = serde_json::json!({
                "table": table, "origin": origin, "line": line, "column": record.column,
                "reason": record.reason, "record": String::from_utf8_lossy(&record.record),
            });
            let written = inner.file.as_mut().map(|file| writeln!(file, "{letter}"));
            if let Some(Err(error)) = written {
                inner
                    .shown
                    .push(format!("the dead-letter file cannot be written any more: {error}"));
                inner.file = None;
            }
        }
    }

    /// The first few, for people.
    pub fn shown(&self) -> Vec<String> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).shown.clone()
    }

    /// How many were counted but not kept, because one chunk dropped too many.
    pub fn lost_count(&self) -> u64 {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).lost_count
    }
}
