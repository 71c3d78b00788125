//! Functions with state: how their rows come, and what may stand before and behind them.
//!
//! A function sees the rows of its key in an order, and that must not depend on the number of shards or on where chunks end. So
//! it is settled here where the order comes from, and what has none is refused:
//!
//! ```text
//! tables                                       as they are read
//! windows that fire once, key ⊇ theirs         as the owner of the key fires them
//! windows that fire once                       by window_time, then by bytes, at the end of each chunk
//! windows that fire more than once, key ⊇ …    as the owner fires them, of one window; of different windows in no order
//! windows of rows, key ⊇ theirs                as the owner of the key fires them
//! a function over tables                       by the row that each comes from, at the end of each chunk
//! a function over windows that fire once       by arrival, then by bytes, at the end of each chunk
//! ```
//!
//! What a function yields comes from all shards, each row with its arrival. Windows behind it do not put it in order: so they may
//! not depend on that, and take each row to every window that is open when it arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Builder, Exchange, Feeds, Outlet, Owner, StepKind, Topology};
use crate::agg::{AggregateFunction, UserFunction};
use crate::batch::{DataType, Schema};
use crate::error::JobError;
use crate::op::process::{Arrival, ProcessPlan};
use crate::op::send::{SendPlan, Ship};
use crate::op::shape::Shape;
use crate::plan::{NodeIndex, Op, Plan, Process, ProcessWindow};
use crate::window::{Emit, WindowKind, WindowSpec};

const SEVERAL_WAYS: &str = "its rows come from one table in several ways (UNION ALL, grouping sets), and so in no order; give \
    each way a function of its own";
const SEVERAL_FEEDS: &str = "it reads what several windows or functions give, which comes in no order; give each a function of its own";
const OF_CHANGES: &str = "it reads what a function yields over windows of rows, or windows that fire more than once, which comes in no \
    order";
const BY_ROWS: &str = "it reads windows of rows, and their results come in order by their key alone; its key must have theirs in it, as \
    columns";
const CHANGES: &str = "it reads windows that fire more than once, and their results come in order by their key alone; its key must have \
    theirs in it, as columns";

impl Builder<'_> {
    /// The exchange before a function, and the function.
    pub(super) fn process(&mut self, node: NodeIndex) -> Result<Outlet, JobError> {
        let Op::Process { input, keys, window, function } = &self.plan.nodes[node].op else {
            unreachable!("called for one")
        };
        let schema = &self.plan.nodes[*input].schema;
        let refused = |reason: String| refusal(&**function, &reason);
        check(schema, keys, *window, &**function, &self.plan.nodes[node].schema)
            .map_err(refused)?;
        self.check_uid(node, function.uid()).map_err(refused)?;
        let feeds = self.feeds(*input)?;
        let arrival = self.arrival(*input, keys, *window, &feeds).map_err(refused)?;
        let shape = Shape {
            shipped: (0..schema.column_count()).collect(),
            ..Shape::new(schema, keys, &[])
        };
        let plan = ProcessPlan {
            key_types: shape.key_types.clone(),
            column_count: schema.column_count(),
            window: window.map(|window| self.outlasting(window, &feeds)),
            arrival,
            function: Arc::clone(function),
        };
        let exchange = self.topology.exchanges.len();
        self.topology.exchanges.push(Exchange {
            shape: Arc::new(shape),
            send: unassigned(),
            owner: Owner::Process(Arc::new(plan)),
            instant_time: false,
            feeds,
            in_turn: true,
            is_end: false,
            targets: Vec::new(),
            late_targets: Vec::new(),
            second_stage: None,
        });
        self.step(&[*input], StepKind::Send(exchange));
        Ok(Outlet::Exchange(exchange))
    }

    /// Two functions must not be taken for each other.
    fn check_uid(&self, node: NodeIndex, uid: &str) -> Result<(), String> {
        let earlier = self.plan.nodes[..node].iter();
        let mut uids = earlier.filter_map(|node| match &node.op {
            Op::Process { function, .. } => Some(function.uid()),
            _ => None,
        });
        match uids.any(|other| other == uid) {
            true => Err(format!("another function has the uid '{uid}' too")),
            false => Ok(()),
        }
    }

    /// How the function's rows come; why not, if they come in no order.
    fn arrival(
        &self,
        input: NodeIndex,
        keys: &[usize],
        window: Option<ProcessWindow>,
        feeds: &Feeds,
    ) -> Result<Arrival, String> {
        let one_way = self.has_one_way(input, &mut BTreeSet::new());
        let feed = match feeds {
            Feeds::Scans(_) if one_way => return Ok(Arrival::Rows),
            Feeds::Scans(_) => return Err(SEVERAL_WAYS.into()),
            Feeds::Exchanges(feeds) if feeds.len() > 1 => return Err(SEVERAL_FEEDS.into()),
            Feeds::Exchanges(feeds) => &self.topology.exchanges[feeds[0]],
        };
        if let Owner::Process(other) = &feed.owner {
            return match other.arrival {
                Arrival::Rows | Arrival::Yielded => Ok(Arrival::Yielded),
                Arrival::Results(_) | Arrival::Mixed(_) | Arrival::YieldedOfResults => {
                    Ok(Arrival::YieldedOfResults)
                }
                Arrival::Fired(_) | Arrival::Changes(_) => Err(OF_CHANGES.into()),
            };
        }
        let fields = &self.plan.nodes[input].schema.fields;
        let time = fields.iter().position(|field| field.time_attribute.is_some());
        let time = window.map(|window| window.time).or(time);
        let time = time.filter(|&column| is_milliseconds(fields[column].data_type));
        let time = time.ok_or("the results of windows need their window_time among its columns")?;
        let covers = one_way && self.covers(input, keys);
        let attached = matches!(feed.send.window.kind, WindowKind::Attached { .. });
        match feed.owner {
            Owner::Count | Owner::Global if covers => Ok(Arrival::Fired(time)),
            Owner::Count | Owner::Global => Err(BY_ROWS.into()),
            Owner::Trigger if covers => Ok(Arrival::Changes(time)),
            Owner::Trigger => Err(CHANGES.into()),
            // Windows that end together may start apart, and come from different shards.
            _ if covers && !attached => Ok(Arrival::Results(time)),
            _ => Ok(Arrival::Mixed(time)),
        }
    }

    /// Values of a window are kept as long as its windows may fire for late rows.
    fn outlasting(&self, window: ProcessWindow, feeds: &Feeds) -> ProcessWindow {
        let Feeds::Exchanges(feeds) = feeds else { return window };
        let emits = feeds.iter().map(|&feed| self.topology.exchanges[feed].send.emit);
        let late = emits.filter(|emit| emit.late_delay_ms.is_some());
        let longest_ms = late.map(|emit| emit.allow_lateness_ms).max().unwrap_or(0);
        ProcessWindow { lateness_ms: window.lateness_ms.max(longest_ms), ..window }
    }
}

