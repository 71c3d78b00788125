//! Queries to operators: FROM, WHERE, SELECT, WITH, UNION ALL.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::aggregate::contains_aggregate;
use super::expression::{bind, bind_condition, placed};
use super::scope::Scope;
use super::script::Binder;
use super::window::{Carried, Pending};
use crate::batch::{DataType, Field, Schema, TimeAttribute};
use crate::error::{ScriptError, Span};
use crate::expr::{self, Expr};
use crate::plan::{Node, NodeIndex, Op};
use crate::sql::syntax::ast::{self, Body, Ident, Item, Query, Select, TableKind};

/// How deep views and WITH queries may read each other.
const DEPTH_MAX: usize = 32;

/// How many operators a script may have: views that read a view twice multiply.
const NODES_MAX: usize = 4096;

/// What a query yields: an operator, and the names and windows of its columns.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// The operator.
    pub(crate) node: NodeIndex,
    /// Its columns as queries name them.
    pub(crate) scope: Scope,
    /// The window that a window function attached to each row, where its columns are still there.
    pub(crate) window: Option<Carried>,
    /// Whether it has updates: results of a window that fired before.
    pub(crate) changes: bool,
}

/// The queries that a WITH names. Cheap to clone: inner queries add to it.
pub(crate) type Ctes = BTreeMap<String, Arc<Named>>;

/// A named query, bound where it is used.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) query: Query,
    pub(crate) columns: Vec<Ident>,
    /// The WITH names that it sees itself.
    pub(crate) ctes: Ctes,
}

/// A relation in FROM, perhaps with a window function that no operator stands for yet.
pub(crate) struct From {
    pub(crate) relation: Relation,
    pub(crate) pending: Option<Pending>,
}

/// A column of a SELECT list: its expression, name and time attribute.
pub(crate) struct Output {
    pub(crate) expr: Expr,
    pub(crate) name: String,
    pub(crate) attribute: Option<TimeAttribute>,
}

