//! CSV to columns.
//!
//! Three ways find fields, each for fewer records than the one before. Where there are no quotes, escapes and
//! carriage returns, all delimiters and newlines of a stretch are noted in one go, and fields are cut a column at a
//! time; around such bytes, a record without them is cut at its delimiters; the rest go through a small state
//! machine, which is the definition of truth.
//!
//! # Invariants
//!
//! 1. All three find the same fields in a record that all can read.
//! 2. Every record is a row, a comment, a skipped record or the failure. A blank line is a record of one empty field.

mod stretch;

use std::ops::Range;
use std::sync::Arc;

use arrow_buffer::Buffer;
use memchr::{memchr, memchr_iter, memchr2_iter, memchr3};

use super::CsvOptions;
use crate::batch::Schema;
use crate::format::column::Dialect;
use crate::format::rows::{self, At, Place, Rows, Span, Wanted, bad_record, kind, quoted};
use crate::format::{Decode, Decoded};
use crate::sys::scan::Marks;
use crate::sys::views::Utf8Buffer;

/// A field that is not asked for.
const UNWANTED: u32 = u32::MAX;

/// Reads CSV.
pub(super) struct CsvDecoder {
    options: Arc<CsvOptions>,
    /// The names of all columns, for the header.
    names: Vec<String>,
    /// For each field of a record the column it fills, or [`UNWANTED`].
    slots: Vec<u32>,
    /// Where the fields that are asked for stand between the marks of a record.
    places: Vec<Place>,
    wanted: Wanted,
    rows: Rows,
    /// The field after the last column, if the record has one.
    extra: Span,
    /// What ends a field, and what means more than text.
    marks: Marks,
    /// Where fields end in the current stretch, after the newline before it.
    ends: Vec<u32>,
}

/// Why a record cannot be cut into fields.
struct Malformed {
    /// Where reading stopped.
    position: usize,
    reason: String,
}

/// How decoding goes on after a record.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Stop,
}

impl CsvDecoder {
    /// A decoder of the columns `projection` of records of `schema`.
    pub(super) fn new(options: Arc<CsvOptions>, schema: &Schema, projection: &[usize]) -> Self {
        let mut slots = vec![UNWANTED; schema.column_count()];
        for (slot, &column) in projection.iter().enumerate() {
            slots[column] = slot as u32;
        }
        let mut wanted = Wanted::new(schema, projection, Dialect::Csv);
        wanted.lenient = options.lenient;
        wanted.null_texts.extend(options.null_literal.clone());
        wanted.null_texts.extend(options.empty_is_null.then(String::new));
        let names = schema.fields.iter().map(|field| field.name.clone()).collect();
        let rows = Rows::new(&wanted);
        let quote = options.quote.unwrap_or(b'\r');
        let stops = [quote, options.escape.unwrap_or(quote), b'\r'];
        let marks = Marks { delimiter: options.delimiter, stops };
        let places = projection.iter().enumerate().map(|(column, &field)| Place {
            column,
            from: At { mark: field, offset_bytes: 1 },
            to: At { mark: field + 1, offset_bytes: 0 },
            kind_of: None,
            kinds: Vec::new(),
        });
        let places = places.collect();
        let (extra, ends) = (Span::default(), Vec::new());
        Self { options, names, slots, places, wanted, rows, extra, marks, ends }
    }

    /// The first byte that means more than text.
    fn find_special(&self, bytes: &[u8]) -> Option<usize> {
        let [quote, escape, carriage_return] = self.marks.stops;
        memchr3(quote, escape, carriage_return, bytes)
    }

