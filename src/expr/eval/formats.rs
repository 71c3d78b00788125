//! Times to text and back by Java's patterns: DATE_FORMAT, TO_DATE, TO_TIMESTAMP, TO_TIMESTAMP_LTZ,
//! UNIX_TIMESTAMP, FROM_UNIXTIME, CONVERT_TZ.
//!
//! A pattern that is a literal is compiled once. Texts that do not fit are NULL; UNIX_TIMESTAMP answers the
//! least BIGINT for them, as in Flink.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{Array, Int64Array};
use chrono_tz::Tz;

use crate::batch::DataType;
use crate::batch::text::pow10;
use crate::expr::calendar::{self, DAY_MS};
use crate::expr::expression::{Expr, ExprKind, Value};
use crate::expr::java_time::{Flavor, Pattern, read_jdbc};

use super::datum::{Datum, some_numbers, try_numbers, try_texts};
use super::{EvalContext, Kernel};

const DEFAULT: &str = "yyyy-MM-dd HH:mm:ss";

/// The loop for `name`, and whether it can fail: on a pattern that Java does not take.
pub(super) fn kernel(name: &'static str, args: &[Expr]) -> Option<(Kernel, bool)> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type).collect();
    let kernel: Kernel = match name {
        "DATE_FORMAT" if types[0].is_string() => {
            date_format_text(Patterns::new(args.get(1), Flavor::Simple))
        }
        "DATE_FORMAT" => date_format(types[0], Patterns::new(args.get(1), Flavor::Modern)),
        "TO_DATE" if args.len() == 1 => Box::new(|args: &[Datum], rows: usize, _: &EvalContext| {
            let texts = args[0].texts();
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                calendar::parse_date_lenient(texts.get(row))
            })) as Arc<dyn Array>)
        }) as Kernel,
        "TO_DATE" => to_date(Patterns::new(args.get(1), Flavor::Simple)),
        "TO_TIMESTAMP" if args.len() == 1 => Box::new(|args, rows, _| {
            let texts = args[0].texts();
            Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                calendar::parse_timestamp_lenient(texts.get(row)).map(|(ms, _)| ms)
            })))
        }),
        "TO_TIMESTAMP" => to_timestamp(Patterns::new(args.get(1), Flavor::Modern)),
        "TO_TIMESTAMP_LTZ" if types[0].is_numeric() => from_number(types[0]),
        "TO_TIMESTAMP_LTZ" => to_timestamp_ltz(Patterns::new(args.get(1), Flavor::Modern)),
        "UNIX_TIMESTAMP" if args.is_empty() => Box::new(|_, rows, context| {
            Ok(Arc::new(Int64Array::from(vec![context.now_ms / 1000; rows])))
        }),
        "UNIX_TIMESTAMP" => unix_timestamp(Patterns::new(args.get(1), Flavor::Simple)),
        "FROM_UNIXTIME" => from_unixtime(Patterns::new(args.get(1), Flavor::Simple)),
        "CONVERT_TZ" => convert_zone(),
        _ => return None,
    };
    Some((kernel, args.len() > 1))
}

/// The pattern of a call: a literal compiled, the default, or a column's.
struct Patterns {
    fixed: Option<Result<Pattern, String>>,
    flavor: Flavor,
}

impl Patterns {
    fn new(arg: Option<&Expr>, flavor: Flavor) -> Self {
        let fixed = match arg.map(|arg| &arg.kind) {
            None => Some(Pattern::parse(DEFAULT, flavor)),
            Some(ExprKind::Literal(Value::String(text))) => Some(Pattern::parse(text, flavor)),
            Some(_) => None,
        };
        Self { fixed, flavor }
    }

    /// Calls `each` with the pattern of a row, found in argument 1 if it is no constant.
    fn with<T>(
        &self,
        args: &[Datum],
        row: usize,
        each: impl FnOnce(&Pattern) -> Result<T, String>,
    ) -> Result<T, String> {
        match &self.fixed {
            Some(Ok(pattern)) => each(pattern),
            Some(Err(message)) => Err(message.clone()),
            None => each(&Pattern::parse(args[1].texts().get(row), self.flavor)?),
        }
    }
}

