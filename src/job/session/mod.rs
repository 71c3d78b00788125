//! SQL from Rust: a session holds what a program gives to its scripts, and makes jobs of them.
//!
//! ```text
//! table("clicks", source).column("page", |c| c.page) ─╮
//!                                                     ├─ sql("INSERT INTO …") ─ SqlJob ─ run, start
//! the script's own CREATE TABLEs                     ─╯  query("SELECT …") ──── Query ── rows, batches, for_each
//! ```
//!
//! A column of a program's table is an expression over the record column, as closures of the typed builder are, so a script over
//! it is a plan like every other, and what no query reads is not computed.

mod aggregate;
mod arrow;
mod error;
mod function;
mod job;
mod query;
mod row;
mod rows;
mod table;

use std::fmt;

pub use arrow::Batches;
pub use error::SqlError;
pub use function::{Argument, Function, Returned, ScalarFunction};
pub use job::SqlJob;
pub use query::Query;
pub use row::FromRow;
pub use rows::{Changes, Rows};
pub use table::Table;

use super::custom::AggregateFunction;
use super::field::Row;
use super::script::bind_with;
use super::source::RecordSource;
use crate::connector::{Output, Style};
use crate::error::ScriptError;
use crate::sql::{Program, ProgramAggregate, Script};
use crate::sys::archive::Record;
use table::Draft;

/// Tables of Rust types and functions in Rust, for SQL.
///
/// ```
/// use rkyv::{Archive, Serialize};
/// use tidemill::{Options, Records, Session, Span};
///
/// #[derive(Archive, Serialize)]
/// struct Click {
///     at_ms: i64,
///     page: u32,
/// }
///
/// let click = |n: i64| Click { at_ms: n * 100, page: (n % 2) as u32 };
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("clicks.csv");
///
/// let mut session = Session::new();
/// session
///     .table("clicks", Records::new((0..100).map(click)))
///     .column("page", |click| click.page)
///     .watermark("ts", |click| click.at_ms, Span::seconds(1));
/// let script = format!(
///     "CREATE TABLE counts (page BIGINT, clicks BIGINT)
///      WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv');
///      INSERT INTO counts SELECT page, COUNT(*)
///      FROM TABLE(TUMBLE(TABLE clicks, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
///      GROUP BY window_start, window_end, page;",
///     path.display()
/// );
/// session.sql(&script)?.run(Options::default())?;
///
/// let mut lines: Vec<String> = std::fs::read_to_string(&path)?.lines().map(str::to_owned).collect();
/// lines.sort();
/// assert_eq!(lines, ["0,50", "1,50"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Session {
    tables: Vec<(String, Draft)>,
    functions: Vec<(String, function::Draft)>,
    aggregates: Vec<(String, ProgramAggregate)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: Vec<&str> = self.tables.iter().map(|(name, _)| name.as_str()).collect();
        let functions = self.functions.iter().map(|(name, _)| name.as_str());
        let aggregates = self.aggregates.iter().map(|(name, _)| name.as_str());
        let functions: Vec<&str> = functions.chain(aggregates).collect();
        f.debug_struct("Session").field("tables", &tables).field("functions", &functions).finish()
    }
}

