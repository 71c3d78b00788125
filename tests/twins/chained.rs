//! Windows over the results of windows.

use super::input::at;
use super::shapes::*;
use super::{Show, Twin, cells};

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("015-tumble-cascade", |i, to| {
        counted(by_k(i.rows()), seconds(5))
            .key_by(|r| r.key.clone())
            .window(seconds(20))
            .aggregate(|on| (on.sum(|r| r.value.0), on.sum(|r| r.value.1), on.count()))
            .show(to, |r| {
                let (counts, sums, windows) = r.value;
                cells![at(r.start_ms), at(r.end_ms), r.key, counts, sums, windows]
            })
    }),
    ("attgs", |i, to| {
        let by_both = i.rows().key_by(|row| (row.k(), row.text()));
        counted(by_both, seconds(10))
            .flat_map(|r, out| {
                out.push(&(true, r.key.0.clone(), r.value.0));
                out.push(&(false, None, r.value.0));
            })
            .key_by(|part| (part.0, part.1.as_ref().map(|k| k.to_string())))
            .window(seconds(10))
            .aggregate(|on| on.sum(|part| part.2))
            .show(to, |r| cells![at(r.start_ms), r.key.1, r.value])
    }),
    ("cas1", |i, to| counts_in(i.rows(), 30).show(to, |r| cells![at(r.start_ms), r.value])),
    ("casleg", |i, to| counts_in(i.rows(), 30).show(to, |r| cells![at(r.start_ms), r.value])),
    ("distinct2", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .key_by(|r| r.value.0)
            .window(seconds(10))
            .aggregate(|on| on.count())
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key])
    }),
    ("legcascade", |i, to| counts_in(i.rows(), 20).show(to, |r| cells![r.value, at(r.end_ms)])),
    ("legtvf", |i, to| counts_in(i.rows(), 30).show(to, |r| cells![at(r.start_ms), r.value])),
    ("nestattached", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .key_by(|_| 0)
            .window(seconds(10))
            .aggregate(|on| on.max(|r| r.value.0))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.value])
    }),
    ("renamed", |i, to| {
        counts_in(i.rows(), 10).show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.value])
    }),
    ("sesscas", |i, to| {
        counted(by_k(i.rows()), session(3))
            .key_by(|_| 0)
            .window(seconds(10))
            .aggregate(|on| on.sum(|r| r.value.0))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.value])
    }),
];
