//! Column names and types: what a batch's columns mean. A batch itself carries no schema; the plan does.

use std::fmt;
use std::sync::Arc;

use super::DataType;

/// Whether a column is a time attribute, that is, may drive a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeAttribute {
    /// Event time: a watermark is declared for it, or it is a `window_time`.
    Rowtime,
    /// Processing time: `PROCTIME()`.
    Proctime,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The column's name; case matters, as in Flink.
    pub name: String,
    /// Its logical type.
    pub data_type: DataType,
    /// Whether NULL may occur.
    pub nullable: bool,
    /// Whether it may drive a window.
    pub time_attribute: Option<TimeAttribute>,
}

impl Field {
    /// A nullable column that is no time attribute.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, nullable: true, time_attribute: None }
    }

    /// The same column, never NULL.
    #[must_use]
    pub fn not_null(mut self) -> Self {
        self.nullable = false;
        self
    }

    /// The same column as a time attribute.
    #[must_use]
    pub fn time_attribute(mut self, attribute: TimeAttribute) -> Self {
        self.time_attribute = Some(attribute);
        self
    }
}

/// The columns of a batch, in order. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schema {
    /// The columns.
    pub fields: Arc<[Field]>,
}

impl Schema {
    /// A schema of these columns.
    pub fn new(fields: Vec<Field>) -> Self {
        Self { fields: fields.into() }
    }

    /// How many columns.
    pub fn column_count(&self) -> usize {
        self.fields.len()
    }

    /// The position of the column `name`.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let not_null = if field.nullable { "" } else { " NOT NULL" };
            write!(f, "{comma}{} {}{not_null}", field.name, field.data_type)?;
        }
        Ok(())
    }
}