impl Session {
    /// A session without tables and functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table of records, which has the columns that are then given to it. Scripts read it, and cannot write to it.
    pub fn table<S: RecordSource>(
        &mut self,
        name: impl Into<String>,
        source: S,
    ) -> Table<'_, S::Record> {
        self.tables.push((name.into(), Draft::new::<S::Record>(source.into_source())));
        Table::of(&mut self.tables.last_mut().expect("just added").1)
    }

    /// Adds a scalar function, which scripts call as they call SQL's own. It is called with no NULL for an argument that is no
    /// `Option`: the result is NULL then. If it returns an error (a `Result` of what can be shown), or panics, the job fails with its name.
    /// Its answer must depend on its arguments alone. A name that SQL has itself, be it reserved only, is refused when a script is bound.
    ///
    /// ```
    /// # use tidemill::{Options, Records, Session};
    /// let mut session = Session::new();
    /// session
    ///     .table("visits", Records::new(["https://a.org/x".to_owned(), "nowhere".to_owned()]))
    ///     .text("url", |url| url);
    /// session.function("domain", |url: &str| -> Option<String> {
    ///     Some(url.split_once("://")?.1.split('/').next()?.to_owned())
    /// });
    /// let query = session.query("SELECT UPPER(domain(url)) FROM visits WHERE domain(url) IS NOT NULL")?;
    /// let rows = query.rows::<Option<String>>(Options::default())?.collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(rows, [Some("A.ORG".to_owned())]);
    ///
    /// let error = session.query("SELECT domain(url, 1) FROM visits").unwrap_err();
    /// assert!(error.to_string().starts_with("error: domain takes 1 argument, not 2\n --> sql:1:8\n"));
    ///
    /// session.function("port", |url: &str| url.rsplit(':').next().unwrap_or("").parse::<u32>()).version(2);
    /// let mut rows = session.query("SELECT port(url) FROM visits")?.rows::<u32>(Options::default())?;
    /// let error = rows.find_map(Result::err).unwrap();
    /// assert!(error.to_string().contains("port: invalid digit found in string"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn function<S>(
        &mut self,
        name: impl Into<String>,
        function: impl ScalarFunction<S>,
    ) -> Function<'_> {
        self.functions.push((name.into(), function::Draft::new(function)));
        Function::of(&mut self.functions.last_mut().expect("just added").1)
    }

    /// Adds an aggregate function, which scripts call in a GROUP BY of windows as they call SQL's own, FILTER included. Its items are
    /// its arguments: a column, or a tuple of several. Rows in which one is NULL do not count, but for an `Option`. DISTINCT is
    /// refused.
    ///
    /// ```
    /// use rkyv::rend::i64_le;
    /// use tidemill::{AggregateFunction, Options, Records, Session, Span};
    ///
    /// /// The greatest number less the least.
    /// struct Spread;
    ///
    /// impl AggregateFunction<i64> for Spread {
    ///     /// The least and the greatest.
    ///     type Accumulator = Option<(i64, i64)>;
    ///     type Output = Option<i64>;
    ///
    ///     fn uid(&self) -> &str {
    ///         "spread"
    ///     }
    ///
    ///     fn create(&self) -> Self::Accumulator {
    ///         None
    ///     }
    ///
    ///     fn add(&self, ends: &mut Self::Accumulator, number: &i64_le) {
    ///         self.merge(ends, Some((number.to_native(), number.to_native())));
    ///     }
    ///
    ///     fn merge(&self, ends: &mut Self::Accumulator, later: Self::Accumulator) {
    ///         *ends = match (*ends, later) {
    ///             (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
    ///             (one, other) => one.or(other),
    ///         };
    ///     }
    ///
    ///     fn result(&self, ends: &Self::Accumulator) -> Option<i64> {
    ///         ends.map(|(least, greatest)| greatest - least)
    ///     }
    /// }
    ///
    /// let mut session = Session::new();
    /// session
    ///     .table("numbers", Records::new([7_i64, 10, 100]))
    ///     .column("n", |n| *n)
    ///     .watermark("ts", |n| *n, Span::millis(0));
    /// session.aggregate("spread", Spread);
    /// let query = session.query(
    ///     "SELECT spread(n), spread(n) FILTER (WHERE n < 50)
    ///      FROM TABLE(TUMBLE(TABLE numbers, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end",
    /// )?;
    /// let mut rows = query.rows::<(Option<i64>, Option<i64>)>(Options::default())?;
    /// assert_eq!(rows.next().unwrap()?, (Some(93), Some(3)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn aggregate<I: Record + Row>(
        &mut self,
        name: impl Into<String>,
        function: impl AggregateFunction<I>,
    ) {
        self.aggregates.push((name.into(), aggregate::aggregate(function)));
    }

    /// A job of a script: statements over the session's tables and over those that it creates itself. `print` tables and bare
    /// SELECTs print lines of JSON to standard output.
    ///
    /// # Errors
    ///
    /// All that is wrong with the script, at its lines and columns, and with the session's tables.
    ///
    /// ```
    /// # use tidemill::{Records, Session};
    /// let mut session = Session::new();
    /// session.table("numbers", Records::new(0..9_i64)).column("number", |n| *n);
    /// let error = session.sql("SELECT numbr FROM numbers").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "error: there is no column 'numbr' here\n --> sql:1:8\n  |\n1 | SELECT numbr FROM numbers\n  |        ^^^^^\n\
    ///      hint: did you mean 'number'?\n"
    /// );
    /// ```
    pub fn sql(&self, script: &str) -> Result<SqlJob, SqlError> {
        let output = Output::new(Box::new(std::io::stdout()), Style::JsonLines);
        let bound = self.bind(script, &output)?;
        if bound.plan.nodes.is_empty() {
            let error = ScriptError::new("the script starts nothing, it only explains");
            let hint = "`SqlJob::explain` explains a script that runs";
            return Err(SqlError::new(script, vec![error.hint(hint)]));
        }
        Ok(SqlJob::new(bound.plan, bound.warnings))
    }

    /// A query whose rows come to the program: a script of one SELECT, which SETs, tables and views may come before.
    ///
    /// # Errors
    ///
    /// As [`Session::sql`].
    pub fn query(&self, script: &str) -> Result<Query, SqlError> {
        let output = Output::new(Box::new(std::io::stdout()), Style::JsonLines);
        let bound = self.bind(script, &output)?;
        Query::new(bound.plan, bound.select_changes, bound.warnings)
            .map_err(|mistake| SqlError::new(script, vec![ScriptError::new(mistake)]))
    }

    fn bind(&self, text: &str, output: &Output) -> Result<Script, SqlError> {
        let program = self
            .program()
            .map_err(|mistake| SqlError::new(text, vec![ScriptError::new(mistake)]))?;
        bind_with(text, output, &[], &program).map_err(|errors| SqlError::new(text, errors))
    }

    fn program(&self) -> Result<Program, String> {
        let mut program = Program::default();
        for (name, draft) in &self.tables {
            program.add_table(name.clone(), draft.table(name)?)?;
        }
        for (name, draft) in &self.functions {
            program.add_function(name, draft.function(name))?;
        }
        for (name, aggregate) in &self.aggregates {
            program.add_aggregate(name, aggregate.clone())?;
        }
        Ok(program)
    }
}
