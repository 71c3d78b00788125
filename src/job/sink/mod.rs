//! Where a stream's items go.
//!
//! | sink | after a crash |
//! |---|---|
//! | a closure ([`Stream::sink`](crate::Stream::sink)) | is called again with items since the last snapshot |
//! | a [`channel()`] | the program receives items since the last snapshot again |
//! | [`Files`] | hold every item once |
//! | a [`SinkConnector`] | shows every item once |

mod channel;
mod closure;
mod connector;
mod files;
mod text;

use std::sync::Arc;

pub use channel::{ChannelOf, ChannelSink, Receiver, channel, channel_of_changes};
pub(super) use closure::ForEach;
pub use connector::{SinkConnector, SinkError, SinkWriter};
pub use files::{Files, RecordFiles};
pub use text::{Notation, TextItem};

use crate::batch::Schema;
use crate::connector::Sink;
use crate::error::OptionError;

/// A sink of items of `I`.
///
/// ```
/// use tidemill::sink::{self, ItemSink, TextItem};
/// use tidemill::{Files, Job, Options, RecordSource, Records, Span};
///
/// /// The same job between any source and any sink of numbers.
/// fn squares<S: RecordSource<Record = i64>>(source: S, sink: impl ItemSink<i64>) -> Job {
///     let numbers = Job::new("squares").source("numbers", source).watermark(|n| *n, Span::millis(0));
///     numbers.map(|n| *n * *n).sink_to(sink)
/// }
///
/// /// Any items that can be written as lines.
/// fn lines<I: TextItem>(path: &std::path::Path) -> Files<I> {
///     Files::json(path)
/// }
///
/// let (squared, received) = sink::channel(10);
/// let running = squares(Records::new(1..4_i64), squared).start(Options::default())?;
/// assert_eq!(received.collect::<Vec<i64>>(), [1, 4, 9]);
/// running.wait()?;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("squares.jsonl");
/// squares(Records::new(1..4_i64), lines(&path)).run(Options::default().shards(1))?;
/// assert_eq!(std::fs::read_to_string(path)?, "1\n4\n9\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ItemSink<I> {
    /// How it is made to take results that are taken back again.
    #[doc(hidden)]
    const FOR_CHANGES: &'static str;
    /// The engine's sink, and the columns that it is given.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    #[doc(hidden)]
    fn into_sink(self) -> Result<(Arc<dyn Sink>, Schema), OptionError>;
}
