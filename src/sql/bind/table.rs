//! CREATE TABLE: declared columns over physical ones, the watermark, and the options with what overrides them.

use std::sync::Arc;

use super::Notes;
use super::expression::bind;
use super::scope::Scope;
use super::settings::Configuration;
use crate::batch::{DataType, Field, Schema, TimeAttribute};
use crate::connector::Source;
use crate::error::{OptionError, ScriptError, Span};
use crate::expr::{self, Expr};
use crate::format::Options;
use crate::plan::Watermark;
use crate::sql::ProgramTable;
use crate::sql::syntax::ast::{ColumnKind, CreateTable, Text};

/// A declared table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// The stored columns: what a sink takes.
    pub(crate) physical: Schema,
    /// All columns as queries see them.
    pub(crate) declared: Schema,
    /// The declared columns over the physical ones.
    pub(crate) columns: Vec<Expr>,
    /// Over the declared columns.
    pub(crate) watermark: Option<Watermark>,
    /// What it reads, if the program gave it.
    pub(crate) source: Option<Arc<dyn Source>>,
    options: Vec<(Text, Text)>,
    options_span: Span,
}

/// Binds a CREATE TABLE.
pub(crate) fn create(
    table: &CreateTable,
    name: String,
    notes: &mut Notes,
) -> Result<Table, ScriptError> {
    check_names(table)?;
    let mut physical = Vec::new();
    for column in &table.columns {
        if let ColumnKind::Physical { data_type, nullable } = &column.kind {
            let mut field = Field::new(&column.name.name, *data_type);
            field.nullable =
                *nullable && !table.primary_key.iter().any(|key| key.name == column.name.name);
            if matches!(data_type, DataType::IntervalDay | DataType::IntervalMonth) {
                return Err(ScriptError::new(format!("a column cannot be of type {data_type}"))
                    .at(column.name.span));
            }
            physical.push(field);
        }
    }
    // A computed column sees the stored columns, not the computed ones, as in Flink.
    let scope = Scope { fields: physical.clone(), qualifier: None };
    let mut declared = Vec::new();
    let mut columns = Vec::new();
    let mut stored = 0;
    for column in &table.columns {
        match &column.kind {
            ColumnKind::Physical { .. } => {
                columns.push(scope.column(stored));
                declared.push(physical[stored].clone());
                stored += 1;
            }
            ColumnKind::Computed(expr) => {
                let bound = bind(expr, &mut &scope, notes)?;
                let mut field = Field::new(&column.name.name, bound.data_type);
                field.nullable = bound.nullable;
                field.time_attribute = scope.attribute(expr);
                if bound.data_type == DataType::Null {
                    return Err(ScriptError::new("this column has no type")
                        .at(expr.span)
                        .hint("write CAST(NULL AS type)"));
                }
                columns.push(bound);
                declared.push(field);
            }
        }
    }
    let watermark = watermark(table, &mut declared, notes)?;
    for key in table.primary_key.iter().chain(&table.partitioned_by) {
        if !physical.iter().any(|field| field.name == key.name) {
            return Err(ScriptError::new(format!("the table has no stored column '{}'", key.name))
                .at(key.span));
        }
    }
    refuse_partitions(table)?;
    Ok(Table {
        name,
        physical: Schema::new(physical),
        declared: Schema::new(declared),
        columns,
        watermark,
        source: None,
        options: table.options.clone(),
        options_span: table.options_span,
    })
}

fn check_names(table: &CreateTable) -> Result<(), ScriptError> {
    for (index, column) in table.columns.iter().enumerate() {
        if table.columns[..index].iter().any(|earlier| earlier.name.name == column.name.name) {
            return Err(ScriptError::new(format!(
                "the column '{}' is declared twice",
                column.name.name
            ))
            .at(column.name.span));
        }
    }
    if table.columns.is_empty() {
        return Err(ScriptError::new("the table has no columns").at(table.name.span));
    }
    Ok(())
}

/// A file's partition columns stand in its path in Flink, which is another layout than ours.
fn refuse_partitions(table: &CreateTable) -> Result<(), ScriptError> {
    let is_file = table
        .options
        .iter()
        .any(|(key, value)| key.value == "connector" && value.value == "filesystem");
    match table.partitioned_by.first() {
        Some(first) if is_file => {
            Err(ScriptError::new("PARTITIONED BY on files is not supported yet")
                .at(first.span)
                .hint("leave it out: the columns then stand in the file"))
        }
        _ => Ok(()),
    }
}

