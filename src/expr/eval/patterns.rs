//! LIKE, SIMILAR TO and the REGEXP functions.
//!
//! A pattern that is a literal is compiled once; another is compiled again only where it changes from one
//! row to the next. Java's regular expressions are rewritten for the `regex` crate, which runs in linear
//! time: what it cannot do (look-around, back references) fails the row and never answers wrongly.

use std::sync::Arc;

use arrow_array::types::*;
use memchr::memmem;
use regex::Regex;

use crate::batch::DataType;
use crate::expr::expression::{Expr, ExprKind, Value};

use super::Kernel;
use super::datum::{Datum, Texts, try_booleans, try_numbers, try_texts};

/// The loop for `name`, and whether it can fail.
pub(super) fn kernel(
    name: &'static str,
    args: &[Expr],
    _result: DataType,
) -> Option<(Kernel, bool)> {
    let literal = args.get(1).and_then(|arg| match &arg.kind {
        ExprKind::Literal(Value::String(text)) => Some(text.clone()),
        _ => None,
    });
    let escape = args.get(2).and_then(|arg| match &arg.kind {
        ExprKind::Literal(Value::String(text)) => text.chars().next(),
        _ => None,
    });
    let kernel = match name {
        "LIKE" => like(literal.as_deref(), escape),
        "SIMILAR TO" => matching(literal, move |pattern| similar(pattern, escape).map(Some)),
        "REGEXP" => matching(literal, |pattern| match compile(pattern) {
            Ok(regex) if !pattern.is_empty() => Ok(Some(regex)),
            Ok(_) | Err(Refusal::Invalid) => Ok(None),
            Err(Refusal::Unsupported(message)) => Err(message),
        }),
        "REGEXP_EXTRACT" => extract(literal),
        "REGEXP_REPLACE" => replace(literal),
        "REGEXP_COUNT" => numbers(literal, |regex, text| regex.find_iter(text).count() as i32),
        "REGEXP_INSTR" => numbers(literal, |regex, text| {
            regex.find(text).map_or(0, |found| text[..found.start()].chars().count() as i32 + 1)
        }),
        "REGEXP_SUBSTR" => substring(literal),
        _ => return None,
    };
    Some((kernel, name != "LIKE"))
}

/// A LIKE pattern, by its shape.
enum Like {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(Box<memmem::Finder<'static>>),
    Any(Vec<Wild>),
}

/// A piece of a LIKE pattern.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wild {
    /// This character.
    Char(char),
    /// `_`
    One,
    /// `%`
    Many,
}

impl Like {
    fn parse(pattern: &str, escape: Option<char>) -> Like {
        let mut pieces = Vec::new();
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            pieces.push(match char {
                char if Some(char) == escape => match chars.next() {
                    Some(next) => Wild::Char(next),
                    None => Wild::Char(char),
                },
                '%' if pieces.last() == Some(&Wild::Many) => continue,
                '%' => Wild::Many,
                '_' => Wild::One,
                char => Wild::Char(char),
            });
        }
        let text = |pieces: &[Wild]| -> Option<String> {
            pieces
                .iter()
                .map(|piece| if let Wild::Char(char) = piece { Some(*char) } else { None })
                .collect()
        };
        let shape = match pieces.as_slice() {
            [Wild::Many, inner @ .., Wild::Many] => text(inner).map(|text| {
                Like::Contains(Box::new(memmem::Finder::new(text.as_bytes()).into_owned()))
            }),
            [inner @ .., Wild::Many] => text(inner).map(Like::Prefix),
            [Wild::Many, inner @ ..] => text(inner).map(Like::Suffix),
            inner => text(inner).map(Like::Exact),
        };
        shape.unwrap_or(Like::Any(pieces))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Like::Exact(exact) => text == exact,
            Like::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Like::Suffix(suffix) => text.ends_with(suffix.as_str()),
            Like::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            Like::Any(pieces) => wild(pieces, text),
        }
    }
}

