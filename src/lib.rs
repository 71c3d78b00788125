//! Tidemill: event-time window aggregation over streams on one machine, from Flink SQL or Rust.
//!
//! # In five minutes
//!
//! A job takes records from a source, puts them into windows by key, and hands each window's result to a sink. Records are
//! [`rkyv`] archives of a type of yours: closures get a reference to the archive, in place, and results are typed. So a program depends on
//! `tidemill` and on `rkyv = "0.8"`, whose derives make a type a record; on `serde` for JSON and CSV.
//!
//! ```
//! use rkyv::{Archive, Serialize};
//! use tidemill::{Job, Options, Records, Span, Window};
//!
//! #[derive(Archive, Serialize)]
//! struct Click {
//!     at_ms: i64,
//!     page: u32,
//!     device: u64,
//! }
//!
//! let click = |n: i64| Click { at_ms: n * 7, page: (n % 3) as u32, device: (n * n % 50) as u64 };
//! let clicks: Vec<Click> = (0..3_000).map(click).collect();
//! let (results, received) = std::sync::mpsc::channel();
//!
//! let job = Job::new("visitors");
//! job.source("clicks", Records::new(clicks))
//!     // After each click all before its time less a second have come: what is older is late.
//!     .watermark(|click| click.at_ms, Span::seconds(1))
//!     .key_by(|click| click.page)
//!     .window(Window::tumbling(Span::seconds(10)))
//!     .aggregate(|on| (on.count(), on.count_distinct(|click| click.device)))
//!     .sink(move |result| results.send(result.clone()).unwrap());
//! let report = job.run(Options::default().shards(2))?;
//!
//! drop(job);
//! let visitors: i64 = received.iter().map(|result| result.value.1).max().unwrap();
//! assert!(visitors <= 50);
//! assert_eq!((report.totals.rows, report.totals.late), (3_000, 0));
//! # Ok::<(), tidemill::error::JobError>(())
//! ```
//!
//! - **Sources**: [`RecordFile`], [`Records`] in memory, [`JsonFile`], [`CsvFile`], [`Iterate`], a [`channel`] from the program's own threads,
//!   and your own ([`source::SourceConnector`]).
//! - **Streams**: [`Stream`] has `filter`, `map`, `flat_map`, `union`, `partition`; cloning it gives a second reader. `key_by` takes a number, a
//!   text, or a tuple.
//! - **Windows**: [`Window`]: tumbling, sliding, cumulating, session, of so many rows, global; early and late firing in three modes;
//!   late items as a stream ([`ResultsAndLate`]). Event time or processing time is part of a stream's type.
//! - **What windows compute**: tuples of aggregates ([`job::On`]), your own ([`AggregateFunction`]), or a function over all items of the
//!   window, with state ([`ProcessWindow`]). Results are a stream again.
//! - **Sinks**: a closure ([`Stream::sink`]) or a [`sink::channel`] to the program's own threads, which after a crash see rows since the last
//!   snapshot again; [`Files`] of records, JSON or CSV, which hold every row once; and your own, in two phases ([`sink::SinkConnector`]).
//! - **Running**: [`Job::run`] to the end, [`Job::start`] beside the program ([`Handle`]: metrics, stop, cancel). With [`Options::state`] a job
//!   survives `kill -9` and goes on where it was. A panic in a closure ends its job with an error that names the record, and nothing else;
//!   [`error::Class`] says whose every error is.
//! - **SQL** becomes the same plan, with feature `sql`: a `Session` has sources as tables and closures as functions, runs scripts, and
//!   yields the rows of queries as typed values or Arrow's record batches (below).
//!
//! # SQL from Rust
//!
#![cfg_attr(feature = "sql", doc = "```")]
#![cfg_attr(not(feature = "sql"), doc = "```ignore")]
//! use rkyv::{Archive, Serialize};
//! use tidemill::{Options, Records, Session, Span};
//!
//! #[derive(Archive, Serialize)]
//! struct Visit {
//!     at_ms: i64,
//!     url: String,
//! }
//!
//! let visit = |n: i64| Visit { at_ms: n * 100, url: format!("https://{}.org/{n}", ["a", "b"][n as usize % 2]) };
//! let mut session = Session::new();
//! session
//!     .table("visits", Records::new((0..100).map(visit)))
//!     .text("url", |visit| &visit.url)
//!     .watermark("ts", |visit| visit.at_ms, Span::seconds(1));
//! session.function("domain", |url: &str| url.split('/').nth(2).map(String::from));
//!
//! let query = session.query(
//!     "SELECT domain(url), COUNT(*) FROM TABLE(TUMBLE(TABLE visits, DESCRIPTOR(ts), INTERVAL '1' MINUTE))
//!      GROUP BY window_start, window_end, domain(url)",
//! )?;
//! let mut rows = query.rows::<(Option<String>, i64)>(Options::default())?.collect::<Result<Vec<_>, _>>()?;
//! rows.sort();
//! assert_eq!(rows, [(Some("a.org".to_owned()), 50), (Some("b.org".to_owned()), 50)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The data path
//!
//! ```text
//!  shard 0   read ─ decode ─ filter, project ─ pre-aggregate ─╮         ╭─ window state ─ fire ─ sink part
//!                                                             ├─ rings ─┤
//!  shard 1   read ─ decode ─ filter, project ─ pre-aggregate ─╯  (n×n)  ╰─ window state ─ fire ─ sink part
//! ```
//!
//! A script is bound to one [`plan`], the plan is compiled to chains of stateless steps cut by exchanges, and every
//! shard (one a core) runs all of them. Rows travel as Arrow columns, a few thousand at a time; groups travel
//! as accumulators where keys repeat, as rows where they do not.
//!
//! - **Chunks in sequence.** Input is cut into numbered chunks whose boundaries depend on its bytes alone. One token goes
//!   from chunk to chunk and carries the watermarks; decoding runs ahead of it, and so do filter, projection and pre-aggregation where
//!   a chunk's rows alone decide what it comes to, which one comparison shows when its turn comes. Owners of keys take chunks in
//!   their order, so results do not depend on the number of shards, on batching or on timing.
//! - **Turns.** Of several splits the one with the lowest (watermark, ordinal) is read, for a turn of 1 MiB of its own bytes;
//!   smaller chunks subdivide a turn and change nothing.
//! - **The late rule** is applied where rows are read, row by row, against the watermark at each row's arrival; one
//!   comparison shows that a whole batch is in time. Sessions apply it where the key lives. Who reads late rows ([`plan::Op::Late`])
//!   gets them from there, whole: a filter's output, in effect, or, of sessions, one more output of their owner.
//! - **Slices.** Windows are unions of slices; a slice owns its table and frees whole pages. A watermark that has passed many slices
//!   within a chunk fires them there, so that sparse rows hold no more open than dense ones.
//! - **Distinct counts** are partitioned by value, so that no page is hot: each shard counts its own devices, and a second exchange adds
//!   up. Where a count is read once, devices wait in runs by page, partitioned so that equal ones of a page lie together, and are
//!   found a part at a time; where it is read more often, or they repeat much, devices get numbers, and pages bitmaps of those. They
//!   travel as they will wait: a device read as a number, and the page it belongs to, whose key is sent once a chunk.
//! - **Records** of a Rust type are one column of archives ([`sys::archive`]), and a closure over them is an expression ([`expr::Native`]): the
//!   typed builder ([`job`]) makes the plan that SQL makes, and everything below the plan is the same.
//! - **Functions** in Rust ([`plan::function`]) get rows as columns. One with state is called where the key lives, and keeps its values
//!   in pages as everything else does; a failure, or a panic, unwinds the shard with its error and ends the job.
//! - **Snapshots.** A barrier is a flag of a chunk's end, so every operator is sealed at the same place of the sequence while rows flow on.
//!   State is pages ([`state`]); sealing hands over the buffers that were written since, and a coordinator ([`shard::checkpoint`]) makes
//!   them durable: new frames, sync, sinks prepared, manifest renamed, output published, old frames free.
//! - **Many groups.** A slice with more groups than fit the cache looks none up: what comes for it waits ([`state::Backlog`]), partitioned by
//!   the keys' hashes, and when a window fires each partition is folded in a table that fits the cache, and read out of it. Senders pack rows
//!   as they will wait, in the order of their partitions, where keys have one length and arguments are numbers; owners copy runs. What repeats
//!   much is folded before it fires, so that it takes at most about twice what the groups would.
//! - **Sessions** lie on shelves by the time at which they are over, one record each, found by an index. Most have a row or two, so that the way in
//!   and out of the index is all that they cost. Where nothing is saved they lie without one, partitioned, as long as many rows come at a time:
//!   rows wait as above, and those of a partition that may touch another row or session are looked up together, in the cache. A session of one
//!   row is that row, without accumulators, until it is read out. Only an owner that feeds no other exchange does so, for results come in no
//!   order then, and are held back while its shard has other work: 20 ms at most, and 1 ms when it has none.
//! - **State beyond memory** leaves it a page at a time, of a page with few changes those alone. What waits is written once, and read
//!   once, a partition after the other.
//! - **Sums of DOUBLE are exact** ([`agg::exact`]): they do not depend on order, so they may be folded before the exchange.
//!   This is our one departure from Flink's rows; `tests/golden/differences.md` lists it and the few others.
//!
//! # Where this goes another way than its plan
//!
//! - The grammar of SQL is our own, over `sqlparser`'s tokenizer: the crate's parser takes exponential time on some nested calls
//!   and its nodes do not say where they stand, and every error here has a line and a column.
//! - JSON is read by a tokenizer of our own that does not recurse (a library reads it in the tests, as the judge): Flink accepts raw control
//!   characters that `serde_json` refuses, and speculating on the last row's fields is three times as fast.
//! - Of several splits a turn is 1 MiB, not one row: see above.
//! - Pre-aggregation runs before the token has come, not behind it: see above.
//! - A job that reads no files runs on plain threads though io_uring is allowed: the two runtimes differ in nothing else, and an executor's
//!   three rings take as long to set up and to leave as all the rest of a job of a thousand rows.
//! - A job has glibc's `malloc` keep up to 64 MiB of free memory an arena, which is a setting of the whole process, unless
//!   `MALLOC_TRIM_THRESHOLD_` or `GLIBC_TUNABLES` is set ([`sys::memory::keep_freed`]): columns of every chunk went back to the kernel otherwise.
//! - Which frames of a state file are free is not stored: it follows from the page tables of the retained manifests, a
//!   thousandth of the state, read behind the job's back before its first snapshot. Shards read the leaves that they come to.
//! - A page of which few lines have changed is not written again: its changed lines are, gathered from many pages, all that have
//!   changed since it was last written whole. So a page has at most one such delta, and opening follows no chains.
//! - Each operator of a shard is a page space of its own in the shard's one file, sealed when the barrier comes to it; nobody waits for the
//!   others of the shard.
//! - A damaged frame unwinds the shard with its error as the payload, so that inner loops over state have no error path.
//! - The sets of a distinct count are blocks of our own in pages; the `roaring` crate is their judge in the tests.
//! - A first stage that counts distinct values ships accumulators, so that one exchange protocol serves both stages.
//!
//! # The layers
//!
//! A folder imports only lower layers; `tests/tidy.rs` holds the table and fails on a breach.
//!
//! ```text
//! L0  error, sys, sync        errors by who can act on them; what needs the kernel or `unsafe`
//! L1  batch, ring, metrics    columns, keys and hashes; rings between shards; counters
//! L2  format, expr, agg, state    bytes ↔ batch; scalar expressions; accumulators; paged tables, heaps and sets
//! L3  window, connector       slices and wall time; sources and sinks
//! L4  plan, op                one description; senders and owners
//! L5  sql, shard              text → plan; plan → running shards, on three runtimes
//! L6  job                     the typed builder; binds, launches, reports
//! L8  cli                     the commands
//! ```
//!
//! # Features
//!
//! `sql` (the folder `sql`, `job::bind`, `Session`, the functions that compute digests) and `cli` (the folder `cli`, the binary; implies `sql`) are on
//! by default; without them the engine is the same.
//!
//! # What is absent
//!
//! `window` and `agg` do no I/O and know no store. `sql` and `shard` never see each other. Nothing above `sys` reads the
//! clock: time, randomness and storage arrive as arguments, so the same shards run in the simulator. What is
//! durable hangs on one rename, that of a snapshot's manifest ([`shard::checkpoint`]).
//!
//! # What is public
//!
//! The library is what this page lists below: the root, [`job`], [`source`], [`sink`] and [`error`]; `tests/documented.rs` sees to it that every item
//! is shown in an example. The engine's own folders can be named too, by the tests, benches and tools of this repository. They are documented
//! where they are written, and may change at any time.

