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
pub use files::Files;
pub use text::{Notation, TextItem};

use crate::batch::Schema;
use crate::connector::Sink;
use crate::error::OptionError;

/// A sink of items of `I`.
pub trait ItemSink<I> {
    /// How it is made to take results that are taken back again.
    const FOR_CHANGES: &'static str;
    /// The engine's sink, and the columns that it is given.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    fn into_sink(self) -> Result<(Arc<dyn Sink>, Schema), OptionError>;
}
