//! The functions under test.

use arrow_array::builder::{Int64Builder, StringViewBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringViewArray};
use std::sync::Arc;

use tidemill::batch::{Batch, DataType, Field, RowKind, Schema, TimeAttribute};
use tidemill::error::EvalError;
use tidemill::plan::function::{Apply, Context, Process, Row, Rows, Scope};

/// The columns of most outputs.
pub(crate) fn folded() -> Schema {
    Schema::new(vec![
        Field::new("k", DataType::STRING),
        Field::new("a", DataType::BigInt),
        Field::new("b", DataType::BigInt).not_null(),
        Field::new("fold", DataType::BigInt),
    ])
}

fn text(row: &Row<'_>, column: usize) -> String {
    row.columns[column].as_string_view().value(row.index).to_owned()
}

fn number(row: &Row<'_>, column: usize) -> i64 {
    row.columns[column].as_primitive::<Int64Type>().value(row.index)
}

fn yields(out: &mut Rows, k: &str, numbers: [i64; 3], kind: RowKind) {
    out.column::<StringViewBuilder>(0).append_value(k);
    for (column, number) in numbers.into_iter().enumerate() {
        out.column::<Int64Builder>(column + 1).append_value(number);
    }
    out.end_row(kind);
}

/// What the fold of a key is after one more row.
pub(crate) fn next_fold(fold: i64, watermark_ms: i64, a: i64, b: i64, kind: RowKind) -> i64 {
    let terms = [watermark_ms, a, b, kind as i64];
    terms.iter().fold(fold, |fold, &term| fold.wrapping_mul(31).wrapping_add(term))
}

/// How often a row is yielded.
pub(crate) fn times(b: i64) -> i64 {
    b.rem_euclid(3)
}

/// Folds a key's rows in a way that shows their order, and yields each row no, one or two times with what it came to.
#[derive(Debug)]
pub(crate) struct Fold {
    uid: &'static str,
    scope: Scope,
    schema: Schema,
    pub(crate) version: u32,
}

impl Fold {
    pub(crate) fn new(uid: &'static str, scope: Scope) -> Self {
        Self { uid, scope, schema: folded(), version: 1 }
    }
}

impl Process for Fold {
    fn name(&self) -> &str {
        "fold"
    }

    fn uid(&self) -> &str {
        self.uid
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn process(
        &self,
        row: Row<'_>,
        context: &mut Context<'_>,
        out: &mut Rows,
    ) -> Result<(), String> {
        let held = context.get(self.scope, "fold").map_or(0, |bytes| {
            assert_eq!(bytes.as_ptr() as usize % 16, 0, "values are aligned");
            i64::from_le_bytes(bytes[..8].try_into().unwrap())
        });
        let (k, a, b) = (text(&row, 0), number(&row, 1), number(&row, 2));
        let fold = next_fold(held, context.watermark_ms, a, b, row.kind);
        // Of many lengths, so that values move from block to block.
        let mut bytes = fold.to_le_bytes().to_vec();
        bytes.resize(8 + fold.rem_euclid(100) as usize, 7);
        context.set(self.scope, "fold", &bytes);
        for _ in 0..times(b) {
            yields(out, &k, [a, b, fold], row.kind);
        }
        Ok(())
    }
}

/// The two highest numbers of each key and window: yields a row that is one of them when it comes.
#[derive(Debug)]
pub(crate) struct Best {
    schema: Schema,
}

impl Best {
    pub(crate) fn new() -> Self {
        Self { schema: folded() }
    }
}

impl Process for Best {
    fn name(&self) -> &str {
        "best"
    }

    fn uid(&self) -> &str {
        "best of a window"
    }

