//! Files as sinks, written exactly once.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ItemSink, Notation, TextItem};
use crate::batch::Schema;
use crate::connector::{FileSink, Sink};
use crate::error::OptionError;
use crate::format::{Format, Options, RecordFormat};
use crate::job::field::Row;
use crate::job::item::Item;
use crate::job::result::WindowResult;
use crate::sys::archive::Record;

/// Makes the format that takes these columns.
type MakeFormat = fn(&Schema) -> Result<Arc<dyn Format>, OptionError>;

/// Files that a stream is written to. A path that ends in `.csv` or `.jsonl` is one file; any other is a folder, which gets files of each shard.
///
/// A job with state publishes rows when the snapshot that holds them is durable: after a crash each is there exactly once. A job without
/// publishes them when it ends.
///
/// ```
/// use tidemill::sink::RecordFiles;
/// use tidemill::{Files, Job, Options, RecordFile, Records, Span, Window};
///
/// let folder = tempfile::tempdir()?;
/// let [numbers, sums] = ["numbers", "sums.csv"].map(|name| folder.path().join(name));
/// let files: RecordFiles<i64> = Files::records(&numbers);
/// Job::new("write")
///     .source("numbers", Records::new(0..100_i64))
///     .watermark(|n| *n, Span::millis(0))
///     .filter(|n| *n < 10)
///     .sink_to(files)
///     .run(Options::default())?;
/// Job::new("read")
///     .source("numbers", RecordFile::<i64>::open(&numbers)?)
///     .watermark(|n| *n, Span::millis(0))
///     .key_by(|n| n.to_native() % 2)
///     .window(Window::tumbling(Span::seconds(1)))
///     .aggregate(|on| (on.count(), on.sum(|n| *n)))
///     .sink_to(Files::csv(&sums).columns(["parity", "count", "sum", "start", "end"]))
///     .run(Options::default().shards(1))?;
/// let mut lines: Vec<String> = std::fs::read_to_string(&sums)?.lines().map(str::to_owned).collect();
/// lines.sort();
/// assert_eq!(lines[0], "0,5,20,\"1970-01-01 00:00:00\",\"1970-01-01 00:00:01\"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Files<I> {
    path: PathBuf,
    format: MakeFormat,
    columns: Option<Vec<String>>,
    changelog: bool,
    overwrite: bool,
    _item: PhantomData<fn(I)>,
}

/// Files of records that a stream is written to, made by [`Files::records`]. They have no place for what an item does to those before: a
/// stream that takes results back goes to JSON or CSV.
#[derive(Clone, Debug)]
pub struct RecordFiles<T> {
    path: PathBuf,
    _type: PhantomData<fn(T)>,
}

impl<T: Record> Files<T> {
    /// Files of records, which [`RecordFile`](crate::RecordFile) reads in place.
    pub fn records(path: impl AsRef<Path>) -> RecordFiles<T> {
        RecordFiles { path: path.as_ref().to_owned(), _type: PhantomData }
    }
}

impl<T: Record> ItemSink<T> for RecordFiles<T> {
    const FOR_CHANGES: &'static str = "write JSON or CSV with `.changelog()`";

    fn into_sink(self) -> Result<(Arc<dyn Sink>, Schema), OptionError> {
        let sink = file_sink(&self.path, &[], Arc::new(RecordFormat::<T>::default()))?;
        Ok((sink, Schema::new(T::fields())))
    }
}

/// The engine's sink of a path with these options switched on.
fn file_sink(
    path: &Path,
    switched_on: &[&str],
    format: Arc<dyn Format>,
) -> Result<Arc<dyn Sink>, OptionError> {
    let mut options = Options::from([("path".to_owned(), path.display().to_string())]);
    options.extend(switched_on.iter().map(|&key| (key.to_owned(), "true".to_owned())));
    Ok(Arc::new(FileSink::new(&options, format)?))
}

impl<I: Item> ItemSink<I> for Files<I> {
    const FOR_CHANGES: &'static str = "add `.changelog()` to the files";

