//! GROUP BY and HAVING: the keys, the sets, and the SELECT list over them.

use super::aggregation::{NEEDS_COLUMNS, Shape, Windowing};
use super::expression::{bind, bind_condition};
use super::grouping::{Grouped, Role};
use super::query::{From, Output, Relation, output_name};
use super::script::Binder;
use super::{Notes, aggregate};
use crate::batch::DataType;
use crate::error::{ScriptError, Span};
use crate::sql::syntax::ast::{self, ExprKind, Group, Item, Select};

/// A SELECT with its GROUP BY multiplied out.
struct Grouping<'s> {
    select: &'s Select,
    sets: &'s [Vec<ast::Expr>],
    is_sets: bool,
    span: Span,
}

impl Binder<'_> {
    /// A SELECT with GROUP BY or aggregates.
    pub(crate) fn grouped(&mut self, select: &Select, from: From) -> Result<Relation, ScriptError> {
        let Some((groups, span)) = &select.group_by else { return Err(unbounded(select.span)) };
        let (sets, is_sets) = grouping_sets(groups)?;
        let grouping = Grouping { select, sets: &sets, is_sets, span: *span };
        let window_call = sets.iter().flatten().find_map(|expr| match &expr.kind {
            ExprKind::Call(call) if aggregate::is_group_window(&call.name.name) => {
                Some((call, expr.span))
            }
            _ => None,
        });
        if let Some((call, call_span)) = window_call {
            if is_sets {
                return Err(ScriptError::new(
                    "group windows and grouping sets do not go together, in Flink neither",
                )
                .at(call_span)
                .hint("use a window function: FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))"));
            }
            let relation = self.materialise(from)?;
            let spec = self.group_window(call, call_span, &relation.scope)?;
            return self.grouped_by(&grouping, relation, Windowing::Group(spec), Some(call));
        }
        let From { relation, pending } = from;
        if let Some(pending) = &pending {
            let direct = Windowing::Direct(pending.clone());
            match self.grouped_by(&grouping, relation.clone(), direct, None) {
                Err(error) if error.message == NEEDS_COLUMNS => {}
                other => return other,
            }
        }
        let relation = self.materialise(From { relation, pending })?;
        let Some(carried) = relation.window.clone() else { return Err(unbounded(*span)) };
        self.grouped_by(&grouping, relation, Windowing::Attached(carried), None)
    }

    fn grouped_by(
        &mut self,
        grouping: &Grouping<'_>,
        relation: Relation,
        windowing: Windowing,
        group_window: Option<&ast::Call>,
    ) -> Result<Relation, ScriptError> {
        let Grouping { select, span, .. } = *grouping;
        self.refuse_changes(&relation, span)?;
        let scope = relation.scope.clone();
        let filter = self.filter(select.filter.as_ref(), &scope)?;
        let mut grouped = Grouped::new(&scope, &windowing, std::mem::take(&mut self.notes));
        grouped.group_window = group_window;
        let selected = select_list(grouping, &windowing, &mut grouped);
        self.notes = std::mem::take(&mut grouped.notes);
        let (outputs, having) = selected?;
        self.aggregation(relation, grouped, Shape { windowing, filter, having, outputs, span })
    }
}

/// The SELECT list and HAVING over the keys.
fn select_list(
    grouping: &Grouping<'_>,
    windowing: &Windowing,
    grouped: &mut Grouped<'_>,
) -> Result<(Vec<Output>, Option<crate::expr::Expr>), ScriptError> {
    let bound_sets = keys(grouping.sets, grouped)?;
    check_windowed(&bound_sets, windowing, grouping.span)?;
    if grouping.is_sets {
        grouped.sets = Some(with_ids(&bound_sets, grouped.keys.len(), grouping.span)?);
    }
    let mut notes = Notes::default();
    let mut outputs = Vec::new();
    for item in &grouping.select.items {
        let (expr, alias) = match item {
            Item::Expr(expr, alias) => (expr, alias),
            Item::Star(span) => return Err(star(*span)),
            Item::QualifiedStar(table) => return Err(star(table.span)),
        };
        let bound = bind(expr, grouped, &mut notes)?;
        super::query::refuse_null(&bound, expr.span)?;
        let name = output_name(expr, alias.as_ref(), outputs.len());
        outputs.push(Output { expr: bound, name, attribute: grouped.attribute(expr) });
    }
    let having = match &grouping.select.having {
        Some(having) => Some(bind_condition(having, "HAVING", grouped, &mut notes)?),
        None => None,
    };
    grouped.notes.extend(notes);
    Ok((outputs, having))
}

fn star(span: Span) -> ScriptError {
    ScriptError::new("SELECT * cannot go with GROUP BY").at(span).hint("list the grouped columns")
}

/// Binds the grouping expressions; each set as the roles in it.
fn keys(sets: &[Vec<ast::Expr>], grouped: &mut Grouped<'_>) -> Result<Vec<Vec<Role>>, ScriptError> {
    let scope = grouped.scope;
    let mut bound_sets = Vec::with_capacity(sets.len());
    for set in sets {
        let mut roles = Vec::new();
        for expr in set {
            match &expr.kind {
                ExprKind::Call(call) if aggregate::is_group_window(&call.name.name) => {
                    if !grouped.group_window.is_some_and(|window| std::ptr::eq(window, call)) {
                        return Err(ScriptError::new("a query has one group window").at(expr.span));
                    }
                    continue;
                }
                ExprKind::Number(_) => {
                    return Err(ScriptError::new("a number in GROUP BY is no column: positions mean nothing there, as in Flink")
                            .at(expr.span)
                            .hint("write the column's name"));
                }
                _ => {}
            }
            let bound = bind(expr, &mut &*scope, &mut grouped.notes)?;
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

/// The keys of each set, and its id: a bit for each key, set where the set lacks it. A set that comes again
/// gets a higher id, so that its rows are groups of their own, as in Flink.
fn with_ids(
    sets: &[Vec<Role>],
    key_count: usize,
    span: Span,
) -> Result<Vec<(Vec<usize>, i64)>, ScriptError> {
    if key_count > 48 {
        return Err(ScriptError::new("grouping sets have at most 48 columns").at(span));
    }
    let mut with_ids: Vec<(Vec<usize>, i64)> = Vec::with_capacity(sets.len());
    for set in sets {
        let keys = set.iter().filter_map(|role| match role {
            Role::Key(key) => Some(*key),
            _ => None,
        });
        let present: Vec<usize> = keys.collect();
        let mut id = (0..key_count).fold(0, |id, key| id * 2 + i64::from(!present.contains(&key)));
        while with_ids.iter().any(|(_, known)| *known == id) {
            id += 1 << key_count;
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
