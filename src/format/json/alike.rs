//! Records that are spelled as one before, found by their keys: a stretch of them at once.
//!
//! The marks of a stretch are noted in one go: the colons behind its keys, and its newlines. Where every record has the same text between
//! its values (a [`Separator`]: `","page":"`), each value lies between two marks of known number, and nothing else is looked at
//! but numbers, which must be some. What differs anywhere in a stretch is left to the ways that go line by line; so are records that have
//! blanks before their colons, and texts that begin with one.
//!
//! # Invariants
//!
//! 1. A separator holds one mark, and stands around the mark of its number. Its last mark is a record's newline.
//! 2. Separators that stand where they should do not overlap, and follow each other as in the first record: the first one stands directly
//!    behind a newline, and the mark of any other is at least so far behind the mark before as both have bytes between these.
//! 3. All quotes of a stretch's records are in separators, for they are as many. So values hold none.
//! 4. Nothing in a stretch is escaped: a search for marks ends at a backslash.

use super::scan;
use crate::format::lanes::{Numbers, Places, window};
use crate::format::rows::{Alike, At, KindOf, Place, kind};
use crate::format::short;
use crate::sys::scan::KeyScan;
use crate::sys::vector::{self, Loop};

/// Longer separators are left to the other ways.
const SEPARATOR_BYTES_MAX: usize = 256;

/// How records are spelled, and where their values are.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// How many marks a record has.
    stride: usize,
    /// How many quotes it has.
    quote_count: usize,
    /// How many bytes stand between a record and its newline: a carriage return or none.
    blank_bytes: u32,
    separators: Vec<Separator>,
    numbers: Vec<Number>,
    /// The values that fill columns.
    places: Vec<Place>,
}

/// The bytes before a value, or after the last one: sixteen at a time, and which bits of them count.
#[derive(Debug)]
struct Separator {
    start: At,
    end: At,
    pieces: Vec<Piece>,
    /// How far its mark is at least from the mark before, unless it is the first.
    gap_bytes: u32,
}

/// Sixteen bytes of a separator, and which of their bits count.
#[derive(Clone, Copy, Debug)]
struct Piece {
    at: At,
    bits: [u8; 16],
    mask: [u8; 16],
}

/// Where a number stands.
#[derive(Debug)]
struct Number {
    from: At,
    to: At,
    /// Which of the places it is, if it fills a column.
    place: Option<usize>,
}

impl Template {
    /// How the record in `line` is spelled, which ends with its newline. `column_of` tells which column a field's value
    /// fills. `None` if it is no object of numbers and texts without escapes, or does not fill `columns` columns once each.
    pub(super) fn of(
        line: &[u8],
        columns: usize,
        column_of: impl Fn(&[u8]) -> Option<usize>,
    ) -> Option<Self> {
        let mut template =
            Self { blank_bytes: u32::from(line.ends_with(b"\r\n")), ..Self::default() };
        let mut values = Vec::new();
        let (mut value_end, mut at) = (0, scan::skip_blanks(line, 0));
        if line.get(at) != Some(&b'{') || !line.ends_with(b"\n") {
            return None;
        }
        while line.get(at) != Some(&b'}') {
            let key = scan::read_key(line, scan::skip_blanks(line, at + 1)).ok()?;
            let value = scan::read_value(line, key.next).ok()?;
            if key.escaped || value.escaped {
                return None;
            }
            template.separate(&line[value_end..value.start])?;
            values.push((column_of(&line[key.start..key.end]), value.kind));
            value_end = value.end;
            at = scan::skip_blanks(line, value.next);
            if !matches!(line.get(at), Some(b',' | b'}')) {
                return None;
            }
        }
        template.separate(&line[value_end..])?;
        for (index, (column, kind)) in values.into_iter().enumerate() {
            template.place(index, column, kind)?;
        }
        (template.places.len() == columns).then_some(template)
    }

    /// Adds the next separator.
    fn separate(&mut self, text: &[u8]) -> Option<()> {
        let is_mark =
            |&at: &usize| text[at] == b'\n' || text[at] == b':' && text[..at].ends_with(b"\"");
        let mut marks = (0..text.len()).filter(is_mark);
        let (Some(at), None) = (marks.next(), marks.next()) else { return None };
        self.stride += 1;
        self.quote_count += count_quotes(text);
        let before = self.separators.last();
        let start = match before {
            None => At { mark: 0, offset_bytes: 1 },
            Some(_) => At { mark: self.stride, offset_bytes: (at as u32).wrapping_neg() },
        };
        let end = At { mark: self.stride, offset_bytes: (text.len() - at) as u32 };
        let gap_bytes = before.map_or(0, |before| before.end.offset_bytes + at as u32);
        let piece = |(index, text): (usize, &[u8])| {
            let (mut bits, mut mask) = ([0; 16], [0; 16]);
            bits[..text.len()].copy_from_slice(text);
            mask[..text.len()].fill(u8::MAX);
            let offset_bytes = start.offset_bytes.wrapping_add(16 * index as u32);
            Piece { at: At { offset_bytes, ..start }, bits, mask }
        };
        let pieces = text.chunks(16).enumerate().map(piece).collect();
        self.separators.push(Separator { start, end, pieces, gap_bytes });
        (text.len() <= SEPARATOR_BYTES_MAX).then_some(())
    }

