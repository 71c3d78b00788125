//! From a plan to what a shard runs: chains of stateless steps, cut by exchanges.
//!
//! ```text
//! scan ─ steps ─ send ⇒ exchange ⇒ receive ─ steps ─ send ⇒ … ─ steps ─ sink
//! ```
//!
//! A distinct count that can be split becomes two exchanges: the first partitions rows by value and counts, the
//! second adds up by key.
//!
//! # Invariants
//!
//! 1. An exchange is fed by scans or by exchanges, never by both; feeds are ascending and have smaller indices. A second
//!    stage follows its first at once.
//! 2. Every shard builds the same topology from the same plan.

mod ends;
mod feeds;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use chrono_tz::Tz;

use super::operators::{Extent, NodeParts};
use super::row_windows;
use super::strategy::{stages, strategy};
use crate::agg::AggregateFunction;
use crate::batch::{DataType, Field, Schema};
use crate::connector::{Sink, Source};
use crate::error::JobError;
use crate::expr::Expr;
use crate::op::apply::Applied;
use crate::op::process::ProcessPlan;
use crate::op::send::{SendPlan, Ship};
use crate::op::session_table;
use crate::op::shape::Shape;
use crate::op::window_aggregate::Stage;
use crate::plan::{self, GroupingSet, Identity, Lineage, NodeIndex, Op, Plan, Watermark};
use crate::sys::checksum::xxh64;
use crate::window::{Emit, WindowKind, WindowSpec};

/// Changes when an operator lays out its state anew.
const STATE_VERSION: u32 = 12;

/// What every shard runs.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) scans: Vec<Scan>,
    pub(crate) steps: Vec<Step>,
    pub(crate) exchanges: Vec<Exchange>,
    /// What the exchanges are parts of, in their order.
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) sinks: Vec<SinkSpec>,
    /// By sink: where its rows come from, ascending; 0: scans, *e* + 1: exchange *e*.
    pub(crate) origins: Vec<Vec<usize>>,
    /// By node of the plan, what became of it.
    pub(super) nodes: Vec<NodeParts>,
    pub(super) time_zone: Tz,
}

/// A table that is read.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) table: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) physical: Schema,
    /// The physical columns that are decoded, ascending.
    pub(crate) projection: Vec<usize>,
    /// The declared columns, over the projection.
    pub(crate) columns: Vec<Expr>,
    pub(crate) watermark: Option<Watermark>,
    /// The steps that take its rows.
    pub(crate) targets: Vec<usize>,
}

/// One stateless step of a chain.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) kind: StepKind,
    pub(crate) targets: Vec<usize>,
}

#[derive(Debug)]
pub(crate) enum StepKind {
    Calc { filter: Option<Expr>, columns: Vec<Expr> },
    Union,
    Expand(Vec<GroupingSet>),
    WindowTable { window: WindowSpec, instant_time: bool },
    Apply(Applied),
    Pack,
    Unpack { types: Vec<DataType>, key_count: usize },
    Send(usize),
    Sink(usize),
}

/// Who feeds an exchange.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Feeds {
    Scans(Vec<usize>),
    Exchanges(Vec<usize>),
}

/// A keyed operator behind a shuffle.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) shape: Arc<Shape>,
    pub(crate) send: SendPlan,
    pub(crate) owner: Owner,
    pub(crate) instant_time: bool,
    pub(crate) feeds: Feeds,
    /// No feed yields between its points, see [`super::exchange`].
    pub(crate) in_turn: bool,
    /// No exchange is fed by it.
    pub(crate) is_end: bool,
    /// The steps that take its result rows.
    pub(crate) targets: Vec<usize>,
    /// The steps that take the rows which are late for it, whole.
    pub(crate) late_targets: Vec<usize>,
    /// The exchange that takes its accumulators, and its marks.
    pub(crate) second_stage: Option<usize>,
}

/// An operator with windows: one exchange, or the two of a split.
#[derive(Debug)]
pub(crate) struct Aggregate {
    /// Its exchanges.
    pub(crate) exchanges: Range<usize>,
    /// How it is known again in another script.
    pub(crate) identity: Identity,
}

/// Which operator owns the keys.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    Aggregate(Stage),
    Trigger,
    Session,
    Count,
    Global,
    Process(Arc<ProcessPlan>),
}

/// A table that is written.
#[derive(Debug)]
pub(crate) struct SinkSpec {
    /// Its name in the script; empty for a bare SELECT.
    pub(crate) table: String,
    /// Which rows it takes, see [`Lineage`].
    pub(crate) rows: String,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) schema: Schema,
    pub(crate) limit: Option<u64>,
}

impl Exchange {
    /// Whether owners find out which rows are late, not senders.
    pub(crate) fn owner_finds_late(&self) -> bool {
        matches!(self.owner, Owner::Session)
    }

