//! Dates and times beyond plain text: zones, months, and the lenient texts that CAST takes.
//!
//! Wall-clock times are milliseconds since 1970-01-01 of the clock on the wall; instants are milliseconds since
//! 1970-01-01 UTC. In the gap of a clock change a wall time moves forward by the gap; in an overlap it is the
//! earlier instant: as `java.time` has it.

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::batch::text::{civil_from_days, days_from_civil, days_in_month, parse_timestamp};

pub(super) const DAY_MS: i64 = 86_400_000;

/// Milliseconds and nanoseconds within the millisecond of a timestamp of `per_ms` ticks.
pub(super) fn parts(ticks: i64, per_ms: i64) -> (i64, u32) {
    (ticks.div_euclid(per_ms), (ticks.rem_euclid(per_ms) * (1_000_000 / per_ms)) as u32)
}

/// What the zone adds to UTC at an instant, in milliseconds; 0 beyond the calendar's range.
pub(super) fn offset_ms(instant_ms: i64, zone: Tz) -> i64 {
    if zone == Tz::UTC {
        return 0;
    }
    match DateTime::from_timestamp_millis(instant_ms) {
        Some(instant) => {
            i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc())
                * 1000
        }
        None => 0,
    }
}

/// The wall clock at an instant.
pub(super) fn to_wall_ms(instant_ms: i64, zone: Tz) -> i64 {
    instant_ms.saturating_add(offset_ms(instant_ms, zone))
}

/// The instant at which the wall clock shows `wall_ms`, the earlier one of two.
pub(super) fn to_instant_ms(wall_ms: i64, zone: Tz) -> i64 {
    resolve(wall_ms, zone, |earlier, _| earlier)
}

/// The instant at which the wall clock shows `wall_ms`, the later one of two: as `java.util.Calendar` has it.
pub(super) fn to_later_instant_ms(wall_ms: i64, zone: Tz) -> i64 {
    resolve(wall_ms, zone, |_, later| later)
}

/// `choose` settles an overlap, given the offsets of the earlier and the later instant.
fn resolve(wall_ms: i64, zone: Tz, choose: fn(i64, i64) -> i64) -> i64 {
    if zone == Tz::UTC {
        return wall_ms;
    }
    let Some(wall) = DateTime::from_timestamp_millis(wall_ms) else { return wall_ms };
    let offset = match zone.offset_from_local_datetime(&wall.naive_utc()) {
        MappedLocalTime::Single(offset) => i64::from(offset.fix().local_minus_utc()) * 1000,
        MappedLocalTime::Ambiguous(earlier, later) => {
            let ms = |seconds: i32| i64::from(seconds) * 1000;
            choose(ms(earlier.fix().local_minus_utc()), ms(later.fix().local_minus_utc()))
        }
        MappedLocalTime::None => {
            let one = offset_ms(wall_ms - offset_ms(wall_ms, zone), zone);
            one.min(offset_ms(wall_ms - one, zone))
        }
    };
    wall_ms.saturating_sub(offset)
}

/// A day number moved by months; the day of the month is cut to the last one there is.
pub(super) fn add_months(days: i32, months: i64) -> Option<i32> {
    let (year, month, day) = civil_from_days(days);
    let total = (i64::from(year) * 12 + i64::from(month) - 1).checked_add(months)?;
    let year = i32::try_from(total.div_euclid(12)).ok()?;
    let month = total.rem_euclid(12) as u32 + 1;
    days_from_civil(year, month, day.min(days_in_month(year, month)))
}

/// A time of day cut to `precision` digits of a second.
pub(super) fn cut_time(ms: i32, precision: u8) -> i32 {
    let unit = [1000, 100, 10, 1][usize::from(precision.min(3))];
    ms - ms.rem_euclid(unit)
}

/// `2024-01-05`, `2024-1-5`, `2024-1`, `2024`, also before a blank and a time: days since 1970-01-01.
pub(super) fn parse_date_lenient(text: &str) -> Option<i32> {
    let text = match text.find(' ') {
        Some(blank) if blank > 0 => &text[..blank],
        _ => text,
    };
    let mut fields = text.splitn(3, '-').map(|field| small(field.trim()));
    let year = fields.next()??;
    let month = fields.next().unwrap_or(Some(1))?;
    let day = fields.next().unwrap_or(Some(1))?;
    if year > 9999 {
        return None;
    }
    days_from_civil(year as i32, month, day)
}

/// `12:34:56.789`, `12:34`, `12`: milliseconds since midnight.
pub(super) fn parse_time_lenient(text: &str) -> Option<i32> {
    let mut fields = text.splitn(3, ':');
    let hour = small(fields.next()?.trim())?;
    let minute = fields.next().map_or(Some(0), |field| small(field.trim()))?;
    let (second, fraction) =
        fields.next().map_or(("0", ""), |field| field.split_once('.').unwrap_or((field, "")));
    let second = small(second.trim())?;
    let mut millis = 0;
    for (byte, unit) in fraction.trim().bytes().zip([100, 10, 1]) {
        millis += unit * if byte.is_ascii_digit() { i32::from(byte - b'0') } else { 0 };
    }
    let in_range = hour < 24 && minute < 60 && second < 60;
    in_range.then(|| ((hour * 60 + minute) * 60 + second) as i32 * 1000 + millis)
}

/// An unsigned number of at most nine digits.
fn small(text: &str) -> Option<u32> {
    let digits =
        !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `2024-01-05 10:11:12.5`, fields of one digit allowed, the time optional: ms and nanoseconds within the ms.
///
/// As in Flink, the days of a month up to 31 that do not exist are its last day.
pub(super) fn parse_timestamp_lenient(text: &str) -> Option<(i64, u32)> {
    if let Some(parts) = parse_timestamp(text.as_bytes(), b' ') {
        return Some(parts);
    }
    let (date, clock) = match text.split_once(' ') {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let mut fields = date.splitn(3, '-');
    let year = fields.next().filter(|year| year.len() == 4).and_then(small)?;
    let month = fields.next().and_then(one_or_two)?;
    let day = fields.next().and_then(one_or_two)?;
    if year == 0 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year as i32, month, day.min(days_in_month(year as i32, month)))?;
    let mut ms = i64::from(days) * DAY_MS;
    let mut nanos = 0;
    if let Some(clock) = clock {
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut fields = clock.splitn(3, ':');
        let hour = fields.next().and_then(one_or_two)?;
        let minute = fields.next().and_then(one_or_two)?;
        let second = fields.next().and_then(one_or_two)?;
        // 24:00:00 is the next midnight.
        let midnight =
            hour == 24 && minute == 0 && second == 0 && fraction.bytes().all(|byte| byte == b'0');
        if hour > 23 && !midnight || minute > 59 || second > 59 || fraction.len() > 9 {
            return None;
        }
        let fraction = if fraction.is_empty() {
            0
        } else {
            small(fraction)? * 10u32.pow(9 - fraction.len() as u32)
        };
        ms += i64::from(((hour * 60 + minute) * 60 + second) * 1000 + fraction / 1_000_000);
        nanos = fraction % 1_000_000;
    }
    Some((ms, nanos))
}

fn one_or_two(text: &str) -> Option<u32> {
    if text.len() <= 2 { small(text) } else { None }
}

/// A float in Java's syntax, rounded once.
pub(super) fn parse_f32(text: &[u8]) -> Option<f32> {
    let wide = crate::batch::text::parse_f64(text)?;
    let text = std::str::from_utf8(text).ok()?.trim_matches(|c: char| c <= ' ');
    Some(text.trim_end_matches(['d', 'D', 'f', 'F']).parse().unwrap_or(wide as f32))
}
