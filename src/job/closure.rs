//! Closures as expressions: each fills a column from the items of a batch.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;

use super::field::{Column, Field, Key, Row, column_of};
use super::item::Item;
use crate::batch::DataType;
use crate::error::EvalError;
use crate::expr::{Expr, ExprKind, Native, NativeFunction};
use crate::sys::archive::{ArchiveBuilder, Record, as_views, realigned};

/// What a function makes of a batch: how its values become a column.
struct Filled<I, F> {
    name: String,
    fill: F,
    _item: PhantomData<fn(I)>,
}

impl<I, F> Native for Filled<I, F>
where
    I: Item,
    F: Fn(&[ArrayRef], usize, &Cell<usize>) -> Result<ArrayRef, EvalError> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn eval(
        &self,
        args: &[ArrayRef],
        rows: usize,
        progress: &Cell<usize>,
    ) -> Result<ArrayRef, EvalError> {
        (self.fill)(args, rows, progress)
    }
}

/// A call over the columns of an item.
fn call<I: Item>(
    name: impl Into<String>,
    (data_type, nullable): (DataType, bool),
    args: &[Expr],
    fill: impl Fn(&[ArrayRef], usize, &Cell<usize>) -> Result<ArrayRef, EvalError>
    + Send
    + Sync
    + 'static,
) -> Expr {
    let function = Filled { name: name.into(), fill, _item: PhantomData::<fn(I)> };
    let kind = ExprKind::Native(NativeFunction(Arc::new(function)), args.to_vec());
    Expr { kind, data_type, nullable }
}

/// Says which row was begun last when it goes: also when a panic unwinds it. Noting each row would cost every loop a store.
struct Begun<'a> {
    rows: usize,
    progress: &'a Cell<usize>,
}

impl Begun<'_> {
    #[inline]
    fn begin(&mut self) {
        self.rows += 1;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.progress.set(self.rows.saturating_sub(1));
    }
}

/// `f`, which leaves in `progress` the last row that it began.
fn noted<'a, I: Item, R>(
    progress: &'a Cell<usize>,
    mut f: impl FnMut(&I::View) -> R + 'a,
) -> impl FnMut(&I::View) -> R + 'a {
    let mut begun = Begun { rows: 0, progress };
    move |item| {
        begun.begin();
        f(item)
    }
}

/// A column of what `f` returns, over the item in the columns `args`.
pub(super) fn field<I: Item, X: Field>(
    name: &str,
    args: &[Expr],
    f: impl Fn(&I::View) -> X + Send + Sync + 'static,
) -> Expr {
    let types = (X::Column::DATA_TYPE, X::Column::NULLABLE);
    call::<I>(name, types, args, move |columns, rows, progress| {
        Ok(column_of(rows, I::map(columns, rows, noted::<I, X>(progress, &f))))
    })
}

/// The columns of the key that `f` returns.
pub(super) fn key<I: Item, K: Key>(
    args: &[Expr],
    f: impl Fn(&I::View) -> K + Send + Sync + 'static,
) -> Vec<Expr> {
    let f = Arc::new(f);
    let part = |(part, types): (usize, (DataType, bool))| {
        let f = Arc::clone(&f);
        call::<I>("key", types, args, move |columns, rows, progress| {
            let keys = I::map(columns, rows, noted::<I, K>(progress, &*f));
            Ok(K::column(part, rows, keys))
        })
    };
    K::Owned::types().into_iter().enumerate().map(part).collect()
}

/// A column of the texts that `f` points at.
pub(super) fn text<I: Item>(
    name: &str,
    args: &[Expr],
    f: impl for<'a> Fn(&'a I::View) -> &'a str + Send + Sync + 'static,
) -> Expr {
    use arrow_array::builder::StringViewBuilder;
    call::<I>(name, (DataType::STRING, false), args, move |columns, rows, progress| {
        let mut texts = StringViewBuilder::with_capacity(rows);
        let append = |item: &I::View| texts.append_value(f(item));
        I::map(columns, rows, noted::<I, ()>(progress, append)).for_each(drop);
        Ok(Arc::new(texts.finish()))
    })
}

/// A record column of what `f` returns.
pub(super) fn record<I: Item, U: Record>(
    name: &str,
    args: &[Expr],
    f: impl Fn(&I::View) -> U + Send + Sync + 'static,
) -> Expr {
    call::<I>(name, (DataType::BYTES, false), args, move |columns, rows, progress| {
        let mut builder = ArchiveBuilder::<U>::default();
        let records = I::map(columns, rows, noted::<I, U>(progress, &f));
        for (row_index, record) in records.enumerate() {
            builder.push(&record).map_err(|message| EvalError { row_index, message })?;
        }
        Ok(builder.finish())
    })
}

/// A record column, alike in every batch.
pub(super) fn views<T: Record>(column: &Expr) -> Expr {
    let types = (column.data_type, column.nullable);
    let args = std::slice::from_ref(column);
    call::<T>("record", types, args, |columns, _, _| Ok(as_views::<T::Archived>(&columns[0])))
}

/// The record column of a column of archives that stand anywhere.
pub(super) fn records<T: Record>(column: &Expr) -> Expr {
    let types = (column.data_type, column.nullable);
    let args = std::slice::from_ref(column);
    call::<T>("record", types, args, |columns, _, _| {
        let records = realigned::<T::Archived>(columns[0].as_binary_view());
        records.map_err(|(row_index, message)| EvalError { row_index, message })
    })
}
