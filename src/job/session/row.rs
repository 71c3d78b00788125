//! Rows of a query as values of the program's types.

use crate::batch::{Batch, DataType, Field};
use crate::error::JobError;
use crate::job::field::Row;

/// What a row of a query is read as: a [`Column`](crate::job::Column), a tuple of up to twelve, or a type of yours that is made of one.
///
/// | SQL | Rust |
/// |---|---|
/// | BOOLEAN | `bool` |
/// | TINYINT, SMALLINT, INT, BIGINT | `i8`, `i16`, `i32`, `i64`; where all values fit `u8` for SMALLINT, `u16` for INT, `u32` for BIGINT |
/// | FLOAT, DOUBLE | `f32`, `f64` |
/// | CHAR, VARCHAR, STRING | `String` |
/// | BINARY, VARBINARY, BYTES | `Vec<u8>` |
/// | TIMESTAMP(3), TIMESTAMP_LTZ(3) | `i64`, milliseconds since 1970 |
/// | what may be NULL | `Option` of these |
///
/// Other types are read once they are CAST to one of these.
///
/// ```
/// use tidemill::{FromRow, Options, Records, Session};
///
/// #[derive(Debug, PartialEq)]
/// struct Square {
///     side: u32,
///     area: i64,
/// }
///
/// impl FromRow for Square {
///     type Columns = (u32, i64);
///
///     fn from_row((side, area): (u32, i64)) -> Self {
///         Square { side, area }
///     }
/// }
///
/// let mut session = Session::new();
/// session.table("sides", Records::new([3_u32])).column("side", |side| *side);
/// let query = session.query("SELECT side, side * side FROM sides")?;
/// let square = query.rows::<Square>(Options::default())?.next().unwrap()?;
/// assert_eq!(square, Square { side: 3, area: 9 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait FromRow: Send + 'static {
    /// The columns, in the query's order.
    type Columns: Row;
    /// The value that they make.
    fn from_row(columns: Self::Columns) -> Self;
}

impl<R: Row> FromRow for R {
    type Columns = R;

    fn from_row(columns: R) -> Self {
        columns
    }
}

/// Whether these columns can be read as `R`; if not, why.
pub(super) fn check<R: FromRow>(fields: &[Field]) -> Result<(), String> {
    let wanted = R::Columns::types();
    if fields.len() != wanted.len() {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let (given, names) = (fields.len(), names.join(", "));
        return Err(format!(
            "the query gives {given} columns ({names}), and {} are read",
            wanted.len()
        ));
    }
    for (index, (field, (data_type, nullable))) in fields.iter().zip(wanted).enumerate() {
        let column = format!("column {}, '{}',", index + 1, field.name);
        let typed = |data_type: DataType, nullable: bool| {
            format!("{data_type}{}", if nullable { "" } else { " NOT NULL" })
        };
        if !is_read_as(field.data_type, data_type) {
            let (is, read) = (typed(field.data_type, field.nullable), typed(data_type, nullable));
            return Err(format!("{column} is {is}, and is read as {read}"));
        }
        if field.nullable && !nullable {
            let hint = "read an Option, or give NULL a value with COALESCE";
            return Err(format!("{column} may be NULL; {hint}"));
        }
    }
    Ok(())
}

/// Whether values of the type `from` are read as Rust's for `to`.
fn is_read_as(from: DataType, to: DataType) -> bool {
    let is_ms = from.is_timestamp() && from.ticks_per_ms() == 1;
    from == to
        || (from.is_string() && to.is_string())
        || (from.is_binary() && to.is_binary())
        || (is_ms && to == DataType::BigInt)
}

/// Fails if a value of the batch is none of Rust's type for its column.
pub(super) fn check_values<R: FromRow>(batch: &Batch, fields: &[Field]) -> Result<(), JobError> {
    match R::Columns::misfit(&batch.columns) {
        None => Ok(()),
        Some(column) => Err(JobError::Expression {
            origin: "the query's rows".into(),
            message: format!(
                "a value of the column '{}' is not in the range of the type that it is read as",
                fields[column].name
            ),
        }),
    }
}

/// The value of a row.
pub(super) fn read<R: FromRow>(batch: &Batch, row: usize) -> R {
    R::from_row(R::Columns::read(&batch.columns, row))
}
