//! A shard's file of frames, and which of them are free. Shared by the shard's page spaces and the writer of snapshots.
//!
//! ```text
//! frame 0                       frame 1    frame 2
//! │ magic │ version │ zeros …   │ words …  │ words …        16 KiB each, little endian
//! ```
//!
//! What a frame holds only the page table says that refers to it; the file has no order of its own. Which frames are
//! free is not stored: it follows from the page tables of the retained manifests (a thousandth of the state). They are read behind
//! the job's back after it has started: until the file is *settled* all its frames count as used, and none is handed out.
//!
//! # Invariants
//!
//! 1. A frame is written only while it is allocated and no durable manifest refers to it.
//! 2. A frame is freed only when no retained manifest refers to it and no page space views it any more.
//! 3. Frames beyond the file's end do not exist: the file is preallocated before they are handed out.
//! 4. Nothing is allocated before it is known what is free.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pages::PAGE_WORDS;
use crate::crash_point;
use crate::error::StateError;
use crate::planted;
use crate::sys::checksum::xxh64;
use crate::sys::storage::{FrameFile, Storage};

/// Bytes in a frame.
pub const FRAME_BYTES: u64 = PAGE_WORDS as u64 * 8;
/// No frame.
pub(super) const NOWHERE: u32 = u32::MAX;
/// `tidemill` as little-endian bytes, and the version of all formats in this folder.
pub(super) const MAGIC: [u64; 2] = [u64::from_le_bytes(*b"tidemill"), 1];
/// The version of a file whose head is `words`, if another version of this program wrote it.
pub(super) fn other_version(words: &[u64]) -> Option<u64> {
    (words[0] == MAGIC[0] && words[1] != MAGIC[1]).then_some(words[1])
}

/// What to say of a layout that is not ours.
pub(super) fn written_by_another(version: u64) -> String {
    format!(
        "it was written by another version of tidemill (layout {version}); go on with that one, or start over with `--fresh`"
    )
}

/// The file grows by at least so many frames (4 MiB), or by an eighth.
const GROWTH_FRAMES_MIN: u32 = 256;
/// Frames that are read ahead at a time (4 MiB).
const WARMED_FRAMES: u32 = 256;
/// A smaller file is not worth shrinking (16 MiB).
const SHRINK_FRAMES_MIN: u32 = 1024;

/// Consecutive frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub frame: u32,
    /// How many.
    pub count: u32,
}

impl Run {
    /// Each of them.
    pub fn frames(self) -> std::ops::Range<u32> {
        self.frame..self.frame + self.count
    }
}

/// A file of frames.
#[derive(Debug)]
pub struct Frames {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    file: Arc<dyn FrameFile>,
    free: Mutex<FreeMap>,
    /// The whole file has been read ahead.
    warm: AtomicBool,
}

/// Which frames are in use.
#[derive(Debug, Default)]
struct FreeMap {
    /// A bit a frame; set: in use.
    used: Vec<u64>,
    frame_count: u32,
    used_count: u32,
    /// Where to look first.
    cursor: u32,
    /// What page tables refer to, as far as they have been read; none: the file is settled.
    found: Option<Vec<u64>>,
}

fn bytes(frames: u32) -> u64 {
    u64::from(frames) * FRAME_BYTES
}

/// The frames that `word_count` words take.
pub(super) fn frames_of(word_count: usize) -> u32 {
    word_count.div_ceil(PAGE_WORDS) as u32
}

/// The checksum of a page, a leaf or a root.
pub(super) fn checksum(words: &[u64]) -> u64 {
    xxh64(bytemuck::cast_slice(words))
}