/// Two aggregate functions of one uid would be taken for one another, in a plan as in state.
pub(super) fn check_aggregates(plan: &Plan) -> Result<(), JobError> {
    let mut codes = BTreeMap::new();
    let calls = plan.nodes.iter().flat_map(|node| match &node.op {
        Op::WindowAggregate { aggregates, .. } => aggregates.as_slice(),
        _ => &[],
    });
    for call in calls {
        let AggregateFunction::User(UserFunction(function)) = &call.function else { continue };
        let (uid, code) = (function.uid(), function.code());
        if *codes.entry(uid).or_insert(code) != code {
            let name = function.name();
            return Err(JobError::Refused(format!(
                "function '{name}' cannot run: another function has the uid '{uid}' too"
            )));
        }
    }
    Ok(())
}

impl Topology {
    /// Whether a function yields what these feeds bring.
    pub(super) fn is_over_function(&self, feeds: &Feeds) -> bool {
        let Feeds::Exchanges(feeds) = feeds else { return false };
        feeds.iter().any(|&feed| matches!(self.exchanges[feed].owner, Owner::Process(_)))
    }
}

/// No window is assigned, and rows are shipped as they are.
fn unassigned() -> SendPlan {
    SendPlan::at_end(
        WindowSpec::by_event_time(WindowKind::Attached { start_column: 0, end_column: 0 }),
        Ship::Rows,
    )
}

/// Refuses a window over what a function yields if it depends on the order of rows.
///
/// # Errors
///
/// That it cannot run.
pub(super) fn check_window(window: &WindowSpec, emit: Emit, shape: &Shape) -> Result<(), JobError> {
    let reason = if matches!(window.kind, WindowKind::Session { .. }) {
        "sessions over what a function yields"
    } else if !emit.is_once() {
        "windows over what a function yields that fire early or late"
    } else if shape.is_order_sensitive() {
        "FIRST_VALUE, LAST_VALUE or LISTAGG over what a function yields"
    } else {
        return Ok(());
    };
    Err(JobError::Refused(format!(
        "{reason} cannot run yet: its rows come from all shards, in no order"
    )))
}

/// Gives rows to every open window where slices would let them into windows that are over when they arrive.
pub(super) fn by_window(exchanges: &mut [Exchange]) {
    for exchange in exchanges {
        let kind = exchange.send.window.kind;
        exchange.send.per_window |=
            matches!(kind, WindowKind::Hop { .. } | WindowKind::Cumulate { .. });
    }
}

/// Refuses what a function, or who put it there, has declared wrongly.
fn check(
    input: &Schema,
    keys: &[usize],
    window: Option<ProcessWindow>,
    function: &dyn Process,
    output: &Schema,
) -> Result<(), String> {
    if function.uid().is_empty() {
        return Err("it has no uid, by which its state is known again".into());
    }
    if function.schema() != output || output.column_count() == 0 {
        return Err(format!("it yields ({}), not ({output})", function.schema()));
    }
    if keys.iter().any(|&key| key >= input.column_count()) {
        return Err("its key has columns that its input has not".into());
    }
    let Some(ProcessWindow { start, end, time, lateness_ms }) = window else { return Ok(()) };
    for column in [start, end, time] {
        let field = input.fields.get(column).ok_or("its input has no columns of a window")?;
        if !is_milliseconds(field.data_type) || field.nullable {
            return Err(format!(
                "{} {} does not say which window a row is in: that takes TIMESTAMP(3) or TIMESTAMP_LTZ(3) NOT NULL",
                field.name, field.data_type
            ));
        }
    }
    match lateness_ms < 0 {
        true => Err("its allowed lateness is negative".into()),
        false => Ok(()),
    }
}

fn refusal(function: &dyn Process, reason: &str) -> JobError {
    JobError::Refused(format!("function '{}' cannot run: {reason}", function.name()))
}

fn is_milliseconds(data_type: DataType) -> bool {
    data_type.is_timestamp() && data_type.ticks_per_ms() == 1
}
