//! SELECT DISTINCT within a window: a GROUP BY all of its columns.

use super::Notes;
use super::aggregation::{NEEDS_COLUMNS, Shape, Windowing};
use super::grouping::{Grouped, Role};
use super::query::{From, Output, Relation};
use super::script::Binder;
use crate::error::{ScriptError, Span};
use crate::expr::Expr;
use crate::sql::syntax::ast::Select;

impl Binder<'_> {
    /// SELECT DISTINCT without aggregates.
    pub(crate) fn select_distinct(
        &mut self,
        select: &Select,
        from: From,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        let From { relation, pending } = from;
        if let Some(pending) = &pending {
            let (outputs, filter) = self.distinct_parts(select, &relation)?;
            let direct = Windowing::Direct(pending.clone());
            let bound = self.distinct_columns(relation.clone(), direct, filter, outputs, span);
            match bound {
                Err(error) if error.message == NEEDS_COLUMNS => {}
                other => return other,
            }
        }
        let relation = self.materialise(From { relation, pending })?;
        let carried = relation.window.clone().ok_or_else(|| unbounded(span))?;
        let (outputs, filter) = self.distinct_parts(select, &relation)?;
        self.distinct_columns(relation, Windowing::Attached(carried), filter, outputs, span)
    }

    fn distinct_parts(
        &mut self,
        select: &Select,
        relation: &Relation,
    ) -> Result<(Vec<Output>, Option<Expr>), ScriptError> {
        let outputs = self.outputs(&select.items, &relation.scope)?;
        Ok((outputs, self.filter(select.filter.as_ref(), &relation.scope)?))
    }

    /// DISTINCT over a grouped SELECT.
    pub(crate) fn distinct(
        &mut self,
        relation: Relation,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        let carried = relation.window.clone().ok_or_else(|| unbounded(span))?;
        let scope = &relation.scope;
        let outputs = scope.fields.iter().enumerate().map(|(index, field)| Output {
            expr: scope.column(index),
            name: field.name.clone(),
            attribute: field.time_attribute,
        });
        let outputs = outputs.collect();
        self.distinct_columns(relation, Windowing::Attached(carried), None, outputs, span)
    }

    fn distinct_columns(
        &mut self,
        relation: Relation,
        windowing: Windowing,
        filter: Option<Expr>,
        outputs: Vec<Output>,
        span: Span,
    ) -> Result<Relation, ScriptError> {
        self.refuse_changes(&relation, span)?;
        let scope = relation.scope.clone();
        let mut grouped = Grouped::new(&scope, &windowing, Notes::default());
        let mut roles = Vec::new();
        let mut grouped_outputs = Vec::new();
        for output in outputs {
            let role = grouped.role(&output.expr).unwrap_or_else(|| {
                grouped.keys.push(output.expr.clone());
                Role::Key(grouped.keys.len() - 1)
            });
            roles.push(role);
            let attribute = output.attribute.filter(|_| role == Role::Time);
            let expr = grouped.role_column(role);
            grouped_outputs.push(Output { expr, name: output.name, attribute });
        }
        if !(roles.contains(&Role::Start) && roles.contains(&Role::End)) {
            return Err(unbounded(span));
        }
        let shape = Shape { windowing, filter, having: None, outputs: grouped_outputs, span };
        self.aggregation(relation, grouped, shape)
    }
}

fn unbounded(span: Span) -> ScriptError {
    ScriptError::new(
        "SELECT DISTINCT without a window would remember all of time, which is not supported yet",
    )
    .at(span)
    .hint(
        "select window_start and window_end of a window function too: \
         the rows are then distinct within each window",
    )
}
