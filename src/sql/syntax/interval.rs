//! The text of interval literals: `'5' SECOND`, `'1 10:30' DAY TO MINUTE`, `'1-6' YEAR TO MONTH`.

use super::ast::ExprKind;
use crate::batch::DataType;
use crate::error::ScriptError;

/// Fields from days down, with their milliseconds and how many of them the next larger one has.
const DAY_FIELDS: [(&str, i128, i128); 4] = [
    ("DAY", 86_400_000, i128::MAX),
    ("HOUR", 3_600_000, 24),
    ("MINUTE", 60_000, 60),
    ("SECOND", 1_000, 60),
];

/// The interval `text` of the fields `first` to `last`, negated by `minus`; `digits` is the precision written.
///
/// # Errors
///
/// Text that is no such interval, or a span beyond what fits.
pub(super) fn parse(
    text: &str,
    minus: bool,
    first: &'static str,
    last: Option<&'static str>,
    digits: Option<u64>,
) -> Result<ExprKind, ScriptError> {
    let last = last.unwrap_or(first);
    let wrong = || {
        let fields = if first == last { first.to_string() } else { format!("{first} TO {last}") };
        ScriptError::new(format!("'{text}' is no interval {fields}"))
            .hint("write INTERVAL '5' SECOND, INTERVAL '1 10' DAY TO HOUR")
    };
    let trimmed = text.trim();
    let (sign, body) = match trimmed.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let sign = if minus { -sign } else { sign };
    let months = matches!(first, "YEAR" | "QUARTER" | "MONTH");
    let (magnitude, leading) =
        if months { of_months(body, first, last) } else { of_days(body, first, last) }
            .ok_or_else(wrong)?;
    let value = i64::try_from(magnitude * sign).map_err(|_| wrong())?;
    if months && i32::try_from(value).is_err() {
        return Err(wrong());
    }
    let allowed = digits.unwrap_or(2);
    let given = leading.trim_start_matches('0').len() as u64;
    let too_long = (given > allowed).then(|| format!("INTERVAL '{text}' {first}({given})"));
    let data_type = if months { DataType::IntervalMonth } else { DataType::IntervalDay };
    Ok(ExprKind::Interval { value, data_type, too_long })
}

/// Months, and the digits of the leading field.
fn of_months<'t>(body: &'t str, first: &str, last: &str) -> Option<(i128, &'t str)> {
    if first == last {
        let each = match first {
            "YEAR" => 12,
            "QUARTER" => 3,
            _ => 1,
        };
        return Some((digits(body)? * each, body));
    }
    if (first, last) != ("YEAR", "MONTH") {
        return None;
    }
    let (years, months) = body.split_once('-')?;
    let month_count = digits(months)?;
    (month_count < 12).then_some(())?;
    Some((digits(years)? * 12 + month_count, years))
}

/// Milliseconds, and the digits of the leading field.
fn of_days<'t>(body: &'t str, first: &str, last: &str) -> Option<(i128, &'t str)> {
    if first == "WEEK" {
        (last == "WEEK").then_some(())?;
        return Some((digits(body)? * 7 * 86_400_000, body));
    }
    let from = DAY_FIELDS.iter().position(|field| field.0 == first)?;
    let to = DAY_FIELDS.iter().position(|field| field.0 == last)?;
    let mut rest = body;
    let mut total = 0;
    let mut leading = "";
    for (index, (name, each, count)) in DAY_FIELDS.into_iter().enumerate().take(to + 1).skip(from) {
        let part = if index == to {
            rest
        } else {
            let (part, more) = rest.split_once(if name == "DAY" { ' ' } else { ':' })?;
            rest = more.trim_start();
            part
        };
        let (whole, ms) =
            if name == "SECOND" { seconds(part)? } else { (part, digits(part)? * each) };
        if index == from {
            leading = whole;
        } else if digits(whole)? >= count {
            return None;
        }
        total += ms;
    }
    Some((total, leading))
}

/// Seconds with a fraction: the whole part, and all of it in milliseconds.
fn seconds(part: &str) -> Option<(&str, i128)> {
    let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let ms: i128 = format!("{fraction:0<3}")[..3].parse().ok()?;
    Some((whole, digits(whole)? * 1_000 + ms))
}

fn digits(text: &str) -> Option<i128> {
    let plain =
        !text.is_empty() && text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}
