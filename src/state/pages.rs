//! A page space: extents of 64-bit words, by number; one operator's state on one shard.
//!
//! Without a file a space is anonymous memory. With one ([`super::Frames`]) it is durable: a page at rest lies in its
//! frames and is read through the file's map; a page that is written gets a buffer in memory; a barrier *seals* the space, which
//! hands the buffers written since the last one over to a writer and takes no longer for more state.
//!
//! ```text
//!              words, words_mut                       seal                       acknowledge
//!   frames ───────────────────────▶ buffer, epoch E ───────▶ writer: new frames ─────────────▶ frames
//!            (read through the map)     ╰─ written again before the writer is done: copied first
//! ```
//!
//! Buffers are kept as long as there is room in the budget; beyond it ([`room`]) a clean one is dropped, and one with changes is
//! first written, its changed lines alone where they are few; the next seal hands over where.
//!
//! A frame that turns out to be damaged unwinds the shard ([`super::unwind`]).
//!
//! # Invariants
//!
//! 1. A page number names one extent until it is freed; freed numbers are used again.
//! 2. `words_mut` is the only way to change a page's words.
//! 3. A page whose epoch is the space's has a buffer which nobody else has been given to read: the list of the dirty holds
//!    on to it, and is handed over when the epoch ends. An older buffer is written to only if nobody else holds it.
//! 4. `Hot::words` is null, or points at the page's words: in its buffer, or in the file's map at a frame that stays allocated until
//!    this space itself frees it ([`Pages::acknowledge`]). It may be null though there is a buffer: see [`room`].
//! 5. Nothing is evicted while a page's words are lent: eviction takes `&mut self`.

mod lent;
mod room;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::buffer::{Access, Buffer, Changes, PAGE_LINES, keep_changes, mark};
use super::entries::{Entries, Entry, Hot};
use super::frames::{Frames, NOWHERE, Run};
use super::places::{LEAF_PLACES, PageTable, Place};
use super::unwind::fail;
use super::writer::materialise;

/// Words in an ordinary page: 16 KiB.
pub const PAGE_WORDS: usize = 2048;

/// The number of a page.
pub type PageId = u32;

/// How many freed buffers are kept for the next table, 16 MiB of them.
const SPARE_BUFFERS_MAX: usize = 1024;
/// Leaves of the page table that one call takes in, after the space was opened.
const LEAVES_A_CALL: usize = 8;
/// Acknowledged pages that one call takes in, so that no chunk waits for all of them.
const ACKNOWLEDGED_PAGES: usize = 4096;

/// An operator's pages on one shard.
#[derive(Debug)]
pub struct Pages {
    /// What every access needs, by page.
    hot: Vec<Hot>,
    /// The rest.
    entries: Entries,
    free: RefCell<Vec<PageId>>,
    spare: Vec<Arc<Buffer>>,
    epoch: u32,
    word_count: Cell<usize>,
    durable: Option<Durable>,
    /// Whether what the operator keeps in it may be saved.
    is_saved: bool,
}

// SAFETY: the pointer of a page points into memory that the space holds on to itself (invariant 4), so that the two move together.
unsafe impl Send for Pages {}

/// What makes a space durable.
#[derive(Debug)]
struct Durable {
    frames: Arc<Frames>,
    acks: Arc<Acks>,
    /// Where the pages lay when the space was opened, and up to which leaf that has been taken in.
    table: PageTable,
    next_leaf: usize,
    /// Acknowledgements that are being taken in.
    taking: Option<Ack>,
    budget_words: usize,
    resident_words: Cell<usize>,
    /// The newest epoch whose acknowledgement has been taken in.
    acked: u32,
    dirty: Vec<Option<Dirty>>,
    freed: Vec<PageId>,
    /// How many deltas of this epoch that were written to make room are in use in each of their frames.
    deltas: HashMap<u32, u32>,
    /// Words in buffers that the writer holds on to though the pages have newer ones.
    lent_words: usize,
    /// Where the search for something to evict goes on.
    hand: usize,
    /// With more than this in memory something is evicted: the budget, or, while nothing can go, more.
    evict_above_words: usize,
}

/// A page that has changed.
#[derive(Debug)]
pub(super) struct Dirty {
    pub(super) page: PageId,
    /// Where it was written whole in this epoch to make room; what has changed since is `latest`.
    pub(super) base: Option<Place>,
    pub(super) latest: Latest,
}

/// Where a page's changes are.
#[derive(Debug)]
pub(super) enum Latest {
    /// In its buffer.
    Buffer(Arc<Buffer>),
    /// In a delta that has been written to make room.
    Delta { frame: u32, at: u32 },
    /// In the base.
    Base,
}

