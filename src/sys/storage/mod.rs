//! Storage: files and folders that must survive a crash, behind one trait, so that the same code runs on a disk and on
//! a simulated one that tears, loses and refuses writes.
//!
//! The contract is that of POSIX at its weakest: what was written is there after a crash only if the file was synced
//! since, a name only if its folder was; before that any part of it may be there, in any order.
//!
//! # Invariants
//!
//! 1. A file is written by explicit calls only; nothing is stored through a map.
//! 2. A view of words is never written to while it is held: frames that are referred to are not overwritten.

mod disk;
mod read_only;
mod sim;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use disk::Disk;
pub use read_only::ReadOnly;
pub use sim::{FailedSync, Fault, Faults, SimDisk};

/// Files and folders.
pub trait Storage: Send + Sync + Debug {
    /// Makes the folder and those above it; one that is there stays as it is. `private`: readable by its owner alone.
    fn create_folder(&self, path: &Path, private: bool) -> io::Result<()>;
    /// Makes a new file for reading and writing; `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens a file of frames, to be viewed as words; made if `create` says so.
    fn open_frames(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FrameFile>>;
    /// The length of the file of that name; `None` if there is none.
    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>>;
    /// The names in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Renames a file within one folder, replacing what has the name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file; `AlreadyExists` if the name is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Takes the folder for this process until the lock is dropped; `None` if another has it. By its inode, so that a
    /// link to it leads to the same lock.
    fn lock_folder(&self, path: &Path) -> io::Result<Option<FolderLock>>;
    /// Which process has a folder's lock, if anybody can tell; nobody is kept from the lock by asking. `written_pid` is
    /// what the last owner wrote down.
    fn lock_holder(&self, path: &Path, written_pid: Option<u32>) -> Option<u32> {
        let _ = (path, written_pid);
        None
    }
    /// Bytes that are free where `path` lies; `None` if nobody can tell.
    fn free_bytes(&self, path: &Path) -> Option<u64>;

    /// The whole of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let mut bytes = vec![0; file.length_bytes()? as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(filled as u64, &mut bytes[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// Makes a folder, durably: with the names of all that lead to it, also of those that are there already, for a process may
/// have died between making and syncing them. An error comes with the folder that it is about.
pub fn make_folder(
    storage: &dyn Storage,
    folder: &Path,
    private: bool,
) -> Result<(), (PathBuf, io::Error)> {
    storage.create_folder(folder, private).map_err(|error| (folder.to_owned(), error))?;
    for parent in folder.ancestors().skip(1) {
        match storage.sync_folder(parent) {
            // A folder of others, or a file system that cannot be written to: none of it is new.
            Err(error) if is_foreign(&error) => {}
            synced => synced.map_err(|error| (parent.to_owned(), error))?,
        }
    }
    Ok(())
}

fn is_foreign(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem)
}

/// An open file.
pub trait StoredFile: Send + Sync + Debug {
    /// Its length.
    fn length_bytes(&self) -> io::Result<u64>;
    /// Reads at most `bytes.len()` bytes; 0 at the end.
    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes`, growing the file if need be.
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the file at least `length_bytes` long, with room on the disk for all of it; `StorageFull` if there is none.
    fn allocate(&self, length_bytes: u64) -> io::Result<()>;
    /// Makes the file `length_bytes` long.
    fn set_length(&self, length_bytes: u64) -> io::Result<()>;
    /// Makes what was written durable, and the length.
    fn sync(&self) -> io::Result<()>;
}

/// A file of frames: written by calls, read as words through a map.
pub trait FrameFile: StoredFile {
    /// `word_count` words from `offset_bytes` on, little endian, which must lie within the file and be aligned to 8 bytes.
    ///
    /// # Panics
    ///
    /// If they do not.
    fn words(&self, offset_bytes: u64, word_count: usize) -> &[u64];
    /// Tells the kernel that these bytes will be read soon: it may begin to fetch them.
    fn prefetch(&self, _offset_bytes: u64, _length_bytes: u64) {}
    /// Tells the kernel that these bytes will not be read again soon.
    fn forget(&self, offset_bytes: u64, length_bytes: u64);
}

/// Holds a folder until it is dropped.
#[derive(Debug)]
pub struct FolderLock(#[allow(dead_code)] Box<dyn Debug + Send + Sync>);

impl FolderLock {
    /// A lock that `guard` lets go of when it is dropped.
    pub fn new(guard: impl Send + Sync + Debug + 'static) -> Self {
        Self(Box::new(guard))
    }
}
