//! A durable space against plain vectors: changes, seals, commits, crashes, evictions, moves, in any order.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::error::StateError;
use crate::sys::random::Random;
use crate::sys::storage::{SimDisk, Storage};

/// What a step does to a space and to its twin.
#[derive(Clone, Debug)]
enum Step {
    Alloc(bool),
    Free(usize),
    Change(usize, usize, usize, u64),
    Read(usize),
    /// A barrier; the writer lags behind by so many steps.
    Seal(usize),
    /// A crash, and recovery from the newest commit.
    Crash(u64),
    /// The page table is read behind the operator's back.
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::bool::weighted(0.2).prop_map(Step::Alloc),
        1 => (0..1000usize).prop_map(Step::Free),
        12 => (0..1000usize, 0..PAGE_WORDS, 1..40usize, any::<u64>())
            .prop_map(|(page, at, count, value)| Step::Change(page, at, count, value)),
        4 => (0..1000usize).prop_map(Step::Read),
        2 => (0..6usize).prop_map(Step::Seal),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..250)
}

type Twin = BTreeMap<PageId, Vec<u64>>;

/// A space with what its writer would hold.
struct Bench {
    disk: SimDisk,
    storage: Arc<dyn Storage>,
    frames: Arc<Frames>,
    space: Space,
    twin: Twin,
    /// A sealed epoch that is not written yet, and how many steps until it is.
    sealed: Option<(Sealed, Twin, usize)>,
    committed: Option<(Root, Twin)>,
    epoch: u32,
    budget_bytes: usize,
}

impl Bench {
    fn new(budget_pages: usize) -> Self {
        let budget_bytes = budget_pages * PAGE_WORDS * 8;
        let disk = SimDisk::new(1);
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let frames = Frames::create(&storage, Path::new("space")).unwrap();
        frames.sync().unwrap();
        storage.sync_folder(Path::new("")).unwrap();
        let space = Space::open(&frames, 7, None, 0, budget_bytes).unwrap();
        let (twin, epoch) = (Twin::new(), 0);
        Self {
            disk,
            storage,
            frames,
            space,
            twin,
            sealed: None,
            committed: None,
            epoch,
            budget_bytes,
        }
    }

