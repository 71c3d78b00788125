//! Generated columns: bounds, NULLs, sequences, independence of how rows are cut, and what is refused.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int8Type, Int32Type, Int64Type};

use super::*;
use crate::batch::{DataType, Field};

const TYPES: [DataType; 18] = [
    DataType::Boolean,
    DataType::TinyInt,
    DataType::SmallInt,
    DataType::Int,
    DataType::BigInt,
    DataType::Float,
    DataType::Double,
    DataType::Decimal(38, 10),
    DataType::Char(3),
    DataType::VarChar(7),
    DataType::STRING,
    DataType::Binary(3),
    DataType::BYTES,
    DataType::Date,
    DataType::Time(0),
    DataType::Timestamp(3),
    DataType::Timestamp(9),
    DataType::TimestampLtz(6),
];

fn generator(
    fields: Vec<Field>,
    pairs: &[(&str, &str)],
) -> Result<Arc<dyn Generator>, OptionError> {
    let mut options: Options =
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    options.insert("connector".into(), "datagen".into());
    GeneratorSource::resolve(&options, &Schema::new(fields)).map(|source| source.generator)
}

fn one(data_type: DataType, pairs: &[(&str, &str)]) -> Result<Arc<dyn Generator>, OptionError> {
    generator(vec![Field::new("f", data_type)], pairs)
}

#[test]
fn every_type_is_made_alike_however_rows_are_cut() {
    let fields: Vec<Field> = TYPES
        .iter()
        .enumerate()
        .map(|(index, &data_type)| Field::new(format!("f{index}"), data_type))
        .collect();
    let nulls: Vec<(String, String)> = (0..TYPES.len())
        .map(|index| (format!("fields.f{index}.null-rate"), "0.25".into()))
        .collect();
    let pairs: Vec<(&str, &str)> =
        nulls.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let generator = generator(fields, &pairs).unwrap();
    assert_eq!((generator.row_count(), generator.rows_per_second()), (None, Some(10_000)));
    let projection: Vec<usize> = (0..TYPES.len()).collect();
    let whole = generator.generate(100, 1000, &projection);
    let parts =
        [generator.generate(100, 333, &projection), generator.generate(433, 667, &projection)];
    for (index, data_type) in TYPES.iter().enumerate() {
        let column = &whole.columns[index];
        assert_eq!(*column.data_type(), data_type.arrow(), "{data_type}");
        assert!(
            (150..350).contains(&column.null_count()),
            "{data_type}: {} NULLs",
            column.null_count()
        );
        assert_eq!(column.slice(0, 333).as_ref(), parts[0].columns[index].as_ref(), "{data_type}");
        assert_eq!(
            column.slice(333, 667).as_ref(),
            parts[1].columns[index].as_ref(),
            "{data_type}"
        );
    }
    assert_eq!(generator.generate(5, 9, &[]).rows, 9);
}

#[test]
fn bounds_hold_and_are_reached() {
    let batch = one(DataType::TinyInt, &[("fields.f.min", "-2"), ("fields.f.max", "2")])
        .unwrap()
        .generate(0, 1000, &[0]);
    let values = batch.columns[0].as_primitive::<Int8Type>().values();
    assert_eq!((values.iter().min(), values.iter().max()), (Some(&-2), Some(&2)));
    let decimal = DataType::Decimal(6, 2);
    let batch = one(decimal, &[("fields.f.min", "-0.5"), ("fields.f.max", "0.25")])
        .unwrap()
        .generate(0, 1000, &[0]);
    let values = batch.columns[0].as_primitive::<Decimal128Type>().values();
    assert_eq!((values.iter().min(), values.iter().max()), (Some(&-50), Some(&25)));
    let batch = one(DataType::BigInt, &[]).unwrap().generate(0, 1000, &[0]);
    let values = batch.columns[0].as_primitive::<Int64Type>().values();
    assert!(
        values.iter().min() < Some(&(i64::MIN / 2)) && values.iter().max() > Some(&(i64::MAX / 2))
    );
}

#[test]
fn sequences_end_the_table() {
    let fields = vec![
        Field::new("a", DataType::Int),
        Field::new("b", DataType::STRING),
        Field::new("c", DataType::Decimal(5, 2)),
    ];
    let mut options = vec![];
    let keys: Vec<[String; 3]> = ["a", "b", "c"]
        .iter()
        .map(|name| ["kind", "start", "end"].map(|option| format!("fields.{name}.{option}")))
        .collect();
    for (keys, end) in keys.iter().zip(["20", "15", "999"]) {
        options.extend([
            (keys[0].as_str(), "sequence"),
            (keys[1].as_str(), "11"),
            (keys[2].as_str(), end),
        ]);
    }
    let generator = generator(fields, &options).unwrap();
    assert_eq!(generator.row_count(), Some(5));
    let batch = generator.generate(2, 3, &[0, 1, 2]);
    assert_eq!(batch.columns[0].as_primitive::<Int32Type>().values(), &[13, 14, 15]);
    assert_eq!(
        batch.columns[1].as_string_view().iter().map(Option::unwrap).collect::<Vec<_>>(),
        ["13", "14", "15"]
    );
    assert_eq!(batch.columns[2].as_primitive::<Decimal128Type>().values(), &[1300, 1400, 1500]);
}

