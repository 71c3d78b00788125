//! Runs every line of `flink/*.txt` and compares type and rows with those that a real Flink 2.3 gave.
//!
//! A line is `expression :: type => row | row | …`, rows as JSON; one that starts with `@` is a column of the table.
//! Lines that start with `#` are comments; differences on purpose stand there with their reason.

mod sql;

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::*;
use chrono_tz::Tz;

use crate::batch::text::write_timestamp_trimmed;
use crate::batch::{Batch, DataType};

use super::{EvalContext, Evaluator, text};

/// The columns of most files.
const WIDE: &str = include_str!("flink/wide.txt");

type Column = (String, DataType, ArrayRef);

#[test]
fn numbers() {
    check(include_str!("flink/numbers.txt"), WIDE, Tz::UTC);
}

#[test]
fn strings() {
    check(include_str!("flink/strings.txt"), WIDE, Tz::UTC);
}

#[test]
fn times() {
    check(include_str!("flink/times.txt"), WIDE, Tz::UTC);
}

#[test]
fn casts() {
    check(include_str!("flink/casts.txt"), WIDE, Tz::UTC);
}

#[test]
fn parsing() {
    check(include_str!("flink/parsing.txt"), "", Tz::UTC);
}

#[test]
fn formats() {
    check(include_str!("flink/formats.txt"), "", Tz::UTC);
}

#[test]
fn zones() {
    check(include_str!("flink/zones.txt"), "", Tz::America__New_York);
}

#[test]
fn cases() {
    check(include_str!("flink/cases.txt"), "", Tz::UTC);
}

#[test]
fn mixed() {
    check(include_str!("flink/mixed.txt"), WIDE, Tz::UTC);
}

fn check(lines: &str, table_lines: &str, zone: Tz) {
    let mut table = Vec::new();
    let mut bad = Vec::new();
    for line in table_lines
        .lines()
        .chain(lines.lines())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (expression, rest) = line.split_once("  :: ").expect("a line has a type");
        let (data_type, rows) = rest.split_once("  => ").expect("a line has rows");
        if let Some(name) = expression.strip_prefix("@ ") {
            define(&mut table, name, data_type, rows);
        } else if let Err(message) = check_line(expression, data_type, rows, &table, zone) {
            bad.push(format!("{expression}\n    {message}"));
        }
    }
    assert!(bad.is_empty(), "{} lines differ:\n{}", bad.len(), bad.join("\n"));
}

/// Adds a column to the table, or replaces it; a column of another length starts a new table.
fn define(table: &mut Vec<Column>, name: &str, data_type: &str, rows: &str) {
    let texts: StringViewArray =
        rows.split(" | ").map(|row| serde_json::from_str::<Option<String>>(row).unwrap()).collect();
    table.retain(|(known, _, column)| known != name && column.len() == texts.len());
    let data_type = sql::parse_type(data_type).expect("a type");
    let expr = super::cast(super::Expr::column(0, DataType::STRING, true), data_type).unwrap();
    let batch = Batch::new(vec![Arc::new(texts)], rows.split(" | ").count());
    let context = EvalContext { time_zone: Tz::UTC, now_ms: 0 };
    let column = Evaluator::new(&expr, Tz::UTC).eval(&batch, &context).unwrap();
    table.push((name.to_string(), data_type, column));
}

fn check_line(
    expression: &str,
    data_type: &str,
    rows: &str,
    table: &[Column],
    zone: Tz,
) -> Result<(), String> {
    let columns: Vec<(&str, DataType)> =
        table.iter().map(|(name, data_type, _)| (name.as_str(), *data_type)).collect();
    let expr = sql::bind(expression, &columns)?;
    let ours = expr.data_type.to_string();
    let theirs = data_type.replace("TIMESTAMP(3) WITH LOCAL TIME ZONE", "TIMESTAMP_LTZ(3)");
    if ours != theirs && !expr.data_type.is_string() && !expr.data_type.is_binary() {
        return Err(format!("type {ours}, Flink {theirs}"));
    }
    let batch =
        Batch::new(table.iter().map(|(_, _, column)| column.clone()).collect(), table[0].2.len());
    let context = EvalContext { time_zone: zone, now_ms: 0 };
    let evaluator = Evaluator::new(&expr, zone);
    let column = evaluator.eval(&batch, &context).map_err(|error| error.to_string())?;
    let ours: Vec<String> = (0..batch.rows).map(|row| show(&column, expr.data_type, row)).collect();
    // Row by row, from the middle of a column, the answers are the same.
    for (row, ours) in ours.iter().enumerate() {
        let single =
            evaluator.eval(&batch.slice(row, 1), &context).map_err(|error| error.to_string())?;
        let single = show(&single, expr.data_type, 0);
        if single != *ours {
            return Err(format!("row {row} alone is {single}, in the batch {ours}"));
        }
    }
    let theirs: Vec<&str> = rows.split(" | ").collect();
    if ours.len() == theirs.len()
        && ours.iter().zip(&theirs).all(|(ours, theirs)| same(ours, theirs))
    {
        return Ok(());
    }
    Err(format!("  ours {}\n    Flink {}", ours.join(" | "), theirs.join(" | ")))
}

/// Doubles may differ in their last digit: Java's and Rust's functions round differently.
fn same(ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        return true;
    }
    match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(a), Ok(b)) if ours.contains('.') && theirs.contains('.') => {
            (a - b).abs() <= 4e-16 * b.abs()
        }
        _ => false,
    }
}

/// A value as the recorded rows show it.
fn show(column: &ArrayRef, data_type: DataType, row: usize) -> String {
    if column.is_null(row) {
        return "null".into();
    }
    let mut out = Vec::new();
    text::append_value(column, data_type, row, Tz::UTC, &mut out);
    let plain = String::from_utf8_lossy(&out).into_owned();
    match data_type {
        DataType::Boolean => plain.to_lowercase(),
        DataType::Float | DataType::Double if plain.ends_with(|c: char| c.is_ascii_digit()) => {
            plain
        }
        data_type if data_type.is_integer() || matches!(data_type, DataType::Decimal(..)) => plain,
        DataType::Time(_) => {
            let plain = plain.trim_end_matches(".0");
            format!("\"{}\"", plain.strip_suffix(":00").unwrap_or(plain))
        }
        DataType::Timestamp(precision) | DataType::TimestampLtz(precision) => {
            let ticks = arrow_array::cast::AsArray::as_primitive::<Int64Type>(column).value(row);
            let mut trimmed = Vec::new();
            write_timestamp_trimmed(&mut trimmed, ticks, precision, b' ');
            let mut shown = String::from_utf8(trimmed).unwrap();
            let digits = shown.split_once('.').map_or(0, |(_, digits)| digits.len());
            if digits == 0 {
                shown.push('.');
            }
            shown.push_str(&"0".repeat(3usize.saturating_sub(digits)));
            let zone = if matches!(data_type, DataType::TimestampLtz(_)) { "Z" } else { "" };
            let plus = if shown.find('-').is_some_and(|dash| dash > 4) { "+" } else { "" };
            format!("\"{plus}{shown}{zone}\"")
        }
        data_type if data_type.is_binary() => {
            format!("\"{}\"", out.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        DataType::Date if plain.len() > 10 => format!("\"+{plain}\""),
        _ => serde_json::Value::String(plain).to_string(),
    }
}
