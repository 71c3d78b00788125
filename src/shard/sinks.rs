//! A shard's parts of the sinks, and the limits of bare SELECTs, which all shards share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::checkpoint::SealedParts;
use super::control::Control;
use super::topology::Topology;
use crate::batch::Batch;
use crate::connector::SinkPart;
use crate::error::JobError;

/// How many rows a sink still takes; shared by all shards.
#[derive(Debug)]
pub(crate) struct Limit(Option<AtomicI64>);

impl Limit {
    pub(crate) fn new(rows: Option<u64>) -> Self {
        Self(rows.map(|rows| AtomicI64::new(rows.min(i64::MAX as u64) as i64)))
    }

    /// How many of `rows` may be written.
    fn claim(&self, rows: usize) -> usize {
        let Some(left) = &self.0 else { return rows };
        let before = left.fetch_sub(rows as i64, Ordering::Relaxed);
        before.clamp(0, rows as i64) as usize
    }

    fn is_reached(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) <= 0)
    }
}

/// One shard's parts of all sinks.
pub(crate) struct SinkEnds {
    topology: Arc<Topology>,
    /// By sink, then by its origins.
    parts: Vec<Vec<Part>>,
    limits: Arc<Vec<Limit>>,
    control: Arc<Control>,
    shard: usize,
}

/// What one origin writes to one sink.
struct Part {
    part: Box<dyn SinkPart>,
    /// Rows since the last barrier.
    row_count: u64,
}

impl SinkEnds {
    pub(crate) fn new(
        topology: &Arc<Topology>,
        limits: Arc<Vec<Limit>>,
        control: Arc<Control>,
        shard: usize,
        shard_count: usize,
    ) -> Result<Self, JobError> {
        let mut parts = Vec::new();
        for (spec, origins) in topology.sinks.iter().zip(&topology.origins) {
            let part = |index| {
                let (at, count) = (shard * origins.len() + index, shard_count * origins.len());
                spec.sink.part(&spec.schema, at, count).map(|part| Part { part, row_count: 0 })
            };
            parts.push((0..origins.len()).map(part).collect::<Result<_, _>>()?);
        }
        Ok(Self { topology: Arc::clone(topology), parts, limits, control, shard })
    }

    /// Writes rows that come from `origin`; a limit that is reached stops the job once all limited sinks have theirs.
    pub(crate) fn write(
        &mut self,
        sink: usize,
        origin: usize,
        batch: &Batch,
    ) -> Result<(), JobError> {
        let rows = self.limits[sink].claim(batch.rows);
        if rows > 0 {
            let kept = if rows < batch.rows { &batch.slice(0, rows) } else { batch };
            let index = self.topology.origins[sink].binary_search(&origin);
            let part = &mut self.parts[sink][index.expect("rows come from the sink's origins")];
            part.part.write(kept)?;
            part.row_count += rows as u64;
            self.control.progress[self.shard].rows_out.fetch_add(rows as u64, Ordering::Relaxed);
        }
        if self.are_full() {
            self.control.stop();
        }
        Ok(())
    }

    /// Whether every sink has a limit, and as many rows.
    pub(crate) fn are_full(&self) -> bool {
        !self.limits.is_empty() && self.limits.iter().all(Limit::is_reached)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Part> {
        self.parts.iter_mut().flatten()
    }

    /// Shows what was written.
    pub(crate) fn flush(&mut self) -> Result<(), JobError> {
        self.all().try_for_each(|part| part.part.flush())
    }

    /// The end. In a job with snapshots, transactional sinks have been sealed instead.
    pub(crate) fn finish(&mut self, with_snapshots: bool) -> Result<(), JobError> {
        for (parts, spec) in self.parts.iter_mut().zip(&self.topology.sinks) {
            if !with_snapshots || spec.sink.transactional().is_none() {
                parts.iter_mut().try_for_each(|part| part.part.finish())?;
            }
        }
        Ok(())
    }

    /// The barrier of `epoch` has come to `origin`.
    pub(crate) fn seal(&mut self, origin: usize, epoch: u64) -> Result<SealedParts, JobError> {
        let mut sealed = SealedParts::default();
        for (sink, (parts, origins)) in
            self.parts.iter_mut().zip(&self.topology.origins).enumerate()
        {
            let Ok(index) = origins.binary_search(&origin) else { continue };
            sealed.parts.push((sink, parts[index].part.seal(epoch)?));
            sealed.row_count += std::mem::take(&mut parts[index].row_count);
        }
        Ok(sealed)
    }
}
