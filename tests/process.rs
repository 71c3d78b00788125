//! Functions with state against naive twins: over tables, over windows and before them, at any number of shards and any size of
//! chunks, through deaths of the process, and when they fail.
//!
//! `SEEDS=2000 cargo test --test process` draws so many inputs for each case.

#[path = "process/failures.rs"]
mod failures;
#[path = "process/functions.rs"]
mod functions;
#[path = "process/plans.rs"]
mod plans;
#[path = "process/twins.rs"]
mod twins;
#[path = "process/world.rs"]
mod world;

use std::sync::Arc;

use functions::{Best, First, Fold, Repeat};
use plans::{Piece, SOURCE, WINDOWED, window};
use tidemill::plan::function::Scope;
use twins::{
    best, early, first, fold, fold_fours, fold_results, fold_rows, repeat, results, sessions,
    spread,
};
use world::{Case, check, check_alike};

fn totals(scope: Scope) -> Piece {
    Piece::process(&[0], None, Arc::new(Fold::new("totals", scope)))
}

#[test]
fn rows_of_a_table_come_in_their_order() {
    check("table", |input| Case {
        pieces: vec![totals(Scope::Key)],
        select: SOURCE.into(),
        expected: fold(&input.arrivals(), |row| row.k.clone()),
        ..Case::default()
    });
}

#[test]
fn a_flat_map_keeps_order_and_arrival() {
    check("flat map", |input| Case {
        pieces: vec![Piece::apply(Arc::new(Repeat::new())), totals(Scope::Key)],
        select: SOURCE.into(),
        expected: fold(&repeat(&input.arrivals()), |row| row.k.clone()),
        ..Case::default()
    });
}

#[test]
fn the_best_of_each_window_and_what_is_late_for_it() {
    check("best", |input| {
        let (expected, late) = best(&input.arrivals(), 3_000, 1_000, input.lateness_ms);
        let function = Arc::new(Best::new());
        Case {
            pieces: vec![Piece::process(&[0], window(input.lateness_ms), function)],
            select: "SELECT k, v, w, window_start, window_end, window_time FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), \
                 INTERVAL '1' SECOND, INTERVAL '3' SECOND))"
                .into(),
            expected,
            late,
            forgets: true,
            ..Case::default()
        }
    });
}

#[test]
fn results_of_windows_come_in_the_order_of_their_windows() {
    check("results", |input| {
        let windows = results(&input.arrivals(), 2_000);
        Case {
            pieces: vec![Piece::process(
                &[0],
                window(0),
                Arc::new(Fold::new("over windows", Scope::Key)),
            )],
            select: WINDOWED.into(),
            expected: fold_results(&windows, |row| row.k.clone()),
            late: input.late_ms(2_000),
            ..Case::default()
        }
    });
}

#[test]
fn results_of_other_keys_are_put_in_order() {
    check("mixed", |input| {
        let windows = results(&input.arrivals(), 2_000);
        Case {
            pieces: vec![Piece::process(
                &[],
                window(0),
                Arc::new(Fold::new("over all", Scope::Key)),
            )],
            select: WINDOWED.into(),
            expected: fold_results(&windows, |_| String::new()),
            late: input.late_ms(2_000),
            ..Case::default()
        }
    });
}

#[test]
fn sessions_come_in_the_order_of_their_ends() {
    check("sessions", |input| {
        let (windows, late) = sessions(&input.arrivals(), 700);
        Case {
            pieces: vec![Piece::process(
                &[0],
                window(0),
                Arc::new(Fold::new("over sessions", Scope::Key)),
            )],
            select: "SELECT k, COUNT(*), SUM(w), window_start, window_end, window_time FROM TABLE(SESSION(TABLE t PARTITION BY k, \
                     DESCRIPTOR(ts), INTERVAL '0.7' SECOND)) GROUP BY k, window_start, window_end, window_time"
                .into(),
            expected: fold_results(&windows, |row| row.k.clone()),
            late,
            ..Case::default()
        }
    });
}

/// The rows themselves, each with its session: a key's come as they came.
#[test]
fn rows_of_sessions_come_in_their_order() {
    let select = "SELECT k, v, w, window_start, window_end, window_time FROM TABLE(SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), \
                  INTERVAL '0.7' SECOND))";
    check_alike("rows of sessions", String::new(), select, |_| {
        vec![Piece::process(&[0], window(0), Arc::new(Fold::new("by key", Scope::Key)))]
    });
}

