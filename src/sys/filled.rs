//! Vectors that are filled value by value: not zeroed before, and without noting their length in memory with every value.
//!
//! # Invariants
//!
//! 1. A vector gets its length when so many values have been written, one after another from its beginning.

/// `count` values one after another.
///
/// # Panics
///
/// If there are not as many.
#[inline]
pub fn filled<V: Copy>(count: usize, values: impl Iterator<Item = V>) -> Vec<V> {
    let mut filled = Vec::with_capacity(count);
    let room = &mut filled.spare_capacity_mut()[..count];
    // Counted by value: where the loop is a function of its own, a counter outside of it would wait for itself in memory.
    let written = values.fold(0, |written, value| {
        room[written].write(value);
        written + 1
    });
    assert_eq!(written, count, "a value for every row");
    // SAFETY: invariant 1: the first `written` values have been written, and they are `count`.
    unsafe { filled.set_len(count) };
    filled
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn there_are_as_many_as_were_said() {
        assert_eq!(filled(3, 7..10), [7, 8, 9]);
        assert!(filled(0, std::iter::empty::<u8>()).is_empty());
        assert!(catch_unwind(|| filled(3, 0..2)).is_err(), "too few");
        assert!(catch_unwind(|| filled(3, 0..4)).is_err(), "too many");
    }
}
