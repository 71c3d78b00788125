//! Where records come from.
//!
//! | source | read by | after a crash |
//! |---|---|---|
//! | [`RecordFile`], [`JsonFile`], [`CsvFile`] | all shards, in chunks | goes on behind the chunks that the snapshot covers |
//! | [`Records`] | all shards | the same |
//! | [`Iterate`] | one shard | the iterator is made again, and what was read is passed over |
//! | [`channel`] | one shard, from the program's own threads | what was sent is lost, or with [`ChannelSource::durable`] read again from the log |
//! | a [`SourceConnector`] | a thread for each split | each split goes on at its offset |
//!
//! All but the channel give every record to the results once, whatever is killed; a channel does when it is durable.
//!
//! `queue` is what channels and connectors' threads hand records over through.

mod channel;
mod connector;
mod durable;
mod file;
mod iterate;
mod memory;
mod queue;
mod text;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::ArrayRef;

pub use channel::{ChannelSource, Ended, Sender, TrySendError, channel};
pub(in crate::job) use connector::failed;
pub use connector::{SourceConnector, SourceError, SplitReader};
pub use file::{RecordFile, RecordWriter};
pub use iterate::Iterate;
pub use memory::Records;
pub use text::{CsvFile, JsonFile};

use crate::batch::{BATCH_ROWS_MAX, Batch};
use crate::connector::{Read, Source};
use crate::error::JobError;
use crate::expr::panic_text;
use crate::sys::archive::Record;

/// A source of records.
pub trait RecordSource {
    /// What it yields.
    type Record: Record;
    /// The engine's source: one column, of records.
    #[doc(hidden)]
    fn into_source(self) -> Arc<dyn Source>;
}

/// Records read by an iterator or a thread in a chunk.
const CHUNK_RECORDS: usize = 1000;

/// A column of records as rows that need no decoding.
fn rows(records: &ArrayRef) -> Read {
    let starts = (0..records.len()).step_by(BATCH_ROWS_MAX);
    let batch = |start| {
        let count = BATCH_ROWS_MAX.min(records.len() - start);
        Batch::new(vec![records.slice(start, count)], count)
    };
    Read::Rows(starts.map(batch).collect())
}

/// What `f` returns; if it panics, the user's error that ends the job. `what` of `origin` panicked.
pub(in crate::job) fn caught<R>(
    origin: &str,
    what: &str,
    f: impl FnOnce() -> R,
) -> Result<R, JobError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| JobError::Expression {
        origin: origin.to_owned(),
        message: format!("{what} panicked: {}", panic_text(panic.as_ref())),
    })
}

/// A record that its own type cannot archive.
fn not_archived(origin: &str, message: String) -> JobError {
    let message = format!("a record cannot be archived: {message}");
    JobError::Expression { origin: origin.to_owned(), message }
}