    fn page(&self, index: usize) -> Option<PageId> {
        self.twin.keys().nth(index % self.twin.len().max(1)).copied()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Alloc(large) => {
                let words = if large { PAGE_WORDS * 2 + 100 } else { PAGE_WORDS };
                let page = self.space.pages.alloc_extent(words);
                assert!(self.twin.insert(page, vec![0; words]).is_none(), "a page has one owner");
            }
            Step::Free(index) => {
                if let Some(page) = self.page(index) {
                    self.space.pages.free(page);
                    self.twin.remove(&page);
                }
            }
            Step::Change(index, at, count, value) => {
                let Some(page) = self.page(index) else { return };
                let count = count.min(PAGE_WORDS - at);
                self.space.pages.words_mut(page, at, count).fill(value);
                self.twin.get_mut(&page).unwrap()[at..at + count].fill(value);
            }
            Step::Read(index) => {
                if let Some(page) = self.page(index) {
                    assert_eq!(self.space.pages.get(page), &self.twin[&page][..]);
                }
            }
            Step::Seal(lag) => {
                self.commit();
                self.epoch += 1;
                let sealed = self.space.pages.seal(vec![u64::from(self.epoch); 3]);
                self.sealed = Some((sealed, self.twin.clone(), lag));
            }
            Step::Crash(seed) => self.crash(seed),
            Step::Settle => self.settle(),
        }
        self.space.pages.acknowledge();
        if let Some((_, _, lag)) = &mut self.sealed {
            match *lag {
                0 => self.commit(),
                _ => *lag -= 1,
            }
        }
    }

    fn settle(&mut self) {
        self.space.ledger.read_table().unwrap();
        self.frames.settle();
    }

    /// The writer's part.
    fn commit(&mut self) {
        let Some((sealed, twin, _)) = self.sealed.take() else { return };
        self.settle();
        let epoch = sealed.epoch;
        let written = self.space.ledger.write(sealed, &mut |_| false).unwrap();
        self.frames.sync().unwrap();
        self.committed = Some((written.root, twin));
        self.space.ledger.commit(written, epoch);
        self.frames.shrink().unwrap();
    }

    fn crash(&mut self, seed: u64) {
        let unwritten = self.sealed.take();
        if let (Some((sealed, ..)), 0) = (unwritten, seed % 2) {
            // It dies before the manifest.
            self.settle();
            let _ = self.space.ledger.write(sealed, &mut |_| false).unwrap();
        }
        self.disk.crash(seed);
        self.frames = match self.committed {
            Some(_) => Frames::open(&self.storage, Path::new("space")).unwrap(),
            None => Frames::create(&self.storage, Path::new("space")).unwrap(),
        };
        let root = self.committed.as_ref().map(|(root, _)| *root);
        self.twin = self.committed.as_ref().map_or_else(Twin::new, |(_, twin)| twin.clone());
        // Epochs that failed are not used again.
        self.epoch += 1;
        self.space =
            Space::open(&self.frames, 7, root.as_ref(), self.epoch, self.budget_bytes).unwrap();
        assert_eq!(self.space.header.is_some(), root.is_some());
        // Half of the time whatever comes next comes before the page table has been read, by either side.
        if seed.is_multiple_of(2) {
            self.space.ledger.verify().unwrap();
            self.check();
        }
    }

    fn check(&self) {
        for (&page, words) in &self.twin {
            assert_eq!(self.space.pages.get(page), &words[..], "page {page}");
        }
        let bytes: usize = self.twin.values().map(|words| words.len() * 8).sum();
        // Every leaf with pages in it has been met now.
        assert_eq!(self.space.pages.state_bytes(), bytes);
    }
}

/// The last leaf of a page table was not written again when the table grew by pages that had been freed before the barrier, so
/// that they were found in frame 0 after that.
#[test]
fn a_page_made_and_freed_within_an_epoch_leaves_no_trace() {
    let mut bench = Bench::new(100);
    bench.step(&Step::Alloc(false));
    bench.step(&Step::Seal(0));
    bench.step(&Step::Alloc(false));
    bench.step(&Step::Free(1));
    bench.step(&Step::Seal(0));
    let (root, _) = bench.committed.as_ref().expect("sealed and written");
    let reopened = Frames::open(&bench.storage, Path::new("space")).unwrap();
    let mut ledger = Space::open(&reopened, 7, Some(root), 9, 1 << 20).unwrap().ledger;
    ledger.read_table().unwrap();
    assert_eq!(ledger.places().len(), 2);
    assert_eq!(ledger.places()[1].frame, frames::NOWHERE);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_space_is_what_was_committed(steps in steps(), budget_pages in 0..12usize) {
        let mut bench = Bench::new(budget_pages);
        steps.iter().for_each(|step| bench.step(step));
        bench.check();
        bench.commit();
        bench.crash(1);
    }
}

/// A page number that was given out and taken back between two barriers left its place in the table's leaf as zeros, for the leaf
/// was not written again; the next start took that for a page in frame 0, whose checksum was wrong.
#[test]
fn a_number_that_was_never_used_is_free_after_a_crash() {
    let mut bench = Bench::new(100);
    bench.step(&Step::Alloc(false));
    bench.step(&Step::Seal(0));
    bench.step(&Step::Alloc(false));
    bench.step(&Step::Free(1));
    bench.step(&Step::Seal(0));
    bench.step(&Step::Crash(1));
}

