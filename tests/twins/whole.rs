//! Windows over rows, as Flink's given cases have them: tumbling, sliding, cumulating, sessions; filters, aggregates, early and late results.

use tidemill::{Archived, Every, Span, Window};

use super::functions::{Joined, Numbers};
use super::input::{ArchivedRow, at};
use super::shapes::*;
use super::{Show, Twin, cells};

/// Windows that show each result once.
pub(super) const TWINS: &[(&str, Twin)] = &[
    ("001-tumble-fire-boundary", |i, to| counted(by_k(i.rows()), seconds(10)).show(to, whole)),
    ("003-tumble-end-of-input", |i, to| counted(by_k(i.rows()), seconds(10)).show(to, whole)),
    ("005-tumble-empty-input", |i, to| {
        let cells = |r: &Counted| cells![at(r.start_ms), at(r.end_ms), r.value.0, r.value.1];
        counted(all(i.rows()), seconds(10)).show(to, cells)
    }),
    ("007-tumble-filter-before-watermark", |i, to| {
        let rows = i.rows().filter(|row| row.k().as_deref() == Some("a"));
        counted(by_k(rows), seconds(10)).show(to, whole)
    }),
    ("009-tumble-two-phase", |i, to| counted(by_k(i.rows()), seconds(10)).show(to, whole)),
    ("012-tumble-delay-1ms", |i, to| counted(by_k(i.rows_after(1)), seconds(10)).show(to, whole)),
    ("013-tumble-window-time", |i, to| {
        let cells =
            |r: &Counted| cells![at(r.start_ms), at(r.end_ms), at(r.end_ms - 1), r.key, r.value.0];
        counted(by_k(i.rows()), seconds(10)).show(to, cells)
    }),
    ("017-negative-timestamps-legacy", |i, to| {
        counted(by_k(i.rows()), seconds(10)).show(to, whole)
    }),
    ("018-tumble-offset", |i, to| {
        let window = seconds(10).offset(Span::seconds(3));
        counted(by_k(i.rows()), window).show(to, whole)
    }),
    ("020-tumble-day", |i, to| counted(by_k(i.rows()), days(0)).show(to, whole)),
    ("022-hop-basic", |i, to| counted(by_k(i.rows()), sliding(2)).show(to, whole)),
    ("023-hop-not-multiple", |i, to| counted(by_k(i.rows()), sliding(3)).show(to, whole)),
    ("025-hop-slide-gt-size", |i, to| {
        let window = Window::sliding(Span::seconds(4), Span::seconds(10));
        counted(by_k(i.rows()), window).show(to, whole)
    }),
    ("027-hop-offset", |i, to| {
        let window = Window::sliding(Span::seconds(4), Span::seconds(2));
        counted(by_k(i.rows()), window.offset(Span::seconds(1))).show(to, whole)
    }),
    ("028-cumulate-basic", |i, to| counted(by_k(i.rows()), cumulating(10, 2)).show(to, whole)),
    ("030-cumulate-not-multiple", |i, to| {
        counted(by_k(i.rows()), cumulating(10, 3)).show(to, whole)
    }),
    ("032-session-bridge", |i, to| counted(by_k(i.rows_after(20_000)), session(5)).show(to, whole)),
    ("033-session-late-bridge", |i, to| counted(by_k(i.rows()), session(5)).show(to, whole)),
    ("035-session-legacy", |i, to| {
        let cells = |r: &Counted| {
            let (count, sum) = r.value;
            cells![at(r.start_ms), at(r.end_ms), at(r.end_ms - 1), r.key, count, sum]
        };
        counted(by_k(i.rows()), session(5)).show(to, cells)
    }),
    ("037-session-gap-equal-ts", |i, to| {
        counted(by_k(i.rows_after(1_000)), session(5)).show(to, whole)
    }),
    ("038-null-aggregates", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.count(),
                    on.sum(|row| row.v()),
                    on.min(|row| row.v()),
                    on.max(|row| row.double()),
                    on.count_distinct(|row| row.text()),
                    on.custom(Numbers),
                )
            })
            .show(to, |r| {
                let (count, sum, least, greatest, texts, Archived((numbers, total, different))) =
                    r.value;
                let (mean, different) = match numbers {
                    0 => (None, None),
                    _ => (Some(total / numbers), Some(different)),
                };
                let window = cells![at(r.start_ms), at(r.end_ms), r.key];
                let simple = cells![count, numbers, sum, mean, least, greatest, texts, different];
                [window, simple].concat()
            })
    }),
    ("042-minmax-strings", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.min(|row| row.text()),
                    on.max(|row| row.text()),
                    on.min(|row| row.flag()),
                    on.max(|row| row.flag()),
                    on.count_if(|row| row.flag().is_some()),
                )
            })
            .show(to, |r| {
                let (first, last, least, greatest, flags) = r.value.clone();
                let window = cells![at(r.start_ms), at(r.end_ms), r.key];
                [window, cells![first, last, least, greatest, flags]].concat()
            })
    }),
    ("043-first-last-listagg", |i, to| {
        let text = |row: &ArchivedRow| row.v().map(|v| v.to_string());
        let joined = Joined { uid: "numbers", separator: "|", distinct: false, text };
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| (on.first(|row| row.v()), on.last(|row| row.v()), on.custom(joined)))
            .show(to, |r| {
                let (first, last, all) = r.value.clone();
                cells![at(r.start_ms), at(r.end_ms), r.key, first, last, all]
            })
    }),
    ("068-legacy-tumble-aux", |i, to| {
        let cells =
            |r: &Counted| cells![at(r.start_ms), at(r.end_ms), at(r.end_ms - 1), r.key, r.value.0];
        counted(by_k(i.rows()), seconds(10)).show(to, cells)
    }),
    ("080-filter-clause", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.count(),
                    on.count_if(|row| row.v() > Some(2)),
                    on.sum(|row| row.v()).filter(|row| row.v() > Some(100)),
                    on.count_distinct(|row| row.v()).filter(|row| row.v() > Some(1)),
                    on.count_distinct(|row| row.v()),
                )
            })
            .show(to, |r| {
                let (all, some, sum, distinct_some, distinct) = r.value;
                let window = cells![at(r.start_ms), at(r.end_ms), r.key];
                [window, cells![all, some, sum, distinct_some, distinct]].concat()
            })
    }),
    ("082-multi-distinct-split", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.count_distinct(|row| row.text()),
                    on.count_distinct(|row| row.v()),
                    on.count(),
                    on.sum(|row| row.v()),
                )
            })
            .show(to, |r| {
                let (texts, numbers, count, sum) = r.value;
                cells![at(r.start_ms), at(r.end_ms), r.key, texts, numbers, count, sum]
            })
    }),
    ("109-cast-string-timestamp-watermark", |i, to| {
        counted(by_k(i.rows()), seconds(10)).show(to, whole)
    }),
    ("113-union-two-watermarks", |i, to| {
        let left = i.rows();
        let right = i.timed("right.jsonl", |row| row.at_ms.to_native(), 20_000);
        counted(by_k(left.union(right)), seconds(10)).show(to, whole)
    }),
    ("116-union-all-plain", |i, to| {
        // The case has no event time, nor do its rows.
        let rows = i.timed("input.jsonl", |_| 0, 0);
        let (high, low) = (rows.clone().filter(|row| row.v() > Some(1)), rows);
        high.union(low.filter(|row| row.v() < Some(3)))
            .show(to, |row: &ArchivedRow| cells![row.k(), row.v()])
    }),
    ("118-cumulate-distinct", |i, to| {
        by_k(i.rows())
            .window(cumulating(6, 2))
            .aggregate(|on| (on.count_distinct(|row| row.v()), on.count()))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key, r.value.0, r.value.1])
    }),
    ("127-count-distinct-multi-col", |i, to| {
        all(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (on.count_distinct(|row| row.text()), on.count_if(|row| row.text.is_some()))
            })
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.value.0, r.value.1])
    }),
    ("131-interval-year-watermark", |i, to| {
        let hours = Window::tumbling(Span::hours(1));
        counted(by_k(i.rows_after(60_000)), hours).show(to, whole)
    }),
    ("133-session-merge-accumulators", |i, to| {
        by_k(i.rows_after(20_000))
            .window(session(5))
            .aggregate(|on| {
                (
                    on.count_distinct(|row| row.v()),
                    on.min(|row| row.v()),
                    on.max(|row| row.v()),
                    on.avg(|row| row.v()),
                    on.count_if(|row| row.v() > Some(4)),
                )
            })
            .show(to, |r| {
                let (distinct, least, greatest, mean, over) = r.value;
                let mean = mean.map(|mean| mean as i64);
                let window = cells![at(r.start_ms), at(r.end_ms), r.key];
                [window, cells![distinct, least, greatest, mean, over]].concat()
            })
    }),
    ("140-ltz-rowtime-legacy", |i, to| {
        counted(by_k(i.rows()), days(8)).show(to, |r| {
            let [start, end] = [r.start_ms, r.end_ms].map(|ms| at(ms + 8 * HOUR_MS));
            cells![start, end, r.key, r.value.0, r.value.1]
        })
    }),
    ("141-early-fire-tvf-cumulate", |i, to| {
        by_k(i.rows())
            .window(cumulating(20, 5))
            .aggregate(|on| on.count_distinct(|row| row.v()))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key, r.value])
    }),
];

/// Windows that show results again.
pub(super) const FIRED: &[(&str, Twin)] = &[
    ("058-early-fire-0", |i, to| {
        let window = seconds(10).early_fire(Every::row());
        counted(by_k(i.rows()), window).show(to, started)
    }),
    ("060-late-fire-0", |i, to| {
        let window = seconds(10).late_fire(Every::row(), Span::seconds(10));
        counted(by_k(i.rows()), window).show(to, started)
    }),
    ("062-allow-lateness-only", |i, to| {
        // Without late firing Flink's lateness does nothing.
        counted(by_k(i.rows()), seconds(10)).show(to, started)
    }),
    ("hopearly", |i, to| {
        let window = sliding(5).early_fire(Every::row());
        counted(by_k(i.rows()), window).show(to, from_start)
    }),
    ("latetvf", |i, to| {
        counted(all(i.rows()), seconds(10)).show(to, |r| cells![at(r.start_ms), r.value.0])
    }),
    ("legsessearly", |i, to| counted(by_k(i.rows()), session(3)).show(to, keyed)),
];
