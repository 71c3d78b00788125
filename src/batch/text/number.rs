//! Integers, decimals and floating point numbers as Java writes and reads them.

use std::io::Write;

/// Two decimal digits for each of 0..100.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// 10^exponent, for `exponent <= 38`.
///
/// # Panics
///
/// If the power does not fit: a bug of the caller.
pub fn pow10(exponent: u32) -> i128 {
    POWERS[exponent as usize]
}

const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Appends an integer.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(out, value.unsigned_abs());
}

fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut start = digits.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        start -= 1;
        digits[start] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends `value` with at least `width` digits, padded with zeros.
pub(super) fn write_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let start = out.len();
    write_u64(out, value);
    let written = out.len() - start;
    if written < width {
        out.extend(std::iter::repeat_n(b'0', width - written));
        out[start..].rotate_right(width - written);
    }
}

/// Appends a double as `Double.toString` of Java 17 does: `1.0E10`, `0.001`, `-0.0`, `NaN`, `Infinity`.
///
/// The digits are the shortest that read back to the same double, but for whole numbers from 2^53 on, where
/// Java only leaves out digits that carry nothing, and for the least double. (Java before 19 also prints a
/// digit too many for a few other values.)
pub fn write_f64_java(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() || value == 0.0 {
        write_special(out, value);
    } else if (TWO_POW_53..TWO_POW_63).contains(&value.abs()) {
        write_whole(out, value, 53);
    } else if value.abs() == f64::from_bits(1) {
        out.extend_from_slice(if value < 0.0 { b"-4.9E-324" } else { b"4.9E-324" });
    } else {
        write_scientific(out, format_args!("{:e}", value));
    }
}

/// Appends a float as `Float.toString` of Java 17 does.
pub fn write_f32_java(out: &mut Vec<u8>, value: f32) {
    if !value.is_finite() || value == 0.0 {
        write_special(out, f64::from(value));
    } else if (TWO_POW_24..TWO_POW_63).contains(&f64::from(value.abs())) {
        write_whole(out, value.into(), 24);
    } else if value.abs() == f32::from_bits(1) {
        out.extend_from_slice(if value < 0.0 { b"-1.4E-45" } else { b"1.4E-45" });
    } else {
        write_scientific(out, format_args!("{:e}", value));
    }
}

const TWO_POW_24: f64 = 16_777_216.0;
const TWO_POW_53: f64 = 9_007_199_254_740_992.0;
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

/// A whole number of more bits than the type keeps: digits worth less than its last bit are rounded off.
fn write_whole(out: &mut Vec<u8>, value: f64, significant_bits: i32) {
    if value < 0.0 {
        out.push(b'-');
    }
    let whole = value.abs() as u64;
    let spare_bits = 63 - whole.leading_zeros() as i32 - significant_bits - 1;
    let dropped = if spare_bits > 1 { (1u64 << spare_bits).ilog10() } else { 0 };
    let unit = 10u64.pow(dropped);
    let mut kept = whole / unit + u64::from(dropped > 0 && whole % unit >= unit / 2);
    let exponent = kept.ilog10() + dropped;
    while kept.is_multiple_of(10) && kept >= 10 {
        kept /= 10;
    }
    let start = out.len();
    write_u64(out, kept);
    out.insert(start + 1, b'.');
    if out.len() == start + 2 {
        out.push(b'0');
    }
    // Below 10^7 Java writes no exponent, but the least such number is 2^24.
    out.push(b'E');
    write_u64(out, exponent.into());
}

fn write_special(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(match value {
        value if value.is_nan() => b"NaN",
        f64::INFINITY => b"Infinity",
        f64::NEG_INFINITY => b"-Infinity",
        value if value.is_sign_negative() => b"-0.0",
        _ => b"0.0",
    });
}

/// Rewrites Rust's shortest `d.ddde±x` in Java's shape: plain between 10^-3 and 10^7, else with `E`.
fn write_scientific(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let mut buffer = [0u8; 40];
    let mut rest = &mut buffer[..];
    rest.write_fmt(text).expect("a shortest double has at most 24 characters");
    let length = 40 - rest.len();
    let text = &buffer[..length];
    let text = match text.strip_prefix(b"-") {
        Some(positive) => {
            out.push(b'-');
            positive
        }
        None => text,
    };
    let split = text.iter().position(|&byte| byte == b'e').expect("{:e} writes an exponent");
    let exponent = parse_i64(&text[split + 1..]).expect("an exponent is a small integer") as i32;
    let (first, fraction) = (text[0], text[1..split].strip_prefix(b".").unwrap_or(b""));
    if !(-3..7).contains(&exponent) {
        out.extend_from_slice(&[first, b'.']);
        out.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
        out.push(b'E');
        write_i64(out, i64::from(exponent));
    } else if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.push(first);
        out.extend_from_slice(fraction);
    } else {
        let whole = exponent as usize;
        out.push(first);
        out.extend_from_slice(&fraction[..whole.min(fraction.len())]);
        out.extend(std::iter::repeat_n(b'0', whole.saturating_sub(fraction.len())));
        out.push(b'.');
        out.extend_from_slice(if fraction.len() > whole { &fraction[whole..] } else { b"0" });
    }
}

