//! What a grouped query may say: its keys, its aggregates, its window, and nothing that is not one of them.
//!
//! While the SELECT list is bound, the aggregation's output is not laid out yet, so columns of it have
//! provisional numbers: keys from 0, aggregates from [`AGGREGATE_BASE`], the window's columns from
//! [`WINDOW_BASE`]. [`Grouped::settle`] gives them their final ones.

use super::aggregate::{
    Auxiliary, auxiliary, contains_aggregate, is_aggregate, is_group_window, is_grouping, refused,
};
use super::aggregation::Windowing;
use super::expression::{Resolve, bind, bind_condition, placed};
use super::scope::Scope;
use super::{Notes, given};
use crate::agg::{self, AggregateFunction};
use crate::batch::{DataType, TimeAttribute};
use crate::error::{ScriptError, Span};
use crate::expr::{self, Expr, ExprKind as BoundKind, Value};
use crate::plan::window_fields;
use crate::sql::program::Given;
use crate::sql::syntax::ast::{self, Call, ExprKind};
use crate::window::TimeDomain;

const AGGREGATE_BASE: usize = 1 << 24;
const WINDOW_BASE: usize = 2 << 24;

/// What a grouping expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `window_start`.
    Start,
    /// `window_end`.
    End,
    /// `window_time`.
    Time,
    /// The key of this index.
    Key(usize),
}

/// The columns of the input that show its window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roles {
    pub(crate) starts: Vec<usize>,
    pub(crate) ends: Vec<usize>,
    pub(crate) times: Vec<usize>,
}

/// One aggregate over the input's columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    pub(crate) function: AggregateFunction,
    pub(crate) args: Vec<Expr>,
    pub(crate) distinct: bool,
    pub(crate) filter: Option<Expr>,
    pub(crate) separator: String,
    pub(crate) arg_type: DataType,
    pub(crate) data_type: DataType,
}

/// A GROUP BY while its SELECT list is bound.
pub(crate) struct Grouped<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) roles: Roles,
    pub(crate) keys: Vec<Expr>,
    /// With grouping sets: the keys of each, and its grouping id.
    pub(crate) sets: Option<Vec<(Vec<usize>, i64)>>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// The group window, as written.
    pub(crate) group_window: Option<&'a Call>,
    pub(crate) domain: TimeDomain,
    pub(crate) time_type: DataType,
    pub(crate) notes: Notes,
}

impl<'a> Grouped<'a> {
    /// Nothing grouped yet, over the columns of `scope`.
    pub(crate) fn new(scope: &'a Scope, windowing: &Windowing, notes: Notes) -> Self {
        Self {
            scope,
            roles: windowing.roles(),
            keys: Vec::new(),
            sets: None,
            aggregates: Vec::new(),
            group_window: None,
            domain: windowing.spec().domain,
            time_type: windowing.time_type(scope),
            notes,
        }
    }
}

