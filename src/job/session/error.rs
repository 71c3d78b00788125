//! What is wrong with SQL.

use std::fmt;

use crate::error::{JobError, ScriptError};

/// What is wrong with SQL: every mistake that could be found, shown with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    text: String,
    errors: Vec<ScriptError>,
}

impl SqlError {
    /// What is wrong with `text`.
    pub(super) fn new(text: &str, errors: Vec<ScriptError>) -> Self {
        Self { text: text.to_owned(), errors }
    }

    /// The mistakes, in the order of the text.
    pub fn errors(&self) -> &[ScriptError] {
        &self.errors
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.errors.iter().try_for_each(|error| f.write_str(&error.render("sql", &self.text)))
    }
}

impl std::error::Error for SqlError {}

impl From<SqlError> for JobError {
    fn from(error: SqlError) -> Self {
        JobError::Refused(error.to_string())
    }
}
