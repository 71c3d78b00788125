//! Sinks that a program writes: everything is shown once, whatever deaths and failures, and what goes wrong is told by name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tidemill::batch::RowKind;
use tidemill::error::{Class, JobError};
use tidemill::job::RuntimeKind;
use tidemill::sink::{SinkConnector, SinkError, SinkWriter};
use tidemill::{Every, Job, Options, Records, Span, Window, WindowResult};

use super::events::{Event, LAG_MS, Written, events, late, settings};

const SIZE_MS: i64 = 1000;

/// What a disk holds of a sink: lines by the name under which they are pending.
#[derive(Default)]
struct Disk {
    hidden: BTreeMap<String, Vec<String>>,
    shown: BTreeMap<String, Vec<String>>,
    /// So many calls succeed; the next fails, before or after it has done its work.
    calls_left: u64,
    fails_after: bool,
}

type Shared = Arc<Mutex<Disk>>;

/// Does `work`, unless it is this call's turn to fail.
fn call<R>(disk: &Shared, work: impl FnOnce(&mut Disk) -> R) -> Result<R, SinkError> {
    let mut disk = disk.lock().unwrap();
    if disk.calls_left == 0 && !disk.fails_after {
        return Err("the disk is gone".into());
    }
    let done = work(&mut disk);
    if disk.calls_left == 0 {
        return Err("the disk is gone".into());
    }
    disk.calls_left -= 1;
    Ok(done)
}

fn disk() -> Shared {
    Arc::new(Mutex::new(Disk { calls_left: u64::MAX, ..Disk::default() }))
}

/// All lines that are shown, in order.
fn shown(disk: &Shared) -> Vec<String> {
    let mut lines: Vec<String> = disk.lock().unwrap().shown.values().flatten().cloned().collect();
    lines.sort();
    lines
}

/// Window results as lines on a disk.
struct Sums {
    disk: Shared,
    name: &'static str,
    changes: bool,
}

impl Sums {
    fn on(disk: &Shared) -> Self {
        Self { disk: Arc::clone(disk), name: "sums", changes: false }
    }
}

type Sum = WindowResult<u32, (i64, i64)>;

impl SinkConnector for Sums {
    type Item = Sum;
    type Writer = Lines;

    fn name(&self) -> &str {
        self.name
    }

    fn writer(&self, part: usize) -> Result<Lines, SinkError> {
        Ok(Lines { disk: Arc::clone(&self.disk), part, lines: Vec::new() })
    }

    fn commit(&self, pending: &str) -> Result<(), SinkError> {
        call(&self.disk, |disk| match disk.hidden.remove(pending) {
            Some(lines) => assert_eq!(disk.shown.insert(pending.to_owned(), lines), None),
            None => assert!(disk.shown.contains_key(pending), "{pending} is lost"),
        })
    }

    fn recover(&self, committed: &[String]) -> Result<(), SinkError> {
        call(&self.disk, |disk| {
            assert!(committed.iter().all(|pending| disk.shown.contains_key(pending)));
            disk.hidden.clear();
        })
    }

    fn takes_changes(&self) -> bool {
        self.changes
    }
}

struct Lines {
    disk: Shared,
    part: usize,
    lines: Vec<String>,
}

impl SinkWriter for Lines {
    type Item = Sum;

    fn write(&mut self, sum: &Sum) -> Result<(), SinkError> {
        call(&self.disk, |_| self.lines.push(format!("{sum:?}")))
    }

    fn change(&mut self, kind: RowKind, sum: &Sum) -> Result<(), SinkError> {
        call(&self.disk, |_| self.lines.push(format!("{kind:?} {sum:?}")))
    }

    fn prepare(&mut self, epoch: u64) -> Result<Option<String>, SinkError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        let name = format!("{}-{epoch}", self.part);
        let lines = std::mem::take(&mut self.lines);
        call(&self.disk, |disk| disk.hidden.insert(name.clone(), lines))?;
        Ok(Some(name))
    }
}

