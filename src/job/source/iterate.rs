//! An iterator as a source.

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{CHUNK_RECORDS, RecordSource, caught, not_archived, rows};
use crate::connector::{Opening, Read, SequentialReader, SequentialSplit, Source, Split};
use crate::error::{JobError, StateError};
use crate::format::{BLOCK_RECORD_BYTES, Format};
use crate::sys::archive::{ArchiveBuilder, Record};

/// What messages and snapshots call it.
const ORIGIN: &str = "iterator";

/// The records of an iterator, which a shard takes a thousand at a time.
///
/// The closure makes the iterator when the job starts. A job that goes on from a snapshot makes it again and passes over the
/// records that it has read; so every record counts once if the closure makes the same iterator each time. (Of an iterator
/// whose `nth` is quick, such as a mapped range, passing over is quick.) An iterator that waits holds its shard up: records
/// that come when they like are better sent through a [`channel`](super::channel).
///
/// ```
/// use tidemill::{Iterate, Job, Options, Span, Window};
///
/// let (results, received) = std::sync::mpsc::channel();
/// Job::new("primes by second")
///     .source("primes", Iterate::new(|| (2..1000_i64).filter(|n| (2..*n).all(|d| n % d > 0))))
///     .watermark(|n| n.to_native() * 10, Span::millis(0))
///     .key_by(|_| 0_i64)
///     .window(Window::tumbling(Span::seconds(5)))
///     .aggregate(|on| on.count())
///     .sink(move |result| results.send((result.start_ms, result.value)).unwrap())
///     .run(Options::default())?;
/// assert_eq!(received.iter().collect::<Vec<_>>(), [(0, 95), (5000, 73)]);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub struct Iterate<F, I> {
    make: F,
    _iterator: PhantomData<fn() -> I>,
}

impl<F, I> Iterate<F, I>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Iterator<Item: Record> + Send + 'static,
{
    /// The records of the iterator that `make` makes.
    pub fn new(make: F) -> Self {
        Self { make, _iterator: PhantomData }
    }
}

impl<F, I> fmt::Debug for Iterate<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iterate")
    }
}

impl<F, I> RecordSource for Iterate<F, I>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Iterator<Item: Record> + Send + 'static,
{
    type Record = I::Item;

    fn into_source(self) -> Arc<dyn Source> {
        Arc::new(IteratorSplit(Arc::new(self.make)))
    }
}

/// The iterator as the engine's source, and its only split.
struct IteratorSplit<F>(Arc<F>);

impl<F> fmt::Debug for IteratorSplit<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ORIGIN)
    }
}

impl<F, I> Source for IteratorSplit<F>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Iterator<Item: Record> + Send + 'static,
{
    fn format(&self) -> Option<Arc<dyn Format>> {
        None
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(vec![Split::Sequential(Box::new(Self(Arc::clone(&self.0))))])
    }
}

impl<F, I> SequentialSplit for IteratorSplit<F>
where
    F: Fn() -> I + Send + Sync + 'static,
    I: Iterator<Item: Record> + Send + 'static,
{
    fn origin(&self) -> String {
        ORIGIN.into()
    }

    fn bounded(&self) -> bool {
        true
    }

    fn open(self: Box<Self>, opening: &Opening) -> Result<Box<dyn SequentialReader>, JobError> {
        let position = opening.position;
        let behind = || {
            let mut iterator = self.0();
            // What was read is there again, the last record of it too.
            let last = position.checked_sub(1).map(|last| iterator.nth(last as usize).is_some());
            (iterator, last != Some(false))
        };
        let (iterator, whole) = caught(ORIGIN, "it", behind)?;
        if !whole {
            let reason = format!(
                "{position} records had been read when the snapshot was taken, and now there are not so many"
            );
            return Err(StateError::Input { path: ORIGIN.into(), reason }.into());
        }
        Ok(Box::new(IteratorReader { iterator: Some(iterator), position }))
    }
}

/// An iterator at work.
struct IteratorReader<I> {
    /// Until it ends.
    iterator: Option<I>,
    /// Records taken.
    position: u64,
}

/// The next records, of which there may be none any more: then the iterator is not asked again.
fn next_records<I: Iterator<Item: Record>>(
    source: &mut Option<I>,
) -> Result<ArchiveBuilder<I::Item>, String> {
    let mut records = ArchiveBuilder::default();
    while records.len() < CHUNK_RECORDS && records.byte_count() < BLOCK_RECORD_BYTES {
        let Some(record) = source.as_mut().and_then(Iterator::next) else {
            *source = None;
            break;
        };
        records.push(&record)?;
    }
    Ok(records)
}

impl<I: Iterator<Item: Record> + Send> SequentialReader for IteratorReader<I> {
    fn read(&mut self, _flush: bool) -> Result<Read, JobError> {
        let records = caught(ORIGIN, "it", || next_records(&mut self.iterator))?;
        let mut records = records.map_err(|message| not_archived(ORIGIN, message))?;
        self.position += records.len() as u64;
        Ok(if records.is_empty() { Read::End } else { rows(&records.finish()) })
    }

    fn descriptors(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn position(&self) -> Option<u64> {
        Some(self.position)
    }
}
