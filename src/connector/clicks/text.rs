//! Clicks as a file: JSON lines, CSV, or whatever an [`Encode`] writes.
//!
//! The text is written by hand, a template a row, because generating ten million rows should take
//! seconds: names come from tables and the date is formatted once a second of event time.
//!
//! # Invariants
//!
//! 1. A JSON line is `{"ts":"2024-01-01 00:00:03.709","page":"page-0166","device":"488c7b75a9e38615","action":"view","amount":632.50}`,
//!    a CSV line is `2024-01-01 00:00:03.709,page-0166,488c7b75a9e38615,view,632.50`, without a header.

use std::io::{self, Write};

use super::{ACTIONS, Click, Clicks, ClicksGenerator, Rows};
use crate::batch::{BATCH_ROWS_MAX, DataType, Field, Schema};
use crate::connector::Generator;
use crate::format::Format;

/// Rows between two calls of the progress callback.
const PROGRESS_ROWS: u64 = 8192;

/// What kind of file.
#[derive(Clone, Copy, Debug)]
pub enum FileFormat<'a> {
    /// JSON lines.
    JsonLines,
    /// CSV without a header.
    Csv,
    /// What an encoder of the table ([`FileFormat::schema`]) writes.
    Encoded(&'a dyn Format),
}

impl FileFormat<'_> {
    /// The table whose rows a file holds: `ts TIMESTAMP(3), page STRING, device STRING, action STRING, amount DOUBLE`.
    pub fn schema() -> Schema {
        Schema::new(vec![
            Field::new("ts", DataType::Timestamp(3)),
            Field::new("page", DataType::STRING),
            Field::new("device", DataType::STRING),
            Field::new("action", DataType::STRING),
            Field::new("amount", DataType::Double),
        ])
    }
}

/// Writes rows `0 .. row_count` to `out`, in pieces of a few hundred kilobytes, and tells `progress` how many are done.
///
/// # Errors
///
/// What `out` says.
///
/// # Panics
///
/// If [`Clicks::check`] fails.
pub fn generate(
    settings: Clicks,
    row_count: u64,
    format: FileFormat<'_>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    match format {
        FileFormat::JsonLines => write_text(settings, row_count, Lines::json, out, progress),
        FileFormat::Csv => write_text(settings, row_count, Lines::csv, out, progress),
        FileFormat::Encoded(format) => write_encoded(settings, row_count, format, out, progress),
    }
}

fn write_text(
    settings: Clicks,
    row_count: u64,
    line: fn(&mut Lines, &Click, &mut Vec<u8>),
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let rows = Rows::new(settings);
    let mut lines = Lines::new(settings.pages);
    let mut bytes = Vec::with_capacity(PROGRESS_ROWS as usize * 128);
    let mut start = 0;
    while start < row_count {
        let end = row_count.min(start + PROGRESS_ROWS);
        bytes.clear();
        for index in start..end {
            line(&mut lines, &rows.row(index), &mut bytes);
        }
        out.write_all(&bytes)?;
        progress(end);
        start = end;
    }
    out.flush()
}

fn write_encoded(
    settings: Clicks,
    row_count: u64,
    format: &dyn Format,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    let schema = FileFormat::schema();
    let generator = ClicksGenerator::new(settings, Some(row_count), None, &schema)
        .expect("the profile's own columns");
    let mut encoder = format.encoder(&schema);
    let mut bytes = Vec::new();
    encoder.header(&mut bytes);
    let mut start = 0;
    while start < row_count {
        let count = (row_count - start).min(BATCH_ROWS_MAX as u64);
        encoder.encode(&generator.generate(start, count as usize, &[0, 1, 2, 3, 4]), &mut bytes);
        out.write_all(&bytes)?;
        bytes.clear();
        start += count;
        progress(start);
    }
    encoder.finish(&mut bytes);
    out.write_all(&bytes)?;
    out.flush()
}

/// Writes lines; remembers the texts of recent seconds.
struct Lines {
    page_names: Vec<String>,
    /// By second modulo the length: the second and its text.
    seconds: Vec<(i64, [u8; 19])>,
}

