//! The owner of keys whose rows a function takes, one by one, and may keep values of.
//!
//! Rows are taken as they come where a key's rows come in the order of the sequence: from tables, and from windows whose key
//! is part of the function's, so that one shard has fired them. Others wait for the end of the chunk and are put in order:
//! results of windows by their time and, at the same time, by their bytes; what another function has yielded by the row of the
//! chunk that it comes from. Who fired or yielded them when then does not show.
//!
//! # Invariants
//!
//! 1. The function sees the rows of a key in an order that depends on the input alone; what it yields leaves in that order.
//! 2. A window's values are not dropped before its last row has been taken; a row behind that is late, dropped and counted.
//! 3. What the function yields arrives when the row it comes from did. Of results of windows that is the instant before
//!    their window's last, at which no window that may hold them has fired.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::ScalarBuffer;
use chrono_tz::Tz;

use super::moving::{Moved, Standing};
use super::process_state::{KeyedValues, Place};
use super::{Census, Data, Output, Payload, Receiver, WATERMARK_START};
use crate::batch::text::write_timestamp;
use crate::batch::{BATCH_ROWS_MAX, Batch, DataType, Keys, RowKind};
use crate::error::{JobError, StateError};
use crate::expr::{EvalContext, Evaluator, Expr, cast};
use crate::metrics::LateRows;
use crate::plan::ProcessWindow;
use crate::plan::function::{Context, Process, Row, Rows, unwound};
use crate::state::{Pages, Saved, Sealed};

/// A function and how its rows come.
#[derive(Clone)]
pub struct ProcessPlan {
    /// The types of the key.
    pub key_types: Vec<DataType>,
    /// How many columns a row has.
    pub column_count: usize,
    /// Which window a row is in.
    pub window: Option<ProcessWindow>,
    /// Where rows come from.
    pub arrival: Arrival,
    /// The function.
    pub function: Arc<dyn Process>,
}

/// How rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// From tables, each with the watermark at its arrival.
    Rows,
    /// From windows that fire once, a key's rows in the order of their windows; the column of `window_time`.
    Results(usize),
    /// From windows that fire once, in no order; the column of `window_time`.
    Mixed(usize),
    /// From a function over rows of tables, by the row of its chunk that each comes from.
    Yielded,
    /// From a function over results of windows, by arrival.
    YieldedOfResults,
    /// From windows of rows, the results of a key in order; the column of `window_time`. They are no older than their rows, and come
    /// when a row does: none is late, and none is the last of a window.
    Fired(usize),
    /// From windows that fire more than once, the rows of a key and a window in order; the column of `window_time`.
    Changes(usize),
}

impl fmt::Debug for ProcessPlan {
    /// All that must be the same for state to be gone on with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key_types, column_count, window, arrival, function } = self;
        let (uid, version, schema) = (function.uid(), function.version(), function.schema());
        write!(
            f,
            "Process({uid:?}, {version}, {key_types:?}, {column_count}, {window:?}, {arrival:?}, {schema})"
        )
    }
}

impl ProcessPlan {
    /// Whether rows are taken when they come, not at the chunk's end.
    pub fn is_by_row(&self) -> bool {
        !matches!(self.arrival, Arrival::Mixed(_) | Arrival::Yielded | Arrival::YieldedOfResults)
    }

    /// The column that says when a row is there, if it is the result of a window.
    fn time(&self) -> Option<usize> {
        match self.arrival {
            Arrival::Rows | Arrival::Yielded | Arrival::YieldedOfResults => None,
            Arrival::Results(time)
            | Arrival::Mixed(time)
            | Arrival::Fired(time)
            | Arrival::Changes(time) => Some(time),
        }
    }
}

const KEYLESS: &str = "the windows fire more than once, and in which order windows do is not settled: only values of windows can be \
    kept";
const WINDOWLESS: &str =
    "windows of rows end with their rows, not with time: only values of the key can be kept";

/// The receiving half of a function with state.
pub struct ProcessOwner {
    plan: ProcessPlan,
    values: KeyedValues,
    /// Rows that wait for the chunk's end.
    held: Vec<Rowset>,
    work: Option<Work>,
    rows: Rows,
    /// When each of `rows` arrived.
    arrival_ms: Vec<i64>,
    /// Which row of its chunk each of `rows` comes from.
    sequence: Vec<u64>,
    late: LateRows,
    watermark_ms: i64,
}

/// Rows that have come together.
struct Rowset {
    keys: Keys,
    columns: Vec<ArrayRef>,
    kinds: Option<ArrayRef>,
    sequence: Option<ArrayRef>,
    arrival_ms: Vec<i64>,
    now_ms: Vec<i64>,
}