/// A leaf that was written when there were fewer pages held zeros for the others. Pages that were made and freed between two barriers
/// left it as it was, but counted: read again, their places were runs of no words at frame 0, with a delta in frame 0. When an older
/// snapshot was given up, frame 0 was freed with it, and the file's head overwritten.
#[test]
fn pages_that_no_barrier_has_seen_have_no_places() {
    let mut bench = Bench::new(12);
    bench.step(&Step::Alloc(false));
    bench.step(&Step::Seal(0));
    (0..3).for_each(|_| bench.step(&Step::Alloc(false)));
    (0..3).for_each(|_| bench.step(&Step::Free(1)));
    bench.step(&Step::Seal(0));
    bench.crash(2);
    bench.settle();
    assert!(bench.space.ledger.runs().iter().all(|run| run.frame != 0));
    let reused: Vec<PageId> = (0..3).map(|_| bench.space.pages.alloc()).collect();
    assert!(reused.iter().all(|&page| page < 4), "{reused:?}");
}

/// A space of several leaves: whatever comes first after a crash, a read, a change, a new page, the writer, finds what was committed,
/// and numbers that are free are found too.
#[test]
fn leaves_that_are_read_late_say_the_same() {
    let mut bench = Bench::new(4000);
    (0..1700).for_each(|_| bench.step(&Step::Alloc(false)));
    (0..300).for_each(|index| bench.step(&Step::Free(index * 5)));
    bench.step(&Step::Seal(0));
    let mut random = Random::new(11);
    for round in 0..12 {
        // Odd seeds leave everything unread.
        bench.step(&Step::Crash(round * 2 + 1));
        let first_number = bench.twin.keys().max().map_or(0, |page| page + 1);
        for _ in 0..40 {
            let (index, at) = (random.below(3000) as usize, random.below(2000) as usize);
            bench.step(&match random.below(9) {
                0 => Step::Alloc(false),
                1 => Step::Free(index),
                2 => Step::Seal(at % 6),
                3 => Step::Settle,
                4..6 => Step::Read(index),
                _ => Step::Change(index, at, 3, round),
            });
        }
        let last_number = bench.twin.keys().max().expect("there are pages") + 1;
        assert!(last_number <= first_number.max(1700) + 3, "free numbers are used: {last_number}");
    }
    bench.check();
}

/// Damage in a leaf ends whoever comes to it with an error that names it, and nobody else; nothing is written.
#[test]
fn damage_in_a_leaf_is_named_when_it_is_met() {
    let mut bench = Bench::new(2000);
    for page in 0..1500 {
        bench.step(&Step::Alloc(false));
        bench.step(&Step::Change(page, 7, 1, page as u64));
    }
    bench.step(&Step::Seal(0));
    let (root, twin) = bench.committed.clone().expect("sealed and written");
    let words = bench.frames.words(root.frame, root.word_count as usize).unwrap();
    let leaf = root::RootParts::parse(words).unwrap().leaves[1][0];
    bench.disk.kill();
    bench.disk.flip_bit(Path::new("space"), leaf * FRAME_BYTES + 100, 3);
    let frames = Frames::open(&bench.storage, Path::new("space")).unwrap();
    let mut space = Space::open(&frames, 7, Some(&root), 2, 1 << 30).unwrap();
    for page in [0, 600, 681, 1364, 1499] {
        assert_eq!(space.pages.get(page), &twin[&page][..]);
        space.pages.words_mut(page, 3, 1)[0] = 5;
    }
    let named = |error: &str| {
        assert!(error.contains("is damaged at byte") && error.contains("leaf"), "{error}");
    };
    for page in [682, 1000, 1363] {
        let met = caught(|| Ok(space.pages.get(page)[7])).unwrap_err();
        named(&met.to_string());
        let met = caught(|| Ok(space.pages.words_mut(page, 7, 1)[0])).unwrap_err();
        named(&met.to_string());
    }
    let met = caught(|| {
        (0..9).for_each(|_| space.pages.acknowledge());
        Ok(())
    });
    named(&met.unwrap_err().to_string());
    named(&space.ledger.read_table().unwrap_err().to_string());
    assert_eq!(frames.used_bytes(), frames.length_bytes(), "all of the file stays as it is");
}

