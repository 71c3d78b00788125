//! Numbers and timestamps in their usual shapes, sixteen rows at a time.
//!
//! What [`super::short`] does with a text in a word is done with a word of each row, in loops without branches, which the compiler makes
//! vectors of. Where a text among the sixteen has another shape, they are left to those who read row by row.
//!
//! # Invariants
//!
//! 1. What is read here, [`super::short`] reads alike.

use super::rows::{BetweenMarks, kind};
use super::short::{LastDate, TIMESTAMP_BYTES, WordNumber, timestamp_words, word_number};
use crate::sys::scan::window;

/// How many rows are read at a time.
pub(super) const LANES: usize = 16;

/// 10^n for as many digits as may follow a point in a word.
const POWERS: [f64; 8] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// Where the texts of some rows begin and end.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) starts: [u32; LANES],
    pub(super) ends: [u32; LANES],
}

impl Places {
    /// The next places of records, as [`Places::next`] has them.
    #[inline(always)]
    pub(super) fn next_of(texts: &mut BetweenMarks<'_>) -> (Self, usize) {
        match texts.next_block() {
            Some((starts, ends)) => (Self { starts, ends }, LANES),
            None => Self::next(texts),
        }
    }

    /// The next places, and how many they are; if fewer than there is room for, the last one goes on.
    #[inline(always)]
    pub(super) fn next(texts: &mut impl Iterator<Item = (u32, u32)>) -> (Self, usize) {
        let mut places = Self::default();
        for lane in 0..LANES {
            let Some((start, end)) = texts.next() else {
                let last = lane.saturating_sub(1);
                let (start, end) = (places.starts[last], places.ends[last]);
                places.starts[lane..].fill(start);
                places.ends[lane..].fill(end);
                return (places, lane);
            };
            (places.starts[lane], places.ends[lane]) = (start, end);
        }
        (places, LANES)
    }
}

/// Numbers, a row each; see [`WordNumber`].
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The texts' first bytes, and how many each has.
    words: [u64; LANES],
    lengths: [u64; LANES],
    magnitudes: [u64; LANES],
    scales: [u64; LANES],
    negatives: [u64; LANES],
}

impl Numbers {
    /// The numbers whose texts begin and end at these places of `bytes`, if all are some of at most eight bytes.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8], places: &Places) -> Option<Self> {
        let mut numbers = Self::default();
        for (lane, &start) in places.starts.iter().enumerate() {
            numbers.words[lane] = u64::from_le_bytes(*window(bytes, start)?);
            numbers.lengths[lane] = u64::from(places.ends[lane].wrapping_sub(start));
        }
        if numbers.lengths.iter().any(|&length| length > 8) {
            return None;
        }
        let mut all_bad = 0;
        for lane in 0..LANES {
            let WordNumber { magnitude, scale, negative, bad } =
                word_number(numbers.words[lane], numbers.lengths[lane]);
            numbers.magnitudes[lane] = magnitude;
            numbers.scales[lane] = scale;
            numbers.negatives[lane] = negative;
            all_bad |= bad;
        }
        (all_bad == 0).then_some(numbers)
    }

    /// As doubles.
    #[inline(always)]
    pub(super) fn doubles(&self, values: &mut [f64; LANES]) {
        for (lane, value) in values.iter_mut().enumerate() {
            // Eight digits fit 31 bits. Both operands are exact, so that one division rounds right.
            let power = POWERS[self.scales[lane] as usize & 7];
            let magnitude = f64::from(self.magnitudes[lane] as i32) / power;
            *value = f64::from_bits(magnitude.to_bits() | self.negatives[lane] << 63);
        }
    }

    /// Whether all are numbers in JSON, which writes no zeros before one.
    #[inline(always)]
    pub(super) fn are_json(&self) -> bool {
        let mut all = true;
        for lane in 0..LANES {
            let (scale, negative) = (self.scales[lane], self.negatives[lane]);
            let has_point = u64::from(scale > 0);
            let first = (self.words[lane] >> (8 * negative)) as u8;
            all &= (first != b'0') | (self.lengths[lane] == negative + scale + has_point + 1);
        }
        all
    }

    /// Their kinds in JSON, if they are numbers there.
    #[inline(always)]
    pub(super) fn json_kinds(&self) -> [u8; LANES] {
        self.scales.each_ref().map(|&scale| if scale > 0 { kind::FRACTION } else { kind::INTEGER })
    }

    /// As integers, if none has a point.
    #[inline(always)]
    pub(super) fn integers(&self, values: &mut [i64; LANES]) -> bool {
        let mut scales = 0;
        for (lane, value) in values.iter_mut().enumerate() {
            let sign = 0i64.wrapping_sub_unsigned(self.negatives[lane]);
            *value = (self.magnitudes[lane].cast_signed() ^ sign) - sign;
            scales |= self.scales[lane];
        }
        scales == 0
    }
}

