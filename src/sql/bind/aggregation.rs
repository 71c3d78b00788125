//! The operators of a windowed aggregation, once its keys, aggregates and SELECT list are bound.
//!
//! ```text
//!   input ── Calc: WHERE; keys, arguments, filters, time ── [Expand] ── WindowAggregate ── Calc: HAVING; SELECT
//! ```

use super::grouping::{Grouped, Roles};
use super::query::{Output, Relation};
use super::scope::Scope;
use super::script::Binder;
use super::window::{Carried, Pending, window_time_type, without_column};
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Field};
use crate::error::{ScriptError, Span};
use crate::expr::Expr;
use crate::plan::{GroupingSet, NodeIndex, Op, window_fields};
use crate::window::{Emit, EmitMode, TimeDomain, WindowKind, WindowSpec};

/// Where the window of an aggregation comes from.
#[derive(Clone)]
pub(crate) enum Windowing {
    /// The window function in FROM, done in the aggregation itself.
    Direct(Pending),
    /// A window that the rows carry already.
    Attached(Carried),
    /// `GROUP BY TUMBLE(…)`.
    Group(WindowSpec),
}

/// What is said around the keys and aggregates.
pub(crate) struct Shape {
    pub(crate) windowing: Windowing,
    pub(crate) filter: Option<Expr>,
    pub(crate) having: Option<Expr>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) span: Span,
}

impl Windowing {
    /// The columns that show the window.
    pub(crate) fn roles(&self) -> Roles {
        match self {
            Windowing::Direct(pending) => Roles {
                starts: vec![pending.width],
                ends: vec![pending.width + 1],
                times: vec![pending.width + 2],
            },
            Windowing::Attached(carried) => Roles {
                starts: carried.starts.clone(),
                ends: carried.ends.clone(),
                times: carried.times.clone(),
            },
            Windowing::Group(_) => Roles::default(),
        }
    }

    /// The window as it was asked for.
    pub(crate) fn spec(&self) -> &WindowSpec {
        match self {
            Windowing::Direct(pending) => &pending.spec,
            Windowing::Attached(carried) => &carried.spec,
            Windowing::Group(spec) => spec,
        }
    }

    /// The type of `window_time`.
    pub(crate) fn time_type(&self, scope: &Scope) -> DataType {
        match self {
            Windowing::Attached(carried) => carried.time_type,
            other => window_time_type(scope.fields[other.spec().time_column].data_type),
        }
    }

    /// Sessions are of their partitions: a GROUP BY of other columns would not end with the session.
    fn check_session(&self, grouped: &Grouped<'_>, span: Span) -> Result<(), ScriptError> {
        let partition = match self {
            Windowing::Direct(pending) => Some(&pending.partition_by),
            Windowing::Attached(carried) => carried.partition.as_ref(),
            Windowing::Group(_) => return Ok(()),
        };
        if !matches!(self.spec().kind, WindowKind::Session { .. }) {
            return Ok(());
        }
        let mut keys: Vec<Option<usize>> = grouped.keys.iter().map(Expr::as_column).collect();
        keys.sort_unstable();
        let partition = partition.map(|columns| {
            let mut columns: Vec<Option<usize>> = columns.iter().copied().map(Some).collect();
            columns.sort_unstable();
            columns.dedup();
            columns
        });
        if partition == Some(keys) && grouped.sets.is_none() {
            return Ok(());
        }
        Err(ScriptError::new(
            "this groups sessions by other columns than their PARTITION BY, which would run over all of time",
        )
        .at(span)
        .hint("group by window_start, window_end and exactly the columns of PARTITION BY"))
    }
}

