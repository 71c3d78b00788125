//! Exact sums of doubles: the same result in whatever order and grouping the values come.
//!
//! A rounded running sum depends on the order of its additions, so partial sums of chunks could not be
//! merged without the chunk size showing. Here a sum is kept exactly and rounded once, at the end.
//!
//! Almost all values fit a window of a 128-bit fixed-point number (unit 2^-74: everything of magnitude
//! 2^-21 … 2^52 with all its 53 bits); an addition is a shift and a 128-bit add. A value or a sum outside of it
//! goes to a spill that spans the whole range of doubles, kept as bytes behind a reference.
//!
//! After Neal, "Fast Exact Summation Using Small and Large Superaccumulators" (2015); the window is ours.
//!
//! # Invariants
//!
//! 1. The sum is `fixed × 2^-74 + spill`, exactly, unless a flag says that NaN or an infinity was added.
//! 2. A spill is a two's complement number of [`SPILL_WORDS`] words with unit 2^-1074; 2^62 additions cannot overflow it.

/// Words of a spill: 2098 bits of range, 62 for carries, and the sign.
pub const SPILL_WORDS: usize = 34;

/// Flags in the top bits of the count word.
pub const FLAG_NAN: u64 = 1 << 63;
/// `+Infinity` was added.
pub const FLAG_POSITIVE: u64 = 1 << 62;
/// `-Infinity` was added.
pub const FLAG_NEGATIVE: u64 = 1 << 61;
/// The count itself.
pub const COUNT_MASK: u64 = FLAG_NEGATIVE - 1;

const UNIT_EXPONENT: i32 = -74;
const UNIT: f64 = power_of_two(UNIT_EXPONENT);
const SPILL_EXPONENT: i32 = -1074;
/// Bits of a half of a fixed number that is rounded by halves.
const HALF_BITS: i32 = 53;

const fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// A value's place: within the window, or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// In units of 2^-74.
    Fixed(i128),
    /// Outside the window: for the spill.
    Spill,
    /// NaN or an infinity: the flag to set.
    Special(u64),
}

/// A double all of whose bits lie within the window, in units of 2^-74: nearly every one. `None`: ask [`term`].
#[inline]
pub fn within(value: f64) -> Option<i128> {
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    // The mantissa's unit is 2^(biased - 1075); shift is its distance from ours.
    let shift = biased - 1075 - UNIT_EXPONENT;
    if (0..=73).contains(&shift) {
        let magnitude = i128::from(fraction | (1 << 52)) << shift;
        // Negated without a branch: signs come in no order.
        let sign = i128::from(bits.cast_signed() >> 63);
        return Some((magnitude ^ sign) - sign);
    }
    None
}

/// Shifted left, or 0 where nothing is left.
#[inline(always)]
fn up(word: u64, shift: u64) -> u64 {
    if shift < 64 { word << shift } else { 0 }
}

/// Shifted right, or 0 where nothing is left.
#[inline(always)]
fn down(word: u64, shift: u64) -> u64 {
    if shift < 64 { word >> shift } else { 0 }
}

/// [`within`] of many values: the low and the high words. False: one is not, and the words mean nothing.
///
/// Without a branch, so that it becomes vectors in [`crate::sys::vector`].
#[inline(always)]
pub(super) fn all_within(values: &[f64], low: &mut [u64], high: &mut [u64]) -> bool {
    let mut outside = 0;
    for ((value, low), high) in values.iter().zip(low).zip(high) {
        let bits = value.to_bits();
        let is_zero = bits << 1 == 0;
        let shift = (bits >> 52 & 0x7ff).wrapping_sub((1075 + UNIT_EXPONENT) as u64);
        outside |= u64::from(shift > 73 && !is_zero);
        let mantissa = if is_zero { 0 } else { bits & ((1 << 52) - 1) | 1 << 52 };
        let (least, most) = (
            up(mantissa, shift),
            down(mantissa, 64_u64.wrapping_sub(shift)) | up(mantissa, shift.wrapping_sub(64)),
        );
        // Negated without a branch: the complement, and one more, which is carried if the low word is 0.
        let sign = (bits.cast_signed() >> 63).cast_unsigned();
        *low = (least ^ sign).wrapping_sub(sign);
        *high = (most ^ sign).wrapping_add(sign & u64::from(least == 0));
    }
    outside == 0
}