/// Matches pieces against the whole text; only the last `%` is ever tried again.
fn wild(pieces: &[Wild], text: &str) -> bool {
    let (mut at, mut rest) = (0, text);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let mut chars = rest.chars();
        let step = match pieces.get(at) {
            Some(Wild::Many) => {
                retry = Some((at, rest));
                at += 1;
                continue;
            }
            Some(Wild::One) => chars.next().is_some(),
            Some(Wild::Char(wanted)) => chars.next() == Some(*wanted),
            None => {
                if rest.is_empty() {
                    return true;
                }
                false
            }
        };
        if step {
            at += 1;
            rest = chars.as_str();
            continue;
        }
        let Some((many, from)) = retry else { return false };
        let mut chars = from.chars();
        if chars.next().is_none() {
            return false;
        }
        retry = Some((many, chars.as_str()));
        (at, rest) = (many + 1, chars.as_str());
    }
}

fn like(literal: Option<&str>, escape: Option<char>) -> Kernel {
    if let Some(pattern) = literal {
        let like = Like::parse(pattern, escape);
        return Box::new(move |args, rows, _| {
            let texts = args[0].texts();
            try_booleans(&args[..1], rows, |row| Ok(Some(like.matches(texts.get(row)))))
        });
    }
    Box::new(move |args, rows, _| {
        let (texts, patterns) = (args[0].texts(), args[1].texts());
        try_booleans(args, rows, |row| {
            Ok(Some(Like::parse(patterns.get(row), escape).matches(texts.get(row))))
        })
    })
}

/// Why a pattern does not compile.
enum Refusal {
    /// It is no regular expression in Java either.
    Invalid,
    /// Java would take it.
    Unsupported(String),
}

fn compile(pattern: &str) -> Result<Regex, Refusal> {
    if let Some(what) = unsupported(pattern) {
        return Err(Refusal::Unsupported(format!(
            "the regular expression '{pattern}' has {what}, which is not supported"
        )));
    }
    Regex::new(&from_java(pattern)).map_err(|_| Refusal::Invalid)
}

/// What linear time does not allow.
pub(in crate::expr) fn unsupported(pattern: &str) -> Option<&'static str> {
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| pattern.contains(look)) {
        return Some("look-around");
    }
    if ["*+", "++", "?+", "}+", "(?>"].iter().any(|possessive| pattern.contains(possessive)) {
        return Some("a possessive quantifier");
    }
    let mut escaped = false;
    for byte in pattern.bytes() {
        if escaped && (byte.is_ascii_digit() && byte != b'0' || byte == b'k') {
            return Some("a back reference");
        }
        escaped = !escaped && byte == b'\\';
    }
    None
}

/// Java's classes know ASCII only, its dot stops at every line end.
fn from_java(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut depth = 0;
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(next) = chars.next() {
                        if next == '\\' && chars.peek() == Some(&'E') {
                            chars.next();
                            break;
                        }
                        quoted.push(next);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some(class) => out.push_str(&escape_from_java(class, depth > 0)),
                None => out.push('\\'),
            },
            '[' => {
                depth += 1;
                out.push('[');
            }
            ']' => {
                depth = (depth - 1).max(0);
                out.push(']');
            }
            '.' if depth == 0 && !pattern.contains("(?s") => {
                out.push_str("[^\\n\\r\\x{85}\\x{2028}\\x{2029}]")
            }
            char => out.push(char),
        }
    }
    out
}

fn escape_from_java(class: char, inside: bool) -> String {
    match (class, inside) {
        ('d', false) => "[0-9]".into(),
        ('d', true) => "0-9".into(),
        ('D', _) => "[^0-9]".into(),
        ('w', false) => "[a-zA-Z0-9_]".into(),
        ('w', true) => "a-zA-Z0-9_".into(),
        ('W', _) => "[^a-zA-Z0-9_]".into(),
        ('s', false) => "[ \\t\\n\\x0B\\f\\r]".into(),
        ('s', true) => " \\t\\n\\x0B\\f\\r".into(),
        ('S', _) => "[^ \\t\\n\\x0B\\f\\r]".into(),
        ('h', _) => "[ \\t]".into(),
        ('b', false) => "(?-u:\\b)".into(),
        ('Z', false) => "\\n?\\z".into(),
        ('e', _) => "\\x1B".into(),
        (other, _) if other.is_alphanumeric() => format!("\\{other}"),
        (other, _) => regex::escape(&other.to_string()),
    }
}

