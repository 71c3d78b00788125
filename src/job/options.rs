//! How a job runs.

use std::path::PathBuf;

use super::launch::{Fresh, RuntimeKind};
use super::window::Span;
use crate::plan::Settings;

/// How a job runs: on how many shards, with which state.
///
/// ```
/// use tidemill::job::{Fresh, RuntimeKind};
/// use tidemill::{Options, Span};
///
/// let options = Options::default() // Every core runs a shard, and nothing is kept.
///     .shards(2)
///     .runtime(RuntimeKind::detect())
///     .state("state/")
///     .fresh(Fresh::GoOn)
///     .snapshot_interval(Span::seconds(10))
///     .snapshots_retained(3)
///     .state_memory_bytes(1 << 30)
///     .idle_timeout(Span::minutes(1))
///     .chunk_bytes(1 << 16);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(super) shards: Option<usize>,
    pub(super) runtime: Option<RuntimeKind>,
    pub(super) state: Option<PathBuf>,
    pub(super) fresh: Fresh,
    settings: Settings,
}

impl Options {
    /// So many shards; by default one a core.
    #[must_use]
    pub fn shards(mut self, count: usize) -> Self {
        self.shards = Some(count);
        self
    }

    /// Driven so; by default io_uring where the job reads files and the kernel allows it, else plain threads.
    #[must_use]
    pub fn runtime(mut self, runtime: RuntimeKind) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Keeps its state in `folder`, and goes on from there if it was killed.
    #[must_use]
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// Starts over, or goes on with another plan, as [`Fresh`] has it.
    #[must_use]
    pub fn fresh(mut self, fresh: Fresh) -> Self {
        self.fresh = fresh;
        self
    }

    /// The time between two snapshots; by default a second.
    #[must_use]
    pub fn snapshot_interval(mut self, interval: impl Into<Span>) -> Self {
        self.settings.snapshot_interval_ms = u64::try_from(interval.into().ms).ok();
        self
    }

    /// How many snapshots are kept; by default one.
    #[must_use]
    pub fn snapshots_retained(mut self, count: usize) -> Self {
        self.settings.snapshots_retained = Some(count);
        self
    }

    /// How many bytes of durable state are held in memory; by default half of what the process may use.
    #[must_use]
    pub fn state_memory_bytes(mut self, bytes: u64) -> Self {
        self.settings.state_memory_bytes = Some(bytes);
        self
    }

    /// After how long without rows a source no longer holds event time back; by default never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Span>) -> Self {
        self.settings.idle_timeout_ms = u64::try_from(timeout.into().ms).unwrap_or(0);
        self
    }

    /// Bytes in a chunk, the unit in which files are read; tests set it low.
    #[must_use]
    pub fn chunk_bytes(mut self, bytes: u64) -> Self {
        self.settings.chunk_bytes = bytes;
        self
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// The settings of a script; what is set here wins.
    #[cfg(feature = "sql")]
    pub(super) fn settings_over(&self, script: &Settings) -> Settings {
        let (own, default) = (&self.settings, Settings::default());
        let number = |own, default, script| if own == default { script } else { own };
        Settings {
            snapshot_interval_ms: own.snapshot_interval_ms.or(script.snapshot_interval_ms),
            snapshots_retained: own.snapshots_retained.or(script.snapshots_retained),
            state_memory_bytes: own.state_memory_bytes.or(script.state_memory_bytes),
            idle_timeout_ms: number(
                own.idle_timeout_ms,
                default.idle_timeout_ms,
                script.idle_timeout_ms,
            ),
            chunk_bytes: number(own.chunk_bytes, default.chunk_bytes, script.chunk_bytes),
            ..script.clone()
        }
    }
}
