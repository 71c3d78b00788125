//! Functions over all items of a window, with state; and functions from an item to several.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::UInt32Array;
use arrow_array::builder::{BinaryViewBuilder, Int64Builder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::field::Row as KeyRow;
use super::item::{Item, Reader};
use crate::agg::elements;
use crate::batch::{Batch, RowKind, Schema, take_columns};
use crate::error::EvalError;
use crate::plan::function::{Apply, Context, Process, Row, Rows, Scope};
use crate::sys::archive::{ArchiveBuilder, Owned, Record, access, as_views, to_bytes, to_owned};

/// A function that is given all items of a key in a window when the window fires, in the order of their arrival.
///
/// It may keep values: of the key for ever, of the window until that is over. They are part of the job's state, so they survive a
/// crash; uid and version tell whose they are, and state of another version is refused by name. Where a window fires early too, it is
/// called each time, and values of the key cannot be kept.
///
/// ```
/// use rkyv::{Archive, Serialize};
/// use tidemill::{Items, Job, Options, Output, ProcessContext, ProcessWindow, Records, Span, Window};
///
/// #[derive(Archive, Serialize)]
/// struct Click {
///     at_ms: i64,
///     device: u64,
///     page: u32,
/// }
///
/// /// The path through the pages in each visit, and the how manieth visit of the device it is.
/// struct Visits;
///
/// impl ProcessWindow<Click, u64> for Visits {
///     type Output = (u64, i64, Vec<u32>);
///
///     fn uid(&self) -> &str {
///         "visits"
///     }
///
///     fn process(
///         &self,
///         clicks: Items<'_, Click>,
///         context: &mut ProcessContext<'_, '_, u64>,
///         out: &mut Output<'_, Self::Output>,
///     ) -> Result<(), String> {
///         let visit = context.key_state::<i64>("visits")?.unwrap_or(0) + 1;
///         context.set_key_state("visits", &visit)?;
///         if visit == 1000 {
///             context.clear_key_state("visits"); // Who has seen so much begins anew.
///         }
///         out.push(&(*context.key(), visit, clicks.iter().map(|c| c.page.to_native()).collect()))
///     }
/// }
///
/// let click = |(at_ms, page)| Click { at_ms, device: 7, page };
/// let clicks: Vec<Click> = [(0, 1), (900, 2), (9_000, 3), (9_500, 1)].map(click).into();
/// let (visits, receiver) = std::sync::mpsc::channel();
/// Job::new("visits")
///     .source("clicks", Records::new(clicks))
///     .watermark(|c| c.at_ms, Span::millis(0))
///     .key_by(|c| c.device)
///     .window(Window::session(Span::seconds(5)))
///     .process(Visits)
///     .sink(move |visit| visits.send((visit.1.to_native(), visit.2.len())).unwrap())
///     .run(Options::default())?;
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [(1, 2), (2, 2)]);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub trait ProcessWindow<T: Record, K>: Send + Sync + 'static {
    /// What it yields.
    type Output: Record;

    /// What tells it from every other function of the job.
    fn uid(&self) -> &str;
    /// Changes when what is kept means something else.
    fn version(&self) -> u32 {
        1
    }
    /// Takes the items of a key in a window.
    ///
    /// # Errors
    ///
    /// What is wrong, for people: it ends the job.
    fn process(
        &self,
        items: Items<'_, T>,
        context: &mut ProcessContext<'_, '_, K>,
        out: &mut Output<'_, Self::Output>,
    ) -> Result<(), String>;
}

/// All items of a key in a window.
#[derive(Debug)]
pub struct Items<'a, T> {
    collected: &'a [u8],
    _type: PhantomData<fn(T)>,
}

impl<T: Record> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Record> Copy for Items<'_, T> {}

impl<'a, T: Record> Items<'a, T> {
    /// The items, in the order of their arrival.
    ///
    /// # Panics
    ///
    /// If state holds no archives of `T`, which its checksums exclude.
    pub fn iter(self) -> impl Iterator<Item = &'a T::Archived> {
        elements(self.collected)
            .map(|bytes| access::<T::Archived>(bytes).expect("what was collected are archives"))
    }

    /// How many.
    pub fn count(self) -> usize {
        elements(self.collected).count()
    }
}

