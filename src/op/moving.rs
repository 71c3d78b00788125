//! Groups on their way to another number of shards: what an owner holds, taken apart and put together again.
//!
//! Accumulators go where the group's key goes, once; distinct values go where their rows will go: with the key, or by
//! their own hash where rows are partitioned by value. Values are put into their sets silently where the accumulators that
//! travel have counted them, and are counted anew where the two are parted before slices are merged.
//!
//! # Invariants
//!
//! 1. Every group's accumulators arrive once, every value of a group once.

use super::ages::Ages;
use super::distinct::blank_distinct;
use super::pane::{Pane, TableSlots};
use super::row_span::RowSpan;
use super::shape::Shape;
use super::trigger::CHANGED;
use crate::agg::{self, Partials, Slots};
use crate::batch::hash::{hash_bytes, shard_of};
use crate::metrics::LateRows;
use crate::state::Pages;

/// A group, or some distinct values of one.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Where it belongs.
    pub part: MovedPart,
    /// The hash of its key.
    pub hash: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its accumulators; `None` where only values come, or of a count window only where its key stands.
    pub accumulators: Option<Partials>,
    /// What it last showed, for owners that fire more than once.
    pub shown: Partials,
    /// The words behind its accumulators that are the owner's own.
    pub flags: u64,
    /// Of a session, a pane or a global window: the generation that it is of, see [`Ages`].
    pub age: u64,
    /// Its distinct values.
    pub values: Vec<MovedValue>,
    /// Of what a function keeps: a value, and its name before it.
    pub named: Option<(Vec<u8>, Vec<u8>)>,
}

/// A distinct value of a group.
#[derive(Clone, Debug)]
pub struct MovedValue {
    /// Which list of distinct arguments.
    pub list: usize,
    /// Its hash.
    pub hash: u64,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// Where a group belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovedPart {
    /// The slice that ends then.
    Slice(i64),
    /// What has run up since a window's start.
    Running(i64),
    /// The window that ends then, and whether it has fired at its end.
    Window(i64, bool),
    /// A session, from start to end.
    Session(i64, i64),
    /// A pane of a count window, the key's oldest first, with the rows since the key's last firing.
    Pane(u64, RowSpan),
    /// A global window, with the rows since it last fired by rows; its rows, and those that it last showed.
    Forever(u64, RowSpan, RowSpan),
    /// A function's values of a key.
    Key,
    /// A function's values of a key in the window from start to end, and the window's last instant in the time of watermarks.
    KeyWindow(i64, i64, i64),
}

/// What an owner knows besides its groups.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Event time.
    pub watermark_ms: i64,
    /// Processing time.
    pub now_ms: i64,
    /// Windows that have rows and are open, by their ends.
    pub pending: Vec<i64>,
    /// Windows fired so far.
    pub fired_count: u64,
    /// Rows found late.
    pub late: LateRows,
    /// Which aggregates are younger than a window.
    pub ages: Ages,
}

impl Moved {
    /// A value that a function keeps under `name`.
    pub fn value(part: MovedPart, key: &[u8], name: &[u8], value: Vec<u8>) -> Moved {
        Moved {
            part,
            hash: hash_bytes(key),
            key: key.to_vec(),
            accumulators: None,
            shown: Partials::default(),
            flags: 0,
            age: 0,
            values: Vec::new(),
            named: Some((name.to_vec(), value)),
        }
    }

    /// A group of a first stage, whose slices are windows, as one of the triggers' own: changed if it has something to pass on.
    #[must_use]
    pub fn into_window(self) -> Moved {
        let MovedPart::Slice(end_ms) = self.part else { return self };
        let flags = if self.flags != 0 { CHANGED } else { 0 };
        Moved { part: MovedPart::Window(end_ms, false), flags, ..self }
    }

    /// The group in pieces, each with its shard among `shard_count`; `by_value`: values go by their own hash.
    pub fn pieces(mut self, shard_count: usize, by_value: bool) -> Vec<(usize, Moved)> {
        let home = shard_of(self.hash, shard_count);
        if !by_value {
            return vec![(home, self)];
        }
        let mut values: Vec<Vec<MovedValue>> = vec![Vec::new(); shard_count];
        for value in self.values.drain(..) {
            values[shard_of(value.hash, shard_count)].push(value);
        }
        let mut pieces = Vec::new();
        for (shard, values) in values.into_iter().enumerate() {
            let accumulators = if shard == home { self.accumulators.clone() } else { None };
            if accumulators.is_some() || !values.is_empty() {
                pieces.push((shard, Moved { accumulators, values, ..self.clone() }));
            }
        }
        pieces
    }
}

impl Pane {
    /// Takes a slot apart. What is pending has been flushed.
    pub fn give(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        slot: u32,
        part: MovedPart,
        shown_at: Option<usize>,
        flags_at: Option<usize>,
    ) -> Moved {
        pages.make_room();
        let (hash, key) = (self.table.hash(pages, slot), self.table.key(pages, slot).to_vec());
        let values = self.values(pages, slot);
        let table = TableSlots { pages, table: &mut self.table };
        let export = |base| {
            let mut partials = Partials::default();
            agg::export(&shape.layout, base, &table, slot, &mut partials);
            partials
        };
        let shown = shown_at.map(export).unwrap_or_default();
        let flags = flags_at.map_or(0, |at| table.words(slot)[at]);
        let accumulators = Some(export(0));
        Moved { part, hash, key, accumulators, shown, flags, age: 0, values, named: None }
    }

    /// Puts a group, or values of one, together again; its slot.
    pub fn adopt(
        &mut self,
        shape: &Shape,
        pages: &mut Pages,
        moved: &Moved,
        shown_at: Option<usize>,
    ) -> u32 {
        let slot = self.slot(pages, moved.hash, &moved.key);
        if let Some(accumulators) = &moved.accumulators {
            self.merge(shape, pages, slot, accumulators, 0);
            if let Some(base) = shown_at {
                let mut table = TableSlots { pages, table: &mut self.table };
                let (layout, calls) = (&shape.layout, &shape.calls);
                agg::merge(layout, base, calls, &mut table, slot, &moved.shown, 0);
            }
        }
        self.adopt_values(pages, slot, &moved.values);
        slot
    }

    /// The same for groups whose values are dealt out by their own hash, in slices that are yet to be merged: what the values come to is
    /// counted where they are now. Merging counts anew what it finds in the sets, so accumulators elsewhere would count twice, or not at
    /// all.
    pub fn adopt_divided(&mut self, shape: &Shape, pages: &mut Pages, moved: &Moved) -> u32 {
        let slot = self.slot(pages, moved.hash, &moved.key);
        if let Some(accumulators) = &moved.accumulators {
            let mut accumulators = accumulators.clone();
            blank_distinct(shape, &mut accumulators);
            self.merge(shape, pages, slot, &accumulators, 0);
        }
        self.count_values(shape, pages, slot, &moved.values);
        slot
    }
}
