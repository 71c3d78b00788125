//! A simulated disk, in memory: it loses, tears and refuses writes as a seed says, so that a run that fails can be had
//! again.
//!
//! It keeps to the letter of the storage's contract and gives nothing beyond it. What an application may take for granted
//! on a good disk (a file's sync brings its name along, writes get to the medium in order, a folder stays once it is made)
//! does not hold here:
//!
//! - a *crash* (loss of power) leaves of each file what was synced plus any subset of the writes and lengths since, each
//!   write torn at sectors of 512 bytes; of each folder what was synced plus any subset of the names since. A folder is a
//!   name in the folder above it: unless that was synced, it may be gone with all that is in it;
//! - a *kill* (of the process) loses nothing, and nothing becomes durable by it;
//! - both end the life of all handles and locks: calls through them are errors.
//!
//! `file` holds contents, `folder` names, `state` both of them, `frames` the maps, `faults` the errors to inject.
//!
//! # Invariants
//!
//! 1. The same seeds and the same calls give the same results.
//! 2. Nothing but a crash loses what was written, except a failed sync if the faults say so.

mod faults;
mod file;
mod folder;
mod frames;
mod handle;
mod state;
mod survival;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use faults::{FailedSync, Fault, Faults};
use folder::Entry;
use handle::{SimFile, SimFrames, SimLock};
use state::{State, clean};

use super::{FolderLock, FrameFile, Storage, StoredFile};
use crate::sys::random::Random;

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    /// An empty disk without faults and without end; `seed` is for the faults that are drawn.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    /// A test that fails in the middle of an operation has failed already.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Injects these errors from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().injector.faults = faults;
    }

    /// How many bytes files may take from now on; `u64::MAX`, as at first, is no bound.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.state().capacity_bytes = capacity_bytes;
    }

    /// How many operations there have been that change something (or failed to); the next one has this index.
    pub fn operation_count(&self) -> u64 {
        self.state().injector.operation_count
    }

    /// Loss of power: what is left of what was not synced is drawn from `seed`, and is durable then.
    pub fn crash(&self, seed: u64) {
        self.state().crash(&mut Random::new(seed));
    }

    /// The process is killed: its handles and locks die, what it wrote stays as durable as it was.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Syncs every file and folder without a fault or a count: a place to begin from.
    pub fn settle(&self) {
        self.state().settle();
    }

    /// All files with their lengths in bytes, sorted by folder and name.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        let mut files = Vec::new();
        for (path, folder) in &state.folders {
            for (name, entry) in folder.names() {
                if let Entry::File(number) = entry {
                    files.push((path.join(name), state.inodes[number].current().len() as u64));
                }
            }
        }
        files
    }

    /// What is read from the file of that name; `None` if there is none.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let number = state.file_number(path).ok()?;
        Some(state.inodes[&number].current().to_vec())
    }

    /// Flips a bit (0 to 7) of a file, as a bad disk does. Maps that are open do not show it: views never change.
    ///
    /// # Panics
    ///
    /// If there is no such file or it is not that long.
    pub fn flip_bit(&self, path: &Path, offset_bytes: u64, bit: u32) {
        let mut state = self.state();
        let number = state.file_number(path).expect("a file to corrupt");
        state.inode(number).flip_bit(offset_bytes as usize, bit);
    }

    /// Cuts a file off, as a bad disk does; what is left of it is durable.
    ///
    /// # Panics
    ///
    /// If there is no such file or it is not that long.
    pub fn truncate(&self, path: &Path, length_bytes: u64) {
        let mut state = self.state();
        let number = state.file_number(path).expect("a file to corrupt");
        state.inode(number).truncate(length_bytes as usize);
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimDisk")
    }
}

impl Storage for SimDisk {
    fn create_folder(&self, path: &Path, _private: bool) -> io::Result<()> {
        self.state().create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.state();
        let number = state.create(path)?;
        Ok(Arc::new(SimFile::new(self, &mut state, number)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.state();
        let number = state.file_number(path)?;
        Ok(Arc::new(SimFile::new(self, &mut state, number)))
    }

    fn open_frames(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FrameFile>> {
        let mut state = self.state();
        let number = match state.file_number(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                state.create(path)?
            }
            other => other?,
        };
        Ok(Arc::new(SimFrames::new(self, &mut state, number)?))
    }

    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        let state = self.state();
        match state.look_up(path) {
            Ok(Some(Entry::File(number))) => Ok(Some(state.inodes[&number].current().len() as u64)),
            Ok(Some(Entry::Folder)) => Ok(Some(0)),
            Ok(None) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(self.state().folder(&clean(folder))?.names().keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to, |entry| match entry {
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(_)) | None => Ok(()),
        })
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(from, to, |entry| match entry {
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => Ok(()),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state().remove(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.state().sync_folder(path)
    }

    fn lock_folder(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        let folder = clean(path);
        let mut state = self.state();
        state.folder(&folder)?;
        if state.locks.contains_key(&folder) {
            return Ok(None);
        }
        let number = state.number();
        state.locks.insert(folder.clone(), number);
        Ok(Some(FolderLock::new(SimLock { disk: self.clone(), folder, number })))
    }

    fn free_bytes(&self, _path: &Path) -> Option<u64> {
        Some(self.state().free_bytes())
    }
}