impl Binder<'_> {
    /// Lays out the operators.
    pub(crate) fn aggregation(
        &mut self,
        relation: Relation,
        grouped: Grouped<'_>,
        shape: Shape,
    ) -> Result<Relation, ScriptError> {
        let Shape { windowing, filter, having, outputs, span } = shape;
        if let Windowing::Direct(pending) = &windowing {
            needs_no_window_columns(pending, &grouped, filter.as_ref())?;
        }
        windowing.check_session(&grouped, span)?;
        let emit = self.emit(windowing.spec(), &grouped, span)?;
        let mut input = Layout::new(grouped.scope);
        let mut keys: Vec<usize> = grouped.keys.iter().map(|key| input.add(key)).collect();
        if grouped.sets.is_some() {
            // A key that a set leaves out is NULL there; an argument is not.
            input.shared_from = input.columns.len();
        }
        let aggregates = input.aggregates(&grouped, &outputs);
        let window = input.window(&windowing);
        let mut fields = input.fields;
        let calc = Op::Calc { input: relation.node, filter, columns: input.columns };
        let mut node = self.add(calc, fields.clone());
        if grouped.sets.is_some() {
            node = self.expand(node, &grouped, &mut keys, &mut fields);
        }
        let mut result: Vec<Field> =
            keys.iter().map(|&key| Field { time_attribute: None, ..fields[key].clone() }).collect();
        result.extend(aggregates.iter().map(|call| Field {
            name: call.name.clone(),
            data_type: call.data_type,
            nullable: call.nullable(),
            time_attribute: None,
        }));
        let first_window = result.len();
        result.extend(window_fields(grouped.time_type, grouped.domain));
        let key_count = keys.len();
        let aggregate = Op::WindowAggregate { input: node, window, keys, aggregates, emit };
        let node = self.add(aggregate, result.clone());
        let is_function = !matches!(windowing, Windowing::Group(_));
        let carried = is_function.then(|| Carried {
            spec: without_column(windowing.spec()),
            starts: vec![first_window],
            ends: vec![first_window + 1],
            times: vec![first_window + 2],
            time_type: grouped.time_type,
            partition: Some((0..key_count).collect()),
        });
        let changes = !emit.is_once() && emit.mode != EmitMode::Discarding;
        let scope = Scope { fields: result, qualifier: None };
        let relation = Relation { node, scope, window: carried, changes };
        let having = having.map(|having| grouped.settle(&having));
        let outputs = outputs
            .into_iter()
            .map(|output| Output { expr: grouped.settle(&output.expr), ..output })
            .collect();
        Ok(self.project(relation, having, outputs))
    }

    /// Each row once for each grouping set; the grouping id becomes the last key.
    fn expand(
        &mut self,
        input: NodeIndex,
        grouped: &Grouped<'_>,
        keys: &mut Vec<usize>,
        fields: &mut Vec<Field>,
    ) -> NodeIndex {
        let sets = grouped.sets.as_deref().unwrap_or_default();
        for &key in keys.iter() {
            fields[key].nullable |= sets.iter().any(|(present, _)| !present.contains(&key));
        }
        let sets = sets
            .iter()
            .map(|(present, grouping_id)| GroupingSet {
                nulled: keys.iter().copied().filter(|key| !present.contains(key)).collect(),
                grouping_id: *grouping_id,
            })
            .collect();
        keys.push(fields.len());
        fields.push(Field::new("$e", DataType::BigInt).not_null());
        self.add(Op::Expand { input, sets }, fields.clone())
    }

    /// When the window shows results, with what Flink refuses refused or noted.
    fn emit(
        &mut self,
        window: &WindowSpec,
        grouped: &Grouped<'_>,
        span: Span,
    ) -> Result<Emit, ScriptError> {
        let emit = self.configuration.emit(window.domain == TimeDomain::Event)?;
        let is_session = matches!(window.kind, WindowKind::Session { .. });
        let firing = self.configuration.firing_span().unwrap_or(span);
        if let Some(refusal) = window.kind.refusal(&emit) {
            return Err(ScriptError::new(refusal).at(span).hint(
                "RESET 'table.exec.emit.early-fire.enabled' and 'table.exec.emit.late-fire.enabled' \
                 before this statement",
            ));
        }
        if !window.group_window && !emit.is_once() {
            self.notes.flink_refuses(
                ScriptError::new("Flink refuses early and late firing on window functions")
                    .at(firing)
                    .hint(
                        "write the older group window, GROUP BY TUMBLE(ts, …), for a script that runs on both",
                    ),
            );
        }
        let keeps_order = grouped.aggregates.iter().any(|call| {
            matches!(call.function, AggregateFunction::FirstValue | AggregateFunction::LastValue)
        });
        if is_session && keeps_order {
            let message =
                "session windows cannot merge FIRST_VALUE and LAST_VALUE, in Flink neither";
            let hint = "MIN or MAX of the time column show a session's first or last time";
            return Err(ScriptError::new(message).at(span).hint(hint));
        }
        Ok(emit)
    }
}

