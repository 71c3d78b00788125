//! Random events in a file, and a session that has them as a table.

use proptest::prelude::*;
use rkyv::{Archive, Serialize};
use tidemill::error::ScriptError;
use tidemill::job::RuntimeKind;
use tidemill::{FromRow, Options, RecordFile, Session, Span, SqlError};

#[derive(Archive, Serialize, Clone, Debug)]
pub(super) struct Event {
    pub(super) at_ms: i64,
    pub(super) key: u32,
    pub(super) amount: i64,
    pub(super) name: String,
    pub(super) note: Option<i64>,
}

/// How far an event may be behind those before it: none is late.
const LAG_MS: i64 = 1500;

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let note = prop::option::of(-9..9i64);
    let event = (0..LAG_MS, 0..4u32, -50..50i64, "[a-z]{0,14}", note);
    prop::collection::vec(event, 1..120).prop_map(|drawn| {
        let events =
            drawn.into_iter().enumerate().map(|(index, (jitter, key, amount, name, note))| Event {
                at_ms: 2000 + index as i64 * 60 - jitter,
                key,
                amount,
                name,
                note,
            });
        events.collect()
    })
}

/// A file of these events.
pub(super) struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    pub(super) fn new(events: &[Event]) -> Self {
        Self { folder: crate::blocks::written(events) }
    }

    /// The path of a file beside that of the events.
    pub(super) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A session whose table `events` they are.
    pub(super) fn session(&self) -> Session {
        let mut session = Session::new();
        session
            .table("events", RecordFile::<Event>::open(self.path("events")).unwrap())
            .column("k", |event| event.key)
            .column("amount", |event| event.amount)
            .text("name", |event| &event.name)
            .column("note", |event| event.note)
            .watermark("ts", |event| event.at_ms, Span::millis(LAG_MS));
        session
    }

    /// The rows of a query, sorted, which are the same however it runs.
    pub(super) fn rows<R>(&self, session: &Session, query: &str) -> Vec<R>
    where
        R: FromRow + Ord + Clone + std::fmt::Debug,
    {
        let query = session.query(query).unwrap_or_else(|error| panic!("{error}"));
        let run = |shards| {
            let mut rows =
                query.rows::<R>(simulated(shards)).unwrap().collect::<Result<Vec<R>, _>>().unwrap();
            rows.sort();
            rows
        };
        let rows = run(1);
        assert!((2..=3).all(|shards| run(shards) == rows), "the number of shards shows");
        rows
    }
}

/// So many shards, small chunks, and a schedule of its own.
pub(super) fn simulated(shards: usize) -> Options {
    Options::default().shards(shards).chunk_bytes(200).runtime(RuntimeKind::Sim(shards as u64))
}

/// A file of no events, for what does not run.
pub(super) fn nothing() -> Written {
    Written::new(&[])
}

/// The only mistake in a text: `line:column: message`.
pub(super) fn mistake<T: std::fmt::Debug>(outcome: Result<T, SqlError>) -> String {
    match outcome.unwrap_err().errors() {
        [ScriptError { message, span: Some(span), .. }] => {
            format!("{}:{}: {message}", span.line, span.column)
        }
        [ScriptError { message, span: None, .. }] => message.clone(),
        several => panic!("{several:?}"),
    }
}

/// The start of the second that an event is in.
pub(super) fn second(event: &Event) -> i64 {
    event.at_ms.div_euclid(1000) * 1000
}

/// `FROM … GROUP BY`, with seconds as windows.
pub(super) const SECONDS: &str = "FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '1' SECOND)) \
                                  GROUP BY window_start, window_end, k";
