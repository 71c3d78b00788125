//! Where the sequence of chunks starts: at the beginning of every split, or where a snapshot says.
//!
//! Going on, splits are those of the snapshot, in its order. A plain file is read up to the length that it had when the
//! job first listed it, so that the result is that of the undisturbed run; that it is still the same file is checked by a hash of its
//! beginning and of what stands before the next chunk. Files that a directory has gained join if it is watched; else they are left out.
//!
//! # Invariants
//!
//! 1. Going on never reads a file as another than the snapshot knew: it is an error that names the file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::checkpoint::{Manifest, SplitRecord};
use super::token::{Reach, ScanState, SplitSpec, SplitState, Token};
use super::topology::Topology;
use super::watch::Streams;
use crate::connector::{CHUNK_BYTES, Opening, RangedSplit, SequentialSplit, Split};
use crate::error::{JobError, StateError};
use crate::planted;
use crate::sys::checksum::xxh64;

/// Bytes at a file's beginning, and before the next chunk, that tell whether it is the same.
const CONTENT_BYTES: u64 = 4096;

/// The token at the start, and for each shard the streams that it reads, with how they are opened.
pub(super) struct Start {
    pub(super) token: Box<Token>,
    pub(super) streams: Vec<Streams>,
    /// Inputs that are there and are not read, for people.
    pub(super) left_out: Vec<String>,
    /// Tables that cannot be read again, each with the way around.
    pub(super) lossy: Vec<(String, &'static str)>,
}

/// Starts the sequence, behind `manifest` if there is one.
pub(super) fn start(
    topology: &Topology,
    manifest: Option<&Manifest>,
    shard_count: usize,
    chunk_bytes: u64,
    now_ms: i64,
) -> Result<Start, JobError> {
    let mut start = Start {
        token: Box::new(Token {
            splits: Vec::new(),
            exchange_ms: vec![crate::op::WATERMARK_START; topology.exchanges.len()],
            chosen: None,
            live: false,
            scans: Vec::new(),
            turn: None,
            turn_chunks: CHUNK_BYTES.div_ceil(chunk_bytes),
            now_ms,
            ticked_ms: now_ms,
            shard_count,
            epoch: 0,
        }),
        streams: (0..shard_count).map(|_| HashMap::new()).collect(),
        left_out: Vec::new(),
        lossy: Vec::new(),
    };
    let mut listed = Vec::new();
    for (scan, spec) in topology.scans.iter().enumerate() {
        let watched = spec.source.monitor_interval_ms().is_some();
        start.token.scans.push(ScanState { watched, idle: false, active_at_ms: now_ms });
        for split in spec.source.splits()? {
            let remedy = match &split {
                Split::Sequential(stream) => stream.remedy_of_loss(),
                Split::Ranged(_) | Split::Generated(_) => None,
            };
            start.lossy.extend(remedy.map(|remedy| (spec.table.clone(), remedy)));
            listed.push(split_spec(scan, split, chunk_bytes));
        }
    }
    if let Some(manifest) = manifest {
        start.go_on(manifest, &mut listed, chunk_bytes)?;
    }
    for (spec, stream) in listed {
        let watched = start.token.scans[spec.scan].watched;
        if manifest.is_some() && !watched {
            start.left_out.push(spec.origin);
            continue;
        }
        start.add(SplitState::new(spec), stream);
    }
    let live = |split: &SplitState| {
        matches!(split.spec.reach, Reach::Sequential { live: true, .. } | Reach::Paced(..))
    };
    start.token.live =
        start.token.scans.iter().any(|scan| scan.watched) || start.token.splits.iter().any(live);
    Ok(start)
}

/// A split, and the stream behind it if it is one.
type Listed = (SplitSpec, Option<Box<dyn SequentialSplit>>);

impl Start {
    /// Appends a split to the sequence.
    fn add(&mut self, mut state: SplitState, stream: Option<Box<dyn SequentialSplit>>) {
        let index = self.token.splits.len();
        if let (Some(stream), Reach::Sequential { live, .. }) = (stream, &state.spec.reach) {
            let shard = if *live { 0 } else { index % self.streams.len() };
            let spec = &state.spec;
            let reach = Reach::Sequential { shard, live: *live };
            state.spec =
                Arc::new(SplitSpec { scan: spec.scan, origin: spec.origin.clone(), reach });
            if !state.ended {
                let position = state.position.unwrap_or(0);
                self.streams[shard].insert(index, (stream, Opening { position, log: None }));
            }
        }
        state.ended |=
            matches!(state.spec.reach, Reach::Ranged(_, 0) | Reach::Generated(_, Some(0)));
        self.token.splits.push(state);
    }

