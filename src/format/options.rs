//! The `format` option and the options of each format, by Flink's names, checked before anything runs.
//!
//! # Invariants
//!
//! 1. An option that begins with the name of a format (`csv.…`) and is not known is refused, never ignored.
//! 2. An option that we cannot honour is refused unless it asks for what we do anyway.

use std::sync::Arc;

use super::csv::{Csv, CsvOptions};
use super::json::{Json, JsonOptions};
use super::rkyv::Rkyv;
use super::{Format, Options};
use crate::batch::{DataType, Schema};
use crate::error::OptionError;

const FORMATS: [&str; 3] = ["csv", "json", "rkyv"];

const JSON_KEYS: [&str; 8] = [
    "json.decode.json-parser.enabled",
    "json.encode.decimal-as-plain-number",
    "json.encode.ignore-null-fields",
    "json.fail-on-missing-field",
    "json.ignore-parse-errors",
    "json.map-null-key.literal",
    "json.map-null-key.mode",
    "json.timestamp-format.standard",
];

const RKYV_KEYS: [&str; 1] = ["rkyv.ignore-parse-errors"];

const CSV_KEYS: [&str; 16] = [
    "csv.allow-comments",
    "csv.allow-trailing-comma",
    "csv.array-element-delimiter",
    "csv.disable-quote-character",
    "csv.empty-string-as-null",
    "csv.escape-character",
    "csv.fail-on-missing-columns",
    "csv.field-delimiter",
    "csv.header",
    "csv.ignore-parse-errors",
    "csv.ignore-trailing-unmappable",
    "csv.null-literal",
    "csv.quote-character",
    "csv.trim-spaces",
    "csv.write-bigdecimal-in-scientific-notation",
    "csv-header",
];

/// The format that the option `format` names, or else `default`, with its options for rows of `schema`.
///
/// # Errors
///
/// A missing or unknown format, an unknown option of it, a value that is none of its values, or a column
/// type that it cannot hold.
pub fn resolve(
    options: &Options,
    default: Option<&str>,
    schema: &Schema,
) -> Result<Arc<dyn Format>, OptionError> {
    let Some(name) = options.get("format").map(String::as_str).or(default) else {
        return Err(error(
            "format",
            "it is missing",
            Some("write 'format' = 'json' or 'format' = 'csv'".into()),
        ));
    };
    match name {
        "json" => {
            check_keys(options, "json", &JSON_KEYS)?;
            Ok(Arc::new(Json::new(json_options(options)?)))
        }
        "csv" => {
            check_keys(options, "csv", &CSV_KEYS)?;
            check_csv_types(schema)?;
            Ok(Arc::new(Csv::new(csv_options(options)?)))
        }
        "rkyv" => {
            check_keys(options, "rkyv", &RKYV_KEYS)?;
            Ok(Arc::new(Rkyv { lenient: flag(options, "rkyv.ignore-parse-errors")? }))
        }
        other => {
            let hint = format!("the formats are {}", FORMATS.join(", "));
            let hint =
                nearest(other, &FORMATS).map_or(hint, |near| format!("did you mean '{near}'?"));
            Err(error("format", format!("there is no format '{other}'"), Some(hint)))
        }
    }
}

fn error(key: &str, message: impl Into<String>, hint: Option<String>) -> OptionError {
    OptionError { key: key.to_owned(), message: message.into(), hint }
}

fn check_keys(options: &Options, format: &str, known: &[&str]) -> Result<(), OptionError> {
    for key in options.keys() {
        let ours = key.split(['.', '-']).next() == Some(format) && key != format;
        if ours && !known.contains(&key.as_str()) {
            let hint = match nearest(key, known) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("the options of {format} are {}", known.join(", ")),
            };
            return Err(error(key, format!("the format {format} has no such option"), Some(hint)));
        }
        let other =
            FORMATS.iter().find(|other| **other != format && key.starts_with(&format!("{other}.")));
        if let Some(other) = other {
            let hint = format!("remove it, or write 'format' = '{other}'");
            return Err(error(key, format!("the table's format is {format}"), Some(hint)));
        }
        let prefixed = format!("{format}.{key}");
        if known.contains(&prefixed.as_str()) {
            return Err(error(
                key,
                "it lacks the format's name",
                Some(format!("write '{prefixed}'")),
            ));
        }
    }
    Ok(())
}

/// The known word that is least different from `word`, if any is close.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = |candidate: &&&str| distance(word, candidate) <= 1 + candidate.len() / 5;
    known.iter().filter(close).min_by_key(|candidate| distance(word, candidate)).copied()
}

/// How many characters must be added, removed or replaced to make one word the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, &other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(character != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

fn flag(options: &Options, key: &str) -> Result<bool, OptionError> {
    Ok(flag_or_unset(options, key)?.unwrap_or(false))
}

