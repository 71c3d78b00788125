//! The answers by plain loops over the CSV file: how many result rows each workload has, and what their counts add up to.
//!
//! The generated clicks are at most 4 s out of order and the watermark 5 s behind, so no row is late and sums of counts are
//! easy to know; windows and sessions are counted by hash sets and sorted lists.

use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Rows and totals by workload.
pub struct Answers {
    views: u64,
    tumble_groups: u64,
    pages: u64,
    visitors: u64,
    slide_groups: u64,
    rows: u64,
    sessions: u64,
    device_groups: u64,
}

impl Answers {
    /// Result rows, and the total of their counts.
    pub fn of(&self, workload: &str) -> (u64, u64) {
        match workload {
            "w0" => (self.views, self.views),
            "w1" => (self.tumble_groups, self.views),
            "w2" => (self.pages, self.visitors),
            "w2-early" => (0, self.visitors),
            "w3" => (self.slide_groups, self.rows * 5),
            "w4" => (self.sessions, self.rows),
            "w5" => (self.device_groups, self.rows),
            other => panic!("no workload {other}"),
        }
    }
}

/// Reads the whole file once.
pub fn answers(csv: &Path) -> Answers {
    let text = std::fs::read_to_string(csv).expect("the clicks were generated");
    let (mut views, mut rows) = (0, 0);
    let (mut tumbles, mut slides, mut minutes) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut pages, mut visitors) = (HashSet::new(), HashSet::new());
    let mut times: HashMap<u64, Vec<i64>> = HashMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(',').collect();
        let time_ms = time_of(fields[0]);
        let day = time_ms.div_euclid(86_400_000);
        let page: u32 = fields[1].trim_start_matches("page-").parse().expect("a page");
        let device = u64::from_str_radix(fields[2], 16).expect("a device");
        rows += 1;
        if fields[3] == "view" {
            views += 1;
            tumbles.insert((time_ms.div_euclid(10_000), page));
        }
        for step in 0..5 {
            slides.insert((time_ms.div_euclid(2000) - step, page));
        }
        minutes.insert((time_ms.div_euclid(60_000), device));
        pages.insert((day, page));
        visitors.insert((day, page, device));
        times.entry(device).or_default().push(time_ms);
    }
    Answers {
        views,
        tumble_groups: tumbles.len() as u64,
        pages: pages.len() as u64,
        visitors: visitors.len() as u64,
        slide_groups: slides.len() as u64,
        rows,
        sessions: times.into_values().map(sessions).sum(),
        device_groups: minutes.len() as u64,
    }
}

/// How many sessions with a gap of 5 s.
fn sessions(mut times: Vec<i64>) -> u64 {
    times.sort_unstable();
    1 + times.windows(2).filter(|pair| pair[1] - pair[0] > 5000).count() as u64
}

/// Milliseconds since 2024-01-01 of `2024-01-DD hh:mm:ss.mmm`.
fn time_of(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().expect("digits");
    let days = number(8, 10) - 1;
    ((days * 24 + number(11, 13)) * 60 + number(14, 16)) * 60_000
        + number(17, 19) * 1000
        + number(20, 23)
}
