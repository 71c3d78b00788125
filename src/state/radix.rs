//! Items in the order of small numbers: one pass to number them, one to count them, one to put them where they belong.

use std::cell::RefCell;
use std::iter::once;

/// Bits of a digit: as many buckets as have their ends in the second cache.
const DIGIT_BITS: u32 = 12;

/// Fewer items are sorted by comparison.
const SORTED_MIN: usize = if cfg!(test) { 100 } else { 1 << DIGIT_BITS };

thread_local! {
    /// Memory for items' numbers: what they are made of is read once, and twice what they are.
    static NUMBERS: RefCell<Vec<u64>> = RefCell::default();
}

/// Puts the items of `runs` into `parted`, in the order of their buckets, and hands out those of each bucket, in the order that they have.
pub(super) fn part<T: Copy, R: Iterator<Item = T>>(
    runs: impl Iterator<Item = R> + Clone,
    parted: &mut Vec<T>,
    bucket_count: usize,
    bucket: impl Fn(&T) -> usize,
) -> Parts<'_, T> {
    let ends = NUMBERS.with_borrow_mut(|numbers| {
        number(runs.clone(), numbers, |item| bucket(item) as u64);
        place(runs, parted, numbers, bucket_count, |number| number as usize)
    });
    Parts { parted, start: 0, ends: ends.into_iter() }
}

/// The items of each bucket.
pub(super) struct Parts<'a, T> {
    parted: &'a [T],
    /// Where the next ones begin.
    start: usize,
    ends: std::vec::IntoIter<usize>,
}

impl<'a, T> Iterator for Parts<'a, T> {
    type Item = &'a [T];

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.ends.next()?;
        let start = std::mem::replace(&mut self.start, end);
        Some(&self.parted[start..end])
    }
}

/// Puts the items of `runs` into `sorted`, in the order of their keys, and those of one key in the order that they have: digit by digit of
/// the bits in which keys differ.
pub(super) fn sort<T: Copy, R: ExactSizeIterator<Item = T>>(
    runs: impl Iterator<Item = R> + Clone,
    sorted: &mut Vec<T>,
    scratch: &mut Vec<T>,
    key: impl Fn(&T) -> u64,
) {
    let count: usize = runs.clone().map(|run| run.len()).sum();
    if count < SORTED_MIN {
        sorted.clear();
        sorted.extend(runs.flatten());
        return sorted.sort_by_key(key);
    }
    NUMBERS.with_borrow_mut(|keys| {
        number(runs.clone(), keys, &key);
        let varying = keys.iter().fold(0, |varying, key| varying | (key ^ keys[0]));
        let digit = |key: u64, shift: u32| (key >> shift) as usize & ((1 << DIGIT_BITS) - 1);
        let mut shift = varying.trailing_zeros().min(u64::BITS - 1);
        place(runs, sorted, keys, 1 << DIGIT_BITS, |key| digit(key, shift));
        while let Some(next) = next_digit(varying, shift) {
            shift = next;
            let runs = once(sorted.iter().copied());
            number(runs.clone(), keys, &key);
            place(runs, scratch, keys, 1 << DIGIT_BITS, |key| digit(key, shift));
            std::mem::swap(sorted, scratch);
        }
    });
}

/// The number of each item.
fn number<T, R: Iterator<Item = T>>(
    runs: impl Iterator<Item = R>,
    numbers: &mut Vec<u64>,
    number_of: impl Fn(&T) -> u64,
) {
    numbers.clear();
    runs.for_each(|run| numbers.extend(run.map(|item| number_of(&item))));
}

/// Puts items into `parted` by their numbers, and says where each bucket ends there.
fn place<T: Copy, R: Iterator<Item = T>>(
    runs: impl Iterator<Item = R> + Clone,
    parted: &mut Vec<T>,
    numbers: &[u64],
    bucket_count: usize,
    bucket: impl Fn(u64) -> usize,
) -> Vec<usize> {
    let mut places = vec![0; bucket_count + 1];
    numbers.iter().for_each(|&number| places[bucket(number) + 1] += 1);
    for index in 0..bucket_count {
        places[index + 1] += places[index];
    }
    let Some(item) = runs.clone().flatten().next() else {
        parted.clear();
        return vec![0; bucket_count];
    };
    parted.resize(numbers.len(), item);
    let mut numbers = numbers.iter();
    for run in runs {
        for (item, &number) in run.zip(numbers.by_ref()) {
            let place = &mut places[bucket(number)];
            parted[*place] = item;
            *place += 1;
        }
    }
    places.truncate(bucket_count);
    places
}

/// Where the digit after the one at `shift` begins, if there is one.
fn next_digit(varying: u64, shift: u32) -> Option<u32> {
    let done = shift + DIGIT_BITS;
    let rest = varying.checked_shr(done).filter(|&rest| rest > 0)?;
    Some(done + rest.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the standard library's sort: keys of few and of many bits, in any place; no item, one, and runs without items.
        #[test]
        fn items_are_sorted_by_key(
            runs in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..300), 0..5),
            mask in prop::sample::select(vec![0, 1, 0xff0, 1 << 63, 0xf00_0000_0f00, u64::MAX]),
        ) {
            let items: Vec<(u64, usize)> = runs.concat().into_iter().zip(0..).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0 & mask);
            let (mut sorted, mut scratch) = (vec![(7, 7)], Vec::new());
            let chunks = items.chunks(100).map(|chunk| chunk.iter().copied());
            sort(chunks, &mut sorted, &mut scratch, |item| item.0 & mask);
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn buckets_have_their_items(items in prop::collection::vec((0..40usize, any::<u8>()), 0..300)) {
            let mut parted = vec![(7, 7)];
            let runs = items.chunks(100).map(|chunk| chunk.iter().copied());
            let buckets: Vec<_> = part(runs, &mut parted, 40, |item| item.0).map(<[_]>::to_vec).collect();
            let of = |bucket| items.iter().copied().filter(|item| item.0 == bucket).collect::<Vec<_>>();
            prop_assert_eq!(buckets, (0..40).map(of).collect::<Vec<_>>());
        }
    }
}
