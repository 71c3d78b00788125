//! A shard's share of the reading: opens splits, decodes chunks ahead of the token.
//!
//! # Invariants
//!
//! 1. What a decoded chunk holds depends on the chunk alone; when it was decoded does not show.
//! 2. At most [`AHEAD_CHUNKS`] chunks are decoded ahead.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::prepare::ChunkRows;
use super::token::{Reach, SplitSpec, SplitState, Token};
use super::topology::{Scan, Topology};
use super::watch::Streams;
use crate::batch::{BATCH_ROWS_MAX, Batch};
use crate::connector::{
    ChunkBytes, Opening, RangeReader, RawRange, Read, SequentialReader, SequentialSplit,
};
use crate::error::JobError;
use crate::format::{BadRecord, Decode, Decoded};

/// How many chunks a shard decodes before the token comes.
const AHEAD_CHUNKS: usize = 2;

/// A chunk, decoded.
#[derive(Default)]
pub(crate) struct DecodedChunk {
    pub(crate) rows: ChunkRows,
    /// Rows decoded; fewer go on if one fails.
    pub(crate) row_count: u64,
    /// The number of the first, if they are not lines.
    pub(crate) first_row: Option<u64>,
    pub(crate) line_count: u64,
    pub(crate) byte_count: u64,
    pub(crate) skipped: Vec<BadRecord>,
    pub(crate) skipped_count: u64,
    /// A record that stops the job, after the batches.
    pub(crate) bad_record: Option<BadRecord>,
    /// Another error, after the batches.
    pub(crate) failure: Option<JobError>,
    /// It was cut as if it began outside quotes; the range itself, to be cut again.
    range: Option<RawRange>,
    /// The stream says that this was all.
    pub(crate) is_last: bool,
}

impl DecodedChunk {
    /// Of rows as they were decoded.
    fn of(batches: Vec<Batch>) -> Self {
        let row_count = batches.iter().map(|batch| batch.rows as u64).sum();
        Self { rows: ChunkRows::Decoded(batches), row_count, ..Self::default() }
    }
}

/// Bytes of a file that a runtime may read while the shard works.
#[derive(Clone, Debug)]
pub(crate) struct ReadRequest {
    pub(crate) split: usize,
    pub(crate) index: u64,
    pub(crate) path: PathBuf,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A shard's readers.
pub(crate) struct Input {
    /// By scan; none where rows come as they are.
    decoders: Vec<Option<Box<dyn Decode>>>,
    topology: Arc<Topology>,
    shard: usize,
    chunk_bytes: u64,
    ranged: HashMap<usize, RangeReader>,
    unopened: Streams,
    streams: BTreeMap<usize, Box<dyn SequentialReader>>,
    ahead: HashMap<(usize, u64), DecodedChunk>,
    /// Bytes that the runtime has read, or (`None`) is reading.
    supplied: HashMap<(usize, u64), Option<Vec<u8>>>,
    /// Splits as the token last showed them.
    view: Vec<SplitState>,
    shard_count: usize,
    /// When each generator on the clock was first asked, and how many rows it had made then.
    paced_since: HashMap<usize, (i64, u64)>,
    /// Records that each stream has dropped by itself so far.
    dropped: HashMap<usize, u64>,
    /// Rows that each stream of rows has handed out in this run.
    taken: HashMap<usize, u64>,
}

impl Input {
    pub(crate) fn new(
        topology: Arc<Topology>,
        shard: usize,
        shard_count: usize,
        chunk_bytes: u64,
        view: Vec<SplitState>,
        unopened: Streams,
    ) -> Self {
        let decoder = |scan: &Scan| {
            scan.source.format().map(|format| format.decoder(&scan.physical, &scan.projection))
        };
        let decoders = topology.scans.iter().map(decoder).collect();
        Self {
            decoders,
            topology,
            shard,
            chunk_bytes,
            ranged: HashMap::new(),
            unopened,
            streams: BTreeMap::new(),
            ahead: HashMap::new(),
            supplied: HashMap::new(),
            view,
            shard_count,
            paced_since: HashMap::new(),
            dropped: HashMap::new(),
            taken: HashMap::new(),
        }
    }

