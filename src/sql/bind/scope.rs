//! What an expression sees: the columns of one relation, by name.

use crate::batch::{Field, TimeAttribute};
use crate::error::ScriptError;
use crate::expr::Expr;
use crate::sql::near::near_match;
use crate::sql::syntax::ast::{self, ExprKind, Ident, Name};

use super::aggregate;
use super::expression::Resolve;

/// The columns of a relation, and the name it goes by.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The columns as queries name them.
    pub(crate) fields: Vec<Field>,
    /// The table's name or alias.
    pub(crate) qualifier: Option<String>,
}

impl Scope {
    /// The column that `name` means.
    pub(crate) fn find(&self, name: &Name) -> Result<usize, ScriptError> {
        let column = name.last();
        let qualifiers: Vec<&str> =
            name.parts.iter().rev().skip(2).map(|part| part.name.as_str()).collect();
        if let [.., qualifier, _] = name.parts.as_slice() {
            self.check_qualifier(qualifier)?;
        }
        if !matches!(
            qualifiers.as_slice(),
            [] | ["default_database"] | ["default_database", "default_catalog"]
        ) {
            return Err(ScriptError::new(format!("'{}' is no column", name.text()))
                .at(name.span)
                .hint("write the column's name, or alias.column"));
        }
        self.find_ident(column)
    }

    /// Fails if `qualifier` is not this relation's name.
    pub(crate) fn check_qualifier(&self, qualifier: &Ident) -> Result<(), ScriptError> {
        if self.qualifier.as_deref() == Some(qualifier.name.as_str()) {
            return Ok(());
        }
        let error =
            ScriptError::new(format!("there is no table '{}' in this FROM", qualifier.name))
                .at(qualifier.span);
        Err(match &self.qualifier {
            Some(known) => error.hint(format!("it reads '{known}'")),
            None => error.hint("what it reads has no name; give it an alias"),
        })
    }

    /// The column of this name.
    pub(crate) fn find_ident(&self, column: &Ident) -> Result<usize, ScriptError> {
        let mut found =
            self.fields.iter().enumerate().filter(|(_, field)| field.name == column.name);
        match (found.next(), found.next()) {
            (Some((index, _)), None) => Ok(index),
            (Some(_), Some(_)) => {
                Err(ScriptError::new(format!("the column '{}' is ambiguous", column.name))
                    .at(column.span)
                    .hint("rename one of them in the subquery: SELECT a AS b"))
            }
            (None, _) => Err(self.unknown(column)),
        }
    }

    fn unknown(&self, column: &Ident) -> ScriptError {
        let error =
            ScriptError::new(format!("there is no column '{}' here", column.name)).at(column.span);
        let names = self.fields.iter().map(|field| field.name.as_str());
        match near_match(&column.name, names.clone()) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => {
                let shown: Vec<&str> = names.take(12).collect();
                let more = if self.fields.len() > 12 { ", …" } else { "" };
                error.hint(format!("the columns are {}{more}", shown.join(", ")))
            }
        }
    }

    /// The column at `index` as an expression.
    pub(crate) fn column(&self, index: usize) -> Expr {
        let field = &self.fields[index];
        Expr::column(index, field.data_type, field.nullable)
    }

    /// The time attribute of an expression as written: a bare column keeps its own.
    pub(crate) fn attribute(&self, expr: &ast::Expr) -> Option<TimeAttribute> {
        match &expr.kind {
            ExprKind::Column(name) => {
                self.find(name).ok().and_then(|index| self.fields[index].time_attribute)
            }
            ExprKind::Call(call)
                if call.args.is_empty() && call.name.name.eq_ignore_ascii_case("PROCTIME") =>
            {
                Some(TimeAttribute::Proctime)
            }
            _ => None,
        }
    }
}

impl Resolve for &Scope {
    fn resolve(&mut self, expr: &ast::Expr) -> Result<Option<Expr>, ScriptError> {
        match &expr.kind {
            ExprKind::Column(name) => Ok(Some(self.column(self.find(name)?))),
            ExprKind::Call(call) => aggregate::refuse_outside(call, expr.span).map(|()| None),
            _ => Ok(None),
        }
    }
}
