//! A storage in memory for tests, which refuses when told and forgets in a crash what was not synced.
//!
//! # Invariants
//!
//! 1. After [`Flaky::crash`] a file holds, sector by sector, what was synced or what was written since; a name that was
//!    made or removed without a sync of the folder is there or not.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::sys::random::Random;
use crate::sys::storage::{FolderLock, FrameFile, Storage, StoredFile};

/// Bytes that are written or lost together; small, so that small groups are torn.
const SECTOR_BYTES: usize = 16;

/// What refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A write, after half of its bytes.
    Write(ErrorKind),
    Sync(ErrorKind),
    Create(ErrorKind),
}

#[derive(Debug, Default)]
struct Disk {
    names: BTreeMap<PathBuf, Contents>,
    durable_names: BTreeMap<PathBuf, Contents>,
    fault: Option<Fault>,
    syncs_count: u64,
}

#[derive(Clone, Debug, Default)]
struct Contents(Arc<Mutex<Bytes>>);

#[derive(Debug, Default)]
struct Bytes {
    written: Vec<u8>,
    synced: Vec<u8>,
    /// Before this they are the same.
    changed_from: usize,
}

/// The storage; its clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Flaky(Arc<Mutex<Disk>>);

impl Flaky {
    /// From now on this refuses, or (`None`) nothing.
    pub(super) fn refuse(&self, fault: Option<Fault>) {
        self.0.lock().unwrap().fault = fault;
    }

    pub(super) fn syncs_count(&self) -> u64 {
        self.0.lock().unwrap().syncs_count
    }

    /// The machine goes down and comes up again.
    pub(super) fn crash(&self, random: &mut Random) {
        let mut disk = self.0.lock().unwrap();
        let mut names = BTreeMap::new();
        for (path, contents) in disk.names.iter().chain(&disk.durable_names) {
            let is_settled = disk.names.contains_key(path) && disk.durable_names.contains_key(path);
            if is_settled || random.below(2) == 0 {
                names.insert(path.clone(), contents.clone());
            }
        }
        for contents in names.values() {
            let mut bytes = contents.0.lock().unwrap();
            let torn = torn(&bytes, random);
            *bytes = Bytes { changed_from: torn.len(), written: torn.clone(), synced: torn };
        }
        disk.durable_names = names.clone();
        disk.names = names;
    }

    /// The bytes of a file, to be changed behind everyone's back.
    pub(super) fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let contents = self.0.lock().unwrap().names[path].clone();
        let mut bytes = contents.0.lock().unwrap();
        change(&mut bytes.written);
        bytes.changed_from = 0;
        bytes.sync();
    }

    /// A disk with the same files, all durable.
    pub(super) fn copy(&self) -> Self {
        let names = self.0.lock().unwrap().names.clone();
        let copy = |(path, contents): (&PathBuf, &Contents)| {
            let written = contents.0.lock().unwrap().written.clone();
            let bytes = Bytes { changed_from: written.len(), synced: written.clone(), written };
            (path.clone(), Contents(Arc::new(Mutex::new(bytes))))
        };
        let names: BTreeMap<_, _> = names.iter().map(copy).collect();
        let disk = Disk { durable_names: names.clone(), names, ..Disk::default() };
        Self(Arc::new(Mutex::new(disk)))
    }

    fn file(&self, contents: &Contents) -> Arc<dyn StoredFile> {
        Arc::new(FlakyFile { disk: self.clone(), contents: contents.clone() })
    }

    fn refusal(&self, is: impl Fn(Fault) -> Option<ErrorKind>) -> io::Result<()> {
        match self.0.lock().unwrap().fault.and_then(is) {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }
}

impl Bytes {
    fn sync(&mut self) {
        let from = self.changed_from.min(self.written.len()).min(self.synced.len());
        self.synced.truncate(from);
        self.synced.extend_from_slice(&self.written[from..]);
        self.changed_from = self.written.len();
    }
}

/// What a crash may leave of a file.
fn torn(bytes: &Bytes, random: &mut Random) -> Vec<u8> {
    let Bytes { written, synced, .. } = bytes;
    let (short, long) = (written.len().min(synced.len()), written.len().max(synced.len()));
    let length = short + random.below((long - short) as u64 + 1) as usize;
    let mut left = Vec::with_capacity(length);
    while left.len() < length {
        let source = if random.below(2) == 0 { written } else { synced };
        let end = (left.len() + SECTOR_BYTES).min(length);
        left.extend((left.len()..end).map(|at| source.get(at).copied().unwrap_or(0)));
    }
    left
}

impl Storage for Flaky {
    fn create_folder(&self, _: &Path, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        self.refusal(|fault| if let Fault::Create(kind) = fault { Some(kind) } else { None })?;
        let mut disk = self.0.lock().unwrap();
        if disk.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let contents = Contents::default();
        disk.names.insert(path.to_owned(), contents.clone());
        Ok(self.file(&contents))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let disk = self.0.lock().unwrap();
        disk.names.get(path).map(|contents| self.file(contents)).ok_or(ErrorKind::NotFound.into())
    }

    fn open_frames(&self, _: &Path, _: bool) -> io::Result<Arc<dyn FrameFile>> {
        Err(ErrorKind::Unsupported.into())
    }

    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        let disk = self.0.lock().unwrap();
        Ok(disk.names.get(path).map(|contents| contents.0.lock().unwrap().written.len() as u64))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let disk = self.0.lock().unwrap();
        let here = disk.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(here.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().unwrap().names.remove(path);
        removed.map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.durable_names = disk.names.clone();
        Ok(())
    }

    fn lock_folder(&self, _: &Path) -> io::Result<Option<FolderLock>> {
        Ok(None)
    }

    fn free_bytes(&self, _: &Path) -> Option<u64> {
        Some(5)
    }
}

#[derive(Debug)]
struct FlakyFile {
    disk: Flaky,
    contents: Contents,
}

impl FlakyFile {
    fn put(&self, offset_bytes: u64, bytes: &[u8]) {
        let bytes_now = &mut *self.contents.0.lock().unwrap();
        let written = &mut bytes_now.written;
        bytes_now.changed_from = bytes_now.changed_from.min(offset_bytes as usize);
        let (start, end) = (offset_bytes as usize, offset_bytes as usize + bytes.len());
        written.resize(written.len().max(end), 0);
        written[start..end].copy_from_slice(bytes);
    }
}

impl StoredFile for FlakyFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.contents.0.lock().unwrap().written.len() as u64)
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let contents = self.contents.0.lock().unwrap();
        let rest = contents.written.get(offset_bytes as usize..).unwrap_or(&[]);
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let refusal = self.disk.refusal(|fault| match fault {
            Fault::Write(kind) => Some(kind),
            _ => None,
        });
        let count = if refusal.is_err() { bytes.len() / 2 } else { bytes.len() };
        self.put(offset_bytes, &bytes[..count]);
        refusal
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        let bytes = &mut *self.contents.0.lock().unwrap();
        bytes.written.resize(length_bytes as usize, 0);
        bytes.changed_from = bytes.changed_from.min(length_bytes as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.refusal(|fault| if let Fault::Sync(kind) = fault { Some(kind) } else { None })?;
        self.disk.0.lock().unwrap().syncs_count += 1;
        self.contents.0.lock().unwrap().sync();
        Ok(())
    }
}
