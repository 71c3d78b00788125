//! Dates, times of day and timestamps as text, strict as the formats of Flink read them.

use super::number::{pow10, write_padded};

const DAY_MS: i64 = 86_400_000;

/// The date of a day number (days since 1970-01-01): year, month, day. Any `i32` works.
pub fn civil_from_days(days: i32) -> (i32, u32, u32) {
    // Years are counted from March here, so that the leap day comes last.
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as u32, day as u32)
}

/// The day number of a date that exists; `None` if it does not, or lies beyond `i32` days.
pub fn days_from_civil(year: i32, month: u32, day: u32) -> Option<i32> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let shifted = i64::from(year) - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month = i64::from(month);
    let day_of_year =
        (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok()
}

/// How many days a month has; 0 for a month that does not exist.
pub fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 0,
    }
}

/// Appends `YYYY-MM-DD`.
pub fn write_date(out: &mut Vec<u8>, days: i32) {
    let (year, month, day) = civil_from_days(days);
    if year < 0 {
        out.push(b'-');
    }
    write_padded(out, u64::from(year.unsigned_abs()), 4);
    out.push(b'-');
    write_padded(out, u64::from(month), 2);
    out.push(b'-');
    write_padded(out, u64::from(day), 2);
}

/// Appends `hh:mm:ss` and, for `precision > 0`, a point and `precision` digits (at most 3 carry anything).
pub fn write_time(out: &mut Vec<u8>, ms: i32, precision: u8) {
    let ms = i64::from(ms).rem_euclid(DAY_MS) as u64;
    write_clock(out, ms / 1000);
    write_fraction(out, ms % 1000 * 1_000_000, usize::from(precision));
}

fn write_clock(out: &mut Vec<u8>, seconds: u64) {
    write_padded(out, seconds / 3600, 2);
    out.push(b':');
    write_padded(out, seconds / 60 % 60, 2);
    out.push(b':');
    write_padded(out, seconds % 60, 2);
}

/// Appends a point and the first `digits` of nine digits of nanoseconds; nothing for no digits.
fn write_fraction(out: &mut Vec<u8>, nanos: u64, digits: usize) {
    if digits > 0 {
        out.push(b'.');
        let kept = digits.min(9);
        write_padded(out, nanos / pow10(9 - kept as u32) as u64, kept);
    }
}

/// Appends a timestamp of `ticks` (ms, µs or ns by `precision`, see [`crate::batch::DataType`]) with
/// exactly `precision` digits of a second: `2024-01-01 00:00:10.000`. `separator` stands between date and time.
pub fn write_timestamp(out: &mut Vec<u8>, ticks: i64, precision: u8, separator: u8) {
    let nanos = write_timestamp_seconds(out, ticks, precision, separator);
    write_fraction(out, nanos, usize::from(precision));
}

/// Appends a timestamp without the trailing zeros of its second: `2024-01-01 00:00:10`, `… 00:00:10.5`.
pub fn write_timestamp_trimmed(out: &mut Vec<u8>, ticks: i64, precision: u8, separator: u8) {
    let mut nanos = write_timestamp_seconds(out, ticks, precision, separator);
    let mut digits = 9;
    while digits > 0 && nanos.is_multiple_of(10) {
        nanos /= 10;
        digits -= 1;
    }
    if digits > 0 {
        out.push(b'.');
        write_padded(out, nanos, digits);
    }
}

/// Appends date and clock; returns the nanoseconds of the second.
fn write_timestamp_seconds(out: &mut Vec<u8>, ticks: i64, precision: u8, separator: u8) -> u64 {
    let per_second = ticks_per_second(precision);
    let (seconds, fraction) = (ticks.div_euclid(per_second), ticks.rem_euclid(per_second));
    let days = seconds.div_euclid(86_400);
    write_any_date(out, days);
    out.push(separator);
    write_clock(out, seconds.rem_euclid(86_400) as u64);
    fraction as u64 * (1_000_000_000 / per_second as u64)
}

/// A date of any day that an `i64` of milliseconds reaches.
fn write_any_date(out: &mut Vec<u8>, days: i64) {
    match i32::try_from(days) {
        Ok(days) => write_date(out, days),
        Err(_) => {
            // The calendar repeats every 400 years.
            let cycles = days.div_euclid(146_097);
            let (year, month, day) = civil_from_days(days.rem_euclid(146_097) as i32);
            let year = i64::from(year) + cycles * 400;
            if year < 0 {
                out.push(b'-');
            }
            write_padded(out, year.unsigned_abs(), 4);
            out.push(b'-');
            write_padded(out, u64::from(month), 2);
            out.push(b'-');
            write_padded(out, u64::from(day), 2);
        }
    }
}

