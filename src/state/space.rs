//! A page space as it is found: the pages that an operator works on, the ledger that its snapshots go to, and the header that was saved.

use std::path::Path;
use std::sync::Arc;

use super::frames::Frames;
use super::ledger::{Ledger, Root};
use super::pages::Pages;
use super::places::PageTable;
use crate::error::StateError;

/// A page space, opened.
#[derive(Debug)]
pub struct Space {
    /// For the operator.
    pub pages: Pages,
    /// For the writer of snapshots.
    pub ledger: Ledger,
    /// What the operator saved; `None` if it has saved nothing yet.
    pub header: Option<Vec<u64>>,
}

impl Space {
    /// Opens the space behind `root` (`None`: a new one), which was sealed at `epoch`; what is sealed next is `epoch` + 1. The pages
    /// hold at most about `budget_bytes` in memory. Pages are found when they are first asked for; before anything is written, the
    /// ledger's table must have been read and the file settled ([`Frames::settle`]).
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`], or [`StateError::Foreign`] if the words mean something else.
    pub fn open(
        frames: &Arc<Frames>,
        schema_hash: u64,
        root: Option<&Root>,
        epoch: u32,
        budget_bytes: usize,
    ) -> Result<Self, StateError> {
        let (ledger, table, header) = match root {
            Some(root) => {
                let (ledger, table, header) = Ledger::open(Arc::clone(frames), schema_hash, root)?;
                (ledger, table, Some(header))
            }
            None => (Ledger::new(Arc::clone(frames), schema_hash), PageTable::default(), None),
        };
        let acks = ledger.acks();
        let pages = Pages::durable(Arc::clone(frames), acks, epoch + 1, table, budget_bytes);
        Ok(Self { pages, ledger, header })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        self.ledger.frames().path()
    }
}