    /// Adds value number `index`, which fills `column`.
    fn place(&mut self, index: usize, column: Option<usize>, kind: u8) -> Option<()> {
        let (from, to) = (self.separators[index].end, self.separators[index + 1].start);
        let is_number = match kind {
            kind::TEXT => false,
            kind::INTEGER | kind::FRACTION => true,
            _ => return None,
        };
        if is_number {
            self.numbers.push(Number { from, to, place: column.map(|_| self.places.len()) });
        }
        if let Some(column) = column {
            if self.places.iter().any(|place| place.column == column) {
                return None;
            }
            let kind_of: Option<KindOf> = if is_number { Some(number_kind) } else { None };
            self.places.push(Place { column, from, to, kind_of, kinds: Vec::new() });
        }
        Some(())
    }

    /// The records that `marks` belong to, if they are spelled like this; `keyed` says what else was found. After the last one sixteen bytes
    /// are left, which are compared with, or it is left out.
    pub(super) fn records<'a>(
        &self,
        bytes: &[u8],
        marks: &'a [u32],
        keyed: KeyScan,
    ) -> Option<Alike<'a>> {
        let mut count = (marks.len() - 1) / self.stride;
        while count > 0 && marks[count * self.stride] as usize + 16 > bytes.len() {
            count -= 1;
        }
        let marks = &marks[..=count * self.stride];
        let records = Alike { marks, stride: self.stride, blank_bytes: self.blank_bytes };
        let has_all = || {
            let behind = count_quotes(&bytes[records.end() + 1..keyed.end]);
            keyed.quote_count - behind == count * self.quote_count
        };
        (count > 0 && has_all()).then_some(records)
    }

    /// Where the values of `records` stand, if these are spelled like this indeed, but for numbers in columns that `checks` tells: these
    /// need be none.
    pub(super) fn fit(
        &mut self,
        bytes: &[u8],
        records: Alike,
        checks: impl Fn(usize) -> bool,
    ) -> Option<&[Place]> {
        if !self.separators.iter().all(|separator| separator.stands(bytes, records)) {
            return None;
        }
        for &Number { from, to, place } in &self.numbers {
            let mut kinds = match place.map(|place| &mut self.places[place]) {
                Some(place) if checks(place.column) => continue,
                Some(place) => std::mem::take(&mut place.kinds),
                None => Vec::new(),
            };
            kinds.clear();
            let texts = records.texts(from, to);
            let all = vector::widest(Kinds { bytes, texts, kinds: &mut kinds });
            if let Some(place) = place {
                self.places[place].kinds = kinds;
            }
            all?;
        }
        Some(&self.places)
    }

    /// Where the values of the records that did fit last stand.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }
}

impl Separator {
    /// Whether it stands in all `records`, and in none too near to the one before.
    fn stands(&self, bytes: &[u8], records: Alike) -> bool {
        let At { mark, .. } = self.end;
        let far_enough =
            mark == 1 || vector::widest(Apart { records, mark, gap_bytes: self.gap_bytes });
        far_enough
            && self.pieces.iter().all(|&piece| vector::widest(Stands { bytes, records, piece }))
    }
}

/// How many quotes there are.
fn count_quotes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'"').count()
}

/// Whether in all records the mark of this number is so far from the one before.
struct Apart<'a> {
    records: Alike<'a>,
    mark: usize,
    gap_bytes: u32,
}

impl Loop for Apart<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Self { records, mark, gap_bytes } = self;
        let (before, own) = (At { mark: mark - 1, offset_bytes: 0 }, At { mark, offset_bytes: 0 });
        records
            .texts(before, own)
            .fold(true, |all, (before, own)| all & (own - before >= gap_bytes))
    }
}

/// Whether a piece of a separator stands in all records.
struct Stands<'a> {
    bytes: &'a [u8],
    records: Alike<'a>,
    piece: Piece,
}

impl Loop for Stands<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self) -> bool {
        let Piece { at, bits, mask } = self.piece;
        let mut differences = [0; 16];
        for start in self.records.at(at) {
            let Some(found) = window::<16>(self.bytes, start) else { return false };
            for (index, difference) in differences.iter_mut().enumerate() {
                *difference |= (found[index] ^ bits[index]) & mask[index];
            }
        }
        differences == [0; 16]
    }
}

/// Appends the kinds of numbers, if all texts are some.
struct Kinds<'a, I> {
    bytes: &'a [u8],
    texts: I,
    kinds: &'a mut Vec<u8>,
}

