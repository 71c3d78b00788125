//! Records that wait to be folded into groups, in pages, partitioned by their hashes: a partition's groups fit the cache, where a table of
//! all groups would cost a miss or three for each record; and pages that are only appended to are the cheapest to save and to evict.
//!
//! # Layout
//!
//! ```text
//! partition:    page ─ page ─ …                          bits 32 … 38 of a record's hash say which
//! page:         entry │ entry │ … │ zeros                an entry larger than a page has an extent to itself
//! run of rows:  head │ row │ row │ …                     rows whose keys have one length
//! row:          key … │ arguments …                      the key as a packing has it; as many words of arguments as the owner says
//! group:        head │ key … │ accumulators … │ tail …   as many words of accumulators as the owner says
//! large group:  head │ key bytes u32, tail words u32 │ key … │ accumulators … │ tail …
//! head:         low half │ key bytes 15 bits │ tail words 15 bits │ kind 2 bits: 1 run of rows, 2 group, 3 large group
//! low half:     of a run how many rows it has, of a group that of its hash
//! ```
//!
//! A run's keys that begin with a byte 0, which is left out, have 1 for tail words.
//!
//! # Invariants
//!
//! 1. An entry never straddles pages. Rows and groups of one key lie in one partition, in the order in which they came.

use super::array::Array;
use super::buffer::Access;
use super::pages::{PAGE_WORDS, Pages};
use super::saved::Saved;
use crate::batch::{Packing, put_bytes};

const PARTITION_BITS: u32 = 7;
/// How many partitions.
pub const PARTITIONS: usize = 1 << PARTITION_BITS;

/// Keys and tails that the head has no room for begin here.
const LENGTH_LIMIT: usize = 1 << 15;
const KEY_SHIFT: u32 = 32;
const TAIL_SHIFT: u32 = 47;
const KIND_SHIFT: u32 = 62;
const ROWS: u64 = 1;
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
    /// The run that the last page ends with, if it may grow: where its head lies, and how a head of no rows looks. Not saved.
    open: Option<(usize, u64)>,
}

