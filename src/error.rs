//! The errors of every domain, each sorted by who can act on it.
//!
//! One enum per domain keeps matches small; [`Class`] answers the only question a caller has:
//! fix the input ([`Class::User`]), retry ([`Class::External`]) or report a bug
//! ([`Class::Internal`]). Bugs of ours are mostly assertions; `Internal` is for those that must not
//! take a neighbouring job down.
//!
//! # Invariants
//!
//! 1. A message says what is wrong, a hint says what to write instead; neither repeats the other.
//! 2. [`Span`] counts lines and columns from 1, columns in characters, as editors do.

use std::any::Any;
use std::fmt;

/// Who can act on an error.
///
/// ```
/// use tidemill::error::{Class, JobError, StateError};
/// use tidemill::{Job, Options, RecordFile, Records, Span};
///
/// let missing = RecordFile::<i64>::open("/no/such/file").unwrap_err();
/// assert!(matches!(missing, JobError::Io { .. }));
/// assert_eq!(missing.class(), Class::External);
///
/// let job = Job::new("picky").source("numbers", Records::new(0..9_i64)).watermark(|n| *n, Span::millis(0));
/// let panicked = job.map(|n| 7 / n.to_native()).sink(|_| {}).run(Options::default()).unwrap_err();
/// assert_eq!(panicked.class(), Class::User);
///
/// let damaged = StateError::Input { path: "clicks".into(), reason: "it has become shorter".into() };
/// assert_eq!(damaged.class(), Class::External);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The script, the command line or the data is wrong: fix it.
    User,
    /// A disk, a peer or the kernel refused: retry or repair the surroundings.
    External,
    /// A bug of ours: report it.
    Internal,
}

/// A place in a script: 1-based line and column (in characters), and the length in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// 1-based line.
    pub line: u64,
    /// 1-based column, in characters.
    pub column: u64,
    /// How many characters the caret underlines; 0 is shown as 1.
    pub length: u64,
}

/// What is wrong with a script, found before anything runs.
///
/// ```
/// use tidemill::error::{ScriptError, Span};
///
/// let span = Span { line: 1, column: 8, length: 4 };
/// let error = ScriptError::new("there is no column 'pgae'").at(span).hint("did you mean 'page'?");
/// assert_eq!(
///     error.render("uv.sql", "SELECT pgae FROM clicks"),
///     "error: there is no column 'pgae'
///  --> uv.sql:1:8
///   |
/// 1 | SELECT pgae FROM clicks
///   |        ^^^^
/// hint: did you mean 'page'?
/// "
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// What is wrong.
    pub message: String,
    /// Where, if the script has such a place.
    pub span: Option<Span>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl ScriptError {
    /// An error without a place or a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, hint: None }
    }

    /// The same error at `span`.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// The same error with a way around.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Message, script line with caret, hint: what a terminal shows. `script` is the whole text.
    pub fn render(&self, script_name: &str, script: &str) -> String {
        let mut text = format!("error: {}\n", self.message);
        if let Some(span) = self.span {
            let line = script.lines().nth(span.line.saturating_sub(1) as usize).unwrap_or("");
            let gutter = " ".repeat(span.line.to_string().len());
            // Tabs stay tabs, so that the carets stand where the terminal puts the text.
            let before = line.chars().take(span.column.saturating_sub(1) as usize);
            let pad: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
            let carets = "^".repeat(span.length.max(1) as usize);
            text += &format!("{gutter}--> {script_name}:{}:{}\n", span.line, span.column);
            text += &format!("{gutter} |\n{} | {line}\n{gutter} | {pad}{carets}\n", span.line);
        }
        if let Some(hint) = &self.hint {
            text += &format!("hint: {hint}\n");
        }
        text
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(span) = self.span {
            write!(f, "{}:{}: ", span.line, span.column)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for ScriptError {}

/// A typed expression that cannot be built: unknown function, wrong argument types.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl ExprError {
    /// An error without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExprError {}

/// An expression that failed on one row (a bad CAST, a division by zero).
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct EvalError {
    /// The first row of the batch that failed; the rows before it are good.
    pub row_index: usize,
    /// What was wrong with it.
    pub message: String,
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}

/// An option of a `WITH (…)` clause that a connector or a format cannot take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct OptionError {
    /// The option's key as written, or the missing key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option '{}': {}", self.key, self.message)
    }
}

impl std::error::Error for OptionError {}

