//! What a program in Rust gives to its scripts: tables that read its own types, and functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bind::is_own_name;
use crate::agg::UserFunction;
use crate::batch::{DataType, Schema};
use crate::connector::Source;
use crate::expr::{Expr, ExprKind, NativeFunction, is_function};
use crate::plan::Watermark;
use crate::sql::syntax::is_reserved;

/// What a program gives to its scripts.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub(super) tables: BTreeMap<String, ProgramTable>,
    /// By their names in upper case.
    functions: BTreeMap<String, Given>,
}

/// A function of the program's.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// Of single rows.
    Function(Arc<ProgramFunction>),
    /// Of groups.
    Aggregate(Arc<ProgramAggregate>),
}

/// An aggregate function of one argument, a record of what it is called with.
#[derive(Clone, Debug)]
pub struct ProgramAggregate {
    /// What computes it.
    pub function: UserFunction,
    /// The types of the arguments, and whether they may be NULL: rows in which another is do not count.
    pub arguments: Vec<(DataType, bool)>,
    /// Makes a record of the arguments.
    pub record: NativeFunction,
}

impl ProgramAggregate {
    /// The record of arguments of its types.
    pub(super) fn record(&self, args: Vec<Expr>) -> Expr {
        let kind = ExprKind::Native(self.record.clone(), args);
        Expr { kind, data_type: DataType::BYTES, nullable: false }
    }
}

/// A scalar function, called wherever one of ours may be.
#[derive(Clone, Debug)]
pub struct ProgramFunction {
    /// What computes it.
    pub function: NativeFunction,
    /// The types of its arguments, and whether they may be NULL: where another argument is, so is the result.
    pub arguments: Vec<(DataType, bool)>,
    /// The type of its result, and whether it may be NULL of itself.
    pub result: (DataType, bool),
}

impl ProgramFunction {
    /// A call with arguments of its types.
    pub(super) fn call(&self, args: Vec<Expr>) -> Expr {
        let mut arguments = args.iter().zip(&self.arguments);
        let is_strict = arguments.any(|(arg, (_, nullable))| arg.nullable && !nullable);
        let (data_type, nullable) = self.result;
        let kind = ExprKind::Native(self.function.clone(), args);
        Expr { kind, data_type, nullable: nullable || is_strict }
    }
}

/// A table that is there before the script declares its own. Scripts only read it.
#[derive(Clone, Debug)]
pub struct ProgramTable {
    /// What it reads.
    pub source: Arc<dyn Source>,
    /// What the source yields.
    pub physical: Schema,
    /// The columns as queries see them.
    pub declared: Schema,
    /// Those columns, over the physical ones.
    pub columns: Vec<Expr>,
    /// Over the declared columns.
    pub watermark: Option<Watermark>,
}

impl Program {
    /// A program that gives nothing.
    pub const EMPTY: &'static Program =
        &Program { tables: BTreeMap::new(), functions: BTreeMap::new() };

    /// Adds a table.
    ///
    /// # Errors
    ///
    /// What is wrong with its name or its columns.
    pub fn add_table(&mut self, name: String, table: ProgramTable) -> Result<(), String> {
        let fields = &table.declared.fields;
        if fields.is_empty() {
            return Err(format!("the table '{name}' has no columns"));
        }
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|earlier| earlier.name == field.name) {
                return Err(format!("the table '{name}' has two columns '{}'", field.name));
            }
        }
        match self.tables.insert(name.clone(), table) {
            None => Ok(()),
            Some(_) => Err(format!("there are two tables '{name}'")),
        }
    }

    /// Adds a scalar function.
    ///
    /// # Errors
    ///
    /// What is wrong with its name: SQL has it, or the program twice.
    pub fn add_function(&mut self, name: &str, function: ProgramFunction) -> Result<(), String> {
        self.add(name, Given::Function(Arc::new(function)))
    }

    /// Adds an aggregate function.
    ///
    /// # Errors
    ///
    /// What is wrong with its name, or that another has its uid.
    pub fn add_aggregate(&mut self, name: &str, added: ProgramAggregate) -> Result<(), String> {
        let uid = added.function.0.uid().to_owned();
        let has_it = |given: &Given| matches!(given, Given::Aggregate(known) if known.function.0.uid() == uid);
        let is_taken = self.functions.values().any(has_it);
        self.add(name, Given::Aggregate(Arc::new(added)))?;
        match is_taken {
            true => Err(format!("the aggregate '{name}' has the uid of another, '{uid}'")),
            false => Ok(()),
        }
    }

    fn add(&mut self, name: &str, given: Given) -> Result<(), String> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') || !name.chars().all(is_word)
        {
            return Err(format!("'{name}' is no name for a function"));
        }
        if is_reserved(name) || is_function(name) || is_own_name(name) {
            return Err(format!("the function '{name}' has a name of SQL's own"));
        }
        match self.functions.insert(name.to_ascii_uppercase(), given) {
            None => Ok(()),
            Some(_) => Err(format!("there are two functions '{name}'")),
        }
    }

    /// The function that `name`, in any case, means.
    pub(super) fn function(&self, name: &str) -> Option<Given> {
        match self.functions.is_empty() {
            true => None,
            false => self.functions.get(&name.to_ascii_uppercase()).cloned(),
        }
    }
}
