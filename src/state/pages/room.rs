//! Keeping the budget: what leaves memory when there is no room, and what is fetched ahead of its use.
//!
//! The hand of a clock goes round the pages that have buffers. At its first visit a page loses the pointer to its words, which
//! costs nothing while a page is in use: the next access finds the buffer and sets it again. A page that the hand finds
//! without is not needed, and leaves. So an access pays nothing for being noted, and what is needed often stays.
//!
//! # Invariants
//!
//! 1. Only a page whose base its space knows is written as a delta: a snapshot that has the buffer in hand may write it whole.

use std::sync::Arc;

use super::super::writer::{Log, Writer};
use super::*;
use crate::crash_point;
use crate::error::StateError;
use crate::planted;

impl Pages {
    /// Whether there is more of it than may be held in memory.
    pub fn is_crowded(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| self.word_count.get() > durable.budget_words)
    }

    /// How many bytes may be held in memory.
    pub fn budget_bytes(&self) -> usize {
        self.durable.as_ref().map_or(usize::MAX, |durable| durable.budget_words * 8)
    }

    /// Bytes in buffers.
    #[cfg(test)]
    pub(in super::super) fn resident_bytes(&self) -> usize {
        self.durable.as_ref().map_or(0, |durable| durable.resident_words.get() * 8)
    }

    /// These pages will be read next: has the disk fetch them, all at a time, as far as they have no buffers.
    pub(in super::super) fn prefetch(&self, pages: impl IntoIterator<Item = PageId>) {
        let Some(durable) = &self.durable else { return };
        let pages: Vec<PageId> = pages.into_iter().collect();
        let leaf = |page: PageId| page as usize / LEAF_PLACES;
        for &page in pages.iter().filter(|&&page| !self.entries.is_known(leaf(page))) {
            durable.table.prefetch(&durable.frames, leaf(page));
        }
        let mut runs = Vec::with_capacity(pages.len());
        for page in pages {
            self.meet(page);
            let Entry { place, buffer, .. } = &self.entries[page as usize];
            if place.frame == NOWHERE || buffer.borrow().is_some() {
                continue;
            }
            runs.push(place.run());
            if place.delta_frame != NOWHERE {
                runs.push(Run { frame: place.delta_frame, count: 1 });
            }
        }
        runs.sort_unstable_by_key(|run| run.frame);
        runs.dedup();
        for joined in runs.chunk_by(|one, next| one.frame + one.count == next.frame) {
            let count = joined.iter().map(|run| run.count).sum();
            durable.frames.prefetch(Run { frame: joined[0].frame, count });
        }
    }

    /// Evicts if there is more in memory than the budget. Writing does so by itself; whoever only reads, and much, has to ask for it
    /// now and then, when no words are lent.
    #[inline]
    pub fn make_room(&mut self) {
        let Some(durable) = &self.durable else { return };
        if durable.held_words() > durable.evict_above_words {
            self.evict();
        }
    }

    #[cold]
    fn evict(&mut self) {
        let Some(durable) = &mut self.durable else { return };
        durable.frames.cool();
        // Soon after the start it is not known yet where to write.
        let may_write = durable.frames.is_settled();
        // Some more than must be, so that what is written is written together, and not every page that comes searches again.
        let target = durable.budget_words - durable.budget_words / 16;
        let no_room = &mut |_: &StateError| false;
        let mut spill = Spill {
            writer: Writer::new(Arc::clone(&durable.frames), no_room),
            log: Log::default(),
        };
        for _ in 0..3 * self.entries.len() {
            if durable.held_words() <= target || durable.resident_words.get() == 0 {
                break;
            }
            durable.hand = (durable.hand + 1) % self.entries.len();
            if !self.entries.is_known(durable.hand / LEAF_PLACES) {
                continue;
            }
            let hot = &mut self.hot[durable.hand];
            let entry = &mut self.entries[durable.hand];
            if entry.buffer.get_mut().is_none() {
                continue;
            }
            if !hot.words.replace(std::ptr::null_mut()).is_null() {
                hot.epoch = 0;
                continue;
            }
            if !entry.spilled && entry.dirty == self.epoch {
                if !may_write {
                    continue;
                }
                durable.spill(entry, self.epoch, &mut spill).unwrap_or_else(|error| fail(error));
            } else if !entry.spilled && entry.dirty > durable.acked {
                // The writer has it; it will be clean soon.
                continue;
            }
            entry.buffer.take();
            durable.resident(-i64::from(hot.word_count.get()));
        }
        spill.finish().unwrap_or_else(|error| fail(error));
        // What is left waits for the writer: another search would find the same.
        let held = durable.held_words();
        durable.evict_above_words = durable.budget_words.max(held + durable.budget_words / 16);
        if held <= target {
            durable.evict_above_words = durable.budget_words;
        }
    }
}

/// What is written to make room, gathered.
struct Spill<'a> {
    writer: Writer<'a>,
    log: Log,
}

impl Spill<'_> {
    fn finish(mut self) -> Result<(), StateError> {
        self.log.flush(&mut self.writer)?;
        self.writer.flush()
    }
}

impl Durable {
    /// Words of the budget in use: in buffers, those included that only the writer needs.
    fn held_words(&self) -> usize {
        self.resident_words.get() + self.lent_words
    }

    /// Writes what this epoch has changed of a page, so that its buffer can go.
    fn spill(
        &mut self,
        entry: &mut Entry,
        epoch: u32,
        spill: &mut Spill<'_>,
    ) -> Result<(), StateError> {
        let dirty = self.dirty[entry.dirty_at as usize].as_mut();
        let Some(Dirty { page, base, latest }) = dirty else {
            unreachable!("a page that has changed in this epoch")
        };
        let Latest::Buffer(buffer) = &*latest else {
            unreachable!("what is in frames is not written again")
        };
        crash_point!("spill-begun");
        let base_known =
            entry.based == epoch || entry.handed <= self.acked || planted!("state-delta-unbased");
        if entry.place.frame != NOWHERE && base_known && buffer.has_few_changes() {
            let (frame, at) = spill.log.append(&mut spill.writer, *page, buffer)?;
            *self.deltas.entry(frame).or_default() += 1;
            entry.place = Place { delta_frame: frame, delta_at: at, ..entry.place };
            *latest = Latest::Delta { frame, at };
        } else {
            entry.place = spill.writer.place(buffer.words())?;
            entry.based = epoch;
            *latest = Latest::Base;
            if let Some(old) = base.replace(entry.place) {
                self.frames.free(old.run());
            }
        }
        entry.spilled = true;
        Ok(())
    }
}
