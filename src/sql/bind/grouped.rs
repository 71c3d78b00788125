//! GROUP BY, HAVING and DISTINCT to a windowed aggregation.
//!
//! ```text
//!   input ── Calc: WHERE; keys, arguments, filters, time ── [Expand] ── WindowAggregate ── Calc: HAVING; SELECT
//! ```

use super::expression::{bind, bind_condition};
use super::grouping::{Grouped, Role, Roles};
use super::query::{From, Output, Relation, output_name};
use super::scope::Scope;
use super::script::Binder;
use super::window::{Carried, Pending, window_fields, window_time_type};
use super::{Notes, aggregate};
use crate::agg::{AggregateCall, AggregateFunction};
use crate::batch::{DataType, Field, TimeAttribute};
use crate::error::{ScriptError, Span};
use crate::expr::Expr;
use crate::plan::{GroupingSet, Op};
use crate::sql::syntax::ast::{self, ExprKind, Group, Item, Select};
use crate::window::{Emit, TimeDomain, WindowKind, WindowSpec};

/// Where the window of an aggregation comes from.
#[derive(Clone)]
enum Windowing {
    /// The window function in FROM, done in the aggregation itself.
    Direct(Pending),
    /// A window that the rows carry already.
    Attached(Carried),
    /// `GROUP BY TUMBLE(…)`.
    Group(WindowSpec),
}

/// What the pieces of an aggregation need of each other.
struct Shape {
    windowing: Windowing,
    filter: Option<Expr>,
    having: Option<Expr>,
    outputs: Vec<Output>,
    span: Span,
}

impl Windowing {
    fn roles(&self) -> Roles {
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

    fn spec(&self) -> &WindowSpec {
        match self {
            Windowing::Direct(pending) => &pending.spec,
            Windowing::Attached(carried) => &carried.spec,
            Windowing::Group(spec) => spec,
        }
    }

    fn time_type(&self, scope: &Scope) -> DataType {
        match self {
            Windowing::Attached(carried) => carried.time_type,
            other => window_time_type(scope.fields[other.spec().time_column].data_type),
        }
    }
}

impl Binder<'_> {
    /// A SELECT with GROUP BY or aggregates.
    pub(crate) fn grouped(&mut self, select: &Select, from: From) -> Result<Relation, ScriptError> {
        let Some((groups, span)) = &select.group_by else { return Err(unbounded(select.span)) };
        let (sets, is_sets) = grouping_sets(groups)?;
        let window_call = sets.iter().flatten().find(|expr| {
            matches!(&expr.kind, ExprKind::Call(call) if aggregate::is_group_window(&call.name.name))
        });
        if let (Some(call), true) = (window_call, is_sets) {
            return Err(ScriptError::new(
                "group windows and grouping sets do not go together, in Flink neither",
            )
            .at(call.span)
            .hint("use a window function: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))"));
        }
        if let Some(call_expr) = window_call {
            let ExprKind::Call(call) = &call_expr.kind else { return Err(unbounded(*span)) };
            let relation = self.materialise(from)?;
            let spec = self.group_window(call, call_expr.span, &relation.scope)?;
            return self.grouped_by(
                select,
                &sets,
                is_sets,
                relation,
                Windowing::Group(spec),
                Some(call),
                *span,
            );
        }
        match from {
            From { relation, pending: Some(pending) } => {
                let direct = Windowing::Direct(pending.clone());
                let (node_count, noted) = (self.nodes.len(), self.notes.flink_refusals.len());
                let bound =
                    self.grouped_by(select, &sets, is_sets, relation.clone(), direct, None, *span);
                match bound {
                    Err(error) if error.message == NEEDS_COLUMNS => {
                        self.nodes.truncate(node_count);
                        self.notes.flink_refusals.truncate(noted);
                        let relation =
                            self.materialise(From { relation, pending: Some(pending) })?;
                        self.attached(select, &sets, is_sets, relation, *span)
                    }
                    other => other,
                }
            }
            From { relation, pending: None } => {
                self.attached(select, &sets, is_sets, relation, *span)
            }
        }
    }

