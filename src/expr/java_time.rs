//! Date patterns of Java: `DateTimeFormatter` (DATE_FORMAT, TO_TIMESTAMP) and the older `SimpleDateFormat`
//! (UNIX_TIMESTAMP, FROM_UNIXTIME, TO_DATE, CONVERT_TZ), which reads leniently and ignores what follows.

use crate::batch::text::{civil_from_days, days_from_civil, days_in_month};

use super::calendar::{self, DAY_MS};

/// Which of Java's two classes reads the pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    /// `java.time.format.DateTimeFormatter`
    Modern,
    /// `java.text.SimpleDateFormat`
    Simple,
}

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    flavor: Flavor,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    /// A letter and how often it stands.
    Field(char, usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// A time taken apart.
struct Fields {
    year: i32,
    month: u32,
    day: u32,
    days: i32,
    of_day_ms: i64,
    nanos: i64,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// A letter that Java does not know, or that is not supported here.
    pub(super) fn parse(pattern: &str, flavor: Flavor) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '\'' => {
                    let mut text = String::new();
                    if chars.next_if_eq(&'\'').is_some() {
                        text.push('\'');
                    } else {
                        loop {
                            match chars.next() {
                                Some('\'') if chars.next_if_eq(&'\'').is_some() => text.push('\''),
                                Some('\'') => break,
                                Some(char) => text.push(char),
                                None => {
                                    return Err(format!(
                                        "the pattern '{pattern}' has a quote that does not end"
                                    ));
                                }
                            }
                        }
                    }
                    pieces.push(Piece::Text(text));
                }
                letter if letter.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while chars.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    let known = match flavor {
                        Flavor::Modern => "GyYuMLdDEeaHhKkmsSAnNQqw",
                        Flavor::Simple => "GyMLdDEuaHhKkmsS",
                    };
                    if !known.contains(letter) {
                        return Err(format!(
                            "the pattern '{pattern}' has a letter that is not supported: {letter}"
                        ));
                    }
                    pieces.push(Piece::Field(letter, count));
                }
                '[' | ']' if flavor == Flavor::Modern => {
                    return Err(format!(
                        "the pattern '{pattern}' has an optional part, which is not supported"
                    ));
                }
                char => pieces.push(Piece::Text(char.to_string())),
            }
        }
        Ok(Pattern { flavor, pieces })
    }

    /// Appends a time of the wall clock.
    pub(super) fn format(&self, ms: i64, nanos: u32, out: &mut String) {
        let days = i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX);
        let (year, month, day) = civil_from_days(days);
        let of_day_ms = ms.rem_euclid(DAY_MS);
        let nanos = of_day_ms % 1000 * 1_000_000 + i64::from(nanos);
        let fields = Fields { year, month, day, days, of_day_ms, nanos };
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(letter, count) => self.format_field(*letter, *count, &fields, out),
            }
        }
    }

    fn format_field(&self, letter: char, count: usize, fields: &Fields, out: &mut String) {
        let hour = fields.of_day_ms / 3_600_000;
        let day_of_week = (i64::from(fields.days) + 3).rem_euclid(7);
        let of_era = if fields.year > 0 { fields.year } else { 1 - fields.year };
        let number = match letter {
            'G' => return out.push_str(if fields.year > 0 { "AD" } else { "BC" }),
            'y' if count == 2 => return out.push_str(&format!("{:02}", of_era % 100)),
            'y' => of_era.into(),
            'Y' => {
                i64::from(fields.year) + i64::from(fields.month == 12 && week_of_year(fields) == 1)
            }
            'u' if self.flavor == Flavor::Simple => day_of_week + 1,
            'u' if count == 2 => {
                return out.push_str(&format!("{:02}", fields.year.rem_euclid(100)));
            }
            'u' => fields.year.into(),
            'M' | 'L' if count >= 3 => {
                return out.push_str(name(MONTHS[fields.month as usize - 1], count));
            }
            'M' | 'L' => fields.month.into(),
            'd' => fields.day.into(),
            'D' => {
                i64::from(fields.days) - i64::from(days_from_civil(fields.year, 1, 1).unwrap_or(0))
                    + 1
            }
            'E' => return out.push_str(name(DAYS[day_of_week as usize], count.max(3))),
            'e' if count >= 3 => return out.push_str(name(DAYS[day_of_week as usize], count)),
            'e' => (day_of_week + 1) % 7 + 1,
            'a' => return out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'H' => hour,
            'h' => (hour + 11) % 12 + 1,
            'K' => hour % 12,
            'k' => (hour + 23) % 24 + 1,
            'm' => fields.of_day_ms / 60_000 % 60,
            's' => fields.of_day_ms / 1000 % 60,
            'S' if self.flavor == Flavor::Simple => fields.of_day_ms % 1000,
            'S' => {
                let digits = format!("{:09}", fields.nanos);
                return out.push_str(&format!("{:0<count$}", &digits[..count.min(9)]));
            }
            'A' => fields.of_day_ms,
            'n' => fields.nanos,
            'N' => fields.of_day_ms / 1000 * 1_000_000_000 + fields.nanos,
            'Q' | 'q' => {
                let quarter = fields.month.div_ceil(3);
                if count >= 3 {
                    return out.push_str(&format!("Q{quarter}"));
                }
                quarter.into()
            }
            _ => week_of_year(fields),
        };
        out.push_str(&format!("{number:0count$}"));
    }

    /// Reads a time: milliseconds of the wall clock and nanoseconds within the last of them.
    pub(super) fn read(&self, text: &str) -> Option<(i64, u32)> {
        let mut found = Found::default();
        let mut rest = text;
        for (at, piece) in self.pieces.iter().enumerate() {
            rest = match piece {
                Piece::Text(expected) => rest.strip_prefix(expected.as_str())?,
                Piece::Field(letter, count) => {
                    self.read_field(at, *letter, *count, rest, &mut found)?
                }
            };
        }
        match self.flavor {
            Flavor::Modern => found.resolve().filter(|_| rest.is_empty()),
            Flavor::Simple => found.resolve_leniently(),
        }
    }

    fn read_field<'a>(
        &self,
        at: usize,
        letter: char,
        count: usize,
        text: &'a str,
        found: &mut Found,
    ) -> Option<&'a str> {
        match letter {
            'M' | 'L' if count >= 3 => {
                let (index, rest) = read_name(&MONTHS, count, self.flavor, text)?;
                found.month = Some(index as i64 + 1);
                return Some(rest);
            }
            'E' => return read_name(&DAYS, count.max(3), self.flavor, text).map(|(_, rest)| rest),
            'a' => {
                let half = text.get(..2)?;
                let pm = half.eq_ignore_ascii_case("PM");
                if !pm && !half.eq_ignore_ascii_case("AM") {
                    return None;
                }
                found.pm = Some(pm);
                return Some(&text[2..]);
            }
            'G' => return text.strip_prefix("AD"),
            _ => {}
        }
        let text =
            if self.flavor == Flavor::Simple { text.trim_start_matches([' ', '\t']) } else { text };
        let (least, most) = self.widths(at, letter, count, text);
        let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits < least || digits == 0 {
            return None;
        }
        let (digits, rest) = text.split_at(digits);
        found.set(letter, count, digits, self.flavor)?;
        Some(rest)
    }

    /// How many digits a number may have: a run of digits is shared with the numbers right behind it.
    fn widths(&self, at: usize, letter: char, count: usize, text: &str) -> (usize, usize) {
        let next: Vec<usize> = self.pieces[at + 1..]
            .iter()
            .map_while(|piece| match piece {
                Piece::Field('M' | 'L' | 'E' | 'a' | 'G', count) if *count >= 3 || *count == 0 => {
                    None
                }
                Piece::Field('E' | 'a' | 'G', _) | Piece::Text(_) => None,
                Piece::Field(_, count) => Some(*count),
            })
            .collect();
        let run = text.bytes().take_while(u8::is_ascii_digit).count();
        let reserved: usize = next.iter().sum();
        if self.flavor == Flavor::Simple {
            let abutting = !next.is_empty();
            return (1, if abutting { count.min(9) } else { 9 });
        }
        match (letter, count) {
            ('S', count) => (count, count),
            ('y' | 'u', 2) => (2, 2),
            ('y' | 'u', count) if count >= 4 => {
                (count, run.saturating_sub(reserved).max(count).min(9))
            }
            (_, 1) => (1, run.saturating_sub(reserved).clamp(1, 9)),
            (_, count) => (count, count),
        }
    }
}

