//! Reads the options of a `WITH (…)` clause, each with its type, and refuses what is left over.
//!
//! # Invariants
//!
//! 1. An option that nobody asked for is an error with the nearest known key: nothing only parses.
//! 2. The options of a format (`json.…`, `csv.…`) are the format's to check.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::error::OptionError;
use crate::format::Options;

/// An error about the option `key`.
pub(crate) fn wrong(key: &str, message: impl Into<String>) -> OptionError {
    OptionError { key: key.into(), message: message.into(), hint: None }
}

/// An error about the option `key`, with what to write instead.
pub(crate) fn wrong_hint(
    key: &str,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> OptionError {
    OptionError { key: key.into(), message: message.into(), hint: Some(hint.into()) }
}

/// Hands out options and remembers which keys are known.
pub(crate) struct OptionReader<'a> {
    connector: &'static str,
    options: &'a Options,
    known: BTreeSet<String>,
}

impl<'a> OptionReader<'a> {
    pub(crate) fn new(connector: &'static str, options: &'a Options) -> Self {
        Self { connector, options, known: BTreeSet::from(["connector".to_owned()]) }
    }

    /// The text of `key`, if given.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'a str> {
        self.known.insert(key.to_owned());
        self.options.get(key).map(String::as_str)
    }

    /// The text of `key`; `what` it is good for goes into the message when it is missing.
    pub(crate) fn required(&mut self, key: &str, what: &str) -> Result<&'a str, OptionError> {
        let connector = self.connector;
        self.text(key).filter(|text| !text.is_empty()).ok_or_else(|| {
            let message = format!("the connector '{connector}' needs it: {what}");
            wrong_hint(key, message, format!("add '{key}' = '…' to the WITH clause"))
        })
    }

    /// The value of `key`, parsed; `what` says what it should be.
    pub(crate) fn parsed<T: FromStr>(
        &mut self,
        key: &str,
        what: &str,
    ) -> Result<Option<T>, OptionError> {
        self.text(key)
            .map(|text| text.trim().parse().map_err(|_| wrong(key, not(text, what))))
            .transpose()
    }

    /// `true` or `false`, in any case.
    pub(crate) fn boolean(&mut self, key: &str, default: bool) -> Result<bool, OptionError> {
        match self.text(key) {
            None => Ok(default),
            Some(text) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(wrong(key, not(text, "true or false"))),
        }
    }

    /// A duration as Flink writes them (`1 s`, `500ms`, `2 min`; a bare number is milliseconds), in milliseconds.
    pub(crate) fn duration_ms(&mut self, key: &str) -> Result<Option<u64>, OptionError> {
        let what = "a duration such as '500 ms', '10 s' or '5 min'";
        self.text(key)
            .map(|text| duration_ms(text).ok_or_else(|| wrong(key, not(text, what))))
            .transpose()
    }

    /// A size as Flink writes them (`128MB`, `1 kb`; a bare number is bytes; powers of 1024), in bytes.
    pub(crate) fn size_bytes(&mut self, key: &str) -> Result<Option<u64>, OptionError> {
        let what = "a size such as '64 kb' or '128MB'";
        self.text(key)
            .map(|text| size_bytes(text).ok_or_else(|| wrong(key, not(text, what))))
            .transpose()
    }

    /// Flink's `scan.parallelism` or `sink.parallelism`: checked; every shard reads and writes, whatever it says.
    pub(crate) fn parallelism(&mut self, key: &str) -> Result<(), OptionError> {
        self.parsed::<std::num::NonZeroU32>(key, "a whole number of at least 1").map(|_| ())
    }

    /// Marks `keys` as known: someone else reads them.
    pub(crate) fn known(&mut self, keys: &[&str]) {
        self.known.extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// Options that start with `prefix`, with the rest of their keys; all are known thereby.
    pub(crate) fn with_prefix(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let found = self
            .options
            .iter()
            .filter_map(|(key, value)| Some((key, key.strip_prefix(prefix)?, value)));
        let found: Vec<_> = found.collect();
        self.known.extend(found.iter().map(|(key, ..)| (*key).clone()));
        found.into_iter().map(|(_, rest, value)| (rest, value.as_str())).collect()
    }

    /// Refuses every option that was not asked for and does not belong to the format.
    pub(crate) fn finish(&self) -> Result<(), OptionError> {
        for key in self.options.keys() {
            if self.known.contains(key) || (self.known.contains("format") && self.is_of_format(key))
            {
                continue;
            }
            let near = nearest(key, self.known.iter().map(String::as_str));
            let known: Vec<&str> =
                self.known.iter().map(String::as_str).filter(|key| *key != "connector").collect();
            let hint = match near {
                Some(near) => format!("did you mean '{near}'?"),
                None if known.is_empty() => "remove it".to_owned(),
                None => format!("its options are {}", known.join(", ")),
            };
            return Err(wrong_hint(
                key,
                format!("the connector '{}' has no such option", self.connector),
                hint,
            ));
        }
        Ok(())
    }

    /// Whether the format, not the connector, checks `key`.
    fn is_of_format(&self, key: &str) -> bool {
        let is_csv = || self.options.get("format").is_some_and(|format| format == "csv");
        ["json.", "csv.", "rkyv."].iter().any(|prefix| key.starts_with(prefix))
            || (key == "csv-header" && is_csv())
    }
}

