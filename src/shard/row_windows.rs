//! Windows of rows in the topology: their owners, their time, and which plans with them are refused.
//!
//! What a count window shows depends on the order of a key's rows, so a plan is sound only if that order is the sequence's, for
//! any number of shards and any size of chunks. Rows of scans come in that order. Behind another window they do if all rows of a
//! key come from one key of that window, and so from one owner, which fires its windows in their order.
//!
//! Their results are as old as their rows, and may come after the watermark has passed that time. Each says when it came
//! ([`crate::batch::Batch::arrival_ms`]), so that a window of one slice over them finds the same ones late for all sizes of chunks;
//! other windows depend on what fires in between.

use std::collections::BTreeSet;

use super::topology::{Exchange, Owner};
use crate::op::count_window::CountWindow;
use crate::op::global_window::GlobalWindow;
use crate::op::{Receiver, WATERMARK_END};
use crate::plan::{NodeIndex, Op, Plan};
use crate::state::{Pages, Saved};
use crate::window::{Emit, EmitClock, EmitMode, TimeDomain, WindowKind, WindowSpec};

/// The owner of an exchange's share of windows of rows.
pub(super) fn receiver(
    exchange: &Exchange,
    pages: Pages,
    mut saved: Option<Saved<'_>>,
) -> Box<dyn Receiver> {
    let (shape, send, instant_time) =
        (exchange.shape.clone(), &exchange.send, exchange.instant_time);
    match &exchange.owner {
        Owner::Count => {
            let owner = CountWindow::new(shape, &send.window, instant_time, pages);
            Box::new(match &mut saved {
                Some(saved) => owner.restored(saved),
                None => owner,
            })
        }
        Owner::Global => {
            let owner = GlobalWindow::new(shape, &send.window, instant_time, send.emit, pages);
            Box::new(match &mut saved {
                Some(saved) => owner.restored(saved),
                None => owner,
            })
        }
        other => unreachable!("{other:?} owns no windows of rows"),
    }
}

impl Exchange {
    /// Its own time: event time, or the clock. Windows that wait for the input's end are told of it on the clock too.
    pub(crate) fn time_ms(&self, watermark_ms: i64, now_ms: i64) -> i64 {
        let window = &self.send.window;
        let waits = matches!(window.kind, WindowKind::Global { at_end: true, .. });
        match window.domain {
            TimeDomain::Processing if !(waits && watermark_ms == WATERMARK_END) => now_ms,
            _ => watermark_ms,
        }
    }
}

/// Whether a node can run, as far as windows of rows have to do with it.
///
/// # Errors
///
/// Why it cannot, with a way around.
pub(super) fn check(plan: &Plan, node: NodeIndex) -> Result<(), String> {
    match &plan.nodes[node].op {
        Op::WindowTable { window, .. } if window.kind.is_of_rows() => {
            Err("count and global windows are windows of aggregations, not table functions".into())
        }
        Op::WindowTable { input, window, .. }
            if matches!(window.kind, WindowKind::Session { .. }) =>
        {
            check_behind(plan, *input, window, &Emit::AT_END)
        }
        Op::Late { of } => match &plan.nodes[*of].op {
            Op::WindowAggregate { window, .. } if window.kind.is_of_rows() => {
                Err("no row is late for a count or global window".into())
            }
            _ => Ok(()),
        },
        Op::WindowAggregate { input, window, keys, emit, .. } => {
            if window.kind.is_of_rows() {
                check_window(window, emit)?;
                check_input(plan, *input, window, keys, emit)?;
            }
            check_behind(plan, *input, window, emit)
        }
        _ => Ok(()),
    }
}

/// The window by itself.
fn check_window(window: &WindowSpec, emit: &Emit) -> Result<(), String> {
    let positive = |name: &str, rows: u64| match rows {
        0 => Err(format!("{name} is a number of rows greater than 0")),
        _ => Ok(()),
    };
    if emit.late_delay_ms.is_some() || emit.allow_lateness_ms != 0 {
        return Err("count and global windows have no late rows, so nothing fires for them".into());
    }
    match window.kind {
        WindowKind::Count { size_rows, slide_rows } => {
            positive("a count window's size", size_rows)?;
            positive("a count window's slide", slide_rows)?;
            if !emit.is_once() {
                return Err("a count window fires when it is full, and then alone; a global window fires as its \
                            triggers say"
                    .into());
            }
        }
        WindowKind::Global { every_rows, at_end, .. } => {
            positive("the distance of a global window's firings", every_rows.unwrap_or(1))?;
            if every_rows.is_none() && !at_end && emit.early_delay_ms.is_none() {
                return Err("a global window without a trigger never fires: fire it by rows, by time, or at the \
                            input's end"
                    .into());
            }
        }
        _ => {}
    }
    Ok(())
}

/// Whether what a window of rows reads comes in an order.
fn check_input(
    plan: &Plan,
    input: NodeIndex,
    window: &WindowSpec,
    keys: &[usize],
    emit: &Emit,
) -> Result<(), String> {
    let by_rows = match window.kind {
        WindowKind::Global { every_rows, .. } => {
            every_rows.is_some() || emit.early_delay_ms == Some(0)
        }
        _ => true,
    };
    if by_rows {
        order(plan, input, &keys.iter().copied().collect())?;
    }
    let ticks =
        emit.early_clock == EmitClock::Event && emit.early_delay_ms.is_some_and(|delay| delay > 0);
    if ticks && !feeds(plan, input).is_empty() {
        return Err("a global window behind another window cannot fire by event time, which moves there as windows fire; \
                    fire it by rows or at the input's end"
            .into());
    }
    Ok(())
}

