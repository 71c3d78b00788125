//! A slice with many groups: what comes waits, partitioned, until the slice is read.
//!
//! To look up each row's group in a table larger than the cache costs a miss of memory or three. Here rows are appended, which costs none,
//! and a partition of the keys is folded at a time, in a table that fits the cache ([`super::gathered`]). Rows wait as they are where their
//! arguments are numbers, which takes less room than accumulators do; else as accumulators, of each key in a payload once.
//!
//! # Invariants
//!
//! 1. What waits of a key is folded in the order in which it came.
//! 2. When more waits than [`REPEATS`] times what its groups would take, it is folded to one record a group, a partition at a time
//!    ([`Waiting::compact`]). How much it is, is judged by the largest partition, whenever a certain share has come.

use arrow_array::{ArrayRef, UInt32Array};

use super::folding::Folding;
use super::gathered::Gathered;
use super::packed_rows::PackedRows;
use super::pane::{Pane, update_calls};
use super::partition::sorted;
use super::shape::Shape;
use super::{Data, Payload};
use crate::agg::{Partials, Travel, export, travel};
use crate::batch::{DataType, KeyWords, Keys, take_columns};
use crate::crash_point;
use crate::state::{Backlog, PARTITIONS, Pages, Saved, Widths};

/// What waits takes at most about so many times what its groups would.
const REPEATS: usize = 2;
/// So many records more at least, and the slice is judged again.
const JUDGED_RECORDS: u64 = if cfg!(test) { 64 } else { 1 << 14 };

/// What waits of a slice.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) backlog: Backlog,
    /// With so many records it is judged next.
    judged_at: u64,
    /// How many records there were when it was last read; not saved.
    settled_at: u64,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self { backlog: Backlog::new(), judged_at: JUDGED_RECORDS, settled_at: 0 }
    }

    /// Whether groups of `shape` may wait: distinct values do not travel as accumulators.
    pub(super) fn suits(shape: &Shape) -> bool {
        travel(&shape.calls) == Travel::Accumulators
    }

    /// The groups of a pane wait from now on.
    pub(super) fn of_pane(shape: &Shape, pages: &mut Pages, mut pane: Pane) -> Self {
        crash_point!("wait-begun");
        let mut waiting = Self::new();
        pane.each_group(shape, pages, |pages, hash, key, partials| {
            waiting.backlog.push_group(pages, hash, key, &partials.words, &partials.blobs);
        });
        pane.release(pages);
        waiting
    }

    /// Takes in what `payload` has in `rows`.
    pub(super) fn receive(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        payload: &Payload,
        rows: &[u32],
    ) {
        match &payload.data {
            Data::Grouped(_) => unreachable!("distinct values do not wait"),
            Data::Rows(columns) => self.push_rows(shape, pages, &payload.keys, rows, columns),
            Data::Packed(packed) => self.push_packed(pages, packed),
            Data::Partials(partials) => {
                self.push_groups(shape, pages, &payload.keys, rows, partials);
            }
        }
        if self.backlog.record_count() >= self.judged_at {
            self.judge(shape, pages);
        }
    }

    fn push_rows(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        keys: &Keys,
        rows: &[u32],
        columns: &[ArrayRef],
    ) {
        if rows.len() < keys.count() {
            let columns = take_columns(columns, &UInt32Array::from(rows.to_vec()));
            return self.push_columns(shape, pages, &keys.take(rows), &columns);
        }
        self.push_columns(shape, pages, keys, columns);
    }

    fn push_columns(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        keys: &Keys,
        columns: &[ArrayRef],
    ) {
        let packed = KeyWords::of_keys(keys)
            .and_then(|keys| PackedRows::by_shard(shape, &keys, (&[], columns), 1));
        if let Some(packed) = packed {
            packed.iter().for_each(|packed| self.push_packed(pages, packed));
            return;
        }
        let (keys, partials) = folded(shape, keys, columns);
        let rows: Vec<u32> = (0..keys.count() as u32).collect();
        self.push_groups(shape, pages, &keys, &rows, &partials);
    }

    fn push_packed(&mut self, pages: &mut Pages, packed: &PackedRows) {
        for (partition, rows) in packed.runs() {
            self.backlog.push_rows(pages, partition, &rows);
        }
    }

    fn push_groups(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        keys: &Keys,
        rows: &[u32],
        partials: &Partials,
    ) {
        let (layout, width) = (&shape.layout, shape.layout.word_count);
        let has_tail = |&row: &u32| {
            let words = partials.group(row as usize, width);
            layout.blob_words.iter().any(|&word| words[word] != 0)
        };
        let key_bytes = keys.common_length().filter(|&bytes| Backlog::runs_hold(bytes));
        let key_bytes = key_bytes.filter(|_| !rows.iter().any(has_tail));
        let partition = |row: u32| Backlog::partition_of(keys.hashes[row as usize]);
        let (sorted, starts) = sorted(rows.iter().copied(), partition, PARTITIONS);
        for (partition, ends) in starts.windows(2).enumerate().filter(|(_, ends)| ends[0] < ends[1])
        {
            let rows = &sorted[ends[0] as usize..ends[1] as usize];
            let key = |row: u32| (keys.hashes[row as usize], keys.get(row as usize));
            let Some(key_bytes) = key_bytes else {
                rows.iter().for_each(|&row| {
                    self.push_group(shape, pages, key(row), partials, row as usize);
                });
                continue;
            };
            self.backlog.push_groups(pages, partition, rows, (key_bytes, width), |row, room| {
                room.copy_from_slice(partials.group(row as usize, width));
                key(row)
            });
        }
    }

    /// Appends group `index` of `partials`.
    pub(super) fn push_group(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        (hash, key): (u64, &[u8]),
        partials: &Partials,
        index: usize,
    ) {
        let words = partials.group(index, shape.layout.word_count);
        if shape.layout.blob_words.iter().all(|&word| words[word] == 0) {
            self.backlog.push_group(pages, hash, key, words, &[]);
            return;
        }
        let mut group = Partials::default();
        partials.copy_group(index, shape.layout.word_count, &shape.layout, &mut group);
        self.backlog.push_group(pages, hash, key, &group.words, &group.blobs);
    }

    /// About how many groups there are, if none has been folded more than the largest partition's.
    fn groups(&self, shape: &Shape, pages: &Pages) -> u64 {
        let largest = self.backlog.largest();
        let distinct = Gathered::distinct(shape, pages, &self.backlog, largest) as u64;
        let records = self.backlog.records_in(largest).max(1) as u64;
        (self.backlog.record_count() * distinct).div_ceil(records)
    }

    /// Compacts it if it is worth it, and says when to look again.
    fn judge(&mut self, shape: &Shape, pages: &mut Pages) {
        let (groups, repeats) = (self.groups(shape, pages), repeats_max(shape));
        if groups * repeats <= self.backlog.record_count() {
            self.compact(shape, pages);
        }
        let records = self.backlog.record_count();
        let next = (groups * repeats).max(records + records / 8);
        self.judged_at = next.max(records + JUDGED_RECORDS);
    }

    /// Before it is read more than once: folds what waits, if there is much to fold.
    pub(super) fn settle(&mut self, shape: &Shape, pages: &mut Pages) {
        let records = self.backlog.record_count();
        if self.settled_at != records && self.groups(shape, pages) * 4 <= records * 3 {
            self.compact(shape, pages);
        }
        self.settled_at = self.backlog.record_count();
    }

    /// Folds what waits to one record a group.
    fn compact(&mut self, shape: &Shape, pages: &mut Pages) {
        let mut compact = Self::new();
        self.drain(shape, pages, &mut |pages, gathered| {
            crash_point!("compact-part");
            compact.take_groups(shape, pages, gathered);
        });
        self.backlog = compact.backlog;
    }

    /// Calls `to` with all groups, a part at a time; nothing waits then.
    pub(super) fn drain(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        to: &mut dyn FnMut(&mut Pages, &Gathered),
    ) {
        let mut gathered = Gathered::new(shape);
        for partition in 0..PARTITIONS {
            self.backlog.prefetch(pages, partition + 1);
            gathered.begin(shape, pages, &[&self.backlog], partition);
            while gathered.next_part(shape, pages, &[&self.backlog]) {
                to(pages, &gathered);
            }
            self.backlog.release_partition(pages, partition);
        }
    }

    /// Appends the groups that have been gathered.
    pub(super) fn take_groups(&mut self, shape: &Shape, pages: &mut Pages, gathered: &Gathered) {
        let (mut key, mut partials) = (Vec::new(), Partials::default());
        for slot in 0..gathered.count() as u32 {
            partials.clear();
            export(&shape.layout, 0, gathered.accumulators(), slot, &mut partials);
            let hash = gathered.read_key(slot, &mut key);
            self.backlog.push_group(pages, hash, &key, &partials.words, &partials.blobs);
        }
    }

    pub(super) fn save(&self, out: &mut Vec<u64>) {
        self.backlog.save(out);
        out.push(self.judged_at);
    }

    pub(super) fn load(saved: &mut Saved<'_>, pages: &Pages) -> Self {
        Self { backlog: Backlog::load(saved, pages), judged_at: saved.word(), settled_at: 0 }
    }

    pub(super) fn release(self, pages: &mut Pages) {
        self.backlog.release(pages);
    }
}

