//! Operators and the conditional functions, whose types follow from all their arguments together.

use chrono_tz::Tz;

use crate::batch::DataType;
use crate::error::ExprError;
use crate::expr::eval::fold;
use crate::expr::expression::{Expr, ExprKind, Value};
use crate::expr::types::{arithmetic_type, common_type, round_type};

use super::{Bound, arity, boolean, case, coerce, common_or_error, fixed, nullable, strict};

pub(super) fn bind(name: &str, args: Vec<Expr>) -> Bound {
    let bound = match name {
        "+" => arithmetic("+", fixed(name, args)?),
        "-" => arithmetic("-", fixed(name, args)?),
        "*" => arithmetic("*", fixed(name, args)?),
        "/" => arithmetic("/", fixed(name, args)?),
        "%" | "MOD" => arithmetic("%", fixed(name, args)?),
        "NEGATE" => negate(fixed(name, args)?),
        "=" => comparison("=", fixed(name, args)?),
        "<>" | "!=" => comparison("<>", fixed(name, args)?),
        "<" => comparison("<", fixed(name, args)?),
        "<=" => comparison("<=", fixed(name, args)?),
        ">" => comparison(">", fixed(name, args)?),
        ">=" => comparison(">=", fixed(name, args)?),
        "IS DISTINCT FROM" => comparison("IS DISTINCT FROM", fixed(name, args)?).map(not_null),
        "IS NOT DISTINCT FROM" => {
            comparison("IS NOT DISTINCT FROM", fixed(name, args)?).map(not_null)
        }
        "AND" => logic("AND", args),
        "OR" => logic("OR", args),
        "NOT" => negation(fixed(name, args)?),
        "IS NOT JSON" => negation([super::call("IS JSON", args)?]),
        "IS NULL" => test("IS NULL", fixed(name, args)?),
        "IS NOT NULL" => test("IS NOT NULL", fixed(name, args)?),
        "IS TRUE" => boolean_test("IS TRUE", fixed(name, args)?),
        "IS NOT TRUE" => boolean_test("IS NOT TRUE", fixed(name, args)?),
        "IS FALSE" => boolean_test("IS FALSE", fixed(name, args)?),
        "IS NOT FALSE" => boolean_test("IS NOT FALSE", fixed(name, args)?),
        "IS UNKNOWN" => boolean_test("IS NULL", fixed(name, args)?),
        "IS NOT UNKNOWN" => boolean_test("IS NOT NULL", fixed(name, args)?),
        "LIKE" => pattern("LIKE", args),
        "SIMILAR TO" => pattern("SIMILAR TO", args),
        "NOT LIKE" => negation([pattern("LIKE", args)?]),
        "NOT SIMILAR TO" => negation([pattern("SIMILAR TO", args)?]),
        "BETWEEN" => between(fixed(name, args)?),
        "BETWEEN SYMMETRIC" => between_symmetric(fixed(name, args)?),
        "NOT BETWEEN" => negation([between(fixed(name, args)?)?]),
        "NOT BETWEEN SYMMETRIC" => negation([between_symmetric(fixed(name, args)?)?]),
        "IN" => is_in(args),
        "NOT IN" => negation([is_in(args)?]),
        "IF" => {
            let [condition, then, otherwise] = fixed(name, args)?;
            case(vec![(condition, then)], Some(otherwise))
        }
        "COALESCE" => coalesce(args),
        "IFNULL" => coalesce(fixed::<2>(name, args)?.into()),
        "NULLIF" => null_if(fixed(name, args)?),
        "GREATEST" => extreme("GREATEST", args),
        "LEAST" => extreme("LEAST", args),
        "ABS" => same_number("ABS", fixed(name, args)?),
        "SIGN" => same_number("SIGN", fixed(name, args)?),
        "FLOOR" => whole_number("FLOOR", fixed(name, args)?),
        "CEIL" | "CEILING" => whole_number("CEIL", fixed(name, args)?),
        "ROUND" => rounded("ROUND", args),
        "TRUNCATE" => rounded("TRUNCATE", args),
        _ => return Ok(Err(args)),
    };
    bound.map(Ok)
}

