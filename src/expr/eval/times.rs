//! Arithmetic of times and intervals, and the clock.

use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::{ArrayRef, Int32Array, Int64Array};

use crate::batch::DataType;
use crate::expr::calendar::{self, DAY_MS};
use crate::expr::expression::Expr;

use super::datum::{Datum, map, some_numbers, zip};
use super::{EvalContext, Kernel};

/// The loop for `name`, and whether it can fail.
pub(super) fn kernel(name: &'static str, args: &[Expr]) -> Option<(Kernel, bool)> {
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type).collect();
    let kernel = match name {
        "CURRENT_TIMESTAMP" | "PROCTIME" | "LOCALTIMESTAMP" | "CURRENT_DATE" | "LOCALTIME" => {
            clock(name)
        }
        "NEGATE" if types[0] == DataType::IntervalDay => {
            Box::new(|args: &[Datum], rows: usize, _: &EvalContext| {
                Ok(map::<Int64Type, Int64Type>(&args[0], rows, i64::wrapping_neg))
            }) as Kernel
        }
        "NEGATE" if types[0] == DataType::IntervalMonth => {
            Box::new(|args: &[Datum], rows: usize, _: &EvalContext| {
                Ok(map::<Int32Type, Int32Type>(&args[0], rows, i32::wrapping_neg))
            })
        }
        "+" | "-" | "*" => arithmetic(name, types[0], types[1])?,
        _ => return None,
    };
    Some((kernel, false))
}

fn clock(name: &'static str) -> Kernel {
    Box::new(move |_, _, context| {
        let wall = calendar::to_wall_ms(context.now_ms, context.time_zone);
        Ok(match name {
            "CURRENT_TIMESTAMP" | "PROCTIME" => {
                Arc::new(Int64Array::from(vec![context.now_ms])) as ArrayRef
            }
            "LOCALTIMESTAMP" => Arc::new(Int64Array::from(vec![wall])),
            "CURRENT_DATE" => Arc::new(Int32Array::from(vec![wall.div_euclid(DAY_MS) as i32])),
            _ => {
                let ms = wall.rem_euclid(DAY_MS);
                Arc::new(Int32Array::from(vec![(ms - ms % 1000) as i32]))
            }
        })
    })
}

fn arithmetic(op: &'static str, left: DataType, right: DataType) -> Option<Kernel> {
    use DataType::*;
    let sign: i64 = if op == "-" { -1 } else { 1 };
    Some(match (left, right) {
        (IntervalDay, BigInt) => {
            Box::new(|args, rows, _| Ok(zip::<Int64Type, Int64Type>(args, rows, i64::wrapping_mul)))
        }
        (IntervalDay, IntervalDay) => Box::new(move |args, rows, _| {
            Ok(zip::<Int64Type, Int64Type>(args, rows, |a, b| a.wrapping_add(b.wrapping_mul(sign))))
        }),
        (IntervalMonth, IntervalMonth) => Box::new(move |args, rows, _| {
            Ok(zip::<Int32Type, Int32Type>(args, rows, |a, b| {
                a.wrapping_add(b.wrapping_mul(sign as i32))
            }))
        }),
        (IntervalMonth, BigInt) => Box::new(|args, rows, _| {
            let (months, count) = (args[0].numbers::<Int32Type>(), args[1].numbers::<Int64Type>());
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                Some(i64::from(months.get(row)).wrapping_mul(count.get(row)) as i32)
            })))
        }),
        (Timestamp(_) | TimestampLtz(_), IntervalDay) => {
            let scale = sign * left.ticks_per_ms();
            Box::new(move |args, rows, _| {
                Ok(zip::<Int64Type, Int64Type>(args, rows, |ticks, ms| {
                    ticks.wrapping_add(ms.wrapping_mul(scale))
                }))
            })
        }
        (Timestamp(_) | TimestampLtz(_), IntervalMonth) => {
            let per_day = DAY_MS * left.ticks_per_ms();
            Box::new(move |args, rows, _| {
                let (ticks, months) =
                    (args[0].numbers::<Int64Type>(), args[1].numbers::<Int32Type>());
                Ok(Arc::new(some_numbers::<Int64Type>(args, rows, |row| {
                    add_months(ticks.get(row), sign * i64::from(months.get(row)), per_day)
                })))
            })
        }
        (Date, IntervalDay) => Box::new(move |args, rows, _| {
            let (days, ms) = (args[0].numbers::<Int32Type>(), args[1].numbers::<Int64Type>());
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                i32::try_from(i64::from(days.get(row)) + sign * (ms.get(row) / DAY_MS)).ok()
            })))
        }),
        (Date, IntervalMonth) => Box::new(move |args, rows, _| {
            let (days, months) = (args[0].numbers::<Int32Type>(), args[1].numbers::<Int32Type>());
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                calendar::add_months(days.get(row), sign * i64::from(months.get(row)))
            })))
        }),
        (Time(_), IntervalDay) => Box::new(move |args, rows, _| {
            let (times, ms) = (args[0].numbers::<Int32Type>(), args[1].numbers::<Int64Type>());
            Ok(Arc::new(some_numbers::<Int32Type>(args, rows, |row| {
                let moved = i64::from(times.get(row)) + sign * (ms.get(row) % DAY_MS);
                Some(moved.rem_euclid(DAY_MS) as i32)
            })))
        }),
        _ => return None,
    })
}

/// Ticks moved by months.
pub(super) fn add_months(ticks: i64, months: i64, per_day: i64) -> Option<i64> {
    let days = calendar::add_months(i32::try_from(ticks.div_euclid(per_day)).ok()?, months)?;
    i64::from(days).checked_mul(per_day)?.checked_add(ticks.rem_euclid(per_day))
}
