//! Files as sinks: every record once, whatever lives a job has had.

use proptest::prelude::*;
use tidemill::job::RuntimeKind;
use tidemill::{Files, Job, Options, RecordFile, Span};

use super::events::{Event, LAG_MS, Seen, Written, events};

fn copy(file: &Written, to: &std::path::Path) -> Job {
    Job::new("copy")
        .source("events", file.source())
        .watermark(|e| e.at_ms, Span::millis(LAG_MS))
        .filter(|e| e.key != 2)
        .map(|e| (e.at_ms.to_native(), e.name.to_string()))
        .sink_to(Files::records(to))
}

fn read(from: &std::path::Path) -> Vec<(i64, String)> {
    let (seen, note) = Seen::new();
    Job::new("read")
        .source("copies", RecordFile::<(i64, String)>::open(from).unwrap())
        .processing_time()
        .sink(move |copy| note((copy.0.to_native(), copy.1.to_string())))
        .run(Options::default().shards(1))
        .unwrap();
    seen.sorted()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn records_are_written_once(events in events(), seed in any::<u64>()) {
        let pick = |e: &Event| (e.key != 2).then(|| (e.at_ms, e.name.clone()));
        let mut expected: Vec<(i64, String)> = events.iter().filter_map(pick).collect();
        expected.sort();
        prop_assume!(!expected.is_empty());
        let (file, folder) = (Written::new(&events), tempfile::tempdir().unwrap());
        let (state, out) = (folder.path().join("state"), folder.path().join("out"));
        let options = || Options::default().state(&state).snapshot_interval(Span::millis(1));
        let deaths = (0..).take_while(|life| {
            let runtime = RuntimeKind::Dying { seed: seed ^ life, steps: 30 + life * 30 };
            let shards = 1 + (seed.wrapping_add(*life) % 3) as usize;
            copy(&file, &out).run(options().shards(shards).runtime(runtime)).is_err()
        });
        prop_assert!(deaths.count() < 1000);
        prop_assert_eq!(read(&out), expected.clone());
        let whole = folder.path().join("whole");
        copy(&file, &whole).run(Options::default().shards(2)).unwrap();
        prop_assert_eq!(read(&whole), expected);
    }
}
