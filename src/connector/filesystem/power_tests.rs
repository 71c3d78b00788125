//! Storages for tests: one in memory that loses power, and one that refuses everything from its n-th operation on.
//!
//! [`Memory`] keeps beside what a process sees what is durable. A loss of power keeps what was synced and any part of the
//! rest: of the names in a folder any subset of the changes (a rename whole or not at all), of a file its synced bytes, its
//! bytes now, a prefix of them, or zeros in the place of what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::sys::random::Random;
use crate::sys::storage::{FolderLock, FrameFile, Storage, StoredFile};

#[derive(Debug, Default)]
struct Bytes {
    now: Vec<u8>,
    synced: Vec<u8>,
}

type Inode = Arc<Mutex<Bytes>>;

/// A change of names that its folder has not made durable.
#[derive(Debug)]
enum Change {
    Add(PathBuf, Inode),
    Rename(PathBuf, PathBuf, Inode),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<PathBuf, Inode>,
    synced: BTreeMap<PathBuf, Inode>,
    changes: Vec<Change>,
    folders: BTreeSet<PathBuf>,
    folders_synced: BTreeSet<PathBuf>,
}

/// Files in memory.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Mutex<Names>>);

impl Memory {
    /// Empty, but for the folder `/`.
    pub(super) fn new() -> Self {
        let names = Names {
            folders: [PathBuf::from("/")].into(),
            folders_synced: [PathBuf::from("/")].into(),
            ..Names::default()
        };
        Self(Arc::new(Mutex::new(names)))
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap()
    }

    /// Loses what was not durable, or part of it.
    pub(super) fn lose_power(&self, dice: &mut Random) {
        let mut names = self.names();
        for change in std::mem::take(&mut names.changes) {
            if dice.below(2) == 0 {
                names.synced.apply(change);
            }
        }
        let lost: Vec<PathBuf> = names.folders.difference(&names.folders_synced).cloned().collect();
        for folder in lost {
            if dice.below(2) == 0 {
                names.folders.retain(|path| !path.starts_with(&folder));
                names.synced.retain(|path, _| !path.starts_with(&folder));
            }
        }
        names.folders_synced = names.folders.clone();
        names.now = names.synced.clone();
        for inode in names.now.values() {
            inode.lock().unwrap().lose(dice);
        }
    }
}

impl Bytes {
    fn lose(&mut self, dice: &mut Random) {
        if self.now == self.synced {
            return;
        }
        match dice.below(4) {
            0 => self.now = self.synced.clone(),
            1 => {}
            2 => {
                let kept = self.synced.len().min(self.now.len());
                let length = kept as u64 + dice.below((self.now.len() - kept) as u64 + 1);
                self.now.truncate(length as usize);
            }
            _ => {
                let kept = self.synced.len().min(self.now.len());
                self.now[kept..].fill(0);
            }
        }
        self.synced = self.now.clone();
    }
}

trait Apply {
    fn apply(&mut self, change: Change);
}

impl Apply for BTreeMap<PathBuf, Inode> {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Add(path, inode) => drop(self.insert(path, inode)),
            Change::Rename(from, to, inode) => {
                self.remove(&from);
                self.insert(to, inode);
            }
            Change::Remove(path) => drop(self.remove(&path)),
        }
    }
}

