//! Files as sinks, written exactly once.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ItemSink;
use crate::batch::Schema;
use crate::connector::{FileSink, Sink};
use crate::error::OptionError;
use crate::format::{self, Format, Options, RecordFormat};
use crate::job::field::Row;
use crate::job::item::Item;
use crate::job::result::WindowResult;
use crate::sys::archive::Record;

/// Files that a stream is written to. A path that ends in `.csv` or `.jsonl` is one file; any other is a folder, which gets files of each shard.
///
/// A job with state publishes rows when the snapshot that holds them is durable: after a crash each is there exactly once. A job without
/// publishes them when it ends.
///
/// ```
/// use tidemill::{Files, Job, Options, RecordFile, Records, Span, Window};
///
/// let folder = tempfile::tempdir()?;
/// let [numbers, sums] = ["numbers", "sums.csv"].map(|name| folder.path().join(name));
/// Job::new("write")
///     .source("numbers", Records::new(0..100_i64))
///     .watermark(|n| *n, Span::millis(0))
///     .filter(|n| *n < 10)
///     .sink_to(Files::records(&numbers))
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
    /// `None`: records.
    format: Option<&'static str>,
    records: Option<Arc<dyn Format>>,
    columns: Option<Vec<String>>,
    changelog: bool,
    _item: PhantomData<fn(I)>,
}

impl<I: Item> Files<I> {
    fn new(path: &Path, format: Option<&'static str>) -> Self {
        let (path, columns, changelog) = (path.to_owned(), None, false);
        Self { path, format, records: None, columns, changelog, _item: PhantomData }
    }

    /// Names for the columns, in the order of key, values, start and end.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Takes results that are taken back too, and writes each with its kind (`+I`, `-U`, `+U`, `-D`) in a first column `op`.
    #[must_use]
    pub fn changelog(mut self) -> Self {
        self.changelog = true;
        self
    }
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
        let mut options = Options::from([("path".to_owned(), self.path.display().to_string())]);
        if self.changelog {
            options.insert("sink.changelog".into(), "true".into());
        }
        let format = match (self.records, self.format) {
            (Some(records), _) => records,
            (None, name) => format::resolve(&Options::new(), name, &schema)?,
        };
        Ok((Arc::new(FileSink::new(&options, format)?), schema))
    }
}

impl<T: Record> Files<T> {
    /// Files of records, which [`RecordFile`](crate::RecordFile) reads in place.
    pub fn records(path: impl AsRef<Path>) -> Self {
        let records: Arc<dyn Format> = Arc::new(RecordFormat::<T>::default());
        Self { records: Some(records), ..Self::new(path.as_ref(), None) }
    }
}

impl<K: Row, V: Row> Files<WindowResult<K, V>> {
    /// Lines of JSON, one a result.
    pub fn json(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref(), Some("json"))
    }

    /// Lines of CSV, one a result.
    pub fn csv(path: impl AsRef<Path>) -> Self {
        Self::new(path.as_ref(), Some("csv"))
    }
}
