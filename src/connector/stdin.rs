//! `stdin`: standard input as a table.
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `format` | required | `json`, `csv` or `rkyv`, with the options of that format |
//!
//! # Invariants
//!
//! 1. Its chunks are cut by position alone where it is a file, else also when the job turns idle.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::option::OptionReader;
use super::{Opening, SequentialReader, SequentialSplit, Source, Split, descriptor};
use crate::error::{JobError, OptionError};
use crate::format::{Format, Framing, Options};

/// Standard input as a source.
#[derive(Debug)]
pub struct StdinSource {
    format: Arc<dyn Format>,
}

impl StdinSource {
    pub(super) fn resolve(options: &Options, format: Arc<dyn Format>) -> Result<Self, OptionError> {
        let mut reader = OptionReader::new("stdin", options);
        reader.known(&["format"]);
        reader.finish()?;
        Ok(Self { format })
    }
}

impl Source for StdinSource {
    fn format(&self) -> Option<Arc<dyn Format>> {
        Some(self.format.clone())
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(vec![Split::Sequential(Box::new(StdinSplit { framing: self.format.framing() }))])
    }
}

#[derive(Debug)]
struct StdinSplit {
    framing: Framing,
}

impl SequentialSplit for StdinSplit {
    fn origin(&self) -> String {
        "stdin".into()
    }

    fn bounded(&self) -> bool {
        descriptor::is_file(standard_input())
    }

    fn remedy_of_loss(&self) -> Option<&'static str> {
        (!self.bounded()).then_some("read a file instead, or redirect one: < FILE")
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        descriptor::boxed(standard_input(), self.origin(), self.framing, opening)
    }
}

fn standard_input() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}