/// Rows that are being taken.
struct Work {
    sets: Vec<Rowset>,
    /// Set and row.
    order: Vec<(u32, u32)>,
    next: usize,
}

/// What there is to be known of a row.
struct Taken<'a> {
    row: Row<'a>,
    key: &'a [u8],
    place: Option<Place>,
    watermark_ms: i64,
    now_ms: i64,
    /// When what is yielded of it arrives, and which row of its chunk it comes from, if anybody knows.
    arrival: Option<(i64, u64)>,
}

impl ProcessOwner {
    /// An owner of keys of the function's rows.
    pub fn new(plan: &ProcessPlan, pages: Pages) -> Self {
        let mut values =
            KeyedValues::new(pages, plan.window.map_or(0, |window| window.lateness_ms));
        match plan.arrival {
            Arrival::Changes(_) => values.keyless = Some(KEYLESS),
            Arrival::Fired(_) => values.windowless = Some(WINDOWLESS),
            _ => {}
        }
        Self {
            values,
            held: Vec::new(),
            work: None,
            rows: Rows::new(plan.function.schema().clone()),
            arrival_ms: Vec::new(),
            sequence: Vec::new(),
            late: LateRows::default(),
            watermark_ms: WATERMARK_START,
            plan: plan.clone(),
        }
    }

    /// Goes on from what [`Receiver::seal`] saved.
    #[must_use]
    pub fn restored(mut self, saved: &mut Saved<'_>) -> Self {
        saved.words(Census::WORDS);
        self.watermark_ms = saved.signed();
        let late_words = saved.word() as usize;
        self.late = LateRows::from_words(saved.words(late_words));
        self.values.restore(saved);
        self
    }

    /// Takes rows until there is a batch of what they yield, or none is left.
    fn work(&mut self, work: &mut Work) {
        while work.next < work.order.len() && self.rows.count() < BATCH_ROWS_MAX {
            // One guard for many rows: `next` says which one it was.
            let taken = catch_unwind(AssertUnwindSafe(|| self.take_some(work)));
            let message = match taken {
                Ok(Ok(())) => continue,
                Ok(Err(message)) => message,
                Err(payload) if payload.is::<StateError>() => resume_unwind(payload),
                Err(payload) => unwound(&*payload),
            };
            resume_unwind(Box::new(self.failure(work, message)));
        }
    }

