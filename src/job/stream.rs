//! Streams: the typed face of a plan's nodes.

use std::marker::PhantomData;
use std::sync::Arc;

use super::aggregate::{Aggregates, On};
use super::closure;
use super::draft::Job;
use super::field::{Field, Key, Row};
use super::item::{Item, names};
use super::process::{Emit, FlatMap, ProcessWindow, Processed};
use super::result::WindowResult;
use super::sink::{ForEach, ItemSink};
use super::window::{Span, Window};
use crate::batch::{self, DataType, RowKind, Schema, TimeAttribute};
use crate::connector::{Sink, Source};
use crate::expr::{Expr, Value, call};
use crate::plan::{self, NodeIndex, Op, Watermark, window_fields};
use crate::sys::archive::Record;
use crate::window::{TimeDomain, WindowSpec};

/// Windows close as watermarks pass.
#[derive(Clone, Copy, Debug)]
pub enum EventTime {}

/// Windows close by the machine's clock.
#[derive(Clone, Copy, Debug)]
pub enum ProcessingTime {}

/// Which time a stream has.
pub trait Time: 'static {
    #[doc(hidden)]
    const DOMAIN: TimeDomain;
}

impl Time for EventTime {
    const DOMAIN: TimeDomain = TimeDomain::Event;
}

impl Time for ProcessingTime {
    const DOMAIN: TimeDomain = TimeDomain::Processing;
}

/// A source whose time has still to be said.
///
/// ```
/// use tidemill::job::Sourced;
/// use tidemill::{EventTime, Job, ProcessingTime, Records, Span, Stream};
///
/// let job = Job::new("times");
/// let source = || -> Sourced<i64> { job.source("numbers", Records::new(0..9_i64)) };
/// let by_their_own_time: Stream<i64, EventTime> = source().watermark(|n| *n, Span::seconds(5));
/// let by_the_clock: Stream<i64, ProcessingTime> = source().processing_time();
/// ```
#[derive(Debug)]
#[must_use = "say which time it has: `watermark` or `processing_time`"]
pub struct Sourced<T> {
    job: Job,
    table: String,
    source: Arc<dyn Source>,
    _type: PhantomData<fn(T)>,
}

impl<T: Record> Sourced<T> {
    pub(super) fn new(job: Job, table: String, source: Arc<dyn Source>) -> Self {
        Self { job, table, source, _type: PhantomData }
    }

    /// Event time: `at_ms` is a record's time, in milliseconds since 1970 UTC, and after each record the watermark is at least
    /// `lag` before it.
    pub fn watermark<X: Field<Column = i64>>(
        self,
        at_ms: impl Fn(&T::Archived) -> X + Send + Sync + 'static,
        lag: impl Into<Span>,
    ) -> Stream<T, EventTime> {
        let data_type = DataType::Timestamp(3);
        let at = Expr { data_type, ..closure::field::<T, X>("time", &record_column(), at_ms) };
        let time = batch::Field::new("time", data_type).not_null();
        let watermark = behind(1, lag.into());
        self.scan(at, time.time_attribute(TimeAttribute::Rowtime), Some(watermark))
    }

    /// Processing time: a record's time is when it is read.
    pub fn processing_time(self) -> Stream<T, ProcessingTime> {
        let now = call("PROCTIME", Vec::new()).expect("the function exists");
        let time = batch::Field::new("time", now.data_type).not_null();
        self.scan(now, time.time_attribute(TimeAttribute::Proctime), None)
    }

    fn scan<D: Time>(
        self,
        time: Expr,
        field: batch::Field,
        watermark: Option<Watermark>,
    ) -> Stream<T, D> {
        let record = T::fields();
        let physical = Schema::new(record.clone());
        let columns = record_column().into_iter().chain([time]).collect();
        let Self { job, table, source, .. } = self;
        let schema = Schema::new(record.into_iter().chain([field]).collect());
        let node = job.add(Op::Scan { table, source, physical, columns, watermark }, schema);
        Stream { job, node, time: 1, changes: false, _types: PhantomData }
    }
}

/// The record column where it is the first.
pub(super) fn record_column() -> Vec<Expr> {
    vec![Expr::column(0, DataType::BYTES, false)]
}

