//! Aggregate calls as the plan describes them, and Flink's typing rules for them.

use std::fmt;

use super::UserFunction;
use crate::batch::DataType;
use crate::error::ExprError;

/// An aggregate function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    /// COUNT(*): rows.
    CountRows,
    /// COUNT(a [, b …]): rows in which no argument is NULL.
    Count,
    /// SUM.
    Sum,
    /// AVG.
    Avg,
    /// MIN.
    Min,
    /// MAX.
    Max,
    /// FIRST_VALUE: the first that is not NULL, in arrival order.
    FirstValue,
    /// LAST_VALUE: the last that is not NULL, in arrival order.
    LastValue,
    /// LISTAGG(value [, separator literal]).
    ListAgg,
    /// STDDEV_POP.
    StddevPop,
    /// STDDEV_SAMP, STDDEV.
    StddevSamp,
    /// VAR_POP.
    VarPop,
    /// VAR_SAMP, VARIANCE.
    VarSamp,
    /// One that a user wrote.
    User(UserFunction),
}

/// One call in a GROUP BY.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// Which function.
    pub function: AggregateFunction,
    /// The argument columns of the input.
    pub args: Vec<usize>,
    /// DISTINCT.
    pub distinct: bool,
    /// FILTER (WHERE …): a BOOLEAN column of the input; NULL counts as false.
    pub filter: Option<usize>,
    /// LISTAGG's separator; empty for others.
    pub separator: String,
    /// The argument's type; BIGINT for COUNT.
    pub arg_type: DataType,
    /// The result's type.
    pub data_type: DataType,
    /// The result's name.
    pub name: String,
}

impl AggregateCall {
    /// A call over columns `args`, whose type is `arg_type` (for COUNT BIGINT): of all rows, each value as often as it comes, without a name.
    pub fn new(
        function: AggregateFunction,
        args: Vec<usize>,
        arg_type: DataType,
        data_type: DataType,
    ) -> Self {
        let (separator, name) = (String::new(), String::new());
        Self { function, args, distinct: false, filter: None, separator, arg_type, data_type, name }
    }

    /// A call of a user's function.
    pub fn user(function: UserFunction, args: Vec<usize>, name: &str) -> Self {
        let arg_type = function.0.arg_types().first().copied().unwrap_or(DataType::Null);
        let data_type = function.0.data_type();
        let call = Self::new(AggregateFunction::User(function), args, arg_type, data_type);
        Self { name: name.into(), ..call }
    }

    /// Whether it takes each value once. The extremes of distinct values are the extremes.
    pub fn is_distinct(&self) -> bool {
        let extreme = matches!(self.function, AggregateFunction::Min | AggregateFunction::Max);
        self.distinct && !extreme
    }

    /// Whether the result may be NULL: of ours all but COUNT.
    pub fn nullable(&self) -> bool {
        match &self.function {
            AggregateFunction::CountRows | AggregateFunction::Count => false,
            AggregateFunction::User(function) => function.0.nullable(),
            _ => true,
        }
    }

    /// Whether its result depends on the order of rows.
    pub fn is_order_sensitive(&self) -> bool {
        self.picks_by_arrival() || self.function == AggregateFunction::ListAgg
    }

    /// Whether its result depends on the order in which the rows of a window arrived. Of overlapping windows Flink defines that
    /// for none; LISTAGG goes by slices there.
    pub fn picks_by_arrival(&self) -> bool {
        match &self.function {
            AggregateFunction::FirstValue | AggregateFunction::LastValue => true,
            AggregateFunction::User(function) => function.0.is_order_sensitive(),
            _ => false,
        }
    }

    /// Whether accumulators of some of a group's rows may travel, and be merged, in the place of those rows.
    pub fn folds_early(&self) -> bool {
        match &self.function {
            AggregateFunction::User(function) => function.0.folds_early(),
            _ => true,
        }
    }
}

/// What of a group may travel to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travel {
    /// Accumulators of some of its rows.
    Accumulators,
    /// Its rows, to many owners by their distinct value, whose counts are added up at one.
    Values,
    /// Its rows.
    Rows,
}

