//! `datagen`: made-up rows, as Flink's, but the same in every run.
//!
//! Every value is a function of the seed, the column and the row's index, so any shard makes any chunk.
//!
//! # Options
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `rows-per-second` | 10000 | rows a second of processing time |
//! | `number-of-rows` | no end | how many rows; a sequence that ends ends the table too |
//! | `scan.parallelism` | | Flink's; checked, and of no effect on the rows |
//! | `seed` | 1 | which rows (not in Flink, whose rows differ from run to run) |
//! | `timestamp-origin` | `2024-01-01 00:00:00` | what row 0 of a TIMESTAMP, DATE or TIME column is drawn from; each row is 1 ÷ `rows-per-second` later (Flink takes the machine's clock) |
//! | `fields.NAME.kind` | `random` | `random` or `sequence` |
//! | `fields.NAME.min`, `.max` | of the type | bounds of random numbers, both included |
//! | `fields.NAME.max-past` | 0 | how far random timestamps lie back at most |
//! | `fields.NAME.length` | of the type, or 100 | characters of strings (hexadecimal digits), bytes of binaries |
//! | `fields.NAME.var-len` | `false` | whether lengths vary, from 1 |
//! | `fields.NAME.null-rate` | 0 | the share of NULLs, 0 to 1 |
//! | `fields.NAME.start`, `.end` | required | bounds of a sequence, both included |
//! | `profile` | | `clicks`: the rows of [`super::clicks`]; the options below instead of `fields` |
//! | `rate`, `devices`, `pages`, `late-ppm` | 20000, 2000000, 1000, 0 | for `clicks`: rows a second of event time, how many devices and pages, the late share |
//!
//! With `clicks`, rows come as fast as they can be used unless `rows-per-second` is given.
//!
//! # Invariants
//!
//! 1. A bound that the column's type cannot hold is refused, not clipped.

mod column;

use std::sync::Arc;

use self::column::Column;
use super::clicks::{Clicks, ClicksGenerator};
use super::option::{OptionReader, nearest, wrong, wrong_hint};
use super::{Generator, Source, Split};
use crate::batch::{Batch, Schema};
use crate::error::{JobError, OptionError};
use crate::format::{Format, Options};

/// Rows a second, unless said otherwise, as in Flink.
const ROWS_PER_SECOND: u64 = 10_000;
/// 2024-01-01 00:00:00.
const ORIGIN_MS: i64 = 1_704_067_200_000;

/// Made-up rows as a source.
#[derive(Clone, Debug)]
pub struct GeneratorSource {
    generator: Arc<dyn Generator>,
}

impl GeneratorSource {
    /// The rows of `generator`.
    pub fn new(generator: Arc<dyn Generator>) -> Self {
        Self { generator }
    }

    pub(super) fn resolve(options: &Options, schema: &Schema) -> Result<Self, OptionError> {
        let mut reader = OptionReader::new("datagen", options);
        reader.parallelism("scan.parallelism")?;
        let generator: Arc<dyn Generator> = match reader.text("profile") {
            None => Arc::new(resolve_fields(&mut reader, schema)?),
            Some("clicks") => Arc::new(resolve_clicks(&mut reader, schema)?),
            Some(other) => {
                let message = format!("there is no profile '{other}'");
                return Err(wrong_hint("profile", message, "the profile is 'clicks'"));
            }
        };
        reader.finish()?;
        Ok(Self::new(generator))
    }
}

impl Source for GeneratorSource {
    fn format(&self) -> Option<Arc<dyn Format>> {
        None
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        Ok(vec![Split::Generated(self.generator.clone())])
    }
}

fn whole(
    reader: &mut OptionReader<'_>,
    key: &str,
    minimum: u64,
) -> Result<Option<u64>, OptionError> {
    match reader.parsed::<u64>(key, "a whole number")? {
        Some(value) if value < minimum => Err(wrong(key, format!("it is at least {minimum}"))),
        value => Ok(value),
    }
}

