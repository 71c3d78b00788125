//! EXTRACT, FLOOR and CEIL TO a unit, TIMESTAMPDIFF and TIMESTAMPADD.
//!
//! Fields of times before 1970 are those that the clock on the wall showed; Flink cuts towards 1970 there.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{Array, Int32Array, Int64Array};

use crate::batch::DataType;
use crate::batch::text::{civil_from_days, days_from_civil};
use crate::expr::calendar::{self, DAY_MS};
use crate::expr::expression::{Expr, ExprKind, Value};

use super::datum::{Datum, map, some_numbers};
use super::times::add_months;
use super::{EvalContext, Kernel};

/// The loop for `name`, which never fails.
pub(super) fn kernel(name: &'static str, args: &[Expr]) -> Option<(Kernel, bool)> {
    let unit = |at: usize| match args.get(at).map(|arg| &arg.kind) {
        Some(ExprKind::Literal(Value::String(unit))) => Some(unit.clone()),
        _ => None,
    };
    let kernel: Kernel = match name {
        "EXTRACT" => extract(unit(0)?, args[1].data_type),
        "FLOOR TO" => rounded(unit(1)?, args[0].data_type, false),
        "CEIL TO" => rounded(unit(1)?, args[0].data_type, true),
        "TIMESTAMPDIFF" => difference(unit(0)?, args[1].data_type, args[2].data_type),
        "TIMESTAMPADD" => addition(unit(0)?, args[2].data_type),
        _ => return None,
    };
    Some((kernel, false))
}

/// The fields of a day, by unit; `None` for units of the clock.
fn day_field(unit: &str) -> Option<fn(i32) -> i64> {
    Some(match unit {
        "YEAR" => |days| civil_from_days(days).0.into(),
        "QUARTER" => |days| civil_from_days(days).1.div_ceil(3).into(),
        "MONTH" => |days| civil_from_days(days).1.into(),
        "DAY" => |days| civil_from_days(days).2.into(),
        "DOW" => |days| i64::from((i64::from(days) + 4).rem_euclid(7) as i32) + 1,
        "ISODOW" => |days| (i64::from(days) + 3).rem_euclid(7) + 1,
        "DOY" => |days| i64::from(days) - i64::from(first_of_year(civil_from_days(days).0)) + 1,
        "WEEK" => |days| iso_week(days).1,
        "ISOYEAR" => |days| iso_week(days).0,
        "DECADE" => |days| i64::from(civil_from_days(days).0) / 10,
        "CENTURY" => |days| century(civil_from_days(days).0, 100),
        "MILLENNIUM" => |days| century(civil_from_days(days).0, 1000),
        _ => return None,
    })
}

fn first_of_year(year: i32) -> i32 {
    days_from_civil(year, 1, 1).unwrap_or(0)
}

/// The ISO week: of the year that holds its Thursday, counted from 1.
pub(in crate::expr) fn iso_week(days: i32) -> (i64, i64) {
    let thursday = i64::from(days) - (i64::from(days) + 3).rem_euclid(7) + 3;
    let thursday = i32::try_from(thursday).unwrap_or(days);
    let year = civil_from_days(thursday).0;
    (year.into(), i64::from((thursday - first_of_year(year)) / 7) + 1)
}

fn century(year: i32, years: i64) -> i64 {
    let year = i64::from(year);
    if year > 0 { (year + years - 1) / years } else { (year - years + 1) / years }
}

fn extract(unit: String, data_type: DataType) -> Kernel {
    let per_ms = if data_type.is_timestamp() { data_type.ticks_per_ms() } else { 1 };
    let day = day_field(&unit);
    let name = unit.clone();
    let clock = move |ms: i64, nanos: u32| -> i64 {
        let of_day = ms.rem_euclid(DAY_MS);
        match name.as_str() {
            "HOUR" => of_day / 3_600_000,
            "MINUTE" => of_day / 60_000 % 60,
            "SECOND" => of_day / 1000 % 60,
            "MILLISECOND" => of_day % 1000,
            "MICROSECOND" => of_day % 1000 * 1000 + i64::from(nanos / 1000),
            "NANOSECOND" => of_day % 1000 * 1_000_000 + i64::from(nanos),
            _ => ms / 1000,
        }
    };
    match data_type {
        DataType::IntervalMonth => interval_months(&unit),
        DataType::IntervalDay if unit == "DAY" => Box::new(|args, rows, _| {
            Ok(map::<Int64Type, Int64Type>(&args[1], rows, |ms| ms / DAY_MS))
        }),
        DataType::Date => Box::new(move |args, rows, _| {
            let days = args[1].numbers::<Int32Type>();
            Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                let days = days.get(row);
                Some(day.map_or_else(|| clock(i64::from(days) * DAY_MS, 0), |day| day(days)))
            })))
        }),
        DataType::Time(_) => Box::new(move |args, rows, _| {
            let times = args[1].numbers::<Int32Type>();
            Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                Some(clock(times.get(row).into(), 0))
            })))
        }),
        _ => Box::new(move |args, rows, _| {
            let ticks = args[1].numbers::<Int64Type>();
            Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                let (ms, nanos) = calendar::parts(ticks.get(row), per_ms);
                match day {
                    Some(day) => i32::try_from(ms.div_euclid(DAY_MS)).ok().map(day),
                    None => Some(clock(ms, nanos)),
                }
            })))
        }),
    }
}

