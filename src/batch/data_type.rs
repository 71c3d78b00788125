//! The SQL types, and how each is laid out in a column.
//!
//! Few physical layouts keep the kernels few: every time type is a plain integer column whose unit
//! follows from the logical type.
//!
//! | SQL type | Arrow column | unit |
//! |---|---|---|
//! | BOOLEAN | `BooleanArray` | |
//! | TINYINT, SMALLINT, INT, BIGINT | `Int8Array` … `Int64Array` | |
//! | FLOAT, DOUBLE | `Float32Array`, `Float64Array` | |
//! | DECIMAL(p, s) | `Decimal128Array` | 10^-s |
//! | CHAR, VARCHAR, STRING | `StringViewArray` | |
//! | BINARY, VARBINARY, BYTES | `BinaryViewArray` | |
//! | DATE | `Int32Array` | days since 1970-01-01 |
//! | TIME(p) | `Int32Array` | milliseconds since midnight |
//! | TIMESTAMP(p), TIMESTAMP_LTZ(p) | `Int64Array` | p ≤ 3: ms; p ≤ 6: µs; else ns since 1970-01-01 (of the wall clock; UTC for LTZ) |
//! | INTERVAL DAY TO SECOND | `Int64Array` | milliseconds |
//! | INTERVAL YEAR TO MONTH | `Int32Array` | months |
//!
//! The untyped NULL literal is a `BooleanArray` of nulls.

use std::fmt;

use arrow_schema::DataType as ArrowType;

/// A logical SQL type, with Flink's names and rules.
///
/// ```
/// use tidemill::job::DataType;
///
/// let [number, text, time] = [DataType::BigInt, DataType::STRING, DataType::Timestamp(6)];
/// assert!(number.is_integer() && number.is_numeric() && DataType::Double.is_float());
/// assert!(text.is_string() && DataType::BYTES.is_binary() && time.is_timestamp());
/// assert_eq!(time.ticks_per_ms(), 1_000);
/// assert_eq!(number.arrow().to_string(), "Int64");
/// assert_eq!((number.fixed_bytes(), text.fixed_bytes()), (Some(8), None));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// The type of a bare NULL.
    Null,
    /// BOOLEAN.
    Boolean,
    /// TINYINT, 8 bits.
    TinyInt,
    /// SMALLINT, 16 bits.
    SmallInt,
    /// INT, 32 bits.
    Int,
    /// BIGINT, 64 bits.
    BigInt,
    /// FLOAT, 32 bits.
    Float,
    /// DOUBLE, 64 bits.
    Double,
    /// DECIMAL(precision, scale), `1 <= precision <= 38`, `0 <= scale <= precision`.
    Decimal(u8, u8),
    /// CHAR(length in characters).
    Char(u32),
    /// VARCHAR(length in characters); STRING is `VarChar(DataType::MAX_LENGTH)`.
    VarChar(u32),
    /// BINARY(length in bytes).
    Binary(u32),
    /// VARBINARY(length in bytes); BYTES is `VarBinary(DataType::MAX_LENGTH)`.
    VarBinary(u32),
    /// DATE.
    Date,
    /// TIME(precision).
    Time(u8),
    /// TIMESTAMP(precision) without time zone.
    Timestamp(u8),
    /// TIMESTAMP_LTZ(precision).
    TimestampLtz(u8),
    /// INTERVAL DAY TO SECOND.
    IntervalDay,
    /// INTERVAL YEAR TO MONTH.
    IntervalMonth,
}

impl DataType {
    /// The length of STRING and BYTES.
    pub(crate) const MAX_LENGTH: u32 = i32::MAX as u32;
    /// STRING.
    pub const STRING: DataType = DataType::VarChar(Self::MAX_LENGTH);
    /// BYTES.
    pub const BYTES: DataType = DataType::VarBinary(Self::MAX_LENGTH);

