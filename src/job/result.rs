//! What windows yield.

use arrow_array::ArrayRef;

use super::field::{Column, Row};
use super::item::names;
use crate::batch::{DataType, Field};

/// The result of a window for a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowResult<K, V> {
    /// The key.
    pub key: K,
    /// What the aggregates came to.
    pub value: V,
    /// The window's start, in milliseconds, inclusive.
    pub start_ms: i64,
    /// Its end, in milliseconds, exclusive.
    pub end_ms: i64,
}

impl<K: Row, V: Row> WindowResult<K, V> {
    /// The columns: key, value, start, end.
    pub(super) fn columns() -> Vec<Field> {
        let list = |name: &str, types: Vec<(DataType, bool)>| {
            let count = types.len();
            let field = |(name, (data_type, nullable)): (String, (DataType, bool))| Field {
                nullable,
                ..Field::new(name, data_type)
            };
            names(name, count).zip(types).map(field).collect::<Vec<_>>()
        };
        let mut fields = list("key", K::types());
        fields.extend(list("value", V::types()));
        let time = |name: &str| Field::new(name, DataType::Timestamp(3)).not_null();
        fields.extend([time("window_start"), time("window_end")]);
        fields
    }

    /// The result in a row.
    pub(super) fn read(columns: &[ArrayRef], row: usize) -> Self {
        let (keys, rest) = columns.split_at(K::WIDTH);
        let (values, window) = rest.split_at(V::WIDTH);
        let [start_ms, end_ms] = [0, 1].map(|index| <i64 as Column>::read(&window[index], row));
        Self { key: K::read(keys, row), value: V::read(values, row), start_ms, end_ms }
    }
}