impl Change {
    fn folder(&self) -> Option<&Path> {
        let (Change::Add(path, _) | Change::Rename(path, _, _) | Change::Remove(path)) = self;
        path.parent()
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Storage for Memory {
    fn create_folder(&self, path: &Path, _: bool) -> io::Result<()> {
        let folders: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        self.names().folders.extend(folders);
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let mut names = self.names();
        if names.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        assert!(names.folders.contains(path.parent().unwrap()), "{path:?}: no folder");
        let inode = Inode::default();
        names.now.insert(path.to_owned(), inode.clone());
        names.changes.push(Change::Add(path.to_owned(), inode.clone()));
        Ok(Arc::new(MemoryFile(inode)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let inode = self.names().now.get(path).cloned().ok_or_else(not_found)?;
        Ok(Arc::new(MemoryFile(inode)))
    }

    fn open_frames(&self, _: &Path, _: bool) -> io::Result<Arc<dyn FrameFile>> {
        unreachable!("sinks have no frames")
    }

    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.names().now.get(path).map(|inode| inode.lock().unwrap().now.len() as u64))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = self.names();
        if !names.folders.contains(folder) {
            return Err(not_found());
        }
        let inside = names.now.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unreachable!("sinks replace nothing")
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = self.names();
        if names.now.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = names.now.remove(from).ok_or_else(not_found)?;
        names.now.insert(to.to_owned(), inode.clone());
        names.changes.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names();
        names.now.remove(path).ok_or_else(not_found)?;
        names.changes.push(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut names = self.names();
        let changes = std::mem::take(&mut names.changes);
        let (synced, left) = changes.into_iter().partition(|change| change.folder() == Some(path));
        names.changes = left;
        let synced: Vec<Change> = synced;
        synced.into_iter().for_each(|change| names.synced.apply(change));
        let inside: Vec<PathBuf> =
            names.folders.iter().filter(|folder| folder.parent() == Some(path)).cloned().collect();
        names.folders_synced.extend(inside);
        Ok(())
    }

    fn lock_folder(&self, _: &Path) -> io::Result<Option<FolderLock>> {
        unreachable!("sinks lock no folders")
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        None
    }
}

#[derive(Debug)]
struct MemoryFile(Inode);

impl StoredFile for MemoryFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let inode = self.0.lock().unwrap();
        let rest = &inode.now[(offset_bytes as usize).min(inode.now.len())..];
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inode = self.0.lock().unwrap();
        let (start, end) = (offset_bytes as usize, offset_bytes as usize + bytes.len());
        let length = inode.now.len().max(end);
        inode.now.resize(length, 0);
        inode.now[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.0.lock().unwrap().now.resize(length_bytes as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inode = self.0.lock().unwrap();
        inode.synced = inode.now.clone();
        Ok(())
    }
}

/// Refuses everything from its n-th operation on, as a process does that has died there. The write that it refuses
/// is half done.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    inner: Arc<dyn Storage>,
    left: Arc<AtomicI64>,
}

impl Failing {
    pub(super) fn after(inner: Arc<dyn Storage>, operations: i64) -> Self {
        Self { inner, left: Arc::new(AtomicI64::new(operations)) }
    }

    /// Takes one operation; also those that no storage sees (the job's manifest).
    pub(super) fn take(&self) -> io::Result<()> {
        take(&self.left)
    }

    fn file(&self, file: Arc<dyn StoredFile>) -> Arc<dyn StoredFile> {
        Arc::new(FailingFile { inner: file, left: self.left.clone() })
    }
}

fn take(left: &AtomicI64) -> io::Result<()> {
    match left.fetch_sub(1, Ordering::Relaxed) {
        1.. => Ok(()),
        _ => Err(died()),
    }
}

fn died() -> io::Error {
    io::Error::other("died")
}

impl Storage for Failing {
    fn create_folder(&self, path: &Path, private: bool) -> io::Result<()> {
        self.take().and_then(|()| self.inner.create_folder(path, private))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.take()?;
        Ok(self.file(self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.take()?;
        Ok(self.file(self.inner.open(path)?))
    }

    fn open_frames(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FrameFile>> {
        self.inner.open_frames(path, create)
    }

    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        self.take().and_then(|()| self.inner.length_bytes(path))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.take().and_then(|()| self.inner.list(folder))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.take().and_then(|()| self.inner.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.take().and_then(|()| self.inner.rename_new(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.take().and_then(|()| self.inner.remove(path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.take().and_then(|()| self.inner.sync_folder(path))
    }

    fn lock_folder(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        self.inner.lock_folder(path)
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        self.inner.free_bytes(path)
    }
}

#[derive(Debug)]
struct FailingFile {
    inner: Arc<dyn StoredFile>,
    left: Arc<AtomicI64>,
}

impl StoredFile for FailingFile {
    fn length_bytes(&self) -> io::Result<u64> {
        take(&self.left).and_then(|()| self.inner.length_bytes())
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        take(&self.left).and_then(|()| self.inner.read_at(offset_bytes, bytes))
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1.. => return self.inner.write_at(offset_bytes, bytes),
            0 => self.inner.write_at(offset_bytes, &bytes[..bytes.len() / 2])?,
            _ => {}
        }
        Err(died())
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        take(&self.left).and_then(|()| self.inner.allocate(length_bytes))
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        take(&self.left).and_then(|()| self.inner.set_length(length_bytes))
    }

    fn sync(&self) -> io::Result<()> {
        take(&self.left).and_then(|()| self.inner.sync())
    }
}
