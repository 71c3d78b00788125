//! Draws which of a list of unsynced changes a crash leaves.
//!
//! Coins alone would hardly ever give the plain cases (all lost, all kept, a prefix), which are the likeliest ones on real
//! disks; so the shape is drawn first.

use crate::sys::random::Random;

/// What becomes of unsynced changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    /// None is left.
    Nothing,
    /// All are left, whole.
    Everything,
    /// Drawn list by list.
    Mixed,
}

impl Survival {
    /// The fate of a whole disk.
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(8) {
            0 => Self::Nothing,
            1 => Self::Everything,
            _ => Self::Mixed,
        }
    }

    /// For each of `count` changes whether it is left.
    pub(super) fn kept(self, count: usize, random: &mut Random) -> Vec<bool> {
        let middle = random.below(count as u64 + 1) as usize;
        let shape = match self {
            Self::Nothing => 0,
            Self::Everything => 1,
            Self::Mixed => random.below(6),
        };
        let kept = |index| match shape {
            0 => false,
            1 => true,
            2 => index < middle,
            3 => index >= middle,
            _ => coin(random),
        };
        (0..count).map(kept).collect()
    }
}

/// True every other time.
pub(super) fn coin(random: &mut Random) -> bool {
    random.below(2) == 0
}