impl Binder<'_> {
    /// Adds an operator.
    pub(crate) fn add(&mut self, op: Op, fields: Vec<Field>) -> NodeIndex {
        self.nodes.push(Node { op, schema: Schema::new(fields) });
        self.nodes.len() - 1
    }

    /// Binds a query. Only the outermost may have a LIMIT.
    pub(crate) fn query(&mut self, query: &Query, ctes: &Ctes) -> Result<Relation, ScriptError> {
        if let Some((_, span)) = query.limit {
            return Err(ScriptError::new("LIMIT stands only at the end of a SELECT that prints")
                .at(span)
                .hint(
                    "a table takes all rows; leave LIMIT out, or SELECT … LIMIT n without INSERT",
                ));
        }
        let mut visible = ctes.clone();
        for cte in &query.ctes {
            let named = Named {
                query: cte.query.clone(),
                columns: cte.columns.clone(),
                ctes: visible.clone(),
            };
            if query.ctes.iter().filter(|other| other.name.name == cte.name.name).count() > 1 {
                return Err(ScriptError::new(format!("WITH names '{}' twice", cte.name.name))
                    .at(cte.name.span));
            }
            visible.insert(cte.name.name.clone(), Arc::new(named));
        }
        self.body(&query.body, &visible)
    }

    fn body(&mut self, body: &Body, ctes: &Ctes) -> Result<Relation, ScriptError> {
        match body {
            Body::Select(select) => self.select(select, ctes),
            Body::Query(query) => self.query(query, ctes),
            Body::UnionAll(parts) => self.union_all(parts, ctes),
        }
    }

    fn union_all(&mut self, parts: &[Body], ctes: &Ctes) -> Result<Relation, ScriptError> {
        let relations =
            parts.iter().map(|part| self.body(part, ctes)).collect::<Result<Vec<_>, _>>()?;
        let first = &relations[0];
        let width = first.scope.fields.len();
        for (part, relation) in parts.iter().zip(&relations) {
            if relation.scope.fields.len() != width {
                return Err(ScriptError::new(format!(
                    "this part of UNION ALL has {} columns, and the first has {width}",
                    relation.scope.fields.len()
                ))
                .at(body_span(part)));
            }
        }
        let mut fields = Vec::with_capacity(width);
        for column in 0..width {
            let columns: Vec<&Field> =
                relations.iter().map(|relation| &relation.scope.fields[column]).collect();
            fields.push(union_field(&columns).ok_or_else(|| {
                let types: Vec<String> =
                    columns.iter().map(|field| field.data_type.to_string()).collect();
                ScriptError::new(format!(
                    "the parts of UNION ALL have {} in column {}",
                    types.join(" and "),
                    column + 1
                ))
                .at(body_span(&parts[1]))
                .hint("CAST them to one type")
            })?);
        }
        let changes = relations.iter().any(|relation| relation.changes);
        let window = first
            .window
            .clone()
            .filter(|carried| relations.iter().all(|r| r.window.as_ref() == Some(carried)));
        let inputs = relations
            .into_iter()
            .map(|relation| self.as_types(relation, &fields))
            .collect::<Result<Vec<_>, _>>()?;
        let node = self.add(Op::Union { inputs }, fields.clone());
        Ok(Relation { node, scope: Scope { fields, qualifier: None }, window, changes })
    }

    /// The relation cast to the types of `fields`.
    fn as_types(&mut self, relation: Relation, fields: &[Field]) -> Result<NodeIndex, ScriptError> {
        let same = relation
            .scope
            .fields
            .iter()
            .zip(fields)
            .all(|(own, wanted)| own.data_type == wanted.data_type);
        if same {
            return Ok(relation.node);
        }
        let columns = fields
            .iter()
            .enumerate()
            .map(|(index, wanted)| {
                let column = relation.scope.column(index);
                if column.data_type == wanted.data_type {
                    Ok(column)
                } else {
                    expr::cast(column, wanted.data_type)
                }
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ScriptError {
                message: error.message,
                span: None,
                hint: error.hint,
            })?;
        Ok(self.add(Op::Calc { input: relation.node, filter: None, columns }, fields.to_vec()))
    }

    /// The relation that FROM reads.
    pub(crate) fn from(&mut self, table: &ast::Table, ctes: &Ctes) -> Result<From, ScriptError> {
        let mut from = match &table.kind {
            TableKind::Named(name) => From { relation: self.named(name, ctes)?, pending: None },
            TableKind::Query(query) => {
                let mut relation = self.query(query, ctes)?;
                relation.scope.qualifier = None;
                From { relation, pending: None }
            }
            TableKind::Window(call) => self.window_call(call, ctes)?,
        };
        if let Some(alias) = &table.alias {
            from.relation.scope.qualifier = Some(alias.name.clone());
        }
        rename(&mut from.relation.scope.fields, &table.columns)?;
        Ok(from)
    }

    fn named(&mut self, name: &ast::Name, ctes: &Ctes) -> Result<Relation, ScriptError> {
        let own = if let [ident] = name.parts.as_slice() { ctes.get(&ident.name) } else { None };
        let key = self.table_name(name)?;
        let named = own.or_else(|| self.views.get(&key)).cloned();
        let mut relation = match named {
            Some(named) => {
                self.depth += 1;
                if self.depth > DEPTH_MAX || self.nodes.len() > NODES_MAX {
                    return Err(ScriptError::new("this reads views of views beyond measure")
                        .at(name.span)
                        .hint("write the views' queries out, or split the script"));
                }
                let place = |error: ScriptError| {
                    if error.span.is_none() { error.at(name.span) } else { error }
                };
                let mut relation = self.query(&named.query, &named.ctes).map_err(place)?;
                self.depth -= 1;
                rename(&mut relation.scope.fields, &named.columns)?;
                relation
            }
            None => self.scan(&key, name)?,
        };
        relation.scope.qualifier = Some(name.last().name.clone());
        Ok(relation)
    }

    fn select(&mut self, select: &Select, ctes: &Ctes) -> Result<Relation, ScriptError> {
        let from = self.from(&select.from, ctes)?;
        let has_aggregate = select
            .items
            .iter()
            .any(|item| matches!(item, Item::Expr(expr, _) if contains_aggregate(expr)));
        if select.group_by.is_some() || has_aggregate || select.having.is_some() {
            let relation = self.grouped(select, from)?;
            return match select.distinct {
                Some(span) => self.distinct(relation, span),
                None => Ok(relation),
            };
        }
        if let Some(span) = select.distinct {
            return self.select_distinct(select, from, span);
        }
        let relation = self.materialise(from)?;
        let filter = self.filter(select.filter.as_ref(), &relation.scope)?;
        let outputs = self.outputs(&select.items, &relation.scope)?;
        Ok(self.project(relation, filter, outputs))
    }

    /// WHERE's condition over `scope`.
    pub(crate) fn filter(
        &mut self,
        filter: Option<&ast::Expr>,
        scope: &Scope,
    ) -> Result<Option<Expr>, ScriptError> {
        filter
            .map(|filter| bind_condition(filter, "WHERE", &mut &*scope, &mut self.notes))
            .transpose()
    }

    /// The columns of a SELECT list over `scope`.
    pub(crate) fn outputs(
        &mut self,
        items: &[Item],
        scope: &Scope,
    ) -> Result<Vec<Output>, ScriptError> {
        let mut outputs = Vec::new();
        for item in items {
            match item {
                Item::Star(span) => all_columns(scope, *span, &mut outputs)?,
                Item::QualifiedStar(table) => {
                    scope.check_qualifier(table)?;
                    all_columns(scope, table.span, &mut outputs)?;
                }
                Item::Expr(expr, alias) => {
                    let bound = bind(expr, &mut &*scope, &mut self.notes)?;
                    refuse_null(&bound, expr.span)?;
                    let name = output_name(expr, alias.as_ref(), outputs.len());
                    outputs.push(Output { expr: bound, name, attribute: scope.attribute(expr) });
                }
            }
        }
        Ok(outputs)
    }

    /// Filters and projects a relation; window columns that stay keep their meaning.
    pub(crate) fn project(
        &mut self,
        input: Relation,
        filter: Option<Expr>,
        outputs: Vec<Output>,
    ) -> Relation {
        let window = input.window.as_ref().and_then(|carried| carried.through(&outputs));
        let fields = output_fields(&outputs);
        let columns = outputs.into_iter().map(|output| output.expr).collect();
        let node = self.add(Op::Calc { input: input.node, filter, columns }, fields.clone());
        Relation { node, scope: Scope { fields, qualifier: None }, window, changes: input.changes }
    }

    /// The cast that INSERT applies by itself.
    pub(crate) fn cast_or_place(
        &self,
        input: Expr,
        target: DataType,
        span: crate::error::Span,
    ) -> Result<Expr, ScriptError> {
        expr::implicit_sink_cast(input, target).map_err(|error| placed(error, span))
    }
}

