//! Builds typed expressions: resolves names, inserts coercions, settles result types as Flink does.
//!
//! Every public function here returns a tree that the evaluator runs without looking at types again:
//! arguments are already of the types that the kernel of the function expects.

mod functions;
mod operators;
mod times;

pub use functions::is_function;

use crate::batch::DataType;
use crate::error::ExprError;

use super::expression::{Expr, ExprKind, Value};
use super::types::{castable, common_type, implicitly_castable};

/// A call of the function or operator `name` (any case).
///
/// Operators go by their SQL spelling (`+`, `AND`, `IS NULL`, `NOT LIKE`, `BETWEEN`, `IN`, `||`); unary
/// minus is `NEGATE`. `TRIM BOTH`, `TRIM LEADING` and `TRIM TRAILING` take (characters, string),
/// `EXTRACT` (unit, value), `FLOOR TO` and `CEIL TO` (value, unit), `TIMESTAMPDIFF` and `TIMESTAMPADD`
/// the unit first; units are string literals.
///
/// # Errors
///
/// An unknown name, or arguments that Flink refuses.
pub fn call(name: &str, args: Vec<Expr>) -> Result<Expr, ExprError> {
    let name = name.to_ascii_uppercase();
    let args = match operators::bind(&name, args)? {
        Ok(bound) => return Ok(bound),
        Err(args) => args,
    };
    let args = match times::bind(&name, args)? {
        Ok(bound) => return Ok(bound),
        Err(args) => args,
    };
    functions::bind(&name, args)
}

/// What a group of functions answers: the bound call, or the arguments back if the name is not theirs.
type Bound = Result<Result<Expr, Vec<Expr>>, ExprError>;

/// CAST: a value that does not fit fails its row, or is NULL where Flink says so.
///
/// # Errors
///
/// If Flink has no such cast.
pub fn cast(input: Expr, target: DataType) -> Result<Expr, ExprError> {
    check_cast(&input, target)?;
    Ok(coerce(input, target))
}

/// TRY_CAST: a value that does not fit is NULL.
///
/// # Errors
///
/// If Flink has no such cast.
pub fn try_cast(input: Expr, target: DataType) -> Result<Expr, ExprError> {
    check_cast(&input, target)?;
    if input.data_type == target {
        return Ok(input);
    }
    Ok(Expr { kind: ExprKind::TryCast(Box::new(input)), data_type: target, nullable: true })
}

fn check_cast(input: &Expr, target: DataType) -> Result<(), ExprError> {
    if castable(input.data_type, target) {
        return Ok(());
    }
    let from = input.data_type;
    let hint = match (from, target) {
        (from, to) if from.is_numeric() && to.is_timestamp() => Some(
            "write TO_TIMESTAMP_LTZ(number, 0) for seconds or TO_TIMESTAMP_LTZ(number, 3) for milliseconds",
        ),
        (from, to) if from.is_timestamp() && to.is_numeric() => {
            Some("write UNIX_TIMESTAMP(CAST(t AS STRING)), or EXTRACT a field of it")
        }
        _ => None,
    };
    Err(ExprError {
        message: format!("{from} cannot be cast to {target}"),
        hint: hint.map(Into::into),
    })
}

/// The cast that INSERT applies by itself to fit a column of the sink.
///
/// # Errors
///
/// If Flink wants an explicit CAST there.
pub fn implicit_sink_cast(input: Expr, target: DataType) -> Result<Expr, ExprError> {
    if !implicitly_castable(input.data_type, target) {
        return Err(ExprError {
            message: format!("{} does not fit a column of type {target}", input.data_type),
            hint: Some(format!("write CAST(… AS {target})")),
        });
    }
    if input.data_type.is_string() && target.is_string()
        || input.data_type.is_binary() && target.is_binary()
    {
        // Sinks do not enforce lengths.
        return Ok(Expr { data_type: target, ..input });
    }
    Ok(coerce(input, target))
}