/// A name in full, or its first three letters.
fn name(full: &str, count: usize) -> &str {
    if count == 4 { full } else { &full[..if count == 5 { 1 } else { 3 }] }
}

fn read_name<'a>(
    names: &[&str],
    count: usize,
    flavor: Flavor,
    text: &'a str,
) -> Option<(usize, &'a str)> {
    let lengths: &[bool] = match (flavor, count) {
        (Flavor::Simple, _) => &[true, false],
        (Flavor::Modern, 4) => &[true],
        (Flavor::Modern, _) => &[false],
    };
    for &full in lengths {
        for (index, known) in names.iter().enumerate() {
            let known = if full { known } else { &known[..3] };
            let Some(start) = text.get(..known.len()) else { continue };
            if start == known || flavor == Flavor::Simple && start.eq_ignore_ascii_case(known) {
                return Some((index, &text[known.len()..]));
            }
        }
    }
    None
}

/// Weeks from Sunday, the first one being that of January 1: the American way.
fn week_of_year(fields: &Fields) -> i64 {
    let first = i64::from(days_from_civil(fields.year, 1, 1).unwrap_or(0));
    let before = (first + 4).rem_euclid(7);
    let week = (i64::from(fields.days) - first + before) / 7 + 1;
    // The last days of December belong to the week of the next January 1.
    let next = i64::from(days_from_civil(fields.year + 1, 1, 1).unwrap_or(0));
    if i64::from(fields.days) >= next - (next + 4).rem_euclid(7) { 1 } else { week }
}

