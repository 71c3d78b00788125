//! What every contestant of the comparison shares: clicks of 32 bytes, the task on the command line, the answer.
//!
//! A contestant is a process: `PROGRAM --workload w1 --input memory --shards 2 --data FILE [--variant NAME]`. It prints one line of JSON,
//! [`Task::report`]; what it is timed on is up to it, and told in the head of each. It has no dependencies.
//!
//! # The answer
//!
//! Every result row is hashed field by field, as integers: start of the window, key, count, sum in cents, and so on
//! ([`Answer::add`]); hashes are added up, so that the order of rows does not matter. The same in Python (`answers.py`) and in Java
//! (`AddsUp.java`). Sums are of amounts in whole cents, so rounding to cents undoes what the order of additions did.

mod answer;
mod task;

pub use answer::{Answer, cents, thousandths};
pub use task::{Task, fail};

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

/// A click: the record that "from memory" starts at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Click {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// A hash.
    pub device: u64,
    /// 0.00 … 999.99.
    pub amount: f64,
    /// Below [`PAGES_MAX`].
    pub page: u32,
    /// 0: view, 1: click, 2: buy.
    pub action: u8,
}

/// The size of a click, in memory and in a file.
pub const CLICK_BYTES: usize = 32;
/// Page numbers are below it.
pub const PAGES_MAX: usize = 1000;
/// The action that W0 and W1 keep.
pub const VIEW: u8 = 0;
/// How far the watermark is behind the highest time.
pub const LAG_MS: i64 = 5000;

const _: () = assert!(size_of::<Click>() == CLICK_BYTES);

impl Click {
    /// Writes it to a file of clicks: its fields in order, little-endian, then three zeros.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut bytes = [0; CLICK_BYTES];
        bytes[..8].copy_from_slice(&self.at_ms.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.device.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.amount.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.page.to_le_bytes());
        bytes[28] = self.action;
        out.write_all(&bytes)
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |from: usize| bytes[from..from + 8].try_into().expect("8 bytes");
        Self {
            at_ms: i64::from_le_bytes(word(0)),
            device: u64::from_le_bytes(word(8)),
            amount: f64::from_le_bytes(word(16)),
            page: u32::from_le_bytes(bytes[24..28].try_into().expect("4 bytes")),
            action: bytes[28],
        }
    }
}

/// The clicks of a file, one by one.
///
/// # Errors
///
/// The file's, when it is opened.
///
/// # Panics
///
/// If the file cannot be read to its end.
pub fn stream_clicks(path: &str) -> io::Result<impl Iterator<Item = Click>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let row_count = file.get_ref().metadata()?.len() as usize / CLICK_BYTES;
    let mut bytes = [0; CLICK_BYTES];
    Ok((0..row_count).map(move |_| {
        file.read_exact(&mut bytes).expect("the file does not shrink");
        Click::read(&bytes)
    }))
}

/// Reads a file of clicks, part `index` of `count`: blocks of `block` rows go to the parts in turn, so that parts are abreast in time.
///
/// # Errors
///
/// The file's.
pub fn read_clicks(path: &str, block: usize, index: usize, count: usize) -> io::Result<Vec<Click>> {
    let mut file = File::open(path)?;
    let row_count = file.metadata()?.len() as usize / CLICK_BYTES;
    let mut clicks = Vec::with_capacity(row_count / count + block);
    let mut bytes = vec![0; block * CLICK_BYTES];
    for turn in 0..row_count.div_ceil(block) {
        let rows = block.min(row_count - turn * block);
        let bytes = &mut bytes[..rows * CLICK_BYTES];
        file.read_exact(bytes)?;
        if turn % count == index {
            clicks.extend(bytes.chunks_exact(CLICK_BYTES).map(Click::read));
        }
    }
    Ok(clicks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_survive_a_file_in_parts() {
        let click = |n: u32| Click {
            at_ms: i64::from(n) - 3,
            device: u64::from(n) << 40,
            amount: f64::from(n) / 100.0,
            page: n,
            action: 2,
        };
        let clicks: Vec<Click> = (0..10).map(click).collect();
        let path = std::env::temp_dir().join(format!("peer-clicks-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        clicks.iter().for_each(|click| click.write(&mut file).unwrap());
        let read = |index, count| read_clicks(path.to_str().unwrap(), 4, index, count).unwrap();
        assert_eq!(read(0, 1), clicks);
        let streamed: Vec<Click> = stream_clicks(path.to_str().unwrap()).unwrap().collect();
        assert_eq!(streamed, clicks);
        assert_eq!(read(0, 2), [&clicks[..4], &clicks[8..]].concat());
        assert_eq!(read(1, 2), clicks[4..8]);
        std::fs::remove_file(path).unwrap();
    }
}
