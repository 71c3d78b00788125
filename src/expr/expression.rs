//! The expression tree: columns, literals, calls. Fully typed; built by the functions of [`super`].

use std::fmt;

use super::native::NativeFunction;
use crate::batch::DataType;

/// A literal's value; its unit follows from the literal's [`DataType`], as a column's does.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of any type.
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// Integers, DATE, TIME, timestamps and intervals.
    Int(i64),
    /// DECIMAL, unscaled.
    Decimal(i128),
    /// FLOAT and DOUBLE.
    Float(f64),
    /// CHAR, VARCHAR.
    String(String),
    /// BINARY, VARBINARY.
    Bytes(Vec<u8>),
}

/// What an expression does.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// The column at this index of the input batch.
    Column(usize),
    /// The same value in every row.
    Literal(Value),
    /// A function or operator by its canonical name (upper case; operators as written: `+`, `AND`, `LIKE`).
    Call(&'static str, Vec<Expr>),
    /// CAST: a value that does not fit fails the row (or is NULL where Flink says so).
    Cast(Box<Expr>),
    /// TRY_CAST: a value that does not fit is NULL.
    TryCast(Box<Expr>),
    /// Searched CASE: the first branch whose condition is true, else the last expression.
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    /// A function written in Rust.
    Native(NativeFunction, Vec<Expr>),
}

/// A typed expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it does.
    pub kind: ExprKind,
    /// The type of its value.
    pub data_type: DataType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// Whether a function of so many arguments tells the time.
pub(super) fn is_clock(name: &str, arg_count: usize) -> bool {
    match name {
        "CURRENT_TIMESTAMP" | "PROCTIME" | "LOCALTIMESTAMP" | "CURRENT_DATE" | "LOCALTIME" => true,
        "UNIX_TIMESTAMP" => arg_count == 0,
        _ => false,
    }
}

impl Expr {
    /// The column at `index`.
    pub fn column(index: usize, data_type: DataType, nullable: bool) -> Self {
        Self { kind: ExprKind::Column(index), data_type, nullable }
    }

    /// A literal.
    pub fn literal(value: Value, data_type: DataType) -> Self {
        let nullable = value == Value::Null;
        Self { kind: ExprKind::Literal(value), data_type, nullable }
    }

    /// The column index, if it is a bare column.
    pub fn as_column(&self) -> Option<usize> {
        match self.kind {
            ExprKind::Column(index) => Some(index),
            _ => None,
        }
    }

    /// Calls `visit` with every column index read.
    pub fn visit_columns(&self, visit: &mut impl FnMut(usize)) {
        match &self.kind {
            ExprKind::Column(index) => visit(*index),
            ExprKind::Literal(_) => {}
            ExprKind::Call(_, args) | ExprKind::Native(_, args) => {
                args.iter().for_each(|arg| arg.visit_columns(visit));
            }
            ExprKind::Cast(input) | ExprKind::TryCast(input) => input.visit_columns(visit),
            ExprKind::Case(branches, otherwise) => {
                for (condition, result) in branches {
                    condition.visit_columns(visit);
                    result.visit_columns(visit);
                }
                otherwise.visit_columns(visit);
            }
        }
    }

    /// Whether it depends on when it is evaluated.
    pub fn reads_clock(&self) -> bool {
        match &self.kind {
            ExprKind::Column(_) | ExprKind::Literal(_) => false,
            ExprKind::Call(name, args) => {
                is_clock(name, args.len()) || args.iter().any(Expr::reads_clock)
            }
            ExprKind::Native(_, args) => args.iter().any(Expr::reads_clock),
            ExprKind::Cast(input) | ExprKind::TryCast(input) => input.reads_clock(),
            ExprKind::Case(branches, otherwise) => {
                let reads = |(condition, result): &(Expr, Expr)| {
                    condition.reads_clock() || result.reads_clock()
                };
                branches.iter().any(reads) || otherwise.reads_clock()
            }
        }
    }

    /// The same expression with every column replaced by `replace(index)`: renumbering or inlining.
    #[must_use]
    pub fn map_columns(&self, replace: &impl Fn(usize) -> Expr) -> Expr {
        let map_all = |args: &[Expr]| args.iter().map(|arg| arg.map_columns(replace)).collect();
        let kind = match &self.kind {
            ExprKind::Column(index) => return replace(*index),
            ExprKind::Literal(value) => ExprKind::Literal(value.clone()),
            ExprKind::Call(name, args) => ExprKind::Call(name, map_all(args)),
            ExprKind::Native(function, args) => ExprKind::Native(function.clone(), map_all(args)),
            ExprKind::Cast(input) => ExprKind::Cast(Box::new(input.map_columns(replace))),
            ExprKind::TryCast(input) => ExprKind::TryCast(Box::new(input.map_columns(replace))),
            ExprKind::Case(branches, otherwise) => ExprKind::Case(
                branches
                    .iter()
                    .map(|(c, r)| (c.map_columns(replace), r.map_columns(replace)))
                    .collect(),
                Box::new(otherwise.map_columns(replace)),
            ),
        };
        Expr { kind, data_type: self.data_type, nullable: self.nullable }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Column(index) => write!(f, "${index}"),
            ExprKind::Literal(Value::Null) => f.write_str("NULL"),
            ExprKind::Literal(Value::Boolean(value)) => write!(f, "{value}"),
            ExprKind::Literal(Value::Int(value)) => write!(f, "{value}"),
            ExprKind::Literal(Value::Decimal(value)) => write!(f, "{value}e"),
            ExprKind::Literal(Value::Float(value)) => write!(f, "{value:?}"),
            ExprKind::Literal(Value::String(value)) => write!(f, "'{value}'"),
            ExprKind::Literal(Value::Bytes(value)) => write!(f, "x'{value:02x?}'"),
            ExprKind::Call(name, args) => write_call(f, name, args),
            ExprKind::Native(function, args) => write_call(f, &format!("{function:?}"), args),
            ExprKind::Cast(input) => write!(f, "CAST({input} AS {})", self.data_type),
            ExprKind::TryCast(input) => write!(f, "TRY_CAST({input} AS {})", self.data_type),
            ExprKind::Case(branches, otherwise) => {
                f.write_str("CASE")?;
                for (condition, result) in branches {
                    write!(f, " WHEN {condition} THEN {result}")?;
                }
                write!(f, " ELSE {otherwise} END")
            }
        }
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, name: &str, args: &[Expr]) -> fmt::Result {
    write!(f, "{name}(")?;
    for (index, arg) in args.iter().enumerate() {
        write!(f, "{}{arg}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str(")")
}