/// What has been read so far.
#[derive(Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    pm: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    nanos: Option<i64>,
}

impl Found {
    fn set(&mut self, letter: char, count: usize, digits: &str, flavor: Flavor) -> Option<()> {
        let value: i64 = digits.parse().ok()?;
        match letter {
            'y' | 'u' if count == 2 && digits.len() == 2 => {
                // Two digits: from 2000 on; SimpleDateFormat takes the century around today.
                let century = if flavor == Flavor::Simple && value > 45 { 1900 } else { 2000 };
                self.year = Some(century + value);
            }
            'u' if flavor == Flavor::Simple => {}
            'y' | 'u' => self.year = Some(value),
            'M' | 'L' => self.month = Some(value),
            'd' => self.day = Some(value),
            'D' => self.day_of_year = Some(value),
            'H' => self.hour = Some(value),
            'k' => self.hour = Some(if value == 24 { 0 } else { value }),
            'h' => self.half_hour = Some(if value == 12 { 0 } else { value }),
            'K' => self.half_hour = Some(value),
            'm' => self.minute = Some(value),
            's' => self.second = Some(value),
            'S' if flavor == Flavor::Simple => self.nanos = Some(value.checked_mul(1_000_000)?),
            'S' => self.nanos = Some(value * 10i64.pow(9u32.saturating_sub(digits.len() as u32))),
            'n' => self.nanos = Some(value),
            _ => return None,
        }
        Some(())
    }

    fn hours(&self) -> i64 {
        match (self.hour, self.half_hour) {
            (Some(hour), _) => hour,
            (None, Some(half)) => half + if self.pm == Some(true) { 12 } else { 0 },
            (None, None) => 0,
        }
    }

