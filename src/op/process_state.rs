//! The values that functions keep: by key and name, or by window, key and name, in pages.
//!
//! ```text
//! keyed      key length u32 │ key │ name                                              → value
//! windowed   start i64 │ end i64 │ time i64 │ key length u32 │ key │ name             → value, next of its timer
//! timers     seconds of event time i64                                               → first of the windowed
//! ```
//!
//! A value lies in an aligned block of the table's heap, so that archives are read where they lie.
//!
//! The values of a window go one by one, some at a time, in the second of event time after the window is over. Nobody can tell: a
//! row that would find them is late.
//!
//! # Invariants
//!
//! 1. Every windowed value is in one timer, that of its time, also when it was cleared (0 in place of its value).
//! 2. `buckets` has the slot of every timer in `timers`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::moving::{Moved, MovedPart};
use crate::batch::hash::hash_bytes;
use crate::plan::function::{Scope, Values, refuse};
use crate::state::{Pages, Saved, Sealed, Table};

/// Milliseconds of event time in a timer.
const BUCKET_MS: i64 = 1000;
/// Values of windows that are dropped at once, besides as many as have come.
const DROPPED_MAX: usize = 4096;
/// Bytes of a windowed name before the key.
const WINDOW_BYTES: usize = 24;

/// A window, as a row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) time_ms: i64,
}

/// The values of one owner's keys, and which key and window are meant.
pub(super) struct KeyedValues {
    pub(super) pages: Pages,
    keyed: Table,
    windowed: Table,
    timers: Table,
    buckets: BTreeMap<i64, u32>,
    lateness_ms: i64,
    /// Windowed values that have come since some were last dropped.
    added_count: usize,
    /// The window and the key that are meant; whoever looks up a name puts it behind them, and takes it off again.
    path: RefCell<Vec<u8>>,
    has_window: bool,
    /// Why there are no values of keys, if there are none.
    pub(super) keyless: Option<&'static str>,
    /// Why there are no values of windows, if there are none.
    pub(super) windowless: Option<&'static str>,
}

impl KeyedValues {
    pub(super) fn new(pages: Pages, lateness_ms: i64) -> Self {
        Self {
            pages,
            keyed: Table::new(1),
            windowed: Table::new(2),
            timers: Table::new(1),
            buckets: BTreeMap::new(),
            lateness_ms,
            added_count: 0,
            path: RefCell::default(),
            has_window: false,
            keyless: None,
            windowless: None,
        }
    }

    /// Goes on from what `seal` saved.
    pub(super) fn restore(&mut self, saved: &mut Saved<'_>) {
        self.keyed = Table::load(1, saved, &self.pages);
        self.windowed = Table::load(2, saved, &self.pages);
        self.timers = Table::load(1, saved, &self.pages);
        let slots = self.timers.live_slots(&self.pages).into_iter();
        let bucket = |slot| signed(self.timers.key(&self.pages, slot));
        self.buckets = slots.map(|slot| (bucket(slot), slot)).collect();
    }

    pub(super) fn seal(&mut self, mut header: Vec<u64>) -> Sealed {
        [&self.keyed, &self.windowed, &self.timers]
            .iter()
            .for_each(|table| table.save(&mut header));
        self.pages.seal(header)
    }

    /// How many values there are.
    pub(super) fn count(&self) -> usize {
        self.keyed.count() + self.windowed.count()
    }

    /// From now on this key, and this window, are meant.
    pub(super) fn enter(&mut self, key: &[u8], place: Option<Place>) {
        let path = self.path.get_mut();
        path.clear();
        let Place { start_ms, end_ms, time_ms } =
            place.unwrap_or(Place { start_ms: 0, end_ms: 0, time_ms: 0 });
        [start_ms, end_ms, time_ms].iter().for_each(|time| path.extend(time.to_le_bytes()));
        path.extend((key.len() as u32).to_le_bytes());
        path.extend_from_slice(key);
        self.has_window = place.is_some();
    }

    /// Where a value of that name is, or would be.
    fn find(&self, scope: Scope, name: &str) -> Option<u32> {
        self.named(scope, name, |path| self.table(scope).find(&self.pages, hash_bytes(path), path))
    }

    /// What `look` finds behind the whole name.
    fn named<T>(&self, scope: Scope, name: &str, look: impl FnOnce(&[u8]) -> T) -> T {
        match (scope, self.keyless, self.windowless) {
            (Scope::Key, Some(reason), _) | (Scope::Window, _, Some(reason)) => {
                refuse(reason.to_owned())
            }
            (Scope::Window, ..) if !self.has_window => {
                refuse("there are no windows here, and so no values of one".into())
            }
            _ => {}
        }
        let mut path = self.path.borrow_mut();
        let bare = path.len();
        path.extend_from_slice(name.as_bytes());
        let start = if scope == Scope::Key { WINDOW_BYTES } else { 0 };
        let found = look(&path[start..]);
        path.truncate(bare);
        found
    }

