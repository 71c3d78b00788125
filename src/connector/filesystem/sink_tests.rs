//! Parts and plain files: names while written and afterwards, rolling, and what must not be overwritten.

use arrow_array::{Int64Array, StringViewArray};

use super::*;
use crate::batch::{Batch, DataType, Field, RowKind};

pub(in super::super) fn schema() -> Schema {
    Schema::new(vec![Field::new("k", DataType::STRING), Field::new("n", DataType::BigInt)])
}

pub(in super::super) fn batch(first: i64, rows: usize) -> Batch {
    let keys = StringViewArray::from_iter_values((0..rows).map(|row| format!("k{row}")));
    let numbers = Int64Array::from_iter_values((0..rows as i64).map(|row| first + row));
    Batch::new(vec![Arc::new(keys), Arc::new(numbers)], rows)
}

pub(in super::super) fn sink(path: &Path, pairs: &[(&str, &str)]) -> Result<FileSink, OptionError> {
    let mut options: Options =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    options.insert("path".into(), path.to_str().unwrap().into());
    options.entry("format".into()).or_insert("csv".into());
    let format = crate::format::resolve(&options, Some("csv"), &schema()).unwrap();
    FileSink::new(&options, format)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All lines of the visible files, sorted.
fn lines(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for name in names(directory) {
        assert!(name.starts_with("part-"), "{name}");
        lines.extend(
            std::fs::read_to_string(directory.join(name)).unwrap().lines().map(str::to_owned),
        );
    }
    lines.sort();
    lines
}

#[test]
fn parts_are_hidden_until_finished_and_added_to() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/out");
    for run in 0..2 {
        let sink = sink(&directory, &[]).unwrap();
        let mut parts: Vec<_> =
            (0..2).map(|shard| sink.part(&schema(), shard, 3).unwrap()).collect();
        let mut idle = sink.part(&schema(), 2, 3).unwrap();
        for (shard, part) in parts.iter_mut().enumerate() {
            part.write(&batch(shard as i64 * 10, 2)).unwrap();
            part.flush().unwrap();
        }
        let hidden: Vec<String> =
            names(&directory).into_iter().filter(|name| name.starts_with('.')).collect();
        assert!(
            hidden.len() == 2 && hidden.iter().all(|name| name.ends_with(".inprogress")),
            "{hidden:?}"
        );
        parts.iter_mut().for_each(|part| part.finish().unwrap());
        idle.finish().unwrap();
        sink.commit().unwrap();
        assert_eq!(names(&directory).len(), 2 * (run + 1));
    }
    assert_eq!(
        lines(&directory),
        ["k0,0", "k0,0", "k0,10", "k0,10", "k1,1", "k1,1", "k1,11", "k1,11"]
    );
}

#[test]
fn parts_roll_by_size_and_age() {
    let root = tempfile::tempdir().unwrap();
    let by_size = root.path().join("size");
    let sink_of = sink(&by_size, &[("sink.rolling-policy.file-size", "100")]).unwrap();
    let mut part = sink_of.part(&schema(), 7, 8).unwrap();
    for first in 0..20 {
        part.write(&batch(first * 10, 10)).unwrap();
    }
    part.finish().unwrap();
    let files = names(&by_size);
    assert!(files.len() >= 8 && files.iter().all(|name| name.contains("-7-")), "{files:?}");
    assert_eq!(lines(&by_size).len(), 200);

    let by_age = root.path().join("age");
    let sink_of = sink(&by_age, &[("sink.rolling-policy.rollover-interval", "1 ms")]).unwrap();
    let mut part = sink_of.part(&schema(), 0, 1).unwrap();
    for first in 0..3 {
        part.write(&batch(first, 1)).unwrap();
        let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 3_000_000 };
        rustix::event::poll(&mut [], Some(&moment)).unwrap();
    }
    part.flush().unwrap();
    assert_eq!(names(&by_age).len(), 3);
    assert_eq!(lines(&by_age), ["k0,0", "k0,1", "k0,2"]);
}