/// `'x' is not …`
fn not(text: &str, what: &str) -> String {
    format!("'{text}' is not {what}")
}

fn split_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim().to_ascii_lowercase()))
}

fn duration_ms(text: &str) -> Option<u64> {
    let (count, unit) = split_unit(text)?;
    let unit_ms = match unit.as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    count.checked_mul(unit_ms)
}

fn size_bytes(text: &str) -> Option<u64> {
    let (count, unit) = split_unit(text)?;
    let shift = match unit.as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 10,
        "m" | "mb" | "mebibytes" => 20,
        "g" | "gb" | "gibibytes" => 30,
        "t" | "tb" | "tebibytes" => 40,
        _ => return None,
    };
    count.checked_mul(1 << shift)
}

/// The candidate that `word` was probably meant to be.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let scored = candidates.map(|candidate| (distance(word, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// The Levenshtein distance in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, &b) in right.iter().enumerate() {
            let replace = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn reads_values_and_refuses_the_rest() {
        let given = options(&[
            ("connector", "x"),
            ("path", "a"),
            ("wait", "2 min"),
            ("size", "3kb"),
            ("pathh", "b"),
        ]);
        let mut reader = OptionReader::new("x", &given);
        assert_eq!(reader.required("path", "where"), Ok("a"));
        assert_eq!(reader.duration_ms("wait"), Ok(Some(120_000)));
        assert_eq!(reader.size_bytes("size"), Ok(Some(3072)));
        assert_eq!(reader.parsed::<u64>("count", "a number"), Ok(None));
        let error = reader.finish().unwrap_err();
        assert_eq!(
            (error.key.as_str(), error.hint.as_deref()),
            ("pathh", Some("did you mean 'path'?"))
        );
        assert!(reader.required("host", "whom to ask").is_err());
    }

    #[test]
    fn refuses_values_that_are_not() {
        let given = options(&[
            ("a", "1 parsec"),
            ("b", "yes"),
            ("c", "-1"),
            ("d", "99999999999999999999 d"),
        ]);
        let mut reader = OptionReader::new("x", &given);
        assert!(reader.duration_ms("a").is_err());
        assert!(reader.boolean("b", true).is_err());
        assert!(reader.parsed::<u64>("c", "a number").is_err());
        assert!(reader.duration_ms("d").is_err());
        assert!(duration_ms("99999999999999999 d").is_none());
    }

    #[test]
    fn near_words() {
        assert_eq!(nearest("filesytem", ["filesystem", "socket"].into_iter()), Some("filesystem"));
        assert_eq!(nearest("kafka", ["filesystem", "socket"].into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
