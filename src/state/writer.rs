//! Writing pages: whole, to frames that lie next to each other where that can be, or as deltas. A snapshot does it, and a space
//! that makes room.
//!
//! # Layout
//!
//! A *delta* holds lines of a page, all that have changed since it was last written whole, so that a page has at most one. Deltas
//! are packed into frames:
//!
//! ```text
//! delta:   page u32, lines u32 │ checksum of what follows and of the page number │ line numbers u16 … padded │ lines, 4 words each
//! ```

use std::sync::Arc;

use super::buffer::{Buffer, CHANGED_LINES_MAX, Changes, LINE_WORDS, lines_of};
use super::frames::{Frames, Run, checksum, frames_of};
use super::ledger::Room;
use super::pages::{PAGE_WORDS, PageId};
use super::places::Place;
use crate::crash_point;
use crate::error::StateError;
use crate::planted;

/// Words of a delta before its line numbers.
const DELTA_HEADER_WORDS: usize = 2;
/// Frames that are gathered for one write.
const STAGED_FRAMES: usize = 64;

/// Writes pages to free frames, several at once where the frames follow each other.
pub(super) struct Writer<'a> {
    frames: Arc<Frames>,
    room: Room<'a>,
    staged: Vec<u64>,
    /// The frame of the first staged word.
    first: u32,
    byte_count: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(frames: Arc<Frames>, room: Room<'a>) -> Self {
        Self { frames, room, staged: Vec::new(), first: 0, byte_count: 0 }
    }

    /// Bytes written, or staged to be.
    pub(super) fn byte_count(&self) -> u64 {
        self.byte_count
    }

    fn allocate(&mut self, count: u32) -> Result<Run, StateError> {
        loop {
            match self.frames.allocate(count) {
                Err(error @ StateError::Full { .. }) if (self.room)(&error) => {}
                other => return other,
            }
        }
    }

    /// Writes a page whole.
    pub(super) fn place(&mut self, words: &[u64]) -> Result<Place, StateError> {
        let run = self.allocate(frames_of(words.len()))?;
        self.stage(run.frame, words)?;
        let checksum = checksum(words);
        let word_count = words.len() as u32;
        Ok(Place { frame: run.frame, word_count, checksum, ..Place::NONE })
    }

    fn stage(&mut self, frame: u32, words: &[u64]) -> Result<(), StateError> {
        let end = self.first + (self.staged.len() / PAGE_WORDS) as u32;
        if frame != end || self.staged.len() >= STAGED_FRAMES * PAGE_WORDS {
            self.flush()?;
            self.first = frame;
        }
        self.byte_count += words.len() as u64 * 8;
        self.staged.extend_from_slice(words);
        self.staged.resize(self.staged.len().next_multiple_of(PAGE_WORDS), 0);
        Ok(())
    }

    /// Writes what is staged.
    pub(super) fn flush(&mut self) -> Result<(), StateError> {
        if self.staged.is_empty() {
            return Ok(());
        }
        crash_point!("commit-before-write");
        let words = std::mem::take(&mut self.staged);
        if planted!("state-lose-write") && words.len() > PAGE_WORDS {
            return Ok(());
        }
        self.frames.write(self.first, &words)
    }
}

/// Deltas on their way into a frame.
#[derive(Default)]
pub(super) struct Log {
    frame: Option<u32>,
    words: Vec<u64>,
}

impl Log {
    /// Adds a page's changed lines; where they will lie.
    pub(super) fn append(
        &mut self,
        writer: &mut Writer<'_>,
        page: PageId,
        buffer: &Buffer,
    ) -> Result<(u32, u32), StateError> {
        let delta = delta(page, buffer.words(), buffer.changes());
        if self.words.len() + delta.len() > PAGE_WORDS {
            self.flush(writer)?;
        }
        let frame = match self.frame {
            Some(frame) => frame,
            None => writer.allocate(1)?.frame,
        };
        self.frame = Some(frame);
        let at = self.words.len() as u32;
        self.words.extend_from_slice(&delta);
        Ok((frame, at))
    }

    /// Ends the frame that is being filled.
    pub(super) fn flush(&mut self, writer: &mut Writer<'_>) -> Result<(), StateError> {
        let Some(frame) = self.frame.take() else { return Ok(()) };
        writer.stage(frame, &std::mem::take(&mut self.words))
    }
}

/// A delta as words.
fn delta(page: PageId, words: &[u64], changes: &Changes) -> Vec<u64> {
    let lines: Vec<u16> = lines_of(changes).collect();
    let mut delta = vec![u64::from(page) | (lines.len() as u64) << 32, 0];
    delta.extend(lines.chunks(4).map(|chunk| {
        let number = |word, (index, &line): (usize, &u16)| word | u64::from(line) << (16 * index);
        chunk.iter().enumerate().fold(0, number)
    }));
    for &line in &lines {
        let start = usize::from(line) * LINE_WORDS;
        delta.extend_from_slice(&words[start..start + LINE_WORDS]);
    }
    delta[1] = delta_checksum(delta[0], &delta[DELTA_HEADER_WORDS..]);
    delta
}

fn delta_checksum(head: u64, rest: &[u64]) -> u64 {
    checksum(rest) ^ head.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Puts the delta of `place` over `words`, which lie as they were last written whole, and notes its lines in `changes`.
///
/// # Errors
///
/// [`StateError::Damaged`].
pub(super) fn materialise(
    frames: &Frames,
    place: &Place,
    words: &mut [u64],
    changes: &mut Changes,
) -> Result<(), StateError> {
    let damaged = |reason: &str| frames.damaged(place.delta_frame, "a delta", reason.into());
    let frame = frames.words(place.delta_frame, PAGE_WORDS)?;
    let (numbers, lines) = delta_parts(frame, place.delta_at).map_err(damaged)?;
    for (index, line) in lines.as_chunks::<LINE_WORDS>().0.iter().enumerate() {
        let number = (numbers[index / 4] >> (16 * (index % 4)) & 0xffff) as usize;
        let start = number * LINE_WORDS;
        let room = words.get_mut(start..start + LINE_WORDS);
        room.ok_or_else(|| damaged("a line lies beyond its page"))?.copy_from_slice(line);
        changes[number] = 1;
    }
    Ok(())
}

/// The line numbers and the lines of the delta at word `at` of a frame.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn delta_parts(frame: &[u64], at: u32) -> Result<(&[u64], &[u64]), &'static str> {
    let rest = frame.get(at as usize..).unwrap_or_default();
    let head = *rest.first().ok_or("it lies beyond its frame")?;
    let line_count = (head >> 32) as usize;
    let number_words = line_count.div_ceil(4);
    let end = DELTA_HEADER_WORDS + number_words + line_count * LINE_WORDS;
    if line_count > CHANGED_LINES_MAX as usize || rest.len() < end {
        return Err("its length cannot be");
    }
    let body = &rest[DELTA_HEADER_WORDS..end];
    if delta_checksum(head, body) != rest[1] {
        return Err("its checksum differs");
    }
    Ok(body.split_at(number_words))
}