impl Frames {
    /// Makes a new file, empty.
    ///
    /// # Errors
    ///
    /// What the storage says.
    pub fn create(storage: &Arc<dyn Storage>, path: &Path) -> Result<Arc<Self>, StateError> {
        let file = storage.open_frames(path, true).map_err(|error| StateError::io(path, error))?;
        file.set_length(0).map_err(|error| StateError::io(path, error))?;
        let frames = Self {
            path: path.to_owned(),
            storage: Arc::clone(storage),
            file,
            free: Mutex::new(FreeMap::default()),
            warm: AtomicBool::new(true),
        };
        let first = frames.allocate(1)?;
        assert_eq!(first.frame, 0, "a new file's first frame");
        frames.write(0, &MAGIC)?;
        Ok(Arc::new(frames))
    }

    /// Opens a file; all its frames count as used until it is settled.
    ///
    /// # Errors
    ///
    /// What the storage says; a file of something else.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path) -> Result<Arc<Self>, StateError> {
        let failed = |error| StateError::io(path, error);
        let file = storage.open_frames(path, false).map_err(failed)?;
        let length_bytes = file.length_bytes().map_err(failed)?;
        let frame_count = (length_bytes / FRAME_BYTES) as u32;
        if let Some(version) = (frame_count > 0).then(|| other_version(file.words(0, 2))).flatten()
        {
            let path = path.display().to_string();
            return Err(StateError::Foreign { path, reason: written_by_another(version) });
        }
        if frame_count == 0 || file.words(0, 2) != MAGIC {
            return Err(StateError::Damaged {
                path: path.display().to_string(),
                what: "the file's head".into(),
                offset_bytes: 0,
                reason: "it is no state file".into(),
            });
        }
        let free = FreeMap {
            used: vec![u64::MAX; frame_count.div_ceil(64) as usize],
            frame_count,
            used_count: frame_count,
            cursor: 0,
            found: Some(vec![0; frame_count.div_ceil(64) as usize]),
        };
        let frames = Self {
            path: path.to_owned(),
            storage: Arc::clone(storage),
            file,
            free: Mutex::new(free),
            warm: AtomicBool::new(false),
        };
        frames.mark(Run { frame: 0, count: 1 })?;
        Ok(Arc::new(frames))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's length.
    pub fn length_bytes(&self) -> u64 {
        u64::from(self.lock().frame_count) * FRAME_BYTES
    }

    /// Bytes of frames in use, snapshots' included.
    pub fn used_bytes(&self) -> u64 {
        u64::from(self.lock().used_count) * FRAME_BYTES
    }

    fn lock(&self) -> MutexGuard<'_, FreeMap> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All page tables that frames are kept for have been read: what they do not refer to is free.
    pub fn settle(&self) {
        self.lock().settle();
    }

    /// Whether it is known which frames are free.
    pub(super) fn is_settled(&self) -> bool {
        self.lock().found.is_none()
    }

    /// Notes that a page table refers to these frames; those marked already stay so.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`] if they lie beyond the file's end.
    pub(super) fn mark(&self, run: Run) -> Result<(), StateError> {
        let mut free = self.lock();
        if u64::from(run.frame) + u64::from(run.count) > u64::from(free.frame_count) {
            return Err(self.damaged(run.frame, "a frame", "it lies beyond the file's end".into()));
        }
        let found = free.found.as_mut().expect("page tables are read before the file is settled");
        run.frames().for_each(|frame| found[frame as usize / 64] |= 1 << (frame % 64));
        Ok(())
    }

    /// Takes free frames, growing the file if there are not enough.
    ///
    /// # Panics
    ///
    /// If the file is not settled.
    ///
    /// # Errors
    ///
    /// [`StateError::Full`] if the disk is, else what the storage says.
    pub(super) fn allocate(&self, count: u32) -> Result<Run, StateError> {
        let mut free = self.lock();
        assert!(free.found.is_none(), "invariant 4");
        if let Some(run) = free.find(count) {
            return Ok(run);
        }
        let grown = free.frame_count + count.max(GROWTH_FRAMES_MIN).max(free.frame_count / 8);
        crash_point!("growth-before");
        self.grow(grown)?;
        crash_point!("growth-after");
        free.frame_count = grown;
        free.used.resize(grown.div_ceil(64) as usize, 0);
        Ok(free.find(count).expect("the file has just grown by more than that"))
    }

