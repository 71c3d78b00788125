//! Records that wait to be folded into groups, in pages, partitioned by their hashes: a partition's groups fit the cache, where a table of
//! all groups would cost a miss or three for each record; and pages that are only appended to are the cheapest to save and to evict.
//!
//! # Layout
//!
//! ```text
//! partition:    page ─ page ─ …                          bits 32 … 38 of a record's hash say which
//! page:         record │ record │ … │ zeros              a record larger than a page has an extent to itself
//! row:          head │ key … │ arguments …               as many words of arguments as the owner says
//! group:        head │ key … │ accumulators … │ tail …   as many words of accumulators as the owner says
//! large group:  head │ key bytes u32, tail words u32 │ key … │ accumulators … │ tail …
//! head:         hash, its low half u32 │ key bytes 15 bits │ tail words 15 bits │ kind 2 bits: 1 row, 2 group, 3 large group
//! ```
//!
//! # Invariants
//!
//! 1. A record never straddles pages. Those of one key lie in one partition, in the order in which they came.

use super::array::Array;
use super::pages::{PAGE_WORDS, Pages};
use super::saved::Saved;

const PARTITION_BITS: u32 = 7;
/// How many partitions.
pub const PARTITIONS: usize = 1 << PARTITION_BITS;

/// Keys and tails that the head has no room for begin here.
const LENGTH_LIMIT: usize = 1 << 15;
const KEY_SHIFT: u32 = 32;
const TAIL_SHIFT: u32 = 47;
const KIND_SHIFT: u32 = 62;
const ROW: u64 = 1;
const GROUP: u64 = 2;
const LARGE_GROUP: u64 = 3;

/// Records that wait. Dropping it without [`Backlog::release`] leaks its pages until the space goes.
#[derive(Debug)]
pub struct Backlog {
    partitions: Vec<Partition>,
    record_count: u64,
}

#[derive(Debug, Default)]
struct Partition {
    pages: Array,
    /// Words used of the last page.
    last_words: usize,
    record_count: u32,
}

/// How many words records have besides key and tail.
#[derive(Clone, Copy, Debug)]
pub struct Widths {
    /// A row's arguments.
    pub row: usize,
    /// A group's accumulators.
    pub group: usize,
}

/// Records that are appended together.
#[derive(Clone, Copy, Debug)]
pub enum RunOf {
    /// Rows.
    Rows {
        /// Words of arguments.
        width: usize,
        /// Bytes of each key.
        key_bytes: usize,
    },
    /// Groups without tails.
    Groups {
        /// Words of accumulators.
        width: usize,
        /// Bytes of each key.
        key_bytes: usize,
    },
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A row: its arguments.
    Row(&'a [u64]),
    /// A group: its accumulators, and the bytes that they refer to, with zeros behind up to a whole word.
    Group(&'a [u64], &'a [u8]),
}

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The low half of the key's hash.
    pub hash: u32,
    /// The key.
    pub key: &'a [u8],
    /// What waits.
    pub content: Content<'a>,
}

impl Backlog {
    /// An empty one.
    pub fn new() -> Self {
        let partitions = (0..PARTITIONS).map(|_| Partition::default()).collect();
        Self { partitions, record_count: 0 }
    }

    /// The partition of a hash. Shards look at its highest bits, tables at the lowest.
    #[inline]
    pub fn partition_of(hash: u64) -> usize {
        (hash >> 32) as usize & (PARTITIONS - 1)
    }