/// What may travel for a group of these calls, where no row is shown by itself.
pub fn travel(calls: &[AggregateCall]) -> Travel {
    let mut distinct = calls.iter().filter(|call| call.is_distinct());
    let folds = calls.iter().all(AggregateCall::folds_early);
    let in_order = calls.iter().any(AggregateCall::is_order_sensitive);
    match distinct.next() {
        None if folds => Travel::Accumulators,
        Some(first) if folds && !in_order => {
            let list = (&first.args, first.filter);
            match distinct.all(|call| (&call.args, call.filter) == list) {
                true => Travel::Values,
                false => Travel::Rows,
            }
        }
        _ => Travel::Rows,
    }
}

/// The function `name` (any case) over arguments of these types, and the type of its result.
///
/// COUNT without arguments is COUNT(*). LISTAGG's separator is not among `arg_types`.
///
/// # Errors
///
/// An unknown name, or arguments that Flink refuses.
///
/// See <https://nightlies.apache.org/flink/flink-docs-stable/docs/dev/table/functions/systemfunctions/#aggregate-functions>.
pub fn bind(
    name: &str,
    arg_types: &[DataType],
) -> Result<(AggregateFunction, DataType), ExprError> {
    use AggregateFunction::*;
    let function = match name.to_ascii_uppercase().as_str() {
        "COUNT" if arg_types.is_empty() => return Ok((CountRows, DataType::BigInt)),
        "COUNT" => return Ok((Count, DataType::BigInt)),
        "SUM" => Sum,
        "AVG" => Avg,
        "MIN" => Min,
        "MAX" => Max,
        "FIRST_VALUE" => FirstValue,
        "LAST_VALUE" => LastValue,
        "LISTAGG" => ListAgg,
        "STDDEV_POP" => StddevPop,
        "STDDEV_SAMP" | "STDDEV" => StddevSamp,
        "VAR_POP" => VarPop,
        "VAR_SAMP" | "VARIANCE" => VarSamp,
        _ => return Err(ExprError::new(format!("there is no aggregate function {name}"))),
    };
    let [arg] = arg_types else {
        return Err(ExprError::new(format!("{name} takes one argument, not {}", arg_types.len())));
    };
    let refused = || ExprError::new(format!("{name} cannot take {arg}"));
    let result = match function {
        Sum => match arg {
            DataType::Decimal(_, scale) => DataType::Decimal(38, *scale),
            numeric if numeric.is_numeric() => *numeric,
            _ => return Err(refused()),
        },
        Avg | StddevPop | StddevSamp | VarPop | VarSamp => match arg {
            DataType::Decimal(_, scale) => DataType::Decimal(38, (*scale).max(6)),
            numeric if numeric.is_numeric() => *numeric,
            _ => return Err(refused()),
        },
        Min | Max | FirstValue | LastValue => match arg {
            DataType::Null => return Err(refused()),
            other if other.is_binary() => return Err(refused()),
            other => *other,
        },
        ListAgg if arg.is_string() => DataType::STRING,
        ListAgg => return Err(refused()),
        CountRows | Count | User(_) => unreachable!("returned above, or not found by name"),
    };
    Ok((function, result))
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AggregateFunction::CountRows | AggregateFunction::Count => "COUNT",
            AggregateFunction::Sum => "SUM",
            AggregateFunction::Avg => "AVG",
            AggregateFunction::Min => "MIN",
            AggregateFunction::Max => "MAX",
            AggregateFunction::FirstValue => "FIRST_VALUE",
            AggregateFunction::LastValue => "LAST_VALUE",
            AggregateFunction::ListAgg => "LISTAGG",
            AggregateFunction::StddevPop => "STDDEV_POP",
            AggregateFunction::StddevSamp => "STDDEV_SAMP",
            AggregateFunction::VarPop => "VAR_POP",
            AggregateFunction::VarSamp => "VAR_SAMP",
            AggregateFunction::User(function) => function.0.name(),
        })
    }
}

impl fmt::Display for AggregateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let args: Vec<String> = self.args.iter().map(|arg| format!("${arg}")).collect();
        let args = if self.function == AggregateFunction::CountRows {
            "*".into()
        } else {
            args.join(", ")
        };
        write!(f, "{}({distinct}{args}){}", self.function, self.function.provenance())?;
        if let Some(filter) = self.filter {
            write!(f, " FILTER ${filter}")?;
        }
        Ok(())
    }
}