fn ticks_per_second(precision: u8) -> i64 {
    match precision {
        0..=3 => 1_000,
        4..=6 => 1_000_000,
        _ => 1_000_000_000,
    }
}

/// The ticks of a timestamp column of `precision` (ms, µs or ns), cut to that many digits of a second.
///
/// `ms` since 1970-01-01, `nanos` within the millisecond (< 1,000,000). `None` where it does not fit an `i64`.
pub fn ticks_from_parts(ms: i64, nanos: u32, precision: u8) -> Option<i64> {
    match precision {
        0 => ms.checked_sub(ms.rem_euclid(1000)),
        1 => ms.checked_sub(ms.rem_euclid(100)),
        2 => ms.checked_sub(ms.rem_euclid(10)),
        3 => Some(ms),
        4..=6 => {
            let unit = [100, 10, 1][usize::from(precision) - 4];
            let micros = nanos / 1000;
            ms.checked_mul(1_000)?.checked_add(i64::from(micros - micros % unit))
        }
        _ => {
            let unit = [100, 10, 1][usize::from(precision.min(9)) - 7];
            ms.checked_mul(1_000_000)?.checked_add(i64::from(nanos - nanos % unit))
        }
    }
}

/// Reads `YYYY-MM-DD`, years 0001 to 9999, into days since 1970-01-01.
pub fn parse_date(text: &[u8]) -> Option<i32> {
    let text: &[u8; 10] = text.try_into().ok()?;
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = digits(&text[..4])?;
    let (month, day) = (digits(&text[5..7])?, digits(&text[8..])?);
    if year == 0 {
        return None;
    }
    days_from_civil(year as i32, month, day)
}

/// Reads `hh:mm:ss[.f…]` (up to nine digits) into milliseconds since midnight; digits beyond them are cut.
pub fn parse_time(text: &[u8]) -> Option<i32> {
    let (ms, _) = parse_clock(text)?;
    Some(ms as i32)
}