/// A space as it was at a barrier.
#[derive(Debug)]
pub struct Sealed {
    /// Which epoch of the space ended.
    pub(super) epoch: u32,
    /// What the operator itself keeps between barriers: its header.
    pub(super) header: Vec<u64>,
    /// How many page numbers there are.
    pub(super) page_count: u32,
    /// Those that were freed after all are `None`.
    pub(super) dirty: Vec<Option<Dirty>>,
    pub(super) freed: Vec<PageId>,
}

/// What a space is told about an epoch that has become durable.
#[derive(Debug, Default)]
pub(super) struct Ack {
    pub(super) epoch: u32,
    /// Where pages lie now, the last first: one that was moved lies where the later entry says.
    pub(super) places: Vec<(PageId, Place)>,
    /// Frames that nothing durable refers to any more.
    pub(super) released: Vec<Run>,
}

/// Acknowledgements on their way from the writer to a space.
#[derive(Debug, Default)]
pub struct Acks(Mutex<Vec<Ack>>);

impl Acks {
    pub(super) fn push(&self, ack: Ack) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
    }

    /// The oldest that has not been taken.
    fn take(&self) -> Option<Ack> {
        let mut acks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!acks.is_empty()).then(|| acks.remove(0))
    }
}

impl Default for Pages {
    /// A space in memory alone, of which what lies outside may be saved, and loaded while it lives.
    fn default() -> Self {
        Self {
            hot: Vec::new(),
            entries: Entries::default(),
            free: RefCell::default(),
            spare: Vec::new(),
            epoch: 1,
            word_count: Cell::new(0),
            durable: None,
            is_saved: true,
        }
    }
}

impl Pages {
    /// A space in memory alone that is never saved: nothing is kept in it that only loading needs.
    pub fn transient() -> Self {
        Self { is_saved: false, ..Self::default() }
    }

    /// Whether what lies in it may be saved.
    #[inline]
    pub(super) fn is_saved(&self) -> bool {
        self.is_saved
    }

    /// A durable space at epoch `epoch`, whose pages lie where `table` says, holding at most about `budget_bytes` in memory.
    pub(super) fn durable(
        frames: Arc<Frames>,
        acks: Arc<Acks>,
        epoch: u32,
        table: PageTable,
        budget_bytes: usize,
    ) -> Self {
        let (hot, entries) =
            (Hot::unknown(table.page_count()), Entries::unknown(table.page_count()));
        let durable = Durable {
            frames,
            acks,
            table,
            next_leaf: 0,
            taking: None,
            budget_words: budget_bytes / 8,
            resident_words: Cell::new(0),
            acked: epoch - 1,
            dirty: Vec::new(),
            freed: Vec::new(),
            deltas: HashMap::new(),
            lent_words: 0,
            hand: 0,
            evict_above_words: budget_bytes / 8,
        };
        Self { epoch, hot, entries, durable: Some(durable), ..Self::default() }
    }

    /// A zeroed page of [`PAGE_WORDS`] words.
    pub fn alloc(&mut self) -> PageId {
        self.alloc_extent(PAGE_WORDS)
    }

    /// A zeroed page of `word_count` words; more than [`PAGE_WORDS`] for one object larger than an ordinary page.
    pub fn alloc_extent(&mut self, word_count: usize) -> PageId {
        self.alloc_for(Access::Random, word_count)
    }

    /// The same, to be accessed like this.
    pub(super) fn alloc_for(&mut self, access: Access, word_count: usize) -> PageId {
        self.make_room();
        let buffer = match self.spare.pop() {
            Some(mut buffer) if word_count == PAGE_WORDS => {
                Arc::get_mut(&mut buffer).expect("spare buffers are nobody's").clear();
                buffer
            }
            other => {
                self.spare.extend(other);
                Arc::new(Buffer::zeroed(word_count, access))
            }
        };
        self.word_count.set(self.word_count.get() + word_count);
        let page = self.free_number();
        self.hot[page as usize] = Hot::at_rest(word_count as u32);
        self.entries[page as usize] = Entry { born: self.epoch, ..Entry::at_rest(Place::NONE) };
        self.install(page, buffer);
        page
    }