/// Where the rows of a key come from, in order.
enum Origin {
    /// From these scans, in their sequence.
    Scans(BTreeSet<NodeIndex>),
    /// From one owner of another window.
    Owner,
}

/// Where the rows of each key come from, if they come in an order that shards and chunks do not show in. `keys`: of `node`'s
/// columns.
fn order(plan: &Plan, node: NodeIndex, keys: &BTreeSet<usize>) -> Result<Origin, String> {
    let spread = "a count window behind another window must have the keys of that window among its own: rows of \
                  several keys come in no order";
    match &plan.nodes[node].op {
        Op::Scan { .. } => Ok(Origin::Scans(BTreeSet::from([node]))),
        Op::Calc { input, columns, .. } => {
            let below = keys.iter().filter_map(|&key| columns[key].as_column()).collect();
            order(plan, *input, &below)
        }
        Op::Union { inputs } => {
            let mut all = BTreeSet::new();
            for &input in inputs {
                match order(plan, input, keys)? {
                    Origin::Scans(scans) if all.is_disjoint(&scans) => all.extend(scans),
                    Origin::Scans(_) => {
                        return Err("a count window over the UNION ALL of a table with itself: the two copies of a row come \
                                    in no order"
                            .into());
                    }
                    Origin::Owner if inputs.len() == 1 => return Ok(Origin::Owner),
                    Origin::Owner => {
                        return Err("a count window over the UNION ALL of other windows' results: they come in no order".into());
                    }
                }
            }
            Ok(Origin::Scans(all))
        }
        Op::Expand { .. } => {
            Err("a count window over grouping sets: the copies of a row come in no order".into())
        }
        Op::WindowTable { input, window, partition_by } => {
            let width = plan.nodes[*input].schema.column_count();
            let below: BTreeSet<usize> = keys.iter().copied().filter(|&key| key < width).collect();
            if !matches!(window.kind, WindowKind::Session { .. }) {
                return order(plan, *input, &below);
            }
            order(plan, *input, &partition_by.iter().copied().collect())?;
            let among = partition_by.iter().all(|key| below.contains(key));
            if among { Ok(Origin::Owner) } else { Err(spread.into()) }
        }
        Op::WindowAggregate { window, keys: feeding, emit, .. } => {
            let windows_apart = matches!(window.kind, WindowKind::Attached { .. });
            let in_order = window.kind.is_of_rows() || emit.is_once();
            match (0..feeding.len()).all(|key| keys.contains(&key)) && !windows_apart && in_order {
                true => Ok(Origin::Owner),
                false => Err(spread.into()),
            }
        }
        Op::Apply { input, .. } => order(plan, *input, &BTreeSet::new()),
        Op::Process { .. } => {
            Err("a count window behind a function with state: what it yields comes in an order of its own".into())
        }
        // In the order in which they came to it.
        Op::Late { of } => order(plan, late_input(plan, *of), keys),
        Op::Sink { .. } => unreachable!("a sink has no readers"),
    }
}

fn late_input(plan: &Plan, of: NodeIndex) -> NodeIndex {
    plan.nodes[of].op.late_input().expect("only operators with late rows have readers of them")
}

/// The operators with windows that a node's rows come from.
fn feeds(plan: &Plan, node: NodeIndex) -> Vec<(WindowSpec, Emit)> {
    match &plan.nodes[node].op {
        Op::Scan { .. } | Op::Sink { .. } => Vec::new(),
        Op::Union { inputs } => inputs.iter().flat_map(|&input| feeds(plan, input)).collect(),
        Op::WindowAggregate { window, emit, .. } => vec![(window.clone(), *emit)],
        Op::WindowTable { window, .. } if matches!(window.kind, WindowKind::Session { .. }) => {
            vec![(window.clone(), Emit::AT_END)]
        }
        Op::Calc { input, .. }
        | Op::Expand { input, .. }
        | Op::WindowTable { input, .. }
        | Op::Process { input, .. }
        | Op::Apply { input, .. } => feeds(plan, *input),
        Op::Late { of } => feeds(plan, late_input(plan, *of)),
    }
}

/// Whether a window may read what it reads, where windows of rows have part in it.
fn check_behind(
    plan: &Plan,
    input: NodeIndex,
    window: &WindowSpec,
    emit: &Emit,
) -> Result<(), String> {
    for (feed, shown) in feeds(plan, input) {
        let of_rows = feed.kind.is_of_rows();
        if (of_rows || window.kind.is_of_rows()) && has_updates(&feed, &shown) {
            return Err("a window reads another one's updates, and windows take only inserts; let that one discard what \
                        it has shown, or purge"
                .into());
        }
        if !of_rows || window.kind.is_of_rows() || window.domain == TimeDomain::Processing {
            continue;
        }
        let of_a_row = match feed.kind {
            WindowKind::Global { at_end, .. } => {
                !at_end && shown.early_delay_ms.is_none_or(|delay| delay == 0)
            }
            _ => true,
        };
        if !of_a_row {
            return Err("a window by event time behind a global window that fires by time: the results are as old as their \
                        rows, and would be late"
                .into());
        }
        let one_slice =
            matches!(window.kind, WindowKind::Tumble { .. } | WindowKind::Attached { .. });
        if !one_slice || !emit.is_once() {
            return Err("behind a count or global window, windows by event time are tumbling and fire once: whether a \
                        result is late for others depends on what they have shown"
                .into());
        }
    }
    Ok(())
}

/// Whether results take back earlier ones.
fn has_updates(window: &WindowSpec, emit: &Emit) -> bool {
    match window.kind {
        WindowKind::Count { .. } => false,
        WindowKind::Global { purges, .. } => !purges && emit.mode != EmitMode::Discarding,
        _ => !emit.is_once() && emit.mode != EmitMode::Discarding,
    }
}
