//! Finding bytes in text, sixteen at a time.
//!
//! `memchr` is made for long hauls: where the next delimiter is ten bytes away, as in CSV and JSON, its set-up costs
//! more than the search. These two functions do nothing but compare.
//!
//! # Invariants
//!
//! 1. SSE2, which the x86-64 ways use, is part of every x86-64 processor.
//! 2. Sixteen bytes are loaded only from an array of at least sixteen.

/// The first position from `at` on that holds `first` or `second`; `bytes.len()` if there is none.
///
/// # Panics
///
/// If `at` is out of bounds.
#[inline]
pub fn find_either(bytes: &[u8], mut at: usize, first: u8, second: u8) -> usize {
    assert!(at <= bytes.len());
    while let Some(block) = bytes[at..].first_chunk::<16>() {
        let found = mask16(block, first, second);
        if found != 0 {
            return at + found.trailing_zeros() as usize;
        }
        at += 16;
    }
    let rest = bytes[at..].iter().position(|&byte| byte == first || byte == second);
    rest.map_or(bytes.len(), |index| at + index)
}

/// For each of 64 bytes a bit, least significant first: whether it is `first` or `second`.
#[inline]
pub fn mask64(block: &[u8; 64], first: u8, second: u8) -> u64 {
    let quarters = block.as_chunks::<16>().0;
    let bits = |index: usize| u64::from(mask16(&quarters[index], first, second)) << (16 * index);
    bits(0) | bits(1) | bits(2) | bits(3)
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn mask16(block: &[u8; 16], first: u8, second: u8) -> u16 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: invariants 1 and 2: the processor has SSE2, and `block` has the sixteen bytes that are loaded.
    unsafe {
        let bytes = _mm_loadu_si128(block.as_ptr().cast());
        let first = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(first.cast_signed()));
        let second = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(second.cast_signed()));
        _mm_movemask_epi8(_mm_or_si128(first, second)) as u16
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn mask16(block: &[u8; 16], first: u8, second: u8) -> u16 {
    let bit = |(index, &byte): (usize, &u8)| u16::from(byte == first || byte == second) << index;
    block.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_loop_finds(bytes in prop::collection::vec(0u8..6, 0..80), at in any::<prop::sample::Index>(), first in 0u8..6, second in 0u8..6) {
            let at = at.index(bytes.len() + 1);
            let naive = (at..bytes.len()).find(|&index| bytes[index] == first || bytes[index] == second);
            prop_assert_eq!(find_either(&bytes, at, first, second), naive.unwrap_or(bytes.len()));
            if let Some(block) = bytes.first_chunk::<64>() {
                let mask = mask64(block, first, second);
                for (index, &byte) in block.iter().enumerate() {
                    prop_assert_eq!(mask >> index & 1 == 1, byte == first || byte == second);
                }
            }
        }
    }
}
