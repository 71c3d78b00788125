//! What a job has published: the rows that anybody may see, as a multiset; and what it has left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// How often each row of each sink is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    counts: BTreeMap<(String, Vec<u8>), u64>,
    /// A plain file ends in the middle of a row, as it may while its writer is dead.
    pub(crate) torn: Option<String>,
}

impl Rows {
    /// All rows that can be seen below `folders`: plain files, and folders of parts.
    pub(crate) fn read(folders: &[&Path]) -> Result<Self, String> {
        let mut rows = Self::default();
        for (name, path) in
            folders.iter().map(|folder| shown(folder)).collect::<Result<Vec<_>, _>>()?.concat()
        {
            if !path.is_dir() {
                if !rows.add(&name, &path)? {
                    rows.torn = Some(name);
                }
                continue;
            }
            for (part, path) in shown(&path)? {
                if !rows.add(&name, &path)? {
                    return Err(format!("the published part {name}/{part} ends within a row"));
                }
            }
        }
        Ok(rows)
    }

    /// Adds the rows of a file; false if it ends within a row.
    fn add(&mut self, sink: &str, path: &Path) -> Result<bool, String> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let is_quoted = sink.ends_with(".csv");
        let (mut start, mut in_quotes) = (0, false);
        for (at, &byte) in bytes.iter().enumerate() {
            in_quotes ^= byte == b'"' && is_quoted;
            if byte == b'\n' && !in_quotes {
                *self.counts.entry((sink.to_owned(), bytes[start..at].to_vec())).or_default() += 1;
                start = at + 1;
            }
        }
        Ok(start == bytes.len())
    }

    /// A row that is here more often than in `whole`.
    pub(crate) fn beyond(&self, whole: &Self) -> Option<String> {
        self.counts.iter().find_map(|(row, &count)| {
            let allowed = whole.counts.get(row).copied().unwrap_or(0);
            (count > allowed).then(|| {
                let text = String::from_utf8_lossy(&row.1);
                format!("a row of {} is there {count} times instead of {allowed}: {text}", row.0)
            })
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// What has a name that can be seen.
fn shown(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    Ok(entries(folder)?.into_iter().filter(|(name, _)| !name.starts_with('.')).collect())
}

/// A folder's entries; none if there is no such folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(folder).map_err(failed)?;
    let named = entries.map(|entry| {
        let entry = entry.map_err(failed)?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    });
    named.collect()
}

/// Moves the published parts of directories away, as a consumer may.
pub(crate) fn take_parts(outputs: &Path, taken: &Path) -> Result<(), String> {
    for (name, path) in shown(outputs)?.into_iter().filter(|(_, path)| path.is_dir()) {
        let target = taken.join(name);
        fs::create_dir_all(&target).map_err(|error| error.to_string())?;
        for (part, path) in shown(&path)? {
            if target.join(&part).exists() {
                return Err(format!("the part {part} was published twice"));
            }
            fs::rename(path, target.join(part)).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Hidden files in the outputs, and unfinished ones in the state.
pub(crate) fn strays(outputs: &Path, state: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let mut strays = BTreeSet::new();
    for (name, path) in [entries(outputs)?, entries(state)?].concat() {
        if path.is_dir() {
            let hidden = entries(&path)?.into_iter().filter(|(name, _)| name.starts_with('.'));
            strays.extend(hidden.map(|(_, path)| path));
        } else if name.starts_with('.') {
            strays.insert(path);
        }
    }
    Ok(strays)
}

/// The newest durable epoch of a state folder; 0 before the first.
pub(crate) fn newest_epoch(state: &Path) -> Result<u64, String> {
    let epoch = |(name, _): (String, PathBuf)| name.strip_prefix("manifest-")?.parse().ok();
    Ok(entries(state)?.into_iter().filter_map(epoch).max().unwrap_or(0))
}

/// Whether the newest snapshot is the one behind the last row.
pub(crate) fn is_finished(state: &Path) -> Result<bool, String> {
    Ok(newest_epoch(state)? > 0 && counts(state)?.starts_with("finished true"))
}

/// What the job has counted by its newest snapshot: rows read, dropped and written must come to the same however often it died.
pub(crate) fn counts(state: &Path) -> Result<String, String> {
    let path = state.join(format!("manifest-{:020}", newest_epoch(state)?));
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let body = text.split_once('\n').map_or("", |(_, body)| body);
    let manifest: serde_json::Value =
        serde_json::from_str(body).map_err(|error| format!("{}: {error}", path.display()))?;
    let (late, sources) = (&manifest["late"], &manifest["sources"]["counters"]);
    Ok(format!(
        "finished {}, written {}, read {sources}, late {late}",
        manifest["finished"], manifest["rows_out"]
    ))
}

/// The length of the state's files.
pub(crate) fn state_bytes(state: &Path) -> Result<u64, String> {
    let files = entries(state)?.into_iter().filter(|(name, _)| name.starts_with("state-"));
    Ok(files.filter_map(|(_, path)| Some(path.metadata().ok()?.len())).sum())
}
