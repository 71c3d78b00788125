//! The jobs that many twins share: a count and a sum by window, the same over sets of columns, windows over windows.

use rkyv::{Archive, Serialize};
use serde_json::Value;
use tidemill::job::{Emit, Keyed};
use tidemill::{Span, Stream, Window, WindowResult};

use super::cells;
use super::functions::{Each, Placed};
use super::input::{ArchivedRow, Row, at};

/// What most cases compute: how many rows, and the sum of their numbers.
pub(super) type Counted<K = Option<String>> = WindowResult<K, (i64, Option<i64>)>;

pub(super) fn seconds(size: i64) -> Window {
    Window::tumbling(Span::seconds(size))
}

/// Ten seconds every so many.
pub(super) fn sliding(slide: i64) -> Window {
    Window::sliding(Span::seconds(10), Span::seconds(slide))
}

/// Up to so many seconds, growing by so many.
pub(super) fn cumulating(size: i64, step: i64) -> Window {
    Window::cumulating(Span::seconds(size), Span::seconds(step))
}

pub(super) fn session(gap: i64) -> Window {
    Window::session(Span::seconds(gap))
}

pub(super) const HOUR_MS: i64 = 3_600_000;

/// Days of a zone that is so many hours ahead of UTC.
pub(super) fn days(hours_ahead: i64) -> Window {
    Window::tumbling(Span::days(1)).offset(Span::hours(-hours_ahead))
}

/// Rows by their first text.
pub(super) fn by_k(rows: Stream<Row>) -> Keyed<Row, Option<String>> {
    rows.key_by(|row| row.k())
}

/// Rows all together.
pub(super) fn all(rows: Stream<Row>) -> Keyed<Row, Option<String>> {
    rows.key_by(|_| None::<String>)
}

pub(super) fn counted<K: tidemill::job::Row>(
    rows: Keyed<Row, K>,
    window: Window,
) -> Stream<Counted<K>> {
    rows.window(window).aggregate(|on| (on.count(), on.sum(|row| row.v())))
}

/// The cells of a window, its key, its count and its sum.
pub(super) fn whole(r: &Counted) -> Vec<Value> {
    cells![at(r.start_ms), at(r.end_ms), r.key, r.value.0, r.value.1]
}

/// The same without the end, as group windows show it.
pub(super) fn started(r: &Counted) -> Vec<Value> {
    cells![at(r.start_ms), r.key, r.value.0, r.value.1]
}

/// The cells of a window, its key and its count.
pub(super) fn count(r: &Counted) -> Vec<Value> {
    cells![at(r.start_ms), at(r.end_ms), r.key, r.value.0]
}

/// The cells of a window and its count.
pub(super) fn bare(r: &Counted) -> Vec<Value> {
    cells![at(r.start_ms), at(r.end_ms), r.value.0]
}

/// The cells of a key and its count.
pub(super) fn keyed(r: &Counted) -> Vec<Value> {
    cells![r.key, r.value.0]
}

/// The cells of a start, a key and its count.
pub(super) fn from_start(r: &Counted) -> Vec<Value> {
    cells![at(r.start_ms), r.key, r.value.0]
}

/// The counts of windows of ten seconds, added up by windows of so many.
pub(super) fn counts_in(rows: Stream<Row>, size: i64) -> Stream<WindowResult<i64, i64>> {
    counted(by_k(rows), seconds(10))
        .key_by(|_| 0_i64)
        .window(seconds(size))
        .aggregate(|on| on.sum(|r| r.value.0))
}

/// Every row in each of its windows.
pub(super) fn placed(rows: Keyed<Row, Option<String>>, window: Window) -> Stream<Placed> {
    rows.window(window).process(Each)
}

/// Which of k, text and v a set groups by.
pub(super) type Set = [bool; 3];

/// A row for one of several sets: what is grouped by, and the values that aggregates read.
#[derive(Archive, Serialize)]
pub(super) struct InSet {
    set: i64,
    by: (Option<String>, Option<String>, Option<i64>),
    k: Option<String>,
    has_text: bool,
    v: Option<i64>,
}

/// Of a set: its number, k, text, v; and how many rows, their sum, how many texts, the greatest k.
pub(super) type InSets = WindowResult<
    (i64, Option<String>, Option<String>, Option<i64>),
    (i64, Option<i64>, i64, Option<String>),
>;

/// Rows by each of the sets.
pub(super) fn by_sets(rows: Stream<Row>, sets: &'static [Set], window: Window) -> Stream<InSets> {
    let each = move |row: &ArchivedRow, out: &mut Emit<'_, InSet>| {
        for (set, [k, text, v]) in (0..).zip(sets) {
            let by = (row.k().filter(|_| *k), row.text().filter(|_| *text), row.v().filter(|_| *v));
            out.push(&InSet { set, by, k: row.k(), has_text: row.text.is_some(), v: row.v() });
        }
    };
    rows.flat_map(each)
        .key_by(|row| {
            let text = |text: &rkyv::option::ArchivedOption<rkyv::string::ArchivedString>| {
                text.as_ref().map(|text| text.to_string())
            };
            (
                row.set.to_native(),
                text(&row.by.0),
                text(&row.by.1),
                row.by.2.as_ref().map(|v| v.to_native()),
            )
        })
        .window(window)
        .aggregate(|on| {
            (
                on.count(),
                on.sum(|row| row.v.as_ref().map(|v| v.to_native())),
                on.count_if(|row| row.has_text),
                on.max(|row| row.k.as_ref().map(|k| k.to_string())),
            )
        })
}

/// GROUPING_ID(k, text) in a set.
pub(super) fn grouping_id([k, text, _]: Set) -> i64 {
    i64::from(!k) * 2 + i64::from(!text)
}
