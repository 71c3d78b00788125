//! How much of each client's stream is durable: a bounded table, which forgets whom it has not heard of for longest.
//!
//! # Invariants
//!
//! 1. What is forgotten, and the order, depend on the calls of [`Offsets::set`] alone, so that a log read again gives
//!    the table that was there when it was written.
//! 2. `by_age` has one entry for each of `by_id`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Clients remembered.
pub(super) const IDS_COUNT_MAX: usize = 100_000;

/// The offsets of clients.
#[derive(Debug)]
pub(super) struct Offsets {
    ids_count_max: usize,
    by_id: HashMap<Arc<str>, Entry>,
    by_age: BTreeMap<u64, Arc<str>>,
    next_age: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset_bytes: u64,
    age: u64,
}

impl Offsets {
    pub(super) fn new(ids_count_max: usize) -> Self {
        assert!(ids_count_max > 0);
        Self { ids_count_max, by_id: HashMap::new(), by_age: BTreeMap::new(), next_age: 0 }
    }

    /// How much of this client's stream is durable; 0 if nobody remembers.
    pub(super) fn get(&self, id: &str) -> u64 {
        self.by_id.get(id).map_or(0, |entry| entry.offset_bytes)
    }

    pub(super) fn set(&mut self, id: &str, offset_bytes: u64) {
        let age = self.next_age;
        self.next_age += 1;
        let id = if let Some(entry) = self.by_id.get_mut(id) {
            let old = std::mem::replace(entry, Entry { offset_bytes, age });
            self.by_age.remove(&old.age).expect("invariant 2")
        } else {
            let id: Arc<str> = id.into();
            self.by_id.insert(Arc::clone(&id), Entry { offset_bytes, age });
            id
        };
        self.by_age.insert(age, id);
        if self.by_age.len() > self.ids_count_max {
            let (_, oldest) = self.by_age.pop_first().expect("there is more than one");
            self.by_id.remove(&oldest);
        }
    }

    /// All, the one set longest ago first: setting them in this order gives the same table.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_age.values().map(|id| (&**id, self.get(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_not_heard_of_for_longest_is_forgotten() {
        let mut offsets = Offsets::new(2);
        for (id, offset) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            offsets.set(id, offset);
        }
        assert_eq!(offsets.iter().collect::<Vec<_>>(), [("a", 3), ("c", 4)]);
        assert_eq!((offsets.get("a"), offsets.get("b")), (3, 0));
    }
}