/// Appends a decimal in plain notation with exactly `scale` digits after the point.
pub fn write_decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let magnitude = unscaled.unsigned_abs();
    let divisor = POWERS[usize::from(scale)] as u128;
    let (whole, fraction) = (magnitude / divisor, magnitude % divisor);
    write_u128(out, whole, 1);
    if scale > 0 {
        out.push(b'.');
        write_u128(out, fraction, usize::from(scale));
    }
}

fn write_u128(out: &mut Vec<u8>, value: u128, width: usize) {
    const CHUNK: u128 = 1_000_000_000_000_000_000;
    if value < CHUNK {
        write_padded(out, value as u64, width);
    } else {
        write_u128(out, value / CHUNK, width.saturating_sub(18));
        write_padded(out, (value % CHUNK) as u64, 18);
    }
}

/// Reads an integer: an optional sign, then digits. `None` also where it does not fit.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(digit)?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Reads a double as `Double.parseDouble` does: blanks around it, `1e3`, `NaN`, `Infinity`, a suffix `d` or `f`.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = trim_java(text);
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    let sign = if text.first() == Some(&b'-') { -1.0 } else { 1.0 };
    match unsigned {
        b"NaN" => return Some(f64::NAN),
        b"Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let body = match unsigned {
        [body @ .., b'd' | b'D' | b'f' | b'F'] => body,
        body => body,
    };
    if !matches!(body.first(), Some(b'0'..=b'9' | b'.')) {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    text.parse::<f64>().ok().map(|value| sign * value)
}

/// Without the characters up to U+0020 at both ends, as `String.trim`.
fn trim_java(mut text: &[u8]) -> &[u8] {
    while let [0..=b' ', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., 0..=b' '] = text {
        text = rest;
    }
    text
}

/// What a text is as a DECIMAL(precision, scale).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecimalText {
    /// No number.
    Invalid,
    /// A number with too many digits before the point.
    Overflow,
    /// The unscaled value, rounded half up.
    Value(i128),
}

/// Reads a decimal, rounding half up to `scale`. `None` for no number and for one that does not fit.
pub fn parse_decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    match parse_decimal_text(text, precision, scale) {
        DecimalText::Value(value) => Some(value),
        DecimalText::Invalid | DecimalText::Overflow => None,
    }
}

/// Reads a decimal in the syntax of `BigDecimal`, telling what is no number from what does not fit.
pub fn parse_decimal_text(text: &[u8], precision: u8, scale: u8) -> DecimalText {
    let (negative, body) = match text {
        [b'-', body @ ..] => (true, body),
        [b'+', body @ ..] => (false, body),
        body => (false, body),
    };
    let (mantissa, exponent) = match body.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(split) => match parse_exponent(&body[split + 1..]) {
            Some(exponent) => (&body[..split], exponent),
            None => return DecimalText::Invalid,
        },
        None => (body, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|&byte| byte == b'.') {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &b""[..]),
    };
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if !all_digits || whole.is_empty() && fraction.is_empty() {
        return DecimalText::Invalid;
    }
    let digits = whole.iter().chain(fraction).map(|byte| i128::from(byte - b'0'));
    let zeros = digits.clone().take_while(|&digit| digit == 0).count();
    let count = whole.len() + fraction.len();
    if zeros == count {
        return DecimalText::Value(0);
    }
    // How many digits, leading zeros included, stand before the last one that `scale` keeps.
    let keep = whole.len() as i64 + exponent + i64::from(scale);
    match round_digits(digits, keep, zeros as i64, precision) {
        Some(value) => DecimalText::Value(if negative { -value } else { value }),
        None => DecimalText::Overflow,
    }
}

fn round_digits(
    digits: impl Iterator<Item = i128>,
    keep: i64,
    zeros: i64,
    precision: u8,
) -> Option<i128> {
    if keep < 0 {
        return Some(0);
    }
    if keep - zeros > i64::from(precision) {
        return None;
    }
    let mut value = 0i128;
    let mut used = 0i64;
    for digit in digits {
        if used == keep {
            value += i128::from(digit >= 5);
            break;
        }
        value = value * 10 + digit;
        used += 1;
    }
    if used < keep {
        value *= POWERS[(keep - used) as usize];
    }
    (value < POWERS[usize::from(precision)]).then_some(value)
}

