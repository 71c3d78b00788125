//! Which files a `path` means: one file, a directory, or a pattern.
//!
//! # Invariants
//!
//! 1. Files come in the order of their names, so every run reads them alike.
//! 2. Hidden files (`.name`, `_name`) of a directory are passed over, as Flink does: half-written parts are among them.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::error::JobError;

/// The most directories in one another.
const DEPTH_MAX: usize = 100;

/// What to list.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    /// A file, a directory or a pattern.
    pub(super) path: String,
    /// Only files whose absolute path it matches, whole.
    pub(super) pattern: Option<Regex>,
    /// Whether files may still appear, so that none is no error.
    pub(super) watched: bool,
}

impl Listing {
    /// The files there now, by name, each once.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, JobError> {
        let mut files = Vec::new();
        let path = Path::new(&self.path);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => walk(path, 0, &mut files)?,
            Ok(_) => files.push(path.to_owned()),
            Err(error) => {
                if !self.path.contains(['*', '?', '[']) {
                    return Err(JobError::io(self.path.clone(), error));
                }
                self.matches(&mut files)?;
            }
        }
        if let Some(pattern) = &self.pattern {
            files.retain(|file| is_match(pattern, file));
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Files that the path matches as a pattern, and those under directories that it matches.
    fn matches(&self, files: &mut Vec<PathBuf>) -> Result<(), JobError> {
        let options =
            glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let invalid = |error: glob::PatternError| {
            JobError::Environment(format!("{}: not a pattern of file names: {error}", self.path))
        };
        let before = files.len();
        for entry in glob::glob_with(&self.path, options).map_err(invalid)? {
            let path = entry
                .map_err(|error| JobError::io(error.path().display().to_string(), error.into()))?;
            if path.is_dir() {
                walk(&path, 0, files)?;
            } else {
                files.push(path);
            }
        }
        if files.len() == before && !self.watched {
            return Err(JobError::Environment(format!(
                "{}: no file matches this pattern",
                self.path
            )));
        }
        Ok(())
    }
}

/// Whether `pattern` matches the whole absolute path of `file`.
fn is_match(pattern: &Regex, file: &Path) -> bool {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let text = absolute.to_string_lossy();
    pattern.find(&text).is_some_and(|found| found.len() == text.len())
}

/// Adds the files under `directory` that are not hidden.
fn walk(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), JobError> {
    let failed = |error| JobError::io(directory.display().to_string(), error);
    if depth > DEPTH_MAX {
        return Err(JobError::Environment(format!(
            "{}: more than {DEPTH_MAX} directories in one another; does a link lead back?",
            directory.display()
        )));
    }
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.starts_with(b".") || name.starts_with(b"_") {
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => walk(&path, depth + 1, files)?,
            Ok(_) => files.push(path),
            // Gone between listing and looking, or a link to nowhere.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(JobError::io(path.display().to_string(), error)),
        }
    }
    Ok(())
}
