//! Numbers drawn from an index: what makes a generated row a function of its seed and its position.
//!
//! A generator that steps a state would tie row *i* to all rows before it; hashing the index lets any
//! shard make any chunk. The mixer is SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection
//! on 64 bits whose output passes the usual batteries when fed a Weyl sequence.
//!
//! # Invariants
//!
//! 1. Integers only, so every platform draws the same.

/// 2^64 over the golden ratio: the step of the Weyl sequence.
const WEYL: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finaliser, a bijection.
#[inline]
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// The draw of `index` in the sequence `seed`.
#[inline]
pub(crate) fn draw(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(index.wrapping_mul(WEYL)).wrapping_add(WEYL))
}

/// The seed of the sequence `stream` derived from `seed`.
pub(crate) fn derive(seed: u64, stream: u64) -> u64 {
    mix(mix(seed).wrapping_add(stream.wrapping_mul(WEYL)))
}

/// Scales a uniform 64-bit draw to `0 .. bound`.
#[inline]
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

/// Scales a uniform 32-bit draw (the low half of `draw`) to `0 .. bound`, `bound` below 2^32.
#[inline]
pub(crate) fn below_32(draw: u64, bound: u64) -> u64 {
    ((draw & 0xFFFF_FFFF) * bound) >> 32
}

/// Scales a draw to a double in `[0, 1)`, a multiple of 2^-53.
#[inline]
pub(crate) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_bounds_and_spread() {
        let mut counts = [0u32; 10];
        for index in 0..100_000 {
            let number = draw(7, index);
            assert!(below_32(number, 4000) < 4000);
            assert!((0.0..1.0).contains(&unit(number)));
            counts[below(number, 10) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "{counts:?}");
        assert_eq!(below(u64::MAX, u64::MAX), u64::MAX - 1);
    }
}
