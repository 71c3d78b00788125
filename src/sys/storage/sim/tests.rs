//! The simulated disk against the real one (without faults they behave alike), and its crashes against what the contract
//! allows: what was synced is there, and what was not is sometimes lost, torn or garbage.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sys::storage::Disk;

/// A call, with small numbers for names and handles.
#[derive(Clone, Debug)]
enum Call {
    Create(u8),
    Open(u8),
    Close(u8),
    Write(u8, u16, u16),
    Read(u8, u16, u16),
    Allocate(u8, u16),
    SetLength(u8, u16),
    Sync(u8),
    Rename(u8, u8),
    RenameNew(u8, u8),
    Remove(u8),
    SyncFolder,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let (name, handle, number) = (|| 0..4_u8, || 0..8_u8, || 0..3000_u16);
    let call = prop_oneof![
        3 => name().prop_map(Call::Create),
        2 => name().prop_map(Call::Open),
        1 => handle().prop_map(Call::Close),
        8 => (handle(), number(), number()).prop_map(|(h, o, c)| Call::Write(h, o, c)),
        2 => (handle(), number(), number()).prop_map(|(h, o, c)| Call::Read(h, o, c)),
        2 => (handle(), number()).prop_map(|(h, n)| Call::Allocate(h, n)),
        2 => (handle(), number()).prop_map(|(h, n)| Call::SetLength(h, n)),
        2 => handle().prop_map(Call::Sync),
        2 => (name(), name()).prop_map(|(a, b)| Call::Rename(a, b)),
        2 => (name(), name()).prop_map(|(a, b)| Call::RenameNew(a, b)),
        1 => name().prop_map(Call::Remove),
        1 => Just(Call::SyncFolder),
    ];
    prop::collection::vec(call, 0..40)
}

/// A storage with open files, and what calls gave.
struct Driver<'a> {
    storage: &'a dyn Storage,
    folder: &'a Path,
    files: Vec<Arc<dyn StoredFile>>,
}