    /// Puts the splits of a snapshot where they stood; they leave `listed`.
    fn go_on(
        &mut self,
        manifest: &Manifest,
        listed: &mut Vec<Listed>,
        chunk_bytes: u64,
    ) -> Result<(), JobError> {
        let sources = &manifest.sources;
        for record in &sources.splits {
            let found = listed
                .iter()
                .position(|(spec, _)| spec.scan == record.scan && spec.origin == record.origin);
            let (spec, stream) = match found {
                Some(index) => listed.remove(index),
                None if record.ended => gone(record),
                None => {
                    let reason = "it was being read when the snapshot was taken, and is gone now";
                    return Err(changed(&record.origin, reason.into()));
                }
            };
            let spec = same_length(spec, record, chunk_bytes)?;
            let mut state = SplitState {
                spec: Arc::new(spec),
                next_chunk: record.next_chunk,
                watermark_ms: record.watermark_ms,
                lines: record.lines,
                in_quotes: record.in_quotes,
                ended: record.ended,
                position: record.position,
                rows: record.rows,
            };
            plant(&mut state);
            self.add(state, stream);
        }
        let token = &mut self.token;
        for (state, record) in token.scans.iter_mut().zip(&sources.scans) {
            state.idle = record.idle;
        }
        if !planted!("restore-forget-watermark") {
            token.exchange_ms.clone_from(&sources.exchange_ms);
        }
        token.turn = sources.turn;
        token.now_ms = token.now_ms.max(sources.now_ms);
        token.ticked_ms = sources.ticked_ms;
        token.epoch = manifest.epoch;
        Ok(())
    }
}

/// Bugs for the crash tests: what was saved of a split is not taken as it was.
fn plant(state: &mut SplitState) {
    if planted!("restore-skip-chunk") {
        state.next_chunk += 1;
    }
    if planted!("restore-repeat-chunk") {
        state.next_chunk = state.next_chunk.saturating_sub(1);
    }
    if planted!("restore-forget-watermark") {
        state.watermark_ms = crate::op::WATERMARK_START;
    }
    if planted!("restore-forget-quotes") {
        state.in_quotes = false;
    }
    if planted!("restore-forget-position") {
        state.position = None;
    }
}

fn changed(origin: &str, reason: String) -> JobError {
    StateError::Input { path: origin.to_owned(), reason }.into()
}

/// A split that was read to its end and has been cleared away since.
fn gone(record: &SplitRecord) -> Listed {
    let file = RangedSplit { path: record.origin.clone().into(), length_bytes: 0 };
    let (scan, origin) = (record.scan, record.origin.clone());
    (SplitSpec { scan, origin, reach: Reach::Ranged(file, 0) }, None)
}

/// A plain file with the length that it had, if it still is that file.
fn same_length(
    spec: SplitSpec,
    record: &SplitRecord,
    chunk_bytes: u64,
) -> Result<SplitSpec, JobError> {
    let (Reach::Ranged(file, _), Some(length_bytes), false) =
        (&spec.reach, record.length_bytes, record.ended)
    else {
        return Ok(spec);
    };
    if file.length_bytes < length_bytes {
        let reason = format!(
            "the file was {length_bytes} bytes long when the job first listed it, and is {} bytes long now",
            file.length_bytes
        );
        return Err(changed(&record.origin, reason));
    }
    let position = (record.next_chunk * chunk_bytes).min(length_bytes);
    let content = content_hash(&file.path, position);
    let content = content.map_err(|error| JobError::io(record.origin.clone(), error))?;
    if record.content.is_some_and(|known| known != content) {
        let reason = "the part of the file that the job has read is not what it was; restore the file, or start over with \
                      `--fresh`";
        return Err(changed(&record.origin, reason.into()));
    }
    let file = RangedSplit { path: file.path.clone(), length_bytes };
    let reach = Reach::Ranged(file, length_bytes.div_ceil(chunk_bytes));
    Ok(SplitSpec { reach, ..spec })
}

/// A hash of a file's beginning and of the bytes before `position`.
pub(super) fn content_hash(path: &Path, position: u64) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path)?;
    let mut bytes = vec![0; (2 * CONTENT_BYTES) as usize];
    let head = position.min(CONTENT_BYTES) as usize;
    file.read_exact_at(&mut bytes[..head], 0)?;
    let from = position.saturating_sub(CONTENT_BYTES);
    let end = head + (position - from) as usize;
    file.read_exact_at(&mut bytes[head..end], from)?;
    Ok(xxh64(&bytes[..end]))
}

/// A split as every shard knows it, and the stream behind it for the one that reads it.
pub(super) fn split_spec(scan: usize, split: Split, chunk_bytes: u64) -> Listed {
    let spec = |origin: String, reach| SplitSpec { scan, origin, reach };
    match split {
        Split::Ranged(file) => {
            let chunks = file.length_bytes.div_ceil(chunk_bytes);
            (spec(file.path.display().to_string(), Reach::Ranged(file, chunks)), None)
        }
        Split::Generated(generator) => match generator.rows_per_second() {
            Some(rate) => (spec("datagen".into(), Reach::Paced(generator, rate)), None),
            None => {
                let chunks =
                    generator.row_count().map(|rows| rows.div_ceil(generator.chunk_rows()));
                (spec("datagen".into(), Reach::Generated(generator, chunks)), None)
            }
        },
        Split::Sequential(stream) => {
            let live = !stream.bounded();
            (spec(stream.origin(), Reach::Sequential { shard: 0, live }), Some(stream))
        }
    }
}