/// How many words records have besides key and tail.
#[derive(Clone, Copy, Debug)]
pub struct Widths {
    /// A row's arguments.
    pub row: usize,
    /// A group's accumulators.
    pub group: usize,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Rows whose keys have one length.
    Rows(Rows<'a>),
    /// A group.
    Group(Group<'a>),
}

/// A run of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    /// How their keys are packed.
    pub packing: Packing,
    /// The rows, each with its key's words before those of its arguments.
    pub words: &'a [u64],
    /// Words of a row.
    pub stride: usize,
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// The low half of the key's hash.
    pub hash: u32,
    /// The key.
    pub key: &'a [u8],
    /// Its accumulators.
    pub words: &'a [u64],
    /// The bytes that they refer to, with zeros behind up to a whole word.
    pub tail: &'a [u8],
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

    /// How many words are free of the last page of a partition, which is a new one if the last has not `least`.
    fn free_words(&mut self, pages: &mut Pages, partition: usize, least: usize) -> usize {
        let partition = &mut self.partitions[partition];
        if partition.pages.len() == 0 || partition.last_words + least > PAGE_WORDS {
            partition.pages.push_extent(pages, Access::Random, least.max(PAGE_WORDS));
            partition.last_words = 0;
            partition.open = None;
        }
        PAGE_WORDS.max(least) - partition.last_words
    }

    /// The next `count` words of the last page of a partition, which are free, for so many records.
    fn take_words<'a>(
        &mut self,
        pages: &'a mut Pages,
        partition: usize,
        count: usize,
        records: usize,
    ) -> &'a mut [u64] {
        let partition = &mut self.partitions[partition];
        let start = partition.last_words;
        partition.last_words += count;
        partition.record_count += records as u32;
        self.record_count += records as u64;
        let page = partition.pages.page(partition.pages.len() - 1);
        pages.words_mut(page, start, count)
    }

    /// Appends rows to their partition.
    ///
    /// # Panics
    ///
    /// If their keys are too long for a run: see [`Backlog::runs_hold`].
    pub fn push_rows(&mut self, pages: &mut Pages, partition: usize, rows: &Rows<'_>) {
        let &Rows { packing, words, stride } = rows;
        assert!(Self::runs_hold(packing.length));
        let mut rest = words;
        while !rest.is_empty() {
            let room = self.room_for_rows(pages, partition, packing, stride, rest.len() / stride);
            let now;
            (now, rest) = rest.split_at(room.len());
            room.copy_from_slice(now);
        }
    }

    /// Room for some of `count` rows, at least for one, which count as appended: the last run is one of such rows and grows, or a new
    /// one begins.
    fn room_for_rows<'a>(
        &mut self,
        pages: &'a mut Pages,
        partition: usize,
        packing: Packing,
        stride: usize,
        count: usize,
    ) -> &'a mut [u64] {
        let empty = head(ROWS, 0, packing.length, usize::from(packing.behind_zero));
        let Partition { open, last_words, pages: numbers, .. } = &self.partitions[partition];
        let grows = open
            .filter(|&(_, head)| head == empty && last_words + stride <= PAGE_WORDS)
            .map(|(at, _)| (numbers.page(numbers.len() - 1), at));
        let fits = |free_words: usize| count.min(free_words / stride);
        if let Some((page, at)) = grows {
            let rows = fits(self.free_words(pages, partition, stride));
            *pages.word_mut(page, at) += rows as u64;
            return self.take_words(pages, partition, rows * stride, rows);
        }
        let rows = fits(self.free_words(pages, partition, 1 + stride) - 1);
        let held = &mut self.partitions[partition];
        held.open = Some((held.last_words, empty));
        let room = self.take_words(pages, partition, 1 + rows * stride, rows);
        let (head, room) = room.split_first_mut().expect("of one word at least");
        *head = empty + rows as u64;
        room
    }

    /// Appends groups without tails to their partition: `fill` gives the hash and the key of each of `entries` and fills in its
    /// `width` words. Their keys have `key_bytes` bytes each.
    ///
    /// # Panics
    ///
    /// If the keys are not as long, or too long for a run: see [`Backlog::runs_hold`].
    #[inline]
    pub fn push_groups<'k>(
        &mut self,
        pages: &mut Pages,
        partition: usize,
        entries: &[u32],
        (key_bytes, width): (usize, usize),
        fill: impl Fn(u32, &mut [u64]) -> (u64, &'k [u8]),
    ) {
        assert!(Self::runs_hold(key_bytes));
        let key_words = key_bytes.div_ceil(8);
        let length = 1 + key_words + width;
        let mut rest = entries;
        while !rest.is_empty() {
            let free_words = self.free_words(pages, partition, length);
            let now;
            (now, rest) = rest.split_at(rest.len().min(free_words / length));
            let room = self.take_words(pages, partition, now.len() * length, now.len());
            for (record, &entry) in room.chunks_exact_mut(length).zip(now) {
                let (head_and_key, words) = record.split_at_mut(1 + key_words);
                let (hash, key) = fill(entry, words);
                head_and_key[0] = head(GROUP, hash as u32, key_bytes, 0);
                put_bytes(key, &mut head_and_key[1..]);
            }
        }
        self.partitions[partition].open = None;
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
        let partition = Self::partition_of(hash);
        self.free_words(pages, partition, length);
        self.partitions[partition].open = None;
        let room = self.take_words(pages, partition, length, 1);
        if is_large {
            room[0] = head(LARGE_GROUP, hash as u32, 0, 0);
            room[1] = key.len() as u64 | (tail_words as u64) << 32;
        } else {
            room[0] = head(GROUP, hash as u32, key.len(), tail_words);
        }
        let (key_room, rest) = room[head_words..].split_at_mut(key_words);
        let (words_room, tail_room) = rest.split_at_mut(accumulators.len());
        put_bytes(key, key_room);
        words_room.copy_from_slice(accumulators);
        bytemuck::cast_slice_mut(tail_room)[..tail.len()].copy_from_slice(tail);
    }

    /// How many pages a partition has.
    pub fn pages_in(&self, partition: usize) -> usize {
        self.partitions[partition].pages.len()
    }

    /// The words of a partition's page `index` that entries take, and perhaps zeros behind them.
    #[inline]
    pub fn page<'a>(&self, pages: &'a Pages, partition: usize, index: usize) -> &'a [u64] {
        let Partition { pages: numbers, last_words, .. } = &self.partitions[partition];
        let words = pages.get(numbers.page(index));
        if index + 1 == numbers.len() { &words[..*last_words] } else { words }
    }

    /// Has the disk fetch the pages of a partition, if there is such a one.
    pub fn prefetch(&self, pages: &Pages, partition: usize) {
        if let Some(partition) = self.partitions.get(partition) {
            partition.pages.prefetch(pages);
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

impl<'a> Entry<'a> {
    /// The entry that begins at word `at` of a page, and where the next begins; `None`: there is none.
    #[inline]
    pub fn at(page: &'a [u64], at: usize, widths: Widths) -> Option<(Self, usize)> {
        let &head = page.get(at)?;
        let (mut key_bytes, mut tail_words) = lengths(head);
        let mut start = at + 1;
        match head >> KIND_SHIFT {
            0 => return None,
            ROWS => {
                let packing = Packing { length: key_bytes, behind_zero: tail_words == 1 };
                let stride = packing.words() + widths.row;
                let words = &page[start..start + (head as u32) as usize * stride];
                return Some((Entry::Rows(Rows { packing, words, stride }), start + words.len()));
            }
            GROUP => {}
            _ => {
                (key_bytes, tail_words) =
                    (page[start] as u32 as usize, (page[start] >> 32) as usize);
                start += 1;
            }
        }
        let (key, rest) = page[start..].split_at(key_bytes.div_ceil(8));
        let (words, rest) = rest.split_at(widths.group);
        let (key, tail) = (bytemuck::cast_slice(key), bytemuck::cast_slice(&rest[..tail_words]));
        let group = Group { hash: head as u32, key: &key[..key_bytes], words, tail };
        Some((Entry::Group(group), page.len() - rest.len() + tail_words))
    }
}

#[inline]
fn head(kind: u64, low: u32, key_bytes: usize, tail_words: usize) -> u64 {
    let lengths = (key_bytes as u64) << KEY_SHIFT | (tail_words as u64) << TAIL_SHIFT;
    u64::from(low) | lengths | kind << KIND_SHIFT
}

#[inline]
fn lengths(head: u64) -> (usize, usize) {
    let length = |shift: u32| (head >> shift) as usize & (LENGTH_LIMIT - 1);
    (length(KEY_SHIFT), length(TAIL_SHIFT))
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
                let packing = Packing::of(key);
                let mut row = vec![0; packing.words()];
                packing.pack(key, &mut row);
                row.extend(words);
                let rows = Rows { packing, words: &row, stride: row.len() };
                backlog.push_rows(pages, Backlog::partition_of(hash), &rows);
            }
        }
    }

    fn records(backlog: &Backlog, pages: &Pages, partition: usize) -> Vec<Pushed> {
        let mut all = Vec::new();
        for index in 0..backlog.pages_in(partition) {
            let (page, mut at) = (backlog.page(pages, partition, index), 0);
            while let Some((entry, next)) = Entry::at(page, at, WIDTHS) {
                match entry {
                    Entry::Rows(Rows { packing, words, stride }) => {
                        for row in words.chunks_exact(stride) {
                            let (key, arguments) = row.split_at(packing.words());
                            let mut bytes = Vec::new();
                            packing.unpack(key, &mut bytes);
                            all.push((packing.hash(key) as u32, bytes, arguments.to_vec(), None));
                        }
                    }
                    Entry::Group(Group { hash, key, words, tail }) => {
                        all.push((hash, key.to_vec(), words.to_vec(), Some(tail.to_vec())));
                    }
                }
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
                let mut key = vec![seed as u8 + 1; key_bytes];
                if let Some(first) = key.first_mut().filter(|_| seed % 3 == 0) {
                    *first = 0;
                }
                let hash = hash_bytes(&key);
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
