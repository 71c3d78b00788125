//! Aggregate functions of the program's own, and what they come to.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::builder::BinaryViewBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryViewArray};

use super::field::{Column, ColumnBuilder, Field, column_of};
use super::item::{Item, Reader};
use crate::agg::{self, Groups, UserAggregate};
use crate::batch::DataType;
use crate::sys::archive::{Owned, Record, access, to_bytes, to_owned};

/// An aggregate function of the program's own. Its accumulator is kept in the job's state, so it survives a crash; what tells
/// the function from others there is its uid, and the version is to change when accumulators or what is made of items changes:
/// state of another version is refused by name.
///
/// ```
/// use rkyv::{Archive, Deserialize, Serialize};
/// use tidemill::{AggregateFunction, Job, Options, Records, Span, Window};
///
/// /// The two greatest numbers.
/// struct TopTwo;
///
/// #[derive(Archive, Serialize, Deserialize)]
/// struct Two(Vec<i64>);
///
/// impl AggregateFunction<(i64, i64)> for TopTwo {
///     type Accumulator = Two;
///     type Output = i64;
///
///     fn uid(&self) -> &str {
///         "top-two"
///     }
///
///     fn create(&self) -> Two {
///         Two(Vec::new())
///     }
///
///     fn add(&self, two: &mut Two, item: &<(i64, i64) as Archive>::Archived) {
///         self.merge(two, Two(vec![item.1.to_native()]));
///     }
///
///     fn merge(&self, two: &mut Two, later: Two) {
///         two.0.extend(later.0);
///         two.0.sort_by_key(|number| -number);
///         two.0.truncate(2);
///     }
///
///     fn result(&self, two: &Two) -> i64 {
///         two.0.iter().sum()
///     }
/// }
///
/// let numbers: Vec<(i64, i64)> = (0..100).map(|i| (i * 10, i)).collect();
/// let (sums, receiver) = std::sync::mpsc::channel();
/// Job::new("top two")
///     .source("numbers", Records::new(numbers))
///     .watermark(|n| n.0, Span::millis(0))
///     .key_by(|_| 0)
///     .window(Window::tumbling(Span::millis(500)))
///     .aggregate(|on| on.custom(TopTwo))
///     .sink(move |result| sums.send(result.value).unwrap())
///     .run(Options::default())?;
/// assert_eq!(receiver.iter().max(), Some(99 + 98));
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
pub trait AggregateFunction<I: Item>: Send + Sync + 'static {
    /// What it remembers of a group.
    type Accumulator: Owned;
    /// What it comes to; [`Archived`] for a type of the program's own.
    type Output: Field;

    /// What tells it from every other function.
    fn uid(&self) -> &str;
    /// Changes when accumulators, or what is made of items, change.
    fn version(&self) -> u64 {
        1
    }
    /// Whether results depend on the order of items. If not, windows that overlap share their work.
    fn is_order_sensitive(&self) -> bool {
        false
    }
    /// The accumulator of no items.
    fn create(&self) -> Self::Accumulator;
    /// Adds an item.
    fn add(&self, accumulator: &mut Self::Accumulator, item: &I::View);
    /// Adds the accumulator of later items: the same as having added those. Where items are grouped into accumulators is up to the engine,
    /// so what is not exactly the same, as rounded sums of floats are not, shows the number of shards.
    fn merge(&self, accumulator: &mut Self::Accumulator, later: Self::Accumulator);
    /// What an accumulator comes to.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Output;
}

/// The engine's face of an [`AggregateFunction`].
pub(super) struct Custom<I, F> {
    function: F,
    arg_types: Vec<DataType>,
    _item: PhantomData<fn(I)>,
}

impl<I: Item, F: AggregateFunction<I>> Custom<I, F> {
    pub(super) fn new(function: F) -> Self {
        let arg_types = I::fields().into_iter().map(|field| field.data_type).collect();
        Self { function, arg_types, _item: PhantomData }
    }

    fn read(&self, bytes: &[u8]) -> Result<F::Accumulator, String> {
        to_owned::<F::Accumulator>(access(bytes)?)
    }
}

impl<I, F> fmt::Debug for Custom<I, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<F>())
    }
}

impl<I: Item, F: AggregateFunction<I>> UserAggregate for Custom<I, F> {
    fn name(&self) -> &str {
        self.function.uid()
    }

    fn uid(&self) -> &str {
        self.function.uid()
    }

    fn version(&self) -> u64 {
        self.function.version()
    }

    fn arg_types(&self) -> &[DataType] {
        &self.arg_types
    }

    fn data_type(&self) -> DataType {
        <F::Output as Field>::Column::DATA_TYPE
    }

    fn nullable(&self) -> bool {
        <F::Output as Field>::Column::NULLABLE
    }

    fn is_order_sensitive(&self) -> bool {
        self.function.is_order_sensitive()
    }

    fn folds_early(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<u8> {
        let created = to_bytes(&self.function.create());
        created.expect("a new accumulator can be archived").to_vec()
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        let items = I::reader(args);
        groups.each(|stored, rows| {
            let mut accumulator = self.read(stored.bytes())?;
            for &row in rows {
                items.with(row as usize, |item| self.function.add(&mut accumulator, item));
            }
            stored.replace(&to_bytes(&accumulator)?)
        })
    }

    fn merge(&self, into: &mut agg::Stored<'_>, from: &[u8]) -> Result<(), String> {
        let mut accumulator = self.read(into.bytes())?;
        self.function.merge(&mut accumulator, self.read(from)?);
        into.replace(&to_bytes(&accumulator)?)
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let read = |bytes: &&[u8]| self.read(bytes);
        let accumulators = accumulators.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let results = accumulators.iter().map(|accumulator| self.function.result(accumulator));
        Ok(column_of(accumulators.len(), results))
    }
}

/// Two records into one, again and again: an accumulator is the record so far, and empty before the first.
pub(super) struct Reduce<T, F> {
    function: F,
    uid: String,
    _record: PhantomData<fn(T)>,
}

impl<T, F> Reduce<T, F> {
    pub(super) fn new(uid: &str, function: F) -> Self {
        Self { function, uid: uid.to_owned(), _record: PhantomData }
    }
}

impl<T, F> fmt::Debug for Reduce<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uid)
    }
}

