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

    /// Looks at the columns.
    pub(super) fn view(columns: &[ArrayRef]) -> ResultView<'_, K, V> {
        let (keys, rest) = columns.split_at(K::WIDTH);
        let (values, window) = rest.split_at(V::WIDTH);
        let [starts_ms, ends_ms] = [0, 1].map(|index| <i64 as Column>::view(&window[index]));
        ResultView { keys: K::view(keys), values: V::view(values), starts_ms, ends_ms }
    }
}

/// Columns of results, known for what they are.
pub struct ResultView<'a, K: Row, V: Row> {
    keys: K::View<'a>,
    values: V::View<'a>,
    starts_ms: &'a [i64],
    ends_ms: &'a [i64],
}

impl<K: Row, V: Row> ResultView<'_, K, V> {
    /// The result in a row.
    #[inline]
    pub(super) fn get(&self, row: usize) -> WindowResult<K, V> {
        let (key, value) = (K::get(self.keys, row), V::get(self.values, row));
        WindowResult { key, value, start_ms: self.starts_ms[row], end_ms: self.ends_ms[row] }
    }
}