/// A watermark that lags behind the TIMESTAMP(3) in a column.
pub(super) fn behind(column: usize, lag: Span) -> Watermark {
    let lag = Expr::literal(Value::Int(lag.ms), DataType::IntervalDay);
    let expr = call("-", vec![Expr::column(column, DataType::Timestamp(3), false), lag]);
    Watermark { column, expr: expr.expect("an interval can be taken from a timestamp") }
}

/// A stream of items of `I`, in time of the kind `D`. Cloning it lets several consumers read it.
///
/// ```
/// use tidemill::{Emit, Job, Options, Records, Span, Stream, Window};
///
/// let lines = [(0_i64, "to be or"), (900, "not to be")].map(|(at_ms, line)| (at_ms, line.to_owned()));
/// let job = Job::new("words");
/// let words: Stream<String> = job
///     .source("lines", Records::new(lines))
///     .watermark(|line| line.0, Span::millis(0))
///     .flat_map(|line, words: &mut Emit<'_, String>| {
///         line.1.split(' ').for_each(|word| words.push(&word.to_owned()));
///     });
///
/// let (be, others) = words.partition(|word| word == "be");
/// let (counts, received) = std::sync::mpsc::channel();
/// be.union(others.map(|word| word.to_uppercase()))
///     .key_by_text(|word| word)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| on.count())
///     .filter(|word| word.value > 1)
///     .sink(move |word| counts.send((word.key.clone(), word.value)).unwrap());
/// job.run(Options::default())?;
///
/// drop(job);
/// let mut counts: Vec<_> = received.iter().collect();
/// counts.sort();
/// assert_eq!(counts, [("TO".to_owned(), 2), ("be".to_owned(), 2)]);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Debug)]
pub struct Stream<I, D = EventTime> {
    job: Job,
    node: NodeIndex,
    /// The column of time; the item's columns come before it.
    time: usize,
    /// Whether it takes back what it has shown.
    changes: bool,
    _types: PhantomData<fn(I, D)>,
}

impl<I, D> Clone for Stream<I, D> {
    fn clone(&self) -> Self {
        let (job, node) = (self.job.clone(), self.node);
        Self { job, node, time: self.time, changes: self.changes, _types: PhantomData }
    }
}

impl<I: Item, D: Time> Stream<I, D> {
    /// The item's columns.
    fn item(&self) -> Vec<Expr> {
        (0..I::fields().len()).map(|column| self.column(column)).collect()
    }

    fn column(&self, column: usize) -> Expr {
        let field = &self.job.schema(self.node).fields[column];
        Expr::column(column, field.data_type, field.nullable)
    }

    /// The items for which `f` is true.
    #[must_use]
    pub fn filter(self, f: impl Fn(&I::View) -> bool + Send + Sync + 'static) -> Self {
        let condition = closure::field::<I, bool>("filter", &self.item(), f);
        let columns = self.item().into_iter().chain([self.column(self.time)]).collect();
        let fields = I::fields().into_iter().chain([self.time_field()]);
        let schema = Schema::new(fields.collect());
        let op = Op::Calc { input: self.node, filter: Some(condition), columns };
        let (node, time) = (self.job.add(op, schema), I::fields().len());
        Self { node, time, ..self }
    }

    /// What `f` makes of each item; its time stays.
    #[must_use]
    pub fn map<U: Record>(self, f: impl Fn(&I::View) -> U + Send + Sync + 'static) -> Stream<U, D> {
        let record = closure::record::<I, U>("map", &self.item(), f);
        let columns = vec![record, self.column(self.time)];
        let fields = U::fields().into_iter().chain([self.time_field()]);
        let schema = Schema::new(fields.collect());
        let node = self.job.add(Op::Calc { input: self.node, filter: None, columns }, schema);
        Stream { job: self.job, node, time: 1, changes: self.changes, _types: PhantomData }
    }