/// The timestamps whose texts begin and end at these places of `bytes`, if all have the last date and their usual shape.
#[inline(always)]
pub(super) fn timestamps(
    bytes: &[u8],
    places: &Places,
    last: &LastDate,
    values: &mut [i64; LANES],
) -> bool {
    let mut words = [[0; LANES]; 4];
    let mut bad = 0;
    for (lane, &start) in places.starts.iter().enumerate() {
        let Some(text) = window(bytes, start) else { return false };
        for (words, word) in words.iter_mut().zip(timestamp_words(text)) {
            words[lane] = word;
        }
        bad |= u64::from(places.ends[lane].wrapping_sub(start) ^ TIMESTAMP_BYTES as u32);
    }
    // One array each: were they picked by a closure, the compiler would copy all of them for every row.
    let [starts, middles, clocks, ends] = &words;
    for (lane, value) in values.iter_mut().enumerate() {
        let words = [starts[lane], middles[lane], clocks[lane], ends[lane]];
        let (ms, not_one) = last.read_same(words);
        *value = ms;
        bad |= not_one;
    }
    bad == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::short;
    use super::*;

    /// Texts in a row, a comma behind each, and where they are.
    fn joined(texts: &[String]) -> (Vec<u8>, Places) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for text in texts {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(text.as_bytes());
            places.push((start, bytes.len() as u32));
            bytes.push(b',');
        }
        let (places, count) = Places::next(&mut places.into_iter());
        assert_eq!(count, LANES);
        bytes.extend_from_slice(&[b','; TIMESTAMP_BYTES]);
        (bytes, places)
    }

    proptest! {
        #[test]
        fn numbers_are_those_that_are_read_one_by_one(
            texts in prop::collection::vec("-?[0-9]{1,4}(\\.[0-9]{1,3})?", LANES),
            odd in prop::option::of((0..LANES, "[-0-9.x]{0,10}")),
        ) {
            let mut texts = texts;
            if let Some((lane, text)) = odd {
                texts[lane] = text;
            }
            let (bytes, places) = joined(&texts);
            let one_by_one: Option<Vec<_>> = texts.iter().map(|text| {
                short::number(text.as_bytes(), text.len()).filter(|_| text.len() <= 8)
            }).collect();
            let numbers = Numbers::read(&bytes, &places);
            prop_assert_eq!(numbers.is_some(), one_by_one.is_some());
            let Some((numbers, one_by_one)) = numbers.zip(one_by_one) else { return Ok(()) };
            let (mut doubles, mut integers) = ([0.0; LANES], [0; LANES]);
            numbers.doubles(&mut doubles);
            let are_integers = numbers.integers(&mut integers);
            prop_assert_eq!(are_integers, one_by_one.iter().all(|number| number.scale == 0));
            for (lane, number) in one_by_one.iter().enumerate() {
                let double: f64 = texts[lane].parse().unwrap();
                prop_assert_eq!(doubles[lane].to_bits(), double.to_bits());
                prop_assert_eq!(integers[lane], number.unscaled());
            }
        }

        #[test]
        fn timestamps_are_those_that_are_read_one_by_one(
            texts in prop::collection::vec("2024-01-0[12] [012][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{3}", LANES),
            odd in prop::option::of((0..LANES, "2024-01-01 [0-3][0-9]:[0-6][0-9]:[0-6][0-9][.,][0-9x]{2,4}")),
            shared: bool,
        ) {
            let mut texts = texts;
            if shared {
                texts.iter_mut().for_each(|text| text.replace_range(..10, "2024-01-02"));
            }
            if let Some((lane, text)) = odd {
                texts[lane] = text;
            }
            let mut last = LastDate::new(b' ');
            let (bytes, places) = joined(&texts);
            last.read(b"2024-01-02 00:00:00.000", b' ').unwrap();
            let mut values = [0; LANES];
            let is_read = timestamps(&bytes, &places, &last, &mut values);
            let one_by_one: Option<Vec<i64>> = texts.iter().map(|text| {
                last.read(text.as_bytes(), b' ').filter(|_| text.starts_with("2024-01-02"))
            }).collect();
            prop_assert_eq!(is_read.then(|| values.to_vec()), one_by_one);
        }
    }
}
