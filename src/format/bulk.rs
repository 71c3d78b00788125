//! Columns of the types whose texts mostly have one shape: they grow by many rows at a time.
//!
//! Rows come in two ways. Records that are alike are taken straight from between their marks, while their bytes are in the first
//! cache and before anybody has noted where each text stands ([`Grow::extend`]); but only if every text is a value. All others, with what is
//! NULL or bad, come as spans ([`Grow::append`]).
//!
//! # Invariants
//!
//! 1. A text has the same value whichever way it comes.
//! 2. A column that refuses records may hold some of them already, and is told how many rows to keep.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int64Type};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::ArrowNativeType;

use super::column::{self, BadText, Column, Dialect, Field, Read, Texts};
use super::lanes::{self, LANES, Numbers, Places};
use super::rows::{Alike, Place, Span, kind};
use super::short::LastDate;
use crate::batch::{BATCH_ROWS_MAX, DataType};
use crate::sys::vector::{self, Loop};
use crate::sys::views::ViewColumn;

/// A column in the making.
pub(super) trait Grow: Send {
    /// Whether [`Grow::extend`] takes only numbers of JSON where a place holds numbers.
    fn checks_numbers(&self) -> bool;
    /// Appends the texts that stand at `place` of `records`; false if not all of them are values.
    fn extend(&mut self, texts: &Texts, records: Alike, place: &Place) -> bool;
    /// Drops all rows from number `count` on.
    fn truncate(&mut self, count: usize);
    /// Appends the texts at `spans`, up to the first bad one, if it is not skipped: that one's number is the error.
    fn append(&mut self, texts: &Texts, spans: &[Span]) -> Result<(), usize>;
    /// All rows. Leaves none.
    fn take(&mut self, texts: &Texts) -> ArrayRef;
}

/// A column of `data_type`, if that is one of the types.
pub(super) fn column_of(data_type: DataType, dialect: Dialect) -> Option<Box<dyn Grow>> {
    Some(match data_type {
        DataType::Char(_) | DataType::VarChar(_) => Box::new(Strings::default()),
        DataType::Double => Box::new(Primitives::<Float64Type, _>::new(Doubles)),
        DataType::BigInt | DataType::IntervalDay => {
            Box::new(Primitives::<Int64Type, _>::new(Integers))
        }
        DataType::Timestamp(3) => {
            let last = LastDate::new(dialect.time_separator());
            Box::new(Primitives::<Int64Type, _>::new(Timestamps { dialect, last }))
        }
        _ => return None,
    })
}

/// Any texts.
#[derive(Default)]
struct Strings {
    /// `None` before the first row of a batch.
    column: Option<ViewColumn>,
}

impl Strings {
    fn column(&mut self, texts: &Texts, more: usize) -> &mut ViewColumn {
        let capacity = more.max(expected_rows(texts));
        self.column.get_or_insert_with(|| ViewColumn::new(texts.source.clone(), capacity))
    }
}

/// How many rows there is to be room for: a batch, if the chunk may have so many. A vector that grew with each stretch would be copied as often.
fn expected_rows(texts: &Texts) -> usize {
    const RECORD_BYTES: usize = 16;
    BATCH_ROWS_MAX.min(texts.source.as_str().len() / RECORD_BYTES)
}

impl Grow for Strings {
    fn checks_numbers(&self) -> bool {
        false
    }

    fn extend(&mut self, texts: &Texts, records: Alike, place: &Place) -> bool {
        let ranges = records.texts(place.from, place.to);
        self.column(texts, records.count()).extend(ranges);
        true
    }

    fn truncate(&mut self, count: usize) {
        if let Some(column) = &mut self.column {
            column.truncate(count);
        }
    }