    /// What the words of the owner's state mean, as a number.
    pub(crate) fn schema_hash(&self) -> u64 {
        let shape = &self.shape;
        let lists = shape.distinct.iter().map(|list| (&list.arg_types, &list.calls, list.values()));
        let users = shape.calls.iter().map(|call| call.function.provenance());
        let text = format!(
            "{:?} {:?} {:?} {:?} {}{}",
            self.owner,
            shape.layout,
            shape.key_types,
            lists.collect::<Vec<_>>(),
            STATE_VERSION,
            users.collect::<String>()
        );
        xxh64(text.as_bytes())
    }
}

impl Topology {
    /// Compiles a plan.
    ///
    /// # Errors
    ///
    /// A shape of plan that cannot run yet.
    pub(crate) fn new(plan: &Plan) -> Result<Self, JobError> {
        let topology = Self {
            scans: Vec::new(),
            steps: Vec::new(),
            exchanges: Vec::new(),
            aggregates: Vec::new(),
            sinks: Vec::new(),
            origins: Vec::new(),
            nodes: Vec::new(),
            time_zone: plan.settings.time_zone,
        };
        process::check_aggregates(plan)?;
        let lineages = plan::lineages(plan);
        let mut builder = Builder {
            plan,
            lineages,
            topology,
            outputs: Vec::new(),
            behind: BTreeMap::new(),
            first_exchanges: BTreeMap::new(),
        };
        for node in 0..plan.nodes.len() {
            row_windows::check(plan, node).map_err(JobError::Environment)?;
            let before = Extent::of(&builder.topology);
            builder.add(node)?;
            let parts = before.to_now(&builder.topology, plan::describe(plan, node));
            builder.topology.nodes.push(parts);
            builder.note_aggregate(node);
        }
        let mut topology = builder.topology;
        topology.origins = topology.sink_origins();
        for exchange in 0..topology.exchanges.len() {
            topology.exchanges[exchange].in_turn = topology.is_in_turn(exchange);
            topology.exchanges[exchange].is_end = topology.is_end(exchange);
        }
        Ok(topology)
    }

    /// What the words of each exchange's state mean, as a number.
    pub(crate) fn schemas(&self) -> Vec<u64> {
        self.exchanges.iter().map(Exchange::schema_hash).collect()
    }

    /// The exchanges that `aggregate` had when it had only its calls at `places`.
    pub(crate) fn formerly(&self, aggregate: &Aggregate, places: &[usize]) -> Vec<Exchange> {
        let now = &self.exchanges[aggregate.exchanges.start];
        if matches!(now.owner, Owner::Process(_)) {
            return vec![now.clone()];
        }
        let (send, feeds, shape) = (&now.send, now.feeds.clone(), now.shape.of_calls(places));
        let first = aggregate.exchanges.start;
        let mut old = stages(shape, &send.window, send.emit, now.instant_time, feeds, first);
        if self.is_over_function(&now.feeds) {
            process::by_window(&mut old);
        }
        old
    }

    /// Whether no feed shows each row's change at once. Behind a scan, where all of a chunk has been sent, it may.
    fn is_in_turn(&self, exchange: usize) -> bool {
        let Feeds::Exchanges(feeds) = &self.exchanges[exchange].feeds else { return true };
        feeds.iter().map(|&feed| &self.exchanges[feed]).all(|feed| {
            let by_row = match &feed.owner {
                Owner::Trigger => feed.send.ship == Ship::Rows,
                Owner::Process(plan) => plan.is_by_row(),
                owner => matches!(owner, Owner::Count | Owner::Global),
            };
            !by_row || matches!(feed.feeds, Feeds::Scans(_))
        })
    }

    /// Whether no exchange is fed by one.
    fn is_end(&self, exchange: usize) -> bool {
        let is_fed = |other: &Exchange| match &other.feeds {
            Feeds::Exchanges(feeds) => feeds.contains(&exchange),
            Feeds::Scans(_) => false,
        };
        self.exchanges[exchange].second_stage.is_none() && !self.exchanges.iter().any(is_fed)
    }

    fn sink_origins(&self) -> Vec<Vec<usize>> {
        let mut origins = vec![BTreeSet::new(); self.sinks.len()];
        let mut note = |origin: usize, targets: &[usize]| {
            let mut rest = targets.to_vec();
            while let Some(step) = rest.pop() {
                rest.extend_from_slice(&self.steps[step].targets);
                match self.steps[step].kind {
                    StepKind::Sink(sink) => drop(origins[sink].insert(origin)),
                    // Rows that its sender finds late go on as part of the batch that they came in.
                    StepKind::Send(to) if !self.exchanges[to].owner_finds_late() => {
                        rest.extend_from_slice(&self.exchanges[to].late_targets);
                    }
                    _ => {}
                }
            }
        };
        self.scans.iter().for_each(|scan| note(0, &scan.targets));
        for (index, exchange) in self.exchanges.iter().enumerate() {
            note(index + 1, &exchange.targets);
            if exchange.owner_finds_late() {
                note(index + 1, &exchange.late_targets);
            }
        }
        origins.into_iter().map(|origins| origins.into_iter().collect()).collect()
    }
}

