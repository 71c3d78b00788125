//! The table of functions with fixed signatures: names, parameters, results.

use crate::batch::DataType;
use crate::error::ExprError;
use crate::expr::eval::unsupported_regex;
use crate::expr::expression::{Expr, ExprKind, Value};

use super::{Bound, arity, call, coerce, literal_text, nullable, strict, try_cast};

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Param {
    /// CHAR or VARCHAR.
    Text,
    /// Any integer, cast to INT.
    Int,
    /// Any integer, cast to BIGINT.
    Long,
    /// Any number, cast to DOUBLE.
    Double,
    /// A string or bytes.
    TextOrBytes,
    /// An integer (cast to BIGINT) or a string.
    IntegerOrText,
    /// BINARY, VARBINARY.
    Bytes,
    /// A timestamp or a string.
    StampOrText,
    /// Anything.
    Any,
}

/// A function: its name, the kernel's name, parameters, how many of them are needed, the result, and
/// whether that may be NULL though no argument is.
struct Function {
    name: &'static str,
    kernel: &'static str,
    params: &'static [Param],
    required: usize,
    variadic: bool,
    result: DataType,
    may_be_null: bool,
}

const fn function(name: &'static str, params: &'static [Param], result: DataType) -> Function {
    Function {
        name,
        kernel: name,
        required: params.len(),
        params,
        variadic: false,
        result,
        may_be_null: false,
    }
}

impl Function {
    const fn alias(mut self, kernel: &'static str) -> Self {
        self.kernel = kernel;
        self
    }
    const fn required(mut self, count: usize) -> Self {
        self.required = count;
        self
    }
    const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }
    const fn may_be_null(mut self) -> Self {
        self.may_be_null = true;
        self
    }
}

const TEXT: DataType = DataType::STRING;
const T: Param = Param::Text;
const I: Param = Param::Int;
const D: Param = Param::Double;