impl Driver<'_> {
    fn path(&self, name: u8) -> PathBuf {
        self.folder.join(["a", "b", "c", "none/d"][usize::from(name)])
    }

    /// What the call gave, as text: a value, or an error's kind. Handles are taken modulo their count.
    fn call(&mut self, call: &Call, salt: u8) -> String {
        let result = self.try_call(call, salt).map_err(|error| error.kind());
        format!("{call:?}: {result:?}")
    }

    fn try_call(&mut self, call: &Call, salt: u8) -> io::Result<Vec<u8>> {
        if let Call::Close(h)
        | Call::Write(h, ..)
        | Call::Read(h, ..)
        | Call::Allocate(h, _)
        | Call::SetLength(h, _)
        | Call::Sync(h) = call
        {
            let Some(index) = usize::from(*h).checked_rem(self.files.len()) else {
                return Ok(Vec::new());
            };
            return self.call_file(index, call, salt);
        }
        match *call {
            Call::Create(name) => self.files.push(self.storage.create(&self.path(name))?),
            Call::Open(name) => self.files.push(self.storage.open(&self.path(name))?),
            Call::Rename(a, b) if a != 3 && b != 3 => {
                self.storage.rename(&self.path(a), &self.path(b))?;
            }
            Call::RenameNew(a, b) if a != 3 && b != 3 => {
                self.storage.rename_new(&self.path(a), &self.path(b))?;
            }
            Call::Remove(name) => self.storage.remove(&self.path(name))?,
            _ => self.storage.sync_folder(self.folder)?,
        }
        Ok(Vec::new())
    }

    fn call_file(&mut self, index: usize, call: &Call, salt: u8) -> io::Result<Vec<u8>> {
        let file = &self.files[index];
        match *call {
            Call::Write(_, offset, count) => {
                file.write_at(offset.into(), &vec![salt; usize::from(count)])?;
            }
            Call::Read(_, offset, count) => {
                let mut bytes = vec![0; usize::from(count)];
                let count = file.read_at(offset.into(), &mut bytes)?;
                bytes.truncate(count);
                return Ok(bytes);
            }
            Call::Allocate(_, length) => file.allocate(length.into())?,
            Call::SetLength(_, length) => file.set_length(length.into())?,
            Call::Sync(_) => file.sync()?,
            _ => drop(self.files.swap_remove(index)),
        }
        Ok(Vec::new())
    }

    /// All that can be read.
    fn contents(&self) -> String {
        let names = self.storage.list(self.folder).unwrap();
        let content = |name: &String| {
            let path = self.folder.join(name);
            (self.storage.length_bytes(&path).unwrap(), self.storage.read(&path).unwrap())
        };
        let contents: Vec<_> = names.iter().map(content).collect();
        let lengths: Vec<_> = self.files.iter().map(|file| file.length_bytes().unwrap()).collect();
        format!("{names:?} {contents:?} {lengths:?}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Kills do no more than to close what is open.
    #[test]
    fn without_faults_it_behaves_as_a_disk(calls in calls(), kill_at in 0..80_usize) {
        let folder = tempfile::tempdir().unwrap();
        let sim = SimDisk::new(0);
        sim.create_folder(Path::new("/sim"), true).unwrap();
        let sim_folder = Path::new("/sim");
        let mut real = Driver { storage: &Disk, folder: folder.path(), files: Vec::new() };
        let mut simulated = Driver { storage: &sim, folder: sim_folder, files: Vec::new() };
        for (index, call) in calls.iter().enumerate() {
            if index == kill_at {
                sim.kill();
                simulated.files.clear();
                real.files.clear();
            }
            let salt = index as u8 + 1;
            prop_assert_eq!(real.call(call, salt), simulated.call(call, salt));
            prop_assert_eq!(real.contents(), simulated.contents());
        }
    }

    #[test]
    fn frames_are_viewed_as_on_a_disk(
        calls in prop::collection::vec((0..4_u8, 0..40_u16, 1..9_u16), 0..30),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let sim = SimDisk::new(0);
        let real = Disk.open_frames(&folder.path().join("frames"), true).unwrap();
        let simulated = sim.open_frames(Path::new("frames"), true).unwrap();
        for (salt, (kind, offset, count)) in calls.into_iter().enumerate() {
            let (offset, bytes) = (u64::from(offset) * 8, vec![salt as u8; usize::from(count) * 8]);
            for file in [&real, &simulated] {
                match kind {
                    0 => file.allocate(offset).unwrap(),
                    1 => file.set_length(offset).unwrap(),
                    _ => file.write_at(offset, &bytes).unwrap(),
                }
            }
            let length = real.length_bytes().unwrap();
            prop_assert_eq!(length, simulated.length_bytes().unwrap());
            let count = (length / 8) as usize;
            prop_assert_eq!(real.words(0, count), simulated.words(0, count));
            let beyond = || simulated.words(0, count + 1).len();
            prop_assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(beyond)).is_err());
        }
    }

    /// One file, synced at some time under a synced name: of every byte that is left, somebody must have written it, and
    /// one that was durable and not touched since is as it was.
    #[test]
    fn a_crash_leaves_what_was_synced(
        before in prop::collection::vec((0..4000_u64, 1..2000_usize), 0..4),
        after in prop::collection::vec((0..6000_u64, 1..2000_usize), 0..6),
        seed: u64,
    ) {
        let disk = SimDisk::new(0);
        let path = Path::new("file");
        let file = disk.create(path).unwrap();
        let mut salt = 0;
        let mut write = |offset: u64, count: usize| {
            salt += 1;
            file.write_at(offset, &vec![salt; count]).unwrap();
            salt
        };
        for &(offset, count) in &before {
            write(offset, count);
        }
        file.sync().unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        let synced = disk.content(path).unwrap();
        let mut allowed: BTreeMap<u64, BTreeSet<u8>> = BTreeMap::new();
        for &(offset, count) in &after {
            let salt = write(offset, count);
            for at in offset..offset + count as u64 {
                allowed.entry(at).or_default().insert(salt);
            }
        }
        let whole = disk.content(path).unwrap();
        disk.crash(seed);
        let left = disk.content(path).unwrap();
        prop_assert!(synced.len() <= left.len() && left.len() <= whole.len());
        for (at, byte) in left.iter().enumerate() {
            let may_be = allowed.get(&(at as u64)).is_some_and(|salts| salts.contains(byte));
            match synced.get(at) {
                Some(old) => prop_assert!(byte == old || may_be, "byte {at} is {byte}"),
                None => prop_assert!(may_be || *byte == 0 || allowed.contains_key(&(at as u64))),
            }
        }
        prop_assert!(file.length_bytes().is_err() && file.write_at(0, b"x").is_err());
        disk.crash(seed + u64::from(seed < u64::MAX));
        prop_assert_eq!(left, disk.content(path).unwrap(), "what is left is durable");
    }

    /// Any calls, then all is synced, then any calls on other names: the synced names and contents are there.
    #[test]
    fn a_crash_leaves_the_names_that_were_synced(first in calls(), second in calls(), seed: u64) {
        let disk = SimDisk::new(0);
        for folder in ["/kept", "/other"] {
            disk.create_folder(Path::new(folder), true).unwrap();
        }
        let drive = |folder, calls: &[Call]| {
            let mut driver = Driver { storage: &disk, folder: Path::new(folder), files: Vec::new() };
            calls.iter().for_each(|call| drop(driver.call(call, 7)));
        };
        drive("/kept", &first);
        let names = disk.list(Path::new("/kept")).unwrap();
        for name in &names {
            disk.open(&Path::new("/kept").join(name)).unwrap().sync().unwrap();
        }
        for folder in ["/kept", "/"] {
            disk.sync_folder(Path::new(folder)).unwrap();
        }
        let kept = |disk: &SimDisk| {
            let content = |name: &String| disk.content(&Path::new("/kept").join(name)).unwrap();
            names.iter().map(content).collect::<Vec<_>>()
        };
        let contents = kept(&disk);
        drive("/other", &second);
        disk.crash(seed);
        prop_assert_eq!(&disk.list(Path::new("/kept")).unwrap(), &names);
        prop_assert_eq!(kept(&disk), contents);
    }
}