/// SQL's regular expression: `%` and `_` besides the usual operators, matching the whole text.
fn similar(pattern: &str, escape: Option<char>) -> Result<Regex, String> {
    let mut out = String::from("^(?:");
    let mut inside = false;
    let mut chars = pattern.chars();
    while let Some(char) = chars.next() {
        match char {
            char if Some(char) == escape => match chars.next() {
                Some(next) => out.push_str(&regex::escape(&next.to_string())),
                None => return Err(format!("'{pattern}' ends in its escape character")),
            },
            '[' if inside && chars.as_str().starts_with(':') => {
                let (name, rest) = chars.as_str().split_once(']').unwrap_or((chars.as_str(), ""));
                out.push_str(&format!("[{}]", name.to_lowercase().replace("whitespace", "space")));
                chars = rest.chars();
            }
            '[' => {
                inside = true;
                out.push('[');
            }
            ']' => {
                inside = false;
                out.push(']');
            }
            '\\' => out.push_str("\\\\"),
            char if inside => out.push(char),
            '%' => out.push_str("(?s:.*)"),
            '_' => out.push_str("(?s:.)"),
            // As in Flink, the other operators of regular expressions work here, too.
            char => out.push(char),
        }
    }
    out.push_str(")$");
    Regex::new(&out).map_err(|_| format!("'{pattern}' is no pattern of SIMILAR TO"))
}

/// A pattern compiled: once if it is a literal, else again where it changes.
struct Patterns<'a, R> {
    texts: Texts<'a>,
    last: std::cell::RefCell<Option<(String, Result<R, String>)>>,
    compile: &'a (dyn Fn(&str) -> Result<R, String> + Send + Sync),
}

impl<R> Patterns<'_, R> {
    fn with<T>(&self, row: usize, each: impl FnOnce(&R) -> Result<T, String>) -> Result<T, String> {
        let text = self.texts.get(row);
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| known != text) {
            *last = Some((text.to_string(), (self.compile)(text)));
        }
        match &last.as_ref().expect("set above").1 {
            Ok(compiled) => each(compiled),
            Err(message) => Err(message.clone()),
        }
    }
}

type Compile<R> = Box<dyn Fn(&str) -> Result<R, String> + Send + Sync>;

/// Calls `each` with the compiled pattern of a row.
struct Compiled<R> {
    literal: Option<Result<R, String>>,
    compile: Compile<R>,
}

impl<R> Compiled<R> {
    fn new(
        literal: Option<String>,
        compile: impl Fn(&str) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        Self { literal: literal.map(|pattern| compile(&pattern)), compile: Box::new(compile) }
    }

    fn over<'a>(&'a self, args: &'a [Datum]) -> Patterns<'a, R> {
        Patterns { texts: args[1].texts(), last: None.into(), compile: &*self.compile }
    }

    fn with<T>(
        &self,
        patterns: &Patterns<'_, R>,
        row: usize,
        each: impl FnOnce(&R) -> Result<T, String>,
    ) -> Result<T, String> {
        match &self.literal {
            Some(Ok(compiled)) => each(compiled),
            Some(Err(message)) => Err(message.clone()),
            None => patterns.with(row, each),
        }
    }
}

/// A regular expression, or `None` where Flink shrugs at one that does not compile.
fn lenient(literal: Option<String>) -> Compiled<Option<Regex>> {
    Compiled::new(literal, |pattern| match compile(pattern) {
        Ok(regex) => Ok(Some(regex)),
        Err(Refusal::Invalid) => Ok(None),
        Err(Refusal::Unsupported(message)) => Err(message),
    })
}

