//! An index of a partition that is made, used and forgotten, in the cache.

/// Where the sessions of a partition lie, by their tags: an entry has as many bits of the tag as the slot leaves.
///
/// ```text
/// entry: tag's high bits │ slot + 1                      0: nothing
/// ```
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Vec<u32>,
    slot_mask: u32,
}

/// Where a search stands.
pub(super) struct Probe {
    at: usize,
    tag: u32,
}

/// A slot that may have the tag, and where that stands.
pub(super) struct Entry {
    at: usize,
    pub(super) slot: u32,
}

impl Index {
    /// Forgets all, and makes room for `count` slots less than `slot_end`.
    pub(super) fn begin(&mut self, count: usize, slot_end: usize) {
        self.entries.clear();
        self.entries.resize((count * 2).next_power_of_two(), 0);
        self.slot_mask = (slot_end as u32 + 1).next_power_of_two() - 1;
    }

    #[inline(always)]
    pub(super) fn probe(&self, tag: u32) -> Probe {
        Probe { at: tag as usize & (self.entries.len() - 1), tag }
    }

    /// The next entry that may have the tag.
    #[inline(always)]
    pub(super) fn next(&self, probe: &mut Probe) -> Option<Entry> {
        loop {
            let (at, entry) = (probe.at, self.entries[probe.at]);
            if entry == 0 {
                return None;
            }
            probe.at = (at + 1) & (self.entries.len() - 1);
            if (entry ^ probe.tag) & !self.slot_mask == 0 {
                return Some(Entry { at, slot: (entry & self.slot_mask) - 1 });
            }
        }
    }

    /// Gives an entry another slot.
    #[inline(always)]
    pub(super) fn set(&mut self, entry: &Entry, slot: u32) {
        let held = &mut self.entries[entry.at];
        *held = *held & !self.slot_mask | (slot + 1);
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        let mut probe = self.probe(tag);
        while self.entries[probe.at] != 0 {
            probe.at = (probe.at + 1) & (self.entries.len() - 1);
        }
        self.entries[probe.at] = tag & !self.slot_mask | (slot + 1);
    }
}
