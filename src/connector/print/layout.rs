//! A table for people: aligned columns under one header.
//!
//! Rows come for hours, so the widths are decided by the types and the first rows; a longer value pushes
//! its row to the right rather than being cut.
//!
//! # Invariants
//!
//! 1. Nothing is cut.

use unicode_width::UnicodeWidthStr;

use super::render::Texts;
use crate::batch::{Batch, DataType, Schema};

/// The widest that the first rows make a column, in terminal cells.
const WIDTH_MAX: usize = 48;

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Layout {
    header: Vec<u8>,
    name: Option<String>,
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    width: usize,
    right: bool,
}

impl Layout {
    /// A layout that fits the first rows. `name` is shown in each row where several tables print.
    pub(super) fn new(schema: &Schema, name: Option<&str>, texts: &[Texts]) -> Self {
        let mut columns = Vec::new();
        let mut names = vec!["op"];
        if let Some(name) = name {
            names.push("sink");
            columns.push(Column { width: name.width().max(4), right: false });
        }
        for (field, texts) in schema.fields.iter().zip(texts) {
            let widest = (0..texts.count())
                .map(|row| width(texts.text(row)))
                .max()
                .unwrap_or(0)
                .min(WIDTH_MAX);
            let width = widest.max(field.name.width()).max(usual_width(field.data_type));
            columns.push(Column { width, right: field.data_type.is_numeric() });
            names.push(&field.name);
        }
        let mut header = Vec::new();
        let mut rule = b"--".to_vec();
        header.extend_from_slice(b"op");
        for (column, name) in columns.iter().zip(&names[1..]) {
            header.extend_from_slice(b" | ");
            column.write(name.as_bytes(), &mut header);
            rule.extend_from_slice(b"-+-");
            rule.extend(std::iter::repeat_n(b'-', column.width));
        }
        trim(&mut header);
        header.push(b'\n');
        header.extend_from_slice(&rule);
        header.push(b'\n');
        Self { header, name: name.map(str::to_owned), columns }
    }

    /// The header's two lines.
    pub(super) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Appends the rows.
    pub(super) fn write(&self, batch: &Batch, texts: &[Texts], out: &mut Vec<u8>) {
        let (named, columns) = self.columns.split_at(usize::from(self.name.is_some()));
        for row in 0..batch.rows {
            out.extend_from_slice(batch.kind(row).short().as_bytes());
            for (column, name) in named.iter().zip(&self.name) {
                out.extend_from_slice(b" | ");
                column.write(name.as_bytes(), out);
            }
            for (column, texts) in columns.iter().zip(texts) {
                out.extend_from_slice(b" | ");
                column.write(texts.text(row), out);
            }
            trim(out);
            out.push(b'\n');
        }
    }
}

impl Column {
    fn write(self, text: &[u8], out: &mut Vec<u8>) {
        let blanks = std::iter::repeat_n(b' ', self.width.saturating_sub(width(text)));
        if self.right {
            out.extend(blanks);
            out.extend_from_slice(text);
        } else {
            out.extend_from_slice(text);
            out.extend(blanks);
        }
    }
}

/// Removes blanks at the end.
fn trim(out: &mut Vec<u8>) {
    while out.last() == Some(&b' ') {
        out.pop();
    }
}

/// Terminal cells.
fn width(text: &[u8]) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        std::str::from_utf8(text).map_or(text.len(), UnicodeWidthStr::width)
    }
}

/// The cells that values of a type usually need.
fn usual_width(data_type: DataType) -> usize {
    match data_type {
        DataType::Boolean => 5,
        DataType::TinyInt => 4,
        DataType::SmallInt => 6,
        DataType::Int
        | DataType::BigInt
        | DataType::Float
        | DataType::Double
        | DataType::Decimal(..) => 8,
        DataType::Date => 10,
        DataType::Time(_) => 8,
        DataType::Timestamp(_) => 23,
        DataType::TimestampLtz(_) => 24,
        _ => 4,
    }
}