/// `hh:mm:ss[.f…]`: milliseconds since midnight, and the nanoseconds within the last of them.
fn parse_clock(text: &[u8]) -> Option<(u32, u32)> {
    let (clock, fraction) = text.split_at_checked(8)?;
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let (hour, minute, second) =
        (digits(&clock[..2])?, digits(&clock[3..5])?, digits(&clock[6..])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match fraction {
        [] => 0,
        [b'.', fraction @ ..] if fraction.len() <= 9 => {
            let value = if fraction.is_empty() { 0 } else { digits(fraction)? };
            value * pow10(9 - fraction.len() as u32) as u32
        }
        _ => return None,
    };
    Some(((hour * 3600 + minute * 60 + second) * 1000 + nanos / 1_000_000, nanos % 1_000_000))
}

fn digits(text: &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for &byte in text {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value * 10 + digit;
    }
    Some(value)
}

/// Reads `YYYY-MM-DD hh:mm:ss[.f…]` (with `separator` in place of the blank) into milliseconds since
/// 1970-01-01 and the nanoseconds within the last of them. With `T`, the seconds may be missing, as in ISO 8601.
pub fn parse_timestamp(text: &[u8], separator: u8) -> Option<(i64, u32)> {
    if let Ok(text) = <&[u8; 23]>::try_from(text)
        && let Some(ms) = parse_timestamp_millis(text, separator)
    {
        return Some((ms, 0));
    }
    let (date, rest) = text.split_at_checked(10)?;
    let (&first, clock) = rest.split_first()?;
    if first != separator {
        return None;
    }
    let days = i64::from(parse_date(date)?);
    let (ms, nanos) = if separator == b'T' && clock.len() == 5 {
        let mut padded = *b"00:00:00";
        padded[..5].copy_from_slice(clock);
        parse_clock(&padded)?
    } else {
        parse_clock(clock)?
    };
    Some((days * DAY_MS + i64::from(ms), nanos))
}

/// The usual shape, `YYYY-MM-DD hh:mm:ss.fff`, without a branch a character.
fn parse_timestamp_millis(text: &[u8; 23], separator: u8) -> Option<i64> {
    const DIGITS: [usize; 17] = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 22];
    let shape = text[4] == b'-'
        && text[7] == b'-'
        && text[10] == separator
        && text[13] == b':'
        && text[16] == b':'
        && text[19] == b'.';
    let bad_digits =
        DIGITS.iter().fold(0u32, |bad, &at| bad | u32::from(text[at].wrapping_sub(b'0') > 9));
    if !shape || bad_digits != 0 {
        return None;
    }
    let two = |at: usize| u32::from(text[at] & 15) * 10 + u32::from(text[at + 1] & 15);
    let year = two(0) * 100 + two(2);
    let (hour, minute, second) = (two(11), two(14), two(17));
    if year == 0 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = i64::from(days_from_civil(year as i32, two(5), two(8))?);
    let millis = two(20) * 10 + u32::from(text[22] & 15);
    Some(days * DAY_MS + i64::from((hour * 3600 + minute * 60 + second) * 1000 + millis))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_have_the_digits_of_their_precision() {
        assert_eq!(text(|out| write_timestamp(out, 10_000, 3, b' ')), "1970-01-01 00:00:10.000");
        assert_eq!(text(|out| write_timestamp(out, -1, 3, b'T')), "1969-12-31T23:59:59.999");
        assert_eq!(
            text(|out| write_timestamp(out, 1_500_000, 6, b' ')),
            "1970-01-01 00:00:01.500000"
        );
        assert_eq!(text(|out| write_timestamp(out, 1_000, 0, b' ')), "1970-01-01 00:00:01");
        assert_eq!(
            text(|out| write_timestamp_trimmed(out, 1_500, 3, b' ')),
            "1970-01-01 00:00:01.5"
        );
        assert_eq!(text(|out| write_timestamp_trimmed(out, 1_000, 3, b' ')), "1970-01-01 00:00:01");
        assert_eq!(text(|out| write_time(out, 45_296_007, 3)), "12:34:56.007");
        assert_eq!(text(|out| write_time(out, 45_296_007, 0)), "12:34:56");
        assert_eq!(text(|out| write_date(out, -719_162)), "0001-01-01");
        for ticks in [i64::MIN, i64::MAX] {
            assert!(
                text(|out| write_timestamp(out, ticks, 3, b' ')).contains("292278994")
                    == (ticks > 0)
            );
        }
    }

    #[test]
    fn timestamps_are_read_strictly() {
        let day = i64::from(days_from_civil(2024, 2, 29).unwrap()) * DAY_MS;
        assert_eq!(parse_timestamp(b"2024-02-29 00:00:00.123", b' '), Some((day + 123, 0)));
        assert_eq!(
            parse_timestamp(b"2024-02-29 00:00:00.123456789", b' '),
            Some((day + 123, 456_789))
        );
        assert_eq!(parse_timestamp(b"2024-02-29T00:01", b'T'), Some((day + 60_000, 0)));
        assert_eq!(parse_timestamp(b"2024-02-29 00:00:00", b' '), Some((day, 0)));
        let bad = [
            "2023-02-29 00:00:00.000",
            "2024-02-30 00:00:00",
            "2024-13-01 00:00:00",
            "2024-01-01 24:00:00.000",
            "2024-01-01 00:60:00.000",
            "2024-01-01T00:00:00",
            "2024-01-01",
            "2024-01-01 00:00",
            "0000-01-01 00:00:00",
            "2024-01-01 00:00:00.1234567890",
            "2024-1-01 00:00:00",
            "2024-01-01 00:00:0x",
            "",
        ];
        for bad in bad {
            assert_eq!(parse_timestamp(bad.as_bytes(), b' '), None, "{bad}");
        }
        assert_eq!(parse_time(b"23:59:59.9999"), Some(86_399_999));
        assert_eq!(parse_date(b"1969-12-31"), Some(-1));
    }

    #[test]
    fn ticks_are_cut_and_checked() {
        assert_eq!(ticks_from_parts(-1, 999_999, 0), Some(-1000));
        assert_eq!(ticks_from_parts(1, 234_567, 6), Some(1_234));
        assert_eq!(ticks_from_parts(1, 234_567, 9), Some(1_234_567));
        assert_eq!(ticks_from_parts(1, 234_567, 5), Some(1_230));
        assert_eq!(ticks_from_parts(i64::MAX, 0, 6), None);
    }

    proptest! {
        #[test]
        fn days_round_trip(days: i32) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), Some(days));
        }

        #[test]
        fn the_fast_path_agrees(ms in -62_135_596_800_000i64..253_402_300_800_000, nanos in 0u32..1_000_000) {
            let millis = text(|out| write_timestamp(out, ms, 3, b' '));
            prop_assert_eq!(parse_timestamp(millis.as_bytes(), b' '), Some((ms, 0)));
            let long = format!("{millis}{nanos:06}");
            prop_assert_eq!(parse_timestamp(long.as_bytes(), b' '), Some((ms, nanos)));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..30), digits in "[0-9:. -]{0,30}") {
            let _ = (parse_date(&bytes), parse_time(&bytes), parse_timestamp(&bytes, b' '));
            let _ = (parse_date(digits.as_bytes()), parse_time(digits.as_bytes()), parse_timestamp(digits.as_bytes(), b' '));
        }
    }
}
