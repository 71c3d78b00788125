//! Looks for files that appear in watched directories. Shard 0 alone does, between two chunks.

use std::collections::HashMap;
use std::sync::Arc;

use super::start::split_spec;
use super::token::SplitState;
use super::topology::Topology;
use crate::connector::{Opening, SequentialSplit, Source};
use crate::error::JobError;

/// The watched sources of a job.
pub(crate) struct Watcher {
    sources: Vec<Watched>,
    chunk_bytes: u64,
}

struct Watched {
    scan: usize,
    source: Arc<dyn Source>,
    interval_ms: i64,
    looked_at_ms: Option<i64>,
}

impl Watcher {
    /// `None` if nothing is watched.
    pub(crate) fn new(topology: &Topology, chunk_bytes: u64) -> Option<Self> {
        let watched = topology.scans.iter().enumerate().filter_map(|(scan, spec)| {
            let interval_ms = spec.source.monitor_interval_ms()? as i64;
            Some(Watched {
                scan,
                source: Arc::clone(&spec.source),
                interval_ms,
                looked_at_ms: None,
            })
        });
        let sources: Vec<Watched> = watched.collect();
        (!sources.is_empty()).then_some(Self { sources, chunk_bytes })
    }

    /// When to look next.
    pub(crate) fn due_at_ms(&self, now_ms: i64) -> Option<i64> {
        self.sources
            .iter()
            .map(|watched| watched.looked_at_ms.unwrap_or(now_ms) + watched.interval_ms)
            .min()
    }

    /// The splits that appeared, where it is time to look; streams among them are read by shard 0.
    pub(crate) fn look(&mut self, now_ms: i64) -> Result<Vec<Found>, JobError> {
        let mut found = Vec::new();
        for watched in &mut self.sources {
            let looked_at_ms = *watched.looked_at_ms.get_or_insert(now_ms);
            if now_ms < looked_at_ms + watched.interval_ms {
                continue;
            }
            watched.looked_at_ms = Some(now_ms);
            for split in watched.source.new_splits()? {
                let (spec, stream) = split_spec(watched.scan, split, self.chunk_bytes);
                found.push((SplitState::new(spec), stream));
            }
        }
        Ok(found)
    }
}

/// A split that appeared, and its stream if it is one.
pub(crate) type Found = (SplitState, Option<Box<dyn SequentialSplit>>);

/// Streams by split, with how each is opened, for the shard that reads them.
pub(crate) type Streams = HashMap<usize, (Box<dyn SequentialSplit>, Opening)>;
