//! Type names, with Flink's defaults: VARCHAR is STRING, CHAR is CHAR(1), DECIMAL is DECIMAL(10, 0), TIMESTAMP is TIMESTAMP(6).

use super::cursor::{Cursor, Parsed};
use super::token::Token;
use crate::batch::DataType;

impl Cursor<'_> {
    /// A type.
    pub(crate) fn data_type(&mut self) -> Parsed<DataType> {
        let Token::Word(word) = &self.peek().token else { return Err(self.expected("a type")) };
        let name = word.value.to_ascii_uppercase();
        if let Some(error) = self.refused_type(&name) {
            return Err(error);
        }
        let at = self.error(format!("there is no type {}", word.value)).hint(
            "the types are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), CHAR(n), VARCHAR(n), STRING, \
             BINARY(n), VARBINARY(n), BYTES, DATE, TIME, TIMESTAMP(p), TIMESTAMP_LTZ(p)",
        );
        self.take();
        let longest = u64::from(DataType::MAX_LENGTH);
        Ok(match name.as_str() {
            "BOOLEAN" => DataType::Boolean,
            "TINYINT" => DataType::TinyInt,
            "SMALLINT" => DataType::SmallInt,
            "INT" | "INTEGER" => DataType::Int,
            "BIGINT" => DataType::BigInt,
            "FLOAT" => DataType::Float,
            "DOUBLE" => {
                self.eat("PRECISION");
                DataType::Double
            }
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "CHAR" => DataType::Char(self.length("a length", 1, 1, longest)? as u32),
            "VARCHAR" => DataType::VarChar(self.length("a length", longest, 1, longest)? as u32),
            "STRING" => DataType::STRING,
            "BINARY" => DataType::Binary(self.length("a length", 1, 1, longest)? as u32),
            "VARBINARY" => {
                DataType::VarBinary(self.length("a length", longest, 1, longest)? as u32)
            }
            "BYTES" => DataType::BYTES,
            "DATE" => DataType::Date,
            "TIME" => {
                let precision = self.length("a precision", 0, 0, 9)? as u8;
                self.eat_words(&["WITHOUT", "TIME", "ZONE"]);
                DataType::Time(precision)
            }
            "TIMESTAMP" => self.timestamp()?,
            "TIMESTAMP_LTZ" => DataType::TimestampLtz(self.length("a precision", 6, 0, 9)? as u8),
            "INTERVAL" => self.interval_type()?,
            _ => return Err(at),
        })
    }

    /// `(n)`, or `default`.
    fn length(&mut self, what: &str, default: u64, min: u64, max: u64) -> Parsed<u64> {
        if !self.eat_token(&Token::LParen) {
            return Ok(default);
        }
        let length = self.number(what, min, max)?;
        self.expect_token(&Token::RParen)?;
        Ok(length)
    }

    fn decimal(&mut self) -> Parsed<DataType> {
        if !self.eat_token(&Token::LParen) {
            return Ok(DataType::Decimal(10, 0));
        }
        let precision = self.number("a precision", 1, 38)?;
        let scale =
            if self.eat_token(&Token::Comma) { self.number("a scale", 0, precision)? } else { 0 };
        self.expect_token(&Token::RParen)?;
        Ok(DataType::Decimal(precision as u8, scale as u8))
    }

    fn timestamp(&mut self) -> Parsed<DataType> {
        let precision = self.length("a precision", 6, 0, 9)? as u8;
        if self.eat_words(&["WITH", "LOCAL", "TIME", "ZONE"]) {
            return Ok(DataType::TimestampLtz(precision));
        }
        if self.at_words(&["WITH", "TIME", "ZONE"]) {
            return Err(self
                .error("TIMESTAMP WITH TIME ZONE is not supported, in Flink neither")
                .hint("use TIMESTAMP_LTZ(p), an instant shown in the session's time zone"));
        }
        self.eat_words(&["WITHOUT", "TIME", "ZONE"]);
        Ok(DataType::Timestamp(precision))
    }

    fn interval_type(&mut self) -> Parsed<DataType> {
        let first = self.interval_field()?;
        self.length("a precision", 2, 0, 9)?;
        let last = if self.eat("TO") { self.interval_field()? } else { first };
        self.length("a precision", 6, 0, 9)?;
        match (first, last) {
            (true, true) => Ok(DataType::IntervalMonth),
            (false, false) => Ok(DataType::IntervalDay),
            _ => Err(self.error("an interval is of years and months, or of days to seconds")),
        }
    }

    /// Whether the field that is taken counts months.
    fn interval_field(&mut self) -> Parsed<bool> {
        let months = self.at_any(&["YEAR", "MONTH"]);
        if months || self.at_any(&["DAY", "HOUR", "MINUTE", "SECOND"]) {
            self.take();
            return Ok(months);
        }
        Err(self.expected("YEAR, MONTH, DAY, HOUR, MINUTE or SECOND"))
    }

    fn refused_type(&self, name: &str) -> Option<crate::error::ScriptError> {
        let nested =
            matches!(name, "ARRAY" | "MAP" | "ROW" | "MULTISET" | "RAW" | "VARIANT" | "STRUCTURED");
        nested.then(|| {
            self.error(format!("the type {name} is not supported yet")).hint(
                "read nested JSON as STRING and take fields with JSON_VALUE(column, '$.path')",
            )
        })
    }
}