    /// The Arrow type of its columns.
    pub fn arrow(self) -> ArrowType {
        match self {
            DataType::Null | DataType::Boolean => ArrowType::Boolean,
            DataType::TinyInt => ArrowType::Int8,
            DataType::SmallInt => ArrowType::Int16,
            DataType::Int | DataType::Date | DataType::Time(_) | DataType::IntervalMonth => {
                ArrowType::Int32
            }
            DataType::BigInt
            | DataType::Timestamp(_)
            | DataType::TimestampLtz(_)
            | DataType::IntervalDay => ArrowType::Int64,
            DataType::Float => ArrowType::Float32,
            DataType::Double => ArrowType::Float64,
            DataType::Decimal(precision, scale) => ArrowType::Decimal128(precision, scale as i8),
            DataType::Char(_) | DataType::VarChar(_) => ArrowType::Utf8View,
            DataType::Binary(_) | DataType::VarBinary(_) => ArrowType::BinaryView,
        }
    }

    /// TINYINT … BIGINT.
    pub fn is_integer(self) -> bool {
        matches!(self, DataType::TinyInt | DataType::SmallInt | DataType::Int | DataType::BigInt)
    }

    /// FLOAT or DOUBLE.
    pub fn is_float(self) -> bool {
        matches!(self, DataType::Float | DataType::Double)
    }

    /// Integers, floats and decimals.
    pub fn is_numeric(self) -> bool {
        self.is_integer() || self.is_float() || matches!(self, DataType::Decimal(..))
    }

    /// CHAR or VARCHAR.
    pub fn is_string(self) -> bool {
        matches!(self, DataType::Char(_) | DataType::VarChar(_))
    }

    /// BINARY or VARBINARY.
    pub fn is_binary(self) -> bool {
        matches!(self, DataType::Binary(_) | DataType::VarBinary(_))
    }

    /// TIMESTAMP or TIMESTAMP_LTZ.
    pub fn is_timestamp(self) -> bool {
        matches!(self, DataType::Timestamp(_) | DataType::TimestampLtz(_))
    }

    /// Bytes of a value in a key; `None`: that depends on the value.
    pub fn fixed_bytes(self) -> Option<usize> {
        match self.arrow() {
            ArrowType::Boolean => Some(1),
            other => other.primitive_width(),
        }
    }

    /// Units of a timestamp column in a millisecond: 1, 1,000 or 1,000,000.
    ///
    /// # Panics
    ///
    /// If it is not a timestamp type.
    pub fn ticks_per_ms(self) -> i64 {
        match self {
            DataType::Timestamp(precision) | DataType::TimestampLtz(precision) => match precision {
                0..=3 => 1,
                4..=6 => 1_000,
                _ => 1_000_000,
            },
            other => panic!("{other} is no timestamp"),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Null => f.write_str("NULL"),
            DataType::Boolean => f.write_str("BOOLEAN"),
            DataType::TinyInt => f.write_str("TINYINT"),
            DataType::SmallInt => f.write_str("SMALLINT"),
            DataType::Int => f.write_str("INT"),
            DataType::BigInt => f.write_str("BIGINT"),
            DataType::Float => f.write_str("FLOAT"),
            DataType::Double => f.write_str("DOUBLE"),
            DataType::Decimal(precision, scale) => write!(f, "DECIMAL({precision}, {scale})"),
            DataType::Char(length) => write!(f, "CHAR({length})"),
            DataType::VarChar(Self::MAX_LENGTH) => f.write_str("STRING"),
            DataType::VarChar(length) => write!(f, "VARCHAR({length})"),
            DataType::Binary(length) => write!(f, "BINARY({length})"),
            DataType::VarBinary(Self::MAX_LENGTH) => f.write_str("BYTES"),
            DataType::VarBinary(length) => write!(f, "VARBINARY({length})"),
            DataType::Date => f.write_str("DATE"),
            DataType::Time(precision) => write!(f, "TIME({precision})"),
            DataType::Timestamp(precision) => write!(f, "TIMESTAMP({precision})"),
            DataType::TimestampLtz(precision) => write!(f, "TIMESTAMP_LTZ({precision})"),
            DataType::IntervalDay => f.write_str("INTERVAL DAY TO SECOND"),
            DataType::IntervalMonth => f.write_str("INTERVAL YEAR TO MONTH"),
        }
    }
}
