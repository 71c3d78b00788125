//! Aggregates: the engine's, the program's, and records reduced.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::{AggregateFunction, Archived, Job, Record, Span, Window};

use super::events::{Event, LAG_MS, Seen, Written, events, late, settings};

const SIZE_MS: i64 = 1000;

/// All names, in the order of their arrival.
struct Names;

impl AggregateFunction<Event> for Names {
    type Accumulator = Vec<String>;
    type Output = Archived<Vec<String>>;

    fn uid(&self) -> &str {
        "names"
    }

    fn is_order_sensitive(&self) -> bool {
        true
    }

    fn create(&self) -> Vec<String> {
        Vec::new()
    }

    fn add(&self, names: &mut Vec<String>, event: &<Event as rkyv::Archive>::Archived) {
        names.push(event.name.to_string());
    }

    fn merge(&self, names: &mut Vec<String>, later: Vec<String>) {
        names.extend(later);
    }

    fn result(&self, names: &Vec<String>) -> Archived<Vec<String>> {
        Archived(names.clone())
    }
}

/// What a group comes to: count, sum, least, greatest, mean, different names, all names, the last positive amount, joined.
type Line = (i64, u32, (i64, i64, i64, i64), (i64, Vec<String>), Option<i64>, Event2);
/// Key, total, and text of a reduced event.
type Event2 = (u32, i64, String);

fn expected(events: &[Event]) -> Vec<Line> {
    let is_late = late(events, SIZE_MS);
    let mut groups: BTreeMap<(i64, u32), Vec<&Event>> = BTreeMap::new();
    for (event, _) in events.iter().zip(is_late).filter(|(_, late)| !late) {
        let start = event.at_ms.div_euclid(SIZE_MS) * SIZE_MS;
        groups.entry((start, event.key)).or_default().push(event);
    }
    let line = |((start, key), events): (_, Vec<&Event>)| {
        let amounts = || events.iter().map(|event| event.amount);
        let names: Vec<String> = events.iter().map(|event| event.name.clone()).collect();
        let mut different = names.clone();
        different.sort();
        different.dedup();
        let (least, greatest) = (amounts().min().unwrap(), amounts().max().unwrap());
        let simple = (events.len() as i64, amounts().sum(), least, greatest);
        let last = amounts().rfind(|amount| *amount > 0);
        (
            start,
            key,
            simple,
            (different.len() as i64, names.clone()),
            last,
            (key, amounts().sum(), names.concat()),
        )
    };
    groups.into_iter().map(line).collect()
}

fn joined(a: &<Event as rkyv::Archive>::Archived, b: &<Event as rkyv::Archive>::Archived) -> Event {
    Event {
        at_ms: a.at_ms.to_native(),
        key: a.key.to_native(),
        amount: a.amount + b.amount,
        name: format!("{}{}", a.name, b.name),
    }
}

fn is_record<T: Record>() {}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn aggregates_are_what_a_loop_says(events in events()) {
        is_record::<Event>();
        let (file, expected) = (Written::new(&events), expected(&events));
        settings(|options| {
            let (seen, note) = Seen::<Line>::new();
            Job::new("aggregates")
                .source("events", file.source())
                .watermark(|e| e.at_ms, Span::millis(LAG_MS))
                .key_by(|e| e.key)
                .window(Window::tumbling(Span::millis(SIZE_MS)))
                .aggregate(|on| (
                    on.count(),
                    on.sum(|e| e.amount),
                    on.min(|e| e.amount),
                    on.max(|e| e.amount),
                    on.count_distinct_text(|e| e.name.as_str()),
                    on.custom(Names),
                ))
                .sink(move |r| {
                    let (count, sum, least, greatest, different, Archived(names)) = r.value.clone();
                    note((r.start_ms, r.key, (count, sum, least, greatest), (different, names), None, (0, 0, String::new())));
                })
                .run(options.clone())
                .unwrap();
            let part = |line: &Line| (line.0, line.1, line.2, line.3.clone(), None, (0, 0, String::new()));
            prop_assert_eq!(seen.sorted(), expected.iter().map(part).collect::<Vec<_>>());

            let (seen, note) = Seen::new();
            Job::new("more")
                .source("events", file.source())
                .watermark(|e| e.at_ms, Span::millis(LAG_MS))
                .key_by(|e| e.key)
                .window(Window::tumbling(Span::millis(SIZE_MS)))
                .aggregate(|on| (
                    on.last(|e| e.amount).filter(|e| e.amount > 0),
                    on.reduce("joined", joined),
                ))
                .sink(move |r| {
                    let (last, Archived(event)) = r.value.clone();
                    note((r.start_ms, r.key, last, (event.key, event.amount, event.name)));
                })
                .run(options)
                .unwrap();
            let part = |line: &Line| (line.0, line.1, line.4, line.5.clone());
            prop_assert_eq!(seen.sorted(), expected.iter().map(part).collect::<Vec<_>>());
            Ok(())
        })?;
    }
}
