//! Aggregate functions in Rust, called from SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rkyv::rend::i64_le;
use rkyv::{Archive, Deserialize, Serialize};
use tidemill::error::JobError;
use tidemill::job::{Fresh, RuntimeKind};
use tidemill::{AggregateFunction, Options, Session, Span};

use super::events::{Event, SECONDS, Written, events, mistake, nothing, second, simulated};

/// The greatest value less the least.
struct Spread;

#[derive(Archive, Serialize, Deserialize)]
struct Ends(Option<(i64, i64)>);

impl AggregateFunction<i64> for Spread {
    type Accumulator = Ends;
    type Output = Option<i64>;

    fn uid(&self) -> &str {
        "spread"
    }

    fn create(&self) -> Ends {
        Ends(None)
    }

    fn add(&self, ends: &mut Ends, value: &i64_le) {
        let value = value.to_native();
        self.merge(ends, Ends(Some((value, value))));
    }

    fn merge(&self, ends: &mut Ends, later: Ends) {
        ends.0 = match (ends.0, later.0) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
    }

    fn result(&self, ends: &Ends) -> Option<i64> {
        ends.0.map(|(least, greatest)| greatest - least)
    }
}

/// Names with their notes, in the order of arrival; panics at a name.
struct Listed {
    version: u64,
    trap: &'static str,
}

impl AggregateFunction<(String, Option<i64>)> for Listed {
    type Accumulator = String;
    type Output = String;

