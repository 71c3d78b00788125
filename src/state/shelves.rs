//! Slots by time: each lies on the shelf of the time at which it comes up, behind those that were put there before it.
//!
//! Time is cut into shelves. What is put is written behind what was put last, so many rows write to few places, which the cache holds;
//! and what comes up lies together and is read in order. A shelf that has come up is given back whole, and its runs, which have just
//! been read, are the first to be written again.
//!
//! # Layout
//!
//! ```text
//! table:  shelf i64 ─▶ last run's first slot + 1
//! page:   run │ run …                         so small that a shelf with little on it takes little
//! run:    slots …                             as many as a power of two
//! links:  by run: the run before it on its shelf, its first slot + 1, 0 for none
//! slot:   number = page │ slot of the page    by bits, so that no number is divided
//! ```
//!
//! # Invariants
//!
//! 1. A shelf is in the table exactly when it has a run, and `by_number` has the same shelves.
//! 2. A slot that has not been put, or has been given up, is all zeros, and no other begins with 0.
//! 3. Only a shelf's last run has room.

use std::collections::BTreeMap;

use super::array::Array;
use super::pages::{PAGE_WORDS, PageId, Pages};
use super::saved::Saved;
use super::stack::Stack;
use super::table::Table;
use crate::batch::hash::hash_bytes;

/// Words of a run at most, if it has more slots than the fewest that one has, as far as a page holds so many.
const RUN_WORDS_MAX: usize = 512;
const RUN_SLOTS_MIN: usize = 4;
/// How many shelves are found without a search.
const RECENT: usize = 1024;
/// One past the largest number of a slot.
const SLOT_END: usize = 1 << 31;

/// Slots of one width on shelves.
#[derive(Debug)]
pub(super) struct Shelves {
    /// A shelf is 2^`shift` milliseconds.
    shift: u32,
    stride: usize,
    run_slots: u32,
    page_runs: usize,
    /// Bits of a slot's number that say which of its page it is.
    page_bits: u32,
    pages: Array,
    links: Array,
    run_count: usize,
    /// First slots of runs.
    free: Stack,
    table: Table,
    by_number: BTreeMap<i64, u32>,
    /// By place; some are spare.
    shelves: Vec<Shelf>,
    spare: Vec<u32>,
    /// By the low bits of a shelf's number: the place where it was last.
    recent: [u32; RECENT],
}

/// Where the next slot is put.
#[derive(Debug)]
struct Shelf {
    number: i64,
    /// Its slot in the table.
    entry: u32,
    /// Its runs by their first slots; before the first there may be more, which a snapshot brought. To follow links from run to run
    /// would be to wait for each.
    runs: Vec<u32>,
    /// The next slot of its last run, and where that ends.
    next: u32,
    end: u32,
}

impl Shelves {
    /// No slots. Each will have `stride` words, and shelves are about `shelf_ms` wide.
    ///
    /// # Panics
    ///
    /// If a slot does not fit a page: the planner refuses so many aggregates.
    pub(super) fn new(stride: usize, shelf_ms: i64) -> Self {
        assert!(stride <= PAGE_WORDS, "{stride} words do not fit a page");
        let fit = PAGE_WORDS / stride;
        let run_slots = 1 << (RUN_WORDS_MAX / stride).max(RUN_SLOTS_MIN.min(fit)).ilog2();
        let page_runs = fit / run_slots;
        Self {
            shift: shelf_ms.max(1).ilog2(),
            stride,
            run_slots: run_slots as u32,
            page_runs,
            page_bits: (page_runs * run_slots).next_power_of_two().ilog2(),
            pages: Array::default(),
            links: Array::default(),
            run_count: 0,
            free: Stack::default(),
            table: Table::new(1),
            by_number: BTreeMap::new(),
            shelves: Vec::new(),
            spare: Vec::new(),
            recent: [0; RECENT],
        }
    }

    /// The slots that were saved, with the same `stride` and `shelf_ms`.
    pub(super) fn load(stride: usize, shelf_ms: i64, saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut shelves = Self {
            pages: Array::load(saved, pages),
            links: Array::load(saved, pages),
            run_count: saved.word() as usize,
            free: Stack::load(saved, pages),
            table: Table::load(1, saved, pages),
            ..Self::new(stride, shelf_ms)
        };
        for entry in shelves.table.live_slots(pages) {
            let number = shelves.table.key(pages, entry).try_into().expect("eight bytes");
            let first = shelves.table.words(pages, entry)[0] as u32 - 1;
            let end = first + shelves.run_slots;
            let held =
                shelves.run(pages, (first, shelves.run_slots)).rposition(|slot| slot[0] != 0);
            let next = held.map_or(first, |last| first + last as u32 + 1);
            let (number, runs) = (i64::from_le_bytes(number), vec![first]);
            shelves.note(Shelf { number, entry, runs, next, end });
        }
        shelves
    }

