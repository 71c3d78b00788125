//! What a stream carries, and how closures see it.

use std::fmt::Debug;

use arrow_array::ArrayRef;

use super::field::Row;
use super::result::WindowResult;
use crate::batch::{DataType, Field};
use crate::sys::archive::{Archives, Record};

/// What a stream carries: records, or the results of windows.
pub trait Item: 'static {
    /// What closures get a reference to.
    type View: 'static;

    /// The columns that it takes.
    fn fields() -> Vec<Field>;
    /// `f` of each of `rows` items, whose columns are `columns`.
    fn map<'a, R>(
        columns: &'a [ArrayRef],
        rows: usize,
        f: impl FnMut(&Self::View) -> R + 'a,
    ) -> impl Iterator<Item = R> + 'a
    where
        R: 'a;
}

impl<T: Record> Item for T {
    type View = T::Archived;

    fn fields() -> Vec<Field> {
        vec![Field::new("record", DataType::BYTES).not_null()]
    }

    fn map<'a, R>(
        columns: &'a [ArrayRef],
        _rows: usize,
        f: impl FnMut(&T::Archived) -> R + 'a,
    ) -> impl Iterator<Item = R> + 'a
    where
        R: 'a,
    {
        Mapped { archives: Archives::of(&columns[0]), row: 0, f }
    }
}

/// `f` of each archive.
struct Mapped<'a, A, F> {
    archives: Archives<'a, A>,
    row: usize,
    f: F,
}

impl<A, R, F> Iterator for Mapped<'_, A, F>
where
    A: crate::sys::archive::Stored,
    F: FnMut(&A) -> R,
{
    type Item = R;

    fn next(&mut self) -> Option<R> {
        let row = self.row;
        (row < self.archives.len()).then(|| {
            self.row += 1;
            (self.f)(self.archives.get(row))
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.archives.len() - self.row;
        (rest, Some(rest))
    }

    /// The kind of column is looked at once, not in every row.
    fn fold<B, G: FnMut(B, R) -> B>(mut self, init: B, mut g: G) -> B {
        let rows = self.row..self.archives.len();
        match self.archives {
            Archives::Fixed(records) => {
                records[rows].iter().fold(init, |sum, record| g(sum, (self.f)(record)))
            }
            archives => rows.fold(init, |sum, row| g(sum, (self.f)(archives.get(row)))),
        }
    }
}

impl<K: Row, V: Row> Item for WindowResult<K, V> {
    type View = Self;

    fn fields() -> Vec<Field> {
        Self::columns()
    }

    fn map<'a, R>(
        columns: &'a [ArrayRef],
        rows: usize,
        mut f: impl FnMut(&Self) -> R + 'a,
    ) -> impl Iterator<Item = R> + 'a
    where
        R: 'a,
    {
        (0..rows).map(move |row| f(&Self::read(columns, row)))
    }
}

/// Names of columns that are several: `key`, or `key_0`, `key_1`.
pub(super) fn names(name: &str, count: usize) -> impl Iterator<Item = String> + Debug {
    let name = name.to_owned();
    (0..count)
        .map(move |index| if count == 1 { name.clone() } else { format!("{name}_{index}") })
        .collect::<Vec<_>>()
        .into_iter()
}
