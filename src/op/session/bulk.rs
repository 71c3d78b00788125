//! Sessions in bulk: rows wait, partitioned, and are put to the open sessions a partition at a time.
//!
//! To look a row up among all open sessions costs a miss of memory or three, and to enter a session into an index and take it out again as
//! many, for a session that has a row or two. Here open sessions have no index. When enough rows wait one is made of a
//! partition's sessions, which fits the cache, the rows are looked up in it, and what is over leaves. So each row costs a few
//! sessions to be looked through, and no miss.
//!
//! To look through sessions is to go through tags and ends ([`partition`]). Those that are gone lie where they are until they are a good part
//! of all. Only those that a row may touch are entered into the index ([`seek`]), and they are few. Most sessions have one row: what they come
//! to is worked out from that row when they are over, without accumulators ([`single`]).
//!
//! # Invariants
//!
//! 1. Keys of all sessions, and of all rows that wait, lie in one packing.

use std::sync::Arc;

use self::join::Join;
use self::over::Over;
use self::partition::{Ended, Partition};
use self::seek::Seek;
use crate::agg::{Partials, export};
use crate::batch::{Batch, Packing};
use crate::metrics::LateRows;
use crate::op::found::Found;
use crate::op::packed_rows::PackedRows;
use crate::op::shape::Shape;
use crate::state::{Backlog, PARTITIONS, prefetch_lines};

mod index;
mod join;
mod over;
mod partition;
mod picked;
mod repeats;
mod seek;
mod single;

/// So many rows at least pay for a look.
const ROWS_MIN: usize = if cfg!(test) { 64 } else { 4096 };
/// When a session ends that is gone.
const GONE: i64 = i64::MIN;
/// Words of the longest key that is told by its words at once.
const KEY_WORDS_MAX: usize = 4;

/// Open sessions, and rows that wait to be put to them.
#[derive(Debug)]
pub(super) struct Bulk {
    shape: Arc<Shape>,
    gap_ms: i64,
    /// `None`: nothing has come yet.
    packing: Option<Packing>,
    partitions: Vec<Partition>,
    record_count: usize,
    waiting: Vec<PackedRows>,
    waiting_count: usize,
    /// Of a partition's rows, up to which end sessions were over when they came; those behind its end cannot be late.
    row_over_ms: Vec<i64>,
    seek: Seek,
    found: Found,
    /// What is over of one partition, and what becomes results.
    ended: Ended,
    over: Over,
    /// The partition that is looked through next, while sessions are read out that are over.
    next: usize,
    /// Up to here sessions are over that end, of what is read out.
    over_ms: i64,
    work: Work,
}

/// What reading out once took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    /// Rows that were put to sessions.
    pub(super) rows: usize,
    /// Sessions that were looked through.
    pub(super) records: usize,
}

/// An open session.
pub(super) struct Open<'a> {
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
    pub(super) span: (i64, i64),
    pub(super) accumulators: &'a Partials,
}

impl Bulk {
    pub(super) fn new(shape: Arc<Shape>, gap_ms: i64) -> Self {
        Self {
            gap_ms,
            packing: None,
            partitions: Vec::new(),
            record_count: 0,
            waiting: Vec::new(),
            waiting_count: 0,
            row_over_ms: Vec::new(),
            seek: Seek::default(),
            found: Found::new(&shape),
            ended: Ended::default(),
            over: Over::new(&shape, gap_ms),
            next: PARTITIONS,
            over_ms: i64::MIN,
            work: Work::default(),
            shape,
        }
    }

    /// Whether enough rows wait for a look through all sessions to be cheap.
    pub(super) fn is_worth_a_look(&self) -> bool {
        is_worth_a_look(self.waiting_count, self.record_count)
    }

    /// How many sessions were open when they were last looked through.
    pub(super) fn record_count(&self) -> usize {
        self.record_count
    }

    /// Bytes that sessions take.
    pub(super) fn bytes(&self) -> usize {
        self.partitions.iter().map(Partition::bytes).sum()
    }

    fn is_empty(&self) -> bool {
        self.record_count == 0 && self.waiting_count == 0
    }

    /// Whether keys may be packed like this: as those that are here.
    pub(super) fn suits(&self, packing: Packing) -> bool {
        packing.words() <= KEY_WORDS_MAX && (self.packing == Some(packing) || self.is_empty())
    }

    /// Has rows wait, whose keys' packing suits.
    pub(super) fn push(&mut self, rows: PackedRows) {
        self.pack(rows.packing());
        self.waiting_count += rows.count();
        self.waiting.push(rows);
    }

    /// Takes in a session, the oldest of a key first.
    pub(super) fn adopt(&mut self, session: &Open<'_>) {
        let packing = Packing::of(session.key);
        self.pack(packing);
        let mut key = vec![0; packing.words()];
        packing.pack(session.key, &mut key);
        let partition = &mut self.partitions[Backlog::partition_of(session.hash)];
        partition.adopt(&self.shape, &key, session.span, session.accumulators);
        self.record_count += 1;
    }

    fn pack(&mut self, packing: Packing) {
        if self.packing == Some(packing) {
            return;
        }
        assert!(self.is_empty(), "keys are packed alike");
        self.packing = Some(packing);
        let partition = || Partition::new(&self.shape, packing.words());
        self.partitions = std::iter::repeat_with(partition).take(PARTITIONS).collect();
    }