/// Where a node's rows come out.
#[derive(Clone, Copy)]
enum Outlet {
    Scan(usize),
    Step(usize),
    Exchange(usize),
    /// The rows that are late for it.
    Late(usize),
    Nowhere,
}

struct Builder<'a> {
    plan: &'a Plan,
    lineages: Vec<Lineage>,
    topology: Topology,
    outputs: Vec<Outlet>,
    /// Nodes whose rows come out of a step behind this exchange.
    behind: BTreeMap<NodeIndex, usize>,
    /// The first exchange of each operator with windows.
    first_exchanges: BTreeMap<NodeIndex, usize>,
}

impl Builder<'_> {
    fn add(&mut self, node: NodeIndex) -> Result<(), JobError> {
        let outlet = match &self.plan.nodes[node].op {
            Op::Scan { table, source, physical, columns, watermark } => {
                self.scan(table, source, physical, columns, watermark)
            }
            Op::Calc { input, filter, columns } => self.step(
                &[*input],
                StepKind::Calc { filter: filter.clone(), columns: columns.clone() },
            ),
            Op::Union { inputs } => self.step(inputs, StepKind::Union),
            Op::Expand { input, sets } => self.step(&[*input], StepKind::Expand(sets.clone())),
            Op::WindowTable { input, window, partition_by }
                if matches!(window.kind, WindowKind::Session { .. }) =>
            {
                self.session_table(node, *input, window, partition_by)?
            }
            Op::WindowTable { input, window, .. } => {
                let instant_time = self.is_instant(*input, window);
                self.step(&[*input], StepKind::WindowTable { window: window.clone(), instant_time })
            }
            Op::WindowAggregate { .. } => self.aggregate(node)?,
            Op::Process { .. } => self.process(node)?,
            Op::Apply { input, function } => {
                self.step(&[*input], StepKind::Apply(Applied(Arc::clone(function))))
            }
            Op::Late { of } => match self.first_exchanges.get(of) {
                Some(&exchange) => Outlet::Late(exchange),
                None => {
                    let message = "late rows of an operator that has no windows".into();
                    return Err(JobError::Internal(message));
                }
            },
            Op::Sink { input, table, sink, limit } => {
                let schema = self.plan.nodes[*input].schema.clone();
                self.topology.sinks.push(SinkSpec {
                    table: table.clone(),
                    rows: self.lineages[*input].rows().to_owned(),
                    sink: sink.for_run().unwrap_or_else(|| Arc::clone(sink)),
                    schema,
                    limit: *limit,
                });
                let index = self.topology.sinks.len() - 1;
                self.step(&[*input], StepKind::Sink(index));
                Outlet::Nowhere
            }
        };
        self.outputs.push(outlet);
        Ok(())
    }

    /// Notes the exchanges that have come since the last operator with windows as those of `node`.
    fn note_aggregate(&mut self, node: NodeIndex) {
        let Some(identity) = plan::identity(self.plan, &self.lineages, node) else { return };
        let first = self.topology.aggregates.last().map_or(0, |last| last.exchanges.end);
        let exchanges = first..self.topology.exchanges.len();
        self.first_exchanges.insert(node, first);
        self.topology.aggregates.push(Aggregate { exchanges, identity });
    }

    fn scan(
        &mut self,
        table: &str,
        source: &Arc<dyn Source>,
        physical: &Schema,
        columns: &[Expr],
        watermark: &Option<Watermark>,
    ) -> Outlet {
        let mut projection = Vec::new();
        columns.iter().for_each(|column| column.visit_columns(&mut |index| projection.push(index)));
        projection.sort_unstable();
        projection.dedup();
        let place = |index: usize| projection.binary_search(&index).expect("collected above");
        let columns = columns
            .iter()
            .map(|column| {
                column.map_columns(&|index| {
                    let field = &physical.fields[index];
                    Expr::column(place(index), field.data_type, field.nullable)
                })
            })
            .collect();
        self.topology.scans.push(Scan {
            table: table.to_owned(),
            source: Arc::clone(source),
            physical: physical.clone(),
            projection: projection.clone(),
            columns,
            watermark: watermark.clone(),
            targets: Vec::new(),
        });
        Outlet::Scan(self.topology.scans.len() - 1)
    }

    fn step(&mut self, inputs: &[NodeIndex], kind: StepKind) -> Outlet {
        self.topology.steps.push(Step { kind, targets: Vec::new() });
        let step = self.topology.steps.len() - 1;
        for &input in inputs {
            match self.outputs[input] {
                Outlet::Scan(scan) => self.topology.scans[scan].targets.push(step),
                Outlet::Step(from) => self.topology.steps[from].targets.push(step),
                Outlet::Exchange(exchange) => self.topology.exchanges[exchange].targets.push(step),
                Outlet::Late(exchange) => {
                    self.topology.exchanges[exchange].late_targets.push(step);
                }
                Outlet::Nowhere => unreachable!("a sink has no output"),
            }
        }
        Outlet::Step(step)
    }

    /// Whether the window's time column is an instant, and so its `window_time`.
    fn is_instant(&self, input: NodeIndex, window: &WindowSpec) -> bool {
        let field = &self.plan.nodes[input].schema.fields[window.time_column];
        matches!(field.data_type, DataType::TimestampLtz(_))
    }

    fn aggregate(&mut self, node: NodeIndex) -> Result<Outlet, JobError> {
        let Op::WindowAggregate { input, window, keys, aggregates, emit } =
            &self.plan.nodes[node].op
        else {
            unreachable!("called for one")
        };
        for call in aggregates {
            if let AggregateFunction::User(function) = &call.function {
                function.check(&self.plan.nodes[*input].schema, &call.args, call.distinct)?;
            }
        }
        let mut keys = keys.clone();
        if let WindowKind::Attached { start_column, .. } = window.kind {
            keys.push(start_column);
        }
        let schema = &self.plan.nodes[*input].schema;
        let shape = Shape::new(schema, &keys, aggregates);
        let shape = self.with_late(node, shape, window, schema.column_count());
        let feeds = self.feeds(*input)?;
        let instant_time = self.is_instant(*input, window);
        let first = self.topology.exchanges.len();
        let over_function = self.topology.is_over_function(&feeds);
        if over_function {
            process::check_window(window, *emit, &shape)?;
        }
        let mut exchanges = stages(shape, window, *emit, instant_time, feeds, first);
        if over_function {
            process::by_window(&mut exchanges);
        }
        self.topology.exchanges.extend(exchanges);
        let finder = &mut self.topology.exchanges[first];
        finder.send.hands_out_late = !finder.owner_finds_late() && self.plan.is_late_read(node);
        self.step(&[*input], StepKind::Send(first));
        Ok(Outlet::Exchange(self.topology.exchanges.len() - 1))
    }

    /// The shape with what owners need who find late rows that are read.
    fn with_late(
        &self,
        node: NodeIndex,
        shape: Shape,
        window: &WindowSpec,
        column_count: usize,
    ) -> Shape {
        let by_owner = matches!(window.kind, WindowKind::Session { .. });
        match by_owner && self.plan.is_late_read(node) {
            true => shape.with_whole_rows(column_count),
            false => shape,
        }
    }

    /// SESSION without GROUP BY: rows are packed, wait as an aggregate of their session, and are unpacked.
    fn session_table(
        &mut self,
        node: NodeIndex,
        input: NodeIndex,
        window: &WindowSpec,
        partition_by: &[usize],
    ) -> Result<Outlet, JobError> {
        let schema = &self.plan.nodes[input].schema;
        let types: Vec<DataType> = schema.fields.iter().map(|field| field.data_type).collect();
        let mut fields = schema.fields.to_vec();
        fields.push(Field::new("$row", DataType::BYTES));
        let shape =
            Shape::new(&Schema::new(fields), partition_by, &[session_table::call(types.len())]);
        let shape = self.with_late(node, shape, window, types.len());
        let (feeds, instant_time) = (self.feeds(input)?, self.is_instant(input, window));
        if self.topology.is_over_function(&feeds) {
            process::check_window(window, Emit::AT_END, &shape)?;
        }
        let (mut send, owner, _) = strategy(&shape, window, Emit::AT_END);
        send.may_mark = matches!(feeds, Feeds::Scans(_));
        let exchange = self.topology.exchanges.len();
        let key_count = partition_by.len();
        let Outlet::Step(pack) = self.step(&[input], StepKind::Pack) else {
            unreachable!("a step")
        };
        self.topology.steps.push(Step { kind: StepKind::Send(exchange), targets: Vec::new() });
        let sender = self.topology.steps.len() - 1;
        self.topology.steps[pack].targets.push(sender);
        let kind = StepKind::Unpack { types, key_count };
        self.topology.steps.push(Step { kind, targets: Vec::new() });
        let unpack = self.topology.steps.len() - 1;
        self.topology.exchanges.push(Exchange {
            shape: Arc::new(shape),
            send,
            owner,
            instant_time,
            feeds,
            in_turn: true,
            is_end: false,
            targets: vec![unpack],
            late_targets: Vec::new(),
            second_stage: None,
        });
        self.behind.insert(node, exchange);
        Ok(Outlet::Step(unpack))
    }
}
