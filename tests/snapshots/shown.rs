//! What a consumer sees of the sinks on a simulated disk, and what may be seen.
//!
//! # Invariants
//!
//! 1. What was once seen stays as it was: a part may only vanish until the next start, a plain file only grow.
//! 2. Nothing is seen that the undisturbed run does not show, or seen twice; what each group shows is a prefix of its changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidemill::shard::checkpoint::{Manifest, list_manifests};
use tidemill::sys::storage::SimDisk;

use crate::lines::{groups, late_of_engine, lines_of_engine};
use crate::world::{STATE, World, number, parse, text_lines};

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// By path; of plain files what is published for good.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Hidden files of runs that no manifest ever named: nobody removes them.
    orphans: Vec<PathBuf>,
}

impl Shown {
    /// Looks after a life has ended.
    pub(crate) fn look(&mut self, world: &World, disk: &SimDisk) -> Result<(), String> {
        let manifest = newest_manifest(disk)?;
        if manifest.is_none() {
            self.orphans.extend(hidden(disk));
        }
        let records = manifest.map_or(Vec::new(), |manifest| manifest.sinks);
        for (index, path) in sinks(world).into_iter().enumerate() {
            let record = records.get(index).and_then(Option::as_deref);
            match path.extension() {
                Some(_) => {
                    let published = published_bytes(record).unwrap_or(0);
                    self.look_at_plain(disk, &path, published)?;
                }
                None => self.look_at_parts(disk, &path)?,
            }
        }
        self.compare(world, false)
    }

    /// Looks when all is done.
    pub(crate) fn look_at_end(&mut self, world: &World, disk: &SimDisk) -> Result<(), String> {
        for path in sinks(world) {
            match path.extension() {
                Some(_) => {
                    let whole = disk.content(&path).map_or(0, |content| content.len() as u64);
                    self.look_at_plain(disk, &path, whole)?;
                }
                None => self.look_at_parts(disk, &path)?,
            }
        }
        for path in self.files.keys() {
            if disk.content(path).is_none() {
                return Err(format!("{} was seen, and is gone", path.display()));
            }
        }
        self.compare(world, true)
    }

    /// Looks for hidden files that a job which has ended has left behind. A loss of power may bring some back.
    pub(crate) fn look_for_strays(&self, disk: &SimDisk) -> Result<(), String> {
        match hidden(disk).iter().find(|path| !self.orphans.contains(path)) {
            Some(stray) => Err(format!("{} was left behind", stray.display())),
            None => Ok(()),
        }
    }

    fn look_at_plain(&mut self, disk: &SimDisk, path: &Path, published: u64) -> Result<(), String> {
        let content = disk.content(path).unwrap_or_default();
        let length = published as usize;
        let old = self.files.get(path).map_or(&[][..], Vec::as_slice);
        if content.len() < length || !content.starts_with(old) {
            let name = path.display();
            return Err(format!("{name} lost of its {length} published bytes: {}", content.len()));
        }
        if length > old.len() {
            self.files.insert(path.to_owned(), content[..length].to_vec());
        }
        Ok(())
    }

    fn look_at_parts(&mut self, disk: &SimDisk, folder: &Path) -> Result<(), String> {
        for (path, _) in disk.files() {
            if path.parent() != Some(folder) || is_hidden(&path) {
                continue;
            }
            let content = disk.content(&path).unwrap_or_default();
            match self.files.get(&path) {
                Some(old) if *old != content => {
                    return Err(format!("{} changed after it was shown", path.display()));
                }
                Some(_) => {}
                None => drop(self.files.insert(path, content)),
            }
        }
        Ok(())
    }

    /// Compares all that was ever seen with what may be seen.
    fn compare(&self, world: &World, whole: bool) -> Result<(), String> {
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|(path, _)| number(&path.to_string_lossy()));
        let (raw, rows): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(path, _)| path.ends_with("raw.jsonl"));
        let (late, rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(path, _)| path.ends_with("late.jsonl"));
        let text = rows.into_iter().map(|(_, content)| content.as_slice());
        let query = &world.case.query;
        let seen =
            groups(query, lines_of_engine(query, &parse(&text.collect::<Vec<_>>().concat())?));
        for (key, changes) in &seen {
            let all = world.truth.groups.get(key).map_or(&[][..], Vec::as_slice);
            // Of several parts of one epoch a crash may leave any.
            let ordered = !query.emit.is_once() && (world.plain || !world.rolling);
            let fits = if ordered { all.starts_with(changes) } else { is_within(changes, all) };
            if !fits {
                return Err(format!("{key:?} shows\n  {changes:?}\nand should\n  {all:?}"));
            }
        }
        if whole && seen != world.truth.groups {
            let missing = world.truth.groups.iter().find(|(key, all)| seen.get(*key) != Some(*all));
            return Err(format!("missing {missing:?}"));
        }
        let raw: Vec<String> = raw.iter().flat_map(|(_, content)| text_lines(content)).collect();
        if !is_within(&raw, &world.truth.raw) || (whole && raw.len() != world.truth.raw.len()) {
            return Err(format!("raw rows {raw:?}, not of {:?}", world.truth.raw));
        }
        let late: Vec<u8> = late.into_iter().flat_map(|(_, content)| content.clone()).collect();
        let (late, all) = (late_of_engine(&parse(&late)?), &world.truth.late_rows);
        if !is_within(&late, all) || (whole && late.len() != all.len()) {
            return Err(format!("late rows {late:?}, not of {all:?}"));
        }
        Ok(())
    }
}

/// Where the sinks of a world are, in the order of its statements.
fn sinks(world: &World) -> Vec<PathBuf> {
    let raw = world.raw.then(|| PathBuf::from("/out/raw.jsonl"));
    let late = world.reads_late.then(|| PathBuf::from("/out/late.jsonl"));
    raw.into_iter().chain([PathBuf::from(world.sink("/out"))]).chain(late).collect()
}

/// Whether `few` are among `all`, each as often.
fn is_within(few: &[String], all: &[String]) -> bool {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    all.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    few.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    counts.values().all(|&count| count >= 0)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn hidden(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("/out") && is_hidden(path)).collect()
}

/// The manifest that the next start goes on from.
pub(crate) fn newest_manifest(disk: &SimDisk) -> Result<Option<Manifest>, String> {
    let folder = Path::new(STATE);
    let Ok(epochs) = list_manifests(disk, folder) else { return Ok(None) };
    let Some(&epoch) = epochs.last() else { return Ok(None) };
    Manifest::read(disk, folder, epoch).map(Some).map_err(|error| error.to_string())
}

/// How much of a plain file is published for good, by its sink's record: what the epoch before had published.
fn published_bytes(record: Option<&str>) -> Option<u64> {
    let record: serde_json::Value = serde_json::from_str(record?).ok()?;
    record["append"]["from_bytes"].as_u64()
}