/// The message by which a direct aggregation asks for the window's columns; never shown.
pub(crate) const NEEDS_COLUMNS: &str = "the window's columns are read";

/// A window function is done in the aggregation unless something reads its columns as values.
fn needs_no_window_columns(
    pending: &Pending,
    grouped: &Grouped<'_>,
    filter: Option<&Expr>,
) -> Result<(), ScriptError> {
    let args = grouped.aggregates.iter().flat_map(|call| call.args.iter().chain(&call.filter));
    let mut reads = false;
    for expr in grouped.keys.iter().chain(args).chain(filter) {
        expr.visit_columns(&mut |column| reads |= column >= pending.width);
    }
    if reads { Err(ScriptError::new(NEEDS_COLUMNS)) } else { Ok(()) }
}

/// The columns before an aggregation.
struct Layout<'a> {
    columns: Vec<Expr>,
    fields: Vec<Field>,
    scope: &'a Scope,
    /// Columns from here on may serve twice.
    shared_from: usize,
}

impl<'a> Layout<'a> {
    fn new(scope: &'a Scope) -> Self {
        Self { columns: Vec::new(), fields: Vec::new(), scope, shared_from: 0 }
    }

    /// The column of `expr`, a new one if there is none to share.
    fn add(&mut self, expr: &Expr) -> usize {
        let mut shared = self.columns.iter().enumerate().skip(self.shared_from);
        if let Some((index, _)) = shared.find(|(_, column)| *column == expr) {
            return index;
        }
        let field = match expr.as_column() {
            Some(column) => self.scope.fields[column].clone(),
            None => Field {
                name: format!("$f{}", self.columns.len()),
                data_type: expr.data_type,
                nullable: expr.nullable,
                time_attribute: None,
            },
        };
        self.columns.push(expr.clone());
        self.fields.push(field);
        self.columns.len() - 1
    }

    /// The calls, their arguments laid out; named after the SELECT list where a call stands there alone.
    fn aggregates(&mut self, grouped: &Grouped<'_>, outputs: &[Output]) -> Vec<AggregateCall> {
        let mut calls = Vec::with_capacity(grouped.aggregates.len());
        for (index, aggregate) in grouped.aggregates.iter().enumerate() {
            let named =
                outputs.iter().find(|output| Grouped::as_aggregate(&output.expr) == Some(index));
            calls.push(AggregateCall {
                function: aggregate.function.clone(),
                args: aggregate.args.iter().map(|arg| self.add(arg)).collect(),
                distinct: aggregate.distinct,
                filter: aggregate.filter.as_ref().map(|filter| self.add(filter)),
                separator: aggregate.separator.clone(),
                arg_type: aggregate.arg_type,
                data_type: aggregate.data_type,
                name: named.map_or_else(|| format!("$agg{index}"), |output| output.name.clone()),
            });
        }
        calls
    }

    /// The window over the laid-out columns.
    fn window(&mut self, windowing: &Windowing) -> WindowSpec {
        let scope = self.scope;
        let mut window = windowing.spec().clone();
        match windowing {
            Windowing::Attached(carried) => {
                let start_column = self.add(&scope.column(carried.starts[0]));
                let end_column = self.add(&scope.column(carried.ends[0]));
                window.time_column = match carried.times.first() {
                    Some(&time) => self.add(&scope.column(time)),
                    None => end_column,
                };
                window.kind = WindowKind::Attached { start_column, end_column };
            }
            Windowing::Direct(_) | Windowing::Group(_) => {
                window.time_column = self.add(&scope.column(window.time_column));
            }
        }
        window
    }
}