impl<T, F> Reduce<T, F>
where
    T: Record,
    F: Fn(&T::Archived, &T::Archived) -> T + Send + Sync + 'static,
{
    fn join(&self, into: &mut agg::Stored<'_>, from: &[u8]) -> Result<(), String> {
        if into.bytes().is_empty() {
            return into.replace(from);
        }
        let joined = (self.function)(access(into.bytes())?, access(from)?);
        into.replace(&to_bytes(&joined)?)
    }
}

impl<T, F> UserAggregate for Reduce<T, F>
where
    T: Record,
    F: Fn(&T::Archived, &T::Archived) -> T + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        &self.uid
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn version(&self) -> u64 {
        1
    }

    fn arg_types(&self) -> &[DataType] {
        &[DataType::BYTES]
    }

    fn data_type(&self) -> DataType {
        DataType::BYTES
    }

    fn nullable(&self) -> bool {
        false
    }

    fn is_order_sensitive(&self) -> bool {
        true
    }

    fn folds_early(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<u8> {
        Vec::new()
    }

    fn add(&self, groups: &mut Groups<'_>, args: &[ArrayRef]) -> Result<(), String> {
        let records = args[0].as_binary_view();
        groups.each(|stored, rows| {
            rows.iter().try_for_each(|&row| self.join(stored, records.value(row as usize)))
        })
    }

    fn merge(&self, into: &mut agg::Stored<'_>, from: &[u8]) -> Result<(), String> {
        self.join(into, from)
    }

    fn finish(&self, accumulators: &[&[u8]]) -> Result<ArrayRef, String> {
        let mut records = BinaryViewBuilder::with_capacity(accumulators.len());
        accumulators.iter().for_each(|record| records.append_value(record));
        Ok(Arc::new(records.finish()))
    }
}

/// A value of a record type in a column of its own: what an [`AggregateFunction`] may come to.
///
/// ```
/// use rkyv::{Archive, Deserialize, Serialize};
/// use tidemill::{AggregateFunction, Archived, Job, Options, Records, Span, Window};
///
/// #[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
/// struct Path(Vec<String>);
///
/// /// The pages in the order in which they were seen.
/// struct Pages;
///
/// impl AggregateFunction<(i64, String)> for Pages {
///     type Accumulator = Path;
///     type Output = Archived<Path>;
///
///     fn uid(&self) -> &str {
///         "pages"
///     }
///
///     fn version(&self) -> u64 {
///         2 // The first kept their numbers. State of it is refused, not misread.
///     }
///
///     fn is_order_sensitive(&self) -> bool {
///         true
///     }
///
///     fn create(&self) -> Path {
///         Path(Vec::new())
///     }
///
///     fn add(&self, path: &mut Path, page: &<(i64, String) as Archive>::Archived) {
///         path.0.push(page.1.to_string());
///     }
///
///     fn merge(&self, path: &mut Path, later: Path) {
///         path.0.extend(later.0);
///     }
///
///     fn result(&self, path: &Path) -> Archived<Path> {
///         Archived(path.clone())
///     }
/// }
///
/// let pages = [(0, "home"), (7, "search"), (9, "shop")].map(|(at_ms, page)| (at_ms, page.to_owned()));
/// Job::new("paths")
///     .source("pages", Records::new(pages))
///     .watermark(|page| page.0, Span::millis(0))
///     .key_by(|_| 0)
///     .window(Window::session(Span::minutes(30)))
///     .aggregate(|on| on.custom(Pages))
///     .sink(|visit| assert_eq!(visit.value.0.0, ["home", "search", "shop"]))
///     .run(Options::default())?;
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Archived<T>(pub T);

impl<T: Owned + Clone + fmt::Debug> Column for Archived<T> {
    const DATA_TYPE: DataType = DataType::BYTES;
    type Builder = ArchivedColumn;
    type View<'a> = &'a BinaryViewArray;

    fn view(column: &dyn Array) -> &BinaryViewArray {
        column.as_binary_view()
    }

    /// # Panics
    ///
    /// If the column holds no archives of `T`.
    fn get(column: &BinaryViewArray, row: usize) -> Self {
        let bytes = column.value(row);
        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
        aligned.extend_from_slice(bytes);
        let value = access(&aligned).and_then(to_owned::<T>);
        Archived(value.expect("a column of such archives"))
    }
}

/// A column of archives.
#[derive(Debug)]
pub struct ArchivedColumn(BinaryViewBuilder);

impl<T: Record> ColumnBuilder<Archived<T>> for ArchivedColumn {
    fn with_capacity(rows: usize) -> Self {
        Self(BinaryViewBuilder::with_capacity(rows))
    }

    fn push(&mut self, value: Archived<T>) {
        self.0.append_value(to_bytes(&value.0).expect("a derived type can be archived"));
    }

    fn push_blank(&mut self) {
        self.0.append_value([]);
    }

    fn finish(self) -> ArrayRef {
        ColumnBuilder::<Vec<u8>>::finish(self.0)
    }
}

impl<T: Owned + Clone + fmt::Debug> Field for Archived<T> {
    type Column = Self;

    fn into_column(self) -> Self {
        self
    }
}
