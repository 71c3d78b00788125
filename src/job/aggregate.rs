//! Aggregates of windows: [`On`] makes calls, tuples of calls are what a window computes.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use super::closure;
use super::custom::{AggregateFunction, Archived, Custom, Reduce};
use super::field::{Column, Field, Number, Row};
use super::item::Item;
use crate::agg::{self, AggregateCall, Collect, UserFunction};
use crate::batch::DataType;
use crate::expr::Expr;
use crate::sys::archive::{Owned, Record};

/// Makes aggregates over a stream's items; the closure given to `aggregate` gets one.
///
/// ```
/// use rkyv::{Archive, Deserialize, Serialize};
/// use tidemill::job::{Aggregates, Call, On};
/// use tidemill::{Job, Options, Records, Span, Stream, Window};
///
/// #[derive(Archive, Serialize, Deserialize, Clone, Debug)]
/// struct Sale {
///     item: String,
///     cents: i64,
/// }
///
/// /// One aggregate.
/// fn dear(on: &On<Sale>) -> Call<Sale, i64> {
///     on.count_if(|sale| sale.cents > 220)
/// }
///
/// /// Several.
/// fn numbers(on: On<Sale>) -> impl Aggregates<Sale, Value = (i64, i64, f64, i64, i64, Option<i64>)> {
///     let tea = on.sum(|sale| sale.cents).filter(|sale| sale.item == "tea");
///     (on.count(), dear(&on), on.avg(|sale| sale.cents), on.min(|sale| sale.cents), on.max(|sale| sale.cents), tea)
/// }
///
/// let sales = [("tea", 250), ("milk", 100), ("tea", 200), ("milk", 100)];
/// let sales = sales.map(|(item, cents)| Sale { item: item.to_owned(), cents });
/// let job = Job::new("sales");
/// let sales = job.source("sales", Records::new(sales)).watermark(|_| 0_i64, Span::millis(0));
/// let day = |sales: Stream<Sale>| sales.key_by(|_| 0).window(Window::tumbling(Span::days(1)));
/// day(sales.clone())
///     .aggregate(numbers)
///     .sink(|day| assert_eq!(day.value, (4, 1, 162.5, 100, 250, Some(450))));
/// day(sales)
///     .aggregate(|on| {
///         let joined = |a: &ArchivedSale, b: &ArchivedSale| {
///             Sale { item: format!("{} {}", a.item, b.item), cents: a.cents + b.cents }
///         };
///         (
///             on.count_distinct(|sale| sale.cents),
///             on.count_distinct_text(|sale| &sale.item),
///             on.first(|sale| sale.cents),
///             on.last(|sale| sale.cents),
///             on.reduce("joined", joined),
///         )
///     })
///     .sink(|day| {
///         let (prices, items, first, last, joined) = &day.value;
///         assert_eq!((*prices, *items, *first, *last), (3, 2, 250, 100));
///         assert_eq!((joined.0.item.as_str(), joined.0.cents), ("tea milk tea milk", 650));
///     });
/// let report = job.run(Options::default())?;
/// assert_eq!(report.totals.rows_out, 2);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Debug)]
pub struct On<I> {
    item: Vec<Expr>,
    _item: PhantomData<fn(I)>,
}

/// One aggregate: what it reads, and as what its result is read.
#[derive(Debug)]
pub struct Call<I, V> {
    pub(super) raw: RawCall,
    item: Vec<Expr>,
    _types: PhantomData<fn(I) -> V>,
}

/// A value of each item, which all its aggregates share: it is worked out once a row, and its sum and its mean are one accumulator.
///
/// ```
/// use tidemill::{Job, Options, Records, Span, Window};
///
/// let orders = vec![(0i64, 2.5f64), (1, 4.0), (2, 1.0)];
/// let (results, receiver) = std::sync::mpsc::channel();
/// Job::new("orders")
///     .source("orders", Records::new(orders))
///     .watermark(|order| order.0, Span::millis(0))
///     .key_by(|_| 0)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| {
///         let price = on.value(|order| order.1);
///         (price.sum(), price.avg(), price.min(), price.max(), price.count_distinct())
///     })
///     .sink(move |result| results.send(result.value).unwrap())
///     .run(Options::default())?;
/// assert_eq!(receiver.recv().unwrap(), (7.5, 2.5, 1.0, 4.0, 3));
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Debug)]
pub struct Value<I, X> {
    on: On<I>,
    column: Expr,
    _type: PhantomData<fn() -> X>,
}