    fn grow(&self, frame_count: u32) -> Result<(), StateError> {
        let length_bytes = u64::from(frame_count) * FRAME_BYTES;
        self.file.allocate(length_bytes).map_err(|error| self.refused(error, length_bytes))
    }

    /// An error of the storage, with the room there is if there was none.
    fn refused(&self, error: std::io::Error, length_bytes: u64) -> StateError {
        if error.kind() != std::io::ErrorKind::StorageFull {
            return StateError::io(&self.path, error);
        }
        let held_bytes = self.file.length_bytes().unwrap_or(0);
        StateError::Full {
            path: self.path.display().to_string(),
            requested_bytes: length_bytes.saturating_sub(held_bytes),
            available_bytes: self.storage.free_bytes(&self.path).unwrap_or(0),
        }
    }

    /// Gives frames back; see invariant 2.
    pub(super) fn free(&self, run: Run) {
        if planted!("state-forget-free") {
            return;
        }
        let mut free = self.lock();
        (run.frame..run.frame + run.count).for_each(|frame| free.release(frame));
    }

    /// Cuts free frames off the end where most of the file is unused.
    ///
    /// # Errors
    ///
    /// What the storage says.
    pub fn shrink(&self) -> Result<(), StateError> {
        let mut free = self.lock();
        let end = free.end().max(SHRINK_FRAMES_MIN / 2);
        let kept = end + end / 8;
        if free.frame_count < SHRINK_FRAMES_MIN || kept > free.frame_count / 2 {
            return Ok(());
        }
        crash_point!("shrink-before");
        let length_bytes = u64::from(kept) * FRAME_BYTES;
        self.file.set_length(length_bytes).map_err(|error| StateError::io(&self.path, error))?;
        crash_point!("shrink-after");
        free.frame_count = kept;
        free.used.truncate(kept.div_ceil(64) as usize);
        free.cursor = 0;
        Ok(())
    }

    /// Whether frames should be moved towards the file's beginning, and from where on.
    pub(super) fn tail(&self) -> Option<u32> {
        let free = self.lock();
        let sparse =
            free.frame_count >= SHRINK_FRAMES_MIN && free.used_count < free.frame_count / 4;
        sparse.then_some((free.used_count * 2).max(SHRINK_FRAMES_MIN / 2))
    }

    /// Writes words from the beginning of `frame` on; frames of its own allocation, see invariant 1.
    ///
    /// # Errors
    ///
    /// What the storage says.
    pub(super) fn write(&self, frame: u32, words: &[u64]) -> Result<(), StateError> {
        let offset_bytes = u64::from(frame) * FRAME_BYTES;
        let written = self.file.write_at(offset_bytes, bytemuck::cast_slice(words));
        written.map_err(|error| self.refused(error, offset_bytes))
    }

    /// The words of a frame and those behind it, unchecked.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`] if they lie beyond the file's end.
    pub(super) fn words(&self, frame: u32, word_count: usize) -> Result<&[u64], StateError> {
        let end = u64::from(frame) + u64::from(frames_of(word_count));
        if frame == NOWHERE || end > u64::from(self.lock().frame_count) {
            return Err(self.damaged(frame, "a frame", "it lies beyond the file's end".into()));
        }
        Ok(self.file.words(u64::from(frame) * FRAME_BYTES, word_count))
    }

    /// The same, checked.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`] if the words are not those that were written.
    pub(super) fn checked(
        &self,
        what: &str,
        frame: u32,
        word_count: usize,
        expected: u64,
    ) -> Result<&[u64], StateError> {
        self.prefetch(Run { frame, count: frames_of(word_count) });
        let words = self.words(frame, word_count)?;
        let found = checksum(words);
        if found == expected || planted!("state-skip-checksum") {
            return Ok(words);
        }
        let reason = format!("its checksum is {found:016x}, not {expected:016x}");
        Err(self.damaged(frame, what, reason))
    }