    /// Takes note of where the sequence stands.
    pub(crate) fn observe(&mut self, token: &Token) {
        self.view.clone_from(&token.splits);
        let view = &self.view;
        self.ahead
            .retain(|&(split, index), _| index >= view[split].next_chunk && !view[split].ended);
        self.supplied
            .retain(|&(split, index), _| index >= view[split].next_chunk && !view[split].ended);
        self.ranged.retain(|&split, _| !view[split].ended);
    }

    /// What a runtime that reads by itself should read next.
    pub(crate) fn wanted_read(&mut self) -> Result<Option<ReadRequest>, JobError> {
        if self.supplied.len() >= AHEAD_CHUNKS {
            return Ok(None);
        }
        let Some((split, index)) = self.next_ahead(true) else { return Ok(None) };
        if !matches!(self.view[split].spec.reach, Reach::Ranged(..)) {
            return Ok(None);
        }
        let reader = self.range_reader(split)?;
        let (from, to) = reader.extent(index);
        let path = reader.path().to_owned();
        self.supplied.insert((split, index), None);
        Ok(Some(ReadRequest { split, index, path, from, to }))
    }

    /// Takes what was read. Nothing, or less than was asked for, is read again in the ordinary way, which tells why.
    pub(crate) fn supply(&mut self, request: &ReadRequest, bytes: Option<Vec<u8>>) {
        let key = (request.split, request.index);
        match bytes.filter(|bytes| bytes.len() as u64 == request.to - request.from) {
            Some(bytes) if self.supplied.contains_key(&key) => {
                drop(self.supplied.insert(key, Some(bytes)))
            }
            _ => drop(self.supplied.remove(&key)),
        }
    }

    fn range_reader(&mut self, split: usize) -> Result<&RangeReader, JobError> {
        if !self.ranged.contains_key(&split) {
            let spec = &self.view[split].spec;
            let Reach::Ranged(file, _) = &spec.reach else { unreachable!("asked for files only") };
            let format =
                self.topology.scans[spec.scan].source.format().expect("files have a format");
            let reader = RangeReader::open(file, format.framing(), self.chunk_bytes)?;
            self.ranged.insert(split, reader);
        }
        Ok(&self.ranged[&split])
    }

    /// Decodes one chunk ahead, if there is one worth it: its split, its index, and what it holds, to be [kept](Input::keep).
    pub(crate) fn decode_ahead(&mut self) -> Result<Option<(usize, u64, DecodedChunk)>, JobError> {
        if self.ahead.len() >= AHEAD_CHUNKS {
            return Ok(None);
        }
        let Some((split, index)) = self.next_ahead(false) else { return Ok(None) };
        if matches!(self.supplied.get(&(split, index)), Some(None)) {
            return Ok(None);
        }
        let chunk = self.decode(split, index, false)?;
        Ok(Some((split, index, chunk)))
    }

    /// The scan that a split belongs to.
    pub(crate) fn scan_of(&self, split: usize) -> usize {
        self.view[split].spec.scan
    }

    /// Keeps a chunk until it is due.
    pub(crate) fn keep(&mut self, split: usize, index: u64, chunk: DecodedChunk) {
        self.ahead.insert((split, index), chunk);
    }

    /// The chunk that the token will most likely bring to this shard next, and that is not decoded yet (nor, with
    /// `unread`, read).
    fn next_ahead(&self, unread: bool) -> Option<(usize, u64)> {
        let mut open: Vec<usize> =
            (0..self.view.len()).filter(|&split| !self.view[split].ended).collect();
        open.sort_by_key(|&split| (self.view[split].watermark_ms, split));
        let step = self.shard_count as u64;
        open.into_iter().take(AHEAD_CHUNKS * self.shard_count).find_map(|split| {
            let state = &self.view[split];
            let count = match &state.spec.reach {
                Reach::Ranged(_, count) => *count,
                Reach::Generated(_, count) => count.unwrap_or(u64::MAX),
                _ => return None,
            };
            let turn = (split as u64 + state.next_chunk) % step;
            let first = state.next_chunk + (self.shard as u64 + step - turn) % step;
            let done = |key: &(usize, u64)| {
                self.ahead.contains_key(key) || (unread && self.supplied.contains_key(key))
            };
            let reach = if unread { 2 * AHEAD_CHUNKS } else { AHEAD_CHUNKS };
            let wanted = (0..reach as u64).map(|turn| (split, first + turn * step));
            wanted.take_while(|key| key.1 < count).find(|key| !done(key))
        })
    }