impl Grouped<'_> {
    /// What `bound`, an expression over the input, is among the grouping expressions.
    pub(crate) fn role(&self, bound: &Expr) -> Option<Role> {
        if let Some(column) = bound.as_column() {
            for (columns, role) in [
                (&self.roles.starts, Role::Start),
                (&self.roles.ends, Role::End),
                (&self.roles.times, Role::Time),
            ] {
                if columns.contains(&column) {
                    return Some(role);
                }
            }
        }
        self.keys.iter().position(|key| key == bound).map(Role::Key)
    }

    /// The output column of a role.
    pub(crate) fn role_column(&self, role: Role) -> Expr {
        let window = window_fields(self.time_type, self.domain);
        let of_window = |index: usize| {
            Expr::column(WINDOW_BASE + index, window[index].data_type, window[index].nullable)
        };
        match role {
            Role::Start => of_window(0),
            Role::End => of_window(1),
            Role::Time => of_window(2),
            Role::Key(index) => {
                let nulled = self
                    .sets
                    .as_ref()
                    .is_some_and(|sets| sets.iter().any(|(keys, _)| !keys.contains(&index)));
                Expr::column(index, self.keys[index].data_type, self.keys[index].nullable || nulled)
            }
        }
    }

    /// The time attribute of a column of the SELECT list.
    pub(crate) fn attribute(&self, expr: &ast::Expr) -> Option<TimeAttribute> {
        let of_window = match self.domain {
            TimeDomain::Event => TimeAttribute::Rowtime,
            TimeDomain::Processing => TimeAttribute::Proctime,
        };
        match &expr.kind {
            ExprKind::Column(name) => {
                let column = self.scope.find(name).ok()?;
                self.roles.times.contains(&column).then_some(of_window)
            }
            ExprKind::Call(call) => match auxiliary(&call.name.name)?.1 {
                Auxiliary::Rowtime => Some(TimeAttribute::Rowtime),
                Auxiliary::Proctime => Some(TimeAttribute::Proctime),
                _ => None,
            },
            _ => None,
        }
    }

    /// `expr` with the final numbers: the keys (and, with grouping sets, the grouping id), the aggregates, the window's columns.
    pub(crate) fn settle(&self, expr: &Expr) -> Expr {
        let key_count = self.keys.len() + usize::from(self.sets.is_some());
        let aggregate_count = self.aggregates.len();
        map_numbers(expr, &|column| match column {
            column if column >= WINDOW_BASE => key_count + aggregate_count + column - WINDOW_BASE,
            column if column >= AGGREGATE_BASE => key_count + column - AGGREGATE_BASE,
            column => column,
        })
    }

    /// Which aggregate `expr` is, if it is just that.
    pub(crate) fn as_aggregate(expr: &Expr) -> Option<usize> {
        expr.as_column()
            .filter(|column| (AGGREGATE_BASE..WINDOW_BASE).contains(column))
            .map(|column| column - AGGREGATE_BASE)
    }

    fn aggregate(&mut self, call: &Call, span: Span) -> Result<Expr, ScriptError> {
        if let Some(Given::Aggregate(of)) = &call.given {
            let (aggregate, nullable) =
                given::aggregate(self.scope, of, call, span, &mut self.notes)?;
            return Ok(self.noted(aggregate, nullable));
        }
        let name = call.name.name.to_ascii_uppercase();
        let mut args = Vec::new();
        let scope = self.scope;
        if call.star && name != "COUNT" {
            return Err(ScriptError::new(format!("{name} takes no *"))
                .at(span)
                .hint("only COUNT(*) does"));
        }
        if !call.star && call.args.is_empty() {
            return Err(ScriptError::new(format!("{name} lacks its argument")).at(span));
        }
        let mut separator = String::new();
        let mut given = call.args.as_slice();
        if name == "LISTAGG" {
            separator = ",".into();
            if let [value, text] = given {
                separator = match &text.kind {
                    ExprKind::String(text) => text.clone(),
                    _ => {
                        return Err(ScriptError::new("LISTAGG's separator is a string literal")
                            .at(text.span));
                    }
                };
                given = std::slice::from_ref(value);
            }
        }
        for arg in given {
            args.push(bind(arg, &mut &*scope, &mut self.notes)?);
        }
        let filter = match &call.filter {
            Some(filter) => Some(bind_condition(filter, "FILTER", &mut &*scope, &mut self.notes)?),
            None => None,
        };
        let counts_rows = name == "COUNT" && !call.distinct && args.iter().all(|arg| !arg.nullable);
        if counts_rows {
            args.clear();
        }
        let types: Vec<DataType> = args.iter().map(|arg| arg.data_type).collect();
        let (function, data_type) =
            agg::bind(&name, &types).map_err(|error| placed(error, span))?;
        let arg_type = if name == "COUNT" { DataType::BigInt } else { types[0] };
        if args.len() > 1 {
            self.notes.flink_refuses(
                ScriptError::new("Flink counts one column, not several")
                    .at(span)
                    .hint("COUNT(DISTINCT a || '|' || b) counts pairs of strings there too"),
            );
        }
        // The least and the greatest of distinct values are those of all.
        let distinct =
            call.distinct && !matches!(function, AggregateFunction::Min | AggregateFunction::Max);
        let aggregate =
            Aggregate { function, args, distinct, filter, separator, arg_type, data_type };
        Ok(self.noted(aggregate, name != "COUNT"))
    }

    /// The provisional column of an aggregate, which may be there already.
    fn noted(&mut self, aggregate: Aggregate, nullable: bool) -> Expr {
        let data_type = aggregate.data_type;
        let known = self.aggregates.iter().position(|known| *known == aggregate);
        let index = known.unwrap_or_else(|| {
            self.aggregates.push(aggregate);
            self.aggregates.len() - 1
        });
        Expr::column(AGGREGATE_BASE + index, data_type, nullable)
    }

    /// GROUPING(a) and GROUPING_ID(a, b): a bit for each argument, set where the row's set lacks it.
    fn grouping(&mut self, call: &Call, span: Span) -> Result<Expr, ScriptError> {
        let mut keys = Vec::new();
        if call.star || call.args.is_empty() || call.args.len() > 62 {
            return Err(
                ScriptError::new(format!("{} takes grouping columns", call.name.name)).at(span)
            );
        }
        for arg in &call.args {
            let bound = bind(arg, &mut &*self.scope, &mut self.notes)?;
            keys.push(self.role(&bound).ok_or_else(|| not_grouped(arg))?);
        }
        let id = |present: &[usize]| -> i64 {
            keys.iter().fold(0, |id, role| {
                let absent = matches!(role, Role::Key(key) if !present.contains(key));
                id * 2 + i64::from(absent)
            })
        };
        let literal = |value: i64| Expr::literal(Value::Int(value), DataType::BigInt);
        let Some(sets) = &self.sets else { return Ok(literal(0)) };
        let set_id = Expr::column(self.keys.len(), DataType::BigInt, false);
        let mut branches = Vec::new();
        for (present, grouping_id) in sets {
            let condition = expr::call("=", vec![set_id.clone(), literal(*grouping_id)])
                .map_err(|error| placed(error, span))?;
            branches.push((condition, literal(id(present))));
        }
        let otherwise = branches.pop().map(|(_, value)| value);
        if branches.is_empty() {
            return Ok(otherwise.unwrap_or_else(|| literal(0)));
        }
        expr::case(branches, otherwise).map_err(|error| placed(error, span))
    }

    /// TUMBLE_START and its kin: the group window's arguments, again.
    fn auxiliary(&mut self, call: &Call, span: Span) -> Result<Option<Expr>, ScriptError> {
        let Some((window, shown)) = auxiliary(&call.name.name) else { return Ok(None) };
        let name = call.name.name.to_ascii_uppercase();
        let Some(group_window) = self.group_window else {
            return Err(ScriptError::new(format!("{name} needs a group window")).at(span).hint(format!(
                "write GROUP BY {window}(ts, …) with the same arguments, or select window_start and window_end of a window function"
            )));
        };
        let same = group_window.name.name.eq_ignore_ascii_case(window)
            && group_window.args.len() == call.args.len()
            && group_window
                .args
                .iter()
                .zip(&call.args)
                .all(|(a, b)| same_argument(a, b, self.scope));
        if !same {
            return Err(ScriptError::new(format!(
                "{name} has other arguments than the window in GROUP BY"
            ))
            .at(span));
        }
        let column = match shown {
            Auxiliary::Start => self.role_column(Role::Start),
            Auxiliary::End => self.role_column(Role::End),
            Auxiliary::Rowtime if self.domain == TimeDomain::Processing => {
                return Err(ScriptError::new("a processing-time window has no rowtime")
                    .at(span)
                    .hint(format!("write {window}_PROCTIME")));
            }
            Auxiliary::Rowtime => self.role_column(Role::Time),
            Auxiliary::Proctime if self.domain == TimeDomain::Event => {
                return Err(ScriptError::new("an event-time window has no processing time")
                    .at(span)
                    .hint(format!("write {window}_ROWTIME")));
            }
            Auxiliary::Proctime => self.role_column(Role::Time),
        };
        Ok(Some(column))
    }
}

