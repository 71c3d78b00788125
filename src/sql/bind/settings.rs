//! SET, RESET and the command line: what each key means here, and which mean nothing.
//!
//! A key of Flink's that changes no row is taken in silence; any other of Flink's is taken with a
//! warning. A key under `tidemill.` that we do not know is an error: it was meant for us.
//!
//! # Invariants
//!
//! 1. What the command line sets wins over every SET of the script.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono_tz::Tz;

use super::Notes;
use crate::error::{ScriptError, Span};
use crate::plan::Settings;
use crate::sql::near::near_match;
use crate::window::{Emit, EmitClock, EmitMode};

const EARLY: &str = "table.exec.emit.early-fire.enabled";
const EARLY_DELAY: &str = "table.exec.emit.early-fire.delay";
const LATE: &str = "table.exec.emit.late-fire.enabled";
const LATE_DELAY: &str = "table.exec.emit.late-fire.delay";
const ENFORCER: &str = "table.exec.sink.not-null-enforcer";
const LATENESS: &str = "table.exec.emit.allow-lateness";
const SNAPSHOT_INTERVAL: &str = "execution.checkpointing.interval";
const SNAPSHOTS_RETAINED: &str = "execution.checkpointing.num-retained";
const STATE_MEMORY: &str = "tidemill.state.memory-bytes";

/// Flink's keys (or their beginnings, with a dot) that change how a job runs but no row of its result.
const SILENT: [&str; 17] = [
    "table.optimizer.",
    "table.exec.mini-batch.",
    "table.exec.resource.",
    "table.exec.state.ttl",
    "table.plan.",
    "pipeline.name",
    "pipeline.object-reuse",
    "pipeline.max-parallelism",
    "pipeline.operator-chaining",
    "execution.checkpointing.",
    "execution.attached",
    "execution.target",
    "state.",
    "sql-client.",
    "taskmanager.",
    "jobmanager.",
    "restart-strategy",
];

/// A value and where it was set; the command line has no place.
type Setting = (String, Option<Span>);

/// All that is set at one point of the script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    script: BTreeMap<String, Setting>,
    overrides: BTreeMap<String, String>,
}

impl Configuration {
    /// What the command line sets, checked.
    pub(crate) fn new(
        overrides: &[(String, String)],
        notes: &mut Notes,
        errors: &mut Vec<ScriptError>,
    ) -> Self {
        let mut configuration = Self::default();
        for (key, value) in overrides {
            match check(key, value, None, notes) {
                Ok(()) => drop(configuration.overrides.insert(key.clone(), value.clone())),
                Err(error) => errors.push(error),
            }
        }
        configuration
    }

    /// SET.
    pub(crate) fn set(
        &mut self,
        key: &str,
        value: &str,
        places: (Span, Span),
        notes: &mut Notes,
    ) -> Result<(), ScriptError> {
        check(key, value, Some(places), notes)?;
        self.script.insert(key.to_string(), (value.to_string(), Some(places.1)));
        Ok(())
    }

    /// RESET of one key, or of all.
    pub(crate) fn reset(&mut self, key: Option<&str>) {
        match key {
            Some(key) => drop(self.script.remove(key)),
            None => self.script.clear(),
        }
    }

    fn get(&self, key: &str) -> Option<(&str, Option<Span>)> {
        let set = || self.script.get(key).map(|(value, span)| (value.as_str(), *span));
        self.overrides.get(key).map(|value| (value.as_str(), None)).or_else(set)
    }

    fn value<T>(&self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.get(key).and_then(|(value, _)| parse(value))
    }

    /// The options that `tidemill.table.NAME.…` gives the table, with their places.
    pub(crate) fn table_options(&self, table: &str) -> Vec<(String, String, Option<Span>)> {
        let prefix = format!("tidemill.table.{table}.");
        let keys: std::collections::BTreeSet<&String> =
            self.script.keys().chain(self.overrides.keys()).collect();
        let own =
            keys.into_iter().filter_map(|key| Some((key.strip_prefix(&prefix)?, self.get(key)?)));
        own.map(|(option, (value, span))| (option.to_string(), value.to_string(), span)).collect()
    }

    /// Whether a NULL for a NOT NULL column drops the row instead of failing the job.
    pub(crate) fn drops_nulls(&self) -> bool {
        self.value(ENFORCER, |value| Some(value.eq_ignore_ascii_case("drop"))) == Some(true)
    }

