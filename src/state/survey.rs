//! A page space looked at from outside, without its operator: how much there is, and whether it is whole.
//!
//! The file is read by calls, not through a map, so that a job may shrink it meanwhile; what was read then is told by its
//! checksum. Nothing is written, and damage is collected rather than stumbled over.
//!
//! # Invariants
//!
//! 1. Every word that an operator would be given has been checked: roots, leaves, pages, deltas.

use std::collections::HashSet;
use std::fmt;

use super::buffer::LINE_WORDS;
use super::frames::{
    FRAME_BYTES, MAGIC, NOWHERE, Run, checksum, frames_of, other_version, written_by_another,
};
use super::ledger::Root;
use super::pages::PAGE_WORDS;
use super::places::{LEAF_PLACES, PLACE_WORDS, Place};
use super::root::{NoRoot, RootParts};
use super::writer::delta_parts;
use crate::sys::storage::StoredFile;

/// What is wrong at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which structure.
    pub what: String,
    /// Where it begins.
    pub offset_bytes: u64,
    /// How it shows.
    pub reason: String,
    /// It is whole, for all that can be seen, but of another version of this program.
    pub other_version: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, offset_bytes, reason, other_version } = self;
        let how = if *other_version { "cannot be read" } else { "is damaged" };
        write!(f, "{what} at byte {offset_bytes} {how}: {reason}")
    }
}

/// A page space as its page table has it.
#[derive(Debug, Default)]
pub struct Survey {
    /// What the operator saved of its structures.
    pub header: Vec<u64>,
    /// Its pages.
    pub page_count: u64,
    /// Bytes of its pages.
    pub state_bytes: u64,
    /// All frames that it takes; deltas of several pages share one.
    pub runs: Vec<Run>,
    places: Vec<(usize, Place)>,
}

/// Checks that it is a file of frames.
///
/// # Errors
///
/// What is wrong with it.
pub fn check_head(file: &dyn StoredFile) -> Result<(), Damage> {
    let what = "the file's head";
    let words = read(file, 0, MAGIC.len()).map_err(|reason| damage(what, 0, 0, &reason))?;
    match other_version(&words) {
        Some(version) => Err(foreign(what, 0, version)),
        None if words == MAGIC => Ok(()),
        None => Err(damage(what, 0, 0, "it is no state file")),
    }
}

/// Reads the page table behind `root`; what is damaged of it is added to `found`.
pub fn survey(file: &dyn StoredFile, root: &Root, found: &mut Vec<Damage>) -> Survey {
    let mut survey = Survey::default();
    let word_count = root.word_count as usize;
    let what = "a page table's root";
    let words = checked(file, what, root.frame, word_count, root.checksum);
    let words = match words {
        Ok(words) => words,
        Err(damage) => {
            found.push(damage);
            return survey;
        }
    };
    let parts = match RootParts::parse(&words) {
        Ok(parts) => parts,
        Err(error) => {
            found.push(match error {
                NoRoot::OtherVersion(version) => foreign(what, root.frame, version),
                NoRoot::Damaged(reason) => damage(what, root.frame, 0, reason),
            });
            return survey;
        }
    };
    survey.header = parts.header.to_vec();
    survey.runs.push(Run { frame: root.frame, count: frames_of(word_count) });
    for (index, &[frame, expected]) in parts.leaves.iter().enumerate() {
        let first = index * LEAF_PLACES;
        match checked(file, "a page table's leaf", frame as u32, PAGE_WORDS, expected) {
            Ok(words) => {
                survey.runs.push(Run { frame: frame as u32, count: 1 });
                let count = (parts.page_count - first).min(LEAF_PLACES);
                survey.add_leaf(first, &words.as_chunks::<PLACE_WORDS>().0[..count]);
            }
            Err(damage) => found.push(damage),
        }
    }
    survey
}

impl Survey {
    fn add_leaf(&mut self, first: usize, places: &[[u64; PLACE_WORDS]]) {
        for (index, words) in places.iter().enumerate() {
            let place = Place::from_words(words);
            if place.frame == NOWHERE {
                continue;
            }
            self.page_count += 1;
            self.state_bytes += u64::from(place.word_count) * 8;
            self.runs.push(place.run());
            if place.delta_frame != NOWHERE {
                self.runs.push(Run { frame: place.delta_frame, count: 1 });
            }
            self.places.push((first + index, place));
        }
    }

    /// Checks every page that is not in `seen`, where it is added; returns how many bytes were looked at.
    pub fn check_pages(
        &self,
        file: &dyn StoredFile,
        seen: &mut HashSet<[u32; 3]>,
        found: &mut Vec<Damage>,
    ) -> u64 {
        let mut byte_count = 0;
        for (page, place) in &self.places {
            if seen.insert([place.frame, place.delta_frame, place.delta_at]) {
                byte_count += u64::from(place.word_count) * 8;
                found.extend(check_page(file, *page, place).err());
            }
        }
        byte_count
    }
}

fn check_page(file: &dyn StoredFile, page: usize, place: &Place) -> Result<(), Damage> {
    let word_count = place.word_count as usize;
    checked(file, &format!("page {page}"), place.frame, word_count, place.checksum)?;
    if place.delta_frame == NOWHERE {
        return Ok(());
    }
    let what = format!("the delta of page {page}");
    let damaged = |reason: &str| damage(&what, place.delta_frame, place.delta_at, reason);
    let frame = read(file, place.delta_frame, PAGE_WORDS).map_err(|reason| damaged(&reason))?;
    let (numbers, lines) = delta_parts(&frame, place.delta_at).map_err(damaged)?;
    let line_max = word_count / LINE_WORDS;
    let number = |index: usize| (numbers[index / 4] >> (16 * (index % 4)) & 0xffff) as usize;
    match (0..lines.len() / LINE_WORDS).all(|index| number(index) < line_max) {
        true => Ok(()),
        false => Err(damaged("a line lies beyond its page")),
    }
}

fn damage(what: &str, frame: u32, word: u32, reason: &str) -> Damage {
    let offset_bytes = u64::from(frame) * FRAME_BYTES + u64::from(word) * 8;
    Damage { what: what.to_owned(), offset_bytes, reason: reason.to_owned(), other_version: false }
}

/// What another version of this program wrote.
fn foreign(what: &str, frame: u32, version: u64) -> Damage {
    Damage { other_version: true, ..damage(what, frame, 0, &written_by_another(version)) }
}

/// Words from the beginning of a frame on, if they are those that were written.
fn checked(
    file: &dyn StoredFile,
    what: &str,
    frame: u32,
    word_count: usize,
    expected: u64,
) -> Result<Vec<u64>, Damage> {
    let words = read(file, frame, word_count).map_err(|reason| damage(what, frame, 0, &reason))?;
    let found = checksum(&words);
    if found != expected {
        let reason = format!("its checksum is {found:016x}, not {expected:016x}");
        return Err(damage(what, frame, 0, &reason));
    }
    Ok(words)
}

/// Words from the beginning of a frame on.
fn read(file: &dyn StoredFile, frame: u32, word_count: usize) -> Result<Vec<u64>, String> {
    let offset_bytes = u64::from(frame) * FRAME_BYTES;
    let length_bytes = file.length_bytes().map_err(|error| error.to_string())?;
    if frame == NOWHERE || offset_bytes + word_count as u64 * 8 > length_bytes {
        return Err("it lies beyond the file's end".into());
    }
    let mut words = vec![0; word_count];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(offset_bytes + filled as u64, &mut bytes[filled..]) {
            Ok(0) => return Err("the file ends in it".into()),
            Ok(count) => filled += count,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(words)
}