    /// Cuts the records that begin in `range`, and those after them in the same line, whatever they hold, one by one. Where
    /// the next one begins; `None` if the job stops.
    fn decode_records(
        &mut self,
        source: &Utf8Buffer,
        range: Range<usize>,
        damaged: &[(usize, usize)],
        decoded: &mut Decoded,
    ) -> Option<usize> {
        let bytes = source.as_str().as_bytes();
        let mut start = range.start;
        let mut damaged = damaged.iter().peekable();
        let mut next_line = start;
        // Not within a line, whose end would be looked for again.
        while start < range.end.max(next_line).min(bytes.len()) {
            if self.options.comments {
                match skip_comment(bytes, start) {
                    Ok(record) => start = record,
                    Err(next) => {
                        start = next;
                        continue;
                    }
                }
            }
            // Carriage returns may end many records in one line, whose end is looked for only once.
            if start >= next_line {
                let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
                next_line = end + 1;
            }
            let line_end = next_line - 1;
            let text_end = line_end - usize::from(line_end > start && bytes[line_end - 1] == b'\r');
            let (end, next, fields) = if self.find_special(&bytes[start..text_end]).is_none() {
                (text_end, line_end + 1, Ok(self.split(bytes, start, text_end)))
            } else {
                self.read_record(source, start)
            };
            while damaged.next_if(|range| range.1 < start).is_some() {}
            let fields = match damaged.peek() {
                Some(range) if range.0 < end => {
                    Err(Malformed { position: start, reason: "the record is not UTF-8".into() })
                }
                _ => fields,
            };
            let flow = match fields {
                Ok(fields) => self.finish(source, start, end, fields, decoded),
                Err(error) => self.refuse(source, start, end, error, decoded),
            };
            if flow == Flow::Stop {
                return None;
            }
            start = next;
        }
        Some(start)
    }

    /// Notes the span of field number `field`.
    #[inline]
    fn put(&mut self, field: usize, span: Span) {
        match self.slots.get(field) {
            Some(&UNWANTED) => {}
            Some(&slot) => {
                let row = self.rows.count();
                self.rows.spans[slot as usize][row] = span;
            }
            None if field == self.slots.len() => self.extra = span,
            None => {}
        }
    }

    /// Notes the unquoted text at `start .. end` as field number `field`.
    fn put_plain(&mut self, bytes: &[u8], field: usize, mut start: usize, mut end: usize) {
        if self.options.trim {
            while start < end && bytes[start] <= b' ' {
                start += 1;
            }
            while start < end && bytes[end - 1] <= b' ' {
                end -= 1;
            }
        }
        self.put(field, Span { start: start as u32, end: end as u32, kind: kind::TEXT });
    }

    /// Cuts a record without special bytes; how many fields it has.
    fn split(&mut self, bytes: &[u8], start: usize, end: usize) -> usize {
        let (mut field, mut from) = (0, start);
        for at in memchr_iter(self.options.delimiter, &bytes[start..end]) {
            self.put_plain(bytes, field, from, start + at);
            field += 1;
            from = start + at + 1;
        }
        self.put_plain(bytes, field, from, end);
        field + 1
    }

    /// Cuts any record: where it ends, where the next one starts, and how many fields it has.
    fn read_record(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
    ) -> (usize, usize, Result<usize, Malformed>) {
        let bytes = source.as_str().as_bytes();
        let (mut at, mut field) = (start, 0);
        loop {
            let first =
                if self.options.trim { skip_blanks(bytes, at, self.options.delimiter) } else { at };
            let result = if self.options.quote.is_some()
                && bytes.get(first).copied() == self.options.quote
            {
                self.read_quoted(source, first, field)
            } else {
                Ok(self.read_unquoted(source, at, field))
            };
            field += 1;
            at = match result {
                Ok(at) => at,
                Err(error) => {
                    let end = self.record_end(bytes, start, error.position);
                    return (end, (end + 1).max(start + 1), Err(error));
                }
            };
            match bytes.get(at) {
                Some(&byte) if byte == self.options.delimiter => at += 1,
                Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => return (at, at + 2, Ok(field)),
                _ => return (at, at + 1, Ok(field)),
            }
        }
    }

    /// Reads a field up to its delimiter; where that stands.
    fn read_unquoted(&mut self, source: &Utf8Buffer, start: usize, field: usize) -> usize {
        let bytes = source.as_str().as_bytes();
        let mut text = String::new();
        let (mut at, mut from) = (start, start);
        while let Some(&byte) = bytes.get(at) {
            if byte == self.options.delimiter || byte == b'\n' || byte == b'\r' {
                break;
            }
            if Some(byte) == self.options.escape && at + 1 < bytes.len() {
                text.push_str(&source.as_str()[from..at]);
                from = self.unescape(source, at + 1, &mut text);
                at = from;
            } else {
                at += 1;
            }
        }
        if from == start && text.is_empty() {
            self.put_plain(bytes, field, start, at);
        } else {
            text.push_str(&source.as_str()[from..at]);
            let span = self.rows.side.push(&text, kind::TEXT, start);
            self.put(field, span);
        }
        at
    }

