//! Dates and times that Java reads more loosely than [`crate::batch::text`] does: the second attempt.
//!
//! Java's formatters come in two moods. A *strict* one takes only dates that exist; a *smart* one, which is
//! what Flink builds for timestamps in SQL notation, takes 30 February for the month's last day and 24:00:00
//! for the start of the next day. Both take years before 1 and, with a sign, beyond 9999.

use crate::batch::text::{days_from_civil, days_in_month, parse_time};

const DAY_MS: i64 = 86_400_000;

/// A timestamp in a smart mood, as [`crate::batch::text::parse_timestamp`] gives it.
#[cold]
pub(super) fn smart_timestamp(text: &[u8], separator: u8) -> Option<(i64, u32)> {
    let (year, month, day, rest) = read_date(text)?;
    let last = days_in_month(year, month);
    if last == 0 || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day.min(last))?;
    let (first, clock) = rest.split_first()?;
    if *first != separator {
        return None;
    }
    let (ms, nanos) = match clock {
        [b'2', b'4', zeros @ ..] => {
            let zeros = [b"00", zeros].concat();
            let (ms, nanos) = read_clock(&zeros, separator)?;
            (DAY_MS + ((ms, nanos) == (0, 0)).then_some(0)?, 0)
        }
        clock => read_clock(clock, separator)?,
    };
    Some((i64::from(days) * DAY_MS + ms, nanos))
}

/// A timestamp in a strict mood, in ISO 8601, where `t` will do for `T`.
#[cold]
pub(super) fn iso_timestamp(text: &[u8], _separator: u8) -> Option<(i64, u32)> {
    let (year, month, day, rest) = read_date(text)?;
    let days = days_from_civil(year, month, day)?;
    let (b'T' | b't', clock) = rest.split_first()? else { return None };
    let (ms, nanos) = read_clock(clock, b'T')?;
    Some((i64::from(days) * DAY_MS + ms, nanos))
}

/// A date in a strict mood, in days since 1970-01-01.
#[cold]
pub(super) fn strict_date(text: &[u8]) -> Option<i32> {
    let (year, month, day, rest) = read_date(text)?;
    if rest.is_empty() { days_from_civil(year, month, day) } else { None }
}

/// `java.sql.Date.valueOf`: month and day may have one digit, and 30 February is 1 or 2 March.
#[cold]
pub(super) fn sql_date(text: &[u8]) -> Option<i32> {
    let mut parts = text.split(|&byte| byte == b'-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() > 2 || day.len() > 2 {
        return None;
    }
    let (year, month, day) = (digits(year)?, digits(month)?, digits(day)?);
    if year == 0 || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_from_civil(year as i32, month, 1)? + day as i32 - 1)
}

/// Year, month and day (which need not exist) at the start of `text`, and what follows.
fn read_date(text: &[u8]) -> Option<(i32, u32, u32, &[u8])> {
    let (signed, unsigned) = match text {
        [b'+', rest @ ..] => (Some(1), rest),
        [b'-', rest @ ..] => (Some(-1), rest),
        rest => (None, rest),
    };
    let length = unsigned.iter().position(|byte| !byte.is_ascii_digit())?;
    let fits = match signed {
        None => length == 4,
        Some(1) => (5..=9).contains(&length),
        Some(_) => (4..=9).contains(&length),
    };
    if !fits {
        return None;
    }
    let (year, rest) = unsigned.split_at(length);
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return None };
    Some((
        digits(year)? as i32 * signed.unwrap_or(1),
        digits(&[*m1, *m2])?,
        digits(&[*d1, *d2])?,
        rest,
    ))
}

/// A time of day: milliseconds, and nanoseconds within the last of them. After `T` the seconds may be missing.
fn read_clock(text: &[u8], separator: u8) -> Option<(i64, u32)> {
    if separator == b'T' && text.len() == 5 {
        return Some((i64::from(parse_time(&[text, b":00"].concat())?), 0));
    }
    let ms = parse_time(text)?;
    let mut fraction = [b'0'; 9];
    let written = text.get(9..).unwrap_or_default();
    fraction[..written.len()].copy_from_slice(written);
    Some((i64::from(ms), digits(&fraction[3..])?))
}

fn digits(text: &[u8]) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u32, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}