    /// The tables that `tidemill.table.NAME.…` names.
    pub(crate) fn table_names(&self) -> Vec<(String, Option<Span>)> {
        let script = self.script.iter().map(|(key, (_, span))| (key, *span));
        let all = script.chain(self.overrides.keys().map(|key| (key, None)));
        all.filter_map(|(key, span)| Some((table_key(key)?.0.to_string(), span))).collect()
    }

    /// The session's time zone.
    pub(crate) fn time_zone(&self) -> Tz {
        self.value("table.local-time-zone", zone).unwrap_or(Tz::UTC)
    }

    /// What holds for the whole job.
    pub(crate) fn plan_settings(&self) -> Settings {
        let defaults = Settings::default();
        Settings {
            shards: self
                .value("parallelism.default", |value| value.parse().ok())
                .filter(|&shards: &usize| shards > 0),
            time_zone: self.time_zone(),
            idle_timeout_ms: self.value("table.exec.source.idle-timeout", duration_ms).unwrap_or(0),
            dead_letter_path: self
                .value("tidemill.dead-letter.path", |value| Some(PathBuf::from(value))),
            snapshot_interval_ms: self.value(SNAPSHOT_INTERVAL, duration_ms),
            snapshots_retained: self.value(SNAPSHOTS_RETAINED, |value| value.parse().ok()),
            state_memory_bytes: self.value(STATE_MEMORY, |value| value.parse().ok()),
            chunk_bytes: self
                .value("tidemill.chunk-bytes", |value| value.parse().ok())
                .unwrap_or(defaults.chunk_bytes),
        }
    }

    /// When windows show results; `is_event_time` because late rows exist only there.
    ///
    /// # Errors
    ///
    /// Firing that is switched on without what it needs, as in Flink.
    pub(crate) fn emit(&self, is_event_time: bool) -> Result<Emit, ScriptError> {
        let delay = |enabled: &str, delay: &str| -> Result<Option<i64>, ScriptError> {
            let Some(("true", span)) = self
                .get(enabled)
                .map(|(value, span)| (if is_true(value) { "true" } else { "" }, span))
            else {
                return Ok(None);
            };
            match self.value(delay, duration_ms) {
                Some(delay_ms) => Ok(Some(delay_ms as i64)),
                None => {
                    Err(with_place(ScriptError::new(format!("'{enabled}' needs a delay")), span)
                        .hint(format!("SET '{delay}' = '60 s'; '0 s' fires after every row")))
                }
            }
        };
        let early_delay_ms = delay(EARLY, EARLY_DELAY)?;
        let late_delay_ms = delay(LATE, LATE_DELAY)?;
        let allow_lateness_ms = self.value(LATENESS, duration_ms).unwrap_or(0) as i64;
        if late_delay_ms.is_some() && allow_lateness_ms == 0 {
            let span = self.get(LATE).and_then(|(_, span)| span);
            let error = ScriptError::new(
                "late firing needs allowed lateness: without it no late row is taken",
            );
            return Err(with_place(error, span).hint(format!("SET '{LATENESS}' = '10 s'")));
        }
        if let Some(late_ms) = late_delay_ms
            && late_ms > allow_lateness_ms
        {
            let span = self.get(LATE_DELAY).and_then(|(_, span)| span);
            let message = format!(
                "the delay of late firing, {late_ms} ms, is longer than allowed lateness, {allow_lateness_ms} ms"
            );
            return Err(with_place(ScriptError::new(message), span)
                .hint("as in Flink; a shorter delay, or more lateness"));
        }
        let late_delay_ms = late_delay_ms.filter(|_| is_event_time);
        let event_clock = self
            .value("tidemill.emit.early-fire.clock", |value| Some(value == "event-time"))
            == Some(true);
        let mode = match self.get("tidemill.emit.mode").map(|(value, _)| value) {
            Some("accumulating") => EmitMode::Accumulating,
            Some("discarding") => EmitMode::Discarding,
            _ => EmitMode::Retracting,
        };
        Ok(Emit {
            early_delay_ms,
            early_clock: if event_clock { EmitClock::Event } else { EmitClock::Processing },
            late_delay_ms,
            allow_lateness_ms: if is_event_time { allow_lateness_ms } else { 0 },
            mode,
        })
    }