    /// Tells the kernel that frames will be read next, so that it fetches them whole and several at once.
    pub(super) fn prefetch(&self, run: Run) {
        if !self.warm.load(Ordering::Relaxed) {
            self.file.prefetch(bytes(run.frame), bytes(run.count));
        }
    }

    /// Pages leave memory for want of room: what has been read ahead once need not be there any more.
    pub(super) fn cool(&self) {
        self.warm.store(false, Ordering::Relaxed);
    }

    /// Reads ahead a piece of the file, from a frame on; where the next piece begins, or `None` behind the last. In order, the disk
    /// is many times faster than at random.
    pub fn warm(&self, from: u32) -> Option<u32> {
        let end = self.lock().frame_count;
        let next = from.saturating_add(WARMED_FRAMES).min(end);
        if from >= end {
            self.warm.store(true, Ordering::Relaxed);
            return None;
        }
        // To map it too would take the address space's lock, which a shard that grows its memory may need.
        self.file.prefetch(bytes(from), bytes(next - from));
        Some(next)
    }

    /// Tells the kernel that a frame will not be read soon.
    pub(super) fn forget(&self, run: Run) {
        self.file.forget(bytes(run.frame), bytes(run.count));
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    ///
    /// What the storage says.
    pub fn sync(&self) -> Result<(), StateError> {
        if planted!("state-skip-sync") {
            return Ok(());
        }
        self.file.sync().map_err(|error| StateError::io(&self.path, error))
    }

    /// An error about the frame `frame`.
    pub(super) fn damaged(&self, frame: u32, what: &str, reason: String) -> StateError {
        StateError::Damaged {
            path: self.path.display().to_string(),
            what: what.to_owned(),
            offset_bytes: u64::from(frame) * FRAME_BYTES,
            reason,
        }
    }
}

impl FreeMap {
    fn settle(&mut self) {
        let Some(found) = self.found.take() else { return };
        self.used = found;
        self.used_count = self.used.iter().map(|word| word.count_ones()).sum();
    }

    fn is_used(&self, frame: u32) -> bool {
        self.used[frame as usize / 64] >> (frame % 64) & 1 == 1
    }

    fn take(&mut self, frame: u32) {
        self.used_count += u32::from(!self.is_used(frame));
        self.used[frame as usize / 64] |= 1 << (frame % 64);
    }

    fn release(&mut self, frame: u32) {
        assert!(frame != 0, "the file's head is no page's");
        assert!(self.is_used(frame), "frame {frame} is freed twice");
        self.used[frame as usize / 64] &= !(1 << (frame % 64));
        self.used_count -= 1;
        self.cursor = self.cursor.min(frame);
    }

    /// One past the last frame in use.
    fn end(&self) -> u32 {
        let last = self.used.iter().rposition(|&word| word != 0);
        last.map_or(0, |index| (index as u32 + 1) * 64 - self.used[index].leading_zeros())
    }

    /// Takes `count` free frames in a row, the first there are from the cursor on.
    fn find(&mut self, count: u32) -> Option<Run> {
        let mut start = self.cursor;
        let mut frame = start;
        while frame < self.frame_count {
            let word = self.used[frame as usize / 64];
            if frame.is_multiple_of(64) && word == u64::MAX {
                frame += 64;
                start = frame;
                continue;
            }
            if self.is_used(frame) {
                start = frame + 1;
            } else if frame + 1 - start == count {
                (start..=frame).for_each(|frame| self.take(frame));
                if start == self.cursor || count == 1 {
                    self.cursor = frame + 1;
                }
                return Some(Run { frame: start, count });
            }
            frame += 1;
        }
        None
    }
}
