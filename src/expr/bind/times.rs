//! Functions of dates and times, and interval arithmetic.

use crate::batch::DataType;
use crate::error::ExprError;
use crate::expr::expression::Expr;

use super::{Bound, arity, coerce, fixed, literal_text, strict};

pub(super) fn bind(name: &str, args: Vec<Expr>) -> Bound {
    let bound = match name {
        "EXTRACT" => extract(fixed(name, args)?),
        "YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAYOFYEAR" | "DAYOFMONTH" | "DAYOFWEEK"
        | "HOUR" | "MINUTE" | "SECOND" => {
            let unit = match name {
                "DAYOFYEAR" => "DOY",
                "DAYOFMONTH" => "DAY",
                "DAYOFWEEK" => "DOW",
                unit => unit,
            };
            let [value] = fixed(name, args)?;
            extract([text(unit), value])
        }
        "FLOOR TO" => rounded_time("FLOOR TO", fixed(name, args)?),
        "CEIL TO" | "CEILING TO" => rounded_time("CEIL TO", fixed(name, args)?),
        "TIMESTAMPDIFF" => difference(fixed(name, args)?),
        "TIMESTAMPADD" => addition(fixed(name, args)?),
        "CURRENT_TIMESTAMP" | "NOW" => now("CURRENT_TIMESTAMP", args, DataType::TimestampLtz(3)),
        "CURRENT_ROW_TIMESTAMP" => now("CURRENT_TIMESTAMP", args, DataType::TimestampLtz(3)),
        "PROCTIME" => now("PROCTIME", args, DataType::TimestampLtz(3)),
        "LOCALTIMESTAMP" => now("LOCALTIMESTAMP", args, DataType::Timestamp(3)),
        "CURRENT_DATE" => now("CURRENT_DATE", args, DataType::Date),
        "LOCALTIME" | "CURRENT_TIME" => now("LOCALTIME", args, DataType::Time(0)),
        _ => return Ok(Err(args)),
    };
    bound.map(Ok)
}

fn text(text: &str) -> Expr {
    use crate::expr::expression::Value;
    Expr::literal(Value::String(text.into()), DataType::Char(text.len() as u32))
}

fn now(name: &'static str, args: Vec<Expr>, data_type: DataType) -> Result<Expr, ExprError> {
    // LOCALTIME(3) and its kin take a precision, which changes nothing here.
    arity(name, &args, 0, 1)?;
    Ok(strict(name, Vec::new(), data_type))
}

const UNITS: [&str; 18] = [
    "MILLENNIUM",
    "CENTURY",
    "DECADE",
    "YEAR",
    "ISOYEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "DOY",
    "DOW",
    "ISODOW",
    "HOUR",
    "MINUTE",
    "SECOND",
    "MILLISECOND",
    "MICROSECOND",
    "NANOSECOND",
];

/// The unit as the kernels spell it: `SQL_TSI_DAY` and `DAYS` are `DAY`.
fn unit(name: &str, arg: &Expr) -> Result<&'static str, ExprError> {
    let written = literal_text(name, "unit", arg)?.to_ascii_uppercase();
    let bare = written.strip_prefix("SQL_TSI_").unwrap_or(&written);
    let single = bare.strip_suffix('S').unwrap_or(bare);
    let known = UNITS.iter().chain(&["EPOCH"]).find(|unit| **unit == bare || **unit == single);
    known.copied().ok_or_else(|| ExprError {
        message: format!("{name} knows no unit {written}"),
        hint: Some("write YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE or SECOND".into()),
    })
}

/// Timestamps of the wall clock: TIMESTAMP_LTZ is seen in the session's zone.
fn wall_clock(arg: Expr) -> Expr {
    match arg.data_type {
        DataType::TimestampLtz(precision) => coerce(arg, DataType::Timestamp(precision)),
        _ => arg,
    }
}

fn extract([unit_arg, value]: [Expr; 2]) -> Result<Expr, ExprError> {
    let unit = unit("EXTRACT", &unit_arg)?;
    let instant = value.data_type;
    // EPOCH, too, counts from 1970 on the wall's clock, as in Flink.
    let value = wall_clock(value);
    let clock =
        matches!(unit, "HOUR" | "MINUTE" | "SECOND" | "MILLISECOND" | "MICROSECOND" | "NANOSECOND");
    let known = match value.data_type {
        DataType::Null => {
            let typed = coerce(value, DataType::Timestamp(3));
            return Ok(strict("EXTRACT", vec![text(unit), typed], DataType::BigInt));
        }
        data_type if data_type.is_timestamp() => true,
        DataType::Date => true,
        DataType::Time(_) => clock || unit == "EPOCH",
        DataType::IntervalDay => clock || matches!(unit, "DAY" | "EPOCH"),
        DataType::IntervalMonth => matches!(unit, "YEAR" | "MONTH" | "QUARTER"),
        _ => false,
    };
    if !known {
        return Err(ExprError::new(format!("EXTRACT({unit} FROM …) cannot take {instant}")));
    }
    Ok(strict("EXTRACT", vec![text(unit), value], DataType::BigInt))
}

