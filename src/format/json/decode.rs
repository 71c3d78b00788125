//! JSON lines to columns.
//!
//! Records of one stream nearly always spell their fields alike and in one order. Two ways bet on it. One reads
//! stretches in which all records are spelled like one before ([`Template`]). Where they differ, another goes line by
//! line: it remembers what stood between two values (`,"page":`), compares those bytes, and looks only at the
//! values. Whatever that does not expect (an unknown spelling, a field twice, what is no JSON) it leaves to the
//! exact way, which reads token by token, is the definition of truth, and tells the others what it saw.
//!
//! # Invariants
//!
//! 1. The fast ways give a row only where the exact way would give the same.
//! 2. What is remembered changes the speed, never the result.
//! 3. A field that comes twice counts once: the first one.

use std::collections::HashMap;

use arrow_buffer::Buffer;
use memchr::memchr;

use super::JsonOptions;
use super::alike::Template;
use super::scan::{self, Malformed, Value, malformed};
use crate::batch::{DataType, Schema};
use crate::format::column::Dialect;
use crate::format::rows::{self, Rows, STRETCH_BYTES, Span, Wanted, bad_record, kind};
use crate::format::{Decode, Decoded};
use crate::sys::scan::find_either;
use crate::sys::views::Utf8Buffer;

/// A field that is not asked for.
const UNWANTED: u32 = u32::MAX;

/// How many spellings of fields the fast way remembers, and how long they may be.
const SEGMENTS_MAX: usize = 256;
const SEGMENT_BYTES_MAX: usize = 256;

/// How many columns the fast way can tell apart.
const FAST_COLUMNS_MAX: usize = 128;

/// What stands before a value: a brace or comma, the field's name, the colon, and blanks.
struct Segment {
    literal: Box<[u8]>,
    /// The literal's first 16 bytes, and which of these bits it has.
    start: u128,
    start_mask: u128,
    /// The column that its value fills, or [`UNWANTED`].
    column: u32,
    /// The segment that followed it last.
    next: usize,
    /// Whether it stands before the first value of a record, and only there.
    opens: bool,
}

impl Segment {
    fn new(literal: &[u8], column: u32, next: usize, opens: bool) -> Self {
        let mut start = [0; 16];
        let length = literal.len().min(16);
        start[..length].copy_from_slice(&literal[..length]);
        let start_mask = u128::MAX.checked_shr(128 - 8 * length as u32).unwrap_or(0);
        Self {
            literal: literal.into(),
            start: u128::from_le_bytes(start),
            start_mask,
            column,
            next,
            opens,
        }
    }

    /// Whether the segment stands at `at`.
    #[inline]
    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        match bytes[at..].first_chunk::<16>() {
            Some(found) if (u128::from_le_bytes(*found) ^ self.start) & self.start_mask != 0 => {
                false
            }
            Some(_) if self.literal.len() <= 16 => true,
            _ => bytes[at..].starts_with(&self.literal),
        }
    }
}

/// Reads JSON lines.
pub(super) struct JsonDecoder {
    fail_on_missing: bool,
    /// Whether fractions in nested values are decimals: Flink's rule for tables with a DECIMAL column.
    as_decimals: bool,
    columns: HashMap<String, u32>,
    wanted: Wanted,
    rows: Rows,
    segments: Vec<Segment>,
    /// The segment that opened the last record.
    first: usize,
    /// Which columns the current record of the exact way has set.
    seen: Vec<bool>,
    template: Option<Template>,
    /// The marks of the current stretch, after the newline before it.
    marks: Vec<u32>,
    /// How many times in a row a stretch was not like the template, up to [`MISSES_MAX`].
    misses: u32,
    /// How many stretches go by before the next attempt.
    pause: u32,
}

/// Where records are never alike, one in 2^6 stretches is tried.
const MISSES_MAX: u32 = 6;

impl JsonDecoder {
    /// A decoder of the columns `projection` of records of `schema`.
    pub(super) fn new(options: &JsonOptions, schema: &Schema, projection: &[usize]) -> Self {
        let dialect = if options.iso_timestamps { Dialect::JsonIso } else { Dialect::JsonSql };
        let mut wanted = Wanted::new(schema, projection, dialect);
        wanted.lenient = options.lenient;
        let names = wanted.names.iter().cloned();
        Self {
            fail_on_missing: options.fail_on_missing,
            as_decimals: wanted
                .types
                .iter()
                .any(|data_type| matches!(data_type, DataType::Decimal(..))),
            columns: names.zip(0..).collect(),
            rows: Rows::new(&wanted),
            seen: vec![false; projection.len()],
            wanted,
            segments: Vec::new(),
            first: 0,
            template: None,
            marks: Vec::new(),
            misses: 0,
            pause: 0,
        }
    }

