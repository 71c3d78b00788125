//! The one place that rows are printed to: whole lines from every shard, one after the other.
//!
//! # Invariants
//!
//! 1. Lines are written under a lock and never mixed.
//! 2. A reader that went away (`| head`) is [`JobError::OutputClosed`], now and ever after.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::JobError;

/// How rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Aligned columns with a header, for people.
    Table,
    /// One JSON object a line: `op`, then `sink` where several tables print, then the columns.
    JsonLines,
    /// `op`, `sink` as above and the columns, with a header where one table prints.
    Csv,
}

/// Where rows are printed to, shared by every `print` table and every shard. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    style: Style,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    out: Box<dyn Write + Send>,
    /// How many INSERTs print here.
    sink_count: usize,
    /// Those of which a header has been written.
    headed: BTreeSet<String>,
    closed: bool,
}

impl Output {
    /// Prints to `out` in `style`. Buffer nothing in `out`: whole pieces are written, then flushed.
    pub fn new(out: Box<dyn Write + Send>, style: Style) -> Self {
        let shared = Shared { out, sink_count: 0, headed: BTreeSet::new(), closed: false };
        Self { style, shared: Arc::new(Mutex::new(shared)) }
    }

    /// How rows are printed.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Notes that one more sink prints here: where several do, each row says which.
    pub(super) fn register(&self) {
        self.lock().sink_count += 1;
    }

    /// Whether several sinks print here.
    pub(super) fn is_shared(&self) -> bool {
        self.lock().sink_count > 1
    }

    /// Writes whole lines of `table`, the first time after `header`.
    pub(super) fn write(&self, table: &str, header: &[u8], lines: &[u8]) -> Result<(), JobError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut shared = self.lock();
        if shared.closed {
            return Err(JobError::OutputClosed);
        }
        let Shared { out, headed, .. } = &mut *shared;
        let first = !headed.contains(table);
        let header = if first { header } else { b"" };
        let result =
            out.write_all(header).and_then(|()| out.write_all(lines)).and_then(|()| out.flush());
        if first {
            headed.insert(table.to_owned());
        }
        result.map_err(|error| {
            shared.closed = error.kind() == ErrorKind::BrokenPipe;
            if shared.closed { JobError::OutputClosed } else { JobError::io("output", error) }
        })
    }

    /// A writer that panicked has at worst written part of a line.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("style", &self.style).finish_non_exhaustive()
    }
}
