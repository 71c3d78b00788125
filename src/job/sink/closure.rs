//! Closures as sinks.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::batch::{Batch, RowKind, Schema};
use crate::connector::{Sink, SinkPart};
use crate::error::JobError;
use crate::expr::panic_text;
use crate::job::item::Item;

/// Calls a closure with every item and what it does to what was shown.
pub(in crate::job) struct ForEach<I, F> {
    f: Arc<F>,
    changes: bool,
    _item: PhantomData<fn(I)>,
}

impl<I, F> ForEach<I, F> {
    pub(in crate::job) fn new(f: F, changes: bool) -> Self {
        Self { f: Arc::new(f), changes, _item: PhantomData }
    }
}

impl<I, F> fmt::Debug for ForEach<I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closure")
    }
}

impl<I, F> Sink for ForEach<I, F>
where
    I: Item,
    F: Fn(RowKind, &I::View) + Send + Sync + 'static,
{
    fn accepts_changes(&self) -> bool {
        self.changes
    }

    fn part(&self, _: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        Ok(Box::new(ForEachPart::<I, F> { f: Arc::clone(&self.f), _item: PhantomData }))
    }
}

struct ForEachPart<I, F> {
    f: Arc<F>,
    _item: PhantomData<fn(I)>,
}

impl<I, F> SinkPart for ForEachPart<I, F>
where
    I: Item,
    F: Fn(RowKind, &I::View) + Send + Sync,
{
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        let mut row = 0;
        let each = |item: &I::View| {
            (self.f)(batch.kind(row), item);
            row += 1;
        };
        let call = || I::map(&batch.columns, batch.rows, each).for_each(drop);
        catch_unwind(AssertUnwindSafe(call)).map_err(|panic| JobError::Expression {
            origin: "sink".into(),
            message: format!("the closure panicked: {}", panic_text(panic.as_ref())),
        })
    }

    fn flush(&mut self) -> Result<(), JobError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), JobError> {
        Ok(())
    }
}
