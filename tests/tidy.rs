//! Holds the source to its own rules: layers, lengths, headers, where `unsafe` may stand, how folders are called.
//!
//! A folder of `src/` imports only folders of lower layers. Lines of tables may exceed what a function may: a function
//! with `// tidy: table` above it is not measured.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders and files of `src/` by layer, the lowest first.
const LAYERS: [&[&str]; 9] = [
    &["error", "sys", "sync"],
    &["time", "batch", "ring", "metrics"],
    &["format", "expr", "agg", "state"],
    &["window", "connector"],
    &["plan", "op"],
    &["sql", "shard"],
    &["job"],
    &["dashboard"],
    &["cli"],
];

/// Imports between folders of one layer that the design draws: operators carry out plans.
const SIDEWAYS: [(&str, &str); 1] = [("op", "plan")];

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;

/// Folders where `unsafe` may stand.
const UNSAFE_FOLDERS: [&str; 3] = ["sys", "ring", "state"];

/// Names that say what kind of thing a folder holds, not which part of the engine it is.
const VAGUE_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "traits", "types"];

/// A source file: its path from the package's root, and its lines.
struct Source {
    path: String,
    lines: Vec<String>,
}

impl Source {
    /// The folder (or file) right below `src/`, if it is in there.
    fn part(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs"))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples", "tools"] {
        collect(&root.join(folder), &mut files);
    }
    assert!(files.len() > 50, "the source has been found");
    files.sort();
    let source = |file: PathBuf| Source {
        path: file.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
        lines: fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect(),
    };
    files.into_iter().map(source).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Fails with all breaches, one a line.
fn report(breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

fn layer(part: &str) -> Option<usize> {
    LAYERS.iter().position(|parts| parts.contains(&part))
}

/// The line without comments and, crudely, without what stands in quotes.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if quoted => drop(characters.next()),
            '"' => quoted = !quoted,
            '/' if !quoted && characters.peek() == Some(&'/') => break,
            _ if quoted => {}
            _ => code.push(character),
        }
    }
    code
}

/// The parts that a file names after `crate::`, also in braces, with the lines where it does.
fn imports(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // The lines up to `#[cfg(test)]` at the margin: unit tests may look wherever they like.
    let end = source
        .lines
        .iter()
        .position(|line| line == "#[cfg(test)]" || line.starts_with("#[cfg(all(test"));
    for (index, line) in source.lines[..end.unwrap_or(source.lines.len())].iter().enumerate() {
        for rest in code(line).split("crate::").skip(1) {
            let names = match rest.strip_prefix('{') {
                Some(list) => {
                    list.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()
                }
                None => vec![rest.to_owned()],
            };
            for name in names {
                let is_word = |character: char| character.is_alphanumeric() || character == '_';
                let word: String =
                    name.chars().take_while(|&character| is_word(character)).collect();
                found.push((index + 1, word));
            }
        }
    }
    found
}

#[test]
fn a_folder_imports_only_lower_layers() {
    let mut breaches = Vec::new();
    for source in sources() {
        let Some(part) = source.part().filter(|part| !["lib", "main"].contains(part)) else {
            continue;
        };
        let is_test = source.path.contains("tests/") || source.path.ends_with("tests.rs");
        let Some(own) = layer(part) else {
            breaches.push(format!("{}: '{part}' is in no layer", source.path));
            continue;
        };
        if is_test {
            continue;
        }
        for (line, name) in imports(&source) {
            if name.is_empty() {
                breaches
                    .push(format!("{}:{line}: name each part in a `use` of its own", source.path));
            }
            let Some(other) = layer(&name) else { continue };
            let allowed = name == part || other < own || SIDEWAYS.contains(&(part, name.as_str()));
            if !allowed {
                breaches.push(format!(
                    "{}:{line}: {part} (L{own}) imports {name} (L{other})",
                    source.path
                ));
            }
        }
    }
    report(breaches);
}

#[test]
fn files_open_with_what_they_are() {
    let headless =
        |source: &Source| source.lines.first().is_none_or(|line| !line.starts_with("//! "));
    let breaches = sources().into_iter().filter(headless);
    report(breaches.map(|source| format!("{}: does not open with `//!`", source.path)).collect());
}