fn sums(file: &Written, sink: impl tidemill::sink::ItemSink<Sum>) -> Job {
    sums_in(file, Window::tumbling(Span::millis(SIZE_MS)), sink)
}

fn sums_in(file: &Written, window: Window, sink: impl tidemill::sink::ItemSink<Sum>) -> Job {
    Job::new("sums")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .key_by(|e| e.key)
        .window(window)
        .aggregate(|on| (on.count(), on.sum(|e| e.amount)))
        .sink_to(sink)
}

/// The same by a loop.
fn expected(events: &[Event]) -> Vec<String> {
    let is_late = late(events, SIZE_MS);
    let mut sums: BTreeMap<(i64, u32), (i64, i64)> = BTreeMap::new();
    for (event, _) in events.iter().zip(is_late).filter(|(_, late)| !late) {
        let start = event.at_ms.div_euclid(SIZE_MS) * SIZE_MS;
        let (count, sum) = sums.entry((start, event.key)).or_default();
        *count += 1;
        *sum += event.amount;
    }
    let line = |((start_ms, key), value): ((i64, u32), (i64, i64))| {
        format!("{:?}", Sum { key, value, start_ms, end_ms: start_ms + SIZE_MS })
    };
    let mut lines: Vec<String> = sums.into_iter().map(line).collect();
    lines.sort();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn results_are_shown_once(events in events(), seed in any::<u64>()) {
        let (file, expected) = (Written::new(&events), expected(&events));
        settings(|options| {
            let disk = disk();
            sums(&file, Sums::on(&disk)).run(options).unwrap();
            prop_assert_eq!(shown(&disk), expected.clone());
            Ok(())
        })?;
        // Lives that end at a step or at a call of the sink's, on shards that come and go.
        let (disk, folder) = (disk(), tempfile::tempdir().unwrap());
        let options = || {
            let options = Options::default().chunk_bytes(1 << 20).state(folder.path().join("state"));
            options.snapshot_interval(Span::millis(1))
        };
        let deaths = (0..).take_while(|life| {
            let drawn = seed.rotate_left(*life as u32) ^ life;
            let shards = 1 + (drawn % 3) as usize;
            let steps = 30 + life * 60;
            let (runtime, calls) = match drawn % 5 {
                0 | 1 => (RuntimeKind::Dying { seed: drawn, steps }, u64::MAX),
                _ => (RuntimeKind::Sim(drawn), drawn % (3 + life * 16)),
            };
            {
                let mut disk = disk.lock().unwrap();
                (disk.calls_left, disk.fails_after) = (calls, drawn % 2 == 0);
            }
            let options = options().shards(shards).runtime(runtime);
            sums(&file, Sums::on(&disk)).run(options).is_err()
        });
        prop_assert!(deaths.count() < 1000);
        prop_assert_eq!(shown(&disk), expected);
        prop_assert!(disk.lock().unwrap().hidden.is_empty());
    }
}

#[test]
fn a_failed_job_without_state_shows_nothing() {
    let events: Vec<Event> = (0..200).map(event).collect();
    let (file, disk) = (Written::new(&events), disk());
    let all = expected(&events).len() as u64;
    let job = || sums(&file, Sums::on(&disk));
    // `recover`, all writes, and the first of two `prepare`s.
    disk.lock().unwrap().calls_left = 1 + all + 1;
    let error = job().run(Options::default().shards(2)).unwrap_err();
    assert_eq!(error.class(), Class::External);
    assert_eq!(error.to_string(), "sums: the disk is gone");
    assert_eq!(shown(&disk), [""; 0]);
    assert_eq!(disk.lock().unwrap().hidden.len(), 1);
    disk.lock().unwrap().calls_left = u64::MAX;
    let job = job();
    job.run(Options::default().shards(2)).unwrap();
    assert_eq!(shown(&disk), expected(&events));
    // The same job may run again, and then has what it had.
    disk.lock().unwrap().shown.clear();
    job.run(Options::default().shards(2)).unwrap();
    assert_eq!(shown(&disk), expected(&events));
}

