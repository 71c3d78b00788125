//! A connector as a user would write it: files of numbers, one a line, read by a thread each.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tidemill::source::{SourceConnector, SourceError, SplitReader};

use crate::{Event, event};

#[derive(Clone)]
pub(crate) struct Numbers {
    folder: PathBuf,
    bounded: bool,
    /// Where each split was opened.
    pub opened: Arc<Mutex<Vec<(String, u64)>>>,
    /// What snapshots were said to cover.
    pub covered: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Numbers {
    pub(crate) fn new(folder: &Path, bounded: bool) -> Self {
        let (opened, covered) = Default::default();
        Self { folder: folder.to_owned(), bounded, opened, covered }
    }
}

/// Writes the first `count` numbers to so many splits in turn.
pub(crate) fn write_splits(folder: &Path, split_count: i64, count: i64) {
    for split in 0..split_count {
        let numbers = (split..count).step_by(split_count as usize);
        let text: String = numbers.map(|number| format!("{number}\n")).collect();
        std::fs::write(folder.join(format!("split-{split}")), text).unwrap();
    }
}

impl SourceConnector for Numbers {
    type Record = Event;
    type Reader = Lines;

    fn bounded(&self) -> bool {
        self.bounded
    }

    fn splits(&self) -> Result<Vec<String>, SourceError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().into_string().map_err(|_| "a name is no text")?);
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, split: &str, offset: u64) -> Result<Lines, SourceError> {
        self.opened.lock().unwrap().push((split.to_owned(), offset));
        let mut file = File::open(self.folder.join(split))?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Lines { file: BufReader::new(file), offset })
    }

    fn covered(&self, split: &str, offset: u64) {
        self.covered.lock().unwrap().push((split.to_owned(), offset));
    }
}

pub(crate) struct Lines {
    file: BufReader<File>,
    offset: u64,
}

impl SplitReader for Lines {
    type Record = Event;

    /// A line, or several: what a number says of itself.
    fn read(&mut self, records: &mut Vec<Event>) -> Result<Option<u64>, SourceError> {
        loop {
            let mut line = String::new();
            let length_bytes = self.file.read_line(&mut line)?;
            self.offset += length_bytes as u64;
            if length_bytes == 0 {
                return Ok((!records.is_empty()).then_some(self.offset));
            }
            assert_ne!(line, "panic\n", "told to");
            let number: i64 = line.trim().parse()?;
            records.push(event(number));
            if number % 7 != 0 {
                return Ok(Some(self.offset));
            }
        }
    }
}
