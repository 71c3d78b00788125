//! The naive engine: a row at a time, every group keeps its rows, every result is computed from them anew.
//!
//! The rules: a window fires when the watermark reaches its end - 1 ms; a row counts for the windows that have not
//! fired when it arrives (or fired at most the allowed lateness ago), and is late if it counts for none.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{
    Call, Cell, Field, Filter, Form, Function, Mode, Query, Row, Window, time_of, time_text,
};

/// A row, and the watermark when it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub row: Row,
    pub watermark: i64,
}

/// What must come out.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Kind and columns, in order.
    pub rows: Vec<(&'static str, Vec<Cell>)>,
    /// The rows that counted for no window, with the watermark at the arrival of each.
    pub late: Vec<Arrival>,
    /// For each row, the watermark before the one that fired it.
    pub fired_at: Vec<i64>,
}

impl Expected {
    /// Notes the watermark for the rows that were added since.
    fn note(&mut self, before: i64) {
        self.fired_at.resize(self.rows.len(), before);
    }
}

/// One split's file: its rows, by the turns in which they are read.
pub(crate) type Turns = Vec<Vec<Row>>;

/// The order in which splits are read: a turn of the one with the lowest (watermark, ordinal) at a time. A row's
/// watermark is the lowest of the splits that have not ended, at its arrival, and never goes back.
pub(crate) fn arrivals(mut splits: Vec<Turns>, delay: i64) -> Vec<Arrival> {
    let mut watermarks: Vec<i64> = vec![i64::MIN; splits.len()];
    splits.iter_mut().for_each(|turns| turns.reverse());
    let mut arrivals = Vec::new();
    let mut reached = i64::MIN;
    loop {
        let open = (0..splits.len()).filter(|&split| !splits[split].is_empty());
        let Some(split) = open.min_by_key(|&split| (watermarks[split], split)) else {
            return arrivals;
        };
        let turn = splits[split].last().unwrap().clone();
        for row in turn {
            let lowest = (0..splits.len())
                .filter(|&at| !splits[at].is_empty())
                .map(|at| watermarks[at])
                .min()
                .unwrap();
            reached = reached.max(lowest);
            watermarks[split] = watermarks[split].max(row.ts - delay);
            arrivals.push(Arrival { row, watermark: reached });
        }
        splits[split].pop();
    }
}

/// All windows that contain `ts`.
pub(crate) fn windows_of(window: Window, ts: i64) -> Vec<(i64, i64)> {
    let aligned = |step: i64, offset: i64| ts - (ts - offset).rem_euclid(step);
    match window {
        Window::Tumble { size, offset } => {
            vec![(aligned(size, offset), aligned(size, offset) + size)]
        }
        Window::Hop { slide, size, offset } => (0..)
            .map(|back| aligned(slide, offset) - back * slide)
            .take_while(|start| start + size > ts)
            .map(|start| (start, start + size))
            .collect(),
        Window::Cumulate { step, size, offset } => {
            let start = aligned(size, offset);
            (1..=size / step)
                .map(|k| (start, start + k * step))
                .filter(|&(_, end)| end > ts)
                .collect()
        }
        Window::Session { .. } => unreachable!("sessions depend on other rows"),
    }
}

pub(crate) fn expected(query: &Query, arrivals: &[Arrival]) -> Expected {
    let Some(inner) = query.inner else { return one_window(query, arrivals) };
    let of = |function, field| Call { function, field, distinct: false, filter: Filter::None };
    let calls =
        [(Function::Sum, Field::V), (Function::CountRows, Field::V), (Function::Sum, Field::D)];
    let calls = calls.into_iter().chain([(Function::Max, Field::S), (Function::Min, Field::M)]);
    let calls = calls.map(|(function, field)| of(function, field)).collect();
    let form = Form::TableFunction;
    let first =
        Query { window: inner, form, keys: vec![Field::K], calls, inner: None, ..query.clone() };
    let mut results = one_window(&first, arrivals);
    // A result comes before the watermark that fired it.
    let rows = results.rows.drain(..).zip(results.fired_at);
    let rows = rows.map(|((_, cells), watermark)| Arrival { row: row_of(&cells), watermark });
    let second = Query { condition: Filter::None, ..query.clone() };
    let rows: Vec<Arrival> = rows.collect();
    Expected { late: results.late, ..one_window(&second, &rows) }
}

