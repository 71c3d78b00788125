//! W2, W4 and W5 with rows laid aside by the hash of their device and taken up a partition at a time: its table fits the cache, where
//! a table of all devices would cost a miss of memory each row.

use std::collections::BTreeMap;

use peer_clicks::{Answer, Click, LAG_MS, PAGES_MAX};

use crate::groups::{Groups, Hashed, home};
use crate::sessions::{SWEEP_MS, Sessions};
use crate::visitors::{DAY_MS, Pairs};

const PARTITION_BITS: u32 = 8;
const PARTITIONS: usize = 1 << PARTITION_BITS;
/// Rows that a partition lays aside before they are taken up.
const ASIDE_MAX: usize = 4096;

#[inline]
fn partition(device: u64) -> usize {
    // Tables look at the high bits of a product; these are the middle ones, so that a partition's table has no empty regions.
    home(device, 24) & (PARTITIONS - 1)
}

/// W2: the pairs of a partition are a set, and pages add up their sizes.
pub fn visitors(clicks: &[Click]) -> Answer {
    let mut days: BTreeMap<i64, Visitors> = BTreeMap::new();
    let mut answer = Answer::default();
    let mut watermark_ms = i64::MIN;
    let mut rest = clicks;
    while let Some(first) = rest.first() {
        // The run of rows of one day whose watermark does not pass the end of a day.
        let day = first.at_ms.div_euclid(DAY_MS);
        let (from_ms, before) = (day * DAY_MS, (watermark_ms + 1).div_euclid(DAY_MS));
        let mut count = 0;
        for click in rest {
            let is_same = ((click.at_ms - from_ms) as u64) < DAY_MS as u64;
            if count > 0 && (!is_same || (watermark_ms + 1).div_euclid(DAY_MS) != before) {
                break;
            }
            count += 1;
            watermark_ms = watermark_ms.max(click.at_ms - LAG_MS);
        }
        let (run, after) = rest.split_at(count);
        rest = after;
        if day >= before {
            days.entry(day).or_insert_with(Visitors::new).add(run);
        }
        let open = days.split_off(&(watermark_ms + 1).div_euclid(DAY_MS));
        let over = std::mem::replace(&mut days, open);
        over.into_iter().for_each(|(day, visitors)| visitors.show(day, &mut answer));
    }
    days.into_iter().for_each(|(day, visitors)| visitors.show(day, &mut answer));
    answer
}

/// A day.
struct Visitors {
    aside: Vec<Vec<(u64, u32)>>,
    sets: Vec<Pairs>,
    counts: Vec<u64>,
}

impl Visitors {
    fn new() -> Self {
        Self {
            aside: (0..PARTITIONS).map(|_| Vec::with_capacity(ASIDE_MAX)).collect(),
            sets: (0..PARTITIONS).map(|_| Pairs::new()).collect(),
            counts: vec![0; PAGES_MAX],
        }
    }

    fn add(&mut self, run: &[Click]) {
        for click in run {
            let partition = partition(click.device);
            let aside = &mut self.aside[partition];
            aside.push((click.device, click.page));
            if aside.len() == ASIDE_MAX {
                self.take_up(partition);
            }
        }
    }

    fn take_up(&mut self, partition: usize) {
        let set = &mut self.sets[partition];
        for (device, page) in self.aside[partition].drain(..) {
            self.counts[page as usize] += u64::from(set.insert(page, device));
        }
    }

    fn show(mut self, day: i64, answer: &mut Answer) {
        (0..PARTITIONS).for_each(|partition| self.take_up(partition));
        for (page, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            answer.add_visitors(day * DAY_MS, page as u64, count);
        }
    }
}