/// Searched CASE; without ELSE it ends in NULL.
///
/// # Errors
///
/// If a condition is no BOOLEAN or the results have no common type.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Result<Expr, ExprError> {
    let otherwise = otherwise.unwrap_or_else(|| Expr::literal(Value::Null, DataType::Null));
    let types: Vec<DataType> =
        branches.iter().map(|(_, result)| result.data_type).chain([otherwise.data_type]).collect();
    let data_type = common_or_error("CASE", &types)?;
    let nullable = otherwise.nullable || branches.iter().any(|(_, result)| result.nullable);
    let branches = branches
        .into_iter()
        .map(|(condition, result)| Ok((boolean("CASE", condition)?, coerce(result, data_type))))
        .collect::<Result<Vec<_>, ExprError>>()?;
    let otherwise = Box::new(coerce(otherwise, data_type));
    Ok(Expr { kind: ExprKind::Case(branches, otherwise), data_type, nullable })
}

fn common_or_error(name: &str, types: &[DataType]) -> Result<DataType, ExprError> {
    common_type(types).ok_or_else(|| ExprError {
        message: format!("{name} mixes {}", list(types)),
        hint: Some("CAST them to one type".into()),
    })
}

fn list(types: &[DataType]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The argument as a BOOLEAN.
fn boolean(name: &str, arg: Expr) -> Result<Expr, ExprError> {
    match arg.data_type {
        DataType::Boolean | DataType::Null => Ok(coerce(arg, DataType::Boolean)),
        other => Err(ExprError::new(format!("{name} wants a BOOLEAN, not {other}"))),
    }
}

/// A cast that is known to exist. Literals of simple types are converted at once.
fn coerce(input: Expr, target: DataType) -> Expr {
    if input.data_type == target {
        return input;
    }
    let converted = match &input.kind {
        ExprKind::Literal(Value::Null) => Some(Value::Null),
        ExprKind::Literal(Value::Int(value)) if input.data_type.is_integer() => match target {
            DataType::BigInt => Some(Value::Int(*value)),
            DataType::Int => i32::try_from(*value).ok().map(|_| Value::Int(*value)),
            DataType::Double => Some(Value::Float(*value as f64)),
            _ => None,
        },
        ExprKind::Literal(Value::String(value)) => match target {
            DataType::VarChar(length) if value.chars().count() <= length as usize => {
                Some(Value::String(value.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    match converted {
        Some(value) => Expr::literal(value, target),
        None => {
            let nullable = input.nullable || cast_may_be_null(input.data_type, target);
            Expr { kind: ExprKind::Cast(Box::new(input)), data_type: target, nullable }
        }
    }
}

/// Whether CAST answers NULL for some values that are not.
fn cast_may_be_null(from: DataType, to: DataType) -> bool {
    matches!(to, DataType::Decimal(..)) && from.is_numeric()
}

/// A typed call; NULL where an argument is.
fn strict(name: &'static str, args: Vec<Expr>, data_type: DataType) -> Expr {
    let nullable = args.iter().any(|arg| arg.nullable);
    Expr { kind: ExprKind::Call(name, args), data_type, nullable }
}

/// A typed call that may be NULL whatever its arguments.
fn nullable(name: &'static str, args: Vec<Expr>, data_type: DataType) -> Expr {
    Expr { kind: ExprKind::Call(name, args), data_type, nullable: true }
}

/// Checks how many arguments there are.
fn arity(name: &str, args: &[Expr], least: usize, most: usize) -> Result<(), ExprError> {
    if (least..=most).contains(&args.len()) {
        return Ok(());
    }
    let wanted = match (least, most) {
        (least, usize::MAX) => format!("at least {least}"),
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let plural = if wanted == "1" { "argument" } else { "arguments" };
    Err(ExprError::new(format!("{name} takes {wanted} {plural}, not {}", args.len())))
}

/// Exactly `N` arguments.
fn fixed<const N: usize>(name: &str, args: Vec<Expr>) -> Result<[Expr; N], ExprError> {
    arity(name, &args, N, N)?;
    Ok(args.try_into().expect("counted above"))
}

/// The text of a string literal.
fn literal_text<'a>(name: &str, what: &str, arg: &'a Expr) -> Result<&'a str, ExprError> {
    match &arg.kind {
        ExprKind::Literal(Value::String(text)) => Ok(text),
        _ => Err(ExprError::new(format!("{name} wants a literal as its {what}"))),
    }
}

#[cfg(test)]
mod tests;
