//! Jobs: the typed builder, and how a plan becomes a run and its report.
//!
//! ```text
//! source ─ records of T ─ filter, map ─ key_by ─ window ─ aggregate ─ results ─ sink          Job, Stream, Keyed, Windowed
//!                                          │ each call adds a node
//!                                          ▼
//!                                  plan::Plan, as from SQL ─ Launch ─ shards ─ Report
//! ```
//!
//! A [`Stream`] is a node of the plan under construction. Its records travel as one column of archives ([`crate::sys::archive`]), and
//! closures over them are expressions ([`crate::expr::Native`]) that fill the columns which the engine's operators read.
//!
//! # What does not compile
//!
//! A stream has no windows before its time and its key are said, aggregates are of windows, a text has no sum, streams of different types
//! make no union, and lines of CSV are for results and for records that serde knows. `tests/misuse/` holds a program for each of these
//! mistakes, and what the compiler says of it. Without a mistake:
//!
//! ```
//! # use tidemill::*;
//! let job = Job::new("union");
//! let a = job.source("a", Records::new(0..9_i64)).watermark(|n| *n, Span::millis(0));
//! let b = job.source("b", Records::new(0..9_i64)).watermark(|n| *n, Span::millis(0));
//! a.union(b)
//!     .key_by(|n| *n)
//!     .window(Window::tumbling(Span::seconds(1)))
//!     .aggregate(|on| on.sum(|n| *n))
//!     .sink(|sum| assert_eq!(sum.value, 2 * sum.key));
//! job.run(Options::default())?;
//! # Ok::<(), error::JobError>(())
//! ```
//!
//! # Invariants
//!
//! 1. The columns of a stream's item are those that [`Item::fields`] names, and were filled for that type: this is what
//!    lets closures read archives in place.
//! 2. A job's nodes are only added, so a stream's node stays what it was.

mod aggregate;
mod closure;
mod custom;
mod draft;
mod field;
mod handle;
mod item;
mod launch;
mod options;
mod process;
mod result;
mod row;
#[cfg(feature = "sql")]
mod script;
#[cfg(feature = "sql")]
mod session;
pub mod sink;
pub mod source;
mod stream;
mod window;

pub use aggregate::{Aggregates, Call, On, Value};
pub use custom::{AggregateFunction, Archived};
pub use draft::Job;
#[doc(hidden)]
pub use field::ColumnBuilder;
pub use field::{Column, Field, Key, Number, Row};
pub use handle::{Handle, Metrics, Remote};
#[doc(hidden)]
pub use item::Reader;
pub use item::{Item, OwnedItem};
#[doc(hidden)]
pub use launch::{Beginning, Launch, StateOptions, state_options};
pub use launch::{Fresh, Report, RuntimeKind, Totals, WentOnFrom};
pub use options::Options;
pub use process::{Emit, Items, Output, ProcessContext, ProcessWindow};
pub use result::WindowResult;
#[cfg(feature = "sql")]
#[doc(hidden)]
pub use script::bind;
#[cfg(feature = "sql")]
pub use session::{
    Argument, Batches, Changes, FromRow, Function, Query, Returned, Rows, ScalarFunction, Session,
    SqlError, SqlJob, Table,
};
pub use sink::Files;
pub use source::{
    CsvFile, Iterate, JsonFile, RecordFile, RecordSource, RecordWriter, Records, Sender, channel,
};
pub use stream::{EventTime, Keyed, ProcessingTime, ResultsAndLate, Sourced, Stream, Windowed};
pub use window::{Every, Mode, Span, Window};

pub use crate::batch::{DataType, RowKind, Schema};
pub use crate::metrics::LateRows;
pub use crate::shard::DeadLetters;
#[doc(hidden)]
pub use crate::sys::archive::Stored;
pub use crate::sys::archive::{Owned, Record};
