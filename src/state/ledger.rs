//! The page table of a space on disk, and how a sealed epoch is written.
//!
//! The table is copied on write, a leaf at a time: a commit writes the pages that changed, the leaves that say where they are, and
//! a root. Nothing that an older root refers to is touched.
//!
//! # Layout
//!
//! All words are little endian. A *place* says where a page lies:
//!
//! ```text
//! place:   frame u32, word count u32 │ checksum of the page's words │ delta frame u32, word in it u32       frame ffffffff: free
//! leaf:    682 places, of consecutive page numbers, those behind the last page free; one frame
//! root:    magic │ version, epoch u32 │ schema hash │ pages, header words u32 │ header … │ leaf: frame u32, 0 │ checksum │ leaf …
//! ```
//!
//! A page of which few lines have changed since it was last written whole is not written whole again: its changed lines are, as a
//! *delta* ([`super::writer`]).
//!
//! # Invariants
//!
//! 1. Frames are freed in the order: manifest durable, space told (which stops viewing them), free.
//! 2. A table is read before anything is written, and all that retained manifests refer to is marked then.
//! 3. An epoch that failed half-way leaves the table unusable; the job ends, and recovery goes back to the last manifest.

use std::collections::{HashMap, VecDeque};
use std::iter::repeat;
use std::sync::Arc;

use super::buffer::PAGE_LINES;
use super::frames::{Frames, NOWHERE, Run, frames_of, written_by_another};
use super::pages::{Ack, Acks, Dirty, Latest, PAGE_WORDS, PageId, Sealed};
use super::places::{LEAF_PLACES, PLACE_WORDS, PageTable, Place};
use super::root::{NoRoot, RootParts};
use super::writer::{Log, Writer, materialise};
use crate::crash_point;
use crate::error::StateError;
use crate::planted;

/// Pages that a commit moves at most, to let the file shrink.
const MOVED_PAGES_MAX: usize = 1024;

/// What a manifest says of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Root {
    /// The first frame of its root.
    pub frame: u32,
    /// The root's length.
    pub word_count: u32,
    /// The root's checksum.
    pub checksum: u64,
}

/// An epoch that has been written, and is durable once the file is synced.
#[derive(Debug)]
pub struct Written {
    /// What the manifest should say.
    pub root: Root,
    /// Bytes written for it.
    pub byte_count: u64,
    ack: Ack,
}

/// Asks whether to try again when the disk is full.
pub type Room<'a> = &'a mut dyn FnMut(&StateError) -> bool;

/// A page table.
#[derive(Debug)]
pub struct Ledger {
    frames: Arc<Frames>,
    acks: Arc<Acks>,
    schema_hash: u64,
    /// The table, if it has not been read yet.
    unread: Option<PageTable>,
    places: Vec<Place>,
    leaves: Vec<Leaf>,
    root: Option<Run>,
    /// How many deltas in each frame of them are in use.
    deltas: HashMap<u32, u32>,
    /// Frames that the epoch being written does without.
    dropped: Vec<Run>,
    /// The same of earlier epochs, until no retained manifest needs them.
    superseded: VecDeque<(u32, Vec<Run>)>,
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    frame: u32,
    checksum: u64,
    dirty: bool,
}

impl Ledger {
    /// The table of an empty space in `frames`; `schema_hash` says what its words mean.
    pub fn new(frames: Arc<Frames>, schema_hash: u64) -> Self {
        Self {
            frames,
            acks: Arc::default(),
            schema_hash,
            unread: None,
            places: Vec::new(),
            leaves: Vec::new(),
            root: None,
            deltas: HashMap::new(),
            dropped: Vec::new(),
            superseded: VecDeque::new(),
        }
    }

