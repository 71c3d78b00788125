//! The machine's disk for those who only look: nothing is written, and files are read by calls alone.
//!
//! # Invariants
//!
//! 1. What would change anything is refused; files are opened for reading.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, FolderLock, FrameFile, Storage, StoredFile};

/// The machine's disk, to be looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly;

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Storage for ReadOnly {
    fn create_folder(&self, _: &Path, _: bool) -> io::Result<()> {
        refused()
    }

    fn create(&self, _: &Path) -> io::Result<Arc<dyn StoredFile>> {
        refused()
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(ReadFile(File::open(path)?)))
    }

    fn open_frames(&self, _: &Path, _: bool) -> io::Result<Arc<dyn FrameFile>> {
        refused()
    }

    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        Disk.length_bytes(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Disk.list(folder)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn lock_folder(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        Disk.lock_folder(path)
    }

    fn lock_holder(&self, path: &Path, written_pid: Option<u32>) -> Option<u32> {
        Disk.lock_holder(path, written_pid)
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        Disk.free_bytes(path)
    }
}

/// A plain file.
#[derive(Debug)]
struct ReadFile(File);

impl StoredFile for ReadFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(bytes, offset_bytes)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn set_length(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }
}