    /// Reads a field that starts with a quote at `start`; where its delimiter stands.
    fn read_quoted(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        field: usize,
    ) -> Result<usize, Malformed> {
        let bytes = source.as_str().as_bytes();
        let quote = self.options.quote.expect("the caller saw one");
        let mut text = String::new();
        let (mut at, mut from) = (start + 1, start + 1);
        let end = loop {
            let Some(found) =
                memchr::memchr2(quote, self.options.escape.unwrap_or(quote), &bytes[at..])
            else {
                return Err(Malformed {
                    position: start,
                    reason: "a quoted field is not closed".into(),
                });
            };
            at += found;
            if bytes[at] == quote && bytes.get(at + 1) != Some(&quote) {
                break at;
            }
            text.push_str(&source.as_str()[from..at]);
            if bytes[at] == quote {
                from = at + 1;
                at += 2;
            } else if at + 1 < bytes.len() {
                from = self.unescape(source, at + 1, &mut text);
                at = from;
            } else {
                return Err(Malformed {
                    position: start,
                    reason: "a quoted field is not closed".into(),
                });
            }
        };
        if from == start + 1 && text.is_empty() {
            self.put(field, Span { start: from as u32, end: end as u32, kind: kind::TEXT });
        } else {
            text.push_str(&source.as_str()[from..end]);
            let span = self.rows.side.push(&text, kind::TEXT, start + 1);
            self.put(field, span);
        }
        let at = skip_blanks(bytes, end + 1, self.options.delimiter);
        match bytes.get(at) {
            None | Some(b'\n' | b'\r') => Ok(at),
            Some(&byte) if byte == self.options.delimiter => Ok(at),
            Some(_) => {
                let rest = source.as_str()[at..].chars().next().unwrap_or_default();
                Err(Malformed { position: at, reason: format!("'{rest}' follows a closing quote") })
            }
        }
    }

    /// Appends the character that the escaped one at `at` stands for; where the text goes on.
    fn unescape(&self, source: &Utf8Buffer, at: usize, text: &mut String) -> usize {
        let escaped = source.as_str()[at..].chars().next().unwrap_or_default();
        text.push(match escaped {
            '0' => '\0',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            other => other,
        });
        at + escaped.len_utf8()
    }

    /// Where the malformed record that begins at `start` ends: at the first newline outside of quotes from `position`.
    fn record_end(&self, bytes: &[u8], start: usize, position: usize) -> usize {
        let quote = self.options.quote.unwrap_or(b'\n');
        let mut open = false;
        for at in memchr2_iter(quote, b'\n', &bytes[start..]).map(|at| start + at) {
            if bytes[at] != b'\n' {
                open = !open;
            } else if !open && at >= position {
                return at;
            }
        }
        bytes.len()
    }

    /// Counts the record at `start .. end`, whose fields were noted, as a row if their number is right.
    fn finish(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        end: usize,
        fields: usize,
        decoded: &mut Decoded,
    ) -> Flow {
        let columns = self.slots.len();
        let too_few = fields < columns && (!self.options.lenient || self.options.fail_on_missing);
        if too_few || fields > columns && !self.may_be_longer(source, fields) {
            let reason = format!("the row has {fields} fields, the table {columns} columns");
            let error = Malformed { position: start, reason };
            return self.refuse(source, start, end, error, decoded);
        }
        for field in fields..columns {
            self.put(field, Span::default());
        }
        self.rows.records.push((start as u32, end as u32));
        if self.rows.is_full() && !self.rows.flush(&self.wanted, source, decoded) {
            Flow::Stop
        } else {
            Flow::On
        }
    }