    /// Reads the root of a table, and returns the ledger, where the pages are, and the operator's header. The table itself is read
    /// later ([`Ledger::read_table`]), so that opening takes no longer for more state.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`], or [`StateError::Foreign`] if the words mean something else.
    pub(super) fn open(
        frames: Arc<Frames>,
        schema_hash: u64,
        root: &Root,
    ) -> Result<(Self, PageTable, Vec<u64>), StateError> {
        let mut ledger = Self::new(Arc::clone(&frames), schema_hash);
        let words = frames.checked(
            "a page table's root",
            root.frame,
            root.word_count as usize,
            root.checksum,
        )?;
        let foreign = |reason| {
            let path = frames.path().display().to_string();
            StateError::Foreign { path, reason }
        };
        let parts = RootParts::parse(words).map_err(|error| match error {
            NoRoot::OtherVersion(version) => foreign(written_by_another(version)),
            NoRoot::Damaged(reason) => {
                frames.damaged(root.frame, "a page table's root", reason.into())
            }
        })?;
        if parts.schema_hash != schema_hash {
            let reason = "the operator's state has another layout than this build gives it";
            return Err(foreign(reason.into()));
        }
        ledger.root = Some(Run { frame: root.frame, count: frames_of(words.len()) });
        let leaf =
            |&[frame, checksum]: &[u64; 2]| Leaf { frame: frame as u32, checksum, dirty: false };
        ledger.leaves.extend(parts.leaves.iter().map(leaf));
        let table = || PageTable::new(parts.page_count, parts.leaves);
        ledger.unread = Some(table());
        Ok((ledger, table(), parts.header.to_vec()))
    }

    /// Reads the whole table, once, and marks its frames as used; to be done before anything is written.
    ///
    /// # Errors
    ///
    /// [`StateError::Damaged`]; the table is not to be used after that.
    pub fn read_table(&mut self) -> Result<(), StateError> {
        let Some(table) = self.unread.take() else { return Ok(()) };
        self.places.reserve(table.page_count());
        let frames = Arc::clone(&self.frames);
        for leaf in 0..table.leaf_count() {
            for place in table.places(&frames, leaf)? {
                self.places.push(place);
                if place.frame != NOWHERE {
                    self.mark(&place)?;
                }
            }
        }
        self.leaves.iter().try_for_each(|leaf| self.frames.mark(single(leaf.frame)))?;
        self.root.iter().try_for_each(|&root| self.frames.mark(root))
    }

    fn mark(&mut self, place: &Place) -> Result<(), StateError> {
        self.frames.mark(place.run())?;
        if place.delta_frame != NOWHERE {
            self.frames.mark(single(place.delta_frame))?;
            *self.deltas.entry(place.delta_frame).or_default() += 1;
        }
        Ok(())
    }

    /// Where pages lie, by number.
    #[cfg(test)]
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The way that acknowledgements go.
    pub(super) fn acks(&self) -> Arc<Acks> {
        Arc::clone(&self.acks)
    }

    /// The file it writes to.
    pub fn frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    /// Reads the table, if that has not been done, and checks every page.
    ///
    /// # Errors
    ///
    /// The first damage.
    pub fn verify(&mut self) -> Result<u64, StateError> {
        self.read_table()?;
        let mut page_count = 0;
        for place in self.places.iter().filter(|place| place.frame != NOWHERE) {
            self.page(place)?;
            page_count += 1;
        }
        Ok(page_count)
    }

    fn page(&self, place: &Place) -> Result<Vec<u64>, StateError> {
        let count = place.word_count as usize;
        let mut words = self.frames.checked("a page", place.frame, count, place.checksum)?.to_vec();
        if place.delta_frame != NOWHERE {
            materialise(&self.frames, place, &mut words, &mut [0; PAGE_LINES])?;
        }
        Ok(words)
    }

