//! A small binder of SQL expressions, for these tests only: names are columns, the rest goes through [`call`].

use sqlparser::ast::{
    self, BinaryOperator, CastKind, CeilFloorKind, FunctionArg, FunctionArgExpr, FunctionArguments,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;

use crate::batch::DataType;
use crate::batch::text::{parse_decimal, parse_f64};
use crate::expr::{Expr, Value, call, case, cast, try_cast};

type Columns<'a> = &'a [(&'a str, DataType)];

pub(super) fn bind(text: &str, columns: Columns<'_>) -> Result<Expr, String> {
    let parsed =
        Parser::new(&GenericDialect).try_with_sql(text).and_then(|mut parser| parser.parse_expr());
    expression(&parsed.map_err(|error| error.to_string())?, columns)
}

fn invoke(name: &str, args: Vec<Expr>) -> Result<Expr, String> {
    call(name, args).map_err(|error| format!("{} ({:?})", error.message, error.hint))
}

fn text(value: &str) -> Expr {
    Expr::literal(Value::String(value.into()), DataType::Char(value.chars().count() as u32))
}

// tidy: table
fn expression(parsed: &ast::Expr, columns: Columns<'_>) -> Result<Expr, String> {
    use ast::Expr as Ast;
    let bind = |parsed: &ast::Expr| expression(parsed, columns);
    let one = |name: &str, arg: &ast::Expr| invoke(name, vec![bind(arg)?]);
    let two = |name: &str, a: &ast::Expr, b: &ast::Expr| invoke(name, vec![bind(a)?, bind(b)?]);
    let not =
        |negated: bool, expr: Expr| if negated { invoke("NOT", vec![expr]) } else { Ok(expr) };
    match parsed {
        Ast::Identifier(name) => column(&name.value, columns),
        Ast::Nested(inner) => bind(inner),
        Ast::Value(value) => literal(&value.value),
        Ast::TypedString(typed) => {
            let data_type = type_of(&typed.data_type)?;
            let value = text(&typed.value.to_string().trim_matches('\'').replace("''", "'"));
            let precision = value_digits(&value);
            cast(value, with_digits(data_type, precision)).map_err(|error| error.message)
        }
        Ast::Interval(interval) => interval_literal(interval),
        Ast::IsNull(arg) => one("IS NULL", arg),
        Ast::IsNotNull(arg) => one("IS NOT NULL", arg),
        Ast::IsTrue(arg) => one("IS TRUE", arg),
        Ast::IsNotTrue(arg) => one("IS NOT TRUE", arg),
        Ast::IsFalse(arg) => one("IS FALSE", arg),
        Ast::IsNotFalse(arg) => one("IS NOT FALSE", arg),
        Ast::IsUnknown(arg) => one("IS UNKNOWN", arg),
        Ast::IsDistinctFrom(a, b) => two("IS DISTINCT FROM", a, b),
        Ast::IsNotDistinctFrom(a, b) => two("IS NOT DISTINCT FROM", a, b),
        Ast::InList { expr, list, negated } => {
            let args = std::iter::once(&**expr).chain(list).map(bind).collect::<Result<_, _>>()?;
            invoke(if *negated { "NOT IN" } else { "IN" }, args)
        }
        Ast::Between { expr, negated, low, high } => {
            not(*negated, invoke("BETWEEN", vec![bind(expr)?, bind(low)?, bind(high)?])?)
        }
        Ast::BinaryOp { left, op, right } => two(&operator(op), left, right),
        Ast::Like { negated, expr, pattern, escape_char, .. } => {
            let mut args = vec![bind(expr)?, bind(pattern)?];
            args.extend(escape_char.as_ref().map(literal).transpose()?);
            not(*negated, invoke("LIKE", args)?)
        }
        Ast::SimilarTo { negated, expr, pattern, escape_char } => {
            let mut args = vec![bind(expr)?, bind(pattern)?];
            args.extend(escape_char.as_ref().map(literal).transpose()?);
            not(*negated, invoke("SIMILAR TO", args)?)
        }
        Ast::UnaryOp { op: ast::UnaryOperator::Not, expr } => one("NOT", expr),
        Ast::UnaryOp { op: ast::UnaryOperator::Minus, expr } => one("NEGATE", expr),
        Ast::Cast { kind, expr, data_type, .. } => {
            let (input, target) = (bind(expr)?, type_of(data_type)?);
            let cast = if *kind == CastKind::TryCast { try_cast } else { cast };
            cast(input, target).map_err(|error| error.message)
        }
        Ast::Extract { field, expr, .. } => {
            invoke("EXTRACT", vec![text(&field.to_string()), bind(expr)?])
        }
        Ast::Floor { expr, field } => rounding("FLOOR", bind(expr)?, field),
        Ast::Ceil { expr, field } => rounding("CEIL", bind(expr)?, field),
        Ast::Position { expr, r#in } => two("POSITION", expr, r#in),
        Ast::Substring { expr, substring_from, substring_for, .. } => {
            let mut args = vec![bind(expr)?];
            for arg in [substring_from, substring_for].into_iter().flatten() {
                args.push(bind(arg)?);
            }
            invoke("SUBSTRING", args)
        }
        Ast::Trim { expr, trim_where, trim_what, .. } => {
            let place = trim_where.map_or("BOTH".to_string(), |place| place.to_string());
            let what = trim_what.as_ref().map_or(Ok(text(" ")), |what| bind(what))?;
            invoke(&format!("TRIM {place}"), vec![what, bind(expr)?])
        }
        Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let mut args = vec![bind(expr)?, bind(overlay_what)?, bind(overlay_from)?];
            args.extend(overlay_for.as_ref().map(|arg| bind(arg)).transpose()?);
            invoke("OVERLAY", args)
        }
        Ast::Case { operand, conditions, else_result, .. } => {
            let mut branches = Vec::new();
            for when in conditions {
                let condition = match operand {
                    Some(operand) => two("=", operand, &when.condition)?,
                    None => bind(&when.condition)?,
                };
                branches.push((condition, bind(&when.result)?));
            }
            let otherwise = else_result.as_ref().map(|result| bind(result)).transpose()?;
            case(branches, otherwise).map_err(|error| error.message)
        }
        Ast::Function(function) => {
            invoke(&function.name.to_string(), arguments(function, columns)?)
        }
        other => Err(format!("the test does not know {other:?}")),
    }
}

fn arguments(function: &ast::Function, columns: Columns<'_>) -> Result<Vec<Expr>, String> {
    let FunctionArguments::List(list) = &function.args else { return Ok(Vec::new()) };
    let timed = function.name.to_string().starts_with("TIMESTAMP");
    let mut args = Vec::new();
    for (index, arg) in list.args.iter().enumerate() {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else {
            return Err("a named argument".into());
        };
        args.push(match arg {
            ast::Expr::Identifier(unit) if timed && index == 0 => text(&unit.value),
            arg => expression(arg, columns)?,
        });
    }
    Ok(args)
}

fn rounding(name: &str, value: Expr, field: &CeilFloorKind) -> Result<Expr, String> {
    match field {
        CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) => invoke(name, vec![value]),
        CeilFloorKind::DateTimeField(unit) => {
            invoke(&format!("{name} TO"), vec![value, text(&unit.to_string())])
        }
        CeilFloorKind::Scale(_) => Err("a scale".into()),
    }
}

fn operator(op: &BinaryOperator) -> String {
    match op {
        BinaryOperator::StringConcat => "||".into(),
        other => other.to_string(),
    }
}

fn column(name: &str, columns: Columns<'_>) -> Result<Expr, String> {
    let index =
        columns.iter().position(|(known, _)| *known == name).ok_or(format!("no column {name}"))?;
    Ok(Expr::column(index, columns[index].1, true))
}

fn literal(value: &ast::Value) -> Result<Expr, String> {
    Ok(match value {
        ast::Value::Number(digits, _) => number(digits),
        ast::Value::SingleQuotedString(value) => text(value),
        ast::Value::Boolean(value) => Expr::literal(Value::Boolean(*value), DataType::Boolean),
        ast::Value::Null => Expr::literal(Value::Null, DataType::Null),
        other => return Err(format!("the test does not know the literal {other}")),
    })
}

fn number(digits: &str) -> Expr {
    if digits.contains(['e', 'E']) {
        return Expr::literal(
            Value::Float(parse_f64(digits.as_bytes()).unwrap()),
            DataType::Double,
        );
    }
    if let Some((whole, fraction)) = digits.split_once('.') {
        let scale = fraction.len() as u8;
        let precision = whole.len() as u8 + scale;
        let unscaled = parse_decimal(digits.as_bytes(), precision, scale).unwrap();
        return Expr::literal(Value::Decimal(unscaled), DataType::Decimal(precision, scale));
    }
    let value: i64 = digits.parse().unwrap();
    let data_type = if i32::try_from(value).is_ok() { DataType::Int } else { DataType::BigInt };
    Expr::literal(Value::Int(value), data_type)
}

fn value_digits(value: &Expr) -> u8 {
    match &value.kind {
        crate::expr::ExprKind::Literal(Value::String(text)) => {
            text.split_once('.').map_or(0, |(_, digits)| digits.len() as u8)
        }
        _ => 0,
    }
}

fn with_digits(data_type: DataType, digits: u8) -> DataType {
    match data_type {
        DataType::Timestamp(_) => DataType::Timestamp(digits),
        other => other,
    }
}

fn type_of(data_type: &ast::DataType) -> Result<DataType, String> {
    let written = data_type.to_string().to_uppercase();
    let (name, args) = written.split_once('(').unwrap_or((&written, ""));
    let mut args =
        args.trim_end_matches(')').split(',').filter_map(|arg| arg.trim().parse::<u32>().ok());
    let (first, second) = (args.next(), args.next());
    let digits = |default: u8| first.map_or(default, |digits| digits as u8);
    Ok(match name.trim() {
        "BOOLEAN" => DataType::Boolean,
        "TINYINT" => DataType::TinyInt,
        "SMALLINT" => DataType::SmallInt,
        "INT" | "INTEGER" => DataType::Int,
        "BIGINT" => DataType::BigInt,
        "FLOAT" => DataType::Float,
        "DOUBLE" => DataType::Double,
        "DECIMAL" => DataType::Decimal(digits(10), second.unwrap_or(0) as u8),
        "CHAR" => DataType::Char(first.unwrap_or(1)),
        "VARCHAR" => DataType::VarChar(first.unwrap_or(1)),
        "STRING" => DataType::STRING,
        "BYTES" => DataType::BYTES,
        "BINARY" => DataType::Binary(first.unwrap_or(1)),
        "VARBINARY" => DataType::VarBinary(first.unwrap_or(1)),
        "DATE" => DataType::Date,
        "TIME" => DataType::Time(digits(0)),
        "TIMESTAMP" => DataType::Timestamp(digits(6)),
        "TIMESTAMP_LTZ" => DataType::TimestampLtz(digits(6)),
        other => return Err(format!("the test does not know the type {other}")),
    })
}

/// A type as a script writes it.
pub(super) fn parse_type(text: &str) -> Result<DataType, String> {
    let parsed = Parser::new(&GenericDialect)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_data_type());
    type_of(&parsed.map_err(|error| error.to_string())?)
}

fn interval_literal(interval: &ast::Interval) -> Result<Expr, String> {
    let value = interval.value.to_string();
    let value = value.trim_matches('\'');
    let unit = interval.leading_field.as_ref().map(ToString::to_string).unwrap_or_default();
    let (negative, value) = value.strip_prefix('-').map_or((false, value), |value| (true, value));
    let sign = if negative { -1 } else { 1 };
    if interval.last_field.is_some() {
        let (days, clock) = value.split_once(' ').ok_or("an interval of days and a time")?;
        let ms = crate::batch::text::parse_time(clock.as_bytes()).ok_or("a time")?;
        let total =
            days.parse::<i64>().map_err(|error| error.to_string())? * 86_400_000 + i64::from(ms);
        return Ok(Expr::literal(Value::Int(sign * total), DataType::IntervalDay));
    }
    let count: i64 = value.parse().map_err(|_| format!("no interval: {value}"))?;
    let (scale, data_type) = match unit.as_str() {
        "YEAR" => (12, DataType::IntervalMonth),
        "MONTH" => (1, DataType::IntervalMonth),
        "DAY" => (86_400_000, DataType::IntervalDay),
        "HOUR" => (3_600_000, DataType::IntervalDay),
        "MINUTE" => (60_000, DataType::IntervalDay),
        _ => (1000, DataType::IntervalDay),
    };
    Ok(Expr::literal(Value::Int(sign * count * scale), data_type))
}
