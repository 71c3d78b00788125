//! Numbers that are picked, a block at a time: whether one is cannot be foreseen, so a block's answers become bits, without a branch, and
//! those that are set are walked through.

/// Numbers that are picked from together.
pub(super) const BLOCK: usize = u64::BITS as usize;

/// A bit for each value of a block, of the first the lowest.
#[inline(always)]
pub(super) fn bits<T: Copy>(values: &[T], is_set: impl Fn(T) -> bool) -> u64 {
    let bits = (0..).zip(values).map(|(at, &value)| u64::from(is_set(value)) << at);
    bits.fold(0, |bits, bit| bits | bit)
}

/// Numbers that are picked.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// Those that are picked, and room behind them.
    numbers: Vec<u32>,
    count: usize,
}

impl Picked {
    /// Forgets all, and makes room to choose from so many.
    pub(super) fn begin(&mut self, count: usize) {
        if self.numbers.len() < count {
            self.numbers.resize(count, 0);
        }
        self.count = 0;
    }

    /// Picks of a block of numbers, from `first` on, those whose bit is set.
    #[inline(always)]
    pub(super) fn pick_bits(&mut self, first: usize, mut bits: u64) {
        let end = self.count + bits.count_ones() as usize;
        for number in &mut self.numbers[self.count..end] {
            *number = first as u32 + bits.trailing_zeros();
            bits &= bits - 1;
        }
        self.count = end;
    }

    pub(super) fn get(&self) -> &[u32] {
        &self.numbers[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a filter.
        #[test]
        fn numbers_are_picked(values in prop::collection::vec(0..3u8, 0..300), first in 0..100usize) {
            let mut picked = Picked::default();
            for round in 0..2 {
                picked.begin(values.len());
                for (block, values) in values.chunks(BLOCK).enumerate() {
                    picked.pick_bits(first + block * BLOCK, bits(values, |value| value == round));
                }
                let numbers = (first as u32..).zip(&values);
                let expected = numbers.filter(|&(_, &value)| value == round).map(|(number, _)| number);
                prop_assert_eq!(picked.get(), expected.collect::<Vec<_>>());
            }
        }
    }
}
