//! Listings, patterns, watched directories, compressed files and pipes.

use std::io::Write;

use super::*;
use crate::batch::Schema;
use crate::connector::{Opening, Read, SequentialReader};

fn source(pairs: &[(&str, &str)]) -> Result<FileSource, OptionError> {
    let options: Options =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let format = crate::format::resolve(&options, Some("json"), &Schema::new(Vec::new())).unwrap();
    FileSource::resolve(&options, format)
}

/// The names of the files that are listed, without the directory.
fn names(splits: &[Split], directory: &Path) -> Vec<String> {
    let path = |split: &Split| match split {
        Split::Ranged(split) => split.path.display().to_string(),
        Split::Sequential(split) => split.origin(),
        Split::Generated(_) => unreachable!(),
    };
    let prefix = format!("{}/", directory.display());
    splits.iter().map(|split| path(split).strip_prefix(&prefix).unwrap().to_owned()).collect()
}

fn write(directory: &Path, name: &str, bytes: &[u8]) {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn directories_are_listed_by_name_without_hidden_files() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.csv", "a/2.csv", "a/1.csv.gz", ".hidden", "_tmp/x.csv", "c"] {
        write(directory.path(), name, b"x\n");
    }
    let root = directory.path().to_str().unwrap();
    let source = source(&[("connector", "filesystem"), ("path", root)]).unwrap();
    let splits = source.splits().unwrap();
    assert_eq!(names(&splits, directory.path()), ["a/1.csv.gz", "a/2.csv", "b.csv", "c"]);
    assert!(matches!(&splits[0], Split::Sequential(split) if split.bounded()));
    assert!(matches!(&splits[1], Split::Ranged(split) if split.length_bytes == 2));
}

#[test]
fn patterns_and_uris() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.csv", "a.csv", "c.json", "logs-1/x.csv", "logs-2/y.json"] {
        write(directory.path(), name, b"");
    }
    let root = directory.path().to_str().unwrap();
    let list = |path: &str, pattern: Option<&str>| {
        let path = format!("file://{root}{path}");
        let mut options = vec![("path", path.as_str())];
        options.extend(pattern.map(|pattern| ("source.path.regex-pattern", pattern)));
        source(&options).unwrap().splits().map(|splits| names(&splits, directory.path()))
    };
    assert_eq!(list("/*.csv", None).unwrap(), ["a.csv", "b.csv"]);
    assert_eq!(list("/logs-*", None).unwrap(), ["logs-1/x.csv", "logs-2/y.json"]);
    assert_eq!(
        list("", Some(".*/[ab].*|.*json")).unwrap(),
        ["a.csv", "b.csv", "c.json", "logs-2/y.json"]
    );
    assert!(list("/*.xml", None).unwrap_err().to_string().contains("*.xml"));
    assert!(list("/missing", None).unwrap_err().to_string().contains("/missing"));
}

#[test]
fn options_are_checked() {
    let key = |pairs: &[(&str, &str)]| source(pairs).map(|_| ()).unwrap_err().key;
    assert_eq!(key(&[]), "path");
    assert_eq!(key(&[("path", "")]), "path");
    assert_eq!(
        key(&[("path", "x"), ("source.monitor-interval", "soon")]),
        "source.monitor-interval"
    );
    assert_eq!(
        key(&[("path", "x"), ("source.path.regex-pattern", "(?=x)")]),
        "source.path.regex-pattern"
    );
    assert_eq!(key(&[("path", "x"), ("sink.change", "true")]), "sink.change");
    assert_eq!(
        key(&[("path", "x"), ("source.report-statistics", "some")]),
        "source.report-statistics"
    );
    assert_eq!(key(&[("path", "x"), ("format", "json"), ("csv-header", "true")]), "csv-header");
    assert!(
        source(&[
            ("path", "x"),
            ("sink.rolling-policy.file-size", "1MB"),
            ("scan.parallelism", "2")
        ])
        .is_ok()
    );
    assert!(
        source(&[("path", "x"), ("format", "json"), ("json.ignore-parse-errors", "true")]).is_ok()
    );
}

