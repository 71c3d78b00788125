//! The same over the input of the cases that were asked of a Flink since.

use tidemill::{Archived, Span};

use super::functions::{Joined, Numbers};
use super::input::{ArchivedRow, at, formatted};
use super::shapes::*;
use super::{Show, Twin, cells};

const DAY_MS: i64 = 86_400_000;

/// How much later a row of the cases with local time is for each of its numbers.
const SPREAD_MS: i64 = 20_000_000;

/// A number as DECIMAL(38, 6) is printed.
fn six_digits(number: f64) -> serde_json::Value {
    serde_json::from_str(&format!("{number:.6}")).unwrap()
}

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("aggcase", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.sum(|row| {
                        row.v().filter(|_| row.text().as_deref() == Some("x")).unwrap_or(0)
                    }),
                    on.sum(|row| row.v()).filter(|row| row.text().as_deref() == Some("y")),
                    on.count_if(|row| row.v() > Some(2)),
                    on.avg(|row| row.v()),
                    on.max(|row| row.text().map(|text| text.chars().count() as i64)),
                )
            })
            .show(to, |r| {
                let (of_x, of_y, over, mean, length) = r.value;
                cells![r.key, of_x, of_y, over, six_digits(mean.unwrap()), length]
            })
    }),
    ("aggexpr", |i, to| {
        counted(by_k(i.rows()), seconds(10)).show(to, |r| {
            let (count, sum) = r.value;
            cells![r.key, sum.unwrap() * 2 + count, formatted(r.start_ms, "%H:%M")]
        })
    }),
    ("caseonagg", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| (on.count(), on.sum(|row| row.v()).filter(|row| row.v() > Some(100))))
            .show(to, |r| {
                let many = if r.value.0 > 1 { "many" } else { "one" };
                cells![r.key, many, r.value.1.flatten().unwrap_or(-1)]
            })
    }),
    ("cepoch", |i, to| {
        let rows = i.timed("input.jsonl", |row| row.v().unwrap() * 1_000, 0);
        let cells = |r: &Counted| cells![at(r.start_ms), r.value.0];
        counted(all(rows), seconds(10)).show(to, cells)
    }),
    ("cumeq", |i, to| counted(all(i.rows()), cumulating(10, 10)).show(to, bare)),
    ("cumtab", |i, to| {
        let rows = i.rows().filter(|row| row.v() < Some(4));
        placed(all(rows), cumulating(10, 5)).show(to, |row| {
            let (start, end) = (row.0.to_native(), row.1.to_native());
            cells![
                at(start),
                at(end),
                at(end - 1),
                row.3.as_deref(),
                row.4.as_ref().map(|v| v.to_native())
            ]
        })
    }),
    ("distinct", |i, to| {
        let cells = |r: &Counted| cells![at(r.start_ms), at(r.end_ms), r.key];
        counted(by_k(i.rows()), seconds(10)).show(to, cells)
    }),
    ("distsess", |i, to| {
        let cells = |r: &Counted| cells![at(r.start_ms), at(r.end_ms), r.key];
        counted(by_k(i.rows()), session(3)).show(to, cells)
    }),
    ("emptyfilter", |i, to| {
        let different = Joined { uid: "keys", separator: ",", distinct: true, text: |row| row.k() };
        let text = |row: &ArchivedRow| row.k().filter(|_| row.v() > Some(1));
        let some = Joined { uid: "some keys", separator: "-", distinct: false, text };
        all(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (on.custom(different), on.custom(some), on.custom(Numbers), on.min(|row| row.nn()))
            })
            .show(to, |r| {
                let (keys, some, Archived((_, _, different)), mean) = r.value.clone();
                cells![at(r.start_ms), keys, some, different, mean]
            })
    }),
    ("expkey", |i, to| {
        let rows = i.rows().key_by(|row| row.v().map(|v| v + 1));
        counted(rows, seconds(10)).show(to, |r| cells![r.key, r.value.0, at(r.start_ms + 1_000)])
    }),
    ("exprkey", |i, to| {
        let rows =
            i.rows().key_by(|row| (row.k().map(|k| k.to_uppercase()), row.v().map(|v| v + 1)));
        counted(rows, seconds(10)).show(to, |r| cells![r.key.0, r.key.1, r.value.0])
    }),
    ("filterboth", |i, to| {
        let rows = i.rows().filter(|row| row.v() > Some(1));
        counted(by_k(rows), seconds(10))
            .filter(|r| at(r.end_ms).as_str() > "2024-01-01 00:00:05.000")
            .show(to, from_start)
    }),
    ("filternull", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.count_if(|row| row.text().as_deref() == Some("x")),
                    on.count_if(|row| row.text.is_some()),
                )
            })
            .show(to, |r| cells![r.key, r.value.0, r.value.1])
    }),
    ("groupbyalias2", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .filter(|r| r.key.as_deref() == Some("a"))
            .show(to, keyed)
    }),
    ("groupingnone", |i, to| {
        let cells = |r: &Counted| cells![r.key, 0, r.value.0];
        counted(by_k(i.rows()), seconds(10)).show(to, cells)
    }),
    ("groupwinexpr", |i, to| {
        let cells = |r: &Counted| cells![r.key, r.value.0, at(r.end_ms)];
        counted(by_k(i.rows()), seconds(10)).show(to, cells)
    }),
    ("having", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .filter(|r| r.value.0 > 1 && r.value.1 > Some(0))
            .show(to, keyed)
    }),
    ("havinggrp", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| on.max(|row| row.v()))
            .filter(|r| r.value > Some(3) && r.key.as_deref() == Some("a"))
            .show(to, |r| cells![r.key, r.value])
    }),
    ("havingonly", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .filter(|r| r.value.0 > 1 || r.value.1 == Some(5))
            .show(to, |r| cells![r.key])
    }),
    ("hopdist", |i, to| {
        counted(i.rows().key_by(|row| row.text()), sliding(5))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key])
    }),
    ("hopnamed", |i, to| counted(all(i.rows()), sliding(5)).show(to, bare)),
    ("hoptab", |i, to| {
        placed(all(i.rows()), sliding(5)).show(to, |row| {
            let [start, end] = [&row.0, &row.1].map(|ms| at(ms.to_native()));
            cells![start, end, row.3.as_deref(), row.4.as_ref().map(|v| v.to_native())]
        })
    }),
    ("keyconst", |i, to| {
        counted(i.rows().key_by(|_| "x"), seconds(10))
            .show(to, |r| cells![at(r.start_ms), r.key, r.value.0])
    }),
    ("keywinexpr", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .show(to, |r| cells![at(r.start_ms.div_euclid(60_000) * 60_000), r.key, r.value.0])
    }),
    ("legconst", |i, to| {
        counted(i.rows().key_by(|_| "c"), seconds(10)).show(to, |r| cells![r.key, r.value.0])
    }),
    ("legnogroup", |i, to| {
        counted(all(i.rows()), seconds(10)).show(to, |r| cells![r.value.0, at(r.end_ms)])
    }),
    ("ltzrowtime", |i, to| {
        let rows = i.timed("input.jsonl", |row| row.v().unwrap() * SPREAD_MS, HOUR_MS);
        counted(all(rows), days(9)).show(to, |r| {
            let end = at(r.end_ms + 9 * HOUR_MS);
            cells![at(r.end_ms - 1) + "Z", end, r.value.0]
        })
    }),
    ("ltzwin", |i, to| {
        let rows = i.timed("input.jsonl", |row| row.v().unwrap() * SPREAD_MS, HOUR_MS);
        counted(all(rows), days(-5)).show(to, |r| {
            let [start, end] = [r.end_ms - DAY_MS, r.end_ms].map(|ms| at(ms - 5 * HOUR_MS));
            cells![start, end, at(r.end_ms - 1) + "Z", r.value.0]
        })
    }),
    ("maxwin", |i, to| {
        counted(by_k(i.rows()), seconds(10)).show(to, |r| cells![r.key, r.value.0, at(r.end_ms)])
    }),
    ("noagg", |i, to| {
        counted(by_k(i.rows()), seconds(10)).show(to, |r| cells![at(r.start_ms), r.key])
    }),
    ("notable", |i, to| counted(by_k(i.rows()), seconds(10)).show(to, from_start)),
    ("offbig", |i, to| {
        let window = seconds(10).offset(Span::seconds(13));
        counted(all(i.rows()), window).show(to, bare)
    }),
    ("offcum", |i, to| {
        let window = cumulating(10, 5).offset(Span::seconds(7));
        counted(all(i.rows()), window).show(to, |r| cells![at(r.start_ms), r.value.0])
    }),
    ("offhop", |i, to| {
        counted(all(i.rows()), sliding(5).offset(Span::seconds(7)))
            .show(to, |r| cells![at(r.start_ms), r.value.0])
    }),
    ("offneg", |i, to| {
        counted(all(i.rows()), seconds(10).offset(Span::seconds(-3)))
            .show(to, |r| cells![at(r.start_ms), r.value.0])
    }),
    ("qualwin", |i, to| {
        placed(all(i.rows().filter(|row| row.v() == Some(1))), seconds(10))
            .show(to, |row| cells![row.3.as_deref(), at(row.0.to_native())])
    }),
    ("rtkey", |i, to| {
        counted(i.rows().key_by(|row| row.at_ms), seconds(10))
            .show(to, |r| cells![at(r.key), r.value.0])
    }),
    ("sameagg", |i, to| {
        by_k(i.rows())
            .window(seconds(10))
            .aggregate(|on| {
                (
                    on.count(),
                    on.count(),
                    on.count_if(|row| row.nn().is_some()),
                    on.sum(|row| row.v()),
                )
            })
            .show(to, |r| {
                let (a, b, c, d) = r.value;
                cells![r.key, a, b, c, d, d.map(|d| d + 1)]
            })
    }),
    ("scalarkeyexpr", |i, to| {
        counted(i.rows().key_by(|row| row.k().map(|k| k.to_uppercase())), seconds(10))
            .show(to, |r| cells![r.key.clone().map(|k| k + "!"), r.value.0])
    }),
    ("selwinexpr", |i, to| {
        counted(all(i.rows()), seconds(10)).show(to, |r| {
            let start = formatted(r.start_ms, "%Y-%m-%d %H:%M:%S");
            let second = r.end_ms.rem_euclid(60_000) / 1_000;
            cells![start, at(r.end_ms - 1_000), at(r.start_ms), second]
        })
    }),
    ("sessfilter", |i, to| {
        by_k(i.rows())
            .window(session(3))
            .aggregate(|on| {
                (on.count(), on.sum(|row| row.v()).filter(|row| row.text().as_deref() == Some("x")))
            })
            .filter(|r| r.value.0 > 1)
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key, r.value.0, r.value.1])
    }),
    ("sessglob", |i, to| counted(all(i.rows()), session(3)).show(to, bare)),
    ("session-rows-grouped", |i, to| {
        counted(by_k(i.rows_after(6_000)), session(5)).show(to, whole)
    }),
    ("session-rows", |i, to| {
        placed(by_k(i.rows_after(6_000)), session(5)).show(to, |row| {
            let [start, end, ts] = [&row.0, &row.1, &row.2].map(|ms| ms.to_native());
            let (k, v) = (row.3.as_deref(), row.4.as_ref().map(|v| v.to_native()));
            cells![at(start), at(end), at(end - 1), at(ts), k, v]
        })
    }),
    ("sessleg2", |i, to| {
        counted(i.rows().key_by(|row| (row.k(), row.text())), session(3))
            .show(to, |r| cells![at(r.start_ms), r.key.0, r.key.1, r.value.0])
    }),
    ("sessnamed", |i, to| counted(by_k(i.rows()), session(5)).show(to, count)),
    ("sesspart2", |i, to| {
        counted(i.rows().key_by(|row| (row.k(), row.text())), session(3))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.key.1, r.key.0, r.value.0])
    }),
    ("sesswhere", |i, to| {
        let rows = i.rows().filter(|row| row.text().as_deref() == Some("x"));
        counted(by_k(rows), session(3)).show(to, count)
    }),
    ("sub1", |i, to| {
        counted(by_k(i.rows()), seconds(10)).filter(|r| r.value.0 > 1).show(to, keyed)
    }),
    ("sub2", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .filter(|r| r.key.as_deref() != Some("b"))
            .show(to, |r| cells![at(r.start_ms), r.key, r.value.0 * 2])
    }),
    ("subq", |i, to| {
        let rows = i.rows().filter(|row| row.v() > Some(1));
        counted(by_k(rows), seconds(10)).show(to, from_start)
    }),
    ("sumnn", |i, to| {
        all(i.rows().filter(|row| row.v() > Some(100)))
            .window(seconds(10))
            .aggregate(|on| {
                (on.sum(|row| row.nn()), on.min(|row| row.nn()), on.avg(|row| row.nn()))
            })
            .show(to, |r| cells![at(r.start_ms), r.value.0, r.value.1, r.value.2])
    }),
    ("tabview", |i, to| {
        counted(all(i.rows()), seconds(10))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.value.1])
    }),
    ("ts0", |i, to| {
        all(i.rows_after(3_000))
            .window(seconds(10))
            .aggregate(|on| on.max(|row| row.at_ms))
            .show(to, |r| cells![at(r.start_ms), at(r.value)])
    }),
    ("tvfalias", |i, to| counted(by_k(i.rows()), seconds(10)).show(to, from_start)),
    ("tvftvf", |i, to| {
        counted(all(i.rows()), seconds(10)).show(to, |r| cells![at(r.start_ms), r.value.0])
    }),
    ("unionattr", |i, to| {
        let rows = i.rows();
        counted(all(rows.clone().union(rows)), seconds(10))
            .show(to, |r| cells![at(r.start_ms), r.value.0])
    }),
    ("unionwin", |i, to| {
        let rows = i.rows();
        let (v, nn) = (rows.clone().map(|row| row.v()), rows.map(|row| row.nn()));
        v.union(nn)
            .key_by(|_| 0)
            .window(seconds(10))
            .aggregate(|on| on.sum(|v| v.as_ref().map(|v| v.to_native())))
            .show(to, |r| cells![at(r.start_ms), at(r.end_ms), r.value])
    }),
    ("whereagg", |i, to| {
        counted(by_k(i.rows()), seconds(10)).filter(|r| r.value.0 > 1).show(to, count)
    }),
    ("wherewin", |i, to| {
        counted(by_k(i.rows()), seconds(10))
            .filter(|r| at(r.start_ms).as_str() > "2024-01-01 00:00:05.000")
            .show(to, from_start)
    }),
    ("wmcomp", |i, to| {
        let rows = i.timed("input.jsonl", |row| row.at_ms.to_native() + 1_000, 60_000);
        counted(rows.key_by(|row| row.at_ms.to_native() + 1_000), seconds(10))
            .show(to, |r| cells![at(r.key), r.value.0])
    }),
    ("wtab", |i, to| {
        placed(all(i.rows()), seconds(10))
            .filter(|row| at(row.1.to_native()).as_str() > "2024-01-01 00:00:15.000")
            .show(to, |row| {
                let v = row.4.as_ref().map(|v| v.to_native());
                cells![row.3.as_deref(), v, at(row.1.to_native() - 1)]
            })
    }),
    ("wtime", |i, to| {
        counted(all(i.rows()), seconds(10))
            .filter(|r| at(r.end_ms - 1).as_str() > "2024-01-01 00:00:11.000")
            .show(to, |r| cells![at(r.end_ms - 1), r.value.0])
    }),
];
