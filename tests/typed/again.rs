//! A job that is run again: every run on its own, whatever became of the one before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill::error::{Class, JobError};
use tidemill::{Files, Iterate, Job, Options, Records, Span};

const NUMBERS: i64 = 10_000;

/// Writes numbers to `path`, unless `fails` says that a closure panics half-way; that it says once.
fn job(path: &Path, fails: bool) -> Job {
    let fails = Arc::new(AtomicBool::new(fails));
    Job::new("numbers")
        .source("numbers", Records::new(0..NUMBERS))
        .watermark(|n| *n, Span::millis(0))
        .filter(move |n| {
            *n != NUMBERS / 2 || !fails.swap(false, Ordering::Relaxed) || panic!("half-way")
        })
        .sink_to(Files::csv(path))
}

/// The lines of a file, or of all files in a folder that are shown.
fn lines(path: &Path) -> Vec<i64> {
    let entries = || std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let is_shown = |path: &PathBuf| !path.file_name().unwrap().to_str().unwrap().starts_with('.');
    let files =
        if path.is_dir() { entries().filter(is_shown).collect() } else { vec![path.to_owned()] };
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<String>();
    let mut lines: Vec<i64> = texts.lines().map(|line| line.parse().unwrap()).collect();
    lines.sort();
    lines
}

fn options() -> Options {
    Options::default().shards(2)
}

#[test]
fn a_file_is_not_written_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let job = job(&path, false);
    job.run(options()).unwrap();
    let refused = job.run(options()).unwrap_err();
    assert_eq!(refused.class(), Class::External);
    assert!(refused.to_string().contains("the file exists and has content"), "{refused}");
    assert!(lines(&path).into_iter().eq(0..NUMBERS));
}

/// The second run once went on writing behind what the first had left, or was told that its file was not open.
#[test]
fn a_run_that_failed_leaves_nothing_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.csv", "out"] {
        let path = folder.path().join(name);
        let job = job(&path, true);
        let failed = job.run(options()).unwrap_err();
        assert!(failed.to_string().contains("half-way"), "{failed}");
        job.run(options()).unwrap();
        assert!(lines(&path).into_iter().eq(0..NUMBERS), "{name}");
    }
}

/// Both runs once gave their files the same names.
#[test]
fn a_folder_is_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let job = job(&path, false);
    job.run(options()).unwrap();
    job.run(options()).unwrap();
    assert!(lines(&path).into_iter().eq((0..NUMBERS).flat_map(|n| [n, n])));
}

#[test]
fn with_state_or_without() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let job = job(&path, false);
    let with_state = || options().state(folder.path().join("state"));
    job.run(with_state()).unwrap();
    assert!(job.run(with_state()).unwrap().went_on_from.unwrap().finished);
    assert!(lines(&path).into_iter().eq(0..NUMBERS));
    job.run(options()).unwrap();
    assert!(lines(&path).into_iter().eq((0..NUMBERS).flat_map(|n| [n, n])));
}

#[test]
fn two_runs_at_once_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let endless = Job::new("endless")
        .source("numbers", Iterate::new(|| 0_i64..))
        .watermark(|n| *n, Span::millis(0))
        .filter(|n| *n < NUMBERS)
        .sink_to(Files::csv(&path));
    let running = endless.start(options()).unwrap();
    while running.metrics().totals.rows_out < NUMBERS as u64 {
        std::thread::yield_now();
    }
    let refused = endless.run(options()).unwrap_err();
    assert!(matches!(&refused, JobError::Environment(_)), "{refused}");
    assert!(refused.to_string().contains("another job is writing this file"), "{refused}");
    running.stop();
    running.wait().unwrap();
    assert!(lines(&path).into_iter().eq(0..NUMBERS));
}