fn watermark(
    table: &CreateTable,
    declared: &mut [Field],
    notes: &mut Notes,
) -> Result<Option<Watermark>, ScriptError> {
    let Some((column, expr, span)) = &table.watermark else { return Ok(None) };
    let scope = Scope { fields: declared.to_vec(), qualifier: None };
    let index = scope.find_ident(column)?;
    let data_type = declared[index].data_type;
    if declared[index].time_attribute.is_some() {
        return Err(ScriptError::new("a processing-time column takes no WATERMARK").at(column.span));
    }
    match data_type {
        DataType::Timestamp(0..=3) | DataType::TimestampLtz(0..=3) => {}
        DataType::Timestamp(_) | DataType::TimestampLtz(_) => {
            let name = if matches!(data_type, DataType::Timestamp(_)) {
                "TIMESTAMP(3)"
            } else {
                "TIMESTAMP_LTZ(3)"
            };
            return Err(ScriptError::new(format!(
                "a rowtime is precise to milliseconds at most, and this is {data_type}"
            ))
            .at(column.span)
            .hint(format!(
                "declare {name}, or a column computed as CAST({} AS {name})",
                column.name
            )));
        }
        other => {
            return Err(ScriptError::new(format!(
                "a rowtime is a TIMESTAMP(3) or TIMESTAMP_LTZ(3), and this is {other}"
            ))
            .at(column.span)
            .hint("compute one: ts AS TO_TIMESTAMP(text) or ts AS TO_TIMESTAMP_LTZ(epoch_ms, 3)"));
        }
    }
    let bound = bind(expr, &mut &scope, notes)?;
    let fits = match (data_type, bound.data_type) {
        (DataType::Timestamp(_), DataType::Timestamp(precision)) => precision <= 3,
        (DataType::TimestampLtz(_), DataType::TimestampLtz(precision)) => precision <= 3,
        _ => false,
    };
    if !fits {
        return Err(ScriptError::new(format!(
            "the watermark is {}, and the rowtime is {data_type}",
            bound.data_type
        ))
        .at(expr.span)
        .hint(format!("write WATERMARK FOR {0} AS {0} - INTERVAL '5' SECOND", column.name)));
    }
    let target = if matches!(data_type, DataType::Timestamp(_)) {
        DataType::Timestamp(3)
    } else {
        DataType::TimestampLtz(3)
    };
    let bound = if bound.data_type == target {
        bound
    } else {
        expr::cast(bound, target).map_err(|error| super::expression::placed(error, *span))?
    };
    declared[index].time_attribute = Some(TimeAttribute::Rowtime);
    Ok(Some(Watermark { column: index, expr: bound }))
}

impl Table {
    /// A table that the program gave.
    pub(crate) fn given(name: &str, table: &ProgramTable) -> Self {
        let ProgramTable { source, physical, declared, columns, watermark } = table.clone();
        let (name, source, options) = (name.to_owned(), Some(source), Vec::new());
        let options_span = Span::default();
        Self { name, physical, declared, columns, watermark, source, options, options_span }
    }

    /// The options of the WITH clause, without what overrides them.
    pub(crate) fn written_options(&self) -> Options {
        self.options.iter().map(|(key, value)| (key.value.clone(), value.value.clone())).collect()
    }

    /// The options as the script and the command line have them now.
    ///
    /// An override of `connector` keeps of the WITH clause only the format and the format's options:
    /// the others are the old connector's (a Kafka table's topic means nothing to a file).
    pub(crate) fn options(&self, configuration: &Configuration) -> Options {
        let overrides = configuration.table_options(&self.name);
        let given = |key: &str| {
            self.options
                .iter()
                .find(|(own, _)| own.value == key)
                .map(|(_, value)| value.value.as_str())
        };
        let connector = overrides
            .iter()
            .find(|(key, ..)| key == "connector")
            .map(|(_, value, _)| value.as_str());
        let replaced = connector.is_some_and(|connector| given("connector") != Some(connector));
        let mut options = Options::new();
        let format = given("format").or_else(|| given("value.format"));
        for (key, value) in &self.options {
            if !replaced {
                options.insert(key.value.clone(), value.value.clone());
                continue;
            }
            let key = key.value.strip_prefix("value.").unwrap_or(&key.value);
            let is_format = format.is_some_and(|format| {
                key.strip_prefix(format).is_some_and(|rest| rest.starts_with('.'))
            });
            if key == "format" || is_format {
                options.insert(key.to_string(), value.value.clone());
            }
        }
        for (key, value, _) in overrides {
            options.insert(key, value);
        }
        options
    }

    /// Places an error that a connector found.
    pub(crate) fn option_error(
        &self,
        error: OptionError,
        configuration: &Configuration,
    ) -> ScriptError {
        let overridden =
            configuration.table_options(&self.name).into_iter().find(|(key, ..)| *key == error.key);
        let given =
            self.options.iter().find(|(key, _)| key.value == error.key).map(|(key, _)| key.span);
        let prefix = format!("table '{}': ", self.name);
        let message = match &overridden {
            Some(_) => format!(
                "{prefix}option '{}' (set by tidemill.table.{}.{0}): {}",
                error.key, self.name, error.message
            ),
            None => format!("{prefix}option '{}': {}", error.key, error.message),
        };
        let span = match overridden {
            Some((_, _, span)) => span.or(Some(self.options_span)),
            None => given.or(Some(self.options_span)),
        };
        ScriptError { message, span, hint: error.hint }
    }
}

/// A table, shared by the queries that read it.
pub(crate) type SharedTable = Arc<Table>;