    /// Where early or late firing was switched on, for refusals.
    pub(crate) fn firing_span(&self) -> Option<Span> {
        let on = |key| self.get(key).filter(|(value, _)| is_true(value)).and_then(|(_, span)| span);
        on(EARLY).or_else(|| on(LATE))
    }
}

fn with_place(error: ScriptError, span: Option<Span>) -> ScriptError {
    match span {
        Some(span) => error.at(span),
        None => error,
    }
}

fn is_true(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("true")
}

/// NAME and OPTION of `tidemill.table.NAME.OPTION`.
fn table_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("tidemill.table.")?
        .split_once('.')
        .filter(|(name, option)| !name.is_empty() && !option.is_empty())
}

/// What a value must be, and whether it is.
type Rule = (&'static str, fn(&str) -> bool);

const DURATION: Rule =
    ("a duration such as '60 s', '1 min' or '500 ms'", |value| duration_ms(value).is_some());
const BOOLEAN: Rule =
    ("'true' or 'false'", |value| is_true(value) || value.trim().eq_ignore_ascii_case("false"));

/// Flink's reference semantics is 0, and so is ours always.
const WATERMARK_INTERVAL: &str = "pipeline.auto-watermark-interval";

/// The keys that mean something here.
const RULES: [(&str, Rule); 20] = [
    (EARLY, BOOLEAN),
    (EARLY_DELAY, DURATION),
    (LATE, BOOLEAN),
    (LATE_DELAY, DURATION),
    (LATENESS, DURATION),
    ("table.exec.source.idle-timeout", DURATION),
    (WATERMARK_INTERVAL, DURATION),
    (ENFORCER, ("'ERROR' or 'DROP'", |value| is_one_of(value, &["error", "drop"]))),
    (
        "parallelism.default",
        ("a number of shards from 1 to 256", |value| {
            value.parse().is_ok_and(|shards: i64| shards == -1 || (1..=256).contains(&shards))
        }),
    ),
    (
        "table.local-time-zone",
        ("a zone such as 'UTC', 'Europe/Berlin' or 'GMT-08:00'", |value| zone(value).is_some()),
    ),
    (
        "execution.runtime-mode",
        ("'streaming': there is no batch mode", |value| {
            is_one_of(value, &["streaming", "automatic"])
        }),
    ),
    (
        "table.sql-dialect",
        ("'default': the dialect is Flink SQL", |value| is_one_of(value, &["default"])),
    ),
    ("table.dml-sync", BOOLEAN),
    (
        "tidemill.emit.early-fire.clock",
        ("'event-time' or 'processing-time'", |value| {
            ["event-time", "processing-time"].contains(&value)
        }),
    ),
    (
        "tidemill.emit.mode",
        ("'retracting', 'accumulating' or 'discarding'", |value| {
            ["retracting", "accumulating", "discarding"].contains(&value)
        }),
    ),
    (
        SNAPSHOT_INTERVAL,
        ("a duration of at least 1 ms such as '1 s' or '500 ms'", |value| {
            duration_ms(value).is_some_and(|ms| ms > 0)
        }),
    ),
    (
        SNAPSHOTS_RETAINED,
        ("a number of snapshots from 1 to 1000", |value| {
            value.parse().is_ok_and(|count: usize| (1..=1000).contains(&count))
        }),
    ),
    (
        STATE_MEMORY,
        ("a number of bytes of at least 1048576", |value| {
            value.parse().is_ok_and(|bytes: u64| bytes >= 1 << 20)
        }),
    ),
    ("tidemill.dead-letter.path", ("a file's path", |value| !value.is_empty())),
    (
        "tidemill.chunk-bytes",
        ("a number of bytes from 1 to 1073741824", |value| {
            value.parse().is_ok_and(|bytes: u64| (1..=1 << 30).contains(&bytes))
        }),
    ),
];

fn is_one_of(value: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|allowed| value.eq_ignore_ascii_case(allowed))
}