    fn attached(
        &mut self,
        select: &Select,
        sets: &[Vec<ast::Expr>],
        is_sets: bool,
        relation: Relation,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        let Some(carried) = relation.window.clone() else { return Err(unbounded(span)) };
        self.grouped_by(select, sets, is_sets, relation, Windowing::Attached(carried), None, span)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one SELECT, passed on once")]
    fn grouped_by(
        &mut self,
        select: &Select,
        sets: &[Vec<ast::Expr>],
        is_sets: bool,
        relation: Relation,
        windowing: Windowing,
        group_window: Option<&ast::Call>,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        self.refuse_changes(&relation, span)?;
        let scope = relation.scope.clone();
        let filter = self.filter(select.filter.as_ref(), &scope)?;
        let mut grouped = Grouped {
            scope: &scope,
            roles: windowing.roles(),
            keys: Vec::new(),
            sets: None,
            aggregates: Vec::new(),
            group_window,
            domain: windowing.spec().domain,
            time_type: windowing.time_type(&scope),
            notes: Notes::default(),
        };
        let bound_sets = self.keys(sets, &mut grouped)?;
        check_windowed(&bound_sets, &windowing, span)?;
        if is_sets {
            grouped.sets = Some(with_ids(&bound_sets, grouped.keys.len(), span)?);
        }
        let mut outputs = Vec::new();
        for item in &select.items {
            let Item::Expr(expr, alias) = item else {
                let at = match item {
                    Item::Star(span) => *span,
                    Item::QualifiedStar(table) => table.span,
                    Item::Expr(expr, _) => expr.span,
                };
                return Err(ScriptError::new("SELECT * cannot go with GROUP BY")
                    .at(at)
                    .hint("list the grouped columns"));
            };
            let mut notes = Notes::default();
            let bound = bind(expr, &mut grouped, &mut notes)?;
            notes.flink_refusals.into_iter().for_each(|note| self.notes.flink_refuses(note));
            let name = output_name(expr, alias.as_ref(), outputs.len());
            outputs.push(Output { expr: bound, name, attribute: grouped.attribute(expr) });
        }
        let having = match &select.having {
            Some(having) => Some(bind_condition(having, "HAVING", &mut grouped, &mut self.notes)?),
            None => None,
        };
        std::mem::take(&mut grouped.notes)
            .flink_refusals
            .into_iter()
            .for_each(|note| self.notes.flink_refuses(note));
        self.aggregation(relation, grouped, Shape { windowing, filter, having, outputs, span })
    }

    /// Binds the grouping expressions; each set as the roles in it.
    fn keys(
        &mut self,
        sets: &[Vec<ast::Expr>],
        grouped: &mut Grouped<'_>,
    ) -> Result<Vec<Vec<Role>>, ScriptError> {
        let scope = grouped.scope;
        let mut bound_sets = Vec::with_capacity(sets.len());
        for set in sets {
            let mut roles = Vec::new();
            for expr in set {
                match &expr.kind {
                    ExprKind::Call(call) if aggregate::is_group_window(&call.name.name) => {
                        if !grouped.group_window.is_some_and(|window| std::ptr::eq(window, call)) {
                            return Err(
                                ScriptError::new("a query has one group window").at(expr.span)
                            );
                        }
                        continue;
                    }
                    ExprKind::Number(_) | ExprKind::String(_) => {
                        return Err(ScriptError::new("a literal in GROUP BY is no column: positions mean nothing there, as in Flink")
                            .at(expr.span)
                            .hint("write the column's name"));
                    }
                    _ => {}
                }
                let bound = bind(expr, &mut &*scope, &mut self.notes)?;
                if bound.data_type == DataType::Null {
                    return Err(ScriptError::new("NULL cannot be grouped by").at(expr.span));
                }
                let role = grouped.role(&bound).unwrap_or_else(|| {
                    grouped.keys.push(bound);
                    Role::Key(grouped.keys.len() - 1)
                });
                if !roles.contains(&role) {
                    roles.push(role);
                }
            }
            bound_sets.push(roles);
        }
        Ok(bound_sets)
    }

    /// SELECT DISTINCT without aggregates: a GROUP BY all of its columns.
    pub(crate) fn select_distinct(
        &mut self,
        select: &Select,
        from: From,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        let From { relation, pending } = from;
        let outputs = self.outputs(&select.items, &relation.scope)?;
        let filter = self.filter(select.filter.as_ref(), &relation.scope)?;
        if let Some(pending) = pending {
            let reads_window = |expr: &Expr| reads_from(expr, pending.width);
            let plain = filter.as_ref().is_none_or(|filter| !reads_window(filter))
                && outputs
                    .iter()
                    .all(|output| output.expr.as_column().is_some() || !reads_window(&output.expr))
                && !matches!(pending.spec.kind, WindowKind::Session { .. });
            if plain {
                return self.distinct_columns(
                    relation,
                    Windowing::Direct(pending),
                    filter,
                    outputs,
                    span,
                );
            }
            let relation = self.materialise(From { relation, pending: Some(pending) })?;
            let carried = relation.window.clone().ok_or_else(|| distinct_unbounded(span))?;
            return self.distinct_columns(
                relation,
                Windowing::Attached(carried),
                filter,
                outputs,
                span,
            );
        }
        let carried = relation.window.clone().ok_or_else(|| distinct_unbounded(span))?;
        self.distinct_columns(relation, Windowing::Attached(carried), filter, outputs, span)
    }

    /// DISTINCT over a grouped SELECT.
    pub(crate) fn distinct(
        &mut self,
        relation: Relation,
        select: &Select,
    ) -> Result<Relation, ScriptError> {
        let span = select.distinct.unwrap_or(select.span);
        let carried = relation.window.clone().ok_or_else(|| distinct_unbounded(span))?;
        let scope = &relation.scope;
        let outputs = scope
            .fields
            .iter()
            .enumerate()
            .map(|(index, field)| Output {
                expr: scope.column(index),
                name: field.name.clone(),
                attribute: field.time_attribute,
            })
            .collect();
        self.distinct_columns(relation, Windowing::Attached(carried), None, outputs, span)
    }

    fn distinct_columns(
        &mut self,
        relation: Relation,
        windowing: Windowing,
        filter: Option<Expr>,
        outputs: Vec<Output>,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        self.refuse_changes(&relation, span)?;
        let scope = relation.scope.clone();
        let mut grouped = Grouped {
            scope: &scope,
            roles: windowing.roles(),
            keys: Vec::new(),
            sets: None,
            aggregates: Vec::new(),
            group_window: None,
            domain: windowing.spec().domain,
            time_type: windowing.time_type(&scope),
            notes: Notes::default(),
        };
        let mut roles = Vec::new();
        let mut settled = Vec::new();
        for output in outputs {
            let role = grouped.role(&output.expr).unwrap_or_else(|| {
                grouped.keys.push(output.expr.clone());
                Role::Key(grouped.keys.len() - 1)
            });
            roles.push(role);
            let attribute = output.attribute.filter(|_| role == Role::Time);
            settled.push(Output { expr: grouped.role_column(role), name: output.name, attribute });
        }
        if !(roles.contains(&Role::Start) && roles.contains(&Role::End)) {
            return Err(distinct_unbounded(span));
        }
        self.aggregation(
            relation,
            grouped,
            Shape { windowing, filter, having: None, outputs: settled, span },
        )
    }

    /// Lays out the operators.
    fn aggregation(
        &mut self,
        relation: Relation,
        grouped: Grouped<'_>,
        shape: Shape,
    ) -> Result<Relation, ScriptError> {
        let Shape { windowing, filter, having, outputs, span } = shape;
        if let Windowing::Direct(pending) = &windowing {
            needs_no_window_columns(pending, &grouped, filter.as_ref())?;
        }
        let emit = self.emit(windowing.spec(), &grouped, span)?;
        let mut input = Layout {
            columns: Vec::new(),
            fields: Vec::new(),
            scope: grouped.scope,
            shared_from: 0,
        };
        let mut keys: Vec<usize> = grouped.keys.iter().map(|key| input.add(key)).collect();
        if grouped.sets.is_some() {
            // A key that a set leaves out is NULL there; an argument is not.
            input.shared_from = input.columns.len();
        }
        let mut aggregates = Vec::new();
        for (index, aggregate) in grouped.aggregates.iter().enumerate() {
            let named =
                outputs.iter().find(|output| Grouped::as_aggregate(&output.expr) == Some(index));
            aggregates.push(AggregateCall {
                function: aggregate.function,
                args: aggregate.args.iter().map(|arg| input.add(arg)).collect(),
                distinct: aggregate.distinct,
                filter: aggregate.filter.as_ref().map(|filter| input.add(filter)),
                separator: aggregate.separator.clone(),
                arg_type: aggregate.arg_type,
                data_type: aggregate.data_type,
                name: named.map_or_else(|| format!("$agg{index}"), |output| output.name.clone()),
            });
        }
        let window = input.window(&windowing);
        let mut fields = input.fields;
        let mut node = self
            .add(Op::Calc { input: relation.node, filter, columns: input.columns }, fields.clone());
        if let Some(sets) = &grouped.sets {
            for &key in &keys {
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
            node = self.add(Op::Expand { input: node, sets }, fields.clone());
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
        let aggregate = Op::WindowAggregate { input: node, window, keys, aggregates, emit };
        let node = self.add(aggregate, result.clone());
        let carried = (!matches!(windowing, Windowing::Group(_))).then(|| Carried {
            spec: windowing.spec().clone(),
            starts: vec![first_window],
            ends: vec![first_window + 1],
            times: vec![first_window + 2],
            time_type: grouped.time_type,
        });
        let changes = !emit.is_once() && emit.mode != crate::window::EmitMode::Discarding;
        let relation = Relation {
            node,
            scope: Scope { fields: result, qualifier: None },
            window: carried,
            changes,
        };
        let having = having.map(|having| grouped.settle(&having));
        let outputs = outputs
            .into_iter()
            .map(|output| Output { expr: grouped.settle(&output.expr), ..output })
            .collect();
        Ok(self.project(relation, having, outputs))
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
        if is_session && !emit.is_once() {
            return Err(ScriptError::new("session windows do not fire early or late, in Flink neither")
                .at(span)
                .hint("RESET 'table.exec.emit.early-fire.enabled' and 'table.exec.emit.late-fire.enabled' before this statement"));
        }
        if !window.group_window && !emit.is_once() {
            self.notes.flink_refuses(
                ScriptError::new("Flink refuses early and late firing on window functions")
                    .at(firing)
                    .hint("write the older group window, GROUP BY TUMBLE(ts, …), for a script that runs on both"),
            );
        }
        let keeps_order = grouped.aggregates.iter().any(|call| {
            matches!(call.function, AggregateFunction::FirstValue | AggregateFunction::LastValue)
        });
        if is_session && keeps_order {
            self.notes.flink_refuses(
                ScriptError::new("Flink refuses FIRST_VALUE and LAST_VALUE in session windows, for it cannot merge them")
                    .at(span)
                    .hint("MIN or MAX of the time column show a session's first or last time"),
            );
        }
        Ok(emit)
    }
}

/// The message by which a direct aggregation asks for the window's columns; never shown.
const NEEDS_COLUMNS: &str = "the window's columns are read";

/// A window function is done in the aggregation unless something reads its columns as values.
fn needs_no_window_columns(
    pending: &Pending,
    grouped: &Grouped<'_>,
    filter: Option<&Expr>,
) -> Result<(), ScriptError> {
    let args = grouped.aggregates.iter().flat_map(|call| call.args.iter().chain(&call.filter));
    let reads =
        grouped.keys.iter().chain(args).chain(filter).any(|expr| reads_from(expr, pending.width));
    let mut columns: Vec<Option<usize>> = grouped.keys.iter().map(Expr::as_column).collect();
    let mut partition: Vec<Option<usize>> =
        pending.partition_by.iter().copied().map(Some).collect();
    columns.sort_unstable();
    partition.sort_unstable();
    partition.dedup();
    let other_sessions = matches!(pending.spec.kind, WindowKind::Session { .. })
        && (columns != partition || grouped.sets.is_some());
    if reads || other_sessions { Err(ScriptError::new(NEEDS_COLUMNS)) } else { Ok(()) }
}

/// Whether `expr` reads a column from `first` on.
fn reads_from(expr: &Expr, first: usize) -> bool {
    let mut reads = false;
    expr.visit_columns(&mut |column| reads |= column >= first);
    reads
}

/// The columns before an aggregation.
struct Layout<'a> {
    columns: Vec<Expr>,
    fields: Vec<Field>,
    scope: &'a Scope,
    /// Columns from here on may serve twice.
    shared_from: usize,
}

impl Layout<'_> {
    fn add(&mut self, expr: &Expr) -> usize {
        let known = self
            .columns
            .iter()
            .enumerate()
            .skip(self.shared_from)
            .find(|(_, column)| *column == expr);
        if let Some((index, _)) = known {
            return index;
        }
        let field = match expr.as_column() {
            Some(column) => self.scope.fields[column].clone(),
            None => Field {
                name: format!("$f{}", self.columns.len()),
                data_type: expr.data_type,
                nullable: expr.nullable,
                time_attribute: None::<TimeAttribute>,
            },
        };
        self.columns.push(expr.clone());
        self.fields.push(field);
        self.columns.len() - 1
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
                window.time_column = self.add(&scope.column(window.time_column))
            }
        }
        window
    }
}

