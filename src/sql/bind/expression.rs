//! Syntax to typed expressions: names are resolved by the caller's [`Resolve`], calls typed by [`crate::expr`].

use super::Notes;
use crate::batch::DataType;
use crate::error::{ExprError, ScriptError, Span};
use crate::expr::{self, Expr, Value};
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
            let length = (bytes.len() as u32).max(1);
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
    expr::call(&name, args).map_err(|error| placed(error, span))
}

fn bind_case(
    operand: Option<&ast::Expr>,
    branches: &[(ast::Expr, ast::Expr)],
    otherwise: Option<&ast::Expr>,
    resolve: &mut dyn Resolve,
    notes: &mut Notes,
) -> Result<Expr, ScriptError> {
    let operand = operand.map(|operand| bind(operand, resolve, notes)).transpose()?;
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
    let length = (text.chars().count() as u32).max(1);
    Expr::literal(Value::String(text.to_string()), DataType::Char(length))
}

/// INT, BIGINT if too large, DECIMAL with a point, DOUBLE with an exponent.
fn number(digits: &str) -> Option<Expr> {
    if digits.contains(['e', 'E']) {
        let value: f64 = digits.parse().ok()?;
        return value.is_finite().then(|| Expr::literal(Value::Float(value), DataType::Double));
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.is_empty()
        && let Ok(value) = whole.parse::<i64>()
    {
        let data_type = if i32::try_from(value).is_ok() { DataType::Int } else { DataType::BigInt };
        return Some(Expr::literal(Value::Int(value), data_type));
    }
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let scale = fraction.len();
    let precision = significant.len().max(scale).max(1);
    if precision > 38 {
        return None;
    }
    let value = if significant.is_empty() { 0 } else { significant.parse::<i128>().ok()? };
    Some(Expr::literal(Value::Decimal(value), DataType::Decimal(precision as u8, scale as u8)))
}

fn too_large(digits: &str, span: Span) -> ScriptError {
    ScriptError::new(format!("the number {digits} fits no type"))
        .at(span)
        .hint("DECIMAL has 38 digits")
}