fn rounded_time(name: &'static str, [value, unit_arg]: [Expr; 2]) -> Result<Expr, ExprError> {
    let unit = unit(name, &unit_arg)?;
    if matches!(unit, "EPOCH" | "DOY" | "DOW" | "ISODOW" | "ISOYEAR" | "NANOSECOND" | "MICROSECOND")
    {
        return Err(ExprError::new(format!("{name} {unit} is no unit to round to")));
    }
    let data_type = value.data_type;
    match data_type {
        data_type if data_type.is_timestamp() => {}
        DataType::Date | DataType::Time(_) => {}
        DataType::Null => return Ok(coerce(value, DataType::Timestamp(3))),
        other => return Err(ExprError::new(format!("{name} {unit} cannot take {other}"))),
    }
    Ok(strict(name, vec![value, text(unit)], data_type))
}

fn difference([unit_arg, from, to]: [Expr; 3]) -> Result<Expr, ExprError> {
    let unit = unit("TIMESTAMPDIFF", &unit_arg)?;
    if !matches!(unit, "YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAY" | "HOUR" | "MINUTE" | "SECOND")
    {
        return Err(ExprError::new(format!("TIMESTAMPDIFF knows no unit {unit}")));
    }
    let (from, to) = (point("TIMESTAMPDIFF", from)?, point("TIMESTAMPDIFF", to)?);
    Ok(strict("TIMESTAMPDIFF", vec![text(unit), from, to], DataType::Int))
}

/// A date or timestamp as TIMESTAMP on the wall clock.
fn point(name: &str, arg: Expr) -> Result<Expr, ExprError> {
    match wall_clock(arg) {
        arg if matches!(arg.data_type, DataType::Timestamp(_)) => Ok(arg),
        arg if matches!(arg.data_type, DataType::Date | DataType::Null) => {
            Ok(coerce(arg, DataType::Timestamp(3)))
        }
        arg => {
            Err(ExprError::new(format!("{name} wants timestamps or dates, not {}", arg.data_type)))
        }
    }
}

fn addition([unit_arg, count, value]: [Expr; 3]) -> Result<Expr, ExprError> {
    let unit = unit("TIMESTAMPADD", &unit_arg)?;
    if !matches!(unit, "YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAY" | "HOUR" | "MINUTE" | "SECOND")
    {
        return Err(ExprError::new(format!("TIMESTAMPADD knows no unit {unit}")));
    }
    if !count.data_type.is_integer() && count.data_type != DataType::Null {
        return Err(ExprError::new(format!(
            "TIMESTAMPADD wants an INT to add, not {}",
            count.data_type
        )));
    }
    let months = matches!(unit, "YEAR" | "QUARTER" | "MONTH" | "WEEK" | "DAY");
    let (value, data_type) = match value.data_type {
        DataType::Date if months => (value, DataType::Date),
        DataType::Date => (coerce(value, DataType::Timestamp(6)), DataType::Timestamp(6)),
        DataType::Null => (coerce(value, DataType::Timestamp(3)), DataType::Timestamp(3)),
        data_type if data_type.is_timestamp() || matches!(data_type, DataType::Time(_)) => {
            (value, data_type)
        }
        other => return Err(ExprError::new(format!("TIMESTAMPADD cannot add to {other}"))),
    };
    Ok(strict("TIMESTAMPADD", vec![text(unit), coerce(count, DataType::BigInt), value], data_type))
}

/// `+ - * /` where a side is a time or an interval.
pub(super) fn arithmetic(op: &'static str, a: Expr, b: Expr) -> Result<Expr, ExprError> {
    use DataType::*;
    let (left, right) = (a.data_type, b.data_type);
    let interval = |data_type| matches!(data_type, IntervalDay | IntervalMonth);
    let time =
        |data_type: DataType| data_type.is_timestamp() || matches!(data_type, Date | Time(_));
    let same_clock =
        |data_type, interval| !(matches!(data_type, Time(_)) && interval == IntervalMonth);
    Ok(match op {
        "+" | "-" if interval(left) && left == right => strict(op, vec![a, b], left),
        "+" | "-" if time(left) && interval(right) && same_clock(left, right) => {
            strict(op, vec![a, b], left)
        }
        "+" if interval(left) && time(right) && same_clock(right, left) => {
            strict(op, vec![b, a], right)
        }
        "*" if interval(left) && right.is_integer() => strict(op, vec![a, coerce(b, BigInt)], left),
        "*" if left.is_integer() && interval(right) => {
            strict(op, vec![b, coerce(a, BigInt)], right)
        }
        "-" if time(left) && time(right) => {
            return Err(ExprError {
                message: format!("{left} - {right} has no type"),
                hint: Some("write TIMESTAMPDIFF(SECOND, a, b)".into()),
            });
        }
        "+" if left.is_string() || right.is_string() => {
            return Err(ExprError {
                message: format!("{left} + {right} does not add"),
                hint: Some("write || to join strings, or CAST to a number".into()),
            });
        }
        _ => {
            let hint = (left.is_string() || right.is_string())
                .then(|| "CAST the string to a number".into());
            return Err(ExprError {
                message: format!("{left} {op} {right} cannot be computed"),
                hint,
            });
        }
    })
}