    /// As `java.time` resolves: every field in its range, a day beyond its month cut to the last one.
    fn resolve(self) -> Option<(i64, u32)> {
        let (year, month, day) =
            (self.year.unwrap_or(1970), self.month.unwrap_or(1), self.day.unwrap_or(1));
        let in_range =
            (1..=9_999_999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        let (hour, minute, second) =
            (self.hours(), self.minute.unwrap_or(0), self.second.unwrap_or(0));
        let half_known = self.half_hour.is_none_or(|half| (0..12).contains(&half));
        // 24:00:00 is the next midnight.
        let midnight = hour == 24 && minute == 0 && second == 0 && self.nanos.unwrap_or(0) == 0;
        if !in_range
            || !half_known
            || !(0..24).contains(&hour) && !midnight
            || minute > 59
            || second > 59
        {
            return None;
        }
        // `yyyy-MM` without a day is the first; with all three, Java cuts the day.
        let last = days_in_month(year as i32, month as u32);
        let days = match (self.day_of_year, self.month) {
            (Some(of_year), None) => {
                let first = days_from_civil(year as i32, 1, 1)?;
                first.checked_add(i32::try_from(of_year - 1).ok()?)?
            }
            _ => days_from_civil(year as i32, month as u32, (day as u32).min(last))?,
        };
        let nanos = self.nanos.unwrap_or(0);
        let of_day = ((hour * 60 + minute) * 60 + second) * 1000 + nanos / 1_000_000;
        Some((i64::from(days) * DAY_MS + of_day, (nanos % 1_000_000) as u32))
    }

    /// As a lenient `java.util.Calendar`: fields beyond their range roll over.
    fn resolve_leniently(self) -> Option<(i64, u32)> {
        let year = i32::try_from(self.year.unwrap_or(1970)).ok()?;
        let first = days_from_civil(year, 1, 1)?;
        let days = match (self.day_of_year, self.month) {
            (Some(of_year), None) => i64::from(first) + of_year - 1,
            _ => {
                let month = calendar::add_months(first, self.month.unwrap_or(1) - 1)?;
                i64::from(month) + self.day.unwrap_or(1) - 1
            }
        };
        let seconds =
            (self.hours() * 60 + self.minute.unwrap_or(0)) * 60 + self.second.unwrap_or(0);
        let ms = days.checked_mul(DAY_MS)?.checked_add(seconds.checked_mul(1000)?)?;
        ms.checked_add(self.nanos.unwrap_or(0) / 1_000_000).map(|ms| (ms, 0))
    }
}

/// What TO_TIMESTAMP(text, pattern) still takes where the pattern does not fit: `1999-9-10`, `1999-9-10 05:20:10.5`.
pub(super) fn read_jdbc(text: &str) -> Option<(i64, u32)> {
    let text = text.trim();
    let (date, clock) = match text.split_once(' ') {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let mut fields = date.split('-');
    let mut number = |least: usize, most: usize| {
        let field = fields.next()?;
        let fits = (least..=most).contains(&field.len())
            && field.bytes().all(|byte| byte.is_ascii_digit());
        if fits { field.parse::<i64>().ok() } else { None }
    };
    let (year, month, day) = (number(4, 4)?, number(1, 2)?, number(1, 2)?);
    if fields.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut found =
        Found { year: Some(year), month: Some(month), day: Some(day), ..Found::default() };
    if let Some(clock) = clock {
        let (clock, fraction) =
            clock.split_once('.').map_or((clock, None), |(clock, rest)| (clock, Some(rest)));
        let mut fields = clock.split(':').map(|field| field.parse::<u32>().ok().map(i64::from));
        (found.hour, found.minute, found.second) =
            (Some(fields.next()??), Some(fields.next()??), Some(fields.next()??));
        if fields.next().is_some() {
            return None;
        }
        if let Some(fraction) = fraction {
            let digits = (1..=9).contains(&fraction.len())
                && fraction.bytes().all(|byte| byte.is_ascii_digit());
            if !digits {
                return None;
            }
            found.nanos = Some(format!("{fraction:0<9}").parse().ok()?);
        }
    }
    let nanos = found.nanos.unwrap_or(0);
    let (ms, _) = found.resolve_leniently()?;
    Some((ms, (nanos % 1_000_000) as u32))
}