    fn uid(&self) -> &str {
        "listed"
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn is_order_sensitive(&self) -> bool {
        true
    }

    fn create(&self) -> String {
        String::new()
    }

    fn add(&self, list: &mut String, item: &<(String, Option<i64>) as Archive>::Archived) {
        assert!(item.0 != self.trap, "trapped");
        let note = item.1.as_ref().map(|note| note.to_native());
        *list += &entry(&item.0, note);
    }

    fn merge(&self, list: &mut String, later: String) {
        *list += &later;
    }

    fn result(&self, list: &String) -> String {
        list.clone()
    }
}

fn entry(name: &str, note: Option<i64>) -> String {
    format!("{name}{note:?};")
}

fn with_aggregates(written: &Written, listed: Listed) -> Session {
    let mut session = written.session();
    session.aggregate("spread", Spread);
    session.aggregate("listed", listed);
    session
}

const LISTED: Listed = Listed { version: 1, trap: "no name" };

/// A window's start and key; the spread of notes, that of amounts of short names, all names with notes.
type Line = (i64, u32, Option<i64>, Option<i64>, String);

const SELECT: &str = "SELECT window_start, k, SPREAD(note), spread(amount) FILTER (WHERE CHAR_LENGTH(name) < 6), listed(name, note)";

fn spread(values: impl Iterator<Item = i64>) -> Option<i64> {
    let values: BTreeSet<i64> = values.collect();
    Some(values.last()? - values.first()?)
}

fn line((start, key): (i64, u32), events: &[&Event]) -> Line {
    let short = events.iter().filter(|event| event.name.len() < 6);
    (
        start,
        key,
        spread(events.iter().filter_map(|event| event.note)),
        spread(short.map(|event| event.amount)),
        events.iter().map(|event| entry(&event.name, event.note)).collect(),
    )
}

/// By window and key; each event is in the windows whose starts `starts` gives.
fn expected(events: &[Event], starts: impl Fn(&Event) -> Vec<i64>) -> Vec<Line> {
    let mut groups: BTreeMap<(i64, u32), Vec<&Event>> = BTreeMap::new();
    for event in events {
        for start in starts(event) {
            groups.entry((start, event.key)).or_default().push(event);
        }
    }
    groups.into_iter().map(|(group, events)| line(group, &events)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn aggregates_are_what_loops_say(events in events()) {
        let written = Written::new(&events);
        let session = with_aggregates(&written, LISTED);
        let rows = written.rows::<Line>(&session, &format!("{SELECT} {SECONDS}"));
        prop_assert_eq!(rows, expected(&events, |event| vec![second(event)]));
        let hops = SECONDS.replace("TUMBLE", "HOP").replace("INTERVAL '1' SECOND", "INTERVAL '1' SECOND, INTERVAL '2' SECOND");
        let rows = written.rows::<Line>(&session, &format!("{SELECT} {hops}"));
        prop_assert_eq!(rows, expected(&events, |event| vec![second(event) - 1000, second(event)]));
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    /// Lives that end anywhere, until one ends by itself: what was shown at least once is what there is.
    #[test]
    fn accumulators_survive(events in events(), seed in any::<u64>()) {
        let written = Written::new(&events);
        let folder = tempfile::tempdir().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let live = |version: u64, options: Options| {
            let session = with_aggregates(&written, Listed { version, ..LISTED });
            let seen = Arc::clone(&seen);
            let query = session.query(&format!("{SELECT} {SECONDS}")).unwrap();
            let job = query.for_each(move |_, line: Line| seen.lock().unwrap().push(line)).unwrap();
            let state = folder.path().join("state");
            job.run(options.state(state).snapshot_interval(Span::millis(1)).chunk_bytes(200))
        };
        let mut life = 0;
        loop {
            // Each lives twice as long, so that a few are enough for any length of the job.
            let runtime = RuntimeKind::Dying { seed: seed ^ life, steps: (40 + seed % 40) << life };
            let shards = 1 + (seed.wrapping_add(life) % 3) as usize;
            match live(1, Options::default().shards(shards).runtime(runtime)) {
                Ok(_) => break,
                Err(JobError::Killed) => life += 1,
                Err(error) => panic!("{error}"),
            }
        }
        let mut lines = std::mem::take(&mut *seen.lock().unwrap());
        lines.sort();
        lines.dedup();
        prop_assert_eq!(lines, expected(&events, |event| vec![second(event)]));
        let refused = live(2, simulated(1)).unwrap_err().to_string();
        prop_assert!(refused.contains("uid 'listed', version 2"), "{}", refused);
        live(2, simulated(1).fresh(Fresh::StartOver)).unwrap();
    }
}

#[test]
fn an_aggregate_that_panics_is_named() {
    let event = |name: &str| Event { at_ms: 0, key: 0, amount: 0, name: name.into(), note: None };
    let written = Written::new(&["a", "b"].map(event));
    let session = with_aggregates(&written, Listed { version: 1, trap: "b" });
    let query = session.query(&format!("SELECT listed(name, note) {SECONDS}")).unwrap();
    let error = query.rows::<String>(Options::default()).unwrap().find_map(Result::err).unwrap();
    let expected = "function listed of uid 'listed', version 1, adding rows: it panicked: trapped";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn mistakes_in_calls_have_their_places() {
    let written = nothing();
    let session = with_aggregates(&written, LISTED);
    let refused = |call: &str| mistake(session.query(&format!("SELECT k,\n {call} {SECONDS}")));
    assert_eq!(
        refused("spread(DISTINCT amount)"),
        "2:2: spread is the program's own, and takes no DISTINCT"
    );
    assert_eq!(refused("spread(*)"), "2:2: spread takes no *");
    assert_eq!(refused("spread()"), "2:2: spread takes 1 argument, not 0");
    assert_eq!(refused("listed(name)"), "2:2: listed takes 2 arguments, not 1");
    assert_eq!(
        refused("MAX(k) + spread(name)"),
        "2:18: argument 1 of spread is BIGINT, and this is STRING"
    );
    assert_eq!(refused("spread(MAX(k))"), "2:9: the aggregate MAX cannot stand here");
    assert_eq!(
        mistake(session.query("SELECT k FROM events\n WHERE spread(amount) > 1")),
        "2:8: the aggregate SPREAD cannot stand here"
    );
    assert!(mistake(session.query("SELECT spread(amount) FROM events")).ends_with(
        "aggregates without a window would run over all of time, which is not supported yet"
    ));
}

#[test]
fn names_and_uids_are_taken_once() {
    let written = nothing();
    let refused = |names: &[&str]| {
        let mut session = written.session();
        names.iter().for_each(|name| session.aggregate(*name, Spread));
        mistake(session.query("SELECT k FROM events"))
    };
    assert_eq!(refused(&["sum"]), "the function 'sum' has a name of SQL's own");
    assert_eq!(refused(&["width", "WIDTH"]), "there are two functions 'WIDTH'");
    assert_eq!(refused(&["a", "b"]), "the aggregate 'b' has the uid of another, 'spread'");
}
