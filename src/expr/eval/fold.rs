//! Constant folding: what is the same in every row is computed once.

use chrono_tz::Tz;

use crate::expr::expression::{Expr, ExprKind, Value, is_clock};

use super::{EvalContext, Frame, compile, datum};

/// The same expression with its constant parts computed.
///
/// Nothing that fails is folded (it must fail at run time, on a row), nor anything that reads the clock.
pub fn fold(expr: Expr, time_zone: Tz) -> Expr {
    let Expr { kind, data_type, nullable } = expr;
    let fold_all =
        |args: Vec<Expr>| args.into_iter().map(|arg| fold(arg, time_zone)).collect::<Vec<_>>();
    let fold_box = |arg: Box<Expr>| Box::new(fold(*arg, time_zone));
    let kind = match kind {
        ExprKind::Column(_) | ExprKind::Literal(_) => return Expr { kind, data_type, nullable },
        ExprKind::Call(name, args) => ExprKind::Call(name, fold_all(args)),
        ExprKind::Native(function, args) => ExprKind::Native(function, fold_all(args)),
        ExprKind::Cast(input) => ExprKind::Cast(fold_box(input)),
        ExprKind::TryCast(input) => ExprKind::TryCast(fold_box(input)),
        ExprKind::Case(branches, otherwise) => ExprKind::Case(
            branches.into_iter().map(|(c, r)| (fold(c, time_zone), fold(r, time_zone))).collect(),
            fold_box(otherwise),
        ),
    };
    let expr = Expr { kind, data_type, nullable };
    match constant(&expr, time_zone) {
        Some(value) => Expr::literal(value, data_type),
        None => expr,
    }
}

fn constant(expr: &Expr, time_zone: Tz) -> Option<Value> {
    let literal = |expr: &Expr| matches!(expr.kind, ExprKind::Literal(_));
    let foldable = match &expr.kind {
        ExprKind::Call(name, args) => !is_clock(name, args.len()) && args.iter().all(literal),
        ExprKind::Cast(input) | ExprKind::TryCast(input) => literal(input),
        ExprKind::Case(branches, otherwise) => {
            literal(otherwise)
                && branches.iter().all(|(condition, result)| literal(condition) && literal(result))
        }
        ExprKind::Column(_) | ExprKind::Literal(_) | ExprKind::Native(..) => false,
    };
    if !foldable {
        return None;
    }
    let context = EvalContext { time_zone, now_ms: 0 };
    let column = compile(expr)
        .eval(&Frame { columns: &[], rows: 1, context: &context })
        .ok()?
        .into_column(1);
    Some(datum::value_of(&column, expr.data_type))
}
