//! The code that the documentation and the examples show.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::surface::Public;

/// The words of all that is shown, and those that stand where a method's name does: behind a dot, a path or `fn`.
#[derive(Default)]
pub(crate) struct Examples {
    words: BTreeSet<String>,
    methods: BTreeSet<String>,
}

impl Examples {
    /// All that the documentation in `src` and the programs in `examples` show.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut examples = Self::default();
        each_file(&root.join("src"), &mut |text| {
            let docs: String =
                text.lines().filter_map(documentation).map(|line| format!("{line}\n")).collect();
            blocks(&docs).iter().for_each(|block| examples.add(block));
        });
        each_file(&root.join("examples"), &mut |text| examples.add(text));
        examples
    }

    pub(crate) fn add(&mut self, code: &str) {
        let mut before = "";
        for token in tokens(code) {
            if token.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                self.words.insert(token.to_owned());
                if [".", ":", "fn"].contains(&before) {
                    self.methods.insert(token.to_owned());
                }
            }
            before = token;
        }
    }

    pub(crate) fn show(&self, item: &Public) -> bool {
        let is_method = item.is_associated && item.name.starts_with(char::is_lowercase);
        let words = if is_method { &self.methods } else { &self.words };
        words.contains(&item.name)
    }
}

fn each_file(folder: &Path, read: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            each_file(&path, read);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&fs::read_to_string(&path).expect("source is text"));
        }
    }
}

/// The line of documentation in a line of source. A block whose fence an attribute makes is one too.
fn documentation(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with(['#']) && line.contains("cfg_attr(") && line.contains("doc = \"```\"") {
        return Some("```");
    }
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
}

/// The blocks of Rust that rustdoc runs, without the lines that it hides.
pub(crate) fn blocks(docs: &str) -> Vec<String> {
    let (mut blocks, mut open): (Vec<String>, Option<bool>) = (Vec::new(), None);
    for line in docs.lines().map(str::trim_start) {
        if let Some(kind) = line.strip_prefix("```") {
            open = match open {
                Some(_) => None,
                None => {
                    let runs = ["", "no_run", "rust"].contains(&kind.trim());
                    if runs {
                        blocks.push(String::new());
                    }
                    Some(runs)
                }
            };
        } else if let (Some(true), false) = (open, line == "#" || line.starts_with("# ")) {
            let block = blocks.last_mut().expect("it is open");
            block.push_str(line);
            block.push('\n');
        }
    }
    blocks
}

/// Words and signs, without spaces.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let length = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (token, others) = rest.split_at(length);
        rest = others;
        Some(token)
    })
}
