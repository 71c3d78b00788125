//! Numbers and timestamps in their usual shapes, read eight bytes at a time: the first attempt.
//!
//! A text that has another shape is left to [`crate::batch::text`], which judges it; here that takes a few
//! instructions. The digits of a word are checked and added up side by side, a byte each, so that no branch
//! depends on how many there are.
//!
//! # Invariants
//!
//! 1. What is read here, the long way reads alike.

use crate::batch::text;

/// Digits with an optional sign before and an optional point among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    /// The digits as an integer of at most 18 digits, without the point.
    pub(super) magnitude: i64,
    /// How many digits follow the point.
    pub(super) scale: usize,
    /// Whether a minus precedes them.
    pub(super) negative: bool,
}

impl Short {
    /// The digits with their sign, without the point.
    #[inline]
    pub(super) fn unscaled(self) -> i64 {
        if self.negative { -self.magnitude } else { self.magnitude }
    }
}

/// The byte in each place of a word.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const HIGH_BITS: u64 = each(0x80);

/// The number that the first `length` of `bytes` are: at most 18 digits, at least one on each side of a point.
#[inline(always)]
pub(super) fn number(bytes: &[u8], length: usize) -> Option<Short> {
    match bytes.first_chunk::<8>() {
        Some(word) if length <= 8 => number_of_word(u64::from_le_bytes(*word), length as u32),
        _ => number_of_bytes(&bytes[..length]),
    }
}

/// [`number`] of the first `length <= 8` bytes of `word`.
#[inline(always)]
fn number_of_word(word: u64, length: u32) -> Option<Short> {
    let WordNumber { magnitude, scale, negative, bad } = word_number(word, length.into());
    let (magnitude, scale) = (magnitude.cast_signed(), scale as usize);
    (bad == 0).then_some(Short { magnitude, scale, negative: negative != 0 })
}

/// A number that a word holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WordNumber {
    /// The digits as an integer, without the point.
    pub(super) magnitude: u64,
    /// How many digits follow the point.
    pub(super) scale: u64,
    /// 1 if a minus precedes them.
    pub(super) negative: u64,
    /// Not 0 if it is no such number.
    pub(super) bad: u64,
}

/// What number the first `length` bytes of `word` are, without a branch, so that many words can be read side by side.
#[inline(always)]
pub(super) fn word_number(word: u64, length: u64) -> WordNumber {
    let negative = u64::from(word as u8 == b'-');
    let length = length.wrapping_sub(negative);
    let mut bad = u64::from(length.wrapping_sub(1) > 7);
    // From here on the text is at the word's end, so that its last digit has one place whatever its length.
    let text = word >> (8 * negative) << (64u64.wrapping_sub(length.wrapping_mul(8)) & 63);
    // The lowest of these bits is exact: nothing is borrowed below the first point.
    let points = (text ^ each(b'.')).wrapping_sub(each(1)) & !(text ^ each(b'.')) & HIGH_BITS;
    // The lowest bit of the point's byte; without one nothing, and then all bits lie before it.
    let point = (points & points.wrapping_neg()) >> 7;
    let has_point = u64::from(point != 0);
    let before = point.wrapping_sub(1);
    let after = !(before << 8 | 0xff);
    let digits = (text & after) | (text & before) << (8 * has_point);
    // The point's byte counted from the end, which is its place in the product's highest byte.
    let scale = point.wrapping_mul(0x0706_0504_0302_0100) >> 56;
    let count = length.wrapping_sub(has_point);
    // Digits on both sides of a point.
    bad |= has_point & u64::from((scale == 0) | (scale == count));
    let half_bits = count.wrapping_mul(4) & 63;
    let zeros = each(b'0') >> half_bits >> half_bits;
    let digits = (digits | zeros) ^ each(b'0');
    // A byte above 9 reaches its high bit or has it.
    bad |= (digits.wrapping_add(each(0x80 - 10)) | digits) & HIGH_BITS;
    WordNumber { magnitude: eight_digits(digits), scale, negative, bad }
}

/// The number that eight digits are, the first one lowest.
#[inline(always)]
fn eight_digits(digits: u64) -> u64 {
    const PAIRS: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let outer = (pairs & PAIRS).wrapping_mul(100 + (1_000_000 << 32));
    let inner = (pairs >> 16 & PAIRS).wrapping_mul(1 + (10_000 << 32));
    outer.wrapping_add(inner) >> 32
}

/// [`number`] of a text of any length.
#[inline(never)]
fn number_of_bytes(text: &[u8]) -> Option<Short> {
    let (body, negative) = match text {
        [b'-', body @ ..] => (body, true),
        body => (body, false),
    };
    if body.len() > 18 {
        return None;
    }
    let (mut magnitude, mut point) = (0i64, body.len());
    for (index, &byte) in body.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            magnitude = magnitude * 10 + i64::from(digit);
        } else if byte == b'.' && point == body.len() {
            point = index;
        } else {
            return None;
        }
    }
    // Digits on both sides of a point; anything else is for the exact reader to judge.
    let fraction = body.len().checked_sub(point + 1);
    if point == 0 || fraction == Some(0) {
        return None;
    }
    Some(Short { magnitude, scale: fraction.unwrap_or(0), negative })
}

/// The bytes of a timestamp in its usual shape, `YYYY-MM-DD hh:mm:ss.fff`.
pub(super) const TIMESTAMP_BYTES: usize = 23;

/// The words of a timestamp: from its start, to the date's end, from the clock's start, to its end.
#[inline(always)]
pub(super) fn timestamp_words(text: &[u8; TIMESTAMP_BYTES]) -> [u64; 4] {
    [word_at(text, 0), word_at(text, 3), word_at(text, 11), word_at(text, 15)]
}