    /// A number that is free.
    fn free_number(&mut self) -> PageId {
        if self.free.get_mut().is_empty() {
            // One more leaf at most, for nobody should wait for all.
            self.take_in_leaves(1);
        }
        if let Some(page) = self.free.get_mut().pop() {
            return page;
        }
        if self.entries.is_end_unknown() {
            self.read_leaf(self.entries.len() / LEAF_PLACES);
            return self.free_number();
        }
        self.hot.push(Hot::at_rest(0));
        self.entries.push();
        (self.entries.len() - 1) as PageId
    }

    /// Frees a page.
    pub fn free(&mut self, page: PageId) {
        self.meet(page);
        let (hot, entry) = (&mut self.hot[page as usize], &mut self.entries[page as usize]);
        self.word_count.set(self.word_count.get() - hot.word_count.get() as usize);
        let buffer = entry.buffer.take();
        if let Some(durable) = &mut self.durable {
            durable.forget_dirty(entry, self.epoch);
            if entry.born != self.epoch {
                durable.freed.push(page);
            }
            if let Some(buffer) = &buffer {
                durable.resident(-i64::from(hot.word_count.get()));
                if Arc::strong_count(buffer) > 1 {
                    durable.lent_words += hot.word_count.get() as usize;
                }
            }
        }
        let is_page = hot.word_count.get() as usize == PAGE_WORDS;
        *hot = Hot::at_rest(0);
        *entry = Entry::at_rest(Place::NONE);
        if let Some(mut buffer) = buffer
            && is_page
            && self.spare.len() < SPARE_BUFFERS_MAX
            && Arc::get_mut(&mut buffer).is_some()
        {
            self.spare.push(buffer);
        }
        self.free.get_mut().push(page);
    }

    /// A page's words.
    #[inline]
    pub fn get(&self, page: PageId) -> &[u64] {
        let hot = &self.hot[page as usize];
        if hot.words.get().is_null() {
            self.load(page);
        }
        // SAFETY: invariant 4; nobody writes there while `self` is borrowed (invariants 3 and 5).
        unsafe { std::slice::from_raw_parts(hot.words.get(), hot.word_count.get() as usize) }
    }

    /// A page's words if they need not be read first.
    #[inline]
    pub(super) fn peek(&self, page: PageId) -> Option<&[u64]> {
        (!self.hot[page as usize].words.get().is_null()).then(|| self.get(page))
    }

