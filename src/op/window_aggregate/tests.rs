//! Slices that wait against slices in tables, and shared sums against sums of all slices: the same windows, whatever the thresholds, through
//! barriers, restarts and other numbers of shards.

use std::path::Path;

use arrow_array::{Array, BooleanArray, Float64Array, Int64Array, StringViewArray};
use proptest::prelude::*;

use super::super::send::{AggregateSender, SendPlan, Ship, Shipment};
use super::*;
use crate::agg::{AggregateCall, AggregateFunction, bind};
use crate::batch::{Batch, DataType, Field, Schema};
use crate::state::{Frames, PAGE_WORDS, PARTITIONS, Root, Space};
use crate::sys::storage::{SimDisk, Storage};

/// What a row has besides its time: key, amount, text; a third of the amounts and texts are NULL.
type Row = (u16, i8, u8);

/// A chunk: rows within some seconds; how much later these begin than the last; whether accumulators travel; what follows it.
#[derive(Clone, Debug)]
struct Chunk {
    rows: Vec<Row>,
    after_ms: i64,
    folded: bool,
    then: Then,
}

#[derive(Clone, Copy, Debug)]
enum Then {
    GoOn,
    /// A snapshot.
    Seal,
    /// A snapshot, and a restart from it.
    Restart,
    /// Another number of shards.
    Deal(usize),
}

/// A chunk's rows lie in so many milliseconds.
const CHUNK_MS: i64 = 1_300;

fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let then = prop_oneof![
        4 => Just(Then::GoOn),
        2 => Just(Then::Seal),
        2 => Just(Then::Restart),
        1 => (1..4usize).prop_map(Then::Deal),
    ];
    let keys = prop_oneof![Just(3u16), Just(40), Just(4000)];
    let rows = (keys, 1..400usize).prop_flat_map(|(keys, count)| {
        prop::collection::vec((0..keys, any::<i8>(), any::<u8>()), count)
    });
    // One after the other, or after a gap; or before what has fired already.
    let after_ms = prop_oneof![6 => Just(CHUNK_MS), 1 => Just(9_000), 2 => -4_000..CHUNK_MS];
    let chunk = (rows, after_ms, any::<bool>(), then);
    let chunk =
        chunk.prop_map(|(rows, after_ms, folded, then)| Chunk { rows, after_ms, folded, then });
    prop::collection::vec(chunk, 1..14)
}

fn schema() -> Schema {
    Schema::new(vec![
        Field::new("ts", DataType::Timestamp(3)),
        Field::new("key", DataType::BigInt),
        Field::new("amount", DataType::Double),
        Field::new("count", DataType::Int),
        Field::new("text", DataType::STRING),
        Field::new("kept", DataType::Boolean),
    ])
}

/// The calls, of which `words`: only those over numbers that are never NULL, so that rows wait as rows; without `listed` none that shows
/// the order of slices, so that overlapping windows share sums.
fn calls(words: bool, listed: bool, in_order: bool) -> Vec<AggregateCall> {
    let (double, int, text) = (DataType::Double, DataType::Int, DataType::STRING);
    let call = |name: &str, arg: usize, arg_type: DataType, filter: Option<usize>| {
        let (function, data_type) = bind(name, &[arg_type]).expect("a function of this type");
        let separator = if name == "LISTAGG" { ",".into() } else { String::new() };
        let call = AggregateCall::new(function, vec![arg], arg_type, data_type);
        AggregateCall { filter, separator, ..call }
    };
    let mut calls = vec![
        AggregateCall {
            function: AggregateFunction::CountRows,
            args: vec![],
            ..call("COUNT", 3, DataType::BigInt, Some(5))
        },
        call("MAX", 3, int, None),
        call("SUM", 3, int, Some(5)),
    ];
    if !words {
        calls.push(call("SUM", 2, double, None));
        calls.push(call("MIN", 4, text, None));
        calls.extend(listed.then(|| call("LISTAGG", 4, text, None)));
    }
    if in_order {
        calls.push(call("FIRST_VALUE", 3, int, None));
    }
    calls
}