    /// The records that `f` makes of each item, any number; they have its time.
    #[must_use]
    pub fn flat_map<U: Record>(
        self,
        f: impl Fn(&I::View, &mut Emit<'_, U>) + Send + Sync + 'static,
    ) -> Stream<U, D> {
        let schema = Schema::new(U::fields().into_iter().chain([self.time_field()]).collect());
        let function = Arc::new(FlatMap::<I, U, _>::new(f, schema.clone()));
        let node = self.job.add(Op::Apply { input: self.narrow(), function }, schema);
        Stream { job: self.job, node, time: 1, changes: self.changes, _types: PhantomData }
    }

    /// The items for which `f` is true, and the others.
    #[must_use]
    pub fn partition(self, f: impl Fn(&I::View) -> bool + Send + Sync + 'static) -> (Self, Self) {
        let (f, g) = {
            let f = Arc::new(f);
            (Arc::clone(&f), f)
        };
        (self.clone().filter(move |item| f(item)), self.filter(move |item| !g(item)))
    }

    /// The items of this stream and of another of the same job; the lower watermark counts.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let inputs = [&self, &other].map(Self::narrow).to_vec();
        let schema = self.job.schema(inputs[0]).clone();
        let (node, time) = (self.job.add(Op::Union { inputs }, schema), I::fields().len());
        Self { node, time, changes: self.changes || other.changes, ..self }
    }

    /// The node that has the item's columns and the time, and nothing else.
    fn narrow(&self) -> NodeIndex {
        let width = I::fields().len();
        if self.job.schema(self.node).column_count() == width + 1 {
            return self.node;
        }
        let columns = self.item().into_iter().chain([self.column(self.time)]).collect();
        let fields = I::fields().into_iter().chain([self.time_field()]);
        let schema = Schema::new(fields.collect());
        self.job.add(Op::Calc { input: self.node, filter: None, columns }, schema)
    }

    fn time_field(&self) -> batch::Field {
        self.job.schema(self.node).fields[self.time].clone()
    }

    /// The items by key: a number, a text, or a tuple of those.
    pub fn key_by<K: Key>(
        self,
        f: impl Fn(&I::View) -> K + Send + Sync + 'static,
    ) -> Keyed<I, K::Owned, D> {
        let keys = closure::key::<I, K>(&self.item(), f);
        Keyed { stream: self, keys, _key: PhantomData }
    }

    /// The items by a text in them.
    pub fn key_by_text(
        self,
        f: impl for<'a> Fn(&'a I::View) -> &'a str + Send + Sync + 'static,
    ) -> Keyed<I, String, D> {
        let keys = vec![closure::text::<I>("key", &self.item(), f)];
        Keyed { stream: self, keys, _key: PhantomData }
    }

    /// Calls `f` with each item, on the shard that has it, in no order among shards. After a crash it is called again with
    /// those since the last snapshot.
    pub fn sink(self, f: impl Fn(&I::View) + Send + Sync + 'static) -> Job {
        if self.changes {
            let fix = "use `sink_changes`, or Mode::Discarding";
            self.job.mistake(format!("a sink of results that are taken back again; {fix}"));
        }
        let sink = ForEach::<I, _>::new(move |_, item: &I::View| f(item), false);
        self.sink_with(Arc::new(sink), Schema::new(I::fields()))
    }

    /// Calls `f` with each item and what it does to those shown before, as [`Stream::sink`] does.
    pub fn sink_changes(self, f: impl Fn(RowKind, &I::View) + Send + Sync + 'static) -> Job {
        self.sink_with(Arc::new(ForEach::<I, _>::new(f, true)), Schema::new(I::fields()))
    }

    /// Writes the items to files, or to a sink of your own.
    pub fn sink_to<S: ItemSink<I>>(self, sink: S) -> Job {
        match sink.into_sink() {
            Ok((sink, _)) if self.changes && !sink.accepts_changes() => {
                let what = "a sink of results that are taken back again";
                let fix = format!("{}, or use Mode::Discarding", S::FOR_CHANGES);
                self.job.mistake(format!("{what}; {fix}"));
                self.job
            }
            Ok((sink, schema)) => self.sink_with(sink, schema),
            Err(error) => {
                self.job.mistake(format!("a sink that cannot be: {error}"));
                self.job
            }
        }
    }

    fn sink_with(self, sink: Arc<dyn Sink>, schema: Schema) -> Job {
        let op = Op::Calc { input: self.node, filter: None, columns: self.item() };
        let input = self.job.add(op, schema.clone());
        self.job.add_sink(input, schema, sink);
        self.job
    }
}

