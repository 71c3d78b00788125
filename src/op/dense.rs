//! A cache before a folding table: groups whose key is one integer, found by the integer itself where a batch's keys lie close together.
//!
//! Ids of pages, shops, sensors are such keys. What they span is learnt from the rows; nothing is known of them before.
//!
//! ```text
//! entries: [lanes × width] group + 1 u32        lane: a slice        place in it: key − low        0: ask the table
//! ```
//!
//! # Invariants
//!
//! 1. It is a cache: an entry says what the table would say, and it may be forgotten at any time.

use super::folding::extent;
use crate::sys::vector;
use crate::window::Cut;

/// Entries of a lane at most: keys farther apart are hashed.
const WIDTH_MAX: u64 = 1 << 16;
/// Entries at most: a megabyte.
const ENTRIES_MAX: usize = 1 << 18;

/// The slot of a row whose group is not known.
const UNKNOWN: u32 = u32::MAX;

/// Looks rows up; whether all are known.
struct LookUp<'a> {
    keys: &'a [i64],
    slices: &'a [u32],
    lanes: &'a [usize],
    low: i64,
    entries: &'a [u32],
    slots: &'a mut [u32],
}

impl vector::Loop for LookUp<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { keys, slices, lanes, low, entries, slots } = self;
        let mut least = 1;
        for ((slot, &key), &slice) in slots.iter_mut().zip(keys).zip(slices) {
            let lane = lanes.get(slice as usize).copied().unwrap_or(0);
            let place = lane.wrapping_add(key.wrapping_sub(low) as usize);
            let entry = entries.get(place).copied().unwrap_or(0);
            least = entry.min(least);
            *slot = entry.wrapping_sub(1);
        }
        least > 0
    }
}

/// All bits that some place has.
struct PlaceBits<'a> {
    keys: &'a [i64],
    low: i64,
}

impl vector::Loop for PlaceBits<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let place = |key: &i64| key.wrapping_sub(self.low).cast_unsigned();
        self.keys.iter().fold(0, |bits, key| bits | place(key))
    }
}

/// The cache.
#[derive(Clone, Debug, Default)]
pub(super) struct Dense {
    low: i64,
    /// A power of two; 0: nothing is known yet.
    width: usize,
    /// The slice ends that lanes stand for.
    lanes: Vec<i64>,
    entries: Vec<u32>,
    /// Something has been forgotten since all was.
    has_lost: bool,
}

impl Dense {
    /// The key whose place in a lane is 0.
    pub(super) fn low(&self) -> i64 {
        self.low
    }

    /// How many keys a lane has; 0 before the first.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Whether these keys have places.
    pub(super) fn covers(&self, keys: &[i64]) -> bool {
        // The width is a power of two: one bit from there up shows that some place is beyond it.
        vector::widest(PlaceBits { keys, low: self.low }) < self.width as u64
    }

    /// Has these keys have places; `None`: they lie too far apart.
    pub(super) fn cover(&mut self, keys: &[i64]) -> Option<()> {
        if !self.covers(keys) {
            let (least, greatest) = extent(keys);
            self.widen(least, greatest)?;
        }
        Some(())
    }

    /// Prepares for these keys in the slices of a cut, and says where the lane of each slice begins; `None`: they lie too far apart.
    pub(super) fn prepare(&mut self, keys: &[i64], cut: &Cut) -> Option<Vec<usize>> {
        self.cover(keys)?;
        if (self.lanes.len() + cut.ends().len()) * self.width > ENTRIES_MAX {
            self.lose();
        }
        let lanes = cut.ends().map(|end| self.lane(end) * self.width).collect();
        Some(lanes)
    }

    /// Has it cover these keys besides those that it covers.
    fn widen(&mut self, least: i64, greatest: i64) -> Option<()> {
        let (mut least, mut greatest) = (least, greatest);
        if self.width > 0 {
            least = least.min(self.low);
            greatest = greatest.max(self.low.saturating_add(self.width as i64 - 1));
        }
        let span = greatest.checked_sub(least)?.cast_unsigned().checked_add(1)?;
        if span > WIDTH_MAX {
            return None;
        }
        let width = span.next_power_of_two();
        self.lose();
        // Room on either side, for keys that are still to come.
        self.low = least.saturating_sub(((width - span) / 2).cast_signed());
        self.width = width as usize;
        Some(())
    }

    fn lane(&mut self, end_ms: i64) -> usize {
        self.lanes.iter().position(|&end| end == end_ms).unwrap_or_else(|| {
            self.lanes.push(end_ms);
            self.entries.resize(self.lanes.len() * self.width, 0);
            self.lanes.len() - 1
        })
    }

    /// The groups of rows, each by its key and slice. `miss` says the group of a row that is not known here.
    ///
    /// # Shapes
    ///
    /// `keys`, `slices`: `[rows]`, as prepared for; `lanes`: what [`Dense::prepare`] said. `slots` is replaced.
    #[inline]
    pub(super) fn find(
        &mut self,
        keys: &[i64],
        slices: &[u32],
        lanes: &[usize],
        slots: &mut Vec<u32>,
        mut miss: impl FnMut(usize) -> u32,
    ) {
        slots.clear();
        slots.resize(keys.len(), 0);
        let (low, entries) = (self.low, self.entries.as_slice());
        let all_known = vector::widest(LookUp { keys, slices, lanes, low, entries, slots });
        if all_known {
            return;
        }
        for (row, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| **slot == UNKNOWN) {
            let place = keys[row].wrapping_sub(self.low) as usize;
            let entry = &mut self.entries[lanes[slices[row] as usize] + place];
            if *entry == 0 {
                *entry = miss(row) + 1;
            }
            *slot = *entry - 1;
        }
    }

    /// Whether it may not know groups that it was told since it was cleared.
    pub(super) fn has_lost(&self) -> bool {
        self.has_lost
    }

    fn lose(&mut self) {
        let has_lost = self.has_lost || !self.lanes.is_empty();
        self.clear();
        self.has_lost = has_lost;
    }

    /// Forgets all groups, but not what keys span.
    pub(super) fn clear(&mut self) {
        self.has_lost = false;
        self.lanes.clear();
        self.entries.clear();
    }
}
