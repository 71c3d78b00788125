//! A script as a job.

use crate::error::{JobError, ScriptError};
use crate::job::handle::Handle;
use crate::job::launch::{Launch, Report};
use crate::job::options::Options;
use crate::plan::{Plan, explain};

/// A job that a script describes, to be run as one of the typed builder is.
///
/// ```
/// use tidemill::{Options, Records, Session, SqlError, SqlJob};
///
/// let mut session = Session::new();
/// session.table("numbers", Records::new(0..9_i64)).column("n", |n| *n);
/// let job: SqlJob = session.sql(
///     "CREATE TABLE nowhere (n BIGINT) WITH ('connector' = 'blackhole');
///      INSERT INTO nowhere SELECT n FROM numbers WHERE n > 3;",
/// )?;
/// assert!(job.warnings().is_empty());
/// assert!(job.explain(&Options::default()).contains("numbers"));
/// assert_eq!(job.start(Options::default())?.wait()?.totals.rows_out, 5);
///
/// let error: SqlError = session.sql("SELECT m FROM numbers").unwrap_err();
/// assert_eq!(error.errors()[0].message, "there is no column 'm' here");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqlJob {
    plan: Plan,
    warnings: Vec<ScriptError>,
}

impl SqlJob {
    pub(super) fn new(plan: Plan, warnings: Vec<ScriptError>) -> Self {
        Self { plan, warnings }
    }

    /// What of the script has no effect.
    pub fn warnings(&self) -> &[ScriptError] {
        &self.warnings
    }

    /// The plan. What `options` set wins over the script's own settings.
    #[doc(hidden)]
    pub fn plan(&self, options: &Options) -> Plan {
        let settings = options.settings_over(&self.plan.settings);
        Plan { nodes: self.plan.nodes.clone(), settings }
    }

    /// What will run, as text.
    pub fn explain(&self, options: &Options) -> String {
        explain(&self.plan(options))
    }

    /// The job, ready to run.
    ///
    /// # Errors
    ///
    /// What is wrong with where it runs.
    #[doc(hidden)]
    pub fn launch(&self, options: &Options) -> Result<Launch, JobError> {
        Launch::of(&self.plan(options), options)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    ///
    /// Why it could not begin, or ended early.
    pub fn run(&self, options: Options) -> Result<Report, JobError> {
        self.launch(&options)?.run().outcome()
    }

    /// Starts it; the program goes on.
    ///
    /// # Errors
    ///
    /// Why it could not begin.
    pub fn start(&self, options: Options) -> Result<Handle, JobError> {
        let mut launch = self.launch(&options)?;
        launch.open()?;
        Handle::start("sql", launch)
    }
}
