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

use super::bulk::{self, Grow};
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

    /// Where spans point, and by which rules texts are read.
    fn texts<'a>(&'a self, wanted: &Wanted, source: &'a Utf8Buffer) -> column::Texts<'a> {
        let (side, dialect, lenient) = (&self.text, wanted.dialect, wanted.lenient);
        column::Texts { source, side, dialect, lenient }
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
    /// What says what number a text is, and whether it is one; nothing if it is to be read as text.
    pub(super) kind_of: Option<KindOf>,
    /// What it is in each record; of texts, nothing.
    pub(super) kinds: Vec<u8>,
}

/// The kind of the number that is at some bytes, from and to, if it is one.
pub(super) type KindOf = fn(&[u8], usize, usize) -> Option<u8>;

/// Whole records, one a line, with equally many marks each: the last of them is the newline.
///
/// Mark *m* of record *r* is number *m* · `across` + *r* · `stride` of all.
#[derive(Clone, Copy)]
pub(super) struct Alike<'a> {
    marks: &'a [u32],
    count: usize,
    /// How many marks a record has.
    mark_count: usize,
    across: usize,
    stride: usize,
    /// How many bytes stand between a record and its newline.
    blank_bytes: u32,
}

impl<'a> Alike<'a> {
    /// Records of so many marks each, with the newline before the first one and all marks of all of them, record by record.
    pub(super) fn by_record(marks: &'a [u32], mark_count: usize, blank_bytes: u32) -> Self {
        let count = (marks.len() - 1) / mark_count;
        Self { marks, count, mark_count, across: 1, stride: mark_count, blank_bytes }
    }

    /// The same, with the newlines before all records, then the first marks of all, and so on.
    pub(super) fn by_mark(marks: &'a [u32], mark_count: usize, blank_bytes: u32) -> Self {
        let count = marks.len() / (mark_count + 1);
        Self { marks, count, mark_count, across: count, stride: 1, blank_bytes }
    }

    /// How many records.
    pub(super) fn count(self) -> usize {
        self.count
    }

    /// Where a record ends.
    pub(super) fn record_end(self) -> At {
        At { mark: self.mark_count, offset_bytes: self.blank_bytes.wrapping_neg() }
    }

    /// Where the last one's newline stands.
    pub(super) fn end(self) -> usize {
        self.marks[self.mark_count * self.across + (self.count - 1) * self.stride] as usize
    }

    /// A mark of each record, and what lies between.
    #[inline]
    fn of_mark(self, mark: usize) -> &'a [u32] {
        // Up to the last record's own, so that there is nothing to count.
        let length = self.count.checked_sub(1).map_or(0, |last| last * self.stride + 1);
        &self.marks[mark * self.across..][..length]
    }

    /// Where the place is in each record.
    #[inline]
    pub(super) fn at(self, at: At) -> impl ExactSizeIterator<Item = u32> + Clone + use<'a> {
        let marks = self.of_mark(at.mark).iter().step_by(self.stride);
        marks.map(move |mark| mark.wrapping_add(at.offset_bytes))
    }

    /// Where a text begins and ends in each record.
    #[inline]
    pub(super) fn texts(self, from: At, to: At) -> BetweenMarks<'a> {
        BetweenMarks {
            starts: self.of_mark(from.mark),
            ends: self.of_mark(to.mark),
            index: 0,
            stride: self.stride,
            offsets_bytes: (from.offset_bytes, to.offset_bytes),
        }
    }

    /// The records from `first` on, `count` of them.
    fn part(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.count);
        Self { marks: &self.marks[first * self.stride..], count, ..self }
    }

    /// The first `count` records, and the others.
    pub(super) fn split_at(self, count: usize) -> (Self, Self) {
        (self.part(0, count), self.part(count, self.count - count))
    }
}

/// See [`Alike::texts`]: one comparison a record, where two [`Iterator::step_by`] take a dozen instructions.
#[derive(Clone)]
pub(super) struct BetweenMarks<'a> {
    starts: &'a [u32],
    /// As many as `starts`.
    ends: &'a [u32],
    index: usize,
    stride: usize,
    offsets_bytes: (u32, u32),
}