    /// Calls `to` with all sessions, the oldest of a key first; nothing is here then. Rows that are late are noted.
    pub(super) fn drain(&mut self, late: &mut LateRows, mut to: impl FnMut(&Open<'_>)) {
        let Some(packing) = self.packing.take() else { return };
        let (mut key, mut accumulators) = (Vec::new(), Partials::default());
        for number in 0..PARTITIONS {
            self.join(packing, number, late);
            let partition = &mut self.partitions[number];
            partition.fold_all(&self.shape, &mut self.found);
            for (slot, &end) in partition.ends.iter().enumerate().filter(|&(_, &end)| end != GONE) {
                let words = partition.key(slot as u32);
                key.clear();
                packing.unpack(words, &mut key);
                accumulators.clear();
                export(
                    &self.shape.layout,
                    0,
                    &partition.sums,
                    partition.groups[slot],
                    &mut accumulators,
                );
                let (hash, span) = (packing.hash(words), (partition.start(slot as u32), end));
                to(&Open { hash, key: &key, span, accumulators: &accumulators });
            }
        }
        *self = Self::new(Arc::clone(&self.shape), self.gap_ms);
    }

    /// Begins to read out what is over at a watermark; [`Bulk::next_results`] goes on.
    pub(super) fn advance(&mut self, watermark_ms: i64) {
        self.over_ms = watermark_ms.saturating_add(1);
        (self.next, self.work) = (0, Work { rows: self.waiting_count, records: 0 });
    }

    /// The next sessions that are over.
    pub(super) fn next_results(&mut self, late: &mut LateRows) -> Option<Batch> {
        while self.over.batches.is_empty() && self.next < PARTITIONS {
            self.look_through(self.next, late);
            self.next += 1;
            if self.next == PARTITIONS {
                self.waiting.clear();
                self.waiting_count = 0;
                self.packing.iter().for_each(|&packing| self.over.finish(&self.shape, packing));
            }
        }
        self.over.batches.pop_front()
    }

    /// What it took to read out, when [`Bulk::next_results`] has said `None`.
    pub(super) fn work(&self) -> Work {
        self.work
    }

    /// Puts the rows of a partition to its sessions, and makes results of what is over.
    fn look_through(&mut self, number: usize, late: &mut LateRows) {
        let Some(packing) = self.packing else { return };
        let has_rows = self.join(packing, number, late);
        let partition = &mut self.partitions[number];
        if !has_rows && partition.earliest_end_ms() > self.over_ms {
            return;
        }
        self.work.records += partition.ends.len();
        partition.take_over(self.over_ms, &mut self.ended);
        let (from, ended) = (&*partition, &self.ended);
        match packing.words() {
            1 => self.over.add::<1>(&self.shape, packing, from, ended),
            2 => self.over.add::<2>(&self.shape, packing, from, ended),
            3 => self.over.add::<3>(&self.shape, packing, from, ended),
            _ => self.over.add::<KEY_WORDS_MAX>(&self.shape, packing, from, ended),
        }
        self.record_count -= self.ended.count();
        partition.forget(self.over_ms, self.ended.count(), &self.shape);
    }

    /// Puts the rows of a partition to its sessions; whether there are any.
    fn join(&mut self, packing: Packing, number: usize, late: &mut LateRows) -> bool {
        let rows = self.waiting.iter().map(|rows| rows.count_in(number)).sum::<usize>();
        if rows == 0 {
            return false;
        }
        let before = self.partitions[number].open_count();
        match packing.words() {
            1 => self.join_keys::<1>(number, late),
            2 => self.join_keys::<2>(number, late),
            3 => self.join_keys::<3>(number, late),
            _ => self.join_keys::<KEY_WORDS_MAX>(number, late),
        }
        self.record_count = self.record_count + self.partitions[number].open_count() - before;
        true
    }

    /// Puts the rows of a partition to its sessions, whose keys have `KEY` words.
    fn join_keys<const KEY: usize>(&mut self, number: usize, late: &mut LateRows) {
        let Self { shape, gap_ms, partitions, waiting, row_over_ms: over_ms, seek, found, .. } =
            self;
        let partition = &mut partitions[number];
        let (first, mut row_count) = (partition.ends.len(), 0);
        over_ms.clear();
        for (at, packed) in waiting.iter().enumerate() {
            // Each run is a few lines in a place of its own.
            if let Some(next) = waiting.get(at + 1) {
                prefetch_lines(next.run(number).words);
            }
            let rows = packed.run(number);
            if packed.time_count() > 1 {
                over_ms.resize(row_count, GONE);
                let arrivals = rows.words.chunks_exact(rows.stride).map(|row| row[KEY + 1]);
                over_ms.extend(arrivals.map(|arrival| arrival.cast_signed().saturating_add(1)));
            }
            partition.add_rows(&rows, packed.time_count());
            row_count += packed.count_in(number);
        }
        partition.begin_all::<KEY>(*gap_ms);
        seek.begin(partition, first);
        Join { shape, partition, first, over_ms, found, late }.run::<KEY>(seek);
    }
}

/// Whether so many rows pay for a look through so many sessions.
pub(super) fn is_worth_a_look(rows: usize, records: usize) -> bool {
    rows >= ROWS_MIN.max(records / 2)
}