#[rustfmt::skip]
static FUNCTIONS: &[Function] = &[
    // Mathematics.
    function("SQRT", &[D], DataType::Double),
    function("POWER", &[D, D], DataType::Double),
    function("EXP", &[D], DataType::Double),
    function("LN", &[D], DataType::Double),
    function("LOG", &[D, D], DataType::Double).required(1),
    function("LOG10", &[D], DataType::Double),
    function("LOG2", &[D], DataType::Double),
    function("SIN", &[D], DataType::Double),
    function("COS", &[D], DataType::Double),
    function("TAN", &[D], DataType::Double),
    function("COT", &[D], DataType::Double),
    function("ASIN", &[D], DataType::Double),
    function("ACOS", &[D], DataType::Double),
    function("ATAN", &[D], DataType::Double),
    function("ATAN2", &[D, D], DataType::Double),
    function("SINH", &[D], DataType::Double),
    function("COSH", &[D], DataType::Double),
    function("TANH", &[D], DataType::Double),
    function("DEGREES", &[D], DataType::Double),
    function("RADIANS", &[D], DataType::Double),
    function("PI", &[], DataType::Double),
    function("E", &[], DataType::Double),
    function("BIN", &[Param::Long], TEXT),
    function("HEX", &[Param::IntegerOrText], TEXT),
    function("UNHEX", &[T], DataType::BYTES).may_be_null(),
    // Strings.
    function("UPPER", &[T], TEXT),
    function("LOWER", &[T], TEXT),
    function("CHAR_LENGTH", &[T], DataType::Int),
    function("CHARACTER_LENGTH", &[T], DataType::Int).alias("CHAR_LENGTH"),
    function("SUBSTRING", &[T, I, I], TEXT).required(2).may_be_null(),
    function("SUBSTR", &[T, I, I], TEXT).required(2).may_be_null().alias("SUBSTRING"),
    function("TRIM BOTH", &[T, T], TEXT),
    function("TRIM LEADING", &[T, T], TEXT),
    function("TRIM TRAILING", &[T, T], TEXT),
    function("CONCAT", &[T], TEXT).variadic(),
    function("CONCAT_WS", &[T], TEXT).variadic(),
    function("REPLACE", &[T, T, T], TEXT),
    function("POSITION", &[T, T], DataType::Int),
    function("LOCATE", &[T, T, I], DataType::Int).required(2).alias("POSITION"),
    function("INSTR", &[T, T, I, I], DataType::Int).required(2),
    function("LPAD", &[T, I, T], TEXT).may_be_null(),
    function("RPAD", &[T, I, T], TEXT).may_be_null(),
    function("REVERSE", &[T], TEXT),
    function("SPLIT_INDEX", &[T, Param::IntegerOrText, I], TEXT).may_be_null(),
    function("INITCAP", &[T], TEXT),
    function("LEFT", &[T, I], TEXT),
    function("RIGHT", &[T, I], TEXT),
    function("REPEAT", &[T, I], TEXT),
    function("ASCII", &[T], DataType::Int),
    function("CHR", &[Param::Long], TEXT),
    function("OVERLAY", &[T, T, I, I], TEXT).required(3),
    function("STARTSWITH", &[T, T], DataType::Boolean),
    function("ENDSWITH", &[T, T], DataType::Boolean),
    function("REGEXP", &[T, T], DataType::Boolean),
    function("REGEXP_EXTRACT", &[T, T, I], TEXT).required(2).may_be_null(),
    function("REGEXP_REPLACE", &[T, T, T], TEXT).may_be_null(),
    function("REGEXP_COUNT", &[T, T], DataType::Int).may_be_null(),
    function("REGEXP_INSTR", &[T, T], DataType::Int).may_be_null(),
    function("REGEXP_SUBSTR", &[T, T], TEXT).may_be_null(),
    function("TRANSLATE", &[T, T, T], TEXT),
    function("ELT", &[I, T], TEXT).variadic().may_be_null(),
    function("PARSE_URL", &[T, T, T], TEXT).required(2).may_be_null(),
    function("TO_BASE64", &[Param::TextOrBytes], TEXT),
    function("FROM_BASE64", &[T], TEXT),
    function("ENCODE", &[T, T], DataType::BYTES).may_be_null(),
    function("DECODE", &[Param::Bytes, T], TEXT).may_be_null(),
    function("URL_ENCODE", &[T], TEXT),
    function("URL_DECODE", &[T], TEXT).may_be_null(),
    function("IS_ALPHA", &[T], DataType::Boolean),
    function("IS_DIGIT", &[T], DataType::Boolean),
    function("IS_DECIMAL", &[T], DataType::Boolean),
    function("JSON_VALUE", &[T, T], TEXT).may_be_null(),
    function("JSON_QUOTE", &[T], TEXT),
    function("JSON_UNQUOTE", &[T], TEXT),
    function("IS JSON", &[T], DataType::Boolean),
    function("JSON_EXISTS", &[T, T], DataType::Boolean).may_be_null(),
    // Times.
    function("DATE_FORMAT", &[Param::StampOrText, T], TEXT).may_be_null(),
    function("TO_DATE", &[T, T], DataType::Date).required(1).may_be_null(),
    function("TO_TIMESTAMP", &[T, T], DataType::Timestamp(3)).required(1).may_be_null(),
    function("TO_TIMESTAMP_LTZ", &[Param::Any, Param::Any, T], DataType::TimestampLtz(3)).required(1).may_be_null(),
    function("UNIX_TIMESTAMP", &[T, T], DataType::BigInt).required(0),
    function("FROM_UNIXTIME", &[Param::Long, T], TEXT).required(1).may_be_null(),
    function("CONVERT_TZ", &[T, T, T], TEXT).may_be_null(),
];

/// Digests, which bring crates of their own.
#[rustfmt::skip]
static DIGESTS: &[Function] = if cfg!(feature = "sql") {
    &[
        function("MD5", &[Param::TextOrBytes], DataType::Char(32)),
        function("SHA1", &[Param::TextOrBytes], DataType::Char(40)),
        function("SHA224", &[Param::TextOrBytes], DataType::Char(56)),
        function("SHA256", &[Param::TextOrBytes], DataType::Char(64)),
        function("SHA384", &[Param::TextOrBytes], DataType::Char(96)),
        function("SHA512", &[Param::TextOrBytes], DataType::Char(128)),
        function("SHA2", &[Param::TextOrBytes, I], DataType::VarChar(128)).may_be_null(),
    ]
} else {
    &[]
};