/// Frames of epochs that nobody retains are used again, and the file shrinks when the state does.
#[test]
fn the_file_does_not_grow_without_bound() {
    let mut bench = Bench::new(100);
    for page in 0..1500 {
        bench.step(&Step::Alloc(false));
        bench.step(&Step::Change(page, 0, 1, page as u64));
    }
    let mut longest = 0;
    for round in 0..60 {
        for page in 0..300 {
            bench.step(&Step::Change(page * 5, round, 1, round as u64));
            bench.step(&Step::Change(page * 5, 500, 800, round as u64));
        }
        bench.step(&Step::Seal(0));
        if round == 10 {
            longest = bench.frames.length_bytes();
        }
    }
    assert!(bench.frames.length_bytes() <= longest, "{} > {longest}", bench.frames.length_bytes());
    for _ in 0..1450 {
        bench.step(&Step::Free(3));
    }
    for _ in 0..12 {
        bench.step(&Step::Seal(0));
    }
    assert!(
        bench.frames.length_bytes() < longest / 2,
        "{} of {longest}",
        bench.frames.length_bytes()
    );
    bench.check();
    bench.crash(3);
}

/// Pages whose changed lines were written to make room, while a snapshot moved what those lines belong to: they belong to the moved
/// pages then, and what was left behind may be used again.
#[test]
fn what_makes_room_follows_pages_that_move() {
    let mut bench = Bench::new(8);
    for page in 0..3000 {
        bench.step(&Step::Alloc(false));
        bench.step(&Step::Change(page, 0, 400, page as u64));
    }
    bench.step(&Step::Seal(0));
    (0..2900).for_each(|_| bench.step(&Step::Free(40)));
    for round in 0..12 {
        let before = bench.space.ledger.places().to_vec();
        bench.step(&Step::Seal(150));
        for page in 0..100 {
            bench.step(&Step::Change(page, 500 + round, 3, round as u64));
        }
        let places = (0..60).map(|_| bench.step(&Step::Read(7))).count();
        let after = bench.space.ledger.places();
        let moved = before.iter().zip(after).filter(|(old, new)| old.frame != new.frame).count();
        assert!(places == 60 && (round > 0 || moved > 50), "{moved} pages were moved");
        bench.check();
    }
    bench.commit();
    bench.crash(2);
}

/// A window that was read out kept all pages that had deltas in memory, for only writing made room: a job with a memory limit was
/// killed when its window closed.
#[test]
fn who_only_reads_can_make_room() {
    let mut bench = Bench::new(8);
    for page in 0..200 {
        bench.step(&Step::Alloc(false));
        bench.step(&Step::Change(page, 0, 400, page as u64));
    }
    bench.step(&Step::Seal(0));
    (0..200).for_each(|page| bench.step(&Step::Change(page, 500, 3, 7)));
    bench.step(&Step::Seal(0));
    (0..200).for_each(|page| bench.step(&Step::Read(page)));
    let held = bench.space.pages.resident_bytes();
    assert!(held <= 9 << 14, "{held} bytes in memory");
    bench.check();
}

/// Of a page with few changes only those are written.
#[test]
fn a_few_changes_are_few_bytes() {
    let mut bench = Bench::new(1000);
    for _ in 0..200 {
        bench.step(&Step::Alloc(false));
    }
    let write = |bench: &mut Bench| {
        bench.epoch += 1;
        let sealed = bench.space.pages.seal(Vec::new());
        let written = bench.space.ledger.write(sealed, &mut |_| false).unwrap();
        let bytes = written.byte_count;
        bench.committed = Some((written.root, bench.twin.clone()));
        bench.frames.sync().unwrap();
        bench.space.ledger.commit(written, bench.epoch);
        bench.space.pages.acknowledge();
        bytes
    };
    let whole = write(&mut bench);
    assert!(whole >= 200 * FRAME_BYTES);
    let mut total = 0;
    for round in 0..30 {
        for page in 0..200 {
            bench.step(&Step::Change(page, (page * 37 + round * 611) % 2000, 3, round as u64));
        }
        total += write(&mut bench);
    }
    assert!(total < whole * 30 / 10, "{total} bytes in 30 epochs, {whole} in the first");
    bench.crash(9);
}