fn resolve_clicks(
    reader: &mut OptionReader<'_>,
    schema: &Schema,
) -> Result<ClicksGenerator, OptionError> {
    let default = Clicks::default();
    let small = |key: &str, value: Option<u64>, default: u32| {
        value.map_or(Ok(default), |value| {
            u32::try_from(value).map_err(|_| wrong(key, format!("{value} is too many")))
        })
    };
    let pages = whole(reader, "pages", 1)?;
    let late_ppm = whole(reader, "late-ppm", 0)?;
    let settings = Clicks {
        seed: whole(reader, "seed", 0)?.unwrap_or(default.seed),
        rate: whole(reader, "rate", 1)?.unwrap_or(default.rate),
        devices: whole(reader, "devices", 1)?.unwrap_or(default.devices),
        pages: small("pages", pages, default.pages)?,
        late_ppm: small("late-ppm", late_ppm, default.late_ppm)?,
    };
    settings.check().map_err(|message| wrong("profile", message))?;
    let row_count = whole(reader, "number-of-rows", 0)?;
    let rows_per_second = whole(reader, "rows-per-second", 1)?;
    ClicksGenerator::new(settings, row_count, rows_per_second, schema)
        .map_err(|(column, message)| wrong("profile", format!("column '{column}': {message}")))
}

/// Rows of any schema, a column at a time.
#[derive(Debug)]
struct FieldGenerator {
    columns: Vec<Column>,
    row_count: Option<u64>,
    rows_per_second: u64,
}

impl Generator for FieldGenerator {
    fn row_count(&self) -> Option<u64> {
        self.row_count
    }

    fn rows_per_second(&self) -> Option<u64> {
        Some(self.rows_per_second)
    }

    fn generate(&self, start: u64, count: usize, projection: &[usize]) -> Batch {
        Batch::new(
            projection.iter().map(|&index| self.columns[index].fill(start, count)).collect(),
            count,
        )
    }
}

fn resolve_fields(
    reader: &mut OptionReader<'_>,
    schema: &Schema,
) -> Result<FieldGenerator, OptionError> {
    let rows_per_second = whole(reader, "rows-per-second", 1)?.unwrap_or(ROWS_PER_SECOND);
    let seed = whole(reader, "seed", 0)?.unwrap_or(1);
    let origin_ms = origin_ms(reader)?;
    let mut row_count = whole(reader, "number-of-rows", 0)?;
    for (rest, _) in reader.with_prefix("fields.") {
        check_field_option(rest, schema)?;
    }
    let mut columns = Vec::new();
    for (index, field) in schema.fields.iter().enumerate() {
        let place = column::Place { seed, index: index as u64, origin_ms, rows_per_second };
        let (column, length) = Column::resolve(reader, field, &place)?;
        row_count = match (row_count, length) {
            (Some(rows), Some(length)) => Some(rows.min(length)),
            (rows, length) => rows.or(length),
        };
        columns.push(column);
    }
    Ok(FieldGenerator { columns, row_count, rows_per_second })
}

/// The instant that times are drawn from, in milliseconds since 1970.
fn origin_ms(reader: &mut OptionReader<'_>) -> Result<i64, OptionError> {
    let key = "timestamp-origin";
    let Some(text) = reader.text(key) else { return Ok(ORIGIN_MS) };
    let time = chrono::NaiveDateTime::parse_from_str(text.trim(), "%Y-%m-%d %H:%M:%S%.f");
    let message = || wrong(key, format!("'{text}' is not a time such as '2024-01-01 00:00:00'"));
    time.map(|time| time.and_utc().timestamp_millis()).map_err(|_| message())
}

/// Refuses `fields.REST` unless it is an option of a column.
fn check_field_option(rest: &str, schema: &Schema) -> Result<(), OptionError> {
    let key = format!("fields.{rest}");
    let (name, option) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let names = || schema.fields.iter().map(|field| field.name.as_str());
    if schema.column_index(name).is_none() {
        let hint = match nearest(name, names()) {
            Some(near) => format!("did you mean 'fields.{near}.{option}'?"),
            None => format!("the columns are {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Err(wrong_hint(&key, format!("the table has no column '{name}'"), hint));
    }
    if column::OPTIONS.contains(&option) {
        return Ok(());
    }
    let hint = match nearest(option, column::OPTIONS.into_iter()) {
        Some(near) => format!("did you mean 'fields.{name}.{near}'?"),
        None => format!("the options of a column are {}", column::OPTIONS.join(", ")),
    };
    Err(wrong_hint(&key, format!("a column has no option '{option}'"), hint))
}

#[cfg(test)]
mod tests;