    fn take_some(&mut self, work: &mut Work) -> Result<(), String> {
        while let Some(&(set, row)) = work.order.get(work.next) {
            let taken = self.plan.taken(&work.sets[set as usize], row as usize);
            if !self.is_late(&taken) {
                self.call(&taken)?;
            }
            work.next += 1;
            if self.rows.count() >= BATCH_ROWS_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Whether a row's window is over; counts it then.
    fn is_late(&mut self, taken: &Taken<'_>) -> bool {
        let (Some(window), Some(place)) = (self.plan.window, taken.place) else { return false };
        let over_ms = place.time_ms.saturating_add(window.lateness_ms);
        // A result comes when the watermark is at its window's last instant, or, of windows that fire late, behind it.
        let late = self.plan.time().is_none() && over_ms <= taken.watermark_ms;
        if late {
            self.late.record(place.time_ms, taken.watermark_ms);
        }
        late
    }

    fn call(&mut self, taken: &Taken<'_>) -> Result<(), String> {
        self.values.enter(taken.key, taken.place);
        let mut context = Context {
            watermark_ms: taken.watermark_ms,
            now_ms: taken.now_ms,
            key: taken.key,
            window: taken.place.map(|place| (place.start_ms, place.end_ms)),
            values: &mut self.values,
        };
        self.plan.function.process(taken.row, &mut context, &mut self.rows)?;
        self.rows.check_whole();
        if let Some((arrival_ms, sequence)) = taken.arrival {
            self.arrival_ms.resize(self.rows.count(), arrival_ms);
            self.sequence.resize(self.rows.count(), sequence);
        }
        Ok(())
    }

    /// What the function has yielded, if it has.
    fn batch(&mut self) -> Option<Batch> {
        if self.rows.count() == 0 {
            return None;
        }
        let arrival_ms = std::mem::take(&mut self.arrival_ms);
        let sequence = std::mem::take(&mut self.sequence);
        let mut batch = self.rows.finish().unwrap_or_else(|message| {
            let function = self.plan.function.name().to_owned();
            let doing = "yielding rows".to_owned();
            resume_unwind(Box::new(JobError::Function { function, doing, message }))
        });
        // All rows know, or none does: in rows of two kinds of firings nothing is yielded together.
        if arrival_ms.len() == batch.rows {
            batch.arrival_ms = Some(arrival_ms.into());
            batch.sequence = Some(ScalarBuffer::from(sequence));
        }
        Some(batch)
    }

    /// The failure of the row that was being taken.
    fn failure(&self, work: &Work, message: String) -> JobError {
        let (set, row) = work.order[work.next];
        let taken = self.plan.taken(&work.sets[set as usize], row as usize);
        let mut doing = format!("on key {}", key_text(&self.plan.key_types, taken.key));
        if let Some(Place { start_ms, end_ms, .. }) = taken.place {
            doing += &format!(", window {} to {}", time_text(start_ms), time_text(end_ms));
        } else if taken.watermark_ms != WATERMARK_START {
            doing += &format!(", at watermark {}", time_text(taken.watermark_ms));
        }
        JobError::Function { function: self.plan.function.name().to_owned(), doing, message }
    }
}

impl ProcessPlan {
    fn rowset(&self, payload: Payload) -> Rowset {
        let Data::Rows(mut columns) = payload.data else { unreachable!("functions receive rows") };
        let (mut kinds, mut sequence) = (None, None);
        for column in columns.drain(self.column_count..) {
            match column.as_primitive_opt::<Int8Type>().is_some() {
                true => kinds = Some(column),
                false => sequence = Some(column),
            }
        }
        let (keys, arrival_ms, now_ms) = (payload.keys, payload.arrival_ms, payload.ends_ms);
        Rowset { keys, columns, kinds, sequence, arrival_ms, now_ms }
    }

    fn taken<'a>(&self, set: &'a Rowset, index: usize) -> Taken<'a> {
        let time = |column: usize| set.columns[column].as_primitive::<Int64Type>().value(index);
        let kind = set.kinds.as_ref().map_or(RowKind::Insert, |kinds| {
            KINDS[kinds.as_primitive::<Int8Type>().value(index) as usize]
        });
        let place = self.window.map(|window| Place {
            start_ms: time(window.start),
            end_ms: time(window.end),
            time_ms: time(window.time),
        });
        Taken {
            row: Row { columns: &set.columns, index, kind },
            key: set.keys.get(index),
            place,
            watermark_ms: self.time().map_or(set.arrival_ms[index], time),
            now_ms: set.now_ms[index],
            arrival: self.arrival_of(set, index),
        }
    }

    /// When what is yielded of a row arrives, and which row of its chunk it comes from.
    fn arrival_of(&self, set: &Rowset, index: usize) -> Option<(i64, u64)> {
        let arrival_ms = match self.arrival {
            Arrival::Rows | Arrival::Yielded | Arrival::YieldedOfResults => set.arrival_ms[index],
            Arrival::Results(time) | Arrival::Mixed(time) => {
                let times = set.columns[time].as_primitive::<Int64Type>();
                times.value(index).saturating_sub(1)
            }
            // A firing by a row says when that came; one by time does not, and what it gives arrives when its chunk does.
            Arrival::Fired(_) if set.sequence.is_some() => set.arrival_ms[index],
            Arrival::Fired(_) | Arrival::Changes(_) => return None,
        };
        Some((arrival_ms, set.sequence(index)))
    }

    /// All rows of `sets`: as they came, or by time and bytes.
    fn order(&self, sets: &[Rowset]) -> Vec<(u32, u32)> {
        let rows = |(set, rows): (usize, &Rowset)| {
            (0..rows.keys.count() as u32).map(move |row| (set as u32, row))
        };
        let mut order: Vec<(u32, u32)> = sets.iter().enumerate().flat_map(rows).collect();
        let set = |set: u32| &sets[set as usize];
        match self.arrival {
            Arrival::Rows | Arrival::Results(_) | Arrival::Fired(_) | Arrival::Changes(_) => {}
            // Rows that come from one row come from one shard, in order.
            Arrival::Yielded => order.sort_by_key(|&(at, row)| set(at).sequence(row as usize)),
            Arrival::YieldedOfResults => {
                let whole = whole_rows(sets);
                order.sort_by_cached_key(|&(at, row)| {
                    (set(at).arrival_ms[row as usize], whole[at as usize].get(row as usize))
                });
            }
            Arrival::Mixed(time) => {
                let whole = whole_rows(sets);
                order.sort_by_cached_key(|&(at, row)| {
                    let times = set(at).columns[time].as_primitive::<Int64Type>();
                    (times.value(row as usize), whole[at as usize].get(row as usize))
                });
            }
        }
        order
    }
}