impl<I: Item, X: Column> Value<I, X> {
    fn call<V>(&self, function: &'static str) -> Call<I, V> {
        self.on.call(function, Some(self.column.clone()))
    }

    /// As [`On::count_distinct`].
    pub fn count_distinct(&self) -> Call<I, i64> {
        self.call("COUNT").distinct()
    }

    /// As [`On::min`].
    pub fn min(&self) -> Call<I, X> {
        self.call("MIN")
    }

    /// As [`On::max`].
    pub fn max(&self) -> Call<I, X> {
        self.call("MAX")
    }

    /// As [`On::first`].
    pub fn first(&self) -> Call<I, X> {
        self.call("FIRST_VALUE")
    }

    /// As [`On::last`].
    pub fn last(&self) -> Call<I, X> {
        self.call("LAST_VALUE")
    }
}

impl<I: Item> Value<I, f64> {
    /// As [`On::sum`].
    pub fn sum(&self) -> Call<I, f64> {
        self.call("SUM")
    }

    /// As [`On::avg`].
    pub fn avg(&self) -> Call<I, f64> {
        self.call("AVG")
    }
}

impl<I: Item> Value<I, i64> {
    /// As [`On::sum`].
    pub fn sum(&self) -> Call<I, i64> {
        self.call("SUM")
    }
}

/// A call without its types.
#[derive(Clone, Debug)]
pub struct RawCall {
    function: Function,
    arguments: Vec<Expr>,
    filter: Option<Expr>,
    distinct: bool,
}

/// Whose function it is.
#[derive(Clone, Debug)]
enum Function {
    /// The engine's.
    Named(&'static str),
    /// The program's.
    Custom(UserFunction),
}

impl<I: Item> On<I> {
    pub(super) fn new(item: Vec<Expr>) -> Self {
        Self { item, _item: PhantomData }
    }

    fn call<V>(&self, function: &'static str, argument: Option<Expr>) -> Call<I, V> {
        self.raw(Function::Named(function), argument.into_iter().collect())
    }

    fn raw<V>(&self, function: Function, arguments: Vec<Expr>) -> Call<I, V> {
        let raw = RawCall { function, arguments, filter: None, distinct: false };
        Call { raw, item: self.item.clone(), _types: PhantomData }
    }

    fn over<V, X: Field>(
        &self,
        function: &'static str,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Call<I, V> {
        let name = function.to_ascii_lowercase();
        self.call(function, Some(closure::field::<I, X>(&name, &self.item, f)))
    }