/// Windows over windows come from all shards.
#[test]
fn windows_over_windows_are_put_in_order() {
    let select = "SELECT k, COUNT(*), SUM(c), window_start, window_end, window_time FROM (SELECT k, v, COUNT(*) AS c, window_start, \
                  window_end, window_time FROM TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '2' SECOND)) \
                  GROUP BY k, v, window_start, window_end, window_time) GROUP BY k, window_start, window_end, window_time";
    for keys in [&[0][..], &[]] {
        check_alike("windows over windows", String::new(), select, |_| {
            vec![Piece::process(keys, window(0), Arc::new(Fold::new("by key", Scope::Key)))]
        });
    }
}

/// Four rows of each key, wherever chunks and shards end.
#[test]
fn windows_of_rows_come_in_the_order_of_their_rows() {
    check("windows of rows", |input| Case {
        pieces: vec![
            Piece::of_rows(4),
            Piece::process(&[0], window(0), Arc::new(Fold::new("by key", Scope::Key))),
        ],
        select: "SELECT k, w, ts FROM t".into(),
        expected: fold_fours(&input.arrivals()),
        ..Case::default()
    });
}

#[test]
fn windows_over_a_function_over_windows_of_rows() {
    check_alike("windows over windows of rows", String::new(), "SELECT k, w, ts FROM t", |_| {
        vec![
            Piece::of_rows(2),
            Piece::process(&[0], window(0), Arc::new(First::over_windows())),
            Piece::windowed(2_000, 2_000),
        ]
    });
}

/// What each firing shows is another suite's matter: here the function must see the same at any number of shards.
#[test]
fn windows_that_fire_early_and_late_show_the_same_of_each_window() {
    check_alike("changes", early(), WINDOWED, |_| {
        let function = Fold::new("over changes", Scope::Window);
        vec![Piece::process(&[0], window(0), Arc::new(function))]
    });
}

#[test]
fn functions_over_functions_see_the_order_of_the_rows() {
    check("chain", |input| {
        let folded = fold_rows(&input.arrivals(), |row| row.k.clone());
        Case {
            pieces: vec![
                totals(Scope::Key),
                Piece::process(&[3], None, Arc::new(Fold::new("by what came", Scope::Key))),
                Piece::process(&[], None, Arc::new(Fold::new("all", Scope::Key))),
            ],
            select: SOURCE.into(),
            expected: fold(&fold_rows(&folded, |row| row.fold.to_string()), |_| String::new()),
            ..Case::default()
        }
    });
}

#[test]
fn functions_over_functions_over_windows() {
    let fold = |uid| Arc::new(Fold::new(uid, Scope::Key));
    // The key of the windows, which fire in its order, and another.
    for key in [0, 1] {
        check_alike("chain over windows", String::new(), WINDOWED, |_| {
            vec![
                Piece::process(&[key], window(0), fold("over windows")),
                Piece::process(&[2], None, fold("by number")),
                Piece::process(&[], None, fold("all")),
            ]
        });
    }
}

#[test]
fn windows_over_what_a_function_yields() {
    check("first of each", |input| {
        let (expected, late) = spread(&first(&input.arrivals()), 2_000, 2_000);
        Case {
            pieces: vec![
                Piece::process(&[0], None, Arc::new(First::new())),
                Piece::windowed(2_000, 2_000),
            ],
            select: SOURCE.into(),
            expected,
            late,
            ..Case::default()
        }
    });
}

#[test]
fn sliding_windows_over_what_a_function_yields() {
    check("first of each, sliding", |input| {
        let (expected, late) = spread(&first(&input.arrivals()), 3_000, 1_000);
        Case {
            pieces: vec![
                Piece::process(&[0], None, Arc::new(First::new())),
                Piece::windowed(3_000, 1_000),
            ],
            select: SOURCE.into(),
            expected,
            late,
            ..Case::default()
        }
    });
}

#[test]
fn windows_over_a_function_over_windows() {
    check_alike("windows twice", String::new(), WINDOWED, |_| {
        vec![
            Piece::process(&[0], window(0), Arc::new(First::over_windows())),
            Piece::windowed(4_000, 2_000),
        ]
    });
}
