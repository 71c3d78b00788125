//! The token: who holds it may append the next chunk to the job's one sequence.
//!
//! It carries what the order and the late rule need (each split's watermark and position) from shard to shard.
//! Decoding runs ahead of it; everything that depends on order waits for it, and passes it on before the
//! work of the chunk itself.
//!
//! # Invariants
//!
//! 1. There is one token; chunk *k* + 1 is chosen by whoever took chunk *k*, or by shard 0 where a live split has a say.
//! 2. Without live splits the choice depends on watermarks and ordinals alone.
//! 3. An exchange's watermark never goes back.

use std::sync::Arc;

use super::checkpoint::{ScanRecord, Sources, SplitRecord};
use super::topology::Feeds;
use crate::connector::{Generator, RangedSplit};
use crate::op::{WATERMARK_END, WATERMARK_START};

/// A split as every shard knows it.
#[derive(Debug)]
pub(crate) struct SplitSpec {
    pub(crate) scan: usize,
    pub(crate) origin: String,
    pub(crate) reach: Reach,
}

/// Who can read a split.
#[derive(Debug)]
pub(crate) enum Reach {
    /// Every shard, in ranges.
    Ranged(RangedSplit, u64),
    /// Every shard, by computing; so many chunks, or no end.
    Generated(Arc<dyn Generator>, Option<u64>),
    /// One shard; `live`: nobody knows when more comes.
    Sequential { shard: usize, live: bool },
    /// Shard 0, as time allows so many rows a second.
    Paced(Arc<dyn Generator>, u64),
}

/// A split's place in the sequence.
#[derive(Debug, Clone)]
pub(crate) struct SplitState {
    pub(crate) spec: Arc<SplitSpec>,
    pub(crate) next_chunk: u64,
    pub(crate) watermark_ms: i64,
    pub(crate) lines: u64,
    pub(crate) in_quotes: bool,
    pub(crate) ended: bool,
    /// Of a stream that can be read again: where reading goes on.
    pub(crate) position: Option<u64>,
    /// Of a generator on the clock: rows made.
    pub(crate) rows: u64,
}

/// What the token knows of a table.
#[derive(Debug, Clone)]
pub(crate) struct ScanState {
    /// Its directory is watched, so it does not end with its splits.
    pub(crate) watched: bool,
    /// Nothing came for so long that its watermark no longer holds others back.
    pub(crate) idle: bool,
    /// When something came last.
    pub(crate) active_at_ms: i64,
}

impl SplitState {
    pub(crate) fn new(spec: SplitSpec) -> Self {
        Self {
            spec: Arc::new(spec),
            next_chunk: 0,
            watermark_ms: WATERMARK_START,
            lines: 0,
            in_quotes: false,
            ended: false,
            position: None,
            rows: 0,
        }
    }

    fn is_live(&self) -> bool {
        matches!(self.spec.reach, Reach::Sequential { live: true, .. } | Reach::Paced(..))
    }
}

/// The next chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) split: usize,
    pub(crate) index: u64,
    pub(crate) shard: usize,
}

/// The one token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) splits: Vec<SplitState>,
    /// Per exchange: its watermark after the last chunk, for those that scans feed.
    pub(crate) exchange_ms: Vec<i64>,
    /// What shard 0 (live) or the last holder chose.
    pub(crate) chosen: Option<Chunk>,
    /// Shard 0 chooses: a split is live, or a directory is watched.
    pub(crate) live: bool,
    pub(crate) scans: Vec<ScanState>,
    /// The split that was read last, and stays its turn until it passes a multiple of so many chunks.
    pub(crate) turn: Option<usize>,
    pub(crate) turn_chunks: u64,
    pub(crate) now_ms: i64,
    /// When processing-time triggers were last told the time.
    pub(crate) ticked_ms: i64,
    pub(crate) shard_count: usize,
    /// The last barrier.
    pub(crate) epoch: u64,
}

