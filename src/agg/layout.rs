//! Where each call's accumulator lies within a slot.

use std::ops::Range;

use super::{AggregateCall, AggregateFunction};
use crate::batch::DataType;

/// How a call accumulates. Words are little-endian halves first; `blob` is a reference to bytes, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    /// `[count]`
    Count,
    /// `[sum wrapping, count]`: SUM and AVG of integers.
    SumInt,
    /// `[sum low, sum high, count | overflow << 63]`: SUM and AVG of DECIMAL.
    SumDecimal,
    /// `[fixed low, fixed high, count | flags << 60, blob]`: see [`super::exact`].
    SumFloat,
    /// Two `SumFloat`s: of the values and of their squares.
    Variance,
    /// `[value, seen]`: the least or greatest 64-bit integer.
    ExtremeInt {
        /// Whether the greatest is sought.
        greatest: bool,
    },
    /// `[bits, seen]`: the least or greatest double.
    ExtremeFloat {
        /// Whether the greatest is sought.
        greatest: bool,
    },
    /// `[low, high, seen]`: the least or greatest decimal.
    ExtremeDecimal {
        /// Whether the greatest is sought.
        greatest: bool,
    },
    /// `[blob]`: the least or greatest string, by its UTF-8 bytes.
    ExtremeBytes {
        /// Whether the greatest is sought.
        greatest: bool,
    },
    /// `[low, high, seen]`: the first or last value of fixed width.
    PickFixed {
        /// Whether the last is sought.
        last: bool,
    },
    /// `[blob]`: the first or last string.
    PickBytes {
        /// Whether the last is sought.
        last: bool,
    },
    /// `[blob]`: strings joined by a separator.
    Join,
    /// `[aligned blob]`: what a user's function makes of it.
    User,
}

impl Accumulator {
    /// The accumulator of a call.
    pub fn of(call: &AggregateCall) -> Self {
        use AggregateFunction::*;
        let arg = call.arg_type;
        let decimal = matches!(arg, DataType::Decimal(..));
        match call.function {
            CountRows | Count => Accumulator::Count,
            Sum | Avg if decimal => Accumulator::SumDecimal,
            Sum | Avg if arg.is_float() => Accumulator::SumFloat,
            Sum | Avg => Accumulator::SumInt,
            StddevPop | StddevSamp | VarPop | VarSamp => Accumulator::Variance,
            Min | Max => {
                let greatest = call.function == Max;
                if arg.is_string() || arg.is_binary() {
                    Accumulator::ExtremeBytes { greatest }
                } else if decimal {
                    Accumulator::ExtremeDecimal { greatest }
                } else if arg.is_float() {
                    Accumulator::ExtremeFloat { greatest }
                } else {
                    Accumulator::ExtremeInt { greatest }
                }
            }
            FirstValue | LastValue => {
                let last = call.function == LastValue;
                if arg.is_string() || arg.is_binary() {
                    Accumulator::PickBytes { last }
                } else {
                    Accumulator::PickFixed { last }
                }
            }
            ListAgg => Accumulator::Join,
            User(_) => Accumulator::User,
        }
    }

    /// How many words it takes.
    pub fn word_count(self) -> usize {
        match self {
            Accumulator::Count
            | Accumulator::ExtremeBytes { .. }
            | Accumulator::PickBytes { .. }
            | Accumulator::Join
            | Accumulator::User => 1,
            Accumulator::SumInt
            | Accumulator::ExtremeInt { .. }
            | Accumulator::ExtremeFloat { .. } => 2,
            Accumulator::SumDecimal
            | Accumulator::ExtremeDecimal { .. }
            | Accumulator::PickFixed { .. } => 3,
            Accumulator::SumFloat => 4,
            Accumulator::Variance => 8,
        }
    }

    /// Which of its words refer to bytes.
    pub fn blob_words(self) -> &'static [usize] {
        match self {
            Accumulator::ExtremeBytes { .. }
            | Accumulator::PickBytes { .. }
            | Accumulator::Join
            | Accumulator::User => &[0],
            Accumulator::SumFloat => &[3],
            Accumulator::Variance => &[3, 7],
            _ => &[],
        }
    }
}

/// An accumulator within a slot.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The first call that folds into it.
    pub call: usize,
    /// What it is.
    pub accumulator: Accumulator,
    /// Its first word.
    pub offset: usize,
}

impl Part {
    /// Its words within a slot.
    #[inline]
    pub fn words(&self) -> Range<usize> {
        self.offset..self.offset + self.accumulator.word_count()
    }
}

/// The accumulators of all calls of a GROUP BY, side by side.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Each call's accumulator and the offset of its first word. Calls that accumulate the same share one: SUM and AVG of a column.
    pub accumulators: Vec<(Accumulator, usize)>,
    /// By call: whether it is the first of those that share its accumulator, and so the one that folds into it.
    pub folds: Vec<bool>,
    /// What those calls fold into, each accumulator once.
    pub parts: Vec<Part>,
    /// Words in all.
    pub word_count: usize,
    /// All words that refer to bytes.
    pub blob_words: Vec<usize>,
}

impl Layout {
    /// The layout of these calls.
    pub fn new(calls: &[AggregateCall]) -> Self {
        let mut layout = Layout {
            accumulators: Vec::new(),
            folds: Vec::new(),
            parts: Vec::new(),
            word_count: 0,
            blob_words: Vec::new(),
        };
        for (index, call) in calls.iter().enumerate() {
            let accumulator = Accumulator::of(call);
            let shared = calls[..index].iter().position(|other| accumulate_the_same(other, call));
            layout.folds.push(shared.is_none());
            if let Some(first) = shared {
                layout.accumulators.push(layout.accumulators[first]);
                continue;
            }
            let offset = layout.word_count;
            layout.blob_words.extend(accumulator.blob_words().iter().map(|word| offset + word));
            layout.accumulators.push((accumulator, offset));
            layout.parts.push(Part { call: index, accumulator, offset });
            layout.word_count += accumulator.word_count();
        }
        layout
    }

    /// Whether results are the same to the last bit however rows are grouped into accumulators before these are merged. A sum of DECIMAL
    /// may leave its bits on the way, and what users write is theirs.
    pub fn hides_grouping(&self) -> bool {
        self.accumulators.iter().all(|(accumulator, _)| {
            !matches!(accumulator, Accumulator::SumDecimal | Accumulator::User)
        })
    }
}

/// Whether two calls have the same accumulator of the same rows. Users' functions are not looked into.
fn accumulate_the_same(left: &AggregateCall, right: &AggregateCall) -> bool {
    let accumulator = Accumulator::of(left);
    accumulator != Accumulator::User
        && accumulator == Accumulator::of(right)
        && (&left.args, left.filter, left.distinct, &left.separator, left.arg_type)
            == (&right.args, right.filter, right.distinct, &right.separator, right.arg_type)
}
