//! Syntax to typed expressions: names are resolved by the caller's [`Resolve`], calls typed by [`crate::expr`].

use super::{Notes, given};
use crate::batch::DataType;
use crate::error::{ExprError, ScriptError, Span};
use crate::expr::{self, Expr, ExprKind as BoundKind, Value};
use crate::sql::program::Given;
use crate::sql::syntax::ast::{self, Call, ExprKind};

/// Gives meaning to what depends on the place: columns, aggregates, grouping keys.
pub(crate) trait Resolve {
    /// The meaning of `expr`; `None` where it is what its operands make of it.
    fn resolve(&mut self, expr: &ast::Expr) -> Result<Option<Expr>, ScriptError>;
}

/// Places an error that the expression layer found.
pub(crate) fn placed(error: ExprError, span: Span) -> ScriptError {
    ScriptError { message: error.message, span: Some(span), hint: error.hint }
}

/// The typed expression that `expr` means.
pub(crate) fn bind(
    expr: &ast::Expr,
    resolve: &mut dyn Resolve,
    notes: &mut Notes,
) -> Result<Expr, ScriptError> {
    if let Some(bound) = resolve.resolve(expr)? {
        return Ok(bound);
    }
    let span = expr.span;
    match &expr.kind {
        ExprKind::Column(name) => {
            Err(ScriptError::new(format!("'{}' has no meaning here", name.text())).at(span))
        }
        ExprKind::Null => Ok(Expr::literal(Value::Null, DataType::Null)),
        ExprKind::Boolean(value) => Ok(Expr::literal(Value::Boolean(*value), DataType::Boolean)),
        ExprKind::Number(digits) => number(digits).ok_or_else(|| too_large(digits, span)),
        ExprKind::String(text) => Ok(string(text)),
        ExprKind::Bytes(bytes) => {
            let length = bytes.len() as u32;
            Ok(Expr::literal(Value::Bytes(bytes.clone()), DataType::Binary(length)))
        }
        ExprKind::Typed(kind, text) => {
            super::literal::time(*kind, text).map_err(|error| error.at(span))
        }
        ExprKind::Interval { value, data_type, too_long } => {
            if let Some(wide) = too_long {
                notes.flink_refuses(
                    ScriptError::new("an interval's value has more digits than its precision, which is 2 if not written")
                        .at(span)
                        .hint(format!("write {wide}")),
                );
            }
            Ok(Expr::literal(Value::Int(*value), *data_type))
        }
        ExprKind::Operator(name, args) => {
            let args = bind_all(args, resolve, notes)?;
            for arg in &args {
                check_size(arg, 1, span)?;
            }
            // BETWEEN and IN repeat their first operand.
            if let [operand, _, _, ..] = args.as_slice()
                && operand.as_column().is_none()
            {
                check_size(operand, args.len(), span)?;
            }
            expr::call(name, args).map_err(|error| placed(error, span))
        }
        ExprKind::Call(call) => bind_call(call, span, resolve, notes),
        ExprKind::Cast { input, target, try_cast } => {
            let input = bind(input, resolve, notes)?;
            let cast =
                if *try_cast { expr::try_cast(input, *target) } else { expr::cast(input, *target) };
            cast.map_err(|error| placed(error, span))
        }
        ExprKind::Case { operand, branches, otherwise } => {
            bind_case(operand.as_deref(), branches, otherwise.as_deref(), resolve, notes)
                .map_err(|error| if error.span.is_none() { error.at(span) } else { error })
        }
        ExprKind::Tuple(_) => {
            Err(ScriptError::new("a list in parentheses has no meaning here").at(span))
        }
        ExprKind::Unit(unit) => Ok(string(unit)),
    }
}

/// Each of `exprs`.
pub(crate) fn bind_all(
    exprs: &[ast::Expr],
    resolve: &mut dyn Resolve,
    notes: &mut Notes,
) -> Result<Vec<Expr>, ScriptError> {
    exprs.iter().map(|expr| bind(expr, resolve, notes)).collect()
}

/// A condition: BOOLEAN, or NULL.
pub(crate) fn bind_condition(
    expr: &ast::Expr,
    what: &str,
    resolve: &mut dyn Resolve,
    notes: &mut Notes,
) -> Result<Expr, ScriptError> {
    let bound = bind(expr, resolve, notes)?;
    match bound.data_type {
        DataType::Boolean | DataType::Null => Ok(bound),
        other => Err(ScriptError::new(format!(
            "{what} needs a condition, and this is a value of type {other}"
        ))
        .at(expr.span)),
    }
}