    /// `count` words of a page from `start` on, to change.
    ///
    /// # Panics
    ///
    /// If the page has fewer.
    #[inline]
    pub fn words_mut(&mut self, page: PageId, start: usize, count: usize) -> &mut [u64] {
        if self.hot[page as usize].epoch != self.epoch {
            self.make_writable(page);
        }
        // SAFETY: there was such a page above, and `hot` never gets shorter.
        let hot = unsafe { self.hot.get_unchecked(page as usize) };
        let (words, word_count) = (hot.words.get(), hot.word_count.get() as usize);
        assert!(start + count <= word_count);
        // In memory nobody asks what has changed, and the notes would be more memory to touch.
        if self.durable.is_some() {
            // SAFETY: invariant 3: the words are in a buffer that is ours alone, which has its change bytes behind them.
            unsafe { mark(words.add(word_count).cast(), start, count) };
        }
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(words.add(start), count) }
    }

    /// One word of a page, to change.
    #[inline]
    pub fn word_mut(&mut self, page: PageId, at: usize) -> &mut u64 {
        &mut self.words_mut(page, at, 1)[0]
    }

    /// All words of a page, to change.
    pub fn get_mut(&mut self, page: PageId) -> &mut [u64] {
        self.meet(page);
        let word_count = self.hot[page as usize].word_count.get() as usize;
        self.words_mut(page, 0, word_count)
    }

    /// Whether it is saved, and gives way to others.
    pub fn is_durable(&self) -> bool {
        self.durable.is_some()
    }

    /// Bytes in pages that are in use, wherever they are; those that have not been met since the space was opened are not counted yet.
    pub fn state_bytes(&self) -> usize {
        self.word_count.get() * 8
    }

    /// Ends the epoch: what has changed since the last call, and the operator's `header`, are handed over for a snapshot. Takes
    /// no longer for more state.
    ///
    /// # Panics
    ///
    /// If the space is not durable.
    pub fn seal(&mut self, header: Vec<u64>) -> Sealed {
        let durable = self.durable.as_mut().expect("only durable spaces are sealed");
        let sealed = Sealed {
            epoch: self.epoch,
            header,
            page_count: self.entries.len() as u32,
            dirty: std::mem::take(&mut durable.dirty),
            freed: std::mem::take(&mut durable.freed),
        };
        // They are the ledger's to count now.
        durable.deltas.clear();
        self.epoch += 1;
        sealed
    }

    /// Takes in what has become durable: a bounded piece, to be called now and then.
    pub fn acknowledge(&mut self) {
        // Leaves first: what has become durable may give back the frames that they lie in.
        if self.take_in_leaves(LEAVES_A_CALL) {
            return;
        }
        self.make_room();
        let Some(durable) = &mut self.durable else { return };
        let Some(mut ack) = durable.taking.take().or_else(|| durable.acks.take()) else { return };
        let rest = ack.places.len().saturating_sub(ACKNOWLEDGED_PAGES);
        for (page, place) in ack.places.drain(rest..).rev() {
            let (hot, entry) = (&self.hot[page as usize], &mut self.entries[page as usize]);
            // Freed, and perhaps made anew, since; or written whole to other frames since.
            if hot.word_count.get() == 0 || entry.born > ack.epoch || entry.based > ack.epoch {
                continue;
            }
            if entry.spilled && entry.dirty > ack.epoch {
                // Its delta is newer, and as good for a base that has moved: it has all lines in which either differs.
                let Place { delta_frame, delta_at, .. } = entry.place;
                entry.place = Place { delta_frame, delta_at, ..place };
                continue;
            }
            entry.place = place;
            if entry.buffer.get_mut().is_none() {
                // It may have been moved.
                hot.words.set(std::ptr::null_mut());
            }
        }
        if !ack.places.is_empty() {
            durable.taking = Some(ack);
            return;
        }
        durable.acked = ack.epoch;
        durable.lent_words = 0;
        durable.evict_above_words = durable.budget_words;
        for run in ack.released {
            durable.frames.forget(run);
            durable.frames.free(run);
        }
    }

    /// Sees to it that the page's entry is known.
    fn meet(&self, page: PageId) {
        let leaf = page as usize / LEAF_PLACES;
        if !self.entries.is_known(leaf) {
            self.read_leaf(leaf);
        }
    }

    /// Reads the next leaves that have not been read; whether there were any.
    fn take_in_leaves(&mut self, count: usize) -> bool {
        let Some(durable) = &self.durable else { return false };
        let (first, end) = (durable.next_leaf, durable.table.leaf_count());
        let last = (first + count).min(end);
        (first..last)
            .filter(|&leaf| !self.entries.is_known(leaf))
            .for_each(|leaf| self.read_leaf(leaf));
        self.durable.as_mut().expect("looked at above").next_leaf = last;
        first < end
    }

    /// Finds out where the pages of a leaf of the page table lie, and which numbers in it are free.
    #[cold]
    #[inline(never)]
    fn read_leaf(&self, leaf: usize) {
        let durable = self.durable.as_ref().expect("in memory every page is known");
        let places = durable.table.places(&durable.frames, leaf);
        let mut page = leaf * LEAF_PLACES;
        let places = places.unwrap_or_else(|error| fail(error)).inspect(|place| {
            if place.frame == NOWHERE {
                self.free.borrow_mut().push(page as PageId);
            }
            self.word_count.set(self.word_count.get() + place.word_count as usize);
            self.hot[page].word_count.set(place.word_count);
            page += 1;
        });
        self.entries.learn(leaf, places);
    }

    /// Gives `page` a buffer that holds its words, as one of this epoch's dirty.
    fn install(&mut self, page: PageId, buffer: Arc<Buffer>) {
        let (hot, entry) = (&mut self.hot[page as usize], &mut self.entries[page as usize]);
        hot.words.set(buffer.pointer());
        hot.epoch = self.epoch;
        if let Some(durable) = &mut self.durable {
            durable.note_dirty(entry, page, Arc::clone(&buffer), self.epoch);
            durable.resident(i64::from(hot.word_count.get()));
        }
        *entry.buffer.get_mut() = Some(buffer);
    }

    /// Makes a page's words writable in this epoch.
    #[cold]
    #[inline(never)]
    fn make_writable(&mut self, page: PageId) {
        self.make_room();
        self.meet(page);
        let (hot, entry) = (&mut self.hot[page as usize], &mut self.entries[page as usize]);
        assert!(hot.word_count.get() > 0, "page {page} is free");
        let durable = self.durable.as_mut().expect("in memory there is one epoch");
        let Some(mut buffer) = entry.buffer.get_mut().take() else {
            let buffer = durable.copy(hot, entry);
            self.install(page, buffer);
            return;
        };
        if entry.dirty == self.epoch && !entry.spilled {
            hot.words.set(buffer.pointer());
            hot.epoch = self.epoch;
            *entry.buffer.get_mut() = Some(buffer);
            return;
        }
        durable.resident(-i64::from(hot.word_count.get()));
        if !entry.spilled {
            entry.handed = entry.dirty;
        }
        if Arc::get_mut(&mut buffer).is_none() {
            // The writer is reading it still.
            durable.lent_words += hot.word_count.get() as usize;
            buffer = Arc::new(Buffer::copy(buffer.words(), buffer.changes()));
        }
        let own = Arc::get_mut(&mut buffer).expect("nobody else has it, or it is a copy");
        keep_changes(own.changes_mut());
        self.install(page, buffer);
    }

    /// Reads a page that is at rest.
    #[cold]
    #[inline(never)]
    fn load(&self, page: PageId) {
        self.meet(page);
        let (hot, entry) = (&self.hot[page as usize], &self.entries[page as usize]);
        assert!(hot.word_count.get() > 0, "page {page} is free");
        if let Some(buffer) = &*entry.buffer.borrow() {
            hot.words.set(buffer.pointer());
            return;
        }
        let durable = self.durable.as_ref().expect("in memory every page has its words");
        if entry.place.delta_frame == NOWHERE {
            hot.words.set(durable.base(entry).as_ptr().cast_mut());
            return;
        }
        let buffer = durable.copy(hot, entry);
        hot.words.set(buffer.pointer());
        durable.resident(i64::from(hot.word_count.get()));
        *entry.buffer.borrow_mut() = Some(buffer);
    }
}

