//! The stable hash of a key, and from it the key group and the shard.
//!
//! The hash is part of the state's format (a key must find its group after a restart), so it is our own
//! few lines, fixed for good: multiply-and-fold over eight bytes at a time, as in wyhash.

/// Key groups: the unit in which state is redistributed when the shard count changes.
pub const KEY_GROUPS: usize = 1024;

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xd6e8_feb8_6659_fd93;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The hash of `bytes`.
#[inline]
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    hash_rest(SEED ^ (bytes.len() as u64), bytes)
}

/// The hash of what begins with `state` and goes on with `bytes`.
#[inline]
fn hash_rest(mut state: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
        state = fold(state ^ word, MULTIPLIER);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        state = fold(state ^ tail(bytes, rest), MULTIPLIER);
    }
    fold(state, SEED)
}

/// The last bytes, fewer than 8, as a word: with one load where more lie before them.
#[inline]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A hash of words that costs one product each, for tables that are made and forgotten: no other knows it.
#[inline(always)]
pub fn mix(words: &[u64]) -> u64 {
    words.iter().fold(SEED, |state, word| fold(state ^ word, MULTIPLIER))
}

/// The hash of a byte 0 and `value` behind it, as [`hash_bytes`] has it for `WIDTH` bytes of value: the key of one column that is not NULL.
#[inline]
pub fn hash_fixed<const WIDTH: usize>(value: u64) -> u64 {
    let state = SEED ^ (WIDTH as u64 + 1);
    let state = fold(state ^ value << 8, MULTIPLIER);
    fold(if WIDTH == 8 { fold(state ^ value >> 56, MULTIPLIER) } else { state }, SEED)
}

/// The hash of a byte 0 and `text` behind it, as [`hash_bytes`] has it: the key of one column of strings.
#[inline]
pub fn hash_text(text: &[u8]) -> u64 {
    match text.split_first_chunk::<7>() {
        Some((&[a, b, c, d, e, f, g], rest)) => {
            let first = u64::from_le_bytes([0, a, b, c, d, e, f, g]);
            hash_rest(fold(SEED ^ (text.len() as u64 + 1) ^ first, MULTIPLIER), rest)
        }
        None => hash_bytes(&[&[0], text].concat()),
    }
}

/// The hash of the first `length` bytes of `words`, as [`hash_bytes`] has it; the bytes behind them are zeros.
#[inline]
pub fn hash_words(words: &[u64], length: usize) -> u64 {
    let words = words[..length.div_ceil(8)].iter();
    let state = words.fold(SEED ^ length as u64, |state, word| fold(state ^ word, MULTIPLIER));
    fold(state, SEED)
}

/// The hash of a byte 0 and the bytes of `words` behind it, `length` in all, as [`hash_bytes`] has it. Behind them are zeros.
///
/// # Shapes
///
/// `words`: as few as hold the bytes, one at least.
#[inline(always)]
pub fn hash_behind_zero(words: &[u64], length: usize) -> u64 {
    let (mut state, mut carry) = (SEED ^ (length as u64), 0);
    let (last, before) = words.split_last().expect("a key has a word");
    for &word in before {
        state = fold(state ^ (carry | word << 8), MULTIPLIER);
        carry = word >> 56;
    }
    state = fold(state ^ (carry | last << 8), MULTIPLIER);
    // What the byte 0 has pushed out of the last word.
    if length > words.len() * 8 {
        state = fold(state ^ last >> 56, MULTIPLIER);
    }
    fold(state, SEED)
}

/// Whether keys are equal. Most are short, and a call for their bytes takes longer than two loads.
#[inline]
pub fn equal_bytes(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    match left.len() {
        8..16 => ends_equal::<8>(left, right),
        16..=32 => ends_equal::<16>(left, right),
        _ => left == right,
    }
}

/// Whether the first and the last `SIZE` bytes are equal: all, where there are at most twice as many.
#[inline]
fn ends_equal<const SIZE: usize>(left: &[u8], right: &[u8]) -> bool {
    left.first_chunk::<SIZE>() == right.first_chunk::<SIZE>()
        && left.last_chunk::<SIZE>() == right.last_chunk::<SIZE>()
}

/// Mixes a second word into a hash.
#[inline]
pub fn hash_with(hash: u64, word: u64) -> u64 {
    fold(hash ^ word.wrapping_mul(MULTIPLIER), SEED)
}

/// The key group of a hash: its top bits, so that tables may use the low ones.
#[inline]
pub fn key_group(hash: u64) -> usize {
    (hash >> 54) as usize
}

/// The shard that owns a hash among `shard_count`.
#[inline]
pub fn shard_of(hash: u64, shard_count: usize) -> usize {
    key_group(hash) * shard_count / KEY_GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(hash_bytes(b""), hash_bytes(b""));
        assert_eq!(
            [hash_bytes(b""), hash_bytes(b"page-0001"), hash_bytes(b"488c7b75a9e38615")],
            PINNED
        );
    }

    const PINNED: [u64; 3] = [0xbe8cab644efdda51, 0x2464230665b9094a, 0x8fd28cdd06a5da6f];

    #[test]
    fn short_ways_give_the_same() {
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(77) ^ length).collect();
            let mut padded = bytes.clone();
            padded.resize(bytes.len().next_multiple_of(8), 0);
            let words = padded.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
            let words: Vec<u64> = words.collect();
            assert_eq!(hash_bytes(&bytes), hash_words(&words, bytes.len()), "{length}");
            assert_eq!(hash_text(&bytes), hash_bytes(&[&[0], &bytes[..]].concat()), "{length}");
            assert!(equal_bytes(&bytes, &bytes.clone()));
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 1;
                assert!(!equal_bytes(&bytes, &other), "{length}, {at}");
            }
        }
        for value in [0, 1, 255, 0x0123_4567_89ab_cdef, u64::MAX] {
            let whole = value.to_le_bytes();
            let of = |width: usize| hash_bytes(&[&[0], &whole[..width]].concat());
            assert_eq!(hash_fixed::<8>(value), of(8));
            assert_eq!(hash_fixed::<4>(value & 0xffff_ffff), of(4));
            assert_eq!(hash_fixed::<2>(value & 0xffff), of(2));
            assert_eq!(hash_fixed::<1>(value & 0xff), of(1));
        }
    }

    #[test]
    fn shards_get_even_shares() {
        for shard_count in [1, 2, 3, 4, 7] {
            let mut counts = vec![0; shard_count];
            for key in 0..10_000u32 {
                counts[shard_of(hash_bytes(format!("k{key}").as_bytes()), shard_count)] += 1;
            }
            let fair = 10_000 / shard_count;
            assert!(
                counts.iter().all(|&count| count > fair * 8 / 10 && count < fair * 12 / 10),
                "{counts:?}"
            );
        }
    }
}
