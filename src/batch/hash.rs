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
    let mut state = SEED ^ (bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
        state = fold(state ^ word, MULTIPLIER);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = 0u64;
        for (index, &byte) in rest.iter().enumerate() {
            word |= u64::from(byte) << (8 * index);
        }
        state = fold(state ^ word, MULTIPLIER);
    }
    fold(state, SEED)
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
