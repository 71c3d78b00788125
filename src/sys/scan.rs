//! Finding bytes in text, many at a time.
//!
//! `memchr` is made for long hauls: where the next delimiter is ten bytes away, as in CSV and JSON, its set-up costs
//! more than the search. These functions do nothing but compare; [`Marks::index`] notes all that it finds, without a
//! branch that depends on where.
//!
//! # Invariants
//!
//! 1. SSE2 is part of every x86-64 processor; AVX2 and AVX-512 are used where the processor says that it has them.
//! 2. As many bytes are loaded or stored as the array has whose address is given.
//! 3. [`Marks::index`] has room for a position of each byte that it looks at, and `STRIDE` more, before it looks.

mod route;

use std::mem::MaybeUninit;

pub use route::Route;

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

/// The `N` bytes from `start` on.
#[inline(always)]
pub fn window<const N: usize>(bytes: &[u8], start: u32) -> Option<&[u8; N]> {
    let start = start as usize;
    // One comparison, where `get(start..)` and `first_chunk` are two.
    bytes.get(start..start + N)?.as_array()
}

/// Bytes with a meaning in text of records and fields.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// Ends a field, as a newline does.
    pub delimiter: u8,
    /// What a search ends at.
    pub stops: [u8; 3],
}

/// How far [`Marks::index`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// Where it ended: at the end, or where a block of 64 bytes begins that holds a byte to stop at.
    pub end: usize,
    /// How many newlines it passed.
    pub newline_count: usize,
}

/// Of each of 64 bytes a bit, least significant first.
struct Found {
    /// Whether it is the delimiter or a newline.
    ends: u64,
    newlines: u64,
    stops: u64,
}

/// How many positions are written at a time, wanted or not.
const STRIDE: usize = 16;

impl Marks {
    /// Appends the positions of all delimiters and newlines in `bytes[from..]` to `positions`.
    ///
    /// # Panics
    ///
    /// If `from` is out of bounds, or a position does not fit 32 bits.
    pub fn index(&self, bytes: &[u8], from: usize, positions: &mut Vec<u32>) -> Indexed {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512bw") && has!("avx512vbmi2") && has!("popcnt") {
                // SAFETY: invariant 1: the processor has what the function asks for.
                return unsafe { self.index_avx512(bytes, from, positions) };
            }
            if has!("avx2") && has!("bmi1") && has!("popcnt") {
                // SAFETY: invariant 1: the processor has what the function asks for.
                return unsafe { self.index_avx2(bytes, from, positions) };
            }
        }
        self.index_by(bytes, from, positions, |block| self.find(block), write_bits)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512bw,avx512vbmi2,popcnt")]
    fn index_avx512(&self, bytes: &[u8], from: usize, positions: &mut Vec<u32>) -> Indexed {
        use std::arch::x86_64::{
            _mm512_add_epi32, _mm512_castsi512_si128, _mm512_cmpeq_epi8_mask, _mm512_cvtepu8_epi32,
            _mm512_loadu_si512, _mm512_maskz_compress_epi8, _mm512_set1_epi8, _mm512_set1_epi32,
            _mm512_storeu_si512,
        };
        let all = |byte: u8| _mm512_set1_epi8(byte.cast_signed());
        let (delimiter, newline, stops) = (all(self.delimiter), all(b'\n'), self.stops.map(all));
        let numbers: [u8; 64] = std::array::from_fn(|index| index as u8);
        // SAFETY: invariant 2: `numbers` has the 64 bytes that are loaded.
        let numbers = unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) };
        let find = |block: &[u8; 64]| {
            // SAFETY: invariant 2: `block` has the 64 bytes that are loaded.
            let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
            let newlines = _mm512_cmpeq_epi8_mask(bytes, newline);
            let [a, b, c] = stops.map(|stop| _mm512_cmpeq_epi8_mask(bytes, stop));
            Found {
                ends: newlines | _mm512_cmpeq_epi8_mask(bytes, delimiter),
                newlines,
                stops: a | b | c,
            }
        };
        self.index_by(bytes, from, positions, find, |room, start, mut bits| {
            for stride in room.as_chunks_mut::<STRIDE>().0 {
                let found = _mm512_castsi512_si128(_mm512_maskz_compress_epi8(bits, numbers));
                let found = _mm512_cvtepu8_epi32(found);
                let found = _mm512_add_epi32(found, _mm512_set1_epi32(start.cast_signed()));
                // SAFETY: invariant 2: a stride is the 64 bytes that are stored.
                unsafe { _mm512_storeu_si512(stride.as_mut_ptr().cast(), found) };
                if bits.count_ones() as usize <= STRIDE {
                    break;
                }
                bits = (0..STRIDE).fold(bits, |bits, _| bits & bits.wrapping_sub(1));
            }
        })
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,popcnt")]
    fn index_avx2(&self, bytes: &[u8], from: usize, positions: &mut Vec<u32>) -> Indexed {
        use std::arch::x86_64::{
            __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256,
            _mm256_set1_epi8,
        };
        let all = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
        let (delimiter, newline, stops) = (all(self.delimiter), all(b'\n'), self.stops.map(all));
        let bits = |of: __m256i| u64::from(_mm256_movemask_epi8(of).cast_unsigned());
        let half = |half: &[u8; 32]| {
            // SAFETY: invariant 2: `half` has the 32 bytes that are loaded.
            let bytes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
            let newlines = _mm256_cmpeq_epi8(bytes, newline);
            let [a, b, c] = stops.map(|stop| _mm256_cmpeq_epi8(bytes, stop));
            Found {
                ends: bits(_mm256_or_si256(newlines, _mm256_cmpeq_epi8(bytes, delimiter))),
                newlines: bits(newlines),
                stops: bits(_mm256_or_si256(_mm256_or_si256(a, b), c)),
            }
        };
        let find = |block: &[u8; 64]| {
            let halves = block.as_chunks::<32>().0;
            let (low, high) = (half(&halves[0]), half(&halves[1]));
            Found {
                ends: low.ends | high.ends << 32,
                newlines: low.newlines | high.newlines << 32,
                stops: low.stops | high.stops << 32,
            }
        };
        self.index_by(bytes, from, positions, find, write_bits)
    }

    /// A block, byte by byte.
    fn find(&self, block: &[u8; 64]) -> Found {
        let bits = |is: &dyn Fn(u8) -> bool| {
            let bit = |(index, &byte): (usize, &u8)| u64::from(is(byte)) << index;
            block.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit)
        };
        Found {
            ends: bits(&|byte| byte == b'\n' || byte == self.delimiter),
            newlines: bits(&|byte| byte == b'\n'),
            stops: bits(&|byte| self.stops.contains(&byte)),
        }
    }

    /// The loop of all ways. `find` looks at a block; `write` writes where its bits are, counted from a start, into a room.
    #[inline(always)]
    fn index_by(
        &self,
        bytes: &[u8],
        from: usize,
        positions: &mut Vec<u32>,
        find: impl Fn(&[u8; 64]) -> Found,
        write: impl Fn(&mut [MaybeUninit<u32>], u32, u64),
    ) -> Indexed {
        assert!(u32::try_from(bytes.len()).is_ok(), "positions have 32 bits");
        let (blocks, rest) = bytes[from..].as_chunks::<64>();
        positions.reserve(bytes.len() - from + STRIDE);
        let mut indexed = Indexed { end: from, newline_count: 0 };
        let mut push = |found: &Found, indexed: &mut Indexed, length: usize| {
            write(positions.spare_capacity_mut(), indexed.end as u32, found.ends);
            let count = found.ends.count_ones() as usize;
            // SAFETY: by invariant 3 the room sufficed, so that a position was written for each of these bits.
            unsafe { positions.set_len(positions.len() + count) };
            indexed.newline_count += found.newlines.count_ones() as usize;
            indexed.end += length;
        };
        for block in blocks {
            let found = find(block);
            if found.stops != 0 {
                return indexed;
            }
            push(&found, &mut indexed, 64);
        }
        let mut block = [0; 64];
        block[..rest.len()].copy_from_slice(rest);
        let (found, valid) = (find(&block), (1 << rest.len()) - 1);
        if found.stops & valid == 0 {
            let (ends, newlines) = (found.ends & valid, found.newlines & valid);
            push(&Found { ends, newlines, stops: 0 }, &mut indexed, rest.len());
        }
        indexed
    }
}