impl<K: Row, V: Row, D: Time> Stream<WindowResult<K, V>, D> {
    /// The results by their own key. The engine sees that it is the same, which it cannot see of what a closure returns: so windows
    /// of rows can read windows by event time.
    ///
    /// ```
    /// use tidemill::{Job, Options, Records, Span, Window};
    ///
    /// let (most, received) = std::sync::mpsc::channel();
    /// Job::new("the best second of three")
    ///     .source("times", Records::new(0..60_i64))
    ///     .watermark(|n| *n * 100, Span::millis(0))
    ///     .key_by(|n| *n % 2)
    ///     .window(Window::tumbling(Span::seconds(1)))
    ///     .aggregate(|on| on.sum(|n| *n))
    ///     .by_key()
    ///     .window(Window::count(3))
    ///     .aggregate(|on| on.max(|second| second.value))
    ///     .sink(move |result| most.send((result.key, result.value)).unwrap())
    ///     .run(Options::default())?;
    /// let mut most: Vec<_> = received.iter().collect();
    /// most.sort();
    /// assert_eq!(most, [(0, 120), (0, 270), (1, 125), (1, 275)]);
    /// # Ok::<(), tidemill::error::JobError>(())
    /// ```
    pub fn by_key(self) -> Keyed<WindowResult<K, V>, K, D> {
        let keys = (0..K::WIDTH).map(|column| self.column(column)).collect();
        Keyed { stream: self, keys, _key: PhantomData }
    }
}

/// A stream by key.
///
/// ```
/// use tidemill::job::{Keyed, Windowed};
/// use tidemill::{Job, Options, Records, Span, Stream, Window, WindowResult};
///
/// /// Steps of several jobs can be functions: from a stream by key to results.
/// fn counts(numbers: Keyed<i64, (bool, i64)>) -> Stream<WindowResult<(bool, i64), i64>> {
///     let windows: Windowed<i64, (bool, i64)> = numbers.window(Window::tumbling(Span::seconds(1)));
///     windows.aggregate(|on| on.count())
/// }
///
/// let job = Job::new("counts");
/// let numbers = job.source("numbers", Records::new(0..90_i64)).watermark(|n| *n, Span::millis(0));
/// counts(numbers.key_by(|n| (*n > 44, *n % 3))).sink(|count| assert_eq!(count.value, 15));
/// assert_eq!(job.run(Options::default())?.totals.rows_out, 6);
/// # Ok::<(), tidemill::error::JobError>(())
/// ```
#[derive(Debug)]
pub struct Keyed<I, K, D = EventTime> {
    stream: Stream<I, D>,
    keys: Vec<Expr>,
    _key: PhantomData<fn() -> K>,
}

impl<I: Item, K: Row, D: Time> Keyed<I, K, D> {
    /// Each key's items by window.
    pub fn window(self, window: Window) -> Windowed<I, K, D> {
        if let Err(mistake) = window.check() {
            self.stream.job.mistake(mistake);
        }
        if self.stream.changes {
            let what = "a window over early or late results, which are taken back again; use Mode::Discarding";
            self.stream.job.mistake(what.into());
        }
        Windowed { keyed: self, window }
    }
}

/// A stream by key and window.
#[derive(Debug)]
pub struct Windowed<I, K, D = EventTime> {
    keyed: Keyed<I, K, D>,
    window: Window,
}

impl<I: Item, K: Row, D: Time> Windowed<I, K, D> {
    /// What `calls` compute of each key's items in each window.
    pub fn aggregate<A: Aggregates<I>>(
        self,
        calls: impl FnOnce(On<I>) -> A,
    ) -> Stream<WindowResult<K, A::Value>, D> {
        self.aggregate_and_late(calls).results
    }

