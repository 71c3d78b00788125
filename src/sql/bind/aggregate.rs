//! Which calls are aggregates or group windows, and where they may not stand.

use crate::error::{ScriptError, Span};
use crate::sql::program::Given;
use crate::sql::syntax::ast::{self, Call, ExprKind};

/// The aggregate functions of [`crate::agg`].
const AGGREGATES: [&str; 14] = [
    "COUNT",
    "SUM",
    "AVG",
    "MIN",
    "MAX",
    "FIRST_VALUE",
    "LAST_VALUE",
    "LISTAGG",
    "STDDEV_POP",
    "STDDEV_SAMP",
    "STDDEV",
    "VAR_POP",
    "VAR_SAMP",
    "VARIANCE",
];

/// Aggregates that Flink has and we do not.
const REFUSED: [&str; 13] = [
    "APPROX_COUNT_DISTINCT",
    "COLLECT",
    "ARRAY_AGG",
    "JSON_ARRAYAGG",
    "JSON_OBJECTAGG",
    "RANK",
    "DENSE_RANK",
    "ROW_NUMBER",
    "LEAD",
    "LAG",
    "NTILE",
    "CUME_DIST",
    "PERCENTILE",
];

/// Whether `name` is that of an aggregate, or has to do with windows and grouping.
pub(crate) fn is_own_name(name: &str) -> bool {
    let is_it = |known: &&str| known.eq_ignore_ascii_case(name);
    AGGREGATES.iter().chain(&REFUSED).any(is_it)
        || is_group_window(name)
        || is_grouping(name)
        || auxiliary(name).is_some()
        || name.eq_ignore_ascii_case("CUMULATE")
}

/// Whether `call` is an aggregate.
pub(crate) fn is_aggregate(call: &Call) -> bool {
    matches!(call.given, Some(Given::Aggregate(_)))
        || AGGREGATES.iter().any(|name| call.name.name.eq_ignore_ascii_case(name))
}

/// The error of an aggregate that we lack.
pub(crate) fn refused(call: &Call) -> Option<ScriptError> {
    let name = REFUSED.iter().find(|name| call.name.name.eq_ignore_ascii_case(name))?;
    Some(ScriptError::new(format!("{name} is not supported yet")).at(call.name.span).hint(match *name {
        "APPROX_COUNT_DISTINCT" => "COUNT(DISTINCT x) is exact, and cheap here",
        "COLLECT" | "ARRAY_AGG" | "JSON_ARRAYAGG" => "LISTAGG(x, ',') gathers strings",
        _ => "the aggregates are COUNT, SUM, AVG, MIN, MAX, FIRST_VALUE, LAST_VALUE, LISTAGG, STDDEV_*, VAR_*",
    }))
}

/// Fails if `call` makes sense only over groups: this place sees single rows.
pub(crate) fn refuse_outside(call: &Call, span: Span) -> Result<(), ScriptError> {
    let name = call.name.name.to_ascii_uppercase();
    if let Some(error) = refused(call) {
        return Err(error);
    }
    if is_aggregate(call) {
        return Err(ScriptError::new(format!("the aggregate {name} cannot stand here")).at(span).hint(
            "aggregates stand in the SELECT list and HAVING of a GROUP BY, not in WHERE, in GROUP BY or within another aggregate",
        ));
    }
    if is_group_window(&name) || auxiliary(&name).is_some() || is_grouping(&name) {
        return Err(ScriptError::new(format!("{name} cannot stand here"))
            .at(span)
            .hint("it belongs to a GROUP BY; window_start and window_end of a window function can stand anywhere"));
    }
    Ok(())
}

/// TUMBLE, HOP, SESSION in GROUP BY.
pub(crate) fn is_group_window(name: &str) -> bool {
    ["TUMBLE", "HOP", "SESSION"].iter().any(|window| name.eq_ignore_ascii_case(window))
}

/// GROUPING, GROUPING_ID.
pub(crate) fn is_grouping(name: &str) -> bool {
    name.eq_ignore_ascii_case("GROUPING") || name.eq_ignore_ascii_case("GROUPING_ID")
}

/// What an auxiliary function of a group window shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Auxiliary {
    Start,
    End,
    Rowtime,
    Proctime,
}

/// The window's name and what is shown, of `TUMBLE_START` and its kin.
pub(crate) fn auxiliary(name: &str) -> Option<(&'static str, Auxiliary)> {
    let upper = name.to_ascii_uppercase();
    let (window, shown) = upper.split_once('_')?;
    let window = ["TUMBLE", "HOP", "SESSION"].into_iter().find(|known| *known == window)?;
    let shown = match shown {
        "START" => Auxiliary::Start,
        "END" => Auxiliary::End,
        "ROWTIME" => Auxiliary::Rowtime,
        "PROCTIME" => Auxiliary::Proctime,
        _ => return None,
    };
    Some((window, shown))
}

/// Whether an aggregate stands in `expr`.
pub(crate) fn contains_aggregate(expr: &ast::Expr) -> bool {
    if let ExprKind::Call(call) = &expr.kind
        && (is_aggregate(call)
            || is_grouping(&call.name.name)
            || auxiliary(&call.name.name).is_some())
    {
        return true;
    }
    expr.kind.children().into_iter().any(contains_aggregate)
}
