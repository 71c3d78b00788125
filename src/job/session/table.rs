//! Tables of records: each column a closure over the record.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::batch::{self, DataType, Schema, TimeAttribute};
use crate::connector::Source;
use crate::expr::{Expr, call};
use crate::job::closure;
use crate::job::field::Field;
use crate::job::item::Item;
use crate::job::stream::{behind, record_column};
use crate::job::window::Span;
use crate::plan::Watermark;
use crate::sql::ProgramTable;
use crate::sys::archive::Record;

/// A table under construction.
pub(super) struct Draft {
    source: Arc<dyn Source>,
    physical: Vec<batch::Field>,
    fields: Vec<batch::Field>,
    columns: Vec<Expr>,
    watermark: Option<Watermark>,
    mistake: Option<String>,
}

impl Draft {
    pub(super) fn new<T: Record>(source: Arc<dyn Source>) -> Self {
        let (fields, columns) = (Vec::new(), Vec::new());
        Self { source, physical: T::fields(), fields, columns, watermark: None, mistake: None }
    }

    /// The table called `name`.
    pub(super) fn table(&self, name: &str) -> Result<ProgramTable, String> {
        if let Some(mistake) = &self.mistake {
            return Err(format!("the table '{name}' {mistake}"));
        }
        Ok(ProgramTable {
            source: Arc::clone(&self.source),
            physical: Schema::new(self.physical.clone()),
            declared: Schema::new(self.fields.clone()),
            columns: self.columns.clone(),
            watermark: self.watermark.clone(),
        })
    }

    fn add(&mut self, name: &str, column: Expr, time_attribute: Option<TimeAttribute>) {
        let (name, data_type, nullable) = (name.to_owned(), column.data_type, column.nullable);
        self.fields.push(batch::Field { name, data_type, nullable, time_attribute });
        self.columns.push(column);
    }
}

/// Gives columns to a table of a [`Session`](super::Session).
///
/// ```
/// use rkyv::{Archive, Serialize};
/// use tidemill::{Records, Session, Span};
///
/// #[derive(Archive, Serialize)]
/// struct Visit {
///     at_ms: i64,
///     url: String,
///     referrer: Option<u32>,
/// }
///
/// let visits = Records::new([Visit { at_ms: 0, url: "/".into(), referrer: None }]);
/// Session::new()
///     .table("visits", visits)
///     .text("url", |visit| &visit.url)               // url STRING NOT NULL
///     .column("referrer", |visit| visit.referrer)     // referrer BIGINT
///     .watermark("ts", |visit| visit.at_ms, Span::seconds(5)); // ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND
/// ```
pub struct Table<'s, T> {
    draft: &'s mut Draft,
    _type: PhantomData<fn(T)>,
}

impl<T> std::fmt::Debug for Table<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("columns", &self.draft.fields).finish()
    }
}

impl<'s, T: Record> Table<'s, T> {
    pub(super) fn of(draft: &'s mut Draft) -> Self {
        Self { draft, _type: PhantomData }
    }

    /// A column of what `f` returns. Its SQL type is that of the Rust type: `i64` is BIGINT NOT NULL, `Option<String>` STRING, and so
    /// on ([`Column`](crate::job::Column)).
    pub fn column<X: Field>(
        self,
        name: &str,
        f: impl Fn(&T::Archived) -> X + Send + Sync + 'static,
    ) -> Self {
        let column = closure::field::<T, X>(name, &record_column(), f);
        self.draft.add(name, column, None);
        self
    }

    /// A STRING column of the texts that `f` points at, which are copied once.
    pub fn text(
        self,
        name: &str,
        f: impl for<'a> Fn(&'a T::Archived) -> &'a str + Send + Sync + 'static,
    ) -> Self {
        let column = closure::text::<T>(name, &record_column(), f);
        self.draft.add(name, column, None);
        self
    }

    /// Event time: a TIMESTAMP(3) column of milliseconds since 1970, and a watermark that is at least `lag` before each record's.
    /// A table has one.
    pub fn watermark<X: Field<Column = i64>>(
        self,
        name: &str,
        at_ms: impl Fn(&T::Archived) -> X + Send + Sync + 'static,
        lag: impl Into<Span>,
    ) -> Self {
        if self.draft.watermark.is_some() {
            self.draft.mistake = Some("has two watermarks".into());
        }
        self.draft.watermark = Some(behind(self.draft.columns.len(), lag.into()));
        let at = closure::field::<T, X>(name, &record_column(), at_ms);
        let at = Expr { data_type: DataType::Timestamp(3), ..at };
        self.draft.add(name, at, Some(TimeAttribute::Rowtime));
        self
    }

    /// Processing time: a column of when each record is read, as PROCTIME() has it.
    pub fn processing_time(self, name: &str) -> Self {
        let now = call("PROCTIME", Vec::new()).expect("the function exists");
        self.draft.add(name, now, Some(TimeAttribute::Proctime));
        self
    }
}