/// What stops a running job.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A record that cannot be read, and the table does not skip such records.
    #[error("{origin}: line {line}, column {column}: {message}{}", .hint.as_deref().map(|h| format!("\nhint: {h}")).unwrap_or_default())]
    BadRecord {
        /// The file, or the connector's name for the stream.
        origin: String,
        /// 1-based line of the record's start.
        line: u64,
        /// 1-based column in bytes within the record.
        column: u64,
        /// What is wrong.
        message: String,
        /// The option that would skip it.
        hint: Option<String>,
    },
    /// An expression failed on a row.
    #[error("{origin}: {message}")]
    Expression {
        /// The operator, in the script's words.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A function that a user wrote refused, or panicked.
    #[error("function {function}, {doing}: {message}")]
    Function {
        /// Which one.
        function: String,
        /// What it was doing, or on which key and when.
        doing: String,
        /// What it said.
        message: String,
    },
    /// A file, socket or device refused.
    #[error("{origin}: {source}")]
    Io {
        /// The path or address.
        origin: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The reader of our output went away (`| head`): a quiet end.
    #[error("the reader of the output closed it")]
    OutputClosed,
    /// The surroundings do not allow what was asked for.
    #[error("{0}")]
    Environment(String),
    /// Durable state cannot be read, written or gone on with.
    #[error(transparent)]
    State(#[from] StateError),
    /// A job that cannot be, as it was put together.
    #[error("{0}")]
    Refused(String),
    /// Somebody ended the job.
    #[error("the job was cancelled")]
    Cancelled,
    /// The simulated process was killed.
    #[error("the simulated process was killed")]
    Killed,
    /// A bug of ours.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl JobError {
    /// Who can act on it.
    pub fn class(&self) -> Class {
        match self {
            JobError::BadRecord { .. }
            | JobError::Expression { .. }
            | JobError::Function { .. }
            | JobError::Refused(_)
            | JobError::Cancelled => Class::User,
            JobError::Io { .. }
            | JobError::OutputClosed
            | JobError::Environment(_)
            | JobError::Killed => Class::External,
            JobError::State(error) => error.class(),
            JobError::Internal(_) => Class::Internal,
        }
    }

    /// An I/O error with the path or address it concerns.
    pub fn io(origin: impl Into<String>, source: std::io::Error) -> Self {
        JobError::Io { origin: origin.into(), source }
    }
}

/// What a panic said.
#[doc(hidden)]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// What is wrong with durable state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The disk refused.
    #[error("state {path}: {source}")]
    Io {
        /// The file or folder.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// There is no room; the job waits until there is.
    #[error(
        "state {path}: the disk is full: {requested_bytes} bytes are needed, {available_bytes} are free"
    )]
    Full {
        /// The file.
        path: String,
        /// What was asked for.
        requested_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// What was read is not what was written.
    #[error(
        "state {path}: {what} is damaged at byte {offset_bytes}: {reason}; `tidemill state verify` shows all of it, `--fresh` starts over and keeps the old state aside"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Which structure.
        what: String,
        /// Where.
        offset_bytes: u64,
        /// How it shows.
        reason: String,
    },
    /// Another process runs on it.
    #[error("state {path}: {} is running on it; stop that job first, or give this one a folder of its own", .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Owned {
        /// The folder.
        path: String,
        /// Which process.
        pid: Option<u32>,
    },
    /// A folder of something else, or of a version that this build does not read.
    #[error("state {path}: {reason}")]
    Foreign {
        /// The folder or file.
        path: String,
        /// What it is.
        reason: String,
    },
    /// The script is not the one whose state this is.
    #[error("state {path}: {reason}")]
    Changed {
        /// The folder.
        path: String,
        /// What differs, and the ways around.
        reason: String,
    },
    /// An input is not what it was at the snapshot.
    #[error("{path}: {reason}")]
    Input {
        /// The file.
        path: String,
        /// What differs.
        reason: String,
    },
}

impl StateError {
    /// Who can act on it.
    pub fn class(&self) -> Class {
        match self {
            StateError::Changed { .. } | StateError::Owned { .. } | StateError::Foreign { .. } => {
                Class::User
            }
            _ => Class::External,
        }
    }

    /// What the disk said about `path`.
    pub fn io(path: &std::path::Path, source: std::io::Error) -> Self {
        StateError::Io { path: path.display().to_string(), source }
    }
}
