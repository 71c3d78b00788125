//! Operators: what a node of the plan does to batches on one shard.
//!
//! A windowed aggregation is two operators with an exchange between them: a [`send::AggregateSender`]
//! assigns slices, applies the late rule and folds or partitions rows; a [`Receiver`] owns a share of the
//! keys, merges what arrives and fires. What travels between them is a [`Payload`]. A function with state ([`process`]) has the
//! same two halves: a [`sender::RowSender`] ships whole rows to the owners of their keys.
//!
//! # Invariants
//!
//! 1. No operator blocks, starts a thread or reads a clock; time comes with the batch.
//! 2. A receiver's outputs depend on the sequence of payloads and watermarks alone, not on how rows were
//!    batched: folding rows before the exchange or behind it gives the same accumulators.

mod accumulators;
pub mod ages;
pub mod apply;
pub mod calc;
pub mod count_window;
mod dense;
mod distinct;
pub mod expand;
mod folding;
mod found;
mod gathered;
pub mod global_window;
mod grid;
mod grouped;
mod key_numbers;
mod key_table;
pub mod moving;
mod names;
mod numbered;
mod packed_rows;
pub mod pane;
mod part_keys;
mod partition;
pub mod process;
mod process_state;
pub mod relay;
pub mod row_span;
#[cfg(test)]
mod row_window_tests;
pub mod send;
pub mod sender;
pub mod session;
pub mod session_table;
pub mod shape;
mod slice;
mod sum;
pub mod trigger;
mod two_stacks;
mod waiting;
pub mod window_aggregate;
pub mod window_table;

pub use grouped::Grouped;
pub use moving::{Moved, Standing};
pub use numbered::{Numbering, Numbers};
pub use packed_rows::PackedRows;

use arrow_array::ArrayRef;

use crate::agg::Partials;
use crate::batch::{Batch, Keys};
use crate::metrics::LateRows;
use crate::state::Sealed;

/// Groups on their way to the shard that owns them.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The grouping key of each entry.
    pub keys: Keys,
    /// The end of each entry's slice or window, wall time in milliseconds; for sessions and windows of rows the row's time, for
    /// functions processing time.
    pub ends_ms: Vec<i64>,
    /// The watermark when each row arrived, for receivers that need it.
    pub arrival_ms: Vec<i64>,
    /// The keys' numbers, where their sender numbers them.
    pub numbers: Option<Numbers>,
    /// What there is of each group.
    pub data: Data,
}

/// What a [`Payload`] carries of each group.
#[derive(Clone, Debug)]
pub enum Data {
    /// Accumulators, folded before the exchange.
    Partials(Partials),
    /// Rows: the columns that [`shape::Shape::shipped`] names.
    Rows(Vec<ArrayRef>),
    /// The same as they will wait, all in the slice whose end is the only one of `ends_ms`; `keys` has none. Of sessions times, and arrivals
    /// where they count, lie in the rows.
    Packed(PackedRows),
    /// Rows where keys repeat: they are sent once each.
    Grouped(Grouped),
}

/// What a receiver yields.
#[derive(Debug)]
pub enum Output {
    /// Result rows.
    Rows(Batch),
    /// Partial results, for the second exchange of a distinct count.
    Partials(Payload),
}

/// So long at most a busy shard lets an owner hold results back, see [`Receiver::holds`].
pub const HOLD_MS_MAX: i64 = 20;

/// The owning half of a keyed operator.
///
/// The shard calls `receive` for each payload, `advance` at every mark and chunk end, and then `next_output`
/// until it is `None`, before anything else.
pub trait Receiver: Send {
    /// Takes what a sender shipped.
    fn receive(&mut self, payload: Payload);
    /// Event time is now `watermark_ms`, processing time `now_ms`.
    fn advance(&mut self, watermark_ms: i64, now_ms: i64);
    /// The next piece of what `receive` and `advance` yielded.
    fn next_output(&mut self) -> Option<Output>;
    /// Whether results wait that could have been made: of more rows at a time they cost less. Its shard lets it hold them back while there is
    /// other work, for [`HOLD_MS_MAX`] at most.
    fn holds(&self) -> bool {
        false
    }
    /// Makes the results that it holds back.
    fn let_go(&mut self) {}
    /// Rows found late here.
    fn late_rows(&self) -> Option<&LateRows> {
        None
    }
    /// The rows themselves that `receive` has found late, where somebody reads them. To be taken before anything else comes in.
    fn take_late(&mut self) -> Option<Batch> {
        None
    }
    /// Windows fired so far.
    fn fired_count(&self) -> u64;
    /// Bytes of state held.
    fn state_bytes(&self) -> usize;
    /// A barrier: hands over what has changed since the last one; the header begins with a [`Census`]. Called when
    /// `next_output` has said `None`.
    fn seal(&mut self) -> Sealed;
    /// Takes in, a piece at a time, what has become durable.
    fn acknowledge(&mut self);
    /// Hands over all its groups, for another number of shards; the owner is of no use after that.
    fn give(&mut self, to: &mut dyn FnMut(Moved));
    /// Takes a group that another owner has given.
    fn adopt(&mut self, moved: Moved);
    /// What it knows besides its groups.
    fn standing(&self) -> Standing;
    /// Begins where owners stood that will give it groups.
    fn stand(&mut self, standing: &Standing);
}

/// How much an operator remembers, for people who look at its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Windows that have rows and are open; of sessions and count windows nobody keeps count.
    pub windows: Option<u64>,
    /// Groups, in each slice or window on its own; of sessions and count windows their keys.
    pub groups: u64,
}

impl Census {
    /// How many words it takes.
    pub const WORDS: usize = 2;

    /// The header that begins with it.
    fn header(self) -> Vec<u64> {
        vec![self.windows.unwrap_or(u64::MAX), self.groups]
    }

    /// What a header begins with.
    pub fn of(header: &[u64]) -> Option<Self> {
        let &[windows, groups, ..] = header else { return None };
        Some(Self { windows: (windows != u64::MAX).then_some(windows), groups })
    }
}

/// The job's end: every window closes.
pub const WATERMARK_END: i64 = i64::MAX;
/// Before any row.
pub const WATERMARK_START: i64 = i64::MIN;