/// The operators and functions that other tables type, for the near match of a misspelt name.
const OTHERS: &[&str] = &[
    "MOD",
    "IF",
    "COALESCE",
    "IFNULL",
    "NULLIF",
    "GREATEST",
    "LEAST",
    "ABS",
    "SIGN",
    "FLOOR",
    "CEIL",
    "CEILING",
    "ROUND",
    "TRUNCATE",
    "EXTRACT",
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAYOFYEAR",
    "DAYOFMONTH",
    "DAYOFWEEK",
    "HOUR",
    "MINUTE",
    "SECOND",
    "TIMESTAMPDIFF",
    "TIMESTAMPADD",
    "CURRENT_TIMESTAMP",
    "NOW",
    "PROCTIME",
    "LOCALTIMESTAMP",
    "CURRENT_DATE",
    "LOCALTIME",
    "CURRENT_TIME",
    "TRIM",
    "LTRIM",
    "RTRIM",
    "BTRIM",
    "LIKE",
    "BETWEEN",
];

/// All functions of these tables.
fn functions() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().chain(DIGESTS)
}

pub(super) fn bind(name: &str, args: Vec<Expr>) -> Result<Expr, ExprError> {
    let (name, args) = respell(name, args)?;
    let args = match settled(name, args)? {
        Ok(bound) => return Ok(bound),
        Err(args) => args,
    };
    let Some(function) = functions().find(|function| function.name == name) else {
        return Err(unknown(name));
    };
    let most = if function.variadic { usize::MAX } else { function.params.len() };
    arity(name, &args, function.required, most)?;
    let mut typed = Vec::with_capacity(args.len());
    for (index, arg) in args.into_iter().enumerate() {
        let param = function.params[index.min(function.params.len() - 1)];
        typed.push(convert(function.name, index, param, arg)?);
    }
    check_special(function, &mut typed)?;
    let build = if function.may_be_null { nullable } else { strict };
    let bound = build(function.kernel, typed, function.result);
    let null_only_by_first = function.name == "CONCAT_WS";
    let nullable = if null_only_by_first { true } else { bound.nullable };
    Ok(Expr { nullable, ..bound })
}

/// Names that are another function with its arguments in another order.
fn respell(name: &str, mut args: Vec<Expr>) -> Result<(&str, Vec<Expr>), ExprError> {
    Ok(match name {
        "||" => {
            arity(name, &args, 2, usize::MAX)?;
            ("CONCAT", args)
        }
        "TRIM" | "BTRIM" | "LTRIM" | "RTRIM" => {
            arity(name, &args, 1, 2)?;
            if args.len() == 1 {
                args.push(Expr::literal(Value::String(" ".into()), DataType::Char(1)));
            }
            args.swap(0, 1);
            let name = match name {
                "LTRIM" => "TRIM LEADING",
                "RTRIM" => "TRIM TRAILING",
                _ => "TRIM BOTH",
            };
            (name, args)
        }
        _ => (name, args),
    })
}

/// Functions whose answer follows from the types, or that are two others in one.
fn settled(name: &str, mut args: Vec<Expr>) -> Bound {
    let bound = match (name, args.as_slice()) {
        ("TYPEOF", [arg]) => {
            let text = arg.data_type.to_string();
            Expr::literal(Value::String(text.clone()), DataType::Char(text.len() as u32))
        }
        // Flink looks at the type of a number alone, even where it is NULL.
        ("IS_DECIMAL" | "IS_DIGIT", [arg]) if arg.data_type.is_numeric() => {
            let holds = name == "IS_DECIMAL" || arg.data_type.is_integer();
            Expr::literal(Value::Boolean(holds), DataType::Boolean)
        }
        ("JSON_VALUE", [_, _, returning]) => {
            let target = match literal_text(name, "RETURNING", returning)?
                .to_ascii_uppercase()
                .as_str()
            {
                "BOOLEAN" => DataType::Boolean,
                "INTEGER" | "INT" => DataType::Int,
                "DOUBLE" => DataType::Double,
                "STRING" => DataType::STRING,
                other => {
                    return Err(ExprError {
                        message: format!("JSON_VALUE does not return {other}"),
                        hint: Some("it returns STRING, BOOLEAN, INTEGER or DOUBLE; CAST its STRING to others".into()),
                    });
                }
            };
            args.pop();
            try_cast(call(name, args)?, target)?
        }
        _ => return Ok(Err(args)),
    };
    Ok(Ok(bound))
}