    /// Notes the records from `start` on that are like the template, if a stretch of them is; where the next one begins.
    fn read_alike(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        decoded: &mut Decoded,
    ) -> Option<usize> {
        let template = self.template.as_mut().filter(|_| self.pause == 0)?;
        let bytes = source.as_str().as_bytes();
        let until = start + STRETCH_BYTES;
        let records = template.records(bytes, start, until, &mut self.marks)?;
        let rows = &mut self.rows;
        let grows = rows.may_grow(&self.wanted);
        let places = template.fit(bytes, records, |column| grows && rows.checks_numbers(column))?;
        let grown = rows.grow(records, places, &self.wanted, source, decoded);
        decoded.line_count += grown as u64;
        let (taken, rest) = records.split_at(grown);
        let mut end = (grown > 0).then(|| taken.end());
        let places = match rest.count() {
            0 => None,
            // Those that columns did not check are still to be.
            _ if grows => template.fit(bytes, rest, |_| false),
            _ => Some(template.places()),
        };
        if let Some(places) = places.filter(|_| decoded.failure.is_none()) {
            decoded.line_count += rest.count() as u64;
            rows.put_all(rest, places, &self.wanted, source, decoded);
            end = Some(rest.end());
        }
        let end = end?;
        self.misses = 0;
        Some(end + 1)
    }

