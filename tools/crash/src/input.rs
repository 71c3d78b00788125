//! Inputs: click events, made from a seed, some out of order and some late.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use crate::random::Random;

/// What a job reads.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// How many clicks.
    pub rows: u64,
    /// How many in a second of event time.
    pub per_second: u64,
    /// How many devices they come from.
    pub devices: u64,
    /// How they are written.
    pub shape: Shape,
}

/// How clicks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One CSV file, `clicks.csv`.
    Csv,
    /// The same, with notes of several lines.
    QuotedCsv,
    /// The same, but all rows behind the first three quarters are of five devices and come slowly: state grows and shrinks.
    Burst,
    /// Several files of JSON lines, one of them packed and of several chunks; some lines are malformed.
    Files,
}

/// How much slower the rest of a burst comes.
const REST_SLOWER: u64 = 30;
const FILE_COUNT: u64 = 6;
/// The one that is packed.
const PACKED_FILE: u64 = 2;
/// A packed file is read in chunks of 1 MiB, whatever the job's are: blanks make it as long as some of those, and pack to nothing.
const PACKED_BLANKS: usize = 4000;
const ACTIONS: [&str; 4] = ["view", "click", "cart", "buy"];

struct Click {
    ts_ms: u64,
    page: u64,
    device: u64,
    action: &'static str,
    amount_cents: u64,
    number: u64,
}

impl Input {
    fn click(&self, number: u64, random: &mut Random) -> Click {
        let rest = match self.shape {
            Shape::Burst => number.saturating_sub(self.rows / 4 * 3),
            _ => 0,
        };
        let is_rest = rest > 0;
        // The first 30 s are left free for late rows.
        let on_time_ms = 30_000 + (number + rest * REST_SLOWER) * 1000 / self.per_second;
        let late_ms = if random.once_in(150) { 20_000 } else { random.below(4000) };
        let device = if is_rest { random.below(5) } else { random.below(self.devices) };
        Click {
            ts_ms: on_time_ms - late_ms,
            page: random.below(20) * random.below(20) / 20,
            device,
            action: ACTIONS[random.below(4) as usize],
            amount_cents: random.below(100_000),
            number,
        }
    }

    /// Writes it into a folder.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub fn write(&self, folder: &Path, seed: u64) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut random = Random::new(seed);
        if self.shape != Shape::Files {
            let mut text = String::new();
            for number in 0..self.rows {
                let click = self.click(number, &mut random);
                click.csv(&mut text, self.shape == Shape::QuotedCsv);
            }
            return std::fs::write(folder.join("clicks.csv"), text);
        }
        let mut texts = vec![String::new(); FILE_COUNT as usize];
        for number in 0..self.rows {
            // Files overlap in time, so that their turns matter.
            let file = (number * FILE_COUNT / self.rows).saturating_sub(random.below(2));
            let text = &mut texts[file as usize];
            if file == PACKED_FILE {
                text.extend(std::iter::repeat_n(' ', PACKED_BLANKS));
            }
            self.click(number, &mut random).json(text);
            if random.once_in(100) {
                text.push_str("{\"ts\":\n");
            }
        }
        for (file, text) in texts.iter().enumerate() {
            if file as u64 == PACKED_FILE {
                let packed = std::fs::File::create(folder.join(format!("{file}.jsonl.gz")))?;
                let mut packer = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
                packer.write_all(text.as_bytes())?;
                packer.finish()?;
            } else {
                std::fs::write(folder.join(format!("{file}.jsonl")), text)?;
            }
        }
        Ok(())
    }
}

impl Click {
    fn time(&self) -> String {
        let seconds = self.ts_ms / 1000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        format!("2024-01-01 {hours:02}:{minutes:02}:{:02}.{:03}", seconds % 60, self.ts_ms % 1000)
    }

    fn csv(&self, text: &mut String, is_long: bool) {
        let Click { page, device, action, amount_cents, number, .. } = self;
        let time = self.time();
        let amount = *amount_cents as f64 / 100.0;
        let note = match number % 3 {
            0 if is_long => format!("\"note {number},\nsaid \"\"so\"\"\n\n{time},page\""),
            1 if is_long => format!("\"\n{number}\""),
            _ => format!("note {number}"),
        };
        let _ = writeln!(text, "{time},page-{page},device-{device},{action},{amount:.2},{note}");
    }

    fn json(&self, text: &mut String) {
        let Click { page, device, action, amount_cents, number, .. } = self;
        let (time, amount) = (self.time(), *amount_cents as f64 / 100.0);
        let _ = writeln!(
            text,
            "{{\"ts\":\"{time}\",\"page\":\"page-{page}\",\"device\":\"device-{device}\",\"action\":\"{action}\",\"amount\":{amount:.2},\"note\":\"note {number}\"}}"
        );
    }
}