fn matching(
    literal: Option<String>,
    compile: impl Fn(&str) -> Result<Option<Regex>, String> + Send + Sync + 'static,
) -> Kernel {
    let compiled = Compiled::new(literal, compile);
    Box::new(move |args, rows, _| {
        let (texts, patterns) = (args[0].texts(), compiled.over(args));
        try_booleans(args, rows, |row| {
            compiled.with(&patterns, row, |regex| {
                Ok(Some(regex.as_ref().is_some_and(|regex| regex.is_match(texts.get(row)))))
            })
        })
    })
}

fn extract(literal: Option<String>) -> Kernel {
    let compiled = lenient(literal);
    Box::new(move |args, rows, _| {
        let (texts, patterns) = (args[0].texts(), compiled.over(args));
        let groups = args.get(2).map(Datum::numbers::<Int32Type>);
        try_texts(args, rows, |row, out| {
            compiled.with(&patterns, row, |regex| {
                let group = groups.as_ref().map_or(0, |groups| groups.get(row));
                let Ok(group) = usize::try_from(group) else { return Ok(false) };
                let captures = regex.as_ref().and_then(|regex| regex.captures(texts.get(row)));
                let found = captures.and_then(|captures| captures.get(group));
                out.push_str(found.map_or("", |found| found.as_str()));
                Ok(found.is_some())
            })
        })
    })
}

fn replace(literal: Option<String>) -> Kernel {
    let compiled = lenient(literal);
    Box::new(move |args, rows, _| {
        let (texts, patterns, news) = (args[0].texts(), compiled.over(args), args[2].texts());
        try_texts(args, rows, |row, out| {
            compiled.with(&patterns, row, |regex| {
                let Some(regex) = regex else { return Ok(false) };
                out.push_str(&regex.replace_all(texts.get(row), regex::NoExpand(news.get(row))));
                Ok(true)
            })
        })
    })
}

fn substring(literal: Option<String>) -> Kernel {
    let compiled = lenient(literal);
    Box::new(move |args, rows, _| {
        let (texts, patterns) = (args[0].texts(), compiled.over(args));
        try_texts(args, rows, |row, out| {
            compiled.with(&patterns, row, |regex| {
                let found = regex.as_ref().and_then(|regex| regex.find(texts.get(row)));
                out.push_str(found.map_or("", |found| found.as_str()));
                Ok(found.is_some())
            })
        })
    })
}

fn numbers(
    literal: Option<String>,
    each: impl Fn(&Regex, &str) -> i32 + Send + Sync + 'static,
) -> Kernel {
    let compiled = lenient(literal);
    Box::new(move |args, rows, _| {
        let (texts, patterns) = (args[0].texts(), compiled.over(args));
        let column = try_numbers::<Int32Type>(args, rows, |row| {
            compiled.with(&patterns, row, |regex| {
                Ok(regex.as_ref().map(|regex| each(regex, texts.get(row))))
            })
        })?;
        Ok(Arc::new(column))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_matches_whole_texts() {
        let cases = [
            ("h%", None, "hello", true),
            ("%l_o", None, "hello", true),
            ("_____", None, "ünï😀x", true),
            ("h!%", Some('!'), "h%", true),
            ("h!%", Some('!'), "hello", false),
            ("", None, "", true),
            ("%a%b%", None, "xxaxxbxx", true),
            ("%a%b", None, "xxaxxbxx", false),
            ("a%", None, "a\nb", true),
            ("%%%", None, "", true),
            ("a_%c", None, "abbc", true),
            ("a_%c", None, "ac", false),
        ];
        for (pattern, escape, text, expected) in cases {
            assert_eq!(
                Like::parse(pattern, escape).matches(text),
                expected,
                "{text} LIKE {pattern}"
            );
        }
    }

    #[test]
    fn javas_classes_are_ascii() {
        let check = |pattern: &str, text: &str| compile(pattern).ok().unwrap().is_match(text);
        assert!(!check("^\\w$", "é"));
        assert!(!check("^\\d$", "٣"));
        assert!(check("^[\\w-]+$", "a-b"));
        assert!(check("^\\Qa.b\\E$", "a.b"));
        assert!(!check("a.b", "a\r\u{2028}b"));
        assert!(compile("(?=a)").is_err() && compile("(a)\\1").is_err() && compile("[").is_err());
    }
}
