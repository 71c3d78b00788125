//! Functions in Rust that a plan calls: [`Process`], which keeps state by key, and [`Apply`], which keeps none.
//!
//! Both work on columns. The typed library wraps closures over records into them; nothing here knows of types but SQL's.
//!
//! # Invariants
//!
//! 1. A call's outcome follows from its row, its key's values and its [`Context`] alone. The rows of a key come in an order that
//!    depends neither on the number of shards nor on where batches and chunks end.
//! 2. Both may panic: that ends the job with an error that names the function, and nothing else.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;

use arrow_array::ArrayRef;
use arrow_array::builder::{ArrayBuilder, make_builder};

use crate::batch::{BATCH_ROWS_MAX, Batch, DataType, RowKind, Schema};
use crate::error::EvalError;

/// A function that is called for each row where the row's key lives, and keeps named values of the key and of its windows.
pub trait Process: Send + Sync + fmt::Debug {
    /// What people call it.
    fn name(&self) -> &str;
    /// By what its state is known again in another build of the program; unique in a plan.
    fn uid(&self) -> &str;
    /// Goes up when what the values mean changes: state of another version is refused.
    fn version(&self) -> u32;
    /// The columns of what it yields.
    fn schema(&self) -> &Schema;
    /// Takes a row. What it yields is written to `out`, column by column, each row ended with [`Rows::end_row`].
    ///
    /// # Errors
    ///
    /// What is wrong, for people: it ends the job.
    fn process(
        &self,
        row: Row<'_>,
        context: &mut Context<'_>,
        out: &mut Rows,
    ) -> Result<(), String>;
}

/// A function from rows to rows that keeps nothing: each row on its own, in no, one or several rows.
pub trait Apply: Send + Sync + fmt::Debug {
    /// What people call it.
    fn name(&self) -> &str;
    /// The columns of what it yields.
    fn schema(&self) -> &Schema;
    /// The rows that a batch gives, and for each of them which row of the batch it comes from, ascending; that row's kind and
    /// arrival become its own. A row must give the same in every batch.
    ///
    /// # Errors
    ///
    /// Of the first row that failed.
    fn apply(&self, batch: &Batch) -> Result<(Batch, Vec<u32>), EvalError>;
}

/// The columns in which the input of a [`Process`] says which window a row is in, and how long its values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessWindow {
    /// `window_start`.
    pub start: usize,
    /// `window_end`.
    pub end: usize,
    /// `window_time`: the window's last instant, in the time of watermarks.
    pub time: usize,
    /// Its values are dropped when the watermark reaches `window_time` and this.
    pub lateness_ms: i64,
}

/// A row of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The batch's columns.
    pub columns: &'a [ArrayRef],
    /// Which row it is.
    pub index: usize,
    /// What it does.
    pub kind: RowKind,
}

/// Whose values are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The row's key's, kept for ever.
    Key,
    /// The row's key's in the row's window, dropped when the window is over.
    Window,
}

/// Where values are kept; of the key, and the window, whose row is being processed.
pub trait Values {
    /// As [`Context::get`].
    fn get(&self, scope: Scope, name: &str) -> Option<&[u8]>;
    /// As [`Context::set`].
    fn set(&mut self, scope: Scope, name: &str, value: &[u8]);
    /// As [`Context::clear`].
    fn clear(&mut self, scope: Scope, name: &str);
}

/// What a [`Process`] knows besides the row, and where it keeps values.
pub struct Context<'a> {
    /// Event time when the row arrived, before the row itself raised it. Of a window's result: the window's last instant, whatever
    /// made it fire.
    pub watermark_ms: i64,
    /// Processing time.
    pub now_ms: i64,
    /// The key's columns, as [`crate::batch::Keys`] encodes them.
    pub key: &'a [u8],
    /// The row's window, from start to end.
    pub window: Option<(i64, i64)>,
    /// Where values are kept.
    pub values: &'a mut dyn Values,
}