/// What a [`ProcessWindow`] knows besides its items, and where it keeps values.
///
/// ```
/// use tidemill::{Every, Items, Job, Options, Output, ProcessContext, ProcessWindow, Records, Span, Window};
///
/// /// How often a window has fired, and how many items it had. What is kept of a window is forgotten when that is over.
/// struct Firings;
///
/// impl ProcessWindow<i64, u8> for Firings {
///     type Output = (i64, u32, u32);
///
///     fn uid(&self) -> &str {
///         "firings"
///     }
///
///     fn version(&self) -> u32 {
///         2 // To be changed when what is kept means something else.
///     }
///
///     fn process(
///         &self,
///         items: Items<'_, i64>,
///         context: &mut ProcessContext<'_, '_, u8>,
///         out: &mut Output<'_, Self::Output>,
///     ) -> Result<(), String> {
///         if items.count() > 1000 {
///             context.clear_window_state("firings");
///             return Err("too many items: this ends the job".into());
///         }
///         let firings = context.window_state::<u32>("firings")?.unwrap_or(0) + 1;
///         context.set_window_state("firings", &firings)?;
///         assert!(context.watermark_ms() < context.end_ms() && context.now_ms() > context.start_ms());
///         out.push(&(context.end_ms(), firings, items.count() as u32))
///     }
/// }
///
/// let (firings, received) = std::sync::mpsc::channel();
/// Job::new("firings")
///     .source("times", Records::new([100_i64, 1_500, 200]))
///     .watermark(|at_ms| *at_ms, Span::millis(0))
///     .key_by(|_| 0_u8)
///     .window(Window::tumbling(Span::seconds(1)).late_fire(Every::row(), Span::minutes(1)))
///     .process(Firings)
///     .sink(move |row| firings.send((row.0.to_native(), row.1.to_native(), row.2.to_native())).unwrap())
///     .run(Options::default())?;
/// let mut firings: Vec<_> = received.iter().collect();
/// firings.sort();
/// assert_eq!(firings, [(1_000, 1, 1), (1_000, 2, 2), (2_000, 1, 1)]);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub struct ProcessContext<'a, 'b, K> {
    key: K,
    inner: &'a mut Context<'b>,
}

impl<K> ProcessContext<'_, '_, K> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The window's start, in milliseconds, inclusive.
    pub fn start_ms(&self) -> i64 {
        self.inner.window.map_or(i64::MIN, |window| window.0)
    }

    /// The window's end, in milliseconds, exclusive.
    pub fn end_ms(&self) -> i64 {
        self.inner.window.map_or(i64::MAX, |window| window.1)
    }

    /// Event time: the window's last instant, whatever made it fire.
    pub fn watermark_ms(&self) -> i64 {
        self.inner.watermark_ms
    }

    /// The machine's time.
    pub fn now_ms(&self) -> i64 {
        self.inner.now_ms
    }

    /// A value of the key.
    ///
    /// # Errors
    ///
    /// If what was kept under that name is no `S`.
    pub fn key_state<S: Owned>(&self, name: &str) -> Result<Option<S>, String> {
        self.state(Scope::Key, name)
    }

    /// Keeps a value of the key.
    ///
    /// # Errors
    ///
    /// What the type's own serialisation says.
    pub fn set_key_state<S: Record>(&mut self, name: &str, value: &S) -> Result<(), String> {
        self.inner.set(Scope::Key, name, &to_bytes(value)?);
        Ok(())
    }

    /// Forgets a value of the key.
    pub fn clear_key_state(&mut self, name: &str) {
        self.inner.clear(Scope::Key, name);
    }

    /// A value of the key in this window.
    ///
    /// # Errors
    ///
    /// If what was kept under that name is no `S`.
    pub fn window_state<S: Owned>(&self, name: &str) -> Result<Option<S>, String> {
        self.state(Scope::Window, name)
    }

    /// Keeps a value of the key in this window.
    ///
    /// # Errors
    ///
    /// What the type's own serialisation says.
    pub fn set_window_state<S: Record>(&mut self, name: &str, value: &S) -> Result<(), String> {
        self.inner.set(Scope::Window, name, &to_bytes(value)?);
        Ok(())
    }

    /// Forgets a value of the key in this window.
    pub fn clear_window_state(&mut self, name: &str) {
        self.inner.clear(Scope::Window, name);
    }

    fn state<S: Owned>(&self, scope: Scope, name: &str) -> Result<Option<S>, String> {
        let Some(bytes) = self.inner.get(scope, name) else { return Ok(None) };
        let value = access(bytes).and_then(to_owned::<S>);
        value.map(Some).map_err(|error| format!("the state '{name}' is of another type: {error}"))
    }
}