    fn append(&mut self, texts: &Texts, spans: &[Span]) -> Result<(), usize> {
        let column = self.column(texts, spans.len());
        let is_plain = |span: &Span| span.kind != kind::NULL && span.kind & kind::OWNED == 0;
        let place = |span: &Span| (span.start, span.end);
        // Mostly all are, which a loop without branches shows.
        if spans.iter().fold(true, |all, span| all & is_plain(span)) {
            column.extend(spans.iter().map(place));
            return Ok(());
        }
        for run in spans.chunk_by(|a, b| is_plain(a) == is_plain(b)) {
            if is_plain(&run[0]) {
                column.extend(run.iter().map(place));
                continue;
            }
            for span in run {
                match span.kind {
                    kind::NULL => column.push_null(),
                    _ => column.push_owned(&texts.side[span.start as usize..span.end as usize]),
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, texts: &Texts) -> ArrayRef {
        let column = self.column.take().unwrap_or_else(|| ViewColumn::new(texts.source.clone(), 0));
        Arc::new(column.finish())
    }
}

/// What reads texts of a type of which most have a usual shape.
trait Reader<N>: Send {
    /// Whether what [`Reader::lanes`] takes for numbers of JSON is.
    const CHECKS_NUMBERS: bool;
    /// Reads the texts at these places of `bytes`, if all have that shape and, where `of_json`, are numbers of JSON, if such are checked.
    /// `#[inline(always)]`, see [`Loop`].
    fn lanes(
        &mut self,
        bytes: &[u8],
        places: &Places,
        of_json: bool,
        values: &mut [N; LANES],
    ) -> bool;
    /// Reads any text.
    fn one(&mut self, field: Field) -> Read<N>;
}

/// Values of one type.
struct Primitives<T: ArrowPrimitiveType, R> {
    reader: R,
    column: Column<T::Native>,
}

impl<T: ArrowPrimitiveType, R: Reader<T::Native>> Primitives<T, R> {
    fn new(reader: R) -> Self {
        Self { reader, column: Column::new() }
    }

    fn reserve(&mut self, texts: &Texts, more: usize) {
        let values = &mut self.column.values;
        values.reserve(more.max(expected_rows(texts).saturating_sub(values.len())));
    }
}

impl<T: ArrowPrimitiveType, R: Reader<T::Native>> Grow for Primitives<T, R> {
    fn checks_numbers(&self) -> bool {
        R::CHECKS_NUMBERS
    }

    fn extend(&mut self, texts: &Texts, records: Alike, place: &Place) -> bool {
        self.reserve(texts, records.count());
        let bytes = texts.source.as_str().as_bytes();
        let values = &mut self.column.values;
        vector::widest(Extend { bytes, records, place, reader: &mut self.reader, values })
    }

    fn truncate(&mut self, count: usize) {
        self.column.values.truncate(count);
    }

    fn append(&mut self, texts: &Texts, spans: &[Span]) -> Result<(), usize> {
        self.reserve(texts, spans.len());
        let (reader, column) = (&mut self.reader, &mut self.column);
        vector::widest(Append { texts, spans, reader, column })
    }

    fn take(&mut self, _texts: &Texts) -> ArrayRef {
        let (values, nulls) = self.column.take::<T>();
        Arc::new(PrimitiveArray::<T>::new(values, nulls))
    }
}

/// See [`Grow::extend`].
struct Extend<'a, N, R> {
    bytes: &'a [u8],
    records: Alike<'a>,
    place: &'a Place,
    reader: &'a mut R,
    values: &'a mut Vec<N>,
}

impl<N: Copy + Default, R: Reader<N>> Loop for Extend<'_, N, R> {
    type Output = bool;

    #[inline(always)]
    fn run(mut self) -> bool {
        let Place { from, to, kind_of, .. } = *self.place;
        let mut texts = self.records.texts(from, to);
        let mut values = [N::default(); LANES];
        loop {
            let (places, count) = Places::next_of(&mut texts);
            if count == 0 {
                return true;
            }
            if self.reader.lanes(self.bytes, &places, kind_of.is_some(), &mut values) {
                if count == LANES {
                    // Of a known length, which is copied in place.
                    self.values.extend_from_slice(&values);
                } else {
                    self.values.extend_from_slice(&values[..count]);
                }
            } else if !self.read_each(&places, count) {
                return false;
            }
        }
    }
}

impl<N, R: Reader<N>> Extend<'_, N, R> {
    #[inline(never)]
    fn read_each(&mut self, places: &Places, count: usize) -> bool {
        for lane in 0..count {
            let (start, end) = (places.starts[lane] as usize, places.ends[lane] as usize);
            let kind = match self.place.kind_of {
                Some(kind_of) => kind_of(self.bytes, start, end),
                None => Some(kind::TEXT),
            };
            let Some(kind) = kind else { return false };
            let field = Field { kind, bytes: &self.bytes[start..], length: end - start };
            let Read::Value(value) = self.reader.one(field) else { return false };
            self.values.push(value);
        }
        true
    }
}

/// See [`Grow::append`].
struct Append<'a, N, R> {
    texts: &'a Texts<'a>,
    spans: &'a [Span],
    reader: &'a mut R,
    column: &'a mut Column<N>,
}

impl<N: ArrowNativeType, R: Reader<N>> Loop for Append<'_, N, R> {
    type Output = Result<(), usize>;

    #[inline(always)]
    fn run(mut self) -> Self::Output {
        let bytes = self.texts.source.as_str().as_bytes();
        let (blocks, rest) = self.spans.as_chunks::<LANES>();
        let mut values = [N::default(); LANES];
        for (index, block) in blocks.iter().enumerate() {
            let mut texts = block.iter().map(|span| (span.start, span.end));
            let (places, _) = Places::next(&mut texts);
            if are_plain(block) && self.reader.lanes(bytes, &places, false, &mut values) {
                self.column.values.extend_from_slice(&values);
            } else {
                self.read_each(index * LANES, block)?;
            }
        }
        self.read_each(self.spans.len() - rest.len(), rest)
    }
}

impl<N: ArrowNativeType, R: Reader<N>> Append<'_, N, R> {
    #[inline(never)]
    fn read_each(&mut self, first: usize, spans: &[Span]) -> Result<(), usize> {
        for (index, &span) in spans.iter().enumerate() {
            let read = |field: Field| self.reader.one(field);
            self.column.push(self.texts, span, read).map_err(|BadText| first + index)?;
        }
        Ok(())
    }
}