/// How many words records have.
pub(super) fn widths(shape: &Shape) -> Widths {
    Widths { row: shape.shipped_types.len(), group: shape.layout.word_count }
}

/// How many records may wait for each group: more where rows are smaller than groups. Keys are taken to be of two words; groups have
/// heads, rows hardly any.
fn repeats_max(shape: &Shape) -> u64 {
    let Widths { row, group } = widths(shape);
    let rows_wait = shape.shipped_types.iter().all(|&data_type| is_word(data_type));
    let record = if rows_wait { 2 + row.min(group) } else { 3 + group };
    (REPEATS * (3 + group) / record) as u64
}

/// Rows as accumulators, of each key once.
fn folded(shape: &Shape, keys: &Keys, columns: &[ArrayRef]) -> (Keys, Partials) {
    let mut held = Folding::new(shape.layout.word_count);
    let slot = |row: usize| held.slot(keys.hashes[row], 0, keys.get(row));
    let slots: Vec<u32> = (0..keys.count()).map(slot).collect();
    update_calls(shape, 0, &mut held.accumulators, &slots, columns);
    let (mut groups, mut partials) = (Keys::default(), Partials::default());
    for slot in 0..held.count() as u32 {
        let (hash, key, _) = held.group(slot);
        groups.push(hash, key);
        export(&shape.layout, 0, &held.accumulators, slot, &mut partials);
    }
    (groups, partials)
}

/// Whether a value of this type is a word.
fn is_word(data_type: DataType) -> bool {
    use arrow_schema::DataType as Arrow;
    matches!(
        data_type.arrow(),
        Arrow::Boolean
            | Arrow::Int8
            | Arrow::Int16
            | Arrow::Int32
            | Arrow::Int64
            | Arrow::Float32
            | Arrow::Float64
    )
}