/// Splits a double.
pub fn term(value: f64) -> Term {
    if let Some(fixed) = within(value) {
        return Term::Fixed(fixed);
    }
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let shift = biased - 1075 - UNIT_EXPONENT;
    if biased == 0 && fraction == 0 {
        return Term::Fixed(0);
    }
    if biased == 0x7ff {
        return Term::Special(match (fraction, bits >> 63) {
            (0, 0) => FLAG_POSITIVE,
            (0, _) => FLAG_NEGATIVE,
            _ => FLAG_NAN,
        });
    }
    if shift < 0 && shift > -53 && fraction.trailing_zeros() as i32 >= -shift {
        let magnitude = i128::from(fraction | (1 << 52)) >> -shift;
        return Term::Fixed(if bits >> 63 == 1 { -magnitude } else { magnitude });
    }
    Term::Spill
}

/// A sum that spans all doubles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill([u64; SPILL_WORDS]);

impl Spill {
    /// Zero.
    pub fn zero() -> Self {
        Self([0; SPILL_WORDS])
    }

    /// From the bytes that [`Spill::bytes`] gave.
    ///
    /// # Panics
    ///
    /// If they are not as many.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        assert_eq!(bytes.len(), SPILL_WORDS * 8);
        let mut spill = Self::zero();
        for (word, chunk) in spill.0.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
        }
        spill
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Adds another.
    pub fn add(&mut self, other: &Spill) {
        let mut carry = false;
        for (word, &addend) in self.0.iter_mut().zip(&other.0) {
            let (sum, over) = word.overflowing_add(addend);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = over || again;
        }
    }

    /// Adds a finite double.
    pub fn add_value(&mut self, value: f64) {
        let bits = value.to_bits();
        let biased = ((bits >> 52) & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        let (mantissa, shift) =
            if biased == 0 { (fraction, 0) } else { (fraction | (1 << 52), biased - 1) };
        self.add_shifted(u128::from(mantissa), shift, bits >> 63 == 1);
    }

    /// Adds `fixed × 2^-74`.
    pub fn add_fixed(&mut self, fixed: i128) {
        self.add_shifted(
            fixed.unsigned_abs(),
            (UNIT_EXPONENT - SPILL_EXPONENT) as usize,
            fixed < 0,
        );
    }

    fn add_shifted(&mut self, magnitude: u128, shift: usize, negative: bool) {
        let mut addend = Spill::zero();
        let (word, bit) = (shift / 64, shift % 64);
        let (low, high) = (magnitude << bit, if bit == 0 { 0 } else { magnitude >> (128 - bit) });
        let parts = [low as u64, (low >> 64) as u64, high as u64];
        for (offset, part) in parts.into_iter().enumerate().filter(|(_, part)| *part != 0) {
            addend.0[word + offset] = part;
        }
        if negative {
            addend.negate();
        }
        self.add(&addend);
    }

    fn negate(&mut self) {
        let mut carry = true;
        for word in &mut self.0 {
            let (value, over) = (!*word).overflowing_add(u64::from(carry));
            *word = value;
            carry = over;
        }
    }

    /// The nearest double, ties to even; an infinity beyond the range.
    pub fn round(&self) -> f64 {
        let negative = self.0[SPILL_WORDS - 1] >> 63 == 1;
        let mut magnitude = self.clone();
        if negative {
            magnitude.negate();
        }
        let Some(top) = magnitude.0.iter().rposition(|&word| word != 0) else { return 0.0 };
        let top_bit = top * 64 + 63 - magnitude.0[top].leading_zeros() as usize;
        let sign = if negative { 1u64 << 63 } else { 0 };
        if top_bit < 53 {
            // At or below the smallest normal doubles: the words are the bits.
            return f64::from_bits(sign | magnitude.0[0]);
        }
        let low = top_bit - 52;
        let mut mantissa = magnitude.bits_from(low);
        let half = magnitude.bit(low - 1);
        let sticky = (0..low - 1).any(|bit| magnitude.bit(bit));
        let mut biased = low as u64 + 1;
        if half && (sticky || mantissa & 1 == 1) {
            mantissa += 1;
            if mantissa == 1 << 53 {
                mantissa >>= 1;
                biased += 1;
            }
        }
        if biased >= 0x7ff {
            return f64::from_bits(sign | f64::INFINITY.to_bits());
        }
        f64::from_bits(sign | (biased << 52) | (mantissa & ((1 << 52) - 1)))
    }

    fn bit(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn bits_from(&self, start: usize) -> u64 {
        (0..53).fold(0, |bits, offset| bits | (u64::from(self.bit(start + offset)) << offset))
    }
}

/// The sum as a double: `fixed × 2^-74 + spill`, or what the flags say.
pub fn round(fixed: i128, count_word: u64, spill: Option<&Spill>) -> f64 {
    if count_word & FLAG_NAN != 0
        || (count_word & FLAG_POSITIVE != 0 && count_word & FLAG_NEGATIVE != 0)
    {
        return f64::NAN;
    }
    if count_word & FLAG_POSITIVE != 0 {
        return f64::INFINITY;
    }
    if count_word & FLAG_NEGATIVE != 0 {
        return f64::NEG_INFINITY;
    }
    match spill {
        None => round_fixed(fixed),
        Some(spill) => {
            let mut total = spill.clone();
            total.add_fixed(fixed);
            total.round()
        }
    }
}

/// `fixed × 2^-74` as a double.
#[inline]
pub(super) fn round_fixed(fixed: i128) -> f64 {
    // Two whole numbers below 2^53 are doubles exactly, and so they are scaled by powers of two; the one addition rounds, to nearest even.
    let (high, low) = ((fixed >> HALF_BITS) as i64, fixed as u64 & ((1 << HALF_BITS) - 1));
    if matches!((fixed >> (2 * HALF_BITS - 1)) as i64, 0 | -1) {
        return high as f64 * power_of_two(UNIT_EXPONENT + HALF_BITS) + low as f64 * UNIT;
    }
    fixed as f64 * UNIT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(values: &[f64]) -> f64 {
        let (mut fixed, mut flags, mut spill) = (0i128, 0u64, Spill::zero());
        for &value in values {
            match term(value) {
                Term::Fixed(term) => fixed += term,
                Term::Spill => spill.add_value(value),
                Term::Special(flag) => flags |= flag,
            }
        }
        round(fixed, flags, Some(&spill))
    }

    #[test]
    fn sums_are_exact() {
        assert_eq!(sum(&[0.1, 0.2, 0.3]), 0.6);
        assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum(&[1e308, 1e308, -1e308]), 1e308);
        assert_eq!(sum(&[1e308, 1e308]), f64::INFINITY);
        assert_eq!(sum(&[f64::MIN_POSITIVE, -f64::MIN_POSITIVE]), 0.0);
        assert_eq!(sum(&[5e-324, 5e-324]), 1e-323);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[]), 0.0);
    }

    #[test]
    fn without_a_spill_it_rounds_alike() {
        for value in [0.1, 632.5, -999.99, 1e15, 1.0 / 3.0] {
            let Term::Fixed(fixed) = term(value) else { panic!("{value} fits the window") };
            assert_eq!(round(fixed, 1, None), value);
            assert_eq!(round(fixed * 3, 3, None), round(fixed * 3, 3, Some(&Spill::zero())));
        }
    }

    proptest! {
        #[test]
        fn many_values_are_split_as_one_is(values in prop::collection::vec(
            prop_oneof![any::<f64>(), -1e3..1e3f64, -1e15..1e15f64, Just(0.0), Just(-0.0), Just(f64::EPSILON)], 0..9,
        )) {
            let (mut low, mut high) = ([7; 9], [7; 9]);
            let all = all_within(&values, &mut low, &mut high);
            let single = |&value: &f64| if value == 0.0 { Some(0) } else { within(value) };
            let expected: Option<Vec<i128>> = values.iter().map(single).collect();
            prop_assert_eq!(all, expected.is_some());
            for (at, fixed) in expected.into_iter().flatten().enumerate() {
                prop_assert_eq!((low[at], high[at]), (fixed as u64, (fixed >> 64) as u64), "{}", values[at]);
            }
        }
    }

    proptest! {
        #[test]
        fn the_short_way_rounds_alike(bits in any::<i128>(), shift in 0..127u32, zeros in 0..100u32) {
            let fixed = bits >> shift >> zeros << zeros;
            prop_assert_eq!(round(fixed, 1, None), fixed as f64 * 2f64.powi(UNIT_EXPONENT));
        }

        #[test]
        fn one_value_comes_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(sum(&[value]), value);
        }

        #[test]
        fn order_does_not_matter(mut values in prop::collection::vec(any::<f64>(), 0..40)) {
            let forwards = sum(&values);
            values.reverse();
            let backwards = sum(&values);
            prop_assert!(forwards == backwards || (forwards.is_nan() && backwards.is_nan()));
        }

        #[test]
        fn integers_sum_as_integers(values in prop::collection::vec(-1_000_000_000i64..1_000_000_000, 0..60)) {
            let doubles: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            prop_assert_eq!(sum(&doubles), values.iter().sum::<i64>() as f64);
        }
    }
}
