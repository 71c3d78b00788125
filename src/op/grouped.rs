//! Rows whose keys repeat, on their way to the owners of their distinct values: every key is sent once.
//!
//! # Invariants
//!
//! 1. Rows know their group by its number at the sender; `groups` says which number each key that was sent has.

use arrow_array::{ArrayRef, UInt32Array};

use super::pane::Pane;
use super::shape::Shape;
use crate::batch::take_columns;
use crate::state::{Pages, ValuePair};

/// So many rows at a time are told their slots, which stay in the first cache until all is done with them.
const BLOCK_ROWS: usize = 1 << 12;

/// Rows, and the groups of their keys.
#[derive(Clone, Debug)]
pub struct Grouped {
    /// `[keys]`: the number of each key's group, which is less than `group_end`.
    groups: Vec<u32>,
    group_end: usize,
    rows: GroupedRows,
}

/// What there is of rows.
#[derive(Clone, Debug)]
pub(super) enum GroupedRows {
    /// The group of each, and the columns that [`Shape::shipped`] names.
    Columns(Vec<u32>, Vec<ArrayRef>),
    /// Their values of the one distinct list, each with its group, where all else that is made of them is that they are counted.
    Values(Vec<ValuePair>),
}

impl Grouped {
    /// Rows of groups that have these numbers, all less than `group_end`.
    pub(super) fn new(groups: Vec<u32>, group_end: usize, rows: GroupedRows) -> Self {
        Self { groups, group_end, rows }
    }

    /// Folds the rows of the groups of some keys, those in `members`, into the slots of these.
    pub(super) fn fold(
        &self,
        shape: &Shape,
        pages: &mut Pages,
        pane: &mut Pane,
        members: &[u32],
        slots: &[u32],
    ) {
        let mut slot_of = vec![u32::MAX; self.group_end];
        for (&member, &slot) in members.iter().zip(slots) {
            slot_of[self.groups[member as usize] as usize] = slot;
        }
        let has_all = members.len() == self.groups.len();
        match &self.rows {
            GroupedRows::Values(pairs) if has_all => {
                pane.update_values(shape, pages, pairs, &slot_of);
            }
            GroupedRows::Values(pairs) => {
                let is_member = |pair: &&ValuePair| slot_of[group_of(pair)] != u32::MAX;
                let pairs: Vec<ValuePair> = pairs.iter().filter(is_member).copied().collect();
                pane.update_values(shape, pages, &pairs, &slot_of);
            }
            GroupedRows::Columns(groups, columns) if has_all => {
                fold_all(shape, pages, pane, &slot_of, groups, columns);
            }
            GroupedRows::Columns(groups, columns) => {
                let of_row = groups.iter().map(|&group| slot_of[group as usize]);
                let (rows, of_row): (Vec<u32>, Vec<u32>) =
                    (0..).zip(of_row).filter(|&(_, slot)| slot != u32::MAX).unzip();
                let columns = take_columns(columns, &UInt32Array::from(rows));
                pane.update(shape, pages, &of_row, &columns);
            }
        }
    }
}

impl GroupedRows {
    /// The groups that have rows, ascending; all are less than `group_end`.
    pub(super) fn groups(&self, group_end: usize) -> Vec<u32> {
        let mut has_rows = vec![false; group_end];
        match self {
            Self::Columns(groups, _) => {
                groups.iter().for_each(|&group| has_rows[group as usize] = true);
            }
            Self::Values(pairs) => pairs.iter().for_each(|pair| has_rows[group_of(pair)] = true),
        }
        (0..group_end as u32).filter(|&group| has_rows[group as usize]).collect()
    }
}

/// The group of a value on its way.
#[inline]
pub(super) fn group_of(pair: &ValuePair) -> usize {
    pair[1] as u32 as usize
}

fn fold_all(
    shape: &Shape,
    pages: &mut Pages,
    pane: &mut Pane,
    slot_of: &[u32],
    groups: &[u32],
    columns: &[ArrayRef],
) {
    let mut slots = Vec::with_capacity(groups.len().min(BLOCK_ROWS));
    for (index, block) in groups.chunks(BLOCK_ROWS).enumerate() {
        slots.clear();
        slots.extend(block.iter().map(|&group| slot_of[group as usize]));
        let columns = columns.iter().map(|column| column.slice(index * BLOCK_ROWS, block.len()));
        pane.update(shape, pages, &slots, &columns.collect::<Vec<_>>());
    }
}