// The folders of the engine are public for this repository's own tests, benches and tools, and no part of the library: programs use what is
// re-exported below. (The compiler still asks for their documentation.)
#[cfg_attr(doc, doc(hidden))]
pub mod agg;
#[cfg_attr(doc, doc(hidden))]
pub mod batch;
#[cfg(feature = "cli")]
#[cfg_attr(doc, doc(hidden))]
pub mod cli;
#[cfg_attr(doc, doc(hidden))]
pub mod connector;
pub mod error;
#[cfg_attr(doc, doc(hidden))]
pub mod expr;
#[cfg_attr(doc, doc(hidden))]
pub mod format;
pub mod job;
#[cfg_attr(doc, doc(hidden))]
pub mod metrics;
#[cfg_attr(doc, doc(hidden))]
pub mod op;
#[cfg_attr(doc, doc(hidden))]
pub mod plan;
#[cfg_attr(doc, doc(hidden))]
pub mod ring;
#[cfg_attr(doc, doc(hidden))]
pub mod shard;
#[cfg(feature = "sql")]
#[cfg_attr(doc, doc(hidden))]
pub mod sql;
#[cfg_attr(doc, doc(hidden))]
pub mod state;
mod sync;
#[cfg_attr(doc, doc(hidden))]
pub mod sys;
#[cfg_attr(doc, doc(hidden))]
pub mod window;

pub use job::{
    AggregateFunction, Archived, CsvFile, Emit, EventTime, Every, Files, Handle, Items, Iterate,
    Job, JsonFile, Metrics, Mode, Options, Output, ProcessContext, ProcessWindow, ProcessingTime,
    Record, RecordFile, RecordSource, RecordWriter, Records, Remote, ResultsAndLate, RowKind,
    Sender, Span, Stream, Window, WindowResult, channel,
};
#[cfg(feature = "sql")]
pub use job::{FromRow, Query, Session, SqlError, SqlJob};
pub use job::{sink, source};