impl Durable {
    fn resident(&self, change_words: i64) {
        let words = self.resident_words.get() as i64 + change_words;
        self.resident_words.set(usize::try_from(words).expect("what leaves has come"));
    }

    /// The words of a page without changes behind them.
    fn base(&self, entry: &Entry) -> &[u64] {
        let Place { frame, word_count, checksum, .. } = entry.place;
        let words = self.frames.checked("a page", frame, word_count as usize, checksum);
        words.unwrap_or_else(|error| fail(error))
    }

    /// A page's words in a buffer, with the lines that have changed since it was last written whole.
    fn copy(&self, hot: &Hot, entry: &Entry) -> Arc<Buffer> {
        let no_changes: Changes = [0; PAGE_LINES];
        if entry.place.delta_frame == NOWHERE {
            let words = hot.words.get();
            if words.is_null() {
                return Arc::new(Buffer::copy(self.base(entry), &no_changes));
            }
            // SAFETY: invariant 4: a page without a buffer that has been read is viewed in the file's map.
            let words = unsafe { std::slice::from_raw_parts(words, hot.word_count.get() as usize) };
            return Arc::new(Buffer::copy(words, &no_changes));
        }
        let mut buffer = Buffer::copy(self.base(entry), &no_changes);
        let (words, changes) = buffer.parts_mut();
        materialise(&self.frames, &entry.place, words, changes).unwrap_or_else(|error| fail(error));
        Arc::new(buffer)
    }

    fn note_dirty(&mut self, entry: &mut Entry, page: PageId, buffer: Arc<Buffer>, epoch: u32) {
        let latest = Latest::Buffer(buffer);
        if entry.dirty == epoch {
            // What was written to make room will be written again, and nothing refers to it; a base stays one.
            let dirty = self.dirty[entry.dirty_at as usize].as_mut();
            let dirty = dirty.expect("a page that has changed in this epoch");
            let spilled = std::mem::replace(&mut dirty.latest, latest);
            self.drop_delta(&spilled);
        } else {
            (entry.dirty, entry.dirty_at) = (epoch, self.dirty.len() as u32);
            self.dirty.push(Some(Dirty { page, base: None, latest }));
        }
        entry.spilled = false;
    }

    /// Takes a page that is freed off this epoch's dirty.
    fn forget_dirty(&mut self, entry: &Entry, epoch: u32) {
        if entry.dirty != epoch {
            return;
        }
        let dirty = self.dirty[entry.dirty_at as usize].take();
        let Dirty { base, latest, .. } = dirty.expect("a page that has changed in this epoch");
        self.drop_delta(&latest);
        base.iter().for_each(|base| self.frames.free(base.run()));
    }

    /// Counts a delta of this epoch as unused.
    fn drop_delta(&mut self, latest: &Latest) {
        let &Latest::Delta { frame, .. } = latest else { return };
        let count = self.deltas.get_mut(&frame).expect("counted when it was written");
        *count -= 1;
        if *count == 0 {
            self.deltas.remove(&frame);
            self.frames.free(Run { frame, count: 1 });
        }
    }
}
