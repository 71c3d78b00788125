//! Random events, and ways to run a job over them.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rkyv::{Archive, Deserialize, Serialize};
use tidemill::{Options, RecordFile};

/// An event with a text of any length, so that some records are longer than their root.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) at_ms: i64,
    pub(super) key: u32,
    pub(super) amount: i64,
    pub(super) name: String,
}

/// How far behind the greatest time so far the watermark is.
pub(super) const LAG_MS: i64 = 500;

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..1500i64, 0..4u32, -50..50i64, "[a-z]{0,12}");
    prop::collection::vec(event, 1..120).prop_map(|drawn| {
        let events = drawn.into_iter().enumerate().map(|(index, (jitter, key, amount, name))| {
            Event { at_ms: index as i64 * 60 - jitter, key, amount, name }
        });
        events.collect()
    })
}

/// A file of these events.
pub(super) struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    pub(super) fn new(events: &[Event]) -> Self {
        Self { folder: crate::blocks::written(events) }
    }

    pub(super) fn path(&self) -> String {
        self.folder.path().join("events").display().to_string()
    }

    pub(super) fn source(&self) -> RecordFile<Event> {
        RecordFile::open(self.folder.path().join("events")).unwrap()
    }
}

/// Calls `check` for every setting.
pub(super) fn settings(
    check: impl Fn(Options) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    (1..=3).try_for_each(|shards| check(Options::default().shards(shards)))
}

/// What sinks have been called with.
pub(super) struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T: Ord + Send + 'static> Seen<T> {
    pub(super) fn new() -> (Self, impl Fn(T) + Send + Sync + 'static) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&seen);
        (Self(seen), move |item| list.lock().unwrap().push(item))
    }

    /// All of it, in order.
    pub(super) fn sorted(self) -> Vec<T> {
        let mut items = std::mem::take(&mut *self.0.lock().unwrap());
        items.sort();
        items
    }
}

/// For each event whether it is late for its window of `size_ms`: the watermark before it has passed the window's end.
pub(super) fn late(events: &[Event], size_ms: i64) -> Vec<bool> {
    let mut greatest = i64::MIN;
    let mut is_late = Vec::new();
    for event in events {
        let last = (event.at_ms.div_euclid(size_ms) + 1) * size_ms - 1;
        is_late.push(greatest != i64::MIN && last <= greatest - LAG_MS);
        greatest = greatest.max(event.at_ms);
    }
    is_late
}
