//! W2: distinct devices by page and day.

use std::collections::BTreeMap;

use peer_clicks::{Answer, Click, LAG_MS, PAGES_MAX};

use crate::groups::home;

/// The width of a window.
pub const DAY_MS: i64 = 86_400_000;

/// Pairs of page and device, open addressing, at most half full.
#[derive(Debug)]
pub struct Pairs {
    /// A page plus one; 0: nobody is here.
    slots: Vec<(u64, u32)>,
    shift: u32,
    used: usize,
}

impl Pairs {
    /// No pairs yet.
    #[expect(clippy::new_without_default, reason = "a table is made on purpose")]
    pub fn new() -> Self {
        Self { slots: vec![(0, 0); 1024], shift: 64 - 10, used: 0 }
    }

    /// Adds a pair; whether it is new.
    #[inline]
    pub fn insert(&mut self, page: u32, device: u64) -> bool {
        let (pair, mask) = ((device, page + 1), self.slots.len() - 1);
        let mut index = home(device ^ (u64::from(page) << 44), self.shift);
        while self.slots[index].1 != 0 && self.slots[index] != pair {
            index = (index + 1) & mask;
        }
        let is_new = self.slots[index].1 == 0;
        if is_new {
            self.slots[index] = pair;
            self.used += 1;
            if self.used * 2 > self.slots.len() {
                self.grow();
            }
        }
        is_new
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![(0, 0); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, doubled);
        self.shift -= 1;
        self.used = 0;
        for (device, page) in old.into_iter().filter(|slot| slot.1 != 0) {
            self.insert(page - 1, device);
        }
    }
}

/// A day's pairs and how many each page has.
struct Day {
    pairs: Pairs,
    counts: Vec<u64>,
}

impl Day {
    fn show(&self, day: i64, answer: &mut Answer) {
        for (page, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            answer.add_visitors(day * DAY_MS, page as u64, count);
        }
    }
}

/// Row by row.
pub fn plainly(clicks: &[Click]) -> Answer {
    let mut days: BTreeMap<i64, Day> = BTreeMap::new();
    let mut answer = Answer::default();
    let (mut watermark_ms, mut due_ms) = (i64::MIN, i64::MAX);
    let (mut current, mut current_day) = (None::<Day>, i64::MIN);
    for click in clicks {
        let day = click.at_ms.div_euclid(DAY_MS);
        if (day + 1) * DAY_MS - 1 > watermark_ms {
            if day != current_day {
                let new = || Day { pairs: Pairs::new(), counts: vec![0; PAGES_MAX] };
                let next = days.remove(&day).unwrap_or_else(new);
                current.replace(next).map(|old| days.insert(current_day, old));
                current_day = day;
                due_ms = due_ms.min((day + 1) * DAY_MS - 1);
            }
            let current = current.as_mut().expect("there is a day");
            current.counts[click.page as usize] +=
                u64::from(current.pairs.insert(click.page, click.device));
        }
        watermark_ms = watermark_ms.max(click.at_ms - LAG_MS);
        if watermark_ms >= due_ms {
            current.take().map(|old| days.insert(current_day, old));
            current_day = i64::MIN;
            let open = days.split_off(&(watermark_ms + 1).div_euclid(DAY_MS));
            std::mem::replace(&mut days, open)
                .iter()
                .for_each(|(day, pairs)| pairs.show(*day, &mut answer));
            due_ms = days.keys().next().map_or(i64::MAX, |day| (day + 1) * DAY_MS - 1);
        }
    }
    current.take().map(|old| days.insert(current_day, old));
    days.iter().for_each(|(day, pairs)| pairs.show(*day, &mut answer));
    answer
}