    /// Makes `line` the template, its newline included, unless that has led to nothing lately.
    fn learn_from(&mut self, line: &[u8]) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        let (columns, count) = (&self.columns, self.rows.spans.len());
        self.template = Template::of(line, count, |key| {
            let column = columns.get(std::str::from_utf8(key).ok()?)?;
            Some(*column as usize)
        });
        self.pause = (1 << self.misses) - 1;
        self.misses = (self.misses + 1).min(MISSES_MAX);
    }

    /// Notes the fields of the record at `start .. end`, if it is like those before; whether it was.
    fn read_fast(&mut self, source: &Utf8Buffer, start: usize, end: usize) -> bool {
        let bytes = source.as_str().as_bytes();
        let row = self.rows.count();
        let columns = self.rows.spans.len();
        if columns > FAST_COLUMNS_MAX {
            return false;
        }
        let mut missing: u128 =
            if columns == 0 { 0 } else { u128::MAX >> (FAST_COLUMNS_MAX - columns) };
        let (mut at, mut index, mut previous) = (start, self.first, None::<usize>);
        loop {
            let fits =
                |segment: &Segment| segment.opens == previous.is_none() && segment.is_at(bytes, at);
            if !self.segments.get(index).is_some_and(fits) {
                match self.find_segment(bytes, at, previous) {
                    Some(found) => index = found,
                    None => {
                        return previous.is_some()
                            && is_end(&bytes[at..end])
                            && self.fill_missing(missing, row);
                    }
                }
            }
            let segment = &self.segments[index];
            let (column, next) = (segment.column, segment.next);
            at += segment.literal.len();
            let value = match read_simple(bytes, at) {
                Some(value) => Some(value),
                None => self.read_other(source, at, end, column),
            };
            let Some((span, value_end)) = value else { return false };
            at = value_end;
            // Nothing above stops at the record's end: what ran past it is not this record's.
            if at > end {
                return false;
            }
            if column != UNWANTED {
                let bit = 1 << column;
                if missing & bit == 0 {
                    return false;
                }
                missing &= !bit;
                self.rows.spans[column as usize][row] = span;
            }
            if at + 1 == end && bytes[at] == b'}' {
                break;
            }
            previous = Some(index);
            index = next;
        }
        missing == 0 || self.fill_missing(missing, row)
    }

    /// Reads a string with escapes, an object or an array at `at` for `column`; also where the text goes on.
    #[cold]
    fn read_other(
        &mut self,
        source: &Utf8Buffer,
        at: usize,
        end: usize,
        column: u32,
    ) -> Option<(Span, usize)> {
        let value = scan::read_value(&source.as_str().as_bytes()[..end], at).ok()?;
        let span = if column == UNWANTED { Span::default() } else { self.span(source, value) };
        Some((span, value.next))
    }

    /// The longest segment that stands at `at`; remembered as the one that follows `previous`.
    #[cold]
    fn find_segment(&mut self, bytes: &[u8], at: usize, previous: Option<usize>) -> Option<usize> {
        let fits = |index: &usize| {
            let segment = &self.segments[*index];
            segment.opens == previous.is_none() && segment.is_at(bytes, at)
        };
        let length = |&index: &usize| self.segments[index].literal.len();
        let found = (0..self.segments.len()).filter(fits).max_by_key(length)?;
        match previous {
            Some(previous) => self.segments[previous].next = found,
            None => self.first = found,
        }
        Some(found)
    }

    /// Notes NULL for the columns `missing`; whether that will do.
    fn fill_missing(&mut self, missing: u128, row: usize) -> bool {
        for (column, spans) in self.rows.spans.iter_mut().enumerate() {
            if missing >> column & 1 == 1 {
                spans[row] = Span::default();
            }
        }
        missing == 0 || !self.fail_on_missing
    }

    /// Notes the rows of any line: of an object one, of an array of objects several. False if a field stopped the job.
    fn read_exact(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        end: usize,
        decoded: &mut Decoded,
    ) -> Result<bool, Malformed> {
        let bytes = &source.as_str().as_bytes()[..end];
        let opening = start + if bytes[start..].starts_with("\u{feff}".as_bytes()) { 3 } else { 0 };
        let opening = scan::skip_blanks(bytes, opening);
        if bytes.get(opening) != Some(&b'[') {
            self.read_object(source, opening, end, Some(start))?;
            return Ok(self.push_row(source, start, end, decoded));
        }
        let mut at = scan::skip_blanks(bytes, opening + 1);
        if bytes.get(at) == Some(&b']') {
            return Ok(true);
        }
        loop {
            at = self.read_object(source, at, end, None)?;
            if !self.push_row(source, start, end, decoded) {
                return Ok(false);
            }
            at = scan::skip_blanks(bytes, at);
            at = match bytes.get(at) {
                Some(b',') => scan::skip_blanks(bytes, at + 1),
                Some(b']') => return Ok(true),
                _ => return malformed(at, "a ',' or ']' was expected here"),
            };
        }
    }

    /// Counts the noted fields as a row of the line at `start .. end`. False if a field stopped the job.
    #[inline]
    fn push_row(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        end: usize,
        decoded: &mut Decoded,
    ) -> bool {
        self.rows.records.push((start as u32, end as u32));
        !self.rows.is_full() || self.rows.flush(&self.wanted, source, decoded)
    }

    /// Notes the fields of the object at `at`, and where the text goes on. What stands before a value is
    /// remembered if the line begins at `learn_from`.
    fn read_object(
        &mut self,
        source: &Utf8Buffer,
        at: usize,
        end: usize,
        mut learn_from: Option<usize>,
    ) -> Result<usize, Malformed> {
        let bytes = &source.as_str().as_bytes()[..end];
        let row = self.rows.count();
        self.seen.fill(false);
        if bytes.get(at) != Some(&b'{') {
            return malformed(at, "a JSON object was expected here");
        }
        let start = at;
        let mut opens = true;
        let mut at = scan::skip_blanks(bytes, at + 1);
        let mut more = bytes.get(at) != Some(&b'}');
        while more {
            let key = scan::read_key(bytes, at)?;
            let column = self.column(&source.as_str()[key.start..key.end], key.escaped);
            let value = scan::read_value(bytes, key.next)?;
            if let Some(from) = &mut learn_from {
                let literal = &bytes[std::mem::replace(from, value.next)..key.next];
                self.learn(literal, column, std::mem::replace(&mut opens, false));
            }
            if column != UNWANTED && !std::mem::replace(&mut self.seen[column as usize], true) {
                let span = self.span(source, value);
                self.rows.spans[column as usize][row] = span;
            }
            at = scan::skip_blanks(bytes, value.next);
            more = match bytes.get(at) {
                Some(b',') => true,
                Some(b'}') => false,
                _ => return malformed(at, "a ',' or '}' was expected here"),
            };
            if more {
                at = scan::skip_blanks(bytes, at + 1);
            }
        }
        for (column, _) in self.seen.iter().enumerate().filter(|&(_, &seen)| !seen) {
            if self.fail_on_missing {
                return malformed(
                    start,
                    format!("the field `{}` is missing", self.wanted.names[column]),
                );
            }
            self.rows.spans[column][row] = Span::default();
        }
        Ok(at + 1)
    }

    fn column(&self, key: &str, escaped: bool) -> u32 {
        let mut text = String::new();
        if escaped {
            scan::unescape(key, &mut text);
        }
        self.columns.get(if escaped { text.as_str() } else { key }).copied().unwrap_or(UNWANTED)
    }

    fn learn(&mut self, literal: &[u8], column: u32, opens: bool) {
        let known = |segment: &Segment| *segment.literal == *literal;
        if self.segments.len() < SEGMENTS_MAX
            && literal.len() <= SEGMENT_BYTES_MAX
            && self.rows.spans.len() <= FAST_COLUMNS_MAX
            && !self.segments.iter().any(known)
        {
            self.segments.push(Segment::new(literal, column, self.segments.len() + 1, opens));
        }
    }

    fn span(&mut self, source: &Utf8Buffer, value: Value) -> Span {
        let text = &source.as_str()[value.start..value.end];
        if value.kind != kind::NESTED && !value.escaped {
            return Span { start: value.start as u32, end: value.end as u32, kind: value.kind };
        }
        let mut written = String::with_capacity(text.len());
        if value.kind == kind::NESTED {
            scan::write_nested(text, self.as_decimals, &mut written)
        } else {
            scan::unescape(text, &mut written)
        }
        self.rows.side.push(&written, value.kind, value.start)
    }
}