/// Whether `key` may be set to `value`; the places are those of the key and of the value.
fn check(
    key: &str,
    value: &str,
    places: Option<(Span, Span)>,
    notes: &mut Notes,
) -> Result<(), ScriptError> {
    let key_span = places.map(|(key, _)| key);
    if let Some((_, (expected, allows))) = RULES.iter().find(|(known, _)| *known == key) {
        if allows(value) {
            if key == WATERMARK_INTERVAL && duration_ms(value) != Some(0) {
                let warning = ScriptError::new(format!(
                    "'{key}' is taken as 0: a watermark after every row, which never makes a result later"
                ));
                notes.warn(with_place(warning, key_span));
            }
            return Ok(());
        }
        let error = ScriptError::new(format!("'{key}' cannot be '{value}'"));
        return Err(
            with_place(error, places.map(|(_, value)| value)).hint(format!("it is {expected}"))
        );
    }
    if key.starts_with("tidemill.") {
        return check_ours(key, key_span);
    }
    let silent = |known: &&str| key == *known || (known.ends_with('.') && key.starts_with(known));
    if !SILENT.iter().any(silent) {
        let warning = ScriptError::new(format!("the setting '{key}' has no effect here"));
        notes.warn(with_place(warning, key_span));
    }
    Ok(())
}

fn check_ours(key: &str, span: Option<Span>) -> Result<(), ScriptError> {
    if table_key(key).is_some() {
        return Ok(());
    }
    let error = with_place(ScriptError::new(format!("there is no setting '{key}'")), span);
    if key.starts_with("tidemill.table") {
        return Err(error
            .hint("write 'tidemill.table.NAME.OPTION', for example 'tidemill.table.clicks.path'"));
    }
    let ours =
        || RULES.iter().map(|(known, _)| *known).filter(|known| known.starts_with("tidemill."));
    Err(error.hint(match near_match(key, ours()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => {
            let known: Vec<&str> = ours().collect();
            format!("the settings are {} and tidemill.table.NAME.OPTION", known.join(", "))
        }
    }))
}

/// A time zone by its IANA name, or as `GMT-08:00` in whole hours.
fn zone(text: &str) -> Option<Tz> {
    if let Ok(zone) = text.parse() {
        return Some(zone);
    }
    if text == "Z" {
        return Some(Tz::UTC);
    }
    let offset =
        ["GMT", "UTC", "UT"].iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text);
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => ('-', digits),
        ("-", digits) => ('+', digits),
        _ => return None,
    };
    let hours: u8 = digits.strip_suffix(":00").unwrap_or(digits).parse().ok()?;
    // POSIX names count westwards, so the sign turns.
    if hours == 0 { Some(Tz::UTC) } else { format!("Etc/GMT{sign}{hours}").parse().ok() }
}

/// Flink's durations in milliseconds: `60 s`, `1 min`, `10s`, `2 h`; a bare number is milliseconds.
fn duration_ms(text: &str) -> Option<u64> {
    let trimmed = text.trim();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = trimmed.get(..digits)?.parse().ok()?;
    let (multiply, divide) = match trimmed[digits..].trim().to_lowercase().as_str() {
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => (1, 1),
        "s" | "sec" | "secs" | "second" | "seconds" => (1_000, 1),
        "m" | "min" | "mins" | "minute" | "minutes" => (60_000, 1),
        "h" | "hour" | "hours" => (3_600_000, 1),
        "d" | "day" | "days" => (86_400_000, 1),
        "µs" | "micro" | "micros" | "microsecond" | "microseconds" => (1, 1_000),
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => (1, 1_000_000),
        _ => return None,
    };
    let ms = count.checked_mul(multiply)? / divide;
    (ms <= i64::MAX as u64 / 4).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_zones_read_as_flink_reads_them() {
        let cases = [
            ("60 s", 60_000),
            ("10s", 10_000),
            ("1 min", 60_000),
            ("500", 500),
            ("2 h", 7_200_000),
            ("1d", 86_400_000),
        ];
        for (text, ms) in cases {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in
            ["", "s", "-1 s", "1 fortnight", "99999999999999999999 s", "9223372036854775807 d"]
        {
            assert_eq!(duration_ms(text), None, "{text}");
        }
        assert_eq!(zone("Asia/Shanghai"), Some(Tz::Asia__Shanghai));
        assert_eq!(zone("GMT-08:00"), Some(Tz::Etc__GMTPlus8));
        assert_eq!(zone("UTC+03:00"), Some(Tz::Etc__GMTMinus3));
        assert_eq!(zone("GMT+05:30"), None);
        assert_eq!(zone("Mars/Base"), None);
    }
}
