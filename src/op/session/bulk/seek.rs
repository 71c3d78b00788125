//! What is found of the sessions of a partition before rows are put to them: which ones they may touch at all.
//!
//! Nine of ten rows begin a session, and nine of ten sessions get no row before they are looked through again. So rows' tags go into a
//! filter first (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970, with one hash), and a session that it does not
//! have is not entered into the index.

use super::GONE;
use super::index::Index;
use super::partition::Partition;

/// Bits of the filter for each row, at least.
const ROW_BITS: usize = 16;

/// The rows' tags, and an index of the sessions that rows may touch; made anew for each partition.
#[derive(Debug, Default)]
pub(super) struct Seek {
    /// Of the rows, in their order.
    pub(super) tags: Vec<u32>,
    pub(super) index: Index,
    /// By the low bits of tags.
    filter: Vec<u64>,
    /// Sessions whose tags the filter has.
    touchable: Vec<u32>,
}

impl Seek {
    /// Turns to a partition to which `rows` rows come, whose tags `fill` appends.
    pub(super) fn begin(
        &mut self,
        partition: &Partition,
        rows: usize,
        fill: impl FnOnce(&mut Vec<u32>),
    ) {
        let Self { tags, index, filter, touchable } = self;
        tags.clear();
        fill(tags);
        filter.clear();
        filter.resize((rows * ROW_BITS / 64).next_power_of_two(), 0);
        let mask = filter.len() - 1;
        let word = |tag: u32| (tag as usize / 64) & mask;
        tags.iter().for_each(|&tag| filter[word(tag)] |= 1 << (tag % 64));
        touchable.clear();
        for (slot, (&tag, &end)) in (0..).zip(partition.tags.iter().zip(&partition.ends)) {
            if (filter[word(tag)] >> (tag % 64)) & 1 == 1 && end != GONE {
                touchable.push(slot);
            }
        }
        index.begin(touchable.len() + rows, partition.ends.len() + rows);
        touchable.iter().for_each(|&slot| index.insert(partition.tags[slot as usize], slot));
    }
}