fn not_null(expr: Expr) -> Expr {
    Expr { nullable: false, ..expr }
}

fn arithmetic(op: &'static str, [a, b]: [Expr; 2]) -> Result<Expr, ExprError> {
    let (a, b) = match (a.data_type, b.data_type) {
        (DataType::Null, DataType::Null) => (coerce(a, DataType::Int), coerce(b, DataType::Int)),
        (DataType::Null, other) if other.is_numeric() => (coerce(a, other), b),
        (other, DataType::Null) if other.is_numeric() => {
            let typed = coerce(b, other);
            (a, typed)
        }
        _ => (a, b),
    };
    let (left, right) = (a.data_type, b.data_type);
    if !left.is_numeric() || !right.is_numeric() {
        return super::times::arithmetic(op, a, b);
    }
    let data_type = arithmetic_type(op, left, right);
    if let DataType::Decimal(..) = data_type {
        let (a, b) = (coerce(a, exact_decimal(left)), coerce(b, exact_decimal(right)));
        return Ok(nullable(op, vec![a, b], data_type));
    }
    // Integers are computed in the wider type and narrowed after; floating point in the result's type.
    let wide = match data_type {
        DataType::Float | DataType::Double => data_type,
        _ => crate::expr::types::widest_integer(left, right),
    };
    Ok(coerce(strict(op, vec![coerce(a, wide), coerce(b, wide)], wide), data_type))
}

/// The decimal type of an exact number.
fn exact_decimal(data_type: DataType) -> DataType {
    let (precision, scale) = crate::expr::types::decimal_of(data_type);
    DataType::Decimal(precision, scale)
}

fn negate([arg]: [Expr; 1]) -> Result<Expr, ExprError> {
    match arg.data_type {
        DataType::Null => Ok(coerce(arg, DataType::Int)),
        data_type if data_type.is_numeric() => Ok(strict("NEGATE", vec![arg], data_type)),
        data_type @ (DataType::IntervalDay | DataType::IntervalMonth) => {
            Ok(strict("NEGATE", vec![arg], data_type))
        }
        other => Err(ExprError::new(format!("- wants a number, not {other}"))),
    }
}

fn comparison(op: &'static str, [a, b]: [Expr; 2]) -> Result<Expr, ExprError> {
    let (a, b) = comparable(op, a, b)?;
    Ok(strict(op, vec![a, b], DataType::Boolean))
}

/// Both sides as types that compare, as Java's operators widen them.
fn comparable(op: &str, a: Expr, b: Expr) -> Result<(Expr, Expr), ExprError> {
    use DataType::*;
    let (left, right) = (a.data_type, b.data_type);
    let refused = || {
        let hint = if left.is_string() != right.is_string() {
            "CAST one of them to the other's type"
        } else {
            ""
        };
        Err(ExprError {
            message: format!("{left} {op} {right} does not compare"),
            hint: (!hint.is_empty()).then(|| hint.into()),
        })
    };
    let common = match (left, right) {
        (Null, Null) => Boolean,
        (left, right) if left == right => return Ok((a, b)),
        (Decimal(..), Decimal(..)) => return Ok((a, b)),
        (Decimal(..), other) if other.is_integer() => {
            let other = coerce(b, exact_decimal(other));
            return Ok((a, other));
        }
        (other, Decimal(..)) if other.is_integer() => {
            return Ok((coerce(a, exact_decimal(other)), b));
        }
        // Flink compares floating point in the type of the first.
        (Float, Double) | (Double, Float) => left,
        (left, right) if left.is_string() && right.is_string() => return Ok((a, b)),
        (left, right) if left.is_binary() && right.is_binary() => return Ok((a, b)),
        // Wall-clock times are compared with instants as instants.
        (Timestamp(a), TimestampLtz(b)) | (TimestampLtz(a), Timestamp(b)) => TimestampLtz(a.max(b)),
        (text, time) if text.is_string() && is_time(time) => time,
        (time, text) if text.is_string() && is_time(time) => time,
        (left, right) => match common_type(&[left, right]) {
            Some(common) => common,
            None => return refused(),
        },
    };
    Ok((coerce(a, common), coerce(b, common)))
}