    /// The decoded chunk that the token asks for. `None`: a stream has nothing yet.
    pub(crate) fn take(
        &mut self,
        split: usize,
        index: u64,
        state: &SplitState,
    ) -> Result<Option<DecodedChunk>, JobError> {
        if let Reach::Sequential { .. } = state.spec.reach {
            return self.read_stream(split, &Arc::clone(&state.spec), index, true);
        }
        let chunk = match self.ahead.remove(&(split, index)) {
            Some(chunk) => chunk,
            None => self.decode(split, index, state.in_quotes)?,
        };
        match chunk.range {
            // The guess that it begins outside quotes was wrong.
            Some(range) if state.in_quotes => {
                self.decode_range(split, index, range, true).map(Some)
            }
            _ => Ok(Some(chunk)),
        }
    }

    fn decode(
        &mut self,
        split: usize,
        index: u64,
        in_quotes: bool,
    ) -> Result<DecodedChunk, JobError> {
        let spec = Arc::clone(&self.view[split].spec);
        match &spec.reach {
            Reach::Ranged(..) => {
                let supplied = self.supplied.remove(&(split, index)).flatten();
                let reader = self.range_reader(split)?;
                let range = match supplied {
                    Some(bytes) => reader.range_of(index, bytes),
                    None => reader.read_range(index)?,
                };
                self.decode_range(split, index, range, in_quotes)
            }
            Reach::Generated(generator, _) => {
                let most = generator.chunk_rows();
                let start = index * most;
                let rows = generator.row_count().map_or(most, |all| (all - start).min(most));
                Ok(self.generate(spec.scan, generator.as_ref(), start, rows))
            }
            Reach::Sequential { .. } | Reach::Paced(..) => {
                unreachable!("streams are not read ahead")
            }
        }
    }

    fn decode_range(
        &mut self,
        split: usize,
        index: u64,
        mut range: RawRange,
        in_quotes: bool,
    ) -> Result<DecodedChunk, JobError> {
        let scan = self.view[split].spec.scan;
        let reader = &self.ranged[&split];
        let bytes: ChunkBytes = reader.cut(&mut range, in_quotes)?;
        let needs_quotes = reader.needs_quotes();
        let at_start = index == 0;
        let mut chunk = self.decode_records(scan, &bytes.records, at_start);
        if let Some(oversized) = bytes.oversized {
            let lines_before = chunk.line_count;
            self.note_oversized(scan, &mut chunk, oversized, lines_before);
        }
        chunk.range = needs_quotes.then_some(range);
        Ok(chunk)
    }

    /// Whether the range after this chunk begins inside quotes.
    pub(crate) fn ends_in_quotes(chunk: &DecodedChunk, in_quotes: bool) -> bool {
        chunk.range.as_ref().is_some_and(|range| range.ends_in_quotes(in_quotes))
    }

    fn decode_records(
        &mut self,
        scan: usize,
        records: &arrow_buffer::Buffer,
        at_start: bool,
    ) -> DecodedChunk {
        let decoder = self.decoders[scan].as_mut().expect("bytes have a format");
        let decoded: Decoded = decoder.decode(records, at_start);
        DecodedChunk {
            line_count: decoded.line_count,
            byte_count: records.len() as u64,
            skipped: decoded.skipped,
            skipped_count: decoded.skipped_count,
            bad_record: decoded.failure,
            ..DecodedChunk::of(decoded.batches)
        }
    }

    /// An oversized record is a bad record: dropped where the format skips those, else the job's end.
    fn note_oversized(
        &self,
        scan: usize,
        chunk: &mut DecodedChunk,
        mut record: BadRecord,
        lines_before: u64,
    ) {
        record.line_index = record.line_index.max(lines_before.saturating_sub(1));
        let skips = self.topology.scans[scan]
            .source
            .format()
            .is_some_and(|format| format.skips_bad_records());
        if skips {
            chunk.skipped_count += 1;
            chunk.skipped.push(record);
        } else {
            chunk.bad_record.get_or_insert(record);
        }
    }

