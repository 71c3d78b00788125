//! Windows of rows, naively: every window from all of its rows, row by row.

use std::collections::{BTreeMap, BTreeSet};

/// A row of the input.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub key: u8,
    pub v: Option<i64>,
    pub s: Option<u8>,
    /// In quarters.
    pub d: Option<i64>,
    pub time_ms: i64,
}

/// What each key showed, in order.
pub(crate) type Shown = BTreeMap<String, Vec<String>>;

/// The calls that tests draw from.
pub(crate) const CALLS: [&str; 11] = [
    "COUNT(*)",
    "SUM(v)",
    "FIRST_VALUE(s)",
    "LAST_VALUE(s)",
    "SUM(d)",
    "MAX(s)",
    "COUNT(*) FILTER (WHERE v > 3)",
    "LISTAGG(s)",
    "COUNT(DISTINCT v)",
    "SUM(DISTINCT v)",
    "LISTAGG(DISTINCT CAST(v AS STRING))",
];

/// So many of them can be added up by two stacks.
pub(crate) const STACKED_CALLS: usize = 7;

fn text_of(s: u8) -> String {
    format!("s{s}{}", "x".repeat(usize::from(s) * 3))
}

impl Row {
    /// The row as a JSON record.
    pub(crate) fn record(&self) -> String {
        let or_null = |text: Option<String>| text.unwrap_or_else(|| "null".into());
        format!(
            "{{\"ts\":\"{}\",\"k\":\"k{}\",\"v\":{},\"s\":{},\"d\":{}}}\n",
            time_text(self.time_ms),
            self.key,
            or_null(self.v.map(|v| v.to_string())),
            or_null(self.s.map(|s| format!("\"{}\"", text_of(s)))),
            or_null(self.d.map(|d| format!("{:?}", d as f64 / 4.0))),
        )
    }
}

/// As JSON has times.
pub(crate) fn time_text(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).unwrap();
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// One cell; `counted`: distinct values that no longer count.
fn cell(call: usize, rows: &[Row], counted: &BTreeSet<i64>) -> String {
    let texts = || rows.iter().filter_map(|row| row.s.map(text_of));
    let numbers = || rows.iter().filter_map(|row| row.v);
    let distinct = || numbers().filter(|v| !counted.contains(v)).collect::<BTreeSet<i64>>();
    let or_null = |cell: Option<String>| cell.unwrap_or_else(|| "null".into());
    let sum = |values: Vec<i64>| {
        or_null((!values.is_empty()).then(|| values.iter().sum::<i64>().to_string()))
    };
    match call {
        0 => rows.len().to_string(),
        1 => sum(numbers().collect()),
        2 => or_null(texts().next()),
        3 => or_null(texts().next_back()),
        4 => {
            let quarters: Vec<i64> = rows.iter().filter_map(|row| row.d).collect();
            let sum = quarters.iter().sum::<i64>() as f64 / 4.0;
            or_null((!quarters.is_empty()).then(|| sum.to_string()))
        }
        5 => or_null(texts().max()),
        6 => numbers().filter(|&v| v > 3).count().to_string(),
        7 => {
            let all: Vec<String> = texts().collect();
            or_null((!all.is_empty()).then(|| all.join(",")))
        }
        8 => distinct().len().to_string(),
        9 => sum(distinct().into_iter().collect()),
        _ => {
            let mut left = distinct();
            let first: Vec<String> =
                numbers().filter(|v| left.remove(v)).map(|v| v.to_string()).collect();
            or_null((!first.is_empty()).then(|| first.join(",")))
        }
    }
}

/// A result without its kind.
pub(crate) fn result(calls: &[usize], rows: &[Row], counted: &BTreeSet<i64>) -> String {
    let times = || rows.iter().map(|row| row.time_ms);
    let (least, greatest) = (times().min().unwrap(), times().max().unwrap());
    let cells = calls.iter().map(|&call| cell(call, rows, counted));
    let times = [least, greatest + 1, greatest].map(time_text);
    cells.chain(times).collect::<Vec<_>>().join(" ")
}

/// The windows of a count window, in the order in which they are full: key, rows, the place of the last of them.
pub(crate) fn count_windows(rows: &[Row], size: usize, slide: usize) -> Vec<(u8, Vec<Row>, usize)> {
    let mut held: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
    let mut windows = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let own = held.entry(row.key).or_default();
        own.push(row.clone());
        if own.len().is_multiple_of(slide) {
            windows.push((row.key, own[own.len().saturating_sub(size)..].to_vec(), place));
        }
    }
    windows
}

/// What a count window shows.
pub(crate) fn count(rows: &[Row], calls: &[usize], size: usize, slide: usize) -> Shown {
    let mut shown = Shown::new();
    for (key, rows, _) in count_windows(rows, size, slide) {
        let line = format!("+I {}", result(calls, &rows, &BTreeSet::new()));
        shown.entry(format!("k{key}")).or_default().push(line);
    }
    shown
}

/// What later firings show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    Retracting,
    Accumulating,
    Discarding,
    Purging,
}

/// When a global window fires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Global {
    pub every_rows: Option<u64>,
    pub event_delay_ms: Option<i64>,
    pub at_end: bool,
    pub mode: Mode,
}

#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    since: u64,
    counted: BTreeSet<i64>,
    changed: bool,
    shown: Option<String>,
}

impl Group {
    fn show(&mut self, calls: &[usize], mode: Mode, lines: &mut Vec<String>) {
        self.changed = false;
        let now = result(calls, &self.rows, &self.counted);
        match mode {
            Mode::Purging => {
                lines.push(format!("+I {now}"));
                *self = Self::default();
            }
            Mode::Discarding => {
                lines.push(format!("+I {now}"));
                self.counted.extend(self.rows.drain(..).filter_map(|row| row.v));
            }
            Mode::Retracting | Mode::Accumulating => {
                match &self.shown {
                    None => lines.push(format!("+I {now}")),
                    Some(old) if *old == now => {}
                    Some(old) => {
                        if mode == Mode::Retracting {
                            lines.push(format!("-U {old}"));
                        }
                        lines.push(format!("+U {now}"));
                    }
                }
                self.shown = Some(now);
            }
        }
    }
}

/// What a global window shows; watermarks are `delay_ms` behind the rows.
pub(crate) fn global(rows: &[Row], calls: &[usize], when: Global, delay_ms: i64) -> Shown {
    let mut groups: BTreeMap<u8, Group> = BTreeMap::new();
    let mut shown = Shown::new();
    let mut show = |key: u8, group: &mut Group| {
        group.show(calls, when.mode, shown.entry(format!("k{key}")).or_default());
    };
    let mut watermark_ms = i64::MIN;
    for row in rows {
        let group = groups.entry(row.key).or_default();
        group.rows.push(row.clone());
        group.changed = true;
        group.since += 1;
        if Some(group.since) == when.every_rows {
            group.since = 0;
            show(row.key, group);
        }
        let next_ms = watermark_ms.max(row.time_ms - delay_ms);
        if when
            .event_delay_ms
            .is_some_and(|ms| next_ms.div_euclid(ms) > watermark_ms.div_euclid(ms))
        {
            let changed = groups.iter_mut().filter(|(_, group)| group.changed);
            changed.for_each(|(&key, group)| show(key, group));
        }
        watermark_ms = next_ms;
    }
    if when.at_end || when.event_delay_ms.is_some() {
        let changed = groups.iter_mut().filter(|(_, group)| group.changed);
        changed.for_each(|(&key, group)| show(key, group));
    }
    shown
}
