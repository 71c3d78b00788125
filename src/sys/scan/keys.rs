//! Finding where the fields of JSON lines stand: the colons behind their keys.
//!
//! A colon that directly follows a quote ends a key, as JSON is mostly written. A record of five fields has five of these, and eighteen
//! quotes; so only the colons' positions are noted, and quotes are counted: who knows how many belong there knows that there are no others.
//!
//! # Invariants
//!
//! 1. AVX2, BMI1 and POPCNT are used where the processor says that it has them.
//! 2. As many bytes are loaded as the array has whose address is given.
//! 3. There is room for a position of each byte that is looked at, and `STRIDE` more, before it is looked at.

use std::mem::MaybeUninit;

use super::{STRIDE, write_bits};

/// How far [`index_keys`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyScan {
    /// Where it ended: at the end, or where a block of 64 bytes begins that holds a backslash.
    pub end: usize,
    /// How many quotes it passed.
    pub quote_count: usize,
}

/// Of each of 64 bytes a bit, least significant first.
struct Found {
    /// Whether it is a newline, or a colon behind a quote.
    marks: u64,
    /// Whether the byte before it is a quote.
    behind_quotes: u64,
    has_backslash: bool,
}

/// 64 bytes, and the one before them.
type Window = [u8; 65];

/// Positions that are written at a time, wanted or not: as many as 64 bytes hold mostly.
const PLACES: usize = 4;

/// Appends the positions in `bytes[from..]` of all newlines, and of all colons that follow a quote, to `positions`.
///
/// # Panics
///
/// If `from` is out of bounds, or a position does not fit 32 bits.
pub fn index_keys(bytes: &[u8], from: usize, positions: &mut Vec<u32>) -> KeyScan {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        if has!("avx2") && has!("bmi1") && has!("popcnt") {
            // SAFETY: invariant 1: the processor has what the function asks for.
            return unsafe { by_avx2(bytes, from, positions) };
        }
    }
    index_by(bytes, from, positions, find)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,popcnt")]
fn by_avx2(bytes: &[u8], from: usize, positions: &mut Vec<u32>) -> KeyScan {
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8,
        _mm256_or_si256, _mm256_set1_epi8,
    };
    let all = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
    let [quote, colon, newline, backslash] = [b'"', b':', b'\n', b'\\'].map(all);
    let bits = |of: __m256i| u64::from(_mm256_movemask_epi8(of).cast_unsigned());
    let load = |bytes: &[u8; 32]| {
        // SAFETY: invariant 2: `bytes` has the 32 bytes that are loaded.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    };
    let half = |before: &[u8; 32], own: &[u8; 32]| {
        let (before, own) = (load(before), load(own));
        let behind_quotes = _mm256_cmpeq_epi8(before, quote);
        let keys = _mm256_and_si256(_mm256_cmpeq_epi8(own, colon), behind_quotes);
        let marks = _mm256_or_si256(keys, _mm256_cmpeq_epi8(own, newline));
        (marks, behind_quotes, _mm256_cmpeq_epi8(own, backslash))
    };
    index_by(bytes, from, positions, |window| {
        let (before, own) = (window[..64].as_chunks().0, window[1..].as_chunks().0);
        let (low, high) = (half(&before[0], &own[0]), half(&before[1], &own[1]));
        Found {
            marks: bits(low.0) | bits(high.0) << 32,
            behind_quotes: bits(low.1) | bits(high.1) << 32,
            has_backslash: bits(_mm256_or_si256(low.2, high.2)) != 0,
        }
    })
}

/// A block, byte by byte.
fn find(window: &Window) -> Found {
    let bits = |is: &dyn Fn(u8, u8) -> bool| {
        let bit = |(index, pair): (usize, &[u8])| u64::from(is(pair[0], pair[1])) << index;
        window.windows(2).enumerate().map(bit).fold(0, |mask, bit| mask | bit)
    };
    Found {
        marks: bits(&|before, own| own == b'\n' || own == b':' && before == b'"'),
        behind_quotes: bits(&|before, _| before == b'"'),
        has_backslash: window[1..].contains(&b'\\'),
    }
}