fn convert(name: &str, index: usize, param: Param, arg: Expr) -> Result<Expr, ExprError> {
    let data_type = arg.data_type;
    let target = match param {
        Param::Any if data_type == DataType::Null => Some(DataType::Int),
        Param::Any => Some(data_type),
        Param::Text if data_type.is_string() => Some(data_type),
        Param::TextOrBytes if data_type.is_string() || data_type.is_binary() => Some(data_type),
        Param::IntegerOrText | Param::StampOrText if data_type.is_string() => Some(data_type),
        Param::StampOrText if data_type.is_timestamp() => Some(data_type),
        Param::Bytes if data_type.is_binary() => Some(data_type),
        Param::Int if data_type.is_integer() => Some(DataType::Int),
        Param::Long | Param::IntegerOrText if data_type.is_integer() => Some(DataType::BigInt),
        Param::Double if data_type.is_numeric() => Some(DataType::Double),
        _ if data_type == DataType::Null => Some(match param {
            Param::Int => DataType::Int,
            Param::Long => DataType::BigInt,
            Param::Double => DataType::Double,
            Param::Bytes => DataType::BYTES,
            _ => DataType::STRING,
        }),
        _ => None,
    };
    if let Some(target) = target {
        return Ok(coerce(arg, target));
    }
    let wanted = match param {
        Param::Int | Param::Long => "an integer",
        Param::Double => "a number",
        Param::Bytes => "bytes",
        Param::TextOrBytes => "a string or bytes",
        Param::IntegerOrText => "an integer or a string",
        Param::StampOrText => "a timestamp or a string",
        Param::Text | Param::Any => "a string",
    };
    let hint = (param == Param::Text).then(|| "write CAST(… AS STRING)".into());
    Err(ExprError {
        message: format!("{name} wants {wanted} as argument {}, not {data_type}", index + 1),
        hint,
    })
}

fn check_special(function: &Function, args: &mut [Expr]) -> Result<(), ExprError> {
    if function.name.starts_with("REGEXP")
        && let ExprKind::Literal(Value::String(pattern)) = &args[1].kind
        && let Some(what) = unsupported_regex(pattern)
    {
        return Err(ExprError {
            message: format!("{}: '{pattern}' has {what}, which is not supported", function.name),
            hint: Some(
                "regular expressions run in linear time here; write it without, or with a CASE"
                    .into(),
            ),
        });
    }
    if function.name != "TO_TIMESTAMP_LTZ" {
        return Ok(());
    }
    let first = args[0].data_type;
    let fits = match args {
        [value] => value.data_type.is_string() || value.data_type.is_numeric(),
        [_, second] if first.is_numeric() => second.data_type.is_integer(),
        [_, second, ..] => first.is_string() && second.data_type.is_string(),
        [] => false,
    };
    if fits {
        for arg in args.iter_mut().take(2) {
            let target = match arg.data_type {
                data_type if data_type.is_integer() => DataType::BigInt,
                DataType::Float => DataType::Double,
                other => other,
            };
            *arg = coerce(arg.clone(), target);
        }
        return Ok(());
    }
    Err(ExprError {
        message: format!("TO_TIMESTAMP_LTZ cannot take {first} so"),
        hint: Some(
            "write TO_TIMESTAMP_LTZ(number, 0 | 3) or TO_TIMESTAMP_LTZ(text[, format[, zone]])"
                .into(),
        ),
    })
}

/// The functions that are called as such.
fn names() -> impl Iterator<Item = &'static str> {
    functions().map(|function| function.name).chain(OTHERS.iter().copied())
}

/// Whether a function, in any case, is ours.
pub fn is_function(name: &str) -> bool {
    names().any(|known| known.eq_ignore_ascii_case(name))
}

fn unknown(name: &str) -> ExprError {
    let names = names();
    let near = names
        .map(|known| (distance(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min();
    let hint = match name {
        "LENGTH" | "LEN" => Some("CHAR_LENGTH"),
        "NVL" | "ISNULL" => Some("COALESCE"),
        "STRPOS" | "INDEX" => Some("POSITION"),
        "TO_CHAR" => Some("DATE_FORMAT"),
        "DATEDIFF" | "DATE_DIFF" => Some("TIMESTAMPDIFF"),
        "DATE_TRUNC" => Some("FLOOR(t TO HOUR)"),
        "POW" => Some("POWER"),
        _ => near.map(|(_, known)| known),
    };
    ExprError {
        message: format!("there is no function {name}"),
        hint: hint.map(|known| format!("did you mean {known}?")),
    }
}

/// The edit distance of two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte) in a.bytes().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let replaced = diagonal + usize::from(byte != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
