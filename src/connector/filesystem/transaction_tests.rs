//! Exactly once through crashes: jobs die at every operation of their storage, with and without a loss of power, go on from
//! their last manifest, and at every epoch what is seen is what an undisturbed job shows.

use proptest::prelude::*;

use super::super::power::{Failing, Memory};
use super::super::sink::FileSink;
use super::super::sink::tests::{batch, schema, sink};
use super::*;
use crate::connector::SealedPart;
use crate::connector::{Sink, SinkPart, TransactionalSink};
use crate::sys::random::Random;
use crate::sys::storage::Disk;

const FOREVER: i64 = i64::MAX;

/// A job: which rows come to which part in which epoch.
#[derive(Clone, Debug)]
struct Script {
    name: &'static str,
    options: &'static [(&'static str, &'static str)],
    /// For each epoch, parts and how many rows come to them, batch by batch.
    epochs: Vec<Vec<(usize, usize)>>,
    /// What the plain file holds before.
    before: Option<&'static str>,
}

const PARTS: usize = 3;

/// Names, options and earlier content of sinks.
type Variant = (&'static str, &'static [(&'static str, &'static str)], Option<&'static str>);
const VARIANTS: [Variant; 6] = [
    ("out", &[("sink.rolling-policy.file-size", "40")], None),
    ("out", &[("format", "rkyv")], None),
    ("out.csv", &[("csv-header", "true")], None),
    ("out.jsonl", &[("format", "json"), ("sink.changelog", "true")], None),
    ("out.csv", &[("sink.overwrite", "true")], Some("something old\n")),
    ("out.csv", &[], Some("")),
];

fn script((name, options, before): Variant, epochs: Vec<Vec<(usize, usize)>>) -> Script {
    Script { name, options, epochs, before }
}

impl Script {
    /// The same folder on every storage is `root/a/b`, the sink in it or it.
    fn path(&self, root: &Path) -> PathBuf {
        root.join("a/b").join(self.name)
    }

    fn folder(&self, root: &Path) -> PathBuf {
        let path = self.path(root);
        if self.name == "out" { path } else { path.parent().unwrap().to_owned() }
    }

    /// Puts there what was there before.
    fn begin(&self, storage: &dyn Storage, root: &Path) {
        let Some(before) = self.before else { return };
        make_folder(storage, &self.folder(root), false).unwrap();
        let file = storage.create(&self.path(root)).unwrap();
        file.write_at(0, before.as_bytes()).unwrap();
        file.sync().unwrap();
        storage.sync_folder(&self.folder(root)).unwrap();
    }

    /// Starts the job, from the manifest if there is one, and runs it to its end; `look` is called whenever the number
    /// of epochs that should be seen is known.
    fn attempt(
        &self,
        storage: &Failing,
        root: &Path,
        manifest: &mut Option<(usize, String)>,
        look: &mut dyn FnMut(usize),
    ) -> Result<(), JobError> {
        let sink = sink(&self.path(root), self.options).unwrap();
        let transactional = sink.transactional().unwrap();
        let record = manifest.as_ref().map(|(_, record)| record.as_str());
        transactional.open(Arc::new(storage.clone()), record)?;
        let done = manifest.as_ref().map_or(0, |(epochs, _)| *epochs);
        look(done);
        let mut parts = parts(&sink);
        for (epoch, rows) in self.epochs.iter().enumerate().skip(done) {
            for (index, &(part, count)) in rows.iter().enumerate() {
                parts[part].write(&batch((epoch * 1000 + index * 100) as i64, count))?;
                parts[part].flush()?;
            }
            look(epoch);
            let record = transactional.prepare(epoch as u64 + 1, &seal(&mut parts)?)?;
            storage.take().map_err(|error| failed(Path::new("manifest"), error))?;
            *manifest = Some((epoch + 1, record));
            transactional.publish(&manifest.as_ref().unwrap().1)?;
            look(epoch + 1);
        }
        Ok(())
    }

    /// What an undisturbed job shows after each number of epochs.
    fn expected(&self) -> Vec<Vec<Vec<u8>>> {
        let (memory, root) = (Memory::new(), Path::new("/"));
        self.begin(&memory, root);
        let mut shown = vec![Vec::new(); self.epochs.len() + 1];
        let storage = Failing::after(Arc::new(memory.clone()), FOREVER);
        let folder = self.folder(root);
        let mut look = |epochs: usize| shown[epochs] = seen(&memory, &folder);
        self.attempt(&storage, root, &mut None, &mut look).unwrap();
        shown
    }

    /// Runs the job until it is done; it dies after so many operations, each time. Whether it died that often.
    fn check(
        &self,
        storage: Arc<dyn Storage>,
        root: &Path,
        deaths: &[i64],
        after_death: &mut dyn FnMut(),
    ) -> bool {
        self.begin(&*storage, root);
        let (expected, folder) = (self.expected(), self.folder(root));
        let mut look = |epochs: usize| {
            assert_eq!(
                seen(&*storage, &folder),
                expected[epochs],
                "after {epochs} epochs: {self:?}"
            );
        };
        let mut manifest = None;
        let mut died = 0;
        for &operations in deaths {
            let failing = Failing::after(storage.clone(), operations);
            if let Err(error) = self.attempt(&failing, root, &mut manifest, &mut look) {
                assert!(error.to_string().contains("died"), "{error}: {self:?}");
                died += 1;
                after_death();
            }
        }
        let failing = Failing::after(storage.clone(), FOREVER);
        self.attempt(&failing, root, &mut manifest, &mut look).unwrap();
        look(self.epochs.len());
        if let Some((_, record)) = &manifest {
            let run = serde_json::from_str::<Record>(record).unwrap().run;
            let names = storage.list(&folder).unwrap();
            let strays = names.iter().filter(|name| name.starts_with('.') && name.contains(&run));
            assert_eq!(strays.count(), 0, "{names:?}");
        }
        died == deaths.len()
    }
}

fn parts(sink: &FileSink) -> Vec<Box<dyn SinkPart>> {
    (0..PARTS).map(|part| sink.part(&schema(), part, PARTS).unwrap()).collect()
}

fn seal(parts: &mut [Box<dyn SinkPart>]) -> Result<Vec<SealedPart>, JobError> {
    let sealed = parts.iter_mut().map(|part| part.seal(1));
    Ok(sealed.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// The contents of the files that are not hidden, sorted.
fn seen(storage: &dyn Storage, folder: &Path) -> Vec<Vec<u8>> {
    let names = storage.list(folder).unwrap_or_default();
    let shown = names.iter().filter(|name| !name.starts_with('.'));
    let mut contents: Vec<Vec<u8>> =
        shown.map(|name| storage.read(&folder.join(name)).unwrap()).collect();
    contents.sort();
    contents
}

/// Several epochs, one of them empty, one with rows of every part.
fn epochs() -> Vec<Vec<(usize, usize)>> {
    vec![vec![(0, 3), (1, 9), (0, 9)], vec![], vec![(2, 1), (0, 2), (1, 1), (1, 5)], vec![(1, 4)]]
}

#[test]
fn a_job_may_die_at_every_operation() {
    for variant in VARIANTS {
        let script = script(variant, epochs());
        let mut operations = 0;
        loop {
            let root = tempfile::tempdir().unwrap();
            if !script.check(Arc::new(Disk), root.path(), &[operations], &mut || {}) {
                break;
            }
            operations += 1;
        }
        assert!(operations > 30, "{operations}");
    }
}

#[test]
fn power_may_fail_at_every_operation() {
    for variant in VARIANTS {
        let script = script(variant, epochs());
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut operations = 0;
            loop {
                let memory = Memory::new();
                let mut lose = || memory.lose_power(&mut random);
                let storage = Arc::new(memory.clone());
                if !script.check(storage, Path::new("/"), &[operations], &mut lose) {
                    break;
                }
                operations += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_job_may_die_again_and_again(
        variant in 0..VARIANTS.len(),
        epochs in prop::collection::vec(prop::collection::vec((0..PARTS, 1..12_usize), 0..6), 1..6),
        deaths in prop::collection::vec(0..60_i64, 0..6),
        seed: u64,
    ) {
        let script = script(VARIANTS[variant], epochs);
        let memory = Memory::new();
        let mut random = Random::new(seed);
        // A process may die without the machine.
        let mut lose = || if random.below(2) == 0 { memory.lose_power(&mut random) };
        script.check(Arc::new(memory.clone()), Path::new("/"), &deaths, &mut lose);
    }
}

/// A sink on `storage`, opened.
fn opened(
    path: &Path,
    options: &[(&str, &str)],
    storage: &Memory,
    record: Option<&str>,
) -> Result<FileSink, JobError> {
    let sink = sink(path, options).unwrap();
    TransactionalSink::open(&sink, Arc::new(storage.clone()), record)?;
    Ok(sink)
}

/// Writes `rows` rows to the first part and prepares them.
fn epoch(sink: &FileSink, epoch: u64, rows: usize) -> String {
    let mut parts = parts(sink);
    parts[0].write(&batch(epoch as i64, rows)).unwrap();
    sink.prepare(epoch, &seal(&mut parts).unwrap()).unwrap()
}

fn shown_names(storage: &Memory, folder: &Path) -> Vec<String> {
    let names = storage.list(folder).unwrap();
    names.into_iter().filter(|name| !name.starts_with('.')).collect()
}

fn write(storage: &Memory, path: &str, text: &str) {
    let file = storage.create(Path::new(path)).or_else(|_| storage.open(Path::new(path))).unwrap();
    file.set_length(0).unwrap();
    file.write_at(0, text.as_bytes()).unwrap();
}

fn refusal<T>(result: Result<T, JobError>) -> String {
    result.err().expect("it refuses").to_string()
}

#[test]
fn published_parts_are_the_consumers() {
    let (memory, folder) = (Memory::new(), Path::new("/out"));
    let sink = opened(folder, &[], &memory, None).unwrap();
    memory.create(Path::new("/out/.part-of-another-0-0.inprogress")).unwrap();
    let first = epoch(&sink, 1, 1);
    assert_eq!(shown_names(&memory, folder), [""; 0]);
    sink.publish(&first).unwrap();
    let name = shown_names(&memory, folder).pop().unwrap();
    memory.remove(&folder.join(&name)).unwrap();
    sink.publish(&first).unwrap();
    drop((epoch(&sink, 2, 1), sink));
    // The second epoch's manifest was not written: its part is removed, and no name is used again.
    let again = opened(folder, &[], &memory, Some(&first)).unwrap();
    assert_eq!(memory.list(folder).unwrap(), [".part-of-another-0-0.inprogress"]);
    again.publish(&first).unwrap();
    let second = epoch(&again, 2, 1);
    again.publish(&second).unwrap();
    assert_ne!(shown_names(&memory, folder), [name]);
    // Something took the next name.
    let third = epoch(&again, 3, 1);
    let hidden = serde_json::from_str::<Record>(&third).unwrap().parts.remove(0).name;
    let taken = shown(&folder.join(&hidden));
    memory.create(&taken).unwrap();
    let refused = refusal(again.publish(&third));
    assert!(refused.contains(taken.to_str().unwrap()) && refused.contains("move it"), "{refused}");
    memory.remove(&taken).unwrap();
    again.publish(&third).unwrap();
    // A hidden part was taken away.
    let fourth = epoch(&again, 4, 1);
    let hidden = serde_json::from_str::<Record>(&fourth).unwrap().parts.remove(0).name;
    memory.remove(&folder.join(&hidden)).unwrap();
    assert!(refusal(again.publish(&fourth)).contains("removed before"));
}

#[test]
fn a_plain_file_is_ours_alone() {
    let (memory, path) = (Memory::new(), Path::new("/out.csv"));
    let sink = opened(path, &[], &memory, None).unwrap();
    let first = epoch(&sink, 1, 1);
    // Something appeared since the start.
    write(&memory, "/out.csv", "mine\n");
    assert!(refusal(sink.publish(&first)).contains("somebody else"));
    memory.remove(path).unwrap();
    sink.publish(&first).unwrap();
    assert_eq!(memory.read(path).unwrap(), b"k0,1\n");
    sink.publish(&first).unwrap();
    let second = epoch(&sink, 2, 1);
    write(&memory, "/out.csv", "k0,1\nmine\n");
    assert!(refusal(sink.publish(&second)).contains("somebody else"));
    write(&memory, "/out.csv", "k0,1\nmine and more\n");
    assert!(refusal(opened(path, &[], &memory, Some(&second))).contains("somebody else"));
    for (text, record) in [("k0", &second), ("k0", &first), ("", &first)] {
        write(&memory, "/out.csv", text);
        let refused = refusal(opened(path, &[], &memory, Some(record)));
        assert!(refused.contains("/out.csv: is damaged"), "{refused}");
    }
    write(&memory, "/out.csv", "k0,1\n");
    opened(path, &[], &memory, Some(&second)).unwrap();
    assert_eq!(memory.read(path).unwrap(), b"k0,1\nk0,2\n");
    // The segments are gone, so it must be whole.
    write(&memory, "/out.csv", "k0,1\n");
    assert!(refusal(opened(path, &[], &memory, Some(&second))).contains("is damaged"));
}

#[test]
fn old_content_stays_until_the_first_publication() {
    let (memory, path) = (Memory::new(), Path::new("/out.csv"));
    write(&memory, "/out.csv", "old");
    assert!(refusal(opened(path, &[], &memory, None)).contains("'sink.overwrite' = 'true'"));
    let options = [("sink.overwrite", "true"), ("csv-header", "true")];
    let sink = opened(path, &options, &memory, None).unwrap();
    let empty = sink.prepare(1, &[]).unwrap();
    assert_eq!(memory.read(path).unwrap(), b"old");
    sink.publish(&empty).unwrap();
    assert_eq!(memory.read(path).unwrap(), b"");
    sink.publish(&epoch(&sink, 2, 1)).unwrap();
    sink.publish(&epoch(&sink, 3, 1)).unwrap();
    assert_eq!(memory.read(path).unwrap(), b"k,n\nk0,2\nk0,3\n");
}

#[test]
fn an_epoch_without_rows_touches_nothing() {
    for name in ["/out", "/out.csv"] {
        let sink = sink(Path::new(name), &[]).unwrap();
        let counted = Failing::after(Arc::new(Memory::new()), 8);
        TransactionalSink::open(&sink, Arc::new(counted.clone()), None).unwrap();
        while counted.take().is_ok() {}
        let mut parts = parts(&sink);
        for epoch in 1..3 {
            parts[0].write(&batch(0, 0)).unwrap();
            parts[0].flush().unwrap();
            sink.publish(&sink.prepare(epoch, &seal(&mut parts).unwrap()).unwrap()).unwrap();
        }
        parts[0].finish().unwrap();
        sink.commit().unwrap();
    }
}

#[test]
fn an_epoch_whose_manifest_failed_is_part_of_the_next() {
    for (name, options) in [("/out", &[][..]), ("/out.csv", &[("csv-header", "true")][..])] {
        let (memory, path) = (Memory::new(), Path::new(name));
        let sink = opened(path, options, &memory, None).unwrap();
        epoch(&sink, 1, 1);
        let record = epoch(&sink, 2, 1);
        sink.publish(&record).unwrap();
        let folder = if name == "/out" { path } else { Path::new("/") };
        let text = seen(&memory, folder).concat();
        let expected = if name == "/out" { "k0,1\nk0,2\n" } else { "k,n\nk0,1\nk0,2\n" };
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}

#[test]
fn after_a_failure_there_is_no_other_epoch() {
    let sink = sink(Path::new("/out"), &[]).unwrap();
    let failing = Failing::after(Arc::new(Memory::new()), 8);
    TransactionalSink::open(&sink, Arc::new(failing.clone()), None).unwrap();
    let mut parts = parts(&sink);
    parts[0].write(&batch(0, 1)).unwrap();
    let sealed = seal(&mut parts).unwrap();
    while failing.take().is_ok() {}
    assert!(refusal(sink.prepare(1, &sealed)).contains("died"));
    assert!(refusal(sink.prepare(2, &[])).contains("start the job again"));
}

#[test]
fn files_that_wait_for_the_barrier_are_few() {
    let memory = Memory::new();
    let sink = opened(Path::new("/out"), &[("sink.rolling-policy.file-size", "1")], &memory, None)
        .unwrap();
    let mut part = sink.part(&schema(), 0, 1).unwrap();
    for row in 0..200 {
        part.write(&batch(row, 1)).unwrap();
    }
    assert!(refusal(part.finish()).contains("neither sealed"));
    let record = sink.prepare(1, &part.seal(1).unwrap()).unwrap();
    sink.publish(&record).unwrap();
    assert_eq!(shown_names(&memory, Path::new("/out")).len(), 65);
    let lines = seen(&memory, Path::new("/out")).concat();
    assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 200);
}

#[test]
fn records_of_something_else_are_refused() {
    let memory = Memory::new();
    let sink = opened(Path::new("/out"), &[], &memory, None).unwrap();
    let record = epoch(&sink, 1, 1);
    let refused = |path: &str, record: &str| {
        let refused = refusal(opened(Path::new(path), &[], &memory, Some(record)));
        assert!(refused.contains("does not fit"), "{refused}");
    };
    refused("/out.csv", &record);
    refused("/out", "{");
    refused("/out", &record.replace(".part-", "../.part-"));
    refused("/out", &record.replacen("\"run\":\"", "\"run\":\"x/", 1));
    assert!(memory.list(Path::new("/out")).unwrap().len() == 1);
}

/// Every planted bug is found by the tests above, and they come to every crash point. In processes of their own: what is
/// planted is planted everywhere.
#[cfg(feature = "crash-points")]
#[test]
fn planted_bugs_are_found() {
    let tests = |variable: &str, value: &std::ffi::OsStr| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["filesystem::transaction::tests::", "--skip", "planted_bugs_are_found"]);
        child.env("PROPTEST_MAX_SHRINK_ITERS", "0").env(variable, value);
        child.output().unwrap().status.success()
    };
    for name in [
        "sink-skip-sync",
        "sink-skip-folder-sync",
        "sink-skip-publish-sync",
        "sink-publish-early",
        "sink-forget-truncate",
        "sink-keep-strays",
    ] {
        assert!(!tests("TIDEMILL_PLANT", name.as_ref()), "{name} is not found");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    assert!(tests("TIDEMILL_CRASH_LOG", log.as_os_str()));
    let reached = std::fs::read_to_string(&log).unwrap();
    let sources =
        [include_str!("part.rs"), include_str!("transaction.rs"), include_str!("append.rs")];
    let points = sources.iter().flat_map(|source| source.split("crash_point!(\"").skip(1));
    let points: Vec<&str> = points.map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(points.len() >= 12, "{points:?}");
    let is_missed = |point: &&&str| !reached.lines().any(|name| name == **point);
    let missed: Vec<_> = points.iter().filter(is_missed).collect();
    assert!(missed.is_empty(), "{missed:?}");
}