/// A result of the inner window as a row of the outer one's input.
fn row_of(cells: &[Cell]) -> Row {
    let text = |cell: &Cell| match cell {
        Cell::Text(text) => Some(text.clone()),
        _ => None,
    };
    let int = |cell: &Cell| match cell {
        Cell::Int(value) => Some(*value),
        Cell::Decimal(value, _) => Some(*value as i64),
        _ => None,
    };
    let d = match cells[6] {
        Cell::Double(bits) => Some(f64::from_bits(bits)),
        _ => None,
    };
    Row {
        ts: time_of(&text(&cells[2]).unwrap()),
        k: text(&cells[3]),
        v: int(&cells[4]).map(|v| v as i32),
        w: int(&cells[5]),
        d,
        s: text(&cells[7]),
        m: int(&cells[8]),
    }
}

fn one_window(query: &Query, arrivals: &[Arrival]) -> Expected {
    match query.window {
        Window::Session { gap } => sessions(query, gap, arrivals),
        _ => Windows {
            query,
            groups: BTreeMap::new(),
            watermark: i64::MIN,
            expected: Expected::default(),
        }
        .run(arrivals),
    }
}

/// LISTAGG follows arrival, but where windows share slices and fire once, slice after slice as Flink merges them:
/// the newest first in the table function HOP, else the oldest first. In CUMULATE a row whose own slice had fired
/// follows what had fired by then. `arrived`: the watermark at each row's arrival.
fn in_order(query: &Query, rows: &[Row], arrived: &[i64]) -> Vec<Row> {
    let picks =
        query.calls.iter().any(|call| matches!(call.function, Function::First | Function::Last));
    let (width, offset, sign) = match (query.window, query.form) {
        (Window::Hop { slide, size, offset }, Form::TableFunction) => {
            (gcd(size, slide), offset, -1)
        }
        (Window::Hop { slide, size, offset }, Form::GroupWindow) => (gcd(size, slide), offset, 1),
        (Window::Cumulate { step, offset, .. }, _) => (step, offset, 1),
        _ => return rows.to_vec(),
    };
    let mut rows: Vec<(&Row, i64)> = rows.iter().zip(arrived.iter().copied()).collect();
    let cumulates = matches!(query.window, Window::Cumulate { .. });
    if query.emit.is_once() && !picks {
        rows.sort_by_key(|&(row, watermark)| {
            let end = row.ts - (row.ts - offset).rem_euclid(width) + width;
            if cumulates && end - 1 <= watermark {
                (watermark + 1, true)
            } else {
                (sign * end, false)
            }
        });
    }
    rows.into_iter().map(|(row, _)| row.clone()).collect()
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn key_of(query: &Query, row: &Row) -> Vec<Cell> {
    query.keys.iter().map(|&key| row.cell(key)).collect()
}

/// The result's columns before the aggregates.
fn labels(start: i64, end: i64, key: &[Cell]) -> Vec<Cell> {
    [start, end, end - 1]
        .map(|time| Cell::Text(time_text(time)))
        .into_iter()
        .chain(key.iter().cloned())
        .collect()
}

#[derive(Debug, Default)]
struct Group {
    rows: Vec<Row>,
    /// The watermark at each row's arrival.
    arrived: Vec<i64>,
    /// Discarding: the rows that earlier firings showed. What they held is not distinct again, so that the
    /// increments of a distinct count add up to it.
    earlier: Vec<Row>,
    changed: bool,
    shown: Option<Vec<Cell>>,
    ended: bool,
}

/// TUMBLE, HOP and CUMULATE: groups by end, start and key.
struct Windows<'a> {
    query: &'a Query,
    groups: BTreeMap<(i64, i64, Vec<Cell>), Group>,
    watermark: i64,
    expected: Expected,
}