/// Positions that are written at a time where no instruction does it: as many as 64 bytes of CSV mostly hold.
const PLACES: usize = 6;

/// Writes the position of each bit that is set, counted from `start`, and more to a multiple of `PLACES`, which is at most a stride.
#[inline(always)]
fn write_bits(room: &mut [MaybeUninit<u32>], start: u32, mut bits: u64) {
    for places in room.as_chunks_mut::<PLACES>().0 {
        for place in places {
            place.write(start.wrapping_add(bits.trailing_zeros()));
            bits &= bits.wrapping_sub(1);
        }
        if bits == 0 {
            break;
        }
    }
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
        }

        #[test]
        fn an_index_holds_what_a_loop_finds(
            bytes in prop::collection::vec(prop_oneof![6 => b'a'..b'd', 3 => Just(b','), 1 => Just(b'\n')], 0..400),
            stop in prop::option::of(any::<prop::sample::Index>()),
            from in any::<prop::sample::Index>(),
        ) {
            let marks = Marks { delimiter: b',', stops: [b'"', b'\\', b'\r'] };
            let (mut bytes, from) = (bytes.clone(), from.index(bytes.len() + 1));
            let stop = stop.map(|at| at.index(bytes.len() + 1)).filter(|&at| at < bytes.len());
            if let Some(at) = stop {
                bytes[at] = marks.stops[at % 3];
            }
            let end = stop.filter(|&at| at >= from).map_or(bytes.len(), |at| at - (at - from) % 64);
            let ends: Vec<u32> = (from..end).filter(|&at| matches!(bytes[at], b',' | b'\n')).map(|at| at as u32).collect();
            let newline_count = bytes[from..end].iter().filter(|&&byte| byte == b'\n').count();

            let (mut fast, mut plain) = (vec![7], Vec::new());
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt") {
                let mut half = Vec::new();
                // SAFETY: invariant 1: just asked.
                let indexed = unsafe { marks.index_avx2(&bytes, from, &mut half) };
                prop_assert_eq!((indexed, &half), (Indexed { end, newline_count }, &ends));
            }
            prop_assert_eq!(marks.index(&bytes, from, &mut fast), Indexed { end, newline_count });
            prop_assert_eq!(marks.index_by(&bytes, from, &mut plain, |block| marks.find(block), write_bits), Indexed { end, newline_count });
            prop_assert_eq!(&fast[1..], &ends);
            prop_assert_eq!(plain, ends);
        }
    }
}
