//! Functions over windows, flat maps, windows of rows, and windows over windows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill::job::{Fresh, RuntimeKind};
use tidemill::{Items, Job, Options, Output, ProcessContext, ProcessWindow, Span, Window};

use super::events::{Event, LAG_MS, Seen, Written, events, late, settings};

const SIZE_MS: i64 = 1000;

/// The names of a window, and how many events of the key there have been in all.
struct Totals {
    version: u32,
}

impl ProcessWindow<Event, u32> for Totals {
    type Output = (i64, u32, Vec<String>, i64);

    fn uid(&self) -> &str {
        "totals"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn process(
        &self,
        items: Items<'_, Event>,
        context: &mut ProcessContext<'_, '_, u32>,
        out: &mut Output<'_, Self::Output>,
    ) -> Result<(), String> {
        let so_far = context.key_state::<i64>("total")?.unwrap_or(0) + items.count() as i64;
        context.set_key_state("total", &so_far)?;
        let names = items.iter().map(|event| event.name.to_string()).collect();
        out.push(&(context.start_ms(), *context.key(), names, so_far))
    }
}

type Line = (i64, u32, Vec<String>, i64);

fn expected(events: &[Event]) -> Vec<Line> {
    let mut windows: BTreeMap<(i64, u32), Vec<String>> = BTreeMap::new();
    for (event, _) in events.iter().zip(late(events, SIZE_MS)).filter(|(_, late)| !late) {
        let start = event.at_ms.div_euclid(SIZE_MS) * SIZE_MS;
        windows.entry((start, event.key)).or_default().push(event.name.clone());
    }
    let mut totals: BTreeMap<u32, i64> = BTreeMap::new();
    let line = |((start, key), names): ((i64, u32), Vec<String>)| {
        let total = totals.entry(key).or_default();
        *total += names.len() as i64;
        (start, key, names, *total)
    };
    windows.into_iter().map(line).collect()
}

fn totals(file: &Written, version: u32, note: impl Fn(Line) + Send + Sync + 'static) -> Job {
    Job::new("totals")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .key_by(|e| e.key)
        .window(Window::tumbling(Span::millis(SIZE_MS)))
        .process(Totals { version })
        .sink(move |line| {
            let names = line.2.iter().map(|name| name.to_string()).collect();
            note((line.0.to_native(), line.1.to_native(), names, line.3.to_native()));
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn functions_see_whole_windows_and_keep_values(events in events()) {
        let (file, expected) = (Written::new(&events), expected(&events));
        settings(|options| {
            let (seen, note) = Seen::new();
            totals(&file, 1, note).run(options).unwrap();
            prop_assert_eq!(seen.sorted(), expected.clone());
            Ok(())
        })?;
    }

    /// Lives that end anywhere, until one ends by itself: what was seen at least once is what there is, and totals that were
    /// counted twice or forgotten would be other lines.
    #[test]
    fn values_survive(events in events(), seed in any::<u64>()) {
        let (file, expected) = (Written::new(&events), expected(&events));
        let folder = tempfile::tempdir().unwrap();
        let options = || Options::default().state(folder.path().join("state")).snapshot_interval(Span::millis(1));
        let (seen, note) = Seen::new();
        let note = std::sync::Arc::new(note);
        let mut life = 0;
        loop {
            let runtime = RuntimeKind::Dying { seed: seed ^ life, steps: 40 + life * 40 };
            let note = std::sync::Arc::clone(&note);
            let shards = 1 + (seed.wrapping_add(life) % 3) as usize;
            let job = totals(&file, 1, move |line| note(line));
            if job.run(options().shards(shards).runtime(runtime)).is_ok() {
                break;
            }
            life += 1;
        }
        let mut lines = seen.sorted();
        lines.dedup();
        prop_assert_eq!(lines, expected);
        let refused = totals(&file, 2, |_| {}).run(options()).unwrap_err().to_string();
        prop_assert!(refused.contains("totals"), "{}", refused);
        totals(&file, 2, |_| {}).run(options().fresh(Fresh::StartOver)).unwrap();
    }

    #[test]
    fn chains_are_what_loops_say(events in events()) {
        let file = Written::new(&events);
        // Each letter of an event's name, in the event's window; then the window's most frequent count of a letter.
        let mut letters: BTreeMap<(i64, char), i64> = BTreeMap::new();
        for (event, _) in events.iter().zip(late(&events, SIZE_MS)).filter(|(_, late)| !late) {
            let start = event.at_ms.div_euclid(SIZE_MS) * SIZE_MS;
            event.name.chars().for_each(|letter| *letters.entry((start, letter)).or_default() += 1);
        }
        let mut most: BTreeMap<i64, i64> = BTreeMap::new();
        for ((start, _), count) in letters {
            let most = most.entry(start).or_default();
            *most = count.max(*most);
        }
        let mut fours: Vec<(u32, i64)> = Vec::new();
        for key in 0..4 {
            let own: Vec<i64> = events.iter().filter(|e| e.key == key).map(|e| e.amount).collect();
            fours.extend(own.chunks_exact(4).map(|four| (key, four.iter().sum::<i64>())));
        }
        fours.sort();
        settings(|options| {
            let (seen, note) = Seen::new();
            let (rows_seen, rows_note) = Seen::new();
            let job = Job::new("chains");
            let all = job.source("events", file.source()).watermark(|e| e.at_ms, Span::millis(LAG_MS));
            all.clone()
                .flat_map(|e, out| e.name.chars().for_each(|letter| out.push(&(letter as u32))))
                .key_by(|letter| letter.to_native())
                .window(Window::tumbling(Span::millis(SIZE_MS)))
                .aggregate(|on| on.count())
                .key_by(|_| 0)
                .window(Window::tumbling(Span::millis(SIZE_MS)))
                .aggregate(|on| on.max(|r| r.value))
                .sink(move |r| note((r.start_ms, r.value)));
            all.key_by(|e| e.key)
                .window(Window::count(4))
                .aggregate(|on| on.sum(|e| e.amount))
                .sink(move |r| rows_note((r.key, r.value)));
            job.run(options).unwrap();
            drop(job);
            prop_assert_eq!(seen.sorted(), most.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(rows_seen.sorted(), fours.clone());
            Ok(())
        })?;
    }
}

#[test]
fn a_panic_ends_the_job_and_says_where() {
    let events: Vec<Event> =
        (0..10).map(|n| Event { at_ms: n, key: 0, amount: n, name: String::new() }).collect();
    let file = Written::new(&events);
    let failed = Job::new("panics")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(0))
        .filter(|e| {
            assert!(e.amount != 7, "seven");
            true
        })
        .sink(|_| {})
        .run(Options::default())
        .unwrap_err();
    assert_eq!(failed.class(), tidemill::error::Class::User);
    let place = format!("the query, line 8 of {}", file.path());
    assert!(failed.to_string().starts_with(&place), "{failed}");
    assert!(failed.to_string().ends_with(": filter panicked: seven"), "{failed}");
}