    /// Saves what is not in pages.
    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.pages.save(out);
        self.links.save(out);
        out.push(self.run_count as u64);
        self.free.save(out);
        self.table.save(out);
    }

    /// How many slots there have been at a time, those of runs that are not full counted too.
    #[cfg(test)]
    pub(super) fn slot_count(&self) -> u32 {
        self.run_count as u32 * self.run_slots
    }

    /// Where a slot lies.
    #[inline(always)]
    pub(super) fn place(&self, slot: u32) -> (PageId, usize) {
        let at = slot & ((1 << self.page_bits) - 1);
        (self.pages.page((slot >> self.page_bits) as usize), at as usize * self.stride)
    }

    /// Which shelf is that of a time.
    #[inline]
    pub(super) fn shelf_of(&self, time_ms: i64) -> i64 {
        time_ms >> self.shift
    }

    /// When a shelf begins.
    #[inline]
    pub(super) fn start_ms(&self, shelf: i64) -> i64 {
        shelf << self.shift
    }

    /// A slot on the shelf of a time, all zeros. Its first word is to be written before anything else happens.
    #[inline]
    pub(super) fn put(&mut self, pages: &mut Pages, time_ms: i64) -> u32 {
        let number = self.shelf_of(time_ms);
        let mut place = self.recent[number as usize % RECENT] as usize;
        if self.shelves.get(place).is_none_or(|at| at.number != number || at.next == at.end) {
            place = self.place_of(pages, number);
        }
        let at = &mut self.shelves[place];
        at.next += 1;
        at.next - 1
    }

    /// Gives up a slot.
    pub(super) fn give_up(&self, pages: &mut Pages, slot: u32) {
        let (page, start) = self.place(slot);
        pages.words_mut(page, start, self.stride).fill(0);
    }

    /// The first shelf from `first` to `last` that there is.
    pub(super) fn next_shelf(&self, first: i64, last: i64) -> Option<i64> {
        (first <= last)
            .then(|| self.by_number.range(first..=last).next())?
            .map(|(&number, _)| number)
    }

    /// The runs of a shelf in the order in which their slots were put: of each its first slot, and how many have been put.
    pub(super) fn runs(&self, pages: &Pages, shelf: i64, runs: &mut Vec<(u32, u32)>) {
        let at = &self.shelves[self.by_number[&shelf] as usize];
        let firsts = self.older_runs(pages, at).into_iter().rev().chain(at.runs.iter().copied());
        runs.clear();
        runs.extend(firsts.map(|first| (first, self.run_slots)));
        runs.last_mut().expect("a shelf has a run").1 -= at.end - at.next;
    }

    /// The slots of a run, those that were given up too.
    #[inline]
    pub(super) fn run<'a>(
        &self,
        pages: &'a Pages,
        (first, count): (u32, u32),
    ) -> std::slice::ChunksExact<'a, u64> {
        let (page, start) = self.place(first);
        pages.get(page)[start..start + count as usize * self.stride].chunks_exact(self.stride)
    }

    /// Gives back a shelf and all its slots.
    pub(super) fn clear(&mut self, pages: &mut Pages, shelf: i64) {
        let place = self.by_number.remove(&shelf).expect("a shelf that there is");
        let older = self.older_runs(pages, &self.shelves[place as usize]);
        let at = &mut self.shelves[place as usize];
        self.free.extend(pages, &older);
        self.free.extend(pages, &at.runs);
        at.runs.clear();
        // Nothing is put there any more, for there is no room.
        at.end = at.next;
        self.table.remove(pages, at.entry);
        self.spare.push(place);
    }

    /// The runs of a shelf before those that it knows, the last first.
    fn older_runs(&self, pages: &Pages, shelf: &Shelf) -> Vec<u32> {
        let before = |run: u32| {
            let (page, at) = self.link(run);
            (pages.get(page)[at] as u32).checked_sub(1)
        };
        std::iter::successors(before(shelf.runs[0]), |&run| before(run)).collect()
    }

    /// Where the link of the run is that begins with slot `first`.
    fn link(&self, first: u32) -> (PageId, usize) {
        let (page, at) = (first >> self.page_bits, first & ((1 << self.page_bits) - 1));
        let run = page as usize * self.page_runs + (at / self.run_slots) as usize;
        (self.links.page(run / PAGE_WORDS), run % PAGE_WORDS)
    }

    /// The place of a shelf that has room, made if need be.
    #[cold]
    #[inline(never)]
    fn place_of(&mut self, pages: &mut Pages, number: i64) -> usize {
        let place = match self.by_number.get(&number) {
            Some(&place) => place,
            None => {
                let key = number.to_le_bytes();
                let (entry, _) = self.table.upsert(pages, hash_bytes(&key), &key);
                self.note(Shelf { number, entry, runs: Vec::new(), next: 0, end: 0 })
            }
        };
        self.recent[number as usize % RECENT] = place;
        let &Shelf { entry, next, end, .. } = &self.shelves[place as usize];
        if next == end {
            let before = self.table.words(pages, entry)[0];
            let first = self.new_run(pages, before);
            self.table.words_mut(pages, entry)[0] = u64::from(first) + 1;
            let at = &mut self.shelves[place as usize];
            at.runs.push(first);
            (at.next, at.end) = (first, first + self.run_slots);
        }
        place as usize
    }

    fn note(&mut self, shelf: Shelf) -> u32 {
        let place = self.spare.pop().unwrap_or(self.shelves.len() as u32);
        self.by_number.insert(shelf.number, place);
        match self.shelves.get_mut(place as usize) {
            Some(spare) => *spare = shelf,
            None => self.shelves.push(shelf),
        }
        place
    }

    /// The first slot of a run with nothing in it, behind `before`.
    fn new_run(&mut self, pages: &mut Pages, before: u64) -> u32 {
        let first = match self.free.pop(pages) {
            Some(first) => {
                let (page, start) = self.place(first);
                pages.words_mut(page, start, self.run_slots as usize * self.stride).fill(0);
                first
            }
            None => self.add_run(pages),
        };
        let (page, at) = self.link(first);
        *pages.word_mut(page, at) = before;
        first
    }

    /// The first slot of a run that has not been before.
    fn add_run(&mut self, pages: &mut Pages) -> u32 {
        let (page, run) = (self.run_count / self.page_runs, self.run_count % self.page_runs);
        let first = (page << self.page_bits) + run * self.run_slots as usize;
        assert!(first < SLOT_END, "more slots than have numbers");
        if page == self.pages.len() {
            self.pages.push(pages);
        }
        if self.run_count.is_multiple_of(PAGE_WORDS) {
            self.links.push(pages);
        }
        self.run_count += 1;
        first as u32
    }

    /// Frees all pages.
    pub(super) fn release(mut self, pages: &mut Pages) {
        self.pages.release(pages);
        self.links.release(pages);
        self.free.release(pages);
        self.table.release(pages);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain vector, with times near and far, some slots given up, and what was saved loaded again.
        #[test]
        fn slots_come_up_in_time(
            stride in prop::sample::select(vec![2usize, 12, 70, 500, 1000, PAGE_WORDS]),
            shelf_ms in 1..5000i64,
            steps in prop::collection::vec((prop::collection::vec(-20_000..40_000i64, 0..300), -20_000..40_000i64), 1..12),
        ) {
            let (mut pages, mut shelves) = (Pages::default(), Shelves::new(stride, shelf_ms));
            let mut twin: Vec<(i64, u64)> = Vec::new();
            let mut next = 1;
            for (times, last_ms) in steps {
                for (index, time_ms) in times.into_iter().enumerate() {
                    let time_ms = if index % 50 == 7 { i64::MAX - time_ms.abs() } else { time_ms };
                    let slot = shelves.put(&mut pages, time_ms);
                    let (page, start) = shelves.place(slot);
                    let words = pages.words_mut(page, start, stride);
                    prop_assert!(words.iter().all(|&word| word == 0));
                    words.fill(next);
                    match index % 5 {
                        3 => shelves.give_up(&mut pages, slot),
                        _ => twin.push((shelves.shelf_of(time_ms), next)),
                    }
                    next += 1;
                }
                let mut saved = Vec::new();
                shelves.save(&mut saved);
                shelves = Shelves::load(stride, shelf_ms, &mut Saved::new(&saved), &pages);
                let last = shelves.shelf_of(last_ms);
                let mut expected: Vec<(i64, u64)> =
                    twin.extract_if(.., |&mut (shelf, _)| shelf <= last).collect();
                expected.sort_unstable();
                let (mut due, mut runs) = (Vec::new(), Vec::new());
                while let Some(shelf) = shelves.next_shelf(i64::MIN, last) {
                    shelves.runs(&pages, shelf, &mut runs);
                    for slot in runs.iter().flat_map(|&run| shelves.run(&pages, run)) {
                        prop_assert!(slot.iter().all(|&word| word == slot[0]));
                        due.extend((slot[0] != 0).then_some((shelf, slot[0])));
                    }
                    shelves.clear(&mut pages, shelf);
                }
                prop_assert_eq!(due, expected, "in order of shelves, and of one as they were put");
            }
            shelves.release(&mut pages);
            prop_assert_eq!(pages.state_bytes(), 0);
        }
    }
}