impl Context<'_> {
    /// The value of that name, aligned to 16 bytes, as it lies in the state.
    pub fn get(&self, scope: Scope, name: &str) -> Option<&[u8]> {
        self.values.get(scope, name)
    }

    /// Keeps a value under that name.
    pub fn set(&mut self, scope: Scope, name: &str, value: &[u8]) {
        self.values.set(scope, name, value);
    }

    /// Forgets the value of that name.
    pub fn clear(&mut self, scope: Scope, name: &str) {
        self.values.clear(scope, name);
    }
}

/// Rows in the making, as columns.
pub struct Rows {
    schema: Schema,
    builders: Vec<Box<dyn ArrayBuilder>>,
    kinds: Vec<RowKind>,
}

impl Rows {
    /// No rows of these columns.
    pub fn new(schema: Schema) -> Self {
        let builder = |data_type: DataType| make_builder(&data_type.arrow(), BATCH_ROWS_MAX);
        let builders = schema.fields.iter().map(|field| builder(field.data_type));
        Self { builders: builders.collect(), kinds: Vec::new(), schema }
    }

    /// The builder of a column, of the Arrow type that [`crate::batch::DataType`] gives for its field.
    ///
    /// # Panics
    ///
    /// If there is no such column, or `B` is not the builder of its type.
    pub fn column<B: ArrayBuilder>(&mut self, column: usize) -> &mut B {
        let builder = self.builders[column].as_any_mut().downcast_mut::<B>();
        builder.unwrap_or_else(|| {
            let field = &self.schema.fields[column];
            refuse(format!(
                "column {} is {}, which that does not build",
                field.name, field.data_type
            ))
        })
    }

    /// Ends a row: every column has been given its value.
    ///
    /// # Panics
    ///
    /// If one has not, or has been given two.
    pub fn end_row(&mut self, kind: RowKind) {
        self.kinds.push(kind);
        self.check_whole();
    }

    /// How many rows.
    pub fn count(&self) -> usize {
        self.kinds.len()
    }

    /// Refuses values of a row that was not ended.
    pub(crate) fn check_whole(&self) {
        for (builder, field) in self.builders.iter().zip(self.schema.fields.iter()) {
            let (values, rows) = (builder.len(), self.kinds.len());
            if values != rows {
                refuse(format!("column {} was given {values} values for {rows} rows", field.name));
            }
        }
    }

    /// The rows so far, which are gone then.
    ///
    /// # Errors
    ///
    /// A NULL in a column that has none.
    pub(crate) fn finish(&mut self) -> Result<Batch, String> {
        let columns: Vec<ArrayRef> =
            self.builders.iter_mut().map(|builder| builder.finish()).collect();
        let kinds = std::mem::take(&mut self.kinds);
        let mut columns_of = columns.iter().zip(self.schema.fields.iter());
        let null = columns_of.find(|(column, field)| !field.nullable && column.null_count() > 0);
        if let Some((_, field)) = null {
            return Err(format!("column {} is NOT NULL, and was given NULL", field.name));
        }
        let batch = Batch::new(columns, kinds.len());
        Ok(match kinds.iter().all(|&kind| kind == RowKind::Insert) {
            true => batch,
            false => batch.with_kinds(kinds.into()),
        })
    }
}

/// A mistake of a function that is found on its way: it unwinds as a panic would, without the noise of one.
struct Misuse(String);

/// Ends the call of a function that does what cannot be done.
pub(crate) fn refuse(message: String) -> ! {
    resume_unwind(Box::new(Misuse(message)))
}

/// Why a function unwound.
pub(crate) fn unwound(payload: &(dyn Any + Send)) -> String {
    if let Some(Misuse(message)) = payload.downcast_ref() {
        return message.clone();
    }
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.map_or_else(|| "it panicked".into(), |text| format!("it panicked: {text}"))
}