    /// The one that was saved.
    pub fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        let mut backlog = Self::new();
        for partition in &mut backlog.partitions {
            partition.pages = Array::load(saved, pages);
            let (last_words, record_count) = saved.pair();
            (partition.last_words, partition.record_count) = (last_words as usize, record_count);
            backlog.record_count += u64::from(record_count);
        }
        backlog
    }

    /// Saves what is not in pages.
    pub fn save(&self, out: &mut Vec<u64>) {
        for partition in &self.partitions {
            partition.pages.save(out);
            out.push(partition.last_words as u64 | u64::from(partition.record_count) << 32);
        }
    }

    /// How many records.
    pub fn record_count(&self) -> u64 {
        self.record_count
    }

    /// How many records a partition has.
    pub fn records_in(&self, partition: usize) -> usize {
        self.partitions[partition].record_count as usize
    }

    /// The partition that has most records.
    pub fn largest(&self) -> usize {
        let sizes = self.partitions.iter().map(|partition| partition.record_count).enumerate();
        sizes.max_by_key(|&(_, count)| count).map_or(0, |(partition, _)| partition)
    }

    /// Room for some of `count` records of `length` words each, at least for one, which count as appended: the caller fills it
    /// with records, and comes again for the rest.
    fn room<'a>(
        &mut self,
        pages: &'a mut Pages,
        partition: usize,
        length: usize,
        count: usize,
    ) -> &'a mut [u64] {
        let partition = &mut self.partitions[partition];
        if partition.pages.len() == 0 || partition.last_words + length > PAGE_WORDS {
            partition.pages.push_extent(pages, length.max(PAGE_WORDS));
            partition.last_words = 0;
        }
        let free_words = PAGE_WORDS.max(length) - partition.last_words;
        let count = count.min(free_words / length);
        let start = partition.last_words;
        partition.last_words += count * length;
        partition.record_count += count as u32;
        self.record_count += count as u64;
        let page = partition.pages.page(partition.pages.len() - 1);
        pages.words_mut(page, start, count * length)
    }

    /// Appends records of `entries` to their partition. Their keys have `key_bytes` bytes each; `fill` gives a record's hash and key
    /// and fills in its words, as many as `run` says.
    ///
    /// # Panics
    ///
    /// If the keys are not as long, or too long for a run: see [`Backlog::runs_hold`].
    #[inline]
    pub fn push_run<'k>(
        &mut self,
        pages: &mut Pages,
        partition: usize,
        entries: &[u32],
        run: RunOf,
        fill: impl Fn(u32, &mut [u64]) -> (u64, &'k [u8]),
    ) {
        let (kind, width, key_bytes) = match run {
            RunOf::Rows { width, key_bytes } => (ROW, width, key_bytes),
            RunOf::Groups { width, key_bytes } => (GROUP, width, key_bytes),
        };
        assert!(Self::runs_hold(key_bytes));
        let key_words = key_bytes.div_ceil(8);
        let length = 1 + key_words + width;
        let mut rest = entries;
        while !rest.is_empty() {
            let room = self.room(pages, partition, length, rest.len());
            let now;
            (now, rest) = rest.split_at(room.len() / length);
            for (record, &entry) in room.chunks_exact_mut(length).zip(now) {
                let (head_and_key, words) = record.split_at_mut(1 + key_words);
                let (hash, key) = fill(entry, words);
                head_and_key[0] = head(kind, hash, key_bytes, 0);
                put_key(&mut head_and_key[1..], key);
            }
        }
    }

    /// Whether runs may have keys of so many bytes.
    pub fn runs_hold(key_bytes: usize) -> bool {
        key_bytes < LENGTH_LIMIT
    }

    /// Appends a group.
    pub fn push_group(
        &mut self,
        pages: &mut Pages,
        hash: u64,
        key: &[u8],
        accumulators: &[u64],
        tail: &[u8],
    ) {
        let (key_words, tail_words) = (key.len().div_ceil(8), tail.len().div_ceil(8));
        let is_large = key.len() >= LENGTH_LIMIT || tail_words >= LENGTH_LIMIT;
        let head_words = 1 + usize::from(is_large);
        let length = head_words + key_words + accumulators.len() + tail_words;
        let room = self.room(pages, Self::partition_of(hash), length, 1);
        if is_large {
            room[0] = head(LARGE_GROUP, hash, 0, 0);
            room[1] = key.len() as u64 | (tail_words as u64) << 32;
        } else {
            room[0] = head(GROUP, hash, key.len(), tail_words);
        }
        let (key_room, rest) = room[head_words..].split_at_mut(key_words);
        let (words_room, tail_room) = rest.split_at_mut(accumulators.len());
        put_key(key_room, key);
        words_room.copy_from_slice(accumulators);
        bytemuck::cast_slice_mut(tail_room)[..tail.len()].copy_from_slice(tail);
    }

    /// How many pages a partition has.
    pub fn pages_in(&self, partition: usize) -> usize {
        self.partitions[partition].pages.len()
    }

    /// The words of a partition's page `index` that records take, and perhaps zeros behind them.
    #[inline]
    pub fn page<'a>(&self, pages: &'a Pages, partition: usize, index: usize) -> &'a [u64] {
        let Partition { pages: numbers, last_words, .. } = &self.partitions[partition];
        let words = pages.get(numbers.page(index));
        if index + 1 == numbers.len() { &words[..*last_words] } else { words }
    }

    /// Has the disk fetch the pages of a partition, if there is such a one.
    pub fn prefetch(&self, pages: &Pages, partition: usize) {
        if let Some(partition) = self.partitions.get(partition) {
            pages.prefetch(partition.pages.iter().take(FETCHED_PAGES_MAX));
        }
    }

    /// Frees a partition: it is empty then.
    pub fn release_partition(&mut self, pages: &mut Pages, partition: usize) {
        let mut freed = std::mem::take(&mut self.partitions[partition]);
        self.record_count -= u64::from(freed.record_count);
        freed.pages.release(pages);
    }

    /// Frees everything.
    pub fn release(mut self, pages: &mut Pages) {
        (0..PARTITIONS).for_each(|partition| self.release_partition(pages, partition));
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Record<'a> {
    /// The record that begins at word `at` of a page, and where the next begins; `None`: there is none.
    #[inline]
    pub fn at(page: &'a [u64], at: usize, widths: Widths) -> Option<(Self, usize)> {
        let &head = page.get(at)?;
        let (mut key_bytes, mut tail_words) = lengths(head);
        let mut start = at + 1;
        let width = match head >> KIND_SHIFT {
            0 => return None,
            ROW => widths.row,
            GROUP => widths.group,
            _ => {
                (key_bytes, tail_words) =
                    (page[start] as u32 as usize, (page[start] >> 32) as usize);
                start += 1;
                widths.group
            }
        };
        let (key, rest) = page[start..].split_at(key_bytes.div_ceil(8));
        let (words, rest) = rest.split_at(width);
        let content = match head >> KIND_SHIFT {
            ROW => Content::Row(words),
            _ => Content::Group(words, bytemuck::cast_slice(&rest[..tail_words])),
        };
        let key = &bytemuck::cast_slice(key)[..key_bytes];
        Some((Record { hash: head as u32, key, content }, page.len() - rest.len() + tail_words))
    }
}