fn date_format(data_type: DataType, patterns: Patterns) -> Kernel {
    let zoned = matches!(data_type, DataType::TimestampLtz(_));
    Box::new(move |args, rows, context| {
        let ticks = args[0].numbers::<Int64Type>();
        try_texts(args, rows, |row, out| {
            patterns.with(args, row, |pattern| {
                let (ms, nanos) = calendar::parts(ticks.get(row), data_type.ticks_per_ms());
                let ms = if zoned { calendar::to_wall_ms(ms, context.time_zone) } else { ms };
                pattern.format(ms, nanos, out);
                Ok(true)
            })
        })
    })
}

fn date_format_text(patterns: Patterns) -> Kernel {
    let read = Pattern::parse(DEFAULT, Flavor::Simple).expect("the default is a pattern");
    Box::new(move |args, rows, _| {
        let texts = args[0].texts();
        try_texts(args, rows, |row, out| {
            patterns.with(args, row, |pattern| {
                let Some((ms, _)) = read.read(texts.get(row)) else { return Ok(false) };
                pattern.format(ms, 0, out);
                Ok(true)
            })
        })
    })
}

fn to_date(patterns: Patterns) -> Kernel {
    Box::new(move |args, rows, _| {
        let texts = args[0].texts();
        let column = try_numbers::<Int32Type>(args, rows, |row| {
            patterns.with(args, row, |pattern| {
                let read = pattern.read(texts.get(row));
                Ok(read.and_then(|(ms, _)| i32::try_from(ms.div_euclid(DAY_MS)).ok()))
            })
        })?;
        Ok(Arc::new(column))
    })
}

fn to_timestamp(patterns: Patterns) -> Kernel {
    Box::new(move |args, rows, _| {
        let texts = args[0].texts();
        let column = try_numbers::<Int64Type>(args, rows, |row| {
            patterns.with(args, row, |pattern| {
                let text = texts.get(row);
                Ok(pattern.read(text).or_else(|| read_jdbc(text)).map(|(ms, _)| ms))
            })
        })?;
        Ok(Arc::new(column))
    })
}

/// TO_TIMESTAMP_LTZ(text[, pattern[, zone]]); the zone is UTC unless given.
fn to_timestamp_ltz(patterns: Patterns) -> Kernel {
    Box::new(move |args, rows, _| {
        let texts = args[0].texts();
        let zones = args.get(2).map(Datum::texts);
        let column = try_numbers::<Int64Type>(args, rows, |row| {
            let text = texts.get(row);
            let wall = if args.len() == 1 {
                calendar::parse_timestamp_lenient(text)
            } else {
                patterns
                    .with(args, row, |pattern| Ok(pattern.read(text).or_else(|| read_jdbc(text))))?
            };
            let zone = zones.as_ref().map_or(Tz::UTC, |zones| zone(zones.get(row)));
            Ok(wall.map(|(ms, _)| calendar::to_instant_ms(ms, zone)))
        })?;
        Ok(Arc::new(column))
    })
}

/// The instants of the years 0 to 9999, in milliseconds: what TO_TIMESTAMP_LTZ answers.
const INSTANTS_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// TO_TIMESTAMP_LTZ(number[, precision]): seconds for 0, milliseconds for 3 (and if not given).
fn from_number(data_type: DataType) -> Kernel {
    match data_type {
        DataType::Decimal(_, scale) => {
            let unit = pow10(scale.into());
            numeric(move |args, row, per_unit| {
                let whole =
                    i64::try_from(args[0].numbers::<Decimal128Type>().get(row) / unit).ok()?;
                whole.checked_mul(per_unit)
            })
        }
        DataType::Double => numeric(|args, row, per_unit| {
            let value = args[0].numbers::<Float64Type>().get(row) * per_unit as f64;
            value.is_finite().then(|| value.floor() as i64)
        }),
        _ => numeric(|args, row, per_unit| {
            args[0].numbers::<Int64Type>().get(row).checked_mul(per_unit)
        }),
    }
}

