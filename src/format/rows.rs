//! Records found in a chunk, before they are columns: where each field's text stands.
//!
//! Finding fields is row by row; converting them is column by column, so that a column's type is looked
//! at once per batch and its loop is plain. Between the two stands [`Rows`]: per column a [`Span`] a row.
//!
//! # Invariants
//!
//! 1. `rows <= BATCH_ROWS_MAX`, and every column has a span for each of these rows.
//! 2. A span lies in the chunk, or, where its kind has [`OWNED`], in `side`; its edges never cut a character.

use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use memchr::{memchr, memchr_iter, memrchr};

use super::column::{self, Dialect};
use super::{BadRecord, Decoded};
use crate::batch::{BATCH_ROWS_MAX, Batch, DataType, Schema};
use crate::sys::views::Utf8Buffer;

/// What a field's text is. The numbers are bits so that a column's kinds can be gathered by `|`.
pub(super) mod kind {
    /// NULL, or missing.
    pub(in crate::format) const NULL: u8 = 0;
    /// A JSON string's content, or any CSV field.
    pub(in crate::format) const TEXT: u8 = 1;
    /// A JSON number without fraction and exponent.
    pub(in crate::format) const INTEGER: u8 = 2;
    /// A JSON number with fraction or exponent.
    pub(in crate::format) const FRACTION: u8 = 4;
    /// `true` or `false`.
    pub(in crate::format) const BOOLEAN: u8 = 8;
    /// A JSON object or array.
    pub(in crate::format) const NESTED: u8 = 16;
    /// The text was rewritten (unescaped) and stands in the side text.
    pub(in crate::format) const OWNED: u8 = 128;
}

/// The place of one field's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: u32,
    /// One past the last byte.
    pub(super) end: u32,
    /// One of [`kind`].
    pub(super) kind: u8,
}

/// Text that was rewritten, and where it came from.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// All of it.
    pub(super) text: String,
    /// For each rewritten text: its start in `text`, and the start of its source in the chunk.
    origins: Vec<(u32, u32)>,
}

impl Side {
    /// Appends `text`, read at `origin` in the chunk; its span.
    pub(super) fn push(&mut self, text: &str, kind: u8, origin: usize) -> Span {
        let start = self.text.len() as u32;
        self.origins.push((start, origin as u32));
        self.text.push_str(text);
        Span { start, end: self.text.len() as u32, kind: kind | kind::OWNED }
    }

    /// Where the text of `span` starts in the chunk.
    fn origin(&self, span: Span) -> usize {
        if span.kind & kind::OWNED == 0 {
            return span.start as usize;
        }
        let index = self.origins.partition_point(|&(start, _)| start <= span.start);
        self.origins[index - 1].1 as usize
    }
}

/// The columns that a decoder builds.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Their names, for errors.
    pub(super) names: Vec<String>,
    /// Their types.
    pub(super) types: Vec<DataType>,
    /// How text becomes values.
    pub(super) dialect: Dialect,
    /// Texts that mean NULL.
    pub(super) null_texts: Vec<String>,
    /// Whether a bad field is NULL rather than the end of the job.
    pub(super) lenient: bool,
}

impl Wanted {
    /// The columns `projection` of `schema`.
    pub(super) fn new(schema: &Schema, projection: &[usize], dialect: Dialect) -> Self {
        let fields = || projection.iter().map(|&index| &schema.fields[index]);
        Self {
            names: fields().map(|field| field.name.clone()).collect(),
            types: fields().map(|field| field.data_type).collect(),
            dialect,
            null_texts: Vec::new(),
            lenient: false,
        }
    }
}

/// How many bytes are searched for marks at once: few enough that they, and what is noted of them, stay in the cache.
/// Tests take few, to see many.
pub(super) const STRETCH_BYTES: usize =
    if cfg!(all(test, debug_assertions)) { 200 } else { 16 << 10 };

/// A place in a record, counted from one of the marks that were found.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// The number of the mark. 0 is the newline before the record.
    pub(super) mark: usize,
    /// How many bytes further; wraps around, to go back.
    pub(super) offset_bytes: u32,
}

/// Where the text of a column stands in records that are alike.
#[derive(Debug)]
pub(super) struct Place {
    /// The column.
    pub(super) column: usize,
    /// Where the text starts.
    pub(super) from: At,
    /// Where it ends.
    pub(super) to: At,
    /// What it is in each record; of texts, nothing.
    pub(super) kinds: Vec<u8>,
}