/// Whether all are texts or numbers in the chunk.
#[inline(always)]
fn are_plain(spans: &[Span; LANES]) -> bool {
    const PLAIN: u8 = kind::TEXT | kind::INTEGER | kind::FRACTION;
    spans.iter().fold(true, |all, span| all & (span.kind.wrapping_sub(1) < PLAIN))
}

/// DOUBLE.
struct Doubles;

impl Reader<f64> for Doubles {
    const CHECKS_NUMBERS: bool = true;

    #[inline(always)]
    fn lanes(
        &mut self,
        bytes: &[u8],
        places: &Places,
        of_json: bool,
        values: &mut [f64; LANES],
    ) -> bool {
        Numbers::read(bytes, places).is_some_and(|numbers| {
            numbers.doubles(values);
            !of_json || numbers.are_json()
        })
    }

    fn one(&mut self, field: Field) -> Read<f64> {
        column::double(field).into()
    }
}

/// BIGINT.
struct Integers;

impl Reader<i64> for Integers {
    const CHECKS_NUMBERS: bool = true;

    #[inline(always)]
    fn lanes(
        &mut self,
        bytes: &[u8],
        places: &Places,
        of_json: bool,
        values: &mut [i64; LANES],
    ) -> bool {
        Numbers::read(bytes, places)
            .is_some_and(|numbers| numbers.integers(values) && (!of_json || numbers.are_json()))
    }

    fn one(&mut self, field: Field) -> Read<i64> {
        column::integer(field).into()
    }
}

/// TIMESTAMP(3).
struct Timestamps {
    dialect: Dialect,
    last: LastDate,
}

impl Reader<i64> for Timestamps {
    const CHECKS_NUMBERS: bool = false;

    #[inline(always)]
    fn lanes(
        &mut self,
        bytes: &[u8],
        places: &Places,
        _of_json: bool,
        values: &mut [i64; LANES],
    ) -> bool {
        lanes::timestamps(bytes, places, &self.last, values)
    }

    fn one(&mut self, field: Field) -> Read<i64> {
        let (text, separator) = (field.text(), self.dialect.time_separator());
        if let Some(ms) = self.last.read(text, separator) {
            return Read::Value(ms);
        }
        column::parse_timestamp(self.dialect, separator, text).map(|(ms, _)| ms).into()
    }
}

#[cfg(test)]
mod tests {
    use arrow_buffer::Buffer;
    use proptest::prelude::*;

    use super::*;
    use crate::format::rows::At;
    use crate::sys::views::Utf8Buffer;

    /// Some texts, most of one shape.
    fn texts() -> impl Strategy<Value = Vec<String>> {
        let shapes = [
            "-?[0-9]{1,5}",
            "-?[0-9]{1,3}\\.[0-9]{2}",
            "2024-01-0[12] 0[0-9]:59:[0-5][0-9]\\.[0-9]{3}",
            "[a-zé]{0,20}",
        ];
        let odd = "[-+0-9.eEé ]{0,20}";
        (
            prop::sample::select(shapes.to_vec()),
            prop::option::of((any::<prop::sample::Index>(), odd)),
        )
            .prop_flat_map(|(shape, odd)| {
                prop::collection::vec(shape, 1..60).prop_map(move |mut texts| {
                    if let Some((at, odd)) = &odd {
                        let at = at.index(texts.len());
                        texts[at].clone_from(odd);
                    }
                    texts
                })
            })
    }

    proptest! {
        #[test]
        fn records_and_spans_give_the_same_column(texts in texts(), first in any::<prop::sample::Index>()) {
            let (mut bytes, mut marks, mut spans) = (String::new(), vec![u32::MAX], Vec::new());
            for text in &texts {
                let start = bytes.len() as u32;
                bytes += text;
                spans.push(Span { start, end: bytes.len() as u32, kind: kind::TEXT });
                marks.push(bytes.len() as u32);
                bytes.push('\n');
            }
            let source = Utf8Buffer::new(Buffer::from(bytes.as_bytes())).unwrap();
            let of = Texts { source: &source, side: "", dialect: Dialect::Csv, lenient: false };
            let (from, to) = (At { mark: 0, offset_bytes: 1 }, At { mark: 1, offset_bytes: 0 });
            let place = Place { column: 0, from, to, kind_of: None, kinds: Vec::new() };
            let records = Alike::by_record(&marks, 1, 0);
            let first = first.index(texts.len() + 1);
            for data_type in [DataType::STRING, DataType::BigInt, DataType::Double, DataType::Timestamp(3)] {
                let new = || column_of(data_type, Dialect::Csv).unwrap();
                let (mut grown, mut noted) = (new(), new());
                let appended = noted.append(&of, &spans);
                let (head, tail) = records.split_at(first);
                let extended = grown.extend(&of, head, &place) && grown.extend(&of, tail, &place);
                prop_assert_eq!(extended, appended.is_ok());
                let good = appended.map_or_else(|row| row, |()| texts.len());
                grown.truncate(good.min(first));
                prop_assert_eq!(grown.append(&of, &spans[good.min(first)..]).map_err(|row| row + good.min(first)), appended);
                prop_assert_eq!(&grown.take(&of), &noted.take(&of));
            }
        }
    }
}
