//! Click events: the workload that every figure of ours is measured on.
//!
//! Row *i* is a function of the seed and *i* alone, with
//!
//! - `ts` = 2024-01-01 00:00:00 + ⌊*i* × 1000 ÷ rate⌋ + 4000 − jitter ms, jitter uniform in 0…3999, and 60 s
//!   less for `late_ppm` millionths of the rows;
//! - `page` = `page-` and at least four digits of ⌊pages^u − 1⌋, u uniform in [0, 1): log-uniform, skewed;
//! - `device` = 16 hexadecimal digits, a hash of a uniform draw from `devices`;
//! - `action` = `view` 60 %, `click` 30 %, `buy` 10 %;
//! - `amount` = 0.00…999.99.
//!
//! The same rows come as a table ([`ClicksGenerator`], `datagen` with `'profile' = 'clicks'`) and as a
//! file ([`generate`], `tidemill generate clicks`).
//!
//! # Invariants
//!
//! 1. The table and the files of equal settings hold the same rows.
//! 2. Floating point is used once, to lay out the thresholds of `page`; rows are integers.

mod columns;
mod text;

pub use columns::ClicksGenerator;
pub(super) use text::hex;
pub use text::{FileFormat, generate};

use super::draw;

/// 2024-01-01 00:00:00 in milliseconds since 1970.
const EPOCH_MS: i64 = 1_704_067_200_000;
/// How far jitter moves a row back at most, exclusive, in milliseconds.
const JITTER_MS: u64 = 4000;
/// How far a late row is moved back, in milliseconds.
const LATE_MS: i64 = 60_000;
/// The most pages: the thresholds take 8 bytes each.
pub const PAGES_MAX: u32 = 1_000_000;
/// The words of `action`, by [`Click::action`].
const ACTIONS: [&str; 3] = ["view", "click", "buy"];

/// What the rows are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clicks {
    /// Which rows.
    pub seed: u64,
    /// Rows a second of event time, at least 1.
    pub rate: u64,
    /// How many devices, at least 1.
    pub devices: u64,
    /// How many pages, `1 ..= PAGES_MAX`.
    pub pages: u32,
    /// Millionths of the rows that come 60 s late, at most 1,000,000.
    pub late_ppm: u32,
}

impl Default for Clicks {
    fn default() -> Self {
        Self { seed: 1, rate: 20_000, devices: 2_000_000, pages: 1000, late_ppm: 0 }
    }
}

impl Clicks {
    /// Why these settings make no rows, if they make none.
    pub fn check(&self) -> Result<(), String> {
        if self.rate == 0 {
            return Err("the rate is at least 1 row a second".into());
        }
        if self.devices == 0 {
            return Err("at least 1 device is needed".into());
        }
        if self.pages == 0 || self.pages > PAGES_MAX {
            return Err(format!("the number of pages is 1 to {PAGES_MAX}"));
        }
        if self.late_ppm > 1_000_000 {
            return Err("the late share is at most 1000000 millionths".into());
        }
        Ok(())
    }
}

/// The first `count` rows of the default settings as numbers: time in milliseconds since 1970, the number in the page's name, the
/// device's hash, the action (0: view, 1: click, 2: buy), the amount in cents.
pub fn numbers(count: u64) -> impl Iterator<Item = (i64, u32, u64, u8, u32)> {
    let rows = Rows::new(Clicks::default());
    (0..count).map(move |index| {
        let click = rows.row(index);
        (click.time_ms, click.page, click.device, click.action as u8, click.cents)
    })
}

/// One row, as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Click {
    /// Milliseconds since 1970.
    time_ms: i64,
    /// The number in the page's name.
    page: u32,
    /// The device's hash.
    device: u64,
    /// An index into [`ACTIONS`].
    action: usize,
    /// The amount in cents.
    cents: u32,
}

/// Draws rows by index.
#[derive(Clone, Debug)]
struct Rows {
    settings: Clicks,
    pages: PageDraw,
    seeds: [u64; 4],
    device_seed: u64,
}