/// The columns of `*`, each by its name, so a name that comes twice is ambiguous.
fn all_columns(scope: &Scope, span: Span, outputs: &mut Vec<Output>) -> Result<(), ScriptError> {
    for (index, field) in scope.fields.iter().enumerate() {
        scope.find_ident(&Ident { name: field.name.clone(), span })?;
        outputs.push(Output {
            expr: scope.column(index),
            name: field.name.clone(),
            attribute: field.time_attribute,
        });
    }
    Ok(())
}

/// A bare NULL has no type, so nothing can be stored of it.
pub(crate) fn refuse_null(bound: &Expr, span: Span) -> Result<(), ScriptError> {
    if bound.data_type != DataType::Null {
        return Ok(());
    }
    Err(ScriptError::new("this NULL has no type").at(span).hint("write CAST(NULL AS type)"))
}

/// The alias, the column's own name, or `EXPR$n`.
pub(crate) fn output_name(expr: &ast::Expr, alias: Option<&Ident>, index: usize) -> String {
    match (alias, &expr.kind) {
        (Some(alias), _) => alias.name.clone(),
        (None, ast::ExprKind::Column(name)) => name.last().name.clone(),
        (None, ast::ExprKind::Operator(name, args)) if args.is_empty() => (*name).to_string(),
        _ => format!("EXPR${index}"),
    }
}

/// The fields of a SELECT list. Names may come twice; naming such a column is then an error.
pub(crate) fn output_fields(outputs: &[Output]) -> Vec<Field> {
    outputs
        .iter()
        .map(|output| Field {
            name: output.name.clone(),
            data_type: output.expr.data_type,
            nullable: output.expr.nullable,
            time_attribute: output.attribute,
        })
        .collect()
}

/// Gives columns the names of an alias list.
fn rename(fields: &mut [Field], names: &[Ident]) -> Result<(), ScriptError> {
    let Some(first) = names.first() else { return Ok(()) };
    if names.len() != fields.len() {
        return Err(ScriptError::new(format!(
            "{} names are given for {} columns",
            names.len(),
            fields.len()
        ))
        .at(first.span));
    }
    for (index, (field, name)) in fields.iter_mut().zip(names).enumerate() {
        if names[..index].iter().any(|earlier| earlier.name == name.name) {
            return Err(ScriptError::new(format!("the column '{}' is named twice", name.name))
                .at(name.span));
        }
        field.name = name.name.clone();
    }
    Ok(())
}

/// The common field of a UNION ALL's column: a time attribute if all parts have it.
fn union_field(columns: &[&Field]) -> Option<Field> {
    let first = columns[0];
    let types: Vec<DataType> = columns.iter().map(|field| field.data_type).collect();
    let same = types.iter().all(|data_type| *data_type == first.data_type);
    let data_type = if same { first.data_type } else { expr::common_type(&types)? };
    // As in Flink, the first part decides; processing time is one only if all parts have it.
    let all = columns.iter().all(|field| field.time_attribute == first.time_attribute);
    let keeps = same && (all || first.time_attribute == Some(TimeAttribute::Rowtime));
    Some(Field {
        name: first.name.clone(),
        data_type,
        nullable: columns.iter().any(|field| field.nullable),
        time_attribute: first.time_attribute.filter(|_| keeps),
    })
}

/// Where a part of a UNION ALL stands.
fn body_span(body: &Body) -> Span {
    match body {
        Body::Select(select) => select.span,
        Body::Query(query) => query.span,
        Body::UnionAll(parts) => parts.first().map(body_span).unwrap_or_default(),
    }
}
