//! Records without quotes and escapes, and without carriage returns but those before every newline: all that ends a field is noted,
//! a stretch at a time.
//!
//! Where each record of a stretch has as many fields as the first, the ends of field *f* are every so many of these
//! positions from *f* on, and nothing else is looked at.

use memchr::{memchr, memchr_iter};

use crate::format::Decoded;
use crate::format::rows::{Alike, At, Place, STRETCH_BYTES};
use crate::sys::scan::Marks;
use crate::sys::views::Utf8Buffer;

use super::CsvDecoder;

/// A byte that UTF-8 does not have.
const NO_TEXT: u8 = 0xff;

impl CsvDecoder {
    /// Cuts a chunk stretch by stretch: those whose records are alike at once, others record by record. How many records there
    /// were, each in a line of its own, if all were alike.
    pub(super) fn decode_stretches(
        &mut self,
        source: &Utf8Buffer,
        from: usize,
        decoded: &mut Decoded,
    ) -> Option<u64> {
        let bytes = source.as_str().as_bytes();
        let (mut at, mut record_count) = (from, Some(0));
        let (marks, blank_bytes) = self.marks_of(&bytes[from..]);
        while at < bytes.len() {
            let stretch = &bytes[..bytes.len().min(at + STRETCH_BYTES)];
            // What stands before a record's first field ended the record before.
            self.ends.clear();
            self.ends.push((at as u32).wrapping_sub(1));
            let indexed = marks.index(stretch, at, &mut self.ends);
            if let Some(stride) = self.fields_of_all(bytes, indexed.newline_count)
                && let marks = &self.ends[..=indexed.newline_count * stride]
                && let alike = Alike::by_record(marks, stride, blank_bytes)
                && (blank_bytes == 0 || have_returns(bytes, at, alike))
            {
                for Place { to, .. } in &mut self.places {
                    *to = match to.mark == stride {
                        true => alike.record_end(),
                        false => At { offset_bytes: 0, ..*to },
                    };
                }
                at = alike.end() + 1;
                record_count = record_count.map(|count| count + indexed.newline_count as u64);
                let (rows, wanted) = (&mut self.rows, &self.wanted);
                let grown = rows.grow(alike, &self.places, wanted, source, decoded);
                let (_, rest) = alike.split_at(grown);
                if decoded.failure.is_some()
                    || !rows.put_all(rest, &self.places, wanted, source, decoded)
                {
                    return None;
                }
            } else {
                record_count = None;
                let is_special = indexed.end < stretch.len();
                let until = if is_special { at + STRETCH_BYTES } else { indexed.end };
                at = self.decode_records(source, at..until.min(bytes.len()), &[], decoded)?;
            }
        }
        record_count
    }

    /// What to look for in `bytes`, and how many bytes stand between a record and its newline: where the first line ends with a carriage
    /// return, all are expected to.
    fn marks_of(&self, bytes: &[u8]) -> (Marks, u32) {
        let own = [self.options.quote, self.options.escape, Some(self.options.delimiter)];
        let first_end = memchr(b'\n', bytes).unwrap_or(0);
        if own.contains(&Some(b'\r')) || !bytes[..first_end].ends_with(b"\r") {
            return (self.marks, 0);
        }
        let stops = self.marks.stops.map(|stop| if stop == b'\r' { NO_TEXT } else { stop });
        (Marks { stops, ..self.marks }, 1)
    }

    /// How many fields each record of a stretch has that has `newline_count` newlines, if all have the same number and it will do.
    fn fields_of_all(&self, bytes: &[u8], newline_count: usize) -> Option<usize> {
        let is_newline = |end: &u32| bytes[*end as usize] == b'\n';
        let (columns, ends) = (self.slots.len(), &self.ends[1..]);
        let fields = ends.iter().position(is_newline)? + 1;
        let marks = self.ends.get(..=fields * newline_count)?;
        let alike = Alike::by_record(marks, fields, 0);
        // As many newlines as records, and one at the end of each: then there is none within a record.
        let mut last = marks.iter().step_by(fields).skip(1);
        let has_empty_extra = || {
            let from = alike.at(At { mark: columns, offset_bytes: 1 });
            from.eq(alike.at(At { mark: columns + 1, offset_bytes: 0 }))
        };
        let will_do = fields == columns
            || fields > columns && self.options.ignore_extra
            || fields == columns + 1 && self.options.trailing_delimiter && has_empty_extra();
        (will_do && last.all(is_newline)).then_some(fields)
    }
}

/// Whether each of these records, the first of which begins at `start`, ends with a carriage return, and has no other.
fn have_returns(bytes: &[u8], start: usize, records: Alike) -> bool {
    let mut last = records.at(records.record_end());
    last.all(|at| bytes.get(at as usize) == Some(&b'\r'))
        && memchr_iter(b'\r', &bytes[start..records.end()]).count() == records.count()
}
