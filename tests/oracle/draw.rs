//! Draws cases: streams with disorder and gaps, queries of every kind, settings of the engine.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use tidemill::job::RuntimeKind;

use super::model::{Call, Emit, Field, Filter, Form, Format, Function, Mode, Query, Row, Window};
use crate::engine::Setting;

/// A whole case.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) query: Query,
    /// One for each split.
    pub(crate) streams: Vec<Vec<Row>>,
    /// Splits are files of one directory, not tables.
    pub(crate) directory: bool,
    pub(crate) format: Format,
    /// Bytes before each JSON record, so that few rows fill several turns.
    pub(crate) padding: usize,
}

/// A failure shows a case as script and input instead.
impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows: usize = self.streams.iter().map(Vec::len).sum();
        write!(f, "a case of {rows} rows in {} splits", self.streams.len())
    }
}

/// Times are drawn in steps, and a step is this many milliseconds after this base.
#[derive(Clone, Copy, Debug)]
struct Scale {
    base: i64,
    step: i64,
}

fn scales() -> impl Strategy<Value = Scale> {
    let bases = prop_oneof![
        4 => Just(0i64),
        2 => Just(1_704_067_200_000),
        1 => Just(-1_000_000_007),
        1 => Just(-50_000_000_000_000),
        1 => Just(253_000_000_000_000),
    ];
    (bases, prop_oneof![3 => Just(1i64), 1 => Just(7), 1 => Just(1000), 1 => Just(60_000)])
        .prop_map(|(base, step)| Scale { base, step })
}

/// A row before its time is known: how far time moves on, and how far back the row lies.
type Draft =
    ((i64, i64), Option<u8>, Option<i32>, Option<i64>, Option<f64>, Option<String>, Option<i64>);

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop_oneof![Just("x"), Just("y"), Just("z"), Just(""), Just("N"), Just("longer than what fits inline")].prop_map(String::from),
        1 => "[a-c,|\"é ]{0,6}",
    ]
}

