//! Clicks as a table: fills the columns that a query asks for.
//!
//! # Invariants
//!
//! 1. Only columns named in `projection` are built; all draws of a row cost less than one string.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, Decimal128Array, Float64Array, Int64Array};

use super::text::{hex, page_names};
use super::{ACTIONS, Click, Clicks, Rows};
use crate::batch::{Batch, DataType, Schema};
use crate::connector::Generator;

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    /// Timestamps, with this many ticks a millisecond.
    Time(i64),
    Page,
    Device,
    Action,
    AmountDouble,
    /// Amounts as decimals; cents times this.
    AmountDecimal(u8, u8, i128),
}

/// Clicks as a generator table.
#[derive(Clone, Debug)]
pub struct ClicksGenerator {
    rows: Rows,
    columns: Vec<Column>,
    page_names: Vec<String>,
    row_count: Option<u64>,
    rows_per_second: Option<u64>,
}

impl ClicksGenerator {
    /// A table of the columns of `schema`, any of `ts`, `page`, `device`, `action` and `amount`.
    ///
    /// # Errors
    ///
    /// The offending column's name and what is wrong with it.
    ///
    /// # Panics
    ///
    /// If [`Clicks::check`] fails.
    pub fn new(
        settings: Clicks,
        row_count: Option<u64>,
        rows_per_second: Option<u64>,
        schema: &Schema,
    ) -> Result<Self, (String, String)> {
        let columns = schema.fields.iter().map(|field| {
            column(&field.name, field.data_type, &settings)
                .map_err(|message| (field.name.clone(), message))
        });
        let columns = columns.collect::<Result<_, _>>()?;
        let page_names = page_names(settings.pages);
        Ok(Self { rows: Rows::new(settings), columns, page_names, row_count, rows_per_second })
    }

    fn fill(&self, column: Column, clicks: &[Click]) -> ArrayRef {
        match column {
            Column::Time(1) => {
                Arc::new(Int64Array::from_iter_values(clicks.iter().map(|click| click.time_ms)))
            }
            Column::Time(ticks) => Arc::new(Int64Array::from_iter_values(
                clicks.iter().map(|click| click.time_ms.wrapping_mul(ticks)),
            )),
            Column::Page => {
                let mut builder = StringViewBuilder::with_capacity(clicks.len());
                for click in clicks {
                    builder.append_value(&self.page_names[click.page as usize]);
                }
                Arc::new(builder.finish())
            }
            Column::Device => {
                let block_bytes = (clicks.len() * 16).clamp(16, u32::MAX as usize) as u32;
                let mut builder = StringViewBuilder::with_capacity(clicks.len())
                    .with_fixed_block_size(block_bytes);
                for click in clicks {
                    builder.append_value(std::str::from_utf8(&hex(click.device)).expect("digits"));
                }
                Arc::new(builder.finish())
            }
            Column::Action => {
                let mut builder = StringViewBuilder::with_capacity(clicks.len());
                for click in clicks {
                    builder.append_value(ACTIONS[click.action]);
                }
                Arc::new(builder.finish())
            }
            Column::AmountDouble => Arc::new(Float64Array::from_iter_values(
                // The quotient of two exact integers is the double nearest to the decimal text.
                clicks.iter().map(|click| f64::from(click.cents) / 100.0),
            )),
            Column::AmountDecimal(precision, scale, factor) => {
                let values = clicks.iter().map(|click| i128::from(click.cents) * factor);
                let array = Decimal128Array::from_iter_values(values);
                Arc::new(
                    array
                        .with_precision_and_scale(precision, scale as i8)
                        .expect("checked by `column`"),
                )
            }
        }
    }
}

impl Generator for ClicksGenerator {
    fn row_count(&self) -> Option<u64> {
        self.row_count
    }

    fn rows_per_second(&self) -> Option<u64> {
        self.rows_per_second
    }

    fn generate(&self, start: u64, count: usize, projection: &[usize]) -> Batch {
        if projection.is_empty() {
            return Batch::new(Vec::new(), count);
        }
        let clicks: Vec<Click> = (0..count as u64).map(|row| self.rows.row(start + row)).collect();
        let columns =
            projection.iter().map(|&column| self.fill(self.columns[column], &clicks)).collect();
        Batch::new(columns, count)
    }
}

/// How the column `name` of type `data_type` is filled, or why it cannot be.
fn column(name: &str, data_type: DataType, settings: &Clicks) -> Result<Column, String> {
    let page_chars = "page-".len() as u32 + (settings.pages.to_string().len() as u32).max(4);
    let string = |column: Column, chars: u32| match data_type {
        DataType::VarChar(length) if length >= chars => Ok(column),
        DataType::Char(16) if column == Column::Device => Ok(column),
        other => Err(format!("the clicks profile makes it a STRING, not {other}")),
    };
    match name {
        "ts" => match data_type {
            DataType::Timestamp(precision) | DataType::TimestampLtz(precision)
                if precision >= 3 =>
            {
                Ok(Column::Time(data_type.ticks_per_ms()))
            }
            other => Err(format!("the clicks profile makes it a TIMESTAMP(3), not {other}")),
        },
        "page" => string(Column::Page, page_chars),
        "device" => string(Column::Device, 16),
        "action" => string(Column::Action, 5),
        "amount" => match data_type {
            DataType::Double => Ok(Column::AmountDouble),
            DataType::Decimal(precision, scale) if scale >= 2 && precision - scale >= 3 => {
                Ok(Column::AmountDecimal(precision, scale, 10i128.pow(u32::from(scale) - 2)))
            }
            other => {
                Err(format!("the clicks profile makes it a DOUBLE or a DECIMAL(5, 2), not {other}"))
            }
        },
        _ => {
            Err("the clicks profile has the columns ts, page, device, action and amount only"
                .into())
        }
    }
}
