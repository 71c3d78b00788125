//! A shard's parts of the sinks, and the limits of bare SELECTs, which all shards share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::control::Control;
use super::topology::SinkSpec;
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
    parts: Vec<Box<dyn SinkPart>>,
    limits: Arc<Vec<Limit>>,
    control: Arc<Control>,
    shard: usize,
}

impl SinkEnds {
    pub(crate) fn new(
        specs: &[SinkSpec],
        limits: Arc<Vec<Limit>>,
        control: Arc<Control>,
        shard: usize,
        shard_count: usize,
    ) -> Result<Self, JobError> {
        let parts = specs.iter().map(|spec| spec.sink.part(&spec.schema, shard, shard_count));
        Ok(Self { parts: parts.collect::<Result<_, _>>()?, limits, control, shard })
    }

    /// Writes rows; a limit that is reached stops the job once all limited sinks have theirs.
    pub(crate) fn write(&mut self, sink: usize, batch: &Batch) -> Result<(), JobError> {
        let rows = self.limits[sink].claim(batch.rows);
        if rows > 0 {
            let kept = if rows < batch.rows { &batch.slice(0, rows) } else { batch };
            self.parts[sink].write(kept)?;
            self.control.progress[self.shard].rows_out.fetch_add(rows as u64, Ordering::Relaxed);
        }
        if self.limits.iter().all(Limit::is_reached) {
            self.control.stop();
        }
        Ok(())
    }

    /// Shows what was written.
    pub(crate) fn flush(&mut self) -> Result<(), JobError> {
        self.parts.iter_mut().try_for_each(|part| part.flush())
    }

    /// The end.
    pub(crate) fn finish(&mut self) -> Result<(), JobError> {
        self.parts.iter_mut().try_for_each(|part| part.finish())
    }
}