/// Takes what a [`ProcessWindow`] yields.
pub struct Output<'a, U> {
    rows: &'a mut Rows,
    time: i64,
    _type: PhantomData<fn(U)>,
}

impl<U: Record> Output<'_, U> {
    /// Yields a record; its time is the window's last instant.
    ///
    /// # Errors
    ///
    /// What the record's own serialisation says.
    pub fn push(&mut self, record: &U) -> Result<(), String> {
        self.rows.column::<BinaryViewBuilder>(0).append_value(to_bytes(record)?);
        self.rows.column::<Int64Builder>(1).append_value(self.time);
        self.rows.end_row(RowKind::Insert);
        Ok(())
    }
}

/// The engine's face of a [`ProcessWindow`]: over rows of key, collected items, start, end, time.
pub(super) struct Processed<T, K, P> {
    function: P,
    schema: Schema,
    _types: PhantomData<fn(T, K)>,
}

impl<T, K, P> Processed<T, K, P> {
    /// `schema`: records of the output, and time.
    pub(super) fn new(function: P, schema: Schema) -> Self {
        Self { function, schema, _types: PhantomData }
    }
}

impl<T, K, P> fmt::Debug for Processed<T, K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<P>())
    }
}

impl<T: Record, K: KeyRow, P: ProcessWindow<T, K>> Process for Processed<T, K, P> {
    fn name(&self) -> &str {
        self.function.uid()
    }

    fn uid(&self) -> &str {
        self.function.uid()
    }

    fn version(&self) -> u32 {
        self.function.version()
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
        // What is taken back was shown by an earlier call.
        if matches!(row.kind, RowKind::UpdateBefore | RowKind::Delete) {
            return Ok(());
        }
        let key = K::read(&row.columns[..K::WIDTH], row.index);
        let collected = row.columns[K::WIDTH].as_binary_view().value(row.index);
        let time = row.columns[K::WIDTH + 3].as_primitive::<Int64Type>().value(row.index);
        let items = Items { collected, _type: PhantomData };
        let mut context = ProcessContext { key, inner: context };
        let mut out = Output { rows: out, time, _type: PhantomData };
        self.function.process(items, &mut context, &mut out)
    }
}

/// Takes the records that an item becomes.
pub struct Emit<'a, U> {
    records: &'a mut ArchiveBuilder<U>,
    failure: &'a mut Option<String>,
}

impl<U: Record> Emit<'_, U> {
    /// Yields a record.
    pub fn push(&mut self, record: &U) {
        if let Err(message) = self.records.push(record) {
            self.failure.get_or_insert(message);
        }
    }
}

/// A function from an item to records.
pub(super) struct FlatMap<I, U, F> {
    function: F,
    schema: Schema,
    _types: PhantomData<fn(I) -> U>,
}

impl<I, U, F> FlatMap<I, U, F> {
    /// `schema`: records of the output, and time.
    pub(super) fn new(function: F, schema: Schema) -> Self {
        Self { function, schema, _types: PhantomData }
    }
}

impl<I, U, F> fmt::Debug for FlatMap<I, U, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flat_map")
    }
}

impl<I, U, F> Apply for FlatMap<I, U, F>
where
    I: Item,
    U: Record,
    F: Fn(&I::View, &mut Emit<'_, U>) + Send + Sync,
{
    fn name(&self) -> &str {
        "flat_map"
    }

    fn schema(&self) -> &Schema {
        &self.schema
    }

    fn apply(&self, batch: &Batch) -> Result<(Batch, Vec<u32>), EvalError> {
        let (time, columns) = batch.columns.split_last().expect("time comes last");
        let items = I::reader(columns);
        let mut builder = ArchiveBuilder::<U>::default();
        let (mut rows, mut failure) = (Vec::new(), None);
        for row in 0..batch.rows {
            let mut emit = Emit { records: &mut builder, failure: &mut failure };
            items.with(row, |item| (self.function)(item, &mut emit));
            if let Some(message) = failure {
                return Err(EvalError { row_index: row, message });
            }
            rows.resize(builder.len(), row as u32);
        }
        let times = take_columns(&[Arc::clone(time)], &UInt32Array::from(rows.clone()));
        let mut columns = vec![as_views::<U::Archived>(&builder.finish())];
        columns.extend(times);
        Ok((Batch::new(columns, rows.len()), rows))
    }
}
