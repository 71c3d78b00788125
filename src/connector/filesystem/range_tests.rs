//! Every chunk size must give the file's records, each once, in order.

use proptest::prelude::*;

use super::*;
use crate::error::Class;

fn split(bytes: &[u8]) -> (tempfile::NamedTempFile, RangedSplit) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let split = RangedSplit { path: file.path().to_owned(), length_bytes: bytes.len() as u64 };
    (file, split)
}

fn quoted(escape: Option<u8>, trim: bool) -> Framing {
    Framing::Quoted(Quoting { quote: b'"', delimiter: b',', escape, trim })
}

/// The records, each with where it starts, found byte by byte from the file's start.
fn naive(bytes: &[u8], framing: Framing) -> Vec<(usize, Vec<u8>)> {
    let (delimiter, quoting) = match framing {
        Framing::Delimited(delimiter) => (delimiter, None),
        Framing::Quoted(quoting) => (b'\n', Some(quoting)),
        Framing::Blocks => unreachable!(),
    };
    let mut records = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut field_start = true;
    while at < bytes.len() {
        let byte = bytes[at];
        let is = |byte: u8, other: fn(Quoting) -> Option<u8>| quoting.and_then(other) == Some(byte);
        at += 1;
        if is(byte, |quoting| quoting.escape) {
            (at, field_start) = (at + 1, false);
        } else if field_start && is(byte, |quoting| Some(quoting.quote)) {
            // To the closing quote; two are one that does not close.
            while at < bytes.len() {
                if is(bytes[at], |quoting| quoting.escape) {
                    at += 2;
                } else if bytes[at] != b'"' {
                    at += 1;
                } else if bytes.get(at + 1) == Some(&b'"') {
                    at += 2;
                } else {
                    at += 1;
                    break;
                }
            }
            field_start = false;
        } else if byte == delimiter {
            records.push((start, bytes[start..at].to_vec()));
            (start, field_start) = (at, true);
        } else {
            let blank = byte == b' ' && quoting.is_some_and(|quoting| quoting.trim);
            field_start = is(byte, |quoting| Some(quoting.delimiter))
                || byte == b'\r'
                || (blank && field_start);
        }
    }
    if start < bytes.len() {
        records.push((start, bytes[start..].to_vec()));
    }
    records
}

/// Every chunk must hold exactly the records that start in its range, however often it is cut.
fn check(bytes: &[u8], framing: Framing, chunk_bytes: u64) {
    let (_file, split) = split(bytes);
    let reader = RangeReader::open(&split, framing, chunk_bytes).unwrap();
    let expected = naive(bytes, framing);
    let mut in_quotes = false;
    for chunk in 0..reader.chunk_count() {
        let bounds = chunk * chunk_bytes..(chunk + 1) * chunk_bytes;
        let mut range = reader.read_range(chunk).unwrap();
        let wrong = reader.cut(&mut range, !in_quotes).unwrap();
        let right = reader.cut(&mut range, in_quotes).unwrap();
        drop(wrong);
        let records: Vec<u8> = expected
            .iter()
            .filter(|(start, _)| bounds.contains(&(*start as u64)))
            .flat_map(|(_, r)| r.clone())
            .collect();
        assert_eq!(right.records.as_slice(), records, "chunk {chunk} of {chunk_bytes} bytes");
        let offset = right.offset_bytes as usize;
        assert_eq!(&bytes[offset..offset + records.len()], records);
        assert!(right.oversized.is_none());
        in_quotes = range.ends_in_quotes(in_quotes);
    }
    assert_eq!(reader.read_chunk(reader.chunk_count(), false).unwrap().records.len(), 0);
}

/// Fields as they should be and as they should not; no two quotes meet inside of an unquoted one.
const FIELDS: [&str; 14] = [
    "a",
    "",
    "\"\"",
    "\"x\ny\"",
    "\"p\"\"q,\"",
    "5\" pipe",
    "b\"",
    " \"z\n\"",
    "\\\"",
    "\"\\\"\n\"",
    "\\,\"",
    "\"\\\\\"",
    "c\\\\",
    "\"\"\"\n\"\"\"",
];

proptest! {
    #[test]
    fn chunks_hold_the_records_that_start_in_them(
        fields in prop::collection::vec((0..FIELDS.len(), prop::sample::select(vec![",", ",", "\n", "\r\n"])), 0..40),
        chunk_bytes in 1u64..64,
    ) {
        let lines = fields.iter().map(|&(field, end)| format!("{}{end}", FIELDS[field]));
        let text: String = lines.clone().collect();
        let plain: String = lines.filter(|line| !line.contains('\\')).collect();
        check(text.as_bytes(), Framing::Delimited(b'\n'), chunk_bytes);
        for trim in [false, true] {
            check(text.as_bytes(), quoted(Some(b'\\'), trim), chunk_bytes);
            check(plain.as_bytes(), quoted(None, trim), chunk_bytes);
        }
    }

    #[test]
    fn chunks_of_any_bytes_fit_together(
        bytes in prop::collection::vec(prop::sample::select(&b"\n\n\"\",, a\\\\\r"[..]), 0..200),
        chunk_bytes in 1u64..64,
    ) {
        let (_file, split) = split(&bytes);
        for framing in [quoted(None, false), quoted(None, true), quoted(Some(b'\\'), true), quoted(Some(b'"'), false)] {
            let reader = RangeReader::open(&split, framing, chunk_bytes).unwrap();
            let (mut all, mut in_quotes) = (Vec::new(), false);
            for chunk in 0..reader.chunk_count() {
                let mut range = reader.read_range(chunk).unwrap();
                all.extend_from_slice(&reader.cut(&mut range, in_quotes).unwrap().records);
                in_quotes = range.ends_in_quotes(in_quotes);
            }
            assert_eq!(all, bytes);
        }
    }
}