fn flag_or_unset(options: &Options, key: &str) -> Result<Option<bool>, OptionError> {
    match options.get(key).map(|value| value.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(error(key, format!("'{other}' is neither 'true' nor 'false'"), None)),
    }
}

fn json_options(options: &Options) -> Result<JsonOptions, OptionError> {
    for key in ["json.map-null-key.mode", "json.map-null-key.literal"] {
        if options.contains_key(key) {
            return Err(error(key, "there are no MAP columns", Some("remove it".into())));
        }
    }
    flag(options, "json.decode.json-parser.enabled")?;
    let standard = options.get("json.timestamp-format.standard").map_or("SQL", String::as_str);
    let iso_timestamps = match standard {
        "SQL" => false,
        "ISO-8601" => true,
        other => {
            let hint = Some("write 'SQL' or 'ISO-8601'".into());
            return Err(error(
                "json.timestamp-format.standard",
                format!("there is no standard '{other}'"),
                hint,
            ));
        }
    };
    let parsed = JsonOptions {
        fail_on_missing: flag(options, "json.fail-on-missing-field")?,
        lenient: flag(options, "json.ignore-parse-errors")?,
        iso_timestamps,
        plain_decimals: flag(options, "json.encode.decimal-as-plain-number")?,
        omit_nulls: flag(options, "json.encode.ignore-null-fields")?,
    };
    if parsed.fail_on_missing && parsed.lenient {
        let hint = Some("set only one of them to 'true'".into());
        let message = "it cannot be 'true' together with 'json.ignore-parse-errors'";
        return Err(error("json.fail-on-missing-field", message, hint));
    }
    Ok(parsed)
}

fn csv_options(options: &Options) -> Result<CsvOptions, OptionError> {
    if options.contains_key("csv.array-element-delimiter") {
        let hint = Some("remove it".into());
        return Err(error("csv.array-element-delimiter", "there are no ARRAY columns", hint));
    }
    let delimiter = match options.get("csv.field-delimiter") {
        Some(value) => one_byte("csv.field-delimiter", &unescape(value))?,
        None => b',',
    };
    let unquoted = flag(options, "csv.disable-quote-character")?;
    let quote = match options.get("csv.quote-character") {
        Some(_) if unquoted => {
            let hint = Some("remove one of them".into());
            return Err(error(
                "csv.quote-character",
                "it makes no sense with 'csv.disable-quote-character'",
                hint,
            ));
        }
        Some(value) => Some(one_byte("csv.quote-character", value)?),
        None => (!unquoted).then_some(b'"'),
    };
    let escape = match options.get("csv.escape-character") {
        Some(value) => Some(one_byte("csv.escape-character", value)?),
        None => None,
    };
    for (key, byte) in [("csv.quote-character", quote), ("csv.escape-character", escape)] {
        if byte == Some(delimiter) {
            return Err(error(key, "it is the field delimiter too", None));
        }
    }
    Ok(CsvOptions {
        delimiter,
        quote,
        escape,
        comments: flag(options, "csv.allow-comments")?,
        lenient: flag(options, "csv.ignore-parse-errors")?,
        fail_on_missing: flag(options, "csv.fail-on-missing-columns")?,
        ignore_extra: flag(options, "csv.ignore-trailing-unmappable")?,
        trailing_delimiter: flag_or_unset(options, "csv.allow-trailing-comma")?.unwrap_or(true),
        null_literal: options.get("csv.null-literal").cloned(),
        empty_is_null: flag(options, "csv.empty-string-as-null")?,
        trim: flag(options, "csv.trim-spaces")?,
        header: flag(options, "csv-header")? | flag(options, "csv.header")?,
        scientific: flag_or_unset(options, "csv.write-bigdecimal-in-scientific-notation")?
            .unwrap_or(true),
    })
}

/// What a Java string literal would hold: `\t`, and `\u0001`.
fn unescape(text: &str) -> String {
    let code = text.strip_prefix("\\u").filter(|digits| digits.len() == 4);
    match text {
        "\\t" => "\t".into(),
        "\\\\" => "\\".into(),
        _ => match code
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32)
        {
            Some(character) => character.to_string(),
            None => text.to_owned(),
        },
    }
}

fn one_byte(key: &str, value: &str) -> Result<u8, OptionError> {
    match value.as_bytes() {
        [b'\n' | b'\r'] => Err(error(key, "a line break cannot be it: it ends a record", None)),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err(error(key, format!("'{value}' is not one ASCII character"), None)),
    }
}

fn check_csv_types(schema: &Schema) -> Result<(), OptionError> {
    for field in schema.fields.iter() {
        if let DataType::Time(precision) = field.data_type
            && precision > 3
        {
            let message =
                format!("csv cannot hold the column `{}` {}", field.name, field.data_type);
            return Err(error("format", message, Some("declare it as TIME(3)".into())));
        }
    }
    Ok(())
}
