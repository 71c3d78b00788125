//! JSON tokens, as Jackson reads them: strict, but control characters may stand in strings.
//!
//! # Invariants
//!
//! 1. Nothing recurses: nesting is a stack of at most [`DEPTH_MAX`] bits, and deeper input is an error.
//! 2. Every function reads each byte a bounded number of times.

use std::borrow::Cow;

use crate::batch::text;
use crate::format::rows::kind;
use crate::sys::scan::find_either;

/// How deep objects and arrays may nest, as in Jackson.
const DEPTH_MAX: usize = 1000;

/// Where and why text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The byte where reading stopped.
    pub(super) position: usize,
    /// What was wrong.
    pub(super) reason: Cow<'static, str>,
}

pub(super) fn malformed<T>(
    position: usize,
    reason: impl Into<Cow<'static, str>>,
) -> Result<T, Malformed> {
    Err(Malformed { position, reason: reason.into() })
}

/// A value: its bytes (of a string: without quotes), what it is, and where the text goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// First byte.
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
    /// One of [`kind`].
    pub(super) kind: u8,
    /// Whether it is a string with escapes.
    pub(super) escaped: bool,
    /// One past the value.
    pub(super) next: usize,
}

/// Past blanks.
#[inline]
pub(super) fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Reads the string whose opening quote is at `at`.
pub(super) fn read_string(bytes: &[u8], at: usize) -> Result<Value, Malformed> {
    let start = at + 1;
    let (mut from, mut escaped) = (start, false);
    loop {
        let found = find_either(bytes, from, b'"', b'\\');
        if found == bytes.len() {
            return malformed(found, "a string is not closed");
        }
        if bytes[found] == b'"' {
            return Ok(Value { start, end: found, kind: kind::TEXT, escaped, next: found + 1 });
        }
        escaped = true;
        from = match bytes.get(found + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => found + 2,
            Some(b'u') if hex4(bytes, found + 2).is_some() => found + 6,
            _ => return malformed(found, "it is no escape sequence of JSON"),
        };
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |code, &digit| Some(code * 16 + char::from(digit).to_digit(16)?))
}

/// Appends `text`, the inside of a string that [`read_string`] read, without its escapes.
pub(super) fn unescape(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\\', &bytes[from..]).map(|at| from + at) {
        out.push_str(&text[from..at]);
        from = at + 2;
        out.push(match bytes[at + 1] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let (character, end) = unescape_unicode(bytes, at);
                from = end;
                character
            }
            other => char::from(other),
        });
    }
    out.push_str(&text[from..]);
}

/// The character whose `\uXXXX` (or pair of them) is at `at`, and where the text goes on. Half a pair is `?`, as Java writes it.
fn unescape_unicode(bytes: &[u8], at: usize) -> (char, usize) {
    let first = hex4(bytes, at + 2).expect("checked by read_string");
    if let 0xd800..0xdc00 = first
        && bytes.get(at + 6..at + 8) == Some(b"\\u")
        && let Some(second @ 0xdc00..0xe000) = hex4(bytes, at + 8)
    {
        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(code).unwrap_or('?'), at + 12);
    }
    (char::from_u32(first).unwrap_or('?'), at + 6)
}

/// Reads the number at `at`.
#[inline]
pub(super) fn read_number(bytes: &[u8], at: usize) -> Result<Value, Malformed> {
    let digits = |mut at: usize| {
        while matches!(bytes.get(at), Some(b'0'..=b'9')) {
            at += 1;
        }
        at
    };
    let whole = at + usize::from(bytes[at] == b'-');
    let mut end = digits(whole);
    if end == whole || bytes[whole] == b'0' && end > whole + 1 {
        return malformed(at, "it is no number of JSON");
    }
    let mut number = kind::INTEGER;
    if bytes.get(end) == Some(&b'.') {
        let fraction = end + 1;
        end = digits(fraction);
        number = kind::FRACTION;
        if end == fraction {
            return malformed(at, "it is no number of JSON");
        }
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        let exponent = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(exponent);
        number = kind::FRACTION;
        if end == exponent {
            return malformed(at, "it is no number of JSON");
        }
    }
    Ok(Value { start: at, end, kind: number, escaped: false, next: end })
}

/// Reads `true`, `false` or `null` at `at`.
#[inline]
pub(super) fn read_word(bytes: &[u8], at: usize) -> Result<Value, Malformed> {
    let rest = &bytes[at..];
    let (length, kind) = if rest.starts_with(b"null") {
        (4, kind::NULL)
    } else if rest.starts_with(b"true") {
        (4, kind::BOOLEAN)
    } else if rest.starts_with(b"false") {
        (5, kind::BOOLEAN)
    } else {
        return malformed(at, "a value was expected here");
    };
    Ok(Value { start: at, end: at + length, kind, escaped: false, next: at + length })
}

/// Reads the value at `at`.
pub(super) fn read_value(bytes: &[u8], at: usize) -> Result<Value, Malformed> {
    match bytes.get(at) {
        Some(b'"') => read_string(bytes, at),
        Some(b'-' | b'0'..=b'9') => read_number(bytes, at),
        Some(b'{' | b'[') => read_nested(bytes, at),
        Some(_) => read_word(bytes, at),
        None => malformed(at, "the record ends where a value was expected"),
    }
}

