//! Whether sessions are better off in bulk or on shelves.
//!
//! In bulk a row costs little and a look through the open sessions something, so it pays where many rows come at a time. What it gains or
//! loses is added up, and sessions move when that would have paid for it: so the cost is at most about twice that of knowing beforehand
//! (as in renting skis: Karlin et al., "Competitive Snoopy Caching", 1988).

use super::bulk::Work;

/// What a row gains in bulk, in sessions looked through.
const ROW_GAIN: i64 = 12;
/// What it costs to move a session, in the same unit.
const MOVE_COST: i64 = 32;
/// The least that is added up before any move.
const GAIN_MIN: i64 = if cfg!(test) { 1 << 10 } else { 1 << 16 };
/// So many times at most the wait is doubled after rows have come that bulk cannot take.
const DOUBLINGS_MAX: u32 = 10;

/// What bulk has gained, or would have.
#[derive(Debug, Default)]
pub(super) struct Judge {
    gain: i64,
    /// Has to be gained before anything counts.
    debt: i64,
    doublings: u32,
}

impl Judge {
    /// Adds up what a look through sessions gained.
    pub(super) fn note(&mut self, work: Work) {
        let gain = ROW_GAIN * work.rows as i64 - work.records as i64;
        let paid = gain.clamp(0, self.debt);
        self.debt -= paid;
        let limit = Self::limit(work.records);
        self.gain = (self.gain + gain - paid).clamp(-limit, limit);
    }

    /// Where so many sessions should be from now on: in bulk, or not; `None`: where they are.
    pub(super) fn verdict(&mut self, records: usize) -> Option<bool> {
        let limit = Self::limit(records);
        let verdict = (self.gain.abs() >= limit).then_some(self.gain > 0);
        if verdict.is_some() {
            self.gain = 0;
        }
        verdict
    }

    /// Sessions had to leave bulk: it was for nothing, and is tried again later than last time.
    pub(super) fn note_unfit(&mut self, records: usize) {
        (self.gain, self.debt) = (0, Self::limit(records) << self.doublings);
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
    }

    fn limit(records: usize) -> i64 {
        GAIN_MIN.max(MOVE_COST * records as i64)
    }
}
