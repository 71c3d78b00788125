//! Queries whose rows come to the program.

use std::sync::Arc;

use super::SqlJob;
use super::arrow::Batches;
use super::row::{FromRow, check};
use super::rows::{Changes, Each, Feed, Rows, Taken};
use crate::batch::{RowKind, Schema};
use crate::connector::Sink;
use crate::error::{JobError, ScriptError};
use crate::job::options::Options;
use crate::plan::{Op, Plan};

/// A query whose rows come to the program: [`Query::rows`] and [`Query::batches`] pull them, [`Query::for_each`] pushes them.
///
/// A job with state shows rows at once, and so after a crash those since the last snapshot again.
#[derive(Debug)]
pub struct Query {
    plan: Plan,
    schema: Schema,
    changes: bool,
    warnings: Vec<ScriptError>,
}

/// The schema of the one SELECT of a plan.
fn selected(plan: &Plan) -> Result<Schema, &'static str> {
    let mut selects = plan.nodes.iter().filter(|node| is_select(&node.op));
    match (selects.next(), selects.next()) {
        (Some(select), None) => Ok(select.schema.clone()),
        (None, _) => Err("a query is a SELECT, and there is none"),
        _ => Err("a query is one SELECT, and there are several"),
    }
}

/// Whether it is the sink of a bare SELECT.
fn is_select(op: &Op) -> bool {
    matches!(op, Op::Sink { table, .. } if table.is_empty())
}