fn drafts(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Draft>> {
    let move_on = prop_oneof![6 => 0..4i64, 2 => 0..12i64, 1 => 0..90i64];
    let back = prop_oneof![4 => Just(0i64), 3 => 0..10i64, 2 => 0..60i64];
    let v = prop_oneof![6 => -5..10i32, 1 => any::<i32>()];
    let w = prop_oneof![6 => -5..10i64, 1 => any::<i64>()];
    let d = prop_oneof![
        4 => (-20..20i32).prop_map(|n| f64::from(n) / 4.0 + 0.0),
        1 => (-(1 << 30)..(1i64 << 30), -20..20i32).prop_map(|(m, e)| m as f64 * f64::from(e).exp2() + 0.0),
        1 => (-(1 << 30)..(1i64 << 30)).prop_map(|m| m as f64 * 40f64.exp2() + 0.0),
    ];
    let m = prop_oneof![4 => -300..300i64, 1 => -99_999_999..99_999_999i64];
    vec(
        (
            (move_on, back),
            weighted(0.9, any::<u8>()),
            weighted(0.8, v),
            weighted(0.8, w),
            weighted(0.8, d),
            weighted(0.8, texts()),
            weighted(0.8, m),
        ),
        rows,
    )
}

fn rows(drafts: Vec<Draft>, scale: Scale, key_count: u8) -> Vec<Row> {
    let mut at = 0;
    let row = |((on, back), k, v, w, d, s, m): Draft| {
        at += on;
        let k = k.map(|k| format!("key{}", k % key_count));
        Row { ts: scale.base + (at - back) * scale.step, k, v, w, d, s, m }
    };
    drafts.into_iter().map(row).collect()
}

fn functions(session: bool) -> impl Strategy<Value = Call> {
    use Field::*;
    let number = || prop_oneof![Just(V), Just(W), Just(D), Just(M)];
    let any_field = || prop_oneof![Just(K), Just(V), Just(W), Just(D), Just(S), Just(M)];
    let of = |function: Function, distinct: bool| move |field: Field| (function, field, distinct);
    let unordered = prop_oneof![
        3 => Just((Function::CountRows, V, false)),
        2 => any_field().prop_map(of(Function::Count, false)),
        4 => any_field().prop_map(of(Function::Count, true)),
        1 => Just((Function::CountPairs, V, true)),
        4 => number().prop_map(of(Function::Sum, false)),
        2 => number().prop_map(of(Function::Sum, true)),
        3 => number().prop_map(of(Function::Avg, false)),
        1 => number().prop_map(of(Function::Avg, true)),
        2 => any_field().prop_map(of(Function::Min, false)),
        2 => any_field().prop_map(of(Function::Max, false)),
    ];
    let lists = || any::<bool>().prop_map(|distinct| (Function::ListAgg, S, distinct));
    let picks = prop_oneof![
        any_field().prop_map(of(Function::First, false)),
        any_field().prop_map(of(Function::Last, false)),
        any_field().prop_map(of(Function::First, true)),
        any_field().prop_map(of(Function::Last, true)),
    ];
    // Sessions cannot merge what picks a row, in Flink neither.
    let ordered =
        if session { lists().boxed() } else { prop_oneof![2 => picks, 1 => lists()].boxed() };
    let call = prop_oneof![4 => unordered, 1 => ordered];
    (call, filters()).prop_map(|((function, field, distinct), filter)| Call {
        function,
        field,
        distinct,
        filter,
    })
}

fn filters() -> impl Strategy<Value = Filter> {
    prop_oneof![
        4 => Just(Filter::None),
        1 => Just(Filter::Positive),
        1 => Just(Filter::Known),
        1 => Just(Filter::Either)
    ]
}

/// Windows in steps of a scale.
fn windows() -> impl Strategy<Value = Window> {
    let offsets = || prop_oneof![3 => Just(0i64), 2 => -30..30i64];
    prop_oneof![
        (1..30i64, offsets())
            .prop_map(|(size, offset)| Window::Tumble { size, offset: offset % size }),
        (1..12i64, 1..30i64, offsets()).prop_map(|(slide, size, offset)| Window::Hop {
            slide,
            size,
            offset: offset % slide
        }),
        (1..8i64, 1..6i64, offsets()).prop_map(|(step, count, offset)| {
            let size = step * count;
            Window::Cumulate { step, size, offset: offset % size }
        }),
        (1..20i64).prop_map(|gap| Window::Session { gap }),
    ]
}

fn scaled(window: Window, by: i64) -> Window {
    match window {
        Window::Tumble { size, offset } => Window::Tumble { size: size * by, offset: offset * by },
        Window::Hop { slide, size, offset } => {
            Window::Hop { slide: slide * by, size: size * by, offset: offset * by }
        }
        Window::Cumulate { step, size, offset } => {
            Window::Cumulate { step: step * by, size: size * by, offset: offset * by }
        }
        Window::Session { gap } => Window::Session { gap: gap * by },
    }
}

fn without_offset(window: Window) -> Window {
    match window {
        Window::Tumble { size, .. } => Window::Tumble { size, offset: 0 },
        Window::Hop { slide, size, .. } => Window::Hop { slide, size, offset: 0 },
        other => other,
    }
}

/// The table function wants a size that is a multiple of the slide.
fn with_whole_slides(window: Window) -> Window {
    match window {
        Window::Hop { slide, size, offset } => {
            let size = slide * (size / slide).max(1);
            Window::Hop { slide, size, offset }
        }
        other => other,
    }
}

fn keys() -> impl Strategy<Value = Vec<Field>> {
    prop_oneof![
        1 => Just(vec![]),
        4 => Just(vec![Field::K]),
        1 => Just(vec![Field::V]),
        1 => Just(vec![Field::S, Field::K]),
        1 => Just(vec![Field::K, Field::M, Field::V]),
    ]
}

fn emits(triggers: bool) -> BoxedStrategy<Emit> {
    let once = Just(Emit { early: None, lateness: None, mode: Mode::Retracting });
    if !triggers {
        return once.boxed();
    }
    let early = prop_oneof![2 => Just(None), 3 => Just(Some(0i64)), 3 => (1..12i64).prop_map(Some)];
    let lateness = prop_oneof![2 => Just(None), 3 => (1..40i64).prop_map(Some)];
    let mode = prop_oneof![3 => Just(Mode::Retracting), 2 => Just(Mode::Accumulating), 2 => Just(Mode::Discarding)];
    (early, lateness, mode)
        .prop_map(|(early, lateness, mode)| Emit { early, lateness, mode })
        .boxed()
}

fn queries(scale: Scale, triggers: bool) -> impl Strategy<Value = Query> {
    let window = windows().prop_filter("sessions have no triggers", move |window| {
        !(triggers && matches!(window, Window::Session { .. }))
    });
    window
        .prop_flat_map(move |window| {
            let session = matches!(window, Window::Session { .. });
            let calls = vec(functions(session), 1..5);
            (Just(window), any::<bool>(), keys(), calls, emits(triggers), 0..30i64, filters())
        })
        .prop_map(move |(window, group_window, keys, calls, emit, delay, condition)| {
            let group_window = group_window && !matches!(window, Window::Cumulate { .. });
            let window =
                if group_window { without_offset(window) } else { with_whole_slides(window) };
            Query {
                window: scaled(window, scale.step),
                form: if group_window { Form::GroupWindow } else { Form::TableFunction },
                keys,
                calls,
                emit: Emit {
                    early: emit.early.map(|early| early * scale.step),
                    lateness: emit.lateness.map(|lateness| lateness * scale.step),
                    mode: emit.mode,
                },
                delay: delay * scale.step,
                condition,
                inner: None,
            }
        })
}

/// Cases of `splits` streams of so many rows.
pub(crate) fn cases(
    triggers: bool,
    splits: std::ops::Range<usize>,
    row_count: std::ops::Range<usize>,
) -> impl Strategy<Value = Case> {
    let key_counts = prop_oneof![3 => Just(2u8), 2 => Just(5), 1 => Just(200)];
    let formats = prop_oneof![2 => Just(Format::Json), 1 => Just(Format::Csv)];
    (scales(), key_counts, formats, any::<bool>()).prop_flat_map(
        move |(scale, key_count, format, directory)| {
            let streams = vec(drafts(row_count.clone()), splits.clone());
            (queries(scale, triggers), streams).prop_map(move |(query, drafts)| Case {
                query,
                streams: drafts.into_iter().map(|drafts| rows(drafts, scale, key_count)).collect(),
                directory,
                format,
                padding: 0,
            })
        },
    )
}

/// Cases of a window over another window's results. Those come in no order, so nothing may depend on it.
///
/// The outer window is no session: whether a result that touches a session finds it open depends on each watermark in
/// between, and an owner of windows hears of those at the ends of chunks.
pub(crate) fn nested_cases() -> impl Strategy<Value = Case> {
    (cases(false, 1..3, 0..50), windows(), 1..4i64).prop_map(|(mut case, inner, step)| {
        if let Window::Session { gap } = case.query.window {
            case.query.window = Window::Tumble { size: gap, offset: 0 };
        }
        case.query.inner = Some(scaled(with_whole_slides(inner), step));
        for call in &mut case.query.calls {
            if matches!(call.function, Function::First | Function::Last | Function::ListAgg) {
                call.function = Function::CountRows;
            }
        }
        case
    })
}

/// Cases of files that are read in several turns each.
pub(crate) fn padded_cases(triggers: bool) -> impl Strategy<Value = Case> {
    let padding = prop_oneof![Just(200_000usize), Just(500_000), Just(1_100_000)];
    (cases(triggers, 2..4, 0..14), padding).prop_map(|(case, padding)| Case {
        format: Format::Json,
        padding,
        ..case
    })
}

pub(crate) fn settings() -> impl Strategy<Value = Setting> {
    settings_of(
        prop_oneof![2 => Just(1u64), 2 => Just(64), 1 => Just(300), 1 => Just(4096), 1 => Just(1 << 20)],
    )
}

/// Settings with chunks that suit large files.
pub(crate) fn coarse_settings() -> impl Strategy<Value = Setting> {
    settings_of(prop_oneof![1 => Just(1u64 << 14), 1 => Just(1 << 17), 1 => Just(1 << 20)])
}

fn settings_of(chunks: impl Strategy<Value = u64>) -> impl Strategy<Value = Setting> {
    let runtimes =
        prop_oneof![1 => Just(RuntimeKind::Poll), 4 => any::<u64>().prop_map(RuntimeKind::Sim)];
    let slots = prop_oneof![Just(Some(1usize)), Just(Some(2)), Just(Some(64))];
    (1..5usize, runtimes, chunks, slots).prop_map(|(shards, runtime, chunk_bytes, ring_slots)| {
        Setting { shards, runtime, chunk_bytes, ring_slots }
    })
}
