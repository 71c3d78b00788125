//! The machine's disk.
//!
//! # Invariants
//!
//! 1. Address space for a file of frames is reserved once, beyond its end; only bytes within its length are viewed.
//! 2. The mapped file is ours (its folder is locked and private), is never truncated below a frame that is viewed, and its
//!    maps are read-only and shared, so what a view shows changes only by our own writes to frames that nobody views.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{CWD, FallocateFlags, FlockOperation, RenameFlags, fallocate, flock};

use super::{FolderLock, FrameFile, Storage, StoredFile};

/// Address space asked for at first for each file of frames; halved until the kernel agrees.
const RESERVED_BYTES: usize = 1 << 42;
/// With less than this there is no point.
const RESERVED_BYTES_MIN: usize = 1 << 30;

/// The machine's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Storage for Disk {
    fn create_folder(&self, path: &Path, private: bool) -> io::Result<()> {
        let mode = if private { 0o700 } else { 0o777 };
        DirBuilder::new().recursive(true).mode(mode).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(DiskFile(OpenOptions::new().read(true).write(true).open(path)?)))
    }

    fn open_frames(&self, path: &Path, create: bool) -> io::Result<Arc<dyn FrameFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(create).truncate(false).open(path)?;
        Ok(Arc::new(MappedFile::new(file)?))
    }

    fn length_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(folder)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<String>>>()?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // A file system that cannot: names are ours, so looking first is enough.
            Err(Errno::INVAL | Errno::NOSYS) if !to.exists() => std::fs::rename(from, to),
            Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            other => Ok(other?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        File::open(path)?.sync_all()
    }

    fn lock_folder(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        let folder = File::open(path)?;
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(FolderLock::new(folder))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn lock_holder(&self, path: &Path, written_pid: Option<u32>) -> Option<u32> {
        let folder = std::fs::metadata(path).ok()?;
        let (major, minor) = (rustix::fs::major(folder.dev()), rustix::fs::minor(folder.dev()));
        let place = format!("{major:02x}:{minor:02x}:{}", folder.ino());
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        lock_holder(&locks, &place, written_pid)
    }

    fn free_bytes(&self, path: &Path) -> Option<u64> {
        let status = rustix::fs::statvfs(path).ok()?;
        Some(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// The process that has locked the inode at `place`, by the kernel's list (`1: FLOCK ADVISORY WRITE 16754 fe:00:10388120 0 EOF`).
/// Some file systems are numbered otherwise for the kernel; there, whoever wrote down its number is believed if it has a lock.
fn lock_holder(locks: &str, place: &str, written_pid: Option<u32>) -> Option<u32> {
    let parse = |line| {
        let words: Vec<&str> = str::split_whitespace(line).collect();
        let &[_, "FLOCK", _, "WRITE", pid, place, ..] = &words[..] else { return None };
        Some((pid.parse::<u32>().ok()?, place))
    };
    let held: Vec<(u32, &str)> = locks.lines().filter_map(parse).collect();
    let by_place = held.iter().find(|(_, held)| *held == place).map(|(pid, _)| *pid);
    by_place.or(written_pid.filter(|pid| held.iter().any(|(holder, _)| holder == pid)))
}

/// A plain file.
#[derive(Debug)]
struct DiskFile(File);

impl StoredFile for DiskFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(bytes, offset_bytes)
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset_bytes)
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        allocate(&self.0, length_bytes)
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.0.set_len(length_bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn allocate(file: &File, length_bytes: u64) -> io::Result<()> {
    let held = file.metadata()?.len();
    if held >= length_bytes {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), held, length_bytes - held) {
        // A file system without preallocation: a full disk shows at the write.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(length_bytes),
        other => Ok(other?),
    }
}

/// A file of frames.
#[derive(Debug)]
struct MappedFile {
    file: File,
    map: Mmap,
    /// The length when it was last looked at or made: what may be viewed.
    length_bytes: AtomicU64,
}

impl MappedFile {
    fn new(file: File) -> io::Result<Self> {
        let length_bytes = file.metadata()?.len();
        let mut reserved = RESERVED_BYTES;
        let map = loop {
            // SAFETY: invariant 2: nobody but us writes or truncates the file, and we never write where a view is held.
            match unsafe { MmapOptions::new().len(reserved).no_reserve_swap().map(&file) } {
                Ok(map) => break map,
                Err(error)
                    if reserved <= RESERVED_BYTES_MIN || reserved as u64 / 2 <= length_bytes =>
                {
                    return Err(error);
                }
                Err(_) => reserved /= 2,
            }
        };
        // Frames are read one by one; to be told so is a kernel's convenience, not a need.
        let _ = map.advise(Advice::Random);
        Ok(Self { file, map, length_bytes: AtomicU64::new(length_bytes) })
    }
}

impl StoredFile for MappedFile {
    fn length_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset_bytes: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(bytes, offset_bytes)
    }

    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset_bytes)?;
        if !bytes.is_empty() {
            self.length_bytes.fetch_max(offset_bytes + bytes.len() as u64, Ordering::Release);
        }
        Ok(())
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        if length_bytes > self.map.len() as u64 {
            return Err(io::Error::other(
                "the file has outgrown the address space reserved for it",
            ));
        }
        allocate(&self.file, length_bytes)?;
        self.length_bytes.fetch_max(length_bytes, Ordering::Release);
        Ok(())
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.length_bytes.fetch_min(length_bytes, Ordering::AcqRel);
        self.file.set_len(length_bytes)?;
        self.length_bytes.store(length_bytes, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl FrameFile for MappedFile {
    fn words(&self, offset_bytes: u64, word_count: usize) -> &[u64] {
        let end = offset_bytes + word_count as u64 * 8;
        assert!(end <= self.length_bytes.load(Ordering::Acquire), "a view beyond the file's end");
        bytemuck::cast_slice(&self.map[offset_bytes as usize..end as usize])
    }

    fn prefetch(&self, offset_bytes: u64, length_bytes: u64) {
        // A hint, about bytes that are there; a kernel that does not take it is as good.
        if offset_bytes.saturating_add(length_bytes) <= self.length_bytes.load(Ordering::Acquire) {
            let range = (offset_bytes as usize, length_bytes as usize);
            let _ = self.map.advise_range(Advice::WillNeed, range.0, range.1);
        }
    }

    fn forget(&self, offset_bytes: u64, length_bytes: u64) {
        use memmap2::UncheckedAdvice::DontNeed;
        let range = (offset_bytes as usize, length_bytes as usize);
        // SAFETY: the map is shared and read-only: its pages are dropped and read again from the file, none is lost.
        // Should the kernel refuse, they just stay.
        let _ = unsafe { self.map.unchecked_advise_range(DontNeed, range.0, range.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_viewed_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        assert!(Disk.open_frames(&path, false).is_err());
        let file = Disk.open_frames(&path, true).unwrap();
        file.allocate(1 << 16).unwrap();
        file.write_at(4096, &7u64.to_le_bytes()).unwrap();
        assert_eq!(file.words(4096, 2), [7, 0]);
        file.forget(4096, 4096);
        assert_eq!(file.words(4096, 1), [7]);
        // Hints change nothing, beyond the end either.
        for offset in [0, 4096, 1 << 16, u64::MAX] {
            file.prefetch(offset, 8192);
        }
        assert_eq!(file.words(4096, 2), [7, 0]);
        let beyond = || file.words((1 << 16) - 8, 2).len();
        let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(beyond));
        assert!(beyond.is_err(), "nothing beyond the end is viewed");
    }

    #[test]
    fn a_folder_has_one_owner_also_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (own, link) = (folder.path().join("state"), folder.path().join("link"));
        Disk.create_folder(&own, true).unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let lock = Disk.lock_folder(&own).unwrap();
        assert!(lock.is_some() && Disk.lock_folder(&link).unwrap().is_none());
        drop(lock);
        assert!(Disk.lock_folder(&link).unwrap().is_some());
    }

    #[test]
    fn a_locks_holder_is_found_without_taking_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Disk.lock_holder(folder.path(), None), None);
        let lock = Disk.lock_folder(folder.path()).unwrap();
        let own = std::process::id();
        assert_eq!(Disk.lock_holder(folder.path(), Some(own)), Some(own));
        drop(lock);
        let locks = "1: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n2: POSIX  ADVISORY  WRITE 13 fe:00:78 0 EOF\n";
        assert_eq!(lock_holder(locks, "fe:00:77", Some(99)), Some(12));
        assert_eq!(lock_holder(locks, "fe:00:78", Some(12)), Some(12));
        assert_eq!(lock_holder(locks, "fe:00:78", Some(13)), None);
    }

    #[test]
    fn names_are_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name);
        for file in ["a", "b"] {
            Disk.create(&name(file)).unwrap().write_at(0, file.as_bytes()).unwrap();
        }
        let taken = Disk.rename_new(&name("a"), &name("b")).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        Disk.rename_new(&name("a"), &name("c")).unwrap();
        assert_eq!(Disk.list(folder.path()).unwrap(), ["b", "c"]);
        assert_eq!(Disk.read(&name("c")).unwrap(), b"a");
    }
}
