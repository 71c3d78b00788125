//! What a program in Rust gives to its scripts: tables that read its own types.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::Schema;
use crate::connector::Source;
use crate::expr::Expr;
use crate::plan::Watermark;

/// What a program gives to its scripts.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub(super) tables: BTreeMap<String, ProgramTable>,
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
    pub const EMPTY: &'static Program = &Program { tables: BTreeMap::new() };

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
}
