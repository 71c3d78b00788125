//! Handles on a simulated disk: open files, files of frames, and the locks of folders.
//!
//! # Invariants
//!
//! 1. A handle whose life is over does nothing but give errors; only views, which borrow memory that it keeps, stay.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::frames::Region;
use super::state::State;
use super::{FrameFile, SimDisk, StoredFile};

/// An open file.
#[derive(Debug)]
pub(super) struct SimFile {
    disk: SimDisk,
    number: u64,
    life: u64,
}

impl SimFile {
    /// Opens the file of that number; `state` is the state of `disk`.
    pub(super) fn new(disk: &SimDisk, state: &mut State, number: u64) -> Self {
        state.inode(number).open_count += 1;
        Self { disk: disk.clone(), number, life: state.life }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        match state.life == self.life {
            true => act(&mut state),
            false => Err(io::Error::other("the handle has not outlived its process")),
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.life == self.life {
            state.inode(self.number).open_count -= 1;
        }
    }
}

impl StoredFile for SimFile {
    fn length_bytes(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.inode(self.number).current().len() as u64))
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.with(|state| {
            let content = state.inode(self.number).current();
            let rest = &content[content.len().min(offset_bytes as usize)..];
            let count = rest.len().min(bytes.len());
            bytes[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state| state.write(self.number, offset_bytes, bytes))
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        self.with(|state| state.allocate(self.number, length_bytes))
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.with(|state| state.set_length(self.number, length_bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| state.sync(self.number))
    }
}

/// An open file of frames.
#[derive(Debug)]
pub(super) struct SimFrames {
    file: SimFile,
    region: Arc<Region>,
}

impl SimFrames {
    /// Opens the file of that number; `state` is the state of `disk`.
    pub(super) fn new(disk: &SimDisk, state: &mut State, number: u64) -> io::Result<Self> {
        let region = state.inode(number).frames()?;
        Ok(Self { file: SimFile::new(disk, state, number), region })
    }
}

impl StoredFile for SimFrames {
    fn length_bytes(&self) -> io::Result<u64> {
        self.file.length_bytes()
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset_bytes, bytes)
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset_bytes, bytes)
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        self.file.allocate(length_bytes)
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.file.set_length(length_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl FrameFile for SimFrames {
    fn words(&self, offset_bytes: u64, word_count: usize) -> &[u64] {
        self.region.words(offset_bytes, word_count)
    }

    fn forget(&self, _offset_bytes: u64, _length_bytes: u64) {}
}

/// Holds a folder of a simulated disk until it is dropped, or its process dies.
#[derive(Debug)]
pub(super) struct SimLock {
    pub(super) disk: SimDisk,
    pub(super) folder: PathBuf,
    pub(super) number: u64,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.folder) == Some(&self.number) {
            state.locks.remove(&self.folder);
        }
    }
}
