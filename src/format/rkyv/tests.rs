//! Blocks written and read back, whole, in parts and damaged.

use arrow_array::{Decimal128Array, Int64Array};
use proptest::prelude::*;

use super::*;

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("k", DataType::STRING),
        Field::new("v", DataType::BigInt),
        Field::new("d", DataType::Decimal(10, 2)),
    ])
}

fn batch(texts: Vec<Option<String>>) -> Batch {
    let rows = texts.len();
    let numbers: Int64Array = (0..rows as i64).map(|row| (row % 3 > 0).then_some(row)).collect();
    let decimals: Decimal128Array = (0..rows as i128).map(Some).collect();
    let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
    Batch::new(
        vec![Arc::new(StringViewArray::from_iter(texts)), Arc::new(numbers), Arc::new(decimals)],
        rows,
    )
}

fn written(batches: &[Batch]) -> Vec<u8> {
    let mut encoder = Rkyv { lenient: false }.encoder(&schema());
    let mut out = Vec::new();
    encoder.header(&mut out);
    batches.iter().for_each(|batch| encoder.encode(batch, &mut out));
    encoder.finish(&mut out);
    out
}

fn read(bytes: &[u8], schema: &Schema, lenient: bool) -> Decoded {
    let all: Vec<usize> = (0..schema.column_count()).collect();
    Rkyv { lenient }.decoder(schema, &all).decode(&Buffer::from(bytes), true)
}

fn rows_of(batches: &[Batch]) -> Vec<String> {
    let mut out = Vec::new();
    let mut encoder = super::super::json::Json::new(Default::default()).encoder(&schema());
    batches.iter().for_each(|batch| encoder.encode(batch, &mut out));
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn rows_come_back_over_several_blocks() {
    let text = |row: usize| {
        (!row.is_multiple_of(7)).then(|| format!("text number {row}, {}", "x".repeat(row % 50)))
    };
    let batches: Vec<Batch> =
        (0..10).map(|index| batch((0..4096).map(|row| text(row + index)).collect())).collect();
    let bytes = written(&batches);
    assert!(bytes.len() > 2 * SLOT_BYTES && !bytes.len().is_multiple_of(SLOT_BYTES));
    let decoded = read(&bytes, &schema(), false);
    assert_eq!(decoded.failure, None);
    assert_eq!(rows_of(&decoded.batches), rows_of(&batches));
    assert!(decoded.batches.iter().all(|batch| batch.rows <= BATCH_ROWS_MAX));
    // Any run of whole slots can be read alone.
    let parts: usize = bytes
        .chunks(SLOT_BYTES)
        .map(|slot| rows_of(&read(slot, &schema(), false).batches).len())
        .sum();
    assert_eq!(parts, 40_960);
}

#[test]
fn a_row_larger_than_a_slot_takes_several() {
    let batches = [batch(vec![Some("a".into()), Some("b".repeat(3 << 20)), Some("c".into())])];
    let bytes = written(&batches);
    let decoded = read(&bytes, &schema(), false);
    assert_eq!(decoded.failure, None);
    assert_eq!(decoded.line_count, 3);
    assert_eq!(rows_of(&decoded.batches), rows_of(&batches));
}

#[test]
fn what_differs_is_named() {
    let bytes = written(&[batch(vec![None, Some("x".into())])]);
    let other = Schema::new(vec![
        schema().fields[0].clone(),
        Field::new("v", DataType::Int),
        schema().fields[2].clone(),
    ]);
    assert_eq!(
        read(&bytes, &other, false).failure.unwrap().reason,
        "the file's column 2 is `v BIGINT`, the table's `v INT`"
    );
    let reason = |bytes: &[u8]| read(bytes, &schema(), false).failure.unwrap().reason;
    assert!(reason(b"{\"a\":1}\n").contains("64 bytes"));
    assert!(reason(&[b'x'; 100]).contains("no block begins here"));
    assert!(reason(&bytes[..bytes.len() - 1]).contains("cut off"));
    let mut damaged = bytes.clone();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&damaged), "a block is damaged: its checksum differs");
    damaged[20] ^= 1;
    assert!(reason(&damaged).contains("header is damaged"));
    let skipped = read(&damaged, &schema(), true);
    assert_eq!((skipped.skipped_count, skipped.failure), (1, None));
}

#[test]
fn kinds_are_a_first_column() {
    let format = Rkyv { lenient: false };
    let mut encoder = format.encoder_with_kinds(&schema());
    let mut out = Vec::new();
    let kinds = [crate::batch::RowKind::UpdateBefore, crate::batch::RowKind::UpdateAfter];
    encoder.encode(&batch(vec![None, None]).with_kinds(kinds.into()), &mut out);
    encoder.finish(&mut out);
    let fields = std::iter::once(Field::new("op", DataType::STRING))
        .chain(schema().fields.iter().cloned())
        .collect();
    let decoded = read(&out, &Schema::new(fields), false);
    assert_eq!(
        decoded.batches[0].columns[0].as_string_view().iter().flatten().collect::<Vec<_>>(),
        ["-U", "+U"]
    );
}

proptest! {
    #[test]
    fn archives_that_lie_are_refused(flips in prop::collection::vec((0usize..2000, any::<u8>()), 1..6)) {
        // A payload with right checksums but wrong contents: what only validation can find.
        let payload = block::write(&[batch(vec![Some("täxt".repeat(9)), None, Some("x".into())])], &schema());
        let mut payload = payload.to_vec();
        for (at, value) in flips {
            let at = at % payload.len();
            payload[at] = value;
        }
        let mut out = Vec::new();
        header::write_block(&payload, 3, block::schema_hash(&schema()), &mut out);
        let decoded = read(&out, &schema(), false);
        prop_assert!(decoded.failure.is_some() || decoded.batches.iter().map(|batch| batch.rows).sum::<usize>() == 3);
        rows_of(&decoded.batches);
    }

    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        let decoded = read(&bytes, &schema(), true);
        prop_assert_eq!(decoded.batches.len(), 0);
    }
}