    /// The same, and the items that were late: those for all whose windows the watermark had passed, and the allowed lateness with
    /// it. They are counted as late in any case.
    pub fn aggregate_and_late<A: Aggregates<I>>(
        self,
        calls: impl FnOnce(On<I>) -> A,
    ) -> ResultsAndLate<I, K, A::Value, D> {
        let Self { keyed: Keyed { stream, keys, .. }, window } = self;
        let calls = calls(On::new(stream.item())).calls();
        let key_count = keys.len();
        let mut columns = keys;
        let value_names = names("value", calls.len()).collect::<Vec<_>>();
        let placed = calls.into_iter().zip(&value_names);
        let aggregates: Vec<_> =
            placed.map(|(call, name)| call.place(name, &mut columns)).collect();
        let time_column = columns.len();
        columns.push(stream.column(stream.time));
        // Late items are read from here, or nobody reads them and they are pruned.
        columns.extend(I::shipped(stream.item()));
        let fields = columns.iter().enumerate().map(|(index, expr)| batch::Field {
            nullable: expr.nullable,
            ..batch::Field::new(format!("argument_{index}"), expr.data_type)
        });
        let mut fields: Vec<_> = fields.collect();
        fields[time_column] = stream.time_field();
        let schema = Schema::new(fields);
        let calc = Op::Calc { input: stream.node, filter: None, columns };
        let input = stream.job.add(calc, schema.clone());
        let spec = spec::<D>(&window, time_column);
        let mut fields = WindowResult::<K, A::Value>::fields();
        let [start, end, time] = window_fields(DataType::Timestamp(3), D::DOMAIN);
        fields.truncate(fields.len() - 2);
        fields.extend([start, end, time]);
        let time = fields.len() - 1;
        let op = Op::WindowAggregate {
            input,
            window: spec,
            keys: (0..key_count).collect(),
            aggregates,
            emit: window.emit,
        };
        let node = stream.job.add(op, Schema::new(fields));
        let late = late(&stream, node, schema, time_column);
        let changes = window.changes();
        let results = Stream { job: stream.job, node, time, changes, _types: PhantomData };
        ResultsAndLate { results, late }
    }
}

impl<T: Record, K: Row, D: Time> Windowed<T, K, D> {
    /// What a function makes of all items of each key in each window.
    pub fn process<P: ProcessWindow<T, K>>(self, function: P) -> Stream<P::Output, D> {
        let lateness_ms = self.window.emit.allow_lateness_ms;
        let collected = self.aggregate(|on| on.collect());
        let (job, width) = (collected.job, K::WIDTH);
        let window =
            plan::ProcessWindow { start: width + 1, end: width + 2, time: width + 3, lateness_ms };
        let time = job.schema(collected.node).fields[collected.time].clone();
        let schema = Schema::new(P::Output::fields().into_iter().chain([time]).collect());
        let function = Arc::new(Processed::<T, K, P>::new(function, schema.clone()));
        let keys = (0..width).collect();
        let op = Op::Process { input: collected.node, keys, window: Some(window), function };
        let input = job.add(op, schema.clone());
        let column = |index: usize| Expr::column(index, schema.fields[index].data_type, false);
        let columns = vec![closure::records::<P::Output>(&column(0)), column(1)];
        let node = job.add(Op::Calc { input, filter: None, columns }, schema.clone());
        Stream { job, node, time: 1, changes: false, _types: PhantomData }
    }
}

/// A window as the plan has it, over this column of time.
fn spec<D: Time>(window: &Window, time_column: usize) -> WindowSpec {
    WindowSpec {
        kind: window.kind,
        domain: D::DOMAIN,
        time_column,
        time_zone: (D::DOMAIN == TimeDomain::Processing).then_some(chrono_tz::Tz::UTC),
        group_window: true,
    }
}

/// What windows come to, and what came too late for them.
#[derive(Debug)]
pub struct ResultsAndLate<I, K, V, D = EventTime> {
    /// The results.
    pub results: Stream<WindowResult<K, V>, D>,
    /// The late items. They have their time, but no window can hold them any more.
    pub late: Stream<I, D>,
}

/// The items of `stream` that were late for the window at `of`, whose input has them behind its time, as `schema` says.
fn late<I: Item, D: Time>(
    stream: &Stream<I, D>,
    of: NodeIndex,
    schema: Schema,
    time: usize,
) -> Stream<I, D> {
    let fields = schema.fields.clone();
    let column =
        |index: usize| Expr::column(index, fields[index].data_type, fields[index].nullable);
    let columns = (time + 1..fields.len()).chain([time]).map(column).collect();
    let input = stream.job.add(Op::Late { of }, schema);
    let schema = I::fields().into_iter().chain([fields[time].clone()]).collect();
    let node = stream.job.add(Op::Calc { input, filter: None, columns }, Schema::new(schema));
    let (job, time) = (stream.job.clone(), I::fields().len());
    Stream { job, node, time, changes: false, _types: PhantomData }
}
