//! A job under construction.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::handle::Handle;
use super::launch::{Launch, Report};
use super::options::Options;
use super::source::RecordSource;
use super::stream::Sourced;
use crate::batch::Schema;
use crate::connector::Sink;
use crate::error::JobError;
use crate::plan::{Node, NodeIndex, Op, Plan, explain, optimise};

/// A job: streams from sources to sinks. Cloning it gives another handle on the same job.
///
/// ```
/// use rkyv::{Archive, Serialize};
/// use tidemill::{Job, Options, Records, Span, Window};
///
/// #[derive(Archive, Serialize)]
/// struct Click {
///     at_ms: i64,
///     page: u32,
///     cents: i64,
/// }
///
/// let click = |i| Click { at_ms: i * 100, page: (i % 2) as u32, cents: i };
/// let clicks: Vec<Click> = (0..100).map(click).collect();
/// let (results, receiver) = std::sync::mpsc::channel();
/// Job::new("cents by page")
///     .source("clicks", Records::new(clicks))
///     .watermark(|c| c.at_ms, Span::seconds(1))
///     .key_by(|c| c.page)
///     .window(Window::tumbling(Span::seconds(5)))
///     .aggregate(|on| (on.count(), on.sum(|c| c.cents)))
///     .sink(move |result| results.send(result.clone()).unwrap())
///     .run(Options::default())?;
/// let mut results: Vec<_> = receiver.iter().map(|r| (r.start_ms, r.key, r.value)).collect();
/// results.sort();
/// assert_eq!(results[0], (0, 0, (25, 600)));
/// assert_eq!(results.len(), 4);
///
/// let copy = Job::new("copy");
/// copy.source("numbers", Records::new(0..9_i64)).watermark(|n| *n, Span::millis(0)).sink(|_| {});
/// assert_eq!(copy.name(), "copy");
/// assert!(copy.explain(&Options::default())?.contains("numbers"));
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Job {
    draft: Rc<RefCell<Draft>>,
}

#[derive(Debug)]
struct Draft {
    name: String,
    nodes: Vec<Node>,
    /// What is wrong with it, first.
    mistake: Option<String>,
}

impl Job {
    /// A job without streams.
    pub fn new(name: impl Into<String>) -> Self {
        let draft = Draft { name: name.into(), nodes: Vec::new(), mistake: None };
        Self { draft: Rc::new(RefCell::new(draft)) }
    }

    /// The records of a source; `name` is what messages and plans call it.
    pub fn source<S: RecordSource>(
        &self,
        name: impl Into<String>,
        source: S,
    ) -> Sourced<S::Record> {
        Sourced::new(self.clone(), name.into(), source.into_source())
    }

    /// Adds an operator; its index.
    pub(super) fn add(&self, op: Op, schema: Schema) -> NodeIndex {
        let nodes = &mut self.draft.borrow_mut().nodes;
        nodes.push(Node { op, schema });
        nodes.len() - 1
    }

    /// Adds a sink for the columns of a node.
    pub(super) fn add_sink(&self, input: NodeIndex, schema: Schema, sink: Arc<dyn Sink>) {
        let is_sink = |node: &&Node| matches!(node.op, Op::Sink { .. });
        let number = self.draft.borrow().nodes.iter().filter(is_sink).count() + 1;
        let table = format!("sink {number}");
        self.add(Op::Sink { input, table, sink, limit: None }, schema);
    }

    /// What a node yields.
    pub(super) fn schema(&self, node: NodeIndex) -> Ref<'_, Schema> {
        Ref::map(self.draft.borrow(), |draft| &draft.nodes[node].schema)
    }

    /// Notes what is wrong; the job is refused when it is to run.
    pub(super) fn mistake(&self, what: String) {
        self.draft.borrow_mut().mistake.get_or_insert(what);
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.draft.borrow().name.clone()
    }

    /// The plan, the same that SQL becomes.
    ///
    /// # Errors
    ///
    /// What is wrong with the job.
    #[doc(hidden)]
    pub fn plan(&self, options: &Options) -> Result<Plan, JobError> {
        let draft = self.draft.borrow();
        if let Some(mistake) = &draft.mistake {
            return Err(JobError::Refused(format!("job {}: {mistake}", draft.name)));
        }
        Ok(optimise(Plan { nodes: draft.nodes.clone(), settings: options.settings() }))
    }

    /// What will run, as text.
    ///
    /// # Errors
    ///
    /// As [`Job::plan`].
    pub fn explain(&self, options: &Options) -> Result<String, JobError> {
        self.plan(options).map(|plan| explain(&plan))
    }

    /// The job, ready to run.
    ///
    /// # Errors
    ///
    /// What is wrong with the job, or with where it runs.
    #[doc(hidden)]
    pub fn launch(&self, options: &Options) -> Result<Launch, JobError> {
        Launch::of(&self.plan(options)?, options)
    }

    /// Runs it to its end.
    ///
    /// It may be run again, also while it runs: each run reads its sources from their beginning and writes on its own. So a folder gets the rows
    /// once more, and one file that has content is refused, unless it may be [overwritten](crate::Files::overwrite).
    /// Runs with the same [state](Options::state) are one: what has finished is not done again. A
    /// [`channel`](crate::channel()) from the program leads to one run.
    ///
    /// ```
    /// use tidemill::{Files, Job, Options, Records, Span};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("numbers.csv");
    /// let numbers = |files: Files<i64>| {
    ///     let source = Job::new("numbers").source("numbers", Records::new(0..3_i64));
    ///     source.watermark(|n| *n, Span::millis(0)).sink_to(files)
    /// };
    /// let job = numbers(Files::csv(&path));
    /// job.run(Options::default().shards(1))?;
    /// let refused = job.run(Options::default()).unwrap_err().to_string();
    /// assert!(refused.contains("the file exists and has content"));
    ///
    /// let job = numbers(Files::csv(&path).overwrite());
    /// job.run(Options::default())?;
    /// job.run(Options::default().shards(1))?;
    /// assert_eq!(std::fs::read_to_string(&path)?, "0\n1\n2\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        Handle::start(&self.name(), launch)
    }
}
