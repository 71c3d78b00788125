//! The golden cases: where they are, which differ on purpose, and how rows are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folders of all cases.
pub(crate) fn cases() -> Vec<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases: Vec<PathBuf> = ["flink", "asked"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(golden.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("job.sql").exists())
        .collect();
    cases.sort();
    assert!(cases.len() > 200, "only {} golden cases found", cases.len());
    cases
}

/// The cases that differ on purpose, by name, from the list that people read.
pub(crate) fn differences() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/differences.md"),
    )
    .unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("- `"))
        .filter_map(|line| line.split_once("`: "))
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        .collect()
}

/// The rows that Flink emitted.
pub(crate) fn expected(case: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(case.join("expected.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows as text, in an order that does not depend on the engine: sorted where all are inserts; where a result
/// changes, the net effect and the sequence of each row's own changes.
pub(crate) fn canonical(rows: &[serde_json::Value]) -> Vec<String> {
    let mut lines: Vec<String> = if rows.iter().all(|row| row["op"] == "+I") {
        rows.iter().map(ToString::to_string).collect()
    } else {
        by_key(rows)
            .into_iter()
            .map(|(key, changes)| format!("{key} => {}", changes.join(" | ")))
            .collect()
    };
    lines.sort();
    lines
}

/// Changes grouped by the columns that hold strings (times and keys), in order.
fn by_key(rows: &[serde_json::Value]) -> BTreeMap<String, Vec<String>> {
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows {
        let fields = row.as_object().unwrap();
        let key: Vec<String> = fields
            .iter()
            .filter(|(name, value)| *name != "op" && (value.is_string() || value.is_null()))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        keys.entry(key.join(",")).or_default().push(row.to_string());
    }
    keys
}
