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
    /// Adds up what a look gained, of `records` sessions that there are.
    pub(super) fn note(&mut self, work: Work, records: usize) {
        let gain = ROW_GAIN * work.rows as i64 - work.records as i64;
        let paid = gain.clamp(0, self.debt);
        self.debt -= paid;
        let limit = Self::limit(records);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many looks of `rows` at `records` sessions they should move, and where to.
    fn moves(judge: &mut Judge, rows: usize, records: usize) -> (usize, bool) {
        for looks in 1..1_000_000 {
            judge.note(Work { rows, records }, records);
            if let Some(in_bulk) = judge.verdict(records) {
                return (looks, in_bulk);
            }
        }
        panic!("they never move");
    }

    #[test]
    fn sessions_go_where_they_are_better_off() {
        let mut judge = Judge::default();
        let (looks, in_bulk) = moves(&mut judge, 100_000, 200_000);
        assert!(in_bulk && looks < 10, "{looks}");
        let (looks, in_bulk) = moves(&mut judge, 10, 200_000);
        assert!(
            !in_bulk && (30..40).contains(&looks),
            "a look costs a thirtieth of a move: {looks}"
        );
    }

    #[test]
    fn what_was_for_nothing_is_tried_later_each_time() {
        let mut judge = Judge::default();
        let mut last = 0;
        for _ in 0..5 {
            let (looks, in_bulk) = moves(&mut judge, 1_000, 5_000);
            assert!(in_bulk && looks > last, "{looks} after {last}");
            last = looks;
            judge.note_unfit(5_000);
        }
    }
}
