//! INSERT INTO and bare SELECT: the query's columns in the sink's order and types.

use super::query::{Ctes, Relation};
use super::script::Binder;
use crate::batch::{DataType, Field, TimeAttribute};
use crate::error::{ScriptError, Span};
use crate::expr::{self, Expr, Value};
use crate::plan::Op;
use crate::sql::syntax::ast::{Body, Ident, Insert, Item, Query};

impl Binder<'_> {
    /// INSERT INTO.
    pub(crate) fn insert(&mut self, insert: &Insert) -> Result<(), ScriptError> {
        let name = self.table_name(&insert.table)?;
        let table = self.table(&name, &insert.table)?;
        if table.source.is_some() {
            return Err(ScriptError::new(format!(
                "the table '{name}' is the program's, which only gives rows"
            ))
            .at(insert.table.span));
        }
        let relation = self.query(&insert.query, &Ctes::new())?;
        let fields = table.physical.fields.clone();
        let sources = match_columns(&insert.columns, &fields, &relation, insert)?;
        refuse_two_rowtimes(&relation, &name, insert.query.span)?;
        let mut columns = Vec::with_capacity(fields.len());
        let mut filters = Vec::new();
        for (field, source) in fields.iter().zip(sources) {
            let (input, span) = match source {
                Some(index) => (relation.scope.column(index), column_span(&insert.query, index)),
                None => (Expr::literal(Value::Null, DataType::Null), insert.table.span),
            };
            let from = input.data_type;
            let mut cast =
                self.cast_or_place(input, field.data_type, span).map_err(|error| ScriptError {
                    message: format!(
                        "the sink's column '{}' is {}, and the query gives {from}",
                        field.name, field.data_type
                    ),
                    ..error
                })?;
            if cast.nullable && !field.nullable {
                cast = self.enforce_not_null(cast, field, &name, &mut filters)?;
            }
            columns.push(cast);
        }
        let filter = conjunction(filters)?;
        let options = table.options(&self.configuration);
        let sink = self
            .catalog
            .sink(&name, &options, &table.physical)
            .map_err(|error| table.option_error(error, &self.configuration))?;
        if relation.changes && !sink.accepts_changes() {
            return Err(ScriptError::new(format!("the table '{name}' takes only inserts, and early or late firing sends updates"))
                .at(insert.table.span)
                .hint("write to 'print', switch early and late firing off, or SET 'tidemill.emit.mode' = 'discarding'"));
        }
        if options.get("connector").is_some_and(|connector| connector == "print") {
            self.print_sinks.insert(name.clone());
        }
        let fields: Vec<Field> =
            fields.iter().map(|field| Field { time_attribute: None, ..field.clone() }).collect();
        let input = self.add(Op::Calc { input: relation.node, filter, columns }, fields.clone());
        self.add(Op::Sink { input, table: name, sink, limit: None }, fields);
        Ok(())
    }

    /// What Flink does to a NULL for a NOT NULL column: the job fails, or with the enforcer set to DROP the row goes.
    fn enforce_not_null(
        &self,
        value: Expr,
        field: &Field,
        table: &str,
        filters: &mut Vec<Expr>,
    ) -> Result<Expr, ScriptError> {
        let build = |error: crate::error::ExprError| ScriptError::new(error.message);
        if self.configuration.drops_nulls() {
            filters.push(expr::call("IS NOT NULL", vec![value.clone()]).map_err(build)?);
            return Ok(Expr { nullable: false, ..value });
        }
        // A cast that no row passes: what fails it is what it says.
        let message = format!("NULL for the NOT NULL column {} of {table}", field.name);
        let message = Expr::literal(Value::String(message), DataType::STRING);
        let target = field.data_type;
        let failing = if target.is_string() || target.is_binary() {
            let number = expr::cast(message, DataType::Int).map_err(build)?;
            let text = expr::cast(number, DataType::STRING).map_err(build)?;
            if target.is_string() { text } else { expr::cast(text, target).map_err(build)? }
        } else {
            expr::cast(message, target).map_err(build)?
        };
        let is_null = expr::call("IS NULL", vec![value.clone()]).map_err(build)?;
        let checked = expr::case(vec![(is_null, failing)], Some(value)).map_err(build)?;
        Ok(Expr { nullable: false, data_type: field.data_type, ..checked })
    }

    /// A bare SELECT.
    pub(crate) fn bare_select(&mut self, query: &Query) -> Result<(), ScriptError> {
        let limit = query.limit.map(|(count, _)| count);
        let relation = self.query(&Query { limit: None, ..query.clone() }, &Ctes::new())?;
        let mut columns = Vec::new();
        let mut fields = Vec::new();
        for (index, field) in relation.scope.fields.iter().enumerate() {
            let mut column = relation.scope.column(index);
            if column.data_type == DataType::Null {
                column = expr::cast(column, DataType::STRING)
                    .map_err(|error| ScriptError::new(error.message))?;
            }
            let name = free_name(&field.name, &fields);
            let data_type = column.data_type;
            fields.push(Field { name, time_attribute: None, data_type, ..field.clone() });
            columns.push(column);
        }
        let schema = crate::batch::Schema::new(fields.clone());
        let sink = self.catalog.select_sink(&schema);
        if relation.changes && !sink.accepts_changes() {
            return Err(ScriptError::new(
                "the output takes only inserts, and early or late firing sends updates",
            )
            .at(query.span));
        }
        self.select_count += 1;
        self.select_changes |= relation.changes;
        let input =
            self.add(Op::Calc { input: relation.node, filter: None, columns }, fields.clone());
        self.add(Op::Sink { input, table: String::new(), sink, limit }, fields);
        Ok(())
    }
}

