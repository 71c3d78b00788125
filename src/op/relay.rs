//! From one shape to another that has more calls: groups laid out anew, the new calls at zero.
//!
//! # Invariants
//!
//! 1. Every old call's accumulator, and every value of its distinct list, is the new call's, unchanged.

use super::moving::{Moved, MovedValue};
use super::shape::Shape;
use crate::agg::Partials;

/// Where an old shape's parts lie in a new one.
#[derive(Clone, Debug)]
pub struct Relay {
    /// First word, as it was and as it is to be, and how many.
    runs: Vec<(usize, usize, usize)>,
    word_count: usize,
    /// By old distinct list, the new one.
    lists: Vec<usize>,
}

impl Relay {
    /// From the shape that has only the calls of `shape` at `places`.
    ///
    /// # Panics
    ///
    /// If a call at `places` is DISTINCT and in no list of `shape`.
    pub fn new(shape: &Shape, places: &[usize]) -> Self {
        let old = shape.of_calls(places);
        let runs =
            old.layout.accumulators.iter().zip(places).map(|(&(accumulator, from), &place)| {
                let (same, to) = shape.layout.accumulators[place];
                assert_eq!(accumulator, same);
                (from, to, accumulator.word_count())
            });
        let list = |call: usize| {
            let mut lists = shape.distinct.iter();
            lists.position(|list| list.calls.contains(&places[call])).expect("of this shape")
        };
        Self {
            runs: runs.collect(),
            word_count: shape.layout.word_count,
            lists: old.distinct.iter().map(|distinct| list(distinct.calls[0])).collect(),
        }
    }

    /// The group in the new shape.
    #[must_use]
    pub fn relaid(&self, moved: Moved) -> Moved {
        let value = |value: MovedValue| MovedValue { list: self.lists[value.list], ..value };
        Moved {
            accumulators: moved.accumulators.map(|partials| self.partials(partials)),
            shown: self.partials(moved.shown),
            values: moved.values.into_iter().map(value).collect(),
            ..moved
        }
    }

    /// One group's words; of none, zeros.
    fn partials(&self, old: Partials) -> Partials {
        let mut words = vec![0; self.word_count];
        if !old.words.is_empty() {
            for &(from, to, count) in &self.runs {
                words[to..to + count].copy_from_slice(&old.words[from..from + count]);
            }
        }
        Partials { words, blobs: old.blobs }
    }
}
