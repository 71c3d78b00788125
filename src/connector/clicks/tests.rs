//! Clicks: pinned rows, the table against the file, the distributions.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};

use super::*;
use crate::connector::Generator;

fn lines(settings: Clicks, rows: u64, format: FileFormat<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let mut seen = 0;
    generate(settings, rows, format, &mut out, &mut |done| seen = done).unwrap();
    assert_eq!(seen, rows);
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

/// The rows must never change: figures of different days compare only over equal data.
#[test]
fn the_first_rows_are_pinned() {
    let json = lines(Clicks::default(), 3, FileFormat::JsonLines);
    let csv = lines(Clicks::default(), 3, FileFormat::Csv);
    assert_eq!(csv, PINNED_CSV);
    for (json, csv) in json.iter().zip(&csv) {
        let fields: Vec<&str> = csv.split(',').collect();
        let [ts, page, device, action, amount] = fields[..] else { panic!("{csv}") };
        let expected = format!(
            r#"{{"ts":"{ts}","page":"{page}","device":"{device}","action":"{action}","amount":{amount}}}"#
        );
        assert_eq!(*json, expected);
    }
}

const PINNED_CSV: [&str; 3] = [
    "2024-01-01 00:00:00.293,page-0085,3a052f73cfc4c989,click,335.04",
    "2024-01-01 00:00:01.587,page-0079,26a2133aac1cba3a,click,982.50",
    "2024-01-01 00:00:03.147,page-0008,7ea42ae97ae8db56,view,339.28",
];

#[test]
fn table_and_file_hold_the_same_rows() {
    let settings =
        Clicks { seed: 42, late_ppm: 100_000, devices: 50, pages: 20_000, ..Clicks::default() };
    let lines = lines(settings, 10_000, FileFormat::Csv);
    let schema = FileFormat::schema();
    let generator = ClicksGenerator::new(settings, None, None, &schema).unwrap();
    let batch = generator.generate(3000, 7000, &[0, 1, 2, 3, 4]);
    let narrow = generator.generate(3000, 7000, &[2]);
    for (row, line) in lines[3000..].iter().enumerate() {
        let time_ms = batch.columns[0].as_primitive::<Int64Type>().value(row);
        let time = chrono::DateTime::from_timestamp_millis(time_ms)
            .unwrap()
            .format("%Y-%m-%d %H:%M:%S%.3f");
        let text = |column: usize| batch.columns[column].as_string_view().value(row).to_owned();
        let amount = batch.columns[4].as_primitive::<Float64Type>().value(row);
        assert_eq!(*line, format!("{time},{},{},{},{amount:.2}", text(1), text(2), text(3)));
        assert_eq!(narrow.columns[0].as_string_view().value(row), text(2));
    }
}

#[test]
fn an_encoded_file_decodes_to_the_table() {
    let settings = Clicks { seed: 5, ..Clicks::default() };
    let schema = FileFormat::schema();
    let options = [("format".to_owned(), "rkyv".to_owned())].into();
    let format = crate::format::resolve(&options, None, &schema).unwrap();
    let mut file = Vec::new();
    generate(settings, 30_000, FileFormat::Encoded(&*format), &mut file, &mut |_| {}).unwrap();
    let decoded = format.decoder(&schema, &[0, 1, 2, 3, 4]).decode(&file.into(), true);
    assert_eq!(decoded.failure, None);
    let table = ClicksGenerator::new(settings, None, None, &schema).unwrap().generate(
        0,
        30_000,
        &[0, 1, 2, 3, 4],
    );
    let mut start = 0;
    for batch in decoded.batches {
        let expected = table.slice(start, batch.rows);
        for (column, expected) in batch.columns.iter().zip(&expected.columns) {
            assert_eq!(column, expected);
        }
        start += batch.rows;
    }
    assert_eq!(start, 30_000);
}

#[test]
fn distributions_are_as_written() {
    let settings = Clicks { late_ppm: 10_000, devices: 1000, ..Clicks::default() };
    let rows = Rows::new(settings);
    let clicks: Vec<Click> = (0..200_000).map(|index| rows.row(index)).collect();
    let share = |keep: &dyn Fn(&Click) -> bool| {
        clicks.iter().filter(|click| keep(click)).count() as f64 / 200_000.0
    };
    assert!((share(&|click| click.action == 0) - 0.6).abs() < 0.005);
    assert!((share(&|click| click.action == 1) - 0.3).abs() < 0.005);
    // u < ln 10 / ln 1000 draws pages 0..=8: a third.
    assert!((share(&|click| click.page <= 8) - 1.0 / 3.0).abs() < 0.005);
    assert!(clicks.iter().all(|click| click.page <= 998 && click.cents < 100_000));
    let devices: std::collections::HashSet<u64> = clicks.iter().map(|click| click.device).collect();
    assert_eq!(devices.len(), 1000);
    let base = |index: usize| EPOCH_MS + index as i64 / 20;
    let late = clicks
        .iter()
        .enumerate()
        .filter(|(index, click)| click.time_ms <= base(*index) - 50_000)
        .count();
    assert!((1800..2200).contains(&late), "{late}");
    assert!(clicks.iter().enumerate().all(|(index, click)| {
        let behind = base(index) + 4000 - click.time_ms;
        (0..4000).contains(&behind) || (60_000..64_000).contains(&behind)
    }));
}

#[test]
fn page_draw_equals_the_power() {
    for pages in [1u32, 2, 3, 10, 1000, 50_000] {
        let table = PageDraw::new(pages);
        for index in 0..20_000 {
            let fraction = draw::draw(9, index);
            let naive = (f64::from(pages).powf(fraction as f64 / 2f64.powi(64)) - 1.0).floor();
            let page = f64::from(table.page(fraction));
            // The two may round a boundary apart.
            assert!((page - naive).abs() <= 1.0, "pages {pages}: {page} {naive}");
            assert!(page <= f64::from(pages.max(2) - 2));
        }
    }
}

#[test]
fn a_wrong_column_is_named() {
    let check = |name: &str, data_type| {
        let schema = crate::batch::Schema::new(vec![crate::batch::Field::new(name, data_type)]);
        ClicksGenerator::new(Clicks::default(), None, None, &schema).err().map(|(name, _)| name)
    };
    use crate::batch::DataType;
    assert_eq!(check("ts", DataType::Timestamp(3)), None);
    assert_eq!(check("amount", DataType::Decimal(10, 2)), None);
    assert_eq!(check("ts", DataType::BigInt).as_deref(), Some("ts"));
    assert_eq!(check("amount", DataType::Decimal(4, 2)).as_deref(), Some("amount"));
    assert_eq!(check("page", DataType::VarChar(5)).as_deref(), Some("page"));
    assert_eq!(check("user", DataType::STRING).as_deref(), Some("user"));
}

#[test]
fn bad_settings_are_refused() {
    assert!(Clicks { rate: 0, ..Clicks::default() }.check().is_err());
    assert!(Clicks { pages: PAGES_MAX + 1, ..Clicks::default() }.check().is_err());
    assert!(Clicks { devices: 0, ..Clicks::default() }.check().is_err());
    assert!(Clicks { late_ppm: 1_000_001, ..Clicks::default() }.check().is_err());
    assert!(Clicks::default().check().is_ok());
}

#[test]
fn hexadecimal() {
    for value in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
        assert_eq!(std::str::from_utf8(&text::hex(value)).unwrap(), format!("{value:016x}"));
    }
}