/// `each` answers milliseconds, given how many of them the number's unit has.
fn numeric(each: impl Fn(&[Datum], usize, i64) -> Option<i64> + Send + Sync + 'static) -> Kernel {
    Box::new(move |args, rows, _| {
        let precision = args.get(1).map(Datum::numbers::<Int64Type>);
        let column = try_numbers::<Int64Type>(args, rows, |row| {
            let per_unit = match precision.as_ref().map_or(3, |precision| precision.get(row)) {
                3 => 1,
                0 => 1000,
                other => {
                    return Err(format!(
                        "TO_TIMESTAMP_LTZ knows the precisions 0 and 3, not {other}"
                    ));
                }
            };
            Ok(each(args, row, per_unit).filter(|ms| INSTANTS_MS.contains(ms)))
        })?;
        Ok(Arc::new(column))
    })
}

fn unix_timestamp(patterns: Patterns) -> Kernel {
    Box::new(move |args, rows, context| {
        let texts = args[0].texts();
        let column = try_numbers::<Int64Type>(args, rows, |row| {
            patterns.with(args, row, |pattern| {
                let wall = pattern.read(texts.get(row));
                let ms = wall.map(|(ms, _)| calendar::to_later_instant_ms(ms, context.time_zone));
                Ok(Some(ms.map_or(i64::MIN, |ms| ms / 1000)))
            })
        })?;
        Ok(Arc::new(column))
    })
}

fn from_unixtime(patterns: Patterns) -> Kernel {
    Box::new(move |args, rows, context| {
        let seconds = args[0].numbers::<Int64Type>();
        try_texts(args, rows, |row, out| {
            patterns.with(args, row, |pattern| {
                let ms =
                    calendar::to_wall_ms(seconds.get(row).wrapping_mul(1000), context.time_zone);
                pattern.format(ms, 0, out);
                Ok(true)
            })
        })
    })
}

fn convert_zone() -> Kernel {
    let pattern = Pattern::parse(DEFAULT, Flavor::Simple).expect("the default is a pattern");
    Box::new(move |args, rows, _| {
        let (texts, from, to) = (args[0].texts(), args[1].texts(), args[2].texts());
        try_texts(args, rows, |row, out| {
            let Some((wall, _)) = pattern.read(texts.get(row)) else { return Ok(false) };
            let instant = calendar::to_later_instant_ms(wall, zone(from.get(row)));
            let ms = calendar::to_wall_ms(instant, zone(to.get(row)));
            pattern.format(ms, 0, out);
            Ok(true)
        })
    })
}

/// A zone by its name, `GMT+08:00` and Java's short names included; an unknown one is UTC, as in Java's `TimeZone`.
fn zone(name: &str) -> Tz {
    let known = match name {
        "PST" => "America/Los_Angeles",
        "CST" => "America/Chicago",
        "AST" => "America/Anchorage",
        "CTT" => "Asia/Shanghai",
        "JST" => "Asia/Tokyo",
        "IST" => "Asia/Kolkata",
        "ECT" => "Europe/Paris",
        "AET" => "Australia/Sydney",
        other => other,
    };
    known.parse().ok().or_else(|| fixed_zone(name)).unwrap_or(Tz::UTC)
}

/// `GMT+8`, `GMT+08:00`: the zones of whole hours, and those of the few other offsets in use.
fn fixed_zone(name: &str) -> Option<Tz> {
    let offset = name.strip_prefix("GMT")?;
    let (east, digits) = match offset.strip_prefix('+') {
        Some(digits) => (true, digits),
        None => (false, offset.strip_prefix('-')?),
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "00"));
    let hours: u8 = hours.parse().ok()?;
    match (east, hours, minutes) {
        // The names of these zones count westwards.
        (true, hours, "00") => format!("Etc/GMT-{hours}").parse().ok(),
        (false, hours, "00") => format!("Etc/GMT+{hours}").parse().ok(),
        (true, 5, "30") => Some(Tz::Asia__Kolkata),
        (true, 5, "45") => Some(Tz::Asia__Kathmandu),
        (true, 9, "30") => Some(Tz::Australia__Darwin),
        _ => None,
    }
}