    fn into_sink(self) -> Result<(Arc<dyn Sink>, Schema), OptionError> {
        let mut fields = I::fields();
        if let Some(names) = self.columns {
            if names.len() != fields.len() {
                let message = format!("{} names for {} columns", names.len(), fields.len());
                return Err(OptionError { key: "columns".into(), message, hint: None });
            }
            fields.iter_mut().zip(names).for_each(|(field, name)| field.name = name);
        }
        let schema = Schema::new(fields);
        let switches = [("sink.changelog", self.changelog), ("sink.overwrite", self.overwrite)];
        let on: Vec<&str> =
            switches.into_iter().filter(|(_, on)| *on).map(|(key, _)| key).collect();
        Ok((file_sink(&self.path, &on, (self.format)(&schema)?)?, schema))
    }
}

impl<I: TextItem> Files<I> {
    fn new(path: &Path, format: MakeFormat) -> Self {
        let (path, columns) = (path.to_owned(), None);
        Self { path, format, columns, changelog: false, overwrite: false, _item: PhantomData }
    }

    /// Takes results that are taken back too, and writes each with its kind (`+I`, `-U`, `+U`, `-D`) in a first column `op`.
    ///
    /// ```
    /// use tidemill::{Every, Files, Job, Options, Records, Span, Window};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("counts.jsonl");
    /// let early = Every::event_time(Span::millis(500));
    /// let job = Job::new("counts")
    ///     .source("numbers", Records::new(0..1_000_i64))
    ///     .watermark(|n| *n, Span::millis(0))
    ///     .key_by(|_| 0)
    ///     .window(Window::tumbling(Span::seconds(1)).early_fire(early))
    ///     .aggregate(|on| on.count())
    ///     .sink_to(Files::json(&path).changelog().columns(["key", "count", "start", "end"]));
    /// job.run(Options::default())?;
    ///
    /// let text = std::fs::read_to_string(&path)?;
    /// let lines: Vec<&str> = text.lines().collect(); // The first is of 0 s, the next two of half a second.
    /// assert!(lines[1].starts_with(r#"{"op":"-U","key":0,"count":1,"#));
    /// assert!(lines[2].starts_with(r#"{"op":"+U","key":0,"count":501,"#));
    /// assert!(lines[4].starts_with(r#"{"op":"+U","key":0,"count":1000,"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn changelog(mut self) -> Self {
        self.changelog = true;
        self
    }

    /// Replaces a file that has content, when the job shows its first rows; otherwise such a job ends before it has read anything. Of one file,
    /// not of a folder, to which a job adds.
    #[must_use]
    pub fn overwrite(mut self) -> Self {
        self.overwrite = true;
        self
    }

    /// Lines of JSON: of a record what serde makes of it, of a result its columns.
    pub fn json(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref(), |schema| I::format(Notation::Json, schema))
    }

    /// Lines of CSV. Files of records begin with the names of the fields, if there is a record and they have names: so
    /// [`CsvFile`](crate::CsvFile) reads them. Those of results do not.
    ///
    /// ```
    /// use rkyv::{Archive, Deserialize, Serialize};
    /// use tidemill::{Files, Job, Options, Records, Span};
    ///
    /// #[derive(Archive, Serialize, Deserialize, serde::Serialize)]
    /// struct Price {
    ///     item: String,
    ///     cents: u32,
    /// }
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("prices.csv");
    /// let prices = [("tea", 250), ("coffee, black", 300)];
    /// let prices = prices.map(|(item, cents)| Price { item: item.to_owned(), cents });
    /// Job::new("prices")
    ///     .source("prices", Records::new(prices))
    ///     .processing_time()
    ///     .sink_to(Files::csv(&path))
    ///     .run(Options::default().shards(1))?;
    /// let text = std::fs::read_to_string(&path)?;
    /// assert_eq!(text, "item,cents\ntea,250\n\"coffee, black\",300\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn csv(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref(), |schema| I::format(Notation::Csv, schema))
    }
}

impl<K: Row, V: Row> Files<WindowResult<K, V>> {
    /// Names for the columns, in the order of key, values, start and end.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }
}