/// An exponent, clamped to what still makes a difference.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    parse_i64(text).filter(|exponent| i32::try_from(*exponent).is_ok())
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
    fn doubles_as_java_prints_them() {
        let cases = [
            (1e10, "1.0E10"),
            (-0.0, "-0.0"),
            (0.0, "0.0"),
            (1e7, "1.0E7"),
            (9_999_999.0, "9999999.0"),
            (0.001, "0.001"),
            (0.00099, "9.9E-4"),
            (123456.789, "123456.789"),
            (3.3333333333333335E9, "3.3333333333333335E9"),
            (100.0, "100.0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
            (5e-324, "4.9E-324"),
            (4_611_686_018_427_387_904.0, "4.6116860184273879E18"),
            (-9_007_199_254_740_992.0, "-9.007199254740992E15"),
            (1e18, "1.0E18"),
            (9.223372036854776E18, "9.223372036854776E18"),
            (f64::MAX, "1.7976931348623157E308"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(|out| write_f64_java(out, value)), expected);
        }
        assert_eq!(text(|out| write_f32_java(out, 0.1)), "0.1");
        assert_eq!(text(|out| write_f32_java(out, 1.6777216e7)), "1.6777216E7");
        assert_eq!(text(|out| write_f32_java(out, 2147483648.0)), "2.14748365E9");
        assert_eq!(text(|out| write_f32_java(out, 1234567936.0)), "1.23456794E9");
        assert_eq!(text(|out| write_f32_java(out, 3.4e38)), "3.4E38");
    }

    #[test]
    fn decimals_round_half_up_and_know_overflow() {
        assert_eq!(parse_decimal(b"12.345", 10, 2), Some(1235));
        assert_eq!(parse_decimal(b"-12.345", 10, 2), Some(-1235));
        assert_eq!(parse_decimal(b"1e3", 10, 2), Some(100_000));
        assert_eq!(parse_decimal(b".5", 3, 0), Some(1));
        assert_eq!(parse_decimal(b"0.4", 3, 0), Some(0));
        assert_eq!(parse_decimal(b"5e-1", 3, 0), Some(1));
        assert_eq!(parse_decimal(b"5e-2", 3, 0), Some(0));
        assert_eq!(parse_decimal(b"0.000", 3, 1), Some(0));
        assert_eq!(parse_decimal(b"0e999999999", 3, 1), Some(0));
        assert_eq!(parse_decimal_text(b"1e999999999", 3, 1), DecimalText::Overflow);
        assert_eq!(parse_decimal_text(b"999.95", 4, 1), DecimalText::Overflow);
        assert_eq!(parse_decimal_text(b"1e-999999999", 3, 1), DecimalText::Value(0));
        for bad in [&b""[..], b".", b"-", b"1e", b"1.2.3", b" 1", b"0x1", b"1e99999999999"] {
            assert_eq!(parse_decimal_text(bad, 38, 3), DecimalText::Invalid);
        }
        assert_eq!(text(|out| write_decimal(out, -5, 3)), "-0.005");
        assert_eq!(text(|out| write_decimal(out, 10i128.pow(38) - 1, 0)), "9".repeat(38));
        assert_eq!(
            text(|out| write_decimal(out, -(10i128.pow(38) - 1), 38)),
            format!("-0.{}", "9".repeat(38))
        );
    }

    #[test]
    fn bad_numbers_are_refused() {
        for bad in [&b""[..], b"-", b"1 ", b"9223372036854775808", b"1.0", b"--1", b"\xff"] {
            assert_eq!(parse_i64(bad), None);
        }
        for bad in [&b""[..], b"inf", b"nan", b"infinity", b"1e", b"e5", b"+-1", b"1_0", b"\xff"] {
            assert_eq!(parse_f64(bad), None);
        }
        assert_eq!(parse_f64(b" -1.5e3d "), Some(-1500.0));
        assert_eq!(parse_f64(b"-Infinity"), Some(f64::NEG_INFINITY));
    }

    proptest! {
        #[test]
        fn integers_round_trip(value: i64) {
            let written = text(|out| write_i64(out, value));
            prop_assert_eq!(&written, &value.to_string());
            prop_assert_eq!(parse_i64(written.as_bytes()), Some(value));
        }

        #[test]
        fn doubles_round_trip(bits: u64) {
            let value = f64::from_bits(bits);
            let read = parse_f64(text(|out| write_f64_java(out, value)).as_bytes()).unwrap();
            prop_assert!(read.to_bits() == bits || read.is_nan() && value.is_nan());
        }

        #[test]
        fn decimals_round_trip(value: i64, high: i32, scale in 0u8..=38) {
            let value = i128::from(value) * i128::from(high);
            let written = text(|out| write_decimal(out, value, scale));
            prop_assert_eq!(parse_decimal(written.as_bytes(), 38, scale), Some(value));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_i64(&bytes), parse_f64(&bytes), parse_decimal(&bytes, 38, 10));
        }
    }
}