/// `name`, or with the lowest number that no field has: a row on the screen has each name once.
fn free_name(name: &str, fields: &[Field]) -> String {
    let is_free = |candidate: &String| fields.iter().all(|field| field.name != *candidate);
    let numbered = (0..).map(|number| format!("{name}{number}"));
    std::iter::once(name.to_string()).chain(numbered).find(is_free).unwrap_or_default()
}

/// For each column of the sink, the query's column that it takes.
fn match_columns(
    list: &[Ident],
    fields: &[Field],
    relation: &Relation,
    insert: &Insert,
) -> Result<Vec<Option<usize>>, ScriptError> {
    let given = relation.scope.fields.len();
    let wanted = if list.is_empty() { fields.len() } else { list.len() };
    if given != wanted {
        let names: Vec<&str> = if list.is_empty() {
            fields.iter().map(|field| field.name.as_str()).collect()
        } else {
            list.iter().map(|column| column.name.as_str()).collect()
        };
        return Err(ScriptError::new(format!(
            "the query gives {given} columns, and the table '{}' takes {wanted}",
            insert.table.text()
        ))
        .at(insert.table.span)
        .hint(format!("it takes {}", names.join(", "))));
    }
    if list.is_empty() {
        return Ok((0..given).map(Some).collect());
    }
    let mut sources = vec![None; fields.len()];
    for (index, column) in list.iter().enumerate() {
        let position =
            fields.iter().position(|field| field.name == column.name).ok_or_else(|| {
                ScriptError::new(format!(
                    "the table '{}' has no stored column '{}'",
                    insert.table.text(),
                    column.name
                ))
                .at(column.span)
            })?;
        if sources[position].replace(index).is_some() {
            return Err(ScriptError::new(format!("the column '{}' is listed twice", column.name))
                .at(column.span));
        }
    }
    for (field, source) in fields.iter().zip(&sources) {
        if source.is_none() && !field.nullable {
            return Err(ScriptError::new(format!(
                "the column '{}' is NOT NULL, and the INSERT leaves it out",
                field.name
            ))
            .at(insert.table.span));
        }
    }
    Ok(sources)
}

/// All of the conditions.
fn conjunction(conditions: Vec<Expr>) -> Result<Option<Expr>, ScriptError> {
    let mut all: Option<Expr> = None;
    for condition in conditions {
        all = Some(match all {
            Some(first) => expr::call("AND", vec![first, condition])
                .map_err(|error| ScriptError::new(error.message))?,
            None => condition,
        });
    }
    Ok(all)
}

fn refuse_two_rowtimes(relation: &Relation, table: &str, span: Span) -> Result<(), ScriptError> {
    let rowtimes: Vec<&str> = relation
        .scope
        .fields
        .iter()
        .filter(|field| field.time_attribute == Some(TimeAttribute::Rowtime))
        .map(|field| field.name.as_str())
        .collect();
    if rowtimes.len() < 2 {
        return Ok(());
    }
    Err(ScriptError::new(format!(
        "the query gives '{table}' more than one rowtime: {}",
        rowtimes.join(", ")
    ))
    .at(span)
    .hint(format!(
        "keep one, and write CAST({} AS TIMESTAMP(3)) for the others",
        rowtimes[rowtimes.len() - 1]
    )))
}

/// Where the query's column of this index is written, as near as can be told.
fn column_span(query: &Query, index: usize) -> Span {
    let mut body = &query.body;
    loop {
        match body {
            Body::UnionAll(parts) => body = &parts[0],
            Body::Query(inner) => body = &inner.body,
            Body::Select(select) => {
                let plain = select.items.iter().all(|item| matches!(item, Item::Expr(..)));
                return match select.items.get(index) {
                    Some(Item::Expr(expr, _)) if plain => expr.span,
                    _ => select.span,
                };
            }
        }
    }
}
