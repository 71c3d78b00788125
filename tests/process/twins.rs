//! What functions yield, found out naively: rows one by one, maps by key.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use tidemill::batch::RowKind;

use crate::functions::{next_fold, times};
use crate::world::{Arrived, line, time_text};

/// A result of a window.
#[derive(Clone, Debug)]
pub(crate) struct Fired {
    pub(crate) k: String,
    count: i64,
    sum: i64,
    end_ms: i64,
}

/// What [`crate::functions::Fold`] yields of rows.
pub(crate) fn fold_rows(rows: &[Arrived], key: impl Fn(&Arrived) -> String) -> Vec<Arrived> {
    let mut folds: HashMap<String, i64> = HashMap::new();
    let mut yielded = Vec::new();
    for row in rows {
        let fold = folds.entry(key(row)).or_default();
        *fold = next_fold(*fold, row.watermark_ms, row.v, row.w, RowKind::Insert);
        yielded.extend((0..times(row.w)).map(|_| Arrived { fold: *fold, ..row.clone() }));
    }
    yielded
}

/// The same, as the sink has it.
pub(crate) fn fold(rows: &[Arrived], key: impl Fn(&Arrived) -> String) -> Vec<Value> {
    let yielded = fold_rows(rows, key);
    yielded.iter().map(|row| line(&row.k, row.v, row.w, row.fold)).collect()
}

/// What [`crate::functions::Fold`] yields of results of windows, which come in the order of time and then of keys.
pub(crate) fn fold_results(fired: &[Fired], key: impl Fn(&Fired) -> String) -> Vec<Value> {
    let mut folds: HashMap<String, i64> = HashMap::new();
    let mut expected = Vec::new();
    let mut fired = fired.to_vec();
    fired.sort_by_key(|fired| (fired.end_ms, fired.k.clone()));
    for row in fired {
        let fold = folds.entry(key(&row)).or_default();
        *fold = next_fold(*fold, row.end_ms - 1, row.count, row.sum, RowKind::Insert);
        for _ in 0..times(row.sum) {
            expected.push(line(&row.k, row.count, row.sum, *fold));
        }
    }
    expected
}

/// What [`crate::functions::Fold`] yields of windows of four rows, whose numbers differ.
pub(crate) fn fold_fours(rows: &[Arrived]) -> Vec<Value> {
    let mut fours: HashMap<String, Vec<i64>> = HashMap::new();
    let mut folds: HashMap<String, i64> = HashMap::new();
    let mut expected = Vec::new();
    for row in rows {
        let four = fours.entry(row.k.clone()).or_default();
        four.push(row.ts_ms);
        if four.len() == 4 {
            let last_ms = four.drain(..).max().unwrap_or_default();
            let fold = folds.entry(row.k.clone()).or_default();
            *fold = next_fold(*fold, last_ms, 4, 4, RowKind::Insert);
            expected.extend((0..times(4)).map(|_| line(&row.k, 4, 4, *fold)));
        }
    }
    expected
}

/// The results of adjacent windows.
pub(crate) fn results(rows: &[Arrived], size_ms: i64) -> Vec<Fired> {
    let mut windows: BTreeMap<(i64, String), (i64, i64)> = BTreeMap::new();
    for row in rows {
        let end_ms = row.ts_ms - row.ts_ms.rem_euclid(size_ms) + size_ms;
        if end_ms - 1 > row.watermark_ms {
            let (count, sum) = windows.entry((end_ms, row.k.clone())).or_default();
            (*count, *sum) = (*count + 1, *sum + row.w);
        }
    }
    let fired = windows.into_iter();
    fired.map(|((end_ms, k), (count, sum))| Fired { k, count, sum, end_ms }).collect()
}