/// Pages that are fetched together at most.
const FETCHED_PAGES_MAX: usize = 1024;

#[inline]
fn head(kind: u64, hash: u64, key_bytes: usize, tail_words: usize) -> u64 {
    let lengths = (key_bytes as u64) << KEY_SHIFT | (tail_words as u64) << TAIL_SHIFT;
    u64::from(hash as u32) | lengths | kind << KIND_SHIFT
}

#[inline]
fn lengths(head: u64) -> (usize, usize) {
    let length = |shift: u32| (head >> shift) as usize & (LENGTH_LIMIT - 1);
    (length(KEY_SHIFT), length(TAIL_SHIFT))
}

/// Writes a key into zeros. Most are short, and a call to copy them takes longer than two stores.
#[inline]
fn put_key(room: &mut [u64], key: &[u8]) {
    if let ([first, last], Some(head), Some(tail)) =
        (&mut *room, key.first_chunk::<8>(), key.last_chunk::<8>())
    {
        *first = u64::from_le_bytes(*head);
        *last = u64::from_le_bytes(*tail) >> (8 * (16 - key.len()));
        return;
    }
    bytemuck::cast_slice_mut(room)[..key.len()].copy_from_slice(key);
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{Frames, Space};
    use super::*;
    use crate::batch::hash::hash_bytes;
    use crate::sys::storage::{SimDisk, Storage};

    const WIDTHS: Widths = Widths { row: 2, group: 3 };

    /// What was pushed: hash, key, words, tail; a row has no tail.
    type Pushed = (u32, Vec<u8>, Vec<u64>, Option<Vec<u8>>);

    fn push(backlog: &mut Backlog, pages: &mut Pages, pushed: &Pushed, hash: u64) {
        let (_, key, words, tail) = pushed;
        match tail {
            Some(tail) => backlog.push_group(pages, hash, key, words, tail),
            None => {
                let partition = Backlog::partition_of(hash);
                let run = RunOf::Rows { width: WIDTHS.row, key_bytes: key.len() };
                backlog.push_run(pages, partition, &[7], run, |row, room| {
                    assert_eq!(row, 7);
                    room.copy_from_slice(words);
                    (hash, key)
                });
            }
        }
    }

    fn records(backlog: &Backlog, pages: &Pages, partition: usize) -> Vec<Pushed> {
        let mut all = Vec::new();
        for index in 0..backlog.pages_in(partition) {
            let (page, mut at) = (backlog.page(pages, partition, index), 0);
            while let Some((Record { hash, key, content }, next)) = Record::at(page, at, WIDTHS) {
                all.push(match content {
                    Content::Row(words) => (hash, key.to_vec(), words.to_vec(), None),
                    Content::Group(words, tail) => {
                        (hash, key.to_vec(), words.to_vec(), Some(tail.to_vec()))
                    }
                });
                at = next;
            }
        }
        assert_eq!(all.len(), backlog.records_in(partition));
        all
    }

    /// Lengths of keys and tails: short ones, and some around those that a head, or a page, has no room for.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![
            20 => 0..40usize,
            1 => PAGE_WORDS * 8 - 80..PAGE_WORDS * 8 + 10,
            1 => LENGTH_LIMIT - 2..LENGTH_LIMIT + 2,
            1 => 8 * LENGTH_LIMIT - 10..8 * LENGTH_LIMIT + 10,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// Against lists, through barriers and crashes, with memory for a few pages.
        #[test]
        fn records_lie_in_the_order_in_which_they_came(
            pushes in prop::collection::vec((0..12u64, length(), prop::option::of(length()), 0..60u8), 1..200),
            budget_pages in 0..8usize,
        ) {
            let disk: Arc<dyn Storage> = Arc::new(SimDisk::new(1));
            let mut frames = Frames::create(&disk, Path::new("space")).unwrap();
            let budget_bytes = budget_pages << 14;
            let mut space = Space::open(&frames, 7, None, 0, budget_bytes).unwrap();
            let mut backlog = Backlog::new();
            let mut twin: Vec<Vec<Pushed>> = vec![Vec::new(); PARTITIONS];
            let mut epoch = 0;
            for (seed, key_bytes, tail_bytes, then) in pushes {
                let hash = hash_bytes(&[seed as u8]);
                let key = vec![seed as u8 + 1; key_bytes];
                let tail_bytes = match Backlog::runs_hold(key_bytes) {
                    true => tail_bytes,
                    false => tail_bytes.or(Some(3)),
                };
                // Tails are padded with zeros.
                let tail = tail_bytes.map(|bytes| {
                    let mut tail = vec![9; bytes];
                    tail.resize(bytes.next_multiple_of(8), 0);
                    tail
                });
                let words = vec![seed; if tail.is_some() { WIDTHS.group } else { WIDTHS.row }];
                let pushed = (hash as u32, key, words, tail);
                push(&mut backlog, &mut space.pages, &pushed, hash);
                twin[Backlog::partition_of(hash)].push(pushed);
                if then > 1 {
                    continue;
                }
                epoch += 1;
                let mut header = Vec::new();
                backlog.save(&mut header);
                let written = space.ledger.write(space.pages.seal(header), &mut |_| false).unwrap();
                let root = written.root;
                frames.sync().unwrap();
                space.ledger.commit(written, epoch);
                space.pages.acknowledge();
                if then == 1 {
                    frames = Frames::open(&disk, Path::new("space")).unwrap();
                    space = Space::open(&frames, 7, Some(&root), epoch, budget_bytes).unwrap();
                    space.ledger.read_table().unwrap();
                    frames.settle();
                    let header = space.header.take().unwrap();
                    backlog = Backlog::load(&mut Saved::new(&header), &space.pages);
                }
            }
            let count: usize = twin.iter().map(Vec::len).sum();
            prop_assert_eq!(backlog.record_count(), count as u64);
            prop_assert_eq!(twin[backlog.largest()].len(), twin.iter().map(Vec::len).max().unwrap());
            for (partition, twin) in twin.iter().enumerate() {
                prop_assert_eq!(&records(&backlog, &space.pages, partition), twin);
            }
            backlog.release(&mut space.pages);
            prop_assert_eq!(space.pages.state_bytes(), 0);
        }
    }
}