/// The outcomes of crashes with many seeds.
fn outcomes<T: Ord>(run: impl Fn(&SimDisk), look: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
    let outcome = |seed| {
        let disk = SimDisk::new(0);
        run(&disk);
        disk.crash(seed);
        look(&disk)
    };
    (0..300).map(outcome).collect()
}

fn put(disk: &SimDisk, name: &str, content: &[u8]) -> Arc<dyn StoredFile> {
    let file = disk.create(Path::new(name)).unwrap();
    file.write_at(0, content).unwrap();
    file
}

/// All files with their first bytes, as text.
fn tree(disk: &SimDisk) -> String {
    let file = |(path, _): (PathBuf, u64)| {
        let first = disk.content(&path).unwrap().first().map(|&byte| char::from(byte));
        format!("{}={}", path.display(), first.unwrap_or('-'))
    };
    disk.files().into_iter().map(file).collect::<Vec<_>>().join(" ")
}

#[test]
fn unsynced_writes_are_lost_torn_kept_or_garbage() {
    let run = |disk: &SimDisk| {
        let file = put(disk, "f", &[1; 2048]);
        file.sync().unwrap();
        disk.sync_folder(Path::new("")).unwrap();
        file.write_at(0, &[2; 4096]).unwrap();
    };
    let seen = outcomes(run, |disk| disk.content(Path::new("f")).unwrap());
    assert!(seen.contains(&vec![1; 2048]), "all lost");
    assert!(seen.contains(&vec![2; 4096]), "all kept");
    let torn = |content: &&Vec<u8>| content[..2048].contains(&1) && content.contains(&2);
    assert!(seen.iter().filter(torn).count() > 10, "torn in many ways");
    let is_whole = |sector: &[u8]| sector == [1; 512] || sector == [2; 512];
    let are_whole = |content: &Vec<u8>| content[..2048].chunks(512).all(is_whole);
    assert!(seen.iter().all(are_whole), "at sectors, and no garbage where data was durable");
    let zeros = [vec![1; 2048], vec![0; 2048]].concat();
    assert!(seen.contains(&zeros), "the length is kept, the data is not");
    let is_garbage = |content: &Vec<u8>| content.iter().any(|&byte| byte > 2);
    assert!(seen.iter().any(is_garbage), "garbage where the data would be");
}