impl Windows<'_> {
    fn run(mut self, arrivals: &[Arrival]) -> Expected {
        for arrival in arrivals {
            self.advance(arrival.watermark);
            self.take(arrival);
        }
        self.advance(i64::MAX);
        self.expected
    }

    fn take(&mut self, arrival: &Arrival) {
        let row = &arrival.row;
        if !passes(self.query.condition, row) {
            return;
        }
        let lateness = self.query.emit.lateness.unwrap_or(0);
        let all = windows_of(self.query.window, row.ts);
        let open: Vec<_> =
            all.iter().filter(|&&(_, end)| end - 1 + lateness > self.watermark).collect();
        if open.is_empty() && !all.is_empty() {
            self.expected.late.push(arrival.clone());
        }
        for &&(start, end) in &open {
            let key = (end, start, key_of(self.query, row));
            let group = self.groups.entry(key.clone()).or_default();
            group.rows.push(row.clone());
            group.arrived.push(self.watermark);
            group.changed = true;
            let is_late = end - 1 <= self.watermark;
            if is_late || self.query.emit.early == Some(0) {
                self.show(&key);
            }
        }
    }

    fn advance(&mut self, watermark: i64) {
        let before = std::mem::replace(&mut self.watermark, watermark);
        let early = self.query.emit.early.filter(|&early| early > 0);
        let ticks =
            early.is_some_and(|early| watermark.div_euclid(early) > before.div_euclid(early));
        let lateness = self.query.emit.lateness.unwrap_or(0);
        for key in self.groups.keys().cloned().collect::<Vec<_>>() {
            let group = self.groups.get_mut(&key).unwrap();
            let ends = !group.ended && key.0 - 1 <= watermark;
            if ends || (ticks && !group.ended) {
                group.ended |= ends;
                self.show(&key);
            }
            if key.0 - 1 + lateness <= watermark {
                self.groups.remove(&key);
            }
        }
        self.expected.note(before);
    }

    /// Shows a group's result if it has rows that it has not shown.
    fn show(&mut self, key: &(i64, i64, Vec<Cell>)) {
        let group = self.groups.get_mut(key).unwrap();
        if !std::mem::take(&mut group.changed) {
            return;
        }
        let new = results(
            &self.query.calls,
            &group.earlier,
            &in_order(self.query, &group.rows, &group.arrived),
        );
        let row = |values: &[Cell]| [labels(key.1, key.0, &key.2), values.to_vec()].concat();
        match (self.query.emit.mode, &group.shown) {
            (Mode::Discarding, _) => {
                self.expected.rows.push(("+I", row(&new)));
                group.earlier.append(&mut group.rows);
                group.arrived.clear();
                return;
            }
            (_, None) => self.expected.rows.push(("+I", row(&new))),
            (_, Some(old)) if *old == new => {}
            (Mode::Retracting, Some(old)) => {
                self.expected.rows.extend([("-U", row(old)), ("+U", row(&new))])
            }
            (Mode::Accumulating, Some(_)) => self.expected.rows.push(("+U", row(&new))),
        }
        group.shown = Some(new);
    }
}

/// An open session: its key, from when to when, its rows, and how many rows had come before its first.
type Open = (Vec<Cell>, i64, i64, Vec<Row>, usize);