fn interval_months(unit: &str) -> Kernel {
    let of: fn(i32) -> i64 = match unit {
        "YEAR" => |months| i64::from(months / 12),
        "QUARTER" => |months| i64::from(months % 12 / 3) + 1,
        _ => |months| i64::from(months % 12),
    };
    Box::new(move |args, rows, _| Ok(map::<Int32Type, Int64Type>(&args[1], rows, of)))
}

/// Milliseconds of a unit that divides days; `None` for those of the calendar.
fn unit_ms(unit: &str) -> Option<i64> {
    Some(match unit {
        "DAY" => DAY_MS,
        "HOUR" => 3_600_000,
        "MINUTE" => 60_000,
        "SECOND" => 1000,
        "MILLISECOND" => 1,
        _ => return None,
    })
}

/// The day on which the unit around `days` starts, or the next one does.
///
/// CEIL looks at the date alone, as in Flink: a time on the first day of its month is not moved.
fn rounded_days(unit: &str, days: i32, up: bool) -> Option<i32> {
    let (year, month, day) = civil_from_days(days);
    let up_by = i32::from(up);
    let years = |size: i32| year.div_euclid(size) * size;
    match unit {
        "WEEK" => {
            let since_sunday = (i64::from(days) + 4).rem_euclid(7) as i32;
            days.checked_sub(since_sunday)?.checked_add(if up && since_sunday > 0 { 7 } else { 0 })
        }
        "MONTH" => {
            let first = days_from_civil(year, month, 1)?;
            if up && day > 1 { calendar::add_months(first, 1) } else { Some(first) }
        }
        "QUARTER" => {
            let first = days_from_civil(year, (month - 1) / 3 * 3 + 1, 1)?;
            if up && (month > 1 || day > 1) { calendar::add_months(first, 3) } else { Some(first) }
        }
        "YEAR" => days_from_civil(year + i32::from(up && (month > 1 || day > 1)), 1, 1),
        "DECADE" => days_from_civil(years(10) + 10 * up_by, 1, 1),
        "CENTURY" => days_from_civil((year - 1).div_euclid(100) * 100 + 1 + 100 * up_by, 1, 1),
        "MILLENNIUM" => {
            days_from_civil((year - 1).div_euclid(1000) * 1000 + 1 + 1000 * up_by, 1, 1)
        }
        _ => Some(days),
    }
}

fn rounded_ms(unit: &str, ms: i64, up: bool) -> Option<i64> {
    match unit_ms(unit) {
        Some(size) => match ms.rem_euclid(size) {
            past if up && past > 0 => ms.checked_add(size - past),
            past => ms.checked_sub(past),
        },
        None => {
            let days = rounded_days(unit, i32::try_from(ms.div_euclid(DAY_MS)).ok()?, up)?;
            Some(i64::from(days) * DAY_MS)
        }
    }
}