#[test]
fn files_are_short() {
    let breaches = sources().into_iter().filter(|source| source.lines.len() > FILE_LINES_MAX);
    let text = |source: Source| {
        format!("{}: {} lines, more than {FILE_LINES_MAX}", source.path, source.lines.len())
    };
    report(breaches.map(text).collect());
}

/// Where a function begins: the indentation of its first line, if the line begins one.
fn function_start(line: &str) -> Option<usize> {
    let indent = line.len() - line.trim_start().len();
    let mut words = line.trim_start().split(' ').skip_while(|word| {
        word.starts_with("pub")
            || ["const", "unsafe", "async", "extern", "\"C\"", "in"].contains(word)
    });
    (words.next() == Some("fn")).then_some(indent)
}

#[test]
fn functions_are_short() {
    let mut breaches = Vec::new();
    for source in sources() {
        for (index, line) in source.lines.iter().enumerate() {
            let Some(indent) = function_start(line) else { continue };
            let above = source.lines[..index]
                .iter()
                .rev()
                .take_while(|line| line.trim_start().starts_with(['/', '#']));
            if above.into_iter().any(|line| line.trim() == "// tidy: table") {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let is_whole = line.trim_end().ends_with('}') || line.trim_end().ends_with(';');
            let length =
                source.lines[index..].iter().position(|line| *line == end).filter(|_| !is_whole);
            // A declaration over several lines ends before the first line of another function.
            let length = length.map_or(1, |length| length + 1);
            let body = &source.lines[index..index + length];
            let declared = body.iter().position(|line| line.ends_with('{'));
            let ended = body.iter().position(|line| line.trim_end().ends_with(';'));
            let is_declaration =
                ended.is_some_and(|ended| declared.is_none_or(|declared| ended < declared));
            if length > FUNCTION_LINES_MAX && !is_declaration {
                breaches.push(format!(
                    "{}:{}: {length} lines: {}",
                    source.path,
                    index + 1,
                    line.trim()
                ));
            }
        }
    }
    report(breaches);
}

#[test]
fn unsafe_stands_where_it_is_watched() {
    let mut breaches = Vec::new();
    for source in sources() {
        let watched = source.part().is_some_and(|part| UNSAFE_FOLDERS.contains(&part));
        for (index, line) in source.lines.iter().enumerate() {
            let code = code(line);
            let is_unsafe =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            if !is_unsafe || source.path == "tests/tidy.rs" {
                continue;
            }
            if !watched {
                breaches.push(format!(
                    "{}:{}: unsafe outside of {UNSAFE_FOLDERS:?}",
                    source.path,
                    index + 1
                ));
            }
            // An `unsafe fn` says what it needs under `# Safety`.
            let noted = source.lines[index.saturating_sub(8)..=index].iter();
            let mut noted =
                noted.filter(|line| line.contains("SAFETY:") || line.contains("# Safety"));
            if noted.next().is_none() {
                breaches.push(format!(
                    "{}:{}: unsafe without a SAFETY note",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    report(breaches);
}

#[test]
fn folders_are_parts_of_the_engine() {
    let mut breaches = BTreeMap::new();
    for source in sources() {
        for name in source.path.split('/').rev().skip(1).filter(|name| VAGUE_NAMES.contains(name)) {
            breaches.insert(format!("{}: '{name}' names no part of the engine", source.path), ());
        }
    }
    report(breaches.into_keys().collect());
}

#[test]
fn the_rules_are_told_apart() {
    assert_eq!(code(r#"let a = "unsafe // \" x"; // unsafe"#), "let a = ; ");
    let source = Source {
        path: "src/op/x.rs".into(),
        lines: [
            "use crate::{plan, sql::X};",
            "// crate::cli",
            "crate::job::f()",
            "#[cfg(test)]",
            "crate::cli",
        ]
        .map(String::from)
        .into(),
    };
    let found: Vec<String> = imports(&source).into_iter().map(|(_, name)| name).collect();
    assert_eq!(found, ["plan", "sql", "job"]);
    assert_eq!(function_start("    pub(crate) const fn x() {"), Some(4));
    assert_eq!(function_start("fnord();"), None);
}