impl Lines {
    fn new(pages: u32) -> Self {
        Self { page_names: page_names(pages), seconds: vec![(i64::MIN, [b' '; 19]); 256] }
    }

    fn json(&mut self, click: &Click, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        self.time(click.time_ms, out);
        out.extend_from_slice(b"\",\"page\":\"");
        out.extend_from_slice(self.page_names[click.page as usize].as_bytes());
        out.extend_from_slice(b"\",\"device\":\"");
        out.extend_from_slice(&hex(click.device));
        out.extend_from_slice(b"\",\"action\":\"");
        out.extend_from_slice(ACTIONS[click.action].as_bytes());
        out.extend_from_slice(b"\",\"amount\":");
        amount(click.cents, out);
        out.extend_from_slice(b"}\n");
    }

    fn csv(&mut self, click: &Click, out: &mut Vec<u8>) {
        self.time(click.time_ms, out);
        out.push(b',');
        out.extend_from_slice(self.page_names[click.page as usize].as_bytes());
        out.push(b',');
        out.extend_from_slice(&hex(click.device));
        out.push(b',');
        out.extend_from_slice(ACTIONS[click.action].as_bytes());
        out.push(b',');
        amount(click.cents, out);
        out.push(b'\n');
    }

    /// `2024-01-01 00:00:03.709`
    #[inline]
    fn time(&mut self, time_ms: i64, out: &mut Vec<u8>) {
        let (second, ms) = (time_ms.div_euclid(1000), time_ms.rem_euclid(1000) as u32);
        let slot = &mut self.seconds[(second & 255) as usize];
        if slot.0 != second {
            *slot = (second, second_text(second));
        }
        let digits = [b'.', digit(ms / 100), digit(ms / 10 % 10), digit(ms % 10)];
        out.extend_from_slice(&slot.1);
        out.extend_from_slice(&digits);
    }
}

/// `2024-01-01 00:00:03`; a second beyond the year 9999 is shown as the last one before.
fn second_text(second: i64) -> [u8; 19] {
    let last = 253_402_300_799;
    let time = chrono::DateTime::from_timestamp(second.min(last), 0).unwrap_or_default();
    let text = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let mut bytes = [b'0'; 19];
    bytes.copy_from_slice(&text.as_bytes()[..19]);
    bytes
}

#[inline]
fn digit(value: u32) -> u8 {
    b'0' + value as u8
}

/// `632.50`
#[inline]
fn amount(cents: u32, out: &mut Vec<u8>) {
    let whole = cents / 100;
    let text = [
        digit(whole / 100),
        digit(whole / 10 % 10),
        digit(whole % 10),
        b'.',
        digit(cents / 10 % 10),
        digit(cents % 10),
    ];
    let skip = usize::from(whole < 100) + usize::from(whole < 10);
    out.extend_from_slice(&text[skip..]);
}

/// Sixteen hexadecimal digits.
#[inline]
pub(in crate::connector) fn hex(value: u64) -> [u8; 16] {
    // Each nibble gets a byte of its own, most significant first.
    let mut spread = u128::from(value);
    spread = (spread | (spread << 32)) & 0x0000_0000_FFFF_FFFF_0000_0000_FFFF_FFFF;
    spread = (spread | (spread << 16)) & 0x0000_FFFF_0000_FFFF_0000_FFFF_0000_FFFF;
    spread = (spread | (spread << 8)) & 0x00FF_00FF_00FF_00FF_00FF_00FF_00FF_00FF;
    spread = (spread | (spread << 4)) & 0x0F0F_0F0F_0F0F_0F0F_0F0F_0F0F_0F0F_0F0F;
    spread.to_be_bytes().map(|nibble| b"0123456789abcdef"[nibble as usize])
}

/// The name of each page.
pub(super) fn page_names(pages: u32) -> Vec<String> {
    (0..pages).map(|page| format!("page-{page:04}")).collect()
}