    /// Writes what a space has sealed. Nothing is synced.
    ///
    /// # Errors
    ///
    /// What the storage says; the table is not to be used after that.
    pub fn write(&mut self, sealed: Sealed, room: Room<'_>) -> Result<Written, StateError> {
        assert!(self.unread.is_none(), "invariant 2");
        let mut writer = Writer::new(Arc::clone(&self.frames), room);
        if self.places.len() < sealed.page_count as usize
            && let Some(leaf) = self.leaves.last_mut()
        {
            // It may end in pages that were made and freed in this epoch, which nobody notes.
            leaf.dirty = true;
        }
        self.places.resize(sealed.page_count as usize, Place::NONE);
        let leaf = Leaf { frame: NOWHERE, checksum: 0, dirty: true };
        self.leaves.resize(self.places.len().div_ceil(LEAF_PLACES), leaf);
        for &page in &sealed.freed {
            self.set(page, Place::NONE);
        }
        crash_point!("commit-before-pages");
        let mut places = self.write_pages(&mut writer, sealed.dirty)?;
        self.move_tail(&mut writer, &mut places)?;
        crash_point!("commit-after-pages");
        self.write_leaves(&mut writer)?;
        crash_point!("commit-after-leaves");
        let root = self.write_root(&mut writer, sealed.epoch, &sealed.header)?;
        writer.flush()?;
        crash_point!("commit-after-root");
        if planted!("state-reuse-early") {
            self.dropped.drain(..).for_each(|run| self.frames.free(run));
        }
        self.superseded.push_back((sealed.epoch, std::mem::take(&mut self.dropped)));
        places.reverse();
        let ack = Ack { epoch: sealed.epoch, places, released: Vec::new() };
        Ok(Written { root, byte_count: writer.byte_count(), ack })
    }

    /// The manifest of `written` is durable, and `oldest_epoch` is the oldest that is retained: tells the space.
    pub fn commit(&mut self, written: Written, oldest_epoch: u32) {
        let mut ack = written.ack;
        while self.superseded.front().is_some_and(|(epoch, _)| *epoch <= oldest_epoch) {
            ack.released.extend(self.superseded.pop_front().expect("looked at above").1);
        }
        self.acks.push(ack);
    }

    /// Frames that an older manifest, which is retained too, needs besides: they become free when `epoch` is the oldest retained. To be
    /// called with the newest first, and before anything is written.
    pub fn supersede(&mut self, epoch: u32, runs: Vec<Run>) {
        self.superseded.push_front((epoch, runs));
    }

    /// All frames that the table behind `root` refers to; they are marked as used.
    ///
    /// # Errors
    ///
    /// As for opening it.
    pub fn runs_behind(
        frames: &Arc<Frames>,
        schema_hash: u64,
        root: &Root,
    ) -> Result<Vec<Run>, StateError> {
        let (mut ledger, ..) = Self::open(Arc::clone(frames), schema_hash, root)?;
        ledger.read_table()?;
        Ok(ledger.runs())
    }

    /// All frames that the table refers to, which has been read.
    pub fn runs(&self) -> Vec<Run> {
        let pages = self.places.iter().filter(|place| place.frame != NOWHERE).map(Place::run);
        let leaves = self.leaves.iter().map(|leaf| single(leaf.frame));
        let deltas = self.deltas.keys().map(|&frame| single(frame));
        pages.chain(leaves).chain(deltas).chain(self.root).collect()
    }

    /// Notes where a page lies now, and what that leaves without a use.
    fn set(&mut self, page: PageId, place: Place) {
        let old = std::mem::replace(&mut self.places[page as usize], place);
        self.leaves[page as usize / LEAF_PLACES].dirty = true;
        if old.frame != NOWHERE && old.frame != place.frame {
            self.dropped.push(old.run());
        }
        if place.delta_frame != NOWHERE {
            *self.deltas.entry(place.delta_frame).or_default() += 1;
        }
        if old.delta_frame != NOWHERE {
            let count = self.deltas.get_mut(&old.delta_frame).expect("counted when it was noted");
            *count -= 1;
            if *count == 0 {
                self.deltas.remove(&old.delta_frame);
                self.dropped.push(Run { frame: old.delta_frame, count: 1 });
            }
        }
    }