#[inline(always)]
fn word_at(text: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*text[at..].first_chunk().expect("eight bytes from there on"))
}

/// The date that the last timestamp had: rows in a row mostly share it, so that it is read once.
pub(super) struct LastDate {
    /// The text up to the separator.
    text: [u8; 11],
    /// Its midnight.
    ms: i64,
}

impl LastDate {
    /// No date yet; `separator` stands between date and time.
    pub(super) fn new(separator: u8) -> Self {
        let mut text = *b"1970-01-01 ";
        text[10] = separator;
        Self { text, ms: 0 }
    }

    /// Reads the usual shape; `None` for anything else, which need not be wrong.
    #[inline]
    pub(super) fn read(&mut self, text: &[u8], separator: u8) -> Option<i64> {
        let text: &[u8; TIMESTAMP_BYTES] = text.try_into().ok()?;
        let (date, _) = text.split_first_chunk::<11>()?;
        if *date != self.text {
            self.change(date, separator)?;
        }
        let (ms, bad) = self.read_same(timestamp_words(text));
        (bad == 0).then_some(ms)
    }

    /// Reads a timestamp of the last date, without a branch; the other number is not 0 if it is none.
    #[inline(always)]
    pub(super) fn read_same(&self, [start, middle, clock, end]: [u64; 4]) -> (i64, u64) {
        // The date's length is no multiple of a word's: its last bytes are in the second word.
        let [own_start, own_middle] = [word_at(&self.text, 0), word_at(&self.text, 3)];
        let (ms, bad) = clock_ms(clock, end >> 32);
        (self.ms + ms, bad | (start ^ own_start) | (middle ^ own_middle))
    }

    #[cold]
    fn change(&mut self, date: &[u8; 11], separator: u8) -> Option<()> {
        let (ms, _) = text::parse_timestamp(&[&date[..], b"00:00:00.000"].concat(), separator)?;
        (self.text, self.ms) = (*date, ms);
        Some(())
    }
}

/// The milliseconds of `hh:mm:ss` and, in the lower half of `fraction`, `.fff`; the other number is not 0 if it is no such clock.
#[inline(always)]
fn clock_ms(clock: u64, fraction: u64) -> (i64, u64) {
    let digits = clock ^ u64::from_le_bytes(*b"00:00:00");
    let fraction = fraction ^ u64::from_le_bytes(*b".000\0\0\0\0");
    // What takes the greatest byte that may stand in a place to 0x7f, and any greater one to its high bit.
    const ROOM: u64 = u64::from_le_bytes([125, 118, 127, 122, 118, 127, 122, 118]);
    const FRACTION_ROOM: u64 = u64::from_le_bytes([127, 118, 118, 118, 0, 0, 0, 0]);
    let bad = digits.wrapping_add(ROOM) | digits;
    let bad = bad | fraction.wrapping_add(FRACTION_ROOM) | fraction;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let pair = |at: u32| pairs >> (8 * at) & 0xff;
    let digit = |at: u32| fraction >> (8 * at) & 0xff;
    let hours = pair(0);
    let bad = (bad | hours.wrapping_add(0x80 - 24)) & HIGH_BITS;
    let seconds = (hours * 60 + pair(3)) * 60 + pair(6);
    let ms = seconds * 1000 + digit(1) * 100 + digit(2) * 10 + digit(3);
    (ms.cast_signed(), bad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::text::DecimalText;

    proptest! {
        #[test]
        fn words_are_read_as_bytes_are(text in "-?[0-9]{0,5}[.]?[0-9]{0,5}[x.:/-]?", next in "[0-9,.x]{8}") {
            let bytes = [text.as_bytes(), next.as_bytes()].concat();
            prop_assert_eq!(number(&bytes, text.len()), number_of_bytes(text.as_bytes()), "{}", text);
        }

        #[test]
        fn any_word_is_read_as_bytes_are(bytes: [u8; 8], length in 0usize..9) {
            prop_assert_eq!(number(&bytes, length), number_of_bytes(&bytes[..length]));
        }

        #[test]
        fn short_numbers_are_what_the_long_way_reads(text in "-?[0-9]{0,18}(\\.[0-9]{0,18})?") {
            let bytes = text.as_bytes();
            if let Some(short) = number(bytes, bytes.len()) {
                let long = text::parse_decimal_text(bytes, 38, short.scale as u8);
                prop_assert_eq!(long, DecimalText::Value(i128::from(short.unscaled())));
                if short.scale == 0 {
                    prop_assert_eq!(text::parse_i64(bytes), Some(short.unscaled()));
                }
            }
        }

        #[test]
        fn shared_dates_change_no_timestamp(
            texts in prop::collection::vec("(2024-0[12]-(0[1-9]|30) |1970-01-01 |\u{0}{11})[0-3][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}x?", 1..20),
        ) {
            let mut last = LastDate::new(b' ');
            for text in &texts {
                if let Some(ms) = last.read(text.as_bytes(), b' ') {
                    prop_assert_eq!(text::parse_timestamp(text.as_bytes(), b' '), Some((ms, 0)));
                } else {
                    prop_assert_eq!(text::parse_timestamp(text.as_bytes(), b' '), None);
                }
            }
        }

        #[test]
        fn a_changed_byte_is_seen_in_a_timestamp(clock in "[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\\.[0-9]{3}", at in 0usize..12, byte: u8) {
            let mut text = [b"1970-01-01 ", clock.as_bytes()].concat();
            text[11 + at] = byte;
            let long = text::parse_timestamp(&text, b' ').map(|(ms, _)| ms);
            prop_assert_eq!(LastDate::new(b' ').read(&text, b' '), long);
        }
    }
}