#[test]
fn records_longer_than_chunks_and_what_is_read_at_once() {
    let mut bytes = vec![b'a'; 20_000];
    bytes.extend_from_slice(b"\nb\n1,\"");
    bytes.extend(vec![b'\n'; 15_000]);
    bytes.extend_from_slice(b"\"\nlast");
    for chunk_bytes in [1000, 4096, 17_000, 1 << 20] {
        check(&bytes, Framing::Delimited(b'\n'), chunk_bytes);
        check(&bytes, quoted(None, false), chunk_bytes);
    }
}

#[test]
fn an_endless_record_is_reported_once_and_passed_over() {
    let mut bytes = b"one\ntwo\n".to_vec();
    bytes.extend(vec![b'x'; 60_000]);
    bytes.extend_from_slice(b"\nthree\n");
    let (_file, split) = split(&bytes);
    for framing in [Framing::Delimited(b'\n'), quoted(None, false)] {
        let mut reader = RangeReader::open(&split, framing, 1000).unwrap();
        reader.record_bytes_max = 10_000;
        let chunks: Vec<ChunkBytes> = (0..reader.chunk_count())
            .map(|chunk| reader.read_chunk(chunk, false).unwrap())
            .collect();
        assert_eq!(chunks[0].records.as_slice(), b"one\ntwo\n");
        let bad = chunks[0].oversized.as_ref().unwrap();
        assert_eq!((bad.line_index, bad.record.len()), (2, BadRecord::BYTES_MAX));
        assert!(bad.reason.contains("10000"), "{}", bad.reason);
        assert!(chunks[1..].iter().all(|chunk| chunk.oversized.is_none()));
        let rest: Vec<u8> = chunks[1..].iter().flat_map(|chunk| chunk.records.to_vec()).collect();
        assert_eq!(rest, b"three\n");
    }
}

/// A file of blocks: `sizes` are the lengths of its rows' texts.
pub(crate) fn blocks(sizes: &[usize]) -> Vec<u8> {
    use arrow_array::StringViewArray;

    use crate::batch::{Batch, DataType, Field, Schema};
    let schema = Schema::new(vec![Field::new("text", DataType::STRING)]);
    let options = [("format".to_owned(), "rkyv".to_owned())].into();
    let mut encoder = crate::format::resolve(&options, None, &schema).unwrap().encoder(&schema);
    let mut bytes = Vec::new();
    encoder.header(&mut bytes);
    for &size in sizes {
        let column = StringViewArray::from_iter_values(["x".repeat(size)]);
        encoder.encode(&Batch::new(vec![std::sync::Arc::new(column)], 1), &mut bytes);
    }
    encoder.finish(&mut bytes);
    bytes
}

#[test]
fn blocks_belong_to_the_range_they_start_in() {
    let bytes = blocks(&[10, 700_000, 2_500_000, 600_000, 20, 3_000_000]);
    assert!(bytes.len() > 7 << 20);
    let (_file, split) = split(&bytes);
    for chunk_bytes in [BLOCK_BYTES, BLOCK_BYTES * 2, BLOCK_BYTES * 3, 900_000, 300_001] {
        let reader = RangeReader::open(&split, Framing::Blocks, chunk_bytes).unwrap();
        let mut all = Vec::new();
        for chunk in 0..reader.chunk_count() {
            let chunk = reader.read_chunk(chunk, false).unwrap();
            if !chunk.records.is_empty() {
                assert_eq!(
                    (chunk.offset_bytes % BLOCK_BYTES, chunk.offset_bytes),
                    (0, all.len() as u64)
                );
                assert_eq!(block_part(&chunk.records), 0);
            }
            all.extend_from_slice(&chunk.records);
        }
        assert!(all == bytes, "chunks of {chunk_bytes} bytes");
    }
}

#[test]
fn damaged_blocks_are_handed_on() {
    let bytes = vec![7; BLOCK_BYTES as usize * 2 + 77];
    let (_file, split) = split(&bytes);
    let reader = RangeReader::open(&split, Framing::Blocks, BLOCK_BYTES).unwrap();
    let lengths: Vec<usize> =
        (0..3).map(|chunk| reader.read_chunk(chunk, false).unwrap().records.len()).collect();
    assert_eq!(lengths, [BLOCK_BYTES as usize, BLOCK_BYTES as usize, 77]);
}

#[test]
fn a_file_that_shrank_is_an_error_that_names_it() {
    let (file, mut split) = split(b"a\nb\n");
    split.length_bytes = 10;
    let reader = RangeReader::open(&split, Framing::Delimited(b'\n'), 100).unwrap();
    let error = reader.read_chunk(0, false).unwrap_err();
    assert_eq!(error.class(), Class::External);
    let text = error.to_string();
    assert!(text.contains(file.path().to_str().unwrap()) && text.contains("10 bytes"), "{text}");
}

#[test]
fn bytes_written_after_the_listing_are_not_read() {
    let (file, split) = split(b"a\nb\n");
    std::fs::write(file.path(), b"a\nb\nc\n").unwrap();
    let reader = RangeReader::open(&split, Framing::Delimited(b'\n'), 3).unwrap();
    assert_eq!(reader.chunk_count(), 2);
    let all: Vec<u8> = (0..2)
        .flat_map(|chunk| reader.read_chunk(chunk, false).unwrap().records.to_vec())
        .collect();
    assert_eq!(all, b"a\nb\n");
}
