//! `print`: rows for people and pipes.
//!
//! # Options
//!
//! | option | default | meaning |
//! |---|---|---|
//! | `print-identifier` | the table's name | the name shown as `sink`; shown always if given |
//! | `standard-error` | `false` | Flink's; only `false` can be had (redirect with `>&2`) |
//! | `sink.parallelism` | | Flink's; checked, and of no effect on the rows |
//!
//! Rows appear as windows fire. What the lines look like is the command line's choice ([`Style`]):
//!
//! ```text
//! {"op":"+I","window_end":"2024-01-01 00:00:10.000","k":"a","cnt":2}
//! +I,2024-01-01 00:00:10.000,a,2
//! +I | 2024-01-01 00:00:10.000 | a |   2
//! ```
//!
//! # Invariants
//!
//! 1. Columns are rendered one by one, then put side by side: no value is looked at twice.

mod layout;
mod output;
mod render;

use std::sync::{Arc, OnceLock};

pub use output::{Output, Style};

use self::layout::Layout;
use self::render::{Texts, render, write_text};
use super::option::{OptionReader, wrong_hint};
use super::{Sink, SinkPart};
use crate::batch::{Batch, RowKind, Schema};
use crate::error::{JobError, OptionError};
use crate::format::Options;

/// Bytes that a part gathers before it hands them on unasked.
const PENDING_BYTES_MAX: usize = 64 << 10;

/// A table that prints.
#[derive(Clone, Debug)]
pub struct PrintSink {
    output: Output,
    name: Arc<str>,
    /// Whether every row says the name.
    named: bool,
    /// The widths of a table's columns, once the first rows have come.
    layout: Arc<OnceLock<Layout>>,
}

impl PrintSink {
    /// Prints the rows of one INSERT into the table `name` to `output`. An empty name stands for a bare SELECT.
    /// Where `output` has several sinks, each row says its own's name.
    pub fn new(name: &str, output: &Output) -> Self {
        output.register();
        Self { output: output.clone(), name: name.into(), named: false, layout: Arc::default() }
    }

    pub(super) fn resolve(
        table: &str,
        options: &Options,
        output: &Output,
    ) -> Result<Self, OptionError> {
        let mut reader = OptionReader::new("print", options);
        let identifier = reader.text("print-identifier").filter(|text| !text.is_empty());
        if reader.boolean("standard-error", false)? {
            let hint = "remove it, and redirect the program's output with >&2";
            return Err(wrong_hint(
                "standard-error",
                "rows are printed to standard output only",
                hint,
            ));
        }
        reader.parallelism("sink.parallelism")?;
        reader.finish()?;
        let sink = Self::new(identifier.unwrap_or(table), output);
        Ok(Self { named: identifier.is_some(), ..sink })
    }
}

impl Sink for PrintSink {
    fn accepts_changes(&self) -> bool {
        true
    }

    fn part(&self, schema: &Schema, _: usize, _: usize) -> Result<Box<dyn SinkPart>, JobError> {
        let named = self.named || self.output.is_shared();
        Ok(Box::new(PrintPart {
            sink: self.clone(),
            schema: schema.clone(),
            labels: Labels::new(schema, named.then_some(&*self.name), self.output.style()),
            pending: Vec::new(),
        }))
    }
}

/// What stands around the values of a row.
struct Labels {
    /// What a row starts with, by its kind.
    kinds: [Vec<u8>; 4],
    /// What stands before each value.
    before: Vec<Vec<u8>>,
    after: &'static [u8],
    /// A header, if all lines are of this table.
    header: Vec<u8>,
    /// The sink's name, where it is shown.
    name: Option<String>,
}

const KINDS: [RowKind; 4] =
    [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];

impl Labels {
    fn new(schema: &Schema, name: Option<&str>, style: Style) -> Self {
        let text = |text: &str| {
            let mut out = Vec::new();
            write_text(text, style, &mut out);
            out
        };
        let start = |kind: RowKind| match (style, name) {
            (Style::JsonLines, None) => format!("{{\"op\":\"{}\"", kind.short()).into_bytes(),
            (Style::JsonLines, Some(name)) => {
                [format!("{{\"op\":\"{}\",\"sink\":", kind.short()).into_bytes(), text(name)]
                    .concat()
            }
            (_, None) => kind.short().into(),
            (_, Some(name)) => [kind.short().as_bytes(), b",", &text(name)].concat(),
        };
        let before = schema.fields.iter().map(|field| match style {
            Style::JsonLines => [b",", &text(&field.name)[..], b":"].concat(),
            _ => b",".to_vec(),
        });
        let mut header = Vec::new();
        if style == Style::Csv && name.is_none() {
            header.extend_from_slice(b"op");
            schema
                .fields
                .iter()
                .for_each(|field| header.extend([b",", &text(&field.name)[..]].concat()));
            header.push(b'\n');
        }
        let after: &[u8] = if style == Style::JsonLines { b"}\n" } else { b"\n" };
        Self {
            kinds: KINDS.map(start),
            before: before.collect(),
            after,
            header,
            name: name.map(str::to_owned),
        }
    }
}

/// One shard's rows on their way to the output.
struct PrintPart {
    sink: PrintSink,
    schema: Schema,
    labels: Labels,
    pending: Vec<u8>,
}

impl PrintPart {
    fn write_lines(&mut self, batch: &Batch, texts: &[Texts]) {
        for row in 0..batch.rows {
            self.pending.extend_from_slice(&self.labels.kinds[batch.kind(row) as usize]);
            for (before, texts) in self.labels.before.iter().zip(texts) {
                self.pending.extend_from_slice(before);
                self.pending.extend_from_slice(texts.text(row));
            }
            self.pending.extend_from_slice(self.labels.after);
        }
    }

    fn hand_over(&mut self) -> Result<(), JobError> {
        let header = match self.sink.layout.get() {
            Some(layout) => layout.header(),
            None => &self.labels.header,
        };
        let result = self.sink.output.write(&self.sink.name, header, &self.pending);
        self.pending.clear();
        result
    }
}

impl SinkPart for PrintPart {
    fn write(&mut self, batch: &Batch) -> Result<(), JobError> {
        let style = self.sink.output.style();
        let texts: Vec<Texts> = (batch.columns.iter())
            .zip(self.schema.fields.iter())
            .map(|(column, field)| render(column, field.data_type, style))
            .collect();
        if style == Style::Table {
            let layout = self
                .sink
                .layout
                .get_or_init(|| Layout::new(&self.schema, self.labels.name.as_deref(), &texts));
            layout.write(batch, &texts, &mut self.pending);
        } else {
            self.write_lines(batch, &texts);
        }
        if self.pending.len() > PENDING_BYTES_MAX { self.hand_over() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), JobError> {
        self.hand_over()
    }

    fn finish(&mut self) -> Result<(), JobError> {
        self.hand_over()
    }
}

impl Drop for PrintPart {
    /// A job that fails shows the rows that came before the failure, as far as the output takes them.
    fn drop(&mut self) {
        let _ = self.hand_over();
    }
}

#[cfg(test)]
mod tests;
