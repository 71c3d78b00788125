//! The names in a simulated folder: those that are seen, those on the medium, and the changes between the two.
//!
//! # Invariants
//!
//! 1. `durable` with all of `unsynced` applied is `names`.
//! 2. A change outlives a crash only if what it found is there: so a name that no change touched is never lost, a rename
//!    moves the file that it moved, and a file is not pushed out by one that took its name after it had left.

use std::collections::BTreeMap;

use super::survival::Survival;
use crate::sys::random::Random;

/// What a name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    File(u64),
    Folder,
}

/// A change of names since the folder's last sync.
#[derive(Clone, Debug)]
enum NameChange {
    Create { name: String, entry: Entry },
    Remove { name: String, entry: Entry },
    Rename { from: String, to: String, entry: Entry, replaced: Option<Entry> },
}

/// A folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    names: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    unsynced: Vec<NameChange>,
}

impl Folder {
    pub(super) fn names(&self) -> &BTreeMap<String, Entry> {
        &self.names
    }

    pub(super) fn get(&self, name: &str) -> Option<Entry> {
        self.names.get(name).copied()
    }

    /// Adds a name that is not taken.
    pub(super) fn create(&mut self, name: String, entry: Entry) {
        self.change(NameChange::Create { name, entry });
    }

    /// Removes a name that is there.
    pub(super) fn remove(&mut self, name: String) {
        let entry = self.names[&name];
        self.change(NameChange::Remove { name, entry });
    }

    /// Renames what is there, replacing what has the name.
    pub(super) fn rename(&mut self, from: String, to: String) {
        let (entry, replaced) = (self.names[&from], self.get(&to));
        self.change(NameChange::Rename { from, to, entry, replaced });
    }

    fn change(&mut self, change: NameChange) {
        let is_applied = apply(&mut self.names, &change);
        assert!(is_applied, "the change fits the names: {change:?}");
        self.unsynced.push(change);
    }

    /// Brings all changes to the medium.
    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.names);
        self.unsynced.clear();
    }

    /// What a loss of power leaves, all of it durable.
    pub(super) fn crash(&mut self, survival: Survival, random: &mut Random) {
        let kept = survival.kept(self.unsynced.len(), random);
        for (change, kept) in self.unsynced.drain(..).zip(kept) {
            if kept {
                apply(&mut self.durable, &change);
            }
        }
        self.names.clone_from(&self.durable);
    }

    /// All that the names, or those that a crash may bring back, refer to.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let created = self.unsynced.iter().filter_map(|change| match change {
            NameChange::Create { entry, .. } => Some(*entry),
            NameChange::Remove { .. } | NameChange::Rename { .. } => None,
        });
        self.names.values().chain(self.durable.values()).copied().chain(created)
    }
}

/// Applies a change; `false`, and nothing done, if what it found when it was made is not there.
fn apply(names: &mut BTreeMap<String, Entry>, change: &NameChange) -> bool {
    match change {
        NameChange::Create { name, .. } if names.contains_key(name) => return false,
        NameChange::Create { name, entry } => names.insert(name.clone(), *entry),
        NameChange::Remove { name, entry } if names.get(name) != Some(entry) => return false,
        NameChange::Remove { name, .. } => names.remove(name),
        NameChange::Rename { from, to, entry, replaced } => {
            let found = names.get(to);
            let is_as_found =
                names.get(from) == Some(entry) && (found.is_none() || found == replaced.as_ref());
            if !is_as_found {
                return false;
            }
            names.remove(from);
            names.insert(to.clone(), *entry)
        }
    };
    true
}