impl Query {
    pub(super) fn new(
        plan: Plan,
        changes: bool,
        warnings: Vec<ScriptError>,
    ) -> Result<Self, &'static str> {
        Ok(Self { schema: selected(&plan)?, plan, changes, warnings })
    }

    /// Its columns.
    pub fn columns(&self) -> &Schema {
        &self.schema
    }

    /// Whether it takes back rows that it has shown: early or late firing makes it so, but for the mode `discarding`.
    pub fn has_changes(&self) -> bool {
        self.changes
    }

    /// The job whose rows go to `sink`.
    fn job(&self, sink: Arc<dyn Sink>) -> SqlJob {
        let mut plan = self.plan.clone();
        let select = plan.nodes.iter_mut().find(|node| is_select(&node.op));
        if let Some(Op::Sink { sink: own, .. }) = select.map(|node| &mut node.op) {
            *own = sink;
        }
        SqlJob::new(plan, self.warnings.clone())
    }

    fn check<R: FromRow>(&self) -> Result<(), JobError> {
        check::<R>(&self.schema.fields).map_err(JobError::Refused)
    }

    fn refuse_changes(&self) -> Result<(), JobError> {
        if !self.changes {
            return Ok(());
        }
        let why = "early or late firing takes back rows that were shown; read them with `changes` or `for_each`, or SET \
                   'tidemill.emit.mode' = 'discarding'";
        Err(JobError::Refused(why.into()))
    }

    /// Starts the query; its rows, of all shards as they come. Rows that nobody takes make the job wait, and dropping them
    /// ends it.
    ///
    /// # Errors
    ///
    /// Columns that are not those of `R`, by name; rows that are taken back; why the job could not begin.
    ///
    /// ```
    /// use tidemill::job::Rows;
    /// use tidemill::{Options, Records, Session, Span};
    ///
    /// let mut session = Session::new();
    /// session
    ///     .table("numbers", Records::new((0..100_i64).map(|n| n * 100)))
    ///     .column("n", |n| *n)
    ///     .watermark("ts", |n| *n, Span::millis(0));
    /// let query = session.query(
    ///     "SELECT window_start, COUNT(*), MAX(n) FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '5' SECOND))
    ///      GROUP BY window_start, window_end",
    /// )?;
    /// let rows: Rows<(i64, i64, Option<i64>)> = query.rows(Options::default())?;
    /// let rows = rows.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(rows, [(0, 50, Some(4_900)), (5_000, 50, Some(9_900))]);
    ///
    /// let error = query.rows::<(i64, String, i64)>(Options::default()).unwrap_err();
    /// assert_eq!(error.to_string(), "column 2, 'EXPR$1', is BIGINT NOT NULL, and is read as STRING NOT NULL");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rows<R: FromRow>(&self, options: Options) -> Result<Rows<R>, JobError> {
        self.refuse_changes()?;
        Ok(Rows(self.changes(options)?))
    }

    /// The same with what each row does to those before: the only way to pull rows that are taken back again.
    ///
    /// # Errors
    ///
    /// As [`Query::rows`].
    ///
    /// ```
    /// use tidemill::job::{Changes, DataType, Schema};
    /// use tidemill::{Options, Query, Records, RowKind, Session, Span};
    ///
    /// let mut session = Session::new();
    /// session
    ///     .table("numbers", Records::new(0..1_000_i64))
    ///     .column("n", |n| *n)
    ///     .watermark("ts", |n| *n, Span::millis(0));
    /// let query: Query = session.query(
    ///     "SET 'table.exec.emit.early-fire.enabled' = 'true';
    ///      SET 'table.exec.emit.early-fire.delay' = '500 ms';
    ///      SET 'tidemill.emit.early-fire.clock' = 'event-time';
    ///      SELECT COUNT(*) AS clicks FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '1' SECOND))
    ///      GROUP BY window_start, window_end",
    /// )?;
    /// let columns: &Schema = query.columns();
    /// assert_eq!((columns.column_count(), columns.column_index("clicks")), (1, Some(0)));
    /// assert_eq!(columns.fields[0].data_type, DataType::BigInt);
    /// assert!(query.has_changes());
    ///
    /// let changes: Changes<i64> = query.changes(Options::default())?;
    /// let changes = changes.collect::<Result<Vec<_>, _>>()?;
    /// use RowKind::{Insert, UpdateAfter, UpdateBefore};
    /// assert_eq!(changes[..3], [(Insert, 1), (UpdateBefore, 1), (UpdateAfter, 501)]); // At 0 s, and at half a second.
    /// assert_eq!(changes[3..], [(UpdateBefore, 501), (UpdateAfter, 1_000)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes<R: FromRow>(&self, options: Options) -> Result<Changes<R>, JobError> {
        self.check::<R>()?;
        Ok(Changes::of(self.start(options)?, self.schema.clone()))
    }

    /// Starts the query; its rows as Arrow's record batches, of all shards as they come. Timestamps, dates and times have Arrow's
    /// types for them; of a query that takes rows back a first column `op` says what each does (`+I`, `-U`, `+U`, `-D`).
    ///
    /// # Errors
    ///
    /// Why the job could not begin.
    ///
    /// ```
    /// use tidemill::job::Batches;
    /// use tidemill::{Options, Records, Session};
    ///
    /// let mut session = Session::new();
    /// session.table("numbers", Records::new(0..10_i64)).column("n", |n| *n);
    /// let query = session.query("SELECT n, n * n AS square FROM numbers WHERE n > 6")?;
    /// let batches: Batches = query.batches(Options::default().shards(1))?;
    /// assert_eq!(batches.schema().fields().len(), 2);
    /// let batches = batches.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    /// assert_eq!(batches[0].schema().field(1).name(), "square");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batches(&self, options: Options) -> Result<Batches, JobError> {
        Ok(Batches::of(self.start(options)?, &self.schema, self.changes))
    }

    fn start(&self, options: Options) -> Result<Taken, JobError> {
        let (feed, waiting) = Feed::new();
        Ok(waiting.of(self.job(Arc::new(feed)).start(options)?))
    }

    /// A job that calls `f` with each row and what it does to those before, on the shard that has it, in no order among shards.
    ///
    /// # Errors
    ///
    /// Columns that are not those of `R`, by name.
    ///
    /// ```
    /// use tidemill::{Options, Records, Session};
    ///
    /// let mut session = Session::new();
    /// session.table("numbers", Records::new(0..10_i64)).column("n", |n| *n);
    /// let (sender, receiver) = std::sync::mpsc::channel();
    /// session
    ///     .query("SELECT n, n * n FROM numbers WHERE n > 7")?
    ///     .for_each(move |_, row: (i64, i64)| sender.send(row).unwrap())?
    ///     .run(Options::default())?;
    /// let mut rows: Vec<_> = receiver.iter().collect();
    /// rows.sort();
    /// assert_eq!(rows, [(8, 64), (9, 81)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each<R: FromRow>(
        &self,
        f: impl Fn(RowKind, R) + Send + Sync + 'static,
    ) -> Result<SqlJob, JobError> {
        self.check::<R>()?;
        Ok(self.job(Arc::new(Each::<R, _>::new(f, self.schema.clone()))))
    }
}
