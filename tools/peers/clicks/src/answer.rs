//! What a run came to, comparable between contestants whatever order they work in.

use std::fmt;

/// Odd, and without a pattern: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Result rows added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// How many rows.
    pub rows: u64,
    /// The sum of their counts.
    pub counts: u64,
    /// The sum of their sums, in cents.
    pub cents: i64,
    /// The sum of their hashes.
    pub hash: u64,
}

impl Answer {
    /// Adds a row with this count and these cents, whose hash is that of `fields`.
    #[inline]
    pub fn add<const N: usize>(&mut self, count: u64, cents: i64, fields: [i64; N]) {
        let mut hash = 0;
        for field in fields {
            hash = (hash ^ field as u64).wrapping_mul(FACTOR);
            hash ^= hash >> 32;
        }
        self.rows += 1;
        self.counts += count;
        self.cents += cents;
        self.hash = self.hash.wrapping_add(hash);
    }

    /// A row of W0: page and amount.
    #[inline]
    pub fn add_click(&mut self, page: u32, amount: f64) {
        let cents = cents(amount);
        self.add(1, cents, [i64::from(page), cents]);
    }

    /// A row of W1.
    #[inline]
    pub fn add_tumble(
        &mut self,
        start_ms: i64,
        key: u64,
        count: u64,
        sum: f64,
        max: f64,
        avg: f64,
    ) {
        let (sum, max) = (cents(sum), cents(max));
        let fields = [start_ms, key as i64, count as i64, sum, max, thousandths(avg)];
        self.add(count, sum, fields);
    }

    /// A row of W2.
    #[inline]
    pub fn add_visitors(&mut self, start_ms: i64, key: u64, count: u64) {
        self.add(count, 0, [start_ms, key as i64, count as i64]);
    }

    /// A row of W3, W4 and W5.
    #[inline]
    pub fn add_sum(&mut self, start_ms: i64, key: u64, count: u64, sum: f64) {
        let cents = cents(sum);
        self.add(count, cents, [start_ms, key as i64, count as i64, cents]);
    }

    /// Adds another part's rows.
    pub fn merge(&mut self, other: &Answer) {
        self.rows += other.rows;
        self.counts += other.counts;
        self.cents += other.cents;
        self.hash = self.hash.wrapping_add(other.hash);
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, counts, cents, hash } = self;
        write!(f, "{rows} rows, counts {counts}, cents {cents}, hash {hash:016x}")
    }
}

/// An amount, not negative, to the nearest cent.
#[inline]
pub fn cents(amount: f64) -> i64 {
    (amount * 100.0 + 0.5) as i64
}

/// An average, cut to thousandths. What it is cut at is no quotient that whole cents and small counts come to, so that contestants
/// who round the average's last bit otherwise still agree.
#[inline]
pub fn thousandths(average: f64) -> i64 {
    (average * 1000.0 + 0.1234) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_parts_do_not_show_and_fields_do() {
        let row = |answer: &mut Answer, key| answer.add_sum(1000, key, 2, 0.3);
        let (mut all, mut one, mut two) = (Answer::default(), Answer::default(), Answer::default());
        [1, 2, 3].into_iter().for_each(|key| row(&mut all, key));
        [3, 1].into_iter().for_each(|key| row(&mut one, key));
        row(&mut two, 2);
        one.merge(&two);
        assert_eq!(one, all);
        row(&mut two, 4);
        assert_eq!((two.rows, two.counts, two.cents), (2, 4, 60));
        let (mut near, mut far) = (Answer::default(), Answer::default());
        near.add_sum(0, 1, 1, 0.1 + 0.2);
        far.add_sum(0, 1, 1, 0.31);
        assert_ne!(near.hash, far.hash);
        far = Answer::default();
        far.add_sum(0, 1, 1, 0.3);
        assert_eq!(near, far);
    }
}