    fn table(&self, scope: Scope) -> &Table {
        match scope {
            Scope::Key => &self.keyed,
            Scope::Window => &self.windowed,
        }
    }

    /// The slot of a name, made if need be.
    fn slot(&mut self, scope: Scope, path: &[u8]) -> u32 {
        let table = match scope {
            Scope::Key => &mut self.keyed,
            Scope::Window => &mut self.windowed,
        };
        let (slot, made) = table.upsert(&mut self.pages, hash_bytes(path), path);
        if made && scope == Scope::Window {
            self.arm(slot, signed(&path[WINDOW_BYTES - 8..WINDOW_BYTES]));
        }
        slot
    }

    /// Puts a windowed value into its timer.
    fn arm(&mut self, slot: u32, time_ms: i64) {
        let bucket = time_ms.div_euclid(BUCKET_MS);
        let timer = *self.buckets.entry(bucket).or_insert_with(|| {
            let key = bucket.to_le_bytes();
            self.timers.upsert(&mut self.pages, hash_bytes(&key), &key).0
        });
        let head = &mut self.timers.words_mut(&mut self.pages, timer)[0];
        let next = std::mem::replace(head, u64::from(slot) + 1);
        self.windowed.words_mut(&mut self.pages, slot)[1] = next;
        self.added_count += 1;
    }

    /// Drops some values of windows that are over at `watermark_ms`.
    pub(super) fn drop_some(&mut self, watermark_ms: i64) {
        let mut left = DROPPED_MAX + std::mem::take(&mut self.added_count);
        while let Some((&bucket, &timer)) = self.buckets.first_key_value() {
            let last_ms = (bucket.saturating_add(1)).saturating_mul(BUCKET_MS) - 1;
            if last_ms.saturating_add(self.lateness_ms) > watermark_ms {
                return;
            }
            while let Some(slot) = self.take_first(timer) {
                self.remove_windowed(slot);
                left -= 1;
                if left == 0 {
                    return;
                }
            }
            self.timers.remove(&mut self.pages, timer);
            self.buckets.remove(&bucket);
        }
    }

    /// Takes the first value off a timer.
    fn take_first(&mut self, timer: u32) -> Option<u32> {
        let head = self.timers.words(&self.pages, timer)[0];
        let slot = head.checked_sub(1)? as u32;
        let next = self.windowed.words(&self.pages, slot)[1];
        self.timers.words_mut(&mut self.pages, timer)[0] = next;
        Some(slot)
    }

    fn remove_windowed(&mut self, slot: u32) {
        let blob = self.windowed.words(&self.pages, slot)[0];
        if blob != 0 {
            self.windowed.heap_mut().remove(&mut self.pages, blob);
        }
        self.windowed.remove(&mut self.pages, slot);
    }

    fn put(&mut self, scope: Scope, slot: u32, value: &[u8]) {
        let table = match scope {
            Scope::Key => &mut self.keyed,
            Scope::Window => &mut self.windowed,
        };
        let held = table.words(&self.pages, slot)[0];
        let blob = match held {
            0 => table.heap_mut().insert_aligned(&mut self.pages, value),
            held => table.heap_mut().replace(&mut self.pages, held, value),
        };
        table.words_mut(&mut self.pages, slot)[0] = blob;
    }

    /// Hands over all values.
    pub(super) fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        for scope in [Scope::Key, Scope::Window] {
            let table = self.table(scope);
            for slot in table.live_slots(&self.pages) {
                let blob = table.words(&self.pages, slot)[0];
                if blob == 0 {
                    continue;
                }
                let value = table.heap().get_any(&self.pages, blob).to_vec();
                to(moved(scope, table.key(&self.pages, slot), value));
            }
        }
    }

    /// Takes a value that another owner has given.
    pub(super) fn adopt(&mut self, moved: &Moved) {
        let (scope, place) = match moved.part {
            MovedPart::Key => (Scope::Key, None),
            MovedPart::KeyWindow(start_ms, end_ms, time_ms) => {
                (Scope::Window, Some(Place { start_ms, end_ms, time_ms }))
            }
            _ => unreachable!("a function keeps values of keys and windows"),
        };
        let (name, value) = moved.named.as_ref().expect("a value by name");
        self.enter(&moved.key, place);
        let name = std::str::from_utf8(name).expect("names are texts");
        let path = self.named(scope, name, <[u8]>::to_vec);
        let slot = self.slot(scope, &path);
        self.put(scope, slot, value);
    }
}

impl Values for KeyedValues {
    fn get(&self, scope: Scope, name: &str) -> Option<&[u8]> {
        let slot = self.find(scope, name)?;
        let table = self.table(scope);
        let blob = table.words(&self.pages, slot)[0];
        (blob != 0).then(|| table.heap().get_any(&self.pages, blob))
    }

