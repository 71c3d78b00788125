//! What a stream carries, and how closures see it.

use std::fmt::Debug;

use arrow_array::ArrayRef;

use super::closure;
use super::field::Row;
use super::result::{ResultView, WindowResult};
use crate::batch::{DataType, Field};
use crate::expr::Expr;
use crate::sys::archive::{Archives, Owned, Record, Stored, to_owned};

/// What a stream carries: records, or the results of windows.
///
/// ```
/// use tidemill::WindowResult;
/// use tidemill::job::{Item, OwnedItem};
///
/// /// What a step that works on streams of any items may do with what its closure gets.
/// fn shown<I: OwnedItem + std::fmt::Debug>(view: &I::View) -> Result<String, String> {
///     Ok(format!("{:?}", I::owned(view)?))
/// }
///
/// assert_eq!(shown::<i64>(&7.into())?, "7"); // A number's archive.
/// let result = WindowResult { key: "a".to_owned(), value: 7, start_ms: 0, end_ms: 1 };
/// assert!(shown::<WindowResult<String, i64>>(&result)?.contains("value: 7"));
/// # Ok::<(), String>(())
/// ```
pub trait Item: 'static {
    /// What closures get a reference to.
    type View: 'static;

    /// Finds items by row.
    #[doc(hidden)]
    type Reader<'a>: Reader<Self::View>;

    /// The columns that it takes.
    #[doc(hidden)]
    fn fields() -> Vec<Field>;
    /// The columns as they go to other shards and into state: alike in every batch.
    #[doc(hidden)]
    fn shipped(columns: Vec<Expr>) -> Vec<Expr> {
        columns
    }
    /// The items of these columns.
    #[doc(hidden)]
    fn reader(columns: &[ArrayRef]) -> Self::Reader<'_>;
    /// `f` of each of `rows` items, whose columns are `columns`.
    #[doc(hidden)]
    fn map<'a, R>(
        columns: &'a [ArrayRef],
        rows: usize,
        f: impl FnMut(&Self::View) -> R + 'a,
    ) -> impl Iterator<Item = R> + 'a
    where
        R: 'a;
}

/// An item that closures see can be had as the program's own: records that [`rkyv`] deserialises, and results of windows.
pub trait OwnedItem: Item + Send + Sized {
    /// The item.
    ///
    /// # Errors
    ///
    /// What the type's own deserialisation says; of derived ones nothing.
    fn owned(view: &Self::View) -> Result<Self, String>;
}

impl<T: Owned> OwnedItem for T {
    fn owned(view: &T::Archived) -> Result<T, String> {
        to_owned(view)
    }
}

impl<K: Row, V: Row> OwnedItem for WindowResult<K, V> {
    fn owned(view: &Self) -> Result<Self, String> {
        Ok(view.clone())
    }
}

/// Finds items by row.
pub trait Reader<V> {
    /// What `f` makes of the item in a row.
    fn with<R>(&self, row: usize, f: impl FnOnce(&V) -> R) -> R;
}

impl<A: Stored> Reader<A> for Archives<'_, A> {
    fn with<R>(&self, row: usize, f: impl FnOnce(&A) -> R) -> R {
        f(self.get(row))
    }
}

impl<K: Row, V: Row> Reader<WindowResult<K, V>> for ResultView<'_, K, V> {
    fn with<R>(&self, row: usize, f: impl FnOnce(&WindowResult<K, V>) -> R) -> R {
        f(&self.get(row))
    }
}

impl<T: Record> Item for T {
    type View = T::Archived;
    type Reader<'a> = Archives<'a, T::Archived>;

    fn shipped(columns: Vec<Expr>) -> Vec<Expr> {
        columns.iter().map(closure::views::<T>).collect()
    }

    fn reader(columns: &[ArrayRef]) -> Archives<'_, T::Archived> {
        Archives::of(&columns[0])
    }

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
    A: Stored,
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
    fn fold<B, G: FnMut(B, R) -> B>(self, init: B, mut g: G) -> B {
        let Mapped { archives, row, mut f } = self;
        match &archives {
            Archives::Roots(records) => {
                records[row..].iter().fold(init, |sum, record| g(sum, f(record)))
            }
            Archives::Picked(from, rows) if let Archives::Roots(records) = &**from => {
                let picked = rows[row..].iter().map(|&row| &records[row as usize]);
                picked.fold(init, |sum, record| g(sum, f(record)))
            }
            archives => (row..archives.len()).fold(init, |sum, row| g(sum, f(archives.get(row)))),
        }
    }
}

impl<K: Row, V: Row> Item for WindowResult<K, V> {
    type View = Self;
    type Reader<'a> = ResultView<'a, K, V>;

    fn reader(columns: &[ArrayRef]) -> ResultView<'_, K, V> {
        Self::view(columns)
    }

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
        let view = Self::view(columns);
        (0..rows).map(move |row| f(&view.get(row)))
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