impl Token {
    /// What a snapshot keeps of it.
    pub(crate) fn sources(&self, tables: &[String], counters: [u64; 4]) -> Sources {
        let split = |state: &SplitState| SplitRecord {
            scan: state.spec.scan,
            origin: state.spec.origin.clone(),
            length_bytes: match &state.spec.reach {
                Reach::Ranged(file, _) => Some(file.length_bytes),
                _ => None,
            },
            next_chunk: state.next_chunk,
            watermark_ms: state.watermark_ms,
            lines: state.lines,
            in_quotes: state.in_quotes,
            ended: state.ended,
            position: state.position,
            rows: state.rows,
            content: None,
        };
        let scan = |(scan, table): (&ScanState, &String)| ScanRecord {
            table: table.clone(),
            idle: scan.idle,
            active_at_ms: scan.active_at_ms,
        };
        Sources {
            splits: self.splits.iter().map(split).collect(),
            scans: self.scans.iter().zip(tables).map(scan).collect(),
            exchange_ms: self.exchange_ms.clone(),
            turn: self.turn,
            now_ms: self.now_ms,
            ticked_ms: self.ticked_ms,
            counters,
        }
    }

    /// The shard that reads chunk `index` of split `split`.
    pub(crate) fn reader(&self, split: usize, index: u64) -> usize {
        match self.splits[split].spec.reach {
            Reach::Sequential { shard, .. } => shard,
            Reach::Paced(..) => 0,
            _ => ((split as u64 + index) % self.shard_count as u64) as usize,
        }
    }

    /// The next chunk among splits that can always be read: of the split whose turn it is, else of the one with the
    /// lowest (watermark, ordinal). Turns end at fixed positions, so that smaller chunks leave the order as it is; what is no
    /// plain file has chunks of its own, each of which is a turn.
    pub(crate) fn choose(&self) -> Option<Chunk> {
        let open = |split: &SplitState| !split.ended && !split.is_live();
        let kept = self.turn.filter(|&split| {
            let state = &self.splits[split];
            let is_plain = matches!(state.spec.reach, Reach::Ranged(..));
            open(state) && is_plain && !state.next_chunk.is_multiple_of(self.turn_chunks)
        });
        let lowest = || {
            let splits = self.splits.iter().enumerate().filter(|(_, split)| open(split));
            splits
                .min_by_key(|(ordinal, split)| (split.watermark_ms, *ordinal))
                .map(|(split, _)| split)
        };
        let split = kept.or_else(lowest)?;
        let index = self.splits[split].next_chunk;
        Some(Chunk { split, index, shard: self.reader(split, index) })
    }

    /// Whether nothing more can come.
    pub(crate) fn is_over(&self) -> bool {
        self.scans.iter().all(|scan| !scan.watched) && self.splits.iter().all(|split| split.ended)
    }

    /// A table's watermark, split `except` left out; `None` if nothing of it counts.
    fn scan_ms(&self, scan: usize, except: Option<usize>) -> Option<i64> {
        let splits = || self.splits.iter().enumerate().filter(|(_, split)| split.spec.scan == scan);
        let open = splits().filter(|(at, split)| !split.ended && Some(*at) != except);
        if let Some(lowest) = open.map(|(_, split)| split.watermark_ms).min() {
            return Some(lowest);
        }
        let left_out = except.is_some_and(|split| self.splits[split].spec.scan == scan);
        if left_out || !self.scans[scan].watched {
            return None;
        }
        // All files so far are read: the table stands where they left it.
        Some(splits().map(|(_, split)| split.watermark_ms).max().unwrap_or(WATERMARK_START))
    }

    /// The lowest watermark of the feeding tables, split `except` left out: what a row's watermark is capped by.
    pub(crate) fn feeding_ms(&self, feeds: &Feeds, except: Option<usize>) -> i64 {
        let Feeds::Scans(scans) = feeds else { return WATERMARK_START };
        let of = |idle: bool| {
            let fed = scans.iter().filter(move |&&scan| self.scans[scan].idle == idle);
            fed.filter_map(move |&scan| self.scan_ms(scan, except))
        };
        match (of(false).min(), of(true).max(), except) {
            (Some(lowest), _, _) => lowest,
            // All are idle: the highest counts, so that what they agree on can fire.
            (None, Some(highest), None) => highest,
            // Nothing else is active: nothing caps the split that was left out, or all have ended.
            _ => WATERMARK_END,
        }
    }

    /// Advances an exchange's watermark and returns it.
    pub(crate) fn advance(&mut self, exchange: usize, feeds: &Feeds) -> i64 {
        let reached = self.feeding_ms(feeds, None).max(self.exchange_ms[exchange]);
        self.exchange_ms[exchange] = reached;
        reached
    }
}
