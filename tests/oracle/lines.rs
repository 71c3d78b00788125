//! Result rows of both engines as text, so that they can be compared.

use std::collections::BTreeMap;

use super::model::{Cell, Field, Query, Row, time_text};
use super::reference::{Arrival, Expected, Turns};

/// A result row as text: kind, columns.
pub(crate) type Line = (String, Vec<String>);

/// What each group showed, in order; of windows that fire once, sorted.
pub(crate) type Groups = BTreeMap<Vec<String>, Vec<String>>;

/// What the engine wrote; a row without a kind is an insertion.
pub(crate) fn lines_of_engine(query: &Query, rows: &[serde_json::Value]) -> Vec<Line> {
    let names = ["ws", "we", "wt"].map(String::from).into_iter();
    let names = names.chain((0..query.keys.len()).map(|index| format!("g{index}")));
    let names: Vec<String> =
        names.chain((0..query.calls.len()).map(|index| format!("a{index}"))).collect();
    let first_call = query.key_columns();
    let line = |row: &serde_json::Value| {
        let cell = |(index, name): (usize, &String)| {
            let double = index >= first_call && query.calls[index - first_call].is_double();
            match row[name].as_str().filter(|_| index < 3) {
                Some(time) => format!("{:?}", with_milliseconds(time)),
                None => Cell::parse(&row[name], double),
            }
        };
        let kind = row["op"].as_str().unwrap_or("+I").to_owned();
        (kind, names.iter().enumerate().map(cell).collect())
    };
    rows.iter().map(line).collect()
}

/// JSON has no zeros at the end of a fraction.
fn with_milliseconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => format!("{seconds}.{fraction:0<3}"),
        None => format!("{time}.000"),
    }
}

pub(crate) fn lines_of_oracle(expected: &Expected) -> Vec<Line> {
    let rows = expected.rows.iter();
    rows.map(|(kind, cells)| (kind.to_string(), cells.iter().map(Cell::text).collect())).collect()
}

/// Late rows that the engine wrote, sorted.
#[allow(dead_code)]
pub(crate) fn late_of_engine(rows: &[serde_json::Value]) -> Vec<String> {
    let line = |row: &serde_json::Value| {
        let time = with_milliseconds(row["ts"].as_str().unwrap());
        let cells = FIELDS.map(|field| Cell::parse(&row[field.name()], field == Field::D));
        format!("{time} {}", cells.join(" "))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.sort();
    lines
}

/// Late rows that it should have written, sorted.
#[allow(dead_code)]
pub(crate) fn late_of_oracle(query: &Query, expected: &Expected) -> Vec<String> {
    let line = |arrival: &Arrival| {
        let row = &arrival.row;
        // Below another window nobody reads w.
        let is_read = |field: Field| query.inner.is_none() || field != Field::W;
        let cell = |field| if is_read(field) { row.cell(field) } else { Cell::Null };
        format!("{} {}", time_text(row.ts), FIELDS.map(|field| cell(field).text()).join(" "))
    };
    let mut lines: Vec<String> = expected.late.iter().map(line).collect();
    lines.sort();
    lines
}

#[allow(dead_code)]
const FIELDS: [Field; 6] = [Field::K, Field::V, Field::W, Field::D, Field::S, Field::M];

pub(crate) fn groups(query: &Query, lines: Vec<Line>) -> Groups {
    let mut groups = Groups::new();
    for (kind, cells) in lines {
        let key = cells[..query.key_columns()].to_vec();
        let change = format!("{kind} {}", cells[query.key_columns()..].join(" "));
        groups.entry(key).or_default().push(change);
    }
    if query.emit.is_once() {
        groups.values_mut().for_each(|changes| changes.sort());
    }
    groups
}

/// What must not depend on anything: the multiset of rows, or each group's sequence of changes.
pub(crate) fn canonical(query: &Query, lines: Vec<Line>) -> Vec<String> {
    let groups = groups(query, lines).into_iter();
    groups.map(|(key, changes)| format!("{}: {}", key.join(" "), changes.join(" | "))).collect()
}

/// A split keeps its turn for so many bytes, whatever the size of a chunk.
const TURN_BYTES: u64 = 1 << 20;

/// A file's records as the turns that they start in.
pub(crate) fn turns(rows: &[Row], records: &[String]) -> Turns {
    let length: u64 = records.iter().map(|record| record.len() as u64).sum();
    let mut turns: Turns = vec![Vec::new(); length.div_ceil(TURN_BYTES) as usize];
    let mut start = 0;
    for (row, record) in rows.iter().zip(records) {
        turns[(start / TURN_BYTES) as usize].push(row.clone());
        start += record.len() as u64;
    }
    turns
}
