//! The crash points that there are, and how many kills each has had.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::random::Random;

/// Points on the way to another number of shards: reached only where that number changes.
const RESCALE: &str = "rescale-";
/// Points on the way to more aggregates: no job's script changes here.
const CONVERT: &str = "convert-";
/// Points on the way to a fresh start.
pub(crate) const SET_ASIDE: &str = "set-aside-";

/// The names of all crash points in the engine's source.
///
/// # Panics
///
/// If the source is not where it was when this was built.
pub fn known() -> BTreeSet<String> {
    named("crash_point!(\"")
}

/// The names of all bugs that can be planted.
///
/// # Panics
///
/// As [`known`].
pub fn planted() -> BTreeSet<String> {
    named("planted!(\"")
}

/// What stands behind `call` in the engine's source.
fn named(call: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src"), call, &mut names);
    names
}

fn collect(folder: &Path, call: &str, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the engine's source lies beside the tool's") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, call, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("sources are text");
            let named = source.split(call).skip(1);
            names.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

/// What has come to pass at the points.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Kills at each point, counted or not.
    kills: BTreeMap<String, u64>,
    /// The points that each job has come to.
    reached: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Tally {
    pub(crate) fn note_reached(&mut self, job: &'static str, points: impl Iterator<Item = String>) {
        self.reached.entry(job).or_default().extend(points);
    }

    pub(crate) fn note_kill(&mut self, point: &str) {
        *self.kills.entry(point.to_owned()).or_default() += 1;
    }

    pub(crate) fn kills(&self, point: &str) -> u64 {
        self.kills.get(point).copied().unwrap_or(0)
    }

    /// A point that the job comes to: one that has had few kills, or any.
    pub(crate) fn choose(&self, job: &'static str, random: &mut Random) -> Option<String> {
        let reached = self.reached.get(job)?;
        let points: Vec<&String> =
            reached.iter().filter(|point| !point.starts_with(SET_ASIDE)).collect();
        let least = points.iter().map(|point| self.kills(point)).min().unwrap_or(0).min(1);
        let rare: Vec<&String> =
            points.iter().copied().filter(|point| self.kills(point) == least).collect();
        let list = if rare.is_empty() || random.once_in(3) { &points } else { &rare };
        (!list.is_empty()).then(|| (*random.one_of(list)).clone())
    }

    /// Jobs that come to points at which nothing was killed.
    pub(crate) fn wanting(&self) -> Vec<&'static str> {
        let wants = |points: &BTreeSet<String>| points.iter().any(|point| self.kills(point) == 0);
        self.reached.iter().filter(|(_, points)| wants(points)).map(|(job, _)| *job).collect()
    }

    /// Points of `required` at which nothing was killed.
    pub(crate) fn missing(&self, with_rescale: bool) -> Vec<String> {
        let required = known().into_iter().filter(|point| !point.starts_with(CONVERT));
        let required = required.filter(|point| with_rescale || !point.starts_with(RESCALE));
        required.filter(|point| self.kills(point) == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn there_are_enough_points_over_all_that_is_durable() {
        let points = known();
        assert!(points.len() >= 40, "{points:?}");
        for group in [
            "barrier-",
            "commit-",
            "manifest-",
            "growth-",
            "compaction-",
            "shrink-",
            "spill-",
            "restore-",
            "set-aside-",
            "sink-",
        ] {
            assert!(points.iter().any(|point| point.starts_with(group)), "no point {group}…");
        }
    }
}
