//! Folding records that waited into a table larger than memory, a page after the other.
//!
//! A key's record goes through three pages of the table: of the index, of the slots, and of the heap, where the key is. Row by row that
//! would be three reads of the disk for each. Here the records are taken in the order of the index; those whose hash the index
//! does not know are new, and the slots where the others may belong are sorted and gone through in their order, which is that of
//! the heap too. So a page is read once for all its records, and the disk is told of the pages ahead.
//!
//! # Invariants
//!
//! 1. Records of one key are folded in the order in which they came.
//! 2. When they are folded shows in the numbers of new slots, and so in the order in which a window is read out; in nothing else.

use super::backlog::{Backlog, Record, RecordAt, Records};
use super::pages::{PageId, Pages};
use super::table::Table;

/// Pages that are worked on at a time; those of the next such step are on their way then.
const STEP_PAGES: usize = 256;
/// Records a step has at most.
const STEP_RECORDS: usize = 1 << 16;

/// What folds a record into a slot.
pub(super) type Fold<'a> = &'a mut dyn FnMut(&mut Table, &mut Pages, u32, Record<'_>);

/// A record that waits.
#[derive(Clone, Copy)]
struct Waiting {
    hash: u64,
    at: RecordAt,
}

/// A slot in which a record may belong.
#[derive(Clone, Copy)]
struct Candidate {
    slot: u32,
    at: RecordAt,
}

impl Table {
    /// Folds all records of `backlog`.
    pub fn fold_in(&mut self, pages: &mut Pages, backlog: Backlog, fold: Fold<'_>) {
        // The records, and to sort them nearly as much again.
        pages.reserve(2 * backlog.bytes());
        let records = &backlog.read(pages);
        let mut waiting = Vec::with_capacity(records.count());
        // Not on the way: filled from one end, the index would be crowded there long before it is full.
        self.make_places(pages, records.count());
        records.for_each(|hash, at| waiting.push(Waiting { hash, at }));
        waiting.sort_unstable_by_key(|one| (self.bucket(one.hash), one.hash, one.at));
        let mut candidates = self.fold_new(pages, records, &waiting, fold);
        candidates.sort_unstable_by_key(|candidate| (candidate.slot, candidate.at));
        let done = self.fold_known(pages, records, &candidates, fold);
        candidates.retain(|candidate| done.binary_search(&candidate.at).is_err());
        candidates.sort_unstable_by_key(|candidate| candidate.at);
        candidates.dedup_by_key(|candidate| candidate.at);
        waiting.retain(|one| candidates.binary_search_by_key(&one.at, |left| left.at).is_ok());
        self.fold_mistaken(pages, records, &waiting, fold);
        pages.reserve(0);
    }

    /// Folds records whose hash the index does not have, and returns where the others may belong.
    fn fold_new(
        &mut self,
        pages: &mut Pages,
        records: &Records,
        waiting: &[Waiting],
        fold: Fold<'_>,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(waiting.len());
        let mut step = self.index_step(pages, waiting);
        let mut rest = waiting;
        while !rest.is_empty() {
            let now;
            (now, rest) = rest.split_at(step);
            step = self.index_step(pages, rest);
            for &Waiting { hash, at } in now {
                let before = candidates.len();
                self.candidates(pages, hash, |slot| candidates.push(Candidate { slot, at }));
                if candidates.len() == before {
                    let record = records.get(at);
                    let slot = self.insert(pages, hash, record.key);
                    fold(self, pages, slot, record);
                }
            }
            pages.acknowledge();
        }
        candidates
    }

    /// How many records are looked for in the next pages of the index, which are fetched.
    fn index_step(&self, pages: &Pages, waiting: &[Waiting]) -> usize {
        step(pages, waiting.iter().map(|one| self.index_page(one.hash)))
    }

    /// Folds the records whose key a candidate has, and returns them, sorted.
    fn fold_known(
        &mut self,
        pages: &mut Pages,
        records: &Records,
        candidates: &[Candidate],
        fold: Fold<'_>,
    ) -> Vec<RecordAt> {
        let mut done = Vec::with_capacity(candidates.len());
        // While one step is folded the keys of the next are on their way, and the slots of that after it.
        let (first, mut rest) = candidates.split_at(self.slot_step(pages, candidates));
        let mut keyed = first;
        self.fetch_keys(pages, keyed);
        let mut slotted = self.slot_step(pages, rest);
        while !keyed.is_empty() {
            let next;
            (next, rest) = rest.split_at(slotted);
            slotted = self.slot_step(pages, rest);
            self.fetch_keys(pages, next);
            for &Candidate { slot, at } in keyed {
                let record = records.get(at);
                if self.hash(pages, slot) == record.hash && self.key(pages, slot) == record.key {
                    fold(self, pages, slot, record);
                    done.push(at);
                }
            }
            keyed = next;
            pages.acknowledge();
        }
        done.sort_unstable();
        done
    }

    /// How many candidates lie in the next pages of slots, which are fetched.
    fn slot_step(&self, pages: &Pages, candidates: &[Candidate]) -> usize {
        step(pages, candidates.iter().map(|candidate| Some(self.slot_page(candidate.slot))))
    }

    fn fetch_keys(&self, pages: &Pages, candidates: &[Candidate]) {
        let mut keys: Vec<PageId> = Vec::new();
        for candidate in candidates {
            let page = self.key_page(pages, candidate.slot);
            if keys.last() != Some(&page) {
                keys.push(page);
            }
        }
        pages.prefetch(keys);
    }

    /// Folds records whose key is none of those that the index took for it.
    fn fold_mistaken(
        &mut self,
        pages: &mut Pages,
        records: &Records,
        waiting: &[Waiting],
        fold: Fold<'_>,
    ) {
        let mut step = self.index_step(pages, waiting);
        let (mut rest, mut before) = (waiting, None);
        while !rest.is_empty() {
            let now;
            (now, rest) = rest.split_at(step);
            step = self.index_step(pages, rest);
            for &Waiting { hash, at } in now {
                let record = records.get(at);
                // The first of its hash is new; those behind it may have its key.
                let slot = match before == Some(hash) {
                    true => self.upsert(pages, hash, record.key).0,
                    false => self.insert(pages, hash, record.key),
                };
                before = Some(hash);
                fold(self, pages, slot, record);
            }
            pages.acknowledge();
        }
    }
}

/// How many items lie in the next [`STEP_PAGES`] pages, which are fetched.
fn step(pages: &Pages, items: impl Iterator<Item = Option<PageId>>) -> usize {
    let (mut fetched, mut count) = (Vec::new(), 0);
    for page in items.take(STEP_RECORDS) {
        if let Some(page) = page
            && fetched.last() != Some(&page)
        {
            if fetched.len() == STEP_PAGES {
                break;
            }
            fetched.push(page);
        }
        count += 1;
    }
    pages.prefetch(fetched);
    count
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{Frames, Saved, Space};
    use super::*;
    use crate::batch::hash::hash_bytes;
    use crate::sys::storage::{SimDisk, Storage};

    /// Hashes of which many agree in their low half, and some altogether.
    fn hash_of(key: u32) -> u64 {
        match key % 8 {
            0 => u64::from(key % 5),
            1 => u64::from(key) << 32 | 77,
            _ => hash_bytes(&key.to_le_bytes()),
        }
    }

    fn push(backlog: &mut Backlog, pages: &mut Pages, key: u32, value: u64) {
        let bytes = key.to_le_bytes();
        backlog.push(pages, hash_of(key), &bytes, &[value], &bytes[..(value % 4) as usize]);
    }

    /// Something that shows the order.
    fn next(held: u64, value: u64) -> u64 {
        held.wrapping_mul(31).wrapping_add(value)
    }

    fn fold(table: &mut Table, pages: &mut Pages, backlog: Backlog) {
        table.fold_in(pages, backlog, &mut |table, pages, slot, record| {
            assert_eq!(record.tail, &record.key[..(record.words[0] % 4) as usize]);
            let word = &mut table.words_mut(pages, slot)[0];
            *word = next(*word, record.words[0]);
        });
    }

    fn check(table: &Table, pages: &Pages, twin: &HashMap<u32, u64>) {
        assert_eq!(table.count(), twin.len());
        for (key, value) in twin {
            let slot = table.find(pages, hash_of(*key), &key.to_le_bytes()).expect("it was folded");
            assert_eq!(table.words(pages, slot)[0], *value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a `HashMap`, with memory for a few pages, through barriers and crashes, also with records that wait.
        #[test]
        fn folded_records_are_those_that_came(
            rounds in prop::collection::vec((prop::collection::vec((0..3000u32, 0..100u64), 1..1500), 0..4u8), 1..6),
            budget_pages in 0..8usize,
        ) {
            let disk: Arc<dyn Storage> = Arc::new(SimDisk::new(1));
            let mut frames = Frames::create(&disk, Path::new("space")).unwrap();
            let budget_bytes = budget_pages << 14;
            let mut space = Space::open(&frames, 7, None, 0, budget_bytes).unwrap();
            let (mut table, mut backlog) = (Table::new(1), Backlog::new(1));
            let mut twin = HashMap::new();
            for (epoch, (records, then)) in (1..).zip(rounds) {
                for (key, value) in records {
                    push(&mut backlog, &mut space.pages, key, value);
                    let held = twin.entry(key).or_default();
                    *held = next(*held, value);
                }
                if then % 2 == 0 {
                    let full = std::mem::replace(&mut backlog, Backlog::new(1));
                    fold(&mut table, &mut space.pages, full);
                    check(&table, &space.pages, &twin);
                }
                let mut header = Vec::new();
                table.save(&mut header);
                backlog.save(&mut header);
                let sealed = space.pages.seal(header);
                let written = space.ledger.write(sealed, &mut |_| false).unwrap();
                let root = written.root;
                frames.sync().unwrap();
                space.ledger.commit(written, epoch);
                space.pages.acknowledge();
                if then > 1 {
                    frames = Frames::open(&disk, Path::new("space")).unwrap();
                    space = Space::open(&frames, 7, Some(&root), epoch, budget_bytes).unwrap();
                    space.ledger.read_table().unwrap();
                    frames.settle();
                    let header = space.header.take().unwrap();
                    let mut saved = Saved::new(&header);
                    table = Table::load(1, &mut saved, &space.pages);
                    backlog = Backlog::load(1, &mut saved, &space.pages);
                }
            }
            fold(&mut table, &mut space.pages, backlog);
            check(&table, &space.pages, &twin);
            table.release(&mut space.pages);
            assert_eq!(space.pages.state_bytes(), 0);
        }
    }
}
