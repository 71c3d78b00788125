//! Where the rows of a chunk come from, for what is said of one that failed.
//!
//! Which row it was is looked for when it has failed: steps keep no account of it while all goes well. So expressions, and functions without
//! state, are called again, row by row; nothing that they yield goes anywhere. One that does not fail again has no place.

use std::sync::Arc;

use super::flow::{Running, Worker};
use super::input::DecodedChunk;
use super::machine::Shard;
use super::token::{Reach, SplitSpec, SplitState};
use super::topology::{StepKind, Topology};
use crate::batch::Batch;
use crate::error::JobError;
use crate::op::apply::{Applied, apply};
use crate::op::expand::expand;

/// Where the rows of a chunk come from.
#[derive(Clone, Debug)]
pub(super) struct Place {
    topology: Arc<Topology>,
    spec: Arc<SplitSpec>,
    number: Number,
}

/// Which number the first row has.
#[derive(Clone, Copy, Debug)]
enum Number {
    /// Of a record.
    Record(u64),
    /// Of a line.
    Line(u64),
    /// Not every line of the chunk is a row; so many lines come before it.
    Behind(u64),
}

impl Place {
    /// Of the chunk that follows `state`.
    pub(super) fn of(topology: &Arc<Topology>, state: &SplitState, chunk: &DecodedChunk) -> Self {
        let (lines, headers) = (state.lines, chunk.line_count.checked_sub(chunk.row_count));
        let number = match (chunk.first_row, headers) {
            (Some(first_row), _) => Number::Record(first_row + 1),
            (None, Some(0)) => Number::Line(lines + 1),
            (None, Some(1)) if state.next_chunk == 0 => Number::Line(2),
            (None, _) => Number::Behind(lines),
        };
        Self { topology: Arc::clone(topology), spec: Arc::clone(&state.spec), number }
    }

    fn row(&self, index: u64) -> String {
        // Of records that are made, or in memory, the program knows the source by its table's name only.
        let origin = match self.spec.reach {
            Reach::Generated(..) | Reach::Paced(..) => &self.topology.scans[self.spec.scan].table,
            _ => &self.spec.origin,
        };
        match self.number {
            Number::Record(first) => format!("record {} of {origin}", first + index),
            Number::Line(first) => format!("line {} of {origin}", first + index),
            Number::Behind(lines) => format!("a line behind line {lines} of {origin}"),
        }
    }

    /// What is wrong with the row of this index, with its place.
    pub(super) fn put(&self, error: JobError, index: u64) -> JobError {
        match error {
            JobError::Expression { origin, message } => {
                JobError::Expression { origin: format!("{origin}, {}", self.row(index)), message }
            }
            JobError::Function { function, message, .. } => {
                let doing = format!("applied to {}", self.row(index));
                JobError::Function { function, doing, message }
            }
            other => other,
        }
    }
}

impl Shard {
    /// An error that `batch` has met, which so many rows of the chunk come before: with the place of the row, if it was a row's.
    pub(super) fn placed(
        &self,
        error: JobError,
        running: &Running,
        batch: &Batch,
        before: u64,
    ) -> JobError {
        let is_of_row = matches!(error, JobError::Expression { .. } | JobError::Function { .. });
        let Some(place) = running.place.as_ref().filter(|_| is_of_row) else { return error };
        let targets = &self.topology.scans[running.scan].targets;
        let refused = |row: &usize| self.is_refused(targets, &batch.slice(*row, 1));
        match (0..batch.rows).find(refused) {
            Some(row) => place.put(error, before + row as u64),
            None => error,
        }
    }

    fn is_refused(&self, targets: &[usize], batch: &Batch) -> bool {
        let context = self.context();
        targets.iter().any(|&target| {
            let step = &self.topology.steps[target];
            let next = |batch: &Batch| batch.rows > 0 && self.is_refused(&step.targets, batch);
            match (&step.kind, &self.workers[target]) {
                (StepKind::Calc { .. }, Worker::Calc(calc)) => {
                    let (batch, failure) = calc.apply(batch, &context);
                    failure.is_some() || next(&batch)
                }
                (StepKind::Apply(Applied(function)), _) => {
                    let (batch, failure) = apply(&**function, batch);
                    failure.is_some() || next(&batch)
                }
                (StepKind::Union, _) => next(batch),
                (StepKind::Expand(sets), _) => expand(batch, sets).any(|batch| next(&batch)),
                _ => false,
            }
        })
    }
}