    fn set(&mut self, scope: Scope, name: &str, value: &[u8]) {
        let slot = match self.find(scope, name) {
            Some(slot) => slot,
            None => {
                let path = self.named(scope, name, <[u8]>::to_vec);
                self.slot(scope, &path)
            }
        };
        self.put(scope, slot, value);
    }

    fn clear(&mut self, scope: Scope, name: &str) {
        let Some(slot) = self.find(scope, name) else { return };
        let table = match scope {
            Scope::Key => &mut self.keyed,
            Scope::Window => &mut self.windowed,
        };
        let blob = std::mem::take(&mut table.words_mut(&mut self.pages, slot)[0]);
        if blob != 0 {
            table.heap_mut().remove(&mut self.pages, blob);
        }
        if scope == Scope::Key {
            self.keyed.remove(&mut self.pages, slot);
        }
    }
}

/// A value on its way, from the whole name that it has in its table.
fn moved(scope: Scope, path: &[u8], value: Vec<u8>) -> Moved {
    let (part, rest) = match scope {
        Scope::Key => (MovedPart::Key, path),
        Scope::Window => {
            let (window, rest) = path.split_at(WINDOW_BYTES);
            let part = MovedPart::KeyWindow(
                signed(&window[..8]),
                signed(&window[8..16]),
                signed(&window[16..]),
            );
            (part, rest)
        }
    };
    let (length, rest) = rest.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let (key, name) = rest.split_at(length as usize);
    Moved::value(part, key, name, value)
}

fn signed(bytes: &[u8]) -> i64 {
    i64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// What stands for a window: each is a second long, and over at its end.
    fn place(window: u8) -> Place {
        let start_ms = i64::from(window) * 1000;
        Place { start_ms, end_ms: start_ms + 1000, time_ms: start_ms + 999 }
    }

    proptest! {
        /// Against a `HashMap`: values of keys and of windows, of all sizes, through windows that go and through moves.
        #[test]
        fn values_are_a_map(
            operations in prop::collection::vec((0..8u8, 0..3u8, 0..4u8, 0..3u8, 0..60usize), 1..400),
        ) {
            let mut values = KeyedValues::new(Pages::default(), 500);
            let mut twin: HashMap<(Scope, u8, u8, u8), Vec<u8>> = HashMap::new();
            let mut watermark_ms = 0;
            for (operation, key, window, name, length) in operations {
                let scope = if operation % 2 == 0 { Scope::Key } else { Scope::Window };
                let window = window + (watermark_ms / 1000) as u8;
                let id = (scope, key, if scope == Scope::Key { 0 } else { window }, name);
                values.enter(&[key; 3], Some(place(window)));
                let name = ["", "a", "a longer name"][name as usize];
                let value = vec![length as u8; if length == 59 { 40_000 } else { length }];
                match operation {
                    0..4 => {
                        values.set(scope, name, &value);
                        twin.insert(id, value);
                    }
                    4..6 => {
                        values.clear(scope, name);
                        twin.remove(&id);
                    }
                    6 => {
                        watermark_ms += 300;
                        // Dropping is not seen before the second after the window's.
                        let last_ms = |window: u8| i64::from(window) * 1000 + 999 + 500;
                        twin.retain(|id, _| id.0 == Scope::Key || last_ms(id.2) > watermark_ms);
                        values.drop_some(watermark_ms);
                    }
                    _ => {
                        let mut other = KeyedValues::new(Pages::default(), 500);
                        values.give(&mut |moved| other.adopt(&moved));
                        values = other;
                    }
                }
                for ((scope, key, window, name), value) in &twin {
                    values.enter(&[*key; 3], Some(place(*window)));
                    let name = ["", "a", "a longer name"][*name as usize];
                    let held = values.get(*scope, name);
                    prop_assert_eq!(held, Some(&value[..]));
                    prop_assert_eq!(held.map_or(0, |held| held.as_ptr() as usize % 16), 0);
                }
                let keyed = twin.keys().filter(|id| id.0 == Scope::Key).count();
                prop_assert_eq!(values.keyed.count(), keyed);
            }
            values.drop_some(i64::MAX);
            prop_assert_eq!(values.windowed.count(), 0);
            prop_assert!(values.buckets.is_empty() && values.timers.count() == 0);
        }
    }

    #[test]
    fn many_values_go_some_at_a_time() {
        let mut values = KeyedValues::new(Pages::default(), 0);
        for key in 0..DROPPED_MAX as u32 * 3 {
            values.enter(&key.to_le_bytes(), Some(place(1)));
            values.set(Scope::Window, "x", b"value");
        }
        values.added_count = 0;
        values.drop_some(1998);
        assert_eq!(values.windowed.count(), DROPPED_MAX * 3);
        for left in [2, 1, 0] {
            values.drop_some(1999);
            assert_eq!(values.windowed.count(), DROPPED_MAX * left);
        }
        values.drop_some(1999);
        assert!(values.buckets.is_empty());
    }
}
