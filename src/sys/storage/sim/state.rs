//! All of a simulated disk, behind one lock: folders, inodes, locks, room and faults.
//!
//! # Invariants
//!
//! 1. Every entry that a folder has or may get back by a crash has its inode here, and so has every live handle.
//! 2. A handle is alive while its `life` is the disk's: crash and kill begin a new one.
//! 3. A folder's path has an entry in the folder above it; the root has none.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::faults::{FailedSync, Fault, Injector, Room};
use super::file::{SECTOR_BYTES, SimInode};
use super::folder::{Entry, Folder};
use super::survival::Survival;
use crate::sys::random::Random;

/// A disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<u64, SimInode>,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    /// The folders that are locked, each with its lock's number.
    pub(super) locks: BTreeMap<PathBuf, u64>,
    pub(super) injector: Injector,
    pub(super) capacity_bytes: u64,
    pub(super) life: u64,
    numbers_given: u64,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let roots = ["", "/"].map(|root| (PathBuf::from(root), Folder::default()));
        Self {
            inodes: BTreeMap::new(),
            folders: BTreeMap::from(roots),
            locks: BTreeMap::new(),
            injector: Injector::new(seed),
            capacity_bytes: u64::MAX,
            life: 0,
            numbers_given: 0,
        }
    }

    /// A number for an inode or a lock, never given before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers_given += 1;
        self.numbers_given
    }

    /// Counts an operation; an error if it is to fail.
    pub(super) fn begin(&mut self, room: Room) -> io::Result<()> {
        self.injector.next(room).map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// What has the name.
    pub(super) fn look_up(&self, path: &Path) -> io::Result<Option<Entry>> {
        let path = clean(path);
        if is_root(&path) {
            return Ok(Some(Entry::Folder));
        }
        let (folder, name) = split(&path)?;
        Ok(self.folder(&folder)?.get(&name))
    }

    /// The number of the file of that name.
    pub(super) fn file_number(&self, path: &Path) -> io::Result<u64> {
        match self.look_up(path)? {
            Some(Entry::File(number)) => Ok(number),
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A folder by its clean path.
    pub(super) fn folder(&self, path: &Path) -> io::Result<&Folder> {
        match self.folders.get(path) {
            Some(folder) => Ok(folder),
            None => Err(self.missing_folder(path).into()),
        }
    }

    /// A folder by its clean path.
    pub(super) fn folder_mut(&mut self, path: &Path) -> io::Result<&mut Folder> {
        let missing = self.missing_folder(path);
        self.folders.get_mut(path).ok_or(missing.into())
    }

    /// Why there is no such folder, if there is none.
    fn missing_folder(&self, path: &Path) -> io::ErrorKind {
        let above = path.ancestors().find(|path| self.has_entry(path));
        match above.is_some_and(|above| !self.folders.contains_key(above)) {
            true => io::ErrorKind::NotADirectory,
            false => io::ErrorKind::NotFound,
        }
    }

    fn has_entry(&self, path: &Path) -> bool {
        let parts = split(path).ok();
        parts.is_none_or(|(folder, name)| {
            self.folders.get(&folder).is_some_and(|folder| folder.get(&name).is_some())
        })
    }

    /// Makes a folder and those above it.
    pub(super) fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        match self.look_up(path) {
            Ok(Some(Entry::Folder)) => return Ok(()),
            Ok(Some(Entry::File(_))) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(None) | Err(_) => {}
        }
        let path = clean(path);
        let (above, name) = split(&path)?;
        self.create_folder(&above)?;
        self.begin(Room::Takes)?;
        self.folder_mut(&above)?.create(name, Entry::Folder);
        self.folders.insert(path, Folder::default());
        Ok(())
    }

    /// Makes a file.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<u64> {
        self.begin(Room::Takes)?;
        if self.look_up(path)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = split(&clean(path))?;
        let number = self.number();
        self.inodes.insert(number, SimInode::default());
        self.folder_mut(&folder)?.create(name, Entry::File(number));
        Ok(number)
    }

    /// Renames a file within its folder; `check` sees what has the new name, if that is another one.
    pub(super) fn rename(
        &mut self,
        from: &Path,
        to: &Path,
        check: impl Fn(Option<Entry>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.begin(Room::Leaves)?;
        self.file_number(from)?;
        check(self.look_up(to)?)?;
        let ((folder, from), (other, to)) = (split(&clean(from))?, split(&clean(to))?);
        assert_eq!(folder, other, "files are renamed within one folder");
        if from != to {
            self.folder_mut(&folder)?.rename(from, to);
        }
        Ok(())
    }

    /// Removes a file's name; the file stays while it is open.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.begin(Room::Leaves)?;
        self.file_number(path)?;
        let (folder, name) = split(&clean(path))?;
        self.folder_mut(&folder)?.remove(name);
        Ok(())
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        self.begin(Room::Leaves)?;
        self.folder_mut(&clean(path))?.sync();
        self.sweep();
        Ok(())
    }

    /// The inode of a live handle, or of an entry.
    pub(super) fn inode(&mut self, number: u64) -> &mut SimInode {
        self.inodes.get_mut(&number).expect("invariant 1: what is referred to has its inode")
    }

    /// Writes; an error leaves a part from the start written.
    pub(super) fn write(&mut self, number: u64, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let fault = self.injector.next(Room::Takes);
        let end = offset_bytes + bytes.len() as u64;
        self.inode(number).check_length(end)?;
        let room_end = self.room_end(number);
        let fitting = room_end.saturating_sub(offset_bytes).min(bytes.len() as u64) as usize;
        let is_full = fitting < bytes.len();
        let (count, fault) = match fault {
            Some(fault) => {
                let sectors = self.injector.random.below((fitting / SECTOR_BYTES) as u64 + 1);
                (sectors as usize * SECTOR_BYTES, Some(fault))
            }
            None => (fitting, is_full.then_some(Fault::Full)),
        };
        self.inode(number).write(offset_bytes as usize, &bytes[..count]);
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Makes a file at least so long.
    pub(super) fn allocate(&mut self, number: u64, length_bytes: u64) -> io::Result<()> {
        self.begin(Room::Takes)?;
        self.inode(number).check_length(length_bytes)?;
        let is_held = length_bytes <= self.inode(number).current().len() as u64;
        if !is_held && length_bytes > self.room_end(number) {
            return Err(Fault::Full.into());
        }
        self.inode(number).allocate(length_bytes as usize);
        Ok(())
    }

    /// Makes a file just so long.
    pub(super) fn set_length(&mut self, number: u64, length_bytes: u64) -> io::Result<()> {
        self.begin(Room::Leaves)?;
        self.inode(number).check_length(length_bytes)?;
        self.inode(number).set_length(length_bytes as usize);
        Ok(())
    }

    /// Makes a file durable.
    pub(super) fn sync(&mut self, number: u64) -> io::Result<()> {
        let Some(fault) = self.injector.next(Room::Leaves) else {
            self.inode(number).sync();
            return Ok(());
        };
        let survival = match self.injector.faults.failed_sync {
            FailedSync::Keeps => return Err(fault.into()),
            FailedSync::Drops => Survival::Nothing,
            FailedSync::Partly => Survival::Mixed,
        };
        let mut random = Random::new(self.injector.random.next_u64());
        self.inode(number).lose_unsynced(survival, &mut random);
        Err(fault.into())
    }

    /// Up to where the file could be written with the room that is left.
    fn room_end(&mut self, number: u64) -> u64 {
        let allocated_bytes = self.inode(number).allocated_bytes;
        allocated_bytes.saturating_add(self.free_bytes())
    }

    /// Bytes that are free; what crashes may bring back takes no room.
    pub(super) fn free_bytes(&self) -> u64 {
        if self.capacity_bytes == u64::MAX {
            return u64::MAX;
        }
        let named =
            numbers(self.folders.values().flat_map(|folder| folder.names().values().copied()));
        let held = self
            .inodes
            .iter()
            .filter(|(number, inode)| inode.open_count > 0 || named.contains(number));
        let held_bytes: u64 = held.map(|(_, inode)| inode.allocated_bytes).sum();
        self.capacity_bytes.saturating_sub(held_bytes)
    }

    /// Forgets the inodes that nothing refers to.
    fn sweep(&mut self) {
        let kept = numbers(self.folders.values().flat_map(Folder::entries));
        self.inodes.retain(|number, inode| inode.open_count > 0 || kept.contains(number));
    }

    /// Loss of power.
    pub(super) fn crash(&mut self, random: &mut Random) {
        let survival = Survival::draw(random);
        // Folders above come first: one whose own name is lost is lost with all that is in it.
        for (path, mut folder) in std::mem::take(&mut self.folders) {
            if self.has_entry(&path) {
                folder.crash(survival, random);
                self.folders.insert(path, folder);
            }
        }
        self.kill();
        for inode in self.inodes.values_mut() {
            inode.crash(survival, random);
        }
    }

    /// The process dies, the machine lives on.
    pub(super) fn kill(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.inodes.values_mut().for_each(SimInode::let_handles_die);
        self.sweep();
    }

    /// Brings everything to the medium.
    pub(super) fn settle(&mut self) {
        self.folders.values_mut().for_each(Folder::sync);
        self.inodes.values_mut().for_each(SimInode::sync);
        self.sweep();
    }
}

fn numbers(entries: impl Iterator<Item = Entry>) -> BTreeSet<u64> {
    let number = |entry| match entry {
        Entry::File(number) => Some(number),
        Entry::Folder => None,
    };
    entries.filter_map(number).collect()
}

/// The path without its detours.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    clean
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

/// A clean path's folder and name; the root has none.
fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), name.to_string_lossy().into_owned())),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}