impl Resolve for Grouped<'_> {
    fn resolve(&mut self, expr: &ast::Expr) -> Result<Option<Expr>, ScriptError> {
        if let ExprKind::Call(call) = &expr.kind {
            if let Some(error) = refused(call) {
                return Err(error);
            }
            if is_aggregate(call) {
                return self.aggregate(call, expr.span).map(Some);
            }
            if is_grouping(&call.name.name) {
                return self.grouping(call, expr.span).map(Some);
            }
            if let Some(column) = self.auxiliary(call, expr.span)? {
                return Ok(Some(column));
            }
            if is_group_window(&call.name.name) {
                return Err(ScriptError::new("a group window is no value")
                    .at(expr.span)
                    .hint("select TUMBLE_START(…), TUMBLE_END(…) or TUMBLE_ROWTIME(…) with the same arguments"));
            }
        }
        if contains_aggregate(expr) || matches!(expr.kind, ExprKind::Tuple(_) | ExprKind::Unit(_)) {
            return Ok(None);
        }
        if expr.kind.children().is_empty() && !matches!(expr.kind, ExprKind::Column(_)) {
            return Ok(None);
        }
        let bound = bind(expr, &mut &*self.scope, &mut self.notes)?;
        match self.role(&bound) {
            Some(role) => Ok(Some(self.role_column(role))),
            None if matches!(expr.kind, ExprKind::Column(_)) => Err(not_grouped(expr)),
            None => Ok(None),
        }
    }
}