fn event(n: i64) -> Event {
    Event { at_ms: n * 100, key: (n % 3) as u32, amount: n, name: String::new() }
}

#[test]
fn changes_come_to_sinks_that_take_them() {
    let events: Vec<Event> = (0..100).map(event).collect();
    let (file, disk) = (Written::new(&events), disk());
    let window = Window::tumbling(Span::millis(SIZE_MS));
    let early = window.early_fire(Every::event_time(Span::millis(100)));
    let job = sums_in(&file, early, Sums::on(&disk));
    let error = job.run(Options::default()).unwrap_err();
    assert!(error.to_string().contains("takes_changes"), "{error}");
    let sink = Sums { changes: true, ..Sums::on(&disk) };
    sums_in(&file, early, sink).run(Options::default().shards(2)).unwrap();
    let mut held: Vec<String> = Vec::new();
    let lines = shown(&disk);
    let (adds, takes): (Vec<_>, Vec<_>) = lines
        .iter()
        .partition(|line| line.starts_with("Insert") || line.starts_with("UpdateAfter"));
    assert!(!takes.is_empty());
    held.extend(adds.iter().map(|line| line.split_once(' ').unwrap().1.to_owned()));
    for line in takes {
        let line = line.split_once(' ').unwrap().1;
        let at = held.iter().position(|held| held == line).expect("what was shown is taken back");
        held.swap_remove(at);
    }
    held.sort();
    assert_eq!(held, expected(&events));
}

#[test]
fn a_snapshot_of_another_sink_is_refused() {
    let events: Vec<Event> = (0..50).map(event).collect();
    let (file, disk, folder) = (Written::new(&events), disk(), tempfile::tempdir().unwrap());
    let run = |sink| sums(&file, sink).run(Options::default().shards(1).state(folder.path()));
    run(Sums::on(&disk)).unwrap();
    let error = run(Sums { name: "others", ..Sums::on(&disk) }).unwrap_err();
    let text = "others: the snapshot does not fit this sink: it is of 'sums'";
    assert_eq!((error.class(), error.to_string().as_str()), (Class::External, text));
}

/// Panics in the method of this name.
struct Panics(&'static str);

fn panics(is: &str, here: &str) -> Result<(), SinkError> {
    assert_ne!(is, here, "no");
    Ok(())
}

impl SinkConnector for Panics {
    type Item = i64;
    type Writer = Self;

    fn name(&self) -> &str {
        "panics"
    }

    fn writer(&self, _: usize) -> Result<Self, SinkError> {
        panics(self.0, "writer").map(|()| Self(self.0))
    }

    fn commit(&self, _: &str) -> Result<(), SinkError> {
        panics(self.0, "commit")
    }

    fn recover(&self, _: &[String]) -> Result<(), SinkError> {
        panics(self.0, "recover")
    }
}

impl SinkWriter for Panics {
    type Item = i64;

    fn write(&mut self, _: &<i64 as rkyv::Archive>::Archived) -> Result<(), SinkError> {
        panics(self.0, "write")
    }

    fn prepare(&mut self, _: u64) -> Result<Option<String>, SinkError> {
        panics(self.0, "prepare").map(|()| Some(String::new()))
    }
}

#[test]
fn a_panic_ends_the_job_by_name() {
    for place in ["writer", "write", "prepare", "commit", "recover"] {
        for with_state in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let options = Options::default().shards(2);
            let options = if with_state { options.state(folder.path()) } else { options };
            let job = Job::new("panics").source("n", Records::new(0..10_i64));
            let job = job.processing_time().sink_to(Panics(place));
            let error = job.run(options).unwrap_err();
            assert!(
                matches!(&error, JobError::Expression { origin, message }
                if origin == "panics" && message.starts_with(&format!("`{place}` panicked"))),
                "{error:?}"
            );
        }
    }
}