impl<I: Iterator<Item = (u32, u32)>> Loop for Kinds<'_, I> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(mut self) -> Option<()> {
        loop {
            let (places, count) = Places::next(&mut self.texts);
            if count == 0 {
                return Some(());
            }
            let numbers = Numbers::read(self.bytes, &places);
            if let Some(numbers) = numbers.filter(Numbers::are_json) {
                self.kinds.extend_from_slice(&numbers.json_kinds()[..count]);
                continue;
            }
            for lane in 0..count {
                let (start, end) = (places.starts[lane] as usize, places.ends[lane] as usize);
                self.kinds.push(number_kind(self.bytes, start, end)?);
            }
        }
    }
}

/// The kind of the number at `start .. end`, if it is one.
#[inline(never)]
fn number_kind(bytes: &[u8], start: usize, end: usize) -> Option<u8> {
    let length = end.checked_sub(start).filter(|&length| length > 0)?;
    let Some(short) = short::number(&bytes[start..], length) else {
        let number = scan::read_number(bytes, start).ok()?;
        return (number.end == end).then_some(number.kind);
    };
    let first = start + usize::from(short.negative);
    let point = usize::from(short.scale > 0);
    let whole_digits = end - first - short.scale - point;
    // JSON writes no zeros before a number.
    let is_json = bytes[first] != b'0' || whole_digits == 1;
    is_json.then_some(if short.scale > 0 { kind::FRACTION } else { kind::INTEGER })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sys::scan::index_keys;

    proptest! {
        #[test]
        fn numbers_are_those_that_a_scan_finds(text in "-?0?[0-9]{0,10}(\\.[0-9]{0,10})?([eE][+-]?[0-9]{0,3})?", next in "[,} \n]") {
            let bytes = [text.as_bytes(), next.as_bytes()].concat();
            let scanned = scan::read_number(&bytes, 0).ok().filter(|number| number.end == text.len());
            prop_assert_eq!(number_kind(&bytes, 0, text.len()), scanned.map(|number| number.kind));
        }
    }

    proptest! {
        #[test]
        fn kinds_are_those_that_are_found_one_by_one(texts in prop::collection::vec("-?(0|[0-9]{1,5})(\\.[0-9]{1,2})?", 0..50), odd in "[x,]?") {
            let bytes = (texts.join(",") + &odd + ",       ").into_bytes();
            let (mut places, mut start) = (Vec::new(), 0);
            for text in &texts {
                places.push((start, start + text.len() as u32));
                start += text.len() as u32 + 1;
            }
            if let (Some(last), "x") = (places.last_mut(), odd.as_str()) {
                last.1 += 1;
            }
            let one_by_one: Option<Vec<u8>> = places.iter().map(|&(start, end)| number_kind(&bytes, start as usize, end as usize)).collect();
            let mut kinds = Vec::new();
            let all = Kinds { bytes: &bytes, texts: places.into_iter(), kinds: &mut kinds }.run();
            prop_assert_eq!(all.map(|()| kinds), one_by_one);
        }
    }

    #[test]
    fn a_template_knows_where_values_are() {
        let line = b"{\"a\":\"xy\", \"b\": 12,\"c\":\"\"}\r\n";
        let column = |key: &[u8]| (key != b"a").then(|| usize::from(key == b"c"));
        let template = Template::of(line, 2, column).unwrap();
        let text = [&line[..], b"{\"a\":\"\", \"b\": 3,\"c\":\"z\"}\r\n", &[b' '; 16]].concat();
        let mut marks = vec![u32::MAX];
        let keyed = index_keys(&text, 0, &mut marks);
        let records = template.records(&text, &marks, keyed).unwrap();
        let mut template = template;
        let places = template.fit(&text, records, |_| false).unwrap();
        let texts = places.iter().map(|place| {
            let ranges = records.texts(place.from, place.to);
            ranges.map(|(start, end)| &text[start as usize..end as usize]).collect::<Vec<_>>()
        });
        assert_eq!(texts.collect::<Vec<_>>(), [[&b"12"[..], b"3"], [b"", b"z"]]);
    }

    /// What two wrongs would hide from one who only counts: a quote that two separators share, and one in a text.
    #[test]
    fn quotes_that_make_up_for_others_are_found() {
        let line = b"{\"a\":\"x\",\"b\":\"yy\"}\n";
        let mut template = Template::of(line, 1, |key| (key == b"b").then_some(0)).unwrap();
        for (record, fits) in
            [("{\"a\":\"x\",\"b\":\"yy\"}\n", true), ("{\"a\":\",\"b\":\"y\"y\"}\n", false)]
        {
            let text = [record.as_bytes(), &[b' '; 16]].concat();
            let mut marks = vec![u32::MAX];
            let keyed = index_keys(&text, 0, &mut marks);
            let records = template.records(&text, &marks, keyed).expect("as many quotes and marks");
            assert_eq!(template.fit(&text, records, |_| false).is_some(), fits, "{record}");
        }
    }
}
