//! Grouping sets: in Rust a row is mapped to one for each set.

use super::input::at;
use super::shapes::*;
use super::{Show, Twin, cells};

/// Groups by k and text.
const BOTH: Set = [true, true, false];
const K: Set = [true, false, false];
const TEXT: Set = [false, true, false];
const ALL: Set = [false; 3];

/// The key, its count and the set, as the cases about sets show them.
const ROLLUP: &[Set] = &[BOTH, K, ALL];
const ROLLUP_K: &[Set] = &[K, ALL];
const CUBE: &[Set] = &[BOTH, K, TEXT, ALL];

/// The set that a result is of.
fn set_of(sets: &[Set], r: &InSets) -> Set {
    sets[r.key.0 as usize]
}

/// The cells of a window, k, text, sum, and which of them are left out.
fn grouping(sets: &'static [Set]) -> impl Fn(&InSets) -> Vec<serde_json::Value> {
    move |r| {
        let set = set_of(sets, r);
        let (_, k, text, _) = &r.key;
        let left_out = cells![i64::from(!set[0]), grouping_id(set)];
        [cells![at(r.start_ms), at(r.end_ms), k, text, r.value.1], left_out].concat()
    }
}

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("083-window-grouping-sets", |i, to| {
        by_sets(i.rows(), ROLLUP, seconds(10)).show(to, grouping(ROLLUP))
    }),
    ("085-window-cube", |i, to| by_sets(i.rows(), CUBE, seconds(10)).show(to, grouping(CUBE))),
    ("cuben", |i, to| {
        // nn is alike in every row.
        const SETS: &[Set] = &[BOTH, BOTH, ALL];
        by_sets(i.rows(), SETS, seconds(10)).show(to, |r: &InSets| {
            cells![r.key.1, r.key.2, r.value.0, grouping_id(set_of(SETS, r))]
        })
    }),
    ("cumsets", |i, to| {
        by_sets(i.rows(), ROLLUP_K, cumulating(10, 5))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key.1, r.value.1])
    }),
    ("dupsets", |i, to| {
        by_sets(i.rows(), &[K, K], seconds(10)).show(to, |r| cells![r.key.1, r.value.0])
    }),
    ("gid", |i, to| {
        by_sets(i.rows(), ROLLUP, seconds(10)).show(to, |r| {
            let [k, text, _] = set_of(ROLLUP, r).map(|grouped| i64::from(!grouped));
            cells![r.key.1, r.key.2, text * 2 + k, text + k]
        })
    }),
    ("gsempty", |i, to| {
        by_sets(i.rows(), ROLLUP_K, seconds(10))
            .show(to, |r| cells![at(r.start_ms), r.key.1, r.value.0])
    }),
    ("gshaving", |i, to| {
        by_sets(i.rows(), ROLLUP_K, seconds(10))
            .filter(|r| set_of(ROLLUP_K, r) == ALL || r.key.1.as_deref() == Some("a"))
            .show(to, |r| cells![r.key.1, r.value.0])
    }),
    ("gsmulti", |i, to| {
        const SETS: &[Set] = &[BOTH, [true, false, true]];
        by_sets(i.rows(), SETS, seconds(10)).show(to, |r: &InSets| {
            let (_, k, text, v) = &r.key;
            cells![k, text, v, r.value.0, grouping_id(set_of(SETS, r))]
        })
    }),
    ("gsnest", |i, to| {
        by_sets(i.rows(), &[BOTH, K, ALL, TEXT], seconds(10))
            .show(to, |r| cells![r.key.1, r.key.2, r.value.0])
    }),
    ("hopsets", |i, to| {
        by_sets(i.rows(), CUBE, sliding(5))
            .show(to, |r| cells![at(r.start_ms), r.key.1, r.key.2, r.value.0])
    }),
    ("setsarg", |i, to| {
        by_sets(i.rows(), &[K, TEXT], seconds(10))
            .show(to, |r| cells![r.key.1, r.key.2, r.value.2, r.value.3])
    }),
    ("setswin", |i, to| {
        by_sets(i.rows(), ROLLUP_K, seconds(10)).show(to, |r| cells![r.key.1, r.value.0])
    }),
];