/// Whole records, one a line, with equally many marks each: the last of them is the newline.
#[derive(Clone, Copy)]
pub(super) struct Alike<'a> {
    /// The newline before the first record, and all marks of all records.
    pub(super) marks: &'a [u32],
    /// How many marks a record has.
    pub(super) stride: usize,
    /// How many bytes stand between a record and its newline.
    pub(super) blank_bytes: u32,
}

impl<'a> Alike<'a> {
    /// How many records.
    pub(super) fn count(self) -> usize {
        (self.marks.len() - 1) / self.stride
    }

    /// Where the last one's newline stands.
    pub(super) fn end(self) -> usize {
        self.marks[self.marks.len() - 1] as usize
    }

    /// Where the place is in each record.
    #[inline]
    pub(super) fn at(self, at: At) -> impl Iterator<Item = u32> + Clone + use<'a> {
        let marks = self.marks[at.mark..].iter().step_by(self.stride).take(self.count());
        marks.map(move |mark| mark.wrapping_add(at.offset_bytes))
    }

    /// The records from `first` on, `count` of them.
    fn part(self, first: usize, count: usize) -> Self {
        let marks = &self.marks[first * self.stride..=(first + count) * self.stride];
        Self { marks, ..self }
    }
}

/// The fields of up to [`BATCH_ROWS_MAX`] records.
#[derive(Debug)]
pub(super) struct Rows {
    /// A column's spans, each `BATCH_ROWS_MAX` long.
    pub(super) spans: Vec<Vec<Span>>,
    /// Where each record starts and ends in the chunk.
    pub(super) records: Vec<(u32, u32)>,
    /// Rewritten text.
    pub(super) side: Side,
}

impl Rows {
    /// No rows of `columns` columns.
    pub(super) fn new(columns: usize) -> Self {
        let spans = vec![vec![Span::default(); BATCH_ROWS_MAX]; columns];
        Self { spans, records: Vec::with_capacity(BATCH_ROWS_MAX), side: Side::default() }
    }

    /// Whether a further row needs a [`Rows::flush`] first. Rewritten text is bounded too, for its offsets are 32 bits.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() == BATCH_ROWS_MAX || self.side.text.len() > 1 << 24
    }

    /// Notes the records `alike`, which fill all columns from `places`. False if a field stopped the job.
    pub(super) fn put_all(
        &mut self,
        alike: Alike,
        places: &[Place],
        wanted: &Wanted,
        source: &Utf8Buffer,
        decoded: &mut Decoded,
    ) -> bool {
        let mut first = 0;
        while first < alike.count() {
            let row = self.records.len();
            let count = (alike.count() - first).min(BATCH_ROWS_MAX - row);
            let part = alike.part(first, count);
            for Place { column, from, to, kinds } in places {
                let texts = part.at(*from).zip(part.at(*to));
                let spans = self.spans[*column][row..].iter_mut().zip(texts);
                if kinds.is_empty() {
                    spans.for_each(|(span, (start, end))| {
                        *span = Span { start, end, kind: kind::TEXT };
                    });
                } else {
                    spans.zip(&kinds[first..]).for_each(|((span, (start, end)), &kind)| {
                        *span = Span { start, end, kind };
                    });
                }
            }
            let starts = part.at(At { mark: 0, offset_bytes: 1 });
            let before_newline = alike.blank_bytes.wrapping_neg();
            let ends = part.at(At { mark: alike.stride, offset_bytes: before_newline });
            self.records.extend(starts.zip(ends));
            first += count;
            if self.is_full() && !self.flush(wanted, source, decoded) {
                return false;
            }
        }
        true
    }

    /// Turns the rows into a batch of `decoded` and starts over. False if a field stopped the job: then
    /// `decoded.failure` is set, and the batch holds the rows before it.
    pub(super) fn flush(
        &mut self,
        wanted: &Wanted,
        source: &Utf8Buffer,
        decoded: &mut Decoded,
    ) -> bool {
        let mut rows = self.records.len();
        for text in &wanted.null_texts {
            self.mark_nulls(text, source);
        }
        let texts = column::Texts {
            source,
            side: &self.side.text,
            dialect: wanted.dialect,
            lenient: wanted.lenient,
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(wanted.types.len());
        for (index, &data_type) in wanted.types.iter().enumerate() {
            match column::convert(&texts, data_type, &self.spans[index][..rows]) {
                Ok(column) => columns.push(column),
                Err(row) => {
                    decoded.failure = Some(self.bad_field(wanted, source, index, row));
                    rows = row;
                    columns.iter_mut().for_each(|column| *column = column.slice(0, rows));
                    let good = column::convert(&texts, data_type, &self.spans[index][..rows]);
                    columns.push(good.expect("the rows before the first bad one are good"));
                }
            }
        }
        if rows > 0 {
            decoded.batches.push(Batch::new(columns, rows));
        }
        self.records.clear();
        self.side.text.clear();
        self.side.origins.clear();
        decoded.failure.is_none()
    }

    /// The text at `span`.
    pub(super) fn text<'a>(&'a self, source: &'a Utf8Buffer, span: Span) -> &'a [u8] {
        let text =
            if span.kind & kind::OWNED == 0 { source.as_str() } else { self.side.text.as_str() };
        &text.as_bytes()[span.start as usize..span.end as usize]
    }

    fn mark_nulls(&mut self, null_text: &str, source: &Utf8Buffer) {
        let rows = self.records.len();
        for column in 0..self.spans.len() {
            for row in 0..rows {
                if self.text(source, self.spans[column][row]) == null_text.as_bytes() {
                    self.spans[column][row].kind = kind::NULL;
                }
            }
        }
    }

    fn bad_field(
        &self,
        wanted: &Wanted,
        source: &Utf8Buffer,
        column: usize,
        row: usize,
    ) -> BadRecord {
        let span = self.spans[column][row];
        let text = String::from_utf8_lossy(self.text(source, span));
        let data_type = wanted.types[column];
        let reason = format!(
            "field `{}`: {} is not {}",
            wanted.names[column],
            quoted(&text),
            with_article(data_type)
        );
        let (start, end) = self.records[row];
        bad_record(
            source.as_str().as_bytes(),
            start as usize,
            end as usize,
            self.side.origin(span),
            reason,
        )
    }
}