fn rounded(unit: String, data_type: DataType, up: bool) -> Kernel {
    match data_type {
        DataType::Date => Box::new(move |args, rows, _| {
            let days = args[0].numbers::<Int32Type>();
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                rounded_days(&unit, days.get(row), up)
            })))
        }),
        DataType::Time(_) => Box::new(move |args, rows, _| {
            let times = args[0].numbers::<Int32Type>();
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                Some(rounded_ms(&unit, times.get(row).into(), up)?.rem_euclid(DAY_MS) as i32)
            })))
        }),
        _ => Box::new(move |args, rows, context: &EvalContext| {
            let ticks = args[0].numbers::<Int64Type>();
            let per_ms = data_type.ticks_per_ms();
            let zoned = matches!(data_type, DataType::TimestampLtz(_));
            let column: Int64Array = some_numbers::<Int64Type>(args, rows, |row| {
                let ms = ticks.get(row).div_euclid(per_ms);
                let offset = if zoned { calendar::offset_ms(ms, context.time_zone) } else { 0 };
                rounded_ms(&unit, ms.checked_add(offset)?, up)?
                    .checked_sub(offset)?
                    .checked_mul(per_ms)
            });
            Ok(Arc::new(column))
        }),
    }
}

/// TIMESTAMPDIFF(unit, from, to): whole units, cut towards zero.
fn difference(unit: String, from: DataType, to: DataType) -> Kernel {
    Box::new(move |args, rows, _| {
        let (first, last) = (args[1].numbers::<Int64Type>(), args[2].numbers::<Int64Type>());
        let (per_from, per_to) = (from.ticks_per_ms(), to.ticks_per_ms());
        Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
            let (from, to) =
                (first.get(row).div_euclid(per_from), last.get(row).div_euclid(per_to));
            Some(match unit.as_str() {
                "YEAR" => months_between(from, to)? / 12,
                "QUARTER" => months_between(from, to)? / 3,
                "MONTH" => months_between(from, to)?,
                "WEEK" => to.wrapping_sub(from) / (7 * DAY_MS),
                unit => to.wrapping_sub(from) / unit_ms(unit)?,
            } as i32)
        })))
    })
}

/// Whole months, as Calcite counts them.
fn months_between(from_ms: i64, to_ms: i64) -> Option<i64> {
    let day = |ms: i64| i32::try_from(ms.div_euclid(DAY_MS)).ok();
    let (from, to) = (day(from_ms)?, day(to_ms)?);
    let months = if to < from { -months_after(to, from)? } else { months_after(from, to)? };
    let short = calendar::add_months(from, months)? == to
        && to_ms.rem_euclid(DAY_MS) < from_ms.rem_euclid(DAY_MS);
    Some(months - i64::from(short))
}

/// Whole months from a day to a later one.
fn months_after(from: i32, to: i32) -> Option<i64> {
    let ((y1, m1, _), (y2, m2, _)) = (civil_from_days(from), civil_from_days(to));
    let months = i64::from(y2 - y1) * 12 + i64::from(m2) - i64::from(m1);
    Some(if calendar::add_months(from, months)? > to { months - 1 } else { months })
}

/// TIMESTAMPADD(unit, count, time).
fn addition(unit: String, data_type: DataType) -> Kernel {
    let months = match unit.as_str() {
        "YEAR" => Some(12),
        "QUARTER" => Some(3),
        "MONTH" => Some(1),
        _ => None,
    };
    let step_ms = if unit == "WEEK" { 7 * DAY_MS } else { unit_ms(&unit).unwrap_or(0) };
    let moved_days = move |days: i32, count: i64| match months {
        Some(months) => calendar::add_months(days, count.checked_mul(months)?),
        None => {
            i32::try_from(i64::from(days).checked_add(count.checked_mul(step_ms / DAY_MS)?)?).ok()
        }
    };
    let moved = move |ticks: i64, count: i64, per_ms: i64| match months {
        Some(months) => add_months(ticks, count.checked_mul(months)?, DAY_MS * per_ms),
        None => Some(ticks.wrapping_add(count.wrapping_mul(step_ms).wrapping_mul(per_ms))),
    };
    Box::new(move |args: &[Datum], rows, _| {
        let counts = args[1].numbers::<Int64Type>();
        Ok(match data_type {
            DataType::Date | DataType::Time(_) => {
                let values = args[2].numbers::<Int32Type>();
                let column: Int32Array =
                    some_numbers::<Int32Type>(args, rows, |row| match data_type {
                        DataType::Date => moved_days(values.get(row), counts.get(row)),
                        _ => Some(
                            moved(values.get(row).into(), counts.get(row), 1)?.rem_euclid(DAY_MS)
                                as i32,
                        ),
                    });
                Arc::new(column) as Arc<dyn Array>
            }
            _ => {
                let values = args[2].numbers::<Int64Type>();
                let per_ms = data_type.ticks_per_ms();
                Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                    moved(values.get(row), counts.get(row), per_ms)
                }))
            }
        })
    })
}