/// What a look from outside finds damaged.
fn surveyed(storage: &Arc<dyn Storage>, path: &Path, root: &Root) -> Vec<Damage> {
    let file = storage.open(path).unwrap();
    let mut found: Vec<Damage> = check_head(&*file).err().into_iter().collect();
    let survey = survey(&*file, root, &mut found);
    survey.check_pages(&*file, &mut HashSet::new(), &mut found);
    assert!(!found.is_empty() || (survey.page_count, survey.header.len()) == (4, 3), "{survey:?}");
    found
}

/// Every bit of a root, a leaf, a page and a delta counts.
#[test]
fn damage_is_named() {
    let mut bench = Bench::new(12);
    for page in 0..4 {
        bench.step(&Step::Alloc(false));
        bench.step(&Step::Change(page, 100, 30, 77));
    }
    bench.step(&Step::Seal(0));
    bench.step(&Step::Change(2, 100, 3, 78));
    bench.step(&Step::Seal(0));
    let (root, _) = bench.committed.clone().unwrap();
    bench.disk.kill();
    let path = Path::new("space");
    let length = bench.disk.content(path).unwrap().len() as u64;
    let (mut damaged, mut whole) = (0, 0);
    for offset in (0..length).step_by(2411) {
        bench.disk.flip_bit(path, offset, (offset % 8) as u32);
        let outcome = Frames::open(&bench.storage, path)
            .and_then(|frames| Space::open(&frames, 7, Some(&root), 9, 1 << 20)?.ledger.verify());
        assert_eq!(outcome.is_err(), !surveyed(&bench.storage, path, &root).is_empty());
        match outcome {
            Ok(pages) => {
                assert_eq!(pages, 4);
                whole += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("is damaged at byte"), "{error}");
                damaged += 1;
            }
        }
        bench.disk.flip_bit(path, offset, (offset % 8) as u32);
        bench.disk.kill();
    }
    assert!(damaged > 30 && whole > 30, "{damaged} damaged, {whole} whole");
}

/// What a newer layout looks like was once called damage.
#[test]
fn another_version_is_named() {
    let mut bench = Bench::new(12);
    bench.step(&Step::Alloc(false));
    bench.step(&Step::Change(0, 100, 30, 77));
    bench.step(&Step::Seal(0));
    let (root, _) = bench.committed.clone().unwrap();
    let path = Path::new("space");
    let named = |root: &Root| {
        let opened = Frames::open(&bench.storage, path)
            .and_then(|frames| Space::open(&frames, 7, Some(root), 9, 1 << 20).map(drop));
        let error = opened.unwrap_err();
        assert!(matches!(error, StateError::Foreign { .. }), "{error:?}");
        assert!(
            error.to_string().contains("written by another version of tidemill (layout 3)"),
            "{error}"
        );
        let found = surveyed(&bench.storage, path, root);
        assert!(
            found[0].other_version && found[0].to_string().contains("cannot be read"),
            "{found:?}"
        );
    };
    let mut words = bench.frames.words(root.frame, root.word_count as usize).unwrap().to_vec();
    words[1] ^= 1;
    bench.disk.kill();
    let version_byte = u64::from(root.frame) * FRAME_BYTES + 8;
    bench.disk.flip_bit(path, version_byte, 0);
    named(&Root { checksum: frames::checksum(&words), ..root });
    bench.disk.flip_bit(path, version_byte, 0);
    bench.disk.flip_bit(path, 8, 1);
    named(&root);
}