/// The results of sessions, and how many rows were late.
pub(crate) fn sessions(rows: &[Arrived], gap_ms: i64) -> (Vec<Fired>, u64) {
    let mut late = 0;
    let mut open: Vec<(i64, Fired)> = Vec::new();
    for row in rows {
        let (mut start_ms, mut end_ms) = (row.ts_ms, row.ts_ms + gap_ms);
        let joins = |(start, fired): &(i64, Fired)| {
            fired.k == row.k
                && fired.end_ms - 1 > row.watermark_ms
                && *start <= row.ts_ms + gap_ms
                && fired.end_ms >= row.ts_ms
        };
        let (joined, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(joins);
        open = rest;
        if joined.is_empty() && end_ms - 1 <= row.watermark_ms {
            late += 1;
            continue;
        }
        let (mut count, mut sum) = (1, row.w);
        for (start, fired) in joined {
            (start_ms, end_ms) = (start_ms.min(start), end_ms.max(fired.end_ms));
            (count, sum) = (count + fired.count, sum + fired.sum);
        }
        open.push((start_ms, Fired { k: row.k.clone(), count, sum, end_ms }));
    }
    (open.into_iter().map(|(_, fired)| fired).collect(), late)
}

/// What [`crate::functions::Best`] yields of sliding windows, and how many rows were late for one.
pub(crate) fn best(
    rows: &[Arrived],
    size_ms: i64,
    slide_ms: i64,
    lateness_ms: i64,
) -> (Vec<Value>, u64) {
    let (mut expected, mut late) = (Vec::new(), 0);
    let mut held: HashMap<(String, i64), Vec<i64>> = HashMap::new();
    for row in rows {
        for start_ms in starts(row.ts_ms, size_ms, slide_ms) {
            if start_ms + size_ms - 1 + lateness_ms <= row.watermark_ms {
                late += 1;
                continue;
            }
            let best = held.entry((row.k.clone(), start_ms)).or_default();
            let higher = best.iter().filter(|&&other| other > row.v).count();
            let better = higher < 2;
            if better {
                best.push(row.v);
                best.sort();
                best.reverse();
                best.truncate(2);
                if row.v == 0 {
                    best.clear();
                }
                expected.push(line(&row.k, row.v, row.w, start_ms));
            } else if best.contains(&row.v) {
                expected.push(line(&row.k, row.v, row.w, start_ms));
            }
        }
    }
    (expected, late)
}

fn starts(ts_ms: i64, size_ms: i64, slide_ms: i64) -> Vec<i64> {
    let last = ts_ms - ts_ms.rem_euclid(slide_ms);
    let mut starts: Vec<i64> = (0..size_ms / slide_ms).map(|at| last - at * slide_ms).collect();
    starts.reverse();
    starts
}

/// What [`crate::functions::Repeat`] yields.
pub(crate) fn repeat(rows: &[Arrived]) -> Vec<Arrived> {
    rows.iter().flat_map(|row| (0..times(row.w)).map(|_| row.clone())).collect()
}

/// What [`crate::functions::First`] lets through.
pub(crate) fn first(rows: &[Arrived]) -> Vec<Arrived> {
    let mut seen: BTreeSet<(String, i64)> = BTreeSet::new();
    let mut passed = Vec::new();
    for row in rows {
        let name = (row.k.clone(), row.v);
        if row.w % 5 == 0 {
            seen.remove(&name);
        }
        if seen.insert(name) {
            passed.push(row.clone());
        }
    }
    passed
}

/// Rows and different numbers by key and window, and how many rows were late.
pub(crate) fn spread(rows: &[Arrived], size_ms: i64, slide_ms: i64) -> (Vec<Value>, u64) {
    let mut windows: BTreeMap<(String, i64), (i64, BTreeSet<i64>)> = BTreeMap::new();
    let mut late = 0;
    for row in rows {
        let starts = starts(row.ts_ms, size_ms, slide_ms).into_iter();
        let open = starts.filter(|start| start + size_ms - 1 > row.watermark_ms);
        let open: Vec<i64> = open.collect();
        late += u64::from(open.is_empty());
        for start_ms in open {
            let (count, numbers) = windows.entry((row.k.clone(), start_ms)).or_default();
            *count += 1;
            numbers.insert(row.v);
        }
    }
    let expected = windows.into_iter().map(|((k, start_ms), (count, numbers))| {
        let end_ms = start_ms + size_ms;
        json!({"op": "+I", "k": k, "a": count, "b": numbers.len(), "window_start": time_text(start_ms),
               "window_end": time_text(end_ms), "window_time": time_text(end_ms - 1)})
    });
    (expected.collect(), late)
}

/// Settings under which windows fire early, by event time, and for late rows.
pub(crate) fn early() -> String {
    let settings = [
        ("table.exec.emit.early-fire.enabled", "true"),
        ("table.exec.emit.early-fire.delay", "500 ms"),
        ("tidemill.emit.early-fire.clock", "event-time"),
        ("table.exec.emit.late-fire.enabled", "true"),
        ("table.exec.emit.late-fire.delay", "0 s"),
        ("table.exec.emit.allow-lateness", "1 s"),
    ];
    settings.iter().map(|(key, value)| format!("SET '{key}' = '{value}';\n")).collect()
}