#[test]
fn times_advance_with_the_rate_and_lie_back() {
    let past = [
        ("rows-per-second", "4"),
        ("fields.f.max-past", "1 s"),
        ("timestamp-origin", "1970-01-01 00:00:10"),
    ];
    let batch = one(DataType::Timestamp(6), &past).unwrap().generate(0, 1000, &[0]);
    let values = batch.columns[0].as_primitive::<Int64Type>().values();
    for (row, &value) in values.iter().enumerate() {
        let latest = 10_000_000 + row as i64 * 250_000;
        assert!((latest - 1_000_000..=latest).contains(&value), "row {row}: {value}");
    }
}

#[test]
fn lengths() {
    let lengths = |data_type, pairs: &[(&str, &str)]| {
        let batch = one(data_type, pairs).unwrap().generate(0, 500, &[0]);
        let column = batch.columns[0].as_string_view();
        let lengths: Vec<usize> = column.iter().map(|text| text.unwrap().len()).collect();
        (*lengths.iter().min().unwrap(), *lengths.iter().max().unwrap())
    };
    assert_eq!(lengths(DataType::STRING, &[]), (100, 100));
    assert_eq!(lengths(DataType::VarChar(7), &[]), (7, 7));
    assert_eq!(
        lengths(DataType::STRING, &[("fields.f.length", "20"), ("fields.f.var-len", "true")]),
        (1, 20)
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |data_type, pairs: &[(&str, &str)]| {
        one(data_type, pairs).err().map(|error| (error.key, error.hint))
    };
    let key = |data_type, pairs: &[(&str, &str)]| refused(data_type, pairs).map(|(key, _)| key);
    assert_eq!(key(DataType::TinyInt, &[("fields.f.max", "200")]).as_deref(), Some("fields.f.max"));
    assert_eq!(
        key(DataType::Int, &[("fields.f.min", "3"), ("fields.f.max", "2")]).as_deref(),
        Some("fields.f.min")
    );
    assert_eq!(
        key(DataType::Int, &[("fields.f.kind", "sequence")]).as_deref(),
        Some("fields.f.start")
    );
    assert_eq!(key(DataType::Boolean, &[("fields.f.min", "1")]).as_deref(), Some("fields.f.min"));
    assert_eq!(
        key(DataType::Char(3), &[("fields.f.length", "4")]).as_deref(),
        Some("fields.f.length")
    );
    assert_eq!(
        key(DataType::Int, &[("fields.f.null-rate", "1.5")]).as_deref(),
        Some("fields.f.null-rate")
    );
    assert_eq!(key(DataType::Int, &[("rows-per-second", "0")]).as_deref(), Some("rows-per-second"));
    assert_eq!(
        key(DataType::Decimal(3, 1), &[("fields.f.max", "100")]).as_deref(),
        Some("fields.f.max")
    );
    let (_, hint) = refused(DataType::Int, &[("fields.g.max", "2")]).unwrap();
    assert_eq!(hint.as_deref(), Some("did you mean 'fields.f.max'?"));
    let (_, hint) = refused(DataType::Int, &[("fields.f.maxx", "2")]).unwrap();
    assert_eq!(hint.as_deref(), Some("did you mean 'fields.f.max'?"));
    let (_, hint) = refused(DataType::Int, &[("rows-per-secnd", "2")]).unwrap();
    assert_eq!(hint.as_deref(), Some("did you mean 'rows-per-second'?"));
    let not_null = generator(
        vec![Field::new("f", DataType::Int).not_null()],
        &[("fields.f.null-rate", "0.1")],
    );
    assert!(not_null.is_err());
}

#[test]
fn clicks() {
    let fields =
        || vec![Field::new("page", DataType::STRING), Field::new("ts", DataType::Timestamp(3))];
    let made =
        generator(fields(), &[("profile", "clicks"), ("number-of-rows", "10"), ("seed", "3")])
            .unwrap();
    assert_eq!((made.row_count(), made.rows_per_second()), (Some(10), None));
    assert!(
        made.generate(0, 10, &[0, 1]).columns[0].as_string_view().value(0).starts_with("page-")
    );
    let error = generator(fields(), &[("profile", "clicks"), ("pages", "0")]).unwrap_err();
    assert_eq!(error.key, "pages");
    let error =
        generator(fields(), &[("profile", "clicks"), ("fields.page.kind", "random")]).unwrap_err();
    assert_eq!(error.key, "fields.page.kind");
    assert!(generator(vec![Field::new("page", DataType::Int)], &[("profile", "clicks")]).is_err());
    assert!(generator(fields(), &[("profile", "clocks")]).is_err());
}