/// W4: rows are laid aside with the watermark at their arrival, which decides what they belong to.
pub fn sessions(clicks: &[Click]) -> Answer {
    struct Row {
        device: u64,
        at_ms: i64,
        amount: f64,
        watermark_ms: i64,
    }
    let mut aside: Vec<Vec<Row>> = (0..PARTITIONS).map(|_| Vec::with_capacity(ASIDE_MAX)).collect();
    let mut tables: Vec<Sessions> = (0..PARTITIONS).map(|_| Sessions::new()).collect();
    let mut answer = Answer::default();
    let take_up = |rows: &mut Vec<Row>, table: &mut Sessions, answer: &mut Answer| {
        for row in rows.drain(..) {
            table.add(row.device, row.at_ms, row.amount, row.watermark_ms, answer);
        }
    };
    let (mut watermark_ms, mut sweep_ms) = (i64::MIN, i64::MIN);
    for &Click { device, at_ms, amount, .. } in clicks {
        let partition = partition(device);
        let rows = &mut aside[partition];
        rows.push(Row { device, at_ms, amount, watermark_ms });
        if rows.len() == ASIDE_MAX {
            take_up(rows, &mut tables[partition], &mut answer);
        }
        watermark_ms = watermark_ms.max(at_ms - LAG_MS);
        if watermark_ms >= sweep_ms {
            for (rows, table) in aside.iter_mut().zip(&mut tables) {
                take_up(rows, table, &mut answer);
                table.sweep(watermark_ms, &mut answer);
            }
            sweep_ms = watermark_ms + SWEEP_MS;
        }
    }
    for (rows, table) in aside.iter_mut().zip(&mut tables) {
        take_up(rows, table, &mut answer);
        table.sweep(i64::MAX, &mut answer);
    }
    answer
}

const MINUTE_MS: i64 = 60_000;

/// W5: nothing is added up before a window is over; then a partition is, in a table that all partitions use in turn.
pub fn minutes(clicks: &[Click]) -> Answer {
    type Aside = Vec<Vec<(u64, f64)>>;
    let mut windows: BTreeMap<i64, Aside> = BTreeMap::new();
    let mut spare: Vec<Aside> = Vec::new();
    let mut table = Hashed::default();
    let mut answer = Answer::default();
    let mut show = |minute: i64, aside: &mut Aside, answer: &mut Answer| {
        for rows in aside {
            rows.drain(..).for_each(|(device, amount)| table.add(device, amount));
            table.each(|group| {
                answer.add_sum(minute * MINUTE_MS, group.key, group.count, group.sum)
            });
            table.clear();
        }
    };
    let (mut watermark_ms, mut due_ms) = (i64::MIN, i64::MAX);
    // The window that rows go to now, taken out of the map.
    let (mut current, mut current_ms): (Aside, i64) = (Vec::new(), i64::MIN / 2);
    for click in clicks {
        if ((click.at_ms - current_ms) as u64) >= MINUTE_MS as u64 {
            let minute = click.at_ms.div_euclid(MINUTE_MS);
            if (minute + 1) * MINUTE_MS - 1 <= watermark_ms {
                continue;
            }
            if !current.is_empty() {
                windows.insert(current_ms / MINUTE_MS, current);
            }
            let new = || spare.pop().unwrap_or_else(|| vec![Vec::new(); PARTITIONS]);
            current = windows.remove(&minute).unwrap_or_else(new);
            current_ms = minute * MINUTE_MS;
            due_ms = due_ms.min(current_ms + MINUTE_MS - 1);
        }
        current[partition(click.device)].push((click.device, click.amount));
        watermark_ms = watermark_ms.max(click.at_ms - LAG_MS);
        if watermark_ms >= due_ms {
            windows.insert(current_ms / MINUTE_MS, std::mem::take(&mut current));
            current_ms = i64::MIN / 2;
            let open = windows.split_off(&(watermark_ms + 1).div_euclid(MINUTE_MS));
            for (minute, mut aside) in std::mem::replace(&mut windows, open) {
                show(minute, &mut aside, &mut answer);
                spare.push(aside);
            }
            due_ms = windows.keys().next().map_or(i64::MAX, |minute| (minute + 1) * MINUTE_MS - 1);
        }
    }
    if !current.is_empty() {
        windows.insert(current_ms / MINUTE_MS, current);
    }
    windows.into_iter().for_each(|(minute, mut aside)| show(minute, &mut aside, &mut answer));
    answer
}
