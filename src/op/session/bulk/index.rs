//! An index of a partition that is made, used and forgotten, in the cache.

/// Where the records of a partition lie, by their tags: an entry has as many bits of the tag as the slot leaves.
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

    /// The slot that a search meets first, or another where that is none with the tag: found without a branch, to be fetched before the
    /// search.
    #[inline(always)]
    pub(super) fn first(&self, tag: u32) -> usize {
        let entry = self.entries[tag as usize & (self.entries.len() - 1)];
        let is_it = (entry ^ tag) & !self.slot_mask == 0;
        if is_it { (entry & self.slot_mask) as usize } else { 1 }.saturating_sub(1)
    }

    /// The next slot that may have the tag; `None`: there are no more, and a new one may be put here.
    #[inline(always)]
    pub(super) fn next(&self, probe: &mut Probe) -> Option<u32> {
        loop {
            let entry = self.entries[probe.at];
            if entry == 0 {
                return None;
            }
            probe.at = (probe.at + 1) & (self.entries.len() - 1);
            if (entry ^ probe.tag) & !self.slot_mask == 0 {
                return Some((entry & self.slot_mask) - 1);
            }
        }
    }

    /// Puts a slot where a search has ended.
    #[inline(always)]
    pub(super) fn put(&mut self, probe: &Probe, slot: u32) {
        self.entries[probe.at] = probe.tag & !self.slot_mask | (slot + 1);
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        let mut probe = self.probe(tag);
        while self.entries[probe.at] != 0 {
            probe.at = (probe.at + 1) & (self.entries.len() - 1);
        }
        self.put(&probe, slot);
    }
}
