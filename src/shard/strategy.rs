//! How an aggregation runs: what is shipped, who owns it, in one exchange or in two.

use std::sync::Arc;

use super::topology::{Exchange, Feeds, Owner};
use crate::agg::{Travel, travel};
use crate::op::send::{SendPlan, Ship};
use crate::op::shape::Shape;
use crate::op::window_aggregate::Stage;
use crate::window::{Emit, WindowKind, WindowSpec};

/// The exchanges of an aggregation, one or two; the first is exchange `first`.
pub(super) fn stages(
    shape: Shape,
    window: &WindowSpec,
    emit: Emit,
    instant_time: bool,
    feeds: Feeds,
    first: usize,
) -> Vec<Exchange> {
    let (mut send, owner, split) = strategy(&shape, window, emit);
    send.may_mark = matches!(feeds, Feeds::Scans(_));
    let exchange = |shape, send, owner, feeds, second_stage| Exchange {
        shape: Arc::new(shape),
        send,
        owner,
        instant_time,
        feeds,
        in_turn: true,
        is_end: false,
        targets: Vec::new(),
        late_targets: Vec::new(),
        second_stage,
    };
    let merged = shape.merged();
    let second_stage = split.as_ref().map(|_| first + 1);
    let mut exchanges = vec![exchange(shape, send.clone(), owner, feeds, second_stage)];
    if let Some(owner) = split {
        let second = SendPlan {
            per_window: true,
            ship: Ship::Folded,
            may_mark: false,
            hands_out_late: false,
            ..send
        };
        exchanges.push(exchange(merged, second, owner, Feeds::Exchanges(vec![first]), None));
    }
    exchanges
}

/// What is shipped, who owns it, and who owns the second stage of a split.
pub(super) fn strategy(
    shape: &Shape,
    window: &WindowSpec,
    emit: Emit,
) -> (SendPlan, Owner, Option<Owner>) {
    let plan = |per_window, ship| SendPlan {
        window: window.clone(),
        emit,
        per_window,
        ship,
        may_mark: true,
        hands_out_late: false,
    };
    let of_rows = match window.kind {
        WindowKind::Session { .. } => Some(Owner::Session),
        WindowKind::Count { .. } => Some(Owner::Count),
        WindowKind::Global { .. } => Some(Owner::Global),
        _ => None,
    };
    if let Some(owner) = of_rows {
        return (plan(false, Ship::Rows), owner, None);
    }
    let shared = matches!(window.kind, WindowKind::Hop { .. } | WindowKind::Cumulate { .. });
    let travel = travel(&shape.calls);
    let folded = if travel == Travel::Accumulators { Ship::Folded } else { Ship::Rows };
    if emit.is_once() {
        // Merging slices loses the order of arrival across them. LISTAGG loses it in Flink too; FIRST_VALUE and
        // LAST_VALUE, which Flink refuses to merge, keep it here.
        let per_window = shared && shape.picks_by_arrival();
        if travel == Travel::Values {
            let (first, second) = (Stage::First(emit), Stage::Final);
            return (
                plan(per_window, Ship::RowsByValue),
                Owner::Aggregate(first),
                Some(Owner::Aggregate(second)),
            );
        }
        return (plan(per_window, folded), Owner::Aggregate(Stage::Final), None);
    }
    if emit.shows_rows() {
        return (plan(shared, Ship::Rows), Owner::Trigger, None);
    }
    if travel == Travel::Values {
        return (
            plan(shared, Ship::RowsByValue),
            Owner::Aggregate(Stage::First(emit)),
            Some(Owner::Trigger),
        );
    }
    (plan(shared, folded), Owner::Trigger, None)
}