#[test]
fn unsynced_lengths_are_kept_or_lost() {
    let run = |disk: &SimDisk| {
        let file = put(disk, "f", &[1; 1024]);
        disk.settle();
        file.set_length(100).unwrap();
        file.allocate(3000).unwrap();
    };
    let seen = outcomes(run, |disk| disk.content(Path::new("f")).unwrap());
    let ones = |count, length| {
        let mut content = vec![1; count];
        content.resize(length, 0);
        content
    };
    let expected = [ones(1024, 1024), ones(100, 100), ones(1024, 3000), ones(100, 3000)];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn unsynced_names_are_kept_or_lost() {
    let create = |disk: &SimDisk| put(disk, "f", b"1").sync().unwrap();
    assert_eq!(outcomes(create, tree), BTreeSet::from(["", "f=1"].map(String::from)));

    let replace = |disk: &SimDisk| {
        put(disk, "f", b"1");
        disk.settle();
        put(disk, "t", b"2").sync().unwrap();
        disk.rename(Path::new("t"), Path::new("f")).unwrap();
    };
    let expected = ["f=1", "f=1 t=2", "f=2"].map(String::from);
    assert_eq!(outcomes(replace, tree), BTreeSet::from(expected));

    let rename_unsynced = |disk: &SimDisk| {
        put(disk, "t", b"2");
        disk.rename(Path::new("t"), Path::new("f")).unwrap();
        disk.sync_folder(Path::new("")).unwrap();
    };
    let expected = ["f=-", "f=2"].map(String::from);
    let seen = outcomes(rename_unsynced, |disk| tree(disk).replace("f=\0", "f=-"));
    assert!(
        expected.iter().all(|outcome| seen.contains(outcome)),
        "a name does not sync: {seen:?}"
    );

    let remove_and_create = |disk: &SimDisk| {
        put(disk, "f", b"1");
        disk.settle();
        disk.remove(Path::new("f")).unwrap();
        put(disk, "f", b"2").sync().unwrap();
    };
    let expected = ["", "f=1", "f=2"].map(String::from);
    assert_eq!(outcomes(remove_and_create, tree), BTreeSet::from(expected));

    let move_away_and_create = |disk: &SimDisk| {
        put(disk, "f", b"1");
        disk.settle();
        disk.rename(Path::new("f"), Path::new("g")).unwrap();
        put(disk, "f", b"2").sync().unwrap();
    };
    let expected = ["f=1", "g=1", "f=2 g=1"].map(String::from);
    assert_eq!(outcomes(move_away_and_create, tree), BTreeSet::from(expected));
}

#[test]
fn a_folder_is_lost_with_all_in_it_unless_the_one_above_was_synced() {
    let run = |disk: &SimDisk| {
        disk.create_folder(Path::new("a/b"), true).unwrap();
        put(disk, "a/b/f", b"1").sync().unwrap();
        disk.sync_folder(Path::new("a/b")).unwrap();
        disk.sync_folder(Path::new("a")).unwrap();
    };
    assert_eq!(outcomes(run, tree), BTreeSet::from(["", "a/b/f=1"].map(String::from)));
    let synced = |disk: &SimDisk| {
        run(disk);
        disk.sync_folder(Path::new(".")).unwrap();
    };
    assert_eq!(outcomes(synced, tree), BTreeSet::from(["a/b/f=1".to_owned()]));
}

#[test]
fn a_kill_loses_nothing_and_makes_nothing_durable() {
    let run = |disk: &SimDisk| {
        let file = put(disk, "f", b"1");
        disk.kill();
        assert!(file.sync().is_err() && file.read_at(0, &mut [0]).is_err(), "handles die");
        assert_eq!(tree(disk), "f=1");
    };
    assert!(outcomes(run, tree).contains(""));
}

#[test]
fn views_outlive_the_crash_and_files_opened_anew_show_what_is_left() {
    let disk = SimDisk::new(0);
    let path = Path::new("f");
    let old = disk.open_frames(path, true).unwrap();
    let view = |file: &Arc<dyn FrameFile>| file.words(0, 2).to_vec();
    old.write_at(0, &[1; 16]).unwrap();
    disk.settle();
    let same = disk.open_frames(path, false).unwrap();
    same.write_at(0, &[2; 8]).unwrap();
    let seen = [u64::from_ne_bytes([2; 8]), u64::from_ne_bytes([1; 8])];
    assert_eq!((view(&old), view(&same)), (seen.to_vec(), seen.to_vec()));
    let lossy = (0..).find(|&seed| Random::new(seed).below(8) == 0).unwrap();
    disk.crash(lossy);
    let new = disk.open_frames(path, false).unwrap();
    new.write_at(8, &[3; 8]).unwrap();
    assert_eq!(view(&old), seen);
    assert_eq!(view(&new), [[1; 8], [3; 8]].map(u64::from_ne_bytes));
    assert!(new.allocate(frames::RESERVED_BYTES as u64 + 1).is_err(), "beyond the address space");
}

#[test]
fn a_failed_sync_drops_data_that_is_still_read() {
    let run = |failed_sync| {
        let disk = SimDisk::new(0);
        let path = Path::new("f");
        let file = put(&disk, "f", b"1");
        disk.settle();
        file.write_at(0, b"2").unwrap();
        let faults = Faults::at(disk.operation_count(), Fault::Broken);
        disk.set_faults(Faults { failed_sync, ..faults });
        assert!(file.sync().is_err());
        file.sync().expect("the second sync has nothing to do, or does it");
        assert_eq!(disk.content(path).unwrap(), b"2");
        disk.crash(0);
        disk.content(path).unwrap()
    };
    assert_eq!(run(FailedSync::Drops), b"1");
    assert_eq!(run(FailedSync::Keeps), b"2");
}

#[test]
fn a_full_disk_refuses_until_there_is_room() {
    let disk = SimDisk::new(0);
    disk.set_capacity(1000);
    let file = put(&disk, "f", &[1; 600]);
    let full = |result: io::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::StorageFull);
    };
    assert_eq!(disk.free_bytes(Path::new("f")), Some(400));
    full(file.allocate(1001));
    assert_eq!(file.length_bytes().unwrap(), 600);
    full(file.write_at(600, &[2; 500]));
    assert_eq!(file.length_bytes().unwrap(), 1000, "what fits is written");
    file.write_at(0, &[3; 1000]).expect("it takes no more room");
    let other = disk.create(Path::new("g")).unwrap();
    full(other.write_at(0, &[1]));
    file.set_length(500).unwrap();
    other.allocate(500).unwrap();
    full(file.write_at(500, &[1]));
    disk.remove(Path::new("g")).unwrap();
    full(file.write_at(500, &[1]));
    drop(other);
    file.write_at(500, &[1]).expect("nothing holds the other file");
    disk.set_capacity(2000);
    file.allocate(2000).unwrap();
}