    fn version(&self) -> u32 {
        1
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn process(
        &self,
        row: Row<'_>,
        context: &mut Context<'_>,
        out: &mut Rows,
    ) -> Result<(), String> {
        let (k, v, w) = (text(&row, 0), number(&row, 1), number(&row, 2));
        let held = context.get(Scope::Window, "best").unwrap_or_default();
        let mut best: Vec<i64> =
            held.chunks(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect();
        best.push(v);
        best.sort_by(|a, b| b.cmp(a));
        best.truncate(2);
        if !best.contains(&v) {
            return Ok(());
        }
        let bytes: Vec<u8> = best.iter().flat_map(|value| value.to_le_bytes()).collect();
        // The name holds nothing for a while now and then.
        match v {
            0 => context.clear(Scope::Window, "best"),
            _ => context.set(Scope::Window, "best", &bytes),
        }
        let start = context.window.ok_or("there is a window")?.0;
        yields(out, &k, [v, w, start], RowKind::Insert);
        Ok(())
    }
}

/// Lets the first row of each key and number through, and again after a row that makes it forget: a name for each number.
#[derive(Debug)]
pub(crate) struct First {
    uid: &'static str,
    schema: Schema,
    /// The column of the time that goes on.
    time: usize,
}

impl First {
    pub(crate) fn new() -> Self {
        Self { uid: "first", schema: timed(), time: 3 }
    }

    pub(crate) fn over_windows() -> Self {
        Self { uid: "first window", schema: timed(), time: 5 }
    }
}

/// Key, number, and a time that windows go by.
fn timed() -> Schema {
    Schema::new(vec![
        Field::new("k", DataType::STRING),
        Field::new("v", DataType::BigInt),
        Field::new("ts", DataType::Timestamp(3)).not_null().time_attribute(TimeAttribute::Rowtime),
    ])
}

impl Process for First {
    fn name(&self) -> &str {
        "first"
    }

    fn uid(&self) -> &str {
        self.uid
    }

    fn version(&self) -> u32 {
        1
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn process(
        &self,
        row: Row<'_>,
        context: &mut Context<'_>,
        out: &mut Rows,
    ) -> Result<(), String> {
        let (k, v, w) = (text(&row, 0), number(&row, 1), number(&row, 2));
        let name = format!("seen {v}");
        if w % 5 == 0 {
            context.clear(Scope::Key, &name);
        }
        if context.get(Scope::Key, &name).is_none() {
            context.set(Scope::Key, &name, b"");
            out.column::<StringViewBuilder>(0).append_value(k);
            out.column::<Int64Builder>(1).append_value(v);
            out.column::<Int64Builder>(2).append_value(number(&row, self.time));
            out.end_row(RowKind::Insert);
        }
        Ok(())
    }
}

/// Each row as often as [`times`] of its number says.
#[derive(Debug)]
pub(crate) struct Repeat {
    schema: Schema,
}

impl Repeat {
    pub(crate) fn new() -> Self {
        let fields = ["v", "w"].map(|name| Field::new(name, DataType::BigInt));
        let mut columns = vec![Field::new("k", DataType::STRING)];
        columns.extend(fields);
        Self { schema: Schema::new(columns) }
    }
}

impl Apply for Repeat {
    fn name(&self) -> &str {
        "repeat"
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn apply(&self, batch: &Batch) -> Result<(Batch, Vec<u32>), EvalError> {
        let texts = batch.columns[0].as_string_view();
        let numbers = [1, 2].map(|column| batch.columns[column].as_primitive::<Int64Type>());
        let mut rows = Vec::new();
        for row in 0..batch.rows {
            for _ in 0..times(numbers[1].value(row)) {
                rows.push(row as u32);
            }
        }
        let texts = rows.iter().map(|&row| Some(texts.value(row as usize)));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(texts.collect::<StringViewArray>())];
        for numbers in numbers {
            let picked = rows.iter().map(|&row| numbers.value(row as usize));
            columns.push(Arc::new(Int64Array::from_iter_values(picked)));
        }
        assert!(columns.iter().all(|column| column.len() == rows.len()));
        Ok((Batch::new(columns, rows.len()), rows))
    }
}