    fn write_pages(
        &mut self,
        writer: &mut Writer<'_>,
        dirty: Vec<Option<Dirty>>,
    ) -> Result<Vec<(PageId, Place)>, StateError> {
        let mut places = Vec::with_capacity(dirty.len());
        let mut log = Log::default();
        for Dirty { page, base, latest } in dirty.into_iter().flatten() {
            if let Some(base) = base {
                self.set(page, base);
            }
            // Not what the space took for its base: the page may have been moved since. A delta has all lines that differ from either.
            let base = self.places[page as usize];
            let place = match latest {
                Latest::Base => base,
                Latest::Delta { frame, at } => {
                    assert!(base.frame != NOWHERE, "a delta has a base");
                    Place { delta_frame: frame, delta_at: at, ..base }
                }
                Latest::Buffer(buffer) if buffer.has_few_changes() => {
                    assert!(base.frame != NOWHERE, "a page without a base counts as changed");
                    let (delta_frame, delta_at) = log.append(writer, page, &buffer)?;
                    Place { delta_frame, delta_at, ..base }
                }
                Latest::Buffer(buffer) => writer.place(buffer.words())?,
            };
            self.set(page, place);
            places.push((page, place));
        }
        log.flush(writer)?;
        Ok(places)
    }

    /// Moves pages out of the file's tail where most of the file is free, so that it can shrink.
    fn move_tail(
        &mut self,
        writer: &mut Writer<'_>,
        places: &mut Vec<(PageId, Place)>,
    ) -> Result<(), StateError> {
        let Some(tail) = self.frames.tail() else { return Ok(()) };
        let is_far = |frame: u32| frame != NOWHERE && frame >= tail;
        let far = self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| is_far(place.frame) || is_far(place.delta_frame));
        let moved: Vec<PageId> =
            far.map(|(page, _)| page as PageId).take(MOVED_PAGES_MAX).collect();
        // What was written in this epoch is still staged.
        writer.flush()?;
        for page in moved {
            let words = self.page(&self.places[page as usize])?;
            let place = writer.place(&words)?;
            crash_point!("compaction-moved");
            self.set(page, place);
            places.push((page, place));
        }
        for leaf in self.leaves.iter_mut().filter(|leaf| is_far(leaf.frame)) {
            leaf.dirty = true;
        }
        Ok(())
    }

    fn write_leaves(&mut self, writer: &mut Writer<'_>) -> Result<(), StateError> {
        for (index, leaf) in self.leaves.iter_mut().enumerate().filter(|(_, leaf)| leaf.dirty) {
            let mut words = vec![0; PAGE_WORDS];
            // Numbers that are given out later and never used do not make the leaf dirty: they are free from now on.
            let places = self.places[index * LEAF_PLACES..].iter().chain(repeat(&Place::NONE));
            for (room, place) in words.as_chunks_mut::<PLACE_WORDS>().0.iter_mut().zip(places) {
                *room = place.words();
            }
            let place = writer.place(&words)?;
            if leaf.frame != NOWHERE {
                self.dropped.push(Run { frame: leaf.frame, count: 1 });
            }
            *leaf = Leaf { frame: place.frame, checksum: place.checksum, dirty: false };
        }
        Ok(())
    }

    fn write_root(
        &mut self,
        writer: &mut Writer<'_>,
        epoch: u32,
        header: &[u64],
    ) -> Result<Root, StateError> {
        let leaves: Vec<[u64; 2]> =
            self.leaves.iter().map(|leaf| [u64::from(leaf.frame), leaf.checksum]).collect();
        let page_count = self.places.len();
        let (schema_hash, leaves) = (self.schema_hash, &leaves[..]);
        let words = RootParts { epoch, schema_hash, page_count, header, leaves }.words();
        let place = writer.place(&words)?;
        self.dropped.extend(self.root.replace(place.run()));
        let root =
            Root { frame: place.frame, word_count: place.word_count, checksum: place.checksum };
        Ok(root)
    }
}

fn single(frame: u32) -> Run {
    Run { frame, count: 1 }
}
