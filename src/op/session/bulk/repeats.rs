//! Which of many tags come once.

/// Places for each tag, at least.
const TAG_PLACES: usize = 16;
/// What a place has to which one tag has come, and to which several have.
const ONCE: u8 = 1;
const AGAIN: u8 = 3;

/// Which of many tags come once: a filter (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970, with one hash) that
/// counts to two. It may take a tag that comes once for one that comes again, never the other way round.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// By the low bits of tags, a power of two.
    places: Vec<u8>,
}

impl Repeats {
    /// Forgets all, and makes room for so many.
    pub(super) fn begin(&mut self, count: usize) {
        self.places.clear();
        self.places.resize((count * TAG_PLACES).next_power_of_two(), 0);
    }

    #[inline(always)]
    fn place(&self, tag: u32) -> usize {
        tag as usize & (self.places.len() - 1)
    }

    #[inline(always)]
    pub(super) fn add(&mut self, tag: u32) {
        let place = self.place(tag);
        self.places[place] = (self.places[place] << 1 | ONCE) & AGAIN;
    }

    /// Whether a tag has come.
    #[inline(always)]
    pub(super) fn has(&self, tag: u32) -> bool {
        self.places[self.place(tag)] != 0
    }

    #[inline(always)]
    pub(super) fn is_once(&self, tag: u32) -> bool {
        self.places[self.place(tag)] == ONCE
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A tag that comes again, among those added or those that repeat them, is never taken for one that comes once.
        #[test]
        fn tags_that_repeat_are_told(
            tags in prop::collection::vec(0..200u32, 0..100),
            others in prop::collection::vec((0..200u32, any::<bool>()), 0..100),
        ) {
            let mut repeats = Repeats::default();
            repeats.begin(tags.len());
            let mut counts: HashMap<u32, usize> = HashMap::new();
            for &tag in &tags {
                repeats.add(tag);
                *counts.entry(tag).or_default() += 1;
            }
            for &(tag, comes) in &others {
                prop_assert!(repeats.has(tag) || !counts.contains_key(&tag));
                if comes && repeats.has(tag) {
                    repeats.add(tag);
                    counts.entry(tag).and_modify(|count| *count += 1);
                }
            }
            let once = || tags.iter().filter(|&&tag| repeats.is_once(tag));
            prop_assert!(once().all(|tag| counts[tag] == 1));
            let few = tags.iter().filter(|tag| counts[tag] == 1).count();
            prop_assert!(once().count() <= few);
        }
    }

    /// The filter has room: of many tags that come once, most are known to.
    #[test]
    fn most_single_tags_are_known() {
        let mut repeats = Repeats::default();
        repeats.begin(1_000);
        let tags = || (0..1_000u32).map(|number| number.wrapping_mul(0x9e37_79b9));
        tags().for_each(|tag| repeats.add(tag));
        assert!(tags().filter(|&tag| repeats.is_once(tag)).count() > 900);
        assert!((0..1_000u32).filter(|&tag| !repeats.has(tag * 64 + 1)).count() > 900);
    }
}