    /// A value for several aggregates. Only `i64` and `f64` can be added up; `f` makes one of what the item has.
    pub fn value<X: Field>(
        &self,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Value<I, X::Column> {
        let column = closure::field::<I, X>("value", &self.item, f);
        Value { on: On::new(self.item.clone()), column, _type: PhantomData }
    }

    /// How many rows.
    pub fn count(&self) -> Call<I, i64> {
        self.call("COUNT", None)
    }

    /// How many rows for which `f` is true.
    pub fn count_if(&self, f: impl Fn(&I::View) -> bool + Send + Sync + 'static) -> Call<I, i64> {
        let Call { raw, item, .. } = self.count().filter(f);
        Call { raw, item, _types: PhantomData }
    }

    /// How many different values, exactly; `None` does not count.
    pub fn count_distinct<X: Field>(
        &self,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Call<I, i64> {
        self.over("COUNT", f).distinct()
    }

    /// How many different texts, exactly.
    pub fn count_distinct_text(
        &self,
        f: impl for<'a> Fn(&'a I::View) -> &'a str + Send + Sync + 'static,
    ) -> Call<I, i64> {
        self.call("COUNT", Some(closure::text::<I>("count", &self.item, f))).distinct()
    }

    /// The sum. Integers are added as `i64`, wrapping round; floats exactly, rounded once.
    pub fn sum<N: Number>(
        &self,
        f: impl Fn(&I::View) -> N + Send + Sync + 'static,
    ) -> Call<I, N::Sum>
    where
        N::Sum: Field<Column = N::Sum>,
    {
        self.over("SUM", move |item: &I::View| f(item).into_sum())
    }

    /// The mean.
    pub fn avg<N: Number>(
        &self,
        f: impl Fn(&I::View) -> N + Send + Sync + 'static,
    ) -> Call<I, N::Mean>
    where
        N::Mean: Field<Column = N::Mean>,
    {
        self.over("AVG", move |item: &I::View| f(item).into_mean())
    }

    /// The least value.
    pub fn min<X: Field>(
        &self,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Call<I, X::Column> {
        self.over("MIN", f)
    }

    /// The greatest value.
    pub fn max<X: Field>(
        &self,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Call<I, X::Column> {
        self.over("MAX", f)
    }

    /// A function of the program's own.
    pub fn custom<F: AggregateFunction<I>>(
        &self,
        function: F,
    ) -> Call<I, <F::Output as Field>::Column> {
        let function = UserFunction(Arc::new(Custom::<I, F>::new(function)));
        self.raw(Function::Custom(function), I::shipped(self.item.clone()))
    }

    /// The value of the row that came first; `None` is passed over.
    pub fn first<X: Field>(
        &self,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Call<I, X::Column> {
        self.over("FIRST_VALUE", f)
    }

    /// The value of the row that came last; `None` is passed over.
    pub fn last<X: Field>(
        &self,
        f: impl Fn(&I::View) -> X + Send + Sync + 'static,
    ) -> Call<I, X::Column> {
        self.over("LAST_VALUE", f)
    }
}

impl<I: Item, V> Call<I, V> {
    fn distinct(mut self) -> Self {
        self.raw.distinct = true;
        self
    }

    /// The same over those rows alone for which `f` is true; `None` for a group that has no such row. (For a count, see
    /// [`On::count_if`].)
    #[must_use]
    pub fn filter(
        mut self,
        f: impl Fn(&I::View) -> bool + Send + Sync + 'static,
    ) -> Call<I, Option<V>> {
        self.raw.filter = Some(closure::field::<I, bool>("filter", &self.item, f));
        Call { raw: self.raw, item: self.item, _types: PhantomData }
    }
}

/// Aggregates of one window: a [`Call`] or a tuple of up to six.
pub trait Aggregates<I> {
    /// What they come to.
    type Value: Row;
    /// The calls.
    #[doc(hidden)]
    fn calls(self) -> Vec<RawCall>;
}

impl<I, V: Column> Aggregates<I> for Call<I, V> {
    type Value = V;

    fn calls(self) -> Vec<RawCall> {
        vec![self.raw]
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        impl<Item, $($name: Column),*> Aggregates<Item> for ($(Call<Item, $name>,)*) {
            type Value = ($($name,)*);

            fn calls(self) -> Vec<RawCall> {
                vec![$(self.$index.raw),*]
            }
        }
    };
}

tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);

impl<T: Record> On<T> {
    /// All records, in the order of their arrival, as [`crate::agg::elements`] finds them.
    pub(super) fn collect(&self) -> Call<T, Vec<u8>> {
        let function = UserFunction(Arc::new(Collect));
        self.raw(Function::Custom(function), T::shipped(self.item.clone()))
    }
}

impl<T: Owned + Clone + Debug> On<T> {
    /// One record made of all, two by two, in the order of their arrival. The uid tells the function from others in the job's
    /// state; another function is another uid.
    pub fn reduce(
        &self,
        uid: &str,
        f: impl Fn(&T::Archived, &T::Archived) -> T + Send + Sync + 'static,
    ) -> Call<T, Archived<T>> {
        let function = UserFunction(Arc::new(Reduce::<T, _>::new(uid, f)));
        self.raw(Function::Custom(function), T::shipped(self.item.clone()))
    }
}

impl RawCall {
    /// The call over columns of which its own follow `columns`, to which they are added.
    pub(super) fn place(self, name: &str, columns: &mut Vec<Expr>) -> AggregateCall {
        let mut add = |expr: Expr| {
            columns.iter().position(|column| *column == expr).unwrap_or_else(|| {
                columns.push(expr);
                columns.len() - 1
            })
        };
        let types: Vec<DataType> = self.arguments.iter().map(|expr| expr.data_type).collect();
        let args: Vec<usize> = self.arguments.into_iter().map(&mut add).collect();
        let filter = self.filter.map(add);
        let function = match self.function {
            Function::Custom(function) => {
                return AggregateCall { filter, ..AggregateCall::user(function, args, name) };
            }
            Function::Named(function) => function,
        };
        let (function, data_type) =
            agg::bind(function, &types).expect("the builder makes calls that exist");
        let arg_type = types.first().copied().unwrap_or(DataType::BigInt);
        AggregateCall {
            distinct: self.distinct,
            filter,
            name: name.to_owned(),
            ..AggregateCall::new(function, args, arg_type, data_type)
        }
    }
}
