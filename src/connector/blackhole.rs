//! `blackhole`: takes rows and forgets them, as Flink's does.
//!
//! Its one option is Flink's `sink.parallelism`, which is checked and has no effect.

use super::option::OptionReader;
use super::{Sink, SinkPart};
use crate::batch::{Batch, Schema};
use crate::error::{JobError, OptionError};
use crate::format::Options;

/// Takes rows and forgets them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blackhole;

impl Blackhole {
    pub(super) fn resolve(options: &Options) -> Result<Self, OptionError> {
        let mut reader = OptionReader::new("blackhole", options);
        reader.parallelism("sink.parallelism")?;
        reader.finish()?;
        Ok(Blackhole)
    }
}

impl Sink for Blackhole {
    fn accepts_changes(&self) -> bool {
        true
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Ok(Box::new(Blackhole))
    }

    fn repeats_rows(&self) -> bool {
        false
    }
}

impl SinkPart for Blackhole {
    fn write(&mut self, _: &Batch) -> Result<(), JobError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}