    fn generate(
        &mut self,
        scan: usize,
        generator: &dyn crate::connector::Generator,
        start: u64,
        rows: u64,
    ) -> DecodedChunk {
        let projection = self.topology.scans[scan].projection.clone();
        let mut batches = Vec::new();
        let mut at = start;
        while at < start + rows {
            let count = (start + rows - at).min(BATCH_ROWS_MAX as u64) as usize;
            batches.push(generator.generate(at, count, &projection));
            at += count as u64;
        }
        DecodedChunk { first_row: Some(start), ..DecodedChunk::of(batches) }
    }

    /// Reads a stream. With `flush` it hands out what is there; `None` if that is nothing.
    pub(crate) fn read_stream(
        &mut self,
        split: usize,
        spec: &SplitSpec,
        index: u64,
        flush: bool,
    ) -> Result<Option<DecodedChunk>, JobError> {
        if let Some((unopened, opening)) = self.unopened.remove(&split) {
            self.streams.insert(split, unopened.open(&opening)?);
        }
        let live = matches!(spec.reach, Reach::Sequential { live: true, .. });
        let stream = self.streams.get_mut(&split).expect("opened above");
        let read = stream.read(flush && live)?;
        let dropped = stream.dropped_count();
        let before = self.dropped.insert(split, dropped).unwrap_or(0);
        let mut chunk = match read {
            Read::Records(records) => Some(self.decode_records(spec.scan, &records, index == 0)),
            Read::Rows(batches) => {
                let projection = &self.topology.scans[spec.scan].projection;
                let project = |batch: Batch| {
                    let columns = projection.iter().map(|&column| batch.columns[column].clone());
                    Batch::new(columns.collect(), batch.rows)
                };
                let batches: Vec<Batch> = batches.into_iter().map(project).collect();
                let taken = self.taken.entry(split).or_default();
                let chunk = DecodedChunk { first_row: Some(*taken), ..DecodedChunk::of(batches) };
                *taken += chunk.row_count;
                Some(chunk)
            }
            Read::Oversized(record) => {
                let mut chunk = DecodedChunk { line_count: 1, ..DecodedChunk::default() };
                self.note_oversized(spec.scan, &mut chunk, record, 1);
                Some(chunk)
            }
            Read::Pending => None,
            Read::End => {
                self.streams.remove(&split);
                Some(DecodedChunk { is_last: true, ..DecodedChunk::default() })
            }
        };
        if dropped > before {
            // What clients cost the stream counts as dropped records, with or without rows beside them.
            chunk.get_or_insert_default().skipped_count += dropped - before;
        }
        Ok(chunk)
    }

    /// Rows that a paced generator, which has made `done`, owes by now.
    pub(crate) fn read_paced(
        &mut self,
        split: usize,
        spec: &SplitSpec,
        done: u64,
        now_ms: i64,
    ) -> Option<DecodedChunk> {
        let Reach::Paced(generator, rate) = &spec.reach else { return None };
        let (start_ms, made) = *self.paced_since.entry(split).or_insert((now_ms, done));
        let elapsed_ms = (now_ms - start_ms).max(0) as u128 + 1;
        let owed = made + (elapsed_ms * u128::from(*rate) / 1000) as u64;
        let owed = generator.row_count().map_or(owed, |all| owed.min(all));
        let is_last = generator.row_count().is_some_and(|all| done >= all);
        if owed <= done && !is_last {
            return None;
        }
        let rows = (owed - done).min(generator.chunk_rows());
        let mut chunk = self.generate(spec.scan, generator.as_ref(), done, rows);
        chunk.is_last = is_last;
        Some(chunk)
    }

    /// Hands a stream over that appeared while the job ran.
    pub(crate) fn add_stream(&mut self, split: usize, stream: Box<dyn SequentialSplit>) {
        self.unopened.insert(split, (stream, Opening::default()));
    }

    /// Where a stream stands behind what it has handed out; `None` also if it is closed.
    pub(crate) fn position(&self, split: usize) -> Option<u64> {
        self.streams.get(&split).and_then(|stream| stream.position())
    }

    /// A snapshot with these positions is durable.
    pub(crate) fn release(&mut self, positions: &[(usize, u64)]) -> Result<(), JobError> {
        for &(split, position) in positions {
            if let Some(stream) = self.streams.get_mut(&split) {
                stream.release(position)?;
            }
        }
        Ok(())
    }

    /// What to wait for until a stream has more.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        self.streams.values().flat_map(|stream| stream.descriptors()).collect()
    }
}
