//! DATE, TIME and TIMESTAMP literals.

use chrono::{NaiveDate, NaiveTime};

use crate::batch::DataType;
use crate::error::ScriptError;
use crate::expr::{Expr, Value};
use crate::sql::syntax::ast::TimeLiteral;

/// The literal `text` of this kind.
///
/// # Errors
///
/// Text that is no such time.
pub(crate) fn time(kind: TimeLiteral, text: &str) -> Result<Expr, ScriptError> {
    match kind {
        TimeLiteral::Date => {
            let days = date(text).ok_or_else(|| wrong(text, "DATE", "DATE '2024-01-31'"))?;
            Ok(Expr::literal(Value::Int(days), DataType::Date))
        }
        TimeLiteral::Time => {
            let (nanos, digits) =
                clock(text).ok_or_else(|| wrong(text, "TIME", "TIME '23:59:59'"))?;
            Ok(Expr::literal(Value::Int(nanos / 1_000_000), DataType::Time(digits)))
        }
        TimeLiteral::Timestamp => timestamp(text)
            .ok_or_else(|| wrong(text, "TIMESTAMP", "TIMESTAMP '2024-01-31 23:59:59'")),
    }
}

fn wrong(text: &str, name: &str, example: &str) -> ScriptError {
    ScriptError::new(format!("'{text}' is no {name}")).hint(format!("write {example}"))
}

/// The precision is the number of digits behind the point.
fn timestamp(text: &str) -> Option<Expr> {
    let (day, rest) = text.split_once(' ').unwrap_or((text, "00:00:00"));
    let days = date(day)?;
    let (nanos, digits) = clock(rest)?;
    let data_type = DataType::Timestamp(digits);
    let ticks_per_ms = data_type.ticks_per_ms();
    let day_ticks = days.checked_mul(86_400_000)?.checked_mul(ticks_per_ms)?;
    let value = day_ticks.checked_add(nanos / (1_000_000 / ticks_per_ms))?;
    Some(Expr::literal(Value::Int(value), data_type))
}

/// `yyyy-MM-dd` in days since the epoch.
fn date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = |part: &str, length: usize| {
        (1..=length).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !(year.len() == 4 && plain(year, 4) && plain(month, 2) && plain(day, 2)) {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)?;
    Some((date - NaiveDate::default()).num_days())
}

/// `HH:mm:ss[.fraction]` in nanoseconds of the day, and the digits of the fraction.
fn clock(text: &str) -> Option<(i64, u8)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let mut part = || -> Option<u32> {
        let part = parts.next()?;
        let plain = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if plain { part.parse().ok() } else { None }
    };
    let time = NaiveTime::from_hms_opt(part()?, part()?, part()?)?;
    if parts.next().is_some()
        || fraction.len() > 9
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = (time - NaiveTime::MIN).num_seconds();
    Some((seconds * 1_000_000_000 + nanos, fraction.len() as u8))
}