/// `text` in quotes, cut after 60 characters.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}

/// `an INT`, `a DOUBLE`.
fn with_article(data_type: DataType) -> String {
    let article =
        if matches!(data_type, DataType::Int | DataType::IntervalDay | DataType::IntervalMonth) {
            "an"
        } else {
            "a"
        };
    format!("{article} {data_type}")
}

/// Describes the record at bytes `start .. end` of `chunk`, in which reading stopped at the byte `position`.
pub(super) fn bad_record(
    chunk: &[u8],
    start: usize,
    end: usize,
    position: usize,
    reason: String,
) -> BadRecord {
    let position = position.clamp(start, end);
    let line_start =
        memrchr(b'\n', &chunk[start..position]).map_or(start, |newline| start + newline + 1);
    BadRecord {
        line_index: memchr_iter(b'\n', &chunk[..start]).count() as u64,
        column: (position - line_start) as u64 + 1,
        reason,
        record: chunk[start..end.min(start + BadRecord::BYTES_MAX)].to_vec(),
    }
}

/// How many lines `chunk` holds; a last one without newline counts.
pub(super) fn line_count(chunk: &[u8]) -> u64 {
    let unfinished = chunk.last().is_some_and(|&byte| byte != b'\n');
    memchr_iter(b'\n', chunk).count() as u64 + u64::from(unfinished)
}

/// `chunk` as UTF-8. Where it is not, a copy of the same length in which the bytes that are not are `?`,
/// and the ranges of lines that held them, so that every other line keeps its place.
pub(super) fn checked(chunk: &Buffer) -> (Utf8Buffer, Vec<(usize, usize)>) {
    let chunk = match Utf8Buffer::new(chunk.clone()) {
        Ok(text) => return (text, Vec::new()),
        Err(chunk) => chunk,
    };
    let mut bytes = chunk.to_vec();
    let mut damaged: Vec<(usize, usize)> = Vec::new();
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let bad = from + error.valid_up_to();
        let length = error.error_len().unwrap_or(bytes.len() - bad);
        bytes[bad..bad + length].fill(b'?');
        if damaged.last().is_none_or(|&(_, end)| bad > end) {
            let start = memrchr(b'\n', &bytes[..bad]).map_or(0, |newline| newline + 1);
            let end = memchr(b'\n', &bytes[bad..]).map_or(bytes.len(), |newline| bad + newline);
            damaged.push((start, end));
        }
        from = bad + length;
    }
    (Utf8Buffer::new(Buffer::from_vec(bytes)).expect("the bad bytes were replaced"), damaged)
}

/// Notes a record that is dropped.
pub(super) fn skip(decoded: &mut Decoded, record: impl FnOnce() -> BadRecord) {
    decoded.skipped_count += 1;
    if decoded.skipped.len() < SKIPPED_MAX {
        decoded.skipped.push(record());
    }
}

/// How many dropped records a chunk keeps.
const SKIPPED_MAX: usize = 100;