/// Reads the key at `at` and its colon; `next` is where its value starts.
pub(super) fn read_key(bytes: &[u8], at: usize) -> Result<Value, Malformed> {
    if bytes.get(at) != Some(&b'"') {
        return malformed(at, "a field name in quotes was expected here");
    }
    let mut key = read_string(bytes, at)?;
    let colon = skip_blanks(bytes, key.next);
    if bytes.get(colon) != Some(&b':') {
        return malformed(colon, "a ':' was expected here");
    }
    key.next = skip_blanks(bytes, colon + 1);
    Ok(key)
}

/// Reads the object or array at `start`, whatever its depth, without recursion.
fn read_nested(bytes: &[u8], start: usize) -> Result<Value, Malformed> {
    let mut objects: Vec<bool> = Vec::new();
    let mut at = start;
    loop {
        // Here a value stands at `at`.
        if let Some(&opening @ (b'{' | b'[')) = bytes.get(at) {
            if objects.len() == DEPTH_MAX {
                return malformed(at, "objects and arrays nest more than 1000 deep");
            }
            let closing = if opening == b'{' { b'}' } else { b']' };
            objects.push(opening == b'{');
            at = skip_blanks(bytes, at + 1);
            if bytes.get(at) != Some(&closing) {
                if opening == b'{' {
                    at = read_key(bytes, at)?.next;
                }
                continue;
            }
        } else {
            at = skip_blanks(bytes, read_value(bytes, at)?.next);
        }
        // Here the innermost object or array may end, and the ones around it.
        while let Some(&object) = objects.last()
            && bytes.get(at) == Some(if object { &b'}' } else { &b']' })
        {
            objects.pop();
            at = if objects.is_empty() { at + 1 } else { skip_blanks(bytes, at + 1) };
        }
        let Some(&object) = objects.last() else {
            return Ok(Value { start, end: at, kind: kind::NESTED, escaped: false, next: at });
        };
        if bytes.get(at) != Some(&b',') {
            return malformed(at, "a ',' or the end of an object or array was expected here");
        }
        at = skip_blanks(bytes, at + 1);
        if object {
            at = read_key(bytes, at)?.next;
        }
    }
}

/// Appends `text`, an object or array that was read, as Jackson prints its tree: without blanks and with the
/// fewest escapes. Fractions are read as decimals or as doubles and printed as Java prints these.
pub(super) fn write_nested(text: &str, as_decimals: bool, out: &mut String) {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut scratch = String::new();
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'"' => {
                let value = read_string(bytes, at).expect("it was read before");
                scratch.clear();
                unescape(&text[value.start..value.end], &mut scratch);
                write_string(&scratch, out);
                at = value.next;
            }
            b'-' | b'0'..=b'9' => {
                let value = read_number(bytes, at).expect("it was read before");
                match &text[value.start..value.end] {
                    "-0" => out.push('0'),
                    whole if value.kind == kind::INTEGER => out.push_str(whole),
                    fraction if as_decimals => write_decimal(fraction, out),
                    fraction => write_double(fraction, out),
                }
                at = value.next;
            }
            _ => {
                out.push(char::from(byte));
                at += 1;
            }
        }
    }
}

/// Appends a number with fraction or exponent as `Double.toString` does.
fn write_double(number: &str, out: &mut String) {
    let value = text::parse_f64(number.as_bytes()).unwrap_or(f64::NAN);
    let mut digits = Vec::new();
    text::write_f64_java(&mut digits, value);
    let quote = if value.is_finite() { "" } else { "\"" };
    out.push_str(quote);
    out.extend(digits.into_iter().map(char::from));
    out.push_str(quote);
}

/// Appends a number with fraction or exponent as `BigDecimal.toString` does without trailing zeros.
fn write_decimal(number: &str, out: &mut String) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let unsigned = mantissa.trim_start_matches('-');
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let joined = [whole, fraction].concat();
    let digits = joined.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return out.push('0');
    }
    let zeros = joined.len() - joined.trim_end_matches('0').len();
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') {
        -i64::from(i32::MAX)
    } else {
        i64::from(i32::MAX)
    });
    let scale = (fraction.len() as i64 - zeros as i64).saturating_sub(exponent);
    let adjusted = (digits.len() as i64 - 1).saturating_sub(scale);
    if mantissa.starts_with('-') {
        out.push('-');
    }
    if scale < 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let sign = if adjusted < 0 { "" } else { "+" };
        out.push_str(&format!("{first}{point}{rest}E{sign}{adjusted}"));
    } else if scale == 0 {
        out.push_str(digits);
    } else if adjusted >= 0 {
        let (whole, fraction) = digits.split_at(adjusted as usize + 1);
        out.push_str(&format!("{whole}.{fraction}"));
    } else {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-adjusted - 1) as usize));
        out.push_str(digits);
    }
}

/// Appends `text` in quotes.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}
