//! Wall time: windows over TIMESTAMP_LTZ are cut in the session zone's local time, where days have 23 to 25 hours.
//!
//! A row's instant is shifted to local time before its window is sought; a window's end is shifted back to
//! the instant at which the watermark closes it. Where local time is ambiguous or skipped, the later instant
//! counts, as in Flink's `TimeWindowUtil.toEpochMillsForTimer`. The time that a result shows goes by another rule,
//! Java's `LocalDateTime.atZone`, in Flink as here.

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use chrono_tz::Tz;

/// The greatest distance from the epoch that windows are computed for; times beyond are taken as this.
pub(super) const TIME_LIMIT_MS: i64 = 1 << 60;

const STEP_MS: i64 = 15 * 60 * 1000;

/// A zone's local time; UTC where there is no zone.
#[derive(Clone, Debug)]
pub struct WallTime {
    zone: Option<Tz>,
    cached_step: i64,
    cached_shift_ms: i64,
}

impl WallTime {
    /// Local time of `zone`; `None` or UTC shift nothing.
    pub fn new(zone: Option<Tz>) -> Self {
        Self {
            zone: zone.filter(|&zone| zone != Tz::UTC),
            cached_step: i64::MIN,
            cached_shift_ms: 0,
        }
    }

    /// Whether instants and wall times are the same numbers.
    pub fn is_utc(&self) -> bool {
        self.zone.is_none()
    }

    /// Replaces instants by wall times, in milliseconds.
    pub fn localise(&mut self, time_ms: &mut [i64]) {
        if self.zone.is_some() {
            time_ms.iter_mut().for_each(|time| *time += self.shift_ms(*time));
        }
    }

    /// The wall time of an instant.
    pub fn wall_of(&mut self, instant_ms: i64) -> i64 {
        instant_ms.saturating_add(if self.zone.is_some() { self.shift_ms(instant_ms) } else { 0 })
    }

    /// Zones change at whole quarters of an hour in all times with rules, so the shift is kept for a quarter.
    fn shift_ms(&mut self, instant_ms: i64) -> i64 {
        let step = instant_ms.div_euclid(STEP_MS);
        if step != self.cached_step {
            self.cached_step = step;
            self.cached_shift_ms = self.zone.map_or(0, |zone| offset_ms(zone, step * STEP_MS));
        }
        self.cached_shift_ms
    }

    /// The instant at which a timer set for the wall time `wall_ms` fires.
    #[inline]
    pub fn instant_of(&self, wall_ms: i64) -> i64 {
        match self.zone {
            Some(zone) => instants_in(zone, wall_ms).1,
            None => wall_ms,
        }
    }

    /// The time that a result shows for the wall time `wall_ms`: itself, or the instant, where that is ambiguous the earlier one, where it is
    /// skipped as if the clock had not been moved yet.
    #[inline]
    pub fn rowtime_of(&self, wall_ms: i64, is_instant: bool) -> i64 {
        match self.zone.filter(|_| is_instant) {
            Some(zone) => instants_in(zone, wall_ms).0,
            None => wall_ms,
        }
    }
}

/// The instant that a result shows for a wall time, and that at which a timer set for it fires.
fn instants_in(zone: Tz, wall_ms: i64) -> (i64, i64) {
    let Some(wall) = DateTime::from_timestamp_millis(wall_ms) else { return (wall_ms, wall_ms) };
    match zone.from_local_datetime(&wall.naive_utc()) {
        MappedLocalTime::Single(instant) => {
            let instant = instant.timestamp_millis();
            (instant, instant)
        }
        MappedLocalTime::Ambiguous(earlier, later) => {
            (earlier.timestamp_millis(), later.timestamp_millis())
        }
        MappedLocalTime::None => {
            let before = offset_ms(zone, wall_ms - 24 * 3_600_000);
            let instant = wall_ms - before;
            (instant, instant - instant.rem_euclid(3_600_000))
        }
    }
}

fn offset_ms(zone: Tz, instant_ms: i64) -> i64 {
    DateTime::from_timestamp_millis(instant_ms).map_or(0, |instant| {
        i64::from(zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc())
            * 1000
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_york_springs_forward() {
        let mut wall = WallTime::new(Some(Tz::America__New_York));
        // 2024-03-10 06:59 UTC is 01:59, 07:00 UTC is 03:00.
        let before = 1_710_053_940_000;
        assert_eq!(wall.wall_of(before), before - 5 * 3_600_000);
        let after = 1_710_054_000_000;
        assert_eq!(wall.wall_of(after), after - 4 * 3_600_000);
        assert_eq!(wall.instant_of(after - 4 * 3_600_000), after);
        // 02:30 does not exist: the timer waits for 03:00.
        assert_eq!(wall.instant_of(after - 5 * 3_600_000 + 1_800_000), after);
    }

    /// As Flink 2.3 showed them (`tests/golden/asked/dstfallrowtime` and `dstspringrowtime`).
    #[test]
    fn results_show_the_earlier_of_two_instants_and_skip_no_time() {
        let wall = WallTime::new(Some(Tz::America__New_York));
        // 2024-11-03 01:59:59.999 comes at 05:59:59.999 UTC and an hour later.
        let twice = 1_730_599_199_999;
        assert_eq!(wall.rowtime_of(twice, true), twice + 4 * 3_600_000);
        assert_eq!(wall.instant_of(twice), twice + 5 * 3_600_000);
        // 2024-03-10 02:59:59.999 does not come: 07:59:59.999 UTC.
        let never = 1_710_039_599_999;
        assert_eq!(wall.rowtime_of(never, true), never + 5 * 3_600_000);
    }

    #[test]
    fn without_a_zone_nothing_shifts() {
        let mut wall = WallTime::new(None);
        assert_eq!(wall.wall_of(-5), -5);
        assert_eq!(wall.instant_of(i64::MAX), i64::MAX);
    }
}