#[test]
fn a_plain_file_takes_all_shards_and_appears_at_the_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("new/out.csv");
    let sink_of = sink(&path, &[("csv-header", "true")]).unwrap();
    let mut parts: Vec<_> =
        (0..3).map(|shard| sink_of.part(&schema(), shard, 3).unwrap()).collect();
    for (shard, part) in parts.iter_mut().enumerate() {
        part.write(&batch(shard as i64, 1)).unwrap();
        part.finish().unwrap();
    }
    assert_eq!(names(path.parent().unwrap()), [".out.csv.inprogress"]);
    let busy = sink(&path, &[]).unwrap().part(&schema(), 0, 1).err().unwrap().to_string();
    assert!(busy.contains("another job"), "{busy}");
    sink_of.commit().unwrap();
    assert_eq!(names(path.parent().unwrap()), ["out.csv"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "k,n\nk0,0\nk0,1\nk0,2\n");
}

#[test]
fn content_is_not_overwritten_unasked() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out.jsonl");
    std::fs::write(&path, "precious").unwrap();
    let refused = sink(&path, &[]).unwrap().part(&schema(), 0, 1).err().unwrap().to_string();
    assert!(refused.contains("'sink.overwrite' = 'true'"), "{refused}");
    let overwriting = sink(&path, &[("sink.overwrite", "true")]).unwrap();
    let mut part = overwriting.part(&schema(), 0, 1).unwrap();
    part.write(&batch(0, 1)).unwrap();
    part.finish().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    overwriting.commit().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "k0,0\n");
    // A file that appears while the job runs is not replaced either.
    let other = root.path().join("other.csv");
    let late = sink(&other, &[]).unwrap();
    late.part(&schema(), 0, 1).unwrap().finish().unwrap();
    std::fs::write(&other, "precious").unwrap();
    assert!(late.commit().is_err());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
}

#[test]
fn an_interrupted_job_leaves_nothing_in_the_way() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out.csv");
    let interrupted = sink(&path, &[]).unwrap();
    let mut part = interrupted.part(&schema(), 0, 1).unwrap();
    part.write(&batch(0, 100)).unwrap();
    part.flush().unwrap();
    drop((part, interrupted));
    let again = sink(&path, &[]).unwrap();
    again.part(&schema(), 0, 1).unwrap().finish().unwrap();
    again.commit().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn changes_are_written_if_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("out.csv");
    assert!(!sink(&path, &[]).unwrap().accepts_changes());
    let sink_of = sink(&path, &[("sink.changelog", "true")]).unwrap();
    assert!(sink_of.accepts_changes());
    let mut part = sink_of.part(&schema(), 0, 1).unwrap();
    part.write(&batch(5, 2).with_kinds([RowKind::UpdateBefore, RowKind::UpdateAfter].into()))
        .unwrap();
    part.finish().unwrap();
    sink_of.commit().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "-U,k0,5\n+U,k1,6\n");
}

#[test]
fn options() {
    let root = tempfile::tempdir().unwrap();
    let key = |name: &str, pairs: &[(&str, &str)]| {
        sink(&root.path().join(name), pairs).map(|_| ()).unwrap_err().key
    };
    assert_eq!(
        key("d", &[("sink.rolling-policy.file-size", "0")]),
        "sink.rolling-policy.file-size"
    );
    assert_eq!(key("d", &[("auto-compaction", "true")]), "auto-compaction");
    assert_eq!(key("d", &[("sink.overwrite", "true")]), "sink.overwrite");
    assert_eq!(
        key("d.csv", &[("sink.rolling-policy.file-size", "1 mb")]),
        "sink.rolling-policy.file-size"
    );
    assert_eq!(key("d", &[("sink.partition-commit.delay", "1 h")]), "sink.partition-commit.delay");
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(
        sink(&file, &[]).unwrap().part(&schema(), 0, 1).err().unwrap().to_string().contains("file")
    );
}