/// Reads a value without escapes and nesting at `at`; also where the text goes on.
#[inline(always)]
fn read_simple(bytes: &[u8], at: usize) -> Option<(Span, usize)> {
    let value = match bytes.get(at)? {
        b'"' => {
            let start = at + 1;
            let end = find_either(bytes, start, b'"', b'\\');
            if *bytes.get(end)? != b'"' {
                return None;
            }
            let span = Span { start: start as u32, end: end as u32, kind: kind::TEXT };
            return Some((span, end + 1));
        }
        b'-' | b'0'..=b'9' => scan::read_number(bytes, at).ok()?,
        _ => scan::read_word(bytes, at).ok()?,
    };
    let span = Span { start: value.start as u32, end: value.end as u32, kind: value.kind };
    Some((span, value.next))
}

/// Whether only the closing brace of a record follows.
fn is_end(rest: &[u8]) -> bool {
    rest.trim_ascii() == b"}"
}

impl JsonDecoder {
    /// Notes the rows of the line at `start .. end`. False if the job stops.
    fn decode_line(
        &mut self,
        source: &Utf8Buffer,
        start: usize,
        end: usize,
        is_damaged: bool,
        decoded: &mut Decoded,
    ) -> bool {
        let bytes = source.as_str().as_bytes();
        let result = if is_damaged {
            malformed(start, "it is not UTF-8")
        } else if self.read_fast(source, start, end) {
            return self.push_row(source, start, end, decoded);
        } else {
            self.read_exact(source, start, end, decoded)
        };
        let error = match result {
            Ok(goes_on) => return goes_on,
            Err(error) => error,
        };
        let record = || {
            bad_record(
                bytes,
                start,
                end,
                error.position,
                format!("malformed JSON: {}", error.reason),
            )
        };
        if self.wanted.lenient {
            rows::skip(decoded, record);
            return true;
        }
        if self.rows.flush(&self.wanted, source, decoded) {
            decoded.failure = Some(record());
        }
        false
    }
}

impl Decode for JsonDecoder {
    fn decode(&mut self, chunk: &Buffer, _at_start: bool) -> Decoded {
        let (source, damaged) = rows::checked(chunk);
        let bytes = source.as_str().as_bytes();
        let is_sound = damaged.is_empty();
        let mut damaged = damaged.iter().peekable();
        let mut decoded = Decoded::default();
        let (mut next, mut alike_bytes) = (0, 0);
        while next < bytes.len() {
            if is_sound && let Some(after) = self.read_alike(&source, next, &mut decoded) {
                alike_bytes += after - next;
                next = after;
                if decoded.failure.is_some() {
                    return decoded;
                }
                continue;
            }
            // What comes behind some records that are alike is mostly one that is not, and then they go on.
            let is_odd = std::mem::take(&mut alike_bytes) >= STRETCH_BYTES / 16;
            let line_bytes = if is_odd { 1 } else { STRETCH_BYTES };
            let (until, mut start) = (bytes.len().min(next + line_bytes), next);
            while next < until {
                decoded.line_count += 1;
                start = next;
                let newline = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |at| start + at);
                next = newline + 1;
                let end = newline - usize::from(newline > start && bytes[newline - 1] == b'\r');
                let is_damaged = damaged.next_if(|range| range.0 < end).is_some();
                if start < end && !self.decode_line(&source, start, end, is_damaged, &mut decoded) {
                    return decoded;
                }
            }
            if !is_odd {
                self.learn_from(&bytes[start..next.min(bytes.len())]);
            }
        }
        self.rows.flush(&self.wanted, &source, &mut decoded);
        decoded
    }
}