fn bind_call(
    call: &Call,
    span: Span,
    resolve: &mut dyn Resolve,
    notes: &mut Notes,
) -> Result<Expr, ScriptError> {
    let name = call.name.name.to_ascii_uppercase();
    let refused = if call.star {
        Some("takes no *")
    } else if call.distinct {
        Some("is no aggregate, so it takes no DISTINCT")
    } else if call.filter.is_some() {
        Some("is no aggregate, so it takes no FILTER")
    } else {
        None
    };
    if let Some(refused) = refused {
        return Err(ScriptError::new(format!("{name} {refused}")).at(span));
    }
    let args = bind_all(&call.args, resolve, notes)?;
    for arg in &args {
        check_size(arg, args.len(), span)?;
    }
    match &call.given {
        Some(Given::Function(function)) => {
            let args = given::arguments(call, args, &function.arguments, span)?;
            Ok(function.call(args))
        }
        _ => expr::call(&name, args).map_err(|error| placed(error, span)),
    }
}

fn bind_case(
    operand: Option<&ast::Expr>,
    branches: &[(ast::Expr, ast::Expr)],
    otherwise: Option<&ast::Expr>,
    resolve: &mut dyn Resolve,
    notes: &mut Notes,
) -> Result<Expr, ScriptError> {
    let operand = operand.map(|operand| bind(operand, resolve, notes)).transpose()?;
    if let Some(operand) = operand.as_ref().filter(|operand| operand.as_column().is_none()) {
        check_size(operand, branches.len(), branches[0].0.span)?;
    }
    let mut bound = Vec::with_capacity(branches.len());
    for (when, then) in branches {
        let condition = match &operand {
            Some(operand) => {
                let when_bound = bind(when, resolve, notes)?;
                expr::call("=", vec![operand.clone(), when_bound])
                    .map_err(|error| placed(error, when.span))?
            }
            None => bind_condition(when, "WHEN", resolve, notes)?,
        };
        bound.push((condition, bind(then, resolve, notes)?));
    }
    let otherwise = otherwise.map(|otherwise| bind(otherwise, resolve, notes)).transpose()?;
    expr::case(bound, otherwise).map_err(|error| ScriptError {
        message: error.message,
        span: None,
        hint: error.hint,
    })
}

/// A string literal: CHAR of its length, as in Calcite.
pub(crate) fn string(text: &str) -> Expr {
    let length = text.chars().count() as u32;
    Expr::literal(Value::String(text.to_string()), DataType::Char(length))
}

/// INT, BIGINT if too large, DECIMAL of its digits with a point, DOUBLE with an exponent.
fn number(digits: &str) -> Option<Expr> {
    if digits.contains(['e', 'E']) {
        let value: f64 = digits.parse().ok()?;
        return value.is_finite().then(|| Expr::literal(Value::Float(value), DataType::Double));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let value: i64 = format!("{whole}{fraction}").parse().ok()?;
    if fraction.is_empty() {
        let is_int = i32::try_from(value).is_ok();
        let data_type = if is_int { DataType::Int } else { DataType::BigInt };
        return Some(Expr::literal(Value::Int(value), data_type));
    }
    // Leading zeros count, as in Calcite: 0.5 is DECIMAL(2, 1), and .5 is DECIMAL(1, 1).
    let precision = whole.trim_start_matches('-').len() + fraction.len();
    if precision > 38 {
        return None;
    }
    let data_type = DataType::Decimal(precision as u8, fraction.len() as u8);
    Some(Expr::literal(Value::Decimal(i128::from(value)), data_type))
}

fn too_large(digits: &str, span: Span) -> ScriptError {
    ScriptError::new(format!("the number {digits} is out of range, as in Flink"))
        .at(span)
        .hint("write CAST('…' AS DECIMAL(38, 0)) for a number of more than 18 digits")
}

/// How large a typed expression may grow: BETWEEN, IN and CASE repeat their operand.
const NODES_MAX: usize = 20_000;

/// Counts the nodes of `expr`, up to `limit`.
fn count_nodes(expr: &Expr, limit: usize) -> usize {
    if limit == 0 {
        return 0;
    }
    let children: Vec<&Expr> = match &expr.kind {
        BoundKind::Column(_) | BoundKind::Literal(_) => return 1,
        BoundKind::Call(_, args) | BoundKind::Native(_, args) => args.iter().collect(),
        BoundKind::Cast(input) | BoundKind::TryCast(input) => vec![input],
        BoundKind::Case(branches, otherwise) => {
            branches.iter().flat_map(|(when, then)| [when, then]).chain([&**otherwise]).collect()
        }
    };
    let mut count = 1;
    for child in children {
        count += count_nodes(child, limit.saturating_sub(count));
    }
    count
}

/// Fails before `repeats` copies of `operand` would grow beyond measure.
fn check_size(operand: &Expr, repeats: usize, span: Span) -> Result<(), ScriptError> {
    if count_nodes(operand, NODES_MAX).saturating_mul(repeats.max(1)) < NODES_MAX {
        return Ok(());
    }
    Err(ScriptError::new("this expression is too large")
        .at(span)
        .hint("compute a part of it in a subquery's column"))
}