fn batch(rows: &[Row], from_ms: i64) -> Batch {
    let count = rows.len().max(1) as i64;
    let times = (0..).zip(rows).map(|(row, (key, ..))| {
        from_ms + (row * 7919 + i64::from(*key)) % count * CHUNK_MS / count
    });
    let amount = |&(_, amount, text): &Row| {
        (text % 3 != 0).then(|| f64::from(amount) * 1e30f64.powi(i32::from(text % 4) - 2))
    };
    let text = |&(key, _, text): &Row| {
        (text % 3 != 1).then(|| format!("{text}{}", "x".repeat(usize::from(key % 50))))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(times)),
        Arc::new(rows.iter().map(|row| (row.0 != 7).then(|| row.0.into())).collect::<Int64Array>()),
        Arc::new(rows.iter().map(amount).collect::<Float64Array>()),
        Arc::new(arrow_array::Int32Array::from_iter_values(rows.iter().map(|row| row.1.into()))),
        Arc::new(rows.iter().map(text).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| Some(row.2 % 5 != 0)).collect::<BooleanArray>()),
    ];
    Batch::new(columns, rows.len())
}

/// An owner with its space.
struct Shard {
    owner: WindowAggregate,
    space: Space,
    disk: SimDisk,
}

fn storage(disk: &SimDisk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

/// How a job is run.
struct Run {
    shape: Arc<Shape>,
    window: WindowSpec,
    groups_max: usize,
    budget_bytes: usize,
    results: Vec<String>,
}

impl Run {
    fn owner(&self, space: &mut Space) -> WindowAggregate {
        let pages = std::mem::take(&mut space.pages);
        let shape = Arc::clone(&self.shape);
        let mut owner =
            WindowAggregate::new(shape, &self.window, false, false, Stage::Final, pages);
        owner.folded_groups_max = self.groups_max;
        match space.header.take() {
            Some(header) => owner.restored(&mut Saved::new(&header)),
            None => owner,
        }
    }

    fn shard(&self) -> Shard {
        let disk = SimDisk::new(1);
        let frames = Frames::create(&storage(&disk), Path::new("space")).unwrap();
        disk.settle();
        let mut space = Space::open(&frames, 7, None, 0, self.budget_bytes).unwrap();
        Shard { owner: self.owner(&mut space), space, disk }
    }

    fn read_out(&mut self, owner: &mut WindowAggregate) {
        while let Some(output) = owner.next_output() {
            let Output::Rows(batch) = output else { panic!("no first stage") };
            for row in 0..batch.rows {
                let values =
                    batch.columns.iter().map(|column| format!("{:?}", column.slice(row, 1)));
                self.results.push(values.collect());
            }
        }
    }

    fn seal(&self, shard: &mut Shard, epoch: u32) -> Root {
        let sealed = shard.owner.seal();
        let written = shard.space.ledger.write(sealed, &mut |_| false).unwrap();
        let root = written.root;
        shard.space.ledger.frames().sync().unwrap();
        shard.space.ledger.commit(written, epoch);
        shard.owner.acknowledge();
        root
    }

    fn restart(&self, shard: &mut Shard, root: &Root, epoch: u32) {
        let frames = Frames::open(&storage(&shard.disk), Path::new("space")).unwrap();
        let mut space = Space::open(&frames, 7, Some(root), epoch, self.budget_bytes).unwrap();
        space.ledger.read_table().unwrap();
        frames.settle();
        shard.owner = self.owner(&mut space);
        shard.space = space;
    }

    fn deal(&self, givers: Vec<Shard>, count: usize) -> Vec<Shard> {
        let mut takers: Vec<Shard> = (0..count).map(|_| self.shard()).collect();
        for mut giver in givers {
            let standing = giver.owner.standing();
            takers.iter_mut().for_each(|taker| taker.owner.stand(&standing));
            giver.owner.give(&mut |moved| {
                for (shard, piece) in moved.pieces(count, false) {
                    takers[shard].owner.adopt(piece);
                }
            });
        }
        takers
    }

    fn sender(&self, ship: Ship, shards: usize) -> AggregateSender {
        let plan = SendPlan::at_end(self.window.clone(), ship);
        AggregateSender::new(Arc::clone(&self.shape), plan, shards)
    }

    /// All result rows, sorted. The twin: neither snapshots nor other shards, a sender that remembers no other chunk, and sums anew for every
    /// chunk.
    fn results(mut self, chunks: &[Chunk], twin: bool) -> Vec<String> {
        let mut shards = vec![self.shard()];
        let mut senders = [None, None];
        let (mut from_ms, mut watermark_ms) = (0, i64::MIN);
        for (epoch, chunk) in (1..).zip(chunks) {
            from_ms += chunk.after_ms;
            let ship = if chunk.folded { Ship::Folded } else { Ship::Rows };
            let sender = senders[usize::from(chunk.folded)]
                .get_or_insert_with(|| self.sender(ship, shards.len()));
            let (rows, half) = (batch(&chunk.rows, from_ms), chunk.rows.len() / 2);
            for part in [rows.slice(0, half), rows.slice(half, rows.rows - half)] {
                sender.push(&part, watermark_ms, i64::MIN, 0);
            }
            sender.end_chunk();
            watermark_ms = watermark_ms.max(from_ms);
            for shipment in sender.drain() {
                let Shipment::Payload(shard, payload) = shipment else {
                    panic!("nothing fires early")
                };
                shards[shard].owner.receive(*payload);
            }
            for shard in &mut shards {
                shard.owner.advance(watermark_ms, 0);
                if twin {
                    shard.owner.sums.forget();
                }
                self.read_out(&mut shard.owner);
            }
            if twin || matches!(chunk.then, Then::Deal(_)) {
                senders = [None, None];
            }
            match chunk.then {
                _ if twin => {}
                Then::GoOn => {}
                Then::Seal => shards.iter_mut().for_each(|shard| {
                    self.seal(shard, epoch);
                }),
                Then::Restart => shards.iter_mut().for_each(|shard| {
                    let root = self.seal(shard, epoch);
                    self.restart(shard, &root, epoch);
                }),
                Then::Deal(count) => shards = self.deal(shards, count),
            }
        }
        for shard in &mut shards {
            shard.owner.advance(i64::MAX, 0);
            self.read_out(&mut shard.owner);
            assert_eq!(shard.owner.state_bytes(), 0, "a window that has fired is gone");
        }
        self.results.sort();
        self.results
    }
}

fn kinds() -> impl Strategy<Value = WindowKind> {
    prop_oneof![
        2 => Just(WindowKind::Tumble { size_ms: 6_000, offset_ms: 0 }),
        2 => Just(WindowKind::Hop { size_ms: 6_000, slide_ms: 4_000, offset_ms: 0 }),
        2 => Just(WindowKind::Hop { size_ms: 6_000, slide_ms: 500, offset_ms: 0 }),
        1 => Just(WindowKind::Hop { size_ms: 6_000, slide_ms: 50, offset_ms: 0 }),
        1 => Just(WindowKind::Cumulate { size_ms: 8_000, step_ms: 50, offset_ms: 0 }),
        2 => Just(WindowKind::Cumulate { size_ms: 8_000, step_ms: 2_000, offset_ms: 0 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_waits_is_what_was_folded(
        chunks in chunks(),
        kind in kinds(),
        words in any::<bool>(),
        listed in any::<bool>(),
        groups_max in prop_oneof![Just(0usize), Just(5), Just(60), Just(usize::MAX)],
        budget_pages in prop_oneof![Just(20usize), Just(1000)],
    ) {
        let in_order = matches!(kind, WindowKind::Tumble { .. });
        let shape = Arc::new(Shape::new(&schema(), &[1], &calls(words, listed, in_order)));
        let window = WindowSpec::by_event_time(kind);
        let run = |groups_max, budget_pages: usize| Run {
            shape: Arc::clone(&shape),
            window: window.clone(),
            groups_max,
            budget_bytes: budget_pages << 14,
            results: Vec::new(),
        };
        let expected = run(usize::MAX, 1 << 20).results(&chunks, true);
        prop_assert_eq!(run(groups_max, budget_pages).results(&chunks, false), expected);
    }
}

/// Distinct counts of times, which are numbers, and of texts, short and long.
fn distinct_calls() -> Vec<AggregateCall> {
    let call = |(arg, arg_type)| {
        let (function, data_type) = bind("COUNT", &[arg_type]).expect("counts anything");
        let call = AggregateCall::new(function, vec![arg], arg_type, data_type);
        AggregateCall { distinct: true, ..call }
    };
    [(0, DataType::Timestamp(3)), (4, DataType::STRING)].map(call).into()
}

/// Chunks whose values hardly repeat, all of one window.
fn distinct_chunks() -> Vec<Batch> {
    let row = |row: u32| ((row * 7 % 4001) as u16, 0, (row % 251) as u8);
    let chunk = |chunk: u32| {
        let rows: Vec<Row> = (0..400).map(|at| row(chunk * 400 + at)).collect();
        batch(&rows, i64::from(chunk) * CHUNK_MS)
    };
    (0..12).map(chunk).collect()
}

impl Run {
    fn push(&self, shard: &mut Shard, chunks: &[Batch]) {
        let mut sender = self.sender(Ship::Rows, 1);
        for chunk in chunks {
            sender.push(chunk, i64::MIN, i64::MIN, 0);
            sender.end_chunk();
            for shipment in sender.drain() {
                let Shipment::Payload(_, payload) = shipment else { panic!("nothing fires early") };
                shard.owner.receive(*payload);
            }
        }
    }

    fn finish(mut self, mut shard: Shard) -> Vec<String> {
        shard.owner.advance(i64::MAX, 0);
        self.read_out(&mut shard.owner);
        assert_eq!(shard.owner.state_bytes(), 0, "a window that has fired is gone");
        self.results.sort();
        self.results
    }
}

/// Distinct values that waited partitioned were saved and loaded in no test that loses what came after the snapshot.
#[test]
fn distinct_values_that_wait_partitioned_survive_a_crash() {
    let shape = Arc::new(Shape::new(&schema(), &[1], &distinct_calls()));
    let window = WindowSpec::by_event_time(WindowKind::Tumble { size_ms: 60_000, offset_ms: 0 });
    let run = |budget_pages: usize| Run {
        shape: Arc::clone(&shape),
        window: window.clone(),
        groups_max: usize::MAX,
        budget_bytes: budget_pages << 14,
        results: Vec::new(),
    };
    let chunks = distinct_chunks();
    let twin = run(1 << 20);
    let mut shard = twin.shard();
    twin.push(&mut shard, &chunks);
    let expected = twin.finish(shard);
    assert_eq!(expected.len(), 4001.min(chunks.len() * 400));
    for (sealed, lost, budget_pages) in [(5, 12, 1 << 20), (5, 9, 40), (9, 10, 40), (11, 11, 40)] {
        let run = run(budget_pages);
        let mut shard = run.shard();
        run.push(&mut shard, &chunks[..3]);
        run.seal(&mut shard, 1);
        run.push(&mut shard, &chunks[3..sealed]);
        let partitions_bytes = 2 * PARTITIONS * PAGE_WORDS * 8;
        assert!(shard.owner.state_bytes() > partitions_bytes, "both lists wait partitioned");
        let root = run.seal(&mut shard, 2);
        run.push(&mut shard, &chunks[sealed..lost]);
        shard.disk.crash(lost as u64);
        run.restart(&mut shard, &root, 2);
        run.push(&mut shard, &chunks[sealed..]);
        assert_eq!(run.finish(shard), expected, "sealed after {sealed} chunks");
    }
}
