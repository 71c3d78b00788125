//! Texts of hexadecimal digits as numbers: identifiers of devices, users and spans are such, and a pair of one and a set is two words
//! instead of three.
//!
//! # Invariants
//!
//! 1. A text of at most 16 digits `0-9`, `a-f` and its length are one number, and no other text is it.

use super::texts::TextPair;
use crate::sys::vector;

/// A text's digits, the first in the lowest bits │ its set and length, as in a [`TextPair`].
pub(super) type DigitPair = [u64; 2];

/// A bit, and the high bit, of every byte.
const ONES: u64 = u64::MAX / 255;
const HIGH: u64 = ONES << 7;

/// Pairs as digits, if all of them are; else `digits` means nothing.
pub(super) fn all_digits(pairs: &[TextPair], digits: &mut Vec<DigitPair>) -> bool {
    digits.clear();
    digits.resize(pairs.len(), [0; 2]);
    vector::widest(All { pairs, digits })
}

/// A pair as digits, if it is such.
#[inline]
pub(super) fn digits_of(pair: &TextPair) -> Option<DigitPair> {
    let (digits, strange) = split(pair);
    (strange == 0).then_some(digits)
}

/// The pair of these digits.
#[inline]
pub(super) fn text_of(&[number, last]: &DigitPair) -> TextPair {
    let [first, second] = used(last);
    [spelt(number & u64::from(u32::MAX)) & first, spelt(number >> 32) & second, last]
}

struct All<'a> {
    pairs: &'a [TextPair],
    digits: &'a mut [DigitPair],
}

impl vector::Loop for All<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let mut strange = 0;
        for (pair, digits) in self.pairs.iter().zip(self.digits) {
            let (split, bits) = split(pair);
            *digits = split;
            strange |= bits;
        }
        strange == 0
    }
}

/// A pair as digits, and bits for what are none.
#[inline(always)]
fn split(&[a, b, last]: &TextPair) -> (DigitPair, u64) {
    let [first, second] = used(last);
    let ((low, strange_low), (high, strange_high)) = (read(a), read(b));
    ([low | high << 32, last], strange_low & first | strange_high & second)
}

/// Which bytes of both words are the text's.
#[inline(always)]
fn used(last: u64) -> [u64; 2] {
    // The length counts the mark of NULL.
    let bits = ((last >> 32).wrapping_sub(1)) * 8;
    let low = |bits: u64| if bits < 64 { (1 << bits) - 1 } else { u64::MAX };
    [low(bits), low(bits.saturating_sub(64))]
}

/// Eight characters as 32 bits, and a bit in each byte that is no digit.
#[inline(always)]
fn read(text: u64) -> (u64, u64) {
    // The high bit of each byte tells whether the character, less than 128, is `least` at least.
    let at_least = |least: u8| (text | HIGH) - u64::from(least) * ONES;
    let decimal = at_least(b'0') & !at_least(b'9' + 1);
    let letter = at_least(b'a') & !at_least(b'f' + 1) & HIGH;
    let strange = (text | !(decimal | letter)) & HIGH;
    let digits = (text & (ONES * 0xf)) + (letter >> 7) * 9;
    let digits = (digits | digits >> 4) & 0x00ff_00ff_00ff_00ff;
    let digits = (digits | digits >> 8) & 0x0000_ffff_0000_ffff;
    ((digits | digits >> 16) & 0xffff_ffff, strange)
}

/// The characters of 32 bits.
#[inline]
fn spelt(number: u64) -> u64 {
    let digits = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (digits | digits << 4) & (ONES * 0xf);
    let letters = (digits + ONES * 6) >> 4 & ONES;
    digits + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::texts::pair_of;
    use super::*;
    use crate::batch::ShortKey;

    fn pair(text: &[u8], set: u32) -> Option<TextPair> {
        pair_of(&ShortKey::of(&[&[0], text].concat())?, set)
    }

    proptest! {
        /// Texts of digits, and of characters beside them, at every length.
        #[test]
        fn digits_are_read_and_spelt(texts in prop::collection::vec(("[0-9a-f]{0,16}", any::<u32>()), 1..40), other in "[/0-9:@`a-fg\u{0}é]{0,16}") {
            let pairs: Vec<TextPair> = texts.iter().map(|(text, set)| pair(text.as_bytes(), *set).unwrap()).collect();
            let mut digits = vec![[7; 2]];
            prop_assert!(all_digits(&pairs, &mut digits));
            for (pair, digits) in pairs.iter().zip(&digits) {
                prop_assert_eq!(digits_of(pair), Some(*digits));
                prop_assert_eq!(text_of(digits), *pair);
            }
            if let Some(other_pair) = pair(other.as_bytes(), 3) {
                let is_such = other.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                prop_assert_eq!(digits_of(&other_pair).is_some(), is_such);
                let with_other = [&pairs[..], &[other_pair]].concat();
                prop_assert_eq!(all_digits(&with_other, &mut digits), is_such);
            }
        }
    }

    #[test]
    fn every_byte_is_told_from_digits() {
        for byte in 0..=255u8 {
            let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            for at in 0..16 {
                let mut text = [b'0'; 16];
                text[at] = byte;
                assert_eq!(
                    digits_of(&pair(&text, 0).unwrap()).is_some(),
                    is_digit,
                    "{byte} at {at}"
                );
            }
        }
    }
}