    /// Whether a record of `fields` fields, more than there are columns, will do.
    fn may_be_longer(&self, source: &Utf8Buffer, fields: usize) -> bool {
        let is_blank = || self.rows.text(source, self.extra).iter().all(|&byte| byte <= b' ');
        let trailing = self.options.trailing_delimiter && fields == self.slots.len() + 1;
        self.options.ignore_extra || trailing && is_blank()
    }

    fn refuse(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        end: usize,
        error: Malformed,
        decoded: &mut Decoded,
    ) -> Flow {
        let bytes = source.as_str().as_bytes();
        let record = || bad_record(bytes, start, end, error.position, error.reason);
        if self.options.lenient {
            rows::skip(decoded, record);
            return Flow::On;
        }
        if self.rows.flush(&self.wanted, source, decoded) {
            decoded.failure = Some(record());
        }
        Flow::Stop
    }

    /// Checks the header at the start of a file; where the rows begin.
    fn read_header(&self, source: &Utf8Buffer, from: usize) -> Result<usize, Malformed> {
        let bytes = source.as_str().as_bytes();
        let end = memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |at| from + at);
        let line = source.as_str()[from..end].trim_end_matches('\r');
        let quote = self.options.quote.map(char::from);
        let unquote = |name: &str| {
            let name = name.trim();
            let inner = quote
                .and_then(|quote| name.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned));
            inner.unwrap_or_else(|| name.to_owned())
        };
        let found: Vec<String> =
            line.split(char::from(self.options.delimiter)).map(unquote).collect();
        if found == self.names {
            return Ok((end + 1).min(bytes.len()));
        }
        let (mut sorted, mut expected) = (found.clone(), self.names.clone());
        sorted.sort();
        expected.sort();
        let reason = if sorted == expected {
            format!(
                "the header has the table's columns in another order: declare them as {}",
                found.join(", ")
            )
        } else {
            format!("the header names {}, the table has {}", quoted(line), self.names.join(", "))
        };
        Err(Malformed { position: from, reason })
    }
}

/// Past the blanks that may surround a quoted field.
fn skip_blanks(bytes: &[u8], mut at: usize, delimiter: u8) -> usize {
    while bytes
        .get(at)
        .is_some_and(|&byte| byte <= b' ' && byte != delimiter && byte != b'\n' && byte != b'\r')
    {
        at += 1;
    }
    at
}

/// Where the record at `start` begins in a file with comments, in which Jackson drops blanks at the start of a
/// record; or, where the line is blank or a comment, the start of the next line.
fn skip_comment(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let at = start + bytes[start..].iter().take_while(|&&byte| byte == b' ').count();
    match bytes.get(at) {
        None => Err(at),
        Some(b'\r') if bytes.get(at + 1) == Some(&b'\n') => Err(at + 2),
        Some(b'\n' | b'\r') => Err(at + 1),
        Some(b'#') => Err(memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1)),
        Some(_) => Ok(at),
    }
}

impl Decode for CsvDecoder {
    fn decode(&mut self, chunk: &Buffer, at_start: bool) -> Decoded {
        let (source, damaged) = rows::checked(chunk);
        let bytes = source.as_str().as_bytes();
        let mut decoded = Decoded::default();
        let mut from = if at_start && bytes.starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        if at_start && self.options.header && from < bytes.len() {
            from = match self.read_header(&source, from) {
                Ok(from) => from,
                Err(error) => {
                    let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
                    decoded.line_count = rows::line_count(bytes);
                    decoded.failure =
                        Some(bad_record(bytes, from, end, error.position, error.reason));
                    return decoded;
                }
            };
        }
        let line_count = if damaged.is_empty() && !self.options.comments && !self.options.trim {
            self.decode_stretches(&source, from, &mut decoded)
        } else {
            self.decode_records(&source, from..bytes.len(), &damaged, &mut decoded);
            None
        };
        decoded.line_count = match line_count {
            Some(count) if from == 0 => count,
            _ => rows::line_count(bytes),
        };
        if decoded.failure.is_none() {
            self.rows.flush(&self.wanted, &source, &mut decoded);
        }
        self.rows.clear();
        decoded
    }
}