impl Rowset {
    /// Which row of its chunk a row comes from; 0 where nobody needs to know.
    fn sequence(&self, row: usize) -> u64 {
        let sequence = self.sequence.as_ref();
        sequence.map_or(0, |sequence| sequence.as_primitive::<UInt64Type>().value(row))
    }
}

/// All rows as bytes, kinds included.
fn whole_rows(sets: &[Rowset]) -> Vec<Keys> {
    let whole = |set: &Rowset| {
        let mut columns = set.columns.clone();
        columns.extend(set.kinds.clone());
        let mut rows = Keys::default();
        rows.encode(&columns, set.keys.count());
        rows
    };
    sets.iter().map(whole).collect()
}

/// By number.
const KINDS: [RowKind; 4] =
    [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];

impl Receiver for ProcessOwner {
    fn receive(&mut self, payload: Payload) {
        assert!(self.work.is_none(), "what came before was not read out");
        let set = self.plan.rowset(payload);
        self.held.push(set);
        if self.plan.is_by_row() {
            self.begin();
        }
        self.values.drop_some(self.watermark_ms);
    }

    fn advance(&mut self, watermark_ms: i64, _now_ms: i64) {
        assert!(self.work.is_none(), "what came before was not read out");
        self.begin();
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        if self.work.is_none() {
            self.values.drop_some(self.watermark_ms);
        }
    }

    fn next_output(&mut self) -> Option<Output> {
        if let Some(mut work) = self.work.take() {
            self.work(&mut work);
            if work.next < work.order.len() {
                self.work = Some(work);
            } else {
                self.values.drop_some(self.watermark_ms);
            }
        }
        self.batch().map(Output::Rows)
    }

    fn late_rows(&self) -> Option<&LateRows> {
        Some(&self.late)
    }

    fn fired_count(&self) -> u64 {
        0
    }

    fn state_bytes(&self) -> usize {
        self.values.pages.state_bytes()
    }

    fn seal(&mut self) -> Sealed {
        assert!(self.work.is_none() && self.held.is_empty() && self.rows.count() == 0);
        let groups = self.values.count() as u64;
        let mut header = Census { windows: None, groups }.header();
        header.push(self.watermark_ms.cast_unsigned());
        let late = self.late.to_words();
        header.push(late.len() as u64);
        header.extend(late);
        self.values.seal(header)
    }

    fn acknowledge(&mut self) {
        self.values.pages.acknowledge();
    }

    fn give(&mut self, to: &mut dyn FnMut(Moved)) {
        self.values.give(to);
    }

    fn adopt(&mut self, moved: Moved) {
        self.values.adopt(&moved);
    }

    fn standing(&self) -> Standing {
        Standing { watermark_ms: self.watermark_ms, late: self.late.clone(), ..Standing::default() }
    }

    fn stand(&mut self, standing: &Standing) {
        self.watermark_ms = standing.watermark_ms;
        self.late.add(&standing.late);
    }
}

impl ProcessOwner {
    /// Begins with the rows that are held.
    fn begin(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let sets = std::mem::take(&mut self.held);
        let order = self.plan.order(&sets);
        self.work = Some(Work { sets, order, next: 0 });
    }
}

fn time_text(ms: i64) -> String {
    let mut text = Vec::new();
    write_timestamp(&mut text, ms, 3, b' ');
    String::from_utf8_lossy(&text).into_owned()
}

/// A key for people, as CAST to STRING writes its columns.
fn key_text(types: &[DataType], key: &[u8]) -> String {
    let columns = Keys::decode(types, std::iter::once(key));
    let batch = Batch::new(columns, 1);
    let texts: Vec<String> =
        (0..types.len()).map(|column| value_text(types[column], column, &batch)).collect();
    format!("({})", texts.join(", "))
}

fn value_text(data_type: DataType, column: usize, batch: &Batch) -> String {
    let values = &batch.columns[column];
    if values.is_null(0) {
        return "NULL".into();
    }
    if data_type.is_binary() {
        let bytes = values.as_binary_view().value(0);
        return format!(
            "x'{}'",
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        );
    }
    let context = EvalContext { time_zone: Tz::UTC, now_ms: 0 };
    let text = cast(Expr::column(column, data_type, true), DataType::STRING).ok();
    let text = text.and_then(|text| Evaluator::new(&text, Tz::UTC).eval(batch, &context).ok());
    text.map_or_else(|| "?".into(), |text| text.as_string_view().value(0).to_owned())
}