/// SESSION: open sessions by key. A row's session is merged with all that it overlaps or touches, the rows of one after those
/// of another, as the sessions began; it is late if what comes of it has fired.
fn sessions(query: &Query, gap: i64, arrivals: &[Arrival]) -> Expected {
    let mut open: Vec<Open> = Vec::new();
    let mut expected = Expected::default();
    let mut before = i64::MIN;
    for (place, arrival) in arrivals.iter().enumerate() {
        fire_sessions(query, &mut open, arrival.watermark, &mut expected);
        expected.note(before);
        before = arrival.watermark;
        if !passes(query.condition, &arrival.row) {
            continue;
        }
        let (key, row) = (key_of(query, &arrival.row), &arrival.row);
        let touches =
            |session: &Open| session.0 == key && session.1 <= row.ts + gap && session.2 >= row.ts;
        let (mut merged, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(touches);
        open = rest;
        merged.sort_by_key(|session| session.4);
        let mut session = (key, row.ts, row.ts + gap, Vec::new(), place);
        for (_, start, end, rows, first) in merged {
            (session.1, session.2) = (session.1.min(start), session.2.max(end));
            session.3.extend(rows);
            session.4 = session.4.min(first);
        }
        session.3.push(row.clone());
        if session.2 - 1 <= arrival.watermark {
            expected.late.push(arrival.clone());
        } else {
            open.push(session);
        }
    }
    fire_sessions(query, &mut open, i64::MAX, &mut expected);
    expected.note(before);
    expected
}

fn fire_sessions(query: &Query, open: &mut Vec<Open>, watermark: i64, expected: &mut Expected) {
    open.retain(|(key, start, end, rows, _)| {
        let fires = end - 1 <= watermark;
        if fires {
            expected.rows.push((
                "+I",
                [labels(*start, *end, key), results(&query.calls, &[], rows)].concat(),
            ));
        }
        !fires
    });
}

fn results(calls: &[Call], earlier: &[Row], rows: &[Row]) -> Vec<Cell> {
    calls.iter().map(|&call| result(call, earlier, rows)).collect()
}

fn passes(filter: Filter, row: &Row) -> bool {
    match filter {
        Filter::None => true,
        Filter::Positive => row.v.is_some_and(|v| v > 0),
        Filter::Known => row.s.is_some(),
        Filter::Either => row.v.is_some_and(|v| v < 0) || row.w.is_some_and(|w| w > 3),
    }
}

/// What a call takes of a row; for pairs a text that is the pair's own.
fn argument(call: Call, row: &Row) -> Cell {
    match call.function {
        Function::CountPairs if row.v.is_none() || row.s.is_none() => Cell::Null,
        Function::CountPairs => Cell::Text(format!("{:?}", (row.v, &row.s))),
        _ => row.cell(call.field),
    }
}

/// One aggregate over a group's rows, in the order of their arrival.
fn result(call: Call, earlier: &[Row], rows: &[Row]) -> Cell {
    if call.function == Function::CountRows {
        return Cell::Int(rows.iter().filter(|row| passes(call.filter, row)).count() as i64);
    }
    let values_of = |rows: &[Row]| {
        let rows = rows.iter().filter(|row| passes(call.filter, row));
        rows.map(|row| argument(call, row))
            .filter(|cell| *cell != Cell::Null)
            .collect::<Vec<Cell>>()
    };
    let mut values = values_of(rows);
    if call.distinct {
        let mut seen: BTreeSet<Cell> = values_of(earlier).into_iter().collect();
        values.retain(|value| seen.insert(value.clone()));
    }
    match call.function {
        Function::Count | Function::CountPairs => Cell::Int(values.len() as i64),
        _ if values.is_empty() => Cell::Null,
        Function::CountRows => unreachable!("returned above"),
        Function::Sum => sum(call.field, &values),
        Function::Avg => average(call.field, &values),
        Function::Min => {
            values.into_iter().reduce(|a, b| if less(&b, &a) { b } else { a }).unwrap()
        }
        Function::Max => {
            values.into_iter().reduce(|a, b| if less(&a, &b) { b } else { a }).unwrap()
        }
        Function::First => values[0].clone(),
        Function::Last => values[values.len() - 1].clone(),
        Function::ListAgg => {
            let texts = values.into_iter().map(|value| match value {
                Cell::Text(text) => text,
                _ => unreachable!("LISTAGG of strings"),
            });
            Cell::Text(texts.collect::<Vec<_>>().join("|"))
        }
    }
}

fn less(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Double(a), Cell::Double(b)) => f64::from_bits(*a) < f64::from_bits(*b),
        _ => a < b,
    }
}

/// INT and BIGINT wrap, as in Java; DOUBLE is exact and rounded once; DECIMAL never overflows here.
fn sum(field: Field, values: &[Cell]) -> Cell {
    let ints = || values.iter().map(int);
    match field {
        Field::V => {
            Cell::Int(ints().fold(0i32, |sum, value| sum.wrapping_add(value as i32)).into())
        }
        Field::W => Cell::Int(ints().fold(0i64, i64::wrapping_add)),
        Field::D => Cell::Double(exact(values).to_bits()),
        Field::M => Cell::Decimal(values.iter().map(unscaled).sum(), 2),
        Field::K | Field::S => unreachable!("SUM of numbers"),
    }
}

/// INT's sum is a BIGINT; the quotient is truncated. DECIMAL's has six digits, rounded half away from zero.
fn average(field: Field, values: &[Cell]) -> Cell {
    let count = values.len() as i64;
    match field {
        Field::V | Field::W => {
            Cell::Int(values.iter().map(int).fold(0i64, i64::wrapping_add) / count)
        }
        Field::D => Cell::Double((exact(values) / count as f64).to_bits()),
        Field::M => {
            let scaled = values.iter().map(unscaled).sum::<i128>() * 10_000;
            let count = i128::from(count);
            Cell::Decimal((2 * scaled + scaled.signum() * count) / (2 * count), 6)
        }
        Field::K | Field::S => unreachable!("AVG of numbers"),
    }
}

fn int(cell: &Cell) -> i64 {
    match cell {
        Cell::Int(value) => *value,
        _ => unreachable!("an integer column"),
    }
}

fn unscaled(cell: &Cell) -> i128 {
    match cell {
        Cell::Decimal(value, _) => *value,
        _ => unreachable!("a DECIMAL column"),
    }
}

/// The exact sum of multiples of 2^-20, rounded once.
fn exact(values: &[Cell]) -> f64 {
    let unit = f64::from(1 << 20);
    let units = values.iter().map(|value| match value {
        Cell::Double(bits) => (f64::from_bits(*bits) * unit) as i128,
        _ => unreachable!("a DOUBLE column"),
    });
    units.sum::<i128>() as f64 / unit
}
