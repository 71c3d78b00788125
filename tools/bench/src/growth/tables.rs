//! The tables: what each varies.

use super::line::{Early, Line};
use super::load::{Draw, Load};
use crate::Settings;

/// A table.
pub(super) struct Table {
    /// What `--only` calls it.
    pub(super) name: &'static str,
    /// What is the same in all its lines.
    pub(super) what: &'static str,
    /// The head of its first column.
    pub(super) varied: &'static str,
    pub(super) lines: fn(&Settings) -> Vec<Line>,
}

/// All of them, in the order in which they are run.
pub(super) const TABLES: [Table; 11] = [
    Table { name: "keys", what: "one window of an hour", varied: "keys", lines: keys },
    Table {
        name: "slide",
        what: "100 keys, two hours of event time, HOP with a slide of 1 s",
        varied: "size",
        lines: slide,
    },
    Table {
        name: "disorder",
        what: "1,000 keys, an hour of event time, TUMBLE 10 s, the watermark as far behind as rows are out of order",
        varied: "disorder",
        lines: disorder,
    },
    Table {
        name: "late",
        what: "1,000 keys, 20,000 rows a second of event time, TUMBLE 10 s, late rows by a minute",
        varied: "late share",
        lines: late,
    },
    Table {
        name: "skew",
        what: "10,000 keys, 20,000 rows a second of event time, TUMBLE 10 s",
        varied: "keys drawn",
        lines: skew,
    },
    Table {
        name: "width",
        what: "1,000 keys, 20,000 rows a second of event time, TUMBLE 10 s; 24 bytes of a row are read; at most 1.5 GB",
        varied: "bytes a row",
        lines: width,
    },
    Table {
        name: "early",
        what: "1,000 keys, 20,000 rows a second of event time, TUMBLE 60 s",
        varied: "results",
        lines: early,
    },
    Table {
        name: "snapshots",
        what: "1,000,000 keys, one window of an hour",
        varied: "snapshots",
        lines: snapshots,
    },
    Table {
        name: "state",
        what: "one window of an hour, a snapshot a second; rows are at least five for four keys",
        varied: "keys",
        lines: state,
    },
    Table { name: "shards", what: "1,000 keys, TUMBLE 10 min", varied: "shards", lines: shards },
    Table {
        name: "shards-many",
        what: "1,000,000 keys, TUMBLE 10 min",
        varied: "shards",
        lines: shards_many,
    },
];

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Tumbling windows of 10 s over 20,000 rows a second of event time.
fn plain(settings: &Settings, name: impl ToString, keys: u64) -> Line {
    let rows = settings.rows;
    let load = Load {
        rows,
        keys,
        draw: Draw::Uniform,
        span_ms: (rows / 20).max(1) as i64,
        disorder_ms: 0,
        late_ppm: 0,
    };
    Line {
        name: name.to_string(),
        load,
        size_ms: 10 * SECOND_MS,
        slide_ms: 10 * SECOND_MS,
        early: Early::No,
        shards: settings.shards,
        snapshot_interval_ms: None,
        row_bytes: 32,
    }
}

/// One window that holds all rows.
fn whole(settings: &Settings, name: impl ToString, keys: u64) -> Line {
    let line = plain(settings, name, keys);
    let load = Load { span_ms: HOUR_MS / 2, ..line.load };
    Line { load, size_ms: HOUR_MS, slide_ms: HOUR_MS, ..line }
}

fn keys(settings: &Settings) -> Vec<Line> {
    let counts = (2..=7).map(|exponent| 10_u64.pow(exponent));
    counts.map(|count| whole(settings, count, count)).collect()
}

fn slide(settings: &Settings) -> Vec<Line> {
    let sizes = [("10 s", 10), ("1 min", 60), ("10 min", 600), ("1 h", 3600)];
    let line = |(name, seconds)| {
        let line = plain(settings, name, 100);
        let load = Load { span_ms: 2 * HOUR_MS, ..line.load };
        Line { load, size_ms: seconds * SECOND_MS, slide_ms: SECOND_MS, ..line }
    };
    sizes.map(line).into()
}

fn disorder(settings: &Settings) -> Vec<Line> {
    let spans = [
        ("none", 0),
        ("1 s", SECOND_MS),
        ("10 s", 10 * SECOND_MS),
        ("1 min", MINUTE_MS),
        ("10 min", 10 * MINUTE_MS),
    ];
    let line = |(name, disorder_ms)| {
        let line = plain(settings, name, 1000);
        Line { load: Load { span_ms: HOUR_MS, disorder_ms, ..line.load }, ..line }
    };
    spans.map(line).into()
}

