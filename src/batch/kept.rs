//! Which rows a filter keeps, as numbers.

use arrow_buffer::BooleanBuffer;

use crate::sys::vector;

/// The bits that are set, of each byte: their places, lowest first.
static SET_BITS: [[u32; 8]; 256] = {
    let (mut places, mut byte) = ([[0; 8]; 256], 0);
    while byte < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                places[byte][count] = bit as u32;
                count += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    places
};

/// The places of the bits that are set.
pub(super) fn rows(kept: &BooleanBuffer) -> Vec<u32> {
    let words: Vec<u64> = kept.bit_chunks().iter_padded().collect();
    let mut rows = vec![0; kept.len() + 8];
    let count = vector::widest(Places { words: &words, rows: &mut rows });
    rows.truncate(count);
    rows
}

/// Eight places are written for each byte, as many as it has count: bits that come in no order cost no mispredicted branch.
struct Places<'a> {
    words: &'a [u64],
    rows: &'a mut [u32],
}

impl vector::Loop for Places<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let (mut count, mut start) = (0, 0);
        for word in self.words {
            for byte in word.to_le_bytes() {
                let eight: &mut [u32; 8] =
                    self.rows[count..].first_chunk_mut().expect("room for eight more");
                *eight = SET_BITS[usize::from(byte)].map(|place| start + place);
                count += byte.count_ones() as usize;
                start += 8;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_the_places_of_set_bits(
            words in prop::collection::vec(prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)], 0..5),
            (from, to) in (0..70usize, 0..70usize),
        ) {
            let all: BooleanBuffer = words.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1)).collect();
            let start = from.min(all.len());
            let kept = all.slice(start, (all.len() - start).saturating_sub(to));
            prop_assert_eq!(rows(&kept), kept.set_indices_u32().collect::<Vec<_>>());
        }
    }
}