/// Runs a few operations; the indices at which one failed, by kind.
fn failures(disk: &SimDisk) -> Vec<(u64, io::ErrorKind)> {
    let mut failures = Vec::new();
    let path = Path::new("f");
    let mut note = |result: io::Result<()>| {
        if let Err(error) = result {
            failures.push((disk.operation_count() - 1, error.kind()));
        }
    };
    note(disk.create(path).map(drop));
    if let Ok(file) = disk.open(path) {
        note(file.write_at(0, &[1; 2000]));
        note(file.allocate(4000));
        note(file.set_length(100));
        note(file.sync());
    }
    note(disk.sync_folder(Path::new("")));
    note(disk.rename(path, Path::new("g")));
    note(disk.remove(Path::new("g")));
    failures
}

#[test]
fn each_operation_can_be_made_to_fail() {
    let fault_free = SimDisk::new(0);
    assert!(failures(&fault_free).is_empty());
    assert_eq!(fault_free.operation_count(), 8);
    for index in 0..8 {
        for (fault, kind, takes_room) in [
            (Fault::Full, io::ErrorKind::StorageFull, index < 3),
            (Fault::Broken, io::Error::from(Fault::Broken).kind(), true),
        ] {
            let disk = SimDisk::new(0);
            disk.set_faults(Faults::at(index, fault));
            let failures = failures(&disk);
            let expected = takes_room.then_some((index, kind));
            assert_eq!(failures.first().copied(), expected, "{fault:?} at {index}");
        }
    }
    let disk = SimDisk::new(0);
    disk.set_faults(Faults::from(2, Fault::Broken));
    assert_eq!(failures(&disk).len(), 6);
}

#[test]
fn random_faults_come_as_often_as_asked_and_again() {
    let run = |seed| {
        let disk = SimDisk::new(seed);
        let file = put(&disk, "f", b"1");
        let faults = Faults { broken_per_million: 100_000, ..Faults::default() };
        disk.set_faults(Faults { full_per_million: 200_000, ..faults });
        let kind = |_| file.write_at(0, b"2").err().map(|error| error.kind());
        (0..1000).map(kind).collect::<Vec<_>>()
    };
    let kinds = run(1);
    let full = kinds.iter().filter(|&&kind| kind == Some(io::ErrorKind::StorageFull)).count();
    let broken = kinds.iter().flatten().count() - full;
    assert!((150..250).contains(&full) && (60..140).contains(&broken), "{full} {broken}");
    assert_eq!(kinds, run(1));
    assert_ne!(kinds, run(2));
}

#[test]
fn a_folder_has_one_owner_until_it_dies() {
    let disk = SimDisk::new(0);
    let path = Path::new("/state");
    assert!(disk.lock_folder(path).is_err());
    disk.create_folder(path, true).unwrap();
    let first = disk.lock_folder(path).unwrap();
    assert!(first.is_some() && disk.lock_folder(Path::new("/./state/")).unwrap().is_none());
    disk.kill();
    let second = disk.lock_folder(path).unwrap();
    drop(first);
    assert!(second.is_some() && disk.lock_folder(path).unwrap().is_none(), "the dead hold nothing");
    drop(second);
    assert!(disk.lock_folder(path).unwrap().is_some());
}

#[test]
fn corruption_is_on_the_medium() {
    let disk = SimDisk::new(0);
    let path = Path::new("f");
    put(&disk, "f", &[0; 10]);
    disk.settle();
    disk.flip_bit(path, 3, 7);
    disk.truncate(path, 5);
    disk.crash(0);
    assert_eq!(disk.content(path).unwrap(), [0, 0, 0, 128, 0]);
    assert_eq!(disk.files(), [(path.to_owned(), 5)]);
}