impl Rows {
    /// Rows of these settings.
    ///
    /// # Panics
    ///
    /// If [`Clicks::check`] fails.
    fn new(settings: Clicks) -> Self {
        if let Err(message) = settings.check() {
            panic!("{message}");
        }
        let seeds = [1, 2, 3, 4].map(|stream| draw::derive(settings.seed, stream));
        Self {
            settings,
            pages: PageDraw::new(settings.pages),
            seeds,
            device_seed: draw::derive(settings.seed, 5),
        }
    }

    /// Row `index`.
    #[inline]
    fn row(&self, index: u64) -> Click {
        let Clicks { rate, devices, late_ppm, .. } = self.settings;
        let first = draw::draw(self.seeds[0], index);
        let second = draw::draw(self.seeds[1], index);
        let jitter_ms = draw::below_32(first, JITTER_MS) as i64;
        let late = draw::below_32(second >> 32, 1_000_000) < u64::from(late_ppm);
        let elapsed_ms = (index / rate)
            .wrapping_mul(1000)
            .wrapping_add((index % rate).wrapping_mul(1000) / rate);
        let time_ms = (EPOCH_MS + JITTER_MS as i64 - jitter_ms).wrapping_add(elapsed_ms as i64);
        Click {
            time_ms: if late { time_ms.wrapping_sub(LATE_MS) } else { time_ms },
            page: self.pages.page(draw::draw(self.seeds[2], index)),
            device: draw::mix(
                draw::below(draw::draw(self.seeds[3], index), devices)
                    .wrapping_add(self.device_seed),
            ),
            action: match draw::below_32(second, 10) {
                0..=5 => 0,
                6..=8 => 1,
                _ => 2,
            },
            cents: draw::below_32(first >> 32, 100_000) as u32,
        }
    }
}

/// Draws log-uniform page numbers without a power per row: page *p* is drawn where u reaches
/// ln(*p* + 1) ÷ ln(pages), kept as a 64-bit fraction; a guide of 4096 bins says where to look.
#[derive(Clone, Debug)]
struct PageDraw {
    /// The fraction of 2^64 from which on page `index` is drawn; the first is 0, ascending.
    thresholds: Vec<u64>,
    /// The page at the start of each bin, and the last page.
    guide: Vec<u32>,
}

impl PageDraw {
    const GUIDE_BITS: u32 = 12;

    fn new(pages: u32) -> Self {
        let scale = 2f64.powi(64) / f64::from(pages).ln();
        // pages^u stays below pages, so the last number is pages - 2 (or 0).
        let count = pages.saturating_sub(1).max(1);
        let thresholds: Vec<u64> =
            (0..count).map(|page| (f64::from(page + 1).ln() * scale) as u64).collect();
        let mut thresholds = thresholds;
        thresholds[0] = 0;
        let page_at = |fraction: u64| {
            (thresholds.partition_point(|&threshold| threshold <= fraction) - 1) as u32
        };
        let bins = 1u64 << Self::GUIDE_BITS;
        let mut guide: Vec<u32> =
            (0..bins).map(|bin| page_at(bin << (64 - Self::GUIDE_BITS))).collect();
        guide.push(count - 1);
        Self { thresholds, guide }
    }

    #[inline]
    fn page(&self, fraction: u64) -> u32 {
        let bin = (fraction >> (64 - Self::GUIDE_BITS)) as usize;
        let (first, last) = (self.guide[bin] as usize, self.guide[bin + 1] as usize);
        if first == last {
            return first as u32;
        }
        let above = &self.thresholds[first + 1..=last];
        let steps = if above.len() <= 8 {
            above.iter().map(|&threshold| usize::from(threshold <= fraction)).sum()
        } else {
            above.partition_point(|&threshold| threshold <= fraction)
        };
        (first + steps) as u32
    }
}

#[cfg(test)]
mod tests;