/// The grouping sets that GROUP BY's elements multiply to, and whether there was a GROUPING SETS, CUBE or ROLLUP.
fn grouping_sets(groups: &[Group]) -> Result<(Vec<Vec<ast::Expr>>, bool), ScriptError> {
    let mut sets: Vec<Vec<ast::Expr>> = vec![Vec::new()];
    let mut is_sets = false;
    for group in groups {
        match group {
            Group::Expr(expr) => {
                let columns = match &expr.kind {
                    ExprKind::Tuple(list) => list.as_slice(),
                    _ => std::slice::from_ref(expr),
                };
                sets.iter_mut().for_each(|set| set.extend(columns.iter().cloned()));
            }
            Group::Sets(more, span) => {
                is_sets = true;
                if sets.len() * more.len() > 1024 {
                    return Err(
                        ScriptError::new("these are more than 1024 grouping sets").at(*span)
                    );
                }
                sets = sets
                    .iter()
                    .flat_map(|set| {
                        more.iter().map(|other| set.iter().chain(other).cloned().collect())
                    })
                    .collect();
            }
        }
    }
    Ok((sets, is_sets))
}

/// The keys of each set, and its grouping id: a bit for each key, set where the set lacks it.
fn with_ids(
    sets: &[Vec<Role>],
    key_count: usize,
    span: Span,
) -> Result<Vec<(Vec<usize>, i64)>, ScriptError> {
    if key_count > 62 {
        return Err(ScriptError::new("grouping sets have at most 62 columns").at(span));
    }
    let mut with_ids: Vec<(Vec<usize>, i64)> = Vec::with_capacity(sets.len());
    for set in sets {
        let present: Vec<usize> = set
            .iter()
            .filter_map(|role| if let Role::Key(key) = role { Some(*key) } else { None })
            .collect();
        let id = (0..key_count).fold(0, |id, key| id * 2 + i64::from(!present.contains(&key)));
        if with_ids.iter().any(|(_, known)| *known == id) {
            return Err(ScriptError::new("the same grouping set stands here twice")
                .at(span)
                .hint("leave one of them out"));
        }
        with_ids.push((present, id));
    }
    Ok(with_ids)
}

/// Each set must group by the window's start and end.
fn check_windowed(
    sets: &[Vec<Role>],
    windowing: &Windowing,
    span: Span,
) -> Result<(), ScriptError> {
    if matches!(windowing, Windowing::Group(_)) {
        return Ok(());
    }
    let lacks = |role: Role| sets.iter().any(|set| !set.contains(&role));
    match (lacks(Role::Start), lacks(Role::End)) {
        (false, false) => Ok(()),
        (true, true) => Err(unbounded(span)),
        (start_lacks, _) => Err(unbounded(span).hint(format!(
            "the window's other end is missing: add {} to GROUP BY",
            if start_lacks { "window_start" } else { "window_end" }
        ))),
    }
}

fn unbounded(span: Span) -> ScriptError {
    ScriptError::new("aggregates without a window would run over all of time, which is not supported yet").at(span).hint(
        "read FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) and GROUP BY window_start, window_end, …",
    )
}

fn distinct_unbounded(span: Span) -> ScriptError {
    ScriptError::new("SELECT DISTINCT without a window would remember all of time, which is not supported yet").at(span).hint(
        "select window_start and window_end of a window function too: the rows are then distinct within each window",
    )
}