#[test]
fn a_watched_directory_gives_each_file_once() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "1", b"");
    let path = directory.path().to_str().unwrap();
    let source = source(&[("path", path), ("source.monitor-interval", "1 s")]).unwrap();
    assert_eq!(source.monitor_interval_ms(), Some(1000));
    assert_eq!(names(&source.splits().unwrap(), directory.path()), ["1"]);
    assert!(source.new_splits().unwrap().is_empty());
    write(directory.path(), "3", b"");
    write(directory.path(), "2", b"");
    assert_eq!(names(&source.new_splits().unwrap(), directory.path()), ["2", "3"]);
    assert!(source.new_splits().unwrap().is_empty());
}

/// All records of a stream, and how often it said anything.
fn read_all(mut reader: Box<dyn SequentialReader>) -> Result<(Vec<u8>, usize), JobError> {
    let (mut all, mut count) = (Vec::new(), 0);
    loop {
        match reader.read(false)? {
            Read::Records(records) => all.extend_from_slice(&records),
            Read::End => return Ok((all, count)),
            other => panic!("{other:?}"),
        }
        count += 1;
    }
}

fn packed(path: &Path) -> Result<(Vec<u8>, usize), JobError> {
    match split(path, Framing::Delimited(b'\n'))? {
        Split::Sequential(split) => read_all(split.open(&Opening::default())?),
        other => panic!("{other:?}"),
    }
}

/// Some megabytes of lines.
fn lines() -> Vec<u8> {
    (0..300_000u32).flat_map(|line| format!("line {line}\n").into_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_are_read_whole() {
    let directory = tempfile::tempdir().unwrap();
    let lines = lines();
    let (first, second) = lines.split_at(1_234_567);
    let gzipped = [gzip(first), gzip(second)].concat();
    let zstd = [zstd::encode_all(first, 1).unwrap(), zstd::encode_all(second, 1).unwrap()].concat();
    for (name, bytes) in [("x.gz", gzipped), ("x.json.zst", zstd)] {
        write(directory.path(), name, &bytes);
        let (all, count) = packed(&directory.path().join(name)).unwrap();
        assert!(all == lines, "{name}");
        assert_eq!(count, lines.len().div_ceil(1 << 20), "{name}");
        for kept in [bytes.len() - 1, bytes.len() / 2, 10] {
            write(directory.path(), name, &bytes[..kept]);
            let error = packed(&directory.path().join(name)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("truncated"), "{error}");
        }
        write(directory.path(), name, b"this is neither");
        assert!(packed(&directory.path().join(name)).is_err());
    }
    write(directory.path(), "x.bz2", b"BZh9");
    assert!(packed(&directory.path().join("x.bz2")).unwrap_err().to_string().contains("bzip2"));
}

#[test]
fn a_pipe_is_waited_for_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
    let Split::Sequential(split) = split(&path, Framing::Delimited(b'\n')).unwrap() else {
        panic!()
    };
    assert!(!split.bounded());
    let mut reader = split.open(&Opening::default()).unwrap();
    assert!(matches!(reader.read(true).unwrap(), Read::Pending), "no writer yet is no end");
    let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    writer.write_all(b"a\nb\nc").unwrap();
    assert!(matches!(reader.read(false).unwrap(), Read::Pending), "too little without a flush");
    assert!(
        matches!(reader.read(true).unwrap(), Read::Records(records) if records.as_slice() == b"a\nb\n")
    );
    assert!(matches!(reader.read(true).unwrap(), Read::Pending));
    drop(writer);
    assert!(
        matches!(reader.read(false).unwrap(), Read::Records(records) if records.as_slice() == b"c")
    );
    assert!(matches!(reader.read(false).unwrap(), Read::End));
    assert_eq!(reader.descriptors().len(), 1);
}
