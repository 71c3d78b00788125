//! Records without quotes, escapes and carriage returns: all that ends a field is noted, a stretch at a time.
//!
//! Where each record of a stretch has as many fields as the table has columns, the ends of column *c* are every so
//! many of these positions from *c* on, and nothing else is looked at.

use crate::format::Decoded;
use crate::format::rows::{Alike, STRETCH_BYTES};
use crate::sys::views::Utf8Buffer;

use super::CsvDecoder;

impl CsvDecoder {
    /// Cuts a chunk stretch by stretch: those that are all alike at once, others record by record. How many records there
    /// were, each in a line of its own, if all were alike.
    pub(super) fn decode_stretches(
        &mut self,
        source: &Utf8Buffer,
        from: usize,
        decoded: &mut Decoded,
    ) -> Option<u64> {
        let bytes = source.as_str().as_bytes();
        let (mut at, mut record_count) = (from, Some(0));
        while at < bytes.len() {
            let stretch = &bytes[..bytes.len().min(at + STRETCH_BYTES)];
            // What stands before a record's first field ended the record before.
            self.ends.clear();
            self.ends.push((at as u32).wrapping_sub(1));
            let indexed = self.marks.index(stretch, at, &mut self.ends);
            let columns = self.slots.len();
            let rows = (self.ends.len() - 1).checked_div(columns).unwrap_or(0);
            if rows > 0 && self.are_alike(bytes, rows, indexed.newline_count) {
                at = self.ends[rows * columns] as usize + 1;
                record_count = record_count.map(|count| count + rows as u64);
                let marks = &self.ends[..=rows * columns];
                let alike = Alike { marks, stride: columns, blank_bytes: 0 };
                if !self.rows.put_all(alike, &self.places, &self.wanted, source, decoded) {
                    return None;
                }
            } else {
                record_count = None;
                let until =
                    if indexed.end < stretch.len() { at + STRETCH_BYTES } else { indexed.end };
                at = self.decode_records(source, at..until.min(bytes.len()), &[], decoded)?;
            }
        }
        record_count
    }

    /// Whether the stretch, which has `newline_count` newlines, has exactly one newline in each of `rows` records, at its end.
    fn are_alike(&self, bytes: &[u8], rows: usize, newline_count: usize) -> bool {
        let mut last = self.ends.iter().step_by(self.slots.len()).skip(1);
        newline_count == rows && last.all(|&end| bytes[end as usize] == b'\n')
    }
}