fn late(settings: &Settings) -> Vec<Line> {
    let shares = [("none", 0), ("0.1 %", 1000), ("1 %", 10_000), ("10 %", 100_000)];
    let line = |(name, late_ppm)| {
        let line = plain(settings, name, 1000);
        Line { load: Load { late_ppm, ..line.load }, ..line }
    };
    shares.map(line).into()
}

fn skew(settings: &Settings) -> Vec<Line> {
    let zipf = [0.5, 1.0, 1.5, 2.0, 3.0]
        .map(|exponent| (format!("Zipf, exponent {exponent}"), Draw::Zipf(exponent)));
    let draws = [("uniformly".to_owned(), Draw::Uniform)]
        .into_iter()
        .chain(zipf)
        .chain([("one key alone".to_owned(), Draw::One)]);
    let line = |(name, draw)| {
        let line = plain(settings, name, 10_000);
        Line { load: Load { draw, ..line.load }, ..line }
    };
    draws.map(line).collect()
}

/// The most memory that rows of one line may take.
const ROWS_BYTES_MAX: u64 = 1_500_000_000;

fn width(settings: &Settings) -> Vec<Line> {
    let line = |row_bytes: usize| {
        let line = plain(settings, row_bytes, 1000);
        let rows = settings.rows.min(ROWS_BYTES_MAX / row_bytes as u64);
        let span_ms = (rows / 20).max(1) as i64;
        Line { load: Load { rows, span_ms, ..line.load }, row_bytes, ..line }
    };
    [32, 64, 128, 256, 1024].map(line).into()
}

fn early(settings: &Settings) -> Vec<Line> {
    let modes = [
        ("at the end", Early::No),
        ("every 1 s, what came since", Early::Discarding),
        ("every 1 s, taking back the last", Early::Retracting),
    ];
    let line = |(name, early)| {
        let line = plain(settings, name, 1000);
        Line { size_ms: MINUTE_MS, slide_ms: MINUTE_MS, early, ..line }
    };
    modes.map(line).into()
}

fn snapshots(settings: &Settings) -> Vec<Line> {
    let intervals = [("none", None), ("every 1 s", Some(1000)), ("every 0.1 s", Some(100))];
    let line = |(name, snapshot_interval_ms)| Line {
        snapshot_interval_ms,
        ..whole(settings, name, 1_000_000)
    };
    intervals.map(line).into()
}

fn state(settings: &Settings) -> Vec<Line> {
    let line = |keys| {
        let line = whole(settings, keys, keys);
        let rows = settings.rows.max(keys / 4 * 5);
        Line { load: Load { rows, ..line.load }, snapshot_interval_ms: Some(1000), ..line }
    };
    // About 10 MB, 100 MB, 1 GB and 4 GB.
    [100_000, 1_000_000, 10_000_000, 40_000_000].map(line).into()
}

fn shards(settings: &Settings) -> Vec<Line> {
    by_shards(settings, 1000)
}

fn shards_many(settings: &Settings) -> Vec<Line> {
    by_shards(settings, 1_000_000)
}

fn by_shards(settings: &Settings, keys: u64) -> Vec<Line> {
    let line = |shards| {
        let line = whole(settings, shards, keys);
        Line { size_ms: 10 * MINUTE_MS, slide_ms: 10 * MINUTE_MS, shards, ..line }
    };
    [1, 2, 4].map(line).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every line of every table, over a few rows and windows: answers are checked by the lines themselves.
    #[test]
    fn all_lines_add_up() {
        let folder = std::env::temp_dir().join(format!("tidemill-growth-{}", std::process::id()));
        let settings = crate::settings::read(["growth".to_owned()].into_iter()).ok().unwrap();
        for table in &TABLES {
            for line in (table.lines)(&settings) {
                let (keys, span_ms) = (line.load.keys.min(1000), line.load.span_ms.min(100_000));
                let load = Load { rows: 5000, keys, span_ms, ..line.load };
                let [size_ms, slide_ms] =
                    [line.size_ms, line.slide_ms].map(|ms| ms.min(10 * MINUTE_MS));
                let line = Line { load, size_ms, slide_ms, ..line };
                let expected = load.totals(size_ms, slide_ms);
                let outcome = line.run(&folder, &expected);
                assert!(outcome.is_ok_and(|outcome| outcome.results > 0), "{}", table.name);
            }
        }
    }
}