impl BetweenMarks<'_> {
    /// The next `N`, if there are so many and their marks lie side by side: no record is looked at by itself then.
    #[inline(always)]
    pub(super) fn next_block<const N: usize>(&mut self) -> Option<([u32; N], [u32; N])> {
        if self.stride != 1 {
            return None;
        }
        let block = self.index..self.index + N;
        let starts: &[u32; N] = self.starts.get(block.clone())?.as_array()?;
        let ends: &[u32; N] = self.ends.get(block)?.as_array()?;
        self.index += N;
        let moved = |marks: &[u32; N], offset_bytes: u32| {
            let mut marks = *marks;
            marks.iter_mut().for_each(|mark| *mark = mark.wrapping_add(offset_bytes));
            marks
        };
        let (from_bytes, to_bytes) = self.offsets_bytes;
        Some((moved(starts, from_bytes), moved(ends, to_bytes)))
    }
}

impl Iterator for BetweenMarks<'_> {
    type Item = (u32, u32);

    #[inline(always)]
    fn next(&mut self) -> Option<(u32, u32)> {
        let (start, end) = (self.starts.get(self.index)?, self.ends.get(self.index)?);
        self.index += self.stride;
        let (from_bytes, to_bytes) = self.offsets_bytes;
        Some((start.wrapping_add(from_bytes), end.wrapping_add(to_bytes)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.starts.len().saturating_sub(self.index).div_ceil(self.stride);
        (count, Some(count))
    }
}

impl ExactSizeIterator for BetweenMarks<'_> {}

/// The fields of up to [`BATCH_ROWS_MAX`] records.
pub(super) struct Rows {
    /// A column's spans, each `BATCH_ROWS_MAX` long.
    pub(super) spans: Vec<Vec<Span>>,
    /// The columns that take records that are alike as they are found.
    growing: Vec<Option<Box<dyn Grow>>>,
    /// How many rows these have: the first ones.
    grown: usize,
    /// Where each record after them starts and ends in the chunk.
    pub(super) records: Vec<(u32, u32)>,
    /// Rewritten text.
    pub(super) side: Side,
}

impl Rows {
    /// No rows of these columns.
    pub(super) fn new(wanted: &Wanted) -> Self {
        let of = |&data_type| bulk::column_of(data_type, wanted.dialect);
        Self {
            spans: vec![vec![Span::default(); BATCH_ROWS_MAX]; wanted.types.len()],
            growing: wanted.types.iter().map(of).collect(),
            grown: 0,
            records: Vec::with_capacity(BATCH_ROWS_MAX),
            side: Side::default(),
        }
    }

    /// How many rows there are, and so the number of the next one.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.grown + self.records.len()
    }

    /// Whether a further row needs a [`Rows::flush`] first. Rewritten text is bounded too, for its offsets are 32 bits.
    pub(super) fn is_full(&self) -> bool {
        self.count() == BATCH_ROWS_MAX || self.side.text.len() > 1 << 24
    }

    /// Whether [`Rows::grow`] will try: it does not behind rows that are noted otherwise, nor where texts mean NULL.
    pub(super) fn may_grow(&self, wanted: &Wanted) -> bool {
        self.records.is_empty() && wanted.null_texts.is_empty()
    }

    /// Whether the column takes only numbers where there should be some; see [`Grow::checks_numbers`].
    pub(super) fn checks_numbers(&self, column: usize) -> bool {
        self.growing[column].as_ref().is_some_and(|column| column.checks_numbers())
    }

    /// Takes the records `alike`, which fill all columns from `places`, up to a batch of which not all texts are values; how many
    /// that are. If a field stopped the job, `decoded.failure` is set.
    pub(super) fn grow(
        &mut self,
        alike: Alike,
        places: &[Place],
        wanted: &Wanted,
        source: &Utf8Buffer,
        decoded: &mut Decoded,
    ) -> usize {
        let mut first = 0;
        while first < alike.count() && self.may_grow(wanted) {
            let count = (alike.count() - first).min(BATCH_ROWS_MAX - self.grown);
            let part = alike.part(first, count);
            let texts = self.side.texts(wanted, source);
            let all = places.iter().all(|place| {
                let Some(column) = &mut self.growing[place.column] else {
                    put(&mut self.spans[place.column][self.grown..], part, place, first);
                    return true;
                };
                column.extend(&texts, part, place)
            });
            if !all {
                self.growing.iter_mut().flatten().for_each(|column| column.truncate(self.grown));
                break;
            }
            self.grown += count;
            first += count;
            if self.is_full() && !self.flush(wanted, source, decoded) {
                break;
            }
        }
        first
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
            let row = self.count();
            let count = (alike.count() - first).min(BATCH_ROWS_MAX - row);
            let part = alike.part(first, count);
            for place in places {
                put(&mut self.spans[place.column][row..], part, place, first);
            }
            let starts = part.at(At { mark: 0, offset_bytes: 1 });
            self.records.extend(starts.zip(part.at(part.record_end())));
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
        let mut rows = self.count();
        for text in &wanted.null_texts {
            self.mark_nulls(text, source);
        }
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(wanted.types.len());
        for index in 0..wanted.types.len() {
            let (column, bad_row) = self.column(index, wanted, source, rows);
            columns.push(column);
            if let Some(row) = bad_row {
                decoded.failure = Some(self.bad_field(wanted, source, index, row));
                rows = row;
            }
        }
        if rows > 0 {
            columns.iter_mut().for_each(|column| *column = column.slice(0, rows));
            decoded.batches.push(Batch::new(columns, rows));
        }
        self.clear();
        decoded.failure.is_none()
    }

    /// A column up to its first bad text among the first `rows`, and where that is.
    fn column(
        &mut self,
        index: usize,
        wanted: &Wanted,
        source: &Utf8Buffer,
        rows: usize,
    ) -> (ArrayRef, Option<usize>) {
        let texts = self.side.texts(wanted, source);
        let spans = &self.spans[index];
        if let Some(column) = &mut self.growing[index] {
            let bad = column.append(&texts, &spans[self.grown..rows.max(self.grown)]).err();
            return (column.take(&texts), bad.map(|row| self.grown + row));
        }
        let data_type = wanted.types[index];
        match column::convert(&texts, data_type, &spans[..rows]) {
            Ok(column) => (column, None),
            Err(row) => {
                let good = column::convert(&texts, data_type, &spans[..row]);
                (good.expect("the rows before the first bad one are good"), Some(row))
            }
        }
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.growing.iter_mut().flatten().for_each(|column| column.truncate(0));
        self.grown = 0;
        self.records.clear();
        self.side.text.clear();
        self.side.origins.clear();
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
        let (bytes, position) = (source.as_str().as_bytes(), self.side.origin(span));
        let (start, end) = match row.checked_sub(self.grown) {
            Some(record) => self.records[record],
            None => line_of(bytes, position),
        };
        bad_record(bytes, start as usize, end as usize, position, reason)
    }
}

/// Notes where the texts at `place` stand in `part`, the first record of which has number `first` among all that the place is of.
fn put(spans: &mut [Span], part: Alike, place: &Place, first: usize) {
    let spans = spans.iter_mut().zip(part.texts(place.from, place.to));
    if place.kinds.is_empty() {
        spans.for_each(|(span, (start, end))| *span = Span { start, end, kind: kind::TEXT });
    } else {
        spans.zip(&place.kinds[first..]).for_each(|((span, (start, end)), &kind)| {
            *span = Span { start, end, kind };
        });
    }
}

/// Where the line begins and ends that holds the byte at `position`, without its end.
fn line_of(chunk: &[u8], position: usize) -> (u32, u32) {
    let start = memrchr(b'\n', &chunk[..position]).map_or(0, |newline| newline + 1);
    let end = memchr(b'\n', &chunk[position..]).map_or(chunk.len(), |at| position + at);
    let has_return = end > start && chunk[end - 1] == b'\r';
    (start as u32, (end - usize::from(has_return)) as u32)
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
