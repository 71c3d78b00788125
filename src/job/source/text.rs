//! Files of JSON lines and of CSV, whose records serde makes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::RecordSource;
use crate::connector::{FileSource, Source, Split};
use crate::error::JobError;
use crate::format::{CsvRecords, Format, JsonRecords};
use crate::sys::archive::Record;

/// Files of JSON lines, a record a line.
///
/// Each line is what serde's derive makes of `T`: an object with the fields' names. Fields of the file that `T` does not have
/// are passed over; empty lines too. All shards read, each a chunk. (Numbers in fields that are flattened or
/// in untagged enums cannot be read: serde_json keeps them as text here, and serde does not hand that on.)
///
/// ```
/// use rkyv::{Archive, Serialize};
/// use serde::Deserialize;
/// use tidemill::{Job, JsonFile, Options, Span, Window};
///
/// #[derive(Archive, Serialize, Deserialize)]
/// struct Click {
///     at_ms: i64,
///     page: String,
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("clicks.jsonl");
/// std::fs::write(&path, "{\"at_ms\":1,\"page\":\"a\"}\n{\"at_ms\":2,\"page\":\"b\"}\nnonsense\n")?;
/// let (results, received) = std::sync::mpsc::channel();
/// let report = Job::new("clicks by page")
///     .source("clicks", JsonFile::<Click>::open(&path)?.skip_bad_records())
///     .watermark(|click| click.at_ms.to_native(), Span::seconds(5))
///     .key_by_text(|click| &click.page)
///     .window(Window::tumbling(Span::minutes(1)))
///     .aggregate(|on| on.count())
///     .sink(move |result| results.send((result.key.clone(), result.value)).unwrap())
///     .run(Options::default())?;
/// let mut counts: Vec<_> = received.iter().collect();
/// counts.sort();
/// assert_eq!(counts, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
/// assert_eq!(report.totals.malformed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JsonFile<T> {
    path: String,
    format: JsonRecords<T>,
}

impl<T: Record + DeserializeOwned> JsonFile<T> {
    /// The files of `path`: a file, a directory with all below it, or a pattern (`clicks/*.jsonl`). Files whose names end in
    /// `.gz`, `.zst` or `.deflate` are decompressed.
    ///
    /// # Errors
    ///
    /// If there is nothing to read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JobError> {
        let path = path.as_ref().display().to_string();
        let format = JsonRecords::default();
        FileSource::new(path.clone(), Arc::new(format.clone())).splits()?;
        Ok(Self { path, format })
    }

    /// The same, with records that cannot be read dropped and counted; else the first ends the job.
    #[must_use]
    pub fn skip_bad_records(mut self) -> Self {
        self.format.lenient = true;
        self
    }
}

impl<T> fmt::Debug for JsonFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T: Record + DeserializeOwned> RecordSource for JsonFile<T> {
    type Record = T;

    fn into_source(self) -> Arc<dyn Source> {
        Arc::new(FileSource::new(self.path, Arc::new(self.format)))
    }
}

/// Files of comma-separated values, a record a row.
///
/// The first row of each file names the columns, and the fields of `T` are found by name; columns that `T` does not have are
/// passed over. All files must begin with the same row. A field may be quoted with `"`, a quote in it is doubled, and
/// newlines may stand in it. All shards read, each a chunk.
///
/// ```
/// use rkyv::{Archive, Serialize};
/// use serde::Deserialize;
/// use tidemill::{CsvFile, Job, Options, Span, Window};
///
/// #[derive(Archive, Serialize, Deserialize)]
/// struct Sale {
///     at_ms: i64,
///     cents: i64,
/// }
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("sales.csv");
/// std::fs::write(&path, "cents,note,at_ms\n250,\"one, two\",7\n150,,9\n")?;
/// let (results, received) = std::sync::mpsc::channel();
/// Job::new("turnover")
///     .source("sales", CsvFile::<Sale>::open(&path)?)
///     .watermark(|sale| sale.at_ms.to_native(), Span::seconds(5))
///     .key_by(|_| 0_i64)
///     .window(Window::tumbling(Span::minutes(1)))
///     .aggregate(|on| on.sum(|sale| sale.cents.to_native()))
///     .sink(move |result| results.send(result.value).unwrap())
///     .run(Options::default())?;
/// assert_eq!(received.iter().collect::<Vec<_>>(), [400]);
///
/// std::fs::write(&path, "7;250\n9;150\n")?;
/// let sales = CsvFile::<Sale>::open(&path)?.headless().delimiter(b';'); // In the order of the fields.
/// let job = Job::new("sales").source("sales", sales).watermark(|sale| sale.at_ms, Span::seconds(5));
/// assert_eq!(job.sink(|_| {}).run(Options::default())?.totals.rows, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CsvFile<T> {
    path: String,
    format: CsvRecords<T>,
}

impl<T: Record + DeserializeOwned> CsvFile<T> {
    /// The files of `path`: a file, a directory with all below it, or a pattern (`sales/*.csv`). Files whose names end in
    /// `.gz`, `.zst` or `.deflate` are decompressed.
    ///
    /// # Errors
    ///
    /// If there is nothing to read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JobError> {
        let path = path.as_ref().display().to_string();
        let format = CsvRecords::default();
        FileSource::new(path.clone(), Arc::new(format.clone())).splits()?;
        Ok(Self { path, format })
    }

    /// The same files without a row of names: the fields of `T` are the columns in their order.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.format.headed = false;
        self
    }

    /// The same files with another character than the comma between fields.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = delimiter;
        self
    }

    /// The same, with records that cannot be read dropped and counted; else the first ends the job.
    #[must_use]
    pub fn skip_bad_records(mut self) -> Self {
        self.format.lenient = true;
        self
    }
}

impl<T> fmt::Debug for CsvFile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<T: Record + DeserializeOwned> RecordSource for CsvFile<T> {
    type Record = T;

    fn into_source(self) -> Arc<dyn Source> {
        let files = FileSource::new(self.path, Arc::new(self.format.clone()));
        Arc::new(CsvSource { files, format: self.format })
    }
}

/// Files of CSV, whose first rows are looked at when they are listed.
struct CsvSource<T> {
    files: FileSource,
    format: CsvRecords<T>,
}

impl<T> fmt::Debug for CsvSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl<T: Record + DeserializeOwned> Source for CsvSource<T> {
    fn format(&self) -> Option<Arc<dyn Format>> {
        self.files.format()
    }

    fn has_ranges(&self) -> bool {
        self.files.has_ranges()
    }

    fn splits(&self) -> Result<Vec<Split>, JobError> {
        let splits = self.files.splits()?;
        if self.format.headed {
            self.files.look_into(|path, bytes| {
                let refused =
                    |reason| JobError::Environment(format!("{}: {reason}", path.display()));
                self.format.learn(bytes).map_err(refused)
            })?;
        }
        Ok(splits)
    }
}
