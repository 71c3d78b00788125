//! Late items as a stream of their own.

use proptest::prelude::*;
use tidemill::{Job, Options, ResultsAndLate, Span, Window};

use super::events::{Event, LAG_MS, Seen, Written, events, late, settings};

const SIZE_MS: i64 = 300;

fn run(file: &Written, options: Options) -> (i64, Vec<(i64, u32, String)>) {
    let (counts, note_count) = Seen::new();
    let (items, note_item) = Seen::new();
    let ResultsAndLate { results, late } = Job::new("late")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .key_by(|e| e.key)
        .window(Window::tumbling(Span::millis(SIZE_MS)))
        .aggregate_and_late(|on| on.count());
    results.sink(move |r| note_count(r.value));
    late.filter(|e| e.key != 3)
        .sink(move |e| note_item((e.at_ms.to_native(), e.key.to_native(), e.name.to_string())))
        .run(options)
        .unwrap();
    (counts.sorted().into_iter().sum(), items.sorted())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_windows_leave_out_is_late(events in events()) {
        let is_late = late(&events, SIZE_MS);
        let in_time = is_late.iter().filter(|late| !**late).count() as i64;
        let pick = |(event, late): (&Event, &bool)| {
            (*late && event.key != 3).then(|| (event.at_ms, event.key, event.name.clone()))
        };
        let mut expected: Vec<_> = events.iter().zip(&is_late).filter_map(pick).collect();
        expected.sort();
        let file = Written::new(&events);
        settings(|options| {
            prop_assert_eq!(run(&file, options), (in_time, expected.clone()));
            Ok(())
        })?;
    }
}