/// The loop of all ways; `find` looks at a block.
#[inline(always)]
fn index_by(
    bytes: &[u8],
    from: usize,
    positions: &mut Vec<u32>,
    find: impl Fn(&Window) -> Found,
) -> KeyScan {
    assert!(from <= bytes.len() && u32::try_from(bytes.len()).is_ok(), "positions have 32 bits");
    positions.reserve(bytes.len() - from + STRIDE);
    let mut pass = Pass { at: from, quotes_before: 0, count: 0 };
    let room = positions.spare_capacity_mut();
    let mut goes_on = true;
    if from == 0 {
        goes_on = pass.take_edge(bytes, &find, room);
    }
    while goes_on && let Some(window) = bytes.get(pass.at.wrapping_sub(1)..pass.at + 64) {
        let window = window.as_array().expect("so many bytes were asked for");
        goes_on = pass.take(&find(window), 64, room);
    }
    if goes_on {
        pass.take_edge(bytes, &find, room);
    }
    let Pass { at: end, quotes_before, count } = pass;
    // SAFETY: by invariant 3 the room sufficed, so that so many positions were written, one after another.
    unsafe { positions.set_len(positions.len() + count) };
    let is_quote = |at: Option<usize>| at.is_some_and(|at| bytes[at] == b'"');
    let (before, last) = (from.checked_sub(1), end.checked_sub(1));
    let quote_count = quotes_before + usize::from(is_quote(last)) - usize::from(is_quote(before));
    KeyScan { end, quote_count }
}

/// What a pass knows between two blocks.
struct Pass {
    at: usize,
    /// Quotes directly before the bytes that have been passed.
    quotes_before: usize,
    /// How many positions have been written.
    count: usize,
}

impl Pass {
    /// Takes a block of which `length` bytes count; false, and nothing done, if it holds a backslash.
    #[inline(always)]
    fn take(&mut self, found: &Found, length: usize, room: &mut [MaybeUninit<u32>]) -> bool {
        if found.has_backslash {
            return false;
        }
        write_bits::<PLACES>(&mut room[self.count..], self.at as u32, found.marks);
        self.count += found.marks.count_ones() as usize;
        self.quotes_before += found.behind_quotes.count_ones() as usize;
        self.at += length;
        true
    }

    /// The same, where bytes end, or where none is before.
    #[inline(never)]
    fn take_edge(
        &mut self,
        bytes: &[u8],
        find: impl Fn(&Window) -> Found,
        room: &mut [MaybeUninit<u32>],
    ) -> bool {
        // Zeros are none of the bytes that are looked for.
        let mut window = [0; 65];
        let length = (bytes.len() - self.at).min(64);
        window[1..=length].copy_from_slice(&bytes[self.at..][..length]);
        window[0] = self.at.checked_sub(1).map_or(0, |at| bytes[at]);
        let mut found = find(&window);
        if length < 64 {
            found.behind_quotes &= (1 << length) - 1;
        }
        self.take(&found, length, room)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_are_those_that_a_loop_finds(
            bytes in prop::collection::vec(prop_oneof![3 => Just(b'a'), 2 => Just(b'"'), 2 => Just(b':'), 1 => Just(b'\n')], 0..400),
            stop in prop::option::of(any::<prop::sample::Index>()),
            from in any::<prop::sample::Index>(),
        ) {
            let (mut bytes, from) = (bytes.clone(), from.index(bytes.len() + 1));
            let stop = stop.map(|at| at.index(bytes.len() + 1)).filter(|&at| at < bytes.len());
            if let Some(at) = stop {
                bytes[at] = b'\\';
            }
            let end = stop.filter(|&at| at >= from).map_or(bytes.len(), |at| at - (at - from) % 64);
            let is_mark = |&at: &usize| bytes[at] == b'\n' || bytes[at] == b':' && at > 0 && bytes[at - 1] == b'"';
            let marks: Vec<u32> = (from..end).filter(is_mark).map(|at| at as u32).collect();
            let quote_count = bytes[from..end].iter().filter(|&&byte| byte == b'"').count();

            let (mut fast, mut plain) = (vec![7], Vec::new());
            prop_assert_eq!(index_keys(&bytes, from, &mut fast), KeyScan { end, quote_count });
            prop_assert_eq!(index_by(&bytes, from, &mut plain, find), KeyScan { end, quote_count });
            prop_assert_eq!(&fast[1..], &marks);
            prop_assert_eq!(plain, marks);
        }
    }
}