fn is_time(data_type: DataType) -> bool {
    data_type.is_timestamp() || matches!(data_type, DataType::Date | DataType::Time(_))
}

fn logic(op: &'static str, args: Vec<Expr>) -> Result<Expr, ExprError> {
    arity(op, &args, 2, usize::MAX)?;
    let args = args.into_iter().map(|arg| boolean(op, arg)).collect::<Result<Vec<_>, _>>()?;
    Ok(strict(op, args, DataType::Boolean))
}

fn negation([arg]: [Expr; 1]) -> Result<Expr, ExprError> {
    Ok(strict("NOT", vec![boolean("NOT", arg)?], DataType::Boolean))
}

fn test(op: &'static str, [arg]: [Expr; 1]) -> Result<Expr, ExprError> {
    Ok(not_null(strict(op, vec![arg], DataType::Boolean)))
}

fn boolean_test(op: &'static str, [arg]: [Expr; 1]) -> Result<Expr, ExprError> {
    test(op, [boolean(op, arg)?])
}

fn pattern(op: &'static str, args: Vec<Expr>) -> Result<Expr, ExprError> {
    arity(op, &args, 2, 3)?;
    let args = args
        .into_iter()
        .map(|arg| match arg.data_type {
            data_type if data_type.is_string() => Ok(arg),
            DataType::Null => Ok(coerce(arg, DataType::STRING)),
            other => Err(ExprError::new(format!("{op} wants strings, not {other}"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(escape) = args.get(2) {
        let text = super::literal_text(op, "ESCAPE", escape)?;
        if text.chars().count() != 1 {
            return Err(ExprError::new(format!("ESCAPE wants one character, not '{text}'")));
        }
    }
    Ok(strict(op, args, DataType::Boolean))
}

fn between([value, low, high]: [Expr; 3]) -> Result<Expr, ExprError> {
    logic("AND", vec![comparison(">=", [value.clone(), low])?, comparison("<=", [value, high])?])
}

fn between_symmetric([value, low, high]: [Expr; 3]) -> Result<Expr, ExprError> {
    let forth = between([value.clone(), low.clone(), high.clone()])?;
    logic("OR", vec![forth, between([value, high, low])?])
}

fn is_in(args: Vec<Expr>) -> Result<Expr, ExprError> {
    arity("IN", &args, 2, usize::MAX)?;
    // Numbers only: other constants may depend on the session's zone.
    let settle = |arg: Expr| if arg.data_type.is_numeric() { fold(arg, Tz::UTC) } else { arg };
    let args: Vec<Expr> = args.into_iter().map(settle).collect();
    let mut types: Vec<DataType> = args.iter().map(|arg| arg.data_type).collect();
    let value_type = types[0];
    if is_time(value_type) {
        types.retain(|data_type| !data_type.is_string());
    }
    let common = match common_or_error("IN", &types)? {
        DataType::Null => DataType::Boolean,
        common => common,
    };
    let constant = args[1..].iter().all(|arg| matches!(arg.kind, ExprKind::Literal(_)));
    let mut args = args.into_iter().map(|arg| coerce_text_or_keep(arg, common));
    let value = args.next().expect("counted above");
    let items: Vec<Expr> = args.collect();
    if constant && items.len() > 1 {
        let all = [vec![value], items].concat();
        return Ok(strict("IN", all, DataType::Boolean));
    }
    let mut tests = items
        .into_iter()
        .map(|item| comparison("=", [value.clone(), item]))
        .collect::<Result<Vec<_>, _>>()?;
    if tests.len() == 1 { Ok(tests.remove(0)) } else { logic("OR", tests) }
}

/// Strings compare whatever their declared lengths, so that a cast between them is needless.
fn coerce_text_or_keep(arg: Expr, target: DataType) -> Expr {
    if arg.data_type.is_string() && target.is_string() { arg } else { coerce(arg, target) }
}

fn coalesce(args: Vec<Expr>) -> Result<Expr, ExprError> {
    arity("COALESCE", &args, 1, usize::MAX)?;
    let data_type =
        common_or_error("COALESCE", &args.iter().map(|arg| arg.data_type).collect::<Vec<_>>())?;
    let nullable = args.iter().all(|arg| arg.nullable);
    let args = args.into_iter().map(|arg| coerce(arg, data_type)).collect();
    Ok(Expr { kind: ExprKind::Call("COALESCE", args), data_type, nullable })
}

fn null_if([value, other]: [Expr; 2]) -> Result<Expr, ExprError> {
    let data_type = value.data_type;
    let equal = comparison("=", [value.clone(), other])?;
    case(vec![(equal, Expr::literal(Value::Null, data_type))], Some(value))
}

fn extreme(name: &'static str, args: Vec<Expr>) -> Result<Expr, ExprError> {
    arity(name, &args, 1, usize::MAX)?;
    let types: Vec<DataType> = args.iter().map(|arg| arg.data_type).collect();
    let data_type = match common_or_error(name, &types)? {
        DataType::Float if types.contains(&DataType::Double) => DataType::Double,
        common => common,
    };
    let args = args.into_iter().map(|arg| coerce(arg, data_type)).collect();
    Ok(strict(name, args, data_type))
}

fn number(name: &str, arg: Expr) -> Result<Expr, ExprError> {
    match arg.data_type {
        DataType::Null => Ok(coerce(arg, DataType::Int)),
        data_type if data_type.is_numeric() => Ok(arg),
        other => Err(ExprError::new(format!("{name} wants a number, not {other}"))),
    }
}

fn same_number(name: &'static str, [arg]: [Expr; 1]) -> Result<Expr, ExprError> {
    let arg = number(name, arg)?;
    let data_type = arg.data_type;
    Ok(strict(name, vec![arg], data_type))
}

fn whole_number(name: &'static str, [arg]: [Expr; 1]) -> Result<Expr, ExprError> {
    let arg = number(name, arg)?;
    Ok(match arg.data_type {
        DataType::Decimal(precision, _) => {
            nullable(name, vec![arg], DataType::Decimal(precision, 0))
        }
        data_type if data_type.is_integer() => arg,
        data_type => strict(name, vec![arg], data_type),
    })
}

fn rounded(name: &'static str, args: Vec<Expr>) -> Result<Expr, ExprError> {
    arity(name, &args, 1, 2)?;
    let mut args = args.into_iter();
    let value = number(name, args.next().expect("counted above"))?;
    let digits = match args.next() {
        None => Expr::literal(Value::Int(0), DataType::Int),
        Some(digits) if digits.data_type.is_integer() || digits.data_type == DataType::Null => {
            fold(coerce(digits, DataType::Int), Tz::UTC)
        }
        Some(digits) => {
            return Err(ExprError::new(format!(
                "{name} wants an INT as its second argument, not {}",
                digits.data_type
            )));
        }
    };
    Ok(match value.data_type {
        DataType::Decimal(precision, scale) => {
            let data_type = match digits.kind {
                ExprKind::Literal(Value::Int(digits)) => round_type(precision, scale, digits),
                _ => DataType::Decimal(precision, scale),
            };
            nullable(name, vec![value, digits], data_type)
        }
        data_type => strict(name, vec![value, digits], data_type),
    })
}