fn not_grouped(expr: &ast::Expr) -> ScriptError {
    let what = match &expr.kind {
        ExprKind::Column(name) => format!("the column '{}'", name.text()),
        _ => "this expression".into(),
    };
    ScriptError::new(format!("{what} is neither grouped nor aggregated"))
        .at(expr.span)
        .hint("add it to GROUP BY, or wrap it in an aggregate such as MAX(…)")
}

/// Whether two arguments of a group window say the same.
fn same_argument(a: &ast::Expr, b: &ast::Expr, scope: &Scope) -> bool {
    match (&a.kind, &b.kind) {
        (ExprKind::Column(a), ExprKind::Column(b)) => match (scope.find(a), scope.find(b)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        },
        (
            ExprKind::Interval { value: a, data_type: x, .. },
            ExprKind::Interval { value: b, data_type: y, .. },
        ) => a == b && x == y,
        _ => false,
    }
}

/// `expr` with every column's number mapped; types stay.
pub(crate) fn map_numbers(expr: &Expr, number: &impl Fn(usize) -> usize) -> Expr {
    // `map_columns` hands out indices only, so the types are gathered first.
    let mut types = std::collections::BTreeMap::new();
    gather(expr, &mut types);
    expr.map_columns(&|column| {
        let (data_type, nullable) = types[&column];
        Expr::column(number(column), data_type, nullable)
    })
}

fn gather(expr: &Expr, types: &mut std::collections::BTreeMap<usize, (DataType, bool)>) {
    match &expr.kind {
        BoundKind::Column(column) => drop(types.insert(*column, (expr.data_type, expr.nullable))),
        BoundKind::Literal(_) => {}
        BoundKind::Call(_, args) | BoundKind::Native(_, args) => {
            args.iter().for_each(|arg| gather(arg, types));
        }
        BoundKind::Cast(input) | BoundKind::TryCast(input) => gather(input, types),
        BoundKind::Case(branches, otherwise) => {
            for (condition, result) in branches {
                gather(condition, types);
                gather(result, types);
            }
            gather(otherwise, types);
        }
    }
}
