//! Records that are spelled as one before, found by what stands between their values: a stretch of them at once.
//!
//! Where every record has the same text between its values (`","page":"`), these texts are compared and values searched for their ends
//! ([`Route`]), and nothing else is looked at but numbers, which must be some. The first record of a stretch that differs, and what comes after
//! it, is left to the ways that go line by line.
//!
//! # Invariants
//!
//! 1. Among the marks of a record are where its values end. The last one is its newline.
//! 2. A text ends at the first quote, and holds no backslash: a value that ends at one is not followed by what should follow it.
//! 3. A number ends at the first byte of what follows it in the first record. What it is then is looked at.

use super::scan;
use crate::format::lanes::{Numbers, Places};
use crate::format::rows::{Alike, At, BetweenMarks, KindOf, Place, kind};
use crate::format::short;
use crate::sys::scan::Route;
use crate::sys::vector::{self, Loop};

/// Longer separators are left to the other ways.
const SEPARATOR_BYTES_MAX: usize = 256;

/// How records are spelled, and where their values are.
#[derive(Debug, Default)]
pub(super) struct Template {
    route: Route,
    /// How many bytes stand between a record and its newline: a carriage return or none.
    blank_bytes: u32,
    numbers: Vec<Number>,
    /// The values that fill columns.
    places: Vec<Place>,
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
            at = scan::skip_blanks(line, value.next);
            let text = &line[value_end..value.start];
            if !matches!(line.get(at), Some(b',' | b'}')) || text.len() > SEPARATOR_BYTES_MAX {
                return None;
            }
            let before = template.route.mark_count();
            template.route.past(text);
            template.route.to_end_of_value(match value.kind {
                kind::TEXT => [b'"', b'\\'],
                _ => [*line.get(value.end)?; 2],
            });
            // The first text follows a newline, the others a value.
            let offset_bytes = (text.len() + usize::from(before == 0)) as u32;
            let from = At { mark: before, offset_bytes };
            let to = At { mark: template.route.mark_count(), offset_bytes: 0 };
            template.place(column_of(&line[key.start..key.end]), value.kind, from, to)?;
            value_end = value.end;
        }
        let text = &line[value_end..];
        template.route.to_newline(text);
        let suits = template.places.len() == columns && text.len() <= SEPARATOR_BYTES_MAX;
        suits.then_some(template)
    }

    /// Adds the value between two places, which fills `column`.
    fn place(&mut self, column: Option<usize>, kind: u8, from: At, to: At) -> Option<()> {
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

    /// The records from `start` on that are spelled like this and begin before `until`, at least one; `marks` is overwritten. The last one
    /// of `bytes` may be left out.
    pub(super) fn records<'a>(
        &mut self,
        bytes: &[u8],
        start: usize,
        until: usize,
        marks: &'a mut Vec<u32>,
    ) -> Option<Alike<'a>> {
        let count = self.route.records(bytes, start, until, marks);
        (count > 0).then(|| Alike::by_mark(marks, self.route.mark_count(), self.blank_bytes))
    }

    /// Where the values of `records` stand, if their numbers are some, but for those in columns that `checks` tells.
    pub(super) fn fit(
        &mut self,
        bytes: &[u8],
        records: Alike,
        checks: impl Fn(usize) -> bool,
    ) -> Option<&[Place]> {
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

/// Appends the kinds of numbers, if all texts are some.
struct Kinds<'a> {
    bytes: &'a [u8],
    texts: BetweenMarks<'a>,
    kinds: &'a mut Vec<u8>,
}

impl Loop for Kinds<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(mut self) -> Option<()> {
        loop {
            let (places, count) = Places::next_of(&mut self.texts);
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
            let mut marks = vec![u32::MAX];
            for text in &texts {
                marks.push(marks[marks.len() - 1].wrapping_add(text.len() as u32 + 1));
            }
            if let (Some(last), "x") = (marks[1..].last_mut(), odd.as_str()) {
                *last += 1;
            }
            // A newline before the first text, and a comma behind each.
            let texts = Alike::by_record(&marks, 1, 0).texts(At { mark: 0, offset_bytes: 1 }, At { mark: 1, offset_bytes: 0 });
            let one_by_one: Option<Vec<u8>> = texts.clone().map(|(start, end)| number_kind(&bytes, start as usize, end as usize)).collect();
            let mut kinds = Vec::new();
            let all = Kinds { bytes: &bytes, texts, kinds: &mut kinds }.run();
            prop_assert_eq!(all.map(|()| kinds), one_by_one);
        }
    }

    #[test]
    fn a_template_knows_where_values_are() {
        let line = b"{\"a\":\"xy\", \"b\": 12,\"c\":\"\"}\r\n";
        let column = |key: &[u8]| (key != b"a").then(|| usize::from(key == b"c"));
        let mut template = Template::of(line, 2, column).unwrap();
        let text = [&line[..], b"{\"a\":\"\", \"b\": 3,\"c\":\"z\"}\r\n", &[b' '; 32]].concat();
        let mut marks = Vec::new();
        let records = template.records(&text, 0, text.len(), &mut marks).unwrap();
        let places = template.fit(&text, records, |_| false).unwrap();
        let texts = places.iter().map(|place| {
            let ranges = records.texts(place.from, place.to);
            ranges.map(|(start, end)| &text[start as usize..end as usize]).collect::<Vec<_>>()
        });
        assert_eq!(texts.collect::<Vec<_>>(), [[&b"12"[..], b"3"], [b"", b"z"]]);
    }

    #[test]
    fn what_is_no_object_of_texts_and_numbers_is_no_template() {
        let of = |line: &str| Template::of(line.as_bytes(), 1, |_| Some(0)).is_some();
        assert!(of("{\"a\":1}\n") && of("{\"a\":\"x\"}\n"));
        for line in [
            "{\"a\":1:}\n",
            "{\"a\":\"x\":}\n",
            "{\"a\":1*,\"b\":2}\n",
            "{\"a\":null}\n",
            "{\"a\":1}",
        ] {
            assert!(!of(line), "{line:?}");
        }
        let blanks = " ".repeat(SEPARATOR_BYTES_MAX);
        assert!(!of(&format!("{{\"a\":1{blanks}}}\n")) && !of(&format!("{{{blanks}\"a\":1}}\n")));
    }

    /// A value ends at the first quote, whatever follows it.
    #[test]
    fn quotes_that_make_up_for_others_are_found() {
        let line = b"{\"a\":\"x\",\"b\":\"yy\"}\n";
        let mut template = Template::of(line, 1, |key| (key == b"b").then_some(0)).unwrap();
        for (record, fits) in
            [("{\"a\":\"x\",\"b\":\"yy\"}\n", true), ("{\"a\":\",\"b\":\"y\"y\"}\n", false)]
        {
            let text = [record.as_bytes(), &[b' '; 32]].concat();
            let mut marks = Vec::new();
            let records = template.records(&text, 0, text.len(), &mut marks);
            assert_eq!(records.is_some(), fits, "{record}");
        }
    }
}
